//! Layers, and the [`Layer`] trait that they and layers of other crates implement.
//!
//! A layer is a small immutable description. It holds no weights and no activations: it says what it needs
//! ([`Layer::plan`], [`Layer::scratch`]) and computes with what it is given ([`Layer::forward`], [`Layer::backward`]).
//!
//! ```
//! use plywood::prelude::*;
//!
//! let model = Sequential::input([28, 28, 1])
//!     .add(Conv2D::new(8, 3).activation(Activation::ReLU))
//!     .add(MaxPooling2D::new(2))
//!     .add(Flatten::new())
//!     .add(Dense::new(10).activation(Activation::Softmax))
//!     .build(42)?;
//! assert_eq!(model.layers()[1].output_shape(), [13, 13, 8]);
//! # Ok::<(), plywood::Error>(())
//! ```

mod activation;
mod conv2d;
mod dense;
mod flatten;
mod max_pooling2d;
mod pooled_conv2d;
mod relu;
mod softmax;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use ndarray::{ArrayViewD, ArrayViewMutD};

use crate::error::Result;
use crate::initializers::Initializer;
use crate::model::{Block, BlockMut};
use crate::scalar::Scalar;

pub use activation::Activation;
pub use conv2d::Conv2D;
pub use dense::Dense;
pub use flatten::Flatten;
pub use max_pooling2d::MaxPooling2D;
pub use relu::ReLU;
pub use softmax::Softmax;

/// What a layer is: a value that plans and computes.
///
/// # The contract
///
/// - Views are contiguous and row-major; the first axis is the batch. Shapes are those that [`plan`](Self::plan) was
///   given and gave, so an implementation may rely on them.
/// - `forward` writes every element of `y`. `backward` writes every element of the gradients and of `dx`: it
///   **overwrites**, and never adds to what is there.
/// - `backward` gets the same `x`, `y` and scratch that `forward` had, so nothing needs to be kept elsewhere.
/// - Results must not depend on the number of threads; a sample's output and its `dx` must not depend on the rest of
///   its batch, not even where that is NaN or infinite.
/// - NaN comes out: an element of `x` that is NaN makes every output NaN that it can change, and an element of `dy`
///   every element of `dx` and of the gradients. A step that goes wrong would not be noticed otherwise.
///
/// [`check_layer`](crate::testing::check_layer) holds a layer to it, as it does all layers of the crate.
///
/// # Example
///
/// A layer that multiplies each feature by a weight of its own, y = x ⊙ w:
///
/// ```
/// use plywood::layers::{Backward, Forward, Layer, ParameterSpec, Plan};
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
///     fn plan(&self, input: &[usize]) -> Result<Plan> {
///         let &[features] = input else {
///             return Err(Error::layer("scale", "wants samples of shape [features]; put Flatten before it"));
///         };
///         let weight = ParameterSpec::new("weight", [features], Initializer::Ones);
///         Ok(Plan::new([features]).parameter(weight))
///     }
///
///     fn forward(&self, mut pass: Forward<'_, T>) {
///         let [w] = pass.parameters.split();
///         Zip::from(&mut pass.y).and(&pass.x).and_broadcast(&w).for_each(|y, &x, &w| *y = x * w);
///     }
///
///     fn backward(&self, pass: Backward<'_, T>) {
///         let [w] = pass.parameters.split();
///         let [mut dw] = pass.gradients.split();
///         dw.assign(&(&pass.x * &pass.dy).sum_axis(Axis(0)));
///         if let Some(mut dx) = pass.dx {
///             Zip::from(&mut dx).and(&pass.dy).and_broadcast(&w).for_each(|dx, &dy, &w| *dx = dy * w);
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
    /// Stem of the layer's name in a model, in snake case: `dense` gives `dense`, `dense_1`, `dense_2`.
    fn kind(&self) -> &'static str;

    /// The type's name as summaries show it. By default the part of the type's path after the last `::`.
    fn type_name(&self) -> &'static str {
        last_of_path(std::any::type_name::<Self>())
    }

    /// Checks the shape of one input sample (without the batch axis) and the layer's own settings; says what comes out
    /// and which parameters it needs.
    ///
    /// # Errors
    ///
    /// Whatever makes the layer impossible; it names the layer by its [`kind`](Self::kind), the model puts in its name.
    fn plan(&self, input: &[usize]) -> Result<Plan>;

    /// Working memory for a batch. It must not shrink when the batch grows. None by default.
    fn scratch(&self, input: &[usize], batch: usize, phase: Phase) -> Scratch {
        let _ = (input, batch, phase);
        Scratch::default()
    }

    /// How many values [`prepare`](Self::prepare) writes. None by default.
    fn prepared_len(&self, input: &[usize]) -> usize {
        let _ = input;
        0
    }

    /// Brings the parameters into the form `forward` reads: once a training step, or once for many predictions.
    fn prepare(&self, input: &[usize], parameters: Block<'_, T>, prepared: &mut [T]) {
        let _ = (input, parameters, prepared);
    }

    /// Computes `y` from `x`.
    fn forward(&self, pass: Forward<'_, T>);

    /// Computes the gradients of the parameters, and of `x` if asked for, from the gradient of `y`.
    fn backward(&self, pass: Backward<'_, T>);

    /// A layer that does this one's work and the next one's in one go (Dense and ReLU, convolution and pooling). Names,
    /// summary and results are as if nothing had been joined. `None`, the default, leaves both as they are.
    fn absorb(&self, next: &dyn Layer<T>) -> Option<Arc<dyn Layer<T>>> {
        let _ = next;
        None
    }

    /// This layer as two that give the same one after the other: a loss can then take over the second. The first has all
    /// the parameters that this layer plans, of the same names and shapes and in the same order, or the model is not
    /// built; the second is given them, too, and has no use for them. `None`, the default, leaves it whole.
    fn split(&self) -> Option<[Arc<dyn Layer<T>>; 2]> {
        None
    }

    /// Whether the layer changes nothing but the shape; it is then not computed at all. Its output has as many elements as
    /// its input, and it has no parameters, or the model is not built.
    fn only_reshapes(&self) -> bool {
        false
    }
}

/// What a layer makes of an input shape.
///
/// ```
/// use plywood::Initializer;
/// use plywood::layers::{Dense, Layer, ParameterSpec, Plan};
///
/// let kernel = ParameterSpec::new("kernel", [784, 10], Initializer::GlorotUniform).fans(784, 10);
/// let plan = Plan::new([10]).parameter(kernel).multiply_adds(784 * 10);
/// assert_eq!(Layer::<f32>::plan(&Dense::new(10).bias(false), &[784])?, plan);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Shape of one output sample.
    pub output: Vec<usize>,
    /// The parameters, in the order in which [`Block::split`] gives them.
    pub parameters: Vec<ParameterSpec>,
    /// Multiplications with addition that one sample's forward pass takes; 0 for what is not dominated by them.
    pub multiply_adds: usize,
}

