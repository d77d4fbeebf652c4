//! The two-dimensional convolution.

use std::any::Any;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pooled_conv2d::PooledConv2D;
use super::{
    Activation, Backward, Forward, Layer, MaxPooling2D, ParameterSpec, Phase, Plan, ReLU, Scratch, Softmax,
    kernel_and_bias, kernel_and_bias_mut, slice, slice_mut,
};
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::kernels::convolution::Convolution;
use crate::model::Block;
use crate::scalar::Scalar;
use crate::shape::{Geometry, Padding, Size2D, Window, elements};

/// Slides filters over images.
///
/// `y[o, p, f] = activation(Σ x[o·s + i·d − t, p·s + j·d − l, c] · K[i, j, c, f] + b[f])`, the sum over the kernel's rows i
/// and columns j and the input's channels c, with strides s, dilation d, and t rows and l columns of zero padding before
/// the image. As everywhere in deep learning this is a cross-correlation: the kernel is not flipped.
///
/// # Shapes
///
/// x `[batch, height, width, channels]`, y `[batch, height', width', filters]` with the sizes of [`Padding`]; parameters
/// `kernel` K `[kernel height, kernel width, channels, filters]` and `bias` b `[filters]`. PyTorch's kernel
/// `[filters, channels, height, width]` becomes K when its axes are permuted by (2, 3, 1, 0).
///
/// # Parameters
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | `filters` | | ≥ 1 | number of output channels |
/// | `kernel_size` | | ≥ 1 | height and width of a filter: `3`, `(3, 5)` |
/// | [`strides`](Self::strides) | 1 | ≥ 1 | pixels from one window to the next |
/// | [`dilation`](Self::dilation) | 1 | ≥ 1 | pixels from one kernel element to the next |
/// | [`padding`](Self::padding) | [`Valid`](Padding::Valid) | | zeros around the image |
/// | [`activation`](Self::activation) | [`Linear`](Activation::Linear) | | applied to each output |
/// | [`bias`](Self::bias) | `true` | | whether b is added |
/// | [`kernel_initializer`](Self::kernel_initializer) | [`GlorotUniform`](Initializer::GlorotUniform) | | of K, with fan-in height·width·channels and fan-out height·width·filters |
/// | [`bias_initializer`](Self::bias_initializer) | [`Zeros`](Initializer::Zeros) | | of b |
///
/// # Errors
///
/// At build: [`Error::InvalidParameter`] for zero filters, kernel, strides or dilation, [`Error::InputShape`] for samples
/// that are not images, [`Error::WindowTooLarge`] for a kernel that does not fit, [`Error::TooLarge`] for sizes that
/// overflow.
///
/// # Source
///
/// `keras/src/layers/convolutional/conv2d.py`, Keras 3.15.
///
/// ```
/// use plywood::prelude::*;
///
/// let model = Sequential::input([28, 28, 1])
///     .add(Conv2D::new(32, 3).activation(Activation::ReLU))
///     .add(Conv2D::new(8, (1, 5)).strides(2).padding(Padding::Same))
///     .build(42)?;
/// assert_eq!(model.output_shape(), [13, 13, 8]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2D {
    pub(crate) filters: usize,
    pub(crate) kernel_size: Size2D,
    pub(crate) strides: Size2D,
    pub(crate) dilation: Size2D,
    pub(crate) padding: Padding,
    pub(crate) activation: Activation,
    pub(crate) bias: bool,
    pub(crate) kernel_initializer: Initializer,
    pub(crate) bias_initializer: Initializer,
}

impl Conv2D {
    /// So many filters of this size, linear, with a bias, strides and dilation of 1 and no padding.
    pub fn new(filters: usize, kernel_size: impl Into<Size2D>) -> Self {
        Self {
            filters,
            kernel_size: kernel_size.into(),
            strides: 1.into(),
            dilation: 1.into(),
            padding: Padding::Valid,
            activation: Activation::Linear,
            bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
        }
    }

    /// Sets how far a window is from the next.
    #[doc(alias = "stride")]
    pub fn strides(mut self, strides: impl Into<Size2D>) -> Self {
        self.strides = strides.into();
        self
    }

    /// Sets how far a kernel element is from the next.
    #[doc(alias = "dilation_rate")]
    pub fn dilation(mut self, dilation: impl Into<Size2D>) -> Self {
        self.dilation = dilation.into();
        self
    }

    /// Sets the zeros around the image.
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Sets what is done with each output.
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

    pub(super) fn filters(&self) -> usize {
        self.filters
    }

    pub(super) fn is_linear(&self) -> bool {
        self.activation == Activation::Linear
    }

    pub(crate) fn geometry(&self, input: &[usize]) -> Result<Geometry> {
        let Self { kernel_size: size, strides, dilation, padding, .. } = *self;
        Window { size, strides, dilation, padding }.over(input, "conv2d", "kernel")
    }

