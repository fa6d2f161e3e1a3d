//! From what other tools have recorded to cassettes, by the rules of a recording.

use std::collections::HashMap;
use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;

use super::{Exchange, Found, Headers, Timing, body, header, split_url, time};
use crate::cassette::{Blob, Cassette, Recorded, RecordedRequest, RecordedResponse, yaml};
use crate::engine::{self, CacheEngine, read_body};
use crate::error::Result;
use crate::http::{EventSplitter, Request};
use crate::key::{RequestKey, Scope};
use crate::redaction::Redactor;
use crate::redaction::secret_scan::{mask, scan_exchange};
use crate::settings::limits::Limits;
use crate::settings::matching::PLACEHOLDER;
use crate::settings::{Secrets, Settings};

/// Where interactions are imported to, and how.
pub(crate) struct Import<'a> {
    pub(crate) engine: &'a dyn CacheEngine,
    pub(crate) settings: &'a Settings,
    /// Knows what a recording would know; what the interactions themselves were sent with comes to it.
    pub(crate) redactor: Redactor,
    /// In place of the scopes that an export names.
    pub(crate) scope: Option<Scope>,
    /// Whether a cassette that is there already is replaced.
    pub(crate) force: bool,
}

/// What became of an import.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// How many interactions are in the cassettes that were written.
    pub(crate) interactions: usize,
    pub(crate) cassettes: usize,
    /// How many cassettes were there already with the same responses.
    pub(crate) same: usize,
    /// What was not imported: a line each, with its place in the source.
    pub(crate) problems: Vec<String>,
    /// Whether some of it was not imported because of a secret.
    pub(crate) has_secrets: bool,
    /// What was imported although a secret is in it, as the settings want it: a line each.
    pub(crate) warnings: Vec<String>,
}

impl Imported {
    fn refuse(&mut self, places: &[String], what: &str) {
        self.problems
            .extend(places.iter().map(|place| format!("{place}: {what}")));
    }
}

/// An interaction on its way to its cassette.
struct PreparedRequest {
    place: String,
    exchange: Exchange,
    request: Request,
    status: StatusCode,
    response_headers: HeaderMap,
    scope: Scope,
    from: Option<String>,
}

/// A cassette with the places that its responses came from.
struct Made {
    key: RequestKey,
    cassette: Cassette,
    places: Vec<String>,
    /// What is to be said when it is kept.
    warnings: Vec<String>,
}

/// How much may still be kept, in bytes.
struct Room<'a> {
    limits: &'a Limits,
    /// `None` where there is no limit, or the engine cannot tell how much there is.
    left: Option<u64>,
}

impl<'a> Room<'a> {
    async fn of(engine: &dyn CacheEngine, limits: &'a Limits) -> Result<Self> {
        let left = match limits.total_bytes {
            Some(most) => engine
                .extensions()
                .size()
                .await?
                .map(|size| most.saturating_sub(size.bytes)),
            None => None,
        };
        Ok(Self { limits, left })
    }

    /// Takes the room of a cassette; or why there is none.
    fn take(&mut self, cassette: &mut Cassette) -> Result<(), String> {
        let bytes: u64 = cassette.bodies_mut().iter().map(|blob| blob.len() as u64).sum();
        let answers = cassette.responses.iter().map(|response| response.body.len() as u64);
        // Where it is not set, it is for answers alone.
        let limited = match self.limits.entry_bytes {
            Some(_) => bytes,
            None => answers.max().unwrap_or_default(),
        };
        let most = self.limits.max_response_bytes();
        if limited > most {
            return Err(format!("too large, {limited} bytes: limits.entry_bytes is {most}"));
        }
        if let Some(left) = &mut self.left {
            let rest = left.checked_sub(bytes);
            *left = rest.ok_or_else(|| format!("too large, {bytes} bytes: limits.total_bytes leaves {left}"))?;
        }
        Ok(())
    }
}

