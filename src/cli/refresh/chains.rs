//! Which recordings are refreshed together, and the order in which their requests are sent again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use serde_json::Value;

use super::index::{Index, Places, reaches};
use super::recording::Recording;
use super::substitutions::{AssistantMessage, messages_of};
use super::values::{references, state, texts_in, values};
use crate::cassette::{RecordedRequest, RecordedResponse};
use crate::cli::change::normalized_content;

/// Recordings that are refreshed together: a mix of old and new ones would not replay.
#[derive(Default)]
pub(super) struct Chain {
    pub(super) recordings: Vec<Recording>,
    /// The requests in the order in which they are sent.
    pub(super) steps: Vec<Step>,
    /// For each recording, the positions of those whose values its request or its response repeats.
    pub(super) uses: Vec<BTreeSet<usize>>,
    /// Whether each recording deletes or cancels an object that no recording has created: by now, its id may belong to another
    /// object.
    pub(super) ends_unknown: Vec<bool>,
}

/// One request of a chain.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    /// The position of the recording.
    pub(super) recording: usize,
    /// The number of the response.
    pub(super) turn: usize,
    /// The values of the recorded response that other recordings repeat.
    pub(super) needed: BTreeSet<String>,
    /// The messages of the assistant in the request: the index of each, and the recording and the turn that it is from.
    pub(super) messages: Vec<(usize, (usize, usize))>,
}

impl Step {
    /// The new messages of the assistant in the request, by their index. `response` returns the new response of a recording at
    /// a turn.
    pub(super) fn messages_of<'a>(
        &self,
        response: impl Fn(usize, usize) -> Option<&'a RecordedResponse>,
    ) -> HashMap<usize, AssistantMessage> {
        let sources = self.messages.iter();
        let new = sources.filter_map(|(index, (source, turn))| {
            let message = AssistantMessage::in_response(response(*source, *turn)?)?;
            Some((*index, message))
        });
        new.collect()
    }
}

/// Returns the selected recordings and the complete chains of which they are a part.
pub(crate) fn with_chains(recordings: Vec<Recording>, is_selected: impl Fn(&Recording) -> bool) -> Vec<Recording> {
    let chains = chains(recordings).into_iter();
    let selected = chains.filter(|chain| chain.recordings.iter().any(&is_selected));
    selected.flat_map(|chain| chain.recordings).collect()
}

/// Returns the ids in requests that no other recording of the scope returns, each with the name of its recording.
pub(crate) fn unresolved_references(recordings: Vec<Recording>) -> Vec<(String, String)> {
    let mut unresolved = Vec::new();
    for recordings in by_scope(recordings) {
        let index = Index::new(&recordings);
        for recording in &recordings {
            let ids = references(&recording.cassette.request).into_iter();
            let unknown = ids.filter(|id| !index.is_made(id));
            unresolved.extend(unknown.map(|id| (recording.name.clone(), id)));
        }
    }
    unresolved
}

/// Splits recordings into chains. A test does not use responses of another test, so a chain is within one scope.
pub(super) fn chains(recordings: Vec<Recording>) -> Vec<Chain> {
    by_scope(recordings).flat_map(chains_of_scope).collect()
}

fn by_scope(recordings: Vec<Recording>) -> impl Iterator<Item = Vec<Recording>> {
    let mut scopes = BTreeMap::<String, Vec<Recording>>::new();
    for recording in recordings {
        let scope = recording.key.scope().as_str().to_owned();
        scopes.entry(scope).or_default().push(recording);
    }
    scopes.into_values()
}

