//! Files for ONNX Runtime: the bytes that were checked there, and the numbers that came out.
//!
//! `tests/golden/onnx.safetensors` has for each case the model's bytes, which the checker of ONNX has accepted, inputs,
//! and what ONNX Runtime makes of them (for convolutions in f64, which it does not have, the reference implementation of
//! ONNX). `tools/interop.sh --record` writes it anew.
#![cfg(all(feature = "onnx", feature = "datasets"))]

#[path = "common/interop.rs"]
mod interop;

use std::path::PathBuf;

use interop::{
    REFERENCES, TensorFile, Tensors, difference, folder, reference, test_images, trained, write_probabilities,
};
use plywood::layers::{Backward, Forward, Op, Plan, single_input};
use plywood::ndarray::{ArrayD, Dimension, IxDyn};
use plywood::prelude::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/onnx.safetensors");

/// Multiples of 1/64 in [−1, 1] without a pattern, the same on every machine.
fn numbers<T: Scalar>(index: usize) -> T {
    T::of(((index * 37) % 129) as f64 / 64.0 - 1.0)
}

/// A small model for every layer with every option, and for every way in which layers follow one another.
fn cases<T: Scalar>() -> Vec<(&'static str, Model<T>)> {
    let (relu, softmax) = (Activation::ReLU, Activation::Softmax);
    let input = |shape: &[usize]| Sequential::<T>::with_input(shape);
    let asymmetric = Padding::Explicit { top: 2, bottom: 0, left: 1, right: 3 };
    let cases = [
        ("dense", input(&[5]).add(Dense::new(4).activation(relu)).add(Dense::new(3).activation(softmax))),
        (
            "dense without bias",
            input(&[5]).add(Dense::new(4).bias(false)).add(ReLU::new()).add(Dense::new(3).bias(false)),
        ),
        (
            "reference cnn",
            input(&[18, 17, 2])
                .add(Conv2D::new(3, 3).activation(relu))
                .add(MaxPooling2D::new(2))
                .add(Conv2D::new(4, 3).activation(relu))
                .add(MaxPooling2D::new(2))
                .add(Conv2D::new(4, (2, 1)).activation(relu))
                .add(Flatten::new())
                .add(Dense::new(6).activation(relu))
                .add(Dense::new(3).activation(softmax)),
        ),
        (
            "same with strides",
            input(&[9, 10, 3])
                .add(Conv2D::new(5, (2, 3)).strides((2, 1)).padding(Padding::Same).bias(false).activation(relu))
                .add(MaxPooling2D::new((3, 2)).strides((2, 1)).padding(Padding::Same))
                .add(Flatten::new())
                .add(Dense::new(3)),
        ),
        ("same with an even kernel", input(&[5, 4, 1]).add(Conv2D::new(2, (4, 2)).padding(Padding::Same))),
        ("same with dilation", input(&[7, 6, 1]).add(Conv2D::new(2, 3).dilation((3, 2)).padding(Padding::Same))),
        (
            "explicit padding, dilation",
            input(&[6, 7, 2]).add(Conv2D::new(3, (3, 2)).dilation((2, 1)).padding(asymmetric).activation(softmax)),
        ),
        (
            "pool with explicit padding",
            input(&[5, 6, 2])
                .add(MaxPooling2D::new((3, 4)).strides((1, 2)).padding(asymmetric))
                .add(Conv2D::new(2, 1))
                .add(Softmax::new()),
        ),
        ("strides out of the image", input(&[4, 5, 1]).add(Conv2D::new(2, 1).strides(usize::MAX).dilation(usize::MAX))),
        ("flatten first", input(&[3, 2, 3]).add(Flatten::new()).add(Dense::new(4))),
        (
            "relu and softmax before images",
            input(&[4, 4, 3]).add(ReLU::new()).add(Softmax::new()).add(Conv2D::new(2, 2)),
        ),
        ("flatten at the end", input(&[4, 4, 2]).add(MaxPooling2D::new(2)).add(Flatten::new()).add(Softmax::new())),
        (
            "layers between flatten and dense",
            input(&[4, 3, 2])
                .add(Conv2D::new(3, 2))
                .add(Flatten::new())
                .add(ReLU::new())
                .add(Softmax::new())
                .add(Flatten::new())
                .add(Dense::new(4))
                .add(Dense::new(4)),
        ),
        ("one axis", input(&[4]).add(Flatten::new()).add(ReLU::new()).add(Softmax::new())),
        ("two axes", input(&[3, 4]).add(ReLU::new()).add(Softmax::new()).add(Flatten::new()).add(Dense::new(2))),
        ("four axes", input(&[2, 1, 2, 3]).add(Softmax::new()).add(Flatten::new()).add(Dense::new(2))),
    ];
    cases
        .into_iter()
        .map(|(name, model)| {
            let mut model = model.build(7).unwrap_or_else(|error| panic!("{name}: {error}"));
            model.values_mut().iter_mut().enumerate().for_each(|(i, value)| *value = numbers::<T>(i) / T::of(4.0));
            (name, model)
        })
        .collect()
}

fn inputs<T: Scalar>(model: &Model<T>) -> ArrayD<T> {
    let shape = IxDyn(&[&[3], model.input_shape()].concat());
    let count = shape.size();
    ArrayD::from_shape_vec(shape, (0..count).map(|i| numbers(5 * i + 11)).collect()).expect("as many numbers")
}

