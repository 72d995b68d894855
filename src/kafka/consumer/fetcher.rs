//! Records from one broker, fetched ahead in a thread of its own, bounded in bytes.
//!
//! Without a fetch session (KIP-227): each request names what it wants, so that nothing has to be kept in step with
//! the broker. The broker holds a request back while it has nothing new ([`LONG_POLL`]). Checksums are verified and
//! batches unpacked here; taking records apart is left to whoever polls.

use super::nag::Nag;
use super::state::{Asked, Chunk, Cursor, Fetched, Phase, Plan, Shared};
use crate::kafka::cluster::{ClusterError, Links, Target, of_code};
use crate::kafka::config::Config;
use crate::kafka::protocol::ErrorCode;
use crate::kafka::protocol::fetch::{
    FetchRequest, FetchRequestPartition, FetchRequestTopic, FetchResponse, FetchResponsePartition,
};
use crate::kafka::record_batch::transactions::{Aborted, Judgement, Transactions};
use crate::kafka::record_batch::{BatchError, Batches, MAX_UNPACKED, Unpacker};
use crate::relay::source::Severity;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a broker holds a request back while it has nothing new.
pub const LONG_POLL: Duration = Duration::from_millis(500);
/// A corrupt batch is asked for so often before its partition is stopped: it may be the way that corrupts it.
pub const CORRUPT_ATTEMPTS: u32 = 5;
/// How long a replica in our rack is fetched from before the leader is asked again which one is best (KIP-392).
const REPLICA_LEASE: Duration = Duration::from_secs(300);
/// A fetcher without partitions ends after this.
const IDLE: Duration = Duration::from_secs(60);
/// The time between two tries of a partition that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Fetches from one broker.
pub(super) struct Fetcher {
    broker: i32,
    links: Links,
    shared: Arc<Shared>,
    config: Arc<Config>,
    unpacker: Unpacker,
    nag: Nag,
}

/// Why nothing was taken of a partition.
enum Trouble {
    /// Newer metadata may help.
    Metadata,
    /// The position is outside of the log.
    OutOfRange,
    /// The bytes are not what was written.
    Corrupt(String),
    /// Nothing helps.
    Fatal(String),
}

impl Fetcher {
    pub(super) fn new(broker: i32, links: Links, shared: Arc<Shared>, config: Arc<Config>) -> Self {
        Self { broker, links, shared, config, unpacker: Unpacker::default(), nag: Nag::default() }
    }

    /// Runs until closed, or until the broker has had none of our partitions for a while.
    pub(super) fn run(mut self) {
        let mut turn = 0;
        while let Plan::Fetch(asked, bytes) = self.shared.plan(self.broker, self.config.buffer, turn, IDLE) {
            turn = turn.wrapping_add(1);
            let fetched = self.fetch(&asked, bytes);
            let failed = fetched.as_ref().err().cloned();
            self.shared.fetched(bytes, fetched.unwrap_or_default());
            match failed {
                None => self.nag.recovered(&self.shared),
                Some(ClusterError::Fatal(text)) => return self.shared.fail(text),
                Some(ClusterError::Retriable(text)) => {
                    // It holds on to the socket, which is of no use any more.
                    self.shared.lock().cancellers.remove(&self.broker);
                    self.nag.tell(&self.shared, &text);
                    self.shared.want_metadata();
                    asked.iter().for_each(|asked| self.shared.amend(asked, back_off));
                }
            }
        }
        self.shared.lock().cancellers.remove(&self.broker);
    }

    fn fetch(&mut self, asked: &[Asked], bytes: usize) -> Result<Vec<Fetched>, ClusterError> {
        let target = Target::Broker(self.broker);
        let canceller = self.links.open(target)?.canceller();
        self.shared.lock().cancellers.insert(self.broker, canceller);
        let request = request(asked, bytes, &self.config.rack);
        let timeout = self.config.request_timeout + LONG_POLL;
        let Self { links, shared, unpacker, .. } = self;
        links.call_within(target, &request, timeout, |answer| take_all(asked, &answer, shared, unpacker))?
    }
}

fn request<'a>(asked: &'a [Asked], bytes: usize, rack: &'a str) -> FetchRequest<'a> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    let mut topics: Vec<FetchRequestTopic<'a>> = Vec::new();
    for asked in asked {
        let partition = FetchRequestPartition {
            partition: asked.partition.number(),
            current_leader_epoch: asked.leader_epoch,
            fetch_offset: asked.next,
            log_start_offset: -1,
            partition_max_bytes: bytes,
        };
        match topics.last_mut().filter(|topic| topic.topic == asked.partition.topic()) {
            Some(topic) => topic.partitions.push(partition),
            None => {
                topics.push(FetchRequestTopic { topic: asked.partition.topic(), partitions: vec![partition] })
            }
        }
    }
    FetchRequest {
        replica_id: -1,
        max_wait_ms: i32::try_from(LONG_POLL.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        max_bytes: bytes,
        // A webhook can't be taken back, so nothing is read before its transaction is committed.
        isolation_level: 1,
        session_id: 0,
        session_epoch: -1,
        topics,
        forgotten_topics_data: Vec::new(),
        rack_id: rack,
    }
}

