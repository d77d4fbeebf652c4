//! `config.json`: which layers a model of Keras has.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::built_in::BuiltIn;
use super::super::failure::Failure;
use super::super::json::{Layers, from_json, from_layer};
use crate::initializers::Initializer;
use crate::layers::{Activation, Conv2D, Dense, Flatten, MaxPooling2D, ReLU, Softmax};
use crate::model::{Sequential, SequentialBuilder};
use crate::scalar::Scalar;
use crate::shape::{Padding, Size2D};

/// Options that say nothing about what a model predicts.
const HARMLESS: [&str; 10] = [
    "name",
    "trainable",
    "kernel_regularizer",
    "bias_regularizer",
    "activity_regularizer",
    "kernel_constraint",
    "bias_constraint",
    "batch_shape",
    "batch_input_shape",
    "seed",
];

/// Layers that do nothing when a model predicts.
const ONLY_IN_TRAINING: [&str; 8] = [
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
];

/// A way out, of errors about classes.
const KNOWN: &str = "plywood has Dense, Conv2D, MaxPooling2D, Flatten, ReLU, Softmax and Activation";

/// What a model's configuration says, all options checked.
#[derive(Debug, PartialEq)]
pub(super) struct Architecture {
    /// Shape of one sample.
    pub(super) input: Vec<usize>,
    pub(super) layers: Vec<BuiltIn>,
    /// What the weights of each layer in the file are called, those without weights included.
    pub(super) groups: BTreeSet<String>,
}

impl Architecture {
    pub(super) fn read<T: Scalar>(json: &[u8]) -> Result<Self, Failure> {
        let unsound = |problem| format!("its config.json is not a sound description of a model ({problem})");
        let model: Model = from_json(json).map_err(unsound)?;
        let class = Class::new(&model.class_name, model.module.as_deref(), model.registered_name.as_deref());
        match class {
            Class::OfKeras("Sequential") => {}
            Class::OfKeras(class) => return Err(format!("it is a {class} model, expected Sequential").into()),
            other => return Err(format!("it is a {other}, expected Keras's own Sequential").into()),
        }
        let Layers(layers) = model.config.layers;

        let mut input = None;
        let (mut built_in, mut groups, mut counts) = (vec![], BTreeSet::new(), HashMap::new());
        for (index, layer) in layers.into_iter().enumerate() {
            let owner = format!("its layer {index}");
            let layer = from_layer(layer).map_err(|problem| format!("{owner}: {problem}"))?;
            let mut layer = Options::of(owner, layer)?;
            let class = layer.text("class_name")?;
            let mut options = Options::of(layer.owner.clone(), layer.take("config").unwrap_or_default())?;
            let name = options.map.get("name").and_then(Value::as_str).unwrap_or("");
            options.owner = format!("layer {name:?} ({class})");
            let origin = ["module", "registered_name"].map(|key| layer.take(key));
            let [module, registered] =
                origin.each_ref().map(|value| value.as_ref().map(|value| value.as_str().unwrap_or("?")));
            let class_there = Class::new(&class, module, registered);
            if class_there != Class::OfKeras(&class) {
                return Err(options.problem(format!("is a {class_there}, expected a layer of Keras: {KNOWN}")).into());
            }
            if class == "InputLayer" {
                if index > 0 {
                    return Err(options.problem("comes after other layers, expected at the start").into());
                }
                input = Some(options.input_layer::<T>()?);
                continue;
            }
            if index == 0 {
                let shape =
                    ["batch_shape", "batch_input_shape"].into_iter().find_map(|key| options.map.get(key).cloned());
                let shape = shape.or_else(|| layer.take("build_config")?.get("input_shape").cloned());
                input = shape.map(|shape| options.sample("batch_shape", &shape)).transpose()?;
            }
            let stem = snake_case(&class);
            let count: &mut usize = counts.entry(stem.clone()).or_default();
            groups.insert(if *count == 0 { stem } else { format!("{stem}_{count}") });
            *count += 1;
            if !ONLY_IN_TRAINING.contains(&class.as_str()) {
                built_in.extend(options.layer::<T>(&class)?);
            }
        }
        let input = input.ok_or_else(|| {
            "it says nowhere what its input is; begin it with keras.Input(shape) and save it again".to_owned()
        })?;
        if built_in.is_empty() {
            return Err("it has no layers".to_owned().into());
        }
        Ok(Self { input, layers: built_in, groups })
    }

