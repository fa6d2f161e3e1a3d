//! Helpers for tests: a session for one test, with its scope, its mode and its verdict.

use crate::client::Client;
use crate::engine::DirectoryEngine;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Scope;
use crate::mode::Mode;
use crate::recorder::Recorder;
use crate::settings::playback::Playback;

/// A session for one test; see [`cassette!`](crate::cassette).
///
/// When it goes out of scope it gives the [verdict](crate::Session::verdict): a miss fails the test, even one that the
/// program swallowed. When the test is panicking already, the verdict is printed and the test's own panic stays.
#[derive(Debug)]
#[must_use = "the verdict is given when it goes out of scope: bind it to a name"]
pub struct TestSession {
    recorder: Recorder,
}

impl TestSession {
    #[doc(hidden)]
    #[track_caller]
    pub fn start(directory: &str, place: &str, mode: Option<Mode>) -> Self {
        match Self::new(directory, place, mode) {
            Ok(session) => session,
            Err(error) => panic!("{}", error.report()),
        }
    }

    fn new(directory: &str, place: &str, mode: Option<Mode>) -> Result<Self> {
        let test = test_of(place);
        let scope = Scope::new(&test.replace("::", "/")).map_err(|error| {
            Error::new(ErrorKind::Settings, format!("the test {test} cannot name a scope")).with_source(error)
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

    /// The same session, whose answers are handed on in this way when they are replayed: to test how the program takes it
    /// when they come in pieces, late, broken or not at all.
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

    /// The recorder, for a [`ClientBuilder`](crate::client::ClientBuilder), a
    /// [`Proxy`](https://docs.rs/mistral-cassette/latest/mistral_cassette/proxy/struct.Proxy.html) or a middleware.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// A client that is recorded and replayed here, otherwise as [`Client::from_env`] makes it.
    ///
    /// # Panics
    /// When the environment holds a base URL or a key that cannot be one.
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

/// The path of the function in which a place is: `weather::asks_for_the_capital` of
/// `weather::asks_for_the_capital::{{closure}}::here`.
fn test_of(place: &str) -> String {
    let is_name = |part: &&str| !part.starts_with('{') && !part.is_empty();
    let parts: Vec<&str> = place.split("::").filter(is_name).collect();
    let (_here, test) = parts.split_last().unwrap_or((&"", &[]));
    test.iter()
        .map(|part| part.trim_start_matches("r#"))
        .collect::<Vec<_>>()
        .join("::")
}

/// Starts a [`TestSession`] named after the calling test: its cassettes are in a folder of their own,
/// `cassettes/<crate>/<module>/<test>/`, beside the `Cargo.toml` of the calling crate.
///
/// The mode is that of the environment (see [`Mode`](crate::Mode)), or the one given: `cassette!(Mode::Strict)`.
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
/// When the mode or the settings are wrong; and the session, at its end, when a request was missed or failed.
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

/// Settings for [insta](https://insta.rs) that replace what is different in every live answer: ids, times and padding,
/// in JSON, YAML and debug output.
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
    fn the_test_is_the_function_around_the_place() {
        for (place, test) in [
            ("weather::asks::here", "weather::asks"),
            ("weather::tests::asks::{{closure}}::here", "weather::tests::asks"),
            ("weather::r#try::{{closure}}::{{closure}}::here", "weather::try"),
        ] {
            assert_eq!(test_of(place), test);
        }
    }
}
