//! Models: layers with their parameters, and what trains them.

mod parameters;

pub use parameters::{Block, BlockMut, Entry, Layout};
