//! Streamed responses: server-sent events, parsed as they arrive.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::http::{Body, Event, EventSplitter, Outcome, api_error, read_json};

/// The events of a streamed response, in order, each as soon as it arrives.
///
/// A stream of completions ends with `[DONE]`, any other stream with a final event (for example
/// `conversation.response.done`). A stream without it ends with an error ([`ErrorKind::Api`]). When the stream returns
/// its end, the recording is complete. A stream that is dropped early is still recorded.
pub struct EventStream<T> {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
    splitter: EventSplitter,
    ready: VecDeque<Bytes>,
    end: End,
    state: State,
    event: PhantomData<fn() -> T>,
}

/// The mark of a complete stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// `data: [DONE]`, which is not returned to the caller.
    Done,
    /// The end of the body after an event with one of these names.
    Event(&'static [&'static str]),
}

impl End {
    fn is(self, event: &Event) -> bool {
        match self {
            Self::Done => event.is_done(),
            Self::Event(names) => event.name.as_deref().is_some_and(|name| names.contains(&name)),
        }
    }

    /// Returns the name of the event that an incomplete stream lacks.
    fn name(self) -> &'static str {
        match self {
            Self::Done => "[DONE]",
            Self::Event(names) => names[0],
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The last event has arrived. The rest of the body is read so that the recording is complete when the stream ends.
    Done,
    Ended,
}

impl<T> EventStream<T> {
    pub(super) fn new(body: Body, end: End) -> Self {
        Self {
            pieces: body.into_stream(),
            splitter: EventSplitter::default(),
            ready: VecDeque::new(),
            end,
            state: State::Open,
            event: PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Stream for EventStream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.state == State::Ended {
                return Poll::Ready(None);
            }
            while let Some(block) = self.ready.pop_front() {
                let Some(event) = Event::parse(&String::from_utf8_lossy(&block)) else {
                    continue;
                };
                if self.end.is(&event) {
                    self.state = State::Done;
                }
                // No event follows `[DONE]`, but events may follow any other final event.
                if self.state == State::Open || self.end != End::Done {
                    return Poll::Ready(Some(read(&event)));
                }
            }
            match ready!(self.pieces.poll_next_unpin(context)) {
                Some(Ok(piece)) => self.ready = self.splitter.push(&piece).into(),
                Some(Err(error)) => {
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(error)));
                }
                None => match self.splitter.rest() {
                    Some(rest) => self.ready.push_back(rest),
                    None => {
                        let is_incomplete = self.state == State::Open;
                        self.state = State::Ended;
                        let last = self.end.name();
                        let message = format!("the stream is incomplete: it ended without its last event, {last}");
                        return Poll::Ready(is_incomplete.then(|| Err(Error::new(ErrorKind::Api, message))));
                    }
                },
            }
        }
    }
}

/// Reads an event. An error in place of an event is the API's error.
fn read<T: DeserializeOwned>(event: &Event) -> Result<T> {
    let data = event.data.as_bytes();
    if Outcome::of(data).is_envelope(data) {
        return Err(api_error(200, data));
    }
    read_json(data).map_err(|error| {
        let message = format!("an event of the stream is not the expected JSON: {error}");
        Error::parse(message, data).with_source(error)
    })
}

impl<T> fmt::Debug for EventStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("ended", &(self.state == State::Ended))
            .finish_non_exhaustive()
    }
}
