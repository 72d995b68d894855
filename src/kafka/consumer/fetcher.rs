//! Records from one broker, fetched ahead in a thread of its own, bounded in bytes.
//!
//! Without a fetch session (KIP-227): each request names what it wants, so that nothing has to be kept in step with
//! the broker. The broker holds a request back while it has nothing new ([`LONG_POLL`]). Checksums are verified and
//! batches unpacked here; taking records apart is left to whoever polls.

use super::nag::Nag;
use super::state::{Asked, Chunk, Cursor, Fetched, MOST_FETCH, Phase, Plan, Shared};
use crate::kafka::cluster::{Cluster, ClusterError, Links, Target, of_code};
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
/// What a batch weighs beside its records.
const CHUNK_OVERHEAD: usize = 256;
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
        while let Plan::Fetch(mut asked) = self.shared.plan(self.broker, self.config.buffer, turn, IDLE) {
            turn = turn.wrapping_add(1);
            match self.fetch(&mut asked) {
                Ok(()) => self.nag.recovered(&self.shared),
                Err(ClusterError::Fatal(text)) => return self.shared.fail(text),
                Err(ClusterError::Retriable(text)) => {
                    // It holds on to the socket, which is of no use any more.
                    self.shared.lock().cancellers.remove(&self.broker);
                    self.nag.tell(&self.shared, &text);
                    self.shared.want_metadata();
                    let leave = |cursor: &mut Cursor| {
                        cursor.replica = None;
                        back_off(cursor);
                    };
                    asked.iter().for_each(|asked| self.shared.amend(asked, leave));
                }
            }
        }
        self.shared.lock().cancellers.remove(&self.broker);
    }

    fn fetch(&mut self, asked: &mut [Asked]) -> Result<(), ClusterError> {
        let target = Target::Broker(self.broker);
        let canceller = self.links.open(target)?.canceller();
        self.shared.lock().cancellers.insert(self.broker, canceller);
        // What was asked moves on while the answer is taken in; the request keeps what it was.
        let names = asked.to_vec();
        let Self { links, shared, unpacker, config, .. } = self;
        let request = request(&names, &config.rack);
        let timeout = config.request_timeout + LONG_POLL;
        let cluster = Arc::clone(links.cluster());
        let mut taker = Taker { shared, unpacker, limit: config.buffer, cluster: &cluster };
        links.call_within(target, &request, timeout, |answer| taker.take_all(asked, &answer))?
    }
}

fn request<'a>(asked: &'a [Asked], rack: &'a str) -> FetchRequest<'a> {
    let bytes = i32::try_from(MOST_FETCH).unwrap_or(i32::MAX);
    let mut topics: Vec<FetchRequestTopic<'a>> = Vec::new();
    for asked in asked {
        let partition = FetchRequestPartition {
            partition: asked.partition.number(),
            current_leader_epoch: asked.leader_epoch,
            fetch_offset: asked.next,
            partition_max_bytes: bytes,
            ..FetchRequestPartition::default()
        };
        match topics.last_mut().filter(|topic| topic.topic == asked.partition.topic()) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(FetchRequestTopic {
                topic: asked.partition.topic(),
                partitions: vec![partition],
                ..FetchRequestTopic::default()
            }),
        }
    }
    FetchRequest {
        max_wait_ms: i32::try_from(LONG_POLL.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        max_bytes: bytes,
        // A webhook can't be taken back, so nothing is read before its transaction is committed.
        isolation_level: 1,
        topics,
        rack_id: rack,
        ..FetchRequest::default()
    }
}

/// Takes answers in.
struct Taker<'a> {
    shared: &'a Shared,
    unpacker: &'a mut Unpacker,
    /// How many bytes of batches are kept.
    limit: usize,
    cluster: &'a Cluster,
}

