//! What is computed up to: the outputs of a graph, or the logits before them that a loss differentiates.

use std::any::Any;

use super::{Graph, ValueId};
use crate::layers::SoftmaxOp;
use crate::scalar::Scalar;

/// The ends of a graph, for a certain loss of each output.
#[derive(Debug)]
pub(crate) struct Heads {
    /// For each output the value that is computed: it, or its logits.
    pub(crate) values: Vec<ValueId>,
    /// Whether it is the logits, because the loss takes the final Softmax over.
    pub(crate) from_logits: Vec<bool>,
    /// Which nodes are computed.
    pub(crate) runs: Vec<bool>,
}

impl Heads {
    /// `fuses_softmax` says whether the loss of an output, by its number, takes over a final Softmax.
    pub(crate) fn new<T: Scalar>(graph: &Graph<T>, fuses_softmax: impl Fn(usize) -> bool) -> Self {
        let mut heads = Self::plain(graph);
        for (number, &output) in graph.outputs.iter().enumerate() {
            let root = graph.roots[output];
            let uses = graph.outputs.iter().filter(|&&other| graph.roots[other] == root).count();
            let last = |value: ValueId| graph.shape(value).sample().last();
            // after a reshaping, the loss would take the Softmax over another axis
            if !fuses_softmax(number)
                || uses > 1
                || graph.consumers(root).next().is_some()
                || last(root) != last(output)
            {
                continue;
            }
            let softmax = graph.nodes.iter().position(|node| {
                let op: &dyn Any = node.op.as_ref();
                node.outputs == [root] && op.is::<SoftmaxOp>()
            });
            if let Some(index) = softmax {
                heads.runs[index] = false;
                (heads.values[number], heads.from_logits[number]) = (graph.nodes[index].inputs[0], true);
            }
        }
        heads
    }

    /// All nodes, up to the outputs themselves.
    pub(crate) fn plain<T: Scalar>(graph: &Graph<T>) -> Self {
        Self {
            values: graph.outputs.clone(),
            from_logits: vec![false; graph.outputs.len()],
            runs: vec![true; graph.nodes.len()],
        }
    }
}
