//! The list of fusions: two ops, one after the other, that are faster as one. The result is what it would be apart, to the
//! last bit.

use std::any::Any;
use std::sync::Arc;

use super::Graph;
use crate::layers::{ConvolutionOp, DenseOp, MaxPoolingOp, Op, ReLU};
use crate::scalar::Scalar;

/// What does the work of both, if there is such an op.
type Fusion<T> = fn(first: &dyn Any, second: &dyn Any) -> Option<Arc<dyn Op<T>>>;

fn fusions<T: Scalar>() -> [Fusion<T>; 3] {
    [dense_relu, convolution_relu, convolution_max_pooling]
}

fn dense_relu<T: Scalar>(first: &dyn Any, second: &dyn Any) -> Option<Arc<dyn Op<T>>> {
    let dense: &DenseOp = first.downcast_ref()?;
    (second.is::<ReLU>() && !dense.kernel.relu).then(|| Arc::new(dense.with_relu()) as _)
}

/// With max-pooling in between as well: cutting off below zero before the largest is taken, or after, gives the same bits.
fn convolution_relu<T: Scalar>(first: &dyn Any, second: &dyn Any) -> Option<Arc<dyn Op<T>>> {
    let convolution: &ConvolutionOp = first.downcast_ref()?;
    (second.is::<ReLU>() && !convolution.has_relu()).then(|| Arc::new(convolution.with_relu()) as _)
}

/// A band of the convolution's output then lives only until it is pooled.
fn convolution_max_pooling<T: Scalar>(first: &dyn Any, second: &dyn Any) -> Option<Arc<dyn Op<T>>> {
    let convolution: &ConvolutionOp = first.downcast_ref()?;
    let pooling: &MaxPoolingOp = second.downcast_ref()?;
    (!convolution.is_pooled() && !pooling.geometry.is_padded()).then(|| Arc::new(convolution.pooled(pooling)) as _)
}

/// Joins what can be joined, from the first node to the last: a node with the only one that reads what it puts out, where
/// that has no parameters and nothing gives the value another shape in between.
pub(crate) fn fuse<T: Scalar>(graph: &mut Graph<T>, has_parameters: impl Fn(usize) -> bool) {
    let fusions = fusions::<T>();
    // for each memory, how many read it; a model's outputs are read by the model
    let mut readers = vec![0_usize; graph.shapes.len()];
    for node in &graph.nodes {
        node.inputs.iter().for_each(|&input| readers[graph.roots[input]] += 1);
    }
    graph.outputs.iter().for_each(|&output| readers[graph.roots[output]] += 1);

    let mut kept: Vec<super::Node<T>> = Vec::with_capacity(graph.nodes.len());
    // where the node is that puts a value out
    let mut producers = vec![None; graph.shapes.len()];
    for node in std::mem::take(&mut graph.nodes) {
        let producer = match node.inputs[..] {
            [input] if readers[graph.roots[input]] == 1 && !has_parameters(node.block) => producers[input],
            _ => None,
        };
        let joined = producer.and_then(|at: usize| {
            let (first, second): (&dyn Any, &dyn Any) = (kept[at].op.as_ref(), node.op.as_ref());
            (kept[at].outputs.len() == 1).then(|| fusions.iter().find_map(|fusion| fusion(first, second)))?
        });
        let at = match (joined, producer) {
            (Some(op), Some(at)) => {
                (kept[at].op, kept[at].outputs) = (op, node.outputs);
                at
            }
            _ => {
                kept.push(node);
                kept.len() - 1
            }
        };
        for &output in &kept[at].outputs {
            producers[output] = Some(at);
        }
    }
    graph.nodes = kept;
}
