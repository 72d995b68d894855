//! What an answer means for its record, for the destination, and for records that were turned away before.

use super::outcome::{Answered, Outcome, Reason, reason, was_sent, words};
use super::{Dispatcher, PendingDeadLetter, Ticket};
use crate::record::Record;
use crate::relay::dead_letter::{DeadLetter, Rejection};
use crate::relay::event::Change;
use crate::relay::pause::{PauseEffect, SentRequest};
use crate::relay::run_error::RunError;
use crate::relay::schedule::{RecordState, Slot, TurnedAway};
use crate::relay::settings::OnRejection;
use crate::relay::transport::{Answer, SendError, Target, cause};
use crate::relay::verdict::{PauseCause, SetupFault, Verdict};
use std::time::{Duration, Instant, SystemTime};

/// Rate-limited answers before a record is suspected: any record may meet one.
const RATE_PATIENCE: u32 = 2;

/// An outage this short may be noticed only by the one record sent during it.
const MOMENT: Duration = Duration::from_secs(3);

/// The time of an answer.
#[derive(Clone, Copy)]
struct At {
    now: Instant,
    wall: SystemTime,
}

impl Dispatcher {
    /// An attempt has ended; `in_flight` requests were under way, this one included. The permit comes back: it may be
    /// passed on to the next request.
    pub fn answered<P>(
        &mut self,
        ticket: Ticket<P>,
        outcome: &Result<Answer, SendError>,
        in_flight: usize,
        now: Instant,
        wall: SystemTime,
    ) -> Answered<P> {
        let verdict = match self.settings.policy.judge(outcome) {
            // A new connection can't be stale.
            Verdict::Again if ticket.attempt.new_connection => Verdict::Retry { after: None },
            verdict => verdict,
        };
        self.brakes.ended(verdict, outcome, (ticket.sent(), now), in_flight);
        let effects = self.tell_destinations(&ticket, (verdict, was_sent(outcome)), now);
        self.note_failing(verdict, outcome, now);
        let Ticket { sequence, epoch, record, target, sendings, permit, .. } = ticket;
        let at = At { now, wall };
        let outcome = if self.ledger.is_current(epoch) {
            self.ledger.unmark_busy(epoch);
            self.settle(sequence, &record, verdict, outcome, &sendings.target, at)
        } else {
            self.schedule.remove(sequence);
            Outcome::Forgotten
        };
        let [of_target, of_origin] = effects;
        let sent = sendings.origin.sent;
        self.apply(of_target, (target, sequence), &record, sent, at);
        self.apply(of_origin, (Target::ONLY, sequence), &record, sent, at);
        self.review(target, now);
        if self.schedule.is_empty() {
            self.failing = None;
        }
        Answered { record, outcome, permit }
    }

    fn tell_destinations<P>(
        &mut self,
        ticket: &Ticket<P>,
        (verdict, was_sent): (Verdict, bool),
        now: Instant,
    ) -> [PauseEffect; 2] {
        let limit = self.brakes.limit();
        let turned_away =
            self.schedule.get(ticket.sequence).and_then(|slot: &Slot| slot.turned_away.as_deref());
        let is_suspect = turned_away.is_some_and(|before| before.is_suspect);
        let has_changed = turned_away.is_some_and(|before| before.no_load);
        let (destinations, sendings, jitter) =
            (&mut self.brakes.destinations, ticket.sendings, &mut self.jitter);
        match verdict {
            Verdict::Accepted | Verdict::Rejected | Verdict::Stop if was_sent => {
                if has_changed {
                    destinations.of_mut(ticket.target).has_changed(now);
                }
                destinations.works(ticket.target, sendings, limit, now)
            }
            Verdict::Retry { .. } => destinations.failed(ticket.target, sendings, now, jitter),
            Verdict::Pause { after, cause } => {
                let after = after.map(|after| after.min(self.settings.max_retry_after));
                destinations.turned_away(ticket.target, sendings, (after, cause), is_suspect, now, jitter)
            }
            Verdict::Accepted | Verdict::Rejected | Verdict::Stop | Verdict::Again => {
                destinations.inconclusive(ticket.target, sendings, now);
                Default::default()
            }
        }
    }

