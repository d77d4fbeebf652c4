//! A model in training.

use std::sync::{Arc, Weak};

use ndarray::{ArrayRef, Dimension};

use super::gather::Gathered;
use super::parameters::Layout;
use super::position::RunState;
#[cfg(feature = "safetensors")]
use super::position::{CheckpointRequest, Snapshot};
use super::predictor::Inputs;
use super::sequential::Sequential;
#[cfg(feature = "safetensors")]
use super::state::State;
use super::workspace::Workspace;
use crate::data::TargetsView;
use crate::error::{Error, Result};
use crate::kernels::parallel::{MIN_ELEMENTS, MIN_PASS};
use crate::losses::Loss;
use crate::metrics::Metric;
use crate::optimizers::{MAX_SLOTS, NonFinite, Optimizer, PIECE, Steps};
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
    pub(super) model: Sequential<T>,
    optimizer: Box<dyn Optimizer<T>>,
    pub(super) loss: Box<dyn Loss<T>>,
    pub(super) metrics: Vec<Box<dyn Metric<T>>>,
    /// Gradients in the layout of the parameters.
    gradients: Vec<T>,
    slots: Vec<Vec<T>>,
    steps: Steps<T>,
    pub(super) workspace: Option<Workspace<T>>,
    pub(super) gathered: Gathered<T>,
    step: u64,
    pub(super) epoch: usize,
    compiled: Compiled,
    /// The run that a checkpoint brought back, until `fit` goes on with it.
    pub(super) resumed: Option<RunState>,
    /// The epoch of the last run whose weights a callback has brought back.
    pub(crate) restored_epoch: Option<usize>,
    /// The call of `fit` that is at work, as long as there is one.
    pub(super) running: Weak<()>,
    /// Whether metrics have counted a part of an epoch.
    pub(super) in_epoch: bool,
    #[cfg(feature = "safetensors")]
    pub(super) requests: Vec<CheckpointRequest>,
}

/// What the trainer's buffers were made for.
#[derive(Debug)]
struct Compiled {
    identity: Arc<()>,
    input: Vec<usize>,
    output: Vec<usize>,
    layout: Layout,
}

impl<T: Scalar> Trainer<T> {
    pub(crate) fn new(model: Sequential<T>, optimizer: Box<dyn Optimizer<T>>, loss: Box<dyn Loss<T>>) -> Self {
        let parameters = model.parameter_count();
        Self {
            slots: vec![vec![T::zero(); parameters]; optimizer.slots().min(MAX_SLOTS)],
            steps: Steps::default(),
            gradients: vec![T::zero(); parameters],
            compiled: Compiled {
                identity: model.identity().clone(),
                input: model.input_shape().to_vec(),
                output: model.output_shape().to_vec(),
                layout: model.layout().clone(),
            },
            model,
            optimizer,
            loss,
            metrics: vec![],
            workspace: None,
            gathered: Gathered::default(),
            step: 0,
            epoch: 0,
            resumed: None,
            running: Weak::new(),
            restored_epoch: None,
            in_epoch: false,
            #[cfg(feature = "safetensors")]
            requests: vec![],
        }
    }

