//! Runs a graph: the one executor of training, prediction and the test kit.

use super::buffers::{Addition, BackwardPlan, BackwardStep, Places};
use super::{Bound, Node, ValueId};
use crate::kernels::aligned::{Aligned, zeros};
use crate::layers::{
    Backward, BatchShape, Forward, InputGradients, Memory, Phase, Place, Scratch, ScratchMut, Slots, Tensors,
    TensorsMut, Training,
};
use crate::scalar::Scalar;

/// What an executor is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose<'a> {
    /// The largest batch.
    pub(crate) batch: usize,
    pub(crate) phase: Phase,
    /// The values that are put out.
    pub(crate) outputs: &'a [ValueId],
    /// Which nodes are run.
    pub(crate) runs: &'a [bool],
}

/// The arrays of a caller that a pass reads and writes; in training, inputs and outputs lie in buffers instead.
#[derive(Debug)]
pub(crate) struct Io<'a, 'b, T> {
    pub(crate) inputs: &'a [&'a [T]],
    pub(crate) outputs: &'a mut [&'b mut [T]],
}

impl<T> Default for Io<'_, '_, T> {
    fn default() -> Self {
        Self { inputs: &[], outputs: &mut [] }
    }
}

/// What a training pass has beside the parameters.
pub(crate) struct TrainingPass<'a, T> {
    /// The random number of a node.
    pub(crate) random: &'a dyn Fn(usize) -> u64,
    /// The next state of all layers.
    pub(crate) next_state: &'a mut [T],
}

/// Memory for one graph, made once for a largest batch; smaller batches use the beginnings of its buffers.
#[derive(Debug)]
pub(crate) struct Executor<T: Scalar> {
    batch: usize,
    runs: Vec<bool>,
    places: Places,
    buffers: Vec<Aligned<T>>,
    /// One for each node in training, where it lasts until the backward pass; else one for all.
    scratch: Vec<Scratchpad<T>>,
    prepared: Vec<Aligned<T>>,
    backward: Option<BackwardMemory<T>>,
    lent: Lent<T>,
}

/// What only a backward pass needs.
#[derive(Debug)]
struct BackwardMemory<T> {
    plan: BackwardPlan,
    gradients: Vec<Aligned<T>>,
    /// Gradients of shared parameters, before they are added to those of another application.
    apart: Vec<T>,
}

/// Buffers that have been taken from their places while an op writes them.
#[derive(Debug)]
struct Lent<T> {
    outputs: Vec<Option<Aligned<T>>>,
    inputs: Vec<Option<Aligned<T>>>,
}

/// An op's working memory.
#[derive(Debug)]
struct Scratchpad<T> {
    values: Aligned<T>,
    indices: Vec<u32>,
}

impl<T: Scalar> Scratchpad<T> {
    fn new(size: Scratch) -> Option<Self> {
        Some(Self { values: Aligned::try_new(size.values)?, indices: zeros(size.indices)? })
    }

    fn as_mut(&mut self) -> ScratchMut<'_, T> {
        ScratchMut { values: self.values.as_mut_slice(), indices: &mut self.indices }
    }
}

impl<T: Scalar> Executor<T> {
    /// Makes the memory for a batch, if there is as much.
    pub(crate) fn new(bound: Bound<'_, T>, purpose: Purpose<'_>) -> Option<Self> {
        let graph = bound.graph;
        let Purpose { batch, phase, outputs, runs } = purpose;
        let places = Places::new(graph, outputs, runs, phase);
        // before the scratch, whose size is asked for only where as many samples can be
        let buffers = places.lens.iter().map(|len| Aligned::try_new(len.checked_mul(batch)?)).collect::<Option<_>>()?;
        let running = || graph.nodes.iter().zip(runs).filter(|&(_, &runs)| runs).map(|(node, _)| node);
        let scratch = match phase {
            Phase::Training => {
                let size = |(node, &runs): (&Node<T>, &bool)| match runs {
                    true => node.op.scratch(batch, phase),
                    false => Scratch::default(),
                };
                graph.nodes.iter().zip(runs).map(size).map(Scratchpad::new).collect::<Option<_>>()?
            }
            Phase::Inference => {
                let sizes = running().map(|node| node.op.scratch(batch, phase));
                vec![Scratchpad::new(sizes.fold(Scratch::default(), Scratch::or_more))?]
            }
        };
        let prepared_len = |(node, &runs): (&Node<T>, &bool)| if runs { node.op.prepared_len() } else { 0 };
        let prepared = graph.nodes.iter().zip(runs).map(prepared_len).map(Aligned::try_new).collect::<Option<_>>()?;
        let most = |count: fn(&Node<T>) -> usize| Vec::with_capacity(running().map(count).max().unwrap_or(0));
        let lent = Lent { outputs: most(|node| node.outputs.len()), inputs: most(|node| node.inputs.len()) };
        Some(Self { batch, runs: runs.to_vec(), places, buffers, scratch, prepared, backward: None, lent })
    }