fn take_all(
    asked: &[Asked],
    answer: &FetchResponse<'_>,
    shared: &Shared,
    unpacker: &mut Unpacker,
) -> Result<Vec<Fetched>, ClusterError> {
    if answer.error_code != ErrorCode::NONE {
        return Err(of_code(answer.error_code, "fetching"));
    }
    let mut fetched = Vec::new();
    for topic in &answer.responses {
        for data in &topic.partitions {
            let of_it = |asked: &&Asked| {
                asked.partition.topic() == topic.topic && asked.partition.number() == data.partition_index
            };
            // What wasn't asked for is none of ours.
            let Some(asked) = asked.iter().find(of_it) else { continue };
            match take(asked, data, unpacker) {
                Ok(taken) => {
                    lend_replica(asked, data.preferred_read_replica, shared);
                    fetched.push(taken);
                }
                Err(Trouble::Fatal(text)) => return Err(ClusterError::Fatal(text)),
                Err(trouble) => trouble_with(asked, &trouble, shared),
            }
        }
    }
    Ok(fetched)
}

/// The leader names a replica that is nearer to us; or a replica no longer is the one to ask.
fn lend_replica(asked: &Asked, preferred: i32, shared: &Shared) {
    if preferred >= 0 {
        let until = Instant::now() + REPLICA_LEASE;
        shared.amend(asked, |cursor| cursor.replica = Some((preferred, until)));
    }
}

fn take(
    asked: &Asked,
    data: &FetchResponsePartition<'_>,
    unpacker: &mut Unpacker,
) -> Result<Fetched, Trouble> {
    let place = || format!("topic {} partition {}", asked.partition.topic(), asked.partition.number());
    match data.error_code {
        ErrorCode::NONE => {}
        ErrorCode::OFFSET_OUT_OF_RANGE => return Err(Trouble::OutOfRange),
        ErrorCode::CORRUPT_MESSAGE => {
            return Err(Trouble::Corrupt(format!(
                "{} at offset {}: the broker says so",
                place(),
                asked.next
            )));
        }
        code => {
            return Err(match of_code(code, &format!("reading {}", place())) {
                ClusterError::Fatal(text) => Trouble::Fatal(text),
                ClusterError::Retriable(_) => Trouble::Metadata,
            });
        }
    }
    let corrupt = |error: BatchError| Trouble::Corrupt(format!("{}: {error}", place()));
    let aborted = data.aborted_transactions.as_deref().unwrap_or_default();
    let aborted =
        aborted.iter().map(|a| Aborted { first_offset: a.first_offset, producer_id: a.producer_id });
    let mut transactions = Transactions::new(aborted);
    let (mut next, mut epochs, mut chunks) = (asked.next, Vec::new(), Vec::new());
    for batch in Batches::new(data.records.unwrap_or_default()) {
        let batch = batch.map_err(corrupt)?;
        batch.check_crc().map_err(corrupt)?;
        let judgement = transactions.judge(&batch).map_err(corrupt)?;
        // A fetch from the middle of a batch brings the whole batch, and one before it does no harm.
        if batch.next_offset() <= asked.next {
            continue;
        }
        if judgement == Judgement::Deliver && batch.count() > 0 {
            let records = batch.records(unpacker, asked.next, MAX_UNPACKED).map_err(corrupt)?;
            let bytes = records.payload().len();
            let (partition, serial) = (asked.partition.clone(), asked.serial);
            chunks.push(Chunk { partition, serial, records, bytes });
        }
        let epoch = batch.partition_leader_epoch();
        if epoch >= 0 && epochs.last().is_none_or(|(_, last)| *last != epoch) {
            epochs.push((batch.base_offset(), epoch));
        }
        next = batch.next_offset();
    }
    let log_end = Some(data.last_stable_offset).filter(|end| *end >= 0).or(Some(data.high_watermark));
    Ok(Fetched { asked: asked.clone(), chunks, next, epochs, log_end: log_end.filter(|end| *end >= 0) })
}

fn trouble_with(asked: &Asked, trouble: &Trouble, shared: &Shared) {
    match trouble {
        // A replica may lag behind what the leader has told us of, or be gone: the leader decides.
        _ if asked.of_replica => shared.amend(asked, |cursor| {
            cursor.replica = None;
            back_off(cursor);
        }),
        Trouble::OutOfRange => shared.amend(asked, |cursor| cursor.phase = Phase::OutOfRange),
        Trouble::Corrupt(text) => {
            let mut stopped = false;
            shared.amend(asked, |cursor| {
                back_off(cursor);
                stopped = cursor.failures >= CORRUPT_ATTEMPTS;
                if stopped {
                    cursor.phase = Phase::Stopped;
                }
            });
            if stopped {
                let text = format!(
                    "{text}. After {CORRUPT_ATTEMPTS} tries nothing more is read of this partition; nothing of it is \
                     skipped. Mend the log or move the group's position past it, then start again"
                );
                shared.notice(Severity::Error, text);
            }
        }
        Trouble::Metadata | Trouble::Fatal(_) => {
            shared.amend(asked, back_off);
        }
    }
    // Whatever it was, a keeper with fresh metadata may know better.
    shared.want_metadata();
}

fn back_off(cursor: &mut Cursor) {
    let (min, max) = RETRY;
    cursor.failures = cursor.failures.saturating_add(1);
    let delay = min.saturating_mul(1 << cursor.failures.min(6).saturating_sub(1)).min(max);
    cursor.not_before = Some(Instant::now() + delay);
}
