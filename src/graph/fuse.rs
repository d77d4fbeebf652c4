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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Activation, Add, Conv2D, Dense, Flatten, Layer, MaxPooling2D, Network, Softmax, Value};
    use crate::model::Planned;
    use crate::shape::Padding;

    /// How many nodes a chain of layers becomes.
    fn nodes<const N: usize>(sample: &[usize], layers: [Arc<dyn Layer>; N]) -> usize {
        let chain = layers.into_iter().map(|layer| (layer, None)).collect();
        Planned::new(Network::chain(sample.to_vec(), chain)).unwrap().into_graph().0.nodes.len()
    }

    #[test]
    fn what_is_in_the_list_is_joined() {
        let dense = |activation| Arc::new(Dense::new(3).activation(activation)) as Arc<dyn Layer>;
        let conv = || Arc::new(Conv2D::new(3, 3)) as Arc<dyn Layer>;
        let (relu, flatten) = (|| Arc::new(ReLU::new()) as Arc<dyn Layer>, || Arc::new(Flatten::new()) as _);
        let pool = || Arc::new(MaxPooling2D::new(2)) as Arc<dyn Layer>;
        let padded = || Arc::new(MaxPooling2D::new(2).padding(Padding::Same)) as Arc<dyn Layer>;
        assert_eq!(nodes(&[4], [dense(Activation::ReLU)]), 1);
        assert_eq!(nodes(&[4], [dense(Activation::Linear), relu()]), 1);
        // a second one has nothing left to do, but a layer of its own
        assert_eq!(nodes(&[4], [dense(Activation::ReLU), relu()]), 2);
        assert_eq!(nodes(&[4], [dense(Activation::Softmax), relu()]), 3);
        assert_eq!(nodes(&[4], [dense(Activation::Linear), Arc::new(Softmax::new())]), 2);
        assert_eq!(nodes(&[4], [dense(Activation::Linear), dense(Activation::Linear)]), 2);
        let image = [7, 7, 2];
        assert_eq!(nodes(&image, [conv(), relu(), pool()]), 1);
        assert_eq!(nodes(&image, [conv(), pool(), relu()]), 1);
        assert_eq!(nodes(&image, [conv(), pool(), pool()]), 2);
        assert_eq!(nodes(&image, [conv(), padded()]), 2);
        assert_eq!(nodes(&image, [conv(), flatten(), relu()]), 2);
    }

    /// A value that something else reads as well has to be there.
    #[test]
    fn what_has_two_readers_is_not_joined() {
        let x = Value::<f32>::with_input([4]);
        let h = x.then(Dense::new(4));
        let y = Add::of([&h, &h.then(ReLU::new())]);
        let (graph, _) = Planned::new(Network::between(&[x], &[y])).unwrap().into_graph();
        assert_eq!(graph.nodes.len(), 3);
    }
}
