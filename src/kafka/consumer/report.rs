//! What people are told of the cursors: where a position moved and why, and which partitions are in trouble for long.
//!
//! A trouble is told once it lasts [`TELL_AFTER`]; what any restart of a broker looks like is not worth a word. It is
//! told again ever more rarely, all partitions with the same trouble in one line, and once more when it is over.

use super::cursor::{Cursor, Output, Phase, PositionChange, Trouble};
use crate::relay::record::Partition;
use crate::relay::source::{Notice, Severity};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// A trouble is told once it lasts so long.
pub const TELL_AFTER: Duration = Duration::from_secs(8);
/// More partitions with a trouble that was told already are told after this at the earliest.
const TELL_MORE_AFTER: Duration = Duration::from_secs(10);
/// The first reminder comes after this, each further one after twice as long,
const FIRST_REMINDER: Duration = Duration::from_secs(30);
/// and at the latest after this.
const LONGEST_REMINDER: Duration = Duration::from_secs(3_600);
/// So many partitions are named in a line.
const MOST_NAMES: usize = 5;
/// So many lines wait to be told; beyond it, they are only counted.
const MOST_LINES: usize = 1_000;

/// A trouble that was told.
struct Reminder {
    told: Instant,
    due: Instant,
    wait: Duration,
}

/// What is to be told.
#[derive(Default)]
pub(crate) struct Report {
    lines: VecDeque<Notice>,
    /// Where partitions begin in which nothing is committed: by topic how many, and the records before and behind.
    firsts: BTreeMap<String, (usize, i64, i64)>,
    /// Partitions of which the same is to be said, by what that is.
    copied: Vec<Partition>,
    recovered: Vec<Partition>,
    /// Lines that there was no room for.
    untold: usize,
    reminders: BTreeMap<String, Reminder>,
}

/// Whether nothing has been read of it for long, though it is wanted.
pub(crate) fn is_stalled(cursor: &Cursor, now: Instant) -> bool {
    let lasts = |since: Instant| now.saturating_duration_since(since) >= TELL_AFTER;
    match cursor.phase() {
        Phase::Stopped => true,
        Phase::Revoked => false,
        _ => !cursor.is_throttled() && cursor.trouble().is_some_and(|ongoing| lasts(ongoing.since)),
    }
}

impl Report {
    /// Something has come up.
    pub fn hear(&mut self, partition: &Partition, output: Output) {
        match output {
            Output::Moved(PositionChange::First { next, bounds }, _) => {
                let of_topic = self.firsts.entry(partition.topic().to_owned()).or_default();
                of_topic.0 += 1;
                of_topic.1 = of_topic.1.saturating_add(next.saturating_sub(bounds.first));
                of_topic.2 = of_topic.2.saturating_add(bounds.end.saturating_sub(next));
            }
            Output::Moved(PositionChange::Copied { .. }, _) => self.copied.push(partition.clone()),
            Output::Moved(change, next) => {
                let sentence = sentence(&change, partition);
                let rule = match change {
                    PositionChange::Deleted { .. } | PositionChange::BeyondEnd { .. } => " (--offset-reset)",
                    _ => "",
                };
                self.say(Severity::Warning, format!("{sentence}. Going on at {next}{rule}"));
            }
            Output::Stopped(trouble) => {
                let advice = match trouble {
                    Trouble::Corrupt(_) => "Mend the log or move the group's position past it",
                    Trouble::TooLarge(_) => "Raise --max-batch-bytes",
                    _ => "Mend that",
                };
                let text = format!(
                    "topic {} partition {}: {trouble}; nothing more is read of this partition, and nothing of it is \
                     skipped. {advice}, then start again",
                    partition.topic(),
                    partition.number()
                );
                self.say(Severity::Error, text);
            }
            Output::Recovered => self.recovered.push(partition.clone()),
            // These are none of its business.
            Output::Begins { .. } | Output::ResetForbidden(_) => {}
        }
    }

    fn say(&mut self, severity: Severity, text: String) {
        if self.lines.len() < MOST_LINES {
            self.lines.push_back(Notice { severity, text });
        } else {
            self.untold += 1;
        }
    }

    /// Looks for what stands for long.
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
            let text = format!(
                "nothing can be read of {} for {seconds} s: {trouble}; trying again. Other partitions go on",
                names(&partitions)
            );
            self.say(Severity::Warning, text);
            self.reminders.insert(trouble, Reminder { told: now, due: now + wait, wait });
        }
    }

    /// What has come up of single partitions, each thing once.
    pub fn lines(&mut self) -> impl Iterator<Item = Notice> + '_ {
        let untold = std::mem::take(&mut self.untold);
        if untold > 0 {
            let text = format!("and {untold} more lines of that kind, for other partitions");
            self.lines.push_back(Notice { severity: Severity::Warning, text });
        }
        self.lines.drain(..)
    }

    /// What is to be told now, each thing once.
    pub fn notices(&mut self) -> impl Iterator<Item = Notice> + '_ {
        for (topic, (count, before, behind)) in std::mem::take(&mut self.firsts) {
            let text = format!(
                "topic {topic}: nothing is committed for {count} partition{}; beginning with {behind} records there, and \
                 {before} before them that are not read (--start)",
                if count == 1 { "" } else { "s" }
            );
            let severity = if before > 0 { Severity::Warning } else { Severity::Info };
            self.say(severity, text);
        }
        let copied = std::mem::take(&mut self.copied);
        if !copied.is_empty() {
            let text = format!(
                "the positions of {} were moved or copied from another cluster; they are kept, but what was done \
                 beyond them is not known and is sent again",
                names(&copied)
            );
            self.say(Severity::Warning, text);
        }
        let recovered = std::mem::take(&mut self.recovered);
        if !recovered.is_empty() {
            self.say(Severity::Info, format!("reading {} again", names(&recovered)));
        }
        self.lines()
    }
}

/// A few names, and how many more there are.
fn names(partitions: &[Partition]) -> String {
    let named: Vec<String> = partitions.iter().take(MOST_NAMES).map(ToString::to_string).collect();
    match partitions.len().saturating_sub(MOST_NAMES) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// A change in words.
pub(crate) fn sentence(change: &PositionChange, partition: &Partition) -> String {
    match change {
        PositionChange::Deleted { position, bounds } => format!(
            "the position {position} of {partition} is outside of its log, which holds {} to {}: {} offsets up to {} \
             were deleted before they were read",
            bounds.first,
            bounds.end,
            bounds.first - position,
            bounds.first
        ),
        PositionChange::BeyondEnd { position, bounds } => format!(
            "the position {position} of {partition} is outside of its log, which holds {} to {}: the topic was created \
             anew, or its log was cut off",
            bounds.first, bounds.end
        ),
        PositionChange::Truncated { position, at } => format!(
            "the log of {partition} was cut off at offset {at}, below our position {position}: records from there on \
             that were already sent are no longer in the topic"
        ),
        PositionChange::TopicRecreated { position } => format!(
            "topic {} was deleted and created anew; partition {} was read up to {position}, and is read from its \
             beginning now",
            partition.topic(),
            partition.number()
        ),
        PositionChange::ProgressDropped { position, reach } => format!(
            "the log of {partition} was cut off between the position {position} and {reach}: records there that were \
             done already may be sent again"
        ),
        PositionChange::Copied { position } => {
            format!("the position {position} of {partition} was moved or copied")
        }
        PositionChange::First { next, .. } => {
            format!("nothing is committed for {partition}: it begins at {next}")
        }
    }
}
