//! Layers that bring values to a common mean and variance.

mod batch_normalization;

pub use batch_normalization::BatchNormalization;
