//! The response to a deletion.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The response to the deletion of a model or a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Deleted {
    /// The id of the model or the file.
    pub id: String,
    /// Whether the API deleted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
    /// All other members (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}
