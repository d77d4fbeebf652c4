//! Each golden case, computed with plywood.

use std::collections::BTreeMap;

use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, arr0};
use plywood::data::{Targets, TargetsView};
use plywood::layers::{Conv2D, Dense, Flatten, Layer, MaxPooling2D, ReLU, Softmax};
use plywood::losses::{CategoricalCrossentropy, Loss, LossPass, MeanSquaredError};
use plywood::metrics::{Accuracy, ConfusionMatrix, F1, Metric, Precision, Recall, TopKAccuracy};
use plywood::model::{Sequential, Trainer};
use plywood::ndarray;
use plywood::optimizers::{Adam, Optimizer, RMSprop, SGD, Update};
use plywood::testing::LayerRun;
use plywood::{Initializer, Scalar};

use super::{
    AdamSettings, Case, ClassificationSettings, Conv2DSettings, DenseSettings, Dtype, Form, InitializerSettings,
    LIBRARIES, MaxPooling2DSettings, RmspropSettings, Settings, SgdSettings, TrainingSettings, cases, compare,
    manifest, report,
};

/// Which share of the tolerance the largest difference is, or what is wrong.
type Outcome = Result<f64, String>;

/// Every case of every library, in the type it was computed in; nothing is left out.
#[test]
fn every_case_agrees() {
    let (mut failures, mut shares) = (vec![], BTreeMap::new());
    for (library, _) in LIBRARIES {
        let cases = cases(library);
        assert_eq!(cases.len(), manifest(library).cases.len(), "{library}");
        for case in &cases {
            let outcome = match case.dtype {
                Dtype::Float32 => agrees::<f32>(case),
                Dtype::Float64 => agrees::<f64>(case),
            };
            let kind = case.name.split('/').take(2).collect::<Vec<_>>().join(" ");
            let (count, largest) = shares.entry(format!("{library} {kind}")).or_insert((0, 0.0_f64));
            match outcome {
                Ok(share) => (*count, *largest) = (*count + 1, largest.max(share)),
                Err(failure) => failures.push(format!("{library}: {}: {failure}", case.name)),
            }
        }
    }
    for (kind, (count, share)) in shares {
        println!("{kind}: {count} cases, at most {share:.1e} of the tolerance");
    }
    report(&failures);
}

fn agrees<T: Scalar>(case: &Case) -> Outcome {
    match &case.settings {
        Settings::Conv2D(s) => layer::<T>(case, conv2d(s)),
        Settings::MaxPooling2D(s) => layer::<T>(case, max_pooling2d(s)),
        Settings::Dense(s) => layer::<T>(case, dense(s)),
        Settings::FlattenDense(s) => flatten_dense::<T>(case, s),
        Settings::Relu {} => layer::<T>(case, ReLU::new()),
        Settings::Softmax {} => layer::<T>(case, Softmax::new()),
        Settings::Flatten {} => layer::<T>(case, Flatten::new()),
        Settings::CategoricalCrossentropy(s) => {
            let settings = CategoricalCrossentropy::new().label_smoothing(s.label_smoothing).from_logits(s.from_logits);
            loss::<T>(case, &settings, s.softmax)
        }
        Settings::MeanSquaredError {} => loss::<T>(case, &MeanSquaredError, false),
        Settings::Rmsprop(s) => optimizer::<T>(case, rmsprop(s)),
        Settings::Sgd(s) => optimizer::<T>(case, sgd(s)),
        Settings::Adam(s) => optimizer::<T>(case, adam(s)),
        Settings::Training(s) => training::<T>(case, s),
        Settings::Initializer(s) => initializer::<T>(case, s),
        Settings::Classification(s) => classification::<T>(case, s),
    }
}

impl Case {
    fn matches<T: Scalar>(&self, role: &str, got: ArrayViewD<'_, T>) -> Outcome {
        compare(role, got, self.array::<T>(role).view(), self.dtype.tolerance())
    }

    fn matches_numbers(&self, role: &str, got: &[f64]) -> Outcome {
        let got = ArrayViewD::from_shape(IxDyn(self.shape(role)), got).map_err(|error| format!("{role}: {error}"))?;
        compare(role, got, self.array::<f64>(role).view(), self.dtype.tolerance())
    }
}

/// The largest share of several comparisons, or the first failure.
fn largest(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
    outcomes.into_iter().try_fold(0.0, |largest: f64, outcome| outcome.map(|share| largest.max(share)))
}

