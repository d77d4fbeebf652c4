//! The same seed and data give the same bits: for any number of threads and vector width, in any batch, however a model is
//! spelled, and from one day to the next.
#![cfg(feature = "datasets")]

mod common;
#[path = "../benches/models/mod.rs"]
mod models;

use std::hash::Hasher;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use common::{Fnv, bits, pool};
use models::models;
use plywood::data::Mnist;
use plywood::model::SequentialBuilder;
use plywood::ndarray::{ArrayD, Axis, Slice};
use plywood::prelude::*;
use plywood::testing::instruction_set;

/// Samples to train on: two whole batches and a rest.
const SAMPLES: usize = 100;

const BATCH: usize = 48;

static DIGITS: LazyLock<Dataset> = LazyLock::new(|| {
    let mnist =
        Mnist::load(concat!(env!("CARGO_MANIFEST_DIR"), "/data/mnist")).expect("the files are in the repository");
    mnist.train.head(SAMPLES).expect("more than none")
});

fn digits<T: Scalar>() -> Dataset<T> {
    let inputs = DIGITS.inputs().mapv(|pixel| T::of(f64::from(pixel)));
    let Targets::Classes(classes) = DIGITS.targets() else { unreachable!("labels are classes") };
    Dataset::new(inputs, classes.clone()).expect("as many labels as images")
}

fn dense<T: Scalar>() -> SequentialBuilder<T> {
    Sequential::with_input([28, 28, 1])
        .add(Flatten::new())
        .add(Dense::new(128).activation(Activation::ReLU))
        .add(Dense::new(10).activation(Activation::Softmax))
}

fn cnn<T: Scalar>() -> SequentialBuilder<T> {
    let convolution = |filters| Conv2D::new(filters, 3).activation(Activation::ReLU);
    Sequential::with_input([28, 28, 1])
        .add(convolution(8))
        .add(MaxPooling2D::new(2))
        .add(convolution(16).padding(Padding::Same))
        .add(MaxPooling2D::new(2))
        .add(convolution(16))
        .add(Flatten::new())
        .add(Dense::new(32).activation(Activation::ReLU))
        .add(Dense::new(10).activation(Activation::Softmax))
}

/// Two epochs of shuffled batches.
fn trained<T: Scalar>(model: SequentialBuilder<T>, data: &Dataset<T>, seed: u64) -> Sequential<T> {
    let model = model.build(seed).expect("the shapes fit");
    let mut trainer = model.compile(RMSprop::default(), CategoricalCrossentropy::new()).metric(Accuracy::new());
    trainer.fit(data, &Fit::epochs(2).batch_size(BATCH)).expect("the data fit the model");
    trainer.into_model()
}

/// A hash of all weights, and of what the model makes of the data.
fn digest<T: Scalar>(model: &Sequential<T>, data: &Dataset<T>) -> u64 {
    let mut hasher = Fnv::default();
    let mut note = |bits: Vec<u64>| bits.into_iter().for_each(|bits| hasher.write_u64(bits));
    note(bits(model.values()));
    note(bits(&model.predict(data.inputs()).expect("the data fit the model")));
    hasher.finish()
}

/// The digests of the two models of the examples: the bits that the crate promises. They change only where the CHANGELOG
/// says why.
const RECORDED: [(&str, u64); 4] = [
    ("dense, float32", 17_472_265_080_654_053_879),
    ("dense, float64", 11_103_877_313_328_522_979),
    ("cnn, float32", 5_557_336_218_462_479_562),
    ("cnn, float64", 9_232_908_878_220_427_820),
];

/// Samples of a recorded step: groups of three images, whose weight gradients are longer than a stretch.
const RECORDED_BATCH: usize = 40;

/// What is recorded: two steps, of which the second's batch is smaller.
fn recorded() -> [(&'static str, u64); 4] {
    fn digest_of<T: Scalar>(model: SequentialBuilder<T>) -> u64 {
        let model = model.build(1).expect("the shapes fit");
        let data = digits::<T>().head(RECORDED_BATCH * 3 / 2).expect("there are more");
        let shape = [&[data.len()], model.input_shape()].concat();
        let inputs = data.inputs().to_shape(shape).expect("images of as many pixels").into_owned();
        let data = Dataset::new(inputs, data.targets().clone()).expect("as many labels as images");
        let mut trainer = model.compile(RMSprop::default(), CategoricalCrossentropy::new());
        trainer.fit(&data, &Fit::epochs(1).batch_size(RECORDED_BATCH)).expect("the data fit the model");
        digest(trainer.model(), &data)
    }
    let ([(_, dense, _), (_, cnn, _)], [(_, dense_64, _), (_, cnn_64, _)]) = (models::<f32>(), models::<f64>());
    [
        ("dense, float32", digest_of(dense)),
        ("dense, float64", digest_of(dense_64)),
        ("cnn, float32", digest_of(cnn)),
        ("cnn, float64", digest_of(cnn_64)),
    ]
}

#[test]
fn bits_are_those_that_were_recorded() {
    assert_eq!(recorded(), RECORDED);
}

/// The digests of all models, trained on the threads that there are.
fn digests(seed: u64) -> [u64; 4] {
    let (single, double) = (digits::<f32>(), digits::<f64>());
    [
        digest(&trained(dense(), &single, seed), &single),
        digest(&trained(cnn(), &single, seed), &single),
        digest(&trained(dense(), &double, seed), &double),
        digest(&trained(cnn(), &double, seed), &double),
    ]
}

#[test]
fn threads_change_nothing() {
    let expected = pool(1).install(|| digests(1));
    for threads in [1, 2, 3, 4, 7, 8] {
        assert_eq!(pool(threads).install(|| digests(1)), expected, "{threads} threads");
    }
    let other = digests(2);
    assert!(expected.iter().zip(&other).all(|(a, b)| a != b), "another seed gives other weights");
}

/// What [`processes_and_vector_widths_change_nothing`] runs in other processes.
#[test]
#[ignore = "prints what another test compares"]
fn print_digests() {
    println!("digests {:?} {:?}", digests(1), recorded());
    println!("instructions {}", instruction_set());
}

#[test]
fn processes_and_vector_widths_change_nothing() {
    let expected = format!("digests {:?} {:?}", digests(1), recorded());
    let narrower = common::instruction_sets().iter().map(|&simd| ("2", Some(simd)));
    let processes = narrower.chain([("1", None), ("3", None), ("8", Some(""))]).map(|(threads, simd)| {
        let mut process = again("print_digests", simd);
        (threads, simd, process.env("RAYON_NUM_THREADS", threads).spawn().expect("this test can be run again"))
    });
    for (threads, simd, process) in processes.collect::<Vec<_>>() {
        let output = text(process.wait_with_output().expect("it has been started"));
        let line = output.lines().find_map(|line| line.find("digests ").map(|at| &line[at..]));
        assert_eq!(line, Some(expected.as_str()), "{threads} threads, {simd:?} instructions");
        // or all of them could have been the same
        let instructions = match simd {
            Some("scalar") => "scalar",
            Some("v3") => "AVX2 + FMA",
            _ => instruction_set(),
        };
        assert!(output.contains(&format!("instructions {instructions}\n")), "{simd:?}: {output}");
    }
}

/// Another process of this program, which runs one of the tests that only print.
fn again(test: &str, simd: Option<&str>) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test is a program"));
    command.args([test, "--exact", "--ignored", "--nocapture"]).env_remove("PLYWOOD_SIMD").stdout(Stdio::piped());
    command.envs(simd.map(|simd| ("PLYWOOD_SIMD", simd)));
    command
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).expect("what it prints is text")
}

