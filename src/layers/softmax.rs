//! From logits to probabilities.

use serde::{Deserialize, Serialize};

use super::{Backward, Forward, Layer, Plan, slice, slice_mut};
use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// Turns logits into probabilities that sum to 1.
///
/// yᵢ = eˣⁱ / Σⱼ eˣʲ over the last axis, computed with the largest x subtracted first, so that nothing overflows.
///
/// In training, a Softmax at the end of a model and [`CategoricalCrossentropy`](crate::losses::CategoricalCrossentropy)
/// are computed as one step, from the logits: exact where a probability would round to 0, and faster.
///
/// # Shapes
///
/// x and y `[batch, …, classes]`. No parameters.
///
/// # Errors
///
/// [`Error::InputShape`] at build for samples without an axis.
///
/// # Source
///
/// `keras/src/layers/activations/softmax.py`, Keras 3.15 (over the last axis, its default).
///
/// ```
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// let model = Sequential::input([2]).add(Softmax::new()).build(42)?;
/// assert_eq!(model.predict(&array![[1000.0_f32, 1000.0]])?, array![[0.5, 0.5]].into_dyn());
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {}

impl Softmax {
    /// The layer.
    pub fn new() -> Self {
        Self {}
    }
}

impl<T: Scalar> Layer<T> for Softmax {
    fn kind(&self) -> &'static str {
        "softmax"
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        if input.is_empty() {
            return Err(Error::InputShape {
                layer: "softmax".to_owned(),
                got: vec![],
                expected: "[…, classes]",
                help: "put Dense before it".to_owned(),
            });
        }
        Ok(Plan::new(input))
    }

    fn forward(&self, pass: Forward<'_, T>) {
        let classes = *pass.x.shape().last().expect("the input shape was planned");
        T::softmax(slice(pass.x), slice_mut(pass.y), classes);
    }

    fn backward(&self, pass: Backward<'_, T>) {
        if let Some(dx) = pass.dx {
            let classes = *pass.y.shape().last().expect("the input shape was planned");
            T::softmax_backward(slice(pass.y), slice_mut(pass.dy), slice_mut(dx), classes);
        }
    }
}
