//! What an answer does to its record, to the gate and to those that waited for it.

use super::{Answered, Condemned, Fortune, Halt, Ticket, Window};
use crate::relay::dead_letter::{Letter, Refusal};
use crate::relay::limit::Heard;
use crate::relay::pace::{Shift, Word};
use crate::relay::record::Record;
use crate::relay::settings::OnRefusal;
use crate::relay::transport::{Answer, SendError, SendErrorKind};
use crate::relay::verdict::Verdict;
use std::time::{Duration, Instant, SystemTime};

/// What an attempt says of how busy the destination is. Other failures may come faster or slower than work does.
fn heard(verdict: Verdict, outcome: &Result<Answer, SendError>) -> Heard {
    match (verdict, outcome) {
        (Verdict::Accepted, _) => Heard::Time,
        (Verdict::Retry { .. }, Err(SendError { kind: SendErrorKind::Timeout, .. })) => Heard::Time,
        (Verdict::Pause { mend: None, .. }, Ok(_)) => Heard::TurnedAway,
        _ => Heard::Nothing,
    }
}

impl Window {
    /// An attempt has come to its end.
    pub fn answered(
        &mut self,
        ticket: Ticket,
        outcome: &Result<Answer, SendError>,
        now: Instant,
        wall: SystemTime,
    ) -> Answered {
        let verdict = self.settings.policy.judge(outcome);
        if let Some(limit) = &mut self.limit {
            let took = now.saturating_duration_since(ticket.sent);
            limit.answered(now, took, self.in_flight, heard(verdict, outcome));
        }
        self.in_flight -= 1;
        let (shift, mend) = self.tell_gate(&ticket, verdict, now);
        let Ticket { sequence, epoch, record, .. } = ticket;
        let ours = self.tracks.get_mut(record.partition()).filter(|track| track.epoch == epoch);
        let fortune = match ours {
            None => {
                self.remove(sequence);
                Fortune::Forgotten
            }
            Some(track) => {
                track.busy -= 1;
                self.judge(sequence, &record, verdict, outcome, now, wall)
            }
        };
        Answered { record, fortune, shift, mend }
    }

    fn tell_gate(
        &mut self,
        ticket: &Ticket,
        verdict: Verdict,
        now: Instant,
    ) -> (Option<Shift>, Option<&'static str>) {
        let cap = |wish: Option<Duration>| wish.map(|wish| wish.min(self.settings.max_retry_after));
        let (word, mend) = match verdict {
            Verdict::Accepted | Verdict::Refused | Verdict::Stop => (Word::Works, None),
            Verdict::Retry { .. } => (Word::Failed, None),
            Verdict::Pause { at_least, mend } => (Word::Overloaded { at_least: cap(at_least) }, mend),
        };
        if word != Word::Works {
            self.failing_since.get_or_insert(now);
        } else if verdict == Verdict::Accepted {
            self.failing_since = None;
        }
        let was_open = !self.gate.is_closed();
        let shift = self.gate.answered(ticket.probe, word, now, &mut self.jitter);
        match shift {
            Some(Shift::Closed(_)) if was_open => self.totals.pauses += 1,
            Some(Shift::Closed(_)) if ticket.probe => self.failed_probe = Some(ticket.sequence),
            Some(Shift::Reopened(_)) => self.failed_probe = None,
            _ => {}
        }
        (shift, mend)
    }

    fn judge(
        &mut self,
        sequence: u64,
        record: &Record,
        verdict: Verdict,
        outcome: &Result<Answer, SendError>,
        now: Instant,
        wall: SystemTime,
    ) -> Fortune {
        match verdict {
            Verdict::Accepted => {
                self.totals.delivered += 1;
                if let Some(refusals) = &mut self.refusals {
                    refusals.accepted(now);
                }
                self.finish(sequence);
                Fortune::Delivered
            }
            Verdict::Pause { .. } => {
                self.put_back(sequence, record, None);
                Fortune::Held
            }
            Verdict::Retry { at_least } => match self.retry(sequence, at_least, now) {
                Some(delay) => {
                    self.put_back(sequence, record, now.checked_add(delay));
                    Fortune::Retrying(delay)
                }
                None => self.refuse(sequence, record, outcome, now, wall),
            },
            Verdict::Refused => self.refuse(sequence, record, outcome, now, wall),
            Verdict::Stop => {
                let letter = self.letter(sequence, record, outcome, wall);
                self.halt(Halt::Gone(Box::new(letter)));
                self.put_back(sequence, record, None);
                Fortune::Halted
            }
        }
    }

