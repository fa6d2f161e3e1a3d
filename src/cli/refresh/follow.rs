//! Pairs the recordings before and after a refresh, for a comparison: the keys of a chain change with its ids.

use std::collections::HashSet;

use super::chains::{Chain, chains};
use super::recording::Recording;
use super::substitutions::Substitutions;
use crate::cassette::Cassette;
use crate::key::{RequestKey, Scope};
use crate::settings::matching::Matching;

/// A recording of the old side, and the one of the new side whose request differs only by values of earlier responses.
pub(crate) struct Followed {
    /// The name of the old recording.
    pub(crate) old: String,
    pub(crate) scope: Scope,
    /// The hash of the new key.
    pub(crate) new: String,
    /// The chain of the recording, as an index in [`Pairs::substitutions`].
    pub(crate) chain: usize,
}

/// The pairs of all chains.
#[derive(Default)]
pub(crate) struct Pairs {
    pub(crate) followed: Vec<Followed>,
    /// The new values of each chain.
    pub(crate) substitutions: Vec<Substitutions>,
}

/// Follows the chains of the old recordings on the new side, as a refresh would if it got the new responses. `find` returns
/// the new recording with a key.
pub(crate) fn follow<'a>(
    old: Vec<Recording>,
    matching: &Matching,
    find: impl Fn(&Scope, &str) -> Option<&'a Cassette>,
) -> Pairs {
    let mut pairs = Pairs::default();
    let mut taken = HashSet::new();
    for (number, chain) in chains(old).iter().enumerate() {
        let (new, substitutions) = follow_chain(chain, matching, &find);
        for (recording, new) in chain.recordings.iter().zip(new) {
            let scope = recording.key.scope();
            if let Some(new) = new.filter(|new| taken.insert((scope.clone(), new.key.clone()))) {
                pairs.followed.push(Followed {
                    old: recording.name.clone(),
                    scope: scope.clone(),
                    new: new.key.clone(),
                    chain: number,
                });
            }
        }
        pairs.substitutions.push(substitutions);
    }
    pairs
}

/// The new recording of each old one in a chain, and the new values.
fn follow_chain<'a>(
    chain: &Chain,
    matching: &Matching,
    find: impl Fn(&Scope, &str) -> Option<&'a Cassette>,
) -> (Vec<Option<&'a Cassette>>, Substitutions) {
    let mut found: Vec<Option<Option<&Cassette>>> = vec![None; chain.recordings.len()];
    let mut substitutions = Substitutions::default();
    for step in &chain.steps {
        let recording = &chain.recordings[step.recording];
        let new = found[step.recording].unwrap_or_else(|| {
            let messages = step.messages_of(|source, turn| found[source]??.responses.get(turn));
            let request = substitutions.apply(&recording.cassette.request, &messages).ok()?;
            let scope = recording.key.scope();
            let key = RequestKey::of(&request, scope, matching);
            find(scope, key.hash()).or_else(|| find(scope, &recording.cassette.key))
        });
        found[step.recording] = Some(new);
        if let Some(response) = new.and_then(|new| new.responses.get(step.turn)) {
            // If the new response does not fit, later recordings of the chain find no pair.
            let _ = substitutions.add(&recording.cassette.responses[step.turn], response, &step.needed);
        }
    }
    (found.into_iter().map(Option::flatten).collect(), substitutions)
}
