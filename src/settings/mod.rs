//! What a team agrees on for its cassettes: `settings.yaml` in the cassette directory.

use regex::Regex;
use serde::{Deserialize, Deserializer, de};

use crate::cassette::yaml;
use crate::error::{Error, ErrorKind, Result};
pub(crate) mod expiry;
pub(crate) mod playback;

use self::expiry::Expiry;
use self::playback::Pace;

/// What stands in place of a secret, unless a setting says otherwise.
pub(crate) const PLACEHOLDER: &str = "[REDACTED]";

/// How requests are matched, what is redacted, which headers are kept, and how recordings are replayed.
///
/// It is read from `settings.yaml` in the cassette directory; every member is optional.
///
/// ```yaml
/// exhausted: repeat          # repeat | cycle | fail: what comes after the last recorded response
/// pace: instant              # instant | recorded | 2x: how fast a recorded answer is handed on
/// save_errors: false         # keep 401, 403, 408, 429 and 5xx answers too
/// rewrite_unchanged: false   # rewrite a cassette whose new answer says the same
/// inline_body_bytes: 65536   # larger bodies go to bodies/<sha256>
/// matching:
///   ignore: [/metadata/run_id, /messages/*/name]   # JSON pointers into the body; * is any member
///   ignore_query: [page_token]
///   replace:
///   - pattern: '\d{4}-\d\d-\d\d'
///     with: <date>
/// redaction:
/// - pattern: 'ACME-\d+'
///   with: <customer>
/// secrets: refuse            # refuse | warn | allow: what becomes of an answer in which a secret is left
/// headers:
///   keep: [x-request-cost]
/// expiry:                    # for caches, see Expiry
///   time_to_live: 7d
/// limits:                    # larger answers are handed on and not kept
///   entry_bytes: 10000000
///   total_bytes: 10000000000
/// ```
///
/// Only matching takes part in the request key: after a change of it `mistral-cassette rekey` gives recordings their new keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// What comes after the last recorded response of a request.
    pub exhausted: Exhausted,
    /// How fast a recorded answer is handed on.
    pub pace: Pace,
    /// Whether answers that speak of the day and not of the request (401, 403, 408, 429, 5xx) are kept too.
    pub save_errors: bool,
    /// Whether a cassette is written anew even when the new answer says the same as the one on file.
    pub rewrite_unchanged: bool,
    /// Bodies of more bytes than this are kept beside the cassette.
    pub inline_body_bytes: usize,
    /// What takes no part in the request key.
    pub matching: Matching,
    /// More secrets than the API key, replaced in requests and responses before anything is kept: in strings, so that
    /// the numbers of a JSON body are left alone.
    pub redaction: Vec<Replacement>,
    /// What becomes of a recording in which a secret is left after redaction.
    pub secrets: Secrets,
    /// Which response headers are kept.
    pub headers: Headers,
    /// How long recordings are used: for ever unless this says otherwise.
    pub expiry: Expiry,
    /// What is too large to be kept.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exhausted: Exhausted::Repeat,
            pace: Pace::Instant,
            save_errors: false,
            rewrite_unchanged: false,
            inline_body_bytes: 64 * 1024,
            matching: Matching::default(),
            redaction: Vec::new(),
            secrets: Secrets::Refuse,
            headers: Headers::default(),
            expiry: Expiry::default(),
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// Reads settings from YAML; `source` names the text in errors.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) with the line of what is wrong.
    pub fn from_yaml(text: &[u8], source: &str) -> Result<Self> {
        let is_content = |line: &[u8]| !matches!(line.trim_ascii().first(), None | Some(b'#'));
        if !text.split(|byte| *byte == b'\n').any(is_content) {
            return Ok(Self::default());
        }
        yaml::read_yaml(text, source).map_err(|error| {
            let message = error
                .message()
                .replace("the cassette cannot be read", "the settings cannot be read");
            Error::new(ErrorKind::Settings, message).with_hint(
                "every setting is described in the README, and in the documentation of mistral_cassette::Settings",
            )
        })
    }
}

/// What comes after the last recorded response of a request.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Exhausted {
    /// The last one again.
    #[default]
    Repeat,
    /// The first one again.
    Cycle,
    /// A failure, in mode `replay` as well: what would come next was never asked.
    Fail,
}

