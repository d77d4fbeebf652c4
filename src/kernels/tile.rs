//! The register tile that all products run on: Conv2D's three passes and Dense's three.
//!
//! Each is a matrix product C = A·B whose left side is never built. A row of A is read where it lies, in segments: under
//! the window of an output pixel the inputs of one kernel row are contiguous in NHWC memory (forward); the values that
//! meet one weight lie a fixed step apart (weight gradient). [`Lattice`] says where rows begin, [`Walk`] how to walk
//! along one. The right side is packed in panels two vectors wide (see [`super::pack`]).
//!
//! A tile is 6 rows × 2 vectors of C, held in registers. **Order of summation:** each element of C has one accumulator,
//! which takes its products in ascending depth, fused multiply-add by fused multiply-add. The depth is cut into blocks that
//! keep a panel in the first-level cache. In a short sum the accumulator waits in C meanwhile; in a long one it begins
//! each block at zero, and the block's sum is added to C ([`Sums`]). So the bits of an element depend on nothing but its
//! row, its column and the walk: not on the vector width, the tile, or who computes it. No sum is −0.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::dispatch::dispatch;
use super::elementwise::relu_of;
use crate::scalar::Scalar;

/// Rows of a tile. With two vectors a row these are 12 accumulators: enough to hide the latency of two multiply-add
/// units, and with two vectors of B and one broadcast of A they fit the 16 registers of AVX2.
pub(crate) const ROWS: usize = 6;

/// Vectors in a row of a tile.
const VECTORS: usize = 2;

/// Panels that a single row is multiplied by at a time, so that it too has eight independent accumulators.
const PANELS_PER_ROW: usize = 4;

/// The most depth taken at a time. A panel of this depth is 20 KB with AVX2 and 40 KB with AVX-512, and stays in the
/// first-level cache while all rows pass by.
const DEPTH: usize = 320;

/// Terms that one accumulator takes at the most. Each addition rounds by 2⁻²⁴ of the sum in f32, so that the error is at
/// most 1,600 · 2⁻²⁴ = 9.5e-5 of the terms' absolute sum.
pub(crate) const MAX_TERMS: usize = 1600;

/// Blocks that are added up in C at the most; of more, the sums of so many are added up once more. Ten million terms then
/// go through no more than 320 + 512 + 122 additions each.
pub(crate) const MAX_BLOCKS: usize = 512;

/// Rows and columns that a product of more than [`MAX_BLOCKS`] takes at a time. Columns are whole panels of any width.
const LONG: [usize; 2] = [48, 64];

/// Depth up to which a walk in segments is listed element by element: short segments cost more than their elements.
const LISTED: usize = 64;

/// Panels from which on it pays to look for zeros in A.
const SKIPPING_PANELS: usize = 4;

/// Where rows begin: row (i, j, k), counted with k fastest, begins at the dot product of its index with `strides`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lattice {
    /// Index of the first row.
    pub(crate) first: [usize; 3],
    /// How far j and k run.
    pub(crate) sizes: [usize; 2],
    pub(crate) strides: [usize; 3],
}

impl Lattice {
    /// Rows that begin a stride apart.
    pub(crate) fn matrix(stride: usize) -> Self {
        Self { first: [0; 3], sizes: [1, usize::MAX], strides: [0, 0, stride] }
    }

    /// The same rows from the one with this number on.
    pub(crate) fn starting_at(self, row: usize) -> Self {
        let [j, k] = self.sizes;
        let row = row + (self.first[0] * j + self.first[1]) * k + self.first[2];
        Self { first: [row / (j * k), row / k % j, row % k], ..self }
    }

    /// Where row `k` of the first (i, j) begins, counted on through all of them.
    #[inline(always)]
    pub(super) fn start_of(&self, row: usize) -> usize {
        let (j, k) = (row / self.sizes[1], row % self.sizes[1]);
        j * self.strides[1] + k * self.strides[2]
    }

    #[inline(always)]
    fn offsets(self) -> Offsets {
        let [i, j, k] = self.first;
        let [si, sj, sk] = self.strides;
        Offsets {
            lattice: self,
            at: [i * si, i * si + j * sj, i * si + j * sj + k * sk],
            left: [self.sizes[0] - j, self.sizes[1] - k],
        }
    }
}

/// The beginnings of a lattice's rows, one after the other; goes on as long as it is asked.
#[derive(Clone, Copy)]
struct Offsets {
    lattice: Lattice,
    /// Where the current i, (i, j) and (i, j, k) begin.
    at: [usize; 3],
    /// How many j and k are left, the current ones included.
    left: [usize; 2],
}

impl Offsets {
    /// The next `M` at once.
    #[inline(always)]
    fn next_rows<const M: usize>(&mut self) -> [usize; M] {
        if self.left[1] <= M {
            return std::array::from_fn(|_| self.next());
        }
        let (at, stride) = (self.at[2], self.lattice.strides[2]);
        self.at[2] += M * stride;
        self.left[1] -= M;
        std::array::from_fn(|r| at + r * stride)
    }

