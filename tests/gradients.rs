//! Gradients are those of what is computed: every layer, and whole models, against central differences in f64.
//!
//! With a step of h = 1e-5 on values of about 1, a difference quotient is wrong by h²/6 times the third derivative, about
//! 1e-11, and by the rounding of the function over h, about 1e-10 for a model's loss. Errors are taken relative to the
//! largest element of the gradient, about 0.01 to 10, and come out at about 1e-9; a mistake in a layer is one of about 1.
//!
//! ReLU and max-pooling have kinks, and a quotient across one is wrong. None is within a step of the numbers here. Should
//! one be after a change of them, the two slopes of a failure differ, and another seed helps.

mod common;

use std::fmt::Debug;

use common::{bits, numbers};
use plywood::model::Sequential;
use plywood::ndarray::{Array1, ArrayD};
use plywood::prelude::*;
use plywood::testing::LayerRun;
use rayon::prelude::*;

/// How far a parameter or input is moved.
const STEP: f64 = 1e-5;

/// The largest error allowed, relative to the largest element of a gradient.
const TOLERANCE: f64 = 1e-6;

/// What comparing gradients brought.
#[derive(Debug, Default)]
struct Comparison {
    configurations: usize,
    elements: usize,
    worst: f64,
    failures: Vec<String>,
}

impl Comparison {
    /// Compares a gradient with the slopes of a function to the left and to the right of each element.
    fn gradient(&mut self, what: &str, gradient: &[f64], slopes: impl FnMut(usize) -> [f64; 2]) {
        let slopes: Vec<[f64; 2]> = (0..gradient.len()).map(slopes).collect();
        let both = gradient.iter().zip(&slopes).map(|(&gradient, [left, right])| (gradient, (left + right) / 2.0));
        let scale = both.clone().fold(f64::MIN_POSITIVE, |scale, (a, b)| scale.max(a.abs()).max(b.abs()));
        for (i, (gradient, quotient)) in both.enumerate() {
            let error = (gradient - quotient).abs() / scale;
            // what was not written is NaN
            if error.is_nan() || error > TOLERANCE {
                self.failures.push(format!("{what}[{i}] is {gradient}, expected {quotient} (slopes {:?})", slopes[i]));
            }
            self.worst = self.worst.max(error);
        }
        self.elements += gradient.len();
    }

    fn and(mut self, other: Self) -> Self {
        self.configurations += other.configurations;
        self.elements += other.elements;
        self.worst = self.worst.max(other.worst);
        self.failures.extend(other.failures);
        self
    }

    /// Fails with everything that is wrong, or if fewer configurations were compared than there should be.
    fn finish(self, at_least: usize) {
        let Self { configurations, elements, worst, failures } = self;
        println!("{configurations} configurations, {elements} elements, largest error {worst:.1e}");
        assert!(failures.is_empty(), "{} wrong:\n{}", failures.len(), failures[..failures.len().min(20)].join("\n"));
        assert!(configurations >= at_least, "only {configurations} configurations");
    }
}

/// The gradients of Σ c·y, with c without a pattern, of one layer.
fn compare_layer<L: Layer<f64> + Clone>(layer: &L, sample: &[usize], batch: usize) -> Comparison {
    let mut run = match LayerRun::new(layer.clone(), sample, batch, 0) {
        Ok(run) => run,
        Err(Error::WindowTooLarge { .. }) => return Comparison::default(),
        Err(error) => panic!("{layer:?} on {sample:?}: {error}"),
    };
    let what = format!("{layer:?} on {batch} × {sample:?}: ");
    let x = numbers(run.x().shape(), 1);
    run.x_mut().assign(&x);
    let parameters = numbers::<f64>(&[run.parameters().len()], 2);
    run.parameters_mut().copy_from_slice(parameters.as_slice().expect("just made"));
    let c = numbers(run.y().shape(), 3);
    run.dy_mut().assign(&c);

    let mut gradients = [false, true].map(|input_gradient| {
        // what is not written stays NaN
        run.y_mut().fill(f64::NAN);
        run.dx_mut().fill(f64::NAN);
        run.gradients_mut().fill(f64::NAN);
        run.forward();
        run.backward(input_gradient);
        run.gradients().to_vec()
    });
    let mut comparison = Comparison { configurations: 1, ..Comparison::default() };
    if bits(&gradients[0]) != bits(&gradients[1]) {
        comparison.failures.push(format!("{what}the gradients depend on whether dx is asked for"));
    }
    let (y, dx) = (run.y().to_owned(), run.dx().to_owned());

    comparison.gradient(&format!("{what}dx"), dx.as_slice().expect("a copy"), |i| {
        slopes(&mut run, &y, &c, |run| &mut run.x_mut().into_slice().expect("contiguous")[i])
    });
    for entry in run.layout().clone().entries() {
        let gradient = &mut gradients[1][entry.range()];
        let first = entry.range().start;
        comparison.gradient(&format!("{what}d{}", entry.name()), gradient, |i| {
            slopes(&mut run, &y, &c, |run| &mut run.parameters_mut()[first + i])
        });
    }
    comparison
}

