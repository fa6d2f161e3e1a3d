//! Playback of recorded responses: pace, fragments and injected faults, and the request headers that select them.

use std::str::FromStr;

use http::HeaderMap;

use crate::error::{Error, ErrorKind, Result};
use crate::http::control_headers;
use crate::settings::faults::{Faults, Injection};
use crate::settings::pace::Pace;
use crate::settings::save_errors::SaveErrors;

const PACE: &str = "mistral-cassette-pace";
const FRAGMENT: &str = "mistral-cassette-fragment";
const INJECT: &str = "mistral-cassette-inject";
const SAVE_ERRORS: &str = "mistral-cassette-save-errors";

/// What the `mistral-cassette-…` headers of a request select.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HeaderControls {
    pub(crate) playback: Playback,
    /// The transient errors to record, in place of those of the settings.
    pub(crate) save_errors: Option<SaveErrors>,
}

/// How responses are replayed, so that a program can test its streaming and its error handling offline.
///
/// It does not affect recordings: a request without a recording is sent and recorded as usual.
///
/// ```
/// use mistral_cassette::settings::Pace;
/// use mistral_cassette::{MemoryEngine, Mode, Playback, Recorder};
///
/// let playback = Playback::new()
///     .pace(Pace::Times(2.0))
///     .fragments([1, 5, 2, 13])
///     .inject("429:0.1,cut:0.05,delay:200ms,seed:7")?;
/// let recorder = Recorder::builder(MemoryEngine::new()).mode(Mode::Strict).playback(playback).build()?;
/// # Ok::<(), mistral_cassette::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Playback {
    pace: Option<Pace>,
    fragments: Fragments,
    faults: Faults,
}

impl Playback {
    /// Unchanged responses at the pace of the settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the pace, which overrides that of the settings.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = Some(pace);
        self
    }

    /// Sends bodies in pieces of these lengths in bytes; after the last length the first follows again. Pieces may end
    /// within an event or a character. A length of 0 counts as 1. Without lengths, a body has the pieces of its recording.
    #[must_use]
    pub fn fragments(mut self, lengths: impl IntoIterator<Item = usize>) -> Self {
        self.fragments = Fragments(lengths.into_iter().map(|length| length.max(1)).collect());
        self
    }

    /// Injects faults into responses: a list of items, each with its probability, separated by commas.
    ///
    /// | item | effect |
    /// | --- | --- |
    /// | `429:0.1` | one response in ten is an error with this status (400 to 599), in the API's format |
    /// | `cut:0.05` | the connection closes after half of the body |
    /// | `malformed:0.05` | the JSON, or one event of the stream, is truncated; the response is otherwise complete |
    /// | `reset:0.05` | the connection closes before the response, here an [`Upstream`](ErrorKind::Upstream) error |
    /// | `close:1011:0.05` | only a WebSocket session: it is closed with this code after half of the messages for the client |
    /// | `tool-json:0.1` | the arguments of a tool call are not valid JSON |
    /// | `unknown-tool:0.1` | a tool call names a tool that does not exist |
    /// | `schema:0.1` | the JSON of the content, or else of a tool call, lacks a required member |
    /// | `length:0.1` | the answer ends in its middle, at the limit of tokens |
    /// | `refusal:0.1`, `empty:0.1` | a refusal, or nothing, in place of the answer |
    /// | `delay:200ms`, `delay:2s:0.5` | the response is delayed |
    /// | `seed:7` | selects other requests; 0 by default |
    ///
    /// The default probability is 1. Which requests get a fault depends only on the seed, the request key, and the number
    /// of requests with this key in the session. A fault does not use up a recorded response: the retry gets it. A response
    /// that cannot have its fault is replayed unchanged.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] with the invalid item and the syntax.
    pub fn inject(mut self, faults: &str) -> Result<Self> {
        self.faults = faults.parse()?;
        Ok(self)
    }

    /// The playback that command-line flags select.
    #[cfg(feature = "cli")]
    pub(crate) fn from_flags(pace: Option<Pace>, fragments: Option<Fragments>, faults: Option<Faults>) -> Self {
        Self {
            pace,
            fragments: fragments.unwrap_or_default(),
            faults: faults.unwrap_or_default(),
        }
    }

    /// Removes the `mistral-cassette-…` headers of a request, and returns this playback with what they select; `None` when
    /// there are none.
    pub(crate) fn take_headers(&self, headers: &mut HeaderMap) -> Result<Option<HeaderControls>> {
        let names = control_headers(headers);
        if names.is_empty() {
            return Ok(None);
        }
        let mut controls = HeaderControls {
            playback: self.clone(),
            save_errors: None,
        };
        let playback = &mut controls.playback;
        for name in names {
            let values: Vec<String> = headers
                .get_all(&name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .collect();
            headers.remove(&name);
            let value = values.join(",");
            let set = match name.as_str() {
                PACE => value.parse().map(|pace| playback.pace = Some(pace)),
                FRAGMENT => value.parse().map(|fragments| playback.fragments = fragments),
                INJECT => value.parse().map(|faults: Faults| playback.faults = faults.required()),
                SAVE_ERRORS => value.parse().map(|errors| controls.save_errors = Some(errors)),
                _ => {
                    return Err(
                        Error::new(ErrorKind::Request, format!("unknown header {name}")).with_hint(format!(
                            "mistral-cassette has the headers {PACE}, {FRAGMENT}, {INJECT} and {SAVE_ERRORS}"
                        )),
                    );
                }
            };
            set.map_err(|error: Error| {
                Error::new(ErrorKind::Request, format!("in the header {name}: {}", error.message()))
                    .with_hint(error.hint().unwrap_or_default())
            })?;
        }
        Ok(Some(controls))
    }

    /// The pace, by default that of the settings.
    pub(crate) fn pace_or(&self, settings: Pace) -> Pace {
        self.pace.unwrap_or(settings)
    }

    /// The lengths of the fragments, which repeat; empty for the recorded pieces.
    pub(crate) fn fragment_lengths(&self) -> &[usize] {
        &self.fragments.0
    }

    /// The injection for a request key and the number of its request in the session, from 0.
    pub(crate) fn injection(&self, key: &str, number: usize) -> Injection {
        self.faults.injection(key, number)
    }
}

