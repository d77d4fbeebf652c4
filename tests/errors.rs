//! Whatever a user can do wrong comes back as an `Error` that names who complains, what it got and what it expected, and
//! before any weight has changed. Nothing panics.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{bits, numbers};
use ndarray_rand::rand::{Rng, SeedableRng};
use plywood::callbacks::{
    BatchEnd, Callback, Control, CsvLog, EarlyStopping, EpochEnd, LearningRateSchedule, TrainBegin,
};
use plywood::data::{TargetsView, one_hot};
use plywood::layers::{Backward, Forward, ParameterSpec, Plan};
use plywood::model::SequentialBuilder;
use plywood::ndarray::{Array1, Array2, Array4, ArrayD, ArrayViewD, Axis, IxDyn, Slice, array};
use plywood::optimizers::Adam;
use plywood::prelude::*;
use rand_chacha::ChaCha8Rng;

/// Reports every message that is not the expected one.
fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} wrong:\n{}", failures.len(), failures.join("\n"));
}

fn images() -> SequentialBuilder {
    Sequential::input([3, 4, 2])
}

#[test]
fn models_that_cannot_be() {
    const MAX: usize = usize::MAX;
    let vectors = || Sequential::input([4]);
    let named = || images().add(Conv2D::new(2, 1)).add(MaxPooling2D::new(1)).add(Conv2D::new(2, 1));
    let explicit = |top, bottom, left, right| Padding::Explicit { top, bottom, left, right };
    let normal = |mean, stddev| Initializer::Normal { mean, stddev };
    let square = "at least 1 in height and width";
    let memory = "would have more elements than fit into memory; use fewer";

    let cases = [
        // no model at all
        (vectors(), "the model has no layers; add at least one before build".to_owned()),
        (
            Sequential::input([]).add(ReLU::new()),
            "input: sample shape is [], expected at least one axis, each at least 1".to_owned(),
        ),
        (
            Sequential::input([28, 0, 1]).add(ReLU::new()),
            "input: sample shape is [28, 0, 1], expected at least one axis, each at least 1".to_owned(),
        ),
        // nothing of something
        (vectors().add(Dense::new(0)), "dense: units is 0, expected at least 1".to_owned()),
        (vectors().add(Dense::new(3)).add(Dense::new(0)), "dense_1: units is 0, expected at least 1".to_owned()),
        (named().add(Conv2D::new(0, 3)), "conv2d_2: filters is 0, expected at least 1".to_owned()),
        (named().add(Conv2D::new(2, 0)), format!("conv2d_2: kernel is (0, 0), expected {square}")),
        (named().add(Conv2D::new(2, (1, 0))), format!("conv2d_2: kernel is (1, 0), expected {square}")),
        (named().add(Conv2D::new(2, 1).strides((0, 1))), format!("conv2d_2: strides is (0, 1), expected {square}")),
        (named().add(Conv2D::new(2, 1).dilation((1, 0))), format!("conv2d_2: dilation is (1, 0), expected {square}")),
        (named().add(MaxPooling2D::new(0)), format!("max_pooling2d_1: pool is (0, 0), expected {square}")),
        (
            named().add(MaxPooling2D::new(2).strides((1, 0))),
            format!("max_pooling2d_1: strides is (1, 0), expected {square}"),
        ),
        // samples of the wrong shape
        (
            named().add(Dense::new(10)),
            "dense: got input samples of shape 3×4×2, expected [features]; put Flatten before it".to_owned(),
        ),
        (
            vectors().add(Conv2D::new(2, 3)),
            "conv2d: got input samples of shape 4, expected [height, width, channels]; give the model's input as e.g. \
             [28, 28, 1]"
                .to_owned(),
        ),
        (
            Sequential::input([4, 4]).add(MaxPooling2D::new(2)),
            "max_pooling2d: got input samples of shape 4×4, expected [height, width, channels]; give the model's input \
             as e.g. [28, 28, 1]"
                .to_owned(),
        ),
        // windows that do not fit
        (
            named().add(Conv2D::new(2, 5)),
            "conv2d_2: a 5×5 kernel does not fit into its input of 3×4×2; use Padding::Same or a kernel of at most 3×4"
                .to_owned(),
        ),
        (
            named().add(Conv2D::new(2, 3).dilation((1, 2))),
            "conv2d_2: a 3×3 kernel, dilated to 3×5, does not fit into its input of 3×4×2; use Padding::Same or a kernel \
             of at most 3×2"
                .to_owned(),
        ),
        (
            named().add(Conv2D::new(2, 6).padding(Padding::symmetric(1))),
            "conv2d_2: a 6×6 kernel does not fit into its input of 3×4×2; use Padding::Same or a kernel of at most 5×6"
                .to_owned(),
        ),
        (
            named().add(MaxPooling2D::new((2, 5))),
            "max_pooling2d_1: a 2×5 pool does not fit into its input of 3×4×2; use Padding::Same or a pool of at most 3×4"
                .to_owned(),
        ),
        (
            named().add(MaxPooling2D::new(2).padding(explicit(0, 2, 0, 0))),
            "max_pooling2d_1: padding is top 0, bottom 2, left 0, right 0, expected less than the pool on each side, or a \
             window would see nothing but padding"
                .to_owned(),
        ),
        // first values that cannot be drawn
        (
            vectors().add(ReLU::new()).add(Dense::new(3).kernel_initializer(normal(0.0, -1.0))),
            "dense: stddev is -1, expected a finite number of at least 0".to_owned(),
        ),
        (
            named().add(Conv2D::new(2, 1).bias_initializer(Initializer::Constant { value: f64::NAN })),
            "conv2d_2: value is NaN, expected a finite number".to_owned(),
        ),
        (
            vectors().add(Dense::new(3).kernel_initializer(Initializer::Uniform { min: 1.0, max: 0.0 })),
            "dense: min is 1, expected a number not above max".to_owned(),
        ),
        // more than an f32 has
        (
            vectors().add(Dense::new(3).bias_initializer(Initializer::Constant { value: 1e39 })),
            format!("dense: value is {}, expected a finite number", 1e39),
        ),
        // sizes that overflow, or that no memory holds
        (Sequential::input([MAX, 2]).add(ReLU::new()), format!("input: a sample {memory}")),
        (vectors().add(Dense::new(MAX)), format!("dense: the kernel {memory}")),
        // each of them could be addressed, both together could not
        (vectors().add(Dense::new(1 << 42)).add(Dense::new(4)), format!("dense: the parameters {memory}")),
        (named().add(Conv2D::new(MAX, 1)), format!("conv2d_2: the kernel {memory}")),
        (named().add(Conv2D::new(MAX / 4, 3)), format!("conv2d_2: the kernel {memory}")),
        (named().add(Conv2D::new(1, 3).dilation(MAX)), format!("conv2d_2: the dilated window {memory}")),
        (
            named().add(Conv2D::new(1, 3).dilation((1 << 20, (1 << 21) - 8)).padding(Padding::Same)),
            format!("conv2d_2: the working memory of a sample {memory}"),
        ),
        (named().add(Conv2D::new(1, MAX).padding(Padding::Same)), format!("conv2d_2: the padding {memory}")),
        (named().add(Conv2D::new(1, MAX / 2).padding(Padding::Same)), format!("conv2d_2: the padded input {memory}")),
        (named().add(Conv2D::new(1, 1).padding(explicit(MAX, 1, 0, 0))), format!("conv2d_2: the padding {memory}")),
        (named().add(Conv2D::new(1, 1).padding(explicit(0, MAX, 0, 0))), format!("conv2d_2: the padding {memory}")),
        (
            named().add(Conv2D::new(1, 1).padding(explicit(0, 0, 0, MAX / 2))),
            format!("conv2d_2: the padded input {memory}"),
        ),
        (
            named().add(MaxPooling2D::new(MAX).padding(Padding::Same)),
            format!("max_pooling2d_1: the padded input {memory}"),
        ),
        (
            named().add(MaxPooling2D::new(MAX)),
            format!(
                "max_pooling2d_1: a {MAX}×{MAX} pool does not fit into its input of 3×4×2; use Padding::Same or a pool of \
                 at most 3×4"
            ),
        ),
    ];
    let mut failures = vec![];
    for (model, message) in cases {
        match model.clone().build(1) {
            Err(error) if error.to_string() == message => {}
            other => {
                let got = other.map_or_else(|error| error.to_string(), |_| "a model".to_owned());
                failures.push(format!("{model:?}\n     got: {got}\nexpected: {message}"));
            }
        }
    }
    report(&failures);
}

