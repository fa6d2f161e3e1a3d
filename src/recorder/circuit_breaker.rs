//! A cache that may be slow or down, within bounds: no call takes longer than the limit, and after a few failures it is left
//! alone for a while.

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

/// How long a call may take, the first one with its connection included, unless the builder says otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// After as many failures in a row the engine is left alone.
const FAILURES: u32 = 3;

/// For so long; then one call tries it again.
const REST: Duration = Duration::from_secs(5);

/// An engine whose calls end in time.
pub(super) struct CircuitBreaker {
    engine: Arc<dyn CacheEngine>,
    limit: Duration,
    circuit: Mutex<Circuit>,
}

/// A circuit breaker: while it is open, no call is made.
#[derive(Debug, Default)]
struct Circuit {
    failures: u32,
    open_until: Option<Instant>,
}

impl CircuitBreaker {
    pub(super) fn new(engine: Arc<dyn CacheEngine>, limit: Duration) -> Self {
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

    async fn call<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        {
            let mut circuit = self.circuit();
            match circuit.open_until {
                Some(until) if Instant::now() < until => {
                    return Err(Error::engine(format!(
                        "the engine has failed {} times in a row and is left alone for now",
                        circuit.failures
                    )));
                }
                // One call tries it; the others go on leaving it alone until that is known.
                Some(_) => circuit.open_until = Some(Instant::now() + self.limit),
                None => {}
            }
        }
        let result = self.in_time(call).await;
        let mut circuit = self.circuit();
        match &result {
            Err(error) if error.kind() == ErrorKind::Engine => {
                circuit.failures = circuit.failures.saturating_add(1);
                if circuit.failures >= FAILURES {
                    circuit.open_until = Some(Instant::now() + REST);
                }
            }
            _ => *circuit = Circuit::default(),
        }
        result
    }

    /// Makes a call without a guard.
    async fn unlimited<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        call.await
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let mut call = pin!(call);
        // What answers at once needs no timer, and so no runtime that has one.
        if let Poll::Ready(result) = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
            return result;
        }
        tokio::time::timeout(self.limit, call).await.unwrap_or_else(|_| {
            Err(Error::engine(format!(
                "the engine has given no answer for {} ms",
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
        // The lint reports a method of the trait that is not listed. `./scripts/check` treats it as an error.
        #[warn(clippy::missing_trait_methods)]
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
        // How long a list takes depends on the size of the store, so it does not count as a failure.
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
    async fn an_engine_that_failed_rests_and_is_then_tried_by_one_call() {
        let (is_down, calls) = (AtomicBool::new(true), AtomicU32::new(0));
        let bounded = CircuitBreaker::new(Arc::new(crate::MemoryEngine::new()), TIMEOUT);
        let call = || async {
            calls.fetch_add(1, Ordering::Relaxed);
            match is_down.load(Ordering::Relaxed) {
                true => Err(Error::engine("down")),
                false => Ok(()),
            }
        };
        for _ in 0..10 {
            bounded.call(call()).await.unwrap_err();
        }
        assert_eq!(calls.load(Ordering::Relaxed), FAILURES);
        // A try that fails begins another rest.
        tokio::time::advance(REST).await;
        for _ in 0..2 {
            bounded.call(call()).await.unwrap_err();
        }
        assert_eq!(calls.load(Ordering::Relaxed), FAILURES + 1);
        // While one call tries it, the others leave it alone.
        tokio::time::advance(REST).await;
        let mut trying = pin!(bounded.call(std::future::pending::<Result<()>>()));
        assert!(poll_fn(|context| Poll::Ready(trying.as_mut().poll(context).is_pending())).await);
        let error = bounded.call(call()).await.unwrap_err();
        assert!(error.message().contains("left alone"), "{error}");
        trying.await.unwrap_err();
        is_down.store(false, Ordering::Relaxed);
        tokio::time::advance(REST).await;
        for _ in 0..3 {
            bounded.call(call()).await.unwrap();
        }
        assert_eq!(calls.load(Ordering::Relaxed), FAILURES + 4);
    }
}
