//! Builds the HTML page of `report` and of the live view from its frame, style, scripts and data.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::data;
use super::recording::Recording;
use super::summary::summary;
use crate::cli::output_file::TextWriter;
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
    pub(crate) prices: Prices,
    /// Whether the page includes large media.
    pub(crate) with_media: bool,
}

/// A recording as the page contains it.
pub(crate) struct Entry {
    /// The escaped JSON of the summary.
    summary: String,
    /// The escaped JSON of the details.
    details: String,
}

impl Page {
    pub(crate) fn entry(&self, recording: &Recording) -> Entry {
        Entry {
            summary: escaped(&summary(recording, &self.prices)),
            details: escaped(&data::details(recording, self.with_media)),
        }
    }

    /// Begins to write the page as one document that loads nothing.
    ///
    /// # Errors
    /// Those of `write`.
    pub(crate) fn begin<'a>(&'a self, write: TextWriter<'a>) -> Result<PageWriter<'a>> {
        let mut writer = PageWriter {
            page: self,
            write,
            summaries: Vec::new(),
            bytes: 0,
        };
        writer.write(&head(&policy()))?;
        Ok(writer)
    }
}

/// Writes a page: the details of each recording when it is added, and the list of all at the end.
pub(crate) struct PageWriter<'a> {
    page: &'a Page,
    write: TextWriter<'a>,
    summaries: Vec<String>,
    bytes: usize,
}

impl<'a> PageWriter<'a> {
    pub(crate) fn page(&self) -> &'a Page {
        self.page
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.bytes += text.len();
        (self.write)(text)
    }

    /// Adds a recording. They are sorted by name.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(crate) fn add(&mut self, entry: Entry) -> Result<()> {
        self.write(&element_start(&format!("r{}", self.summaries.len())))?;
        self.write(&entry.details)?;
        self.write(ELEMENT_END)?;
        self.summaries.push(entry.summary);
        Ok(())
    }

    /// Ends the page, with the errors in what the recordings are compared with. Returns its number of bytes.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(crate) fn end(mut self, problems: &[String]) -> Result<usize> {
        let index = json!({
            "location": self.page.location,
            "since": self.page.since,
            "by": concat!("mistral-cassette ", env!("CARGO_PKG_VERSION")),
            "at": now(),
            "problems": problems,
            "prices": { "date": self.page.prices.date, "source": self.page.prices.source },
        });
        self.write(&index_element(&index, &self.summaries))?;
        self.write(&tail())?;
        Ok(self.bytes)
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
        });
        let summaries: Vec<String> = self.recordings.iter().map(escaped).collect();
        [head(&live_policy()), index_element(&index, &summaries), tail()].concat()
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

/// What follows the JSON in an element of [`element_start`].
const ELEMENT_END: &str = "</script>\n";

/// The start of an element with escaped JSON: a `script` that the browser does not run.
fn element_start(id: &str) -> String {
    format!("<script type=\"application/json\" id=\"{id}\">")
}

/// The list of the recordings: an object with other members, and the escaped JSON of the summaries as `recordings`. Summaries
/// are kept as text, because a [`Value`] takes several kilobytes of memory.
fn index_element(index: &Value, summaries: &[String]) -> String {
    let (index, summaries) = (escaped(index), summaries.join(","));
    let members = index.trim_start_matches('{');
    let json = format!("{{\"recordings\":[{summaries}],{members}");
    [&element_start("index"), &json, ELEMENT_END].concat()
}

/// The frame before and after the recordings.
fn frame() -> (&'static str, &'static str) {
    FRAME.split_once("{recordings}").unwrap_or((FRAME, ""))
}

fn head(policy: &str) -> String {
    fill(frame().0, &[("{policy}", policy), ("{style}", STYLE)])
}

fn tail() -> String {
    fill(frame().1, &[("{script}", SCRIPT)])
}

/// Writes JSON with escapes for the characters that could end an element, and for the line separators of JavaScript.
fn escaped(value: &Value) -> String {
    let mut json = serde_json::to_string(value).expect("a value of JSON");
    // Both separators begin with these bytes, as some other characters do.
    if memchr::memmem::find(json.as_bytes(), b"\xe2\x80").is_some() {
        for (character, escape) in [('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")] {
            if json.contains(character) {
                json = json.replace(character, escape);
            }
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
            prices: Prices::new(None).unwrap(),
            with_media: false,
        };
        let mut html = String::new();
        let mut write = |text: &str| {
            html.push_str(text);
            Ok(())
        };
        let bytes = page.begin(&mut write).unwrap().end(&[]).unwrap();
        assert_eq!(bytes, html.len());
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
