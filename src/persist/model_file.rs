//! Model files: weights and architecture in one safetensors file, and weights alone.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::architecture::{Applied, Architecture, describe, network};
use super::custom_layers::CustomLayers;
use super::json::{Layers, from_json};
use super::tensors::{Narrowing, NewTensor, TensorFile, write_tensors};
use crate::error::{Result, shape_text};
use crate::model::{Entry, Layout, Model, NamedLayer, Planned};
use crate::scalar::Scalar;

/// The key of the metadata under which files of the crate say what they are.
pub(super) const KEY: &str = "plywood";

/// How errors call these files.
const FORMAT: &str = "model file";

/// What is counted up when what is written changes.
const VERSION: u64 = 2;

/// What a model file says about the model, in JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description<A> {
    /// `model`.
    format: String,
    version: u64,
    seed: u64,
    architecture: A,
    /// The CRC-32 (IEEE) of this text up to the comma before this key, and of the weights' bytes after it, one parameter
    /// after the other.
    crc32: u32,
}

/// What comes between the two in the text.
const BEFORE_CRC32: &str = ",\"crc32\":";

/// How [`Model::load_weights_with`] loads.
///
/// | parameter | default | meaning |
/// |---|---|---|
/// | [`strict`](Self::strict) | `true` | whether the file must have all of the model's parameters in their shapes, and nothing else |
/// | [`round`](Self::round) | `false` | whether numbers of 64 bits are rounded where the model computes with 32 |
///
/// What has another shape in the file is an error if it is strict; otherwise it is left as it is and reported, as where a
/// model is trained further with another number of classes.
///
/// ```
/// use plywood::persist::LoadWeights;
/// use plywood::prelude::*;
///
/// # let path = std::env::temp_dir().join(format!("plywood-doc-round-{}.safetensors", std::process::id()));
/// Sequential::<f64>::with_input([2]).add(Dense::new(3)).build(1)?.save(&path)?;
/// let mut model = Sequential::input([2]).add(Dense::new(3)).build(2)?;
/// assert!(model.load_weights(&path).is_err()); // the file has 64 bits, the model 32
/// model.load_weights_with(&path, LoadWeights::new().round(true))?;
/// assert_eq!(model.values(), Sequential::input([2]).add(Dense::new(3)).build(1)?.values());
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadWeights {
    strict: bool,
    round: bool,
}

impl Default for LoadWeights {
    fn default() -> Self {
        Self::new()
    }
}

impl LoadWeights {
    /// Strict and exact.
    pub fn new() -> Self {
        Self { strict: true, round: false }
    }

    /// Sets whether the file must have all of the model's parameters in their shapes, and nothing else.
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Sets whether numbers of 64 bits are rounded to the nearest where the model computes with 32.
    pub fn round(self, round: bool) -> Self {
        Self { round, ..self }
    }
}

/// What [`Model::load_weights_with`] loaded, and what it did not.
///
/// ```
/// use plywood::persist::LoadWeights;
/// use plywood::prelude::*;
///
/// # let path = std::env::temp_dir().join(format!("plywood-doc-report-{}.safetensors", std::process::id()));
/// Sequential::input([2]).add(Dense::new(3)).add(Dense::new(4).bias(false)).build(1)?.save(&path)?;
/// let mut model = Sequential::input([2]).add(Dense::new(3)).build(2)?;
/// let report = model.load_weights_with(&path, LoadWeights::new().strict(false))?;
/// assert_eq!(report.loaded, ["dense/kernel", "dense/bias"]);
/// assert_eq!(report.unexpected, ["dense_1/kernel"]);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LoadReport {
    /// Parameters that were loaded, in the order of the model.
    pub loaded: Vec<String>,
    /// Parameters of the model that the file does not have. They are as they were.
    #[doc(alias = "missing_keys")]
    pub missing: Vec<String>,
    /// Parameters that have another shape in the file. They are as they were.
    pub mismatched: Vec<String>,
    /// Tensors of the file that the model does not have.
    #[doc(alias = "unexpected_keys")]
    pub unexpected: Vec<String>,
}

