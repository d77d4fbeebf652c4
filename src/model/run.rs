//! The training loop: epochs of batches, and who is told about them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::fit::{Fit, NonFiniteLoss, Validation};
use super::gather::gather_inputs;
use super::history::History;
#[cfg(feature = "safetensors")]
use super::position::Snapshot;
use super::position::{Epochs, Position, RunState};
use super::trainer::{Refusal, Trainer, in_pool};
use crate::callbacks::{BatchEnd, Callback, Callbacks, Control, EpochEnd, TrainBegin};
use crate::data::{Batches, Dataset, Targets, epoch_order, validation_start};
use crate::error::{Error, Result};
use crate::losses::check_class_targets;
use crate::metrics::largest;
use crate::progress::Progress;
use crate::scalar::Scalar;

/// What does not change from one epoch to the next.
struct Run<'a, T: Scalar> {
    data: &'a Dataset<T>,
    fit: &'a Fit<'a, T>,
    /// Those that are trained on: the first of the data.
    samples: usize,
    /// A weight for each sample, of its class and its own.
    weights: Option<Vec<T>>,
}

impl<T: Scalar> Run<'_, T> {
    fn epochs(&self) -> Epochs {
        Epochs { samples: self.samples, batch_size: self.fit.batch_size, shuffle: self.fit.shuffle }
    }
}

/// A trainer while `fit` is at work on it: until this is dropped, which a panic in a callback does too.
struct AtWork<'t, T: Scalar>(&'t mut Trainer<T>);

impl<T: Scalar> Drop for AtWork<'_, T> {
    fn drop(&mut self) {
        self.0.in_epoch = false;
        #[cfg(feature = "safetensors")]
        self.0.requests.clear();
    }
}

impl<T: Scalar> Trainer<T> {
    /// Trains on all samples as often as asked, and tells how it went.
    ///
    /// Each step is handed over to rayon's thread pool by itself, so other threads can predict and train at the same time.
    /// Callbacks run on the thread that calls. Called on a thread of a pool, it stays in that pool, and keeps that thread
    /// until it returns.
    ///
    /// # Errors
    ///
    /// As [`train_step`](Self::train_step); all data are checked before the first step. [`Error::InvalidParameter`] if a
    /// setting of `fit` is out of range, or in a callback of another call; [`Error::LengthMismatch`] if there are not
    /// as many weights as samples.
    pub fn fit(&mut self, data: &Dataset<T>, fit: &Fit<'_, T>) -> Result<History> {
        self.fit_with(data, fit, &mut [])
    }

    /// The same, with [callbacks](crate::callbacks) that are told after each batch and epoch.
    ///
    /// # Errors
    ///
    /// As [`fit`](Self::fit), and those of the callbacks.
    pub fn fit_with(
        &mut self,
        data: &Dataset<T>,
        fit: &Fit<'_, T>,
        callbacks: &mut [&mut dyn Callback<T>],
    ) -> Result<History> {
        T::fit(self, data, fit, callbacks)
    }

    /// What [`fit_with`](Self::fit_with) does.
    pub(crate) fn train(
        &mut self,
        data: &Dataset<T>,
        fit: &Fit<'_, T>,
        callbacks: &mut [&mut dyn Callback<T>],
    ) -> Result<History> {
        if self.is_in_fit() {
            let expected = "a call when this one has returned: a run cannot begin within another";
            return Err(Error::invalid_parameter("trainer", "fit", "called in a callback", expected));
        }
        for (parameter, value) in [("epochs", fit.epochs), ("batch_size", fit.batch_size)] {
            if value == 0 {
                return Err(Error::invalid_parameter("fit", parameter, value, "at least 1"));
            }
        }
        self.check_model()?;
        self.check("training inputs", data.inputs().shape(), &data.targets().view())?;
        let samples = match fit.validation {
            Validation::None => data.len(),
            Validation::Data(validation) => {
                self.check("validation inputs", validation.inputs().shape(), &validation.targets().view())?;
                data.len()
            }
            Validation::Split(fraction) => validation_start(data.len(), fraction)?,
        };
        let run = Run { data, fit, samples, weights: weights(data, fit, self.model.output_shape())? };
        let mut callbacks = Callbacks { progress: Progress::new(fit.verbosity), others: callbacks };
        self.check_resumed(run.epochs(), &callbacks)?;
        self.ensure_workspace("fit", fit.batch_size.min(samples))?;
        let running = Arc::new(());
        self.running = Arc::downgrade(&running);
        self.restored_epoch = None;
        let trainer = AtWork(self);
        trainer.0.run_epochs(&run, &mut callbacks)
    }

