//! The document of a description of an API: OpenAPI 3, as YAML or JSON.

use std::path::Path;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::cassette::yaml;
use crate::error::{Error, ErrorKind, Result};

/// The description of Mistral's API that is built in; README.md in its folder says where it is from.
const BUILT_IN_FILE: &[u8] = include_bytes!("mistral/openapi.yaml.zst");

/// The name of the built-in description in messages.
pub(super) const BUILT_IN: &str = "the built-in description";

/// The date of the built-in description.
const BUILT_IN_DATE: &str = "2026-08-21";

/// The members whose values are not schemas: a `$ref` in them refers to nothing.
const DATA: [&str; 5] = ["const", "default", "enum", "example", "examples"];

/// The members whose keys are chosen by the author, so that they may look like keywords: a property `example`, the response
/// `default`.
const NAMED: [&str; 11] = [
    "$defs",
    "content",
    "definitions",
    "headers",
    "parameters",
    "paths",
    "patternProperties",
    "properties",
    "requestBodies",
    "responses",
    "schemas",
];

/// A description, in which each `$ref` is a pointer to a value that exists.
pub(super) struct Document {
    pub(super) root: Value,
    /// The file; `None` for the built-in description.
    pub(super) file: Option<String>,
    /// The date of the built-in description. A file does not say when it was written.
    pub(super) date: Option<&'static str>,
}

impl Document {
    /// Reads the built-in description.
    pub(super) fn built_in() -> Result<Self> {
        let text = zstd::decode_all(BUILT_IN_FILE)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("cannot read {BUILT_IN}")).with_source(error))?;
        Ok(Self {
            root: parse(&text, BUILT_IN)?,
            file: None,
            date: Some(BUILT_IN_DATE),
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be read; [`ErrorKind::Settings`] when it is not a description in OpenAPI 3, or refers
    /// to what is not in it.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let source = file.display().to_string();
        let text = std::fs::read(file)
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot read {source}")).with_source(error))?;
        Ok(Self {
            root: parse(&text, &source)?,
            file: Some(source),
            date: None,
        })
    }
}

fn parse(text: &[u8], source: &str) -> Result<Value> {
    let mut root: Value = if text.trim_ascii_start().starts_with(b"{") {
        let syntax = |error| Error::new(ErrorKind::Settings, format!("cannot read {source}")).with_source(error);
        serde_json::from_slice(text).map_err(syntax)?
    } else {
        let documents: Vec<Value> = yaml::read_foreign(text, source)?;
        documents.into_iter().next().unwrap_or_default()
    };
    check_version(&root, source)?;
    let found = root.clone();
    Absolute { root: &found, source }.visit(&mut root, &mut Vec::new())?;
    Ok(root)
}

fn check_version(root: &Value, source: &str) -> Result<()> {
    let invalid = |what: String| {
        Err(Error::new(ErrorKind::Settings, format!("{source} {what}"))
            .with_hint("name a description of the API in OpenAPI 3.0 or 3.1, as YAML or JSON"))
    };
    match (&root["openapi"], &root["swagger"]) {
        (Value::String(version), _) if version.starts_with("3.") => {}
        (Value::String(version), _) => return invalid(format!("has OpenAPI {version}, which is not supported")),
        (_, Value::String(version)) => return invalid(format!("has Swagger {version}, which is not supported")),
        _ => return invalid("is not an OpenAPI description: it has no member \"openapi\"".to_owned()),
    }
    match root["paths"].as_object() {
        Some(paths) if !paths.is_empty() => Ok(()),
        _ => invalid("describes no endpoint: it has no \"paths\"".to_owned()),
    }
}

/// Makes each `$ref` a JSON pointer from the root of the document.
struct Absolute<'a> {
    root: &'a Value,
    source: &'a str,
}

