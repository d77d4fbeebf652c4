//! What optimizers' settings have in common: their ranges, and the two ways of weight decay.

use serde::{Deserialize, Serialize};

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

    /// The parameter and its gradient, both after decay.
    #[inline(always)]
    pub(super) fn apply(self, w: T, g: T) -> (T, T) {
        (w - self.decoupled * w, g + self.coupled * w)
    }
}