    /// Whether the run that a checkpoint brought back, if there is one, can go on like this.
    fn check_resumed(&self, epochs: Epochs, callbacks: &Callbacks<'_, '_, T>) -> Result<()> {
        let Some(RunState { position, epochs: saved, callbacks: states, .. }) = &self.resumed else { return Ok(()) };
        if position.batch > 0 && epochs != *saved {
            let text = |Epochs { samples, batch_size, shuffle }| {
                format!(
                    "batches of {batch_size} of {samples} samples, {}",
                    if shuffle { "shuffled" } else { "in order" }
                )
            };
            let got = format!("{} where the checkpoint has {}", text(epochs), text(*saved));
            let expected = "what the run had that goes on within an epoch: the same data, batch_size and shuffle";
            return Err(Error::invalid_parameter("fit", "epoch", got, expected));
        }
        let missing = callbacks.without_callback(states);
        if !missing.is_empty() {
            let got = format!("without {}, of which the checkpoint has a state", missing.join(", "));
            return Err(Error::invalid_parameter("fit", "callbacks", got, "those of the run that goes on"));
        }
        Ok(())
    }

    fn run_epochs(&mut self, run: &Run<'_, T>, callbacks: &mut Callbacks<'_, '_, T>) -> Result<History> {
        let Run { data, fit, samples, .. } = *run;
        let figures = self.figures(!matches!(fit.validation, Validation::None));
        let batches = samples.div_ceil(fit.batch_size);
        let resumed = self.resumed.take();
        let state = resumed.clone().unwrap_or_default();
        let Position { epoch, batch, .. } = state.position;
        let begin = TrainBegin { epochs: fit.epochs, batches, samples, figures: &figures, epoch, batch, state: None };
        let learning_rate = self.optimizer().learning_rate();
        let running = self.running();
        let begun = self.begin(run, callbacks, &begin, &state);
        if begun.is_err() && self.check_running(&running).is_ok() {
            // who mends it can still go on
            self.resumed = resumed;
            self.optimizer_mut().set_learning_rate(learning_rate);
        }
        begun?;
        let mut position = state.position;

        let mut order: Vec<usize> = (0..samples).collect();
        // a run that had been ended before its checkpoint was made may have the rest of an epoch left, and nothing more
        while position.epoch < fit.epochs && (position.batch > 0 || !position.stopped) {
            position.since = Some(Instant::now());
            if fit.shuffle {
                epoch_order(&mut order, samples, self.model.seed(), self.epoch as u64);
            }
            let (loss, stopped) = self.run_batches(run, &order, &mut position, callbacks)?;
            let cut_short = stopped == Control::Stop && !position.stopped && position.batch < batches;
            let interrupted = cut_short.then(|| self.snapshot(run, &position, callbacks));
            self.epoch += 1;

            let mut values = vec![loss];
            values.extend(self.metrics().map(|(_, value)| value));
            let evaluation = match fit.validation {
                Validation::None => None,
                Validation::Data(validation) => Some(self.evaluate_samples(validation, 0..validation.len(), None)?),
                Validation::Split(_) => Some(self.evaluate_samples(data, samples..data.len(), fit.sample_weights)?),
            };
            if let Some(evaluation) = &evaluation {
                values.push(evaluation.loss);
                values.extend(evaluation.metrics().iter().map(|&(_, value)| value));
            }
            let values: Vec<(&str, f64)> = figures.iter().map(String::as_str).zip(values).collect();
            let seconds = position.elapsed();
            position.next_epoch();
            let epoch = position.epoch;
            position.history.push(epoch, seconds, &values);
            let end = EpochEnd { epoch, epochs: fit.epochs, seconds, values: &values };
            let told = self.tell(callbacks, |callback, trainer| callback.epoch_end(trainer, &end))?;
            position.stopped |= told == Control::Stop;
            self.write_requested(run, &position, callbacks, interrupted)?;
            if told == Control::Stop || stopped == Control::Stop {
                break;
            }
        }
        self.tell(callbacks, |callback, trainer| callback.train_end(trainer).map(Control::from))?;
        self.write_requested(run, &position, callbacks, None)?;
        Ok(position.history)
    }

