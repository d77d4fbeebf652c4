//! What the tests of losses share: an evaluation in one call, and gradients from finite differences.

use ndarray::{Array, ArrayD, Dimension};

use super::{Loss, LossPass};
use crate::data::Targets;
use crate::scalar::Scalar;

/// What a loss is evaluated on.
pub(super) struct Case<'a, T> {
    pub(super) loss: &'a dyn Loss<T>,
    pub(super) y: ArrayD<T>,
    pub(super) from_logits: bool,
    pub(super) targets: &'a Targets<T>,
    pub(super) weights: Option<&'a [T]>,
}

impl<'a, T: Scalar> Case<'a, T> {
    pub(super) fn new<D: Dimension>(loss: &'a dyn Loss<T>, y: &Array<T, D>, targets: &'a Targets<T>) -> Self {
        Self { loss, y: y.clone().into_dyn(), from_logits: false, targets, weights: None }
    }

    fn pass<'b>(&'b self, losses: &'b mut [T], dy: Option<&'b mut ArrayD<T>>) -> LossPass<'b, T> {
        LossPass {
            y: self.y.view(),
            from_logits: self.from_logits,
            targets: self.targets.view(),
            weights: self.weights,
            batch: losses.len(),
            losses,
            dy: dy.map(|dy| dy.view_mut()),
        }
    }
}

/// Each sample's loss and the gradient. Without the gradient, the losses have to be the same.
pub(super) fn evaluate<T: Scalar>(case: &Case<'_, T>) -> (Vec<T>, ArrayD<T>) {
    case.loss.check(&case.y.shape()[1..], &case.targets.view()).expect("the case is a good one");
    let batch = case.y.shape()[0];
    // What is there before must not matter.
    let (mut losses, mut alone) = (vec![T::nan(); batch], vec![T::nan(); batch]);
    let mut dy = ArrayD::from_elem(case.y.raw_dim(), T::nan());
    case.loss.evaluate(case.pass(&mut losses, Some(&mut dy)));
    case.loss.evaluate(case.pass(&mut alone, None));
    let same = |(a, b): (&T, &T)| a == b || (a.is_nan() && b.is_nan());
    assert!(losses.iter().zip(&alone).all(same), "with gradient {losses:?}, without {alone:?}");
    (losses, dy)
}

/// Compares the gradient with central differences of the batch's mean loss.
///
/// With steps of 1e-5, the third derivative and rounding leave an error of about 1e-10.
pub(super) fn check_gradient(mut case: Case<'_, f64>) {
    const STEP: f64 = 1e-5;
    let (losses, dy) = evaluate(&case);
    let batch = losses.len() as f64;
    for (i, &dy) in dy.iter().enumerate() {
        let mut mean_at = |offset| {
            let y = &mut case.y.as_slice_mut().expect("a clone in standard layout")[i];
            let before = std::mem::replace(y, *y + offset);
            let mean = evaluate(&case).0.iter().sum::<f64>() / batch;
            case.y.as_slice_mut().expect("a clone in standard layout")[i] = before;
            mean
        };
        let difference = (mean_at(STEP) - mean_at(-STEP)) / (2.0 * STEP);
        assert!((dy - difference).abs() < 1e-8, "element {i}: the gradient is {dy}, the difference {difference}");
    }
    assert!(dy.iter().any(|dy| dy.abs() > 1e-3), "a gradient of zeros tests nothing");
}
