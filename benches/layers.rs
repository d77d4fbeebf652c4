//! Throughput of layers, optimizers, training steps and prediction, in images a second.
//!
//!     cargo bench --bench layers
//!     cargo bench --bench layers -- conv2

mod models;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use models::models;
use plywood::layers::Layer;
use plywood::ndarray::{Array1, Array2, ArrayD, IxDyn};
use plywood::optimizers::{Adam, Update};
use plywood::prelude::*;
use plywood::testing::LayerRun;

/// Numbers without a pattern that a cache or a branch predictor could learn, the same in every run.
fn numbers(shape: &[usize]) -> ArrayD<f32> {
    let mut state = 1_u64;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    })
}

/// Forward; backward to the parameters alone; backward to parameters and input.
fn passes(criterion: &mut Criterion, name: &str, layer: impl Layer<f32>, sample: &[usize], batch: usize) {
    let mut run = LayerRun::<f32>::new(layer, sample, batch, 1).expect("the shapes fit");
    let shape = run.x().shape().to_vec();
    run.x_mut().assign(&numbers(&shape));
    let shape = run.y().shape().to_vec();
    run.dy_mut().assign(&numbers(&shape));
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(batch as u64));
    group.bench_function("forward", |bencher| bencher.iter(|| run.forward()));
    if !run.parameters().is_empty() {
        group.bench_function("weight gradient", |bencher| bencher.iter(|| run.backward(false)));
    }
    group.bench_function("weight and input gradient", |bencher| bencher.iter(|| run.backward(true)));
    group.finish();
}

fn layers(criterion: &mut Criterion) {
    passes(criterion, "dense 784→512", Dense::new(512), &[784], 128);
    passes(criterion, "dense 512→10", Dense::new(10), &[512], 128);
    passes(criterion, "conv1 28×28×1→32", Conv2D::new(32, 3), &[28, 28, 1], 64);
    passes(criterion, "conv2 13×13×32→64", Conv2D::new(64, 3), &[13, 13, 32], 64);
    passes(criterion, "conv3 5×5×64→64", Conv2D::new(64, 3), &[5, 5, 64], 64);
    passes(criterion, "conv 56×56×64→64", Conv2D::new(64, 3).padding(Padding::Same), &[56, 56, 64], 8);
    passes(criterion, "conv 56×56×64→64, strides 2", Conv2D::new(64, 3).strides(2), &[56, 56, 64], 8);
    passes(criterion, "max_pooling2d 26×26×32", MaxPooling2D::new(2), &[26, 26, 32], 64);
    passes(criterion, "re_lu 26×26×32", ReLU::new(), &[26, 26, 32], 64);
    passes(criterion, "softmax 10", Softmax::new(), &[10], 128);
}

fn optimizers(criterion: &mut Criterion) {
    const PARAMETERS: usize = 407_050;
    let mut group = criterion.benchmark_group("optimizers");
    group.throughput(Throughput::Elements(PARAMETERS as u64));
    let all: [(&str, Box<dyn Optimizer>); 4] = [
        ("RMSprop", Box::new(RMSprop::default())),
        ("RMSprop, centered, with momentum", Box::new(RMSprop::default().centered(true).momentum(0.9))),
        ("SGD with momentum", Box::new(SGD::new(0.01).momentum(0.9))),
        ("Adam", Box::new(Adam::default())),
    ];
    for (name, optimizer) in all {
        let mut parameters = numbers(&[PARAMETERS]).into_raw_vec_and_offset().0;
        let gradients = parameters.clone();
        let mut slots = vec![vec![0.0; PARAMETERS]; optimizer.slots()];
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut slots: Vec<&mut [f32]> = slots.iter_mut().map(Vec::as_mut_slice).collect();
                optimizer.update(Update {
                    factors: Default::default(),
                    step: 1,
                    parameters: &mut parameters,
                    gradients: &gradients,
                    slots: &mut slots,
                });
            });
        });
    }
    group.finish();
}

fn training(criterion: &mut Criterion) {
    for (name, model, batch) in models() {
        let model = model.build(1).expect("the shapes fit");
        let x = numbers(&[&[batch], model.input_shape()].concat());
        let y = Array1::from_shape_fn(batch, |i| i % 10);
        // weights that hardly move, so that each step is like the first
        let optimizer = RMSprop::default().learning_rate(1e-12);
        let mut trainer = model.compile(optimizer, CategoricalCrossentropy::default());
        let mut group = criterion.benchmark_group("training step");
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(trainer.train_step(&x, &y).expect("the batch fits")));
        });
        group.finish();
    }
}

fn prediction(criterion: &mut Criterion) {
    for (name, model, _) in models() {
        let model = model.build(1).expect("the shapes fit");
        for batch in [1, 32, 256] {
            let x = numbers(&[&[batch], model.input_shape()].concat());
            let mut y = Array2::zeros((batch, 10));
            let mut predictor = model.predictor(batch);
            let mut group = criterion.benchmark_group(format!("prediction, {name}"));
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(format!("batch {batch}"), |bencher| {
                bencher.iter(|| predictor.predict_into(&x, &mut y).expect("the batch fits"));
            });
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = layers, optimizers, training, prediction
}
criterion_main!(benches);
