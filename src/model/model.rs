//! Models: layers with their parameters.

use std::ops::Range;
use std::sync::Arc;

use ndarray::{Array1, ArrayD, ArrayRef, ArrayView, ArrayViewD, ArrayViewMutD, Axis, Dimension, IxDyn};

use super::planned::Planned;
use super::predictor::Predictor;
use super::summary::Summary;
use super::trainer::Trainer;
use crate::error::{Error, Result, shape_text};
use crate::graph::{Bound, Graph, Layout};
use crate::kernels::aligned::zeros;
#[cfg(any(feature = "safetensors", feature = "keras"))]
use crate::layers::Entry;
use crate::layers::{BatchShape, Layer, Network};
use crate::losses::Loss;
use crate::metrics::largest;
use crate::optimizers::Optimizer;
use crate::scalar::Scalar;
use crate::shape::elements;

/// Layers and their parameters: what is saved, shared between threads, and predicts.
///
/// A model is built by [`Sequential`](super::Sequential), for layers that follow one another, or by
/// [`Functional`](super::Functional), which check all shapes and draw all parameters from one seed.
/// [`compile`](Self::compile) makes a [`Trainer`] of it.
///
/// Models are `Send + Sync`: any number of threads can predict with one at the same time.
///
/// ```
/// use plywood::ndarray::Array2;
/// use plywood::prelude::*;
///
/// let model = Sequential::input([4]).add(Dense::new(3)).add(Softmax::new()).build(42)?;
/// println!("{}", model.summary());
/// assert_eq!(model.predict(&Array2::zeros((5, 4)))?.shape(), [5, 3]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Clone)]
pub struct Model<T: Scalar = f32> {
    pub(super) network: Network<T>,
    pub(super) layers: Vec<NamedLayer<T>>,
    pub(super) graph: Graph<T>,
    pub(super) layout: Layout,
    pub(super) values: Vec<T>,
    /// Whether each trainable parameter stays as it is, in the order of the layout.
    pub(super) frozen: Vec<bool>,
    pub(super) seed: u64,
    /// The same for all copies of a model, and for no other.
    pub(super) identity: Arc<()>,
}

/// A layer in a model.
///
/// ```
/// use plywood::prelude::*;
///
/// let model = Sequential::input([4]).add(Dense::new(3)).add(Dense::new(2)).build(42)?;
/// let last = &model.layers()[1];
/// assert_eq!((last.name(), last.parameter_count()), ("dense_1", 3 * 2 + 2));
/// assert_eq!((last.input_shape(), last.output_shape()), (&[3][..], &[2][..]));
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NamedLayer<T: Scalar = f32> {
    pub(super) name: String,
    pub(super) layer: Arc<dyn Layer<T>>,
    pub(super) inputs: Vec<Vec<usize>>,
    pub(super) outputs: Vec<Vec<usize>>,
    pub(super) parameters: usize,
    /// Its blocks in the layout: its own, and those of the layers that it is made of.
    #[cfg(any(feature = "safetensors", feature = "keras"))]
    pub(super) blocks: Range<usize>,
    pub(super) multiply_adds: usize,
    pub(super) reshapes: bool,
}

impl<T: Scalar> NamedLayer<T> {
    /// Returns the layer's name: the one it was given, or its kind and, from the second of a kind on, a number, as Keras
    /// counts: `dense`, `dense_1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the layer.
    pub fn layer(&self) -> &dyn Layer<T> {
        self.layer.as_ref()
    }

    /// Returns the shape of one sample of the first input.
    pub fn input_shape(&self) -> &[usize] {
        &self.inputs[0]
    }

    /// Returns the shape of one sample of the first output.
    pub fn output_shape(&self) -> &[usize] {
        &self.outputs[0]
    }

    /// Returns the shapes of one sample of each input.
    pub fn input_shapes(&self) -> &[Vec<usize>] {
        &self.inputs
    }

    /// Returns the shapes of one sample of each output.
    pub fn output_shapes(&self) -> &[Vec<usize>] {
        &self.outputs
    }

    /// Returns the number of parameters; none for a layer that is applied once more.
    pub fn parameter_count(&self) -> usize {
        self.parameters
    }

