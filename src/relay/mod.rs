//! The product itself: what is sent when, and what may be committed. std only; knows neither Kafka nor HTTP
//! nor flags, prints and logs nothing.
//!
//! One thread, the caller's, runs the loop: it polls the [source](source::Source), admits records into the
//! [window], settles refused records, commits, and looks after revocations and signals every [`TICK`]. Scoped
//! worker threads pull: each takes a [permit](semaphore) first, then the next record that may go. With a batch
//! they are joined at its end; with a sliding window they stay while the loop takes more in.
//!
//! | room | what it decides |
//! |---|---|
//! | [window] | which record may be sent now, and what an answer did to it |
//! | [lanes] | who waits for whom, where order is asked for |
//! | [pace] | the pause of a destination that can't take more, and its probe |
//! | [filter] | which records are delivered at all |
//! | [rate] | how many attempts in a time |
//! | [budget] | how many of them may be retries |
//! | [backoff] | how long until another attempt |
//! | [verdict] | what an answer means |
//! | [threshold] | how many refused records are too many |
//! | [progress] | what is done without a gap, hence what may be committed |
//! | [beyond] | what is done beyond that, in the words that are committed beside it |
//! | [semaphore] | how many requests at once |
//! | [share] | how many of those that all members of a group may have |
//! | [limit] | how many at once are good, where that is to be found out |

pub mod backoff;
pub mod base64;
pub mod beyond;
pub mod budget;
pub mod dead_letter;
pub mod event;
mod failure;
pub mod filter;
pub mod json;
pub mod lanes;
pub mod limit;
pub mod lines;
pub mod memory;
pub mod pace;
pub mod progress;
pub mod rate;
mod recent;
pub mod record;
pub mod semaphore;
pub mod settings;
pub mod share;
pub mod source;
pub mod stop;
pub mod threshold;
pub mod transport;
pub mod verdict;
pub mod window;
mod worker;

pub use failure::RunError;

use backoff::{Backoff, Jitter};
use dead_letter::{DeadLetterError, DeadLetters, Letter};
use event::{Event, Fate, Observer, Snapshot, Totals};
use record::{Checkpoint, Partition};
use settings::{Intake, Settings};
use source::{Commit, CommitError, Polled, Source, Want};
use std::collections::HashMap;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};
use stop::Stop;
use transport::Transport;
use window::{Condemned, Halt, Window};
use worker::Floor;

/// How often the loop looks up from waiting for answers, for revocations, signals and due commits.
pub const TICK: Duration = Duration::from_millis(50);
/// So many pieces of news are heard between two looks at everything else.
const MOST_NEWS: usize = 1_000;
/// How often [`Event::Progress`] tells how things stand.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How often what is done is committed while a batch is under way.
pub const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How long the last commit of a run is tried.
pub const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often dead letters and a last commit are tried again.
const SETTLE_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// One run: everything from `source` goes through the gate to `transport`.
pub struct Relay<'a> {
    /// How to send.
    pub settings: Settings,
    /// Where records come from.
    pub source: &'a mut dyn Source,
    /// Where they go.
    pub transport: &'a dyn Transport,
    /// Where refused ones go.
    pub dead_letters: Box<dyn DeadLetters>,
    /// Who watches.
    pub observer: &'a dyn Observer,
    /// What ends the run early.
    pub stop: &'a Stop,
}

impl Relay<'_> {
    /// Runs until the source has come to its end, the stop is requested, or something ends it. What is in
    /// flight then is finished (bounded by the transport's timeout) and what is done is committed.
    pub fn run(self) -> Result<Totals, RunError> {
        let now = Instant::now();
        let committer = self.source.committer();
        let lease = self.source.lease();
        let window = Window::new(self.settings.clone(), Jitter::new());
        let floor = Floor::new(window, lease, self.source.share());
        let mut run = Run {
            started: now,
            next_progress: now + PROGRESS_INTERVAL,
            next_commit: now + COMMIT_INTERVAL,
            rest_until: None,
            letters: Vec::new(),
            letters_due: now,
            letters_failed: 0,
            letters_closed: false,
            jitter: Jitter::new(),
            ended: false,
            held: Vec::new(),
            cannot_hold: false,
            heard: false,
            commit_failed: false,
            failure: None,
            committer,
            relay: self,
            floor: &floor,
        };
        run.relay.observer.on(&Event::Started);
        while run.take_batch() {
            run.deliver();
        }
        run.end()
    }
}

