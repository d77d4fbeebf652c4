//! What a layer learns and what it remembers: how it asks for parameters, and how it is given them.

use std::ops::Range;

use ndarray::{ArrayViewD, ArrayViewMutD, IxDyn};

use crate::initializers::Initializer;

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
    /// Whether the optimizer changes it, or the layer itself.
    pub role: Role,
}

/// Who changes a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The optimizer, by its gradient.
    Trainable,
    /// The layer: a training pass reads [`Forward::state`](super::Forward::state) and writes
    /// [`Training::next_state`](super::Training::next_state), which takes its place when the step has succeeded.
    State,
}

impl ParameterSpec {
    /// Creates a trainable parameter whose fans are both its number of elements; see [`fans`](Self::fans).
    pub fn new(name: &'static str, shape: impl Into<Vec<usize>>, initializer: Initializer) -> Self {
        let shape = shape.into();
        let len = shape.iter().fold(1, |len: usize, &size| len.saturating_mul(size));
        Self { name, shape, initializer, fan_in: len, fan_out: len, role: Role::Trainable }
    }

    /// Creates a state: what the layer remembers from step to step, such as a running mean. If a step is cut into
    /// micro-batches, the next state is the mean of what each of them writes, weighted by their samples.
    pub fn state(name: &'static str, shape: impl Into<Vec<usize>>, initializer: Initializer) -> Self {
        Self { role: Role::State, ..Self::new(name, shape, initializer) }
    }

    /// Sets the fans that variance-scaling initializers divide by.
    pub fn fans(mut self, fan_in: usize, fan_out: usize) -> Self {
        (self.fan_in, self.fan_out) = (fan_in, fan_out);
        self
    }
}

/// One parameter's place in the model's buffer.
///
/// ```
/// use plywood::prelude::*;
///
/// let model = Sequential::input([3]).add(Dense::new(2)).build(42)?;
/// let bias = model.layout().entry("dense/bias")?;
/// assert_eq!((bias.shape(), bias.range()), (&[2][..], 6..8));
/// assert_eq!(model.values()[bias.range()], [0.0, 0.0]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub(crate) name: String,
    pub(crate) shape: IxDyn,
    pub(crate) range: Range<usize>,
    pub(crate) role: Role,
}

impl Entry {
    /// Returns the layer's name and the parameter's, as in `conv2d_1/kernel`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the parameter's shape.
    pub fn shape(&self) -> &[usize] {
        ndarray::Dimension::slice(&self.shape)
    }

    /// Returns where it lies in the buffer.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Returns whether the optimizer changes it, or its layer.
    pub fn role(&self) -> Role {
        self.role
    }
}

/// One layer's parameters: `let [kernel, bias] = block.split();`
///
/// A layer that adds one parameter, y = x + b:
///
/// ```
/// use plywood::layers::{Backward, Forward, Layer, Op, ParameterSpec, Plan, single_input};
/// use plywood::ndarray::array;
/// use plywood::testing::LayerRun;
/// use plywood::{Initializer, Result, Scalar};
///
/// #[derive(Debug, Clone)]
/// struct Shift;
///
/// impl<T: Scalar> Op<T> for Shift {
///     fn forward(&self, mut pass: Forward<'_, T>) {
///         let [shift] = pass.parameters.split();
///         pass.y.view_mut().assign(&(&pass.x.view() + &shift));
///     }
/// #
/// #     fn backward(&self, _: Backward<'_, T>) {}
///     // …
/// }
/// # impl<T: Scalar> Layer<T> for Shift {
/// #     fn kind(&self) -> &'static str {
/// #         "shift"
/// #     }
/// #
/// #     fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
/// #         let input = single_input("shift", inputs)?;
/// #         Ok(Plan::new(input, self.clone()).parameter(ParameterSpec::new("shift", input, Initializer::Ones)))
/// #     }
/// # }
///
/// let mut run = LayerRun::<f32>::new(Shift, [2], 1, 0)?;
/// run.x_mut().assign(&array![[3.0, -2.0]]);
/// run.forward();
/// assert_eq!(run.y(), array![[4.0, -1.0]].into_dyn());
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Block<'a, T> {
    pub(crate) entries: &'a [Entry],
    pub(crate) values: &'a [T],
}

