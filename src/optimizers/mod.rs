//! Optimizers: how gradients become steps.

mod adam;
pub(crate) mod pass;
mod rmsprop;
mod settings;
mod sgd;

use std::fmt::Debug;

use crate::error::Result;
use crate::scalar::Scalar;

pub use adam::Adam;
pub(crate) use pass::step;
pub use rmsprop::RMSprop;
pub use sgd::SGD;

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

#[cfg(test)]
mod reference {
    //! A run that a short program in any language can repeat, so that Keras and PyTorch themselves could be asked.

    use super::{Optimizer, Update};
    use crate::scalar::Scalar;

    /// The gradient of parameter `i` in step `t`, both counted from 0: exact in `f32`, of both signs, between ±5/8.
    pub(super) fn gradient(t: usize, i: usize) -> f64 {
        (((7 * t + 3 * i) % 11) as f64 - 5.0) / 8.0
    }

    /// Where the parameters start.
    pub(super) const START: [f64; 3] = [1.0, -0.5, 0.25];

    /// The parameters after ten steps, where the learning rate is divided by ten after five.
    pub(super) fn ten_steps<T: Scalar>(mut optimizer: impl Optimizer<T>) -> Vec<f64> {
        optimizer.check().unwrap();
        let mut parameters = START.map(T::of);
        let mut slots = vec![vec![T::zero(); 3]; optimizer.slots()];
        for t in 0..10 {
            if t == 5 {
                optimizer.set_learning_rate(optimizer.learning_rate() / 10.0);
            }
            let gradients: [_; 3] = std::array::from_fn(|i| T::of(gradient(t, i)));
            let mut slots: Vec<_> = slots.iter_mut().map(Vec::as_mut_slice).collect();
            let step = t as u64 + 1;
            optimizer.update(Update { step, parameters: &mut parameters, gradients: &gradients, slots: &mut slots });
        }
        parameters.map(|parameter| parameter.to_f64().expect("every float has an f64")).to_vec()
    }
}
