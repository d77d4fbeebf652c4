//! What is checked to the last bit, in both types.

use super::given::{Given, Made};
use super::{BATCHES, LayerCheck};
use crate::layers::Layer;
use crate::scalar::Scalar;
use crate::testing::LayerRun;
use crate::testing::numbers::{Draw, Spacing, float, no_nan, same_bits};
use crate::testing::report::{Found, attempt};
use crate::testing::threads::few_and_many;

/// Elements of a tensor that are NaN, one after the other.
const NAN_ELEMENTS: usize = 16;

/// What is computed, by name.
type Results<T> = Vec<(&'static str, Vec<T>)>;

impl<L: Layer<f32> + Layer<f64> + Clone> LayerCheck<L> {
    pub(super) fn draws_random_numbers(&self) -> bool {
        let mut run = self.loaded::<f64>(&self.given(0, Spacing::Free));
        run.forward();
        let y = run.collect_outputs();
        run.set_training_number(1);
        run.forward();
        run.collect_outputs() != y
    }

    /// What is checked to the last bit.
    pub(super) fn bits<T: Scalar>(&self, draws: bool) -> [(&'static str, Found); 10]
    where
        L: Layer<T>,
    {
        let checks: [(_, &dyn Fn() -> Found); 10] = [
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
        no_nan("the next state", &made.next_state)?;
        run.spoil();
        run.infer();
        no_nan("y in prediction", &run.collect_outputs())?;
        Ok("y, dx, the gradients and the next state".to_owned())
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
        if self.mixes_samples() {
            return Ok("another output than in training, where it depends on the batch".to_owned());
        }
        let mut run = self.loaded::<T>(&self.given(0, Spacing::Free));
        let trained = Made::by(&mut run);
        run.spoil();
        run.infer();
        same_bits("in prediction, y", &run.collect_outputs(), &trained.y)?;
        Ok("the output of a training pass".to_owned())
    }

    fn sample_alone<T: Scalar>(&self, draws: bool) -> Found
    where
        L: Layer<T>,
    {
        let trains_alone = !draws && !self.mixes_samples();
        let given = self.given(0, Spacing::Free);
        let mut run = self.loaded::<T>(&given);
        let trained = Made::by(&mut run);
        run.spoil();
        run.infer();
        let predicted = run.collect_outputs();
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
                same_bits(&name, &run.collect_outputs(), &of_sample(&predicted))?;
                if trains_alone {
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
        let trains_alone = !draws && !self.mixes_samples();
        let given = self.given_for(BATCHES, 4, Spacing::Free);
        let run_of = |batch| self.run_of::<T>(batch).expect("the shape was planned");
        // what is computed for a batch: its name, and how it is cut
        let pass = |run: &mut LayerRun<T>| {
            let made = Made::by(run);
            run.spoil();
            run.infer();
            let mut results = vec![("y in prediction", run.collect_outputs())];
            // random numbers are those of a place in the batch
            results.extend(trains_alone.then_some([("y", made.y), ("dx", made.dx)]).into_iter().flatten());
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
        let predicted = run.collect_outputs();
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
                if !self.mixes_samples() {
                    let made = Made::by(&mut run);
                    others(made.y, &trained.y, "y")?;
                    others(made.dx, &trained.dx, "dx")?;
                }
                run.spoil();
                run.infer();
                others(run.collect_outputs(), &predicted, "y in prediction")?;
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
            vec![("y", y), ("y in prediction", run.collect_outputs())]
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
                    let here = |results: &[(_, Vec<T>)]| float(results[result].1[*j]).to_bits();
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
}
