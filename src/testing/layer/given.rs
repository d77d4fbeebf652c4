//! What a layer is given, and what it makes of it.

use std::ops::Range;

use super::LayerCheck;
use crate::layers::Layer;
use crate::scalar::Scalar;
use crate::testing::LayerRun;
use crate::testing::numbers::{Draw, Spacing, of_f64, same_bits};

/// What the layer is given.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) batch: usize,
    pub(super) x: Vec<f64>,
    pub(super) parameters: Vec<f64>,
    pub(super) dy: Vec<f64>,
}

/// What the layer makes of it.
#[derive(Debug)]
pub(super) struct Made<T> {
    pub(super) y: Vec<T>,
    pub(super) dx: Vec<T>,
    pub(super) gradients: Vec<T>,
    pub(super) next_state: Vec<T>,
}

impl<L: Layer<f32> + Layer<f64> + Clone> LayerCheck<L> {
    pub(super) fn run_of<T: Scalar>(&self, batch: usize) -> crate::Result<LayerRun<T>>
    where
        L: Layer<T>,
    {
        LayerRun::with_inputs(self.layer.clone(), &self.shapes(), batch, self.seed)
    }

    /// A run for the whole batch, loaded.
    pub(super) fn loaded<T: Scalar>(&self, given: &Given) -> LayerRun<T>
    where
        L: Layer<T>,
    {
        let mut run = self.run_of(self.batch).expect("the shape was planned");
        given.load(&mut run);
        run
    }

    /// Input, parameters and output gradient of the whole batch; each `stream` has others.
    pub(super) fn given(&self, stream: u64, spacing: Spacing) -> Given {
        self.given_for(self.batch, stream, spacing)
    }

    /// The same for so many samples.
    pub(super) fn given_for(&self, batch: usize, stream: u64, spacing: Spacing) -> Given {
        let mut draw = Draw::new(self.seed, stream);
        let run = self.run_of::<f64>(batch).expect("the shape was planned");
        let parameters = match self.parameters {
            Some(range) => draw.numbers(run.parameters().len(), range, spacing),
            // off what initializers make them, or zeros would hide what they are multiplied by
            None => run.parameters().iter().map(|&p| spacing.round(p + draw.number([-0.5, 0.5]))).collect(),
        };
        let [inputs, outputs] = run.lens();
        let x = draw.numbers(inputs, self.inputs, spacing);
        let dy_spacing = if spacing == Spacing::Coarse { Spacing::Fine } else { spacing };
        Given { batch, x, parameters, dy: draw.numbers(outputs, [-1.0, 1.0], dy_spacing) }
    }
}

impl Given {
    /// Loads a run with these numbers.
    pub(super) fn load<T: Scalar>(&self, run: &mut LayerRun<T>) {
        run.load_inputs(self.x.iter().map(|&x| T::of(x)));
        run.load_output_gradients(self.dy.iter().map(|&dy| T::of(dy)));
        run.parameters_mut().copy_from_slice(&of_f64::<T>(&self.parameters));
    }

    /// One of the samples by itself.
    pub(super) fn sample(&self, sample: usize) -> Self {
        self.samples(sample..sample + 1)
    }

    /// Some of the samples by themselves.
    pub(super) fn samples(&self, samples: Range<usize>) -> Self {
        let of_samples = |values: &[f64]| {
            let len = values.len() / self.batch;
            values[samples.start * len..samples.end * len].to_vec()
        };
        Self {
            batch: samples.len(),
            x: of_samples(&self.x),
            dy: of_samples(&self.dy),
            parameters: self.parameters.clone(),
        }
    }
}

impl<T: Scalar> Made<T> {
    /// Spoils everything, and runs both passes.
    pub(super) fn by(run: &mut LayerRun<T>) -> Self {
        run.spoil();
        run.forward();
        run.backward(true);
        Self::of(run)
    }

    pub(super) fn of(run: &LayerRun<T>) -> Self {
        Self {
            y: run.collect_outputs(),
            dx: run.collect_input_gradients(),
            gradients: run.gradients().to_vec(),
            next_state: run.next_state().to_vec(),
        }
    }

    pub(super) fn same(&self, expected: &Self, when: &str) -> Result<(), String> {
        same_bits(&format!("{when}, y"), &self.y, &expected.y)?;
        same_bits(&format!("{when}, dx"), &self.dx, &expected.dx)?;
        same_bits(&format!("{when}, gradients"), &self.gradients, &expected.gradients)?;
        same_bits(&format!("{when}, the next state"), &self.next_state, &expected.next_state)
    }
}
