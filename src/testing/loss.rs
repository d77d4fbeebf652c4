//! Everything a loss owes, in one call.

use ndarray::{Array, ArrayD, Axis, Dimension, ShapeBuilder, Slice};

use super::differences::{Differences, Tensor};
use super::numbers::{Draw, Spacing, float, largest_error, no_nan, of_f64, same_bits, snake_case};
use super::report::{Found, attempt};
use super::threads::{few_and_many, on_one_thread, on_several};
use super::{Failure, Report};
use crate::data::Targets;
use crate::error::shape_text;
use crate::losses::{Loss, LossPass};
use crate::scalar::Scalar;

/// Largest relative error of a gradient in `f64`.
const GRADIENT_BOUND: f64 = 1e-6;

/// Largest relative error of what only rounding in `f64` tells apart.
const ROUNDING_BOUND: f64 = 1e-9;

/// Largest relative error of `f32`.
const F32_BOUND: f64 = 1e-5;

/// What losses and B times their gradients are taken for at the least when errors are related to them: as for layers.
const LEAST: f64 = 1e-2;

/// The same for `f32`.
const LEAST_F32: f64 = 0.1;

/// Elements of the outputs along which the derivative is taken.
const ELEMENTS: usize = 100;

/// Runs a loss through everything it owes, on a model's outputs `[samples, …]` and their targets.
///
/// | what is checked | how |
/// |---|---|
/// | targets | [`Loss::check`] takes these, and refuses them for outputs of another size |
/// | other form | class indices in place of values, or values in place of class indices, are refused or evaluated |
/// | all written | every loss and, if asked for, the whole gradient; without it the losses have the same bits |
/// | repeated | the same bits again |
/// | sample alone | its loss has the same bits as in its batch, and its gradient is the same, but divided by 1 |
/// | threads | the same bits on 1 and on 4 |
/// | any layout | the same bits for targets that are not contiguous |
/// | weights | each loss and its gradient are multiplied by its weight, 0 among them |
/// | NaN and infinity | a sample that is NaN, ∞ or −∞ changes no bit of the others; its loss is NaN if it is, or has one that counts |
/// | gradient of y | that of the mean, against differences in `f64`, as [`LayerCheck`](super::LayerCheck) takes them |
/// | f32 against f64 | losses and gradient, within 10⁻⁵ |
/// | after Softmax | if it [fuses](Loss::fuses_softmax) a Softmax: the loss and its gradient are those of the two apart |
///
/// A loss that fuses a Softmax is checked twice, with the outputs as they are and with the outputs as logits. A panic
/// fails the check within which it happens.
///
/// # Errors
///
/// The report, if anything is not as it should be.
///
/// # Panics
///
/// If there are not as many targets as outputs, or none.
///
/// ```
/// use plywood::losses::CategoricalCrossentropy;
/// use plywood::ndarray::array;
/// use plywood::testing::check_loss;
///
/// let (outputs, classes) = (array![[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], array![0_usize, 2]);
/// println!("{}", check_loss(CategoricalCrossentropy::new(), &outputs, classes)?);
/// # Ok::<(), plywood::testing::Failure>(())
/// ```
pub fn check_loss<L, D>(loss: L, outputs: &Array<f64, D>, targets: impl Into<Targets<f64>>) -> Result<Report, Failure>
where
    L: Loss<f32> + Loss<f64>,
    D: Dimension,
{
    let case = Case { y: outputs.as_standard_layout().into_owned().into_dyn(), targets: targets.into() };
    let samples = case.y.shape().first().copied().unwrap_or(0);
    assert!(samples > 0 && samples == case.targets.len(), "there must be outputs, and a target for each");
    on_several(|| check(&loss, &case))
}

fn check<L: Loss<f32> + Loss<f64>>(loss: &L, case: &Case) -> Result<Report, Failure> {
    let samples = if case.batch() == 1 { "1 sample".to_owned() } else { format!("{} samples", case.batch()) };
    let mut report =
        Report::new(format!("{} on {}, {samples}", Loss::<f64>::name(loss), shape_text(&case.y.shape()[1..])));
    let check = LossCheck { loss, from_logits: false };
    if !report.note("targets", || case.accepted::<f32>(loss).and(case.accepted::<f64>(loss))) {
        return report.finish();
    }
    report.note("other form", || check.other_form::<f32>(case).and(check.other_form::<f64>(case)));
    let logits: &[bool] = if Loss::<f64>::fuses_softmax(loss) { &[false, true] } else { &[false] };
    for &from_logits in logits {
        let check = LossCheck { loss, from_logits };
        on_one_thread(|| check.run(case, &mut report));
    }
    report.finish()
}

