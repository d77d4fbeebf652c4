//! The first half of a training step: from a batch to the gradients of all parameters and the next state, by way of as many
//! micro-batches as are asked for.

use std::ops::Range;

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

/// Made once for a largest micro-batch; smaller ones use the beginnings of its buffers.
#[derive(Debug)]
pub(crate) struct Workspace<T: Scalar> {
    passes: Passes<T>,
    /// What takes the place of the model's state if the step succeeds.
    next_state: Vec<T>,
    /// What the second halves of the tree over micro-batches give, one for each level.
    levels: Vec<Given<T>>,
}

/// What a part of a batch gives.
#[derive(Debug)]
struct Given<T> {
    gradients: Vec<T>,
    next_state: Vec<T>,
}

/// The passes over one micro-batch.
#[derive(Debug)]
struct Passes<T: Scalar> {
    heads: Heads,
    executor: Executor<T>,
    losses: Vec<T>,
    /// Which parameters' gradients are used, as the model said when this was made.
    frozen: Vec<bool>,
}

/// The samples of a step.
pub(crate) struct Batch<'a, T> {
    pub(crate) samples: usize,
    /// Micro-batches: parts that follow one another and are equally long, or differ by one sample.
    pub(crate) parts: usize,
    /// Writes the inputs of some of the samples.
    pub(crate) write_inputs: &'a (dyn Fn(Range<usize>, &mut [T]) + Sync),
    pub(crate) targets: TargetsView<'a, T>,
    pub(crate) weights: Option<&'a [T]>,
}

impl<T> Batch<'_, T> {
    /// The samples of some parts.
    fn samples_of(&self, parts: Range<usize>) -> Range<usize> {
        let start = |part: usize| self.samples * part / self.parts;
        start(parts.start)..start(parts.end)
    }
}

/// What is the same for all parts of a step.
pub(crate) struct Step<'a, 'b, T: Scalar> {
    pub(crate) model: &'a Model<T>,
    pub(crate) loss: &'a dyn Loss<T>,
    /// Steps taken before.
    pub(crate) step: u64,
    pub(crate) batch: &'a Batch<'b, T>,
    /// Whether to go on where the loss is not finite.
    pub(crate) regardless: bool,
}

/// Is told what the model predicts of some samples, and their targets.
pub(crate) type Predicted<'a, T> = &'a mut dyn FnMut(ArrayViewD<'_, T>, &TargetsView<'_, T>);

/// Makes of logits what the model predicts: the Softmax that the loss has taken over.
pub(crate) fn finish_softmax<T: Scalar>(model: &Model<T>, logits: &mut [T]) {
    let classes = model.output_shape().last().expect("a sample has an axis");
    T::softmax_in_place(logits, *classes);
}

impl<T: Scalar> Workspace<T> {
    /// The memory for batches of up to `samples`, cut into `parts`, if there is as much.
    pub(crate) fn new(model: &Model<T>, loss: &dyn Loss<T>, samples: usize, parts: usize) -> Option<Self> {
        let layout = model.layout();
        let [trainable, state] = [layout.trainable_len(), layout.len() - layout.trainable_len()];
        // levels of a tree with so many leaves
        let levels = parts.next_power_of_two().trailing_zeros();
        let level = |_| Some(Given { gradients: zeros(trainable)?, next_state: zeros(state)? });
        Some(Self {
            passes: Passes::new(model, loss, samples.div_ceil(parts))?,
            next_state: zeros(state)?,
            levels: (0..levels).map(level).collect::<Option<_>>()?,
        })
    }

    /// Whether it serves batches of so many samples in so many parts of this model: not after a panic in a layer.
    pub(crate) fn serves(&self, model: &Model<T>, samples: usize, parts: usize) -> bool {
        let levels = parts.next_power_of_two().trailing_zeros() as usize;
        let Passes { executor, frozen, .. } = &self.passes;
        executor.batch() >= samples.div_ceil(parts)
            && self.levels.len() >= levels
            && frozen == model.frozen()
            && executor.is_whole()
    }

