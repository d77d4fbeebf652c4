//! Models of Keras 3: `.keras` files, read and written.
//!
//! Such a file is a zip archive:
//!
//! | member | contents |
//! |---|---|
//! | `metadata.json` | the version of Keras; not read, as Keras does not |
//! | `config.json` | the architecture: `read_config`, `write_config` |
//! | `model.weights.h5` | the weights, in HDF5: `weights` |
//!
//! Keras's function for saving can write `model.weights.npz` in place of the last. No Keras opens such a file: it holds
//! Python objects, which Keras itself refuses to load. So it is not written, and an error when read.

mod read_config;
mod weights;
mod write_config;

use std::fs;
use std::io::{self, Cursor, Read, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use self::read_config::Architecture;
use self::weights::Weights;
use super::archive::Archive;
use super::failure::Failure;
use crate::error::{Error, Result};
use crate::files::{open, write_file};
use crate::model::Sequential;
use crate::scalar::Scalar;

/// What errors call such a file.
const FORMAT: &str = "Keras model";
const METADATA: &str = "metadata.json";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.weights.h5";
/// More than any model's architecture takes: a layer takes a kilobyte.
const LONGEST_CONFIG: u64 = 64 << 20;
/// How HDF5 files begin.
const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";
/// The version whose format is written.
const KERAS_VERSION: &str = "3.15.1";

impl<T: Scalar> Sequential<T> {
    /// Reads a `Sequential` model that Keras 3 has saved as `.keras`: `model.save("model.keras")`.
    ///
    /// What it predicts is what Keras predicts, up to rounding. What matters in training alone is not taken over:
    /// optimizer, regularizers, constraints, frozen layers, and layers that do nothing when predicting (`Dropout`,
    /// `SpatialDropout2D`, `AlphaDropout`, `GaussianDropout`, `GaussianNoise`, `ActivityRegularization`). The model's
    /// [`seed`](Self::seed) is 0.
    ///
    /// # Format
    ///
    /// | layer in Keras | here | options that must be as given |
    /// |---|---|---|
    /// | `InputLayer` | the input shape | every size known; dense |
    /// | `Dense` | [`Dense`](crate::layers::Dense) | not quantized, without LoRA |
    /// | `Conv2D` | [`Conv2D`](crate::layers::Conv2D) | `groups=1`, `data_format="channels_last"` |
    /// | `MaxPooling2D` | [`MaxPooling2D`](crate::layers::MaxPooling2D) | `data_format="channels_last"` |
    /// | `Flatten` | [`Flatten`](crate::layers::Flatten) | `data_format="channels_last"` |
    /// | `ReLU` | [`ReLU`](crate::layers::ReLU) | no `max_value`, `negative_slope=0`, `threshold=0` |
    /// | `Softmax` | [`Softmax`](crate::layers::Softmax) | `axis=-1` |
    /// | `Activation` | one of the last two, or nothing | `"relu"`, `"softmax"`, `"linear"` |
    ///
    /// Activations of `Dense` and `Conv2D` are those of [`Activation`](crate::layers::Activation). An initializer that
    /// the crate does not have becomes the layer's default, for the weights come from the file. The model must be in the
    /// type asked for: `float32` for [`Sequential<f32>`], `float64` for `Sequential<f64>`. An `InputLayer` may have either: as
    /// Keras does, the first layer computes in its own type.
    ///
    /// Only Keras's own classes are taken for what their names say. A class that a program has registered under such a name
    /// is an error that names it.
    ///
    /// # Errors
    ///
    /// - [`Error::Io`] if the file cannot be read.
    /// - [`Error::Format`] if it is damaged, or has a layer or an option that the crate has not; it names them. Checked
    ///   are all checksums, names, shapes and types. A file that announces more than it holds is such an error and costs
    ///   no memory.
    ///
    /// # Source
    ///
    /// `keras/src/saving/saving_lib.py`, Keras 3.15.
    ///
    /// # Example
    ///
    /// ```
    /// use plywood::ndarray::Array2;
    /// use plywood::prelude::*;
    ///
    /// let path = std::env::temp_dir().join(format!("plywood-{}-load.keras", std::process::id()));
    /// let model = Sequential::input([4]).add(Dense::new(3)).add(Softmax::new()).build(42)?;
    /// model.save_keras(&path)?;
    ///
    /// let same = Sequential::<f32>::load_keras(&path)?;
    /// let x = Array2::ones((5, 4));
    /// assert_eq!(same.predict(&x)?, model.predict(&x)?);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn load_keras(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        load(path).map_err(|failure| failure.of(path, FORMAT))
    }

    /// Writes the model as a `.keras` file, which Keras 3 opens: `keras.saving.load_model("model.keras")`.
    ///
    /// The file has architecture and weights, not the optimizer: Keras predicts with it at once, and trains it after
    /// `model.compile(…)`. The same model gives the same bytes. The file is there whole or not at all: it takes the place
    /// of an old one when it has been written.
    ///
    /// # Format
    ///
    /// That of Keras 3.15: `config.json` and `model.weights.h5` in a zip archive. [`load_keras`](Self::load_keras) has
    /// the table of layers.
    ///
    /// # Errors
    ///
    /// - [`Error::Layer`] for a layer of another crate, or [`Padding::Explicit`](crate::Padding::Explicit), which Keras
    ///   has not.
    /// - [`Error::Io`] if the file cannot be written.
    ///
    /// # Source
    ///
    /// `keras/src/saving/saving_lib.py`, Keras 3.15.
    ///
    /// # Example
    ///
    /// ```
    /// use plywood::prelude::*;
    ///
    /// let path = std::env::temp_dir().join(format!("plywood-{}-save.keras", std::process::id()));
    /// Sequential::input([4]).add(Dense::new(3)).build(42)?.save_keras(&path)?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn save_keras(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let config = write_config::config(self)?;
        let metadata = format!("{{\"keras_version\": \"{KERAS_VERSION}\"}}");
        let archive = || {
            let weights = weights::encode(self)?;
            archive([(METADATA, metadata.as_bytes()), (CONFIG, config.as_bytes()), (WEIGHTS, &weights)])
        };
        let bytes = archive().map_err(|source| Error::Io { path: path.to_owned(), source })?;
        write_file(path, |file| file.write_all(&bytes))
    }
}

