//! The road a request takes: every door calls [`Recorder::answer`], and nothing else decides anything.

mod circuit_breaker;
mod coalesce;
mod document_cache;
mod fault_responses;
mod lock;
mod miss;
mod paced_body;
mod prepared;
mod session;
mod shared_body;
mod usage_log;

use std::env;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::poll_immediate;
use futures_util::{FutureExt as _, StreamExt};
use http::{HeaderMap, StatusCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::circuit_breaker::CircuitBreaker;
pub(crate) use self::circuit_breaker::TIMEOUT as ENGINE_TIMEOUT;
use self::coalesce::{Answer, Boarding, InFlight, Lead};
use self::document_cache::{Document, DocumentCache};
use self::lock::HeldLock;
use self::paced_body::PacedBody;
use self::prepared::{PreparedRequest, RequestCache};
use self::session::Kept;
pub use self::session::{Session, Summary};
use self::shared_body::{Room, SharedBody};
#[cfg(feature = "cli")]
pub(crate) use self::usage_log::Used;
#[cfg(feature = "cli")]
pub(crate) use self::usage_log::{FORMER_USAGE_LOG_VARIABLE, USAGE_LOG_VARIABLE};
pub(crate) use self::usage_log::{UsageLog, Use, usage_log_from_environment};
use crate::cassette::{Blob, Cassette, Recorded, RecordedRequest, RecordedResponse, is_equivalent, yaml};
use crate::engine::{self, CacheEngine, Counts, Lock, read_body};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{
    API_KEY_VARIABLE, Body, Request, Response, Splitter, content_type, is_done, is_event_stream,
    strip_connection_headers,
};
use crate::http::{BackgroundTransport, Transport};
use crate::key::{RequestKey, Scope};
use crate::mode::{Mode, OnMiss, Plan, in_ci};
use crate::redaction::Redactor;
use crate::redaction::secret_scan::{self, Left};
use crate::settings::expiry::Freshness;
use crate::settings::faults::{Fault, Injection};
use crate::settings::pace::Pace;
use crate::settings::playback::Playback;
use crate::settings::{Exhausted, Secrets, Settings};

/// How long the size that an engine has told is taken for its size.
const SIZE_LASTS: Duration = Duration::from_secs(60);

const TALLY_EVERY: Duration = Duration::from_secs(5);

const LOCK_LIFE: Duration = Duration::from_secs(30);

/// How long to wait before a lock that another process holds is asked for again: at first, and at most.
const LOCK_WAITS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

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
    playback: Arc<Playback>,
}

struct Shared {
    engine: Arc<dyn CacheEngine>,
    mode: Mode,
    /// RequestCache from the start, or from the engine before the first request.
    agreed: tokio::sync::OnceCell<Arc<EffectiveSettings>>,
    secrets: Vec<String>,
    save_errors: bool,
    allow_secrets: bool,
    lock_ttl: Duration,
    session: Session,
    ledger: Option<UsageLog>,
    flights: Arc<InFlight>,
    /// The recordings that are being made: they go on when their caller has left.
    recordings: TaskTracker,
    /// Ends the pauses of what is replayed.
    delays_skipped: CancellationToken,
    /// Held while a cassette is changed, so that two answers to one request both get their place.
    keeping: tokio::sync::Mutex<()>,
    known: RequestCache,
    remembered: DocumentCache,
    /// How many bytes the engine keeps, and when it said so; only asked for where that is limited.
    size: tokio::sync::Mutex<Option<(Instant, u64)>>,
    tally: Mutex<Tally>,
}

/// What the settings say.
struct EffectiveSettings {
    settings: Settings,
    redactor: Redactor,
}

impl EffectiveSettings {
    fn new(mut settings: Settings, save_errors: bool, allow_secrets: bool, secrets: &[String]) -> Arc<Self> {
        settings.save_errors |= save_errors;
        if allow_secrets {
            settings.secrets = Secrets::Allow;
        }
        Arc::new(Self {
            redactor: Redactor::new(secrets.iter().cloned(), &settings.redaction, &settings.headers.keep),
            settings,
        })
    }
}

/// How a [`Recorder`] is made.
pub struct RecorderBuilder {
    engine: Arc<dyn CacheEngine>,
    mode: Option<Mode>,
    settings: Option<Settings>,
    secrets: Vec<String>,
    scope: Scope,
    test: Option<String>,
    playback: Playback,
    save_errors: bool,
    allow_secrets: bool,
    may_record_in_ci: bool,
    engine_timeout: Duration,
    lock_ttl: Duration,
    ledger: Option<PathBuf>,
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

    /// How answers that are replayed are handed on: their pace, their pieces, and faults to test the program with.
    #[must_use]
    pub fn playback(mut self, playback: Playback) -> Self {
        self.playback = playback;
        self
    }

    /// Keeps answers that speak of the day and not of the request (401, 403, 408, 429, 5xx) too.
    #[must_use]
    pub fn save_errors(mut self) -> Self {
        self.save_errors = true;
        self
    }

