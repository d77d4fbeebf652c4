//! From layers to nodes: plans each layer, names it, inlines the layers that it is made of, and leaves out what only gives
//! its input another shape.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Graph, LayoutBuilder, Node, ValueId};
use crate::error::{Error, Result, shape_text};
use crate::layers::{Activation, BatchShape, Computation, Endpoint, GivenValues, Layer, Network, ParameterSpec, Plan};
use crate::scalar::Scalar;
use crate::shape::elements;

/// A network whose shapes and settings fit.
#[derive(Debug)]
pub(crate) struct Expanded<T: Scalar> {
    pub(crate) graph: Graph<T>,
    pub(crate) layout: LayoutBuilder,
    /// The network's own layers.
    pub(crate) layers: Vec<ExpandedLayer>,
    /// All parameters in the order in which layers asked for them.
    pub(crate) parameters: Vec<Requested<T>>,
}

/// A parameter that a layer asked for.
#[derive(Debug)]
pub(crate) struct Requested<T: Scalar> {
    pub(crate) layer: String,
    pub(crate) spec: ParameterSpec,
    /// What it is at first, if not what its initializer draws: values, and its name among them.
    pub(crate) given: Option<(Arc<dyn GivenValues<T>>, String)>,
}

/// What becomes of a layer of the network.
#[derive(Debug)]
pub(crate) struct ExpandedLayer {
    pub(crate) name: String,
    pub(crate) inputs: Vec<Vec<usize>>,
    pub(crate) outputs: Vec<Vec<usize>>,
    /// The blocks of it and of the layers that it is made of; none if they are those of a layer before it.
    pub(crate) blocks: std::ops::Range<usize>,
    pub(crate) multiply_adds: usize,
    /// Whether it gives its input another shape and nothing more.
    pub(crate) reshapes: bool,
    /// Whether it was applied before, so that its parameters are those of that time.
    pub(crate) shared: bool,
}

/// Expands a network. `inputs` are the shapes of a sample of each of its inputs.
pub(crate) fn expand<T: Scalar>(network: &Network<T>) -> Result<Expanded<T>> {
    if network.applications.is_empty() {
        return Err(Error::EmptyModel);
    }
    let mut expansion = Expansion::default();
    for (i, input) in network.inputs.iter().enumerate() {
        let name = || if network.inputs.len() == 1 { "input".to_owned() } else { format!("input_{i}") };
        if input.is_empty() || input.contains(&0) {
            let got = format!("{input:?}");
            return Err(Error::invalid_parameter(name(), "sample shape", got, "at least one axis, each at least 1"));
        }
        elements(input).ok_or_else(|| Error::TooLarge { owner: name(), what: "a sample" })?;
        let value = expansion.value(input);
        expansion.inputs.push(value);
    }
    let inputs = expansion.inputs.clone();
    let outputs = expansion.network(network, &inputs, "", false)?;
    let Expansion { nodes, shapes, roots, inputs, layout, layers, parameters, .. } = expansion;
    Ok(Expanded { graph: Graph { nodes, shapes, roots, inputs, outputs }, layout, layers, parameters })
}

#[derive(Debug)]
struct Expansion<T: Scalar> {
    nodes: Vec<Node<T>>,
    shapes: Vec<BatchShape>,
    roots: Vec<ValueId>,
    inputs: Vec<ValueId>,
    layout: LayoutBuilder,
    layers: Vec<ExpandedLayer>,
    parameters: Vec<Requested<T>>,
    /// Values for the parameters of layers within the one of this name, the outermost first.
    given: Vec<(String, Arc<dyn GivenValues<T>>)>,
    /// The block of each layer by its name, for layers that are applied again.
    blocks: HashMap<String, usize>,
    /// How many layers have drawn a number for their random numbers.
    random: usize,
    multiply_adds: usize,
}

impl<T: Scalar> Default for Expansion<T> {
    fn default() -> Self {
        Self {
            nodes: vec![],
            shapes: vec![],
            roots: vec![],
            inputs: vec![],
            layout: LayoutBuilder::default(),
            layers: vec![],
            parameters: vec![],
            given: vec![],
            blocks: HashMap::new(),
            random: 0,
            multiply_adds: 0,
        }
    }
}

/// The names of the layers of one network.
#[derive(Debug, Default)]
struct Names {
    counts: HashMap<&'static str, usize>,
    taken: HashSet<String>,
}

