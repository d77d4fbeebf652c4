//! Files: the one place that opens one for reading, and the one that replaces one.

mod atomic;
mod open;

#[cfg(any(feature = "keras", feature = "npz", feature = "safetensors"))]
pub(crate) use atomic::write_file;
pub(crate) use atomic::{check_target, write_text};
#[cfg(any(feature = "datasets", feature = "npz", feature = "safetensors"))]
pub(crate) use open::open;
pub(crate) use open::read_text;