impl Absolute<'_> {
    /// Visits a value; `at` is the path to it.
    fn visit(&self, value: &mut Value, at: &mut Vec<String>) -> Result<()> {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    at.push(index.to_string());
                    self.visit(item, at)?;
                    at.pop();
                }
            }
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get_mut("$ref") {
                    *reference = self.resolve(reference, at)?;
                }
                let are_names = at.last().is_some_and(|name| NAMED.contains(&name.as_str()));
                for (name, member) in members {
                    if are_names || !(DATA.contains(&name.as_str()) || name.starts_with("x-")) {
                        at.push(name.clone());
                        self.visit(member, at)?;
                        at.pop();
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The pointer of a reference at this path. `#/$defs/…` can also start at a schema around it.
    fn resolve(&self, reference: &str, at: &[String]) -> Result<String> {
        let invalid = |what: &str| {
            let message = format!("{}: the reference {reference:?} in {} {what}", self.source, pointer(at));
            Error::new(ErrorKind::Settings, message)
        };
        let Some(fragment) = reference.strip_prefix('#') else {
            return Err(invalid("is outside of the file").with_hint(
                "nothing is fetched: bundle the description into one file, for example with redocly bundle",
            ));
        };
        let fragment = percent_decode_str(fragment).decode_utf8_lossy().into_owned();
        if self.root.pointer(&fragment).is_some() {
            return Ok(fragment);
        }
        let around = (0..at.len()).rev().map(|depth| pointer(&at[..depth]) + &fragment);
        around
            .into_iter()
            .find(|pointer| self.root.pointer(pointer).is_some())
            .ok_or_else(|| invalid("names nothing").with_hint("the file may be incomplete"))
    }
}

/// The JSON pointer of a path.
pub(super) fn pointer(path: &[String]) -> String {
    let escaped = path.iter().map(|name| name.replace('~', "~0").replace('/', "~1"));
    escaped.fold(String::new(), |pointer, name| pointer + "/" + &name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(document: &Value) -> String {
        parse(document.to_string().as_bytes(), "api.json").unwrap_err().report()
    }

    #[test]
    fn references_become_pointers_from_the_root() {
        let schema = json!({ "$defs": { "A/B": {} }, "items": { "$ref": "#/$defs/A~1B" }, "not": { "$ref": "#/components/x%20y" } });
        let document = json!({
            "openapi": "3.1.0",
            "paths": { "/a/{b}": { "schema": schema, "example": { "$ref": "x" } } },
            "responses": { "default": { "$ref": "#/paths" } },
            "components": { "x y": { "properties": { "example": { "$ref": "#/paths" } } } },
        });
        let root = parse(document.to_string().as_bytes(), "api.json").unwrap();
        let schema = &root["paths"]["/a/{b}"]["schema"];
        assert_eq!(schema["items"]["$ref"], "/paths/~1a~1{b}/schema/$defs/A~1B");
        assert_eq!(schema["not"]["$ref"], "/components/x y");
        assert_eq!(root["responses"]["default"]["$ref"], "/paths");
        assert_eq!(root["components"]["x y"]["properties"]["example"]["$ref"], "/paths");
    }

    #[test]
    fn an_error_says_what_is_wrong_and_where() {
        let with = |reference: &str| {
            error(&json!({ "openapi": "3.0.3", "paths": { "/a": { "get": { "$ref": reference } } } }))
        };
        let errors = [
            error(&json!({ "info": {} })),
            error(&json!({ "swagger": "2.0" })),
            error(&json!({ "openapi": "3.1.0", "paths": {} })),
            with("#/components/A"),
            with("https://a.example/b.yaml#/A"),
        ];
        insta::assert_snapshot!(errors.join("\n"), @r##"
        api.json is not an OpenAPI description: it has no member "openapi"
        hint: name a description of the API in OpenAPI 3.0 or 3.1, as YAML or JSON
        api.json has Swagger 2.0, which is not supported
        hint: name a description of the API in OpenAPI 3.0 or 3.1, as YAML or JSON
        api.json describes no endpoint: it has no "paths"
        hint: name a description of the API in OpenAPI 3.0 or 3.1, as YAML or JSON
        api.json: the reference "#/components/A" in /paths/~1a/get names nothing
        hint: the file may be incomplete
        api.json: the reference "https://a.example/b.yaml#/A" in /paths/~1a/get is outside of the file
        hint: nothing is fetched: bundle the description into one file, for example with redocly bundle
        "##);
    }
}
