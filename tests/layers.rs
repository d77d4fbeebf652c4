//! Every layer, loss, optimizer and metric of the crate, in hundreds of configurations, through the crate's own test kit.
//!
//! Tables are walked with settings that go round: each row takes the next number of channels, the next batch, with or
//! without a bias, so that all pairs of settings meet without a test for each combination of all of them.

mod common;

use std::fmt::Debug;

use common::Joined;
use ndarray::{Array1, Array2, ArrayD, Axis, IxDyn};
use plywood::data::Targets;
use plywood::losses::{CategoricalCrossentropy, MeanSquaredError};
use plywood::metrics::{F1, Precision, Recall, TopKAccuracy};
use plywood::ndarray;
use plywood::optimizers::Adam;
use plywood::prelude::*;
use plywood::testing::{Failure, LayerCheck, Report, check_loss, check_metric, check_optimizer};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a table of checks has come to.
#[derive(Debug, Default)]
struct Table {
    checked: usize,
    checks: usize,
    largest_gradient_error: f64,
    failures: Vec<String>,
}

impl Table {
    fn note(&mut self, what: &impl Debug, result: Result<Report, Failure>) {
        self.checked += 1;
        match result {
            Ok(report) => {
                self.checks += report.checks().len();
                let error = report.largest_error("gradient of").unwrap_or(0.0);
                self.largest_gradient_error = self.largest_gradient_error.max(error);
            }
            Err(failure) => self.failures.push(format!("{what:?}\n{failure}")),
        }
    }

    fn layer<L>(&mut self, check: impl Fn(L) -> LayerCheck<L>, layer: L)
    where
        L: Layer<f32> + Layer<f64> + Clone + PartialEq + Serialize + DeserializeOwned,
    {
        let what = layer.clone();
        let check = check(layer);
        #[cfg(feature = "json")]
        let check = check.round_trip();
        self.note(&what, check.run());
    }

    /// Panics with all failures, so that one run shows everything.
    fn finish(self, at_least: usize) {
        let Self { checked, checks, largest_gradient_error, failures } = self;
        println!("{checked} configurations, {checks} checks, largest gradient error {largest_gradient_error:.1e}");
        assert!(failures.is_empty(), "{} of {checked} failed:\n{}", failures.len(), failures.join("\n"));
        assert!(checked >= at_least, "{checked} configurations");
    }
}

/// Goes round in a list of settings.
fn turn<T: Copy, const N: usize>(number: usize, settings: [T; N]) -> T {
    settings[number % N]
}

const EXPLICIT: Padding = Padding::Explicit { top: 1, bottom: 1, left: 1, right: 1 };
const ASYMMETRIC: Padding = Padding::Explicit { top: 2, bottom: 0, left: 1, right: 3 };
const ACTIVATIONS: [Activation; 3] = [Activation::Linear, Activation::ReLU, Activation::Softmax];

#[test]
fn convolutions() {
    let mut table = Table::default();
    for kernel in [(1, 1), (2, 2), (3, 3), (5, 5), (1, 3)] {
        for strides in [(1, 1), (2, 2), (3, 3), (2, 1)] {
            for dilation in [(1, 1), (2, 2), (1, 3)] {
                for padding in [Padding::Valid, Padding::Same, EXPLICIT, ASYMMETRIC] {
                    let n = table.checked;
                    let reach = [(kernel.0 - 1) * dilation.0 + 1, (kernel.1 - 1) * dilation.1 + 1];
                    let images = [[5, 4], [6, 7], [9, 6], [9, 14], [12, 13]];
                    // the next image that the window fits into without padding
                    let mut images = images.iter().cycle().skip(n).take(images.len());
                    let [height, width] = *images.find(|image| image[0] >= reach[0] && image[1] >= reach[1]).unwrap();
                    let layer = Conv2D::new(turn(n, [4, 1, 17, 3, 8]), kernel)
                        .strides(strides)
                        .dilation(dilation)
                        .padding(padding)
                        .bias(n % 3 != 0)
                        .activation(turn(n / 2, ACTIVATIONS));
                    let sample = [height, width, turn(n, [1, 3, 8, 17])];
                    let batch = turn(n / 3, [1, 3]);
                    table.layer(|layer| LayerCheck::new(layer, sample).batch(batch).seed(n as u64).elements(50), layer);
                }
            }
        }
    }
    table.finish(240);
}

