//! The schemas of one side of a description, and the differences between values and them.

use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::difference::Difference;
use super::explain::explain;
use super::redacted::Redacted;
use crate::error::{Error, ErrorKind, Result};

/// A schema of [`Schemas`].
#[derive(Clone, Copy, Debug)]
pub(super) struct SchemaId(pub(super) usize);

/// Rewritten schemas, each compiled when it is first used.
pub(super) struct Schemas {
    schemas: Vec<Value>,
    validators: Vec<OnceLock<Result<Validator>>>,
}

impl Schemas {
    pub(super) fn new(schemas: Vec<Value>) -> Self {
        Self {
            validators: schemas.iter().map(|_| OnceLock::new()).collect(),
            schemas,
        }
    }

    /// The properties of an object.
    pub(super) fn members(&self, schema: SchemaId) -> Vec<&str> {
        let mut schema = &self.schemas[schema.0];
        // A circle of references has no properties.
        for _ in 0..self.schemas.len() {
            match number(schema) {
                Some(number) => schema = &self.schemas[number],
                None => break,
            }
        }
        let properties = schema["properties"].as_object();
        properties.into_iter().flat_map(Map::keys).map(String::as_str).collect()
    }

    /// The differences between a value and a schema.
    ///
    /// # Errors
    /// The schema is invalid, for example its regular expression.
    pub(super) fn compare(&self, schema: SchemaId, value: &Value, redacted: &Redacted) -> Result<Vec<Difference>> {
        let validator = self.validators[schema.0]
            .get_or_init(|| self.compile(schema))
            .as_ref()
            .map_err(Clone::clone)?;
        if validator.is_valid(value) {
            return Ok(Vec::new());
        }
        Ok(explain(validator.iter_errors(value), redacted))
    }

    /// Compiles all schemas.
    #[cfg(test)]
    pub(super) fn check_all(&self) -> Result<()> {
        let all = json!({ "$defs": self.schemas.iter().enumerate().map(|(number, schema)| (number.to_string(), schema.clone())).collect::<Map<_, _>>() });
        jsonschema::draft202012::meta::validate(&all)
            .map_err(|error| Error::new(ErrorKind::Settings, error.to_string()))
    }

    fn compile(&self, schema: SchemaId) -> Result<Validator> {
        let root = json!({ "$ref": format!("#/$defs/{}", schema.0), "$defs": self.reachable(schema) });
        jsonschema::draft202012::new(&root).map_err(|error| {
            // `/$defs/7/properties/model/pattern`
            let path = error.instance_path().as_str().to_owned();
            let at = path.splitn(4, '/').nth(3).unwrap_or_default();
            Error::new(ErrorKind::Settings, format!("its schema is invalid at {at:?}: {error}"))
                .with_hint("correct the description, or compare with another one")
        })
    }

    /// A schema and those to which it refers, by their numbers.
    fn reachable(&self, schema: SchemaId) -> Map<String, Value> {
        let (mut found, mut left) = (Map::new(), vec![schema.0]);
        while let Some(number) = left.pop() {
            if found.insert(number.to_string(), self.schemas[number].clone()).is_none() {
                add_numbers(&self.schemas[number], &mut left);
            }
        }
        found
    }
}

/// The number of the schema to which a schema refers.
fn number(schema: &Value) -> Option<usize> {
    schema["$ref"].as_str()?.strip_prefix("#/$defs/")?.parse().ok()
}

fn add_numbers(value: &Value, numbers: &mut Vec<usize>) {
    numbers.extend(number(value));
    match value {
        Value::Array(items) => items.iter().for_each(|item| add_numbers(item, numbers)),
        Value::Object(members) => members.values().for_each(|member| add_numbers(member, numbers)),
        _ => {}
    }
}
