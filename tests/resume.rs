//! A run that goes on from a checkpoint ends with the bits of one that never stopped; and whatever kills a program or
//! damages a file, there is a checkpoint to go on from, or an error.
//!
//! `PLYWOOD_KILLS=1000 cargo test --test resume kill` kills as often as that; the default is quick.
#![cfg(feature = "safetensors")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{bits, numbers};
use plywood::callbacks::{
    CsvLog, EarlyStopping, LearningRateSchedule, Mode, ModelCheckpoint, ReduceLROnPlateau, TrainBegin, on_batch_end,
    on_epoch_end,
};
use plywood::data::TargetsView;
use plywood::layers::{Backward, Forward, Op, Plan, single_input};
use plywood::metrics::{F1, TopKAccuracy};
use plywood::model::NonFiniteLoss;
use plywood::ndarray::{Array1, Array2, ArrayViewD, Zip};
use plywood::optimizers::Adam;
use plywood::prelude::*;

/// A folder of this name that is empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("resume-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A layer that draws: y = x · (1 + noise) while training.
#[derive(Debug, Clone)]
struct Noise;

impl<T: Scalar> Layer<T> for Noise {
    fn kind(&self) -> &'static str {
        "noise"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        Ok(Plan::new(single_input("noise", inputs)?, self.clone()))
    }
}

impl<T: Scalar> Op<T> for Noise {
    fn forward(&self, mut pass: Forward<'_, T>) {
        let factor = pass.training.map_or(1.0, |training| 0.75 + (training.random % 1024) as f64 / 2048.0);
        Zip::from(pass.y.view_mut()).and(pass.x.view()).for_each(|y, &x| *y = x * T::of(factor));
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        if let Some(dx) = pass.dx.view_mut() {
            // with the forward pass's factor where that can be told, which is all that this test needs
            let (x, y, dy) = (pass.x.view(), pass.y.view(), pass.dy.view_mut());
            Zip::from(dx).and(x).and(y).and(dy).for_each(|dx, &x, &y, &mut dy| {
                *dx = if x == T::zero() { dy } else { dy * y / x };
            });
        }
    }
}

const SAMPLES: usize = 50;
const EPOCHS: usize = 4;
/// 40 samples are trained on: five batches of eight, or six of seven of which the last is small.
const BATCH: usize = 7;
const STEPS: u64 = 24;

fn data() -> Dataset {
    let inputs = numbers(&[SAMPLES, 5], 1);
    Dataset::new(inputs, Array1::from_shape_fn(SAMPLES, |i| (7 * i + i / 3) % 3)).unwrap()
}

fn trainer_from(seed: u64) -> Trainer {
    let model = Sequential::input([5])
        .add(Dense::new(8).activation(Activation::ReLU))
        .add(Noise)
        .add(Dense::new(3).activation(Activation::Softmax))
        .build(seed)
        .unwrap();
    let trainer = model.compile(Adam::new(0.02), CategoricalCrossentropy::new());
    trainer.metric(Accuracy::new()).metric(F1::new()).metric(TopKAccuracy::new(2))
}

fn trainer() -> Trainer {
    trainer_from(3)
}

fn fit() -> Fit<'static> {
    Fit::epochs(EPOCHS).batch_size(BATCH).validation_split(0.2)
}

/// What a run leaves: weights and all figures, to the last bit.
#[derive(Debug, PartialEq)]
struct Outcome {
    weights: Vec<u64>,
    figures: Vec<(String, Vec<u64>)>,
    epochs: Vec<usize>,
    learning_rate: u64,
    step: u64,
}

impl Outcome {
    fn of(trainer: &Trainer, history: &History) -> Self {
        let figures = history.names().iter().map(|name| (name.clone(), bits(&history.get(name).unwrap())));
        Self {
            weights: bits(trainer.model().values()),
            figures: figures.collect(),
            epochs: history.epochs(),
            learning_rate: trainer.optimizer().learning_rate().to_bits(),
            step: trainer.step(),
        }
    }
}

/// The callbacks of a run that has some.
struct Watch {
    early: EarlyStopping,
    plateau: ReduceLROnPlateau,
    log: CsvLog,
}

