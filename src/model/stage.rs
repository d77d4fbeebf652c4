//! What a model computes: its layers, joined and split where that is faster, with everything made once that a pass needs.

use std::any::Any;
use std::sync::Arc;

use ndarray::{ArrayViewD, ArrayViewMutD, IxDyn};

use super::aligned::{Aligned, zeros};
use crate::error::{Error, Result, shape_text};
use crate::layers::{Layer, ParameterSpec, Phase, Plan, ReLU, Scratch, ScratchMut, Softmax};
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
        // more than there can be is refused where the memory is asked for
        batch.saturating_mul(self.sample)
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
            let mut input = input.to_vec();
            for (layer, plan) in parts(layer, &input)? {
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
        zeros::<T>(self.output.len(1).saturating_add(values)).is_some() && zeros::<u32>(indices).is_some()
    }

    pub(crate) fn is_softmax(&self) -> bool {
        let layer: &dyn Any = self.layer.as_ref();
        layer.is::<Softmax>()
    }
}

/// A layer with its plan.
type Part<T> = (Arc<dyn Layer<T>>, Plan);

/// What a layer is computed as, itself or the two that it splits in, each with its plan.
///
/// # Errors
///
/// Those of the plans. [`Error::Layer`] if the two are not what the whole is: a stage has the parameters of its layer, so
/// all must be those of the first part.
pub(crate) fn parts<T: Scalar>(layer: &Arc<dyn Layer<T>>, input: &[usize]) -> Result<Vec<Part<T>>> {
    let whole = layer.plan(input)?;
    let Some([first, second]) = layer.split() else { return Ok(vec![(layer.clone(), whole)]) };
    let before = first.plan(input)?;
    let after = second.plan(&before.output)?;
    let same = |(a, b): (&ParameterSpec, &ParameterSpec)| (a.name, &a.shape) == (b.name, &b.shape);
    let all_first = before.parameters.len() == whole.parameters.len()
        && before.parameters.iter().zip(&whole.parameters).all(same)
        && after.parameters.is_empty();
    if !all_first || after.output != whole.output {
        let message = format!(
            "splits into {} and {}, expected {}: the first part must have all parameters, by name, shape and order, and the \
             second none; return None from split to keep the layer whole",
            plan_text(&before),
            plan_text(&after),
            plan_text(&whole)
        );
        return Err(Error::layer(layer.kind(), message));
    }
    Ok(vec![(first, before), (second, after)])
}

/// `output 5×4×4; kernel 3×3×3×4, bias 4`
pub(crate) fn plan_text(plan: &Plan) -> String {
    let parameters = plan.parameters.iter().map(|spec| format!("{} {}", spec.name, shape_text(&spec.shape)));
    let parameters = parameters.collect::<Vec<_>>().join(", ");
    let parameters = if parameters.is_empty() { "no parameters" } else { &parameters };
    format!("output {}; {parameters}", shape_text(&plan.output))
}

/// A stage's working memory.
#[derive(Debug)]
pub(crate) struct Scratchpad<T> {
    values: Aligned<T>,
    indices: Vec<u32>,
}

impl<T: Scalar> Scratchpad<T> {
    /// One that serves any of these stages, one after the other, if there is memory for it.
    pub(crate) fn for_stages(stages: &[Stage<T>], batch: usize, phase: Phase) -> Option<Self> {
        let sizes = stages.iter().map(|stage| stage.layer.scratch(stage.input.sample(), batch, phase));
        Self::new(sizes.fold(Scratch::default(), |most, size| Scratch {
            values: most.values.max(size.values),
            indices: most.indices.max(size.indices),
        }))
    }

    pub(crate) fn new(size: Scratch) -> Option<Self> {
        Some(Self { values: Aligned::try_new(size.values)?, indices: zeros(size.indices)? })
    }

    pub(crate) fn as_mut(&mut self) -> ScratchMut<'_, T> {
        ScratchMut { values: self.values.as_mut_slice(), indices: &mut self.indices }
    }
}
