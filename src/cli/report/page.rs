//! Builds the HTML page of `report` and of the live view from its frame, style, scripts and data.

use std::convert::Infallible;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::data;
use super::recording::Recording;
use super::summary::summary;
use crate::cli::prices::Prices;
use crate::error::Result;
use crate::hash::sha256;

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = concat!(
    include_str!("page/base.css"),
    include_str!("page/list.css"),
    include_str!("page/recording.css"),
    include_str!("page/screens.css"),
);
/// One script: the files share their names. The last one starts the page.
const SCRIPT: &str = concat!(
    include_str!("page/reading.js"),
    include_str!("page/responses.js"),
    include_str!("page/page.js"),
    include_str!("page/search.js"),
    include_str!("page/filters.js"),
    include_str!("page/list.js"),
    include_str!("page/blocks.js"),
    include_str!("page/player.js"),
    include_str!("page/changes.js"),
    include_str!("page/recording.js"),
    include_str!("page/live.js"),
    include_str!("page/start.js"),
);

/// A tag near the beginning of each page, by which `report` recognises its own files.
pub(crate) const GENERATOR_TAG: &str = "<meta name=\"generator\" content=\"mistral-cassette";

/// A page, except its recordings.
pub(crate) struct Page {
    /// The location of the recordings, as text.
    pub(crate) location: String,
    /// What the recordings are compared with, as text.
    pub(crate) since: Option<String>,
    /// The errors in what the recordings are compared with.
    pub(crate) problems: Vec<String>,
    pub(crate) prices: Prices,
    /// Whether the page includes large media.
    pub(crate) with_media: bool,
}

/// A recording as the page contains it.
pub(crate) struct Entry {
    summary: Value,
    /// The escaped JSON of the details.
    details: String,
}

impl Page {
    pub(crate) fn entry(&self, recording: &Recording) -> Entry {
        Entry {
            summary: summary(recording, &self.prices),
            details: escaped(&data::details(recording, self.with_media)),
        }
    }

    /// Writes the page as one document that loads nothing; returns its number of bytes. The entries are sorted by name.
    ///
    /// # Errors
    /// Those of `write`.
    pub(crate) fn write(&self, entries: Vec<Entry>, mut write: impl FnMut(&str) -> Result<()>) -> Result<usize> {
        let (summaries, details): (Vec<Value>, Vec<String>) =
            entries.into_iter().map(|entry| (entry.summary, entry.details)).unzip();
        let index = json!({
            "location": self.location,
            "since": self.since,
            "by": concat!("mistral-cassette ", env!("CARGO_PKG_VERSION")),
            "at": now(),
            "problems": self.problems,
            "prices": { "date": self.prices.date, "source": self.prices.source },
            "recordings": summaries,
        });
        let mut bytes = 0;
        write_document(&policy(), &index, &details, |text| {
            bytes += text.len();
            write(text)
        })?;
        Ok(bytes)
    }
}

/// The content of the page of a live view, which loads each recording when it is opened, and gets the requests of a session.
pub(crate) struct LivePage<'a> {
    /// The location of the recordings, as text.
    pub(crate) location: &'a str,
    /// The URL and the mode of the proxy, as text.
    pub(crate) proxy: &'a str,
    /// The number of the last request before the recordings were read.
    pub(crate) last: u64,
    /// The [`summary`] of each recording, sorted by name.
    pub(crate) recordings: Vec<Value>,
    /// Why the recordings are not listed, if they are not.
    pub(crate) unlisted: Option<String>,
    pub(crate) prices: &'a Prices,
}

impl LivePage<'_> {
    /// Returns the page as one document. It loads `events` and `recording/NAME`, relative to its address.
    pub(crate) fn html(&self) -> String {
        let index = json!({
            "live": { "proxy": self.proxy, "last": self.last, "unlisted": self.unlisted },
            "location": self.location,
            "by": concat!("mistral-cassette ", env!("CARGO_PKG_VERSION")),
            "at": now(),
            "problems": [],
            "prices": { "date": self.prices.date, "source": self.prices.source },
            "recordings": self.recordings,
        });
        let mut html = String::new();
        let Ok(()) = write_document(&live_policy(), &index, &[], |text| {
            html.push_str(text);
            Ok::<_, Infallible>(())
        });
        html
    }
}

