//! What layers a model has and how they hang together, in JSON.
//!
//! | key | value |
//! |---|---|
//! | `inputs` | the shape of a sample of each input |
//! | `layers` | for each application of a layer, `layer`, `inputs`, and `name` if the user gave one |
//! | `outputs` | where each output comes from |
//!
//! A value is told by where it comes from: `[3, 0]` is the first output of layer 3, `[-1, 0]` the model's first input.
//!
//! | layer | form |
//! |---|---|
//! | of the crate | `{"type":"Dense","units":10,…}` |
//! | of another crate | `{"custom":"name","settings":…}` |
//! | a model | `{"model":{…}}`, the same again |
//! | applied before | `{"shared":3}`, by the number of the first time |

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::custom_layers::CustomLayers;
use super::json::{Layers, from_layer};
use crate::error::{Error, Result};
use crate::layers::{Application, BuiltIn, Endpoint, Layer, Network};
use crate::model::{Model, NestedModel};
use crate::scalar::Scalar;

/// A network in JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Architecture<L> {
    inputs: Vec<Vec<usize>>,
    layers: L,
    outputs: Vec<Place>,
}

/// A layer, or −1 for the inputs, and a number of an output or input.
type Place = (i64, usize);

/// An application of a layer.
#[derive(Debug, Serialize)]
pub(super) struct Applied {
    layer: Value,
    inputs: Vec<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AppliedForm<'j> {
    #[serde(borrow)]
    layer: &'j RawValue,
    inputs: Vec<Place>,
    name: Option<String>,
}

/// Which of the forms a layer has.
#[derive(Deserialize)]
struct Kind {
    custom: Option<IgnoredAny>,
    model: Option<IgnoredAny>,
    shared: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CustomForm<'j> {
    custom: String,
    #[serde(borrow)]
    settings: &'j RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelForm<'j> {
    #[serde(borrow)]
    model: Architecture<Layers<'j>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SharedForm {
    shared: usize,
}

/// Describes a network. Layers of other crates have the names that `custom` gives them; `names` are those of the network's
/// layers, for errors.
pub(super) fn describe<'n, T: Scalar>(
    network: &Network<T>,
    names: impl Iterator<Item = &'n str>,
    custom: &CustomLayers<T>,
) -> Result<Architecture<Vec<Applied>>> {
    let mut first: HashMap<usize, usize> = HashMap::new();
    let layers = network.applications.iter().zip(names).enumerate().map(|(index, (application, name))| {
        let before = *first.entry(application.identity()).or_insert(index);
        Ok(Applied {
            layer: if before < index { json!({ "shared": before }) } else { form(&*application.layer, name, custom)? },
            inputs: application.inputs.iter().copied().map(place).collect(),
            name: application.name.clone(),
        })
    });
    Ok(Architecture {
        inputs: network.inputs.clone(),
        layers: layers.collect::<Result<_>>()?,
        outputs: network.outputs.iter().copied().map(place).collect(),
    })
}

fn form<T: Scalar>(layer: &dyn Layer<T>, name: &str, custom: &CustomLayers<T>) -> Result<Value> {
    if let Some(built_in) = BuiltIn::of(layer) {
        return Ok(serde_json::to_value(built_in).expect("the crate's layers are JSON"));
    }
    if let Some(network) = nested(layer) {
        let names: Vec<_> = network.applications.iter().map(|inner| format!("{name}/{}", inner.layer.kind())).collect();
        let model = describe(network, names.iter().map(String::as_str), custom)?;
        return Ok(json!({ "model": model }));
    }
    match custom.settings(layer) {
        Some((name, Ok(settings))) => Ok(json!({ "custom": name, "settings": settings })),
        Some((_, Err(error))) => Err(Error::layer(name, format!("has settings that are no JSON: {error}"))),
        None => {
            let kind = layer.type_name();
            let message = format!(
                "is a {kind}, no layer of the crate, so a model file cannot say what it is; give its type a name with \
                 CustomLayers and use save_with and load_with"
            );
            Err(Error::layer(name, message))
        }
    }
}

