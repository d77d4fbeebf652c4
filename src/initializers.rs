//! What parameters are before training: constants, or numbers drawn at random on a scale that suits the layer.
//!
//! A layer has a default for each of its parameters, and takes another:
//!
//! ```
//! use plywood::prelude::*;
//!
//! let layer = Dense::new(512).kernel_initializer(Initializer::HeNormal);
//! let model = Sequential::input([784]).add(layer).build(42)?;
//! let kernel = model.parameter("dense/kernel")?;
//! assert!((kernel.std(0.0) - (2.0_f32 / 784.0).sqrt()).abs() < 0.001);
//! # Ok::<(), plywood::Error>(())
//! ```

use ndarray_rand::rand::Rng;
use ndarray_rand::rand_distr::{StandardNormal, Uniform};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// How a parameter is filled at first.
///
/// # Formula
///
/// | initializer | values |
/// |---|---|
/// | [`Zeros`](Self::Zeros), [`Ones`](Self::Ones), [`Constant`](Self::Constant) | 0, 1, `value` |
/// | [`Uniform`](Self::Uniform) | U(`min`, `max`) |
/// | [`Normal`](Self::Normal) | N(`mean`, `stddev`²) |
/// | [`TruncatedNormal`](Self::TruncatedNormal) | the same; what lies beyond two `stddev` from `mean` is drawn again |
/// | [`GlorotUniform`](Self::GlorotUniform) | U(±√(6 / (fan_in + fan_out))) |
/// | [`GlorotNormal`](Self::GlorotNormal) | truncated normal of variance 2 / (fan_in + fan_out) |
/// | [`HeUniform`](Self::HeUniform) | U(±√(6 / fan_in)) |
/// | [`HeNormal`](Self::HeNormal) | truncated normal of variance 2 / fan_in |
/// | [`LecunUniform`](Self::LecunUniform) | U(±√(3 / fan_in)) |
/// | [`LecunNormal`](Self::LecunNormal) | truncated normal of variance 1 / fan_in |
///
/// Cutting a normal distribution at two standard deviations leaves 0.8796 of its standard deviation. `GlorotNormal`,
/// `HeNormal` and `LecunNormal` therefore draw from one that is wider by this factor, and have the stated variance
/// afterwards; `TruncatedNormal` itself does not.
///
/// # Shapes
///
/// Any. fan_in is how many inputs feed one output, and fan_out how many outputs one input feeds:
///
/// | kernel | fan_in | fan_out |
/// |---|---|---|
/// | Dense `[inputs, units]` | inputs | units |
/// | Conv2D `[height, width, channels, filters]` | height · width · channels | height · width · filters |
///
/// # Parameters
///
/// | parameter | Keras default | range | meaning |
/// |---|---|---|---|
/// | `value` | | finite | what every element is |
/// | `min`, `max` | −0.05, 0.05 | finite, `min` ≤ `max` | bounds |
/// | `mean` | 0 | finite | centre |
/// | `stddev` | 0.05 | finite, ≥ 0 | standard deviation before any truncation |
///
/// Numbers are drawn as `f64` and then rounded, so models of `f32` and of `f64` start from the same weights.
///
/// # Errors
///
/// [`Error::InvalidParameter`] from a model's `build`, or from [`fill`](Self::fill), for a parameter outside its range.
///
/// # Source
///
/// `keras/src/initializers/random_initializers.py` of Keras 3.15. Glorot and Bengio, "Understanding the difficulty of
/// training deep feedforward neural networks" (2010); He et al., "Delving deep into rectifiers" (2015); LeCun et al.,
/// "Efficient BackProp" (1998). PyTorch calls Glorot's `xavier` and He's `kaiming`.
///
/// # Example
///
/// ```
/// use ndarray_rand::rand::SeedableRng;
/// use plywood::Initializer;
/// use rand_chacha::ChaCha8Rng;
///
/// // The kernel of a 3×3 convolution from 32 to 64 channels.
/// let mut kernel = vec![0.0_f32; 3 * 3 * 32 * 64];
/// let (fan_in, fan_out) = (3 * 3 * 32, 3 * 3 * 64);
/// Initializer::GlorotUniform.fill(&mut kernel, fan_in, fan_out, &mut ChaCha8Rng::seed_from_u64(42))?;
///
/// let largest = kernel.iter().fold(0.0, |largest, weight| weight.abs().max(largest));
/// assert!(largest > 0.083 && largest <= 0.083334); // √(6 / (288 + 576)) = 0.08333
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub enum Initializer {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// All the same.
    Constant {
        /// What every element is.
        value: f64,
    },
    /// U(`min`, `max`).
    #[doc(alias = "RandomUniform")]
    Uniform {
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
    },
    /// N(`mean`, `stddev`²).
    #[doc(alias = "RandomNormal")]
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        stddev: f64,
    },
    /// N(`mean`, `stddev`²), drawn again wherever it is more than two `stddev` from `mean`.
    TruncatedNormal {
        /// Mean.
        mean: f64,
        /// Standard deviation before truncation.
        stddev: f64,
    },
    /// U(±√(6 / (fan_in + fan_out))): keeps the scale of activations and gradients under tanh and the like.
    #[doc(alias = "xavier_uniform")]
    GlorotUniform,
    /// Truncated normal of variance 2 / (fan_in + fan_out).
    #[doc(alias = "xavier_normal")]
    GlorotNormal,
    /// U(±√(6 / fan_in)): keeps the scale of activations under ReLU.
    #[doc(alias = "kaiming_uniform")]
    HeUniform,
    /// Truncated normal of variance 2 / fan_in.
    #[doc(alias = "kaiming_normal")]
    HeNormal,
    /// U(±√(3 / fan_in)).
    LecunUniform,
    /// Truncated normal of variance 1 / fan_in.
    LecunNormal,
}

