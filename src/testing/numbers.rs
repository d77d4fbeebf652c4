//! Numbers to check with, and how far two lots of them are from each other.

use ndarray_rand::rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::scalar::Scalar;

/// How numbers are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spacing {
    /// Any number: two are never equal.
    Free,
    /// 1/64 apart, or multiples of that: sums of some thousand products of such numbers are exact in `f32` too, so that
    /// both types take the same side of every kink.
    Fine,
    /// 1/2 apart: many are equal, and many are 0.
    Coarse,
}

impl Spacing {
    fn step(self) -> Option<f64> {
        match self {
            Self::Free => None,
            Self::Fine => Some(1.0 / 64.0),
            Self::Coarse => Some(0.5),
        }
    }

    /// The nearest number that is allowed, counted from 0; one that `f32` has, unless all are allowed.
    pub(super) fn round(self, value: f64) -> f64 {
        self.step().map_or(value, |step| f64::from(((value / step).round() * step) as f32))
    }

    /// The nearest number that is allowed between the two, counted from `low`, with steps so small that there are at
    /// least three; one that `f32` has, unless all are allowed.
    fn round_within(self, value: f64, [low, high]: [f64; 2]) -> f64 {
        let Some(mut step) = self.step().filter(|_| low < high) else { return value };
        while 2.0 * step > high - low {
            step /= 2.0;
        }
        let steps = ((value - low) / step).round().min(((high - low) / step).floor());
        let narrow = (low + steps * step) as f32;
        match f64::from(narrow) {
            wide if wide > high => narrow.next_down().into(),
            wide if wide < low => narrow.next_up().into(),
            wide => wide,
        }
    }
}

/// A source of random numbers.
#[derive(Debug)]
pub(super) struct Draw {
    rng: ChaCha8Rng,
}

impl Draw {
    /// One of many that a seed has; each is for something else.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self { rng }
    }

    /// A number between the two.
    pub(super) fn number(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.rng.random::<f64>()
    }

    pub(super) fn numbers(&mut self, len: usize, range: [f64; 2], spacing: Spacing) -> Vec<f64> {
        (0..len).map(|_| spacing.round_within(self.number(range), range)).collect()
    }

    /// So many different indices below `len`, or all.
    pub(super) fn indices(&mut self, len: usize, count: usize) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..len).collect();
        for i in 0..count.min(len) {
            indices.swap(i, self.rng.random_range(i..len));
        }
        indices.truncate(count);
        indices
    }
}

pub(super) fn float<T: Scalar>(value: T) -> f64 {
    value.to_f64().expect("f32 and f64 are f64s")
}

pub(super) fn of_f64<T: Scalar>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&value| T::of(value)).collect()
}

/// The root of the mean square; 0 of nothing.
pub(super) fn root_mean_square(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0), |(sum, count), value| (sum + value * value, count + 1));
    if count == 0 { 0.0 } else { f64::sqrt(sum / f64::from(count)) }
}

/// A difference relative to a size; 0 where there is none, ∞ where one cannot be told.
pub(super) fn relative(difference: f64, size: f64) -> f64 {
    match difference.abs() / size {
        _ if difference == 0.0 => 0.0,
        error if error.is_nan() => f64::INFINITY,
        error => error,
    }
}

/// The largest |got − want|, each relative to |want|, to the root mean square of all `want`, or to `least`, whichever is
/// largest: what is left where large numbers cancel is no smaller than their rounding.
pub(super) fn largest_error<T: Scalar, U: Scalar>(got: &[T], want: &[U], least: f64) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let typical = root_mean_square(want.iter().copied().map(float)).max(least);
    let errors = got.iter().zip(want).map(|(&got, &want)| {
        let (got, want) = (float(got), float(want));
        relative(got - want, want.abs().max(typical))
    });
    errors.fold(0.0, f64::max)
}

/// Whether two lots of numbers have the same bits; an error says which is the first that has not.
pub(super) fn same_bits<T: Scalar>(what: &str, got: &[T], want: &[T]) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{what} has {} elements, expected {}", got.len(), want.len()));
    }
    let differs = |(got, want): (&T, &T)| float(*got).to_bits() != float(*want).to_bits();
    match got.iter().zip(want).position(differs) {
        Some(i) => Err(format!("{what}[{i}] is {:?}, expected {:?}", got[i], want[i])),
        None => Ok(()),
    }
}

