//! A learning rate that changes from step to step.

use std::f64::consts::FRAC_PI_2;
use std::fmt;

use super::{BatchEnd, Callback, Control, TrainBegin};
use crate::error::{Error, Result};
use crate::kernels::math::Transcendental;
use crate::model::Trainer;
use crate::scalar::Scalar;

/// Sets the learning rate for each step, as a function of the epochs trained so far.
///
/// | constructor | learning rate after t epochs |
/// |---|---|
/// | [`step`](Self::step)`(lr, every, factor)` | lr · factor^⌊t / every⌋ |
/// | [`exponential`](Self::exponential)`(lr, factor)` | lr · factorᵗ |
/// | [`cosine`](Self::cosine)`(lr, epochs)` | minimum + (lr − minimum) · (1 + cos(π · min(t / epochs, 1))) / 2 |
/// | [`from_fn`](Self::from_fn)`(f)` | f(t) |
/// | any, with [`warm_up`](Self::warm_up)`(epochs)` | t < epochs: its rate at 0, times t / epochs; then its rate at t − epochs |
///
/// Within an epoch t grows by 1 / batches with each step; the first step of all is taken at t = 0, which with a warm-up
/// moves nothing. The epochs counted are all that the trainer has completed, not those of one call of `fit`, and the rate
/// is a function of them alone: training that goes on later, goes on with the rate it would have had, to the last bit.
///
/// # Parameters
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | `lr` | | ≥ 0 | the rate at the beginning, whatever the optimizer's was |
/// | `every` | | > 0 | epochs on a stair |
/// | `factor` | | > 0 | what each stair, or each epoch, multiplies the rate by |
/// | `epochs` | | > 0 | how long the cosine takes to fall; may be a fraction |
/// | [`minimum`](Self::minimum) | 0 | ≥ 0 | where the cosine ends |
/// | [`warm_up`](Self::warm_up) | 0 | ≥ 0 | epochs in which the rate rises from 0; may be a fraction |
///
/// # Errors
///
/// From `fit`, before the first step: [`Error::InvalidParameter`] for a setting out of range. During training: the same for
/// a rate of [`from_fn`](Self::from_fn) that is negative or not finite.
///
/// # Source
///
/// `CosineDecay` and `ExponentialDecay` (`staircase` for stairs) in `keras/src/optimizers/schedules/`; Loshchilov, Hutter,
/// *SGDR: Stochastic Gradient Descent with Warm Restarts* (2017) for the cosine.
///
/// # Example
///
/// ```
/// use plywood::callbacks::LearningRateSchedule;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// let mut schedule = LearningRateSchedule::cosine(0.1, 9.0).minimum(1e-3).warm_up(1.0);
/// assert_eq!([0.0, 0.5, 1.0, 10.0].map(|epochs| schedule.rate(epochs)), [0.0, 0.05, 0.1, 0.001]);
/// trainer.fit_with(&data, &Fit::epochs(10), &mut [&mut schedule])?;
/// assert_eq!(trainer.optimizer().learning_rate(), 1e-3);
/// # Ok::<(), plywood::Error>(())
/// ```
#[doc(alias = "LearningRateScheduler")]
#[doc(alias = "CosineDecay")]
#[doc(alias = "ExponentialDecay")]
#[derive(Debug)]
pub struct LearningRateSchedule {
    course: Course,
    warm_up: f64,
}

enum Course {
    Step { rate: f64, every: f64, factor: f64 },
    Exponential { rate: f64, factor: f64 },
    Cosine { rate: f64, epochs: f64, minimum: f64 },
    Function(Box<dyn Fn(f64) -> f64 + Send>),
}

impl fmt::Debug for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { rate, every, factor } => write!(f, "step({rate}, {every}, {factor})"),
            Self::Exponential { rate, factor } => write!(f, "exponential({rate}, {factor})"),
            Self::Cosine { rate, epochs, minimum } => write!(f, "cosine({rate}, {epochs}, {minimum})"),
            Self::Function(_) => f.write_str("from_fn"),
        }
    }
}

