//! When recordings are read, and what a miss means: the only place that matches on the mode.

use std::env;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// The environment variable that overrides the default mode.
pub(crate) const MODE_VARIABLE: &str = "MISTRAL_CASSETTE_MODE";

/// When recordings are read, and what happens to a request that is not recorded.
///
/// | mode | looks up | on a hit | on a miss | needs an API key |
/// | --- | --- | --- | --- | --- |
/// | `record` | no | | asks the upstream, keeps the answer in place of what was recorded before | yes |
/// | `replay` | yes | answers from the cassette | asks the upstream and keeps the answer; without an API key it fails like `strict` | only for a miss |
/// | `strict` | yes | answers from the cassette | fails, and says what the nearest recording was and how it differs; no socket is opened | no |
/// | `live` | no | | asks the upstream, keeps nothing | yes |
///
/// A missing cassette directory is a miss for every request; a damaged cassette is an error in every mode that would
/// read or replace it.
///
/// The default is `replay`, or `strict` where the variable `CI` is set; `MISTRAL_CASSETTE_MODE` overrides the default,
/// and code and flags override the variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Ask the upstream for everything, and keep the answers.
    Record,
    /// Answer what is recorded; ask the upstream for the rest, and keep the answers.
    Replay,
    /// Answer what is recorded; anything else is a failure.
    Strict,
    /// Ask the upstream for everything, and keep nothing.
    Live,
}

/// What a mode means for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) looks_up: bool,
    pub(crate) on_miss: OnMiss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnMiss {
    Fail,
    Record,
    PassOn,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Record, Self::Replay, Self::Strict, Self::Live];

    /// The mode of this process: `MISTRAL_CASSETTE_MODE`, else `strict` where `CI` is set, else `replay`.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when the variable holds no mode.
    pub fn from_env() -> Result<Self> {
        match env::var(MODE_VARIABLE) {
            Ok(name) if !name.is_empty() => name
                .parse()
                .map_err(|error: Error| error.with_hint(format!("it comes from the variable {MODE_VARIABLE}"))),
            _ if in_ci() => Ok(Self::Strict),
            _ => Ok(Self::Replay),
        }
    }

    /// The name, as it is written in flags and variables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Replay => "replay",
            Self::Strict => "strict",
            Self::Live => "live",
        }
    }

    /// What to do with a request; `has_key` says whether an API key is at hand to ask the upstream with.
    pub(crate) fn plan(self, has_key: bool) -> Plan {
        let (looks_up, on_miss) = match self {
            Self::Record => (false, OnMiss::Record),
            Self::Replay if has_key => (true, OnMiss::Record),
            Self::Replay | Self::Strict => (true, OnMiss::Fail),
            Self::Live => (false, OnMiss::PassOn),
        };
        Plan { looks_up, on_miss }
    }

    /// Whether the upstream is never asked in this mode, so that no API key is of any use.
    pub(crate) fn is_offline(self) -> bool {
        matches!(self, Self::Strict)
    }

    /// Refuses to record everything anew where that is hardly ever meant.
    pub(crate) fn permit(self, in_ci: bool, allowed: bool) -> Result<()> {
        if self == Self::Record && in_ci && !allowed {
            return Err(Error::new(
                ErrorKind::Settings,
                "mode record replaces recordings, and the variable CI is set: refusing to record",
            )
            .with_hint(
                "replay what is committed with mode strict, or allow it by name: --allow-ci, allow_record_in_ci()",
            ));
        }
        Ok(())
    }
}

/// Whether this is a continuous-integration run: `CI` is set to anything but nothing, `0` or `false`.
pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::new(
                ErrorKind::Settings,
                format!("there is no mode {name:?}: the modes are {names}"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_is_data() {
        let plan = |looks_up, on_miss| Plan { looks_up, on_miss };
        assert_eq!(Mode::Record.plan(true), plan(false, OnMiss::Record));
        assert_eq!(Mode::Replay.plan(true), plan(true, OnMiss::Record));
        assert_eq!(Mode::Replay.plan(false), plan(true, OnMiss::Fail));
        assert_eq!(Mode::Strict.plan(true), plan(true, OnMiss::Fail));
        assert_eq!(Mode::Live.plan(true), plan(false, OnMiss::PassOn));
    }

    #[test]
    fn names_come_back_and_an_unknown_one_lists_the_four() {
        for mode in Mode::ALL {
            assert_eq!(mode.name().parse::<Mode>().unwrap(), mode);
        }
        insta::assert_snapshot!("Strict".parse::<Mode>().unwrap_err(), @r#"there is no mode "Strict": the modes are record, replay, strict, live"#);
    }

    #[test]
    fn recording_is_refused_in_ci_unless_allowed() {
        assert!(Mode::Record.permit(true, false).is_err());
        assert!(Mode::Record.permit(true, true).is_ok());
        assert!(Mode::Record.permit(false, false).is_ok());
        assert!(Mode::Replay.permit(true, false).is_ok());
    }
}