    #[inline(always)]
    fn next(&mut self) -> usize {
        let offset = self.at[2];
        self.left[1] -= 1;
        if self.left[1] > 0 {
            self.at[2] += self.lattice.strides[2];
            return offset;
        }
        self.left[1] = self.lattice.sizes[1];
        self.left[0] -= 1;
        if self.left[0] > 0 {
            self.at[1] += self.lattice.strides[1];
        } else {
            self.left[0] = self.lattice.sizes[0];
            self.at[0] += self.lattice.strides[0];
            self.at[1] = self.at[0];
        }
        self.at[2] = self.at[1];
        offset
    }
}

/// How to walk along a row of A: `counts[0]` × `counts[1]` segments of `len` elements that lie `step` apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk {
    pub(crate) counts: [usize; 2],
    pub(crate) strides: [usize; 2],
    pub(crate) len: usize,
    pub(crate) step: usize,
}

impl Walk {
    /// One segment.
    pub(crate) fn line(len: usize, step: usize) -> Self {
        Self { counts: [1, 1], strides: [0, 0], len, step }
    }

    /// Elements on the way.
    pub(crate) fn depth(&self) -> usize {
        self.counts[0] * self.counts[1] * self.len
    }

    /// Where the segments begin, from the beginning of the row.
    pub(super) fn segments(&self) -> impl Iterator<Item = usize> + use<> {
        let Self { counts, strides, .. } = *self;
        (0..counts[0] * counts[1]).map(move |s| s / counts[1] * strides[0] + s % counts[1] * strides[1])
    }

    /// Where all its elements lie, if they are few and in segments.
    fn list<'a>(&self, list: &'a mut [usize; LISTED]) -> Option<&'a [usize]> {
        let depth = self.depth();
        if depth > LISTED || depth == self.len {
            return None;
        }
        let elements = self.segments().flat_map(|segment| (0..self.len).map(move |l| segment + l * self.step));
        list.iter_mut().zip(elements).for_each(|(at, element)| *at = element);
        Some(&list[..depth])
    }

    /// From its first element to behind its last.
    #[inline(always)]
    fn extent(&self) -> usize {
        let last = |count: usize, stride: usize| (count - 1) * stride;
        last(self.counts[0], self.strides[0]) + last(self.counts[1], self.strides[1]) + last(self.len, self.step) + 1
    }
}

/// A place on a walk.
#[derive(Clone, Copy, Default)]
struct Cursor {
    segment: [usize; 2],
    /// Element within the segment.
    at: usize,
}

impl Cursor {
    /// Where it lies from the beginning of the row.
    #[inline(always)]
    fn offset(&self, walk: &Walk) -> usize {
        self.segment[0] * walk.strides[0] + self.segment[1] * walk.strides[1] + self.at * walk.step
    }

    #[inline(always)]
    fn advance(&mut self, walk: &Walk, elements: usize) {
        self.at += elements;
        if self.at == walk.len {
            self.at = 0;
            self.segment[1] += 1;
            if self.segment[1] == walk.counts[1] {
                self.segment = [self.segment[0] + 1, 0];
            }
        }
    }

    /// The same over any number of segments.
    #[inline(always)]
    fn advance_far(&mut self, walk: &Walk, mut elements: usize) {
        while elements > 0 {
            let n = elements.min(walk.len - self.at);
            self.advance(walk, n);
            elements -= n;
        }
    }
}

/// How the sums of a product are cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sums {
    /// The depth is cut into stretches of this length, and each of them evenly into blocks.
    stretch: usize,
    /// Whether each block is a sum of its own, added to what is in C; otherwise the accumulators go on from there.
    apart: bool,
}

impl Sums {
    /// Sums of so many terms: one accumulator, or blocks if that would be too many for one.
    pub(crate) fn of(depth: usize) -> Self {
        Self { stretch: depth, apart: depth > MAX_TERMS }
    }

    /// What is a part of longer sums. Where these are too long for one accumulator, each stretch is cut on its own, so that
    /// the blocks are the same whichever stretches a part has.
    pub(crate) fn part_of(terms: usize, depth: usize, stretch: usize) -> Self {
        if terms > MAX_TERMS { Self { stretch, apart: true } } else { Self { stretch: depth, apart: false } }
    }

    /// Length of a block.
    pub(crate) fn block(self) -> usize {
        self.stretch.div_ceil(self.stretch.div_ceil(DEPTH).max(1)).max(1)
    }

    /// The block that begins at this depth.
    fn block_at(self, k: usize) -> usize {
        self.block().min(self.stretch - k % self.stretch)
    }

    /// Length of a block, if each is a sum of its own.
    pub(super) fn blocks(self) -> Option<usize> {
        self.apart.then(|| self.block())
    }

