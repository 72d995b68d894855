//! Which notices about partitions are due: where a position moved and why, and which partitions keep failing.
//!
//! A failure is reported once it lasts [`TELL_AFTER`], since any restart of a broker causes shorter ones. It is
//! repeated ever more rarely, with all partitions of the same failure in one line, and its end is reported too.

use super::ConsumerNotice;
use super::cursor::{Cursor, Output, Phase, PositionChange, Trouble};
use crate::record::Partition;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A failure is reported once it lasts this long.
pub(crate) const TELL_AFTER: Duration = Duration::from_secs(8);
/// Further partitions with a failure that was reported already are reported after this time at the earliest.
const TELL_MORE_AFTER: Duration = Duration::from_secs(10);
/// The time until the first reminder; it doubles with each further one,
const FIRST_REMINDER: Duration = Duration::from_secs(30);
/// up to this time.
const LONGEST_REMINDER: Duration = Duration::from_secs(3_600);
/// At most this many notices wait to be taken; further ones are only counted.
const MOST_WAITING: usize = 1_000;

/// A failure that was reported.
struct Reminder {
    told: Instant,
    due: Instant,
    wait: Duration,
}

/// Collects notices about cursors.
#[derive(Default)]
pub(crate) struct Report {
    /// Notices that nobody has taken yet, at most [`MOST_WAITING`].
    waiting: Vec<ConsumerNotice>,
    /// Partitions without a committed position: by topic their number, and the records before and behind their starts.
    firsts: BTreeMap<String, (usize, i64, i64)>,
    /// Partitions that share one notice each.
    copied: Vec<Partition>,
    recovered: Vec<Partition>,
    /// Notices that there was no room for.
    omitted: usize,
    reminders: BTreeMap<String, Reminder>,
}

/// Whether a partition is wanted and could not be read for long.
pub(crate) fn is_stalled(cursor: &Cursor, now: Instant) -> bool {
    let lasts = |since: Instant| now.saturating_duration_since(since) >= TELL_AFTER;
    match cursor.phase() {
        Phase::Stopped => true,
        Phase::Revoked => false,
        _ => !cursor.is_throttled() && cursor.trouble().is_some_and(|ongoing| lasts(ongoing.since)),
    }
}

impl Report {
    /// Takes the output of a cursor.
    pub(crate) fn hear(&mut self, partition: &Partition, output: Output) {
        match output {
            Output::Moved(PositionChange::First { next, bounds }, _) => {
                let of_topic = self.firsts.entry(partition.topic().to_owned()).or_default();
                of_topic.0 += 1;
                of_topic.1 = of_topic.1.saturating_add(next.saturating_sub(bounds.first));
                of_topic.2 = of_topic.2.saturating_add(bounds.end.saturating_sub(next));
            }
            Output::Moved(PositionChange::Copied { .. }, _) => self.copied.push(partition.clone()),
            Output::Moved(change, next) => {
                self.say(ConsumerNotice::Moved { partition: partition.clone(), change, next });
            }
            Output::Stopped(trouble) => {
                self.say(ConsumerNotice::Stopped { partition: partition.clone(), trouble });
            }
            Output::Recovered => self.recovered.push(partition.clone()),
            // No notices come of these.
            Output::Begins { .. } | Output::ResetForbidden(_) => {}
        }
    }

    fn say(&mut self, notice: ConsumerNotice) {
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push(notice);
        } else {
            self.omitted += 1;
        }
    }

    /// Reports partitions that have been failing for long, and reminds of those reported before.
    pub fn look(&mut self, cursors: &mut BTreeMap<Partition, Cursor>, now: Instant) {
        let mut troubles: BTreeMap<String, (Vec<Partition>, Instant, bool)> = BTreeMap::new();
        for (partition, cursor) in cursors.iter().filter(|(_, cursor)| is_stalled(cursor, now)) {
            let Some(ongoing) = cursor.trouble().filter(|s| s.trouble != Trouble::Connection) else {
                continue;
            };
            if *cursor.phase() == Phase::Stopped {
                continue;
            }
            let (trouble, since, is_new) = (ongoing.trouble.to_string(), ongoing.since, !ongoing.told);
            let of_it = troubles.entry(trouble).or_insert_with(|| (Vec::new(), since, false));
            of_it.0.push(partition.clone());
            of_it.1 = of_it.1.min(since);
            of_it.2 |= is_new;
        }
        self.reminders.retain(|trouble, _| troubles.contains_key(trouble));
        for (trouble, (partitions, since, is_new)) in troubles {
            let reminder = self.reminders.get(&trouble);
            let again =
                if is_new { reminder.map(|r| r.told + TELL_MORE_AFTER) } else { reminder.map(|r| r.due) };
            if again.is_some_and(|at| now < at) {
                continue;
            }
            for partition in &partitions {
                if let Some(cursor) = cursors.get_mut(partition) {
                    cursor.trouble_told();
                }
            }
            let wait = reminder.map_or(FIRST_REMINDER, |r| r.wait.saturating_mul(2).min(LONGEST_REMINDER));
            let seconds = now.saturating_duration_since(since).as_secs();
            self.say(ConsumerNotice::Stalled { partitions, trouble: trouble.clone(), seconds });
            self.reminders.insert(trouble, Reminder { told: now, due: now + wait, wait });
        }
    }

    /// Notices of single partitions, each once.
    pub(crate) fn of_partitions(&mut self) -> Vec<ConsumerNotice> {
        let omitted = std::mem::take(&mut self.omitted);
        let mut notices = std::mem::take(&mut self.waiting);
        notices.extend((omitted > 0).then_some(ConsumerNotice::Omitted(omitted)));
        notices
    }

    /// All notices that are due, each once.
    pub(crate) fn notices(&mut self) -> Vec<ConsumerNotice> {
        for (topic, (partitions, before, behind)) in std::mem::take(&mut self.firsts) {
            self.say(ConsumerNotice::NothingCommitted { topic, partitions, before, behind });
        }
        let copied = std::mem::take(&mut self.copied);
        if !copied.is_empty() {
            self.say(ConsumerNotice::Copied(copied));
        }
        let mut recovered = std::mem::take(&mut self.recovered);
        if !recovered.is_empty() {
            // By name, not in the order of recovery, which differs each time.
            recovered.sort();
            self.say(ConsumerNotice::Recovered(recovered));
        }
        self.of_partitions()
    }
}