/// What [`unknown_instructions_are_an_error`] runs in other processes.
#[test]
#[ignore = "prints what another test compares"]
fn print_error() {
    println!("error: {:?}", dense::<f32>().build(1).err().map(|error| error.to_string()));
}

#[test]
fn unknown_instructions_are_an_error() {
    for unknown in ["avx2", "V3", "default", "scalar "] {
        let output = text(again("print_error", Some(unknown)).output().expect("this test can be run again"));
        let expected = format!("the environment variable PLYWOOD_SIMD is \\\"{unknown}\\\", expected scalar");
        assert!(output.contains(&expected), "{unknown}: {output}");
    }
    for known in [None, Some(""), Some("scalar")] {
        let output = text(again("print_error", known).output().expect("this test can be run again"));
        assert!(output.contains("error: None"), "{known:?}: {output}");
    }
}

#[test]
fn a_prediction_does_not_depend_on_its_batch() {
    fn check<T: Scalar>(model: SequentialBuilder<T>) {
        let data = digits::<T>();
        let model = trained(model, &data, 1);
        let in_batches_of = |batch: usize| -> Vec<ArrayD<T>> {
            let predict = |first: usize| {
                let slice = Slice::from(first..(first + batch).min(SAMPLES));
                model.predict(&data.inputs().slice_axis(Axis(0), slice)).expect("the data fit the model")
            };
            (0..SAMPLES).step_by(batch).map(predict).collect()
        };
        let alone = bits(in_batches_of(1).iter().flatten());
        for batch in [2, 7, 64, SAMPLES] {
            assert!(bits(in_batches_of(batch).iter().flatten()) == alone, "{} in batches of {batch}", T::NAME);
        }
    }
    check(dense::<f32>());
    check(cnn::<f32>());
    check(dense::<f64>());
    check(cnn::<f64>());
}

#[test]
fn spelling_changes_nothing() {
    let data = digits::<f32>();
    let images = || Sequential::input([28, 28, 1]);
    let end = |model: SequentialBuilder| model.add(Flatten::new()).add(Dense::new(10));
    let joined = images().add(Conv2D::new(8, 3).activation(Activation::ReLU)).add(MaxPooling2D::new(2));
    let apart = images().add(Conv2D::new(8, 3)).add(ReLU::new()).add(MaxPooling2D::new(2));
    let behind = images().add(Conv2D::new(8, 3)).add(MaxPooling2D::new(2)).add(ReLU::new());
    let expected = trained(joined.add(Flatten::new()).add(Dense::new(10).activation(Activation::Softmax)), &data, 1);
    for (spelling, model) in [("apart", apart), ("behind", behind)] {
        let model = trained(end(model).add(Softmax::new()), &data, 1);
        assert_eq!(model.layout().entries(), expected.layout().entries(), "{spelling}");
        assert!(bits(model.values()) == bits(expected.values()), "{spelling}");
        assert_eq!(digest(&model, &data), digest(&expected, &data), "{spelling}");
    }

    let separate = Sequential::input([28, 28, 1])
        .add(Flatten::new())
        .add(Dense::new(128))
        .add(ReLU::new())
        .add(Dense::new(10))
        .add(Softmax::new());
    assert_eq!(digest(&trained(separate, &data, 1), &data), digest(&trained(dense(), &data, 1), &data));
}

#[test]
fn rows_of_a_one_and_class_indices_are_the_same() {
    let classes = digits::<f32>();
    let rows = classes.clone().one_hot(10).expect("there are ten digits");
    for model in [dense(), cnn()] {
        let by_class = trained(model.clone(), &classes, 1);
        assert!(bits(by_class.values()) == bits(trained(model, &rows, 1).values()));
    }
}

#[test]
fn training_again_gives_the_same() {
    assert_eq!(digests(3), digests(3));
}
