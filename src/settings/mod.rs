//! The settings of a cassette directory, read from `settings.yaml`.

pub(crate) mod duration;
pub(crate) mod expiry;
pub(crate) mod faults;
pub(crate) mod limits;
pub(crate) mod matching;
pub(crate) mod pace;
pub(crate) mod playback;
pub(crate) mod save_errors;

use serde::Deserialize;

pub use self::expiry::{Adaptive, Expiry};
pub use self::limits::Limits;
pub use self::matching::{Matching, PathPattern, Pointer, Replacement};
pub use self::pace::Pace;
pub use self::playback::Playback;
pub use self::save_errors::SaveErrors;
pub use crate::cassette::History;
use crate::cassette::yaml;
use crate::error::{ErrorKind, Result};

/// How requests are matched, what is redacted, which headers are recorded, and how recordings are replayed.
///
/// Settings are read from `settings.yaml` in the cassette directory. Every member is optional.
///
/// ```yaml
/// exhausted: repeat          # repeat | cycle | fail: what follows the last recorded response
/// pace: instant              # instant | recorded | 2x: how fast a recorded response is replayed
/// save_errors: false         # also record transient errors: true, or statuses as [429, 500]
/// polling: [GET, HEAD]       # methods that are sent again in the session that recorded them first
/// rewrite_unchanged: false   # rewrite a cassette even if the new response is equivalent
/// inline_body_bytes: 65536   # larger bodies are stored in bodies/<sha256>
/// matching:
///   ignore: [/metadata/run_id, /messages/*/name]   # JSON pointers into the body; * is any member
///   ignore_query: [page_token]
///   replace:
///   - pattern: '\d{4}-\d\d-\d\d'
///     with: <date>
/// redaction:
/// - pattern: 'ACME-\d+'
///   with: <customer>
/// secrets: refuse            # refuse | warn | allow: what happens to a response that contains a secret
/// headers:
///   keep: [x-request-cost]
/// expiry:                    # for caches, see Expiry
///   time_to_live: 7d
/// limits:                    # larger responses are passed to the caller and not recorded
///   entry_bytes: 10000000
///   total_bytes: 10000000000
/// ```
///
/// Of these, only `matching` affects the request key. After you change it, `mistral-cassette rekey` gives the recordings
/// their new keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// What follows the last recorded response of a request.
    pub exhausted: Exhausted,
    /// How fast a recorded response is replayed.
    pub pace: Pace,
    /// Which transient errors are recorded, such as 401, 429 or 5xx; by default none.
    pub save_errors: SaveErrors,
    /// The methods of requests that read a state that changes, such as that of a batch job. In mode `replay`, a request
    /// that was first recorded in a session is sent again each time in the same session, and responses that differ are
    /// recorded in order. Not in caches.
    pub polling: Vec<String>,
    /// Whether a cassette is rewritten even if the new response is equivalent to the recorded one.
    pub rewrite_unchanged: bool,
    /// The maximum size of a body within the cassette, in bytes. Larger bodies are stored in separate files.
    pub inline_body_bytes: usize,
    /// The parts of a request that the request key ignores.
    pub matching: Matching,
    /// Secrets in addition to the API key. They are replaced in requests and responses before anything is recorded. In a
    /// JSON body they are replaced in strings only, not in numbers.
    pub redaction: Vec<Replacement>,
    /// What happens to a response that contains a secret after redaction.
    pub secrets: Secrets,
    /// Which response headers are recorded.
    pub headers: Headers,
    /// How long recordings are used; by default they do not expire.
    pub expiry: Expiry,
    /// Size limits of what is recorded.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exhausted: Exhausted::Repeat,
            pace: Pace::Instant,
            save_errors: SaveErrors::None,
            polling: vec!["GET".to_owned(), "HEAD".to_owned()],
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
    /// Whether requests with this method read a state that changes.
    pub(crate) fn polls(&self, method: &str) -> bool {
        self.polling.iter().any(|polling| polling.eq_ignore_ascii_case(method))
    }

    /// Reads settings from YAML. `source` names the text in errors.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] with the line and the reason.
    pub fn from_yaml(text: &[u8], source: &str) -> Result<Self> {
        let is_content = |line: &[u8]| !matches!(line.trim_ascii().first(), None | Some(b'#'));
        if !text.split(|byte| *byte == b'\n').any(is_content) {
            return Ok(Self::default());
        }
        yaml::read_yaml(text, source, ErrorKind::Settings).map_err(|error| {
            error.with_hint(
                "every setting is described in docs/settings.md, and in the documentation of mistral_cassette::Settings",
            )
        })
    }
}

