//! The hot loops, on slices only. Nothing here knows layers or models.
//!
//! Each kernel has a plain reference beside it and a test that compares the two. The bits of a result depend on the
//! shapes alone: never on the number of threads, the vector width, or how work was cut into pieces.

pub(crate) mod aligned;
mod columns;
pub(crate) mod convolution;
pub(crate) mod dense;
pub(crate) mod dispatch;
pub(crate) mod elementwise;
pub(crate) mod math;
pub(crate) mod normalization;
pub(crate) mod pack;
pub(crate) mod parallel;
pub(crate) mod pooling;
pub(crate) mod reduce;
pub(crate) mod softmax;
pub(crate) mod sparse_gradient;
pub(crate) mod tile;
