//! The check of targets that name classes, which losses and metrics share.

use crate::data::TargetsView;
use crate::error::{Error, Result, shape_text};
use crate::scalar::Scalar;

/// Checks that a model's output is `[classes]` and that the targets are class indices below that or rows of that many
/// values. Errors speak of `owner`, a loss or metric.
pub(crate) fn check_class_targets<T: Scalar>(
    owner: &'static str,
    output: &[usize],
    targets: &TargetsView<'_, T>,
) -> Result<()> {
    let &[classes] = output else {
        return Err(Error::InputShape {
            layer: owner.to_owned(),
            got: output.to_vec(),
            expected: "[classes]",
            help: "let the model end in Flatten and Dense, with one unit for each class".to_owned(),
        });
    };
    if classes < 2 {
        return Err(Error::InputShape {
            layer: owner.to_owned(),
            got: output.to_vec(),
            expected: "[classes], at least 2 of them",
            help: "of one class all are sure; for yes or no, let the model have two units".to_owned(),
        });
    }
    match targets {
        TargetsView::Classes(labels) => match labels.iter().position(|&label| label >= classes) {
            Some(index) => Err(Error::LabelOutOfRange { index, label: labels[index], classes }),
            None => Ok(()),
        },
        TargetsView::Values(values) if matches!(*values.shape(), [_, n] if n == classes) => Ok(()),
        TargetsView::Values(values) => Err(Error::Targets {
            owner,
            got: format!("values of shape {}", shape_text(values.shape())),
            expected: format!("rows of {classes} values, or class indices as an Array1 of usize or u8"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, array};

    use super::*;
    use crate::data::Targets;

    fn message(output: &[usize], targets: impl Into<Targets<f32>>) -> String {
        check_class_targets("accuracy", output, &targets.into().view()).unwrap_err().to_string()
    }

    #[test]
    fn what_fits_passes() {
        for targets in [Targets::<f32>::from(array![0_usize, 2, 1]), Array2::zeros((4, 3)).into()] {
            check_class_targets("accuracy", &[3], &targets.view()).unwrap();
        }
    }

    #[test]
    fn errors_name_what_does_not_fit() {
        assert_eq!(message(&[3], array![0_usize, 2, 3, 9]), "the label at index 2 is 3, expected a class below 3");
        let expected = "expected rows of 10 values, or class indices as an Array1 of usize or u8";
        assert_eq!(message(&[10], Array1::<f32>::zeros(7)), format!("accuracy: got values of shape 7, {expected}"));
        assert_eq!(
            message(&[10], Array2::<f32>::zeros((7, 1))),
            format!("accuracy: got values of shape 7×1, {expected}")
        );
        assert_eq!(
            message(&[3, 3, 64], array![0_usize]),
            "accuracy: got input samples of shape 3×3×64, expected [classes]; \
             let the model end in Flatten and Dense, with one unit for each class"
        );
        assert!(message(&[], array![0_usize]).contains("shape []"));
    }
}
