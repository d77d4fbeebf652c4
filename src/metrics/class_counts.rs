//! What precision, recall and F1 count.

use ndarray::{Array1, ArrayViewD};

use super::{largest, samples};
use crate::data::TargetsView;
use crate::error::Result;
use crate::model::State;
use crate::model::state::{counts, invalid};
use crate::scalar::Scalar;

/// Three counts for each class.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ClassCounts {
    /// Samples of the class that were predicted to be of it.
    pub(super) right: Vec<u64>,
    /// Samples that were predicted to be of the class.
    pub(super) predicted: Vec<u64>,
    /// Samples of the class, those with a prediction that is NaN among them.
    pub(super) actual: Vec<u64>,
}

/// What is derived from the counts of a class: the part of a whole.
pub(super) type Share = fn(&ClassCounts, usize) -> (u64, u64);

impl ClassCounts {
    /// Right ones among those predicted.
    pub(super) const PRECISION: Share = |counts, class| (counts.right[class], counts.predicted[class]);

    /// Right ones among those there are.
    pub(super) const RECALL: Share = |counts, class| (counts.right[class], counts.actual[class]);

    /// The harmonic mean of both.
    pub(super) const F1: Share =
        |counts, class| (2 * counts.right[class], counts.predicted[class] + counts.actual[class]);

    /// Counts a batch that has been checked. Where it has another number of classes, it begins anew.
    pub(super) fn count<T: Scalar>(&mut self, predictions: &ArrayViewD<'_, T>, targets: &TargetsView<'_, T>) {
        let classes = predictions.shape()[1];
        if self.actual.len() != classes {
            let zeros = vec![0; classes];
            *self = Self { right: zeros.clone(), predicted: zeros.clone(), actual: zeros };
        }
        for (prediction, class) in samples(predictions, targets) {
            let Some(class) = class else { continue };
            let predicted = largest(prediction);
            self.actual[class] += 1;
            self.right[class] += u64::from(predicted == Some(class));
            if let Some(predicted) = predicted {
                self.predicted[predicted] += 1;
            }
        }
    }

    /// Forgets everything seen.
    pub(super) fn reset(&mut self) {
        [&mut self.right, &mut self.predicted, &mut self.actual].into_iter().for_each(|counts| counts.fill(0));
    }

    /// The share of each class; 0 of nothing.
    pub(super) fn per_class(&self, share: Share) -> Array1<f64> {
        let ratio = |(part, whole)| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        (0..self.actual.len()).map(|class| ratio(share(self, class))).collect()
    }

    /// The mean over all classes that were seen, as targets or as predictions; NaN if there are none.
    pub(super) fn macro_average(&self, share: Share) -> f64 {
        let per_class = self.per_class(share);
        let seen = |&class: &usize| self.predicted[class] + self.actual[class] > 0;
        let (sum, count) =
            (0..self.actual.len()).filter(seen).fold((0.0, 0), |(s, n), class| (s + per_class[class], n + 1));
        sum / f64::from(count)
    }

    /// What was counted.
    pub(super) fn state(&self) -> State {
        let of_classes = [("right", &self.right), ("predicted", &self.predicted), ("actual", &self.actual)];
        of_classes.into_iter().fold(State::new(), |state, (name, values)| state.with(name, counts(values)))
    }

    /// Counts on from a state.
    pub(super) fn restore(&mut self, state: &State) -> Result<()> {
        let [right, predicted, actual] = [state.counts("right")?, state.counts("predicted")?, state.counts("actual")?];
        if right.len() != actual.len() || predicted.len() != actual.len() {
            return Err(invalid("right", "of another length", "one count for each class"));
        }
        *self = Self { right, predicted, actual };
        Ok(())
    }
}

/// The metric of a share, whose type has one field `counts`.
macro_rules! macro_averaged {
    ($metric:ident, $name:literal, $share:ident) => {
        impl $metric {
            /// One that has seen nothing.
            pub fn new() -> Self {
                Self::default()
            }

            /// The value for each class by itself; empty before the first update.
            pub fn per_class(&self) -> ndarray::Array1<f64> {
                self.counts.per_class(ClassCounts::$share)
            }
        }

        impl<T: $crate::scalar::Scalar> $crate::metrics::Metric<T> for $metric {
            fn name(&self) -> &str {
                $name
            }

            fn check(&self, output: &[usize], targets: &$crate::data::TargetsView<'_, T>) -> $crate::error::Result<()> {
                $crate::losses::check_class_targets($name, output, targets)
            }

            fn reset(&mut self) {
                self.counts.reset();
            }

            fn update(&mut self, predictions: ndarray::ArrayViewD<'_, T>, targets: &$crate::data::TargetsView<'_, T>) {
                self.counts.count(&predictions, targets);
            }

            fn value(&self) -> f64 {
                self.counts.macro_average(ClassCounts::$share)
            }

            fn state(&self) -> Option<$crate::model::State> {
                Some(self.counts.state())
            }

            fn restore(&mut self, state: &$crate::model::State) -> $crate::error::Result<()> {
                self.counts.restore(state)
            }
        }
    };
}
pub(super) use macro_averaged;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_other_counts_is_refused() {
        let state =
            |right: Vec<f64>| State::new().with("right", right).with("predicted", vec![1.0]).with("actual", vec![1.0]);
        let mut counts = ClassCounts::default();
        counts.restore(&state(vec![1.0])).unwrap();
        let before = counts.clone();
        for right in [vec![], vec![1.0, 0.0], vec![0.5]] {
            counts.restore(&state(right)).unwrap_err();
        }
        counts.restore(&State::new().with("counts", vec![1.0])).unwrap_err();
        assert_eq!(counts, before);
    }
}
