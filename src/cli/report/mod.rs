//! The page of `report`: recordings as data that nothing runs, and a script of our own that shows them.
//!
//! Recordings hold whatever a model or a server has said, so they never become markup. `page.html` is the frame;
//! `reading.js` turns bodies into messages, tool calls and media, `page.js` makes elements of those. The browser is told to
//! run this script and no other, and to load nothing.

mod data;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cassette::Cassette;
use crate::cli::prices::Prices;
use crate::diff::Difference;
use crate::error::Error;
use crate::hash::sha256;

const FRAME: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(include_str!("reading.js"), include_str!("page.js"));

/// What each of these pages has near its beginning.
pub(crate) const MARK: &str = "<meta name=\"generator\" content=\"mistral-cassette";

/// A set of recordings to be shown.
pub(crate) struct Page {
    /// Where they are kept, for people.
    pub(crate) place: String,
    /// What they are compared with, for people.
    pub(crate) since: Option<String>,
    /// What is wrong with what they are compared with.
    pub(crate) problems: Vec<String>,
    /// Sorted by name.
    pub(crate) recordings: Vec<Recording>,
    /// What they cost.
    pub(crate) prices: Prices,
    /// Whether large media stand in the page too.
    pub(crate) with_media: bool,
}

/// One of them.
pub(crate) struct Recording {
    pub(crate) name: String,
    /// The recording with all of its bodies, or why it cannot be read.
    pub(crate) cassette: Result<Cassette, Error>,
    pub(crate) change: Option<Change>,
}

/// What has become of a recording.
pub(crate) struct Change {
    /// In a word, as `diff` has it.
    pub(crate) what: &'static str,
    pub(crate) differences: Vec<Difference>,
    /// The recording as it was; `None` where that is not worth showing.
    pub(crate) old: Option<Cassette>,
}

impl Page {
    /// The page, as one document that needs nothing else.
    pub(crate) fn html(&self) -> String {
        let summary = |recording| data::summary(recording, &self.prices);
        let index = json!({
            "place": self.place,
            "since": self.since,
            "by": concat!("mistral-cassette ", env!("CARGO_PKG_VERSION")),
            "at": jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            "problems": self.problems,
            "prices": { "date": self.prices.date, "source": self.prices.source },
            "recordings": self.recordings.iter().map(summary).collect::<Vec<_>>(),
        });
        let mut recordings = block("index", &index);
        for (number, recording) in self.recordings.iter().enumerate() {
            recordings.push_str(&block(&format!("r{number}"), &data::whole(recording, self.with_media)));
        }
        let policy = format!(
            "default-src 'none'; img-src data:; media-src data:; style-src '{}'; script-src '{}'; base-uri 'none'; \
             form-action 'none'; require-trusted-types-for 'script'",
            digest(STYLE),
            digest(SCRIPT)
        );
        filled(&[
            ("{policy}", &policy),
            ("{style}", STYLE),
            ("{recordings}", &recordings),
            ("{script}", SCRIPT),
        ])
    }
}

/// A value where a browser keeps it and does not run it. The characters that could end the element, or that a script
/// reads as the end of a line, are escaped.
fn block(id: &str, value: &Value) -> String {
    let mut text = format!("<script type=\"application/json\" id=\"{id}\">");
    let json = value.to_string();
    let mut copied = 0;
    for (at, character) in json.char_indices() {
        if matches!(character, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
            text.push_str(&json[copied..at]);
            text.push_str(&format!("\\u{:04x}", u32::from(character)));
            copied = at + character.len_utf8();
        }
    }
    text.push_str(&json[copied..]);
    text.push_str("</script>\n");
    text
}

/// A source as a policy names it.
fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(sha256(text.as_bytes())))
}

/// The frame with these in its places, each once and in this order, so that nothing in them is taken for a place.
fn filled(places: &[(&str, &str)]) -> String {
    let (mut page, mut rest) = (String::new(), FRAME);
    for (place, text) in places {
        if let Some((before, after)) = rest.split_once(place) {
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
    fn what_is_recorded_cannot_end_its_element() {
        let value = json!({ "</script>": "<!-- & \u{2028}\u{2029} \u{fffd} {script}" });
        let text = block("r0", &value);
        let inside = text
            .strip_prefix("<script type=\"application/json\" id=\"r0\">")
            .and_then(|rest| rest.strip_suffix("</script>\n"))
            .unwrap();
        assert!(!inside.contains(['<', '>', '&', '\u{2028}', '\u{2029}']));
        assert_eq!(serde_json::from_str::<Value>(inside).unwrap(), value);
    }

    #[test]
    fn the_frame_has_every_place_and_the_policy_the_digests_of_what_stands_there() {
        let page = Page {
            place: "{script}".to_owned(),
            since: None,
            problems: Vec::new(),
            recordings: Vec::new(),
            prices: Prices::new(None).unwrap(),
            with_media: false,
        };
        let html = page.html();
        let between = |before: &str, after: &str| {
            let (_, rest) = html.split_once(before).unwrap();
            rest.split_once(after).unwrap().0.to_owned()
        };
        assert_eq!(between("<style>", "</style>"), STYLE);
        assert_eq!(between("<script>", "</script>"), SCRIPT);
        let policy = between("Content-Security-Policy\" content=\"", "\"");
        assert!(policy.contains(&digest(STYLE)) && policy.contains(&digest(SCRIPT)));
        assert!(html[..1024].contains(MARK));
        assert!(between("id=\"index\">", "</script>").contains("\"place\":\"{script}\""));
    }
}