    /// The model as it is to be built, and the names of [`groups`](Self::groups).
    pub(super) fn into_builder<T: Scalar>(self) -> (SequentialBuilder<T>, BTreeSet<String>) {
        let input = Sequential::with_input(self.input);
        (self.layers.into_iter().fold(input, |model, layer| layer.add_to(model)), self.groups)
    }
}

/// A configuration, as far as it is read. Whatever else is in it takes no memory.
#[derive(Deserialize)]
struct Model<'j> {
    class_name: String,
    module: Option<String>,
    registered_name: Option<String>,
    #[serde(borrow)]
    config: ModelConfig<'j>,
}

#[derive(Deserialize)]
struct ModelConfig<'j> {
    #[serde(borrow)]
    layers: Layers<'j>,
}

/// What a `class_name` means.
#[derive(Debug, PartialEq)]
enum Class<'a> {
    /// Keras's class of this name.
    OfKeras(&'a str),
    /// A program's own class, registered by this name.
    Registered(&'a str),
    /// The class of this name in a module that is not Keras's.
    OfModule(&'a str, &'a str),
}

impl<'a> Class<'a> {
    /// Keras's own classes have its module and no registered name. Files of older versions have neither.
    fn new(class: &'a str, module: Option<&'a str>, registered: Option<&'a str>) -> Self {
        match (module, registered) {
            (None | Some("keras" | "keras.layers" | "keras.models"), None) => Self::OfKeras(class),
            (Some(module), None) => Self::OfModule(class, module),
            // of a class without a public name, and of one that was not registered, Keras writes the plain name
            (Some(module), Some(registered)) if registered == class && module.starts_with("keras.src.") => {
                Self::OfKeras(class)
            }
            (Some(module), Some(registered)) if registered == class => Self::OfModule(class, module),
            (_, Some(registered)) => Self::Registered(registered),
        }
    }
}

impl fmt::Display for Class<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfKeras(class) => write!(f, "{class} of Keras"),
            Self::Registered(name) => write!(f, "class of its author's own, registered as {name:?}"),
            Self::OfModule(class, module) => write!(f, "class of its author's own, {class:?} of the module {module:?}"),
        }
    }
}

/// As Keras makes names of classes: `MaxPooling2D` is `max_pooling2d`, `ReLU` is `re_lu`.
fn snake_case(class: &str) -> String {
    let class: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut name = String::new();
    for (i, &c) in class.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| class[i]);
        let begins_word = c.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || (before.is_alphanumeric() && i > 0 && class.get(i + 1).is_some_and(|next| next.is_lowercase()))
            });
        if begins_word {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name
}

/// The options of a layer. Each is taken out when it is read; what is left at the end is unknown.
struct Options {
    owner: String,
    map: Map<String, Value>,
}

impl Options {
    fn of(owner: String, value: Value) -> Result<Self, String> {
        match value {
            Value::Object(map) => Ok(Self { owner, map }),
            other => Err(format!("{owner} has {} where an object was expected", short(&other))),
        }
    }

    fn problem(&self, problem: impl std::fmt::Display) -> String {
        format!("{} {problem}", self.owner)
    }

    fn wrong(&self, key: &str, value: &Value, expected: impl std::fmt::Display) -> String {
        self.problem(format!("has {key}={}, expected {expected}", short(value)))
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    /// An option that must be there, as a text.
    fn text(&mut self, key: &str) -> Result<String, String> {
        match self.take(key) {
            Some(Value::String(text)) => Ok(text),
            other => Err(self.wrong(key, &other.unwrap_or_default(), "a text")),
        }
    }

    fn boolean(&mut self, key: &str, default: bool) -> Result<bool, String> {
        match self.take(key) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(value),
            Some(other) => Err(self.wrong(key, &other, "true or false")),
        }
    }

    fn size(&mut self, key: &str) -> Result<usize, String> {
        let value = self.take(key).unwrap_or_default();
        size(&value).ok_or_else(|| self.wrong(key, &value, "a whole number"))
    }

