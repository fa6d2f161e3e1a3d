//! Finds which recordings use values of other recordings, and the order in which to refresh them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::recording::Recording;
use super::substitutions::{AssistantMessage, ids, references};

/// Returns, for each recording, the positions of the recordings whose responses its request uses.
fn dependencies(recordings: &[Recording]) -> Vec<BTreeSet<usize>> {
    let mut by_id = HashMap::<String, Vec<usize>>::new();
    let mut by_message = HashMap::<AssistantMessage, Vec<usize>>::new();
    for (at, recording) in recordings.iter().enumerate() {
        let responses = &recording.cassette.responses;
        for id in ids(responses).into_values() {
            by_id.entry(id).or_default().push(at);
        }
        for message in responses.iter().filter_map(AssistantMessage::in_response) {
            by_message.entry(message).or_default().push(at);
        }
    }
    let of = |(at, recording): (usize, &Recording)| {
        let (texts, messages) = references(&recording.cassette.request);
        let sources_of_ids = texts.iter().filter_map(|text| by_id.get(text)).flatten();
        let sources_of_messages = messages.iter().filter_map(|message| by_message.get(message)).flatten();
        // A test does not use responses of another test, so only recordings of one scope depend on each other.
        let is_other_of_scope = |other: &usize| *other != at && recordings[*other].key.scope() == recording.key.scope();
        let sources = sources_of_ids.chain(sources_of_messages);
        sources.copied().filter(is_other_of_scope).collect()
    };
    recordings.iter().enumerate().map(of).collect()
}

/// Returns the selected recordings and all that depend on them: these would no longer match otherwise.
pub(crate) fn with_dependents(recordings: Vec<Recording>, is_selected: impl Fn(&Recording) -> bool) -> Vec<Recording> {
    let dependencies = dependencies(&recordings);
    let all = 0..recordings.len();
    let mut selected: BTreeSet<usize> = all.clone().filter(|at| is_selected(&recordings[*at])).collect();
    loop {
        let is_new = |at: &usize| !selected.contains(at) && !dependencies[*at].is_disjoint(&selected);
        let dependents: Vec<usize> = all.clone().filter(is_new).collect();
        if dependents.is_empty() {
            break;
        }
        selected.extend(dependents);
    }
    let selected = |(at, recording)| selected.contains(&at).then_some(recording);
    recordings.into_iter().enumerate().filter_map(selected).collect()
}

/// Groups recordings so that each one is in a later group than the recordings that it depends on.
pub(super) fn in_order(recordings: Vec<Recording>) -> Vec<Vec<Recording>> {
    let mut dependencies = dependencies(&recordings);
    let mut left: BTreeMap<usize, Recording> = recordings.into_iter().enumerate().collect();
    let mut groups = Vec::new();
    while !left.is_empty() {
        let is_ready = |at: &usize| dependencies[*at].is_empty();
        let mut ready: Vec<usize> = left.keys().copied().filter(is_ready).collect();
        if ready.is_empty() {
            // The rest depend on each other: start with any of them.
            ready.extend(left.keys().next().copied());
        }
        for dependencies in &mut dependencies {
            dependencies.retain(|other| !ready.contains(other));
        }
        groups.push(ready.iter().filter_map(|at| left.remove(at)).collect());
    }
    groups
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::cassette::{Cassette, Recorded, RecordedBody, RecordedRequest, RecordedResponse};
    use crate::key::{RequestKey, Scope};

    /// A recording in `scope` whose request names `uses` and whose response has the id `id`.
    fn recording(scope: &str, uses: &[&str], id: &str) -> Recording {
        let request = RecordedRequest {
            method: "POST".to_owned(),
            path: "/v1/x".to_owned(),
            query: None,
            content_type: None,
            body: RecordedBody::Blob(Bytes::from(json!({ "uses": uses }).to_string()).into()),
        };
        let body = Value::String(id.to_owned());
        let response = RecordedResponse {
            status: StatusCode::OK,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::from(json!({ "id": body }).to_string()).into(),
            timing_ms: vec![1],
        };
        let scope = Scope::new(scope).unwrap();
        let hash = "0".repeat(64);
        Recording {
            name: id.to_owned(),
            key: RequestKey::from_parts(hash.clone(), scope, "x".to_owned(), "x".to_owned()),
            cassette: Cassette {
                key: hash,
                recorded: Recorded::now(None, None),
                history: None,
                request,
                responses: vec![response],
            },
        }
    }

    fn names(recordings: &[Recording]) -> Vec<&str> {
        recordings.iter().map(|recording| &*recording.name).collect()
    }

    #[test]
    fn a_recording_is_refreshed_after_the_ones_it_depends_on() {
        let recordings = vec![
            recording("a", &["second-id"], "third-id"),
            recording("a", &["first-id"], "second-id"),
            recording("a", &[], "first-id"),
            recording("b", &["first-id"], "other-scope"),
        ];
        let groups = in_order(recordings);
        let groups: Vec<Vec<&str>> = groups.iter().map(|group| names(group)).collect();
        assert_eq!(
            groups,
            [vec!["first-id", "other-scope"], vec!["second-id"], vec!["third-id"]]
        );
    }

    #[test]
    fn recordings_that_depend_on_each_other_are_refreshed_one_after_the_other() {
        let groups = in_order(vec![
            recording("a", &["id-two"], "id-one"),
            recording("a", &["id-one"], "id-two"),
        ]);
        let groups: Vec<Vec<&str>> = groups.iter().map(|group| names(group)).collect();
        assert_eq!(groups, [["id-one"], ["id-two"]]);
    }

    #[test]
    fn dependents_of_selected_recordings_are_selected() {
        let recordings = vec![
            recording("a", &["second-id"], "third-id"),
            recording("a", &["first-id"], "second-id"),
            recording("a", &[], "first-id"),
            recording("a", &[], "unrelated"),
        ];
        let selected = with_dependents(recordings, |recording| recording.name == "first-id");
        assert_eq!(names(&selected), ["third-id", "second-id", "first-id"]);
    }
}
