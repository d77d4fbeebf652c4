//! Buffers that begin on a cache line, so that no vector of them straddles two.

/// A buffer of numbers, zero at first, whose first element lies on a 64-byte boundary.
#[derive(Debug, Default)]
pub(crate) struct Aligned<T> {
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    pub(crate) fn new(len: usize) -> Self {
        const LINE: usize = 64;
        if len == 0 {
            return Self::default();
        }
        let values = vec![T::default(); len + LINE / size_of::<T>()];
        let start = values.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
        Self { values, start, len }
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
}
