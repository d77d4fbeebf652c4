//! The numbers a model computes with: `f32` and `f64`, and the vectors of each that the processor has.
//!
//! [`Scalar`] is what users see. [`Vectors`] is its hidden half: pulp's vector operations under one name for both types,
//! so that each kernel is written once.

use std::fmt::{Debug, Display};
use std::iter::Sum;

use ndarray::ScalarOperand;
use num_traits::{Float, FromPrimitive, NumAssign};
use pulp::Simd;

use crate::compiled::Compiled;
use crate::kernels::math::Transcendental;

/// A number that models compute with: `f32` (the default everywhere) or `f64` (for checks of correctness).
///
/// The trait is sealed: the kernels are written for these two.
///
/// ```
/// use plywood::Scalar;
///
/// fn mean<T: Scalar>(values: &[T]) -> T {
///     values.iter().copied().sum::<T>() / T::of(values.len() as f64)
/// }
/// assert_eq!(mean(&[1.0_f32, 2.0]), 1.5);
/// assert_eq!(mean(&[1.0_f64, 2.0]), 1.5);
/// assert_eq!((f32::NAME, f64::NAME), ("float32", "float64"));
/// ```
pub trait Scalar:
    Float
    + FromPrimitive
    + NumAssign
    + ScalarOperand
    + Sum
    + Debug
    + Display
    + Default
    + Send
    + Sync
    + Vectors
    + Compiled
    + Transcendental
    + 'static
{
    /// The type's name: `float32` or `float64`, as Keras and NumPy spell it.
    const NAME: &'static str;

    /// The nearest value of this type.
    fn of(value: f64) -> Self;
}

impl Scalar for f32 {
    const NAME: &'static str = "float32";

    fn of(value: f64) -> Self {
        value as f32
    }
}

impl Scalar for f64 {
    const NAME: &'static str = "float64";

    fn of(value: f64) -> Self {
        value
    }
}

/// The vector operations that kernels need. All are exactly rounded, so they give the same bits in any vector width.
pub trait Vectors: Copy {
    /// A vector of this number on the instruction set `S`.
    type Vector<S: Simd>: Copy + Debug;

    /// Numbers in a vector.
    fn lanes<S: Simd>() -> usize;
    /// The same number in each lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// `a · b + c`, rounded once.
    fn multiply_add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// `a + b`.
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a` where it is above zero, zero elsewhere; NaN stays NaN.
    fn relu<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
    /// The slice as whole vectors, and what is left over.
    fn as_vectors<S: Simd>(slice: &[Self]) -> (&[Self::Vector<S>], &[Self]);
    /// The slice as whole vectors, and what is left over.
    fn as_vectors_mut<S: Simd>(slice: &mut [Self]) -> (&mut [Self::Vector<S>], &mut [Self]);
    /// A slice of at most one vector's length; missing lanes are zero.
    fn load_partial<S: Simd>(simd: S, slice: &[Self]) -> Self::Vector<S>;
    /// The first lanes of `value` into a slice of at most one vector's length.
    fn store_partial<S: Simd>(simd: S, slice: &mut [Self], value: Self::Vector<S>);
}

macro_rules! vectors {
    ($type:ty, $vector:ident, $lanes:ident, $splat:ident, $mul_add:ident, $add:ident, $less_or_equal:ident, $select:ident,
     $simd:ident, $simd_mut:ident, $load:ident, $store:ident) => {
        impl Vectors for $type {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$lanes
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> S::$vector {
                simd.$splat(value)
            }
            #[inline(always)]
            fn multiply_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }
            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn relu<S: Simd>(simd: S, a: S::$vector) -> S::$vector {
                let zero = simd.$splat(0.0);
                simd.$select(simd.$less_or_equal(a, zero), zero, a)
            }
            #[inline(always)]
            fn as_vectors<S: Simd>(slice: &[Self]) -> (&[S::$vector], &[Self]) {
                S::$simd(slice)
            }
            #[inline(always)]
            fn as_vectors_mut<S: Simd>(slice: &mut [Self]) -> (&mut [S::$vector], &mut [Self]) {
                S::$simd_mut(slice)
            }
            #[inline(always)]
            fn load_partial<S: Simd>(simd: S, slice: &[Self]) -> S::$vector {
                simd.$load(slice)
            }
            #[inline(always)]
            fn store_partial<S: Simd>(simd: S, slice: &mut [Self], value: S::$vector) {
                simd.$store(slice, value);
            }
        }
    };
}

vectors!(
    f32,
    f32s,
    F32_LANES,
    splat_f32s,
    mul_add_f32s,
    add_f32s,
    less_than_or_equal_f32s,
    select_f32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    partial_load_f32s,
    partial_store_f32s
);
vectors!(
    f64,
    f64s,
    F64_LANES,
    splat_f64s,
    mul_add_f64s,
    add_f64s,
    less_than_or_equal_f64s,
    select_f64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    partial_load_f64s,
    partial_store_f64s
);
