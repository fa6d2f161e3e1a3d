//! The JSON documents of a response: its body, or the data of the events of its stream.

use bytes::Bytes;
use serde_json::Value;

use crate::http::{Event, JsonLayout, JsonSpacing, StreamFormat, parse_exact_json, parse_json};

/// The documents of one response.
pub(super) struct Documents {
    blocks: Vec<Block>,
    /// The documents, in order. Null for an event whose data is not JSON.
    values: Vec<Value>,
    is_stream: bool,
}

/// The bytes of one document, and how its JSON is laid out.
struct Block {
    bytes: Bytes,
    layout: JsonLayout,
    original: Value,
}

impl Documents {
    /// Parses a response body. `None` for a body or an event that is not JSON which can be written again without loss, and for
    /// a binary stream.
    pub(super) fn parse(body: &[u8], format: Option<StreamFormat>) -> Option<Self> {
        let blocks = match format {
            None => {
                let (original, layout) = parse_document(body)?;
                let bytes = Bytes::copy_from_slice(body);
                vec![Block {
                    bytes,
                    layout,
                    original,
                }]
            }
            Some(StreamFormat::Events) => {
                let mut splitter = StreamFormat::Events.splitter();
                let mut events = splitter.push(body);
                events.extend(splitter.rest());
                events.into_iter().map(Block::of_event).collect::<Option<_>>()?
            }
            Some(StreamFormat::Frames) => return None,
        };
        Some(Self {
            values: blocks.iter().map(|block| block.original.clone()).collect(),
            blocks,
            is_stream: format.is_some(),
        })
    }

    pub(super) fn values(&self) -> &[Value] {
        &self.values
    }

    pub(super) fn values_mut(&mut self) -> &mut [Value] {
        &mut self.values
    }

    /// Writes the response body. What has not changed keeps its bytes.
    pub(super) fn write(&self) -> Bytes {
        let mut out = Vec::new();
        for (block, value) in self.blocks.iter().zip(&self.values) {
            if *value == block.original {
                out.extend_from_slice(&block.bytes);
            } else if self.is_stream {
                block.write_event(value, &mut out);
            } else {
                out.extend(block.layout.write(value));
            }
        }
        out.into()
    }
}

impl Block {
    /// Parses an event. `None` if its data begins like an object and cannot be parsed: it might contain a part of the
    /// answer.
    fn of_event(bytes: Bytes) -> Option<Self> {
        let event = std::str::from_utf8(&bytes).ok().and_then(Event::parse);
        let data = event.map(|event| event.data).unwrap_or_default();
        let (original, layout) = match parse_document(data.as_bytes()) {
            None if data.trim_start().starts_with('{') => return None,
            parsed => parsed.unwrap_or_default(),
        };
        // Data of several lines would need a `data:` for each.
        let layout = match layout.spacing {
            JsonSpacing::Indented(_) => JsonLayout::default(),
            _ => layout,
        };
        Some(Self {
            bytes,
            layout,
            original,
        })
    }

    /// Writes the event with another document. If the type of the event was the member `type` of the old document, it
    /// becomes that of the new one. All other lines keep their bytes.
    fn write_event(&self, value: &Value, out: &mut Vec<u8>) {
        let mut data = Some(self.layout.write(value));
        let had_kind = self.original["type"].as_str().map(str::as_bytes);
        let kind = value["type"].as_str().unwrap_or_default().as_bytes();
        for line in lines(&self.bytes) {
            let text = line.trim_ascii_end();
            let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
            let (field, field_value) = match text.iter().position(|byte| *byte == b':') {
                Some(colon) => (&text[..colon], &text[colon + 1..]),
                None => (text, &b""[..]),
            };
            let changed = match field {
                b"data" => match data.take() {
                    Some(data) => data,
                    None => continue,
                },
                b"event" if Some(field_value.trim_ascii_start()) == had_kind => kind.to_vec(),
                _ => {
                    out.extend_from_slice(line);
                    continue;
                }
            };
            if line.starts_with(BYTE_ORDER_MARK) {
                out.extend_from_slice(BYTE_ORDER_MARK);
            }
            out.extend_from_slice(field);
            out.extend_from_slice(b": ");
            out.extend_from_slice(&changed);
            let end = line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
            out.extend_from_slice(&line[end.map_or(0, |end| end + 1)..]);
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines of an event with their ends: `\r\n`, `\n` or `\r`.
fn lines(event: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = event;
    while !rest.is_empty() {
        let end = match memchr::memchr2(b'\r', b'\n', rest) {
            Some(at) if rest[at] == b'\r' && rest.get(at + 1) == Some(&b'\n') => at + 2,
            Some(at) => at + 1,
            None => rest.len(),
        };
        let (line, after) = rest.split_at(end);
        lines.push(line);
        rest = after;
    }
    lines
}

fn parse_document(text: &[u8]) -> Option<(Value, JsonLayout)> {
    parse_exact_json(text).or_else(|| Some((parse_json(text)?, JsonLayout::default())))
}
