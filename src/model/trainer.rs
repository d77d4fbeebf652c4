//! A model in training.

use std::fmt;
use std::time::Instant;

use ndarray::{ArrayRef, ArrayViewD, Axis, Dimension, IxDyn, Slice};

use super::fit::{Callback, Control, EpochEnd, Fit, Verbosity};
use super::history::History;
use super::sequential::Sequential;
use super::workspace::{Workspace, computed_stages};
use crate::data::{Batches, Dataset, Targets, TargetsView, epoch_order};
use crate::error::{Error, Result};
use crate::kernels::parallel::{Chunks, MIN_ELEMENTS, each_task};
use crate::losses::{Loss, LossPass};
use crate::metrics::Metric;
use crate::optimizers::{MAX_SLOTS, Optimizer, step as optimizer_pass};
use crate::scalar::Scalar;

/// A model with everything that only training needs: optimizer and its slots, loss, metrics, counters, working memory.
///
/// Loss and metrics of an epoch are means over its samples, of predictions made before each update, as in Keras.
///
/// ```
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// let x = array![[0.0_f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];
/// let data = Dataset::new(x.clone(), array![0_usize, 1, 1, 0])?;
/// let model = Sequential::input([2])
///     .add(Dense::new(16).activation(Activation::ReLU))
///     .add(Dense::new(2))
///     .add(Softmax::new())
///     .build(42)?;
/// let mut trainer = model.compile(RMSprop::new(0.01), CategoricalCrossentropy::default()).metric(Accuracy::new());
/// let history = trainer.fit(&data, &Fit::epochs(200).batch_size(4))?;
/// assert_eq!(history.last("accuracy"), Some(1.0));
/// assert_eq!(trainer.model().predict_classes(&x)?, array![0, 1, 1, 0]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug)]
pub struct Trainer<T: Scalar = f32> {
    model: Sequential<T>,
    optimizer: Box<dyn Optimizer<T>>,
    loss: Box<dyn Loss<T>>,
    metrics: Vec<Box<dyn Metric<T>>>,
    /// Gradients in the layout of the parameters.
    gradients: Vec<T>,
    slots: Vec<Vec<T>>,
    workspace: Option<Workspace<T>>,
    batch_targets: BatchTargets<T>,
    step: u64,
    epoch: usize,
}

/// The targets of a batch, gathered from all over the data set.
#[derive(Debug, Default)]
struct BatchTargets<T> {
    classes: Vec<usize>,
    values: Vec<T>,
}