    fn note_failing(&mut self, verdict: Verdict, outcome: &Result<Answer, SendError>, now: Instant) {
        match verdict {
            Verdict::Accepted => self.failing = None,
            Verdict::Retry { .. } | Verdict::Pause { .. } => {
                let since = self.failing.as_ref().map_or(now, |(since, _)| *since);
                self.failing = Some((since, cause(outcome)));
            }
            Verdict::Rejected | Verdict::Stop | Verdict::Again => {}
        }
    }

    /// What becomes of the record itself.
    fn settle(
        &mut self,
        sequence: u64,
        record: &Record,
        verdict: Verdict,
        outcome: &Result<Answer, SendError>,
        sending: &SentRequest,
        at: At,
    ) -> Outcome {
        match verdict {
            Verdict::Accepted => {
                self.totals.delivered += 1;
                if let Some(rejections) = &mut self.rejections {
                    rejections.accepted(at.now);
                }
                self.finish(sequence);
                Outcome::Delivered
            }
            Verdict::Again => {
                if let Some(slot) = self.schedule.get_mut(sequence) {
                    slot.was_stale = true;
                }
                self.put_back(sequence, record, None)
            }
            Verdict::Pause { after, cause } => {
                self.turned_away(record, (after, cause), reason(outcome), sending, at)
            }
            Verdict::Retry { after } => match self.fails(sequence, at.now) {
                true => {
                    let failures = self.schedule.get(sequence).map_or(1, |slot| slot.failures);
                    let delay = self.delay(failures, after);
                    self.put_back(sequence, record, Some((at.now, delay)))
                }
                false => self.reject(sequence, record.clone(), reason(outcome), at),
            },
            Verdict::Rejected => self.reject(sequence, record.clone(), reason(outcome), at),
            Verdict::Stop => {
                let letter = self.letter(sequence, record.clone(), reason(outcome), at.wall);
                self.stop(RunError::Gone(Box::new(letter)));
                self.put_back(sequence, record, None);
                Outcome::Stopped
            }
        }
    }

    /// Counts a failure against the record. Returns whether it may be retried.
    fn fails(&mut self, sequence: u64, now: Instant) -> bool {
        let Some(slot) = self.schedule.get_mut(sequence) else { return true };
        slot.failures = slot.failures.saturating_add(1);
        let used_up = self.settings.max_attempts.is_some_and(|max| slot.failures >= max.get());
        let age = slot.first_attempt.map(|(first, _)| now.saturating_duration_since(first));
        let too_old = self.settings.max_age.zip(age).is_some_and(|(max, age)| age >= max);
        !used_up && !too_old
    }

    /// The same for being turned away, which is counted once, now or later.
    fn fails_once(&mut self, sequence: u64, now: Instant) -> bool {
        let turned_away = self.schedule.get_mut(sequence).and_then(|slot| slot.turned_away.as_mut());
        let is_counted = turned_away.is_some_and(|it| std::mem::replace(&mut it.is_counted, true));
        is_counted || self.fails(sequence, now)
    }

    fn delay(&mut self, failures: u32, after: Option<Duration>) -> Duration {
        let after = after.map(|after| after.min(self.settings.max_retry_after));
        self.settings.backoff.delay(failures, after, &mut self.jitter)
    }

    // ---- blame ---------------------------------------------------------------------------------------------

    /// The record was turned away, perhaps because of the destination.
    fn turned_away(
        &mut self,
        record: &Record,
        (after, cause): (Option<Duration>, PauseCause),
        answer: Reason,
        sending: &SentRequest,
        at: At,
    ) -> Outcome {
        let SentRequest { sequence, alone_for, accepted_before, .. } = *sending;
        let fair_wait = self.fair_wait();
        let Some(slot) = self.schedule.get_mut(sequence) else { return Outcome::Forgotten };
        let before = slot.turned_away.take();
        let fair_wait = self.brakes.destinations.of(slot.target).fair_wait(fair_wait);
        let now = TurnedAway {
            first: before.as_ref().map_or(at.now, |before| before.first),
            last: at.now,
            wall: at.wall,
            times: before.as_ref().map_or(1, |before| before.times.saturating_add(1)),
            patience: if cause == PauseCause::Rate { RATE_PATIENCE } else { 1 },
            may_be_load: cause.may_be_load(),
            no_load: !cause.may_be_load() || alone_for >= fair_wait,
            accepted_before,
            is_suspect: before.as_ref().is_some_and(|before| before.is_suspect),
            is_counted: false,
            answer: answer.clone(),
        };
        let (target, times, is_suspect, first) = (slot.target, now.times, now.is_suspect, now.first);
        slot.turned_away = Some(Box::new(now));
        if !is_suspect {
            return self.put_back(sequence, record, None);
        }
        let counts = match cause {
            PauseCause::Setup(_) => self.is_left_alone_with(sequence, target, first, at.now),
            _ => self.was_tried_alone(sequence, target, (first, alone_for), at.now),
        };
        if counts && !self.fails_once(sequence, at.now) {
            return self.reject(sequence, record.clone(), answer, at);
        }
        let delay = self.delay(times, after);
        self.put_back(sequence, record, Some((at.now, delay)))
    }

