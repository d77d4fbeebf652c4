//! Models: layers with their parameters, what predicts with them, and what trains them.

mod aligned;
mod curve;
mod evaluation;
mod fit;
mod gather;
mod history;
mod parameters;
pub(crate) mod position;
mod predictor;
mod run;
mod sequential;
mod stage;
pub(crate) mod state;
mod summary;
mod timing;
mod trainer;
mod workspace;

pub(crate) use aligned::Aligned;
pub use evaluation::Evaluation;
#[cfg(feature = "plot")]
pub(crate) use fit::Validation;

pub use fit::{Fit, NonFiniteLoss, Verbosity};
pub use history::History;
#[cfg(feature = "plot")]
pub(crate) use history::write;
pub(crate) use history::{csv_header, csv_line};
pub use parameters::{Block, BlockMut, Entry, Layout};
pub use predictor::Predictor;
pub use sequential::{NamedLayer, Sequential, SequentialBuilder};
pub(crate) use stage::{Extent, Scratchpad};
pub use state::{State, StateValue};
pub use summary::Summary;
#[cfg(feature = "plot")]
pub(crate) use summary::thousands;
pub use timing::{LayerTime, LayerTimes};
pub use trainer::Trainer;
