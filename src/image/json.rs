//! JSON that comes out the same for the same content.

use serde::Serialize;
use serde_json::{Map, Value};

use super::ImageError;

/// Reads `bytes`, which are the image's `part`.
pub(super) fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], part: &str) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::Json { part: part.into(), source })
}

/// `value` with the keys of every object in order. The types of images hold unordered maps.
pub fn canonical(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&sorted(serde_json::to_value(value)?))
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        other => other,
    }
}