    /// The epoch of the last run whose weights were brought back when it ended, as
    /// [`EarlyStopping`](crate::callbacks::EarlyStopping) does; none if the weights are those after the last step.
    pub fn restored_epoch(&self) -> Option<usize> {
        self.restored_epoch
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

    /// The model as it is now, to change its parameters, or to put a copy or another model of the same architecture in its
    /// place; with one of other shapes, the next step is an error.
    pub fn model_mut(&mut self) -> &mut Sequential<T> {
        self.steps.forget();
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

    /// The loss.
    pub fn loss(&self) -> &dyn Loss<T> {
        self.loss.as_ref()
    }

    /// The metrics with what they have counted: in a callback after a batch, the samples of the epoch so far; after an
    /// epoch, all of its samples, or those of the validation data if there are any.
    pub fn metrics(&self) -> impl Iterator<Item = (&str, f64)> {
        self.metrics.iter().map(|metric| (metric.name(), metric.value()))
    }

    /// Steps taken so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Epochs completed so far.
    pub fn epoch(&self) -> usize {
        self.epoch
    }

    /// The gradients of the last step, or of one that was refused after them, in the layout of the model's parameters.
    pub fn gradients(&self) -> &[T] {
        &self.gradients
    }

    /// One step on a batch of inputs `[n, …]`: forward, loss, backward, update. Returns the batch's mean loss, computed
    /// before the update. For who writes the loop by hand; [`fit`](Self::fit) does the same.
    ///
    /// A warm step allocates nothing, however many axes `x` has, as long as it lies in one piece and row-major. What may
    /// still ask for memory: views of arrays of more than four axes, which are those of targets and outputs of such
    /// samples, of an `x` that does not lie in one piece, and what layers of other crates are handed; and, in a call from
    /// outside rayon's thread pool, the queue through which it is handed over, once in 63 times.
    ///
    /// # Errors
    ///
    /// [`Error::ArrayShape`], [`Error::LengthMismatch`], [`Error::Targets`], [`Error::LabelOutOfRange`],
    /// [`Error::Empty`] if the batch does not fit the model, [`Error::InvalidParameter`] if a setting of optimizer or loss
    /// is out of range, [`Error::NonFiniteLoss`] if the loss is not finite, [`Error::NonFiniteStep`] if a parameter or what
    /// the optimizer remembers would not be. Nothing of that has changed then.
    ///
    /// ```
    /// use plywood::ndarray::array;
    /// use plywood::prelude::*;
    ///
    /// let (x, t) = (array![[0.0], [1.0]], array![[1.0], [3.0]]);
    /// let mut trainer = Sequential::input([1]).add(Dense::new(1)).build(42)?.compile(SGD::new(0.5), MeanSquaredError);
    /// let first = trainer.train_step(&x, &t)?;
    /// for _ in 0..50 {
    ///     trainer.train_step(&x, &t)?;
    /// }
    /// assert!(trainer.train_step(&x, &t)? < first / 100.0);
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn train_step<'t, D: Dimension>(
        &mut self,
        x: &ArrayRef<T, D>,
        targets: impl Into<TargetsView<'t, T>>,
    ) -> Result<f64> {
        self.check_model()?;
        let targets = targets.into().for_output(self.model.output_shape());
        let batch = self.check("train_step", x.shape(), &targets)?;
        let x = Inputs::of(x);
        self.restored_epoch = None;
        self.ensure_workspace("train_step", batch)?;
        // what is gathered leaves the trainer for as long as the step borrows it
        let mut gathered = std::mem::take(&mut self.gathered);
        let targets = gathered.in_one_piece(&targets);
        let (loss, refusal) = in_pool(self.is_small_step(batch), || {
            let workspace = self.workspace.as_mut().expect("just ensured");
            x.copy_to(self.model.extents().0, batch, workspace.input_mut());
            self.step_on_workspace(batch, &targets, None, false)
        });
        self.gathered = gathered;
        // who writes the loop has no epochs that are known here: all steps are one
        let at = |refusal: Refusal| refusal.at(self.epoch + 1, self.step as usize + 1);
        refusal.map(at).map_or(Ok(loss), Err)
    }

    /// Whether a step on so many samples is over sooner than it could be handed over to the pool: nothing in it is cut into
    /// tasks.
    pub(super) fn is_small_step(&self, batch: usize) -> bool {
        let most = if self.model.parameter_count() <= PIECE { MIN_PASS } else { 0 };
        self.model.work().saturating_mul(batch) < most && self.model.extents().0.len(batch) < MIN_ELEMENTS
    }

    /// One step on inputs that lie in the workspace; returns the loss, and why the step was not taken if it was not. It is
    /// taken in any case if `regardless`.
    pub(super) fn step_on_workspace(
        &mut self,
        batch: usize,
        targets: &TargetsView<'_, T>,
        weights: Option<&[T]>,
        regardless: bool,
    ) -> (f64, Option<Refusal>) {
        let Self { model, optimizer, loss, gradients, slots, steps, workspace, step, .. } = self;
        let workspace = workspace.as_mut().expect("made before the first step");
        workspace.forward(model, batch, *step);
        let value = workspace.loss(model, loss.as_ref(), batch, targets, weights);
        if !value.is_finite() && !regardless {
            return (value, Some(Refusal::Loss(value)));
        }
        workspace.backward(model, batch, gradients);
        match steps.take(optimizer.as_ref(), *step + 1, model.values_mut(), gradients, slots, regardless) {
            Ok(()) => *step += 1,
            Err(element) => return (value, Some(self.refuse_step(element))),
        }
        (value, None)
    }

    /// Why a step is not taken that leads to this element.
    fn refuse_step(&self, NonFinite { index, slot, value }: NonFinite<T>) -> Refusal {
        let entries = self.model.layout().entries();
        let name = entries.iter().find(|entry| entry.range().contains(&index)).expect("the entries are all").name();
        let what = match slot {
            None => name.to_owned(),
            Some(_) => format!("{}'s memory of {name}", self.optimizer.name()),
        };
        let as_f64 = |value: T| value.to_f64().expect("f32 and f64 are f64s");
        Refusal::Step { what, value: as_f64(value), gradient: as_f64(self.gradients[index]) }
    }

    /// Whether `fit` is at work, so that callbacks are told.
    pub(crate) fn is_in_fit(&self) -> bool {
        self.running.strong_count() > 0
    }

    /// The call of `fit` that is at work.
    pub(crate) fn running(&self) -> Weak<()> {
        self.running.clone()
    }

    /// Whether this is the trainer that this call of `fit` began with: a callback may have put another in its place.
    pub(crate) fn check_running(&self, running: &Weak<()>) -> Result<()> {
        if self.running.ptr_eq(running) {
            return Ok(());
        }
        let got = "left with another trainer, which a callback has put in its place";
        Err(Error::invalid_parameter("trainer", "fit", got, "the same one; put a model into it with model_mut"))
    }

    /// Whether the model is one that the buffers fit: whoever has `model_mut` may have put another in its place.
    pub(crate) fn check_model(&mut self) -> Result<()> {
        let (model, compiled) = (&self.model, &mut self.compiled);
        if Arc::ptr_eq(&compiled.identity, model.identity()) {
            return Ok(());
        }
        if (model.input_shape(), model.output_shape()) != (&compiled.input, &compiled.output)
            || *model.layout() != compiled.layout
        {
            let expected =
                "one whose shapes and parameters are those of the model that was compiled; compile the other one";
            return Err(Error::invalid_parameter("trainer", "model", "one of another architecture", expected));
        }
        // the layers themselves may be others, with other working memory
        if let Some(old) = &self.workspace {
            self.workspace = Some(workspace(model, self.loss.as_ref(), "trainer", old.batch())?);
        }
        compiled.identity = model.identity().clone();
        Ok(())
    }

    /// Whether data fit the model and the loss, and all settings are in their ranges; returns the number of samples.
    pub(super) fn check(&self, what: &'static str, inputs: &[usize], targets: &TargetsView<'_, T>) -> Result<usize> {
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
        let output = self.model.output_shape();
        let targets = &targets.reborrow().for_output(output);
        self.loss.check(output, targets)?;
        self.metrics.iter().try_for_each(|metric| metric.check(output, targets))?;
        check_names(self.metrics.iter().map(|metric| metric.name()))?;
        Ok(samples)
    }

    /// Makes room for a batch, for `owner`.
    pub(super) fn ensure_workspace(&mut self, owner: &str, batch: usize) -> Result<()> {
        if self.workspace.as_ref().is_none_or(|workspace| workspace.batch() < batch) {
            self.workspace = Some(workspace(&self.model, self.loss.as_ref(), owner, batch)?);
        }
        Ok(())
    }
}

/// Why a step is not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The loss is not finite.
    Loss(f64),
    /// What the step leads to is not.
    Step { what: String, value: f64, gradient: f64 },
}