impl LearningRateSchedule {
    fn new(course: Course) -> Self {
        Self { course, warm_up: 0.0 }
    }

    /// Stairs: the rate is multiplied by `factor` after each `every` epochs.
    #[doc(alias = "StepLR")]
    pub fn step(learning_rate: f64, every: f64, factor: f64) -> Self {
        Self::new(Course::Step { rate: learning_rate, every, factor })
    }

    /// A rate that each epoch multiplies by `factor`, smoothly.
    #[doc(alias = "ExponentialLR")]
    pub fn exponential(learning_rate: f64, factor: f64) -> Self {
        Self::new(Course::Exponential { rate: learning_rate, factor })
    }

    /// Half a wave of the cosine: from the learning rate down to [`minimum`](Self::minimum) in so many epochs, where it
    /// stays.
    #[doc(alias = "CosineAnnealingLR")]
    pub fn cosine(learning_rate: f64, epochs: f64) -> Self {
        Self::new(Course::Cosine { rate: learning_rate, epochs, minimum: 0.0 })
    }

    /// Any function of the epochs trained so far.
    #[doc(alias = "LambdaLR")]
    pub fn from_fn(rate: impl Fn(f64) -> f64 + Send + 'static) -> Self {
        Self::new(Course::Function(Box::new(rate)))
    }

    /// Sets where a cosine ends; at least 0. Other schedules take no notice.
    pub fn minimum(mut self, rate: f64) -> Self {
        if let Course::Cosine { minimum, .. } = &mut self.course {
            *minimum = rate;
        }
        self
    }

    /// Sets in how many epochs the rate rises from 0 before the schedule proper begins; at least 0.
    pub fn warm_up(mut self, epochs: f64) -> Self {
        self.warm_up = epochs;
        self
    }

    /// The learning rate after so many epochs.
    pub fn rate(&self, epochs: f64) -> f64 {
        if epochs < self.warm_up {
            return self.course.rate(0.0, 0.0) * (epochs / self.warm_up);
        }
        self.course.rate(epochs - self.warm_up, 4.0 * f64::EPSILON * epochs)
    }

    /// The rate after so many epochs, if it is one.
    fn checked_rate(&self, epochs: f64) -> Result<f64> {
        let rate = self.rate(epochs);
        non_negative("rate", rate)?;
        Ok(rate)
    }
}

impl Course {
    /// The rate after t epochs, which may be so much too few by rounding: 0.3 / 0.1 is a little less than 3.
    fn rate(&self, t: f64, rounding: f64) -> f64 {
        match self {
            Self::Step { rate, every, factor } => rate * power(*factor, ((t + rounding) / every).floor()),
            Self::Exponential { rate, factor } => rate * power(*factor, t),
            Self::Cosine { rate, epochs, minimum } => minimum + (rate - minimum) * half_wave((t / epochs).min(1.0)),
            Self::Function(rate) => rate(t),
        }
    }

    fn check(&self) -> Result<()> {
        match self {
            Self::Step { rate, every, factor } => {
                non_negative("learning_rate", *rate)?;
                positive("every", *every)?;
                positive("factor", *factor)
            }
            Self::Exponential { rate, factor } => {
                non_negative("learning_rate", *rate)?;
                positive("factor", *factor)
            }
            Self::Cosine { rate, epochs, minimum } => {
                non_negative("learning_rate", *rate)?;
                positive("epochs", *epochs)?;
                non_negative("minimum", *minimum)
            }
            Self::Function(_) => Ok(()),
        }
    }
}

fn non_negative(parameter: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::invalid_parameter("LearningRateSchedule", parameter, value, "a finite number of at least 0"))
}

fn positive(parameter: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::invalid_parameter("LearningRateSchedule", parameter, value, "a finite number above 0"))
}

/// baseᵗ = e^(t · ln base) with the crate's own functions: a platform's `powf` may give other bits than another's.
fn power(base: f64, t: f64) -> f64 {
    (t * base.logarithm()).exponential()
}

