//! Cutting an epoch into batches.

use std::iter::FusedIterator;
use std::ops::Range;

use crate::error::{Error, Result};

/// The batches of an epoch, as ranges of positions: an iterator that keeps the last, partial batch.
///
/// Batch b of `samples` samples holds the positions from b · `batch_size` to min((b + 1) · `batch_size`, `samples`);
/// there are ⌈`samples` / `batch_size`⌉ of them. Together with [`epoch_order`](crate::data::epoch_order) they are an
/// epoch: each range is a slice of the order.
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | `samples` | none | any | number of samples; 0 gives no batches |
/// | `batch_size` | none | at least 1 | samples in each batch but the last |
///
/// # Source
///
/// The partial batch is kept as in Keras 3 (`keras/src/trainers/data_adapters/array_data_adapter.py`).
///
/// # Example
///
/// ```
/// use plywood::data::Batches;
///
/// let batches: Vec<_> = Batches::new(10, 4)?.collect();
/// assert_eq!(batches, [0..4, 4..8, 8..10]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batches {
    /// What has not been handed out yet.
    rest: Range<usize>,
    batch_size: usize,
}

impl Batches {
    /// Cuts `samples` positions into batches.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`] if `batch_size` is 0.
    pub fn new(samples: usize, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::invalid_parameter("batches", "batch_size", batch_size, "at least 1"));
        }
        Ok(Self { rest: 0..samples, batch_size })
    }
}

impl Iterator for Batches {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.rest.is_empty() {
            return None;
        }
        let start = self.rest.start;
        // Not `start + batch_size`: a batch size of usize::MAX, for "all at once", must not wrap.
        self.rest.start += self.batch_size.min(self.rest.len());
        Some(start..self.rest.start)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let batches = self.rest.len().div_ceil(self.batch_size);
        (batches, Some(batches))
    }
}

impl ExactSizeIterator for Batches {}

impl FusedIterator for Batches {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batches_are_the_chunks_of_a_slice() {
        let order: Vec<usize> = (0..23).rev().collect();
        for samples in 0..=order.len() {
            for batch_size in 1..=samples + 2 {
                let batches = Batches::new(samples, batch_size).unwrap();
                let expected: Vec<&[usize]> = order[..samples].chunks(batch_size).collect();
                assert_eq!(batches.len(), expected.len(), "{samples} samples in batches of {batch_size}");
                assert_eq!(batches.map(|batch| &order[batch]).collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn the_length_counts_what_is_left() {
        let mut batches = Batches::new(10, 4).unwrap();
        for left in (0..3).rev() {
            batches.next().unwrap();
            assert_eq!(batches.len(), left);
        }
        assert_eq!((batches.next(), batches.next()), (None, None));
    }

    #[test]
    fn the_largest_batch_size_takes_all_at_once() {
        let mut batches = Batches::new(usize::MAX, usize::MAX).unwrap();
        assert_eq!((batches.next(), batches.next()), (Some(0..usize::MAX), None));
        let mut batches = Batches::new(usize::MAX, usize::MAX - 1).unwrap();
        assert_eq!((batches.next(), batches.next()), (Some(0..usize::MAX - 1), Some(usize::MAX - 1..usize::MAX)));
    }

    #[test]
    fn no_batch_holds_nothing() {
        let error = Batches::new(10, 0).unwrap_err();
        assert_eq!(error.to_string(), "batches: batch_size is 0, expected at least 1");
    }
}
