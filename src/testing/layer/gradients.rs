//! What is compared with figures: gradients with differences, and `f32` with `f64`.

use std::ops::Range;

use super::LayerCheck;
use super::given::{Given, Made};
use crate::layers::Layer;
use crate::testing::differences::{Comparison, Differences};
use crate::testing::numbers::{Draw, Spacing, largest_error, root_mean_square};
use crate::testing::{LayerRun, Report};

/// Random directions through each tensor along which the derivative is taken, too.
const DIRECTIONS: usize = 2;

/// What a gradient is taken for at the least when errors are related to it. Differences of numbers of about 1 err by about
/// 10⁻⁹ with the first step, so smaller gradients could not be compared within 10⁻⁶ of themselves.
const LEAST: f64 = 1e-2;

/// The same for `f32`: with a bound of 10⁻⁵ it allows an absolute error of 10⁻⁶, some ten roundings of numbers of about 1.
const LEAST_F32: f64 = 0.1;

/// How exactly the sum of the gradients of single samples has to be that of the batch: rounding in `f64` only.
const SUM_BOUND: f64 = 1e-10;

impl<L: Layer<f32> + Layer<f64> + Clone> LayerCheck<L> {
    pub(super) fn gradients(&self, report: &mut Report) {
        for (stream, spacing, numbers) in [(2, Spacing::Free, ""), (3, Spacing::Coarse, ", with equal numbers")] {
            let given = self.given(stream, spacing);
            let mut run = self.loaded::<f64>(&given);
            let made = Made::by(&mut run);
            let entries = run.layout().entries().to_vec();
            let x = ("x", None);
            let parameters = entries.iter().map(|entry| (entry.name(), Some(entry.range())));
            for (tensor, (name, place)) in std::iter::once(x).chain(parameters).enumerate() {
                let mut draw = Draw::new(self.seed, 1000 * stream + tensor as u64);
                let name = name.rsplit('/').next().unwrap_or_default();
                let (error, of) = self.gradient(place, &given, &made, &mut run, &mut draw);
                report.measure(format!("gradient of {name}{numbers}"), error, self.gradient_bound, of);
            }
        }
    }

    /// The gradient of the parameters at a place, or of `x`.
    fn gradient(
        &self,
        place: Option<Range<usize>>,
        given: &Given,
        made: &Made<f64>,
        run: &mut LayerRun<f64>,
        draw: &mut Draw,
    ) -> (f64, String) {
        let (start, gradient) = match &place {
            Some(place) => (&given.parameters[place.clone()], &made.gradients[place.clone()]),
            None => (&*given.x, &*made.dx),
        };
        let mut outputs = |moved: &dyn Fn(usize) -> f64, outputs: &mut Vec<f64>| {
            let moved = start.iter().enumerate().map(|(i, start)| start + moved(i));
            match &place {
                Some(place) => run.parameters_mut()[place.clone()].iter_mut().zip(moved).for_each(|(to, p)| *to = p),
                None => run.x_mut().iter_mut().zip(moved).for_each(|(to, x)| *to = x),
            }
            run.forward();
            outputs.clear();
            outputs.extend(run.y());
        };
        let differences = Differences { y: &made.y, weights: &given.dy, bound: self.gradient_bound };
        let typical = root_mean_square(gradient.iter().copied()).max(LEAST);

        let indices = draw.indices(gradient.len(), self.elements);
        let mut results: Vec<(String, Comparison)> = vec![];
        for &i in &indices {
            let result = differences.compare(gradient[i], typical, |step, y| {
                outputs(&|j| if i == j { step } else { 0.0 }, y);
            });
            results.push((format!("at element {i}"), result));
        }
        for _ in 0..DIRECTIONS {
            let direction = draw.numbers(gradient.len(), [-1.0, 1.0], Spacing::Free);
            let along = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
            let result = differences.compare(along, typical * length, |step, y| outputs(&|j| step * direction[j], y));
            results.push(("in a random direction".to_owned(), result));
        }
        outputs(&|_| 0.0, &mut vec![]);

        let kinks = results.iter().filter(|(_, result)| result.kink).count();
        let of =
            format!("{} of {} elements, {DIRECTIONS} directions, {kinks} on a kink", indices.len(), gradient.len());
        match results.iter().max_by(|(_, a), (_, b)| a.error.total_cmp(&b.error)) {
            Some((place, worst)) if worst.error > 0.0 => (worst.error, format!("{of}, the largest {place}")),
            _ => (0.0, of),
        }
    }

    pub(super) fn gradients_add_up(&self, report: &mut Report) {
        let given = self.given(0, Spacing::Fine);
        let whole = Made::by(&mut self.loaded::<f64>(&given));
        let mut sum = vec![0.0; whole.gradients.len()];
        let mut run = self.run_of::<f64>(1).expect("the shape was planned");
        for sample in 0..self.batch {
            given.sample(sample, self.batch).load(&mut run);
            let made = Made::by(&mut run);
            sum.iter_mut().zip(&made.gradients).for_each(|(sum, gradient)| *sum += gradient);
        }
        let error = largest_error(&whole.gradients, &sum, LEAST);
        let of = format!("{} gradients over {} samples", sum.len(), self.batch);
        report.measure("gradients add up", error, SUM_BOUND, of);
    }

    pub(super) fn f32_against_f64(&self, report: &mut Report) {
        let given = self.given(0, Spacing::Fine);
        let (narrow, wide) = (Made::by(&mut self.loaded::<f32>(&given)), Made::by(&mut self.loaded::<f64>(&given)));
        let errors = [
            ("y", largest_error(&narrow.y, &wide.y, LEAST_F32)),
            ("dx", largest_error(&narrow.dx, &wide.dx, LEAST_F32)),
            ("gradients", largest_error(&narrow.gradients, &wide.gradients, LEAST_F32)),
        ];
        let worst = errors.iter().fold(0.0, |worst: f64, (_, error)| worst.max(*error));
        let of = errors.map(|(name, error)| format!("{name} {error:.1e}")).join(", ");
        report.measure("f32 against f64", worst, self.f32_bound, of);
    }
}
