//! Server-sent events: splits a stream into events, and parses an event.
//!
//! Splitting never changes a byte. A line ends with `\n`, `\r\n` or `\r`, as in the
//! [specification](https://html.spec.whatwg.org/multipage/server-sent-events.html).

use bytes::{Bytes, BytesMut};

use crate::http::headers::media_type;

/// Whether a content type is `text/event-stream`, with or without parameters.
pub(crate) fn is_event_stream(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|kind| media_type(kind).eq_ignore_ascii_case("text/event-stream"))
}

/// No event of the API is longer.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// Splits a stream, which arrives in chunks of any size, after the blank line of each event.
#[derive(Debug, Default)]
pub(crate) struct EventSplitter {
    buffer: BytesMut,
    /// The number of bytes at the start of the buffer that have been scanned.
    scanned: usize,
    line_has_content: bool,
    event_has_content: bool,
    /// Whether a `\r` ended the event. A `\n` that follows belongs to the event.
    ended_by_cr: bool,
    after_cr: bool,
}

impl EventSplitter {
    /// Appends a chunk, and returns the events that it completes, each with its blank line.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Vec<Bytes> {
        self.buffer.extend_from_slice(chunk);
        let mut events = Vec::new();
        while self.scanned < self.buffer.len() {
            let byte = self.buffer[self.scanned];
            if self.ended_by_cr {
                let end = self.scanned + usize::from(byte == b'\n');
                self.ended_by_cr = false;
                events.push(self.cut(end));
                continue;
            }
            self.scanned += 1;
            let is_lf_of_crlf = byte == b'\n' && self.after_cr;
            self.after_cr = byte == b'\r';
            match byte {
                _ if is_lf_of_crlf => {}
                b'\n' | b'\r' if self.line_has_content => self.line_has_content = false,
                b'\n' if self.event_has_content => {
                    let end = self.scanned;
                    events.push(self.cut(end));
                }
                b'\r' if self.event_has_content => self.ended_by_cr = true,
                b'\n' | b'\r' => {}
                _ => {
                    self.line_has_content = true;
                    self.event_has_content = true;
                    // The rest of the line changes nothing.
                    let rest = &self.buffer[self.scanned..];
                    self.scanned += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                }
            }
        }
        events
    }

    /// Whether the incomplete event is already longer than any event of the API. A caller that only counts events can then
    /// discard it.
    pub(crate) fn is_overlong(&self) -> bool {
        self.buffer.len() > MAX_EVENT_BYTES
    }

    /// Returns the rest when the stream has ended: an event without its blank line, or `None`.
    pub(crate) fn rest(&mut self) -> Option<Bytes> {
        let end = self.buffer.len();
        (end > 0).then(|| self.cut(end))
    }

    fn cut(&mut self, end: usize) -> Bytes {
        self.scanned = 0;
        self.line_has_content = false;
        self.event_has_content = false;
        self.after_cr = false;
        self.buffer.split_to(end).freeze()
    }
}

/// One event: its type, if any, and its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: Option<String>,
    pub(crate) data: String,
}

impl Event {
    /// Parses the lines of one event; `None` when it has no data (only a comment, a `retry`, or an empty `data`).
    pub(crate) fn parse(block: &str) -> Option<Self> {
        let block = block.strip_prefix('\u{feff}').unwrap_or(block);
        let (mut name, mut data) = (None, None::<String>);
        // The empty line within `\r\n` is no field.
        for line in block.split(['\n', '\r']) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = Some(value.to_owned()),
                "data" => match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                },
                _ => {}
            }
        }
        // The specification has events with empty data. Gateways send them to keep a connection open; the API does not.
        let data = data.filter(|data| !data.is_empty())?;
        Some(Self { name, data })
    }

    /// Whether this is `[DONE]`, which ends a complete completion.
    pub(crate) fn is_done(&self) -> bool {
        self.data.trim() == "[DONE]"
    }
}

/// Whether these bytes are the event `[DONE]`, which ends a complete completion.
pub(crate) fn is_done(block: &[u8]) -> bool {
    let event = std::str::from_utf8(block).ok().and_then(Event::parse);
    event.is_some_and(|event| event.is_done())
}

/// Parses the events of a complete stream.
pub(crate) fn parse_events(body: &[u8]) -> Vec<Event> {
    parse_events_with(body, |_| true)
}

/// Parses the events of a complete stream whose bytes meet a condition. The others are not parsed.
pub(crate) fn parse_events_with(body: &[u8], condition: impl Fn(&[u8]) -> bool) -> Vec<Event> {
    let mut splitter = EventSplitter::default();
    let mut blocks = splitter.push(body);
    blocks.extend(splitter.rest());
    blocks
        .iter()
        .filter(|block| condition(block))
        .filter_map(|block| Event::parse(&String::from_utf8_lossy(block)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = EventSplitter::default();
        let mut found: Vec<Bytes> = chunks.iter().flat_map(|chunk| splitter.push(chunk)).collect();
        found.extend(splitter.rest());
        found
            .iter()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .collect()
    }

    #[test]
    fn an_event_ends_after_its_blank_line_with_any_line_ending() {
        for end in ["\n", "\r\n", "\r"] {
            let (first, second) = (format!("event: a{end}data: 1{end}{end}"), format!("data: 2{end}{end}"));
            let stream = format!("{first}{second}data: cut");
            let expected = vec![first, second, "data: cut".to_owned()];
            assert_eq!(split(&[stream.as_bytes()]), expected, "{end:?}");
            let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            assert_eq!(split(&bytes), expected, "{end:?}, byte by byte");
        }
    }

    #[test]
    fn blank_lines_before_an_event_belong_to_it() {
        assert_eq!(split(&[b"\n\ndata: 1\n\n\n\n"]), ["\n\ndata: 1\n\n", "\n\n"]);
    }

    #[test]
    fn the_lines_of_an_event_are_parsed() {
        let event = Event::parse(": ping\r\nevent: delta\r\ndata: {\"a\":\r\ndata:1}\r\nid: 7\r\n\r\n").unwrap();
        assert_eq!(event.name.as_deref(), Some("delta"));
        assert_eq!(event.data, "{\"a\":\n1}");
        for none in [": ping\n\n", "data\n\n", "data:\n\n", "event: a\ndata: \n\n"] {
            assert_eq!(Event::parse(none), None, "{none:?}");
        }
        assert!(is_done(b"data: [DONE] \t\r\n\r\n"));
        assert_eq!(Event::parse("\u{feff}data: x").unwrap().data, "x");
    }

    proptest! {
        #[test]
        fn splitting_preserves_all_bytes_and_does_not_depend_on_the_chunks(
            stream in "[a:\r\n ]{0,60}",
            cuts in proptest::collection::vec(1usize..8, 0..30),
        ) {
            let whole = split(&[stream.as_bytes()]);
            prop_assert_eq!(whole.concat(), stream.as_str());
            let (mut rest, mut chunks) = (stream.as_bytes(), Vec::new());
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            chunks.push(rest);
            prop_assert_eq!(split(&chunks), whole);
        }
    }
}
