//! Writes records to a topic, acknowledged by all in-sync replicas (`acks=all`).
//!
//! Synchronous: [`Producer::send`] returns once every record is acknowledged. It is idempotent (KIP-98) if the brokers
//! permit it: a batch whose acknowledgement is lost is sent again unchanged, also by the next [`send`](Producer::send)
//! of its records, and the log has it once. Otherwise, and after a restart of the process, the log may have duplicates.
//! No record is lost in either case.
//!
//! If a topic refuses a record's timestamp (`message.timestamp.before.max.ms`, `after.max.ms`), the record is sent with
//! the present time, and if that is refused too because of a wrong clock, without a timestamp.
//!
//! | room | what it is |
//! |---|---|
//! | `batches` | which records go into which batch |
//! | `sequences` | sequence numbers and unanswered batches |
//! | `error` | [`ProducerError`] |

mod batches;
mod error;
mod sequences;

use super::cluster::{ClusterError, Connections, Target};
use super::protocol::init_producer_id::InitProducerIdRequest;
use super::protocol::produce::{ProduceRequest, ProduceRequestPartition, ProduceRequestTopic};
use super::protocol::{ApiKey, ErrorCode};
use super::record_batch::{Compression, NewRecord, ProducerState};
use crate::record::Partition;
use crate::text::terminal::excerpt;
use crate::text::time::timestamp;
pub use batches::BATCH_BYTES;
use batches::{Batch, murmur2, smaller, split, written};
pub use error::ProducerError;
use sequences::{Sequences, Written};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant, SystemTime};

/// How many attempts a batch gets per send, with a refresh of the leaders between them.
const LEADER_ATTEMPTS: u32 = 3;
/// The pause between two requests for a producer id.
const ID_PAUSE: Duration = Duration::from_millis(200);
/// How many new producer ids a batch may get per send.
const MOST_RENEWALS: u8 = 2;
/// `acks=all`.
const ACKS_ALL: i16 = -1;
/// The maximum length of a broker's error message, in characters.
const MESSAGE_CHARS: usize = 300;
/// No timestamp, which every topic accepts.
const NO_TIMESTAMP: i64 = -1;
/// How many other timestamps a record gets: the present time, then none.
const MOST_TIMESTAMPS: u8 = 2;

/// Writes records to one topic.
#[derive(Debug)]
pub struct Producer {
    connections: Connections,
    topic: String,
    timeout: Duration,
    /// Counts the records without a key, which go to the partitions in turn.
    turn: u32,
    /// The topic was found in the metadata.
    known: bool,
    /// Records were acknowledged before, so a right that is missing now may be restored.
    proven: bool,
    sequences: Sequences,
}

/// The outcome of a batch.
enum Delivered {
    Acknowledged,
    /// The batch, of this size in bytes, is larger than the topic accepts.
    TooLarge(ErrorCode, usize),
    /// The topic refuses the timestamps of these records, given by their indexes in the batch.
    OtherTimestamps(Vec<usize>),
    /// The broker refuses the producer id or the sequence number, so the batch is not in the log.
    OtherId(ErrorCode),
}

/// A broker's response to a batch.
enum Answer {
    Code(ErrorCode),
    OtherTimestamps(Vec<usize>),
}

/// Records that are being sent, with timestamps that the topic accepts.
struct Sending<'a> {
    records: Vec<NewRecord<'a>>,
    /// How many other timestamps each record has got.
    timestamps: Vec<u8>,
}

