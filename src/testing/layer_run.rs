//! One layer with all it needs to run.

use std::sync::Arc;

use ndarray::{ArrayViewD, ArrayViewMutD};

use crate::error::{Error, Result};
use crate::layers::{Backward, Forward, Layer, Phase, ScratchMut};
use crate::model::{Aligned, Extent, Layout, Scratchpad, parts as parts_of, zeros};
use crate::random::{Purpose, generator};
use crate::scalar::Scalar;

/// A layer by itself with input, output, parameters, gradients and working memory for a batch, to be run pass by pass.
///
/// Tests use it to look at a layer's results, benches to time its passes. A layer that [splits](Layer::split) in two is
/// run as the two, as in a model.
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
    /// The layer, or the two that it splits in.
    parts: Vec<Part<T>>,
    batch: usize,
    /// The batch that there is memory for.
    capacity: usize,
    layout: Layout,
    parameters: Vec<T>,
    gradients: Vec<T>,
    /// The input, then each part's output.
    values: Vec<Aligned<T>>,
    /// Their gradients.
    slopes: Vec<Aligned<T>>,
    /// What `dy` is before a backward pass, which may use `dy` as it likes.
    given_dy: Aligned<T>,
    training: u64,
}

/// A layer with its own working memory.
#[derive(Debug)]
struct Part<T: Scalar> {
    layer: Arc<dyn Layer<T>>,
    input: Extent,
    output: Extent,
    prepared: Aligned<T>,
    scratch: Scratchpad<T>,
    /// What prediction asks for, which may be less.
    inference: Scratchpad<T>,
}

impl<T: Scalar> LayerRun<T> {
    /// A layer for `batch` samples of this shape. Parameters are drawn from the seed; input and output gradient are zero.
    ///
    /// # Errors
    ///
    /// Those of the layer's plan, and of [`split`](Layer::split); [`Error::InvalidParameter`] for a batch of 0,
    /// [`Error::TooLarge`] for one that there is no memory for.
    pub fn new(layer: impl Layer<T>, sample: impl AsRef<[usize]>, batch: usize, seed: u64) -> Result<Self> {
        check_batch(batch, usize::MAX)?;
        let layer: Arc<dyn Layer<T>> = Arc::new(layer);
        let too_large = || Error::TooLarge { owner: layer.kind().to_owned(), what: "the working memory of a batch" };
        let mut sample = sample.as_ref().to_vec();
        let (mut planned, mut layout, mut specs) = (vec![], Layout::default(), vec![]);
        let mut extents = vec![Extent::new(&sample)];
        for (layer, plan) in parts_of(&layer, &sample)? {
            layout.push(layer.kind(), &plan.parameters)?;
            specs.extend(plan.parameters);
            extents.push(Extent::new(&plan.output));
            planned.push((layer, std::mem::replace(&mut sample, plan.output)));
        }
        let mut parameters: Vec<T> = zeros(layout.len()).ok_or_else(too_large)?;
        for (i, (entry, spec)) in layout.entries().iter().zip(&specs).enumerate() {
            let mut generator = generator(seed, Purpose::Parameter(i));
            spec.initializer.fill(&mut parameters[entry.range()], spec.fan_in, spec.fan_out, &mut generator)?;
        }
        let buffer = |extent: &Extent| Aligned::try_new(extent.len(batch)).ok_or_else(too_large);
        let buffers = || extents.iter().map(buffer).collect::<Result<Vec<_>>>();
        // the scratch last: its size is asked for only where so many samples can be
        let (values, slopes, given_dy) = (buffers()?, buffers()?, buffer(&extents[planned.len()])?);
        let parts = planned
            .into_iter()
            .zip(extents.windows(2))
            .map(|((layer, sample), extents)| Part::new(layer, &sample, extents, batch).ok_or_else(too_large));
        let parts = parts.collect::<Result<_>>()?;
        Ok(Self {
            values,
            slopes,
            given_dy,
            gradients: parameters.clone(),
            parts,
            batch,
            capacity: batch,
            layout,
            parameters,
            training: 0,
        })
    }

    /// Number of samples.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Goes on with so many samples, in the beginnings of the buffers there are: as a model does with the last batch of an
    /// epoch.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`] for 0, and if it was not made for as many.
    pub fn set_batch(&mut self, batch: usize) -> Result<()> {
        check_batch(batch, self.capacity)?;
        self.batch = batch;
        Ok(())
    }

    /// Sets the number that the next passes give to layers that draw random numbers; 0 at first.
    pub fn set_training_number(&mut self, number: u64) {
        self.training = number;
    }

    /// Packs the parameters and computes the output as in training. Returns nothing: see [`y`](Self::y).
    pub fn forward(&mut self) {
        self.pass(Phase::Training);
    }

    /// Packs the parameters and computes the output as in prediction, with the working memory of that. No backward pass
    /// may follow.
    pub fn infer(&mut self) {
        self.pass(Phase::Inference);
    }

