//! Layers, and the traits [`Layer`] and [`Op`] that they and layers of other crates implement.
//!
//! A layer is a small immutable description. It holds no weights and no activations: it plans ([`Layer::plan`]) what is
//! then computed by an [`Op`] from what it is given ([`Op::forward`], [`Op::backward`]).
//!
//! ```
//! use plywood::prelude::*;
//!
//! let model = Sequential::input([28, 28, 1])
//!     .add(Conv2D::new(8, 3).activation(Activation::ReLU))
//!     .add(MaxPooling2D::new(2))
//!     .add(Flatten::new())
//!     .add(Dense::new(10).activation(Activation::Softmax))
//!     .build(42)?;
//! assert_eq!(model.layers()[1].output_shape(), [13, 13, 8]);
//! # Ok::<(), plywood::Error>(())
//! ```

mod activations;
mod convolutional;
mod core;
mod layer;
mod list;
mod merging;
mod network;
mod normalization;
mod parameters;
mod pooling;
mod reshaping;
mod tensors;

pub(crate) use activations::SoftmaxOp;
pub use activations::{Activation, ReLU, Softmax};
pub use convolutional::Conv2D;
pub(crate) use convolutional::ConvolutionOp;
pub use core::Dense;
pub(crate) use core::DenseOp;
pub use layer::{Backward, Forward, Layer, Op, Phase, Plan, Scratch, ScratchMut, Training, single_input};
pub(crate) use layer::{Computation, GivenValues};
#[cfg(any(feature = "keras", feature = "safetensors"))]
pub(crate) use list::BuiltIn;
pub(crate) use list::prelude;
pub use merging::{Add, Concatenate};
#[cfg(feature = "safetensors")]
pub(crate) use network::Application;
pub(crate) use network::{Endpoint, Network};
pub use network::{Shared, Value};
pub use normalization::BatchNormalization;
pub use parameters::{Block, BlockMut, Entry, ParameterSpec, Role};
pub use pooling::MaxPooling2D;
pub(crate) use pooling::MaxPoolingOp;
pub use reshaping::Flatten;
pub(crate) use tensors::{BatchShape, Memory, Place, Slots};
pub use tensors::{InputGradients, Tensor, TensorMut, Tensors, TensorsMut};

/// The parameters of a layer whose bias is optional.
fn kernel_and_bias<T>(parameters: Block<'_, T>) -> (&[T], Option<&[T]>) {
    match parameters.count() {
        1 => (parameters.split_slices::<1>()[0], None),
        _ => {
            let [kernel, bias] = parameters.split_slices();
            (kernel, Some(bias))
        }
    }
}

/// The gradients of a layer whose bias is optional.
fn kernel_and_bias_mut<T>(gradients: BlockMut<'_, T>) -> (&mut [T], Option<&mut [T]>) {
    match gradients.count() {
        1 => {
            let [kernel] = gradients.split_slices();
            (kernel, None)
        }
        _ => {
            let [kernel, bias] = gradients.split_slices();
            (kernel, Some(bias))
        }
    }
}
