//! From logits to probabilities.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layers::{Backward, Forward, Layer, Op, Plan, single_input};
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
    /// Creates the layer.
    pub fn new() -> Self {
        Self {}
    }
}

impl<T: Scalar> Layer<T> for Softmax {
    fn kind(&self) -> &'static str {
        "softmax"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        let input = single_input("softmax", inputs)?;
        let Some(&classes) = input.last() else {
            return Err(Error::InputShape {
                layer: "softmax".to_owned(),
                got: vec![],
                expected: "[…, classes]",
                help: "put Dense before it".to_owned(),
            });
        };
        Ok(Plan::new(input, SoftmaxOp { classes }))
    }
}

/// Softmax over rows of one length.
#[derive(Debug, Clone)]
pub(crate) struct SoftmaxOp {
    classes: usize,
}

impl<T: Scalar> Op<T> for SoftmaxOp {
    fn forward(&self, mut pass: Forward<'_, T>) {
        T::softmax(pass.x.slice(), pass.y.slice_mut(), self.classes);
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        if let Some(dx) = pass.dx.into_slice() {
            T::softmax_backward(pass.y.slice(), pass.dy.slice_mut(), dx, self.classes);
        }
    }
}
