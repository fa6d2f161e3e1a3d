//! Makes cassettes of imported interactions, by the rules of a recording.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::Bytes;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::capacity::Capacity;
use super::chunked;
use super::content_decoding::{check_not_lossy, decode_response};
use super::fields::{can_have_body, timestamp};
use super::interaction::{Headers, Interaction, SourceEntry, Timing, Turn, header, split_url};
use crate::cassette::{
    Blob, Cassette, Message, Recorded, RecordedBody, RecordedRequest, RecordedResponse, sent_messages, yaml,
};
use crate::engine::{self, CacheEngine, read_body};
use crate::error::Result;
use crate::http::{Request, is_event_stream, media_type, strip_response_headers};
use crate::key::{RequestKey, Scope};
use crate::recorder::{Assessment, RequestLine, assess, session_headers};
use crate::redaction::Redactor;
use crate::redaction::secret_scan::{WrittenNames, mask, scan_exchange};
use crate::settings::matching::PLACEHOLDER;
use crate::settings::{Secrets, Settings};

/// The destination and the options of an import.
pub(crate) struct Import<'a> {
    pub(crate) engine: &'a dyn CacheEngine,
    pub(crate) settings: &'a Settings,
    /// Knows the same secrets as during recording. The import adds the credentials in the imported requests.
    pub(crate) redactor: Redactor,
    /// Replaces the scopes that an export names.
    pub(crate) scope: Option<Scope>,
    /// Whether to replace existing cassettes.
    pub(crate) force: bool,
    /// Whether to import requests with any path, as the proxy records them. Recordings of other tools often have requests to
    /// other sites.
    pub(crate) all_paths: bool,
}

/// The result of an import.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// The number of interactions in the written cassettes.
    pub(crate) interactions: usize,
    pub(crate) cassettes: usize,
    /// The number of cassettes that existed already with the same responses.
    pub(crate) same: usize,
    /// One line for each interaction that was not imported, with its location in the source.
    pub(crate) problems: Vec<String>,
    /// Whether a secret is the reason of one of the problems.
    pub(crate) has_secrets: bool,
    /// One line for each interaction that was imported with a secret, because the settings allow that.
    pub(crate) warnings: Vec<String>,
}

impl Imported {
    fn refuse(&mut self, locations: &[String], message: &str) {
        let lines = locations.iter().map(|location| format!("{location}: {message}"));
        self.problems.extend(lines);
    }
}

/// A valid interaction, before redaction.
struct ValidInteraction {
    location: String,
    interaction: Interaction,
    /// The messages of a WebSocket session, and their times.
    session: Option<(Vec<Message>, Vec<u64>)>,
    request: Request,
    status: StatusCode,
    response_headers: HeaderMap,
    scope: Scope,
    from: Option<String>,
    /// The place in a sequence, with the folder of the sequence.
    turn: Option<(PathBuf, Turn)>,
}

/// A cassette with the locations of its responses in the sources.
struct NewCassette {
    key: RequestKey,
    cassette: Cassette,
    locations: Vec<String>,
    /// To be reported once the cassette is written.
    warnings: Vec<String>,
}

