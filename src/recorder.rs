//! The road a request takes: every door calls [`Recorder::answer`], and nothing else decides anything.

mod flight;
mod tape;

use std::collections::HashMap;
use std::env;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio_util::task::TaskTracker;

use self::flight::{Answer, Boarding, Flights, Lead};
use self::tape::Tape;
use crate::cassette::{Blob, Cassette, Recorded, RecordedRequest, RecordedResponse, format, says_the_same};
use crate::engine::{CacheEngine, bytes_of};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{RequestKey, Scope, sha256_hex};
use crate::message::{Body, Request, Response, Splitter, is_done, is_event_stream};
use crate::miss;
use crate::mode::{Mode, OnMiss, in_ci};
use crate::redaction::{Redactor, strip_hop_by_hop};
use crate::session::{Kept, Session, Summary};
use crate::settings::{Exhausted, Pace, Settings};
use crate::transport::Transport;

/// The environment variable with the API key.
pub(crate) const KEY_VARIABLE: &str = "MISTRAL_API_KEY";

/// How much the documents that were read or written may weigh before they are forgotten.
const REMEMBERED_BYTES: usize = 16 << 20;

/// Answers requests from recordings, and records what the upstream answers, as the [`Mode`] says.
///
/// It is one session: cloning it, or taking a [scope](Self::scoped) of it, shares the engine, the turns and the counts.
///
/// ```
/// use mistral_cassette::{MemoryEngine, Mode, Recorder, Request, Response};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let recorder = Recorder::builder(MemoryEngine::new()).mode(Mode::Replay).build()?;
/// for _ in 0..2 {
///     let request = Request::get("/v1/models")?;
///     let upstream = async |_: Request| Ok(Response::new(http::StatusCode::OK, r#"{"data":[]}"#));
///     let response = recorder.answer(request, upstream).await?;
///     assert_eq!(response.text().await?, r#"{"data":[]}"#);
/// }
/// let summary = recorder.session().verdict()?;
/// assert_eq!((summary.recorded, summary.replayed), (1, 1));
/// # Ok::<(), mistral_cassette::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
    scope: Scope,
    test: Option<Arc<str>>,
}

struct Shared {
    engine: Arc<dyn CacheEngine>,
    mode: Mode,
    settings: Settings,
    redactor: Redactor,
    session: Session,
    flights: Arc<Flights>,
    /// The recordings that are being made: they go on when their caller has left.
    recordings: TaskTracker,
    /// Held while a cassette is changed, so that two answers to one request both get their place.
    keeping: tokio::sync::Mutex<()>,
    remembered: Mutex<Remembered>,
}

/// Parsed documents, each beside the bytes it was parsed from.
#[derive(Default)]
struct Remembered {
    cassettes: HashMap<RequestKey, (Bytes, Arc<Cassette>)>,
    bytes: usize,
}

/// How a [`Recorder`] is made.
pub struct RecorderBuilder {
    engine: Arc<dyn CacheEngine>,
    mode: Option<Mode>,
    settings: Option<Settings>,
    secrets: Vec<String>,
    scope: Scope,
    test: Option<String>,
    save_errors: bool,
    may_record_in_ci: bool,
}

impl RecorderBuilder {
    /// The mode; by default that of [`Mode::from_env`].
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// The settings; by default those that the engine keeps beside its cassettes.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// A secret to redact, beside the value of `MISTRAL_API_KEY` and the key of each request. One of fewer than 8
    /// bytes is taken for a dummy and left alone.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// The scope; by default the root.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// The test that is recorded, for `recorded.test` in its cassettes.
    #[must_use]
    pub fn test(mut self, name: impl Into<String>) -> Self {
        self.test = Some(name.into());
        self
    }

    /// Keeps answers that speak of the day and not of the request (401, 403, 408, 429, 5xx) too.
    #[must_use]
    pub fn save_errors(mut self) -> Self {
        self.save_errors = true;
        self
    }

    /// Allows mode `record` where the variable `CI` is set.
    #[must_use]
    pub fn allow_record_in_ci(mut self) -> Self {
        self.may_record_in_ci = true;
        self
    }

