//! Layers that make one value of several.

mod add;
mod concatenate;

pub use add::Add;
pub use concatenate::Concatenate;
