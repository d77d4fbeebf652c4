//! How `Trainer::fit` is to run.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::data::Dataset;
use crate::scalar::Scalar;

/// The settings of [`Trainer::fit`](super::Trainer::fit).
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | `epochs` | | ≥ 1 | passes over the training data |
/// | [`batch_size`](Self::batch_size) | 32 | ≥ 1 | samples in a step; the last batch of an epoch may be smaller |
/// | [`shuffle`](Self::shuffle) | `true` | | whether each epoch has an order of its own, decided by the model's seed |
/// | [`validation`](Self::validation) | none | | data that is evaluated after each epoch |
/// | [`validation_split`](Self::validation_split) | none | above 0 and below 1 | the part of the training data that is held out for that: its last samples |
/// | [`class_weights`](Self::class_weights) | 1 | ≥ 0 | what a sample's loss is multiplied by, by its class |
/// | [`sample_weights`](Self::sample_weights) | 1 | ≥ 0 | the same for each sample by itself |
/// | [`non_finite_loss`](Self::non_finite_loss) | [`Error`](NonFiniteLoss::Error) | | what happens when a loss is NaN or infinite, or a step would make a weight so |
/// | [`stop_flag`](Self::stop_flag) | none | | ends training from outside |
/// | [`verbosity`](Self::verbosity) | [`Silent`](Verbosity::Silent) | | what is printed |
///
/// ```
/// use plywood::ndarray::Array2;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(Array2::zeros((200, 4)), Array2::zeros((200, 1)))?;
/// # let mut trainer = Sequential::input([4]).add(Dense::new(1)).build(42)?.compile(SGD::new(0.1), MeanSquaredError);
/// let fit = Fit::epochs(10).batch_size(60).validation_split(0.1).verbosity(Verbosity::Progress);
/// trainer.fit(&data, &fit)?; // 180 samples in 3 steps an epoch, 20 for validation
/// assert_eq!(trainer.step(), 30);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Fit<'d, T: Scalar = f32> {
    pub(crate) epochs: usize,
    pub(crate) batch_size: usize,
    pub(crate) shuffle: bool,
    pub(crate) validation: Validation<'d, T>,
    pub(crate) class_weights: Vec<(usize, f64)>,
    pub(super) sample_weights: Option<&'d [T]>,
    pub(crate) non_finite_loss: NonFiniteLoss,
    pub(super) stop_flag: Option<Arc<AtomicBool>>,
    pub(super) verbosity: Verbosity,
}

/// What is evaluated after each epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Validation<'d, T> {
    None,
    Data(&'d Dataset<T>),
    Split(f64),
}

/// What `fit` prints.
///
/// ```
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// let fit = Fit::epochs(2).verbosity(Verbosity::Lines); // prints two lines
/// assert_eq!(trainer.fit(&data, &fit)?.len(), 2);
/// assert_eq!(Verbosity::default(), Verbosity::Silent);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Verbosity {
    /// Nothing.
    #[default]
    Silent,
    /// A line an epoch, as [`EpochEnd::line`](crate::callbacks::EpochEnd::line) writes it:
    /// `epoch  3/10  0.8 s  loss 0.0687  accuracy 0.9795`.
    Lines,
    /// The same lines, and where they go to a terminal a bar until the epoch is over: batches, samples per second, loss,
    /// metrics and the time left. Without the feature `progress` only the lines.
    Progress,
}

/// What `fit` does when the mean loss of a batch is NaN or infinite, or when the step on it would make a weight so, or what
/// the optimizer remembers of one.
///
/// ```
/// use plywood::model::NonFiniteLoss;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// let data = Dataset::new(array![[f32::NAN]], array![[0.0]])?;
/// let mut trainer = Sequential::input([1]).add(Dense::new(1)).build(42)?.compile(SGD::new(0.1), MeanSquaredError);
///
/// let error = trainer.fit(&data, &Fit::epochs(3)).unwrap_err();
/// assert!(matches!(error, Error::NonFiniteLoss { epoch: 1, batch: 1, .. }));
///
/// let history = trainer.fit(&data, &Fit::epochs(3).non_finite_loss(NonFiniteLoss::Stop))?;
/// assert_eq!(history.len(), 1);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NonFiniteLoss {
    /// It returns [`Error::NonFiniteLoss`](crate::Error::NonFiniteLoss) or
    /// [`Error::NonFiniteStep`](crate::Error::NonFiniteStep), which name epoch and batch. Weights and optimizer are as they
    /// were before the batch.
    #[default]
    Error,
    /// It ends training as a callback would: the epoch is completed with what was seen, and the history returned, whose
    /// last loss is not finite if the batch's was not. Weights and optimizer are as they were before the batch.
    #[doc(alias = "TerminateOnNaN")]
    Stop,
    /// It goes on, and takes the step: weights may become NaN. This is what Keras does.
    Ignore,
}

