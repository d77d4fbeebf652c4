//! Smaller steps when large ones no longer help.

use super::monitor::Monitor;
use super::{Callback, Control, EpochEnd, Mode, TrainBegin};
use crate::error::{Error, Result};
use crate::model::{State, Trainer};
use crate::scalar::Scalar;

/// Lowers the learning rate when a figure has not improved for some epochs.
///
/// > lr ← max(lr · factor, minimum)
///
/// after the `patience`-th epoch in a row that is no improvement. After that, `cooldown` epochs pass before such epochs
/// are counted again. An epoch is an improvement if its figure is better than the best so far by more than `min_delta`.
///
/// # Parameters
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | [`monitor`](Self::monitor) | `val_loss` | a figure of the run | what is watched |
/// | [`mode`](Self::mode) | [`Auto`](Mode::Auto) | | which way it gets better |
/// | [`factor`](Self::factor) | 0.1 | \[0, 1) | what the learning rate is multiplied by |
/// | [`patience`](Self::patience) | 10 | ≥ 0 | epochs without improvement, in a row, that are put up with |
/// | [`min_delta`](Self::min_delta) | 10⁻⁴ | ≥ 0 | in the figure's unit; a change of just this much is no improvement |
/// | [`cooldown`](Self::cooldown) | 0 | ≥ 0 | epochs that do not count after the rate was lowered |
/// | [`minimum`](Self::minimum) | 0 | ≥ 0 | the lowest learning rate |
///
/// # Errors
///
/// From `fit`, before the first step: [`Error::InvalidParameter`] if the run has no such figure, if
/// [`Auto`](Mode::Auto) cannot tell which way it gets better, or for a setting out of range.
///
/// # Source
///
/// `keras/src/callbacks/reduce_lr_on_plateau.py`, Keras 3.15. There, [`Auto`](Mode::Auto) takes everything for a loss whose
/// name has no `acc`.
///
/// # Example
///
/// ```
/// use plywood::callbacks::ReduceLROnPlateau;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// let mut plateau = ReduceLROnPlateau::new().monitor("loss").factor(0.5).patience(1).min_delta(0.1);
/// trainer.fit_with(&data, &Fit::epochs(30), &mut [&mut plateau])?;
/// assert!(trainer.optimizer().learning_rate() < 0.01);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ReduceLROnPlateau {
    monitor: Monitor,
    factor: f64,
    patience: usize,
    cooldown: usize,
    minimum: f64,
    /// Epochs since the last improvement.
    wait: usize,
    /// Epochs that still do not count.
    cooling: usize,
}

impl Default for ReduceLROnPlateau {
    fn default() -> Self {
        Self::new()
    }
}

impl ReduceLROnPlateau {
    /// A tenth of the learning rate after ten epochs in which `val_loss` has not improved.
    pub fn new() -> Self {
        Self { monitor: Monitor::new(1e-4), factor: 0.1, patience: 10, cooldown: 0, minimum: 0.0, wait: 0, cooling: 0 }
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

    /// Sets what the learning rate is multiplied by; at least 0 and below 1.
    pub fn factor(self, factor: f64) -> Self {
        Self { factor, ..self }
    }

    /// Sets how many epochs without improvement are put up with.
    pub fn patience(self, epochs: usize) -> Self {
        Self { patience: epochs, ..self }
    }

    /// Sets what the figure must be better by to count as better; at least 0.
    pub fn min_delta(mut self, min_delta: f64) -> Self {
        self.monitor.min_delta = min_delta;
        self
    }

    /// Sets how many epochs do not count after the rate was lowered.
    pub fn cooldown(self, epochs: usize) -> Self {
        Self { cooldown: epochs, ..self }
    }

    /// Sets the lowest learning rate; at least 0.
    #[doc(alias = "min_lr")]
    pub fn minimum(self, minimum: f64) -> Self {
        Self { minimum, ..self }
    }
}

/// How long a run that goes on has waited, and has still to cool.
fn counts_of(run: &TrainBegin<'_>) -> Result<(usize, usize)> {
    let Some(state) = run.state else { return Ok((0, 0)) };
    Ok((state.count("wait")? as usize, state.count("cooling")? as usize))
}

impl<T: Scalar> Callback<T> for ReduceLROnPlateau {
    fn check(&self, _: &Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
        const OWNER: &str = "ReduceLROnPlateau";
        if !(0.0..1.0).contains(&self.factor) {
            return Err(Error::invalid_parameter(OWNER, "factor", self.factor, "a number of at least 0 and below 1"));
        }
        if !self.minimum.is_finite() || self.minimum < 0.0 {
            return Err(Error::invalid_parameter(OWNER, "minimum", self.minimum, "a finite number of at least 0"));
        }
        self.monitor.check(OWNER, run)?;
        counts_of(run).map(drop)
    }