    /// Whether a stretch has more blocks than are added up in C.
    pub(crate) fn are_long(self) -> bool {
        self.apart && self.stretch > MAX_BLOCKS * self.block()
    }

    /// The blocks from this depth on that are added up in C, if sums are long.
    fn blocks_at(self, k: usize) -> usize {
        (MAX_BLOCKS * self.block()).min(self.stretch - k % self.stretch)
    }
}

/// What is done to finished sums before they are stored.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Epilogue<'a, T> {
    /// Added to each row. Without one zero is, so that a sum of −0, all of whose products were too small for the type,
    /// becomes 0.
    pub(crate) bias: Option<&'a [T]>,
    /// Then what is below zero becomes zero.
    pub(crate) relu: bool,
}

impl<T: Scalar> Epilogue<'_, T> {
    /// What it does to some columns, their bias loaded.
    #[inline(always)]
    fn at<S: Simd, const N: usize>(&self, simd: S, column: usize, columns: usize) -> Finish<T::Vector<S>, N> {
        let zero = [T::splat(simd, T::zero()); N];
        let bias = match self.bias {
            // a bias of −0 would leave a sum of −0 as it is
            Some(bias) => add::<S, T, N>(simd, load::<S, T, N>(simd, &bias[column..][..columns]), zero),
            None => zero,
        };
        Finish { bias: Some(bias), relu: self.relu }
    }
}

/// An epilogue for the columns of `N` vectors; nothing at all if the sums are not finished.
#[derive(Clone, Copy)]
struct Finish<V, const N: usize> {
    bias: Option<[V; N]>,
    relu: bool,
}

impl<V: Copy, const N: usize> Finish<V, N> {
    #[inline(always)]
    fn apply<S: Simd, T: Scalar<Vector<S> = V>>(&self, simd: S, mut sums: [V; N]) -> [V; N] {
        if let Some(bias) = self.bias {
            sums = add::<S, T, N>(simd, sums, bias);
        }
        if self.relu {
            for sum in &mut sums {
                *sum = T::relu(simd, *sum);
            }
        }
        sums
    }
}

/// B, packed: all of a packed matrix, or some of its rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panels<'a, T> {
    packed: &'a [T],
    /// Rows of the packed matrix.
    depth: usize,
    /// The first row of B.
    first: usize,
}

impl<'a, T: Scalar> Panels<'a, T> {
    /// A packed matrix of so many rows.
    pub(crate) fn new(packed: &'a [T], depth: usize) -> Self {
        Self { packed, depth, first: 0 }
    }

    /// What is below this row.
    pub(crate) fn starting_at(self, row: usize) -> Self {
        Self { first: self.first + row, ..self }
    }

    /// What is right of so many columns, a whole number of panels.
    pub(crate) fn skip_columns(self, column: usize) -> Self {
        Self { packed: &self.packed[column * self.depth..], ..self }
    }

    /// Some rows of the panel that begins with this column and is `N` vectors wide.
    #[inline(always)]
    fn panel<S: Simd, const N: usize>(&self, column: usize, rows: Range<usize>) -> &'a [[T::Vector<S>; N]] {
        let width = N * T::lanes::<S>();
        let panel = &self.packed[column * self.depth..][(self.first + rows.start) * width..][..rows.len() * width];
        T::as_vectors::<S>(panel).0.as_chunks::<N>().0
    }
}

/// C = A·B.
#[derive(Debug)]
pub(crate) struct Product<'a, T> {
    pub(crate) a: &'a [T],
    pub(crate) a_rows: Lattice,
    pub(crate) walk: Walk,
    pub(crate) panels: Panels<'a, T>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) c: &'a mut [T],
    pub(crate) c_rows: Lattice,
    pub(crate) sums: Sums,
    /// Whether the sums go on from what is in C, in place of overwriting it.
    pub(crate) resume: bool,
    /// Whether products with zeros of A are left out. B must be finite and the walk a line; it pays if there are many.
    pub(crate) skip_zeros: bool,
    pub(crate) epilogue: Epilogue<'a, T>,
}