    /// Keeps answers in which a secret is left after redaction, as [`Secrets::Allow`] does in the settings.
    #[must_use]
    pub fn allow_secrets(mut self) -> Self {
        self.allow_secrets = true;
        self
    }

    /// Allows mode `record` where the variable `CI` is set.
    #[must_use]
    pub fn allow_record_in_ci(mut self) -> Self {
        self.may_record_in_ci = true;
        self
    }

    /// How long a call to a cache (any engine but a directory) may take: 5 seconds by default. When it takes longer or
    /// fails, mode `replay` answers from the upstream and keeps nothing, `strict` fails; after three failures in a row the
    /// engine is left alone for 5 seconds, so that requests do not wait for it.
    #[must_use]
    pub fn engine_timeout(mut self, limit: Duration) -> Self {
        self.engine_timeout = limit;
        self
    }

    /// How long the lock of a process that died keeps the others from asking the upstream for the same: 30 seconds by
    /// default. One that is alive renews it.
    #[must_use]
    pub fn lock_ttl(mut self, life: Duration) -> Self {
        self.lock_ttl = life;
        self
    }

    /// The file to which the session adds a line for each cassette that it uses, beside those of other sessions and
    /// processes; by default the one that `MISTRAL_CASSETTE_USAGE_LOG` names. `mistral-cassette prune` reads it.
    #[must_use]
    pub fn ledger(mut self, file: impl Into<PathBuf>) -> Self {
        self.ledger = Some(file.into());
        self
    }

    /// Starts the session.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`]: an unknown mode in `MISTRAL_CASSETTE_MODE`, settings that cannot be read, mode `record` in
    /// CI, or a ledger that cannot be written.
    pub fn build(self) -> Result<Recorder> {
        let mode = self.mode.map_or_else(Mode::from_env, Ok)?;
        mode.permit(in_ci(), self.may_record_in_ci)?;
        let secrets: Vec<String> = self
            .secrets
            .into_iter()
            .chain(env::var(API_KEY_VARIABLE).ok())
            .collect();
        let known = match self.settings {
            Some(settings) => Some(settings),
            None if self.engine.extensions().is_committed() => Some(self.engine.extensions().settings()?),
            // A store may hold settings: it is asked before the first request.
            None => None,
        };
        let ledger = match self.ledger.or_else(usage_log_from_environment) {
            Some(path) => Some(UsageLog::open(&path, self.engine.extensions().directory())?),
            None => None,
        };
        let agreed =
            known.map(|settings| EffectiveSettings::new(settings, self.save_errors, self.allow_secrets, &secrets));
        let (engine, session): (Arc<dyn CacheEngine>, _) = if self.engine.extensions().is_committed() {
            (self.engine, Session::default())
        } else {
            (
                Arc::new(CircuitBreaker::new(self.engine, self.engine_timeout)),
                Session::for_cache(),
            )
        };
        Ok(Recorder {
            shared: Arc::new(Shared {
                engine,
                mode,
                agreed: tokio::sync::OnceCell::new_with(agreed),
                secrets,
                save_errors: self.save_errors,
                allow_secrets: self.allow_secrets,
                lock_ttl: self.lock_ttl,
                session,
                ledger,
                flights: Arc::default(),
                recordings: TaskTracker::new(),
                delays_skipped: CancellationToken::new(),
                keeping: tokio::sync::Mutex::default(),
                known: RequestCache::default(),
                remembered: DocumentCache::default(),
                size: tokio::sync::Mutex::default(),
                tally: Mutex::new(Tally {
                    counts: Counts::default(),
                    since: Instant::now(),
                }),
            }),
            scope: self.scope,
            test: self.test.map(Arc::from),
            playback: Arc::new(self.playback),
        })
    }
}

impl Recorder {
    /// A recorder that keeps its cassettes in this engine.
    pub fn builder(engine: impl CacheEngine + 'static) -> RecorderBuilder {
        Self::builder_on(Arc::new(engine))
    }

    /// As [`builder`](Self::builder), of an engine that is shared already.
    pub(crate) fn builder_on(engine: Arc<dyn CacheEngine>) -> RecorderBuilder {
        RecorderBuilder {
            engine,
            mode: None,
            settings: None,
            secrets: Vec::new(),
            scope: Scope::root(),
            test: None,
            playback: Playback::new(),
            save_errors: false,
            allow_secrets: false,
            may_record_in_ci: false,
            engine_timeout: ENGINE_TIMEOUT,
            lock_ttl: LOCK_LIFE,
            ledger: None,
        }
    }

    /// The same session in another scope.
    #[must_use]
    pub fn scoped(&self, scope: Scope) -> Self {
        Self { scope, ..self.clone() }
    }