    /// Adds the memory of a backward pass, if there is as much. `learns` says of a block whether the gradients of its
    /// parameters are used.
    pub(crate) fn with_backward(
        mut self,
        bound: Bound<'_, T>,
        outputs: &[ValueId],
        learns: impl Fn(usize) -> bool,
        input_gradients: bool,
    ) -> Option<Self> {
        let graph = bound.graph;
        let plan = BackwardPlan::new(graph, outputs, &self.runs, learns, input_gradients);
        let shared = plan.steps.iter().filter(|step| step.adds_to_gradients);
        let lens = shared.map(|step| bound.layout.trainable_range(graph.nodes[step.node].block).len());
        let apart = zeros(lens.max().unwrap_or(0))?;
        let gradients = plan.lens.iter().map(|len| Aligned::try_new(len.checked_mul(self.batch)?));
        let gradients = gradients.collect::<Option<_>>()?;
        self.backward = Some(BackwardMemory { plan, gradients, apart });
        Some(self)
    }

    /// The largest batch there is room for.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// Whether all nodes have a buffer to write to: not after a panic in an op that was writing.
    pub(crate) fn is_whole(&self) -> bool {
        self.lent.outputs.is_empty() && self.lent.inputs.is_empty()
    }

    /// A value that lies in a buffer.
    pub(crate) fn value(&self, bound: Bound<'_, T>, value: ValueId, batch: usize) -> &[T] {
        match self.places.of_value[value] {
            Place::Buffer(buffer) => &self.buffers[buffer].as_slice()[..bound.graph.shape(value).len(batch)],
            place => unreachable!("in training, all values lie in buffers, not {place:?}"),
        }
    }

    pub(crate) fn value_mut(&mut self, bound: Bound<'_, T>, value: ValueId, batch: usize) -> &mut [T] {
        match self.places.of_value[value] {
            Place::Buffer(buffer) => &mut self.buffers[buffer].as_mut_slice()[..bound.graph.shape(value).len(batch)],
            place => unreachable!("in training, all values lie in buffers, not {place:?}"),
        }
    }

    /// The gradient of an output, for the loss to write.
    pub(crate) fn output_gradient(&mut self, output: usize, len: usize) -> &mut [T] {
        let backward = self.backward.as_mut().expect("made for a backward pass");
        &mut backward.gradients[backward.plan.of_outputs[output]].as_mut_slice()[..len]
    }

    /// An output and its gradient, for the loss to read and write.
    pub(crate) fn output_and_gradient(
        &mut self,
        bound: Bound<'_, T>,
        value: ValueId,
        output: usize,
        batch: usize,
    ) -> (&[T], &mut [T]) {
        let len = bound.graph.shape(value).len(batch);
        let Place::Buffer(buffer) = self.places.of_value[value] else {
            unreachable!("in training, all values lie in buffers")
        };
        let backward = self.backward.as_mut().expect("made for a backward pass");
        let gradient = backward.gradients[backward.plan.of_outputs[output]].as_mut_slice();
        (&self.buffers[buffer].as_slice()[..len], &mut gradient[..len])
    }

    /// The gradient of an input after a backward pass that was made to give it.
    pub(crate) fn input_gradient(&self, input: usize) -> Option<&[T]> {
        let backward = self.backward.as_ref()?;
        Some(backward.gradients[backward.plan.of_inputs[input]?].as_slice())
    }

    /// Fills all memory with NaN, to show what is read before it is written.
    pub(crate) fn spoil(&mut self) {
        let gradients = self.backward.iter_mut().flat_map(|backward| &mut backward.gradients);
        let buffers = self.buffers.iter_mut().chain(&mut self.prepared).chain(gradients);
        buffers.for_each(|buffer| buffer.as_mut_slice().fill(T::nan()));
        for scratch in &mut self.scratch {
            let ScratchMut { values, indices } = scratch.as_mut();
            values.fill(T::nan());
            indices.fill(u32::MAX);
        }
    }

