//! A training step and a prediction allocate nothing once they are warm, small batches included, and an epoch nothing for
//! its batches.

mod common;
#[path = "../benches/models/mod.rs"]
mod models;

use std::alloc::System;
use std::sync::Barrier;
use std::time::Duration;

use common::{numbers, pool};
use models::models;
use plywood::model::Sequential;
use plywood::ndarray::{Array1, Array2, Axis, Slice};
use plywood::prelude::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Counts for all threads of the process. So there is one test here: another would allocate while it runs.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often memory is asked for while something runs.
fn allocations(work: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    change.allocations + change.reallocations
}

fn trainer(model: &Sequential) -> Trainer {
    let model = model.clone().build(1).expect("the shapes fit");
    model.compile(RMSprop::default(), CategoricalCrossentropy::new()).metric(Accuracy::new())
}

fn data(model: &Sequential, samples: usize) -> Dataset {
    let model = model.clone().build(1).expect("the shapes fit");
    let inputs = numbers(&[&[samples], model.input_shape()].concat(), 1);
    Dataset::new(inputs, Array1::from_shape_fn(samples, |i| i % 10)).expect("as many classes as inputs")
}

/// Lets both of two threads look for the other's work: they allocate when they do so for the first time.
fn wake_threads() {
    let both = Barrier::new(2);
    let second = || {
        both.wait();
        std::thread::sleep(Duration::from_millis(20));
    };
    // the first, which is done sooner, looks for more to do
    rayon::join(|| both.wait(), second);
}

/// What steps on batches and on a small one allocate.
fn in_steps(model: &Sequential, batch: usize) -> usize {
    let (whole, rest) = (data(model, batch), data(model, batch / 3));
    let rows = whole.clone().one_hot(10).expect("there are ten classes");
    let mut trainer = trainer(model);
    let mut step = |data: &Dataset| {
        trainer.train_step(data.inputs(), data.targets()).expect("the data fit the model");
    };
    let mut steps = || [&whole, &rest, &rows, &whole].into_iter().for_each(&mut step);
    steps();
    allocations(steps)
}

/// What predictions of batches, of a small one and of inputs that do not lie in one piece allocate.
fn in_predictions(model: &Sequential, batch: usize) -> usize {
    let x = data(model, 2 * batch + 3).inputs().clone();
    let model = model.clone().build(1).expect("the shapes fit");
    let mut predictor = model.predictor(batch);
    let mut y = Array2::zeros((x.len_of(Axis(0)), 10));
    let mut predictions = || {
        for slice in [Slice::from(..), Slice::from(..batch), Slice::from(..1), Slice::from(..).step_by(2)] {
            let x = x.slice_axis(Axis(0), slice);
            let mut y = y.slice_axis_mut(Axis(0), Slice::from(..x.len_of(Axis(0))));
            predictor.predict_into(&x, &mut y).expect("the shapes fit");
        }
    };
    predictions();
    allocations(predictions)
}

/// What two epochs of so many batches, the last of them small, allocate.
fn in_epochs(model: &Sequential, batches: usize) -> usize {
    const BATCH: usize = 8;
    let data = data(model, batches * BATCH - 3);
    let mut trainer = trainer(model);
    allocations(|| {
        trainer.fit(&data, &Fit::epochs(2).batch_size(BATCH)).expect("the data fit the model");
    })
}

#[test]
fn nothing_is_allocated_when_warm() {
    let elsewhere =
        allocations(|| std::thread::spawn(|| drop(std::hint::black_box(vec![1]))).join().expect("no panic"));
    assert!(elsewhere > 0, "what other threads allocate is counted");

    let mut failures = vec![];
    for threads in [1, 2] {
        // within the pool, as steps by hand would otherwise pay for being handed over to it
        pool(threads).install(|| {
            if threads == 2 {
                wake_threads();
            }
            for (name, model, batch) in models() {
                for (what, count) in [
                    ("steps", in_steps(&model, batch)),
                    ("predictions", in_predictions(&model, batch)),
                    ("10 more batches", in_epochs(&model, 20).abs_diff(in_epochs(&model, 10))),
                ] {
                    if count > 0 {
                        failures.push(format!("{name}: {what} allocate {count} times on {threads} threads"));
                    }
                }
            }
        });
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
