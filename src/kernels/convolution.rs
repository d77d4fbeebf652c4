//! Convolution, forward and backward, alone or joined with the max-pooling after it.
//!
//! It is im2col and a matrix product with the column matrix left implicit: under the window of an output pixel, the
//! inputs of one kernel row are contiguous in NHWC memory, and the tile reads them there. Padding is made by copying an
//! image into a larger one of zeros.
//!
//! | pass | rows of A | walked in | B, packed | C |
//! |---|---|---|---|---|
//! | forward | windows of x | kernel rows | kernel | y |
//! | weight gradient | weights: where each meets x | output rows | dy | dkernel |
//! | input gradient | what of a row of dy touches a pixel of dx | pixels of dy | one kernel row, transposed | dx |
//!
//! An element of dx takes its products kernel row by kernel row, within one from the last element to the first, and so
//! in the order of the pixels of dy that touch it; the filters of a pixel ascend. Pixels of dx near the border are touched
//! by fewer pixels of dy than others: [`super::columns`] tells which have the same.
//!
//! The forward pass is cut into tasks of output rows. The backward pass is cut into groups of images, each of which sums
//! its weight gradient on its own; the groups' sums are then added in order. A group's pixels are cut into
//! [stretches](Stretches), each of which is a sum of its own. Within a task work goes in bands of output rows that stay in
//! the second-level cache, so that images of any size do.
//!
//! Joined with pooling, a band of the convolution's output lives only until it is pooled, and only what some pooling
//! window reads is computed at all. Backward, most of the output's gradient is zero: see [`super::sparse_gradient`].

use std::ops::Range;

use super::columns::Columns;
use super::dispatch::vectorized;
use super::elementwise::{add_to, mask_relu_here, relu_of, sum_parts, sum_rows};
use super::pack::{is_finite, is_packed, pack, pack_here, pack_transposed, packed_len, transpose};
use super::parallel::{Chunks, MAX_TASKS, each_task, is_small, items_per_cut_task, items_per_task};
use super::pooling::{max_pool, scatter_to_argmax, unpool};
use super::sparse_gradient::{self, Entries};
use super::tile::{Epilogue, Lattice, MAX_BLOCKS, Panels, Product, Sums, Walk};
use crate::scalar::Scalar;
use crate::shape::Geometry;

/// Elements of a band of output: with the input under it, it stays in the second-level cache.
const BAND: usize = 1 << 15;

/// Elements of a band that is pooled at once: it should stay in the first-level cache.
const POOLED_BAND: usize = 1 << 13;

/// Groups into which the images of a backward pass are cut at the most. Each has a weight gradient of its own to fill and
/// to add up; within a group, weight and input gradient run in parallel.
const GROUPS: usize = 16;

/// Elements of a kernel row from which on it is worth listing the gradients that are not zero: shorter rows are hardly a
/// vector long.
const SPARSE_ROW: usize = 32;

/// Elements that all groups' weight gradients may have together.
const GROUP_ELEMENTS: usize = 1 << 22;

/// Pixels that one accumulator of a weight gradient takes at the most.
const STRETCH: usize = 1 << 10;

/// How a group's output pixels are cut into stretches, each of which is a sum of its own: some images, some rows of one, or
/// a part of a row. It is the same with pooling as without, as the bands are.
#[derive(Debug, Clone, Copy)]
struct Stretches {
    images: usize,
    rows: usize,
    columns: usize,
    /// Stretches of an image that is cut into several.
    per_image: usize,
    /// Stretches of a row that is cut into several.
    per_row: usize,
}

impl Stretches {
    /// Whole numbers of bands, and of as many images as are taken at a time, if there is room for one.
    fn new([height, width]: [usize; 2], band: usize, images_at_a_time: usize) -> Self {
        let multiple = |most: usize, of: usize| if most > of { most / of * of } else { most.max(1) };
        if height * width <= STRETCH {
            let images = multiple(STRETCH / (height * width), images_at_a_time);
            return Self { images, rows: height, columns: width, per_image: 1, per_row: 1 };
        }
        let per_row = width.div_ceil(STRETCH);
        let (rows, columns) = (multiple(STRETCH / width, band), width.div_ceil(per_row));
        Self { images: 1, rows, columns, per_image: height.div_ceil(rows) * per_row, per_row }
    }

    /// How many there are in so many images.
    fn count(&self, images: usize) -> usize {
        images.div_ceil(self.images) * self.per_image
    }

    /// The stretch that begins with this pixel, if one does.
    fn beginning_at(&self, image: usize, row: usize, column: usize) -> Option<usize> {
        let begins =
            image.is_multiple_of(self.images) && row.is_multiple_of(self.rows) && column.is_multiple_of(self.columns);
        begins.then(|| image / self.images * self.per_image + row / self.rows * self.per_row + column / self.columns)
    }
}

/// A group's weight and bias gradient while it is summed: the stretch at hand; if there are several, the sum of those
/// before it; and if these are more than [`MAX_BLOCKS`], the sum of the sums of so many.
struct Partial<'a, T> {
    levels: &'a mut [T],
    /// Length of a level.
    len: usize,
    /// The stretch at hand.
    stretch: Option<usize>,
}

impl<'a, T: Scalar> Partial<'a, T> {
    fn new(levels: &'a mut [T], len: usize) -> Self {
        levels[len..].fill(T::zero());
        Self { levels, len, stretch: None }
    }

    /// Levels that so many stretches need.
    fn levels(stretches: usize) -> usize {
        match stretches {
            0..=1 => 1,
            2..=MAX_BLOCKS => 2,
            _ => 3,
        }
    }

    /// The gradient to go on with, and whether there is something in it, or a new stretch begins.
    fn enter(&mut self, stretch: Option<usize>) -> (&mut [T], bool) {
        if let Some(next) = stretch
            && let Some(last) = self.stretch.replace(next)
        {
            let (sum, upper) = self.levels.split_at_mut(self.len);
            let (upper, top) = upper.split_at_mut(self.len);
            vectorized(
                #[inline(always)]
                || {
                    add_to(upper, sum);
                    // by number, since where pooling reads nothing there are stretches of which nothing is computed
                    if next / MAX_BLOCKS > last / MAX_BLOCKS {
                        add_to(top, upper);
                        upper.fill(T::zero());
                    }
                },
            );
        }
        (&mut self.levels[..self.len], stretch.is_none())
    }

    /// Adds everything up.
    fn finish(self) {
        let (sum, upper) = self.levels.split_at_mut(self.len);
        upper.chunks_exact(self.len).for_each(|upper| {
            vectorized(
                #[inline(always)]
                || add_to(sum, upper),
            );
        });
    }
}

/// A convolution over images of one shape.
#[derive(Debug, Clone, Copy)]
pub struct Convolution {
    pub(crate) geometry: Geometry,
    pub(crate) filters: usize,
    pub(crate) relu: bool,
    /// Output rows that the backward pass takes at a time. It is the same with pooling as without, since it decides the
    /// order in which overlapping windows are added.
    band: usize,
    /// Height and width of the output, with what no pooling window reads.
    whole: [usize; 2],
    stretches: Stretches,
    /// Max-pooling over what the convolution puts out; it has no padding.
    pool: Option<Geometry>,
}

/// Working memory of the backward pass, as lengths.
struct BackwardSizes {
    /// The kernel, transposed; for the dense passes packed row by row.
    kernel: usize,
    /// The kernel's gradient while it is transposed.
    gradient: usize,
    /// One group's weight and bias gradient, and how often there is room for it.
    partial: usize,
    levels: usize,
    /// What a group works with.
    group: GroupSizes,
    groups: usize,
}

/// What a group works with, as lengths.
#[derive(Clone, Copy)]
struct GroupSizes {
    x: usize,
    dx: usize,
    dy: usize,
    packed: usize,
    /// Values and indices of the entries, if only these are worked on.
    entries: usize,
    indices: usize,
}

