//! One run: the loop that takes the steps that [`Control`] decides on, with the threads that it starts and joins.

use super::background::Background;
use super::control::{Control, Report, Step};
use super::dead_letter::{DeadLetter, DeadLetterError, DeadLetters};
use super::dispatcher::{Dispatcher, PendingDeadLetter};
use super::event::{Change, Event, Observer, Snapshot, Totals};
use super::run_error::RunError;
use super::settings::{Intake, OnRejection, RelaySettings};
use super::source::{Commit, CommitError, PollLimit, Polled, Source};
use super::stop::Stop;
use super::transport::Transport;
use super::worker_pool::{Completion, DrainOnPanic, WorkerPool, panic_text};
use crate::record::{Checkpoint, Offset, Partition};
use crate::timing::jitter::Jitter;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// The wait before another try to start a thread.
const THREAD_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Polls of a closed source, at most.
const MOST_CLOSING_NOTICES: usize = 100;

/// One run: delivers the records of `source` by `transport`.
pub struct Relay<'a> {
    /// How to send.
    pub settings: RelaySettings,
    /// Where records come from.
    pub source: &'a mut dyn Source,
    /// Where they go.
    pub transport: &'a dyn Transport,
    /// Where rejected records go.
    pub dead_letters: Box<dyn DeadLetters>,
    /// Gets the events of the run.
    pub observer: &'a dyn Observer,
    /// What ends the run early.
    pub stop: &'a Stop,
}

impl Relay<'_> {
    /// Runs until the source ends, a stop is requested, or an error ends it. Requests in flight then finish, within the
    /// transport's timeout, and what is done is committed.
    ///
    /// # Errors
    /// Why the run ended before its work was done.
    pub fn run(self) -> Result<Totals, RunError> {
        let now = Instant::now();
        let committer = self.source.committer();
        let control = Control::new(self.settings.clone(), Jitter::new(), now);
        let pool =
            Arc::new(WorkerPool::new(control, self.source.lease(), self.source.share(), self.stop.clone()));
        let no_thread = |error: std::io::Error| RunError::Threads(error.to_string());
        let commits = Background::start("commits", &pool, commit_with(committer)).map_err(no_thread)?;
        let letters = Background::start("letters", &pool, put_with(self.dead_letters)).map_err(no_thread)?;
        let run = Run {
            source: self.source,
            transport: self.transport,
            observer: self.observer,
            stop: self.stop,
            pool: &pool,
            started: now,
            commits,
            letters,
            told_of_threads: false,
            drained: false,
            is_batch: self.settings.intake == Intake::Batch,
        };
        run.observer.on(&Event::Started);
        run.run()
    }
}

fn commit_with(mut committer: Box<dyn Commit>) -> impl FnMut(Vec<Checkpoint>) -> Completion + Send {
    move |checkpoints| {
        let outcome = committer.commit(&checkpoints);
        Completion::Committed(checkpoints, outcome)
    }
}

fn put_with(
    mut dead_letters: Box<dyn DeadLetters>,
) -> impl FnMut(Vec<PendingDeadLetter>) -> Completion + Send {
    move |pending| {
        let letters: Vec<_> = pending.iter().map(|pending| pending.letter.clone()).collect();
        let outcome = dead_letters.put(&letters);
        Completion::PutDeadLetters(pending, outcome)
    }
}

/// The loop: takes the steps that [`Control`] decides on.
struct Run<'a> {
    source: &'a mut dyn Source,
    transport: &'a dyn Transport,
    observer: &'a dyn Observer,
    stop: &'a Stop,
    pool: &'a Arc<WorkerPool>,
    started: Instant,
    commits: Background<Vec<Checkpoint>>,
    letters: Background<Vec<PendingDeadLetter>>,
    told_of_threads: bool,
    /// Workers were told that nothing new is sent.
    drained: bool,
    is_batch: bool,
}

/// What a step asks of the thread that runs the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    GoOn,
    Deliver,
    Join,
    End,
}

