//! Weights to and from PyTorch: layouts, names, and files that do not fit.
//!
//! `tests/golden/pytorch.safetensors` is the `state_dict` of a small model of PyTorch, and `pytorch_predictions` what it
//! makes of some inputs. `tools/interop.sh --record` writes them anew.
#![cfg(all(feature = "safetensors", feature = "datasets"))]

mod common;
#[path = "common/interop.rs"]
mod interop;

use std::path::{Path, PathBuf};

use common::{bits, numbers};
use interop::{
    REFERENCES, TOLERANCE, TensorFile, Tensors, difference, folder, reference, test_images, trained,
    write_probabilities,
};
use plywood::layers::{Backward, Forward, Op, Plan, single_input};
use plywood::ndarray::{ArrayD, Ix4};
use plywood::persist::ModuleNames;
use plywood::prelude::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// A file that goes when the test is over.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("plywood-pytorch-{name}-{}.safetensors", std::process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// `Small` of `tools/interop_torch.py`.
fn small<T: Scalar>() -> Model<T> {
    let relu = Activation::ReLU;
    Sequential::<T>::with_input([8, 9, 2])
        .add(Conv2D::new(3, (3, 2)).activation(relu))
        .add(MaxPooling2D::new(2))
        .add(Conv2D::new(4, 2).bias(false).activation(relu))
        .add(Flatten::new())
        .add(Dense::new(5).activation(relu))
        .add(Dense::new(3))
        .add(Softmax::new())
        .build(3)
        .unwrap()
}

fn small_names() -> ModuleNames {
    ModuleNames::list(["features.0", "features.3", "head", "out"])
}

fn check_golden<T: Scalar>(tolerance: f64) {
    let predictions = TensorFile::read(format!("{GOLDEN}/pytorch_predictions.safetensors"));
    let mut model = small::<T>();
    model.load_pytorch(format!("{GOLDEN}/pytorch.safetensors"), &small_names()).unwrap();
    let x = predictions.numbers::<f32>("x").mapv(|x| T::of(x.into()));
    let y = predictions.numbers::<f32>("y").mapv(|y| T::of(y.into()));
    let difference = difference(&model.predict(&x).unwrap(), &y).to_f64().unwrap();
    assert!(difference <= tolerance, "{}: {difference:e}", T::NAME);
}

#[test]
fn weights_of_pytorch_predict_here_as_there() {
    check_golden::<f32>(2e-7);
    check_golden::<f64>(2e-7); // what PyTorch computed in f32
}

#[test]
fn what_is_saved_is_what_pytorch_saved() {
    let golden = format!("{GOLDEN}/pytorch.safetensors");
    let file = Temporary::new("golden");
    let mut model = small::<f32>();
    model.load_pytorch(&golden, &small_names()).unwrap();
    model.save_pytorch(&file.0, &small_names()).unwrap();
    let (got, want) = (TensorFile::read(&file.0), TensorFile::read(&golden));
    let sorted = |file: &TensorFile| {
        let mut names = file.names();
        names.sort();
        names
    };
    assert_eq!(sorted(&got), sorted(&want));
    for name in want.names() {
        let (got, want): (ArrayD<f32>, ArrayD<f32>) = (got.numbers(&name), want.numbers(&name));
        assert_eq!(got.shape(), want.shape(), "{name}");
        assert_eq!(bits(&got), bits(&want), "{name}");
    }
}

