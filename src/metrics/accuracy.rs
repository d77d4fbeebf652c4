//! The share of right predictions.

use ndarray::ArrayViewD;

use super::{Metric, largest, samples};
use crate::data::TargetsView;
use crate::error::Result;
use crate::losses::check_class_targets;
use crate::model::State;
use crate::scalar::Scalar;

/// The share of samples whose largest prediction is that of the true class.
///
/// > accuracy = (1/N) · #{i : argmaxₖ pᵢₖ = argmaxₖ yᵢₖ}
///
/// Of equal predictions the first counts as the largest. A sample with a prediction that is NaN counts as wrong.
///
/// # Shapes
///
/// Predictions `[batch, classes]`, probabilities or logits. Targets are class indices `[batch]` or rows
/// `[batch, classes]`, whose largest value marks the true class.
///
/// The value is from 0 to 1; NaN before the first update.
///
/// # Errors
///
/// [`Metric::check`] returns [`Error::InputShape`](crate::Error::InputShape) if predictions are not `[classes]`,
/// [`Error::Targets`](crate::Error::Targets) for rows of another length, and
/// [`Error::LabelOutOfRange`](crate::Error::LabelOutOfRange) for a class that does not exist.
///
/// # Source
///
/// Keras 3, `keras/src/metrics/accuracy_metrics.py` (`CategoricalAccuracy`, `SparseCategoricalAccuracy`).
///
/// # Example
///
/// ```
/// use plywood::data::TargetsView;
/// use plywood::metrics::{Accuracy, Metric};
/// use plywood::ndarray::array;
///
/// let mut accuracy = Accuracy::new();
/// let (predictions, classes) = (array![[0.1_f32, 0.9], [0.8, 0.2], [0.7, 0.3]], array![1, 0, 1]);
/// accuracy.update(predictions.view().into_dyn(), &TargetsView::Classes(classes.view()));
/// assert_eq!(Metric::<f32>::value(&accuracy), 2.0 / 3.0);
/// ```
#[doc(alias = "CategoricalAccuracy")]
#[doc(alias = "SparseCategoricalAccuracy")]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accuracy {
    right: u64,
    seen: u64,
}

impl Accuracy {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T: Scalar> Metric<T> for Accuracy {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn check(&self, output: &[usize], targets: &TargetsView<'_, T>) -> Result<()> {
        check_class_targets("accuracy", output, targets)
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn update(&mut self, predictions: ArrayViewD<'_, T>, targets: &TargetsView<'_, T>) {
        for (prediction, class) in samples(&predictions, targets) {
            self.right += u64::from(largest(prediction).is_some_and(|predicted| Some(predicted) == class));
            self.seen += 1;
        }
    }

    fn value(&self) -> f64 {
        self.right as f64 / self.seen as f64
    }

    fn state(&self) -> Option<State> {
        Some(State::new().with("right", self.right).with("seen", self.seen))
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        (self.right, self.seen) = (state.count("right")?, state.count("seen")?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;
    use crate::data::Targets;
    use crate::metrics::testing::value;

    fn accuracy(batches: &[(Array2<f32>, Targets<f32>)]) -> f64 {
        value(&mut Accuracy::new(), batches)
    }

    #[test]
    fn is_a_mean_over_samples_and_not_over_batches() {
        let right = (array![[0.0, 1.0], [1.0, 0.0], [0.2, 0.8]], array![1_usize, 0, 1].into());
        let wrong = (array![[0.0, 1.0]], array![[1.0, 0.0]].into());
        assert_eq!(accuracy(&[right, wrong]), 0.75);
    }

    #[test]
    fn the_first_of_equals_counts() {
        assert_eq!(accuracy(&[(array![[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]], array![0_usize, 1].into())]), 0.5);
    }

    #[test]
    fn rows_mark_the_class_with_their_largest_value() {
        let predictions = array![[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]];
        assert_eq!(accuracy(&[(predictions.clone(), array![[0.1, 0.6, 0.3], [0.0, 0.0, 1.0]].into())]), 0.5);
        // A view that is not contiguous.
        let mut metric = Accuracy::new();
        let transposed = predictions.t().as_standard_layout().into_owned();
        let targets = Targets::<f32>::from(array![1_usize, 0]);
        metric.update(transposed.t().into_dyn(), &targets.view());
        assert_eq!(Metric::<f32>::value(&metric), 1.0);
    }

    #[test]
    fn not_a_number_is_wrong() {
        for row in [[f32::NAN, 0.0], [0.9, f32::NAN], [f32::NAN; 2]] {
            assert_eq!(accuracy(&[(array![row, [1.0, 0.0]], array![0_usize, 0].into())]), 0.5);
        }
        assert_eq!(accuracy(&[(array![[1.0, 0.0]], array![[f32::NAN, 0.0]].into())]), 0.0);
    }

    #[test]
    fn reset_forgets() {
        let mut metric = Accuracy { right: 3, seen: 4 };
        Metric::<f32>::reset(&mut metric);
        assert!(Metric::<f32>::value(&metric).is_nan());
    }
}
