//! Training is what a user of Keras expects: what is averaged over what, what is shuffled, and what a step reads before it
//! writes.

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use common::{bits, numbers};
use plywood::callbacks::{BatchEnd, Callback, Control, EpochEnd};
use plywood::data::{Batches, TargetsView, epoch_order};
use plywood::metrics::Metric;
use plywood::model::{NamedLayer, Predictor};
use plywood::ndarray::{Array1, Array2, ArrayD, ArrayViewD, Axis, Slice, array};
use plywood::optimizers::{Adam, SGD};
use plywood::prelude::*;

/// Samples of four numbers in three classes.
fn data<T: Scalar>(samples: usize) -> Dataset<T> {
    let classes = Array1::from_shape_fn(samples, |i| (i * i + i / 3) % 3);
    Dataset::new(numbers(&[samples, 4], 1), classes).expect("as many classes as inputs")
}

fn classifier<T: Scalar>() -> Sequential<T> {
    Sequential::with_input([4])
        .add(Dense::new(8).activation(Activation::ReLU))
        .add(Dense::new(3).activation(Activation::Softmax))
        .build(5)
        .expect("the shapes fit")
}

fn trainer<T: Scalar>(learning_rate: f64) -> Trainer<T> {
    let optimizer = RMSprop::new(learning_rate).momentum(0.5);
    classifier().compile(optimizer, CategoricalCrossentropy::new()).metric(Accuracy::new())
}

/// The samples of these positions.
fn batch(data: &Dataset<f64>, positions: &[usize]) -> (ArrayD<f64>, Array1<usize>) {
    let Targets::Classes(classes) = data.targets() else { unreachable!("they are classes") };
    (data.inputs().select(Axis(0), positions), classes.select(Axis(0), positions))
}