    /// The largest micro-batch it has room for.
    pub(crate) fn batch(&self) -> usize {
        self.passes.executor.batch()
    }

    /// Computes the gradients and the next state, and returns the batch's mean loss, Σ wᵢ·lᵢ / B. Where that is not finite,
    /// there are no gradients, unless `regardless`.
    ///
    /// What the parts give is added along a binary tree that depends on their number alone: the first half of the parts,
    /// one more if it is odd, and the second.
    pub(crate) fn differentiate<'a>(
        &'a mut self,
        step: &'a Step<'a, '_, T>,
        gradients: &mut [T],
        predicted: Option<Predicted<'a, T>>,
    ) -> f64 {
        let Self { passes, next_state, levels } = self;
        passes.executor.prepare(step.model.bound());
        let mut tree = Tree { passes, step, predicted, is_finite: true };
        let sum = tree.sum(0..step.batch.parts, levels, gradients, next_state);
        sum / step.batch.samples as f64
    }

    /// What the last step makes of the state.
    pub(crate) fn next_state(&self) -> &[T] {
        &self.next_state
    }
}

/// The parts of a batch, on their way to one sum.
struct Tree<'a, 'b, T: Scalar> {
    passes: &'a mut Passes<T>,
    step: &'a Step<'a, 'b, T>,
    predicted: Option<Predicted<'a, T>>,
    /// Whether all losses so far are finite, or do not have to be.
    is_finite: bool,
}

impl<T: Scalar> Tree<'_, '_, T> {
    /// Writes what these parts give together, and returns the sum of their losses.
    fn sum(&mut self, parts: Range<usize>, levels: &mut [Given<T>], gradients: &mut [T], next_state: &mut [T]) -> f64 {
        if parts.len() == 1 {
            return self.part(parts.start, gradients, next_state);
        }
        let middle = parts.start + parts.len().div_ceil(2);
        let first = self.sum(parts.start..middle, levels, gradients, next_state);
        let (second, levels) = levels.split_first_mut().expect("there is one for each level");
        let Given { gradients: more_gradients, next_state: more_state } = second;
        let second = self.sum(middle..parts.end, levels, more_gradients, more_state);
        T::accumulate(more_gradients, gradients);

        let samples = |parts| self.step.batch.samples_of(parts).len() as f64;
        let share = samples(middle..parts.end) / samples(parts);
        let (kept, taken) = (T::of(1.0 - share), T::of(share));
        next_state.iter_mut().zip(more_state).for_each(|(next, more)| *next = kept * *next + taken * *more);
        first + second
    }

    /// One part, forward and backward.
    fn part(&mut self, part: usize, gradients: &mut [T], next_state: &mut [T]) -> f64 {
        let Step { model, batch, regardless, .. } = *self.step;
        let samples = batch.samples_of(part..part + 1);
        let count = samples.len();
        self.passes.forward(self.step, part, samples.clone(), next_state);
        let targets = match batch.parts {
            1 => batch.targets.reborrow(),
            _ => batch.targets.slice(samples.clone()),
        };
        let weights = batch.weights.map(|weights| &weights[samples]);
        let sum = self.passes.loss(self.step, count, &targets, weights);
        self.is_finite &= sum.is_finite() || regardless;
        if self.is_finite {
            self.passes.executor.backward(model.bound(), count, gradients);
        }
        if let Some(predicted) = &mut self.predicted {
            predicted(self.passes.predictions(model, count), &targets);
        }
        sum
    }
}

impl<T: Scalar> Passes<T> {
    fn new(model: &Model<T>, loss: &dyn Loss<T>, batch: usize) -> Option<Self> {
        let bound = model.bound();
        let heads = Heads::new(bound.graph, |_| loss.fuses_softmax());
        let (outputs, runs) = (&heads.values[..], &heads.runs[..]);
        let executor = Executor::new(bound, Purpose { batch, phase: Phase::Training, outputs, runs })?;
        let executor = executor.with_backward(bound, outputs, |block| model.learns(block), false)?;
        Some(Self { executor, losses: zeros(batch)?, frozen: model.frozen().to_vec(), heads })
    }

