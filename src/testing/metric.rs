//! Everything a metric owes, in one call.

use ndarray::{Array, ArrayD, Axis, Dimension};

use super::numbers::relative;
use super::report::{Found, attempt};
use super::threads::on_several;
use super::{Failure, Report};
use crate::data::Targets;
use crate::error::shape_text;
use crate::metrics::Metric;
use crate::model::check_names;
use crate::scalar::Scalar;

/// How exactly a value has to be that of the same samples in other batches: rounding in `f64` only.
const BOUND: f64 = 1e-12;

/// How exactly a value in `f32` has to be that of the same predictions in `f64`.
const F32_BOUND: f64 = 1e-5;

/// Runs a metric through everything it owes, on predictions `[samples, …]` and their targets.
///
/// | what is checked | how |
/// |---|---|
/// | name | none of those that a history has of its own |
/// | targets | [`Metric::check`] takes these, in both types |
/// | nothing seen | NaN at first and after a reset, and a reset brings back all the rest |
/// | batches | the same value for all samples at once, one by one, and in the opposite order |
/// | f32 against f64 | the same value for the same predictions, all of which `f32` has |
/// | state | if it has one, it counts on from it after a reset as if it had not been reset |
/// | NaN | a prediction that is not a number causes no panic |
///
/// Values are the same if they differ by no more than rounding does, relative to them or to 1: by 10⁻¹², for `f32` by
/// 10⁻⁵.
///
/// # Errors
///
/// The report, if anything is not as it should be.
///
/// # Panics
///
/// If there are not as many targets as predictions, or none.
///
/// ```
/// use plywood::metrics::Accuracy;
/// use plywood::ndarray::array;
/// use plywood::testing::check_metric;
///
/// let predictions = array![[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.0, 0.9, 0.1]];
/// let report = check_metric(Accuracy::new(), &predictions, array![0_usize, 2, 2])?;
/// assert!(report.checks().iter().all(|check| check.passed));
/// # Ok::<(), plywood::testing::Failure>(())
/// ```
pub fn check_metric<M, D>(
    metric: M,
    predictions: &Array<f64, D>,
    targets: impl Into<Targets<f64>>,
) -> Result<Report, Failure>
where
    M: Metric<f32> + Metric<f64>,
    D: Dimension,
{
    let (predictions, targets) = (predictions.clone().into_dyn(), targets.into());
    let samples = predictions.shape().first().copied().unwrap_or(0);
    assert!(samples > 0 && samples == targets.len(), "there must be predictions, and a target for each");
    on_several(|| check(metric, predictions, targets))
}

fn check<M: Metric<f32> + Metric<f64>>(
    mut metric: M,
    predictions: ArrayD<f64>,
    targets: Targets<f64>,
) -> Result<Report, Failure> {
    let samples = targets.len();
    let of =
        format!("{} on {}, {samples} samples", Metric::<f64>::name(&metric), shape_text(&predictions.shape()[1..]));
    let mut report = Report::new(of);
    let (narrow_predictions, narrow_targets) = (predictions.mapv(f32::of), of_type(&targets, f32::of));
    let output = &predictions.shape()[1..];
    report.note("name", || {
        let name = Metric::<f64>::name(&metric);
        check_names(std::iter::once(name)).map_err(|error| error.to_string())?;
        Ok(name.to_owned())
    });
    let taken = report.note("targets", || {
        let accepted = Metric::<f32>::check(&metric, output, &narrow_targets.view());
        let accepted = accepted.and_then(|()| Metric::<f64>::check(&metric, output, &targets.view()));
        accepted.map(|()| "taken".to_owned()).map_err(|error| error.to_string())
    });
    if !taken {
        return report.finish();
    }

    let all: Vec<usize> = (0..samples).collect();
    let at_first = attempt(|| {
        let at_first = Metric::<f64>::value(&metric);
        Ok((at_first, value(&mut metric, &predictions, &targets, [&*all])))
    });
    let (at_first, whole) = match at_first {
        Ok(values) => values,
        Err(problem) => {
            report.note("value", || Err(problem));
            return report.finish();
        }
    };
    report.note("nothing seen", || {
        Metric::<f64>::reset(&mut metric);
        let after_reset = Metric::<f64>::value(&metric);
        let again = value(&mut metric, &predictions, &targets, [&*all]);
        match (at_first.is_nan(), after_reset.is_nan(), same(again, whole)) {
            (true, true, true) => Ok("NaN at first and after a reset".to_owned()),
            (false, ..) => Err(format!("{at_first} at first, expected NaN")),
            (_, false, _) => Err(format!("{after_reset} after a reset, expected NaN")),
            _ => Err(format!("{again} after a reset, {whole} before")),
        }
    });
    report.measure("batches", BOUND, || {
        let one_by_one = value(&mut metric, &predictions, &targets, all.chunks(1));
        let reversed: Vec<usize> = all.iter().rev().copied().collect();
        let backwards = value(&mut metric, &predictions, &targets, reversed.chunks(3));
        let error = difference(one_by_one, whole).max(difference(backwards, whole));
        Ok((error, format!("{whole} at once, {one_by_one} one by one, {backwards} in the opposite order")))
    });
    report.measure("f32 against f64", F32_BOUND, || {
        let narrow = value(&mut metric, &narrow_predictions, &narrow_targets, [&*all]);
        // predictions that are equal in f32 must be so here, too: else what counts them would count others
        let (predictions, targets) = (narrow_predictions.mapv(f64::from), of_type(&narrow_targets, f64::from));
        let wide = value(&mut metric, &predictions, &targets, [&*all]);
        Ok((difference(narrow, wide), format!("{narrow} in f32, {wide} in f64")))
    });
    if Metric::<f64>::state(&metric).is_some() {
        report.note("state", || counts_on(&mut metric, &predictions, &targets, whole));
    }
    report.note("NaN", || {
        let mut spoiled = predictions.clone();
        spoiled.index_axis_mut(Axis(0), 0).fill(f64::NAN);
        let value = value(&mut metric, &spoiled, &targets, [&*all]);
        Ok(format!("with predictions of NaN for the first sample the value is {value}"))
    });
    report.finish()
}

