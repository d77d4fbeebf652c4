//! Loops over elements: ReLU, sums of rows.

use super::dispatch::vectorized;
use super::parallel::{Chunks, MIN_ELEMENTS, each_task};
use super::tile::{MAX_BLOCKS, MAX_TERMS, Sums};
use crate::scalar::Scalar;

/// max(0, x), with NaN kept: `f32::max(NaN, 0.0)` would hide it. −0 becomes 0, so that whether the largest is taken before
/// or after makes no difference.
#[inline(always)]
pub(super) fn relu_of<T: Scalar>(x: T) -> T {
    if x <= T::zero() { T::zero() } else { x }
}

/// y = max(0, x).
pub(crate) fn relu<T: Scalar>(x: &[T], y: &mut [T]) {
    let tasks = y.len().div_ceil(MIN_ELEMENTS);
    each_task(0..tasks, Chunks::new(y, MIN_ELEMENTS), &|task, y| {
        let x = &x[task * MIN_ELEMENTS..][..y.slice.len()];
        vectorized(
            #[inline(always)]
            || {
                for (y, &x) in y.slice.iter_mut().zip(x) {
                    *y = relu_of(x);
                }
            },
        );
    });
}

/// dx = dy where y > 0, zero elsewhere (so the derivative at 0 is 0).
pub(crate) fn relu_gradient<T: Scalar>(y: &[T], dy: &[T], dx: &mut [T]) {
    let tasks = dx.len().div_ceil(MIN_ELEMENTS);
    each_task(0..tasks, Chunks::new(dx, MIN_ELEMENTS), &|task, dx| {
        let range = task * MIN_ELEMENTS..task * MIN_ELEMENTS + dx.slice.len();
        let (y, dy) = (&y[range.clone()], &dy[range]);
        vectorized(
            #[inline(always)]
            || {
                for ((dx, &y), &dy) in dx.slice.iter_mut().zip(y).zip(dy) {
                    *dx = if y <= T::zero() { T::zero() } else { dy };
                }
            },
        );
    });
}

/// dy = 0 where y ≤ 0, on this thread.
pub(crate) fn mask_relu_here<T: Scalar>(y: &[T], dy: &mut [T]) {
    vectorized(
        #[inline(always)]
        || {
            for (dy, &y) in dy.iter_mut().zip(y) {
                *dy = if y <= T::zero() { T::zero() } else { *dy };
            }
        },
    );
}

/// The same, in parallel.
pub(crate) fn mask_relu<T: Scalar>(y: &[T], dy: &mut [T]) {
    let tasks = dy.len().div_ceil(MIN_ELEMENTS);
    each_task(0..tasks, Chunks::new(dy, MIN_ELEMENTS), &|task, dy| {
        mask_relu_here(&y[task * MIN_ELEMENTS..][..dy.slice.len()], dy.slice);
    });
}

/// `sums[c] (+)= Σ rows[r][c]`, r ascending, for rows of this length, of which the first columns are summed; overwritten
/// unless `resume`.
#[inline(always)]
pub(super) fn sum_rows_here<T: Scalar>(rows: &[T], len: usize, sums: &mut [T], resume: bool) {
    if !resume {
        sums.fill(T::zero());
    }
    for row in rows.chunks_exact(len) {
        add_to(sums, row);
    }
}

/// The same for whole rows, on the processor's vectors.
pub(crate) fn sum_rows<T: Scalar>(rows: &[T], sums: &mut [T], resume: bool) {
    vectorized(
        #[inline(always)]
        || sum_rows_here(rows, sums.len(), sums, resume),
    );
}

/// Columns whose sums are kept beside `sums` at a time: the widest panel.
const COLUMNS: usize = 32;

/// `sums[c] = Σ rows[r][c]` for any number of rows, in the blocks that a product of this depth has.
#[inline(always)]
pub(super) fn sum_all_rows_here<T: Scalar>(rows: &[T], len: usize, sums: &mut [T]) {
    let depth = rows.len() / len;
    if depth <= MAX_TERMS {
        return sum_rows_here(rows, len, sums, false);
    }
    let block = Sums::of(depth).block() * len;
    sums.fill(T::zero());
    for (i, sums) in sums.chunks_mut(COLUMNS).enumerate() {
        for blocks in rows.chunks(MAX_BLOCKS * block) {
            let (mut upper, mut sum) = ([T::zero(); COLUMNS], [T::zero(); COLUMNS]);
            let (upper, sum) = (&mut upper[..sums.len()], &mut sum[..sums.len()]);
            for block in blocks.chunks(block) {
                sum.fill(T::zero());
                block.chunks_exact(len).for_each(|row| add_to(sum, &row[i * COLUMNS..]));
                add_to(upper, sum);
            }
            add_to(sums, upper);
        }
    }
}

/// `sums[i] += parts[i]`.
#[inline(always)]
pub(super) fn add_to<T: Scalar>(sums: &mut [T], parts: &[T]) {
    sums.iter_mut().zip(parts).for_each(|(sum, &part)| *sum += part);
}

/// `sums[i] = Σ parts[p][i]`, p ascending, for parts that begin `stride` apart.
pub(crate) fn sum_parts<T: Scalar>(parts: &[T], stride: usize, count: usize, sums: &mut [T]) {
    // small tasks: each element costs as many additions as there are parts
    const ELEMENTS: usize = 1 << 12;
    let tasks = sums.len().div_ceil(ELEMENTS);
    each_task(0..tasks, Chunks::new(sums, ELEMENTS), &|task, sums| {
        vectorized(
            #[inline(always)]
            || {
                let len = sums.slice.len();
                let part = |p: usize| &parts[p * stride + task * ELEMENTS..][..len];
                // from zero on, so that no sum is −0
                sums.slice.fill(T::zero());
                for p in 0..count {
                    add_to(sums.slice, part(p));
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More elements than tasks have, and not a multiple of that.
    #[test]
    fn tasks_work_on_what_is_theirs() {
        let len = 3 * MIN_ELEMENTS + 5;
        let x: Vec<f32> = (0..len).map(|i| ((i * 7919) % 1009) as f32 - 504.0).collect();
        let dy: Vec<f32> = (0..len).map(|i| i as f32).collect();
        let (mut y, mut dx, mut masked) = (vec![f32::NAN; len], vec![f32::NAN; len], dy.clone());
        relu(&x, &mut y);
        relu_gradient(&y, &dy, &mut dx);
        mask_relu(&y, &mut masked);
        for i in 0..len {
            assert_eq!(y[i], x[i].max(0.0), "{i}");
            assert_eq!([dx[i], masked[i]], [if x[i] > 0.0 { dy[i] } else { 0.0 }; 2], "{i}");
        }

        let (count, stride) = (3, 10_000);
        let parts: Vec<f32> = (0..count * stride).map(|i| i as f32).collect();
        let mut sums = vec![f32::NAN; 9_000];
        sum_parts(&parts, stride, count, &mut sums);
        assert!(sums.iter().enumerate().all(|(i, &sum)| sum == (3 * i + 3 * stride) as f32));
    }
}
