//! How a [`Recorder`] is configured.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::background_runtime::BackgroundRuntime;
use super::circuit_breaker::TIMEOUT;
use super::effective_settings::{Overrides, SettingsSource};
use super::outcome::RequestListener;
use super::prepared::RequestCache;
use super::session::Session;
use super::store::Store;
use super::usage_log::{UsageLog, usage_log_from_environment};
use super::{Recorder, Shared, User};
use crate::engine::CacheEngine;
use crate::error::Result;
use crate::http::API_KEY_VARIABLE;
use crate::key::Scope;
use crate::mode::{Mode, in_ci};
use crate::redaction::is_dummy;
use crate::settings::Settings;
use crate::settings::playback::Playback;

/// How long a lock lasts unless it is renewed.
const LOCK_TTL: Duration = Duration::from_secs(30);

/// Configures a [`Recorder`].
pub struct RecorderBuilder {
    engine: Arc<dyn CacheEngine>,
    mode: Option<Mode>,
    settings: Option<Settings>,
    scope: Scope,
    test: Option<String>,
    playback: Playback,
    overrides: Overrides,
    allow_record_in_ci: bool,
    engine_timeout: Duration,
    lock_ttl: Duration,
    usage_log: Option<PathBuf>,
    user: User,
    is_of_test: bool,
    listener: Option<Arc<dyn RequestListener>>,
}

impl Recorder {
    /// Configures a recorder that stores its cassettes in this engine.
    pub fn builder(engine: impl CacheEngine + 'static) -> RecorderBuilder {
        Self::builder_on(Arc::new(engine))
    }

    /// As [`builder`](Self::builder), with an engine that is shared already.
    pub(crate) fn builder_on(engine: Arc<dyn CacheEngine>) -> RecorderBuilder {
        RecorderBuilder {
            engine,
            mode: None,
            settings: None,
            scope: Scope::root(),
            test: None,
            playback: Playback::new(),
            overrides: Overrides::default(),
            allow_record_in_ci: false,
            engine_timeout: TIMEOUT,
            lock_ttl: LOCK_TTL,
            usage_log: None,
            user: User::Program,
            is_of_test: false,
            listener: None,
        }
    }
}

