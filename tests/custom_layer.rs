//! Layers, losses, optimizers and metrics of other crates: written with what is public, and trained together in one model.

mod common;

use std::sync::{Arc, Mutex};

use common::{bits, numbers, pool};
use ndarray_rand::rand::{Rng, SeedableRng};
use plywood::data::TargetsView;
use plywood::layers::{Backward, Forward, ParameterSpec, Phase, Plan, Scratch};
use plywood::losses::LossPass;
use plywood::model::SequentialBuilder;
use plywood::ndarray::{Array1, Array2, ArrayD, ArrayViewD, Axis, Zip};
use plywood::optimizers::Update;
use plywood::prelude::*;
use plywood::testing::{check_layer, check_loss, check_metric, check_optimizer};
use rand_chacha::ChaCha8Rng;

/// Layer normalization: y = γ ⊙ (x − μ) / √(σ² + ε) + β, with mean μ and variance σ² of a sample's features. It keeps both
/// in its scratch.
#[derive(Debug, Clone)]
struct LayerNormalization {
    epsilon: f64,
}

impl LayerNormalization {
    /// (x − μ) · r, where r = 1/√(σ² + ε).
    fn normalized<T: Scalar>(x: ArrayViewD<'_, T>, [mean, r]: [T; 2]) -> ArrayD<T> {
        x.mapv(|x| (x - mean) * r)
    }
}

impl<T: Scalar> Layer<T> for LayerNormalization {
    fn kind(&self) -> &'static str {
        "layer_normalization"
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        let &[features] = input else {
            return Err(Error::layer(
                "layer_normalization",
                "wants samples of shape [features]; put Flatten before it",
            ));
        };
        if self.epsilon <= 0.0 {
            return Err(Error::invalid_parameter("layer_normalization", "epsilon", self.epsilon, "above 0"));
        }
        Ok(Plan::new(input)
            .parameter(ParameterSpec::new("gamma", [features], Initializer::Ones))
            .parameter(ParameterSpec::new("beta", [features], Initializer::Zeros)))
    }

    fn scratch(&self, _: &[usize], batch: usize, _: Phase) -> Scratch {
        Scratch { values: 2 * batch, indices: 0 }
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        let [gamma, beta] = pass.parameters.split();
        let statistics = pass.scratch.values.as_chunks_mut::<2>().0;
        for ((x, mut y), statistics) in pass.x.outer_iter().zip(pass.y.outer_iter_mut()).zip(statistics) {
            let mean = x.mean().expect("there are features");
            let variance = x.mapv(|x| (x - mean).powi(2)).mean().expect("there are features");
            *statistics = [mean, (variance + T::of(self.epsilon)).sqrt().recip()];
            y.assign(&(Self::normalized(x, *statistics) * &gamma + &beta));
        }
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        let [gamma, _] = pass.parameters.split();
        let [mut dgamma, mut dbeta] = pass.gradients.split();
        dgamma.fill(T::zero());
        dbeta.fill(T::zero());
        let statistics = pass.scratch.values.as_chunks::<2>().0;
        for (i, (x, dy)) in pass.x.outer_iter().zip(pass.dy.outer_iter()).enumerate() {
            let normalized = Self::normalized(x, statistics[i]);
            dgamma += &(&dy * &normalized);
            dbeta += &dy;
            if let Some(dx) = &mut pass.dx {
                let d = &dy * &gamma;
                let mean = d.mean().expect("there are features");
                let slope = (&d * &normalized).mean().expect("there are features");
                Zip::from(dx.index_axis_mut(Axis(0), i))
                    .and(&d)
                    .and(&normalized)
                    .for_each(|dx, &d, &normalized| *dx = (d - mean - normalized * slope) * statistics[i][1]);
            }
        }
    }
}

/// Dropout: in training, half of the features become zero and the others double.
#[derive(Debug, Clone)]
struct Halve;

impl<T: Scalar> Layer<T> for Halve {
    fn kind(&self) -> &'static str {
        "halve"
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        Ok(Plan::new(input))
    }

    fn scratch(&self, input: &[usize], batch: usize, _: Phase) -> Scratch {
        Scratch { values: batch * input.iter().product::<usize>(), indices: 0 }
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        pass.y.assign(&pass.x);
        let Some(number) = pass.training else { return };
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        for (y, factor) in pass.y.iter_mut().zip(pass.scratch.values) {
            *factor = T::of(if rng.random() { 2.0 } else { 0.0 });
            *y *= *factor;
        }
    }

    fn backward(&self, pass: Backward<'_, T>) {
        let Some(mut dx) = pass.dx else { return };
        dx.assign(&pass.dy);
        dx.iter_mut().zip(pass.scratch.values).for_each(|(dx, factor)| *dx *= *factor);
    }
}