fn conv2d(s: &Conv2DSettings) -> Conv2D {
    Conv2D::new(s.filters, s.kernel_size)
        .strides(s.strides)
        .padding(s.padding)
        .dilation(s.dilation)
        .bias(s.use_bias)
        .activation(s.activation)
}

fn max_pooling2d(s: &MaxPooling2DSettings) -> MaxPooling2D {
    MaxPooling2D::new(s.pool_size).strides(s.strides).padding(s.padding)
}

fn dense(s: &DenseSettings) -> Dense {
    Dense::new(s.units).bias(s.use_bias).activation(s.activation)
}

/// A layer's output and gradients.
fn layer<T: Scalar>(case: &Case, layer: impl Layer<T>) -> Outcome {
    let mut run = loaded(case, layer, &case.array("x"));
    run.forward();
    let y = case.matches("y", run.y());
    if !case.has("dy") {
        return y;
    }
    run.dy_mut().assign(&case.array("dy"));
    run.backward(true);
    let parameters = parameter_gradients(case, &run);
    largest([y, case.matches("dx", run.dx()), parameters])
}

/// Flatten, then Dense.
fn flatten_dense<T: Scalar>(case: &Case, s: &DenseSettings) -> Outcome {
    let mut flatten = loaded::<T>(case, Flatten::new(), &case.array("x"));
    flatten.forward();
    let mut run = loaded(case, dense(s), &flatten.y().to_owned());
    run.forward();
    run.dy_mut().assign(&case.array("dy"));
    run.backward(true);
    flatten.dy_mut().assign(&run.dx());
    flatten.backward(true);
    let parameters = parameter_gradients(case, &run);
    largest([case.matches("y", run.y()), case.matches("dx", flatten.dx()), parameters])
}

/// A layer with the case's parameters and this input.
fn loaded<T: Scalar>(case: &Case, layer: impl Layer<T>, x: &ArrayD<T>) -> LayerRun<T> {
    let mut run = LayerRun::new(layer, &x.shape()[1..], x.shape()[0], 0).unwrap();
    run.x_mut().assign(x);
    for entry in run.layout().entries().to_vec() {
        let values = case.array::<T>(entry.name().rsplit('/').next().unwrap());
        assert_eq!(values.shape(), entry.shape(), "{}: {}", case.name, entry.name());
        run.parameters_mut()[entry.range()].copy_from_slice(values.as_slice().unwrap());
    }
    run.spoil();
    run
}

fn parameter_gradients<T: Scalar>(case: &Case, run: &LayerRun<T>) -> Outcome {
    largest(run.layout().entries().iter().map(|entry| {
        let role = format!("d{}", entry.name().rsplit('/').next().unwrap());
        let gradient = ArrayViewD::from_shape(entry.shape(), &run.gradients()[entry.range()]).unwrap();
        case.matches(&role, gradient)
    }))
}

/// A loss's values and gradient; `softmax` if the outputs are what comes before a Softmax that it sees through.
fn loss<T: Scalar>(case: &Case, loss: &dyn Loss<T>, softmax: bool) -> Outcome {
    let y = case.array::<T>("y");
    let targets: Targets<T> = if case.has("classes") {
        case.indices("classes").into_dimensionality().map(Targets::Classes).unwrap()
    } else {
        case.array("targets").into()
    };
    loss.check(&y.shape()[1..], &targets.view()).map_err(|error| error.to_string())?;
    assert!(!softmax || loss.fuses_softmax(), "{}", case.name);
    let weights = case.has("weights").then(|| case.array::<T>("weights"));
    let mut losses = vec![T::nan(); y.shape()[0]];
    let mut dy = ArrayD::from_elem(y.raw_dim(), T::nan());
    loss.evaluate(LossPass {
        y: y.view(),
        from_logits: softmax,
        targets: targets.view(),
        weights: weights.as_ref().and_then(|weights| weights.as_slice()),
        batch: losses.len(),
        losses: &mut losses,
        dy: Some(dy.view_mut()),
    });
    let mean = losses.iter().copied().sum::<T>() / T::of(losses.len() as f64);
    largest([
        case.matches("losses", ArrayViewD::from_shape(IxDyn(&[losses.len()]), &losses).unwrap()),
        case.matches("loss", arr0(mean).into_dyn().view()),
        case.matches("dy", dy.view()),
    ])
}

