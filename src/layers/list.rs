//! The one list of the crate's layers. Whatever has to know all of them is made from it: the prelude, and the enum by which
//! files name them. A layer that is not in it cannot be saved.

use std::any::Any;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Layer;
use crate::scalar::Scalar;

macro_rules! layers {
    ($($layer:ident),* $(,)?) => {
        /// What the prelude has of layers.
        pub(crate) mod prelude {
            pub use crate::layers::{$($layer),*};
        }

        /// A layer of the crate. In files it is tagged by its type's name: `{"type":"Dense","units":10,…}`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type")]
        pub(crate) enum BuiltIn {
            $($layer(super::$layer),)*
        }

        impl BuiltIn {
            /// The layer, if it is one of the crate.
            pub(crate) fn of<T: Scalar>(layer: &dyn Layer<T>) -> Option<Self> {
                let layer: &dyn Any = layer;
                None$(.or_else(|| layer.downcast_ref::<super::$layer>().cloned().map(Self::$layer)))*
            }

            /// The layer as models hold it.
            pub(crate) fn into_layer<T: Scalar>(self) -> Arc<dyn Layer<T>> {
                match self {
                    $(Self::$layer(layer) => Arc::new(layer),)*
                }
            }
        }
    };
}

layers!(
    Add,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    Flatten,
    MaxPooling2D,
    ReLU,
    Softmax,
);