/// The Huber loss: e²/2 for errors e of up to 1, |e| − 1/2 beyond; the mean over a sample's outputs.
#[derive(Debug)]
struct Huber;

impl<T: Scalar> Loss<T> for Huber {
    fn name(&self) -> &'static str {
        "huber"
    }

    fn check(&self, output: &[usize], targets: &TargetsView<'_, T>) -> Result<()> {
        match targets {
            TargetsView::Values(values) if values.shape().get(1..) == Some(output) => Ok(()),
            _ => Err(Error::Targets {
                owner: "huber",
                got: "other targets".to_owned(),
                expected: "values of the shape of the model's output".to_owned(),
            }),
        }
    }

    fn evaluate(&self, mut pass: LossPass<'_, T>) {
        let TargetsView::Values(targets) = pass.targets else { unreachable!("check has refused class indices") };
        let (batch, half) = (pass.losses.len(), T::of(0.5));
        let n = T::of((pass.y.len() / batch) as f64);
        for i in 0..batch {
            let weight = pass.weights.map_or(T::one(), |weights| weights[i]);
            let errors = &pass.y.index_axis(Axis(0), i) - &targets.index_axis(Axis(0), i);
            let huber = |e: &T| if e.abs() <= T::one() { half * *e * *e } else { e.abs() - half };
            pass.losses[i] = weight * errors.iter().map(huber).sum() / n;
            if let Some(dy) = &mut pass.dy {
                let scale = weight / (n * T::of(batch as f64));
                dy.index_axis_mut(Axis(0), i).assign(&errors.mapv(|e| e.max(-T::one()).min(T::one()) * scale));
            }
        }
    }
}

/// Adagrad: v ← v + g², w ← w − lr·g / (√v + ε).
#[derive(Debug, Clone)]
struct Adagrad {
    learning_rate: f64,
}

impl<T: Scalar> Optimizer<T> for Adagrad {
    fn name(&self) -> &'static str {
        "Adagrad"
    }

    fn slots(&self) -> usize {
        1
    }

    fn check(&self) -> Result<()> {
        if self.learning_rate >= 0.0 && self.learning_rate.is_finite() {
            return Ok(());
        }
        let expected = "a finite number of at least 0";
        Err(Error::invalid_parameter("Adagrad", "learning_rate", self.learning_rate, expected))
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    fn update(&self, piece: Update<'_, '_, T>) {
        let [v] = piece.slots else { unreachable!("it asked for one slot") };
        for ((w, &g), v) in piece.parameters.iter_mut().zip(piece.gradients).zip(v.iter_mut()) {
            *v += g * g;
            *w -= T::of(self.learning_rate) * g / (v.sqrt() + T::of(1e-7));
        }
    }
}

/// The mean absolute error of all outputs.
#[derive(Debug, Default)]
struct MeanAbsoluteError {
    sum: f64,
    seen: usize,
}