impl<T: Scalar> Product<'_, T> {
    /// Computes it on this thread.
    pub(crate) fn run(self) {
        if self.sums.are_long() {
            return self.run_long();
        }
        let depth = self.walk.depth();
        dispatch(Pass { product: self, depth: 0..depth });
    }

    /// A product so deep that the sums of its blocks would be too many for C: some rows and columns at a time, whose sums
    /// are added up beside it.
    fn run_long(self) {
        let depth = self.walk.depth();
        let [most_rows, most_columns] = LONG;
        let mut sums = [T::zero(); LONG[0] * LONG[1]];
        for row in (0..self.rows).step_by(most_rows) {
            let rows = most_rows.min(self.rows - row);
            for column in (0..self.columns).step_by(most_columns) {
                let columns = most_columns.min(self.columns - column);
                let c_rows = self.c_rows.starting_at(row);
                let c = &mut self.c[column..];
                // adding −0 changes nothing, not even −0
                sums.fill(-T::zero());
                let mut add = |c: &[T]| {
                    let mut offsets = c_rows.offsets();
                    for sums in sums.chunks_exact_mut(columns).take(rows) {
                        let at = offsets.next();
                        sums.iter_mut().zip(&c[at..][..columns]).for_each(|(sum, &part)| *sum += part);
                    }
                };
                if self.resume {
                    add(c);
                }
                let mut k = 0;
                while k < depth {
                    let end = depth.min(k + self.sums.blocks_at(k));
                    let product = Product {
                        a_rows: self.a_rows.starting_at(row),
                        panels: self.panels.skip_columns(column),
                        rows,
                        columns,
                        c: &mut *c,
                        c_rows,
                        resume: false,
                        epilogue: Epilogue::default(),
                        ..self
                    };
                    dispatch(Pass { product, depth: k..end });
                    add(c);
                    k = end;
                }
                let mut offsets = c_rows.offsets();
                for sums in sums.chunks_exact(columns).take(rows) {
                    let at = offsets.next();
                    for (i, (c, &sum)) in c[at..][..columns].iter_mut().zip(sums).enumerate() {
                        let sum = sum + self.epilogue.bias.map_or(T::zero(), |bias| bias[column + i] + T::zero());
                        *c = if self.epilogue.relu { relu_of(sum) } else { sum };
                    }
                }
            }
        }
    }
}

/// A product over a part of its depth, which begins and ends with a block.
struct Pass<'a, T> {
    product: Product<'a, T>,
    depth: Range<usize>,
}

impl<T: Scalar> WithSimd for Pass<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { mut product, depth } = self;
        let lanes = T::lanes::<S>();
        let width = VECTORS * lanes;
        if product.rows == 1 && !product.resume {
            let mut column = 0;
            while column < product.columns {
                // each branch has one tile, whose size the compiler knows
                column += if product.columns - column >= PANELS_PER_ROW * width {
                    product.row::<S, PANELS_PER_ROW>(simd, column, depth.clone())
                } else if product.columns - column > lanes {
                    product.row::<S, 1>(simd, column, depth.clone())
                } else {
                    product.parts(
                        depth.clone(),
                        #[inline(always)]
                        |product, part| product.panel::<S, 1>(simd, column, part),
                    );
                    lanes
                };
            }
            return;
        }
        if product.skip_zeros && product.columns >= SKIPPING_PANELS * width {
            return product.skipping(simd, depth);
        }
        product.parts(
            depth,
            #[inline(always)]
            |product, part| {
                for column in (0..product.columns).step_by(width) {
                    if product.columns - column > lanes {
                        product.panel::<S, VECTORS>(simd, column, part);
                    } else {
                        product.panel::<S, 1>(simd, column, part);
                    }
                }
            },
        );
    }
}

/// Where the rows of a tile begin in A and in C. A short tile repeats its last row, which is not stored.
struct TileRows<const M: usize> {
    a: [usize; M],
    c: [usize; M],
    count: usize,
}

impl<const M: usize> TileRows<M> {
    #[inline(always)]
    fn next(a_offsets: &mut Offsets, c_offsets: &mut Offsets, left: usize) -> Self {
        if left >= M {
            return Self { a: a_offsets.next_rows(), c: c_offsets.next_rows(), count: M };
        }
        let mut rows = Self { a: [0; M], c: [0; M], count: left };
        for r in 0..M {
            if r < rows.count {
                (rows.a[r], rows.c[r]) = (a_offsets.next(), c_offsets.next());
            } else {
                (rows.a[r], rows.c[r]) = (rows.a[rows.count - 1], rows.c[rows.count - 1]);
            }
        }
        rows
    }
}

/// The depths of a part at which the rows of a tile are not all zero, and what the rows have there.
struct Kept<T> {
    at: [u16; DEPTH],
    values: [[T; ROWS]; DEPTH],
    len: usize,
}

impl<T: Scalar> Kept<T> {
    #[inline(always)]
    fn new() -> Self {
        Self { at: [0; DEPTH], values: [[T::zero(); ROWS]; DEPTH], len: 0 }
    }

    /// Rows whose elements lie `step` apart. Nothing depends on a branch that cannot be predicted: each depth is written,
    /// and the next overwrites it if it is not kept.
    #[inline(always)]
    fn list(&mut self, rows: &[&[T]; ROWS], step: usize, depth: usize) {
        let rows = rows.map(|row| &row[..(depth - 1) * step + 1]);
        self.len = 0;
        for k in 0..depth {
            let values: [T; ROWS] = std::array::from_fn(|r| rows[r][k * step]);
            self.at[self.len] = k as u16;
            self.values[self.len] = values;
            self.len += usize::from(values.iter().fold(false, |any, &value| any | (value != T::zero())));
        }
    }
}