    /// All that comes before the first step.
    fn begin(
        &mut self,
        run: &Run<'_, T>,
        callbacks: &mut Callbacks<'_, '_, T>,
        begin: &TrainBegin<'_>,
        resumed: &RunState,
    ) -> Result<()> {
        callbacks.begin(self, begin, &resumed.callbacks)?;
        self.check_model()?;
        self.optimizer().check()?;
        self.restore_metrics(&resumed.metrics)?;
        self.write_requested(run, &resumed.position, callbacks, None)
    }

    /// Tells all callbacks, each of which must leave the trainer, and a model that fits it.
    fn tell(
        &mut self,
        callbacks: &mut Callbacks<'_, '_, T>,
        mut tell: impl FnMut(&mut dyn Callback<T>, &mut Self) -> Result<Control>,
    ) -> Result<Control> {
        let running = self.running();
        let told = callbacks.each(|callback| {
            let told = tell(callback, self)?;
            self.check_running(&running)?;
            Ok(told)
        })?;
        self.check_model()?;
        Ok(told)
    }

    /// The names of what each epoch brings.
    fn figures(&self, validation: bool) -> Vec<String> {
        let mut figures = vec!["loss".to_owned()];
        figures.extend(self.metrics.iter().map(|metric| metric.name().to_owned()));
        if validation {
            figures.extend_from_within(..);
            let training = figures.len() / 2;
            figures[training..].iter_mut().for_each(|figure| figure.insert_str(0, "val_"));
        }
        figures
    }

