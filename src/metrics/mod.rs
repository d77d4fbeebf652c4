//! Metrics: what is counted beside the loss.
//!
//! [`Accuracy`] and [`TopKAccuracy`] are shares of right predictions; [`Precision`], [`Recall`] and [`F1`] weigh all classes
//! alike, for data where some are rare; [`ConfusionMatrix`] tells which classes are taken for which.
//!
//! ```
//! use plywood::metrics::F1;
//! use plywood::ndarray::array;
//! use plywood::prelude::*;
//!
//! let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
//! let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
//! let trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::new());
//! let history = trainer.metric(Accuracy::new()).metric(F1::new()).fit(&data, &Fit::epochs(3))?;
//! assert_eq!(history.names(), ["loss", "accuracy", "f1_score"]);
//! # Ok::<(), plywood::Error>(())
//! ```

mod accuracy;
mod class_counts;
mod confusion_matrix;
mod f1;
mod precision;
mod recall;
#[cfg(test)]
mod testing;
mod top_k_accuracy;

use std::fmt::Debug;

use ndarray::{ArrayView1, ArrayViewD, Ix2};

use crate::data::TargetsView;
use crate::error::Result;
use crate::model::State;
use crate::scalar::Scalar;

pub use accuracy::Accuracy;
pub use confusion_matrix::ConfusionMatrix;
pub use f1::F1;
pub use precision::Precision;
pub use recall::Recall;
pub use top_k_accuracy::TopKAccuracy;

/// A metric: looks at predictions batch by batch and tells one figure for all samples since the last reset.
///
/// # Example
///
/// The share of samples whose class is given a probability of at least a half:
///
/// ```
/// use plywood::Scalar;
/// use plywood::data::TargetsView;
/// use plywood::metrics::Metric;
/// use plywood::ndarray::{ArrayViewD, array};
///
/// #[derive(Debug, Default)]
/// struct Confident {
///     right: u64,
///     seen: u64,
/// }
///
/// impl<T: Scalar> Metric<T> for Confident {
///     fn name(&self) -> &str {
///         "confident"
///     }
///
///     fn reset(&mut self) {
///         *self = Self::default();
///     }
///
///     fn update(&mut self, predictions: ArrayViewD<'_, T>, targets: &TargetsView<'_, T>) {
///         if let TargetsView::Classes(classes) = targets {
///             let right = classes.iter().enumerate().filter(|&(i, &class)| predictions[[i, class]] >= T::of(0.5));
///             self.right += right.count() as u64;
///             self.seen += classes.len() as u64;
///         }
///     }
///
///     fn value(&self) -> f64 {
///         self.right as f64 / self.seen as f64
///     }
/// }
///
/// let mut metric = Confident::default();
/// let (predictions, classes) = (array![[0.3, 0.7], [0.2, 0.8]], array![1, 0]);
/// metric.update(predictions.view().into_dyn(), &TargetsView::Classes(classes.view()));
/// assert_eq!(Metric::<f64>::value(&metric), 0.5);
/// ```
pub trait Metric<T: Scalar = f32>: Debug + Send {
    /// Its name, which is also its column in a history: none of those that a history has of its own, which are `loss`,
    /// `epoch`, `seconds` and all that begin with `val_`.
    fn name(&self) -> &str;

    /// Checks the targets against the model's output shape (without the batch axis), before anything is computed. By
    /// default all is well.
    ///
    /// # Errors
    ///
    /// Those of [`Loss::check`](crate::losses::Loss::check).
    fn check(&self, output: &[usize], targets: &TargetsView<'_, T>) -> Result<()> {
        let _ = (output, targets);
        Ok(())
    }

    /// Forgets everything seen.
    fn reset(&mut self);

    /// Looks at a batch of predictions and its targets. Predictions are what the model puts out, as
    /// [`predict`](crate::Model::predict) gives it: `[batch, classes]` of a classifier, probabilities if it ends in
    /// Softmax.
    ///
    /// # Panics
    ///
    /// Possibly, if they have not passed [`check`](Self::check) or are not equally many.
    fn update(&mut self, predictions: ArrayViewD<'_, T>, targets: &TargetsView<'_, T>);

    /// The figure for everything since the last reset; NaN if nothing was seen.
    fn value(&self) -> f64;

    /// What it has counted since the last reset, for checkpoints within an epoch. `None`, the default, if it cannot tell:
    /// such checkpoints are then refused.
    fn state(&self) -> Option<State> {
        None
    }

    /// Counts on from what [`state`](Self::state) told, in place of what it has seen.
    ///
    /// # Errors
    ///
    /// If that is not its state.
    fn restore(&mut self, state: &State) -> Result<()> {
        let _ = state;
        Ok(())
    }
}

/// Each sample's predictions and its true class: of a row of values the largest, the first of equals, and none if one is
/// NaN.
fn samples<'a, T: Scalar>(
    predictions: &'a ArrayViewD<'_, T>,
    targets: &'a TargetsView<'_, T>,
) -> impl Iterator<Item = (ArrayView1<'a, T>, Option<usize>)> {
    debug_assert_eq!(predictions.shape()[0], targets.len(), "check has seen to this");
    let rows = |array: &'a ArrayViewD<'_, T>| {
        array.view().into_dimensionality::<Ix2>().expect("check has seen to this").into_outer_iter()
    };
    let mut values = match targets {
        TargetsView::Classes(_) => None,
        TargetsView::Values(values) => Some(rows(values)),
    };
    rows(predictions).enumerate().map(move |(sample, prediction)| {
        let class = match targets {
            TargetsView::Classes(classes) => Some(classes[sample]),
            TargetsView::Values(_) => values.as_mut().and_then(|values| values.next()).and_then(largest),
        };
        (prediction, class)
    })
}

/// The index of the largest value, the first of equals; none if there is no value or one is NaN.
pub(crate) fn largest<'a, T: Scalar>(values: impl IntoIterator<Item = &'a T>) -> Option<usize> {
    let mut largest: Option<(usize, T)> = None;
    for (index, &value) in values.into_iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        if largest.is_none_or(|(_, other)| value > other) {
            largest = Some((index, value));
        }
    }
    largest.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_the_first_of_equals() {
        assert_eq!(largest(&[1.0, 3.0, 3.0, 2.0]), Some(1));
        assert_eq!(largest(&[0.0; 3]), Some(0));
        assert_eq!(largest(&[f32::NEG_INFINITY; 2]), Some(0));
        assert_eq!(largest::<f32>(&[]), None);
        for place in 0..3 {
            let mut values = [1.0, 2.0, 3.0];
            values[place] = f32::NAN;
            assert_eq!(largest(&values), None);
        }
    }
}
