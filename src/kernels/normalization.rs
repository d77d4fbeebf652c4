//! Sums over the rows of a matrix, column by column, and the normalization of columns by them.
//!
//! Rows are cut into tasks by the shape alone. A task adds its rows in order, and the tasks' sums are added in order, so that
//! no sum depends on the number of threads, and none has more than [`MAX_ROWS`] terms in a row.

use super::dispatch::vectorized;
use super::parallel::{Chunks, MIN_ELEMENTS, each_task};
use crate::scalar::Scalar;

/// Rows that are added one after the other at the most.
const MAX_ROWS: usize = 1024;

/// How the rows of a matrix are shared out.
#[derive(Debug, Clone, Copy)]
pub struct ColumnTasks {
    rows: usize,
    columns: usize,
    /// Rows of a task.
    per_task: usize,
}

impl ColumnTasks {
    pub(crate) fn new(rows: usize, columns: usize) -> Self {
        Self { rows, columns, per_task: MIN_ELEMENTS.div_ceil(columns).clamp(1, MAX_ROWS) }
    }

    fn tasks(&self) -> usize {
        self.rows.div_ceil(self.per_task)
    }

    /// Two sums for each column and task.
    pub(crate) fn sums_len(&self) -> usize {
        2 * self.tasks() * self.columns
    }

    /// Runs `row_sums` on each task's rows (by the number of the first) and memory for two sums of each column, and adds
    /// what the tasks have left there.
    fn sum<T: Scalar>(
        &self,
        sums: &mut [T],
        [first, second]: [&mut [T]; 2],
        row_sums: &(impl Fn(std::ops::Range<usize>, &mut [T], &mut [T]) + Sync),
    ) {
        let n = self.columns;
        let sums = &mut sums[..self.sums_len()];
        each_task(0..self.tasks(), Chunks::new(&mut *sums, 2 * n), &|task, sums| {
            let rows = task * self.per_task..((task + 1) * self.per_task).min(self.rows);
            let (first, second) = sums.slice.split_at_mut(n);
            first.fill(T::zero());
            second.fill(T::zero());
            row_sums(rows, first, second);
        });
        first.fill(T::zero());
        second.fill(T::zero());
        for sums in sums.chunks_exact(2 * n) {
            let (one, other) = sums.split_at(n);
            first.iter_mut().zip(one).for_each(|(sum, &part)| *sum += part);
            second.iter_mut().zip(other).for_each(|(sum, &part)| *sum += part);
        }
    }
}

/// The mean of each column, and its variance, divided by the number of rows. `spare` is a row to work with.
pub(crate) fn column_mean_and_variance<T: Scalar>(
    tasks: &ColumnTasks,
    x: &[T],
    [mean, variance, spare]: [&mut [T]; 3],
    sums: &mut [T],
) {
    let (n, count) = (tasks.columns, T::of(tasks.rows as f64));
    tasks.sum(sums, [&mut *mean, &mut *spare], &|rows, sum, _| {
        vectorized(
            #[inline(always)]
            || {
                for x in x[rows.start * n..rows.end * n].chunks_exact(n) {
                    sum.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
                }
            },
        );
    });
    mean.iter_mut().for_each(|mean| *mean /= count);
    let mean = &*mean;
    tasks.sum(sums, [&mut *variance, &mut *spare], &|rows, squares, deviations| {
        vectorized(
            #[inline(always)]
            || {
                for x in x[rows.start * n..rows.end * n].chunks_exact(n) {
                    let sums = squares.iter_mut().zip(&mut *deviations);
                    for (((square, deviation), &x), &mean) in sums.zip(x).zip(mean) {
                        let d = x - mean;
                        *deviation += d;
                        *square = d.mul_add(d, *square);
                    }
                }
            },
        );
    });
    // the mean is rounded: what the deviations still add up to is taken out
    for (variance, &deviation) in variance.iter_mut().zip(&*spare) {
        *variance = ((*variance - deviation * deviation / count) / count).max(T::zero());
    }
}