// element by element, as REFERENCE: Linear (out, in), Conv2d (out, in, kh, kw), features of a flattened image (c, h, w)
#[test]
fn layouts_are_those_of_pytorch() {
    let model = Sequential::<f64>::with_input([4, 3, 2])
        .add(Conv2D::new(5, (2, 1)))
        .add(Flatten::new())
        .add(Dense::new(3))
        .build(1)
        .unwrap();
    let file = Temporary::new("layouts");
    model.save_pytorch(&file.0, &ModuleNames::sequential()).unwrap();
    let file = TensorFile::read(&file.0);
    let (kernel, conv) = (model.parameter("conv2d/kernel").unwrap(), file.numbers::<f64>("0.weight"));
    assert_eq!(conv.shape(), [5, 2, 2, 1]);
    for ((filter, channel, row, column), &there) in conv.into_dimensionality::<Ix4>().unwrap().indexed_iter() {
        assert_eq!(there, kernel[[row, column, channel, filter]]);
    }
    let (kernel, linear) = (model.parameter("dense/kernel").unwrap(), file.numbers::<f64>("2.weight"));
    let (height, width, channels) = (3, 3, 5);
    assert_eq!(linear.shape(), [3, height * width * channels]);
    for unit in 0..3 {
        for (row, column, channel) in
            (0..height).flat_map(|h| (0..width).flat_map(move |w| (0..channels).map(move |c| (h, w, c))))
        {
            let there = linear[[unit, (channel * height + row) * width + column]];
            assert_eq!(there, kernel[[(row * width + column) * channels + channel, unit]]);
        }
    }
    assert_eq!(file.numbers::<f64>("2.bias"), model.parameter("dense/bias").unwrap());
}

/// The names under which a model is saved.
fn saved_names<T: Scalar>(model: &Model<T>, names: &ModuleNames, test: &str) -> Vec<String> {
    let file = Temporary::new(test);
    model.save_pytorch(&file.0, names).unwrap();
    let mut names = TensorFile::read(&file.0).names();
    names.sort();
    names
}

#[test]
fn modules_are_counted_as_pytorch_counts_them() {
    let pairs = |modules: &[&str]| -> Vec<String> {
        modules.iter().flat_map(|module| [format!("{module}.bias"), format!("{module}.weight")]).collect()
    };
    let sequential = ModuleNames::sequential();
    let cnn = reference::<f32>("cnn");
    assert_eq!(saved_names(&cnn, &sequential, "cnn"), pairs(&["0", "11", "3", "6", "9"]));
    assert_eq!(saved_names(&reference::<f32>("dense"), &sequential, "dense"), pairs(&["0", "2"]));
    assert_eq!(saved_names(&cnn, &sequential.clone().prefix("net."), "prefix")[0], "net.0.bias");
    // an activation of a layer and a layer of its own count the same
    let spelled = Sequential::input([4]).add(Dense::new(3).bias(false)).add(ReLU::new()).add(Dense::new(2)).build(1);
    assert_eq!(saved_names(&spelled.unwrap(), &sequential, "spelled"), ["0.weight", "2.bias", "2.weight"]);
    let listed = ModuleNames::list(["a", "b.c"]).prefix("x.");
    assert_eq!(saved_names(&reference::<f32>("dense"), &listed, "list"), pairs(&["x.a", "x.b.c"]));
}

#[test]
fn weights_come_back_to_the_last_bit() {
    fn check<T: Scalar>() {
        let file = Temporary::new(T::NAME);
        let layers = |seed| {
            Sequential::<T>::with_input([3, 2, 3])
                .add(Flatten::new())
                .add(ReLU::new())
                .add(Dense::new(4).activation(Activation::ReLU))
                .add(Dense::new(4))
                .build(seed)
                .unwrap()
        };
        let (mut model, mut other) = (layers(1), layers(2));
        model.values_mut()[..2].copy_from_slice(&[T::nan(), -T::zero()]);
        model.save_pytorch(&file.0, &ModuleNames::sequential()).unwrap();
        other.load_pytorch(&file.0, &ModuleNames::sequential()).unwrap();
        assert_eq!(bits(other.values()), bits(model.values()));
    }
    check::<f32>();
    check::<f64>();
}

/// Weights of `nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))`, changed by a test.
fn linear_tensors<T: Scalar>(leave_out: &str, prefix: &str) -> Tensors {
    let mut tensors = Tensors::default();
    for (name, shape) in [("0.weight", &[2, 3][..]), ("0.bias", &[2]), ("2.weight", &[1, 2]), ("2.bias", &[1])] {
        if name != leave_out {
            tensors.numbers(format!("{prefix}{name}"), &numbers::<T>(shape, 5));
        }
    }
    tensors
}

