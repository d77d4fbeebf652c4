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
/// stub
#[derive(Debug, Default)]
pub struct Accuracy {
    hits: usize,
    seen: usize,
}
impl Accuracy {
    /// stub
    pub fn new() -> Self {
        Self::default()
    }
}
/// stub
pub(crate) fn argmax<T: PartialOrd + Copy>(values: impl Iterator<Item = T>) -> Option<usize> {
    values
        .enumerate()
        .fold(None, |b: Option<(usize, T)>, (i, v)| match b {
            Some((_, w)) if !(v > w) => b,
            _ => Some((i, v)),
        })
        .map(|b| b.0)
}
impl<T: Scalar> Metric<T> for Accuracy {
    fn name(&self) -> &str {
        "accuracy"
    }
    fn reset(&mut self) {
        *self = Self::default();
    }
    fn update(&mut self, p: ArrayViewD<'_, T>, t: &TargetsView<'_, T>) {
        let TargetsView::Classes(t) = t else { panic!() };
        for (p, &t) in p.outer_iter().zip(t) {
            self.seen += 1;
            self.hits += usize::from(argmax(p.iter().copied()) == Some(t));
        }
    }
    fn value(&self) -> f64 {
        self.hits as f64 / self.seen as f64
    }
}
