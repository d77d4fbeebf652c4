//! Models that are no chains: residuals, branches, shared layers, layers made of layers, several inputs and outputs.

mod common;

use common::{bits, numbers, pool};
use plywood::layers::{Add, BatchNormalization, Concatenate, Plan, Shared};
use plywood::ndarray::{Array1, ArrayD, Axis, Slice};
use plywood::prelude::*;
use plywood::testing::{LayerCheck, check_layer};

/// Two convolutions with batch normalization, around which the input is added.
#[derive(Debug, Clone)]
struct Residual {
    filters: usize,
    strides: usize,
}

impl<T: Scalar> Layer<T> for Residual {
    fn kind(&self) -> &'static str {
        "residual"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        let &[&[_, _, channels]] = inputs else { return Err(Error::layer("residual", "wants one image")) };
        let Self { filters, strides } = *self;
        let convolution =
            |size, strides| Conv2D::new(filters, size).strides(strides).padding(Padding::Same).bias(false);
        Ok(Plan::network(inputs, |x| {
            let y = x[0].then(convolution(3, strides)).then(BatchNormalization::new()).then(ReLU::new());
            let y = y.then(convolution(3, 1)).then(BatchNormalization::new());
            let shortcut = match (channels == filters, strides) {
                (true, 1) => x[0].clone(),
                _ => x[0].then(convolution(1, strides)).then(BatchNormalization::new()),
            };
            vec![Add::of([&y, &shortcut]).then(ReLU::new())]
        }))
    }
}

fn block<T: Scalar>(x: &Value<T>, filters: usize, strides: usize) -> Value<T> {
    let convolution = |size, strides| Conv2D::new(filters, size).strides(strides).padding(Padding::Same).bias(false);
    let y = x.then(convolution(3, strides)).then(BatchNormalization::new()).then(ReLU::new());
    let y = y.then(convolution(3, 1)).then(BatchNormalization::new());
    let shortcut = match strides {
        1 => x.clone(),
        _ => x.then(convolution(1, strides)).then(BatchNormalization::new()),
    };
    Add::of([&y, &shortcut]).then(ReLU::new())
}

/// ResNet-20 for images of 32×32.
fn resnet20() -> Functional {
    let x = Value::input([32, 32, 3]);
    let mut y = x.then(Conv2D::new(16, 3).padding(Padding::Same).bias(false));
    y = y.then(BatchNormalization::new()).then(ReLU::new());
    for (filters, strides) in [(16, 1), (32, 2), (64, 2)] {
        for strides in [strides, 1, 1] {
            y = block(&y, filters, strides);
        }
    }
    let y = y.then(Flatten::new()).then(Dense::new(10)).then(Softmax::new());
    Functional::new([&x], [&y])
}

fn small_residual<T: Scalar>(seed: u64) -> Model<T> {
    let x = Value::with_input([6, 6, 2]);
    let y = block(&block(&x, 2, 1), 4, 2).then(Flatten::new()).then(Dense::new(3)).then(Softmax::new());
    Functional::new([&x], [&y]).build(seed).expect("the shapes fit")
}

fn images<T: Scalar>(samples: usize) -> Dataset<T> {
    let labels = Array1::from_iter((0..samples).map(|i| (i * i) % 3));
    Dataset::new(numbers::<T>(&[samples, 6, 6, 2], 3), labels).expect("as many labels as images")
}

#[test]
fn layers_made_of_layers_pass_the_kit() {
    check_layer(Residual { filters: 3, strides: 1 }, [4, 5, 3]).unwrap();
    LayerCheck::new(Residual { filters: 4, strides: 2 }, [5, 4, 2]).batch(4).run().unwrap();
}

