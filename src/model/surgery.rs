//! Models as parts of other models.

use std::fmt;
use std::sync::Arc;

use super::model::Model;
use super::planned::Planned;
use crate::error::{Error, Result, shape_text};
use crate::graph::Layout;
use crate::layers::{GivenValues, Layer, Network, Plan};
use crate::scalar::Scalar;

impl<T: Scalar> Model<T> {
    /// Returns the part of the model that leads to a layer, with its weights: to look at what comes out of it, or to put
    /// other layers after it. The layers keep their names.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownLayer`], with all names there are.
    ///
    /// ```
    /// use plywood::ndarray::Array2;
    /// use plywood::prelude::*;
    ///
    /// let layer = |units| Dense::new(units).activation(Activation::ReLU);
    /// let model = Sequential::input([4]).add(layer(16)).add(layer(8)).add(Dense::new(3)).build(42)?;
    /// let trunk = model.until("dense_1")?;
    /// assert_eq!(trunk.predict(&Array2::ones((2, 4)))?.shape(), [2, 8]);
    ///
    /// // a new head on the same weights
    /// let other = Sequential::input([4]).add(trunk).named("trunk").add(Dense::new(5)).build(1)?;
    /// assert_eq!(other.parameter("trunk/dense/kernel")?, model.parameter("dense/kernel")?);
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn until(&self, layer: &str) -> Result<Self> {
        let position = self.layers.iter().position(|named| named.name() == layer);
        let position = position.ok_or_else(|| Error::UnknownLayer {
            name: layer.to_owned(),
            known: self.layers.iter().map(|named| named.name().to_owned()).collect(),
        })?;
        let network = self.named_network();
        let planned = Planned::new(network.until(position))?;
        let mut values = vec![];
        for entry in planned.layout().entries() {
            let own = self.layout.entry(entry.name()).expect("a part of the model has no other parameters");
            values.extend_from_slice(&self.values[own.range()]);
        }
        planned.with_values(self.seed, values)
    }

    /// The model's layers, each with the name that it has here: elsewhere, other numbers might be counted.
    fn named_network(&self) -> Network<T> {
        let mut network = self.network.clone();
        for (application, named) in network.applications.iter_mut().zip(&self.layers) {
            application.name = Some(named.name().to_owned());
        }
        network
    }
}

/// A model within another that was read from a file: its layers, without values.
#[cfg(feature = "safetensors")]
#[derive(Clone)]
pub(crate) struct NestedModel<T: Scalar>(Network<T>);

#[cfg(feature = "safetensors")]
impl<T: Scalar> NestedModel<T> {
    pub(crate) fn new(network: Network<T>) -> Self {
        Self(network)
    }

    pub(crate) fn network(&self) -> &Network<T> {
        &self.0
    }
}

/// As the model itself.
#[cfg(feature = "safetensors")]
impl<T: Scalar> fmt::Debug for NestedModel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.0, f)
    }
}

#[cfg(feature = "safetensors")]
impl<T: Scalar> Layer<T> for NestedModel<T> {
    fn kind(&self) -> &'static str {
        "model"
    }

    fn type_name(&self) -> &'static str {
        "Model"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        check_inputs(self.0.inputs.iter().map(Vec::as_slice), inputs)?;
        Ok(Plan::of_network(self.0.clone()))
    }
}

/// Its layers, without values.
impl<T: Scalar> fmt::Debug for Model<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.network, f)
    }
}

fn describe<T: Scalar>(network: &Network<T>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let layers: Vec<_> = network.applications.iter().map(|application| &application.layer).collect();
    f.debug_struct("Model").field("inputs", &network.inputs).field("layers", &layers).finish()
}

fn check_inputs<'a>(expected: impl Iterator<Item = &'a [usize]> + Clone, inputs: &[&[usize]]) -> Result<()> {
    if expected.clone().eq(inputs.iter().copied()) {
        return Ok(());
    }
    let text = |shapes: Vec<String>| shapes.join(" and ");
    let got = text(inputs.iter().map(|input| shape_text(input)).collect());
    let expected = text(expected.map(shape_text).collect());
    Err(Error::layer("model", format!("got input samples of shape {got}, expected {expected}")))
}

/// A model's own values, for when it is built as a part of another.
#[derive(Debug)]
struct OwnValues<T> {
    layout: Layout,
    values: Vec<T>,
}

impl<T: Scalar> GivenValues<T> for OwnValues<T> {
    fn get(&self, name: &str) -> Option<&[T]> {
        self.layout.entry(name).ok().map(|entry| &self.values[entry.range()])
    }
}

/// A model is a layer of other models, which begin with its weights. What it learns there it does not learn itself.
impl<T: Scalar> Layer<T> for Model<T> {
    fn kind(&self) -> &'static str {
        "model"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        check_inputs(self.network.inputs.iter().map(Vec::as_slice), inputs)?;
        let network = self.named_network();
        let given = OwnValues { layout: self.layout.clone(), values: self.values.clone() };
        Ok(Plan::given_network(network, Arc::new(given)))
    }
}