impl Watch {
    fn new(log: &Path) -> Self {
        Self {
            early: EarlyStopping::new().patience(9).restore_best(true),
            plateau: ReduceLROnPlateau::new().monitor("loss").mode(Mode::Max).patience(2).factor(0.5),
            log: CsvLog::new(log),
        }
    }

    fn run(&mut self, trainer: &mut Trainer, fit: &Fit<'_>, extra: &mut dyn Callback) -> Result<History> {
        // one before the others are told, on purpose: what it asks for has their state all the same
        trainer.fit_with(&data(), fit, &mut [extra, &mut self.early, &mut self.plateau, &mut self.log])
    }
}

/// A log without the seconds.
fn figures_of(log: &Path) -> String {
    let history = History::read_csv(log).unwrap();
    format!("{:?} {:?}", history.epochs(), history.names().iter().map(|name| history.get(name)).collect::<Vec<_>>())
}

#[test]
fn a_run_goes_on_from_any_step_to_the_last_bit() {
    let folder = folder("steps");
    let (whole_log, log, checkpoint) = (folder.join("whole.csv"), folder.join("log.csv"), folder.join("c.safetensors"));
    let mut uninterrupted = trainer();
    let mut watch = Watch::new(&whole_log);
    let history = watch.run(&mut uninterrupted, &fit(), &mut on_batch_end(|_: &mut Trainer, _| ())).unwrap();
    let expected = Outcome::of(&uninterrupted, &history);
    assert_eq!((uninterrupted.step(), history.len()), (STEPS, EPOCHS));
    assert_ne!(expected.learning_rate, 0.02_f64.to_bits(), "a loss that falls is no improvement here");

    for step in 1..=STEPS {
        // saved at this step, and killed two steps later, in the next epoch too
        let mut save = on_batch_end(|trainer: &mut Trainer, _| {
            if trainer.step() == step {
                trainer.save_checkpoint(&checkpoint).unwrap();
            }
            if trainer.step() == step + 2 {
                trainer.optimizer_mut().set_learning_rate(f64::NAN);
            }
        });
        let killed = Watch::new(&log).run(&mut trainer(), &fit(), &mut save);
        assert_eq!(killed.is_err(), step + 2 < STEPS);

        let mut resumed = trainer();
        resumed.load_checkpoint(&checkpoint).unwrap();
        assert_eq!(resumed.step(), step);
        let mut watch = Watch::new(&log);
        let history = watch.run(&mut resumed, &fit(), &mut on_batch_end(|_: &mut Trainer, _| ())).unwrap();
        assert_eq!(Outcome::of(&resumed, &history), expected, "from step {step}");
        assert_eq!(figures_of(&log), figures_of(&whole_log), "from step {step}");
    }
    assert_eq!(names(&folder), ["c.safetensors", "log.csv", "whole.csv"]);
}

#[test]
fn a_run_goes_on_from_any_epoch_and_further_than_it_was_to_go() {
    let folder = folder("epochs");
    let mut uninterrupted = trainer();
    let mut schedule = LearningRateSchedule::cosine(0.05, 6.0).warm_up(0.5);
    let history = uninterrupted.fit_with(&data(), &Fit::epochs(6), &mut [&mut schedule]).unwrap();
    let expected = Outcome::of(&uninterrupted, &history);

    let mut checkpoint = ModelCheckpoint::new(folder.join("{epoch}-{step}.safetensors"));
    trainer().fit_with(&data(), &Fit::epochs(4), &mut [&mut checkpoint, &mut schedule]).unwrap();
    assert_eq!(names(&folder), ["1-2.safetensors", "2-4.safetensors", "3-6.safetensors", "4-8.safetensors"]);
    for name in names(&folder) {
        let mut resumed = trainer();
        resumed.load_checkpoint(folder.join(&name)).unwrap();
        // another one can be made of it before it goes on
        resumed.save_checkpoint(folder.join("again")).unwrap();
        let mut resumed = trainer();
        resumed.load_checkpoint(folder.join("again")).unwrap();
        let mut others = ModelCheckpoint::new(folder.join("other"));
        let history = resumed.fit_with(&data(), &Fit::epochs(6), &mut [&mut schedule, &mut others]).unwrap();
        assert_eq!(Outcome::of(&resumed, &history), expected, "from {name}");
        // what goes on has gone on: the next call is a run of its own
        assert_eq!(resumed.fit(&data(), &Fit::epochs(1)).unwrap().len(), 1);
    }
}

