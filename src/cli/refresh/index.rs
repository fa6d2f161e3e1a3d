//! The recordings of one scope, and where the values of their responses stand.
//!
//! A *node* is one turn of a recording: its request, and the response that it got at that turn. A recording has several nodes
//! if its request was sent several times. Nodes are numbered in the order of the recordings.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use aho_corasick::AhoCorasick;

use super::recording::Recording;
use super::values::{RequestTexts, is_part, is_unnamed, path_segments, values};
use crate::cassette::{RecordedRequest, RecordedResponse};
use crate::cli::change::is_random;

pub(super) struct Index<'a> {
    pub(super) recordings: &'a [Recording],
    /// The recording and the turn of each node.
    pub(super) nodes: Vec<(usize, usize)>,
    /// The position of each node in the order of recording.
    pub(super) rank: Vec<usize>,
    /// The first node of each recording.
    first: Vec<usize>,
    /// The texts in the request of each recording.
    pub(super) texts: Vec<RequestTexts>,
    pub(super) values: BTreeMap<String, Places>,
    /// For each recording, the writes that return a value that its request repeats in a place of an id.
    writes_before: Vec<BTreeSet<usize>>,
    /// For each recording, the last segment of its path that is an id.
    ids: Vec<Option<String>>,
}

/// Where a value stands.
#[derive(Default)]
pub(super) struct Places {
    /// The nodes whose responses have it.
    pub(super) responses: Vec<usize>,
    /// The recordings whose requests repeat it.
    pub(super) requests: BTreeSet<usize>,
}

impl<'a> Index<'a> {
    pub(super) fn new(recordings: &'a [Recording]) -> Self {
        let (mut nodes, mut first) = (Vec::new(), Vec::new());
        for (at, recording) in recordings.iter().enumerate() {
            first.push(nodes.len());
            nodes.extend((0..recording.cassette.responses.len()).map(|turn| (at, turn)));
        }
        let rank = ranks(recordings, &nodes);
        let requests = recordings.iter().map(|recording| &recording.cassette.request);
        let mut index = Self {
            recordings,
            nodes,
            rank,
            first,
            texts: requests.map(RequestTexts::of).collect(),
            values: BTreeMap::new(),
            writes_before: vec![BTreeSet::new(); recordings.len()],
            ids: Vec::new(),
        };
        index.values = index.find_values();
        index.writes_before = index.find_writes_before();
        index.ids = (0..recordings.len()).map(|at| index.find_id(at)).collect();
        index
    }