impl Names {
    /// The name of the next layer of a kind: `dense`, `dense_1`, `dense_2`, without those that are taken.
    fn next(&mut self, kind: &'static str) -> String {
        let count = self.counts.entry(kind).or_default();
        loop {
            let name = match *count {
                0 => kind.to_owned(),
                n => format!("{kind}_{n}"),
            };
            *count += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

impl<T: Scalar> Expansion<T> {
    /// A new value of this shape.
    fn value(&mut self, sample: &[usize]) -> ValueId {
        self.shapes.push(BatchShape::new(sample));
        self.roots.push(self.roots.len());
        self.roots.len() - 1
    }

    /// All layers of a network applied to these values; returns its outputs. Within a layer of the name `scope`; `shared` if
    /// that has been applied before.
    fn network(&mut self, network: &Network<T>, inputs: &[ValueId], scope: &str, shared: bool) -> Result<Vec<ValueId>> {
        let mut names = self.given_names(network, scope)?;
        // of layers that have been applied, by their identity
        let mut applied: HashMap<usize, String> = HashMap::new();
        let mut results: Vec<Vec<ValueId>> = vec![];
        for application in &network.applications {
            let before = applied.get(&application.identity());
            let again = before.is_some();
            let name = match (before, &application.name) {
                (Some(name), _) | (None, Some(name)) => name.clone(),
                (None, None) => names.next(application.layer.kind()),
            };
            let full = if scope.is_empty() { name.clone() } else { format!("{scope}/{name}") };
            applied.insert(application.identity(), name);
            let values: Vec<ValueId> = application
                .inputs
                .iter()
                .map(|input| resolve(*input, inputs, &results, &full))
                .collect::<Result<_>>()?;
            let top = scope.is_empty();
            let (first_block, multiply_adds) = (self.layout.blocks(), self.multiply_adds);
            let outputs = self.layer(application.layer.as_ref(), &values, &full, shared || again)?;
            if top {
                let shape = |&value: &ValueId| self.shapes[value].sample().to_vec();
                let reshapes =
                    outputs.iter().all(|&output| values.iter().any(|&v| self.roots[v] == self.roots[output]));
                self.layers.push(ExpandedLayer {
                    name: full,
                    inputs: values.iter().map(shape).collect(),
                    outputs: outputs.iter().map(shape).collect(),
                    blocks: first_block..self.layout.blocks(),
                    multiply_adds: self.multiply_adds.saturating_sub(multiply_adds),
                    reshapes,
                    shared: again,
                });
            }
            results.push(outputs);
        }
        if network.all_outputs {
            return Ok(results.pop().unwrap_or_default());
        }
        network.outputs.iter().map(|output| resolve(*output, inputs, &results, "the model")).collect()
    }

    /// The names that the user gave to the layers of a network.
    fn given_names(&self, network: &Network<T>, scope: &str) -> Result<Names> {
        let mut names = Names::default();
        let mut owners: HashMap<&str, usize> = HashMap::new();
        for application in &network.applications {
            let Some(name) = application.name.as_deref() else { continue };
            let owner = || if scope.is_empty() { name.to_owned() } else { format!("{scope}/{name}") };
            if name.is_empty() || name.contains('/') {
                let expected = "some characters, none of them a slash: it separates a layer from its parameters";
                return Err(Error::invalid_parameter(owner(), "name", format!("{name:?}"), expected));
            }
            if *owners.entry(name).or_insert(application.identity()) != application.identity() {
                let expected = "a name of its own for each layer";
                return Err(Error::invalid_parameter(owner(), "name", "that of another layer too", expected));
            }
            names.taken.insert(name.to_owned());
        }
        Ok(names)
    }

    /// One layer applied to these values.
    fn layer(&mut self, layer: &dyn Layer<T>, inputs: &[ValueId], name: &str, shared: bool) -> Result<Vec<ValueId>> {
        let samples: Vec<&[usize]> = inputs.iter().map(|&input| self.shapes[input].sample()).collect();
        let plan = layer.plan(&samples).map_err(|error| error.in_layer(name))?;
        for output in &plan.outputs {
            if output.contains(&0) {
                let message = format!("puts out samples of shape {}, expected sizes of at least 1", shape_text(output));
                return Err(Error::layer(name, message));
            }
            elements(output).ok_or_else(|| Error::TooLarge { owner: name.to_owned(), what: "the output" })?;
        }
        self.multiply_adds = self.multiply_adds.saturating_add(plan.multiply_adds);
        let random = self.random;
        let outputs = match &plan.computation {
            Computation::Network(network) => {
                if !plan.parameters.is_empty() {
                    let message = "is made of other layers and has parameters of its own; put them into a layer";
                    return Err(Error::layer(name, message));
                }
                let given = self.given.len();
                self.given.extend(plan.given.map(|values| (name.to_owned(), values)));
                let outputs = self.network(network, inputs, name, shared);
                self.given.truncate(given);
                outputs?
            }
            Computation::Reshape => self.reshape(&plan, inputs, name)?,
            Computation::Op(op) => {
                let block = self.block(name, &plan, shared)?;
                self.random += 1;
                let outputs: Vec<ValueId> = plan.outputs.iter().map(|output| self.value(output)).collect();
                let layer = self.layers.len();
                self.nodes.push(Node {
                    op: op.clone(),
                    inputs: inputs.to_vec(),
                    outputs: outputs.clone(),
                    block,
                    layer,
                    random,
                    mixes_samples: plan.mixes_samples,
                });
                outputs
            }
        };
        let activation = |output| self.activation(plan.activation, output, random);
        outputs.into_iter().map(activation).collect::<Result<_>>().map_err(|error| error.in_layer(name))
    }

    /// The value in another shape.
    fn reshape(&mut self, plan: &Plan<T>, inputs: &[ValueId], name: &str) -> Result<Vec<ValueId>> {
        let (&[input], [output]) = (inputs, &plan.outputs[..]) else {
            return Err(Error::layer(name, format!("got {} inputs, expected one", inputs.len())));
        };
        let sample = self.shapes[input].sample();
        if !plan.parameters.is_empty() || elements(output) != elements(sample) {
            let message = format!(
                "says that it only reshapes, but makes {} of {} with {} parameters; expected as many elements and none",
                shape_text(output),
                shape_text(sample),
                plan.parameters.len()
            );
            return Err(Error::layer(name, message));
        }
        let root = self.roots[input];
        let value = self.value(output);
        self.roots[value] = root;
        Ok(vec![value])
    }

    /// A layer's activation, as a node of its own.
    fn activation(&mut self, activation: Activation, input: ValueId, random: usize) -> Result<ValueId> {
        let sample = self.shapes[input].sample().to_vec();
        let Computation::Op(op) = activation.plan(&sample)?.computation else {
            return Ok(input);
        };
        let output = self.value(&sample);
        let block = self.layout.push("", &[])?;
        let layer = self.layers.len();
        let (inputs, outputs) = (vec![input], vec![output]);
        self.nodes.push(Node { op, inputs, outputs, block, layer, random, mixes_samples: false });
        Ok(output)
    }

    /// The block of a layer's parameters: a new one, or that of the first time it was applied.
    fn block(&mut self, name: &str, plan: &Plan<T>, shared: bool) -> Result<usize> {
        if shared && let Some(&block) = self.blocks.get(name) {
            let planned = plan.parameters.iter().map(|spec| &spec.shape[..]);
            let mut known: Vec<&[usize]> = self.layout.block(block).map(|entry| entry.shape()).collect();
            let mut planned: Vec<&[usize]> = planned.collect();
            known.sort_unstable();
            planned.sort_unstable();
            if known != planned {
                let message =
                    "is shared, but would have parameters of other shapes for these inputs than for the first";
                return Err(Error::layer(name, message));
            }
            return Ok(block);
        }
        let block = self.layout.push(name, &plan.parameters)?;
        self.blocks.insert(name.to_owned(), block);
        for spec in &plan.parameters {
            spec.initializer.check_as::<T>(name)?;
            let given = self.given.first().and_then(|(scope, values)| {
                let name = format!("{name}/{}", spec.name);
                let within = name.strip_prefix(scope.as_str())?.strip_prefix('/')?;
                Some((values.clone(), within.to_owned()))
            });
            self.parameters.push(Requested { layer: name.to_owned(), spec: spec.clone(), given });
        }
        Ok(block)
    }
}

fn resolve(endpoint: Endpoint, inputs: &[ValueId], results: &[Vec<ValueId>], name: &str) -> Result<ValueId> {
    let value = match endpoint {
        Endpoint::Input(input) => inputs.get(input),
        Endpoint::Output { application, index } => results[application].get(index),
        Endpoint::Unconnected => {
            let message = "depends on an input that is not among the model's; list all inputs";
            return Err(Error::layer(name, message));
        }
    };
    value.copied().ok_or_else(|| Error::layer(name, "reads an output that the layer before it does not have"))
}