fn classifier() -> Trainer {
    let model = Sequential::input([4])
        .add(Dense::new(5).activation(Activation::ReLU))
        .add(Dense::new(3).activation(Activation::Softmax))
        .build(1)
        .unwrap();
    model.compile(RMSprop::default().momentum(0.9), CategoricalCrossentropy::new()).metric(Accuracy::new())
}

fn samples(n: usize) -> ArrayD<f32> {
    numbers(&[n, 4], 1)
}

fn dataset(inputs: ArrayD<f32>, targets: impl Into<Targets<f32>>) -> Dataset {
    Dataset::new(inputs, targets).unwrap()
}

/// Trains on two samples.
fn fit_two(trainer: &mut Trainer, fit: &Fit<'_>) -> Result<()> {
    trainer.fit(&dataset(samples(2), array![0_usize, 1]), fit).map(drop)
}

/// What is wrong, and what comes of it.
type Case = (fn(&mut Trainer) -> Result<()>, &'static str);

#[test]
fn data_that_do_not_fit() {
    let cases: &[Case] = &[
        // inputs
        (
            |trainer| trainer.train_step(&numbers(&[2, 5], 1), &array![0, 1]).map(drop),
            "train_step: got an array of shape 2×5, expected n×4: n samples of the model's input shape",
        ),
        (
            |trainer| trainer.train_step(&numbers(&[4], 1), &array![0]).map(drop),
            "train_step: got an array of shape 4, expected n×4: n samples of the model's input shape; of a single sample, \
             insert_axis(Axis(0)) makes a batch",
        ),
        (
            |trainer| trainer.train_step(&numbers(&[2, 2, 2], 1), &array![0, 1]).map(drop),
            "train_step: got an array of shape 2×2×2, expected n×4: n samples of the model's input shape; they have as \
             many elements: reshape them",
        ),
        (
            |trainer| trainer.train_step(&numbers(&[], 1), &array![0]).map(drop),
            "train_step: got an array of shape [], expected n×4: n samples of the model's input shape",
        ),
        (
            |trainer| trainer.train_step(&samples(0), &Array1::<usize>::zeros(0)).map(drop),
            "the batch has no samples; at least one is needed",
        ),
        (
            |trainer| trainer.fit(&dataset(numbers(&[2, 5], 1), array![0_usize, 1]), &Fit::epochs(1)).map(drop),
            "training inputs: got an array of shape 2×5, expected n×4: n samples of the model's input shape",
        ),
        (
            |trainer| {
                let validation = dataset(numbers(&[2, 5], 1), array![0_usize, 1]);
                fit_two(trainer, &Fit::epochs(1).validation(&validation))
            },
            "validation inputs: got an array of shape 2×5, expected n×4: n samples of the model's input shape",
        ),
        (
            |trainer| trainer.evaluate(&dataset(numbers(&[2, 5], 1), array![0_usize, 1])).map(drop),
            "evaluate: got an array of shape 2×5, expected n×4: n samples of the model's input shape",
        ),
        (
            |trainer| trainer.model().predict(&numbers(&[2, 5], 1)).map(drop),
            "predict: got an array of shape 2×5, expected n×4: n samples of the model's input shape",
        ),
        (
            |trainer| trainer.model().predict_classes(&numbers(&[4], 1)).map(drop),
            "predict: got an array of shape 4, expected n×4: n samples of the model's input shape; of a single sample, \
             insert_axis(Axis(0)) makes a batch",
        ),
        (
            |trainer| trainer.model().predictor(2).predict_into(&samples(2), &mut Array2::zeros((2, 4))),
            "the array for predictions: got an array of shape 2×4, expected n×3",
        ),
        (
            |trainer| trainer.model().predictor(2).predict_into(&samples(2), &mut numbers(&[], 1)),
            "the array for predictions: got an array of shape [], expected n×3",
        ),
        (
            |trainer| trainer.model().predictor(2).predict_into(&samples(2), &mut Array2::zeros((3, 3))),
            "got 2 inputs but 3 rows for predictions; there must be one for each input",
        ),
        // targets
        (
            |trainer| trainer.train_step(&samples(2), &array![0, 1, 2]).map(drop),
            "got 2 inputs but 3 targets; there must be one for each input",
        ),
        (
            |trainer| trainer.train_step(&samples(3), &array![0, 3, 4]).map(drop),
            "the label at index 1 is 3, expected a class below 3",
        ),
        (
            // many batches in: found before the first step all the same
            |trainer| {
                let classes = Array1::from_shape_fn(100, |i| if i == 97 { 1_000_000_usize } else { 0 });
                trainer.fit(&dataset(samples(100), classes), &Fit::epochs(1).batch_size(4)).map(drop)
            },
            "the label at index 97 is 1000000, expected a class below 3",
        ),
        (
            |trainer| {
                let validation = dataset(samples(2), array![0_u8, 9]);
                fit_two(trainer, &Fit::epochs(1).validation(&validation))
            },
            "the label at index 1 is 9, expected a class below 3",
        ),
        (
            |trainer| trainer.evaluate(&dataset(samples(2), array![3_usize, 0])).map(drop),
            "the label at index 0 is 3, expected a class below 3",
        ),
        (
            |trainer| trainer.train_step(&samples(2), &Array2::zeros((2, 4))).map(drop),
            "categorical_crossentropy: got values of shape 2×4, expected rows of 3 values, or class indices as an Array1 of \
             usize or u8",
        ),
        (
            |trainer| trainer.train_step(&samples(2), &Array1::<f32>::zeros(2)).map(drop),
            "categorical_crossentropy: got values of shape 2, expected rows of 3 values, or class indices as an Array1 of \
             usize or u8",
        ),
        (
            |trainer| trainer.train_step(&samples(2), &array![[0.0, f32::NAN, 0.0], [1.0, 0.0, 0.0]]).map(drop),
            "the loss is NaN in epoch 1, batch 2; lower the learning rate or look for NaN in the data (the weights have \
             not been changed by this batch)",
        ),
        // settings of a run
        (|trainer| fit_two(trainer, &Fit::epochs(0)), "fit: epochs is 0, expected at least 1"),
        (|trainer| fit_two(trainer, &Fit::epochs(1).batch_size(0)), "fit: batch_size is 0, expected at least 1"),
        (
            |trainer| fit_two(trainer, &Fit::epochs(1).sample_weights(&[1.0])),
            "got 2 inputs but 1 sample weights; there must be one for each input",
        ),
        (
            |trainer| fit_two(trainer, &Fit::epochs(1).sample_weights(&[1.0, f32::NAN])),
            "fit: sample_weights is NaN, expected finite numbers of at least 0",
        ),
        (
            |trainer| fit_two(trainer, &Fit::epochs(1).class_weights([(0, 2.0), (1, -1.0)])),
            "fit: class_weights is -1, expected finite numbers of at least 0",
        ),
        (
            |trainer| fit_two(trainer, &Fit::epochs(1).class_weights([(3, 2.0)])),
            "fit: class_weights is a weight for class 3, expected classes that the model puts out",
        ),
        (
            |trainer| fit_two(trainer, &Fit::epochs(1).validation_split(1.0)),
            "validation split: fraction is 1.0, expected above 0 and below 1",
        ),
        (
            |trainer| fit_two(trainer, &Fit::epochs(1).validation_split(0.9)),
            "validation split: fraction is 0.9 of 2 samples, expected a fraction that leaves at least one sample on either \
             side",
        ),
        (
            |trainer| {
                trainer.optimizer_mut().set_learning_rate(f64::NAN);
                let result = trainer.train_step(&samples(2), &array![0, 1]).map(drop);
                trainer.optimizer_mut().set_learning_rate(0.01);
                result
            },
            "RMSprop: learning_rate is NaN, expected a finite number of at least 0",
        ),
        (
            |trainer| fit_two(trainer, &Fit::epochs(1).class_weights([(0, 1e39)])),
            "fit: class_weights is 1000000000000000000000000000000000000000, expected finite numbers of at least 0",
        ),
        // metrics of one name
        (
            |trainer| {
                let [first, second] = &mut [Accuracy::new(), Accuracy::new()];
                trainer.evaluate_with(&dataset(samples(2), array![0_usize, 1]), &mut [first, second]).map(drop)
            },
            "metrics: name is \"accuracy\", expected a name that no other metric has and that is none of a history's own: \
             loss, epoch, seconds, val_…",
        ),
        // names
        (
            |trainer| trainer.model().parameter("dense_2/kernel").map(drop),
            "the model has no parameter \"dense_2/kernel\"; it has dense/kernel, dense/bias, dense_1/kernel, dense_1/bias",
        ),
        (
            |trainer| trainer.model_mut().parameter_mut("").map(drop),
            "the model has no parameter \"\"; it has dense/kernel, dense/bias, dense_1/kernel, dense_1/bias",
        ),
    ];
    let mut trainer = classifier();
    trainer.train_step(&samples(4), &array![0, 1, 2, 0]).unwrap();
    let mut undisturbed = classifier();
    undisturbed.train_step(&samples(4), &array![0, 1, 2, 0]).unwrap();

    let mut failures = vec![];
    for &(wrong, message) in cases {
        match wrong(&mut trainer) {
            Err(error) if error.to_string() == message => {}
            other => failures.push(format!("     got: {other:?}\nexpected: {message}")),
        }
        if bits(trainer.model().values()) != bits(undisturbed.model().values()) || trainer.step() != 1 {
            failures.push(format!("weights have changed: {message}"));
        }
    }
    report(&failures);

    // nor has anything else changed: training goes on as if nothing had been
    undisturbed.optimizer_mut().set_learning_rate(0.01);
    for _ in 0..3 {
        trainer.train_step(&samples(4), &array![0, 1, 2, 0]).unwrap();
        undisturbed.train_step(&samples(4), &array![0, 1, 2, 0]).unwrap();
    }
    assert_eq!(bits(trainer.model().values()), bits(undisturbed.model().values()));
}

/// What cannot be trained, on which targets, and what comes of it.
type Unfit = (fn() -> Trainer, Targets<f32>, String);

#[test]
fn losses_and_optimizers_that_do_not_fit() {
    fn model() -> Sequential {
        Sequential::input([4]).add(Dense::new(3)).build(1).unwrap()
    }
    fn entropy() -> CategoricalCrossentropy {
        CategoricalCrossentropy::new()
    }
    let classes = || Targets::from(array![0_usize, 1, 2]);
    let number = "expected a finite number of at least 0";
    let fraction = "expected a number of at least 0 and below 1";
    let cases: Vec<Unfit> = vec![
        (|| model().compile(SGD::new(-0.1), entropy()), classes(), format!("SGD: learning_rate is -0.1, {number}")),
        (|| model().compile(SGD::new(0.1).momentum(1.0), entropy()), classes(), format!("SGD: momentum is 1, {fraction}")),
        (
            || model().compile(RMSprop::new(f64::INFINITY), entropy()),
            classes(),
            format!("RMSprop: learning_rate is inf, {number}"),
        ),
        (|| model().compile(RMSprop::default().rho(1.5), entropy()), classes(), format!("RMSprop: rho is 1.5, {fraction}")),
        (
            || model().compile(RMSprop::default().momentum(f64::NAN), entropy()),
            classes(),
            format!("RMSprop: momentum is NaN, {fraction}"),
        ),
        (
            || model().compile(RMSprop::default().epsilon(-1.0), entropy()),
            classes(),
            format!("RMSprop: epsilon is -1, {number}"),
        ),
        (
            || model().compile(Adam::default().beta_1(-0.1), entropy()),
            classes(),
            format!("Adam: beta_1 is -0.1, {fraction}"),
        ),
        (
            || model().compile(Adam::default().weight_decay(-1.0), entropy()),
            classes(),
            format!("Adam: weight_decay is -1, {number}"),
        ),
        (
            || model().compile(SGD::default(), entropy().label_smoothing(1.0)),
            classes(),
            "categorical_crossentropy: label_smoothing is 1, expected 0 to below 1".to_owned(),
        ),
        (
            || model().compile(SGD::default(), entropy().label_smoothing(f64::NAN)),
            classes(),
            "categorical_crossentropy: label_smoothing is NaN, expected 0 to below 1".to_owned(),
        ),
        // an image for each sample, and no class
        (
            || Sequential::input([4, 1, 1]).add(Conv2D::new(2, 1)).build(1).unwrap().compile(SGD::default(), entropy()),
            classes(),
            "categorical_crossentropy: got input samples of shape 4×1×2, expected [classes]; let the model end in Flatten \
             and Dense, with one unit for each class"
                .to_owned(),
        ),
        (
            || model().compile(SGD::default(), MeanSquaredError),
            classes(),
            "mean_squared_error: got class indices, expected values of shape [samples, 3]; make rows of class indices with \
             one_hot"
                .to_owned(),
        ),
        (
            || model().compile(SGD::default(), MeanSquaredError),
            Array2::zeros((3, 4)).into(),
            "mean_squared_error: got values of shape 3×4, expected values of shape [samples, 3]".to_owned(),
        ),
        (
            || model().compile(SGD::default(), MeanSquaredError),
            ArrayD::zeros(IxDyn(&[3])).into(),
            "mean_squared_error: got values of shape 3, expected values of shape [samples, 3]".to_owned(),
        ),
        // a metric of classes where there are none
        (
            || {
                let model = Sequential::input([4, 1, 1]).add(Conv2D::new(2, 1)).build(1).unwrap();
                model.compile(SGD::default(), MeanSquaredError).metric(Accuracy::new())
            },
            Array4::zeros((3, 4, 1, 2)).into(),
            "accuracy: got input samples of shape 4×1×2, expected [classes]; let the model end in Flatten and Dense, with \
             one unit for each class"
                .to_owned(),
        ),
    ];
    let mut failures = vec![];
    for (trainer, targets, message) in cases {
        let mut trainer = trainer();
        let before = bits(trainer.model().values());
        let x = numbers(&[&[3], trainer.model().input_shape()].concat(), 1);
        let data = dataset(x.clone(), targets);
        for result in [
            trainer.train_step(&x, data.targets()).map(drop),
            trainer.fit(&data, &Fit::epochs(1)).map(drop),
            trainer.evaluate(&data).map(drop),
        ] {
            match result {
                Err(error) if error.to_string() == message => {}
                other => failures.push(format!("     got: {other:?}\nexpected: {message}")),
            }
        }
        if bits(trainer.model().values()) != before {
            failures.push(format!("weights have changed: {message}"));
        }
    }
    report(&failures);
}

#[test]
fn data_sets_that_cannot_be() {
    let error = |result: Result<Dataset>| result.unwrap_err().to_string();
    let data = |n: usize| Dataset::new(samples(n), Array1::<usize>::zeros(n));
    assert_eq!(
        error(Dataset::new(samples(3), array![0_usize, 1])),
        "got 3 inputs but 2 targets; there must be one for each input"
    );
    assert_eq!(error(data(0)), "the data set has no samples; at least one is needed");
    assert_eq!(
        error(Dataset::new(numbers(&[], 1), array![0_usize])),
        "the data set's inputs: got an array of shape [], expected [samples, …]"
    );
    for (shape, text) in [(vec![5], "3×5"), (vec![usize::MAX, 4], "3×18446744073709551615×4")] {
        assert_eq!(
            error(data(3).unwrap().reshape_inputs(shape)),
            format!("the data set's inputs: got an array of shape 3×4, expected as many elements as {text}")
        );
    }
    assert_eq!(error(data(3).unwrap().head(0)), "head: samples is 0, expected at least 1");
    assert_eq!(error(data(3).unwrap().one_hot(0)), "the label at index 0 is 0, expected a class below 0");
    assert_eq!(
        one_hot::<f32>(&array![0_u8], usize::MAX).unwrap_err().to_string(),
        "one_hot: the array would have more elements than fit into memory; use fewer"
    );
}

/// A batch whose loss is not a number changes neither weights nor what the optimizer remembers, and is named.
#[test]
fn a_loss_that_is_not_finite() {
    for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
        let mut x = samples(12);
        // in the third of four batches
        x[[7, 1]] = bad;
        let targets = numbers(&[12, 2], 2);
        let trainer = || {
            let model = Sequential::input([4]).add(Dense::new(2)).build(1).unwrap();
            model.compile(RMSprop::default().momentum(0.9), MeanSquaredError)
        };
        let (mut fitted, mut by_hand) = (trainer(), trainer());
        let fit = Fit::epochs(5).batch_size(3).shuffle(false);
        let error = fitted.fit(&dataset(x.clone(), targets.clone()), &fit).unwrap_err();
        let Error::NonFiniteLoss { loss, epoch: 1, batch: 3 } = error else { panic!("{bad}: {error}") };
        assert!(!loss.is_finite());
        assert_eq!(
            error.to_string(),
            format!(
                "the loss is {loss} in epoch 1, batch 3; lower the learning rate or look for NaN in the data (the weights \
                 have not been changed by this batch)"
            )
        );

        let step = |trainer: &mut Trainer, first: usize| {
            let rows = |array: &ArrayD<f32>| array.slice_axis(Axis(0), Slice::from(first..first + 3)).to_owned();
            trainer.train_step(&rows(&x), &rows(&targets)).map(drop)
        };
        step(&mut by_hand, 0).unwrap();
        step(&mut by_hand, 3).unwrap();
        assert_eq!(bits(fitted.model().values()), bits(by_hand.model().values()), "{bad}");
        let error = step(&mut by_hand, 6).unwrap_err();
        assert!(matches!(error, Error::NonFiniteLoss { epoch: 1, batch: 3, .. }), "{error}");
        step(&mut fitted, 6).unwrap_err();
        assert_eq!(fitted.step(), 2);
        for trainer in [&mut fitted, &mut by_hand] {
            step(trainer, 9).unwrap();
            step(trainer, 0).unwrap();
        }
        assert_eq!(bits(fitted.model().values()), bits(by_hand.model().values()), "{bad}");
    }
}

