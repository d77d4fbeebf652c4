//! What a layer is ([`Layer`], [`Plan`]) and what it becomes when a model is built ([`Op`]).

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use super::activations::Activation;
use super::network::{Network, Value};
use super::parameters::{Block, BlockMut, ParameterSpec};
use super::tensors::{InputGradients, Tensors, TensorsMut};
use crate::error::{Error, Result, shape_text};
use crate::scalar::Scalar;

/// A description of a part of a model: a value that says what it makes of its inputs.
///
/// A layer holds no weights and no activations. When a model is built, [`plan`](Self::plan) checks settings and input
/// shapes once; the [`Plan`] has everything that follows from them: the output's shape, the parameters, and the [`Op`]
/// that computes. A small layer implements both traits and gives itself as its op.
///
/// [`check_layer`](crate::testing::check_layer) holds a layer to the contract, as it does all layers of the crate.
///
/// # Example
///
/// A layer that multiplies each feature by a weight of its own, y = x ⊙ w:
///
/// ```
/// use plywood::layers::{Backward, Forward, Layer, Op, ParameterSpec, Plan, single_input};
/// use plywood::ndarray::{Axis, Zip};
/// use plywood::{Error, Initializer, Result, Scalar};
///
/// #[derive(Debug, Clone)]
/// struct Scale;
///
/// impl<T: Scalar> Layer<T> for Scale {
///     fn kind(&self) -> &'static str {
///         "scale"
///     }
///
///     fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
///         let &[features] = single_input("scale", inputs)? else {
///             return Err(Error::layer("scale", "wants samples of shape [features]; put Flatten before it"));
///         };
///         let weight = ParameterSpec::new("weight", [features], Initializer::Ones);
///         Ok(Plan::new([features], self.clone()).parameter(weight))
///     }
/// }
///
/// impl<T: Scalar> Op<T> for Scale {
///     fn forward(&self, mut pass: Forward<'_, T>) {
///         let [w] = pass.parameters.split();
///         Zip::from(pass.y.view_mut()).and(pass.x.view()).and_broadcast(&w).for_each(|y, &x, &w| *y = x * w);
///     }
///
///     fn backward(&self, mut pass: Backward<'_, T>) {
///         let [w] = pass.parameters.split();
///         let [mut dw] = pass.gradients.split();
///         let dy = pass.dy.view_mut();
///         dw.assign(&(&pass.x.view() * &dy).sum_axis(Axis(0)));
///         if let Some(dx) = pass.dx.view_mut() {
///             Zip::from(dx).and(&dy).and_broadcast(&w).for_each(|dx, &dy, &w| *dx = dy * w);
///         }
///     }
/// }
///
/// # use plywood::prelude::*;
/// let model = Sequential::input([4]).add(Scale).add(Dense::new(2)).build(42)?;
/// assert_eq!(model.parameter("scale/weight")?.len(), 4);
/// # Ok::<(), plywood::Error>(())
/// ```
pub trait Layer<T: Scalar = f32>: Any + Debug + Send + Sync {
    /// Returns the stem of the layer's name in a model, in snake case: `dense` gives `dense`, `dense_1`, `dense_2`.
    fn kind(&self) -> &'static str;

    /// Returns the type's name as summaries show it. By default the part of the type's path after the last `::`.
    fn type_name(&self) -> &'static str {
        last_of_path(std::any::type_name::<Self>())
    }

    /// Checks the shapes of one sample of each input (without the batch axis) and the layer's own settings; says what
    /// comes out, which parameters it needs, and what computes.
    ///
    /// # Errors
    ///
    /// Whatever makes the layer impossible; it names the layer by its [`kind`](Self::kind), the model puts in its name.
    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>>;
}

