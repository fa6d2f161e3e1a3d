//! Starts and stops the proxy of `proxy`, `run` and `serve`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::arguments::{Directory, parse_size};
use super::intercept::{InterceptArguments, write_certificate};
use super::output::{SUCCESS, findings, other_error, print_message};
use super::signals::Signals;
use super::store::Store;
use crate::engine::{CacheEngine, LayeredEngine};
use crate::error::{Error, ErrorKind, Result};
use crate::mode::Mode;
use crate::proxy::{Connections, Interception, OpenSessions, Proxy};
use crate::recorder::{Recorder, RecorderBuilder, RequestListener, Session, Summary};
use crate::settings::Settings;
use crate::settings::faults::Faults;
use crate::settings::pace::Pace;
use crate::settings::playback::{Fragments, Playback};
use crate::upstream::Upstream;

/// The help heading of the flags that test the calling program.
const FAULTS: &str = "Test how the program handles slow and failing responses (docs/faults.md)";

/// The arguments of `proxy`, `run` and `serve`.
#[derive(Args, Clone)]
pub(crate) struct ProxyArguments {
    #[command(flatten)]
    pub(crate) directory: Directory,
    #[command(flatten)]
    pub(crate) intercept: InterceptArguments,
    /// record, replay, strict or live [default: MISTRAL_CASSETTE_MODE; else strict if CI is set; else replay].
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<Mode>,
    /// The base URL of the real API.
    #[arg(long, value_name = "URL", default_value = crate::upstream::DEFAULT_UPSTREAM)]
    upstream: String,
    /// The address to listen on; port 0 selects a free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: String,
    /// Record transient errors too, such as 401, 408, 429 and 5xx.
    #[arg(long)]
    save_errors: bool,
    /// Record responses that still contain a secret after redaction.
    #[arg(long)]
    allow_secrets: bool,
    /// Allow mode record although the variable CI is set.
    #[arg(long)]
    allow_ci: bool,
    /// Allow a listen address that other machines can reach: they could use your key and read your recordings.
    #[arg(long)]
    allow_remote: bool,
    /// Accept this host name in requests, besides localhost, loopback addresses and the listen address; repeatable.
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
    /// Accept requests from web pages of this origin, besides localhost and loopback addresses; repeatable.
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// The size limit of a request body, in bytes or with a unit: 16MiB, 500kB [default: 1GiB].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_body: Option<u64>,
    /// The timeout for connecting to the upstream, and between two parts of a response.
    #[arg(long, value_name = "SECONDS", default_value_t = crate::upstream::DEFAULT_TIMEOUT.as_secs())]
    timeout: u64,
    /// The timeout of a cache. In mode replay, the response then comes from the upstream.
    #[arg(long, value_name = "SECONDS", default_value_t = crate::recorder::ENGINE_TIMEOUT.as_secs())]
    engine_timeout: u64,
    /// Read settings from this file instead of the one in the cassette directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// Append a line for each used cassette to this file [default: MISTRAL_CASSETTE_USAGE_LOG].
    #[arg(long, value_name = "FILE", visible_alias = "ledger")]
    pub(crate) usage_log: Option<PathBuf>,
    /// A faster cache in front of --dir: memory:, or a directory.
    #[arg(long, value_name = "URL")]
    near: Option<String>,
    /// The speed of replayed responses: none, recorded, or a factor such as 2x [default: from the settings].
    #[arg(long, value_name = "PACE", help_heading = FAULTS)]
    pub(crate) pace: Option<Pace>,
    /// Send replayed bodies in fragments of these sizes, repeated from the first: 1,5,2,13.
    #[arg(long, value_name = "BYTES,…", help_heading = FAULTS)]
    fragment: Option<Fragments>,
    /// Inject faults into replayed responses: 429:0.1,cut:0.05,malformed:0.05,reset:0.05,delay:200ms,seed:1, or
    /// faults of the answer: tool-json, unknown-tool, schema, length, refusal, empty.
    #[arg(long, value_name = "FAULT:P,…", help_heading = FAULTS)]
    pub(crate) inject: Option<Faults>,
}

/// What a command adds to the proxy besides its arguments.
#[derive(Default)]
pub(crate) struct Extras<'a> {
    /// Replaces the file of `--usage-log`.
    pub(crate) usage_log: Option<&'a Path>,
    pub(crate) interception: Option<Interception>,
    /// Sessions that are opened and closed while the proxy runs.
    pub(crate) sessions: Option<OpenSessions>,
    /// Gets the requests of the proxy.
    pub(crate) listener: Option<Arc<dyn RequestListener>>,
}

impl ProxyArguments {
    /// Whether the proxy runs in mode `record`, by option or variable.
    pub(crate) fn records(&self) -> Result<bool> {
        Ok(self.mode()? == Mode::Record)
    }

    /// The mode, by option or variable.
    pub(crate) fn mode(&self) -> Result<Mode> {
        self.mode.map_or_else(Mode::from_env, Ok)
    }

    /// Opens the engine in which the proxy records.
    pub(crate) fn engine(&self) -> Result<Arc<dyn CacheEngine>> {
        self.with_near(self.directory.open()?.engine)
    }

