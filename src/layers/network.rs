//! How layers are put together: a [`Value`] is what comes out of one and goes into others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::layer::Layer;
use crate::scalar::Scalar;

/// What a layer puts out, or a model takes in: something that layers can be applied to.
///
/// Nothing is computed and nothing is checked: values only say how layers hang together, until a model is
/// [built](crate::model::Functional) of them. Clones are the same value.
///
/// ```
/// use plywood::layers::Add;
/// use plywood::prelude::*;
///
/// let x = Value::input([16]);
/// let y = x.then(Dense::new(16).activation(Activation::ReLU)).then(Dense::new(16));
/// let y = Add::of([&y, &x]).then(Dense::new(2));
/// let model = Functional::new([&x], [&y]).build(42)?;
/// assert_eq!(model.output_shape(), [2]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Value<T: Scalar = f32> {
    source: Arc<Source<T>>,
    output: usize,
}

/// Where values come from.
#[derive(Debug)]
struct Source<T: Scalar> {
    /// Sources in the order in which they were made.
    number: u64,
    kind: SourceKind<T>,
}

#[derive(Debug)]
enum SourceKind<T: Scalar> {
    Input(Vec<usize>),
    Layer(Application<T, Value<T>>),
}

/// A layer applied to inputs.
#[derive(Debug, Clone)]
#[expect(unreachable_pub, reason = "a public trait's hidden method takes a network")]
pub struct Application<T: Scalar, I> {
    pub(crate) layer: Arc<dyn Layer<T>>,
    /// The name the user gave.
    pub(crate) name: Option<String>,
    pub(crate) inputs: Vec<I>,
}

/// An output of an application, or an input of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(unreachable_pub, reason = "a public trait's hidden method takes a network")]
pub enum Endpoint {
    Input(usize),
    Output {
        application: usize,
        index: usize,
    },
    /// A value that does not come from the network's inputs.
    Unconnected,
}

impl<T: Scalar, I> Application<T, I> {
    /// What applications of the same layer, and no others, have in common.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.layer).cast::<()>().addr()
    }
}

/// Layers applied to inputs and to one another, in an order in which they can be computed.
#[derive(Debug, Clone)]
pub struct Network<T: Scalar> {
    /// The shape of a sample of each input.
    pub(crate) inputs: Vec<Vec<usize>>,
    pub(crate) applications: Vec<Application<T, Endpoint>>,
    pub(crate) outputs: Vec<Endpoint>,
    /// Whether everything that the last layer puts out is put out, in place of `outputs`.
    pub(crate) all_outputs: bool,
}

/// The number of the next source.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl<T: Scalar> Source<T> {
    fn value(kind: SourceKind<T>) -> Value<T> {
        // only the order of those of one network matters, and who makes one makes them one after the other
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Value { source: Arc::new(Self { number, kind }), output: 0 }
    }
}

/// Long chains end without recursion, which would overflow the stack.
impl<T: Scalar> Drop for Source<T> {
    fn drop(&mut self) {
        let mut rest = match &mut self.kind {
            SourceKind::Input(_) => return,
            SourceKind::Layer(application) => std::mem::take(&mut application.inputs),
        };
        while let Some(value) = rest.pop() {
            if let Some(mut source) = Arc::into_inner(value.source)
                && let SourceKind::Layer(application) = &mut source.kind
            {
                rest.append(&mut application.inputs);
            }
        }
    }
}

impl Value {
    /// Creates an input of a model of `f32`, for samples of this shape without the batch axis: `[784]`, `[28, 28, 1]`.
    pub fn input(sample: impl Into<Vec<usize>>) -> Self {
        Self::with_input(sample)
    }
}

impl<T: Scalar> Value<T> {
    /// Creates an input of a model of any number type: `Value::<f64>::with_input([784])`.
    pub fn with_input(sample: impl Into<Vec<usize>>) -> Self {
        Source::value(SourceKind::Input(sample.into()))
    }

    /// Applies a layer to this value and returns what comes out, the first output if there are several.
    pub fn then(&self, layer: impl Layer<T>) -> Self {
        Self::of(layer, [self])
    }

    /// Applies a layer to values, in this order, and returns what comes out, the first output if there are several.
    pub fn of<'v>(layer: impl Layer<T>, inputs: impl IntoIterator<Item = &'v Self>) -> Self {
        Self::apply(Arc::new(layer), inputs)
    }

    fn apply<'v>(layer: Arc<dyn Layer<T>>, inputs: impl IntoIterator<Item = &'v Self>) -> Self {
        let inputs = inputs.into_iter().cloned().collect();
        Source::value(SourceKind::Layer(Application { layer, name: None, inputs }))
    }

    /// Returns another output of the layer that this value came out of, by its number from 0.
    pub fn output(&self, number: usize) -> Self {
        Self { output: number, ..self.clone() }
    }

    /// Names the layer that this value has just come out of. Other values that came out of it before keep an unnamed one.
    pub fn named(self, name: impl Into<String>) -> Self {
        let Self { source, output } = self;
        match &source.kind {
            SourceKind::Input(_) => Self { source, output },
            SourceKind::Layer(Application { layer, inputs, .. }) => {
                let (layer, inputs) = (layer.clone(), inputs.clone());
                let named = Application { layer, name: Some(name.into()), inputs };
                Self { output, ..Source::value(SourceKind::Layer(named)) }
            }
        }
    }
}

