//! The retry policy of the engines that are reached over a network.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How many attempts an operation has.
pub(super) const ATTEMPTS: u32 = 4;

/// The pause before the second attempt. It doubles with each attempt.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// When an operation is sent again after a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// The operation is idempotent: after every transient failure.
    Always,
    /// Only if the store has not executed it.
    IfNotExecuted,
}

/// An attempt that failed.
pub(super) struct Failure {
    error: Error,
    cause: Cause,
}

/// Why an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Another attempt would fail the same way.
    Permanent,
    /// A transient failure, and the store has not executed the operation.
    NotExecuted,
    /// A transient failure, and the store may have executed the operation.
    Unknown,
}

impl Failure {
    pub(super) fn permanent(error: Error) -> Self {
        let cause = Cause::Permanent;
        Self { error, cause }
    }

    pub(super) fn not_executed(error: Error) -> Self {
        let cause = Cause::NotExecuted;
        Self { error, cause }
    }

    pub(super) fn unknown(error: Error) -> Self {
        let cause = Cause::Unknown;
        Self { error, cause }
    }
}

/// Counts the attempts of one operation.
pub(super) struct Attempts {
    retry: Retry,
    failed: u32,
    since: Instant,
    limit: Duration,
}

impl Attempts {
    /// No attempt starts later than `limit` after the first one.
    pub(super) fn new(retry: Retry, limit: Duration) -> Self {
        Self {
            retry,
            failed: 0,
            since: Instant::now(),
            limit,
        }
    }

    /// Waits until the next attempt may start.
    ///
    /// # Errors
    /// The error of the failed attempt, if there is no further attempt.
    pub(super) async fn next(&mut self, failure: Failure) -> Result<()> {
        self.failed += 1;
        let may_retry = match failure.cause {
            Cause::Permanent => false,
            Cause::NotExecuted => true,
            Cause::Unknown => self.retry == Retry::Always,
        };
        if !may_retry || self.failed == ATTEMPTS || self.since.elapsed() > self.limit {
            return Err(failure.error);
        }
        tokio::time::sleep(PAUSE * 2u32.pow(self.failed - 1)).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn attempts(retry: Retry, failure: impl Fn(Error) -> Failure) -> u32 {
        let mut attempts = Attempts::new(retry, Duration::from_secs(5));
        while attempts.next(failure(Error::engine("down"))).await.is_ok() {}
        attempts.failed
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_may_have_been_executed_is_sent_again_only_if_it_is_idempotent() {
        for (retry, permanent, not_executed, unknown) in [
            (Retry::Always, 1, ATTEMPTS, ATTEMPTS),
            (Retry::IfNotExecuted, 1, ATTEMPTS, 1),
        ] {
            assert_eq!(attempts(retry, Failure::permanent).await, permanent);
            assert_eq!(attempts(retry, Failure::not_executed).await, not_executed);
            assert_eq!(attempts(retry, Failure::unknown).await, unknown);
        }
    }
}
