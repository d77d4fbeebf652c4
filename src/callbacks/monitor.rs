//! Watching one figure from epoch to epoch: what [`EarlyStopping`](super::EarlyStopping) and
//! [`ReduceLROnPlateau`](super::ReduceLROnPlateau) share.

use super::{EpochEnd, TrainBegin};
use crate::error::{Error, Result};

/// Which way a figure gets better.
///
/// A loss that falls gets better, unless it is taken for a figure that should be high:
///
/// ```
/// use plywood::callbacks::{EarlyStopping, Mode};
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// let epochs = |early: EarlyStopping, trainer: &mut Trainer| {
///     let mut early = early.monitor("loss").patience(2);
///     Ok::<_, Error>(trainer.fit_with(&data, &Fit::epochs(10), &mut [&mut early])?.len())
/// };
/// assert_eq!(epochs(EarlyStopping::new(), &mut trainer)?, 10);
/// assert_eq!(epochs(EarlyStopping::new().mode(Mode::Max), &mut trainer)?, 3);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// Told by the last word of its name, `_score` left out: `loss`, `error`, `crossentropy`, `mae`, `mse`, `rmse` and
    /// `mape` should be low; `accuracy`, `acc`, `precision`, `recall`, `f1` and `auc` high. Of other names it is an
    /// error.
    #[default]
    Auto,
    /// Low is good.
    Min,
    /// High is good.
    Max,
}

/// A figure, and the best it has been.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Monitor {
    pub(super) figure: String,
    pub(super) mode: Mode,
    /// What the figure must be better by to count as better.
    pub(super) min_delta: f64,
    pub(super) best: Option<f64>,
}

impl Monitor {
    /// Of `val_loss`.
    pub(super) fn new(min_delta: f64) -> Self {
        Self { figure: "val_loss".to_owned(), mode: Mode::Auto, min_delta, best: None }
    }

    /// Whether there will be something to see.
    pub(super) fn check(&self, owner: &'static str, run: &TrainBegin<'_>) -> Result<()> {
        if !run.figures.contains(&self.figure) {
            let got = format!("{:?} where there are {}", self.figure, run.figures.join(", "));
            let expected = "a figure of the run; names with val_ need validation data or a validation split";
            return Err(Error::invalid_parameter(owner, "monitor", got, expected));
        }
        if !self.min_delta.is_finite() || self.min_delta < 0.0 {
            return Err(Error::invalid_parameter(owner, "min_delta", self.min_delta, "a finite number of at least 0"));
        }
        if self.wants_low().is_none() {
            let got = format!("Auto, which cannot tell for {:?}", self.figure);
            return Err(Error::invalid_parameter(owner, "mode", got, "Mode::Min or Mode::Max"));
        }
        best_of(run).map(drop)
    }

    /// Forgets what was seen, or takes up a state.
    pub(super) fn begin(&mut self, run: &TrainBegin<'_>) -> Result<()> {
        self.best = best_of(run)?;
        Ok(())
    }

    /// The best so far, as a value of a state: an array of one number, or of none.
    pub(super) fn state(&self) -> Vec<f64> {
        self.best.into_iter().collect()
    }

    /// Whether this epoch is the best so far. NaN is never better than anything.
    pub(super) fn improves(&mut self, epoch: &EpochEnd<'_>) -> bool {
        let value = epoch.get(&self.figure).expect("the run has said that there is such a figure");
        let better = match self.best {
            None => !value.is_nan(),
            Some(best) if self.wants_low().expect("the run's check has asked") => value < best - self.min_delta,
            Some(best) => value > best + self.min_delta,
        };
        if better {
            self.best = Some(value);
        }
        better
    }

    /// Whether low is good, if that can be told.
    fn wants_low(&self) -> Option<bool> {
        match self.mode {
            Mode::Min => Some(true),
            Mode::Max => Some(false),
            Mode::Auto => {
                let name = self.figure.strip_prefix("val_").unwrap_or(&self.figure);
                let name = name.strip_suffix("_score").unwrap_or(name);
                match name.rsplit('_').next()? {
                    "loss" | "error" | "crossentropy" | "mae" | "mse" | "rmse" | "mape" => Some(true),
                    "accuracy" | "acc" | "precision" | "recall" | "f1" | "auc" => Some(false),
                    _ => None,
                }
            }
        }
    }
}

