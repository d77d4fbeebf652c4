//! Losses: what a model is trained to make small.

use std::fmt::Debug;

use ndarray::{ArrayViewD, ArrayViewMutD};

use crate::data::TargetsView;
use crate::error::Result;
use crate::scalar::Scalar;

/// A loss: compares what a model puts out with what it should, and gives the gradient.
///
/// Each sample has a loss of its own; the loss of a batch is their mean, Σ wᵢ·lᵢ / B for B samples of weight wᵢ (1 unless
/// given), as in Keras. `evaluate` allocates nothing and gives the same bits for any number of threads.
pub trait Loss<T: Scalar = f32>: Debug + Send + Sync {
    /// Its name in snake case, as Keras spells it.
    fn name(&self) -> &'static str;

    /// Checks the targets against the model's output shape (without the batch axis), before anything is computed.
    ///
    /// # Errors
    ///
    /// [`Error::Targets`](crate::Error::Targets) if they are of the wrong form or shape,
    /// [`Error::LabelOutOfRange`](crate::Error::LabelOutOfRange) for a class that does not exist,
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) if a setting of the loss itself is out of range.
    fn check(&self, output: &[usize], targets: &TargetsView<'_, T>) -> Result<()>;

    /// Whether, on a model that ends in [`Softmax`](crate::layers::Softmax), the loss is better computed from the logits
    /// before it: it is then handed these, with [`LossPass::from_logits`] set, and gives the gradient with respect to them.
    fn fuses_softmax(&self) -> bool {
        false
    }

    /// Writes each sample's loss, and the gradient of the batch's mean loss if asked for.
    fn evaluate(&self, pass: LossPass<'_, T>);
}

/// What a loss is given. Targets have passed [`Loss::check`].
#[derive(Debug)]
pub struct LossPass<'a, T> {
    /// The model's output `[batch, …]`, contiguous: predictions, or logits if `from_logits`.
    pub y: ArrayViewD<'a, T>,
    /// Whether `y` are logits in place of the probabilities a final Softmax would make of them.
    pub from_logits: bool,
    /// What `y` should be.
    pub targets: TargetsView<'a, T>,
    /// A weight for each sample; all 1 if absent.
    pub weights: Option<&'a [T]>,
    /// To be overwritten with wᵢ·lᵢ for each sample.
    pub losses: &'a mut [T],
    /// To be overwritten with ∂(Σ wᵢ·lᵢ / B) / ∂y, if present; contiguous.
    pub dy: Option<ArrayViewMutD<'a, T>>,
}
/// stub
#[derive(Debug, Default)]
pub struct CategoricalCrossentropy;
impl CategoricalCrossentropy {
    /// stub
    pub fn new() -> Self {
        Self
    }
    /// stub
    pub fn label_smoothing(self, _: f64) -> Self {
        self
    }
}
/// stub
#[derive(Debug, Default)]
pub struct MeanSquaredError;
impl<T: Scalar> Loss<T> for CategoricalCrossentropy {
    fn name(&self) -> &'static str {
        "categorical_crossentropy"
    }
    fn check(&self, _output: &[usize], _targets: &TargetsView<'_, T>) -> Result<()> {
        Ok(())
    }
    fn fuses_softmax(&self) -> bool {
        true
    }
    fn evaluate(&self, pass: LossPass<'_, T>) {
        let n = pass.y.shape()[1];
        let b = pass.y.shape()[0];
        let y = pass.y.to_slice().unwrap();
        let mut dy = pass.dy.map(|d| d.into_slice().unwrap());
        let TargetsView::Classes(t) = pass.targets else { panic!() };
        for (i, x) in y.chunks(n).enumerate() {
            let m = x.iter().copied().fold(T::neg_infinity(), T::max);
            let s: T = x.iter().map(|&x| (x - m).exp()).sum();
            pass.losses[i] = s.ln() - (x[t[i]] - m);
            if let Some(dy) = dy.as_deref_mut() {
                for j in 0..n {
                    let p = (x[j] - m).exp() / s;
                    dy[i * n + j] = (p - if j == t[i] { T::one() } else { T::zero() }) / T::of(b as f64);
                }
            }
        }
    }
}
