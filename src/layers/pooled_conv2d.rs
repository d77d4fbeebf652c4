//! A convolution joined with the max-pooling after it: what `Conv2D` becomes when the model is built. Users do not see
//! it; names, summary and bits are those of the two layers.

use std::any::Any;
use std::sync::Arc;

use super::conv2d::{backward, forward, scratch};
use super::{Activation, Backward, Conv2D, Forward, Layer, MaxPooling2D, Phase, Plan, ReLU, Scratch, kernel_and_bias};
use crate::error::Result;
use crate::kernels::convolution::Convolution;
use crate::model::Block;
use crate::scalar::Scalar;

#[derive(Debug, Clone)]
pub(crate) struct PooledConv2D {
    convolution: Conv2D,
    pooling: MaxPooling2D,
}

impl PooledConv2D {
    pub(crate) fn new(convolution: Conv2D, pooling: MaxPooling2D) -> Self {
        Self { convolution, pooling }
    }

    fn kernel(&self, input: &[usize]) -> Convolution {
        let [height, width] = self.convolution.geometry(input).expect("the input shape was planned").output;
        let between = [height, width, self.convolution.filters()];
        let pool = self.pooling.geometry(&between).expect("the input shape was planned");
        self.convolution.convolution(input).pooled(pool)
    }
}

impl<T: Scalar> Layer<T> for PooledConv2D {
    fn kind(&self) -> &'static str {
        "conv2d"
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        let plan = Layer::<T>::plan(&self.convolution, input)?;
        let output = Layer::<T>::plan(&self.pooling, &plan.output)?.output;
        Ok(Plan { output, ..plan })
    }

    fn scratch(&self, input: &[usize], batch: usize, phase: Phase) -> Scratch {
        scratch::<T>(&self.kernel(input), batch, phase)
    }

    fn prepared_len(&self, input: &[usize]) -> usize {
        self.kernel(input).prepared_len::<T>()
    }

    fn prepare(&self, input: &[usize], parameters: Block<'_, T>, prepared: &mut [T]) {
        T::convolution_prepare(&self.kernel(input), kernel_and_bias(parameters).0, prepared);
    }

    fn forward(&self, pass: Forward<'_, T>) {
        forward(&self.kernel(&pass.x.shape()[1..]), pass);
    }

    fn backward(&self, pass: Backward<'_, T>) {
        backward(&self.kernel(&pass.x.shape()[1..]), pass);
    }

    /// Cutting off below zero after the largest is taken, or before, gives the same bits.
    fn absorb(&self, next: &dyn Layer<T>) -> Option<Arc<dyn Layer<T>>> {
        let relu = self.convolution.is_linear() && (next as &dyn Any).is::<ReLU>();
        relu.then(|| {
            let convolution = self.convolution.clone().activation(Activation::ReLU);
            Arc::new(Self::new(convolution, self.pooling.clone())) as _
        })
    }
}