/// (1 + cos(π·x)) / 2 for x from 0 to 1, within 2⁻⁵²; exact at both ends. Written out because a platform's `cos` may give
/// other bits than another's.
fn half_wave(x: f64) -> f64 {
    // sin²(π/2 · (1 − x)), or 1 − sin²(π/2 · x): one of them with an angle up to π/4
    let angle = FRAC_PI_2 * x.min(1.0 - x);
    // the sine's series, in which the term after these is below 2⁻⁵⁷
    let mut sum = 0.0;
    for k in (1..=8).rev() {
        let even = f64::from(2 * k);
        sum = (1.0 + sum) * (-angle * angle / (even * (even + 1.0)));
    }
    let sine = angle + angle * sum;
    if x < 0.5 { 1.0 - sine * sine } else { sine * sine }
}

/// Epochs trained when so many batches of one have been.
fn epochs<T: Scalar>(trainer: &Trainer<T>, batch: usize, batches: usize) -> f64 {
    trainer.epoch() as f64 + batch as f64 / batches as f64
}

impl<T: Scalar> Callback<T> for LearningRateSchedule {
    fn check(&self, trainer: &Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
        self.course.check()?;
        non_negative("warm_up", self.warm_up)?;
        self.checked_rate(epochs(trainer, run.batch, run.batches)).map(drop)
    }

    fn train_begin(&mut self, trainer: &mut Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
        self.check(trainer, run)?;
        let rate = self.rate(epochs(trainer, run.batch, run.batches));
        trainer.optimizer_mut().set_learning_rate(rate);
        Ok(())
    }