fn rmsprop(s: &RmspropSettings) -> RMSprop {
    let start = if s.form == Form::Keras { RMSprop::default() } else { RMSprop::pytorch() };
    start.rho(s.rho).momentum(s.momentum).epsilon(s.epsilon).centered(s.centered).weight_decay(s.weight_decay)
}

fn sgd(s: &SgdSettings) -> SGD {
    let start = if s.form == Form::Keras { SGD::default() } else { SGD::pytorch() };
    start.momentum(s.momentum).nesterov(s.nesterov).weight_decay(s.weight_decay)
}

fn adam(s: &AdamSettings) -> Adam {
    let start = if s.form == Form::Keras { Adam::default() } else { Adam::pytorch() };
    start.beta_1(s.beta_1).beta_2(s.beta_2).epsilon(s.epsilon).amsgrad(s.amsgrad).weight_decay(s.weight_decay)
}

/// The weights after each step.
fn optimizer<T: Scalar>(case: &Case, mut optimizer: impl Optimizer<T>) -> Outcome {
    let (rates, gradients) = (case.array::<f64>("learning_rates"), case.array::<T>("gradients"));
    let mut parameters = case.array::<T>("initial").into_raw_vec_and_offset().0;
    let mut slots = vec![vec![T::zero(); parameters.len()]; optimizer.slots()];
    let mut weights = ArrayD::zeros(gradients.raw_dim());
    for (i, &rate) in rates.iter().enumerate() {
        optimizer.set_learning_rate(rate);
        optimizer.check().map_err(|error| error.to_string())?;
        let mut slots: Vec<_> = slots.iter_mut().map(Vec::as_mut_slice).collect();
        optimizer.update(Update {
            factors: Default::default(),
            step: i as u64 + 1,
            parameters: &mut parameters,
            gradients: gradients.index_axis(Axis(0), i).to_slice().unwrap(),
            slots: &mut slots,
        });
        weights.index_axis_mut(Axis(0), i).iter_mut().zip(&parameters).for_each(|(to, &from)| *to = from);
    }
    case.matches("weights", weights.view())
}

/// A whole run: the loss of each batch before its step, and the parameters after the last.
fn training<T: Scalar>(case: &Case, s: &TrainingSettings) -> Outcome {
    let (x, classes) = (case.array::<T>("x"), case.indices("classes").into_dimensionality().unwrap());
    let mut model = Sequential::<T>::with_input(&x.shape()[1..]);
    for layer in &s.layers {
        model = add(model, layer);
    }
    let mut model = model.build(0).map_err(|error| error.to_string())?;
    let names: Vec<String> = model.layout().entries().iter().map(|entry| entry.name().to_owned()).collect();
    for name in &names {
        model.parameter_mut(name).unwrap().assign(&case.array(&format!("initial/{name}")));
    }
    let mut trainer: Trainer<T> = match &*s.optimizer {
        Settings::Rmsprop(o) => {
            model.compile(rmsprop(o).learning_rate(s.learning_rate), CategoricalCrossentropy::new())
        }
        Settings::Sgd(o) => model.compile(sgd(o).learning_rate(s.learning_rate), CategoricalCrossentropy::new()),
        Settings::Adam(o) => model.compile(adam(o).learning_rate(s.learning_rate), CategoricalCrossentropy::new()),
        other => panic!("{other:?} is no optimizer"),
    };
    let mut losses = vec![];
    for _ in 0..s.epochs {
        let batches = x.axis_chunks_iter(Axis(0), s.batch_size).zip(classes.axis_chunks_iter(Axis(0), s.batch_size));
        for (x, classes) in batches {
            losses.push(trainer.train_step(&x, TargetsView::Classes(classes)).map_err(|error| error.to_string())?);
        }
    }
    let model = trainer.into_model();
    let parameters = names.iter().map(|name| case.matches(&format!("final/{name}"), model.parameter(name).unwrap()));
    largest(parameters.chain([case.matches_numbers("losses", &losses)]))
}

fn add<T: Scalar>(model: Sequential<T>, layer: &Settings) -> Sequential<T> {
    match layer {
        Settings::Conv2D(s) => model.add(conv2d(s)),
        Settings::MaxPooling2D(s) => model.add(max_pooling2d(s)),
        Settings::Dense(s) => model.add(dense(s)),
        Settings::Relu {} => model.add(ReLU::new()),
        Settings::Softmax {} => model.add(Softmax::new()),
        Settings::Flatten {} => model.add(Flatten::new()),
        other => panic!("{other:?} is no layer"),
    }
}

