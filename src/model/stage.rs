//! What a model computes: its layers, joined and split where that is faster, with everything made once that a pass needs.

use std::any::Any;
use std::sync::Arc;

use ndarray::{ArrayViewD, ArrayViewMutD, IxDyn};

use super::aligned::Aligned;
use crate::error::Result;
use crate::layers::{Layer, Phase, ReLU, Scratch, ScratchMut, Softmax};
use crate::scalar::Scalar;

/// One step of the computation: a layer, or several joined.
#[derive(Debug, Clone)]
pub(crate) struct Stage<T: Scalar> {
    pub(crate) layer: Arc<dyn Layer<T>>,
    /// The layer of the model whose parameters it has.
    pub(crate) owner: usize,
    pub(crate) input: Extent,
    pub(crate) output: Extent,
}

/// The shape of a batch whose size is still open.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    /// The batch axis, then the sample's; the first entry is overwritten.
    shape: IxDyn,
    sample: usize,
}

impl Extent {
    pub(crate) fn new(sample: &[usize]) -> Self {
        Self { shape: IxDyn(&[&[1], sample].concat()), sample: sample.iter().product() }
    }

    /// Samples of at most two axes, the last of which is the same.
    fn collapsed(&self) -> Self {
        match self.sample() {
            [before @ .., last] if before.len() > 1 => Self::new(&[before.iter().product(), *last]),
            _ => self.clone(),
        }
    }

    /// Shape of one sample.
    pub(crate) fn sample(&self) -> &[usize] {
        &ndarray::Dimension::slice(&self.shape)[1..]
    }

    /// Elements of so many samples.
    pub(crate) fn len(&self, batch: usize) -> usize {
        batch * self.sample
    }

    /// The beginning of a buffer as a batch.
    pub(crate) fn view<'a, T>(&self, buffer: &'a [T], batch: usize) -> ArrayViewD<'a, T> {
        ArrayViewD::from_shape(self.shape(batch), &buffer[..self.len(batch)])
            .expect("the slice is as long as the shape")
    }

    pub(crate) fn view_mut<'a, T>(&self, buffer: &'a mut [T], batch: usize) -> ArrayViewMutD<'a, T> {
        ArrayViewMutD::from_shape(self.shape(batch), &mut buffer[..self.len(batch)])
            .expect("the slice is as long as the shape")
    }

    fn shape(&self, batch: usize) -> IxDyn {
        let mut shape = self.shape.clone();
        shape[0] = batch;
        shape
    }
}

impl<T: Scalar> Stage<T> {
    /// The stages of a model's layers, each with its input shape.
    pub(crate) fn of<'a>(layers: impl Iterator<Item = (&'a Arc<dyn Layer<T>>, &'a [usize])>) -> Result<Vec<Self>> {
        let mut stages: Vec<Self> = vec![];
        for (owner, (layer, input)) in layers.enumerate() {
            let parts = match layer.split() {
                Some(parts) => parts.to_vec(),
                None => vec![layer.clone()],
            };
            let mut input = input.to_vec();
            for layer in parts {
                let plan = layer.plan(&input)?;
                let joined = match stages.last() {
                    // what is joined keeps the parameters of its first layer, so the others must have none; and no
                    // reshaping may lie between
                    Some(last) if plan.parameters.is_empty() && last.output.sample() == input => {
                        last.layer.absorb(layer.as_ref())
                    }
                    _ => None,
                };
                let output = Extent::new(&plan.output);
                match (joined, stages.last_mut()) {
                    (Some(layer), Some(last)) => (last.layer, last.output) = (layer, output),
                    _ if layer.only_reshapes() => {}
                    _ => stages.push(Self { layer, owner, input: Extent::new(&input), output }),
                }
                input = plan.output;
            }
        }
        stages.iter_mut().for_each(Self::collapse);
        Ok(stages)
    }

    /// Gives samples of many axes fewer where the layer only looks at the last: each view of more than four axes takes
    /// memory.
    fn collapse(&mut self) {
        let layer: &dyn Any = self.layer.as_ref();
        if layer.is::<ReLU>() || layer.is::<Softmax>() {
            (self.input, self.output) = (self.input.collapsed(), self.output.collapsed());
        }
    }

    /// Whether one sample can be computed in the memory there is.
    pub(crate) fn fits_into_memory(&self) -> bool {
        let Scratch { values, indices } = self.layer.scratch(self.input.sample(), 1, Phase::Training);
        let mut probe: (Vec<T>, Vec<u32>) = Default::default();
        let fits = probe.0.try_reserve_exact(self.output.len(1).saturating_add(values)).is_ok()
            && probe.1.try_reserve_exact(indices).is_ok();
        // who does not look at the memory is not given any by an optimising compiler
        std::hint::black_box(&probe);
        fits
    }

    pub(crate) fn is_softmax(&self) -> bool {
        let layer: &dyn Any = self.layer.as_ref();
        layer.is::<Softmax>()
    }
}

/// A stage's working memory.
#[derive(Debug)]
pub(crate) struct Scratchpad<T> {
    values: Aligned<T>,
    indices: Vec<u32>,
}

impl<T: Scalar> Scratchpad<T> {
    /// One that serves any of these stages, one after the other.
    pub(crate) fn for_stages(stages: &[Stage<T>], batch: usize, phase: Phase) -> Self {
        let sizes = stages.iter().map(|stage| stage.layer.scratch(stage.input.sample(), batch, phase));
        Self::new(sizes.fold(Scratch::default(), |most, size| Scratch {
            values: most.values.max(size.values),
            indices: most.indices.max(size.indices),
        }))
    }

    pub(crate) fn new(size: Scratch) -> Self {
        Self { values: Aligned::new(size.values), indices: vec![0; size.indices] }
    }

    pub(crate) fn as_mut(&mut self) -> ScratchMut<'_, T> {
        ScratchMut { values: self.values.as_mut_slice(), indices: &mut self.indices }
    }
}
