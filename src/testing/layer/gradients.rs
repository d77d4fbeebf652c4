//! What is compared with figures: gradients with differences, and `f32` with `f64`.

use std::ops::Range;

use super::LayerCheck;
use super::given::{Given, Made};
use crate::layers::{Layer, Role};
use crate::testing::differences::{Differences, Tensor};
use crate::testing::numbers::{Draw, Spacing, largest_error};
use crate::testing::report::{Found, attempt};
use crate::testing::{LayerRun, Report};

/// What a gradient is taken for at the least when errors are related to it. Differences of numbers of about 1 err by about
/// 10⁻⁹ with the first step, so smaller gradients could not be compared within 10⁻⁶ of themselves.
const LEAST: f64 = 1e-2;

/// The same for `f32`: with a bound of 10⁻⁵ it allows an absolute error of 10⁻⁶, some ten roundings of numbers of about 1.
const LEAST_F32: f64 = 0.1;

impl<L: Layer<f32> + Layer<f64> + Clone> LayerCheck<L> {
    pub(super) fn gradients(&self, report: &mut Report) {
        for (stream, spacing, numbers) in [(2, Spacing::Free, ""), (3, Spacing::Coarse, ", with equal numbers")] {
            let start = attempt(|| {
                let given = self.given(stream, spacing);
                let mut run = self.loaded::<f64>(&given);
                let made = Made::by(&mut run);
                Ok((given, run, made))
            });
            let (given, mut run, made) = match start {
                Ok(start) => start,
                Err(problem) => {
                    report.note(format!("gradients{numbers}"), || Err(problem));
                    continue;
                }
            };
            let x = (Place { range: None, shape: self.input_shape(&run) }, "x".to_owned());
            let trainable = run.layout().entries().iter().filter(|entry| entry.role() == Role::Trainable);
            let parameters = trainable.map(|entry| {
                let place = Place { range: Some(entry.range()), shape: entry.shape().to_vec() };
                (place, last_part(entry.name()).to_owned())
            });
            let tensors: Vec<_> = std::iter::once(x).chain(parameters).collect();
            for (tensor, (place, name)) in tensors.into_iter().enumerate() {
                let mut draw = Draw::new(self.seed, 1000 * stream + tensor as u64);
                report.measure(format!("gradient of {name}{numbers}"), self.gradient_bound, || {
                    Ok(self.gradient(&place, &given, &made, &mut run, &mut draw))
                });
            }
        }
    }

    fn gradient(
        &self,
        Place { range, shape }: &Place,
        given: &Given,
        made: &Made<f64>,
        run: &mut LayerRun<f64>,
        draw: &mut Draw,
    ) -> (f64, String) {
        let (start, gradient) = match range {
            Some(range) => (&given.parameters[range.clone()], &made.gradients[range.clone()]),
            None => (&*given.x, &*made.dx),
        };
        let mut outputs = |moved: &dyn Fn(usize) -> f64, outputs: &mut Vec<f64>| {
            let moved = start.iter().enumerate().map(|(i, start)| start + moved(i));
            match range {
                Some(range) => run.parameters_mut()[range.clone()].iter_mut().zip(moved).for_each(|(to, p)| *to = p),
                None => run.load_inputs(moved),
            }
            run.forward();
            outputs.clear();
            outputs.extend(run.collect_outputs());
        };
        let differences = Differences { y: &made.y, weights: &given.dy, bound: self.gradient_bound };
        let tensor = Tensor { shape, gradient, least: LEAST, elements: self.elements };
        let result = differences.compare_tensor(&tensor, draw, &mut outputs);
        outputs(&|_| 0.0, &mut vec![]);
        result
    }
    /// The shape in which places in the input are told: of several inputs, a row for each sample.
    fn input_shape(&self, run: &LayerRun<f64>) -> Vec<usize> {
        match run.input_count() {
            1 => run.x().shape().to_vec(),
            _ => vec![run.batch(), run.lens()[0] / run.batch()],
        }
    }


    pub(super) fn gradients_add_up(&self) -> Found<(f64, String)> {
        let given = self.given(0, Spacing::Fine);
        let mut run = self.loaded::<f64>(&given);
        let whole = Made::by(&mut run);
        let layout = run.layout().clone();
        let tensors = || layout.entries().iter().filter(|entry| entry.role() == Role::Trainable);
        let mut sum = vec![0.0; whole.gradients.len()];
        let mut run = self.run_of::<f64>(1).expect("the shape was planned");
        for sample in 0..self.batch {
            given.sample(sample, self.batch).load(&mut run);
            let made = Made::by(&mut run);
            sum.iter_mut().zip(&made.gradients).for_each(|(sum, gradient)| *sum += gradient);
        }
        let (error, of) = largest(tensors().map(|entry| {
            (last_part(entry.name()), largest_error(&whole.gradients[entry.range()], &sum[entry.range()], LEAST))
        }));
        let of = if of.is_empty() { "no parameters" } else { &of };
        Ok((error, format!("{of}, over {} samples", self.batch)))
    }

    pub(super) fn f32_against_f64(&self) -> Found<(f64, String)> {
        let given = self.given(0, Spacing::Fine);
        let mut run = self.loaded::<f32>(&given);
        let (narrow, wide) = (Made::by(&mut run), Made::by(&mut self.loaded::<f64>(&given)));
        let error = |narrow: &[f32], wide: &[f64]| largest_error(narrow, wide, LEAST_F32);
        let trainable = run.layout().entries().iter().filter(|entry| entry.role() == Role::Trainable);
        let parameters = trainable.map(|entry| {
            (last_part(entry.name()), error(&narrow.gradients[entry.range()], &wide.gradients[entry.range()]))
        });
        Ok(largest(
            [("y", error(&narrow.y, &wide.y)), ("dx", error(&narrow.dx, &wide.dx))].into_iter().chain(parameters),
        ))
    }
}

/// Where a tensor is: at a range of the parameters, or `x`.
#[derive(Debug)]
struct Place {
    range: Option<Range<usize>>,
    shape: Vec<usize>,
}

/// `kernel` of `conv2d/kernel`
fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

/// The largest error, and the words for all: each tensor is measured by itself, or a large one would hide a small one.
fn largest<'a>(errors: impl Iterator<Item = (&'a str, f64)>) -> (f64, String) {
    let errors: Vec<_> = errors.collect();
    let of: Vec<_> = errors.iter().map(|(name, error)| format!("{name} {error:.1e}")).collect();
    (errors.iter().fold(0.0, |largest, (_, error)| largest.max(*error)), of.join(", "))
}