impl<T: Scalar> Metric<T> for MeanAbsoluteError {
    fn name(&self) -> &str {
        "mean_absolute_error"
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn update(&mut self, predictions: ArrayViewD<'_, T>, targets: &TargetsView<'_, T>) {
        let TargetsView::Values(targets) = targets else { unreachable!("the loss has refused class indices") };
        let errors = predictions.iter().zip(targets).map(|(&y, &t)| (y - t).abs().to_f64().expect("a float"));
        self.sum += errors.sum::<f64>();
        self.seen += predictions.len();
    }

    fn value(&self) -> f64 {
        self.sum / self.seen as f64
    }
}

fn model<T: Scalar>() -> Sequential<T> {
    Sequential::with_input([6])
        .add(Dense::new(16))
        .add(LayerNormalization { epsilon: 1e-3 })
        .add(ReLU::new())
        .add(LayerNormalization { epsilon: 1e-3 })
        .add(Dense::new(2))
        .build(1)
        .expect("the shapes fit")
}

/// Two smooth functions of six numbers.
fn data<T: Scalar>(samples: usize, seed: u64) -> Dataset<T> {
    let x = numbers::<T>(&[samples, 6], seed);
    let targets = Array2::from_shape_fn((samples, 2), |(i, j)| (x[[i, j]] + x[[i, j + 2]]).sin() + x[[i, 5]]);
    Dataset::new(x, targets).expect("as many targets as inputs")
}

#[test]
fn everything_of_ones_own_learns() {
    let run = || {
        let (train, validation) = (data::<f32>(256, 1), data(64, 2));
        let optimizer = Adagrad { learning_rate: 0.1 };
        let mut trainer = model().compile(optimizer, Huber).metric(MeanAbsoluteError::default());
        let history = trainer.fit(&train, &Fit::epochs(40).batch_size(24).validation(&validation)).unwrap();
        (history, trainer.into_model())
    };
    let (history, model) = pool(1).install(run);
    assert_eq!(history.names(), ["loss", "mean_absolute_error", "val_loss", "val_mean_absolute_error"]);
    let (first, last) = (history.get("loss").unwrap()[0], history.last("loss").unwrap());
    assert!(last < 0.2 * first, "the loss went from {first} to {last}");
    assert!(history.last("val_mean_absolute_error").unwrap() < 0.3, "{}", history.to_csv());

    let names: Vec<_> = model.layout().entries().iter().map(|entry| entry.name()).collect();
    let normalizations = ["layer_normalization/gamma", "layer_normalization/beta"];
    assert_eq!(names[2..4], normalizations);
    assert_eq!(names[4..6], normalizations.map(|name| name.replace('/', "_1/")));
    assert!(model.parameter("layer_normalization_1/gamma").unwrap().iter().any(|&gamma| gamma != 1.0));
    assert!(model.summary().ascii(false).to_string().contains("│ layer_normalization_1"));
    assert!(model.summary().ascii(false).to_string().contains("(LayerNormalization)"));

    let (_, again) = pool(3).install(run);
    assert_eq!(bits(again.values()), bits(model.values()));
}

/// Through the test kit, as the crate's own.
#[test]
fn everything_of_ones_own_keeps_its_contract() {
    check_layer(LayerNormalization { epsilon: 1e-3 }, [5]).unwrap();
    check_layer(Halve, [3, 4]).unwrap();
    // errors on both sides of 1, and of both signs
    let (outputs, targets) = (numbers::<f64>(&[5, 3], 1) * 2.0, numbers::<f64>(&[5, 3], 2) * 2.0);
    check_loss(Huber, &outputs, targets.clone()).unwrap();
    check_optimizer(Adagrad { learning_rate: 0.1 }).unwrap();
    check_metric(MeanAbsoluteError::default(), &outputs, targets).unwrap();
}

/// Of ones, halved n times and squared, the mean is 4ⁿ times the share that is left: 2ⁿ, if the layers draw apart.
#[test]
fn layers_draw_in_training_and_nowhere_else() {
    let x = Array2::<f32>::ones((4, 1000));
    let zeros = Dataset::new(x.clone(), Array2::zeros((4, 1000))).unwrap();
    for layers in [1, 2] {
        let losses = |seed| {
            let mut model = Sequential::input([1000]);
            for _ in 0..layers {
                model = model.add(Halve);
            }
            let mut trainer = model.build(seed).unwrap().compile(SGD::default(), MeanSquaredError);
            [(); 3].map(|()| {
                let loss = trainer.train_step(zeros.inputs(), zeros.targets()).unwrap();
                assert_eq!(trainer.model().predict(&x).unwrap(), x.clone().into_dyn());
                assert_eq!(trainer.evaluate(&zeros).unwrap().loss, 1.0);
                loss
            })
        };
        let steps = losses(1);
        assert!(steps[0] != steps[1] && steps[1] != steps[2], "steps draw apart: {steps:?}");
        // five standard errors, 4ⁿ·√(p·(1 − p) / 4000) with p = 2⁻ⁿ
        let (p, mean) = (0.5_f64.powi(layers), 2.0_f64.powi(layers));
        let margin = 5.0 * mean * mean * (p * (1.0 - p) / 4000.0).sqrt();
        assert!(steps.iter().all(|loss| (loss - mean).abs() < margin), "{layers} layers: {steps:?}");
        assert_eq!(losses(1), steps);
        assert_ne!(losses(2), steps);
    }
}

/// A layer whose plan is wrong, each time in another way.
#[derive(Debug, Clone)]
struct Wrong {
    output: Vec<usize>,
    parameter: ParameterSpec,
}

impl<T: Scalar> Layer<T> for Wrong {
    fn kind(&self) -> &'static str {
        "wrong"
    }

