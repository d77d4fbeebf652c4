//! Data sets: samples with their targets, in memory, and what brings them there.
//!
//! | for | take |
//! |---|---|
//! | inputs and targets together | [`Dataset`], whose targets are [`Targets`] |
//! | class indices as rows of zeros and a one | [`one_hot`] |
//! | MNIST, Fashion-MNIST and others in the same four files, or in an `.npz` file | [`Mnist`] |
//! | any other IDX file | [`read_idx`] |
//! | a training loop of one's own | [`epoch_order`] and [`Batches`] |
//!
//! ```
//! use plywood::data::Dataset;
//! use plywood::ndarray::array;
//!
//! let data = Dataset::new(array![[0.0_f32, 0.5], [1.0, 0.0], [0.5, 0.5], [1.0, 1.0]], array![0_usize, 1, 0, 1])?;
//! let (train, validation) = data.split_last(0.25)?;
//! assert_eq!((train.len(), validation.len()), (3, 1));
//! # Ok::<(), plywood::Error>(())
//! ```

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
