//! Normalization over a batch.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::kernels::normalization::ColumnTasks;
use crate::layers::{Backward, Block, BlockMut, Forward, Layer, Op, ParameterSpec, Phase, Plan, Scratch, single_input};
use crate::scalar::Scalar;

/// Brings each channel to mean 0 and variance 1 over the batch, then to a learned mean and scale.
///
/// y = γ ⊙ (x − μ) / √(σ² + ε) + β, elementwise for each channel of the last axis.
///
/// In training μ and σ² are the mean and the variance (divided by n) of all values that the batch has of the channel, and
/// gradients flow through both. Running means of them are kept, m ← momentum·m + (1 − momentum)·μ, and take their
/// place in prediction, so that there a sample does not depend on its batch.
///
/// # Shapes
///
/// x and y `[batch, …, channels]`; parameters `gamma` γ and `beta` β `[channels]`, states `moving_mean` and
/// `moving_variance` `[channels]`.
///
/// # Parameters
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | [`momentum`](Self::momentum) | 0.99 | 0 to 1 | the part of a running mean that a step keeps; PyTorch's momentum is 1 minus this |
/// | [`epsilon`](Self::epsilon) | 10⁻³ | above 0 | added to the variance, within the root |
/// | [`center`](Self::center) | `true` | | whether β is added |
/// | [`scale`](Self::scale) | `true` | | whether γ is multiplied with |
///
/// # Errors
///
/// At build: [`Error::InvalidParameter`] for settings out of range, [`Error::InputShape`] for samples without an axis.
///
/// # Source
///
/// Ioffe and Szegedy, 2015; `keras/src/layers/normalization/batch_normalization.py`, Keras 3.15. PyTorch divides the
/// running variance by n − 1.
///
/// ```
/// use plywood::layers::BatchNormalization;
/// use plywood::prelude::*;
///
/// let model = Sequential::input([8, 8, 3])
///     .add(Conv2D::new(16, 3).bias(false))
///     .add(BatchNormalization::new())
///     .add(ReLU::new())
///     .build(42)?;
/// assert_eq!(model.parameter("batch_normalization/moving_variance")?.sum(), 16.0);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNormalization {
    pub(crate) momentum: f64,
    pub(crate) epsilon: f64,
    pub(crate) center: bool,
    pub(crate) scale: bool,
}

impl BatchNormalization {
    /// Creates a normalization with momentum 0.99 and ε = 10⁻³ that scales and centers.
    pub fn new() -> Self {
        Self { momentum: 0.99, epsilon: 1e-3, center: true, scale: true }
    }

    /// Sets the part of a running mean that a step keeps.
    pub fn momentum(self, momentum: f64) -> Self {
        Self { momentum, ..self }
    }

    /// Sets what is added to the variance.
    pub fn epsilon(self, epsilon: f64) -> Self {
        Self { epsilon, ..self }
    }

    /// Sets whether β is added.
    pub fn center(self, center: bool) -> Self {
        Self { center, ..self }
    }

    /// Sets whether γ is multiplied with.
    pub fn scale(self, scale: bool) -> Self {
        Self { scale, ..self }
    }
}

impl<T: Scalar> Layer<T> for BatchNormalization {
    fn kind(&self) -> &'static str {
        "batch_normalization"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        let kind = "batch_normalization";
        let input = single_input(kind, inputs)?;
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Error::invalid_parameter(kind, "momentum", self.momentum, "0 to 1"));
        }
        if !(T::of(self.epsilon) > T::zero() && T::of(self.epsilon).is_finite()) {
            return Err(Error::invalid_parameter(kind, "epsilon", self.epsilon, "a finite number above 0"));
        }
        let Some(&channels) = input.last() else {
            return Err(Error::InputShape {
                layer: kind.to_owned(),
                got: vec![],
                expected: "[…, channels]",
                help: "put a layer before it that puts out features or channels".to_owned(),
            });
        };
        let elements = crate::shape::elements(input)
            .ok_or_else(|| Error::TooLarge { owner: kind.to_owned(), what: "a sample" })?;
        let rows = elements / channels.max(1);
        let op = BatchNormalizationOp { settings: self.clone(), channels, rows };
        let mut plan = Plan::new(input, op).mixes_samples();
        if self.scale {
            plan = plan.parameter(ParameterSpec::new("gamma", [channels], Initializer::Ones));
        }
        if self.center {
            plan = plan.parameter(ParameterSpec::new("beta", [channels], Initializer::Zeros));
        }
        Ok(plan
            .parameter(ParameterSpec::state("moving_mean", [channels], Initializer::Zeros))
            .parameter(ParameterSpec::state("moving_variance", [channels], Initializer::Ones)))
    }
}

/// Batch normalization of samples that have `rows` values of each channel.
#[derive(Debug, Clone)]
struct BatchNormalizationOp {
    settings: BatchNormalization,
    channels: usize,
    rows: usize,
}

/// γ and β, where the layer has them.
struct Affine<P> {
    gamma: Option<P>,
    beta: Option<P>,
}

