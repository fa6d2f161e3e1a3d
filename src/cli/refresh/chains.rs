//! Which recordings use values of other recordings, and the order in which their requests are sent again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use aho_corasick::AhoCorasick;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::recording::Recording;
use super::substitutions::AssistantMessage;
use super::values::{RequestTexts, is_part, is_unnamed, references, state, values};
use crate::cassette::{Blob, RecordedBody, RecordedRequest, RecordedResponse};
use crate::cli::change::{is_random, normalized_content};
use crate::http::parse_json;

/// Recordings that are refreshed together: a mix of old and new ones would not replay.
#[derive(Default)]
pub(super) struct Chain {
    pub(super) recordings: Vec<Recording>,
    /// The requests in the order in which they are sent.
    pub(super) steps: Vec<Step>,
    /// For each recording, the positions of those whose values its request or its response repeats.
    pub(super) uses: Vec<BTreeSet<usize>>,
    /// Whether each recording ends something that no other one has made, so that it could be something else by now.
    pub(super) ends_unknown: Vec<bool>,
}

/// One request of a chain.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    /// The position of the recording.
    pub(super) recording: usize,
    /// The number of the response.
    pub(super) turn: usize,
    /// The values of the recorded response that later requests repeat.
    pub(super) needed: BTreeSet<String>,
    /// The messages of the assistant in the request: the index of each, and the recording and the turn that it is from.
    pub(super) messages: Vec<(usize, (usize, usize))>,
}

/// Returns the selected recordings and the complete chains of which they are a part.
pub(crate) fn with_chains(recordings: Vec<Recording>, is_selected: impl Fn(&Recording) -> bool) -> Vec<Recording> {
    let chains = chains(recordings).into_iter();
    let selected = chains.filter(|chain| chain.recordings.iter().any(&is_selected));
    selected.flat_map(|chain| chain.recordings).collect()
}

/// Returns the ids that requests name and that no other recording of the scope has made, each with the name of its recording.
/// After a partial refresh they would be ids that no program sends any more.
pub(crate) fn unresolved_references(recordings: Vec<Recording>) -> Vec<(String, String)> {
    let mut unresolved = Vec::new();
    for recordings in by_scope(recordings) {
        let graph = Graph::new(&recordings);
        let places = graph.places();
        for recording in &recordings {
            for id in references(&recording.cassette.request) {
                let is_made = places
                    .get(&id)
                    .is_some_and(|places| graph.sources(places).next().is_some());
                if !is_made {
                    unresolved.push((recording.name.clone(), id));
                }
            }
        }
    }
    unresolved
}

fn by_scope(recordings: Vec<Recording>) -> impl Iterator<Item = Vec<Recording>> {
    let mut scopes = BTreeMap::<String, Vec<Recording>>::new();
    for recording in recordings {
        let scope = recording.key.scope().as_str().to_owned();
        scopes.entry(scope).or_default().push(recording);
    }
    scopes.into_values()
}

/// Splits recordings into chains. A test does not use responses of another test, so a chain is within one scope.
pub(super) fn chains(recordings: Vec<Recording>) -> Vec<Chain> {
    by_scope(recordings).flat_map(chains_of_scope).collect()
}

fn chains_of_scope(mut recordings: Vec<Recording>) -> Vec<Chain> {
    // The order of recording decides where nothing else does.
    recordings.sort_by(|a, b| (&a.cassette.recorded.at, &a.name).cmp(&(&b.cassette.recorded.at, &b.name)));
    let mut graph = Graph::new(&recordings);
    graph.connect();
    let order = graph.order();
    let ends_unknown: Vec<bool> = (0..recordings.len())
        .map(|at| {
            let is_known = || graph.id_of(at).is_some_and(|id| graph.ids.contains(&id));
            end_rank(graph.request(at)).is_some() && !is_known()
        })
        .collect();
    let Graph {
        nodes,
        mut needed,
        uses,
        messages,
        mut group_of,
        ..
    } = graph;
    let mut chains = BTreeMap::<usize, Chain>::new();
    let mut places = Vec::with_capacity(recordings.len());
    for (at, recording) in recordings.into_iter().enumerate() {
        let chain = chains.entry(root(&mut group_of, at)).or_default();
        places.push(chain.recordings.len());
        chain.recordings.push(recording);
        chain.ends_unknown.push(ends_unknown[at]);
    }
    for (at, used) in uses.into_iter().enumerate() {
        let chain = chains.entry(root(&mut group_of, at)).or_default();
        chain.uses.push(used.into_iter().map(|other| places[other]).collect());
    }
    for node in order {
        let (recording, turn) = nodes[node];
        let from = messages[recording].iter();
        let step = Step {
            recording: places[recording],
            turn,
            needed: std::mem::take(&mut needed[node]),
            messages: from
                .map(|(at, source)| (*at, (places[nodes[*source].0], nodes[*source].1)))
                .collect(),
        };
        chains
            .entry(root(&mut group_of, recording))
            .or_default()
            .steps
            .push(step);
    }
    chains.into_values().collect()
}