#[test]
fn a_callback_that_spoils_the_learning_rate() {
    struct Spoiler;
    impl Callback for Spoiler {
        fn batch_end(&mut self, trainer: &mut Trainer, _: &BatchEnd) -> plywood::Result<Control> {
            trainer.optimizer_mut().set_learning_rate(f64::NAN);
            Ok(Control::Continue)
        }
    }
    let data = dataset(samples(9), Array1::from_shape_fn(9, |i| i % 3));
    let mut trainer = classifier();
    let error = trainer.fit_with(&data, &Fit::epochs(2).batch_size(3), &mut [&mut Spoiler]).unwrap_err();
    assert_eq!(error.to_string(), "RMSprop: learning_rate is NaN, expected a finite number of at least 0");
    assert_eq!(trainer.step(), 1);
    assert!(trainer.model().values().iter().all(|weight| weight.is_finite()));
}

/// One callback's error comes before another has acted, in whatever order they are.
#[test]
fn a_run_that_a_callback_refuses() {
    /// Lowers the learning rate or spoils it, and says no only then.
    struct Late(f64);
    impl Callback for Late {
        fn train_begin(&mut self, trainer: &mut Trainer, _: &TrainBegin<'_>) -> plywood::Result<()> {
            trainer.optimizer_mut().set_learning_rate(self.0);
            if self.0.is_nan() { Ok(()) } else { Err(Error::Empty("the callback")) }
        }
    }
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("refused.csv");
    let data = dataset(samples(9), Array1::from_shape_fn(9, |i| i % 3));
    let mut trainer = classifier();
    let rate = trainer.optimizer().learning_rate();
    let (mut log, fit) = (CsvLog::new(&path), Fit::epochs(2).batch_size(3));
    trainer.fit_with(&data, &fit, &mut [&mut log]).unwrap();
    let written = std::fs::read_to_string(&path).unwrap();
    let before = bits(trainer.model().values());

    let mut schedule = LearningRateSchedule::cosine(0.1, 9.0).warm_up(1.0);
    let mut unwritable = CsvLog::new(std::env::temp_dir());
    for (refuses, message) in [
        (
            &mut EarlyStopping::new() as &mut dyn Callback,
            "EarlyStopping: monitor is \"val_loss\" where there are loss, ",
        ),
        (&mut LearningRateSchedule::step(0.1, 0.0, 0.5), "LearningRateSchedule: every is 0"),
        (&mut unwritable, &std::env::temp_dir().display().to_string()),
    ] {
        let error = trainer.fit_with(&data, &fit, &mut [&mut schedule, &mut log, refuses]).unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
        assert_eq!(trainer.optimizer().learning_rate(), rate, "{message}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), written, "{message}");
    }
    for (late, message) in [(0.5, "the callback has no samples"), (f64::NAN, "RMSprop: learning_rate is NaN")] {
        let error = trainer.fit_with(&data, &fit, &mut [&mut schedule, &mut Late(late)]).unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
        assert_eq!(trainer.optimizer().learning_rate(), rate, "{message}");
    }
    assert_eq!((trainer.step(), bits(trainer.model().values())), (6, before));
}

/// A run cannot begin within another one; the other one goes on.
#[test]
fn a_fit_within_a_fit() {
    struct Nested<'d>(&'d Dataset);
    impl Callback for Nested<'_> {
        fn batch_end(&mut self, trainer: &mut Trainer, _: &BatchEnd) -> plywood::Result<Control> {
            let error = trainer.fit(self.0, &Fit::epochs(1)).unwrap_err();
            assert!(error.to_string().starts_with("trainer: fit is called in a callback, expected "), "{error}");
            Ok(Control::Continue)
        }
    }
    let data = dataset(samples(9), Array1::from_shape_fn(9, |i| i % 3));
    let fit = Fit::epochs(2).batch_size(3);
    let (mut plain, mut nested) = (classifier(), classifier());
    let history = plain.fit(&data, &fit).unwrap();
    let same = nested.fit_with(&data, &fit, &mut [&mut Nested(&data)]).unwrap();
    assert_eq!((same.get("loss"), nested.step(), nested.epoch()), (history.get("loss"), 6, 2));
    assert_eq!(bits(nested.model().values()), bits(plain.model().values()));

    // a callback that panics has ended its run
    struct Panics;
    impl Callback for Panics {
        fn batch_end(&mut self, _: &mut Trainer, _: &BatchEnd) -> plywood::Result<Control> {
            std::panic::resume_unwind(Box::new(()))
        }
    }
    let panics = AssertUnwindSafe(|| nested.fit_with(&data, &fit, &mut [&mut Panics]));
    catch_unwind(panics).unwrap_err();
    nested.fit(&data, &fit).unwrap();
}

