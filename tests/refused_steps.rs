//! A step is taken as a whole or not at all: one that would make a weight infinite or NaN, or what the optimizer remembers
//! of it, is an error and has changed nothing.

mod common;

use common::bits;
use plywood::callbacks::{BatchEnd, on_batch_end};
use plywood::losses::LossPass;
use plywood::model::NonFiniteLoss;
use plywood::ndarray::{Array2, array};
use plywood::optimizers::{Adam, Update};
use plywood::prelude::*;

/// An optimizer of a user's own, which knows nothing of its reach: plain descent that remembers how far it went.
#[derive(Debug, Clone)]
struct Descent(f64);

impl<T: Scalar> Optimizer<T> for Descent {
    fn name(&self) -> &'static str {
        "Descent"
    }
    fn slots(&self) -> usize {
        1
    }
    fn check(&self) -> Result<()> {
        Ok(())
    }
    fn learning_rate(&self) -> f64 {
        self.0
    }
    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.0 = learning_rate;
    }
    fn update(&self, piece: Update<'_, '_, T>) {
        let [way] = piece.slots else { panic!("it asked for one slot") };
        for ((w, &g), way) in piece.parameters.iter_mut().zip(piece.gradients).zip(way.iter_mut()) {
            let step = T::of(self.0) * g;
            *w -= step;
            *way += step;
        }
    }
}

/// Features, so that the kernel is cut into several pieces.
const FEATURES: usize = 40_000;

/// y = x·W, where all of W is 10⁻³⁰.
fn trainer(optimizer: impl Optimizer<f32> + 'static) -> Trainer {
    let kernel = Initializer::Constant { value: 1e-30 };
    let layer = Dense::new(1).bias(false).kernel_initializer(kernel);
    let model = Sequential::input([FEATURES]).add(layer).build(1).expect("the shapes fit");
    model.compile(optimizer, MeanSquaredError)
}

/// One sample with a single feature that is not 0, and its target.
fn batch(feature: usize, x: f32, target: f32) -> (Array2<f32>, Array2<f32>) {
    let mut sample = Array2::zeros((1, FEATURES));
    sample[[0, feature]] = x;
    (sample, array![[target]])
}

/// What a trainer is, without its buffers.
fn state(trainer: &Trainer) -> (u64, Vec<u64>) {
    (trainer.step(), bits(trainer.model().values()))
}

/// Takes good steps, one that must be refused and good ones again, beside a trainer that never sees the bad batch.
#[track_caller]
fn is_refused(optimizer: impl Optimizer<f32> + Clone + 'static, bad: &(Array2<f32>, Array2<f32>), expected: &str) {
    let (mut trainer, mut other) = (trainer(optimizer.clone()), trainer(optimizer));
    let good = [batch(FEATURES - 1, 1.0, 0.5), batch(0, -1.0, 0.25), batch(20_000, 2.0, 0.5)];
    for (x, t) in &good[..2] {
        trainer.train_step(x, t).unwrap();
        other.train_step(x, t).unwrap();
    }
    for _ in 0..2 {
        let error = trainer.train_step(&bad.0, &bad.1).unwrap_err();
        assert!(matches!(error, Error::NonFiniteStep { epoch: 1, batch: 3, .. }), "{error}");
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(state(&trainer), state(&other));
    }
    // what the optimizer remembers shows in the steps to come
    for (x, t) in good.iter().chain(&good) {
        trainer.train_step(x, t).unwrap();
        other.train_step(x, t).unwrap();
    }
    assert_eq!(state(&trainer), state(&other));
}

