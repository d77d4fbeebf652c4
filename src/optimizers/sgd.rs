//! Stochastic gradient descent, with momentum as Keras or as PyTorch has it.

use serde::{Deserialize, Serialize};

use super::settings::{Convention, WeightDecay, as_f64, check_fraction, check_non_negative, reached};
use super::{Magnitudes, Optimizer, Update};
use crate::error::Result;
use crate::kernels::dispatch::vectorized;
use crate::scalar::Scalar;

/// Stochastic gradient descent: a step against the gradient, with momentum if wanted.
///
/// # Formula
///
/// w ← w − lr·g, or with momentum μ, from m = 0:
///
/// | constructor | momentum | step | Nesterov's step | weight decay λ |
/// |---|---|---|---|---|
/// | [`new`](Self::new), [`default`](Self::default): Keras 3 | m ← μ·m − lr·g | w ← w + m | w ← w + μ·m − lr·g | w ← w − lr·λ·w before the step |
/// | [`pytorch`](Self::pytorch): PyTorch | m ← μ·m + g | w ← w − lr·m | w ← w − lr·(g + μ·m) | g ← g + λ·w first |
///
/// As long as the learning rate stays as it is and nothing decays, both go the same way.
///
/// # Shapes
///
/// Elementwise. With momentum one slot of the parameters' shape for m, otherwise none.
///
/// # Parameters
///
/// | parameter | default | [`pytorch`](Self::pytorch) | range | meaning |
/// |---|---|---|---|---|
/// | `learning_rate` | 0.01 | 0.001 | ≥ 0 | length of a step on a gradient of 1 |
/// | `momentum` | 0 | 0 | \[0, 1) | how much of the last step is taken again |
/// | `nesterov` | no | no | | whether to look one step of momentum ahead; nothing without momentum |
/// | `weight_decay` | 0 | 0 | ≥ 0 | pull of all parameters towards 0 |
///
/// # Errors
///
/// [`Error::InvalidParameter`](crate::Error::InvalidParameter) from the first step for one outside its range.
///
/// # Source
///
/// `keras/src/optimizers/sgd.py` of Keras 3.15; `torch/optim/sgd.py` of PyTorch 2.15. Sutskever et al., "On the
/// importance of initialization and momentum in deep learning" (2013).
///
/// # Example
///
/// ```
/// use plywood::optimizers::{Optimizer, SGD, Update};
///
/// let (mut w, mut momentum) = ([1.0_f64], [0.0]);
/// let optimizer = SGD::new(0.1).momentum(0.5);
/// for step in 1..=2 {
///     optimizer.update(Update { step, parameters: &mut w, gradients: &[1.0], slots: &mut [&mut momentum] });
/// }
/// assert!((w[0] - 0.75).abs() < 1e-12); // 1 − 0.1 − (0.1 + 0.5 · 0.1)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SGD {
    learning_rate: f64,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
    convention: Convention,
}

impl Default for SGD {
    /// Keras 3 at its defaults.
    fn default() -> Self {
        Self::new(0.01)
    }
}

impl SGD {
    /// Keras 3, at this learning rate and otherwise its defaults.
    pub fn new(learning_rate: f64) -> Self {
        Self { learning_rate, momentum: 0.0, nesterov: false, weight_decay: 0.0, convention: Convention::Keras }
    }

    /// PyTorch (`torch.optim.SGD`), at its defaults.
    pub fn pytorch() -> Self {
        Self { convention: Convention::PyTorch, ..Self::new(0.001) }
    }

    /// Sets the length of a step on a gradient of 1; at least 0.
    #[doc(alias = "lr")]
    pub fn learning_rate(self, learning_rate: f64) -> Self {
        Self { learning_rate, ..self }
    }

    /// Sets how much of the last step is taken again; at least 0 and below 1.
    pub fn momentum(self, momentum: f64) -> Self {
        Self { momentum, ..self }
    }

    /// Sets whether to look one step of momentum ahead.
    pub fn nesterov(self, nesterov: bool) -> Self {
        Self { nesterov, ..self }
    }

    /// Sets the pull of all parameters towards 0; at least 0.
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        Self { weight_decay, ..self }
    }
}

impl SGD {
    /// What [`Optimizer::update`] does.
    pub(crate) fn run<T: Scalar>(&self, piece: Update<'_, '_, T>) {
        let rule = Rule::new(self);
        let (w, g) = (piece.parameters, piece.gradients);
        match piece.slots {
            [] => vectorized(
                #[inline(always)]
                || rule.plain(w, g),
            ),
            [m] if self.nesterov => vectorized(
                #[inline(always)]
                || rule.nesterov(w, g, m),
            ),
            [m] => vectorized(
                #[inline(always)]
                || rule.with_momentum(w, g, m),
            ),
            slots => panic!("SGD asked for other than {} slots", slots.len()),
        }
    }
}

impl<T: Scalar> Optimizer<T> for SGD {
    fn name(&self) -> &'static str {
        "SGD"
    }

    fn slots(&self) -> usize {
        usize::from(self.momentum > 0.0)
    }

    fn check(&self) -> Result<()> {
        check_non_negative::<T>("SGD", "learning_rate", self.learning_rate)?;
        check_fraction::<T>("SGD", "momentum", self.momentum)?;
        check_non_negative::<T>("SGD", "weight_decay", self.weight_decay)
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
        let (mu, after) = (as_f64(rule.momentum), as_f64(rule.after));
        let push = as_f64(rule.before) * g;
        if Optimizer::<T>::slots(self) == 0 {
            return reached::<T>(w + after * push, &[], &[g, push]);
        }
        let m = mu * now.slots[0] + push;
        // Nesterov's step is made of the momentum once more
        let ahead = mu * m + push;
        reached::<T>(w + after * m.max(ahead), &[(m, true)], &[g, ahead])
    }

    fn update(&self, piece: Update<'_, '_, T>) {
        T::sgd(self, piece);
    }
}

