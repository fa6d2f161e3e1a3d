//! Multipart bodies: parses them into parts, and writes parts.

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use memchr::memmem;

/// One part of a `multipart/form-data` body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) filename: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) content: Bytes,
}

/// The boundary in a content type; `None` when it is not `multipart/form-data`.
pub(crate) fn multipart_boundary(content_type: &str) -> Option<String> {
    multer::parse_boundary(content_type).ok()
}

/// Parses a body into its parts, in order; `None` when it is not well-formed.
pub(crate) fn parse_multipart(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
    let body = body.clone();
    let source = stream::once(async move { Ok::<_, std::convert::Infallible>(body) });
    let mut multipart = multer::Multipart::new(source, boundary);
    let read = async {
        let mut parts = Vec::new();
        while let Some(field) = multipart.next_field().await? {
            parts.push(Part {
                name: field.name().unwrap_or_default().to_owned(),
                filename: field.file_name().map(str::to_owned),
                content_type: field.content_type().map(|kind| kind.as_ref().to_owned()),
                content: field.bytes().await?,
            });
        }
        Ok::<_, multer::Error>(parts)
    };
    // The body is complete, so the future is ready at once.
    read.now_or_never()?.ok()
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
        let mut head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"",
            escape_name(&part.name)
        );
        if let Some(filename) = &part.filename {
            head.push_str(&format!("; filename=\"{}\"", escape_name(filename)));
        }
        if let Some(kind) = &part.content_type {
            head.push_str(&format!("\r\nContent-Type: {kind}"));
        }
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(&part.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body.into()
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
            content_type: None,
            content: Bytes::from_static(b"x"),
        };
        let (kind, body) = write_form(std::slice::from_ref(&part));
        let found = parse_multipart(&body, &multipart_boundary(&kind).unwrap()).unwrap();
        assert_eq!(found[0].name, "a%01%09%7F%22%0D%0Aé");
        assert_eq!(found[0].filename.as_deref(), Some("%00"));
        assert_eq!(found[0].content, part.content);
    }

    #[test]
    fn a_truncated_body_is_not_well_formed() {
        let body = Bytes::from_static(b"--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nocr");
        assert_eq!(parse_multipart(&body, "XX"), None);
        assert_eq!(multipart_boundary("application/json"), None);
    }
}