    /// Whether no other record is left to compare with, and others were accepted since this one was first turned away.
    fn is_left_alone_with(&self, sequence: u64, target: Target, first: Instant, now: Instant) -> bool {
        let destination = self.brakes.destinations.of(target);
        let accepted = destination.accepted_sent().filter(|sent| *sent > first);
        accepted.is_some_and(|sent| self.is_alone(sent, now) && destination.is_steady(sequence, sent, now))
    }

    /// Whether it is the last record under way, or the last acceptance is at least [`MOMENT`] ago.
    fn is_alone(&self, accepted_sent: Instant, now: Instant) -> bool {
        self.schedule.len() == 1 || now.saturating_duration_since(accepted_sent) >= MOMENT
    }

    /// Whether the suspect was sent alone, no other record is there to compare with now, and another was accepted
    /// before after no longer a wait.
    fn was_tried_alone(
        &mut self,
        sequence: u64,
        target: Target,
        (first, alone_for): (Instant, Duration),
        now: Instant,
    ) -> bool {
        let of = self.brakes.destinations.is_known(target).then_some(target);
        let on_trial =
            self.brakes.destinations.of(target).trial().is_some_and(|(suspect, _)| suspect == sequence);
        if self.schedule.has_innocent(of.filter(|target| self.brakes.destinations.is_aside(*target))) {
            // The trial goes on with them.
            return false;
        }
        if on_trial {
            self.brakes.destinations.of_mut(target).end_trial(now);
        }
        self.nothing_else_explains(sequence, target, (first, alone_for), now)
    }

    /// Whether an earlier comparison is enough: the record is the last one under way, or has been turned away for
    /// longer than [`MOMENT`].
    fn nothing_else_explains(
        &self,
        sequence: u64,
        target: Target,
        (first, wait): (Instant, Duration),
        now: Instant,
    ) -> bool {
        let destination = self.brakes.destinations.of(target);
        let accepted = destination.control(sequence, first, wait);
        accepted.is_some_and(|sent| self.is_alone(sent, now) && destination.is_steady(sequence, sent, now))
    }

    /// Ends a trial in which no other record is left to compare the suspect with.
    pub(super) fn conclude_without_another(&mut self, target: Target, now: Instant) {
        let Some((suspect, was_turned_away)) = self.brakes.destinations.of(target).trial() else { return };
        if !was_turned_away {
            return self.brakes.destinations.of_mut(target).skip_the_first();
        }
        self.brakes.destinations.of_mut(target).end_trial(now);
        let Some(turned_away) = self.schedule.get(suspect).and_then(|slot| slot.turned_away.as_ref()) else {
            return;
        };
        let tried = (turned_away.first, self.fair_wait());
        if self.nothing_else_explains(suspect, target, tried, now) {
            self.fails_late(suspect, now);
        }
    }

    /// Counts an earlier failure against the record.
    fn fails_late(&mut self, sequence: u64, now: Instant) {
        let may_go_on = self.fails_once(sequence, now);
        let Some(slot) = self.schedule.get(sequence) else { return };
        // One that is in flight again is rejected once it is turned away again.
        if may_go_on || !matches!(slot.state(), RecordState::Ready | RecordState::Waiting(_)) {
            return;
        }
        let last = slot.turned_away.as_ref().map(|it| (it.answer.clone(), it.wall));
        let (Some((answer, wall)), Some(record)) = (last, slot.record().cloned()) else { return };
        let at = At { now, wall };
        if let Outcome::Dropped(rejection) = self.reject(sequence, record.clone(), answer, at) {
            self.changes.push_back(Change::Dropped { record, rejection });
        }
    }