/// The loss and metrics of data that was not trained on.
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
    pub(crate) fn new(model: Sequential<T>, optimizer: Box<dyn Optimizer<T>>, loss: Box<dyn Loss<T>>) -> Self {
        let parameters = model.parameter_count();
        Self {
            slots: vec![vec![T::zero(); parameters]; optimizer.slots().min(MAX_SLOTS)],
            gradients: vec![T::zero(); parameters],
            model,
            optimizer,
            loss,
            metrics: vec![],
            workspace: None,
            batch_targets: BatchTargets::default(),
            step: 0,
            epoch: 0,
        }
    }

    /// Adds a metric that `fit` and `evaluate` compute.
    pub fn metric(mut self, metric: impl Metric<T> + 'static) -> Self {
        self.metrics.push(Box::new(metric));
        self
    }

    /// The model as it is now.
    pub fn model(&self) -> &Sequential<T> {
        &self.model
    }

    /// The model as it is now, to change its parameters.
    pub fn model_mut(&mut self) -> &mut Sequential<T> {
        &mut self.model
    }

    /// Ends training and gives the model.
    pub fn into_model(self) -> Sequential<T> {
        self.model
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &dyn Optimizer<T> {
        self.optimizer.as_ref()
    }

    /// The optimizer, to change its learning rate.
    pub fn optimizer_mut(&mut self) -> &mut dyn Optimizer<T> {
        self.optimizer.as_mut()
    }

    /// Steps taken so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Epochs completed so far.
    pub fn epoch(&self) -> usize {
        self.epoch
    }

    /// The gradients of the last step, in the layout of the model's parameters.
    pub fn gradients(&self) -> &[T] {
        &self.gradients
    }

    /// One step on a batch of inputs `[n, …]`: forward, loss, backward, update. Returns the batch's mean loss, computed
    /// before the update. For who writes the loop by hand; [`fit`](Self::fit) does the same.
    ///
    /// # Errors
    ///
    /// [`Error::ArrayShape`], [`Error::LengthMismatch`], [`Error::Targets`], [`Error::LabelOutOfRange`],
    /// [`Error::Empty`] if the batch does not fit the model, [`Error::InvalidParameter`] if a setting of optimizer or loss
    /// is out of range, [`Error::NonFiniteLoss`] if the loss is not a number. No parameter has changed then.
    pub fn train_step<'t, D: Dimension>(
        &mut self,
        x: &ArrayRef<T, D>,
        targets: impl Into<TargetsView<'t, T>>,
    ) -> Result<f64> {
        let targets = targets.into();
        let batch = self.check("train_step", x.shape(), &targets)?;
        let x = x.view().into_dyn();
        self.ensure_workspace(batch);
        in_pool(|| {
            let workspace = self.workspace.as_mut().expect("just ensured");
            self.model.extents().0.view_mut(workspace.input_mut(), batch).assign(&x);
            self.step_on_workspace(batch, &targets, 1)
        })
    }

    /// Trains on all samples as often as asked, and tells how it went.
    ///
    /// # Errors
    ///
    /// As [`train_step`](Self::train_step); all data are checked before the first step.
    pub fn fit(&mut self, data: &Dataset<T>, fit: &Fit<'_, T>) -> Result<History> {
        self.fit_with(data, fit, &mut [])
    }

    /// The same, with callbacks that are told after each batch and epoch.
    ///
    /// # Errors
    ///
    /// As [`train_step`](Self::train_step); all data are checked before the first step.
    pub fn fit_with(
        &mut self,
        data: &Dataset<T>,
        fit: &Fit<'_, T>,
        callbacks: &mut [&mut dyn Callback<T>],
    ) -> Result<History> {
        for (parameter, value) in [("epochs", fit.epochs), ("batch_size", fit.batch_size)] {
            if value == 0 {
                return Err(Error::invalid_parameter("fit", parameter, value, "at least 1"));
            }
        }
        self.check("training inputs", data.inputs().shape(), &data.targets().view())?;
        if let Some(validation) = fit.validation {
            self.check("validation inputs", validation.inputs().shape(), &validation.targets().view())?;
        }
        self.ensure_workspace(fit.batch_size.min(data.len()));
        // the whole run within the thread pool: each step's tasks start without waking threads up from outside
        in_pool(|| self.run_epochs(data, fit, callbacks))
    }

    fn run_epochs(
        &mut self,
        data: &Dataset<T>,
        fit: &Fit<'_, T>,
        callbacks: &mut [&mut dyn Callback<T>],
    ) -> Result<History> {
        let mut history = History::new();
        let mut order: Vec<usize> = (0..data.len()).collect();
        for epoch in 1..=fit.epochs {
            let start = Instant::now();
            if fit.shuffle {
                epoch_order(&mut order, data.len(), self.model.seed(), self.epoch as u64);
            }
            let (loss, mut control) = self.run_batches(data, fit, &order, epoch, callbacks)?;
            self.epoch += 1;

            let mut figures = vec![("loss".to_owned(), loss)];
            figures.extend(self.metrics.iter().map(|metric| (metric.name().to_owned(), metric.value())));
            if let Some(validation) = fit.validation {
                let evaluation = self.evaluate(validation)?;
                figures.push(("val_loss".to_owned(), evaluation.loss));
                figures.extend(evaluation.metrics.into_iter().map(|(name, value)| (format!("val_{name}"), value)));
            }
            let values: Vec<(&str, f64)> = figures.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            let seconds = start.elapsed().as_secs_f64();
            history.push(epoch, seconds, &values);
            let end = EpochEnd { epoch, epochs: fit.epochs, seconds, values: &values };
            if fit.verbosity == Verbosity::Lines {
                println!("{}", end.line());
            }
            for callback in &mut *callbacks {
                if callback.epoch_end(self, &end) == Control::Stop {
                    control = Control::Stop;
                }
            }
            if control == Control::Stop {
                break;
            }
        }
        Ok(history)
    }

    /// The steps of one epoch; returns the mean loss of the samples seen.
    fn run_batches(
        &mut self,
        data: &Dataset<T>,
        fit: &Fit<'_, T>,
        order: &[usize],
        epoch: usize,
        callbacks: &mut [&mut dyn Callback<T>],
    ) -> Result<(f64, Control)> {
        self.metrics.iter_mut().for_each(|metric| metric.reset());
        let (mut sum, mut seen) = (0.0, 0);
        for (batch, range) in Batches::new(data.len(), fit.batch_size)?.enumerate() {
            let indices = &order[range];
            let loss = self.step_on_samples(data, indices, epoch, batch + 1)?;
            sum += loss * indices.len() as f64;
            seen += indices.len();
            let mut control = Control::Continue;
            for callback in &mut *callbacks {
                if callback.batch_end(self, batch + 1, loss) == Control::Stop {
                    control = Control::Stop;
                }
            }
            if control == Control::Stop {
                return Ok((sum / seen as f64, control));
            }
        }
        Ok((sum / seen as f64, Control::Continue))
    }

    /// One step on these samples of a data set that has been checked.
    fn step_on_samples(&mut self, data: &Dataset<T>, indices: &[usize], epoch: usize, batch: usize) -> Result<f64> {
        let workspace = self.workspace.as_mut().expect("made before the first epoch");
        let inputs = data.inputs().as_slice().expect("a data set's inputs are contiguous");
        gather(inputs, inputs.len() / data.len(), indices, workspace.input_mut());

        // the targets leave the trainer for as long as the step borrows it
        let mut gathered = std::mem::take(&mut self.batch_targets);
        let targets = gathered.gather(data.targets(), indices);
        let result = self.step_on_workspace(indices.len(), &targets, batch);
        if result.is_ok() && !self.metrics.is_empty() {
            let output = self.workspace.as_ref().expect("just used").output();
            let output = self.model.extents().1.view(output, indices.len());
            self.metrics.iter_mut().for_each(|metric| metric.update(output.clone(), &targets));
        }
        self.batch_targets = gathered;
        result.map_err(|error| match error {
            Error::NonFiniteLoss { loss, batch, .. } => Error::NonFiniteLoss { loss, epoch, batch },
            other => other,
        })
    }

    /// One step on inputs that lie in the workspace.
    fn step_on_workspace(&mut self, batch: usize, targets: &TargetsView<'_, T>, number: usize) -> Result<f64> {
        let Self { model, optimizer, loss, gradients, slots, workspace, step, epoch, .. } = self;
        let workspace = workspace.as_mut().expect("made before the first step");
        // a callback may have changed the learning rate
        optimizer.check()?;
        workspace.forward(model, batch, *step);
        let value = workspace.loss(model, loss.as_ref(), batch, targets, None);
        if !value.is_finite() {
            return Err(Error::NonFiniteLoss { loss: value, epoch: *epoch + 1, batch: number });
        }
        workspace.backward(model, batch, gradients);
        *step += 1;
        optimizer_pass(optimizer.as_ref(), *step, model.values_mut(), gradients, slots);
        Ok(value)
    }

    /// Loss and metrics of data that is not trained on.
    ///
    /// # Errors
    ///
    /// As [`train_step`](Self::train_step), but for a loss that is not finite, which is returned.
    pub fn evaluate(&mut self, data: &Dataset<T>) -> Result<Evaluation> {
        self.check("evaluate", data.inputs().shape(), &data.targets().view())?;
        in_pool(|| self.evaluate_batches(data))
    }

    fn evaluate_batches(&mut self, data: &Dataset<T>) -> Result<Evaluation> {
        let Self { model, loss, metrics, .. } = self;
        let (stages, from_logits) = computed_stages(model, loss.as_ref());
        let batch_size = model.predict_batch().min(data.len());
        let mut predictor = model.predictor(batch_size);
        let output = model.extents().1;
        let (mut y, mut losses) = (vec![T::zero(); output.len(batch_size)], vec![T::zero(); batch_size]);
        metrics.iter_mut().for_each(|metric| metric.reset());
        let mut sum = 0.0;
        for range in Batches::new(data.len(), batch_size)? {
            let batch = range.len();
            let slice = Slice::from(range);
            let x = data.inputs().slice_axis(Axis(0), slice);
            predictor.predict_stages(stages, x, output.view_mut(&mut y, batch))?;
            let targets = slice_targets(data.targets(), slice);
            let y = output.view(&y, batch);
            let losses = &mut losses[..batch];
            loss.evaluate(LossPass {
                y: y.view(),
                from_logits,
                targets: targets.reborrow(),
                weights: None,
                losses: &mut *losses,
                dy: None,
            });
            sum += super::workspace::mean(losses) * batch as f64;
            metrics.iter_mut().for_each(|metric| metric.update(y.clone(), &targets));
        }
        let metrics = metrics.iter().map(|metric| (metric.name().to_owned(), metric.value())).collect();
        Ok(Evaluation { loss: sum / data.len() as f64, metrics })
    }

    /// Whether data fit the model and the loss, and all settings are in their ranges; returns the number of samples.
    fn check(&self, what: &'static str, inputs: &[usize], targets: &TargetsView<'_, T>) -> Result<usize> {
        self.optimizer.check()?;
        if self.optimizer.slots() > MAX_SLOTS {
            let got = self.optimizer.slots();
            return Err(Error::invalid_parameter(self.optimizer.name(), "slots", got, "at most 4"));
        }
        let samples = self.model.check_input(what, inputs)?;
        if samples != targets.len() {
            return Err(Error::LengthMismatch { inputs: samples, what: "targets", targets: targets.len() });
        }
        if samples == 0 {
            return Err(Error::Empty("the batch"));
        }
        self.loss.check(self.model.output_shape(), targets)?;
        self.metrics.iter().try_for_each(|metric| metric.check(self.model.output_shape(), targets))?;
        Ok(samples)
    }

    fn ensure_workspace(&mut self, batch: usize) {
        if self.workspace.as_ref().is_none_or(|workspace| workspace.batch() < batch) {
            self.workspace = Some(Workspace::new(&self.model, self.loss.as_ref(), batch));
        }
    }
}