/// The slopes of Σ c·y to the left and to the right, if an element is moved.
fn slopes(
    run: &mut LayerRun<f64>,
    y: &ArrayD<f64>,
    c: &ArrayD<f64>,
    element: impl Fn(&mut LayerRun<f64>) -> &mut f64,
) -> [f64; 2] {
    let before = *element(run);
    let slopes = [-STEP, STEP].map(|step| {
        *element(run) = before + step;
        run.forward();
        // differences first: outputs that do not depend on the element add no rounding
        run.y().iter().zip(y).zip(c).map(|((moved, y), c)| (moved - y) * c).sum::<f64>() / step
    });
    *element(run) = before;
    slopes
}

fn compare_layers<L: Layer<f64> + Clone>(cases: &[(L, Vec<usize>, usize)]) -> Comparison {
    let compare = |(layer, sample, batch): &(L, Vec<usize>, usize)| compare_layer(layer, sample, *batch);
    cases.par_iter().map(compare).reduce(Comparison::default, Comparison::and)
}

const ACTIVATIONS: [Activation; 3] = [Activation::Linear, Activation::ReLU, Activation::Softmax];

#[test]
fn dense() {
    let mut cases = vec![];
    for features in [1, 5, 17] {
        for units in [1, 3, 17, 40] {
            for bias in [true, false] {
                for activation in ACTIVATIONS {
                    for batch in [1, 3, 7] {
                        cases.push((Dense::new(units).bias(bias).activation(activation), vec![features], batch));
                    }
                }
            }
        }
    }
    compare_layers(&cases).finish(200);
}

#[test]
fn conv2d() {
    let mut cases = vec![];
    for kernel in [(1, 1), (2, 2), (3, 3), (3, 2), (1, 4)] {
        for strides in [(1, 1), (2, 2), (3, 1), (1, 2)] {
            for dilation in [(1, 1), (2, 1), (1, 2), (3, 3)] {
                for padding in [
                    Padding::Valid,
                    Padding::Same,
                    Padding::symmetric(1),
                    Padding::Explicit { top: 2, bottom: 0, left: 1, right: 3 },
                ] {
                    // the other settings take turns, each at a pace of its own
                    let n = cases.len();
                    let layer = Conv2D::new([1, 3, 17][n / 36 % 3], kernel)
                        .strides(strides)
                        .dilation(dilation)
                        .padding(padding)
                        .bias(n / 6 % 2 == 0)
                        .activation(ACTIVATIONS[n / 12 % 3]);
                    cases.push((layer, [[6, 7, 1], [7, 5, 3], [8, 8, 2]][n % 3].to_vec(), [1, 3][n / 3 % 2]));
                }
            }
        }
    }
    compare_layers(&cases).finish(250);
}

#[test]
fn max_pooling2d() {
    let mut cases = vec![];
    for pool in [(2, 2), (3, 3), (2, 3), (3, 2)] {
        for strides in [pool, (1, 1), (2, 1), (3, 4)] {
            for padding in [Padding::Valid, Padding::Same, Padding::Explicit { top: 1, bottom: 0, left: 0, right: 1 }] {
                for sample in [[5, 7, 1], [6, 6, 3], [11, 4, 17]] {
                    let layer = MaxPooling2D::new(pool).strides(strides).padding(padding);
                    cases.push((layer, sample.to_vec(), [1, 3][cases.len() % 2]));
                }
            }
        }
    }
    compare_layers(&cases).finish(140);
}