impl<'a> Sending<'a> {
    fn new(records: &[NewRecord<'a>]) -> Self {
        Self { records: records.to_vec(), timestamps: vec![0; records.len()] }
    }

    /// Gives these records of the batch another timestamp, or all of them if the broker names none. Returns whether any
    /// timestamp has changed.
    fn change(&mut self, batch: &Batch, named: &[usize]) -> bool {
        let mut some: Vec<usize> = named.iter().filter_map(|at| batch.records.get(*at).copied()).collect();
        if some.is_empty() {
            some.clone_from(&batch.records);
        }
        let now = timestamp(SystemTime::now());
        let mut is_changed = false;
        for at in some {
            let (Some(record), Some(count)) = (self.records.get_mut(at), self.timestamps.get_mut(at)) else {
                continue;
            };
            if *count < MOST_TIMESTAMPS {
                record.timestamp = if *count == 0 { now } else { NO_TIMESTAMP };
                *count += 1;
                is_changed = true;
            }
        }
        is_changed
    }
}

impl Producer {
    /// A producer for `topic`. `timeout` is the brokers' time limit for replicating a batch; a failing send ends soon
    /// after that time.
    pub fn new(connections: Connections, topic: String, timeout: Duration) -> Self {
        let sequences = Sequences::new();
        Self { connections, topic, timeout, turn: 0, known: false, proven: false, sequences }
    }