impl<T: Scalar> BatchTargets<T> {
    fn gather(&mut self, targets: &Targets<T>, indices: &[usize]) -> TargetsView<'_, T> {
        match targets {
            Targets::Classes(classes) => {
                self.classes.clear();
                self.classes.extend(indices.iter().map(|&i| classes[i]));
                TargetsView::Classes((&self.classes).into())
            }
            Targets::Values(values) => {
                self.values.clear();
                for &i in indices {
                    self.values.extend(values.index_axis(Axis(0), i).iter().copied());
                }
                let mut shape: IxDyn = values.raw_dim();
                shape[0] = indices.len();
                TargetsView::Values(
                    ArrayViewD::from_shape(shape, &self.values).expect("as many values as the shape has"),
                )
            }
        }
    }
}

/// The samples of these indices, one after the other.
fn gather<T: Scalar>(inputs: &[T], len: usize, indices: &[usize], batch: &mut [T]) {
    let samples = MIN_ELEMENTS.div_ceil(len.max(1));
    let batch = Chunks::new(&mut batch[..indices.len() * len], samples * len);
    each_task(0..indices.len().div_ceil(samples), batch, &|task, batch| {
        let indices = &indices[task * samples..];
        for (sample, &i) in batch.slice.chunks_exact_mut(len).zip(indices) {
            sample.copy_from_slice(&inputs[i * len..][..len]);
        }
    });
}

fn slice_targets<T: Scalar>(targets: &Targets<T>, slice: Slice) -> TargetsView<'_, T> {
    match targets {
        Targets::Classes(classes) => TargetsView::Classes(classes.slice_axis(Axis(0), slice)),
        Targets::Values(values) => TargetsView::Values(values.slice_axis(Axis(0), slice)),
    }
}

/// Runs work on a thread of rayon's pool, this one if it is one.
fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}