    /// This engine, behind the faster one of `--near`.
    pub(crate) fn with_near(&self, engine: Arc<dyn CacheEngine>) -> Result<Arc<dyn CacheEngine>> {
        Ok(match &self.near {
            Some(near) => Arc::new(LayeredEngine::new(Store::open(near)?.engine, engine)),
            None => engine,
        })
    }

    /// Starts the proxy on an engine.
    pub(crate) async fn start(&self, engine: Arc<dyn CacheEngine>, extras: Extras<'_>) -> Result<Proxy> {
        let Extras {
            usage_log,
            interception,
            sessions,
            listener,
        } = extras;
        if let Some(faults) = &self.inject {
            print_message(&format!("mistral-cassette: injects {faults}"));
        }
        let mut recorder = self.recorder(engine, usage_log)?;
        if sessions.is_some() {
            recorder = recorder.test_runner();
        }
        if let Some(listener) = listener {
            recorder = recorder.listener(listener);
        }
        let recorder = recorder.build()?;
        let upstream = self.upstream()?;
        let mut proxy = Proxy::builder();
        if let Some(interception) = interception {
            proxy = proxy.intercept(interception);
        }
        if let Some(sessions) = sessions {
            proxy = proxy.sessions(sessions);
        }
        if self.allow_remote {
            proxy = proxy.allow_remote();
        }
        for name in &self.allow_host {
            proxy = proxy.allow_host(name)?;
        }
        for origin in &self.allow_origin {
            proxy = proxy.allow_origin(origin)?;
        }
        if let Some(bytes) = self.max_body {
            proxy = proxy.max_body_bytes(bytes);
        }
        let proxy = proxy.start(&self.listen, recorder, upstream).await?;
        if let (Some(file), Some(certificate)) = (&self.intercept.ca_file, proxy.certificate()) {
            write_certificate(file, certificate)?;
        }
        Ok(proxy)
    }

    /// Configures the recorder of a session.
    pub(crate) fn recorder(&self, engine: Arc<dyn CacheEngine>, usage_log: Option<&Path>) -> Result<RecorderBuilder> {
        let mut recorder = Recorder::builder_on(engine)
            .command_line()
            .engine_timeout(Duration::from_secs(self.engine_timeout));
        if let Some(file) = &self.settings {
            let location = file.display().to_string();
            let document = std::fs::read(file)
                .map_err(|error| Error::new(ErrorKind::Io, format!("cannot read {location}")).with_source(error))?;
            recorder = recorder.settings(Settings::from_yaml(&document, &location)?);
        }
        if let Some(mode) = self.mode {
            recorder = recorder.mode(mode);
        }
        if self.save_errors {
            recorder = recorder.save_errors();
        }
        if let Some(file) = usage_log.or(self.usage_log.as_deref()) {
            recorder = recorder.usage_log(file);
        }
        if self.allow_secrets {
            recorder = recorder.allow_secrets();
        }
        if self.allow_ci {
            recorder = recorder.allow_record_in_ci();
        }
        let playback = Playback::from_flags(self.pace, self.fragment.clone(), self.inject.clone());
        Ok(recorder.playback(playback))
    }

    fn upstream(&self) -> Result<Upstream> {
        let mut upstream = Upstream::builder()
            .base_url(&self.upstream)
            .timeout(Duration::from_secs(self.timeout));
        if let Ok(key) = std::env::var(crate::http::API_KEY_VARIABLE) {
            upstream = upstream.api_key(key);
        }
        upstream.build()
    }
}

/// The result of a session.
pub(crate) struct Verdict {
    pub(crate) result: Result<Summary>,
    /// The connections to hosts that are not intercepted.
    connections: Connections,
}

/// Stops the proxy and waits for running recordings, unless another signal arrives: the verdict of the session.
///
/// # Errors
/// [`ErrorKind::Upstream`] when a signal has ended the wait.
pub(crate) async fn stop(proxy: Proxy, signals: &mut Signals) -> Result<Verdict> {
    let connections = proxy.connections();
    tokio::select! {
        result = proxy.stop() => Ok(Verdict { result, connections }),
        _ = signals.next() => Err(Error::new(ErrorKind::Upstream, "stopped before all recordings were complete")),
    }
}

/// Prints the verdict of a session, and how the sessions of a command were answered. Returns the exit status: 2 if the API
/// key of the session was wrong or missing.
pub(crate) fn print_verdict(verdict: Verdict, session: &Session, of_command: Option<Summary>) -> ExitCode {
    let connections = verdict.connections.to_string();
    if !connections.is_empty() {
        print_message(&format!("mistral-cassette: {connections}"));
    }
    let failure = verdict.result.err();
    if let Some(error) = &failure {
        print_message(&format!("mistral-cassette: {}\n", error.report()));
    }
    let of_command = of_command.map(|summary| format!("; sessions of the command: {summary}"));
    print_message(&format!(
        "mistral-cassette: {}{}",
        session.summary(),
        of_command.unwrap_or_default()
    ));
    match failure {
        None => SUCCESS,
        Some(_) if session.is_ended_without_key() => other_error(),
        Some(_) => findings(),
    }
}
