//! Files: models and checkpoints of the crate's own, and what other libraries read and write.
//!
//! Each format stands behind a feature of its name.
//!
//! | for | take | feature |
//! |---|---|---|
//! | a model: weights and architecture, `.safetensors` | [`save`](crate::Sequential::save), [`load`](crate::Sequential::load) | `safetensors` |
//! | weights alone | [`load_weights`](crate::Sequential::load_weights) | `safetensors` |
//! | a trainer, from which training goes on | [`save_checkpoint`](crate::Trainer::save_checkpoint), [`load_checkpoint`](crate::Trainer::load_checkpoint) | `safetensors` |
//! | weights to and from a model of PyTorch, `.safetensors` | [`save_pytorch`](crate::Sequential::save_pytorch), [`load_pytorch`](crate::Sequential::load_pytorch) | `safetensors` |
//! | a model of Keras 3, `.keras` | `load_keras`, `save_keras` | `keras` |
//! | a model for ONNX Runtime and others, `.onnx` | `export_onnx` | `onnx` |
//! | an array of NumPy, `.npy` | `read_npy`, `write_npy` | `npz` |
//! | several in one file, `.npz` | `Npz`, `NpzWriter` | `npz` |
//! | the weights of a model as arrays of NumPy | `save_npz`, `load_npz` | `npz` |
//! | the data set `mnist.npz` | `Mnist::from_npz` | `npz` |
//!
//! ```
//! # #[cfg(feature = "safetensors")] {
//! use plywood::prelude::*;
//!
//! # let path = std::env::temp_dir().join(format!("plywood-doc-persist-{}.safetensors", std::process::id()));
//! let model = Sequential::input([2]).add(Dense::new(3)).build(42)?;
//! model.save(&path)?;
//! assert_eq!(Sequential::<f32>::load(&path)?.values(), model.values());
//! # std::fs::remove_file(&path).unwrap();
//! # }
//! # Ok::<(), plywood::Error>(())
//! ```

#[cfg(feature = "npz")]
mod archive;
#[cfg(any(feature = "keras", feature = "safetensors"))]
mod built_in;
#[cfg(feature = "safetensors")]
mod channels_first;
#[cfg(feature = "safetensors")]
mod checkpoint;
#[cfg(feature = "safetensors")]
mod custom_layers;
#[cfg(feature = "npz")]
mod failure;
#[cfg(any(feature = "keras", feature = "safetensors"))]
mod json;
#[cfg(feature = "keras")]
mod keras;
#[cfg(feature = "safetensors")]
mod model_file;
#[cfg(feature = "npz")]
mod npy;
#[cfg(feature = "npz")]
mod npz;
#[cfg(feature = "onnx")]
mod onnx;
#[cfg(feature = "onnx")]
mod onnx_messages;
#[cfg(feature = "safetensors")]
mod pytorch;
#[cfg(feature = "safetensors")]
mod tensors;

#[cfg(feature = "safetensors")]
pub use custom_layers::CustomLayers;
#[cfg(feature = "safetensors")]
pub use model_file::{LoadReport, LoadWeights};
#[cfg(feature = "npz")]
pub use npy::{Element, read_npy, write_npy};
#[cfg(feature = "npz")]
pub use npz::{Npz, NpzWriter};
#[cfg(feature = "safetensors")]
pub use pytorch::ModuleNames;
#[cfg(all(feature = "datasets", feature = "npz"))]
pub(crate) use {archive::Member, failure::Failure, npy::Header};