#[test]
fn schedules_go_on_within_an_epoch() {
    let path = folder("schedule").join("c");
    let schedule = || LearningRateSchedule::exponential(0.05, 0.3).warm_up(0.5);
    let mut uninterrupted = trainer();
    let history = uninterrupted.fit_with(&data(), &fit(), &mut [&mut schedule()]).unwrap();
    let expected = Outcome::of(&uninterrupted, &history);
    for steps in [4, 11, 13, 18] {
        let mut save = ModelCheckpoint::new(&path).every_steps(steps);
        let mut die = on_batch_end(|trainer: &mut Trainer, _| match trainer.step() < steps + 1 {
            true => Control::Continue,
            false => {
                trainer.optimizer_mut().set_learning_rate(-1.0);
                Control::Continue
            }
        });
        trainer().fit_with(&data(), &fit(), &mut [&mut schedule(), &mut save, &mut die]).unwrap_err();
        let mut resumed = trainer();
        resumed.load_checkpoint(&path).unwrap();
        // the callback that has a state has to be there, in whatever order
        let message = resumed.fit_with(&data(), &fit(), &mut [&mut schedule()]).unwrap_err().to_string();
        let expected_message = "fit: callbacks is without ModelCheckpoint, of which the checkpoint has a state, expected \
                                those of the run that goes on";
        assert_eq!(message, expected_message);
        // and nothing is lost by having forgotten it
        let mut save = ModelCheckpoint::new(&path).every_steps(1000);
        let history = resumed.fit_with(&data(), &fit(), &mut [&mut save, &mut schedule()]).unwrap();
        assert_eq!(Outcome::of(&resumed, &history), expected, "from step {steps}");
    }
}

#[test]
fn a_run_that_was_cut_short_goes_on_where_it_was() {
    let path = folder("cut").join("c");
    let mut uninterrupted = trainer();
    let history = uninterrupted.fit(&data(), &fit()).unwrap();
    let expected = Outcome::of(&uninterrupted, &history);
    for step in [1, 6, 8, 12, 23] {
        let flag = Arc::new(AtomicBool::new(false));
        let mut checkpoint = ModelCheckpoint::new(&path);
        let mut stop = on_batch_end(|trainer: &mut Trainer, _| {
            if trainer.step() == step {
                flag.store(true, Ordering::Relaxed);
            }
        });
        let fit_flagged = fit().stop_flag(flag.clone());
        let history = trainer().fit_with(&data(), &fit_flagged, &mut [&mut checkpoint, &mut stop]).unwrap();
        assert_eq!(history.len(), step.div_ceil(6) as usize);
        let mut resumed = trainer();
        resumed.load_checkpoint(&path).unwrap();
        assert_eq!(resumed.step(), step);
        let history = resumed.fit_with(&data(), &fit(), &mut [&mut checkpoint]).unwrap();
        assert_eq!(Outcome::of(&resumed, &history), expected, "from step {step}");
    }
}

#[test]
fn a_run_that_was_ended_stays_ended() {
    let folder = folder("ended");
    let (path, of_epoch) = (folder.join("c"), ModelCheckpoint::new(folder.join("{epoch}")));
    let early = || EarlyStopping::new().monitor("loss").mode(Mode::Max).patience(2).restore_best(true);
    let (mut first, mut watch) = (trainer(), early());
    let history = first.fit_with(&data(), &fit(), &mut [&mut of_epoch.clone(), &mut watch]).unwrap();
    assert_eq!((history.len(), watch.best_epoch(), watch.stopped_epoch()), (3, Some(1), Some(3)));
    // after the first and second epoch it still has to be ended at the same time, after the third it has been
    for epoch in 1..=3 {
        let mut resumed = trainer();
        resumed.load_checkpoint(folder.join(epoch.to_string())).unwrap();
        let is_best = bits(resumed.model().values()) == bits(first.model().values());
        assert_eq!(is_best, epoch == 1, "the weights of the epoch, not yet the best");
        let mut watch = early();
        let resumed_history = resumed.fit_with(&data(), &fit(), &mut [&mut watch, &mut of_epoch.clone()]).unwrap();
        assert_eq!(Outcome::of(&resumed, &resumed_history), Outcome::of(&first, &history), "from epoch {epoch}");
        assert_eq!((watch.best_epoch(), watch.stopped_epoch()), (Some(1), Some(3)));
    }

    // a loss that is not finite ends a run too
    let spoiled = Dataset::new(Array2::from_elem((3, 5), f32::NAN), Array1::from_elem(3, 0_usize)).unwrap();
    let fit = Fit::epochs(5).batch_size(1).non_finite_loss(NonFiniteLoss::Stop);
    let mut save = on_batch_end(|trainer: &mut Trainer, _| trainer.save_checkpoint(&path).unwrap());
    let history = trainer().fit_with(&spoiled, &fit, &mut [&mut save]).unwrap();
    let mut resumed = trainer();
    resumed.load_checkpoint(&path).unwrap();
    let again = resumed.fit(&spoiled, &fit).unwrap();
    assert_eq!((history.len(), again.len(), resumed.step()), (1, 1, 0));
}