#[test]
fn poolings() {
    let mut table = Table::default();
    for pool in [(1, 1), (2, 2), (3, 3), (2, 3), (3, 1)] {
        for strides in [None, Some((1, 1)), Some((2, 2)), Some((3, 2))] {
            let (rows, columns) = (pool.0 - 1, pool.1 - 1);
            let asymmetric = Padding::Explicit { top: rows, bottom: 0, left: 0, right: columns };
            for padding in [Padding::Valid, Padding::Same, Padding::symmetric((rows, columns)), asymmetric] {
                let n = table.checked;
                let layer = MaxPooling2D::new(pool).padding(padding);
                let layer = strides.map_or(layer.clone(), |strides| layer.strides(strides));
                let [height, width] = turn(n, [[4, 5], [7, 6], [5, 8]]);
                let sample = [height, width, turn(n, [1, 3, 8, 17])];
                // below zero: padding that counted as zero would be the largest
                let inputs = turn(n, [-1.0, 2.0, 0.0]);
                table.layer(|layer| LayerCheck::new(layer, sample).inputs(inputs - 2.0, inputs).seed(n as u64), layer);
            }
        }
    }
    table.finish(80);
}

#[test]
fn dense_layers() {
    let mut table = Table::default();
    for inputs in [1, 5, 16, 50] {
        for units in [1, 3, 8, 17, 33] {
            for activation in ACTIVATIONS {
                for bias in [false, true] {
                    let n = table.checked;
                    let layer = Dense::new(units).activation(activation).bias(bias);
                    let batch = turn(n, [1, 3, 7, 2]);
                    table.layer(|layer| LayerCheck::new(layer, [inputs]).batch(batch).seed(n as u64), layer);
                }
            }
        }
    }
    table.finish(120);
}

#[test]
fn layers_without_parameters() {
    let mut table = Table::default();
    for sample in [vec![1], vec![2], vec![10], vec![17], vec![40], vec![3, 4], vec![3, 4, 5], vec![2, 3, 2, 2]] {
        for batch in [1, 3] {
            table.layer(|layer| LayerCheck::new(layer, sample.clone()).batch(batch), ReLU::new());
            table.layer(|layer| LayerCheck::new(layer, sample.clone()).batch(batch), Flatten::new());
            table.layer(|layer| LayerCheck::new(layer, sample.clone()).batch(batch).inputs(-5.0, 5.0), Softmax::new());
        }
    }
    table.finish(48);
}

/// Parameters as each initializer makes them.
#[test]
fn initializers() {
    let mut table = Table::default();
    for initializer in [
        Initializer::Zeros,
        Initializer::Ones,
        Initializer::Constant { value: -0.25 },
        Initializer::Uniform { min: -0.5, max: 0.25 },
        Initializer::Normal { mean: 0.125, stddev: 0.5 },
        Initializer::TruncatedNormal { mean: 0.0, stddev: 0.5 },
        Initializer::GlorotUniform,
        Initializer::GlorotNormal,
        Initializer::HeUniform,
        Initializer::HeNormal,
        Initializer::LecunUniform,
        Initializer::LecunNormal,
    ] {
        let dense = Dense::new(5).kernel_initializer(initializer).bias_initializer(initializer);
        table.layer(|layer| LayerCheck::new(layer, [6]), dense);
        let conv = Conv2D::new(3, 2).kernel_initializer(initializer).bias_initializer(initializer);
        table.layer(|layer| LayerCheck::new(layer, [4, 5, 2]), conv);
    }
    table.finish(24);
}

