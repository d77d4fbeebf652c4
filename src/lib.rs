//! Deep-learning layers for the CPU.
//!
//! plywood builds, trains and runs feed-forward and convolutional networks, with the names and the workflow of Keras.
//! It forbids `unsafe`, runs on the processor's vectors and on all cores, and gives the same bits from run to run.
//!
//! # A first model
//!
//! Two layers learn the exclusive or:
//!
//! ```
//! use plywood::ndarray::array;
//! use plywood::prelude::*;
//!
//! let x = array![[0.0_f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];
//! let data = Dataset::new(x.clone(), array![0_usize, 1, 1, 0])?;
//!
//! let model = Sequential::input([2])
//!     .add(Dense::new(16).activation(Activation::ReLU))
//!     .add(Dense::new(2).activation(Activation::Softmax))
//!     .build(42)?; // shapes are checked, weights are drawn from seed 42
//! println!("{}", model.summary());
//!
//! let mut trainer = model.compile(RMSprop::new(0.01), CategoricalCrossentropy::new()).metric(Accuracy::new());
//! let history = trainer.fit(&data, &Fit::epochs(200).batch_size(4))?;
//! assert_eq!(history.last("accuracy"), Some(1.0));
//! assert_eq!(trainer.model().predict_classes(&x)?, array![0, 1, 1, 0]);
//! # Ok::<(), plywood::Error>(())
//! ```
//!
//! `cargo run --example dense_mnist` and `cargo run --example cnn_mnist` learn handwritten digits.
//!
//! # Where things are
//!
//! | module | what is in it |
//! |---|---|
//! | [`prelude`] | what most programs need |
//! | [`layers`] | [`Dense`](layers::Dense), [`Conv2D`](layers::Conv2D), [`MaxPooling2D`](layers::MaxPooling2D), [`Flatten`](layers::Flatten), [`ReLU`](layers::ReLU), [`Softmax`](layers::Softmax), and the trait [`Layer`](layers::Layer) |
//! | [`initializers`] | how parameters are drawn: [`Initializer`] |
//! | [`model`] | [`Sequential`], [`Trainer`], [`Fit`](model::Fit), [`History`](model::History), [`Predictor`](model::Predictor) |
//! | [`losses`] | [`CategoricalCrossentropy`](losses::CategoricalCrossentropy), [`MeanSquaredError`](losses::MeanSquaredError), and the trait [`Loss`](losses::Loss) |
//! | [`optimizers`] | [`SGD`](optimizers::SGD), [`RMSprop`](optimizers::RMSprop), [`Adam`](optimizers::Adam), and the trait [`Optimizer`](optimizers::Optimizer) |
//! | [`metrics`] | [`Accuracy`](metrics::Accuracy) and others, and the trait [`Metric`](metrics::Metric) |
//! | [`callbacks`] | early stopping, learning rate schedules and others, and the trait [`Callback`](callbacks::Callback) |
//! | [`data`] | [`Dataset`](data::Dataset), batches, shuffling, IDX files and MNIST |
//! | [`progress`] | bars on terminals |
//! | [`persist`] | files: models, checkpoints, and those of Keras, PyTorch, ONNX and NumPy |
//! | [`plot`], [`report`] | curves in SVG, reports in HTML |
//! | [`testing`] | checks for layers, losses, optimizers and metrics of your own |
//!
//! Whatever a user can do wrong comes back as an [`Error`] that names the layer or the file, what it got, what it
//! expected and a way out. Everything is generic over [`Scalar`], `f32` or `f64`; `f32` is the default.
//!
//! # Shapes
//!
//! Data are `[batch, height, width, channels]`, convolution kernels `[height, width, channels, filters]`, dense kernels
//! `[features, units]`, as in Keras. Models are given the shape of one sample, without the batch axis. Arrays are those
//! of [`ndarray`].
//!
//! # Writing a layer
//!
//! A layer is a small value that implements [`Layer`](layers::Layer). It holds no weights and no activations. It says
//! what it needs ([`plan`](layers::Layer::plan)) and computes with what it is given
//! ([`forward`](layers::Layer::forward), [`backward`](layers::Layer::backward)); the rest has defaults. The trait's
//! documentation has the contract and an example. [`check_layer`](testing::check_layer) holds a layer to it.
//! [`Loss`](losses::Loss), [`Optimizer`](optimizers::Optimizer), [`Metric`](metrics::Metric) and
//! [`Callback`](callbacks::Callback) are open in the same way.
//!
//! # Features
//!
//! Those without a note are on by default.
//!
//! | feature | what it adds |
//! |---|---|
//! | `datasets` | IDX files, plain and gzip-compressed, and the MNIST loader |
//! | `json` | histories to and from JSON |
//! | `plot` | [`plot`] and [`report`] |
//! | `progress` | a bar while a model trains, on terminals |
//! | `safetensors` | [`persist`]: models, weights and checkpoints in safetensors files |
//! | `onnx` | not by default: models for ONNX Runtime and others |
//! | `keras` | not by default: models of Keras 3 |
//! | `npz` | not by default: arrays and weights in NumPy's files |
//!
//! # Determinism
//!
//! The seed that a model is built from decides its first weights, the order of samples in each epoch, and what layers
//! draw. With the same seed and data, the weights after training are the same to the last bit for any number of threads
//! and any vector width, and a sample's prediction does not depend on the batch it came in. The promise is for one
//! version of the crate.
//!
//! Threads are those of rayon: `RAYON_NUM_THREADS` sets their number, and work in a pool of your own stays in it. Any number
//! of threads can train and predict at the same time: they share the pool step by step. The environment variable
//! `PLYWOOD_SIMD` asks for narrower vector instructions, to prove that they change nothing: `scalar` for none, on x86-64
//! also `v3` for AVX2 and `v4` for AVX-512. A name that is unknown, or that of instructions which the processor does not
//! have, is an [`Error::Environment`] when a model is built.
//!
//! # Speed
//!
//! The large loops are compiled with this crate. Compile it optimised: with `--release`, or with `opt-level = 3` in the
//! profile `dev` of the program that uses it.
#![forbid(unsafe_code)]

