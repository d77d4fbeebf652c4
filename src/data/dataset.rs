//! Inputs and targets of many samples, in memory.

use ndarray::{Array, Array1, ArrayD, ArrayView, ArrayView1, ArrayViewD, Axis, Dimension, IxDyn, RemoveAxis, Slice};

use crate::data::one_hot;
use crate::error::{Error, Result, shape_text};
use crate::scalar::Scalar;

/// What a model should put out, owned: one class index a sample, or an array of values such as one-hot rows.
///
/// ```
/// use plywood::data::Targets;
/// use plywood::ndarray::array;
///
/// let classes: Targets<f32> = array![1_usize, 0].into();
/// let rows: Targets<f32> = array![[0.0, 1.0], [1.0, 0.0]].into();
/// assert!(matches!(classes, Targets::Classes(_)));
/// assert!(matches!(rows, Targets::Values(_)));
/// assert_eq!(classes.one_hot(2)?, rows);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Targets<T> {
    /// The class of each sample, counted from 0.
    Classes(Array1<usize>),
    /// Values of the shape of the model's output, `[samples, …]`; of a model that puts one value out, also `[samples]`.
    Values(ArrayD<T>),
}

/// [`Targets`] borrowed, as losses and metrics take them.
///
/// ```
/// use plywood::data::{Targets, TargetsView};
/// use plywood::ndarray::array;
///
/// let targets: Targets<f32> = array![7_usize, 2, 1].into();
/// let TargetsView::Classes(classes) = targets.view() else { unreachable!("they are class indices") };
/// assert_eq!(classes[0], 7);
/// ```
#[derive(Debug, Clone)]
pub enum TargetsView<'a, T> {
    /// The class of each sample, counted from 0.
    Classes(ArrayView1<'a, usize>),
    /// Values of the shape of the model's output, `[samples, …]`; of a model that puts one value out, also `[samples]`.
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

impl<T: Scalar> Targets<T> {
    /// Class indices as rows of zeros and a one, `[samples, classes]`: see [`one_hot`].
    ///
    /// # Errors
    ///
    /// - [`Error::LabelOutOfRange`] if a class is not below `classes`.
    /// - [`Error::Targets`] if the targets are values already.
    /// - [`Error::TooLarge`] if the rows do not fit into memory.
    ///
    /// # Example
    ///
    /// ```
    /// use plywood::data::Targets;
    /// use plywood::ndarray::array;
    ///
    /// let targets = Targets::<f32>::from(array![1_usize, 0]);
    /// assert_eq!(targets.one_hot(2)?, array![[0.0, 1.0], [1.0, 0.0]].into());
    /// # Ok::<(), plywood::Error>(())
    /// ```
    #[doc(alias = "to_categorical")]
    pub fn one_hot(&self, classes: usize) -> Result<Self> {
        match self {
            Self::Classes(indices) => Ok(one_hot(indices, classes)?.into()),
            Self::Values(values) => Err(Error::Targets {
                owner: "one_hot",
                got: format!("values of shape {}", shape_text(values.shape())),
                expected: "class indices".to_owned(),
            }),
        }
    }

    /// The same targets, row-major in memory.
    fn into_contiguous(self) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(into_contiguous(classes)),
            Self::Values(values) => Self::Values(into_contiguous(values)),
        }
    }

    /// A copy of the first `samples`.
    fn head(&self, samples: usize) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(head(classes, samples)),
            Self::Values(values) => Self::Values(head(values, samples)),
        }
    }

    /// Takes the samples from `start` on away.
    fn split_off(&mut self, start: usize) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(split_off(classes, start)),
            Self::Values(values) => Self::Values(split_off(values, start)),
        }
    }
}

impl<'a, T> TargetsView<'a, T> {
    /// The targets as losses and metrics take them, for a model with such an output: `[n]` values are a column, `[n, 1]`,
    /// where the model puts one value out. Nothing is copied.
    pub(crate) fn for_output(self, output: &[usize]) -> Self {
        match self {
            Self::Values(values) if output == [1] && values.ndim() == 1 => Self::Values(values.insert_axis(Axis(1))),
            targets => targets,
        }
    }
}

