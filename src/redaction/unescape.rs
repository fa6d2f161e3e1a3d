//! Decodes the escapes of JSON, source code, URLs and HTML in text of any format, and maps positions back to the source.
//!
//! A text may be escaped more than once: the arguments of a tool call are JSON in JSON. Each level is decoded from the one above.

use std::ops::Range;

/// How often escapes are decoded. The arguments of a tool call in a document within a request need three.
const MAX_LEVELS: usize = 4;

/// The number of bytes that are copied before and after an escape. Text far from any escape is the same as in the source, and is
/// not searched again.
const CONTEXT: usize = 16 << 10;

/// A text with its escapes decoded.
struct Level {
    text: Vec<u8>,
    /// The start of each piece in the decoded text and in the text that it was decoded from, and the end of both. A piece that is
    /// as long in both was copied.
    pieces: Vec<(usize, usize)>,
}

impl Level {
    /// Decodes the escapes of a text; `None` when it has none.
    fn of(source: &[u8]) -> Option<Self> {
        let mut level = Self {
            text: Vec::new(),
            pieces: Vec::new(),
        };
        let mut copied = 0;
        for at in memchr::memchr3_iter(b'\\', b'%', b'&', source) {
            if at < copied {
                // Within the previous escape.
                continue;
            }
            let Some((length, decoded)) = decode_escape(&source[at..]) else {
                continue;
            };
            if level.text.is_empty() {
                level.text.reserve(source.len().min(1 << 20));
            }
            level.copy(source, copied..at);
            level.pieces.push((level.text.len(), at));
            decoded.push_to(&mut level.text);
            copied = at + length;
        }
        if copied == 0 {
            return None;
        }
        level.copy(source, copied..source.len());
        level.pieces.push((level.text.len(), source.len()));
        Some(level)
    }

    /// Copies a range without escapes. Only the ends of a long one are copied, with a line break between them.
    fn copy(&mut self, source: &[u8], range: Range<usize>) {
        let mut push = |range: Range<usize>| {
            if !range.is_empty() {
                self.pieces.push((self.text.len(), range.start));
                self.text.extend_from_slice(&source[range]);
            }
        };
        if range.len() <= 2 * CONTEXT + 1 {
            return push(range);
        }
        let (start, end) = (range.start + CONTEXT, range.end - CONTEXT);
        push(range.start..start);
        self.pieces.push((self.text.len(), start));
        self.text.push(b'\n');
        self.pieces.push((self.text.len(), end));
        self.text.extend_from_slice(&source[end..range.end]);
    }

    /// The range in the text of the level above that was decoded to this range.
    fn origin(&self, range: &Range<usize>) -> Range<usize> {
        let start = self.piece_at(range.start);
        let end = self.piece_at(range.end.saturating_sub(1).max(range.start));
        let start = start.source.start
            + if start.is_copied {
                range.start - start.decoded
            } else {
                0
            };
        let end = if end.is_copied {
            end.source.start + (range.end - end.decoded)
        } else {
            end.source.end
        };
        start..end.max(start)
    }

    fn piece_at(&self, position: usize) -> Piece {
        let index = self.pieces.partition_point(|(decoded, _)| *decoded <= position);
        // An escape may be decoded to nothing, and the last entry is the end of the text.
        let index = index.clamp(1, self.pieces.len().saturating_sub(1).max(1));
        let (decoded, source) = self.pieces[index - 1];
        let (next_decoded, next_source) = self.pieces.get(index).copied().unwrap_or((decoded, source));
        Piece {
            decoded,
            source: source..next_source,
            is_copied: next_decoded - decoded == next_source - source,
        }
    }
}

struct Piece {
    decoded: usize,
    source: Range<usize>,
    is_copied: bool,
}

/// A text, and what its escapes decode to.
pub(super) struct Unescaped<'a> {
    source: &'a [u8],
    levels: Vec<Level>,
}

impl<'a> Unescaped<'a> {
    /// Decodes the escapes of a text, those of the result, and so on.
    pub(super) fn of(source: &'a [u8]) -> Self {
        let mut levels: Vec<Level> = Vec::new();
        while levels.len() < MAX_LEVELS {
            let above = levels.last().map_or(source, |level| &level.text);
            match Level::of(above) {
                Some(level) => levels.push(level),
                None => break,
            }
        }
        Self { source, levels }
    }

    /// The source, then each level of decoded text. The number is for [`origin`](Self::origin).
    pub(super) fn texts(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let levels = self.levels.iter().map(|level| level.text.as_slice());
        std::iter::once(self.source).chain(levels).enumerate()
    }

    /// The range in the source that was decoded to a range in a text.
    pub(super) fn origin(&self, text: usize, range: Range<usize>) -> Range<usize> {
        let above = self.levels[..text].iter().rev();
        above.fold(range, |range, level| level.origin(&range))
    }
}

/// What an escape stands for.
enum Decoded {
    Byte(u8),
    Character(char),
}

