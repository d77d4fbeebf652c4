//! Softmax over the rows of a matrix, forward and backward.
//!
//! > forward: y = e^(x − max x) / Σ e^(x − max x)
//! >
//! > backward: dx = y ⊙ (dy − Σ y·dy)
//!
//! The maximum is the row's own, so neither large nor very negative rows overflow or become 0/0. A row with a NaN or a +∞,
//! or of nothing but −∞, becomes NaN throughout.

use rayon::prelude::*;

use super::dispatch::vectorized;
use super::reduce::{dot, maximum, sum};
use crate::scalar::Scalar;

/// Elements that one thread works through at a stretch: less is not worth a second thread.
const PIECE: usize = 1 << 13;

/// Softmax of each row of `n` elements of `x`, into `y`.
pub(crate) fn softmax<T: Scalar>(x: &[T], y: &mut [T], n: usize) {
    debug_assert_eq!(x.len(), y.len());
    let piece = piece(n);
    let run = |(x, y): (&[T], &mut [T])| {
        y.copy_from_slice(x);
        rows_forward(y, n.max(1));
    };
    if y.len() <= piece {
        return run((x, y));
    }
    x.par_chunks(piece).zip(y.par_chunks_mut(piece)).for_each(run);
}

/// The same in place.
pub(crate) fn softmax_in_place<T: Scalar>(y: &mut [T], n: usize) {
    let piece = piece(n);
    if y.len() <= piece {
        return rows_forward(y, n.max(1));
    }
    y.par_chunks_mut(piece).for_each(|y| rows_forward(y, n));
}

/// The gradient with respect to the input of [`softmax`], into `dx`, from its output and the gradient of that.
pub(crate) fn softmax_backward<T: Scalar>(y: &[T], dy: &[T], dx: &mut [T], n: usize) {
    debug_assert_eq!([y.len(), dy.len()], [dx.len(); 2]);
    let piece = piece(n);
    let run = |((y, dy), dx): ((&[T], &[T]), &mut [T])| {
        dx.copy_from_slice(dy);
        rows_backward(y, dx, n.max(1));
    };
    if dx.len() <= piece {
        return run(((y, dy), dx));
    }
    y.par_chunks(piece).zip(dy.par_chunks(piece)).zip(dx.par_chunks_mut(piece)).for_each(run);
}

/// The same in place: `d` is the gradient of the output before, that of the input after.
pub(crate) fn softmax_backward_in_place<T: Scalar>(y: &[T], d: &mut [T], n: usize) {
    debug_assert_eq!(y.len(), d.len());
    let piece = piece(n);
    if d.len() <= piece {
        return rows_backward(y, d, n.max(1));
    }
    y.par_chunks(piece).zip(d.par_chunks_mut(piece)).for_each(|(y, d)| rows_backward(y, d, n));
}

/// Whole rows of `n` elements, about [`PIECE`] in all.
fn piece(n: usize) -> usize {
    (PIECE / n.max(1)).max(1) * n.max(1)
}

fn rows_forward<T: Scalar>(y: &mut [T], n: usize) {
    vectorized(
        #[inline(always)]
        || {
            for y in y.chunks_exact_mut(n) {
                let max = maximum(y);
                y.iter_mut().for_each(|y| *y -= max);
            }
            // All rows in one loop, for its vectors to be full even if the rows are short.
            y.iter_mut().for_each(|y| *y = y.exponential());
            for y in y.chunks_exact_mut(n) {
                let total = sum(y);
                y.iter_mut().for_each(|y| *y /= total);
            }
        },
    );
}

