//! A batch as rows, one a sample, that losses can cut in two to work on both halves at once.

use std::borrow::Cow;
use std::ops::Range;

use ndarray::{ArrayView1, ArrayViewD, Axis};

use super::LossPass;
use crate::data::TargetsView;
use crate::scalar::Scalar;

/// Elements that one thread works through at a stretch: less is not worth a second thread.
const PIECE: usize = 1 << 13;

/// What the samples should give.
enum RowTargets<'a, T> {
    Classes(ArrayView1<'a, usize>),
    Values(&'a [T]),
}

/// What one row should give.
#[derive(Clone, Copy)]
pub(super) enum RowTarget<'a, T> {
    Class(usize),
    Values(&'a [T]),
}

/// A [`LossPass`] as slices, `n` elements a sample.
pub(super) struct Rows<'a, T> {
    y: &'a [T],
    targets: RowTargets<'a, T>,
    weights: Option<&'a [T]>,
    /// To be overwritten, as in the pass.
    pub(super) losses: &'a mut [T],
    /// To be overwritten, as in the pass.
    pub(super) dy: Option<&'a mut [T]>,
    n: usize,
}

impl<'a, T: Scalar> Rows<'a, T> {
    /// Number of samples.
    pub(super) fn len(&self) -> usize {
        self.losses.len()
    }

    /// Where the elements of a sample are.
    pub(super) fn range(&self, sample: usize) -> Range<usize> {
        sample * self.n..(sample + 1) * self.n
    }

    /// What the model put out for a sample.
    pub(super) fn y(&self, sample: usize) -> &'a [T] {
        &self.y[self.range(sample)]
    }

    /// What it should have put out.
    pub(super) fn target(&self, sample: usize) -> RowTarget<'a, T> {
        match &self.targets {
            RowTargets::Classes(classes) => RowTarget::Class(classes[sample]),
            RowTargets::Values(values) => RowTarget::Values(&values[self.range(sample)]),
        }
    }

    /// The sample's weight.
    pub(super) fn weight(&self, sample: usize) -> T {
        self.weights.map_or(T::one(), |weights| weights[sample])
    }

    /// Runs `piece` on all samples, in parallel if there is enough to do. Each sample must be computed by itself: where
    /// the batch is cut then changes nothing.
    pub(super) fn run(pass: LossPass<'_, T>, piece: impl Fn(Rows<'_, T>) + Sync) {
        let n = pass.y.shape()[1..].iter().product::<usize>();
        let values = match &pass.targets {
            TargetsView::Classes(_) => Cow::Borrowed(&[][..]),
            TargetsView::Values(values) => contiguous(values),
        };
        let targets = match pass.targets {
            TargetsView::Classes(classes) => RowTargets::Classes(classes),
            TargetsView::Values(_) => RowTargets::Values(&values),
        };
        let rows = Rows {
            y: pass.y.to_slice().expect("y is contiguous by contract"),
            targets,
            weights: pass.weights,
            losses: pass.losses,
            dy: pass.dy.map(|dy| dy.into_slice().expect("dy is contiguous by contract")),
            n,
        };
        rows.halve(&piece);
    }

    fn halve(self, piece: &(impl Fn(Rows<'_, T>) + Sync)) {
        if self.y.len() <= PIECE || self.losses.len() <= 1 {
            return piece(self);
        }
        let (first, second) = self.split();
        rayon::join(|| first.halve(piece), || second.halve(piece));
    }

    fn split(self) -> (Self, Self) {
        let n = self.n;
        let middle = self.losses.len() / 2;
        let (y, second_y) = self.y.split_at(middle * n);
        let (targets, second_targets) = match self.targets {
            RowTargets::Classes(classes) => {
                let (first, second) = classes.split_at(Axis(0), middle);
                (RowTargets::Classes(first), RowTargets::Classes(second))
            }
            RowTargets::Values(values) => {
                let (first, second) = values.split_at(middle * n);
                (RowTargets::Values(first), RowTargets::Values(second))
            }
        };
        let (weights, second_weights) = self.weights.map(|weights| weights.split_at(middle)).unzip();
        let (losses, second_losses) = self.losses.split_at_mut(middle);
        let (dy, second_dy) = self.dy.map(|dy| dy.split_at_mut(middle * n)).unzip();
        (
            Self { y, targets, weights, losses, dy, n },
            Self {
                y: second_y,
                targets: second_targets,
                weights: second_weights,
                losses: second_losses,
                dy: second_dy,
                n,
            },
        )
    }
}

/// The elements in row-major order, without a copy where they lie so already.
fn contiguous<'a, T: Scalar>(values: &'a ArrayViewD<'_, T>) -> Cow<'a, [T]> {
    match values.as_slice() {
        Some(slice) => Cow::Borrowed(slice),
        None => Cow::Owned(values.iter().copied().collect()),
    }
}