/// A part of the depth: a block.
#[derive(Clone, Copy)]
struct Part<'a> {
    /// Where it begins on the walk.
    cursor: Cursor,
    /// Where its elements lie, if the walk is short.
    listed: Option<&'a [usize]>,
    k: usize,
    len: usize,
    /// Whether there is something in C to go on from.
    resume: bool,
    /// Whether the sums are finished with it.
    last: bool,
}

impl<T: Scalar> Product<'_, T> {
    /// Goes through the blocks of a part of the depth.
    #[inline(always)]
    fn parts(&mut self, depth: Range<usize>, mut run: impl FnMut(&mut Self, Part<'_>)) {
        let mut list = [0; LISTED];
        let listed = self.walk.list(&mut list);
        let mut cursor = Cursor::default();
        cursor.advance_far(&self.walk, depth.start);
        let mut k = depth.start;
        while k < depth.end {
            let len = self.sums.block_at(k).min(depth.end - k);
            let part = Part {
                cursor,
                listed: listed.map(|listed| &listed[k..][..len]),
                k,
                len,
                resume: self.resume || k > depth.start,
                last: k + len == depth.end,
            };
            run(self, part);
            cursor.advance_far(&self.walk, len);
            k += len;
        }
    }

    /// All rows against one panel, over a part of the depth.
    #[inline(always)]
    fn panel<S: Simd, const N: usize>(&mut self, simd: S, column: usize, part: Part<'_>) {
        let panel = self.panels.panel::<S, N>(column, part.k..part.k + part.len);
        let (mut a_offsets, mut c_offsets) = (self.a_rows.offsets(), self.c_rows.offsets());
        let mut left = self.rows;
        while left > 0 {
            // a short end is computed on the next larger tile; what it has too much repeats its last row and is not stored
            left -= match left {
                4.. => self.next_tile::<S, ROWS, N>(simd, column, part, panel, &mut a_offsets, &mut c_offsets, left),
                2..4 => self.next_tile::<S, 3, N>(simd, column, part, panel, &mut a_offsets, &mut c_offsets, left),
                _ => self.next_tile::<S, 1, N>(simd, column, part, panel, &mut a_offsets, &mut c_offsets, left),
            };
        }
    }

    /// One tile; returns how many rows it finished.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "inlined into its one caller: the loop state of a tile")]
    fn next_tile<S: Simd, const M: usize, const N: usize>(
        &mut self,
        simd: S,
        column: usize,
        part: Part<'_>,
        panel: &[[T::Vector<S>; N]],
        a_offsets: &mut Offsets,
        c_offsets: &mut Offsets,
        left: usize,
    ) -> usize {
        let rows = TileRows::<M>::next(a_offsets, c_offsets, left);
        let (a, walk) = (self.a, self.walk);
        self.tile::<S, M, N>(
            simd,
            column,
            part,
            &rows,
            #[inline(always)]
            |acc| match part.listed {
                Some(at) => multiply_listed::<S, T, M, N>(simd, acc, a, rows.a, walk.extent(), at, panel),
                None => multiply::<S, T, M, N>(simd, acc, a, rows.a, &walk, part.cursor, panel),
            },
        );
        rows.count
    }

    /// A tile's accumulators: taken up, multiplied, finished if this is the end of the depth, and stored.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "iterators over the accumulators move them into memory")]
    fn tile<S: Simd, const M: usize, const N: usize>(
        &mut self,
        simd: S,
        column: usize,
        part: Part<'_>,
        rows: &TileRows<M>,
        multiply: impl FnOnce([[T::Vector<S>; N]; M]) -> [[T::Vector<S>; N]; M],
    ) {
        let columns = (self.columns - column).min(N * T::lanes::<S>());
        let mut acc = [[T::splat(simd, T::zero()); N]; M];
        if part.resume && !self.sums.apart {
            for r in 0..M {
                acc[r] = load::<S, T, N>(simd, &self.c[rows.c[r] + column..][..columns]);
            }
        }
        let acc = multiply(acc);
        let adds = part.resume && self.sums.apart;
        let finish = if part.last {
            self.epilogue.at::<S, N>(simd, column, columns)
        } else {
            Finish { bias: None, relu: false }
        };
        if rows.count == M && columns == N * T::lanes::<S>() {
            // short enough to be unrolled, so that the accumulators stay in registers
            if adds {
                for r in 0..M {
                    let c = &mut self.c[rows.c[r] + column..][..N * T::lanes::<S>()];
                    let sums = add::<S, T, N>(simd, load::<S, T, N>(simd, c), acc[r]);
                    store::<S, T, _>(simd, c, finish.apply::<S, T>(simd, sums));
                }
            } else {
                for r in 0..M {
                    let c = &mut self.c[rows.c[r] + column..][..N * T::lanes::<S>()];
                    store::<S, T, _>(simd, c, finish.apply::<S, T>(simd, acc[r]));
                }
            }
            return;
        }
        // up to the constant M and not to the count, so that the accumulators are never indexed and stay in registers
        for r in 0..M {
            if r == rows.count {
                break;
            }
            let c = &mut self.c[rows.c[r] + column..][..columns];
            let sums = if adds { add::<S, T, N>(simd, load::<S, T, N>(simd, c), acc[r]) } else { acc[r] };
            store::<S, T, _>(simd, c, finish.apply::<S, T>(simd, sums));
        }
    }

    /// The product of a matrix with many zeros: tile by tile, in each only the depth at which some row is not zero.
    ///
    /// What is left out would add zero to a sum, and change it in no bit (but for the sign of a zero, and no finished sum
    /// is −0).
    #[inline(always)]
    fn skipping<S: Simd>(&mut self, simd: S, depth: Range<usize>) {
        let lanes = T::lanes::<S>();
        let mut kept = Kept::new();
        self.parts(
            depth,
            #[inline(always)]
            |product, part| {
                let (mut a_offsets, mut c_offsets) = (product.a_rows.offsets(), product.c_rows.offsets());
                let (step, mut left) = (product.walk.step, product.rows);
                while left > 0 {
                    let rows = TileRows::<ROWS>::next(&mut a_offsets, &mut c_offsets, left);
                    kept.list(&rows.a.map(|at| &product.a[at + part.k * step..]), step, part.len);
                    for column in (0..product.columns).step_by(VECTORS * lanes) {
                        if product.columns - column > lanes {
                            product.skipping_tile::<S, VECTORS>(simd, column, part, &rows, &kept);
                        } else {
                            product.skipping_tile::<S, 1>(simd, column, part, &rows, &kept);
                        }
                    }
                    left -= rows.count;
                }
            },
        );
    }

    #[inline(always)]
    fn skipping_tile<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        column: usize,
        part: Part<'_>,
        rows: &TileRows<ROWS>,
        kept: &Kept<T>,
    ) {
        let panel = self.panels.panel::<S, N>(column, part.k..part.k + part.len);
        self.tile::<S, ROWS, N>(
            simd,
            column,
            part,
            rows,
            #[inline(always)]
            |mut acc| {
                for (&k, a) in kept.at[..kept.len].iter().zip(&kept.values) {
                    let b = panel[usize::from(k)];
                    for r in 0..ROWS {
                        let a = T::splat(simd, a[r]);
                        for v in 0..N {
                            acc[r][v] = T::multiply_add(simd, a, b[v], acc[r][v]);
                        }
                    }
                }
                acc
            },
        );
    }

    /// The only row against `P` panels; returns how many columns it finished.
    #[inline(always)]
    fn row<S: Simd, const P: usize>(&mut self, simd: S, column: usize, depth: Range<usize>) -> usize {
        let width = VECTORS * T::lanes::<S>();
        let panels: [_; P] =
            std::array::from_fn(|p| self.panels.panel::<S, VECTORS>(column + p * width, 0..self.walk.depth()));
        let start = self.a_rows.offsets().next();
        let zero = [[T::splat(simd, T::zero()); VECTORS]; P];
        let (mut sums, mut acc) = (zero, zero);
        let mut cursor = Cursor::default();
        cursor.advance_far(&self.walk, depth.start);
        let mut k = depth.start;
        while k < depth.end {
            let mut left = self.sums.block_at(k).min(depth.end - k);
            while left > 0 {
                let len = left.min(self.walk.len - cursor.at);
                let a = &self.a[start + cursor.offset(&self.walk)..];
                let panels = panels.map(|panel| &panel[k..][..len]);
                for l in 0..len {
                    let a = T::splat(simd, a[l * self.walk.step]);
                    for p in 0..P {
                        for v in 0..VECTORS {
                            acc[p][v] = T::multiply_add(simd, a, panels[p][l][v], acc[p][v]);
                        }
                    }
                }
                cursor.advance(&self.walk, len);
                k += len;
                left -= len;
            }
            if self.sums.apart {
                for p in 0..P {
                    sums[p] = add::<S, T, VECTORS>(simd, sums[p], acc[p]);
                }
                acc = zero;
            }
        }
        let sums = if self.sums.apart { sums } else { acc };
        let c_at = self.c_rows.offsets().next();
        for (p, &sums) in sums.iter().enumerate() {
            let column = column + p * width;
            let columns = (self.columns - column).min(width);
            let sums = self.epilogue.at(simd, column, columns).apply::<S, T>(simd, sums);
            store::<S, T, _>(simd, &mut self.c[c_at + column..][..columns], sums);
        }
        P * width
    }
}

