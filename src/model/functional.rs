//! The builder for models with branches.

use super::model::Model;
use crate::error::Result;
use crate::layers::{Network, Value};
use crate::scalar::Scalar;

/// Everything between inputs and outputs: a model in the making, with residual connections, branches, shared layers, and as
/// many inputs and outputs as are wanted. Every error waits for [`build`](Self::build).
///
/// A residual block reads as it does in Keras:
///
/// ```
/// use plywood::layers::{Add, BatchNormalization};
/// use plywood::prelude::*;
///
/// fn block(x: &Value, filters: usize) -> Value {
///     let convolution = || Conv2D::new(filters, 3).padding(Padding::Same).bias(false);
///     let y = x.then(convolution()).then(BatchNormalization::new()).then(ReLU::new());
///     let y = y.then(convolution()).then(BatchNormalization::new());
///     Add::of([&y, x]).then(ReLU::new())
/// }
///
/// let x = Value::input([8, 8, 16]);
/// let y = block(&block(&x, 16), 16).then(Flatten::new()).then(Dense::new(10)).then(Softmax::new());
/// let model = Functional::new([&x], [&y]).build(42)?;
/// assert_eq!(model.output_shape(), [10]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Functional<T: Scalar = f32> {
    inputs: Vec<Value<T>>,
    outputs: Vec<Value<T>>,
}

impl<T: Scalar> Functional<T> {
    /// Starts a model of everything that leads from these inputs to these outputs.
    pub fn new<'v>(
        inputs: impl IntoIterator<Item = &'v Value<T>>,
        outputs: impl IntoIterator<Item = &'v Value<T>>,
    ) -> Self {
        Self { inputs: inputs.into_iter().cloned().collect(), outputs: outputs.into_iter().cloned().collect() }
    }

    /// Checks all shapes and settings and draws the parameters, as [`Sequential::build`](super::Sequential::build) does.
    ///
    /// # Errors
    ///
    /// The first problem, by the name of its layer; [`Error::Layer`](crate::Error::Layer) for a layer that depends on an
    /// input which is not listed.
    pub fn build(self, seed: u64) -> Result<Model<T>> {
        T::build(Network::between(&self.inputs, &self.outputs), seed)
    }
}