/// So large that work is cut into tasks, bands and groups: what threads could change.
#[test]
fn large_layers() {
    let mut table = Table::default();
    let few = |layer, sample: &[usize], batch| LayerCheck::new(layer, sample).batch(batch).elements(3);
    table.layer(|layer| few(layer, &[13, 13, 32], 5), Conv2D::new(64, 3).activation(Activation::ReLU));
    table.layer(|layer| few(layer, &[70, 40, 5], 2), Conv2D::new(33, 3).padding(Padding::Same));
    table.layer(|layer| few(layer, &[8, 9, 4], 37), Conv2D::new(8, 3).strides(2).padding(ASYMMETRIC));
    // one sample is a task of all rows, two are cut into tasks of a few
    let above = Padding::Explicit { top: 1, bottom: 0, left: 0, right: 0 };
    table.layer(|layer| few(layer, &[8, 64, 64], 3), Conv2D::new(128, 1).strides((4, 1)).padding(above));
    let few = |layer, sample: &[usize], batch| LayerCheck::new(layer, sample).batch(batch).elements(3);
    table.layer(|layer| few(layer, &[784], 26), Dense::new(128).activation(Activation::ReLU));
    table.layer(|layer| few(layer, &[2000], 1), Dense::new(600));
    table.layer(|layer| few(layer, &[300], 26), Dense::new(1000).activation(Activation::Softmax));
    let sample = [26, 27, 32];
    table.layer(|layer| LayerCheck::new(layer, sample).batch(4).elements(3), MaxPooling2D::new(2));
    // tasks of several images each
    table.layer(|layer| LayerCheck::new(layer, [8, 9, 4]).batch(150).elements(3), MaxPooling2D::new(3));
    table.layer(|layer| LayerCheck::new(layer, [40_000]).elements(3), ReLU::new());
    table.layer(|layer| LayerCheck::new(layer, [20, 500]).elements(3), Softmax::new());
    table.finish(11);
}

#[test]
fn joined_layers() {
    let mut table = Table::default();
    for pool in [(1, 1), (2, 2), (3, 3), (2, 3)] {
        for strides in [(1, 1), (2, 2), (3, 2)] {
            for padding in [Padding::Valid, Padding::Same, ASYMMETRIC] {
                let number = table.checked;
                let conv = Conv2D::new(turn(number, [1, 4, 17]), turn(number, [(3, 3), (2, 2), (1, 3)]))
                    .padding(padding)
                    .strides(turn(number, [1, 1, 1, 2]))
                    .bias(number % 3 != 0)
                    .activation(turn(number, [Activation::ReLU, Activation::Linear]));
                let sample = [turn(number, [9, 10, 13]), turn(number, [11, 8]), turn(number, [3, 1, 8, 2])];
                let joined = Joined(conv, MaxPooling2D::new(pool).strides(strides));
                let check = LayerCheck::new(joined.clone(), sample).batch(turn(number, [1, 3])).seed(number as u64);
                table.note(&joined, check.run());
            }
        }
    }
    let large = Joined(Conv2D::new(40, 3), MaxPooling2D::new(2));
    table.note(&large, LayerCheck::new(large.clone(), [28, 28, 8]).elements(3).run());
    let relu = Joined(Conv2D::new(3, 3), ReLU::new());
    table.note(&relu, LayerCheck::new(relu.clone(), [6, 7, 2]).run());
    let relu = Joined(Dense::new(5), ReLU::new());
    table.note(&relu, LayerCheck::new(relu.clone(), [6]).run());
    table.finish(39);
}

/// Numbers without a pattern, between −1 and 1.
fn numbers(shape: &[usize]) -> ArrayD<f64> {
    let values = (0..shape.iter().product::<usize>()).map(|i| ((i as f64 + 1.0) * 12.9898).sin());
    ArrayD::from_shape_vec(IxDyn(shape), values.collect()).unwrap()
}

