//! The fully connected layer.

use std::any::Any;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Activation, Backward, Forward, Layer, ParameterSpec, Phase, Plan, ReLU, Scratch, Softmax, kernel_and_bias,
    kernel_and_bias_mut, slice, slice_mut,
};
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::kernels::dense::DenseKernel;
use crate::model::Block;
use crate::scalar::Scalar;
use crate::shape::elements;

/// Connects every input feature with every unit.
///
/// y = activation(x·W + b), with yⱼ = Σᵢ xᵢ·Wᵢⱼ + bⱼ.
///
/// # Shapes
///
/// x `[batch, features]`, y `[batch, units]`; parameters `kernel` W `[features, units]` and `bias` b `[units]`.
///
/// # Parameters
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | `units` | | ≥ 1 | number of outputs |
/// | [`activation`](Self::activation) | [`Linear`](Activation::Linear) | | applied to x·W + b |
/// | [`bias`](Self::bias) | `true` | | whether b is added |
/// | [`kernel_initializer`](Self::kernel_initializer) | [`GlorotUniform`](Initializer::GlorotUniform) | | of W, with fan-in `features` and fan-out `units` |
/// | [`bias_initializer`](Self::bias_initializer) | [`Zeros`](Initializer::Zeros) | | of b |
///
/// # Errors
///
/// At build: [`Error::InvalidParameter`] for zero units, [`Error::InputShape`] for samples that are not vectors (put
/// [`Flatten`](super::Flatten) before it), [`Error::TooLarge`] if the kernel could not be addressed.
///
/// # Source
///
/// `keras/src/layers/core/dense.py`, Keras 3.15.
///
/// ```
/// use plywood::prelude::*;
///
/// let model = Sequential::input([784])
///     .add(Dense::new(512).activation(Activation::ReLU))
///     .add(Dense::new(10))
///     .build(42)?;
/// assert_eq!(model.parameter("dense_1/kernel")?.shape(), [512, 10]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[doc(alias = "Linear")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    pub(crate) units: usize,
    pub(crate) activation: Activation,
    pub(crate) bias: bool,
    pub(crate) kernel_initializer: Initializer,
    pub(crate) bias_initializer: Initializer,
}

impl Dense {
    /// A layer of so many units, linear and with a bias.
    pub fn new(units: usize) -> Self {
        Self {
            units,
            activation: Activation::Linear,
            bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
        }
    }

    /// Sets what is done with x·W + b.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// Sets whether a bias is added.
    #[doc(alias = "use_bias")]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Sets how the kernel is drawn.
    pub fn kernel_initializer(mut self, initializer: Initializer) -> Self {
        self.kernel_initializer = initializer;
        self
    }

    /// Sets how the bias is drawn.
    pub fn bias_initializer(mut self, initializer: Initializer) -> Self {
        self.bias_initializer = initializer;
        self
    }

    fn kernel(&self, inputs: usize) -> DenseKernel {
        DenseKernel { inputs, units: self.units, relu: self.activation == Activation::ReLU }
    }
}

impl<T: Scalar> Layer<T> for Dense {
    fn kind(&self) -> &'static str {
        "dense"
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        let &[features] = input else {
            return Err(Error::InputShape {
                layer: "dense".to_owned(),
                got: input.to_vec(),
                expected: "[features]",
                help: "put Flatten before it".to_owned(),
            });
        };
        if self.units == 0 {
            return Err(Error::invalid_parameter("dense", "units", 0, "at least 1"));
        }
        let multiply_adds = elements(&[features, self.units])
            .ok_or_else(|| Error::TooLarge { owner: "dense".to_owned(), what: "the kernel" })?;
        let kernel = ParameterSpec::new("kernel", [features, self.units], self.kernel_initializer);
        let mut plan =
            Plan::new([self.units]).parameter(kernel.fans(features, self.units)).multiply_adds(multiply_adds);
        if self.bias {
            plan = plan.parameter(ParameterSpec::new("bias", [self.units], self.bias_initializer));
        }
        Ok(plan)
    }

    fn scratch(&self, input: &[usize], batch: usize, phase: Phase) -> Scratch {
        let values = match phase {
            Phase::Inference => 0,
            Phase::Training => self.kernel(input[0]).backward_scratch::<T>(batch),
        };
        Scratch { values, indices: 0 }
    }

    fn prepared_len(&self, input: &[usize]) -> usize {
        self.kernel(input[0]).prepared_len::<T>()
    }

    fn prepare(&self, input: &[usize], parameters: Block<'_, T>, prepared: &mut [T]) {
        T::dense_prepare(&self.kernel(input[0]), kernel_and_bias(parameters).0, prepared);
    }

    fn forward(&self, pass: Forward<'_, T>) {
        let kernel = self.kernel(pass.x.shape()[1]);
        let (_, bias) = kernel_and_bias(pass.parameters);
        let y = slice_mut(pass.y);
        T::dense_forward(&kernel, slice(pass.x), pass.prepared, bias, y);
        if self.activation == Activation::Softmax {
            T::softmax_in_place(y, self.units);
        }
    }

    fn backward(&self, pass: Backward<'_, T>) {
        let (kernel, _) = kernel_and_bias(pass.parameters);
        let (dkernel, dbias) = kernel_and_bias_mut(pass.gradients);
        let (y, dy) = (slice(pass.y), slice_mut(pass.dy));
        if self.activation == Activation::Softmax {
            T::softmax_backward_in_place(y, dy, self.units);
        }
        T::dense_backward(
            &self.kernel(pass.x.shape()[1]),
            slice(pass.x),
            y,
            kernel,
            dy,
            pass.dx.map(slice_mut),
            dkernel,
            dbias,
            pass.scratch.values,
        );
    }

    fn absorb(&self, next: &dyn Layer<T>) -> Option<Arc<dyn Layer<T>>> {
        let relu = self.activation == Activation::Linear && (next as &dyn Any).is::<ReLU>();
        relu.then(|| Arc::new(self.clone().activation(Activation::ReLU)) as _)
    }

    /// So that a loss can take over the Softmax.
    fn split(&self) -> Option<[Arc<dyn Layer<T>>; 2]> {
        (self.activation == Activation::Softmax)
            .then(|| [Arc::new(self.clone().activation(Activation::Linear)) as _, Arc::new(Softmax::new()) as _])
    }
}
