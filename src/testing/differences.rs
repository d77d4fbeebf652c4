//! Derivatives from differences, of functions that may have kinks.
//!
//! A function y(t) is compared with the gradient that somebody claims for L = Σ gᵢ·yᵢ. The difference of each output is
//! taken before the sum: outputs that do not depend on t then cancel exactly, and leave no rounding error behind.
//!
//! Central differences with a step h err by h²·y‴/6, and by the rounding of y over h: with h = 10⁻⁴ and y about 1, by
//! some 10⁻⁹. Where y is curved more than usual that is too much, and where a kink of ReLU or of a maximum lies within
//! the step it means nothing; the step is made smaller then, down to 10⁻⁶, and the best counts.
//!
//! If none is right, t may sit on a kink itself, as with a maximum of equal elements. There the derivative of an output
//! may be that on either side or anything between, so the gradient has to lie between the sums of the smaller and of
//! the larger of each output's one-sided differences. How far these two are apart tells a kink from a curve: h·|y″| of
//! a smooth output, a tenth with a tenth of the step, while a kink keeps it. Only outputs that keep it have two sides;
//! of the others the central difference counts, or many of them would leave a wrong gradient much room.

use super::numbers::{Draw, Spacing, relative, root_mean_square};

/// Steps to try, the largest first.
const STEPS: [f64; 3] = [1e-4, 1e-5, 1e-6];

/// Random directions through each tensor along which the derivative is taken, too.
const DIRECTIONS: usize = 2;

/// An output has a kink if with a tenth of the step its one-sided differences are still as far apart as this, relative
/// to before.
const KINK: f64 = 0.3;

/// How far apart y(h) − y(0) and y(0) − y(−h) are by rounding, relative to y.
const ROUNDING: f64 = 64.0 * f64::EPSILON;

/// A gradient compared with differences.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Comparison {
    /// How far the gradient is from them, relative to its size.
    error: f64,
    /// Whether it was compared with one-sided differences.
    kink: bool,
    /// What central differences give.
    central: f64,
}

/// A tensor whose gradient is compared.
#[derive(Debug)]
pub(super) struct Tensor<'a> {
    pub(super) shape: &'a [usize],
    pub(super) gradient: &'a [f64],
    /// What gradients are taken for at the least when errors are related to them.
    pub(super) least: f64,
    /// How many elements have their derivative taken.
    pub(super) elements: usize,
}

/// What has been seen of an output's one-sided differences.
#[derive(Debug, Clone, Copy)]
struct Sides {
    /// How far apart they were with the last step.
    apart: f64,
    kink: bool,
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
    /// Compares the gradient of a tensor in the direction of some of its elements, and in random ones through all of
    /// it. Gives the largest error and the words for it. `outputs` writes the outputs, given how far each element is
    /// moved.
    pub(super) fn compare_tensor(
        &self,
        tensor: &Tensor<'_>,
        draw: &mut Draw,
        mut outputs: impl FnMut(&dyn Fn(usize) -> f64, &mut Vec<f64>),
    ) -> (f64, String) {
        let gradient = tensor.gradient;
        let typical = root_mean_square(gradient.iter().copied()).max(tensor.least);
        let indices = draw.indices(gradient.len(), tensor.elements);
        let mut results: Vec<(Option<usize>, f64, Comparison)> = vec![];
        for &i in &indices {
            let result = self.compare(gradient[i], typical, |step, y| {
                outputs(&|j| if i == j { step } else { 0.0 }, y);
            });
            results.push((Some(i), gradient[i], result));
        }
        for _ in 0..DIRECTIONS {
            let direction = draw.numbers(gradient.len(), [-1.0, 1.0], Spacing::Free);
            let along = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
            let result = self.compare(along, typical * length, |step, y| outputs(&|j| step * direction[j], y));
            results.push((None, along, result));
        }
        let kinks = results.iter().filter(|(.., result)| result.kink).count();
        let mut of =
            format!("{} of {} elements, {DIRECTIONS} directions, {kinks} on a kink", indices.len(), gradient.len());
        let error = results.iter().fold(0.0, |largest: f64, (.., result)| largest.max(result.error));
        // an element that is wrong says more than a direction
        let worst = results.into_iter().max_by(|(a_place, _, a), (b_place, _, b)| {
            let wrong = |place: &Option<usize>, error: f64| place.is_some() && error > self.bound;
            wrong(a_place, a.error).cmp(&wrong(b_place, b.error)).then(a.error.total_cmp(&b.error))
        });
        if let Some((place, got, worst)) = worst.filter(|(.., worst)| worst.error > 0.0) {
            let place =
                place.map_or("in a random direction".to_owned(), |i| format!("at {:?}", index(i, tensor.shape)));
            of += &format!(", the largest {place}");
            if worst.error > self.bound {
                of += &format!(": got {got:.9}, differences give {:.9}", worst.central);
            }
        }
        (error, of)
    }