/// Rows that are positive and sum to 1.
fn distributions(samples: usize, classes: usize) -> Array2<f64> {
    let rows = numbers(&[samples, classes]).into_dimensionality::<ndarray::Ix2>().unwrap().mapv(|y| y.abs() + 0.25);
    let sums = rows.sum_axis(Axis(1)).insert_axis(Axis(1));
    rows / sums
}

/// The first class, the last, and those between.
fn classes(samples: usize, count: usize) -> Array1<usize> {
    Array1::from_iter((0..samples).map(|i| (i * (count - 1) + i / 2) % count))
}

#[test]
fn losses() {
    let mut table = Table::default();
    for (samples, count) in [(1, 2), (1, 3), (4, 3), (5, 10), (7, 17), (3, 40), (250, 40)] {
        for smoothing in [0.0, 0.1, 0.75] {
            let loss = CategoricalCrossentropy::new().label_smoothing(smoothing);
            // not the predictions themselves, at which the gradient is 0
            let mut others = distributions(samples, count);
            others.invert_axis(Axis(1));
            let targets: [Targets<f64>; 3] = [
                classes(samples, count).into(),
                Targets::Classes(classes(samples, count)).one_hot(count).unwrap(),
                others.into(),
            ];
            for targets in targets {
                let probabilities = distributions(samples, count);
                table.note(&(loss, samples), check_loss(loss, &probabilities, targets.clone()));
                let loss = loss.fuse_softmax(false);
                table.note(&(loss, samples), check_loss(loss, &(probabilities * 3.0), targets.clone()));
                let (loss, logits) = (loss.from_logits(true), numbers(&[samples, count]) * 6.0);
                table.note(&(loss, samples), check_loss(loss, &logits, targets));
            }
        }
    }
    for shape in [&[1, 1][..], &[4, 3], &[7, 17], &[3, 40], &[5], &[3, 4, 5, 2], &[70, 9, 10, 7]] {
        let targets = numbers(shape).mapv(|y| (7.0 * y).cos());
        table.note(&shape, check_loss(MeanSquaredError, &numbers(shape), targets));
    }
    table.finish(7 * 3 * 3 * 3 + 7);
}

#[test]
fn optimizers() {
    let mut table = Table::default();
    for momentum in [0.0, 0.9] {
        for weight_decay in [0.0, 0.01] {
            for centered in [false, true] {
                for start in [RMSprop::default(), RMSprop::keras_legacy(), RMSprop::pytorch()] {
                    let optimizer = start.momentum(momentum).weight_decay(weight_decay).centered(centered);
                    table.note(&optimizer, check_optimizer(optimizer));
                }
            }
            for nesterov in [false, true] {
                for start in [SGD::default(), SGD::pytorch()] {
                    let optimizer = start.momentum(momentum).weight_decay(weight_decay).nesterov(nesterov);
                    table.note(&optimizer, check_optimizer(optimizer));
                }
            }
            for start in [Adam::default(), Adam::pytorch(), Adam::default().amsgrad(true)] {
                let optimizer = start.weight_decay(weight_decay).beta_1(momentum);
                table.note(&optimizer, check_optimizer(optimizer));
            }
        }
    }
    table.finish(52);
}

#[test]
fn metrics() {
    let mut table = Table::default();
    for (samples, count) in [(1, 2), (10, 3), (50, 5), (200, 10)] {
        let predictions = distributions(samples, count);
        let targets = Targets::<f64>::Classes(classes(samples, count));
        for targets in [targets.clone(), targets.one_hot(count).unwrap()] {
            table.note(&samples, check_metric(Accuracy::new(), &predictions, targets.clone()));
            table.note(&samples, check_metric(Precision::new(), &predictions, targets.clone()));
            table.note(&samples, check_metric(Recall::new(), &predictions, targets.clone()));
            table.note(&samples, check_metric(F1::new(), &predictions, targets.clone()));
            for k in [1, 2] {
                table.note(&(samples, k), check_metric(TopKAccuracy::new(k), &predictions, targets.clone()));
            }
        }
    }
    table.finish(48);
}
