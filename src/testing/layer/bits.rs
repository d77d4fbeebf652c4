//! What is checked to the last bit, in both types.

use super::LayerCheck;
use super::given::{Made, elements};
use super::whole::Whole;
use crate::layers::Layer;
use crate::scalar::Scalar;
use crate::testing::LayerRun;
use crate::testing::numbers::{Spacing, no_nan, of_f64, same_bits};
use crate::testing::report::{Found, attempt};
use crate::testing::threads::few_and_many;

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
            ("NaN", &|| self.not_a_number::<T>()),
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
        let predicted = elements(run.y());
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
            let made = Made::by(&mut run);
            others(made.y, &trained.y, "y")?;
            others(made.dx, &trained.dx, "dx")?;
            run.spoil();
            run.infer();
            others(elements(run.y()), &predicted, "y in prediction")?;
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
