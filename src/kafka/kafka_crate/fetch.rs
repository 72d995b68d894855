//! Fetches ahead, in a thread of its own, and mends what can be mended.
//!
//! Invariant: the position of a partition moves only over records that were handed on, or over a gap that was
//! asked for again in pieces so small that nothing can hide in it.

use super::version::{self, Verdict};
use super::{Config, Fault, LONG_POLL, Shared, client, guarded};
use crate::kafka::config::Start;
use crate::notice::Severity;
use crate::record::{Offset, Partition, Position, Record};
use crate::relay::source::{Polled, SourceError};
use crate::timing::backoff::Backoff;
use crate::timing::jitter::Jitter;
use ::kafka::client::fetch::Response;
use ::kafka::client::{FetchGroupOffset, FetchOffset, FetchPartition, KafkaClient};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A fetch asks for at least so many bytes of a partition.
const LEAST_BYTES: i32 = 64 << 10;
/// The largest message there is room for: a fetch that brings nothing is made larger up to this.
const MOST_BYTES: i32 = 128 << 20;
/// A gap that is asked for again is real once two sizes this close bring nothing and the later records.
const GAP_RESOLUTION: i32 = 16;
/// How often a standing trouble is told.
const TELL_AGAIN: Duration = Duration::from_secs(10);

pub(super) struct Fetcher<'a> {
    config: Config,
    shared: &'a Shared,
    client: Option<KafkaClient>,
    cursors: BTreeMap<(String, i32), Cursor>,
    failures: u32,
    jitter: Jitter,
    told: Option<Instant>,
}

/// Where a partition is read.
struct Cursor {
    partition: Partition,
    next: i64,
    /// What a fetch asks for; grows for a message that is larger.
    bytes: i32,
    /// Where it ends, if the run ends with what is there now.
    end: Option<i64>,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(config: Config, shared: &'a Shared) -> Self {
        let (failures, told) = (0, None);
        Self { config, shared, client: None, cursors: BTreeMap::new(), failures, jitter: Jitter::new(), told }
    }

    /// Runs until closed, or until something can't be mended.
    pub(super) fn run(mut self) {
        while self.shared.await_room(self.config.buffer) {
            let step = if self.client.is_none() { self.connect() } else { self.fetch() };
            match step {
                Ok(()) => self.recovered(),
                Err(Fault::Fatal(text)) => return self.shared.fail(SourceError(text)),
                Err(fault) => {
                    if !self.back_off(&fault) {
                        return;
                    }
                }
            }
            if self.is_at_end() {
                self.shared.lock().at_end = true;
                self.shared.changed.notify_all();
                return;
            }
        }
    }

    fn recovered(&mut self) {
        if self.told.take().is_some() {
            self.shared.notice(Severity::Info, "the brokers answer again".into());
        }
        self.failures = 0;
    }

