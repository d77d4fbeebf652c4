//! Activation functions that `Dense` and `Conv2D` apply to their output.

use serde::{Deserialize, Serialize};

use super::{ReLU, Softmax};
use crate::error::Result;
use crate::layers::{Layer, Plan};
use crate::scalar::Scalar;

/// What a layer does with its output before it hands it on.
///
/// `Dense::new(64).activation(Activation::ReLU)` and `Dense::new(64)` followed by [`ReLU`](super::ReLU) give the same
/// bits at the same speed.
///
/// ```
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// let output = |activation| {
///     let layer = Dense::new(2).kernel_initializer(Initializer::Ones).activation(activation);
///     Sequential::input([1]).add(layer).build(42)?.predict(&array![[-3.0]])
/// };
/// assert_eq!(output(Activation::Linear)?, array![[-3.0, -3.0]].into_dyn());
/// assert_eq!(output(Activation::ReLU)?, array![[0.0, 0.0]].into_dyn());
/// assert_eq!(output(Activation::Softmax)?, array![[0.5, 0.5]].into_dyn());
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Activation {
    /// y = x.
    #[default]
    Linear,
    /// y = max(0, x); NaN stays NaN, and the derivative at 0 is 0.
    ReLU,
    /// y = eˣ / Σ eˣ over the last axis.
    Softmax,
}

impl Activation {
    /// The plan of the layer that computes it; a linear one only keeps the shape.
    pub(crate) fn plan<T: Scalar>(self, sample: &[usize]) -> Result<Plan<T>> {
        match self {
            Self::Linear => Ok(Plan::reshape(sample)),
            Self::ReLU => ReLU::new().plan(&[sample]),
            Self::Softmax => Softmax::new().plan(&[sample]),
        }
    }
}