/// The settings as the loops need them. The learning rate, with its sign, is in one of two places, and 1 in the other.
#[derive(Debug, Clone, Copy)]
struct Rule<T> {
    momentum: T,
    /// What the gradient is multiplied by before it enters the momentum: −lr in Keras.
    before: T,
    /// What the momentum is multiplied by to become a step: −lr in PyTorch.
    after: T,
    decay: WeightDecay<T>,
}

impl<T: Scalar> Rule<T> {
    fn new(settings: &SGD) -> Self {
        let &SGD { learning_rate, momentum, weight_decay, convention, .. } = settings;
        let (before, after) = match convention {
            Convention::Keras => (-learning_rate, 1.0),
            Convention::PyTorch => (1.0, -learning_rate),
        };
        Self {
            momentum: T::of(momentum),
            before: T::of(before),
            after: T::of(after),
            decay: WeightDecay::new(convention, weight_decay, learning_rate),
        }
    }

    #[inline(always)]
    fn plain(self, w: &mut [T], g: &[T]) {
        for (w, &g) in w.iter_mut().zip(g) {
            let (decayed, g) = self.decay.apply(*w, g);
            *w = decayed + self.after * (self.before * g);
        }
    }

    #[inline(always)]
    fn with_momentum(self, w: &mut [T], g: &[T], m: &mut [T]) {
        for ((w, &g), m) in w.iter_mut().zip(g).zip(m) {
            let (decayed, g) = self.decay.apply(*w, g);
            *m = self.momentum * *m + self.before * g;
            *w = decayed + self.after * *m;
        }
    }

    #[inline(always)]
    fn nesterov(self, w: &mut [T], g: &[T], m: &mut [T]) {
        for ((w, &g), m) in w.iter_mut().zip(g).zip(m) {
            let (decayed, g) = self.decay.apply(*w, g);
            let push = self.before * g;
            *m = self.momentum * *m + push;
            *w = decayed + self.after * (self.momentum * *m + push);
        }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::super::reference::ten_steps;
    use super::*;

    #[test]
    fn ten_steps_go_where_keras_goes() {
        // Keras 3.15.1 on TensorFlow, with variables in f64; it keeps the learning rate in f32.
        let keras = SGD::new(0.01);
        for (optimizer, expected) in [
            (keras, [0.9987500000279397, -0.5053749999206048, 0.25287499991827644]),
            (keras.momentum(0.9), [1.001559159510074, -0.531420671112975, 0.2601444845808111]),
            (keras.momentum(0.9).nesterov(true), [1.000153243549833, -0.5336536031731551, 0.262005035799143]),
            (keras.momentum(0.9).weight_decay(0.1), [0.9960249498692837, -0.5286540602938671, 0.2587755670800567]),
        ] {
            assert_relative_eq!(ten_steps::<f64>(optimizer)[..], expected[..], max_relative = 1e-7);
            assert_relative_eq!(ten_steps::<f32>(optimizer)[..], expected[..], max_relative = 2e-6);
        }
    }

    #[test]
    fn ten_steps_go_where_pytorch_goes() {
        // PyTorch 2.15 in f64.
        let pytorch = SGD::pytorch().learning_rate(0.01);
        for (optimizer, expected) in [
            (pytorch, [0.99875, -0.505375, 0.25287499999999996]),
            (pytorch.momentum(0.9), [1.0100901498218753, -0.5129995424064999, 0.25064575226637503]),
            (pytorch.momentum(0.9).nesterov(true), [1.0078311348396873, -0.5170745881658501, 0.2534561770397375]),
            (pytorch.momentum(0.9).weight_decay(0.1), [0.9940620023466975, -0.505007457533399, 0.24667683729845988]),
        ] {
            assert_relative_eq!(ten_steps::<f64>(optimizer)[..], expected[..], max_relative = 1e-12);
            assert_relative_eq!(ten_steps::<f32>(optimizer)[..], expected[..], max_relative = 2e-6);
        }
    }

    #[test]
    fn nesterov_without_momentum_is_nothing() {
        assert_eq!(ten_steps::<f64>(SGD::default().nesterov(true)), ten_steps::<f64>(SGD::default()));
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let keras = SGD::default();
        for (optimizer, message) in [
            (keras.learning_rate(-1.0), "SGD: learning_rate is -1, expected a finite number of at least 0"),
            (keras.learning_rate(f64::NAN), "SGD: learning_rate is NaN, expected a finite number of at least 0"),
            (keras.momentum(1.0), "SGD: momentum is 1, expected a number of at least 0 and below 1"),
            (keras.momentum(f64::NAN), "SGD: momentum is NaN, expected a number of at least 0 and below 1"),
            (keras.weight_decay(-0.1), "SGD: weight_decay is -0.1, expected a finite number of at least 0"),
        ] {
            assert_eq!(Optimizer::<f32>::check(&optimizer).unwrap_err().to_string(), message);
        }
        Optimizer::<f32>::check(&keras).unwrap();
        Optimizer::<f32>::check(&SGD::pytorch()).unwrap();
    }
}
