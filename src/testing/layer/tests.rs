//! Layers with a fault each, and the check that finds it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::Error;
use crate::initializers::Initializer;
use crate::layers::{Activation, Backward, Forward, Op, ReLU, ScratchMut, single_input};
use crate::testing::numbers::float;

/// What is wrong with a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    TwoOfOneName,
    PanicOnHugeShapes,
    ShrinkingScratch,
    GradientNotWritten,
    GradientAddedUp,
    ScratchReadBeforeWritten,
    Forgetful,
    FirstForwardCounts,
    GradientOnlyWithDx,
    OtherInPrediction,
    DependsOnBatch,
    DependsOnThreads,
    WrongDx,
    WrongGradient,
    DyOfFirstSampleOnly,
    CoarseF32,
    WholeScratch,
    NanSpreads,
    Panics,
    EvenBatches,
    EvenBatchesInPrediction,
    DxOfEvenBatches,
    GradientsOfEvenBatches,
    CoarseF32InEvenBatches,
    ScratchShrinksLate,
    ScratchShrinksVeryLate,
    InfinitySpreads,
    InfiniteDySpreads,
    HidesNan,
    HidesNanOfDy,
    HidesNanInGradient,
}

/// y = w·x², w being one number, and the input is kept in the scratch.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct Faulty {
    #[serde(skip)]
    fault: Fault,
}

static CALLS: AtomicU64 = AtomicU64::new(0);

impl<T: Scalar> Layer<T> for Faulty {
    fn kind(&self) -> &'static str {
        "faulty"
    }

    fn plan(&self, inputs: &[&[usize]]) -> crate::Result<Plan<T>> {
        let input = single_input("faulty", inputs)?;
        if self.fault == Fault::PanicOnHugeShapes {
            assert!(input.iter().all(|&size| size < 1 << 20));
        }
        let &[features] = input else { return Err(Error::layer("faulty", "needs vectors")) };
        let w = ParameterSpec::new("w", [1], Initializer::Ones);
        let plan = Plan::new([features], FaultyOp { fault: self.fault, features }).parameter(w.clone());
        Ok(if self.fault == Fault::TwoOfOneName { plan.parameter(w) } else { plan })
    }
}

#[derive(Debug)]
struct FaultyOp {
    fault: Fault,
    features: usize,
}

impl<T: Scalar> Op<T> for FaultyOp {
    fn scratch(&self, batch: usize, _: Phase) -> Scratch {
        let batch = match self.fault {
            Fault::ShrinkingScratch => 64 - batch % 64,
            Fault::ScratchShrinksLate if batch >= 200 => batch - 100,
            Fault::ScratchShrinksVeryLate if batch > 4096 => batch - 100,
            _ => batch,
        };
        Scratch { values: self.features * batch, indices: 1 }
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        let w = pass.parameters.split_slices::<1>()[0][0];
        let ScratchMut { values, indices } = pass.scratch;
        let x = pass.x.slice();
        let few = T::of(1e-3);
        let even = pass.x.batch().is_multiple_of(2);
        let extra = match self.fault {
            Fault::ScratchReadBeforeWritten => values[0],
            Fault::Forgetful => few * T::of(CALLS.fetch_add(1, Ordering::Relaxed) as f64),
            Fault::OtherInPrediction if pass.training.is_none() => few,
            Fault::DependsOnBatch => pass.x.view().mean().unwrap(),
            Fault::DependsOnThreads => T::of(rayon::current_num_threads() as f64),
            Fault::NanSpreads => pass.x.view().sum() * T::zero(),
            Fault::CoarseF32 if T::NAME == f32::NAME => few,
            Fault::EvenBatches if even => few,
            Fault::EvenBatchesInPrediction if even && pass.training.is_none() => few,
            Fault::InfinitySpreads if x.iter().any(|x| x.is_infinite()) => few,
            _ => T::zero(),
        };
        for ((y, &x), value) in pass.y.slice_mut().iter_mut().zip(x).zip(values) {
            *y = w * x * x + extra;
            if self.fault == Fault::HidesNan && y.is_nan() {
                *y = T::zero();
            }
            if self.fault != Fault::FirstForwardCounts || indices[0] == u32::MAX {
                *value = x;
            }
        }
        indices[0] = 0;
        assert!(self.fault != Fault::Panics || pass.training.is_none(), "there is a fault");
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        let w = pass.parameters.split_slices::<1>()[0][0];
        let (xs, beyond) = pass.scratch.values.split_at(pass.x.slice().len());
        let dys = &*pass.dy.slice_mut();
        let products = || xs.iter().zip(dys).map(|(&x, &dy)| x * x * dy);
        let squares: T = products().sum();
        let of_first: T = products().take(self.features).sum();
        let even = pass.x.batch().is_multiple_of(2);
        let [gradient, ..] = pass.gradients.split_slices::<1>();
        let dx = pass.dx.into_slice();
        match self.fault {
            Fault::GradientNotWritten => {}
            Fault::GradientAddedUp => gradient[0] += squares,
            Fault::GradientOnlyWithDx if dx.is_none() => gradient[0] = T::zero(),
            Fault::WrongGradient => gradient[0] = squares * T::of(1.00001),
            Fault::DyOfFirstSampleOnly => gradient[0] = of_first,
            Fault::WholeScratch => gradient[0] = squares + beyond.iter().copied().sum(),
            Fault::GradientsOfEvenBatches if even => gradient[0] = squares * T::of(1.00001),
            Fault::CoarseF32InEvenBatches if even && T::NAME == f32::NAME => gradient[0] = squares * T::of(1.01),
            Fault::HidesNanInGradient if squares.is_nan() => gradient[0] = T::zero(),
            _ => gradient[0] = squares,
        }
        let Some(dx) = dx else { return };
        for ((dx, &x), &dy) in dx.iter_mut().zip(xs).zip(dys) {
            *dx = T::of(2.0) * w * x * dy;
        }
        match self.fault {
            Fault::DxOfEvenBatches if even => dx[0] += T::of(1e-3),
            Fault::InfiniteDySpreads if dys.iter().any(|dy| dy.is_infinite()) => {
                dx.iter_mut().for_each(|dx| *dx += T::of(1e-3));
            }
            Fault::HidesNanOfDy => dx.iter_mut().filter(|dx| dx.is_nan()).for_each(|dx| *dx = T::zero()),
            Fault::WrongDx => *dx.last_mut().unwrap() *= T::of(1.00001),
            _ => {}
        }
    }
}