    /// Every fault takes the client with it, since the crate never replaces a dead socket nor a stale leader.
    fn back_off(&mut self, fault: &Fault) -> bool {
        self.client = None;
        self.failures = self.failures.saturating_add(1);
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(5));
        let backoff = Backoff::new(min, max).unwrap_or_default();
        let delay = backoff.delay(self.failures, Some(min), &mut self.jitter);
        // One failure alone is what a leader change looks like: not yet worth a word.
        let due = self.told.is_none_or(|told| told.elapsed() >= TELL_AGAIN);
        if due && self.failures > 1 {
            self.told = Some(Instant::now());
            let brokers = self.config.brokers.join(",");
            let text = format!("{}; trying {brokers} again", fault.text());
            self.shared.notice(Severity::Warning, text);
        }
        self.shared.pause(delay)
    }

    fn is_at_end(&self) -> bool {
        let ended = |cursor: &Cursor| cursor.end.is_some_and(|end| cursor.next >= end);
        self.config.until_end && self.client.is_some() && self.cursors.values().all(ended)
    }

    // ---- connecting ----------------------------------------------------------------------------------------

    fn connect(&mut self) -> Result<(), Fault> {
        match version::ask(&self.config.brokers) {
            Verdict::Fits => {}
            Verdict::Unreachable(text) => return Err(Fault::Connection(text)),
            Verdict::Unfit(text) => return Err(Fault::Fatal(text)),
        }
        let mut client = client(&self.config.brokers);
        guarded(|| client.set_fetch_max_wait_time(LONG_POLL))?;
        // Asked for by name, a topic would be created where brokers do so on their own.
        guarded(|| client.load_metadata_all())?;
        if self.cursors.is_empty() {
            self.assign(&mut client)?;
        }
        self.client = Some(client);
        Ok(())
    }

    fn assign(&mut self, client: &mut KafkaClient) -> Result<(), Fault> {
        let wanted = wanted_partitions(&self.config, client)?;
        let latest = ends(client, &self.config.topics, FetchOffset::Latest)?;
        let earliest = ends(client, &self.config.topics, FetchOffset::Earliest)?;
        let committed = committed(client, &self.config.group, &wanted)?;
        let share = self.config.buffer / wanted.len().max(1);
        let bytes = i32::try_from(share).unwrap_or(MOST_BYTES).clamp(LEAST_BYTES, 1 << 20);
        let mut cursors = BTreeMap::new();
        for at in wanted {
            let (Some(first), Some(end)) = (earliest.get(&at), latest.get(&at)) else {
                return Err(Fault::Metadata(format!("{}-{} has no leader", at.0, at.1)));
            };
            let partition = Partition::new(at.0.as_str(), at.1);
            let begin = if self.config.start == Start::Earliest { *first } else { *end };
            let next = match committed.get(&at) {
                None => begin,
                Some(next) if (*first..=*end).contains(next) => *next,
                Some(next) => {
                    self.tell_outside(&partition, *next, (*first, *end), begin);
                    begin
                }
            };
            let end = self.config.until_end.then_some(*end);
            cursors.insert(at, Cursor { partition, next, bytes, end });
        }
        let positions = cursors
            .values()
            .map(|c| Position { partition: c.partition.clone(), next: Offset(c.next) }.into())
            .collect();
        self.cursors = cursors;
        self.shared.tell(Polled::Assigned(positions));
        Ok(())
    }

    // ---- fetching ------------------------------------------------------------------------------------------

    fn fetch(&mut self) -> Result<(), Fault> {
        let Some(client) = &mut self.client else { return Ok(()) };
        let open = |c: &&Cursor| c.end.is_none_or(|end| c.next < end);
        let requests: Vec<FetchPartition<'_>> = self
            .cursors
            .values()
            .filter(open)
            .map(|c| {
                FetchPartition::new(c.partition.topic(), c.partition.number(), c.next).with_max_bytes(c.bytes)
            })
            .collect();
        let answers = guarded(|| client.fetch_messages(&requests))?;
        let mut first_fault = None;
        for answer in &answers {
            for (at, fetched) in partitions(answer) {
                // A fault of one partition must not keep the records of the others.
                if let Err(fault) = self.take(&at, fetched) {
                    first_fault.get_or_insert(fault);
                }
            }
        }
        first_fault.map_or(Ok(()), Err)
    }

    fn take(&mut self, at: &(String, i32), fetched: Result<Fetched, Fault>) -> Result<(), Fault> {
        let Some(cursor) = self.cursors.get_mut(at) else { return Ok(()) };
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(Fault::OutOfRange) => return self.reset(at),
            Err(fault) => return Err(fault),
        };
        let end = fetched.end;
        let messages = match fetched.first() {
            Some(first) if first > cursor.next => self.fill_gap(at, fetched.messages)?,
            Some(_) => fetched.messages,
            None if end > cursor.next => {
                if !self.grow(at) {
                    self.skip_to(at, end);
                }
                return Ok(());
            }
            None => Vec::new(),
        };
        self.hand_on(at, messages, end);
        Ok(())
    }

    fn hand_on(&mut self, at: &(String, i32), messages: Vec<Message>, end: i64) {
        let Some(cursor) = self.cursors.get_mut(at) else { return };
        let mut records = Vec::with_capacity(messages.len());
        for Message { offset, key, value } in messages {
            if offset < cursor.next || cursor.end.is_some_and(|end| offset >= end) {
                continue;
            }
            cursor.next = offset + 1;
            // The crate shows an absent key as an empty one, which is the likelier of the two.
            let key = (!key.is_empty()).then_some(key.as_slice());
            records.push(Record::new(cursor.partition.clone(), Offset(offset), -1, key, Some(&value)));
        }
        self.shared.push(records, [(cursor.partition.clone(), Offset(end))]);
    }

    /// The next message may be larger than what was asked for; says whether there is a larger size to try.
    fn grow(&mut self, at: &(String, i32)) -> bool {
        let Some(cursor) = self.cursors.get_mut(at) else { return false };
        let grown = cursor.bytes.saturating_mul(2).min(MOST_BYTES);
        std::mem::replace(&mut cursor.bytes, grown) < grown
    }

    /// Nothing is there that this client could see: markers of transactions, or what compaction left.
    fn skip_to(&mut self, at: &(String, i32), end: i64) {
        let Some(cursor) = self.cursors.get_mut(at) else { return };
        cursor.next = end;
        cursor.bytes = LEAST_BYTES;
        self.shared.push(Vec::new(), [(cursor.partition.clone(), Offset(end))]);
    }

    /// Records between the position and the first one that came may have been swallowed by the crate, when they
    /// stand before a compressed batch. Asking for less cuts that batch off: some size brings the records before
    /// it alone. If no size does, the gap is a real hole.
    fn fill_gap(&mut self, at: &(String, i32), later: Vec<Message>) -> Result<Vec<Message>, Fault> {
        let (Some(cursor), Some(client)) = (self.cursors.get(at), &mut self.client) else { return Ok(later) };
        let (topic, number, next) = (cursor.partition.topic(), cursor.partition.number(), cursor.next);
        let (mut too_small, mut too_large) = (0, cursor.bytes);
        while too_large - too_small > GAP_RESOLUTION {
            let size = too_small + (too_large - too_small) / 2;
            let request = FetchPartition::new(topic, number, next).with_max_bytes(size);
            let answers = guarded(|| client.fetch_messages(&[request]))?;
            let fetched = answers.iter().flat_map(partitions).find(|(found, _)| found == at);
            let Some((_, fetched)) = fetched else { return Err(Fault::Metadata("no leader".into())) };
            let fetched = fetched?;
            match fetched.first() {
                None => too_small = size,
                Some(first) if first <= next => return Ok(fetched.messages),
                // A part of the gap came: what is still missing before it is looked for in yet smaller pieces.
                Some(_) => too_large = size,
            }
        }
        Ok(later)
    }

    /// The log no longer holds the position, or not yet.
    fn reset(&mut self, at: &(String, i32)) -> Result<(), Fault> {
        let (Some(cursor), Some(client)) = (self.cursors.get_mut(at), &mut self.client) else {
            return Ok(());
        };
        let topics = [at.0.clone()];
        let first = ends(client, &topics, FetchOffset::Earliest)?.get(at).copied();
        let last = ends(client, &topics, FetchOffset::Latest)?.get(at).copied();
        let (Some(first), Some(last)) = (first, last) else {
            return Err(Fault::Metadata("no leader".into()));
        };
        if (first..=last).contains(&cursor.next) {
            return Err(Fault::Metadata("the position was out of range for a moment".into()));
        }
        let (partition, next) = (cursor.partition.clone(), cursor.next);
        let to = if self.config.start == Start::Earliest { first } else { last };
        cursor.next = to;
        self.tell_outside(&partition, next, (first, last), to);
        self.shared.restart(Position { partition, next: Offset(to) });
        Ok(())
    }

    fn tell_outside(&self, partition: &Partition, next: i64, (first, end): (i64, i64), to: i64) {
        let text = format!(
            "the position {next} of {partition} is outside of its log, which holds {first} to {end}: going on at {to}. \
             What was between is gone, or the topic was created anew"
        );
        self.shared.notice(Severity::Warning, text);
    }
}

