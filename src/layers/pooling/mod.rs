//! Layers that summarise windows of their input.

mod max_pooling2d;

pub use max_pooling2d::MaxPooling2D;
pub(crate) use max_pooling2d::MaxPoolingOp;