fn chains_of_scope(mut recordings: Vec<Recording>) -> Vec<Chain> {
    // The time of recording decides where no rule does.
    recordings.sort_by_cached_key(|recording| (recording.cassette.recorded.time(), recording.name.clone()));
    let index = Index::new(&recordings);
    let mut graph = Graph::new(&index);
    graph.add_edges();
    let (order, group_of) = (graph.order(), graph.groups());
    let ends_unknown = |at| end_of(index.request(at)).is_some() && !index.id_of(at).is_some_and(|id| index.is_made(id));
    let ends_unknown: Vec<bool> = (0..recordings.len()).map(ends_unknown).collect();
    let Graph {
        mut needed,
        uses,
        messages,
        ..
    } = graph;
    let nodes = index.nodes;

    let mut chains = BTreeMap::<usize, Chain>::new();
    let mut positions = Vec::with_capacity(recordings.len());
    for (at, recording) in recordings.into_iter().enumerate() {
        let chain = chains.entry(group_of[at]).or_default();
        positions.push(chain.recordings.len());
        chain.recordings.push(recording);
        chain.ends_unknown.push(ends_unknown[at]);
    }
    for (at, used) in uses.into_iter().enumerate() {
        let chain = chains.entry(group_of[at]).or_default();
        chain
            .uses
            .push(used.into_iter().map(|other| positions[other]).collect());
    }
    for node in order {
        let (recording, turn) = nodes[node];
        let position = |source: usize| (positions[nodes[source].0], nodes[source].1);
        let step = Step {
            recording: positions[recording],
            turn,
            needed: std::mem::take(&mut needed[node]),
            messages: messages[recording]
                .iter()
                .map(|(at, source)| (*at, position(*source)))
                .collect(),
        };
        chains.entry(group_of[recording]).or_default().steps.push(step);
    }
    chains.into_values().collect()
}

/// Which nodes must come before others, by the rules in [`Graph::add_edges`].
struct Graph<'a> {
    index: &'a Index<'a>,
    /// The nodes that come before each node.
    before: Vec<BTreeSet<usize>>,
    /// For each node, the values of its response that other recordings repeat.
    needed: Vec<BTreeSet<String>>,
    /// For each recording, those whose values its request or its response repeats.
    uses: Vec<BTreeSet<usize>>,
    /// For each recording, the messages of the assistant in its request, and the nodes that they are from.
    messages: Vec<Vec<(usize, usize)>>,
}

impl<'a> Graph<'a> {
    fn new(index: &'a Index<'a>) -> Self {
        let (nodes, recordings) = (index.nodes.len(), index.recordings.len());
        let previous = |(node, (_, turn)): (usize, &(usize, usize))| (*turn > 0).then(|| node - 1);
        let previous = index.nodes.iter().enumerate().map(previous);
        Self {
            index,
            before: previous.map(|node| node.into_iter().collect()).collect(),
            needed: vec![BTreeSet::new(); nodes],
            uses: vec![BTreeSet::new(); recordings],
            messages: vec![Vec::new(); recordings],
        }
    }

    /// Applies the rules, the certain ones first.
    fn add_edges(&mut self) {
        let index = self.index;
        let is_written = |places: &Places| index.writers(places).next().is_some();
        let (written, read): (Vec<_>, Vec<_>) = index.values.iter().partition(|(_, places)| is_written(places));
        for (value, places) in written.into_iter().chain(read) {
            self.order_by_value(value, places);
        }
        for recording in 0..index.recordings.len() {
            match end_of(index.request(recording)) {
                Some(end) if !index.has_failed(index.first_node(recording)) => self.order_by_end(recording, end),
                _ => {}
            }
            self.order_by_state(recording);
        }
        self.order_by_messages();
    }

    /// Puts one node before another one of another recording.
    fn put_before(&mut self, earlier: usize, later: usize) {
        if self.index.recording_of(earlier) != self.index.recording_of(later) {
            self.before[later].insert(earlier);
        }
    }

    /// Puts one node before another one because a response lacks a value. If the times of recording contradict that, the value
    /// is missing for another reason, such as an item that is on another page of a list.
    fn suggest_before(&mut self, earlier: usize, later: usize) {
        if !self.index.is_known_before(later, earlier) {
            self.put_before(earlier, later);
        }
    }

    /// Puts the nodes up to `last` before the node `at`, and the others after it.
    fn put_around(&mut self, nodes: impl IntoIterator<Item = usize>, at: usize, last: Option<usize>) {
        for node in nodes {
            match last.is_some_and(|last| node <= last) {
                true => self.put_before(node, at),
                false => self.suggest_before(at, node),
            }
        }
    }

