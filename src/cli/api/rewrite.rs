//! Turns the schemas of a description into JSON Schema (draft 2020-12) in which each unknown member is an error.
//!
//! A description seldom forbids unknown members, because clients must accept new ones. Here each object with properties is closed,
//! so that the check finds them. The parts of an `allOf` describe one object, so they are merged first. OpenAPI's own keywords
//! (`discriminator`, `nullable`, the Boolean `exclusiveMinimum` of 3.0, `readOnly`) become those of JSON Schema.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// The keywords that are checked. `not`, `if` and others that depend on several schemas are not: closed objects in them would
/// change their meaning.
const KEYWORDS: [&str; 29] = [
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "discriminator",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "nullable",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "required",
    "type",
    "uniqueItems",
];

/// How many references in a row are followed, so that a circle of them ends.
const MAX_DEPTH: usize = 32;

/// Which messages a schema describes: a property that is only read is not required in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

/// Rewrites the schemas of a document, and those to which they refer.
pub(super) struct Rewriter<'a> {
    root: &'a Value,
    side: Side,
    /// The number of each schema, by its pointer.
    numbers: HashMap<String, usize>,
    /// The rewritten schemas. Each refers to others as `#/$defs/<number>`.
    schemas: Vec<Value>,
    /// The numbers and pointers of schemas that are not rewritten yet.
    left: Vec<(usize, String)>,
}

