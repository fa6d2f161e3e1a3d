//! The parts of a request that its key ignores, and the replacements in text.

use std::str::FromStr;

use regex::Regex;
use serde::{Deserialize, Deserializer, de};

use crate::error::{Error, ErrorKind, Result};

/// The text that replaces a secret, unless a setting gives another.
pub(crate) const PLACEHOLDER: &str = "[REDACTED]";

/// The parts of a request that the request key ignores.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Matching {
    /// Members of a JSON body to ignore.
    pub ignore: Vec<Pointer>,
    /// Segments of the path to ignore.
    pub ignore_path: Vec<PathPattern>,
    /// Query parameters to ignore.
    pub ignore_query: Vec<String>,
    /// Replacements in strings (the path, JSON strings, text bodies, text parts, query values) before the key is computed.
    pub replace: Vec<Replacement>,
}

impl Matching {
    /// The text after all replacements.
    pub(crate) fn replaced(&self, text: &str) -> String {
        self.replace.iter().fold(text.to_owned(), |text, replacement| {
            let Replacement { pattern, with } = replacement;
            pattern.replace_all(&text, with.as_str()).into_owned()
        })
    }
}

/// A regular expression and the text that replaces its matches (`$1` is the first group).
#[derive(Clone, Debug)]
pub struct Replacement {
    /// The expression whose matches are replaced.
    pub pattern: Regex,
    /// The replacement.
    pub with: String,
}

impl<'de> Deserialize<'de> for Replacement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Form {
            pattern: String,
            #[serde(default = "placeholder")]
            with: String,
        }
        fn placeholder() -> String {
            PLACEHOLDER.to_owned()
        }
        let Form { pattern, with } = Form::deserialize(deserializer)?;
        let pattern = Regex::new(&pattern).map_err(|error| {
            // `regex` marks the position on separate lines. A YAML error has one line, so take only the last.
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            de::Error::custom(format!("{pattern:?} is not a regular expression: {reason}"))
        })?;
        Ok(Self { pattern, with })
    }
}

/// A JSON pointer (RFC 6901) in which `*` matches any member or item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    pub(crate) fn segments(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for Pointer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let rest = text.strip_prefix('/').ok_or_else(|| {
            Error::new(
                ErrorKind::Settings,
                format!("{text:?} is not a JSON pointer: it must begin with a slash, as in /metadata/run_id"),
            )
        })?;
        Ok(Self(
            rest.split('/')
                .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
                .collect(),
        ))
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The beginning of a path, in which `*` is a segment to ignore: `/v1/projects/*/locations/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(Vec<String>);

/// The segment of a [`PathPattern`] that matches any segment.
pub(crate) const ANY: &str = "*";

impl PathPattern {
    /// The segments of a path, with [`ANY`] in place of the ignored ones; `None` if the path does not match.
    pub(crate) fn apply(&self, path: &str) -> Option<String> {
        let mut segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let matches = |(pattern, segment): (&String, &&str)| pattern == ANY || pattern == segment;
        if segments.len() < self.0.len() || !self.0.iter().zip(&segments).all(matches) {
            return None;
        }
        for (pattern, segment) in self.0.iter().zip(&mut segments) {
            if pattern == ANY {
                *segment = ANY;
            }
        }
        Some(format!("/{}", segments.join("/")))
    }
}

impl FromStr for PathPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let rest = text
            .strip_prefix('/')
            .filter(|rest| rest.split('/').any(|segment| segment == ANY));
        let rest = rest.ok_or_else(|| {
            Error::new(
                ErrorKind::Settings,
                format!("{text:?} ignores no segment of a path: use a pattern such as /v1/projects/*"),
            )
        })?;
        Ok(Self(rest.split('/').map(str::to_owned).collect()))
    }
}

impl<'de> Deserialize<'de> for PathPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_unescapes_its_segments() {
        let pointer: Pointer = "/a~1b/~0c/*".parse().unwrap();
        assert_eq!(pointer.segments(), ["a/b", "~c", "*"]);
    }

    #[test]
    fn a_path_pattern_is_the_beginning_of_a_path() {
        let pattern: PathPattern = "/v1/projects/*/locations/*".parse().unwrap();
        for (path, applied) in [
            ("/v1/projects/a/locations/b", Some("/v1/projects/*/locations/*")),
            ("/v1/projects/a/locations/b/c", Some("/v1/projects/*/locations/*/c")),
            ("/v1/projects/a/locations", None),
            ("/v1/project/a/locations/b", None),
            ("/", None),
        ] {
            assert_eq!(pattern.apply(path).as_deref(), applied, "{path}");
        }
        for text in ["v1/*", "/v1/files", "*", "", "/v1/a*"] {
            assert!(text.parse::<PathPattern>().is_err(), "{text}");
        }
    }
}
