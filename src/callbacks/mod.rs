//! Callbacks: what is told how training goes, and may end it or change the learning rate.
//!
//! | callback | what it does |
//! |---|---|
//! | [`EarlyStopping`] | ends training when a figure no longer improves, and can bring the best weights back |
//! | [`LearningRateSchedule`] | sets the learning rate for each step: in stairs, exponential, cosine, with a warm-up |
//! | [`ReduceLROnPlateau`] | lowers the learning rate when a figure no longer improves |
//! | [`ModelCheckpoint`] | writes checkpoints: every so many epochs or steps, all, the last few or the best |
//! | [`CsvLog`] | writes the figures of each epoch into a file as soon as they are there |
//! | [`TimeBudget`] | ends training when its time is up |
//! | [`on_epoch_end`], [`on_batch_end`] | a closure |
//!
//! They stay with the caller, who can ask them afterwards what they saw:
//!
//! ```
//! use plywood::callbacks::EarlyStopping;
//! use plywood::ndarray::array;
//! use plywood::prelude::*;
//!
//! let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
//! let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
//! let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
//!
//! let mut early = EarlyStopping::new().monitor("loss").min_delta(0.01).patience(3);
//! let history = trainer.fit_with(&data, &Fit::epochs(1000), &mut [&mut early])?;
//! assert_eq!(early.stopped_epoch(), Some(history.len()));
//! assert_eq!(history.len(), early.best_epoch().unwrap() + 3);
//! # Ok::<(), plywood::Error>(())
//! ```

mod closures;
mod csv_log;
mod early_stopping;
mod learning_rate_schedule;
#[cfg(feature = "safetensors")]
mod model_checkpoint;
mod monitor;
mod reduce_lr_on_plateau;
#[cfg(test)]
mod testing;
mod time_budget;

use crate::error::Result;
use crate::model::{State, Trainer};
use crate::progress::Progress;
use crate::scalar::Scalar;
use crate::terminal;

pub use closures::{OnBatchEnd, OnEpochEnd, on_batch_end, on_epoch_end};
pub use csv_log::CsvLog;
pub use early_stopping::EarlyStopping;
pub use learning_rate_schedule::LearningRateSchedule;
#[cfg(feature = "safetensors")]
pub use model_checkpoint::ModelCheckpoint;
pub use monitor::Mode;
pub use reduce_lr_on_plateau::ReduceLROnPlateau;
pub use time_budget::TimeBudget;

/// Is told how training goes, and may end it or change the learning rate. It may change the trainer's model, or put
/// another in its place, but it must not put another trainer in the place of the one it is given: `fit` then ends with
/// an error.
///
/// Every method has a default that does nothing. An error ends training and is what `fit` returns; weights and counters
/// are as they were after the last step.
///
/// # Example
///
/// Counts the steps whose loss is higher than that of the step before:
///
/// ```
/// use plywood::callbacks::BatchEnd;
/// use plywood::prelude::*;
///
/// #[derive(Debug, Default)]
/// struct Setbacks {
///     last: Option<f64>,
///     count: usize,
/// }
///
/// impl<T: Scalar> Callback<T> for Setbacks {
///     fn batch_end(&mut self, _: &mut Trainer<T>, batch: &BatchEnd) -> Result<Control> {
///         let last = self.last.replace(batch.loss);
///         self.count += usize::from(last.is_some_and(|last| batch.loss > last));
///         Ok(Control::Continue)
///     }
/// }
///
/// # use plywood::ndarray::array;
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.001), CategoricalCrossentropy::default());
/// let mut setbacks = Setbacks::default();
/// trainer.fit_with(&data, &Fit::epochs(20), &mut [&mut setbacks])?;
/// assert_eq!(setbacks.count, 0);
/// # Ok::<(), plywood::Error>(())
/// ```
pub trait Callback<T: Scalar = f32>: Send {
    /// Before any callback is told that a run begins: whether this one can be of use in it. The place to check
    /// settings, and what is asked of the run. Nothing may change here, so that a run that is refused leaves no trace.
    /// A callback around another one passes it on.
    ///
    /// # Errors
    ///
    /// Whatever makes the callback useless. No callback has been told then.
    fn check(&self, trainer: &Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
        let _ = (trainer, run);
        Ok(())
    }

    /// Before the first step of each call of `fit`: the place to forget an earlier run, or to take up the
    /// [state](TrainBegin::state) of the run that goes on.
    ///
    /// # Errors
    ///
    /// What [`check`](Self::check) could not see. Nothing has been trained then, and the learning rate becomes again
    /// what it was; what callbacks before this one have done with files stays.
    fn train_begin(&mut self, trainer: &mut Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
        let _ = (trainer, run);
        Ok(())
    }

    /// After each step.
    ///
    /// # Errors
    ///
    /// Whatever should end training at once.
    fn batch_end(&mut self, trainer: &mut Trainer<T>, batch: &BatchEnd) -> Result<Control> {
        let _ = (trainer, batch);
        Ok(Control::Continue)
    }

