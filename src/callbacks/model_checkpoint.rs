//! Checkpoints while a model trains.

use std::path::PathBuf;

use super::monitor::Monitor;
use super::{BatchEnd, Callback, Control, EpochEnd, Mode, TrainBegin};
use crate::error::{Error, Result};
use crate::model::{State, Trainer};
use crate::scalar::Scalar;

/// Writes checkpoints: files from which a run goes on as if it had never stopped.
///
/// A checkpoint is written when all callbacks have been told of the batch or epoch, whatever their order, and is there whole
/// or not at all. [`Trainer::load_checkpoint`] reads it.
///
/// # Parameters
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | `path` | | | the file; `{epoch}` and `{step}` in it become the run's epoch, from 1, and the trainer's step |
/// | [`every_epochs`](Self::every_epochs) | 1 | ≥ 1 | after each so many epochs of the run |
/// | [`every_steps`](Self::every_steps) | | ≥ 1 | after each so many of the trainer's steps instead |
/// | [`best_only`](Self::best_only) | `false` | | of these epochs, only those whose figure is the best so far |
/// | [`monitor`](Self::monitor) | `val_loss` | a figure of the run | the figure for that |
/// | [`mode`](Self::mode) | [`Auto`](Mode::Auto) | | which way it gets better |
/// | [`keep`](Self::keep) | all | ≥ 1 | how many files of this run are kept: the last ones |
///
/// With `best_only`, epochs between those of `every_epochs` are not looked at: a best one among them is not saved, and
/// does not keep a later one from being the best.
///
/// Without `{epoch}` or `{step}` there is one file, which each checkpoint replaces. Where an epoch is cut short, by
/// [`Fit::stop_flag`](crate::model::Fit::stop_flag) or by a callback after a batch, its checkpoint goes on with the rest of
/// that epoch.
///
/// # Errors
///
/// From `fit`, before the first step: [`Error::InvalidParameter`] for a setting out of range, for `best_only` with
/// `every_steps` or with a figure of which [`Auto`](Mode::Auto) cannot tell which way it gets better, or for `keep`
/// with a path that stays the same. During training: those of
/// [`Trainer::save_checkpoint`].
///
/// # Source
///
/// `keras/src/callbacks/model_checkpoint.py`, Keras 3.15, which saves models and not runs and keeps all files.
///
/// # Example
///
/// ```
/// use plywood::callbacks::ModelCheckpoint;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let folder = std::env::temp_dir().join(format!("plywood-doc-model-checkpoint-{}", std::process::id()));
/// let trainer = || {
///     let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
///     Ok::<_, plywood::Error>(model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default()))
/// };
/// let mut checkpoint = ModelCheckpoint::new(folder.join("run-{epoch}.safetensors")).keep(2);
/// trainer()?.fit_with(&data, &Fit::epochs(5), &mut [&mut checkpoint])?;
/// assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
///
/// let mut later = trainer()?;
/// later.load_checkpoint(folder.join("run-4.safetensors"))?;
/// let history = later.fit_with(&data, &Fit::epochs(10), &mut [&mut checkpoint])?;
/// assert_eq!(history.len(), 10);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ModelCheckpoint {
    path: PathBuf,
    every_epochs: usize,
    every_steps: Option<u64>,
    best_only: bool,
    monitor: Monitor,
    keep: Option<usize>,
    /// Epoch and step of each file that is there, the oldest first.
    files: Vec<(u64, u64)>,
    /// How many of them, the first, go with the last one that was asked for.
    going: usize,
}