impl Plan {
    /// A plan without parameters.
    pub fn new(output: impl Into<Vec<usize>>) -> Self {
        Self { output: output.into(), parameters: vec![], multiply_adds: 0 }
    }

    /// Adds a parameter.
    pub fn parameter(mut self, spec: ParameterSpec) -> Self {
        self.parameters.push(spec);
        self
    }

    /// Sets the number of multiply-adds.
    pub fn multiply_adds(mut self, count: usize) -> Self {
        self.multiply_adds = count;
        self
    }
}

/// A parameter that a layer needs.
///
/// ```
/// use plywood::Initializer;
/// use plywood::layers::ParameterSpec;
///
/// let (fan_in, fan_out) = (3 * 3 * 8, 3 * 3 * 16);
/// let kernel = ParameterSpec::new("kernel", [3, 3, 8, 16], Initializer::HeNormal).fans(fan_in, fan_out);
/// assert_eq!((kernel.fan_in, kernel.fan_out), (72, 144));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// Its name within the layer, such as `kernel`.
    pub name: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it is at first.
    pub initializer: Initializer,
    /// Inputs that feed one output, for initializers that scale by it.
    pub fan_in: usize,
    /// Outputs that one input feeds.
    pub fan_out: usize,
}

impl ParameterSpec {
    /// A parameter whose fans are both its number of elements; see [`fans`](Self::fans).
    pub fn new(name: &'static str, shape: impl Into<Vec<usize>>, initializer: Initializer) -> Self {
        let shape = shape.into();
        let len = shape.iter().fold(1, |len: usize, &size| len.saturating_mul(size));
        Self { name, shape, initializer, fan_in: len, fan_out: len }
    }

