//! Sessions for tests, and settings for their snapshots.

use std::path::PathBuf;
use std::sync::Arc;

use crate::client::Client;
use crate::engine::{CacheEngine, DirectoryEngine, StagedEngine};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Scope;
use crate::mode::Mode;
use crate::recorder::Recorder;
use crate::settings::playback::Playback;

/// A session for one test; see [`cassette!`](crate::cassette).
///
/// When the session is dropped, it checks its [verdict](crate::Session::verdict) and panics if a request was missed or
/// failed, even if the program under test ignored that error. If the test is already panicking, the session only prints
/// the verdict.
#[derive(Debug)]
#[must_use = "the session ends when it is dropped: bind it to a name"]
pub struct TestSession {
    recorder: Recorder,
    parts: Parts,
    /// The engine that holds back recordings until the test has succeeded.
    staged: Option<Arc<StagedEngine>>,
}

/// What a session is built from.
#[derive(Debug)]
struct Parts {
    directory: PathBuf,
    scope: Scope,
    test: String,
    mode: Option<Mode>,
}

impl Parts {
    fn recorder(&self, engine: Arc<dyn CacheEngine>) -> Result<Recorder> {
        let mut builder = Recorder::builder_on(engine)
            .scope(self.scope.clone())
            .test(self.test.clone());
        if let Some(mode) = self.mode {
            builder = builder.mode(mode);
        }
        builder.build()
    }

    fn engine(&self) -> Arc<dyn CacheEngine> {
        Arc::new(DirectoryEngine::new(&self.directory))
    }
}

impl TestSession {
    #[doc(hidden)]
    #[track_caller]
    pub fn start(directory: &str, function: &str, mode: Option<Mode>) -> Self {
        match Self::new(directory, function, mode) {
            Ok(session) => session,
            Err(error) => panic!("{}", error.report()),
        }
    }

    fn new(directory: &str, function: &str, mode: Option<Mode>) -> Result<Self> {
        let test = test_path(function);
        let scope = Scope::new(&test.replace("::", "/")).map_err(|error| {
            Error::new(
                ErrorKind::Settings,
                format!("the test name is not a valid scope: {test}"),
            )
            .with_source(error)
        })?;
        let parts = Parts {
            directory: directory.into(),
            scope,
            test,
            mode,
        };
        Ok(Self {
            recorder: parts.recorder(parts.engine())?,
            parts,
            staged: None,
        })
    }

    /// Saves what the session records only if the test succeeds: at the end of the session, unless the test panics or a
    /// request was missed or failed. By default each response is saved as soon as it is complete.
    ///
    /// Call it before [`client`](Self::client), [`recorder`](Self::recorder) and [`with_playback`](Self::with_playback).
    ///
    /// # Panics
    /// If a temporary folder cannot be created.
    #[track_caller]
    pub fn save_on_success(mut self) -> Self {
        let staged = StagedEngine::new(self.parts.engine()).map(Arc::new);
        let built = staged.and_then(|staged| Ok((self.parts.recorder(staged.clone())?, staged)));
        match built {
            Ok((recorder, staged)) => {
                self.recorder = recorder;
                self.staged = Some(staged);
                self
            }
            Err(error) => panic!("{}", error.report()),
        }
    }

    /// Sets how responses are replayed, to test how the program handles responses that are fragmented, slow, broken or
    /// missing.
    ///
    /// ```no_run
    /// use mistral_cassette::{Playback, cassette};
    ///
    /// # fn example() -> mistral_cassette::Result<()> {
    /// let session = cassette!().with_playback(Playback::new().fragments([1, 5, 2, 13]).inject("429:0.2")?);
    /// # Ok(()) }
    /// ```
    pub fn with_playback(mut self, playback: Playback) -> Self {
        self.recorder = self.recorder.with_playback(playback);
        self
    }

    /// Returns the recorder, for a [`ClientBuilder`](crate::client::ClientBuilder), a
    /// [`Proxy`](https://docs.rs/mistral-cassette/latest/mistral_cassette/proxy/struct.Proxy.html) or a middleware.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Returns a client like that of [`Client::from_env`] that records and replays in this session.
    ///
    /// # Panics
    /// If the base URL or the key in the environment is invalid.
    #[track_caller]
    pub fn client(&self) -> Client {
        match Client::from_env() {
            Ok(client) => client.recorded_by(self.recorder()),
            Err(error) => panic!("{}", error.report()),
        }
    }
}