    fn apply(
        &mut self,
        effect: PauseEffect,
        (target, sequence): (Target, u64),
        record: &Record,
        sent: Instant,
        at: At,
    ) {
        if let Some(delay) = effect.paused {
            self.totals.pauses += 1;
            let (_, cause) = self.failing.clone().unwrap_or((at.now, String::new()));
            let of_it = self.schedule.get(sequence).and_then(|slot| slot.turned_away.as_deref());
            let fault = of_it.filter(|of_it| !of_it.may_be_load).and_then(|_| self.fault(of_it));
            self.changes.push_back(Change::Paused {
                record: record.clone(),
                delay,
                cause,
                fault,
                everything: target == Target::ONLY,
            });
        }
        if let Some(per_second) = effect.paced {
            self.changes.push_back(Change::Paced { per_second });
        }
        if let Some(after) = effect.reopened {
            self.changes.push_back(Change::Reopened { after, everything: target == Target::ONLY });
        }
        for accused in effect.accused {
            self.accuse(accused, sent, at);
        }
        if let Some(guilty) = effect.guilty {
            self.brakes.destinations.of_mut(target).doubt_the_pace(guilty);
            self.fails_late(guilty, at.now);
        }
    }

    fn fault(&self, turned_away: Option<&TurnedAway>) -> Option<SetupFault> {
        let status = turned_away?.answer.0?;
        let verdict = self.settings.policy.judge(&Ok(Answer { status, ..Answer::default() }));
        if let Verdict::Pause { cause, .. } = verdict { cause.fault() } else { None }
    }

    /// Another record that was sent later was accepted: this one is a suspect.
    fn accuse(&mut self, accused: u64, accepted_sent: Instant, at: At) {
        let Some(slot) = self.schedule.get(accused) else { return };
        let is_enough = |it: &&TurnedAway| it.last < accepted_sent && it.times >= it.patience;
        let Some(turned_away) = slot.turned_away.as_deref().filter(is_enough) else { return };
        let (target, may_be_load, since) =
            (slot.target, turned_away.may_be_load, turned_away.accepted_before);
        if !turned_away.is_suspect {
            if self.schedule.suspects() >= self.most_suspects() {
                return;
            }
            let cause = words(&turned_away.answer);
            let place = (slot.partition.clone(), slot.offset);
            self.schedule.suspect(accused);
            let delay = self.delay(1, None);
            self.schedule.postpone(accused, at.now.checked_add(delay).unwrap_or(at.now));
            self.changes.push_back(Change::Suspected { partition: place.0, offset: place.1, cause });
        }
        // Load does not explain it, others were accepted before and after it, and no other was turned away.
        let destination = self.brakes.destinations.of(target);
        if !may_be_load && since.is_some_and(|since| destination.is_steady(accused, since, at.now)) {
            self.fails_late(accused, at.now);
        }
    }

    // ---- rejections ------------------------------------------------------------------------------------------

    /// The record waits for its next attempt, unless its partition is being given up.
    fn put_back(&mut self, sequence: u64, record: &Record, due: Option<(Instant, Duration)>) -> Outcome {
        if self.schedule.get(sequence).is_some_and(|slot| self.ledger.is_leaving(slot.epoch)) {
            self.remove(sequence);
            return Outcome::Forgotten;
        }
        let until = due.map(|(now, delay)| now.checked_add(delay).unwrap_or(now));
        self.schedule.put_back(sequence, record.clone(), until);
        due.map_or(Outcome::Ready, |(_, delay)| Outcome::Retrying(delay))
    }

    fn letter(
        &self,
        sequence: u64,
        record: Record,
        (status, reason): Reason,
        wall: SystemTime,
    ) -> DeadLetter {
        let slot = self.schedule.get(sequence);
        let rejection = Rejection {
            status,
            reason,
            attempts: slot.map_or(1, |slot| slot.attempts),
            first_attempt: slot.and_then(|slot| slot.first_attempt).map_or(wall, |(_, first)| first),
            last_attempt: wall,
        };
        DeadLetter { record, rejection }
    }