    /// A value: the node that has made it comes before those that repeat or return it.
    fn order_by_value(&mut self, value: &str, places: &Places) {
        let index = self.index;
        let Some(origin) = index.first(index.writers(places)).or_else(|| self.first_reader(places)) else {
            return;
        };
        let source = index.recording_of(origin);
        for user in places.requests.iter().copied().filter(|user| *user != source) {
            self.put_before(origin, index.first_node(user));
            self.needed[origin].insert(value.to_owned());
            self.uses[user].insert(source);
        }
        if !index.is_write(source) {
            self.order_by_expiry(value, origin, places);
            return;
        }
        let others: BTreeSet<usize> = places.responses.iter().map(|node| index.recording_of(*node)).collect();
        for other in others {
            if other == source || places.requests.contains(&other) {
                continue;
            }
            // Both are saved with the new value, or neither.
            self.needed[origin].insert(value.to_owned());
            self.uses[other].insert(source);
            // A list has the value after it was made, and not before.
            let has_value = |node: &usize| places.responses.contains(node);
            let first = index.nodes_of(other).find(has_value);
            for node in index.nodes_of(other) {
                if has_value(&node) {
                    self.put_before(origin, node);
                } else if !index.is_write(other) && first.is_some_and(|first| node < first) {
                    self.suggest_before(node, origin);
                }
            }
        }
    }

    /// The first source of a value that no write has made, such as the output of a job. If a request that sends the value comes
    /// before a response, the response only repeats it: a job with this input, a list with the file name of an upload.
    fn first_reader(&self, places: &Places) -> Option<usize> {
        let index = self.index;
        let before = |node: usize| self.before[node].iter().copied();
        let sends = |node: usize| places.requests.contains(&index.recording_of(node));
        let readers = index
            .sources(places)
            .filter(|node| !index.is_write(index.recording_of(*node)));
        index.first(readers.filter(|node| !reaches(*node, before, sends)))
    }

    /// A value of a `GET` that a later turn no longer returns, such as a signed URL: it may have expired by then, so its uses
    /// come before that turn.
    fn order_by_expiry(&mut self, value: &str, origin: usize, places: &Places) {
        let index = self.index;
        let source = index.recording_of(origin);
        let mut later = (origin + 1)..index.nodes_of(source).end;
        let Some(next) = later.find(|node| !places.responses.contains(node)) else {
            return;
        };
        let mut new = values(index.response(next));
        new.retain(|_, new| new != value);
        for user in places.requests.iter().copied().filter(|user| *user != source) {
            let uses_new = new.values().any(|new| index.texts[user].contain(new));
            for node in index.nodes_of(user).filter(|_| !uses_new) {
                self.suggest_before(node, next);
            }
        }
    }

    /// A request that deletes or cancels an object: it comes after all uses of its id, and before the errors that follow.
    fn order_by_end(&mut self, recording: usize, end: End) {
        let index = self.index;
        let Some(id) = index.id_of(recording) else { return };
        let (at, returned) = (index.first_node(recording), index.responses_with(id));
        for other in (0..index.recordings.len()).filter(|other| *other != recording) {
            let nodes = index.nodes_of(other);
            // What was read of the object, such as its URL, is invalid after the end.
            let is_read = |source: &usize| !index.is_write(*source) && index.texts[*source].contain(id);
            if index.texts[other].contain(id) {
                // The rule for a later end of the same object puts that one after this one.
                let is_later_end =
                    end_of(index.request(other)).is_some_and(|other_end| (other_end, other) > (end, recording));
                if !is_later_end {
                    let last = nodes.clone().rfind(|node| self.is_before_end(*node, at, end));
                    self.put_around(nodes, at, last);
                }
            } else if self.uses[other].iter().any(is_read) {
                nodes.for_each(|node| self.put_before(node, at));
            } else if let Some(last) = nodes.clone().rfind(|node| returned.contains(node)) {
                // A list has the id until the end. A write returns the id only once, so its absence later means nothing.
                let nodes: Vec<usize> = nodes.filter(|node| *node <= last || !index.is_write(other)).collect();
                self.put_around(nodes, at, Some(last));
            }
        }
    }

