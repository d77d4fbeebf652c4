//! What an op's passes read and write: batches of samples in memory that the graph keeps.
//!
//! An op sees slices with their shapes at hand. An ndarray view is made only where one is asked for: beyond four axes its
//! shape would have to be allocated.

use ndarray::{ArrayViewD, ArrayViewMutD, Dimension, IxDyn};

use crate::kernels::aligned::Aligned;

/// The shape of a batch whose size is still open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchShape {
    /// The batch axis, then the sample's; the first entry is overwritten.
    shape: IxDyn,
    sample: usize,
}

impl BatchShape {
    pub(crate) fn new(sample: &[usize]) -> Self {
        Self { shape: IxDyn(&[&[1], sample].concat()), sample: sample.iter().product() }
    }

    /// The shape of one sample.
    pub(crate) fn sample(&self) -> &[usize] {
        &self.shape.slice()[1..]
    }

    /// Elements of `batch` samples.
    pub(crate) fn len(&self, batch: usize) -> usize {
        batch * self.sample
    }

    /// The beginning of a buffer as a batch.
    pub(crate) fn view<'a, T>(&self, buffer: &'a [T], batch: usize) -> ArrayViewD<'a, T> {
        ArrayViewD::from_shape(self.shape(batch), &buffer[..self.len(batch)])
            .expect("the slice is as long as the shape")
    }

    pub(crate) fn view_mut<'a, T>(&self, buffer: &'a mut [T], batch: usize) -> ArrayViewMutD<'a, T> {
        ArrayViewMutD::from_shape(self.shape(batch), &mut buffer[..self.len(batch)])
            .expect("the slice is as long as the shape")
    }

    fn shape(&self, batch: usize) -> IxDyn {
        let mut shape = self.shape.clone();
        shape[0] = batch;
        shape
    }
}

/// Where a value of a graph lies while it is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: nothing computes it.
    Nowhere,
    /// In the caller's input of this number.
    Input(usize),
    /// In the caller's output of this number.
    Output(usize),
    /// In a buffer of the graph's own.
    Buffer(usize),
}

/// The memory of a graph, but for what is being written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory<'a, T> {
    pub(crate) inputs: &'a [&'a [T]],
    /// The buffers before the one that is being written, and those after it.
    pub(crate) before: &'a [Aligned<T>],
    pub(crate) after: &'a [Aligned<T>],
    /// Whether one lies between the two.
    pub(crate) gap: bool,
}

impl<'a, T: Copy + Default> Memory<'a, T> {
    fn at(&self, place: Place) -> &'a [T] {
        match place {
            Place::Input(input) => self.inputs[input],
            Place::Buffer(buffer) if buffer < self.before.len() => self.before[buffer].as_slice(),
            Place::Buffer(buffer) => self.after[buffer - self.before.len() - usize::from(self.gap)].as_slice(),
            Place::Output(_) | Place::Nowhere => unreachable!("no node reads what is only put out"),
        }
    }
}

/// One batch that is read.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a, T> {
    values: &'a [T],
    shape: &'a BatchShape,
    batch: usize,
}

impl<'a, T> Tensor<'a, T> {
    /// Returns the number of samples.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the shape of one sample.
    pub fn sample(&self) -> &'a [usize] {
        self.shape.sample()
    }

    /// Returns all values, sample after sample, each in row-major order.
    pub fn slice(&self) -> &'a [T] {
        self.values
    }

    /// Returns the values as an array `[batch, …]`.
    pub fn view(&self) -> ArrayViewD<'a, T> {
        self.shape.view(self.values, self.batch)
    }
}

/// One batch that is written.
#[derive(Debug)]
pub struct TensorMut<'a, T> {
    values: &'a mut [T],
    shape: &'a BatchShape,
    batch: usize,
}

impl<'a, T> TensorMut<'a, T> {
    /// Returns the number of samples.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the shape of one sample.
    pub fn sample(&self) -> &'a [usize] {
        self.shape.sample()
    }

    /// Returns all values, sample after sample, each in row-major order.
    pub fn into_slice(self) -> &'a mut [T] {
        self.values
    }

    /// Returns the values as an array `[batch, …]`.
    pub fn into_view(self) -> ArrayViewMutD<'a, T> {
        self.shape.view_mut(self.values, self.batch)
    }
}

/// The batches that a pass reads: an op's inputs or outputs, in order. [`slice`](Self::slice), [`view`](Self::view) and
/// the others without a number are for ops that have one.
#[derive(Debug, Clone, Copy)]
pub struct Tensors<'a, T> {
    pub(crate) values: &'a [usize],
    pub(crate) shapes: &'a [BatchShape],
    pub(crate) places: &'a [Place],
    pub(crate) memory: Memory<'a, T>,
    pub(crate) batch: usize,
}

