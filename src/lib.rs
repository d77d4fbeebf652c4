//! Deep-learning layers for the CPU.
#![forbid(unsafe_code)]

pub mod callbacks;
pub mod data;
mod error;
pub mod initializers;
mod kernels;
pub mod layers;
pub mod losses;
pub mod metrics;
pub mod model;
pub mod optimizers;
#[cfg(feature = "plot")]
pub mod plot;
pub mod progress;
mod random;
#[cfg(feature = "plot")]
pub mod report;
mod scalar;
mod shape;
pub mod testing;

pub use error::{Error, Result};
pub use initializers::Initializer;
pub use model::{Sequential, Trainer};
pub use ndarray;
pub use scalar::Scalar;
pub use shape::{Padding, Size2D};

/// What most programs need: `use plywood::prelude::*;`.
pub mod prelude {
    pub use crate::callbacks::{Callback, Control};
    pub use crate::data::{Dataset, Targets};
    pub use crate::layers::{Activation, Conv2D, Dense, Flatten, Layer, MaxPooling2D, ReLU, Softmax};
    pub use crate::losses::{CategoricalCrossentropy, Loss, MeanSquaredError};
    pub use crate::metrics::{Accuracy, Metric};
    pub use crate::model::{Fit, History, Sequential, Trainer, Verbosity};
    pub use crate::optimizers::{Optimizer, RMSprop, SGD};
    pub use crate::{Error, Initializer, Padding, Result, Scalar, Size2D};
}
