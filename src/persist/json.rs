//! JSON from files, in which no key is there twice: serde_json alone would keep the last of them in silence.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The value that a text says, or what is wrong with the text.
pub(crate) fn from_json<'de, V: Deserialize<'de>>(json: &'de [u8]) -> Result<V, String> {
    serde_json::from_slice::<KeysOnce>(json).map_err(|error| error.to_string())?;
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

/// More layers than any model has.
const MOST_LAYERS: usize = 100_000;

/// The layers of a model, each as the text that describes it: what that becomes may take much more memory than the text,
/// and so is made of one layer after the other.
pub(crate) struct Layers<'j>(pub(crate) Vec<&'j RawValue>);

impl<'de: 'j, 'j> Deserialize<'de> for Layers<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Layers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of layers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut layers = vec![];
                while let Some(layer) = seq.next_element()? {
                    if layers.len() == MOST_LAYERS {
                        return Err(A::Error::custom(format!("more than {MOST_LAYERS} layers")));
                    }
                    layers.push(layer);
                }
                Ok(Layers(layers))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

/// Bytes of the longest description of a layer: one of Keras takes a thousand.
const LONGEST_LAYER: usize = 1 << 16;

/// The value that a layer's description says. It is any of JSON, so the description must not be long.
pub(crate) fn from_layer<'de, V: Deserialize<'de>>(layer: &'de RawValue) -> Result<V, String> {
    match layer.get().len() {
        0..=LONGEST_LAYER => serde_json::from_str(layer.get()).map_err(|error| error.to_string()),
        length => Err(format!("its description has {length} bytes, expected at most {LONGEST_LAYER}")),
    }
}

/// Any JSON without a key that is there twice in one map.
struct KeysOnce;

impl<'de> Deserialize<'de> for KeysOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for KeysOnce {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some(Key(key)) = map.next_key()? {
            if let Some(key) = keys.replace(key) {
                return Err(A::Error::custom(format!("{key:?} is there twice")));
            }
            map.next_value::<Self>()?;
        }
        Ok(self)
    }
}

/// A key, which lies in the text unless it has escapes.
#[derive(Deserialize)]
struct Key<'j>(#[serde(borrow)] Cow<'j, str>);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn keys_are_there_once_at_every_depth() {
        let json = br#"{"a": [1, -2, 0.5, null, true, "text", {"a": {}}], "b": {"a": 1}}"#;
        assert_eq!(from_json::<Value>(json).unwrap()["b"]["a"], 1);
        for twice in [r#"{"a":1,"a":1}"#, r#"[0,{"b":{"a":1,"a":2}}]"#, r#"{"a":1,"\u0061":2}"#] {
            let error = from_json::<Value>(twice.as_bytes()).unwrap_err();
            assert!(error.starts_with("\"a\" is there twice"), "{error}");
        }
        from_json::<Value>("[".repeat(100_000).as_bytes()).unwrap_err();
    }
}
