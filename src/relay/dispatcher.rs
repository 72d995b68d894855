//! Which record is sent next, what its answer means for it, and what may be committed: schedule, ledger and brakes as
//! one state machine.
//!
//! Pure: it takes `now` and never sleeps, locks or prints. Invariants:
//!
//! - a record counts as done only when it was accepted, is durably kept as a dead letter, or was dropped by explicit
//!   wish (invariant 2);
//! - with an order asked for, a record is handed out only after its predecessor is done (invariant 3);
//! - no record of a revoked or lost partition is handed out, and no result for a lost one counts (invariant 6);
//! - a failure that the destination may have caused does not count against the record (see [`blame`](self#blame)).
//!
//! # Blame
//! A pause is a guess that the destination is in trouble. Once another record is accepted after it, the record that
//! was turned away is a *suspect*: it has a backoff of its own, and being turned away again pauses nothing. Whether
//! that counts against the record depends on what could explain it. Credentials and addresses (401, 404, ...) are the
//! same for all: it counts once another is accepted after it as before it, and none was turned away between. Load (429,
//! 503, ...) is ruled out by a *trial* alone. Neither counts while the destination comes and goes: see `pause`.
//!
//! | room | what is in it |
//! |---|---|
//! | `answers` | what an answer means for its record, the destination, and records turned away before |
//! | `intake` | partitions and records that come in |
//! | `outcome` | what became of a record after an attempt |
//! | `queries` | figures and states |

mod answers;
mod intake;
mod outcome;
mod queries;

use super::brakes::Brakes;
use super::dead_letter::DeadLetter;
use super::destinations::{Probes, SentRequests};
use super::event::{Change, Totals};
use super::ledger::{Ledger, WindowBounds};
use super::pause::{ProbeCandidate, Readiness, SentRequest};
use super::rejection_limit::RejectionCounter;
use super::run_error::RunError;
use super::schedule::Schedule;
use super::settings::{Intake, RelaySettings};
use super::transport::{Attempt, Target};
use crate::record::Record;
use crate::timing::jitter::Jitter;
use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

pub use outcome::{Answered, Outcome};

/// Records and targets examined, at most, to find a record to send.
const MOST_LOOKS: usize = 256;
/// The longest wait before each request of a trial.
const LONGEST_TRIAL_WAIT: Duration = Duration::from_secs(2);
/// Suspects are at most 1/8 of the window; with more, the destination is to blame.
const SUSPECT_PART: usize = 8;
/// This many suspects are always allowed.
const FEWEST_SUSPECTS: usize = 4;

/// The right and the duty to send one record once, with its permit. It holds the record; handing it back with the
/// answer is the only way on.
#[derive(Debug)]
#[must_use = "a record whose ticket is dropped is never finished"]
pub struct Ticket<P> {
    sequence: u64,
    epoch: u64,
    record: Record,
    target: Target,
    attempt: Attempt,
    sendings: SentRequests,
    permit: P,
}

impl<P> Ticket<P> {
    /// What to send.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Which attempt this is, and how it is to be sent.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// Whether it goes ahead of all others to see if a paused destination is back.
    pub fn is_probe(&self) -> bool {
        self.sendings.origin.is_probe || self.sendings.target.is_probe
    }

    /// When it was handed out.
    pub fn sent(&self) -> Instant {
        self.sendings.origin.sent
    }
}

/// What a worker does next.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "moved once, on the stack, for each request")]
pub enum Next<P> {
    /// Send this.
    Send(Ticket<P>),
    /// Nothing may go now; ask again at this time, or when something has changed.
    Wait(Option<Instant>),
    /// There will be nothing more.
    Finished,
}

/// A rejected record that is to be written to the dead letters.
#[derive(Debug)]
pub struct PendingDeadLetter {
    sequence: u64,
    epoch: u64,
    /// What to keep.
    pub letter: DeadLetter,
}

/// The records under way, the partitions they are of, and what holds them back.
#[derive(Debug)]
pub struct Dispatcher {
    settings: RelaySettings,
    jitter: Jitter,
    schedule: Schedule,
    ledger: Ledger,
    brakes: Brakes,
    rejections: Option<RejectionCounter>,
    /// Rejected records to be written, not handed over yet.
    letters: Vec<PendingDeadLetter>,
    /// Nothing is admitted for now: a batch is being sent, or the source has ended.
    closed: bool,
    draining: bool,
    /// Records admitted since the last batch ended.
    taken: usize,
    /// Why nothing more is sent, for good.
    stopped: Option<RunError>,
    /// Since when attempts have failed without an acceptance, and the last cause.
    failing: Option<(Instant, String)>,
    /// A target with a pause of its own has a record to probe with.
    wants_probe: bool,
    /// Sending is paused and every ready record was turned away before. The batch ends nevertheless: the next one may
    /// bring a record to probe with.
    rests: bool,
    /// Changes to report, in order.
    changes: VecDeque<Change>,
    totals: Totals,
}

/// Which record goes next.
enum Choice {
    Record(u64, Probes),
    Wait(Option<Instant>),
    /// Something changed: look once more.
    Again,
}

