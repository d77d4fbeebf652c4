//! A convolutional network learns handwritten digits.
//!
//! Three convolutions with two poolings between them, then two fully connected layers, trained for 10 epochs with
//! RMSprop. It has a quarter of the parameters of `dense_mnist` and makes less than half of its errors.
//!
//!     cargo run --example cnn_mnist
//!     cargo run --example cnn_mnist -- --help

mod common;

use common::{Example, Outcome};
use plywood::prelude::*;
use plywood::report::Report;

fn main() -> Outcome {
    let example = Example {
        name: "cnn_mnist",
        about: "Trains a convolutional network on handwritten digits.",
        data: "data/mnist",
        epochs: 10,
        batch_sizes: [64],
        checkpoints: true,
    };
    let options = example.options();

    // images of 28×28×1 pixels; labels become rows such as 0 0 1 0 0 0 0 0 0 0
    let data = options.load()?;
    let train = data.train.one_hot(10)?;
    let test = data.test.one_hot(10)?;

    let convolution = |filters| {
        Conv2D::new(filters, (3, 3))
            .strides((1, 1))
            .padding(Padding::Valid)
            .dilation((1, 1))
            .activation(Activation::ReLU)
            .bias(true)
            .kernel_initializer(Initializer::GlorotUniform)
            .bias_initializer(Initializer::Zeros)
    };
    let pooling = || MaxPooling2D::new((2, 2)).strides((2, 2)).padding(Padding::Valid);
    let dense = |units| {
        Dense::new(units).bias(true).kernel_initializer(Initializer::GlorotUniform).bias_initializer(Initializer::Zeros)
    };
    let model = Sequential::input([28, 28, 1])
        .add(convolution(32))
        .add(pooling())
        .add(convolution(64))
        .add(pooling())
        .add(convolution(64))
        .add(Flatten::new())
        .add(dense(64).activation(Activation::ReLU))
        .add(dense(10).activation(Activation::Softmax))
        .build(options.seed)?;
    println!("{}", model.summary());

    let optimizer = RMSprop::new(1e-3).rho(0.9).momentum(0.0).epsilon(1e-7).centered(false);
    let loss = CategoricalCrossentropy::new().label_smoothing(0.0);
    let mut trainer = model.compile(optimizer, loss).metric(Accuracy::new());

    let [batch_size] = options.batch_sizes;
    let fit = Fit::epochs(options.epochs).batch_size(batch_size).shuffle(true).verbosity(Verbosity::Progress);
    let history = options.fit(&mut trainer, &train, &fit)?;

    let out = &options.out;
    history.write_csv(out.join("history.csv"))?;
    let report = Report::new("MNIST: a convolutional network", &mut trainer, &history, &test)?;
    report.fit(&fit).setting("seed", options.seed).write(out.join("report.html"))?;

    let result = trainer.evaluate(&test)?;
    println!("{result}");
    Ok(())
}
