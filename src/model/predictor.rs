//! Predicting without allocating.

use ndarray::{ArrayRef, ArrayViewD, ArrayViewMutD, Axis, Dimension, Slice};

use super::aligned::Aligned;
use super::sequential::Sequential;
use super::stage::{Scratchpad, Stage};
use super::trainer::in_pool;
use crate::error::{Error, Result, shape_text};
use crate::kernels::parallel::MIN_PASS;
use crate::layers::{Forward, Phase};
use crate::scalar::Scalar;

/// Multiply-adds from which on prediction goes into the thread pool as a whole, and not pass by pass. Less would take
/// longer to hand over than to compute.
const ALONE: usize = 2 * MIN_PASS;

/// A model ready to predict: parameters packed, all memory made.
///
/// It borrows the model, so the parameters it has packed cannot change under it. Each thread makes its own.
///
/// ```
/// use plywood::ndarray::Array2;
/// use plywood::prelude::*;
///
/// let model = Sequential::input([784]).add(Dense::new(10)).add(Softmax::new()).build(42)?;
/// let mut predictor = model.predictor(1);
/// let (x, mut y) = (Array2::zeros((1, 784)), Array2::zeros((1, 10)));
/// predictor.predict_into(&x, &mut y)?;
/// assert!((y.sum() - 1.0).abs() < 1e-6);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug)]
pub struct Predictor<'m, T: Scalar = f32> {
    model: &'m Sequential<T>,
    batch: usize,
    prepared: Vec<Aligned<T>>,
    memory: Memory<T>,
}

/// What a batch passes through.
#[derive(Debug)]
struct Memory<T> {
    /// The input of a batch that does not lie in one piece.
    input: Aligned<T>,
    /// Outputs of stages, in turn.
    between: [Aligned<T>; 2],
    scratch: Scratchpad<T>,
}

/// The packed parameters of all stages.
pub(crate) fn prepare_all<T: Scalar>(model: &Sequential<T>, stages: &[Stage<T>], prepared: &mut [Aligned<T>]) {
    for (stage, prepared) in stages.iter().zip(prepared) {
        let prepared = prepared.as_mut_slice();
        if !prepared.is_empty() {
            let block = model.layout().block(stage.owner, model.values());
            stage.layer.prepare(stage.input.sample(), block, prepared);
        }
    }
}

/// Room for the packed parameters of all stages.
pub(crate) fn prepared_memory<T: Scalar>(stages: &[Stage<T>]) -> Vec<Aligned<T>> {
    stages.iter().map(|stage| Aligned::new(stage.layer.prepared_len(stage.input.sample()))).collect()
}

impl<'m, T: Scalar> Predictor<'m, T> {
    pub(crate) fn new(model: &'m Sequential<T>, batch: usize) -> Self {
        let stages = model.stages();
        let mut prepared = prepared_memory(stages);
        prepare_all(model, stages, &mut prepared);
        // what the last stage puts out goes to the caller; the first writes into the second buffer
        let between = &stages[..stages.len().saturating_sub(1)];
        let widest = |parity: usize| {
            let outputs = between.iter().skip(parity).step_by(2);
            outputs.map(|stage| stage.output.len(batch)).max().unwrap_or(0)
        };
        let memory = Memory {
            input: Aligned::new(model.extents().0.len(batch)),
            between: [Aligned::new(widest(1)), Aligned::new(widest(0))],
            scratch: Scratchpad::for_stages(stages, batch, Phase::Inference)
                .expect("scratch is no larger than what it is used for, and the batch has been limited"),
        };
        Self { model, batch, prepared, memory }
    }

    /// Writes into `y` `[n, …]` what the model makes of `x` `[n, …]`, as many samples at a time as it was made for.
    ///
    /// # Errors
    ///
    /// [`Error::ArrayShape`] if `x` or `y` are not of the model's shapes, [`Error::LengthMismatch`] if they are not
    /// equally many.
    pub fn predict_into<D: Dimension, E: Dimension>(
        &mut self,
        x: &ArrayRef<T, D>,
        y: &mut ArrayRef<T, E>,
    ) -> Result<()> {
        self.predict_stages(self.model.stages().len(), x.view().into_dyn(), y.view_mut().into_dyn())
    }

