//! Models whose layers follow one another.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use ndarray::{Array1, ArrayD, ArrayRef, ArrayViewD, ArrayViewMutD, Axis, Dimension, IxDyn};

use super::aligned::zeros;
use super::parameters::Layout;
use super::predictor::Predictor;
use super::stage::{Extent, Stage, parts};
use super::summary::Summary;
use super::trainer::Trainer;
use crate::error::{Error, Result, shape_text};
use crate::kernels::dispatch::check_environment;
use crate::layers::{Layer, ParameterSpec};
use crate::losses::Loss;
use crate::metrics::largest;
use crate::optimizers::Optimizer;
use crate::random::{Purpose, generator};
use crate::scalar::Scalar;
use crate::shape::elements;

/// Layers one after the other, and their parameters: what is saved, shared between threads, and predicts.
///
/// A model is built from an input shape and layers; [`build`](SequentialBuilder::build) checks all shapes and draws all
/// parameters from one seed. [`compile`](Self::compile) makes a [`Trainer`] of it.
///
/// Models are `Send + Sync`: any number of threads can predict with one at the same time.
///
/// ```
/// use plywood::ndarray::Array4;
/// use plywood::prelude::*;
///
/// let model = Sequential::input([28, 28, 1])
///     .add(Conv2D::new(32, 3))
///     .add(ReLU::new())
///     .add(MaxPooling2D::new(2))
///     .add(Flatten::new())
///     .add(Dense::new(10))
///     .add(Softmax::new())
///     .build(42)?;
/// println!("{}", model.summary());
/// let probabilities = model.predict(&Array4::zeros((5, 28, 28, 1)))?;
/// assert_eq!(probabilities.shape(), [5, 10]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sequential<T: Scalar = f32> {
    layers: Vec<NamedLayer<T>>,
    stages: Vec<Stage<T>>,
    input: Extent,
    output: Extent,
    layout: Layout,
    values: Vec<T>,
    seed: u64,
    /// The same for all copies of a model, and for no other.
    identity: Arc<()>,
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
    name: String,
    layer: Arc<dyn Layer<T>>,
    input: Vec<usize>,
    output: Vec<usize>,
    parameters: usize,
    multiply_adds: usize,
}

impl<T: Scalar> NamedLayer<T> {
    /// The layer's name: its kind and, from the second of a kind on, a number, as Keras counts: `dense`, `dense_1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The layer.
    pub fn layer(&self) -> &dyn Layer<T> {
        self.layer.as_ref()
    }

    /// Shape of one input sample.
    pub fn input_shape(&self) -> &[usize] {
        &self.input
    }

    /// Shape of one output sample.
    pub fn output_shape(&self) -> &[usize] {
        &self.output
    }

    /// Number of parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters
    }

    /// Multiplications with addition that one sample's forward pass takes.
    pub fn multiply_adds(&self) -> usize {
        self.multiply_adds
    }
}

/// A model in the making; every error waits for [`build`](Self::build).
///
/// ```
/// use plywood::prelude::*;
///
/// let mut builder = Sequential::input([784]);
/// for units in [512, 64, 10] {
///     builder = builder.add(Dense::new(units).activation(Activation::ReLU));
/// }
/// assert_eq!(builder.build(42)?.layers().len(), 3);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SequentialBuilder<T: Scalar = f32> {
    input: Vec<usize>,
    layers: Vec<Arc<dyn Layer<T>>>,
}

impl Sequential {
    /// Starts a model of `f32` for samples of this shape, without the batch axis: `[784]`, `[28, 28, 1]`.
    pub fn input(sample: impl Into<Vec<usize>>) -> SequentialBuilder {
        Sequential::<f32>::with_input(sample)
    }
}

