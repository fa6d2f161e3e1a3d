//! Compares a new response with the recorded one: an equivalent response does not change the cassette.

use serde_json::Value;

use super::body::Blob;
use super::messages::are_equivalent;
use super::values::{RecordedRequest, RecordedResponse};
use crate::http::{Event, parse_events, parse_json};

/// Members that differ in every response and that no later request refers to: the id of a completion, the time of its
/// creation, and `p`, padding of random length in stream chunks.
///
/// Ids that later requests refer to (tool calls, files, conversations, jobs) are not volatile: new requests would not
/// match an old id.
const VOLATILE: [&str; 3] = ["id", "created", "p"];

/// Whether two responses to this request are equal except for ids, times, padding, timings and volatile headers.
pub(crate) fn is_equivalent(request: &RecordedRequest, old: &RecordedResponse, new: &RecordedResponse) -> bool {
    let (Blob::Inline(old_body), Blob::Inline(new_body)) = (&old.body, &new.body) else {
        return false;
    };
    let same_head = old.status == new.status && old.header("content-type") == new.header("content-type");
    // The last two are completions on Google Cloud.
    let endpoints = [
        "completions",
        "embeddings",
        "moderations",
        "classifications",
        ":rawPredict",
        ":streamRawPredict",
    ];
    let has_volatile_id = endpoints.iter().any(|endpoint| request.path.ends_with(endpoint));
    same_head
        && are_equivalent(&old.messages, &new.messages)
        && (old_body == new_body
            || has_volatile_id
                && if new.is_event_stream() {
                    stable_events(old_body) == stable_events(new_body)
                } else {
                    matches!((stable(old_body), stable(new_body)), (Some(old), Some(new)) if old == new)
                })
}

fn stable(body: &[u8]) -> Option<Value> {
    let mut value = parse_json(body)?;
    for name in VOLATILE {
        value.as_object_mut()?.shift_remove(name);
    }
    Some(value)
}

fn stable_events(body: &[u8]) -> Vec<(Option<String>, Result<Value, String>)> {
    let stable_event = |Event { name, data }: Event| (name, stable(data.as_bytes()).ok_or(data));
    parse_events(body).into_iter().map(stable_event).collect()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn same(path: &str, kind: &str, old: &str, new: &str) -> bool {
        let request = RecordedRequest::new("POST", path, "");
        let response = |body: &str, time: u64| RecordedResponse {
            status: StatusCode::OK,
            headers: vec![
                ("content-type".to_owned(), kind.to_owned()),
                ("mistral-correlation-id".to_owned(), time.to_string()),
            ],
            body: Blob::Inline(body.to_owned().into()),
            timing_ms: vec![time],
            messages: Vec::new(),
        };
        is_equivalent(&request, &response(old, 1), &response(new, 2))
    }

    #[test]
    fn ids_times_and_padding_of_completions_are_ignored() {
        let chat = |old: &str, new: &str| same("/v1/chat/completions", "application/json", old, new);
        assert!(chat(
            r#"{"id":"a","created":1,"x":[1]}"#,
            r#"{"id":"b","created":2,"x":[1]}"#
        ));
        assert!(!chat(r#"{"id":"a","x":[1]}"#, r#"{"id":"a","x":[2]}"#));
        // A later request refers to the id of a tool call.
        let call = |id: &str| format!(r#"{{"choices":[{{"message":{{"tool_calls":[{{"id":"{id}"}}]}}}}]}}"#);
        assert!(!chat(&call("a"), &call("b")));
        assert!(!chat("not JSON", "not JSON either"));
        let stream = |id: u8, p: &str| format!("data: {{\"id\":\"{id}\",\"p\":\"{p}\",\"x\":1}}\n\ndata: [DONE]\n\n");
        assert!(same(
            "/v1/chat/completions",
            "text/event-stream",
            &stream(1, "a"),
            &stream(2, "bcd")
        ));
        assert!(!same(
            "/v1/chat/completions",
            "text/event-stream",
            &stream(1, ""),
            "data: [DONE]\n\n"
        ));
    }

    #[test]
    fn ids_that_later_requests_refer_to_are_compared() {
        for path in ["/v1/files", "/v1/conversations", "/v1/batch/jobs", "/v1/agents"] {
            assert!(
                !same(path, "application/json", r#"{"id":"a"}"#, r#"{"id":"b"}"#),
                "{path}"
            );
            assert!(
                same(path, "application/json", r#"{"id":"a"}"#, r#"{"id":"a"}"#),
                "{path}"
            );
        }
    }
}