/// What computes: a layer whose shapes are known.
///
/// # The contract
///
/// - Slices are contiguous and row-major; the first axis is the batch. Shapes are those of the plan.
/// - `forward` writes every element of `y`. `backward` writes every element of the gradients and of those `dx` that are
///   asked for: it **overwrites**, and never adds to what is there.
/// - `backward` gets the same `x`, `y` and scratch that `forward` had, so nothing needs to be kept elsewhere.
/// - A training pass writes all of `next_state`, which takes the place of `state` only when the step has succeeded.
/// - Results must not depend on the number of threads. A sample's output and its `dx` must not depend on the rest of its
///   batch, not even where that is NaN or infinite; an op that must, such as batch normalization in training, says so by
///   [`Plan::mixes_samples`].
/// - NaN comes out: an element of `x` that is NaN makes every output NaN that it can change, and an element of `dy`
///   every element of `dx` and of the gradients. A step that goes wrong would not be noticed otherwise.
pub trait Op<T: Scalar = f32>: Any + Debug + Send + Sync {
    /// Returns the sizes of the working memory for a batch. They must not shrink when the batch grows. None by default.
    fn scratch(&self, batch: usize, phase: Phase) -> Scratch {
        let _ = (batch, phase);
        Scratch::default()
    }

    /// Returns how many values [`prepare`](Self::prepare) writes. None by default.
    fn prepared_len(&self) -> usize {
        0
    }

    /// Brings the parameters into the form `forward` reads: once a training step, or once for many predictions.
    fn prepare(&self, parameters: Block<'_, T>, prepared: &mut [T]) {
        let _ = (parameters, prepared);
    }