    /// The loops for samples of a shape that has been planned.
    pub(super) fn convolution(&self, input: &[usize]) -> Convolution {
        let geometry = self.geometry(input).expect("the input shape was planned");
        Convolution::new(geometry, self.filters, self.activation == Activation::ReLU)
    }
}

impl<T: Scalar> Layer<T> for Conv2D {
    fn kind(&self) -> &'static str {
        "conv2d"
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        let too_large = |what| Error::TooLarge { owner: "conv2d".to_owned(), what };
        if self.filters == 0 {
            return Err(Error::invalid_parameter("conv2d", "filters", 0, "at least 1"));
        }
        let Geometry { input: [_, _, channels], output: [height, width], size: [rows, columns], .. } =
            self.geometry(input)?;
        let shape = [rows, columns, channels, self.filters];
        let weights = elements(&shape).ok_or_else(|| too_large("the kernel"))?;
        elements(&[height, width, self.filters]).ok_or_else(|| too_large("the output"))?;
        let window = rows * columns;
        let kernel = ParameterSpec::new("kernel", shape, self.kernel_initializer)
            .fans(window * channels, window.saturating_mul(self.filters));
        let mut plan = Plan::new([height, width, self.filters])
            .parameter(kernel)
            .multiply_adds((height * width).saturating_mul(weights));
        if self.bias {
            plan = plan.parameter(ParameterSpec::new("bias", [self.filters], self.bias_initializer));
        }
        Ok(plan)
    }

    fn scratch(&self, input: &[usize], batch: usize, phase: Phase) -> Scratch {
        scratch::<T>(&self.convolution(input), batch, phase)
    }

    fn prepared_len(&self, input: &[usize]) -> usize {
        self.convolution(input).prepared_len::<T>()
    }

    fn prepare(&self, input: &[usize], parameters: Block<'_, T>, prepared: &mut [T]) {
        T::convolution_prepare(&self.convolution(input), kernel_and_bias(parameters).0, prepared);
    }

    fn forward(&self, pass: Forward<'_, T>) {
        let y = forward(&self.convolution(&pass.x.shape()[1..]), pass);
        if self.activation == Activation::Softmax {
            T::softmax_in_place(y, self.filters);
        }
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        if self.activation == Activation::Softmax {
            T::softmax_backward_in_place(slice(pass.y.view()), slice_mut(pass.dy.view_mut()), self.filters);
        }
        backward(&self.convolution(&pass.x.shape()[1..]), pass);
    }

    fn absorb(&self, next: &dyn Layer<T>) -> Option<Arc<dyn Layer<T>>> {
        let next: &dyn Any = next;
        if next.is::<ReLU>() && self.is_linear() {
            return Some(Arc::new(self.clone().activation(Activation::ReLU)));
        }
        let pool = next.downcast_ref::<MaxPooling2D>()?;
        (self.activation != Activation::Softmax && pool.is_unpadded())
            .then(|| Arc::new(PooledConv2D::new(self.clone(), pool.clone())) as _)
    }

    /// So that a loss can take over the Softmax.
    fn split(&self) -> Option<[Arc<dyn Layer<T>>; 2]> {
        (self.activation == Activation::Softmax)
            .then(|| [Arc::new(self.clone().activation(Activation::Linear)) as _, Arc::new(Softmax::new()) as _])
    }
}

pub(super) fn scratch<T: Scalar>(convolution: &Convolution, batch: usize, phase: Phase) -> Scratch {
    let forward = convolution.forward_scratch(batch);
    match phase {
        Phase::Inference => Scratch { values: forward, indices: 0 },
        Phase::Training => Scratch {
            values: forward.max(convolution.backward_scratch::<T>(batch)),
            indices: convolution.indices(batch),
        },
    }
}

/// Returns the output.
pub(super) fn forward<'a, T: Scalar>(convolution: &Convolution, pass: Forward<'a, T>) -> &'a mut [T] {
    let batch = pass.x.shape()[0];
    let (_, bias) = kernel_and_bias(pass.parameters);
    let argmax = pass.training.and_then(|_| pass.scratch.indices.get_mut(..convolution.kept_indices(batch)));
    let argmax = argmax.filter(|argmax| !argmax.is_empty());
    let y = slice_mut(pass.y);
    T::convolution_forward(convolution, slice(pass.x), pass.prepared, bias, y, argmax, pass.scratch.values);
    y
}

pub(super) fn backward<T: Scalar>(convolution: &Convolution, pass: Backward<'_, T>) {
    let (kernel, _) = kernel_and_bias(pass.parameters);
    let (dkernel, dbias) = kernel_and_bias_mut(pass.gradients);
    T::convolution_backward(
        convolution,
        slice(pass.x),
        slice(pass.y),
        kernel,
        pass.scratch.indices,
        slice_mut(pass.dy),
        pass.dx.map(slice_mut),
        dkernel,
        dbias,
        pass.scratch.values,
    );
}
