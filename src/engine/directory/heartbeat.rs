//! Shows that this process runs: a thread updates the times of the files that it has locked. A suspended process keeps its
//! locks, but no longer updates the times.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

static HEARTBEAT: Heartbeat = Heartbeat {
    state: Mutex::new(State {
        files: Vec::new(),
        is_running: false,
    }),
    changed: Condvar::new(),
};

struct Heartbeat {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    files: Vec<Beating>,
    is_running: bool,
}

/// A file whose time is updated as long as it is open.
struct Beating {
    file: Weak<File>,
    every: Duration,
    next: Instant,
}

/// Sets the time of a file now, and again each time that this interval has passed, until the file is dropped.
pub(super) fn start(file: &Arc<File>, every: Duration) {
    touch(file);
    let mut state = HEARTBEAT.state();
    state.files.retain(|beating| beating.file.strong_count() > 0);
    state.files.push(Beating {
        file: Arc::downgrade(file),
        every,
        next: Instant::now() + every,
    });
    if !state.is_running {
        // A thread and not a task: a runtime may be blocked, or have no timer.
        let thread = std::thread::Builder::new().name("mistral-cassette-locks".to_owned());
        state.is_running = thread.spawn(|| HEARTBEAT.run()).is_ok();
    }
    drop(state);
    HEARTBEAT.changed.notify_one();
}

/// Sets the time of a file. An error does not matter: the lock is then taken over too early, which costs a request.
fn touch(file: &File) {
    let _ = file.set_modified(SystemTime::now());
}

impl Heartbeat {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        /// The longest wait. A new file ends it.
        const LONG: Duration = Duration::from_secs(3600);
        let mut state = self.state();
        loop {
            let now = Instant::now();
            state.files.retain_mut(|beating| {
                let Some(file) = beating.file.upgrade() else {
                    return false;
                };
                if beating.next <= now {
                    touch(&file);
                    beating.next = now + beating.every;
                }
                true
            });
            let next = state.files.iter().map(|beating| beating.next).min();
            let wait = next.map_or(LONG, |next| next.saturating_duration_since(now).min(LONG));
            state = match self.changed.wait_timeout(state, wait) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_file_is_updated_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = Arc::new(File::create(&path).unwrap());
        let past = SystemTime::UNIX_EPOCH;
        let modified = || std::fs::metadata(&path).unwrap().modified().unwrap();
        start(&file, Duration::from_millis(5));
        for _ in 0..3 {
            file.set_modified(past).unwrap();
            let since = Instant::now();
            while modified() == past {
                assert!(since.elapsed() < Duration::from_secs(60), "it is not updated");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        drop(file);
        start(
            &Arc::new(File::create(folder.path().join("other")).unwrap()),
            Duration::from_secs(60),
        );
        assert!(
            HEARTBEAT
                .state()
                .files
                .iter()
                .all(|beating| beating.every > Duration::from_millis(5))
        );
    }
}
