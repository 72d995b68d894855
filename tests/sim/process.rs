//! One process as the shell runs it: the loop, workers, and the two helpers, as states instead of threads. What
//! `relay::mod` and `relay::pool` do with locks and conditions is done here on virtual time, step by step.

use crate::consumer::Entry;
use sluicegate::kafka::group::error::GroupError;
use sluicegate::kafka::group::exchange::Stamp;
use sluicegate::kafka::protocol::ErrorCode;
use sluicegate::record::{Checkpoint, Partition};
use sluicegate::relay::control::Control;
use sluicegate::relay::dead_letter::DeadLetterError;
use sluicegate::relay::dispatcher::{PendingDeadLetter, Ticket};
use sluicegate::relay::source::{CommitError, PollLimit};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What the loop is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// It takes the next step as soon as it runs.
    Runs,
    /// It waits for news, until then.
    Waits(Duration),
    /// It asks the source, until then.
    Polls(PollLimit, Duration),
    /// It waits for all workers to leave.
    Joins,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {
    /// It looks for a record as soon as it runs.
    Looks,
    /// It waits for a permit.
    Queues,
    /// It sleeps until it is woken.
    Sleeps,
    /// Its request is in flight.
    Sends,
}

/// What a helper has done.
pub enum Done {
    Committed(Vec<Checkpoint>, Result<(), CommitError>),
    PutDeadLetters(Vec<PendingDeadLetter>, Result<(), DeadLetterError>),
}

/// A commit under way.
pub struct CommitJob {
    pub token: u64,
    /// Who commits, and the incarnation of the member; nobody without a membership.
    pub stamp: Option<(Stamp, u64)>,
    pub entries: Vec<Entry>,
    /// Why the coordinator takes none of it.
    pub refusal: Option<GroupError>,
    /// What it will be answered as a whole.
    pub outcome: Result<(), CommitError>,
    /// What the coordinator takes none of, for reasons of their own.
    pub refused: Vec<(usize, ErrorCode)>,
    /// What was not asked for, since it was refused a moment ago.
    pub left: Vec<Partition>,
}

impl Default for CommitJob {
    fn default() -> Self {
        let (refused, left) = (Vec::new(), Vec::new());
        let (stamp, refusal, entries) = (None, None, Vec::new());
        Self { token: 0, stamp, entries, refusal, outcome: Ok(()), refused, left }
    }
}

pub struct Process {
    pub control: Control,
    pub state: Loop,
    /// The wake-up of the loop that counts; others are stale.
    pub loop_token: u64,
    pub is_delivering: bool,
    /// Each with the wake-up that counts.
    pub workers: BTreeMap<usize, (Worker, u64)>,
    pub queue: VecDeque<usize>,
    pub sleepers: Vec<usize>,
    pub timekeeper: Option<(usize, Duration)>,
    pub permits: usize,
    pub in_use: usize,
    pub is_closed: bool,
    pub has_news: bool,
    pub finished: usize,
    pub done: Vec<Done>,
    pub commit: Option<Vec<Checkpoint>>,
    pub commit_job: CommitJob,
    pub letters: Option<Vec<PendingDeadLetter>>,
    /// The token of the letters under way, whether they are kept, and what will be said of it.
    pub letters_job: (u64, bool, Result<(), DeadLetterError>),
    pub tickets: BTreeMap<u64, Ticket<()>>,
    /// The stop signal came, and when.
    pub stop_at: Option<Duration>,
    /// When the loop began to end the run, be it for a fault.
    pub draining_at: Option<Duration>,
    /// For how long nothing had been accepted then.
    pub quiet_at_drain: Duration,
}

impl Process {
    pub fn new(control: Control) -> Self {
        let permits = control.dispatcher.limit();
        Self {
            control,
            state: Loop::Runs,
            loop_token: 0,
            is_delivering: false,
            workers: BTreeMap::new(),
            queue: VecDeque::new(),
            sleepers: Vec::new(),
            timekeeper: None,
            permits,
            in_use: 0,
            is_closed: false,
            has_news: false,
            finished: 0,
            done: Vec::new(),
            commit: None,
            commit_job: CommitJob::default(),
            letters: None,
            letters_job: (0, false, Ok(())),
            tickets: BTreeMap::new(),
            stop_at: None,
            draining_at: None,
            quiet_at_drain: Duration::ZERO,
        }
    }

    /// Whether an idle worker has something to do beside the one that has just taken a record.
    pub fn wants_another(&self, due: Option<Duration>) -> bool {
        let is_kept = |due: Duration| self.timekeeper.is_some_and(|(_, at)| at <= due);
        !self.sleepers.is_empty()
            && (self.control.dispatcher.has_ready() || due.is_some_and(|due| !is_kept(due)))
    }

    /// Whether an answer leaves the loop something to do.
    pub fn answer_is_news(&mut self) -> bool {
        self.finished += 1;
        let dispatcher = &self.control.dispatcher;
        dispatcher.is_idle()
            || dispatcher.has_dead_letters()
            || dispatcher.has_changes()
            || dispatcher.may_want_more(self.finished)
    }
}
