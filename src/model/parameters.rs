//! All weights of a model in one buffer, and the layout that names its parts.
//!
//! Gradients and optimizer slots have the same layout, so an optimizer step, a norm, a hash or a file is one operation
//! on one slice.

use std::ops::Range;

use ndarray::{ArrayViewD, ArrayViewMutD, IxDyn};

use crate::error::{Error, Result};
use crate::layers::ParameterSpec;
use crate::shape::elements;

/// Names, shapes and ranges of all parameters of a model, in one order.
///
/// ```
/// use plywood::prelude::*;
///
/// let model = Sequential::input([3]).add(Dense::new(2)).build(42)?;
/// let names: Vec<&str> = model.layout().entries().iter().map(|entry| entry.name()).collect();
/// assert_eq!(names, ["dense/kernel", "dense/bias"]);
/// assert_eq!(model.layout().len(), 3 * 2 + 2);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layout {
    entries: Vec<Entry>,
    /// Entries of each layer.
    layers: Vec<Range<usize>>,
    len: usize,
}

/// One parameter's place in the buffer.
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
    name: String,
    shape: IxDyn,
    range: Range<usize>,
}

impl Entry {
    /// The layer's name and the parameter's, as in `conv2d_1/kernel`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parameter's shape.
    pub fn shape(&self) -> &[usize] {
        ndarray::Dimension::slice(&self.shape)
    }

    /// Where it lies in the buffer.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}

impl Layout {
    /// Appends the parameters of one layer; a layer without any still counts.
    pub(crate) fn push(&mut self, layer: &str, specs: &[ParameterSpec]) -> Result<()> {
        let first = self.entries.len();
        for (i, spec) in specs.iter().enumerate() {
            if specs[..i].iter().any(|other| other.name == spec.name) {
                return Err(Error::layer(layer, format!("has two parameters of the name {:?}", spec.name)));
            }
            let end = elements(&spec.shape)
                .and_then(|len| self.len.checked_add(len))
                .ok_or_else(|| Error::TooLarge { owner: layer.to_owned(), what: spec.name })?;
            let range = std::mem::replace(&mut self.len, end)..end;
            self.entries.push(Entry { name: format!("{layer}/{}", spec.name), shape: IxDyn(&spec.shape), range });
        }
        self.layers.push(first..self.entries.len());
        Ok(())
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every parameter, in the buffer's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The parameter of this name.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownParameter`], with all names there are.
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| Error::UnknownParameter {
            name: name.to_owned(),
            known: self.entries.iter().map(|entry| entry.name.clone()).collect(),
        })
    }

    /// The entries of one layer, and the range they take together.
    pub(crate) fn layer(&self, layer: usize) -> (&[Entry], Range<usize>) {
        let entries = &self.entries[self.layers[layer].clone()];
        let range = match entries {
            [] => 0..0,
            [only] => only.range(),
            [first, .., last] => first.range.start..last.range.end,
        };
        (entries, range)
    }

    pub(crate) fn block<'a, T>(&'a self, layer: usize, buffer: &'a [T]) -> Block<'a, T> {
        let (entries, range) = self.layer(layer);
        Block { entries, values: &buffer[range] }
    }

    pub(crate) fn block_mut<'a, T>(&'a self, layer: usize, buffer: &'a mut [T]) -> BlockMut<'a, T> {
        let (entries, range) = self.layer(layer);
        BlockMut { entries, values: &mut buffer[range] }
    }
}

/// One layer's parameters: `let [kernel, bias] = block.split();`
///
/// A layer that adds one parameter, y = x + b:
///
/// ```
/// use plywood::layers::{Backward, Forward, Layer, ParameterSpec, Plan};
/// use plywood::ndarray::array;
/// use plywood::testing::LayerRun;
/// use plywood::{Initializer, Result, Scalar};
///
/// #[derive(Debug)]
/// struct Shift;
///
/// impl<T: Scalar> Layer<T> for Shift {
///     fn forward(&self, mut pass: Forward<'_, T>) {
///         let [shift] = pass.parameters.split();
///         pass.y.assign(&(&pass.x + &shift));
///     }
/// #
/// #     fn kind(&self) -> &'static str {
/// #         "shift"
/// #     }
/// #
/// #     fn plan(&self, input: &[usize]) -> Result<Plan> {
/// #         Ok(Plan::new(input).parameter(ParameterSpec::new("shift", input, Initializer::Ones)))
/// #     }
/// #
/// #     fn backward(&self, _: Backward<'_, T>) {}
///     // …
/// }
///
/// let mut run = LayerRun::<f32>::new(Shift, [2], 1, 0)?;
/// run.x_mut().assign(&array![[3.0, -2.0]]);
/// run.forward();
/// assert_eq!(run.y(), array![[4.0, -1.0]].into_dyn());
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Block<'a, T> {
    entries: &'a [Entry],
    values: &'a [T],
}

impl<'a, T> Block<'a, T> {
    /// The first `N` parameters, in the order of the layer's plan.
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

    /// The first `N` parameters as plain slices.
    ///
    /// # Panics
    ///
    /// If the layer planned fewer than `N`.
    pub fn split_slices<const N: usize>(self) -> [&'a [T]; N] {
        let mut rest = self.values;
        std::array::from_fn(|i| rest.split_off(..self.entries[i].range.len()).expect("the layout made the range"))
    }

    /// Number of parameters planned.
    pub fn count(&self) -> usize {
        self.entries.len()
    }
}

/// The gradients of one layer's parameters: `let [mut dkernel, mut dbias] = block.split();`
///
/// Of the same layer as in the example of [`Block`], ∂L/∂b = Σ dy over the batch:
///
/// ```
/// use plywood::layers::{Backward, Forward, Layer, ParameterSpec, Plan};
/// use plywood::ndarray::{Axis, array};
/// use plywood::testing::LayerRun;
/// use plywood::{Initializer, Result, Scalar};
///
/// #[derive(Debug)]
/// struct Shift;
///
/// impl<T: Scalar> Layer<T> for Shift {
///     fn backward(&self, pass: Backward<'_, T>) {
///         let [mut dshift] = pass.gradients.split();
///         dshift.assign(&pass.dy.sum_axis(Axis(0)));
///         if let Some(mut dx) = pass.dx {
///             dx.assign(&pass.dy);
///         }
///     }
/// #
/// #     fn kind(&self) -> &'static str {
/// #         "shift"
/// #     }
/// #
/// #     fn plan(&self, input: &[usize]) -> Result<Plan> {
/// #         Ok(Plan::new(input).parameter(ParameterSpec::new("shift", input, Initializer::Ones)))
/// #     }
/// #
/// #     fn forward(&self, mut pass: Forward<'_, T>) {
/// #         let [shift] = pass.parameters.split();
/// #         pass.y.assign(&(&pass.x + &shift));
/// #     }
///     // …
/// }
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
    entries: &'a [Entry],
    values: &'a mut [T],
}

impl<'a, T> BlockMut<'a, T> {
    /// Number of parameters planned.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The first `N` gradients, in the order of the layer's plan.
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

    /// The first `N` gradients as plain slices.
    ///
    /// # Panics
    ///
    /// If the layer planned fewer than `N`.
    pub fn split_slices<const N: usize>(self) -> [&'a mut [T]; N] {
        let mut rest = self.values;
        std::array::from_fn(|i| rest.split_off_mut(..self.entries[i].range.len()).expect("the layout made the range"))
    }
}