impl GroupSizes {
    fn total(&self) -> usize {
        aligned(self.x) + aligned(self.dx) + aligned(self.dy) + aligned(self.packed) + aligned(self.entries)
    }
}

/// Lengths are rounded up so that what follows begins on a cache line.
fn aligned(len: usize) -> usize {
    len.next_multiple_of(16)
}

/// The first `len` elements, and what comes after them on the next cache line.
fn take<'a, T>(buffer: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let part = buffer.split_off_mut(..aligned(len)).expect("scratch is as long as was asked for");
    &mut part[..len]
}

impl Convolution {
    pub(crate) fn new(geometry: Geometry, filters: usize, relu: bool) -> Self {
        let [height, columns] = geometry.output;
        let band = (BAND / (columns * filters)).clamp(1, height);
        let images_at_a_time = if geometry.is_padded() { 1 } else { (BAND / (height * columns * filters)).max(1) };
        let stretches = Stretches::new(geometry.output, band, images_at_a_time);
        Self { geometry, filters, relu, band, whole: geometry.output, stretches, pool: None }
    }

    /// The convolution with a pooling of its output. What no pooling window reads is cut off.
    pub(crate) fn pooled(mut self, pool: Geometry) -> Self {
        debug_assert!(!pool.is_padded(), "pooling with padding is not joined");
        let read = |axis: usize| (pool.output[axis] - 1) * pool.strides[axis] + pool.size[axis];
        self.geometry.output = [read(0), read(1)];
        let pool = Geometry { input: [read(0), read(1), self.filters], padded: [read(0), read(1)], ..pool };
        Self { pool: Some(pool), ..self }
    }

    /// Multiply-adds that an output of the convolution takes.
    fn depth(&self) -> usize {
        self.geometry.size[0] * self.geometry.size[1] * self.geometry.input[2]
    }

    /// Height and width of what is put out, pooled or not.
    fn output(&self) -> [usize; 2] {
        self.pool.map_or(self.geometry.output, |pool| pool.output)
    }

    /// Elements of an output row.
    fn output_row(&self) -> usize {
        self.output()[1] * self.filters
    }

    fn output_len(&self) -> usize {
        self.output()[0] * self.output_row()
    }

    /// Elements of a row of the padded input.
    fn input_row(&self) -> usize {
        self.geometry.padded[1] * self.geometry.input[2]
    }

    /// Where the windows of output pixels begin in the padded input.
    fn windows(&self) -> Lattice {
        let [_, columns] = self.geometry.output;
        let [row_stride, column_stride] = self.geometry.strides;
        Lattice {
            first: [0; 3],
            sizes: [self.geometry.output[0], columns],
            strides: [
                self.geometry.padded_len(),
                row_stride * self.input_row(),
                column_stride * self.geometry.input[2],
            ],
        }
    }

    /// How a window lies in the padded input: in whole kernel rows, or pixel by pixel if they are spread out.
    fn window(&self) -> Walk {
        let [height, width] = self.geometry.size;
        let channels = self.geometry.input[2];
        let row = self.window_row(1);
        match self.geometry.dilation[1] {
            1 => Walk { counts: [height, 1], strides: [row, 0], len: width * channels, step: 1 },
            spread => Walk { counts: [height, width], strides: [row, spread * channels], len: channels, step: 1 },
        }
    }

    /// Where a kernel row begins in a window.
    fn window_row(&self, row: usize) -> usize {
        row * self.geometry.dilation[0] * self.input_row()
    }

    /// How the columns of the output touch those of the input.
    fn columns(&self) -> Columns {
        let Geometry { output, size, strides, dilation, .. } = self.geometry;
        Columns::new(output[1], size[1], strides[1], dilation[1])
    }

    /// Length of one kernel row, transposed and packed.
    fn packed_kernel_row<T: Scalar>(&self) -> usize {
        aligned(packed_len::<T>(self.geometry.size[1] * self.filters, self.geometry.input[2]))
    }

    pub(crate) fn prepared_len<T: Scalar>(&self) -> usize {
        packed_len::<T>(self.depth(), self.filters)
    }

    /// Packs the kernel for the forward pass.
    pub(crate) fn prepare<T: Scalar>(&self, kernel: &[T], prepared: &mut [T]) {
        pack(kernel, self.filters, prepared);
    }

    /// Multiply-adds that an output row takes, a pooled one if there is pooling.
    fn row_work(&self) -> usize {
        let computed = self.pool.map_or(1, |pool| pool.strides[0]) * self.geometry.output[1] * self.filters;
        computed * self.depth()
    }

    /// Output rows (pooled ones, if there is pooling) that a forward task takes, of all images one after the other.
    fn rows_per_task(&self, batch: usize) -> usize {
        items_per_task(batch * self.output()[0], self.row_work())
    }

    /// Pooled output rows that are computed at a time.
    fn pooled_band(&self, pool: &Geometry) -> usize {
        let row = self.geometry.output[1] * self.filters;
        ((POOLED_BAND / row).saturating_sub(pool.size[0]) / pool.strides[0] + 1).min(pool.output[0])
    }

    /// Lengths of the padded input and the unpooled output of a forward task of so many rows.
    fn forward_sizes(&self, rows: usize) -> [usize; 2] {
        let rows = match &self.pool {
            Some(pool) => (self.pooled_band(pool) - 1) * pool.strides[0] + pool.size[0],
            None => rows.min(self.geometry.output[0]),
        };
        let x = if self.geometry.is_padded() { self.input_rows(0..rows).len() * self.input_row() } else { 0 };
        let y = if self.pool.is_some() { rows * self.geometry.output[1] * self.filters } else { 0 };
        [x, y]
    }

    pub(crate) fn forward_scratch(&self, batch: usize) -> usize {
        let task = |rows| {
            let [x, y] = self.forward_sizes(rows);
            aligned(x) + aligned(y)
        };
        // A batch too small to be cut is one task, which can have longer rows of images than those of a larger batch.
        let [height, _] = self.output();
        let alone = if is_small(height, self.row_work()) { task(height) } else { 0 };
        // an upper bound on the tasks: a smaller batch can be cut into more of them
        let rows = batch * height;
        alone.max(rows.min(MAX_TASKS) * task(items_per_cut_task(rows, self.row_work())))
    }

    /// Indices that pooling keeps for the backward pass.
    pub(crate) fn kept_indices(&self, batch: usize) -> usize {
        if self.pool.is_some() { batch * self.output_len() } else { 0 }
    }

    /// Those, and the indices that the backward pass works with.
    pub(crate) fn indices(&self, batch: usize) -> usize {
        self.kept_indices(batch) + batch.min(self.most_groups()) * self.group_sizes::<f32>().indices
    }

    /// Whether pooling windows do not overlap, so that each output of the convolution belongs to one at the most.
    fn pools_apart(&self) -> bool {
        self.pool.is_some_and(|pool| pool.strides[0] >= pool.size[0] && pool.strides[1] >= pool.size[1])
    }

    /// Whether the backward pass lists the gradients that are not zero: where pooling leaves few, each for one pixel.
    fn is_sparse(&self) -> bool {
        self.pools_apart()
            && self.pool.is_some_and(|pool| pool.size[0] * pool.size[1] >= 3)
            && self.geometry.dilation[1] == 1
            && self.window().len >= SPARSE_ROW
            && u32::try_from(self.geometry.padded_len()).is_ok()
            && u32::try_from(self.output_len()).is_ok()
            && !self.input_gradient_sums(1).are_long()
    }

    /// Whether there are outputs that no pooling window reads.
    fn is_cut_off(&self) -> bool {
        self.whole != self.geometry.output
    }

    /// How the sums of an input gradient are cut, in that part of them to which so many columns of the kernel belong.
    fn input_gradient_sums(&self, taps: usize) -> Sums {
        let [height, width] = self.geometry.size;
        Sums::part_of(height * width * self.filters, taps * self.filters, self.filters)
    }

