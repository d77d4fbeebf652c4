//! RMSprop, as Keras 3, older Keras and PyTorch have it.

use serde::{Deserialize, Serialize};

use super::settings::{Convention, WeightDecay, as_f64, check_fraction, check_non_negative, reached};
use super::{Magnitudes, Optimizer, Update};
use crate::error::Result;
use crate::kernels::dispatch::vectorized;
use crate::scalar::Scalar;

/// RMSprop: divides each gradient by the root of a running average of its square.
///
/// # Formula
///
/// v ← ρ·v + (1 − ρ)·g²
///
/// w ← w − lr·g / √(v + ε)
///
/// from v = 0. Three implementations of this name are in use, which part where gradients are small: the first step on
/// g = 10⁻⁵ at lr = 10⁻³ is 3.2·10⁻⁵ long in Keras 3, and 3.1·10⁻³ in older Keras. Each has a constructor:
///
/// | constructor | denominator | with momentum μ | weight decay λ |
/// |---|---|---|---|
/// | [`new`](Self::new), [`default`](Self::default): Keras 3 | √(v + ε) | m ← μ·m + lr·g/denominator, w ← w − m | w ← w − lr·λ·w before the step |
/// | [`keras_legacy`](Self::keras_legacy): Keras up to 2.10 | √v + ε; √(v + ε) with momentum | as above | as above |
/// | [`pytorch`](Self::pytorch): PyTorch | √v + ε | m ← μ·m + g/denominator, w ← w − lr·m | g ← g + λ·w first |
///
/// If [`centered`](Self::centered), v − ḡ² stands in the denominator for v, where ḡ ← ρ·ḡ + (1 − ρ)·g: the variance of
/// the gradient in place of its mean square. Where rounding makes it negative it counts as 0; in Keras and PyTorch its
/// root may be NaN then.
///
/// # Shapes
///
/// Elementwise. One slot of the parameters' shape for v, one more with momentum, one more if centered, in this order.
///
/// # Parameters
///
/// | parameter | default | [`pytorch`](Self::pytorch) | range | meaning |
/// |---|---|---|---|---|
/// | `learning_rate` | 0.001 | 0.01 | ≥ 0 | length of a step, in units of the parameter |
/// | `rho` (PyTorch: alpha) | 0.9 | 0.99 | \[0, 1) | how much of v a step keeps |
/// | `momentum` | 0 | 0 | \[0, 1) | how much of the last step is taken again |
/// | `epsilon` | 10⁻⁷ | 10⁻⁸ | ≥ 0 | keeps the denominator from 0; in units of g² under the root, of g beside it |
/// | `centered` | no | no | | whether to divide by the standard deviation |
/// | `weight_decay` | 0 | 0 | ≥ 0 | pull of all parameters towards 0 |
///
/// With an `epsilon` of 0, a parameter whose gradient has always been 0 becomes NaN.
///
/// # Errors
///
/// [`Error::InvalidParameter`](crate::Error::InvalidParameter) from the first step for one outside its range.
///
/// # Source
///
/// Hinton, "Neural networks for machine learning", lecture 6 (2012). `keras/src/optimizers/rmsprop.py` of Keras 3.15;
/// `tf_keras/optimizers/legacy/rmsprop.py` of tf-keras, whose step with momentum is TensorFlow's `ApplyRMSProp`;
/// `torch/optim/rmsprop.py` of PyTorch 2.15.
///
/// # Example
///
/// ```
/// use plywood::optimizers::{Optimizer, RMSprop, Update};
///
/// // One step down w²/2, whose gradient is w.
/// let (mut w, mut velocity) = ([10.0_f64], [0.0]);
/// let step = Update { step: 1, parameters: &mut w, gradients: &[10.0], slots: &mut [&mut velocity] };
/// RMSprop::new(0.1).update(step);
///
/// assert!((w[0] - 9.683772).abs() < 1e-6); // 10 − 0.1 · 10 / √(0.1 · 10²)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RMSprop {
    learning_rate: f64,
    rho: f64,
    momentum: f64,
    epsilon: f64,
    centered: bool,
    weight_decay: f64,
    variant: Variant,
}