/// The time that a page is made.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The Content-Security-Policy of a page: its own style and script, images and sounds in the page, and nothing else.
fn policy() -> String {
    format!(
        "default-src 'none'; img-src data:; media-src data:; style-src '{}'; script-src '{}'; base-uri 'none'; \
         form-action 'none'; require-trusted-types-for 'script'",
        csp_hash(STYLE),
        csp_hash(SCRIPT)
    )
}

/// The Content-Security-Policy of the page of a live view, which also loads from its own server.
pub(crate) fn live_policy() -> String {
    policy() + "; connect-src 'self'"
}

/// Writes the frame, with the list of the recordings and the escaped JSON of each recording as `script` elements that the
/// browser does not run.
fn write_document<E>(
    policy: &str,
    index: &Value,
    details: &[String],
    mut write: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let (before, after) = FRAME.split_once("{recordings}").unwrap_or((FRAME, ""));
    write(&fill(before, &[("{policy}", policy), ("{style}", STYLE)]))?;
    let mut element = |id: &str, json: &str| {
        write(&format!("<script type=\"application/json\" id=\"{id}\">"))?;
        write(json)?;
        write("</script>\n")
    };
    element("index", &escaped(index))?;
    for (number, details) in details.iter().enumerate() {
        element(&format!("r{number}"), details)?;
    }
    write(&fill(after, &[("{script}", SCRIPT)]))
}

/// Writes JSON with escapes for the characters that could end an element, and for the line separators of JavaScript.
fn escaped(value: &Value) -> String {
    let mut json = value.to_string();
    for (character, escape) in [('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")] {
        if json.contains(character) {
            json = json.replace(character, escape);
        }
    }
    let mut text = String::new();
    let mut copied = 0;
    for at in memchr::memchr3_iter(b'<', b'>', b'&', json.as_bytes()) {
        text.push_str(&json[copied..at]);
        text.push_str(&format!("\\u{:04x}", json.as_bytes()[at]));
        copied = at + 1;
    }
    if copied == 0 {
        return json;
    }
    text.push_str(&json[copied..]);
    text
}

/// Returns the hash of a style or script, in the form of a Content-Security-Policy.
fn csp_hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(sha256(text.as_bytes())))
}

/// Replaces placeholders, each once and in this order, so that a placeholder in a text stays as it is.
fn fill(frame: &str, texts: &[(&str, &str)]) -> String {
    let (mut page, mut rest) = (String::new(), frame);
    for (placeholder, text) in texts {
        if let Some((before, after)) = rest.split_once(placeholder) {
            page.push_str(before);
            page.push_str(text);
            rest = after;
        }
    }
    page.push_str(rest);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_text_cannot_end_its_element() {
        let value = json!({ "</script>": "<!-- & \u{2028}\u{2029} \u{fffd} {script}" });
        let text = escaped(&value);
        assert!(!text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn every_placeholder_is_replaced_and_the_policy_has_the_hashes() {
        let page = Page {
            location: "{script}".to_owned(),
            since: None,
            problems: Vec::new(),
            prices: Prices::new(None).unwrap(),
            with_media: false,
        };
        let mut html = String::new();
        let bytes = page.write(Vec::new(), |text| {
            html.push_str(text);
            Ok(())
        });
        assert_eq!(bytes.unwrap(), html.len());
        let between = |before: &str, after: &str| {
            let (_, rest) = html.split_once(before).unwrap();
            rest.split_once(after).unwrap().0.to_owned()
        };
        assert_eq!(between("<style>", "</style>"), STYLE);
        assert_eq!(between("<script>", "</script>"), SCRIPT);
        let policy = between("Content-Security-Policy\" content=\"", "\"");
        assert!(policy.contains(&csp_hash(STYLE)) && policy.contains(&csp_hash(SCRIPT)));
        assert!(html[..1024].contains(GENERATOR_TAG));
        assert!(between("id=\"index\">", "</script>").contains("\"location\":\"{script}\""));
    }
}