    fn plan(&self, _: &[usize]) -> Result<Plan> {
        Ok(Plan::new(self.output.clone()).parameter(self.parameter.clone()))
    }

    fn forward(&self, _: Forward<'_, T>) {
        unreachable!("no model with it can be built")
    }

    fn backward(&self, _: Backward<'_, T>) {
        unreachable!("no model with it can be built")
    }
}

#[test]
fn errors_have_the_layers_name_in_the_model() {
    let spec = |size: usize| ParameterSpec::new("weight", [size, 2], Initializer::GlorotUniform);
    let images = || Sequential::input([4, 4, 1]).add(Flatten::new());
    let good = || LayerNormalization { epsilon: 1e-3 };
    for (model, message) in [
        (
            images().add(good()).add(Dense::new(3)).add(LayerNormalization { epsilon: 0.0 }),
            "layer_normalization_1: epsilon is 0, expected above 0",
        ),
        (
            Sequential::input([4, 4, 1]).add(good()),
            "layer_normalization: wants samples of shape [features]; put Flatten before it",
        ),
        (
            images().add(Wrong { output: vec![3, 0], parameter: spec(1) }),
            "wrong: puts out samples of shape 3×0, expected sizes of at least 1",
        ),
        (
            images().add(Wrong { output: vec![usize::MAX, 2], parameter: spec(1) }),
            "wrong: the output would have more elements than fit into memory; use fewer",
        ),
        (
            images().add(Wrong { output: vec![1], parameter: spec(usize::MAX) }),
            "wrong: weight would have more elements than fit into memory; use fewer",
        ),
        (
            images().add(Wrong { output: vec![1], parameter: spec(1).fans(0, 1) }),
            "wrong: fan_in is 0, expected at least 1",
        ),
    ] {
        assert_eq!(model.build(0).unwrap_err().to_string(), message);
    }

    let mut trainer = model::<f32>().compile(Adagrad { learning_rate: -1.0 }, Huber);
    let before = trainer.model().values().to_vec();
    let refused = |error: Result<f64>| error.unwrap_err().to_string();
    let (good, classes) = (data(3, 1), Array1::<usize>::zeros(3));
    assert_eq!(
        refused(trainer.train_step(good.inputs(), good.targets())),
        "Adagrad: learning_rate is -1, expected a finite number of at least 0"
    );
    trainer.optimizer_mut().set_learning_rate(0.1);
    assert_eq!(
        refused(trainer.train_step(good.inputs(), &classes)),
        "huber: got other targets, expected values of the shape of the model's output"
    );
    assert_eq!(trainer.model().values(), before);
}

/// y = x, by any name.
#[derive(Debug, Clone)]
struct Identity(&'static str);

impl<T: Scalar> Layer<T> for Identity {
    fn kind(&self) -> &'static str {
        self.0
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        Ok(Plan::new(input))
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        pass.y.assign(&pass.x);
    }

    fn backward(&self, pass: Backward<'_, T>) {
        if let Some(mut dx) = pass.dx {
            dx.assign(&pass.dy);
        }
    }
}

