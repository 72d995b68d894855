//! Changes of the log under a cursor: a new leader, new bounds, a truncation, a recreated topic.

use super::{
    Ask, Beginning, Bounds, Cursor, EpochEnd, Output, Phase, PositionChange, RETRY, Reset, Rules, Serials,
    Trouble,
};
use crate::kafka::protocol::{ErrorCode, Uuid};
use std::time::Instant;

impl Cursor {
    /// The metadata of the partition: the id of its topic, zero if the brokers have no ids, and its leader with the
    /// leader epoch.
    pub fn metadata_was(
        &mut self,
        topic: Uuid,
        leader: Option<(i32, i32)>,
        now: Instant,
        serials: &mut Serials,
    ) -> Vec<Output> {
        let is_another = self.topic != Uuid::ZERO && topic != Uuid::ZERO && self.topic != topic;
        if topic != Uuid::ZERO {
            self.topic = topic;
        }
        let former = self.last_leader_epoch;
        self.leader = leader.or(self.leader.filter(|_| self.phase == Phase::Revoked));
        match self.phase {
            _ if is_another && self.phase != Phase::Revoked => {
                let position = self.next;
                match self.phase {
                    Phase::Unresolved => {}
                    Phase::Placing(Beginning::First(_)) => self.enter(Phase::Unresolved, serials),
                    _ => self.begin_new_topic(position, serials),
                }
            }
            Phase::Revoked => {
                if is_another {
                    self.assignment = serials.draw();
                }
                return Vec::new();
            }
            Phase::Stopped => return Vec::new(),
            _ => {}
        }
        let Some((_, epoch)) = leader else {
            self.note_failure(Trouble::Leaderless, now);
            return Vec::new();
        };
        self.last_leader_epoch = Some(epoch);
        if former.is_some_and(|former| former != epoch) {
            self.replica = None;
            // The new leader may have truncated what the former one served.
            let phase = match self.phase.clone() {
                Phase::Reading if !self.epochs.is_empty() => Phase::Checking,
                phase => phase,
            };
            if phase != Phase::Unresolved {
                self.enter(phase, serials);
            }
        }
        let was_leaderless = self.ongoing.as_ref().is_some_and(|s| s.trouble == Trouble::Leaderless);
        if was_leaderless { self.answered() } else { Vec::new() }
    }

    /// A fetch was answered with OFFSET_OUT_OF_RANGE.
    pub fn out_of_range(&mut self, ask: Ask, now: Instant, serials: &mut Serials) {
        if self.is_current(ask) && self.phase == Phase::Reading {
            // The checks that follow may find the position valid, so only a successful fetch ends this trouble.
            self.note_failure(Trouble::Refused(ErrorCode::OFFSET_OUT_OF_RANGE), now);
            if self.failures == 1 {
                self.not_before = None;
            }
            // The epochs tell where a log was truncated; without epochs only its bounds do.
            self.is_outside = true;
            let phase = if self.epochs.is_empty() { Phase::Outside } else { Phase::Checking };
            self.enter(phase, serials);
        }
    }

    pub(super) fn reset(
        &mut self,
        bounds: Bounds,
        rules: &Rules,
        now: Instant,
        serials: &mut Serials,
    ) -> Vec<Output> {
        let position = self.next;
        self.is_outside = false;
        if (bounds.first..=bounds.end).contains(&position) {
            // Valid after all: the leader has caught up, or its transactions were not decided yet.
            let out = self.check(serials);
            self.not_before = Some(self.not_before.unwrap_or(now).max(now + RETRY.0));
            return out;
        }
        let change = match position < bounds.first {
            true => PositionChange::Deleted { position, bounds },
            false => PositionChange::BeyondEnd { position, bounds },
        };
        let next = match rules.reset {
            Reset::Fail => return vec![Output::ResetForbidden(change)],
            Reset::Earliest => bounds.first,
            Reset::Latest => bounds.end,
        };
        let mut out = vec![Output::Moved(change, next)];
        out.extend(self.fetch_succeeded(None));
        self.epochs.clear();
        if next > position && self.pending.is_none() {
            // Records fetched before are still delivered.
            self.next = next;
        } else {
            self.begins_at(next);
        }
        self.log_end = Some(bounds.end);
        if let Some(end) = &mut self.end {
            *end = (*end).min(bounds.end);
        }
        out.extend(self.read(serials));
        out
    }

    /// The end of the leader epoch in question (KIP-320).
    pub fn epoch_end_was(
        &mut self,
        ask: Ask,
        answer: EpochEnd,
        rules: &Rules,
        serials: &mut Serials,
    ) -> Vec<Output> {
        if self.phase != Phase::Checking || !self.is_current(ask) {
            return Vec::new();
        }
        let mut out = self.answered();
        match answer {
            EpochEnd::At { epoch, end } => out.extend(self.compare(epoch, end, rules, serials)),
            EpochEnd::Unchecked => out.extend(self.checked(serials)),
            EpochEnd::Unknown if self.topic == Uuid::ZERO => {
                // A log that never had that leader epoch is another one.
                let position = self.next;
                self.begin_new_topic(position, serials);
            }
            EpochEnd::Unknown => {
                // The same topic without the records that were read: its bounds decide.
                self.epochs.clear();
                self.enter(Phase::Outside, serials);
            }
        }
        out
    }

    /// Compares what was read with the leader's log: they agree up to the end of the largest epoch that both know.
    fn compare(&mut self, epoch: i32, end: i64, rules: &Rules, serials: &mut Serials) -> Vec<Output> {
        let parted = self.epochs.iter().find(|(_, of)| *of > epoch).map(|(from, _)| *from);
        let cut = parted.map_or(end, |from| from.min(end));
        self.epochs.retain(|(_, of)| *of <= epoch);
        let (position, reach) = (self.next, self.reach.max(self.next));
        let mut out = Vec::new();
        if cut < position || (cut < reach && self.pending.is_none()) {
            // Records done beyond the position may be other ones now.
            let change = PositionChange::Truncated { position: reach, at: cut };
            if rules.reset == Reset::Fail {
                return vec![Output::ResetForbidden(change)];
            }
            // Records below the truncation that are not done are still there and still wanted.
            let next = if self.announced { cut.min(self.committed) } else { cut };
            self.epochs.retain(|(from, _)| *from < next);
            if next == cut && next > 0 {
                self.note_epoch(next.saturating_sub(1), epoch);
            }
            self.assignment = serials.draw();
            self.begins_at(next);
            self.enter(Phase::Placing(Beginning::At(next)), serials);
            return vec![Output::Moved(change, next)];
        }
        if let Some(begin) = self.pending.as_mut().filter(|_| reach > position && cut < reach) {
            begin.text.clear();
            self.reach = position;
            out.push(Output::Moved(PositionChange::ProgressDropped { position, reach }, position));
        }
        // If the leader answered for an earlier epoch, an epoch of ours before that is still to be checked.
        match parted.is_some() && self.epochs.last().is_some_and(|(_, of)| *of < epoch) {
            true => self.enter(Phase::Checking, serials),
            false => out.extend(self.checked(serials)),
        }
        out
    }
}