impl<'a, T> Block<'a, T> {
    /// Returns the first `N` parameters, in the order of the layer's plan.
    ///
    /// # Panics
    ///
    /// If the layer planned fewer than `N`.
    pub fn split<const N: usize>(self) -> [ArrayViewD<'a, T>; N] {
        let mut rest = self.values;
        std::array::from_fn(|i| {
            let head = rest.split_off(..self.entries[i].range.len()).expect("the layout made the range");
            ArrayViewD::from_shape(self.entries[i].shape.clone(), head).expect("the layout made the range")
        })
    }

    /// Returns the first `N` parameters as plain slices.
    ///
    /// # Panics
    ///
    /// If the layer planned fewer than `N`.
    pub fn split_slices<const N: usize>(self) -> [&'a [T]; N] {
        let mut rest = self.values;
        std::array::from_fn(|i| rest.split_off(..self.entries[i].range.len()).expect("the layout made the range"))
    }

    /// Returns the number of parameters planned.
    pub fn count(&self) -> usize {
        self.entries.len()
    }
}

/// Memory for one layer's gradients, or its next state: `let [mut dkernel, mut dbias] = block.split();`
///
/// Of the same layer as in the example of [`Block`], ∂L/∂b = Σ dy over the batch:
///
/// ```
/// use plywood::layers::{Backward, Forward, Layer, Op, ParameterSpec, Plan, single_input};
/// use plywood::ndarray::{Axis, array};
/// use plywood::testing::LayerRun;
/// use plywood::{Initializer, Result, Scalar};
///
/// #[derive(Debug, Clone)]
/// struct Shift;
///
/// impl<T: Scalar> Op<T> for Shift {
///     fn backward(&self, mut pass: Backward<'_, T>) {
///         let [mut dshift] = pass.gradients.split();
///         let dy = pass.dy.view_mut();
///         dshift.assign(&dy.sum_axis(Axis(0)));
///         if let Some(mut dx) = pass.dx.view_mut() {
///             dx.assign(&dy);
///         }
///     }
/// #
/// #     fn forward(&self, _: Forward<'_, T>) {}
///     // …
/// }
/// # impl<T: Scalar> Layer<T> for Shift {
/// #     fn kind(&self) -> &'static str {
/// #         "shift"
/// #     }
/// #
/// #     fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
/// #         let input = single_input("shift", inputs)?;
/// #         Ok(Plan::new(input, self.clone()).parameter(ParameterSpec::new("shift", input, Initializer::Ones)))
/// #     }
/// # }
///
/// let mut run = LayerRun::<f32>::new(Shift, [2], 2, 0)?;
/// run.dy_mut().assign(&array![[1.0, 2.0], [3.0, 4.0]]);
/// run.forward();
/// run.backward(false);
/// assert_eq!(run.gradients(), [4.0, 6.0]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug)]
pub struct BlockMut<'a, T> {
    pub(crate) entries: &'a [Entry],
    pub(crate) values: &'a mut [T],
    /// Whether somebody reads them.
    pub(crate) wanted: bool,
}

impl<'a, T> BlockMut<'a, T> {
    /// Returns whether the gradients are used. Where all of a layer's parameters are frozen they are not, and an op may
    /// save itself the work; what it writes is not read.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Returns the number of parameters planned.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Returns the first `N` gradients, in the order of the layer's plan.
    ///
    /// # Panics
    ///
    /// If the layer planned fewer than `N`.
    pub fn split<const N: usize>(self) -> [ArrayViewMutD<'a, T>; N] {
        let entries = self.entries;
        let mut slices = self.split_slices::<N>().into_iter();
        std::array::from_fn(|i| {
            let head = slices.next().expect("as many slices as arrays");
            ArrayViewMutD::from_shape(entries[i].shape.clone(), head).expect("the layout made the range")
        })
    }

    /// Returns the first `N` gradients as plain slices.
    ///
    /// # Panics
    ///
    /// If the layer planned fewer than `N`.
    pub fn split_slices<const N: usize>(self) -> [&'a mut [T]; N] {
        let mut rest = self.values;
        std::array::from_fn(|i| rest.split_off_mut(..self.entries[i].range.len()).expect("the layout made the range"))
    }
}
