//! Predicting without allocating.

use std::ops::Range;

use ndarray::{ArrayRef, ArrayViewD, ArrayViewMutD, Axis, Dimension, Slice};

use super::aligned::Aligned;
use super::sequential::Sequential;
use super::stage::{Extent, Scratchpad, Stage};
use super::trainer::in_pool;
use crate::error::{Error, Result, shape_text};
use crate::kernels::parallel::MIN_PASS;
use crate::layers::{Forward, Phase};
use crate::scalar::Scalar;

/// Multiply-adds from which on prediction goes into the thread pool, and not pass by pass. Less would take longer to hand
/// over than to compute.
const ALONE: usize = 2 * MIN_PASS;

/// Multiply-adds of the batches that go into the thread pool together: a few milliseconds of one thread, beside which a
/// hand-over costs nothing, and for which others can wait.
const TOGETHER: usize = 1 << 28;

/// Whether so many samples are predicted sooner than they could be handed over to the pool.
pub(super) fn is_small_prediction<T: Scalar>(model: &Sequential<T>, samples: usize) -> bool {
    model.work().saturating_mul(samples) < ALONE
}

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
///
/// Once warm it allocates nothing, whatever the number of axes, as long as `x` and `y` lie in one piece and row-major each;
/// else only arrays of more than four axes take memory for each batch, for the views they are copied through. Layers of
/// other crates are handed views as well, of which those of more than four axes take memory. A call from outside rayon's
/// thread pool is handed over to it through a queue, which asks for memory once in 63 times.
#[derive(Debug)]
pub struct Predictor<'m, T: Scalar = f32> {
    batch: usize,
    computation: Computation<'m, T>,
    /// The input of a batch that does not lie in one piece.
    input: Aligned<T>,
    /// The output of one, made when there is one.
    output: Aligned<T>,
}

/// What a batch passes through.
#[derive(Debug)]
struct Computation<'m, T: Scalar> {
    model: &'m Sequential<T>,
    prepared: Vec<Aligned<T>>,
    /// Outputs of stages, in turn.
    between: [Aligned<T>; 2],
    scratch: Scratchpad<T>,
}

/// Samples to predict from. What lies in one piece is kept as such: views of many axes take memory.
pub(super) enum Inputs<'a, T> {
    Slice(&'a [T]),
    View(ArrayViewD<'a, T>),
}

/// Where predictions go.
pub(super) enum Outputs<'a, T> {
    Slice(&'a mut [T]),
    View(ArrayViewMutD<'a, T>),
}

impl<'a, T: Scalar> Inputs<'a, T> {
    pub(super) fn of<D: Dimension>(x: &'a ArrayRef<T, D>) -> Self {
        x.as_slice().map_or_else(|| Self::View(x.view().into_dyn()), Self::Slice)
    }

    /// Copies all of them.
    pub(super) fn copy_to(&self, extent: &Extent, samples: usize, to: &mut [T]) {
        match self {
            Self::Slice(x) => to[..x.len()].copy_from_slice(x),
            Self::View(x) => extent.view_mut(to, samples).assign(x),
        }
    }
}

impl<'a, T: Scalar> Outputs<'a, T> {
    fn of<D: Dimension>(y: &'a mut ArrayRef<T, D>) -> Self {
        if y.is_standard_layout() {
            return Self::Slice(y.as_slice_mut().expect("it lies in one piece"));
        }
        Self::View(y.view_mut().into_dyn())
    }
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
        let computation = Computation {
            model,
            prepared,
            between: [Aligned::new(widest(1)), Aligned::new(widest(0))],
            scratch: Scratchpad::for_stages(stages, batch, Phase::Inference)
                .expect("scratch is no larger than what it is used for, and the batch has been limited"),
        };
        Self { batch, computation, input: Aligned::new(model.extents().0.len(batch)), output: Aligned::default() }
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
        let model = self.computation.model;
        let samples = model.check_input("predict", x.shape())?;
        let (_, output) = model.extents();
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
        self.predict_stages(model.stages().len(), samples, &Inputs::of(x), &mut Outputs::of(y));
        Ok(())
    }

    /// The output of the first `count` stages only, which has as many elements as the model's: what comes before a final
    /// Softmax. The arrays have been checked.
    pub(super) fn predict_stages(&mut self, count: usize, samples: usize, x: &Inputs<'_, T>, y: &mut Outputs<'_, T>) {
        let small = is_small_prediction(self.computation.model, samples);
        let together = (TOGETHER / self.computation.model.work().max(1) / self.batch).max(1) * self.batch;
        for first in (0..samples).step_by(together) {
            in_pool(small, || self.predict_batches(count, first..(first + together).min(samples), x, y));
        }
    }

    /// Some of the samples.
    fn predict_batches(&mut self, count: usize, samples: Range<usize>, x: &Inputs<'_, T>, y: &mut Outputs<'_, T>) {
        let (input, output) = self.computation.model.extents();
        for first in samples.clone().step_by(self.batch) {
            let last = (first + self.batch).min(samples.end);
            let (batch, slice) = (last - first, Slice::from(first..last));
            let x = match x {
                Inputs::Slice(x) => &x[input.len(first)..input.len(last)],
                Inputs::View(x) => {
                    input.view_mut(self.input.as_mut_slice(), batch).assign(&x.slice_axis(Axis(0), slice));
                    &self.input.as_slice()[..input.len(batch)]
                }
            };
            match y {
                Outputs::Slice(y) => self.computation.run(count, batch, x, &mut y[output.len(first)..output.len(last)]),
                Outputs::View(y) => {
                    // only a caller with an output that does not lie in one piece pays for a copy of it
                    if self.output.as_slice().is_empty() {
                        self.output = Aligned::new(output.len(self.batch));
                    }
                    let whole = &mut self.output.as_mut_slice()[..output.len(batch)];
                    self.computation.run(count, batch, x, whole);
                    y.slice_axis_mut(Axis(0), slice).assign(&output.view(whole, batch));
                }
            }
        }
    }
}

impl<T: Scalar> Computation<'_, T> {
    /// One batch.
    fn run(&mut self, count: usize, batch: usize, x: &[T], y: &mut [T]) {
        let Self { model, prepared, between: [from, to], scratch } = self;
        let stages = &model.stages()[..count];
        let (mut from, mut to) = (from, to);
        if stages.is_empty() {
            y.copy_from_slice(x);
        }
        for (i, (stage, prepared)) in stages.iter().zip(&*prepared).enumerate() {
            let x = if i == 0 { x } else { from.as_slice() };
            let y = if i + 1 == count { &mut *y } else { to.as_mut_slice() };
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