    /// Compares `gradient` with the function. Errors are relative to the gradient, to what the differences give, or to
    /// `typical`, whichever is largest; a typical size keeps rounding from being held against a gradient of next to 0.
    /// `outputs` writes the outputs at a place, given its distance from 0.
    fn compare(&self, gradient: f64, typical: f64, mut outputs: impl FnMut(f64, &mut Vec<f64>)) -> Comparison {
        let (mut above, mut below, mut sides) = (vec![], vec![], vec![]);
        let mut result = Comparison { error: f64::INFINITY, kink: false, central: f64::NAN };
        let (mut best, mut between) = (result, f64::INFINITY);
        for step in STEPS {
            outputs(step, &mut above);
            outputs(-step, &mut below);
            let differences = above.iter().zip(&below).zip(self.weights);
            let central = differences.map(|((above, below), weight)| weight * (above - below) / (2.0 * step)).sum();
            let size = typical.max(gradient.abs()).max(f64::abs(central));
            result = Comparison { error: relative(gradient - central, size), kink: false, central };
            if result.error < best.error {
                best = result;
            }
            if best.error <= self.bound / 100.0 {
                break;
            }
            let (low, high) = self.one_sided(&above, &below, step, &mut sides);
            // the maximum passes over NaN, which must not count as between
            let finite = gradient.is_finite() && low.is_finite() && high.is_finite();
            let outside = if finite { (low - gradient).max(gradient - high).max(0.0) } else { f64::INFINITY };
            between = relative(outside, size);
        }
        match between <= self.bound {
            _ if best.error <= self.bound => best,
            true => Comparison { error: between, kink: true, ..result },
            false => result,
        }
    }

    /// The sums of the smaller and of the larger one-sided differences of outputs that have a kink; of the others the
    /// central ones count.
    fn one_sided(&self, above: &[f64], below: &[f64], step: f64, sides: &mut Vec<Sides>) -> (f64, f64) {
        sides.resize(self.y.len(), Sides { apart: f64::INFINITY, kink: false });
        let outputs = above.iter().zip(below).zip(self.y).zip(self.weights).zip(sides);
        outputs.fold((0.0, 0.0), |(low, high), ((((above, below), y), weight), sides)| {
            let (right, left) = ((above - y) / step, (y - below) / step);
            let apart = (right - left).abs();
            let rounding = ROUNDING * above.abs().max(below.abs()).max(y.abs()) / step;
            // what is kept at any step is a kink within it; the last step decides how much room that leaves
            sides.kink |= apart > rounding && apart > KINK * sides.apart;
            sides.apart = apart;
            let (right, left) = (weight * right, weight * left);
            let central = (right + left) / 2.0;
            if sides.kink { (low + right.min(left), high + right.max(left)) } else { (low + central, high + central) }
        })
    }
}

/// Where the element with this number is in a tensor.
fn index(mut number: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (index, &size) in index.iter_mut().zip(shape).rev() {
        (*index, number) = (number % size, number / size);
    }
    index
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

    /// Of so many curved outputs the one-sided differences are 0.02 apart with the smallest step, all together.
    #[test]
    fn smooth_outputs_leave_no_room() {
        const OUTPUTS: usize = 20_000;
        let weights: Vec<f64> = (0..OUTPUTS).map(|i| [1.0, -1.0][i % 2]).collect();
        let curved = |t: f64| vec![(1.0 + t).powi(2); OUTPUTS];
        assert!(compare(curved, &weights, 0.0).error < 1e-9);
        for wrong in [0.01, -1e-3] {
            let result = compare(curved, &weights, wrong);
            assert!(result.error > 0.1 && result.central.abs() < 1e-6, "{result:?}");
        }
        // a kink among them leaves as much as it has
        let function = |t: f64| [curved(t), vec![t.max(0.0)]].concat();
        let weights = [weights, vec![1.0]].concat();
        for gradient in [0.0, 0.25, 1.0] {
            assert!(compare(function, &weights, gradient).error <= 1e-6);
        }
        for wrong in [1.01, -0.01] {
            assert!(compare(function, &weights, wrong).error > 1e-3);
        }
    }

    #[test]
    fn the_place_of_the_largest_error_is_said() {
        let function = |x: &[f64]| vec![x[0] * x[1], x[2] * x[2], x[3]];
        let x = [1.0, 2.0, 3.0, 4.0];
        let differences = Differences { y: &function(&x), weights: &[1.0, 0.5, 1.0], bound: 1e-6 };
        let compare = |gradient: [f64; 4]| {
            let tensor = Tensor { shape: &[2, 1, 2], gradient: &gradient, least: 1e-2, elements: 4 };
            differences.compare_tensor(&tensor, &mut Draw::new(0, 0), |moved, y| {
                *y = function(&std::array::from_fn::<_, 4, _>(|i| x[i] + moved(i)));
            })
        };
        let (error, of) = compare([2.0, 1.0, 3.0, 1.0]);
        assert!(error < 1e-9 && of.starts_with("4 of 4 elements, 2 directions, 0 on a kink"), "{error}, {of}");
        let (error, of) = compare([2.0, 1.0, -3.5, 1.0]);
        let place = "the largest at [1, 0, 0]: got -3.500000000, differences give 3.000000000";
        assert!(error > 1.0 && of.ends_with(place), "{of}");
    }

    #[test]
    fn outputs_that_are_no_numbers_agree_with_nothing() {
        for y in [f64::NAN, f64::INFINITY] {
            assert!(compare(|t| vec![if t == 0.0 { 0.0 } else { y }], &[1.0], 0.0).error > 1.0);
        }
    }
}