    /// When the record goes again; `None` when it has used up its attempts or its time.
    fn retry(&mut self, sequence: u64, at_least: Option<Duration>, now: Instant) -> Option<Duration> {
        let slot = self.slots.get_mut(&sequence)?;
        slot.failures = slot.failures.saturating_add(1);
        let used_up = self.settings.max_attempts.is_some_and(|max| slot.failures >= max.get());
        let age = slot.first_attempt.map(|(first, _)| now.saturating_duration_since(first));
        let too_old = self.settings.max_age.zip(age).is_some_and(|(max, age)| age >= max);
        if used_up || too_old {
            return None;
        }
        let at_least = at_least.map(|wish| wish.min(self.settings.max_retry_after));
        Some(self.settings.backoff.delay(slot.failures, at_least, &mut self.jitter))
    }

    /// The record waits for its next attempt, unless its partition is being given up.
    fn put_back(&mut self, sequence: u64, record: &Record, due: Option<Instant>) {
        let revoked = self.tracks.get(record.partition()).is_none_or(|track| track.revoked);
        if revoked {
            self.remove(sequence);
            return;
        }
        let Some(slot) = self.slots.get_mut(&sequence) else { return };
        slot.record = Some(record.clone().detach());
        slot.due = due;
        match due {
            Some(due) => self.queue.wait(sequence, due),
            None => self.queue.ready(sequence, true),
        }
    }

    fn letter(
        &self,
        sequence: u64,
        record: &Record,
        outcome: &Result<Answer, SendError>,
        wall: SystemTime,
    ) -> Letter {
        let slot = self.slots.get(&sequence);
        let (status, reason) = match outcome {
            Ok(answer) => (Some(answer.status), answer.excerpt.clone()),
            Err(error) => (None, error.text.clone()),
        };
        let refusal = Refusal {
            status,
            reason,
            attempts: slot.map_or(1, |slot| slot.attempts),
            first_attempt: slot.and_then(|slot| slot.first_attempt).map_or(wall, |(_, first)| first),
            last_attempt: wall,
        };
        Letter { record: record.clone(), refusal }
    }

    fn refuse(
        &mut self,
        sequence: u64,
        record: &Record,
        outcome: &Result<Answer, SendError>,
        now: Instant,
        wall: SystemTime,
    ) -> Fortune {
        let letter = self.letter(sequence, record, outcome, wall);
        let refusal = letter.refusal.clone();
        let too_many = self.refusals.as_mut().is_some_and(|refusals| refusals.refused(now));
        match (self.settings.on_refusal, self.settings.max_refused.filter(|_| too_many)) {
            (_, Some(threshold)) => {
                self.halt(Halt::TooManyRefused(Box::new(letter), threshold));
                self.put_back(sequence, record, None);
                Fortune::Halted
            }
            (OnRefusal::Stop, None) => {
                self.halt(Halt::Refused(Box::new(letter)));
                self.put_back(sequence, record, None);
                Fortune::Halted
            }
            (OnRefusal::Drop, None) => {
                self.totals.dropped += 1;
                self.finish(sequence);
                Fortune::Dropped(refusal)
            }
            (OnRefusal::DeadLetter, None) => {
                let Some(slot) = self.slots.get(&sequence) else { return Fortune::Forgotten };
                let condemned = Condemned { sequence, epoch: slot.epoch, letter };
                self.condemned.push(condemned);
                if let Some(track) = self.tracks.get_mut(record.partition()) {
                    track.busy += 1;
                }
                Fortune::Condemned(refusal)
            }
        }
    }

    fn halt(&mut self, halt: Halt) {
        // The first reason is the one to tell; others came from what was in flight beside it.
        self.halt.get_or_insert(halt);
    }

    /// The record is done: it counts towards what may be committed, and its successor may go.
    fn finish(&mut self, sequence: u64) {
        let Some(slot) = self.slots.get(&sequence) else { return };
        if let Some(track) = self.tracks.get_mut(&slot.partition).filter(|track| track.epoch == slot.epoch) {
            track.progress.done(slot.offset);
        }
        self.remove(sequence);
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        let Some(slot) = self.slots.remove(&sequence) else { return };
        self.bytes = self.bytes.saturating_sub(slot.weight);
        self.queue.remove(sequence, slot.due);
        if let Some(successor) = self.lanes.leave(slot.lane, sequence) {
            // It has waited behind its predecessor since it was admitted: it was never sent.
            self.queue.ready(successor, false);
        }
    }

    // ---- dead letters --------------------------------------------------------------------------------------

    /// The refused records that want a place; each has to be [settled](Self::settled) once it is durable.
    pub fn take_condemned(&mut self) -> Vec<Condemned> {
        std::mem::take(&mut self.condemned)
    }

    /// The record is durably kept: done, unless its partition was lost meanwhile.
    pub fn settled(&mut self, condemned: &Condemned) {
        self.totals.dead_lettered += 1;
        let partition = condemned.letter.record.partition();
        if let Some(track) = self.tracks.get_mut(partition).filter(|track| track.epoch == condemned.epoch) {
            track.busy -= 1;
            self.finish(condemned.sequence);
        } else {
            self.remove(condemned.sequence);
        }
    }
}
