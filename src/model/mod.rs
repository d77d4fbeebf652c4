//! Models: layers with their parameters, what predicts with them, and what trains them.
//!
//! ```
//! use plywood::ndarray::array;
//! use plywood::prelude::*;
//!
//! let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
//! let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
//! let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::new());
//! let history = trainer.fit(&data, &Fit::epochs(50))?;
//! assert_eq!(history.len(), 50);
//! assert_eq!(trainer.into_model().predict_classes(data.inputs())?, array![0, 1]);
//! # Ok::<(), plywood::Error>(())
//! ```

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

pub(crate) use aligned::{Aligned, zeros};
pub use evaluation::Evaluation;
#[cfg(feature = "plot")]
pub(crate) use fit::Validation;

pub use fit::{Fit, NonFiniteLoss, Verbosity};
pub use history::History;
pub(crate) use history::{csv_header, csv_line};
pub use parameters::{Block, BlockMut, Entry, Layout};
pub use predictor::Predictor;
pub use sequential::{NamedLayer, Sequential, SequentialBuilder};
pub(crate) use stage::{Extent, Scratchpad, parts, plan_text};
pub use state::{State, StateValue};
pub use summary::Summary;
#[cfg(feature = "plot")]
pub(crate) use summary::thousands;
pub use timing::{LayerTime, LayerTimes};
pub use trainer::Trainer;
pub(crate) use trainer::check_names;
