//! Detects incomplete bodies of responses that have neither a length nor chunks.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};

use crate::error::{Error, ErrorKind, Result};
use crate::http::{StreamFormat, StreamSplitter, is_done, media_type};

/// Checks whether a body is complete when only the end of its connection marks its end.
pub(super) enum Completeness {
    Events(StreamSplitter),
    Json(Nesting),
    /// The current event is too large to be held in memory.
    Unknown,
}

impl Completeness {
    /// Returns the check for a content type, or `None` if no check exists for it.
    pub(super) fn of(content_type: Option<&str>) -> Option<Self> {
        if let Some(format) = StreamFormat::of(content_type) {
            return Some(Self::Events(format.splitter()));
        }
        // JSON lines, too.
        let kind = media_type(content_type.unwrap_or_default()).to_ascii_lowercase();
        let is_json = kind.starts_with("application/json") || kind.ends_with("+json");
        is_json.then(|| Self::Json(Nesting::default()))
    }

    fn push(&mut self, piece: &[u8]) {
        match self {
            Self::Events(splitter) => {
                splitter.push(piece);
                if splitter.is_overlong() {
                    *self = Self::Unknown;
                }
            }
            Self::Json(nesting) => nesting.push(piece),
            Self::Unknown => {}
        }
    }

    /// Returns the unit that the body ends in the middle of, or `None` if the body is complete.
    fn incomplete_unit(self) -> Option<&'static str> {
        match self {
            Self::Events(mut splitter) => {
                let rest = splitter.rest().unwrap_or_default();
                (!rest.trim_ascii().is_empty() && !is_done(&rest)).then_some("an event")
            }
            Self::Json(nesting) => nesting.is_open().then_some("its JSON"),
            Self::Unknown => None,
        }
    }
}

/// Tracks the nesting depth of a JSON text without storing the text, since a response may be endless.
#[derive(Default)]
pub(super) struct Nesting {
    depth: u64,
    is_in_string: bool,
    is_escaped: bool,
    /// Whether the text starts like an object, an array or a string, and has no unmatched closing bracket.
    is_json: bool,
    has_begun: bool,
}

impl Nesting {
    fn push(&mut self, piece: &[u8]) {
        for byte in piece {
            if self.is_in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.is_in_string = false,
                    _ => {}
                }
                continue;
            }
            if !self.has_begun && !byte.is_ascii_whitespace() {
                self.has_begun = true;
                self.is_json = matches!(byte, b'{' | b'[' | b'"');
            }
            match byte {
                b'"' => self.is_in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth == 0 => self.is_json = false,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
        }
    }

    fn is_open(&self) -> bool {
        self.is_json && (self.depth > 0 || self.is_in_string)
    }
}

/// Forwards the pieces of a body, followed by an error if the body is incomplete.
pub(super) fn checked(
    pieces: impl Stream<Item = Result<Bytes>> + Send + 'static,
    completeness: Completeness,
    origin: String,
) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    let state = Some((Box::pin(pieces), completeness, origin));
    stream::unfold(state, |state| async move {
        let (mut pieces, mut completeness, origin) = state?;
        match pieces.next().await {
            Some(Ok(piece)) => {
                completeness.push(&piece);
                Some((Ok(piece), Some((pieces, completeness, origin))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None => {
                let unit = completeness.incomplete_unit()?;
                let message = format!("{origin} sent an incomplete response: it ends in the middle of {unit}");
                Some((Err(Error::new(ErrorKind::Upstream, message)), None))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_complete_when_no_bracket_and_no_string_is_open() {
        let is_open = |text: &str| {
            let mut nesting = Nesting::default();
            text.as_bytes().chunks(1).for_each(|byte| nesting.push(byte));
            nesting.is_open()
        };
        let complete = r#" {"a": ["}", "\\", "\"]", {}, 1], "é": null} "#;
        assert!(!is_open(complete));
        let end = complete.trim_end().len();
        for (at, _) in complete.char_indices().filter(|(at, _)| (2..end).contains(at)) {
            assert!(is_open(&complete[..at]), "{}", &complete[..at]);
        }
        for text in ["", "  ", "12", "no JSON { at all", "{}}{", "]["] {
            assert!(!is_open(text), "{text}");
        }
    }

    #[test]
    fn json_is_recognized_by_its_media_type() {
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
            "application/jsonl",
        ] {
            let mut completeness = Completeness::of(Some(kind)).unwrap();
            completeness.push(b"{\"a\":");
            assert_eq!(completeness.incomplete_unit(), Some("its JSON"), "{kind}");
        }
        assert!(Completeness::of(None).is_none());
    }

    #[test]
    fn events_are_complete_after_a_blank_line_or_done() {
        let unit = |text: &str| {
            let mut completeness = Completeness::of(Some("text/event-stream")).unwrap();
            completeness.push(text.as_bytes());
            completeness.incomplete_unit()
        };
        for text in ["", "data: 1\n\n", "data: 1\n\ndata: [DONE]"] {
            assert_eq!(unit(text), None, "{text}");
        }
        for text in ["data: 1", "data: 1\n\nevent: a\n"] {
            assert_eq!(unit(text), Some("an event"), "{text}");
        }
        assert!(Completeness::of(Some("text/plain")).is_none());
    }
}
