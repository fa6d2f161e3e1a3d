//! Compares a recording with the description: its endpoint, its query, its bodies, and the events of streams.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::description::{Description, Found};
use super::difference::{Difference, Kind, Steps};
use super::disagreement::{Compared, Disagreement, Part, Skipped};
use super::fields::{Field, compare_fields};
use super::operation::{Content, Operation, content_of};
use super::redacted::Redacted;
use crate::cassette::{Blob, Cassette, RecordedBody, RecordedRequest, RecordedResponse};
use crate::error::Result;
use crate::http::{StreamFormat, is_json, media_type, read_json};
use crate::redaction::secret_scan::mask;
use crate::settings::Settings;

const JSON: &str = "application/json";
const FORM: &str = "multipart/form-data";

/// A description, with which recordings of a store are compared.
pub(crate) struct Api {
    pub(crate) description: Description,
    redacted: Redacted,
}

impl Api {
    pub(crate) fn new(description: Description, settings: &Settings) -> Self {
        Self {
            description,
            redacted: Redacted::new(settings),
        }
    }

    /// Compares a recording whose bodies are inline; `Err` if it is not compared at all.
    ///
    /// # Errors
    /// A schema of the description is invalid.
    pub(crate) fn compare(&self, cassette: &Cassette) -> Result<Result<Compared, Skipped>> {
        let (request, responses) = (&cassette.request, &cassette.responses);
        let is_session = |response: &RecordedResponse| !response.messages.is_empty();
        if matches!(request.body, RecordedBody::Messages(_)) || responses.iter().any(is_session) {
            return Ok(Err(Skipped::WebSocket));
        }
        let is_of_bedrock = |response: &RecordedResponse| response.stream_format() == Some(StreamFormat::Frames);
        if request.host.is_some() || responses.iter().any(is_of_bedrock) {
            return Ok(Err(Skipped::OtherHost));
        }
        let mut comparison = Comparison {
            api: self,
            compared: Compared::default(),
            seen: Vec::new(),
        };
        comparison.all(request, responses).map_err(|error| {
            let endpoint = &comparison.compared.endpoint;
            error.with_prefix(&format!("{}: {endpoint}", self.description.source()))
        })?;
        Ok(Ok(comparison.compared))
    }
}

/// The comparison of one recording.
struct Comparison<'a> {
    api: &'a Api,
    compared: Compared,
    /// The disagreements that are in `compared` already.
    seen: Vec<(Part, Steps, Kind)>,
}

/// A message, or an event of it.
#[derive(Clone, Copy)]
struct Place<'a> {
    part: Part,
    name: &'a str,
}