    /// Sets the fans that variance-scaling initializers divide by.
    pub fn fans(mut self, fan_in: usize, fan_out: usize) -> Self {
        (self.fan_in, self.fan_out) = (fan_in, fan_out);
        self
    }
}

/// What a pass is for.
///
/// Max-pooling remembers where each maximum was, but only for a backward pass:
///
/// ```
/// use plywood::layers::{Layer, MaxPooling2D, Phase};
///
/// let scratch = |phase| Layer::<f32>::scratch(&MaxPooling2D::new(2), &[4, 4, 1], 8, phase);
/// assert_eq!(scratch(Phase::Inference).indices, 0);
/// assert_eq!(scratch(Phase::Training).indices, 8 * 2 * 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Forward only; nothing is kept.
    Inference,
    /// Forward, then backward with the same scratch.
    Training,
}

/// Sizes of the working memory a layer asks for. Its content lasts from a forward pass to the backward pass after it.
///
/// A hundred numbers a sample, and what a layer without working memory asks for:
///
/// ```
/// use plywood::layers::{Layer, Phase, ReLU, Scratch};
///
/// let values = |batch: usize| Scratch { values: 100 * batch, ..Scratch::default() };
/// assert_eq!(values(8).indices, 0);
/// assert_eq!(Layer::<f32>::scratch(&ReLU::new(), &[100], 8, Phase::Training), Scratch::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scratch {
    /// Numbers of the model's type.
    pub values: usize,
    /// Indices.
    pub indices: usize,
}

/// A type's name without modules and parameters: `Residual` of `my::Residual<other::Inner>`.
pub(crate) fn last_of_path(path: &'static str) -> &'static str {
    let path = path.split_once('<').map_or(path, |(path, _)| path);
    path.rsplit("::").next().unwrap_or(path)
}

/// Working memory of at least the size asked for, with unspecified content.
///
/// The layer y = x / (1 + |x|) keeps r = 1 / (1 + |x|) for its backward pass, where dx = dy·r²:
///
/// ```
/// use plywood::layers::{Backward, Forward, Layer, Phase, Plan, Scratch};
/// use plywood::testing::check_layer;
/// use plywood::{Result, Scalar};
///
/// #[derive(Debug, Clone)]
/// struct Softsign;
///
/// impl<T: Scalar> Layer<T> for Softsign {
/// #     fn kind(&self) -> &'static str {
/// #         "softsign"
/// #     }
/// #
/// #     fn plan(&self, input: &[usize]) -> Result<Plan> {
/// #         Ok(Plan::new(input))
/// #     }
/// #
///     fn scratch(&self, input: &[usize], batch: usize, _: Phase) -> Scratch {
///         Scratch { values: batch * input.iter().product::<usize>(), indices: 0 }
///     }
///
///     fn forward(&self, mut pass: Forward<'_, T>) {
///         for ((y, &x), r) in pass.y.iter_mut().zip(&pass.x).zip(pass.scratch.values) {
///             *r = (T::one() + x.abs()).recip();
///             *y = x * *r;
///         }
///     }
///
///     fn backward(&self, pass: Backward<'_, T>) {
///         let Some(mut dx) = pass.dx else { return };
///         for ((dx, &dy), &mut r) in dx.iter_mut().zip(&pass.dy).zip(pass.scratch.values) {
///             *dx = dy * r * r;
///         }
///     }
/// }
///
/// assert!(check_layer(Softsign, [5]).is_ok());
/// ```
#[derive(Debug)]
pub struct ScratchMut<'a, T> {
    /// Numbers of the model's type.
    pub values: &'a mut [T],
    /// Indices.
    pub indices: &'a mut [u32],
}