/// The state of the loop.
struct Run<'a, 'b> {
    relay: Relay<'a>,
    floor: &'b Floor,
    started: Instant,
    next_progress: Instant,
    next_commit: Instant,
    /// The batch interval: no batch starts before.
    rest_until: Option<Instant>,
    /// Refused records on their way to the dead letters.
    letters: Vec<Condemned>,
    letters_due: Instant,
    letters_failed: u32,
    /// The dead letters failed for good: what is refused from then on stays undone.
    letters_closed: bool,
    jitter: Jitter,
    /// The source has come to its end.
    ended: bool,
    /// The partitions that are full, as the source was told.
    held: Vec<Partition>,
    /// The source said that it can't hold partitions.
    cannot_hold: bool,
    /// The last poll brought something to be told.
    heard: bool,
    /// The last commit failed: the next one is not hurried.
    commit_failed: bool,
    failure: Option<RunError>,
    committer: Box<dyn Commit>,
}

impl Run<'_, '_> {
    /// Waits for records and admits them; `false` when there is nothing more to do.
    fn take_batch(&mut self) -> bool {
        while self.goes_on() {
            let want = self.floor.window().room();
            if self.poll(want, TICK) {
                self.rest();
                return self.goes_on();
            }
            self.look_after(Instant::now());
        }
        false
    }

    fn goes_on(&self) -> bool {
        !self.ended && self.may_settle_later() && self.floor.window().halted().is_none()
    }

    /// Waits out the batch interval. It comes between two batches: after the last there is nothing to wait for.
    fn rest(&mut self) {
        let Some(until) = self.rest_until.take() else { return };
        if until > Instant::now() {
            self.relay.observer.on(&Event::BatchInterval(self.relay.settings.batch_interval));
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.relay.stop.wait(left.min(TICK)) {
                return;
            }
            self.look_after(Instant::now());
        }
    }

    /// Asks the source once; says whether records were admitted.
    fn poll(&mut self, want: Want, wait: Duration) -> bool {
        let polled = self.relay.source.poll(want, wait);
        let observer = self.relay.observer;
        self.heard = matches!(&polled, Ok(polled) if !matches!(polled, Polled::Nothing | Polled::End));
        match polled {
            Ok(Polled::Nothing) => {}
            Ok(Polled::Records(records)) => {
                return self.floor.admit(records) > 0;
            }
            Ok(Polled::Passed(positions)) => {
                let mut window = self.floor.window();
                positions.iter().for_each(|position| window.pass(position));
            }
            Ok(Polled::Assigned(assigned)) => {
                let mut window = self.floor.window();
                for one in &assigned {
                    window.assign(&one.checkpoint);
                    if one.uncommitted {
                        window.begins_uncommitted(&one.checkpoint.position.partition);
                    }
                }
                drop(window);
                let checkpoints: Vec<Checkpoint> = assigned.into_iter().map(|one| one.checkpoint).collect();
                observer.on(&Event::Assigned(&checkpoints));
            }
            Ok(Polled::Revoked(partitions)) => {
                let mut window = self.floor.window();
                partitions.iter().for_each(|partition| window.revoke(partition));
                drop(window);
                observer.on(&Event::Revoked(&partitions));
                self.release();
            }
            Ok(Polled::Lost(partitions)) => {
                let mut window = self.floor.window();
                partitions.iter().for_each(|partition| window.lose(partition));
                drop(window);
                self.letters.retain(|c| !partitions.contains(c.letter.record.partition()));
                observer.on(&Event::Lost(&partitions));
            }
            Ok(Polled::Notice(notice)) => observer.on(&Event::Notice(&notice)),
            Ok(Polled::End) => self.ended = true,
            Err(error) => self.fail(RunError::Source(error)),
        }
        false
    }