    /// Starts the session.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`]: an unknown mode in `MISTRAL_CASSETTE_MODE`, settings that cannot be read, or mode
    /// `record` in CI.
    pub fn build(self) -> Result<Recorder> {
        let mode = self.mode.map_or_else(Mode::from_env, Ok)?;
        mode.permit(in_ci(), self.may_record_in_ci)?;
        let mut settings = self.settings.map_or_else(|| self.engine.settings(), Ok)?;
        settings.save_errors |= self.save_errors;
        let secrets = self.secrets.into_iter().chain(env::var(KEY_VARIABLE).ok());
        Ok(Recorder {
            shared: Arc::new(Shared {
                redactor: Redactor::new(secrets, &settings.redaction, &settings.headers.keep),
                engine: self.engine,
                mode,
                settings,
                session: Session::default(),
                flights: Arc::default(),
                recordings: TaskTracker::new(),
                keeping: tokio::sync::Mutex::default(),
                remembered: Mutex::default(),
            }),
            scope: self.scope,
            test: self.test.map(Arc::from),
        })
    }
}

impl Recorder {
    /// A recorder that keeps its cassettes in this engine.
    pub fn builder(engine: impl CacheEngine + 'static) -> RecorderBuilder {
        RecorderBuilder {
            engine: Arc::new(engine),
            mode: None,
            settings: None,
            secrets: Vec::new(),
            scope: Scope::root(),
            test: None,
            save_errors: false,
            may_record_in_ci: false,
        }
    }

    /// The same session in another scope.
    #[must_use]
    pub fn scoped(&self, scope: Scope) -> Self {
        Self { scope, ..self.clone() }
    }

    /// The session: turns, counts, verdict.
    pub fn session(&self) -> &Session {
        &self.shared.session
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        self.shared.mode
    }

    /// Waits until every recording under way is on disk, and gives the [verdict](Session::verdict).
    ///
    /// # Errors
    /// As [`Session::verdict`].
    pub async fn finish(&self) -> Result<Summary> {
        self.shared.recordings.close();
        // It takes and waits for new ones all the same.
        self.shared.recordings.wait().await;
        self.session().verdict()
    }

    /// Answers a request: from its cassette, from the upstream, or with the error that says what is missing.
    ///
    /// An answer of the upstream is handed on as it arrives while it is recorded. Its body ends when the recording is
    /// kept, so that whoever has read it to the end can rely on the file; a caller that leaves early does not spoil the
    /// recording. The request is sent as it is; only the copy that is hashed and kept is redacted.
    ///
    /// # Errors
    /// Any kind but [`ErrorKind::Api`]: an error status is an answer.
    pub async fn answer(&self, request: Request, upstream: impl Transport) -> Result<Response> {
        let answered = self.road(request, upstream).await;
        if let Err(error) = &answered {
            // The whole of it goes to the caller and into the verdict.
            tracing::info!("{}", error.message().lines().next().unwrap_or_default());
            self.session().failed(error);
        }
        answered
    }

    async fn road(&self, request: Request, upstream: impl Transport) -> Result<Response> {
        let Shared {
            engine,
            mode,
            settings,
            redactor,
            session,
            flights,
            ..
        } = &*self.shared;
        let redactor = redactor.knowing(request.credentials().chain(upstream.secret()));
        let asked = redactor.request(&request);
        if redactor.text(self.scope.as_str()) != self.scope.as_str() {
            return Err(Error::new(
                ErrorKind::Request,
                "the name of the scope holds a secret, and would be a folder name",
            )
            .with_hint("name the scope after the test"));
        }
        let key = RequestKey::of(&asked, &self.scope, &settings.matching);
        let turn = session.next_turn(&key);
        let plan = mode.plan(upstream.has_key(&request));
        loop {
            if plan.looks_up
                && let Some(cassette) = self.recorded(&key).await?
            {
                return self.replay(&key, &cassette, turn).await;
            }
            match plan.on_miss {
                OnMiss::Fail => {
                    let why = match mode {
                        mode if mode.is_offline() => format!("mode {mode}"),
                        mode => format!("mode {mode} and no API key to ask the upstream with"),
                    };
                    return Err(miss::explain(&**engine, &key, &asked, &settings.matching, &why).await);
                }
                OnMiss::PassOn => {
                    let response = upstream.send(request).await?;
                    session.count(|summary| summary.passed_on += 1);
                    tracing::info!("passed on {}: {}", asked.line(), response.status());
                    return Ok(without_hop_by_hop(response));
                }
                OnMiss::Record => {}
            }
            match flights.board(&key) {
                Boarding::Lead(lead) => {
                    // Another call may have landed between the look-up and the boarding.
                    let landed = if plan.looks_up {
                        self.recorded(&key).await?
                    } else {
                        None
                    };
                    return match landed {
                        Some(cassette) => {
                            drop(lead);
                            self.replay(&key, &cassette, turn).await
                        }
                        None => {
                            let recording = Recording {
                                redactor,
                                asked,
                                key,
                                started: Instant::now(),
                                is_one_ask: !plan.looks_up,
                            };
                            self.record(recording, lead, request, upstream).await
                        }
                    };
                }
                Boarding::Join(join) => {
                    if let Some(answer) = join.answer().await {
                        let response = answer?.response();
                        session.count(|summary| summary.replayed += 1);
                        return Ok(response);
                    }
                }
            }
        }
    }