    /// The output of the first `count` stages only, which has as many elements as the model's: what comes before a final
    /// Softmax.
    pub(crate) fn predict_stages(&mut self, count: usize, x: ArrayViewD<'_, T>, y: ArrayViewMutD<'_, T>) -> Result<()> {
        let samples = self.model.check_input("predict", x.shape())?;
        let (_, output) = self.model.extents();
        if y.shape().get(1..) != Some(output.sample()) {
            return Err(Error::ArrayShape {
                what: "the array for predictions",
                got: y.shape().to_vec(),
                expected: format!("n×{}", shape_text(output.sample())),
            });
        }
        if y.shape()[0] != samples {
            return Err(Error::LengthMismatch { inputs: samples, what: "rows for predictions", targets: y.shape()[0] });
        }
        let work = self.model.layers().iter().fold(0, |sum: usize, layer| sum.saturating_add(layer.multiply_adds()));
        if work.saturating_mul(samples) < ALONE {
            self.predict_batches(count, x, y);
        } else {
            in_pool(|| self.predict_batches(count, x, y));
        }
        Ok(())
    }

    /// All samples of arrays that have been checked.
    fn predict_batches(&mut self, count: usize, x: ArrayViewD<'_, T>, mut y: ArrayViewMutD<'_, T>) {
        let (input, output) = self.model.extents();
        // a layer may panic: nothing is taken out of the predictor that would be missing then
        let Memory { input: copy, between, scratch } = &mut self.memory;
        let mut stages = Stages { model: self.model, count, prepared: &self.prepared, between, scratch };
        let samples = x.shape()[0];
        for first in (0..samples).step_by(self.batch) {
            let batch = self.batch.min(samples - first);
            let slice = Slice::from(first..first + batch);
            let x = x.slice_axis(Axis(0), slice);
            let mut y = y.slice_axis_mut(Axis(0), slice);
            let x = match x.to_slice() {
                Some(x) => x,
                None => {
                    input.view_mut(copy.as_mut_slice(), batch).assign(&x);
                    &copy.as_slice()[..input.len(batch)]
                }
            };
            match y.as_slice_mut() {
                Some(y) => stages.run(batch, x, y),
                None => {
                    // only a caller with an output that does not lie in one piece pays for a copy of it
                    let mut whole = vec![T::zero(); output.len(batch)];
                    stages.run(batch, x, &mut whole);
                    y.assign(&output.view(&whole, batch));
                }
            }
        }
    }
}

/// The first stages of a model, with the memory they use.
struct Stages<'a, T: Scalar> {
    model: &'a Sequential<T>,
    count: usize,
    prepared: &'a [Aligned<T>],
    between: &'a mut [Aligned<T>; 2],
    scratch: &'a mut Scratchpad<T>,
}

impl<T: Scalar> Stages<'_, T> {
    /// One batch.
    fn run(&mut self, batch: usize, x: &[T], y: &mut [T]) {
        let Self { model, count, prepared, between: [from, to], scratch } = self;
        let stages = &model.stages()[..*count];
        let (mut from, mut to) = (from, to);
        if stages.is_empty() {
            y.copy_from_slice(x);
        }
        for (i, (stage, prepared)) in stages.iter().zip(*prepared).enumerate() {
            let x = if i == 0 { x } else { from.as_slice() };
            let y = if i + 1 == stages.len() { &mut *y } else { to.as_mut_slice() };
            stage.layer.forward(Forward {
                x: stage.input.view(x, batch),
                y: stage.output.view_mut(y, batch),
                parameters: model.layout().block(stage.owner, model.values()),
                prepared: prepared.as_slice(),
                scratch: scratch.as_mut(),
                training: None,
            });
            std::mem::swap(&mut from, &mut to);
        }
    }
}
