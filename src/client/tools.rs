//! Tools that a model may call, and the JSON schema for structured output.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A tool for `tools` of chats, conversations and agents.
///
/// ```
/// use mistral_cassette::client::Tool;
/// use serde_json::json;
///
/// let weather = Tool::with_parameters(
///     "get_weather",
///     "The weather in a city, now.",
///     json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] }),
/// );
/// let search = Tool::built_in("web_search");
/// ```
///
/// With feature `schemars`, the parameters come from a type: `Tool::function::<Args>("get_weather", "…")`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tool {
    members: Map<String, Value>,
}

impl Tool {
    /// Creates a tool for your function, with the JSON schema of its arguments.
    pub fn with_parameters(name: impl Into<String>, description: impl Into<String>, parameters: Value) -> Self {
        Self::built_in("function").set(
            "function",
            json!({ "name": name.into(), "description": description.into(), "parameters": parameters }),
        )
    }

    /// Creates a tool for your function whose arguments have this type.
    /// [`FunctionCall::parse`](super::FunctionCall::parse) parses them.
    ///
    /// ```
    /// use mistral_cassette::client::Tool;
    ///
    /// /// The arguments of `get_weather`.
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// struct Args {
    ///     city: String,
    /// }
    ///
    /// let tool = Tool::function::<Args>("get_weather", "The weather in a city, now.");
    /// ```
    #[cfg(feature = "schemars")]
    pub fn function<Args: schemars::JsonSchema>(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self::with_parameters(name, description, schema_of::<Args>())
    }

    /// Creates a tool that the API runs, given by its type: `web_search`, `web_search_premium`, `code_interpreter`,
    /// `image_generation`.
    pub fn built_in(kind: &str) -> Self {
        Self { members: Map::new() }.set("type", kind)
    }

    /// Creates a tool that searches document libraries, given by their ids.
    pub fn document_library<Id: Into<String>>(library_ids: impl IntoIterator<Item = Id>) -> Self {
        let ids: Vec<String> = library_ids.into_iter().map(Into::into).collect();
        Self::built_in("document_library").set("library_ids", ids)
    }

    /// Sets any other member, for example `tool_configuration`.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.members.insert(name.into(), value.into());
        self
    }
}

impl From<Tool> for Value {
    fn from(tool: Tool) -> Self {
        Self::Object(tool.members)
    }
}

/// Returns the schema of a type, without the URL of the meta schema, which the API does not need.
#[cfg(feature = "schemars")]
fn schema_of<T: schemars::JsonSchema>() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.meta_schema = None);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Returns a `response_format` for responses that fit a type. As in the official SDKs it is strict: objects have only
/// the members of the type.
#[cfg(feature = "schemars")]
pub(super) fn format_of<T: schemars::JsonSchema>(name: String) -> Value {
    let mut schema = schema_of::<T>();
    forbid_other_members(&mut schema);
    json!({ "type": "json_schema", "json_schema": { "name": name, "schema": schema, "strict": true } })
}

#[cfg(feature = "schemars")]
fn forbid_other_members(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.values_mut().for_each(forbid_other_members);
            if members.get("type").is_some_and(|kind| kind == "object") {
                members.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_other_members),
        _ => {}
    }
}