impl Comparison<'_> {
    fn all(&mut self, request: &RecordedRequest, responses: &[RecordedResponse]) -> Result<()> {
        let api = self.api;
        let place = Place {
            part: Part::Request,
            name: "request",
        };
        let operation = match api.description.find(&request.method, &request.path) {
            Found::Operation(operation) => operation,
            found => {
                self.compared.endpoint = format!("{} {}", request.method, without_ids(&request.path));
                let what = match found {
                    Found::OtherMethods(methods) => {
                        format!("the description has this path only with {}", methods.join(", "))
                    }
                    _ => "the description does not have this endpoint".to_owned(),
                };
                self.add_kind(place, Kind::Other(what));
                return Ok(());
            }
        };
        self.compared.endpoint = operation.name();
        self.query(operation, request)?;
        self.request_body(operation, request, place)?;
        for (index, response) in responses.iter().enumerate() {
            let name = match responses.len() {
                1 => "response".to_owned(),
                _ => format!("response {}", index + 1),
            };
            self.response(operation, request, response, &name)?;
        }
        Ok(())
    }

    fn query(&mut self, operation: &Operation, request: &RecordedRequest) -> Result<()> {
        let pairs = form_urlencoded::parse(request.query.as_deref().unwrap_or_default().as_bytes());
        let mut fields: Vec<Field> = Vec::new();
        for (name, value) in pairs {
            Field::add(&mut fields, &name, Value::from(&*value));
        }
        let schemas = &self.api.description.requests;
        let differences = compare_fields(schemas, operation.query, fields, &self.api.redacted)?;
        let place = Place {
            part: Part::Query,
            name: "query",
        };
        self.add(place, differences);
        Ok(())
    }

    fn request_body(&mut self, operation: &Operation, request: &RecordedRequest, place: Place<'_>) -> Result<()> {
        let schemas = &self.api.description.requests;
        match &request.body {
            RecordedBody::Multipart(parts) => {
                let Some(content) = self.content(&operation.bodies, FORM, place) else {
                    return Ok(());
                };
                let Some(schema) = content.schema else {
                    self.compared.skipped.push(Skipped::Body);
                    return Ok(());
                };
                let mut fields = Vec::new();
                for part in parts {
                    let text = match &part.content {
                        Blob::Inline(bytes) if part.filename.is_none() => std::str::from_utf8(bytes).ok(),
                        _ => None,
                    };
                    // The content of a file is not compared: the placeholder matches any schema.
                    let value = text.map_or_else(|| Redacted::anything().into(), Value::from);
                    Field::add(&mut fields, &part.name, value);
                }
                let differences = compare_fields(schemas, schema, fields, &self.api.redacted)?;
                self.add(place, differences);
            }
            RecordedBody::Blob(Blob::Inline(bytes)) if bytes.is_empty() => {
                if operation.requires_body {
                    self.add_kind(place, Kind::Missing);
                }
            }
            RecordedBody::Blob(Blob::Inline(bytes)) => match json_of(bytes, request.content_type.as_deref()) {
                _ if operation.bodies.is_empty() => self.add_kind(place, Kind::Unknown),
                Some(value) => {
                    let content = self.content(&operation.bodies, JSON, place);
                    if let Some(schema) = content.and_then(|content| content.schema) {
                        let differences = schemas.compare(schema, &value, &self.api.redacted)?;
                        self.add(place, differences);
                    }
                }
                None => self.compared.skipped.push(Skipped::Body),
            },
            RecordedBody::Blob(Blob::External { .. }) | RecordedBody::Messages(_) => {}
        }
        Ok(())
    }

    fn response(
        &mut self,
        operation: &Operation,
        request: &RecordedRequest,
        response: &RecordedResponse,
        name: &str,
    ) -> Result<()> {
        let place = Place {
            part: Part::Response,
            name,
        };
        let Some(contents) = operation.response(response.status) else {
            if response.status.as_u16() >= 400 {
                self.compared.skipped.push(Skipped::ErrorStatus);
            } else {
                let (status, known) = (response.status.as_u16(), operation.statuses().join(", "));
                self.add_kind(
                    place,
                    Kind::Other(format!("status {status} is not in the description, which has {known}")),
                );
            }
            return Ok(());
        };
        let Blob::Inline(body) = &response.body else {
            return Ok(());
        };
        match (body.is_empty(), contents.is_empty()) {
            (true, true) => return Ok(()),
            (true, false) => {
                if request.method != "HEAD" {
                    self.add_kind(place, Kind::Missing);
                }
                return Ok(());
            }
            (false, true) => {
                self.add_kind(place, Kind::Unknown);
                return Ok(());
            }
            (false, false) => {}
        }
        let media_type = response.header("content-type").map_or(JSON, media_type);
        let Some(content) = self.content(contents, media_type, place) else {
            return Ok(());
        };
        if content.schema.is_none() || response.content_encoding().is_some() {
            self.compared.skipped.push(Skipped::Body);
        } else if response.is_event_stream() {
            self.events(content, response, body, name)?;
        } else if is_json(Some(media_type)) {
            self.json(content, body, place)?;
        } else {
            self.compared.skipped.push(Skipped::Body);
        }
        Ok(())
    }

    fn json(&mut self, content: &Content, body: &Bytes, place: Place<'_>) -> Result<()> {
        let Some(schema) = content.schema else { return Ok(()) };
        match read_json::<Value>(body) {
            Ok(value) => {
                let differences = self
                    .api
                    .description
                    .responses
                    .compare(schema, &value, &self.api.redacted)?;
                self.add(place, differences);
            }
            Err(_) => {
                let expected = vec!["JSON".to_owned()];
                self.add_kind(
                    place,
                    Kind::Type {
                        expected,
                        found: "other text",
                    },
                );
            }
        }
        Ok(())
    }

    fn events(&mut self, content: &Content, response: &RecordedResponse, body: &Bytes, name: &str) -> Result<()> {
        let Some(schema) = content.schema else { return Ok(()) };
        for (index, event) in response.events(body).into_iter().flatten().enumerate() {
            if event.is_done() {
                continue;
            }
            let mut value = read_json(event.data.as_bytes()).unwrap_or_else(|_| Value::from(event.data.as_str()));
            if content.is_envelope {
                let mut envelope = Map::new();
                envelope.extend(event.name.map(|name| ("event".to_owned(), name.into())));
                envelope.insert("data".to_owned(), value);
                value = envelope.into();
            }
            let mut differences = self
                .api
                .description
                .responses
                .compare(schema, &value, &self.api.redacted)?;
            if content.is_envelope {
                differences
                    .iter_mut()
                    .for_each(|difference| difference.at.leave_envelope());
            }
            let name = format!("{name}, event {}", index + 1);
            let place = Place {
                part: Part::Event,
                name: &name,
            };
            self.add(place, differences);
        }
        Ok(())
    }

    /// The content of a media type. If the description does not have it, that is a disagreement.
    fn content<'c>(&mut self, contents: &'c [Content], media_type: &str, place: Place<'_>) -> Option<&'c Content> {
        let content = content_of(contents, media_type);
        if content.is_none() {
            let message = format!("a body of the type {media_type} is not in the description");
            self.add_kind(place, Kind::Other(message));
        }
        content
    }

    /// Adds a disagreement of a part as a whole.
    fn add_kind(&mut self, place: Place<'_>, kind: Kind) {
        let at = Steps::default();
        self.add(place, vec![Difference { at, kind }]);
    }

    fn add(&mut self, place: Place<'_>, differences: Vec<Difference>) {
        for Difference { at, kind } in differences {
            // Of several items of an array, and of several events, the first counts.
            let seen = (place.part, at.of_any_item(), kind);
            if self.seen.contains(&seen) {
                continue;
            }
            let (part, general_path, kind) = &seen;
            let path = |steps: &Steps| (!kind.is_of_whole()).then(|| mask(&steps.to_string()).into_owned());
            self.compared.disagreements.push(Disagreement {
                severity: kind.severity(matches!(part, Part::Request | Part::Query)),
                part: *part,
                place: place.name.to_owned(),
                path: path(&at),
                general_path: path(general_path),
                message: mask(&kind.to_string()).into_owned(),
            });
            self.seen.push(seen);
        }
    }
}

