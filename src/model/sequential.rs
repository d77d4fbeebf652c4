//! The builder for models whose layers follow one another.

use std::sync::Arc;

use super::model::Model;
#[cfg(feature = "keras")]
use super::planned::Planned;
use crate::error::Result;
use crate::layers::{Layer, Network};
use crate::scalar::Scalar;

/// Layers one after the other: a model in the making. Every error waits for [`build`](Self::build).
///
/// ```
/// use plywood::ndarray::Array4;
/// use plywood::prelude::*;
///
/// let model = Sequential::input([28, 28, 1])
///     .add(Conv2D::new(32, 3))
///     .add(ReLU::new())
///     .add(MaxPooling2D::new(2))
///     .add(Flatten::new())
///     .add(Dense::new(10))
///     .add(Softmax::new())
///     .build(42)?;
/// println!("{}", model.summary());
/// let probabilities = model.predict(&Array4::zeros((5, 28, 28, 1)))?;
/// assert_eq!(probabilities.shape(), [5, 10]);
/// # Ok::<(), plywood::Error>(())
/// ```
///
/// Layers can be added in a loop, and named:
///
/// ```
/// use plywood::prelude::*;
///
/// let mut builder = Sequential::input([784]);
/// for units in [512, 64] {
///     builder = builder.add(Dense::new(units).activation(Activation::ReLU));
/// }
/// let model = builder.add(Dense::new(10)).named("logits").build(42)?;
/// assert_eq!(model.layers().len(), 3);
/// assert_eq!(model.parameter("logits/bias")?.len(), 10);
/// # Ok::<(), plywood::Error>(())
/// ```
///
/// For residual connections, branches, and several inputs or outputs there is [`Functional`](super::Functional).
#[derive(Debug, Clone)]
pub struct Sequential<T: Scalar = f32> {
    input: Vec<usize>,
    layers: Vec<(Arc<dyn Layer<T>>, Option<String>)>,
}

impl Sequential {
    /// Starts a model of `f32` for samples of this shape, without the batch axis: `[784]`, `[28, 28, 1]`.
    pub fn input(sample: impl Into<Vec<usize>>) -> Self {
        Self::with_input(sample)
    }
}

impl<T: Scalar> Sequential<T> {
    /// Starts a model of any number type for samples of this shape: `Sequential::<f64>::with_input([784])`.
    pub fn with_input(sample: impl Into<Vec<usize>>) -> Self {
        Self { input: sample.into(), layers: vec![] }
    }

    /// Appends a layer.
    #[expect(clippy::should_implement_trait, reason = "the name Keras users know; layers have no sum")]
    pub fn add(self, layer: impl Layer<T>) -> Self {
        self.add_arc(Arc::new(layer))
    }

    pub(crate) fn add_arc(mut self, layer: Arc<dyn Layer<T>>) -> Self {
        self.layers.push((layer, None));
        self
    }

    /// Names the layer that was added last. Without a name, layers are called by their kind: `dense`, `dense_1`.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        if let Some((_, of_layer)) = self.layers.last_mut() {
            *of_layer = Some(name.into());
        }
        self
    }

    /// Checks all shapes and settings and draws the parameters.
    ///
    /// Each parameter is drawn from a stream of its own of the generator that `seed` starts (ChaCha8), so the same seed
    /// gives the same model on every machine. The seed also decides how a [`Trainer`](crate::Trainer) shuffles.
    ///
    /// # Errors
    ///
    /// The first problem, by the name of its layer: [`Error::InputShape`](crate::Error::InputShape),
    /// [`Error::WindowTooLarge`](crate::Error::WindowTooLarge),
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter), [`Error::TooLarge`](crate::Error::TooLarge);
    /// [`Error::EmptyModel`](crate::Error::EmptyModel) without layers; [`Error::Environment`](crate::Error::Environment) if
    /// `PLYWOOD_SIMD` asks for unknown instructions.
    pub fn build(self, seed: u64) -> Result<Model<T>> {
        T::build(self.network(), seed)
    }

    /// Checks all shapes and settings, and takes no memory for parameters yet.
    #[cfg(feature = "keras")]
    pub(crate) fn plan(self) -> Result<Planned<T>> {
        Planned::new(self.network())
    }

    fn network(self) -> Network<T> {
        Network::chain(self.input, self.layers)
    }
}
