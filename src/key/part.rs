//! The canonical form of one part of a multipart body.

use serde_json::{Value, json};

use super::part_type::is_derived;
use crate::cassette::{Blob, RecordedPart};
use crate::hash::sha256_hex;
use crate::http::{DISPOSITION, Disposition};
use crate::settings::matching::Matching;

/// Values of `Content-Transfer-Encoding` that change nothing.
const NO_ENCODINGS: [&str; 3] = ["7bit", "8bit", "binary"];

/// One part of a multipart body. Members that most parts do not have are omitted when they are empty.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct CanonicalPart {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) filename: Option<String>,
    /// The content type, unless it [follows from the file name](is_derived).
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// The type of the content disposition if it is not `form-data`, and the parameters besides `name` and `filename`, by
    /// name. A `filename*` that decodes to `filename` is omitted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disposition: Vec<(String, String)>,
    /// The other headers, by name in lower case. A length, and a transfer encoding that changes nothing, are omitted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    /// The SHA-256 of its content.
    pub(crate) sha256: String,
}

impl CanonicalPart {
    /// Returns `None` for a part that the settings ignore.
    pub(super) fn of(part: &RecordedPart, matching: &Matching) -> Option<Self> {
        let is_ignored = matching
            .ignore
            .iter()
            .any(|pointer| matches!(pointer.segments(), [name] if *name == part.name));
        if is_ignored {
            return None;
        }
        let sha256 = match &part.content {
            Blob::External { sha256 } => sha256.clone(),
            Blob::Inline(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if !matching.replace.is_empty() => sha256_hex(matching.replaced(text).as_bytes()),
                _ => sha256_hex(bytes),
            },
        };
        let text = |text: &str| matching.replaced(text);
        let filename = part.filename.as_deref();
        let content_type = part.content_type.as_deref();
        let texts =
            |pairs: Vec<(String, String)>| pairs.into_iter().map(|(name, value)| (name, text(&value))).collect();
        Some(Self {
            name: part.name.clone(),
            filename: filename.map(text),
            content_type: content_type.filter(|kind| !is_derived(kind, filename)).map(text),
            disposition: texts(disposition(part)),
            headers: texts(headers(part)),
            sha256,
        })
    }

    pub(super) fn to_value(&self) -> Value {
        json!(self)
    }

    /// Parts are ordered by this JSON text. The order is part of the key scheme.
    pub(super) fn sort_key(&self) -> String {
        json!(self.name).to_string()
    }
}

/// What `Content-Disposition` says besides name and file name.
fn disposition(part: &RecordedPart) -> Vec<(String, String)> {
    let raw = part
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(DISPOSITION));
    let Some((_, raw)) = raw else { return Vec::new() };
    let Some(parsed) = Disposition::parse(raw) else {
        // A person has edited the file.
        return vec![(String::new(), raw.clone())];
    };
    let mut seen = (false, false);
    let mut pairs: Vec<(String, String)> = parsed
        .parameters
        .into_iter()
        .filter(|(name, value)| match name.as_str() {
            "name" => std::mem::replace(&mut seen.0, true),
            "filename" => std::mem::replace(&mut seen.1, true),
            "filename*" => decoded(value).is_none() || decoded(value) != part.filename,
            _ => true,
        })
        .collect();
    if parsed.kind != "form-data" {
        pairs.push((String::new(), parsed.kind));
    }
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    pairs
}

/// Decodes `UTF-8''%e2%82%ac.pdf` (RFC 8187).
fn decoded(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, encoded) = rest.split_once('\'')?;
    let decoded = percent_encoding::percent_decode_str(encoded).decode_utf8().ok()?;
    charset.eq_ignore_ascii_case("utf-8").then(|| decoded.into_owned())
}

fn headers(part: &RecordedPart) -> Vec<(String, String)> {
    let counts = |(name, value): &(String, String)| match name.as_str() {
        "content-disposition" => false,
        "content-length" => value.parse::<u64>().is_err(),
        "content-transfer-encoding" => !NO_ENCODINGS.iter().any(|none| value.eq_ignore_ascii_case(none)),
        _ => true,
    };
    let in_lower_case = part
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let mut headers: Vec<(String, String)> = in_lower_case.filter(counts).collect();
    headers.sort_by(|(a, _), (b, _)| a.cmp(b));
    headers
}