impl Import<'_> {
    /// Imports the entries of all sources; each source has the name of its file.
    ///
    /// # Errors
    /// When the engine cannot be read or written. An interaction that cannot be imported is not an error: see
    /// [`Imported::problems`].
    pub(crate) async fn run(mut self, sources: Vec<(String, Vec<SourceEntry>)>) -> Result<Imported> {
        let mut imported = Imported::default();
        let mut valid = self.validate_all(sources, &mut imported);
        put_in_order(&mut valid);
        // A key in the headers of one interaction may also occur in the body of another one.
        let credentials = valid.iter().flat_map(|one| one.request.credentials());
        self.redactor = self
            .redactor
            .with_secrets(credentials.filter(|token| !PLACEHOLDER.contains(token)));
        let cassettes = self.group_by_key(valid, &mut imported);
        let mut capacity = Capacity::of(self.engine, &self.settings.limits).await?;
        for cassette in cassettes {
            self.store(cassette, &mut capacity, &mut imported).await?;
        }
        for line in imported.problems.iter_mut().chain(&mut imported.warnings) {
            // A line names a URL, which can contain a secret.
            *line = mask(&self.redactor.redact_text(line)).replace(['\n', '\r'], " ");
        }
        Ok(imported)
    }

    fn validate_all(&self, sources: Vec<(String, Vec<SourceEntry>)>, imported: &mut Imported) -> Vec<ValidInteraction> {
        let mut valid = Vec::new();
        for (source, entries) in sources {
            for SourceEntry {
                location,
                interaction,
                turn,
            } in entries
            {
                let location = format!("{source}: {location}");
                match interaction.and_then(|interaction| self.validate(location.clone(), interaction)) {
                    Ok(mut one) => {
                        // Sequences of two folders have nothing in common.
                        let folder = Path::new(&source).parent().map(Path::to_path_buf).unwrap_or_default();
                        one.turn = turn.map(|turn| (folder, turn));
                        valid.push(one);
                    }
                    Err(message) => imported.problems.push(format!("{location}: {message}")),
                }
            }
        }
        valid
    }

    /// Checks an interaction and builds the request that a client would have sent.
    fn validate(&self, location: String, mut interaction: Interaction) -> Result<ValidInteraction, String> {
        if is_web_socket(&interaction) && interaction.session.is_none() {
            return Err("the messages of the WebSocket are not in the file".to_owned());
        }
        let (from, target) = base_and_target(&interaction)?;
        let method = Method::from_str(&interaction.method.to_ascii_uppercase());
        let method = method.map_err(|_| format!("the HTTP method is invalid: {:?}", interaction.method))?;
        let request = Request::new(method, &target).map_err(|error| error.message().to_owned())?;
        let is_of_api = || {
            ["/v1/", "/v2/"]
                .iter()
                .any(|version| request.path().starts_with(version))
        };
        // This program has exported only what it has recorded.
        if !self.all_paths && !interaction.is_own_export && !is_of_api() {
            return Err("skipped: the path begins with neither /v1/ nor /v2/ (--all-paths imports it)".to_owned());
        }
        if !interaction.is_own_export {
            interaction.request_body = chunked::decode_request(interaction.request_body, &interaction.request_headers)?;
            let content_type = header(&interaction.request_headers, "content-type");
            check_not_lossy(&interaction.request_body, content_type, "request")?;
            interaction.response_body = decode_response(interaction.response_body, &mut interaction.response_headers)?;
            check_not_empty(&interaction)?;
        }
        let scope = match (&self.scope, &interaction.scope) {
            (Some(scope), _) => scope.clone(),
            (None, Some(name)) => Scope::new(name).map_err(|error| error.message().to_owned())?,
            (None, None) => Scope::root(),
        };
        if let Some(host) = &interaction.host
            && Authority::from_str(host).is_err()
        {
            return Err(format!("the host is invalid: {host:?}"));
        }
        let request = request
            .with_host(interaction.host.as_deref())
            .headers(header_map(&interaction.request_headers)?)
            .body(interaction.request_body.clone());
        let status = StatusCode::from_u16(interaction.status)
            .map_err(|_| format!("the HTTP status is invalid: {}", interaction.status))?;
        let response_headers = header_map(&interaction.response_headers)?;
        check_complete(&request, status, &response_headers, &interaction.response_body)?;
        let session = interaction.session.as_ref();
        let session = session
            .map(|session| session.recorded(request.path(), &self.redactor))
            .transpose()?;
        Ok(ValidInteraction {
            location,
            request,
            status,
            response_headers,
            interaction,
            session,
            scope,
            from,
            turn: None,
        })
    }

    /// Makes one cassette for each key, with the responses in the order of the interactions.
    fn group_by_key(&self, interactions: Vec<ValidInteraction>, imported: &mut Imported) -> Vec<NewCassette> {
        let mut cassettes: Vec<NewCassette> = Vec::new();
        let mut positions: HashMap<RequestKey, usize> = HashMap::new();
        for interaction in interactions {
            let mut new = self.redacted_cassette(interaction);
            if !self.passes_secret_scan(&mut new, imported) {
                continue;
            }
            match positions.get(&new.key) {
                Some(at) => {
                    let cassette = &mut cassettes[*at].cassette;
                    let recorded = new.cassette.recorded;
                    // As in a cassette that was recorded here: the time of the last response, and those of earlier ones if
                    // they are exact.
                    if recorded.is_exact() {
                        cassette.recorded = cassette.recorded.followed_by(recorded);
                    } else if recorded.time() >= cassette.recorded.time() {
                        cassette.recorded = recorded;
                    }
                    cassette.responses.extend(new.cassette.responses);
                    cassettes[*at].locations.extend(new.locations);
                    cassettes[*at].warnings.extend(new.warnings);
                }
                None => {
                    positions.insert(new.key.clone(), cassettes.len());
                    cassettes.push(new);
                }
            }
        }
        cassettes
    }

    /// Makes a cassette of one interaction and redacts it.
    fn redacted_cassette(&self, valid: ValidInteraction) -> NewCassette {
        let ValidInteraction { interaction, scope, .. } = valid;
        let mut recorded_request: RecordedRequest = self.redactor.redact_request(&valid.request);
        let (messages, frame_times) = valid.session.unwrap_or_default();
        if !messages.is_empty() {
            recorded_request.body = RecordedBody::Messages(sent_messages(&messages));
        }
        let key = RequestKey::of(&recorded_request, &scope, &self.settings.matching);
        // A secret in these two is hidden; it is no reason to refuse the interaction.
        let redacted = |text: &str| mask(&self.redactor.redact_text(text)).into_owned();
        let mut recorded = Recorded::now(
            valid.from.as_deref().map(redacted),
            interaction.test.as_deref().map(redacted),
        );
        let date = || header(&interaction.response_headers, "date").and_then(timestamp);
        if let Some(at) = interaction.recorded_at.or_else(date) {
            recorded.set_time(at);
        }
        let body = self.redactor.redact_body(&interaction.response_body);
        let mut headers = valid.response_headers.clone();
        strip_response_headers(&mut headers, &recorded_request.method);
        let mut response = RecordedResponse {
            status: valid.status,
            headers: self.redactor.recorded_headers(&headers),
            body: Blob::Inline(body.clone()),
            timing_ms: Vec::new(),
            messages,
        };
        if !response.messages.is_empty() {
            response.headers = session_headers(valid.response_headers.get(SEC_WEBSOCKET_PROTOCOL));
        }
        response.timing_ms = match interaction.timing {
            _ if !response.messages.is_empty() => frame_times,
            Timing::Pieces(pieces) => pieces,
            Timing::Total(total) => vec![total; piece_count(&body, &response)],
            Timing::Unknown => vec![0; piece_count(&body, &response)],
        };
        let cassette = Cassette {
            key: key.hash().to_owned(),
            recorded,
            history: None,
            request: recorded_request,
            responses: vec![response],
        };
        NewCassette {
            key,
            cassette,
            locations: vec![valid.location],
            warnings: Vec::new(),
        }
    }

    /// Whether the settings allow the secrets that are left after redaction; reports them.
    fn passes_secret_scan(&self, new: &mut NewCassette, imported: &mut Imported) -> bool {
        let Cassette { request, responses, .. } = &new.cassette;
        let policy = self.settings.secrets;
        let names = WrittenNames {
            scope: new.key.scope().as_str(),
            test: new.cassette.recorded.test.as_deref().unwrap_or_default(),
            slug: new.key.slug(),
        };
        let finding = responses
            .iter()
            .find_map(|response| scan_exchange(request, response, &names, policy));
        let Some(finding) = finding else { return true };
        let reason = finding.reason();
        if policy == Secrets::Warn {
            let lines = new.locations.iter().map(|location| format!("{location}: {reason}"));
            new.warnings.extend(lines);
            return true;
        }
        imported.refuse(&new.locations, &reason);
        imported.has_secrets = true;
        false
    }

    /// Writes a cassette, unless it exists or exceeds a limit.
    async fn store(&self, new: NewCassette, capacity: &mut Capacity<'_>, imported: &mut Imported) -> Result<()> {
        let NewCassette {
            key,
            mut cassette,
            locations,
            warnings,
        } = new;
        if !self.force
            && let Some(document) = self.engine.get(&key).await?
        {
            let location = self.engine.location_of(&key);
            let problem = match yaml::read(&document, &location) {
                Ok(existing) if self.has_same_responses(&existing, &cassette, &location).await => {
                    imported.same += 1;
                    return Ok(());
                }
                Ok(_) => format!("a cassette with other responses exists: {location} (--force replaces it)"),
                Err(error) => format!("a damaged cassette exists: {} (--force replaces it)", error.message()),
            };
            imported.refuse(&locations, &problem);
            return Ok(());
        }
        if let Err(problem) = capacity.reserve(&mut cassette) {
            imported.refuse(&locations, &problem);
            return Ok(());
        }
        engine::write_cassette(self.engine, &key, &mut cassette, None, self.settings).await?;
        imported.interactions += locations.len();
        imported.cassettes += 1;
        imported.warnings.extend(warnings);
        Ok(())
    }

    /// Whether an existing cassette has the responses of a new one; times are ignored.
    async fn has_same_responses(&self, existing: &Cassette, new: &Cassette, location: &str) -> bool {
        if existing.responses.len() != new.responses.len() {
            return false;
        }
        for (existing, new) in existing.responses.iter().zip(&new.responses) {
            let body = read_body(self.engine, &existing.body, || location.to_owned()).await;
            let is_same = existing.status == new.status
                && existing.headers == new.headers
                && existing.messages == new.messages
                && body.is_ok_and(|body| Blob::Inline(body) == new.body);
            if !is_same {
                return false;
            }
        }
        true
    }
}

