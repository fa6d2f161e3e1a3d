//! Whether a new answer says the same as the one on file, so that recording again leaves the file alone.

use serde_json::Value;

use super::body::Blob;
use super::{RecordedRequest, RecordedResponse};
use crate::message::{Event, events, parse};

/// Members that are different in every answer and that no later request refers to: the id of a completion, when it was
/// created, and `p`, a padding of random length in stream chunks.
///
/// Ids that later requests name (tool calls, files, conversations, jobs) are none of them: an old one beside new
/// requests would break the chain.
const VOLATILE: [&str; 3] = ["id", "created", "p"];

/// Whether two answers to this request say the same, apart from ids, times, padding, timings and headers of the day.
pub(crate) fn says_the_same(request: &RecordedRequest, old: &RecordedResponse, new: &RecordedResponse) -> bool {
    let (Blob::Here(old_body), Blob::Here(new_body)) = (&old.body, &new.body) else {
        return false;
    };
    let same_head = old.status == new.status && old.header("content-type") == new.header("content-type");
    let has_volatile_id = ["completions", "embeddings", "moderations", "classifications"]
        .iter()
        .any(|endpoint| request.path.ends_with(endpoint));
    same_head
        && (old_body == new_body
            || has_volatile_id
                && if new.is_event_stream() {
                    lasting_events(old_body) == lasting_events(new_body)
                } else {
                    matches!((lasting(old_body), lasting(new_body)), (Some(old), Some(new)) if old == new)
                })
}

fn lasting(body: &[u8]) -> Option<Value> {
    let mut value = parse(body)?;
    for name in VOLATILE {
        value.as_object_mut()?.shift_remove(name);
    }
    Some(value)
}

fn lasting_events(body: &[u8]) -> Vec<(Option<String>, Result<Value, String>)> {
    let lasting_event = |Event { name, data }: Event| (name, lasting(data.as_bytes()).ok_or(data));
    events(body).into_iter().map(lasting_event).collect()
}