/// `acc[r] + Σ a[row r][l] · panel[l]`, l ascending over as much of the walk as the panel is long.
///
/// The accumulators are handed on by value: they live in registers, and nowhere else.
#[inline(always)]
fn multiply<S: Simd, T: Scalar, const M: usize, const N: usize>(
    simd: S,
    mut acc: [[T::Vector<S>; N]; M],
    a: &[T],
    rows: [usize; M],
    walk: &Walk,
    mut cursor: Cursor,
    mut panel: &[[T::Vector<S>; N]],
) -> [[T::Vector<S>; N]; M] {
    // rows of one length: a single check of the bounds in each step serves all
    let extent = walk.extent();
    let a: [&[T]; M] = std::array::from_fn(|r| &a[rows[r]..][..extent]);
    while !panel.is_empty() {
        let len = panel.len().min(walk.len - cursor.at);
        let (segment, rest) = panel.split_at(len);
        panel = rest;
        let mut at = cursor.offset(walk);
        cursor.advance(walk, len);
        for b in segment {
            for r in 0..M {
                let a = T::splat(simd, a[r][at]);
                for v in 0..N {
                    acc[r][v] = T::multiply_add(simd, a, b[v], acc[r][v]);
                }
            }
            at += walk.step;
        }
    }
    acc
}

