//! Inputs and targets of many samples, in memory.

use ndarray::{Array, Array1, ArrayD, ArrayRef, ArrayView1, ArrayViewD, Axis, Dimension, IxDyn, RemoveAxis};

use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// What a model should put out, owned: one class index a sample, or an array of values such as one-hot rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets<T> {
    /// The class of each sample, counted from 0.
    Classes(Array1<usize>),
    /// Values of the shape of the model's output, `[samples, …]`.
    Values(ArrayD<T>),
}

/// [`Targets`] borrowed, as losses and metrics take them.
#[derive(Debug, Clone)]
pub enum TargetsView<'a, T> {
    /// The class of each sample, counted from 0.
    Classes(ArrayView1<'a, usize>),
    /// Values of the shape of the model's output, `[samples, …]`.
    Values(ArrayViewD<'a, T>),
}

impl<T> Targets<T> {
    /// A view of all.
    pub fn view(&self) -> TargetsView<'_, T> {
        match self {
            Self::Classes(classes) => TargetsView::Classes(classes.view()),
            Self::Values(values) => TargetsView::Values(values.view()),
        }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> TargetsView<'_, T> {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Values(values) => values.shape().first().copied().unwrap_or(0),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Scalar, D: Dimension> From<Array<T, D>> for Targets<T> {
    fn from(values: Array<T, D>) -> Self {
        Self::Values(values.into_dyn())
    }
}

impl<T> From<Array1<usize>> for Targets<T> {
    fn from(classes: Array1<usize>) -> Self {
        Self::Classes(classes)
    }
}

impl<T> From<Array1<u8>> for Targets<T> {
    fn from(classes: Array1<u8>) -> Self {
        Self::Classes(classes.mapv(usize::from))
    }
}

impl<'a, T> From<&'a Targets<T>> for TargetsView<'a, T> {
    fn from(targets: &'a Targets<T>) -> Self {
        targets.view()
    }
}

impl<'a, T: Scalar, D: Dimension> From<&'a ArrayRef<T, D>> for TargetsView<'a, T> {
    fn from(values: &'a ArrayRef<T, D>) -> Self {
        Self::Values(values.view().into_dyn())
    }
}

impl<'a, T> From<&'a ArrayRef<usize, ndarray::Ix1>> for TargetsView<'a, T> {
    fn from(classes: &'a ArrayRef<usize, ndarray::Ix1>) -> Self {
        Self::Classes(classes.view())
    }
}

/// Inputs with their targets.
///
/// ```
/// use plywood::data::Dataset;
/// use plywood::ndarray::{Array2, array};
///
/// let data = Dataset::new(Array2::<f32>::zeros((3, 784)), array![7_usize, 2, 1])?;
/// assert_eq!(data.len(), 3);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset<T = f32> {
    inputs: ArrayD<T>,
    targets: Targets<T>,
}

impl<T: Scalar> Dataset<T> {
    /// Puts inputs `[samples, …]` and their targets together: class indices (`Array1<usize>` or `Array1<u8>`), or values
    /// (`[samples, …]`, such as one-hot rows).
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if they are not equally many, [`Error::Empty`] if there are none.
    pub fn new<D: Dimension + RemoveAxis>(inputs: Array<T, D>, targets: impl Into<Targets<T>>) -> Result<Self> {
        let targets = targets.into();
        let samples = inputs.len_of(Axis(0));
        if samples != targets.len() {
            return Err(Error::LengthMismatch { inputs: samples, what: "targets", targets: targets.len() });
        }
        if samples == 0 {
            return Err(Error::Empty("the data set"));
        }
        Ok(Self { inputs: inputs.into_dyn().as_standard_layout().into_owned(), targets })
    }

    /// All inputs, `[samples, …]`, contiguous.
    pub fn inputs(&self) -> &ArrayD<T> {
        &self.inputs
    }

    /// All targets.
    pub fn targets(&self) -> &Targets<T> {
        &self.targets
    }

    /// Number of samples, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// The same samples with inputs of another shape, such as `[784]` in place of `[28, 28, 1]`.
    ///
    /// # Errors
    ///
    /// [`Error::ArrayShape`] if a sample has not as many elements.
    pub fn reshape_inputs(self, sample: impl AsRef<[usize]>) -> Result<Self> {
        let shape = [&[self.len()], sample.as_ref()].concat();
        let got = self.inputs.shape().to_vec();
        let Ok(inputs) = self.inputs.into_shape_with_order(IxDyn(&shape)) else {
            return Err(Error::ArrayShape {
                what: "the data set's inputs",
                got,
                expected: format!("as many elements as {}", crate::error::shape_text(&shape)),
            });
        };
        Ok(Self { inputs, targets: self.targets })
    }
}