#[test]
fn the_rest_of_an_epoch_has_to_be_cut_as_its_beginning() {
    let path = folder("cut-otherwise").join("c");
    let mut save = on_batch_end(|trainer: &mut Trainer, _| {
        if trainer.step() == 3 {
            trainer.save_checkpoint(&path).unwrap();
        }
    });
    trainer().fit_with(&data(), &fit(), &mut [&mut save]).unwrap();
    let mut resumed = trainer();
    resumed.load_checkpoint(&path).unwrap();
    let before = bits(resumed.model().values());
    for other in [fit().batch_size(8), fit().shuffle(false), fit().validation_split(0.5)] {
        let error = resumed.fit(&data(), &other).unwrap_err();
        assert!(matches!(error, Error::InvalidParameter { parameter: "epoch", .. }), "{error}");
    }
    assert_eq!(bits(resumed.model().values()), before);
    assert_eq!(resumed.fit(&data(), &fit()).unwrap().len(), EPOCHS);
}

/// Whatever goes wrong before the first step, the run can still go on.
#[test]
fn a_run_that_could_not_begin_can_still_go_on() {
    /// Puts a model of another architecture into the trainer, or asks for a checkpoint that cannot be written.
    struct Spoiler<'p>(Option<&'p Path>);
    impl Callback for Spoiler<'_> {
        fn train_begin(&mut self, trainer: &mut Trainer, _: &TrainBegin<'_>) -> Result<()> {
            trainer.optimizer_mut().set_learning_rate(1.0);
            if let Some(path) = self.0 {
                return trainer.save_checkpoint(path);
            }
            *trainer.model_mut() = Sequential::input([5]).add(Dense::new(3)).build(0).unwrap();
            Ok(())
        }
    }
    let folder = folder("begin");
    let path = folder.join("c");
    let mut uninterrupted = trainer();
    let history = uninterrupted.fit(&data(), &fit()).unwrap();
    let expected = Outcome::of(&uninterrupted, &history);
    let mut save = on_batch_end(|trainer: &mut Trainer, _| {
        if trainer.step() == 8 {
            trainer.save_checkpoint(&path).unwrap();
        }
    });
    trainer().fit_with(&data(), &fit(), &mut [&mut save]).unwrap();
    for spoiler in [None, Some(&*folder)] {
        let mut resumed = trainer();
        resumed.load_checkpoint(&path).unwrap();
        let model = resumed.model().clone();
        resumed.fit_with(&data(), &fit(), &mut [&mut Spoiler(spoiler)]).unwrap_err();
        *resumed.model_mut() = model;
        let history = resumed.fit(&data(), &fit()).unwrap();
        assert_eq!(Outcome::of(&resumed, &history), expected, "{spoiler:?}");
    }
}

/// Asks for a checkpoint after the last epoch.
struct SaveAtTheEnd<'p>(&'p Path);

impl Callback for SaveAtTheEnd<'_> {
    fn train_end(&mut self, trainer: &mut Trainer) -> Result<()> {
        trainer.save_checkpoint(self.0)
    }
}