#[test]
fn a_layer_made_of_layers_is_what_it_is_made_of() {
    let by_type = Sequential::with_input([6, 6, 2]).add(Residual { filters: 2, strides: 1 });
    let by_type = by_type.add(Flatten::new()).add(Dense::new(3)).add(Softmax::new()).build(7).unwrap();
    let x = Value::input([6, 6, 2]);
    let y = block(&x, 2, 1).then(Flatten::new()).then(Dense::new(3)).then(Softmax::new());
    let by_hand = Functional::new([&x], [&y]).build(7).unwrap();
    assert_eq!(bits(by_type.values()), bits(by_hand.values()));
    let names: Vec<_> = by_type.layout().entries().iter().map(|entry| entry.name()).collect();
    assert_eq!(names[0], "residual/conv2d/kernel");
    assert!(names.contains(&"residual/batch_normalization_1/moving_variance"));
    let x = numbers::<f32>(&[5, 6, 6, 2], 1);
    assert_eq!(bits(&by_type.predict(&x).unwrap()), bits(&by_hand.predict(&x).unwrap()));
}

#[test]
fn a_residual_network_learns_the_same_bits_on_any_number_of_threads() {
    let data = images::<f32>(50);
    let run = |threads| {
        pool(threads).install(|| {
            let mut trainer = small_residual(5).compile(RMSprop::new(0.01), CategoricalCrossentropy::new());
            let history = trainer.fit(&data, &Fit::epochs(30).batch_size(16)).unwrap();
            (bits(trainer.model().values()), history.get("loss").unwrap())
        })
    };
    let (one, losses) = run(1);
    assert!(losses[29] < losses[0] / 2.0, "{losses:?}");
    for threads in [2, 5] {
        assert_eq!(run(threads).0, one, "{threads} threads");
    }
}

#[test]
fn predictions_alone_are_those_of_a_batch() {
    let data = images::<f32>(9);
    let mut trainer = small_residual(5).compile(SGD::new(0.05), CategoricalCrossentropy::new());
    trainer.fit(&data, &Fit::epochs(2).batch_size(4)).unwrap();
    let model = trainer.into_model();
    let together = model.predict(data.inputs()).unwrap();
    for sample in 0..9 {
        let slice = Slice::from(sample..sample + 1);
        let alone = model.predict(&data.inputs().slice_axis(Axis(0), slice)).unwrap();
        assert_eq!(bits(&alone), bits(together.slice_axis(Axis(0), slice)), "sample {sample}");
    }
}

#[test]
fn a_refused_step_changes_no_state() {
    let mut trainer = small_residual::<f64>(5).compile(SGD::new(0.05), CategoricalCrossentropy::new());
    let before = bits(trainer.model().values());
    let bad = ArrayD::from_elem(vec![2, 6, 6, 2], f64::NAN);
    let labels = Array1::from_vec(vec![0_usize, 1]);
    assert!(matches!(trainer.train_step(&bad, &labels), Err(Error::NonFiniteLoss { .. })));
    assert_eq!(bits(trainer.model().values()), before);
    trainer.train_step(&numbers::<f64>(&[2, 6, 6, 2], 1), &labels).unwrap();
    let moved = |name: &str| trainer.model().parameter(name).unwrap().iter().any(|&v| v != 0.0 && v != 1.0);
    assert!(moved("batch_normalization/moving_mean") && moved("batch_normalization_1/moving_variance"));
}

#[test]
fn a_shared_layer_learns_from_all_its_applications() {
    // y = (x₁ + x₂)·w, written with one layer applied twice and with the sum taken before it
    let builder = |shared: bool| {
        let (left, right) = (Value::<f64>::with_input([3]), Value::with_input([3]));
        let layer = Shared::new(Dense::new(2).bias(false));
        let y = if shared {
            Add::of([&layer.of([&left]), &layer.of([&right])])
        } else {
            layer.of([&Add::of([&left, &right])])
        };
        Functional::new([&left, &right], [&y]).build(1).unwrap()
    };
    let (shared, summed) = (builder(true), builder(false));
    assert_eq!(shared.parameter_count(), 6);
    let [left, right] = [1, 2].map(|seed| numbers::<f64>(&[4, 3], seed));
    let outputs = |model: &Model<f64>| model.predict_all(&[left.view(), right.view()]).unwrap().remove(0);
    let difference = outputs(&shared) - outputs(&summed);
    assert!(difference.iter().all(|d| d.abs() < 1e-15));
}