/// What follows the last recorded response of a request.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Exhausted {
    /// The last response again.
    #[default]
    Repeat,
    /// The first response again, then the others in order.
    Cycle,
    /// An error, also in mode `replay`.
    Fail,
}

impl Exhausted {
    /// Which of the recorded responses a request gets. `turn` counts the requests before it in this session.
    pub(crate) fn index(self, turn: usize, recorded: usize) -> Option<usize> {
        match self {
            _ if turn < recorded => Some(turn),
            Self::Repeat => Some(recorded - 1),
            Self::Cycle => Some(turn % recorded),
            Self::Fail => None,
        }
    }
}

/// What happens to a response in which a secret remains after redaction: an API key, a token, a cookie or a password in a
/// format that is certain. `mistral-cassette verify` also reports less certain ones.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Secrets {
    /// The caller gets the response, it is not recorded, and the session fails.
    #[default]
    Refuse,
    /// The response is recorded, and a warning names the secret and its position.
    Warn,
    /// The response is recorded without a search for secrets.
    Allow,
}

/// The response headers that are recorded in addition to the built-in list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Headers {
    /// Header names, case-insensitive. Cookies and hop-by-hop headers are never recorded.
    pub keep: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_request_gets_the_nth_response_and_exhausted_decides_what_follows() {
        let indexes = |exhausted: Exhausted| (0..5).map(|turn| exhausted.index(turn, 2)).collect::<Vec<_>>();
        assert_eq!(
            indexes(Exhausted::Repeat),
            [Some(0), Some(1), Some(1), Some(1), Some(1)]
        );
        assert_eq!(indexes(Exhausted::Cycle), [Some(0), Some(1), Some(0), Some(1), Some(0)]);
        assert_eq!(indexes(Exhausted::Fail), [Some(0), Some(1), None, None, None]);
    }

    fn read(yaml: &str) -> Result<Settings> {
        Settings::from_yaml(yaml.as_bytes(), "cassettes/settings.yaml")
    }

    #[test]
    fn every_member_is_optional_and_has_its_default() {
        for empty in ["", "\n", "# a comment\n\n  # another\n"] {
            let settings = read(empty).unwrap();
            assert_eq!((settings.exhausted, settings.pace), (Exhausted::Repeat, Pace::Instant));
            assert_eq!(
                (settings.save_errors, settings.inline_body_bytes),
                (SaveErrors::None, 65536)
            );
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
    fn an_invalid_setting_is_reported_with_its_line() {
        for (yaml, message) in [
            (
                "save_errors: false\nexausted: fail\n",
                "cannot read cassettes/settings.yaml: line 2: unknown field `exausted`",
            ),
            (
                "save_errors: some\n",
                "expected true, false, or a list of statuses such as [429, 500]",
            ),
            (
                "exhausted: never\n",
                "cannot read cassettes/settings.yaml: line 1: unknown variant `never`",
            ),
            (
                "redaction:\n- pattern: '('\n",
                "is not a regular expression: unclosed group",
            ),
            (
                "matching:\n  ignore: [metadata]\n",
                "\"metadata\" is not a JSON pointer",
            ),
            ("pace: 0x\n", "\"0x\" is not a pace; give none, recorded, or a factor"),
        ] {
            let error = read(yaml).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.message().contains(message), "{error}");
        }
    }
}
