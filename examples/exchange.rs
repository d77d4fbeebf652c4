//! A model is trained, saved and loaded, and goes to PyTorch and ONNX Runtime.
//!
//! Prints how Python opens the files.
//!
//!     cargo run --example exchange --features onnx
//!     cargo run --example exchange --features onnx -- --limit 2000 --out DIR

mod common;

use common::{Example, Outcome};
use plywood::persist::ModuleNames;
use plywood::prelude::*;

fn main() -> Outcome {
    let example = Example {
        name: "exchange",
        about: "Trains a model, saves and loads it, and writes it for PyTorch and ONNX Runtime.",
        data: "data/mnist",
        epochs: 1,
        batch_sizes: [64],
        checkpoints: false,
    };
    let options = example.options();
    let data = options.load()?;
    let out = &options.out;

    let model = Sequential::input([28, 28, 1])
        .add(Conv2D::new(16, 3).activation(Activation::ReLU))
        .add(MaxPooling2D::new(2))
        .add(Flatten::new())
        .add(Dense::new(10).activation(Activation::Softmax))
        .build(options.seed)?;
    let mut trainer = model.compile(RMSprop::new(0.001), CategoricalCrossentropy::new()).metric(Accuracy::new());
    let [batch_size] = options.batch_sizes;
    let fit = Fit::epochs(options.epochs).batch_size(batch_size).verbosity(Verbosity::Progress);
    trainer.fit(&data.train, &fit)?;
    println!("{}", trainer.evaluate(&data.test)?);
    let model = trainer.into_model();

    // layers and weights, for plywood; any reader of safetensors opens the weights
    let file = out.join("model.safetensors");
    model.save(&file)?;
    let loaded: Sequential = Sequential::load(&file)?;
    assert_eq!(loaded.values(), model.values());

    // weights for PyTorch: kernels are permuted, and so are the features of the Dense that takes the flattened images
    let state_dict = out.join("state_dict.safetensors");
    model.save_pytorch(&state_dict, &ModuleNames::sequential())?;
    let mut back = Sequential::input([28, 28, 1])
        .add(Conv2D::new(16, 3).activation(Activation::ReLU))
        .add(MaxPooling2D::new(2))
        .add(Flatten::new())
        .add(Dense::new(10).activation(Activation::Softmax))
        .build(0)?;
    back.load_pytorch(&state_dict, &ModuleNames::sequential())?;
    assert_eq!(back.values(), model.values());

    // layers and weights, for whatever predicts with ONNX files
    let onnx = out.join("model.onnx");
    model.export_onnx(&onnx)?;

    println!(
        r#"
# PyTorch; images are [n, 1, 28, 28]
model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2704, 10), nn.Softmax(1))
model.load_state_dict(safetensors.torch.load_file({state_dict:?}))

# ONNX Runtime; images are [n, 28, 28, 1]
session = onnxruntime.InferenceSession({onnx:?})
(probabilities,) = session.run(["output"], {{"input": images}})"#
    );
    Ok(())
}
