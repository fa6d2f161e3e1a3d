//! Which transient errors are recorded.

use std::str::FromStr;

use http::StatusCode;
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

/// Which transient errors are recorded: in `settings.yaml` `true`, `false` or a list of statuses.
///
/// ```yaml
/// save_errors: [429, 500]
/// ```
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(from = "Member")]
pub enum SaveErrors {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those with one of these statuses. 200 selects errors in responses with the status 200.
    Statuses(Vec<u16>),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected true, false, or a list of statuses such as [429, 500]"
)]
enum Member {
    All(bool),
    Statuses(Vec<u16>),
}

impl From<Member> for SaveErrors {
    fn from(member: Member) -> Self {
        match member {
            Member::All(true) => Self::All,
            Member::All(false) => Self::None,
            Member::Statuses(statuses) => Self::Statuses(statuses),
        }
    }
}

impl SaveErrors {
    /// Whether a transient error with this status is recorded.
    pub(crate) fn includes(&self, status: StatusCode) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Statuses(statuses) => statuses.contains(&status.as_u16()),
        }
    }
}

/// Parses the value of a header: `true`, `false`, or statuses separated by commas.
impl FromStr for SaveErrors {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim() {
            "true" => return Ok(Self::All),
            "false" => return Ok(Self::None),
            _ => {}
        }
        let statuses: Result<Vec<u16>, _> = text.split(',').map(|status| status.trim().parse()).collect();
        statuses.map(Self::Statuses).map_err(|_| {
            Error::new(ErrorKind::Settings, format!("{text:?} does not select errors"))
                .with_hint("give true, false, or statuses such as 429,500")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_none_or_some_statuses_are_recorded() {
        let includes = |text: &str| {
            let errors: SaveErrors = text.parse().unwrap();
            [429, 500].map(|status| errors.includes(StatusCode::from_u16(status).unwrap()))
        };
        assert_eq!(includes("true"), [true, true]);
        assert_eq!(includes("false"), [false, false]);
        assert_eq!(includes("429, 503"), [true, false]);
        assert_eq!("yes".parse::<SaveErrors>().unwrap_err().kind(), ErrorKind::Settings);
    }
}
