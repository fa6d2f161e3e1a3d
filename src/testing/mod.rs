//! Sessions for tests, and settings for their snapshots.

mod name;
mod options;

use std::marker::PhantomData;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use self::options::{Save, TestOptions};
use crate::client::Client;
use crate::engine::{CacheEngine, DirectoryEngine, StagedEngine};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Scope;
use crate::recorder::{Recorder, Summary};
use crate::settings::playback::Playback;

/// How long the end of a session waits for responses that are still being recorded.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A session for one test; see [`cassette!`](crate::cassette).
///
/// When the session is dropped, it waits for the recordings in progress, checks its [verdict](crate::Session::verdict) and
/// panics if a request was missed or failed, even if the program under test ignored that error. If the test is already
/// panicking, the session only prints the verdict. [`finish`](Self::finish) returns the verdict instead.
///
/// A request that is still in progress at the end, for example in a task that the test does not wait for, fails the
/// verdict. Later requests get an error.
#[derive(Debug)]
#[must_use = "the session ends when it is dropped: bind it to a name"]
pub struct TestSession {
    recorder: Recorder,
    options: TestOptions,
    scope: Scope,
    /// The path of the test.
    test: String,
    directory: PathBuf,
    /// The engine that holds back recordings until the test has succeeded.
    staged: Option<Arc<StagedEngine>>,
    /// Whether the verdict was returned.
    is_finished: bool,
}

/// A client of a [`TestSession`]. It derefs to a [`Client`], and a clone is one.
///
/// It borrows the session, so that `let client = cassette!().client();`, whose session would end before the first request,
/// does not compile:
///
/// ```compile_fail
/// # async fn test() {
/// let client = mistral_cassette::cassette!().client();
/// client.models().await.unwrap();
/// # }
/// ```
#[derive(Debug)]
pub struct SessionClient<'session> {
    client: Client,
    session: PhantomData<&'session TestSession>,
}

impl Deref for SessionClient<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl TestSession {
    #[doc(hidden)]
    #[track_caller]
    pub fn start(crate_directory: &str, function: &str, options: impl Into<TestOptions>) -> Self {
        match Self::new(crate_directory, function, options.into()) {
            Ok(session) => session,
            Err(error) => panic!("{}", error.report()),
        }
    }

    fn new(crate_directory: &str, function: &str, options: TestOptions) -> Result<Self> {
        let test = name::test_path(function, std::thread::current().name());
        let scope = match &options.name {
            Some(name) => Scope::new(&name.replace("::", "/")),
            None if name::is_in_doctest(function) => {
                let error = Error::new(
                    ErrorKind::Settings,
                    "a session in a documentation test has no name of its own",
                );
                return Err(error.with_hint("name it: cassette!(TestOptions::new().name(\"…\"))"));
            }
            None => name::scope_of(&test),
        };
        let scope =
            scope.map_err(|error| Error::new(ErrorKind::Settings, "invalid name of a session").with_source(error))?;
        let directory = options.directory.as_deref().unwrap_or(Path::new("cassettes"));
        let directory = Path::new(crate_directory).join(directory);
        let engine = Arc::new(DirectoryEngine::new(&directory));
        let mut session = Self {
            recorder: recorder(&options, &scope, &test, engine)?,
            scope,
            test,
            directory,
            staged: None,
            is_finished: false,
            options,
        };
        if session.options.save == Save::OnSuccess {
            session.stage()?;
        }
        Ok(session)
    }

    fn stage(&mut self) -> Result<()> {
        let staged = Arc::new(StagedEngine::new(Arc::new(DirectoryEngine::new(&self.directory)))?);
        self.recorder = recorder(&self.options, &self.scope, &self.test, staged.clone())?;
        self.staged = Some(staged);
        Ok(())
    }

    /// As [`Save::OnSuccess`]. Call it before [`client`](Self::client) and [`recorder`](Self::recorder).
    ///
    /// # Panics
    /// If a temporary folder cannot be created.
    #[track_caller]
    pub fn save_on_success(mut self) -> Self {
        if let Err(error) = self.stage() {
            panic!("{}", error.report());
        }
        self
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
        self.options.playback = playback.clone();
        self.recorder = self.recorder.with_playback(playback);
        self
    }

    /// Lets the test succeed although requests are missed or fail, for a test of how the program handles that. The outcome
    /// is in the summary that [`finish`](Self::finish) returns.
    pub fn allow_failures(mut self) -> Self {
        self.options.allow_failures = true;
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
    pub fn client(&self) -> SessionClient<'_> {
        match Client::from_env() {
            Ok(client) => SessionClient {
                client: client.recorded_by(self.recorder()),
                session: PhantomData,
            },
            Err(error) => panic!("{}", error.report()),
        }
    }

    /// Ends the session: waits for the recordings in progress, at most a minute, and returns the verdict. The session then
    /// does not panic when it is dropped.
    ///
    /// ```no_run
    /// # async fn test() {
    /// let session = mistral_cassette::cassette!(mistral_cassette::Mode::Strict);
    /// // … a program that requests what is not recorded …
    /// let error = session.finish().await.unwrap_err();
    /// assert_eq!(error.kind(), mistral_cassette::ErrorKind::Miss);
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Session::verdict`](crate::Session::verdict), unless failures are [allowed](Self::allow_failures);
    /// [`ErrorKind::Io`] or [`ErrorKind::Engine`] if recordings cannot be saved.
    pub async fn finish(mut self) -> Result<Summary> {
        self.is_finished = true;
        self.recorder.end_async(LONGEST_WAIT).await;
        let verdict = self.recorder.finish().await;
        let summary = self.judge(verdict)?;
        if let Some(staged) = self.staged.take() {
            staged.commit().await?;
        }
        Ok(summary)
    }

    /// The verdict of the test from that of its requests.
    fn judge(&self, verdict: Result<Summary>) -> Result<Summary> {
        match verdict {
            Err(_) if self.options.allow_failures => Ok(self.recorder.session().summary()),
            verdict => verdict,
        }
    }
}

fn recorder(options: &TestOptions, scope: &Scope, test: &str, engine: Arc<dyn CacheEngine>) -> Result<Recorder> {
    let mut builder = Recorder::builder_on(engine)
        .scope(scope.clone())
        .test(test)
        .playback(options.playback.clone())
        .of_test();
    if let Some(mode) = options.mode {
        builder = builder.mode(mode);
    }
    if let Some(settings) = &options.settings {
        builder = builder.settings(settings.clone());
    }
    builder.build()
}

impl Drop for TestSession {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        self.recorder.end(LONGEST_WAIT);
        let session = self.recorder.session();
        match self.judge(session.verdict()) {
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

/// Starts a session for the running test and returns it as a [`TestSession`](crate::testing::TestSession).
///
/// - The cassettes of the test are in `cassettes/<crate>/<module>/<test>/`, next to the `Cargo.toml` of the calling
///   crate. The name is that of the test, also if a helper, a fixture or a parametrised case starts the session.
/// - The mode comes from the environment (see [`Mode`](crate::Mode)) or from the argument: `cassette!(Mode::Strict)`. Other
///   options are [`TestOptions`](crate::testing::TestOptions).
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
        $crate::cassette!($crate::testing::TestOptions::new())
    };
    ($options:expr) => {{
        fn here() {}
        $crate::testing::TestSession::start(
            env!("CARGO_MANIFEST_DIR"),
            ::std::any::type_name_of_val(&here),
            $options,
        )
    }};
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
