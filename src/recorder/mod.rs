//! The request path: every front end calls [`Recorder::answer`], and no other code decides how a request is answered.
//!
//! Read this file from top to bottom: `answer`, `handle`, `handle_miss`, `record_once`. Each step is a file of its own:
//! `prepared` (redaction and key), `lookup` (find a recording), `replay`, `coalesce` and `lock` (one call for many equal
//! requests), `refused_key` (stop with a wrong API key), `record` (stream the response to the caller; in a test through
//! `test_session`), `assessment` (decide whether it is complete and lasting), `merge` and `save` (store it), `miss` (explain
//! what is missing). `store` and the files below it hide what only a cache has: expiry, quota, circuit breaker, counters.
//!
//! Four words: a *scope* is a folder of cassettes for one test or suite. A *turn* is the position of a request among equal
//! requests of a session: the n-th gets the n-th recorded response. The *verdict* is the result of a session: it fails if a
//! request was missed or failed. A *cache* is any engine that is not a directory of committed files: its entries may be
//! lost, expire, or be recorded again.

mod answer_faults;
mod assessment;
mod background_runtime;
mod builder;
mod circuit_breaker;
mod coalesce;
mod counters;
mod document_cache;
mod effective_settings;
mod exchange;
mod fault_responses;
mod held_lock;
mod in_progress;
mod lock;
mod lookup;
mod merge;
mod miss;
mod outcome;
mod paced_body;
mod prepared;
mod quota;
mod record;
mod refused_key;
mod replay;
mod report;
mod save;
mod session;
mod shared_body;
mod store;
mod test_session;
mod usage_log;
#[cfg(feature = "realtime")]
mod websocket;
mod written;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[cfg(feature = "cli")]
pub(crate) use self::assessment::{Assessment, RequestLine, assess, is_transient};
use self::background_runtime::BackgroundRuntime;
pub use self::builder::RecorderBuilder;
#[cfg(feature = "cli")]
pub(crate) use self::circuit_breaker::TIMEOUT as ENGINE_TIMEOUT;
use self::coalesce::{InFlight, Role};
use self::document_cache::Document;
use self::effective_settings::SettingsSource;
use self::exchange::Exchange;
use self::lookup::Lookup;
use self::outcome::Outcome;
#[cfg(feature = "cli")]
pub(crate) use self::outcome::{AnsweredRequest, Outcome as RequestOutcome, RequestListener};
use self::prepared::{PreparedRequest, RequestCache};
pub use self::session::{Session, Summary};
use self::store::Store;
#[cfg(feature = "cli")]
pub(crate) use self::usage_log::{
    FORMER_USAGE_LOG_VARIABLE, USAGE_LOG_VARIABLE, Used, summary_of_others, usage_log_from_environment,
};
use self::usage_log::{UsageLog, Use};
#[cfg(feature = "realtime")]
pub(crate) use self::websocket::Opening;
#[cfg(feature = "proxy")]
pub(crate) use self::websocket::WebSocketSession;
#[cfg(feature = "cli")]
pub(crate) use self::websocket::{recorded_session, session_headers};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{BackgroundTransport, Request, Response, Transport, is_websocket};
use crate::key::{RequestKey, Scope};
use crate::mode::{Mode, OnMiss, Plan};
use crate::redaction::secret_scan::mask;
use crate::settings::faults::Injection;
use crate::settings::playback::Playback;

/// Answers requests from recordings and records responses of the upstream, depending on the [`Mode`].
///
/// A recorder is one session. A clone, and a [scope](Self::scoped) of it, share the engine, the turns and the counts.
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

/// Who uses a recorder, and so what its hints can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Program,
    /// Hints name options of the command.
    CommandLine,
    /// Hints are for a test.
    TestRunner,
}

/// What all scopes of a session share.
struct Shared {
    mode: Mode,
    settings: SettingsSource,
    requests: RequestCache,
    store: Store,
    session: Session,
    usage_log: Option<UsageLog>,
    user: User,
    in_flight: Arc<InFlight>,
    /// The recordings in progress. They continue when their caller leaves.
    recordings: TaskTracker,
    /// Ends the delays of all replays.
    delays_skipped: CancellationToken,
    /// For the session of a test, whose recordings continue while the test ends.
    background: Option<BackgroundRuntime>,
    /// Locked while a cassette is changed, so that no response to the same request is lost.
    saving: tokio::sync::Mutex<()>,
}

