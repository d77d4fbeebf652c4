//! A bench for layers, losses, optimizers and metrics: the checks that the crate's own go through, for those of others.
//!
//! | for | call | what it looks at |
//! |---|---|---|
//! | a layer | [`check_layer`], or [`LayerCheck`] with settings | the contract of [`Layer`](crate::layers::Layer), gradients above all |
//! | a loss | [`check_loss`] | the contract of [`Loss`](crate::losses::Loss), and the gradient |
//! | an optimizer | [`check_optimizer`] | the contract of [`Optimizer`](crate::optimizers::Optimizer) |
//! | a metric | [`check_metric`] | the contract of [`Metric`](crate::metrics::Metric) |
//!
//! Each check looks at everything and returns a [`Report`], which prints a line for each thing looked at, with figures.
//! If something is not as it should be, a panic included, it returns a [`Failure`], which prints the same table. The
//! panics of what is checked are a line of it each, and the panic hook does not see them: a check puts a hook of its own
//! around the one that there is.
//!
//! ```
//! use plywood::layers::Dense;
//! use plywood::testing::check_layer;
//!
//! # fn main() -> Result<(), plywood::testing::Failure> {
//! println!("{}", check_layer(Dense::new(4), [7])?);
//! # Ok(())
//! # }
//! ```
//!
//! [`LayerRun`] runs a layer by itself, pass by pass.

mod differences;
mod layer;
mod layer_run;
mod loss;
mod metric;
mod numbers;
mod optimizer;
mod panics;
mod report;
mod threads;

pub use crate::kernels::dispatch::instruction_set;
pub use layer::{LayerCheck, check_layer};
pub use layer_run::LayerRun;
pub use loss::check_loss;
pub use metric::check_metric;
pub use optimizer::check_optimizer;
pub use report::{Check, Failure, Report};
