//! How far predictions of a class can be trusted.

use super::class_counts::{ClassCounts, macro_averaged};

/// Which share of the samples predicted to be of a class are of that class.
///
/// > precisionₖ = #{predicted k and of class k} / #{predicted k}
///
/// The metric's value is the mean over the classes, each counting the same however many samples it has (the macro average).
/// A class that occurs neither among the targets nor among the predictions is left out of it; one that was never predicted has the precision 0.
///
/// The predicted class is that of the largest prediction, the first of equals; a sample with a prediction that is NaN is
/// predicted to be of no class.
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
/// Those of [`Accuracy`](super::Accuracy).
///
/// # Source
///
/// scikit-learn's `sklearn.metrics.precision_score(average="macro", zero_division=0)`.
///
/// # Example
///
/// ```
/// use plywood::data::TargetsView;
/// use plywood::metrics::{Metric, Precision};
/// use plywood::ndarray::array;
///
/// let mut precision = Precision::new();
/// let (predictions, classes) = (array![[0.1_f32, 0.9], [0.8, 0.2], [0.3, 0.7]], array![1, 0, 0]);
/// precision.update(predictions.view().into_dyn(), &TargetsView::Classes(classes.view()));
/// assert_eq!(precision.per_class(), array![1.0, 0.5]);
/// assert_eq!(Metric::<f32>::value(&precision), 0.75);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Precision {
    counts: ClassCounts,
}

macro_averaged!(Precision, "precision", PRECISION);

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::metrics::Metric;
    use crate::metrics::testing::{predicting, value};

    // The example of scikit-learn's documentation, cut into two batches.
    #[test]
    fn agrees_with_scikit_learn() {
        let batches = [
            (predicting(&[0, 2, 1, 0], 3), array![0_usize, 1, 2, 0].into()),
            (predicting(&[0, 1], 3), array![1_usize, 2].into()),
        ];
        approx::assert_relative_eq!(value(&mut Precision::new(), &batches), 2.0 / 9.0, max_relative = 1e-15);
    }

    // Of ten classes only 0, 2 and 7 occur.
    #[test]
    fn a_class_that_does_not_occur_is_left_out() {
        let batch = (predicting(&[0, 0, 7, 7], 10), array![0_usize, 2, 7, 7].into());
        approx::assert_relative_eq!(
            value(&mut Precision::new(), &[batch]),
            (0.5 + 0.0 + 1.0) / 3.0,
            max_relative = 1e-15
        );
    }

    #[test]
    fn reset_forgets() {
        let mut metric = Precision::new();
        assert!(value(&mut metric, &[]).is_nan());
        assert!(value(&mut metric, &[(predicting(&[0], 3), array![0_usize].into())]) == 1.0);
        Metric::<f32>::reset(&mut metric);
        assert!(value(&mut metric, &[]).is_nan());
        assert_eq!(value(&mut metric, &[(predicting(&[1], 3), array![2_usize].into())]), 0.0);
    }
}