fn linear_model() -> Model {
    Sequential::input([3]).add(Dense::new(2).activation(Activation::ReLU)).add(Dense::new(1)).build(1).unwrap()
}

/// Loads a file that must be refused with a weight in the model left as it was; what is wrong with it.
fn refused(path: &Path, names: &ModuleNames) -> String {
    let mut model = linear_model();
    let before = bits(model.values());
    let error = model.load_pytorch(path, names).unwrap_err();
    assert!(matches!(&error, Error::Format { path: of, .. } if of == path), "{error:?}");
    assert_eq!(bits(model.values()), before, "{error}");
    let text = error.to_string();
    let start = format!("{}: not a PyTorch state_dict that can be used here: ", path.display());
    text.strip_prefix(&start).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn files_that_do_not_fit_are_refused_before_a_weight_changes() {
    let file = Temporary::new("refused");
    let sequential = ModuleNames::sequential();
    let refuse = |tensors: &Tensors, names: &ModuleNames| {
        tensors.write(&file.0);
        refused(&file.0, names)
    };
    let advice = "; say with ModuleNames what its modules are called";

    linear_tensors::<f32>("", "").write(&file.0);
    linear_model().load_pytorch(&file.0, &sequential).unwrap();

    let missing = linear_tensors::<f32>("2.bias", "");
    assert_eq!(refuse(&missing, &sequential), format!("it has no \"2.bias\"{advice}"));

    let mut more = linear_tensors::<f32>("", "");
    more.numbers("3.running_mean", &numbers::<f32>(&[1], 1));
    assert_eq!(refuse(&more, &sequential), format!("the model has nothing for \"3.running_mean\"{advice}"));

    let renamed = linear_tensors::<f32>("", "net.");
    assert_eq!(
        refuse(&renamed, &ModuleNames::list(["fc1", "fc2"])),
        format!(
            "it has no \"fc1.weight\", \"fc1.bias\", \"fc2.weight\", \"fc2.bias\", and the model has nothing for \
             \"net.0.bias\", \"net.0.weight\", \"net.2.bias\", \"net.2.weight\"{advice}"
        )
    );

    let mut transposed = linear_tensors::<f32>("2.weight", "");
    transposed.numbers("2.weight", &numbers::<f32>(&[2, 1], 1));
    assert_eq!(refuse(&transposed, &sequential), "\"2.weight\" has the shape 2×1, expected 1×2");

    let mut scalar = linear_tensors::<f32>("2.bias", "");
    scalar.numbers("2.bias", &numbers::<f32>(&[], 1));
    assert_eq!(refuse(&scalar, &sequential), "\"2.bias\" has the shape [], expected 1");

    assert_eq!(
        refuse(&linear_tensors::<f64>("", ""), &sequential),
        "\"0.weight\" has numbers of type F64, expected F32 for a model of float32; save model.float() in PyTorch, or load \
         into a model of f64"
    );
    let mut bytes = linear_tensors::<f32>("2.bias", "");
    bytes.raw("2.bias", vec![0]);
    let problem = refuse(&bytes, &sequential);
    assert!(problem.starts_with("\"2.bias\" has numbers of type U8, expected F32 or F64"), "{problem}");

    // the names of many strangers do not make a message of any length
    let mut strangers = linear_tensors::<f32>("", "");
    (0..1000).for_each(|i| strangers.numbers(format!("x{i:03}"), &numbers::<f32>(&[1], 1)));
    let problem = refuse(&strangers, &sequential);
    assert!(problem.ends_with(&format!("\"x005\" and 994 more{advice}")), "{problem}");
}

#[test]
fn damaged_files_are_refused_before_a_weight_changes() {
    let file = Temporary::new("damaged");
    let sequential = ModuleNames::sequential();
    linear_tensors::<f32>("", "").write(&file.0);
    let whole = std::fs::read(&file.0).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&file.0, &whole[..length]).unwrap();
        refused(&file.0, &sequential);
    }
    std::fs::write(&file.0, [&whole[..], &[0]].concat()).unwrap();
    refused(&file.0, &sequential);
    // the header and its length; numbers have no checksum in this format
    for position in 0..whole.len() - 4 * 11 {
        for flip in [0x01, 0xff] {
            let mut bytes = whole.clone();
            bytes[position] ^= flip;
            std::fs::write(&file.0, bytes).unwrap();
            refused(&file.0, &sequential);
        }
    }
    let header = String::from_utf8(whole[8..whole.len() - 4 * 11].to_vec()).unwrap();
    let bias = r#""2.bias":{"dtype":"F32","shape":[1],"#;
    assert!(header.contains(bias), "{header}");
    let twice = header.replacen('{', r#"{"0.bias":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"#, 1);
    let huge = header.replace(bias, &bias.replace("[1]", "[4611686018427387904,4]"));
    for header in [twice, huge] {
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &whole[whole.len() - 4 * 11..]].concat();
        std::fs::write(&file.0, bytes).unwrap();
        refused(&file.0, &sequential);
    }
    let error = linear_model().load_pytorch("no/such/file", &sequential).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
}