    /// The cassette of a key, if it is recorded.
    async fn recorded(&self, key: &RequestKey) -> Result<Option<Arc<Cassette>>> {
        let engine = &self.shared.engine;
        let Some(document) = engine.get(key).await? else {
            return Ok(None);
        };
        let remembered = || self.shared.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bytes, cassette)) = remembered().cassettes.get(key)
            && *bytes == document
        {
            return Ok(Some(cassette.clone()));
        }
        let cassette = format::read(&document, &engine.place_of(key))?;
        if cassette.key != key.hash() {
            return Err(Error::new(
                ErrorKind::Cassette,
                format!(
                    "{}: the key in it is {}, and the request that its name stands for has {key}",
                    engine.place_of(key),
                    cassette.key
                ),
            )
            .with_hint("mistral-cassette verify tells whether the file or its name was changed"));
        }
        let cassette = Arc::new(cassette);
        let mut remembered = remembered();
        if remembered.bytes + document.len() > REMEMBERED_BYTES {
            *remembered = Remembered::default();
        }
        remembered.bytes += document.len();
        remembered.cassettes.insert(key.clone(), (document, cassette.clone()));
        Ok(Some(cassette))
    }

    /// The response for the n-th ask of this session (`turn` counts from zero).
    async fn replay(&self, key: &RequestKey, cassette: &Cassette, turn: usize) -> Result<Response> {
        let Shared {
            engine,
            settings,
            session,
            ..
        } = &*self.shared;
        let recorded = cassette.responses.len();
        let at = match settings.exhausted {
            _ if turn < recorded => turn,
            Exhausted::Repeat => recorded - 1,
            Exhausted::Cycle => turn % recorded,
            Exhausted::Fail => {
                return Err(Error::new(
                    ErrorKind::Miss,
                    format!(
                        "not recorded: {} was asked {} times and is recorded {recorded} times, in {} (exhausted: fail)",
                        cassette.request.line(),
                        turn + 1,
                        engine.place_of(key)
                    ),
                )
                .with_hint(
                    "record it again with MISTRAL_CASSETTE_MODE=record, or set exhausted: repeat in settings.yaml",
                ));
            }
        };
        let response = &cassette.responses[at];
        let body = self.bytes_of(&response.body, key).await?;
        session.count(|summary| summary.replayed += 1);
        tracing::info!("replayed {} of {recorded} from {}", at + 1, key.name());
        Ok(
            Response::new(response.status, replayed_body(response, body, settings.pace))
                .headers(replayed_headers(response)),
        )
    }

    async fn bytes_of(&self, blob: &Blob, key: &RequestKey) -> Result<Bytes> {
        let engine = &*self.shared.engine;
        bytes_of(engine, blob, || engine.place_of(key)).await
    }

    /// Asks the upstream, hands its answer on as it arrives, and keeps it when it is whole.
    async fn record(
        &self,
        recording: Recording,
        lead: Lead,
        request: Request,
        upstream: impl Transport,
    ) -> Result<Response> {
        let asked_of_upstream = async {
            self.shared.engine.check_writable().await?;
            if recording.is_one_ask {
                // A damaged cassette must be looked at by a person, not replaced: see it before the upstream is asked.
                // The other modes have looked it up already.
                self.recorded(&recording.key).await?;
            }
            upstream.send(request).await
        };
        let response = match asked_of_upstream.await {
            Ok(response) => without_hop_by_hop(response),
            Err(error) => {
                lead.answer(Err(error.clone()));
                return Err(error);
            }
        };
        let origin = response.answered_by().map(str::to_owned);
        let (status, headers, body) = response.into_parts();
        let answer = Answer {
            status,
            headers,
            tape: Arc::default(),
        };
        lead.answer(Ok(answer.clone()));
        let handed_on = answer.response();
        let recorder = self.clone();
        self.shared
            .recordings
            .spawn(async move { recorder.roll(recording, lead, answer, origin, body).await });
        Ok(handed_on)
    }

    /// Takes the body from the upstream to the tape, and the whole of it to the engine.
    async fn roll(&self, recording: Recording, mut lead: Lead, answer: Answer, origin: Option<String>, body: Body) {
        let mut ending = Ending {
            session: self.session(),
            tape: &answer.tape,
            is_over: false,
        };
        let kept = match self.take_all(&recording, &mut lead, &answer, body).await {
            Ok(timing) => self.keep_if_lasting(recording, &lead, &answer, origin, timing).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &kept {
            self.session().failed(error);
        }
        lead.close();
        ending.is_over = true;
        answer.tape.finish(kept);
    }

    /// Takes the body to the tape; returns when each of its pieces was whole.
    async fn take_all(&self, recording: &Recording, lead: &mut Lead, answer: &Answer, body: Body) -> Result<Vec<u64>> {
        let mut pieces = body.into_stream();
        let mut clock = Clock::new(&answer.headers, recording.started);
        while let Some(piece) = pieces.next().await.transpose()? {
            // A client that has read the last event may ask the same again before the file is written.
            if clock.hear(&piece) && recording.is_one_ask {
                lead.close();
            }
            answer.tape.push(piece);
        }
        Ok(clock.timing())
    }

    async fn keep_if_lasting(
        &self,
        recording: Recording,
        lead: &Lead,
        answer: &Answer,
        origin: Option<String>,
        timing_ms: Vec<u64>,
    ) -> Result<()> {
        if speaks_of_the_day(answer.status) && !self.shared.settings.save_errors {
            self.session().count(|summary| summary.passed_on += 1);
            tracing::info!(
                "not kept, since it speaks of the day: {} for {}",
                answer.status,
                recording.asked.line()
            );
            return Ok(());
        }
        let response = RecordedResponse {
            status: answer.status,
            headers: recording.redactor.headers(&answer.headers),
            body: Blob::Here(recording.redactor.body(&answer.tape.whole())),
            timing_ms,
        };
        let name = recording.key.name();
        let redacted = |text: &str| recording.redactor.text(text).into_owned();
        let recorded = Recorded::now(origin.as_deref().map(redacted), self.test.as_deref().map(redacted));
        self.keep(&recording.key, recording.asked, response, recorded, lead)
            .await?;
        self.session().count(|summary| summary.recorded += 1);
        tracing::info!("recorded {}", name);
        Ok(())
    }

    /// Puts a response in its place in the cassette: behind those of this session, in place of those of an earlier one.
    async fn keep(
        &self,
        key: &RequestKey,
        asked: RecordedRequest,
        new: RecordedResponse,
        recorded: Recorded,
        lead: &Lead,
    ) -> Result<()> {
        let Shared {
            engine,
            settings,
            session,
            ..
        } = &*self.shared;
        let _changing = self.shared.keeping.lock().await;
        let on_file = self.recorded(key).await?;
        let (mut kept, mut responses) = match (session.kept(key), &on_file) {
            (Some(kept), Some(cassette)) => (kept, cassette.responses.clone()),
            (None, Some(cassette)) => (Kept::after(cassette), Vec::new()),
            (_, None) => (Kept::default(), Vec::new()),
        };
        // Asks that shared a call count as asks: the n-th gets the n-th response when they come one by one.
        if let Some(last) = responses.last().cloned() {
            responses.resize(kept.asks.max(responses.len()), last);
        }
        let earlier = kept
            .earlier
            .get(responses.len())
            .filter(|_| !settings.rewrite_unchanged);
        let new = match earlier {
            Some(earlier) if self.says_the_same_as(earlier, &asked, &new, key).await => earlier.clone(),
            _ => {
                kept.earlier_head = None;
                new
            }
        };
        kept.asks += lead.asks();
        // What follows the last response is a failure then, so that each ask needs one of its own.
        let copies = if settings.exhausted == Exhausted::Fail {
            lead.asks()
        } else {
            1
        };
        responses.extend(std::iter::repeat_n(new, copies));
        let (recorded, request) = kept.earlier_head.clone().unwrap_or((recorded, asked));
        let mut cassette = Cassette {
            key: key.hash().to_owned(),
            recorded,
            request,
            responses,
        };
        self.put_large_bodies_aside(&mut cassette).await?;
        if on_file.is_none_or(|on_file| *on_file != cassette) {
            engine.set(key, format::write(&cassette)?).await?;
        }
        if kept.earlier.len() <= cassette.responses.len() {
            // Whatever comes now is new.
            kept.earlier.clear();
            kept.earlier_head = None;
        }
        session.set_kept(key, kept);
        Ok(())
    }

    async fn says_the_same_as(
        &self,
        earlier: &RecordedResponse,
        asked: &RecordedRequest,
        new: &RecordedResponse,
        key: &RequestKey,
    ) -> bool {
        // A large body that is gone is written again.
        let Ok(bytes) = self.bytes_of(&earlier.body, key).await else {
            return false;
        };
        let earlier = RecordedResponse {
            body: Blob::Here(bytes),
            ..earlier.clone()
        };
        says_the_same(asked, &earlier, new)
    }

    async fn put_large_bodies_aside(&self, cassette: &mut Cassette) -> Result<()> {
        for blob in cassette.blobs_mut() {
            if let Blob::Here(bytes) = blob
                && bytes.len() > self.shared.settings.inline_body_bytes
            {
                let sha256 = sha256_hex(bytes);
                if self.shared.engine.set_body(&sha256, bytes).await? {
                    *blob = Blob::Filed { sha256 };
                }
            }
        }
        Ok(())
    }
}

