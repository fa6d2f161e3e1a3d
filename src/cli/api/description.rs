//! A description of an API: its endpoints, and the schemas of their requests and responses.

use std::fmt;
use std::path::Path;

use super::document::{BUILT_IN, Document};
use super::operation::Operation;
use super::reader::{Reader, text};
use super::schemas::Schemas;
use crate::error::Result;

/// The members of the object in which some descriptions wrap the data of an event.
const ENVELOPE: [&str; 4] = ["data", "event", "id", "retry"];

/// A description of an API.
pub(crate) struct Description {
    pub(crate) title: String,
    pub(crate) version: String,
    /// The date of the built-in description; `None` for that of a file.
    pub(crate) date: Option<&'static str>,
    /// The file; `None` for the built-in description.
    pub(crate) file: Option<String>,
    operations: Vec<Operation>,
    pub(super) requests: Schemas,
    pub(super) responses: Schemas,
}

/// What a description has for a method and a path.
pub(super) enum Found<'a> {
    Operation(&'a Operation),
    /// The path has only these other methods.
    OtherMethods(Vec<&'a str>),
    Nothing,
}

impl Description {
    /// Reads a file, or the built-in description.
    ///
    /// # Errors
    /// The file cannot be read, or is not a description in OpenAPI 3.
    pub(crate) fn new(file: Option<&Path>) -> Result<Self> {
        let document = match file {
            Some(file) => Document::read(file)?,
            None => Document::built_in()?,
        };
        Ok(Self::of(&document))
    }

    /// The file, or what stands for it in messages.
    pub(super) fn source(&self) -> &str {
        self.file.as_deref().unwrap_or(BUILT_IN)
    }

    fn of(document: &Document) -> Self {
        let root = &document.root;
        let mut reader = Reader::new(root);
        let operations = reader.operations();
        let (requests, responses) = reader.finish();
        let mut description = Self {
            title: text(&root["info"]["title"], "an API without a title"),
            version: text(&root["info"]["version"], "without a version"),
            date: document.date,
            file: document.file.clone(),
            operations,
            requests,
            responses,
        };
        for operation in &mut description.operations {
            for content in operation.responses.values_mut().flatten() {
                let members = content.schema.map(|schema| description.responses.members(schema));
                content.is_envelope = members.is_some_and(|members| {
                    members.contains(&"data") && members.iter().all(|name| ENVELOPE.contains(name))
                });
            }
        }
        description
    }

    /// Finds the operation of a request. A literal segment of a path precedes a parameter.
    pub(super) fn find(&self, method: &str, path: &str) -> Found<'_> {
        let matching = self.operations.iter().filter(|operation| operation.matches(path));
        let (found, others): (Vec<&Operation>, Vec<&Operation>) =
            matching.partition(|operation| operation.method == method);
        let parameters = |operation: &&Operation| -> Vec<bool> {
            operation.path.split('/').map(|segment| segment.contains('{')).collect()
        };
        match found.into_iter().min_by_key(parameters) {
            Some(operation) => Found::Operation(operation),
            None if others.is_empty() => Found::Nothing,
            None => Found::OtherMethods(others.into_iter().map(|operation| &*operation.method).collect()),
        }
    }
}

