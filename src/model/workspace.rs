//! The memory of a training step: every activation, the gradients on the way back, and the layers' scratch.

use ndarray::ArrayViewD;

use super::aligned::{Aligned, zeros};
use super::predictor::{prepare_all, prepared_memory};
use super::sequential::Sequential;
use super::stage::{Scratchpad, Stage};
use crate::data::TargetsView;
use crate::layers::{Backward, Forward, Phase};
use crate::losses::{Loss, LossPass};
use crate::random::layer_number;
use crate::scalar::Scalar;

/// Made once for a largest batch; smaller batches use the beginnings of its buffers.
#[derive(Debug)]
pub(crate) struct Workspace<T: Scalar> {
    batch: usize,
    /// Stages that are computed: without a final Softmax that the loss takes over.
    stages: usize,
    /// The first stage with parameters; those before it are not gone back through.
    first_to_learn: usize,
    from_logits: bool,
    /// The input, then each stage's output.
    activations: Vec<Aligned<T>>,
    /// Gradients of the output and the input of the stage that is next on the way back.
    gradients: [Aligned<T>; 2],
    scratch: Vec<Scratchpad<T>>,
    prepared: Vec<Aligned<T>>,
    losses: Vec<T>,
}

/// The number of stages that training and evaluation compute, and whether the loss then gets logits.
pub(crate) fn computed_stages<T: Scalar>(model: &Sequential<T>, loss: &dyn Loss<T>) -> (usize, bool) {
    let (stages, output) = (model.stages(), model.output_shape());
    // after a reshaping the loss would take the Softmax over another axis
    let is_last = |stage: &Stage<T>| stage.is_softmax() && stage.output.sample().last() == output.last();
    let fused = loss.fuses_softmax() && stages.last().is_some_and(is_last);
    (stages.len() - usize::from(fused), fused)
}

/// Makes of logits what the model predicts: the Softmax that the loss has taken over.
pub(crate) fn finish_softmax<T: Scalar>(model: &Sequential<T>, logits: &mut [T]) {
    let classes = model.output_shape().last().expect("a sample has an axis");
    T::softmax_in_place(logits, *classes);
}

impl<T: Scalar> Workspace<T> {
    /// The memory for a batch, if there is so much.
    pub(crate) fn new(model: &Sequential<T>, loss: &dyn Loss<T>, batch: usize) -> Option<Self> {
        let (count, from_logits) = computed_stages(model, loss);
        let stages = &model.stages()[..count];
        let (input, output) = model.extents();
        let outputs = stages.iter().map(|stage| stage.output.len(batch));
        // the gradient of the last output is written by the loss even where there is no stage at all
        let widest = outputs.clone().max().unwrap_or(0).max(output.len(batch));
        let learns = |stage: &Stage<T>| !model.layout().layer(stage.owner).1.is_empty();
        Some(Self {
            batch,
            stages: count,
            first_to_learn: stages.iter().position(learns).unwrap_or(count),
            from_logits,
            // before the scratch, whose size is asked for only where so many samples can be
            activations: std::iter::once(input.len(batch))
                .chain(outputs)
                .map(Aligned::try_new)
                .collect::<Option<_>>()?,
            gradients: [Aligned::try_new(widest)?, Aligned::try_new(widest)?],
            scratch: stages
                .iter()
                .map(|stage| Scratchpad::for_stages(std::slice::from_ref(stage), batch, Phase::Training))
                .collect::<Option<_>>()?,
            prepared: prepared_memory(stages),
            losses: zeros(batch)?,
        })
    }

    /// The largest batch it has room for.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// Where the inputs of a batch go.
    pub(crate) fn input_mut(&mut self) -> &mut [T] {
        self.activations[0].as_mut_slice()
    }

