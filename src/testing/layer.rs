//! Everything a layer owes, in one call.

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::differences::{Comparison, Differences};
use super::numbers::{Draw, Spacing, largest_error, no_nan, of_f64, root_mean_square, same_bits, snake_case};
use super::threads::{few_and_many, on_one_thread};
use super::{Failure, LayerRun, Report};
use crate::error::shape_text;
use crate::layers::{Layer, Phase, Plan, Scratch};
use crate::scalar::Scalar;

/// Random directions through each tensor along which the derivative is taken, too.
const DIRECTIONS: usize = 2;

/// What a gradient is taken for at the least when errors are related to it. Differences of numbers of about 1 err by about
/// 10⁻⁹ with the first step, so smaller gradients could not be compared within 10⁻⁶ of themselves.
const LEAST: f64 = 1e-2;

/// The same for `f32`: with a bound of 10⁻⁵ it allows an absolute error of 10⁻⁶, some ten roundings of numbers of about 1.
const LEAST_F32: f64 = 0.1;

/// How exactly the sum of the gradients of single samples has to be that of the batch: rounding in `f64` only.
const SUM_BOUND: f64 = 1e-10;

/// Batches whose scratch is compared.
const SCRATCH_BATCHES: usize = 70;

/// Runs a layer through everything it owes, for samples of this shape. See [`LayerCheck`], which has settings.
///
/// # Errors
///
/// The report, if anything is not as it should be.
///
/// ```
/// use plywood::layers::Conv2D;
/// use plywood::testing::check_layer;
///
/// let report = check_layer(Conv2D::new(4, 3).strides(2), [6, 7, 3])?;
/// assert!(report.largest_error("gradient") < 1e-6);
/// # Ok::<(), plywood::testing::Failure>(())
/// ```
pub fn check_layer<L>(layer: L, sample: impl Into<Vec<usize>>) -> Result<Report, Failure>
where
    L: Layer<f32> + Layer<f64> + Clone,
{
    LayerCheck::new(layer, sample).run()
}

/// A check of a layer against the contract of [`Layer`].
///
/// | what is checked | how |
/// |---|---|
/// | plan | the same for `f32` and `f64`, and when asked again; names in snake case, no two parameters of one name |
/// | hostile shapes | `plan` refuses or takes them, and does not panic |
/// | scratch | does not shrink when the batch grows, up to 70 samples |
/// | all written | no NaN that was in `y`, `dx`, gradients or scratch is left or gets through |
/// | repeated | the same bits again, and after another batch |
/// | two forwards, one backward | the gradients are those of the second |
/// | dx on request | without it, the gradients have the same bits |
/// | prediction | the bits of the training pass, unless the layer draws random numbers |
/// | sample alone | the bits it has in its batch: in memory of its own, and in that of a larger batch |
/// | threads | the same bits on 1 and on 4 |
/// | gradient of … | of `x` and of each parameter, against differences in `f64`; see below |
/// | gradients add up | those of parameters are the sums of those of single samples, within 10⁻¹⁰ |
/// | f32 against f64 | output and all gradients |
///
/// Whatever speaks of bits is checked in both types. A layer draws random numbers if a training pass with another number
/// gives another output; the checks that compare samples or passes then keep to prediction.
///
/// # Gradients
///
/// The derivative of Σ dy·y is taken in the direction of up to 100 elements of each tensor, and in two random directions
/// through all of it, once for numbers that are all different and once for numbers of which many are equal or zero.
/// Central differences with a step of 10⁻⁴ are compared, relative to the gradient, to the root mean square of the
/// tensor's gradients, or to 0.01, whichever is largest. Where that does not look good, steps of 10⁻⁵ and 10⁻⁶ are tried,
/// for a kink of ReLU or of a maximum may lie within the step, and the best counts. Where none is within the bound, the
/// gradient must lie between the one-sided differences, output by output; the report counts such places.
///
/// # Parameters
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | [`batch`](Self::batch) | 3 | ≥ 1 | samples |
/// | [`seed`](Self::seed) | 0 | | of all numbers |
/// | [`inputs`](Self::inputs) | −1 to 1 | | the range that `x` is drawn from |
/// | [`elements`](Self::elements) | 100 | | elements of each tensor whose derivative is taken |
/// | [`gradient_bound`](Self::gradient_bound) | 10⁻⁶ | | largest relative error of a gradient in `f64` |
/// | [`f32_bound`](Self::f32_bound) | 10⁻⁵ | | largest error of `f32`, relative as above, but to at least 0.1 |
///
/// Parameters are what the layer's initializers make them, and up to ½ more or less.
///
/// ```
/// use plywood::layers::Softmax;
/// use plywood::testing::LayerCheck;
///
/// println!("{}", LayerCheck::new(Softmax::new(), [10]).batch(5).inputs(-8.0, 8.0).run()?);
/// # Ok::<(), plywood::testing::Failure>(())
/// ```
#[derive(Debug, Clone)]
pub struct LayerCheck<L> {
    layer: L,
    sample: Vec<usize>,
    batch: usize,
    seed: u64,
    inputs: [f64; 2],
    elements: usize,
    gradient_bound: f64,
    f32_bound: f64,
}