    /// What the model put out for the batch. After this, the pass cannot go back any more: logits that the loss was given
    /// have become probabilities.
    fn predictions(&mut self, model: &Model<T>, batch: usize) -> ArrayViewD<'_, T> {
        let y = self.executor.value_mut(model.bound(), self.heads.values[0], batch);
        if self.heads.from_logits[0] {
            finish_softmax(model, y);
        }
        model.batch_shapes().1.view(y, batch)
    }

    fn forward(&mut self, step: &Step<'_, '_, T>, part: usize, samples: Range<usize>, next_state: &mut [T]) {
        let (model, batch) = (step.model, samples.len());
        let input = self.executor.value_mut(model.bound(), model.graph().inputs[0], batch);
        (step.batch.write_inputs)(samples, input);
        let random = |node| layer_number(model.seed(), step.step, part, node);
        let training = TrainingPass { random: &random, next_state };
        self.executor.forward(model.bound(), batch, Io::default(), Some(training));
    }

    /// The sum of the losses; leaves the gradient of the output behind.
    fn loss(
        &mut self,
        step: &Step<'_, '_, T>,
        count: usize,
        targets: &TargetsView<'_, T>,
        weights: Option<&[T]>,
    ) -> f64 {
        let (_, output) = step.model.batch_shapes();
        let losses = &mut self.losses[..count];
        let (y, dy) = self.executor.output_and_gradient(step.model.bound(), self.heads.values[0], 0, count);
        step.loss.evaluate(LossPass {
            y: output.view(y, count),
            from_logits: self.heads.from_logits[0],
            targets: targets.reborrow(),
            weights,
            losses: &mut *losses,
            batch: step.batch.samples,
            dy: Some(output.view_mut(dy, count)),
        });
        sum(losses)
    }
}

/// The passes of single nodes, to be timed.
impl<T: Scalar> Workspace<T> {
    /// Where the inputs of a batch go.
    pub(crate) fn input_mut(&mut self, model: &Model<T>) -> &mut [T] {
        let executor = &mut self.passes.executor;
        executor.value_mut(model.bound(), model.graph().inputs[0], executor.batch())
    }

    /// Packs the parameters as they are now.
    pub(crate) fn prepare(&mut self, model: &Model<T>) {
        self.passes.executor.prepare(model.bound());
    }

    /// One node of the forward pass.
    pub(crate) fn forward_node(&mut self, model: &Model<T>, node: usize, batch: usize) {
        let training = &mut TrainingPass { random: &|_| 0, next_state: &mut self.next_state };
        self.passes.executor.forward_node(model.bound(), node, batch, &mut Io::default(), Some(training));
    }

    /// The nodes that the backward pass goes through, in its order.
    pub(crate) fn backward_nodes(&self) -> impl Iterator<Item = usize> {
        let executor = &self.passes.executor;
        (0..executor.backward_steps()).map(|step| executor.node_of_step(step))
    }

    /// One step of the backward pass.
    pub(crate) fn backward_step(&mut self, model: &Model<T>, step: usize, batch: usize, gradients: &mut [T]) {
        self.passes.executor.backward_node(model.bound(), step, batch, gradients);
    }

    /// Sets the gradient of the output.
    pub(crate) fn start_backward(&mut self, model: &Model<T>, value: impl FnMut() -> T) {
        let len = model.batch_shapes().1.len(self.batch());
        self.passes.executor.output_gradient(0, len).fill_with(value);
    }
}

/// The sum in f64, from the first to the last.
fn sum<T: Scalar>(values: &[T]) -> f64 {
    values.iter().map(|value| value.to_f64().expect("f32 and f64 are f64s")).sum()
}

/// The mean, summed in f64 from the first to the last.
pub(crate) fn mean<T: Scalar>(values: &[T]) -> f64 {
    sum(values) / values.len() as f64
}
