//! What is checked to the last bit, in both types.

use super::LayerCheck;
use super::given::{Made, elements};
use super::whole::Whole;
use crate::layers::Layer;
use crate::scalar::Scalar;
use crate::testing::LayerRun;
use crate::testing::numbers::{Spacing, no_nan, same_bits};
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
    pub(super) fn bits<T: Scalar>(&self, draws: bool) -> [(&'static str, Result<String, String>); 8]
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
            ("in one piece", self.in_one_piece::<T>()),
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
    /// A model computes the parts of a layer that splits, others may call the layer itself.
    fn in_one_piece<T: Scalar>(&self) -> Result<String, String>
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
}