/// What becomes of a recording in which a secret is left after redaction: a key, a token, a cookie or a password of a
/// shape that leaves no doubt. `mistral-cassette verify` tells of less certain ones too.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Secrets {
    /// The answer is handed on and not kept, and the session has failed.
    #[default]
    Refuse,
    /// It is kept, and a warning says what is in it and where.
    Warn,
    /// It is kept, and not searched.
    Allow,
}

/// What takes no part in the request key.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Matching {
    /// Members of a JSON body to leave out.
    pub ignore: Vec<Pointer>,
    /// Query parameters to leave out.
    pub ignore_query: Vec<String>,
    /// What to replace in strings (JSON strings, text bodies, text parts, query values).
    pub replace: Vec<Replacement>,
}

/// Which response headers are kept beside the built-in list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Headers {
    /// Names, in any case. Cookies and hop-by-hop headers are never kept.
    pub keep: Vec<String>,
}

/// What is too large to be kept; such an answer is handed on and counted as [skipped](crate::Summary::skipped).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes of the bodies of one cassette, the request's included; unless this says otherwise, 128 MiB of an answer,
    /// whatever was asked with. A larger answer is handed on with no more than that of it held, and not kept.
    pub entry_bytes: Option<u64>,
    /// The most bytes of all of them, where the [engine](crate::CacheEngine::size) can tell; it is asked once a minute.
    pub total_bytes: Option<u64>,
}

impl Limits {
    /// The most bytes of an answer, whether or not the whole cassette has a limit.
    pub(crate) fn largest_answer(&self) -> u64 {
        const UNSET: u64 = 128 << 20;
        self.entry_bytes.unwrap_or(UNSET)
    }
}

/// A regular expression and what stands in place of its matches (`$1` is the first group).
#[derive(Clone, Debug)]
pub struct Replacement {
    /// What is replaced.
    pub pattern: Regex,
    /// What stands in its place.
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
            // The crate draws the place on lines of its own, which an error in YAML cannot show.
            let error = error.to_string();
            let what = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            de::Error::custom(format!("{pattern:?} is no regular expression: {what}"))
        })?;
        Ok(Self { pattern, with })
    }
}

/// A JSON pointer (RFC 6901) in which `*` stands for any member or item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    pub(crate) fn segments(&self) -> &[String] {
        &self.0
    }
}

impl std::str::FromStr for Pointer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let rest = text.strip_prefix('/').ok_or_else(|| {
            Error::new(
                ErrorKind::Settings,
                format!("{text:?} is no JSON pointer: it begins with a slash, as in /metadata/run_id"),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Settings> {
        Settings::from_yaml(yaml.as_bytes(), "cassettes/settings.yaml")
    }

    #[test]
    fn every_member_is_optional_and_has_its_default() {
        for nothing in ["", "\n", "# a comment\n\n  # another\n"] {
            let settings = read(nothing).unwrap();
            assert_eq!((settings.exhausted, settings.pace), (Exhausted::Repeat, Pace::Instant));
            assert_eq!((settings.save_errors, settings.inline_body_bytes), (false, 65536));
        }
    }

    #[test]
    fn the_settings_of_the_documentation_are_read() {
        let page = include_str!("../../docs/settings.md");
        let start = page.find("exhausted: repeat  ").unwrap();
        let settings = read(page[start..].split("```").next().unwrap()).unwrap();
        assert_eq!(settings.matching.ignore[1], "/messages/*/name".parse().unwrap());
        assert_eq!(settings.redaction[0].with, "<customer>");
        assert_eq!(settings.headers.keep, ["x-request-cost"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (yaml, told) in [
            (
                "save_errors: false\nexausted: fail\n",
                "settings.yaml:2: the settings cannot be read: unknown field `exausted`",
            ),
            (
                "exhausted: never\n",
                "settings.yaml:1: the settings cannot be read: unknown variant `never`",
            ),
            (
                "redaction:\n- pattern: '('\n",
                "is no regular expression: unclosed group",
            ),
            ("matching:\n  ignore: [metadata]\n", "\"metadata\" is no JSON pointer"),
            ("pace: 0x\n", "\"0x\" is no pace; a pace is none, recorded, or a factor"),
        ] {
            let error = read(yaml).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.message().contains(told), "{error}");
        }
    }

    #[test]
    fn a_pointer_unescapes_its_segments() {
        let pointer: Pointer = "/a~1b/~0c/*".parse().unwrap();
        assert_eq!(pointer.segments(), ["a/b", "~c", "*"]);
    }
}
