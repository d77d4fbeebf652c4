//! Optimizers: how gradients become steps.

use std::fmt::Debug;

use crate::error::Result;
use crate::scalar::Scalar;

/// An optimizer: changes each parameter by its gradient and by what it remembers of earlier ones.
///
/// What it remembers lies in *slots*, buffers of the parameters' layout that start at zero and that the trainer keeps.
/// The trainer cuts all buffers into pieces at the same places and calls [`update`](Self::update) on them in parallel, so
/// an update is elementwise: parameter i may depend on gradient i and on element i of each slot.
pub trait Optimizer<T: Scalar = f32>: Debug + Send + Sync {
    /// Its name, as Keras spells it.
    fn name(&self) -> &'static str;

    /// How many slots it needs: at most [`MAX_SLOTS`].
    fn slots(&self) -> usize;

    /// Checks its settings, before training starts.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for one outside its range.
    fn check(&self) -> Result<()>;

    /// The learning rate.
    fn learning_rate(&self) -> f64;

    /// Changes the learning rate, as schedules do.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// Updates a piece of the parameters.
    fn update(&self, piece: Update<'_, '_, T>);
}

/// The most slots an optimizer can have.
pub const MAX_SLOTS: usize = 4;

/// A piece of the parameters, with the same piece of the gradients and slots.
#[derive(Debug)]
pub struct Update<'a, 's, T> {
    /// The step, counted from 1, for optimizers that correct for the start.
    pub step: u64,
    /// Parameters, to be changed.
    pub parameters: &'a mut [T],
    /// Their gradients.
    pub gradients: &'a [T],
    /// As many slots as the optimizer asked for.
    pub slots: &'s mut [&'a mut [T]],
}
