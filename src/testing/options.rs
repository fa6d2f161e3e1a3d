//! What [`cassette!`](crate::cassette) accepts.

use std::path::PathBuf;

use crate::mode::Mode;
use crate::settings::Settings;
use crate::settings::playback::Playback;

/// Options of a [`TestSession`](super::TestSession), for [`cassette!`](crate::cassette).
///
/// ```no_run
/// use mistral_cassette::testing::{Save, TestOptions};
/// use mistral_cassette::{Mode, Playback, cassette};
///
/// # fn example() -> mistral_cassette::Result<()> {
/// let session = cassette!(Mode::Strict);
/// let session = cassette!(
///     TestOptions::new()
///         .name("weather/paris")
///         .directory("tests/cassettes")
///         .save(Save::OnSuccess)
///         .playback(Playback::new().fragments([1, 5, 2]))
/// );
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct TestOptions {
    pub(super) name: Option<String>,
    pub(super) directory: Option<PathBuf>,
    pub(super) mode: Option<Mode>,
    pub(super) settings: Option<Settings>,
    pub(super) playback: Playback,
    pub(super) save: Save,
    pub(super) allow_failures: bool,
}

/// When a session saves what it records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Save {
    /// Each response as soon as it is complete, so that a test that fails does not pay twice.
    #[default]
    Always,
    /// All responses at the end of the session, unless the test panics or a request was missed or failed.
    OnSuccess,
}

impl TestOptions {
    /// The defaults: the name of the test, `cassettes`, [`Mode::from_env`], the settings in the directory, [`Save::Always`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name of the session, which is its scope: folder names that are separated by `/` or `::`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the cassette directory. A relative path begins at the `Cargo.toml` of the calling crate.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets the mode.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets the settings, in place of `settings.yaml` in the directory.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Sets how responses are replayed.
    #[must_use]
    pub fn playback(mut self, playback: Playback) -> Self {
        self.playback = playback;
        self
    }

    /// Sets when the session saves what it records.
    #[must_use]
    pub fn save(mut self, save: Save) -> Self {
        self.save = save;
        self
    }

    /// As [`TestSession::allow_failures`](super::TestSession::allow_failures).
    #[must_use]
    pub fn allow_failures(mut self) -> Self {
        self.allow_failures = true;
        self
    }
}

impl From<Mode> for TestOptions {
    fn from(mode: Mode) -> Self {
        Self::new().mode(mode)
    }
}