    /// A number or a pair of them.
    fn pair(&mut self, key: &str) -> Result<Option<Size2D>, String> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let pair = match value.as_array().map(Vec::as_slice) {
            None => size(&value).map(Size2D::from),
            Some([height, width]) => size(height).zip(size(width)).map(Size2D::from),
            Some(_) => None,
        };
        pair.map(Some).ok_or_else(|| self.wrong(key, &value, "a whole number or two"))
    }

    /// An option that the crate has in one form only.
    fn only(&mut self, key: &str, expected: impl Into<Value>) -> Result<(), String> {
        let expected = expected.into();
        match self.take(key) {
            None => Ok(()),
            Some(got) if got == expected || got.as_f64().is_some_and(|got| expected.as_f64() == Some(got)) => Ok(()),
            Some(got) => Err(self.wrong(key, &got, format!("{expected}: plywood has no other"))),
        }
    }

    fn padding(&mut self) -> Result<Padding, String> {
        match self.text("padding")?.as_str() {
            "valid" => Ok(Padding::Valid),
            "same" => Ok(Padding::Same),
            other => Err(self.wrong("padding", &other.into(), "\"valid\" or \"same\"")),
        }
    }

    fn activation(&mut self) -> Result<Activation, String> {
        let value = self.take("activation");
        match value.as_ref().map(Value::as_str) {
            None | Some(Some("linear")) => Ok(Activation::Linear),
            Some(Some("relu")) => Ok(Activation::ReLU),
            Some(Some("softmax")) => Ok(Activation::Softmax),
            _ => {
                let got = value.unwrap_or_default();
                Err(self.wrong("activation", &got, "\"relu\", \"softmax\" or \"linear\": plywood has no other"))
            }
        }
    }

    /// An initializer, or the default where the crate does not have it.
    fn initializer(&mut self, key: &str, default: Initializer) -> Initializer {
        let Some(value) = self.take(key) else { return default };
        let number = |option: &str| value.get("config")?.get(option)?.as_f64();
        let initializer = || {
            Some(match class_of(&value)? {
                "Zeros" => Initializer::Zeros,
                "Ones" => Initializer::Ones,
                "Constant" => Initializer::Constant { value: number("value")? },
                "RandomUniform" => Initializer::Uniform { min: number("minval")?, max: number("maxval")? },
                "RandomNormal" => Initializer::Normal { mean: number("mean")?, stddev: number("stddev")? },
                "TruncatedNormal" => Initializer::TruncatedNormal { mean: number("mean")?, stddev: number("stddev")? },
                "GlorotUniform" => Initializer::GlorotUniform,
                "GlorotNormal" => Initializer::GlorotNormal,
                "HeUniform" => Initializer::HeUniform,
                "HeNormal" => Initializer::HeNormal,
                "LecunUniform" => Initializer::LecunUniform,
                "LecunNormal" => Initializer::LecunNormal,
                _ => return None,
            })
        };
        initializer().filter(|initializer| initializer.check("").is_ok()).unwrap_or(default)
    }

    /// The shape of one sample, of a shape with the batch before it.
    fn sample(&self, key: &str, shape: &Value) -> Result<Vec<usize>, String> {
        let sizes =
            shape.as_array().and_then(|sizes| sizes.split_first()).map(|(_, sample)| sample).unwrap_or_default();
        let sample: Option<Vec<usize>> = sizes.iter().map(size).collect();
        sample.filter(|sample| !sample.is_empty() && !sample.contains(&0)).ok_or_else(|| {
            self.wrong(key, shape, "the batch and at least one size, all sizes known: give them to keras.Input")
        })
    }

    fn input_layer<T: Scalar>(mut self) -> Result<Vec<usize>, String> {
        // Whichever of the two it is, the layer after it computes in its own.
        if !["float32", "float64"].map(Some).contains(&self.map.get("dtype").and_then(Value::as_str)) {
            self.dtype::<T>()?;
        }
        self.map.remove("dtype");
        for key in ["sparse", "ragged", "optional"] {
            self.only(key, false)?;
        }
        let shape = self.take("batch_shape").or_else(|| self.take("batch_input_shape")).unwrap_or_default();
        let sample = self.sample("batch_shape", &shape)?;
        self.finish()?;
        Ok(sample)
    }

    /// The type that a layer computes in: a name, or a policy of this name.
    fn dtype<T: Scalar>(&mut self) -> Result<(), String> {
        let Some(value) = self.take("dtype") else { return Ok(()) };
        let name = match &value {
            Value::Object(policy) if class_of(&value) == Some("DTypePolicy") => {
                policy.get("config").and_then(|config| config.get("name"))
            }
            other => Some(other),
        };
        match name.and_then(Value::as_str) {
            Some(name) if name == T::NAME => Ok(()),
            Some(name @ ("float32" | "float64")) => {
                let number = if name == "float32" { "f32" } else { "f64" };
                Err(self.wrong("dtype", &name.into(), format!("{:?}; load it as Sequential::<{number}>", T::NAME)))
            }
            _ => {
                let got = name.unwrap_or(&value);
                Err(self.wrong("dtype", got, format!("{:?}: plywood computes in one type alone", T::NAME)))
            }
        }
    }

    /// The layer of this class; none if it does nothing.
    fn layer<T: Scalar>(mut self, class: &str) -> Result<Option<BuiltIn>, String> {
        self.dtype::<T>()?;
        let layer = match class {
            "Dense" => Some(BuiltIn::Dense(
                Dense::new(self.size("units")?)
                    .activation(self.activation()?)
                    .bias(self.boolean("use_bias", true)?)
                    .kernel_initializer(self.initializer("kernel_initializer", Initializer::GlorotUniform))
                    .bias_initializer(self.initializer("bias_initializer", Initializer::Zeros)),
            )),
            "Conv2D" => {
                self.only("data_format", "channels_last")?;
                self.only("groups", 1)?;
                let kernel_size = self.pair("kernel_size")?;
                let kernel_size = kernel_size.ok_or_else(|| self.problem("has no kernel_size"))?;
                Some(BuiltIn::Conv2D(
                    Conv2D::new(self.size("filters")?, kernel_size)
                        .strides(self.pair("strides")?.unwrap_or(1.into()))
                        .dilation(self.pair("dilation_rate")?.unwrap_or(1.into()))
                        .padding(self.padding()?)
                        .activation(self.activation()?)
                        .bias(self.boolean("use_bias", true)?)
                        .kernel_initializer(self.initializer("kernel_initializer", Initializer::GlorotUniform))
                        .bias_initializer(self.initializer("bias_initializer", Initializer::Zeros)),
                ))
            }
            "MaxPooling2D" => {
                self.only("data_format", "channels_last")?;
                let pool_size = self.pair("pool_size")?.ok_or_else(|| self.problem("has no pool_size"))?;
                let pooling = MaxPooling2D::new(pool_size).padding(self.padding()?);
                let strides = self.pair("strides")?.filter(|&strides| strides != pool_size);
                Some(BuiltIn::MaxPooling2D(match strides {
                    Some(strides) => pooling.strides(strides),
                    None => pooling,
                }))
            }
            "Flatten" => {
                self.only("data_format", "channels_last")?;
                Some(BuiltIn::Flatten(Flatten::new()))
            }
            "ReLU" => {
                self.only("max_value", Value::Null)?;
                self.only("negative_slope", 0.0)?;
                self.only("threshold", 0.0)?;
                Some(BuiltIn::ReLU(ReLU::new()))
            }
            "Softmax" => {
                self.only("axis", -1)?;
                Some(BuiltIn::Softmax(Softmax::new()))
            }
            "Activation" => match self.activation()? {
                Activation::Linear => None,
                Activation::ReLU => Some(BuiltIn::ReLU(ReLU::new())),
                Activation::Softmax => Some(BuiltIn::Softmax(Softmax::new())),
            },
            _ => {
                return Err(self.problem(format!("is of a class that plywood has not; {KNOWN}")));
            }
        };
        self.finish()?;
        Ok(layer)
    }

    /// Whatever has not been read must say nothing.
    fn finish(self) -> Result<(), String> {
        let unknown = self.map.iter().find(|(key, value)| !value.is_null() && !HARMLESS.contains(&key.as_str()));
        match unknown {
            None => Ok(()),
            Some((key, value)) => Err(self.wrong(key, value, "no such option: plywood does not know it")),
        }
    }
}

/// The name of an object's class, if it is one of Keras.
fn class_of(object: &Value) -> Option<&str> {
    let registered = object.get("registered_name").is_some_and(|name| !name.is_null());
    object.get("class_name")?.as_str().filter(|_| !registered)
}

fn size(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|size| usize::try_from(size).ok())
}

/// As much of a value as a message shows.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Keras 3.15.1's `to_snake_case` makes of these.
    #[test]
    fn classes_are_named_as_in_keras() {
        for (class, name) in [
            ("Dense", "dense"),
            ("Conv2D", "conv2d"),
            ("MaxPooling2D", "max_pooling2d"),
            ("ReLU", "re_lu"),
            ("Softmax", "softmax"),
            ("Flatten", "flatten"),
            ("SpatialDropout2D", "spatial_dropout2d"),
            ("GaussianNoise", "gaussian_noise"),
            ("LeakyReLU", "leaky_re_lu"),
        ] {
            assert_eq!(snake_case(class), name);
        }
    }
}