    /// The record will not be sent again.
    fn reject(&mut self, sequence: u64, record: Record, answer: Reason, at: At) -> Outcome {
        let letter = self.letter(sequence, record, answer, at.wall);
        let too_many = self.rejections.as_mut().is_some_and(|rejections| rejections.rejected(at.now));
        let halt = match (self.settings.on_rejection, self.settings.max_rejected.filter(|_| too_many)) {
            (_, Some(threshold)) => Some(RunError::TooManyRejected(Box::new(letter.clone()), threshold)),
            (OnRejection::Stop, None) => Some(RunError::Rejected(Box::new(letter.clone()))),
            _ => None,
        };
        if let Some(halt) = halt {
            self.stop(halt);
            if self.schedule.get(sequence).is_some_and(|slot| slot.state() == RecordState::InFlight) {
                self.put_back(sequence, &letter.record, None);
            }
            return Outcome::Stopped;
        }
        if self.settings.on_rejection == OnRejection::Drop {
            self.totals.dropped += 1;
            self.finish(sequence);
            return Outcome::Dropped(letter.rejection);
        }
        let Some(epoch) = self.schedule.get(sequence).map(|slot| slot.epoch) else {
            return Outcome::Forgotten;
        };
        if self.ledger.is_leaving(epoch) {
            // The next owner of the partition will see the same rejection.
            self.remove(sequence);
            return Outcome::Forgotten;
        }
        self.schedule.await_dead_letter(sequence);
        self.letters.push(PendingDeadLetter { sequence, epoch, letter });
        Outcome::PendingDeadLetter
    }

    /// The first cause is reported; later ones come from requests that were in flight with it.
    fn stop(&mut self, error: RunError) {
        self.stopped.get_or_insert(error);
    }

    /// The record is done: it counts towards what may be committed, and its successor may go.
    pub(super) fn finish(&mut self, sequence: u64) {
        if let Some(slot) = self.schedule.get(sequence) {
            self.ledger.done(slot.epoch, slot.offset);
        }
        self.remove(sequence);
    }

    /// The record is under way no longer.
    pub(super) fn remove(&mut self, sequence: u64) {
        if let Some(slot) = self.schedule.remove(sequence) {
            self.ledger.leave(slot.epoch, slot.weight);
        }
    }

    // ---- dead letters --------------------------------------------------------------------------------------

    /// Takes the rejected records that are to be written; each comes back as [kept](Self::kept) or
    /// [not kept](Self::not_dead_lettered).
    pub fn take_dead_letters(&mut self) -> Vec<PendingDeadLetter> {
        let taken = std::mem::take(&mut self.letters);
        for letter in &taken {
            self.ledger.mark_busy(letter.epoch);
        }
        taken
    }

    /// Whether any rejected record is to be written.
    pub fn has_dead_letters(&self) -> bool {
        !self.letters.is_empty()
    }

    /// These records are durably kept: done, unless their partition was lost meanwhile.
    pub fn kept(&mut self, letters: &[PendingDeadLetter]) {
        for PendingDeadLetter { sequence, epoch, .. } in letters {
            self.totals.dead_lettered += 1;
            if self.is_pending(*sequence) && self.ledger.is_current(*epoch) {
                self.ledger.unmark_busy(*epoch);
                self.finish(*sequence);
            }
        }
        if self.schedule.is_empty() {
            self.failing = None;
        }
    }

    /// These could not be written for now: they are tried again, unless their partition was revoked or lost.
    pub fn not_dead_lettered(&mut self, letters: Vec<PendingDeadLetter>) {
        for pending in letters {
            if !self.is_pending(pending.sequence) || !self.ledger.is_current(pending.epoch) {
                continue;
            }
            self.ledger.unmark_busy(pending.epoch);
            if self.ledger.is_leaving(pending.epoch) {
                self.remove(pending.sequence);
            } else {
                self.letters.push(pending);
            }
        }
    }

    fn is_pending(&self, sequence: u64) -> bool {
        self.schedule.get(sequence).is_some_and(|slot| slot.state() == RecordState::PendingDeadLetter)
    }

    /// Gives up on dead letters: rejected records stay undone from now on.
    pub fn abandon_dead_letters(&mut self) {
        self.letters.clear();
    }
}
