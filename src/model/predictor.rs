//! Predicting without allocating.

use std::ops::{Deref, Range};
use std::sync::Arc;

use ndarray::{ArrayRef, ArrayViewD, ArrayViewMutD, Axis, Dimension, Slice};

use super::model::Model;
use super::trainer::in_pool;
use crate::error::{Error, Result, shape_text};
use crate::graph::executor::{Executor, Io, Purpose};
use crate::graph::heads::Heads;
use crate::kernels::aligned::Aligned;
use crate::kernels::parallel::MIN_PASS;
use crate::layers::Phase;
use crate::scalar::Scalar;

/// Multiply-adds from which on prediction goes into the thread pool, and not pass by pass. Less would take longer to hand
/// over than to compute.
const MIN_POOL_WORK: usize = 2 * MIN_PASS;

/// Multiply-adds of the batches that go into the thread pool together: a few milliseconds of one thread, beside which a
/// hand-over costs nothing, and for which others can wait.
const MAX_POOL_WORK: usize = 1 << 28;

/// Whether this many samples are predicted sooner than they could be handed over to the pool.
pub(super) fn is_small_prediction<T: Scalar>(model: &Model<T>, samples: usize) -> bool {
    model.work().saturating_mul(samples) < MIN_POOL_WORK
}

/// A model ready to predict: parameters packed, all memory made.
///
/// It holds the model, by reference or in an [`Arc`], so the parameters it has packed cannot change under it. Each thread
/// makes its own.
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
/// In a struct, as a server keeps it. To put another model in its place takes one line:
///
/// ```
/// use std::sync::Arc;
///
/// use plywood::model::Predictor;
/// use plywood::prelude::*;
///
/// struct Worker {
///     predictor: Predictor,
/// }
///
/// let model = |seed| Sequential::input([4]).add(Dense::new(2)).build(seed);
/// let mut worker = Worker { predictor: Predictor::new(Arc::new(model(1)?), 1) };
/// let mut scores = [0.0; 2];
/// worker.predictor.predict_slice(&[1.0, 2.0, 3.0, 4.0], &mut scores)?;
///
/// worker.predictor = Predictor::new(Arc::new(model(2)?), 1);
/// # Ok::<(), plywood::Error>(())
/// ```
///
/// Once warm it allocates nothing, whatever the number of axes, as long as `x` and `y` lie in one piece and row-major each;
/// else only arrays of more than four axes take memory for each batch, for the views they are copied through. Layers of
/// other crates may ask for views as well, of which those of more than four axes take memory. A call from outside rayon's
/// thread pool is handed over to it through a queue, which asks for memory once in 63 times.
#[derive(Debug)]
pub struct Predictor<T: Scalar = f32, M: Deref<Target = Model<T>> = Arc<Model<T>>> {
    model: M,
    batch: usize,
    executor: Executor<T>,
    /// The input of a batch that does not lie in one piece.
    input: Aligned<T>,
    /// The output of one, made when there is one.
    output: Aligned<T>,
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
    pub(super) fn copy_to(&self, to: &mut [T]) {
        match self {
            Self::Slice(x) => to[..x.len()].copy_from_slice(x),
            Self::View(x) => {
                let to = ArrayViewMutD::from_shape(x.raw_dim(), &mut to[..x.len()]);
                to.expect("the slice is as long as the shape").assign(x);
            }
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

impl<T: Scalar, M: Deref<Target = Model<T>>> Predictor<T, M> {
    /// Creates one for up to `batch` samples at a time, at least 1.
    pub fn new(model: M, batch: usize) -> Self {
        let batch = model.batch_within_memory(batch);
        let heads = Heads::plain(model.graph());
        Self::up_to(model, &heads, batch)
    }

    /// One that computes up to other values than the model's outputs, each with as many elements.
    pub(crate) fn up_to(model: M, heads: &Heads, batch: usize) -> Self {
        let (bound, outputs, runs) = (model.bound(), &heads.values[..], &heads.runs[..]);
        let executor = Executor::new(bound, Purpose { batch, phase: Phase::Inference, outputs, runs });
        let mut executor =
            executor.expect("one sample was found to fit when the model was built, and the batch has been limited");
        executor.prepare(bound);
        let input = Aligned::new(model.batch_shapes().0.len(batch));
        Self { model, batch, executor, input, output: Aligned::default() }
    }

    /// Returns the model.
    pub fn model(&self) -> &Model<T> {
        &self.model
    }

    /// Writes into `y` `[n, …]` what the model makes of `x` `[n, …]`, as many samples at a time as it was made for.
    ///
    /// # Errors
    ///
    /// [`Error::ArrayShape`] if `x` or `y` are not of the model's shapes, [`Error::LengthMismatch`] if they are not
    /// equally many.
    pub fn predict_into<D: Dimension, E: Dimension>(&mut self, x: &ArrayRef<T, D>, y: &mut ArrayRef<T, E>) -> Result<()>
    where
        M: Send,
    {
        let samples = self.model.check_input("predict", x.shape())?;
        let (_, output) = self.model.batch_shapes();
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
        self.predict_checked(samples, &Inputs::of(x), &mut Outputs::of(y));
        Ok(())
    }

    /// Writes into `y` what the model makes of `x`, both sample after sample, each in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::ArrayShape`] if `x` is not a number of whole samples, [`Error::LengthMismatch`] if `y` is not as long as
    /// their outputs.
    pub fn predict_slice(&mut self, x: &[T], y: &mut [T]) -> Result<()>
    where
        M: Send,
    {
        let model = &*self.model;
        let (input, output) = model.batch_shapes();
        let samples = x.len() / input.len(1);
        if samples * input.len(1) != x.len() {
            let expected = format!("a multiple of {}, the elements of a sample", input.len(1));
            return Err(Error::ArrayShape { what: "predict_slice", got: vec![x.len()], expected });
        }
        if y.len() != output.len(samples) {
            let expected = format!("{}, the outputs of {samples} samples", output.len(samples));
            return Err(Error::ArrayShape { what: "the slice for predictions", got: vec![y.len()], expected });
        }
        self.predict_checked(samples, &Inputs::Slice(x), &mut Outputs::Slice(y));
        Ok(())
    }

    /// Writes into `y` what a model of several inputs or outputs makes of `x`: each sample after sample, in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if there are not as many slices as inputs and outputs, [`Error::ArrayShape`] if they do
    /// not have as many whole samples as one another.
    pub fn predict_slices(&mut self, x: &[&[T]], y: &mut [&mut [T]]) -> Result<()>
    where
        M: Send,
    {
        let model = &*self.model;
        let graph = model.graph();
        for (what, got, expected) in
            [("inputs", x.len(), graph.inputs.len()), ("outputs", y.len(), graph.outputs.len())]
        {
            if got != expected {
                let expected = format!("{expected}, one for each of the model's {what}");
                return Err(Error::ArrayShape { what: "predict_slices", got: vec![got], expected });
            }
        }
        let samples = x[0].len() / graph.shape(graph.inputs[0]).len(1);
        let wrong = |got: usize, value: usize, what| {
            let expected = format!("{}, for {samples} samples", graph.shape(value).len(samples));
            (got != graph.shape(value).len(samples)).then(|| Error::ArrayShape { what, got: vec![got], expected })
        };
        let inputs = x.iter().zip(&graph.inputs).find_map(|(x, &input)| wrong(x.len(), input, "an input"));
        let outputs = y.iter().zip(&graph.outputs).find_map(|(y, &output)| wrong(y.len(), output, "an output"));
        if let Some(error) = inputs.or(outputs) {
            return Err(error);
        }
        let (most, executor) = (self.batch, &mut self.executor);
        in_pool(is_small_prediction(model, samples), || {
            for first in (0..samples).step_by(most) {
                let batch = most.min(samples - first);
                let range = |value: usize| {
                    let shape = graph.shape(value);
                    shape.len(first)..shape.len(first + batch)
                };
                let inputs: Vec<&[T]> = x.iter().zip(&graph.inputs).map(|(x, &input)| &x[range(input)]).collect();
                let mut outputs: Vec<&mut [T]> =
                    y.iter_mut().zip(&graph.outputs).map(|(y, &output)| &mut y[range(output)]).collect();
                executor.forward(model.bound(), batch, Io { inputs: &inputs, outputs: &mut outputs }, None);
            }
        });
        Ok(())
    }

    /// Predicts from arrays that have been checked.
    pub(super) fn predict_checked(&mut self, samples: usize, x: &Inputs<'_, T>, y: &mut Outputs<'_, T>)
    where
        M: Send,
    {
        let small = is_small_prediction(&self.model, samples);
        let together = (MAX_POOL_WORK / self.model.work().max(1) / self.batch).max(1) * self.batch;
        for first in (0..samples).step_by(together) {
            in_pool(small, || self.predict_batches(first..(first + together).min(samples), x, y));
        }
    }

    /// Some of the samples.
    fn predict_batches(&mut self, samples: Range<usize>, x: &Inputs<'_, T>, y: &mut Outputs<'_, T>) {
        let Self { model, batch: most, executor, input: copy, output: whole } = self;
        let (input, output) = model.batch_shapes();
        for first in samples.clone().step_by(*most) {
            let last = (first + *most).min(samples.end);
            let (batch, slice) = (last - first, Slice::from(first..last));
            let x = match x {
                Inputs::Slice(x) => &x[input.len(first)..input.len(last)],
                Inputs::View(x) => {
                    input.view_mut(copy.as_mut_slice(), batch).assign(&x.slice_axis(Axis(0), slice));
                    &copy.as_slice()[..input.len(batch)]
                }
            };
            let mut run = |y: &mut [T]| {
                executor.forward(model.bound(), batch, Io { inputs: &[x], outputs: &mut [y] }, None);
            };
            match y {
                Outputs::Slice(y) => run(&mut y[output.len(first)..output.len(last)]),
                Outputs::View(y) => {
                    // only a caller with an output that does not lie in one piece pays for a copy of it
                    if whole.as_slice().is_empty() {
                        *whole = Aligned::new(output.len(*most));
                    }
                    let whole = &mut whole.as_mut_slice()[..output.len(batch)];
                    run(whole);
                    y.slice_axis_mut(Axis(0), slice).assign(&output.view(whole, batch));
                }
            }
        }
    }
}
