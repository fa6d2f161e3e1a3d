//! Multipart bodies of requests.

use bytes::Bytes;
use http::{HeaderValue, header};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::http::{Part, Request, write_form};

/// A file to send: its name and its bytes.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) name: String,
    pub(super) content: Bytes,
}

/// Sets the body of a request to a form: one part for each member, one part for each element of a list, and then the
/// file as `file`.
pub(super) fn form(request: Request, members: &Map<String, Value>, file: Option<&Upload>) -> Result<Request> {
    let mut parts = Vec::new();
    for (name, value) in members {
        let values = match value {
            Value::Null => &[],
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            parts.push(Part {
                name: name.clone(),
                filename: None,
                content_type: None,
                headers: Vec::new(),
                content: text.into(),
            });
        }
    }
    if let Some(file) = file {
        parts.push(Part {
            name: "file".to_owned(),
            filename: Some(file.name.clone()),
            content_type: Some("application/octet-stream".to_owned()),
            headers: Vec::new(),
            content: file.content.clone(),
        });
    }
    let (kind, body) = write_form(&parts);
    let kind = HeaderValue::from_str(&kind)
        .map_err(|error| Error::new(ErrorKind::Request, "the boundary is not valid in a header").with_source(error))?;
    Ok(request.header(header::CONTENT_TYPE, kind).body(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{multipart_boundary, parse_multipart};

    #[test]
    fn a_form_is_parsed_back_to_the_same_parts() {
        let members = serde_json::json!({ "model": "m", "list": ["a", 2], "none": null, "yes": true });
        let file = Upload {
            name: "é\"\r\n.wav".to_owned(),
            content: Bytes::from_static(b"\r\n--mistral-cassette-form-0--\r\n\x00\xff"),
        };
        let request = form(
            Request::post("/v1/files").unwrap(),
            members.as_object().unwrap(),
            Some(&file),
        )
        .unwrap();
        let kind = request.header_map()[header::CONTENT_TYPE].to_str().unwrap();
        let parts = parse_multipart(request.body_bytes(), &multipart_boundary(kind).unwrap()).unwrap();
        let read: Vec<_> = parts
            .iter()
            .map(|part| (part.name.as_str(), part.filename.as_deref(), &part.content[..]))
            .collect();
        assert_eq!(
            read,
            [
                ("model", None, &b"m"[..]),
                ("list", None, b"a"),
                ("list", None, b"2"),
                ("yes", None, b"true"),
                ("file", Some("é%22%0D%0A.wav"), &file.content[..]),
            ]
        );
    }
}
