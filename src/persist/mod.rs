//! Files: models and checkpoints of the crate's own, and what other libraries read and write.
//!
//! Each format stands behind a feature of its name.
//!
//! | for | take | feature |
//! |---|---|---|
//! | an array of NumPy, `.npy` | [`read_npy`], [`write_npy`] | `npz` |
//! | several in one file, `.npz` | [`Npz`], [`NpzWriter`] | `npz` |
//! | the weights of a model as arrays of NumPy | [`save_npz`](crate::Sequential::save_npz), [`load_npz`](crate::Sequential::load_npz) | `npz` |
//! | the data set `mnist.npz` | `Mnist::from_npz` | `npz` |
//! | a model of Keras 3, `.keras` | [`load_keras`](crate::Sequential::load_keras), [`save_keras`](crate::Sequential::save_keras) | `keras` |

#[cfg(feature = "npz")]
mod archive;
#[cfg(feature = "npz")]
mod atomic;
#[cfg(any(feature = "keras", feature = "safetensors"))]
mod built_in;
#[cfg(feature = "npz")]
mod failure;
#[cfg(feature = "keras")]
mod json;
#[cfg(feature = "keras")]
mod keras;
#[cfg(feature = "npz")]
mod npy;
#[cfg(feature = "npz")]
mod npz;

#[cfg(feature = "npz")]
pub use npy::{Element, read_npy, write_npy};
#[cfg(feature = "npz")]
pub use npz::{Npz, NpzWriter};
#[cfg(all(feature = "datasets", feature = "npz"))]
pub(crate) use {archive::Member, failure::Failure, npy::Header};
