//! `exp` and `ln` of the crate's own, so that results do not change with the platform's mathematics library.
//!
//! Each is one function without branches, of `+ − · /`, fused multiply-add, comparisons and integer operations on the
//! bits. All of these are exactly rounded or exact, so a result has the same bits on every machine, called for one number
//! or in a loop that the compiler turns into vectors (see [`vectorized`](super::dispatch::vectorized)). Conversions
//! between integers and floats are done by adding a large constant, because not every instruction set has them as vectors.
//!
//! | function | distance from the correctly rounded result | found on |
//! |---|---|---|
//! | `exp` of f32 | at most 1 ulp (error at most 0.85 ulp) | all 2³² values |
//! | `ln` of f32 | at most 1 ulp (error at most 0.86 ulp) | all 2³² values |
//! | `exp` of f64 | at most 1 ulp (error at most 0.84 ulp) | 1.5 million values against 120-bit arithmetic |
//! | `ln` of f64 | at most 1 ulp (error at most 0.81 ulp) | 1.5 million values against 120-bit arithmetic |

use num_traits::Float;

/// Functions that a platform's library may round as it likes, and that must be the same everywhere.
///
/// A NaN comes out where one went in or where the function is not defined; which of the many NaNs it is, is left open.
pub trait Transcendental: Sized {
    /// eˣ, at most 1 ulp from the correctly rounded result. Results below the normal range lose bits gradually, down to
    /// 0; those above it are ∞.
    fn exponential(self) -> Self;

    /// ln x, at most 1 ulp from the correctly rounded result; −∞ at ±0, NaN below.
    fn logarithm(self) -> Self;
}

macro_rules! transcendental {
    (
        $float:ident, $bits:ident,
        // e^above is ∞ and e^below is 0, as is everything beyond.
        below: $below:literal, above: $above:literal,
        // ln 2 in two parts. The first ends in zeros, enough that its product with any exponent is exact.
        ln_2: [$ln_2_high:literal, $ln_2_low:literal],
        // 1/2!, 1/3!, …: eˣ = 1 + x + x²·(1/2! + x·(1/3! + …)) for |x| ≤ ln 2 / 2.
        exponential: [$($factorial:literal),*],
        // 2/3, 2/5, …: ln((1 + s) / (1 − s)) = 2s + s·(2/3·s² + 2/5·s⁴ + …) for |s| ≤ 0.172.
        logarithm: [$($odd:literal),*]
    ) => {
        impl Transcendental for $float {
            // e^x = 2^n · e^r with n = x / ln 2 rounded and |r| ≤ ln 2 / 2.
            #[inline(always)]
            fn exponential(self) -> $float {
                const FRACTION: u32 = $float::MANTISSA_DIGITS - 1;
                // Twice the exponent's bias. It keeps the integer below from being negative.
                const OFFSET: $float = (2 * ($float::MAX_EXP - 1)) as $float;
                // From 2^FRACTION to twice that, neighbouring numbers are 1 apart: adding this rounds to an integer, and
                // leaves it in the last bits.
                const MAGIC: $float = 1.5 * ((1 as $bits) << FRACTION) as $float;

                // NaN passes both.
                let x = if self > $above { $above } else { self };
                let x = if x < $below { $below } else { x };

                let shifted = x.mul_add(std::$float::consts::LOG2_E, MAGIC + OFFSET);
                let n = shifted - (MAGIC + OFFSET);
                // r = high − low; high is exact, and enters the sum without the rounding of r.
                let high = (-n).mul_add($ln_2_high, x);
                let low = n * $ln_2_low;
                let r = high - low;
                let p = 1.0 + (high + (r * r).mul_add(polynomial(r, [$(1.0 / $factorial),*]), -low));

                // 2^n as the product of two powers, so that neither overflows and a subnormal result is rounded once.
                let biased = shifted.to_bits().wrapping_sub(MAGIC.to_bits());
                let first = biased >> 1;
                let second = biased.wrapping_sub(first);
                p * $float::from_bits(first << FRACTION) * $float::from_bits(second << FRACTION)
            }

            // ln x = k · ln 2 + ln m with m from √½ to √2, and with f = m − 1, s = f / (2 + f):
            // ln m = ln((1 + s) / (1 − s)) = f − (f²/2 − s·(f²/2 + R(s²))), which rounds f² and less, but not f.
            #[inline(always)]
            fn logarithm(self) -> $float {
                const FRACTION: u32 = $float::MANTISSA_DIGITS - 1;
                const FRACTION_BITS: $bits = (1 << FRACTION) - 1;
                const BIAS: $float = ($float::MAX_EXP - 1) as $float;
                const SQRT_HALF: $bits = std::$float::consts::FRAC_1_SQRT_2.to_bits();
                const ONE: $bits = (1.0 as $float).to_bits();
                // With an integer in its last bits, this is 2^FRACTION plus that integer.
                const MAGIC: $float = ((1 as $bits) << FRACTION) as $float;
                const LIFT: $float = $float::MANTISSA_DIGITS as $float;
                const TWO_TO_LIFT: $float = ((1 as $bits) << $float::MANTISSA_DIGITS) as $float;

                let subnormal = self < $float::MIN_POSITIVE;
                let x = if subnormal { self * TWO_TO_LIFT } else { self };
                let lift = if subnormal { LIFT } else { 0.0 };

                let bits = x.to_bits().wrapping_add(ONE - SQRT_HALF);
                let k = $float::from_bits((bits >> FRACTION) | MAGIC.to_bits()) - (MAGIC + BIAS) - lift;
                let m = $float::from_bits((bits & FRACTION_BITS).wrapping_add(SQRT_HALF));

                let f = m - 1.0;
                let s = f / (2.0 + f);
                let z = s * s;
                let half = 0.5 * f * f;
                let tail = s.mul_add(z.mul_add(polynomial(z, [$(2.0 / $odd),*]), half), k * $ln_2_low);
                let y = k * $ln_2_high - ((half - tail) - f);

                let y = if self < $float::INFINITY { y } else { self };
                let y = if self < 0.0 { $float::NAN } else { y };
                if self == 0.0 { $float::NEG_INFINITY } else { y }
            }
        }
    };
}