#[test]
fn a_log_goes_on_from_a_checkpoint_of_the_end() {
    let folder = folder("end");
    let (path, log) = (folder.join("c"), folder.join("log.csv"));
    // the order does not matter
    for last in [false, true] {
        let (mut save, mut csv) = (SaveAtTheEnd(&path), CsvLog::new(&log));
        let mut callbacks: [&mut dyn Callback; 2] = [&mut save, &mut csv];
        callbacks.rotate_left(usize::from(last));
        trainer().fit_with(&data(), &Fit::epochs(3), &mut callbacks).unwrap();
        let mut resumed = trainer();
        resumed.load_checkpoint(&path).unwrap();
        let history = resumed.fit_with(&data(), &Fit::epochs(5), &mut [&mut CsvLog::new(&log)]).unwrap();
        assert_eq!(History::read_csv(&log).unwrap().epochs(), [1, 2, 3, 4, 5]);
        assert_eq!(history.epochs(), [1, 2, 3, 4, 5]);
    }
    // a run of its own begins anew, with the same callback too
    let mut csv = CsvLog::new(&log);
    for epochs in [2, 1] {
        trainer().fit_with(&data(), &Fit::epochs(epochs), &mut [&mut csv]).unwrap();
    }
    assert_eq!(History::read_csv(&log).unwrap().epochs(), [1]);
}

#[test]
fn the_best_weights_come_back_only_where_that_is_asked() {
    let path = folder("restore").join("c");
    // the first epoch is the best
    let early = |restore| EarlyStopping::new().monitor("loss").mode(Mode::Max).patience(9).restore_best(restore);
    let mut save = ModelCheckpoint::new(&path);
    trainer().fit_with(&data(), &Fit::epochs(2), &mut [&mut early(true), &mut save]).unwrap();
    let mut plain = trainer();
    plain.fit(&data(), &Fit::epochs(4)).unwrap();
    for restore in [true, false] {
        let mut resumed = trainer();
        resumed.load_checkpoint(&path).unwrap();
        let mut other = ModelCheckpoint::new(path.with_extension("other"));
        resumed.fit_with(&data(), &Fit::epochs(4), &mut [&mut early(restore), &mut other]).unwrap();
        let is_last = bits(resumed.model().values()) == bits(plain.model().values());
        assert_eq!(is_last, !restore, "restore {restore}");
    }
}

#[test]
fn files_are_kept_as_asked() {
    let folder = folder("keep");
    let run = |checkpoint: ModelCheckpoint, epochs| {
        let mut checkpoint = checkpoint;
        let mut trainer = trainer();
        trainer.fit_with(&data(), &Fit::epochs(epochs).batch_size(25), &mut [&mut checkpoint]).unwrap();
        let there = names(&folder);
        there.iter().for_each(|name| fs::remove_file(folder.join(name)).unwrap());
        there
    };
    let path = |name: &str| ModelCheckpoint::new(folder.join(name));
    assert_eq!(run(path("{epoch}").keep(2), 5), ["4", "5"]);
    assert_eq!(run(path("{epoch}").every_epochs(2), 5), ["2", "4"]);
    assert_eq!(run(path("{step}").every_steps(3), 5), ["3", "6", "9"]);
    assert_eq!(run(path("s{step}e{epoch}").every_steps(3).keep(1), 5), ["s9e5"]);
    // two steps an epoch: the second replaces the first one's file
    assert_eq!(run(path("{epoch}").every_steps(1).keep(2), 5), ["4", "5"]);
    assert_eq!(run(path("{epoch}").every_steps(1).keep(3), 2), ["1", "2"]);
    assert_eq!(run(path("same"), 5), ["same"]);
    assert_eq!(run(path("{epoch}").best_only(true).monitor("loss").mode(Mode::Max), 4), ["1"]);

    // the files of a run that goes on are counted together, and those that were to go still do
    let (mut first, mut checkpoint) = (trainer(), path("{epoch}").keep(2));
    let mut copy = on_epoch_end(|_: &mut Trainer, epoch| {
        if epoch.epoch == 4 {
            fs::copy(folder.join("1"), folder.join("1-old")).unwrap_or_default();
            fs::copy(folder.join("2"), folder.join("2-old")).unwrap();
        }
    });
    first.fit_with(&data(), &Fit::epochs(4), &mut [&mut checkpoint, &mut copy]).unwrap();
    assert_eq!(names(&folder), ["2-old", "3", "4"]);
    fs::rename(folder.join("2-old"), folder.join("2")).unwrap();
    let mut resumed = trainer();
    resumed.load_checkpoint(folder.join("4")).unwrap();
    resumed.fit_with(&data(), &Fit::epochs(5), &mut [&mut path("{epoch}").keep(2)]).unwrap();
    assert_eq!(names(&folder), ["4", "5"]);

    // what was written under another path stays
    let mut resumed = trainer();
    resumed.load_checkpoint(folder.join("5")).unwrap();
    fs::write(folder.join("run-4"), "mine").unwrap();
    resumed.fit_with(&data(), &Fit::epochs(7), &mut [&mut path("run-{epoch}").keep(1)]).unwrap();
    assert_eq!(names(&folder), ["4", "5", "run-4", "run-7"]);

    for (wrong, parameter) in [
        (path("{epoch}").keep(0), "keep"),
        (path("same").keep(1), "keep"),
        (path("x").every_epochs(0), "every_epochs"),
        (path("x").every_steps(0), "every_steps"),
        (path("x").every_steps(1).best_only(true), "best_only"),
        (path("x").best_only(true), "monitor"),
    ] {
        let mut wrong = wrong;
        let error = trainer().fit_with(&data(), &Fit::epochs(1), &mut [&mut wrong]).unwrap_err();
        assert!(matches!(&error, Error::InvalidParameter { parameter: p, .. } if *p == parameter), "{error}");
    }
}

