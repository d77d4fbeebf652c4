//! The two-dimensional convolution.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::kernels::convolution::Convolution;
use crate::layers::{
    Activation, Backward, Block, Forward, Layer, MaxPoolingOp, Op, ParameterSpec, Phase, Plan, Scratch,
    kernel_and_bias, kernel_and_bias_mut, single_input,
};
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
    /// Creates a convolution of this many filters of this size, linear, with a bias, strides and dilation of 1 and no padding.
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

    pub(crate) fn geometry(&self, input: &[usize]) -> Result<Geometry> {
        let Self { kernel_size: size, strides, dilation, padding, .. } = *self;
        Window { size, strides, dilation, padding }.over(input, "conv2d", "kernel")
    }
}

impl<T: Scalar> Layer<T> for Conv2D {
    fn kind(&self) -> &'static str {
        "conv2d"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        let too_large = |what| Error::TooLarge { owner: "conv2d".to_owned(), what };
        let input = single_input("conv2d", inputs)?;
        if self.filters == 0 {
            return Err(Error::invalid_parameter("conv2d", "filters", 0, "at least 1"));
        }
        let geometry = self.geometry(input)?;
        let Geometry { input: [_, _, channels], output: [height, width], size: [rows, columns], .. } = geometry;
        let shape = [rows, columns, channels, self.filters];
        let weights = elements(&shape).ok_or_else(|| too_large("the kernel"))?;
        elements(&[height, width, self.filters]).ok_or_else(|| too_large("the output"))?;
        let window = rows * columns;
        let kernel = ParameterSpec::new("kernel", shape, self.kernel_initializer)
            .fans(window * channels, window.saturating_mul(self.filters));
        let op = ConvolutionOp { convolution: Convolution::new(geometry, self.filters, false) };
        let mut plan = Plan::new([height, width, self.filters], op)
            .parameter(kernel)
            .activation(self.activation)
            .multiply_adds((height * width).saturating_mul(weights));
        if self.bias {
            plan = plan.parameter(ParameterSpec::new("bias", [self.filters], self.bias_initializer));
        }
        Ok(plan)
    }
}

/// A convolution, with the ReLU and the max-pooling after it if there are such.
#[derive(Debug, Clone)]
pub(crate) struct ConvolutionOp {
    convolution: Convolution,
}

impl ConvolutionOp {
    pub(crate) fn has_relu(&self) -> bool {
        self.convolution.relu
    }

    pub(crate) fn with_relu(&self) -> Self {
        Self { convolution: self.convolution.with_relu() }
    }

    pub(crate) fn is_pooled(&self) -> bool {
        self.convolution.is_pooled()
    }

    pub(crate) fn pooled(&self, pooling: &MaxPoolingOp) -> Self {
        Self { convolution: self.convolution.pooled(pooling.geometry) }
    }
}

impl<T: Scalar> Op<T> for ConvolutionOp {
    fn scratch(&self, batch: usize, phase: Phase) -> Scratch {
        let forward = self.convolution.forward_scratch(batch);
        match phase {
            Phase::Inference => Scratch { values: forward, indices: 0 },
            Phase::Training => Scratch {
                values: forward.max(self.convolution.backward_scratch::<T>(batch)),
                indices: self.convolution.indices(batch),
            },
        }
    }

    fn prepared_len(&self) -> usize {
        self.convolution.prepared_len::<T>()
    }

    fn prepare(&self, parameters: Block<'_, T>, prepared: &mut [T]) {
        T::convolution_prepare(&self.convolution, kernel_and_bias(parameters).0, prepared);
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        let (_, bias) = kernel_and_bias(pass.parameters);
        let kept = self.convolution.kept_indices(pass.x.batch());
        let argmax = pass.training.and_then(|_| pass.scratch.indices.get_mut(..kept));
        let argmax = argmax.filter(|argmax| !argmax.is_empty());
        let (x, y) = (pass.x.slice(), pass.y.slice_mut());
        T::convolution_forward(&self.convolution, x, pass.prepared, bias, y, argmax, pass.scratch.values);
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        let (kernel, _) = kernel_and_bias(pass.parameters);
        let (dkernel, dbias) = kernel_and_bias_mut(pass.gradients);
        T::convolution_backward(
            &self.convolution,
            pass.x.slice(),
            pass.y.slice(),
            kernel,
            pass.scratch.indices,
            pass.dy.slice_mut(),
            pass.dx.into_slice(),
            dkernel,
            dbias,
            pass.scratch.values,
        );
    }
}
