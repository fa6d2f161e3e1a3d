//! The mode: whether requests are looked up, and what happens on a miss. No other module matches on it.

use std::env;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// The environment variable that sets the default mode.
pub(crate) const MODE_VARIABLE: &str = "MISTRAL_CASSETTE_MODE";

/// Whether requests are looked up in the cassettes, and what happens to a request that is not recorded.
///
/// | mode | looks up | on a hit | on a miss | needs an API key |
/// | --- | --- | --- | --- | --- |
/// | `record` | no | | sends every request to the upstream and records the response; it replaces an earlier recording | yes |
/// | `replay` | yes | responds from the cassette | sends the request to the upstream and records the response; without an API key it fails like `strict` | only for a miss |
/// | `strict` | yes | responds from the cassette | fails, and reports the nearest recording and the differences; no connection is opened | no |
/// | `live` | no | | sends every request to the upstream and records nothing | yes |
///
/// Without a cassette directory every request is a miss. A damaged cassette is an error in every mode that reads or
/// replaces it.
///
/// The default is `replay`, or `strict` if the variable `CI` is set. `MISTRAL_CASSETTE_MODE` overrides the default, and
/// code and flags override the variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Sends every request to the upstream, recorded or not, and records the response.
    Record,
    /// Responds from the cassettes. A request without a recording goes to the upstream, and its response is recorded;
    /// without an API key it fails.
    Replay,
    /// Responds from the cassettes. A request without a recording fails.
    Strict,
    /// Sends every request to the upstream, recorded or not, and records nothing.
    Live,
}

/// The steps of a mode for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Whether the cassettes are searched.
    pub(crate) looks_up: bool,
    pub(crate) on_miss: OnMiss,
}

/// The step that follows when there is no recording, or when none was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnMiss {
    /// Returns an error.
    Fail,
    /// Sends the request to the upstream and records the response.
    Record,
    /// Sends the request to the upstream and records nothing.
    PassOn,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Record, Self::Replay, Self::Strict, Self::Live];

    /// Returns the mode of this process: `MISTRAL_CASSETTE_MODE`, else `strict` if `CI` is set, else `replay`.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when the value of the variable is not a mode.
    pub fn from_env() -> Result<Self> {
        match env::var(MODE_VARIABLE) {
            Ok(name) if !name.is_empty() => name
                .parse()
                .map_err(|error: Error| error.with_hint(format!("the variable {MODE_VARIABLE} has this value"))),
            _ if in_ci() => Ok(Self::Strict),
            _ => Ok(Self::Replay),
        }
    }

    /// The name in flags and variables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Replay => "replay",
            Self::Strict => "strict",
            Self::Live => "live",
        }
    }

    /// Returns the steps for a request; `has_key` says whether an API key for the upstream is available.
    pub(crate) fn plan(self, has_key: bool) -> Plan {
        let (looks_up, on_miss) = match self {
            Self::Record => (false, OnMiss::Record),
            Self::Replay if has_key => (true, OnMiss::Record),
            Self::Replay | Self::Strict => (true, OnMiss::Fail),
            Self::Live => (false, OnMiss::PassOn),
        };
        Plan { looks_up, on_miss }
    }

    /// Whether this mode never sends a request to the upstream, so that it needs no API key.
    pub(crate) fn is_offline(self) -> bool {
        matches!(self, Self::Strict)
    }

    /// Whether a wrong or missing API key ends the session: the recordings are then useless, and every further request fails.
    pub(crate) fn ends_without_key(self) -> bool {
        matches!(self, Self::Record)
    }

    /// Refuses mode `record` in continuous integration unless it is allowed explicitly.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when it is refused.
    pub(crate) fn permit(self, in_ci: bool, allowed: bool) -> Result<()> {
        if self == Self::Record && in_ci && !allowed {
            return Err(Error::new(
                ErrorKind::Settings,
                "refusing mode record because the variable CI is set: it replaces recordings",
            )
            .with_hint(
                "use mode strict to replay the committed cassettes, or allow recording with --allow-ci or allow_record_in_ci()",
            ));
        }
        Ok(())
    }
}

/// Whether this is a continuous-integration run: `CI` is set, and not empty, `0` or `false`.
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
                format!("unknown mode {name:?}: expected one of {names}"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_has_its_plan() {
        let plan = |looks_up, on_miss| Plan { looks_up, on_miss };
        assert_eq!(Mode::Record.plan(true), plan(false, OnMiss::Record));
        assert_eq!(Mode::Replay.plan(true), plan(true, OnMiss::Record));
        assert_eq!(Mode::Replay.plan(false), plan(true, OnMiss::Fail));
        assert_eq!(Mode::Strict.plan(true), plan(true, OnMiss::Fail));
        assert_eq!(Mode::Live.plan(true), plan(false, OnMiss::PassOn));
    }

    #[test]
    fn names_are_parsed_and_an_unknown_name_lists_the_modes() {
        for mode in Mode::ALL {
            assert_eq!(mode.name().parse::<Mode>().unwrap(), mode);
        }
        insta::assert_snapshot!("Strict".parse::<Mode>().unwrap_err(), @r#"unknown mode "Strict": expected one of record, replay, strict, live"#);
    }

    #[test]
    fn recording_is_refused_in_ci_unless_allowed() {
        assert!(Mode::Record.permit(true, false).is_err());
        assert!(Mode::Record.permit(true, true).is_ok());
        assert!(Mode::Record.permit(false, false).is_ok());
        assert!(Mode::Replay.permit(true, false).is_ok());
    }
}
