//! A body that is still arriving, and that any number of readers read from its first byte.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::Notify;

use crate::error::{Error, ErrorKind, Result};
use crate::http::Body;

/// The chunks that have arrived so far, and how the body ended.
///
/// A body that is too large to be recorded is not held in memory either: a chunk is dropped when every reader has read it, and
/// the writer waits for the slowest reader.
#[derive(Debug, Default)]
pub(super) struct SharedBody {
    state: Mutex<State>,
    /// Notified when a chunk, or the end, is added.
    written: Notify,
    /// Notified when a reader has read a chunk, or is dropped.
    read: Notify,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    /// The number of the first chunk in `chunks`.
    first: usize,
    /// The bytes in `chunks`.
    bytes: usize,
    end: Option<Result<()>>,
    /// The number of the next chunk of each reader.
    readers: HashMap<u64, usize>,
    readers_created: u64,
    is_too_large: bool,
}

impl State {
    /// Drops the chunks that every reader has read.
    fn drop_read_chunks(&mut self) {
        let slowest = self.readers.values().copied().min().unwrap_or(usize::MAX);
        while self.first < slowest
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.first += 1;
            self.bytes -= chunk.len();
        }
    }
}

/// Whether a body fits into the limit for recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capacity {
    Sufficient,
    /// The body is only streamed to its readers.
    Exceeded,
    /// The body has no readers.
    ExceededWithoutReaders,
}

impl SharedBody {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a chunk. The body holds at most `limit` bytes in memory.
    pub(super) async fn push(&self, chunk: Bytes, limit: usize) -> Capacity {
        {
            let mut state = self.state();
            state.bytes += chunk.len();
            state.chunks.push_back(chunk);
            state.is_too_large |= state.bytes > limit;
        }
        self.written.notify_waiters();
        loop {
            // Created before the check, so that no notification between the check and the wait is lost.
            let read = self.read.notified();
            {
                let mut state = self.state();
                if !state.is_too_large {
                    return Capacity::Sufficient;
                }
                if state.readers.is_empty() {
                    return Capacity::ExceededWithoutReaders;
                }
                state.drop_read_chunks();
                if state.bytes <= limit {
                    return Capacity::Exceeded;
                }
            }
            read.await;
        }
    }

    /// Ends the body. Readers get all chunks first, then the error if there is one. Later calls have no effect.
    pub(super) fn finish(&self, end: Result<()>) {
        self.state().end.get_or_insert(end);
        self.written.notify_waiters();
    }

    /// All bytes so far.
    pub(super) fn complete(&self) -> Bytes {
        match self.state().chunks.make_contiguous() {
            [chunk] => chunk.clone(),
            chunks => chunks.concat().into(),
        }
    }

    /// A body that begins with the first chunk.
    pub(super) fn read(self: &Arc<Self>) -> Body {
        let reader = {
            let mut state = self.state();
            let number = state.readers_created;
            state.readers_created += 1;
            state.readers.insert(number, 0);
            Reader {
                body: self.clone(),
                number,
            }
        };
        Body::from_stream(stream::unfold(Some(reader), |reader| async move {
            let reader = reader?;
            match reader.next().await {
                Some(Ok(chunk)) => Some((Ok(chunk), Some(reader))),
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        }))
    }
}

/// A reader of the body. The writer does not wait for a reader that was dropped.
struct Reader {
    body: Arc<SharedBody>,
    number: u64,
}

impl Reader {
    async fn next(&self) -> Option<Result<Bytes>> {
        loop {
            let written = self.body.written.notified();
            {
                let mut state = self.body.state();
                let at = state.readers.get(&self.number).copied()?;
                let Some(behind) = at.checked_sub(state.first) else {
                    return Some(Err(Error::new(
                        ErrorKind::Upstream,
                        "the response is too large to be shared by concurrent requests",
                    )
                    .with_hint("send the request again, or raise limits.entry_bytes in settings.yaml")));
                };
                if let Some(chunk) = state.chunks.get(behind).cloned() {
                    state.readers.insert(self.number, at + 1);
                    if state.is_too_large {
                        self.body.read.notify_waiters();
                    }
                    return Some(Ok(chunk));
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
        self.body.state().readers.remove(&self.number);
        self.body.read.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    const CHUNK: Bytes = Bytes::from_static(&[7; 100]);

    #[tokio::test]
    async fn chunks_of_a_body_that_is_too_large_are_dropped_once_all_readers_have_them() {
        let body = Arc::new(SharedBody::default());
        let (mut quick, mut slow) = (body.read().into_stream(), body.read().into_stream());
        for _ in 0..3 {
            assert_eq!(body.push(CHUNK, 300).await, Capacity::Sufficient);
        }
        assert_eq!(body.complete().len(), 300);
        for _ in 0..3 {
            quick.next().await.unwrap().unwrap();
        }
        // The writer waits for the slow reader; the quick reader does not wait.
        let mut push = Box::pin(body.push(CHUNK, 300));
        assert!(push.as_mut().now_or_never().is_none());
        quick.next().await.unwrap().unwrap();
        assert!(push.as_mut().now_or_never().is_none());
        slow.next().await.unwrap().unwrap();
        assert_eq!(push.await, Capacity::Exceeded);
        assert!(body.state().bytes <= 300);
        // A new reader would miss the beginning and gets an error.
        let late = body.read().into_stream().next().await.unwrap();
        assert!(late.unwrap_err().message().contains("too large to be shared"));
        for _ in 0..3 {
            slow.next().await.unwrap().unwrap();
        }
        drop((quick, slow));
        assert_eq!(body.push(CHUNK, 300).await, Capacity::ExceededWithoutReaders);
    }
}
