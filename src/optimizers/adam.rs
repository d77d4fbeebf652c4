//! Adam, and AdamW, which is Adam with Keras's weight decay.

use serde::{Deserialize, Serialize};

use super::settings::{Convention, WeightDecay, as_f64, check_fraction, check_non_negative, reached};
use super::{Magnitudes, Optimizer, Update};
use crate::error::Result;
use crate::kernels::dispatch::vectorized;
use crate::scalar::Scalar;

/// Adam: a running average of the gradient, divided by the root of one of its square, both corrected for their start at
/// 0.
///
/// # Formula
///
/// m ← β₁·m + (1 − β₁)·g
///
/// v ← β₂·v + (1 − β₂)·g²
///
/// and in step t, counted from 1:
///
/// | constructor | step | weight decay λ |
/// |---|---|---|
/// | [`new`](Self::new), [`default`](Self::default): Keras 3 | w ← w − lr · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε) | w ← w − lr·λ·w before the step, which makes it AdamW |
/// | [`pytorch`](Self::pytorch): PyTorch | w ← w − lr / (1 − β₁ᵗ) · m / (√(v / (1 − β₂ᵗ)) + ε) | g ← g + λ·w first |
///
/// With [`amsgrad`](Self::amsgrad), the largest v so far stands in the denominator for v, so that steps do not grow again
/// where gradients have become small.
///
/// # Shapes
///
/// Elementwise. Two slots of the parameters' shape, for m and v, and one more with `amsgrad`.
///
/// # Parameters
///
/// | parameter | default | [`pytorch`](Self::pytorch) | range | meaning |
/// |---|---|---|---|---|
/// | `learning_rate` | 0.001 | 0.001 | ≥ 0 | greatest length of a step, about, in units of the parameter |
/// | `beta_1` | 0.9 | 0.9 | \[0, 1) | how much of m a step keeps |
/// | `beta_2` | 0.999 | 0.999 | \[0, 1) | how much of v a step keeps |
/// | `epsilon` | 10⁻⁷ | 10⁻⁸ | ≥ 0 | keeps the denominator from 0; in units of g: beside √v in Keras (the ε̂ of the paper), beside its corrected value in PyTorch |
/// | `amsgrad` | no | no | | whether to divide by the largest v so far |
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
/// Kingma and Ba, "Adam: a method for stochastic optimization" (2015); Loshchilov and Hutter, "Decoupled weight decay
/// regularization" (2019); Reddi, Kale and Kumar, "On the convergence of Adam and beyond" (2018).
/// `keras/src/optimizers/adam.py` of Keras 3.15; `torch/optim/adam.py` of PyTorch 2.15.
///
/// # Example
///
/// ```
/// use plywood::optimizers::{Adam, Optimizer, Update};
///
/// // Once corrected, the first step is one learning rate long, whatever the gradient.
/// let (mut w, mut m, mut v) = ([0.0_f64, 0.0], [0.0; 2], [0.0; 2]);
/// let gradients = [4.0, -0.25];
/// let slots: &mut [&mut [f64]] = &mut [&mut m, &mut v];
/// Adam::new(0.1).update(Update { step: 1, parameters: &mut w, gradients: &gradients, slots });
/// assert!((w[0] + 0.1).abs() < 1e-5 && (w[1] - 0.1).abs() < 1e-5);
/// ```
#[doc(alias = "AdamW")]
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    learning_rate: f64,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    amsgrad: bool,
    weight_decay: f64,
    convention: Convention,
}

impl Default for Adam {
    /// Keras 3 at its defaults.
    fn default() -> Self {
        Self::new(0.001)
    }
}

impl Adam {
    /// Keras 3, at this learning rate and otherwise its defaults.
    pub fn new(learning_rate: f64) -> Self {
        Self {
            learning_rate,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
            amsgrad: false,
            weight_decay: 0.0,
            convention: Convention::Keras,
        }
    }

    /// PyTorch (`torch.optim.Adam`), at its defaults.
    pub fn pytorch() -> Self {
        Self { epsilon: 1e-8, convention: Convention::PyTorch, ..Self::default() }
    }

    /// Sets the greatest length of a step, about; at least 0.
    #[doc(alias = "lr")]
    pub fn learning_rate(self, learning_rate: f64) -> Self {
        Self { learning_rate, ..self }
    }

    /// Sets how much of the gradient's running average a step keeps; at least 0 and below 1.
    pub fn beta_1(self, beta_1: f64) -> Self {
        Self { beta_1, ..self }
    }

    /// Sets how much of the squared gradient's running average a step keeps; at least 0 and below 1.
    pub fn beta_2(self, beta_2: f64) -> Self {
        Self { beta_2, ..self }
    }

