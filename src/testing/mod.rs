//! A bench for layers: run one by itself, outside of any model.

mod layer_run;

pub use layer_run::LayerRun;