impl<T: Scalar> SequentialBuilder<T> {
    /// Appends a layer.
    #[expect(clippy::should_implement_trait, reason = "the name Keras users know; layers have no sum")]
    pub fn add(mut self, layer: impl Layer<T>) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// Checks all shapes and settings and draws the parameters.
    ///
    /// Each parameter is drawn from a stream of its own of the generator that `seed` starts (ChaCha8), so the same seed
    /// gives the same model on every machine. The seed also decides how a [`Trainer`] shuffles.
    ///
    /// # Errors
    ///
    /// The first problem, by the name of its layer: [`Error::InputShape`], [`Error::WindowTooLarge`],
    /// [`Error::InvalidParameter`], [`Error::TooLarge`]; [`Error::EmptyModel`] without layers; [`Error::Environment`] if
    /// `PLYWOOD_SIMD` asks for unknown instructions.
    pub fn build(self, seed: u64) -> Result<Sequential<T>> {
        T::build(self, seed)
    }

    /// What [`build`](Self::build) does.
    pub(crate) fn plan_and_draw(self, seed: u64) -> Result<Sequential<T>> {
        self.plan()?.draw(seed)
    }

    /// Checks all shapes and settings, and takes no memory for parameters yet.
    pub(crate) fn plan(self) -> Result<Planned<T>> {
        check_environment()?;
        if self.layers.is_empty() {
            return Err(Error::EmptyModel);
        }
        if self.input.is_empty() || self.input.contains(&0) {
            let got = format!("{:?}", self.input);
            return Err(Error::invalid_parameter("input", "sample shape", got, "at least one axis, each at least 1"));
        }
        elements(&self.input).ok_or_else(|| Error::TooLarge { owner: "input".to_owned(), what: "a sample" })?;

        let (mut layers, mut specs, mut layout) = (Vec::<NamedLayer<T>>::new(), vec![], Layout::default());
        let mut counts: HashMap<&'static str, usize> = HashMap::new();
        let mut names = HashSet::new();
        let mut shape = self.input;
        for layer in self.layers {
            let name = next_name(layer.kind(), &mut counts, |name| names.contains(name));
            names.insert(name.clone());
            let plan = layer.plan(&shape).map_err(|error| error.in_layer(&name))?;
            if plan.output.contains(&0) {
                let shape = shape_text(&plan.output);
                let message = format!("puts out samples of shape {shape}, expected sizes of at least 1");
                return Err(Error::layer(name, message));
            }
            elements(&plan.output).ok_or_else(|| Error::TooLarge { owner: name.clone(), what: "the output" })?;
            if layer.only_reshapes() && (!plan.parameters.is_empty() || elements(&plan.output) != elements(&shape)) {
                let (from, to) = (shape_text(&shape), shape_text(&plan.output));
                let message = format!(
                    "says that it only reshapes, but makes {to} of {from} with {} parameters; expected as many elements \
                     and none",
                    plan.parameters.len()
                );
                return Err(Error::layer(name, message));
            }
            parts(&layer, &shape).map_err(|error| error.in_layer(&name))?;
            layout.push(&name, &plan.parameters)?;
            for spec in &plan.parameters {
                spec.initializer.check_as::<T>(&name)?;
            }
            let input = std::mem::replace(&mut shape, plan.output);
            let parameters = plan.parameters.iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
            let multiply_adds = plan.multiply_adds;
            layers.push(NamedLayer { name, layer, input, output: shape.clone(), parameters, multiply_adds });
            specs.push(plan.parameters);
        }
        Ok(Planned { layers, specs, layout })
    }
}

/// The name of the next layer of a kind: `dense`, `dense_1`, `dense_2`, without those that are taken, as by a layer of
/// the kind `dense_1`.
fn next_name(kind: &'static str, counts: &mut HashMap<&'static str, usize>, is_taken: impl Fn(&str) -> bool) -> String {
    let count = counts.entry(kind).or_default();
    loop {
        let name = match *count {
            0 => kind.to_owned(),
            n => format!("{kind}_{n}"),
        };
        *count += 1;
        if !is_taken(&name) {
            return name;
        }
    }
}

