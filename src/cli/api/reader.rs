//! Reads the operations of a description.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::operation::{Content, Operation};
use super::rewrite::{Rewriter, Side};
use super::schemas::{SchemaId, Schemas};

/// The members of a path that are operations.
const METHODS: [&str; 8] = ["delete", "get", "head", "options", "patch", "post", "put", "trace"];

/// Reads the operations of a document.
pub(super) struct Reader<'a> {
    root: &'a Value,
    requests: Rewriter<'a>,
    responses: Rewriter<'a>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self {
            root,
            requests: Rewriter::new(root, Side::Request),
            responses: Rewriter::new(root, Side::Response),
        }
    }

    /// The schemas of requests, and those of responses.
    pub(super) fn finish(self) -> (Schemas, Schemas) {
        (
            Schemas::new(self.requests.finish()),
            Schemas::new(self.responses.finish()),
        )
    }

    /// All operations. A fragment in a path (`/v1/conversations#stream`) is not sent, so operations that differ only in it are one.
    pub(super) fn operations(&mut self) -> Vec<Operation> {
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
        let mut requires_body = true;
        for (_, operation) in variants {
            let body = self.followed(&operation["requestBody"]);
            requires_body &= body["required"] == true;
            collect(&mut bodies, &body["content"]);
            for (status, response) in operation["responses"].as_object().into_iter().flatten() {
                let contents = responses.entry(status.to_ascii_uppercase()).or_default();
                collect(contents, &self.followed(response)["content"]);
            }
        }
        let query = self.query(variants);
        // Ranges such as `2XX` are in upper case, and `default` is in lower case.
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

    /// The schema of an object with the parameters of the query.
    fn query(&self, variants: &[(&'a Value, &'a Value)]) -> Value {
        let (mut properties, mut patterns, mut required) = (Map::new(), Map::new(), Vec::new());
        let lists = variants
            .iter()
            .flat_map(|(item, operation)| [&item["parameters"], &operation["parameters"]]);
        for parameter in lists.filter_map(Value::as_array).flatten() {
            let parameter = self.followed(parameter);
            let (Some(name), "query") = (parameter["name"].as_str(), text(&parameter["in"], "").as_str()) else {
                continue;
            };
            if parameter["style"] == "deepObject" {
                // `filter[name]=a`
                patterns.insert(format!(r"^{}\[", regex::escape(name)), Value::Bool(true));
                continue;
            }
            let content = parameter["content"]
                .as_object()
                .and_then(|content| content.values().next());
            let schema = &content.unwrap_or(parameter)["schema"];
            let schema = if schema.is_null() { &Value::Bool(true) } else { schema };
            properties.insert(name.to_owned(), schema.clone());
            if parameter["required"] == true && variants.len() == 1 {
                required.push(name);
            }
        }
        json!({
            "type": "object", "properties": properties, "patternProperties": patterns, "required": required,
            "additionalProperties": false,
        })
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
pub(super) fn text(value: &Value, other: &str) -> String {
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
