//! Losses: what a model is trained to make small.
//!
//! [`CategoricalCrossentropy`] is for choosing one of several classes, [`MeanSquaredError`] for predicting numbers.
//!
//! ```
//! use plywood::ndarray::array;
//! use plywood::prelude::*;
//!
//! let data = Dataset::new(array![[0.0_f32], [1.0], [2.0]], array![[1.0], [3.0], [5.0]])?;
//! let mut trainer = Sequential::input([1]).add(Dense::new(1)).build(42)?.compile(SGD::new(0.1), MeanSquaredError);
//! let history = trainer.fit(&data, &Fit::epochs(200))?;
//! assert!(history.last("loss") < Some(0.001)); // y = 2·x + 1
//! # Ok::<(), plywood::Error>(())
//! ```

mod categorical_crossentropy;
mod mean_squared_error;
mod rows;
mod targets;
#[cfg(test)]
mod testing;

use std::fmt::Debug;

use ndarray::{ArrayViewD, ArrayViewMutD};

use crate::data::TargetsView;
use crate::error::Result;
use crate::scalar::Scalar;

pub use categorical_crossentropy::CategoricalCrossentropy;
pub use mean_squared_error::MeanSquaredError;
pub(crate) use targets::check_class_targets;

/// A loss: compares what a model puts out with what it should, and gives the gradient.
///
/// Each sample has a loss of its own; the loss of a batch is their mean, Σ wᵢ·lᵢ / B for B samples of weight wᵢ (1 unless
/// given), as in Keras. `evaluate` allocates nothing and gives the same bits for any number of threads. A sample whose
/// output is NaN has the loss NaN, and no other sample's loss or gradient depends on it.
///
/// [`check_loss`](crate::testing::check_loss) holds a loss to it.
///
/// # Example
///
/// The mean absolute error, (1/n)·Σ |y − t|:
///
/// ```
/// use plywood::data::TargetsView;
/// use plywood::losses::{Loss, LossPass};
/// use plywood::ndarray::{Axis, Zip};
/// use plywood::{Error, Result, Scalar};
///
/// #[derive(Debug)]
/// struct MeanAbsoluteError;
///
/// impl<T: Scalar> Loss<T> for MeanAbsoluteError {
///     fn name(&self) -> &'static str {
///         "mean_absolute_error"
///     }
///
///     fn check(&self, output: &[usize], targets: &TargetsView<'_, T>) -> Result<()> {
///         match targets {
///             TargetsView::Values(values) if values.shape().get(1..) == Some(output) => Ok(()),
///             _ => Err(Error::Targets {
///                 owner: "mean_absolute_error",
///                 got: "other targets".to_owned(),
///                 expected: "values of the shape of the model's output".to_owned(),
///             }),
///         }
///     }
///
///     fn evaluate(&self, mut pass: LossPass<'_, T>) {
///         let TargetsView::Values(targets) = pass.targets else { unreachable!("check has refused class indices") };
///         let n = T::of((pass.y.len() / pass.losses.len()) as f64);
///         let batch = T::of(pass.losses.len() as f64);
///         for (i, (y, t)) in pass.y.outer_iter().zip(targets.outer_iter()).enumerate() {
///             let weight = pass.weights.map_or(T::one(), |weights| weights[i]);
///             pass.losses[i] = weight / n * y.iter().zip(&t).map(|(&y, &t)| (y - t).abs()).sum();
///             if let Some(dy) = &mut pass.dy {
///                 let mut dy = dy.index_axis_mut(Axis(0), i);
///                 Zip::from(&mut dy).and(&y).and(&t).for_each(|dy, &y, &t| *dy = weight / (n * batch) * (y - t).signum());
///             }
///         }
///     }
/// }
/// # use plywood::ndarray::{Array2, array};
/// # let (y, t, mut dy, mut losses) = (array![[1.0, 5.0]], array![[2.0, 2.0]], Array2::zeros((1, 2)), [0.0]);
/// # MeanAbsoluteError.evaluate(LossPass {
/// #     y: y.view().into_dyn(),
/// #     from_logits: false,
/// #     targets: TargetsView::Values(t.view().into_dyn()),
/// #     weights: None,
/// #     losses: &mut losses,
/// #     dy: Some(dy.view_mut().into_dyn()),
/// # });
/// # assert_eq!((losses, dy), ([2.0], array![[-0.5, 0.5]]));
/// ```
pub trait Loss<T: Scalar = f32>: Debug + Send + Sync {
    /// Its name in snake case, as Keras spells it.
    fn name(&self) -> &'static str;

    /// Checks the targets against the model's output shape (without the batch axis), before anything is computed. For an
    /// output of `[1]`, targets that the caller gave as `[n]` are `[n, 1]` here.
    ///
    /// # Errors
    ///
    /// [`Error::Targets`](crate::Error::Targets) if they are of the wrong form or shape,
    /// [`Error::LabelOutOfRange`](crate::Error::LabelOutOfRange) for a class that does not exist,
    /// [`Error::InputShape`](crate::Error::InputShape) if the loss cannot work with outputs of this shape at all,
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) if a setting of the loss itself is out of range.
    fn check(&self, output: &[usize], targets: &TargetsView<'_, T>) -> Result<()>;

    /// Whether, on a model that ends in [`Softmax`](crate::layers::Activation::Softmax), the loss is better computed from
    /// the logits before it: it is then handed these, with [`LossPass::from_logits`] set, and gives the gradient with
    /// respect to them.
    fn fuses_softmax(&self) -> bool {
        false
    }

    /// Writes each sample's loss, and the gradient of the batch's mean loss if asked for.
    ///
    /// # Panics
    ///
    /// Possibly, if the pass is not as [`LossPass`] says.
    fn evaluate(&self, pass: LossPass<'_, T>);
}

/// What a loss is given. Targets have passed [`Loss::check`] and are as many as the samples of `y`.
///
/// ```
/// use plywood::losses::{Loss, LossPass, MeanSquaredError};
/// use plywood::ndarray::array;
///
/// let (y, t, mut losses) = (array![[1.0, 3.0], [0.0, 2.0]], array![[1.0, 1.0], [0.0, 2.0]], [0.0; 2]);
/// MeanSquaredError.evaluate(LossPass {
///     y: y.view().into_dyn(),
///     from_logits: false,
///     targets: (&t).into(),
///     weights: None,
///     losses: &mut losses,
///     dy: None,
/// });
/// assert_eq!(losses, [2.0, 0.0]);
/// ```
#[derive(Debug)]
pub struct LossPass<'a, T> {
    /// The model's output `[batch, …]`, contiguous: predictions, or logits if `from_logits`.
    pub y: ArrayViewD<'a, T>,
    /// Whether `y` are logits in place of the probabilities a final Softmax would make of them.
    pub from_logits: bool,
    /// What `y` should be. They need not be contiguous.
    pub targets: TargetsView<'a, T>,
    /// A weight for each sample; all 1 if absent.
    pub weights: Option<&'a [T]>,
    /// To be overwritten with wᵢ·lᵢ for each sample.
    pub losses: &'a mut [T],
    /// To be overwritten with ∂(Σ wᵢ·lᵢ / B) / ∂y, if present; contiguous.
    pub dy: Option<ArrayViewMutD<'a, T>>,
}
