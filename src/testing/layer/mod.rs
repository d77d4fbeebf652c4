//! Everything a layer owes, in one call.

mod bits;
mod given;
mod gradients;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

#[cfg(feature = "json")]
use serde::{Serialize, de::DeserializeOwned};

use super::numbers::snake_case;
use super::report::{Found, attempt};
use super::threads::{on_one_thread, on_several};
use super::{Failure, Report};
use crate::error::shape_text;
use crate::layers::{Layer, ParameterSpec, Phase, Plan, Scratch};
use crate::scalar::Scalar;

/// How exactly the sum of the gradients of single samples has to be that of the batch: rounding in `f64` only.
const SUM_BOUND: f64 = 1e-10;

/// Samples of the largest batch in which each sample is compared with itself alone.
const BATCHES: usize = 9;

/// Up to this, the scratch of every batch is compared.
const SCRATCH_BATCHES: usize = 1 << 10;

/// From there, that of batches around the powers of two up to this.
const LARGEST_SCRATCH_BATCH: usize = 1 << 16;

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
/// println!("{}", check_layer(Conv2D::new(4, 3).strides(2), [6, 7, 3])?);
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
/// | scratch | does not shrink when the batch grows: all batches up to 1,024, and those around powers of two up to 65,536 |
/// | all written | no NaN that was in `y`, `dx`, gradients, the next state or scratch is left or gets through |
/// | repeated | the same bits again, and after another batch |
/// | two forwards, one backward | the gradients are those of the second |
/// | dx on request | without it, the gradients have the same bits |
/// | prediction | the bits of the training pass, unless the layer draws random numbers |
/// | sample alone | the bits it has in its batch: in memory of its own, and in that of a larger batch |
/// | batches | in a batch of 2 to 9, in either memory, each sample's output and `dx` have the bits that they have alone |
/// | NaN and infinity | a sample whose `x` or `dy` is NaN, ∞ or −∞ changes no bit of the others' output and `dx` |
/// | NaN comes out | an element of `x` that is NaN makes every output NaN that it can change; one of `dy`, of `dx` and gradients |
/// | threads | the same bits on 1 and on 4 |
/// | gradient of … | of `x` and of each parameter, against differences in `f64`; see below |
/// | gradients add up | those of each parameter are the sums of those of single samples, within 10⁻¹⁰, in batches of 1 to 9 |
/// | f32 against f64 | output, and the gradient of `x` and of each parameter, in an odd batch and in an even one |
/// | round trip | if asked for by `round_trip`: written by serde and read, the layer is the same |
///
/// A panic fails the check within which it happens. Whatever speaks of bits is checked in both types. A sample alone
/// has other gradients of parameters than its batch; they are the same in either memory. A layer draws random numbers
/// if a training pass with another number gives another output; the checks that compare samples or passes then keep to
/// prediction.
///
/// # Gradients
///
/// The derivative of Σ dy·y is taken in the direction of up to 100 elements of each tensor, and in two random
/// directions through all of it, once for numbers that are all different and once for numbers of which many are equal
/// or zero. Central differences with a step of 10⁻⁴ are compared, relative to the gradient, to the root mean square of
/// the tensor's gradients, or to 0.01, whichever is largest. Where that does not look good, steps of 10⁻⁵ and 10⁻⁶ are
/// tried, for a kink of ReLU or of a maximum may lie within the step, and the best counts. Where none is within the
/// bound, the gradient must lie between the one-sided differences of the outputs that have a kink there; the report
/// counts such places.
///
/// # Parameters
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | [`batch`](Self::batch) | 3 | ≥ 1 | samples |
/// | [`seed`](Self::seed) | 0 | | of all numbers |
/// | [`inputs`](Self::inputs) | −1 to 1 | | the range that `x` is drawn from |
/// | [`parameters`](Self::parameters) | what initializers make, ± ½ | | the range that parameters are drawn from |
/// | [`elements`](Self::elements) | 100 | | elements of each tensor whose derivative is taken |
/// | [`gradient_bound`](Self::gradient_bound) | 10⁻⁶ | | largest relative error of a gradient in `f64` |
/// | [`f32_bound`](Self::f32_bound) | 10⁻⁵ | | largest error of `f32`, relative as above, but to at least 0.1 |
///
/// ```
/// use plywood::layers::Softmax;
/// use plywood::testing::LayerCheck;
///
/// let report = LayerCheck::new(Softmax::new(), [10]).batch(5).inputs(-8.0, 8.0).run()?;
/// assert_eq!(report.subject(), "softmax on 10, 5 samples, seed 0");
/// # Ok::<(), plywood::testing::Failure>(())
/// ```
#[derive(Debug, Clone)]
pub struct LayerCheck<L> {
    layer: L,
    samples: Vec<Vec<usize>>,
    batch: usize,
    seed: u64,
    inputs: [f64; 2],
    parameters: Option<[f64; 2]>,
    round_trip: Option<fn(&L) -> Found>,
    elements: usize,
    gradient_bound: f64,
    f32_bound: f64,
}