    /// Computes the outputs from the inputs.
    fn forward(&self, pass: Forward<'_, T>);

    /// Computes the gradients of the parameters, and of the inputs where they are asked for, from those of the outputs.
    fn backward(&self, pass: Backward<'_, T>);
}

/// What a layer makes of input shapes.
///
/// ```
/// use plywood::Initializer;
/// use plywood::layers::{Dense, Layer};
///
/// let plan = Layer::<f32>::plan(&Dense::new(10), &[&[784]])?;
/// assert_eq!(plan.outputs(), [[10]]);
/// assert_eq!((plan.parameters()[0].name, &plan.parameters()[0].shape), ("kernel", &vec![784, 10]));
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Plan<T: Scalar = f32> {
    pub(crate) outputs: Vec<Vec<usize>>,
    pub(crate) parameters: Vec<ParameterSpec>,
    pub(crate) activation: Activation,
    pub(crate) multiply_adds: usize,
    pub(crate) mixes_samples: bool,
    pub(crate) computation: Computation<T>,
    /// What the parameters of the layers that it is made of are at first, in place of what their initializers draw.
    pub(crate) given: Option<Arc<dyn GivenValues<T>>>,
}

/// Values for parameters, by their names.
pub(crate) trait GivenValues<T>: Debug + Send + Sync {
    /// The values of the parameter of this name.
    fn get(&self, name: &str) -> Option<&[T]>;
}

/// How the outputs come about.
#[derive(Debug, Clone)]
pub(crate) enum Computation<T: Scalar> {
    Op(Arc<dyn Op<T>>),
    /// The only input in another shape.
    Reshape,
    /// By other layers.
    Network(Network<T>),
}

impl<T: Scalar> Plan<T> {
    /// Creates the plan of a layer without parameters, whose samples come out in this shape.
    pub fn new(output: impl Into<Vec<usize>>, op: impl Op<T>) -> Self {
        Self::with(output, Computation::Op(Arc::new(op)))
    }

    /// Creates the plan of a layer that changes nothing but the shape, which is not computed at all. The output must have
    /// as many elements as the only input.
    pub fn reshape(output: impl Into<Vec<usize>>) -> Self {
        Self::with(output, Computation::Reshape)
    }

    /// Creates the plan of a layer that is made of other layers, applied to inputs of these shapes. The model sees the
    /// layers themselves, so that they run as fast as they do alone; their parameters are named after the layer and
    /// them: `block_1/conv2d/kernel`.
    ///
    /// ```
    /// use plywood::layers::{Add, Layer, Plan};
    /// use plywood::prelude::*;
    ///
    /// /// y = relu(x + Dense(relu(Dense(x)))).
    /// #[derive(Debug, Clone)]
    /// struct Residual;
    ///
    /// impl<T: Scalar> Layer<T> for Residual {
    ///     fn kind(&self) -> &'static str {
    ///         "residual"
    ///     }
    ///
    ///     fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
    ///         let features = inputs[0][0];
    ///         Ok(Plan::network(inputs, |x| {
    ///             let y = x[0].then(Dense::new(features).activation(Activation::ReLU)).then(Dense::new(features));
    ///             vec![Add::of([&y, &x[0]]).then(ReLU::new())]
    ///         }))
    ///     }
    /// }
    ///
    /// let model = Sequential::input([4]).add(Residual).add(Dense::new(2)).build(42)?;
    /// assert_eq!(model.parameter("residual/dense_1/kernel")?.shape(), [4, 4]);
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn network(inputs: &[&[usize]], outputs: impl FnOnce(&[Value<T>]) -> Vec<Value<T>>) -> Self {
        let inputs: Vec<_> = inputs.iter().map(|&sample| Value::with_input(sample)).collect();
        Self::of_network(Network::between(&inputs, &outputs(&inputs)))
    }

    pub(crate) fn of_network(network: Network<T>) -> Self {
        Self { outputs: vec![], ..Self::with([], Computation::Network(network)) }
    }

    /// The plan of a layer that is made of a network, with these values for its parameters.
    pub(crate) fn given_network(network: Network<T>, given: Arc<dyn GivenValues<T>>) -> Self {
        Self { given: Some(given), ..Self::of_network(network) }
    }

    fn with(output: impl Into<Vec<usize>>, computation: Computation<T>) -> Self {
        Self {
            outputs: vec![output.into()],
            parameters: vec![],
            activation: Activation::Linear,
            multiply_adds: 0,
            mixes_samples: false,
            computation,
            given: None,
        }
    }

    /// Adds an output of this shape, after those there are.
    pub fn output(mut self, sample: impl Into<Vec<usize>>) -> Self {
        self.outputs.push(sample.into());
        self
    }

    /// Adds a parameter.
    pub fn parameter(mut self, spec: ParameterSpec) -> Self {
        self.parameters.push(spec);
        self
    }

    /// Sets what is applied to the output afterwards. Where it can, the model joins it with the op.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// Sets the number of multiplications with addition that one sample's forward pass takes; 0 by default, for what is
    /// not dominated by them.
    pub fn multiply_adds(mut self, count: usize) -> Self {
        self.multiply_adds = count;
        self
    }

    /// Says that in training, what comes out for a sample depends on its whole batch.
    pub fn mixes_samples(mut self) -> Self {
        self.mixes_samples = true;
        self
    }

    /// Returns the shapes of one sample of each output; of a layer that is made of others they are known only in a model.
    pub fn outputs(&self) -> &[Vec<usize>] {
        &self.outputs
    }

    /// Returns the layer's own parameters, in the order in which [`Block::split`] gives them.
    pub fn parameters(&self) -> &[ParameterSpec] {
        &self.parameters
    }
}

/// Returns the shape of the only input.
///
/// # Errors
///
/// [`Error::Layer`] by the name of `kind` if there are none or several.
pub fn single_input<'a>(kind: &str, inputs: &[&'a [usize]]) -> Result<&'a [usize]> {
    match inputs {
        &[input] => Ok(input),
        _ => {
            let shapes: Vec<_> = inputs.iter().map(|input| shape_text(input)).collect();
            let got = if shapes.is_empty() { "none".to_owned() } else { shapes.join(" and ") };
            Err(Error::layer(kind, format!("got {} inputs ({got}), expected one", inputs.len())))
        }
    }
}

/// What a pass is for.
///
/// Max-pooling remembers where each maximum was, but only for a backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Forward only; nothing is kept.
    Inference,
    /// Forward, then backward with the same scratch.
    Training,
}

