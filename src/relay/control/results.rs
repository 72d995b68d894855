//! Results of the background threads: commits and dead letters.

use super::{COMMIT_INTERVAL, Control};
use crate::record::{Checkpoint, Partition};
use crate::relay::dead_letter::DeadLetterError;
use crate::relay::dispatcher::PendingDeadLetter;
use crate::relay::run_error::RunError;
use crate::relay::source::CommitError;
use std::time::{Duration, Instant};

/// The wait after a commit of which no position was taken.
const REFUSED_INTERVAL: Duration = Duration::from_secs(1);

impl Control {
    /// The result of the last [`Step::Commit`](super::Step::Commit). Returns the partitions lost by it.
    pub fn commit_done(
        &mut self,
        mut checkpoints: Vec<Checkpoint>,
        outcome: &Result<(), CommitError>,
        now: Instant,
    ) -> Vec<Partition> {
        match outcome {
            Err(CommitError::Partial { partitions, cause }) => {
                self.commit_error = Some(cause.clone());
                checkpoints.retain(|one| !partitions.contains(&one.position.partition));
                self.dispatcher.committed(&checkpoints, self.commits.began);
                let pause = if checkpoints.is_empty() { REFUSED_INTERVAL } else { COMMIT_INTERVAL };
                self.commits.succeeded(self.commits.began + pause);
                Vec::new()
            }
            Ok(()) => {
                self.commit_error = None;
                self.dispatcher.committed(&checkpoints, self.commits.began);
                let next = self.commits.began + COMMIT_INTERVAL;
                self.commits.succeeded(next);
                Vec::new()
            }
            Err(CommitError::Retriable(error)) => {
                self.commit_error = Some(error.clone());
                self.commits.failed(now, &mut self.jitter);
                Vec::new()
            }
            Err(CommitError::Fenced(_)) => {
                // Somebody else has the partitions and will send from what was committed before.
                self.commits.succeeded(now);
                // It speaks of the assignments that the commit was made under, not of a later one of the same name.
                let lost = self.dispatcher.still_ours(checkpoints);
                self.lost(&lost);
                lost
            }
            Err(error @ CommitError::Fatal(_)) => {
                self.commits.failed(now, &mut self.jitter);
                self.fail(RunError::Commit(error.clone()));
                Vec::new()
            }
        }
    }

    /// How many commits in a row have failed.
    pub(crate) fn failed_commits(&self) -> u32 {
        self.commits.failures
    }

    /// The result of the last [`Step::PutDeadLetters`](super::Step::PutDeadLetters). Returns the wait before a retry,
    /// if there is one.
    pub fn dead_letters_done(
        &mut self,
        letters: Vec<PendingDeadLetter>,
        outcome: &Result<(), DeadLetterError>,
        now: Instant,
    ) -> Option<Duration> {
        match outcome {
            Ok(()) => {
                self.letters.succeeded(now);
                self.dispatcher.kept(&letters);
                None
            }
            Err(DeadLetterError::Retriable(_)) => {
                let delay = self.letters.failed(now, &mut self.jitter);
                self.dispatcher.not_dead_lettered(letters);
                Some(delay)
            }
            Err(error @ DeadLetterError::Fatal(_)) => {
                self.letters.succeeded(now);
                self.dead_letters_closed = true;
                self.dispatcher.not_dead_lettered(letters);
                self.dispatcher.abandon_dead_letters();
                self.fail(RunError::DeadLetters(error.clone()));
                None
            }
        }
    }
}