/// A model's outputs and their targets.
#[derive(Debug, Clone)]
struct Case {
    y: ArrayD<f64>,
    targets: Targets<f64>,
}

/// What a loss makes of them.
#[derive(Debug)]
struct Made<T> {
    losses: Vec<T>,
    dy: Vec<T>,
}

#[derive(Debug)]
struct LossCheck<'a, L> {
    loss: &'a L,
    from_logits: bool,
}

impl Case {
    fn batch(&self) -> usize {
        self.y.shape()[0]
    }

    /// Elements of an output.
    fn len(&self) -> usize {
        self.y.len() / self.batch().max(1)
    }

    /// The same outputs with targets in the other form, and what that form is called.
    fn in_other_form(&self) -> (Self, &'static str) {
        let (targets, form) = match &self.targets {
            Targets::Classes(classes) => {
                let mut rows = ArrayD::zeros(self.y.raw_dim());
                for (mut row, &class) in rows.outer_iter_mut().zip(classes) {
                    row.iter_mut().skip(class).take(1).for_each(|value| *value = 1.0);
                }
                (Targets::Values(rows), "values")
            }
            Targets::Values(_) => (Targets::Classes(Array::zeros(self.batch())), "class indices"),
        };
        (Self { targets, ..self.clone() }, form)
    }

    /// One of the samples by itself.
    fn sample(&self, sample: usize) -> Self {
        let slice = Slice::from(sample..sample + 1);
        let targets = match &self.targets {
            Targets::Classes(classes) => Targets::Classes(classes.slice_axis(Axis(0), slice).to_owned()),
            Targets::Values(values) => Targets::Values(values.slice_axis(Axis(0), slice).to_owned()),
        };
        Self { y: self.y.slice_axis(Axis(0), slice).to_owned(), targets }
    }

    fn targets<T: Scalar>(&self) -> Targets<T> {
        match &self.targets {
            Targets::Classes(classes) => Targets::Classes(classes.clone()),
            Targets::Values(values) => Targets::Values(values.mapv(T::of)),
        }
    }

    fn accepted<T: Scalar>(&self, loss: &impl Loss<T>) -> Found {
        snake_case("the name", loss.name())?;
        let (output, targets) = (&self.y.shape()[1..], self.targets::<T>());
        loss.check(output, &targets.view()).map_err(|error| error.to_string())?;
        // one class too few, or rows of another length
        let mut other = output.to_vec();
        let Some(size) = other.last_mut() else { return Ok("taken".to_owned()) };
        *size = match &self.targets {
            Targets::Classes(classes) => classes.iter().copied().max().unwrap_or(0),
            Targets::Values(_) => *size + 1,
        };
        match loss.check(&other, &targets.view()) {
            Ok(()) => Err(format!("taken also for outputs of shape {}", shape_text(&other))),
            Err(_) => Ok(format!("taken; refused for outputs of shape {}", shape_text(&other))),
        }
    }
}

