//! Derivatives from differences, of functions that may have kinks.
//!
//! A function y(t) is compared with the gradient that somebody claims for L = Σ gᵢ·yᵢ. The difference of each output is
//! taken before the sum: outputs that do not depend on t then cancel exactly, and leave no rounding error behind.
//!
//! Central differences with a step h err by h²·y‴/6, and by the rounding of y over h: with h = 10⁻⁴ and y about 1, by
//! some 10⁻⁹. Where y is curved more than usual that is too much, and where a kink of ReLU or of a maximum lies within the
//! step it means nothing; the step is made smaller then, down to 10⁻⁶, and the best counts.
//!
//! If none is right, t may sit on a kink itself, as with a maximum of equal elements. There the derivative of each output
//! may be that on either side or anything between, so the gradient has to lie between the sums of the smaller and of the
//! larger of each output's one-sided differences. For a smooth function these two are less than h·|y″| apart, and the test
//! is as sharp.

use super::numbers::relative;

/// Steps to try, the largest first.
const STEPS: [f64; 3] = [1e-4, 1e-5, 1e-6];

/// A gradient compared with differences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Comparison {
    /// How far the gradient is from them, relative to its size.
    pub(super) error: f64,
    /// Whether it was compared with one-sided differences.
    pub(super) kink: bool,
}

/// A function of one number, with the weights gᵢ of its outputs.
#[derive(Debug)]
pub(super) struct Differences<'a> {
    /// The outputs at 0.
    pub(super) y: &'a [f64],
    /// What each counts.
    pub(super) weights: &'a [f64],
    /// The error with which a comparison is content.
    pub(super) bound: f64,
}

impl Differences<'_> {
    /// Compares `gradient` with the function. Errors are relative to the gradient, to what the differences give, or to
    /// `typical`, whichever is largest; a typical size keeps rounding from being held against a gradient of next to 0.
    /// `outputs` writes the outputs at a place, given its distance from 0.
    pub(super) fn compare(
        &self,
        gradient: f64,
        typical: f64,
        mut outputs: impl FnMut(f64, &mut Vec<f64>),
    ) -> Comparison {
        let (mut above, mut below) = (vec![], vec![]);
        let (mut error, mut between) = (f64::INFINITY, f64::INFINITY);
        let mut best = f64::INFINITY;
        for step in STEPS {
            outputs(step, &mut above);
            outputs(-step, &mut below);
            let (mut central, mut low, mut high) = (0.0, 0.0, 0.0);
            for (((above, below), y), weight) in above.iter().zip(&below).zip(self.y).zip(self.weights) {
                let (right, left) = (weight * (above - y) / step, weight * (y - below) / step);
                central += weight * (above - below) / (2.0 * step);
                low += right.min(left);
                high += right.max(left);
            }
            let size = typical.max(gradient.abs()).max(central.abs());
            error = relative(gradient - central, size);
            best = best.min(error);
            if best <= self.bound / 100.0 {
                break;
            }
            // minimum and maximum pass over NaN, which must not count as between
            if gradient.is_finite() && central.is_finite() {
                between = relative((low - gradient).max(gradient - high).max(0.0), size);
            }
        }
        if best <= self.bound {
            return Comparison { error: best, kink: false };
        }
        if between <= self.bound {
            return Comparison { error: between, kink: true };
        }
        Comparison { error, kink: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(function: impl Fn(f64) -> Vec<f64>, weights: &[f64], gradient: f64) -> Comparison {
        let differences = Differences { y: &function(0.0), weights, bound: 1e-6 };
        differences.compare(gradient, 1e-3, |step, y| *y = function(step))
    }

    #[test]
    fn smooth_functions() {
        let function = |t: f64| vec![(0.3 + t).sin(), (2.0 * t).exp(), 5.0];
        let gradient = 0.3_f64.cos() - 0.5 * 2.0;
        let right = compare(function, &[1.0, -0.5, 100.0], gradient);
        assert!(right.error <= 1e-6 && !right.kink, "{right:?}");
        for wrong in [gradient + 1e-5, gradient * 1.001, -gradient, 0.0, f64::NAN, f64::INFINITY] {
            let result = compare(function, &[1.0, -0.5, 100.0], wrong);
            assert!(result.error > 1e-6, "{wrong}: {result:?}");
        }
    }

    #[test]
    fn a_kink_beside_is_stepped_past() {
        for distance in [1e-3, 3e-5, 3e-6] {
            let function = |t: f64| vec![(t + distance).max(0.0)];
            assert!(compare(function, &[2.0], 2.0).error < 1e-9);
            for wrong in [0.0, 1.0] {
                assert!(compare(function, &[2.0], wrong).error > 0.1);
            }
        }
    }

    #[test]
    fn on_a_kink_each_output_may_take_either_side() {
        let relu = |t: f64| vec![t.max(0.0)];
        for gradient in [0.0, 0.5, 1.0] {
            let result = compare(relu, &[1.0], gradient);
            assert!(result.error < 1e-9 && (result.kink || gradient == 0.5), "{result:?}");
        }
        for gradient in [-0.01, 1.01] {
            assert!(compare(relu, &[1.0], gradient).error > 1e-3);
        }
        // of two equal elements, one window takes this and another window the other
        let windows = |t: f64| vec![t.max(0.0), t.max(0.0)];
        assert!(compare(windows, &[1.0, -1.0], 1.0).kink);
        assert!(compare(windows, &[1.0, -1.0], 1.5).error > 0.1);
    }

    #[test]
    fn outputs_that_are_no_numbers_agree_with_nothing() {
        for y in [f64::NAN, f64::INFINITY] {
            assert!(compare(|t| vec![if t == 0.0 { 0.0 } else { y }], &[1.0], 0.0).error > 1.0);
        }
    }
}