/// A callback may put another model into the trainer, but not another trainer into its place.
#[test]
fn a_trainer_replaced_in_a_callback() {
    #[derive(Default)]
    struct Replace {
        at: &'static str,
        other: Option<Trainer>,
    }
    impl Replace {
        fn act(&mut self, at: &str, trainer: &mut Trainer) {
            if let Some(other) = self.other.as_mut().filter(|_| self.at == at) {
                std::mem::swap(trainer, other);
            }
        }
    }
    impl Callback for Replace {
        fn train_begin(&mut self, trainer: &mut Trainer, _: &TrainBegin<'_>) -> plywood::Result<()> {
            self.act("train_begin", trainer);
            Ok(())
        }
        fn batch_end(&mut self, trainer: &mut Trainer, _: &BatchEnd) -> plywood::Result<Control> {
            self.act("batch_end", trainer);
            Ok(Control::Continue)
        }
        fn epoch_end(&mut self, trainer: &mut Trainer, _: &EpochEnd<'_>) -> plywood::Result<Control> {
            self.act("epoch_end", trainer);
            Ok(Control::Continue)
        }
        fn train_end(&mut self, trainer: &mut Trainer) -> plywood::Result<()> {
            self.act("train_end", trainer);
            Ok(())
        }
    }
    let data = dataset(samples(9), Array1::from_shape_fn(9, |i| i % 3));
    let fit = Fit::epochs(2).batch_size(3);
    for at in ["train_begin", "batch_end", "epoch_end", "train_end"] {
        let (mut trainer, mut early) = (classifier(), EarlyStopping::new().monitor("loss"));
        let rate = trainer.optimizer().learning_rate();
        let mut other =
            Sequential::input([2]).add(Dense::new(2)).build(0).unwrap().compile(SGD::new(0.5), MeanSquaredError);
        other.train_step(&array![[1.0, 2.0]], &array![[0.0, 0.0]]).unwrap();
        let before = bits(other.model().values());
        let mut replace = Replace { at, other: Some(other) };
        let error = trainer.fit_with(&data, &fit, &mut [&mut replace, &mut early]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "trainer: fit is left with another trainer, which a callback has put in its place, expected the same one; \
             put a model into it with model_mut",
            "{at}"
        );
        // both are as they were
        let (mut first, mut other) = (replace.other.unwrap(), trainer);
        assert_eq!((bits(other.model().values()), other.optimizer().learning_rate()), (before, 0.5), "{at}");
        assert_eq!(first.optimizer().learning_rate(), rate, "{at}");
        first.fit(&data, &fit).unwrap();
        first.evaluate(&data).unwrap();
        other.train_step(&array![[1.0, 2.0]], &array![[0.0, 0.0]]).unwrap();
    }
}

