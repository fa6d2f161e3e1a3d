//! An operation of a description: a method of a path, its bodies and its responses.

use std::collections::BTreeMap;

use http::StatusCode;

use super::schemas::SchemaId;

/// A method of a path.
pub(super) struct Operation {
    /// In upper case.
    pub(super) method: String,
    /// The path with its parameters in braces, and with the path of the server.
    pub(super) path: String,
    /// An object of the query parameters.
    pub(super) query: SchemaId,
    pub(super) requires_body: bool,
    /// The schema of the request body for each media type.
    pub(super) bodies: Vec<Content>,
    /// The content for each status, range of statuses (`2XX`), or `default`.
    pub(super) responses: BTreeMap<String, Vec<Content>>,
}

/// A body of a media type.
pub(super) struct Content {
    /// In lower case, without parameters.
    pub(super) media_type: String,
    /// `None` if the description says nothing about it, or that it is binary.
    pub(super) schema: Option<SchemaId>,
    /// Whether the schema is that of an object around the data of an event.
    pub(super) is_envelope: bool,
}

impl Operation {
    /// The method and the path of the description.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(super) fn matches(&self, path: &str) -> bool {
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
