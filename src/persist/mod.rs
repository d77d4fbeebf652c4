//! Files: models and checkpoints of the crate's own, and what other libraries read and write.
//!
//! Each format stands behind a feature of its name.
//!
//! | for | take | feature |
//! |---|---|---|
//! | weights to and from a model of PyTorch, `.safetensors` | [`save_pytorch`](crate::Sequential::save_pytorch), [`load_pytorch`](crate::Sequential::load_pytorch) | `safetensors` |
//! | a model for ONNX Runtime and others, `.onnx` | `export_onnx` | `onnx` |

mod atomic;
mod built_in;
mod channels_first;
mod checkpoint;
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