/// The network of a layer that is a model.
fn nested<T: Scalar>(layer: &dyn Layer<T>) -> Option<&Network<T>> {
    let layer: &dyn Any = layer;
    let model = layer.downcast_ref::<Model<T>>().map(Model::network);
    model.or_else(|| layer.downcast_ref::<NestedModel<T>>().map(NestedModel::network))
}

/// The network that an architecture describes, or what is wrong with it.
pub(super) fn network<T: Scalar>(
    architecture: Architecture<Layers<'_>>,
    custom: &CustomLayers<T>,
) -> Result<Network<T>, String> {
    let Architecture { inputs, layers: Layers(layers), outputs } = architecture;
    let mut applications: Vec<Application<T, Endpoint>> = Vec::with_capacity(layers.len());
    for (index, form) in layers.into_iter().enumerate() {
        let wrong = |problem: String| format!("layer {}: {problem}", index + 1);
        let AppliedForm { layer, inputs: places, name } =
            serde_json::from_str(form.get()).map_err(|error| wrong(error.to_string()))?;
        let layer = read_layer(layer, &applications, custom).map_err(wrong)?;
        let inputs = places.into_iter().map(|place| endpoint(place, inputs.len(), index)).collect::<Result<_, _>>();
        applications.push(Application { layer, name, inputs: inputs.map_err(wrong)? });
    }
    let outputs = outputs.into_iter().map(|place| endpoint(place, inputs.len(), applications.len()));
    let outputs = outputs.collect::<Result<Vec<_>, _>>().map_err(|problem| format!("an output: {problem}"))?;
    if inputs.is_empty() || outputs.is_empty() {
        return Err("it has no inputs or no outputs".to_owned());
    }
    Ok(Network { inputs, applications, outputs, all_outputs: false })
}

fn read_layer<T: Scalar>(
    form: &RawValue,
    before: &[Application<T, Endpoint>],
    custom: &CustomLayers<T>,
) -> Result<Arc<dyn Layer<T>>, String> {
    let json = |error: serde_json::Error| error.to_string();
    let kind: Kind = serde_json::from_str(form.get()).map_err(json)?;
    if kind.shared.is_some() {
        let SharedForm { shared } = from_layer(form)?;
        let first = before.get(shared).ok_or_else(|| format!("it is layer {shared} again, which is not before it"))?;
        return Ok(first.layer.clone());
    }
    if kind.model.is_some() {
        let ModelForm { model } = serde_json::from_str(form.get()).map_err(json)?;
        return Ok(Arc::new(NestedModel::new(network(model, custom)?)));
    }
    if kind.custom.is_none() {
        return Ok(from_layer::<BuiltIn>(form)?.into_layer());
    }
    // into the layer's own type, whatever its size: no other program reads it
    let CustomForm { custom: name, settings } = serde_json::from_str(form.get()).map_err(json)?;
    match custom.read(&name, settings) {
        Some(layer) => layer.map_err(|error| format!("{name:?}: {error}")),
        None => Err(format!(
            "it is of another crate, by the name of {name:?}; say what that is with CustomLayers and load_with"
        )),
    }
}

fn place(endpoint: Endpoint) -> Place {
    match endpoint {
        Endpoint::Input(input) => (-1, input),
        Endpoint::Output { application, index } => (application as i64, index),
        Endpoint::Unconnected => unreachable!("a model that was built is connected"),
    }
}

/// Where a value comes from, which must be before layer `index`.
fn endpoint((layer, number): Place, inputs: usize, index: usize) -> Result<Endpoint, String> {
    match usize::try_from(layer) {
        Ok(application) if application < index => Ok(Endpoint::Output { application, index: number }),
        Err(_) if layer == -1 && number < inputs => Ok(Endpoint::Input(number)),
        _ => Err(format!("it reads [{layer}, {number}], expected a layer before it or an input")),
    }
}