/// The lengths of the pieces of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fragments(Vec<usize>);

impl FromStr for Fragments {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.trim() == "none" {
            return Ok(Self::default());
        }
        text.split(',')
            .map(|item| item.trim().parse().ok().filter(|length| *length > 0).ok_or(item))
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(|item| {
                Error::new(
                    ErrorKind::Settings,
                    format!("{item:?} in {text:?} is not the length of a fragment"),
                )
                .with_hint("give lengths in bytes, each at least 1, as in 1,5,2,13; or none")
            })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn fragment_lengths_are_integers_above_zero() {
        assert_eq!("1, 5,2".parse::<Fragments>().unwrap().0, [1, 5, 2]);
        assert_eq!("none".parse::<Fragments>().unwrap().0, [0; 0]);
        assert_eq!(Playback::new().fragments([0, 2]).fragment_lengths(), [1, 2]);
        for (wrong, item) in [("1,0", "\"0\""), ("", "\"\""), ("1,,2", "\"\""), ("2,-1", "\"-1\"")] {
            let error = wrong.parse::<Fragments>().unwrap_err();
            let message = format!("{item} in {wrong:?} is not the length of a fragment");
            assert_eq!(error.message(), message);
        }
    }

    #[test]
    fn request_headers_override_the_playback_and_are_removed() {
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_static("application/json"));
        let session = Playback::new().inject("429").unwrap().pace(Pace::Recorded);
        assert_eq!(session.take_headers(&mut headers).unwrap(), None);
        headers.insert(INJECT, HeaderValue::from_static("none"));
        headers.append(FRAGMENT, HeaderValue::from_static("1,5"));
        headers.append(FRAGMENT, HeaderValue::from_static("2"));
        headers.insert(SAVE_ERRORS, HeaderValue::from_static("429,500"));
        let selected = session.take_headers(&mut headers).unwrap().unwrap();
        assert_eq!(
            selected.playback,
            Playback::new().pace(Pace::Recorded).fragments([1, 5, 2])
        );
        assert_eq!(selected.save_errors, Some(SaveErrors::Statuses(vec![429, 500])));
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn an_unknown_header_or_value_is_an_error() {
        let mut headers = HeaderMap::new();
        headers.insert("mistral-cassette-fragments", HeaderValue::from_static("1"));
        let error = Playback::new().take_headers(&mut headers).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request);
        insta::assert_snapshot!(error, @"
        unknown header mistral-cassette-fragments
        hint: mistral-cassette has the headers mistral-cassette-pace, mistral-cassette-fragment, mistral-cassette-inject and mistral-cassette-save-errors
        ");
        headers.insert(PACE, HeaderValue::from_static("fast"));
        insta::assert_snapshot!(Playback::new().take_headers(&mut headers).unwrap_err(), @r#"
        in the header mistral-cassette-pace: "fast" is not a pace
        hint: give none, recorded, or a factor above 0 as in 2x or 0.5x
        "#);
    }
}