/// A path for a file of one test, and the file's end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("plywood-onnx-{name}-{}.onnx", std::process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

fn exported<T: Scalar>(model: &Model<T>, test: &str) -> Vec<u8> {
    let file = Temporary::new(test);
    model.export_onnx(&file.0).expect("every layer of the crate can be exported");
    std::fs::read(&file.0).expect("it has just been written")
}

fn compare<T: Scalar>(golden: &TensorFile, tolerance: f64, failures: &mut Vec<String>) -> usize {
    let cases = cases::<T>();
    for (name, model) in &cases {
        let tensor = |role: &str| format!("{}/{name}/{role}", T::NAME);
        if exported(model, T::NAME) != golden.raw(&tensor("model")) {
            failures.push(format!("{}: {name}: the bytes are not those that ONNX Runtime has read", T::NAME));
        }
        let y = model.predict(&golden.numbers::<T>(&tensor("x"))).expect("inputs of the model's shape");
        let difference = difference(&y, &golden.numbers(&tensor("y"))).to_f64().expect("a number");
        if difference > tolerance {
            failures.push(format!("{}: {name}: ONNX Runtime differs by {difference:e}", T::NAME));
        }
    }
    cases.len()
}

#[test]
fn every_layer_gives_the_bytes_and_numbers_that_onnx_runtime_has_checked() {
    let golden = TensorFile::read(GOLDEN);
    let mut failures = vec![];
    // sums of a few products in another order, and another exp
    let cases = compare::<f32>(&golden, 2e-7, &mut failures) + compare::<f64>(&golden, 1e-15, &mut failures);
    if golden.names().len() != 3 * cases {
        failures.push(format!("{} tensors for {cases} cases", golden.names().len()));
    }
    assert!(failures.is_empty(), "{}; tools/interop.sh --record checks and writes them anew", failures.join("\n"));
}

#[test]
fn layers_of_other_crates_are_errors_that_name_them() {
    #[derive(Debug, Clone)]
    struct Twice;
    impl Layer for Twice {
        fn kind(&self) -> &'static str {
            "twice"
        }
        fn plan(&self, inputs: &[&[usize]]) -> Result<Plan> {
            Ok(Plan::new(single_input("twice", inputs)?, self.clone()))
        }
    }
    impl Op for Twice {
        fn forward(&self, mut pass: Forward<'_, f32>) {
            pass.y.view_mut().assign(&(&pass.x.view() * 2.0));
        }
        fn backward(&self, _: Backward<'_, f32>) {}
    }
    let model = Sequential::input([3]).add(Dense::new(2)).add(Twice).add(Twice).build(1).unwrap();
    let file = Temporary::new("other");
    let error = model.export_onnx(&file.0).unwrap_err();
    assert!(matches!(&error, Error::Layer { layer, .. } if layer == "twice"), "{error:?}");
    assert_eq!(error.to_string(), "twice: is a Twice, no layer of the crate, so other libraries have none for it");
    assert!(!file.0.exists());
}

#[test]
fn a_path_that_cannot_be_written_is_an_error() {
    let model = Sequential::input([3]).add(Dense::new(2)).build(1).unwrap();
    let file = Temporary::new("file");
    std::fs::write(&file.0, "a file is no folder").unwrap();
    let path = file.0.join("model.onnx");
    let error = model.export_onnx(&path).unwrap_err();
    assert!(matches!(&error, Error::Io { path: of, .. } if *of == path), "{error:?}");
}

fn write_cases<T: Scalar>(tensors: &mut Tensors) {
    for (name, model) in cases::<T>() {
        let x = inputs(&model);
        tensors.raw(format!("{}/{name}/model", T::NAME), exported(&model, "cases"));
        tensors.numbers(format!("{}/{name}/y", T::NAME), &model.predict(&x).expect("inputs of the model's shape"));
        tensors.numbers(format!("{}/{name}/x", T::NAME), &x);
    }
}

/// Writes what `tools/interop_torch.py` then opens, if `tools/interop.sh` asks for it.
#[test]
fn interop_writes_models_for_onnx_runtime() {
    let Some(folder) = folder() else { return };
    let mut tensors = Tensors::default();
    write_cases::<f32>(&mut tensors);
    write_cases::<f64>(&mut tensors);
    tensors.write(folder.join("plywood_onnx_cases.safetensors"));
    for name in REFERENCES {
        let model = trained(name);
        model.export_onnx(folder.join(format!("plywood_{name}.onnx"))).unwrap();
        let probabilities = model.predict(&test_images(name)).unwrap();
        write_probabilities(folder.join(format!("plywood_{name}_onnx.safetensors")), &probabilities);

        let mut double = reference::<f64>(name);
        double.values_mut().iter_mut().zip(model.values()).for_each(|(to, &from)| *to = from.into());
        double.export_onnx(folder.join(format!("plywood_{name}_f64.onnx"))).unwrap();
        let probabilities = double.predict(&test_images(name)).unwrap();
        write_probabilities(folder.join(format!("plywood_{name}_f64_onnx.safetensors")), &probabilities);
    }
}
