//! The share of predictions that have the true class near the top.

use ndarray::ArrayViewD;

use super::{Metric, samples};
use crate::data::TargetsView;
use crate::error::{Error, Result};
use crate::losses::check_class_targets;
use crate::model::State;
use crate::scalar::Scalar;

const OWNER: &str = "top_k_accuracy";

/// The share of samples whose true class is among the k with the largest predictions.
///
/// > (1/N) · #{i : fewer than k classes come before the true class of i}
///
/// A class comes before another if its prediction is larger, or equal and its index smaller. So with k = 1 this is
/// [`Accuracy`](super::Accuracy), and a model that predicts the same for all classes gets no credit for it. A sample with a
/// prediction that is NaN counts as wrong.
///
/// # Shapes
///
/// Predictions `[batch, classes]`, probabilities or logits. Targets are class indices `[batch]` or rows
/// `[batch, classes]`, whose largest value marks the true class.
///
/// # Parameters
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | `k` | | ≥ 1 | how many of the largest predictions count; more than there are classes is all of them |
///
/// The value is from 0 to 1; NaN before the first update. Its name is `top_5_accuracy` for k = 5.
///
/// # Errors
///
/// [`Metric::check`] returns [`Error::InvalidParameter`] if k is 0, and the errors of [`Accuracy`](super::Accuracy).
///
/// # Source
///
/// Keras 3, `keras/src/metrics/accuracy_metrics.py` (`TopKCategoricalAccuracy`, `SparseTopKCategoricalAccuracy`). Equal
/// predictions are ordered as there with JAX; with TensorFlow all that are equal to the k-th count.
///
/// # Example
///
/// ```
/// use plywood::data::TargetsView;
/// use plywood::metrics::{Metric, TopKAccuracy};
/// use plywood::ndarray::array;
///
/// let mut metric = TopKAccuracy::new(2);
/// let (predictions, classes) = (array![[0.2_f32, 0.5, 0.3], [0.2, 0.5, 0.3]], array![2, 0]);
/// metric.update(predictions.view().into_dyn(), &TargetsView::Classes(classes.view()));
/// assert_eq!(Metric::<f32>::name(&metric), "top_2_accuracy");
/// assert_eq!(Metric::<f32>::value(&metric), 0.5);
/// ```
#[doc(alias = "TopKCategoricalAccuracy")]
#[doc(alias = "SparseTopKCategoricalAccuracy")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopKAccuracy {
    k: usize,
    name: String,
    right: u64,
    seen: u64,
}

impl TopKAccuracy {
    /// One that has seen nothing.
    pub fn new(k: usize) -> Self {
        Self { k, name: format!("top_{k}_accuracy"), right: 0, seen: 0 }
    }
}

impl<T: Scalar> Metric<T> for TopKAccuracy {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self, output: &[usize], targets: &TargetsView<'_, T>) -> Result<()> {
        if self.k == 0 {
            return Err(Error::invalid_parameter(OWNER, "k", self.k, "at least 1"));
        }
        check_class_targets(OWNER, output, targets)
    }

    fn reset(&mut self) {
        (self.right, self.seen) = (0, 0);
    }

    fn update(&mut self, predictions: ArrayViewD<'_, T>, targets: &TargetsView<'_, T>) {
        for (prediction, class) in samples(&predictions, targets) {
            let is_right = class.is_some_and(|class| {
                let own = prediction[class];
                let comes_before = |&(other, &p): &(usize, &T)| p > own || (p == own && other < class);
                !prediction.iter().any(|p| p.is_nan())
                    && prediction.iter().enumerate().filter(comes_before).count() < self.k
            });
            self.right += u64::from(is_right);
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
    use ndarray::{Array1, Array2, array};

    use super::*;
    use crate::metrics::Accuracy;
    use crate::metrics::testing::value;

    #[test]
    fn counts_what_is_among_the_k_largest() {
        // The class at place i, of 4, has i larger ones.
        let predictions = Array2::from_shape_fn((4, 4), |(_, class)| 0.4 - 0.1 * class as f32);
        for (k, expected) in [(1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0), (100, 1.0)] {
            for targets in [array![0_usize, 1, 2, 3].into(), Array2::eye(4).into()] {
                assert_eq!(value(&mut TopKAccuracy::new(k), &[(predictions.clone(), targets)]), expected, "k = {k}");
            }
        }
    }

    #[test]
    fn of_equals_the_first_ones_count() {
        let batch = (Array2::zeros((5, 5)), array![0_usize, 1, 2, 3, 4].into());
        assert_eq!(value(&mut TopKAccuracy::new(2), &[batch]), 0.4);
    }

    #[test]
    fn with_k_of_one_it_is_the_accuracy() {
        let predictions = Array2::from_shape_fn((50, 7), |(i, k)| ((i * 5 + k * 3) % 4) as f32);
        let batch = [(predictions, Array1::from_shape_fn(50, |i| (i * 3) % 7).into())];
        let accuracy = value(&mut Accuracy::new(), &batch);
        assert!(accuracy > 0.0 && accuracy < 1.0);
        assert_eq!(value(&mut TopKAccuracy::new(1), &batch), accuracy);
    }

    #[test]
    fn not_a_number_is_wrong() {
        let predictions = array![[f32::NAN, 0.0], [0.0, f32::NAN], [0.0, 1.0]];
        assert_eq!(value(&mut TopKAccuracy::new(2), &[(predictions, array![0_usize, 0, 0].into())]), 1.0 / 3.0);
    }

    #[test]
    fn none_is_refused() {
        let targets = crate::data::Targets::<f32>::from(array![0_usize]);
        let error = TopKAccuracy::new(0).check(&[3], &targets.view()).unwrap_err();
        assert_eq!(error.to_string(), "top_k_accuracy: k is 0, expected at least 1");
    }
}
