//! Packing: the right side of a product, cut into panels two vectors wide so that the tile reads it straight through.
//!
//! A matrix of `depth` rows and `columns` becomes `[columns / width][depth][width]`; the last panel is one vector wide if
//! that is enough, and is filled up with zeros. The layout depends on the processor's vectors, results do not.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use pulp::{Simd, WithSimd};

use super::dispatch::{dispatch, vectorized};
use super::elementwise::sum_all_rows_here;
use super::parallel::{Chunks, MIN_ELEMENTS, each_stretch, each_task};
use crate::scalar::Scalar;

/// Numbers in a vector.
pub(crate) fn lanes<T: Scalar>() -> usize {
    struct Lanes<T>(std::marker::PhantomData<T>);
    impl<T: Scalar> WithSimd for Lanes<T> {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            T::lanes::<S>()
        }
    }
    dispatch(Lanes::<T>(std::marker::PhantomData))
}

/// Columns of a full panel.
pub(crate) fn width<T: Scalar>() -> usize {
    2 * lanes::<T>()
}

/// Length of a packed matrix.
pub(crate) fn packed_len<T: Scalar>(depth: usize, columns: usize) -> usize {
    depth * columns.next_multiple_of(lanes::<T>())
}

/// Whether a row-major matrix of so many columns is packed as it is.
pub(crate) fn is_packed<T: Scalar>(columns: usize) -> bool {
    columns <= width::<T>() && columns.is_multiple_of(lanes::<T>())
}

/// Panels that are packed at a stretch.
fn panels_at_a_time(panel_len: usize) -> usize {
    (MIN_ELEMENTS / panel_len).max(1)
}

/// Cuts packed memory into its panels, and fills each, told its first column; in parallel.
fn each_panel<T: Scalar>(depth: usize, out: &mut [T], fill: &(impl Fn(usize, &mut [T]) + Sync)) {
    let len = (depth * width::<T>()).max(1);
    each_stretch(0..out.len().div_ceil(len), panels_at_a_time(len), Chunks::new(out, len), &|panels, out| {
        for (j, panel) in panels.zip(out.slice.chunks_mut(len)) {
            fill(j * width::<T>(), panel);
        }
    });
}

/// The row-major matrix `[depth][columns]`, packed; panels in parallel. Returns whether all of it is finite.
pub(crate) fn pack<T: Scalar>(matrix: &[T], columns: usize, out: &mut [T]) -> bool {
    let depth = matrix.len() / columns;
    let finite = AtomicBool::new(true);
    each_panel(depth, &mut out[..packed_len::<T>(depth, columns)], &|column, panel| {
        vectorized(
            #[inline(always)]
            || {
                pack_panel(matrix, columns, column, panel, depth);
                finite.fetch_and(is_finite(panel), Relaxed);
            },
        );
    });
    finite.into_inner()
}

/// Whether all are finite: those that are not make 0 NaN. In lanes, so that it becomes vectors; a plain fold does not.
#[inline(always)]
pub(super) fn is_finite<T: Scalar>(values: &[T]) -> bool {
    const LANES: usize = 32;
    let (pieces, rest) = values.as_chunks::<LANES>();
    let mut zeros = [T::zero(); LANES];
    for piece in pieces {
        for (zero, &value) in zeros.iter_mut().zip(piece) {
            *zero += value * T::zero();
        }
    }
    zeros.iter().all(|&zero| zero == T::zero()) && rest.iter().all(|value| value.is_finite())
}

/// The same, and `sums[c] = Σ matrix[r][c]`, as long as the panel is at hand.
pub(crate) fn pack_and_sum<T: Scalar>(matrix: &[T], columns: usize, out: &mut [T], sums: &mut [T]) -> bool {
    let depth = matrix.len() / columns;
    let (width, out) = (width::<T>(), &mut out[..packed_len::<T>(depth, columns)]);
    let len = depth * width;
    let finite = AtomicBool::new(true);
    let data = (Chunks::new(out, len), Chunks::new(sums, width));
    each_stretch(0..columns.div_ceil(width), panels_at_a_time(len), data, &|panels, (out, sums)| {
        vectorized(
            #[inline(always)]
            || {
                let parts = out.slice.chunks_mut(len).zip(sums.slice.chunks_mut(width));
                for (j, (panel, sums)) in panels.zip(parts) {
                    pack_panel(matrix, columns, j * width, panel, depth);
                    sum_all_rows_here(panel, panel.len() / depth, sums);
                    finite.fetch_and(is_finite(panel), Relaxed);
                }
            },
        );
    });
    finite.into_inner()
}

/// The same on this thread.
pub(crate) fn pack_here<T: Scalar>(matrix: &[T], columns: usize, out: &mut [T]) {
    let depth = matrix.len() / columns;
    let out = &mut out[..packed_len::<T>(depth, columns)];
    let width = width::<T>();
    vectorized(
        #[inline(always)]
        || {
            for (j, panel) in out.chunks_mut(depth * width).enumerate() {
                pack_panel(matrix, columns, j * width, panel, depth);
            }
        },
    );
}

#[inline(always)]
fn pack_panel<T: Scalar>(matrix: &[T], columns: usize, column: usize, panel: &mut [T], depth: usize) {
    let width = panel.len() / depth;
    let filled = width.min(columns - column);
    for (row, to) in matrix.chunks_exact(columns).zip(panel.chunks_exact_mut(width)) {
        to[..filled].copy_from_slice(&row[column..][..filled]);
        to[filled..].fill(T::zero());
    }
}

/// Rows that are transposed at a time: as many lines of the cache are read at once. Rows can lie so that more would
/// displace one another.
const ROWS_AT_A_TIME: usize = 4;

