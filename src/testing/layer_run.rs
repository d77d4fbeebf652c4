//! One layer with all it needs to run.

use ndarray::{ArrayViewD, ArrayViewMutD};

use crate::error::Result;
use crate::layers::{Backward, Forward, Layer, Phase};
use crate::model::{Aligned, Extent, Layout, Scratchpad};
use crate::random::{Purpose, generator};
use crate::scalar::Scalar;

/// A layer by itself with input, output, parameters, gradients and working memory for a batch, to be run pass by pass.
///
/// Tests use it to look at a layer's results, benches to time its passes.
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
    layer: Box<dyn Layer<T>>,
    batch: usize,
    input: Extent,
    output: Extent,
    layout: Layout,
    parameters: Vec<T>,
    gradients: Vec<T>,
    x: Aligned<T>,
    y: Aligned<T>,
    dy: Aligned<T>,
    /// What `dy` is before a backward pass, which may use `dy` as it likes.
    given_dy: Aligned<T>,
    dx: Aligned<T>,
    prepared: Aligned<T>,
    scratch: Scratchpad<T>,
}

impl<T: Scalar> LayerRun<T> {
    /// A layer for `batch` samples of this shape. Parameters are drawn from the seed; input and output gradient are zero.
    ///
    /// # Errors
    ///
    /// Those of the layer's plan.
    pub fn new(layer: impl Layer<T>, sample: impl AsRef<[usize]>, batch: usize, seed: u64) -> Result<Self> {
        let sample = sample.as_ref();
        let plan = layer.plan(sample)?;
        let mut layout = Layout::default();
        layout.push(layer.kind(), &plan.parameters)?;
        let mut parameters = vec![T::zero(); layout.len()];
        for (i, (entry, spec)) in layout.entries().iter().zip(&plan.parameters).enumerate() {
            let mut generator = generator(seed, Purpose::Parameter(i));
            spec.initializer.fill(&mut parameters[entry.range()], spec.fan_in, spec.fan_out, &mut generator)?;
        }
        let (input, output) = (Extent::new(sample), Extent::new(&plan.output));
        Ok(Self {
            gradients: parameters.clone(),
            prepared: Aligned::new(layer.prepared_len(sample)),
            scratch: Scratchpad::new(layer.scratch(sample, batch, Phase::Training)),
            layer: Box::new(layer),
            batch,
            x: Aligned::new(input.len(batch)),
            dx: Aligned::new(input.len(batch)),
            y: Aligned::new(output.len(batch)),
            dy: Aligned::new(output.len(batch)),
            given_dy: Aligned::new(output.len(batch)),
            input,
            output,
            layout,
            parameters,
        })
    }

    /// Packs the parameters and computes the output as in training. Returns nothing: see [`y`](Self::y).
    pub fn forward(&mut self) {
        let block = self.layout.block(0, &self.parameters);
        self.layer.prepare(self.input.sample(), block, self.prepared.as_mut_slice());
        self.layer.forward(Forward {
            x: self.input.view(self.x.as_slice(), self.batch),
            y: self.output.view_mut(self.y.as_mut_slice(), self.batch),
            parameters: block,
            prepared: self.prepared.as_slice(),
            scratch: self.scratch.as_mut(),
            training: Some(0),
        });
    }

    /// Computes the gradients for the last forward pass, with or without that of the input.
    pub fn backward(&mut self, input_gradient: bool) {
        self.dy.as_mut_slice().copy_from_slice(self.given_dy.as_slice());
        let dx = self.dx.as_mut_slice();
        self.layer.backward(Backward {
            x: self.input.view(self.x.as_slice(), self.batch),
            y: self.output.view(self.y.as_slice(), self.batch),
            dy: self.output.view_mut(self.dy.as_mut_slice(), self.batch),
            dx: input_gradient.then(|| self.input.view_mut(dx, self.batch)),
            parameters: self.layout.block(0, &self.parameters),
            gradients: self.layout.block_mut(0, &mut self.gradients),
            scratch: self.scratch.as_mut(),
        });
    }

    /// The input.
    pub fn x(&self) -> ArrayViewD<'_, T> {
        self.input.view(self.x.as_slice(), self.batch)
    }

    /// The input, to be set.
    pub fn x_mut(&mut self) -> ArrayViewMutD<'_, T> {
        self.input.view_mut(self.x.as_mut_slice(), self.batch)
    }

    /// The output of the last forward pass.
    pub fn y(&self) -> ArrayViewD<'_, T> {
        self.output.view(self.y.as_slice(), self.batch)
    }

    /// The output of the last forward pass, to be spoiled by who wants to see it written.
    pub fn y_mut(&mut self) -> ArrayViewMutD<'_, T> {
        self.output.view_mut(self.y.as_mut_slice(), self.batch)
    }

    /// The gradient of the output, to be set.
    pub fn dy_mut(&mut self) -> ArrayViewMutD<'_, T> {
        self.output.view_mut(self.given_dy.as_mut_slice(), self.batch)
    }

    /// The gradient of the input from the last backward pass that was asked for it.
    pub fn dx(&self) -> ArrayViewD<'_, T> {
        self.input.view(self.dx.as_slice(), self.batch)
    }

    /// The gradient of the input, to be spoiled by who wants to see it written.
    pub fn dx_mut(&mut self) -> ArrayViewMutD<'_, T> {
        self.input.view_mut(self.dx.as_mut_slice(), self.batch)
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
