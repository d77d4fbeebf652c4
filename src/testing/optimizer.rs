//! Everything an optimizer owes, in one call.

use std::fmt::Debug;

use super::numbers::{Draw, Spacing, largest_error, of_f64, same_bits};
use super::report::{Found, attempt};
use super::threads::{few_and_many, on_several};
use super::{Failure, Report};
use crate::optimizers::{MAX_SLOTS, Optimizer, Update, step};
use crate::scalar::Scalar;

/// Steps of a run.
const STEPS: usize = 10;

/// Parameters of a run.
const PARAMETERS: usize = 37;

/// Parameters of a run that is cut into pieces for several threads.
const MANY_PARAMETERS: usize = 50_000;

/// Steps of which some must move something.
const WINDOW: u64 = 50;

/// Steps that are all taken.
const EVERY_STEP: u64 = 1000;

/// Steps from which a window is taken then.
const LATE_STEPS: [u64; 3] = [10_000, 1_000_000, 1_000_000_000];

/// Largest relative error of `f32` after ten steps.
const F32_BOUND: f64 = 1e-5;

/// Runs an optimizer through everything it owes.
///
/// | what is checked | how |
/// |---|---|
/// | settings | [`Optimizer::check`] accepts them; at most [`MAX_SLOTS`] slots; the same for both types |
/// | learning rate | what is set is what is got, and a rate of 0 changes no parameter |
/// | bad learning rates | [`Optimizer::check`] refuses one that is negative, infinite or NaN |
/// | repeated | the same bits again |
/// | pieces | the same bits, whichever pieces the parameters are cut into, also on 1 and on 4 threads |
/// | NaN | a gradient that is not a number makes its own parameter NaN, and no other |
/// | downhill | after fifty steps down Σ w²/2 that is less than at first |
/// | goes on | something moves in every fifty of 1,000 steps, and of some around 10⁴, 10⁶ and 10⁹; all stays finite |
/// | f32 against f64 | parameters after ten steps, within 10⁻⁵, those that started at 0 among them |
///
/// Gradients are random, of sizes from 10⁻⁵ to 1, and 0.
///
/// # Errors
///
/// The report, if anything is not as it should be.
///
/// ```
/// use plywood::optimizers::RMSprop;
/// use plywood::testing::check_optimizer;
///
/// println!("{}", check_optimizer(RMSprop::default())?);
/// # Ok::<(), plywood::testing::Failure>(())
/// ```
pub fn check_optimizer<O>(optimizer: O) -> Result<Report, Failure>
where
    O: Optimizer<f32> + Optimizer<f64> + Clone,
{
    on_several(|| check(&optimizer))
}

fn check<O>(optimizer: &O) -> Result<Report, Failure>
where
    O: Optimizer<f32> + Optimizer<f64> + Clone,
{
    let mut report = Report::new(Optimizer::<f64>::name(optimizer));
    if !report.note("settings", || accepted::<f32>(optimizer).and(accepted::<f64>(optimizer))) {
        return report.finish();
    }
    report.note_both("", bits::<f32, O>(optimizer), bits::<f64, O>(optimizer));
    report.measure("f32 against f64", F32_BOUND, || {
        let errors = [Start::Zero, Start::Anywhere].map(|start| {
            let (narrow, wide) = (Run::<f32>::new(optimizer, start), Run::<f64>::new(optimizer, start));
            largest_error(&narrow.whole().parameters, &wide.whole().parameters, 0.0)
        });
        Ok((errors[0].max(errors[1]), format!("from 0 {:.1e}, from anywhere {:.1e}", errors[0], errors[1])))
    });
    report.finish()
}

/// Where parameters start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// At 0: what they are in the end is what the steps have added up to.
    Zero,
    Anywhere,
}

/// Ten steps.
#[derive(Debug)]
struct Run<'o, T: Scalar> {
    optimizer: &'o dyn Optimizer<T>,
    start: Vec<T>,
    /// Of each step.
    gradients: Vec<Vec<T>>,
}

/// Parameters and slots.
#[derive(Debug, Clone)]
struct State<T> {
    parameters: Vec<T>,
    slots: Vec<Vec<T>>,
}

impl<'o, T: Scalar> Run<'o, T> {
    fn new(optimizer: &'o dyn Optimizer<T>, start: Start) -> Self {
        Self::of(optimizer, start, PARAMETERS)
    }