    /// What the model put out for the batch. After this, the pass cannot go back any more: logits that the loss was given
    /// have become probabilities.
    pub(crate) fn predictions(&mut self, model: &Sequential<T>, batch: usize) -> ArrayViewD<'_, T> {
        let output = model.extents().1;
        let y = self.activations[self.stages].as_mut_slice();
        if self.from_logits {
            finish_softmax(model, &mut y[..output.len(batch)]);
        }
        output.view(y, batch)
    }

    /// From the input to the last output.
    pub(crate) fn forward(&mut self, model: &Sequential<T>, batch: usize, step: u64) {
        self.prepare(model);
        for i in 0..self.stages {
            self.forward_stage(model, i, batch, step);
        }
    }

    /// Packs the parameters as they are now.
    pub(crate) fn prepare(&mut self, model: &Sequential<T>) {
        prepare_all(model, &model.stages()[..self.stages], &mut self.prepared);
    }

    /// One stage of the forward pass.
    pub(crate) fn forward_stage(&mut self, model: &Sequential<T>, i: usize, batch: usize, step: u64) {
        let stage = &model.stages()[i];
        let (before, after) = self.activations.split_at_mut(i + 1);
        stage.layer.forward(Forward {
            x: stage.input.view(before[i].as_slice(), batch),
            y: stage.output.view_mut(after[0].as_mut_slice(), batch),
            parameters: model.layout().block(stage.owner, model.values()),
            prepared: self.prepared[i].as_slice(),
            scratch: self.scratch[i].as_mut(),
            training: Some(layer_number(model.seed(), step, i)),
        });
    }

    /// The batch's mean loss, Σ wᵢ·lᵢ / B; leaves the gradient of the last output behind.
    pub(crate) fn loss(
        &mut self,
        model: &Sequential<T>,
        loss: &dyn Loss<T>,
        batch: usize,
        targets: &TargetsView<'_, T>,
        weights: Option<&[T]>,
    ) -> f64 {
        let (_, output) = model.extents();
        let losses = &mut self.losses[..batch];
        loss.evaluate(LossPass {
            y: output.view(self.activations[self.stages].as_slice(), batch),
            from_logits: self.from_logits,
            targets: targets.reborrow(),
            weights,
            losses: &mut *losses,
            dy: Some(output.view_mut(self.gradients[0].as_mut_slice(), batch)),
        });
        mean(losses)
    }

    /// From the gradient of the last output to those of all parameters.
    pub(crate) fn backward(&mut self, model: &Sequential<T>, batch: usize, gradients: &mut [T]) {
        for i in (0..self.stages).rev() {
            self.backward_stage(model, i, batch, gradients);
        }
    }

    /// One stage of the backward pass, which leaves the gradient for the one before it where that looks for it. Nothing is
    /// done where no parameter waits for it.
    pub(crate) fn backward_stage(&mut self, model: &Sequential<T>, i: usize, batch: usize, gradients: &mut [T]) {
        if i < self.first_to_learn {
            return;
        }
        let stage = &model.stages()[i];
        let [dy, dx] = &mut self.gradients;
        stage.layer.backward(Backward {
            x: stage.input.view(self.activations[i].as_slice(), batch),
            y: stage.output.view(self.activations[i + 1].as_slice(), batch),
            dy: stage.output.view_mut(dy.as_mut_slice(), batch),
            dx: (i > self.first_to_learn).then(|| stage.input.view_mut(dx.as_mut_slice(), batch)),
            parameters: model.layout().block(stage.owner, model.values()),
            gradients: model.layout().block_mut(stage.owner, gradients),
            scratch: self.scratch[i].as_mut(),
        });
        self.gradients.swap(0, 1);
    }

    /// Sets the gradient of the last output, to time a backward pass without a loss.
    pub(crate) fn start_backward(&mut self, value: impl FnMut() -> T) {
        self.gradients[0].as_mut_slice().fill_with(value);
    }
}

/// The mean, summed in f64 from the first to the last.
pub(crate) fn mean<T: Scalar>(values: &[T]) -> f64 {
    let sum: f64 = values.iter().map(|value| value.to_f64().expect("f32 and f64 are f64s")).sum();
    sum / values.len() as f64
}
