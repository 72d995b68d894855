//! The thread that fetches from one broker, ahead of delivery and bounded in bytes. It also answers the cursors'
//! questions about the logs that the broker leads, so that a hanging broker delays only its own partitions.
//!
//! Fetches without a session (KIP-227): each request lists its partitions, so there is no state to keep in sync with
//! the broker. The broker holds a request back while there are no new records ([`LONG_POLL`]). Checksums are verified
//! and batches decompressed here; the polling thread decodes the records.

use super::cursor::{Cursor, Output, Question, Rules, Serials, Trouble};
use super::offsets;
use super::outage_notice::OutageNotice;
use super::state::{Asked, Chunk, Fetched, MOST_FETCH, Plan, Shared};
use crate::kafka::cluster::{Cluster, ClusterError, Connections, Target, is_fatal};
use crate::kafka::config::Config;
use crate::kafka::protocol::fetch::{
    FetchRequest, FetchRequestPartition, FetchRequestTopic, FetchResponse, FetchResponsePartition,
};
use crate::kafka::protocol::{ApiKey, ErrorCode};
use crate::kafka::record_batch::transactions::{Aborted, Judgement, Transactions};
use crate::kafka::record_batch::{BatchError, Batches, Unpacker};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a broker holds a fetch back while it has no new records (`fetch.max.wait.ms`).
pub const LONG_POLL: Duration = Duration::from_millis(500);
/// How long a preferred replica is used before the leader is asked again (KIP-392).
const REPLICA_LEASE: Duration = Duration::from_secs(300);
/// A fetcher ends after this long without partitions.
const IDLE: Duration = Duration::from_secs(60);
/// The memory of a batch besides its records, in bytes.
const CHUNK_OVERHEAD: usize = 256;

/// Fetches from one broker.
pub(super) struct Fetcher {
    broker: i32,
    connections: Connections,
    shared: Arc<Shared>,
    config: Arc<Config>,
    unpacker: Unpacker,
    outage_notice: OutageNotice,
}

/// Why a partition of a response was not accepted.
enum Refused {
    /// An error of the partition or of its leader.
    Trouble(Trouble),
    /// The position is outside the log.
    OutOfRange,
    /// No retry helps.
    Fatal(ClusterError),
}

impl Fetcher {
    pub(super) fn new(
        broker: i32,
        connections: Connections,
        shared: Arc<Shared>,
        config: Arc<Config>,
    ) -> Self {
        Self {
            broker,
            connections,
            shared,
            config,
            unpacker: Unpacker::default(),
            outage_notice: OutageNotice::new("the brokers answer again"),
        }
    }

    /// Runs until the consumer is closed, or until the broker has had no partition of ours for [`IDLE`].
    pub(super) fn run(mut self) {
        let mut turn = 0;
        loop {
            let (asked, outcome) = match self.shared.plan(self.broker, self.config.buffer, turn, IDLE) {
                Plan::End => break,
                Plan::Fetch(mut asked) => {
                    turn = turn.wrapping_add(1);
                    let outcome = self.fetch(&mut asked);
                    (asked, outcome)
                }
                Plan::Ask(questions) => {
                    let outcome = self.find_out(&questions);
                    (questions.into_iter().map(|(asked, _)| asked).collect(), outcome)
                }
            };
            match outcome {
                Ok(()) => self.outage_notice.recovered(&self.shared),
                Err(error) if error.is_fatal() => return self.shared.fail(error),
                Err(error) => {
                    // It keeps the socket open, which is of no use any more.
                    self.shared.lock().cancellers.remove(&self.broker);
                    self.outage_notice.failed(&self.shared, &error.into());
                    self.shared.want_metadata();
                    asked.iter().for_each(|asked| self.shared.failed(asked, Trouble::Connection));
                }
            }
        }
        let mut state = self.shared.lock();
        state.cancellers.remove(&self.broker);
    }

