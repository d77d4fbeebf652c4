//! The one list of the crate's layers. Whatever has to know all of them is made from it: the prelude, and the enum by which
//! files name them. A layer that is not in it cannot be saved.

macro_rules! layers {
    ($($layer:ident),* $(,)?) => {
        /// What the prelude has of layers.
        pub(crate) mod prelude {
            pub use crate::layers::{$($layer),*};
        }

        /// A layer of the crate. In files it is tagged by its type's name: `{"type":"Dense","units":10,…}`.
        #[cfg(any(feature = "keras", feature = "safetensors"))]
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "type")]
        pub(crate) enum BuiltIn {
            $($layer(super::$layer),)*
        }

        #[cfg(any(feature = "keras", feature = "safetensors"))]
        impl BuiltIn {
            /// The layer, if it is one of the crate.
            pub(crate) fn of<T: crate::scalar::Scalar>(layer: &dyn super::Layer<T>) -> Option<Self> {
                let layer: &dyn std::any::Any = layer;
                None$(.or_else(|| layer.downcast_ref::<super::$layer>().cloned().map(Self::$layer)))*
            }

            /// The layer as models hold it.
            pub(crate) fn into_layer<T: crate::scalar::Scalar>(self) -> std::sync::Arc<dyn super::Layer<T>> {
                match self {
                    $(Self::$layer(layer) => std::sync::Arc::new(layer),)*
                }
            }
        }
    };
}

layers!(Add, BatchNormalization, Concatenate, Conv2D, Dense, Flatten, MaxPooling2D, ReLU, Softmax,);
