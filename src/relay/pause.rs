//! One destination: open, or paused until a probe is accepted; and what its answers say about the records that it turns
//! away.
//!
//! Invariants: while it is paused nothing is sent to it but one probe at a time, and none before the time that the
//! destination asked for. A pause is a guess that the destination is in trouble; a *trial* is the experiment that
//! tells whether one record is: another record sent alone after a wait, then that record, then two others, each alone
//! after the same wait. Only if all others are accepted and it is turned away, load and absence explain nothing.
//!
//! # Steadiness
//! A destination that comes and goes can do so between two requests, and then any comparison blames the record that met
//! it. The longer a comparison takes, the more fits into it; so it counts only if the destination was steady for some
//! times as long before it: see [`Pause::is_steady`]. What tells is a record that was turned away and later accepted,
//! where load can't have been the reason: it is the destination that has changed, since the record has not.
//!
//! Pure: takes `now`, never sleeps. It knows records only by their sequence number.

use super::pacing::Pacing;
use super::sliding_count::SlidingCount;
use super::verdict::PauseCause;
use crate::timing::backoff::Backoff;
use crate::timing::jitter::Jitter;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Records remembered, at most, that were turned away with no acceptance since.
const MOST_ACCUSED: usize = 64;
/// Before a comparison, the destination must have been steady for this many times its duration,
const STEADY_BEFORE: u32 = 4;
/// and at most for this long.
const LONGEST_STEADY: Duration = Duration::from_secs(60);
/// With at most this many other requests in flight, a rate limit was not hit by concurrency.
const FEW_AT_ONCE: usize = 1;
/// After a trial, the next one waits for this many times its duration.
const REST_AFTER_TRIAL: u32 = 4;
/// Pacing begins only if another record was turned away within this time too.
const RECENT: Duration = Duration::from_secs(10);
/// The time span of acceptances that sets the first rate, and the shortest one that counts.
const SPAN: Duration = Duration::from_secs(1);
const SHORTEST_SPAN: Duration = Duration::from_millis(50);
/// The slices of that span.
const SLICES: usize = 10;

/// Whether a record may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It may.
    Open,
    /// It may, as the only probe.
    Probe(ProbeCandidate),
    /// Not until then; without a time, not until the next answer.
    Wait(Option<Instant>),
}

/// Which record to probe with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeCandidate {
    /// Preferably one that is not a suspect and was not the last one turned away.
    Any {
        /// The number to begin at.
        from: u64,
    },
    /// The suspect whose trial this is.
    Suspect(u64),
    /// Any record but suspects: the trial's comparison.
    Innocent,
}

/// A request in flight, as the pause sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentRequest {
    pub(crate) sequence: u64,
    pub(crate) sent: Instant,
    pub(crate) is_probe: bool,
    /// How long nothing else was in flight before it was sent; zero if something was.
    pub(crate) alone_for: Duration,
    /// When the last request started that was accepted before this one was sent.
    pub(crate) accepted_before: Option<Instant>,
}

/// What an answer did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PauseEffect {
    /// It is paused from now on, for this long. Not for a trial.
    pub(crate) paused: Option<Duration>,
    /// It is open again after this long.
    pub(crate) reopened: Option<Duration>,
    /// Another record was accepted after these were turned away.
    pub(crate) accused: Vec<u64>,
    /// A trial's outcome: load explains nothing of what this record is answered.
    pub(crate) guilty: Option<u64>,
    /// Pacing begins at this rate, in requests a second.
    pub(crate) paced: Option<f64>,
}

/// The destination, or one target of it.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    backoff: Backoff,
    pause_after: NonZeroU32,
    /// Concurrency is adapted elsewhere: too many requests at once are no reason to lower the rate.
    limit_is_found: bool,
    state: PauseState,
    pacing: Option<Pacing>,
    /// No trial begins before.
    no_trial_before: Option<Instant>,
    accepted: SlidingCount<SLICES>,
    /// When the first record went out to it.
    began: Option<Instant>,
    failures_in_a_row: u32,
    /// Requests on their way to it.
    in_flight: usize,
    /// The request that has been on its way alone so far.
    alone: Option<u64>,
    /// When a request started or ended last.
    last_activity: Option<Instant>,
    /// When the last accepted request started.
    accepted_sent: Option<Instant>,
    /// The last record accepted alone: when it started, and after what wait.
    control: Option<(Instant, Duration)>,
    /// The last two different records that were turned away, the latest first.
    turned_away: [Option<(u64, Instant)>; 2],
    /// Records that were turned away, and when, until another that was sent later is accepted.
    accused: Vec<(u64, Instant)>,
    /// When it last accepted a record that it had turned away although load can't have been the reason.
    changed: Option<Instant>,
}

