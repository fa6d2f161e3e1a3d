//! Decides whether a session is complete and worth recording.

use super::relay::Ended;
use super::transcript::Events;
use crate::cassette::Peer;
use crate::recorder::assessment::Assessment;

/// Whether the sessions of an endpoint end with an event that says so.
pub(super) fn has_final_event(path: &str) -> bool {
    ["/audio/transcriptions/realtime", "/audio/speech/realtime"]
        .iter()
        .any(|endpoint| path.ends_with(endpoint))
}

/// Assesses a session by its end and its events. This function is pure.
pub(super) fn assess_session(path: &str, ended: &Ended, events: &Events) -> Assessment {
    let incomplete = |what: &str| Assessment::Incomplete(format!("incomplete: {what}"));
    if let Some(error) = &events.error {
        return Assessment::Transient(error.clone());
    }
    match ended {
        Ended::Closed(Peer::Server, closing) if closing.code.is_some_and(|code| code != 1000) => {
            let code = closing.code.unwrap_or_default();
            let reason = match closing.reason.as_str() {
                "" => String::new(),
                reason => format!(": {reason}"),
            };
            Assessment::Transient(format!("the API has closed the session with {code}{reason}"))
        }
        Ended::Closed(peer, _) => {
            let is_unfinished =
                has_final_event(path) && !events.has_final && (*peer == Peer::Server || events.has_input_ended);
            match is_unfinished {
                true => incomplete("it ends without its last event"),
                false => Assessment::Lasting,
            }
        }
        Ended::ClientVanished => incomplete("the client has gone without a close frame"),
        Ended::ServerVanished(_) => incomplete("the API has gone without a close frame"),
        Ended::Stopped(reason) => incomplete(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Closing;

    #[test]
    fn only_a_session_that_was_brought_to_its_end_is_lasting() {
        const SPEECH: &str = "/v1/audio/speech/realtime";
        let events = |has_input_ended, has_final| Events {
            has_input_ended,
            has_final,
            error: None,
        };
        let closed = |peer, code| Ended::Closed(peer, Closing::new(code, ""));
        let name = |path, ended: &Ended, events: &Events| match assess_session(path, ended, events) {
            Assessment::Lasting => "lasting",
            Assessment::Transient(_) => "transient",
            Assessment::Incomplete(_) => "incomplete",
        };
        for (path, ended, events, expected) in [
            (SPEECH, closed(Peer::Client, 1000), events(true, true), "lasting"),
            (SPEECH, closed(Peer::Client, 1001), events(true, true), "lasting"),
            (SPEECH, closed(Peer::Client, 1000), events(true, false), "incomplete"),
            // The client has left before it has sent everything, and has got all that it was waiting for.
            (SPEECH, closed(Peer::Client, 1000), events(false, false), "lasting"),
            (SPEECH, closed(Peer::Server, 1000), events(true, true), "lasting"),
            (SPEECH, closed(Peer::Server, 1000), events(false, false), "incomplete"),
            (SPEECH, closed(Peer::Server, 1008), events(true, true), "transient"),
            (SPEECH, Ended::ClientVanished, events(false, false), "incomplete"),
            (SPEECH, Ended::ServerVanished(None), events(true, true), "incomplete"),
            (
                SPEECH,
                Ended::Stopped("the proxy stops"),
                events(true, false),
                "incomplete",
            ),
            ("/v1/other", closed(Peer::Server, 1000), events(false, false), "lasting"),
        ] {
            assert_eq!(name(path, &ended, &events), expected, "{path} {events:?}");
        }
        let error = Events {
            error: Some("an error event".to_owned()),
            ..events(true, true)
        };
        assert_eq!(name(SPEECH, &closed(Peer::Client, 1000), &error), "transient");
    }
}
