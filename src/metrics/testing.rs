//! What the tests of metrics share.

use ndarray::Array2;

use super::Metric;
use crate::data::Targets;

/// Predictions whose largest is that of the given class.
pub(super) fn predicting(classes: &[usize], count: usize) -> Array2<f32> {
    Array2::from_shape_fn((classes.len(), count), |(sample, class)| if class == classes[sample] { 0.9 } else { 0.1 })
}

/// A metric's value after some batches.
pub(super) fn value(metric: &mut dyn Metric, batches: &[(Array2<f32>, Targets<f32>)]) -> f64 {
    for (predictions, targets) in batches {
        metric.check(&predictions.shape()[1..], &targets.view()).expect("the batch is a good one");
        metric.update(predictions.view().into_dyn(), &targets.view());
    }
    metric.value()
}