impl BatchNormalizationOp {
    fn affine<'a, T: Scalar>(&self, parameters: Block<'a, T>) -> Affine<&'a [T]> {
        match (self.settings.scale, self.settings.center) {
            (true, true) => {
                let [gamma, beta] = parameters.split_slices();
                Affine { gamma: Some(gamma), beta: Some(beta) }
            }
            (true, false) => Affine { gamma: Some(parameters.split_slices::<1>()[0]), beta: None },
            (false, true) => Affine { gamma: None, beta: Some(parameters.split_slices::<1>()[0]) },
            (false, false) => Affine { gamma: None, beta: None },
        }
    }

    fn affine_mut<'a, T: Scalar>(&self, gradients: BlockMut<'a, T>) -> Affine<&'a mut [T]> {
        match (self.settings.scale, self.settings.center) {
            (true, true) => {
                let [gamma, beta] = gradients.split_slices();
                Affine { gamma: Some(gamma), beta: Some(beta) }
            }
            (true, false) => {
                let [gamma] = gradients.split_slices();
                Affine { gamma: Some(gamma), beta: None }
            }
            (false, true) => {
                let [beta] = gradients.split_slices();
                Affine { gamma: None, beta: Some(beta) }
            }
            (false, false) => Affine { gamma: None, beta: None },
        }
    }

    fn tasks(&self, batch: usize) -> ColumnTasks {
        ColumnTasks::new(batch * self.rows, self.channels)
    }
}

impl<T: Scalar> Op<T> for BatchNormalizationOp {
    /// The mean and 1/√(σ² + ε) of each channel, two more rows to work with, and the tasks' sums.
    fn scratch(&self, batch: usize, phase: Phase) -> Scratch {
        let sums = match phase {
            Phase::Inference => 0,
            Phase::Training => self.tasks(batch).sums_len(),
        };
        Scratch { values: 4 * self.channels + sums, indices: 0 }
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        let n = self.channels;
        let tasks = self.tasks(pass.x.batch());
        let (x, y) = (pass.x.slice(), pass.y.slice_mut());
        let [moving_mean, moving_variance] = pass.state.split_slices();
        let (statistics, sums) = pass.scratch.values.split_at_mut(4 * n);
        let (mean, rest) = statistics.split_at_mut(n);
        let (inverse, rest) = rest.split_at_mut(n);
        let (scale, spare) = rest.split_at_mut(n);
        let epsilon = T::of(self.settings.epsilon);
        match pass.training {
            None => {
                mean.copy_from_slice(moving_mean);
                inverse.copy_from_slice(moving_variance);
            }
            Some(training) => {
                T::column_mean_and_variance(&tasks, x, [mean, inverse, spare], sums);
                let (keep, take) = (T::of(self.settings.momentum), T::of(1.0 - self.settings.momentum));
                let [next_mean, next_variance] = training.next_state.split_slices();
                let moved = |next: &mut [T], old: &[T], new: &[T]| {
                    let values = next.iter_mut().zip(old).zip(new);
                    values.for_each(|((next, &old), &new)| *next = keep * old + take * new);
                };
                moved(next_mean, moving_mean, mean);
                moved(next_variance, moving_variance, inverse);
            }
        }
        inverse.iter_mut().for_each(|variance| *variance = (*variance + epsilon).sqrt().recip());
        let Affine { gamma, beta } = self.affine(pass.parameters);
        scale.copy_from_slice(inverse);
        if let Some(gamma) = gamma {
            scale.iter_mut().zip(gamma).for_each(|(scale, &gamma)| *scale *= gamma);
        }
        T::normalize_columns(&tasks, x, mean, scale, beta, y);
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        let n = self.channels;
        let tasks = self.tasks(pass.x.batch());
        let (x, dy) = (pass.x.slice(), &*pass.dy.slice_mut());
        let (statistics, sums) = pass.scratch.values.split_at_mut(4 * n);
        let (statistics, work) = statistics.split_at_mut(2 * n);
        let (mean, inverse) = statistics.split_at(n);
        let (dbeta, dgamma) = work.split_at_mut(n);
        T::normalization_sums(&tasks, [x, dy], [mean, inverse], [dbeta, dgamma], sums);
        let Affine { gamma, .. } = self.affine(pass.parameters);
        let gradients = self.affine_mut(pass.gradients);
        if let Some(gradient) = gradients.gamma {
            gradient.copy_from_slice(dgamma);
        }
        if let Some(gradient) = gradients.beta {
            gradient.copy_from_slice(dbeta);
        }
        if let Some(dx) = pass.dx.into_slice() {
            T::normalization_input_gradient(&tasks, [x, dy], [mean, inverse], gamma, [dbeta, dgamma], dx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{LayerCheck, check_layer};

    #[test]
    fn owes_nothing() {
        check_layer(BatchNormalization::new(), [3]).unwrap();
        check_layer(BatchNormalization::new().center(false).momentum(0.5), [2, 3, 5]).unwrap();
        check_layer(BatchNormalization::new().scale(false).epsilon(1e-5), [4]).unwrap();
        LayerCheck::new(BatchNormalization::new().scale(false).center(false), [7, 2]).batch(5).run().unwrap();
    }
}