#[test]
fn gradients_that_overflow() {
    // y = 1, the loss is 10³⁶, dy = 2·10¹⁸ and dW = 2·10⁴⁸
    let bad = batch(FEATURES - 2, 1e30, -1e18);
    let of =
        |value: &str| format!("the step of epoch 1, batch 3 would make dense/kernel {value}, on a gradient of inf;");
    is_refused(SGD::new(0.1), &bad, &of("-inf"));
    is_refused(SGD::new(0.1).momentum(0.9), &bad, &of("-inf"));
    is_refused(SGD::pytorch().momentum(0.9).nesterov(true), &bad, &of("-inf"));
    is_refused(RMSprop::new(0.1), &bad, &of("NaN"));
    is_refused(RMSprop::pytorch().centered(true).momentum(0.9), &bad, &of("NaN"));
    is_refused(Adam::new(0.1), &bad, &of("NaN"));
    is_refused(Adam::pytorch().amsgrad(true), &bad, &of("NaN"));
    is_refused(Descent(0.1), &bad, &of("-inf"));
}

#[test]
fn memories_that_overflow() {
    // dW = 2·10²⁵ is a number, its square is none; the parameter would stay, and never move again
    let bad = batch(FEATURES - 2, 1e15, -1e10);
    let of = |name: &str| {
        format!("the step of epoch 1, batch 3 would make {name}'s memory of dense/kernel inf, on a gradient")
    };
    is_refused(RMSprop::new(0.1), &bad, &of("RMSprop"));
    is_refused(Adam::new(0.1), &bad, &of("Adam"));
    // with nothing to keep the denominator from 0
    let mut trainer = trainer(Adam::new(0.1).epsilon(0.0));
    let error = trainer.train_step(&bad.0, &bad.1).unwrap_err();
    assert!(matches!(error, Error::NonFiniteStep { epoch: 1, batch: 1, .. }), "{error}");
    assert_eq!(trainer.step(), 0);
}

#[test]
fn settings_that_overflow() {
    let (x, t) = batch(7, 1.0, 0.5);
    for optimizer in [SGD::new(1e20).weight_decay(1e30), SGD::new(1e38), SGD::pytorch().learning_rate(1e38)] {
        let mut trainer = trainer(optimizer);
        let before = state(&trainer);
        // the step of 10³⁸ is still one, the second is not
        let error = (0..4).find_map(|_| {
            let before = state(&trainer);
            let error = trainer.train_step(&x, &t).err()?;
            assert_eq!(state(&trainer), before);
            Some(error)
        });
        let error = error.expect("a loss or step that is not finite");
        assert!(matches!(error, Error::NonFiniteStep { .. } | Error::NonFiniteLoss { .. }), "{error}");
        assert!(trainer.model().values().iter().all(|value| value.is_finite()));
        // and with a sound learning rate it goes on from there
        trainer.model_mut().values_mut().fill(1e-30);
        assert_eq!(state(&trainer).1, before.1);
        trainer.optimizer_mut().set_learning_rate(1e-31);
        trainer.train_step(&x, &t).unwrap();
    }
    let error = trainer(SGD::new(1e20).weight_decay(1e30)).train_step(&x, &t).unwrap_err();
    assert!(matches!(error, Error::NonFiniteStep { batch: 1, .. }), "{error}");
}

#[test]
fn weights_that_come_from_outside() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut trainer = trainer(RMSprop::new(0.1));
        let (x, t) = batch(7, 1.0, 0.5);
        trainer.train_step(&x, &t).unwrap();
        // of a feature that is 0 in the sample, times which infinity is NaN
        trainer.model_mut().values_mut()[8] = bad;
        let error = trainer.train_step(&x, &t).unwrap_err();
        assert!(matches!(error, Error::NonFiniteStep { .. } | Error::NonFiniteLoss { .. }), "{error}");
        trainer.model_mut().values_mut()[8] = 0.0;
        trainer.train_step(&x, &t).unwrap();
    }
}

