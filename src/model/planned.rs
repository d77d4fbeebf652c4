//! A model whose shapes and settings fit, without values.

use std::sync::Arc;

use super::model::{Model, NamedLayer};
use crate::error::{Error, Result};
use crate::graph::executor::fits_into_memory;
use crate::graph::expand::{Expanded, Requested, expand};
use crate::graph::fuse::fuse;
use crate::graph::{Graph, Layout};
use crate::kernels::aligned::zeros;
use crate::kernels::dispatch::check_environment;
use crate::layers::{Network, Role};
use crate::random::{Purpose, generator};
use crate::scalar::Scalar;

#[derive(Debug)]
pub(crate) struct Planned<T: Scalar> {
    pub(super) network: Network<T>,
    pub(super) layers: Vec<NamedLayer<T>>,
    pub(super) graph: Graph<T>,
    pub(super) layout: Layout,
    /// The parameters in the order in which layers asked for them.
    parameters: Vec<Requested<T>>,
}

impl<T: Scalar> Planned<T> {
    /// Checks all shapes and settings, and takes no memory for parameters yet.
    pub(crate) fn new(network: Network<T>) -> Result<Self> {
        check_environment()?;
        let Expanded { mut graph, layout, layers, parameters } = expand(&network)?;
        let layout = layout.finish();
        fuse(&mut graph, |block| layout.block_len(block) > 0);
        let layers = layers.into_iter().zip(&network.applications).map(|(layer, application)| NamedLayer {
            parameters: match layer.shared {
                true => 0,
                false => layer.blocks.clone().map(|block| layout.block_len(block)).sum(),
            },
            name: layer.name,
            layer: application.layer.clone(),
            inputs: layer.inputs,
            outputs: layer.outputs,
            #[cfg(any(feature = "safetensors", feature = "keras"))]
            blocks: layer.blocks,
            multiply_adds: layer.multiply_adds,
            reshapes: layer.reshapes,
        });
        let layers: Vec<_> = layers.collect();
        Ok(Self { network, layers, graph, layout, parameters })
    }

    /// Names and shapes of the parameters.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Values for all parameters, drawn from a seed.
    pub(crate) fn draw(&self, seed: u64) -> Result<Vec<T>> {
        let Self { layers, layout, parameters, .. } = self;
        let mut values = zeros(layout.len()).ok_or_else(|| {
            let largest = layers.iter().max_by_key(|layer| layer.parameters);
            let owner = largest.expect("there are layers").name.clone();
            Error::TooLarge { owner, what: "the parameters" }
        })?;
        let (trainable, state) = layout.entries().split_at(layout.trainable_count());
        let (mut trainable, mut state) = (trainable.iter(), state.iter());
        for (index, Requested { layer, spec, given }) in parameters.iter().enumerate() {
            let entry = match spec.role {
                Role::Trainable => trainable.next(),
                Role::State => state.next(),
            };
            let entry = entry.expect("the layout has an entry for each parameter");
            let values = &mut values[entry.range()];
            match given.as_ref().and_then(|(given, name)| given.get(name)) {
                Some(given) if given.len() == values.len() => values.copy_from_slice(given),
                Some(given) => {
                    let message = format!(
                        "has {} values for {}, expected {}: give it inputs of the shape it was built for",
                        given.len(),
                        spec.name,
                        values.len()
                    );
                    return Err(Error::layer(layer, message));
                }
                None => spec
                    .initializer
                    .fill(values, spec.fan_in, spec.fan_out, &mut generator(seed, Purpose::Parameter(index)))
                    .map_err(|error| error.in_layer(layer))?,
            }
        }
        Ok(values)
    }

    /// The graph and the layout, without the layers.
    pub(crate) fn into_graph(self) -> (Graph<T>, Layout) {
        (self.graph, self.layout)
    }

    /// The model, with these parameters in the order of its layout.
    pub(crate) fn with_values(self, seed: u64, values: Vec<T>) -> Result<Model<T>> {
        debug_assert_eq!(values.len(), self.layout.len(), "as many values as parameters");
        let Self { network, layers, graph, layout, .. } = self;
        // not before: a file that lies about its layers is to be told so
        if let Some(node) = graph.nodes.iter().find(|node| {
            let outputs: Vec<_> = node.outputs.iter().map(|&output| graph.shape(output)).collect();
            !fits_into_memory(node.op.as_ref(), &outputs)
        }) {
            let owner = layers[node.layer].name.clone();
            return Err(Error::TooLarge { owner, what: "the working memory of a sample" });
        }
        let frozen = vec![false; layout.trainable_count()];
        Ok(Model { network, layers, graph, layout, values, frozen, seed, identity: Arc::new(()) })
    }
}
