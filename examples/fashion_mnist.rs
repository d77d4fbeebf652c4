//! A convolutional network learns to tell clothes apart, and stops when it no longer gets better at it.
//!
//! Fashion-MNIST comes in the same four files as MNIST. A tenth of its training images is held out; training ends when
//! three epochs have not lowered the loss on these, and the best weights are brought back.
//!
//!     cargo run --example fashion_mnist
//!     cargo run --example fashion_mnist -- --data DIR --epochs 5

mod common;

use common::{Example, Failure, Outcome};
use plywood::prelude::*;
use plywood::report::Report;

/// Where Debian's package `dataset-fashion-mnist` has it.
const FOLDER: &str = "/usr/share/datasets/fashion-mnist";

const CLASSES: [&str; 10] =
    ["T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"];

fn main() -> Outcome {
    let example = Example {
        name: "fashion_mnist",
        about: "Trains a convolutional network to tell clothes apart, until it is at its best.",
        data: FOLDER,
        epochs: 20,
        batch_sizes: [64],
        checkpoints: false,
    };
    let options = example.options();
    let data = options.load().map_err(|error| match error {
        Error::MissingFile { .. } => Failure::from(format!(
            "{error}\n\nFashion-MNIST is Debian's package dataset-fashion-mnist (apt-get install dataset-fashion-mnist); \
             its four files in any other folder are found with --data DIR"
        )),
        other => other.into(),
    })?;

    let convolution = |filters| Conv2D::new(filters, 3).activation(Activation::ReLU);
    let model = Sequential::input([28, 28, 1])
        .add(convolution(32))
        .add(MaxPooling2D::new(2))
        .add(convolution(64))
        .add(MaxPooling2D::new(2))
        .add(Flatten::new())
        .add(Dense::new(128).activation(Activation::ReLU))
        .add(Dense::new(10).activation(Activation::Softmax))
        .build(options.seed)?;
    println!("{}", model.summary());
    let mut trainer = model.compile(RMSprop::new(1e-3), CategoricalCrossentropy::new()).metric(Accuracy::new());

    let [batch_size] = options.batch_sizes;
    let fit = Fit::epochs(options.epochs).batch_size(batch_size).validation_split(0.1).verbosity(Verbosity::Progress);
    let mut early = EarlyStopping::new().monitor("val_loss").patience(3).restore_best(true);
    let history = trainer.fit_with(&data.train, &fit, &mut [&mut early])?;
    if let (Some(best), Some(curve)) = (early.best_epoch(), history.curve("loss")) {
        println!("loss of training and validation images; epoch {best} was the best\n\n{curve}\n");
    }

    let out = &options.out;
    history.write_csv(out.join("history.csv"))?;
    history.plot(out.join("curves.svg"))?;
    let report = Report::new("Fashion-MNIST: a convolutional network", &mut trainer, &history, &data.test)?;
    report.fit(&fit).setting("seed", options.seed).classes(CLASSES).write(out.join("report.html"))?;
    println!("{}", trainer.evaluate(&data.test)?);
    Ok(())
}
