//! Deep-learning layers for the CPU.
#![forbid(unsafe_code)]

pub mod data;
mod error;
pub mod initializers;
mod kernels;
pub mod layers;
pub mod losses;
pub mod metrics;
pub mod model;
pub mod optimizers;
mod random;
mod scalar;
mod shape;

pub use error::{Error, Result};
pub use initializers::Initializer;
pub use ndarray;
pub use scalar::Scalar;
pub use shape::{Padding, Size2D};