impl RecorderBuilder {
    /// Sets the mode. The default is [`Mode::from_env`].
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets the settings. The default is what the engine stores beside its cassettes.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Adds a secret to redact, besides the value of `MISTRAL_API_KEY` and the key of each request. A secret of fewer
    /// than 8 bytes is treated as a dummy and not redacted; so is an API key of only words (`test-api-key`).
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.overrides.secrets.push(secret.into());
        self
    }

    /// Sets the scope. The default is the root scope.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Names the test that is recorded, for `recorded.test` in its cassettes.
    #[must_use]
    pub fn test(mut self, name: impl Into<String>) -> Self {
        self.test = Some(name.into());
        self
    }

    /// Sets how recorded responses are replayed: pace, fragments, and faults to test the program with.
    #[must_use]
    pub fn playback(mut self, playback: Playback) -> Self {
        self.playback = playback;
        self
    }

    /// Lets recordings continue while a test ends, and counts what is still in progress then.
    pub(crate) fn of_test(mut self) -> Self {
        self.is_of_test = true;
        self
    }

    /// Collects the outcome of each request, and adapts the hints to a test runner.
    #[cfg(feature = "cli")]
    pub(crate) fn test_runner(mut self) -> Self {
        self.user = User::TestRunner;
        self
    }

    /// Reports each request of the session to this listener.
    #[cfg(feature = "cli")]
    pub(crate) fn listener(mut self, listener: Arc<dyn RequestListener>) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Makes hints name options of the command.
    #[cfg(feature = "cli")]
    pub(crate) fn command_line(mut self) -> Self {
        self.user = User::CommandLine;
        self
    }

    /// Records transient errors (401, 403, 408, 429, 5xx) too.
    #[must_use]
    pub fn save_errors(mut self) -> Self {
        self.overrides.save_errors = true;
        self
    }

    /// Records responses that still contain a secret after redaction, as [`Secrets::Allow`](crate::settings::Secrets::Allow)
    /// does in the settings.
    #[must_use]
    pub fn allow_secrets(mut self) -> Self {
        self.overrides.allow_secrets = true;
        self
    }

    /// Allows mode `record` if the variable `CI` is set.
    #[must_use]
    pub fn allow_record_in_ci(mut self) -> Self {
        self.allow_record_in_ci = true;
        self
    }

    /// Sets the time limit of each call to a cache (any engine but a directory): 5 seconds by default. If a call fails or takes
    /// longer, mode `replay` answers from the upstream and records nothing, and mode `strict` fails. After three failures in a
    /// row no call is made for 5 seconds, so that requests do not wait.
    #[must_use]
    pub fn engine_timeout(mut self, limit: Duration) -> Self {
        self.engine_timeout = limit;
        self
    }

    /// Sets how long the lock of a process that died, or is suspended, stops other processes from sending the same request:
    /// 30 seconds by default. A process that runs renews its lock.
    #[must_use]
    pub fn lock_ttl(mut self, ttl: Duration) -> Self {
        self.lock_ttl = ttl;
        self
    }

    /// The old name of [`lock_ttl`](Self::lock_ttl).
    #[deprecated(note = "use lock_ttl")]
    #[must_use]
    pub fn lock_life(self, ttl: Duration) -> Self {
        self.lock_ttl(ttl)
    }

    /// Sets the file to which the session appends a line for each cassette that it uses, together with other sessions and
    /// processes. The default is the value of `MISTRAL_CASSETTE_USAGE_LOG`. `mistral-cassette prune` reads the file.
    #[must_use]
    pub fn usage_log(mut self, file: impl Into<PathBuf>) -> Self {
        self.usage_log = Some(file.into());
        self
    }

    /// The old name of [`usage_log`](Self::usage_log).
    #[deprecated(note = "use usage_log")]
    #[must_use]
    pub fn ledger(self, file: impl Into<PathBuf>) -> Self {
        self.usage_log(file)
    }

    /// Starts the session.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings): the mode in `MISTRAL_CASSETTE_MODE` is unknown, the settings
    /// cannot be read, or mode `record` is not allowed in CI. [`ErrorKind::Io`](crate::ErrorKind::Io): the usage log cannot
    /// be written.
    pub fn build(self) -> Result<Recorder> {
        let mode = self.mode.map_or_else(Mode::from_env, Ok)?;
        mode.permit(in_ci(), self.allow_record_in_ci)?;
        let is_cache = !self.engine.extensions().is_committed();
        let settings = match self.settings {
            Some(settings) => Some(settings),
            // The settings of a cache are read before the first request.
            None if is_cache => None,
            None => Some(self.engine.extensions().settings()?),
        };
        let usage_log = match self.usage_log.or_else(usage_log_from_environment) {
            Some(path) => Some(UsageLog::open(&path, self.engine.extensions().directory())?),
            None => None,
        };
        let mut overrides = self.overrides;
        let key = env::var(API_KEY_VARIABLE).ok();
        overrides.secrets.extend(key.filter(|key| !is_dummy(key)));
        let recordings = TaskTracker::new();
        let mut session = match is_cache {
            true => Session::for_cache(),
            false => Session::default(),
        };
        if self.user == User::TestRunner {
            session.keep_requests();
        }
        if let Some(listener) = self.listener {
            session.listen(listener);
        }
        Ok(Recorder {
            shared: Arc::new(Shared {
                mode,
                settings: SettingsSource::new(settings, overrides),
                requests: RequestCache::default(),
                store: Store::new(self.engine, self.engine_timeout, self.lock_ttl, recordings.clone()),
                session,
                usage_log,
                in_flight: Arc::default(),
                recordings,
                user: self.user,
                delays_skipped: CancellationToken::new(),
                background: self.is_of_test.then(BackgroundRuntime::default),
                saving: tokio::sync::Mutex::default(),
            }),
            scope: self.scope,
            test: self.test.map(Into::into),
            playback: Arc::new(self.playback),
        })
    }
}

impl fmt::Debug for RecorderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecorderBuilder")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
