//! Where the log that was read and the leader's log diverge, by their leader epochs (KIP-320).
//!
//! While [`Checking`](super::Phase::Checking), a cursor asks for the end of the epoch of the last record that was read.
//! Kafka's `LeaderEpochFileCache` answers with the largest epoch up to that one, and with the offset where the next
//! epoch starts. An epoch older than all that retention has kept ends where the log starts. The answer is undefined only
//! if the cache is empty or the epoch is larger than all in the cache. A leader of Kafka 2.1 or later starts each term by
//! adding its own epoch, so that the epochs of a partition grow for ever: an undefined answer for an epoch above the
//! leader's own means that they went backwards, as they do when a cluster is restored from a backup. Java's client
//! resets the position at each undefined answer; this one first excludes what happens to healthy clusters:
//!
//! | the leader's answer | what it means | the cursor | test in `tests/it/cursor/divergence.rs` |
//! |---|---|---|---|
//! | no OffsetForLeaderEpoch | nothing | reads on | `a_broker_that_can_not_be_asked_is_believed` |
//! | (no epoch is known: message format below v2) | nothing | asks nothing, reads on | `records_without_epochs_need_no_check` |
//! | the epoch, ending at the position or later | nothing is lost | reads on | `an_epoch_that_reaches_the_position_is_fine` |
//! | the epoch, ending at the log start above the position | retention | reads on, which is out of range | `an_epoch_that_retention_removed_is_no_divergence` |
//! | an earlier end | an unclean election | goes back to that offset | `a_log_that_ends_earlier_is_followed_there` |
//! | undefined, for an epoch up to the leader's | no epochs kept: an old format, a lost file, an old broker | the log's bounds decide | `an_epoch_that_the_leader_may_have_forgotten_is_no_divergence` |
//! | undefined, and the metadata has no epochs | an old broker | the log's bounds decide | `without_epochs_in_the_metadata_nothing_diverges` |
//! | undefined, for an epoch above the leader's | a deposed leader, or epochs went backwards | asks again for [`EPOCHS_LAG`] | `a_deposed_leader_is_given_time` |
//! | still undefined, also for the leader's own epoch | no epochs kept | the log's bounds decide | `a_leader_that_keeps_no_epochs_is_not_asked_further` |
//! | still undefined, no topic ids | another topic of this name | reads it from offset 0 | `without_topic_ids_an_unknown_epoch_is_another_topic` |
//! | still undefined | restored | asks for earlier epochs, the latest first | `a_restored_log_is_read_from_where_an_earlier_epoch_ended` |
//! | an earlier epoch, ending where it ended in our log | the logs agree up to there | goes back to that offset | the same |
//! | an earlier epoch, ending elsewhere | it was given a second time since, perhaps | asks for the one before it | `an_epoch_that_was_given_twice_proves_nothing` |
//! | nothing like that for any earlier epoch | unknown divergence | moves by [`Rules::reset`] | `an_unknown_divergence_obeys_the_reset_policy` |
//!
//! Epochs that are given a second time, and to more records than before, look like the first ones: a restored cluster
//! that has had as many elections as the lost one can't be recognised. Nor can Java's client.

use super::{
    Ask, Beginning, Bounds, Cursor, EpochEnd, MOST_EPOCHS, Output, Phase, PositionChange, Reset, Rules,
    Serials, Trouble,
};
use crate::kafka::protocol::{ErrorCode, Uuid};
use std::time::{Duration, Instant};

/// For so long a leader may not know a later epoch. By then KRaft has replaced a leader that lost its controller
/// (`broker.session.timeout.ms`), and the other brokers name the new one.
pub const EPOCHS_LAG: Duration = Duration::from_secs(9);
/// The least number of answers in that time.
const CONSISTENT: u32 = 5;

/// Which leader epoch is in question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Inquiry {
    /// That of the last record.
    #[default]
    Latest,
    /// The same, which the leader doesn't know: since when, and how often it said so.
    Doubted(Instant, u32),
    /// The leader's own, which it knows if it keeps any.
    Own,
    /// An earlier one that was read.
    Earlier(i32),
}

impl Cursor {
    /// The leader epoch to ask for.
    pub(super) fn epoch_in_question(&self) -> i32 {
        match self.inquiry {
            Inquiry::Latest | Inquiry::Doubted(..) => self.epochs.last().map_or(-1, |(_, epoch)| *epoch),
            Inquiry::Own => self.leader_epoch(),
            Inquiry::Earlier(epoch) => epoch,
        }
    }

    fn leader_epoch(&self) -> i32 {
        self.last_leader_epoch.unwrap_or(-1)
    }

