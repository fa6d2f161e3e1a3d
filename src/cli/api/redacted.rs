//! Texts of recordings that redaction has written.

use crate::settings::Settings;
use crate::settings::matching::PLACEHOLDER;

/// The texts that stand for something else in recordings.
pub(super) struct Redacted(Vec<String>);

impl Redacted {
    pub(super) fn new(settings: &Settings) -> Self {
        // `REDACTED` is in the placeholder of a URL, too.
        let mut texts = vec![Self::anything().trim_matches(['[', ']']).to_owned()];
        // The part of a replacement before its first group is in all of its texts.
        let replacements = settings
            .redaction
            .iter()
            .filter_map(|redaction| redaction.with.split('$').next());
        texts.extend(replacements.filter(|text| !text.is_empty()).map(str::to_owned));
        Self(texts)
    }

    /// A text that stands for anything.
    pub(super) fn anything() -> &'static str {
        PLACEHOLDER
    }

    /// Whether a text is, or has a part, that stands for something else.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|redacted| text.contains(redacted))
    }
}
