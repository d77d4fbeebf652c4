//! How often each class was taken for each other.

use std::fmt;

use ndarray::{Array1, Array2, ArrayViewD, Axis};

use super::class_counts::ClassCounts;
use super::{largest, samples};
use crate::data::TargetsView;
use crate::error::{Error, Result};
use crate::kernels::aligned::zeros;
use crate::losses::check_class_targets;
use crate::scalar::Scalar;

/// Counts of samples by true and predicted class.
///
/// > Cᵢⱼ = #{samples of class i that were predicted to be of class j}
///
/// The predicted class is that of the largest prediction, the first of equals. A sample with a prediction that is NaN is
/// predicted to be of no class; such samples are counted apart, as [`undecided`](Self::undecided). A sample whose target row
/// has a NaN is left out.
///
/// What is derived from it, for class k with TP = Cₖₖ:
///
/// | | formula | 0 (as scikit-learn's `zero_division=0`) if |
/// |---|---|---|
/// | [`precision`](Self::precision) | TP / Σᵢ Cᵢₖ | the class was never predicted |
/// | [`recall`](Self::recall) | TP / (Σⱼ Cₖⱼ + undecidedₖ) | there was no sample of it |
/// | [`f1`](Self::f1) | 2·TP / (Σᵢ Cᵢₖ + Σⱼ Cₖⱼ + undecidedₖ) | neither |
///
/// # Shapes
///
/// `[classes, classes]`: a row for each true class, a column for each predicted one.
///
/// # Source
///
/// scikit-learn's `sklearn.metrics.confusion_matrix` and `precision_recall_fscore_support`.
///
/// # Example
///
/// ```
/// use plywood::data::TargetsView;
/// use plywood::metrics::ConfusionMatrix;
/// use plywood::ndarray::array;
///
/// let mut matrix = ConfusionMatrix::new();
/// let (predictions, classes) = (array![[0.1_f32, 0.9], [0.8, 0.2], [0.3, 0.7]], array![1, 0, 0]);
/// matrix.add(predictions.view().into_dyn(), &TargetsView::Classes(classes.view()))?;
/// assert_eq!(matrix.counts(), array![[1, 1], [0, 1]]);
/// assert_eq!(matrix.precision(), array![1.0, 0.5]);
/// println!("{matrix}");
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfusionMatrix {
    counts: Array2<u64>,
    undecided: Array1<u64>,
}

