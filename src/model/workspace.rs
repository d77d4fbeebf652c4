//! The memory of a training step, and its parts: forward, loss, backward.

use ndarray::ArrayViewD;

use super::model::Model;
use crate::data::TargetsView;
use crate::graph::executor::{Executor, Io, Purpose, TrainingPass};
use crate::graph::heads::Heads;
use crate::kernels::aligned::zeros;
use crate::layers::Phase;
use crate::losses::{Loss, LossPass};
use crate::random::layer_number;
use crate::scalar::Scalar;

/// Made once for a largest batch; smaller batches use the beginnings of its buffers.
#[derive(Debug)]
pub(crate) struct Workspace<T: Scalar> {
    heads: Heads,
    executor: Executor<T>,
    losses: Vec<T>,
    /// What takes the place of the model's state if the step succeeds.
    next_state: Vec<T>,
}

/// Makes of logits what the model predicts: the Softmax that the loss has taken over.
pub(crate) fn finish_softmax<T: Scalar>(model: &Model<T>, logits: &mut [T]) {
    let classes = model.output_shape().last().expect("a sample has an axis");
    T::softmax_in_place(logits, *classes);
}

impl<T: Scalar> Workspace<T> {
    /// The memory for a batch, if there is as much.
    pub(crate) fn new(model: &Model<T>, loss: &dyn Loss<T>, batch: usize) -> Option<Self> {
        let bound = model.bound();
        let heads = Heads::new(bound.graph, |_| loss.fuses_softmax());
        let (outputs, runs) = (&heads.values[..], &heads.runs[..]);
        let executor = Executor::new(bound, Purpose { batch, phase: Phase::Training, outputs, runs })?;
        let learns = |block| !bound.layout.trainable_range(block).is_empty();
        let executor = executor.with_backward(bound, outputs, learns, false)?;
        let next_state = zeros(bound.layout.len() - bound.layout.trainable_len())?;
        Some(Self { executor, losses: zeros(batch)?, next_state, heads })
    }

    /// The largest batch it has room for.
    pub(crate) fn batch(&self) -> usize {
        self.executor.batch()
    }

    /// Whether it can be used: not after a panic in a layer.
    pub(crate) fn is_whole(&self) -> bool {
        self.executor.is_whole()
    }

    /// Where the inputs of a batch go.
    pub(crate) fn input_mut(&mut self, model: &Model<T>) -> &mut [T] {
        let batch = self.executor.batch();
        self.executor.value_mut(model.bound(), model.graph().inputs[0], batch)
    }

    /// What the model put out for the batch. After this, the pass cannot go back any more: logits that the loss was given
    /// have become probabilities.
    pub(crate) fn predictions(&mut self, model: &Model<T>, batch: usize) -> ArrayViewD<'_, T> {
        let y = self.executor.value_mut(model.bound(), self.heads.values[0], batch);
        if self.heads.from_logits[0] {
            finish_softmax(model, y);
        }
        model.batch_shapes().1.view(y, batch)
    }

    /// From the input to the last output.
    pub(crate) fn forward(&mut self, model: &Model<T>, batch: usize, step: u64) {
        self.prepare(model);
        let random = |node| layer_number(model.seed(), step, node);
        let training = TrainingPass { random: &random, next_state: &mut self.next_state };
        self.executor.forward(model.bound(), batch, Io::default(), Some(training));
    }

    /// Packs the parameters as they are now.
    pub(crate) fn prepare(&mut self, model: &Model<T>) {
        self.executor.prepare(model.bound());
    }

    /// One node of the forward pass.
    pub(crate) fn forward_node(&mut self, model: &Model<T>, node: usize, batch: usize) {
        let training = &mut TrainingPass { random: &|_| 0, next_state: &mut self.next_state };
        self.executor.forward_node(model.bound(), node, batch, &mut Io::default(), Some(training));
    }

    /// The batch's mean loss, Σ wᵢ·lᵢ / B; leaves the gradient of the last output behind.
    pub(crate) fn loss(
        &mut self,
        model: &Model<T>,
        loss: &dyn Loss<T>,
        batch: usize,
        targets: &TargetsView<'_, T>,
        weights: Option<&[T]>,
    ) -> f64 {
        let (_, output) = model.batch_shapes();
        let losses = &mut self.losses[..batch];
        let (y, dy) = self.executor.output_and_gradient(model.bound(), self.heads.values[0], 0, batch);
        loss.evaluate(LossPass {
            y: output.view(y, batch),
            from_logits: self.heads.from_logits[0],
            targets: targets.reborrow(),
            weights,
            losses: &mut *losses,
            dy: Some(output.view_mut(dy, batch)),
        });
        mean(losses)
    }

    /// From the gradient of the last output to those of all parameters.
    pub(crate) fn backward(&mut self, model: &Model<T>, batch: usize, gradients: &mut [T]) {
        self.executor.backward(model.bound(), batch, gradients);
    }

    /// What the last forward pass makes of the state.
    pub(crate) fn next_state(&self) -> &[T] {
        &self.next_state
    }

    /// The nodes that the backward pass goes through, in its order.
    pub(crate) fn backward_nodes(&self) -> impl Iterator<Item = usize> {
        (0..self.executor.backward_steps()).map(|step| self.executor.node_of_step(step))
    }

    /// One step of the backward pass.
    pub(crate) fn backward_step(&mut self, model: &Model<T>, step: usize, batch: usize, gradients: &mut [T]) {
        self.executor.backward_node(model.bound(), step, batch, gradients);
    }

    /// Sets the gradient of the output, to time a backward pass without a loss.
    pub(crate) fn start_backward(&mut self, model: &Model<T>, value: impl FnMut() -> T) {
        let len = model.batch_shapes().1.len(self.batch());
        self.executor.output_gradient(0, len).fill_with(value);
    }
}

/// The mean, summed in f64 from the first to the last.
pub(crate) fn mean<T: Scalar>(values: &[T]) -> f64 {
    let sum: f64 = values.iter().map(|value| value.to_f64().expect("f32 and f64 are f64s")).sum();
    sum / values.len() as f64
}