impl Refusal {
    /// The error that it is in this epoch and batch, both from 1.
    pub(super) fn at(self, epoch: usize, batch: usize) -> Error {
        match self {
            Self::Loss(loss) => Error::NonFiniteLoss { loss, epoch, batch },
            Self::Step { what, value, gradient } => Error::NonFiniteStep { what, value, gradient, epoch, batch },
        }
    }
}

/// The working memory of a batch, or an error where there is none.
fn workspace<T: Scalar>(model: &Sequential<T>, loss: &dyn Loss<T>, owner: &str, batch: usize) -> Result<Workspace<T>> {
    let too_large = || Error::TooLarge { owner: owner.to_owned(), what: "the working memory of a batch" };
    Workspace::new(model, loss, batch).ok_or_else(too_large)
}

/// Whether figures can be told apart by the names of their metrics, also from those that a history has of its own.
pub(crate) fn check_names<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
    for (i, name) in names.clone().enumerate() {
        let of_history = ["loss", "epoch", "seconds"].contains(&name) || name.starts_with("val_");
        if of_history || names.clone().take(i).any(|other| other == name) {
            let expected = "a name that no other metric has and that is none of a history's own: loss, epoch, seconds, \
                            val_…";
            return Err(Error::invalid_parameter("metrics", "name", format!("{name:?}"), expected));
        }
    }
    Ok(())
}