impl ModelCheckpoint {
    /// One after each epoch.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            every_epochs: 1,
            every_steps: None,
            best_only: false,
            monitor: Monitor::new(0.0),
            keep: None,
            files: vec![],
            going: 0,
        }
    }

    /// Sets after how many epochs one is written.
    pub fn every_epochs(self, epochs: usize) -> Self {
        Self { every_epochs: epochs, every_steps: None, ..self }
    }

    /// Sets after how many steps one is written, in place of epochs.
    #[doc(alias = "save_freq")]
    pub fn every_steps(self, steps: u64) -> Self {
        Self { every_steps: Some(steps), ..self }
    }

    /// Sets whether one is written only where the figure is the best so far.
    #[doc(alias = "save_best_only")]
    pub fn best_only(self, best_only: bool) -> Self {
        Self { best_only, ..self }
    }

    /// Sets the figure that tells the best, such as `val_accuracy`.
    pub fn monitor(mut self, figure: impl Into<String>) -> Self {
        self.monitor.figure = figure.into();
        self
    }

    /// Sets which way it gets better.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.monitor.mode = mode;
        self
    }

    /// Sets how many files are kept.
    pub fn keep(self, files: usize) -> Self {
        Self { keep: Some(files), ..self }
    }

    /// The file of this epoch and step.
    fn file(&self, (epoch, step): (u64, u64)) -> PathBuf {
        match self.path.to_str() {
            Some(path) => path.replace("{epoch}", &epoch.to_string()).replace("{step}", &step.to_string()).into(),
            None => self.path.clone(),
        }
    }

    fn save<T: Scalar>(&mut self, trainer: &mut Trainer<T>, epoch: usize) {
        let new = (epoch as u64, trainer.step());
        let path = self.file(new);
        let mut then_remove = vec![];
        if let Some(keep) = self.keep {
            let mut files = std::mem::take(&mut self.files);
            files.drain(..self.going);
            // the path may have been that of an earlier step too
            files.retain(|&file| self.file(file) != path);
            files.push(new);
            self.going = files.len().saturating_sub(keep);
            then_remove.extend(files[..self.going].iter().map(|&file| self.file(file)));
            self.files = files;
        }
        trainer.request_checkpoint(path, then_remove);
    }

    /// Epoch and step of each file of a run that goes on. Those of another path are let alone.
    fn files_of(&self, run: &TrainBegin<'_>) -> Result<Vec<(u64, u64)>> {
        let Some(state) = run.state else { return Ok(vec![]) };
        if state.text("path")? != self.path.to_string_lossy() {
            return Ok(vec![]);
        }
        Ok(state.counts("files")?.as_chunks().0.iter().map(|&[epoch, step]| (epoch, step)).collect())
    }
}

impl<T: Scalar> Callback<T> for ModelCheckpoint {
    fn check(&self, _: &Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
        let wrong = |parameter, got: &dyn std::fmt::Display, expected| {
            Err(Error::invalid_parameter("ModelCheckpoint", parameter, got, expected))
        };
        if self.every_epochs == 0 {
            return wrong("every_epochs", &0, "at least 1");
        }
        if self.every_steps == Some(0) {
            return wrong("every_steps", &0, "at least 1");
        }
        if self.keep == Some(0) {
            return wrong("keep", &0, "at least 1");
        }
        if let Some(keep) = self.keep
            && self.file((0, 0)) == self.file((1, 1))
        {
            return wrong("keep", &keep, "a path with {epoch} or {step} in it");
        }
        if self.best_only && self.every_steps.is_some() {
            return wrong("best_only", &true, "no every_steps: figures are those of epochs");
        }
        if self.best_only {
            self.monitor.check("ModelCheckpoint", run)?;
        }
        self.files_of(run).map(drop)
    }

    fn train_begin(&mut self, trainer: &mut Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
        self.check(trainer, run)?;
        self.monitor.begin(run)?;
        // one that was to go when the program ended goes with the next one
        (self.files, self.going) = (self.files_of(run)?, 0);
        Ok(())
    }

    fn batch_end(&mut self, trainer: &mut Trainer<T>, batch: &BatchEnd) -> Result<Control> {
        if self.every_steps.is_some_and(|steps| trainer.step().is_multiple_of(steps)) {
            self.save(trainer, batch.epoch);
        }
        Ok(Control::Continue)
    }

    fn epoch_end(&mut self, trainer: &mut Trainer<T>, epoch: &EpochEnd<'_>) -> Result<Control> {
        let is_due = self.every_steps.is_none() && epoch.epoch.is_multiple_of(self.every_epochs);
        if is_due && (!self.best_only || self.monitor.improves(epoch)) {
            self.save(trainer, epoch.epoch);
        }
        Ok(Control::Continue)
    }

    fn state(&self) -> Option<State> {
        let files = self.files.iter().flat_map(|&(epoch, step)| [epoch as f64, step as f64]).collect::<Vec<_>>();
        let state = State::new().with("best", self.monitor.state()).with("files", files);
        Some(state.with("path", self.path.to_string_lossy().into_owned()))
    }
}