impl<T: Scalar> Model<T> {
    /// Writes the model into a safetensors file: weights, architecture, seed. Optimizer and loss are not part of it.
    ///
    /// Any safetensors reader opens the file: each parameter is a tensor of its name, shape and type. The metadata's key
    /// `plywood` has the rest, in JSON. The file is written whole or not at all, whatever happens in between: under a
    /// temporary name in the same folder, synced and renamed. The folder is made if there is none. The same model gives
    /// the same bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Layer`](crate::Error::Layer) for a layer of another crate, which [`save_with`](Self::save_with) can save; [`Error::Io`](crate::Error::Io).
    /// The file that was there is as it was then.
    ///
    /// # Source
    ///
    /// [safetensors](https://github.com/huggingface/safetensors) 0.8.
    ///
    /// ```
    /// use plywood::ndarray::array;
    /// use plywood::prelude::*;
    ///
    /// # let path = std::env::temp_dir().join(format!("plywood-doc-save-{}.safetensors", std::process::id()));
    /// let model = Sequential::input([2]).add(Dense::new(3)).add(Softmax::new()).build(42)?;
    /// model.save(&path)?;
    /// let same: Model = Model::load(&path)?;
    /// let x = array![[0.5, -1.0]];
    /// assert_eq!(same.predict(&x)?, model.predict(&x)?);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_with(path, &CustomLayers::new())
    }

    /// [`save`](Self::save) of a model with layers of other crates, which are given names.
    ///
    /// # Errors
    ///
    /// [`Error::Layer`](crate::Error::Layer) for a layer that is neither the crate's nor one of these; [`Error::Io`](crate::Error::Io).
    pub fn save_with(&self, path: impl AsRef<Path>, custom: &CustomLayers<T>) -> Result<()> {
        let tensors: Vec<NewTensor> = parameters("", self.layout().entries(), self.values()).collect();
        let names = self.layers().iter().map(NamedLayer::name);
        let mut description = Description {
            format: "model".to_owned(),
            version: VERSION,
            seed: self.seed(),
            architecture: describe(self.network(), names, custom)?,
            crc32: 0,
        };
        let text = |description: &Description<Architecture<Vec<Applied>>>| {
            serde_json::to_string(description).expect("numbers, texts and lists are JSON")
        };
        description.crc32 = crc32(&text(&description), tensors.iter().map(NewTensor::bytes));
        let json = text(&description);
        write_tensors(path.as_ref(), &tensors, Some((KEY, json)))
    }

    /// The model of a file that [`save`](Self::save) wrote. One of `f32` can be loaded as one of `f64`.
    ///
    /// Everything is checked before the model is made: the file's form, the architecture, and that there is a tensor of
    /// the right shape and type for each parameter, and nothing else; a checksum covers all of it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io); [`Error::Format`](crate::Error::Format) if the file is damaged, of a newer version, has a layer of another crate, or has
    /// numbers of 64 bits where the model would compute with 32; the errors of
    /// [`build`](crate::model::Sequential::build) if its layers do not fit each other.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(path, &CustomLayers::new())
    }

    /// [`load`](Self::load) of a model with layers of other crates, which have these names.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load).
    pub fn load_with(path: impl AsRef<Path>, custom: &CustomLayers<T>) -> Result<Self> {
        let file = TensorFile::read(path.as_ref(), FORMAT)?;
        let Some(json) = file.metadata(KEY) else {
            return Err(file.error(
                "it says nothing of a model's layers: it is not of plywood; build the model and use load_weights",
            ));
        };
        check_kind(&file, "model", VERSION)?;
        let damaged = |error: String| file.error(format!("its description of the model is damaged: {error}"));
        let description: Description<Architecture<Layers<'_>>> = from_json(json.as_bytes()).map_err(damaged)?;
        let Description { seed, architecture, crc32: saved, .. } = description;
        let model = Planned::new(network(architecture, custom).map_err(|problem| file.error(problem))?)?;
        check_weights::<T>(&file, model.layout(), LoadWeights::new())?;
        let tensors = || model.layout().entries().iter().filter_map(|entry| file.tensor(entry.name()));
        if crc32(json, tensors().map(|tensor| tensor.bytes())) != saved {
            return Err(file.error(
                "its checksum differs: it is damaged, or another program has changed it; build the model and use \
                 load_weights if that was meant",
            ));
        }
        let mut values = vec![];
        tensors().try_for_each(|tensor| tensor.append_to(&mut values, Narrowing::Refused))?;
        model.with_values(seed, values)
    }

    /// Takes all parameters from a safetensors file, whoever wrote it. It must have a tensor of each parameter's name and
    /// shape, and no other.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io); [`Error::Format`](crate::Error::Format) if the file is damaged, or for what is missing, unexpected or of another shape or
    /// type. No parameter has changed then.
    ///
    /// ```
    /// use plywood::prelude::*;
    ///
    /// # let path = std::env::temp_dir().join(format!("plywood-doc-weights-{}.safetensors", std::process::id()));
    /// let build = |seed| Sequential::input([2]).add(Dense::new(3)).build(seed);
    /// let (model, mut other) = (build(1)?, build(2)?);
    /// model.save(&path)?;
    /// other.load_weights(&path)?;
    /// assert_eq!(other.values(), model.values());
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), plywood::Error>(())
    /// ```
    #[doc(alias = "load_state_dict")]
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.load_weights_with(path, LoadWeights::new()).map(|_| ())
    }

    /// [`load_weights`](Self::load_weights), less strict or with rounding, and a report.
    ///
    /// # Errors
    ///
    /// Those of [`load_weights`](Self::load_weights), but for what is allowed.
    ///
    /// ```
    /// use plywood::persist::LoadWeights;
    /// use plywood::prelude::*;
    ///
    /// # let path = std::env::temp_dir().join(format!("plywood-doc-transfer-{}.safetensors", std::process::id()));
    /// // the first layer of one model for another one
    /// Sequential::input([2]).add(Dense::new(3)).build(1)?.save(&path)?;
    /// let mut model = Sequential::input([2]).add(Dense::new(3)).add(Dense::new(10)).build(2)?;
    /// let report = model.load_weights_with(&path, LoadWeights::new().strict(false))?;
    /// assert_eq!(report.loaded, ["dense/kernel", "dense/bias"]);
    /// assert_eq!(report.missing, ["dense_1/kernel", "dense_1/bias"]);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn load_weights_with(&mut self, path: impl AsRef<Path>, settings: LoadWeights) -> Result<LoadReport> {
        let file = TensorFile::read(path.as_ref(), "file of weights")?;
        if file.metadata(KEY).is_some() {
            check_kind(&file, "model", VERSION)?;
        }
        let report = check_weights::<T>(&file, self.layout(), settings)?;
        let narrowing = narrowing(settings);
        let mut values = Vec::with_capacity(self.parameter_count());
        for entry in self.layout().entries() {
            match file.tensor(entry.name()) {
                Some(tensor) if tensor.shape() == entry.shape() => tensor.append_to(&mut values, narrowing)?,
                _ => values.extend_from_slice(&self.values()[entry.range()]),
            }
        }
        self.values_mut().copy_from_slice(&values);
        Ok(report)
    }
}