    /// Packs the parameters as they are now.
    pub(crate) fn prepare(&mut self, bound: Bound<'_, T>) {
        for (node, prepared) in bound.graph.nodes.iter().zip(&mut self.prepared) {
            let prepared = prepared.as_mut_slice();
            if !prepared.is_empty() {
                node.op.prepare(bound.layout.parameters(node.block, bound.values), prepared);
            }
        }
    }

    /// From the inputs to the outputs.
    pub(crate) fn forward(
        &mut self,
        bound: Bound<'_, T>,
        batch: usize,
        mut io: Io<'_, '_, T>,
        mut training: Option<TrainingPass<'_, T>>,
    ) {
        for index in 0..bound.graph.nodes.len() {
            if self.runs[index] {
                self.forward_node(bound, index, batch, &mut io, training.as_mut());
            }
        }
        for &(number, value) in &self.places.copied {
            let Some(output) = io.outputs.get_mut(number) else { continue };
            let len = bound.graph.shape(value).len(batch);
            let memory = Memory { inputs: io.inputs, before: &self.buffers, after: &[], gap: false };
            output[..len].copy_from_slice(
                Tensors { values: &[value], shapes: &bound.graph.shapes, places: &self.places.of_value, memory, batch }
                    .slice(),
            );
        }
    }

    /// One node of a forward pass.
    pub(crate) fn forward_node(
        &mut self,
        bound: Bound<'_, T>,
        index: usize,
        batch: usize,
        io: &mut Io<'_, '_, T>,
        training: Option<&mut TrainingPass<'_, T>>,
    ) {
        let Bound { graph, layout, values } = bound;
        let node = &graph.nodes[index];
        let shapes = &graph.shapes[..];
        let places = &self.places.of_value[..];
        let several = node.outputs.len() > 1;
        if several {
            let buffers = node.outputs.iter().map(|&output| match places[output] {
                Place::Buffer(buffer) => Some(std::mem::take(&mut self.buffers[buffer])),
                place => unreachable!("one of several outputs lies in a buffer, not {place:?}"),
            });
            self.lent.outputs.extend(buffers);
        }
        let inputs = io.inputs;
        let (slots, memory) = match (several, places[node.outputs[0]]) {
            (true, _) => {
                let memory = Memory { inputs, before: &self.buffers[..], after: &[], gap: false };
                (Slots::Lent(&mut self.lent.outputs), memory)
            }
            (false, Place::Buffer(buffer)) => {
                let (before, rest) = self.buffers.split_at_mut(buffer);
                let (own, after) = rest.split_first_mut().expect("each place has its buffer");
                (Slots::One(own.as_mut_slice()), Memory { inputs, before, after, gap: true })
            }
            (false, Place::Output(output)) => {
                let memory = Memory { inputs, before: &self.buffers[..], after: &[], gap: false };
                (Slots::One(&mut *io.outputs[output]), memory)
            }
            (false, place) => unreachable!("a node writes into a buffer or an output, not {place:?}"),
        };
        let scratch = match &mut self.scratch[..] {
            [only] => only,
            all => &mut all[index],
        };
        node.op.forward(Forward {
            x: Tensors { values: &node.inputs, shapes, places, memory, batch },
            y: TensorsMut { values: &node.outputs, shapes, slots, batch },
            parameters: layout.parameters(node.block, values),
            state: layout.states(node.block, values),
            prepared: self.prepared[index].as_slice(),
            scratch: scratch.as_mut(),
            training: training.map(|pass| Training {
                random: (pass.random)(node.random),
                next_state: layout.next_states(node.block, pass.next_state),
            }),
        });
        if several {
            for (&output, lent) in node.outputs.iter().zip(self.lent.outputs.drain(..)) {
                if let (Place::Buffer(buffer), Some(lent)) = (places[output], lent) {
                    self.buffers[buffer] = lent;
                }
            }
        }
    }

    /// From the gradients of the outputs to those of all parameters that learn, and of the inputs if they are asked for.
    pub(crate) fn backward(&mut self, bound: Bound<'_, T>, batch: usize, gradients: &mut [T]) {
        self.begin_backward(bound, batch);
        for step in 0..self.backward_steps() {
            self.backward_node(bound, step, batch, gradients);
        }
    }