    /// Rows of the padded input under these rows of the convolution's output.
    fn input_rows(&self, output: Range<usize>) -> Range<usize> {
        let reach = (self.geometry.size[0] - 1) * self.geometry.dilation[0] + 1;
        output.start * self.geometry.strides[0]..(output.end - 1) * self.geometry.strides[0] + reach
    }

    /// y = relu(x ∗ kernel + bias), pooled if there is pooling; `argmax` is for the backward pass.
    pub(crate) fn forward<T: Scalar>(
        &self,
        x: &[T],
        prepared: &[T],
        bias: Option<&[T]>,
        y: &mut [T],
        argmax: Option<&mut [u32]>,
        scratch: &mut [T],
    ) {
        let batch = y.len() / self.output_len();
        let height = self.output()[0];
        let rows = self.rows_per_task(batch);
        let tasks = (batch * height).div_ceil(rows);
        let [x_len, y_len] = self.forward_sizes(rows);
        let per_task = aligned(x_len) + aligned(y_len);
        let data = (
            Chunks::new(y, rows * self.output_row()),
            argmax.map(|argmax| Chunks::new(argmax, rows * self.output_row())),
            Chunks::new(&mut scratch[..tasks * per_task], per_task),
        );
        each_task(0..tasks, data, &|task, (y, argmax, scratch)| {
            let mut scratch = scratch.slice;
            let (padded, unpooled) = (take(&mut scratch, x_len), take(&mut scratch, y_len));
            let first = task * rows;
            let count = y.slice.len() / self.output_row();
            match &self.pool {
                None if !self.geometry.is_padded() => {
                    let pixel = first * self.geometry.output[1];
                    let epilogue = Epilogue { bias, relu: self.relu };
                    self.forward_rows(x, self.windows().starting_at(pixel), prepared, epilogue, y.slice);
                }
                None => self.forward_padded(x, first..first + count, prepared, bias, y.slice, padded),
                Some(pool) => {
                    let argmax = argmax.map(|argmax| argmax.slice);
                    let rows = first..first + count;
                    self.forward_pooled(pool, x, rows, prepared, bias, y.slice, argmax, padded, unpooled);
                }
            }
        });
    }

    /// Output pixels whose windows begin on a lattice in `x`.
    fn forward_rows<T: Scalar>(
        &self,
        x: &[T],
        windows: Lattice,
        prepared: &[T],
        epilogue: Epilogue<'_, T>,
        y: &mut [T],
    ) {
        Product {
            a: x,
            a_rows: windows,
            walk: self.window(),
            panels: Panels::new(prepared, self.depth()),
            rows: y.len() / self.filters,
            columns: self.filters,
            c: y,
            c_rows: Lattice::matrix(self.filters),
            sums: Sums::of(self.depth()),
            resume: false,
            skip_zeros: false,
            epilogue,
        }
        .run();
    }

    /// Output rows of padded images, counted over all images; one image, or what the task has of it, at a time.
    fn forward_padded<T: Scalar>(
        &self,
        x: &[T],
        rows: Range<usize>,
        prepared: &[T],
        bias: Option<&[T]>,
        y: &mut [T],
        padded: &mut [T],
    ) {
        let height = self.geometry.output[0];
        let epilogue = Epilogue { bias, relu: self.relu };
        let mut done = rows.start;
        while done < rows.end {
            let (image, row) = (done / height, done % height);
            let count = (height - row).min(rows.end - done);
            self.pad(self.image(x, image), self.input_rows(row..row + count), padded);
            let y = &mut y[(done - rows.start) * self.output_row()..][..count * self.output_row()];
            self.forward_rows(padded, self.windows(), prepared, epilogue, y);
            done += count;
        }
    }

    /// Pooled output rows, counted over all images.
    #[expect(clippy::too_many_arguments, reason = "a task's share of each operand")]
    fn forward_pooled<T: Scalar>(
        &self,
        pool: &Geometry,
        x: &[T],
        rows: Range<usize>,
        prepared: &[T],
        bias: Option<&[T]>,
        y: &mut [T],
        mut argmax: Option<&mut [u32]>,
        padded: &mut [T],
        unpooled: &mut [T],
    ) {
        let height = pool.output[0];
        let columns = self.geometry.output[1];
        let band = self.pooled_band(pool);
        let mut done = rows.start;
        while done < rows.end {
            let (image, row) = (done / height, done % height);
            let count = band.min(height - row).min(rows.end - done);
            let first = row * pool.strides[0];
            let unpooled_rows = first..first + (count - 1) * pool.strides[0] + pool.size[0];
            let unpooled = &mut unpooled[..unpooled_rows.len() * columns * self.filters];

            // adding the bias before pooling and cutting off below zero after it is, bit for bit, what two layers do
            let epilogue = Epilogue { bias, relu: false };
            let input = self.image(x, image);
            if self.geometry.is_padded() {
                self.pad(input, self.input_rows(unpooled_rows), padded);
                self.forward_rows(padded, self.windows(), prepared, epilogue, unpooled);
            } else {
                self.forward_rows(input, self.windows().starting_at(first * columns), prepared, epilogue, unpooled);
            }

            let range = (done - rows.start) * self.output_row()..(done + count - rows.start) * self.output_row();
            let y = &mut y[range.clone()];
            let argmax = argmax.as_deref_mut().map(|argmax| &mut argmax[range]);
            max_pool(pool, unpooled, first, row..row + count, y, argmax);
            if self.relu {
                vectorized(
                    #[inline(always)]
                    || y.iter_mut().for_each(|y| *y = relu_of(*y)),
                );
            }
            done += count;
        }
    }