impl<L: Layer<f32> + Layer<f64> + Clone> LayerCheck<L> {
    /// A check for samples of this shape.
    pub fn new(layer: L, sample: impl Into<Vec<usize>>) -> Self {
        Self {
            layer,
            samples: vec![sample.into()],
            batch: 3,
            seed: 0,
            inputs: [-1.0, 1.0],
            parameters: None,
            round_trip: None,
            elements: 100,
            gradient_bound: 1e-6,
            f32_bound: 1e-5,
        }
    }

    /// Starts the check of a layer with any number of inputs, for samples of these shapes.
    pub fn with_inputs(layer: L, samples: impl IntoIterator<Item = Vec<usize>>) -> Self {
        Self { samples: samples.into_iter().collect(), ..Self::new(layer, []) }
    }

    /// Sets the number of samples.
    pub fn batch(self, batch: usize) -> Self {
        Self { batch: batch.max(1), ..self }
    }

    /// Sets the seed of all numbers.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets the range that inputs are drawn from, for a layer that is not defined everywhere. Differences are taken up
    /// to 10⁻⁴ outside of it.
    pub fn inputs(self, low: f64, high: f64) -> Self {
        Self { inputs: [low, high], ..self }
    }

    /// Sets the range that parameters are drawn from, whatever their initializers, for a layer with a logarithm or root
    /// of one. Differences are taken up to 10⁻⁴ outside of it.
    pub fn parameters(self, low: f64, high: f64) -> Self {
        Self { parameters: Some([low, high]), ..self }
    }

    /// Adds a check that the layer is the same after it was written by serde and read, as in a file of a model.
    ///
    /// ```
    /// use plywood::layers::Dense;
    /// use plywood::testing::LayerCheck;
    ///
    /// let report = LayerCheck::new(Dense::new(4), [7]).round_trip().run()?;
    /// assert!(report.checks().iter().any(|check| check.name == "round trip"));
    /// # Ok::<(), plywood::testing::Failure>(())
    /// ```
    #[cfg(feature = "json")]
    pub fn round_trip(self) -> Self
    where
        L: PartialEq + Serialize + DeserializeOwned,
    {
        let round_trip = |layer: &L| {
            let written = serde_json::to_string(layer).map_err(|error| error.to_string())?;
            match serde_json::from_str::<L>(&written) {
                Ok(read) if read == *layer => Ok(written),
                Ok(read) => Err(format!("{written} is read as {read:?}, expected {layer:?}")),
                Err(error) => Err(format!("{written} cannot be read: {error}")),
            }
        };
        Self { round_trip: Some(round_trip), ..self }
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
        on_several(|| self.check())
    }

    fn check(self) -> Result<Report, Failure> {
        let Self { batch, seed, .. } = self;
        let kind = Layer::<f64>::kind(&self.layer);
        let samples = if batch == 1 { "1 sample".to_owned() } else { format!("{batch} samples") };
        let shapes = self.samples.iter().map(|sample| shape_text(sample)).collect::<Vec<_>>().join(" and ");
        let mut report = Report::new(format!("{kind} on {shapes}, {samples}, seed {seed}"));
        if !report.note("plan", || self.plan()) {
            return report.finish();
        }
        report.note("hostile shapes", || self.hostile_shapes());
        report.note("scratch", || self.scratch::<f32>().and(self.scratch::<f64>()));

        // if it panics here, it does so in the checks that follow
        let draws = attempt(|| Ok(self.draws_random_numbers())).unwrap_or(false);
        report.note_both("", self.bits::<f32>(draws), self.bits::<f64>(draws));
        on_one_thread(|| self.gradients(&mut report));
        if !draws && !self.mixes_samples() {
            report.measure("gradients add up", SUM_BOUND, || self.gradients_add_up());
        }
        report.measure("f32 against f64", self.f32_bound, || self.f32_against_f64());
        if let Some(round_trip) = self.round_trip {
            report.note("round trip", || round_trip(&self.layer));
        }
        report.finish()
    }