/// A request body as JSON; `None` if it is something else.
fn json_of(body: &[u8], content_type: Option<&str>) -> Option<Value> {
    let may_be_json = content_type.is_none_or(|content_type| is_json(Some(content_type)));
    may_be_json.then(|| read_json(body).ok()).flatten()
}

/// A path with its ids in braces, so that requests to one endpoint have one name.
fn without_ids(path: &str) -> String {
    let is_id = |segment: &&str| segment.len() >= 8 && segment.bytes().any(|byte| byte.is_ascii_digit());
    let segments = path
        .split('/')
        .map(|segment| if is_id(&segment) { "{id}" } else { segment });
    mask(&segments.collect::<Vec<_>>().join("/")).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use http::StatusCode;

    use super::*;
    use crate::cassette::{Close, Message, Peer, Recorded};
    use crate::cli::severity::Severity;

    static API: LazyLock<Api> = LazyLock::new(|| {
        let settings = "redaction:\n- { pattern: 'Jo', with: '<name>$1' }\n";
        let settings = Settings::from_yaml(settings.as_bytes(), "settings.yaml").unwrap();
        Api::new(Description::new(None).unwrap(), &settings)
    });

    fn cassette(method: &str, path: &str, request: &str, response: &str) -> Cassette {
        Cassette {
            key: String::new(),
            recorded: Recorded::now(None, None),
            history: None,
            request: RecordedRequest::new(method, path, Bytes::copy_from_slice(request.as_bytes())),
            responses: vec![RecordedResponse {
                status: StatusCode::OK,
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: Bytes::copy_from_slice(response.as_bytes()).into(),
                timing_ms: vec![1],
                messages: Vec::new(),
            }],
        }
    }

    fn chat(request: &str) -> Cassette {
        let response = r#"{"id":"1","object":"chat.completion","model":"m","created":1,"choices":[],
            "usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
        cassette("POST", "/v1/chat/completions", request, response)
    }

    #[test]
    fn redacted_values_are_no_disagreement() {
        let request = |reason: &str| {
            format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"?"}}],"{reason}":1,"tool_choice":"a {reason}","stop":5}}"#
            )
        };
        let found = |reason: &str| {
            let compared = API.compare(&chat(&request(reason))).unwrap().unwrap();
            compared
                .disagreements
                .into_iter()
                .map(|found| found.path.unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("[REDACTED]"), ["stop"]);
        assert_eq!(found("<name>hn"), ["stop"]);
        let mut all = found("other");
        all.sort();
        assert_eq!(all, ["other", "stop", "tool_choice"]);
    }

    #[test]
    fn secrets_are_not_printed() {
        let token = ["gh", "p_k7Hs02LmQx94TzRbVn61WcYp83GdJf5ErT2u"].concat();
        let request = format!(r#"{{"model":"m","messages":[],"{token}":1,"tool_choice":"{token}"}}"#);
        let compared = API.compare(&chat(&request)).unwrap().unwrap();
        assert_eq!(compared.disagreements.len(), 2);
        assert!(!format!("{compared:?}").contains(&token), "{compared:?}");
    }

    #[test]
    fn recordings_that_are_not_of_the_api_are_skipped() {
        let mut other = chat("{}");
        other.request.host = Some("a.example".to_owned());
        assert_eq!(API.compare(&other).unwrap(), Err(Skipped::OtherHost));
        let mut bedrock = chat("{}");
        bedrock.responses[0].headers[0].1 = "application/vnd.amazon.eventstream".to_owned();
        assert_eq!(API.compare(&bedrock).unwrap(), Err(Skipped::OtherHost));
        let mut session = chat("");
        session.responses[0].messages.push(Message::Closed(Close {
            by: Peer::Client,
            code: None,
            reason: String::new(),
        }));
        assert_eq!(API.compare(&session).unwrap(), Err(Skipped::WebSocket));
    }

    #[test]
    fn an_error_is_compared_if_the_description_has_its_status() {
        let mut error = cassette("GET", "/v1/models", "", r#"{"detail":"Not found"}"#);
        error.responses[0].status = StatusCode::NOT_FOUND;
        let compared = API.compare(&error).unwrap().unwrap();
        assert_eq!(
            (compared.disagreements.len(), &*compared.skipped),
            (0, &[Skipped::ErrorStatus][..])
        );
        error = chat(r#"{"model":"m","messages":[]}"#);
        error.responses[0].status = StatusCode::UNPROCESSABLE_ENTITY;
        error.responses[0].body = Bytes::from_static(br#"{"detail":"wrong"}"#).into();
        let [found] = &API.compare(&error).unwrap().unwrap().disagreements[..] else {
            panic!("one disagreement")
        };
        let found = (found.severity, found.path.as_deref(), found.message.as_str());
        assert_eq!(found, (Severity::Error, Some("detail"), "expected array, found string"));
    }

    #[test]
    fn the_endpoint_of_an_unknown_path_has_no_ids() {
        let compared = |path: &str| API.compare(&cassette("GET", path, "", "{}")).unwrap().unwrap().endpoint;
        assert_eq!(compared("/v1/winds/0123456789abcdef/name"), "GET /v1/winds/{id}/name");
        assert_eq!(
            compared("/v1/models/ft:open-mistral-7b:1:2024"),
            "GET /v1/models/{model_id}"
        );
    }
}