/// The requests of the recordings of one scope, and which of them must come before others.
struct Graph<'a> {
    recordings: &'a [Recording],
    /// The recording and the turn of each request.
    nodes: Vec<(usize, usize)>,
    /// The first node of each recording.
    first: Vec<usize>,
    texts: Vec<RequestTexts>,
    /// The nodes that come before each node.
    before: Vec<BTreeSet<usize>>,
    needed: Vec<BTreeSet<String>>,
    uses: Vec<BTreeSet<usize>>,
    /// For each recording, the messages of the assistant in its request, and the nodes that they are from.
    messages: Vec<Vec<(usize, usize)>>,
    /// The values that a response has and its request does not send.
    ids: HashSet<String>,
    /// For each recording, the writes that return a value which its request repeats.
    may_use: Vec<BTreeSet<usize>>,
    /// A union-find structure over the recordings.
    group_of: Vec<usize>,
}

/// Where a value stands.
#[derive(Default)]
struct Places {
    /// The nodes whose responses have it.
    responses: Vec<usize>,
    /// The recordings whose requests repeat it.
    requests: BTreeSet<usize>,
}

impl<'a> Graph<'a> {
    fn new(recordings: &'a [Recording]) -> Self {
        let (mut nodes, mut first) = (Vec::new(), Vec::new());
        for (at, recording) in recordings.iter().enumerate() {
            first.push(nodes.len());
            nodes.extend((0..recording.cassette.responses.len()).map(|turn| (at, turn)));
        }
        let follows = |(node, (_, turn)): (usize, &(usize, usize))| match turn {
            0 => BTreeSet::new(),
            _ => BTreeSet::from([node - 1]),
        };
        Self {
            recordings,
            before: nodes.iter().enumerate().map(follows).collect(),
            needed: vec![BTreeSet::new(); nodes.len()],
            nodes,
            first,
            texts: recordings
                .iter()
                .map(|recording| RequestTexts::of(&recording.cassette.request))
                .collect(),
            uses: vec![BTreeSet::new(); recordings.len()],
            messages: vec![Vec::new(); recordings.len()],
            ids: HashSet::new(),
            may_use: vec![BTreeSet::new(); recordings.len()],
            group_of: (0..recordings.len()).collect(),
        }
    }

