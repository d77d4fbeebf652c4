//! Files: models and checkpoints of the crate's own, and what other libraries read and write.
//!
//! Each format stands behind a feature of its name.

mod atomic;
mod built_in;
mod checkpoint;
mod custom_layers;
mod json;
mod model_file;
mod tensors;

pub use custom_layers::CustomLayers;
pub use model_file::{LoadReport, LoadWeights};