    fn image<'a, T>(&self, x: &'a [T], image: usize) -> &'a [T] {
        &x[image * self.geometry.input_len()..][..self.geometry.input_len()]
    }

    /// These rows of the padded image, zeros around what is in the image.
    fn pad<T: Scalar>(&self, image: &[T], rows: Range<usize>, padded: &mut [T]) {
        let [height, width, channels] = self.geometry.input;
        let [top, left] = self.geometry.before;
        let (left, inner) = (left * channels, width * channels);
        for (row, to) in rows.zip(padded.chunks_exact_mut(self.input_row())) {
            if (top..top + height).contains(&row) {
                to[..left].fill(T::zero());
                to[left..left + inner].copy_from_slice(&image[(row - top) * inner..][..inner]);
                to[left + inner..].fill(T::zero());
            } else {
                to.fill(T::zero());
            }
        }
    }

    /// What is inside the padding.
    fn unpad<T: Scalar>(&self, padded: &[T], image: &mut [T]) {
        let [_, width, channels] = self.geometry.input;
        let [top, left] = self.geometry.before;
        let inner = width * channels;
        let rows = padded.chunks_exact(self.input_row()).skip(top);
        for (to, from) in image.chunks_exact_mut(inner).zip(rows) {
            to.copy_from_slice(&from[left * channels..][..inner]);
        }
    }

    /// How many groups there can be.
    fn most_groups(&self) -> usize {
        (GROUP_ELEMENTS / (self.depth() * self.filters)).clamp(1, GROUPS)
    }

    /// Images that a group takes at a time: several, if they lie ready as they are and are small, so that sums are long.
    fn images_at_a_time(&self) -> usize {
        match self.geometry.is_padded() || self.pool.is_some() {
            true => 1,
            false => (BAND / self.output_len()).clamp(1, self.stretches.images),
        }
    }

    fn images_per_group(&self, batch: usize) -> usize {
        batch.div_ceil(self.most_groups())
    }

    fn group_sizes<T: Scalar>(&self) -> GroupSizes {
        let pixels = self.geometry.pixels();
        let padded = if self.geometry.is_padded() { self.geometry.padded_len() } else { 0 };
        let [mut dy, mut packed, mut indices, mut entries] = [0; 4];
        if self.is_sparse() {
            [indices, entries] = sparse_gradient::room(pixels, self.filters, self.output_len() / self.filters);
        } else {
            dy = if self.pool.is_some() { pixels * self.filters } else { 0 };
            let images = self.images_at_a_time();
            packed = packed_len::<T>(images * self.band * self.geometry.output[1], self.filters);
        }
        GroupSizes { x: padded, dx: padded, dy, packed, entries, indices }
    }

    fn backward_sizes<T: Scalar>(&self, batch: usize) -> BackwardSizes {
        let weights = self.depth() * self.filters;
        let rows = self.geometry.size[0] * self.packed_kernel_row::<T>();
        let sparse = self.is_sparse();
        BackwardSizes {
            kernel: if sparse { weights } else { rows },
            gradient: if sparse { weights } else { 0 },
            partial: aligned((self.depth() + 1) * self.filters),
            levels: Partial::<T>::levels(self.stretches.count(self.images_per_group(batch))),
            group: self.group_sizes::<T>(),
            groups: batch.div_ceil(self.images_per_group(batch)),
        }
    }

    pub(crate) fn backward_scratch<T: Scalar>(&self, batch: usize) -> usize {
        let sizes = self.backward_sizes::<T>(batch);
        // an upper bound on the groups: a smaller batch can be cut into more of them
        aligned(sizes.kernel)
            + aligned(sizes.gradient)
            + batch.min(self.most_groups()) * (sizes.levels * sizes.partial + sizes.group.total())
    }

    /// Gradients of kernel, bias and, if asked for, x.
    #[expect(clippy::too_many_arguments, reason = "the operands of a layer's backward pass, each of its own kind")]
    pub(crate) fn backward<T: Scalar>(
        &self,
        x: &[T],
        y: &[T],
        kernel: &[T],
        indices: &mut [u32],
        dy: &mut [T],
        dx: Option<&mut [T]>,
        dkernel: &mut [T],
        dbias: Option<&mut [T]>,
        mut scratch: &mut [T],
    ) {
        let sparse = self.is_sparse();
        let batch = y.len() / self.output_len();
        let sizes = self.backward_sizes::<T>(batch);
        let packed_kernel = take(&mut scratch, sizes.kernel);
        let gradient = take(&mut scratch, sizes.gradient);
        let partial_len = sizes.levels * sizes.partial;
        let partials = take(&mut scratch, sizes.groups * partial_len);
        // what leaves out products with zero must know whether the other factor is finite
        let leaves_out = sparse || self.is_cut_off();
        let broken_kernel = (leaves_out && dx.is_some() && !is_finite_here(kernel)).then_some(kernel);
        match dx {
            Some(_) if sparse => transpose(kernel, self.filters, packed_kernel),
            Some(_) => self.pack_kernel_rows(kernel, packed_kernel),
            None => {}
        }
        let packed_kernel = &*packed_kernel;

        let images = self.images_per_group(batch);
        let group_len = sizes.group.total();
        let (argmax, indices) = indices.split_at_mut(self.kept_indices(batch));
        let argmax = &*argmax;
        let data = (
            Chunks::new(dy, images * self.output_len()),
            dx.map(|dx| Chunks::new(dx, images * self.geometry.input_len())),
            Chunks::new(partials, partial_len),
            (
                Chunks::new(&mut scratch[..sizes.groups * group_len], group_len),
                Chunks::new(indices, sizes.group.indices),
            ),
        );
        each_task(0..sizes.groups, data, &|group, (dy, dx, partial, (scratch, indices))| {
            let first = group * images;
            let range = first * self.output_len()..first * self.output_len() + dy.slice.len();
            let y = &y[range.clone()];
            if self.relu {
                mask_relu_here(y, dy.slice);
            }
            let argmax = if self.pool.is_some() { &argmax[range] } else { &[] };
            let mut dx = dx.map(|dx| dx.slice);
            let mut partial = Partial::new(partial.slice, sizes.partial);
            let images = dy.slice.len() / self.output_len();
            for image in (0..images).step_by(self.images_at_a_time()) {
                let end = (image + self.images_at_a_time()).min(images);
                let outputs = image * self.output_len()..end * self.output_len();
                let inputs = image * self.geometry.input_len()..end * self.geometry.input_len();
                self.backward_images(BackwardImages {
                    x: &x[first * self.geometry.input_len()..][inputs.clone()],
                    argmax: if self.pool.is_some() { &argmax[outputs.clone()] } else { &[] },
                    dy: &dy.slice[outputs],
                    dx: dx.as_deref_mut().map(|dx| &mut dx[inputs]),
                    packed_kernel,
                    broken_kernel,
                    partial: &mut partial,
                    image,
                    scratch: &mut *scratch.slice,
                    indices: &mut *indices.slice,
                    sizes: sizes.group,
                });
            }
            partial.finish();
        });

        let weights = self.depth() * self.filters;
        if sparse {
            sum_parts(partials, partial_len, sizes.groups, gradient);
            transpose(gradient, self.depth(), dkernel);
        } else {
            sum_parts(partials, partial_len, sizes.groups, dkernel);
        }
        if let Some(dbias) = dbias {
            sum_parts(&partials[weights..], partial_len, sizes.groups, dbias);
        }
    }

    /// Each kernel row packed for the input gradient: its elements, transposed, one below the other.
    fn pack_kernel_rows<T: Scalar>(&self, kernel: &[T], packed: &mut [T]) {
        let [_, width] = self.geometry.size;
        let (channels, columns) = (self.geometry.input[2], self.columns());
        let rows = kernel.chunks_exact(width * channels * self.filters);
        for (row, packed) in rows.zip(packed.chunks_exact_mut(self.packed_kernel_row::<T>())) {
            pack_transposed(row, self.filters, channels, |place| columns.kernel_column(place), packed);
        }
    }

    fn backward_images<T: Scalar>(&self, pass: BackwardImages<'_, '_, T>) {
        let BackwardImages {
            x,
            argmax,
            dy,
            mut dx,
            packed_kernel,
            broken_kernel,
            partial,
            image,
            mut scratch,
            indices,
            sizes,
        } = pass;
        let scratch = &mut scratch;
        let (padded_x, padded_dx) = (take(scratch, sizes.x), take(scratch, sizes.dx));

        let padded = self.geometry.is_padded();
        let x = if padded {
            self.pad(x, 0..self.geometry.padded[0], padded_x);
            &*padded_x
        } else {
            x
        };
        let mut wide_dx = dx.as_deref_mut().map(|dx| if padded { &mut *padded_dx } else { dx });
        if let Some(dx) = wide_dx.as_deref_mut() {
            dx.fill(T::zero());
        }

        if self.is_sparse() {
            let values = take(scratch, sizes.entries);
            let entries =
                Entries::list(self.windows(), self.geometry.pixels(), self.filters, argmax, dy, indices, values);
            self.backward_entries(x, &entries, packed_kernel, partial, wide_dx.as_deref_mut(), image);
            let is_left_out = |pixel: Option<usize>, filter| pixel.is_none_or(|pixel| !entries.has(pixel, filter));
            self.multiply_left_out(x, broken_kernel, partial, wide_dx, is_left_out);
        } else {
            let (unpooled_dy, packed_dy) = (take(scratch, sizes.dy), take(scratch, sizes.packed));
            let dy = match &self.pool {
                Some(pool) if self.pools_apart() => {
                    unpool(pool, argmax, dy, unpooled_dy);
                    &*unpooled_dy
                }
                Some(_) => {
                    unpooled_dy.fill(T::zero());
                    scatter_to_argmax(self.filters, argmax, dy, unpooled_dy);
                    &*unpooled_dy
                }
                None => dy,
            };
            self.backward_bands(x, dy, packed_kernel, partial, wide_dx.as_deref_mut(), packed_dy, image);
            if self.is_cut_off() {
                self.multiply_left_out(x, broken_kernel, partial, wide_dx, |pixel, _| pixel.is_none());
            }
        }
        if let (Some(dx), true) = (dx, padded) {
            self.unpad(padded_dx, dx);
        }
    }

    /// Makes those gradients of an image NaN in which a product 0 · ∞ or 0 · NaN was left out. `is_left_out` is told the
    /// pixel of an output, none if no pooling window reads it, and its filter.
    ///
    /// The loops are plain: numbers that are not finite are the end of a training run.
    fn multiply_left_out<T: Scalar>(
        &self,
        x: &[T],
        broken_kernel: Option<&[T]>,
        partial: &mut Partial<'_, T>,
        dx: Option<&mut [T]>,
        is_left_out: impl Fn(Option<usize>, usize) -> bool,
    ) {
        let [height, width] = self.geometry.output;
        let windows = Lattice { sizes: self.whole, ..self.windows() };
        let window = self.window();
        let elements = || window.segments().flat_map(|segment| segment..segment + window.len).enumerate();
        let pixels = || {
            (0..self.whole[0] * self.whole[1]).map(|at| {
                let (row, column) = (at / self.whole[1], at % self.whole[1]);
                let pixel = (row < height && column < width).then_some(row * width + column);
                (windows.start_of(at), pixel)
            })
        };
        if !is_finite_here(x) {
            let (gradient, _) = partial.enter(None);
            // as it is summed: transposed or not
            let strides = if self.is_sparse() { [1, self.depth()] } else { [self.filters, 1] };
            for (start, pixel) in pixels() {
                for (weight, _) in elements().filter(|(_, element)| !x[start + element].is_finite()) {
                    for filter in (0..self.filters).filter(|&filter| is_left_out(pixel, filter)) {
                        gradient[weight * strides[0] + filter * strides[1]] = T::nan();
                    }
                }
            }
        }
        let (Some(kernel), Some(dx)) = (broken_kernel, dx) else { return };
        for (start, pixel) in pixels() {
            for filter in (0..self.filters).filter(|&filter| is_left_out(pixel, filter)) {
                for (weight, element) in elements() {
                    if !kernel[weight * self.filters + filter].is_finite() {
                        dx[start + element] = T::nan();
                    }
                }
            }
        }
    }

    /// The gradients of an image, a band of output rows after the other, or of several images that are a band each.
    #[expect(clippy::too_many_arguments, reason = "an image's share of each operand")]
    fn backward_bands<T: Scalar>(
        &self,
        x: &[T],
        dy: &[T],
        packed_kernel: &[T],
        partial: &mut Partial<'_, T>,
        mut dx: Option<&mut [T]>,
        packed_dy: &mut [T],
        image: usize,
    ) {
        let [image_height, columns] = self.geometry.output;
        let row_len = columns * self.filters;
        let height = dy.len() / row_len;
        let band = if height > image_height { height } else { self.band };
        for row in (0..height).step_by(band) {
            let rows = row..(row + band).min(height);
            let dy = &dy[rows.start * row_len..rows.end * row_len];
            let (packed_dy, partial) = (&mut *packed_dy, &mut *partial);
            let mut weights = || {
                let packed = if is_packed::<T>(self.filters) {
                    dy
                } else {
                    pack_here(dy, self.filters, packed_dy);
                    &*packed_dy
                };
                let panels = Panels::new(packed, rows.len() * columns);
                self.each_part(rows.clone(), |part, part_columns| {
                    let stretch = self.stretches.beginning_at(image, part.start, part_columns.start);
                    let (gradient, resume) = partial.enter(stretch);
                    let (dkernel, dbias) = gradient.split_at_mut(self.depth() * self.filters);
                    let first = (part.start - rows.start) * columns + part_columns.start;
                    let count = (part.len() - 1) * columns + part_columns.len();
                    let dy = &dy[first * self.filters..][..count * self.filters];
                    sum_rows(dy, &mut dbias[..self.filters], resume);
                    self.weight_gradient(x, part, part_columns, panels.starting_at(first), dkernel, resume);
                });
            };
            match dx.as_deref_mut() {
                Some(dx) => {
                    rayon::join(weights, || self.input_gradient(dy, rows.clone(), packed_kernel, dx));
                }
                None => weights(),
            }
        }
    }

    /// Cuts rows of an image, or all those of some images, where stretches end; gives rows and columns of each part. These
    /// are pixels that follow one another: several rows, or a part of one.
    fn each_part(&self, rows: Range<usize>, mut run: impl FnMut(Range<usize>, Range<usize>)) {
        let [height, width] = self.geometry.output;
        let stretches = self.stretches;
        let mut row = rows.start;
        while row < rows.end {
            let end = if rows.len() > height { rows.end } else { (row / stretches.rows + 1) * stretches.rows };
            let end = end.min(rows.end);
            for column in (0..width).step_by(stretches.columns) {
                run(row..end, column..(column + stretches.columns).min(width));
            }
            row = end;
        }
    }

    /// The same for the elements of dy that are not zero, with kernel and gradient transposed.
    fn backward_entries<T: Scalar>(
        &self,
        x: &[T],
        entries: &Entries<'_, T>,
        kernel: &[T],
        partial: &mut Partial<'_, T>,
        dx: Option<&mut [T]>,
        image: usize,
    ) {
        let [height, columns] = self.geometry.output;
        let (windows, window) = (self.windows(), self.window());
        let mut weights = || {
            self.each_part(0..height, |part, part_columns| {
                let stretch = self.stretches.beginning_at(image, part.start, part_columns.start);
                let (gradient, resume) = partial.enter(stretch);
                let (dkernel, dbias) = gradient.split_at_mut(self.depth() * self.filters);
                let first = part.start * columns + part_columns.start;
                let last = (part.end - 1) * columns + part_columns.end - 1;
                let starts = windows.start_of(first)..windows.start_of(last) + 1;
                let starts = (self.stretches.per_image > 1).then_some(&starts);
                entries.bias_gradient(starts, &mut dbias[..self.filters], resume);
                sparse_gradient::WeightGradient { entries, starts, x, window, dkernel, resume }.run();
            });
        };
        let Some(dx) = dx else { return weights() };
        let sums = self.input_gradient_sums(1);
        let input = || {
            for row in (0..height).step_by(self.band) {
                let pixels = row * columns..(row + self.band).min(height) * columns;
                let dx = &mut *dx;
                sparse_gradient::InputGradient { entries, pixels, kernel, windows, window, sums, dx }.run();
            }
            // no sum is −0
            vectorized(
                #[inline(always)]
                || dx.iter_mut().for_each(|dx| *dx += T::zero()),
            );
        };
        rayon::join(weights, input);
    }

    /// `dkernel (+)=` what these output pixels give: a part of an image, or all rows of some images.
    fn weight_gradient<T: Scalar>(
        &self,
        x: &[T],
        rows: Range<usize>,
        columns: Range<usize>,
        dy: Panels<'_, T>,
        dkernel: &mut [T],
        resume: bool,
    ) {
        let height = self.geometry.output[0];
        let channels = self.geometry.input[2];
        let [row_stride, column_stride] = self.geometry.strides;
        let [row_dilation, column_dilation] = self.geometry.dilation;
        let walk = Walk {
            counts: [rows.len().div_ceil(height), rows.len().min(height)],
            strides: [self.geometry.padded_len(), row_stride * self.input_row()],
            len: columns.len(),
            step: column_stride * channels,
        };
        Product {
            a: &x[rows.start * row_stride * self.input_row() + columns.start * column_stride * channels..],
            a_rows: Lattice {
                first: [0; 3],
                sizes: [self.geometry.size[1], channels],
                strides: [row_dilation * self.input_row(), column_dilation * channels, 1],
            },
            walk,
            panels: dy,
            rows: self.depth(),
            columns: self.filters,
            c: dkernel,
            c_rows: Lattice::matrix(self.filters),
            // no more than a stretch
            sums: Sums::of(walk.depth()),
            resume,
            skip_zeros: false,
            epilogue: Epilogue::default(),
        }
        .run();
    }

    /// dx += what these output rows give: a part of an image, or all rows of some images.
    fn input_gradient<T: Scalar>(&self, dy: &[T], rows: Range<usize>, packed_kernel: &[T], dx: &mut [T]) {
        let [height, width] = self.geometry.size;
        let channels = self.geometry.input[2];
        let columns = self.columns();
        let windows = self.windows();
        for (row, packed) in (0..height).zip(packed_kernel.chunks_exact(self.packed_kernel_row::<T>())) {
            let panels = Panels::new(packed, width * self.filters);
            for run in columns.runs() {
                // a row of A is what touches one pixel of dx: neighbouring pixels of dy, if the kernel is not spread out
                let walk = match columns.output_step {
                    1 => Walk::line(run.taps * self.filters, 1),
                    spread => {
                        Walk { counts: [1, run.taps], strides: [0, spread * self.filters], len: self.filters, step: 1 }
                    }
                };
                let c_rows = Lattice { sizes: [windows.sizes[0], run.len], ..windows };
                Product {
                    a: &dy[run.output * self.filters..],
                    a_rows: Lattice {
                        first: [0; 3],
                        sizes: [rows.len(), run.len],
                        strides: [0, self.geometry.output[1] * self.filters, self.filters],
                    },
                    walk,
                    panels: panels.starting_at(run.tap * self.filters),
                    rows: rows.len() * run.len,
                    columns: channels,
                    c: &mut dx[self.window_row(row) + run.input * channels..],
                    c_rows: c_rows.starting_at(rows.start * run.len),
                    sums: self.input_gradient_sums(run.taps),
                    resume: true,
                    skip_zeros: false,
                    epilogue: Epilogue::default(),
                }
                .run();
            }
        }
    }
}