/// What checkpoints read and write.
#[cfg(feature = "safetensors")]
impl<T: Scalar> Trainer<T> {
    /// The optimizer's memory, in the layout of the model's parameters.
    pub(crate) fn slots(&self) -> &[Vec<T>] {
        &self.slots
    }

    /// The run that a checkpoint brought back and that `fit` has not gone on with yet.
    pub(crate) fn resumed(&self) -> Option<&RunState> {
        self.resumed.as_ref()
    }

    pub(crate) fn push_request(&mut self, request: CheckpointRequest) {
        self.requests.push(request);
    }

    /// The trainer as it is now, in such a run.
    pub(crate) fn snapshot_with(&self, run: Option<RunState>) -> Snapshot {
        Snapshot { learning_rate: self.optimizer.learning_rate(), step: self.step, epoch: self.epoch, run }
    }

    /// Whether there is a state for each metric, or for none, that it can count on from.
    pub(crate) fn check_metric_states(&mut self, states: &[State]) -> Result<()> {
        if !states.is_empty() && states.len() != self.metrics.len() {
            let expected = "one for each metric";
            return Err(Error::invalid_parameter("trainer", "metrics", format!("{} states", states.len()), expected));
        }
        // between runs, what they count does not matter
        let restored = self.restore_metrics(states);
        self.metrics.iter_mut().for_each(|metric| metric.reset());
        restored
    }

    /// Becomes what a checkpoint says, all of which has been checked.
    pub(crate) fn restore(&mut self, values: Vec<T>, slots: Vec<Vec<T>>, snapshot: Snapshot) {
        self.model_mut().values_mut().copy_from_slice(&values);
        self.slots = slots;
        self.optimizer.set_learning_rate(snapshot.learning_rate);
        (self.step, self.epoch, self.resumed) = (snapshot.step, snapshot.epoch, snapshot.run);
    }
}

/// Runs work on a thread of rayon's pool, this one if it is one: the tasks it is cut into then start without waking threads
/// up from outside, which takes some 20 µs each. Small work stays on this thread in any case.
///
/// It is a step or so at a time that is handed over, never a whole run: whoever else uses the pool waits for it, and a
/// thread of the pool that waits for a task of its own may take it on in the meantime.
pub(super) fn in_pool<R: Send>(small: bool, work: impl FnOnce() -> R + Send) -> R {
    if small { work() } else { rayon::scope(|_| work()) }
}