/// c₀ + c₁·x + c₂·x² + …
#[inline(always)]
fn polynomial<T: Float, const N: usize>(x: T, coefficients: [T; N]) -> T {
    let mut sum = coefficients[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        sum = sum.mul_add(x, coefficients[i]);
    }
    sum
}

transcendental!(
    f32, u32,
    below: -104.0, above: 89.0,
    ln_2: [0.693_145_75, 1.428_606_8e-6],
    exponential: [2.0, 6.0, 24.0, 120.0, 720.0, 5_040.0, 40_320.0],
    logarithm: [3.0, 5.0, 7.0, 9.0]
);
transcendental!(
    f64, u64,
    below: -746.0, above: 710.0,
    ln_2: [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10],
    exponential: [
        2.0, 6.0, 24.0, 120.0, 720.0, 5_040.0, 40_320.0, 362_880.0, 3_628_800.0, 39_916_800.0, 479_001_600.0,
        6_227_020_800.0
    ],
    logarithm: [3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 17.0, 19.0, 21.0]
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::dispatch::vectorized;

    /// How many representable numbers lie from one to the other, of the same sign.
    fn ulps_f32(a: f32, b: f32) -> u32 {
        a.to_bits().abs_diff(b.to_bits())
    }

    fn ulps_f64(a: f64, b: f64) -> u64 {
        a.to_bits().abs_diff(b.to_bits())
    }

    /// Checks both functions on numbers of all magnitudes and signs, `stride` bit patterns apart, against f64.
    #[inline(always)]
    fn compare_f32(stride: usize) {
        for bits in (0..=u32::MAX).step_by(stride) {
            let x = f32::from_bits(bits);
            let (exponential, logarithm) = (f64::from(x).exp() as f32, f64::from(x).ln() as f32);
            if exponential.is_nan() {
                assert!(x.exponential().is_nan(), "exp of {x:e} ({bits:#x})");
            } else {
                assert!(ulps_f32(x.exponential(), exponential) <= 1, "exp of {x:e} ({bits:#x})");
            }
            if logarithm.is_nan() {
                assert!(x.logarithm().is_nan(), "ln of {x:e} ({bits:#x})");
            } else {
                assert!(ulps_f32(x.logarithm(), logarithm) <= 1, "ln of {x:e} ({bits:#x})");
            }
        }
    }

    #[test]
    fn f32_is_within_an_ulp() {
        vectorized(
            #[inline(always)]
            || compare_f32(1009),
        );
    }

    #[test]
    #[ignore = "takes minutes: all f32 there are"]
    fn f32_is_within_an_ulp_everywhere() {
        vectorized(
            #[inline(always)]
            || compare_f32(1),
        );
    }

    #[test]
    fn f64_is_within_an_ulp_of_the_correctly_rounded_value() {
        let bits = |text| u64::from_str_radix(text, 16).unwrap();
        let (mut count, mut inexact) = (0, 0);
        for line in include_str!("math_reference.txt").lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(' ');
            let mut next = || words.next().unwrap();
            let (name, x, expected) = (next(), f64::from_bits(bits(next())), f64::from_bits(bits(next())));
            let got = if name == "exp" { x.exponential() } else { x.logarithm() };
            assert!(ulps_f64(got, expected) <= 1, "{name} of {x:e} is {got:e}, expected {expected:e}");
            count += 1;
            inexact += usize::from(got != expected);
        }
        // The file begins with values that are known not to come out exact: if they did, something else was tested.
        assert!(count > 400 && inexact > 100, "{inexact} of {count}");
    }

    // The platform's functions are within 1 ulp as well, so 2 is what the two may be apart.
    #[test]
    fn f64_agrees_with_the_platform_in_between() {
        for i in 0..1_000_000 {
            let t = f64::from(i) * 1e-6;
            let x = 1455.0 * t - 745.2;
            assert!(ulps_f64(x.exponential(), x.exp()) <= 2, "exp of {x:e}");
            let x = f64::from_bits(i as u64 * (f64::INFINITY.to_bits() / 1_000_000));
            assert!(ulps_f64(x.logarithm(), x.ln()) <= 2, "ln of {x:e}");
            let x = 0.5 + 1.5 * t;
            assert!(ulps_f64(x.logarithm(), x.ln()) <= 2, "ln of {x:e}");
        }
    }

    macro_rules! special_values {
        ($name:ident, $float:ident, $last_above_zero:literal, $last_finite:literal) => {
            #[test]
            fn $name() {
                let infinity = $float::INFINITY;
                let tiny = $float::from_bits(1);
                for (x, expected) in [
                    (0.0, 1.0),
                    (-0.0, 1.0),
                    (tiny, 1.0),
                    (-tiny, 1.0),
                    (infinity, infinity),
                    (-infinity, 0.0),
                    ($float::MAX, infinity),
                    ($float::MIN, 0.0),
                    ($last_above_zero, tiny),
                    ($last_above_zero * 1.001, 0.0),
                    ($last_finite * 1.001, infinity),
                ] {
                    let (x, expected): ($float, $float) = (x, expected);
                    assert_eq!(x.exponential().to_bits(), expected.to_bits(), "exp of {x:e}");
                }
                let largest: $float = $last_finite;
                assert!(largest.exponential().is_finite());
                for (x, expected) in [(0.0, -infinity), (-0.0, -infinity), (1.0, 0.0), (infinity, infinity)] {
                    let (x, expected): ($float, $float) = (x, expected);
                    assert_eq!(x.logarithm().to_bits(), expected.to_bits(), "ln of {x:e}");
                }
                for x in [-tiny, -1.0, -infinity, $float::NAN] {
                    assert!(x.logarithm().is_nan(), "ln of {x:e}");
                }
                assert!($float::NAN.exponential().is_nan());
                assert!((-$float::NAN).exponential().is_nan());
            }
        };
    }
    special_values!(special_values_f32, f32, -103.97, 88.72);
    special_values!(special_values_f64, f64, -745.13, 709.78);

    // Results are promised to be the same in every version and on every machine; this is where a change would show.
    #[test]
    fn the_bits_are_what_they_always_were() {
        let hash = |bits: &mut dyn Iterator<Item = u64>| {
            bits.fold(0xCBF2_9CE4_8422_2325_u64, |hash, bits| (hash ^ bits).wrapping_mul(0x0000_0100_0000_01B3))
        };
        let x = || (0..20_000).map(|i| f64::from(i) * 0.005 - 50.0);
        assert_eq!(
            [
                hash(&mut x().map(|x| u64::from((x as f32).exponential().to_bits()))),
                hash(&mut x().map(|x| u64::from(((x + 50.001) as f32).logarithm().to_bits()))),
                hash(&mut x().map(|x| x.exponential().to_bits())),
                hash(&mut x().map(|x| (x + 50.001).logarithm().to_bits())),
            ],
            [
                14_426_939_406_971_977_418,
                2_952_915_170_435_729_437,
                12_113_854_993_270_430_277,
                11_794_202_135_709_998_548
            ]
        );
    }

    // Called one by one, out of reach of the vectoriser and, on x86-64, of the fused instructions; and in one loop.
    macro_rules! same_bits {
        ($name:ident, $float:ident, $bits:ident) => {
            #[test]
            fn $name() {
                // Bit patterns strewn evenly over all there are, then numbers of everyday size.
                let step = $bits::MAX / 100_000 - 1;
                let mut x: Vec<$float> = (0..100_000).map(|i| $float::from_bits(i * step)).collect();
                x.extend((0..100_003).map(|i| (i as $float - 50_000.0) * 0.003));
                let (mut exponential, mut logarithm) = (x.clone(), x.clone());
                vectorized(
                    #[inline(always)]
                    || {
                        exponential.iter_mut().for_each(|x| *x = x.exponential());
                        logarithm.iter_mut().for_each(|x| *x = x.logarithm());
                    },
                );
                for ((&x, &exponential), &logarithm) in x.iter().zip(&exponential).zip(&logarithm) {
                    let one = std::hint::black_box(x);
                    let same = |a: $float, b: $float| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                    assert!(same(one.exponential(), exponential), "exp of {x:e}");
                    assert!(same(one.logarithm(), logarithm), "ln of {x:e}");
                }
            }
        };
    }
    same_bits!(scalar_and_vector_give_the_same_bits_f32, f32, u32);
    same_bits!(scalar_and_vector_give_the_same_bits_f64, f64, u64);
}
