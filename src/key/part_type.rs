//! Which content types of a part say no more than its file name.
//!
//! Clients derive the type from the file name, each with a table of its own, or send `application/octet-stream`. Such a type
//! is not part of the request key, so that one recording serves all clients. Any other type is, and so is every parameter.

/// Extensions, and the types that clients derive from them. The table is part of the key scheme.
const DERIVED: [(&str, &[&str]); 37] = [
    ("aac", &["audio/aac", "audio/x-aac"]),
    ("aif", &["audio/aiff", "audio/x-aiff"]),
    ("aiff", &["audio/aiff", "audio/x-aiff"]),
    ("avif", &["image/avif"]),
    ("bmp", &["image/bmp", "image/x-ms-bmp"]),
    ("csv", &["text/csv"]),
    ("doc", &["application/msword"]),
    (
        "docx",
        &["application/vnd.openxmlformats-officedocument.wordprocessingml.document"],
    ),
    ("epub", &["application/epub+zip"]),
    ("flac", &["audio/flac", "audio/x-flac"]),
    ("gif", &["image/gif"]),
    ("heic", &["image/heic"]),
    ("htm", &["text/html"]),
    ("html", &["text/html"]),
    ("jpeg", &["image/jpeg"]),
    ("jpg", &["image/jpeg"]),
    ("json", &["application/json"]),
    (
        "jsonl",
        &[
            "application/jsonl",
            "application/json-lines",
            "application/x-ndjson",
            "application/x-jsonlines",
        ],
    ),
    ("m4a", &["audio/mp4", "audio/m4a", "audio/x-m4a", "audio/mp4a-latm"]),
    ("md", &["text/markdown", "text/x-markdown"]),
    ("mov", &["video/quicktime"]),
    ("mp3", &["audio/mpeg", "audio/mp3", "audio/x-mp3"]),
    ("mp4", &["video/mp4", "audio/mp4"]),
    ("mpeg", &["video/mpeg", "audio/mpeg"]),
    ("mpga", &["audio/mpeg"]),
    ("oga", &["audio/ogg"]),
    ("ogg", &["audio/ogg", "video/ogg", "application/ogg"]),
    ("opus", &["audio/opus", "audio/ogg"]),
    ("pdf", &["application/pdf", "application/x-pdf"]),
    ("png", &["image/png"]),
    (
        "pptx",
        &["application/vnd.openxmlformats-officedocument.presentationml.presentation"],
    ),
    ("tiff", &["image/tiff"]),
    ("txt", &["text/plain"]),
    ("wav", &["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"]),
    ("webm", &["video/webm", "audio/webm"]),
    ("webp", &["image/webp"]),
    (
        "xlsx",
        &["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"],
    ),
];

/// Whether a content type says no more than the file name, or, without a file name, than that the part is text.
pub(super) fn is_derived(content_type: &str, filename: Option<&str>) -> bool {
    let is = |kind: &str| content_type.eq_ignore_ascii_case(kind);
    let Some(filename) = filename else {
        return is("text/plain");
    };
    let extension = filename.rsplit_once('.').map_or("", |(_, extension)| extension);
    let of_extension = DERIVED
        .iter()
        .find(|(candidate, _)| extension.eq_ignore_ascii_case(candidate));
    is("application/octet-stream") || of_extension.is_some_and(|(_, kinds)| kinds.iter().any(|kind| is(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_derived_if_it_follows_from_the_file_name() {
        for (kind, filename, derived) in [
            ("audio/x-wav", Some("a.wav"), true),
            ("Audio/WAV", Some("a.b.WAV"), true),
            ("application/octet-stream", Some("a.docx"), true),
            ("application/octet-stream", Some("a"), true),
            ("text/plain", None, true),
            ("audio/mpeg", Some("a.wav"), false),
            ("audio/wav; rate=8000", Some("a.wav"), false),
            ("text/plain", Some("a"), false),
            ("text/plain; charset=utf-8", None, false),
            ("application/octet-stream", None, false),
            ("", Some("a.wav"), false),
        ] {
            assert_eq!(is_derived(kind, filename), derived, "{kind} {filename:?}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_in_lower_case() {
        assert!(DERIVED.is_sorted_by(|(a, _), (b, _)| a < b));
        let is_lower = |text: &str| text == text.to_ascii_lowercase();
        assert!(
            DERIVED
                .iter()
                .all(|(extension, kinds)| is_lower(extension) && kinds.iter().all(|kind| is_lower(kind)))
        );
    }
}
