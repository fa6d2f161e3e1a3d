//! An answer that is arriving, readable from its start by everyone who waits for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::Notify;

use crate::error::{Error, ErrorKind, Result};
use crate::http::Body;

/// The pieces that have arrived so far, and how it ended.
///
/// An answer that is too large to be kept is not held either: from then on a piece goes when every reader has it, and the
/// writer waits for the slowest of them.
#[derive(Debug, Default)]
pub(super) struct SharedBody {
    state: Mutex<State>,
    /// There is a piece, or the end.
    written: Notify,
    /// A reader is further on, or has gone.
    read: Notify,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Bytes>,
    /// The number of the first of them.
    first: usize,
    /// The bytes of them.
    bytes: usize,
    end: Option<Result<()>>,
    /// The number of the piece that each reader waits for.
    readers: HashMap<u64, usize>,
    readers_so_far: u64,
    is_too_large: bool,
}

impl State {
    /// Forgets what every reader has.
    fn forget(&mut self) {
        let slowest = self.readers.values().copied().min().unwrap_or(usize::MAX);
        while self.first < slowest
            && let Some(piece) = self.pieces.pop_front()
        {
            self.first += 1;
            self.bytes -= piece.len();
        }
    }
}

/// Whether what a tape holds can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    /// It is only handed on.
    TooLarge,
    /// And nobody reads it.
    TooLargeForNobody,
}

impl SharedBody {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a piece, to a tape that holds no more than `most` bytes.
    pub(super) async fn push(&self, piece: Bytes, most: usize) -> Room {
        {
            let mut state = self.state();
            state.bytes += piece.len();
            state.pieces.push_back(piece);
            state.is_too_large |= state.bytes > most;
        }
        self.written.notify_waiters();
        loop {
            // Made before the look, so that what happens between the look and the wait is not lost.
            let read = self.read.notified();
            {
                let mut state = self.state();
                if !state.is_too_large {
                    return Room::Enough;
                }
                if state.readers.is_empty() {
                    return Room::TooLargeForNobody;
                }
                state.forget();
                if state.bytes <= most {
                    return Room::TooLarge;
                }
            }
            read.await;
        }
    }

    /// Ends the tape; readers get everything first, then the error if there is one. It ends once.
    pub(super) fn finish(&self, end: Result<()>) {
        self.state().end.get_or_insert(end);
        self.written.notify_waiters();
    }

    /// Everything so far.
    pub(super) fn whole(&self) -> Bytes {
        match self.state().pieces.make_contiguous() {
            [piece] => piece.clone(),
            pieces => pieces.concat().into(),
        }
    }

    /// A body that begins with the first piece, whenever it is asked for.
    pub(super) fn read(self: &Arc<Self>) -> Body {
        let reader = {
            let mut state = self.state();
            let number = state.readers_so_far;
            state.readers_so_far += 1;
            state.readers.insert(number, 0);
            Reader {
                tape: self.clone(),
                number,
            }
        };
        Body::from_stream(stream::unfold(Some(reader), |reader| async move {
            let reader = reader?;
            match reader.piece().await {
                Some(Ok(piece)) => Some((Ok(piece), Some(reader))),
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        }))
    }
}

/// One who reads a tape; the tape waits for nobody who has gone.
struct Reader {
    tape: Arc<SharedBody>,
    number: u64,
}

impl Reader {
    async fn piece(&self) -> Option<Result<Bytes>> {
        loop {
            let written = self.tape.written.notified();
            {
                let mut state = self.tape.state();
                let at = state.readers.get(&self.number).copied()?;
                let Some(behind) = at.checked_sub(state.first) else {
                    return Some(Err(Error::new(
                        ErrorKind::Upstream,
                        "the answer is too large to be shared with whoever asked for the same a moment before",
                    )
                    .with_hint("ask again, or raise limits.entry_bytes in settings.yaml")));
                };
                if let Some(piece) = state.pieces.get(behind).cloned() {
                    state.readers.insert(self.number, at + 1);
                    if state.is_too_large {
                        self.tape.read.notify_waiters();
                    }
                    return Some(Ok(piece));
                }
                if let Some(end) = &state.end {
                    return end.clone().err().map(Err);
                }
            }
            written.await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.tape.state().readers.remove(&self.number);
        self.tape.read.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    const PIECE: Bytes = Bytes::from_static(&[7; 100]);

    #[tokio::test]
    async fn what_is_too_large_is_held_no_longer_than_its_readers_need() {
        let tape = Arc::new(SharedBody::default());
        let (mut quick, mut slow) = (tape.read().into_stream(), tape.read().into_stream());
        for _ in 0..3 {
            assert_eq!(tape.push(PIECE, 300).await, Room::Enough);
        }
        assert_eq!(tape.whole().len(), 300);
        for _ in 0..3 {
            quick.next().await.unwrap().unwrap();
        }
        // The writer waits for the slow one, and the quick one waits for nobody.
        let mut push = Box::pin(tape.push(PIECE, 300));
        assert!(push.as_mut().now_or_never().is_none());
        quick.next().await.unwrap().unwrap();
        assert!(push.as_mut().now_or_never().is_none());
        slow.next().await.unwrap().unwrap();
        assert_eq!(push.await, Room::TooLarge);
        assert!(tape.state().bytes <= 300);
        // Who comes now would miss the beginning, and is told.
        let late = tape.read().into_stream().next().await.unwrap();
        assert!(late.unwrap_err().message().contains("too large to be shared"));
        for _ in 0..3 {
            slow.next().await.unwrap().unwrap();
        }
        drop((quick, slow));
        assert_eq!(tape.push(PIECE, 300).await, Room::TooLargeForNobody);
    }
}