    /// Asks the cursors' questions about the logs that this broker leads, one request per kind of question.
    fn find_out(&mut self, questions: &[(Asked, Question)]) -> Result<(), ClusterError> {
        let canceller = self.connections.open(Target::Broker(self.broker))?.canceller();
        self.shared.lock().cancellers.insert(self.broker, canceller);
        let mut bounds: BTreeMap<(bool, Option<i64>), Vec<&Asked>> = BTreeMap::new();
        let mut ends: Vec<(&Asked, i32)> = Vec::new();
        for (asked, question) in questions {
            match question {
                Question::Bounds { uncommitted, at } => {
                    bounds.entry((*uncommitted, *at)).or_default().push(asked);
                }
                // One request can ask for a different epoch of each partition.
                Question::EpochEnd(epoch) => ends.push((asked, *epoch)),
                Question::Committed => {}
            }
        }
        for ((uncommitted, at), of_it) in bounds {
            let asked: Vec<_> = of_it.iter().map(|asked| (&asked.partition, asked.leader_epoch)).collect();
            let found = offsets::bounds(&mut self.connections, self.broker, &asked, uncommitted, at)?;
            self.answer(&of_it, found, |cursor, asked, bounds, rules, serials| {
                cursor.bounds_were(asked.ask, bounds, rules, Instant::now(), serials)
            });
        }
        if ends.is_empty() {
            return Ok(());
        }
        let asked: Vec<_> =
            ends.iter().map(|(asked, epoch)| (&asked.partition, asked.leader_epoch, *epoch)).collect();
        let found = offsets::epoch_ends(&mut self.connections, self.broker, &asked)?;
        let of_it: Vec<&Asked> = ends.iter().map(|(asked, _)| *asked).collect();
        self.answer(&of_it, found, |cursor, asked, end, rules, serials| {
            cursor.epoch_end_was(asked.ask, end, rules, Instant::now(), serials)
        });
        Ok(())
    }

    /// Passes the answers or errors to the cursors, under one lock, so that partitions that begin together share an
    /// event.
    fn answer<T>(
        &self,
        asked: &[&Asked],
        mut found: offsets::Answers<T>,
        mut take: impl FnMut(&mut Cursor, &Asked, T, &Rules, &mut Serials) -> Vec<Output>,
    ) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let rules = state.rules();
        for asked in asked {
            let answer = found.remove(&asked.partition);
            state.change(&asked.partition, |cursor, serials| match answer {
                Some(Ok(value)) => take(cursor, asked, value, &rules, serials),
                refused => {
                    // A partition that the response lacks counts as an unknown error.
                    let code = refused.and_then(Result::err).unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
                    doubt(self.connections.cluster(), asked, code);
                    cursor.failed(asked.ask, Trouble::Refused(code), now, serials)
                }
            });
            let is_open =
                state.cursors.get(&asked.partition).is_some_and(|cursor| cursor.trouble().is_some());
            state.metadata_wanted |= is_open;
        }
        drop(state);
        self.shared.wake();
    }

    fn fetch(&mut self, asked: &mut [Asked]) -> Result<(), ClusterError> {
        let target = Target::Broker(self.broker);
        let canceller = self.connections.open(target)?.canceller();
        self.shared.lock().cancellers.insert(self.broker, canceller);
        // `asked` advances with the batches of the response; the request keeps the old offsets.
        let names = asked.to_vec();
        let Self { connections, shared, unpacker, config, .. } = self;
        let rack = if names.iter().any(|asked| asked.of_leader_alone) { "" } else { &config.rack };
        let request = request(&names, rack);
        let timeout = config.request_timeout + LONG_POLL;
        let cluster = Arc::clone(connections.cluster());
        let mut taker = Taker {
            shared,
            unpacker,
            limit: config.buffer,
            largest: config.largest_batch,
            cluster: &cluster,
        };
        connections.call_within(target, &request, timeout, |answer| taker.take_all(asked, &answer))?
    }
}