/// A zip archive of these members, in memory: a [`ZipWriter`] whose file cannot be written any more panics when it is
/// dropped.
fn archive(members: [(&str, &[u8]); 3]) -> io::Result<Vec<u8>> {
    // as Keras does
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    let mut zip = ZipWriter::new(Cursor::new(vec![]));
    for (name, bytes) in members {
        zip.start_file(name, options)?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

fn load<T: Scalar>(path: &Path) -> Result<Sequential<T>, Failure> {
    if fs::metadata(path)?.is_dir() {
        let problem =
            "it is a folder; if TensorFlow has saved a model there, load it where it was made and save it as .keras";
        return Err(problem.to_owned().into());
    }
    let mut begin = vec![];
    open(path)?.0.take(HDF5.len() as u64).read_to_end(&mut begin)?;
    if begin == HDF5 {
        let problem = "it is an HDF5 file (.h5), the older format of Keras; in Keras, \
                       keras.saving.load_model(\"model.h5\").save(\"model.keras\") makes the newer one of a model";
        return Err(problem.to_owned().into());
    }
    let mut archive = Archive::open(path)?;
    let names: Vec<String> = archive.names().collect();
    let Some(config) = archive.member(CONFIG)? else {
        return Err(format!("it has no {CONFIG}; save it with Keras 3 as .keras").into());
    };
    let config = config.bytes(LONGEST_CONFIG, 20)?;
    let (builder, groups) = Architecture::read::<T>(&config)?.into_builder();
    let problem = |error: Error| Failure::Problem(error.to_string());
    // nothing is allocated for parameters until the file has been found to have them
    let model = builder.plan().map_err(problem)?;

    let Some(weights) = archive.member(WEIGHTS)? else {
        let help = if names.iter().any(|name| name == "model.weights.npz") {
            ", but model.weights.npz, which holds Python objects; load it in Keras and save it with its default, HDF5"
        } else {
            "; save the model with Keras 3 as .keras"
        };
        return Err(format!("it has no {WEIGHTS}{help}").into());
    };
    let weights = Weights::new(weights.bytes(u64::MAX - 1, 100)?);
    let values = weights.read(&groups, model.layout())?;
    model.with_values(0, values).map_err(problem)
}