impl Taker<'_> {
    fn take_all(&mut self, asked: &mut [Asked], answer: &FetchResponse<'_>) -> Result<(), ClusterError> {
        if answer.error_code != ErrorCode::NONE {
            return Err(of_code(answer.error_code, "fetching"));
        }
        for topic in &answer.responses {
            for data in &topic.partitions {
                let of_it = |asked: &&mut Asked| {
                    asked.partition.topic() == topic.topic && asked.partition.number() == data.partition_index
                };
                // What wasn't asked for is none of ours.
                let Some(asked) = asked.iter_mut().find(of_it) else { continue };
                match self.take(asked, data) {
                    Ok(()) => lend_replica(asked, data.preferred_read_replica, self.shared),
                    Err(Trouble::Fatal(text)) => return Err(ClusterError::Fatal(text)),
                    Err(trouble) => trouble_with(asked, &trouble, self.shared),
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, asked: &mut Asked, data: &FetchResponsePartition<'_>) -> Result<(), Trouble> {
        if data.error_code == ErrorCode::UNKNOWN_LEADER_EPOCH {
            // We believe in a later leader than the broker knows of: perhaps in one of a topic that is no more.
            self.cluster.forget_leader(asked.partition.topic(), asked.partition.number());
        }
        look_for_error(asked, data)?;
        let partition = asked.partition.clone();
        let place = || format!("topic {} partition {}", partition.topic(), partition.number());
        let corrupt = |error: BatchError| Trouble::Corrupt(format!("{}: {error}", place()));
        let aborted = data.aborted_transactions.as_deref().unwrap_or_default();
        let aborted =
            aborted.iter().map(|a| Aborted { first_offset: a.first_offset, producer_id: a.producer_id });
        let mut transactions = Transactions::new(aborted);
        for batch in Batches::new(data.records.unwrap_or_default()) {
            let batch = batch.map_err(corrupt)?;
            batch.check_crc().map_err(corrupt)?;
            let judgement = transactions.judge(&batch).map_err(corrupt)?;
            // A fetch from the middle of a batch brings the whole batch, and one before it does no harm.
            if batch.next_offset() <= asked.next {
                continue;
            }
            let mut chunk = None;
            if judgement == Judgement::Deliver && batch.count() > 0 {
                let records = batch.records(self.unpacker, asked.next, MAX_UNPACKED).map_err(corrupt)?;
                let (bytes, serial) = (records.payload().len().saturating_add(CHUNK_OVERHEAD), asked.serial);
                let (partition, handed) = (partition.clone(), asked.next);
                chunk = Some(Chunk { partition, serial, records, bytes, handed });
            }
            let epoch = Some(batch.partition_leader_epoch()).filter(|epoch| *epoch >= 0);
            let epoch = epoch.map(|epoch| (batch.base_offset(), epoch));
            let fetched = Fetched { chunk, next: batch.next_offset(), epoch };
            if !self.shared.fetched(asked, fetched, self.limit) {
                return Ok(());
            }
        }
        let log_end = Some(data.last_stable_offset).filter(|end| *end >= 0).or(Some(data.high_watermark));
        self.shared.went_well(asked, log_end.filter(|end| *end >= 0));
        Ok(())
    }
}

fn look_for_error(asked: &Asked, data: &FetchResponsePartition<'_>) -> Result<(), Trouble> {
    let place = || format!("topic {} partition {}", asked.partition.topic(), asked.partition.number());
    match data.error_code {
        ErrorCode::NONE => Ok(()),
        ErrorCode::OFFSET_OUT_OF_RANGE => Err(Trouble::OutOfRange),
        ErrorCode::CORRUPT_MESSAGE => {
            Err(Trouble::Corrupt(format!("{} at offset {}: the broker says so", place(), asked.next)))
        }
        code => Err(match of_code(code, &format!("reading {}", place())) {
            ClusterError::Fatal(text) => Trouble::Fatal(text),
            ClusterError::Retriable(_) => Trouble::Metadata,
        }),
    }
}

/// The leader names a replica that is nearer to us; or a replica no longer is the one to ask.
fn lend_replica(asked: &Asked, preferred: i32, shared: &Shared) {
    if preferred >= 0 {
        let until = Instant::now() + REPLICA_LEASE;
        shared.amend(asked, |cursor| cursor.replica = Some((preferred, until)));
    }
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
