//! The sum of several values.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, shape_text};
use crate::layers::{Backward, Forward, Layer, Op, Plan, Value};
use crate::scalar::Scalar;

/// Adds values of one shape, elementwise: a residual connection.
///
/// y = x₁ + x₂ + …, from the first to the last.
///
/// # Shapes
///
/// Each xᵢ and y `[batch, …]`, all of one shape. No parameters.
///
/// # Errors
///
/// At build: [`Error::Layer`] for fewer than two inputs, or inputs of different shapes.
///
/// # Source
///
/// `keras/src/layers/merging/add.py`, Keras 3.15 (without broadcasting).
///
/// ```
/// use plywood::layers::Add;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// let x = Value::input([2]);
/// let y = Add::of([&x, &x, &x]);
/// let model = Functional::new([&x], [&y]).build(42)?;
/// assert_eq!(model.predict(&array![[1.0, -2.0]])?, array![[3.0, -6.0]].into_dyn());
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {}

impl Add {
    /// Creates the layer.
    pub fn new() -> Self {
        Self {}
    }

    /// Returns the sum of these values.
    pub fn of<'v, T: Scalar>(values: impl IntoIterator<Item = &'v Value<T>>) -> Value<T> {
        Value::of(Self::new(), values)
    }
}

impl<T: Scalar> Layer<T> for Add {
    fn kind(&self) -> &'static str {
        "add"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        let shapes = || inputs.iter().map(|input| shape_text(input)).collect::<Vec<_>>().join(" and ");
        match inputs {
            [first, rest @ ..] if !rest.is_empty() && rest.iter().all(|other| other == first) => {
                Ok(Plan::new(*first, self.clone()))
            }
            [] | [_] => Err(Error::layer("add", format!("got {} inputs, expected at least two", inputs.len()))),
            _ => Err(Error::layer("add", format!("got samples of shapes {}, expected one shape", shapes()))),
        }
    }
}

impl<T: Scalar> Op<T> for Add {
    fn forward(&self, mut pass: Forward<'_, T>) {
        let y = pass.y.slice_mut();
        T::add_slices(pass.x.get(0).slice(), pass.x.get(1).slice(), y);
        for x in pass.x.iter().skip(2) {
            T::accumulate(x.slice(), y);
        }
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        let dy = &*pass.dy.slice_mut();
        for i in 0..pass.dx.len() {
            if let Some(dx) = pass.dx.get_mut(i) {
                dx.into_slice().copy_from_slice(dy);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::LayerCheck;

    #[test]
    fn owes_nothing() {
        LayerCheck::with_inputs(Add::new(), [vec![3, 2], vec![3, 2], vec![3, 2]]).run().unwrap();
    }

    #[test]
    fn refuses_shapes_that_differ() {
        let error = Layer::<f32>::plan(&Add::new(), &[&[2, 3], &[3, 2]]).unwrap_err().to_string();
        assert_eq!(error, "add: got samples of shapes 2×3 and 3×2, expected one shape");
        let error = Layer::<f32>::plan(&Add::new(), &[&[2]]).unwrap_err().to_string();
        assert_eq!(error, "add: got 1 inputs, expected at least two");
    }
}
