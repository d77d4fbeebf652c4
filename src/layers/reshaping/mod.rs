//! Layers that only rearrange their input.

mod flatten;

pub use flatten::Flatten;
