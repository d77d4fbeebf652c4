//! What several of the tests use.
#![allow(dead_code, reason = "each test uses a part of it")]

use ndarray_rand::rand::SeedableRng;
use plywood::ndarray::{ArrayD, IxDyn};
use plywood::prelude::*;
use rand_chacha::ChaCha8Rng;

/// Numbers of mean 0 and variance 1 without a pattern, the same for the same seed.
pub(crate) fn numbers<T: Scalar>(shape: &[usize], seed: u64) -> ArrayD<T> {
    let mut numbers = ArrayD::zeros(IxDyn(shape));
    let values = numbers.as_slice_mut().expect("just made");
    Initializer::Normal { mean: 0.0, stddev: 1.0 }
        .fill(values, 1, 1, &mut ChaCha8Rng::seed_from_u64(seed))
        .expect("the parameters are in range");
    numbers
}

/// One pool of each size, for results that must not depend on it.
pub(crate) fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("the system has threads")
}

/// The bits of numbers, which tell −0 from 0 and compare NaN.
pub(crate) fn bits<'a, T: Scalar>(numbers: impl IntoIterator<Item = &'a T>) -> Vec<u64> {
    numbers.into_iter().map(|x| x.to_f64().expect("f32 and f64 are f64s").to_bits()).collect()
}
