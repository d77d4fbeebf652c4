//! Whole runs beside Keras and PyTorch: both reference models, from the same weights, on the same batches of MNIST.
//!
//! In f64 all three give the same losses for 200 steps, but for rounding: a wrong formula anywhere would show. In f32, as
//! Keras computes for its users, the dense model does so too. The convolutional one is chaotic at first: where two elements
//! under a pool are next to equal, rounding decides which of them gets the gradient, and RMSprop makes small gradients
//! large. Keras itself, with oneDNN and without, differs by 10⁻³ from step 8 on and by 26 % within 50 steps, so losses are
//! compared only before that, and 50 steps one by one: each from the weights that Keras has there.
//!
//! The curves of both libraries are recorded in `golden/parity.json`. By default the first steps are compared with these;
//! all 200, made anew with the libraries themselves, by `tools/parity.sh`.
#![cfg(feature = "datasets")]

#[path = "common/interop.rs"]
mod interop;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use interop::{TensorFile, Tensors};
use ndarray::{Array1, Array4, ArrayView1, ArrayView4, Axis, Slice};
use plywood::data::{Mnist, Targets};
use plywood::ndarray;
use plywood::optimizers::SGD;
use plywood::prelude::*;
use serde::{Deserialize, Serialize};

/// What the weights are drawn from.
const SEED: u64 = 42;

/// Steps of a recorded run.
const STEPS: usize = 200;

/// How far losses may be from a library's, relatively, and for how many steps.
#[derive(Debug, Clone, Copy)]
struct Bound {
    difference: f64,
    steps: usize,
}

/// In f32, each step from the weights that Keras has there.
const PATH: Bound = Bound { difference: 1e-3, steps: 50 };

/// In f64.
const F64: Bound = Bound { difference: 1e-8, steps: STEPS };

/// The models of the two reference programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reference {
    Dense,
    Cnn,
}

/// The losses of each step, by library and model.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    seed: u64,
    versions: BTreeMap<String, String>,
    losses: BTreeMap<String, Vec<f64>>,
}

impl Reference {
    fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Cnn => "cnn",
        }
    }

    /// In f32.
    fn f32_bound(self) -> Bound {
        match self {
            Self::Dense => Bound { difference: 1e-3, steps: 50 },
            Self::Cnn => Bound { difference: 1e-3, steps: 7 },
        }
    }

    fn batch(self) -> usize {
        match self {
            Self::Dense => 128,
            Self::Cnn => 64,
        }
    }

    fn build<T: Scalar>(self) -> Model<T> {
        let model = Sequential::<T>::with_input([28, 28, 1]);
        let model = match self {
            Self::Dense => model.add(Flatten::new()).add(Dense::new(512).activation(Activation::ReLU)),
            Self::Cnn => model
                .add(Conv2D::new(32, 3).activation(Activation::ReLU))
                .add(MaxPooling2D::new(2))
                .add(Conv2D::new(64, 3).activation(Activation::ReLU))
                .add(MaxPooling2D::new(2))
                .add(Conv2D::new(64, 3).activation(Activation::ReLU))
                .add(Flatten::new())
                .add(Dense::new(64).activation(Activation::ReLU)),
        };
        model.add(Dense::new(10).activation(Activation::Softmax)).build(SEED).unwrap()
    }

    /// The losses of so many steps.
    fn train<T: Scalar>(self, mnist: &Data, steps: usize) -> Vec<f64> {
        let mut trainer = self.rounded::<T>().compile(RMSprop::default(), CategoricalCrossentropy::default());
        let mut train_step = |step| {
            let (x, labels) = self.samples(mnist, step);
            trainer.train_step(&x.mapv(|pixel| T::of(f64::from(pixel))), labels).unwrap()
        };
        (0..steps).map(&mut train_step).collect()
    }

    /// What a step trains on.
    fn samples(self, mnist: &Data, step: usize) -> (ArrayView4<'_, f32>, ArrayView1<'_, usize>) {
        let batches = mnist.labels.len().div_ceil(self.batch());
        let start = step % batches * self.batch();
        let slice = Slice::from(start..(start + self.batch()).min(mnist.labels.len()));
        (mnist.images.slice_axis(Axis(0), slice), mnist.labels.slice_axis(Axis(0), slice))
    }

    /// The model with weights as `f32` has them, which is what the others get.
    fn rounded<T: Scalar>(self) -> Model<T> {
        let mut model = self.build::<T>();
        let weights = self.build::<f32>();
        model.values_mut().iter_mut().zip(weights.values()).for_each(|(to, &from)| *to = T::of(f64::from(from)));
        model
    }
}