/// Rows of the result that are transposed at a time: they stay in the first-level cache until they are complete.
const DEPTH_AT_A_TIME: usize = 64;

/// Columns of a matrix that are transposed at a time where its rows stay whole: a line of the cache.
const COLUMNS_AT_A_TIME: usize = 16;

/// `to[l][r] = from[r][l]` for the first rows of `from`, zero for the others; rows begin `stride` and `width` apart.
#[inline(always)]
fn transpose_block<T: Scalar>(from: &[T], stride: usize, rows: usize, to: &mut [T], width: usize) {
    let len = to.len() / width;
    let mut done = 0;
    while rows - done >= ROWS_AT_A_TIME {
        let several: [&[T]; ROWS_AT_A_TIME] = std::array::from_fn(|r| &from[(done + r) * stride..][..len]);
        for (l, to) in to.chunks_exact_mut(width).enumerate() {
            let values: [T; ROWS_AT_A_TIME] = std::array::from_fn(|r| several[r][l]);
            to[done..][..ROWS_AT_A_TIME].copy_from_slice(&values);
        }
        done += ROWS_AT_A_TIME;
    }
    for (l, to) in to.chunks_exact_mut(width).enumerate() {
        for (r, to) in to.iter_mut().enumerate().skip(done) {
            *to = if r < rows { from[r * stride + l] } else { T::zero() };
        }
    }
}

/// Row-major matrices `[columns][depth]` that come one after the other: their transposes one below the other, the one
/// with number `order(i)` in place i, packed.
pub(crate) fn pack_transposed<T: Scalar>(
    matrices: &[T],
    depth: usize,
    columns: usize,
    order: impl Fn(usize) -> usize + Sync,
    out: &mut [T],
) {
    let len = depth * columns;
    let rows = matrices.len() / columns;
    each_panel(rows, &mut out[..packed_len::<T>(rows, columns)], &|column, panel| {
        let width = panel.len() / rows;
        let filled = width.min(columns - column);
        for (i, part) in panel.chunks_exact_mut(depth * width).enumerate() {
            let matrix = &matrices[order(i) * len..][..len];
            vectorized(
                #[inline(always)]
                || {
                    for (l, to) in part.chunks_mut(DEPTH_AT_A_TIME * width).enumerate() {
                        transpose_block(&matrix[column * depth + l * DEPTH_AT_A_TIME..], depth, filled, to, width);
                    }
                },
            );
        }
    });
}

/// The row-major matrix `[..][columns]` the other way round, rows of the result in parallel.
pub(crate) fn transpose<T: Scalar>(matrix: &[T], columns: usize, out: &mut [T]) {
    let rows = matrix.len() / columns;
    let per_task = MIN_ELEMENTS.div_ceil(rows.max(1)).next_multiple_of(COLUMNS_AT_A_TIME);
    each_task(0..columns.div_ceil(per_task), Chunks::new(&mut out[..matrix.len()], per_task * rows), &|task, out| {
        vectorized(
            #[inline(always)]
            || {
                for (l, to) in out.slice.chunks_mut(COLUMNS_AT_A_TIME * rows).enumerate() {
                    let column = task * per_task + l * COLUMNS_AT_A_TIME;
                    transpose_block(&matrix[column..], columns, rows, to, rows);
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(packed: &[f32], depth: usize, columns: usize) -> Vec<f32> {
        let width = width::<f32>();
        let mut matrix = vec![f32::NAN; depth * columns];
        for (j, panel) in packed.chunks(depth * width).enumerate() {
            for (l, row) in panel.chunks(panel.len() / depth).enumerate() {
                for (c, &value) in row.iter().enumerate() {
                    if j * width + c < columns {
                        matrix[l * columns + j * width + c] = value;
                    } else {
                        assert_eq!(value, 0.0, "what fills up a panel is zero");
                    }
                }
            }
        }
        matrix
    }

    #[test]
    fn transposing_twice_changes_nothing() {
        for (rows, columns) in [(1, 1), (3, 10), (288, 64), (700, 90)] {
            let matrix: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let (mut once, mut twice) = (vec![f32::NAN; matrix.len()], vec![f32::NAN; matrix.len()]);
            transpose(&matrix, columns, &mut once);
            transpose(&once, rows, &mut twice);
            assert_eq!(once[(columns - 1) * rows], matrix[columns - 1]);
            assert_eq!(twice, matrix);
        }
    }

    #[test]
    fn packing_loses_nothing() {
        for (depth, columns) in [(1, 1), (3, 10), (5, 16), (2, 17), (7, 32), (4, 33), (9, 65), (2, 100)] {
            let matrix: Vec<f32> = (0..depth * columns).map(|i| i as f32 + 1.0).collect();
            let transposed: Vec<f32> = (0..matrix.len()).map(|i| matrix[i % depth * columns + i / depth]).collect();
            for packer in 0..4 {
                let mut out = vec![f32::NAN; packed_len::<f32>(depth, columns)];
                match packer {
                    0 => assert!(pack(&matrix, columns, &mut out)),
                    1 => pack_here(&matrix, columns, &mut out),
                    2 => pack_transposed(&transposed, depth, columns, |i| i, &mut out),
                    // the same matrix cut into rows that come last to first
                    _ => {
                        let rows: Vec<f32> = matrix.rchunks(columns).flatten().copied().collect();
                        pack_transposed(&rows, 1, columns, |i| depth - 1 - i, &mut out);
                    }
                }
                assert_eq!(is_packed::<f32>(columns), columns <= width::<f32>() && out == matrix);
                assert_eq!(unpack(&out, depth, columns), matrix, "{depth}×{columns}, packer {packer}");
            }
        }
    }
}