    /// Whether a node that names an object shows the object before its end. A cancelled object can still be read.
    fn is_before_end(&self, node: usize, at: usize, end: End) -> bool {
        let index = self.index;
        let is_cancelled = || {
            let (ended, now) = (state(index.response(at)), state(index.response(node)));
            now.is_some_and(|now| ended.as_ref() == Some(&now) || now.contains("cancel"))
        };
        let is_read = !index.is_write(index.recording_of(node));
        !(index.has_failed(node) || is_read && end != End::Delete && is_cancelled())
    }

    /// A write to an object comes between two turns that read it, if a text of the write is new in the later one.
    fn order_by_state(&mut self, write: usize) {
        let index = self.index;
        let nodes: Vec<usize> = index.nodes_of(write).collect();
        let (Some(id), &[at]) = (index.id_of(write), &nodes[..]) else {
            return;
        };
        let is_delete = end_of(index.request(write)) == Some(End::Delete);
        if !index.is_write(write) || is_delete || index.has_failed(at) {
            return;
        }
        let texts_of = |node: usize| texts_in(&normalized_content(index.response(node)));
        let mut written = texts_of(at);
        written.extend(index.texts[write].complete.iter().cloned());
        let origin = index
            .values
            .get(id)
            .and_then(|places| index.first(index.writers(places)));
        let created = origin.filter(|origin| *origin != at).map(texts_of);
        for read in (0..index.recordings.len()).filter(|read| !index.is_write(*read)) {
            let nodes: Vec<usize> = index.nodes_of(read).collect();
            let returned = index.responses_with(id);
            if index.id_of(read) != Some(id) && !nodes.iter().any(|node| returned.contains(node)) {
                continue;
            }
            let texts: Vec<HashSet<String>> = nodes.iter().map(|node| texts_of(*node)).collect();
            let has_new_text = |turn: &usize| {
                let before = turn.checked_sub(1).map_or(created.as_ref(), |before| texts.get(before));
                before.is_some_and(|before| texts[*turn].difference(before).any(|text| written.contains(text)))
            };
            let changed: Vec<usize> = (0..nodes.len()).filter(has_new_text).collect();
            if let [turn] = changed[..] {
                if turn > 0 {
                    self.suggest_before(nodes[turn - 1], at);
                }
                self.suggest_before(at, nodes[turn]);
            }
        }
    }

    /// A message of the assistant: the response that has it comes before a request that repeats it behind the same messages.
    fn order_by_messages(&mut self) {
        let index = self.index;
        let text_of = |messages: &[Value]| serde_json::to_string(messages).unwrap_or_default();
        let conversations: Vec<Vec<Value>> = (0..index.recordings.len())
            .map(|recording| messages_of(index.request(recording)))
            .collect();
        let mut by_messages = HashMap::<String, Vec<usize>>::new();
        for (recording, messages) in conversations.iter().enumerate() {
            by_messages.entry(text_of(messages)).or_default().push(recording);
        }
        for (recording, messages) in conversations.iter().enumerate() {
            for (at, message) in messages.iter().enumerate().skip(1) {
                let Some(repeated) = AssistantMessage::in_request(message) else {
                    continue;
                };
                let others = by_messages.get(&text_of(&messages[..at])).into_iter().flatten();
                let mut nodes = others.flat_map(|other| index.nodes_of(*other));
                let has_message =
                    |node: &usize| AssistantMessage::in_response(index.response(*node)).as_ref() == Some(&repeated);
                if let Some(source) = nodes.find(has_message) {
                    self.put_before(source, index.first_node(recording));
                    self.messages[recording].push((at, source));
                }
            }
        }
    }