/// The checksum of a description, without the checksum in it, and of the weights.
fn crc32<'b>(json: &str, weights: impl Iterator<Item = &'b [u8]>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(json.rsplit_once(BEFORE_CRC32).map_or(json, |(before, _)| before).as_bytes());
    weights.for_each(|weights| hasher.update(weights));
    hasher.finalize()
}

fn narrowing(settings: LoadWeights) -> Narrowing {
    if settings.round { Narrowing::Rounded } else { Narrowing::Refused }
}

/// A tensor for each parameter, its name after a prefix.
pub(super) fn parameters<'a, T: Scalar>(
    prefix: &'a str,
    entries: &'a [Entry],
    values: &'a [T],
) -> impl Iterator<Item = NewTensor> + 'a {
    entries
        .iter()
        .map(move |entry| NewTensor::new(format!("{prefix}{}", entry.name()), entry.shape(), &values[entry.range()]))
}

/// Whether a file of the crate is of this format and of the version that is known.
pub(super) fn check_kind(file: &TensorFile, format: &str, known_version: u64) -> Result<()> {
    #[derive(Deserialize)]
    struct Kind {
        format: String,
        version: u64,
    }
    let json = file.metadata(KEY).unwrap_or("");
    let damaged = |error| file.error(format!("what it says about itself is damaged: {error}"));
    let kind: Kind = from_json(json.as_bytes()).map_err(damaged)?;
    let version = kind.version;
    match kind.format.as_str() {
        known if known == format && version == known_version => Ok(()),
        known if known == format => Err(file.error(format!(
            "it is of version {version}, expected {known_version}; the plywood that wrote it can read it"
        ))),
        "model" => Err(file.error("it is a model file; use Model::load or load_weights")),
        "checkpoint" => Err(file.error("it is a checkpoint; use Trainer::load_checkpoint")),
        other => Err(file.error(format!("it calls itself a {other:?}, expected a {format:?}"))),
    }
}

/// Whether a file's tensors fit a model's parameters.
fn check_weights<T: Scalar>(file: &TensorFile, layout: &Layout, settings: LoadWeights) -> Result<LoadReport> {
    let mut report = LoadReport::default();
    for entry in layout.entries() {
        match file.tensor(entry.name()) {
            Some(tensor) if tensor.shape() != entry.shape() && !settings.strict => {
                report.mismatched.push(entry.name().to_owned());
            }
            Some(tensor) if tensor.shape() != entry.shape() => {
                let (name, got, expected) = (entry.name(), shape_text(tensor.shape()), shape_text(entry.shape()));
                return Err(file.error(format!(
                    "{name:?} has the shape {got}, expected {expected}; LoadWeights::strict(false) leaves it out"
                )));
            }
            Some(tensor) => {
                tensor.check_type::<T>(narrowing(settings))?;
                report.loaded.push(entry.name().to_owned());
            }
            None => report.missing.push(entry.name().to_owned()),
        }
    }
    let known: HashSet<&str> = layout.entries().iter().map(|entry| entry.name()).collect();
    let names = file.tensors().map(|tensor| tensor.name());
    report.unexpected = names.filter(|name| !known.contains(name)).map(str::to_owned).collect();
    if settings.strict && !(report.missing.is_empty() && report.unexpected.is_empty()) {
        let lacks = (!report.missing.is_empty()).then(|| format!("lacks {}", some(&report.missing)));
        let more = (!report.unexpected.is_empty()).then(|| format!("has {} too many", some(&report.unexpected)));
        let problem = [lacks, more].into_iter().flatten().collect::<Vec<_>>().join(" and ");
        return Err(file.error(format!("for this model it {problem}; LoadWeights::strict(false) takes what there is")));
    }
    Ok(report)
}

/// The first few names, and how many more there are.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
