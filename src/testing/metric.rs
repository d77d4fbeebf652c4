//! Everything a metric owes, in one call.

use ndarray::{Array, ArrayD, Axis, Dimension};

use super::{Failure, Report};
use crate::data::Targets;
use crate::error::shape_text;
use crate::metrics::Metric;
use crate::scalar::Scalar;

/// How exactly a value has to be that of the same samples in other batches: rounding in `f64` only.
const BOUND: f64 = 1e-12;

/// Runs a metric through everything it owes, on predictions `[samples, …]` and their targets.
///
/// | what is checked | how |
/// |---|---|
/// | targets | [`Metric::check`] takes these, in both types |
/// | nothing seen | NaN at first and after a reset, and a reset brings back all the rest |
/// | batches | the same value for all samples at once, one by one, and in the opposite order |
/// | f32 against f64 | the same value, as long as predictions that differ do so in `f32` |
/// | state | if it has one, it counts on from it after a reset as if it had not been reset |
/// | NaN | a prediction that is not a number causes no panic |
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
    mut metric: M,
    predictions: &Array<f64, D>,
    targets: impl Into<Targets<f64>>,
) -> Result<Report, Failure>
where
    M: Metric<f32> + Metric<f64>,
    D: Dimension,
{
    let (predictions, targets) = (predictions.clone().into_dyn(), targets.into());
    let samples = predictions.shape()[0];
    assert!(samples > 0 && samples == targets.len(), "there must be predictions, and a target for each");
    let of =
        format!("{} on {}, {samples} samples", Metric::<f64>::name(&metric), shape_text(&predictions.shape()[1..]));
    let mut report = Report::new(of);
    let narrow_targets = match &targets {
        Targets::Classes(classes) => Targets::Classes(classes.clone()),
        Targets::Values(values) => Targets::Values(values.mapv(f32::of)),
    };
    let narrow_predictions = predictions.mapv(f32::of);
    let output = &predictions.shape()[1..];
    let accepted = Metric::<f32>::check(&metric, output, &narrow_targets.view())
        .and_then(|()| Metric::<f64>::check(&metric, output, &targets.view()));
    let refused = accepted.is_err();
    report.note("targets", accepted.map(|()| "taken".to_owned()).map_err(|error| error.to_string()));
    if refused {
        return report.finish();
    }

    let at_first = Metric::<f64>::value(&metric);
    let all: Vec<usize> = (0..samples).collect();
    let whole = value(&mut metric, &predictions, &targets, [&*all]);
    Metric::<f64>::reset(&mut metric);
    let after_reset = Metric::<f64>::value(&metric);
    let again = value(&mut metric, &predictions, &targets, [&*all]);
    report.note(
        "nothing seen",
        match (at_first.is_nan(), after_reset.is_nan(), same(again, whole)) {
            (true, true, true) => Ok("NaN at first and after a reset".to_owned()),
            (false, ..) => Err(format!("{at_first} at first, expected NaN")),
            (_, false, _) => Err(format!("{after_reset} after a reset, expected NaN")),
            _ => Err(format!("{again} after a reset, {whole} before")),
        },
    );

    let one_by_one = value(&mut metric, &predictions, &targets, all.chunks(1));
    let reversed: Vec<usize> = all.iter().rev().copied().collect();
    let backwards = value(&mut metric, &predictions, &targets, reversed.chunks(3));
    let error = difference(one_by_one, whole).max(difference(backwards, whole));
    report.measure("batches", error, BOUND, format!("the value is {whole}"));

    let narrow = value(&mut metric, &narrow_predictions, &narrow_targets, [&*all]);
    report.measure("f32 against f64", difference(narrow, whole), BOUND, format!("the value is {narrow}"));

    if Metric::<f64>::state(&metric).is_some() {
        report.note("state", counts_on(&mut metric, &predictions, &targets, whole));
    }

    let mut spoiled = predictions;
    spoiled.index_axis_mut(Axis(0), 0).fill(f64::NAN);
    let value = value(&mut metric, &spoiled, &targets, [&*all]);
    report.note("NaN", Ok(format!("with predictions of NaN for the first sample the value is {value}")));
    report.finish()
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
fn counts_on(
    metric: &mut impl Metric<f64>,
    predictions: &ArrayD<f64>,
    targets: &Targets<f64>,
    whole: f64,
) -> Result<String, String> {
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

fn difference(a: f64, b: f64) -> f64 {
    match (a - b).abs() {
        _ if same(a, b) => 0.0,
        difference if difference.is_nan() => f64::INFINITY,
        difference => difference,
    }
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
            "faulty"
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
        for (fault, check) in [
            (Fault::RefusesAll, "targets"),
            (Fault::ZeroAtFirst, "nothing seen"),
            (Fault::NotReset, "nothing seen"),
            (Fault::MeanOfBatches, "batches"),
            (Fault::CoarseF32, "f32 against f64"),
            (Fault::HalfAState, "state"),
        ] {
            let failed = failed(fault);
            assert!(failed.iter().any(|name| name == check), "{fault:?}: {failed:?}");
        }
    }
}
