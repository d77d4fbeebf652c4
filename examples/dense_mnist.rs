//! A network of two fully connected layers learns handwritten digits.
//!
//! The first program of many a Keras book: 784 pixels → 512 units with ReLU → 10 classes with softmax, trained for 10
//! epochs with RMSprop. It reaches about 98 % of the test images.
//!
//!     cargo run --example dense_mnist
//!     cargo run --example dense_mnist -- --help

mod common;

use common::{Example, Outcome};
use plywood::prelude::*;
use plywood::report::Report;

fn main() -> Outcome {
    let example = Example {
        name: "dense_mnist",
        about: "Trains a network of two fully connected layers on handwritten digits.",
        data: "data/mnist",
        epochs: 10,
        batch_sizes: [128],
        checkpoints: true,
    };
    let options = example.options();

    // images of 28×28×1 pixels become vectors of 784; labels become rows such as 0 0 1 0 0 0 0 0 0 0
    let data = options.load()?;
    let train = data.train.reshape_inputs([784])?.one_hot(10)?;
    let test = data.test.reshape_inputs([784])?.one_hot(10)?;

    let model = Sequential::input([784])
        .add(
            Dense::new(512)
                .activation(Activation::ReLU)
                .bias(true)
                .kernel_initializer(Initializer::GlorotUniform)
                .bias_initializer(Initializer::Zeros),
        )
        .add(
            Dense::new(10)
                .activation(Activation::Softmax)
                .bias(true)
                .kernel_initializer(Initializer::GlorotUniform)
                .bias_initializer(Initializer::Zeros),
        )
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
    let report = Report::new("MNIST: two fully connected layers", &mut trainer, &history, &test)?;
    report.fit(&fit).setting("seed", options.seed).write(out.join("report.html"))?;

    let result = trainer.evaluate(&test)?;
    println!("{result}");
    Ok(())
}