/// The names that a history has for figures of its own, and those that validation gives them.
#[test]
fn metrics_named_as_other_figures() {
    #[derive(Debug)]
    struct Named(&'static str);
    impl Metric for Named {
        fn name(&self) -> &str {
            self.0
        }
        fn reset(&mut self) {}
        fn update(&mut self, _: ArrayViewD<'_, f32>, _: &TargetsView<'_, f32>) {}
        fn value(&self) -> f64 {
            0.0
        }
    }
    let data = dataset(samples(9), Array1::from_shape_fn(9, |i| i % 3));
    for name in ["loss", "val_loss", "epoch", "seconds", "val_", "val_accuracy", "accuracy"] {
        let trainer = classifier();
        let error = trainer.evaluate_with(&data, &mut [&mut Accuracy::new(), &mut Named(name)]).unwrap_err();
        let mut trainer = trainer.metric(Named(name));
        assert_eq!(trainer.fit(&data, &Fit::epochs(1)).unwrap_err().to_string(), error.to_string());
        let expected = format!(
            "metrics: name is {name:?}, expected a name that no other metric has and that is none of a history's own: loss, \
             epoch, seconds, val_…"
        );
        assert_eq!(error.to_string(), expected);
    }
    classifier().metric(Named("value")).fit(&data, &Fit::epochs(1)).unwrap();
}

/// A metric that panics once leaves the trainer its metrics.
#[test]
fn a_metric_that_panics_stays() {
    #[derive(Debug, Default)]
    struct PanicsOnce(bool);
    impl Metric for PanicsOnce {
        fn name(&self) -> &str {
            "once"
        }
        fn reset(&mut self) {}
        fn update(&mut self, _: ArrayViewD<'_, f32>, _: &TargetsView<'_, f32>) {
            if !std::mem::replace(&mut self.0, true) {
                std::panic::resume_unwind(Box::new(()));
            }
        }
        fn value(&self) -> f64 {
            1.0
        }
    }
    let data = dataset(samples(9), Array1::from_shape_fn(9, |i| i % 3));
    let mut trainer = classifier().metric(PanicsOnce::default());
    catch_unwind(AssertUnwindSafe(|| trainer.evaluate(&data))).unwrap_err();
    let names: Vec<_> = trainer.metrics().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["accuracy", "once"]);
    assert_eq!(trainer.evaluate(&data).unwrap().get("once"), Some(1.0));

    let mut trainer = classifier().metric(PanicsOnce::default());
    catch_unwind(AssertUnwindSafe(|| trainer.fit(&data, &Fit::epochs(1)))).unwrap_err();
    assert_eq!(trainer.fit(&data, &Fit::epochs(1)).unwrap().last("once"), Some(1.0));
}