    /// Number of nodes that the backward pass goes through.
    pub(crate) fn backward_steps(&self) -> usize {
        self.backward.as_ref().map_or(0, |backward| backward.plan.steps.len())
    }

    /// The node of a step of the backward pass.
    pub(crate) fn node_of_step(&self, step: usize) -> usize {
        self.backward.as_ref().expect("made for a backward pass").plan.steps[step].node
    }

    /// Brings together what several losses say of one value.
    pub(crate) fn begin_backward(&mut self, bound: Bound<'_, T>, batch: usize) {
        let backward = self.backward.as_mut().expect("made for a backward pass");
        for addition in &backward.plan.added_outputs {
            add(&mut backward.gradients, addition, bound, batch);
        }
    }

    /// One step of the backward pass.
    pub(crate) fn backward_node(&mut self, bound: Bound<'_, T>, step: usize, batch: usize, gradients: &mut [T]) {
        let Bound { graph, layout, values } = bound;
        let BackwardMemory { plan, gradients: buffers, apart } =
            self.backward.as_mut().expect("made for a backward pass");
        let BackwardStep { node: index, dy, zero, dx, additions, learns, adds_to_gradients } = &plan.steps[step];
        let node = &graph.nodes[*index];
        let shapes = &graph.shapes[..];

        let Lent { outputs: lent_dy, inputs: lent_dx } = &mut self.lent;
        lent_dy.extend(dy.iter().map(|&buffer| Some(std::mem::take(&mut buffers[buffer]))));
        lent_dx.extend(dx.iter().map(|buffer| buffer.map(|buffer| std::mem::take(&mut buffers[buffer]))));
        for (lent, _) in lent_dy.iter_mut().zip(zero).filter(|&(_, &zero)| zero) {
            lent.iter_mut().for_each(|lent| lent.as_mut_slice().fill(T::zero()));
        }
        let memory = Memory { inputs: &[], before: &self.buffers[..], after: &[], gap: false };
        let read = |values| Tensors { values, shapes, places: &self.places.of_value, memory, batch };
        node.op.backward(Backward {
            x: read(&node.inputs),
            y: read(&node.outputs),
            dy: TensorsMut { values: &node.outputs, shapes, slots: Slots::Lent(lent_dy), batch },
            dx: InputGradients { values: &node.inputs, shapes, slots: Slots::Lent(lent_dx), batch },
            parameters: layout.parameters(node.block, values),
            gradients: match adds_to_gradients {
                true => layout.gradients_apart(node.block, apart),
                false => layout.gradients(node.block, gradients, *learns),
            },
            scratch: self.scratch[*index].as_mut(),
        });
        let returned = dy.iter().map(|&buffer| Some(buffer)).zip(lent_dy.drain(..));
        for (buffer, lent) in returned.chain(dx.iter().copied().zip(lent_dx.drain(..))) {
            if let (Some(buffer), Some(lent)) = (buffer, lent) {
                buffers[buffer] = lent;
            }
        }
        for addition in additions {
            add(buffers, addition, bound, batch);
        }
        if *adds_to_gradients {
            let range = layout.trainable_range(node.block);
            T::accumulate(&apart[..range.len()], &mut gradients[range]);
        }
    }
}

/// Adds the gradient of a value from one consumer to that from others.
fn add<T: Scalar>(gradients: &mut [Aligned<T>], addition: &Addition, bound: Bound<'_, T>, batch: usize) {
    let Addition { from, to, value } = *addition;
    let len = bound.graph.shape(value).len(batch);
    let [from, to] = gradients.get_disjoint_mut([from, to]).expect("two gradients of a value have two buffers");
    T::accumulate(&from.as_slice()[..len], &mut to.as_mut_slice()[..len]);
}

/// Whether a batch of one sample can be computed in the memory there is: the shapes of values whose memory cannot be had.
pub(crate) fn fits_into_memory<T: Scalar>(op: &dyn crate::layers::Op<T>, outputs: &[&BatchShape]) -> bool {
    let Scratch { values, indices } = op.scratch(1, Phase::Training);
    let outputs = outputs.iter().fold(0_usize, |sum, shape| sum.saturating_add(shape.len(1)));
    let mut probe: (Vec<T>, Vec<u32>) = Default::default();
    let fits =
        probe.0.try_reserve_exact(outputs.saturating_add(values)).is_ok() && probe.1.try_reserve_exact(indices).is_ok();
    // the optimiser drops an allocation that nobody reads
    std::hint::black_box(&probe);
    fits
}