    fn is_sliding(&self) -> bool {
        self.relay.settings.intake == Intake::Sliding
    }

    /// Sends the batch in the window, or with a sliding window everything until the end, and returns once every
    /// worker is joined.
    fn deliver(&mut self) {
        let (transport, observer, floor) = (self.relay.transport, self.relay.observer, self.floor);
        if !self.is_sliding() {
            floor.close();
        }
        let panicked = std::thread::scope(|scope| {
            let work = |number| move || floor.work(number, transport, observer);
            let (mut handles, mut panics) = (Vec::new(), Vec::new());
            let mut hire = || {
                // Those that have left are joined, so that there are never more handles than workers.
                let left =
                    handles.extract_if(.., |handle: &mut ScopedJoinHandle<'_, ()>| handle.is_finished());
                panics.extend(left.filter_map(|handle| handle.join().err()));
                handles.extend(floor.hire().map(|number| scope.spawn(work(number))));
            };
            let unwinding = worker::DrainOnPanic(floor);
            self.supervise(&mut hire);
            drop(unwinding);
            panics.extend(handles.into_iter().filter_map(|handle| handle.join().err()));
            panics.last().map(|panic| worker::panic_text(&**panic))
        });
        if let Some(text) = panicked {
            self.fail(RunError::Worker(text));
        }
        self.floor.window().open();
        if self.is_sliding() {
            return;
        }
        self.relay.observer.on(&Event::BatchJoined);
        self.commit();
        self.rest_until = Instant::now().checked_add(self.relay.settings.batch_interval);
    }

    /// Looks after everything but the sending itself until nothing is in flight and nothing will be.
    fn supervise(&mut self, hire: &mut dyn FnMut()) {
        let mut next_tick = Instant::now() + TICK;
        loop {
            let takes_more = self.is_sliding() && self.goes_on();
            let asked = takes_more && self.take_in(next_tick);
            hire();
            let deadline = if asked { Instant::now() } else { next_tick };
            let (condemned, quiet) = self.floor.await_news(deadline, takes_more);
            self.letters.extend(condemned);
            self.settle();
            if quiet && (self.letters.is_empty() || !self.may_settle_later()) {
                return;
            }
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.hear_news();
                self.look_after(now);
            }
        }
    }

    /// Hears all that there is to be told of partitions, and takes no records.
    fn hear_news(&mut self) {
        for _ in 0..MOST_NEWS {
            self.heard = false;
            self.poll(Want { records: 0, bytes: 0 }, Duration::ZERO);
            if !self.heard {
                return;
            }
        }
    }

    /// Takes in what there is room for, waiting for it until `deadline`; says whether it asked.
    fn take_in(&mut self, deadline: Instant) -> bool {
        self.hold_full();
        let window = self.floor.window();
        let (hungry, want) = (window.is_hungry(), window.room());
        drop(window);
        if hungry {
            self.poll(want, deadline.saturating_duration_since(Instant::now()));
            if self.ended {
                self.floor.close();
            }
        }
        hungry
    }

    /// Asks the source for no more of those partitions that are full, so that they don't hold back the others.
    fn hold_full(&mut self) {
        if self.cannot_hold {
            return;
        }
        let full = self.floor.window().full();
        if full == self.held {
            return;
        }
        self.cannot_hold = !self.relay.source.hold(&full);
        if !self.cannot_hold {
            self.floor.window().hold(&full);
            self.held = full;
        }
    }

