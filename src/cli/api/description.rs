//! A description of an API: its endpoints, and the schemas of their requests and responses.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::document::{BUILT_IN, Document};
use super::rewrite::{Rewriter, Side};
use super::schemas::{SchemaId, Schemas};
use crate::error::Result;

/// The members of a path that are operations.
const METHODS: [&str; 8] = ["delete", "get", "head", "options", "patch", "post", "put", "trace"];

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

/// A method of a path.
pub(super) struct Operation {
    /// In upper case.
    method: String,
    /// The path with its parameters in braces, and with the path of the server.
    path: String,
    /// An object of the query parameters.
    pub(super) query: SchemaId,
    pub(super) requires_body: bool,
    /// The schema of the request body for each media type.
    pub(super) bodies: Vec<Content>,
    /// The content for each status, range of statuses (`2XX`), or `default`.
    responses: BTreeMap<String, Vec<Content>>,
}

/// A body of a media type.
pub(super) struct Content {
    media_type: String,
    /// `None` if the description says nothing about it, or that it is binary.
    pub(super) schema: Option<SchemaId>,
    /// Whether the schema is that of an object around the data of an event.
    pub(super) is_envelope: bool,
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
        let mut reader = Reader {
            root,
            requests: Rewriter::new(root, Side::Request),
            responses: Rewriter::new(root, Side::Response),
        };
        let operations = reader.operations();
        let (requests, responses) = (reader.requests.finish(), reader.responses.finish());
        let mut description = Self {
            title: text(&root["info"]["title"], "an API without a title"),
            version: text(&root["info"]["version"], "without a version"),
            date: document.date,
            file: document.file.clone(),
            operations,
            requests: Schemas::new(requests),
            responses: Schemas::new(responses),
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

impl Operation {
    /// The method and the path of the description.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn matches(&self, path: &str) -> bool {
        let (mut templates, mut segments) = (self.path.split('/'), path.split('/'));
        loop {
            match (templates.next(), segments.next()) {
                (Some(template), Some(segment)) if matches_segment(template, segment) => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }

    /// The contents of a response; `None` if the description does not have its status.
    pub(super) fn response(&self, status: StatusCode) -> Option<&[Content]> {
        let range = format!("{}XX", status.as_u16() / 100);
        let statuses = [status.as_str(), &range, "default"];
        statuses
            .into_iter()
            .find_map(|status| self.responses.get(status))
            .map(Vec::as_slice)
    }

    /// The statuses of the responses.
    pub(super) fn statuses(&self) -> Vec<&str> {
        self.responses.keys().map(String::as_str).collect()
    }
}

/// Whether a segment of a path is that of a template: `models`, `{model_id}`, `{id}:cancel`.
fn matches_segment(template: &str, segment: &str) -> bool {
    let (Some(start), Some(end)) = (template.find('{'), template.rfind('}')) else {
        return template == segment;
    };
    let (before, after) = (&template[..start], &template[end + 1..]);
    segment.len() > before.len() + after.len() && segment.starts_with(before) && segment.ends_with(after)
}

/// Finds the content for a media type: an exact one, `application/*`, or `*/*`.
pub(super) fn content_of<'a>(contents: &'a [Content], media_type: &str) -> Option<&'a Content> {
    let media_type = media_type.to_ascii_lowercase();
    let group = format!("{}/*", media_type.split('/').next().unwrap_or_default());
    let names = [&*media_type, &*group, "*/*"];
    names
        .into_iter()
        .find_map(|name| contents.iter().find(|content| content.media_type == name))
}

/// Reads the operations of a document.
struct Reader<'a> {
    root: &'a Value,
    requests: Rewriter<'a>,
    responses: Rewriter<'a>,
}

impl<'a> Reader<'a> {
    /// All operations. A fragment in a path (`/v1/conversations#stream`) is not sent, so operations that differ only in it are one.
    fn operations(&mut self) -> Vec<Operation> {
        let root = self.root;
        let base = path_of(&text(&root["servers"][0]["url"], ""));
        let mut variants: BTreeMap<(String, &str), Vec<(&Value, &Value)>> = BTreeMap::new();
        for (path, item) in root["paths"].as_object().into_iter().flatten() {
            let item = self.followed(item);
            let path = path.split('#').next().unwrap_or_default();
            for (method, operation) in item.as_object().into_iter().flatten() {
                if METHODS.contains(&method.as_str()) {
                    let path = format!("{base}{path}");
                    variants.entry((path, method)).or_default().push((item, operation));
                }
            }
        }
        let operations = variants.into_iter();
        operations
            .map(|((path, method), variants)| self.operation(path, method, &variants))
            .collect()
    }