#[test]
fn several_outputs_and_one_value_in_many_places() {
    let x = Value::<f64>::with_input([3]);
    let h = x.then(Dense::new(4).activation(Activation::ReLU));
    let a = Concatenate::of([&h, &x, &h]);
    let b = h.then(Dense::new(2));
    let model = Functional::new([&x], [&a, &b, &x, &a]).build(3).unwrap();
    let input = numbers::<f64>(&[5, 3], 1);
    let outputs = model.predict_all(&[input.view()]).unwrap();
    let shapes: Vec<_> = outputs.iter().map(|output| output.shape().to_vec()).collect();
    assert_eq!(shapes, [[5, 11], [5, 2], [5, 3], [5, 11]]);
    assert_eq!(outputs[2], input.clone().into_dyn());
    assert_eq!(outputs[0], outputs[3]);
    let hidden = model.until("dense").unwrap().predict(&input).unwrap();
    assert_eq!(outputs[0].slice_axis(Axis(1), Slice::from(7..)), hidden);
    assert_eq!(outputs[0].slice_axis(Axis(1), Slice::from(4..7)), input.into_dyn());
}

#[test]
fn a_model_is_a_layer_with_its_weights() {
    let trunk = small_residual::<f32>(5).until("flatten").unwrap();
    let model = Sequential::input([6, 6, 2]).add(trunk.clone()).named("trunk").add(Dense::new(2)).build(9).unwrap();
    for (name, values) in trunk.parameters() {
        assert_eq!(model.parameter(&format!("trunk/{name}")).unwrap(), values);
    }
    let x = numbers::<f32>(&[3, 6, 6, 2], 1);
    assert_eq!(bits(&model.until("trunk").unwrap().predict(&x).unwrap()), bits(&trunk.predict(&x).unwrap()));
    let error = Sequential::input([4]).add(trunk).build(1).unwrap_err().to_string();
    assert_eq!(error, "model: got input samples of shape 4, expected 6×6×2");
}

#[test]
fn what_cannot_be_built_says_why() {
    let (x, other) = (Value::input([3]), Value::input([3]));
    let message = |outputs: &Value| Functional::new([&x], [outputs]).build(1).unwrap_err().to_string();
    assert_eq!(
        message(&Add::of([&x, &other])),
        "add: depends on an input that is not among the model's; list all inputs"
    );
    assert_eq!(message(&Add::of([&x])), "add: got 1 inputs, expected at least two");
    assert_eq!(message(&Value::of(Dense::new(2), [&x, &x])), "dense: got 2 inputs (3 and 3), expected one");
    assert_eq!(message(&x), "the model has no layers; add at least one before build");
    let twice = x.then(Dense::new(2)).named("a").then(Dense::new(2)).named("a");
    assert_eq!(message(&twice), "a: name is that of another layer too, expected a name of its own for each layer");
    assert_eq!(
        message(&x.then(Dense::new(2)).named("a/b")),
        "a/b: name is \"a/b\", expected some characters, none of them a slash: it separates a layer from its parameters"
    );
    let shared = Shared::new(Dense::new(3));
    let y = shared.of([&shared.of([&x]).then(Dense::new(4))]);
    assert_eq!(
        message(&y),
        "dense: is shared, but would have parameters of other shapes for these inputs than for the first"
    );
}

#[test]
fn a_residual_network_of_twenty_layers() {
    let model = resnet20().build(42).unwrap();
    assert_eq!(model.layers().iter().filter(|layer| layer.name().starts_with("conv2d")).count(), 21);
    assert_eq!(model.output_shape(), [10]);
    let long = (0..30_000).fold(Value::input([2]), |x, _| x.then(ReLU::new()));
    drop(long);
}

/// Files of models that are no chains.
#[cfg(feature = "safetensors")]
mod files {
    use std::path::PathBuf;

    use plywood::persist::ModuleNames;

    use super::*;

    fn path(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
    }