/// Sizes of the working memory an op asks for. Its content lasts from a forward pass to the backward pass after it.
///
/// A hundred numbers a sample:
///
/// ```
/// use plywood::layers::Scratch;
///
/// let values = |batch: usize| Scratch { values: 100 * batch, ..Scratch::default() };
/// assert_eq!(values(8).indices, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scratch {
    /// Numbers of the model's type.
    pub values: usize,
    /// Indices.
    pub indices: usize,
}

impl Scratch {
    /// As much as either asks for.
    pub(crate) fn or_more(self, other: Self) -> Self {
        Self { values: self.values.max(other.values), indices: self.indices.max(other.indices) }
    }
}

/// Returns a type's name without modules and parameters: `Residual` of `my::Residual<other::Inner>`.
pub(crate) fn last_of_path(path: &'static str) -> &'static str {
    let path = path.split_once('<').map_or(path, |(path, _)| path);
    path.rsplit("::").next().unwrap_or(path)
}

/// Working memory of at least the size asked for, with unspecified content.
///
/// The layer y = x / (1 + |x|) keeps r = 1 / (1 + |x|) for its backward pass, where dx = dy·r²:
///
/// ```
/// use plywood::layers::{Backward, Forward, Layer, Op, Phase, Plan, Scratch, single_input};
/// use plywood::testing::check_layer;
/// use plywood::{Result, Scalar};
///
/// #[derive(Debug, Clone)]
/// struct Softsign {
///     elements: usize,
/// }
///
/// impl<T: Scalar> Op<T> for Softsign {
///     fn scratch(&self, batch: usize, _: Phase) -> Scratch {
///         Scratch { values: batch * self.elements, indices: 0 }
///     }
///
///     fn forward(&self, mut pass: Forward<'_, T>) {
///         for ((y, &x), r) in pass.y.slice_mut().iter_mut().zip(pass.x.slice()).zip(pass.scratch.values) {
///             *r = (T::one() + x.abs()).recip();
///             *y = x * *r;
///         }
///     }
///
///     fn backward(&self, mut pass: Backward<'_, T>) {
///         let Some(dx) = pass.dx.into_slice() else { return };
///         for ((dx, &mut dy), &mut r) in dx.iter_mut().zip(pass.dy.slice_mut()).zip(pass.scratch.values) {
///             *dx = dy * r * r;
///         }
///     }
/// }
/// # #[derive(Debug, Clone)]
/// # struct SoftsignLayer;
/// # impl<T: Scalar> Layer<T> for SoftsignLayer {
/// #     fn kind(&self) -> &'static str {
/// #         "softsign"
/// #     }
/// #
/// #     fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
/// #         let input = single_input("softsign", inputs)?;
/// #         let elements = input.iter().try_fold(1_usize, |n, &size| n.checked_mul(size));
/// #         let elements = elements.ok_or_else(|| plywood::Error::layer("softsign", "too large"))?;
/// #         Ok(Plan::new(input, Softsign { elements }))
/// #     }
/// # }
/// # assert!(check_layer(SoftsignLayer, [5]).is_ok());
/// ```
#[derive(Debug)]
pub struct ScratchMut<'a, T> {
    /// Numbers of the model's type.
    pub values: &'a mut [T],
    /// Indices.
    pub indices: &'a mut [u32],
}

/// What only a training pass has.
#[derive(Debug)]
pub struct Training<'a, T> {
    /// A number of this step and layer, for layers that draw random numbers.
    pub random: u64,
    /// What takes the place of the layer's state if the step succeeds: to be written whole.
    pub next_state: BlockMut<'a, T>,
}

