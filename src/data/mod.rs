//! Data sets.

mod dataset;
#[cfg(feature = "datasets")]
mod idx;

pub use dataset::{Dataset, Targets, TargetsView};
#[cfg(feature = "datasets")]
pub use idx::IdxProblem;