/// The same for a walk whose elements are listed.
#[inline(always)]
fn multiply_listed<S: Simd, T: Scalar, const M: usize, const N: usize>(
    simd: S,
    mut acc: [[T::Vector<S>; N]; M],
    a: &[T],
    rows: [usize; M],
    extent: usize,
    listed: &[usize],
    panel: &[[T::Vector<S>; N]],
) -> [[T::Vector<S>; N]; M] {
    let a: [&[T]; M] = std::array::from_fn(|r| &a[rows[r]..][..extent]);
    for (&at, b) in listed.iter().zip(panel) {
        for r in 0..M {
            let a = T::splat(simd, a[r][at]);
            for v in 0..N {
                acc[r][v] = T::multiply_add(simd, a, b[v], acc[r][v]);
            }
        }
    }
    acc
}

#[inline(always)]
pub(super) fn add<S: Simd, T: Scalar, const N: usize>(
    simd: S,
    a: [T::Vector<S>; N],
    b: [T::Vector<S>; N],
) -> [T::Vector<S>; N] {
    std::array::from_fn(
        #[inline(always)]
        |v| T::plus(simd, a[v], b[v]),
    )
}

/// `N` vectors from at most as many elements; what is missing is zero.
#[inline(always)]
pub(super) fn load<S: Simd, T: Scalar, const N: usize>(simd: S, from: &[T]) -> [T::Vector<S>; N] {
    let lanes = T::lanes::<S>();
    if from.len() == N * lanes {
        let (whole, _) = T::as_vectors::<S>(from);
        return std::array::from_fn(
            #[inline(always)]
            |v| whole[v],
        );
    }
    std::array::from_fn(
        #[inline(always)]
        |v| {
            let from = &from[(v * lanes).min(from.len())..((v + 1) * lanes).min(from.len())];
            if let Some(whole) = T::as_vectors::<S>(from).0.first() { *whole } else { T::load_partial(simd, from) }
        },
    )
}