    /// The group of each recording: those that edges connect have the same one.
    fn groups(&self) -> Vec<usize> {
        let mut neighbours = vec![BTreeSet::new(); self.index.recordings.len()];
        for (later, before) in self.before.iter().enumerate() {
            for earlier in before {
                let (one, other) = (self.index.recording_of(*earlier), self.index.recording_of(later));
                neighbours[one].insert(other);
                neighbours[other].insert(one);
            }
        }
        let mut groups = vec![None; neighbours.len()];
        for group in 0..neighbours.len() {
            let mut waiting = vec![group];
            while let Some(at) = waiting.pop() {
                if groups[at].is_none() {
                    groups[at] = Some(group);
                    waiting.extend(&neighbours[at]);
                }
            }
        }
        groups.into_iter().flatten().collect()
    }

    /// The nodes in an order in which each one comes after those that must be before it.
    fn order(&self) -> Vec<usize> {
        let mut left: Vec<usize> = self.before.iter().map(BTreeSet::len).collect();
        let mut after = vec![Vec::new(); left.len()];
        for (node, before) in self.before.iter().enumerate() {
            before.iter().for_each(|earlier| after[*earlier].push(node));
        }
        let rank = |node: usize| Reverse((self.index.rank[node], node));
        let ready = (0..left.len()).filter(|node| left[*node] == 0).map(rank);
        let mut ready: BinaryHeap<Reverse<(usize, usize)>> = ready.collect();
        let (mut order, mut is_done) = (Vec::new(), vec![false; left.len()]);
        // If all that are left wait for each other, the one that was recorded first comes first.
        while let Some(next) = ready
            .pop()
            .map(|Reverse((_, node))| node)
            .or_else(|| self.index.first((0..is_done.len()).filter(|node| !is_done[*node])))
        {
            if std::mem::replace(&mut is_done[next], true) {
                continue;
            }
            order.push(next);
            for later in &after[next] {
                left[*later] -= 1;
                if left[*later] == 0 {
                    ready.push(rank(*later));
                }
            }
        }
        order
    }
}

/// How a request ends an object, in the order in which a program sends such requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Cancel,
    Archive,
    Delete,
}

