//! The formats that `import` reads and `export` writes: their names, and the detection of a format.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::{cassetter, httpmock, nock, wiremock};
use crate::error::{Error, ErrorKind, Result};

/// The formats that `import` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceFormat {
    VcrPy,
    RubyVcr,
    GoVcr,
    Rvcr,
    Polly,
    Har,
    HttpMock,
    WireMock,
    Nock,
    Cassetter,
    Jsonl,
}

impl SourceFormat {
    const ALL: [Self; 11] = [
        Self::VcrPy,
        Self::RubyVcr,
        Self::GoVcr,
        Self::Rvcr,
        Self::Polly,
        Self::Har,
        Self::HttpMock,
        Self::WireMock,
        Self::Nock,
        Self::Cassetter,
        Self::Jsonl,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::VcrPy => "vcrpy",
            Self::RubyVcr => "ruby-vcr",
            Self::GoVcr => "go-vcr",
            Self::Rvcr => "rvcr",
            Self::Polly => "polly",
            Self::Har => "har",
            Self::HttpMock => "httpmock",
            Self::WireMock => "wiremock",
            Self::Nock => "nock",
            Self::Cassetter => "cassetter",
            Self::Jsonl => "jsonl",
        }
    }

    /// The names of all formats, for messages.
    pub(super) fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Detects the format of a document by its members; `is_json` is false for YAML.
    pub(super) fn detect(document: &Value, is_json: bool) -> Option<Self> {
        let interactions = document["interactions"].as_array();
        let has = |member: &str| {
            let mut interactions = interactions.into_iter().flatten();
            interactions.any(|interaction| interaction["request"].get(member).is_some())
        };
        if document["log"]["entries"].is_array() {
            let is_polly = document["log"].get("_recordingName").is_some();
            Some(if is_polly { Self::Polly } else { Self::Har })
        } else if document["http_interactions"].is_array() {
            Some(if is_json { Self::Rvcr } else { Self::RubyVcr })
        } else if cassetter::is_cassette(document) {
            Some(Self::Cassetter)
        } else if interactions.is_some() && has("url") && !has("uri") {
            Some(Self::GoVcr)
        } else if interactions.is_some() {
            Some(Self::VcrPy)
        } else if httpmock::is_recording(document) {
            Some(Self::HttpMock)
        } else if is_json && nock::is_fixture(document) {
            Some(Self::Nock)
        } else if is_json && wiremock::is_mapping(document) {
            Some(Self::WireMock)
        } else if is_json && document["request"].is_object() {
            Some(Self::Jsonl)
        } else {
            None
        }
    }

    /// Whether a document has the members that this format requires.
    pub(super) fn matches(self, document: &Value) -> bool {
        match self {
            Self::VcrPy | Self::GoVcr => document["interactions"].is_array(),
            Self::RubyVcr | Self::Rvcr => document["http_interactions"].is_array(),
            Self::Polly | Self::Har => document["log"]["entries"].is_array(),
            Self::HttpMock => httpmock::is_recording(document),
            Self::WireMock => document["request"].is_object() || document["mappings"].is_array(),
            Self::Nock => nock::is_fixture(document),
            Self::Cassetter => cassetter::is_cassette(document) || document["interactions"].is_array(),
            Self::Jsonl => document["request"].is_object(),
        }
    }
}

impl fmt::Display for SourceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SourceFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| {
            let message = format!("unknown format {name:?}: use one of {}", Self::names());
            Error::new(ErrorKind::Settings, message)
        })
    }
}

/// The formats that `export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetFormat {
    Har,
    Jsonl,
}

impl FromStr for TargetFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "har" => Ok(Self::Har),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err(Error::new(
                ErrorKind::Settings,
                format!("unknown export format {name:?}: use har or jsonl"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_format_is_detected_by_the_members_of_a_document() {
        let request = |member: &str| json!([{ "request": { member: "https://a.example" } }]);
        for (document, is_json, format) in [
            (json!({ "log": { "entries": [] } }), true, Some(SourceFormat::Har)),
            (
                json!({ "log": { "entries": [], "_recordingName": "a" } }),
                true,
                Some(SourceFormat::Polly),
            ),
            (json!({ "http_interactions": [] }), true, Some(SourceFormat::Rvcr)),
            (json!({ "http_interactions": [] }), false, Some(SourceFormat::RubyVcr)),
            (
                json!({ "interactions": request("url") }),
                false,
                Some(SourceFormat::GoVcr),
            ),
            (
                json!({ "interactions": request("uri") }),
                false,
                Some(SourceFormat::VcrPy),
            ),
            (json!({ "interactions": [] }), false, Some(SourceFormat::VcrPy)),
            (
                json!([{ "when": {}, "then": {} }, { "when": {}, "then": {} }]),
                false,
                Some(SourceFormat::HttpMock),
            ),
            (json!([{ "when": {}, "then": {} }, {}]), false, None),
            (
                json!([{ "scope": "https://a.example", "path": "/" }]),
                true,
                Some(SourceFormat::Nock),
            ),
            (
                json!({ "request": {}, "response": { "jsonBody": {} } }),
                true,
                Some(SourceFormat::WireMock),
            ),
            (
                json!({ "interactions": [{ "request": { "uri": "/", "body": { "type": "none" } } }] }),
                false,
                Some(SourceFormat::Cassetter),
            ),
            (json!({ "request": {} }), true, Some(SourceFormat::Jsonl)),
            (json!({ "request": {} }), false, None),
            (json!([]), true, None),
        ] {
            let detected = SourceFormat::detect(&document, is_json);
            assert_eq!(detected, format, "{document}");
            assert!(format.is_none_or(|format| format.matches(&document)), "{document}");
        }
    }

    #[test]
    fn every_format_is_parsed_from_its_name() {
        for format in SourceFormat::ALL {
            assert_eq!(format.name().parse::<SourceFormat>().unwrap(), format);
        }
        assert!("cassette".parse::<SourceFormat>().is_err());
    }
}