struct Message {
    offset: i64,
    key: Vec<u8>,
    value: Vec<u8>,
}

struct Fetched {
    messages: Vec<Message>,
    end: i64,
}

impl Fetched {
    fn first(&self) -> Option<i64> {
        self.messages.first().map(|message| message.offset)
    }
}

/// The partitions of an answer with what they brought.
fn partitions(answer: &Response) -> impl Iterator<Item = ((String, i32), Result<Fetched, Fault>)> {
    answer.topics().iter().flat_map(|topic| {
        topic.partitions().iter().map(|partition| {
            let at = (topic.topic().to_owned(), partition.partition());
            let fetched = partition.data().map_err(|error| Fault::of(&error)).map(|data| Fetched {
                end: data.highwatermark_offset(),
                messages: data
                    .messages()
                    .iter()
                    .map(|m| Message { offset: m.offset, key: m.key.to_vec(), value: m.value.to_vec() })
                    .collect(),
            });
            (at, fetched)
        })
    })
}

/// The partitions to read; fatal where a topic or a partition does not exist.
pub(super) fn wanted_partitions(config: &Config, client: &KafkaClient) -> Result<Vec<(String, i32)>, Fault> {
    let mut wanted = Vec::new();
    let brokers = config.brokers.join(",");
    for topic in &config.topics {
        let topics = client.topics();
        let Some(partitions) = topics.partitions(topic) else {
            let text =
                format!("the topic '{topic}' does not exist at {brokers}: check its name, or create it");
            return Err(Fault::Fatal(text));
        };
        let mut there: Vec<i32> = partitions.iter().map(|partition| partition.id()).collect();
        there.sort_unstable();
        match &config.partitions {
            None => wanted.extend(there.into_iter().map(|number| (topic.clone(), number))),
            Some(numbers) => {
                if let Some(missing) = numbers.iter().find(|number| !there.contains(number)) {
                    let text = format!(
                        "the topic '{topic}' has no partition {missing}, only {} of them from 0",
                        there.len()
                    );
                    return Err(Fault::Fatal(text));
                }
                wanted.extend(numbers.iter().map(|number| (topic.clone(), *number)));
            }
        }
    }
    Ok(wanted)
}

