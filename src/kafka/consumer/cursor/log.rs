//! Changes of the log under a cursor: a new leader, new bounds, a recreated topic.

use super::{
    Ask, Beginning, Bounds, Cursor, Output, Phase, PositionChange, RETRY, Reset, Rules, Serials, Trouble,
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
        if next > position && self.pending.is_none() {
            // Records fetched before are still delivered.
            self.next = next;
        } else {
            self.begins_at(next);
        }
        out.extend(self.goes_on(bounds, serials));
        out
    }

    /// Reads on at a position that was reset, without known epochs.
    pub(super) fn goes_on(&mut self, bounds: Bounds, serials: &mut Serials) -> Vec<Output> {
        let mut out = self.fetch_succeeded(None);
        self.epochs.clear();
        self.log_end = Some(bounds.end);
        if let Some(end) = &mut self.end {
            *end = (*end).min(bounds.end);
        }
        out.extend(self.read(serials));
        out
    }
}
