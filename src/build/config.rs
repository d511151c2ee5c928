//! An image's config while it is being built: the JSON of the base, of which only what instructions say changes.

use serde_json::{Map, Value, json};

/// The `config` of an image, as OCI and docker have it. What is not known here stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    map: Map<String, Value>,
}

impl Settings {
    /// Those of a base.
    #[must_use]
    pub fn new(map: Map<String, Value>) -> Self {
        Self { map }
    }

    /// The JSON.
    #[must_use]
    pub fn into_map(self) -> Map<String, Value> {
        self.map
    }

    /// The environment, in order.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let pair = |text: String| {
            let (name, value) = text.split_once('=').unwrap_or((&text, ""));
            (name.to_owned(), value.to_owned())
        };
        self.texts("Env").into_iter().map(pair).collect()
    }

    /// Sets a variable, in its old place where it is there already.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let mut env = self.env();
        match env.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => env.push((name.to_owned(), value.to_owned())),
        }
        let list: Vec<String> = env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.map.insert("Env".into(), json!(list));
    }

    /// A text; empty where there is none.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.map.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Sets a value.
    pub fn set(&mut self, key: &str, value: Value) {
        self.map.insert(key.to_owned(), value);
    }

    /// Takes a value away, and gives it.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key)
    }

    /// A list of texts; empty where there is none.
    #[must_use]
    pub fn texts(&self, key: &str) -> Vec<String> {
        let list = self.map.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|value| value.as_str().map(str::to_owned)).collect()
    }

    /// Puts `value` under `name` into the object `key`.
    pub fn put(&mut self, key: &str, name: &str, value: Value) {
        let object = self.map.entry(key.to_owned()).or_insert_with(|| json!({}));
        if !object.is_object() {
            *object = json!({});
        }
        if let Some(object) = object.as_object_mut() {
            object.insert(name.to_owned(), value);
        }
    }

    /// What runs a command line that is one text.
    #[must_use]
    pub fn shell(&self) -> Vec<String> {
        let shell = self.texts("Shell");
        if shell.is_empty() { vec!["/bin/sh".into(), "-c".into()] } else { shell }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_keeps_its_place_and_the_rest_stays() {
        let map = json!({ "Env": ["A=1", "B=x=y"], "ArgsEscaped": true });
        let mut settings = Settings::new(map.as_object().unwrap().clone());
        settings.set_env("A", "2");
        settings.set_env("C", "");
        settings.put("Labels", "x", json!("y"));
        assert_eq!(settings.env()[1], ("B".into(), "x=y".into()));
        assert_eq!(
            Value::Object(settings.into_map()),
            json!({ "Env": ["A=2", "B=x=y", "C="], "ArgsEscaped": true, "Labels": { "x": "y" } })
        );
    }
}