impl Dispatcher {
    /// Nothing under way.
    pub fn new(settings: RelaySettings, jitter: Jitter) -> Self {
        let bounds = WindowBounds { window: settings.window_size.get(), bytes: settings.batch_bytes.get() };
        Self {
            schedule: Schedule::new(settings.order),
            ledger: Ledger::new(bounds),
            brakes: Brakes::new(&settings),
            rejections: settings.max_rejected.map(RejectionCounter::new),
            settings,
            jitter,
            letters: Vec::new(),
            closed: false,
            draining: false,
            stopped: None,
            failing: None,
            wants_probe: false,
            rests: false,
            changes: VecDeque::new(),
            taken: 0,
            totals: Totals::default(),
        }
    }

    // ---- sending -------------------------------------------------------------------------------------------

    /// What a worker that holds a permit does next.
    pub fn next<P>(&mut self, permit: P, now: Instant, wall: SystemTime) -> Next<P> {
        if self.is_finished() {
            return Next::Finished;
        }
        self.wake_due(now);
        for _ in 0..MOST_LOOKS {
            match self.choose(now) {
                Choice::Again => {}
                Choice::Wait(until) => return Next::Wait(until),
                Choice::Record(sequence, probes) => {
                    if let Some(free_at) = self.brakes.rate_free_at(now) {
                        return Next::Wait(Some(free_at));
                    }
                    return match self.hand_out(sequence, probes, permit, now, wall) {
                        Some(ticket) => Next::Send(ticket),
                        None => Next::Wait(self.next_due()),
                    };
                }
            }
        }
        // Enough for one call; the next caller goes on at once.
        Next::Wait(Some(now))
    }

    fn choose(&mut self, now: Instant) -> Choice {
        match self.brakes.destinations.origin().passage(now) {
            Readiness::Wait(until) => Choice::Wait(until),
            Readiness::Probe(candidate) => self.choose_probe(Target::ONLY, candidate, now),
            Readiness::Open => match self.due_probe(now) {
                Some((target, candidate)) => self.choose_probe(target, candidate, now),
                None => self.choose_any(now),
            },
        }
    }

    /// The record that probes a paused destination, or takes part in a trial.
    fn choose_probe(&mut self, target: Target, candidate: ProbeCandidate, now: Instant) -> Choice {
        let is_origin = target == Target::ONLY;
        let of = (!is_origin).then_some(target);
        let chosen = match candidate {
            ProbeCandidate::Any { from } => self.schedule.probe(from, of),
            ProbeCandidate::Suspect(suspect) => self.schedule.ready(suspect),
            ProbeCandidate::Innocent => self.schedule.probe(0, of).filter(|_| self.schedule.has_innocent(of)),
        };
        match (chosen, candidate) {
            (Some(sequence), _) => Choice::Record(sequence, Probes { origin: is_origin, target: !is_origin }),
            (None, ProbeCandidate::Any { .. }) => self.choose_aside(now),
            (None, ProbeCandidate::Suspect(_)) => {
                self.brakes.destinations.of_mut(target).end_trial(now);
                self.review(target, now);
                Choice::Again
            }
            (None, ProbeCandidate::Innocent) => {
                self.conclude_without_another(target, now);
                self.review(target, now);
                Choice::Again
            }
        }
    }

    /// The origin is to be probed, and all that is ready is of targets that are paused by themselves.
    fn choose_aside(&mut self, now: Instant) -> Choice {
        let chosen = self.due_probe(now).and_then(|(target, _)| self.schedule.probe(0, Some(target)));
        match chosen {
            Some(sequence) => Choice::Record(sequence, Probes { origin: true, target: true }),
            None => Choice::Wait(self.next_due()),
        }
    }

    /// The oldest ready record; where it would be a retry beyond the budget, the oldest that was never sent.
    fn choose_any(&mut self, now: Instant) -> Choice {
        let Some(first) = self.schedule.first() else { return Choice::Wait(self.next_due()) };
        let fresh = self.schedule.first_fresh();
        let chosen = match self.brakes.retry_free_at(now).filter(|_| fresh != Some(first)) {
            None => first,
            Some(free_at) => match fresh {
                Some(fresh) => fresh,
                None => return Choice::Wait(Some(free_at)),
            },
        };
        let Some(slot) = self.schedule.get(chosen) else { return Choice::Wait(self.next_due()) };
        let target = slot.target;
        if self.brakes.destinations.is_known(target)
            && self.brakes.destinations.passage(target, now) != Readiness::Open
        {
            self.review(target, now);
            return Choice::Again;
        }
        if let Some(wait) = self.trial_wait(chosen) {
            match self.brakes.destinations.of_mut(target).try_suspect(chosen, wait, now) {
                Ok(()) => self.review(target, now),
                Err(not_before) => self.schedule.postpone(chosen, not_before),
            }
            return Choice::Again;
        }
        Choice::Record(chosen, Probes::default())
    }