#[derive(Clone, Debug)]
enum PauseState {
    /// Open; after a pause, for at most this many requests at once.
    Open { most: Option<usize> },
    /// Paused.
    Paused(Paused),
}

#[derive(Clone, Debug)]
struct Paused {
    since: Instant,
    until: Instant,
    failed_probes: u32,
    is_probing: bool,
    /// Probes don't begin before this record where there are others.
    probe_from: u64,
    trial: Option<Trial>,
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    suspect: u64,
    wait: Duration,
    stage: Stage,
    /// When the first other record was sent that was accepted.
    began: Option<Instant>,
}

/// How far a trial has come: which record is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Another, which has to be accepted.
    Before,
    /// The suspect.
    Suspect,
    /// Another, which has to be accepted: the suspect was turned away.
    After,
    /// One more, which has to be accepted after the same wait as the suspect: where requests are let in at a slow rate,
    /// the one after the suspect has had twice the time.
    Again,
}

impl Pause {
    /// Open.
    pub(super) fn new(backoff: Backoff, pause_after: NonZeroU32, limit_is_found: bool) -> Self {
        Self {
            backoff,
            pause_after,
            limit_is_found,
            state: PauseState::Open { most: None },
            pacing: None,
            no_trial_before: None,
            accepted: SlidingCount::new(SPAN),
            began: None,
            failures_in_a_row: 0,
            in_flight: 0,
            alone: None,
            last_activity: None,
            accepted_sent: None,
            control: None,
            turned_away: [None; 2],
            accused: Vec::new(),
            changed: None,
        }
    }

    /// Whether a record may be sent at `now`.
    pub(super) fn passage(&self, now: Instant) -> Readiness {
        match &self.state {
            PauseState::Open { most: Some(most) } if self.in_flight >= *most => Readiness::Wait(None),
            PauseState::Open { .. } => match self.pacing.as_ref().and_then(|pacing| pacing.free_at(now)) {
                Some(at) => Readiness::Wait(Some(at)),
                None => Readiness::Open,
            },
            PauseState::Paused(closed) if closed.is_probing => Readiness::Wait(None),
            PauseState::Paused(closed) if closed.trial.is_some() && self.in_flight > 0 => {
                Readiness::Wait(None)
            }
            PauseState::Paused(closed) if now < closed.until => Readiness::Wait(Some(closed.until)),
            PauseState::Paused(closed) => Readiness::Probe(match closed.trial {
                None => ProbeCandidate::Any { from: closed.probe_from },
                Some(Trial { stage: Stage::Suspect, suspect, .. }) => ProbeCandidate::Suspect(suspect),
                Some(_) => ProbeCandidate::Innocent,
            }),
        }
    }

