//! The neutral form of a recorded interaction, between the formats of other tools and cassettes.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::session::Session;
use super::surrogates;

/// The name of the creator in an export. Import uses the bodies of such a file without decoding them.
pub(super) const CREATOR: &str = "mistral-cassette";

/// Pairs of name and value, in order; a name can occur several times.
pub(super) type Headers = Vec<(String, String)>;

/// What a document has besides its interactions.
pub(crate) struct Frame {
    pub(crate) start: String,
    /// Between two interactions.
    pub(crate) between: &'static str,
    pub(crate) end: String,
}

/// One request and one response to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interaction {
    pub(super) method: String,
    /// An absolute URL, or a path when the origin is unknown.
    pub(super) url: String,
    pub(super) request_headers: Headers,
    pub(super) request_body: Bytes,
    pub(super) status: u16,
    pub(super) response_headers: Headers,
    pub(super) response_body: Bytes,
    pub(super) recorded_at: Option<Timestamp>,
    pub(super) timing: Timing,
    /// The messages, of a WebSocket.
    pub(super) session: Option<Session>,
    /// The base URL of the upstream, when it differs from the origin of `url`.
    pub(super) from: Option<String>,
    /// The host in the key, of a request to another host than those of the API.
    pub(super) host: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) test: Option<String>,
    /// Whether this tool exported the interaction. Its bodies are then already decoded.
    pub(super) is_own_export: bool,
}

impl Interaction {
    /// Fails when a body, a header or the URL has half a character: no bytes of UTF-8 stand for it.
    fn without_surrogates(self) -> Result<Self, String> {
        let header_values =
            |headers: &Headers| headers.iter().find_map(|(_, value)| surrogates::find(value.as_bytes()));
        let found = [
            ("the request body", surrogates::find(&self.request_body)),
            ("the response body", surrogates::find(&self.response_body)),
            ("the URL", surrogates::find(self.url.as_bytes())),
            ("a request header", header_values(&self.request_headers)),
            ("a response header", header_values(&self.response_headers)),
        ];
        match found.into_iter().find_map(|(place, found)| Some((place, found?))) {
            Some((place, surrogate)) => Err(format!(
                "{place} has the unpaired surrogate {surrogate}, so its bytes are not known"
            )),
            None => Ok(self),
        }
    }
}

/// How long a response took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Timing {
    #[default]
    Unknown,
    /// The duration of the complete response, in milliseconds.
    Total(u64),
    /// The times of its pieces, as in a cassette.
    Pieces(Vec<u64>),
}

/// Returns when the first of these interactions was recorded.
pub(crate) fn recorded_at(interactions: &[Interaction]) -> Timestamp {
    let first = interactions.first();
    first
        .and_then(|interaction| interaction.recorded_at)
        .unwrap_or_default()
}

/// An interaction with its location in the source file, or the reason why it cannot be imported.
pub(crate) struct SourceEntry {
    /// For example `interaction 3 (GET https://api.mistral.ai/v1/models)` or `line 7`.
    pub(super) location: String,
    pub(super) interaction: Result<Interaction, String>,
    pub(super) turn: Option<Turn>,
}

/// The position of an interaction in a sequence of responses to one request whose order is not that of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(super) sequence: String,
    pub(super) number: u64,
}

impl SourceEntry {
    /// Creates the entry number `number` (from 1) of a file; `request` holds the method and the URL, which the location
    /// names.
    pub(super) fn new(
        kind: &str,
        number: usize,
        request: [&Value; 2],
        interaction: Result<Interaction, String>,
    ) -> Self {
        let without_password = |text: &str| match split_url(text) {
            Some((Some(origin), target)) => format!("{origin}{target}"),
            _ => text.to_owned(),
        };
        let request: Vec<String> = request
            .into_iter()
            .filter_map(Value::as_str)
            .map(without_password)
            .collect();
        let request = if request.is_empty() {
            String::new()
        } else {
            format!(" ({})", request.join(" "))
        };
        Self {
            location: format!("{kind} {number}{}", surrogates::escape(&request)),
            interaction: interaction.and_then(Interaction::without_surrogates),
            turn: None,
        }
    }
}

/// Splits a URL into its origin, without user and password, and its target. A path has no origin.
pub(super) fn split_url(url: &str) -> Option<(Option<String>, String)> {
    if url.starts_with('/') {
        return Some((None, url.to_owned()));
    }
    let (scheme, rest) = url.split_once("://")?;
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() {
        return None;
    }
    let target = if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("/{target}")
    };
    Some((Some(format!("{scheme}://{host}")), target))
}

/// Returns the first value of the header `name`.
pub(super) fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?;
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn split_url_drops_the_password() {
        let split = |url| split_url(url).unwrap();
        let origin = Some("https://a.example:8443".to_owned());
        assert_eq!(
            split("https://user:secret@a.example:8443/v1/x?a=@b"),
            (origin.clone(), "/v1/x?a=@b".to_owned())
        );
        assert_eq!(split("https://a.example:8443?a=b"), (origin, "/?a=b".to_owned()));
        assert_eq!(split("/v1/x"), (None, "/v1/x".to_owned()));
        assert_eq!(split_url("a.example/v1/x"), None);
        assert_eq!(split_url("https:///v1/x"), None);
    }

    #[test]
    fn a_location_names_the_request_without_its_password() {
        let location = |method: Value, url: Value| {
            SourceEntry::new("interaction", 3, [&method, &url], Err(String::new())).location
        };
        assert_eq!(
            location(json!("GET"), json!("https://me:secret@a.example/v1/models")),
            "interaction 3 (GET https://a.example/v1/models)"
        );
        assert_eq!(location(json!("GET"), Value::Null), "interaction 3 (GET)");
        assert_eq!(location(Value::Null, Value::Null), "interaction 3");
    }
}