/// What a forward pass is given.
///
/// ```
/// use plywood::layers::{Backward, Forward, Layer, Plan};
/// use plywood::ndarray::{Zip, array};
/// use plywood::testing::LayerRun;
/// use plywood::{Result, Scalar};
///
/// #[derive(Debug)]
/// struct Square;
///
/// impl<T: Scalar> Layer<T> for Square {
///     fn forward(&self, mut pass: Forward<'_, T>) {
///         Zip::from(&mut pass.y).and(&pass.x).for_each(|y, &x| *y = x * x);
///     }
/// #
/// #     fn kind(&self) -> &'static str {
/// #         "square"
/// #     }
/// #
/// #     fn plan(&self, input: &[usize]) -> Result<Plan> {
/// #         Ok(Plan::new(input))
/// #     }
/// #
/// #     fn backward(&self, _: Backward<'_, T>) {}
///     // …
/// }
///
/// let mut run = LayerRun::<f32>::new(Square, [2], 1, 0)?;
/// run.x_mut().assign(&array![[3.0, -2.0]]);
/// run.forward();
/// assert_eq!(run.y(), array![[9.0, 4.0]].into_dyn());
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug)]
pub struct Forward<'a, T> {
    /// Input, `[batch, …]`.
    pub x: ArrayViewD<'a, T>,
    /// Output, `[batch, …]`: to be overwritten whole.
    pub y: ArrayViewMutD<'a, T>,
    /// The layer's parameters.
    pub parameters: Block<'a, T>,
    /// What [`Layer::prepare`] made of them.
    pub prepared: &'a [T],
    /// Working memory.
    pub scratch: ScratchMut<'a, T>,
    /// `None` when predicting; in training a number of this step and layer, for layers that draw random numbers.
    pub training: Option<u64>,
}

/// What a backward pass is given.
///
/// ```
/// use plywood::layers::{Backward, Forward, Layer, Plan};
/// use plywood::ndarray::{Zip, array};
/// use plywood::testing::LayerRun;
/// use plywood::{Result, Scalar};
///
/// #[derive(Debug)]
/// struct Square;
///
/// impl<T: Scalar> Layer<T> for Square {
///     fn backward(&self, pass: Backward<'_, T>) {
///         let Some(mut dx) = pass.dx else { return };
///         Zip::from(&mut dx).and(&pass.dy).and(&pass.x).for_each(|dx, &dy, &x| *dx = dy * (x + x));
///     }
/// #
/// #     fn kind(&self) -> &'static str {
/// #         "square"
/// #     }
/// #
/// #     fn plan(&self, input: &[usize]) -> Result<Plan> {
/// #         Ok(Plan::new(input))
/// #     }
/// #
/// #     fn forward(&self, mut pass: Forward<'_, T>) {
/// #         Zip::from(&mut pass.y).and(&pass.x).for_each(|y, &x| *y = x * x);
/// #     }
///     // …
/// }
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
    /// Input of the forward pass.
    pub x: ArrayViewD<'a, T>,
    /// Output of the forward pass.
    pub y: ArrayViewD<'a, T>,
    /// Gradient of the loss with respect to `y`. It may be used as working memory: its content is not needed afterwards.
    pub dy: ArrayViewMutD<'a, T>,
    /// Gradient with respect to `x`, to be overwritten whole; `None` where nobody wants it, as for the first layer with
    /// parameters. Layers before that one are not asked to go back at all.
    pub dx: Option<ArrayViewMutD<'a, T>>,
    /// The layer's parameters, as they were in the forward pass.
    pub parameters: Block<'a, T>,
    /// Gradients of the parameters, to be overwritten whole.
    pub gradients: BlockMut<'a, T>,
    /// The working memory of the forward pass.
    pub scratch: ScratchMut<'a, T>,
}

/// A contiguous view as a slice.
fn slice<T>(view: ArrayViewD<'_, T>) -> &[T] {
    view.to_slice().expect("views are contiguous by contract")
}

/// A contiguous view as a slice.
fn slice_mut<T>(view: ArrayViewMutD<'_, T>) -> &mut [T] {
    view.into_slice().expect("views are contiguous by contract")
}

/// The parameters of a layer whose bias is optional.
fn kernel_and_bias<T>(parameters: Block<'_, T>) -> (&[T], Option<&[T]>) {
    match parameters.count() {
        1 => (parameters.split_slices::<1>()[0], None),
        _ => {
            let [kernel, bias] = parameters.split_slices();
            (kernel, Some(bias))
        }
    }
}

/// The gradients of a layer whose bias is optional.
fn kernel_and_bias_mut<T>(gradients: BlockMut<'_, T>) -> (&mut [T], Option<&mut [T]>) {
    match gradients.count() {
        1 => {
            let [kernel] = gradients.split_slices();
            (kernel, None)
        }
        _ => {
            let [kernel, bias] = gradients.split_slices();
            (kernel, Some(bias))
        }
    }
}
