//! The training loop written out: the order of an epoch, its batches, a step on each, and what `fit` would do besides.
//!
//! A small network learns handwritten digits, with a learning rate that falls with every step.
//!
//!     cargo run --example custom_loop
//!     cargo run --example custom_loop -- --help

mod common;

use common::{Example, Outcome};
use plywood::data::{Batches, Targets, epoch_order};
use plywood::ndarray::Axis;
use plywood::prelude::*;

fn main() -> Outcome {
    let example = Example {
        name: "custom_loop",
        about: "Trains a small network on handwritten digits, in a loop written out by hand.",
        data: "data/mnist",
        epochs: 3,
        batch_sizes: [128],
        checkpoints: false,
    };
    let options = example.options();
    let data = options.load()?;
    let (train, test) = (data.train.reshape_inputs([784])?, data.test.reshape_inputs([784])?);
    let Targets::Classes(classes) = train.targets() else { unreachable!("labels are class indices") };

    let model = Sequential::input([784])
        .add(Dense::new(128).activation(Activation::ReLU))
        .add(Dense::new(10).activation(Activation::Softmax))
        .build(options.seed)?;
    let mut trainer =
        model.compile(SGD::new(0.1).momentum(0.9), CategoricalCrossentropy::new()).metric(Accuracy::new());

    let [batch_size] = options.batch_sizes;
    let mut order = Vec::new();
    for epoch in 0..options.epochs {
        epoch_order(&mut order, train.len(), options.seed, epoch as u64);
        let (mut sum, mut norm) = (0.0, 0.0_f32);
        for batch in Batches::new(train.len(), batch_size)? {
            let indices = &order[batch];
            let (x, y) = (train.inputs().select(Axis(0), indices), classes.select(Axis(0), indices));
            let rate = 0.1 / (1.0 + trainer.step() as f64 / 500.0);
            trainer.optimizer_mut().set_learning_rate(rate);
            sum += trainer.train_step(&x, &y)? * indices.len() as f64;
            norm = trainer.gradients().iter().map(|g| g * g).sum::<f32>().sqrt();
        }
        let loss = sum / train.len() as f64;
        println!("epoch {}  loss {loss:.4}  last gradient's norm {norm:.4}  {}", epoch + 1, trainer.evaluate(&test)?);
    }
    Ok(())
}
