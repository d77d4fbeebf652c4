//! Buffers that begin on a cache line, so that no vector of them straddles two.

/// So many zeros, if there is memory for them: `vec![0.0; len]` alone would end the program where there is none.
pub(crate) fn zeros<T: Copy + Default>(len: usize) -> Option<Vec<T>> {
    let mut probe = Vec::<T>::new();
    probe.try_reserve_exact(len).ok()?;
    // an optimising compiler leaves out an allocation whose memory is not looked at
    std::hint::black_box(&probe);
    drop(probe);
    // not the probe filled up: zeros from the system take no memory until they are written over
    Some(vec![T::default(); len])
}

/// A buffer of numbers, zero at first, whose first element lies on a 64-byte boundary.
#[derive(Debug, Default)]
pub(crate) struct Aligned<T> {
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// A buffer that there is memory for, as where one sample's had been asked for before.
    pub(crate) fn new(len: usize) -> Self {
        Self::try_new(len).expect("there is memory for a batch whose size has been limited")
    }

    /// A buffer, if there is memory for it.
    pub(crate) fn try_new(len: usize) -> Option<Self> {
        const LINE: usize = 64;
        if len == 0 {
            return Some(Self::default());
        }
        let values: Vec<T> = zeros(len.saturating_add(LINE / size_of::<T>()))?;
        let start = values.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
        Some(Self { values, start, len })
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &self.values[self.start..][..self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.values[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_on_a_cache_line() {
        for len in [1, 5, 16, 1000, 100_000] {
            let mut buffer = Aligned::<f32>::new(len);
            assert_eq!(buffer.as_slice().len(), len);
            assert_eq!(buffer.as_mut_slice().as_ptr().align_offset(64), 0);
        }
        assert!(Aligned::<f64>::new(0).as_slice().is_empty());
    }

    #[test]
    fn memory_that_is_missing_is_none() {
        for len in [1 << 45, isize::MAX as usize / 4, usize::MAX] {
            assert!(zeros::<f32>(len).is_none() && Aligned::<f32>::try_new(len).is_none(), "{len}");
        }
        assert_eq!(zeros::<u64>(3), Some(vec![0; 3]));
    }
}