    /// After each epoch, and its validation.
    ///
    /// # Errors
    ///
    /// Whatever should end training at once.
    fn epoch_end(&mut self, trainer: &mut Trainer<T>, epoch: &EpochEnd<'_>) -> Result<Control> {
        let _ = (trainer, epoch);
        Ok(Control::Continue)
    }

    /// After the last epoch, unless training ended with an error.
    ///
    /// # Errors
    ///
    /// Whatever `fit` should return in place of the history.
    fn train_end(&mut self, trainer: &mut Trainer<T>) -> Result<()> {
        let _ = trainer;
        Ok(())
    }

    /// Its name, under which checkpoints keep its state. By default the type's name.
    fn name(&self) -> &'static str {
        let path = std::any::type_name::<Self>();
        let path = path.split_once('<').map_or(path, |(path, _)| path);
        path.rsplit("::").next().unwrap_or(path)
    }

    /// What it remembers of the run so far, for checkpoints; [`TrainBegin::state`] brings it back. `None`, the default, if
    /// it begins anew when a run goes on.
    fn state(&self) -> Option<State> {
        None
    }
}

/// Whether training goes on.
///
/// ```
/// use plywood::callbacks::on_epoch_end;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// let mut third = on_epoch_end(|_, epoch| if epoch.epoch == 3 { Control::Stop } else { Control::Continue });
/// let history = trainer.fit_with(&data, &Fit::epochs(100), &mut [&mut third])?;
/// assert_eq!(history.len(), 3);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// It does.
    Continue,
    /// It ends here; everything learned is kept.
    Stop,
}

/// For closures that return nothing.
impl From<()> for Control {
    fn from((): ()) -> Self {
        Self::Continue
    }
}

/// What a run is going to be, as a [`Callback`] sees it.
///
/// ```
/// use plywood::callbacks::TrainBegin;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// #[derive(Debug)]
/// struct CountAhead(usize);
///
/// impl<T: Scalar> Callback<T> for CountAhead {
///     fn train_begin(&mut self, _: &mut Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
///         self.0 = run.epochs * run.batches;
///         Ok(())
///     }
/// }
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// let mut steps = CountAhead(0);
/// trainer.fit_with(&data, &Fit::epochs(3).batch_size(1), &mut [&mut steps])?;
/// assert_eq!((steps.0, trainer.step()), (6, 6));
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TrainBegin<'a> {
    /// The number of epochs asked for.
    pub epochs: usize,
    /// Steps in each.
    pub batches: usize,
    /// Samples in each.
    pub samples: usize,
    /// The names of the figures each epoch will bring, such as `loss`, `accuracy`, `val_loss`, `val_accuracy`.
    pub figures: &'a [String],
    /// Epochs of this run that are complete: 0, but for a run that goes on from a checkpoint.
    pub epoch: usize,
    /// Steps taken in the epoch after them: 0, but for a run that goes on within it.
    pub batch: usize,
    /// What this callback remembered when the checkpoint was made.
    pub state: Option<&'a State>,
}

/// What a step brought, as a [`Callback`] sees it.
///
/// ```
/// use plywood::callbacks::on_batch_end;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// let mut seen = vec![];
/// let mut keep = on_batch_end(|_, batch| seen.push((batch.epoch, batch.batch, batch.samples)));
/// trainer.fit_with(&data, &Fit::epochs(2).batch_size(1), &mut [&mut keep])?;
/// assert_eq!(seen, [(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 2)]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BatchEnd {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The batch of the epoch, from 1.
    pub batch: usize,
    /// Batches in the epoch.
    pub batches: usize,
    /// Samples trained on in this epoch so far.
    pub samples: usize,
    /// Mean loss of this batch.
    pub loss: f64,
    /// Mean loss of all samples of this epoch so far.
    pub mean_loss: f64,
}

/// What an epoch brought, as a [`Callback`] sees it.
///
/// ```
/// use plywood::callbacks::on_epoch_end;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// let mut losses = vec![];
/// let mut keep = on_epoch_end(|_, epoch| losses.push((epoch.epoch, epoch.get("loss"))));
/// let history = trainer.fit_with(&data, &Fit::epochs(3), &mut [&mut keep])?;
/// assert_eq!(losses[2], (3, history.last("loss")));
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct EpochEnd<'a> {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The number of epochs asked for.
    pub epochs: usize,
    /// Seconds it took, validation included.
    pub seconds: f64,
    /// Loss and metrics, by name.
    pub values: &'a [(&'a str, f64)],
}

impl EpochEnd<'_> {
    /// The figure of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(known, _)| *known == name).map(|&(_, value)| value)
    }

    /// `epoch  3/10  0.8 s  loss 0.0687 (val 0.0712)  accuracy 0.9795 (val 0.9781)`, without the brackets if there is no
    /// validation. Figures that would go beyond 80 columns are on further lines, under the first one.
    pub fn line(&self) -> String {
        let mut text = format!("{}  {:.1} s", epoch_of(self.epoch, self.epochs), self.seconds);
        let margin = text.len();
        let mut column = margin;
        for (name, value) in self.values {
            if name.strip_prefix("val_").is_some_and(|training| self.get(training).is_some()) {
                continue; // it is behind its training figure
            }
            let mut figure = format!("  {name} {value:.4}");
            if let Some(validation) = self.get(&format!("val_{name}")) {
                figure += &format!(" (val {validation:.4})");
            }
            let width = figure.chars().count();
            if column > margin && column + width > terminal::WIDTH {
                text += &format!("\n{:margin$}", "");
                column = margin;
            }
            text += &figure;
            column += width;
        }
        text
    }
}