impl Drop for TestSession {
    fn drop(&mut self) {
        let session = self.recorder.session();
        match session.verdict() {
            Err(error) if std::thread::panicking() => {
                // The panic may be the failed `unwrap` of the same error.
                let is_shown = session.failures().iter().all(Error::is_shown);
                let report = error.report();
                let shown = if is_shown {
                    report.lines().next()
                } else {
                    Some(report.as_str())
                };
                eprintln!("mistral-cassette: {}", shown.unwrap_or_default());
            }
            Err(error) => panic!("{}", error.report()),
            Ok(_) if std::thread::panicking() => {}
            Ok(_) => {
                if let Some(staged) = self.staged.take()
                    && let Err(error) = commit(staged)
                {
                    panic!("the recordings of the test are not saved: {}", error.report());
                }
            }
        }
    }
}

/// Saves staged recordings. The session may end within a runtime, which must not be blocked, so this has its own.
fn commit(staged: Arc<StagedEngine>) -> Result<usize> {
    let failed = |what: &str| Error::new(ErrorKind::Internal, what);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| failed("cannot start a runtime").with_source(error))?;
        runtime.block_on(staged.commit())
    });
    thread.join().unwrap_or_else(|_| Err(failed("saving has panicked")))
}

/// Returns the path of the test that contains a function: `weather::finds_the_capital` for
/// `weather::finds_the_capital::{{closure}}::here`.
fn test_path(function: &str) -> String {
    let is_name = |part: &&str| !part.starts_with('{') && !part.is_empty();
    let parts: Vec<&str> = function.split("::").filter(is_name).collect();
    let (_here, test) = parts.split_last().unwrap_or((&"", &[]));
    test.iter()
        .map(|part| part.trim_start_matches("r#"))
        .collect::<Vec<_>>()
        .join("::")
}

/// Starts a session for the calling test and returns it as a [`TestSession`](crate::testing::TestSession).
///
/// - The cassettes of the test are in `cassettes/<crate>/<module>/<test>/`, next to the `Cargo.toml` of the calling
///   crate.
/// - The mode comes from the environment (see [`Mode`](crate::Mode)) or from the argument: `cassette!(Mode::Strict)`.
/// - [`TestSession::client`](crate::testing::TestSession::client) returns a client that records and replays in the
///   session.
/// - When the session is dropped at the end of the test, it panics if a request was missed or failed.
///
/// ```no_run
/// use mistral_cassette::client::ChatRequest;
///
/// # async fn test() {
/// let session = mistral_cassette::cassette!();
/// let question = ChatRequest::new("mistral-small-latest").user("What is the capital of France?");
/// let answer = session.client().chat(question).await.unwrap();
/// assert!(answer.text().contains("Paris"));
/// # }
/// ```
///
/// # Panics
/// If the mode or the settings are invalid.
#[macro_export]
macro_rules! cassette {
    () => {
        $crate::cassette!(@ ::core::option::Option::None)
    };
    (@ $mode:expr) => {{
        fn here() {}
        $crate::testing::TestSession::start(
            concat!(env!("CARGO_MANIFEST_DIR"), "/cassettes"),
            ::std::any::type_name_of_val(&here),
            $mode,
        )
    }};
    ($mode:expr) => {
        $crate::cassette!(@ ::core::option::Option::Some($mode))
    };
}

/// Returns settings for [insta](https://insta.rs) that replace the members that differ in every live response: ids,
/// times and padding, in JSON, YAML and debug output.
///
/// ```no_run
/// # let answer = "";
/// mistral_cassette::testing::insta_settings().bind(|| insta::assert_debug_snapshot!(answer));
/// ```
#[cfg(feature = "insta")]
pub fn insta_settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(
        r#"("?\b(?:id|tool_call_id|conversation_id)"?: (?:Some\(\s*)?)"[^"]*""#,
        r#"$1"[id]""#,
    );
    settings.add_filter(
        r#"("?\b(?:created|created_at)"?: (?:Some\(\s*)?(?:Number\()?)("[^"]*"|\d+)"#,
        "$1[time]",
    );
    settings.add_filter(r#"("?\bp"?: (?:String\()?)"[^"]*""#, r#"$1"[padding]""#);
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_path_omits_closures_and_the_inner_function() {
        for (function, test) in [
            ("weather::asks::here", "weather::asks"),
            ("weather::tests::asks::{{closure}}::here", "weather::tests::asks"),
            ("weather::r#try::{{closure}}::{{closure}}::here", "weather::try"),
        ] {
            assert_eq!(test_path(function), test);
        }
    }
}