impl Run<'_> {
    fn run(mut self) -> Result<Totals, RunError> {
        loop {
            match self.turn() {
                Turn::GoOn | Turn::Join => {}
                Turn::Deliver => self.deliver(),
                Turn::End => return self.end(),
            }
        }
    }

    /// Sends with scoped workers, and returns once all of them are joined.
    fn deliver(&mut self) {
        let (transport, observer, pool) = (self.transport, self.observer, self.pool);
        let panicked = std::thread::scope(|scope| {
            let mut threads = WorkerThreads { handles: Vec::new(), panics: Vec::new() };
            let mut next_start = Instant::now();
            let unwinding = DrainOnPanic(pool);
            loop {
                threads.join_those_that_left();
                let missing = if Instant::now() >= next_start { pool.register_missing() } else { Vec::new() };
                let work = |number| pool.work(number, transport, observer);
                if let Some((error, started)) = threads.start(scope, &missing, work) {
                    let missing = missing.get(started..).unwrap_or_default();
                    self.tell_of_threads(missing, threads.handles.len(), &error);
                    next_start = Instant::now() + THREAD_RETRY_INTERVAL;
                }
                if self.turn() == Turn::Join || pool.has_panicked() {
                    break;
                }
            }
            if pool.has_panicked() {
                pool.drain();
            }
            drop(unwinding);
            // Idle workers must learn that nothing more will be sent.
            pool.wake_workers();
            threads.join()
        });
        let mut state = self.pool.lock();
        if let Some(text) = panicked {
            state.control.fail(RunError::Worker(text));
        }
        state.control.joined(Instant::now());
        drop(state);
        if self.is_batch {
            observer.on(&Event::BatchJoined);
        }
    }

    /// A thread could not be started: the run goes on with the others, if there are any.
    fn tell_of_threads(&mut self, missing: &[usize], running: usize, error: &std::io::Error) {
        let error = error.to_string();
        if self.pool.deregister(missing) == 0 && running == 0 {
            self.pool.lock().control.fail(RunError::Threads(error));
            self.pool.drain();
        } else if !std::mem::replace(&mut self.told_of_threads, true) {
            let wanted = running + missing.len();
            self.observer.on(&Event::FewerThreads { running, wanted, error: &error });
        }
    }

    /// Takes one step.
    fn turn(&mut self) -> Turn {
        self.take_results();
        let stop_requested = self.stop.requested();
        let mut state = self.pool.lock();
        let step = state.control.step(Instant::now(), stop_requested);
        let drains = state.control.is_draining();
        drop(state);
        if drains && !std::mem::replace(&mut self.drained, true) {
            self.pool.drain();
        }
        match step {
            Step::Poll { want, wait } => self.poll(want, wait),
            Step::Throttle(partitions) => {
                let does = self.source.hold(&partitions);
                self.pool.lock().control.throttled(partitions, does);
            }
            Step::Commit(checkpoints) => self.commits.begin(checkpoints, self.pool),
            Step::PutDeadLetters(letters) => self.letters.begin(letters, self.pool),
            Step::Release(partitions) => {
                self.pool.lock().control.released(&partitions);
                self.source.release(&partitions);
            }
            Step::Report(report) => self.tell(&report),
            Step::Wait(until) => self.pool.wait(until),
            Step::Deliver => return Turn::Deliver,
            Step::Join => return Turn::Join,
            Step::End => return Turn::End,
        }
        Turn::GoOn
    }

    /// Asks the source once.
    fn poll(&mut self, want: PollLimit, wait: Duration) {
        let polled = self.source.poll(want, wait);
        let outage = self.source.outage();
        let now = Instant::now();
        let mut state = self.pool.lock();
        let control = &mut state.control;
        control.set_outage(outage);
        match polled {
            Ok(Polled::Nothing) => return control.polled_nothing(want, now),
            Ok(Polled::Records(records)) => {
                let count = records.len();
                let transport = self.transport;
                let with_target = records.into_iter().map(|record| {
                    let target = transport.target(&record);
                    (record, target)
                });
                control.records(with_target, now);
                drop(state);
                return self.pool.wake_for(count);
            }
            Ok(Polled::End) => control.source_ended(now),
            Err(error) => control.source_failed(RunError::Source(error), now),
            Ok(Polled::Skipped(positions)) => control.passed(&positions, now),
            Ok(Polled::Assigned(assigned)) => {
                control.assigned(&assigned, now);
                drop(state);
                let checkpoints: Vec<Checkpoint> = assigned.into_iter().map(|one| one.checkpoint).collect();
                self.observer.on(&Event::Assigned(&checkpoints));
            }
            Ok(Polled::Revoked(partitions)) => {
                control.revoked(&partitions, now);
                drop(state);
                self.observer.on(&Event::Revoked(&partitions));
            }
            Ok(Polled::Lost(partitions)) => {
                control.lost_by(&partitions, now);
                drop(state);
                self.observer.on(&Event::Lost(&partitions));
            }
            Ok(Polled::Notice(notice)) => {
                control.noticed(now);
                drop(state);
                self.observer.on(&Event::Notice(&notice));
            }
        }
        // Workers may have less to do, or more.
        self.pool.wake_workers();
    }

    // ---- what was done in the background ----------------------------------------------------------------------------

    fn take_results(&mut self) {
        let done = std::mem::take(&mut self.pool.lock().done);
        for done in done {
            match done {
                Completion::Committed(checkpoints, outcome) => self.committed(checkpoints, &outcome),
                Completion::PutDeadLetters(letters, outcome) => self.put(letters, &outcome),
                Completion::Panicked(name) => {
                    let text = format!("the thread for {name} panicked; please report this");
                    self.pool.lock().control.fail(RunError::Worker(text));
                }
            }
        }
    }

    fn committed(&mut self, checkpoints: Vec<Checkpoint>, outcome: &Result<(), CommitError>) {
        let mut told = checkpoints.clone();
        if let Err(CommitError::Partial { partitions, .. }) = outcome {
            told.retain(|one| !partitions.contains(&one.position.partition));
        }
        let (lost, failures) = {
            let control = &mut self.pool.lock().control;
            (control.commit_done(checkpoints, outcome, Instant::now()), control.failed_commits())
        };
        match outcome {
            Ok(()) | Err(CommitError::Partial { .. }) if told.is_empty() => {}
            Ok(()) | Err(CommitError::Partial { .. }) => self.observer.on(&Event::Committed(&told)),
            // Of consecutive failures the 1st, 2nd, 4th, 8th and so on are reported.
            Err(CommitError::Retriable(_)) if !failures.is_power_of_two() => {}
            Err(error) => self.observer.on(&Event::CommitFailed { error: &error.to_string() }),
        }
        if !lost.is_empty() {
            self.observer.on(&Event::Lost(&lost));
            self.pool.wake_workers();
        }
    }

    fn put(&mut self, letters: Vec<PendingDeadLetter>, outcome: &Result<(), DeadLetterError>) {
        let told: Vec<_> = letters.iter().map(|pending| pending.letter.clone()).collect();
        let again = self.pool.lock().control.dead_letters_done(letters, outcome, Instant::now());
        // Records behind them may be sent, or the batch is done.
        self.pool.wake_workers();
        let tell = |letter: &DeadLetter, action| {
            self.observer.on(&Event::Rejected {
                record: &letter.record,
                rejection: &letter.rejection,
                action,
            });
        };
        match (outcome, again) {
            (Ok(()), _) => told.iter().for_each(|letter| tell(letter, OnRejection::DeadLetter)),
            (Err(error), Some(delay)) => {
                self.observer.on(&Event::DeadLettersUnavailable { delay, error: &error.to_string() });
            }
            (Err(_), None) => told.iter().take(1).for_each(|letter| tell(letter, OnRejection::Stop)),
        }
    }

    // ---- telling -------------------------------------------------------------------------------------------

    fn tell(&self, report: &Report) {
        match report {
            Report::Change(Change::Dropped { record, rejection }) => {
                self.observer.on(&Event::Rejected { record, rejection, action: OnRejection::Drop });
            }
            Report::Change(change) => self.observer.on(&Event::Change(change)),
            Report::BatchInterval(interval) => self.observer.on(&Event::BatchInterval(*interval)),
            Report::Draining => self.observer.on(&Event::Draining),
            Report::Snapshot => {
                let snapshot = self.snapshot(Instant::now());
                self.observer.on(&Event::Snapshot(&snapshot));
            }
        }
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let (ends, stalled) = (self.source.ends(), self.source.stalled());
        let semaphore = self.pool.semaphore();
        let state = self.pool.lock();
        let dispatcher = &state.control.dispatcher;
        let totals = Totals {
            elapsed: now.saturating_duration_since(self.started),
            most_in_flight: semaphore.most_in_use(),
            ..dispatcher.totals()
        };
        Snapshot {
            totals,
            in_flight: dispatcher.in_flight(),
            limit: dispatcher.limit(),
            retrying: dispatcher.retrying(),
            under_way: dispatcher.len(),
            lag: lag(dispatcher, &ends),
            stalled,
            oldest: dispatcher.oldest().map(|since| now.saturating_duration_since(since)),
            paused: dispatcher.paused_since().is_some(),
        }
    }

    fn end(self) -> Result<Totals, RunError> {
        self.pool.drain();
        let failure = self.pool.lock().control.take_failure();
        if let Some(
            RunError::Rejected(letter) | RunError::TooManyRejected(letter, _) | RunError::Gone(letter),
        ) = &failure
        {
            let action = OnRejection::Stop;
            self.observer.on(&Event::Rejected {
                record: &letter.record,
                rejection: &letter.rejection,
                action,
            });
        }
        self.source.close();
        // Notices of the closing itself.
        for _ in 0..MOST_CLOSING_NOTICES {
            match self.source.poll(PollLimit::NOTHING, Duration::ZERO) {
                Ok(Polled::Notice(notice)) => self.observer.on(&Event::Notice(&notice)),
                Ok(Polled::Nothing | Polled::End) | Err(_) => break,
                Ok(_) => {}
            }
        }
        let totals = self.snapshot(Instant::now()).totals;
        self.observer.on(&Event::Ended(&totals));
        failure.map_or(Ok(totals), Err)
    }
}