/// y = x, or a panic where x is 13.
#[derive(Debug)]
struct Superstitious;

impl Layer for Superstitious {
    fn kind(&self) -> &'static str {
        "superstitious"
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        Ok(Plan::new(input))
    }

    fn forward(&self, mut pass: Forward<'_, f32>) {
        if pass.x.iter().any(|&x| x == 13.0) {
            std::panic::resume_unwind(Box::new(()));
        }
        pass.y.assign(&pass.x);
    }

    fn backward(&self, _: Backward<'_, f32>) {}
}

#[test]
fn a_layer_that_panics_leaves_a_predictor_usable() {
    let model = Sequential::input([2]).add(Superstitious).add(ReLU::new()).build(0).unwrap();
    let mut predictor = model.predictor(2);
    let good = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
    let bad = array![[1.0, 13.0, 3.0], [4.0, 5.0, 6.0]];
    // a transposed view, which is copied before it is computed
    let mut y = Array2::zeros((3, 2));
    catch_unwind(AssertUnwindSafe(|| predictor.predict_into(&bad.t(), &mut y))).unwrap_err();
    predictor.predict_into(&good.t(), &mut y).unwrap();
    assert_eq!(y, good.t());
}

#[test]
fn a_layer_run_of_no_samples() {
    for batch in [0, 1 << 60] {
        let error = plywood::testing::LayerRun::<f32>::new(Dense::new(2), [3], batch, 0).unwrap_err().to_string();
        let expected = match batch {
            0 => "LayerRun: batch is 0, expected at least 1",
            _ => "dense: the working memory of a batch would have more elements than fit into memory; use fewer",
        };
        assert_eq!(error, expected);
    }
}

#[test]
fn steps_on_more_samples_than_there_is_memory_for() {
    let mut trainer =
        Sequential::input([4]).add(Dense::new(8)).build(1).unwrap().compile(SGD::new(0.1), MeanSquaredError);
    let before = bits(trainer.model().values());
    let (x, t) = (numbers::<f32>(&[1, 4], 1), numbers::<f32>(&[1, 8], 2));
    for samples in [1 << 36, 1 << 43, 1 << 59] {
        let targets = TargetsView::Values(t.broadcast([samples, 8]).unwrap().into_dyn());
        let error = trainer.train_step(&x.broadcast([samples, 4]).unwrap(), targets).unwrap_err().to_string();
        let expected =
            "train_step: the working memory of a batch would have more elements than fit into memory; use fewer";
        assert_eq!(error, expected, "{samples}");
    }
    assert_eq!((trainer.step(), bits(trainer.model().values())), (0, before));
    trainer.train_step(&x, &t).unwrap();
}

