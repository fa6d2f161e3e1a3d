//! The texts that redaction has put into recordings.

use crate::settings::Settings;
use crate::settings::matching::PLACEHOLDER;

/// The texts that replace other texts in recordings.
pub(super) struct Redacted(Vec<String>);

impl Redacted {
    pub(super) fn new(settings: &Settings) -> Self {
        // `REDACTED` is in the placeholder of a URL, too.
        let mut texts = vec![Self::anything().trim_matches(['[', ']']).to_owned()];
        // A replacement with a capture group (`$1`) has no fixed text: only the part before the group is always the same.
        let replacements = settings
            .redaction
            .iter()
            .filter_map(|redaction| redaction.with.split('$').next());
        texts.extend(replacements.filter(|text| !text.is_empty()).map(str::to_owned));
        Self(texts)
    }

    /// A text that matches any schema.
    pub(super) fn anything() -> &'static str {
        PLACEHOLDER
    }

    /// Whether a text contains a replaced part.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|redacted| text.contains(redacted))
    }
}
