//! What a model computes: ops in an order in which they can run, made of layers when the model is built.
//!
//! [`expand`] turns layers into nodes, [`fuse`] joins what is faster together, [`buffers`] says what lies where, and
//! [`executor`] runs it: in training, in prediction and in the test kit alike.

pub(crate) mod buffers;
pub(crate) mod executor;
pub(crate) mod expand;
pub(crate) mod fuse;
pub(crate) mod heads;
mod layout;

use std::sync::Arc;

use crate::layers::{BatchShape, Op};
use crate::scalar::Scalar;

pub use layout::Layout;
pub(crate) use layout::LayoutBuilder;

/// A value of a graph, by its number: an input, or what a node puts out.
pub(crate) type ValueId = usize;

/// Ops in topological order, with the values between them.
#[derive(Debug, Clone)]
pub(crate) struct Graph<T: Scalar> {
    pub(crate) nodes: Vec<Node<T>>,
    /// The shape of each value.
    pub(crate) shapes: Vec<BatchShape>,
    /// For each value the one whose memory it has: itself, or what it is another shape of.
    pub(crate) roots: Vec<ValueId>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
}

/// An op applied to values.
#[derive(Debug, Clone)]
pub(crate) struct Node<T: Scalar> {
    pub(crate) op: Arc<dyn Op<T>>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    /// Whose parameters it has, as the layout counts.
    pub(crate) block: usize,
    /// The layer of the model that it computes, or is a part of.
    pub(crate) layer: usize,
    /// Its number when random numbers are drawn.
    pub(crate) random: usize,
    /// Whether in training, what comes out for a sample depends on its whole batch.
    pub(crate) mixes_samples: bool,
}

impl<T: Scalar> Graph<T> {
    pub(crate) fn shape(&self, value: ValueId) -> &BatchShape {
        &self.shapes[value]
    }

    /// Nodes that read the memory of this value.
    pub(crate) fn consumers(&self, value: ValueId) -> impl Iterator<Item = usize> {
        let root = self.roots[value];
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(move |(_, node)| node.inputs.iter().any(|&input| self.roots[input] == root))
            .map(|(index, _)| index)
    }
}

/// A graph with the parameters that it runs on.
#[derive(Debug)]
pub(crate) struct Bound<'m, T: Scalar> {
    pub(crate) graph: &'m Graph<T>,
    pub(crate) layout: &'m Layout,
    /// All parameters, trainable ones and state.
    pub(crate) values: &'m [T],
}

impl<T: Scalar> Clone for Bound<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Scalar> Copy for Bound<'_, T> {}
