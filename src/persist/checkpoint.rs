//! Checkpoints: a trainer written down, in one safetensors file whose last bytes are the checksum of all others.
//!
//! | tensor | what it is |
//! |---|---|
//! | `model/…` | the parameters, by their names |
//! | `optimizer/0/…`, `optimizer/1/…` | the optimizer's slots, in the parameters' layout |
//! | `state/0`, `state/1`, … | arrays in what metrics and callbacks remember |
//! | `checksum` | the CRC-32 (IEEE) of every byte of the file before it, in little-endian order |
//!
//! The rest is JSON under the metadata's key `plywood`. Numbers there are texts, which can be NaN and bring every bit back.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::json::from_json;
use super::model_file::{KEY, check_kind, parameters};
use super::tensors::{Narrowing, NewTensor, TensorFile, to_bytes};
use crate::error::{Error, Result};
use crate::files::write_file;
use crate::model::position::{CheckpointRequest, Epochs, Position, RunState, Snapshot};
use crate::model::{History, State, StateValue, Trainer};
use crate::scalar::Scalar;
use crate::shape::elements;

/// How errors call these files.
const FORMAT: &str = "checkpoint";

/// What is counted up when what is written changes.
const VERSION: u64 = 1;

/// The tensor of the checksum. It is the only one of bytes, and these lie last.
const CHECKSUM: &str = "checksum";

/// A larger count of epochs or steps is a lie, and could not be counted on from.
const MOST_COUNT: u64 = 1 << 53;

/// What a checkpoint says about its trainer, in JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    /// `checkpoint`.
    format: String,
    version: u64,
    trainer: Program,
    learning_rate: Number,
    step: u64,
    epoch: u64,
    run: Option<RunForm>,
}

/// What the program has to make in the same way: how each part shows itself in `Debug`.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Program {
    number: String,
    seed: u64,
    input: Vec<usize>,
    layers: Vec<String>,
    optimizer: String,
    loss: String,
    metrics: Vec<String>,
}

/// How far a run is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunForm {
    epoch: u64,
    batch: usize,
    loss_sum: Number,
    seen: usize,
    seconds: Number,
    stopped: bool,
    samples: usize,
    batch_size: usize,
    shuffle: bool,
    /// In CSV.
    history: String,
    metrics: Vec<StateForm>,
    callbacks: Vec<(String, StateForm)>,
}

/// Names and values.
type StateForm = Vec<(String, ValueForm)>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ValueForm {
    Number(Number),
    Integer(u64),
    Text(String),
    /// The number of the tensor.
    Array(usize),
}

/// A number as the shortest text that brings it back.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Number(f64);

impl From<Number> for String {
    fn from(Number(number): Number) -> Self {
        number.to_string()
    }
}

