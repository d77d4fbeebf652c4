//! One layer with all it needs to run.

use ndarray::{ArrayViewD, ArrayViewMutD};

use crate::error::{Error, Result};
use crate::graph::executor::{Executor, Io, Purpose as ExecutorPurpose, TrainingPass};
use crate::graph::heads::Heads;
use crate::graph::{Bound, Graph};
use crate::kernels::aligned::Aligned;
use crate::layers::{Layer, Network, Phase, Scratch, Value};
use crate::model::{Layout, Planned};
use crate::scalar::Scalar;

/// A layer by itself with inputs, outputs, parameters, gradients and working memory for a batch, to be run pass by pass.
///
/// Tests use it to look at a layer's results, benches to time its passes. It is run as in a model.
///
/// ```
/// use plywood::layers::ReLU;
/// use plywood::testing::LayerRun;
///
/// let mut run = LayerRun::<f64>::new(ReLU::new(), [3], 1, 0)?;
/// run.x_mut().assign(&plywood::ndarray::array![[-1.0, 0.0, 2.0]]);
/// run.forward();
/// assert_eq!(run.y().as_slice(), Some(&[0.0, 0.0, 2.0][..]));
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug)]
pub struct LayerRun<T: Scalar> {
    graph: Graph<T>,
    layout: Layout,
    heads: Heads,
    batch: usize,
    /// Trainable parameters, then state.
    parameters: Vec<T>,
    gradients: Vec<T>,
    next_state: Vec<T>,
    inputs: Vec<Aligned<T>>,
    outputs: Vec<Aligned<T>>,
    /// The gradients of the outputs, which a backward pass may use as it likes.
    given_dy: Vec<Aligned<T>>,
    input_gradients: Vec<Aligned<T>>,
    training: Executor<T>,
    /// The same without gradients of the inputs.
    parameters_only: Executor<T>,
    inference: Executor<T>,
    random: u64,
}

impl<T: Scalar> LayerRun<T> {
    /// Creates a run of a layer with one input, for `batch` samples of this shape. Parameters are drawn from the seed; input
    /// and output gradient are zero.
    ///
    /// # Errors
    ///
    /// Those of the layer's plan; [`Error::InvalidParameter`] for a batch of 0, [`Error::TooLarge`] for one that there is no
    /// memory for.
    pub fn new(layer: impl Layer<T>, sample: impl AsRef<[usize]>, batch: usize, seed: u64) -> Result<Self> {
        Self::with_inputs(layer, &[sample.as_ref()], batch, seed)
    }