    fn batch_end(&mut self, trainer: &mut Trainer<T>, batch: &BatchEnd) -> Result<Control> {
        // the step that is taken next; the trainer counts the epoch only when it has ended
        let rate = self.checked_rate(epochs(trainer, batch.batch, batch.batches))?;
        trainer.optimizer_mut().set_learning_rate(rate);
        Ok(Control::Continue)
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::array;

    use super::*;
    use crate::callbacks::on_batch_end;
    use crate::callbacks::testing::trainer;
    use crate::data::Dataset;
    use crate::model::Fit;

    fn rates<const N: usize>(schedule: &LearningRateSchedule, epochs: [f64; N]) -> [f64; N] {
        epochs.map(|epochs| schedule.rate(epochs))
    }

    #[test]
    fn rates_are_those_of_the_formulas() {
        let stairs = LearningRateSchedule::step(0.8, 3.0, 0.5);
        assert_relative_eq!(
            rates(&stairs, [0.0, 2.9, 3.0, 5.99, 6.0, 9.0])[..],
            [0.8, 0.8, 0.4, 0.4, 0.2, 0.1][..],
            max_relative = 4e-15
        );
        // 0.9¹⁰ and 0.9^½ of Python
        let exponential = LearningRateSchedule::exponential(1.0, 0.9);
        assert_relative_eq!(
            rates(&exponential, [0.0, 0.5, 1.0, 10.0])[..],
            [1.0, 0.9486832980505138, 0.9, 0.3486784401000001][..],
            max_relative = 1e-14
        );
        // keras.optimizers.schedules.CosineDecay(0.1, 10, alpha=0.01) at 0, 1, 5, 9, 10, 20, in f64
        let cosine = LearningRateSchedule::cosine(0.1, 10.0).minimum(0.001);
        assert_relative_eq!(
            rates(&cosine, [0.0, 1.0, 5.0, 9.0, 10.0, 20.0])[..],
            [0.1, 0.09757729755661011, 0.0505, 0.003422702443389901, 0.001, 0.001][..],
            max_relative = 1e-14
        );
        let warm = LearningRateSchedule::step(0.8, 3.0, 0.5).warm_up(2.0);
        assert_relative_eq!(
            rates(&warm, [0.0, 0.5, 1.0, 2.0, 4.9, 5.0])[..],
            [0.0, 0.2, 0.4, 0.8, 0.8, 0.4][..],
            max_relative = 4e-15
        );
        assert_eq!(LearningRateSchedule::from_fn(|t| 2.0 * t).warm_up(1.0).rate(3.0), 4.0);
    }

    /// 0.3/0.1 is a little less than 3, as t and `every` are rounded.
    #[test]
    fn stairs_begin_where_they_should() {
        for batches in 1..=100_u32 {
            for (every, warm_up) in [(1, 0), (1, 1), (3, 0), (7, 2), (batches, 0)] {
                let part = |number: u32| f64::from(number) / f64::from(batches);
                let schedule = LearningRateSchedule::step(1.0, part(every), 0.5).warm_up(part(warm_up));
                let long_after = 1000 * batches.next_multiple_of(every);
                for step in (warm_up..300).chain(long_after..long_after + 50) {
                    let epochs = f64::from(step / batches) + part(step % batches);
                    let expected = power(0.5, f64::from((step - warm_up) / every));
                    assert_eq!(schedule.rate(epochs), expected, "step {step}, {every}/{batches}, after {warm_up}");
                }
            }
        }
    }

    #[test]
    fn the_cosine_is_that_of_the_standard_library() {
        for i in 0..=1000 {
            let x = f64::from(i) / 1000.0;
            let expected = (1.0 + (std::f64::consts::PI * x).cos()) / 2.0;
            assert!((half_wave(x) - expected).abs() <= f64::EPSILON, "{x}: {}", half_wave(x));
        }
        assert_eq!([0.0, 1.0].map(half_wave), [1.0, 0.0]);
    }

    /// The rate that each step was taken with.
    fn run(runs: &[usize]) -> Vec<f64> {
        let data = Dataset::new(array![[0.0_f32], [1.0], [2.0]], array![[0.0], [0.0], [0.0]]).unwrap();
        let (mut trainer, mut rates) = (trainer(), vec![]);
        for &epochs in runs {
            // told before the schedule, which changes the rate for the next step
            let mut look = on_batch_end(|trainer: &mut Trainer, _| rates.push(trainer.optimizer().learning_rate()));
            let mut schedule = LearningRateSchedule::exponential(1e-3, 0.25);
            let fit = Fit::epochs(epochs).batch_size(2);
            trainer.fit_with(&data, &fit, &mut [&mut look, &mut schedule]).unwrap();
        }
        rates
    }

    #[test]
    fn every_step_has_its_rate_and_a_later_run_goes_on() {
        let expected = [1e-3, 5e-4, 2.5e-4, 1.25e-4, 6.25e-5, 3.125e-5];
        assert_relative_eq!(run(&[3])[..], expected[..], max_relative = 1e-14);
        assert_eq!(run(&[1, 2]), run(&[3]));
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let run = TrainBegin { epochs: 1, batches: 1, samples: 1, figures: &[], epoch: 0, batch: 0, state: None };
        for (schedule, message) in [
            (
                LearningRateSchedule::step(-0.1, 1.0, 0.5),
                "learning_rate is -0.1, expected a finite number of at least 0",
            ),
            (LearningRateSchedule::step(0.1, 0.0, 0.5), "every is 0, expected a finite number above 0"),
            (LearningRateSchedule::exponential(0.1, f64::NAN), "factor is NaN, expected a finite number above 0"),
            (LearningRateSchedule::cosine(0.1, -1.0), "epochs is -1, expected a finite number above 0"),
            (
                LearningRateSchedule::cosine(0.1, 1.0).minimum(f64::INFINITY),
                "minimum is inf, expected a finite number of at least 0",
            ),
            (
                LearningRateSchedule::cosine(0.1, 1.0).warm_up(-1.0),
                "warm_up is -1, expected a finite number of at least 0",
            ),
            (LearningRateSchedule::from_fn(|t| t - 1.0), "rate is -1, expected a finite number of at least 0"),
        ] {
            let error = schedule.check(&trainer(), &run).unwrap_err();
            assert_eq!(error.to_string(), format!("LearningRateSchedule: {message}"));
        }
    }
}