    /// Returns the multiplications with addition that one sample's forward pass takes.
    pub fn multiply_adds(&self) -> usize {
        self.multiply_adds
    }

    /// Whether it gives its input another shape and nothing more.
    pub(crate) fn reshapes(&self) -> bool {
        self.reshapes
    }
}

impl<T: Scalar> Model<T> {
    /// Builds a model of a network: what the builders' `build` does.
    pub(crate) fn of(network: Network<T>, seed: u64) -> Result<Self> {
        let planned = Planned::new(network)?;
        let values = planned.draw(seed)?;
        planned.with_values(seed, values)
    }

    /// Adds what training needs: an optimizer and a loss.
    pub fn compile(self, optimizer: impl Optimizer<T> + 'static, loss: impl Loss<T> + 'static) -> Trainer<T> {
        Trainer::new(self, Box::new(optimizer), Box::new(loss))
    }

    /// The layers, in order.
    pub fn layers(&self) -> &[NamedLayer<T>] {
        &self.layers
    }

    /// Shape of one input sample.
    pub fn input_shape(&self) -> &[usize] {
        self.graph.shape(self.graph.inputs[0]).sample()
    }

    /// Shape of one output sample.
    pub fn output_shape(&self) -> &[usize] {
        self.graph.shape(self.graph.outputs[0]).sample()
    }

    /// Returns the shape of one sample of each input.
    pub fn input_shapes(&self) -> impl Iterator<Item = &[usize]> {
        self.graph.inputs.iter().map(|&input| self.graph.shape(input).sample())
    }

    /// Returns the shape of one sample of each output.
    pub fn output_shapes(&self) -> impl Iterator<Item = &[usize]> {
        self.graph.outputs.iter().map(|&output| self.graph.shape(output).sample())
    }

    /// The seed the model was built from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A table of the layers; print it with `{}`.
    pub fn summary(&self) -> Summary {
        Summary::of(self)
    }

    /// Names, shapes and ranges of the parameters in [`values`](Self::values).
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// All parameters, in the order of the [`layout`](Self::layout).
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// All parameters, to be changed.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// All trainable parameters, and all state.
    pub(crate) fn parts_mut(&mut self) -> (&mut [T], &mut [T]) {
        self.values.split_at_mut(self.layout.trainable_len())
    }

    /// Number of parameters.
    pub fn parameter_count(&self) -> usize {
        self.values.len()
    }

