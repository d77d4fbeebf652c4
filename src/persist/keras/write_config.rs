//! `config.json`: the layers of a model as Keras writes them.

use serde_json::{Value, json};

use super::super::chain::{built_in, check_chain, not_yet};
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::{Activation, BuiltIn};
use crate::model::{Model, NamedLayer};
use crate::scalar::Scalar;
use crate::shape::{Padding, Size2D};

/// The configuration of a model, as a text.
pub(super) fn config<T: Scalar>(model: &Model<T>) -> Result<String> {
    let input = json!({
        "module": "keras.layers",
        "class_name": "InputLayer",
        "config": {
            "batch_shape": batch(model.input_shape()),
            "dtype": T::NAME,
            "sparse": false,
            "ragged": false,
            "name": "input_layer",
        },
        "registered_name": null,
    });
    check_chain(model)?;
    let mut layers = vec![input];
    for layer in model.layers() {
        layers.push(layer_config(layer)?);
    }
    let config = json!({
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": "sequential",
            "trainable": true,
            "dtype": policy::<T>(),
            "layers": layers,
            "build_input_shape": batch(model.input_shape()),
        },
        "registered_name": null,
        "build_config": { "input_shape": batch(model.input_shape()) },
    });
    Ok(config.to_string())
}

fn layer_config<T: Scalar>(named: &NamedLayer<T>) -> Result<Value> {
    let name = named.name();
    let (class, own) = match built_in(named)? {
        BuiltIn::Dense(layer) => (
            "Dense",
            json!({
                "units": layer.units,
                "activation": activation(layer.activation),
                "use_bias": layer.bias,
                "kernel_initializer": initializer(layer.kernel_initializer),
                "bias_initializer": initializer(layer.bias_initializer),
            }),
        ),
        BuiltIn::Conv2D(layer) => (
            "Conv2D",
            json!({
                "filters": layer.filters,
                "kernel_size": pair(layer.kernel_size),
                "strides": pair(layer.strides),
                "padding": padding(name, layer.padding)?,
                "data_format": "channels_last",
                "dilation_rate": pair(layer.dilation),
                "groups": 1,
                "activation": activation(layer.activation),
                "use_bias": layer.bias,
                "kernel_initializer": initializer(layer.kernel_initializer),
                "bias_initializer": initializer(layer.bias_initializer),
            }),
        ),
        BuiltIn::MaxPooling2D(layer) => (
            "MaxPooling2D",
            json!({
                "pool_size": pair(layer.pool_size),
                "padding": padding(name, layer.padding)?,
                "strides": pair(layer.strides.unwrap_or(layer.pool_size)),
                "data_format": "channels_last",
            }),
        ),
        BuiltIn::Flatten(_) => ("Flatten", json!({ "data_format": "channels_last" })),
        BuiltIn::ReLU(_) => ("ReLU", json!({ "max_value": null, "negative_slope": 0.0, "threshold": 0.0 })),
        BuiltIn::Softmax(_) => ("Softmax", json!({ "axis": -1 })),
        BuiltIn::Add(_) | BuiltIn::BatchNormalization(_) | BuiltIn::Concatenate(_) => {
            return Err(not_yet(named, "a .keras file of plywood"));
        }
    };
    let mut config = json!({ "name": name, "trainable": true, "dtype": policy::<T>() });
    if let (Value::Object(config), Value::Object(own)) = (&mut config, own) {
        config.extend(own);
    }
    Ok(json!({
        "module": "keras.layers",
        "class_name": class,
        "config": config,
        "registered_name": null,
        "build_config": { "input_shape": batch(named.input_shape()) },
    }))
}

/// A shape with any number of samples before it.
fn batch(sample: &[usize]) -> Value {
    std::iter::once(Value::Null).chain(sample.iter().map(|&size| size.into())).collect()
}

fn policy<T: Scalar>() -> Value {
    json!({
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": { "name": T::NAME },
        "registered_name": null,
    })
}

fn pair(size: Size2D) -> Value {
    json!([size.height, size.width])
}

fn padding(layer: &str, padding: Padding) -> Result<&'static str> {
    match padding {
        Padding::Valid | Padding::Explicit { top: 0, bottom: 0, left: 0, right: 0 } => Ok("valid"),
        Padding::Same => Ok("same"),
        Padding::Explicit { .. } => {
            Err(Error::layer(layer, "has Padding::Explicit, which Keras has not; use Padding::Same or Padding::Valid"))
        }
    }
}

fn activation(activation: Activation) -> &'static str {
    match activation {
        Activation::Linear => "linear",
        Activation::ReLU => "relu",
        Activation::Softmax => "softmax",
    }
}

fn initializer(initializer: Initializer) -> Value {
    let (class, config) = match initializer {
        Initializer::Zeros => ("Zeros", json!({})),
        Initializer::Ones => ("Ones", json!({})),
        Initializer::Constant { value } => ("Constant", json!({ "value": value })),
        Initializer::Uniform { min, max } => ("RandomUniform", json!({ "minval": min, "maxval": max, "seed": null })),
        Initializer::Normal { mean, stddev } => {
            ("RandomNormal", json!({ "mean": mean, "stddev": stddev, "seed": null }))
        }
        Initializer::TruncatedNormal { mean, stddev } => {
            ("TruncatedNormal", json!({ "mean": mean, "stddev": stddev, "seed": null }))
        }
        Initializer::GlorotUniform => ("GlorotUniform", json!({ "seed": null })),
        Initializer::GlorotNormal => ("GlorotNormal", json!({ "seed": null })),
        Initializer::HeUniform => ("HeUniform", json!({ "seed": null })),
        Initializer::HeNormal => ("HeNormal", json!({ "seed": null })),
        Initializer::LecunUniform => ("LecunUniform", json!({ "seed": null })),
        Initializer::LecunNormal => ("LecunNormal", json!({ "seed": null })),
    };
    json!({ "module": "keras.initializers", "class_name": class, "config": config, "registered_name": null })
}