/// Targets in another type.
fn of_type<T: Scalar, U: Scalar>(targets: &Targets<T>, convert: fn(T) -> U) -> Targets<U> {
    match targets {
        Targets::Classes(classes) => Targets::Classes(classes.clone()),
        Targets::Values(values) => Targets::Values(values.mapv(convert)),
    }
}

/// The value for the samples of these indices, batch by batch.
fn value<'a, T: Scalar>(
    metric: &mut impl Metric<T>,
    predictions: &ArrayD<T>,
    targets: &Targets<T>,
    batches: impl IntoIterator<Item = &'a [usize]>,
) -> f64 {
    metric.reset();
    for batch in batches {
        update(metric, predictions, targets, batch);
    }
    metric.value()
}

/// Lets a metric see the samples of these indices.
fn update<T: Scalar>(metric: &mut impl Metric<T>, predictions: &ArrayD<T>, targets: &Targets<T>, batch: &[usize]) {
    let targets = match targets {
        Targets::Classes(classes) => Targets::Classes(classes.select(Axis(0), batch)),
        Targets::Values(values) => Targets::Values(values.select(Axis(0), batch)),
    };
    metric.update(predictions.select(Axis(0), batch).view(), &targets.view());
}

/// Whether a metric that is reset halfway, and given its state back, comes to the same value.
fn counts_on(metric: &mut impl Metric<f64>, predictions: &ArrayD<f64>, targets: &Targets<f64>, whole: f64) -> Found {
    let (first, rest): (Vec<usize>, Vec<usize>) = (0..targets.len()).partition(|sample| 2 * sample < targets.len());
    value(metric, predictions, targets, [&*first]);
    let state = metric.state().ok_or("there is one at some times only")?;
    // what it has seen since must not count
    value(metric, predictions, targets, [&*first, &*rest]);
    metric.restore(&state).map_err(|error| error.to_string())?;
    if metric.state() != Some(state) {
        return Err("another one after it was given back".to_owned());
    }
    if !rest.is_empty() {
        update(metric, predictions, targets, &rest);
    }
    match metric.value() {
        value if difference(value, whole) <= BOUND => Ok(format!("counting on gives {value}")),
        value => Err(format!("counting on gives {value}, expected {whole}")),
    }
}

/// Both may be NaN.
fn same(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan()
}