#[test]
fn layers_without_settings() {
    let samples: [&[usize]; 6] = [&[1], &[2], &[10], &[33], &[4, 3], &[3, 4, 5]];
    let mut comparison = Comparison::default();
    for sample in samples {
        for batch in [1, 3] {
            comparison = comparison
                .and(compare_layer(&ReLU::new(), sample, batch))
                .and(compare_layer(&Softmax::new(), sample, batch))
                .and(compare_layer(&Flatten::new(), sample, batch));
        }
    }
    comparison.finish(36);
}

/// What a model is trained on, and with which loss. `classes` are its outputs.
#[derive(Debug, Clone, Copy)]
enum Objective {
    Classes(CategoricalCrossentropy),
    OneHot(CategoricalCrossentropy),
    /// Rows of probabilities, none of them 0 or 1.
    Soft(CategoricalCrossentropy),
    Squares,
}

/// The losses that a model which ends in Softmax can have.
fn objectives() -> [Objective; 6] {
    let loss = CategoricalCrossentropy::new();
    [
        Objective::Classes(loss),
        Objective::OneHot(loss),
        Objective::Soft(loss.label_smoothing(0.1)),
        Objective::OneHot(loss.fuse_softmax(false)),
        Objective::Soft(loss.fuse_softmax(false)),
        Objective::Squares,
    ]
}

/// The gradients of a whole model's loss with respect to all of its parameters.
fn compare_model(builder: Sequential<f64>, objective: Objective, batch: usize) -> Comparison {
    let what = format!("{builder:?}, {objective:?}, batch {batch}: ");
    let model = builder.build(7).expect("the shapes fit");
    let shape = |sample: &[usize]| [&[batch], sample].concat();
    let x = numbers::<f64>(&shape(model.input_shape()), 1);
    let output = model.output_shape().to_vec();
    let classes: Targets<f64> = Array1::from_shape_fn(batch, |i| (i * 7 + 2) % output[0]).into();
    let (targets, loss): (Targets<f64>, _) = match objective {
        Objective::Classes(loss) => (classes, Some(loss)),
        Objective::OneHot(loss) => (classes.one_hot(output[0]).expect("the classes exist"), Some(loss)),
        Objective::Soft(loss) => {
            let mut rows = numbers::<f64>(&shape(&output), 2).mapv(f64::exp);
            rows.outer_iter_mut().for_each(|mut row| row /= row.sum());
            (rows.into(), Some(loss))
        }
        Objective::Squares => (numbers::<f64>(&shape(&output), 2).into(), None),
    };
    let mut trainer = match loss {
        Some(loss) => model.compile(SGD::new(0.0), loss),
        None => model.compile(SGD::new(0.0), MeanSquaredError),
    };
    let step_loss = trainer.train_step(&x, &targets).expect("data and loss fit the model");
    let gradients = trainer.gradients().to_vec();

    let data = Dataset::new(x, targets).expect("as many targets as inputs");
    let loss_at = |trainer: &mut Trainer<f64>| trainer.evaluate(&data).expect("data and loss fit the model").loss;
    let loss = loss_at(&mut trainer);
    assert!((step_loss - loss).abs() <= 1e-12 * loss, "{what}a step's loss is {step_loss}, evaluated {loss}");

    let mut comparison = Comparison { configurations: 1, ..Comparison::default() };
    for entry in trainer.model().layout().clone().entries() {
        let first = entry.range().start;
        comparison.gradient(&format!("{what}d{}", entry.name()), &gradients[entry.range()], |i| {
            let before = trainer.model().values()[first + i];
            let slopes = [-STEP, STEP].map(|step| {
                trainer.model_mut().values_mut()[first + i] = before + step;
                (loss_at(&mut trainer) - loss) / step
            });
            trainer.model_mut().values_mut()[first + i] = before;
            slopes
        });
    }
    comparison
}

fn compare_models(cases: &[(Sequential<f64>, Objective, usize)]) -> Comparison {
    let compare =
        |(model, objective, batch): &(Sequential<f64>, _, _)| compare_model(model.clone(), *objective, *batch);
    cases.par_iter().map(compare).reduce(Comparison::default, Comparison::and)
}