    /// What has to be done every tick, whatever else goes on.
    fn look_after(&mut self, now: Instant) {
        self.check_patience(now);
        if self.failure.is_some() || self.relay.stop.requested() {
            self.drain();
        }
        if now >= self.next_commit {
            self.commit();
        }
        self.release();
        if now >= self.next_progress {
            self.next_progress = now + PROGRESS_INTERVAL;
            let snapshot = self.snapshot(now);
            self.relay.observer.on(&Event::Progress(&snapshot));
        }
    }

    fn drain(&mut self) {
        if self.floor.drain() {
            self.relay.observer.on(&Event::Draining);
        }
    }

    fn check_patience(&mut self, now: Instant) {
        let Some(patience) = self.relay.settings.patience else { return };
        let failing_since = self.floor.window().failing_since();
        if failing_since.is_some_and(|since| now.saturating_duration_since(since) >= patience) {
            self.fail(RunError::OutOfPatience(patience));
        }
    }

    fn fail(&mut self, error: RunError) {
        // The first fault is the one to tell; later ones tend to follow from it.
        self.failure.get_or_insert(error);
        self.drain();
    }

    // ---- dead letters --------------------------------------------------------------------------------------

    fn may_settle_later(&self) -> bool {
        self.failure.is_none() && !self.relay.stop.requested()
    }

    /// Puts refused records into the dead letters; only then do they count as done.
    fn settle(&mut self) {
        if self.letters_closed {
            self.letters.clear();
        }
        let now = Instant::now();
        let Some(first) = self.letters.first() else { return };
        if now < self.letters_due {
            return;
        }
        let first = first.letter.record.clone();
        let letters: Vec<Letter> = self.letters.iter().map(|condemned| condemned.letter.clone()).collect();
        match self.relay.dead_letters.put(&letters) {
            Ok(()) => self.settled(),
            Err(DeadLetterError::Retriable(error)) => {
                self.letters_failed = self.letters_failed.saturating_add(1);
                let (min, max) = SETTLE_BACKOFF;
                let backoff = Backoff::new(min, max).unwrap_or_default();
                let delay = backoff.delay(self.letters_failed, Some(min), &mut self.jitter);
                self.letters_due = now + delay;
                let event = Event::DeadLettersUnavailable { delay, error: &error };
                self.relay.observer.on(&event);
            }
            Err(error @ DeadLetterError::Fatal(_)) => {
                let fate = Fate::Stopped;
                let refusal = &letters[0].refusal;
                self.relay.observer.on(&Event::Refused { record: &first, refusal, fate });
                self.letters_closed = true;
                self.letters.clear();
                self.fail(RunError::DeadLetters(error));
            }
        }
    }

    fn settled(&mut self) {
        self.letters_failed = 0;
        let settled = std::mem::take(&mut self.letters);
        self.floor.settled(&settled);
        for Condemned { letter: Letter { record, refusal }, .. } in &settled {
            self.relay.observer.on(&Event::Refused { record, refusal, fate: Fate::DeadLettered });
        }
    }

    // ---- commits -------------------------------------------------------------------------------------------

    /// Commits what is done; says whether nothing is left to commit.
    fn commit(&mut self) -> bool {
        self.next_commit = Instant::now() + COMMIT_INTERVAL;
        self.commit_failed = false;
        let checkpoints = self.floor.window().to_commit();
        if checkpoints.is_empty() {
            return true;
        }
        match self.committer.commit(&checkpoints) {
            Ok(()) => {
                self.floor.window().committed(&checkpoints);
                self.relay.observer.on(&Event::Committed(&checkpoints));
                true
            }
            Err(CommitError::Retriable(error)) => {
                self.relay.observer.on(&Event::CommitFailed { error: &error });
                self.commit_failed = true;
                false
            }
            Err(CommitError::Fenced(error)) => {
                // Somebody else has the partitions and will send from what was committed before.
                self.relay.observer.on(&Event::CommitFailed { error: &error });
                let partitions: Vec<Partition> =
                    checkpoints.into_iter().map(|checkpoint| checkpoint.position.partition).collect();
                let mut window = self.floor.window();
                partitions.iter().for_each(|partition| window.lose(partition));
                drop(window);
                self.relay.observer.on(&Event::Lost(&partitions));
                true
            }
            Err(error @ CommitError::Fatal(_)) => {
                self.fail(RunError::Commit(error));
                true
            }
        }
    }

