//! The fully connected layer.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::kernels::dense::DenseKernel;
use crate::layers::{
    Activation, Backward, Block, Forward, Layer, Op, ParameterSpec, Phase, Plan, Scratch, kernel_and_bias,
    kernel_and_bias_mut, single_input,
};
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
/// [`Flatten`](crate::layers::Flatten) before it), [`Error::TooLarge`] if the kernel could not be addressed.
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
    /// Creates a layer of this many units, linear and with a bias.
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
}

impl<T: Scalar> Layer<T> for Dense {
    fn kind(&self) -> &'static str {
        "dense"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        let input = single_input("dense", inputs)?;
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
        let op = DenseOp { kernel: DenseKernel { inputs: features, units: self.units, relu: false } };
        let mut plan = Plan::new([self.units], op)
            .parameter(kernel.fans(features, self.units))
            .activation(self.activation)
            .multiply_adds(multiply_adds);
        if self.bias {
            plan = plan.parameter(ParameterSpec::new("bias", [self.units], self.bias_initializer));
        }
        Ok(plan)
    }
}

/// y = x·W + b, and a ReLU if one follows.
#[derive(Debug, Clone)]
pub(crate) struct DenseOp {
    pub(crate) kernel: DenseKernel,
}

impl DenseOp {
    pub(crate) fn with_relu(&self) -> Self {
        Self { kernel: DenseKernel { relu: true, ..self.kernel } }
    }
}

impl<T: Scalar> Op<T> for DenseOp {
    fn scratch(&self, batch: usize, phase: Phase) -> Scratch {
        let values = match phase {
            Phase::Inference => 0,
            Phase::Training => self.kernel.backward_scratch::<T>(batch),
        };
        Scratch { values, indices: 0 }
    }

    fn prepared_len(&self) -> usize {
        self.kernel.prepared_len::<T>()
    }

    fn prepare(&self, parameters: Block<'_, T>, prepared: &mut [T]) {
        T::dense_prepare(&self.kernel, kernel_and_bias(parameters).0, prepared);
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        let (_, bias) = kernel_and_bias(pass.parameters);
        T::dense_forward(&self.kernel, pass.x.slice(), pass.prepared, bias, pass.y.slice_mut());
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        let (kernel, _) = kernel_and_bias(pass.parameters);
        let (dkernel, dbias) = kernel_and_bias_mut(pass.gradients);
        T::dense_backward(
            &self.kernel,
            pass.x.slice(),
            pass.y.slice(),
            kernel,
            pass.dy.slice_mut(),
            pass.dx.into_slice(),
            dkernel,
            dbias,
            pass.scratch.values,
        );
    }
}
