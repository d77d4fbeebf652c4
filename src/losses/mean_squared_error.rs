//! The mean squared error.

use serde::{Deserialize, Serialize};

use super::rows::{RowTarget, Rows};
use super::{Loss, LossPass};
use crate::data::TargetsView;
use crate::error::{Error, Result, shape_text};
use crate::kernels::dispatch::vectorized;
use crate::kernels::reduce::accumulate;
use crate::scalar::Scalar;

/// The mean of the squared differences between outputs and targets, for models that predict numbers.
///
/// Of a sample with n outputs y and targets t:
///
/// > l = (1/n) · Σ (y − t)²
/// >
/// > ∂/∂y of the batch's Σ w·l / B: 2·(y − t) · w / (n·B)
///
/// # Shapes
///
/// Outputs `[batch, …]`, targets of the same shape.
///
/// # Errors
///
/// [`Loss::check`] returns [`Error::Targets`] for targets of another shape and for class indices, which are not numbers to
/// come close to.
///
/// # Source
///
/// Keras 3, `keras/src/losses/losses.py` (`mean_squared_error`); PyTorch's `MSELoss`.
///
/// # Example
///
/// ```
/// use plywood::losses::{Loss, LossPass, MeanSquaredError};
/// use plywood::ndarray::array;
///
/// let (y, targets) = (array![[1.0, 2.0], [3.0, 4.0]], array![[1.0, 4.0], [2.0, 3.0]]);
/// let (y, targets) = (y.view().into_dyn(), (&targets).into());
/// let mut losses = [0.0; 2];
/// MeanSquaredError.check(&[2], &targets)?;
/// MeanSquaredError.evaluate(LossPass { y, from_logits: false, targets, weights: None, losses: &mut losses, dy: None });
/// assert_eq!(losses, [2.0, 1.0]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[doc(alias = "MSELoss")]
#[doc(alias = "mse")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MeanSquaredError;

impl MeanSquaredError {
    /// What [`Loss::evaluate`] does.
    pub(crate) fn run<T: Scalar>(pass: LossPass<'_, T>) {
        let batch = pass.losses.len();
        Rows::run(pass, |rows| {
            vectorized(
                #[inline(always)]
                || evaluate(rows, batch),
            );
        });
    }
}

impl<T: Scalar> Loss<T> for MeanSquaredError {
    fn name(&self) -> &'static str {
        "mean_squared_error"
    }

    fn check(&self, output: &[usize], targets: &TargetsView<'_, T>) -> Result<()> {
        let got = match targets {
            TargetsView::Values(values) if values.shape().get(1..) == Some(output) => return Ok(()),
            TargetsView::Values(values) => format!("values of shape {}", shape_text(values.shape())),
            TargetsView::Classes(_) => "class indices".to_owned(),
        };
        let shape = output.iter().fold("samples".to_owned(), |shape, length| format!("{shape}, {length}"));
        let mut expected = format!("values of shape [{shape}]");
        if matches!(targets, TargetsView::Classes(_)) {
            expected += "; make rows of class indices with one_hot";
        }
        Err(Error::Targets { owner: "mean_squared_error", got, expected })
    }

    fn evaluate(&self, pass: LossPass<'_, T>) {
        T::mean_squared_error(pass);
    }
}

#[inline(always)]
fn evaluate<T: Scalar>(mut rows: Rows<'_, T>, batch: usize) {
    for sample in 0..rows.len() {
        let (y, weight, range) = (rows.y(sample), rows.weight(sample), rows.range(sample));
        let RowTarget::Values(targets) = rows.target(sample) else { unreachable!("check has refused class indices") };
        let squares = accumulate(y, targets, |sum, y, t| (y - t).mul_add(y - t, sum));
        rows.losses[sample] = weight * (squares / T::of(y.len() as f64));
        if let Some(dy) = &mut rows.dy {
            // doubling is exact, so its place changes no bits; at the weight it could overflow
            let (two, scale) = (T::of(2.0), weight / T::of(y.len() as f64 * batch as f64));
            for ((dy, &y), &t) in dy[range].iter_mut().zip(y).zip(targets) {
                *dy = two * (y - t) * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array, Array4, Axis, array};

    use super::*;
    use crate::data::Targets;
    use crate::losses::testing::{Case, check_gradient, evaluate};

    #[test]
    fn hand_values() {
        let (y, targets) = (array![[1.0_f32, 2.0], [3.0, 4.0]], array![[1.0, 4.0], [2.0, 3.0]].into());
        let mut case = Case::new(&MeanSquaredError, &y, &targets);
        let (losses, dy) = evaluate(&case);
        assert_eq!(losses, [2.0, 1.0]);
        assert_eq!(dy, array![[0.0, -1.0], [0.5, 0.5]].into_dyn());

        case.weights = Some(&[3.0, 0.0]);
        let (losses, dy) = evaluate(&case);
        assert_eq!(losses, [6.0, 0.0]);
        assert_eq!(dy, array![[0.0, -3.0], [0.0, 0.0]].into_dyn());
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let wave = |i: usize| (i as f64 * 1.7).sin();
        let y = Array::from_iter((0..120).map(wave)).into_shape_with_order((4, 5, 3, 2)).unwrap();
        let targets = Targets::from(y.mapv(|y| (3.0 * y).cos()));
        check_gradient(Case::new(&MeanSquaredError, &y, &targets));
        check_gradient(Case { weights: Some(&[0.5, 2.0, 0.0, 1.0]), ..Case::new(&MeanSquaredError, &y, &targets) });
    }

    // More elements than one thread works through at a stretch, in an order that is not theirs in memory.
    #[test]
    fn neither_pieces_nor_layout_change_the_bits() {
        let y = Array4::from_shape_fn((70, 9, 10, 7), |(b, h, w, c)| ((b * 31 + h * 17 + w * 5 + c) % 23) as f32 * 0.1);
        let mut targets = Array4::zeros((7, 10, 9, 70)).reversed_axes();
        targets.assign(&y.mapv(f32::cos));
        assert!(!targets.is_standard_layout());
        let whole = evaluate(&Case::new(&MeanSquaredError, &y, &targets.clone().into()));
        for sample in [0, 1, 34, 35, 69] {
            let one = y.index_axis(Axis(0), sample).insert_axis(Axis(0)).to_owned();
            let target = targets.index_axis(Axis(0), sample).insert_axis(Axis(0)).as_standard_layout().into_owned();
            let (losses, _) = evaluate(&Case::new(&MeanSquaredError, &one, &target.into()));
            assert_eq!(losses[0].to_bits(), whole.0[sample].to_bits(), "sample {sample}");
        }
    }

    #[test]
    fn targets_that_do_not_fit_are_refused() {
        let message = |targets: Targets<f32>| MeanSquaredError.check(&[2, 3], &targets.view()).unwrap_err().to_string();
        assert_eq!(
            message(array![[1.0, 2.0, 3.0]].into()),
            "mean_squared_error: got values of shape 1×3, expected values of shape [samples, 2, 3]"
        );
        assert_eq!(
            message(array![1_usize].into()),
            "mean_squared_error: got class indices, expected values of shape [samples, 2, 3]; \
             make rows of class indices with one_hot"
        );
    }
}
