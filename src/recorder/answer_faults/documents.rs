//! The JSON documents of a response: its body, or the data of the events of its stream.

use bytes::Bytes;
use serde_json::Value;

use crate::http::{Event, JsonLayout, JsonSpacing, StreamFormat, parse_exact_json, parse_json};

/// The documents of one response.
pub(super) struct Documents {
    blocks: Vec<Block>,
    /// The documents, in order; not JSON: null.
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
    /// Parses a response body. `None` for a plain body that is not JSON, and for a binary stream.
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
                events.into_iter().map(Block::of_event).collect()
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
    fn of_event(bytes: Bytes) -> Self {
        let event = std::str::from_utf8(&bytes).ok().and_then(Event::parse);
        let parsed = event.and_then(|event| parse_document(event.data.as_bytes()));
        let (original, layout) = parsed.unwrap_or_default();
        // Data of several lines would need a `data:` for each.
        let layout = match layout.spacing {
            JsonSpacing::Indented(_) => JsonLayout::default(),
            _ => layout,
        };
        Self {
            bytes,
            layout,
            original,
        }
    }

    /// Writes the event with another document, and with its type if it had that of the document. Its other lines keep
    /// their bytes.
    fn write_event(&self, value: &Value, out: &mut Vec<u8>) {
        let mut data = Some([b"data: ", &self.layout.write(value)[..]].concat());
        let kind = |value: &Value| Some(format!("event: {}", value["type"].as_str()?).into_bytes());
        let had_kind = kind(&self.original);
        for line in self.bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            let changed = if text.starts_with(b"data:") || text == b"data" {
                match data.take() {
                    Some(data) => Some(data),
                    None => continue,
                }
            } else {
                (had_kind.as_deref() == Some(text)).then(|| kind(value)).flatten()
            };
            out.extend_from_slice(changed.as_deref().unwrap_or(text));
            out.extend_from_slice(&line[text.len()..]);
        }
    }
}

fn parse_document(text: &[u8]) -> Option<(Value, JsonLayout)> {
    parse_exact_json(text).or_else(|| Some((parse_json(text)?, JsonLayout::default())))
}