/// Each sample's loss −ln p, and whether its class is the most probable, with the model as it is.
fn losses_and_hits(model: &Sequential<f64>, (x, classes): &(ArrayD<f64>, Array1<usize>)) -> Vec<(f64, bool)> {
    let p = model.predict(x).expect("the data fit the model");
    let sample = |(p, &class): (ArrayViewD<'_, f64>, _)| {
        let hit = p.iter().enumerate().all(|(k, &other)| k == class || other < p[[class]]);
        (-p[[class]].ln(), hit)
    };
    p.outer_iter().zip(classes).map(sample).collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

fn assert_close(got: f64, expected: f64) {
    assert!((got - expected).abs() <= 1e-12 * expected.abs(), "got {got}, expected {expected}");
}

/// 10 samples in batches of 4, 4 and 2: the mean of the batches' means is another number.
#[test]
fn an_epochs_figures_are_means_over_samples() {
    let data = data(10);
    let mut trainer = trainer(0.0);
    let samples = losses_and_hits(trainer.model(), &batch(&data, &Vec::from_iter(0..10)));
    let loss = mean(samples.iter().map(|sample| sample.0));
    let of_batches = mean(samples.chunks(4).map(|batch| mean(batch.iter().map(|sample| sample.0))));
    assert!((loss - of_batches).abs() > 1e-3, "the data could not tell");

    let history = trainer.fit(&data, &Fit::epochs(2).batch_size(4)).unwrap();
    for epoch in 0..2 {
        assert_close(history.get("loss").unwrap()[epoch], loss);
        assert_eq!(history.get("accuracy").unwrap()[epoch], mean(samples.iter().map(|sample| f64::from(sample.1))));
    }
    assert_close(trainer.evaluate(&data).unwrap().loss, loss);
}

#[test]
fn predictions_are_those_before_each_update() {
    let data = data(10);
    let mut by_hand = trainer(0.1);
    let mut samples = vec![];
    for range in Batches::new(10, 4).unwrap() {
        let (x, classes) = batch(&data, &Vec::from_iter(range));
        let before = losses_and_hits(by_hand.model(), &(x.clone(), classes.clone()));
        let loss = by_hand.train_step(&x, &classes).unwrap();
        assert_close(loss, mean(before.iter().map(|sample| sample.0)));
        samples.extend(before);
    }
    let mut trainer = trainer(0.1);
    let history = trainer.fit(&data, &Fit::epochs(1).batch_size(4).shuffle(false)).unwrap();
    assert_close(history.last("loss").unwrap(), mean(samples.iter().map(|sample| sample.0)));
    assert_eq!(history.last("accuracy").unwrap(), mean(samples.iter().map(|sample| f64::from(sample.1))));
    assert_eq!(bits(trainer.model().values()), bits(by_hand.model().values()));
}

#[test]
fn the_last_batch_is_kept_and_counts_its_own_samples() {
    for (samples, batch_size, steps) in [(10, 4, 3), (8, 4, 2), (9, 4, 3), (3, 4, 1), (3, usize::MAX, 1), (5, 1, 5)] {
        let mut trainer = trainer::<f32>(0.01);
        trainer.fit(&data(samples), &Fit::epochs(2).batch_size(batch_size)).unwrap();
        assert_eq!(trainer.step(), 2 * steps, "{samples} samples in batches of {batch_size}");
        assert_eq!(trainer.epoch(), 2);
    }

    // with room for 4 from the step before
    let data = data(4);
    let mut trainer = trainer(0.0);
    let mut gradients = |positions: &[usize]| {
        let (x, classes) = batch(&data, positions);
        trainer.train_step(&x, &classes).unwrap();
        trainer.gradients().to_vec()
    };
    gradients(&[0, 1, 2, 3]);
    let (both, first, second) = (gradients(&[0, 1]), gradients(&[0]), gradients(&[1]));
    assert!(first != second);
    for ((both, first), second) in both.into_iter().zip(first).zip(second) {
        assert!((both - (first + second) / 2.0).abs() < 1e-15, "{both} is not the mean of {first} and {second}");
    }
}

/// Weights after three epochs whose orders are given by hand.
fn in_orders(data: &Dataset<f64>, orders: [Vec<usize>; 3]) -> Vec<u64> {
    let mut trainer = trainer(0.01);
    for order in orders {
        for range in Batches::new(order.len(), 4).unwrap() {
            let (x, classes) = batch(data, &order[range]);
            trainer.train_step(&x, &classes).unwrap();
        }
    }
    bits(trainer.model().values())
}

/// Inputs and targets move together, and each epoch has the order that belongs to the model's seed and to it.
#[test]
fn epochs_are_shuffled_unless_told_not_to() {
    let data = data(10);
    let fitted = |epochs: &[usize], shuffle| {
        let mut trainer = trainer(0.01);
        for &epochs in epochs {
            trainer.fit(&data, &Fit::epochs(epochs).batch_size(4).shuffle(shuffle)).unwrap();
        }
        bits(trainer.model().values())
    };
    let orders = [0, 1, 2].map(|epoch| {
        let mut order = vec![];
        epoch_order(&mut order, 10, classifier::<f64>().seed(), epoch);
        order
    });
    assert_eq!(fitted(&[3], true), in_orders(&data, orders.clone()));
    // a second call goes on where the first one ended
    assert_eq!(fitted(&[1, 2], true), in_orders(&data, orders));
    assert_eq!(fitted(&[3], false), in_orders(&data, [0, 1, 2].map(|_| (0..10).collect())));
    assert_ne!(fitted(&[3], true), fitted(&[3], false));
}

#[test]
fn a_history_has_the_names_of_keras() {
    let (train, validation) = (data(10), data(7));
    let mut trainer = trainer::<f64>(0.01);
    let history = trainer.fit(&train, &Fit::epochs(1)).unwrap();
    assert_eq!(history.names(), ["loss", "accuracy"]);
    let history = trainer.fit(&train, &Fit::epochs(3).validation(&validation)).unwrap();
    assert_eq!(history.names(), ["loss", "accuracy", "val_loss", "val_accuracy"]);
    assert_eq!(history.len(), 3);

    // the validation of the last epoch saw the model as it is now
    let evaluation = trainer.evaluate(&validation).unwrap();
    assert_eq!(history.last("val_loss"), Some(evaluation.loss));
    assert_eq!(history.last("val_accuracy"), evaluation.get("accuracy"));
    assert_ne!(history.get("val_loss").unwrap()[0], evaluation.loss);
}

/// A second forward pass between a step's forward and its backward is what breaks layers that keep their input. Here it
/// comes between steps, where memory is reused.
#[test]
fn predictions_and_evaluations_do_not_disturb_training() {
    struct Meddler<'d>(&'d Dataset);
    impl Callback for Meddler<'_> {
        fn batch_end(&mut self, trainer: &mut Trainer, _: &BatchEnd) -> Result<Control> {
            trainer.model().predict(self.0.inputs())?;
            Ok(Control::Continue)
        }
        fn epoch_end(&mut self, trainer: &mut Trainer, _: &EpochEnd<'_>) -> Result<Control> {
            trainer.evaluate(self.0)?;
            Ok(Control::Continue)
        }
    }
    let images = Dataset::new(numbers(&[9, 6, 6, 2], 1), Array1::from_shape_fn(9, |i| i % 3)).unwrap();
    let others = Dataset::new(numbers(&[20, 6, 6, 2], 2), Array1::from_shape_fn(20, |i| i % 3)).unwrap();
    let run = |callbacks: &mut [&mut dyn Callback], validation| {
        let model = Sequential::input([6, 6, 2])
            .add(Conv2D::new(4, 3).activation(Activation::ReLU))
            .add(MaxPooling2D::new(2))
            .add(Flatten::new())
            .add(Dense::new(3).activation(Activation::Softmax))
            .build(3)
            .unwrap();
        let mut trainer = model.compile(RMSprop::default(), CategoricalCrossentropy::new()).metric(Accuracy::new());
        let fit = Fit::epochs(3).batch_size(4);
        let fit = if validation { fit.validation(&others) } else { fit };
        let history = trainer.fit_with(&images, &fit, callbacks).unwrap();
        (bits(trainer.model().values()), history.get("loss"), history.get("accuracy"))
    };
    let undisturbed = run(&mut [], false);
    assert_eq!(run(&mut [&mut Meddler(&others)], false), undisturbed);
    assert_eq!(run(&mut [], true), undisturbed);
}