impl TryFrom<String> for Number {
    type Error = std::num::ParseFloatError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl<T: Scalar> Trainer<T> {
    /// Writes everything that the trainer is into a file: weights, the optimizer's slots and learning rate, counters; and
    /// in a callback how far the run is, its history, and what metrics and callbacks remember.
    ///
    /// In a callback, the file is written as soon as all callbacks have been told of the batch or epoch, so that it has
    /// the state of all of them; what goes wrong then is what `fit` returns. At any other time it is written at once, and
    /// `fit` begins a new run after it.
    ///
    /// The file is written whole or not at all: under a temporary name in the same folder, synced and renamed; what an
    /// earlier write left behind because it was killed is removed. The folder is made if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::InvalidParameter`] if a model of another architecture has been put into the trainer, or
    /// after a batch, if a metric has no [`state`](crate::metrics::Metric::state). The file that was there is as it was
    /// then.
    ///
    /// ```
    /// use plywood::ndarray::array;
    /// use plywood::prelude::*;
    ///
    /// # let path = std::env::temp_dir().join(format!("plywood-doc-checkpoint-{}.safetensors", std::process::id()));
    /// let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
    /// let trainer = || {
    ///     let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
    ///     Ok::<_, plywood::Error>(model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default()))
    /// };
    /// let mut trainer_1 = trainer()?;
    /// trainer_1.fit(&data, &Fit::epochs(3))?;
    /// trainer_1.save_checkpoint(&path)?;
    ///
    /// let mut trainer_2 = trainer()?;
    /// trainer_2.load_checkpoint(&path)?;
    /// for trainer in [&mut trainer_1, &mut trainer_2] {
    ///     trainer.fit(&data, &Fit::epochs(3))?;
    /// }
    /// assert_eq!(trainer_1.model().values(), trainer_2.model().values());
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn save_checkpoint(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.check_model()?;
        if self.is_in_fit() {
            self.request_checkpoint(path.as_ref().to_owned(), vec![]);
            return Ok(());
        }
        let snapshot = self.snapshot_with(self.resumed().cloned());
        self.write_checkpoint(path.as_ref(), &snapshot)
    }

    /// Becomes the trainer that wrote a checkpoint. It must have been made in the same way: with the same layers, seed,
    /// optimizer, loss and metrics.
    ///
    /// If the checkpoint was made within a run of `fit`, the next call of `fit` goes on with that run, from the very
    /// step: `Fit::epochs(10)` then means until its tenth epoch, the history begins with the run's first, and callbacks
    /// take up what they remembered. With the same data, settings and callbacks, every bit is as if the run had never
    /// stopped, weights and figures; only seconds differ. A run that a callback had ended after an epoch stays ended.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::Format`] if the file is damaged, is no checkpoint, or is one of another trainer, with what
    /// differs. The trainer is as it was then. From `fit` afterwards, [`Error::InvalidParameter`] if the rest of an epoch
    /// would be cut into other batches, or a callback is missing that the checkpoint has a state of.
    pub fn load_checkpoint(&mut self, path: impl AsRef<Path>) -> Result<()> {
        if self.is_in_fit() {
            let expected = "a call between two calls of fit: a run cannot become another one";
            return Err(Error::invalid_parameter("trainer", "load_checkpoint", "called in a callback", expected));
        }
        self.check_model()?;
        let file = TensorFile::read(path.as_ref(), FORMAT)?;
        check_checksum(&file)?;
        let description = file.metadata(KEY).expect("the checksum's check has seen it");
        let damaged = |error: String| file.error(format!("its description of the trainer is damaged: {error}"));
        let description: Description = from_json(description.as_bytes()).map_err(damaged)?;
        let Description { trainer, learning_rate: Number(learning_rate), step, epoch, run, .. } = description;
        if !(learning_rate.is_finite() && learning_rate >= 0.0) {
            return Err(damaged(format!("the learning rate is {learning_rate}, expected a number of at least 0")));
        }
        check_program(&file, &trainer, &self.program_at(learning_rate))?;

        let mut expected = HashSet::from([CHECKSUM.to_owned()]);
        let layout = self.model().layout();
        let mut read = |prefix: String| {
            let mut values = vec![];
            for entry in layout.entries() {
                let name = format!("{prefix}{}", entry.name());
                let tensor = file.tensor(&name).ok_or_else(|| file.error(format!("it has no tensor {name:?}")))?;
                tensor.check_shape(entry.shape())?;
                tensor.append_to::<T>(&mut values, Narrowing::Refused)?;
                expected.insert(name);
            }
            Ok(values)
        };
        let values = read("model/".to_owned())?;
        let slots = (0..self.slots().len()).map(|slot| read(format!("optimizer/{slot}/"))).collect::<Result<_>>()?;
        let mut arrays = vec![];
        while let Some(tensor) = file.tensor(&format!("state/{}", arrays.len())) {
            expected.insert(tensor.name().to_owned());
            let mut array = vec![];
            tensor.append_to::<f64>(&mut array, Narrowing::Refused)?;
            arrays.push(array);
        }
        if let Some(tensor) = file.tensors().find(|tensor| !expected.contains(tensor.name())) {
            return Err(
                file.error(format!("it has a tensor {:?}, which no checkpoint of this trainer has", tensor.name()))
            );
        }
        if step > MOST_COUNT || epoch > MOST_COUNT {
            return Err(damaged(format!("step {step} and epoch {epoch} are more than can be")));
        }
        let run = run.map(|run| run_state(run, &mut arrays)).transpose().map_err(damaged)?;
        if let Some(run) = &run {
            self.check_metric_states(&run.metrics).map_err(|error| damaged(error.to_string()))?;
        }
        self.restore(values, slots, Snapshot { learning_rate, step, epoch: epoch as usize, run });
        Ok(())
    }

    /// Asks for a checkpoint when all callbacks have been told; when it is there, these files are removed.
    pub(crate) fn request_checkpoint(&mut self, path: PathBuf, then_remove: Vec<PathBuf>) {
        self.push_request(CheckpointRequest { path, then_remove });
    }

    /// Writes the weights and slots as they are, with everything else as it was in the snapshot.
    pub(crate) fn write_checkpoint(&self, path: &Path, snapshot: &Snapshot) -> Result<()> {
        let mut tensors: Vec<NewTensor> = parameters("model/", self.model().layout(), self.model().values()).collect();
        for (slot, values) in self.slots().iter().enumerate() {
            let prefix = format!("optimizer/{slot}/");
            tensors.extend(parameters(&prefix, self.model().layout(), values));
        }
        let mut arrays = 0;
        let run = snapshot.run.as_ref().map(|run| run_form(run, &mut tensors, &mut arrays));
        let description = Description {
            format: FORMAT.to_owned(),
            version: VERSION,
            trainer: self.program(),
            learning_rate: Number(snapshot.learning_rate),
            step: snapshot.step,
            epoch: snapshot.epoch as u64,
            run,
        };
        let json = serde_json::to_string(&description).expect("numbers, texts and lists are JSON");
        tensors.push(NewTensor::of_bytes(CHECKSUM, vec![0; size_of::<u32>()]));
        let mut bytes = to_bytes(&tensors, Some((KEY, json)));
        let (contents, checksum) = bytes.split_last_chunk_mut().expect("the checksum lies last");
        *checksum = crc32fast::hash(contents).to_le_bytes();
        write_file(path, |file| file.write_all(&bytes))
    }

    /// How the trainer was made; the optimizer shows its learning rate as it is now.
    fn program(&self) -> Program {
        let model = self.model();
        Program {
            number: T::NAME.to_owned(),
            seed: model.seed(),
            input: model.input_shape().to_vec(),
            layers: model.layers().iter().map(|layer| format!("{}: {:?}", layer.name(), layer.layer())).collect(),
            optimizer: format!("{:?}", self.optimizer()),
            loss: format!("{:?}", self.loss()),
            metrics: self.metrics().map(|(name, _)| name.to_owned()).collect(),
        }
    }

    /// The same if the learning rate were this.
    fn program_at(&mut self, learning_rate: f64) -> Program {
        let own = self.optimizer().learning_rate();
        self.optimizer_mut().set_learning_rate(learning_rate);
        let program = self.program();
        self.optimizer_mut().set_learning_rate(own);
        program
    }
}

/// Whether a file is a checkpoint, and every byte of it as it was written.
fn check_checksum(file: &TensorFile) -> Result<()> {
    let tensor = match file.metadata(KEY) {
        None => return Err(file.error("it is not of plywood; weights alone are read by Sequential::load_weights")),
        Some(_) => file.tensors().last().filter(|tensor| tensor.name() == CHECKSUM),
    };
    let Some(tensor) = tensor else {
        // a model file says so
        check_kind(file, FORMAT, VERSION)?;
        return Err(file.error("its last tensor is not the checksum"));
    };
    // more than CRC-32 promises: it finds every change within four bytes
    let (contents, checksum) = file.bytes().split_last_chunk().expect("there is a tensor's byte or a header of 8");
    if tensor.bytes() != checksum || crc32fast::hash(contents).to_le_bytes() != *checksum {
        return Err(file.error("its checksum differs: it is damaged; take an earlier one"));
    }
    check_kind(file, FORMAT, VERSION)
}

/// Whether a checkpoint is of a trainer that was made like this one.
fn check_program(file: &TensorFile, saved: &Program, own: &Program) -> Result<()> {
    let differs = |what: &str, saved: &dyn std::fmt::Debug, own: &dyn std::fmt::Debug| {
        Err(file
            .error(format!("its {what} is {saved:?}, this trainer's {own:?}; make the trainer as it was made then")))
    };
    if saved.number != own.number {
        return differs("type of numbers", &saved.number, &own.number);
    }
    if saved.input != own.input {
        return differs("input shape", &saved.input, &own.input);
    }
    if saved.layers.len() != own.layers.len() {
        return differs("number of layers", &saved.layers.len(), &own.layers.len());
    }
    if let Some((saved, own)) = saved.layers.iter().zip(&own.layers).find(|(saved, own)| saved != own) {
        return differs("layer", saved, own);
    }
    if saved.seed != own.seed {
        return differs("seed", &saved.seed, &own.seed);
    }
    if saved.optimizer != own.optimizer {
        return differs("optimizer", &saved.optimizer, &own.optimizer);
    }
    if saved.loss != own.loss {
        return differs("loss", &saved.loss, &own.loss);
    }
    if saved.metrics != own.metrics {
        return differs("list of metrics", &saved.metrics, &own.metrics);
    }
    Ok(())
}

fn run_form(run: &RunState, tensors: &mut Vec<NewTensor>, arrays: &mut usize) -> RunForm {
    let mut form = |state: &State| -> StateForm {
        let value = |value: &StateValue| match value {
            StateValue::Number(number) => ValueForm::Number(Number(*number)),
            StateValue::Integer(integer) => ValueForm::Integer(*integer),
            StateValue::Text(text) => ValueForm::Text(text.clone()),
            StateValue::Array(array) => {
                tensors.push(NewTensor::new(format!("state/{arrays}"), &[array.len()], array));
                *arrays += 1;
                ValueForm::Array(*arrays - 1)
            }
        };
        let mut value = value;
        state.iter().map(|(name, of)| (name.to_owned(), value(of))).collect()
    };
    let RunState { position, epochs, metrics, callbacks } = run;
    RunForm {
        epoch: position.epoch as u64,
        batch: position.batch,
        loss_sum: Number(position.loss_sum),
        seen: position.seen,
        seconds: Number(position.seconds),
        stopped: position.stopped,
        samples: epochs.samples,
        batch_size: epochs.batch_size,
        shuffle: epochs.shuffle,
        history: position.history.to_csv(),
        metrics: metrics.iter().map(&mut form).collect(),
        callbacks: callbacks.iter().map(|(name, state)| (name.clone(), form(state))).collect(),
    }
}

/// The run that a file describes, if it can be.
fn run_state(form: RunForm, arrays: &mut [Vec<f64>]) -> Result<RunState, String> {
    let mut state = |form: StateForm| {
        form.into_iter().try_fold(State::new(), |state, (name, value)| {
            let value = match value {
                ValueForm::Number(Number(number)) => StateValue::Number(number),
                ValueForm::Integer(integer) => StateValue::Integer(integer),
                ValueForm::Text(text) => StateValue::Text(text),
                ValueForm::Array(index) => {
                    let array = arrays.get_mut(index).ok_or_else(|| format!("there is no array number {index}"))?;
                    StateValue::Array(std::mem::take(array))
                }
            };
            Ok::<State, String>(state.with(name, value))
        })
    };
    let epochs = Epochs { samples: form.samples, batch_size: form.batch_size, shuffle: form.shuffle };
    let batches = epochs.samples.div_ceil(epochs.batch_size.max(1));
    if form.epoch > MOST_COUNT || form.batch > batches || form.seen > epochs.samples || elements(&[form.seen]).is_none()
    {
        let RunForm { epoch, batch, seen, samples, .. } = form;
        return Err(format!(
            "epoch {epoch}, batch {batch} of {batches}, sample {seen} of {samples} is nowhere in a run"
        ));
    }
    Ok(RunState {
        position: Position {
            epoch: form.epoch as usize,
            batch: form.batch,
            loss_sum: form.loss_sum.0,
            seen: form.seen,
            seconds: form.seconds.0,
            since: None,
            stopped: form.stopped,
            history: History::from_csv(&form.history).map_err(|error| error.to_string())?,
        },
        epochs,
        metrics: form.metrics.into_iter().map(&mut state).collect::<Result<_, _>>()?,
        callbacks: form
            .callbacks
            .into_iter()
            .map(|(name, form)| Ok((name, state(form)?)))
            .collect::<Result<_, String>>()?,
    })
}
