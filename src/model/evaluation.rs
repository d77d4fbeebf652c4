//! Loss and metrics of data that is not trained on.

use std::fmt;
use std::ops::Range;

use ndarray::Slice;

use super::gather::slice_targets;
use super::predictor::{Inputs, Outputs, is_small_prediction};
use super::sequential::Sequential;
use super::state::State;
use super::trainer::{Trainer, check_names, in_pool};
use super::workspace::{computed_stages, finish_softmax, mean};
use crate::data::{Batches, Dataset};
use crate::error::{Error, Result};
use crate::losses::{Loss, LossPass};
use crate::metrics::Metric;
use crate::scalar::Scalar;

/// The loss and metrics of data that was not trained on.
///
/// ```
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default()).metric(Accuracy::new());
/// trainer.fit(&data, &Fit::epochs(50))?;
/// let evaluation = trainer.evaluate(&data)?;
/// println!("{evaluation}");
/// assert!(evaluation.loss < 0.5);
/// assert_eq!(evaluation.get("accuracy"), Some(1.0));
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Mean loss of a sample.
    pub loss: f64,
    metrics: Vec<(String, f64)>,
}

impl Evaluation {
    /// The metric of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(known, _)| known == name).map(|&(_, value)| value)
    }

    /// All metrics, in the trainer's order.
    pub fn metrics(&self) -> &[(String, f64)] {
        &self.metrics
    }
}

/// `test loss 0.0653  test accuracy 0.9804`
impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "test loss {:.4}", self.loss)?;
        self.metrics.iter().try_for_each(|(name, value)| write!(f, "  test {name} {value:.4}"))
    }
}

impl<T: Scalar> Trainer<T> {
    /// Loss and metrics of data that is not trained on. In a callback after a batch, the metrics go on afterwards with what
    /// they have counted of the epoch.
    ///
    /// # Errors
    ///
    /// As [`train_step`](Self::train_step), but for a loss that is not finite, which is returned.
    /// [`Error::InvalidParameter`] within an epoch, if a metric has no [`state`](Metric::state) to go on from.
    pub fn evaluate(&mut self, data: &Dataset<T>) -> Result<Evaluation> {
        T::evaluate(self, data)
    }

    /// What [`evaluate`](Self::evaluate) does.
    pub(crate) fn evaluate_data(&mut self, data: &Dataset<T>) -> Result<Evaluation> {
        self.check_model()?;
        self.check("evaluate", data.inputs().shape(), &data.targets().view())?;
        let counted = if self.in_epoch && self.is_in_fit() { self.metric_states()? } else { vec![] };
        let evaluation = self.evaluate_samples(data, 0..data.len(), None);
        self.restore_metrics(&counted)?;
        evaluation
    }

    /// What the metrics have counted of an epoch.
    pub(super) fn metric_states(&self) -> Result<Vec<State>> {
        let states = self.metrics.iter().map(|metric| {
            metric.state().ok_or_else(|| {
                let expected = "Some within an epoch: implement it, use evaluate_with, or save at the end of an epoch";
                Error::invalid_parameter(metric.name(), "state", "None", expected)
            })
        });
        states.collect()
    }

    /// Lets the metrics count on from these states; none at all leave them as they are.
    pub(super) fn restore_metrics(&mut self, states: &[State]) -> Result<()> {
        self.metrics.iter_mut().zip(states).try_for_each(|(metric, state)| metric.restore(state))
    }

    /// Loss and any metrics, in place of the trainer's own: they can be asked for more than one figure afterwards.
    ///
    /// # Errors
    ///
    /// As [`evaluate`](Self::evaluate).
    ///
    /// ```
    /// use plywood::metrics::{Recall, TopKAccuracy};
    /// use plywood::ndarray::array;
    /// use plywood::prelude::*;
    ///
    /// let test = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
    /// let model = Sequential::input([1]).add(Dense::new(3)).add(Softmax::new()).build(42)?;
    /// let trainer = model.compile(RMSprop::default(), CategoricalCrossentropy::default());
    /// let (mut recall, mut top) = (Recall::new(), TopKAccuracy::new(2));
    /// println!("{}", trainer.evaluate_with(&test, &mut [&mut recall, &mut top])?);
    /// println!("{}", recall.per_class());
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn evaluate_with(&self, data: &Dataset<T>, metrics: &mut [&mut dyn Metric<T>]) -> Result<Evaluation> {
        let output = self.model.output_shape();
        let targets = data.targets().view().for_output(output);
        self.check("evaluate", data.inputs().shape(), &targets)?;
        metrics.iter().try_for_each(|metric| metric.check(output, &targets))?;
        check_names(metrics.iter().map(|metric| metric.name()))?;
        let (model, loss) = (&self.model, self.loss.as_ref());
        evaluate_batches(model, loss, data, 0..data.len(), None, metrics)
    }

    /// With the trainer's own metrics, on data that has been checked. A weight for each sample of the data weighs the loss.
    pub(super) fn evaluate_samples(
        &mut self,
        data: &Dataset<T>,
        samples: Range<usize>,
        weights: Option<&[T]>,
    ) -> Result<Evaluation> {
        let Self { model, loss, metrics, .. } = self;
        let mut borrowed: Vec<&mut dyn Metric<T>> = vec![];
        for metric in metrics {
            borrowed.push(metric.as_mut());
        }
        evaluate_batches(model, loss.as_ref(), data, samples, weights, &mut borrowed)
    }
}

/// On samples of data that has been checked.
fn evaluate_batches<T: Scalar>(
    model: &Sequential<T>,
    loss: &dyn Loss<T>,
    data: &Dataset<T>,
    samples: Range<usize>,
    weights: Option<&[T]>,
    metrics: &mut [&mut dyn Metric<T>],
) -> Result<Evaluation> {
    let (stages, from_logits) = computed_stages(model, loss);
    let batch_size = model.predict_batch().min(samples.len());
    let mut predictor = model.predictor(batch_size);
    let (input, output) = model.extents();
    let inputs = data.inputs().as_slice().expect("a data set's inputs are contiguous");
    let (mut y, mut losses) = (vec![T::zero(); output.len(batch_size)], vec![T::zero(); batch_size]);
    metrics.iter_mut().for_each(|metric| metric.reset());
    let mut sum = 0.0;
    for batch in Batches::new(samples.len(), batch_size)? {
        // nothing that is larger waits for the pool: see in_pool
        in_pool(is_small_prediction(model, batch.len()), || {
            let range = samples.start + batch.start..samples.start + batch.end;
            let slice = Slice::from(range.clone());
            let x = Inputs::Slice(&inputs[input.len(range.start)..input.len(range.end)]);
            predictor.predict_stages(stages, batch.len(), &x, &mut Outputs::Slice(&mut y[..output.len(batch.len())]));
            let targets = slice_targets(data.targets(), slice).for_output(model.output_shape());
            let losses = &mut losses[..batch.len()];
            loss.evaluate(LossPass {
                y: output.view(&y, batch.len()),
                from_logits,
                targets: targets.reborrow(),
                weights: weights.map(|weights| &weights[range]),
                losses: &mut *losses,
                dy: None,
            });
            sum += mean(losses) * batch.len() as f64;
            if from_logits && !metrics.is_empty() {
                finish_softmax(model, &mut y[..output.len(batch.len())]);
            }
            let predictions = output.view(&y, batch.len());
            metrics.iter_mut().for_each(|metric| metric.update(predictions.view(), &targets));
        });
    }
    let metrics = metrics.iter().map(|metric| (metric.name().to_owned(), metric.value())).collect();
    Ok(Evaluation { loss: sum / samples.len() as f64, metrics })
}