    /// Gives up revoked partitions whose records have finished and are committed.
    fn release(&mut self) {
        let waiting =
            |letters: &[Condemned], p: &Partition| letters.iter().any(|c| c.letter.record.partition() == p);
        let mut partitions = self.floor.window().releasable();
        partitions.retain(|partition| !waiting(&self.letters, partition));
        let hurried = self.commit_failed && Instant::now() < self.next_commit;
        if partitions.is_empty() || hurried || !self.commit() {
            return;
        }
        let mut window = self.floor.window();
        partitions.iter().for_each(|partition| window.released(partition));
        drop(window);
        self.relay.source.release(&partitions);
    }

    // ---- the end -------------------------------------------------------------------------------------------

    fn end(mut self) -> Result<Totals, RunError> {
        self.drain();
        if let Some(halt) = self.floor.window().halted().cloned() {
            let (Halt::Refused(letter) | Halt::TooManyRefused(letter, _) | Halt::Gone(letter)) = &halt;
            let event =
                Event::Refused { record: &letter.record, refusal: &letter.refusal, fate: Fate::Stopped };
            self.relay.observer.on(&event);
            self.failure.get_or_insert(match halt {
                Halt::Refused(letter) => RunError::Refused(letter),
                Halt::TooManyRefused(letter, threshold) => RunError::TooManyRefused(letter, threshold),
                Halt::Gone(letter) => RunError::Gone(letter),
            });
        }
        self.commit_for_the_last_time();
        self.relay.source.close();
        let totals = self.snapshot(Instant::now()).totals;
        self.relay.observer.on(&Event::Ended(&totals));
        self.failure.map_or(Ok(totals), Err)
    }

    fn commit_for_the_last_time(&mut self) {
        let deadline = Instant::now() + LAST_COMMIT_TIMEOUT;
        let (min, max) = SETTLE_BACKOFF;
        let backoff = Backoff::new(min, max).unwrap_or_default();
        let mut failures = 0;
        while !self.commit() {
            failures += 1;
            let delay = backoff.delay(failures, Some(min), &mut self.jitter);
            if Instant::now() + delay >= deadline {
                let text = format!("the commit was tried {failures} times in {LAST_COMMIT_TIMEOUT:?}");
                self.failure.get_or_insert(RunError::Commit(CommitError::Retriable(text)));
                return;
            }
            std::thread::sleep(delay);
        }
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let ends = self.relay.source.ends();
        let window = self.floor.window();
        let totals = Totals { elapsed: now.saturating_duration_since(self.started), ..window.totals() };
        Snapshot {
            totals,
            in_flight: window.in_flight(),
            limit: window.limit(),
            retrying: window.retrying(),
            under_way: window.len(),
            lag: lag(&window, &ends),
            oldest: window.oldest().map(|since| now.saturating_duration_since(since)),
            paused: window.is_paused(),
        }
    }
}

/// The records that are not done, over the partitions whose ends are known; holes count as records.
fn lag(window: &Window, ends: &[(Partition, record::Offset)]) -> Option<u64> {
    let ends: HashMap<_, _> = ends.iter().map(|(partition, end)| (partition, *end)).collect();
    let behind = window.watermarks().filter_map(|(partition, watermark)| {
        ends.get(partition).map(|end| u64::try_from(end.0 - watermark.0).unwrap_or(0))
    });
    (!ends.is_empty()).then(|| behind.sum())
}

/// Positions sorted and shown for people: `orders-0@17, orders-1@4`.
pub fn list(checkpoints: &[Checkpoint]) -> String {
    let mut names: Vec<String> = checkpoints.iter().map(Checkpoint::to_string).collect();
    names.sort();
    names.join(", ")
}
