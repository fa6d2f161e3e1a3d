//! Multipart bodies: what they hold, without the boundary, which is different each time.

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

/// The boundary that a content type names; `None` when it is not `multipart/form-data`.
pub(crate) fn boundary_of(content_type: &str) -> Option<String> {
    multer::parse_boundary(content_type).ok()
}

/// The parts of a body, in their order; `None` when it is not well-formed.
pub(crate) fn parts(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
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
    // The whole body is here, so the reader never has to wait.
    read.now_or_never()?.ok()
}

/// The content type and the bytes of a form of these parts. The same parts give the same bytes each time.
pub(crate) fn written(parts: &[Part]) -> (String, Bytes) {
    let boundary = boundary(parts);
    let body = assembled(parts, &boundary);
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// The body of these parts; `None` when it would not be read as the same again.
#[cfg(feature = "cli")]
pub(crate) fn write_parts(wanted: &[Part], boundary: &str) -> Option<Bytes> {
    let body = assembled(wanted, boundary);
    parts(&body, boundary)
        .is_some_and(|parts| parts == wanted)
        .then_some(body)
}

fn assembled(parts: &[Part], boundary: &str) -> Bytes {
    let mut body = Vec::new();
    for part in parts {
        let mut head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"",
            quoted(&part.name)
        );
        if let Some(filename) = &part.filename {
            head.push_str(&format!("; filename=\"{}\"", quoted(filename)));
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

/// The first of a row of boundaries that none of the contents has in it.
fn boundary(parts: &[Part]) -> String {
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

/// As browsers and the SDKs write names: a quote and line ends percent-encoded, the rest as it is; but for the control
/// characters, which no header may hold.
fn quoted(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len());
    for character in name.chars() {
        if character == '"' || character.is_ascii_control() {
            quoted.push_str(&format!("%{:02X}", u32::from(character)));
        } else {
            quoted.push(character);
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_their_order_with_name_file_and_bytes() {
        let body = Bytes::from_static(
            b"--XX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nocr\r\n\
              --XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/x-wav\r\n\r\n\x00\xff\r\n\r\n\
              --XX--\r\n",
        );
        let boundary = boundary_of("multipart/form-data; boundary=XX").unwrap();
        let parts = parts(&body, &boundary).unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(
            (parts[0].name.as_str(), &parts[0].content[..]),
            ("purpose", &b"ocr"[..])
        );
        assert_eq!(parts[1].filename.as_deref(), Some("a.wav"));
        assert_eq!(parts[1].content_type.as_deref(), Some("audio/x-wav"));
        assert_eq!(&parts[1].content[..], b"\x00\xff\r\n");
    }

    /// Found by fuzzing: a header with a control character is none, and the whole form was sent as one that nobody reads.
    #[test]
    fn a_name_with_control_characters_makes_a_form_that_can_be_read() {
        let part = Part {
            name: "a\u{1}\t\u{7f}\"\r\né".to_owned(),
            filename: Some("\0".to_owned()),
            content_type: None,
            content: Bytes::from_static(b"x"),
        };
        let (kind, body) = written(std::slice::from_ref(&part));
        let found = parts(&body, &boundary_of(&kind).unwrap()).unwrap();
        assert_eq!(found[0].name, "a%01%09%7F%22%0D%0Aé");
        assert_eq!(found[0].filename.as_deref(), Some("%00"));
        assert_eq!(found[0].content, part.content);
    }

    #[test]
    fn a_body_that_is_cut_is_not_well_formed() {
        let body = Bytes::from_static(b"--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nocr");
        assert_eq!(parts(&body, "XX"), None);
        assert_eq!(boundary_of("application/json"), None);
    }
}