/// Whose formula it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Variant {
    Keras,
    KerasLegacy,
    PyTorch,
}

impl Default for RMSprop {
    /// Keras 3 at its defaults.
    fn default() -> Self {
        Self::new(0.001)
    }
}

impl RMSprop {
    /// Keras 3, at this learning rate and otherwise its defaults.
    pub fn new(learning_rate: f64) -> Self {
        Self {
            learning_rate,
            rho: 0.9,
            momentum: 0.0,
            epsilon: 1e-7,
            centered: false,
            weight_decay: 0.0,
            variant: Variant::Keras,
        }
    }

    /// Keras up to 2.10 (`tf.keras.optimizers.legacy.RMSprop`), at its defaults.
    pub fn keras_legacy() -> Self {
        Self { variant: Variant::KerasLegacy, ..Self::default() }
    }

    /// PyTorch (`torch.optim.RMSprop`), at its defaults.
    pub fn pytorch() -> Self {
        Self { learning_rate: 0.01, rho: 0.99, epsilon: 1e-8, variant: Variant::PyTorch, ..Self::default() }
    }

    /// Sets the length of a step; at least 0.
    #[doc(alias = "lr")]
    pub fn learning_rate(self, learning_rate: f64) -> Self {
        Self { learning_rate, ..self }
    }

    /// Sets how much of the running averages a step keeps; at least 0 and below 1.
    #[doc(alias = "alpha")]
    pub fn rho(self, rho: f64) -> Self {
        Self { rho, ..self }
    }

    /// Sets how much of the last step is taken again; at least 0 and below 1.
    pub fn momentum(self, momentum: f64) -> Self {
        Self { momentum, ..self }
    }

    /// Sets what keeps the denominator from 0; at least 0.
    #[doc(alias = "eps")]
    pub fn epsilon(self, epsilon: f64) -> Self {
        Self { epsilon, ..self }
    }

    /// Sets whether to divide by the gradient's standard deviation in place of the root of its mean square.
    pub fn centered(self, centered: bool) -> Self {
        Self { centered, ..self }
    }

    /// Sets the pull of all parameters towards 0; at least 0.
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        Self { weight_decay, ..self }
    }

    fn has_momentum(&self) -> bool {
        self.momentum > 0.0
    }
}

impl RMSprop {
    /// What [`Optimizer::update`] does.
    pub(crate) fn run<T: Scalar>(&self, piece: Update<'_, '_, T>) {
        let rule = Rule::new(self);
        let (w, g) = (piece.parameters, piece.gradients);
        match (piece.slots, self.has_momentum()) {
            ([v], _) => vectorized(
                #[inline(always)]
                || rule.plain(w, g, v),
            ),
            ([v, m], true) => vectorized(
                #[inline(always)]
                || rule.with_momentum(w, g, v, m),
            ),
            ([v, mean], false) => vectorized(
                #[inline(always)]
                || rule.centered(w, g, v, mean),
            ),
            ([v, m, mean], _) => vectorized(
                #[inline(always)]
                || rule.centered_with_momentum(w, g, v, m, mean),
            ),
            (slots, _) => panic!("RMSprop asked for other than {} slots", slots.len()),
        }
    }
}