    /// How long nothing else is sent before a suspect, where only a trial can tell whether its failures count.
    fn trial_wait(&self, sequence: u64) -> Option<Duration> {
        if self.settings.max_attempts.is_none() && self.settings.max_age.is_none() {
            return None;
        }
        let turned_away = self.schedule.get(sequence)?.turned_away.as_ref()?;
        (turned_away.is_suspect && turned_away.may_be_load).then(|| self.fair_wait())
    }

    /// How long nothing else is sent before a request of a trial. Short: an outage that lasts longer than two of these
    /// meets the other requests of the trial too.
    fn fair_wait(&self) -> Duration {
        self.settings.backoff.ceiling(1).min(LONGEST_TRIAL_WAIT)
    }

    fn hand_out<P>(
        &mut self,
        sequence: u64,
        probes: Probes,
        permit: P,
        now: Instant,
        wall: SystemTime,
    ) -> Option<Ticket<P>> {
        let record = self.schedule.take(sequence)?;
        let slot = self.schedule.get_mut(sequence)?;
        slot.attempts = slot.attempts.saturating_add(1);
        slot.first_attempt.get_or_insert((now, wall));
        let (target, epoch, number) = (slot.target, slot.epoch, slot.attempts);
        let is_probe = probes.origin || probes.target;
        let attempt = Attempt { number, new_connection: is_probe || std::mem::take(&mut slot.was_stale) };
        // Invariant 6.
        assert!(!self.ledger.is_leaving(epoch), "nothing new of a revoked partition is sent");
        self.ledger.mark_busy(epoch);
        let accepted_before = self.brakes.destinations.of(target).accepted_sent();
        let alone_for = self.brakes.destinations.sent(target, sequence, probes, now);
        self.brakes.started(number > 1 || is_probe, now);
        self.totals.attempts += 1;
        let sending = |is_probe| SentRequest { sequence, sent: now, is_probe, alone_for, accepted_before };
        let sendings = SentRequests { origin: sending(probes.origin), target: sending(probes.target) };
        Some(Ticket { sequence, epoch, record, target, attempt, sendings, permit })
    }

    // ---- time and targets ----------------------------------------------------------------------------------

    fn wake_due(&mut self, now: Instant) {
        let targets = match self.is_ending() {
            true => self.schedule.targets_that_got_one(),
            false => self.schedule.wake_due(now),
        };
        targets.into_iter().for_each(|target| self.comes_ready(target, now));
        self.rests = self.settings.intake == Intake::Batch
            && self.schedule.first_fresh().is_none()
            && self.brakes.destinations.origin().pauses_beyond(now).is_some();
        self.wants_probe = self.due_probe(now).is_some();
    }

    /// The first target that is due for a probe and has a record for it.
    fn due_probe(&mut self, now: Instant) -> Option<(Target, ProbeCandidate)> {
        for _ in 0..MOST_LOOKS {
            let (_, target) = self.brakes.destinations.next_due().filter(|(at, _)| *at <= now)?;
            match self.brakes.destinations.passage(target, now) {
                Readiness::Probe(candidate) if self.schedule.probe(0, Some(target)).is_some() => {
                    return Some((target, candidate));
                }
                // Until a record comes: see `comes_ready`.
                Readiness::Probe(_) => self.brakes.destinations.set_aside(target, None),
                Readiness::Open | Readiness::Wait(_) => self.review(target, now),
            }
        }
        None
    }

    /// A record of the target is ready: a probe that waited for one may go.
    fn comes_ready(&mut self, target: Target, now: Instant) {
        if self.brakes.destinations.waits_for_records(target) {
            self.review(target, now);
        }
    }

    /// Sets the target's records aside while it is paused, and brings them back afterwards.
    fn review(&mut self, target: Target, now: Instant) {
        if !self.brakes.destinations.is_known(target) {
            return;
        }
        match self.brakes.destinations.passage(target, now) {
            Readiness::Open => {
                if self.brakes.destinations.bring_back(target) {
                    self.schedule.resume_target(target);
                }
            }
            passage => {
                let until = if let Readiness::Wait(until) = passage { until } else { Some(now) };
                self.schedule.pause_target(target);
                self.brakes.destinations.set_aside(target, until);
            }
        }
    }

    /// Whether the batch has sent all its new records: retries that come due from now on are carried over, or a batch
    /// with many failing records would never end.
    fn is_ending(&self) -> bool {
        self.settings.intake == Intake::Batch && self.closed && self.schedule.first_fresh().is_none()
    }

    fn next_due(&self) -> Option<Instant> {
        let of_targets = self.brakes.destinations.next_due().map(|(at, _)| at);
        let of_records = self.schedule.next_due().filter(|_| !self.is_ending());
        let of_pause = self.brakes.destinations.origin().paused_until().filter(|_| self.rests);
        of_targets.into_iter().chain(of_records).chain(of_pause).min()
    }

    fn most_suspects(&self) -> usize {
        let window = match self.settings.intake {
            Intake::Batch => self.settings.batch_size.get(),
            Intake::Sliding => self.settings.window_size.get(),
        };
        (window / SUSPECT_PART).max(FEWEST_SUSPECTS)
    }
}