impl<'d, T: Scalar> Fit<'d, T> {
    /// So many passes over the data.
    pub fn epochs(epochs: usize) -> Self {
        Self {
            epochs,
            batch_size: 32,
            shuffle: true,
            validation: Validation::None,
            class_weights: vec![],
            sample_weights: None,
            non_finite_loss: NonFiniteLoss::Error,
            stop_flag: None,
            verbosity: Verbosity::Silent,
        }
    }

    /// Sets the number of samples in a step.
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Sets whether the order of samples changes from epoch to epoch.
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// Evaluates this data after each epoch; its figures are named `val_loss`, `val_accuracy`, …. Takes the place of a
    /// [`validation_split`](Self::validation_split).
    #[doc(alias = "validation_data")]
    pub fn validation(mut self, data: &'d Dataset<T>) -> Self {
        self.validation = Validation::Data(data);
        self
    }

    /// Holds the last part of the training data out and evaluates it after each epoch: the samples that
    /// [`Dataset::split_last`] would hold out, before any shuffling. Nothing is copied. Takes the place of
    /// [`validation`](Self::validation) data.
    ///
    /// ```
    /// use plywood::ndarray::{Array1, Array2};
    /// use plywood::prelude::*;
    ///
    /// let data = Dataset::new(Array2::<f32>::zeros((100, 4)), Array1::<u8>::zeros(100))?;
    /// let model = Sequential::input([4]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
    /// let mut trainer = model.compile(RMSprop::default(), CategoricalCrossentropy::default());
    /// let history = trainer.fit(&data, &Fit::epochs(3).validation_split(0.25))?;
    /// assert_eq!(history.names(), ["loss", "val_loss"]);
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn validation_split(mut self, fraction: f64) -> Self {
        self.validation = Validation::Split(fraction);
        self
    }

    /// Multiplies the loss of each sample of a class by its weight; classes without one have the weight 1. A class that is
    /// rare can so be made to count as much as others.
    ///
    /// The loss of a batch is Σ wᵢ·lᵢ / B, as in Keras; PyTorch divides by Σ wᵢ. Metrics and validation take no notice.
    /// Rows of values count as the class of their largest.
    ///
    /// ```
    /// use plywood::ndarray::array;
    /// use plywood::prelude::*;
    ///
    /// let data = Dataset::new(array![[0.0_f32], [1.0], [2.0]], array![0_usize, 0, 1])?;
    /// let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
    /// let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::new());
    /// trainer.fit(&data, &Fit::epochs(50).class_weights([(0, 0.0), (1, 5.0)]))?; // as if class 0 were not there
    /// assert_eq!(trainer.model().predict_classes(data.inputs())?, array![1, 1, 1]);
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn class_weights(mut self, weights: impl IntoIterator<Item = (usize, f64)>) -> Self {
        self.class_weights = weights.into_iter().collect();
        self
    }

    /// Multiplies the loss of each sample by its weight, and by that of its class if there are such. One for each sample of
    /// the training data; those of a validation split weigh its loss.
    ///
    /// The loss of a batch is Σ wᵢ·lᵢ / B, as in Keras. Metrics take no notice.
    pub fn sample_weights(mut self, weights: &'d [T]) -> Self {
        self.sample_weights = Some(weights);
        self
    }

    /// Sets what happens when a loss is NaN or infinite, or a step would make a weight so.
    pub fn non_finite_loss(mut self, policy: NonFiniteLoss) -> Self {
        self.non_finite_loss = policy;
        self
    }

    /// Ends training after the step in which the flag is set, with everything learned kept: for Ctrl-C, a button, another
    /// thread.
    ///
    /// The epoch is completed with the samples it has seen, validation included.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// use plywood::ndarray::array;
    /// use plywood::prelude::*;
    ///
    /// let stop = Arc::new(AtomicBool::new(false));
    /// let of_another_thread = stop.clone();
    /// std::thread::spawn(move || of_another_thread.store(true, Ordering::Relaxed));
    ///
    /// let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
    /// let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
    /// let mut trainer = model.compile(RMSprop::default(), CategoricalCrossentropy::default());
    /// trainer.fit(&data, &Fit::epochs(usize::MAX).stop_flag(stop))?;
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn stop_flag(mut self, flag: Arc<AtomicBool>) -> Self {
        self.stop_flag = Some(flag);
        self
    }

    /// Sets what is printed.
    #[doc(alias = "verbose")]
    pub fn verbosity(mut self, verbosity: Verbosity) -> Self {
        self.verbosity = verbosity;
        self
    }
}
