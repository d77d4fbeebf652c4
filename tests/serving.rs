//! Training and serving live together in one process: who predicts waits for steps and not for epochs, and nobody's run
//! waits for another one's end.
//!
//! How many threads rayon's pool has is decided once in a process, so each case runs in one of its own. What must not
//! hang is ended after a while.

mod common;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::numbers;
use plywood::callbacks::{BatchEnd, TimeBudget, on_batch_end};
use plywood::ndarray::{Array1, Array2};
use plywood::prelude::*;

/// Long beside what it takes, in which a hang is certain.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A model whose passes are cut into tasks.
fn model(seed: u64) -> Sequential {
    let dense = || Dense::new(300).activation(Activation::ReLU);
    Sequential::input([200]).add(dense()).add(dense()).add(Dense::new(10)).build(seed).expect("the shapes fit")
}

fn data() -> Dataset {
    Dataset::new(numbers(&[256, 200], 1), Array1::from_shape_fn(256, |i| i % 10)).expect("as many classes as inputs")
}

fn trainer(seed: u64) -> Trainer {
    model(seed).compile(SGD::new(1e-6), CategoricalCrossentropy::new().from_logits(true))
}

/// A run that only the flag ends.
fn endless(flag: &Arc<AtomicBool>) -> Fit<'static> {
    Fit::epochs(usize::MAX).batch_size(64).stop_flag(flag.clone())
}

/// Runs a test of this file in a process with so many threads.
#[track_caller]
fn runs_to_its_end(test: &str, threads: usize) {
    let mut process = Command::new(std::env::current_exe().expect("this test is a program"))
        .args([test, "--exact", "--ignored"])
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("this test can be run again");
    let start = Instant::now();
    loop {
        if let Some(status) = process.try_wait().expect("it has been started") {
            return assert!(status.success(), "{test} on {threads} threads");
        }
        if start.elapsed() > TIMEOUT {
            process.kill().expect("it still runs");
            process.wait().expect("it has been started");
            panic!("{test} on {threads} threads hangs");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_prediction_waits_for_steps_only() {
    runs_to_its_end("predict_while_another_thread_trains", 1);
    runs_to_its_end("predict_while_another_thread_trains", 2);
}

#[test]
#[ignore = "another test runs it in a process of its own"]
fn predict_while_another_thread_trains() {
    let flag = Arc::new(AtomicBool::new(false));
    let fit = endless(&flag);
    let (begun, is_training) = mpsc::channel();
    let run = thread::spawn(move || {
        let mut tell = on_batch_end(move |_: &mut Trainer, batch: &BatchEnd| {
            if batch.batch == 1 && batch.epoch == 1 {
                begun.send(()).expect("the other thread waits for it");
            }
        });
        let mut trainer = trainer(1);
        trainer.fit_with(&data(), &fit, &mut [&mut tell]).expect("the data fit the model");
        trainer.step()
    });
    is_training.recv().expect("training begins");
    let (served, x) = (model(2), numbers(&[2000, 200], 3));
    let expected = served.predict(&x).expect("the shapes fit");
    for _ in 0..20 {
        assert_eq!(served.predict(&x).expect("the shapes fit"), expected);
    }
    let evaluated = trainer(2).evaluate(&data()).expect("the data fit the model");
    assert!(evaluated.loss.is_finite());
    flag.store(true, Ordering::Relaxed);
    assert!(run.join().expect("no panic") > 0);
}

#[test]
fn a_run_does_not_wait_for_the_end_of_another() {
    runs_to_its_end("train_beside_a_run_without_end", 1);
    runs_to_its_end("train_beside_a_run_without_end", 2);
}

#[test]
#[ignore = "another test runs it in a process of its own"]
fn train_beside_a_run_without_end() {
    for trial in 0..12 {
        let flag = Arc::new(AtomicBool::new(false));
        let fit = endless(&flag);
        let other = thread::spawn(move || {
            // now before and now after the first steps of the run that is to end
            thread::sleep(Duration::from_millis(10 * (trial % 3)));
            trainer(1).fit(&data(), &fit).expect("the data fit the model")
        });
        let mut budget = TimeBudget::new(Duration::from_millis(100));
        let fit = Fit::epochs(usize::MAX).batch_size(64);
        trainer(2).fit_with(&data(), &fit, &mut [&mut budget]).expect("the data fit the model");
        // it ends after this one only
        flag.store(true, Ordering::Relaxed);
        other.join().expect("no panic");
    }
}

#[test]
fn a_callback_may_wait_for_another_threads_prediction() {
    runs_to_its_end("predict_for_a_callback", 1);
}

#[test]
#[ignore = "another test runs it in a process of its own"]
fn predict_for_a_callback() {
    let mut serve = on_batch_end(|trainer: &mut Trainer, _: &BatchEnd| {
        let (model, x) = (trainer.model(), numbers(&[2000, 200], 3));
        thread::scope(|scope| {
            let prediction = scope.spawn(|| model.predict(&x).map(drop));
            prediction.join().expect("no panic").expect("the shapes fit");
        });
    });
    let fit = Fit::epochs(1).batch_size(64);
    trainer(1).fit_with(&data(), &fit, &mut [&mut serve]).expect("the data fit the model");
}

#[test]
fn callbacks_run_on_the_thread_that_calls() {
    let caller = thread::current().id();
    let calls = AtomicUsize::new(0);
    let count = |_: &mut Trainer, _: &BatchEnd| {
        assert_eq!(thread::current().id(), caller);
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let fit = Fit::epochs(2).batch_size(64);
    trainer(1).fit_with(&data(), &fit, &mut [&mut on_batch_end(count)]).expect("the data fit the model");
    assert_eq!(calls.into_inner(), 8);
}

#[test]
fn a_run_in_a_pool_stays_in_it() {
    let pool = common::pool(3);
    let (name, fit) = (|| rayon::current_num_threads(), Fit::epochs(1).batch_size(64));
    let mut seen = vec![];
    pool.install(|| {
        let mut note = on_batch_end(|_: &mut Trainer, _: &BatchEnd| {
            seen.push((name(), rayon::current_thread_index().is_some()));
        });
        trainer(1).fit_with(&data(), &fit, &mut [&mut note]).expect("the data fit the model");
    });
    assert_eq!(seen, [(3, true); 4]);
    let (x, mut y) = (numbers::<f32>(&[3000, 200], 3), Array2::zeros((3000, 10)));
    let model = model(1);
    pool.install(|| model.predictor(7).predict_into(&x, &mut y)).expect("the shapes fit");
    assert_eq!(model.predict(&x).expect("the shapes fit"), y.into_dyn(), "however the batches are handed over");
}