    fn request(&self, recording: usize) -> &'a RecordedRequest {
        &self.recordings[recording].cassette.request
    }

    fn status(&self, node: usize) -> u16 {
        let (recording, turn) = self.nodes[node];
        self.recordings[recording].cassette.responses[turn].status.as_u16()
    }

    fn nodes_of(&self, recording: usize) -> std::ops::Range<usize> {
        let start = self.first[recording];
        start..start + self.recordings[recording].cassette.responses.len()
    }

    /// Puts a node before another one, and their recordings in one chain.
    fn put_before(&mut self, earlier: usize, later: usize) {
        let (one, other) = (self.nodes[earlier].0, self.nodes[later].0);
        if one == other {
            return;
        }
        self.before[later].insert(earlier);
        let (one, other) = (root(&mut self.group_of, one), root(&mut self.group_of, other));
        self.group_of[one.max(other)] = one.min(other);
    }

    fn connect(&mut self) {
        let places = self.places();
        let is_made = |places: &Places| self.sources(places).next().is_some();
        let ids = places.iter().filter(|(_, places)| is_made(places));
        self.ids = ids.map(|(id, _)| id.clone()).collect();
        for places in places.values() {
            let sources = self.sources(places).map(|node| self.nodes[node].0);
            let sources: Vec<usize> = sources.filter(|source| is_write(self.request(*source))).collect();
            for user in &places.requests {
                self.may_use[*user].extend(sources.iter().filter(|source| *source != user));
            }
        }
        let (written, read): (Vec<_>, Vec<_>) = places
            .iter()
            .partition(|(_, places)| self.writers(places).next().is_some());
        for (value, places) in written.into_iter().chain(read) {
            self.connect_value(value, places);
        }
        for end in 0..self.recordings.len() {
            if end_rank(self.request(end)).is_some() && self.status(self.first[end]) < 400 {
                self.connect_end(end, &places);
            }
        }
        for write in 0..self.recordings.len() {
            self.connect_states(write, &places);
        }
        self.connect_messages();
    }

    /// Puts a write between the turns of a state that it has changed: the later one has a text of the write that the earlier
    /// one lacks.
    fn connect_states(&mut self, write: usize, places: &BTreeMap<String, Places>) {
        let nodes: Vec<usize> = self.nodes_of(write).collect();
        let (Some(id), &[at]) = (self.id_of(write), &nodes[..]) else {
            return;
        };
        if !is_write(self.request(write))
            || end_rank(self.request(write)) == Some(DELETE_RANK)
            || self.status(at) >= 400
        {
            return;
        }
        let mut written = all_texts(&normalized_content(self.response(at)));
        written.extend(self.texts[write].complete.iter().cloned());
        let none = Places::default();
        let returned = places.get(&id).unwrap_or(&none);
        // What the id stood for at first.
        let made = self.writers(returned).min().filter(|made| *made != at);
        let made = made.map(|made| all_texts(&normalized_content(self.response(made))));
        for read in 0..self.recordings.len() {
            let nodes: Vec<usize> = self.nodes_of(read).collect();
            let is_of_id =
                self.id_of(read).as_ref() == Some(&id) || nodes.iter().any(|node| returned.responses.contains(node));
            if is_write(self.request(read)) || !is_of_id {
                continue;
            }
            let texts: Vec<HashSet<String>> = nodes
                .iter()
                .map(|node| all_texts(&normalized_content(self.response(*node))))
                .collect();
            let is_changed = |turn: &usize| {
                let before = match turn.checked_sub(1) {
                    Some(before) => texts.get(before),
                    None => made.as_ref(),
                };
                before.is_some_and(|before| texts[*turn].difference(before).any(|text| written.contains(text)))
            };
            let changed: Vec<usize> = (0..nodes.len()).filter(is_changed).collect();
            if let [turn] = changed[..] {
                if turn > 0 {
                    self.put_before(nodes[turn - 1], at);
                }
                self.put_before(at, nodes[turn]);
            }
        }
    }

    fn response(&self, node: usize) -> &'a RecordedResponse {
        let (recording, turn) = self.nodes[node];
        &self.recordings[recording].cassette.responses[turn]
    }

    /// The last segment of the path that is an id.
    fn id_of(&self, recording: usize) -> Option<String> {
        let segments = self.request(recording).path.rsplit('/');
        let mut ids = segments.map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned());
        ids.find(|id| is_random(id) || self.ids.contains(id))
    }

    /// All values of responses, with the places where they stand.
    fn places(&self) -> BTreeMap<String, Places> {
        let mut places = BTreeMap::<String, Places>::new();
        for (node, (recording, turn)) in self.nodes.iter().enumerate() {
            let response = &self.recordings[*recording].cassette.responses[*turn];
            let found: HashSet<String> = values(response).into_values().collect();
            for value in found {
                // A short text of the program itself, such as the name of a file, is no value.
                let texts = &self.texts[*recording];
                if !texts.complete.contains(&value) || texts.contain(&value) {
                    places.entry(value).or_default().responses.push(node);
                }
            }
        }
        let parts: Vec<String> = places.keys().filter(|value| is_part(value)).cloned().collect();
        let automaton = AhoCorasick::new(&parts).ok();
        for (recording, texts) in self.texts.iter().enumerate() {
            let complete = texts.complete.iter().filter(|value| is_unnamed(value));
            let found = automaton
                .iter()
                .flat_map(|automaton| automaton.find_overlapping_iter(&texts.all))
                .map(|found| &parts[found.pattern().as_usize()]);
            for value in texts.named.iter().chain(complete).chain(found) {
                if let Some(places) = places.get_mut(value) {
                    places.requests.insert(recording);
                }
            }
        }
        places
    }

    /// The nodes that return a value which their request does not send.
    fn sources<'b>(&'b self, places: &'b Places) -> impl Iterator<Item = usize> + 'b {
        let nodes = places.responses.iter().copied();
        nodes.filter(|node| !places.requests.contains(&self.nodes[*node].0))
    }

    /// The sources of a value that write: they have made it. A write to what was made with the value may return it, too.
    fn writers<'b>(&'b self, places: &'b Places) -> impl Iterator<Item = usize> + 'b {
        self.sources(places).filter(|node| {
            let recording = self.nodes[*node].0;
            is_write(self.request(recording))
                && !reaches(
                    recording,
                    |at| self.may_use[at].iter().copied(),
                    |at| places.requests.contains(&at),
                )
        })
    }

    /// The first source of a value that no write has made, such as the output of a job. What comes after a request that sends the
    /// value may return it, too, and is not its source: a job with this input, a list of files with the name of an upload.
    fn first_reader(&self, places: &Places) -> Option<usize> {
        let sends = |node: usize| places.requests.contains(&self.nodes[node].0);
        self.sources(places)
            .filter(|node| !is_write(self.request(self.nodes[*node].0)))
            .filter(|node| !reaches(*node, |at| self.before[at].iter().copied(), sends))
            .min()
    }

    /// Puts the request that made a value before those that repeat or return it.
    fn connect_value(&mut self, value: &str, places: &Places) {
        let Some(maker) = self.writers(places).min().or_else(|| self.first_reader(places)) else {
            return;
        };
        let source = self.nodes[maker].0;
        for user in places.requests.iter().copied().filter(|user| *user != source) {
            self.put_before(maker, self.first[user]);
            self.needed[maker].insert(value.to_owned());
            self.uses[user].insert(source);
        }
        if !is_write(self.request(source)) {
            self.connect_expiry(value, maker, places);
            return;
        }
        let others: BTreeSet<usize> = places.responses.iter().map(|node| self.nodes[*node].0).collect();
        for other in others {
            if other == source || places.requests.contains(&other) {
                continue;
            }
            // A list has the value after it was made, and not before.
            let has_value = |node: &usize| places.responses.contains(node);
            let first = self.nodes_of(other).find(has_value);
            // Both have the new value, or both the old one.
            self.needed[maker].insert(value.to_owned());
            self.uses[other].insert(source);
            for node in self.nodes_of(other) {
                if has_value(&node) {
                    self.put_before(maker, node);
                } else if !is_write(self.request(other)) && first.is_some_and(|first| node < first) {
                    self.put_before(node, maker);
                }
            }
        }
    }

    /// Puts the uses of a value before the next turn that no longer returns it: a new URL may end an old one.
    fn connect_expiry(&mut self, value: &str, maker: usize, places: &Places) {
        let source = self.nodes[maker].0;
        let mut later = (maker + 1)..self.nodes_of(source).end;
        let Some(next) = later.find(|node| !places.responses.contains(node)) else {
            return;
        };
        let response = |node: usize| &self.recordings[source].cassette.responses[self.nodes[node].1];
        let new: Vec<String> = values(response(next))
            .into_values()
            .filter(|new| new != value)
            .collect();
        for user in &places.requests {
            let uses_new = new.iter().any(|new| self.texts[*user].contain(new));
            if *user != source && !uses_new {
                for node in self.nodes_of(*user) {
                    self.put_before(node, next);
                }
            }
        }
    }

    /// Puts a request that ends something after all other uses of its id, and before the errors that follow from it.
    fn connect_end(&mut self, end: usize, places: &BTreeMap<String, Places>) {
        // The last id in the path is that of what ends; those before it are of what contains it.
        let Some(id) = self.id_of(end) else { return };
        let none = Places::default();
        let returned = &places.get(&id).unwrap_or(&none).responses;
        let (at, rank) = (self.first[end], (end_rank(self.request(end)), end));
        for other in (0..self.recordings.len()).filter(|other| *other != end) {
            let other_rank = end_rank(self.request(other)).map(|rank| (Some(rank), other));
            let nodes = self.nodes_of(other);
            // What was read of it, such as its URL, ends with it.
            let is_read = |source: &usize| !is_write(self.request(*source)) && self.texts[*source].contain(&id);
            if self.texts[other].contain(&id) {
                // A later end puts itself behind this one.
                if other_rank.is_none_or(|other| other < rank) {
                    let last = nodes.clone().rfind(|node| self.is_before_end(*node, at));
                    self.put_around(nodes, at, last);
                }
            } else if self.uses[other].iter().any(is_read) {
                nodes.for_each(|node| self.put_before(node, at));
            } else if let Some(last) = nodes.clone().rfind(|node| returned.contains(node)) {
                // A list has the value until its end. A write that has it does not come twice because of that.
                let nodes = nodes.filter(|node| *node <= last || !is_write(self.request(other)));
                let nodes: Vec<usize> = nodes.collect();
                self.put_around(nodes, at, Some(last));
            }
        }
    }

    /// Whether a node that names what a request ends shows it before its end. What is cancelled can still be read.
    fn is_before_end(&self, node: usize, end: usize) -> bool {
        let is_cancelled = || {
            let (ended, now) = (state(self.response(end)), state(self.response(node)));
            now.is_some_and(|now| ended.as_ref() == Some(&now) || now.contains("cancel"))
        };
        let is_read = !is_write(self.request(self.nodes[node].0));
        let is_delete = end_rank(self.request(self.nodes[end].0)) == Some(DELETE_RANK);
        self.status(node) < 400 && !(is_read && !is_delete && is_cancelled())
    }

    /// Puts the nodes up to the last one before a node, and the others behind it.
    fn put_around(&mut self, nodes: impl IntoIterator<Item = usize>, at: usize, last: Option<usize>) {
        for node in nodes {
            match last.is_some_and(|last| node <= last) {
                true => self.put_before(node, at),
                false => self.put_before(at, node),
            }
        }
    }

    /// Puts the requests that the assistant has answered before those that repeat the answers.
    fn connect_messages(&mut self) {
        let conversations: Vec<Vec<Value>> = (0..self.recordings.len())
            .map(|recording| messages(self.request(recording)))
            .collect();
        let mut by_messages = HashMap::<String, Vec<usize>>::new();
        for (recording, messages) in conversations
            .iter()
            .enumerate()
            .filter(|(_, messages)| !messages.is_empty())
        {
            by_messages.entry(text_of(messages)).or_default().push(recording);
        }
        for (recording, messages) in conversations.iter().enumerate() {
            for (index, message) in messages.iter().enumerate().skip(1) {
                if message["role"] != "assistant" {
                    continue;
                }
                let (Some(repeated), Some(others)) = (
                    AssistantMessage::read(message),
                    by_messages.get(&text_of(&messages[..index])),
                ) else {
                    continue;
                };
                let mut nodes = others.iter().flat_map(|other| self.nodes_of(*other));
                let source = nodes.find(|node| {
                    let (other, turn) = self.nodes[*node];
                    let response = &self.recordings[other].cassette.responses[turn];
                    AssistantMessage::in_response(response).as_ref() == Some(&repeated)
                });
                if let Some(source) = source {
                    self.put_before(source, self.first[recording]);
                    self.messages[recording].push((index, source));
                }
            }
        }
    }

    /// The nodes in an order in which each one comes after those that must be before it.
    fn order(&self) -> Vec<usize> {
        let mut left: Vec<usize> = self.before.iter().map(BTreeSet::len).collect();
        let mut after = vec![Vec::new(); self.nodes.len()];
        for (node, before) in self.before.iter().enumerate() {
            before.iter().for_each(|earlier| after[*earlier].push(node));
        }
        let mut ready: BinaryHeap<Reverse<usize>> = (0..self.nodes.len())
            .filter(|node| left[*node] == 0)
            .map(Reverse)
            .collect();
        let (mut order, mut is_done) = (Vec::new(), vec![false; self.nodes.len()]);
        while order.len() < self.nodes.len() {
            let next = match ready.pop() {
                Some(Reverse(node)) if is_done[node] => continue,
                Some(Reverse(node)) => node,
                // The rest wait for each other: the one that was recorded first begins.
                None => match is_done.iter().position(|is_done| !is_done) {
                    Some(node) => node,
                    None => break,
                },
            };
            is_done[next] = true;
            order.push(next);
            for later in &after[next] {
                left[*later] -= 1;
                if left[*later] == 0 {
                    ready.push(Reverse(*later));
                }
            }
        }
        order
    }
}