    /// The steps of one epoch, from where it is; returns the mean loss of the samples seen.
    fn run_batches(
        &mut self,
        run: &Run<'_, T>,
        order: &[usize],
        position: &mut Position,
        callbacks: &mut Callbacks<'_, '_, T>,
    ) -> Result<(f64, Control)> {
        if position.batch == 0 {
            self.metrics.iter_mut().for_each(|metric| metric.reset());
        }
        self.in_epoch = true;
        let batches = Batches::new(run.samples, run.fit.batch_size)?;
        let (count, epoch) = (batches.len(), position.epoch + 1);
        let mut control = if position.stopped { Control::Stop } else { Control::Continue };
        for (batch, range) in batches.enumerate().skip(position.batch) {
            if control == Control::Stop {
                break;
            }
            let indices = &order[range];
            // a callback may have changed the learning rate
            self.optimizer().check()?;
            let (loss, refusal) = in_pool(self.is_small_step(indices.len()), || self.step_on_samples(run, indices));
            let refused = refusal.is_some();
            if let Some(refusal) = refusal
                && run.fit.non_finite_loss == NonFiniteLoss::Error
            {
                return Err(refusal.at(epoch, batch + 1));
            }
            position.batch = batch + 1;
            position.loss_sum += loss * indices.len() as f64;
            position.seen += indices.len();
            let (samples, mean_loss) = (position.seen, position.loss_sum / position.seen as f64);
            let end = BatchEnd { epoch, batch: batch + 1, batches: count, samples, loss, mean_loss };
            let told = self.tell(callbacks, |callback, trainer| callback.batch_end(trainer, &end))?;
            position.stopped = refused;
            self.write_requested(run, position, callbacks, None)?;
            let flagged = run.fit.stop_flag.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed));
            if told == Control::Stop || position.stopped || flagged {
                control = Control::Stop;
            }
        }
        self.in_epoch = false;
        Ok((position.loss_sum / position.seen as f64, control))
    }

    /// All that is to be saved beside weights and slots: the trainer's counters, how far the run is, and what metrics and
    /// callbacks remember.
    #[cfg(feature = "safetensors")]
    fn snapshot(&self, run: &Run<'_, T>, position: &Position, callbacks: &Callbacks<'_, '_, T>) -> Result<Snapshot> {
        let metrics = if position.batch > 0 { self.metric_states()? } else { vec![] };
        let position = Position { seconds: position.elapsed(), since: None, ..position.clone() };
        let run = RunState { position, epochs: run.epochs(), metrics, callbacks: callbacks.states() };
        Ok(self.snapshot_with(Some(run)))
    }

    #[cfg(not(feature = "safetensors"))]
    fn snapshot(&self, _: &Run<'_, T>, _: &Position, _: &Callbacks<'_, '_, T>) {}

    /// Writes the checkpoints that callbacks have asked for, now that all have been told. An epoch that was `interrupted`
    /// has been completed with the samples it has seen, but goes on where it was when its run does.
    #[cfg(feature = "safetensors")]
    fn write_requested(
        &mut self,
        run: &Run<'_, T>,
        position: &Position,
        callbacks: &Callbacks<'_, '_, T>,
        interrupted: Option<Result<Snapshot>>,
    ) -> Result<()> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let snapshot = interrupted.unwrap_or_else(|| self.snapshot(run, position, callbacks))?;
        for request in std::mem::take(&mut self.requests) {
            self.write_checkpoint(&request.path, &snapshot)?;
            for old in request.then_remove {
                // the new one is safe; an old one that cannot be removed only takes room
                let _ = std::fs::remove_file(old);
            }
        }
        Ok(())
    }

    #[cfg(not(feature = "safetensors"))]
    fn write_requested(&mut self, _: &Run<'_, T>, _: &Position, _: &Callbacks<'_, '_, T>, _: Option<()>) -> Result<()> {
        Ok(())
    }

    /// One step on these samples of data that has been checked; returns the loss, and why the step was not taken if it was
    /// not.
    fn step_on_samples(&mut self, run: &Run<'_, T>, indices: &[usize]) -> (f64, Option<Refusal>) {
        let workspace = self.workspace.as_mut().expect("made before the first epoch");
        let inputs = run.data.inputs().as_slice().expect("a data set's inputs are contiguous");
        gather_inputs(inputs, inputs.len() / run.data.len(), indices, workspace.input_mut());

        // what is gathered leaves the trainer for as long as the step borrows it
        let mut gathered = std::mem::take(&mut self.gathered);
        let (targets, weights) = gathered.gather(run.data.targets(), run.weights.as_deref(), indices);
        let targets = targets.for_output(self.model.output_shape());
        let regardless = run.fit.non_finite_loss == NonFiniteLoss::Ignore;
        let outcome = self.step_on_workspace(indices.len(), &targets, weights, regardless);
        if !self.metrics.is_empty() {
            let workspace = self.workspace.as_mut().expect("just used");
            let predictions = workspace.predictions(&self.model, indices.len());
            self.metrics.iter_mut().for_each(|metric| metric.update(predictions.view(), &targets));
        }
        self.gathered = gathered;
        outcome
    }
}