    fn of(optimizer: &'o dyn Optimizer<T>, start: Start, len: usize) -> Self {
        let mut draw = Draw::new(0, 0);
        let parameters = draw.numbers(len, [-1.0, 1.0], Spacing::Free);
        let scales = [1.0, 1e-5, 0.0, 1e-3];
        let gradients = (0..STEPS).map(|_| {
            let numbers = draw.numbers(len, [-1.0, 1.0], Spacing::Free);
            of_f64(&numbers.iter().enumerate().map(|(i, g)| g * scales[i % 4]).collect::<Vec<_>>())
        });
        let gradients = gradients.collect();
        let start = if start == Start::Zero { vec![T::zero(); len] } else { of_f64(&parameters) };
        Self { optimizer, start, gradients }
    }

    fn first(&self) -> State<T> {
        State { slots: vec![vec![T::zero(); self.start.len()]; self.optimizer.slots()], parameters: self.start.clone() }
    }

    /// All parameters at once.
    fn whole(&self) -> State<T> {
        self.in_pieces(self.start.len())
    }

    /// So many parameters at a time.
    fn in_pieces(&self, piece: usize) -> State<T> {
        let mut state = self.first();
        for (number, gradients) in (1..).zip(&self.gradients) {
            for at in (0..self.start.len()).step_by(piece) {
                let range = at..(at + piece).min(self.start.len());
                let mut slots: Vec<_> = state.slots.iter_mut().map(|slot| &mut slot[range.clone()]).collect();
                self.optimizer.update(Update {
                    factors: Default::default(),
                    step: number,
                    parameters: &mut state.parameters[range.clone()],
                    gradients: &gradients[range],
                    slots: &mut slots,
                });
            }
        }
        state
    }

    /// As a trainer takes steps.
    fn in_parallel(&self) -> State<T> {
        let mut state = self.first();
        for (number, gradients) in (1..).zip(&self.gradients) {
            step(self.optimizer, number, &mut state.parameters, gradients, &mut state.slots);
        }
        state
    }
}

impl<T: Scalar> State<T> {
    fn same(&self, expected: &Self, when: &str) -> Result<(), String> {
        same_bits(&format!("{when}, parameters"), &self.parameters, &expected.parameters)?;
        for (i, (slot, expected)) in self.slots.iter().zip(&expected.slots).enumerate() {
            same_bits(&format!("{when}, slot {i}"), slot, expected)?;
        }
        Ok(())
    }
}

fn accepted<T: Scalar>(optimizer: &(impl Optimizer<T> + Optimizer<f64>)) -> Found {
    Optimizer::<T>::check(optimizer).map_err(|error| error.to_string())?;
    let slots = Optimizer::<T>::slots(optimizer);
    if slots > MAX_SLOTS {
        return Err(format!("asks for {slots} slots, at most {MAX_SLOTS} are allowed"));
    }
    if slots != Optimizer::<f64>::slots(optimizer) {
        return Err("the number of slots depends on the number type".to_owned());
    }
    if Optimizer::<T>::name(optimizer).is_empty() {
        return Err("has no name".to_owned());
    }
    Ok(format!("learning rate {}, {slots} slots", Optimizer::<T>::learning_rate(optimizer)))
}