/// y = w₂·(x₁·w₁₁ + x₂·w₂₁), with numbers whose products are exact.
#[test]
fn a_step_reads_all_weights_before_it_writes_any() {
    let model = Sequential::<f64>::with_input([2])
        .add(Dense::new(2).bias(false))
        .add(Dense::new(1).bias(false))
        .build(0)
        .unwrap();
    let mut trainer = model.compile(SGD::new(0.25), MeanSquaredError);
    let model = trainer.model_mut();
    model.parameter_mut("dense/kernel").unwrap().assign(&array![[1.0, -1.0], [2.0, 0.5]]);
    model.parameter_mut("dense_1/kernel").unwrap().assign(&array![[3.0], [-2.0]]);

    // hidden = (1·1 + 2·2, 1·−1 + 2·0.5) = (5, 0); y = 15; loss = (15 − 13)² = 4; dy = 2·(15 − 13) = 4
    let loss = trainer.train_step(&array![[1.0, 2.0]], &array![[13.0]]).unwrap();
    assert_eq!(loss, 4.0);
    // dw₂ = hidden·dy = (20, 0); dhidden = dy·w₂ = (12, −8) with the old w₂; dw₁ = xᵀ·dhidden
    assert_eq!(trainer.gradients(), [12.0, -8.0, 24.0, -16.0, 20.0, 0.0]);
    // w − 0.25·dw
    assert_eq!(trainer.model().values(), [-2.0, 1.0, -4.0, 4.5, -2.0, -2.0]);
}

/// Keras 3's RMSprop: v = 0.1·g², w −= lr·g / √(v + ε). Where g is small, ε counts.
#[test]
fn a_step_of_rmsprop_is_that_of_keras() {
    let model = Sequential::<f64>::with_input([1]).add(Dense::new(1).bias(false)).build(0).unwrap();
    let mut trainer = model.compile(RMSprop::default(), MeanSquaredError);
    trainer.model_mut().values_mut()[0] = 1.0;
    // g = 2·(1 − (1 − 5e-6))·1 = 1e-5
    trainer.train_step(&array![[1.0]], &array![[1.0 - 5e-6]]).unwrap();
    let step = 1.0 - trainer.model().values()[0];
    assert!((step - 1e-3 * 1e-5 / (0.1 * 1e-10_f64 + 1e-7).sqrt()).abs() < 1e-12, "{step}");
    assert!((step - 3.162e-5).abs() < 1e-8, "{step}");
}