    fn read_again<T: Scalar>(name: &str, model: &Model<T>) -> Model<T> {
        let path = path(name);
        model.save(&path).unwrap();
        let read = Model::load(&path).unwrap();
        assert_eq!(bits(read.values()), bits(model.values()));
        assert_eq!(read.layout(), model.layout());
        let names = |model: &Model<T>| model.layers().iter().map(|layer| layer.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&read), names(model));
        // the same model gives the same bytes
        let before = std::fs::read(&path).unwrap();
        read.save(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), before);
        read
    }

    #[test]
    fn residual_networks_come_back_with_their_state() {
        let mut trainer = small_residual::<f32>(5).compile(SGD::new(0.05), CategoricalCrossentropy::new());
        trainer.fit(&images(20), &Fit::epochs(2).batch_size(8)).unwrap();
        let model = trainer.into_model();
        let read = read_again("residual.safetensors", &model);
        let x = numbers::<f32>(&[3, 6, 6, 2], 1);
        assert_eq!(bits(&read.predict(&x).unwrap()), bits(&model.predict(&x).unwrap()));
    }

    #[test]
    fn shared_named_and_nested_layers_come_back() {
        let trunk = small_residual::<f32>(5).until("flatten").unwrap();
        let (left, right) = (Value::input([6, 6, 2]), Value::input([6, 6, 2]));
        let shared = Shared::new(Dense::new(3));
        let of = |x: &Value, name: &str| shared.of([&x.then(trunk.clone()).named(name)]);
        let both = Concatenate::of([&of(&left, "left"), &of(&right, "right")]).named("both");
        let model = Functional::new([&left, &right], [&both, &both.then(Softmax::new())]).build(3).unwrap();
        let read = read_again("nested.safetensors", &model);
        let inputs = [1, 2].map(|seed| numbers::<f32>(&[2, 6, 6, 2], seed));
        let inputs = [inputs[0].view(), inputs[1].view()];
        assert_eq!(read.predict_all(&inputs).unwrap(), model.predict_all(&inputs).unwrap());
        assert!(read.parameter("left/conv2d/kernel").is_ok() && read.parameter("dense/kernel").is_ok());
    }

    #[test]
    fn a_run_goes_on_with_equal_bits() {
        let fit = |epochs| Fit::epochs(epochs).batch_size(8).micro_batches(3);
        let trainer = || small_residual::<f32>(5).compile(RMSprop::new(0.01), CategoricalCrossentropy::new());
        let mut whole = trainer();
        whole.fit(&images(30), &fit(4)).unwrap();
        let mut first = trainer();
        first.fit(&images(30), &fit(2)).unwrap();
        let path = path("residual.checkpoint");
        first.save_checkpoint(&path).unwrap();
        let mut second = trainer();
        second.load_checkpoint(&path).unwrap();
        second.fit(&images(30), &fit(2)).unwrap();
        assert_eq!(bits(second.model().values()), bits(whole.model().values()));
    }

    #[test]
    fn layers_of_other_crates_within_models_are_named() {
        let x = Value::<f32>::with_input([4, 4, 2]);
        let model = Functional::new([&x], [&x.then(Residual { filters: 2, strides: 1 })]).build(1).unwrap();
        let error = model.save(path("custom.safetensors")).unwrap_err().to_string();
        assert!(error.starts_with("residual: is a Residual, no layer of the crate"), "{error}");
    }

    #[test]
    fn other_formats_say_that_they_hold_chains() {
        let model = small_residual::<f32>(1);
        let error =
            model.save_pytorch(path("residual.pt.safetensors"), &ModuleNames::sequential()).unwrap_err().to_string();
        assert!(error.contains("files of other libraries hold chains of layers only"), "{error}");
        let chain = Sequential::input([3]).add(BatchNormalization::new()).build(1).unwrap();
        let error =
            chain.save_pytorch(path("residual.pt.safetensors"), &ModuleNames::sequential()).unwrap_err().to_string();
        assert!(error.starts_with("batch_normalization: is a BatchNormalization, which files of PyTorch"), "{error}");
    }
}
