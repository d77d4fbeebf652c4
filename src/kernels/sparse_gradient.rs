//! The backward pass of a convolution whose output was max-pooled.
//!
//! Each pooled output hands its gradient to a single pixel of the convolution's output, and to none where a ReLU cut it
//! off. With a 2×2 pool that leaves less than a quarter of the elements, and only these are worked on: a pixel's are
//! listed by filter, a filter's by pixel. Leaving out products with zero changes no sum of finite numbers, and what is left
//! is added in the order of the dense passes of [`super::convolution`], so the bits are theirs.
//!
//! Here the kernel and its gradient are transposed, `[filters][weights]`, so that the weights of a filter's kernel row
//! are contiguous, as the inputs under them are.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::dispatch::dispatch;
use super::tile::{Lattice, Sums, Walk, add, load, store};
use crate::scalar::Scalar;

/// Vectors that are accumulated at a time: a kernel row of 3 × 32 channels with AVX-512, half of one with AVX2.
const VECTORS: usize = 6;

/// The elements of one image's output gradient that are not zero.
#[derive(Debug)]
pub(crate) struct Entries<'a, T> {
    pixels: usize,
    filters: usize,
    /// Where each pixel's entries end; behind them one number a filter: where its entries end.
    ends: &'a mut [u32],
    /// The filter of each entry, by pixel.
    filter: &'a mut [u32],
    /// Where the window of each entry's pixel begins, by filter; each filter has room for as many as there are pooled
    /// outputs.
    window: &'a mut [u32],
    by_pixel: &'a mut [T],
    by_filter: &'a mut [T],
}

/// Room for the entries of an image: indices and values.
pub(crate) fn room(pixels: usize, filters: usize, pooled: usize) -> [usize; 2] {
    // one more than there are entries: a place for what is zero
    let entries = pooled * filters + 1;
    [pixels + filters + 2 * entries, 2 * entries]
}

impl<'a, T: Scalar> Entries<'a, T> {
    /// Lists the entries of an image: the pooled output's gradient, zero where a ReLU cut off, and the pixel of each.
    pub(crate) fn list(
        windows: Lattice,
        pixels: usize,
        filters: usize,
        argmax: &[u32],
        dy: &[T],
        mut indices: &'a mut [u32],
        mut values: &'a mut [T],
    ) -> Self {
        let entries = dy.len() + 1;
        let mut split = |len| indices.split_off_mut(..len).expect("there is room for the entries");
        let (ends, filter, window) = (split(pixels + filters), split(entries), split(entries));
        let mut split = |len| values.split_off_mut(..len).expect("there is room for the entries");
        let (by_pixel, by_filter) = (split(entries), split(entries));

        // Counting sort: how many entries a pixel has, where they begin, then each to its place. What is zero is written
        // too, but to a place of no use, so that nothing depends on a branch that cannot be predicted.
        let unused = entries - 1;
        let (pixel_ends, filter_ends) = ends.split_at_mut(pixels);
        pixel_ends.fill(0);
        for (&dy, &at) in dy.iter().zip(argmax) {
            pixel_ends[at as usize] += u32::from(dy != T::zero());
        }
        let mut start = 0;
        for end in &mut *pixel_ends {
            start += std::mem::replace(end, start);
        }
        for (dy, argmax) in dy.chunks_exact(filters).zip(argmax.chunks_exact(filters)) {
            for (f, (&dy, &at)) in dy.iter().zip(argmax).enumerate() {
                let end = &mut pixel_ends[at as usize];
                let place = if dy != T::zero() { *end as usize } else { unused };
                filter[place] = f as u32;
                by_pixel[place] = dy;
                *end += u32::from(dy != T::zero());
            }
        }
        let capacity = dy.len() / filters;
        for (f, end) in filter_ends.iter_mut().enumerate() {
            *end = (f * capacity) as u32;
        }
        let mut start = 0;
        for (p, &end) in pixel_ends.iter().enumerate() {
            let at = windows.start_of(p) as u32;
            for (&f, &dy) in filter[start..end as usize].iter().zip(&by_pixel[start..end as usize]) {
                let end = &mut filter_ends[f as usize];
                window[*end as usize] = at;
                by_filter[*end as usize] = dy;
                *end += 1;
            }
            start = end as usize;
        }
        Self { pixels, filters, ends, filter, window, by_pixel, by_filter }
    }