/// What is known of a recording before its answer.
struct Recording {
    redactor: Redactor,
    asked: RecordedRequest,
    key: RequestKey,
    started: Instant,
    /// Whether every ask is a call of its own unless they overlap; otherwise a recording answers all later ones.
    is_one_ask: bool,
}

/// Ends a tape when the task that fills it is dropped with its runtime, or panics: its readers must not wait forever, and
/// the verdict must know.
struct Ending<'a> {
    session: &'a Session,
    tape: &'a Tape,
    is_over: bool,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let error = Error::new(
                ErrorKind::Upstream,
                "the recording was given up before the answer was whole",
            );
            self.session.failed(&error);
            self.tape.finish(Err(error));
        }
    }
}

/// Notes when each event of a stream was whole, or when a plain body was.
struct Clock {
    started: Instant,
    events: Option<Splitter>,
    timing: Vec<u64>,
}

impl Clock {
    fn new(headers: &HeaderMap, started: Instant) -> Self {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Self {
            started,
            events: is_event_stream(kind).then(Splitter::default),
            timing: Vec::new(),
        }
    }

    /// Takes a piece; whether it ends the stream by its own word (`data: [DONE]`).
    fn hear(&mut self, piece: &Bytes) -> bool {
        let Some(splitter) = &mut self.events else { return false };
        let events = splitter.push(piece);
        let now = milliseconds(self.started);
        self.timing.extend(events.iter().map(|_| now));
        events.iter().any(|event| is_done(event))
    }

