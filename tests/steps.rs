//! What a training step can be told: parts that it is computed in, parameters that are frozen or learn at a rate of their own,
//! gradients that are clipped or looked at.

mod common;

use std::sync::{Arc, Mutex};

use approx::assert_relative_eq;
use common::{bits, numbers, pool};
use plywood::layers::{Backward, Forward, Op, Plan, single_input};
use plywood::model::Clip;
use plywood::ndarray::{Array1, Array2, array};
use plywood::prelude::*;

fn layers<T: Scalar>() -> Sequential<T> {
    Sequential::with_input([6, 6, 1])
        .add(Conv2D::new(4, 3).activation(Activation::ReLU))
        .add(MaxPooling2D::new(2))
        .add(Flatten::new())
        .add(Dense::new(8).activation(Activation::ReLU))
        .add(Dense::new(3).activation(Activation::Softmax))
}

fn data<T: Scalar>(samples: usize) -> Dataset<T> {
    let labels = Array1::from_iter((0..samples).map(|i| (i * i + i / 2) % 3));
    Dataset::new(numbers::<T>(&[samples, 6, 6, 1], 3), labels).expect("as many labels as images")
}

fn trained<T: Scalar>(model: Sequential<T>, fit: &Fit<'_, T>) -> Trainer<T> {
    let model = model.build(5).expect("the shapes fit");
    let mut trainer = model.compile(RMSprop::new(0.002), CategoricalCrossentropy::new()).metric(Accuracy::new());
    trainer.fit(&data(53), fit).expect("the data fit the model");
    trainer
}

