//! Files: models and checkpoints of the crate's own, and what other libraries read and write.
//!
//! Each format stands behind a feature of its name.

mod atomic;
mod built_in;
mod channels_first;
mod custom_layers;
mod json;
mod model_file;
#[cfg(feature = "onnx")]
mod onnx;
#[cfg(feature = "onnx")]
mod onnx_messages;
mod pytorch;
mod tensors;

pub use custom_layers::CustomLayers;
pub use model_file::{LoadReport, LoadWeights};
pub use pytorch::ModuleNames;
