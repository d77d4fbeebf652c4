//! The rectified linear unit.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::layers::{Backward, Forward, Layer, Op, Plan, single_input};
use crate::scalar::Scalar;

/// Cuts off what is below zero.
///
/// y = max(0, x), elementwise; the derivative at 0 is 0, and NaN stays NaN.
///
/// After a [`Dense`](crate::layers::Dense), [`Conv2D`](crate::layers::Conv2D) or a pooled convolution without activation it is computed
/// as part of that layer when the model is built: the same bits as `activation(Activation::ReLU)`, at the same speed.
///
/// # Shapes
///
/// x and y `[batch, …]`, any shape. No parameters, no errors.
///
/// # Source
///
/// `keras/src/layers/activations/relu.py`, Keras 3.15 (without `max_value`, `negative_slope` and `threshold`).
///
/// ```
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// let model = Sequential::input([3]).add(ReLU::new()).build(42)?;
/// assert_eq!(model.predict(&array![[-1.0_f32, 0.0, 2.0]])?, array![[0.0, 0.0, 2.0]].into_dyn());
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReLU {}

impl ReLU {
    /// Creates the layer.
    pub fn new() -> Self {
        Self {}
    }
}

impl<T: Scalar> Layer<T> for ReLU {
    fn kind(&self) -> &'static str {
        "re_lu"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        Ok(Plan::new(single_input("re_lu", inputs)?, self.clone()))
    }
}

impl<T: Scalar> Op<T> for ReLU {
    fn forward(&self, mut pass: Forward<'_, T>) {
        T::relu_forward(pass.x.slice(), pass.y.slice_mut());
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        if let Some(dx) = pass.dx.into_slice() {
            T::relu_backward(pass.y.slice(), pass.dy.slice_mut(), dx);
        }
    }
}