    /// What is laid out for a model of it has to be what it plans, in both types and whenever it is asked.
    fn plan(&self) -> Found {
        let layer = &self.layer;
        let plan = planned(&Layer::<f64>::plan(layer, &self.shapes()))?;
        let again = planned(&Layer::<f64>::plan(layer, &self.shapes()))?;
        let f32_plan = planned(&Layer::<f32>::plan(layer, &self.shapes()))?;
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
        let run = self.run_of::<f64>(1).map_err(|error| error.to_string())?;
        let outputs = (0..run.output_count()).map(|i| shape_text(&run.output(i).shape()[1..])).collect::<Vec<_>>();
        let entries = run.layout().entries().iter();
        let parameters = entries.map(|entry| {
            let name = entry.name().split_once('/').map_or(entry.name(), |(_, name)| name);
            format!("{name} {}", shape_text(entry.shape()))
        });
        let parameters = parameters.collect::<Vec<_>>().join(", ");
        let parameters = if parameters.is_empty() { "no parameters" } else { &parameters };
        Ok(format!("output {}; {parameters}", outputs.join(" and ")))
    }

    /// Whether in training a sample's output depends on its batch.
    fn mixes_samples(&self) -> bool {
        self.run_of::<f64>(1).is_ok_and(|run| run.mixes_samples())
    }

    /// The shapes of a sample of each input.
    fn shapes(&self) -> Vec<&[usize]> {
        self.samples.iter().map(Vec::as_slice).collect()
    }

    /// Shapes of other ranks, and sizes whose products overflow.
    fn hostile_shapes(&self) -> Found {
        let rank = self.samples[0].len();
        let shapes = [vec![], vec![2; rank + 1], vec![usize::MAX; rank], vec![1 << 31; rank], vec![1; rank]];
        for shape in &shapes {
            for count in [0, 1, 2, self.samples.len()] {
                let inputs = vec![&shape[..]; count];
                attempt(|| {
                    let _ = Layer::<f32>::plan(&self.layer, &inputs);
                    let _ = Layer::<f64>::plan(&self.layer, &inputs);
                    Ok(())
                })
                .map_err(|problem| format!("for {count} inputs of shape {}, plan {problem}", shape_text(shape)))?;
            }
        }
        Ok(format!("{} shapes of up to {} inputs, no panic", shapes.len(), self.samples.len().max(2)))
    }

    fn scratch<T: Scalar>(&self) -> Found
    where
        L: Layer<T>,
    {
        let run = self.run_of::<T>(1).map_err(|error| error.to_string())?;
        let powers = || std::iter::successors(Some(2 * SCRATCH_BATCHES), |power| Some(2 * power));
        let powers = || powers().take_while(|&power| power <= LARGEST_SCRATCH_BATCH);
        let batches = || (1..=SCRATCH_BATCHES).chain(powers().flat_map(|power| power - 1..=power + 1));
        for phase in [Phase::Inference, Phase::Training] {
            let mut least = Scratch::default();
            for batch in batches() {
                let now = run.scratch(batch, phase);
                if now.values < least.values || now.indices < least.indices {
                    return Err(format!("{batch} samples need {now:?}, fewer {least:?} ({phase:?})"));
                }
                least = now;
            }
        }
        Ok(format!("never less for a larger batch, up to {LARGEST_SCRATCH_BATCH} samples"))
    }
}

/// What can be compared of a plan.
#[derive(Debug, PartialEq)]
struct Planned {
    outputs: Vec<Vec<usize>>,
    parameters: Vec<ParameterSpec>,
    multiply_adds: usize,
    mixes_samples: bool,
}

fn planned<T: Scalar>(plan: &crate::Result<Plan<T>>) -> Result<Planned, String> {
    let plan = plan.as_ref().map_err(|error| error.to_string())?;
    Ok(Planned {
        outputs: plan.outputs().to_vec(),
        parameters: plan.parameters().to_vec(),
        multiply_adds: plan.multiply_adds,
        mixes_samples: plan.mixes_samples,
    })
}