impl Recorder {
    /// Answers a request from its cassette or from the upstream, or returns an error that says what is missing.
    ///
    /// A response of the upstream is streamed to the caller while it is recorded. Its body ends only when the recording is
    /// saved, so a caller that has read it to the end can rely on the file. A caller that leaves early does not stop the
    /// recording. The request is sent unchanged; only the copy that is hashed and saved is redacted.
    ///
    /// # Errors
    /// Any kind except [`ErrorKind::Api`]: an error status is a response.
    pub async fn answer(&self, request: Request, upstream: impl Transport) -> Result<Response> {
        if self.session().has_ended() {
            return Err(after_the_end(&request));
        }
        let (method, target, started) = (
            request.method().clone(),
            request.path_and_query().clone(),
            Instant::now(),
        );
        let mut prepared = None;
        let result = self.handle(request, upstream, &mut prepared).await;
        if let Err(error) = &result
            && !error.is_injected()
        {
            self.session().failed(error);
            self.report_error(&format!("{method} {target}"), started, prepared.as_deref(), error);
        }
        result
    }

    /// The request path: prepare the request, look up its recording, then replay it or handle the miss.
    /// `prepared` gets the prepared request for the listener.
    async fn handle(
        &self,
        mut request: Request,
        upstream: impl Transport,
        prepared: &mut Option<Arc<PreparedRequest>>,
    ) -> Result<Response> {
        let plan = self.shared.mode.plan(upstream.has_key(&request));
        let mut exchange = match self.prepare(&mut request, &upstream, plan).await {
            Ok(exchange) => exchange,
            Err(error) => return Box::pin(self.bypass(error, None, plan, request, upstream)).await,
        };
        if self.session().has_listener() {
            *prepared = Some(exchange.prepared.clone());
        }
        exchange.is_polling = self.is_polling(&exchange);
        if exchange.is_polling {
            exchange.plan.looks_up = false;
        }
        if exchange.plan.looks_up {
            match self.shared.store.find(&mut exchange).await {
                Lookup::Found(document) => {
                    return self.replay_or_bypass(&exchange, &document, request, upstream).await;
                }
                Lookup::Stale(document) => match upstream.for_background() {
                    Some(background) => {
                        exchange.expired = Some(document.clone());
                        self.revalidate(&exchange, request, background);
                        return self.replay(&exchange, &document).await;
                    }
                    None => exchange.expired = Some(document),
                },
                Lookup::Missing => {}
                Lookup::Unavailable(error) => {
                    return Box::pin(self.bypass(error, Some(exchange.key()), plan, request, upstream)).await;
                }
            }
        }
        // Boxed, so that the future of a replay stays small.
        Box::pin(self.handle_miss(exchange, request, upstream)).await
    }

    /// Redacts the request, computes its key, takes its turn, and draws the faults to inject into its response.
    async fn prepare(&self, request: &mut Request, upstream: &impl Transport, plan: Plan) -> Result<Exchange> {
        let (playback, save_errors) = match self.playback.take_headers(request.header_map_mut())? {
            Some(controls) => (Arc::new(controls.playback), controls.save_errors),
            None => (self.playback.clone(), None),
        };
        let settings = self.shared.settings.get(self.shared.store.engine()).await?;
        let is_websocket = is_websocket(request.header_map());
        let secrets = request.credentials().chain(upstream.secret());
        let prepared = self.shared.requests.prepare(&settings, &self.scope, request, secrets)?;
        let key = &prepared.key;
        let (injection, turn) = self.session().next_request(key, |number| {
            let injection = playback.injection(key.hash(), number);
            if is_websocket { injection } else { injection.for_http() }
        });
        Ok(Exchange {
            settings,
            prepared,
            playback,
            save_errors,
            plan,
            injection,
            turn,
            started: Instant::now(),
            expired: None,
            damage: None,
            body: None,
            lock: None,
            is_polling: false,
            api_key: None,
            in_progress: None,
        })
    }

    /// Whether a request reads a state, such as that of a job, and was first recorded in this session. Its recording may
    /// be out of date already, and a program that waits for another state would wait forever.
    fn is_polling(&self, exchange: &Exchange) -> bool {
        let method = &exchange.prepared.request.method;
        exchange.plan.looks_up
            && exchange.plan.on_miss == OnMiss::Record
            && !self.shared.store.is_cache()
            && self.session().has_saved(exchange.key())
            && exchange.settings.settings.polls(method)
    }