/// Whether all are finite, on the processor's vectors.
fn is_finite_here<T: Scalar>(values: &[T]) -> bool {
    vectorized(
        #[inline(always)]
        || is_finite(values),
    )
}

/// The operands of a backward pass over one image, or [several](Convolution::images_at_a_time).
struct BackwardImages<'a, 'p, T> {
    x: &'a [T],
    argmax: &'a [u32],
    dy: &'a [T],
    dx: Option<&'a mut [T]>,
    packed_kernel: &'a [T],
    /// The kernel as it is, if something in it is not finite and matters.
    broken_kernel: Option<&'a [T]>,
    partial: &'a mut Partial<'p, T>,
    /// The first image, by its place in the group.
    image: usize,
    scratch: &'a mut [T],
    indices: &'a mut [u32],
    sizes: GroupSizes,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{Padding, Size2D, Window};

    fn numbers(len: usize, seed: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 11) as f64 - 5.0).collect()
    }

    /// Numbers whose sums round, so that only the same order of summation gives the same bits.
    fn fractions(len: usize, seed: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f64 / 997.0 - 0.5).collect()
    }

    /// What seven plain loops give: output, and the three gradients.
    struct Plain {
        y: Vec<f64>,
        dx: Vec<f64>,
        dkernel: Vec<f64>,
        dbias: Vec<f64>,
    }

    #[expect(clippy::too_many_arguments, reason = "the operands of all passes")]
    fn plain(
        g: &Geometry,
        filters: usize,
        relu: bool,
        batch: usize,
        x: &[f64],
        kernel: &[f64],
        bias: &[f64],
        dy: &[f64],
    ) -> Plain {
        let [height, width, channels] = g.input;
        let mut out =
            Plain { y: vec![], dx: vec![0.0; x.len()], dkernel: vec![0.0; kernel.len()], dbias: vec![0.0; filters] };
        let at = |n: usize, oy: usize, ox: usize, ky: usize, kx: usize, c: usize| {
            let iy = (oy * g.strides[0] + ky * g.dilation[0]).checked_sub(g.before[0]).filter(|&i| i < height)?;
            let ix = (ox * g.strides[1] + kx * g.dilation[1]).checked_sub(g.before[1]).filter(|&i| i < width)?;
            Some(((n * height + iy) * width + ix) * channels + c)
        };
        for n in 0..batch {
            for oy in 0..g.output[0] {
                for ox in 0..g.output[1] {
                    for (f, &bias) in bias.iter().enumerate() {
                        let mut taps = vec![];
                        for ky in 0..g.size[0] {
                            for kx in 0..g.size[1] {
                                for c in 0..channels {
                                    if let Some(i) = at(n, oy, ox, ky, kx, c) {
                                        taps.push((i, ((ky * g.size[1] + kx) * channels + c) * filters + f));
                                    }
                                }
                            }
                        }
                        let sum: f64 = taps.iter().map(|&(i, w)| x[i] * kernel[w]).sum::<f64>() + bias;
                        let gradient = if relu && sum <= 0.0 { 0.0 } else { dy[out.y.len()] };
                        out.y.push(if relu { sum.max(0.0) } else { sum });
                        out.dbias[f] += gradient;
                        for (i, w) in taps {
                            out.dx[i] += gradient * kernel[w];
                            out.dkernel[w] += gradient * x[i];
                        }
                    }
                }
            }
        }
        out
    }

    fn geometry(
        input: [usize; 3],
        size: (usize, usize),
        strides: (usize, usize),
        dilation: (usize, usize),
        padding: Padding,
    ) -> Option<Geometry> {
        let window = Window { size: size.into(), strides: strides.into(), dilation: dilation.into(), padding };
        window.over(&input, "conv2d", "kernel").ok()
    }

    const PADDINGS: [Padding; 3] =
        [Padding::Valid, Padding::Same, Padding::Explicit { top: 2, bottom: 0, left: 1, right: 3 }];

    /// Integers, whose sums are exact: results must agree to the last bit.
    #[test]
    fn agrees_with_seven_plain_loops() {
        let mut compared = 0;
        for size in [(1, 1), (2, 2), (3, 3), (5, 5), (1, 3)] {
            for strides in [(1, 1), (2, 2), (3, 1)] {
                for dilation in [(1, 1), (2, 1), (1, 2)] {
                    for padding in PADDINGS {
                        for (input, filters, batch) in
                            [([7, 6, 1], 3, 3), ([9, 11, 3], 17, 1), ([6, 13, 8], 40, 2), ([12, 5, 17], 5, 1)]
                        {
                            let Some(g) = geometry(input, size, strides, dilation, padding) else { continue };
                            let relu = compared % 2 == 0;
                            let layer = Convolution::new(g, filters, relu);
                            let (x, kernel) = (numbers(batch * g.input_len(), 1), numbers(layer.depth() * filters, 2));
                            let (bias, dy) = (numbers(filters, 3), numbers(batch * layer.output_len(), 4));
                            let want = plain(&g, filters, relu, batch, &x, &kernel, &bias, &dy);

                            let mut prepared = vec![f64::NAN; layer.prepared_len::<f64>()];
                            layer.prepare(&kernel, &mut prepared);
                            let mut scratch = vec![f64::NAN; layer.forward_scratch(batch)];
                            let mut y = vec![f64::NAN; want.y.len()];
                            layer.forward(&x, &prepared, Some(&bias), &mut y, None, &mut scratch);
                            let case = format!("{g:?}, {filters} filters, batch {batch}");
                            assert_eq!(y, want.y, "y, {case}");

                            let mut scratch = vec![f64::NAN; layer.backward_scratch::<f64>(batch)];
                            let (mut dx, mut dkernel, mut dbias) =
                                (vec![f64::NAN; x.len()], vec![f64::NAN; kernel.len()], vec![f64::NAN; filters]);
                            layer.backward(
                                &x,
                                &y,
                                &kernel,
                                &mut [],
                                &mut dy.clone(),
                                Some(&mut dx),
                                &mut dkernel,
                                Some(&mut dbias),
                                &mut scratch,
                            );
                            assert_eq!(dx, want.dx, "dx, {case}");
                            assert_eq!(dkernel, want.dkernel, "dkernel, {case}");
                            assert_eq!(dbias, want.dbias, "dbias, {case}");
                            compared += 1;
                        }
                    }
                }
            }
        }
        assert!(compared > 400, "{compared}");
    }

    /// Bands and groups smaller than the whole: a large image, and many images.
    #[test]
    fn agrees_when_cut_into_bands_and_groups() {
        for (input, filters, batch, strides, padding) in [
            ([70, 40, 5], 33, 1, (1, 1), Padding::Same),
            ([120, 90, 3], 16, 2, (1, 1), Padding::Valid),
            ([150, 90, 3], 16, 1, (2, 1), Padding::Same),
            ([150, 91, 2], 40, 1, (2, 2), Padding::Valid),
            ([8, 8, 4], 8, 37, (1, 1), Padding::Same),
            ([13, 13, 8], 64, 70, (1, 1), Padding::Valid),
        ] {
            let g = geometry(input, (3, 3), strides, (1, 1), padding).unwrap();
            let layer = Convolution::new(g, filters, true);
            let (x, kernel) = (numbers(batch * g.input_len(), 1), numbers(layer.depth() * filters, 2));
            let (bias, dy) = (numbers(filters, 3), numbers(batch * layer.output_len(), 4));
            let want = plain(&g, filters, true, batch, &x, &kernel, &bias, &dy);
            let mut prepared = vec![f64::NAN; layer.prepared_len::<f64>()];
            layer.prepare(&kernel, &mut prepared);
            let mut scratch = vec![f64::NAN; layer.forward_scratch(batch)];
            let mut y = vec![f64::NAN; want.y.len()];
            layer.forward(&x, &prepared, Some(&bias), &mut y, None, &mut scratch);
            assert_eq!(y, want.y, "y, {g:?}");
            let mut scratch = vec![f64::NAN; layer.backward_scratch::<f64>(batch)];
            let (mut dx, mut dkernel, mut dbias) =
                (vec![f64::NAN; x.len()], vec![f64::NAN; kernel.len()], vec![f64::NAN; filters]);
            layer.backward(
                &x,
                &y,
                &kernel,
                &mut [],
                &mut dy.clone(),
                Some(&mut dx),
                &mut dkernel,
                Some(&mut dbias),
                &mut scratch,
            );
            assert_eq!(dx, want.dx, "dx, {g:?}");
            assert_eq!(dkernel, want.dkernel, "dkernel, {g:?}");
            assert_eq!(dbias, want.dbias, "dbias, {g:?}");
        }
    }

    /// The joined layers against the two, one after the other, each on its own kernel.
    #[test]
    fn joined_with_pooling_it_is_the_same() {
        for (input, filters, batch, pool_size, pool_strides) in [
            ([13, 13, 3], 20, 3, 2, 2),
            ([11, 8, 4], 16, 2, 3, 2),
            ([13, 13, 32], 64, 5, 2, 2),
            // kernel rows of fewer elements than are taken at a time
            ([9, 9, 12], 5, 2, 2, 2),
            ([9, 14, 17], 20, 20, 2, 3),
            ([40, 31, 16], 70, 2, 3, 3),
            ([9, 9, 1], 5, 40, 2, 1),
            ([64, 50, 2], 40, 1, 2, 2),
            ([10, 10, 2], 3, 2, 2, 3),
            // stretches of several images, of some rows, of a part of a row; more filters than one accumulator of dx takes
            ([9, 10, 12], 3, 200, 2, 2),
            ([60, 45, 11], 6, 2, 2, 2),
            ([7, 2500, 11], 3, 1, 2, 2),
            ([5, 1200, 2], 3, 2, 2, 2),
            ([8, 8, 12], 400, 1, 2, 2),
        ] {
            for padding in PADDINGS {
                for relu in [false, true] {
                    let g = geometry(input, (3, 3), (1, 1), (1, 1), padding).unwrap();
                    let pool = Window {
                        size: pool_size.into(),
                        strides: pool_strides.into(),
                        dilation: 1.into(),
                        padding: Padding::Valid,
                    };
                    let pool = pool.over(&[g.output[0], g.output[1], filters], "max_pooling2d", "pool").unwrap();
                    let alone = Convolution::new(g, filters, relu);
                    let joined = alone.pooled(pool);
                    let (x, kernel) = (fractions(batch * g.input_len(), 1), fractions(alone.depth() * filters, 2));
                    let bias = fractions(filters, 3);
                    let dy = fractions(batch * joined.output_len(), 4);
                    let mut prepared = vec![f64::NAN; alone.prepared_len::<f64>()];
                    alone.prepare(&kernel, &mut prepared);

                    let mut wide = vec![f64::NAN; batch * alone.output_len()];
                    alone.forward(
                        &x,
                        &prepared,
                        Some(&bias),
                        &mut wide,
                        None,
                        &mut vec![f64::NAN; alone.forward_scratch(batch)],
                    );
                    let (mut want, mut want_argmax) = (vec![f64::NAN; dy.len()], vec![0; dy.len()]);
                    let mut wide_dy = vec![0.0; wide.len()];
                    for n in 0..batch {
                        let inside = n * alone.output_len()..(n + 1) * alone.output_len();
                        let outside = n * joined.output_len()..(n + 1) * joined.output_len();
                        let (y, argmax) = (&mut want[outside.clone()], &mut want_argmax[outside.clone()]);
                        max_pool(&pool, &wide[inside.clone()], 0, 0..pool.output[0], y, Some(argmax));
                        scatter_to_argmax(filters, argmax, &dy[outside], &mut wide_dy[inside]);
                    }
                    let mut gradients = [const { vec![] }; 2].map(|_: Vec<f64>| {
                        (vec![f64::NAN; x.len()], vec![f64::NAN; kernel.len()], vec![f64::NAN; filters])
                    });
                    let [(dx, dkernel, dbias), (joined_dx, joined_dkernel, joined_dbias)] = &mut gradients;
                    alone.backward(
                        &x,
                        &wide,
                        &kernel,
                        &mut [],
                        &mut wide_dy,
                        Some(dx),
                        dkernel,
                        Some(dbias),
                        &mut vec![f64::NAN; alone.backward_scratch::<f64>(batch)],
                    );

                    let (mut y, mut argmax) = (vec![f64::NAN; dy.len()], vec![0; joined.indices(batch)]);
                    let mut scratch = vec![f64::NAN; joined.forward_scratch(batch)];
                    joined.forward(&x, &prepared, Some(&bias), &mut y, Some(&mut argmax), &mut scratch);
                    assert_eq!(y, want, "y, {g:?}");
                    let mut without = vec![f64::NAN; dy.len()];
                    joined.forward(&x, &prepared, Some(&bias), &mut without, None, &mut scratch);
                    assert_eq!(without, want, "y without argmax, {g:?}");
                    let mut scratch = vec![f64::NAN; joined.backward_scratch::<f64>(batch)];
                    joined.backward(
                        &x,
                        &y,
                        &kernel,
                        &mut argmax,
                        &mut dy.clone(),
                        Some(joined_dx),
                        joined_dkernel,
                        Some(joined_dbias),
                        &mut scratch,
                    );
                    assert_eq!(joined_dx, dx, "dx, {g:?}");
                    assert_eq!(joined_dkernel, dkernel, "dkernel, {g:?}");
                    assert_eq!(joined_dbias, dbias, "dbias, {g:?}");
                }
            }
        }
    }

    fn pool(size: impl Into<Size2D>, strides: impl Into<Size2D>, over: &Convolution) -> Geometry {
        let [height, width] = over.geometry.output;
        let window = Window { size: size.into(), strides: strides.into(), dilation: 1.into(), padding: Padding::Valid };
        window.over(&[height, width, over.filters], "max_pooling2d", "pool").unwrap()
    }

    /// How work is cut changes no result, but how long it takes: bands that do not fit the cache, or tasks too small.
    #[test]
    fn work_is_cut_to_fit() {
        let convolution = |input, filters, padding| {
            Convolution::new(geometry(input, (3, 3), (1, 1), (1, 1), padding).unwrap(), filters, true)
        };
        let first = convolution([28, 28, 1], 32, Padding::Valid);
        let second = convolution([13, 13, 32], 64, Padding::Valid);
        let third = convolution([5, 5, 64], 64, Padding::Valid);
        let large = convolution([224, 224, 64], 64, Padding::Valid);
        let wide = convolution([8, 8, 512], 512, Padding::Valid);
        let padded = convolution([28, 28, 1], 32, Padding::Same);

        // bands of 32 Ki elements: an image of 11 × 11 × 64 is less, of 222 columns × 64 filters there are two rows
        assert_eq!([second.band, large.band], [11, 2]);
        // of 26 columns × 32 filters nine rows are 8 Ki elements: four pooled ones; of 10 × 64 all ten are
        let pooled = first.pooled(pool(2, 2, &first));
        assert_eq!(pooled.pooled_band(&pooled.pool.unwrap()), 4);
        assert_eq!(pooled.forward_sizes(4), [0, 8 * 26 * 32]);
        let pooled_second = second.pooled(pool(2, 2, &second));
        assert_eq!((pooled_second.geometry.output, pooled_second.output()), ([10, 10], [5, 5]));
        assert_eq!(pooled_second.pooled_band(&pooled_second.pool.unwrap()), 5);
        // rows of the image under eight rows of the output, 30 columns with the padding
        let pooled_padded = padded.pooled(pool(2, 2, &padded));
        assert_eq!(pooled_padded.forward_sizes(4), [10 * 30, 8 * 28 * 32]);

        // 64 tasks; a single small image stays in one piece; a row of a large one is a task
        assert_eq!([pooled_second.rows_per_task(64), second.rows_per_task(64)], [5, 11]);
        assert_eq!([first.rows_per_task(1), large.rows_per_task(1)], [26, 4]);
        // two rows are half a million multiply-adds, of 2 · 10 · 64 · 288 each
        assert_eq!(pooled_second.rows_per_task(2), 2);
        // sixteen groups, unless their gradients were too large; small images several at a time
        assert_eq!([second, wide].map(|layer| layer.most_groups()), [16, 1]);
        assert_eq!([64, 70, 3].map(|batch| second.images_per_group(batch)), [4, 5, 1]);
        assert_eq!([second, third, padded, pooled].map(|layer| layer.images_at_a_time()), [4, 56, 1, 1]);

        // gradients are listed where pooling leaves few, each for one pixel, and kernel rows are long
        assert!(pooled_second.is_sparse() && second.pooled(pool(2, 3, &second)).is_sparse());
        let dilated = geometry([13, 13, 32], (3, 3), (1, 1), (1, 2), Padding::Valid).unwrap();
        let dilated = Convolution::new(dilated, 64, true);
        for dense in [second, pooled, second.pooled(pool((2, 1), 2, &second)), second.pooled(pool(1, 2, &second))] {
            assert!(!dense.is_sparse(), "{dense:?}");
        }
        for strides in [(2, 2), (3, 2), (2, 3)] {
            let overlapping = second.pooled(pool(3, strides, &second));
            assert!(!overlapping.pools_apart() && !overlapping.is_sparse(), "{strides:?}");
        }
        assert!(!dilated.pooled(pool(2, 2, &dilated)).is_sparse());
    }

    /// A weight gradient's accumulators: whole images and bands where there is room for one, and no more than 1,024 pixels.
    #[test]
    fn stretches_are_whole_images_rows_or_parts_of_one() {
        let of = |output, band, images_at_a_time| {
            let Stretches { images, rows, columns, per_image, per_row } =
                Stretches::new(output, band, images_at_a_time);
            [images, rows, columns, per_image, per_row]
        };
        assert_eq!(of([26, 26], 26, 1), [1, 26, 26, 1, 1]);
        assert_eq!(of([3, 3], 3, 56), [112, 3, 3, 1, 1]);
        assert_eq!(of([3, 3], 3, 1000), [113, 3, 3, 1, 1]);
        assert_eq!(of([54, 54], 9, 1), [1, 18, 54, 3, 1]);
        assert_eq!(of([54, 54], 20, 1), [1, 18, 54, 3, 1]);
        assert_eq!(of([2, 1024], 1, 1), [1, 1, 1024, 2, 1]);
        assert_eq!(of([3, 2500], 3, 1), [1, 1, 834, 9, 3]);

        let stretches = Stretches::new([3, 2500], 3, 1);
        assert_eq!([0, 1, 5].map(|images| stretches.count(images)), [0, 9, 45]);
        assert_eq!(stretches.beginning_at(2, 1, 834), Some(2 * 9 + 3 + 1));
        assert_eq!(stretches.beginning_at(2, 1, 835), None);
        let stretches = Stretches::new([3, 3], 3, 56);
        assert_eq!([0, 56, 112].map(|image| stretches.beginning_at(image, 0, 0)), [Some(0), None, Some(1)]);
        assert_eq!([0, 1, 2, 512, 513].map(Partial::<f32>::levels), [1, 1, 2, 2, 3]);
    }

    /// More stretches than one sum takes, the later half of each row's where no pooling window reads: they count
    /// nevertheless.
    #[test]
    fn stretches_that_are_not_computed_count() {
        let g = geometry([600, 1110, 3], (1, 12), (1, 1), (1, 1), Padding::Valid).unwrap();
        let alone = Convolution::new(g, 1, false);
        let pool = pool((2, 550), (2, 550), &alone);
        let joined = alone.pooled(pool);
        assert_eq!((alone.stretches.count(1), joined.geometry.output), (1200, [600, 550]));
        assert!(joined.is_sparse());
        let (x, kernel) = (fractions(g.input_len(), 1), fractions(alone.depth(), 2));
        let dy = fractions(300, 4);
        let mut argmax = vec![0; joined.indices(1)];
        (0..300).for_each(|i| argmax[i] = (2 * i * 550 + i * 7 % 1100) as u32);
        let mut wide_dy = vec![0.0; alone.output_len()];
        for (&at, &dy) in argmax.iter().zip(&dy) {
            wide_dy[at as usize / 550 * 1099 + at as usize % 550] = dy;
        }
        let gradients = |layer: &Convolution, indices: &mut [u32], dy: &mut [f64]| {
            let (mut dkernel, mut dbias) = (vec![f64::NAN; kernel.len()], vec![f64::NAN]);
            let mut scratch = vec![f64::NAN; layer.backward_scratch::<f64>(1)];
            let y = vec![1.0; dy.len()];
            layer.backward(&x, &y, &kernel, indices, dy, None, &mut dkernel, Some(&mut dbias), &mut scratch);
            (dkernel, dbias)
        };
        let want = gradients(&alone, &mut [], &mut wide_dy);
        assert_eq!(gradients(&joined, &mut argmax, &mut dy.clone()), want);
    }

    #[test]
    fn scratch_does_not_shrink_with_the_batch() {
        for padding in PADDINGS {
            let g = geometry([13, 13, 32], (3, 3), (1, 1), (1, 1), padding).unwrap();
            let pool = Window { size: 2.into(), strides: 2.into(), dilation: 1.into(), padding: Padding::Valid };
            let pool = pool.over(&[g.output[0], g.output[1], 64], "max_pooling2d", "pool").unwrap();
            for layer in [Convolution::new(g, 64, true), Convolution::new(g, 64, true).pooled(pool)] {
                for batch in 1..200 {
                    assert!(layer.forward_scratch(batch) <= layer.forward_scratch(batch + 1), "{batch}");
                    let (less, more) = (layer.backward_scratch::<f32>(batch), layer.backward_scratch::<f32>(batch + 1));
                    assert!(less <= more, "{batch}");
                }
            }
        }
    }
}