/// The workers that were started.
struct WorkerThreads<'scope> {
    handles: Vec<ScopedJoinHandle<'scope, ()>>,
    panics: Vec<String>,
}

impl<'scope> WorkerThreads<'scope> {
    /// Starts a thread for each number. Returns the error and the number of threads started, if not all were.
    fn start<'env>(
        &mut self,
        scope: &'scope Scope<'scope, 'env>,
        numbers: &[usize],
        work: impl Fn(usize) + Copy + Send + 'scope,
    ) -> Option<(std::io::Error, usize)> {
        for (started, number) in numbers.iter().copied().enumerate() {
            let builder = std::thread::Builder::new().name(format!("worker {number}"));
            match builder.spawn_scoped(scope, move || work(number)) {
                Ok(handle) => self.handles.push(handle),
                Err(error) => return Some((error, started)),
            }
        }
        None
    }

    /// Joins workers that have left, so that there are never more handles than workers.
    fn join_those_that_left(&mut self) {
        let left: Vec<_> = self.handles.extract_if(.., |handle| handle.is_finished()).collect();
        left.into_iter().for_each(|handle| self.join_one(handle));
    }

    fn join_one(&mut self, handle: ScopedJoinHandle<'scope, ()>) {
        if let Err(panic) = handle.join() {
            self.panics.push(panic_text(&*panic));
        }
    }

    /// Joins all workers. Returns the message of the last panic.
    fn join(mut self) -> Option<String> {
        std::mem::take(&mut self.handles).into_iter().for_each(|handle| self.join_one(handle));
        self.panics.pop()
    }
}

/// The records that are not done, over the partitions whose end offsets are known; gaps count as records.
fn lag(dispatcher: &Dispatcher, ends: &[(Partition, Offset)]) -> Option<u64> {
    let ends: HashMap<_, _> = ends.iter().map(|(partition, end)| (partition, *end)).collect();
    let behind = dispatcher.watermarks().filter_map(|(partition, watermark)| {
        ends.get(partition).map(|end| u64::try_from(end.0 - watermark.0).unwrap_or(0))
    });
    (!ends.is_empty()).then(|| behind.sum())
}