/// Four batches of one sample, of which the third has an overflowing gradient.
fn fit(policy: NonFiniteLoss) -> (Trainer, Result<History>, Vec<Vec<u64>>) {
    let batches = [batch(0, 1.0, 0.5), batch(1, 1.0, 0.5), batch(2, 1e30, -1e18), batch(3, 1.0, 0.5)];
    let rows = batches.map(|(x, t)| (x.into_raw_vec_and_offset().0, t[[0, 0]]));
    let x = Array2::from_shape_vec((4, FEATURES), rows.iter().flat_map(|(x, _)| x.clone()).collect()).unwrap();
    let t = Array2::from_shape_vec((4, 1), rows.iter().map(|&(_, t)| t).collect()).unwrap();
    let mut trainer = trainer(RMSprop::new(0.1));
    let mut after = vec![];
    let mut note = on_batch_end(|trainer: &mut Trainer, _: &BatchEnd| after.push(bits(trainer.model().values())));
    let settings = Fit::epochs(2).batch_size(1).shuffle(false).non_finite_loss(policy);
    let history = trainer.fit_with(&Dataset::new(x, t).unwrap(), &settings, &mut [&mut note]);
    (trainer, history, after)
}

#[test]
fn the_policy_is_that_of_losses() {
    let (trainer, history, after) = fit(NonFiniteLoss::Error);
    let error = history.unwrap_err();
    assert!(matches!(error, Error::NonFiniteStep { epoch: 1, batch: 3, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "the step of epoch 1, batch 3 would make dense/kernel NaN, on a gradient of inf; lower the learning rate, or look \
         for very large numbers in the data and the weights of samples (the weights have not been changed by this batch)"
    );
    assert_eq!((trainer.step(), after.len()), (2, 2));
    assert_eq!(bits(trainer.model().values()), after[1]);

    let (trainer, history, after) = fit(NonFiniteLoss::Stop);
    let history = history.unwrap();
    assert!(history.len() == 1 && history.last("loss").unwrap().is_finite());
    assert_eq!((trainer.step(), after.len()), (2, 3));
    assert_eq!(bits(trainer.model().values()), after[1]);

    let (trainer, history, after) = fit(NonFiniteLoss::Ignore);
    assert_eq!((history.unwrap().len(), trainer.step(), after.len()), (2, 8, 8));
    assert!(trainer.model().values()[2].is_nan());
}

#[test]
fn large_weights_of_samples_are_numbers_as_long_as_their_product_is() {
    let (y, targets, mut dy) = (array![[1e-3_f32]], array![[0.0_f32]], array![[0.0_f32]]);
    MeanSquaredError.evaluate(LossPass {
        y: y.view().into_dyn(),
        from_logits: false,
        targets: (&targets).into(),
        weights: Some(&[2e38]),
        losses: &mut [0.0],
        dy: Some(dy.view_mut().into_dyn()),
    });
    assert!((dy[[0, 0]] / 4e35 - 1.0).abs() < 1e-6, "{dy}");

    let data = Dataset::new(array![[1.0_f32], [1.0]], array![[0.5_f32], [0.5]]).unwrap();
    let model = Sequential::input([1]).add(Dense::new(1).kernel_initializer(Initializer::Zeros)).build(1).unwrap();
    let mut trainer = model.compile(SGD::new(1e-38), MeanSquaredError);
    trainer.fit(&data, &Fit::epochs(1).sample_weights(&[2e38; 2])).unwrap();
    // 10⁻³⁸ · 2·10³⁸ · 2 · ½
    assert!((trainer.model().values()[0] - 2.0).abs() < 1e-5, "{:?}", trainer.model().values());

    let classes = Dataset::new(array![[1.0_f32], [1.0]], array![0_usize, 1]).unwrap();
    let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(1).unwrap();
    let mut trainer = model.compile(SGD::new(0.1), CategoricalCrossentropy::new());
    let fit = Fit::epochs(1).sample_weights(&[2e38; 2]).class_weights([(1, 10.0)]);
    assert_eq!(
        trainer.fit(&classes, &fit).unwrap_err().to_string(),
        "fit: class_weights is inf where multiplied by a sample's own weight, expected finite numbers of at least 0"
    );
}