#[test]
fn views_that_do_not_lie_in_one_piece_are_read_in_their_order() {
    let Targets::Classes(classes) = data::<f32>(8).targets().clone() else { unreachable!("they are classes") };
    let x = data(8).inputs().clone().into_dimensionality::<plywood::ndarray::Ix2>().unwrap();
    let mut columns = Array2::<f32>::zeros((4, 8)).reversed_axes();
    columns.assign(&x);
    let every_second = Slice::from(..).step_by(2);
    let mut trainers = [(); 2].map(|()| trainer(0.01));
    for (trainer, x) in trainers.iter_mut().zip([&x, &columns]) {
        trainer.train_step(x, &classes).unwrap();
        let (x, classes) = (x.slice_axis(Axis(0), every_second), classes.slice_axis(Axis(0), every_second));
        trainer.train_step(&x, classes).unwrap();
    }
    let [lying, standing] = trainers.map(Trainer::into_model);
    assert_eq!(bits(lying.values()), bits(standing.values()));
    assert_eq!(bits(&lying.predict(&x).unwrap()), bits(&lying.predict(&columns).unwrap()));
}

/// Points around three centres, to be told apart.
fn learns<T: Scalar>() {
    let classes = Array1::from_shape_fn(90, |i| i % 3);
    let mut x = numbers::<T>(&[90, 4], 1);
    for (mut x, &class) in x.outer_iter_mut().zip(&classes) {
        x[class] += T::of(8.0);
    }
    let data = Dataset::new(x, classes).unwrap();
    let mut trainer = trainer::<T>(0.01);
    let history = trainer.fit(&data, &Fit::epochs(30)).unwrap();
    assert!(history.last("loss").unwrap() < 0.05, "{}: {:?}", T::NAME, history.get("loss"));
    assert_eq!(trainer.evaluate(&data).unwrap().get("accuracy"), Some(1.0), "{}", T::NAME);
}

#[test]
fn single_and_double_precision_learn() {
    learns::<f32>();
    learns::<f64>();
}

#[test]
fn a_callback_can_end_training() {
    struct Stopper {
        batches: usize,
    }
    impl Callback for Stopper {
        fn batch_end(&mut self, trainer: &mut Trainer, batch: &BatchEnd) -> Result<Control> {
            assert!(batch.loss > 0.0 && (1..=3).contains(&batch.batch));
            Ok(if trainer.step() as usize == self.batches { Control::Stop } else { Control::Continue })
        }
    }
    for (batches, epochs) in [(1, 1), (3, 1), (5, 2)] {
        let mut trainer = trainer::<f32>(0.01);
        let history =
            trainer.fit_with(&data(10), &Fit::epochs(9).batch_size(4), &mut [&mut Stopper { batches }]).unwrap();
        assert_eq!((trainer.step() as usize, history.len()), (batches, epochs));
    }
}

const fn assert_send<T: Send>() {}
const fn assert_send_sync<T: Send + Sync>() {}

const _: () = {
    assert_send_sync::<Sequential>();
    assert_send_sync::<Sequential<f64>>();
    assert_send_sync::<NamedLayer>();
    assert_send_sync::<Dataset>();
    assert_send_sync::<Error>();
    assert_send::<Trainer>();
    assert_send::<Predictor<'_>>();
    assert_send_sync::<Box<dyn Layer>>();
    assert_send_sync::<Box<dyn Loss>>();
    assert_send_sync::<Box<dyn Optimizer>>();
    assert_send::<Box<dyn Metric>>();
};

#[test]
fn any_number_of_threads_can_predict_with_one_model() {
    let (model, data) = (classifier::<f32>(), data(100));
    let expected = bits(&model.predict(data.inputs()).unwrap());
    let predict = || (0..20).map(|_| bits(&model.predict(data.inputs()).unwrap())).collect::<BTreeSet<_>>();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(predict)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), BTreeSet::from([expected.clone()]));
        }
    });
}