    /// Both parts of a layer that splits are given its parameters, all of which are those of the first: as in a model.
    fn pass(&mut self, phase: Phase) {
        for (i, part) in self.parts.iter_mut().enumerate() {
            let (before, after) = self.values.split_at_mut(i + 1);
            let block = self.layout.block(0, &self.parameters);
            part.layer.prepare(part.input.sample(), block, part.prepared.as_mut_slice());
            part.layer.forward(Forward {
                x: part.input.view(before[i].as_slice(), self.batch),
                y: part.output.view_mut(after[0].as_mut_slice(), self.batch),
                parameters: block,
                prepared: part.prepared.as_slice(),
                scratch: match phase {
                    Phase::Training => part.scratch.as_mut(),
                    Phase::Inference => part.inference.as_mut(),
                },
                training: (phase == Phase::Training).then_some(self.training),
            });
        }
    }

    /// Computes the gradients for the last forward pass, with or without that of the input.
    pub fn backward(&mut self, input_gradient: bool) {
        let last = self.parts.len();
        self.slopes[last].as_mut_slice().copy_from_slice(self.given_dy.as_slice());
        for (i, part) in self.parts.iter_mut().enumerate().rev() {
            let (before, after) = self.slopes.split_at_mut(i + 1);
            let dx = before[i].as_mut_slice();
            part.layer.backward(Backward {
                x: part.input.view(self.values[i].as_slice(), self.batch),
                y: part.output.view(self.values[i + 1].as_slice(), self.batch),
                dy: part.output.view_mut(after[0].as_mut_slice(), self.batch),
                dx: (i > 0 || input_gradient).then(|| part.input.view_mut(dx, self.batch)),
                parameters: self.layout.block(0, &self.parameters),
                gradients: self.layout.block_mut(0, &mut self.gradients),
                scratch: part.scratch.as_mut(),
            });
        }
    }

    /// Fills with NaN whatever a forward and a backward pass have to overwrite, and all working memory.
    pub fn spoil(&mut self) {
        let outputs = self.values.iter_mut().skip(1).chain(&mut self.slopes);
        let prepared = self.parts.iter_mut().map(|part| &mut part.prepared);
        outputs.chain(prepared).for_each(|buffer| buffer.as_mut_slice().fill(T::nan()));
        self.gradients.fill(T::nan());
        for part in &mut self.parts {
            for ScratchMut { values, indices } in [part.scratch.as_mut(), part.inference.as_mut()] {
                values.fill(T::nan());
                indices.fill(u32::MAX);
            }
        }
    }

    /// The input.
    pub fn x(&self) -> ArrayViewD<'_, T> {
        self.parts[0].input.view(self.values[0].as_slice(), self.batch)
    }

    /// The input, to be set.
    pub fn x_mut(&mut self) -> ArrayViewMutD<'_, T> {
        self.parts[0].input.view_mut(self.values[0].as_mut_slice(), self.batch)
    }

    /// The output of the last forward pass.
    pub fn y(&self) -> ArrayViewD<'_, T> {
        let last = self.parts.len();
        self.parts[last - 1].output.view(self.values[last].as_slice(), self.batch)
    }

    /// The output of the last forward pass, to be spoiled by who wants to see it written.
    pub fn y_mut(&mut self) -> ArrayViewMutD<'_, T> {
        let last = self.parts.len();
        self.parts[last - 1].output.view_mut(self.values[last].as_mut_slice(), self.batch)
    }

    /// The gradient of the output, to be set.
    pub fn dy_mut(&mut self) -> ArrayViewMutD<'_, T> {
        let last = self.parts.len();
        self.parts[last - 1].output.view_mut(self.given_dy.as_mut_slice(), self.batch)
    }

    /// The gradient of the input from the last backward pass that was asked for it.
    pub fn dx(&self) -> ArrayViewD<'_, T> {
        self.parts[0].input.view(self.slopes[0].as_slice(), self.batch)
    }

    /// The gradient of the input, to be spoiled by who wants to see it written.
    pub fn dx_mut(&mut self) -> ArrayViewMutD<'_, T> {
        self.parts[0].input.view_mut(self.slopes[0].as_mut_slice(), self.batch)
    }

    /// Names, shapes and ranges of parameters and gradients.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// All parameters.
    pub fn parameters(&self) -> &[T] {
        &self.parameters
    }

    /// All parameters, to be set.
    pub fn parameters_mut(&mut self) -> &mut [T] {
        &mut self.parameters
    }

    /// The gradients of all parameters from the last backward pass.
    pub fn gradients(&self) -> &[T] {
        &self.gradients
    }

    /// The gradients, to be spoiled by who wants to see them written.
    pub fn gradients_mut(&mut self) -> &mut [T] {
        &mut self.gradients
    }
}

impl<T: Scalar> Part<T> {
    /// A layer for samples of this shape; none if there is no memory for it.
    fn new(layer: Arc<dyn Layer<T>>, sample: &[usize], extents: &[Extent], batch: usize) -> Option<Self> {
        Some(Self {
            prepared: Aligned::try_new(layer.prepared_len(sample))?,
            scratch: Scratchpad::new(layer.scratch(sample, batch, Phase::Training))?,
            inference: Scratchpad::new(layer.scratch(sample, batch, Phase::Inference))?,
            input: extents[0].clone(),
            output: extents[1].clone(),
            layer,
        })
    }
}

/// Whether there can be a batch of so many samples.
fn check_batch(batch: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&batch) {
        return Ok(());
    }
    let expected = if batch == 0 { "at least 1" } else { "at most the samples that it was made for" };
    Err(Error::invalid_parameter("LayerRun", "batch", batch, expected))
}