    fn timing(mut self) -> Vec<u64> {
        if self.events.as_mut().is_none_or(|splitter| splitter.rest().is_some()) {
            self.timing.push(milliseconds(self.started));
        }
        self.timing
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Whether an answer tells of the moment (a key, a limit, an outage) rather than of the request.
fn speaks_of_the_day(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 408 | 429 | 500..)
}

/// The length goes too: a body ends when its recording is kept, not with its last byte.
fn without_hop_by_hop(response: Response) -> Response {
    let mut headers = response.header_map().clone();
    strip_hop_by_hop(&mut headers);
    response.headers(headers)
}

fn replayed_headers(response: &RecordedResponse) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for (name, value) in &response.headers {
        // The format has seen that they are headers.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// A plain body in one piece; a stream event by event, as far apart as the settings say.
fn replayed_body(response: &RecordedResponse, body: Bytes, pace: Pace) -> Body {
    if !response.is_event_stream() {
        return body.into();
    }
    let mut splitter = Splitter::default();
    let mut events = splitter.push(&body);
    events.extend(splitter.rest());
    if pace == Pace::Instant {
        return Body::from_pieces(events);
    }
    let mut last = 0;
    let pauses: Vec<Duration> = response
        .timing_ms
        .iter()
        .map(|at| Duration::from_millis(at.saturating_sub(std::mem::replace(&mut last, *at))))
        .chain(std::iter::repeat(Duration::ZERO))
        .take(events.len())
        .collect();
    Body::from_stream(
        stream::iter(events.into_iter().zip(pauses)).then(|(event, pause)| async move {
            tokio::time::sleep(pause).await;
            Ok(event)
        }),
    )
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("mode", &self.shared.mode)
            .field("scope", &self.scope.as_str())
            .field("summary", &self.session().summary())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RecorderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecorderBuilder")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
