//! Layers of other crates in model files.

use std::any::Any;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::layers::Layer;
use crate::model::SequentialBuilder;
use crate::scalar::Scalar;

/// The layers of other crates that model files may have, each under a name.
///
/// A model file says which layers a model has. Those of the crate are known by themselves. Any other type is given a name
/// here, and the same name by the program that loads the file; its settings go into the file by its serde form. A type
/// that is named twice goes by its first name; a name that is given twice means the last type.
///
/// ```
/// use plywood::layers::{Backward, Forward, Layer, Plan};
/// use plywood::ndarray::Zip;
/// use plywood::persist::CustomLayers;
/// use plywood::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// /// y = factor · x
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// struct Scale {
///     factor: f64,
/// }
///
/// impl<T: Scalar> Layer<T> for Scale {
///     fn kind(&self) -> &'static str {
///         "scale"
///     }
///
///     fn plan(&self, input: &[usize]) -> Result<Plan> {
///         Ok(Plan::new(input))
///     }
///
///     fn forward(&self, mut pass: Forward<'_, T>) {
///         Zip::from(&mut pass.y).and(&pass.x).for_each(|y, &x| *y = T::of(self.factor) * x);
///     }
///
///     fn backward(&self, pass: Backward<'_, T>) {
///         if let Some(mut dx) = pass.dx {
///             Zip::from(&mut dx).and(&pass.dy).for_each(|dx, &dy| *dx = T::of(self.factor) * dy);
///         }
///     }
/// }
///
/// let model = Sequential::input([4]).add(Scale { factor: 0.5 }).add(Dense::new(2)).build(42)?;
/// # let path = std::env::temp_dir().join(format!("plywood-doc-custom-{}.safetensors", std::process::id()));
/// assert!(model.save(&path).is_err());
///
/// let custom = CustomLayers::new().layer::<Scale>("scale");
/// model.save_with(&path, &custom)?;
/// let same: Sequential = Sequential::load_with(&path, &custom)?;
/// assert_eq!(same.values(), model.values());
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), plywood::Error>(())
/// ```
#[doc(alias = "custom_objects")]
pub struct CustomLayers<T: Scalar = f32> {
    layers: Vec<Custom<T>>,
}

struct Custom<T: Scalar> {
    name: String,
    settings: fn(&dyn Layer<T>) -> Option<serde_json::Result<Value>>,
    add: fn(&RawValue, SequentialBuilder<T>) -> serde_json::Result<SequentialBuilder<T>>,
}

impl<T: Scalar> CustomLayers<T> {
    /// None.
    pub fn new() -> Self {
        Self { layers: vec![] }
    }

    /// Adds a type of layers, under the name that stands for it in files.
    pub fn layer<L: Layer<T> + Serialize + DeserializeOwned>(mut self, name: impl Into<String>) -> Self {
        self.layers.push(Custom {
            name: name.into(),
            settings: |layer| {
                let layer: &dyn Any = layer;
                layer.downcast_ref::<L>().map(serde_json::to_value)
            },
            add: |settings, model| Ok(model.add(serde_json::from_str::<L>(settings.get())?)),
        });
        self
    }

    /// Name and settings of a layer whose type has a name.
    pub(crate) fn settings(&self, layer: &dyn Layer<T>) -> Option<(&str, serde_json::Result<Value>)> {
        self.layers.iter().find_map(|custom| Some((custom.name.as_str(), (custom.settings)(layer)?)))
    }

    /// Appends the layer of this name and these settings to a model; none if there is no such name.
    pub(crate) fn add(
        &self,
        name: &str,
        settings: &RawValue,
        model: SequentialBuilder<T>,
    ) -> Option<serde_json::Result<SequentialBuilder<T>>> {
        let custom = self.layers.iter().rfind(|custom| custom.name == name)?;
        Some((custom.add)(settings, model))
    }
}

impl<T: Scalar> Default for CustomLayers<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Scalar> fmt::Debug for CustomLayers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.layers.iter().map(|custom| &custom.name)).finish()
    }
}
