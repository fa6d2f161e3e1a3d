//! Compares texts that stand for values: the parameters of a query, and the fields of a form.

use serde_json::{Map, Value};

use super::difference::{Difference, Step};
use super::redacted::Redacted;
use super::schemas::{SchemaId, Schemas};
use crate::cli::severity::Severity;
use crate::error::Result;

/// A name, and the texts that it is given.
pub(super) struct Field {
    name: String,
    texts: Vec<Value>,
}

impl Field {
    /// Adds a text to the field of this name.
    pub(super) fn add(fields: &mut Vec<Self>, name: &str, text: Value) {
        match fields.iter_mut().find(|field| field.name == name) {
            Some(field) => field.texts.push(text),
            None => fields.push(Self {
                name: name.to_owned(),
                texts: vec![text],
            }),
        }
    }

    /// The values that the texts may stand for: the text itself, the JSON in it, and lists of these.
    fn candidates(&self) -> Vec<Value> {
        let json = |text: &Value| -> Option<Value> { serde_json::from_str(text.as_str()?).ok() };
        let all_json: Option<Vec<Value>> = self.texts.iter().map(json).collect();
        let mut candidates = Vec::new();
        if let [text] = &self.texts[..] {
            candidates.push(text.clone());
            candidates.extend(json(text));
            let parts = text.as_str().unwrap_or_default().split(',').map(Value::from);
            candidates.push(parts.collect());
        }
        candidates.push(Value::Array(self.texts.clone()));
        candidates.extend(all_json.map(Value::Array));
        candidates
    }
}

/// Compares fields with the schema of an object that has a property for each.
///
/// # Errors
/// The schema is invalid.
pub(super) fn compare_fields(
    schemas: &Schemas,
    schema: SchemaId,
    fields: Vec<Field>,
    redacted: &Redacted,
) -> Result<Vec<Difference>> {
    let mut object = Map::new();
    for field in &fields {
        object.extend(
            field
                .candidates()
                .into_iter()
                .take(1)
                .map(|value| (field.name.clone(), value)),
        );
    }
    let mut found = schemas.compare(schema, &object.clone().into(), redacted)?;
    for field in &fields {
        let is_of_field = |difference: &&Difference| matches!(difference.at.0.first(), Some(Step::Member(name)) if *name == field.name);
        let rank = |differences: &[Difference]| {
            let all = differences.iter().filter(is_of_field);
            let errors = all
                .clone()
                .filter(|difference| difference.kind.severity(true) == Severity::Error);
            (errors.count(), all.count())
        };
        for candidate in field.candidates().into_iter().skip(1) {
            if rank(&found) == (0, 0) {
                break;
            }
            let mut changed = object.clone();
            changed.insert(field.name.clone(), candidate);
            let differences = schemas.compare(schema, &changed.clone().into(), redacted)?;
            if rank(&differences) < rank(&found) {
                (object, found) = (changed, differences);
            }
        }
    }
    Ok(found)
}