/// Beyond how many standard deviations a truncated normal is drawn again.
const TRUNCATION: f64 = 2.0;

/// Standard deviation of a standard normal that is truncated at 2, to the digits that Keras has.
const TRUNCATED_STDDEV: f64 = 0.879_625_661_034_239_8;

impl Initializer {
    /// Checks the parameters, on behalf of a layer `owner`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`] for one outside its range.
    pub fn check(&self, owner: &str) -> Result<()> {
        self.check_as::<f64>(owner)
    }

    /// The same, of numbers that this type has.
    pub(crate) fn check_as<T: Scalar>(&self, owner: &str) -> Result<()> {
        let finite = |parameter, value: f64| match T::of(value).is_finite() {
            true => Ok(()),
            false => Err(Error::invalid_parameter(owner, parameter, value, "a finite number")),
        };
        match *self {
            Self::Constant { value } => finite("value", value),
            Self::Uniform { min, max } => {
                finite("min", min)?;
                finite("max", max)?;
                if min > max {
                    return Err(Error::invalid_parameter(owner, "min", min, "a number not above max"));
                }
                Uniform::new_inclusive(min, max)
                    .map(drop)
                    .map_err(|_| Error::invalid_parameter(owner, "max", max, "a number at a finite distance from min"))
            }
            Self::Normal { mean, stddev } | Self::TruncatedNormal { mean, stddev } => {
                finite("mean", mean)?;
                if !(T::of(stddev).is_finite() && stddev >= 0.0) {
                    return Err(Error::invalid_parameter(owner, "stddev", stddev, "a finite number of at least 0"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Fills a parameter with numbers from `rng`, a generator of rand 0.9. The same state of it gives the same numbers.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`], in the initializer's name, for a parameter outside its range, or a fan of 0 where
    /// the scale depends on it. Nothing is written then, and `rng` is as it was.
    pub fn fill<T: Scalar>(
        &self,
        values: &mut [T],
        fan_in: usize,
        fan_out: usize,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<()> {
        let owner = self.name();
        self.check_as::<T>(owner)?;
        match self.distribution(owner, fan_in, fan_out)? {
            Distribution::Constant(value) => values.fill(T::of(value)),
            Distribution::Uniform { min, max } => {
                let uniform = Uniform::new_inclusive(min, max).expect("check has seen the bounds");
                values.fill_with(|| T::of(rng.sample(uniform)));
            }
            Distribution::Normal { mean, stddev, within } => values.fill_with(|| {
                loop {
                    // Its method asks the platform's exp and ln about one draw in a hundred, and takes their last bit
                    // into the value only beyond 3.65 standard deviations.
                    let deviation: f64 = rng.sample(StandardNormal);
                    if deviation.abs() <= within {
                        break T::of(mean + stddev * deviation);
                    }
                }
            }),
        }
        Ok(())
    }

    /// What is drawn, once the fans are known.
    fn distribution(&self, owner: &str, fan_in: usize, fan_out: usize) -> Result<Distribution> {
        let fan = |parameter, fan: usize| match fan {
            0 => Err(Error::invalid_parameter(owner, parameter, fan, "at least 1")),
            _ => Ok(fan as f64),
        };
        let fan_in = || fan("fan_in", fan_in);
        let mean_fan = || Ok::<_, Error>((fan_in()? + fan("fan_out", fan_out)?) / 2.0);
        Ok(match *self {
            Self::Zeros => Distribution::Constant(0.0),
            Self::Ones => Distribution::Constant(1.0),
            Self::Constant { value } => Distribution::Constant(value),
            Self::Uniform { min, max } => Distribution::Uniform { min, max },
            Self::Normal { mean, stddev } => Distribution::Normal { mean, stddev, within: f64::INFINITY },
            Self::TruncatedNormal { mean, stddev } => Distribution::Normal { mean, stddev, within: TRUNCATION },
            Self::GlorotUniform => Distribution::uniform_of_variance(1.0 / mean_fan()?),
            Self::GlorotNormal => Distribution::truncated_of_variance(1.0 / mean_fan()?),
            Self::HeUniform => Distribution::uniform_of_variance(2.0 / fan_in()?),
            Self::HeNormal => Distribution::truncated_of_variance(2.0 / fan_in()?),
            Self::LecunUniform => Distribution::uniform_of_variance(1.0 / fan_in()?),
            Self::LecunNormal => Distribution::truncated_of_variance(1.0 / fan_in()?),
        })
    }

    /// The name of the variant, for errors.
    fn name(&self) -> &'static str {
        match self {
            Self::Zeros => "Zeros",
            Self::Ones => "Ones",
            Self::Constant { .. } => "Constant",
            Self::Uniform { .. } => "Uniform",
            Self::Normal { .. } => "Normal",
            Self::TruncatedNormal { .. } => "TruncatedNormal",
            Self::GlorotUniform => "GlorotUniform",
            Self::GlorotNormal => "GlorotNormal",
            Self::HeUniform => "HeUniform",
            Self::HeNormal => "HeNormal",
            Self::LecunUniform => "LecunUniform",
            Self::LecunNormal => "LecunNormal",
        }
    }
}

/// What an initializer draws from: the few distributions that all of them come down to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Distribution {
    Constant(f64),
    Uniform {
        min: f64,
        max: f64,
    },
    /// Drawn again if more than `within` standard deviations from the mean.
    Normal {
        mean: f64,
        stddev: f64,
        within: f64,
    },
}

impl Distribution {
    /// U(±limit) has the variance limit² / 3.
    fn uniform_of_variance(variance: f64) -> Self {
        let limit = (3.0 * variance).sqrt();
        Self::Uniform { min: -limit, max: limit }
    }

    /// Wide enough before truncation to have this variance after it.
    fn truncated_of_variance(variance: f64) -> Self {
        Self::Normal { mean: 0.0, stddev: variance.sqrt() / TRUNCATED_STDDEV, within: TRUNCATION }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::random::{Purpose, generator};

    /// Fans of a 3×3 convolution from 32 to 64 channels.
    const FANS: (usize, usize) = (3 * 3 * 32, 3 * 3 * 64);

    const SCALED: [Initializer; 6] = [
        Initializer::GlorotUniform,
        Initializer::GlorotNormal,
        Initializer::HeUniform,
        Initializer::HeNormal,
        Initializer::LecunUniform,
        Initializer::LecunNormal,
    ];

    fn rng() -> ChaCha8Rng {
        generator(42, Purpose::Parameter(0))
    }

    fn draw<T: Scalar>(initializer: Initializer, count: usize) -> Vec<T> {
        // NaN shows what was not overwritten.
        let mut values = vec![T::nan(); count];
        initializer.fill(&mut values, FANS.0, FANS.1, &mut rng()).unwrap();
        values
    }

    fn mean_and_variance(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64)
    }

    fn largest(values: &[f64]) -> f64 {
        values.iter().fold(0.0, |largest, value| value.abs().max(largest))
    }

    #[test]
    fn constants_draw_nothing() {
        for (initializer, value) in
            [(Initializer::Zeros, 0.0), (Initializer::Ones, 1.0), (Initializer::Constant { value: -0.25 }, -0.25)]
        {
            let (mut rng, mut values) = (rng(), [f32::NAN; 5]);
            // Biases have no fans: a constant does not ask for them.
            initializer.fill(&mut values, 0, 0, &mut rng).unwrap();
            assert_eq!(values, [value; 5], "{initializer:?}");
            assert_eq!(rng, self::rng(), "{initializer:?}");
        }
    }

    #[test]
    fn uniform_limits_are_those_of_keras() {
        // (288 + 576) / 6 = 144, so 1/12; 288 / 6 = 48; 288 / 3 = 96.
        for (initializer, limit) in [
            (Initializer::GlorotUniform, 1.0 / 12.0),
            (Initializer::HeUniform, 1.0 / 48.0_f64.sqrt()),
            (Initializer::LecunUniform, 1.0 / 96.0_f64.sqrt()),
        ] {
            let largest = largest(&draw(initializer, 100_000));
            // Of 100,000 draws the outermost lies within 0.02 % of the limit, but for once in e²⁰ seeds.
            assert!(largest <= limit && largest > limit * 0.9998, "{initializer:?}: {largest} for {limit}");
        }
    }

    #[test]
    fn variances_are_those_of_the_papers() {
        let expected = [1.0 / 432.0, 1.0 / 432.0, 2.0 / 288.0, 2.0 / 288.0, 1.0 / 288.0, 1.0 / 288.0];
        for (initializer, expected) in SCALED.into_iter().zip(expected) {
            let (mean, variance) = mean_and_variance(&draw(initializer, 100_000));
            // Five standard errors: σ/√n for the mean; σ²·√((kurtosis − 1)/n) for the variance, where the kurtosis is
            // 1.8 for the uniform and 2.37 for the truncated normal distribution.
            assert!(mean.abs() < 5.0 * f64::sqrt(expected / 100_000.0), "{initializer:?}: mean {mean}");
            assert_relative_eq!(variance, expected, max_relative = 5.0 * f64::sqrt(1.37 / 100_000.0));
        }
    }

    #[test]
    fn bounds_and_moments_of_the_plain_distributions() {
        let uniform = draw::<f64>(Initializer::Uniform { min: -1.0, max: 3.0 }, 100_000);
        assert!(uniform.iter().all(|value| (-1.0..=3.0).contains(value)));
        let (mean, variance) = mean_and_variance(&uniform);
        // Five standard errors, as above; variance (3 + 1)²/12.
        assert_relative_eq!(mean, 1.0, epsilon = 0.02);
        assert_relative_eq!(variance, 16.0 / 12.0, max_relative = 0.02);

        let normal = draw::<f64>(Initializer::Normal { mean: 5.0, stddev: 0.5 }, 100_000);
        let (mean, variance) = mean_and_variance(&normal);
        assert_relative_eq!(mean, 5.0, epsilon = 0.01);
        assert_relative_eq!(variance, 0.25, max_relative = 0.025);
        // Nothing is cut: 4.55 % of a normal distribution lie beyond two standard deviations; ± 5 standard errors.
        let beyond = normal.iter().filter(|value| (*value - 5.0).abs() > 1.0).count();
        assert!((4200..4900).contains(&beyond), "{beyond}");
    }

    #[test]
    fn truncation_draws_again_and_does_not_clamp() {
        let values = draw::<f64>(Initializer::TruncatedNormal { mean: 1.0, stddev: 0.1 }, 100_000);
        let largest = values.iter().fold(0.0_f64, |largest, value| largest.max((value - 1.0).abs()));
        assert!(largest <= 0.2 && largest > 0.199, "{largest}");
        // Clamping would pile 4.55 % up at the bounds; drawing again leaves 0.23 % within the outermost 1 %.
        let near = values.iter().filter(|value| (*value - 1.0).abs() > 0.198).count();
        assert!(near < 400, "{near}");
        // It is not widened: 0.1 · 0.87963.
        let (_, variance) = mean_and_variance(&values);
        assert_relative_eq!(variance.sqrt(), 0.087_963, max_relative = 0.01);
    }

    #[test]
    fn the_same_generator_gives_the_same_weights_and_another_gives_others() {
        for initializer in SCALED {
            assert_eq!(draw::<f32>(initializer, 100), draw::<f32>(initializer, 100));
            let mut other = [0.0_f32; 100];
            initializer.fill(&mut other, FANS.0, FANS.1, &mut generator(42, Purpose::Parameter(1))).unwrap();
            assert_ne!(draw::<f32>(initializer, 100), other);
        }
    }

    #[test]
    fn f32_weights_are_f64_weights_rounded() {
        for initializer in SCALED {
            let rounded: Vec<_> = draw::<f64>(initializer, 1000).into_iter().map(|value| value as f32).collect();
            assert_eq!(draw::<f32>(initializer, 1000), rounded, "{initializer:?}");
        }
    }

    /// Another generator or method of drawing would change every seeded result: nobody may do that unawares.
    #[test]
    fn the_first_weights_are_those_of_the_first_release() {
        assert_eq!(draw::<f32>(Initializer::GlorotUniform, 4), [0.030316032, 0.0750459, -0.0120806, 0.021226754]);
        assert_eq!(draw::<f32>(Initializer::HeNormal, 4), [0.045282636, 0.12638621, -0.019976934, 0.045127805]);
    }

    #[test]
    fn a_bound_may_equal_the_other_and_a_spread_may_be_nothing() {
        assert_eq!(draw::<f64>(Initializer::Uniform { min: 0.5, max: 0.5 }, 3), [0.5; 3]);
        assert_eq!(draw::<f64>(Initializer::TruncatedNormal { mean: 0.5, stddev: 0.0 }, 3), [0.5; 3]);
    }

    #[test]
    fn parameters_out_of_range_are_errors() {
        for (initializer, message) in [
            (Initializer::Constant { value: f64::NAN }, "dense: value is NaN, expected a finite number"),
            (Initializer::Uniform { min: 1.0, max: 0.0 }, "dense: min is 1, expected a number not above max"),
            (Initializer::Uniform { min: f64::NAN, max: 0.0 }, "dense: min is NaN, expected a finite number"),
            (Initializer::Uniform { min: 0.0, max: f64::INFINITY }, "dense: max is inf, expected a finite number"),
            (
                Initializer::Normal { mean: 0.0, stddev: -1.0 },
                "dense: stddev is -1, expected a finite number of at least 0",
            ),
            (Initializer::Normal { mean: f64::NAN, stddev: 1.0 }, "dense: mean is NaN, expected a finite number"),
            (
                Initializer::TruncatedNormal { mean: 0.0, stddev: f64::NAN },
                "dense: stddev is NaN, expected a finite number of at least 0",
            ),
        ] {
            assert_eq!(initializer.check("dense").unwrap_err().to_string(), message);
            initializer.fill(&mut [0.0_f32; 3], 1, 1, &mut rng()).unwrap_err();
        }
        // The distance between the bounds overflows.
        Initializer::Uniform { min: f64::MIN, max: f64::MAX }.check("dense").unwrap_err();
        assert!(SCALED.iter().all(|initializer| initializer.check("dense").is_ok()));
    }

    #[test]
    fn a_fan_of_zero_is_an_error_where_the_scale_depends_on_it() {
        let message = |initializer: Initializer, fan_in, fan_out| {
            initializer.fill(&mut [0.0_f32; 3], fan_in, fan_out, &mut rng()).unwrap_err().to_string()
        };
        for initializer in SCALED {
            assert_eq!(message(initializer, 0, 1), format!("{initializer:?}: fan_in is 0, expected at least 1"));
        }
        assert_eq!(message(Initializer::GlorotNormal, 1, 0), "GlorotNormal: fan_out is 0, expected at least 1");
        Initializer::HeNormal.fill(&mut [0.0_f32; 3], 1, 0, &mut rng()).unwrap();
    }
}
