//! How `Trainer::fit` is to run, and who is told about it.

use std::fmt::Debug;

use super::trainer::Trainer;
use crate::data::Dataset;
use crate::scalar::Scalar;

/// The settings of [`Trainer::fit`].
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | `epochs` | | ≥ 1 | passes over the training data |
/// | [`batch_size`](Self::batch_size) | 32 | ≥ 1 | samples in a step; the last batch of an epoch may be smaller |
/// | [`shuffle`](Self::shuffle) | `true` | | whether each epoch has an order of its own, decided by the model's seed |
/// | [`validation`](Self::validation) | none | | data that is evaluated after each epoch |
/// | [`verbosity`](Self::verbosity) | [`Silent`](Verbosity::Silent) | | what is printed |
///
/// ```
/// use plywood::model::{Fit, Verbosity};
///
/// let fit = Fit::<f32>::epochs(10).batch_size(128).verbosity(Verbosity::Lines);
/// ```
#[derive(Debug, Clone)]
pub struct Fit<'d, T: Scalar = f32> {
    pub(super) epochs: usize,
    pub(super) batch_size: usize,
    pub(super) shuffle: bool,
    pub(super) validation: Option<&'d Dataset<T>>,
    pub(super) verbosity: Verbosity,
}

/// What `fit` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Verbosity {
    /// Nothing.
    #[default]
    Silent,
    /// A line an epoch: `epoch  3/10  0.8 s  loss 0.0687  accuracy 0.9795`.
    Lines,
}

impl<'d, T: Scalar> Fit<'d, T> {
    /// So many passes over the data.
    pub fn epochs(epochs: usize) -> Self {
        Self { epochs, batch_size: 32, shuffle: true, validation: None, verbosity: Verbosity::Silent }
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

    /// Evaluates this data after each epoch; its figures are named `val_loss`, `val_accuracy`, ….
    #[doc(alias = "validation_data")]
    pub fn validation(mut self, data: &'d Dataset<T>) -> Self {
        self.validation = Some(data);
        self
    }

    /// Sets what is printed.
    #[doc(alias = "verbose")]
    pub fn verbosity(mut self, verbosity: Verbosity) -> Self {
        self.verbosity = verbosity;
        self
    }
}

/// What an epoch brought, as a [`Callback`] sees it.
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

    /// `epoch  3/10  0.8 s  loss 0.0687  accuracy 0.9795`
    pub fn line(&self) -> String {
        let width = self.epochs.to_string().len();
        let figures: String = self.values.iter().map(|(name, value)| format!("  {name} {value:.4}")).collect();
        format!("epoch {:>width$}/{}  {:.1} s{figures}", self.epoch, self.epochs, self.seconds, width = width)
    }
}

/// Whether training goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// It does.
    Continue,
    /// It ends here; everything learned is kept.
    Stop,
}

/// Is told how training goes, and may end it or change the learning rate.
pub trait Callback<T: Scalar = f32>: Send {
    /// After each step, with the batch's number in the epoch (from 1) and its loss.
    fn batch_end(&mut self, trainer: &mut Trainer<T>, batch: usize, loss: f64) -> Control {
        let _ = (trainer, batch, loss);
        Control::Continue
    }

    /// After each epoch.
    fn epoch_end(&mut self, trainer: &mut Trainer<T>, epoch: &EpochEnd<'_>) -> Control {
        let _ = (trainer, epoch);
        Control::Continue
    }
}
