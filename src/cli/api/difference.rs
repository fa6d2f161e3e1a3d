//! Differences between a message and its description.

use std::fmt;

use crate::cli::severity::Severity;

/// A step of a path in a JSON value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Member(String),
    Item(usize),
}

/// The path of a value in a body: `choices[0].message`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Steps(pub(super) Vec<Step>);

impl Steps {
    /// The path of a member of the value here.
    pub(super) fn member(&self, name: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Member(name.to_owned()));
        Self(steps)
    }

    /// Leaves out the object around the data of an event.
    pub(super) fn leave_envelope(&mut self) {
        if matches!(self.0.first(), Some(Step::Member(name)) if name == "data") {
            self.0.remove(0);
        }
    }

    /// The path with each index in an array as 0: that of all items.
    pub(super) fn of_any_item(&self) -> Self {
        let any = |step: &Step| match step {
            Step::Item(_) => Step::Item(0),
            member @ Step::Member(_) => member.clone(),
        };
        Self(self.0.iter().map(any).collect())
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |name: &str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '$'))
        };
        if self.0.is_empty() {
            return f.write_str("body");
        }
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(index) => write!(f, "[{index}]")?,
                Step::Member(name) if !is_plain(name) => write!(f, "[{name:?}]")?,
                Step::Member(name) if number == 0 => f.write_str(name)?,
                Step::Member(name) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

/// How a value differs from its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A member, a parameter or a body that the description does not have.
    Unknown,
    /// A required member or body is not there.
    Missing,
    /// Another type than these.
    Type { expected: Vec<String>, found: &'static str },
    /// Another value than these, as JSON.
    Value { expected: Vec<String>, found: String },
    /// A value of the right type that is too large, too long or of another pattern.
    Limit(String),
    /// The endpoint, the status or the media type is not in the description.
    Other(String),
}

/// A difference between a value and its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) at: Steps,
    pub(super) kind: Kind,
}

impl Kind {
    /// Whether it is about a message as a whole, and not about a value in it.
    pub(super) fn is_of_whole(&self) -> bool {
        matches!(self, Self::Other(_))
    }

    /// How serious it is, in a request or a response. The API adds members and values to responses, so those are no mistake; in
    /// a request it may ignore or refuse them. An endpoint may be newer than the description.
    pub(super) fn severity(&self, is_request: bool) -> Severity {
        match self {
            Self::Missing | Self::Type { .. } => Severity::Error,
            Self::Other(_) => Severity::Warning,
            Self::Unknown | Self::Value { .. } | Self::Limit(_) if is_request => Severity::Warning,
            Self::Unknown | Self::Value { .. } | Self::Limit(_) => Severity::Info,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not in the description"),
            Self::Missing => f.write_str("required, but missing"),
            Self::Type { expected, found } => write!(f, "expected {}, found {found}", listed(expected)),
            Self::Value { expected, found } => write!(f, "expected {}, found {found}", listed(expected)),
            Self::Limit(what) | Self::Other(what) => f.write_str(what),
        }
    }
}

/// `a, b or c`; of many, the first.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    match names {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        _ if names.len() > SHOWN => {
            format!("{} or one of {} others", names[..SHOWN].join(", "), names.len() - SHOWN)
        }
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
