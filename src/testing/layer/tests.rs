//! Layers with a fault each, and the check that finds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::Error;
use crate::initializers::Initializer;
use crate::layers::{Backward, Forward, ParameterSpec, ReLU, ScratchMut};
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
    OtherInOnePiece,
    CoarseF32,
    WholeScratch,
    NanSpreads,
    SaysThatItOnlyReshapes,
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

    fn plan(&self, input: &[usize]) -> crate::Result<Plan> {
        if self.fault == Fault::PanicOnHugeShapes {
            assert!(input.iter().all(|&size| size < 1 << 20));
        }
        let &[features] = input else { return Err(Error::layer("faulty", "needs vectors")) };
        let w = ParameterSpec::new("w", [1], Initializer::Ones);
        let plan = Plan::new([features]).parameter(w.clone());
        Ok(if self.fault == Fault::TwoOfOneName { plan.parameter(w) } else { plan })
    }

    fn scratch(&self, input: &[usize], batch: usize, _: Phase) -> Scratch {
        let batch = match self.fault {
            Fault::ShrinkingScratch => 64 - batch % 64,
            Fault::ScratchShrinksLate if batch >= 200 => batch - 100,
            Fault::ScratchShrinksVeryLate if batch > 4096 => batch - 100,
            _ => batch,
        };
        Scratch { values: input.iter().product::<usize>() * batch, indices: 1 }
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        let w = pass.parameters.split_slices::<1>()[0][0];
        let ScratchMut { values, indices } = pass.scratch;
        let few = T::of(1e-3);
        let even = pass.x.shape()[0].is_multiple_of(2);
        let extra = match self.fault {
            Fault::ScratchReadBeforeWritten => values[0],
            Fault::Forgetful => few * T::of(CALLS.fetch_add(1, Ordering::Relaxed) as f64),
            Fault::OtherInPrediction if pass.training.is_none() => few,
            Fault::DependsOnBatch => pass.x.mean().unwrap(),
            Fault::DependsOnThreads => T::of(rayon::current_num_threads() as f64),
            Fault::OtherInOnePiece => few,
            Fault::NanSpreads => pass.x.sum() * T::zero(),
            Fault::CoarseF32 if T::NAME == f32::NAME => few,
            Fault::EvenBatches if even => few,
            Fault::EvenBatchesInPrediction if even && pass.training.is_none() => few,
            Fault::InfinitySpreads if pass.x.iter().any(|x| x.is_infinite()) => few,
            _ => T::zero(),
        };
        for ((y, &x), value) in pass.y.iter_mut().zip(&pass.x).zip(values) {
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
        let xs = &pass.scratch.values[..pass.x.len()];
        let squares: T = xs.iter().zip(&pass.dy).map(|(&x, &dy)| x * x * dy).sum();
        let first = pass.x.shape()[1];
        let beyond: T = pass.scratch.values[pass.x.len()..].iter().copied().sum();
        let of_first: T = xs.iter().zip(&pass.dy).take(first).map(|(&x, &dy)| x * x * dy).sum();
        let even = pass.x.shape()[0].is_multiple_of(2);
        let [gradient, ..] = pass.gradients.split_slices::<1>();
        match self.fault {
            Fault::GradientNotWritten => {}
            Fault::GradientAddedUp => gradient[0] += squares,
            Fault::GradientOnlyWithDx if pass.dx.is_none() => gradient[0] = T::zero(),
            Fault::WrongGradient => gradient[0] = squares * T::of(1.00001),
            Fault::DyOfFirstSampleOnly => gradient[0] = of_first,
            Fault::WholeScratch => gradient[0] = squares + beyond,
            Fault::GradientsOfEvenBatches if even => gradient[0] = squares * T::of(1.00001),
            Fault::CoarseF32InEvenBatches if even && T::NAME == f32::NAME => gradient[0] = squares * T::of(1.01),
            Fault::HidesNanInGradient if squares.is_nan() => gradient[0] = T::zero(),
            _ => gradient[0] = squares,
        }
        if let Some(dx) = &mut pass.dx {
            for ((dx, &x), &dy) in dx.iter_mut().zip(xs).zip(&pass.dy) {
                *dx = T::of(2.0) * w * x * dy;
            }
            match self.fault {
                Fault::DxOfEvenBatches if even => dx[[0, 0]] += T::of(1e-3),
                Fault::InfiniteDySpreads if pass.dy.iter().any(|dy| dy.is_infinite()) => *dx += T::of(1e-3),
                Fault::HidesNanOfDy => dx.mapv_inplace(|dx| if dx.is_nan() { T::zero() } else { dx }),
                _ => {}
            }
            if self.fault == Fault::WrongDx {
                *dx.last_mut().unwrap() *= T::of(1.00001);
            }
        }
    }

    fn split(&self) -> Option<[Arc<dyn Layer<T>>; 2]> {
        // outputs of x² times about 1 are not below 0
        let parts = || [Arc::new(Self { fault: Fault::None }) as _, Arc::new(ReLU::new()) as _];
        (self.fault == Fault::OtherInOnePiece).then(parts)
    }

    fn only_reshapes(&self) -> bool {
        self.fault == Fault::SaysThatItOnlyReshapes
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
        (Fault::OtherInOnePiece, "in one piece"),
        (Fault::DyOfFirstSampleOnly, "gradients add up"),
        (Fault::CoarseF32, "f32 against f64"),
        (Fault::WholeScratch, "sample alone"),
        (Fault::NanSpreads, "NaN and infinity"),
        (Fault::SaysThatItOnlyReshapes, "only reshapes"),
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

    fn plan(&self, input: &[usize]) -> crate::Result<Plan> {
        let &[_] = input else { return Err(Error::layer("largest", "needs vectors")) };
        Ok(Plan::new([1]))
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        for (mut y, x) in pass.y.outer_iter_mut().zip(pass.x.outer_iter()) {
            y[0] = self.of(&x).1;
        }
    }

    fn backward(&self, pass: Backward<'_, T>) {
        let Some(mut dx) = pass.dx else { return };
        dx.fill(T::zero());
        for ((mut dx, x), dy) in dx.outer_iter_mut().zip(pass.x.outer_iter()).zip(pass.dy.outer_iter()) {
            dx[self.of(&x).0] = dy[0];
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

        fn plan(&self, input: &[usize]) -> crate::Result<Plan> {
            Ok(Plan::new(input))
        }

        fn scratch(&self, _: &[usize], _: usize, _: Phase) -> Scratch {
            Scratch { values: 1, indices: 0 }
        }

        fn forward(&self, mut pass: Forward<'_, T>) {
            let bits = pass.training.map_or(u64::MAX, |number| number.wrapping_add(5));
            pass.scratch.values[0] = T::of(bits as f64);
            for (i, (y, &x)) in pass.y.iter_mut().zip(&pass.x).enumerate() {
                *y = if bits >> (i % 3) & 1 == 1 { x } else { T::zero() };
            }
        }

        fn backward(&self, pass: Backward<'_, T>) {
            let bits = float(pass.scratch.values[0]) as u64;
            for (i, (dx, &dy)) in pass.dx.into_iter().flatten().zip(&pass.dy).enumerate() {
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

    fn plan(&self, input: &[usize]) -> crate::Result<Plan> {
        let specs = [("w", Initializer::Zeros), ("b", Initializer::Zeros)];
        let specs = specs.map(|(name, initializer)| ParameterSpec::new(name, [1], initializer));
        Ok(specs.into_iter().fold(Plan::new(input), Plan::parameter))
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        let [w, b] = pass.parameters.split_slices();
        pass.y.zip_mut_with(&pass.x, |y, &x| *y = x * w[0].ln() + T::of(1e3) * b[0]);
    }

    fn backward(&self, pass: Backward<'_, T>) {
        let [w, _] = pass.parameters.split_slices();
        let [dw, db] = pass.gradients.split_slices();
        let sum: T = pass.x.iter().zip(&pass.dy).map(|(&x, &dy)| x * dy).sum();
        let off = match self {
            Self::CoarseF32 if T::NAME == f32::NAME => 1e-3,
            Self::NotTheSum if pass.x.shape()[0] == 1 => 1e-9,
            _ => 0.0,
        };
        dw[0] = sum / w[0] + T::of(off);
        db[0] = T::of(1e3) * pass.dy.sum();
        if let Some(mut dx) = pass.dx {
            dx.zip_mut_with(&pass.dy, |dx, &dy| *dx = dy * w[0].ln());
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

/// y = x·a·b, as two layers of which each has one of the numbers.
#[derive(Debug, Clone)]
struct Scales {
    names: &'static [&'static str],
}

impl<T: Scalar> Layer<T> for Scales {
    fn kind(&self) -> &'static str {
        "scales"
    }

    fn plan(&self, input: &[usize]) -> crate::Result<Plan> {
        let spec = |&name| ParameterSpec::new(name, [1], Initializer::Ones);
        Ok(self.names.iter().map(spec).fold(Plan::new(input), Plan::parameter))
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        let scale = match pass.parameters.count() {
            1 => pass.parameters.split_slices::<1>()[0][0],
            _ => pass.parameters.split_slices::<2>().map(|scale| scale[0]).into_iter().fold(T::one(), |a, b| a * b),
        };
        pass.y.zip_mut_with(&pass.x, |y, &x| *y = x * scale);
    }

    fn backward(&self, pass: Backward<'_, T>) {
        let [a] = pass.parameters.split_slices();
        let [da] = pass.gradients.split_slices();
        da[0] = pass.x.iter().zip(&pass.dy).map(|(&x, &dy)| x * dy).sum();
        if let Some(mut dx) = pass.dx {
            dx.zip_mut_with(&pass.dy, |dx, &dy| *dx = dy * a[0]);
        }
    }

    fn split(&self) -> Option<[Arc<dyn Layer<T>>; 2]> {
        let [_, _] = self.names else { return None };
        let (first, second) = self.names.split_at(1);
        Some([first, second].map(|names| Arc::new(Self { names }) as _))
    }
}

#[test]
fn a_split_whose_second_part_has_parameters_fails_the_plan() {
    check_layer(Scales { names: &["a"] }, [3]).unwrap();
    let failure = check_layer(Scales { names: &["a", "b"] }, [3]).unwrap_err();
    assert!(
        failure.to_string().contains("FAILED plan  scales: splits into output 3; a 1 and output 3; b 1,"),
        "{failure}"
    );
}
