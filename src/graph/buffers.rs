//! What lies where: the buffers of values and of gradients, given out by how long each is needed.

use super::{Graph, ValueId};
use crate::layers::{Phase, Place};
use crate::scalar::Scalar;

/// Buffers that are given out and taken back, each as long as the longest that was in it.
#[derive(Debug, Default)]
struct Pool {
    /// Elements of a sample.
    lens: Vec<usize>,
    free: Vec<usize>,
}

impl Pool {
    /// The smallest free buffer that is large enough; else the largest, which grows; else a new one.
    fn take(&mut self, len: usize) -> usize {
        let fits = self.free.iter().enumerate().filter(|&(_, &buffer)| self.lens[buffer] >= len);
        let best = fits.min_by_key(|&(_, &buffer)| self.lens[buffer]).map(|(at, _)| at);
        let largest = || (0..self.free.len()).max_by_key(|&at| self.lens[self.free[at]]);
        match best.or_else(largest) {
            Some(at) => {
                let buffer = self.free.swap_remove(at);
                self.lens[buffer] = self.lens[buffer].max(len);
                buffer
            }
            None => {
                self.lens.push(len);
                self.lens.len() - 1
            }
        }
    }

    fn give_back(&mut self, buffer: usize) {
        self.free.push(buffer);
    }
}

/// Where each value lies.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) of_value: Vec<Place>,
    /// The lengths of the buffers, of one sample.
    pub(crate) lens: Vec<usize>,
    /// Outputs that do not lie where the caller wants them: the number of the output, and its value.
    pub(crate) copied: Vec<(usize, ValueId)>,
}

impl Places {
    /// For a pass over the nodes that `runs` says. In training all values stay, since the backward pass reads them, and the
    /// inputs lie in buffers as well; in prediction, a buffer is reused when what lay in it has been read.
    pub(crate) fn new<T: Scalar>(graph: &Graph<T>, outputs: &[ValueId], runs: &[bool], phase: Phase) -> Self {
        let count = graph.shapes.len();
        let len = |value: ValueId| graph.shape(value).len(1);
        let mut places = vec![Place::Nowhere; count];
        let mut pool = Pool::default();
        for (number, &input) in graph.inputs.iter().enumerate() {
            places[input] = match phase {
                Phase::Training => Place::Buffer(pool.take(len(input))),
                Phase::Inference => Place::Input(number),
            };
        }
        // the last node that reads each memory
        let mut last = vec![None; count];
        let running = || graph.nodes.iter().enumerate().filter(|&(index, _)| runs[index]);
        for (index, node) in running() {
            node.inputs.iter().for_each(|&input| last[graph.roots[input]] = Some(index));
        }
        let is_output = |root: ValueId| outputs.iter().filter(|&&output| graph.roots[output] == root).count();
        let mut copied: Vec<(usize, ValueId)> = vec![];
        for (index, node) in running() {
            for &value in &node.outputs {
                let wanted = is_output(value);
                places[value] = match phase {
                    Phase::Inference if wanted == 1 && last[value].is_none() && node.outputs.len() == 1 => {
                        let number = outputs.iter().position(|&output| graph.roots[output] == value);
                        Place::Output(number.expect("it is an output"))
                    }
                    _ => Place::Buffer(pool.take(len(value))),
                };
            }
            if phase == Phase::Inference {
                let read = node.inputs.iter().map(|&input| graph.roots[input]);
                let unread = node.outputs.iter().copied().filter(|&value| last[value].is_none());
                let mut over: Vec<ValueId> = read.filter(|&root| last[root] == Some(index)).chain(unread).collect();
                over.sort_unstable();
                over.dedup();
                for root in over.into_iter().filter(|&root| is_output(root) == 0) {
                    if let Place::Buffer(buffer) = places[root] {
                        pool.give_back(buffer);
                    }
                }
            }
        }
        for value in 0..count {
            places[value] = places[graph.roots[value]];
        }
        for (number, &output) in outputs.iter().enumerate() {
            if places[output] != Place::Output(number) {
                copied.push((number, output));
            }
        }
        Self { of_value: places, lens: pool.lens, copied }
    }
}

/// The backward pass, node by node from the last.
#[derive(Debug)]
pub(crate) struct BackwardPlan {
    pub(crate) steps: Vec<BackwardStep>,
    /// The lengths of the gradients' buffers, of one sample.
    pub(crate) lens: Vec<usize>,
    /// Where the loss puts the gradient of each output that it differentiates.
    pub(crate) of_outputs: Vec<usize>,
    /// Outputs whose gradient is then added to that of another that is the same value: buffer from, buffer to, the value.
    pub(crate) added_outputs: Vec<Addition>,
    /// Where the gradients of the inputs are at the end, if they are asked for.
    pub(crate) of_inputs: Vec<Option<usize>>,
}