/// What the layer is given.
#[derive(Debug)]
struct Given {
    x: Vec<f64>,
    parameters: Vec<f64>,
    dy: Vec<f64>,
}

/// What the layer makes of it.
#[derive(Debug)]
struct Made<T> {
    y: Vec<T>,
    dx: Vec<T>,
    gradients: Vec<T>,
}

impl<L: Layer<f32> + Layer<f64> + Clone> LayerCheck<L> {
    /// A check for samples of this shape.
    pub fn new(layer: L, sample: impl Into<Vec<usize>>) -> Self {
        Self {
            layer,
            sample: sample.into(),
            batch: 3,
            seed: 0,
            inputs: [-1.0, 1.0],
            elements: 100,
            gradient_bound: 1e-6,
            f32_bound: 1e-5,
        }
    }

    /// Sets the number of samples.
    pub fn batch(self, batch: usize) -> Self {
        Self { batch: batch.max(1), ..self }
    }

    /// Sets the seed of all numbers.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets the range that inputs are drawn from, for a layer that is not defined everywhere.
    pub fn inputs(self, low: f64, high: f64) -> Self {
        Self { inputs: [low, high], ..self }
    }

    /// Sets how many elements of each tensor have their derivative taken: fewer for a layer so large that it would take
    /// long.
    pub fn elements(self, count: usize) -> Self {
        Self { elements: count, ..self }
    }

    /// Sets the largest relative error that a gradient may have in `f64`.
    pub fn gradient_bound(self, bound: f64) -> Self {
        Self { gradient_bound: bound, ..self }
    }

    /// Sets how far, relatively, `f32` may be from `f64`.
    pub fn f32_bound(self, bound: f64) -> Self {
        Self { f32_bound: bound, ..self }
    }

    /// Checks.
    ///
    /// # Errors
    ///
    /// The report, if anything is not as it should be.
    pub fn run(self) -> Result<Report, Failure> {
        let Self { batch, seed, .. } = self;
        let kind = Layer::<f64>::kind(&self.layer);
        let samples = if batch == 1 { "1 sample".to_owned() } else { format!("{batch} samples") };
        let mut report = Report::new(format!("{kind} on {}, {samples}, seed {seed}", shape_text(&self.sample)));
        let plan = match self.plan() {
            Ok(plan) => plan,
            Err(problem) => {
                report.note("plan", Err(problem));
                return report.finish();
            }
        };
        report.note("plan", Ok(plan_text(&plan)));
        report.note("hostile shapes", self.hostile_shapes());
        report.note("scratch", self.scratch::<f32>().and(self.scratch::<f64>()));

        let draws = self.draws_random_numbers();
        for ((name, narrow), (_, wide)) in self.bits::<f32>(draws).into_iter().zip(self.bits::<f64>(draws)) {
            let narrow = narrow.map_err(|problem| format!("f32: {problem}"));
            report.note(name, narrow.and(wide.map_err(|problem| format!("f64: {problem}"))));
        }
        on_one_thread(|| self.gradients(&mut report));
        if !draws {
            let (error, of) = self.gradients_add_up();
            report.measure("gradients add up", error, SUM_BOUND, of);
        }
        let (error, of) = self.f32_against_f64();
        report.measure("f32 against f64", error, self.f32_bound, of);
        report.finish()
    }

