//! A circuit breaker for an engine: calls have a time limit, and after a few failures no calls are made for a while.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::engine::{CacheEngine, Counts, EngineExtensions, Lock, Size};
use crate::error::{Error, ErrorKind, Result};
use crate::key::RequestKey;
use crate::settings::Settings;

/// The default time limit of a call. For the first call it includes connecting.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// After this many consecutive failures the circuit breaker opens.
const FAILURES: u32 = 3;

/// How long it stays open. Then one call tests the engine.
const OPEN_TIME: Duration = Duration::from_secs(5);

/// An engine with a time limit and a circuit breaker.
pub(super) struct CircuitBreaker {
    engine: Arc<dyn CacheEngine>,
    limit: Duration,
    circuit: Mutex<Circuit>,
}

/// The state. While the circuit breaker is open, no calls are made.
#[derive(Debug, Default)]
struct Circuit {
    failures: u32,
    open_until: Option<Instant>,
    last: Option<Error>,
}

impl Circuit {
    /// The error of a call that is not made.
    fn error(&self) -> Error {
        let error = Error::engine(format!(
            "the engine has failed {} times in a row and is not called for now",
            self.failures
        ));
        match &self.last {
            Some(last) => error.with_source(last.clone()),
            None => error,
        }
    }
}

impl CircuitBreaker {
    pub(super) fn new(engine: Arc<dyn CacheEngine>, limit: Duration) -> Self {
        engine.extensions().set_timeout(limit);
        Self {
            engine,
            limit,
            circuit: Mutex::default(),
        }
    }

    fn engine(&self) -> &dyn CacheEngine {
        &*self.engine
    }

    fn engine_extensions(&self) -> &dyn EngineExtensions {
        self.engine.extensions()
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call with the time limit, unless the circuit breaker is open.
    async fn call<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        {
            let mut circuit = self.circuit();
            match circuit.open_until {
                Some(until) if Instant::now() < until => {
                    return Err(circuit.error());
                }
                // This call tests the engine. Other calls still fail until its result is known.
                Some(_) => circuit.open_until = Some(Instant::now() + self.limit),
                None => {}
            }
        }
        let result = self.in_time(call).await;
        let mut circuit = self.circuit();
        match &result {
            Err(error) if error.kind() == ErrorKind::Engine => {
                circuit.failures = circuit.failures.saturating_add(1);
                circuit.last = Some(error.clone());
                if circuit.failures >= FAILURES {
                    circuit.open_until = Some(Instant::now() + OPEN_TIME);
                }
            }
            _ => *circuit = Circuit::default(),
        }
        result
    }

    /// Makes a call without a time limit.
    async fn unlimited<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        call.await
    }

    /// Makes a call with the time limit.
    async fn in_time<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let mut call = pin!(call);
        // A call that completes immediately needs no timer, and so no runtime with one.
        if let Poll::Ready(result) = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
            return result;
        }
        tokio::time::timeout(self.limit, call).await.unwrap_or_else(|_| {
            Err(Error::engine(format!(
                "the engine did not respond within {} ms",
                self.limit.as_millis()
            ))
            .with_timed_out(true))
        })
    }
}

/// Implements an engine trait for [`CircuitBreaker`]. Each line is `guard method(arguments) -> output`: the method calls
/// the method of the same name of `self.$target()` through that guard. Methods that are not async follow unchanged.
macro_rules! guarded {
    (
        impl $trait:ident through $target:ident {
            $($guard:ident $method:ident($($argument:ident: $type:ty),*) -> $output:ty;)*
        } and {
            $($plain:tt)*
        }
    ) => {
        // The lint reports a method of the trait that is not listed. Clippy is part of `./scripts/check`.
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl $trait for CircuitBreaker {
            $(async fn $method(&self, $($argument: $type),*) -> Result<$output> {
                self.$guard(self.$target().$method($($argument),*)).await
            })*
            $($plain)*
        }
    };
}

guarded! {
    impl CacheEngine through engine {
        call get(key: &RequestKey) -> Option<Bytes>;
        call set(key: &RequestKey, cassette: Bytes) -> ();
        call remove(key: &RequestKey) -> ();
        // A large store takes long to list its keys, so a timeout is not counted as a failure.
        in_time keys() -> Vec<RequestKey>;
        unlimited clear() -> ();
    } and {
        fn location_of(&self, key: &RequestKey) -> String {
            self.engine.location_of(key)
        }

        fn extensions(&self) -> &dyn EngineExtensions {
            self
        }
    }
}

guarded! {
    impl EngineExtensions through engine_extensions {
        call get_body(sha256: &str) -> Option<Bytes>;
        call set_body(sha256: &str, body: &Bytes) -> bool;
        call set_expiring(key: &RequestKey, cassette: &Bytes, ttl: Duration) -> bool;
        call lock(key: &RequestKey, ttl: Duration) -> Lock;
        in_time size() -> Option<Size>;
        call add_counts(counts: Counts) -> ();
        call counts() -> Option<Counts>;
        call check_writable() -> ();
        call get_settings() -> Option<Bytes>;
        call set_settings(settings: Bytes) -> ();
    } and {
        fn set_timeout(&self, limit: Duration) {
            self.engine.extensions().set_timeout(limit);
        }

        fn settings(&self) -> Result<Settings> {
            self.engine.extensions().settings()
        }

        fn is_committed(&self) -> bool {
            self.engine.extensions().is_committed()
        }

        fn directory(&self) -> Option<&Path> {
            self.engine.extensions().directory()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_open_circuit_breaker_lets_one_call_test_the_engine() {
        let (is_down, calls) = (AtomicBool::new(true), AtomicU32::new(0));
        let breaker = CircuitBreaker::new(Arc::new(crate::engine::MemoryEngine::new()), TIMEOUT);
        let call = || async {
            calls.fetch_add(1, Ordering::Relaxed);
            match is_down.load(Ordering::Relaxed) {
                true => Err(Error::engine("down")),
                false => Ok(()),
            }
        };
        for _ in 0..10 {
            breaker.call(call()).await.unwrap_err();
        }
        assert_eq!(calls.load(Ordering::Relaxed), FAILURES);
        // A test that fails opens it again.
        tokio::time::advance(OPEN_TIME).await;
        for _ in 0..2 {
            breaker.call(call()).await.unwrap_err();
        }
        assert_eq!(calls.load(Ordering::Relaxed), FAILURES + 1);
        // During the test other calls fail.
        tokio::time::advance(OPEN_TIME).await;
        let mut test = pin!(breaker.call(std::future::pending::<Result<()>>()));
        assert!(poll_fn(|context| Poll::Ready(test.as_mut().poll(context).is_pending())).await);
        let error = breaker.call(call()).await.unwrap_err();
        assert!(error.message().contains("not called for now"), "{error}");
        test.await.unwrap_err();
        is_down.store(false, Ordering::Relaxed);
        tokio::time::advance(OPEN_TIME).await;
        for _ in 0..3 {
            breaker.call(call()).await.unwrap();
        }
        assert_eq!(calls.load(Ordering::Relaxed), FAILURES + 4);
    }
}