#[test]
fn a_prefix_leaves_other_tensors_alone() {
    let file = Temporary::new("part");
    let mut tensors = linear_tensors::<f32>("", "head.");
    tensors.raw("backbone.0.weight", vec![1, 2, 3]);
    tensors.write(&file.0);
    linear_model().load_pytorch(&file.0, &ModuleNames::sequential().prefix("head.")).unwrap();
    refused(&file.0, &ModuleNames::sequential());
    tensors.numbers("head.3.weight", &numbers::<f32>(&[1], 1));
    tensors.write(&file.0);
    let problem = refused(&file.0, &ModuleNames::sequential().prefix("head."));
    assert!(problem.starts_with("the model has nothing for \"head.3.weight\";"), "{problem}");
}

#[test]
fn names_that_do_not_fit_are_errors() {
    let file = Temporary::new("names");
    for (list, message) in [
        (
            &["a"][..],
            "module names: list is 1 names for 2 layers with weights, expected one for each layer with weights",
        ),
        (&["a", "a"], "module names: list is \"a\" twice, expected names that differ"),
    ] {
        let names = ModuleNames::list(list.iter().copied());
        assert_eq!(linear_model().save_pytorch(&file.0, &names).unwrap_err().to_string(), message);
        assert_eq!(linear_model().load_pytorch(&file.0, &names).unwrap_err().to_string(), message);
    }
    assert!(!file.0.exists());
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
    let file = Temporary::new("other");
    let model = Sequential::input([3]).add(Dense::new(2)).add(Twice).build(1).unwrap();
    let error = model.save_pytorch(&file.0, &ModuleNames::sequential()).unwrap_err();
    assert_eq!(error.to_string(), "twice: is a Twice, no layer of the crate, so other libraries have none for it");
}

/// Reads what `tools/interop_torch.py` has made, and writes what it then opens, if `tools/interop.sh` asks for it.
#[test]
fn interop_weights_go_to_and_from_pytorch() {
    let Some(folder) = folder() else { return };
    let names = ModuleNames::sequential();
    for name in REFERENCES {
        let mut model = reference::<f32>(name);
        model.load_pytorch(folder.join(format!("torch_{name}.safetensors")), &names).unwrap();
        let want = TensorFile::read(folder.join(format!("torch_{name}_predictions.safetensors")));
        let difference = difference(&model.predict(&test_images(name)).unwrap(), &want.numbers("probabilities"));
        println!("torch {name}, trained in PyTorch: largest difference {difference:.2e}");
        assert!(difference <= TOLERANCE, "{name}: {difference:e}");

        let model = trained(name);
        model.save_pytorch(folder.join(format!("plywood_torch_{name}.safetensors")), &names).unwrap();
        let probabilities = model.predict(&test_images(name)).unwrap();
        write_probabilities(folder.join(format!("plywood_torch_{name}_predictions.safetensors")), &probabilities);
    }
}