    /// The name of the topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Sends records. Those of one key go in order to one partition, the same as Java's producer chooses. Returns once
    /// all of them are acknowledged. Sets the elements of `acknowledged` whose records are: after an error, those need
    /// not be sent again.
    ///
    /// # Errors
    /// The last error of a partition; the other partitions are tried all the same. A [fatal](ProducerError::is_fatal)
    /// one ends the send: no right to write, or a record that the topic does not accept.
    pub fn send(
        &mut self,
        records: &[NewRecord<'_>],
        acknowledged: &mut [bool],
    ) -> Result<(), ProducerError> {
        if records.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + self.timeout;
        if !self.known {
            self.look_up()?;
        }
        let mut failure = None;
        let mut sending = Sending::new(records);
        let mut pending: VecDeque<Batch> = self.batches(records)?.into();
        let mut failed = BTreeSet::new();
        // Ends, since each round completes a batch, splits it, compresses it, changes a timestamp or the producer id.
        while let Some(mut batch) = pending.pop_front() {
            if failure.is_some() && Instant::now() >= deadline {
                break;
            }
            // A batch must not overtake one that failed before it in its partition.
            if failed.contains(&batch.partition) {
                continue;
            }
            match self.deliver(&mut batch, &sending.records, deadline) {
                Ok(Delivered::Acknowledged) => {
                    self.proven = true;
                    mark(acknowledged, &batch.records);
                }
                Ok(Delivered::TooLarge(code, size)) => {
                    self.rewrite(&mut batch);
                    let too_large = ProducerError::RecordTooLarge { topic: self.topic.clone(), size, code };
                    let smaller = smaller(batch).ok_or(too_large)?;
                    smaller.into_iter().rev().for_each(|part| pending.push_front(part));
                }
                Ok(Delivered::OtherTimestamps(named)) => {
                    self.rewrite(&mut batch);
                    if !sending.change(&batch, &named) {
                        let (topic, partition) = (self.topic.clone(), batch.partition);
                        return Err(ProducerError::TimestampRefused { topic, partition });
                    }
                    pending.push_front(batch);
                }
                Ok(Delivered::OtherId(code)) => {
                    self.rewrite(&mut batch);
                    self.sequences.renew();
                    batch.renewals += 1;
                    if batch.renewals <= MOST_RENEWALS {
                        pending.push_front(batch);
                        continue;
                    }
                    failed.insert(batch.partition);
                    failure = Some(self.refused(batch.partition, code));
                }
                Err(error) => {
                    failed.insert(batch.partition);
                    self.keep_in_doubt(batch, records);
                    if error.is_fatal() {
                        return Err(error);
                    }
                    failure = Some(error);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Remembers a failed batch that may be in the log. Its records are kept with their original timestamps, so that the
    /// next send recognises them.
    fn keep_in_doubt(&mut self, batch: Batch, records: &[NewRecord<'_>]) {
        if let Some(written) = batch.written.filter(|written| written.in_doubt) {
            let given = batch.records.iter().filter_map(|at| records.get(*at));
            self.sequences.keep(batch.partition, given, written);
        }
    }

    /// Prepares a changed batch: it must not reuse sequence numbers that may be in the log already.
    fn rewrite(&mut self, batch: &mut Batch) {
        self.sequences.give_up(batch.partition);
        if batch.written.take().is_some_and(|written| written.in_doubt) {
            self.sequences.renew();
        }
    }

    /// The error for an error code in the response to a batch.
    fn refused(&self, partition: i32, code: ErrorCode) -> ProducerError {
        let partition = Partition::new(self.topic.as_str(), partition);
        self.of_topic(ClusterError::of_partition(ApiKey::Produce, &partition, code))
    }

    /// Gets a producer id, if one is needed. If the brokers give none, records are written without one.
    fn identify(&mut self, deadline: Instant) -> Result<(), ClusterError> {
        while self.sequences.wants_id() {
            let error = match self.ask_for_id() {
                Ok((id, epoch)) => {
                    self.sequences.given(id, epoch);
                    break;
                }
                Err(error) => error,
            };
            let is_final = error.is_fatal() || error.code().is_some_and(|code| !code.is_retriable());
            if is_final || self.sequences.failed() {
                self.go_without(&error.to_string());
            } else if Instant::now() + ID_PAUSE >= deadline {
                return Err(error);
            } else {
                // A broker that has run out of ids gets more from the controller.
                std::thread::sleep(ID_PAUSE);
            }
        }
        Ok(())
    }

    fn go_without(&mut self, why: &str) {
        self.sequences.go_without();
        (self.connections.reporter().info)(&format!(
            "records of topic '{}' are written without an idempotent producer's id, so one whose acknowledgement is \
             lost may be written twice: {why}",
            self.topic
        ));
    }

    fn ask_for_id(&mut self) -> Result<(i64, i16), ClusterError> {
        if !self.connections.supports(Target::Any, ApiKey::InitProducerId)? {
            return Err(ClusterError::NoApi(ApiKey::InitProducerId));
        }
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            ..InitProducerIdRequest::default()
        };
        self.connections.call(Target::Any, &request, |answer| match answer.error_code {
            ErrorCode::NONE => Ok((answer.producer_id, answer.producer_epoch)),
            code => Err(ClusterError::of_cluster(ApiKey::InitProducerId, code)),
        })?
    }

    fn look_up(&mut self) -> Result<(), ProducerError> {
        let topic = self.topic.clone();
        if let Some((_, code)) = self.connections.refresh(Some(&[&topic]))?.into_iter().next() {
            return Err(match code {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => ProducerError::TopicMissing(topic),
                code => self.of_topic(ClusterError::of_topic(ApiKey::Metadata, &topic, code)),
            });
        }
        self.known = true;
        Ok(())
    }

    /// The error for an error code of the topic: a right that was there before may be restored.
    fn of_topic(&self, error: ClusterError) -> ProducerError {
        let is_right = error.code() == Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        if is_right && self.proven { ProducerError::Revoked(error) } else { error.into() }
    }

    fn partitions(&self) -> Result<u32, ProducerError> {
        let size = self.connections.cluster().size(&self.topic).unwrap_or(0);
        match u32::try_from(size) {
            Ok(size @ 1..) => Ok(size),
            _ => Err(ProducerError::NoPartitions(self.topic.clone())),
        }
    }

    /// Splits the records into batches by partition, first those that were sent before.
    fn batches(&mut self, records: &[NewRecord<'_>]) -> Result<Vec<Batch>, ProducerError> {
        let partitions = self.partitions()?;
        let mut batches = Vec::new();
        let mut resumed = BTreeSet::new();
        for (partition, places, written) in self.sequences.resumed(records, partitions) {
            resumed.extend(places.iter().copied());
            let batch = Batch::new(partition, places, Compression::None);
            batches.push(Batch { written: Some(written), ..batch });
        }
        let mut shares: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, record) in records.iter().enumerate().filter(|(at, _)| !resumed.contains(at)) {
            let partition = match record.key {
                Some(key) => (murmur2(key) & 0x7fff_ffff) % partitions,
                None => {
                    self.turn = self.turn.wrapping_add(1);
                    self.turn % partitions
                }
            };
            shares.entry(partition).or_default().push(at);
        }
        for (partition, share) in shares {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            let parts = split(&share, records).into_iter();
            batches.extend(parts.map(|records| Batch::new(partition, records, Compression::None)));
        }
        Ok(batches)
    }

    /// Sends a batch to the leader of its partition, and follows the leader if it moves.
    fn deliver(
        &mut self,
        batch: &mut Batch,
        records: &[NewRecord<'_>],
        deadline: Instant,
    ) -> Result<Delivered, ProducerError> {
        if batch.written.is_none() {
            self.identify(deadline)?;
            let state = self.sequences.state(batch.partition);
            let bytes = written(batch, records, state)?;
            batch.written = Some(Written { bytes, state, in_doubt: false });
        }
        let (partition, count) = (batch.partition, batch.records.len());
        let mut last = None;
        for _ in 0..LEADER_ATTEMPTS {
            let Some(written) = batch.written.as_mut() else { break };
            let error = match self.attempt(partition, written) {
                Ok(Answer::OtherTimestamps(named)) => return Ok(Delivered::OtherTimestamps(named)),
                // A duplicate is in the log, even if it is older than the broker remembers.
                Ok(Answer::Code(ErrorCode::NONE | ErrorCode::DUPLICATE_SEQUENCE_NUMBER)) => {
                    self.sequences.acknowledged(partition, written.state, count);
                    return Ok(Delivered::Acknowledged);
                }
                Ok(Answer::Code(
                    code @ (ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE),
                )) => {
                    return Ok(Delivered::TooLarge(code, written.bytes.len()));
                }
                Ok(Answer::Code(code)) if written.state != ProducerState::NONE && is_of_id(code) => {
                    return Ok(Delivered::OtherId(code));
                }
                // Before Kafka 2.8, idempotent writes need a right of their own.
                Ok(Answer::Code(code @ ErrorCode::CLUSTER_AUTHORIZATION_FAILED))
                    if written.state != ProducerState::NONE =>
                {
                    self.go_without(&format!("the broker answered {code}"));
                    return Ok(Delivered::OtherId(code));
                }
                Ok(Answer::Code(code)) => self.refused(partition, code),
                Err(error) => error,
            };
            if error.is_fatal() {
                return Err(error);
            }
            last = Some(error);
            self.known = false;
            if Instant::now() >= deadline {
                break;
            }
            self.look_up()?;
        }
        Err(last.unwrap_or(ProducerError::NoAttempt))
    }

    fn attempt(&mut self, partition: i32, written: &mut Written) -> Result<Answer, ProducerError> {
        let Some((leader, _)) = self.connections.cluster().leader(&self.topic, partition) else {
            return Ok(Answer::Code(ErrorCode::LEADER_NOT_AVAILABLE));
        };
        // Opened before the request's deadline starts, since a slow login would leave no time for the response.
        self.connections.open(Target::Broker(leader))?;
        let was_in_doubt = std::mem::replace(&mut written.in_doubt, true);
        let data = ProduceRequestPartition { index: partition, records: Some(&written.bytes) };
        let topic = self.topic.clone();
        let request = ProduceRequest {
            transactional_id: None,
            acks: ACKS_ALL,
            timeout_ms: i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX),
            topic_data: vec![ProduceRequestTopic {
                name: &topic,
                topic_id: self.connections.cluster().topic_id(&topic),
                partition_data: vec![data],
            }],
        };
        let answer = self.connections.call(Target::Broker(leader), &request, |answer| {
            let written = answer.responses.iter().flat_map(|topic| &topic.partition_responses).next();
            match written {
                Some(written) if written.error_code == ErrorCode::INVALID_TIMESTAMP => {
                    let named = written.record_errors.iter();
                    let named = named.filter_map(|error| usize::try_from(error.batch_index).ok());
                    Ok(Answer::OtherTimestamps(named.collect()))
                }
                Some(written) if is_lasting(written.error_code) => {
                    let of_record = written.record_errors.iter().find_map(|it| it.batch_index_error_message);
                    let message = of_record.or(written.error_message).unwrap_or_default();
                    Err(ProducerError::RecordRefused {
                        topic: topic.clone(),
                        partition,
                        code: written.error_code,
                        message: excerpt(message.as_bytes(), MESSAGE_CHARS),
                    })
                }
                Some(written) => Ok(Answer::Code(written.error_code)),
                None => Ok(Answer::Code(ErrorCode::UNKNOWN_SERVER_ERROR)),
            }
        })?;
        if answer.as_ref().map_or(true, Answer::is_refusal) {
            written.in_doubt = was_in_doubt;
        }
        answer
    }
}

/// Marks the records of a batch as acknowledged.
fn mark(acknowledged: &mut [bool], records: &[usize]) {
    for at in records {
        if let Some(mark) = acknowledged.get_mut(*at) {
            *mark = true;
        }
    }
}

impl Answer {
    /// Whether the response means that nothing was written.
    fn is_refusal(&self) -> bool {
        match self {
            Self::OtherTimestamps(_) => true,
            Self::Code(code) => [
                ErrorCode::MESSAGE_TOO_LARGE,
                ErrorCode::RECORD_LIST_TOO_LARGE,
                ErrorCode::NOT_LEADER_OR_FOLLOWER,
                ErrorCode::NOT_ENOUGH_REPLICAS,
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                ErrorCode::UNKNOWN_TOPIC_ID,
                ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ]
            .contains(code),
        }
    }
}

/// Errors of a producer id that is forgotten, fenced, or out of sequence (KIP-360).
fn is_of_id(code: ErrorCode) -> bool {
    [
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::PRODUCER_FENCED,
    ]
    .contains(&code)
}

/// Errors that a retry with the same record does not fix.
fn is_lasting(code: ErrorCode) -> bool {
    [ErrorCode::INVALID_RECORD, ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT, ErrorCode::POLICY_VIOLATION]
        .contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_changed_where_they_are_refused_and_at_most_twice() {
        let records =
            [1, 2, 3].map(|timestamp| NewRecord { timestamp, key: None, value: None, headers: &[] });
        let mut sending = Sending::new(&records);
        let batch = Batch::new(0, vec![2, 0], Compression::None);
        let times = |sending: &Sending<'_>| sending.records.iter().map(|it| it.timestamp).collect::<Vec<_>>();
        assert!(sending.change(&batch, &[1]), "the second of the batch is the first record");
        assert_eq!(times(&sending)[1..], [2, 3]);
        assert!(times(&sending)[0] > 1_700_000_000_000);
        // A broker that names none means all, as one does that names others than there are.
        assert!(sending.change(&batch, &[]));
        assert_eq!(times(&sending)[..2], [NO_TIMESTAMP, 2]);
        assert!(sending.change(&batch, &[7]));
        assert_eq!(times(&sending), [NO_TIMESTAMP, 2, NO_TIMESTAMP]);
        assert!(!sending.change(&batch, &[]));
    }

    #[test]
    fn a_right_that_was_there_may_come_back() {
        use crate::kafka::cluster::Cluster;
        use crate::kafka::connection::{Connector, ConnectorSettings};
        use std::sync::Arc;
        let connector = Connector::new(ConnectorSettings::default()).unwrap();
        let connections = Connections::new(Arc::new(Cluster::new(connector, Vec::new())), Duration::ZERO);
        let mut producer = Producer::new(connections, "dead".into(), Duration::ZERO);
        let error = |producer: &Producer| producer.refused(0, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        assert!(error(&producer).is_fatal());
        producer.proven = true;
        assert!(!error(&producer).is_fatal());
        assert!(
            error(&producer).to_string().contains("dead-0: the broker answered TOPIC_AUTHORIZATION_FAILED")
        );
    }
}
