//! What files of other libraries can hold so far: chains of the layers that they have too.

use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Endpoint};
use crate::model::{Model, NamedLayer};
use crate::scalar::Scalar;

/// Whether each layer of a model takes what the one before it puts out, and nothing else.
pub(super) fn check_chain<T: Scalar>(model: &Model<T>) -> Result<()> {
    let network = model.network();
    let expected = |index: usize| match index {
        0 => Endpoint::Input(0),
        _ => Endpoint::Output { application: index - 1, index: 0 },
    };
    let message = "does not take what the layer before it puts out, or not alone: files of other libraries hold chains \
                   of layers only; save it as a model file";
    let layers = network.applications.iter().zip(model.layers()).enumerate();
    for (index, (application, named)) in layers {
        if application.inputs != [expected(index)] {
            return Err(Error::layer(named.name(), message));
        }
    }
    let last = model.layers().last().expect("a model has layers");
    if network.inputs.len() != 1 || network.outputs != [expected(network.applications.len())] {
        return Err(Error::layer(
            last.name(),
            "is not the only output: files of other libraries hold chains of layers only",
        ));
    }
    Ok(())
}

/// The layer as one of the crate's.
pub(super) fn built_in<T: Scalar>(layer: &NamedLayer<T>) -> Result<BuiltIn> {
    BuiltIn::of(layer.layer()).ok_or_else(|| {
        let kind = layer.layer().type_name();
        let message = format!("is a {kind}, no layer of the crate, so other libraries have none for it");
        Error::layer(layer.name(), message)
    })
}

/// The error of a layer that files of a format cannot hold yet.
pub(super) fn not_yet<T: Scalar>(layer: &NamedLayer<T>, format: &str) -> Error {
    let kind = layer.layer().type_name();
    Error::layer(layer.name(), format!("is a {kind}, which {format} cannot hold yet; save it as a model file"))
}
