//! Data sets: samples with their targets, in memory, and what brings them there.
//!
//! | for | take |
//! |---|---|
//! | inputs and targets together | [`Dataset`], whose targets are [`Targets`] |
//! | class indices as rows of zeros and a one | [`one_hot`] |
//! | MNIST, Fashion-MNIST and others in the same four files, or in an `.npz` file | [`Mnist`] |
//! | any other IDX file | [`read_idx`] |
//! | a training loop of one's own | [`epoch_order`] and [`Batches`] |

mod batches;
mod dataset;
#[cfg(feature = "datasets")]
mod idx;
#[cfg(feature = "datasets")]
mod mnist;
#[cfg(all(feature = "datasets", feature = "npz"))]
mod mnist_npz;
mod one_hot;
mod shuffle;

pub use batches::Batches;
pub(crate) use dataset::validation_start;
pub use dataset::{Dataset, Targets, TargetsView};
#[cfg(feature = "datasets")]
pub use idx::{IdxProblem, read_idx};
#[cfg(feature = "datasets")]
pub use mnist::Mnist;
pub use one_hot::one_hot;
pub use shuffle::epoch_order;
