//! The large kernels, compiled once, in this crate.
//!
//! Generic functions are compiled where they are used: every program, example and test would compile each kernel for each
//! instruction set again, which takes a minute. A method of a trait that is implemented for `f32` and `f64` by name is
//! not generic.

use std::ops::Range;

use super::dispatch::dispatch;
use super::pooling;
use super::sparse_gradient::{InputGradient, WeightGradient};
use super::tile::Product;
use crate::shape::Geometry;

/// What a number type's kernels compute.
pub trait Compiled: Sized {
    /// See [`Product`].
    fn product(product: Product<'_, Self>);
    /// See [`WeightGradient`].
    fn weight_gradient(gradient: WeightGradient<'_, Self>);
    /// See [`InputGradient`].
    fn input_gradient(gradient: InputGradient<'_, Self>);
    /// See [`pooling::max_pool`].
    fn max_pool(
        geometry: &Geometry,
        x: &[Self],
        first: usize,
        rows: Range<usize>,
        y: &mut [Self],
        argmax: Option<&mut [u32]>,
    );
}

macro_rules! compiled {
    ($type:ty) => {
        impl Compiled for $type {
            fn product(product: Product<'_, Self>) {
                dispatch(product);
            }
            fn weight_gradient(gradient: WeightGradient<'_, Self>) {
                dispatch(gradient);
            }
            fn input_gradient(gradient: InputGradient<'_, Self>) {
                dispatch(gradient);
            }
            fn max_pool(
                geometry: &Geometry,
                x: &[Self],
                first: usize,
                rows: Range<usize>,
                y: &mut [Self],
                argmax: Option<&mut [u32]>,
            ) {
                pooling::max_pool_rows(geometry, x, first, rows, y, argmax);
            }
        }
    };
}

compiled!(f32);
compiled!(f64);
