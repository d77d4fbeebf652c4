//! Sums and maxima along a row, in an order that depends on the row's length alone.
//!
//! A row is read in pieces of [`LANES`]; element `i` of a piece goes to accumulator `i`. The accumulators are added in
//! ascending order, then what is left of the row is. So a row shorter than that is summed in ascending order; a longer one
//! keeps the widest vectors busy, and narrower ones give the same bits. A row of more than [`STRETCH`] elements is cut into
//! stretches of so many, whose sums are added in ascending order.

use num_traits::Float;

/// Accumulators of a sum: a vector of f32 on AVX-512, two of AVX2.
const LANES: usize = 16;

/// Elements that are summed at a time: 1,024 an accumulator. Ten million are 611 stretches, and each of them goes through
/// no more than 1,024 + 16 + 611 additions: an error of at most 9.9e-5 of their absolute sum in f32.
const STRETCH: usize = LANES << 10;

/// Σ f(aᵢ, bᵢ): `step` adds a term to an accumulator.
#[inline(always)]
pub(crate) fn accumulate<T: Float>(a: &[T], b: &[T], step: impl Fn(T, T, T) -> T) -> T {
    debug_assert_eq!(a.len(), b.len());
    let stretches = a.chunks(STRETCH).zip(b.chunks(STRETCH));
    stretches.fold(T::zero(), |sum, (a, b)| sum + accumulate_stretch(a, b, &step))
}

#[inline(always)]
fn accumulate_stretch<T: Float>(a: &[T], b: &[T], step: impl Fn(T, T, T) -> T) -> T {
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let mut sums = [T::zero(); LANES];
    for (a, b) in a.zip(b) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum = step(*sum, a, b);
        }
    }
    let sum = sums.iter().fold(T::zero(), |total, &sum| total + sum);
    rest.fold(sum, |sum, (&a, &b)| step(sum, a, b))
}

/// Σ aᵢ.
#[inline(always)]
pub(crate) fn sum<T: Float>(a: &[T]) -> T {
    accumulate(a, a, |sum, a, _| sum + a)
}

/// Σ aᵢ·bᵢ.
#[inline(always)]
pub(crate) fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    accumulate(a, b, |sum, a, b| a.mul_add(b, sum))
}

/// The largest element, passing over NaN; −∞ where there is none.
#[inline(always)]
pub(crate) fn maximum<T: Float>(a: &[T]) -> T {
    let larger = |a, b| if b > a { b } else { a };
    let pieces = a.chunks_exact(LANES);
    let rest = pieces.remainder();
    let mut maxima = [T::neg_infinity(); LANES];
    for piece in pieces {
        for (maximum, &a) in maxima.iter_mut().zip(piece) {
            *maximum = larger(*maximum, a);
        }
    }
    maxima.iter().chain(rest).fold(T::neg_infinity(), |maximum, &a| larger(maximum, a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::dispatch::vectorized;

    fn row(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919) % 1000) as f32 * 0.013 - 6.0).collect()
    }

    // The order as the module's text has it, written once more with indices.
    fn reference(len: usize, term: impl Fn(usize, f32) -> f32) -> f32 {
        let mut total = 0.0;
        for start in (0..len).step_by(STRETCH) {
            let end = len.min(start + STRETCH);
            let whole = start + (end - start) / LANES * LANES;
            let lane = |lane: usize| (start + lane..whole).step_by(LANES).fold(0.0, |sum, i| term(i, sum));
            let sum = (0..LANES).map(lane).fold(0.0, |total, sum| total + sum);
            total += (whole..end).fold(sum, |sum, i| term(i, sum));
        }
        total
    }

    #[test]
    fn the_order_is_the_one_described() {
        for len in [0, 1, 5, 15, 16, 17, 31, 32, 33, 100, 1000, STRETCH, STRETCH + 1, 2 * STRETCH + 40] {
            let (a, b) = (row(len), row(len + 3)[3..].to_vec());
            let got = vectorized(
                #[inline(always)]
                || [sum(&a), dot(&a, &b)],
            );
            let expected = [reference(len, |i, sum| sum + a[i]), reference(len, |i, sum| a[i].mul_add(b[i], sum))];
            assert_eq!(got, expected, "{len} elements");
        }
    }

    #[test]
    fn the_maximum_is_the_true_one() {
        for len in [1, 5, 16, 17, 40, 1000] {
            for place in [0, len / 2, len - 1] {
                let mut a = vec![-3.0; len];
                a[place] = -2.0;
                assert_eq!(maximum(&a), -2.0, "{len} elements");
            }
        }
        assert_eq!(maximum::<f32>(&[]), f32::NEG_INFINITY);
        assert_eq!(maximum(&[f32::NAN, 1.0, f32::NAN]), 1.0);
    }
}