    /// Handles a request that cannot be replayed, depending on the mode.
    async fn handle_miss(
        &self,
        mut exchange: Exchange,
        request: Request,
        upstream: impl Transport,
    ) -> Result<Response> {
        // Faults are injected into replayed responses only. A request that was to get one has not taken its turn yet.
        exchange.injection = Injection::default();
        if exchange.turn.is_none() {
            exchange.turn = Some(self.session().take_turn(exchange.key()));
        }
        match exchange.plan.on_miss {
            OnMiss::Fail => Err(self.missed(&exchange).await),
            OnMiss::PassOn => self.pass_through(&exchange, request, upstream).await,
            OnMiss::Record => {
                self.check_key(&mut exchange, &request, &upstream)?;
                self.record_once(exchange, request, upstream).await
            }
        }
    }

    /// Records the response, unless an equal request in this process or another one is recording it.
    async fn record_once(
        &self,
        mut exchange: Exchange,
        request: Request,
        upstream: impl Transport,
    ) -> Result<Response> {
        let store = &self.shared.store;
        let call = loop {
            let follower = match self.shared.in_flight.join(exchange.key()) {
                Role::Leader(call) => break call,
                Role::Follower(follower) => follower,
            };
            if let Some(response) = follower.response().await {
                return self.coalesced(&exchange, response);
            }
            // The leader found a recording or gave up before there was a response.
            if exchange.plan.looks_up {
                match store.find(&mut exchange).await {
                    Lookup::Found(document) => {
                        return self.replay_or_bypass(&exchange, &document, request, upstream).await;
                    }
                    // A stale recording changes nothing: the request is sent, as was decided before the wait.
                    Lookup::Stale(_) | Lookup::Missing => {}
                    Lookup::Unavailable(error) => {
                        return self
                            .bypass(error, Some(exchange.key()), exchange.plan, request, upstream)
                            .await;
                    }
                }
            }
        };
        if !exchange.plan.looks_up {
            return self.record_in_session(exchange, call, request, upstream).await;
        }
        // Another call may have been recorded after the look-up, or in another process while this one waited for the lock.
        match store.find_or_lock(&mut exchange).await {
            // A stale recording here was made by another process while this one waited.
            Lookup::Found(document) | Lookup::Stale(document) => {
                drop(call);
                self.replay_or_bypass(&exchange, &document, request, upstream).await
            }
            Lookup::Missing => {
                store.count(|counts| counts.misses += 1);
                self.record_in_session(exchange, call, request, upstream).await
            }
            Lookup::Unavailable(error) => {
                drop(call);
                self.bypass(error, Some(exchange.key()), exchange.plan, request, upstream)
                    .await
            }
        }
    }

    /// Replays a recording. If a cache fails to deliver it, the upstream answers.
    async fn replay_or_bypass(
        &self,
        exchange: &Exchange,
        document: &Document,
        request: Request,
        upstream: impl Transport,
    ) -> Result<Response> {
        match self.replay(exchange, document).await {
            Err(error) => Box::pin(self.bypass(error, Some(exchange.key()), exchange.plan, request, upstream)).await,
            replayed => replayed,
        }
    }

    /// Answers from the upstream and records nothing if a cache has failed and the mode allows it; else returns the error.
    async fn bypass(
        &self,
        error: Error,
        key: Option<&RequestKey>,
        plan: Plan,
        request: Request,
        upstream: impl Transport,
    ) -> Result<Response> {
        if !self.shared.store.may_bypass(&error, plan) {
            return Err(error);
        }
        self.session().warn_unavailable(&error);
        let method = request.method().clone();
        let (line, started) = (format!("{method} {}", request.target()), Instant::now());
        let response = upstream.send(request).await?;
        self.session().count(|summary| summary.skipped += 1);
        if let Some(key) = key {
            self.log_use(key, Use::NotRecorded);
        }
        self.report_bypass(&line, started, response.status());
        Ok(response.without_connection_headers(method.as_str()))
    }