    fn plan(&self) -> Result<Plan, String> {
        let (layer, sample) = (&self.layer, &*self.sample);
        let plan = Layer::<f64>::plan(layer, sample).map_err(|error| error.to_string())?;
        let again = Layer::<f64>::plan(layer, sample).map_err(|error| error.to_string())?;
        let f32_plan = Layer::<f32>::plan(layer, sample).map_err(|error| error.to_string())?;
        if plan != again {
            return Err(format!("asked again, the layer plans {again:?} in place of {plan:?}"));
        }
        if plan != f32_plan {
            return Err(format!("for f32 the layer plans {f32_plan:?}, for f64 {plan:?}"));
        }
        snake_case("the kind", Layer::<f64>::kind(layer))?;
        if Layer::<f32>::kind(layer) != Layer::<f64>::kind(layer) {
            return Err("the kind depends on the number type".to_owned());
        }
        let mut names = BTreeSet::new();
        for spec in &plan.parameters {
            snake_case("the parameter", spec.name)?;
            if !names.insert(spec.name) {
                return Err(format!("there are two parameters {:?}", spec.name));
            }
        }
        // what a model computes is what the layer splits in, if it does
        let run = self.run_of::<f64>(1).map_err(|error| error.to_string())?;
        let planned: Vec<_> = plan.parameters.iter().map(|spec| spec.shape.as_slice()).collect();
        let laid_out: Vec<_> = run.layout().entries().iter().map(|entry| entry.shape()).collect();
        if planned != laid_out {
            return Err(format!("the parts of the layer have parameters of shapes {laid_out:?}, it plans {planned:?}"));
        }
        if run.y().shape()[1..] != plan.output {
            return Err(format!("the parts of the layer put out {:?}, it plans {:?}", run.y().shape(), plan.output));
        }
        if plan.output.contains(&0) {
            return Err(format!("samples of shape {} come out", shape_text(&plan.output)));
        }
        Ok(plan)
    }

    /// Shapes of other ranks, and sizes whose products overflow.
    fn hostile_shapes(&self) -> Result<String, String> {
        let rank = self.sample.len();
        let shapes = [vec![], vec![2; rank + 1], vec![usize::MAX; rank], vec![1 << 31; rank], vec![1; rank]];
        for shape in &shapes {
            catch_unwind(AssertUnwindSafe(|| {
                let _ = Layer::<f32>::plan(&self.layer, shape);
                let _ = Layer::<f64>::plan(&self.layer, shape);
            }))
            .map_err(|_| format!("plan panics for samples of shape {}", shape_text(shape)))?;
        }
        Ok(format!("{} shapes, no panic", shapes.len()))
    }

    fn scratch<T: Scalar>(&self) -> Result<String, String>
    where
        L: Layer<T>,
    {
        for phase in [Phase::Inference, Phase::Training] {
            let mut least = Scratch::default();
            for batch in 1..=SCRATCH_BATCHES {
                let now = Layer::<T>::scratch(&self.layer, &self.sample, batch, phase);
                if now.values < least.values || now.indices < least.indices {
                    return Err(format!("{batch} samples need {now:?}, one sample less {least:?} ({phase:?})"));
                }
                least = now;
            }
        }
        Ok(format!("never less for a larger batch, up to {SCRATCH_BATCHES} samples"))
    }

    fn run_of<T: Scalar>(&self, batch: usize) -> crate::Result<LayerRun<T>>
    where
        L: Layer<T>,
    {
        LayerRun::new(self.layer.clone(), &self.sample, batch, self.seed)
    }

    /// A run for the whole batch, loaded.
    fn loaded<T: Scalar>(&self, given: &Given) -> LayerRun<T>
    where
        L: Layer<T>,
    {
        let mut run = self.run_of(self.batch).expect("the shape was planned");
        given.load(&mut run);
        run
    }

    /// Input, parameters and output gradient; each `stream` has others.
    fn given(&self, stream: u64, spacing: Spacing) -> Given {
        let mut draw = Draw::new(self.seed, stream);
        let run = self.run_of::<f64>(self.batch).expect("the shape was planned");
        let parameters = run.parameters().iter();
        // off what initializers make them, or zeros would hide what they are multiplied by
        let parameters = parameters.map(|&p| spacing.round(p + draw.number([-0.5, 0.5]), 0.0)).collect();
        let x = draw.numbers(run.x().len(), self.inputs, spacing);
        let dy_spacing = if spacing == Spacing::Coarse { Spacing::Fine } else { spacing };
        Given { x, parameters, dy: draw.numbers(run.y().len(), [-1.0, 1.0], dy_spacing) }
    }

