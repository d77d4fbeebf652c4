//! What optimizers' settings have in common: their ranges, and the two ways of weight decay.

use serde::{Deserialize, Serialize};

use super::Magnitudes;
use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// Whose formula an optimizer follows where libraries part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Convention {
    Keras,
    PyTorch,
}

/// For learning rates, ε, weight decay, as the model's number type has them.
pub(crate) fn check_non_negative<T: Scalar>(owner: &'static str, parameter: &'static str, value: f64) -> Result<()> {
    if T::of(value).is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::invalid_parameter(owner, parameter, value, "a finite number of at least 0"))
}

/// For what a running average keeps of its past: at 1 it would never hear of anything new.
pub(super) fn check_fraction<T: Scalar>(owner: &'static str, parameter: &'static str, value: f64) -> Result<()> {
    if (T::zero()..T::one()).contains(&T::of(value)) {
        return Ok(());
    }
    Err(Error::invalid_parameter(owner, parameter, value, "a number of at least 0 and below 1"))
}

/// The absolute value of a setting.
pub(super) fn as_f64<T: Scalar>(value: T) -> f64 {
    value.to_f64().expect("f32 and f64 are f64s").abs()
}

/// What [`Optimizer::reach`](super::Optimizer::reach) returns: bounds of the parameters and of each slot, with whether it
/// may be below 0. `passed` bounds all other numbers on the way. Factors of settings must be in both.
pub(super) fn reached<T: Scalar>(parameters: f64, slots: &[(f64, bool)], passed: &[f64]) -> Option<Magnitudes> {
    // half of the largest number leaves room for the roundings of one step
    let fits = |number: f64| number <= as_f64(T::max_value()) / 2.0;
    let mut numbers = slots.iter().map(|&(slot, _)| slot).chain(passed.iter().copied());
    if !fits(parameters) || !numbers.all(fits) {
        return None;
    }
    // what is kept from step to step has to bound the roundings of all of them
    const ROOM: f64 = 1.0 + 1e-6;
    let mut after = Magnitudes { parameters: parameters * ROOM, ..Magnitudes::default() };
    for (k, &(slot, below_zero)) in slots.iter().enumerate() {
        (after.slots[k], after.below_zero[k]) = (slot * ROOM, below_zero);
    }
    Some(after)
}

/// Weight decay λ before a step, as Keras or as PyTorch has it: one of the two factors is zero, which changes nothing,
/// so that loops need no branch.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightDecay<T> {
    /// PyTorch: λ·w is added to the gradient, and goes through the optimizer like any gradient.
    coupled: T,
    /// Keras, and AdamW everywhere: w shrinks by lr·λ·w beside the optimizer.
    decoupled: T,
}

impl<T: Scalar> WeightDecay<T> {
    pub(super) fn new(convention: Convention, weight_decay: f64, learning_rate: f64) -> Self {
        match convention {
            Convention::Keras => Self { coupled: T::zero(), decoupled: T::of(weight_decay * learning_rate) },
            Convention::PyTorch => Self { coupled: T::of(weight_decay), decoupled: T::zero() },
        }
    }

    /// How large parameter and gradient can be after decay.
    pub(super) fn reach(self, w: f64, g: f64) -> (f64, f64) {
        (w + as_f64(self.decoupled) * w, g + as_f64(self.coupled) * w)
    }

    /// The parameter and its gradient, both after decay.
    #[inline(always)]
    pub(super) fn apply(self, w: T, g: T) -> (T, T) {
        (w - self.decoupled * w, g + self.coupled * w)
    }
}