/// Errors and checkpoints call losses and optimizers by these names.
#[test]
fn names_are_those_of_keras() {
    let losses: [&dyn Loss; 2] = [&CategoricalCrossentropy::new(), &MeanSquaredError];
    assert_eq!(losses.map(Loss::name), ["categorical_crossentropy", "mean_squared_error"]);
    let optimizers: [&dyn Optimizer; 3] = [&SGD::new(0.1), &RMSprop::new(0.1), &Adam::new(0.1)];
    assert_eq!(optimizers.map(Optimizer::name), ["SGD", "RMSprop", "Adam"]);
    let model = Sequential::input([4, 4, 1])
        .add(Conv2D::new(2, 2))
        .add(MaxPooling2D::new(2))
        .add(ReLU::new())
        .add(Conv2D::new(2, 1))
        .add(Flatten::new())
        .add(Dense::new(2))
        .add(Softmax::new())
        .build(0)
        .unwrap();
    let layers = ["conv2d", "max_pooling2d", "re_lu", "conv2d_1", "flatten", "dense", "softmax"];
    assert_eq!(Vec::from_iter(model.layers().iter().map(NamedLayer::name)), layers);
}

/// Logits 100 apart: from probabilities, clipped at 1e-7, the loss would be 16.1 and the gradient 0.
#[test]
fn a_softmax_at_the_end_is_computed_with_the_loss() {
    let softmax_as_activation =
        Sequential::<f64>::with_input([1]).add(Dense::new(2).bias(false).activation(Activation::Softmax));
    let softmax_as_layer = Sequential::with_input([1]).add(Dense::new(2).bias(false)).add(Softmax::new());
    for builder in [softmax_as_activation, softmax_as_layer] {
        let mut trainer = builder.build(0).unwrap().compile(SGD::new(0.25), CategoricalCrossentropy::new());
        trainer.model_mut().values_mut().copy_from_slice(&[0.0, 100.0]);
        assert_eq!(trainer.train_step(&array![[1.0]], &array![0]).unwrap(), 100.0);
        assert_eq!(trainer.gradients(), [-1.0, 1.0]);
    }
}

/// A Softmax over channels, of images that become vectors, is not the loss's Softmax over all of a vector.
#[test]
fn a_softmax_before_a_reshaping_is_left_to_the_model() {
    let data = Dataset::new(array![[[[2.0_f64, 0.0], [0.0, 0.0]]]], array![0_usize]).unwrap();
    let [fused, apart] = [true, false].map(|fuse| {
        let model = Sequential::with_input([1, 2, 2]).add(Softmax::new()).add(Flatten::new()).build(0).unwrap();
        model.compile(SGD::new(0.1), CategoricalCrossentropy::new().fuse_softmax(fuse)).evaluate(&data).unwrap().loss
    });
    assert_eq!(fused, apart);
    // the first of two pixels' probabilities, out of all four, which add up to 2
    let p = 1.0 / (1.0 + (-2.0_f64).exp());
    assert_close(fused, -(p / 2.0).ln());
}

/// Remembers the predictions that it is shown.
#[derive(Debug, Default, Clone)]
struct Witness(Arc<Mutex<Vec<f64>>>);

impl Metric<f64> for Witness {
    fn name(&self) -> &str {
        "witness"
    }

    fn reset(&mut self) {}

    fn update(&mut self, predictions: ArrayViewD<'_, f64>, _: &TargetsView<'_, f64>) {
        self.0.lock().unwrap().extend(predictions.iter());
    }

    fn value(&self) -> f64 {
        0.0
    }
}

#[test]
fn metrics_are_shown_what_the_model_predicts() {
    let data = data::<f64>(10);
    let want = classifier::<f64>().predict(data.inputs()).unwrap();
    for fuse in [true, false] {
        let (trained, evaluated) = (Witness::default(), Witness::default());
        let optimizer = SGD::new(0.0);
        let loss = CategoricalCrossentropy::new().fuse_softmax(fuse);
        let mut trainer = classifier().compile(optimizer, loss).metric(trained.clone());
        trainer.fit(&data, &Fit::epochs(1).batch_size(4).shuffle(false)).unwrap();
        trainer.evaluate_with(&data, &mut [&mut evaluated.clone()]).unwrap();
        for got in [trained, evaluated] {
            assert_eq!(bits(got.0.lock().unwrap().as_slice()), bits(want.as_slice().unwrap()), "{fuse}");
        }
    }
}