    /// A pixel's filters, ascending, and gradients.
    #[inline(always)]
    fn of_pixel(&self, p: usize) -> (&[u32], &[T]) {
        let start = if p == 0 { 0 } else { self.ends[p - 1] as usize };
        let range = start..self.ends[p] as usize;
        (&self.filter[range.clone()], &self.by_pixel[range])
    }

    /// Whether a pixel's filter has an entry.
    pub(crate) fn has(&self, p: usize, f: usize) -> bool {
        self.of_pixel(p).0.contains(&(f as u32))
    }

    /// Where the windows of a filter's pixels begin, ascending, and gradients: all, or those of a stretch of pixels.
    #[inline(always)]
    fn of_filter(&self, f: usize, starts: Option<&Range<usize>>) -> (&[u32], &[T]) {
        let capacity = (self.filter.len() - 1) / self.filters;
        let range = f * capacity..self.ends[self.pixels + f] as usize;
        let (window, by_filter) = (&self.window[range.clone()], &self.by_filter[range]);
        let Some(starts) = starts else { return (window, by_filter) };
        let place = |start: usize| window.partition_point(|&at| (at as usize) < start);
        let range = place(starts.start)..place(starts.end);
        (&window[range.clone()], &by_filter[range])
    }

    /// `dbias[f] (+)= Σ dy`, pixels ascending, over all or those whose windows begin here.
    pub(crate) fn bias_gradient(&self, starts: Option<&Range<usize>>, dbias: &mut [T], resume: bool) {
        for (f, dbias) in dbias.iter_mut().enumerate() {
            let start = if resume { *dbias } else { T::zero() };
            *dbias = self.of_filter(f, starts).1.iter().fold(start, |sum, &dy| sum + dy);
        }
    }
}

/// `dkernel[f] (+)= Σ dy · window`, pixels ascending.
#[derive(Debug)]
pub(crate) struct WeightGradient<'a, T> {
    pub(crate) entries: &'a Entries<'a, T>,
    /// Where the windows of those pixels begin that are gone through, if these are not all.
    pub(crate) starts: Option<&'a Range<usize>>,
    /// The padded image.
    pub(crate) x: &'a [T],
    pub(crate) window: Walk,
    /// Transposed.
    pub(crate) dkernel: &'a mut [T],
    pub(crate) resume: bool,
}

impl<T: Scalar> WeightGradient<'_, T> {
    pub(crate) fn run(self) {
        dispatch(self);
    }

    /// As many vectors of one segment of a filter's weights as `N`; `len` is less than that only for the last, shorter one.
    #[inline(always)]
    fn block<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        (windows, dys): (&[u32], &[T]),
        f: usize,
        offset: usize,
        weight: usize,
        len: usize,
    ) {
        let depth = self.window.depth();
        let to = &mut self.dkernel[f * depth + weight..][..len];
        let mut acc = [T::splat(simd, T::zero()); N];
        if self.resume {
            acc = load::<S, T, N>(simd, to);
        }
        for (&start, &dy) in windows.iter().zip(dys) {
            let x = load::<S, T, N>(simd, &self.x[start as usize + offset..][..len]);
            let dy = T::splat(simd, dy);
            for v in 0..N {
                acc[v] = T::multiply_add(simd, x[v], dy, acc[v]);
            }
        }
        store::<S, T, N>(simd, to, acc);
    }
}