/// Whether all numbers are numbers.
pub(super) fn no_nan<T: Scalar>(what: &str, values: &[T]) -> Result<(), String> {
    match values.iter().position(|value| value.is_nan()) {
        Some(i) => Err(format!("{what}[{i}] of {} is NaN", values.len())),
        None => Ok(()),
    }
}

/// Whether a name is in snake case.
pub(super) fn snake_case(what: &str, name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(format!("{what} {name:?} is not in snake case"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacing_is_kept_and_free_numbers_differ() {
        let mut draw = Draw::new(1, 2);
        assert!(draw.numbers(500, [-1.0, 1.0], Spacing::Fine).iter().all(|x| (x * 64.0).fract() == 0.0));
        let coarse = draw.numbers(500, [-1.0, 1.0], Spacing::Coarse);
        assert!(coarse.iter().all(|x| [-1.0, -0.5, 0.0, 0.5, 1.0].contains(x)));
        // counted from the lower bound: what must not be reached is not
        let positive = draw.numbers(500, [0.25, 2.0], Spacing::Coarse);
        assert!(positive.iter().all(|x| [0.25, 0.75, 1.25, 1.75].contains(x)));
        for range in [[0.1, 0.9], [-0.4, 0.1], [0.7, 0.71], [-3.0, -1.0], [1e-3, 1e3]] {
            for spacing in [Spacing::Free, Spacing::Fine, Spacing::Coarse] {
                let mut numbers = draw.numbers(500, range, spacing);
                assert!(numbers.iter().all(|x| (range[0]..=range[1]).contains(x)), "{range:?}, {spacing:?}");
                numbers.sort_by(f64::total_cmp);
                numbers.dedup();
                assert!(numbers.len() >= 3, "{range:?}, {spacing:?}: {numbers:?}");
            }
        }
        assert_eq!(draw.numbers(2, [0.5, 0.5], Spacing::Coarse), [0.5, 0.5]);
        let mut free = draw.numbers(500, [-1.0, 1.0], Spacing::Free);
        free.sort_by(f64::total_cmp);
        free.dedup();
        assert_eq!(free.len(), 500);
        assert_ne!(Draw::new(1, 2).number([0.0, 1.0]), Draw::new(1, 3).number([0.0, 1.0]));
    }

    #[test]
    fn indices_are_drawn_once() {
        let mut indices = Draw::new(0, 0).indices(50, 20);
        indices.sort_unstable();
        indices.dedup();
        assert!(indices.len() == 20 && indices[19] < 50);
        assert_eq!(Draw::new(0, 0).indices(3, 20).len(), 3);
    }

    #[test]
    fn errors_are_relative_to_what_is_typical() {
        assert_eq!(largest_error(&[1.0, 0.0], &[1.0, 0.0], 0.0), 0.0);
        assert_eq!(largest_error::<f64, f64>(&[], &[], 0.0), 0.0);
        // 2 is off by a quarter of itself; 0 by a tenth of the root mean square of all
        assert_eq!(largest_error(&[1.5, 0.0], &[2.0, 0.0], 0.0), 0.25);
        assert!((largest_error(&[2.0, 0.1 * 2.0_f64.sqrt()], &[2.0, 0.0], 0.0) - 0.1).abs() < 1e-15);
        assert_eq!(largest_error(&[1e-3], &[0.0], 1e-2), 0.1);
        for (got, want) in [(f64::NAN, 1.0), (1.0, f64::NAN), (1.0, 0.0)] {
            assert_eq!(largest_error(&[got], &[want], 0.0), f64::INFINITY, "{got} for {want}");
        }
        assert_eq!(largest_error(&[1.0], &[1.0, 1.0], 0.0), f64::INFINITY);
    }

    #[test]
    fn bits_tell_zeros_apart() {
        same_bits("y", &[f32::NAN, 0.0], &[f32::NAN, 0.0]).unwrap();
        assert_eq!(same_bits("y", &[1.0, -0.0], &[1.0, 0.0]).unwrap_err(), "y[1] is -0.0, expected 0.0");
        assert_eq!(same_bits("y", &[1.0], &[1.0, 0.0]).unwrap_err(), "y has 1 elements, expected 2");
        assert_eq!(no_nan("y", &[1.0, f32::NAN]).unwrap_err(), "y[1] of 2 is NaN");
    }

    #[test]
    fn names_in_snake_case() {
        for name in ["dense", "conv2d", "max_pooling2d", "a"] {
            snake_case("kind", name).unwrap();
        }
        for name in ["", "Dense", "2d", "_a", "a/b", "a b"] {
            snake_case("kind", name).unwrap_err();
        }
    }
}