/// The weight of each sample: its own, times that of its class. None if all are 1.
fn weights<T: Scalar>(data: &Dataset<T>, fit: &Fit<'_, T>, output: &[usize]) -> Result<Option<Vec<T>>> {
    let invalid = |parameter, weight: &dyn std::fmt::Display| {
        Error::invalid_parameter("fit", parameter, weight, "finite numbers of at least 0")
    };
    if let Some(weights) = fit.sample_weights {
        if weights.len() != data.len() {
            return Err(Error::LengthMismatch { inputs: data.len(), what: "sample weights", targets: weights.len() });
        }
        if let Some(weight) = weights.iter().find(|weight| !weight.is_finite() || **weight < T::zero()) {
            return Err(invalid("sample_weights", weight));
        }
    }
    if fit.class_weights.is_empty() {
        return Ok(fit.sample_weights.map(<[T]>::to_vec));
    }

    check_class_targets("class_weights", output, &data.targets().view())?;
    let mut of_class = vec![T::one(); output[0]];
    for &(class, weight) in &fit.class_weights {
        if !T::of(weight).is_finite() || weight < 0.0 {
            return Err(invalid("class_weights", &weight));
        }
        let Some(of_class) = of_class.get_mut(class) else {
            let got = format!("a weight for class {class}");
            return Err(Error::invalid_parameter("fit", "class_weights", got, "classes that the model puts out"));
        };
        *of_class = T::of(weight);
    }
    let mut weights: Vec<T> = match data.targets() {
        Targets::Classes(classes) => classes.iter().map(|&class| of_class[class]).collect(),
        Targets::Values(rows) => {
            rows.outer_iter().map(|row| largest(&row).map_or(T::one(), |class| of_class[class])).collect()
        }
    };
    if let Some(own) = fit.sample_weights {
        weights.iter_mut().zip(own).for_each(|(weight, &own)| *weight *= own);
        if let Some(weight) = weights.iter().find(|weight| !weight.is_finite()) {
            return Err(invalid("class_weights", &format!("{weight} where multiplied by a sample's own weight")));
        }
    }
    Ok(Some(weights))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use approx::assert_relative_eq;
    use ndarray::{Array1, Array2, array};

    use super::*;
    use crate::callbacks::{on_batch_end, on_epoch_end};
    use crate::initializers::Initializer;
    use crate::layers::{Dense, Softmax};
    use crate::losses::{CategoricalCrossentropy, MeanSquaredError};
    use crate::metrics::Accuracy;
    use crate::model::Sequential;
    use crate::optimizers::SGD;

    /// y = w·x, from w = 1, at this learning rate.
    fn line(learning_rate: f64) -> Trainer<f64> {
        let layer = Dense::new(1).bias(false).kernel_initializer(Initializer::Ones);
        let model = Sequential::<f64>::with_input([1]).add(layer).build(7).unwrap();
        model.compile(SGD::new(learning_rate), MeanSquaredError)
    }

    /// x = 1, 2, … and targets 0: sample i has the loss (w·i)².
    fn squares(samples: usize) -> Dataset<f64> {
        let inputs = Array2::from_shape_fn((samples, 1), |(i, _)| i as f64 + 1.0);
        Dataset::new(inputs, Array2::zeros((samples, 1))).unwrap()
    }

    fn classifier() -> Trainer<f64> {
        let model = Sequential::<f64>::with_input([2]).add(Dense::new(3)).add(Softmax::new()).build(7).unwrap();
        model.compile(SGD::new(0.1), CategoricalCrossentropy::new()).metric(Accuracy::new())
    }

    fn classes() -> Dataset<f64> {
        let inputs = Array2::from_shape_fn((12, 2), |(i, j)| ((5 * i + 3 * j) % 7) as f64 - 3.0);
        Dataset::new(inputs, Array1::from_iter((0..12_usize).map(|i| i % 3))).unwrap()
    }

    #[test]
    fn figures_are_means_over_samples() {
        // batches of 4, 4 and 2
        let history = line(0.0).fit(&squares(10), &Fit::epochs(2).batch_size(4)).unwrap();
        let mean = (1..=10).map(|i| f64::from(i * i)).sum::<f64>() / 10.0;
        assert_relative_eq!(history.get("loss").unwrap()[..], [mean, mean][..], max_relative = 1e-15);
    }

    #[test]
    fn weights_multiply_losses_and_gradients() {
        let weights = [2.0, 0.0, 0.5];
        let mut trainer = line(0.01);
        let fit = Fit::epochs(1).shuffle(false).sample_weights(&weights);
        let history = trainer.fit(&squares(3), &fit).unwrap();
        // Σ w·x² / 3 and, with dl/dw = 2·w·x², a step of 0.01 · Σ w · 2·x² / 3
        assert_relative_eq!(history.last("loss").unwrap(), (2.0 + 4.5) / 3.0, max_relative = 1e-15);
        assert_relative_eq!(trainer.model().values()[0], 1.0 - 0.01 * 2.0 * 6.5 / 3.0, max_relative = 1e-15);
    }

    #[test]
    fn weights_go_with_their_samples_when_these_are_shuffled() {
        let weights: Vec<f64> = (1..=10).map(f64::from).collect();
        let history = line(0.0).fit(&squares(10), &Fit::epochs(3).batch_size(3).sample_weights(&weights)).unwrap();
        let mean = weights.iter().map(|i| i * i * i).sum::<f64>() / 10.0;
        assert_relative_eq!(history.get("loss").unwrap()[..], [mean; 3][..], max_relative = 1e-14);
    }

    #[test]
    fn class_weights_are_sample_weights_by_class() {
        let data = classes();
        let of_class = [0.25, 1.0, 3.0];
        let by_sample: Vec<f64> = (0..12).map(|i| of_class[i % 3]).collect();
        let fit = Fit::epochs(3).batch_size(5);
        let run = |data: &Dataset<f64>, fit: &Fit<'_, f64>| {
            let mut trainer = classifier();
            let history = trainer.fit(data, fit).unwrap();
            (history.get("loss"), trainer.into_model().values().to_vec())
        };
        let expected = run(&data, &fit.clone().sample_weights(&by_sample));
        let weights = [(2, 3.0), (0, 0.25)];
        assert_eq!(run(&data, &fit.clone().class_weights(weights)), expected);
        assert_eq!(run(&data.clone().one_hot(3).unwrap(), &fit.clone().class_weights(weights)), expected);
        assert_ne!(run(&data, &fit), expected);
        // both together multiply
        let squared: Vec<f64> = by_sample.iter().map(|weight| weight * weight).collect();
        let both = fit.clone().class_weights(weights).sample_weights(&by_sample);
        assert_eq!(run(&data, &both), run(&data, &fit.sample_weights(&squared)));
    }

    #[test]
    fn a_validation_split_is_training_on_the_first_part() {
        let fit = Fit::epochs(3).batch_size(4);
        let (first, last) = classes().split_last(0.3).unwrap();
        let mut expected = classifier();
        let expected_history = expected.fit(&first, &fit.clone().validation(&last)).unwrap();
        let mut trainer = classifier();
        let history = trainer.fit(&classes(), &fit.validation_split(0.3)).unwrap();
        assert_eq!(history.names(), ["loss", "accuracy", "val_loss", "val_accuracy"]);
        for name in history.names() {
            assert_eq!(history.get(name), expected_history.get(name), "{name}");
        }
        assert_eq!(trainer.model().values(), expected.model().values());
    }

    #[test]
    fn weights_of_a_validation_split_weigh_its_loss() {
        let weights = [1.0, 1.0, 2.0, 0.5];
        let fit = Fit::epochs(1).validation_split(0.5).sample_weights(&weights);
        let history = line(0.0).fit(&squares(4), &fit).unwrap();
        assert_relative_eq!(history.last("loss").unwrap(), 2.5, max_relative = 1e-15);
        assert_relative_eq!(history.last("val_loss").unwrap(), (2.0 * 9.0 + 0.5 * 16.0) / 2.0, max_relative = 1e-15);
    }

    #[test]
    fn training_ends_after_the_batch_in_which_it_is_told_to() {
        let stop_flag = Arc::new(AtomicBool::new(false));
        let fit = Fit::epochs(9).batch_size(2).shuffle(false).stop_flag(stop_flag.clone());
        let mut by_flag = on_batch_end(|trainer: &mut Trainer<f64>, _| {
            stop_flag.fetch_or(trainer.step() == 7, Ordering::Relaxed);
        });
        let mut by_control = on_batch_end(|trainer: &mut Trainer<f64>, _| match trainer.step() {
            7 => Control::Stop,
            _ => Control::Continue,
        });
        let mut expected = line(1e-3);
        for step in 0..7 {
            let x = array![[2.0 * f64::from(step % 5) + 1.0], [2.0 * f64::from(step % 5) + 2.0]];
            expected.train_step(&x, &Array2::zeros((2, 1))).unwrap();
        }
        for callback in [&mut by_flag as &mut dyn Callback<f64>, &mut by_control] {
            stop_flag.store(false, Ordering::Relaxed);
            let mut trainer = line(1e-3);
            let mut epochs = 0;
            let mut count = on_epoch_end(|_: &mut Trainer<f64>, _: &EpochEnd<'_>| epochs += 1);
            let history = trainer.fit_with(&squares(10), &fit, &mut [callback, &mut count]).unwrap();
            assert_eq!((trainer.step(), history.len(), epochs), (7, 2, 2));
            assert_eq!(trainer.model().values(), expected.model().values());
        }
    }

    #[test]
    fn a_loss_that_is_not_finite_is_dealt_with_as_asked() {
        let inputs = array![[1.0], [1.0], [1.0], [1.0], [f64::NAN], [1.0]];
        let data = Dataset::new(inputs, Array2::zeros((6, 1))).unwrap();
        let run = |policy| {
            let mut trainer = line(0.25);
            let fit = Fit::epochs(2).batch_size(2).shuffle(false).non_finite_loss(policy);
            let history = trainer.fit(&data, &fit).map_err(|error| error.to_string());
            (history, trainer.step(), trainer.model().values()[0])
        };
        // each good step halves the weight
        let (error, steps, weight) = run(NonFiniteLoss::Error);
        assert_eq!(
            error.unwrap_err(),
            "the loss is NaN in epoch 1, batch 3; lower the learning rate or look for NaN in the data (the weights have \
             not been changed by this batch)"
        );
        assert_eq!((steps, weight), (2, 0.25));

        let (history, steps, weight) = run(NonFiniteLoss::Stop);
        let history = history.unwrap();
        assert!(history.len() == 1 && history.last("loss").unwrap().is_nan());
        assert_eq!((steps, weight), (2, 0.25));

        let (history, steps, weight) = run(NonFiniteLoss::Ignore);
        assert!(history.unwrap().len() == 2 && weight.is_nan());
        assert_eq!(steps, 6);
    }

    #[test]
    fn settings_that_do_not_fit_are_told_before_training() {
        let message = |fit: &Fit<'_, f64>| classifier().fit(&classes(), fit).unwrap_err().to_string();
        let fit = || Fit::epochs(1);
        assert_eq!(message(&Fit::epochs(0)), "fit: epochs is 0, expected at least 1");
        assert_eq!(message(&fit().batch_size(0)), "fit: batch_size is 0, expected at least 1");
        assert_eq!(
            message(&fit().validation_split(1.0)),
            "validation split: fraction is 1.0, expected above 0 and below 1"
        );
        assert_eq!(
            message(&fit().sample_weights(&[1.0; 11])),
            "got 12 inputs but 11 sample weights; there must be one for each input"
        );
        let mut weights = [1.0; 12];
        weights[3] = f64::NAN;
        assert_eq!(
            message(&fit().sample_weights(&weights)),
            "fit: sample_weights is NaN, expected finite numbers of at least 0"
        );
        assert_eq!(
            message(&fit().class_weights([(0, -1.0)])),
            "fit: class_weights is -1, expected finite numbers of at least 0"
        );
        assert_eq!(
            message(&fit().class_weights([(3, 1.0)])),
            "fit: class_weights is a weight for class 3, expected classes that the model puts out"
        );
    }
}
