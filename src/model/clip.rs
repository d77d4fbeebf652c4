//! Gradients that are kept from growing too large.

use crate::error::{Error, Result};
use crate::kernels::parallel::{Chunks, each_task};
use crate::optimizers::{Group, PIECE};
use crate::scalar::Scalar;

/// How gradients are made smaller before the optimizer sees them: see [`Trainer::clip`](crate::Trainer::clip).
///
/// Of frozen parameters there are no gradients. One that is infinite or NaN is left as it is, so that the step is refused.
///
/// Source: `keras/src/optimizers/base_optimizer.py`, Keras 3.15 (`clipvalue`, `clipnorm`, `global_clipnorm`); PyTorch's
/// `clip_grad_value_` and `clip_grad_norm_`, which is the global norm.
///
/// ```
/// use plywood::model::Clip;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// let layer = Dense::new(1).bias(false).kernel_initializer(Initializer::Zeros);
/// let model = Sequential::input([2]).add(layer).build(42)?;
/// let mut trainer = model.compile(SGD::new(1.0), MeanSquaredError).clip(Clip::GlobalNorm(1.0))?;
/// trainer.train_step(&array![[30.0, 40.0]], &array![[1.0]])?; // a gradient of −60 and −80
/// let w = trainer.model().values();
/// assert!((w[0] - 0.6).abs() < 1e-6 && (w[1] - 0.8).abs() < 1e-6);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clip {
    /// Each element to between −c and c.
    Value(f64),
    /// The gradient of each parameter to a Euclidean norm of at most c.
    Norm(f64),
    /// All gradients together to a Euclidean norm of at most c.
    GlobalNorm(f64),
}

impl Clip {
    pub(crate) fn check(self) -> Result<()> {
        let (Self::Value(most) | Self::Norm(most) | Self::GlobalNorm(most)) = self;
        if most > 0.0 && most.is_finite() {
            return Ok(());
        }
        Err(Error::invalid_parameter("trainer", "clip", most, "a finite number above 0"))
    }

    /// Clips the gradients of all parameters that are in a group. `parameters` are their ranges, in order.
    pub(crate) fn apply<T: Scalar>(
        self,
        gradients: &mut [T],
        groups: &[Group],
        parameters: impl Iterator<Item = std::ops::Range<usize>>,
    ) {
        match self {
            Self::Value(most) => {
                let most = T::of(most);
                for group in groups {
                    // comparisons that let NaN pass
                    let clip = |g: T| {
                        if g > most {
                            most
                        } else if g < -most {
                            -most
                        } else {
                            g
                        }
                    };
                    each_element(&mut gradients[group.range.clone()], &clip);
                }
            }
            Self::Norm(most) => {
                let learns = |range: &std::ops::Range<usize>| {
                    groups.iter().any(|group| group.range.start <= range.start && range.end <= group.range.end)
                };
                for range in parameters.filter(learns) {
                    let gradient = &mut gradients[range];
                    let norm = sum_of_squares(gradient).sqrt();
                    scale(gradient, most, norm);
                }
            }
            Self::GlobalNorm(most) => {
                let squares = groups.iter().map(|group| sum_of_squares(&gradients[group.range.clone()]));
                let norm = squares.sum::<f64>().sqrt();
                for group in groups {
                    scale(&mut gradients[group.range.clone()], most, norm);
                }
            }
        }
    }
}

fn scale<T: Scalar>(gradient: &mut [T], most: f64, norm: f64) {
    if norm > most && norm.is_finite() {
        let factor = T::of(most / norm);
        each_element(gradient, &|g| g * factor);
    }
}

fn each_element<T: Scalar>(values: &mut [T], function: &(impl Fn(T) -> T + Sync)) {
    each_task(0..values.len().div_ceil(PIECE), Chunks::new(values, PIECE), &|_, values| {
        values.slice.iter_mut().for_each(|value| *value = function(*value));
    });
}

/// Σ x² in f64: each piece from the first to the last, and these by halves.
fn sum_of_squares<T: Scalar>(values: &[T]) -> f64 {
    if values.len() <= PIECE {
        return values.iter().map(|value| value.to_f64().expect("f32 and f64 are f64s").powi(2)).sum();
    }
    let (first, second) = values.split_at(values.len().div_ceil(PIECE) / 2 * PIECE);
    let (first, second) = rayon::join(|| sum_of_squares(first), || sum_of_squares(second));
    first + second
}