fn request<'a>(asked: &'a [Asked], rack: &'a str) -> FetchRequest<'a> {
    let bytes = i32::try_from(MOST_FETCH).unwrap_or(i32::MAX);
    let mut topics: Vec<FetchRequestTopic<'a>> = Vec::new();
    for asked in asked {
        let partition = FetchRequestPartition {
            partition: asked.partition.number(),
            current_leader_epoch: asked.leader_epoch,
            fetch_offset: asked.ask.next,
            partition_max_bytes: bytes,
            ..FetchRequestPartition::default()
        };
        match topics.last_mut().filter(|topic| topic.topic == asked.partition.topic()) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(FetchRequestTopic {
                topic: asked.partition.topic(),
                topic_id: asked.topic,
                partitions: vec![partition],
            }),
        }
    }
    FetchRequest {
        max_wait_ms: i32::try_from(LONG_POLL.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        max_bytes: bytes,
        // read_committed: an event that was sent can't be taken back.
        isolation_level: 1,
        topics,
        rack_id: rack,
        ..FetchRequest::default()
    }
}

/// Reads fetch responses.
struct Taker<'a> {
    shared: &'a Shared,
    unpacker: &'a mut Unpacker,
    /// The size of the buffer in bytes.
    limit: usize,
    /// The maximum uncompressed size of a batch in bytes.
    largest: usize,
    cluster: &'a Cluster,
}

impl Taker<'_> {
    fn take_all(&mut self, asked: &mut [Asked], answer: &FetchResponse<'_>) -> Result<(), ClusterError> {
        if answer.error_code != ErrorCode::NONE {
            return Err(ClusterError::of_cluster(ApiKey::Fetch, answer.error_code));
        }
        // Brokers answer in the order of the request, so the search continues after the last match.
        let mut place = 0;
        for topic in &answer.responses {
            let mut served = None;
            for data in &topic.partitions {
                let of_it = |asked: &Asked| {
                    let same = match topic.topic {
                        "" => asked.topic == topic.topic_id,
                        name => asked.partition.topic() == name,
                    };
                    same && asked.partition.number() == data.partition_index
                };
                let mut places = (place..asked.len()).chain(0..place);
                // A partition that was not asked for is ignored.
                let Some(at) = places.find(|at| asked.get(*at).is_some_and(of_it)) else { continue };
                place = at + 1;
                let Some(asked) = asked.get_mut(at) else { continue };
                match self.take(asked, data) {
                    Ok(()) => {
                        served.get_or_insert_with(|| (asked.partition.clone(), asked.topic));
                        note_preferred_replica(asked, data.preferred_read_replica, self.shared);
                    }
                    Err(Refused::Fatal(error)) => return Err(error),
                    Err(Refused::Trouble(trouble)) => {
                        self.shared.failed(asked, trouble);
                        self.shared.want_metadata();
                    }
                    // A follower may lag behind the leader, so only the leader's word counts.
                    Err(Refused::OutOfRange) if asked.of_replica => {
                        self.shared.failed(asked, Trouble::Refused(ErrorCode::OFFSET_OUT_OF_RANGE));
                    }
                    Err(Refused::OutOfRange) => self.shared.change(&asked.partition, |cursor, serials| {
                        cursor.out_of_range(asked.ask, Instant::now(), serials);
                        Vec::new()
                    }),
                }
            }
            if let Some((partition, id)) = served.filter(|_| topic.topic.is_empty()) {
                self.cluster.topic_served(partition.topic(), id);
            }
        }
        Ok(())
    }

    fn take(&mut self, asked: &mut Asked, data: &FetchResponsePartition<'_>) -> Result<(), Refused> {
        doubt(self.cluster, asked, data.error_code);
        look_for_error(asked, data)?;
        let partition = asked.partition.clone();
        let corrupt = |error: BatchError| {
            Refused::Trouble(match error {
                BatchError::TooLarge { .. } => Trouble::TooLarge(error.to_string()),
                error => Trouble::Corrupt(error.to_string()),
            })
        };
        let aborted = data.aborted_transactions.as_deref().unwrap_or_default();
        let aborted =
            aborted.iter().map(|a| Aborted { first_offset: a.first_offset, producer_id: a.producer_id });
        let mut transactions = Transactions::new(aborted);
        for batch in Batches::new(data.records.unwrap_or_default()) {
            let batch = batch.map_err(corrupt)?;
            batch.check_crc().map_err(corrupt)?;
            let judgement = transactions.judge(&batch).map_err(corrupt)?;
            // A fetch from within a batch returns the whole batch, and perhaps earlier ones.
            let from = asked.ask.next;
            if batch.next_offset() <= from {
                continue;
            }
            let mut chunk = None;
            if judgement == Judgement::Deliver && batch.count() > 0 {
                let records = batch.records(self.unpacker, from, self.largest).map_err(corrupt)?;
                let bytes = records.payload().len().saturating_add(CHUNK_OVERHEAD);
                let (partition, assignment) = (partition.clone(), asked.assignment);
                chunk = Some(Chunk { partition, assignment, records, bytes, handed: from });
            }
            let epoch = Some(batch.partition_leader_epoch()).filter(|epoch| *epoch >= 0);
            let epoch = epoch.map(|epoch| (batch.base_offset(), epoch));
            let fetched = Fetched { chunk, next: batch.next_offset(), epoch };
            if !self.shared.fetched(asked, fetched, self.limit) {
                return Ok(());
            }
        }
        let log_end = Some(data.last_stable_offset).filter(|end| *end >= 0).or(Some(data.high_watermark));
        self.shared.fetch_succeeded(asked, log_end.filter(|end| *end >= 0));
        Ok(())
    }
}