/// Pixels as everybody sees them, in f32, and labels.
struct Data {
    images: Array4<f32>,
    labels: Array1<usize>,
}

impl Data {
    fn load() -> Self {
        let train = Mnist::load(mnist_folder()).unwrap().train;
        let Targets::Classes(labels) = train.targets().clone() else { panic!("MNIST has classes") };
        Self { images: train.inputs().clone().into_dimensionality().unwrap(), labels }
    }
}

fn mnist_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist")
}

fn record_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/parity.json")
}

fn record() -> Record {
    let bytes = std::fs::read(record_path()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The largest |got − want| / |want|, and its step, counted from 1.
fn largest_difference(got: &[f64], want: &[f64]) -> (f64, usize) {
    assert!(got.len() <= want.len(), "{} steps are compared with {}", got.len(), want.len());
    let differences = got.iter().zip(want).map(|(got, want)| ((got - want) / want).abs());
    differences.zip(1..).max_by(|(a, _), (b, _)| a.total_cmp(b)).expect("there are steps")
}

/// Compares losses as far as they are bound to agree, and prints how far they do.
fn compare(what: &str, got: &[f64], want: &[f64], bound: Bound) -> Result<(), String> {
    let steps = bound.steps.min(got.len());
    let (difference, at) = largest_difference(&got[..steps], want);
    let (whole, whole_at) = largest_difference(got, want);
    let all = got.len();
    println!("{what}: {difference:.1e} within {steps} steps (step {at}), {whole:.1e} within {all} (step {whole_at})");
    if difference <= bound.difference {
        return Ok(());
    }
    Err(format!("{what}: {difference:.1e} in step {at}: {} for {}", got[at - 1], want[at - 1]))
}

/// Compares a model's runs in both types with the curves of all libraries.
fn compare_all(model: Reference, data: &Data, steps: usize, losses: &BTreeMap<String, Vec<f64>>) -> Vec<String> {
    let (narrow, wide) = (model.train::<f32>(data, steps), model.train::<f64>(data, steps));
    let runs = [("keras", &narrow, model.f32_bound()), ("keras64", &wide, F64), ("torch", &wide, F64)];
    let outcomes = runs.map(|(library, got, bound)| {
        let name = format!("{library} {}", model.name());
        compare(&name, got, &losses[&name], bound)
    });
    outcomes.into_iter().filter_map(Result::err).collect()
}

/// Enough to see a wrong gradient anywhere, and little enough to be run each time.
#[test]
fn the_first_steps_are_those_of_keras_and_pytorch() {
    let (data, record) = (Data::load(), record());
    assert_eq!(record.seed, SEED);
    let mut failures = compare_all(Reference::Dense, &data, 50, &record.losses);
    failures.extend(compare_all(Reference::Cnn, &data, 10, &record.losses));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Keras and PyTorch trained anew, from weights that plywood has drawn. `KERAS_PYTHON` and `TORCH_PYTHON` are the
/// interpreters of environments that have them; with `RECORD` set, what they say is recorded.
#[test]
#[ignore = "needs Keras and PyTorch: tools/parity.sh runs it"]
fn whole_runs_follow_keras_and_pytorch() {
    let data = Data::load();
    let (mut record, mut failures) = (Record { seed: SEED, ..Record::default() }, vec![]);
    for model in [Reference::Dense, Reference::Cnn] {
        let weights = write_weights(model);
        for library in ["keras", "keras64", "torch"] {
            let losses = peer(library, model, &weights, &mut record.versions);
            assert_eq!(losses.len(), STEPS, "{library}");
            record.losses.insert(format!("{library} {}", model.name()), losses);
        }
        failures.extend(compare_all(model, &data, STEPS, &record.losses));
        failures.extend(compare_path(model, &data, &weights));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if std::env::var_os("RECORD").is_some() {
        let json = serde_json::to_string_pretty(&record).unwrap();
        std::fs::write(record_path(), json + "\n").unwrap();
    }
}

/// Compares the loss and its gradient in f32 at the weights that Keras has before each step of its run.
fn compare_path(model: Reference, data: &Data, weights: &Path) -> Vec<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("parity-{}", model.name()));
    let want = parity_script("keras", &["path", model.name()], weights, PATH.steps, Some(&folder));
    // what the optimizer makes of it does not matter: each step begins at weights of its own
    let mut trainer = model.build::<f32>().compile(SGD::new(0.0), CategoricalCrossentropy::default());
    let (mut got, mut furthest) = (vec![], 0.0_f64);
    let names = Vec::from_iter(trainer.model().parameters().map(|(name, _)| name.to_owned()));
    for step in 0..PATH.steps {
        let file = TensorFile::read(folder.join(format!("{}.safetensors", step + 1)));
        let values =
            |prefix| Vec::from_iter(names.iter().flat_map(|name| file.numbers::<f32>(&format!("{prefix}{name}"))));
        trainer.model_mut().values_mut().copy_from_slice(&values(""));
        let (x, labels) = model.samples(data, step);
        got.push(trainer.train_step(&x, labels).unwrap());
        let distance = distance(trainer.gradients(), &values("gradient/"));
        // a maximum would lose NaN
        assert!(distance.is_finite(), "{} step {}: the gradients differ by {distance}", model.name(), step + 1);
        furthest = furthest.max(distance);
    }
    let what = format!("keras {}, each step from its weights", model.name());
    println!("{what}: gradients differ by at most {furthest:.1e} of their length");
    let gradients =
        if furthest <= PATH.difference { Ok(()) } else { Err(format!("{what}: gradients: {furthest:.1e}")) };
    [compare(&what, &got, &want, PATH), gradients].into_iter().filter_map(Result::err).collect()
}

/// |a − b| / |b|.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = length(&mut a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    difference / length(&mut b.iter().map(|&b| f64::from(b)))
}

/// The initial weights in a safetensors file, as `tools/parity.py` reads them.
fn write_weights(model: Reference) -> PathBuf {
    let mut tensors = Tensors::default();
    for (name, values) in model.build::<f32>().parameters() {
        tensors.numbers(name, &values.to_owned());
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("parity-{}.safetensors", model.name()));
    tensors.write(&path);
    path
}

/// The losses that a library has on its own.
fn peer(library: &str, model: Reference, weights: &Path, versions: &mut BTreeMap<String, String>) -> Vec<f64> {
    let package = library.trim_end_matches("64");
    let code = format!("import importlib.metadata as m; print(m.version('{package}'))");
    versions.insert(package.to_owned(), run(package, ["-c", &code]).trim().to_owned());
    parity_script(package, &[library, model.name()], weights, STEPS, None)
}

/// The losses that `tools/parity.py` prints.
fn parity_script(package: &str, what: &[&str], weights: &Path, steps: usize, folder: Option<&Path>) -> Vec<f64> {
    /// A line of the script's output.
    #[derive(Deserialize)]
    struct Line {
        loss: f64,
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/parity.py");
    let (mnist, steps) = (mnist_folder(), steps.to_string());
    let what = what.iter().map(OsStr::new);
    let paths = [weights.as_os_str(), mnist.as_os_str(), OsStr::new(&steps)];
    let arguments = [script.as_os_str()].into_iter().chain(what).chain(paths).chain(folder.map(Path::as_os_str));
    run(package, arguments).lines().map(|line| serde_json::from_str::<Line>(line).unwrap().loss).collect()
}

/// What the interpreter of an environment with this package prints.
fn run(package: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let python = std::env::var(format!("{}_PYTHON", package.to_uppercase())).unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&python).args(arguments).stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("{python}: {error}"));
    assert!(output.status.success(), "{python}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