/// A model whose shapes and settings fit, without values.
#[derive(Debug)]
pub(crate) struct Planned<T: Scalar> {
    layers: Vec<NamedLayer<T>>,
    /// The parameters of each layer.
    specs: Vec<Vec<ParameterSpec>>,
    layout: Layout,
}

impl<T: Scalar> Planned<T> {
    /// Names and shapes of the parameters.
    #[cfg(any(feature = "safetensors", feature = "keras"))]
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The model, with parameters drawn from a seed.
    fn draw(self, seed: u64) -> Result<Sequential<T>> {
        let Self { layers, specs, layout } = &self;
        let mut values = zeros(layout.len()).ok_or_else(|| {
            let largest = layers.iter().max_by_key(|layer| layer.parameters);
            let owner = largest.expect("there are layers").name.clone();
            Error::TooLarge { owner, what: "the parameters" }
        })?;
        let specs = layers.iter().zip(specs).flat_map(|(layer, specs)| specs.iter().map(|spec| (layer.name(), spec)));
        for (index, (entry, (name, spec))) in layout.entries().iter().zip(specs).enumerate() {
            let mut generator = generator(seed, Purpose::Parameter(index));
            spec.initializer
                .fill(&mut values[entry.range()], spec.fan_in, spec.fan_out, &mut generator)
                .map_err(|error| error.in_layer(name))?;
        }
        self.with_values(seed, values)
    }

    /// The model, with these parameters in the order of its layout.
    pub(crate) fn with_values(self, seed: u64, values: Vec<T>) -> Result<Sequential<T>> {
        let Self { layers, layout, .. } = self;
        debug_assert_eq!(values.len(), layout.len(), "as many values as parameters");
        let stages = Stage::of(layers.iter().map(|layer| (&layer.layer, layer.input.as_slice())))?;
        if let Some(stage) = stages.iter().find(|stage| !stage.fits_into_memory()) {
            let owner = layers[stage.owner].name.clone();
            return Err(Error::TooLarge { owner, what: "the working memory of a sample" });
        }
        let (first, last) = (layers.first().expect("there are layers"), layers.last().expect("there are layers"));
        let (input, output) = (Extent::new(&first.input), Extent::new(&last.output));
        Ok(Sequential { layers, stages, input, output, layout, values, seed, identity: Arc::new(()) })
    }
}

impl<T: Scalar> Sequential<T> {
    /// Starts a model of any number type for samples of this shape: `Sequential::<f64>::with_input([784])`.
    pub fn with_input(sample: impl Into<Vec<usize>>) -> SequentialBuilder<T> {
        SequentialBuilder { input: sample.into(), layers: vec![] }
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
        self.input.sample()
    }

    /// Shape of one output sample.
    pub fn output_shape(&self) -> &[usize] {
        self.output.sample()
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
    pub fn predictor(&self, batch: usize) -> Predictor<'_, T> {
        Predictor::new(self, self.batch_within_memory(batch))
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
        let outputs = self.stages.iter().map(|stage| stage.output.len(1));
        self.layers.iter().map(|layer| layer.multiply_adds).chain(outputs).fold(0, usize::saturating_add)
    }

    /// How many samples no array between layers has more than so many elements for; at least 1.
    fn samples_within(&self, most: usize) -> usize {
        let outputs = self.stages.iter().map(|stage| stage.output.len(1));
        let widest = outputs.fold(self.input.len(1), usize::max);
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

    pub(crate) fn stages(&self) -> &[Stage<T>] {
        &self.stages
    }

    pub(crate) fn extents(&self) -> (&Extent, &Extent) {
        (&self.input, &self.output)
    }
}

/// Whether an array of inputs has the channels of its images where PyTorch has them, `[n, channels, height, width]`.
fn has_channels_first(inputs: &[usize], input: &[usize]) -> bool {
    matches!((inputs, input), (&[_, a, b, c], &[height, width, channels]) if [a, b, c] == [channels, height, width])
}
