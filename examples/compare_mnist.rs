//! A dense and a convolutional network learn the same digits, side by side.
//!
//! Trains the models of `dense_mnist` and `cnn_mnist`, draws their curves, and prints a table of what each costs and reaches.
//! `compare_mnist.svg` has accuracy and loss on the training images in one chart, `curves.svg` each in a panel of its own, on
//! training and on test images.
//!
//!     cargo run --example compare_mnist
//!     cargo run --example compare_mnist -- --help

mod common;

use std::time::Instant;

use common::{Example, Outcome};
use plywood::plot::{Chart, Color, Figure};
use plywood::prelude::*;

/// What became of a model.
struct Trained {
    parameters: usize,
    history: History,
    /// Of an epoch, without the evaluation after it.
    seconds: f64,
    images_per_second: f64,
    test_accuracy: f64,
}

fn main() -> Outcome {
    let example = Example {
        name: "compare_mnist",
        about: "Trains a dense and a convolutional network on the same digits, side by side.",
        data: "data/mnist",
        epochs: 10,
        batch_sizes: [128, 64],
        checkpoints: false,
    };
    let options = example.options();
    let data = options.load()?;
    let (train, test) = (data.train.one_hot(10)?, data.test.one_hot(10)?);

    let [dense_batch, cnn_batch] = options.batch_sizes;
    let fit = |batch_size| Fit::epochs(options.epochs).batch_size(batch_size);

    println!("dense");
    let (train, test) = (train.reshape_inputs([784])?, test.reshape_inputs([784])?);
    let model = Sequential::input([784])
        .add(Dense::new(512).activation(Activation::ReLU))
        .add(Dense::new(10).activation(Activation::Softmax))
        .build(options.seed)?;
    let dense = run(model, &train, &test, &fit(dense_batch))?;

    println!("convolutional");
    let (train, test) = (train.reshape_inputs([28, 28, 1])?, test.reshape_inputs([28, 28, 1])?);
    let convolution = |filters| Conv2D::new(filters, 3).activation(Activation::ReLU);
    let model = Sequential::input([28, 28, 1])
        .add(convolution(32))
        .add(MaxPooling2D::new(2))
        .add(convolution(64))
        .add(MaxPooling2D::new(2))
        .add(convolution(64))
        .add(Flatten::new())
        .add(Dense::new(64).activation(Activation::ReLU))
        .add(Dense::new(10).activation(Activation::Softmax))
        .build(options.seed)?;
    let cnn = run(model, &train, &test, &fit(cnn_batch))?;

    let models = [("dense", Color::RED, &dense), ("convolutional", Color::GREEN, &cnn)];
    let figure = |trained: &Trained, name| trained.history.get(name).expect("every run measures loss and accuracy");

    let mut chart = Chart::new("Training and validation accuracy by different model").axes("Epochs", "Accuracy");
    for (name, color, trained) in models {
        chart = chart.dots(format!("{name}: training accuracy"), color, figure(trained, "accuracy"));
        chart = chart.line(format!("{name}: training loss"), color, figure(trained, "loss"));
    }
    let one_chart = options.out.join("compare_mnist.svg");
    Figure::from(chart).write(&one_chart)?;

    let panel = |title: &str, training, test| {
        let mut chart = Chart::new(title).axes("Epoch", title.to_lowercase());
        for (name, color, trained) in models {
            chart = chart.line(format!("{name}: training"), color, figure(trained, training));
            chart = chart.dashed(format!("{name}: test"), color, figure(trained, test));
        }
        chart
    };
    let two_panels = options.out.join("curves.svg");
    Figure::from_iter([panel("Accuracy", "accuracy", "val_accuracy"), panel("Loss", "loss", "val_loss")])
        .write(&two_panels)?;

    println!("\n{:20}{:>14}{:>16}", "", "dense", "convolutional");
    let row = |name, figure: fn(&Trained) -> String| println!("{name:20}{:>14}{:>16}", figure(&dense), figure(&cnn));
    row("parameters", |trained| trained.parameters.to_string());
    row("seconds per epoch", |trained| format!("{:.2}", trained.seconds));
    row("images/s", |trained| format!("{:.0}", trained.images_per_second));
    row("training accuracy", |trained| format!("{:.4}", trained.history.last("accuracy").unwrap_or(f64::NAN)));
    row("test accuracy", |trained| format!("{:.4}", trained.test_accuracy));
    println!("\n{}\n{}", one_chart.display(), two_panels.display());
    Ok(())
}

fn run(model: Sequential, train: &Dataset, test: &Dataset, fit: &Fit) -> plywood::Result<Trained> {
    let parameters = model.parameter_count();
    let mut trainer = model.compile(RMSprop::default(), CategoricalCrossentropy::default()).metric(Accuracy::new());
    let history = trainer.fit(train, &fit.clone().validation(test).verbosity(Verbosity::Progress))?;
    let start = Instant::now();
    let test_accuracy = trainer.evaluate(test)?.get("accuracy").unwrap_or(f64::NAN);
    let seconds = mean(&history.seconds()) - start.elapsed().as_secs_f64();
    Ok(Trained { parameters, history, seconds, images_per_second: train.len() as f64 / seconds, test_accuracy })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