    fn train_begin(&mut self, trainer: &mut Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
        self.check(trainer, run)?;
        self.monitor.begin(run)?;
        (self.wait, self.cooling) = counts_of(run)?;
        Ok(())
    }

    fn state(&self) -> Option<State> {
        let state = State::new().with("best", self.monitor.state());
        Some(state.with("wait", self.wait).with("cooling", self.cooling))
    }

    fn epoch_end(&mut self, trainer: &mut Trainer<T>, epoch: &EpochEnd<'_>) -> Result<Control> {
        if self.cooling > 0 {
            self.cooling -= 1;
            self.wait = 0;
        }
        if self.monitor.improves(epoch) {
            self.wait = 0;
        } else if self.cooling == 0 {
            self.wait += 1;
            let optimizer = trainer.optimizer_mut();
            let rate = optimizer.learning_rate();
            if self.wait >= self.patience && rate > self.minimum {
                optimizer.set_learning_rate((rate * self.factor).max(self.minimum));
                (self.wait, self.cooling) = (0, self.cooldown);
            }
        }
        Ok(Control::Continue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callbacks::testing::{play, trainer};

    /// The learning rate after each epoch.
    fn rates(plateau: ReduceLROnPlateau, losses: &[f64]) -> Vec<f64> {
        let (mut trainer, mut plateau, mut rates) = (trainer(), plateau, vec![]);
        let mut look = |trainer: &mut Trainer| rates.push(trainer.optimizer().learning_rate());
        play(&mut trainer, &mut plateau, "val_loss", losses, &mut look);
        look(&mut trainer);
        rates.split_off(1)
    }

    fn halving(patience: usize) -> ReduceLROnPlateau {
        ReduceLROnPlateau::new().factor(0.5).patience(patience)
    }

    // by hand from keras/src/callbacks/reduce_lr_on_plateau.py
    #[test]
    fn the_rate_falls_when_patience_is_used_up() {
        let losses = [1.0, 0.9, 0.9, 0.9, 0.9, 0.8, 0.8];
        assert_eq!(rates(halving(2), &losses), [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]);
        assert_eq!(rates(halving(1), &losses), [1.0, 1.0, 0.5, 0.25, 0.125, 0.125, 0.0625]);
        assert_eq!(rates(halving(0), &losses), rates(halving(1), &losses));
        assert_eq!(rates(halving(10), &losses), [1.0; 7]);
    }

    #[test]
    fn epochs_of_cooling_do_not_count() {
        assert_eq!(rates(halving(1).cooldown(2), &[1.0; 8]), [1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625]);
        assert_eq!(rates(halving(2).cooldown(2), &[1.0; 7]), [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]);
    }

    #[test]
    fn the_rate_stays_above_its_minimum() {
        assert_eq!(rates(halving(1).minimum(0.3), &[1.0; 5]), [1.0, 0.5, 0.3, 0.3, 0.3]);
    }

    #[test]
    fn small_improvements_do_not_count() {
        assert_eq!(rates(halving(1), &[1.0, 1.0 - 0.9e-4, 1.0 - 1.1e-4]), [1.0, 0.5, 0.5]);
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let figures = ["val_loss".to_owned()];
        let run = TrainBegin { epochs: 1, batches: 1, samples: 1, figures: &figures, epoch: 0, batch: 0, state: None };
        for (plateau, message) in [
            (halving(1).factor(1.0), "factor is 1, expected a number of at least 0 and below 1"),
            (halving(1).factor(f64::NAN), "factor is NaN, expected a number of at least 0 and below 1"),
            (halving(1).minimum(-1.0), "minimum is -1, expected a finite number of at least 0"),
            (halving(1).min_delta(-1.0), "min_delta is -1, expected a finite number of at least 0"),
        ] {
            let error = plateau.check(&trainer(), &run).unwrap_err();
            assert_eq!(error.to_string(), format!("ReduceLROnPlateau: {message}"));
        }
    }
}
