//! Models: layers with their parameters, what predicts with them, and what trains them.

mod aligned;
mod fit;
mod history;
mod parameters;
mod predictor;
mod sequential;
mod stage;
mod summary;
mod trainer;
mod workspace;

pub(crate) use aligned::Aligned;
pub use fit::{Callback, Control, EpochEnd, Fit, Verbosity};
pub use history::History;
pub use parameters::{Block, BlockMut, Entry, Layout};
pub use predictor::Predictor;
pub use sequential::{NamedLayer, Sequential, SequentialBuilder};
pub(crate) use stage::{Extent, Scratchpad};
pub use summary::Summary;
pub use trainer::{Evaluation, Trainer};