fn rows_backward<T: Scalar>(y: &[T], d: &mut [T], n: usize) {
    vectorized(
        #[inline(always)]
        || {
            for (y, d) in y.chunks_exact(n).zip(d.chunks_exact_mut(n)) {
                let mean = dot(y, d);
                for (d, &y) in d.iter_mut().zip(y) {
                    *d = y * (*d - mean);
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula in f64 and with the platform's exponential, of one row.
    fn reference(x: &[f64]) -> Vec<f64> {
        let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = x.iter().map(|x| (x - max).exp()).sum();
        x.iter().map(|x| (x - max).exp() / total).collect()
    }

    fn numbers(len: usize) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * 12.9898).sin() * 20.0).collect()
    }

    fn forward<T: Scalar>(x: &[T], n: usize) -> Vec<T> {
        let mut y = vec![T::nan(); x.len()];
        softmax(x, &mut y, n);
        y
    }

    // Rows shorter and longer than the lanes of a sum and than a piece, batches of less and more than a piece.
    const SIZES: [(usize, usize); 7] = [(1, 1), (3, 10), (5, 37), (2000, 10), (33, 1000), (2, PIECE + 1), (9, PIECE)];

    #[test]
    fn forward_is_the_formula() {
        for (rows, n) in SIZES {
            let x = numbers(rows * n);
            let y = forward(&x, n);
            for (row, (x, y)) in x.chunks(n).zip(y.chunks(n)).enumerate() {
                let exact = reference(&x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
                for (&y, exact) in y.iter().zip(exact) {
                    // The rounding of x − max, up to 40, moves e^(x − max) by 2e-6; exp, the sum and the quotient by less.
                    assert!((f64::from(y) - exact).abs() <= 4e-6 * exact, "row {row} of {rows}×{n}: {y}, not {exact}");
                }
            }
        }
    }

    #[test]
    fn backward_is_the_product_with_the_jacobian() {
        for (rows, n) in [(3, 10), (2, 37), (300, 40)] {
            let x: Vec<f64> = numbers(rows * n).iter().map(|&x| f64::from(x) * 0.1).collect();
            let dy: Vec<f64> = (0..rows * n).map(|i| (i as f64).cos()).collect();
            let y = forward(&x, n);
            let mut dx = vec![f64::NAN; rows * n];
            softmax_backward(&y, &dy, &mut dx, n);
            for ((y, dy), dx) in y.chunks(n).zip(dy.chunks(n)).zip(dx.chunks(n)) {
                for i in 0..n {
                    let jacobian = |j| y[i] * (if i == j { 1.0 } else { 0.0 } - y[j]);
                    let exact: f64 = (0..n).map(|j| jacobian(j) * dy[j]).sum();
                    assert!((dx[i] - exact).abs() < 1e-15, "{rows}×{n}: {} is not {exact}", dx[i]);
                }
            }
        }
    }

    #[test]
    fn backward_is_the_slope_of_forward() {
        let (mut x, dy) = ([0.3, -1.2, 2.0, 0.0], [1.0, -2.0, 0.5, 3.0]);
        let mut dx = [f64::NAN; 4];
        softmax_backward(&forward(&x, 4), &dy, &mut dx, 4);
        for i in 0..4 {
            let mut loss_at = |step: f64| {
                x[i] += step;
                let loss: f64 = forward(&x, 4).iter().zip(dy).map(|(y, dy)| y * dy).sum();
                x[i] -= step;
                loss
            };
            let slope = (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5;
            assert!((dx[i] - slope).abs() < 1e-9, "{} is not {slope}", dx[i]);
        }
    }

    #[test]
    fn in_place_it_is_the_same() {
        for (rows, n) in SIZES {
            let x = numbers(rows * n);
            let (y, mut in_place) = (forward(&x, n), x.clone());
            softmax_in_place(&mut in_place, n);
            assert_eq!(in_place, y);
            let mut dx = vec![f32::NAN; rows * n];
            softmax_backward(&y, &x, &mut dx, n);
            in_place.copy_from_slice(&x);
            softmax_backward_in_place(&y, &mut in_place, n);
            assert_eq!(in_place, dx);
        }
    }

    // What a row becomes does not depend on the batch, nor on where the batch is cut into pieces.
    #[test]
    fn a_row_does_not_depend_on_its_batch() {
        for (rows, n) in SIZES {
            let x = numbers(rows * n);
            let y = forward(&x, n);
            let mut dx = vec![f32::NAN; rows * n];
            softmax_backward(&y, &x, &mut dx, n);
            for row in [0, rows / 2, rows - 1] {
                let range = row * n..(row + 1) * n;
                assert_eq!(forward(&x[range.clone()], n), y[range.clone()]);
                let mut alone = vec![f32::NAN; n];
                softmax_backward(&y[range.clone()], &x[range.clone()], &mut alone, n);
                assert_eq!(alone, dx[range]);
            }
        }
    }

    #[test]
    fn far_from_zero() {
        for offset in [-1e4, -104.0, 0.0, 89.0, 1e4, 1e6] {
            assert_eq!(forward(&[offset, offset, offset, offset], 4), [0.25_f32; 4]);
            let y = forward(&[offset, offset + 1.0], 2);
            approx::assert_relative_eq!(y[1], 1.0 / (1.0 + (-1.0_f32).exp()), max_relative = 1e-6);
        }
        assert_eq!(forward(&[f32::MAX, f32::MIN], 2), [1.0, 0.0]);
    }

    #[test]
    fn what_is_not_finite() {
        let infinity = f32::INFINITY;
        assert_eq!(forward(&[0.0, -infinity, 0.0], 3), [0.5, 0.0, 0.5]);
        for bad in [[0.0, f32::NAN, 1.0], [f32::NAN, 0.0, 1.0], [0.0, infinity, 1.0], [-infinity; 3], [f32::NAN; 3]] {
            let y = forward(&[bad, [0.0; 3]].concat(), 3);
            assert!(y[..3].iter().all(|y| y.is_nan()), "{bad:?} became {y:?}");
            assert_eq!(y[3..], [1.0 / 3.0; 3]);
        }
    }

    #[test]
    fn nothing_to_do() {
        for n in [0, 3] {
            softmax::<f32>(&[], &mut [], n);
            softmax_backward::<f32>(&[], &[], &mut [], n);
            softmax_in_place::<f32>(&mut [], n);
            softmax_backward_in_place::<f32>(&[], &mut [], n);
        }
    }
}