/// Else two layers' parameters would have one name, and a file would hold one of them.
#[test]
fn no_two_layers_have_one_name() {
    let names = |layers: [&'static str; 4]| {
        let model = layers.into_iter().fold(Sequential::input([1]), |model, kind| model.add(Identity(kind)));
        model.build(0).unwrap().layers().iter().map(|layer| layer.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(["a", "a", "a_1", "a"]), ["a", "a_1", "a_1_1", "a_2"]);
    assert_eq!(names(["a_1", "a", "a", "a_1"]), ["a_1", "a", "a_2", "a_1_1"]);
}

/// A layer that panics wherever it computes, on whichever thread.
#[derive(Debug, Clone)]
struct Panics;

impl<T: Scalar> Layer<T> for Panics {
    fn kind(&self) -> &'static str {
        "panics"
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        Ok(Plan::new(input))
    }

    fn forward(&self, _: Forward<'_, T>) {
        rayon::join(|| (), || rayon::join(|| (), || assert!(T::NAME.is_empty(), "there is a fault")));
    }

    fn backward(&self, _: Backward<'_, T>) {}
}

/// What the next test runs in a process of its own.
#[test]
#[ignore = "panics"]
fn a_layer_that_panics() {
    let failure = check_layer(Panics, [3]).unwrap_err();
    eprintln!("{failure}");
    std::thread::spawn(|| panic!("a panic of somebody else")).join().unwrap_err();
}

/// A check that fails prints a line for each thing looked at, and not a backtrace for each panic; other panics are still
/// shown.
#[test]
fn panics_of_what_is_checked_are_silent() {
    let program = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(program);
    child.args(["a_layer_that_panics", "--exact", "--ignored", "--nocapture"]).env("RUST_BACKTRACE", "1");
    let output = child.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    let lines: Vec<_> = printed.lines().filter(|line| line.contains("there is a fault")).collect();
    assert!(lines.iter().all(|line| line.contains("  FAILED ")), "{printed}");
    assert!(lines.iter().all(|line| line.contains(" (tests/custom_layer.rs:")), "{printed}");
    assert!(lines.len() > 5, "{printed}");
    assert_eq!(printed.lines().filter(|line| line.contains("panicked at")).count(), 1, "{printed}");
    assert!(printed.contains("a panic of somebody else"), "{printed}");
}

/// y = x, with so many parameters that change nothing; notes whether its backward pass was asked for dx.
#[derive(Debug, Clone)]
struct Asked {
    parameters: usize,
    asked: Arc<Mutex<Vec<bool>>>,
}

impl<T: Scalar> Layer<T> for Asked {
    fn kind(&self) -> &'static str {
        "asked"
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        let parameter = |_| ParameterSpec::new("nothing", [1], Initializer::Zeros);
        Ok((0..self.parameters).map(parameter).fold(Plan::new(input), Plan::parameter))
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        pass.y.assign(&pass.x);
    }

    fn backward(&self, pass: Backward<'_, T>) {
        self.asked.lock().unwrap().push(pass.dx.is_some());
        if self.parameters > 0 {
            let [mut nothing] = pass.gradients.split();
            nothing.fill(T::zero());
        }
        if let Some(mut dx) = pass.dx {
            dx.assign(&pass.dy);
        }
    }
}

/// Before the first parameters nothing learns, and no gradient is needed.
#[test]
fn backward_goes_as_far_as_parameters() {
    // how many parameters each layer has, and what each is asked in a step
    let cases: [(&[usize], &[&[bool]]); 5] = [
        (&[1, 0, 1], &[&[false], &[true], &[true]]),
        (&[0, 1, 0], &[&[], &[false], &[true]]),
        (&[0, 0, 1], &[&[], &[], &[false]]),
        (&[1], &[&[false]]),
        (&[0, 0], &[&[], &[]]),
    ];
    for (parameters, expected) in cases {
        let layers: Vec<Asked> =
            parameters.iter().map(|&parameters| Asked { parameters, asked: Arc::default() }).collect();
        let model = layers.iter().fold(Sequential::input([3]), |model, layer| model.add(layer.clone()));
        let mut trainer = model.build(1).unwrap().compile(SGD::new(0.1), MeanSquaredError);
        trainer.train_step(&numbers(&[4, 3], 1), &numbers(&[4, 3], 2)).unwrap();
        let asked: Vec<Vec<bool>> = layers.iter().map(|layer| layer.asked.lock().unwrap().clone()).collect();
        assert_eq!(asked, expected, "{parameters:?} parameters");
    }
}

/// A layer without parameters in front changes no bit of what comes after it.
#[test]
fn nothing_learns_otherwise_behind_a_layer_without_parameters() {
    let (x, t) = (numbers::<f32>(&[6, 8, 8, 2], 1).mapv(f32::abs), numbers::<f32>(&[6, 3], 2));
    let run = |model: SequentialBuilder| {
        let model = model.add(Conv2D::new(4, 3)).add(Flatten::new()).add(Dense::new(3)).build(1).unwrap();
        let mut trainer = model.compile(RMSprop::new(0.01), MeanSquaredError);
        for _ in 0..3 {
            trainer.train_step(&x, &t).unwrap();
        }
        bits(trainer.model().values())
    };
    let input = || Sequential::input([8, 8, 2]);
    assert_eq!(run(input().add(ReLU::new())), run(input()));
}