/// Whether a walk from a place leads to one that is wanted.
fn reaches<I: Iterator<Item = usize>>(
    from: usize,
    next: impl Fn(usize) -> I,
    is_wanted: impl Fn(usize) -> bool,
) -> bool {
    let (mut seen, mut waiting) = (HashSet::new(), vec![from]);
    while let Some(at) = waiting.pop() {
        if is_wanted(at) {
            return true;
        }
        if seen.insert(at) {
            waiting.extend(next(at));
        }
    }
    false
}

/// The representative of a recording in a union-find structure.
fn root(group_of: &mut [usize], mut at: usize) -> usize {
    while group_of[at] != at {
        group_of[at] = group_of[group_of[at]];
        at = group_of[at];
    }
    at
}

fn is_write(request: &RecordedRequest) -> bool {
    !matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS")
}

const DELETE_RANK: u8 = 2;

/// All texts in a response.
fn all_texts(content: &Value) -> HashSet<String> {
    fn collect(value: &Value, texts: &mut HashSet<String>) {
        match value {
            Value::Object(members) => members.values().for_each(|value| collect(value, texts)),
            Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
            Value::String(text) => drop(texts.insert(text.clone())),
            _ => {}
        }
    }
    let mut texts = HashSet::new();
    collect(content, &mut texts);
    texts
}

