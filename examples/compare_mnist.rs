//! A dense and a convolutional network learn the same digits, side by side.
//!
//! Trains the models of `dense_mnist` and `cnn_mnist`, draws training accuracy and loss of both over the epochs into one
//! picture, `compare_mnist.svg`, and prints a table of what each costs and reaches.
//!
//!     cargo run --example compare_mnist
//!     cargo run --example compare_mnist -- --help

mod common;

use common::{Example, Outcome};
use plywood::plot::{Chart, Color, Figure};
use plywood::prelude::*;

/// What became of a model.
struct Trained {
    parameters: usize,
    history: History,
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

    let mut chart = Chart::new("Training and validation accuracy by different model").axes("Epochs", "Accuracy");
    for (name, color, trained) in [("dense", Color::RED, &dense), ("convolutional", Color::GREEN, &cnn)] {
        let figure = |name| trained.history.get(name).expect("every run measures loss and accuracy");
        chart = chart.dots(format!("{name}: training accuracy"), color, figure("accuracy"));
        chart = chart.line(format!("{name}: training loss"), color, figure("loss"));
    }
    let picture = options.out.join("compare_mnist.svg");
    Figure::from(chart).write(&picture)?;

    println!("\n{:20}{:>14}{:>16}", "", "dense", "convolutional");
    let row = |name, figure: fn(&Trained) -> String| println!("{name:20}{:>14}{:>16}", figure(&dense), figure(&cnn));
    row("parameters", |trained| trained.parameters.to_string());
    row("seconds per epoch", |trained| format!("{:.2}", mean(&trained.history.seconds())));
    row("images/s", |trained| format!("{:.0}", trained.images_per_second));
    row("training accuracy", |trained| format!("{:.4}", trained.history.last("accuracy").unwrap_or(f64::NAN)));
    row("test accuracy", |trained| format!("{:.4}", trained.test_accuracy));
    println!("\n{}", picture.display());
    Ok(())
}

fn run(model: Model, train: &Dataset, test: &Dataset, fit: &Fit) -> plywood::Result<Trained> {
    let parameters = model.parameter_count();
    let mut trainer = model.compile(RMSprop::default(), CategoricalCrossentropy::default()).metric(Accuracy::new());
    let history = trainer.fit(train, &fit.clone().verbosity(Verbosity::Progress))?;
    let test_accuracy = trainer.evaluate(test)?.get("accuracy").unwrap_or(f64::NAN);
    let images_per_second = train.len() as f64 / mean(&history.seconds());
    Ok(Trained { parameters, history, images_per_second, test_accuracy })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
