//! Ending training when its time is up.

use std::time::{Duration, Instant};

use super::{BatchEnd, Callback, Control, TrainBegin};
use crate::error::Result;
use crate::model::Trainer;
use crate::scalar::Scalar;

/// Ends training after the first step that ends when the time is up; everything learned is kept.
///
/// The time runs from the beginning of each call of `fit`, by the clock on the wall, validation and callbacks included.
///
/// ```
/// use std::time::Duration;
///
/// use plywood::callbacks::TimeBudget;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// let mut budget = TimeBudget::new(Duration::from_millis(20));
/// let history = trainer.fit_with(&data, &Fit::epochs(usize::MAX), &mut [&mut budget])?;
/// assert!(!history.is_empty());
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeBudget {
    budget: Duration,
    start: Option<Instant>,
}

impl TimeBudget {
    /// This much time; at least one step is taken even without any.
    pub fn new(budget: Duration) -> Self {
        Self { budget, start: None }
    }
}

impl<T: Scalar> Callback<T> for TimeBudget {
    fn train_begin(&mut self, _: &mut Trainer<T>, _: &TrainBegin<'_>) -> Result<()> {
        self.start = Some(Instant::now());
        Ok(())
    }

    fn batch_end(&mut self, _: &mut Trainer<T>, _: &BatchEnd) -> Result<Control> {
        let up = self.start.is_some_and(|start| start.elapsed() >= self.budget);
        Ok(if up { Control::Stop } else { Control::Continue })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callbacks::testing::{play, trainer};

    #[test]
    fn training_ends_with_the_step_in_which_time_is_up() {
        assert_eq!(play(&mut trainer(), &mut TimeBudget::new(Duration::ZERO), "loss", &[1.0; 9], |_| {}), 1);
        assert_eq!(play(&mut trainer(), &mut TimeBudget::new(Duration::MAX), "loss", &[1.0; 9], |_| {}), 9);
        let mut budget = TimeBudget::new(Duration::from_millis(30));
        for _ in 0..2 {
            let sleep = |_: &mut Trainer| std::thread::sleep(Duration::from_millis(20));
            let ran = play(&mut trainer(), &mut budget, "loss", &[1.0; 9], sleep);
            assert!((1..=2).contains(&ran), "{ran}");
        }
    }
}
