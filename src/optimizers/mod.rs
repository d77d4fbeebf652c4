//! Optimizers: how gradients become steps.
//!
//! | optimizer | remembers | as in Keras 3 | as elsewhere |
//! |---|---|---|---|
//! | [`SGD`] | nothing, or its momentum | `SGD::new(0.01)` | `SGD::pytorch()` |
//! | [`RMSprop`] | the mean square of each gradient | `RMSprop::new(0.001)` | `RMSprop::keras_legacy()`, `RMSprop::pytorch()` |
//! | [`Adam`] | mean and mean square of each gradient | `Adam::new(0.001)` | `Adam::pytorch()` |
//!
//! Settings are `f64` whatever a model computes with, and are checked before each step.
//!
//! ```
//! use plywood::ndarray::array;
//! use plywood::prelude::*;
//!
//! let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
//! let mut trainer = model.compile(SGD::new(0.1).momentum(0.9), CategoricalCrossentropy::new());
//! let first = trainer.train_step(&array![[0.0], [1.0]], &array![[1.0, 0.0], [0.0, 1.0]])?;
//! let second = trainer.train_step(&array![[0.0], [1.0]], &array![[1.0, 0.0], [0.0, 1.0]])?;
//! assert!(second < first);
//! # Ok::<(), plywood::Error>(())
//! ```

mod adam;
pub(crate) mod pass;
mod rmsprop;
mod settings;
mod sgd;

use std::fmt::Debug;

use crate::error::Result;
use crate::scalar::Scalar;

pub use adam::Adam;
pub(crate) use pass::{NonFinite, PIECE, Steps, step};
pub use rmsprop::RMSprop;
#[cfg(test)]
pub(crate) use settings::check_non_negative;
pub use sgd::SGD;

/// An optimizer: changes each parameter by its gradient and by what it remembers of earlier ones.
///
/// What it remembers lies in *slots*, buffers of the parameters' layout that start at zero and that the trainer keeps.
/// The trainer cuts all buffers into pieces at the same places and calls [`update`](Self::update) on them in parallel,
/// so an update is elementwise: parameter i may depend on gradient i and on element i of each slot. A gradient that is
/// NaN makes its own parameter NaN, and no other. With a learning rate of 0 no parameter moves;
/// [`check`](Self::check) refuses one that is negative, infinite or NaN.
///
/// A step that would make a parameter or slot infinite or NaN is [refused](crate::Error::NonFiniteStep), and has changed
/// nothing. Where [`reach`](Self::reach) cannot exclude it, the trainer lets the optimizer work on copies.
///
/// [`check_optimizer`](crate::testing::check_optimizer) holds an optimizer to it.
///
/// # Example
///
/// Steps of one length, of which only the gradient's sign says the direction:
///
/// ```
/// use plywood::optimizers::{Optimizer, Update};
/// use plywood::{Error, Result, Scalar};
///
/// #[derive(Debug, Clone)]
/// struct SignDescent {
///     learning_rate: f64,
/// }
///
/// impl<T: Scalar> Optimizer<T> for SignDescent {
///     fn name(&self) -> &'static str {
///         "SignDescent"
///     }
///
///     fn slots(&self) -> usize {
///         0
///     }
///
///     fn check(&self) -> Result<()> {
///         if self.learning_rate >= 0.0 && self.learning_rate.is_finite() {
///             return Ok(());
///         }
///         let expected = "a finite number of at least 0";
///         Err(Error::invalid_parameter("SignDescent", "learning_rate", self.learning_rate, expected))
///     }
///
///     fn learning_rate(&self) -> f64 {
///         self.learning_rate
///     }
///
///     fn set_learning_rate(&mut self, learning_rate: f64) {
///         self.learning_rate = learning_rate;
///     }
///
///     fn update(&self, piece: Update<'_, '_, T>) {
///         let step = T::of(self.learning_rate);
///         for (w, g) in piece.parameters.iter_mut().zip(piece.gradients) {
///             *w -= step * g.signum();
///         }
///     }
/// }
///
/// let mut w = [1.0_f32, 1.0];
/// let piece = Update { step: 1, parameters: &mut w, gradients: &[9.0, -0.1], slots: &mut [] };
/// SignDescent { learning_rate: 0.5 }.update(piece);
/// assert_eq!(w, [0.5, 1.5]);
/// ```
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

    /// How large parameters and slots can be after a step, if they and the gradients are now at most as large as `now`
    /// says. `None`, the default, if that is not known, or if any number that the step passes through could overflow.
    ///
    /// It saves time and memory, and changes no result: where it is known that nothing can overflow, parameters and slots
    /// are updated in place. Otherwise they are copied, updated and looked through, which takes about as long as an update.
    fn reach(&self, step: u64, now: &Magnitudes) -> Option<Magnitudes> {
        let _ = (step, now);
        None
    }

    /// Updates a piece of the parameters. It may panic if there are not as many slots as it asked for.
    fn update(&self, piece: Update<'_, '_, T>);
}

/// The most slots an optimizer can have.
///
/// ```
/// use plywood::optimizers::{MAX_SLOTS, Optimizer, RMSprop};
///
/// let optimizer = RMSprop::new(0.001).momentum(0.9).centered(true);
/// assert_eq!(Optimizer::<f32>::slots(&optimizer), 3);
/// assert!(3 <= MAX_SLOTS);
/// ```
pub const MAX_SLOTS: usize = 4;

/// Bounds of the absolute values of all that a step reads: see [`Optimizer::reach`].
///
/// ```
/// use plywood::optimizers::{Magnitudes, Optimizer, SGD};
///
/// let now = Magnitudes { parameters: 1.0, gradients: 10.0, ..Magnitudes::default() };
/// let after = Optimizer::<f32>::reach(&SGD::new(0.5), 1, &now).expect("nothing overflows");
/// assert!((6.0..6.1).contains(&after.parameters)); // 1 + 0.5 · 10, and some room for rounding
/// assert_eq!(Optimizer::<f32>::reach(&SGD::new(1e38), 1, &now), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Magnitudes {
    /// Of the parameters.
    pub parameters: f64,
    /// Of the gradients; what is returned for them does not matter.
    pub gradients: f64,
    /// Of each slot.
    pub slots: [f64; MAX_SLOTS],
    /// Whether a slot may have elements below 0.
    pub below_zero: [bool; MAX_SLOTS],
}

/// A piece of the parameters, with the same piece of the gradients and slots: all slices are of one length.
///
/// ```
/// use plywood::optimizers::{Optimizer, SGD, Update};
///
/// let (mut w, mut velocity) = ([1.0_f32, 1.0], [0.0; 2]);
/// let piece = Update { step: 1, parameters: &mut w, gradients: &[2.0, -1.0], slots: &mut [&mut velocity] };
/// SGD::new(0.5).momentum(0.75).update(piece);
/// assert_eq!((w, velocity), ([0.0, 1.5], [-1.0, 0.5]));
/// ```
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
