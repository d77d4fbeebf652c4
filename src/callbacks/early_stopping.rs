//! Ending training when it no longer helps.

use std::any::Any;

use super::monitor::Monitor;
use super::{Callback, Control, EpochEnd, Mode, TrainBegin};
use crate::error::Result;
use crate::model::state::invalid;
use crate::model::{State, Trainer};
use crate::scalar::Scalar;

/// Ends training when a figure has not improved for some epochs.
///
/// An epoch is an improvement if its figure is better than the best so far by more than `min_delta`. Training ends with the
/// first epoch that is no improvement and the `patience`-th such in a row, or the first where `patience` is 0. NaN is never
/// an improvement.
///
/// # Parameters
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | [`monitor`](Self::monitor) | `val_loss` | a figure of the run | what is watched |
/// | [`mode`](Self::mode) | [`Auto`](Mode::Auto) | | which way it gets better |
/// | [`min_delta`](Self::min_delta) | 0 | ≥ 0 | in the figure's unit; a change of just this much is no improvement |
/// | [`patience`](Self::patience) | 0 | ≥ 0 | epochs without improvement, in a row, that are put up with |
/// | [`restore_best`](Self::restore_best) | `false` | | whether the weights of the best epoch are brought back after the last |
///
/// Bringing weights back leaves the optimizer's memory as it was after the last epoch, and costs a copy of the weights in
/// each epoch that improves. A run that goes on from a checkpoint of one that did not keep them has those of later
/// epochs only.
///
/// # Errors
///
/// From `fit`, before the first step: [`Error::InvalidParameter`](crate::Error::InvalidParameter) if the run has no such
/// figure, if [`Auto`](Mode::Auto) cannot tell which way it gets better, or for a `min_delta` out of range.
///
/// # Source
///
/// `keras/src/callbacks/early_stopping.py`, Keras 3.15 (without `baseline` and `start_from_epoch`). As there, the best
/// weights are brought back whether training ended early or not.
///
/// # Example
///
/// ```
/// use plywood::callbacks::EarlyStopping;
/// use plywood::ndarray::Array2;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(Array2::from_shape_fn((20, 1), |(i, _)| i as f32 % 2.0), (0..20).map(|i| i % 2).collect::<plywood::ndarray::Array1<usize>>())?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default()).metric(Accuracy::new());
/// let mut early = EarlyStopping::new().monitor("val_accuracy").patience(2).restore_best(true);
/// let history = trainer.fit_with(&data, &Fit::epochs(100).validation_split(0.2), &mut [&mut early])?;
/// println!("epoch {:?} of {} was the best", early.best_epoch(), history.len());
/// # assert!(history.len() < 100);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug)]
pub struct EarlyStopping {
    monitor: Monitor,
    patience: usize,
    restore_best: bool,
    /// Epochs since the last improvement.
    wait: usize,
    best_epoch: Option<usize>,
    /// A `Vec` of the model's number type.
    best_weights: Box<dyn Any + Send>,
    stopped_epoch: Option<usize>,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self::new()
    }
}

impl EarlyStopping {
    /// Watches `val_loss`, without patience, and keeps the last weights.
    pub fn new() -> Self {
        Self {
            monitor: Monitor::new(0.0),
            patience: 0,
            restore_best: false,
            wait: 0,
            best_epoch: None,
            best_weights: Box::new(()),
            stopped_epoch: None,
        }
    }

    /// Sets the figure that is watched, such as `val_accuracy`.
    pub fn monitor(mut self, figure: impl Into<String>) -> Self {
        self.monitor.figure = figure.into();
        self
    }

    /// Sets which way it gets better.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.monitor.mode = mode;
        self
    }

    /// Sets what it must be better by to count as better; at least 0.
    pub fn min_delta(mut self, min_delta: f64) -> Self {
        self.monitor.min_delta = min_delta;
        self
    }

    /// Sets how many epochs without improvement are put up with.
    pub fn patience(mut self, epochs: usize) -> Self {
        self.patience = epochs;
        self
    }

    /// Sets whether the weights of the best epoch are brought back.
    #[doc(alias = "restore_best_weights")]
    pub fn restore_best(mut self, restore: bool) -> Self {
        self.restore_best = restore;
        self
    }

    /// The best epoch of the last run, from 1; none if all were NaN.
    pub fn best_epoch(&self) -> Option<usize> {
        self.best_epoch
    }

    /// The figure in the best epoch.
    pub fn best(&self) -> Option<f64> {
        self.monitor.best
    }

    /// The epoch after which training was ended, from 1; none if it was not.
    pub fn stopped_epoch(&self) -> Option<usize> {
        self.stopped_epoch
    }
}

/// What a run that goes on brings with it, beside the best figure.
#[derive(Default)]
struct Remembered<'s> {
    wait: usize,
    best_epoch: Option<usize>,
    stopped_epoch: Option<usize>,
    /// Empty if none were kept.
    best_weights: &'s [f64],
}

impl<'s> Remembered<'s> {
    fn of(state: &'s State) -> Result<Self> {
        let epoch = |name| Ok(state.counts(name)?.first().map(|&epoch| epoch as usize));
        Ok(Self {
            wait: state.count("wait")? as usize,
            best_epoch: epoch("best_epoch")?,
            stopped_epoch: epoch("stopped_epoch")?,
            best_weights: state.array("best_weights")?,
        })
    }
}

