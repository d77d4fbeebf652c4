//! Metrics: what is counted beside the loss.

use std::fmt::Debug;

use ndarray::ArrayViewD;

use crate::data::TargetsView;
use crate::scalar::Scalar;

/// A metric: looks at predictions batch by batch and tells one figure for all samples since the last reset.
pub trait Metric<T: Scalar = f32>: Debug + Send {
    /// Its name, which is also its column in a history.
    fn name(&self) -> &str;

    /// Forgets everything seen.
    fn reset(&mut self);

    /// Looks at a batch of predictions `[batch, classes]` (probabilities or logits) and its targets.
    fn update(&mut self, predictions: ArrayViewD<'_, T>, targets: &TargetsView<'_, T>);

    /// The figure for everything since the last reset; NaN if nothing was seen.
    fn value(&self) -> f64;
}