pub mod callbacks;
mod compiled;
pub mod data;
mod error;
mod files;
pub mod initializers;
mod kernels;
pub mod layers;
pub mod losses;
pub mod metrics;
pub mod model;
pub mod optimizers;
#[cfg(any(feature = "keras", feature = "npz", feature = "safetensors"))]
pub mod persist;
#[cfg(feature = "plot")]
pub mod plot;
pub mod progress;
mod random;
#[cfg(feature = "plot")]
pub mod report;
mod scalar;
mod shape;
mod terminal;
pub mod testing;

pub use error::{Error, Result};
pub use initializers::Initializer;
pub use model::{Sequential, Trainer};
pub use ndarray;
pub use scalar::Scalar;
pub use shape::{Padding, Size2D};

/// What most programs need: `use plywood::prelude::*;`.
///
/// ```
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// let data = Dataset::new(array![[0.0_f32], [1.0], [2.0], [3.0]], array![0_usize, 1, 2, 2])?;
/// let model = Sequential::input([1]).add(Dense::new(3)).add(Softmax::new()).build(42)?;
/// let loss = CategoricalCrossentropy::new();
/// let mut trainer = model.compile(Adam::default(), loss).metric(Accuracy::new()).metric(TopKAccuracy::new(2));
///
/// let mut early = EarlyStopping::new().monitor("loss").patience(5);
/// let mut schedule = LearningRateSchedule::exponential(0.1, 0.96);
/// trainer.fit_with(&data, &Fit::epochs(20).batch_size(2), &mut [&mut early, &mut schedule])?;
/// # Ok::<(), plywood::Error>(())
/// ```
pub mod prelude {
    #[cfg(feature = "safetensors")]
    pub use crate::callbacks::ModelCheckpoint;
    pub use crate::callbacks::{
        Callback, Control, CsvLog, EarlyStopping, LearningRateSchedule, ReduceLROnPlateau, TimeBudget,
    };
    pub use crate::data::{Dataset, Targets};
    pub use crate::layers::{Activation, Conv2D, Dense, Flatten, Layer, MaxPooling2D, ReLU, Softmax};
    pub use crate::losses::{CategoricalCrossentropy, Loss, MeanSquaredError};
    pub use crate::metrics::{Accuracy, ConfusionMatrix, F1, Metric, Precision, Recall, TopKAccuracy};
    pub use crate::model::{Fit, History, Predictor, Sequential, Trainer, Verbosity};
    pub use crate::optimizers::{Adam, Optimizer, RMSprop, SGD};
    pub use crate::{Error, Initializer, Padding, Result, Scalar, Size2D};
}

/// The examples of the README, which are tests too.
#[cfg(all(doctest, feature = "datasets"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