impl<'a, T: Copy + Default> Tensors<'a, T> {
    /// Returns how many there are.
    #[expect(clippy::len_without_is_empty, reason = "no op is without inputs or outputs")]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns the batch of this number.
    ///
    /// # Panics
    ///
    /// If there are not as many.
    pub fn get(&self, i: usize) -> Tensor<'a, T> {
        let value = self.values[i];
        let shape = &self.shapes[value];
        let values = &self.memory.at(self.places[value])[..shape.len(self.batch)];
        Tensor { values, shape, batch: self.batch }
    }

    /// Returns all of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Tensor<'a, T>> {
        (0..self.len()).map(move |i| self.get(i))
    }

    /// Returns the number of samples.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the values of the first, sample after sample.
    pub fn slice(&self) -> &'a [T] {
        self.get(0).slice()
    }

    /// Returns the first as an array `[batch, …]`.
    pub fn view(&self) -> ArrayViewD<'a, T> {
        self.get(0).view()
    }

    /// Returns the shape of one sample of the first.
    pub fn sample(&self) -> &'a [usize] {
        self.get(0).sample()
    }
}

/// Memory that a pass writes.
#[derive(Debug)]
pub(crate) enum Slots<'a, T> {
    /// All there is.
    One(&'a mut [T]),
    /// A buffer for each; none where it is not asked for.
    Lent(&'a mut [Option<Aligned<T>>]),
}

impl<T: Copy + Default> Slots<'_, T> {
    fn get_mut(&mut self, i: usize) -> Option<&mut [T]> {
        match self {
            Self::One(slice) => (i == 0).then_some(&mut **slice),
            Self::Lent(buffers) => buffers[i].as_mut().map(Aligned::as_mut_slice),
        }
    }
}

impl<'a, T: Copy + Default> Slots<'a, T> {
    fn into_first(self) -> Option<&'a mut [T]> {
        match self {
            Self::One(slice) => Some(slice),
            Self::Lent(buffers) => buffers.first_mut()?.as_mut().map(Aligned::as_mut_slice),
        }
    }
}

/// The batches that a pass writes, or may use as working memory: an op's outputs or their gradients, in order.
#[derive(Debug)]
pub struct TensorsMut<'a, T> {
    pub(crate) values: &'a [usize],
    pub(crate) shapes: &'a [BatchShape],
    pub(crate) slots: Slots<'a, T>,
    pub(crate) batch: usize,
}

impl<'a, T: Copy + Default> TensorsMut<'a, T> {
    /// Returns how many there are.
    #[expect(clippy::len_without_is_empty, reason = "no op is without outputs")]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns the batch of this number.
    ///
    /// # Panics
    ///
    /// If there are not as many.
    pub fn get_mut(&mut self, i: usize) -> TensorMut<'_, T> {
        let (shape, batch) = (&self.shapes[self.values[i]], self.batch);
        let slot = self.slots.get_mut(i).expect("all outputs have memory");
        TensorMut { values: &mut slot[..shape.len(batch)], shape, batch }
    }

    /// Returns the number of samples.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the values of the first, sample after sample.
    pub fn slice_mut(&mut self) -> &mut [T] {
        self.get_mut(0).into_slice()
    }

    /// Returns the first as an array `[batch, …]`.
    pub fn view_mut(&mut self) -> ArrayViewMutD<'_, T> {
        self.get_mut(0).into_view()
    }

    /// Returns the values of the first for as long as the pass lasts.
    pub fn into_slice(self) -> &'a mut [T] {
        let len = self.shapes[self.values[0]].len(self.batch);
        &mut self.slots.into_first().expect("all outputs have memory")[..len]
    }
}

/// The gradients of an op's inputs, in order, each of which is to be written whole if it is asked for.
#[derive(Debug)]
pub struct InputGradients<'a, T> {
    pub(crate) values: &'a [usize],
    pub(crate) shapes: &'a [BatchShape],
    pub(crate) slots: Slots<'a, T>,
    pub(crate) batch: usize,
}

impl<'a, T: Copy + Default> InputGradients<'a, T> {
    /// Returns how many inputs there are.
    #[expect(clippy::len_without_is_empty, reason = "no op is without inputs")]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns the gradient of the input of this number, if it is asked for.
    ///
    /// # Panics
    ///
    /// If there are not as many inputs.
    pub fn get_mut(&mut self, i: usize) -> Option<TensorMut<'_, T>> {
        let (shape, batch) = (&self.shapes[self.values[i]], self.batch);
        let slot = self.slots.get_mut(i)?;
        Some(TensorMut { values: &mut slot[..shape.len(batch)], shape, batch })
    }

    /// Returns the gradient of the first input as an array `[batch, …]`, if it is asked for.
    pub fn view_mut(&mut self) -> Option<ArrayViewMutD<'_, T>> {
        self.get_mut(0).map(TensorMut::into_view)
    }

    /// Returns the gradient of the first input for as long as the pass lasts, if it is asked for.
    pub fn into_slice(self) -> Option<&'a mut [T]> {
        let len = self.shapes[self.values[0]].len(self.batch);
        self.slots.into_first().map(|slot| &mut slot[..len])
    }
}