impl<'a> Rewriter<'a> {
    pub(super) fn new(root: &'a Value, side: Side) -> Self {
        Self {
            root,
            side,
            numbers: HashMap::new(),
            schemas: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Adds a schema, and returns its number.
    pub(super) fn add(&mut self, schema: &Value) -> usize {
        let number = self.schemas.len();
        self.schemas.push(Value::Null);
        self.schemas[number] = self.rewrite(schema);
        number
    }

    /// All schemas, by their numbers.
    pub(super) fn finish(mut self) -> Vec<Value> {
        let root = self.root;
        while let Some((number, pointer)) = self.left.pop() {
            self.schemas[number] = self.rewrite(root.pointer(&pointer).unwrap_or(&Value::Bool(true)));
        }
        self.schemas
    }

    /// A reference to the schema at a pointer, which is rewritten later: it may refer to itself.
    fn reference(&mut self, pointer: &str) -> Value {
        let number = match self.numbers.get(pointer) {
            Some(number) => *number,
            None => {
                let number = self.schemas.len();
                self.schemas.push(Value::Null);
                self.numbers.insert(pointer.to_owned(), number);
                self.left.push((number, pointer.to_owned()));
                number
            }
        };
        json!({ "$ref": format!("#/$defs/{number}") })
    }

    fn rewrite(&mut self, schema: &Value) -> Value {
        let Some(schema) = schema.as_object() else {
            return schema.clone();
        };
        let mut keywords = of_keywords(schema);
        if keywords.shift_remove("nullable") == Some(Value::Bool(true)) {
            return json!({ "anyOf": [self.rewrite(&keywords.into()), { "type": "null" }] });
        }
        if let (1, Some(Value::String(pointer))) = (keywords.len(), keywords.get("$ref")) {
            return self.reference(pointer);
        }
        if keywords.contains_key("$ref") || keywords.contains_key("allOf") {
            keywords = self.merged(&keywords, 0);
        }
        for union in ["oneOf", "anyOf"] {
            if let Some(Value::Array(branches)) = keywords.shift_remove(union) {
                return self.union(keywords, branches);
            }
        }
        keywords.shift_remove("discriminator");
        self.close(&mut keywords);
        self.rewrite_members(&mut keywords);
        numeric_limits(&mut keywords);
        keywords.into()
    }

    /// A schema of which one branch has to match, and everything else in it.
    fn union(&mut self, mut others: Map<String, Value>, branches: Vec<Value>) -> Value {
        let discriminator = others.shift_remove("discriminator").unwrap_or_default();
        let branches = branches.into_iter().map(|branch| {
            let branch = self.tagged(branch, &discriminator);
            let parts = if others.is_empty() {
                branch
            } else {
                json!({ "allOf": [others, branch] })
            };
            self.rewrite(&parts)
        });
        json!({ "anyOf": branches.collect::<Vec<_>>() })
    }

    /// A branch of a union, with the values of the discriminator that select it.
    fn tagged(&self, branch: Value, discriminator: &Value) -> Value {
        let (Some(property), Some(pointer)) = (discriminator["propertyName"].as_str(), branch["$ref"].as_str()) else {
            return branch;
        };
        let name = pointer.rsplit('/').next().unwrap_or_default();
        let mapping = discriminator["mapping"].as_object();
        let selects = |target: &Value| {
            let target = target.as_str().unwrap_or_default();
            target.strip_prefix('#').unwrap_or(target) == pointer || target == name
        };
        let mut values: Vec<&str> = mapping
            .iter()
            .flat_map(|mapping| mapping.iter())
            .filter(|(_, target)| selects(target))
            .map(|(value, _)| value.as_str())
            .collect();
        let mut merged = self.merged(&of_keywords(branch.as_object().unwrap_or(&Map::new())), 0);
        let Some(Value::Object(properties)) = merged.get_mut("properties") else {
            return branch;
        };
        if values.is_empty() {
            // Without a mapping, the name of a schema selects it, unless it has a value of its own.
            match properties.get(property) {
                Some(own) if own.get("const").is_none() && own.get("enum").is_none() => values.push(name),
                _ => return branch,
            }
        }
        properties.insert(property.to_owned(), json!({ "type": "string", "enum": values }));
        merged.into()
    }

    /// The keywords of a schema, merged with those of its `$ref` and of the parts of its `allOf`.
    fn merged(&self, schema: &Map<String, Value>, depth: usize) -> Map<String, Value> {
        let mut all = Map::new();
        let mut own = schema.clone();
        own.shift_remove("nullable");
        let mut parts = Vec::new();
        if let Some(Value::String(pointer)) = own.shift_remove("$ref") {
            parts.extend(self.root.pointer(&pointer));
        }
        let all_of = own.shift_remove("allOf").unwrap_or_default();
        parts.extend(all_of.as_array().into_iter().flatten());
        for part in parts.into_iter().filter_map(Value::as_object) {
            if depth < MAX_DEPTH {
                absorb(&mut all, self.merged(&of_keywords(part), depth + 1));
            }
        }
        absorb(&mut all, own);
        all
    }

    /// Rewrites the schemas in the keywords of a schema.
    fn rewrite_members(&mut self, keywords: &mut Map<String, Value>) {
        for (keyword, value) in keywords {
            match (keyword.as_str(), value) {
                ("properties" | "patternProperties", Value::Object(schemas)) => {
                    schemas.values_mut().for_each(|schema| *schema = self.rewrite(schema));
                }
                ("allOf" | "prefixItems", Value::Array(schemas)) => {
                    schemas.iter_mut().for_each(|schema| *schema = self.rewrite(schema));
                }
                ("items" | "additionalProperties" | "propertyNames", schema) => *schema = self.rewrite(schema),
                _ => {}
            }
        }
    }

    /// Forbids members that an object with properties does not have.
    fn close(&self, keywords: &mut Map<String, Value>) {
        let Some(Value::Object(properties)) = keywords.get("properties") else {
            return;
        };
        let hidden = match self.side {
            Side::Request => "readOnly",
            Side::Response => "writeOnly",
        };
        let is_expected = |name: &Value| {
            // A name that is required and not described is a mistake of the description: no message can be right.
            let property = name.as_str().and_then(|name| properties.get(name));
            property.is_some_and(|property| property[hidden] != Value::Bool(true))
        };
        let required = keywords.get("required").and_then(Value::as_array);
        let required: Vec<Value> = required
            .into_iter()
            .flatten()
            .filter(|name| is_expected(name))
            .cloned()
            .collect();
        keywords.insert("required".to_owned(), required.into());
        keywords.entry("additionalProperties").or_insert(Value::Bool(false));
    }
}

/// The keywords of a schema that are checked.
fn of_keywords(schema: &Map<String, Value>) -> Map<String, Value> {
    let known = schema
        .iter()
        .filter(|(keyword, _)| KEYWORDS.contains(&keyword.as_str()));
    known.map(|(keyword, value)| (keyword.clone(), value.clone())).collect()
}

/// Adds the keywords of a further part of an object.
fn absorb(all: &mut Map<String, Value>, part: Map<String, Value>) {
    for (keyword, value) in part {
        match (keyword.as_str(), all.get_mut(&keyword), value) {
            (_, None, value) => {
                all.insert(keyword, value);
            }
            (_, Some(known), value) if *known == value => {}
            ("properties", Some(Value::Object(known)), Value::Object(more)) => {
                for (name, schema) in more {
                    let both = match known.get(&name) {
                        Some(known) => json!({ "allOf": [known, schema] }),
                        None => schema,
                    };
                    known.insert(name, both);
                }
            }
            ("required", Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
            ("anyOf" | "oneOf", Some(Value::Array(known)), value) => {
                for branch in known {
                    *branch = json!({ "allOf": [branch.take(), { &*keyword: value }] });
                }
            }
            // The members of all parts are known.
            ("additionalProperties", Some(known), value) => {
                if value.is_object() {
                    *known = value;
                }
            }
            (_, Some(_), value) => {
                let Value::Array(rest) = all.entry("allOf").or_insert_with(|| json!([])) else {
                    continue;
                };
                rest.push(json!({ keyword: value }));
            }
        }
    }
}

/// Rewrites the exclusive limits of OpenAPI 3.0, which are Booleans beside the limit.
fn numeric_limits(keywords: &mut Map<String, Value>) {
    for (exclusive, limit) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        match keywords.get(exclusive) {
            Some(Value::Bool(true)) => {
                let value = keywords.shift_remove(limit);
                keywords.shift_remove(exclusive);
                keywords.extend(value.map(|value| (exclusive.to_owned(), value)));
            }
            Some(Value::Bool(false)) => {
                keywords.shift_remove(exclusive);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(root: &Value, side: Side) -> Vec<Value> {
        let mut rewriter = Rewriter::new(root, side);
        rewriter.add(&root["schema"]);
        rewriter.finish()
    }

    #[test]
    fn the_parts_of_an_object_are_merged_and_it_is_closed() {
        let root = json!({
            "base": { "type": "object", "properties": { "id": { "type": "string", "title": "Id" } }, "required": ["id"] },
            "schema": {
                "allOf": [
                    { "$ref": "/base" },
                    { "type": "object", "properties": { "id": { "minLength": 1 }, "n": { "$ref": "/schema" } }, "required": ["n", "absent"] },
                ],
            },
        });
        assert_eq!(
            rewritten(&root, Side::Request),
            [
                json!({
                    "type": "object",
                    "properties": { "id": { "type": "string", "minLength": 1 }, "n": { "$ref": "#/$defs/1" } },
                    "required": ["id", "n"],
                    "additionalProperties": false,
                }),
                rewritten(
                    &json!({ "base": root["base"], "schema": root["schema"] }),
                    Side::Request
                )[1]
                .clone()
            ]
        );
    }

    #[test]
    fn a_discriminator_selects_the_branch_of_a_union() {
        let branch = |tag: Value| json!({ "type": "object", "properties": { "kind": tag } });
        let root = json!({
            "a": branch(json!({ "type": "string" })),
            "b": branch(json!({ "const": "bee" })),
            "c": branch(json!({ "type": "string" })),
            "schema": {
                "oneOf": [{ "$ref": "/a" }, { "$ref": "/b" }, { "$ref": "/c" }],
                "discriminator": { "propertyName": "kind", "mapping": { "x": "#/a", "y": "a" } },
            },
        });
        let rewritten = rewritten(&root, Side::Response);
        let tags: Vec<&Value> = (0..3)
            .map(|at| &rewritten[0]["anyOf"][at]["properties"]["kind"]["enum"])
            .collect();
        assert_eq!(tags, [&json!(["x", "y"]), &Value::Null, &json!(["c"])]);
        assert_eq!(rewritten[1]["properties"]["kind"], json!({ "const": "bee" }));
    }

    #[test]
    fn keywords_of_openapi_become_those_of_json_schema() {
        let of = |schema: Value, side| rewritten(&json!({ "schema": schema }), side)[0].clone();
        assert_eq!(
            of(
                json!({ "type": "string", "nullable": true, "format": "uri" }),
                Side::Request
            ),
            json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] })
        );
        assert_eq!(
            of(
                json!({ "minimum": 0, "exclusiveMinimum": true, "maximum": 1, "exclusiveMaximum": false }),
                Side::Request
            ),
            json!({ "exclusiveMinimum": 0, "maximum": 1 })
        );
        let read = json!({ "properties": { "id": { "readOnly": true } }, "required": ["id"] });
        assert_eq!(of(read.clone(), Side::Request)["required"], json!([]));
        assert_eq!(of(read, Side::Response)["required"], json!(["id"]));
        // What stands beside a union holds for each branch.
        assert_eq!(
            of(
                json!({ "properties": { "a": {} }, "anyOf": [{ "required": ["a"] }, { "properties": { "b": {} } }] }),
                Side::Request
            ),
            json!({ "anyOf": [
                { "properties": { "a": {} }, "required": ["a"], "additionalProperties": false },
                { "properties": { "a": {}, "b": {} }, "required": [], "additionalProperties": false },
            ] })
        );
    }
}