    fn draws_random_numbers(&self) -> bool {
        let mut run = self.loaded::<f64>(&self.given(0, Spacing::Free));
        run.forward();
        let y = run.y().to_owned();
        run.set_training_number(1);
        run.forward();
        run.y() != y
    }

    /// What is checked to the last bit.
    fn bits<T: Scalar>(&self, draws: bool) -> [(&'static str, Result<String, String>); 7]
    where
        L: Layer<T>,
    {
        [
            ("all written", self.all_written::<T>()),
            ("repeated", self.repeated::<T>()),
            ("two forwards, one backward", self.two_forwards::<T>()),
            ("dx on request", self.dx_on_request::<T>()),
            ("prediction", self.prediction::<T>(draws)),
            ("sample alone", self.sample_alone::<T>(draws)),
            ("threads", self.threads::<T>()),
        ]
    }

    fn all_written<T: Scalar>(&self) -> Result<String, String>
    where
        L: Layer<T>,
    {
        let mut run = self.loaded::<T>(&self.given(0, Spacing::Free));
        let made = Made::by(&mut run);
        no_nan("y", &made.y)?;
        no_nan("dx", &made.dx)?;
        no_nan("gradients", &made.gradients)?;
        run.spoil();
        run.infer();
        no_nan("y in prediction", &elements(run.y()))?;
        Ok("y, dx and the gradients".to_owned())
    }

    fn repeated<T: Scalar>(&self) -> Result<String, String>
    where
        L: Layer<T>,
    {
        let (given, other) = (self.given(0, Spacing::Free), self.given(1, Spacing::Free));
        let mut run = self.loaded::<T>(&given);
        let first = Made::by(&mut run);
        Made::by(&mut run).same(&first, "again")?;
        other.load(&mut run);
        Made::by(&mut run);
        given.load(&mut run);
        Made::by(&mut run).same(&first, "after another batch")?;
        Ok("at once, and after another batch".to_owned())
    }

    fn two_forwards<T: Scalar>(&self) -> Result<String, String>
    where
        L: Layer<T>,
    {
        let (given, other) = (self.given(0, Spacing::Free), self.given(1, Spacing::Free));
        let mut run = self.loaded::<T>(&given);
        let expected = Made::by(&mut run);
        other.load(&mut run);
        run.spoil();
        run.forward();
        // no spoiling in between: what the first pass has left in the scratch is there
        given.load(&mut run);
        run.forward();
        run.backward(true);
        Made::of(&run).same(&expected, "after two forward passes")?;
        Ok("the gradients of the second".to_owned())
    }

    fn dx_on_request<T: Scalar>(&self) -> Result<String, String>
    where
        L: Layer<T>,
    {
        let mut run = self.loaded::<T>(&self.given(0, Spacing::Free));
        let expected = Made::by(&mut run);
        run.spoil();
        run.forward();
        run.backward(false);
        same_bits("without dx, gradients", run.gradients(), &expected.gradients)?;
        Ok("without it the same gradients".to_owned())
    }

    fn prediction<T: Scalar>(&self, draws: bool) -> Result<String, String>
    where
        L: Layer<T>,
    {
        if draws {
            return Ok("another output than in training, where random numbers are drawn".to_owned());
        }
        let mut run = self.loaded::<T>(&self.given(0, Spacing::Free));
        let trained = Made::by(&mut run);
        run.spoil();
        run.infer();
        same_bits("in prediction, y", &elements(run.y()), &trained.y)?;
        Ok("the output of a training pass".to_owned())
    }

    fn sample_alone<T: Scalar>(&self, draws: bool) -> Result<String, String>
    where
        L: Layer<T>,
    {
        let given = self.given(0, Spacing::Free);
        let mut run = self.loaded::<T>(&given);
        let trained = Made::by(&mut run);
        run.spoil();
        run.infer();
        let predicted = elements(run.y());
        for (in_own_memory, mut run) in [(true, self.run_of::<T>(1).expect("the shape was planned")), (false, run)] {
            let place = if in_own_memory { "in memory of its own" } else { "in the memory of its batch" };
            run.set_batch(1);
            for sample in 0..self.batch {
                given.sample(sample, self.batch).load(&mut run);
                let of_sample = |values: &[T]| {
                    let len = values.len() / self.batch;
                    values[sample * len..][..len].to_vec()
                };
                run.spoil();
                run.infer();
                let name = format!("of sample {sample} alone {place}, y");
                same_bits(&name, &elements(run.y()), &of_sample(&predicted))?;
                if !draws {
                    let made = Made::by(&mut run);
                    same_bits(&format!("{name} in training"), &made.y, &of_sample(&trained.y))?;
                    same_bits(&format!("of sample {sample} alone {place}, dx"), &made.dx, &of_sample(&trained.dx))?;
                }
            }
        }
        Ok("as in its batch".to_owned())
    }

    fn threads<T: Scalar>(&self) -> Result<String, String>
    where
        L: Layer<T>,
    {
        let given = self.given(0, Spacing::Free);
        let [(_, one), (many, others)] = few_and_many(|| Made::by(&mut self.loaded::<T>(&given)));
        others.same(&one, &format!("on {many} threads"))?;
        Ok(format!("the same on 1 and on {many}"))
    }

    fn gradients(&self, report: &mut Report) {
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

    fn gradients_add_up(&self) -> (f64, String) {
        let given = self.given(0, Spacing::Fine);
        let whole = Made::by(&mut self.loaded::<f64>(&given));
        let mut sum = vec![0.0; whole.gradients.len()];
        let mut run = self.run_of::<f64>(1).expect("the shape was planned");
        for sample in 0..self.batch {
            given.sample(sample, self.batch).load(&mut run);
            let made = Made::by(&mut run);
            sum.iter_mut().zip(&made.gradients).for_each(|(sum, gradient)| *sum += gradient);
        }
        (largest_error(&whole.gradients, &sum, LEAST), format!("{} gradients over {} samples", sum.len(), self.batch))
    }

    fn f32_against_f64(&self) -> (f64, String) {
        let given = self.given(0, Spacing::Fine);
        let (narrow, wide) = (Made::by(&mut self.loaded::<f32>(&given)), Made::by(&mut self.loaded::<f64>(&given)));
        let errors = [
            ("y", largest_error(&narrow.y, &wide.y, LEAST_F32)),
            ("dx", largest_error(&narrow.dx, &wide.dx, LEAST_F32)),
            ("gradients", largest_error(&narrow.gradients, &wide.gradients, LEAST_F32)),
        ];
        let worst = errors.iter().fold(0.0, |worst: f64, (_, error)| worst.max(*error));
        (worst, errors.map(|(name, error)| format!("{name} {error:.1e}")).join(", "))
    }
}

impl Given {
    /// Loads a run with these numbers.
    fn load<T: Scalar>(&self, run: &mut LayerRun<T>) {
        run.x_mut().iter_mut().zip(&self.x).for_each(|(to, &from)| *to = T::of(from));
        run.dy_mut().iter_mut().zip(&self.dy).for_each(|(to, &from)| *to = T::of(from));
        run.parameters_mut().copy_from_slice(&of_f64::<T>(&self.parameters));
    }

    /// One of the samples by itself.
    fn sample(&self, sample: usize, batch: usize) -> Self {
        let of_sample = |values: &[f64]| {
            let len = values.len() / batch;
            values[sample * len..][..len].to_vec()
        };
        Self { x: of_sample(&self.x), dy: of_sample(&self.dy), parameters: self.parameters.clone() }
    }
}

impl<T: Scalar> Made<T> {
    /// Spoils everything, and runs both passes.
    fn by(run: &mut LayerRun<T>) -> Self {
        run.spoil();
        run.forward();
        run.backward(true);
        Self::of(run)
    }

    fn of(run: &LayerRun<T>) -> Self {
        Self { y: elements(run.y()), dx: elements(run.dx()), gradients: run.gradients().to_vec() }
    }

    fn same(&self, expected: &Self, when: &str) -> Result<(), String> {
        same_bits(&format!("{when}, y"), &self.y, &expected.y)?;
        same_bits(&format!("{when}, dx"), &self.dx, &expected.dx)?;
        same_bits(&format!("{when}, gradients"), &self.gradients, &expected.gradients)
    }
}

fn elements<T: Scalar>(view: ndarray::ArrayViewD<'_, T>) -> Vec<T> {
    view.iter().copied().collect()
}

/// `output 5×4×4; kernel 3×3×3×4, bias 4`
fn plan_text(plan: &Plan) -> String {
    let parameters = plan.parameters.iter().map(|spec| format!("{} {}", spec.name, shape_text(&spec.shape)));
    let parameters = parameters.collect::<Vec<_>>().join(", ");
    let parameters = if parameters.is_empty() { "no parameters" } else { &parameters };
    format!("output {}; {parameters}", shape_text(&plan.output))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::Error;
    use crate::initializers::Initializer;
    use crate::layers::{Backward, Forward, ParameterSpec, ReLU, ScratchMut};

    /// What is wrong with a layer.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fault {
        None,
        TwoOfOneName,
        PanicOnHugeShapes,
        ShrinkingScratch,
        GradientNotWritten,
        GradientAddedUp,
        ScratchReadBeforeWritten,
        Forgetful,
        FirstForwardCounts,
        GradientOnlyWithDx,
        OtherInPrediction,
        DependsOnBatch,
        DependsOnThreads,
        WrongDx,
        WrongGradient,
        DyOfFirstSampleOnly,
        CoarseF32,
    }

    /// y = w·x², w being one number, and the input is kept in the scratch.
    #[derive(Debug, Clone)]
    struct Faulty {
        fault: Fault,
    }

    static CALLS: AtomicU64 = AtomicU64::new(0);

    impl<T: Scalar> Layer<T> for Faulty {
        fn kind(&self) -> &'static str {
            "faulty"
        }

        fn plan(&self, input: &[usize]) -> crate::Result<Plan> {
            if self.fault == Fault::PanicOnHugeShapes {
                assert!(input.iter().all(|&size| size < 1 << 20));
            }
            let &[features] = input else { return Err(Error::layer("faulty", "needs vectors")) };
            let w = ParameterSpec::new("w", [1], Initializer::Ones);
            let plan = Plan::new([features]).parameter(w.clone());
            Ok(if self.fault == Fault::TwoOfOneName { plan.parameter(w) } else { plan })
        }

        fn scratch(&self, input: &[usize], batch: usize, _: Phase) -> Scratch {
            let batch = if self.fault == Fault::ShrinkingScratch { 64 - batch % 64 } else { batch };
            Scratch { values: input.iter().product::<usize>() * batch, indices: 1 }
        }

        fn forward(&self, mut pass: Forward<'_, T>) {
            let w = pass.parameters.split_slices::<1>()[0][0];
            let ScratchMut { values, indices } = pass.scratch;
            let few = T::of(1e-3);
            let extra = match self.fault {
                Fault::ScratchReadBeforeWritten => values[0],
                Fault::Forgetful => few * T::of(CALLS.fetch_add(1, Ordering::Relaxed) as f64),
                Fault::OtherInPrediction if pass.training.is_none() => few,
                Fault::DependsOnBatch => pass.x.mean().unwrap(),
                Fault::DependsOnThreads => T::of(rayon::current_num_threads() as f64),
                Fault::CoarseF32 if T::NAME == f32::NAME => few,
                _ => T::zero(),
            };
            for ((y, &x), value) in pass.y.iter_mut().zip(&pass.x).zip(values) {
                *y = w * x * x + extra;
                if self.fault != Fault::FirstForwardCounts || indices[0] == u32::MAX {
                    *value = x;
                }
            }
            indices[0] = 0;
        }

        fn backward(&self, mut pass: Backward<'_, T>) {
            let w = pass.parameters.split_slices::<1>()[0][0];
            let xs = &pass.scratch.values[..pass.x.len()];
            let squares: T = xs.iter().zip(&pass.dy).map(|(&x, &dy)| x * x * dy).sum();
            let first = pass.x.shape()[1];
            let of_first: T = xs.iter().zip(&pass.dy).take(first).map(|(&x, &dy)| x * x * dy).sum();
            let [gradient, ..] = pass.gradients.split_slices::<1>();
            match self.fault {
                Fault::GradientNotWritten => {}
                Fault::GradientAddedUp => gradient[0] += squares,
                Fault::GradientOnlyWithDx if pass.dx.is_none() => gradient[0] = T::zero(),
                Fault::WrongGradient => gradient[0] = squares * T::of(1.00001),
                Fault::DyOfFirstSampleOnly => gradient[0] = of_first,
                _ => gradient[0] = squares,
            }
            if let Some(dx) = &mut pass.dx {
                for ((dx, &x), &dy) in dx.iter_mut().zip(xs).zip(&pass.dy) {
                    *dx = T::of(2.0) * w * x * dy;
                }
                if self.fault == Fault::WrongDx {
                    *dx.last_mut().unwrap() *= T::of(1.00001);
                }
            }
        }
    }

    fn failed(fault: Fault) -> Vec<String> {
        let result = LayerCheck::new(Faulty { fault }, [3]).batch(2).run();
        result.map_or_else(|failure| failure.failed().map(|check| check.name.clone()).collect(), |_| vec![])
    }

    #[test]
    fn every_fault_is_found() {
        assert_eq!(failed(Fault::None), [""; 0]);
        for (fault, check) in [
            (Fault::TwoOfOneName, "plan"),
            (Fault::PanicOnHugeShapes, "hostile shapes"),
            (Fault::ShrinkingScratch, "scratch"),
            (Fault::GradientNotWritten, "all written"),
            (Fault::GradientAddedUp, "all written"),
            (Fault::ScratchReadBeforeWritten, "all written"),
            (Fault::Forgetful, "repeated"),
            (Fault::FirstForwardCounts, "two forwards, one backward"),
            (Fault::GradientOnlyWithDx, "dx on request"),
            (Fault::OtherInPrediction, "prediction"),
            (Fault::DependsOnBatch, "sample alone"),
            (Fault::DependsOnThreads, "threads"),
            (Fault::WrongDx, "gradient of x"),
            (Fault::WrongGradient, "gradient of w"),
            (Fault::DyOfFirstSampleOnly, "gradients add up"),
            (Fault::CoarseF32, "f32 against f64"),
        ] {
            let failed = failed(fault);
            assert!(failed.iter().any(|name| name == check), "{fault:?}: {failed:?}");
        }
    }

    #[test]
    fn a_shape_that_the_layer_refuses_fails_the_plan() {
        let failure = check_layer(Faulty { fault: Fault::None }, [3, 3]).unwrap_err();
        assert_eq!(failure.report().checks().len(), 1);
        assert!(failure.to_string().ends_with("FAILED plan  faulty: needs vectors"), "{failure}");
    }

    #[test]
    fn a_layer_may_draw_random_numbers() {
        /// y = x where a bit of the pass's number is set, 0 elsewhere.
        #[derive(Debug, Clone)]
        struct Drop;

        impl<T: Scalar> Layer<T> for Drop {
            fn kind(&self) -> &'static str {
                "drop"
            }

            fn plan(&self, input: &[usize]) -> crate::Result<Plan> {
                Ok(Plan::new(input))
            }

            fn scratch(&self, _: &[usize], _: usize, _: Phase) -> Scratch {
                Scratch { values: 1, indices: 0 }
            }

            fn forward(&self, mut pass: Forward<'_, T>) {
                let bits = pass.training.map_or(u64::MAX, |number| number.wrapping_add(5));
                pass.scratch.values[0] = T::of(bits as f64);
                for (i, (y, &x)) in pass.y.iter_mut().zip(&pass.x).enumerate() {
                    *y = if bits >> (i % 3) & 1 == 1 { x } else { T::zero() };
                }
            }

            fn backward(&self, pass: Backward<'_, T>) {
                let bits = float(pass.scratch.values[0]) as u64;
                for (i, (dx, &dy)) in pass.dx.into_iter().flatten().zip(&pass.dy).enumerate() {
                    *dx = if bits >> (i % 3) & 1 == 1 { dy } else { T::zero() };
                }
            }
        }

        use super::super::numbers::float;
        let report = LayerCheck::new(Drop, [2]).run().unwrap();
        assert!(report.to_string().contains("another output than in training"), "{report}");
        assert!(report.checks().iter().all(|check| check.name != "gradients add up"));
    }

    #[test]
    fn settings_are_heeded() {
        let faulty = LayerCheck::new(Faulty { fault: Fault::WrongGradient }, [3]).gradient_bound(1e-4);
        faulty.run().unwrap();
        LayerCheck::new(Faulty { fault: Fault::CoarseF32 }, [3]).f32_bound(0.1).run().unwrap();
        // all inputs below zero: the output is 0, and so is dx, also with equal numbers
        let report = LayerCheck::new(ReLU::new(), [4]).batch(1).seed(7).inputs(-3.0, -1.0).run().unwrap();
        assert_eq!(report.subject(), "re_lu on 4, 1 sample, seed 7");
        assert_eq!(report.largest_error("gradient of x"), 0.0);
        assert!(report.to_string().contains(" 0 on a kink"), "{report}");
    }
}
