//! What the API says of something that is gone.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The answer to the deletion of a model or a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Deleted {
    /// What was to be deleted.
    pub id: String,
    /// Whether it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
    /// Everything else (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}