impl Import<'_> {
    /// Imports what was found in each source, under its name.
    ///
    /// # Errors
    /// When the engine cannot be read or written. What cannot be imported does not keep the rest from it: see
    /// [`Imported::problems`].
    pub(crate) async fn all(mut self, sources: Vec<(String, Vec<Found>)>) -> Result<Imported> {
        let mut imported = Imported::default();
        let mut asked = Vec::new();
        for (source, found) in sources {
            for Found { place, exchange } in found {
                let place = format!("{source}: {place}");
                match exchange.and_then(|exchange| self.ask(place.clone(), exchange)) {
                    Ok(one) => asked.push(one),
                    Err(what) => imported.problems.push(format!("{place}: {what}")),
                }
            }
        }
        // A key that one interaction was sent with may stand in the body of another.
        let credentials = asked.iter().flat_map(|asked| asked.request.credentials());
        self.redactor = self
            .redactor
            .with_secrets(credentials.filter(|token| !PLACEHOLDER.contains(token)));
        let mut made: Vec<Made> = Vec::new();
        let mut known: HashMap<RequestKey, usize> = HashMap::new();
        for one in asked {
            let mut new = self.make(one);
            if !self.may_be_kept(&mut new, &mut imported) {
                continue;
            }
            match known.get(&new.key) {
                Some(at) => {
                    made[*at].cassette.responses.extend(new.cassette.responses);
                    made[*at].places.extend(new.places);
                    made[*at].warnings.extend(new.warnings);
                }
                None => {
                    known.insert(new.key.clone(), made.len());
                    made.push(new);
                }
            }
        }
        let mut room = Room::of(self.engine, &self.settings.limits).await?;
        for made in made {
            self.keep(made, &mut room, &mut imported).await?;
        }
        for line in imported.problems.iter_mut().chain(&mut imported.warnings) {
            // A URL in it may be where a secret is.
            *line = mask(&self.redactor.redact_text(line)).replace(['\n', '\r'], " ");
        }
        Ok(imported)
    }

    /// The request as a client would have sent it.
    fn ask(&self, place: String, mut exchange: Exchange) -> Result<PreparedRequest, String> {
        let scheme = exchange
            .url
            .split("://")
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        if exchange.status == 101 || matches!(&*scheme, "ws" | "wss") {
            return Err("it is a WebSocket, which is no HTTP call".to_owned());
        }
        let (origin, target) =
            split_url(&exchange.url).ok_or_else(|| "its URL is neither absolute nor a path".to_owned())?;
        let behind = exchange
            .from
            .as_ref()
            .and_then(|from| exchange.url.strip_prefix(from.as_str()));
        let (from, target) = match behind.filter(|behind| behind.starts_with('/')) {
            Some(behind) => (exchange.from.clone(), behind.to_owned()),
            None => (origin, target),
        };
        let method = Method::from_str(&exchange.method.to_ascii_uppercase());
        let method = method.map_err(|_| format!("{:?} is no HTTP method", exchange.method))?;
        let request = Request::new(method, &target).map_err(|error| error.message().to_owned())?;
        if !["/v1/", "/v2/"]
            .iter()
            .any(|version| request.path().starts_with(version))
        {
            return Err("skipped, since its path begins with neither /v1/ nor /v2/".to_owned());
        }
        if !exchange.is_ours {
            let kind = header(&exchange.request_headers, "content-type");
            body::check_request(&exchange.request_body, kind)?;
            exchange.response_body = body::decoded(exchange.response_body, &mut exchange.response_headers)?;
        }
        let scope = match (&self.scope, &exchange.scope) {
            (Some(scope), _) => scope.clone(),
            (None, Some(name)) => Scope::new(name).map_err(|error| error.message().to_owned())?,
            (None, None) => Scope::root(),
        };
        let request = request
            .headers(header_map(&exchange.request_headers)?)
            .body(exchange.request_body.clone());
        let status =
            StatusCode::from_u16(exchange.status).map_err(|_| format!("{} is no HTTP status", exchange.status))?;
        Ok(PreparedRequest {
            place,
            request,
            status,
            response_headers: header_map(&exchange.response_headers)?,
            exchange,
            scope,
            from,
        })
    }

    /// The cassette of one interaction.
    fn make(&self, asked: PreparedRequest) -> Made {
        let PreparedRequest { exchange, scope, .. } = asked;
        let recorded_request: RecordedRequest = self.redactor.redact_request(&asked.request);
        let key = RequestKey::of(&recorded_request, &scope, &self.settings.matching);
        // What only says where it comes from is no reason to refuse it.
        let redacted = |text: &str| mask(&self.redactor.redact_text(text)).into_owned();
        let mut recorded = Recorded::now(
            asked.from.as_deref().map(redacted),
            exchange.test.as_deref().map(redacted),
        );
        let said = || header(&exchange.response_headers, "date").and_then(time);
        if let Some(at) = exchange.at.or_else(said) {
            recorded.at = Timestamp::from_second(at.as_second()).unwrap_or(at).to_string();
        }
        let body = self.redactor.redact_body(&exchange.response_body);
        let mut response = RecordedResponse {
            status: asked.status,
            headers: self.redactor.recorded_headers(&asked.response_headers),
            body: Blob::Inline(body.clone()),
            timing_ms: Vec::new(),
        };
        response.timing_ms = match exchange.timing {
            Timing::Pieces(pieces) => pieces,
            Timing::Total(total) => vec![total; pieces_of(&body, &response)],
            Timing::Unknown => vec![0; pieces_of(&body, &response)],
        };
        let cassette = Cassette {
            key: key.hash().to_owned(),
            recorded,
            history: None,
            request: recorded_request,
            responses: vec![response],
        };
        Made {
            key,
            cassette,
            places: vec![asked.place],
            warnings: Vec::new(),
        }
    }

    /// Whether the settings allow what redaction has left in an interaction.
    fn may_be_kept(&self, made: &mut Made, imported: &mut Imported) -> bool {
        let Cassette { request, responses, .. } = &made.cassette;
        let policy = self.settings.secrets;
        let finding = responses
            .iter()
            .find_map(|response| scan_exchange(request, response, policy));
        let Some(finding) = finding else { return true };
        let reason = finding.reason();
        if policy == Secrets::Warn {
            made.warnings
                .extend(made.places.iter().map(|place| format!("{place}: {reason}")));
            return true;
        }
        imported.refuse(&made.places, &reason);
        imported.has_secrets = true;
        false
    }

    /// Writes a cassette, unless it is there already or too large.
    async fn keep(&self, made: Made, room: &mut Room<'_>, imported: &mut Imported) -> Result<()> {
        let Made {
            key,
            mut cassette,
            places,
            warnings,
        } = made;
        if !self.force
            && let Some(document) = self.engine.get(&key).await?
        {
            let place = self.engine.location_of(&key);
            let what = match yaml::read(&document, &place) {
                Ok(there) if self.is_same(&there, &cassette, &place).await => {
                    imported.same += 1;
                    return Ok(());
                }
                Ok(_) => format!("already there, with other responses: {place} (--force replaces it)"),
                Err(error) => format!("already there, and damaged: {} (--force replaces it)", error.message()),
            };
            imported.refuse(&places, &what);
            return Ok(());
        }
        if let Err(what) = room.take(&mut cassette) {
            imported.refuse(&places, &what);
            return Ok(());
        }
        engine::write_cassette(self.engine, &key, &mut cassette, None, self.settings).await?;
        imported.interactions += places.len();
        imported.cassettes += 1;
        imported.warnings.extend(warnings);
        Ok(())
    }

    /// Whether a cassette has these responses, whenever they were recorded.
    async fn is_same(&self, there: &Cassette, new: &Cassette, place: &str) -> bool {
        if there.responses.len() != new.responses.len() {
            return false;
        }
        for (there, new) in there.responses.iter().zip(&new.responses) {
            let body = read_body(self.engine, &there.body, || place.to_owned()).await;
            let is_same = there.status == new.status
                && there.headers == new.headers
                && body.is_ok_and(|body| Blob::Inline(body) == new.body);
            if !is_same {
                return false;
            }
        }
        true
    }
}