/// What is checked to the last bit, and what is true in both types.
fn bits<T: Scalar, O: Optimizer<T> + Clone>(optimizer: &O) -> [(&'static str, Found); 7] {
    let checks: [(_, &dyn Fn() -> Found); 7] = [
        ("learning rate", &|| learning_rate(optimizer)),
        ("bad learning rates", &|| bad_learning_rates(optimizer)),
        ("repeated", &|| repeated(optimizer)),
        ("pieces", &|| pieces(optimizer)),
        ("NaN", &|| not_a_number(optimizer)),
        ("downhill", &|| downhill(optimizer)),
        ("goes on", &|| goes_on(optimizer)),
    ];
    checks.map(|(name, check)| (name, attempt(check)))
}

fn learning_rate<T: Scalar, O: Optimizer<T> + Clone>(optimizer: &O) -> Found {
    let mut changed = optimizer.clone();
    for rate in [0.25, 0.0] {
        changed.set_learning_rate(rate);
        if changed.learning_rate() != rate {
            return Err(format!("set to {rate}, it is {}", changed.learning_rate()));
        }
    }
    let run = Run::new(&changed, Start::Anywhere);
    same_bits("at a learning rate of 0, parameters", &run.whole().parameters, &run.start)?;
    Ok("can be set; at 0 nothing moves".to_owned())
}

fn bad_learning_rates<T: Scalar, O: Optimizer<T> + Clone>(optimizer: &O) -> Found {
    let mut changed = optimizer.clone();
    for rate in [-1.0, -1e-9, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        changed.set_learning_rate(rate);
        if changed.check().is_ok() {
            return Err(format!("a learning rate of {rate} passes the check of the settings"));
        }
    }
    Ok("are refused".to_owned())
}

fn repeated<T: Scalar, O: Optimizer<T>>(optimizer: &O) -> Found {
    let run = Run::new(optimizer, Start::Anywhere);
    run.whole().same(&run.whole(), "again")?;
    Ok("the same again".to_owned())
}

fn pieces<T: Scalar, O: Optimizer<T>>(optimizer: &O) -> Found {
    let run = Run::new(optimizer, Start::Anywhere);
    let whole = run.whole();
    for piece in [1, 7, 16] {
        run.in_pieces(piece).same(&whole, &format!("in pieces of {piece}"))?;
    }
    let run = Run::of(optimizer, Start::Anywhere, MANY_PARAMETERS);
    let whole = run.whole();
    for (threads, state) in few_and_many(|| run.in_parallel()) {
        state.same(&whole, &format!("on {threads} threads"))?;
    }
    Ok("whichever they are, the same".to_owned())
}

fn not_a_number<T: Scalar, O: Optimizer<T>>(optimizer: &O) -> Found {
    const AT: usize = 5;
    let mut run = Run::new(optimizer, Start::Anywhere);
    let mut expected = run.whole().parameters;
    run.gradients[1][AT] = T::nan();
    let parameters = run.whole().parameters;
    if !parameters[AT].is_nan() {
        return Err(format!("a gradient that is NaN leaves its parameter at {}", parameters[AT]));
    }
    expected[AT] = parameters[AT];
    same_bits("with one gradient NaN, parameters", &parameters, &expected)?;
    Ok("stays with its parameter".to_owned())
}

fn downhill<T: Scalar, O: Optimizer<T>>(optimizer: &O) -> Found {
    let run = Run::new(optimizer, Start::Anywhere);
    let height = |parameters: &[T]| parameters.iter().map(|&w| w * w).sum::<T>();
    let mut state = run.first();
    for number in 1..=50 {
        let gradients = state.parameters.clone();
        let mut slots: Vec<_> = state.slots.iter_mut().map(Vec::as_mut_slice).collect();
        let parameters = &mut state.parameters;
        optimizer.update(Update {
            factors: Default::default(),
            step: number,
            parameters,
            gradients: &gradients,
            slots: &mut slots,
        });
    }
    let (before, after) = (height(&run.start), height(&state.parameters));
    if after < before {
        Ok(format!("from {before:.3} to {after:.3}"))
    } else {
        Err(format!("from {before} to {after} with a learning rate of {}", optimizer.learning_rate()))
    }
}

/// From 0 again in each step, so that what is moved is not lost in a large parameter.
fn goes_on<T: Scalar, O: Optimizer<T>>(optimizer: &O) -> Found {
    let mut state = Run::new(optimizer, Start::Zero).first();
    let mut draw = Draw::new(0, 1);
    let late = LATE_STEPS.map(|first| first..first + WINDOW);
    let windows = (0..EVERY_STEP / WINDOW).map(|window| window * WINDOW + 1..(window + 1) * WINDOW + 1).chain(late);
    for steps in windows {
        let mut moved = false;
        for step in steps.clone() {
            let gradients: Vec<T> = of_f64(&draw.numbers(PARAMETERS, [-1.0, 1.0], Spacing::Free));
            let mut slots: Vec<_> = state.slots.iter_mut().map(Vec::as_mut_slice).collect();
            state.parameters.fill(T::zero());
            let parameters = &mut state.parameters;
            optimizer.update(Update {
                factors: Default::default(),
                step,
                parameters,
                gradients: &gradients,
                slots: &mut slots,
            });
            if let Some(parameter) = state.parameters.iter().find(|parameter| !parameter.is_finite()) {
                return Err(format!("in step {step} a parameter becomes {parameter}"));
            }
            moved |= state.parameters.iter().any(|&parameter| parameter != T::zero());
        }
        if !moved {
            return Err(format!("from step {} to {} no parameter moves", steps.start, steps.end - 1));
        }
    }
    Ok(format!("in every {WINDOW} of {EVERY_STEP} steps, and of some later ones"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::error::{Error, Result};
    use crate::optimizers::check_non_negative;

    /// What is wrong with an optimizer.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fault {
        None,
        BadSettings,
        TooManySlots,
        RateIgnored,
        Forgetful,
        DependsOnPiece,
        DependsOnThreads,
        HidesNan,
        Uphill,
        CoarseF32,
        Panics,
        TakesNegativeRates,
        TakesNan,
        TakesInfinity,
        StopsAfterStep50,
        StopsAfterStep5000,
    }

    /// w ← w − lr·g.
    #[derive(Debug, Clone)]
    struct Faulty {
        fault: Fault,
        rate: f64,
    }

    static CALLS: AtomicU64 = AtomicU64::new(0);

    impl<T: Scalar> Optimizer<T> for Faulty {
        fn name(&self) -> &'static str {
            "Faulty"
        }
        fn slots(&self) -> usize {
            if self.fault == Fault::TooManySlots { MAX_SLOTS + 1 } else { 0 }
        }
        fn check(&self) -> Result<()> {
            match self.fault {
                Fault::BadSettings => Err(Error::invalid_parameter("Faulty", "rate", -1, "at least 0")),
                Fault::TakesNegativeRates if self.rate.is_finite() => Ok(()),
                Fault::TakesNan if self.rate.is_nan() => Ok(()),
                Fault::TakesInfinity if self.rate >= 0.0 => Ok(()),
                _ => check_non_negative::<T>("Faulty", "rate", self.rate),
            }
        }
        fn learning_rate(&self) -> f64 {
            self.rate
        }
        fn set_learning_rate(&mut self, rate: f64) {
            self.rate = rate;
        }
        fn update(&self, piece: Update<'_, '_, T>) {
            let rate = match self.fault {
                Fault::RateIgnored => 0.01,
                Fault::Forgetful => self.rate * (1.0 + CALLS.fetch_add(1, Ordering::Relaxed) as f64),
                Fault::DependsOnPiece => self.rate * piece.parameters.len() as f64,
                Fault::DependsOnThreads => self.rate * rayon::current_num_threads() as f64,
                Fault::Uphill => -self.rate,
                Fault::StopsAfterStep50 if piece.step > 50 => return,
                Fault::StopsAfterStep5000 if piece.step > 5000 => return,
                Fault::CoarseF32 if T::NAME == f32::NAME => self.rate * 1.0001,
                _ => self.rate,
            };
            assert!(self.fault != Fault::Panics, "there is a fault");
            for (w, &g) in piece.parameters.iter_mut().zip(piece.gradients) {
                if self.fault != Fault::HidesNan || !g.is_nan() {
                    *w -= T::of(rate) * g;
                }
            }
        }
    }

    #[test]
    fn every_fault_is_found() {
        let failed = |fault| -> Vec<String> {
            let result = check_optimizer(Faulty { fault, rate: 0.01 });
            result.map_or_else(|failure| failure.failed().map(|check| check.name.clone()).collect(), |_| vec![])
        };
        assert_eq!(failed(Fault::None), [""; 0]);
        let mut missed = vec![];
        for (fault, check) in [
            (Fault::BadSettings, "settings"),
            (Fault::TooManySlots, "settings"),
            (Fault::RateIgnored, "learning rate"),
            (Fault::Forgetful, "repeated"),
            (Fault::DependsOnPiece, "pieces"),
            (Fault::DependsOnThreads, "pieces"),
            (Fault::HidesNan, "NaN"),
            (Fault::Uphill, "downhill"),
            (Fault::CoarseF32, "f32 against f64"),
            (Fault::Panics, "f32 against f64"),
            (Fault::TakesNegativeRates, "bad learning rates"),
            (Fault::TakesNan, "bad learning rates"),
            (Fault::TakesInfinity, "bad learning rates"),
            (Fault::StopsAfterStep50, "goes on"),
            (Fault::StopsAfterStep5000, "goes on"),
        ] {
            let failed = failed(fault);
            if !failed.iter().any(|name| name == check) {
                missed.push(format!("{fault:?}: {failed:?} without {check}"));
            }
        }
        assert_eq!(missed, [""; 0]);
        let failure = check_optimizer(Faulty { fault: Fault::Uphill, rate: 0.25 }).unwrap_err();
        assert!(failure.to_string().contains(" with a learning rate of 0.25"), "{failure}");
    }
}
