//! Layers that slide filters over their input.

mod conv2d;

pub use conv2d::Conv2D;
pub(crate) use conv2d::ConvolutionOp;
