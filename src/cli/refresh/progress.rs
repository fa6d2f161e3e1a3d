//! What a refresh has received of a chain, and the requests that follow from it.

use super::chains::{Chain, Step};
use super::resend::{has_side_effects, reason_not_to_send};
use super::substitutions::Substitutions;
use super::values::RequestTexts;
use crate::cassette::{Cassette, RecordedRequest, RecordedResponse};
use crate::cli::change::{Change, ChangeKind};
use crate::cli::prices::Prices;
use crate::key::RequestKey;

/// What a chain has received so far.
pub(super) struct Progress<'a> {
    pub(super) chain: &'a Chain,
    /// The request of each recording, as it was sent; `None` before its first response.
    pub(super) requests: Vec<Option<RecordedRequest>>,
    /// The new cassette of each recording, with the responses so far.
    pub(super) cassettes: Vec<Option<Cassette>>,
    /// The substitutions by all responses so far, and by those of each recording.
    pub(super) substitutions: Substitutions,
    pub(super) substitutions_of: Vec<Substitutions>,
    /// Why a recording is not sent in a dry run.
    pub(super) skipped: Vec<Option<&'static str>>,
    /// How many steps were sent.
    pub(super) steps_sent: usize,
}

/// The comparison of a recording with its new responses.
pub(super) struct NewRecording {
    pub(super) change: Change,
    /// `None` when the recording does not change.
    pub(super) replacement: Option<(RequestKey, Cassette)>,
    pub(super) cost: Option<f64>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(chain: &'a Chain) -> Self {
        let count = chain.recordings.len();
        Self {
            chain,
            requests: vec![None; count],
            cassettes: vec![None; count],
            substitutions: Substitutions::default(),
            substitutions_of: vec![Substitutions::default(); count],
            skipped: vec![None; count],
            steps_sent: 0,
        }
    }

    /// How many requests of the chain are still to be sent.
    pub(super) fn steps_left(&self) -> usize {
        let is_sent = |step: &&Step| self.skipped[step.recording].is_none();
        self.chain.steps.iter().filter(is_sent).count() - self.steps_sent
    }

    /// What the chain costs, according to its recordings.
    pub(super) fn estimate(&self, prices: &Prices) -> f64 {
        let recordings = self.chain.recordings.iter().zip(&self.skipped);
        let sent = recordings.filter(|(_, skipped)| skipped.is_none());
        let costs = sent.map(|(recording, _)| prices.estimate(&recording.cassette).cost);
        costs.map(Option::unwrap_or_default).sum()
    }

    /// Skips the requests that create, change or delete something, and those that need their responses.
    pub(super) fn skip_writes(&mut self) {
        for (at, recording) in self.chain.recordings.iter().enumerate() {
            if has_side_effects(&recording.cassette.request) {
                self.skipped[at] = Some("a dry run sends no request that writes; --send-writes sends it");
            }
        }
        loop {
            let needs_skipped = |at: &usize| {
                self.skipped[*at].is_none() && self.chain.uses[*at].iter().any(|other| self.skipped[*other].is_some())
            };
            let Some(at) = (0..self.skipped.len()).find(needs_skipped) else {
                break;
            };
            self.skipped[at] = Some("it needs the response of a request that a dry run does not send");
        }
    }

    /// Leaves all recordings of a chain unchanged if they differ only in ids and times, so that `git diff` shows real changes
    /// only. A mix of old and new ids would not replay.
    pub(super) fn keep_equivalent(&mut self, new: &mut [Option<NewRecording>]) {
        let is_equivalent =
            |new: &Option<NewRecording>| new.as_ref().is_some_and(|new| new.change.kind <= ChangeKind::Volatile);
        if new.iter().all(is_equivalent) {
            new.iter_mut().flatten().for_each(|new| new.replacement = None);
            self.substitutions_of.fill_with(Substitutions::default);
        }
    }