#[test]
fn only_a_trainer_made_in_the_same_way_takes_a_checkpoint() {
    let path = folder("other").join("c");
    trainer().save_checkpoint(&path).unwrap();
    trainer().load_checkpoint(&path).unwrap();
    let model = |units| Sequential::input([5]).add(Dense::new(units)).add(Noise).add(Dense::new(3)).build(3).unwrap();
    let same_model = || trainer().into_model();
    let loss = CategoricalCrossentropy::new;
    let metrics = |trainer: Trainer| trainer.metric(Accuracy::new()).metric(F1::new()).metric(TopKAccuracy::new(2));
    let mut others: Vec<(Trainer, &str)> = vec![
        (metrics(model(8).compile(Adam::new(0.02), loss())), "its layer is \"dense: Dense"),
        (trainer_from(4), "its seed is 3, this trainer's 4"),
        (metrics(same_model().compile(RMSprop::new(0.02), loss())), "its optimizer is \"Adam"),
        (metrics(same_model().compile(Adam::new(0.02).beta_1(0.8), loss())), "its optimizer is \"Adam"),
        (metrics(same_model().compile(Adam::new(0.02), loss().label_smoothing(0.1))), "its loss is"),
        (same_model().compile(Adam::new(0.02), loss()).metric(Accuracy::new()), "its list of metrics is"),
    ];
    for (other, problem) in &mut others {
        let (before, rate) = (bits(other.model().values()), other.optimizer().learning_rate());
        let error = other.load_checkpoint(&path).unwrap_err().to_string();
        assert!(error.contains(*problem), "{error}");
        assert_eq!((bits(other.model().values()), other.optimizer().learning_rate()), (before, rate));
    }
    // a learning rate that has changed is no other optimizer
    let mut slower = metrics(same_model().compile(Adam::new(0.5), loss()));
    slower.load_checkpoint(&path).unwrap();
    assert_eq!(slower.optimizer().learning_rate(), 0.02);

    let error = same_model().load_weights(&path).unwrap_err().to_string();
    assert!(error.ends_with("it is a checkpoint; use Trainer::load_checkpoint"), "{error}");
    model(8).save(&path).unwrap_err();
    Sequential::input([1]).add(Dense::new(1)).build(0).unwrap().save(&path).unwrap();
    let error = trainer().load_checkpoint(&path).unwrap_err().to_string();
    assert!(error.ends_with("it is a model file; use Model::load or load_weights"), "{error}");
    let mut load = on_batch_end(|trainer: &mut Trainer, _| {
        trainer.load_checkpoint(&path).unwrap_err();
    });
    trainer().fit_with(&data(), &Fit::epochs(1), &mut [&mut load]).unwrap();
}

/// A metric that cannot tell what it has counted.
#[derive(Debug)]
struct Silent;

