//! Multipart bodies: parses them into parts, and writes parts.
//!
//! A body is parsed only if writing its parts loses nothing but the boundary and the text before the first part.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use memchr::memmem;

use super::disposition::Disposition;
use super::headers::{header_text, header_value};

/// One part of a `multipart/form-data` body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) filename: Option<String>,
    pub(crate) content_type: Option<String>,
    /// All other headers, as [`header_text`]; also `Content-Disposition`, if name and file name do not give all of it.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content: Bytes,
}

/// The name of the header with the name and the file name of a part.
pub(crate) const DISPOSITION: &str = "Content-Disposition";

/// The boundary in a content type; `None` when it is not `multipart/form-data`.
pub(crate) fn multipart_boundary(content_type: &str) -> Option<String> {
    let parsed = Disposition::parse(content_type)?;
    let boundary = parsed.parameter("boundary").filter(|boundary| !boundary.is_empty())?;
    (parsed.kind == "multipart/form-data").then(|| boundary.to_owned())
}

/// Parses a body into its parts, in order; `None` when it is not well-formed, has text after the last part, or has a part whose
/// headers are not understood completely.
pub(crate) fn parse_multipart(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
    let delimiter = format!("\r\n--{boundary}");
    let find = memmem::Finder::new(delimiter.as_bytes());
    let mut at = if body.starts_with(&delimiter.as_bytes()[2..]) {
        delimiter.len() - 2
    } else {
        find.find(body)? + delimiter.len()
    };
    let mut parts = Vec::new();
    loop {
        if let Some(epilogue) = body[at..].strip_prefix(b"--") {
            return epilogue.trim_ascii().is_empty().then_some(parts);
        }
        let padding = body[at..].iter().take_while(|byte| b" \t".contains(byte)).count();
        at += padding;
        if !body[at..].starts_with(b"\r\n") {
            return None;
        }
        let head = at + 2;
        let head_end = head + memmem::find(&body[head..], b"\r\n\r\n")?;
        let content = head_end + 4;
        let end = content + find.find(&body[content..])?;
        parts.push(parse_part(&body[head..head_end], body.slice(content..end))?);
        at = end + delimiter.len();
    }
}

fn parse_part(head: &[u8], content: Bytes) -> Option<Part> {
    let (mut disposition, mut part) = (
        None,
        Part {
            content,
            ..Part::default()
        },
    );
    let mut rest = head;
    loop {
        let end = memmem::find(rest, b"\r\n").unwrap_or(rest.len());
        let line = &rest[..end];
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        HeaderName::from_bytes(name).ok()?;
        let value = header_text(&HeaderValue::from_bytes(value).ok()?).into_owned();
        let name = std::str::from_utf8(name).ok()?.to_owned();
        let is_repeated = if name.eq_ignore_ascii_case(DISPOSITION) {
            disposition.replace((name, value)).is_some()
        } else if name.eq_ignore_ascii_case("content-type") {
            part.content_type.replace(value).is_some()
        } else {
            part.headers.push((name, value));
            false
        };
        if is_repeated {
            return None;
        }
        if end == rest.len() {
            break;
        }
        rest = &rest[end + 2..];
    }
    let (name, value) = disposition?;
    let parsed = Disposition::parse(&value)?;
    part.name = parsed.parameter("name").unwrap_or_default().to_owned();
    part.filename = parsed.parameter("filename").map(str::to_owned);
    if value != plain_disposition(&part.name, part.filename.as_deref()) {
        part.headers.insert(0, (name, value));
    }
    Some(part)
}