/// The title, the version, and the date or the file.
impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.title, self.version)?;
        match (&self.file, self.date) {
            (Some(file), _) => write!(f, " ({file})"),
            (None, Some(date)) => write!(f, " of {date} (built in)"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::super::operation::content_of;
    use super::super::redacted::Redacted;
    use super::*;
    use crate::settings::Settings;

    fn description(paths: &Value, server: &str) -> Description {
        let root = json!({ "info": {}, "paths": paths, "servers": [{ "url": server }] });
        Description::of(&Document {
            root,
            file: None,
            date: None,
        })
    }

    fn found(description: &Description, method: &str, path: &str) -> String {
        match description.find(method, path) {
            Found::Operation(operation) => operation.name(),
            Found::OtherMethods(methods) => methods.join(","),
            Found::Nothing => String::new(),
        }
    }

    #[test]
    fn a_request_is_that_of_the_most_literal_path() {
        let paths = json!({
            "/files/{id}": { "get": {}, "parameters": [] },
            "/files/{id}/content": { "get": {} },
            "/{kind}/mine": { "get": {} },
            "/files/mine": { "get": {}, "delete": {} },
            "/jobs/{id}:cancel": { "post": {} },
        });
        let description = description(&paths, "https://a.example/v1/");
        for (request, expected) in [
            ("GET /v1/files/7", "GET /v1/files/{id}"),
            ("GET /v1/files/7/content", "GET /v1/files/{id}/content"),
            ("GET /v1/files/mine", "GET /v1/files/mine"),
            ("GET /v1/jobs/mine", "GET /v1/{kind}/mine"),
            ("POST /v1/jobs/7:cancel", "POST /v1/jobs/{id}:cancel"),
            ("POST /v1/jobs/:cancel", ""),
            ("POST /v1/files/7", "GET"),
            ("GET /files/7", ""),
            ("GET /v1/files/7/", ""),
        ] {
            let (method, path) = request.split_once(' ').unwrap();
            assert_eq!(found(&description, method, path), expected, "{request}");
        }
    }

    #[test]
    fn a_status_is_exact_or_of_a_range_or_the_default() {
        let paths = json!({ "/a": { "get": { "responses": {
            "200": {}, "2xx": { "content": { "text/plain": {} } }, "default": { "content": { "a/b": {}, "c/*; d=e": {} } },
        } } } });
        let description = description(&paths, "/");
        let Found::Operation(operation) = description.find("GET", "/a") else {
            panic!("it is described")
        };
        let types = |status: u16| -> Vec<&str> {
            let contents = operation.response(StatusCode::from_u16(status).unwrap()).unwrap();
            contents.iter().map(|content| &*content.media_type).collect()
        };
        assert_eq!(
            (types(200), types(201), types(404)),
            (vec![], vec!["text/plain"], vec!["a/b", "c/*"])
        );
        let contents = operation.response(StatusCode::NOT_FOUND).unwrap();
        assert!(content_of(contents, "C/D").is_some() && content_of(contents, "a/c").is_none());
    }

    #[test]
    fn operations_that_differ_in_a_fragment_are_one() {
        let body = |value: bool| {
            let schema = json!({ "properties": { "stream": { "const": value } } });
            json!({ "content": { "application/json": { "schema": schema } } })
        };
        let response = |media_type: &str| json!({ "200": { "content": { media_type: {} } } });
        let paths = json!({
            "/a": { "post": { "requestBody": body(false), "responses": response("application/json") } },
            "/a#stream": { "post": { "requestBody": body(true), "responses": response("text/event-stream") } },
        });
        let description = description(&paths, "/");
        let Found::Operation(operation) = description.find("POST", "/a") else {
            panic!("it is described")
        };
        assert_eq!(operation.response(StatusCode::OK).unwrap().len(), 2);
        let schema = operation.bodies[0].schema.unwrap();
        let redacted = Redacted::new(&Settings::default());
        let differences = |value: Value| description.requests.compare(schema, &value, &redacted).unwrap().len();
        assert_eq!(
            [json!({ "stream": true }), json!({ "stream": false }), json!({ "n": 1 })].map(differences),
            [0, 0, 1]
        );
    }

    #[test]
    fn the_built_in_description_is_complete() {
        let description = Description::new(None).unwrap();
        assert_eq!(description.to_string(), "Mistral AI API 1.0.0 of 2026-08-21 (built in)");
        assert_eq!(description.operations.len(), 284);
        for schemas in [&description.requests, &description.responses] {
            schemas.check_all().unwrap();
        }
    }
}