fn input(sample: impl Into<Vec<usize>>) -> Sequential<f64> {
    Sequential::with_input(sample)
}

/// Convolution, ReLU and pooling, which are computed as one where that is possible, in each order and spelling.
#[test]
fn convolutional_models() {
    let mut cases = vec![];
    for (kernel, strides) in [((3, 3), (1, 1)), ((2, 3), (1, 1)), ((2, 2), (2, 1)), ((3, 2), (1, 2))] {
        for padding in [Padding::Valid, Padding::Same] {
            for pool in [
                MaxPooling2D::new(2),
                MaxPooling2D::new(3).strides(2),
                MaxPooling2D::new(2).strides(1),
                MaxPooling2D::new(2).strides(3),
                MaxPooling2D::new((3, 2)).padding(Padding::Same),
            ] {
                for spelling in 0..4 {
                    let convolution = Conv2D::new(3, kernel).strides(strides).padding(padding);
                    let images = input([9, 8, 2]);
                    let images = match spelling {
                        0 => images.add(convolution).add(pool.clone()),
                        1 => images.add(convolution.activation(Activation::ReLU)).add(pool.clone()),
                        2 => images.add(convolution).add(ReLU::new()).add(pool.clone()),
                        _ => images.add(convolution).add(pool.clone()).add(ReLU::new()),
                    };
                    let vectors = images.add(Flatten::new());
                    let n = cases.len();
                    let model = if n % 2 == 0 {
                        vectors.add(Dense::new(4).activation(Activation::Softmax))
                    } else {
                        vectors.add(Dense::new(4)).add(Softmax::new())
                    };
                    cases.push((model, objectives()[n % 6], [1, 3][n / 6 % 2]));
                }
            }
        }
    }
    compare_models(&cases).finish(160);
}

#[test]
fn other_models() {
    let loss = CategoricalCrossentropy::new();
    let mut cases = vec![];
    for objective in objectives() {
        for batch in [1, 5] {
            let dense = |units| Dense::new(units).activation(Activation::ReLU);
            let end = || Dense::new(3).activation(Activation::Softmax);
            for model in [
                input([6]).add(end()),
                input([6]).add(dense(8)).add(dense(7).bias(false)).add(end()),
                input([6]).add(ReLU::new()).add(Dense::new(5)).add(ReLU::new()).add(ReLU::new()).add(end()),
                // probabilities within the model, which no loss takes over
                input([6]).add(Dense::new(5).activation(Activation::Softmax)).add(end()),
                input([2, 3]).add(Flatten::new()).add(dense(4)).add(end()),
                // the small sibling of the example
                input([12, 12, 1])
                    .add(Conv2D::new(4, 3).activation(Activation::ReLU))
                    .add(MaxPooling2D::new(2))
                    .add(Conv2D::new(5, 3).activation(Activation::ReLU))
                    .add(MaxPooling2D::new(2))
                    .add(Flatten::new())
                    .add(dense(6))
                    .add(end()),
                // a pool first, and activations that nothing is joined with
                input([7, 6, 2])
                    .add(MaxPooling2D::new((2, 1)).strides(1))
                    .add(Conv2D::new(3, 2).dilation(2).activation(Activation::Softmax))
                    .add(ReLU::new())
                    .add(MaxPooling2D::new(2))
                    .add(Flatten::new())
                    .add(end()),
            ] {
                cases.push((model, objective, batch));
            }
        }
    }
    // outputs that are no probabilities: logits, numbers, images
    for batch in [1, 5] {
        let logits = input([6]).add(Dense::new(5).activation(Activation::ReLU)).add(Dense::new(3));
        for objective in
            [Objective::Classes(loss.from_logits(true)), Objective::Soft(loss.from_logits(true)), Objective::Squares]
        {
            cases.push((logits.clone(), objective, batch));
        }
        let images = input([5, 4, 2]).add(Conv2D::new(2, 3).padding(Padding::Same)).add(ReLU::new());
        cases.push((images.clone(), Objective::Squares, batch));
        cases.push((images.add(Conv2D::new(1, 2).bias(false)), Objective::Squares, batch));
    }
    compare_models(&cases).finish(90);
}
