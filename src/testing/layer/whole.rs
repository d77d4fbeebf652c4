//! A layer that is run in one piece.

use crate::error::Result;
use crate::layers::{Backward, Forward, Layer, Phase, Plan, Scratch};
use crate::model::Block;
use crate::scalar::Scalar;

/// The same layer, but that it does not split.
#[derive(Debug, Clone)]
pub(super) struct Whole<L>(pub(super) L);

impl<T: Scalar, L: Layer<T>> Layer<T> for Whole<L> {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        self.0.plan(input)
    }

    fn scratch(&self, input: &[usize], batch: usize, phase: Phase) -> Scratch {
        self.0.scratch(input, batch, phase)
    }

    fn prepared_len(&self, input: &[usize]) -> usize {
        self.0.prepared_len(input)
    }

    fn prepare(&self, input: &[usize], parameters: Block<'_, T>, prepared: &mut [T]) {
        self.0.prepare(input, parameters, prepared);
    }

    fn forward(&self, pass: Forward<'_, T>) {
        self.0.forward(pass);
    }

    fn backward(&self, pass: Backward<'_, T>) {
        self.0.backward(pass);
    }
}