    /// The end of the leader epoch in question.
    pub fn epoch_end_was(
        &mut self,
        ask: Ask,
        answer: EpochEnd,
        rules: &Rules,
        now: Instant,
        serials: &mut Serials,
    ) -> Vec<Output> {
        if self.phase != Phase::Checking || !self.is_current(ask) {
            return Vec::new();
        }
        let is_latest = matches!(self.inquiry, Inquiry::Latest | Inquiry::Doubted(..));
        if answer == EpochEnd::Unknown && is_latest {
            return self.latest_is_unknown(now, serials);
        }
        let mut out = self.answered();
        match (answer, self.inquiry) {
            (EpochEnd::Unchecked, _) => out.extend(self.checked(serials)),
            (EpochEnd::At { epoch, end }, Inquiry::Latest | Inquiry::Doubted(..)) => {
                out.extend(self.compare(epoch, end, rules, serials));
            }
            (EpochEnd::At { epoch, .. }, Inquiry::Own) if epoch == self.leader_epoch() => {
                self.epochs_went_backwards(serials);
            }
            (EpochEnd::At { epoch, end }, Inquiry::Earlier(asked))
                if epoch == asked && self.end_of(asked) == Some(end) =>
            {
                out.extend(self.compare(epoch, end, rules, serials));
            }
            (_, Inquiry::Earlier(asked)) => self.ask_below(asked, serials),
            (_, Inquiry::Latest | Inquiry::Doubted(..) | Inquiry::Own) => self.leave_to_bounds(serials),
        }
        out
    }

    /// The leader knows neither the epoch of the last record nor one before it.
    fn latest_is_unknown(&mut self, now: Instant, serials: &mut Serials) -> Vec<Output> {
        let of_leader = self.leader_epoch();
        if of_leader < 0 || self.epoch_in_question() <= of_leader {
            let out = self.answered();
            self.leave_to_bounds(serials);
            return out;
        }
        let (since, times) = match self.inquiry {
            Inquiry::Doubted(since, times) => (since, times.saturating_add(1)),
            _ => (now, 1),
        };
        self.inquiry = Inquiry::Doubted(since, times);
        if times < CONSISTENT || now.saturating_duration_since(since) < EPOCHS_LAG {
            self.note_failure(Trouble::Refused(ErrorCode::UNKNOWN_LEADER_EPOCH), now);
            return Vec::new();
        }
        self.inquire(Inquiry::Own, serials);
        self.recovered()
    }

    /// The leader's epochs say nothing: a position within the log is kept.
    fn leave_to_bounds(&mut self, serials: &mut Serials) {
        self.epochs.clear();
        self.enter(Phase::Outside, serials);
    }

    fn epochs_went_backwards(&mut self, serials: &mut Serials) {
        if self.topic == Uuid::ZERO {
            let position = self.next;
            self.begin_new_topic(position, serials);
        } else {
            self.ask_below(self.leader_epoch(), serials);
        }
    }

    /// Asks for the latest epoch of ours below this one. The leader's own still goes on, so its end proves nothing.
    fn ask_below(&mut self, epoch: i32, serials: &mut Serials) {
        match self.epochs.iter().rev().find(|(_, of)| *of < epoch) {
            Some((_, earlier)) => self.inquire(Inquiry::Earlier(*earlier), serials),
            None => self.enter(Phase::Diverged, serials),
        }
    }

    fn inquire(&mut self, inquiry: Inquiry, serials: &mut Serials) {
        self.enter(Phase::Checking, serials);
        self.inquiry = inquiry;
    }

    /// Where this epoch ended in our log, at the latest.
    fn end_of(&self, epoch: i32) -> Option<i64> {
        self.epochs.iter().find(|(_, of)| *of > epoch).map(|(from, _)| *from)
    }

    /// Compares what was read with the leader's log: they agree up to the end of the largest epoch that both know.
    fn compare(&mut self, epoch: i32, end: i64, rules: &Rules, serials: &mut Serials) -> Vec<Output> {
        let parted = self.end_of(epoch);
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

    /// Moves by the reset policy: the log is another one, from an unknown offset on.
    pub(super) fn diverged(&mut self, bounds: Bounds, rules: &Rules, serials: &mut Serials) -> Vec<Output> {
        let change = PositionChange::Diverged { position: self.next, bounds };
        let next = match rules.reset {
            Reset::Fail => return vec![Output::ResetForbidden(change)],
            Reset::Earliest => bounds.first,
            Reset::Latest => bounds.end,
        };
        // Nothing that was fetched counts, nor what is done beyond the position.
        self.assignment = serials.draw();
        self.begins_at(next);
        let mut out = vec![Output::Moved(change, next)];
        out.extend(self.goes_on(bounds, serials));
        out
    }

    /// Remembers a leader epoch, if it is newer than those known.
    pub(super) fn note_epoch(&mut self, from: i64, epoch: i32) {
        let last = self.epochs.last().copied();
        if epoch < 0 || last.is_some_and(|(offset, last)| offset >= from || last >= epoch) {
            return;
        }
        self.epochs.push((from, epoch));
        let surplus = self.epochs.len().saturating_sub(MOST_EPOCHS);
        self.epochs.drain(..surplus);
    }
}