/// y = (x − mean) ⊙ scale + shift, row by row.
pub(crate) fn normalize_columns<T: Scalar>(
    tasks: &ColumnTasks,
    x: &[T],
    mean: &[T],
    scale: &[T],
    shift: Option<&[T]>,
    y: &mut [T],
) {
    let n = tasks.columns;
    each_task(0..tasks.tasks(), Chunks::new(y, tasks.per_task * n), &|task, y| {
        let x = &x[task * tasks.per_task * n..][..y.slice.len()];
        vectorized(
            #[inline(always)]
            || {
                for (y, x) in y.slice.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
                    for (((y, &x), &mean), &scale) in y.iter_mut().zip(x).zip(mean).zip(scale) {
                        *y = (x - mean) * scale;
                    }
                    if let Some(shift) = shift {
                        y.iter_mut().zip(shift).for_each(|(y, &shift)| *y += shift);
                    }
                }
            },
        );
    });
}

/// Of each column, with x̂ = (x − mean) · inverse: Σ dy and Σ dy · x̂.
pub(crate) fn normalization_sums<T: Scalar>(
    tasks: &ColumnTasks,
    [x, dy]: [&[T]; 2],
    [mean, inverse]: [&[T]; 2],
    [plain, weighted]: [&mut [T]; 2],
    sums: &mut [T],
) {
    let n = tasks.columns;
    tasks.sum(sums, [plain, &mut *weighted], &|rows, plain, weighted| {
        let elements = rows.start * n..rows.end * n;
        vectorized(
            #[inline(always)]
            || {
                for (x, dy) in x[elements.clone()].chunks_exact(n).zip(dy[elements.clone()].chunks_exact(n)) {
                    let sums = plain.iter_mut().zip(&mut *weighted);
                    for ((((plain, weighted), &x), &dy), &mean) in sums.zip(x).zip(dy).zip(mean) {
                        *plain += dy;
                        *weighted = dy.mul_add(x - mean, *weighted);
                    }
                }
            },
        );
    });
    weighted.iter_mut().zip(inverse).for_each(|(weighted, &inverse)| *weighted *= inverse);
}

/// dx = γ · inverse · (dy − Σ dy / n − x̂ · Σ dy·x̂ / n): the gradient through the mean and the variance of n rows.
pub(crate) fn normalization_input_gradient<T: Scalar>(
    tasks: &ColumnTasks,
    [x, dy]: [&[T]; 2],
    [mean, inverse]: [&[T]; 2],
    gamma: Option<&[T]>,
    [plain, weighted]: [&[T]; 2],
    dx: &mut [T],
) {
    let (n, count) = (tasks.columns, T::of(tasks.rows as f64));
    each_task(0..tasks.tasks(), Chunks::new(dx, tasks.per_task * n), &|task, dx| {
        let start = task * tasks.per_task * n;
        let (x, dy) = (&x[start..][..dx.slice.len()], &dy[start..][..dx.slice.len()]);
        vectorized(
            #[inline(always)]
            || {
                for ((dx, x), dy) in dx.slice.chunks_exact_mut(n).zip(x.chunks_exact(n)).zip(dy.chunks_exact(n)) {
                    for (c, ((dx, &x), &dy)) in dx.iter_mut().zip(x).zip(dy).enumerate() {
                        let normalized = (x - mean[c]) * inverse[c];
                        let d = dy - plain[c] / count - normalized * (weighted[c] / count);
                        *dx = d * inverse[c] * gamma.map_or(T::one(), |gamma| gamma[c]);
                    }
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn means_and_variances_of_long_columns_are_exact_to_rounding() {
        let (rows, columns) = (100_000, 3);
        let x: Vec<f32> = (0..rows * columns).map(|i| 1000.0 + ((i * 37) % 101) as f32 / 101.0).collect();
        let tasks = ColumnTasks::new(rows, columns);
        let (mut mean, mut variance, mut spare) = ([0.0; 3], [0.0; 3], [0.0; 3]);
        let mut sums = vec![f32::NAN; tasks.sums_len()];
        column_mean_and_variance(&tasks, &x, [&mut mean, &mut variance, &mut spare], &mut sums);
        for column in 0..columns {
            let values = || x.iter().skip(column).step_by(columns).map(|&x| f64::from(x));
            let exact = values().sum::<f64>() / rows as f64;
            let about = values().map(|x| (x - exact).powi(2)).sum::<f64>() / rows as f64;
            assert_relative_eq!(f64::from(mean[column]), exact, max_relative = 1e-6);
            assert_relative_eq!(f64::from(variance[column]), about, max_relative = 1e-4);
        }
    }
}
