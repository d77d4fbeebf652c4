//! Bringing the samples of a batch together from all over a data set.

use ndarray::{ArrayViewD, Axis, IxDyn, Slice};

use crate::data::{Targets, TargetsView};
use crate::kernels::parallel::{Chunks, MIN_ELEMENTS, each_stretch};
use crate::scalar::Scalar;

/// The targets of a batch, and the weights of its samples: memory that is made in the first steps and reused.
#[derive(Debug, Default)]
pub(super) struct Gathered<T> {
    classes: Vec<usize>,
    values: Vec<T>,
    weights: Vec<T>,
}

impl<T: Scalar> Gathered<T> {
    /// These targets in one piece and row-major: copied if they are not, as the loss would otherwise do in memory of its
    /// own.
    pub(super) fn in_one_piece<'a>(&'a mut self, targets: &'a TargetsView<'_, T>) -> TargetsView<'a, T> {
        match targets {
            TargetsView::Values(values) if !values.is_standard_layout() => {
                self.values.clear();
                self.values.extend(values.iter().copied());
                let values = ArrayViewD::from_shape(values.raw_dim(), &self.values);
                TargetsView::Values(values.expect("as many values as the shape has"))
            }
            _ => targets.reborrow(),
        }
    }

    /// The targets of the samples of these indices, and their weights if there are any.
    pub(super) fn gather(
        &mut self,
        targets: &Targets<T>,
        weights: Option<&[T]>,
        indices: &[usize],
    ) -> (TargetsView<'_, T>, Option<&[T]>) {
        let weights = weights.map(|weights| {
            self.weights.clear();
            self.weights.extend(indices.iter().map(|&i| weights[i]));
            &*self.weights
        });
        let targets = match targets {
            Targets::Classes(classes) => {
                self.classes.clear();
                self.classes.extend(indices.iter().map(|&i| classes[i]));
                TargetsView::Classes((&self.classes).into())
            }
            Targets::Values(values) => {
                self.values.clear();
                for &i in indices {
                    self.values.extend(values.index_axis(Axis(0), i).iter().copied());
                }
                let mut shape: IxDyn = values.raw_dim();
                shape[0] = indices.len();
                TargetsView::Values(
                    ArrayViewD::from_shape(shape, &self.values).expect("as many values as the shape has"),
                )
            }
        };
        (targets, weights)
    }
}

/// Samples that are copied together, a piece of each in turn: they lie apart, and memory answers several requests in the
/// time of one.
const TOGETHER: usize = 8;

/// Elements of a sample that are copied at a time.
const PIECE: usize = 64;

/// The samples of these indices, one after the other.
pub(super) fn gather_inputs<T: Scalar>(inputs: &[T], len: usize, indices: &[usize], batch: &mut [T]) {
    let most = MIN_ELEMENTS.div_ceil(len.max(1));
    let batch = Chunks::new(&mut batch[..indices.len() * len], len);
    each_stretch(0..indices.len(), most, batch, &|samples, batch| {
        let indices = indices[samples].chunks(TOGETHER);
        for (samples, indices) in batch.slice.chunks_mut(TOGETHER * len).zip(indices) {
            for start in (0..len).step_by(PIECE) {
                let end = (start + PIECE).min(len);
                for (sample, &i) in samples.chunks_exact_mut(len).zip(indices) {
                    sample[start..end].copy_from_slice(&inputs[i * len..][start..end]);
                }
            }
        }
    });
}

/// Some of the targets, one after the other.
pub(super) fn slice_targets<T: Scalar>(targets: &Targets<T>, slice: Slice) -> TargetsView<'_, T> {
    match targets {
        Targets::Classes(classes) => TargetsView::Classes(classes.slice_axis(Axis(0), slice)),
        Targets::Values(values) => TargetsView::Values(values.slice_axis(Axis(0), slice)),
    }
}