    /// Creates a run of a layer with any number of inputs.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_inputs(layer: impl Layer<T>, samples: &[&[usize]], batch: usize, seed: u64) -> Result<Self> {
        check_batch(batch, usize::MAX)?;
        let owner = layer.kind().to_owned();
        let inputs: Vec<Value<T>> = samples.iter().map(|&sample| Value::with_input(sample)).collect();
        let output = Value::of(layer, &inputs);
        let planned = Planned::new(Network::between(&inputs, &[output]).with_all_outputs())?;
        let parameters = planned.draw(seed)?;
        let (graph, layout) = planned.into_graph();
        let heads = Heads::plain(&graph);
        let bound = Bound { graph: &graph, layout: &layout, values: &parameters };
        let (outputs, runs) = (&heads.values[..], &heads.runs[..]);
        let executor = |phase| Executor::new(bound, ExecutorPurpose { batch, phase, outputs, runs });
        let training = |of_inputs| executor(Phase::Training)?.with_backward(bound, outputs, |_| true, of_inputs);
        let buffers = |values: &[usize]| {
            let lens = values.iter().map(|&value| graph.shape(value).len(1).checked_mul(batch));
            lens.map(|len| Aligned::try_new(len?)).collect::<Option<Vec<_>>>()
        };
        let memory = || {
            let (inputs, outputs, given_dy) =
                (buffers(&graph.inputs)?, buffers(&graph.outputs)?, buffers(&graph.outputs)?);
            let input_gradients = buffers(&graph.inputs)?;
            Some((
                inputs,
                outputs,
                given_dy,
                input_gradients,
                [training(true)?, training(false)?],
                executor(Phase::Inference)?,
            ))
        };
        let memory = memory().ok_or(Error::TooLarge { owner, what: "the working memory of a batch" })?;
        let (inputs, outputs, given_dy, input_gradients, [training, parameters_only], inference) = memory;
        Ok(Self {
            batch,
            inputs,
            outputs,
            given_dy,
            input_gradients,
            training,
            parameters_only,
            inference,
            gradients: vec![T::zero(); layout.trainable_len()],
            next_state: vec![T::zero(); layout.len() - layout.trainable_len()],
            random: 0,
            heads,
            parameters,
            layout,
            graph,
        })
    }

    /// Returns the number of samples.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Goes on with this many samples, in the beginnings of the buffers there are: as a model does with the last batch of
    /// an epoch.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`] for 0, and if it was not made for as many.
    pub fn set_batch(&mut self, batch: usize) -> Result<()> {
        check_batch(batch, self.training.batch())?;
        self.batch = batch;
        Ok(())
    }

    /// Sets the number that the next passes give to layers that draw random numbers; 0 at first.
    pub fn set_training_number(&mut self, number: u64) {
        self.random = number;
    }

    /// Packs the parameters and computes the outputs as in training. Returns nothing: see [`y`](Self::y).
    pub fn forward(&mut self) {
        let bound = Bound { graph: &self.graph, layout: &self.layout, values: &self.parameters };
        for executor in [&mut self.training, &mut self.parameters_only] {
            for (&input, x) in self.graph.inputs.iter().zip(&self.inputs) {
                let to = executor.value_mut(bound, input, self.batch);
                to.copy_from_slice(&x.as_slice()[..to.len()]);
            }
            executor.prepare(bound);
            let training = TrainingPass { random: &|_| self.random, next_state: &mut self.next_state };
            executor.forward(bound, self.batch, Io::default(), Some(training));
        }
        for (&value, y) in self.graph.outputs.iter().zip(&mut self.outputs) {
            let from = self.training.value(bound, value, self.batch);
            y.as_mut_slice()[..from.len()].copy_from_slice(from);
        }
    }

    /// Packs the parameters and computes the outputs as in prediction, with the working memory of that. No backward pass
    /// may follow.
    pub fn infer(&mut self) {
        let bound = Bound { graph: &self.graph, layout: &self.layout, values: &self.parameters };
        self.inference.prepare(bound);
        let inputs: Vec<&[T]> = self.inputs.iter().map(Aligned::as_slice).collect();
        let mut outputs: Vec<&mut [T]> = self.outputs.iter_mut().map(Aligned::as_mut_slice).collect();
        self.inference.forward(bound, self.batch, Io { inputs: &inputs, outputs: &mut outputs }, None);
    }

    /// Computes the gradients for the last forward pass, with or without those of the inputs.
    pub fn backward(&mut self, input_gradients: bool) {
        let bound = Bound { graph: &self.graph, layout: &self.layout, values: &self.parameters };
        let executor = if input_gradients { &mut self.training } else { &mut self.parameters_only };
        for (number, (&value, dy)) in self.heads.values.iter().zip(&self.given_dy).enumerate() {
            let len = self.graph.shape(value).len(self.batch);
            executor.output_gradient(number, len).copy_from_slice(&dy.as_slice()[..len]);
        }
        executor.backward(bound, self.batch, &mut self.gradients);
        for (number, dx) in self.input_gradients.iter_mut().enumerate() {
            if let Some(from) = executor.input_gradient(number) {
                let len = self.graph.shape(self.graph.inputs[number]).len(self.batch);
                dx.as_mut_slice()[..len].copy_from_slice(&from[..len]);
            }
        }
    }

    /// Fills with NaN whatever a forward and a backward pass have to overwrite, and all working memory.
    pub fn spoil(&mut self) {
        for executor in [&mut self.training, &mut self.parameters_only, &mut self.inference] {
            executor.spoil();
        }
        let buffers = self.outputs.iter_mut().chain(&mut self.input_gradients);
        buffers.for_each(|buffer| buffer.as_mut_slice().fill(T::nan()));
        self.gradients.fill(T::nan());
        self.next_state.fill(T::nan());
    }

    /// Whether in training a sample's output depends on its batch.
    pub(super) fn mixes_samples(&self) -> bool {
        self.graph.nodes.iter().any(|node| node.mixes_samples)
    }

    /// Returns the working memory that the layer asks for, for a batch of any size; of a layer that is made of others, the
    /// largest of theirs.
    pub fn scratch(&self, batch: usize, phase: Phase) -> Scratch {
        self.graph.nodes.iter().map(|node| node.op.scratch(batch, phase)).fold(Scratch::default(), Scratch::or_more)
    }

    /// Sets the inputs to these values: for each sample those of all inputs.
    pub(super) fn load_inputs(&mut self, values: impl Iterator<Item = T>) {
        let lens: Vec<usize> = self.graph.inputs.iter().map(|&input| self.graph.shape(input).len(1)).collect();
        scatter(values, self.batch, &lens, &mut self.inputs);
    }

    /// Sets the gradients of the outputs to these values: for each sample those of all outputs.
    pub(super) fn load_output_gradients(&mut self, values: impl Iterator<Item = T>) {
        let lens: Vec<usize> = self.graph.outputs.iter().map(|&output| self.graph.shape(output).len(1)).collect();
        scatter(values, self.batch, &lens, &mut self.given_dy);
    }

    /// For each sample all outputs.
    pub(super) fn collect_outputs(&self) -> Vec<T> {
        let lens: Vec<usize> = self.graph.outputs.iter().map(|&output| self.graph.shape(output).len(1)).collect();
        gather(self.batch, &lens, &self.outputs)
    }

    /// For each sample the gradients of all inputs.
    pub(super) fn collect_input_gradients(&self) -> Vec<T> {
        let lens: Vec<usize> = self.graph.inputs.iter().map(|&input| self.graph.shape(input).len(1)).collect();
        gather(self.batch, &lens, &self.input_gradients)
    }

    /// Elements of all inputs, and of all outputs.
    pub(super) fn lens(&self) -> [usize; 2] {
        let len = |values: &[usize]| values.iter().map(|&value| self.graph.shape(value).len(self.batch)).sum();
        [len(&self.graph.inputs), len(&self.graph.outputs)]
    }

    /// Returns the number of inputs.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Returns the first input.
    pub fn x(&self) -> ArrayViewD<'_, T> {
        self.input(0)
    }

    /// Returns the first input, to be set.
    pub fn x_mut(&mut self) -> ArrayViewMutD<'_, T> {
        self.input_mut(0)
    }

    /// Returns the input of this number.
    pub fn input(&self, number: usize) -> ArrayViewD<'_, T> {
        self.graph.shape(self.graph.inputs[number]).view(self.inputs[number].as_slice(), self.batch)
    }

    /// Returns the input of this number, to be set.
    pub fn input_mut(&mut self, number: usize) -> ArrayViewMutD<'_, T> {
        self.graph.shape(self.graph.inputs[number]).view_mut(self.inputs[number].as_mut_slice(), self.batch)
    }

    /// Returns the number of outputs.
    pub fn output_count(&self) -> usize {
        self.outputs.len()
    }

    /// Returns the first output of the last forward pass.
    pub fn y(&self) -> ArrayViewD<'_, T> {
        self.output(0)
    }

    /// Returns the first output of the last forward pass, to be spoiled by who wants to see it written.
    pub fn y_mut(&mut self) -> ArrayViewMutD<'_, T> {
        self.graph.shape(self.graph.outputs[0]).view_mut(self.outputs[0].as_mut_slice(), self.batch)
    }

    /// Returns the output of this number of the last forward pass.
    pub fn output(&self, number: usize) -> ArrayViewD<'_, T> {
        self.graph.shape(self.graph.outputs[number]).view(self.outputs[number].as_slice(), self.batch)
    }

    /// Returns the gradient of the first output, to be set.
    pub fn dy_mut(&mut self) -> ArrayViewMutD<'_, T> {
        self.output_gradient_mut(0)
    }

    /// Returns the gradient of the output of this number, to be set.
    pub fn output_gradient_mut(&mut self, number: usize) -> ArrayViewMutD<'_, T> {
        self.graph.shape(self.graph.outputs[number]).view_mut(self.given_dy[number].as_mut_slice(), self.batch)
    }

    /// Returns the gradient of the first input from the last backward pass that was asked for it.
    pub fn dx(&self) -> ArrayViewD<'_, T> {
        self.input_gradient(0)
    }

    /// Returns the gradient of the first input, to be spoiled by who wants to see it written.
    pub fn dx_mut(&mut self) -> ArrayViewMutD<'_, T> {
        self.graph.shape(self.graph.inputs[0]).view_mut(self.input_gradients[0].as_mut_slice(), self.batch)
    }

    /// Returns the gradient of the input of this number from the last backward pass that was asked for it.
    pub fn input_gradient(&self, number: usize) -> ArrayViewD<'_, T> {
        self.graph.shape(self.graph.inputs[number]).view(self.input_gradients[number].as_slice(), self.batch)
    }

    /// Returns names, shapes and ranges of parameters and gradients.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns all parameters, the trainable ones first.
    pub fn parameters(&self) -> &[T] {
        &self.parameters
    }

    /// Returns all parameters, to be set.
    pub fn parameters_mut(&mut self) -> &mut [T] {
        &mut self.parameters
    }

    /// Returns the gradients of all trainable parameters from the last backward pass.
    pub fn gradients(&self) -> &[T] {
        &self.gradients
    }

    /// Returns the gradients, to be spoiled by who wants to see them written.
    pub fn gradients_mut(&mut self) -> &mut [T] {
        &mut self.gradients
    }

    /// Returns what the last training pass makes of the state.
    pub fn next_state(&self) -> &[T] {
        &self.next_state
    }
}

/// Values of each sample, one buffer's after the other's, to where they belong.
fn scatter<T: Scalar>(mut values: impl Iterator<Item = T>, batch: usize, lens: &[usize], buffers: &mut [Aligned<T>]) {
    for sample in 0..batch {
        for (&len, buffer) in lens.iter().zip(&mut *buffers) {
            let to = &mut buffer.as_mut_slice()[sample * len..][..len];
            to.iter_mut().zip(&mut values).for_each(|(to, value)| *to = value);
        }
    }
}

/// The way back.
fn gather<T: Scalar>(batch: usize, lens: &[usize], buffers: &[Aligned<T>]) -> Vec<T> {
    let mut values = vec![];
    for sample in 0..batch {
        for (&len, buffer) in lens.iter().zip(buffers) {
            values.extend_from_slice(&buffer.as_slice()[sample * len..][..len]);
        }
    }
    values
}

/// Whether there can be a batch of this many samples.
fn check_batch(batch: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&batch) {
        return Ok(());
    }
    let expected = if batch == 0 { "at least 1" } else { "at most the samples that it was made for" };
    Err(Error::invalid_parameter("LayerRun", "batch", batch, expected))
}