fn failed(fault: Fault) -> Vec<String> {
    let result = LayerCheck::new(Faulty { fault }, [3]).batch(3).run();
    result.map_or_else(|failure| failure.failed().map(|check| check.name.clone()).collect(), |_| vec![])
}

#[test]
fn every_fault_is_found() {
    assert_eq!(failed(Fault::None), [""; 0]);
    let mut missed = vec![];
    for (fault, check) in [
        (Fault::TwoOfOneName, "plan"),
        (Fault::PanicOnHugeShapes, "hostile shapes"),
        (Fault::ShrinkingScratch, "scratch"),
        (Fault::GradientNotWritten, "all written"),
        (Fault::GradientAddedUp, "all written"),
        (Fault::ScratchReadBeforeWritten, "all written"),
        (Fault::Forgetful, "repeated"),
        (Fault::FirstForwardCounts, "two forwards, one backward"),
        (Fault::GradientOnlyWithDx, "dx on request"),
        (Fault::OtherInPrediction, "prediction"),
        (Fault::DependsOnBatch, "sample alone"),
        (Fault::DependsOnThreads, "threads"),
        (Fault::WrongDx, "gradient of x"),
        (Fault::WrongGradient, "gradient of w"),
        (Fault::DyOfFirstSampleOnly, "gradients add up"),
        (Fault::CoarseF32, "f32 against f64"),
        (Fault::WholeScratch, "sample alone"),
        (Fault::NanSpreads, "NaN and infinity"),
        (Fault::EvenBatches, "batches"),
        (Fault::EvenBatchesInPrediction, "batches"),
        (Fault::DxOfEvenBatches, "batches"),
        (Fault::GradientsOfEvenBatches, "gradients add up"),
        (Fault::CoarseF32InEvenBatches, "f32 against f64"),
        (Fault::ScratchShrinksLate, "scratch"),
        (Fault::ScratchShrinksVeryLate, "scratch"),
        (Fault::InfinitySpreads, "NaN and infinity"),
        (Fault::InfiniteDySpreads, "NaN and infinity"),
        (Fault::HidesNan, "NaN comes out"),
        (Fault::HidesNanOfDy, "NaN comes out"),
        (Fault::HidesNanInGradient, "NaN comes out"),
        (Fault::Panics, "all written"),
        (Fault::Panics, "gradients"),
    ] {
        let failed = failed(fault);
        if !failed.iter().any(|name| name == check) {
            missed.push(format!("{fault:?}: {failed:?} without {check}"));
        }
    }
    assert_eq!(missed, [""; 0]);
}

/// y = the largest x of a sample, as `max` has it: of a number and NaN it is the number.
#[derive(Debug, Clone)]
struct Largest {
    nan_wins: bool,
}

impl Largest {
    fn of<'a, T: Scalar>(&self, x: impl IntoIterator<Item = &'a T>) -> (usize, T) {
        let mut largest = (0, T::neg_infinity());
        for (i, &x) in x.into_iter().enumerate() {
            if x > largest.1 || self.nan_wins && x.is_nan() {
                largest = (i, x);
            }
        }
        largest
    }
}

