//! From images to vectors.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layers::{Layer, Plan, single_input};
use crate::scalar::Scalar;
use crate::shape::elements;

/// Makes a vector of each sample, in row-major order: for images rows, then columns, then channels.
///
/// Data are not moved: in a model the layer costs nothing.
///
/// # Shapes
///
/// x `[batch, …]`, y `[batch, product of the rest]`. No parameters.
///
/// # Errors
///
/// [`Error::TooLarge`] at build if the product overflows.
///
/// # Source
///
/// `keras/src/layers/reshaping/flatten.py`, Keras 3.15. PyTorch's images are channels first, so a `Linear` after its
/// `Flatten` has its rows in another order.
///
/// ```
/// use plywood::prelude::*;
///
/// let model = Sequential::input([3, 3, 64]).add(Flatten::new()).build(42)?;
/// assert_eq!(model.output_shape(), [576]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flatten {}

impl Flatten {
    /// Creates the layer.
    pub fn new() -> Self {
        Self {}
    }
}

impl<T: Scalar> Layer<T> for Flatten {
    fn kind(&self) -> &'static str {
        "flatten"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        let features = elements(single_input("flatten", inputs)?)
            .ok_or_else(|| Error::TooLarge { owner: "flatten".to_owned(), what: "the flattened sample" })?;
        Ok(Plan::reshape([features]))
    }
}
