//! Works on many items with several threads, and hands over the results in the order of the items.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// How many items a thread works on at most before it hands over their results.
const MAX_BATCH: usize = 16;

/// How many batches of a thread wait to be taken. The thread then waits, too, so that memory does not grow.
const WAITING: usize = 2;

/// The number of processors that this process may use.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Calls `work` for each item in `threads` threads, and `take` with each result, in the order of the items. Few results are in
/// memory at a time.
///
/// # Errors
/// The first error of `take`; the rest of the work is not done.
pub(crate) fn in_order<I: Sync, T: Send, E>(
    items: &[I],
    threads: usize,
    work: impl Fn(&I) -> T + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let threads = threads.clamp(1, items.len().max(1));
    // If there are few items, batches are small, so that each thread gets some: reading an item of a cache takes long.
    let batch = (items.len() / (4 * threads)).clamp(1, MAX_BATCH);
    let batches = items.len().div_ceil(batch);
    let work = &work;
    thread::scope(|scope| {
        let start = |number: usize| -> Receiver<Vec<T>> {
            let (sender, receiver) = sync_channel(WAITING);
            scope.spawn(move || {
                for batch in items.chunks(batch).skip(number).step_by(threads) {
                    // Nobody takes results after an error.
                    if sender.send(batch.iter().map(work).collect()).is_err() {
                        return;
                    }
                }
            });
            receiver
        };
        // The batches are dealt out in turn, so the next one is always from the next thread.
        let receivers: Vec<_> = (0..threads).map(start).collect();
        for number in 0..batches {
            // A thread that panicked sends nothing more, and the scope panics, too.
            let Ok(batch) = receivers[number % threads].recv() else {
                break;
            };
            batch.into_iter().try_for_each(&mut take)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn results_are_taken_in_the_order_of_the_items() {
        for (length, threads) in [(0, 4), (1, 4), (7, 0), (1000, 1), (1000, 3), (1001, 16)] {
            let items: Vec<usize> = (0..length).collect();
            let mut taken = Vec::new();
            let take = |result| {
                taken.push(result);
                Ok::<_, ()>(())
            };
            in_order(&items, threads, |item| item * 2, take).unwrap();
            assert!(taken.iter().copied().eq((0..length).map(|item| item * 2)), "{threads}");
        }
    }

    #[test]
    fn few_results_wait_and_an_error_ends_the_work() {
        let items: Vec<usize> = (0..10_000).collect();
        let (started, mut taken) = (AtomicUsize::new(0), 0);
        let work = |_: &usize| started.fetch_add(1, Ordering::Relaxed);
        let take = |_| {
            taken += 1;
            if taken < 50 { Ok(()) } else { Err("enough") }
        };
        assert_eq!(in_order(&items, 2, work, take), Err("enough"));
        let most = 50 + 2 * MAX_BATCH * (WAITING + 2);
        assert!(started.load(Ordering::Relaxed) <= most);
    }
}