#[test]
fn wild_sizes_of_batches() {
    let model = images().add(Conv2D::new(2, 2)).add(MaxPooling2D::new(2)).add(Flatten::new()).build(1).unwrap();
    let x = numbers(&[5, 3, 4, 2], 1);
    let expected = model.predict(&x).unwrap();
    for batch in [0, 1, 5, 6, 1 << 40, usize::MAX] {
        let mut y = ArrayD::from_elem(expected.raw_dim(), f32::NAN);
        model.predictor(batch).predict_into(&x, &mut y).unwrap();
        assert_eq!(bits(&y), bits(&expected), "{batch}");
    }
    assert_eq!(model.predict(&numbers(&[0, 3, 4, 2], 1)).unwrap().shape(), [0, 2]);

    // one sample, repeated without end
    let model = Sequential::input([4]).add(Dense::new(8)).build(1).unwrap();
    let endless = numbers::<f32>(&[1, 4], 1);
    for samples in [1 << 43, 1 << 60] {
        let error = model.predict(&endless.broadcast([samples, 4]).unwrap()).unwrap_err().to_string();
        assert_eq!(error, "predict: the output would have more elements than fit into memory; use fewer", "{samples}");
    }

    let mut trainer = classifier();
    trainer.fit(&dataset(samples(5), array![0_usize, 1, 2, 0, 1]), &Fit::epochs(1).batch_size(usize::MAX)).unwrap();
    assert_eq!(trainer.step(), 1);
}

/// A layer with settings of any kind, most of them possible.
fn any_layer(rng: &mut ChaCha8Rng, model: SequentialBuilder) -> SequentialBuilder {
    let mut size = || match rng.random_range(0..60) {
        0 => 0,
        1 => usize::MAX,
        2 => usize::MAX / 2,
        3 => 1 << 46,
        n => [1, 2, 3, 4, 6][n % 5],
    };
    let (a, b, c, d, e, f) = (size(), size(), size(), size(), size(), size());
    let (dilation, pair) = ((size(), 1), (size(), size()));
    let padding = match rng.random_range(0..4) {
        0 => Padding::Same,
        1 => Padding::Explicit { top: a, bottom: b.min(1), left: 0, right: c.min(2) },
        _ => Padding::Valid,
    };
    let activation = [Activation::Linear, Activation::ReLU, Activation::Softmax][rng.random_range(0..3)];
    match rng.random_range(0..9) {
        0 | 1 => model.add(Dense::new(a).activation(activation).bias(b > 2)),
        2 | 3 => {
            let convolution = Conv2D::new(a, (b, c)).strides((d, e)).dilation(dilation);
            model.add(convolution.padding(padding).activation(activation).bias(f > 2))
        }
        4 => model.add(MaxPooling2D::new((a, b)).strides(pair).padding(padding)),
        5 => model.add(MaxPooling2D::new(c).padding(padding)),
        6 => model.add(Flatten::new()),
        7 => model.add(ReLU::new()),
        _ => model.add(Softmax::new()),
    }
}

/// Models of random layers either are refused by a layer of theirs, or predict and train. Nothing panics.
#[test]
fn random_models_are_refused_or_work() {
    let (mut built, mut refused, mut failures) = (0, 0, vec![]);
    for seed in 0..6000 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let size = |rng: &mut ChaCha8Rng| [1, 2, 3, 5, 8][rng.random_range(0..5)];
        let sample = match rng.random_range(0..4) {
            0 => vec![size(&mut rng)],
            1 => vec![size(&mut rng), size(&mut rng)],
            _ => vec![size(&mut rng) + 4, size(&mut rng) + 3, size(&mut rng)],
        };
        let mut model = Sequential::input(sample);
        for _ in 0..rng.random_range(1..5) {
            model = any_layer(&mut rng, model);
        }
        let batch = rng.random_range(1..4);
        match catch_unwind(AssertUnwindSafe(|| use_model(model.clone(), batch))) {
            Ok(Ok(())) => built += 1,
            Ok(Err(problem)) if problem.is_empty() => refused += 1,
            Ok(Err(problem)) => failures.push(format!("{model:?}: {problem}")),
            Err(_) => failures.push(format!("{model:?} panics")),
        }
    }
    report(&failures);
    println!("{built} models work, {refused} are refused");
    assert!(built > 1000 && refused > 1000, "{built} models work, {refused} are refused");
}

/// Nothing if the model works, an empty text if one of its layers refuses it, and otherwise what is wrong.
fn use_model(model: SequentialBuilder, batch: usize) -> Result<(), String> {
    const KINDS: [&str; 6] = ["conv2d", "dense", "flatten", "max_pooling2d", "re_lu", "softmax"];
    let model = match model.build(1) {
        Ok(model) => model,
        Err(error) => {
            let message = error.to_string();
            let name = message.split(':').next().unwrap_or_default();
            let kind = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
            let named = KINDS.contains(&kind) || KINDS.contains(&name);
            return Err(if named { String::new() } else { format!("refused by nobody: {message}") });
        }
    };
    let x = numbers(&[&[batch], model.input_shape()].concat(), 1);
    let y = model.predict(&x).map_err(|error| error.to_string())?;
    if y.iter().any(|y| !y.is_finite()) {
        return Err(format!("it predicts {y}"));
    }
    let mut trainer = model.compile(SGD::new(1e-3), MeanSquaredError);
    let targets = numbers(y.shape(), 2);
    for _ in 0..2 {
        trainer.train_step(&x, &targets).map_err(|error| error.to_string())?;
    }
    match trainer.model().values().iter().chain(trainer.gradients()).all(|value| value.is_finite()) {
        true => Ok(()),
        false => Err("a step makes weights that are not finite".to_owned()),
    }
}

/// Times of a model with fewer layers leave cells empty.
#[test]
fn times_of_another_model() {
    let long = Sequential::input([4]).add(Dense::new(2)).add(ReLU::new()).add(Flatten::new()).build(1).unwrap();
    let short = Sequential::input([4]).add(Dense::new(2)).build(1).unwrap();
    let summary = long.summary().times(&short.time_layers(1)).to_string();
    assert!(summary.contains("flatten (Flatten)"), "{summary}");
}

/// A layer that has other parameters, or another shape, than it should.
#[derive(Debug)]
struct Liar(Plan);

impl Layer for Liar {
    fn kind(&self) -> &'static str {
        "liar"
    }

    fn plan(&self, _: &[usize]) -> plywood::Result<Plan> {
        Ok(self.0.clone())
    }

    fn only_reshapes(&self) -> bool {
        true
    }

    fn forward(&self, _: Forward<'_, f32>) {}

    fn backward(&self, _: Backward<'_, f32>) {}
}

#[test]
fn layers_that_say_they_only_reshape() {
    let parameter = |name| ParameterSpec::new(name, [2], Initializer::Ones);
    let error = |plan: Plan| Sequential::input([2, 2]).add(Liar(plan)).build(1).map(drop).unwrap_err().to_string();
    Sequential::input([2, 2]).add(Liar(Plan::new([4]))).add(Dense::new(1)).build(1).unwrap();
    let got = "liar: says that it only reshapes, but makes";
    let expected = "expected as many elements and none";
    assert_eq!(error(Plan::new([3])), format!("{got} 3 of 2×2 with 0 parameters; {expected}"));
    assert_eq!(
        error(Plan::new([4]).parameter(parameter("w"))),
        format!("{got} 4 of 2×2 with 1 parameters; {expected}")
    );
}

/// y = x · a · b, with numbers a and b.
#[derive(Debug, Clone)]
struct Product {
    names: &'static [&'static str],
    /// How many of its parameters the first part has; in whose place the second one has the rest.
    first: Option<usize>,
}