    pub(super) fn request(&self, recording: usize) -> &'a RecordedRequest {
        &self.recordings[recording].cassette.request
    }

    pub(super) fn response(&self, node: usize) -> &'a RecordedResponse {
        let (recording, turn) = self.nodes[node];
        &self.recordings[recording].cassette.responses[turn]
    }

    pub(super) fn recording_of(&self, node: usize) -> usize {
        self.nodes[node].0
    }

    pub(super) fn nodes_of(&self, recording: usize) -> Range<usize> {
        let start = self.first[recording];
        start..start + self.recordings[recording].cassette.responses.len()
    }

    pub(super) fn first_node(&self, recording: usize) -> usize {
        self.first[recording]
    }

    pub(super) fn is_write(&self, recording: usize) -> bool {
        !self.request(recording).is_safe()
    }

    pub(super) fn has_failed(&self, node: usize) -> bool {
        self.response(node).status.as_u16() >= 400
    }

    /// The last segment in the path of a recording that is an id. The segments before it are ids of what contains it.
    pub(super) fn id_of(&self, recording: usize) -> Option<&str> {
        self.ids[recording].as_deref()
    }

    /// The nodes whose responses have a value.
    pub(super) fn responses_with(&self, value: &str) -> &[usize] {
        self.values.get(value).map_or(&[], |places| &places.responses)
    }

    /// The node that was recorded first.
    pub(super) fn first(&self, nodes: impl Iterator<Item = usize>) -> Option<usize> {
        nodes.min_by_key(|node| self.rank[*node])
    }

    /// Whether it is certain that one node was recorded before another one. Recordings of earlier builds have only the time of
    /// their last response, to the second.
    pub(super) fn is_known_before(&self, earlier: usize, later: usize) -> bool {
        let is_exact = |node: usize| self.recordings[self.recording_of(node)].cassette.has_exact_times();
        self.rank[earlier] < self.rank[later] && is_exact(earlier) && is_exact(later)
    }

    /// Whether a response has a value that its request does not send.
    pub(super) fn is_made(&self, value: &str) -> bool {
        let places = self.values.get(value);
        places.is_some_and(|places| self.sources(places).next().is_some())
    }

    /// The nodes whose response has a value that their request does not send.
    pub(super) fn sources<'b>(&'b self, places: &'b Places) -> impl Iterator<Item = usize> + 'b {
        let nodes = places.responses.iter().copied();
        nodes.filter(|node| !places.requests.contains(&self.recording_of(*node)))
    }

    /// The writes that may have made a value. A write to an object that was made with the value also returns it, but has not
    /// made it.
    pub(super) fn writers<'b>(&'b self, places: &'b Places) -> impl Iterator<Item = usize> + 'b {
        let before = |recording: usize| self.writes_before[recording].iter().copied();
        let sends = |recording: usize| places.requests.contains(&recording);
        self.sources(places).filter(move |node| {
            let recording = self.recording_of(*node);
            self.is_write(recording) && !reaches(recording, before, sends)
        })
    }

    fn find_values(&self) -> BTreeMap<String, Places> {
        let mut found = BTreeMap::<String, Places>::new();
        for node in 0..self.nodes.len() {
            let texts = &self.texts[self.recording_of(node)];
            let unique: HashSet<String> = values(self.response(node)).into_values().collect();
            for value in unique {
                // A short text that the program sends, such as the name of a file, is not a value of the API.
                if !texts.complete.contains(&value) || texts.contain(&value) {
                    found.entry(value).or_default().responses.push(node);
                }
            }
        }
        let parts: Vec<String> = found.keys().filter(|value| is_part(value)).cloned().collect();
        let automaton = AhoCorasick::new(&parts).ok();
        for (recording, texts) in self.texts.iter().enumerate() {
            let complete = texts.complete.iter().filter(|text| is_unnamed(text));
            let within = automaton
                .iter()
                .flat_map(|automaton| automaton.find_overlapping_iter(&texts.all))
                .map(|part| &parts[part.pattern().as_usize()]);
            for value in texts.named.iter().chain(complete).chain(within) {
                if let Some(places) = found.get_mut(value) {
                    places.requests.insert(recording);
                }
            }
        }
        found
    }

    fn find_writes_before(&self) -> Vec<BTreeSet<usize>> {
        let mut before = vec![BTreeSet::new(); self.recordings.len()];
        for (value, places) in &self.values {
            let sources = self.sources(places).map(|node| self.recording_of(node));
            let writes: Vec<usize> = sources.filter(|source| self.is_write(*source)).collect();
            // Elsewhere, the value may be one of the program that the write returns.
            for user in places
                .requests
                .iter()
                .filter(|user| self.texts[**user].named.contains(value))
            {
                before[*user].extend(&writes);
            }
        }
        before
    }

    fn find_id(&self, recording: usize) -> Option<String> {
        let mut segments: Vec<String> = path_segments(&self.request(recording).path).collect();
        segments.reverse();
        segments.into_iter().find(|id| is_random(id) || self.is_made(id))
    }
}

/// The position of each node in the order of their times, and else of the recordings.
fn ranks(recordings: &[Recording], nodes: &[(usize, usize)]) -> Vec<usize> {
    let time = |node: &usize| {
        let (recording, turn) = nodes[*node];
        let cassette = &recordings[recording].cassette;
        cassette.recorded.time_of(turn, cassette.responses.len())
    };
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(|node| (time(node), *node));
    let mut rank = vec![0; nodes.len()];
    order.into_iter().enumerate().for_each(|(at, node)| rank[node] = at);
    rank
}

/// Whether a walk from one place leads to a wanted one.
pub(super) fn reaches<I: Iterator<Item = usize>>(
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
