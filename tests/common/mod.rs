//! What several of the tests use.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::Arc;

use ndarray_rand::rand::SeedableRng;
use plywood::layers::{Backward, Forward, Phase, Plan, Scratch};
use plywood::model::Block;
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

/// A layer and the one after it, joined as a model joins them.
#[derive(Debug, Clone)]
pub(crate) struct Joined<A, B>(pub(crate) A, pub(crate) B);

impl<A, B> Joined<A, B> {
    fn joined<T: Scalar>(&self) -> Arc<dyn Layer<T>>
    where
        A: Layer<T>,
        B: Layer<T>,
    {
        self.0.absorb(&self.1).expect("the two can be joined")
    }
}

impl<T: Scalar, A: Layer<T> + Clone, B: Layer<T> + Clone> Layer<T> for Joined<A, B> {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }
    fn plan(&self, input: &[usize]) -> plywood::Result<Plan> {
        self.joined::<T>().plan(input)
    }
    fn scratch(&self, input: &[usize], batch: usize, phase: Phase) -> Scratch {
        self.joined::<T>().scratch(input, batch, phase)
    }
    fn prepared_len(&self, input: &[usize]) -> usize {
        self.joined::<T>().prepared_len(input)
    }
    fn prepare(&self, input: &[usize], parameters: Block<'_, T>, prepared: &mut [T]) {
        self.joined::<T>().prepare(input, parameters, prepared);
    }
    fn forward(&self, pass: Forward<'_, T>) {
        self.joined::<T>().forward(pass);
    }
    fn backward(&self, pass: Backward<'_, T>) {
        self.joined::<T>().backward(pass);
    }
}

/// FNV-1a of 64 bits: a hash that stays the same from one version of Rust to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    }

    fn write_u32(&mut self, number: u32) {
        self.write(&number.to_le_bytes());
    }

    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }
}

/// The instruction sets narrower than this machine's that `PLYWOOD_SIMD` can ask for.
pub(crate) fn instruction_sets() -> &'static [&'static str] {
    if plywood::testing::instruction_set().starts_with("AVX") { &["scalar", "v3"] } else { &["scalar"] }
}