impl<T: Scalar> Optimizer<T> for RMSprop {
    fn name(&self) -> &'static str {
        "RMSprop"
    }

    fn slots(&self) -> usize {
        1 + usize::from(self.has_momentum()) + usize::from(self.centered)
    }

    fn check(&self) -> Result<()> {
        check_non_negative::<T>("RMSprop", "learning_rate", self.learning_rate)?;
        check_fraction::<T>("RMSprop", "rho", self.rho)?;
        check_fraction::<T>("RMSprop", "momentum", self.momentum)?;
        check_non_negative::<T>("RMSprop", "epsilon", self.epsilon)?;
        check_non_negative::<T>("RMSprop", "weight_decay", self.weight_decay)
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    fn reach(&self, _: u64, now: &Magnitudes) -> Option<Magnitudes> {
        let rule = Rule::<T>::new(self);
        let (w, g) = rule.decay.reach(now.parameters, now.gradients);
        // the mean square is never below zero, so ε is the least that is divided by; if it is 0, nothing is known
        let least = as_f64(rule.epsilon_inside).sqrt() + as_f64(rule.epsilon_outside);
        if now.below_zero[0] {
            return None;
        }
        let average = |old: f64, new: f64| as_f64(rule.rho) * old + as_f64(rule.one_minus_rho) * new;
        let (push, square) = (as_f64(rule.rate_before) * g, g * g);
        let (v, increment) = (average(now.slots[0], square), push / least);
        let (m, mean) = match (self.has_momentum(), self.centered) {
            (true, true) => (Some(now.slots[1]), Some(now.slots[2])),
            (true, false) => (Some(now.slots[1]), None),
            (false, true) => (None, Some(now.slots[1])),
            (false, false) => (None, None),
        };
        let m = m.map(|m| as_f64(rule.momentum) * m + increment);
        let mean = mean.map(|mean| average(mean, g));
        let step = m.map_or(increment, |m| as_f64(rule.rate_after) * m);
        let passed = [square, push, increment, mean.unwrap_or(0.0).powi(2), v + as_f64(rule.epsilon_inside)];
        match (m, mean) {
            (None, None) => reached::<T>(w + step, &[(v, false)], &passed),
            (Some(slot), None) | (None, Some(slot)) => reached::<T>(w + step, &[(v, false), (slot, true)], &passed),
            (Some(m), Some(mean)) => reached::<T>(w + step, &[(v, false), (m, true), (mean, true)], &passed),
        }
    }

    fn update(&self, piece: Update<'_, '_, T>) {
        T::rmsprop(self, piece);
    }
}

/// The settings as the loops need them.
///
/// Where variants differ, each has a constant that is 0 or 1 in the other. Adding 0 and multiplying by 1 change no
/// bits, so one loop serves all, and it waits for memory, division and root anyway.
#[derive(Debug, Clone, Copy)]
struct Rule<T> {
    rho: T,
    one_minus_rho: T,
    momentum: T,
    /// ε under the root, as in Keras.
    epsilon_inside: T,
    /// ε beside the root, as in PyTorch.
    epsilon_outside: T,
    /// What the increment is multiplied by before it enters the momentum: the learning rate in Keras.
    rate_before: T,
    /// What it is multiplied by afterwards: the learning rate in PyTorch.
    rate_after: T,
    decay: WeightDecay<T>,
}

impl<T: Scalar> Rule<T> {
    fn new(settings: &RMSprop) -> Self {
        let &RMSprop { learning_rate, rho, momentum, epsilon, weight_decay, variant, .. } = settings;
        let (inside, outside) = match variant {
            Variant::Keras => (epsilon, 0.0),
            // With momentum, Keras left the step to TensorFlow's kernel, which has ε under the root.
            Variant::KerasLegacy if settings.has_momentum() => (epsilon, 0.0),
            Variant::KerasLegacy | Variant::PyTorch => (0.0, epsilon),
        };
        let convention = match variant {
            Variant::Keras | Variant::KerasLegacy => Convention::Keras,
            Variant::PyTorch => Convention::PyTorch,
        };
        let (before, after) = match convention {
            Convention::PyTorch if settings.has_momentum() => (1.0, learning_rate),
            _ => (learning_rate, 1.0),
        };
        Self {
            rho: T::of(rho),
            one_minus_rho: T::of(1.0 - rho),
            momentum: T::of(momentum),
            epsilon_inside: T::of(inside),
            epsilon_outside: T::of(outside),
            rate_before: T::of(before),
            rate_after: T::of(after),
            decay: WeightDecay::new(convention, weight_decay, learning_rate),
        }
    }

    #[inline(always)]
    fn average(&self, average: T, value: T) -> T {
        self.rho * average + self.one_minus_rho * value
    }

