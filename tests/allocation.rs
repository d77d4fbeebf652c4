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
use plywood::layers::{Add, Concatenate};
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

fn trainer(model: &Model) -> Trainer {
    model.clone().compile(RMSprop::default(), CategoricalCrossentropy::new()).metric(Accuracy::new())
}

fn data(model: &Model, samples: usize) -> Dataset {
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

/// What steps on batches, on a small one and on what does not lie in one piece allocate.
fn in_steps(model: &Model, batch: usize) -> usize {
    let (whole, rest) = (data(model, batch), data(model, batch / 3));
    let rows = whole.clone().one_hot(10).expect("there are ten classes");
    let Targets::Values(targets) = rows.targets() else { unreachable!("they have been made rows") };
    let by_class = targets.t().as_standard_layout().into_owned();
    // each second sample, and targets that lie class by class; of more than four axes, the view itself takes memory
    let strided = Slice::from(..).step_by(2);
    let x = whole.inputs().slice_axis(Axis(0), strided);
    let mut trainer = trainer(model);
    let mut steps = || {
        for data in [&whole, &rest, &rows, &whole] {
            trainer.train_step(data.inputs(), data.targets()).expect("the data fit the model");
        }
        trainer.train_step(whole.inputs(), by_class.t()).expect("the data fit the model");
        if x.ndim() <= 4 {
            trainer.train_step(&x, by_class.t().slice_axis(Axis(0), strided)).expect("the data fit the model");
        }
    };
    steps();
    allocations(steps)
}

/// What steps and predictions allocate that are handed over to the pool from outside.
fn from_outside(model: &Model, batch: usize, times: usize) -> usize {
    let data = data(model, batch);
    let mut trainer = trainer(model);
    let (mut predictor, mut y) = (model.predictor(batch), Array2::zeros((batch, 10)));
    let mut both = |times| {
        for _ in 0..times {
            trainer.train_step(data.inputs(), data.targets()).expect("the data fit the model");
            predictor.predict_into(data.inputs(), &mut y).expect("the shapes fit");
        }
    };
    both(2);
    allocations(|| both(times))
}

/// Samples of so many axes that views of them take memory.
fn many_axes() -> Model {
    Sequential::input([2, 3, 4, 5, 6])
        .add(ReLU::new())
        .add(Softmax::new())
        .add(Flatten::new())
        .add(Dense::new(300).activation(Activation::ReLU))
        .add(Dense::new(10).activation(Activation::Softmax))
        .build(1)
        .expect("the shapes fit")
}

/// A residual block, whose values have several consumers and whose state changes with each step.
fn residual() -> Model {
    let x = Value::input([9, 9, 4]);
    let convolution = || Conv2D::new(4, 3).padding(Padding::Same).bias(false);
    let y = x.then(convolution()).then(BatchNormalization::new()).then(ReLU::new()).then(convolution());
    let y = Concatenate::of([&Add::of([&y, &x, &y]), &y]).then(Flatten::new());
    let y = y.then(Dense::new(10).activation(Activation::Softmax));
    Functional::new([&x], [&y]).build(1).expect("the shapes fit")
}

/// What predictions of batches, of a small one and of inputs and outputs that do not lie in one piece allocate.
fn in_predictions(model: &Model, batch: usize) -> usize {
    let x = data(model, 2 * batch + 3).inputs().clone();
    let mut predictor = model.predictor(batch);
    let mut y = Array2::zeros((x.len_of(Axis(0)), 10));
    let mut by_class = Array2::zeros((10, x.len_of(Axis(0))));
    let slices = [Slice::from(..), Slice::from(..batch), Slice::from(..1), Slice::from(..).step_by(2)];
    let inputs = slices.map(|slice| x.slice_axis(Axis(0), slice));
    let mut predictions = || {
        for x in inputs.iter().filter(|x| x.ndim() <= 4 || x.is_standard_layout()) {
            let mut y = y.slice_axis_mut(Axis(0), Slice::from(..x.len_of(Axis(0))));
            predictor.predict_into(x, &mut y).expect("the shapes fit");
            let mut y = by_class.slice_axis_mut(Axis(1), Slice::from(..x.len_of(Axis(0))));
            y.swap_axes(0, 1);
            predictor.predict_into(x, &mut y).expect("the shapes fit");
        }
    };
    predictions();
    allocations(predictions)
}

/// What two epochs of so many batches, the last of them small, allocate.
fn in_epochs(model: &Model, batches: usize) -> usize {
    const BATCH: usize = 8;
    let data = data(model, batches * BATCH - 3);
    let mut trainer = trainer(model);
    allocations(|| {
        trainer.fit(&data, &Fit::epochs(2).batch_size(BATCH).micro_batches(3)).expect("the data fit the model");
    })
}

/// Each model with a name, and its batch.
fn all_models() -> Vec<(&'static str, Model, usize)> {
    let built = models().into_iter().map(|(name, model, batch)| (name, model.build(1).expect("the shapes fit"), batch));
    built.chain([("many axes", many_axes(), 24), ("residual", residual(), 24)]).collect()
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
            for (name, model, batch) in all_models() {
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
    // rayon's queue of what comes from outside takes memory once in 63 times. A step is handed over whole, except for a
    // small one with batch normalization, which stays on the calling thread but for the passes over the columns: with
    // the prediction, up to 4 for a call on average.
    const TIMES: usize = 126;
    rayon::scope(|_| wake_threads());
    for (name, model, batch) in all_models() {
        let count = from_outside(&model, batch.min(24), TIMES / 2);
        let handed_over = TIMES * if name == "residual" { 4 } else { 1 };
        if count > handed_over / 63 + 1 {
            failures.push(format!("{name}: from outside {TIMES} calls allocate {count} times"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