impl<T: Scalar> Metric<T> for Silent {
    fn name(&self) -> &str {
        "silent"
    }
    fn reset(&mut self) {}
    fn update(&mut self, _: ArrayViewD<'_, T>, _: &TargetsView<'_, T>) {}
    fn value(&self) -> f64 {
        0.5
    }
}

#[test]
fn a_metric_without_a_state_is_saved_between_epochs_only() {
    let path = folder("silent").join("c");
    let silent = || trainer().metric(Silent);
    let mut after_epochs = ModelCheckpoint::new(&path);
    silent().fit_with(&data(), &fit(), &mut [&mut after_epochs]).unwrap();
    silent().load_checkpoint(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let mut after_steps = ModelCheckpoint::new(&path).every_steps(3);
    let error = silent().fit_with(&data(), &fit(), &mut [&mut after_steps]).unwrap_err().to_string();
    assert_eq!(
        error,
        "silent: state is None, expected Some within an epoch: implement it, use evaluate_with, or save at the end of an \
         epoch"
    );
    assert!(!path.exists());
}

#[test]
fn evaluating_within_an_epoch_changes_no_figure() {
    let plain = trainer().fit(&data(), &fit()).unwrap();
    let mut evaluate = on_batch_end(|trainer: &mut Trainer, _| {
        let before: Vec<f64> = trainer.metrics().map(|(_, value)| value).collect();
        trainer.evaluate(&data()).unwrap();
        let after: Vec<f64> = trainer.metrics().map(|(_, value)| value).collect();
        assert_eq!(before, after);
    });
    let mut evaluated = trainer();
    let history = evaluated.fit_with(&data(), &fit(), &mut [&mut evaluate]).unwrap();
    for name in plain.names() {
        assert_eq!(history.get(name), plain.get(name), "{name}");
    }
}

#[test]
fn a_model_of_another_architecture_is_an_error_at_the_next_step() {
    let other = || Sequential::input([5]).add(Dense::new(100)).add(Dense::new(3)).build(0).unwrap();
    let message = "trainer: model is one of another architecture";
    let mut swapped = trainer();
    *swapped.model_mut() = other();
    let data = data();
    assert!(swapped.fit(&data, &fit()).unwrap_err().to_string().starts_with(message));
    assert!(swapped.train_step(data.inputs(), data.targets()).unwrap_err().to_string().starts_with(message));
    assert!(swapped.evaluate(&data).unwrap_err().to_string().starts_with(message));
    let mut after_batch = on_batch_end(|trainer: &mut Trainer, _| *trainer.model_mut() = other());
    let mut after_epoch = on_epoch_end(|trainer: &mut Trainer, _| *trainer.model_mut() = other());
    let mut early = EarlyStopping::new().restore_best(true);
    for callback in [&mut after_batch as &mut dyn Callback, &mut after_epoch] {
        let error = trainer().fit_with(&data, &fit(), &mut [&mut early, callback]).unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
    }

    // nothing of it is written under the names of the model that was compiled
    let path = folder("other-architecture").join("c");
    assert!(swapped.save_checkpoint(&path).unwrap_err().to_string().starts_with(message));
    struct Swap<'p>(Option<&'p Path>, Model);
    impl Callback for Swap<'_> {
        fn train_end(&mut self, trainer: &mut Trainer) -> Result<()> {
            self.0.map_or(Ok(()), |path| trainer.save_checkpoint(path))?;
            *trainer.model_mut() = self.1.clone();
            Ok(())
        }
    }
    for save in [None, Some(&*path)] {
        // before EarlyStopping brings weights back, and after
        let (mut swap, mut early) = (Swap(save, other()), EarlyStopping::new().restore_best(true));
        let before = trainer().fit_with(&data, &fit(), &mut [&mut swap, &mut early]);
        let after = trainer().fit_with(&data, &fit(), &mut [&mut early, &mut swap]);
        for error in [before.unwrap_err(), after.unwrap_err()] {
            assert!(error.to_string().starts_with(message), "{error}");
        }
    }
    assert!(!path.exists());

    // one that is built in the same way is taken, and the step is that of its own weights
    let (mut ours, mut swapped) = (trainer_from(4), trainer_from(3));
    swapped.train_step(data.inputs(), data.targets()).unwrap();
    let mut fresh = trainer_from(4);
    *fresh.model_mut() = trainer_from(4).into_model();
    let losses = [&mut ours, &mut fresh].map(|trainer| trainer.train_step(data.inputs(), data.targets()).unwrap());
    assert_eq!(losses[0], losses[1]);
    assert_eq!(bits(ours.model().values()), bits(fresh.model().values()));
}