impl<T: Scalar> Callback<T> for EarlyStopping {
    fn check(&self, trainer: &Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
        self.monitor.check("EarlyStopping", run)?;
        let Some(state) = run.state else { return Ok(()) };
        let weights = Remembered::of(state)?.best_weights.len();
        if self.restore_best && weights > 0 && weights != trainer.model().parameter_count() {
            return Err(invalid("best_weights", weights, "as many as the model has parameters"));
        }
        Ok(())
    }

    fn train_begin(&mut self, trainer: &mut Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
        self.check(trainer, run)?;
        self.monitor.begin(run)?;
        let remembered = run.state.map(Remembered::of).transpose()?.unwrap_or_default();
        (self.wait, self.best_epoch, self.stopped_epoch) =
            (remembered.wait, remembered.best_epoch, remembered.stopped_epoch);
        self.best_weights = match remembered.best_weights {
            // the run may have been one that was to bring them back
            weights if self.restore_best && !weights.is_empty() => {
                Box::new(weights.iter().map(|&weight| T::of(weight)).collect::<Vec<T>>())
            }
            _ => Box::new(()),
        };
        Ok(())
    }

    fn epoch_end(&mut self, trainer: &mut Trainer<T>, epoch: &EpochEnd<'_>) -> Result<Control> {
        if self.monitor.improves(epoch) {
            (self.wait, self.best_epoch) = (0, Some(epoch.epoch));
            if self.restore_best {
                let weights = trainer.model().values();
                match self.best_weights.downcast_mut::<Vec<T>>() {
                    Some(best) if best.len() == weights.len() => best.copy_from_slice(weights),
                    _ => self.best_weights = Box::new(weights.to_vec()),
                }
            }
            return Ok(Control::Continue);
        }
        self.wait += 1;
        if self.wait < self.patience || epoch.epoch == 1 {
            return Ok(Control::Continue);
        }
        self.stopped_epoch = Some(epoch.epoch);
        Ok(Control::Stop)
    }

    fn train_end(&mut self, trainer: &mut Trainer<T>) -> Result<()> {
        if self.best_epoch.is_some()
            && let Some(best) = self.best_weights.downcast_ref::<Vec<T>>()
        {
            // a callback told before this one may have put another model there
            trainer.check_model()?;
            trainer.model_mut().values_mut().copy_from_slice(best);
            trainer.restored_epoch = self.best_epoch;
        }
        Ok(())
    }

    fn state(&self) -> Option<State> {
        let epoch = |epoch: Option<usize>| epoch.map(|epoch| epoch as f64).into_iter().collect::<Vec<_>>();
        let weights = self.best_weights.downcast_ref::<Vec<T>>().map_or(&[][..], Vec::as_slice);
        let weights: Vec<f64> = weights.iter().map(|weight| weight.to_f64().expect("f32 and f64 are f64s")).collect();
        let state = State::new()
            .with("wait", self.wait)
            .with("best", self.monitor.state())
            .with("best_epoch", epoch(self.best_epoch))
            .with("stopped_epoch", epoch(self.stopped_epoch))
            .with("best_weights", weights);
        Some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callbacks::testing::{play, trainer};

    /// The number of epochs that run, and the callback afterwards.
    fn run(early: EarlyStopping, losses: &[f64]) -> (usize, EarlyStopping) {
        let mut early = early;
        let epochs = play(&mut trainer(), &mut early, "val_loss", losses, |_| {});
        (epochs, early)
    }

    // what keras.callbacks.EarlyStopping does with these losses
    #[test]
    fn patience_is_counted_as_in_keras() {
        let losses = [1.0, 0.5, 0.6, 0.4, 0.4, 0.5, 0.3, 0.2];
        for (patience, epochs, best) in [(0, 3, 2), (1, 3, 2), (2, 6, 4), (3, 8, 8)] {
            let (ran, early) = run(EarlyStopping::new().patience(patience), &losses);
            assert_eq!((ran, early.best_epoch()), (epochs, Some(best)), "patience {patience}");
            assert_eq!(early.stopped_epoch(), (ran < losses.len()).then_some(ran));
        }
    }

    #[test]
    fn an_improvement_must_exceed_min_delta() {
        let early = EarlyStopping::new().min_delta(0.25).patience(2);
        let (ran, early) = run(early, &[1.0, 0.75, 0.875, 0.5]);
        assert_eq!((ran, early.best_epoch(), early.best()), (3, Some(1), Some(1.0)));
    }

    #[test]
    fn the_first_epoch_never_ends_training() {
        let (ran, early) = run(EarlyStopping::new(), &[f64::NAN, f64::NAN, 1.0]);
        assert_eq!((ran, early.best_epoch()), (2, None));
    }

    #[test]
    fn the_weights_of_the_best_epoch_come_back() {
        for (restore, expected) in [(true, 2.0), (false, 4.0)] {
            let mut trainer = trainer();
            let mut early = EarlyStopping::new().patience(2).restore_best(restore);
            let mut epoch = 0.0;
            // after epoch n all weights are n
            play(&mut trainer, &mut early, "val_loss", &[1.0, 0.5, 0.75, 0.6, 0.1], |trainer| {
                epoch += 1.0;
                trainer.model_mut().values_mut().fill(epoch);
            });
            assert!(trainer.model().values().iter().all(|&w| w == expected), "restore {restore}");
        }
    }

    #[test]
    fn a_second_run_starts_anew() {
        let mut early = EarlyStopping::new();
        for _ in 0..2 {
            assert_eq!(play(&mut trainer(), &mut early, "val_loss", &[1.0, 2.0, 0.5], |_| {}), 2);
            assert_eq!((early.best(), early.stopped_epoch()), (Some(1.0), Some(2)));
        }
    }
}