impl<L: Loss<f32> + Loss<f64>> LossCheck<'_, L> {
    fn run(&self, case: &Case, report: &mut Report) {
        let mode = if self.from_logits { ", from logits" } else { "" };
        report.note_both(mode, self.in_both_types::<f32>(case), self.in_both_types::<f64>(case));
        let mut measure = |name: &str, bound, errors: &dyn Fn() -> (f64, f64)| {
            report.measure(format!("{name}{mode}"), bound, || {
                let (losses, dy) = errors();
                Ok((losses.max(dy), format!("losses {losses:.1e}, gradient {dy:.1e}")))
            });
        };
        let plain = || self.evaluate::<f64>(case, None);
        let narrow = || self.evaluate::<f32>(case, None);
        measure("f32 against f64", F32_BOUND, &|| narrow().errors(&plain(), LEAST_F32));
        if self.from_logits {
            measure("after Softmax", ROUNDING_BOUND, &|| self.after_softmax(case, &plain()));
        }
        report.measure(format!("gradient of y{mode}"), GRADIENT_BOUND, || Ok(self.gradient(case, &plain())));
    }

    /// Targets in the other form are refused, or evaluated without a panic.
    fn other_form<T: Scalar>(&self, case: &Case) -> Found
    where
        L: Loss<T>,
    {
        let (other, form) = case.in_other_form();
        if self.loss.check(&case.y.shape()[1..], &other.targets::<T>().view()).is_err() {
            return Ok(format!("{form} are refused"));
        }
        let evaluated = attempt(|| Ok(self.evaluate::<T>(&other, None)));
        evaluated.map(|_| format!("{form} are taken, too")).map_err(|problem| format!("takes {form}, and {problem}"))
    }

    fn evaluate<T: Scalar>(&self, case: &Case, weights: Option<&[f64]>) -> Made<T>
    where
        L: Loss<T>,
    {
        self.evaluate_for(case, &case.targets(), weights)
    }

    /// The same, with these targets.
    fn evaluate_for<T: Scalar>(&self, case: &Case, targets: &Targets<T>, weights: Option<&[f64]>) -> Made<T>
    where
        L: Loss<T>,
    {
        let mut dy = ArrayD::from_elem(case.y.raw_dim(), T::nan());
        let losses = self.losses(case, targets, weights, Some(&mut dy));
        Made { losses, dy: dy.into_raw_vec_and_offset().0 }
    }

    fn losses<T: Scalar>(
        &self,
        case: &Case,
        targets: &Targets<T>,
        weights: Option<&[f64]>,
        dy: Option<&mut ArrayD<T>>,
    ) -> Vec<T>
    where
        L: Loss<T>,
    {
        let weights = weights.map(of_f64::<T>);
        let mut losses = vec![T::nan(); case.batch()];
        self.loss.evaluate(LossPass {
            y: case.y.mapv(T::of).view(),
            from_logits: self.from_logits,
            targets: targets.view(),
            weights: weights.as_deref(),
            batch: losses.len(),
            losses: &mut losses,
            dy: dy.map(|dy| dy.view_mut()),
        });
        losses
    }

    /// What is checked in both types, most of it to the last bit.
    fn in_both_types<T: Scalar>(&self, case: &Case) -> [(&'static str, Found); 7]
    where
        L: Loss<T>,
    {
        let made = || self.evaluate::<T>(case, None);
        let checks: [(_, &dyn Fn() -> Found); 7] = [
            ("all written", &|| self.all_written(case, &made())),
            ("repeated", &|| made().same(&made(), "again").map(|()| "the same again".to_owned())),
            ("sample alone", &|| self.sample_alone(case, &made())),
            ("threads", &|| self.threads::<T>(case)),
            ("any layout", &|| self.any_layout(case, &made())),
            ("weights", &|| self.weights(case, &made())),
            ("NaN and infinity", &|| self.not_finite(case, &made())),
        ];
        checks.map(|(name, check)| (name, attempt(check)))
    }

    fn all_written<T: Scalar>(&self, case: &Case, made: &Made<T>) -> Found
    where
        L: Loss<T>,
    {
        no_nan("losses", &made.losses)?;
        no_nan("dy", &made.dy)?;
        same_bits("without the gradient, losses", &self.losses(case, &case.targets(), None, None), &made.losses)?;
        Ok("losses, and the gradient if asked for".to_owned())
    }

    fn sample_alone<T: Scalar>(&self, case: &Case, made: &Made<T>) -> Found
    where
        L: Loss<T>,
    {
        let batch = T::of(case.batch() as f64);
        for sample in 0..case.batch() {
            let alone = self.evaluate::<T>(&case.sample(sample), None);
            same_bits(&format!("of sample {sample} alone, losses"), &alone.losses, &made.losses[sample..=sample])?;
            let dy: Vec<T> = made.dy[sample * case.len()..][..case.len()].iter().map(|&dy| dy * batch).collect();
            let error = largest_error(&alone.dy, &dy, 0.0);
            // one division is rounded here, another there
            if error > 4.0 * float(T::epsilon()) {
                return Err(format!("of sample {sample} alone, the gradient is off by {error:.1e}"));
            }
        }
        Ok("as in its batch".to_owned())
    }

    fn threads<T: Scalar>(&self, case: &Case) -> Found
    where
        L: Loss<T>,
    {
        let [(_, one), (many, others)] = few_and_many(|| self.evaluate::<T>(case, None));
        others.same(&one, &format!("on {many} threads"))?;
        Ok(format!("the same on 1 and on {many}"))
    }

    fn any_layout<T: Scalar>(&self, case: &Case, made: &Made<T>) -> Found
    where
        L: Loss<T>,
    {
        let targets = match case.targets::<T>() {
            Targets::Classes(classes) => Targets::Classes(scattered(&classes)),
            Targets::Values(values) => Targets::Values(scattered(&values)),
        };
        self.evaluate_for(case, &targets, None).same(made, "with targets that are not contiguous")?;
        Ok("the same for targets that are not contiguous".to_owned())
    }

    /// Weighted losses and gradients are those without weights, multiplied by them.
    fn weights<T: Scalar>(&self, case: &Case, plain: &Made<T>) -> Found
    where
        L: Loss<T>,
    {
        let mut weights = Draw::new(0, 0).numbers(case.batch(), [0.25, 2.0], Spacing::Fine);
        // a product is rounded here, another there
        let bound = 8.0 * float(T::epsilon());
        for _ in 0..2 {
            let made = self.evaluate::<T>(case, Some(&weights));
            let weighed = |(i, &value): (usize, &T)| float(value) * weights[i];
            let losses: Vec<f64> = plain.losses.iter().enumerate().map(weighed).collect();
            let dy: Vec<f64> = plain.dy.iter().enumerate().map(|(i, dy)| weighed((i / case.len(), dy))).collect();
            let (losses, dy) = made.errors(&Made { losses, dy }, 0.0);
            if losses > bound || dy > bound {
                return Err(format!(
                    "with weights {weights:?} losses are off by {losses:.1e}, their gradient by {dy:.1e}"
                ));
            }
            // next time one of them, of a single sample the only one, is 0
            weights[case.batch() - 1] = 0.0;
        }
        Ok("multiply losses and gradient, 0 too".to_owned())
    }

    /// With a sample that is not finite, the others have the bits that they have without; its own loss is NaN if it is.
    fn not_finite<T: Scalar>(&self, case: &Case, made: &Made<T>) -> Found
    where
        L: Loss<T>,
    {
        let len = case.len();
        for (value, sample) in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY]
            .into_iter()
            .flat_map(|value| [0, case.batch() - 1].map(|sample| (value, sample)))
        {
            let mut spoiled = case.clone();
            spoiled.y.index_axis_mut(Axis(0), sample).fill(value);
            let mut got = self.evaluate::<T>(&spoiled, None);
            let own = std::mem::replace(&mut got.losses[sample], made.losses[sample]);
            if value.is_nan() && !own.is_nan() {
                return Err(format!("of sample {sample}, which is NaN, the loss is {own}"));
            }
            let own = sample * len..(sample + 1) * len;
            got.dy[own.clone()].copy_from_slice(&made.dy[own]);
            got.same(made, &format!("with sample {sample} {value}"))?;
        }
        // a single element, if it counts
        for element in (0..len).filter(|&element| made.dy[element] != T::zero()).take(ELEMENTS) {
            let mut spoiled = case.clone();
            spoiled.y.as_slice_mut().expect("made in standard layout")[element] = f64::NAN;
            let loss = self.evaluate::<T>(&spoiled, None).losses[0];
            if !loss.is_nan() {
                return Err(format!("of sample 0, whose element {element} is NaN, the loss is {loss}"));
            }
        }
        Ok("stay with their sample, whose loss is NaN if it is".to_owned())
    }

    /// How far losses and gradient from logits are from those of probabilities that a Softmax makes of them.
    fn after_softmax(&self, case: &Case, fused: &Made<f64>) -> (f64, f64) {
        let classes = case.y.shape().last().copied().unwrap_or(1);
        let mut apart = case.clone();
        let p = apart.y.as_slice_mut().expect("made in standard layout");
        for row in p.chunks_exact_mut(classes) {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter_mut().for_each(|y| *y = (*y - largest).exp());
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|y| *y /= sum);
        }
        let Made { losses, mut dy } = LossCheck { loss: self.loss, from_logits: false }.evaluate::<f64>(&apart, None);
        let p = apart.y.as_slice().expect("made in standard layout");
        for (dy, p) in dy.chunks_exact_mut(classes).zip(p.chunks_exact(classes)) {
            let mean: f64 = dy.iter().zip(p).map(|(dy, p)| dy * p).sum();
            dy.iter_mut().zip(p).for_each(|(dy, p)| *dy = p * (*dy - mean));
        }
        fused.errors(&Made { losses, dy }, LEAST)
    }

    fn gradient(&self, case: &Case, made: &Made<f64>) -> (f64, String) {
        let shares = vec![1.0 / case.batch() as f64; case.batch()];
        let differences = Differences { y: &made.losses, weights: &shares, bound: GRADIENT_BOUND };
        let least = LEAST / case.batch() as f64;
        let tensor = Tensor { shape: case.y.shape(), gradient: &made.dy, least, elements: ELEMENTS };
        let (mut moved, targets) = (case.clone(), case.targets());
        differences.compare_tensor(&tensor, &mut Draw::new(0, 0), |by, losses| {
            for (i, (to, from)) in moved.y.iter_mut().zip(&case.y).enumerate() {
                *to = from + by(i);
            }
            *losses = self.losses(&moved, &targets, None, None);
        })
    }
}