#[test]
fn a_step_in_parts_is_a_step_of_the_whole_batch() {
    // 53 samples in batches of 16 leave one of 5: also fewer samples than parts
    let fit = Fit::epochs(2).batch_size(16);
    let weights: Vec<f64> = (0..53).map(|i| f64::from(i % 4)).collect();
    let fit = fit.sample_weights(&weights);
    let whole = trained::<f64>(layers(), &fit);
    for parts in [2, 3, 4, 7, 16, 40] {
        let in_parts = trained::<f64>(layers(), &fit.clone().micro_batches(parts));
        for (one, other) in whole.model().values().iter().zip(in_parts.model().values()) {
            assert_relative_eq!(one, other, max_relative = 1e-9, epsilon = 1e-12);
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_of_a_step_in_parts() {
    let run = |threads: usize, parts| {
        let fit = Fit::epochs(2).batch_size(16).micro_batches(parts);
        let layers = || layers().add(Dense::new(3)).add(BatchNormalization::new());
        pool(threads).install(|| {
            let model = layers().build(5).unwrap();
            let mut trainer = model.compile(SGD::new(0.05), MeanSquaredError);
            let data = data::<f32>(53).one_hot(3).unwrap();
            trainer.fit(&data, &fit).unwrap();
            bits(trainer.model().values())
        })
    };
    for parts in [1, 4, 6] {
        let one = run(1, parts);
        assert_eq!(run(3, parts), one, "{parts} parts");
        assert_ne!(run(1, parts + 1), one, "{parts} parts");
    }
}

#[test]
fn the_state_of_a_step_in_parts_is_the_mean_of_the_parts() {
    // samples 1, 2, 3 | 10, 20: means 2 and 15, of three and two samples
    let model = || Sequential::<f64>::with_input([1]).add(BatchNormalization::new().momentum(0.5)).build(1).unwrap();
    let x = array![[1.0], [2.0], [3.0], [10.0], [20.0]];
    let data = Dataset::new(x, Array2::zeros((5, 1))).unwrap();
    let mut trainer = model().compile(SGD::new(0.0), MeanSquaredError);
    trainer.fit(&data, &Fit::epochs(1).batch_size(5).shuffle(false).micro_batches(2)).unwrap();
    // the first part has ⌊5 / 2⌋ samples
    let (first, second) = ([1.5, 0.25], [11.0, 146.0 / 3.0]);
    for (name, i, old) in [("moving_mean", 0, 0.0), ("moving_variance", 1, 1.0)] {
        let mean = 0.4 * first[i] + 0.6 * second[i];
        let got = trainer.model().parameter(&format!("batch_normalization/{name}")).unwrap()[[0]];
        assert_relative_eq!(got, 0.5 * old + 0.5 * mean, max_relative = 1e-14);
    }
}

/// y = x + r, where r is the number that the step draws for it.
#[derive(Debug, Clone)]
struct Drawn(Arc<Mutex<Vec<u64>>>);

impl Layer<f32> for Drawn {
    fn kind(&self) -> &'static str {
        "drawn"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<f32>> {
        Ok(Plan::new(single_input("drawn", inputs)?, self.clone()))
    }
}

impl Op<f32> for Drawn {
    fn forward(&self, mut pass: Forward<'_, f32>) {
        pass.y.slice_mut().copy_from_slice(pass.x.slice());
        self.0.lock().unwrap().extend(pass.training.map(|training| training.random));
    }

    fn backward(&self, mut pass: Backward<'_, f32>) {
        if let Some(dx) = pass.dx.into_slice() {
            dx.copy_from_slice(pass.dy.slice_mut());
        }
    }
}

#[test]
fn each_part_draws_numbers_of_its_own() {
    let numbers = |parts| {
        let drawn = Arc::new(Mutex::new(vec![]));
        let model = Sequential::input([1]).add(Dense::new(1)).add(Drawn(drawn.clone())).build(3).unwrap();
        let data = Dataset::new(Array2::zeros((8, 1)), Array2::zeros((8, 1))).unwrap();
        let fit = Fit::epochs(1).batch_size(8).micro_batches(parts);
        model.compile(SGD::new(0.1), MeanSquaredError).fit(&data, &fit).unwrap();
        std::mem::take(&mut *drawn.lock().unwrap())
    };
    let four = numbers(4);
    assert_eq!(four[..1], numbers(1));
    assert!((0..4).all(|i| (0..i).all(|j| four[i] != four[j])), "{four:?}");
}

#[test]
fn what_is_frozen_stays_and_the_rest_learns_as_if_it_were_data() {
    let fit = Fit::epochs(2).batch_size(16);
    let mut model = layers::<f64>().build(5).unwrap();
    assert_eq!(model.freeze("conv2d").unwrap(), 4 * 9 + 4);
    assert_eq!(model.freeze("dense/bias").unwrap(), 8);
    let before = model.clone();
    let mut trainer = model.compile(RMSprop::new(0.002), CategoricalCrossentropy::new());
    trainer.fit(&data(53), &fit).unwrap();
    for (name, values) in trainer.model().parameters() {
        let moved = before.parameter(name).unwrap() != values;
        assert_eq!(moved, !name.starts_with("conv2d") && name != "dense/bias", "{name}");
    }
    // unfrozen within a run, it learns from then on
    let mut thaw = plywood::callbacks::on_epoch_end(|trainer: &mut Trainer<f64>, _| {
        trainer.model_mut().unfreeze("conv2d").expect("there is one");
    });
    let kernel = |trainer: &Trainer<f64>| trainer.model().parameter("conv2d/kernel").unwrap().to_owned();
    let frozen = kernel(&trainer);
    trainer.fit_with(&data(53), &fit, &mut [&mut thaw]).unwrap();
    assert_ne!(kernel(&trainer), frozen);
    let error = trainer.model_mut().freeze("conv3d").unwrap_err().to_string();
    assert!(error.starts_with("the model has no parameter \"conv3d\"; it has conv2d/kernel, "), "{error}");
}

#[test]
fn rates_and_decay_can_be_told_for_some_parameters() {
    // y = w·x + b from w = 1, b = 0, towards 0 at x = 1: gradients of 2 each
    let step = |set: fn(Trainer<f64>) -> Trainer<f64>| {
        let layer = Dense::new(1).kernel_initializer(Initializer::Ones);
        let model = Sequential::<f64>::with_input([1]).add(layer).build(1).unwrap();
        let mut trainer = set(model.compile(SGD::new(0.25).weight_decay(0.5), MeanSquaredError));
        trainer.train_step(&array![[1.0]], &array![[0.0]]).unwrap();
        trainer.model().values().to_vec()
    };
    assert_eq!(step(|trainer| trainer), [1.0 - 0.125 - 0.5, -0.5]);
    assert_eq!(step(|trainer| trainer.no_decay("*/kernel").unwrap()), [0.5, -0.5]);
    assert_eq!(step(|trainer| trainer.learning_rate_factor("*/kernel", 0.5).unwrap()), [1.0 - 0.0625 - 0.25, -0.5]);
    assert_eq!(step(|trainer| trainer.learning_rate_factor("dense", 2.0).unwrap()), [1.0 - 0.25 - 1.0, -1.0]);
    assert_eq!(step(|trainer| trainer.learning_rate_factor("*/bias", 0.0).unwrap()), [1.0 - 0.125 - 0.5, 0.0]);
    let model = layers::<f32>().build(1).unwrap().compile(SGD::new(0.1), CategoricalCrossentropy::new());
    let error = model.learning_rate_factor("*", f64::NAN).unwrap_err().to_string();
    assert_eq!(error, "trainer: learning_rate_factor is NaN, expected a finite number of at least 0");
}

#[test]
fn gradients_are_clipped_as_asked() {
    // gradients of w, b: (6, 8)·2·(y − t)/… with y − t = 1: 2·x = (−6, 8), and 2 of the bias
    let step = |clip: Option<Clip>| {
        let layer = Dense::new(1).kernel_initializer(Initializer::Zeros);
        let model = Sequential::<f64>::with_input([2]).add(layer).build(1).unwrap();
        let mut trainer = model.compile(SGD::new(1.0), MeanSquaredError);
        if let Some(clip) = clip {
            trainer = trainer.clip(clip).unwrap();
        }
        trainer.train_step(&array![[-3.0, 4.0]], &array![[-1.0]]).unwrap();
        trainer.model().values().iter().map(|value| -value).collect::<Vec<_>>()
    };
    assert_eq!(step(None), [-6.0, 8.0, 2.0]);
    assert_eq!(step(Some(Clip::Value(2.5))), [-2.5, 2.5, 2.0]);
    assert_eq!(step(Some(Clip::Norm(5.0))), [-3.0, 4.0, 2.0]);
    let norm = 104_f64.sqrt();
    for (got, expected) in step(Some(Clip::GlobalNorm(1.0))).into_iter().zip([-6.0, 8.0, 2.0]) {
        assert_relative_eq!(got, expected / norm, max_relative = 1e-14);
    }
    assert_eq!(step(Some(Clip::GlobalNorm(11.0))), [-6.0, 8.0, 2.0]);
    for clip in [Clip::Value(0.0), Clip::Norm(f64::INFINITY), Clip::GlobalNorm(f64::NAN)] {
        let trainer = layers::<f32>().build(1).unwrap().compile(SGD::new(0.1), CategoricalCrossentropy::new());
        let error = trainer.clip(clip).unwrap_err().to_string();
        assert!(error.ends_with(", expected a finite number above 0"), "{error}");
    }
}

#[test]
fn a_hook_sees_the_gradients_of_each_step_before_they_are_clipped() {
    let seen = Arc::new(Mutex::new(vec![]));
    let in_hook = seen.clone();
    let layer = Dense::new(1).kernel_initializer(Initializer::Zeros);
    let model = Sequential::<f64>::with_input([2]).add(layer).build(1).unwrap();
    let trainer = model.compile(SGD::new(1.0), MeanSquaredError).clip(Clip::Value(1.0)).unwrap();
    let mut trainer = trainer.before_update(move |model, gradients| {
        assert_eq!(model.layout().trainable_len(), gradients.len());
        in_hook.lock().unwrap().push(gradients.to_vec());
        gradients[2] = 0.5;
    });
    trainer.train_step(&array![[-3.0, 4.0]], &array![[-1.0]]).unwrap();
    assert_eq!(*seen.lock().unwrap(), [[-6.0, 8.0, 2.0]]);
    assert_eq!(trainer.model().values(), [1.0, -1.0, -0.5]);
}