fn end_of(request: &RecordedRequest) -> Option<End> {
    let last = request.path.rsplit('/').next().unwrap_or_default();
    match (request.method.as_str(), last) {
        ("DELETE", _) => Some(End::Delete),
        ("POST" | "PUT" | "PATCH", "archive" | "terminate") => Some(End::Archive),
        ("POST" | "PUT" | "PATCH", "cancel" | "stop") => Some(End::Cancel),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::cassette::{Cassette, Recorded};
    use crate::key::{RequestKey, Scope};

    /// A recording in a scope: `METHOD /path`, a body, and the bodies of the responses.
    fn recording(scope: &str, line: &str, body: &Value, responses: &[Value]) -> Recording {
        let (method, path) = line.split_once(' ').unwrap();
        let response = |body: &Value| RecordedResponse {
            status: StatusCode::from_u16(u16::try_from(body["status"].as_u64().unwrap_or(200)).unwrap()).unwrap(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::from(body.to_string()).into(),
            timing_ms: vec![1],
            messages: Vec::new(),
        };
        let hash = "0".repeat(64);
        let scope = Scope::new(scope).unwrap();
        Recording {
            name: line.to_owned(),
            key: RequestKey::from_parts(hash.clone(), scope, "x".to_owned(), "x".to_owned()),
            cassette: Cassette {
                key: hash,
                recorded: Recorded {
                    at: "2026-11-27T10:00:00Z".to_owned(),
                    ..Recorded::now(None, None)
                },
                history: None,
                request: RecordedRequest::new(method, path, body.to_string()),
                responses: responses.iter().map(response).collect(),
            },
        }
    }

    /// The requests of each chain in order, with the turn behind those of several responses.
    fn order(recordings: Vec<Recording>) -> Vec<Vec<String>> {
        let name = |chain: &Chain, step: &Step| {
            let recording = &chain.recordings[step.recording];
            match recording.cassette.responses.len() {
                1 => recording.name.clone(),
                _ => format!("{} {}", recording.name, step.turn),
            }
        };
        let chains = chains(recordings).into_iter();
        chains
            .map(|chain| chain.steps.iter().map(|step| name(&chain, step)).collect())
            .collect()
    }

    fn file(id: &str) -> Value {
        json!({ "id": id })
    }

    const FILE: &str = "file-1a2b3c4d";

    #[test]
    fn requests_come_after_what_they_repeat_and_before_its_end() {
        let (url, path) = ("https://a.example/x?s=9f8e7d6c5b4a", format!("/v1/files/{FILE}"));
        let list = |files: &[&str]| json!({ "data": files.iter().map(|id| file(id)).collect::<Vec<_>>() });
        let found = order(vec![
            recording("a", &format!("DELETE {path}"), &json!({}), &[file(FILE)]),
            recording(
                "a",
                &format!("GET {path}"),
                &json!({}),
                &[file(FILE), json!({ "status": 404 })],
            ),
            recording("a", "GET /v1/files", &json!({}), &[list(&[]), list(&[FILE]), list(&[])]),
            recording("a", &format!("GET {path}/url"), &json!({}), &[json!({ "url": url })]),
            recording("a", "POST /v1/a", &json!({ "document_url": url }), &[json!({})]),
            recording("a", "POST /v1/files", &json!({}), &[file(FILE)]),
            recording("b", "POST /v1/b", &json!({ "document_url": url }), &[json!({})]),
        ]);
        assert_eq!(found.len(), 2, "a request of another scope is in another chain");
        let at = |name: &str| {
            found[0]
                .iter()
                .position(|step| step == name)
                .unwrap_or_else(|| panic!("{name}"))
        };
        let (upload, delete) = (at("POST /v1/files"), at(&format!("DELETE {path}")));
        assert!(at("GET /v1/files 0") < upload && upload < at("GET /v1/files 1"));
        assert!(at("GET /v1/files 1") < delete && delete < at("GET /v1/files 2"));
        assert!(upload < at(&format!("GET {path}/url")) && at(&format!("GET {path}/url")) < at("POST /v1/a"));
        assert!(at("POST /v1/a") < delete);
        assert!(at(&format!("GET {path} 0")) < delete && delete < at(&format!("GET {path} 1")));
    }

    /// The job, its list and `cancel` return a value that the first request sends. A cancelled job can still be read.
    #[test]
    fn a_job_is_read_before_and_after_it_is_cancelled() {
        let (id, run) = ("job-1a2b3c4d", "run-9f8e7d6c5b");
        let job = |status: &str| json!({ "id": id, "run": run, "status": status });
        let found = order(vec![
            recording(
                "a",
                &format!("DELETE /v1/jobs/{id}"),
                &json!({}),
                &[json!({ "deleted": true })],
            ),
            recording(
                "a",
                &format!("GET /v1/jobs/{id}"),
                &json!({}),
                &[job("RUNNING"), job("CANCELLED")],
            ),
            recording("a", "GET /v1/jobs", &json!({}), &[json!({ "data": [job("RUNNING")] })]),
            recording(
                "a",
                &format!("POST /v1/jobs/{id}/cancel"),
                &json!({}),
                &[job("CANCELLATION_REQUESTED")],
            ),
            recording("a", "POST /v1/new-jobs", &json!({ "run": run }), &[job("QUEUED")]),
        ]);
        let [chain] = &found[..] else { panic!("{found:?}") };
        let chain: Vec<&str> = chain
            .iter()
            .map(String::as_str)
            .filter(|step| *step != "GET /v1/jobs")
            .collect();
        let expected = [
            "POST /v1/new-jobs",
            "GET /v1/jobs/job-1a2b3c4d 0",
            "POST /v1/jobs/job-1a2b3c4d/cancel",
            "GET /v1/jobs/job-1a2b3c4d 1",
            "DELETE /v1/jobs/job-1a2b3c4d",
        ];
        assert_eq!(chain, expected);
    }

    /// The output of one job is the input of the next one, which returns it, too.
    #[test]
    fn what_was_made_from_a_value_is_not_its_source() {
        let (first, second) = ("job-1a2b3c4d", "job-9f8e7d6c");
        let (output, last) = ("out-1a2b3c4d", "out-9f8e7d6c");
        let chains = chains(vec![
            recording(
                "a",
                &format!("GET /v1/jobs/{second}"),
                &json!({}),
                &[json!({ "input": output, "output": last })],
            ),
            recording(
                "a",
                &format!("GET /v1/jobs/{first}"),
                &json!({}),
                &[json!({ "output": output })],
            ),
            recording("a", "POST /v1/jobs/2", &json!({ "input": output }), &[file(second)]),
            recording("a", "POST /v1/jobs/1", &json!({}), &[file(first)]),
        ]);
        let [chain] = &chains[..] else { panic!() };
        let steps: Vec<&str> = chain
            .steps
            .iter()
            .map(|step| &*chain.recordings[step.recording].name)
            .collect();
        let expected = [
            "POST /v1/jobs/1",
            "GET /v1/jobs/job-1a2b3c4d",
            "POST /v1/jobs/2",
            "GET /v1/jobs/job-9f8e7d6c",
        ];
        assert_eq!(steps, expected);
        assert_eq!(chain.steps[1].needed, BTreeSet::from([output.to_owned()]));
    }

    #[test]
    fn a_message_is_from_the_conversation_before_it() {
        let ok = || json!({ "choices": [{ "message": { "role": "assistant", "content": "OK" } }] });
        let user = |text: &str| json!({ "role": "user", "content": text });
        let said = || json!({ "role": "assistant", "content": "OK" });
        let chat = |name: &str, messages: Value| recording("a", name, &json!({ "messages": messages }), &[ok()]);
        let chains = chains(vec![
            chat("POST /v1/3", json!([user("a"), said(), user("b"), said(), user("c")])),
            chat("POST /v1/2", json!([user("a"), said(), user("b")])),
            chat("POST /v1/1", json!([user("a")])),
            chat("POST /v1/other", json!([user("d")])),
        ]);
        let chain = chains.iter().find(|chain| chain.recordings.len() == 3).unwrap();
        let name = |at: usize| &*chain.recordings[at].name;
        let from = |step: &Step| -> Vec<(usize, &str)> {
            step.messages
                .iter()
                .map(|(at, (recording, _))| (*at, name(*recording)))
                .collect()
        };
        assert_eq!(name(chain.steps[0].recording), "POST /v1/1");
        assert_eq!(from(&chain.steps[1]), [(1, "POST /v1/1")]);
        assert_eq!(from(&chain.steps[2]), [(1, "POST /v1/1"), (3, "POST /v1/2")]);
    }

    #[test]
    fn requests_that_wait_for_each_other_are_sent_in_the_order_of_their_names() {
        let found = order(vec![
            recording(
                "a",
                "POST /v1/2",
                &json!({ "uses": "id-1a2b3c4d" }),
                &[file("id-9f8e7d6c")],
            ),
            recording(
                "a",
                "POST /v1/1",
                &json!({ "uses": "id-9f8e7d6c" }),
                &[file("id-1a2b3c4d")],
            ),
        ]);
        assert_eq!(found, [["POST /v1/1", "POST /v1/2"]]);
    }

    #[test]
    fn complete_chains_are_selected() {
        let recordings = vec![
            recording("a", "POST /v1/files", &json!({}), &[file(FILE)]),
            recording("a", "POST /v1/ocr", &json!({ "file": FILE }), &[json!({})]),
            recording("a", "POST /v1/other", &json!({}), &[file("file-99999999a")]),
        ];
        let selected = with_chains(recordings, |recording| recording.name == "POST /v1/ocr");
        let names: Vec<&str> = selected.iter().map(|recording| &*recording.name).collect();
        assert_eq!(names, ["POST /v1/files", "POST /v1/ocr"]);
    }
}
