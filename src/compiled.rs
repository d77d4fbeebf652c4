//! The large parts, compiled once, in this crate.
//!
//! Generic functions are compiled where they are used: every program, example and test would compile the kernels for each
//! instruction set again, and the training loop, which takes minutes. A method of a trait that is implemented for `f32`
//! and `f64` by name is not generic. So what is generic in public goes through one of these methods before it comes to
//! what is large; their bodies are the functions named after `=`.

use std::ops::Range;

use crate::callbacks::Callback;
use crate::data::Dataset;
use crate::error::Result;
use crate::kernels::convolution::Convolution;
use crate::kernels::dense::DenseKernel;
use crate::kernels::{elementwise, pooling, softmax};
use crate::losses::{CategoricalCrossentropy, LossPass, MeanSquaredError};
use crate::model::{Evaluation, Fit, History, Sequential, SequentialBuilder, Trainer};
use crate::optimizers::{Adam, RMSprop, SGD, Update, pass};
use crate::scalar::Scalar;
use crate::shape::Geometry;

macro_rules! compiled {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? = $function:path;)*) => {
        /// What is compiled for each number type.
        #[expect(clippy::too_many_arguments, reason = "the operands of a layer's passes, each of its own kind")]
        pub trait Compiled: Sized {
            $($(#[$doc])* fn $name($($arg: $type),*) $(-> $out)?
            where
                Self: Scalar;)*
        }

        impl Compiled for f32 {
            $(fn $name($($arg: $type),*) $(-> $out)? { $function($($arg),*) })*
        }

        impl Compiled for f64 {
            $(fn $name($($arg: $type),*) $(-> $out)? { $function($($arg),*) })*
        }
    };
}

compiled! {
    /// Packs a convolution's kernel.
    fn convolution_prepare(layer: &Convolution, kernel: &[Self], prepared: &mut [Self]) = Convolution::prepare;

    /// A convolution, with the pooling after it if it has one.
    fn convolution_forward(
        layer: &Convolution,
        x: &[Self],
        prepared: &[Self],
        bias: Option<&[Self]>,
        y: &mut [Self],
        argmax: Option<&mut [u32]>,
        scratch: &mut [Self],
    ) = Convolution::forward;

    /// Its gradients.
    fn convolution_backward(
        layer: &Convolution,
        x: &[Self],
        y: &[Self],
        kernel: &[Self],
        indices: &mut [u32],
        dy: &mut [Self],
        dx: Option<&mut [Self]>,
        dkernel: &mut [Self],
        dbias: Option<&mut [Self]>,
        scratch: &mut [Self],
    ) = Convolution::backward;

    /// Packs a dense layer's kernel.
    fn dense_prepare(layer: &DenseKernel, kernel: &[Self], prepared: &mut [Self]) = DenseKernel::prepare;

    /// A dense layer.
    fn dense_forward(
        layer: &DenseKernel,
        x: &[Self],
        prepared: &[Self],
        bias: Option<&[Self]>,
        y: &mut [Self],
    ) = DenseKernel::forward;

    /// Its gradients.
    fn dense_backward(
        layer: &DenseKernel,
        x: &[Self],
        y: &[Self],
        kernel: &[Self],
        dy: &mut [Self],
        dx: Option<&mut [Self]>,
        dkernel: &mut [Self],
        dbias: Option<&mut [Self]>,
        scratch: &mut [Self],
    ) = DenseKernel::backward;

    /// Rows of one image, pooled.
    fn max_pool(
        geometry: &Geometry,
        x: &[Self],
        first: usize,
        rows: Range<usize>,
        y: &mut [Self],
        argmax: Option<&mut [u32]>,
    ) = pooling::max_pool;

    /// y = max(0, x).
    fn relu_forward(x: &[Self], y: &mut [Self]) = elementwise::relu;

    /// Its gradient.
    fn relu_backward(y: &[Self], dy: &[Self], dx: &mut [Self]) = elementwise::relu_gradient;

    /// Softmax of rows.
    fn softmax(x: &[Self], y: &mut [Self], n: usize) = softmax::softmax;

    /// The same in place.
    fn softmax_in_place(y: &mut [Self], n: usize) = softmax::softmax_in_place;

    /// Its gradient.
    fn softmax_backward(y: &[Self], dy: &[Self], dx: &mut [Self], n: usize) = softmax::softmax_backward;

    /// The same in place.
    fn softmax_backward_in_place(y: &[Self], d: &mut [Self], n: usize) = softmax::softmax_backward_in_place;

    /// Losses and their gradient.
    fn categorical_crossentropy(
        loss: &CategoricalCrossentropy,
        pass: LossPass<'_, Self>,
    ) = CategoricalCrossentropy::run;

    /// Losses and their gradient.
    fn mean_squared_error(pass: LossPass<'_, Self>) = MeanSquaredError::run;

    /// One step of some parameters.
    fn sgd(optimizer: &SGD, piece: Update<'_, '_, Self>) = SGD::run;

    /// One step of some parameters.
    fn rmsprop(optimizer: &RMSprop, piece: Update<'_, '_, Self>) = RMSprop::run;

    /// One step of some parameters.
    fn adam(optimizer: &Adam, piece: Update<'_, '_, Self>) = Adam::run;

    /// Σ |x|.
    fn sum_of_magnitudes(values: &[Self]) -> Self = pass::sum_of_magnitudes;

    /// A model of layers.
    fn build(model: SequentialBuilder<Self>, seed: u64) -> Result<Sequential<Self>> = SequentialBuilder::plan_and_draw;

    /// The training loop.
    fn fit(
        trainer: &mut Trainer<Self>,
        data: &Dataset<Self>,
        fit: &Fit<'_, Self>,
        callbacks: &mut [&mut dyn Callback<Self>],
    ) -> Result<History> = Trainer::train;

    /// Loss and metrics.
    fn evaluate(trainer: &mut Trainer<Self>, data: &Dataset<Self>) -> Result<Evaluation> = Trainer::evaluate_data;
}