impl ConfusionMatrix {
    /// One that has seen nothing. The first predictions fix the number of classes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a batch of predictions `[batch, classes]` (probabilities or logits).
    ///
    /// # Errors
    ///
    /// [`Error::InputShape`] if predictions are not `[batch, classes]`; [`Error::ArrayShape`] if there were another number of
    /// classes before; [`Error::Targets`] for targets that are neither class indices nor rows of that many values;
    /// [`Error::LabelOutOfRange`] for a class that does not exist; [`Error::LengthMismatch`] if predictions and targets are
    /// not equally many; [`Error::TooLarge`] if there is no memory for a count of each pair of classes. Nothing has been
    /// counted then.
    pub fn add<T: Scalar>(&mut self, predictions: ArrayViewD<'_, T>, targets: &TargetsView<'_, T>) -> Result<()> {
        check_class_targets("confusion_matrix", predictions.shape().get(1..).unwrap_or(&[]), targets)?;
        let &[batch, classes] = predictions.shape() else { unreachable!("an output [classes] has one axis more") };
        if batch != targets.len() {
            return Err(Error::LengthMismatch { inputs: batch, what: "targets", targets: targets.len() });
        }
        if self.classes() != 0 && self.classes() != classes {
            return Err(Error::ArrayShape {
                what: "predictions for a confusion matrix",
                got: predictions.shape().to_vec(),
                expected: format!("[samples, {}] as before", self.classes()),
            });
        }
        if self.classes() == 0 {
            let counts = classes.checked_mul(classes).and_then(zeros).ok_or_else(|| Error::TooLarge {
                owner: "confusion_matrix".to_owned(),
                what: "the count of each pair of classes",
            })?;
            self.counts = Array2::from_shape_vec((classes, classes), counts).expect("as many as there are pairs");
            self.undecided = Array1::zeros(classes);
        }
        for (prediction, class) in samples(&predictions, targets) {
            match (class, largest(prediction)) {
                (Some(class), Some(predicted)) => self.counts[[class, predicted]] += 1,
                (Some(class), None) => self.undecided[class] += 1,
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// Forgets everything seen.
    pub fn reset(&mut self) {
        self.counts.fill(0);
        self.undecided.fill(0);
    }

    /// Number of classes; 0 before the first predictions.
    pub fn classes(&self) -> usize {
        self.undecided.len()
    }

    /// The counts, `[true class, predicted class]`.
    pub fn counts(&self) -> &Array2<u64> {
        &self.counts
    }

    /// Of each true class, the number of samples whose predictions had a NaN.
    pub fn undecided(&self) -> &Array1<u64> {
        &self.undecided
    }

    /// Of each class, which share of the samples predicted to be of it are of it.
    pub fn precision(&self) -> Array1<f64> {
        self.of_classes().per_class(ClassCounts::PRECISION)
    }

    /// Of each class, which share of its samples were predicted to be of it.
    pub fn recall(&self) -> Array1<f64> {
        self.of_classes().per_class(ClassCounts::RECALL)
    }

    /// Of each class, the harmonic mean of precision and recall.
    pub fn f1(&self) -> Array1<f64> {
        self.of_classes().per_class(ClassCounts::F1)
    }

    /// What the classes have each by themselves.
    fn of_classes(&self) -> ClassCounts {
        ClassCounts {
            right: self.counts.diag().to_vec(),
            predicted: self.counts.sum_axis(Axis(0)).to_vec(),
            actual: (self.counts.sum_axis(Axis(1)) + &self.undecided).to_vec(),
        }
    }
}

/// A table with a row for each true class and a column for each predicted one; a last column `NaN` only where it is needed.
///
/// ```text
/// true \ predicted    0    1  NaN
///                0  980    2    0
///                1    1 1134    1
/// ```
impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEAD: &str = "true \\ predicted";
        let some_undecided = self.undecided.iter().any(|&count| count > 0);
        let largest = self.counts.iter().chain(&self.undecided).copied().max().unwrap_or(0);
        let width = 1 + 3.max(largest.max(self.classes() as u64).to_string().len());

        write!(f, "{HEAD}")?;
        for class in 0..self.classes() {
            write!(f, "{class:>width$}")?;
        }
        if some_undecided {
            write!(f, "{:>width$}", "NaN")?;
        }
        for (class, counts) in self.counts.outer_iter().enumerate() {
            write!(f, "\n{class:>head$}", head = HEAD.len())?;
            for count in counts {
                write!(f, "{count:>width$}")?;
            }
            if some_undecided {
                write!(f, "{:>width$}", self.undecided[class])?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::data::Targets;
    use crate::metrics::testing::predicting;

    fn matrix(predicted: &[usize], classes: &[usize], count: usize) -> ConfusionMatrix {
        let mut matrix = ConfusionMatrix::new();
        let classes = Array1::from(classes.to_vec());
        matrix.add(predicting(predicted, count).view().into_dyn(), &TargetsView::Classes(classes.view())).unwrap();
        matrix
    }

    // The examples of scikit-learn's documentation.
    #[test]
    fn agrees_with_scikit_learn() {
        let first = matrix(&[0, 0, 2, 2, 0, 2], &[2, 0, 2, 2, 0, 1], 3);
        assert_eq!(first.counts(), array![[2, 0, 0], [0, 0, 1], [1, 0, 2]]);

        let second = matrix(&[0, 2, 1, 0, 0, 1], &[0, 1, 2, 0, 1, 2], 3);
        assert_eq!(second.precision(), array![2.0 / 3.0, 0.0, 0.0]);
        assert_eq!(second.recall(), array![1.0, 0.0, 0.0]);
        assert_eq!(second.f1(), array![0.8, 0.0, 0.0]);
    }

    #[test]
    fn batches_add_up_and_reset_forgets() {
        let mut matrix = matrix(&[0, 1], &[0, 0], 2);
        let targets = Targets::from(array![[0.0_f32, 1.0]]);
        matrix.add(predicting(&[1], 2).view().into_dyn(), &targets.view()).unwrap();
        assert_eq!(matrix.counts(), array![[1, 1], [0, 1]]);
        matrix.reset();
        assert_eq!(matrix.counts(), Array2::<u64>::zeros((2, 2)));
        assert_eq!(matrix.f1(), array![0.0, 0.0]);
    }

    #[test]
    fn not_a_number_is_no_class() {
        let mut matrix = matrix(&[0, 1, 1, 1], &[0, 0, 1, 1], 2);
        let predictions = array![[f32::NAN, 0.3], [0.5, 0.5]];
        let targets = Targets::from(array![[0.0, 1.0], [1.0, f32::NAN]]);
        matrix.add(predictions.view().into_dyn(), &targets.view()).unwrap();
        assert_eq!((matrix.counts(), matrix.undecided()), (&array![[1, 1], [0, 2]], &array![0, 1]));
        assert_eq!((matrix.precision(), matrix.recall()), (array![1.0, 2.0 / 3.0], array![0.5, 2.0 / 3.0]));
        assert_eq!(matrix.f1(), array![2.0 / 3.0, 4.0 / 6.0]);
        assert_eq!(
            matrix.to_string(),
            "true \\ predicted   0   1 NaN\n               0   1   1   0\n               1   0   2   1"
        );
    }

    #[test]
    fn is_readable() {
        let mut matrix = matrix(&[0, 1], &[0, 0], 2);
        matrix.counts[[1, 1]] = 1134;
        assert_eq!(
            matrix.to_string(),
            "true \\ predicted    0    1\n               0    1    1\n               1    0 1134"
        );
        assert_eq!(ConfusionMatrix::new().to_string(), "true \\ predicted");
    }

    #[test]
    fn more_pairs_of_classes_than_there_is_memory_for() {
        let (mut matrix, classes) = (ConfusionMatrix::new(), array![0, 1]);
        let predictions = predicting(&[0, 1], 10_000_000);
        let error = matrix.add(predictions.view().into_dyn(), &TargetsView::Classes(classes.view())).unwrap_err();
        let expected = "confusion_matrix: the count of each pair of classes would have more elements than fit into memory; use \
                        fewer";
        assert_eq!(error.to_string(), expected);
        assert_eq!(matrix, ConfusionMatrix::new());
    }

    #[test]
    fn what_does_not_fit_is_refused_and_not_counted() {
        let mut counted = matrix(&[0, 1], &[0, 0], 2);
        let before = counted.clone();
        let mut message = |predictions: ArrayViewD<'_, f32>, targets: Targets<f32>| {
            counted.add(predictions, &targets.view()).unwrap_err().to_string()
        };
        let three = predicting(&[0], 3);
        assert_eq!(
            message(three.view().into_dyn(), array![0_usize].into()),
            "predictions for a confusion matrix: got an array of shape 1×3, expected [samples, 2] as before"
        );
        let two = predicting(&[0], 2);
        assert_eq!(
            message(two.view().into_dyn(), array![0_usize, 1].into()),
            "got 1 inputs but 2 targets; there must be one for each input"
        );
        assert_eq!(
            message(two.view().into_dyn(), array![2_usize].into()),
            "the label at index 0 is 2, expected a class below 2"
        );
        message(array![0.5_f32].view().into_dyn(), array![0_usize].into());
        message(ndarray::arr0(0.5_f32).view().into_dyn(), array![0_usize].into());
        assert_eq!(counted, before);
    }
}