/// Writes parts as a form, and returns its content type and its body. The result is deterministic.
pub(crate) fn write_form(parts: &[Part]) -> (String, Bytes) {
    let boundary = unused_boundary(parts);
    let body = write_parts(parts, &boundary);
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// Writes parts with this boundary; `None` when parsing the body would give other parts.
#[cfg(feature = "cli")]
pub(crate) fn write_multipart(parts: &[Part], boundary: &str) -> Option<Bytes> {
    let body = write_parts(parts, boundary);
    (parse_multipart(&body, boundary)? == parts).then_some(body)
}

fn write_parts(parts: &[Part], boundary: &str) -> Bytes {
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        let (dispositions, others): (Vec<_>, Vec<_>) = part
            .headers
            .iter()
            .partition(|(name, _)| name.eq_ignore_ascii_case(DISPOSITION));
        let plain = plain_disposition(&part.name, part.filename.as_deref());
        let disposition = dispositions.first().map_or(&plain, |(_, value)| value);
        let content_type = part.content_type.iter().map(|kind| ("Content-Type", kind));
        let headers = [(DISPOSITION, disposition)].into_iter().chain(content_type);
        for (name, value) in headers.chain(others.into_iter().map(|(name, value)| (name.as_str(), value))) {
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(b": ");
            // A value that is not valid in a header is from a file that was edited.
            body.extend_from_slice(
                header_value(value)
                    .as_ref()
                    .map_or(value.as_bytes(), HeaderValue::as_bytes),
            );
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(&part.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body.into()
}

fn plain_disposition(name: &str, filename: Option<&str>) -> String {
    let mut value = format!("form-data; name=\"{}\"", escape_name(name));
    if let Some(filename) = filename {
        value.push_str(&format!("; filename=\"{}\"", escape_name(filename)));
    }
    value
}

/// The first of a series of boundaries that no content contains.
fn unused_boundary(parts: &[Part]) -> String {
    let mut number = 0_u64;
    loop {
        let boundary = format!("mistral-cassette-form-{number}");
        if parts
            .iter()
            .all(|part| memmem::find(&part.content, boundary.as_bytes()).is_none())
        {
            return boundary;
        }
        number += 1;
    }
}

/// Escapes a name like browsers and the SDKs, which percent-encode quotes and line ends, and percent-encodes all other control
/// characters too, which a header cannot contain.
fn escape_name(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for character in name.chars() {
        if character == '"' || character.is_ascii_control() {
            escaped.push_str(&format!("%{:02X}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_parsed_in_order_with_name_file_name_and_content() {
        let body = Bytes::from_static(
            b"--XX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nocr\r\n\
              --XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/x-wav\r\n\r\n\x00\xff\r\n\r\n\
              --XX--\r\n",
        );
        let boundary = multipart_boundary("multipart/form-data; boundary=XX").unwrap();
        let parts = parse_multipart(&body, &boundary).unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(
            (parts[0].name.as_str(), &parts[0].content[..]),
            ("purpose", &b"ocr"[..])
        );
        assert_eq!(parts[1].filename.as_deref(), Some("a.wav"));
        assert_eq!(parts[1].content_type.as_deref(), Some("audio/x-wav"));
        assert_eq!(&parts[1].content[..], b"\x00\xff\r\n");
    }

    /// Found by fuzzing: a header with a control character is invalid, and no server could parse the form.
    #[test]
    fn a_name_with_control_characters_is_escaped() {
        let part = Part {
            name: "a\u{1}\t\u{7f}\"\r\né".to_owned(),
            filename: Some("\0".to_owned()),
            content: Bytes::from_static(b"x"),
            ..Part::default()
        };
        let (kind, body) = write_form(std::slice::from_ref(&part));
        let found = parse_multipart(&body, &multipart_boundary(&kind).unwrap()).unwrap();
        assert_eq!(found[0].name, "a%01%09%7F%22%0D%0Aé");
        assert_eq!(found[0].filename.as_deref(), Some("%00"));
        assert_eq!(found[0].content, part.content);
    }

    fn head(head: &str) -> Vec<u8> {
        format!("--XX\r\n{head}\r\n\r\nocr\r\n--XX--\r\n").into_bytes()
    }

    #[test]
    fn parts_are_written_as_they_were_sent() {
        let mut latin = head("Content-Disposition: form-data; name=\"file\"; filename=\"r#.pdf\"");
        let at = memmem::find(&latin, b"#").unwrap();
        latin[at] = 0xe9;
        for body in [
            head("Content-Disposition: form-data; name=\"a\""),
            head("Content-Disposition: form-data; name=\"a\"; filename*=UTF-8''%e2%82%ac.pdf"),
            head("Content-Disposition: form-data; Name=a; FILENAME=\"b\\\"c\"; size=3"),
            head("Content-Disposition: attachment"),
            head(
                "Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=latin-1\r\nX-Kind: 1\r\nX-Kind: 2",
            ),
            latin,
        ] {
            let parts = parse_multipart(&body.clone().into(), "XX").unwrap();
            let shown = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(write_parts(&parts, "XX"), body, "{shown}");
        }
    }

    #[test]
    fn a_body_that_cannot_be_read_wholly_is_not_parsed() {
        for body in [
            &b"--XX--"[..],
            b"a preamble\r\n--XX \r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n--XX--\r\n",
        ] {
            assert!(parse_multipart(&Bytes::copy_from_slice(body), "XX").is_some());
        }
        let good = "Content-Disposition: form-data; name=\"a\"";
        for body in [
            head(""),
            head("Content-Type: text/plain"),
            head(&format!("{good}\r\n{good}")),
            head(&format!("{good}\r\nContent-Type: a/b\r\ncontent-type: a/c")),
            head(&format!("{good}\r\n folded")),
            head(&format!("{good}\r\nX : a")),
            head(&format!("{good}\r\nX: a\0")),
            head(&format!("{good}x")),
            head("Content-Disposition: form-data; name=\"a"),
            head(good)[..30].to_vec(),
            [head(good), b"more".to_vec()].concat(),
            [b"--XXY\r\n".to_vec(), head(good)].concat()[..7].to_vec(),
            head(good).iter().copied().filter(|byte| *byte != b'\r').collect(),
        ] {
            let shown = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(parse_multipart(&body.into(), "XX"), None, "{shown}");
        }
    }

    #[test]
    fn the_boundary_is_read_whatever_its_spelling() {
        for (kind, boundary) in [
            ("multipart/form-data; boundary=XX", Some("XX")),
            ("Multipart/Form-Data;charset=utf-8; Boundary=\"X X\"", Some("X X")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=\"\"", None),
            ("multipart/mixed; boundary=XX", None),
            ("application/json", None),
        ] {
            assert_eq!(multipart_boundary(kind).as_deref(), boundary, "{kind}");
        }
    }

    #[test]
    fn a_truncated_body_is_not_well_formed() {
        let body = Bytes::from_static(b"--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nocr");
        assert_eq!(parse_multipart(&body, "XX"), None);
        assert_eq!(multipart_boundary("application/json"), None);
    }
}