    #[inline(always)]
    fn increment(&self, g: T, variance: T) -> T {
        self.rate_before * g / ((variance + self.epsilon_inside).sqrt() + self.epsilon_outside)
    }

    #[inline(always)]
    fn plain(self, w: &mut [T], g: &[T], v: &mut [T]) {
        for ((w, &g), v) in w.iter_mut().zip(g).zip(v) {
            let (decayed, g) = self.decay.apply(*w, g);
            *v = self.average(*v, g * g);
            *w = decayed - self.increment(g, *v);
        }
    }

    #[inline(always)]
    fn with_momentum(self, w: &mut [T], g: &[T], v: &mut [T], m: &mut [T]) {
        for (((w, &g), v), m) in w.iter_mut().zip(g).zip(v).zip(m) {
            let (decayed, g) = self.decay.apply(*w, g);
            *v = self.average(*v, g * g);
            *m = self.momentum * *m + self.increment(g, *v);
            *w = decayed - self.rate_after * *m;
        }
    }

    #[inline(always)]
    fn centered(self, w: &mut [T], g: &[T], v: &mut [T], mean: &mut [T]) {
        for (((w, &g), v), mean) in w.iter_mut().zip(g).zip(v).zip(mean) {
            let (decayed, g) = self.decay.apply(*w, g);
            *v = self.average(*v, g * g);
            *mean = self.average(*mean, g);
            *w = decayed - self.increment(g, variance(*v, *mean));
        }
    }

    #[inline(always)]
    fn centered_with_momentum(self, w: &mut [T], g: &[T], v: &mut [T], m: &mut [T], mean: &mut [T]) {
        for ((((w, &g), v), m), mean) in w.iter_mut().zip(g).zip(v).zip(m).zip(mean) {
            let (decayed, g) = self.decay.apply(*w, g);
            *v = self.average(*v, g * g);
            *mean = self.average(*mean, g);
            *m = self.momentum * *m + self.increment(g, variance(*v, *mean));
            *w = decayed - self.rate_after * *m;
        }
    }
}

