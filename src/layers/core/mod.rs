//! Layers that most networks are made of.

mod dense;

pub use dense::Dense;
pub(crate) use dense::DenseOp;