/// Where the logs of these topics begin or end, by partition.
pub(super) fn ends(
    client: &mut KafkaClient,
    topics: &[String],
    which: FetchOffset,
) -> Result<BTreeMap<(String, i32), i64>, Fault> {
    let offsets = guarded(|| client.fetch_offsets(topics, which))?;
    let of_topic = |(topic, offsets): (String, Vec<::kafka::client::PartitionOffset>)| {
        offsets.into_iter().map(move |o| ((topic.clone(), o.partition), o.offset))
    };
    Ok(offsets.into_iter().flat_map(of_topic).collect())
}

/// What the group has committed, by partition; those without a position are left out.
pub(super) fn committed(
    client: &mut KafkaClient,
    group: &str,
    wanted: &[(String, i32)],
) -> Result<BTreeMap<(String, i32), i64>, Fault> {
    let asked: Vec<FetchGroupOffset<'_>> =
        wanted.iter().map(|(topic, number)| FetchGroupOffset::new(topic, *number)).collect();
    let offsets = guarded(|| client.fetch_group_offsets(group, &asked))?;
    let of_topic = |(topic, offsets): (String, Vec<::kafka::client::PartitionOffset>)| {
        offsets.into_iter().map(move |o| ((topic.clone(), o.partition), o.offset))
    };
    Ok(offsets.into_iter().flat_map(of_topic).filter(|(_, offset)| *offset >= 0).collect())
}