impl Decoded {
    fn push_to(&self, text: &mut Vec<u8>) {
        match self {
            Self::Byte(byte) => text.push(*byte),
            Self::Character(character) => {
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }

    /// The character of a number; the replacement character for a surrogate.
    fn number(number: u32) -> Self {
        Self::Character(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

/// Decodes the escape at the start of a text: its length and its meaning.
fn decode_escape(text: &[u8]) -> Option<(usize, Decoded)> {
    match text {
        [b'%', digits @ ..] => Some((3, Decoded::Byte(u8::try_from(hex(digits, 2)?).ok()?))),
        [b'&', ..] => decode_entity(text),
        [b'\\', escaped, rest @ ..] => {
            let byte = match escaped {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 0x08,
                b'f' => 0x0c,
                b'v' => 0x0b,
                b'"' | b'\'' | b'\\' | b'/' => *escaped,
                b'x' => return Some((4, Decoded::number(hex(rest, 2)?))),
                b'U' => return Some((10, Decoded::number(hex(rest, 8)?))),
                b'u' if rest.first() == Some(&b'{') => return decode_braces(rest),
                b'u' => return decode_utf16(rest),
                _ => return None,
            };
            Some((2, Decoded::Byte(byte)))
        }
        _ => None,
    }
}

/// Decodes the four digits after `\u`, and the second half of a surrogate pair.
fn decode_utf16(digits: &[u8]) -> Option<(usize, Decoded)> {
    let first = hex(digits, 4)?;
    if let (0xd800..=0xdbff, Some(rest)) = (first, digits[4..].strip_prefix(b"\\u"))
        && let Some(second @ 0xdc00..=0xdfff) = hex(rest, 4)
    {
        let number = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return Some((12, Decoded::number(number)));
    }
    Some((6, Decoded::number(first)))
}

/// Decodes the braces after `\u`, as in Rust and JavaScript.
fn decode_braces(braces: &[u8]) -> Option<(usize, Decoded)> {
    let length = braces.iter().take(8).position(|byte| *byte == b'}')?;
    let number = hex(&braces[1..], length - 1)?;
    Some((2 + length + 1, Decoded::number(number)))
}

/// Decodes an entity of HTML or XML.
fn decode_entity(text: &[u8]) -> Option<(usize, Decoded)> {
    const NAMES: [(&[u8], u8); 5] = [
        (b"&amp;", b'&'),
        (b"&lt;", b'<'),
        (b"&gt;", b'>'),
        (b"&quot;", b'"'),
        (b"&apos;", b'\''),
    ];
    if let Some((name, byte)) = NAMES.iter().find(|(name, _)| text.starts_with(name)) {
        return Some((name.len(), Decoded::Byte(*byte)));
    }
    let number = text.strip_prefix(b"&#")?;
    let length = number.iter().take(8).position(|byte| *byte == b';')?;
    let digits = &number[..length];
    let number = match digits {
        [b'x' | b'X', digits @ ..] => hex(digits, digits.len())?,
        _ => std::str::from_utf8(digits).ok()?.parse().ok()?,
    };
    Some((2 + length + 1, Decoded::number(number)))
}

/// The number with this many hex digits at the start of a text.
fn hex(text: &[u8], digits: usize) -> Option<u32> {
    let digits = text.get(..digits).filter(|digits| !digits.is_empty())?;
    digits.iter().try_fold(0_u32, |number, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        number.checked_mul(16)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(source: &str) -> String {
        let unescaped = Unescaped::of(source.as_bytes());
        let text = unescaped.texts().last().map(|(_, text)| text.to_vec());
        String::from_utf8(text.unwrap()).unwrap()
    }

    #[test]
    fn escapes_of_all_formats_are_decoded() {
        for (source, decoded) in [
            (r#"\"\/\b\f\n\r\t"#, "\"/\u{8}\u{c}\n\r\t"),
            (r"\u0041\u00e9\u201c\ud83d\ude00\ud83d.", "Aé“😀\u{fffd}."),
            (r"\x41\u{1f600}\U0001F600\v", "A😀😀\u{b}"),
            ("%41%C3%A9+%2", "Aé+%2"),
            ("&amp;&#65;&#x41;&lt;&quot;&nbsp;&#;", "&AA<\"&nbsp;&#;"),
            (r"\d \u12 \u{} \xg \", r"\d \u12 \u{} \xg \"),
            // JSON in JSON in JSON, and a percent sign that was escaped.
            (r"\\\\u0041 \u002541", "A A"),
        ] {
            assert_eq!(last(source), decoded, "{source}");
        }
    }

    #[test]
    fn a_range_is_mapped_to_the_source_through_all_levels() {
        let source = r#"{"a":"\ud83d\ude00\\u0067hp%5Fx\u00e9 \u0022"}"#;
        let unescaped = Unescaped::of(source.as_bytes());
        let (number, text) = unescaped
            .texts()
            .find(|(_, text)| memchr::memmem::find(text, b"ghp_x").is_some())
            .unwrap();
        let at = memchr::memmem::find(text, b"ghp_x").unwrap();
        let origin = unescaped.origin(number, at..at + 5);
        assert_eq!(&source[origin], r"\\u0067hp%5Fx");
        for (number, text) in unescaped.texts() {
            assert_eq!(unescaped.origin(number, 0..text.len()), 0..source.len());
            assert_eq!(unescaped.origin(number, 0..0), 0..0);
        }
    }

    #[test]
    fn text_far_from_an_escape_is_left_out() {
        let source = format!("\\n{}end", "0123456789".repeat(10_000));
        let unescaped = Unescaped::of(source.as_bytes());
        let (number, text) = unescaped.texts().last().unwrap();
        assert_eq!(text.len(), 1 + 2 * CONTEXT + 1);
        assert_eq!(
            unescaped.origin(number, text.len() - 3..text.len()),
            source.len() - 3..source.len()
        );
    }
}
