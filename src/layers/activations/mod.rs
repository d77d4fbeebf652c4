//! Functions applied to each value, or to each row of values.

mod activation;
mod relu;
mod softmax;

pub use activation::Activation;
pub use relu::ReLU;
pub use softmax::Softmax;
pub(crate) use softmax::SoftmaxOp;
