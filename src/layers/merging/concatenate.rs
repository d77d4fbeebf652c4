//! Values side by side.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, shape_text};
use crate::layers::{Backward, Forward, Layer, Op, Plan, Value};
use crate::scalar::Scalar;
use crate::shape::elements;

/// Puts values side by side along their last axis: features, or the channels of images.
///
/// y = [x₁, x₂, …].
///
/// # Shapes
///
/// xᵢ `[batch, …, nᵢ]`, all of the same shape but for nᵢ; y `[batch, …, Σ nᵢ]`. No parameters.
///
/// # Errors
///
/// At build: [`Error::Layer`] for fewer than two inputs, or inputs whose other axes differ.
///
/// # Source
///
/// `keras/src/layers/merging/concatenate.py`, Keras 3.15 (along the last axis, its default).
///
/// ```
/// use plywood::layers::Concatenate;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// let x = Value::input([2]);
/// let y = Concatenate::of([&x, &x.then(ReLU::new())]);
/// let model = Functional::new([&x], [&y]).build(42)?;
/// assert_eq!(model.predict(&array![[1.0, -2.0]])?, array![[1.0, -2.0, 1.0, 0.0]].into_dyn());
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concatenate {}

impl Concatenate {
    /// Creates the layer.
    pub fn new() -> Self {
        Self {}
    }

    /// Returns these values side by side.
    pub fn of<'v, T: Scalar>(values: impl IntoIterator<Item = &'v Value<T>>) -> Value<T> {
        Value::of(Self::new(), values)
    }
}

impl<T: Scalar> Layer<T> for Concatenate {
    fn kind(&self) -> &'static str {
        "concatenate"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        if inputs.len() < 2 {
            return Err(Error::layer("concatenate", format!("got {} inputs, expected at least two", inputs.len())));
        }
        let parts: Option<Vec<(&usize, &[usize])>> = inputs.iter().map(|input| input.split_last()).collect();
        let same = parts.filter(|parts| parts.iter().all(|(_, others)| *others == parts[0].1));
        let Some(parts) = same else {
            let shapes: Vec<_> = inputs.iter().map(|input| shape_text(input)).collect();
            let message = format!(
                "got samples of shapes {}, expected them to differ in the last axis only",
                shapes.join(" and ")
            );
            return Err(Error::layer("concatenate", message));
        };
        let too_large = || Error::TooLarge { owner: "concatenate".to_owned(), what: "the output" };
        let sizes: Vec<usize> = parts.iter().map(|(size, _)| **size).collect();
        let sum = sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size)).ok_or_else(too_large)?;
        let output = [parts[0].1, &[sum]].concat();
        elements(&output).ok_or_else(too_large)?;
        Ok(Plan::new(output, ConcatenateOp { sizes, sum }))
    }
}

/// Concatenates rows of these lengths.
#[derive(Debug, Clone)]
struct ConcatenateOp {
    sizes: Vec<usize>,
    sum: usize,
}

impl<T: Scalar> Op<T> for ConcatenateOp {
    fn forward(&self, mut pass: Forward<'_, T>) {
        let y = pass.y.slice_mut();
        let mut start = 0;
        for (x, &size) in pass.x.iter().zip(&self.sizes) {
            for (y, x) in y.chunks_exact_mut(self.sum).zip(x.slice().chunks_exact(size)) {
                y[start..start + size].copy_from_slice(x);
            }
            start += size;
        }
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        let dy = &*pass.dy.slice_mut();
        let mut start = 0;
        for (i, &size) in self.sizes.iter().enumerate() {
            if let Some(dx) = pass.dx.get_mut(i) {
                for (dx, dy) in dx.into_slice().chunks_exact_mut(size).zip(dy.chunks_exact(self.sum)) {
                    dx.copy_from_slice(&dy[start..start + size]);
                }
            }
            start += size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::LayerCheck;

    #[test]
    fn owes_nothing() {
        LayerCheck::with_inputs(Concatenate::new(), [vec![3, 2], vec![3, 1], vec![3, 4]]).run().unwrap();
    }

    #[test]
    fn refuses_axes_that_differ() {
        let error = Layer::<f32>::plan(&Concatenate::new(), &[&[2, 3], &[3, 3]]).unwrap_err().to_string();
        let expected = "concatenate: got samples of shapes 2×3 and 3×3, expected them to differ in the last axis only";
        assert_eq!(error, expected);
    }
}