impl Layer for Product {
    fn kind(&self) -> &'static str {
        "product"
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        let spec = |&name| ParameterSpec::new(name, [1], Initializer::Constant { value: 2.0 });
        Ok(self.names.iter().map(spec).fold(Plan::new(input), Plan::parameter))
    }

    fn forward(&self, mut pass: Forward<'_, f32>) {
        let product = match self.names.len() {
            0 => 1.0,
            1 => pass.parameters.split_slices::<1>()[0][0],
            _ => pass.parameters.split_slices::<2>().map(|parameter| parameter[0]).iter().product(),
        };
        pass.y.assign(&(&pass.x * product));
    }

    fn backward(&self, _: Backward<'_, f32>) {}

    fn split(&self) -> Option<[std::sync::Arc<dyn Layer>; 2]> {
        let (first, second) = self.names.split_at(self.first?);
        Some([first, second].map(|names| std::sync::Arc::new(Self { names, first: None }) as _))
    }
}

#[test]
fn a_split_whose_first_part_lacks_parameters() {
    let build = |first| Sequential::input([3]).add(Product { names: &["a", "b"], first }).build(0);
    let y = build(Some(2)).unwrap().predict(&Array2::ones((1, 3))).unwrap();
    assert_eq!(y, array![[4.0, 4.0, 4.0]].into_dyn());
    for (first, parts) in
        [(1, "output 3; a 1 and output 3; b 1"), (0, "output 3; no parameters and output 3; a 1, b 1")]
    {
        let expected = format!(
            "product: splits into {parts}, expected output 3; a 1, b 1: the first part must have all parameters, by name, \
             shape and order, and the second none; return None from split to keep the layer whole"
        );
        assert_eq!(build(Some(first)).unwrap_err().to_string(), expected);
    }
}

/// Layers alone, which a model would not ask for this.
#[test]
fn windows_over_nothing() {
    let conv = Layer::<f32>::plan(&Conv2D::new(1, 3), &[0, 5, 1]).unwrap_err().to_string();
    assert_eq!(conv, "conv2d: input is 0×5×1, expected at least 1 in height, width and channels");
    Layer::<f32>::plan(&MaxPooling2D::new(1).padding(Padding::Same), &[3, 0, 1]).unwrap_err();
}

/// A single output is the largest of its kind: accuracy would be 1 and the loss 0, whatever the model does.
#[test]
fn one_class_is_none() {
    let model = || Sequential::input([4]).add(Dense::new(1)).build(1).unwrap();
    let data = dataset(samples(2), array![[0.0], [1.0]]);
    let expected = "got input samples of shape 1, expected [classes], at least 2 of them; of one class all are sure; for \
                    yes or no, let the model have two units";
    let mut trainer = model().compile(SGD::new(0.1), MeanSquaredError).metric(Accuracy::new());
    assert_eq!(trainer.evaluate(&data).unwrap_err().to_string(), format!("accuracy: {expected}"));
    let mut trainer = model().compile(SGD::new(0.1), CategoricalCrossentropy::new());
    assert_eq!(trainer.evaluate(&data).unwrap_err().to_string(), format!("categorical_crossentropy: {expected}"));
}

/// Numbers that are finite in f64 and not in f32.
#[test]
fn settings_are_those_of_the_number_type() {
    let (x, t) = (samples(2), numbers(&[2, 1], 2));
    let model = || Sequential::input([4]).add(Dense::new(1)).build(1).unwrap();
    for (optimizer, expected) in [
        (RMSprop::new(1e39), "learning_rate"),
        (RMSprop::new(0.1).epsilon(1e39), "epsilon"),
        (RMSprop::new(0.1).rho(1.0 - 1e-12), "rho"),
    ] {
        let mut trainer = model().compile(optimizer, MeanSquaredError);
        let error = trainer.train_step(&x, &t).unwrap_err().to_string();
        assert!(error.starts_with(&format!("RMSprop: {expected} is ")), "{error}");
        let trainer = Sequential::<f64>::with_input([1]).add(Dense::new(1)).build(1).unwrap();
        trainer.compile(optimizer, MeanSquaredError).train_step(&array![[1.0]], &array![[1.0]]).unwrap();
    }
}

/// A program whose `main` returns a `plywood::Result`, and one that unwraps, print an error's `Debug`.
#[test]
fn programs_print_the_message_and_no_structure() {
    let folder = std::env::temp_dir().join(format!("plywood-no-such-folder-{}", std::process::id()));
    let without_flatten = || Sequential::input([28, 28, 1]).add(Dense::new(10)).build(1).map(drop).unwrap_err();
    let errors = [
        without_flatten(),
        classifier().train_step(&samples(2), &array![0, 7]).unwrap_err(),
        plywood::data::Mnist::load(&folder).map(drop).unwrap_err(),
        Error::Io { path: folder, source: std::io::Error::other("the disk is full") },
    ];
    for error in errors {
        assert_eq!(format!("{error:?}"), error.to_string());
    }
    assert_eq!(
        format!("Error: {:?}", without_flatten()),
        "Error: dense: got input samples of shape 28×28×1, expected [features]; put Flatten before it"
    );
}

/// Images as PyTorch has them: what the message says brings every pixel where it belongs, which no reshaping would.
#[test]
fn channels_first_are_to_be_permuted() {
    for [channels, height, width] in [[1, 28, 28], [3, 32, 32], [3, 4, 5]] {
        let model =
            Sequential::input([height, width, channels]).add(Flatten::new()).add(Dense::new(2)).build(1).unwrap();
        let images = numbers(&[2, channels, height, width], 1);
        let error = model.predict(&images).map(drop).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "predict: got an array of shape 2×{channels}×{height}×{width}, expected n×{height}×{width}×{channels}: n \
                 samples of the model's input shape; these look like images with their channels first: \
                 permuted_axes([0, 2, 3, 1]) puts them last"
            )
        );
        let images = images.into_dimensionality::<plywood::ndarray::Ix4>().unwrap();
        let copied = Array4::from_shape_fn((2, height, width, channels), |(n, h, w, c)| images[[n, c, h, w]]);
        let permuted = images.permuted_axes([0, 2, 3, 1]);
        assert_eq!(model.predict(&permuted).unwrap(), model.predict(&copied).unwrap());
    }
}