/// As many elements of `N` vectors as there is room for.
#[inline(always)]
pub(super) fn store<S: Simd, T: Scalar, const N: usize>(simd: S, to: &mut [T], from: [T::Vector<S>; N]) {
    let lanes = T::lanes::<S>();
    if to.len() == N * lanes {
        let (whole, _) = T::as_vectors_mut::<S>(to);
        whole[..N].copy_from_slice(&from);
        return;
    }
    for (to, from) in to.chunks_mut(lanes).zip(from) {
        match T::as_vectors_mut::<S>(to).0.first_mut() {
            Some(whole) => *whole = from,
            None => T::store_partial(simd, to, from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pack::{pack_here, packed_len};
    use super::*;

    /// Numbers whose sums are exact in f32, so that results must agree to the last bit whatever the order.
    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 13) as f32 - 6.0).collect()
    }

    /// The plain product, element by element.
    fn reference(product: &Product<'_, f32>, b: &[f32]) -> Vec<f32> {
        let mut c = product.c.to_vec();
        let (mut a_rows, mut c_rows) = (product.a_rows.offsets(), product.c_rows.offsets());
        for _ in 0..product.rows {
            let (a_at, c_at) = (a_rows.next(), c_rows.next());
            for column in 0..product.columns {
                let mut sum = 0.0;
                let mut k = 0;
                for i in 0..product.walk.counts[0] {
                    for j in 0..product.walk.counts[1] {
                        for l in 0..product.walk.len {
                            let at = i * product.walk.strides[0] + j * product.walk.strides[1] + l * product.walk.step;
                            sum += product.a[a_at + at] * b[k * product.columns + column];
                            k += 1;
                        }
                    }
                }
                let c = &mut c[c_at + column];
                *c = if product.resume { *c + sum } else { sum };
                *c += product.epilogue.bias.map_or(0.0, |bias| bias[column]);
                *c = if product.epilogue.relu { c.max(0.0) } else { *c };
            }
        }
        c
    }

    #[test]
    fn agrees_with_the_plain_product() {
        let walks = [
            Walk::line(1, 1),
            Walk::line(7, 1),
            Walk::line(700, 1),
            Walk::line(9, 5),
            Walk { counts: [3, 1], strides: [40, 0], len: 6, step: 1 },
            Walk { counts: [3, 2], strides: [40, 17], len: 5, step: 1 },
            Walk { counts: [5, 1], strides: [60, 0], len: 200, step: 2 },
        ];
        let mut compared = 0;
        for walk in walks {
            for rows in [1, 2, 3, 4, 5, 6, 7, 12, 13, 20] {
                for columns in [1, 3, 8, 10, 16, 17, 31, 32, 33, 64, 100, 150] {
                    for resume in [false, true] {
                        for lattice in
                            [Lattice::matrix(3), Lattice { first: [0, 1, 2], sizes: [2, 4], strides: [50, 21, 2] }]
                        {
                            let a = numbers(2000, rows);
                            let b = numbers(walk.depth() * columns, columns);
                            let mut panels = vec![0.0; packed_len::<f32>(walk.depth(), columns)];
                            pack_here(&b, columns, &mut panels);
                            let bias = numbers(columns, 3);
                            let mut c = numbers(rows * (columns + 1), 5);
                            let product = Product {
                                a: &a,
                                a_rows: lattice,
                                walk,
                                panels: Panels::new(&panels, walk.depth()),
                                rows,
                                columns,
                                c: &mut c,
                                c_rows: Lattice::matrix(columns + 1),
                                sums: Sums::of(walk.depth()),
                                resume,
                                skip_zeros: false,
                                epilogue: Epilogue { bias: Some(&bias), relu: rows % 2 == 0 },
                            };
                            let want = reference(&product, &b);
                            product.run();
                            assert_eq!(
                                c, want,
                                "{walk:?}, {rows} rows, {columns} columns, resume {resume}, {lattice:?}"
                            );
                            compared += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(compared, 7 * 10 * 12 * 2 * 2);
    }

    /// Rows whose zeros partly coincide: in tiles of six, there is always something to leave out.
    #[test]
    fn leaving_out_zeros_changes_no_number() {
        for (step, row) in [(1, 700), (50, 1)] {
            for depth in [1, 9, 320, 700] {
                for (rows, columns, resume) in [(2, 128, false), (7, 150, false), (6, 129, true), (20, 200, true)] {
                    let mut a: Vec<f32> = (0..50 * 700).map(|i| ((i * 7919) % 1009) as f32 / 997.0 - 0.5).collect();
                    for r in 0..rows {
                        for k in (0..depth).filter(|k| k % 8 < 4 || (k + r) % 3 == 0) {
                            a[r * row + k * step] = if k % 2 == 0 { 0.0 } else { -0.0 };
                        }
                    }
                    let b: Vec<f32> = (0..depth * columns).map(|i| ((i * 31) % 503) as f32 / 499.0 - 0.5).collect();
                    let mut panels = vec![0.0; packed_len::<f32>(depth, columns)];
                    pack_here(&b, columns, &mut panels);
                    let bias = numbers(columns, 3);
                    let [kept, skipped] = [false, true].map(|skip_zeros| {
                        let mut c = numbers(rows * columns, 5);
                        Product {
                            a: &a,
                            a_rows: Lattice::matrix(row),
                            walk: Walk::line(depth, step),
                            panels: Panels::new(&panels, depth),
                            rows,
                            columns,
                            c: &mut c,
                            c_rows: Lattice::matrix(columns),
                            sums: Sums::of(depth),
                            resume,
                            skip_zeros,
                            epilogue: Epilogue { bias: Some(&bias), relu: false },
                        }
                        .run();
                        c
                    });
                    assert_eq!(skipped, kept, "{rows}×{depth}×{columns}, step {step}, resume {resume}");
                }
            }
        }
    }

    #[test]
    fn a_lattice_can_begin_at_any_row() {
        let lattice = Lattice { first: [0, 0, 0], sizes: [3, 4], strides: [1000, 100, 10] };
        let mut all = lattice.offsets();
        let all: Vec<usize> = (0..60).map(|_| all.next()).collect();
        assert_eq!(all[4 * 3 + 4 + 1], 1110);
        for first in 0..50 {
            let mut part = lattice.starting_at(first).offsets();
            assert!((first..60).all(|row| part.next() == all[row]), "from row {first}");
            let mut again = lattice.starting_at(first).starting_at(7).offsets();
            assert!((first + 7..60).all(|row| again.next() == all[row]), "7 after row {first}");
        }
    }

    #[test]
    fn segments_of_a_walk_begin_where_its_counts_say() {
        let walk = Walk { counts: [3, 2], strides: [40, 17], len: 5, step: 1 };
        assert_eq!(walk.segments().collect::<Vec<_>>(), [0, 17, 40, 57, 80, 97]);
        assert_eq!(walk.extent(), 80 + 17 + 5);
    }
}