impl<T> TargetsView<'_, T> {
    /// The same view, borrowed for a shorter time.
    pub fn reborrow(&self) -> TargetsView<'_, T> {
        match self {
            Self::Classes(classes) => TargetsView::Classes(classes.view()),
            Self::Values(values) => TargetsView::Values(values.view()),
        }
    }

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

impl<'a, T: Scalar, D: Dimension> From<&'a Array<T, D>> for TargetsView<'a, T> {
    fn from(values: &'a Array<T, D>) -> Self {
        values.view().into()
    }
}

impl<'a, T: Scalar, D: Dimension> From<ArrayView<'a, T, D>> for TargetsView<'a, T> {
    fn from(values: ArrayView<'a, T, D>) -> Self {
        Self::Values(values.into_dyn())
    }
}

impl<'a, T> From<&'a Array1<usize>> for TargetsView<'a, T> {
    fn from(classes: &'a Array1<usize>) -> Self {
        classes.view().into()
    }
}

impl<'a, T> From<ArrayView1<'a, usize>> for TargetsView<'a, T> {
    fn from(classes: ArrayView1<'a, usize>) -> Self {
        Self::Classes(classes)
    }
}

/// The same array, row-major in memory; copied only where it is not so already.
fn into_contiguous<A: Clone, D: Dimension>(array: Array<A, D>) -> Array<A, D> {
    if array.is_standard_layout() { array } else { array.as_standard_layout().into_owned() }
}

/// A copy of the first `samples`.
fn head<A: Clone, D: Dimension>(array: &Array<A, D>, samples: usize) -> Array<A, D> {
    array.slice_axis(Axis(0), Slice::from(..samples)).to_owned()
}

/// Takes the samples from `start` on away. Those before stay where they are in memory.
fn split_off<A: Clone, D: Dimension>(array: &mut Array<A, D>, start: usize) -> Array<A, D> {
    let last = array.slice_axis(Axis(0), Slice::from(start..)).to_owned();
    array.slice_axis_inplace(Axis(0), Slice::from(..start));
    last
}

/// Where the last samples begin that are `fraction` of all.
///
/// ⌊`samples` · (1 − `fraction`)⌋, computed as Keras does, so that both hold out the same samples. That is
/// `samples` − ⌈`samples` · `fraction`⌉ but for the rounding of the two products.
pub(crate) fn validation_start(samples: usize, fraction: f64) -> Result<usize> {
    let invalid = |got, expected| Error::InvalidParameter {
        owner: "validation split".to_owned(),
        parameter: "fraction",
        got,
        expected,
    };
    // Written so that NaN is refused too.
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(invalid(format!("{fraction:?}"), "above 0 and below 1"));
    }
    let start = (samples as f64 * (1.0 - fraction)).floor() as usize;
    if start == 0 || start >= samples {
        return Err(invalid(
            format!("{fraction:?} of {samples} samples"),
            "a fraction that leaves at least one sample on either side",
        ));
    }
    Ok(start)
}