impl<T: Scalar> Layer<T> for Largest {
    fn kind(&self) -> &'static str {
        "largest"
    }

    fn plan(&self, inputs: &[&[usize]]) -> crate::Result<Plan<T>> {
        let &[_] = single_input("largest", inputs)? else { return Err(Error::layer("largest", "needs vectors")) };
        Ok(Plan::new([1], self.clone()))
    }
}

impl<T: Scalar> Op<T> for Largest {
    fn forward(&self, mut pass: Forward<'_, T>) {
        for (y, x) in pass.y.slice_mut().iter_mut().zip(pass.x.view().outer_iter()) {
            *y = self.of(&x).1;
        }
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        let Some(mut dx) = pass.dx.view_mut() else { return };
        dx.fill(T::zero());
        for ((mut dx, x), &mut dy) in dx.outer_iter_mut().zip(pass.x.view().outer_iter()).zip(pass.dy.slice_mut()) {
            dx[self.of(&x).0] = dy;
        }
    }
}

/// Where a sample is NaN as a whole, the maximum could be, too.
#[test]
fn a_single_nan_that_is_hidden_is_found() {
    check_layer(Largest { nan_wins: true }, [4]).unwrap();
    let failure = check_layer(Largest { nan_wins: false }, [4]).unwrap_err();
    assert_eq!(failure.failed().map(|check| check.name.as_str()).collect::<Vec<_>>(), ["NaN comes out"]);
}

#[test]
fn a_shape_that_the_layer_refuses_fails_the_plan() {
    let failure = check_layer(Faulty { fault: Fault::None }, [3, 3]).unwrap_err();
    assert_eq!(failure.report().checks().len(), 1);
    assert!(failure.to_string().ends_with("FAILED plan  faulty: needs vectors"), "{failure}");
}

#[test]
fn a_layer_may_draw_random_numbers() {
    /// y = x where a bit of the pass's number is set, 0 elsewhere.
    #[derive(Debug, Clone)]
    struct Drop;

    impl<T: Scalar> Layer<T> for Drop {
        fn kind(&self) -> &'static str {
            "drop"
        }

        fn plan(&self, inputs: &[&[usize]]) -> crate::Result<Plan<T>> {
            Ok(Plan::new(single_input("drop", inputs)?, self.clone()))
        }
    }

    impl<T: Scalar> Op<T> for Drop {
        fn scratch(&self, _: usize, _: Phase) -> Scratch {
            Scratch { values: 1, indices: 0 }
        }

        fn forward(&self, mut pass: Forward<'_, T>) {
            let bits = pass.training.map_or(u64::MAX, |training| training.random.wrapping_add(5));
            pass.scratch.values[0] = T::of(bits as f64);
            for (i, (y, &x)) in pass.y.slice_mut().iter_mut().zip(pass.x.slice()).enumerate() {
                *y = if bits >> (i % 3) & 1 == 1 { x } else { T::zero() };
            }
        }

        fn backward(&self, mut pass: Backward<'_, T>) {
            let bits = float(pass.scratch.values[0]) as u64;
            let dx = pass.dx.into_slice().into_iter().flatten();
            for (i, (dx, &mut dy)) in dx.zip(pass.dy.slice_mut()).enumerate() {
                *dx = if bits >> (i % 3) & 1 == 1 { dy } else { T::zero() };
            }
        }
    }

    let report = LayerCheck::new(Drop, [2]).run().unwrap();
    assert!(report.to_string().contains("another output than in training"), "{report}");
    assert!(report.checks().iter().all(|check| check.name != "gradients add up"));
}

#[test]
fn settings_are_heeded() {
    let faulty = LayerCheck::new(Faulty { fault: Fault::WrongGradient }, [3]).gradient_bound(1e-4);
    faulty.run().unwrap();
    LayerCheck::new(Faulty { fault: Fault::CoarseF32 }, [3]).f32_bound(0.1).run().unwrap();
    // all inputs below zero: the output is 0, and so is dx, also with equal numbers
    let report = LayerCheck::new(ReLU::new(), [4]).batch(1).seed(7).inputs(-3.0, -1.0).run().unwrap();
    assert_eq!(report.subject(), "re_lu on 4, 1 sample, seed 7");
    assert_eq!(report.largest_error("gradient of x"), Some(0.0));
    assert!(report.to_string().contains(" 0 on a kink"), "{report}");
}

#[test]
fn a_wrong_gradient_is_said_with_its_place() {
    let failure = LayerCheck::new(Faulty { fault: Fault::WrongDx }, [3]).batch(2).run().unwrap_err();
    let check = failure.failed().find(|check| check.name == "gradient of x").unwrap();
    assert!(check.detail.contains("the largest at [1, 2]: got "), "{failure}");
    let failure = LayerCheck::new(Faulty { fault: Fault::Panics }, [3]).run().unwrap_err();
    assert!(failure.to_string().contains("panics: there is a fault"), "{failure}");
}

