//! Where a run of `fit` is, and all that a trainer is beside its weights: what a checkpoint has to bring back.

use std::time::Instant;

use super::history::History;
use super::state::State;

/// How far a run is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Position {
    /// Epochs of this run that are complete.
    pub(crate) epoch: usize,
    /// Steps taken in the epoch after them, if it has begun.
    pub(crate) batch: usize,
    /// Of that epoch: each batch's loss times its samples.
    pub(crate) loss_sum: f64,
    /// Samples that it has seen.
    pub(crate) seen: usize,
    /// Seconds that it took before this call of `fit`.
    pub(crate) seconds: f64,
    /// When this call of `fit` began with it.
    pub(crate) since: Option<Instant>,
    /// Whether training has been ended, and not only interrupted.
    pub(crate) stopped: bool,
    /// The epochs that are complete.
    pub(crate) history: History,
}

impl Position {
    /// Seconds that the epoch took so far.
    pub(crate) fn elapsed(&self) -> f64 {
        self.seconds + self.since.map_or(0.0, |since| since.elapsed().as_secs_f64())
    }

    /// The beginning of the next epoch.
    pub(crate) fn next_epoch(&mut self) {
        self.epoch += 1;
        (self.batch, self.loss_sum, self.seen, self.seconds, self.since) = (0, 0.0, 0, 0.0, None);
    }
}

/// What has to be the same for the rest of an epoch to be that of the run that began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Epochs {
    pub(crate) samples: usize,
    pub(crate) batch_size: usize,
    pub(crate) shuffle: bool,
}

/// A run that goes on later.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunState {
    pub(crate) position: Position,
    pub(crate) epochs: Epochs,
    /// What each metric has counted in the epoch; empty between epochs.
    pub(crate) metrics: Vec<State>,
    /// What callbacks remember, by their names.
    pub(crate) callbacks: Vec<(String, State)>,
}

/// All that a trainer is beside its weights and the optimizer's slots.
#[cfg(feature = "safetensors")]
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) learning_rate: f64,
    pub(crate) step: u64,
    pub(crate) epoch: usize,
    /// The run that is going on; none between two calls of `fit`.
    pub(crate) run: Option<RunState>,
}

/// A checkpoint that a callback has asked for.
#[cfg(feature = "safetensors")]
#[derive(Debug, Clone)]
pub(crate) struct CheckpointRequest {
    pub(crate) path: std::path::PathBuf,
    /// Files that are removed when it has been written.
    pub(crate) then_remove: Vec<std::path::PathBuf>,
}