    /// Sets what keeps the denominator from 0; at least 0.
    #[doc(alias = "eps")]
    pub fn epsilon(self, epsilon: f64) -> Self {
        Self { epsilon, ..self }
    }

    /// Sets whether to divide by the largest running average of the squared gradient so far, in place of the present one.
    pub fn amsgrad(self, amsgrad: bool) -> Self {
        Self { amsgrad, ..self }
    }

    /// Sets the pull of all parameters towards 0; at least 0.
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        Self { weight_decay, ..self }
    }
}

impl Adam {
    /// What [`Optimizer::update`] does.
    pub(crate) fn run<T: Scalar>(&self, piece: Update<'_, '_, T>) {
        let rule = Rule::new(self, piece.step);
        let (w, g) = (piece.parameters, piece.gradients);
        match piece.slots {
            [m, v] => vectorized(
                #[inline(always)]
                || rule.plain(w, g, m, v),
            ),
            [m, v, largest] => vectorized(
                #[inline(always)]
                || rule.amsgrad(w, g, m, v, largest),
            ),
            slots => panic!("Adam asked for other than {} slots", slots.len()),
        }
    }
}

impl<T: Scalar> Optimizer<T> for Adam {
    fn name(&self) -> &'static str {
        "Adam"
    }

    fn slots(&self) -> usize {
        2 + usize::from(self.amsgrad)
    }

    fn check(&self) -> Result<()> {
        check_non_negative::<T>("Adam", "learning_rate", self.learning_rate)?;
        check_fraction::<T>("Adam", "beta_1", self.beta_1)?;
        check_fraction::<T>("Adam", "beta_2", self.beta_2)?;
        check_non_negative::<T>("Adam", "epsilon", self.epsilon)?;
        check_non_negative::<T>("Adam", "weight_decay", self.weight_decay)
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    fn reach(&self, step: u64, now: &Magnitudes) -> Option<Magnitudes> {
        let rule = Rule::<T>::new(self, step);
        let (w, g) = rule.decay.reach(now.parameters, now.gradients);
        if now.below_zero[1] {
            return None;
        }
        let [m, v, largest, _] = now.slots;
        let (difference, square) = (g + m, g * g + v);
        let m = m + difference * as_f64(rule.one_minus_beta_1);
        let v = v + square * as_f64(rule.one_minus_beta_2);
        // √v is never below zero, so ε is the least that is divided by; if it is 0, nothing is known
        let push = m * as_f64(rule.rate);
        let passed = [difference, square, push];
        let w = w + push / as_f64(rule.epsilon);
        match self.amsgrad {
            false => reached::<T>(w, &[(m, true), (v, false)], &passed),
            true => reached::<T>(w, &[(m, true), (v, false), (v.max(largest), false)], &passed),
        }
    }

    fn update(&self, piece: Update<'_, '_, T>) {
        T::adam(self, piece);
    }
}

/// The settings as the loop needs them in one step.
#[derive(Debug, Clone, Copy)]
struct Rule<T> {
    one_minus_beta_1: T,
    one_minus_beta_2: T,
    /// The learning rate, with both corrections.
    rate: T,
    epsilon: T,
    decay: WeightDecay<T>,
}

impl<T: Scalar> Rule<T> {
    fn new(settings: &Adam, step: u64) -> Self {
        debug_assert!(step > 0, "steps are counted from 1");
        let &Adam { learning_rate, beta_1, beta_2, epsilon, weight_decay, convention, .. } = settings;
        let missing_2 = (1.0 - power(beta_2, step)).sqrt();
        let epsilon = match convention {
            Convention::Keras => epsilon,
            // √(v / c²) + ε = (√v + c·ε) / c: with this ε, PyTorch's formula is Keras's.
            Convention::PyTorch => missing_2 * epsilon,
        };
        Self {
            one_minus_beta_1: T::of(1.0 - beta_1),
            one_minus_beta_2: T::of(1.0 - beta_2),
            rate: T::of(learning_rate * missing_2 / (1.0 - power(beta_1, step))),
            epsilon: T::of(epsilon),
            decay: WeightDecay::new(convention, weight_decay, learning_rate),
        }
    }