impl<T: Scalar> WithSimd for WeightGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = T::lanes::<S>();
        let entries = self.entries;
        for f in 0..entries.filters {
            let of_filter = entries.of_filter(f, self.starts);
            let mut weight = 0;
            for offset in self.window.segments() {
                let mut at = 0;
                while at < self.window.len {
                    let left = self.window.len - at;
                    let len = if left >= VECTORS * lanes {
                        self.block::<S, VECTORS>(simd, of_filter, f, offset + at, weight + at, VECTORS * lanes);
                        VECTORS * lanes
                    } else {
                        self.block::<S, 1>(simd, of_filter, f, offset + at, weight + at, left.min(lanes));
                        left.min(lanes)
                    };
                    at += len;
                }
                weight += self.window.len;
            }
        }
    }
}

/// `dx[window] += Σ dy · kernel`: segment by segment of the window, in each the pixels, in each the filters ascending.
#[derive(Debug)]
pub(crate) struct InputGradient<'a, T> {
    pub(crate) entries: &'a Entries<'a, T>,
    /// The pixels to go through.
    pub(crate) pixels: Range<usize>,
    /// Transposed.
    pub(crate) kernel: &'a [T],
    pub(crate) windows: Lattice,
    pub(crate) window: Walk,
    /// How the sums over a pixel's filters are cut.
    pub(crate) sums: Sums,
    /// The gradient of the padded image.
    pub(crate) dx: &'a mut [T],
}

impl<T: Scalar> InputGradient<'_, T> {
    pub(crate) fn run(self) {
        dispatch(self);
    }

    #[inline(always)]
    fn block<S: Simd, const N: usize>(&mut self, simd: S, p: usize, offset: usize, weight: usize, len: usize) {
        let depth = self.window.depth();
        let (mut filters, mut dys) = self.entries.of_pixel(p);
        let kernel = &self.kernel[weight..];
        let to = &mut self.dx[self.windows.start_of(p) + offset..][..len];
        let mut acc = load::<S, T, N>(simd, to);
        if let Some(block) = self.sums.blocks() {
            while let Some(&first) = filters.first() {
                let end = filters.partition_point(|&f| f as usize / block == first as usize / block);
                let zero = [T::splat(simd, T::zero()); N];
                let sum = multiply::<S, T, N>(simd, zero, kernel, depth, to.len(), &filters[..end], &dys[..end]);
                acc = add::<S, T, N>(simd, acc, sum);
                (filters, dys) = (&filters[end..], &dys[end..]);
            }
        } else {
            acc = multiply::<S, T, N>(simd, acc, kernel, depth, to.len(), filters, dys);
        }
        store::<S, T, N>(simd, to, acc);
    }
}

impl<T: Scalar> WithSimd for InputGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = T::lanes::<S>();
        let mut weight = 0;
        for offset in self.window.segments() {
            for p in self.pixels.clone() {
                let mut at = 0;
                while at < self.window.len {
                    let left = self.window.len - at;
                    let len = if left >= VECTORS * lanes {
                        self.block::<S, VECTORS>(simd, p, offset + at, weight + at, VECTORS * lanes);
                        VECTORS * lanes
                    } else {
                        self.block::<S, 1>(simd, p, offset + at, weight + at, left.min(lanes));
                        left.min(lanes)
                    };
                    at += len;
                }
            }
            weight += self.window.len;
        }
    }
}

/// `acc + Σ dy · kernel`, filters ascending; the kernel's filters are `depth` apart.
#[inline(always)]
fn multiply<S: Simd, T: Scalar, const N: usize>(
    simd: S,
    mut acc: [T::Vector<S>; N],
    kernel: &[T],
    depth: usize,
    len: usize,
    filters: &[u32],
    dys: &[T],
) -> [T::Vector<S>; N] {
    for (&f, &dy) in filters.iter().zip(dys) {
        let kernel = load::<S, T, N>(simd, &kernel[f as usize * depth..][..len]);
        let dy = T::splat(simd, dy);
        for v in 0..N {
            acc[v] = T::multiply_add(simd, dy, kernel[v], acc[v]);
        }
    }
    acc
}
