//! The crate's one error type.
//!
//! Whatever a user can do wrong comes back as an [`Error`] that names the layer or the file, says what it got and what
//! it expected, and shows a way out. Errors come before any state has changed.

use std::fmt::{self, Debug, Display};
use std::path::PathBuf;

#[cfg(feature = "datasets")]
use crate::data::IdxProblem;

/// What the crate's fallible functions return.
///
/// ```
/// use plywood::prelude::*;
///
/// fn classifier(classes: usize) -> Result<Sequential> {
///     Sequential::input([784]).add(Dense::new(classes)).add(Softmax::new()).build(42)
/// }
/// assert_eq!(classifier(10)?.output_shape(), [10]);
/// assert!(classifier(0).is_err());
/// # Ok::<(), plywood::Error>(())
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong because of what a user passed in.
///
/// `Debug` writes the same message as `Display`, because that is what a program prints whose `main` returns an error, and
/// what `unwrap` and `expect` panic with.
///
/// ```
/// use plywood::prelude::*;
///
/// let error = Sequential::input([28, 28, 1]).add(Dense::new(10)).build(42).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "dense: got input samples of shape 28×28×1, expected [features]; put Flatten before it"
/// );
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A hyper-parameter of a layer, optimizer, loss or of `fit` is outside its range.
    #[error("{owner}: {parameter} is {got}, expected {expected}")]
    InvalidParameter {
        /// The layer's name in the model, or the optimizer's or loss's.
        owner: String,
        /// The parameter as its builder method spells it.
        parameter: &'static str,
        /// The value that was given.
        got: String,
        /// The range it must lie in.
        expected: &'static str,
    },
    /// A layer cannot take samples of the shape that the layer before it puts out.
    #[error("{layer}: got input samples of shape {}, expected {expected}; {help}", shape_text(got))]
    InputShape {
        /// The layer's name in the model.
        layer: String,
        /// The shape of one sample.
        got: Vec<usize>,
        /// The shape it can work with.
        expected: &'static str,
        /// A way out.
        help: String,
    },
    /// A convolution or pooling window is larger than its padded input.
    #[error(
        "{layer}: a {} {what}{} does not fit into its input of {}; use Padding::Same or a {what} of at most {}",
        shape_text(window),
        if reach == window { String::new() } else { format!(", dilated to {},", shape_text(reach)) },
        shape_text(input),
        shape_text(largest)
    )]
    WindowTooLarge {
        /// The layer's name in the model.
        layer: String,
        /// `kernel` or `pool`.
        what: &'static str,
        /// Height and width of the window.
        window: [usize; 2],
        /// The same with its dilation.
        reach: [usize; 2],
        /// The shape of one sample.
        input: Vec<usize>,
        /// The largest height and width that fit at this dilation.
        largest: [usize; 2],
    },
    /// A size is too large to be addressed: the product of its factors overflows.
    #[error("{owner}: {what} would have more elements than fit into memory; use fewer")]
    TooLarge {
        /// Who wants that much.
        owner: String,
        /// What it is.
        what: &'static str,
    },
    /// A layer of another crate reports something of its own.
    #[error("{layer}: {message}")]
    Layer {
        /// The layer's name in the model.
        layer: String,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// An environment variable asks for something that is unknown, or that this machine does not have.
    #[error("the environment variable {variable} is {got:?}, expected {expected} on this processor; or do not set it")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// Its value.
        got: String,
        /// The values that are possible here.
        expected: String,
    },
    /// A model without layers.
    #[error("the model has no layers; add at least one before build")]
    EmptyModel,
    /// An array does not have the shape that the model's input or output asks for.
    #[error("{what}: got an array of shape {}, expected {expected}", shape_text(got))]
    ArrayShape {
        /// What the array is for.
        what: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// What was expected.
        expected: String,
    },
    /// The targets are not of the form that is needed.
    #[error("{owner}: got {got}, expected {expected}")]
    Targets {
        /// Who needs them: the loss or metric, by name, or the function.
        owner: &'static str,
        /// What the targets are.
        got: String,
        /// What they should be.
        expected: String,
    },
    /// Inputs and targets are not equally many.
    #[error("got {inputs} inputs but {targets} {what}; there must be one for each input")]
    LengthMismatch {
        /// Number of inputs.
        inputs: usize,
        /// `targets`, `sample weights`, …
        what: &'static str,
        /// Number of them.
        targets: usize,
    },
    /// A class index is not below the number of classes.
    #[error("the label at index {index} is {label}, expected a class below {classes}")]
    LabelOutOfRange {
        /// Position of the label in its array.
        index: usize,
        /// The label.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A data set without samples.
    #[error("{0} has no samples; at least one is needed")]
    Empty(&'static str),
    /// The loss of a batch is infinite or not a number. The weights are as they were before this batch.
    #[error(
        "the loss is {loss} in epoch {epoch}, batch {batch}; lower the learning rate or look for NaN in the data \
         (the weights have not been changed by this batch)"
    )]
    NonFiniteLoss {
        /// The loss.
        loss: f64,
        /// Epoch, from 1.
        epoch: usize,
        /// Batch of the epoch, from 1. From [`Trainer::train_step`](crate::Trainer::train_step), the step of the trainer.
        batch: usize,
    },
    /// A step would make a parameter infinite or NaN, or what the optimizer remembers of it. Weights, optimizer and the
    /// counter of steps are as they were before this batch.
    #[error(
        "the step of epoch {epoch}, batch {batch} would make {what} {value}, on a gradient of {gradient}; lower the \
         learning rate, or look for very large numbers in the data and the weights of samples (the weights have not been \
         changed by this batch)"
    )]
    NonFiniteStep {
        /// The parameter, such as `conv2d_1/kernel`, or `RMSprop's memory of conv2d_1/kernel`.
        what: String,
        /// What the first of its elements that is not finite would become.
        value: f64,
        /// The gradient of that element.
        gradient: f64,
        /// Epoch, from 1.
        epoch: usize,
        /// Batch of the epoch, from 1. From [`Trainer::train_step`](crate::Trainer::train_step), the step of the trainer.
        batch: usize,
    },
    /// No parameter of that name.
    #[error("the model has no parameter {name:?}; it has {}", known.join(", "))]
    UnknownParameter {
        /// The name asked for.
        name: String,
        /// All names there are.
        known: Vec<String>,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file of a known format is damaged, lies about itself, or holds what cannot be used here.
    #[error("{}: not a {format} that can be used here: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it should be: `safetensors file`, `checkpoint`, `Keras model`, …
        format: &'static str,
        /// What is wrong with it, what was expected, and a way out.
        problem: String,
    },
    /// A text is not the history of a run.
    #[error("{}, line {line}: {problem}", path.as_deref().unwrap_or("the history".as_ref()).display())]
    History {
        /// The file, if it came from one.
        path: Option<PathBuf>,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is not a valid IDX file.
    #[cfg(feature = "datasets")]
    #[error("{}: {problem}", path.display())]
    Idx {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: IdxProblem,
    },
    /// A file of a data set is not where it is looked for.
    #[cfg(feature = "datasets")]
    #[error("{}: there is no such file; {help}", path.display())]
    MissingFile {
        /// The file looked for.
        path: PathBuf,
        /// A way out.
        help: String,
    },
    /// Two files of a data set, one of images and one of their labels, are not equally long.
    #[cfg(feature = "datasets")]
    #[error(
        "{} holds {image_count} images but {} holds {label_count} labels; there must be one for each image: take both \
         from the same data set",
        images.display(),
        labels.display()
    )]
    FileMismatch {
        /// The file of images.
        images: PathBuf,
        /// Number of images in it.
        image_count: usize,
        /// The file of labels.
        labels: PathBuf,
        /// Number of labels in it.
        label_count: usize,
    },
}

impl Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Error {
    /// An [`Error::InvalidParameter`].
    pub fn invalid_parameter(
        owner: impl Into<String>,
        parameter: &'static str,
        got: impl Display,
        expected: &'static str,
    ) -> Self {
        Self::InvalidParameter { owner: owner.into(), parameter, got: got.to_string(), expected }
    }

    /// An [`Error::Layer`], for layers of other crates.
    pub fn layer(layer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Layer { layer: layer.into(), message: message.into() }
    }

    /// The same error, told by the layer of this name: a layer's `plan` knows its kind, the model knows its name.
    pub(crate) fn in_layer(mut self, name: &str) -> Self {
        match &mut self {
            Self::InvalidParameter { owner: layer, .. }
            | Self::TooLarge { owner: layer, .. }
            | Self::InputShape { layer, .. }
            | Self::WindowTooLarge { layer, .. }
            | Self::Layer { layer, .. } => *layer = name.to_owned(),
            _ => {}
        }
        self
    }
}

/// `28×28×1`, as messages write shapes.
pub(crate) fn shape_text(shape: &[usize]) -> String {
    if shape.is_empty() {
        return "[]".to_owned();
    }
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}