/// How far one value is from the other, relative to it or to 1.
fn difference(a: f64, b: f64) -> f64 {
    if same(a, b) { 0.0 } else { relative(a - b, b.abs().max(1.0)) }
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayViewD, array};

    use super::*;
    use crate::data::TargetsView;
    use crate::model::State;

    /// What is wrong with a metric.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fault {
        None,
        RefusesAll,
        ZeroAtFirst,
        NotReset,
        MeanOfBatches,
        CoarseF32,
        HalfAState,
        PanicsOnNan,
        Panics,
        NamedAsAFigure,
    }

    /// The mean of all predictions.
    #[derive(Debug)]
    struct Faulty {
        fault: Fault,
        sum: f64,
        count: f64,
    }

    impl<T: Scalar> Metric<T> for Faulty {
        fn name(&self) -> &str {
            if self.fault == Fault::NamedAsAFigure { "val_loss" } else { "faulty" }
        }
        fn check(&self, output: &[usize], _: &TargetsView<'_, T>) -> crate::Result<()> {
            match self.fault {
                Fault::RefusesAll => Err(crate::Error::layer("faulty", format!("not for {output:?}"))),
                _ => Ok(()),
            }
        }
        fn reset(&mut self) {
            if self.fault != Fault::NotReset {
                (self.sum, self.count) = (0.0, 0.0);
            }
        }
        fn update(&mut self, predictions: ArrayViewD<'_, T>, _: &TargetsView<'_, T>) {
            let sum = predictions.sum().to_f64().unwrap();
            assert!(self.fault != Fault::PanicsOnNan || !sum.is_nan(), "a prediction is NaN");
            assert!(self.fault != Fault::Panics, "there is a fault");
            let extra = if self.fault == Fault::CoarseF32 && T::NAME == f32::NAME { 1e-3 } else { 0.0 };
            let count = predictions.len() as f64;
            if self.fault == Fault::MeanOfBatches {
                (self.sum, self.count) = (self.sum + sum / count, self.count + 1.0);
            } else {
                (self.sum, self.count) = (self.sum + sum + extra, self.count + count);
            }
        }
        fn value(&self) -> f64 {
            if self.fault == Fault::ZeroAtFirst { self.sum / self.count.max(1.0) } else { self.sum / self.count }
        }
        fn state(&self) -> Option<State> {
            let state = State::new().with("sum", self.sum);
            Some(if self.fault == Fault::HalfAState { state } else { state.with("count", self.count) })
        }
        fn restore(&mut self, state: &State) -> crate::Result<()> {
            self.sum = state.number("sum")?;
            self.count = state.number("count").unwrap_or(self.count);
            Ok(())
        }
    }

    #[test]
    fn every_fault_is_found() {
        let failed = |fault| -> Vec<String> {
            let predictions = array![[0.5, 0.25], [0.125, 0.25], [1.0, 2.0], [0.0, 0.75]];
            let metric = Faulty { fault, sum: 0.0, count: 0.0 };
            let result = check_metric(metric, &predictions, array![0_usize, 1, 1, 0]);
            result.map_or_else(|failure| failure.failed().map(|check| check.name.clone()).collect(), |_| vec![])
        };
        assert_eq!(failed(Fault::None), [""; 0]);
        let mut missed = vec![];
        for (fault, check) in [
            (Fault::RefusesAll, "targets"),
            (Fault::ZeroAtFirst, "nothing seen"),
            (Fault::NotReset, "nothing seen"),
            (Fault::MeanOfBatches, "batches"),
            (Fault::CoarseF32, "f32 against f64"),
            (Fault::HalfAState, "state"),
            (Fault::PanicsOnNan, "NaN"),
            (Fault::Panics, "value"),
            (Fault::NamedAsAFigure, "name"),
        ] {
            let failed = failed(fault);
            if !failed.iter().any(|name| name == check) {
                missed.push(format!("{fault:?}: {failed:?} without {check}"));
            }
        }
        assert_eq!(missed, [""; 0]);
    }

    /// The mean of |y − t|, which `f32` and other batches round in other ways; off by so much in `f32`.
    #[derive(Debug, Default)]
    struct MeanAbsoluteError {
        off: f64,
        sum: f64,
        count: f64,
    }

    impl<T: Scalar> Metric<T> for MeanAbsoluteError {
        fn name(&self) -> &str {
            "mean_absolute_error"
        }
        fn reset(&mut self) {
            (self.sum, self.count) = (0.0, 0.0);
        }
        fn update(&mut self, predictions: ArrayViewD<'_, T>, targets: &TargetsView<'_, T>) {
            let TargetsView::Values(targets) = targets else { panic!("only values") };
            let sum: T = predictions.iter().zip(targets).map(|(&y, &t)| (y - t).abs()).sum();
            let off = if T::NAME == f32::NAME { self.off } else { 0.0 };
            self.sum += sum.to_f64().unwrap() + off * predictions.len() as f64;
            self.count += predictions.len() as f64;
        }
        fn value(&self) -> f64 {
            self.sum / self.count
        }
    }

    #[test]
    fn values_may_be_rounded() {
        let predictions = ndarray::Array2::from_shape_fn((10, 3), |(i, j)| 0.1 * (3 * i + j) as f64);
        let targets = predictions.mapv(|y| (7.0 * y).sin());
        for scale in [1e-3, 1.0, 1e6] {
            let (predictions, targets) = (&predictions * scale, &targets * scale);
            let report = check_metric(MeanAbsoluteError::default(), &predictions, targets.clone()).unwrap();
            assert!(report.largest_error("f32").is_some_and(|error| error > 0.0), "{report}");
            let off = MeanAbsoluteError { off: 1e-4 * scale.max(1.0), ..MeanAbsoluteError::default() };
            let failure = check_metric(off, &predictions, targets).unwrap_err();
            assert_eq!(failure.failed().map(|check| check.name.as_str()).collect::<Vec<_>>(), ["f32 against f64"]);
        }
    }
}
