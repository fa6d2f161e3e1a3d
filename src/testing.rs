//! Sessions for tests, and settings for their snapshots.

use crate::client::Client;
use crate::engine::DirectoryEngine;
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
        let mut builder = Recorder::builder(DirectoryEngine::new(directory))
            .scope(scope)
            .test(test);
        if let Some(mode) = mode {
            builder = builder.mode(mode);
        }
        Ok(Self {
            recorder: builder.build()?,
        })
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
        if let Err(error) = self.recorder.session().verdict() {
            if std::thread::panicking() {
                eprintln!("mistral-cassette: {}", error.report());
            } else {
                panic!("{}", error.report());
            }
        }
    }
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