/// A trainer whose checkpoint is small.
fn small() -> Trainer {
    let model = Sequential::input([1]).add(Dense::new(2)).build(0).unwrap();
    model.compile(SGD::new(0.1).momentum(0.5), MeanSquaredError).metric(Silent)
}

#[test]
fn every_byte_of_a_checkpoint_counts() {
    let path = folder("bytes").join("c");
    let data = Dataset::new(Array2::<f32>::ones((4, 1)), Array2::zeros((4, 2))).unwrap();
    let mut checkpoint = ModelCheckpoint::new(&path);
    let mut trained = small();
    trained.fit_with(&data, &Fit::epochs(2), &mut [&mut checkpoint]).unwrap();
    let good = fs::read(&path).unwrap();
    let before = bits(small().model().values());
    let mut trainer = small();
    let mut refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        match trainer.load_checkpoint(&path) {
            Err(Error::Format { .. }) => assert_eq!(bits(trainer.model().values()), before, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    };
    for (at, _) in good.iter().enumerate() {
        for flip in [0x01, 0x80] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            refused(&bytes, &format!("byte {at} ^ {flip:#x}"));
        }
        refused(&good[..at], &format!("{at} bytes"));
    }
    refused(&[&good[..], &[0]].concat(), "one more byte");
    fs::write(&path, &good).unwrap();
    trainer.load_checkpoint(&path).unwrap();
    assert_eq!(bits(trainer.model().values()), bits(trained.model().values()));
    println!("{} bytes, each flipped in two ways and cut off", good.len());
}

/// Set in the process that is killed: where it writes.
const CHILD: &str = "PLYWOOD_RESUME_CHILD";

/// A trainer of 0.8 MB, whose weights are all equal: a mixed file would show.
fn equal_weights() -> Trainer {
    let model = Sequential::input([256]).add(Dense::new(256)).add(Dense::new(10)).build(0).unwrap();
    model.compile(RMSprop::default(), MeanSquaredError)
}

/// The number that all weights are.
fn one_weight(trainer: &Trainer) -> f32 {
    let values = trainer.model().values();
    assert!(values.iter().all(|value| value.to_bits() == values[0].to_bits()), "mixed");
    values[0]
}

/// Not a test but the process that the test below kills.
#[test]
fn child_that_writes() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let mut trainer = equal_weights();
    for count in 1.. {
        trainer.model_mut().values_mut().fill(count as f32);
        trainer.save_checkpoint(&path).unwrap();
        if count == 1 {
            println!("writing");
        }
    }
}

#[test]
fn a_kill_at_any_instant_leaves_a_checkpoint() {
    let kills: u32 = std::env::var("PLYWOOD_KILLS").map_or(15, |kills| kills.parse().expect("a number of kills"));
    let folder = folder("kills");
    let path = folder.join("c.safetensors");
    let (mut leftovers, mut saves) = (0, 0.0);
    let mut random = u64::from(std::process::id());
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map_while(|line| line.ok()).any(|line| line.contains("writing"));
        assert!(ready, "the child writes");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((random >> 33) % 15_000));
        child.kill().unwrap();
        child.wait().unwrap();

        let mut trainer = equal_weights();
        trainer.load_checkpoint(&path).unwrap_or_else(|error| panic!("after kill {kill}: {error}"));
        let weight = one_weight(&trainer);
        assert!(weight >= 1.0 && weight.fract() == 0.0, "{weight}");
        saves += weight;
        leftovers += names(&folder).len() - 1;
        trainer.save_checkpoint(&path).unwrap();
        assert_eq!(names(&folder), ["c.safetensors"], "after kill {kill}");
    }
    // kills that never hit a write would prove nothing
    assert!(leftovers > 0 || kills < 100, "no kill left a temporary file");
    println!(
        "{kills} kills among {saves} saves, {leftovers} of them within a write: 0 unreadable, 0 mixed, 0 left over"
    );
}