/// A gradient that is added to another, because a value has several consumers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addition {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) value: ValueId,
}

/// One node's part in the backward pass.
#[derive(Debug)]
pub(crate) struct BackwardStep {
    pub(crate) node: usize,
    /// The buffers of the outputs' gradients.
    pub(crate) dy: Vec<usize>,
    /// Outputs that nothing reads, whose gradient is zero.
    pub(crate) zero: Vec<bool>,
    /// The buffers of the inputs' gradients, where they are asked for.
    pub(crate) dx: Vec<Option<usize>>,
    /// What is added up afterwards, in this order.
    pub(crate) additions: Vec<Addition>,
    /// Whether the gradients of the parameters are used.
    pub(crate) learns: bool,
    /// Whether another node with the same parameters has written their gradients before.
    pub(crate) adds_to_gradients: bool,
}

impl BackwardPlan {
    /// `learns` says of a block whether the gradients of its parameters are used; `input_gradients`, whether those of the
    /// graph's inputs are.
    pub(crate) fn new<T: Scalar>(
        graph: &Graph<T>,
        outputs: &[ValueId],
        runs: &[bool],
        learns: impl Fn(usize) -> bool,
        input_gradients: bool,
    ) -> Self {
        let len = |value: ValueId| graph.shape(value).len(1);
        // what something that learns, or an input whose gradient is wanted, has a part in
        let mut wanted = vec![false; graph.shapes.len()];
        graph.inputs.iter().for_each(|&input| wanted[input] = input_gradients);
        for (node, _) in graph.nodes.iter().zip(runs).filter(|&(_, &runs)| runs) {
            let of_inputs = node.inputs.iter().any(|&input| wanted[graph.roots[input]]);
            node.outputs.iter().for_each(|&output| wanted[output] = of_inputs || learns(node.block));
        }

        let mut pool = Pool::default();
        let mut gradients: Vec<Option<usize>> = vec![None; graph.shapes.len()];
        let mut added_outputs = vec![];
        let of_outputs: Vec<usize> = outputs
            .iter()
            .map(|&output| {
                let root = graph.roots[output];
                let buffer = pool.take(len(root));
                match gradients[root] {
                    Some(to) => added_outputs.push(Addition { from: buffer, to, value: root }),
                    None => gradients[root] = Some(buffer),
                }
                buffer
            })
            .collect();
        added_outputs.iter().for_each(|addition: &Addition| pool.give_back(addition.from));

        let mut steps = vec![];
        let mut written = std::collections::HashSet::new();
        for (index, node) in graph.nodes.iter().enumerate().rev().filter(|&(index, _)| runs[index]) {
            let reached = node.outputs.iter().any(|&output| gradients[output].is_some());
            let needed = node.outputs.iter().any(|&output| wanted[output]);
            if !reached || !needed {
                // a gradient that goes no further
                node.outputs.iter().filter_map(|&output| gradients[output].take()).for_each(|b| pool.give_back(b));
                continue;
            }
            let zero = node.outputs.iter().map(|&output| gradients[output].is_none()).collect();
            let dy: Vec<usize> =
                node.outputs.iter().map(|&o| gradients[o].unwrap_or_else(|| pool.take(len(o)))).collect();
            let mut additions = vec![];
            let dx: Vec<Option<usize>> = node
                .inputs
                .iter()
                .map(|&input| {
                    let root = graph.roots[input];
                    wanted[root].then(|| {
                        let buffer = pool.take(len(root));
                        match gradients[root] {
                            Some(to) => additions.push(Addition { from: buffer, to, value: root }),
                            None => gradients[root] = Some(buffer),
                        }
                        buffer
                    })
                })
                .collect();
            dy.iter().for_each(|&buffer| pool.give_back(buffer));
            additions.iter().for_each(|addition: &Addition| pool.give_back(addition.from));
            let learns = learns(node.block);
            let adds_to_gradients = learns && !written.insert(node.block);
            steps.push(BackwardStep { node: index, dy, zero, dx, additions, learns, adds_to_gradients });
        }
        let of_inputs = graph.inputs.iter().map(|&input| gradients[input]).collect();
        Self { steps, lens: pool.lens, of_outputs, added_outputs, of_inputs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_takes_two_buffers_in_turn() {
        let mut pool = Pool::default();
        let first = pool.take(10);
        let second = pool.take(20);
        pool.give_back(first);
        assert_eq!(pool.take(15), first);
        pool.give_back(second);
        assert_eq!(pool.take(5), second);
        assert_eq!(pool.lens, [15, 20]);
    }
}