/// The best so far of a run that goes on.
fn best_of(run: &TrainBegin<'_>) -> Result<Option<f64>> {
    run.state.map_or(Ok(None), |state| Ok(state.array("best")?.first().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn improvements(mut monitor: Monitor, values: &[f64]) -> Vec<bool> {
        let improves = |&value| {
            let values = [(monitor.figure.clone(), value)];
            let values = values.each_ref().map(|(name, value)| (name.as_str(), *value));
            monitor.improves(&EpochEnd { epoch: 1, epochs: 1, seconds: 0.0, values: &values })
        };
        values.iter().map(improves).collect()
    }

    fn monitor(figure: &str, mode: Mode) -> Monitor {
        Monitor { figure: figure.to_owned(), mode, ..Monitor::new(0.0) }
    }

    #[test]
    fn names_tell_what_is_good() {
        let (falls, rises) = ([true, true, false], [true, false, true]);
        let values = [2.0, 1.0, 3.0];
        for figure in ["val_loss", "loss", "mean_squared_error", "val_mae", "rmse", "categorical_crossentropy"] {
            assert_eq!(improvements(monitor(figure, Mode::Auto), &values), falls, "{figure}");
        }
        for figure in ["accuracy", "val_f1", "val_f1_score", "top_5_accuracy", "precision", "recall", "roc_auc"] {
            assert_eq!(improvements(monitor(figure, Mode::Auto), &values), rises, "{figure}");
        }
        assert_eq!(improvements(monitor("loss", Mode::Max), &values), rises);
        assert_eq!(improvements(monitor("accuracy", Mode::Min), &values), falls);
    }

    #[test]
    fn small_steps_and_nan_are_no_improvement() {
        let with_delta = Monitor { min_delta: 0.5, ..Monitor::new(0.0) };
        assert_eq!(improvements(with_delta, &[2.0, 1.5, 1.75, 1.25]), [true, false, false, true]);
        assert_eq!(improvements(Monitor::new(0.0), &[f64::NAN, 2.0, f64::NAN, 1.0]), [false, true, false, true]);
        assert_eq!(improvements(Monitor::new(0.0), &[f64::INFINITY, 1.0, 1.0]), [true, true, false]);
    }

    #[test]
    fn figures_that_will_not_be_there_are_told_before_training() {
        let figures = ["loss".to_owned(), "accuracy".to_owned()];
        let run = TrainBegin { epochs: 1, batches: 1, samples: 1, figures: &figures, epoch: 0, batch: 0, state: None };
        assert_eq!(
            Monitor::new(0.0).check("EarlyStopping", &run).unwrap_err().to_string(),
            "EarlyStopping: monitor is \"val_loss\" where there are loss, accuracy, expected a figure of the run; names \
             with val_ need validation data or a validation split"
        );
        let mut loss = monitor("loss", Mode::Auto);
        loss.check("EarlyStopping", &run).unwrap();
        loss.min_delta = f64::NAN;
        loss.check("EarlyStopping", &run).unwrap_err();
    }

    #[test]
    fn names_that_do_not_tell_are_errors() {
        for figure in ["val_perplexity", "glass", "loss_scale", "val_", ""] {
            let figures = [figure.to_owned()];
            let run =
                TrainBegin { epochs: 1, batches: 1, samples: 1, figures: &figures, epoch: 0, batch: 0, state: None };
            assert_eq!(
                monitor(figure, Mode::Auto).check("EarlyStopping", &run).unwrap_err().to_string(),
                format!(
                    "EarlyStopping: mode is Auto, which cannot tell for {figure:?}, expected Mode::Min or Mode::Max"
                )
            );
            monitor(figure, Mode::Min).check("EarlyStopping", &run).unwrap();
            monitor(figure, Mode::Max).check("EarlyStopping", &run).unwrap();
        }
    }
}
