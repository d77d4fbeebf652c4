//! What is checked to the last bit, in both types.

use super::given::{Given, Made, elements};
use super::whole::Whole;
use super::{BATCHES, LayerCheck};
use crate::layers::Layer;
use crate::scalar::Scalar;
use crate::testing::LayerRun;
use crate::testing::numbers::{Draw, Spacing, float, no_nan, of_f64, same_bits};
use crate::testing::report::{Found, attempt};
use crate::testing::threads::few_and_many;

/// What is computed, with its name.
type Results<T> = Vec<(&'static str, Vec<T>)>;

/// Elements of a tensor that are NaN, one after the other.
const NAN_ELEMENTS: usize = 16;

impl<L: Layer<f32> + Layer<f64> + Clone> LayerCheck<L> {
    pub(super) fn draws_random_numbers(&self) -> bool {
        let mut run = self.loaded::<f64>(&self.given(0, Spacing::Free));
        run.forward();
        let y = run.y().to_owned();
        run.set_training_number(1);
        run.forward();
        run.y() != y
    }

    /// What is checked to the last bit.
    pub(super) fn bits<T: Scalar>(&self, draws: bool) -> [(&'static str, Found); 12]
    where
        L: Layer<T>,
    {
        let checks: [(_, &dyn Fn() -> Found); 12] = [
            ("all written", &|| self.all_written::<T>()),
            ("repeated", &|| self.repeated::<T>()),
            ("two forwards, one backward", &|| self.two_forwards::<T>()),
            ("dx on request", &|| self.dx_on_request::<T>()),
            ("prediction", &|| self.prediction::<T>(draws)),
            ("sample alone", &|| self.sample_alone::<T>(draws)),
            ("batches", &|| self.batches::<T>(draws)),
            ("NaN and infinity", &|| self.not_finite::<T>()),
            ("NaN comes out", &|| self.nan_comes_out::<T>()),
            ("threads", &|| self.threads::<T>()),
            ("in one piece", &|| self.in_one_piece::<T>()),
            ("only reshapes", &|| self.only_reshapes::<T>()),
        ];
        checks.map(|(name, check)| (name, attempt(check)))
    }

    fn all_written<T: Scalar>(&self) -> Found
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

    fn repeated<T: Scalar>(&self) -> Found
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

    fn two_forwards<T: Scalar>(&self) -> Found
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

    fn dx_on_request<T: Scalar>(&self) -> Found
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

    fn prediction<T: Scalar>(&self, draws: bool) -> Found
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

    fn sample_alone<T: Scalar>(&self, draws: bool) -> Found
    where
        L: Layer<T>,
    {
        let given = self.given(0, Spacing::Free);
        let mut run = self.loaded::<T>(&given);
        let trained = Made::by(&mut run);
        run.spoil();
        run.infer();
        let predicted = elements(run.y());
        // of the parameters, for each sample: not those of the batch, but the same in either memory
        let mut gradients: Vec<Vec<T>> = vec![];
        for (in_own_memory, mut run) in [(true, self.run_of::<T>(1).expect("the shape was planned")), (false, run)] {
            let place = if in_own_memory { "in memory of its own" } else { "in the memory of its batch" };
            run.set_batch(1).expect("there is room for one");
            for sample in 0..self.batch {
                given.sample(sample).load(&mut run);
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
                    if in_own_memory {
                        gradients.push(made.gradients);
                    } else {
                        let name = format!("of sample {sample} alone {place}, gradients");
                        same_bits(&name, &made.gradients, &gradients[sample])?;
                    }
                }
            }
        }
        Ok("as in its batch".to_owned())
    }

    /// In a batch of any size, each sample has the bits it has alone.
    fn batches<T: Scalar>(&self, draws: bool) -> Found
    where
        L: Layer<T>,
    {
        let given = self.given_for(BATCHES, 4, Spacing::Free);
        let run_of = |batch| self.run_of::<T>(batch).expect("the shape was planned");
        // what is computed for a batch: its name, and how it is cut
        let pass = |run: &mut LayerRun<T>| {
            let made = Made::by(run);
            run.spoil();
            run.infer();
            let mut results = vec![("y in prediction", elements(run.y()))];
            // random numbers are those of a place in the batch
            results.extend((!draws).then_some([("y", made.y), ("dx", made.dx)]).into_iter().flatten());
            results
        };
        let mut one = run_of(1);
        let alone = (0..BATCHES).map(|sample| {
            given.sample(sample).load(&mut one);
            pass(&mut one)
        });
        let alone: Vec<_> = alone.collect();
        let mut largest = run_of(BATCHES);
        for batch in (2..=BATCHES).rev() {
            largest.set_batch(batch).map_err(|error| error.to_string())?;
            let mut own = run_of(batch);
            for (run, place) in [(&mut own, "memory of its own"), (&mut largest, "that of a larger one")] {
                given.samples(0..batch).load(run);
                for (result, (name, got)) in pass(run).into_iter().enumerate() {
                    let expected: Vec<T> = alone[..batch].iter().flat_map(|alone| alone[result].1.clone()).collect();
                    same_bits(&format!("in a batch of {batch}, in {place}, {name}"), &got, &expected)?;
                }
            }
        }
        Ok(format!("as alone, in any of up to {BATCHES} samples"))
    }

    /// With a sample that is not finite, the others have the bits that they have without.
    fn not_finite<T: Scalar>(&self) -> Found
    where
        L: Layer<T>,
    {
        if self.batch == 1 {
            return Ok("needs two samples".to_owned());
        }
        let given = self.given(0, Spacing::Free);
        let mut run = self.loaded::<T>(&given);
        let trained = Made::by(&mut run);
        run.spoil();
        run.infer();
        let predicted = elements(run.y());
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for (sample, of) in [0, self.batch - 1].into_iter().flat_map(|sample| [(sample, "x"), (sample, "dy")]) {
                let others = |mut got: Vec<T>, expected: &[T], what: &str| {
                    let len = got.len() / self.batch;
                    let own = sample * len..(sample + 1) * len;
                    got[own.clone()].copy_from_slice(&expected[own]);
                    same_bits(&format!("with {of} of sample {sample} {value}, {what}"), &got, expected)
                };
                let mut given = given.clone();
                let values = if of == "x" { &mut given.x } else { &mut given.dy };
                let len = values.len() / self.batch;
                values[sample * len..][..len].fill(value);
                given.load(&mut run);
                let made = Made::by(&mut run);
                others(made.y, &trained.y, "y")?;
                others(made.dx, &trained.dx, "dx")?;
                run.spoil();
                run.infer();
                others(elements(run.y()), &predicted, "y in prediction")?;
            }
        }
        Ok("stay with their sample".to_owned())
    }

    /// What a number can change is NaN where the number is: outputs for the input, `dx` and gradients for `dy`.
    fn nan_comes_out<T: Scalar>(&self) -> Found
    where
        L: Layer<T>,
    {
        let given = self.given_for(1, 5, Spacing::Free);
        let mut run = self.run_of::<T>(1).expect("the shape was planned");
        let mut of_x = |x: &[f64]| {
            Given { x: x.to_vec(), ..given.clone() }.load(&mut run);
            let y = Made::by(&mut run).y;
            run.spoil();
            run.infer();
            vec![("y", y), ("y in prediction", elements(run.y()))]
        };
        self.nan_of("x", &given.x, self.inputs, &mut of_x)?;
        let mut of_dy = |dy: &[f64]| {
            Given { dy: dy.to_vec(), ..given.clone() }.load(&mut run);
            let made = Made::by(&mut run);
            vec![("dx", made.dx), ("gradients", made.gradients)]
        };
        self.nan_of("dy", &given.dy, [-1.0, 1.0], &mut of_dy)?;
        Ok("of y where x is NaN, of dx and gradients where dy is".to_owned())
    }

    /// The same for some elements of a tensor, one after the other, within the range that its numbers are from.
    fn nan_of<T: Scalar>(
        &self,
        what: &str,
        values: &[f64],
        [low, high]: [f64; 2],
        results: &mut dyn FnMut(&[f64]) -> Results<T>,
    ) -> Result<(), String> {
        let before = results(values);
        let mut draw = Draw::new(self.seed, 6);
        let mut values = values.to_vec();
        for i in draw.indices(values.len(), NAN_ELEMENTS) {
            let was = values[i];
            let mut with = |value| {
                values[i] = value;
                results(&values)
            };
            // the ends, for an element that counts only where it is the largest
            let moved = [low, high, draw.number([low, high])].map(&mut with);
            let spoiled = with(f64::NAN);
            values[i] = was;
            for (result, (name, got)) in spoiled.iter().enumerate() {
                let changes = |j: &usize| {
                    let here = |results: &Results<T>| float(results[result].1[*j]).to_bits();
                    moved.iter().any(|moved| here(moved) != here(&before))
                };
                if let Some(j) = (0..got.len()).filter(changes).find(|&j| !got[j].is_nan()) {
                    return Err(format!(
                        "with {what}[{i}] NaN, {name}[{j}] is {}, though it changes with that element",
                        got[j]
                    ));
                }
            }
        }
        Ok(())
    }

    fn threads<T: Scalar>(&self) -> Found
    where
        L: Layer<T>,
    {
        let given = self.given(0, Spacing::Free);
        let [(_, one), (many, others)] = few_and_many(|| Made::by(&mut self.loaded::<T>(&given)));
        others.same(&one, &format!("on {many} threads"))?;
        Ok(format!("the same on 1 and on {many}"))
    }

    /// A model computes the parts of a layer that splits, others may call the layer itself.
    fn in_one_piece<T: Scalar>(&self) -> Found
    where
        L: Layer<T>,
    {
        if Layer::<T>::split(&self.layer).is_none() {
            return Ok("does not split".to_owned());
        }
        let given = self.given(0, Spacing::Free);
        let parts = Made::by(&mut self.loaded::<T>(&given));
        let whole = Whole(self.layer.clone());
        let mut run = LayerRun::<T>::new(whole, &self.sample, self.batch, self.seed).expect("the shape was planned");
        given.load(&mut run);
        Made::by(&mut run).same(&parts, "in one piece")?;
        Ok("as in two parts".to_owned())
    }

    /// A model does not compute a layer that says it only reshapes.
    fn only_reshapes<T: Scalar>(&self) -> Found
    where
        L: Layer<T>,
    {
        if !Layer::<T>::only_reshapes(&self.layer) {
            return Ok("computes".to_owned());
        }
        let given = self.given(0, Spacing::Free);
        if !given.parameters.is_empty() {
            return Err(format!("has {} parameters", given.parameters.len()));
        }
        let made = Made::by(&mut self.loaded::<T>(&given));
        same_bits("y", &made.y, &of_f64(&given.x))?;
        same_bits("dx", &made.dx, &of_f64(&given.dy))?;
        Ok("x and dy come out as they are".to_owned())
    }
}