    /// Checks that each new request repeats the new values of those responses whose old values the old request repeats.
    /// Otherwise, the chain would not replay.
    pub(super) fn check(&self, new: &[Option<NewRecording>]) -> Result<(), (usize, String)> {
        for (at, new) in new.iter().enumerate() {
            let Some((_, cassette)) = new.as_ref().and_then(|new| new.replacement.as_ref()) else {
                continue;
            };
            let old = RequestTexts::of(&self.chain.recordings[at].cassette.request);
            let new = RequestTexts::of(&cassette.request);
            for value in self
                .chain
                .steps
                .iter()
                .flat_map(|step| &step.needed)
                .filter(|value| old.contain(value))
            {
                if let Some(now) = self.substitutions.value(value)
                    && !new.contain(now)
                {
                    return Err((
                        at,
                        format!("its request does not repeat {now}, which took the place of {value}"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The request of a step, with new values. All requests of a recording are equal.
    pub(super) fn request(&self, step: &Step) -> Result<RecordedRequest, String> {
        if let Some(request) = &self.requests[step.recording] {
            return Ok(request.clone());
        }
        let recorded = &self.chain.recordings[step.recording].cassette.request;
        if let Some(reason) = reason_not_to_send(recorded) {
            return Err(reason);
        }
        if self.chain.ends_unknown[step.recording] {
            return Err("it ends something that no other recording of the scope has made".to_owned());
        }
        let messages = step.messages_of(|source, turn| self.cassettes[source].as_ref()?.responses.get(turn));
        self.substitutions.apply(recorded, &messages).map_err(str::to_owned)
    }

    /// Adds the response of a step.
    pub(super) fn add(
        &mut self,
        step: &Step,
        request: RecordedRequest,
        mut new: Cassette,
        response: RecordedResponse,
    ) -> Result<(), String> {
        let old = &self.chain.recordings[step.recording].cassette.responses[step.turn];
        let mut substitutions = Substitutions::default();
        let added = substitutions.add(old, &response, &step.needed);
        self.requests[step.recording] = Some(request);
        match &mut self.cassettes[step.recording] {
            Some(cassette) => {
                cassette.responses.push(response);
                cassette.recorded = cassette.recorded.followed_by(new.recorded);
            }
            cassette @ None => {
                new.responses = vec![response];
                *cassette = Some(new);
            }
        }
        self.substitutions.extend(substitutions.clone());
        self.substitutions_of[step.recording].extend(substitutions);
        added
    }
}

#[cfg(test)]
mod tests {
    use super::super::chains::chains;
    use super::super::recording::Recording;
    use crate::cli::change::compare;

    use super::*;

    #[test]
    fn a_new_request_must_repeat_the_new_values() {
        let upload = Recording::sample("POST", "/v1/files", r#"{"id":"f1"}"#);
        let read = Recording::sample("GET", "/v1/files/f1", "{}");
        let all = chains(vec![upload, read]);
        let mut progress = Progress::new(&all[0]);
        let response = Recording::sample("POST", "/v1/files", r#"{"id":"f2"}"#)
            .cassette
            .responses
            .remove(0);
        let step = &all[0].steps[0];
        let old = &all[0].recordings[step.recording].cassette.responses[0];
        progress.substitutions.add(old, &response, &step.needed).unwrap();
        let with_path = |path: &str| {
            let Recording { key, cassette, .. } = Recording::sample("GET", path, "{}");
            let new = NewRecording {
                change: compare(&cassette.responses, &cassette.responses, |_| false),
                replacement: Some((key, cassette)),
                cost: None,
            };
            let is_read = |recording: &Recording| recording.cassette.request.method == "GET";
            let mut new = Some(new);
            let recordings = all[0].recordings.iter();
            recordings
                .map(|recording| new.take_if(|_| is_read(recording)))
                .collect::<Vec<_>>()
        };
        assert_eq!(progress.check(&with_path("/v1/files/f2")), Ok(()));
        let (_, message) = progress.check(&with_path("/v1/files/f1")).unwrap_err();
        assert_eq!(message, "its request does not repeat f2, which took the place of f1");
    }
}