    /// Sends a request in mode `live`.
    async fn pass_through(&self, exchange: &Exchange, request: Request, upstream: impl Transport) -> Result<Response> {
        let response = upstream.send(request).await?;
        self.session().count(|summary| summary.passed_on += 1);
        self.report(
            &exchange.prepared,
            exchange.started,
            response.status(),
            Outcome::PassedOn,
        );
        Ok(response.without_connection_headers(&exchange.prepared.request.method))
    }

    /// Counts a request that got the response of another one in progress.
    fn coalesced(&self, exchange: &Exchange, response: Result<Response>) -> Result<Response> {
        let response = response?;
        self.session().count(|summary| summary.replayed += 1);
        self.report(&exchange.prepared, exchange.started, response.status(), Outcome::Shared);
        self.log_use(exchange.key(), Use::Replayed);
        self.shared.store.count(|counts| counts.hits += 1);
        Ok(response)
    }

    /// Records the response to a stale request in the background, unless it is being recorded.
    fn revalidate(&self, exchange: &Exchange, request: Request, upstream: BackgroundTransport) {
        let Role::Leader(call) = self.shared.in_flight.join(exchange.key()) else {
            return;
        };
        let (recorder, mut exchange) = (self.clone(), exchange.for_background(self.shared.mode.plan(true)));
        self.shared.recordings.spawn(async move {
            let store = &recorder.shared.store;
            if !store.lock(&mut exchange).await {
                return;
            }
            if matches!(store.find(&mut exchange).await, Lookup::Found(_)) {
                return;
            }
            if let Err(error) = recorder.record(exchange, call, request, upstream).await {
                tracing::warn!("cannot refresh a stale recording: {}", error.in_one_line());
            }
        });
    }

    /// The same session in a scope below this one.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] if the combined name is too long.
    #[cfg(feature = "proxy")]
    pub(crate) fn within(&self, scope: &Scope) -> Result<Self> {
        Ok(self.scoped(self.scope.join(scope)?))
    }

    /// The same session in another scope.
    #[must_use]
    pub fn scoped(&self, scope: Scope) -> Self {
        Self { scope, ..self.clone() }
    }

    /// The same session with another way to replay responses.
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

    /// The key of a request in this scope: computed with the settings, and without the secrets of the recorder and of
    /// the request.
    ///
    /// # Errors
    /// [`ErrorKind::Engine`] or [`ErrorKind::Settings`] if the settings cannot be read, [`ErrorKind::Request`] if the name of
    /// the scope contains a secret.
    pub async fn key_of(&self, request: &Request) -> Result<RequestKey> {
        let settings = self.shared.settings.get(self.shared.store.engine()).await?;
        let prepared = self
            .shared
            .requests
            .prepare(&settings, &self.scope, request, request.credentials())?;
        Ok(prepared.key.clone())
    }

    /// Waits until all recordings in progress are saved, and returns the [verdict](Session::verdict).
    ///
    /// # Errors
    /// As [`Session::verdict`].
    pub async fn finish(&self) -> Result<Summary> {
        self.shared.recordings.close();
        // A closed tracker still accepts new tasks and waits for them.
        self.shared.recordings.wait().await;
        self.shared.store.flush_counters().await;
        self.write_further_uses();
        self.session().verdict()
    }

    /// The number of recordings in progress.
    #[cfg(feature = "cli")]
    pub(crate) fn recordings_in_progress(&self) -> usize {
        self.shared.recordings.len()
    }

    /// Completes the usage log. A recorder in a `static` is never dropped.
    fn write_further_uses(&self) {
        if let Some(usage_log) = &self.shared.usage_log {
            usage_log.write_further_uses();
        }
    }

    /// The name of the session in its usage log.
    #[cfg(feature = "cli")]
    pub(crate) fn name_in_usage_log(&self) -> Option<&str> {
        self.shared.usage_log.as_ref().map(UsageLog::session)
    }

    /// Ends the delays of all replays, for example when the process shuts down.
    #[cfg(feature = "proxy")]
    pub(crate) fn skip_delays(&self) {
        self.shared.delays_skipped.cancel();
    }
}

/// The error for a request after the end of the session of a test.
fn after_the_end(request: &Request) -> Error {
    let line = format!("{} {}", request.method(), request.target());
    let message = format!("{}: the session of the test has ended", mask(&line));
    let hint = "bind cassette!() to a variable that lives to the end of the test, and wait for the tasks that the test has started";
    Error::new(ErrorKind::Request, message).with_hint(hint)
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