/// Numbers that an optimizer remembers for each parameter: as much memory again.
#[test]
fn optimizers_remember_no_more_than_they_need() {
    let slots = |optimizer: &dyn Optimizer| optimizer.slots();
    assert_eq!([SGD::new(0.1), SGD::new(0.1).momentum(0.9)].each_ref().map(|sgd| slots(sgd)), [0, 1]);
    let rmsprop = RMSprop::new(0.1);
    let variants = [rmsprop, rmsprop.momentum(0.9), rmsprop.centered(true), rmsprop.centered(true).momentum(0.9)];
    assert_eq!(variants.each_ref().map(|rmsprop| slots(rmsprop)), [1, 2, 2, 3]);
    assert_eq!([Adam::new(0.1), Adam::new(0.1).amsgrad(true)].each_ref().map(|adam| slots(adam)), [2, 3]);
}

/// A metric that keeps the shape of what it is shown.
#[derive(Debug, Clone, Default)]
struct Shapes(Arc<Mutex<BTreeSet<Vec<usize>>>>);

impl Metric<f64> for Shapes {
    fn name(&self) -> &str {
        "shapes"
    }

    fn check(&self, _: &[usize], targets: &TargetsView<'_, f64>) -> Result<()> {
        self.see(targets);
        Ok(())
    }

    fn reset(&mut self) {}

    fn update(&mut self, _: ArrayViewD<'_, f64>, targets: &TargetsView<'_, f64>) {
        self.see(targets);
    }

    fn value(&self) -> f64 {
        0.0
    }
}

impl Shapes {
    fn see(&self, targets: &TargetsView<'_, f64>) {
        let TargetsView::Values(values) = targets else { unreachable!("they are values") };
        self.0.lock().unwrap().insert(values.shape()[1..].to_vec());
    }
}

/// A list of numbers is what a model with one output learns, in every way that targets come to it, with the bits of the same
/// numbers as a column.
#[test]
fn one_value_a_sample_may_be_a_list() {
    let (x, list) = (numbers::<f64>(&[11, 4], 1), Array1::from_shape_fn(11, |i| (i as f64).sin()));
    let column = list.clone().insert_axis(Axis(1));
    let trainer = |shapes: &Shapes| {
        let model = Sequential::with_input([4]).add(Dense::new(1)).build(3).unwrap();
        model.compile(Adam::new(0.01), MeanSquaredError).metric(shapes.clone())
    };
    let run = |targets: Targets<f64>| {
        let shapes = Shapes::default();
        let mut trainer = trainer(&shapes);
        let data = Dataset::new(x.clone(), targets.clone()).unwrap();
        let split = Fit::epochs(2).batch_size(3).validation_split(0.3);
        let mut history = vec![trainer.fit(&data, &split).unwrap().get("val_loss").unwrap()];
        let weighted = [0.5; 11];
        let fit = Fit::epochs(2).batch_size(4).sample_weights(&weighted).validation(&data);
        history.push(trainer.fit(&data, &fit).unwrap().get("val_loss").unwrap());
        let mut own = shapes.clone();
        let figures = [
            trainer.train_step(&x, &targets).unwrap(),
            trainer.evaluate(&data).unwrap().loss,
            trainer.evaluate_with(&data, &mut [&mut own]).unwrap().loss,
        ];
        assert_eq!(shapes.0.lock().unwrap().iter().collect::<Vec<_>>(), [&[1]]);
        (bits(trainer.model().values()), history, figures)
    };
    assert_eq!(run(list.clone().into()), run(column.into()));

    // strided views, and only where there is one output
    let twice = Array1::from_shape_fn(22, |i| list[i / 2]);
    let mut trainer = trainer(&Shapes::default());
    trainer.train_step(&x, twice.slice_axis(Axis(0), Slice::from(..).step_by(2))).unwrap();
    let model = Sequential::with_input([4]).add(Dense::new(2)).build(3).unwrap();
    let error = model.compile(Adam::new(0.01), MeanSquaredError).train_step(&x, &list).unwrap_err();
    assert_eq!(error.to_string(), "mean_squared_error: got values of shape 11, expected values of shape [samples, 2]");
}