    /// The same session, whose answers are handed on in this way when they are replayed.
    #[must_use]
    pub fn with_playback(&self, playback: Playback) -> Self {
        Self {
            playback: Arc::new(playback),
            ..self.clone()
        }
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
        let due = self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).take();
        count(&*self.shared.engine, due).await;
        self.session().verdict()
    }

    /// Ends all pauses of what is replayed, for who does not want to wait any more.
    #[cfg(feature = "proxy")]
    pub(crate) fn skip_delays(&self) {
        self.shared.delays_skipped.cancel();
    }

    /// Answers a request: from its cassette, from the upstream, or with the error that says what is missing.
    ///
    /// An answer of the upstream is handed on as it arrives while it is recorded, or, when it is there as a whole and is no
    /// stream of events, as soon as it is kept. Its body ends when the recording is kept, so that whoever has read it to
    /// the end can rely on the file; a caller that leaves early does not spoil the recording. The request is sent as it is;
    /// only the copy that is hashed and kept is redacted.
    ///
    /// # Errors
    /// Any kind but [`ErrorKind::Api`]: an error status is an answer.
    pub async fn answer(&self, request: Request, upstream: impl Transport) -> Result<Response> {
        let answered = self.road(request, upstream).await;
        if let Err(error) = &answered {
            // The whole of it goes to the caller and into the verdict.
            tracing::info!("{}", error.message().lines().next().unwrap_or_default());
            if !error.is_injected() {
                self.session().failed(error);
            }
        }
        answered
    }

    /// The key that a request has here: by the settings, in this scope, without the secrets that the recorder knows and those
    /// that the request itself brings.
    ///
    /// # Errors
    /// [`ErrorKind::Engine`] or [`ErrorKind::Settings`] when the settings cannot be had, [`ErrorKind::Request`] when the
    /// scope's name holds a secret.
    pub async fn key_of(&self, request: &Request) -> Result<RequestKey> {
        let agreed = self.agreed().await?;
        let asked = self
            .shared
            .known
            .asked(&agreed, &self.scope, request, request.credentials())?;
        Ok(asked.key.clone())
    }

    async fn road(&self, mut request: Request, upstream: impl Transport) -> Result<Response> {
        let Shared { mode, session, .. } = &*self.shared;
        let playback = match self.playback.take_headers(request.header_map_mut())? {
            Some(asked_for) => Arc::new(asked_for),
            None => self.playback.clone(),
        };
        let plan = mode.plan(upstream.has_key(&request));
        let agreed = match self.agreed().await {
            Ok(agreed) => agreed,
            Err(error) => return Box::pin(self.without_engine(error, plan, request, upstream)).await,
        };
        let secrets = request.credentials().chain(upstream.secret());
        let asked = self.shared.known.asked(&agreed, &self.scope, &request, secrets)?;
        let key = &asked.key;
        let (fate, turn) = session.next_ask(key, |ask| playback.injection(key.hash(), ask));
        let mut recording = Recording {
            agreed,
            asked,
            playback,
            fate,
            started: Instant::now(),
            is_one_ask: !plan.looks_up,
            is_damaged: false,
            old: None,
            hold: None,
        };
        if plan.looks_up {
            match self.usable(&mut recording, plan).await {
                Ok(Some((cassette, Freshness::Stale))) => match upstream.again() {
                    Some(again) => {
                        self.ask_in_the_background(&recording, &cassette, request, again);
                        return self.replay(&recording, &cassette, turn).await;
                    }
                    // Who cannot ask in the background asks now.
                    None => recording.old = Some(cassette),
                },
                Ok(Some((cassette, _))) => {
                    return self
                        .replay_or_ask(&recording, &cassette, turn, plan, request, upstream)
                        .await;
                }
                Ok(None) => {}
                Err(error) => return Box::pin(self.without_engine(error, plan, request, upstream)).await,
            }
        }
        // Boxed, as all that a replay does not need: its future stays small.
        Box::pin(self.ask(recording, turn, plan, request, upstream)).await
    }

    /// Answers what cannot be replayed, in the way of the mode. It has no turn yet when a fault was to take the place of its
    /// answer.
    async fn ask(
        &self,
        mut recording: Recording,
        turn: Option<usize>,
        plan: Plan,
        request: Request,
        upstream: impl Transport,
    ) -> Result<Response> {
        let Shared {
            engine,
            mode,
            session,
            flights,
            ..
        } = &*self.shared;
        // What is not replayed is left alone.
        recording.fate = Injection::default();
        let turn = turn.unwrap_or_else(|| session.next_turn(&recording.asked.key));
        match plan.on_miss {
            OnMiss::Fail => {
                let why = match mode {
                    mode if mode.is_offline() => format!("mode {mode}"),
                    mode => format!("mode {mode} and no API key to ask the upstream with"),
                };
                let Recording { asked, agreed, .. } = &recording;
                let PreparedRequest { request, key, .. } = &**asked;
                self.counted(|counts| counts.misses += 1);
                self.noted(key, Use::Missed);
                return Err(miss::explain(&**engine, key, request, &agreed.settings.matching, &why).await);
            }
            OnMiss::PassOn => {
                let response = upstream.send(request).await?;
                session.count(|summary| summary.passed_on += 1);
                tracing::info!("passed on {}: {}", recording.asked.request.line(), response.status());
                return Ok(without_hop_by_hop(response));
            }
            OnMiss::Record => {}
        }
        let lead = loop {
            match flights.board(&recording.asked.key) {
                Boarding::Lead(lead) => break lead,
                Boarding::Join(join) => {
                    if let Some(answer) = join.answer().await {
                        let response = answer?.response();
                        session.count(|summary| summary.replayed += 1);
                        self.counted(|counts| counts.hits += 1);
                        return Ok(response);
                    }
                    // Who led has found it recorded, or has given up.
                    if plan.looks_up {
                        match self.usable(&mut recording, plan).await {
                            Ok(Some((cassette, Freshness::Fresh))) => {
                                let turn = Some(turn);
                                return self
                                    .replay_or_ask(&recording, &cassette, turn, plan, request, upstream)
                                    .await;
                            }
                            Ok(_) => {}
                            Err(error) => return self.without_engine(error, plan, request, upstream).await,
                        }
                    }
                }
            }
        };
        if !plan.looks_up {
            return self.record(recording, lead, request, upstream).await;
        }
        // Another call may have landed between the look-up and the boarding, or in another process while this one waited for
        // its lock.
        match self.hold(&mut recording, plan).await {
            Ok(Some(cassette)) => {
                drop(lead);
                self.replay_or_ask(&recording, &cassette, Some(turn), plan, request, upstream)
                    .await
            }
            Ok(None) => {
                self.counted(|counts| counts.misses += 1);
                self.record(recording, lead, request, upstream).await
            }
            Err(error) => {
                drop(lead);
                self.without_engine(error, plan, request, upstream).await
            }
        }
    }

    /// The settings, which a store is asked for once.
    async fn agreed(&self) -> Result<Arc<EffectiveSettings>> {
        let Shared {
            engine,
            agreed,
            save_errors,
            allow_secrets,
            secrets,
            ..
        } = &*self.shared;
        let agreed = agreed.get_or_try_init(|| async {
            let settings = match engine.extensions().get_settings().await? {
                Some(document) => Settings::from_yaml(&document, "the settings in the engine")?,
                None => engine.extensions().settings()?,
            };
            Ok::<_, Error>(EffectiveSettings::new(settings, *save_errors, *allow_secrets, secrets))
        });
        agreed.await.cloned()
    }

    /// What is recorded and may be used; what is too old is remembered, to be compared with the new answer.
    async fn usable(&self, recording: &mut Recording, plan: Plan) -> Result<Option<(Arc<Document>, Freshness)>> {
        let found = match self.recorded(&recording.asked.key).await {
            // An entry of a cache that cannot be read is asked for again and written over. A file that is committed
            // must be looked at by a person.
            Err(error) if error.kind() == ErrorKind::Cassette && self.may_do_without(&error, plan) => {
                tracing::warn!("a recording cannot be used and is asked for again: {error}");
                recording.is_damaged = true;
                return Ok(None);
            }
            found => found?,
        };
        let Some(cassette) = found else { return Ok(None) };
        // Where nothing can be asked, an old recording is better than none.
        if plan.on_miss == OnMiss::Fail {
            return Ok(Some((cassette, Freshness::Fresh)));
        }
        let endpoint = recording.asked.key.endpoint();
        let expiry = &recording.agreed.settings.expiry;
        match expiry.freshness(endpoint, cassette.history.as_ref(), cassette.recorded.age()) {
            Freshness::Expired => {
                recording.old = Some(cassette);
                Ok(None)
            }
            age => Ok(Some((cassette, age))),
        }
    }

    /// Takes the right to ask the upstream, among all processes; what another one has recorded meanwhile is returned.
    async fn hold(&self, recording: &mut Recording, plan: Plan) -> Result<Option<Arc<Document>>> {
        let (mut wait, longest) = LOCK_WAITS;
        let is_stale = recording.old.is_some();
        loop {
            let may_ask = self.lock(recording).await;
            match self.usable(recording, plan).await? {
                Some((_, Freshness::Stale)) if is_stale => {}
                Some((cassette, _)) => {
                    recording.hold = None;
                    return Ok(Some(cassette));
                }
                None => {}
            }
            if may_ask {
                return Ok(None);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(longest);
        }
    }

    /// Takes the right to ask the upstream, unless another process has it; whether this one may ask.
    async fn lock(&self, recording: &mut Recording) -> bool {
        let Shared {
            engine,
            recordings,
            lock_ttl,
            ..
        } = &*self.shared;
        match engine.extensions().lock(&recording.asked.key, *lock_ttl).await {
            Ok(Lock::Held) => return false,
            Ok(Lock::Acquired(lease)) => recording.hold = Some(HeldLock::new(lease, *lock_ttl, recordings)),
            Ok(Lock::Unsupported) => {}
            // Without it there may be a call too many; that is no reason to fail.
            Err(error) => tracing::debug!("there is no lock: {error}"),
        }
        true
    }

    /// Whether a request can be answered although the engine, or what it keeps, is of no use: only from a cache, and only
    /// where the upstream may be asked.
    fn may_do_without(&self, error: &Error, plan: Plan) -> bool {
        !self.shared.engine.extensions().is_committed()
            && plan.looks_up
            && plan.on_miss == OnMiss::Record
            && matches!(error.kind(), ErrorKind::Engine | ErrorKind::Cassette)
    }

    /// Answers from the upstream and keeps nothing, where that is allowed.
    async fn without_engine(
        &self,
        error: Error,
        plan: Plan,
        request: Request,
        upstream: impl Transport,
    ) -> Result<Response> {
        if !self.may_do_without(&error, plan) {
            return Err(error);
        }
        self.session().warn_once(&error);
        let response = upstream.send(request).await?;
        self.session().count(|summary| summary.skipped += 1);
        Ok(without_hop_by_hop(response))
    }

    /// Asks the upstream for what is stale, for those who come later. Somebody else may be doing it already.
    fn ask_in_the_background(
        &self,
        recording: &Recording,
        old: &Arc<Document>,
        request: Request,
        again: BackgroundTransport,
    ) {
        let (recorder, plan) = (self.clone(), self.shared.mode.plan(true));
        let mut recording = Recording {
            agreed: recording.agreed.clone(),
            asked: recording.asked.clone(),
            playback: recording.playback.clone(),
            fate: Injection::default(),
            started: Instant::now(),
            is_one_ask: false,
            is_damaged: false,
            old: Some(old.clone()),
            hold: None,
        };
        let Boarding::Lead(lead) = self.shared.flights.board(&recording.asked.key) else {
            return;
        };
        self.shared.recordings.spawn(async move {
            if !recorder.lock(&mut recording).await {
                return;
            }
            if matches!(
                recorder.usable(&mut recording, plan).await,
                Ok(Some((_, Freshness::Fresh)))
            ) {
                return;
            }
            if let Err(error) = recorder.record(recording, lead, request, again).await {
                tracing::warn!("what is stale could not be asked for again: {error}");
            }
        });
    }

    /// The cassette of a key, if it is recorded.
    async fn recorded(&self, key: &RequestKey) -> Result<Option<Arc<Document>>> {
        let engine = &self.shared.engine;
        let Some(document) = engine.get(key).await? else {
            return Ok(None);
        };
        let remembered = &self.shared.remembered;
        if let Some(known) = remembered.get(key, &document) {
            return Ok(Some(known));
        }
        let cassette = yaml::read(&document, &engine.location_of(key))?;
        key.check(&cassette, || engine.location_of(key))?;
        let parsed = Arc::new(Document::new(cassette));
        remembered.put(key, document, parsed.clone());
        Ok(Some(parsed))
    }

    /// The response for the n-th ask of this session (`turn` counts from zero), or the fault that is to take its place.
    async fn replay(&self, recording: &Recording, cassette: &Document, turn: Option<usize>) -> Result<Response> {
        let Shared {
            session,
            delays_skipped,
            ..
        } = &*self.shared;
        let (key, playback) = (&recording.asked.key, &recording.playback);
        let Injection { delay, mut fault } = recording.fate;
        if !delay.is_zero() {
            session.count(|summary| summary.delayed += 1);
            Box::pin(delays_skipped.run_until_cancelled(tokio::time::sleep(delay))).await;
        }
        match fault {
            Some(Fault::Status(status)) => {
                self.injected(recording, Fault::Status(status));
                return Ok(fault_responses::error_response(status));
            }
            Some(Fault::Reset) => {
                self.injected(recording, Fault::Reset);
                return Err(fault_responses::connection_error(Fault::Reset));
            }
            _ => {}
        }
        let mut at = self.place_of(turn.unwrap_or_else(|| session.turns_taken(key)), recording, cassette)?;
        let mut body = self.read_body(&cassette.responses[at].body, key).await?;
        if fault.is_some() && body.is_empty() {
            // There is nothing to break.
            fault = None;
            at = self.place_of(session.next_turn(key), recording, cassette)?;
            body = self.read_body(&cassette.responses[at].body, key).await?;
        }
        let response = &cassette.responses[at];
        let handed_on = cassette.handed_on(at, &body);
        let mut headers = handed_on.headers.clone();
        match fault {
            Some(fault) => {
                self.injected(recording, fault);
                fault_responses::name_fault(&mut headers, fault);
                if fault == Fault::Malformed {
                    body = fault_responses::malformed(&body, response.is_event_stream());
                }
            }
            None => self.replayed(recording, cassette, at, handed_on.tokens),
        }
        let pace = playback.pace_or(recording.agreed.settings.pace);
        let is_cut = fault == Some(Fault::Cut) || !playback.fragment_lengths().is_empty();
        if pace == Pace::Instant && !is_cut && !response.is_event_stream() {
            return Ok(Response::new(response.status, body).headers(headers));
        }
        let mut reel =
            PacedBody::new(response, body, pace, delays_skipped.clone()).in_pieces_of(playback.fragment_lengths());
        if fault == Some(Fault::Cut) {
            reel = reel.breaking_off(fault_responses::connection_error(Fault::Cut));
        }
        Ok(Box::pin(reel.hand_on(response.status, headers)).await)
    }

    /// As [`replay`](Self::replay); the upstream answers where a cache fails, and that is allowed.
    async fn replay_or_ask(
        &self,
        recording: &Recording,
        cassette: &Document,
        turn: Option<usize>,
        plan: Plan,
        request: Request,
        upstream: impl Transport,
    ) -> Result<Response> {
        match self.replay(recording, cassette, turn).await {
            Err(error) => Box::pin(self.without_engine(error, plan, request, upstream)).await,
            replayed => replayed,
        }
    }

    /// Which response the n-th ask gets.
    fn place_of(&self, turn: usize, recording: &Recording, cassette: &Cassette) -> Result<usize> {
        let recorded = cassette.responses.len();
        match recording.agreed.settings.exhausted {
            _ if turn < recorded => Ok(turn),
            Exhausted::Repeat => Ok(recorded - 1),
            Exhausted::Cycle => Ok(turn % recorded),
            Exhausted::Fail => Err(Error::new(
                ErrorKind::Miss,
                format!(
                    "not recorded: {} was asked {} times and is recorded {recorded} times, in {} (exhausted: fail)",
                    cassette.request.line(),
                    turn + 1,
                    self.shared.engine.location_of(&recording.asked.key)
                ),
            )
            .with_hint("record it again with MISTRAL_CASSETTE_MODE=record, or set exhausted: repeat in settings.yaml")),
        }
    }

    fn replayed(&self, recording: &Recording, cassette: &Cassette, at: usize, tokens: u64) {
        let response = &cassette.responses[at];
        let milliseconds = response.timing_ms.last().copied().unwrap_or_default();
        self.session().count(|summary| {
            summary.replayed += 1;
            summary.tokens_saved += tokens;
            summary.milliseconds_saved += milliseconds;
        });
        self.counted(|counts| {
            counts.hits += 1;
            counts.tokens_saved += tokens;
            counts.milliseconds_saved += milliseconds;
        });
        self.noted(&recording.asked.key, Use::Replayed);
        tracing::info!(
            "replayed {} of {} from {}",
            at + 1,
            cassette.responses.len(),
            recording.asked.key.name()
        );
    }

    fn injected(&self, recording: &Recording, fault: Fault) {
        self.session().count(|summary| summary.injected += 1);
        self.noted(&recording.asked.key, Use::Replayed);
        tracing::info!("injected {fault} in place of {}", recording.asked.key.name());
    }

    async fn read_body(&self, blob: &Blob, key: &RequestKey) -> Result<Bytes> {
        let engine = &*self.shared.engine;
        read_body(engine, blob, || engine.location_of(key)).await
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
            // A cache that takes nothing is no reason not to answer.
            if recording.is_one_ask || self.shared.engine.extensions().is_committed() {
                self.shared.engine.extensions().check_writable().await?;
            }
            if recording.is_one_ask {
                // A damaged cassette must be looked at by a person, not replaced: see it before the upstream is asked.
                // The other modes have looked it up already.
                self.recorded(&recording.asked.key).await?;
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
        let is_of_events = is_event_stream(content_type(handed_on.header_map()));
        let recorder = self.clone();
        let rolling = async move { recorder.roll(recording, lead, answer, origin, body).await };
        // A panic is told by what `Ending` leaves behind, here as in a task.
        let rolling = AssertUnwindSafe(self.shared.recordings.track_future(rolling)).catch_unwind();
        let mut rolling = Box::pin(rolling);
        // What is whole already is kept at once, which takes less time than a hop to another task. Events are handed on first.
        if is_of_events || poll_immediate(&mut rolling).await.is_none() {
            tokio::spawn(rolling);
        }
        Ok(handed_on)
    }

    /// Takes the body from the upstream to the tape, and the whole of it to the engine.
    async fn roll(&self, recording: Recording, mut lead: Lead, answer: Answer, origin: Option<String>, body: Body) {
        let is_one_ask = recording.is_one_ask;
        let mut ending = Ending {
            session: self.session(),
            tape: &answer.tape,
            is_over: false,
        };
        let kept = match self.take_all(&recording, &mut lead, &answer, body).await {
            Ok(Some(timing)) => self.keep_if_lasting(recording, &lead, &answer, origin, timing).await,
            Ok(None) => {
                self.skip(&recording.asked.key.name());
                Ok(())
            }
            Err(error) => Err(error),
        };
        // A cache that cannot keep an answer does not spoil it.
        let kept = match kept {
            Err(error)
                if error.kind() == ErrorKind::Engine
                    && !self.shared.engine.extensions().is_committed()
                    && !is_one_ask =>
            {
                self.session().warn_once(&error);
                self.session().count(|summary| summary.skipped += 1);
                Ok(())
            }
            kept => kept,
        };
        if let Err(error) = &kept {
            self.session().failed(error);
        }
        lead.close();
        ending.is_over = true;
        answer.tape.finish(kept);
    }

    /// Takes the body to the tape; returns when each of its pieces was whole, or `None` when it is too large to be kept.
    async fn take_all(
        &self,
        recording: &Recording,
        lead: &mut Lead,
        answer: &Answer,
        body: Body,
    ) -> Result<Option<Vec<u64>>> {
        let limits = &recording.agreed.settings.limits;
        let most = usize::try_from(limits.max_response_bytes()).unwrap_or(usize::MAX);
        let mut pieces = body.into_stream();
        let mut clock = Clock::new(&answer.headers, recording.started);
        let mut room = Room::Enough;
        while let Some(piece) = pieces.next().await.transpose()? {
            // A client that has read the last event may ask the same again before the file is written.
            if clock.hear(&piece) && recording.is_one_ask {
                lead.close();
            }
            room = answer.tape.push(piece, most).await;
            match room {
                Room::Enough => {}
                Room::TooLarge => {
                    // Who joined now would miss its beginning.
                    lead.close();
                    clock.stop();
                }
                // It may have no end.
                Room::TooLargeForNobody => break,
            }
        }
        Ok((room == Room::Enough).then(|| clock.timing()))
    }

    /// Counts an answer that is larger than the limits allow.
    fn skip(&self, name: &str) {
        self.session().count(|summary| summary.skipped += 1);
        tracing::warn!("not kept, since it would be larger than limits allows: {name}");
    }

    async fn keep_if_lasting(
        &self,
        recording: Recording,
        lead: &Lead,
        answer: &Answer,
        origin: Option<String>,
        timing_ms: Vec<u64>,
    ) -> Result<()> {
        if is_transient(answer.status) && !recording.agreed.settings.save_errors {
            self.session().count(|summary| summary.passed_on += 1);
            self.session()
                .warn_transient(answer.status, &recording.asked.request.line());
            return Ok(());
        }
        let response = RecordedResponse {
            status: answer.status,
            headers: recording.asked.redactor.headers(&answer.headers),
            body: Blob::Inline(recording.asked.redactor.body(&answer.tape.whole())),
            timing_ms,
        };
        if let Err(error) = self.without_secrets(&recording, &response) {
            // The caller has done no wrong: its answer ends well, and the verdict says what was not kept.
            self.session().failed(&error);
            tracing::warn!("{}", error.message());
            return Ok(());
        }
        let (key, name) = (recording.asked.key.clone(), recording.asked.key.name());
        let redacted = |text: &str| recording.asked.redactor.text(text).into_owned();
        let recorded = Recorded::now(origin.as_deref().map(redacted), self.test.as_deref().map(redacted));
        if self.keep(recording, response, recorded, lead).await? {
            self.session().count(|summary| summary.recorded += 1);
            self.noted(&key, Use::Recorded);
            tracing::info!("recorded {name}");
        } else {
            self.skip(&name);
        }
        Ok(())
    }

    /// Refuses what redaction has left a secret in, or warns of it, as the settings say.
    fn without_secrets(&self, recording: &Recording, response: &RecordedResponse) -> Result<()> {
        let policy = recording.agreed.settings.secrets;
        // Its query may be where the secret is.
        let line = format_args!("{} {}", recording.asked.request.method, recording.asked.key.endpoint());
        let (why, hint) = match secret_scan::left_in(&recording.asked.request, response, policy) {
            None => return Ok(()),
            Some(Left::Secrets(told)) => (
                format!("a secret would be in the recording: {line}: {told}"),
                secret_scan::HINT,
            ),
            Some(Left::Coded(coding)) => (
                format!("no secret can be seen in an answer in the coding {coding}: {line}"),
                secret_scan::CODED_HINT,
            ),
        };
        if policy == Secrets::Warn {
            tracing::warn!("kept, although {why}");
            return Ok(());
        }
        Err(Error::new(ErrorKind::Cassette, format!("not kept, since {why}")).with_hint(hint))
    }

    /// Puts a response in its place in the cassette: behind those of this session, in place of those of an earlier one.
    /// Whether there was room for it.
    async fn keep(&self, recording: Recording, new: RecordedResponse, recorded: Recorded, lead: &Lead) -> Result<bool> {
        let Shared { engine, session, .. } = &*self.shared;
        let Recording {
            agreed,
            asked,
            old,
            is_damaged,
            hold: _hold,
            ..
        } = recording;
        let PreparedRequest { request, key, .. } = &*asked;
        let settings = &agreed.settings;
        let _changing = self.shared.keeping.lock().await;
        let on_file = if is_damaged { None } else { self.recorded(key).await? };
        // What was too old begins anew.
        let asks = old.is_some().then(|| session.begin_again(key, lead.asks()));
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
        let is_same = match earlier {
            Some(earlier) => self.says_the_same_as(earlier, request, &new, key).await,
            None => false,
        };
        let new = match earlier {
            Some(earlier) if is_same => earlier.clone(),
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
        // Where recordings end, the new one begins now although it says the same.
        let head = kept.earlier_head.clone().filter(|_| !settings.expiry.is_set());
        let (recorded, request) = head.unwrap_or_else(|| (recorded, request.clone()));
        let history = match (&settings.expiry.adaptive, &old, asks) {
            (Some(_), Some(old), Some(asks)) => {
                let history = old.history.unwrap_or_default();
                Some(history.checked(old.recorded.age(), asks, !is_same))
            }
            _ => on_file.as_ref().and_then(|on_file| on_file.history),
        };
        let mut cassette = Cassette {
            key: key.hash().to_owned(),
            recorded,
            history,
            request,
            responses,
        };
        if !self.is_room_for(&mut cassette, settings).await {
            return Ok(false);
        }
        engine::write_cassette(
            &**engine,
            key,
            &mut cassette,
            on_file.as_ref().map(|on_file| &on_file.cassette),
            settings,
        )
        .await?;
        if kept.earlier.len() <= cassette.responses.len() {
            // Whatever comes now is new.
            kept.earlier.clear();
            kept.earlier_head = None;
        }
        session.set_kept(key, kept);
        Ok(true)
    }

    /// Whether the limits allow this cassette.
    async fn is_room_for(&self, cassette: &mut Cassette, settings: &Settings) -> bool {
        let limits = &settings.limits;
        if limits.entry_bytes.is_none() && limits.total_bytes.is_none() {
            return true;
        }
        let bodies = cassette.bodies_mut();
        let bytes: u64 = bodies.iter().map(|blob| blob.len() as u64).sum();
        if limits.entry_bytes.is_some_and(|most| bytes > most) {
            return false;
        }
        let Some(most) = limits.total_bytes else { return true };
        let mut known = self.shared.size.lock().await;
        let is_old = |(at, _): &(Instant, u64)| at.elapsed() > SIZE_LASTS;
        if known.as_ref().is_none_or(is_old)
            && let Ok(Some(size)) = self.shared.engine.extensions().size().await
        {
            *known = Some((Instant::now(), size.bytes));
        }
        match &mut *known {
            Some((_, total)) if *total + bytes > most => false,
            Some((_, total)) => {
                *total += bytes;
                true
            }
            // The engine cannot tell.
            None => true,
        }
    }

    /// Adds to the counts of all processes; they are handed to the engine every few seconds.
    fn counted(&self, what: impl FnOnce(&mut Counts)) {
        if self.shared.engine.extensions().is_committed() {
            return;
        }
        let due = {
            let mut tally = self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
            what(&mut tally.counts);
            if tally.since.elapsed() < TALLY_EVERY {
                return;
            }
            tally.take()
        };
        let engine = self.shared.engine.clone();
        self.shared.recordings.spawn(async move { count(&*engine, due).await });
    }

    /// Writes into the ledger what became of a cassette. One that lacks a line would have prune delete what is used.
    fn noted(&self, key: &RequestKey, what: Use) {
        if let Some(ledger) = &self.shared.ledger
            && let Err(error) = ledger.used(key, what, self.test.as_deref())
        {
            self.session().failed(&error);
        }
    }

    async fn says_the_same_as(
        &self,
        earlier: &RecordedResponse,
        asked: &RecordedRequest,
        new: &RecordedResponse,
        key: &RequestKey,
    ) -> bool {
        // A large body that is gone is written again.
        let Ok(bytes) = self.read_body(&earlier.body, key).await else {
            return false;
        };
        let earlier = RecordedResponse {
            body: Blob::Inline(bytes),
            ..earlier.clone()
        };
        is_equivalent(asked, &earlier, new)
    }
}

/// What is known of a recording before its answer.
struct Recording {
    agreed: Arc<EffectiveSettings>,
    asked: Arc<PreparedRequest>,
    playback: Arc<Playback>,
    /// What becomes of the answer when it is replayed.
    fate: Injection,
    started: Instant,
    /// Whether every ask is a call of its own unless they overlap, which nothing does with an answer that is there at once;
    /// otherwise a recording answers all later ones.
    is_one_ask: bool,
    /// Whether what is kept cannot be read and may be written over.
    is_damaged: bool,
    /// What is kept and is too old.
    old: Option<Arc<Document>>,
    /// The right to ask, among all processes.
    hold: Option<HeldLock>,
}

/// Counts that the engine does not have yet.
struct Tally {
    counts: Counts,
    since: Instant,
}

impl Tally {
    fn take(&mut self) -> Counts {
        self.since = Instant::now();
        std::mem::take(&mut self.counts)
    }
}

/// Counts are not worth a failure.
async fn count(engine: &dyn CacheEngine, counts: Counts) {
    if counts == Counts::default() {
        return;
    }
    if let Err(error) = engine.extensions().add_counts(counts).await {
        tracing::debug!("the counts are not kept: {error}");
    }
}

/// Ends a tape when the task that fills it is dropped with its runtime, or panics: its readers must not wait forever, and
/// the verdict must know.
struct Ending<'a> {
    session: &'a Session,
    tape: &'a SharedBody,
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
        Self {
            started,
            events: is_event_stream(content_type(headers)).then(Splitter::default),
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

    /// Holds nothing any more: what will not be kept may have no end.
    fn stop(&mut self) {
        self.events = None;
        self.timing = Vec::new();
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
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 408 | 429 | 500..)
}

/// The length goes too: a body ends when its recording is kept, not with its last byte.
fn without_hop_by_hop(response: Response) -> Response {
    let mut headers = response.header_map().clone();
    strip_connection_headers(&mut headers);
    response.headers(headers)
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
