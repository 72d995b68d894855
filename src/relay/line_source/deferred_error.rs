//! A source whose error comes once what it handed over is done: who corrects the line that a run ended at finds
//! everything before it sent.

use crate::record::{Checkpoint, Offset, Partition};
use crate::relay::group_limit::GroupPermits;
use crate::relay::source::{Commit, CommitError, Outage, PollLimit, Polled, Source, SourceError};
use crate::timing::lease::Lease;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An error is kept back at most this long: a destination that is away must not hide it.
pub const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Behind what was handed over and not committed, by partition.
#[derive(Debug, Default)]
struct Open {
    next: Mutex<HashMap<Partition, Offset>>,
    closed: Condvar,
}

impl Open {
    fn next(&self) -> MutexGuard<'_, HashMap<Partition, Offset>> {
        // Each change is one of a whole entry.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, partitions: &[Partition]) {
        self.next().retain(|partition, _| !partitions.contains(partition));
        self.closed.notify_all();
    }

    fn committed(&self, checkpoints: &[Checkpoint]) {
        let mut next = self.next();
        for position in checkpoints.iter().map(|checkpoint| &checkpoint.position) {
            if next.get(&position.partition).is_some_and(|open| *open <= position.next) {
                next.remove(&position.partition);
            }
        }
        drop(next);
        self.closed.notify_all();
    }

    /// Waits until nothing is open, up to this time.
    fn wait(&self, time: Duration) -> bool {
        let waited = self.closed.wait_timeout_while(self.next(), time, |next| !next.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }
}

/// Keeps errors of a source back until what it handed over is committed.
#[derive(Debug)]
pub struct DeferredError<S> {
    source: S,
    open: Arc<Open>,
    error: Option<(SourceError, Instant)>,
}

impl<S: Source> DeferredError<S> {
    /// The same source, but for its errors.
    pub fn new(source: S) -> Self {
        Self { source, open: Arc::default(), error: None }
    }
}

impl<S: Source> Source for DeferredError<S> {
    fn poll(&mut self, want: PollLimit, wait: Duration) -> Result<Polled, SourceError> {
        if self.error.is_none() {
            match self.source.poll(want, wait) {
                Err(error) => self.error = Some((error, Instant::now())),
                Ok(polled) => {
                    match &polled {
                        Polled::Records(records) => {
                            let mut next = self.open.next();
                            for record in records {
                                next.insert(record.partition().clone(), record.offset().next());
                            }
                        }
                        Polled::Lost(partitions) => self.open.forget(partitions),
                        _ => {}
                    }
                    return Ok(polled);
                }
            }
        }
        let open = &self.open;
        match self.error.take_if(|(_, since)| open.wait(wait) || since.elapsed() >= LONGEST_DELAY) {
            // Told once: what is polled after it is news of partitions.
            Some((error, _)) => Err(error),
            None => Ok(Polled::Nothing),
        }
    }

    fn committer(&mut self) -> Box<dyn Commit> {
        Box::new(Closing { inner: self.source.committer(), open: Arc::clone(&self.open) })
    }

    fn hold(&mut self, partitions: &[Partition]) -> bool {
        self.source.hold(partitions)
    }

    fn release(&mut self, partitions: &[Partition]) {
        self.open.forget(partitions);
        self.source.release(partitions);
    }

    fn ends(&self) -> Vec<(Partition, Offset)> {
        self.source.ends()
    }

    fn lease(&self) -> Lease {
        self.source.lease()
    }

    fn share(&self) -> GroupPermits {
        self.source.share()
    }

    fn outage(&self) -> Option<Outage> {
        self.source.outage()
    }

    fn stalled(&self) -> usize {
        self.source.stalled()
    }

    fn close(&mut self) {
        self.source.close();
    }
}

/// Notes what is committed.
struct Closing {
    inner: Box<dyn Commit>,
    open: Arc<Open>,
}

impl Commit for Closing {
    fn commit(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
        let outcome = self.inner.commit(checkpoints);
        if outcome.is_ok() {
            self.open.committed(checkpoints);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Position, Record};

    /// Hands two records over, then fails.
    struct Failing(u32);

    impl Source for Failing {
        fn poll(&mut self, _want: PollLimit, _wait: Duration) -> Result<Polled, SourceError> {
            self.0 += 1;
            let record = |offset| Record::new(Partition::new("t", 0), Offset(offset), 0, None, None);
            match self.0 {
                1 => Ok(Polled::Records(vec![record(4), record(6)])),
                _ => Err(SourceError("broken".into())),
            }
        }

        fn committer(&mut self) -> Box<dyn Commit> {
            struct Kept;
            impl Commit for Kept {
                fn commit(&mut self, _checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
                    Ok(())
                }
            }
            Box::new(Kept)
        }
    }

    const WANT: PollLimit = PollLimit { records: 9, bytes: 9 };

    #[test]
    fn an_error_comes_when_what_was_handed_over_is_committed() {
        let mut source = DeferredError::new(Failing(0));
        let mut committer = source.committer();
        assert!(matches!(source.poll(WANT, Duration::ZERO), Ok(Polled::Records(_))));
        for next in [5, 6] {
            committer
                .commit(&[Position { partition: Partition::new("t", 0), next: Offset(next) }.into()])
                .unwrap();
            assert!(matches!(source.poll(WANT, Duration::ZERO), Ok(Polled::Nothing)), "{next}");
        }
        let committing = std::thread::spawn(move || {
            committer.commit(&[Position { partition: Partition::new("t", 0), next: Offset(7) }.into()])
        });
        let error = source.poll(WANT, Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.to_string(), "broken");
        committing.join().unwrap().unwrap();
    }

    #[test]
    fn an_error_comes_also_if_nothing_is_ever_committed_or_the_partition_is_gone() {
        let mut source = DeferredError::new(Failing(0));
        assert!(source.poll(WANT, Duration::ZERO).is_ok() && source.poll(WANT, Duration::ZERO).is_ok());
        source.error.as_mut().unwrap().1 -= LONGEST_DELAY;
        assert!(source.poll(WANT, Duration::ZERO).is_err());
        let mut source = DeferredError::new(Failing(0));
        assert!(source.poll(WANT, Duration::ZERO).is_ok());
        source.release(&[Partition::new("t", 0)]);
        assert!(source.poll(WANT, Duration::ZERO).is_err());
    }
}