    #[inline(always)]
    fn plain(self, w: &mut [T], g: &[T], m: &mut [T], v: &mut [T]) {
        for (((w, &g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
            self.step(w, g, m, v, |v| v);
        }
    }

    #[inline(always)]
    fn amsgrad(self, w: &mut [T], g: &[T], m: &mut [T], v: &mut [T], largest: &mut [T]) {
        for ((((w, &g), m), v), largest) in w.iter_mut().zip(g).zip(m).zip(v).zip(largest) {
            self.step(w, g, m, v, |v| {
                // a comparison that lets NaN pass
                *largest = if v < *largest { *largest } else { v };
                *largest
            });
        }
    }

    /// One parameter; what is divided by the root of, is a function of v.
    #[inline(always)]
    fn step(self, w: &mut T, g: T, m: &mut T, v: &mut T, divisor: impl FnOnce(T) -> T) {
        let (decayed, g) = self.decay.apply(*w, g);
        *m += (g - *m) * self.one_minus_beta_1;
        *v += (g * g - *v) * self.one_minus_beta_2;
        *w = decayed - *m * self.rate / (divisor(*v).sqrt() + self.epsilon);
    }
}

/// βᵗ by repeated squaring: `f64::powi` may round differently from platform to platform.
fn power(beta: f64, step: u64) -> f64 {
    // Where usize is shorter than u64, a step that does not fit has long made the power 0.
    num_traits::pow(beta, usize::try_from(step).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::super::reference::ten_steps;
    use super::*;

    #[test]
    fn ten_steps_go_where_keras_goes() {
        // Keras 3.15.1 on TensorFlow, with variables in f64; but β₂ = 0.999 has been through f32 there, which moves 1 −
        // β₂ᵗ by 10⁻⁵ and what is left of a step by half that.
        let keras = Adam::new(0.01);
        for (optimizer, expected) in [
            (keras, [1.0155951092241269, -0.5029807511529791, 0.2426677802686857]),
            (
                keras.weight_decay(0.1).beta_1(0.8).beta_2(0.99).epsilon(1e-3),
                [1.007050801443283, -0.5008173537616808, 0.2426928450820586],
            ),
        ] {
            assert_relative_eq!(ten_steps::<f64>(optimizer)[..], expected[..], max_relative = 5e-7);
            assert_relative_eq!(ten_steps::<f32>(optimizer)[..], expected[..], max_relative = 2e-6);
        }
    }

    #[test]
    fn ten_steps_go_where_pytorch_goes() {
        // PyTorch 2.15 in f64.
        let pytorch = Adam::pytorch().learning_rate(0.01);
        for (optimizer, expected) in [
            (pytorch, [1.0155952926053438, -0.5029807000932411, 0.2426675036899166]),
            (
                pytorch.weight_decay(0.1).beta_1(0.8).beta_2(0.99).epsilon(1e-3),
                [1.0031883119307572, -0.49836420483629285, 0.24045554126708915],
            ),
        ] {
            assert_relative_eq!(ten_steps::<f64>(optimizer)[..], expected[..], max_relative = 1e-12);
            assert_relative_eq!(ten_steps::<f32>(optimizer)[..], expected[..], max_relative = 2e-6);
        }
    }

    #[test]
    fn weight_decay_beside_the_step_makes_it_adamw() {
        // torch.optim.AdamW of PyTorch 2.15 in f64. It corrects ε as PyTorch does, hence the tolerance.
        let expected = [1.0100411805791223, -0.5002526798715317, 0.24133213389702982];
        let optimizer = Adam::new(0.01).weight_decay(0.1).epsilon(1e-9);
        assert_relative_eq!(ten_steps::<f64>(optimizer)[..], expected[..], max_relative = 1e-7);
    }

    #[test]
    fn late_steps_need_no_correction() {
        let late = Rule::<f64>::new(&Adam::default(), u64::MAX);
        assert_eq!((late.rate, late.epsilon), (0.001, 1e-7));
        assert_eq!(power(0.9, 1), 0.9);
        assert_relative_eq!(power(0.9, 10), 0.348_678_440_1, max_relative = 1e-15);
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let keras = Adam::default();
        for (optimizer, message) in [
            (keras.learning_rate(-1.0), "Adam: learning_rate is -1, expected a finite number of at least 0"),
            (keras.beta_1(1.0), "Adam: beta_1 is 1, expected a number of at least 0 and below 1"),
            (keras.beta_2(f64::NAN), "Adam: beta_2 is NaN, expected a number of at least 0 and below 1"),
            (keras.epsilon(-1.0), "Adam: epsilon is -1, expected a finite number of at least 0"),
            (keras.weight_decay(-0.1), "Adam: weight_decay is -0.1, expected a finite number of at least 0"),
        ] {
            assert_eq!(Optimizer::<f32>::check(&optimizer).unwrap_err().to_string(), message);
        }
        Optimizer::<f32>::check(&keras).unwrap();
        Optimizer::<f32>::check(&Adam::pytorch()).unwrap();
    }
}