/// The same array in another order of its axes, and with gaps.
fn scattered<A: Copy, D: Dimension>(array: &Array<A, D>) -> Array<A, D> {
    let mut shape = array.raw_dim();
    shape[0] *= 2;
    let mut indices = array.iter().cycle();
    let mut scattered = Array::from_shape_simple_fn(shape.f(), || *indices.next().expect("goes round"));
    scattered.slice_axis_inplace(Axis(0), Slice::new(0, None, 2));
    scattered.assign(array);
    scattered
}

impl<T: Scalar> Made<T> {
    /// How far losses and gradient are from others.
    fn errors(&self, expected: &Made<f64>, least: f64) -> (f64, f64) {
        let batch = self.losses.len() as f64;
        let losses = largest_error(&self.losses, &expected.losses, least);
        (losses, largest_error(&self.dy, &expected.dy, least / batch))
    }

    fn same(&self, expected: &Self, when: &str) -> Result<(), String> {
        same_bits(&format!("{when}, losses"), &self.losses, &expected.losses)?;
        same_bits(&format!("{when}, dy"), &self.dy, &expected.dy)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, array};

    use super::*;
    use crate::data::TargetsView;
    use crate::losses::{CategoricalCrossentropy, MeanSquaredError};

    /// What is wrong with a loss.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fault {
        None,
        TakesAnyTargets,
        GradientNotWritten,
        LossDependsOnGradient,
        GradientOfSum,
        DependsOnThreads,
        IgnoresWeights,
        IgnoresOnlyWeight,
        WrongGradient,
        CoarseF32,
        NoSoftmax,
        TakesValues,
        ContiguousTargets,
        Panics,
        IgnoresWeightsInF32,
        NanZeroesAll,
        InfinitySpreads,
        HidesNan,
    }

    /// The sum of squares of what is asked for, as a class or as a row.
    #[derive(Debug)]
    struct Faulty {
        fault: Fault,
    }

    impl<T: Scalar> Loss<T> for Faulty {
        fn name(&self) -> &'static str {
            "faulty"
        }

        fn check(&self, output: &[usize], targets: &TargetsView<'_, T>) -> crate::Result<()> {
            match self.fault {
                Fault::TakesAnyTargets => Ok(()),
                Fault::TakesValues if matches!(targets, TargetsView::Values(_)) => Ok(()),
                _ => {
                    crate::losses::check_class_targets("faulty", output, targets)?;
                    match targets {
                        TargetsView::Classes(_) => Ok(()),
                        TargetsView::Values(_) => Err(crate::Error::layer("faulty", "only classes")),
                    }
                }
            }
        }

        fn fuses_softmax(&self) -> bool {
            self.fault == Fault::NoSoftmax
        }

        fn evaluate(&self, mut pass: LossPass<'_, T>) {
            let TargetsView::Classes(classes) = pass.targets else { panic!("only classes") };
            assert!(self.fault != Fault::Panics, "there is a fault");
            assert!(self.fault != Fault::ContiguousTargets || classes.as_slice().is_some());
            let batch = T::of(classes.len() as f64);
            let few = T::of(1e-3);
            let extra = match self.fault {
                Fault::LossDependsOnGradient if pass.dy.is_some() => few,
                Fault::DependsOnThreads => T::of(rayon::current_num_threads() as f64),
                Fault::CoarseF32 if T::NAME == f32::NAME => few,
                _ => T::zero(),
            };
            for (sample, &class) in classes.iter().enumerate() {
                let weight = match self.fault {
                    Fault::IgnoresWeights => T::one(),
                    Fault::IgnoresWeightsInF32 if T::NAME == f32::NAME => T::one(),
                    Fault::NanZeroesAll if pass.y.iter().any(|y| y.is_nan()) => T::zero(),
                    Fault::InfinitySpreads if pass.y.iter().any(|y| y.is_infinite()) => T::of(2.0),
                    // but for 0
                    Fault::IgnoresOnlyWeight if pass.losses.len() == 1 => {
                        pass.weights.map_or(T::one(), |weights| weights[0].signum())
                    }
                    _ => pass.weights.map_or(T::one(), |weights| weights[sample]),
                };
                let y = pass.y[[sample, class]];
                let y = if self.fault == Fault::HidesNan && y.is_nan() { T::zero() } else { y };
                pass.losses[sample] = weight * (y * y + extra);
                let Some(dy) = &mut pass.dy else { continue };
                if self.fault != Fault::GradientNotWritten {
                    dy.index_axis_mut(Axis(0), sample).fill(T::zero());
                }
                let factor = if self.fault == Fault::WrongGradient { 2.00001 } else { 2.0 };
                let share = if self.fault == Fault::GradientOfSum { T::one() } else { T::one() / batch };
                dy[[sample, class]] = T::of(factor) * y * weight * share;
            }
        }
    }

    fn failed(fault: Fault) -> Vec<String> {
        let outputs = array![[0.5, 1.5], [-0.75, 2.0], [0.25, 0.125]];
        let result = check_loss(Faulty { fault }, &outputs, array![1_usize, 0, 1]);
        result.map_or_else(|failure| failure.failed().map(|check| check.name.clone()).collect(), |_| vec![])
    }

    #[test]
    fn every_fault_is_found() {
        assert_eq!(failed(Fault::None), [""; 0]);
        let mut missed = vec![];
        for (fault, check) in [
            (Fault::TakesAnyTargets, "targets"),
            (Fault::GradientNotWritten, "all written"),
            (Fault::LossDependsOnGradient, "all written"),
            (Fault::GradientOfSum, "sample alone"),
            (Fault::DependsOnThreads, "threads"),
            (Fault::IgnoresWeights, "weights"),
            (Fault::WrongGradient, "gradient of y"),
            (Fault::CoarseF32, "f32 against f64"),
            (Fault::NoSoftmax, "after Softmax, from logits"),
            (Fault::TakesValues, "other form"),
            (Fault::ContiguousTargets, "any layout"),
            (Fault::IgnoresWeightsInF32, "weights"),
            (Fault::NanZeroesAll, "NaN and infinity"),
            (Fault::InfinitySpreads, "NaN and infinity"),
            (Fault::HidesNan, "NaN and infinity"),
            (Fault::Panics, "all written"),
            (Fault::Panics, "gradient of y"),
        ] {
            let failed = failed(fault);
            if !failed.iter().any(|name| name == check) {
                missed.push(format!("{fault:?}: {failed:?} without {check}"));
            }
        }
        assert_eq!(missed, [""; 0]);
        let failure = check_loss(Faulty { fault: Fault::IgnoresOnlyWeight }, &array![[0.5, 1.5]], array![1_usize]);
        assert_eq!(failure.unwrap_err().failed().map(|check| check.name.as_str()).collect::<Vec<_>>(), ["weights"]);
    }

    #[test]
    fn scattered_arrays_are_equal_and_not_contiguous() {
        let array = Array::from_shape_fn((2, 3, 4), |(i, j, k)| 100 * i + 10 * j + k);
        assert_eq!(scattered(&array), array);
        assert!(scattered(&array).as_slice_memory_order().is_none() && scattered(&array).strides()[0] == 2);
        assert!(scattered(&array![1, 2, 3]).as_slice().is_none());
    }

    #[test]
    #[should_panic(expected = "there must be outputs, and a target for each")]
    fn no_outputs() {
        let _ = check_loss(MeanSquaredError, &ndarray::Array2::zeros((0, 3)), ndarray::Array2::zeros((0, 3)));
    }

    #[test]
    fn targets_that_the_loss_refuses_fail() {
        let failure = check_loss(MeanSquaredError, &array![[0.5, 1.5]], array![1_usize]).unwrap_err();
        assert_eq!(failure.report().checks().len(), 1);
        assert!(failure.to_string().contains("FAILED targets  mean_squared_error: got class indices"), "{failure}");
    }

    #[test]
    fn one_sample_and_class_0_alone_will_do() {
        let loss = CategoricalCrossentropy::new();
        check_loss(loss, &array![[0.75, 0.25]], array![0_usize]).unwrap();
        check_loss(MeanSquaredError, &Array1::from(vec![0.5, 1.5]), Array1::from(vec![0.25, 2.0])).unwrap();
    }
}