/// Mean square minus square of the mean: never negative but by rounding. NaN stays NaN.
#[inline(always)]
fn variance<T: Scalar>(mean_square: T, mean: T) -> T {
    let variance = mean_square - mean * mean;
    if variance < T::zero() { T::zero() } else { variance }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::super::reference::{START, gradient, ten_steps};
    use super::*;

    fn bits(values: Vec<f32>) -> Vec<u32> {
        values.into_iter().map(f32::to_bits).collect()
    }

    /// How far the first step goes.
    fn first_step(optimizer: RMSprop, g: f64) -> f64 {
        let (mut w, mut v) = ([0.0], [0.0]);
        optimizer.update(Update { step: 1, parameters: &mut w, gradients: &[g], slots: &mut [&mut v] });
        -w[0]
    }

    #[test]
    fn the_first_step_tells_the_variants_apart_where_gradients_are_small() {
        // By hand: g² · (1 − ρ) = 10⁻¹¹, or 10⁻¹² for PyTorch, beside an ε of 10⁻⁷ or 10⁻⁸.
        for (optimizer, small, large) in [
            (RMSprop::default(), 3.1621e-5, 3.1623e-3),
            (RMSprop::keras_legacy(), 3.0653e-3, 3.1623e-3),
            (RMSprop::pytorch().learning_rate(1e-3), 9.9010e-3, 1.0000e-2),
            (RMSprop::pytorch(), 9.9010e-2, 1.0000e-1),
        ] {
            assert_relative_eq!(first_step(optimizer, 1e-5), small, max_relative = 2e-5);
            assert_relative_eq!(first_step(optimizer, -1e-5), -small, max_relative = 2e-5);
            assert_relative_eq!(first_step(optimizer, 1.0), large, max_relative = 2e-5);
        }
    }

    #[test]
    fn ten_steps_go_where_keras_goes() {
        // Keras 3.15.1 on TensorFlow, with variables in f64; it keeps the learning rate in f32.
        let keras = RMSprop::new(0.01);
        for (optimizer, expected) in [
            (keras, [1.004448026064123, -0.5034790886681799, 0.24531603623946255]),
            (keras.momentum(0.9), [1.0622801432674527, -0.506266292179628, 0.18348058431958103]),
            (keras.centered(true), [1.0063582907353377, -0.5028911600259713, 0.24428039115319003]),
            (
                keras.centered(true).momentum(0.9).rho(0.95).epsilon(1e-3),
                [1.0972218844953412, -0.5373010065493856, 0.23787089578227238],
            ),
            (keras.weight_decay(0.1), [0.9988672016309321, -0.5007745095482623, 0.2440337369172188]),
        ] {
            assert_relative_eq!(ten_steps::<f64>(optimizer)[..], expected[..], max_relative = 1e-7);
            assert_relative_eq!(ten_steps::<f32>(optimizer)[..], expected[..], max_relative = 2e-6);
        }
    }

    #[test]
    fn ten_steps_go_where_pytorch_goes() {
        // PyTorch 2.15 in f64.
        let pytorch = RMSprop::pytorch();
        for (optimizer, expected) in [
            (pytorch, [1.0188767319330132, -0.5097802519694331, 0.23138239995527393]),
            (pytorch.momentum(0.9), [1.240036936517594, -0.4180148308216588, 0.017852937880088963]),
            (pytorch.centered(true), [1.019454371142866, -0.5095915588596276, 0.23105206895410824]),
            (
                pytorch.centered(true).momentum(0.9).rho(0.95).epsilon(1e-3),
                [1.1100665446221043, -0.4630659761747377, 0.14905390603388133],
            ),
            (pytorch.weight_decay(0.1), [0.9647358590270678, -0.48712446011918276, 0.2213531439060487]),
        ] {
            assert_relative_eq!(ten_steps::<f64>(optimizer)[..], expected[..], max_relative = 1e-12);
            assert_relative_eq!(ten_steps::<f32>(optimizer)[..], expected[..], max_relative = 2e-5);
        }
    }

    #[test]
    fn ten_steps_with_momentum_go_where_older_keras_goes() {
        // TensorFlow's ResourceApplyRMSProp and ResourceApplyCenteredRMSProp in f64, to which Keras 2.10 left these
        // steps.
        let legacy = RMSprop::keras_legacy().learning_rate(0.01).momentum(0.9).epsilon(1e-3);
        for (optimizer, expected) in [
            (legacy, [1.0606887561074845, -0.5188383450558915, 0.22387747057024854]),
            (legacy.centered(true), [1.0724827476647256, -0.5161108570418278, 0.22217415836116686]),
        ] {
            assert_relative_eq!(ten_steps::<f64>(optimizer)[..], expected[..], max_relative = 1e-12);
        }
    }

    #[test]
    fn ten_steps_without_momentum_go_where_the_formula_of_older_keras_goes() {
        for centered in [false, true] {
            let mut expected = START;
            for (i, w) in expected.iter_mut().enumerate() {
                let (mut mean_square, mut mean) = (0.0, 0.0);
                for t in 0..10 {
                    let (g, rate) = (gradient(t, i), if t < 5 { 0.01 } else { 0.001 });
                    mean_square = 0.9 * mean_square + 0.1 * g.powi(2);
                    mean = 0.9 * mean + 0.1 * g;
                    let variance: f64 = if centered { mean_square - mean.powi(2) } else { mean_square };
                    *w -= rate * g / (variance.sqrt() + 1e-3);
                }
            }
            let optimizer = RMSprop::keras_legacy().learning_rate(0.01).epsilon(1e-3).centered(centered);
            assert_relative_eq!(ten_steps::<f64>(optimizer)[..], expected[..], max_relative = 1e-12);
        }
    }

    #[test]
    fn a_variance_that_rounding_makes_negative_counts_as_zero() {
        for optimizer in [RMSprop::default(), RMSprop::pytorch(), RMSprop::pytorch().momentum(0.5)] {
            let optimizer = optimizer.centered(true);
            let (mut w, mut slots) = ([0.0_f32; 64], [[0.0_f32; 64]; 3]);
            // Gradients that never change have no variance: mean square and squared mean meet after some steps.
            let g: [f32; 64] = std::array::from_fn(|i| 100.0 + i as f32 / 7.0);
            for step in 1..=2000 {
                let mut slots = slots.each_mut().map(|slot| &mut slot[..]);
                let slots = &mut slots[..Optimizer::<f32>::slots(&optimizer)];
                optimizer.update(Update { step, parameters: &mut w, gradients: &g, slots });
            }
            assert!(w.iter().all(|w| w.is_finite()), "{optimizer:?}: {w:?}");
        }
    }

    #[test]
    fn nan_is_not_hidden() {
        for optimizer in [RMSprop::default(), RMSprop::default().centered(true)] {
            let (mut w, mut v, mut mean) = ([1.0], [0.0], [0.0]);
            let slots: &mut [&mut [_]] = &mut [&mut v, &mut mean];
            let slots = &mut slots[..Optimizer::<f64>::slots(&optimizer)];
            optimizer.update(Update { step: 1, parameters: &mut w, gradients: &[f64::NAN], slots });
            assert!(w[0].is_nan(), "{optimizer:?}");
        }
        // Squares that have overflowed leave no variance: ∞ − ∞.
        let (mut w, mut v, mut mean) = ([1.0], [f64::INFINITY], [1e300]);
        let slots: &mut [&mut [_]] = &mut [&mut v, &mut mean];
        RMSprop::default().centered(true).update(Update { step: 1, parameters: &mut w, gradients: &[1.0], slots });
        assert!(w[0].is_nan());
    }

    #[test]
    fn bits_do_not_depend_on_the_vector_width() {
        // 1003 elements leave a rest in every width. Called directly, the loop has the instructions that all machines
        // have.
        let g: Vec<f32> = (0..1003).map(|i| (i as f32 - 500.0) / 700.0).collect();
        let optimizer = RMSprop::pytorch().centered(true).momentum(0.9).weight_decay(0.1);
        let mut expected = [g.clone(), vec![0.1; g.len()], g.clone(), g.clone()];
        let mut got = expected.clone();
        let [w, v, m, mean] = &mut expected;
        Rule::new(&optimizer).centered_with_momentum(w, &g, v, m, mean);
        let [w, v, m, mean] = &mut got;
        optimizer.update(Update { step: 1, parameters: w, gradients: &g, slots: &mut [v, m, mean] });
        assert_eq!(expected.map(bits), got.map(bits));
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let keras = RMSprop::default();
        for (optimizer, message) in [
            (keras.learning_rate(-1.0), "RMSprop: learning_rate is -1, expected a finite number of at least 0"),
            (keras.learning_rate(f64::NAN), "RMSprop: learning_rate is NaN, expected a finite number of at least 0"),
            (keras.rho(1.0), "RMSprop: rho is 1, expected a number of at least 0 and below 1"),
            (keras.rho(-0.1), "RMSprop: rho is -0.1, expected a number of at least 0 and below 1"),
            (keras.rho(f64::NAN), "RMSprop: rho is NaN, expected a number of at least 0 and below 1"),
            (keras.momentum(1.0), "RMSprop: momentum is 1, expected a number of at least 0 and below 1"),
            (keras.momentum(-0.5), "RMSprop: momentum is -0.5, expected a number of at least 0 and below 1"),
            (keras.epsilon(-1e-7), "RMSprop: epsilon is -0.0000001, expected a finite number of at least 0"),
            (keras.epsilon(f64::INFINITY), "RMSprop: epsilon is inf, expected a finite number of at least 0"),
            (keras.weight_decay(-0.1), "RMSprop: weight_decay is -0.1, expected a finite number of at least 0"),
        ] {
            assert_eq!(Optimizer::<f32>::check(&optimizer).unwrap_err().to_string(), message);
        }
        for optimizer in [keras, RMSprop::keras_legacy(), RMSprop::pytorch(), keras.learning_rate(0.0).epsilon(0.0)] {
            Optimizer::<f32>::check(&optimizer).unwrap();
        }
    }
}
