//! Commits, in a thread with a client of its own.
//!
//! The crate's commit can loop for ever once its retries are used up, and its sockets may wait for two minutes:
//! whoever asks for a commit waits no longer than [`COMMIT_TIMEOUT`]. While an earlier commit is still stuck,
//! another is refused as retriable.

use super::{COMMIT_TIMEOUT, Fault, client, guarded};
use crate::record::{Checkpoint, Position};
use crate::relay::source::{Commit, CommitError};
use ::kafka::client::{CommitOffset, KafkaClient};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};

struct Task {
    positions: Vec<Position>,
    done: SyncSender<Result<(), CommitError>>,
}

/// Hands commits to the thread that does them.
#[derive(Clone)]
pub(super) struct Committer {
    tasks: SyncSender<Task>,
}

impl Committer {
    /// Starts the thread; it connects with the first commit and ends when this is dropped.
    pub(super) fn start(brokers: Vec<String>, group: String) -> Self {
        let (tasks, waiting) = sync_channel(0);
        std::thread::spawn(move || work(&brokers, &group, &waiting));
        Self { tasks }
    }
}

impl Commit for Committer {
    fn commit(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
        let (done, answer) = sync_channel(1);
        let mut task = Task { positions: checkpoints.iter().map(|c| c.position.clone()).collect(), done };
        let deadline = std::time::Instant::now() + COMMIT_TIMEOUT;
        // A rendezvous channel takes the task only while the thread waits for one; it is back in microseconds
        // after an answer.
        loop {
            match self.tasks.try_send(task) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if std::time::Instant::now() < deadline => {
                    task = back;
                    std::thread::yield_now();
                }
                Err(_) => return Err(CommitError::Retriable("an earlier commit is still under way".into())),
            }
        }
        match answer.recv_timeout(COMMIT_TIMEOUT) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => {
                Err(CommitError::Retriable(format!("no answer to a commit within {COMMIT_TIMEOUT:?}")))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(CommitError::Fatal("the commit thread ended; please report this".into()))
            }
        }
    }
}

fn work(brokers: &[String], group: &str, tasks: &Receiver<Task>) {
    let mut connected: Option<KafkaClient> = None;
    while let Ok(Task { positions, done }) = tasks.recv() {
        let outcome = commit(&mut connected, brokers, group, &positions).map_err(|fault| {
            // The crate never replaces a dead socket, so every fault takes the client with it.
            connected = None;
            match fault {
                Fault::Fatal(text) => CommitError::Fatal(text),
                fault => CommitError::Retriable(format!("the commit failed: {}", fault.text())),
            }
        });
        // Who asked may have stopped waiting.
        let _ = done.send(outcome);
    }
}

fn commit(
    connected: &mut Option<KafkaClient>,
    brokers: &[String],
    group: &str,
    positions: &[Position],
) -> Result<(), Fault> {
    let client = match connected {
        Some(client) => client,
        None => {
            let mut client = client(brokers);
            guarded(|| client.load_metadata_all())?;
            connected.insert(client)
        }
    };
    let offsets: Vec<CommitOffset<'_>> = positions
        .iter()
        .map(|p| CommitOffset::new(p.partition.topic(), p.partition.number(), p.next.0))
        .collect();
    guarded(|| client.commit_offsets(group, &offsets))
}