    /// Whether it is paused, be it for a trial.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, PauseState::Paused(_))
    }

    /// Since when it is paused, a trial aside.
    pub(super) fn paused_since(&self) -> Option<Instant> {
        match &self.state {
            PauseState::Paused(closed) if closed.trial.is_none() => Some(closed.since),
            _ => None,
        }
    }

    /// Until when it is paused, a trial aside, and nothing on its way would end that.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        match &self.state {
            PauseState::Paused(closed) if closed.trial.is_none() && !closed.is_probing => Some(closed.until),
            _ => None,
        }
    }

    /// The same, where that time has not come.
    pub(super) fn pauses_beyond(&self, now: Instant) -> Option<Instant> {
        self.paused_until().filter(|until| *until > now)
    }

    /// Whether it holds no state worth keeping.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.pacing.is_none() && matches!(self.state, PauseState::Open { .. })
    }

    /// A record is sent. Returns how long nothing else was in flight.
    pub(super) fn sent(&mut self, sequence: u64, is_probe: bool, now: Instant) -> Duration {
        let quiet_since = self.last_activity.filter(|_| self.in_flight == 0);
        let alone_for = match (self.in_flight, quiet_since) {
            (0, Some(since)) => now.saturating_duration_since(since),
            (0, None) => Duration::MAX,
            _ => Duration::ZERO,
        };
        self.began.get_or_insert(now);
        self.alone = (self.in_flight == 0).then_some(sequence);
        self.in_flight += 1;
        self.last_activity = Some(now);
        if let PauseState::Paused(closed) = &mut self.state {
            debug_assert!(is_probe && !closed.is_probing, "while it is paused one probe goes at a time");
            closed.is_probing |= is_probe;
        }
        if let Some(pacing) = &mut self.pacing {
            pacing.sent(now);
        }
        self.pacing = self.pacing.take().filter(|pacing| !pacing.is_over(now));
        alone_for
    }

    /// A request has ended. Returns whether it was the only one in flight all the time.
    fn ended(&mut self, sending: &SentRequest, now: Instant) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.last_activity = Some(now);
        if let PauseState::Paused(closed) = &mut self.state {
            closed.is_probing &= !sending.is_probe;
            if let Some(trial) = closed.trial.filter(|_| self.in_flight == 0) {
                closed.until = now.checked_add(trial.wait).unwrap_or(now);
            }
        }
        self.alone.take_if(|alone| *alone == sending.sequence).is_some()
    }

    /// A request ended without saying anything about the destination.
    pub(super) fn inconclusive(&mut self, sending: &SentRequest, now: Instant) {
        self.ended(sending, now);
        if sending.is_probe {
            self.end_trial(now);
        }
    }

    /// Ends the trial, if there is one.
    pub(super) fn end_trial(&mut self, now: Instant) {
        if let PauseState::Paused(Paused { since, trial: Some(_), .. }) = &self.state {
            let took = now.saturating_duration_since(*since);
            self.no_trial_before = now.checked_add(took.saturating_mul(REST_AFTER_TRIAL));
            self.state = PauseState::Open { most: None };
        }
    }

    /// The destination works: it accepted a record, or rejected one because of the record.
    pub(super) fn works(&mut self, sending: &SentRequest, limit: usize, now: Instant) -> PauseEffect {
        let was_alone = self.ended(sending, now);
        self.failures_in_a_row = 0;
        self.accepted.add(false, now);
        if let Some(pacing) = &mut self.pacing {
            pacing.accepted();
        }
        self.accepted_sent = self.accepted_sent.max(Some(sending.sent));
        if was_alone {
            self.control = Some((sending.sent, sending.alone_for));
        }
        let mut effect = PauseEffect::default();
        match &mut self.state {
            PauseState::Open { most } => {
                *most = most.map(|most| most + 1).filter(|most| *most < limit);
                effect.accused = self.accused_before(sending.sent);
            }
            PauseState::Paused(closed) if sending.is_probe => {
                match closed.trial {
                    None => {
                        effect.reopened = Some(now.saturating_duration_since(closed.since));
                        // Too many requests at once may have been the cause: concurrency grows step by step.
                        self.state = PauseState::Open { most: Some(2).filter(|most| *most < limit) };
                    }
                    Some(trial) => effect.guilty = self.accepted_in_trial(trial, sending, now),
                }
                effect.accused = self.accused_before(sending.sent);
            }
            // It was sent before the pause began: it neither ends nor lengthens it.
            PauseState::Paused(_) => {}
        }
        effect
    }

    /// A record was accepted in a trial. Returns the suspect if that proves it guilty.
    fn accepted_in_trial(&mut self, trial: Trial, sending: &SentRequest, now: Instant) -> Option<u64> {
        let next = match trial.stage {
            _ if trial.suspect == sending.sequence => None,
            Stage::Before => Some(Trial { stage: Stage::Suspect, began: Some(sending.sent), ..trial }),
            Stage::After => Some(Trial { stage: Stage::Again, ..trial }),
            Stage::Suspect | Stage::Again => None,
        };
        if let Some(next) = next {
            self.go_on_with_trial(next, now);
            return None;
        }
        self.end_trial(now);
        let is_steady = trial.began.is_some_and(|began| self.is_steady(trial.suspect, began, now));
        Some(trial.suspect).filter(|suspect| *suspect != sending.sequence && is_steady)
    }

    /// The records that were turned away before this time; each is returned once.
    fn accused_before(&mut self, sent: Instant) -> Vec<u64> {
        if self.accused.is_empty() {
            return Vec::new();
        }
        self.accused.extract_if(.., |(_, at)| *at < sent).map(|(sequence, _)| sequence).collect()
    }

    /// A request failed, perhaps because of the record.
    pub(super) fn failed(&mut self, sending: &SentRequest, now: Instant, jitter: &mut Jitter) -> PauseEffect {
        self.ended(sending, now);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let mut effect = PauseEffect::default();
        match &self.state {
            PauseState::Open { .. } if self.failures_in_a_row >= self.pause_after.get() => {
                effect.paused = Some(self.close(sending.sequence, None, now, jitter));
            }
            PauseState::Paused(closed) if sending.is_probe && closed.trial.is_none() => {
                self.probe_failed(sending.sequence, None, now, jitter);
            }
            PauseState::Paused(_) if sending.is_probe => self.end_trial(now),
            PauseState::Open { .. } | PauseState::Paused(_) => {}
        }
        effect
    }

    /// The destination turned a record away, perhaps because of its own state.
    pub(super) fn turned_away(
        &mut self,
        sending: &SentRequest,
        (after, cause): (Option<Duration>, PauseCause),
        is_suspect: bool,
        now: Instant,
        jitter: &mut Jitter,
    ) -> PauseEffect {
        self.ended(sending, now);
        self.note_turned_away(sending.sequence, now);
        let mut effect = PauseEffect::default();
        if cause == PauseCause::Rate && !is_suspect {
            effect.paced = self.pace(sending, now);
        }
        if !is_suspect {
            self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        }
        // Of a suspect that load may excuse, only a trial tells more.
        if !is_suspect || !cause.may_be_load() {
            self.accuse(sending.sequence, now);
        }
        match &self.state {
            PauseState::Open { .. } if is_suspect => {}
            PauseState::Open { .. } => {
                effect.paused = Some(self.close(sending.sequence, after, now, jitter));
            }
            PauseState::Paused(closed) if sending.is_probe => match closed.trial {
                Some(trial) if trial.suspect == sending.sequence => {
                    self.go_on_with_trial(Trial { stage: Stage::After, ..trial }, now);
                }
                // The comparison was turned away as well: it is the destination after all.
                Some(_) => effect.paused = Some(self.close(sending.sequence, after, now, jitter)),
                None => self.probe_failed(sending.sequence, after, now, jitter),
            },
            // Requests in flight together say the same; only a longer `Retry-After` counts.
            PauseState::Paused(_) => self.lengthen(after, now),
        }
        effect
    }

    fn lengthen(&mut self, after: Option<Duration>, now: Instant) {
        let wished = after.and_then(|after| now.checked_add(after));
        if let (PauseState::Paused(closed), Some(wished)) = (&mut self.state, wished) {
            closed.until = closed.until.max(wished);
        }
    }

    fn go_on_with_trial(&mut self, trial: Trial, now: Instant) {
        if let PauseState::Paused(closed) = &mut self.state {
            closed.until = now.checked_add(trial.wait).unwrap_or(now);
            closed.trial = Some(trial);
        }
    }

    /// No other record is there to begin the trial with: the suspect is sent first.
    pub(super) fn skip_the_first(&mut self) {
        if let PauseState::Paused(Paused { trial: Some(trial), .. }) = &mut self.state
            && trial.stage == Stage::Before
        {
            trial.stage = Stage::Suspect;
        }
    }

    fn pace(&mut self, sending: &SentRequest, now: Instant) -> Option<f64> {
        let recently = now.checked_sub(RECENT).unwrap_or(now);
        let meets_others = self.turned_another_away(sending.sequence, recently);
        match &mut self.pacing {
            Some(pacing) => {
                pacing.turned_away(sending.sent, now);
                None
            }
            None if self.limit_is_found && self.in_flight > FEW_AT_ONCE => None,
            // One record alone may be what is turned away, whatever the pace.
            None if !meets_others => None,
            None => {
                let [accepted, _] = self.accepted.sums(now);
                let began = self.began.unwrap_or(now);
                let span = now.saturating_duration_since(began).clamp(SHORTEST_SPAN, SPAN);
                let per_second = accepted as f64 / span.as_secs_f64();
                let pacing = self.pacing.insert(Pacing::new(per_second, now));
                Some(pacing.rate())
            }
        }
    }

    fn close(
        &mut self,
        sequence: u64,
        after: Option<Duration>,
        now: Instant,
        jitter: &mut Jitter,
    ) -> Duration {
        let delay = self.backoff.pause(1, after, jitter);
        self.state = PauseState::Paused(Paused {
            since: now,
            until: now.checked_add(delay).unwrap_or(now),
            failed_probes: 0,
            is_probing: false,
            probe_from: sequence.saturating_add(1),
            trial: None,
        });
        delay
    }

    fn probe_failed(&mut self, sequence: u64, after: Option<Duration>, now: Instant, jitter: &mut Jitter) {
        let PauseState::Paused(closed) = &mut self.state else { return };
        closed.failed_probes = closed.failed_probes.saturating_add(1);
        let delay = self.backoff.pause(closed.failed_probes.saturating_add(1), after, jitter);
        // What was sent before the probe may have brought a wish for more.
        closed.until = closed.until.max(now.checked_add(delay).unwrap_or(now));
        closed.probe_from = sequence.saturating_add(1);
    }

    fn accuse(&mut self, sequence: u64, now: Instant) {
        self.accused.retain(|(accused, _)| *accused != sequence);
        if self.accused.len() < MOST_ACCUSED {
            self.accused.push((sequence, now));
        }
    }

    fn note_turned_away(&mut self, sequence: u64, now: Instant) {
        let [latest, _] = self.turned_away;
        if latest.is_none_or(|(other, _)| other != sequence) {
            self.turned_away[1] = latest;
        }
        self.turned_away[0] = Some((sequence, now));
    }

    // ---- what explains that a record is turned away --------------------------------------------------------

    /// Whether another record than this one was turned away after `since`.
    pub(super) fn turned_another_away(&self, sequence: u64, since: Instant) -> bool {
        let mut others = self.turned_away.iter().flatten().filter(|(other, _)| *other != sequence);
        others.any(|(_, at)| *at > since)
    }

    /// The destination accepted a record that it had turned away although load can't have been the reason.
    pub(super) fn has_changed(&mut self, now: Instant) {
        self.changed = Some(now);
    }

    /// Whether a comparison from `since` to now says something about the record: no other was turned away during it,
    /// and the destination was steady before it, see [`STEADY_BEFORE`].
    pub(super) fn is_steady(&self, sequence: u64, since: Instant, now: Instant) -> bool {
        let took = now.saturating_duration_since(since);
        let before = took.saturating_mul(STEADY_BEFORE).min(LONGEST_STEADY);
        let has_changed =
            self.changed.is_some_and(|changed| since.saturating_duration_since(changed) <= before);
        !has_changed && !self.turned_another_away(sequence, since)
    }

    /// The record is guilty: a rate that was found by it alone says nothing about the destination.
    pub(super) fn doubt_the_pace(&mut self, suspect: u64) {
        let began = self.pacing.as_ref().map(Pacing::began);
        if began.is_some_and(|began| !self.turned_another_away(suspect, began)) {
            self.pacing = None;
        }
    }

    /// When the last accepted request started.
    pub(super) fn accepted_sent(&self) -> Option<Instant> {
        self.accepted_sent
    }

    /// When the last record was accepted that was sent alone, after no longer a wait than `wait` and after `since`, if
    /// none but `sequence` was turned away from then on.
    pub(super) fn control(&self, sequence: u64, since: Instant, wait: Duration) -> Option<Instant> {
        let (sent, waited) = self.control?;
        (sent > since && waited <= wait && !self.turned_another_away(sequence, sent)).then_some(sent)
    }

    /// Begins a trial; not while it is paused.
    ///
    /// # Errors
    /// When it may begin, where the last one was too short a time ago.
    pub(super) fn try_suspect(&mut self, suspect: u64, wait: Duration, now: Instant) -> Result<(), Instant> {
        debug_assert!(!self.is_closed(), "a paused destination tries nobody");
        if let Some(not_before) = self.no_trial_before.filter(|at| *at > now) {
            return Err(not_before);
        }
        let wait = self.fair_wait(wait);
        let quiet_since = self.last_activity.filter(|_| self.in_flight == 0).unwrap_or(now);
        self.state = PauseState::Paused(Paused {
            since: now,
            until: quiet_since.checked_add(wait).unwrap_or(now),
            failed_probes: 0,
            is_probing: false,
            probe_from: 0,
            trial: Some(Trial { suspect, wait, stage: Stage::Before, began: None }),
        });
        Ok(())
    }

    /// The wait before a request of a trial; at a known rate, long enough to let the next request pass.
    pub(super) fn fair_wait(&self, wait: Duration) -> Duration {
        let paced = self.pacing.as_ref().map_or(Duration::ZERO, |pacing| pacing.interval().saturating_mul(2));
        wait.max(paced)
    }

    /// The suspect whose trial is on, and whether it was turned away already.
    pub(super) fn trial(&self) -> Option<(u64, bool)> {
        match &self.state {
            PauseState::Paused(Paused { trial: Some(trial), .. }) => {
                Some((trial.suspect, matches!(trial.stage, Stage::After | Stage::Again)))
            }
            _ => None,
        }
    }
}