#[test]
#[cfg(feature = "json")]
fn what_is_not_written_is_found() {
    let check = |fault| LayerCheck::new(Faulty { fault }, [3]).gradient_bound(1e-4).round_trip();
    check(Fault::None).run().unwrap();
    let failure = check(Fault::WrongGradient).run().unwrap_err();
    assert_eq!(failure.failed().map(|check| check.name.as_str()).collect::<Vec<_>>(), ["round trip"]);
}

/// y = x·ln w and a bias b, whose gradient is a thousand times that of w and that may be wrong in `f32`, or add up
/// badly.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Logarithm {
    Right,
    CoarseF32,
    NotTheSum,
}

impl<T: Scalar> Layer<T> for Logarithm {
    fn kind(&self) -> &'static str {
        "logarithm"
    }

    fn plan(&self, inputs: &[&[usize]]) -> crate::Result<Plan<T>> {
        let input = single_input("logarithm", inputs)?;
        let specs = [("w", Initializer::Zeros), ("b", Initializer::Zeros)];
        let specs = specs.map(|(name, initializer)| ParameterSpec::new(name, [1], initializer));
        Ok(specs.into_iter().fold(Plan::new(input, *self), Plan::parameter))
    }
}

impl<T: Scalar> Op<T> for Logarithm {
    fn forward(&self, mut pass: Forward<'_, T>) {
        let [w, b] = pass.parameters.split_slices();
        pass.y.view_mut().zip_mut_with(&pass.x.view(), |y, &x| *y = x * w[0].ln() + T::of(1e3) * b[0]);
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        let [w, _] = pass.parameters.split_slices();
        let [dw, db] = pass.gradients.split_slices();
        let dys = &*pass.dy.slice_mut();
        let sum: T = pass.x.slice().iter().zip(dys).map(|(&x, &dy)| x * dy).sum();
        let off = match self {
            Self::CoarseF32 if T::NAME == f32::NAME => 1e-3,
            Self::NotTheSum if pass.x.batch() == 1 => 1e-9,
            _ => 0.0,
        };
        dw[0] = sum / w[0] + T::of(off);
        db[0] = T::of(1e3) * dys.iter().copied().sum();
        if let Some(dx) = pass.dx.into_slice() {
            dx.iter_mut().zip(dys).for_each(|(dx, &dy)| *dx = dy * w[0].ln());
        }
    }
}

#[test]
fn parameters_are_kept_in_their_range_and_measured_one_by_one() {
    let check = |layer| LayerCheck::new(layer, [4]).parameters(0.5, 2.0).gradient_bound(1e-5);
    check(Logarithm::Right).run().unwrap();
    assert!(LayerCheck::new(Logarithm::Right, [4]).run().is_err(), "the logarithm of a number below 0");
    for (layer, name) in [(Logarithm::CoarseF32, "f32 against f64"), (Logarithm::NotTheSum, "gradients add up")] {
        let failure = check(layer).run().unwrap_err();
        assert!(failure.failed().all(|check| check.name == name), "{failure}");
    }
}

/// Has a plan of its own making.
#[derive(Debug, Clone)]
enum Planner {
    Activated(Activation),
    Reshapes([usize; 2]),
}

impl<T: Scalar> Layer<T> for Planner {
    fn kind(&self) -> &'static str {
        "planner"
    }

    fn plan(&self, inputs: &[&[usize]]) -> crate::Result<Plan<T>> {
        let input = single_input("planner", inputs)?;
        Ok(match *self {
            Self::Activated(activation) => {
                let w = ParameterSpec::new("w", [1], Initializer::Ones);
                let features = input.first().copied().unwrap_or(1);
                Plan::new([features], FaultyOp { fault: Fault::None, features }).parameter(w).activation(activation)
            }
            Self::Reshapes(shape) => Plan::reshape(shape),
        })
    }
}

#[test]
fn an_activation_is_checked_with_its_layer() {
    for activation in [Activation::ReLU, Activation::Softmax] {
        check_layer(Planner::Activated(activation), [3]).unwrap();
    }
}

#[test]
fn a_reshaping_that_changes_the_number_of_elements_fails_the_plan() {
    check_layer(Planner::Reshapes([3, 2]), [2, 3]).unwrap();
    let failure = check_layer(Planner::Reshapes([2, 2]), [2, 3]).unwrap_err();
    assert!(
        failure.to_string().contains("FAILED plan  planner: says that it only reshapes, but makes 2×2 of 2×3"),
        "{failure}"
    );
}