    fn operation(&mut self, path: String, method: &str, variants: &[(&'a Value, &'a Value)]) -> Operation {
        let (mut bodies, mut responses): (Contents<'_>, BTreeMap<String, Contents<'_>>) = Default::default();
        let (mut requires_body, mut query) = (true, Map::new());
        let mut required = Vec::new();
        for (item, operation) in variants {
            let body = self.followed(&operation["requestBody"]);
            requires_body &= body["required"] == true;
            collect(&mut bodies, &body["content"]);
            for (status, response) in operation["responses"].as_object().into_iter().flatten() {
                let contents = responses.entry(status.to_ascii_uppercase()).or_default();
                collect(contents, &self.followed(response)["content"]);
            }
            let parameters = [&item["parameters"], &operation["parameters"]];
            for parameter in parameters.into_iter().filter_map(Value::as_array).flatten() {
                let parameter = self.followed(parameter);
                let (Some(name), "query") = (parameter["name"].as_str(), text(&parameter["in"], "").as_str()) else {
                    continue;
                };
                let schema = match &parameter["schema"] {
                    Value::Null => parameter["content"]
                        .as_object()
                        .and_then(|content| content.values().next()),
                    _ => Some(parameter),
                };
                let schema = schema.map_or(&Value::Bool(true), |holder| &holder["schema"]);
                query.insert(name.to_owned(), schema.clone());
                if parameter["required"] == true && variants.len() == 1 {
                    required.push(name);
                }
            }
        }
        let query =
            json!({ "type": "object", "properties": query, "required": required, "additionalProperties": false });
        // `default` is in lower case.
        let responses = responses.into_iter().map(|(status, contents)| {
            let status = if status == "DEFAULT" {
                "default".to_owned()
            } else {
                status
            };
            (status, contents_of(&mut self.responses, contents))
        });
        Operation {
            method: method.to_ascii_uppercase(),
            path,
            requires_body,
            responses: responses.collect(),
            query: SchemaId(self.requests.add(&query)),
            bodies: contents_of(&mut self.requests, bodies),
        }
    }

    /// The value to which a `$ref` refers, or the value itself.
    fn followed<'b>(&self, mut value: &'b Value) -> &'b Value
    where
        'a: 'b,
    {
        // A circle of references ends after so many.
        for _ in 0..32 {
            match value["$ref"].as_str().and_then(|pointer| self.root.pointer(pointer)) {
                Some(target) => value = target,
                None => break,
            }
        }
        value
    }
}

/// The schemas for each media type.
type Contents<'a> = BTreeMap<String, Vec<&'a Value>>;

fn collect<'a>(contents: &mut Contents<'a>, content: &'a Value) {
    for (media_type, content) in content.as_object().into_iter().flatten() {
        let media_type = media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        contents.entry(media_type).or_default().push(&content["schema"]);
    }
}

fn contents_of(schemas: &mut Rewriter<'_>, contents: Contents<'_>) -> Vec<Content> {
    let content = |(media_type, variants): (String, Vec<&Value>)| {
        let is_described = variants
            .iter()
            .all(|schema| !schema.is_null() && schema["format"] != "binary");
        let schema = is_described.then(|| match &variants[..] {
            [schema] => schemas.add(schema),
            several => schemas.add(&json!({ "anyOf": several })),
        });
        Content {
            media_type,
            schema: schema.map(SchemaId),
            is_envelope: false,
        }
    };
    contents.into_iter().map(content).collect()
}

/// A text, also if YAML takes it for a number, as in `version: 1.0`.
fn text(value: &Value, other: &str) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => other.to_owned(),
    }
}

/// The path of a URL, without the slash at its end.
fn path_of(url: &str) -> String {
    let rest = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => url,
    };
    rest.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let redacted = super::super::redacted::Redacted::new(&crate::settings::Settings::default());
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
