//! The crate's layers as one type, for files that say which layers a model has.

use std::any::Any;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layers::{Conv2D, Dense, Flatten, Layer, MaxPooling2D, ReLU, Softmax};
use crate::model::{NamedLayer, Sequential};
use crate::scalar::Scalar;

/// A layer of the crate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum BuiltIn {
    Dense(Dense),
    Conv2D(Conv2D),
    MaxPooling2D(MaxPooling2D),
    Flatten(Flatten),
    ReLU(ReLU),
    Softmax(Softmax),
}

impl BuiltIn {
    /// What a layer is, if it is one of the crate's.
    pub(crate) fn of<T: Scalar>(layer: &dyn Layer<T>) -> Option<Self> {
        let layer: &dyn Any = layer;
        None.or_else(|| layer.downcast_ref().cloned().map(Self::Dense))
            .or_else(|| layer.downcast_ref().cloned().map(Self::Conv2D))
            .or_else(|| layer.downcast_ref().cloned().map(Self::MaxPooling2D))
            .or_else(|| layer.downcast_ref().cloned().map(Self::Flatten))
            .or_else(|| layer.downcast_ref().cloned().map(Self::ReLU))
            .or_else(|| layer.downcast_ref().cloned().map(Self::Softmax))
    }

    /// What a layer of a model is.
    ///
    /// # Errors
    ///
    /// [`Error::Layer`] if it is one of another crate.
    pub(crate) fn of_named<T: Scalar>(layer: &NamedLayer<T>) -> Result<Self> {
        let wrong = || {
            let kind = layer.layer().type_name();
            Error::layer(
                layer.name(),
                format!("is a {kind}, no layer of the crate, so other libraries have none for it"),
            )
        };
        Self::of(layer.layer()).ok_or_else(wrong)
    }

    /// Appends the layer to a model.
    pub(crate) fn add_to<T: Scalar>(self, model: Sequential<T>) -> Sequential<T> {
        match self {
            Self::Dense(layer) => model.add(layer),
            Self::Conv2D(layer) => model.add(layer),
            Self::MaxPooling2D(layer) => model.add(layer),
            Self::Flatten(layer) => model.add(layer),
            Self::ReLU(layer) => model.add(layer),
            Self::Softmax(layer) => model.add(layer),
        }
    }
}