/// Sorts the interactions of each sequence. Together they keep the positions that they have among the other interactions.
fn put_in_order(interactions: &mut Vec<ValidInteraction>) {
    let mut sequences: HashMap<(PathBuf, String), Vec<usize>> = HashMap::new();
    for (at, one) in interactions.iter().enumerate() {
        if let Some((folder, turn)) = &one.turn {
            let sequence = (folder.clone(), turn.sequence.clone());
            sequences.entry(sequence).or_default().push(at);
        }
    }
    let mut order: Vec<usize> = (0..interactions.len()).collect();
    for places in sequences.into_values() {
        let mut sorted = places.clone();
        sorted.sort_by_key(|at| interactions[*at].turn.as_ref().map(|(_, turn)| turn.number));
        for (place, at) in places.into_iter().zip(sorted) {
            order[place] = at;
        }
    }
    let mut taken: Vec<Option<ValidInteraction>> = interactions.drain(..).map(Some).collect();
    interactions.extend(order.into_iter().filter_map(|at| taken[at].take()));
}

/// Fails when a response is incomplete by the rule for recordings. `check_not_empty` decides about empty bodies. Transient errors
/// are imported: somebody has recorded them on purpose.
fn check_complete(request: &Request, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Result<(), String> {
    let line = RequestLine {
        method: request.method().as_str(),
        path: request.path(),
    };
    match assess(line, status, headers, body) {
        Assessment::Incomplete(reason) if !body.is_empty() => Err(format!("the response is {reason}")),
        _ => Ok(()),
    }
}

/// Fails when a response that consists of JSON or events has an empty body: the tool or a filter left it out.
fn check_not_empty(interaction: &Interaction) -> Result<(), String> {
    let Some(content_type) = header(&interaction.response_headers, "content-type") else {
        return Ok(());
    };
    let essence = media_type(content_type).to_ascii_lowercase();
    let needs_body = essence.ends_with("json") || is_event_stream(Some(content_type));
    let is_success = (200..300).contains(&interaction.status) && can_have_body(interaction.status, &interaction.method);
    if interaction.response_body.is_empty() && needs_body && is_success {
        return Err(format!(
            "the response body is not in the file, and its type is {essence}"
        ));
    }
    Ok(())
}

fn is_web_socket(interaction: &Interaction) -> bool {
    let scheme = interaction.url.split("://").next().unwrap_or_default();
    interaction.status == 101 || matches!(&*scheme.to_ascii_lowercase(), "ws" | "wss")
}

/// Splits the URL into the base URL of the upstream and the target of the request. An export can name a base URL with a
/// path.
fn base_and_target(interaction: &Interaction) -> Result<(Option<String>, String), String> {
    let (origin, target) =
        split_url(&interaction.url).ok_or_else(|| "the URL is neither absolute nor a path".to_owned())?;
    let rest = interaction
        .from
        .as_ref()
        .and_then(|from| interaction.url.strip_prefix(from.as_str()));
    Ok(match rest.filter(|rest| rest.starts_with('/')) {
        Some(rest) => (interaction.from.clone(), rest.to_owned()),
        // The origin of a WebSocket is that of the API: `wss` is `https`.
        None => (
            origin.map(|origin| origin.replacen("ws", "http", usize::from(origin.starts_with("ws")))),
            target,
        ),
    })
}

/// The number of times in `timing_ms`: one, or one for each event of a stream.
fn piece_count(body: &[u8], response: &RecordedResponse) -> usize {
    let Some(format) = response.stream_format() else {
        return 1;
    };
    let mut splitter = format.splitter();
    let events = splitter.push(body).len();
    events + usize::from(splitter.rest().is_some())
}

fn header_map(headers: &Headers) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let header = HeaderName::from_bytes(name.as_bytes())
            .ok()
            .zip(HeaderValue::from_bytes(value.as_bytes()).ok());
        let (name, value) = header.ok_or_else(|| format!("the name or the value of header {name:?} is invalid"))?;
        map.append(name, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_url_of_an_export_can_have_a_path() {
        let split = |url: &str, from: Option<&str>| {
            base_and_target(&Interaction {
                url: url.to_owned(),
                from: from.map(str::to_owned),
                ..Interaction::default()
            })
        };
        let base = |base: &str, target: &str| Ok((Some(base.to_owned()), target.to_owned()));
        assert_eq!(
            split("https://a.example/v1/x", None),
            base("https://a.example", "/v1/x")
        );
        assert_eq!(
            split("https://a.example/proxy/v1/x", Some("https://a.example/proxy")),
            base("https://a.example/proxy", "/v1/x")
        );
        assert_eq!(
            split("https://a.example/proxy/v1/x", Some("https://a.example/pro")),
            base("https://a.example", "/proxy/v1/x")
        );
        assert_eq!(split("/v1/x", None), Ok((None, "/v1/x".to_owned())));
        assert!(split("a.example/v1/x", None).is_err());
    }

    #[test]
    fn web_sockets_are_recognised_by_scheme_or_status() {
        let is_web_socket = |url: &str, status| {
            is_web_socket(&Interaction {
                url: url.to_owned(),
                status,
                ..Interaction::default()
            })
        };
        assert!(is_web_socket("WSS://a.example/v1/audio", 200));
        assert!(is_web_socket("https://a.example/v1/audio", 101));
        assert!(!is_web_socket("https://a.example/v1/audio", 200));
        assert!(!is_web_socket("/v1/audio", 200));
    }
}