/// Drops the known leader if the response says that it does not lead, or does not know the topic: the topic may have
/// been recreated.
fn doubt(cluster: &Cluster, asked: &Asked, code: ErrorCode) {
    let doubtful = matches!(
        code,
        ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::UNKNOWN_LEADER_EPOCH
            | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            | ErrorCode::UNKNOWN_TOPIC_ID
            | ErrorCode::INCONSISTENT_TOPIC_ID
    );
    if doubtful && !asked.of_replica {
        cluster.leader_refused(asked.partition.topic(), asked.partition.number());
        cluster.topic_refused(asked.partition.topic(), asked.topic, code);
    }
}

fn look_for_error(asked: &Asked, data: &FetchResponsePartition<'_>) -> Result<(), Refused> {
    match data.error_code {
        ErrorCode::NONE => Ok(()),
        ErrorCode::OFFSET_OUT_OF_RANGE => Err(Refused::OutOfRange),
        ErrorCode::CORRUPT_MESSAGE => {
            let text = format!("the broker says that the records at offset {} are corrupt", asked.ask.next);
            Err(Refused::Trouble(Trouble::Corrupt(text)))
        }
        ErrorCode::TOPIC_AUTHORIZATION_FAILED => {
            Err(Refused::Trouble(Trouble::Refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED)))
        }
        code if is_fatal(code) => {
            Err(Refused::Fatal(ClusterError::of_partition(ApiKey::Fetch, &asked.partition, code)))
        }
        code => Err(Refused::Trouble(Trouble::Refused(code))),
    }
}

/// Remembers the replica that the leader redirects to.
fn note_preferred_replica(asked: &Asked, preferred: i32, shared: &Shared) {
    if preferred >= 0 {
        let until = Instant::now() + REPLICA_LEASE;
        shared.change(&asked.partition, |cursor, _| {
            if cursor.is_current(asked.ask) {
                cursor.prefer_replica(preferred, until);
            }
            Vec::new()
        });
    }
}
