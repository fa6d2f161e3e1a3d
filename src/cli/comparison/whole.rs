//! Both answers of a cassette, whole.

use crate::cassette::RecordedResponse;
use crate::cli::output::view;
use crate::cli::side_by_side::both;
use crate::cli::transcript::whole_response;

/// The answers of both sides that differ as text for people. Nothing of an answer is cut; what is not in its text, as an id, is
/// not shown.
pub(crate) fn whole_answers(old: &[RecordedResponse], new: &[RecordedResponse]) -> String {
    let total = old.len().max(new.len());
    let view = view();
    let mut text = String::new();
    for at in 0..total {
        let (old, new) = (old.get(at), new.get(at));
        let shown = |response: Option<&RecordedResponse>| response.map(whole_response).unwrap_or_default();
        let (old, new) = (shown(old), shown(new));
        if old == new {
            continue;
        }
        text.push('\n');
        if total > 1 {
            text.push_str(&format!("response {} of {total}\n\n", at + 1));
        }
        text.push_str(&both(&old, &new, view));
        text.push('\n');
    }
    text
}