/// How many times a response has: one, or one an event of a stream.
fn pieces_of(body: &[u8], response: &RecordedResponse) -> usize {
    if !response.is_event_stream() {
        return 1;
    }
    let mut splitter = EventSplitter::default();
    let events = splitter.push(body).len();
    events + usize::from(splitter.rest().is_some())
}

fn header_map(headers: &Headers) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let header = HeaderName::from_bytes(name.as_bytes())
            .ok()
            .zip(HeaderValue::from_bytes(value.as_bytes()).ok());
        let (name, value) = header.ok_or_else(|| format!("{name:?} with its value is no HTTP header"))?;
        map.append(name, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cassette::RecordedBody;

    fn cassette(asked: usize, answered: usize) -> Cassette {
        let body = |bytes| Blob::Inline(Bytes::from(vec![b'x'; bytes]));
        Cassette {
            key: String::new(),
            recorded: Recorded::now(None, None),
            history: None,
            request: RecordedRequest {
                method: "POST".to_owned(),
                path: "/v1/x".to_owned(),
                query: None,
                body: RecordedBody::Blob(body(asked)),
            },
            responses: vec![RecordedResponse {
                status: StatusCode::OK,
                headers: Vec::new(),
                body: body(answered),
                timing_ms: vec![1],
            }],
        }
    }

    /// As a recording has it: what was asked with counts only where the settings say how much a cassette may take.
    #[test]
    fn a_limit_that_is_not_set_is_for_answers_alone() {
        let large = usize::try_from(Limits::default().max_response_bytes()).unwrap();
        for (entry_bytes, asked, answered, is_taken) in [
            (None, large + 1, large, true),
            (None, 0, large + 1, false),
            (Some(10), 5, 5, true),
            (Some(10), 6, 5, false),
        ] {
            let limits = Limits {
                entry_bytes,
                ..Limits::default()
            };
            let mut room = Room {
                limits: &limits,
                left: None,
            };
            let taken = room.take(&mut cassette(asked, answered));
            assert_eq!(taken.is_ok(), is_taken, "{entry_bytes:?}: {taken:?}");
        }
    }
}