/// Bounds and moments of a kernel drawn by a layer. Keras's numbers are others, so all four differ by chance.
fn initializer<T: Scalar>(case: &Case, s: &InitializerSettings) -> Outcome {
    let initializer = s.initializer;
    let model = match s.shape[..] {
        [inputs, units] => {
            Sequential::<T>::with_input([inputs]).add(Dense::new(units).kernel_initializer(initializer).bias(false))
        }
        [height, width, channels, filters] => {
            let conv = Conv2D::new(filters, (height, width)).kernel_initializer(initializer).bias(false);
            Sequential::<T>::with_input([height, width, channels]).add(conv)
        }
        _ => panic!("{}: {:?} is no kernel", case.name, s.shape),
    };
    let model = model.build(0).map_err(|error| error.to_string())?;
    let values: Vec<f64> = model.values().iter().map(|value| value.to_f64().unwrap()).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let (bounds, moments) = (case.array::<f64>("bounds"), case.array::<f64>("moments"));
    let sigma = moments[[1]].sqrt();
    // A bounded distribution's outermost of 10⁴ numbers are within some hundredths of σ of the bounds; those of a normal
    // distribution lie about 4 σ out, give or take ½ σ. Means and variances have standard errors of σ/√n and at most
    // σ²·√(2/n); five of them, for a difference of two.
    let reach = if matches!(initializer, Initializer::Normal { .. }) { 1.5 * sigma } else { 0.1 * sigma };
    let errors = 5.0 * std::f64::consts::SQRT_2 / count.sqrt();
    // what was rounded to f32 on the way
    let rounding = 1e-6;
    let differences = [
        ("the least", values.iter().copied().fold(f64::INFINITY, f64::min), bounds[[0]], reach),
        ("the largest", values.iter().copied().fold(f64::NEG_INFINITY, f64::max), bounds[[1]], reach),
        ("the mean", mean, moments[[0]], errors * sigma),
        ("the variance", variance, moments[[1]], errors * std::f64::consts::SQRT_2 * sigma * sigma),
    ];
    largest(differences.map(|(what, got, want, allowed)| match (got - want).abs() / (allowed + rounding) {
        share if share <= 1.0 => Ok(share),
        _ => Err(format!("{what} is {got}, expected {want} ± {allowed}")),
    }))
}

/// What scikit-learn counts: by class, averaged, and among the first k.
fn classification<T: Scalar>(case: &Case, s: &ClassificationSettings) -> Outcome {
    let (scores, classes) = (case.array::<T>("scores"), case.indices("classes").into_dimensionality().unwrap());
    let targets = TargetsView::Classes(classes.view());
    let count = |metric: &mut dyn Metric<T>| {
        metric.check(&[s.num_classes], &targets).unwrap();
        metric.update(scores.view(), &targets);
        metric.value()
    };
    let mut confusion = ConfusionMatrix::new();
    confusion.add(scores.view(), &targets).map_err(|error| error.to_string())?;
    let counts = confusion.counts().mapv(|count| usize::try_from(count).unwrap()).into_dyn();
    if counts != case.indices("confusion") {
        return Err(format!("confusion: got {counts}, expected {}", case.indices("confusion")));
    }
    let (mut precision, mut recall, mut f1) = (Precision::new(), Recall::new(), F1::new());
    let averages = [count(&mut precision), count(&mut recall), count(&mut f1)];
    let top_k: Vec<f64> = s.top_k.iter().map(|&k| count(&mut TopKAccuracy::new(k))).collect();

    // the averages that are no metrics of their own follow from the counts and the values by class
    let total = confusion.counts().sum() as f64;
    let accuracy = count(&mut Accuracy::new());
    let by_class = [precision.per_class(), recall.per_class(), f1.per_class()];
    let shares = confusion.counts().sum_axis(Axis(1)).mapv(|count| count as f64 / total);
    let weighted = by_class.each_ref().map(|values| (values * &shares).sum());
    largest([
        case.matches_numbers("accuracy", &[accuracy]),
        case.matches_numbers("precision", by_class[0].as_slice().unwrap()),
        case.matches_numbers("recall", by_class[1].as_slice().unwrap()),
        case.matches_numbers("f1", by_class[2].as_slice().unwrap()),
        case.matches_numbers("macro", &averages),
        case.matches_numbers("weighted", &weighted),
        case.matches_numbers("micro", &[accuracy; 3]),
        case.matches_numbers("top_k", &top_k),
    ])
}
