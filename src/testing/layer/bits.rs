//! What is checked to the last bit, in both types.

use super::LayerCheck;
use super::given::Made;
use crate::layers::Layer;
use crate::scalar::Scalar;
use crate::testing::numbers::{Spacing, no_nan, same_bits};
use crate::testing::report::{Found, attempt};
use crate::testing::threads::few_and_many;

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
    pub(super) fn bits<T: Scalar>(&self, draws: bool) -> [(&'static str, Found); 8]
    where
        L: Layer<T>,
    {
        let checks: [(_, &dyn Fn() -> Found); 8] = [
            ("all written", &|| self.all_written::<T>()),
            ("repeated", &|| self.repeated::<T>()),
            ("two forwards, one backward", &|| self.two_forwards::<T>()),
            ("dx on request", &|| self.dx_on_request::<T>()),
            ("prediction", &|| self.prediction::<T>(draws)),
            ("sample alone", &|| self.sample_alone::<T>(draws)),
            ("NaN", &|| self.not_a_number::<T>()),
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
        let (given, mixes) = (self.given(0, Spacing::Free), self.mixes_samples());
        let mut run = self.loaded::<T>(&given);
        let trained = Made::by(&mut run);
        run.spoil();
        run.infer();
        let predicted = run.collect_outputs();
        // of the parameters, for each sample: not those of the batch, but the same in either memory
        let mut gradients: Vec<Vec<T>> = vec![];
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
                same_bits(&name, &run.collect_outputs(), &of_sample(&predicted))?;
                if !draws && !mixes {
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

    /// With a sample that is NaN, the others have the bits that they have without.
    fn not_a_number<T: Scalar>(&self) -> Found
    where
        L: Layer<T>,
    {
        if self.batch == 1 {
            return Ok("needs two samples".to_owned());
        }
        let mut run = self.loaded::<T>(&self.given(0, Spacing::Free));
        let trained = Made::by(&mut run);
        run.spoil();
        run.infer();
        let predicted = run.collect_outputs();
        for sample in [0, self.batch - 1] {
            let others = |mut got: Vec<T>, expected: &[T], what: &str| {
                let len = got.len() / self.batch;
                let own = sample * len..(sample + 1) * len;
                got[own.clone()].copy_from_slice(&expected[own]);
                same_bits(&format!("with sample {sample} NaN, {what}"), &got, expected)
            };
            let mut given = self.given(0, Spacing::Free);
            let len = given.x.len() / self.batch;
            given.x[sample * len..][..len].fill(f64::NAN);
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
        Ok("stays with its sample".to_owned())
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