/// Inputs with their targets, in memory: at least one sample, inputs row-major.
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
    /// (`[samples, …]`, such as one-hot rows, or `[samples]` where the model puts out a single value).
    ///
    /// Arrays that are row-major in memory are taken as they are; others, such as transposed ones, are copied once.
    ///
    /// # Errors
    ///
    /// - [`Error::ArrayShape`] if the inputs have no dimension at all.
    /// - [`Error::LengthMismatch`] if inputs and targets are not equally many.
    /// - [`Error::Empty`] if there are none.
    pub fn new<D: Dimension + RemoveAxis>(inputs: Array<T, D>, targets: impl Into<Targets<T>>) -> Result<Self> {
        let targets = targets.into();
        // A `D` that is known only when the program runs may have no axis 0.
        let Some(&samples) = inputs.shape().first() else {
            return Err(Error::ArrayShape {
                what: "the data set's inputs",
                got: Vec::new(),
                expected: "[samples, …]".to_owned(),
            });
        };
        if samples != targets.len() {
            return Err(Error::LengthMismatch { inputs: samples, what: "targets", targets: targets.len() });
        }
        if samples == 0 {
            return Err(Error::Empty("the data set"));
        }
        Ok(Self { inputs: into_contiguous(inputs.into_dyn()), targets: targets.into_contiguous() })
    }

    /// All inputs, `[samples, …]`, row-major in memory.
    pub fn inputs(&self) -> &ArrayD<T> {
        &self.inputs
    }

    /// All targets, row-major in memory.
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
    ///
    /// # Example
    ///
    /// ```
    /// use plywood::data::Dataset;
    /// use plywood::ndarray::{Array4, array};
    ///
    /// let images = Dataset::new(Array4::<f32>::zeros((2, 28, 28, 1)), array![7_usize, 2])?;
    /// assert_eq!(images.reshape_inputs([784])?.inputs().shape(), [2, 784]);
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn reshape_inputs(self, sample: impl AsRef<[usize]>) -> Result<Self> {
        let shape = [&[self.len()], sample.as_ref()].concat();
        let got = self.inputs.shape().to_vec();
        let Ok(inputs) = self.inputs.into_shape_with_order(IxDyn(&shape)) else {
            return Err(Error::ArrayShape {
                what: "the data set's inputs",
                got,
                expected: format!("as many elements as {}", shape_text(&shape)),
            });
        };
        Ok(Self { inputs, targets: self.targets })
    }

    /// The same samples with rows of zeros and a one, `[samples, classes]`, in place of class indices: see [`one_hot`].
    ///
    /// # Errors
    ///
    /// - [`Error::LabelOutOfRange`] if a class is not below `classes`.
    /// - [`Error::Targets`] if the targets are values already.
    /// - [`Error::TooLarge`] if the rows do not fit into memory.
    ///
    /// # Example
    ///
    /// ```
    /// use plywood::data::Dataset;
    /// use plywood::ndarray::{Array2, array};
    ///
    /// let data = Dataset::new(Array2::<f32>::zeros((2, 784)), array![1_u8, 0])?.one_hot(2)?;
    /// assert_eq!(data.targets(), &array![[0.0, 1.0], [1.0, 0.0]].into());
    /// # Ok::<(), plywood::Error>(())
    /// ```
    #[doc(alias = "to_categorical")]
    pub fn one_hot(self, classes: usize) -> Result<Self> {
        Ok(Self { targets: self.targets.one_hot(classes)?, inputs: self.inputs })
    }

    /// The first `samples` samples, or all where there are no more: for a quick look at a large data set.
    ///
    /// The memory of the others is freed.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`] if `samples` is 0.
    ///
    /// # Example
    ///
    /// ```
    /// use plywood::data::Dataset;
    /// use plywood::ndarray::{Array2, array};
    ///
    /// let data = Dataset::new(Array2::<f32>::zeros((3, 784)), array![7_usize, 2, 1])?.head(2)?;
    /// assert_eq!(data.targets(), &array![7_usize, 2].into());
    /// # Ok::<(), plywood::Error>(())
    /// ```
    #[doc(alias = "take")]
    pub fn head(self, samples: usize) -> Result<Self> {
        if samples == 0 {
            return Err(Error::invalid_parameter("head", "samples", samples, "at least 1"));
        }
        if samples >= self.len() {
            return Ok(self);
        }
        Ok(Self { inputs: head(&self.inputs, samples), targets: self.targets.head(samples) })
    }

    /// Holds the last part of the samples out: the samples before it, and the part.
    ///
    /// The first part has ⌊N · (1 − `fraction`)⌋ of the N samples, in f64, the second the others. Nothing is shuffled:
    /// shuffle before where the samples are sorted by class.
    ///
    /// | parameter | default | range | meaning |
    /// |---|---|---|---|
    /// | `fraction` | none | above 0 and below 1 | the part of all samples that is held out |
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`] if `fraction` is not in its range, or if either part would be empty.
    ///
    /// # Source
    ///
    /// `validation_split` of Keras 3 (`keras/src/trainers/data_adapters/array_slicing.py`), with the same arithmetic:
    /// both hold out the same samples.
    ///
    /// # Example
    ///
    /// ```
    /// use plywood::data::Dataset;
    /// use plywood::ndarray::{Array2, array};
    ///
    /// let data = Dataset::new(Array2::<f32>::zeros((5, 784)), array![7_usize, 2, 1, 0, 4])?;
    /// let (train, validation) = data.split_last(0.3)?;
    /// assert_eq!(train.targets(), &array![7_usize, 2, 1].into());
    /// assert_eq!(validation.targets(), &array![0_usize, 4].into());
    /// # Ok::<(), plywood::Error>(())
    /// ```
    #[doc(alias = "validation_split")]
    pub fn split_last(mut self, fraction: f64) -> Result<(Self, Self)> {
        let start = validation_start(self.len(), fraction)?;
        let last = Self { inputs: split_off(&mut self.inputs, start), targets: self.targets.split_off(start) };
        Ok((self, last))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    fn counted(samples: usize) -> Dataset {
        let inputs = Array2::from_shape_fn((samples, 2), |(i, j)| (2 * i + j) as f32);
        Dataset::new(inputs, Array1::from_iter(0..samples)).unwrap()
    }

    fn rows(data: &Dataset) -> Vec<f32> {
        assert!(data.inputs().is_standard_layout());
        data.inputs().iter().copied().collect()
    }

    fn message<X: std::fmt::Debug>(result: Result<X>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn arrays_in_any_layout_hold_the_same_samples() {
        let inputs = array![[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0]];
        let targets = array![[1.0, 0.0], [0.0, 1.0]];
        let expected = Dataset::new(inputs.clone(), targets.clone()).unwrap();

        let transposed = |array: &Array2<f32>| array.t().as_standard_layout().into_owned().reversed_axes();
        let columns_first = transposed(&inputs);
        let mut from_the_end = Array2::from_shape_fn((2, 3), |(i, j)| inputs[[1 - i, 2 - j]]);
        from_the_end.invert_axis(Axis(0));
        from_the_end.invert_axis(Axis(1));
        let mut every_second = Array2::from_shape_fn((2, 6), |(i, j)| inputs[[i, j / 2]]);
        every_second.slice_axis_inplace(Axis(1), Slice::from(..).step_by(2));
        for inputs in [columns_first, from_the_end, every_second] {
            assert!(!inputs.is_standard_layout());
            let data = Dataset::new(inputs, transposed(&targets)).unwrap();
            assert_eq!(data, expected);
            assert_eq!(data.inputs().as_slice(), expected.inputs().as_slice());
            let Targets::Values(values) = data.targets() else { unreachable!() };
            assert_eq!(values.as_slice(), Some(&[1.0, 0.0, 0.0, 1.0][..]));
        }

        let mut classes = array![9_usize, 1, 9, 0];
        classes.slice_axis_inplace(Axis(0), Slice::from(1..).step_by(2));
        let data = Dataset::new(inputs, classes).unwrap();
        let Targets::Classes(classes) = data.targets() else { unreachable!() };
        assert_eq!(classes.as_slice(), Some(&[1, 0][..]));
    }

    #[test]
    fn row_major_inputs_are_not_copied() {
        let inputs = Array2::<f32>::zeros((3, 4));
        let address = inputs.as_ptr();
        assert_eq!(Dataset::new(inputs, array![0_u8, 1, 2]).unwrap().inputs().as_ptr(), address);
    }

    #[test]
    fn inputs_and_targets_must_go_together() {
        let inputs = Array2::<f32>::zeros((3, 4));
        let error = message(Dataset::new(inputs, array![0_usize, 1]));
        assert_eq!(error, "got 3 inputs but 2 targets; there must be one for each input");
        let error = message(Dataset::new(Array2::<f32>::zeros((0, 4)), Array1::<u8>::zeros(0)));
        assert_eq!(error, "the data set has no samples; at least one is needed");
        let error = message(Dataset::new(ArrayD::<f32>::zeros(IxDyn(&[])), array![0_usize]));
        assert_eq!(error, "the data set's inputs: got an array of shape [], expected [samples, …]");
        let error = message(Dataset::new(array![1.0_f32], ArrayD::<f32>::zeros(IxDyn(&[]))));
        assert_eq!(error, "got 1 inputs but 0 targets; there must be one for each input");
    }

    #[test]
    fn inputs_keep_their_elements_when_reshaped() {
        let data = counted(6).reshape_inputs([2, 1]).unwrap();
        assert_eq!((data.inputs().shape(), rows(&data)), (&[6, 2, 1][..], rows(&counted(6))));
        for sample in [&[3][..], &[], &[usize::MAX, 2], &[0]] {
            let error = message(counted(6).reshape_inputs(sample));
            assert!(error.starts_with("the data set's inputs: got an array of shape 6×2, expected"), "{error}");
        }
    }

    #[test]
    fn one_hot_changes_the_targets_alone() {
        let data = counted(3).one_hot(4).unwrap();
        assert_eq!(rows(&data), rows(&counted(3)));
        assert_eq!(data.targets().view().len(), 3);
        assert_eq!(data.targets(), &array![[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]].into());
        assert_eq!(message(counted(3).one_hot(2)), "the label at index 2 is 2, expected a class below 2");
        assert_eq!(message(data.one_hot(4)), "one_hot: got values of shape 3×4, expected class indices");
    }

    #[test]
    fn the_head_is_the_first_samples() {
        let data = counted(5).head(2).unwrap();
        assert_eq!((rows(&data), data.targets()), (vec![0.0, 1.0, 2.0, 3.0], &array![0_usize, 1].into()));
        for samples in [5, 6, usize::MAX] {
            assert_eq!(counted(5).head(samples).unwrap(), counted(5));
        }
        assert_eq!(counted(5).one_hot(5).unwrap().head(2).unwrap(), counted(2).one_hot(5).unwrap());
        assert_eq!(message(counted(5).head(0)), "head: samples is 0, expected at least 1");
    }

    #[test]
    fn the_last_samples_are_held_out() {
        let (train, validation) = counted(5).split_last(0.3).unwrap();
        assert_eq!(train, counted(3));
        assert_eq!((rows(&validation), validation.targets()), (vec![6.0, 7.0, 8.0, 9.0], &array![3_usize, 4].into()));
        let (train, validation) = counted(5).one_hot(5).unwrap().split_last(0.3).unwrap();
        assert_eq!((train.targets().len(), validation.targets().len()), (3, 2));
        assert_eq!(train, counted(3).one_hot(5).unwrap());
        // the parts are data sets like any other
        assert_eq!(rows(&train.reshape_inputs([1, 2]).unwrap()), rows(&counted(3)));
    }

    // math.floor(samples * (1.0 - fraction)) in Python; 93 and 1 are not samples − ⌈samples · fraction⌉ because of rounding
    #[test]
    fn parts_are_as_large_as_in_keras() {
        for (samples, fraction, train) in [
            (60_000, 0.1, 54_000),
            (60_000, 1.0 / 6.0, 50_000),
            (10, 0.25, 7),
            (2, 0.5, 1),
            (2, 1e-9, 1),
            (100, 0.07, 93),
            (100, 0.29, 71),
            (10, 0.8, 1),
        ] {
            assert_eq!(validation_start(samples, fraction).unwrap(), train, "{fraction} of {samples}");
        }
    }

    #[test]
    fn neither_part_is_empty() {
        for fraction in [0.0, 1.0, -0.1, 1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = message(counted(5).split_last(fraction));
            assert_eq!(error, format!("validation split: fraction is {fraction:?}, expected above 0 and below 1"));
        }
        for (samples, fraction) in [(1, 0.5), (1, 1e-300), (10, 0.99), (10, 1e-300)] {
            let error = message(counted(samples).split_last(fraction));
            assert_eq!(
                error,
                format!(
                    "validation split: fraction is {fraction:?} of {samples} samples, expected a fraction that leaves \
                     at least one sample on either side"
                )
            );
        }
    }
}