/// How late a request that ends something comes among those that do: a job is cancelled before it is deleted.
fn end_rank(request: &RecordedRequest) -> Option<u8> {
    let last = request.path.rsplit('/').next().unwrap_or_default();
    match (request.method.as_str(), last) {
        ("DELETE", _) => Some(DELETE_RANK),
        ("POST" | "PUT" | "PATCH", "archive" | "terminate") => Some(1),
        ("POST" | "PUT" | "PATCH", "cancel" | "stop") => Some(0),
        _ => None,
    }
}

fn text_of(messages: &[Value]) -> String {
    serde_json::to_string(messages).unwrap_or_default()
}

/// The messages of a chat request.
fn messages(request: &RecordedRequest) -> Vec<Value> {
    let RecordedBody::Blob(Blob::Inline(bytes)) = &request.body else {
        return Vec::new();
    };
    match parse_json(bytes) {
        Some(mut body) => match body.get_mut("messages").map(Value::take) {
            Some(Value::Array(messages)) => messages,
            _ => Vec::new(),
        },
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::cassette::{Cassette, Recorded, RecordedResponse};
    use crate::key::{RequestKey, Scope};

    /// A recording in a scope: `METHOD /path`, a body, and the bodies of the responses.
    fn recording(scope: &str, line: &str, body: &Value, responses: &[Value]) -> Recording {
        let (method, path) = line.split_once(' ').unwrap();
        let response = |body: &Value| RecordedResponse {
            status: StatusCode::from_u16(u16::try_from(body["status"].as_u64().unwrap_or(200)).unwrap()).unwrap(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::from(body.to_string()).into(),
            timing_ms: vec![1],
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
                request: RecordedRequest {
                    method: method.to_owned(),
                    path: path.to_owned(),
                    query: None,
                    content_type: None,
                    body: RecordedBody::Blob(Bytes::from(body.to_string()).into()),
                },
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
    fn requests_that_repeat_values_of_each_other_are_no_chain() {
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
        assert_eq!(found, [["POST /v1/1"], ["POST /v1/2"]]);
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