/// `epoch  3/10`
pub(crate) fn epoch_of(epoch: usize, epochs: usize) -> String {
    format!("epoch {epoch:>width$}/{epochs}", width = epochs.to_string().len())
}

/// What `fit` prints, and the caller's callbacks, told one after the other; if one wants to stop, the others are told still.
pub(crate) struct Callbacks<'a, 'c, T: Scalar> {
    pub(crate) progress: Progress,
    pub(crate) others: &'a mut [&'c mut dyn Callback<T>],
}

impl<'c, T: Scalar> Callbacks<'_, 'c, T> {
    /// Tells of the beginning, when all have been asked what they have against it; each callback is given the first
    /// state of its name that no other has been given.
    pub(crate) fn begin(
        &mut self,
        trainer: &mut Trainer<T>,
        begin: &TrainBegin<'_>,
        states: &[(String, State)],
    ) -> Result<()> {
        let mut left: Vec<&(String, State)> = states.iter().collect();
        let mut begins = vec![];
        for callback in &*self.others {
            let state = left.iter().position(|(name, _)| name == callback.name()).map(|at| &left.remove(at).1);
            let begin = TrainBegin { state, ..*begin };
            callback.check(trainer, &begin)?;
            begins.push(begin);
        }
        self.progress.train_begin(trainer, begin)?;
        let running = trainer.running();
        self.others.iter_mut().zip(&begins).try_for_each(|(callback, begin)| {
            callback.train_begin(trainer, begin)?;
            trainer.check_running(&running)
        })
    }

    /// Names of states that no callback would be given.
    pub(crate) fn without_callback<'s>(&self, states: &'s [(String, State)]) -> Vec<&'s str> {
        let mut names: Vec<&str> = self.others.iter().map(|callback| callback.name()).collect();
        let takes = |(state, _): &&'s (String, State)| match names.iter().position(|name| name == state) {
            Some(at) => {
                names.remove(at);
                false
            }
            None => true,
        };
        states.iter().filter(takes).map(|(name, _)| name.as_str()).collect()
    }

    /// What the caller's callbacks remember.
    #[cfg(feature = "safetensors")]
    pub(crate) fn states(&self) -> Vec<(String, State)> {
        self.others.iter().filter_map(|callback| Some((callback.name().to_owned(), callback.state()?))).collect()
    }

    pub(crate) fn each(
        &mut self,
        mut tell: impl FnMut(&mut (dyn Callback<T> + 'c)) -> Result<Control>,
    ) -> Result<Control> {
        let mut control = tell(&mut self.progress)?;
        for callback in &mut *self.others {
            if tell(*callback)? == Control::Stop {
                control = Control::Stop;
            }
        }
        Ok(control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_an_epoch_is_aligned() {
        let values = [("loss", 0.06873), ("accuracy", 0.97947)];
        let mut end = EpochEnd { epoch: 3, epochs: 10, seconds: 0.84, values: &values };
        assert_eq!(end.line(), "epoch  3/10  0.8 s  loss 0.0687  accuracy 0.9795");
        (end.epoch, end.values) = (10, &[]);
        assert_eq!(end.line(), "epoch 10/10  0.8 s");
    }

    #[test]
    fn the_line_of_an_epoch_fits_80_columns() {
        let values = [("loss", 0.06873), ("accuracy", 0.97947), ("val_loss", 0.07119), ("val_accuracy", 0.97812)];
        let end = EpochEnd { epoch: 10, epochs: 10, seconds: 123.4, values: &values };
        assert_eq!(end.line(), "epoch 10/10  123.4 s  loss 0.0687 (val 0.0712)  accuracy 0.9795 (val 0.9781)");

        let name = |i: usize| ["loss", "accuracy", "top_3_accuracy", "precision", "recall", "f1_score"][i];
        let names: Vec<String> =
            (0..6).map(|i| name(i).to_owned()).chain((0..6).map(|i| format!("val_{}", name(i)))).collect();
        let values: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 0.98765)).collect();
        let line = EpochEnd { values: &values, ..end }.line();
        assert!(line.lines().all(|line| line.len() <= 80), "{line}");
        assert!(line.lines().skip(1).all(|line| line.starts_with(&" ".repeat(22))), "{line}");
        assert_eq!(line.matches("0.9877").count(), 12, "{line}");

        // a metric whose name only looks like that of validation, and one too long for any line
        let long = "a".repeat(90);
        let values = [("val_of_its_own", 1.0), (&*long, 2.0)];
        let line = EpochEnd { values: &values, ..end }.line();
        assert_eq!(line, format!("epoch 10/10  123.4 s  val_of_its_own 1.0000\n{:20}  {long} 2.0000", ""));
    }
}