/// A layer that is applied several times, each time with the same parameters.
///
/// ```
/// use plywood::layers::{Concatenate, Shared};
/// use plywood::prelude::*;
///
/// let (left, right) = (Value::input([8]), Value::input([8]));
/// let embed = Shared::new(Dense::new(4));
/// let both = Concatenate::of([&embed.of([&left]), &embed.of([&right])]);
/// let model = Functional::new([&left, &right], [&both]).build(42)?;
/// assert_eq!(model.parameter_count(), 8 * 4 + 4);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Shared<T: Scalar = f32> {
    layer: Arc<dyn Layer<T>>,
}

impl<T: Scalar> Shared<T> {
    /// Creates one of a layer.
    pub fn new(layer: impl Layer<T>) -> Self {
        Self { layer: Arc::new(layer) }
    }

    /// Applies the layer to values, in this order, and returns what comes out, the first output if there are several.
    pub fn of<'v>(&self, inputs: impl IntoIterator<Item = &'v Value<T>>) -> Value<T> {
        Value::apply(self.layer.clone(), inputs)
    }
}

impl<T: Scalar> Network<T> {
    /// Layers one after the other.
    pub(crate) fn chain(input: Vec<usize>, layers: Vec<(Arc<dyn Layer<T>>, Option<String>)>) -> Self {
        let endpoint = |count: usize| match count {
            0 => Endpoint::Input(0),
            _ => Endpoint::Output { application: count - 1, index: 0 },
        };
        let outputs = vec![endpoint(layers.len())];
        let applications = layers.into_iter().enumerate();
        let applications =
            applications.map(|(i, (layer, name))| Application { layer, name, inputs: vec![endpoint(i)] }).collect();
        Self { inputs: vec![input], applications, outputs, all_outputs: false }
    }

    /// The part of the network that the outputs of an application need, which become the network's.
    pub(crate) fn until(&self, application: usize) -> Self {
        let mut needed = vec![false; self.applications.len()];
        needed[application] = true;
        for (at, application) in self.applications.iter().enumerate().rev() {
            if needed[at] {
                for input in &application.inputs {
                    if let Endpoint::Output { application, .. } = *input {
                        needed[application] = true;
                    }
                }
            }
        }
        let places: Vec<usize> =
            needed.iter().scan(0, |next, &needed| Some(std::mem::replace(next, *next + usize::from(needed)))).collect();
        let moved = |endpoint: &Endpoint| match *endpoint {
            Endpoint::Output { application, index } => Endpoint::Output { application: places[application], index },
            other => other,
        };
        let kept = self.applications.iter().zip(&needed).filter(|&(_, &needed)| needed);
        let applications = kept.map(|(application, _)| Application {
            inputs: application.inputs.iter().map(moved).collect(),
            ..application.clone()
        });
        Self {
            inputs: self.inputs.clone(),
            applications: applications.collect(),
            outputs: vec![Endpoint::Output { application: places[application], index: 0 }],
            all_outputs: true,
        }
    }

    /// The network with every output of its last layer put out.
    pub(crate) fn with_all_outputs(mut self) -> Self {
        self.all_outputs = true;
        self
    }

    /// All layers that lie between inputs and outputs, in the order in which they were applied.
    pub(crate) fn between(inputs: &[Value<T>], outputs: &[Value<T>]) -> Self {
        let input_of = |value: &Value<T>| inputs.iter().position(|input| Arc::ptr_eq(&input.source, &value.source));
        let mut sources: HashMap<u64, &Source<T>> = HashMap::new();
        let mut rest: Vec<&Value<T>> = outputs.iter().collect();
        while let Some(value) = rest.pop() {
            if let SourceKind::Layer(application) = &value.source.kind
                && input_of(value).is_none()
                && sources.insert(value.source.number, &value.source).is_none()
            {
                rest.extend(&application.inputs);
            }
        }
        // what a layer is applied to was made before it
        let mut order: Vec<u64> = sources.keys().copied().collect();
        order.sort_unstable();
        let places: HashMap<u64, usize> = order.iter().copied().zip(0..).collect();
        let endpoint = |value: &Value<T>| match (input_of(value), places.get(&value.source.number)) {
            (Some(input), _) => Endpoint::Input(input),
            (None, Some(&application)) => Endpoint::Output { application, index: value.output },
            (None, None) => Endpoint::Unconnected,
        };
        let applications = order.iter().filter_map(|number| match &sources[number].kind {
            SourceKind::Input(_) => None,
            SourceKind::Layer(Application { layer, name, inputs }) => Some(Application {
                layer: layer.clone(),
                name: name.clone(),
                inputs: inputs.iter().map(endpoint).collect(),
            }),
        });
        let sample = |value: &Value<T>| match &value.source.kind {
            SourceKind::Input(sample) => sample.clone(),
            // what comes out of a layer can stand in for an input, but has no shape of its own
            SourceKind::Layer(_) => vec![],
        };
        Self {
            inputs: inputs.iter().map(sample).collect(),
            applications: applications.collect(),
            outputs: outputs.iter().map(endpoint).collect(),
            all_outputs: false,
        }
    }
}