/// What a forward pass is given.
///
/// ```
/// use plywood::layers::{Backward, Forward, Layer, Op, Plan, single_input};
/// use plywood::ndarray::array;
/// use plywood::testing::LayerRun;
/// use plywood::{Result, Scalar};
///
/// #[derive(Debug, Clone)]
/// struct Square;
///
/// impl<T: Scalar> Op<T> for Square {
///     fn forward(&self, mut pass: Forward<'_, T>) {
///         pass.y.slice_mut().iter_mut().zip(pass.x.slice()).for_each(|(y, &x)| *y = x * x);
///     }
/// #
/// #     fn backward(&self, _: Backward<'_, T>) {}
///     // …
/// }
/// # impl<T: Scalar> Layer<T> for Square {
/// #     fn kind(&self) -> &'static str {
/// #         "square"
/// #     }
/// #
/// #     fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
/// #         Ok(Plan::new(single_input("square", inputs)?, self.clone()))
/// #     }
/// # }
///
/// let mut run = LayerRun::<f32>::new(Square, [2], 1, 0)?;
/// run.x_mut().assign(&array![[3.0, -2.0]]);
/// run.forward();
/// assert_eq!(run.y(), array![[9.0, 4.0]].into_dyn());
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug)]
pub struct Forward<'a, T> {
    /// Inputs, each `[batch, …]`.
    pub x: Tensors<'a, T>,
    /// Outputs, each `[batch, …]`: to be overwritten whole.
    pub y: TensorsMut<'a, T>,
    /// The layer's trainable parameters.
    pub parameters: Block<'a, T>,
    /// What the layer remembers from step to step.
    pub state: Block<'a, T>,
    /// What [`Op::prepare`] made of the parameters.
    pub prepared: &'a [T],
    /// Working memory.
    pub scratch: ScratchMut<'a, T>,
    /// `None` when predicting.
    pub training: Option<Training<'a, T>>,
}

/// What a backward pass is given.
///
/// ```
/// use plywood::layers::{Backward, Forward, Layer, Op, Plan, single_input};
/// use plywood::ndarray::array;
/// use plywood::testing::LayerRun;
/// use plywood::{Result, Scalar};
///
/// #[derive(Debug, Clone)]
/// struct Square;
///
/// impl<T: Scalar> Op<T> for Square {
///     fn backward(&self, mut pass: Backward<'_, T>) {
///         let Some(dx) = pass.dx.into_slice() else { return };
///         for ((dx, dy), x) in dx.iter_mut().zip(pass.dy.slice_mut()).zip(pass.x.slice()) {
///             *dx = *dy * (*x + *x);
///         }
///     }
/// #
/// #     fn forward(&self, _: Forward<'_, T>) {}
///     // …
/// }
/// # impl<T: Scalar> Layer<T> for Square {
/// #     fn kind(&self) -> &'static str {
/// #         "square"
/// #     }
/// #
/// #     fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
/// #         Ok(Plan::new(single_input("square", inputs)?, self.clone()))
/// #     }
/// # }
///
/// let mut run = LayerRun::<f32>::new(Square, [2], 1, 0)?;
/// run.x_mut().assign(&array![[3.0, -2.0]]);
/// run.dy_mut().fill(1.0);
/// run.forward();
/// run.backward(true);
/// assert_eq!(run.dx(), array![[6.0, -4.0]].into_dyn());
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug)]
pub struct Backward<'a, T> {
    /// Inputs of the forward pass.
    pub x: Tensors<'a, T>,
    /// Outputs of the forward pass.
    pub y: Tensors<'a, T>,
    /// Gradients of the loss with respect to the outputs. They may be used as working memory: their content is not needed
    /// afterwards.
    pub dy: TensorsMut<'a, T>,
    /// Gradients with respect to the inputs, to be overwritten whole where they are asked for: not for what comes from
    /// data alone.
    pub dx: InputGradients<'a, T>,
    /// The layer's trainable parameters, as they were in the forward pass.
    pub parameters: Block<'a, T>,
    /// Gradients of the parameters, to be overwritten whole.
    pub gradients: BlockMut<'a, T>,
    /// The working memory of the forward pass.
    pub scratch: ScratchMut<'a, T>,
}