    /// The parameter of this name, such as `conv2d_1/kernel`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownParameter`], with all names there are.
    pub fn parameter(&self, name: &str) -> Result<ArrayViewD<'_, T>> {
        let entry = self.layout.entry(name)?;
        let shape = IxDyn(entry.shape());
        Ok(ArrayViewD::from_shape(shape, &self.values[entry.range()]).expect("the layout made the range"))
    }

    /// The parameter of this name, to be changed.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownParameter`], with all names there are.
    pub fn parameter_mut(&mut self, name: &str) -> Result<ArrayViewMutD<'_, T>> {
        let entry = self.layout.entry(name)?;
        let (shape, range): (_, Range<usize>) = (IxDyn(entry.shape()), entry.range());
        Ok(ArrayViewMutD::from_shape(shape, &mut self.values[range]).expect("the layout made the range"))
    }

    /// The entries of a layer of this model, and of those that it is made of: for each what is trained, then its state.
    #[cfg(any(feature = "safetensors", feature = "keras"))]
    pub(crate) fn entries_of(&self, layer: &NamedLayer<T>) -> Vec<&Entry> {
        layer.blocks.clone().flat_map(|block| self.layout.block_entries(block)).collect()
    }

    /// All parameters with their names.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, ArrayViewD<'_, T>)> {
        self.layout.entries().iter().map(|entry| {
            let values = &self.values[entry.range()];
            let view = ArrayViewD::from_shape(IxDyn(entry.shape()), values).expect("the layout made the range");
            (entry.name(), view)
        })
    }

    /// What the model makes of inputs `[n, …]`: outputs `[n, …]`. Inputs need not be contiguous.
    ///
    /// A sample's output does not depend, to the last bit, on what else is predicted with it, nor on the number of
    /// threads. Who predicts again and again keeps a [`predictor`](Self::predictor), which allocates nothing.
    ///
    /// # Errors
    ///
    /// [`Error::ArrayShape`] if a sample is not of the model's input shape.
    pub fn predict<D: Dimension>(&self, x: &ArrayRef<T, D>) -> Result<ArrayD<T>> {
        let samples = self.check_input("predict", x.shape())?;
        let shape = [&[samples], self.output_shape()].concat();
        // inputs that repeat one sample take no memory, and may be more than there is memory for
        let y = elements(&shape).and_then(zeros);
        let y = y.ok_or_else(|| Error::TooLarge { owner: "predict".to_owned(), what: "the output" })?;
        let mut y = ArrayD::from_shape_vec(shape, y).expect("as many as the shape has");
        if samples > 0 {
            self.predictor(self.predict_batch().min(samples)).predict_into(x, &mut y)?;
        }
        Ok(y)
    }

    /// Returns what the model makes of several inputs, each `[n, …]`: all its outputs, each `[n, …]`.
    ///
    /// # Errors
    ///
    /// [`Error::ArrayShape`] if there are not as many arrays as inputs, or a sample is not of its input's shape,
    /// [`Error::LengthMismatch`] if they are not equally many.
    ///
    /// ```
    /// use plywood::layers::Concatenate;
    /// use plywood::ndarray::Array2;
    /// use plywood::prelude::*;
    ///
    /// let (a, b) = (Value::input([3]), Value::input([2]));
    /// let both = Concatenate::of([&a, &b]);
    /// let (mean, spread) = (both.then(Dense::new(1)), both.then(Dense::new(1)));
    /// let model = Functional::new([&a, &b], [&mean, &spread]).build(42)?;
    /// let outputs = model.predict_all(&[Array2::zeros((4, 3)).view(), Array2::zeros((4, 2)).view()])?;
    /// assert_eq!(outputs[1].shape(), [4, 1]);
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn predict_all<D: Dimension>(&self, inputs: &[ArrayView<'_, T, D>]) -> Result<Vec<ArrayD<T>>> {
        let shapes: Vec<&[usize]> = self.input_shapes().collect();
        if inputs.len() != shapes.len() {
            let expected = format!("{}, one array for each input", shapes.len());
            return Err(Error::ArrayShape { what: "predict_all", got: vec![inputs.len()], expected });
        }
        let samples = inputs[0].shape().first().copied().unwrap_or_default();
        for (input, sample) in inputs.iter().zip(shapes) {
            if input.shape().get(1..) != Some(sample) {
                let expected = format!("n×{}: n samples of its input's shape", shape_text(sample));
                return Err(Error::ArrayShape { what: "predict_all", got: input.shape().to_vec(), expected });
            }
            if input.shape()[0] != samples {
                let (what, targets) = ("samples of another input", input.shape()[0]);
                return Err(Error::LengthMismatch { inputs: samples, what, targets });
            }
        }
        let whole: Vec<_> = inputs.iter().map(|input| input.as_standard_layout()).collect();
        let slices: Vec<&[T]> = whole.iter().map(|input| input.as_slice().expect("it has been made whole")).collect();
        let mut outputs = vec![];
        for sample in self.output_shapes() {
            let shape = [&[samples], sample].concat();
            let y = elements(&shape).and_then(zeros);
            let y = y.ok_or_else(|| Error::TooLarge { owner: "predict_all".to_owned(), what: "an output" })?;
            outputs.push(ArrayD::from_shape_vec(shape, y).expect("as many as the shape has"));
        }
        if samples > 0 {
            let mut y: Vec<&mut [T]> =
                outputs.iter_mut().map(|output| output.as_slice_mut().expect("it is new")).collect();
            self.predictor(self.predict_batch().min(samples)).predict_slices(&slices, &mut y)?;
        }
        Ok(outputs)
    }

    /// The most probable class of each input: where the largest of the last axis's outputs is, the first of equals;
    /// NaN counts as the largest, as in NumPy.
    ///
    /// # Errors
    ///
    /// [`Error::ArrayShape`] if a sample is not of the model's input shape, or the output is not one vector a sample.
    ///
    /// ```
    /// use plywood::ndarray::array;
    /// use plywood::prelude::*;
    ///
    /// let model = Sequential::input([3]).add(ReLU::new()).build(0)?;
    /// assert_eq!(model.predict_classes(&array![[0.1_f32, 0.7, 0.2]])?, array![1]);
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn predict_classes<D: Dimension>(&self, x: &ArrayRef<T, D>) -> Result<Array1<usize>> {
        if self.output_shape().len() != 1 {
            return Err(Error::ArrayShape {
                what: "predict_classes",
                got: self.output_shape().to_vec(),
                expected: "a model that puts out [classes] a sample".to_owned(),
            });
        }
        let y = self.predict(x)?;
        let class = |scores: ArrayViewD<'_, T>| {
            largest(&scores).or_else(|| scores.iter().position(|score| score.is_nan())).unwrap_or(0)
        };
        Ok(y.axis_iter(Axis(0)).map(class).collect())
    }

    /// A predictor for up to `batch` samples at a time: it has the parameters packed and all memory ready, so that
    /// predicting with it allocates nothing. A `batch` of which some layer's output would have more than 2²⁸ elements is
    /// computed in parts.
    pub fn predictor(&self, batch: usize) -> Predictor<T, &Self> {
        Predictor::new(self, batch)
    }

    /// Samples of which no array between layers has more than 2²⁸ elements, up to so many.
    pub(crate) fn batch_within_memory(&self, batch: usize) -> usize {
        batch.clamp(1, self.samples_within(1 << 28))
    }

    /// Samples that `predict` computes at a time: as many as fill the cores, as long as memory stays moderate.
    pub(crate) fn predict_batch(&self) -> usize {
        self.samples_within(1 << 24).min(256)
    }

    /// Multiply-adds of one sample's forward pass, and elements it writes.
    pub(crate) fn work(&self) -> usize {
        let outputs =
            self.graph.nodes.iter().flat_map(|node| &node.outputs).map(|&output| self.graph.shape(output).len(1));
        self.layers.iter().map(|layer| layer.multiply_adds).chain(outputs).fold(0, usize::saturating_add)
    }

    /// How many samples no array between layers has more than so many elements for; at least 1.
    fn samples_within(&self, most: usize) -> usize {
        let widest = self.graph.shapes.iter().map(|shape| shape.len(1)).max().unwrap_or(1);
        (most / widest).max(1)
    }

    /// The number of samples of an array of inputs.
    pub(crate) fn check_input(&self, what: &'static str, shape: &[usize]) -> Result<usize> {
        match shape.split_first() {
            Some((&samples, sample)) if sample == self.input_shape() => Ok(samples),
            _ => {
                let input = self.input_shape();
                let help = if shape == input {
                    "; of a single sample, insert_axis(Axis(0)) makes a batch"
                } else if has_channels_first(shape, input) {
                    "; these look like images with their channels first: permuted_axes([0, 2, 3, 1]) puts them last"
                } else if shape.split_first().and_then(|(_, sample)| elements(sample)) == elements(input) {
                    "; they have as many elements: reshape them"
                } else {
                    ""
                };
                let expected = format!("n×{}: n samples of the model's input shape{help}", shape_text(input));
                Err(Error::ArrayShape { what, got: shape.to_vec(), expected })
            }
        }
    }

    pub(crate) fn identity(&self) -> &Arc<()> {
        &self.identity
    }

    /// How the layers hang together.
    #[cfg(any(feature = "safetensors", feature = "keras"))]
    pub(crate) fn network(&self) -> &Network<T> {
        &self.network
    }

    pub(crate) fn graph(&self) -> &Graph<T> {
        &self.graph
    }

    /// The graph with its parameters.
    pub(crate) fn bound(&self) -> Bound<'_, T> {
        Bound { graph: &self.graph, layout: &self.layout, values: &self.values }
    }

    /// The shapes of a batch of the first input, and of the first output.
    pub(crate) fn batch_shapes(&self) -> (&BatchShape, &BatchShape) {
        (self.graph.shape(self.graph.inputs[0]), self.graph.shape(self.graph.outputs[0]))
    }
}

/// Whether an array of inputs has the channels of its images where PyTorch has them, `[n, channels, height, width]`.
fn has_channels_first(inputs: &[usize], input: &[usize]) -> bool {
    matches!((inputs, input), (&[_, a, b, c], &[height, width, channels]) if [a, b, c] == [channels, height, width])
}
