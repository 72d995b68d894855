//! Records to a topic, acknowledged by all replicas in sync (`acks=all`).
//!
//! Synchronous: [`Producer::send`] returns once every record is acknowledged. It is idempotent (KIP-98) where the
//! brokers let it be: a batch whose acknowledgement is lost is sent again as it was, also by the next
//! [`send`](Producer::send) of its records, and is in the log once. Where they don't, and after a restart of the
//! process, it may be there twice. Nothing is missing in either case.
//!
//! A topic that refuses a record's timestamp (`message.timestamp.before.max.ms` and `after.max.ms`) gets the record
//! with the present time, and if it refuses that too (one of the clocks is wrong), with none.

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
pub use batches::BATCH_BYTES;
use batches::{Batch, murmur2, smaller, split, written};
pub use error::ProducerError;
use sequences::{Sequences, Written};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Leaders are looked up again so often for one batch while one send lasts.
const LEADER_ATTEMPTS: u32 = 3;
/// The time between two questions for an id.
const ID_PAUSE: Duration = Duration::from_millis(200);
/// A batch gets at most so many other ids while one send lasts.
const MOST_RENEWALS: u8 = 2;
/// All replicas in sync.
const ACKS_ALL: i16 = -1;
/// How much of a broker's own words is repeated.
const MESSAGE_CHARS: usize = 300;
/// A record without a timestamp; no topic refuses one.
const NO_TIMESTAMP: i64 = -1;
/// A record gets other timestamps at most so often: the present time, then none.
const MOST_TIMESTAMPS: u8 = 2;

/// Sends records to one topic.
#[derive(Debug)]
pub struct Producer {
    connections: Connections,
    topic: String,
    timeout: Duration,
    /// Where the next record without a key goes.
    turn: u32,
    /// Brokers that know this topic were asked for it.
    known: bool,
    /// Records were acknowledged before: a right that is missing now may come back.
    proven: bool,
    sequences: Sequences,
}

/// What became of a batch.
enum Delivered {
    Acknowledged,
    /// It is larger, at so many bytes, than the topic takes.
    TooLarge(ErrorCode, usize),
    /// The topic takes no timestamp as of these records; which they are is said by their place in the batch.
    OtherTimestamps(Vec<usize>),
    /// The broker does not take this id's numbers, so the batch is not in the log.
    OtherId(ErrorCode),
}

/// What a broker says of a batch.
enum Answer {
    Code(ErrorCode),
    OtherTimestamps(Vec<usize>),
}

/// Records that are being sent, with the timestamps that the topic takes.
struct Sending<'a> {
    records: Vec<NewRecord<'a>>,
    /// How many other timestamps each has got.
    timestamps: Vec<u8>,
}

impl<'a> Sending<'a> {
    fn new(records: &[NewRecord<'a>]) -> Self {
        Self { records: records.to_vec(), timestamps: vec![0; records.len()] }
    }

    /// Gives these records of the batch another timestamp, or all of them if the broker names none. Says whether
    /// there was another to give.
    fn change(&mut self, batch: &Batch, named: &[usize]) -> bool {
        let mut some: Vec<usize> = named.iter().filter_map(|at| batch.records.get(*at).copied()).collect();
        if some.is_empty() {
            some.clone_from(&batch.records);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut is_changed = false;
        for at in some {
            let (Some(record), Some(count)) = (self.records.get_mut(at), self.timestamps.get_mut(at)) else {
                continue;
            };
            if *count < MOST_TIMESTAMPS {
                let now = i64::try_from(now).unwrap_or(i64::MAX);
                record.timestamp = if *count == 0 { now } else { NO_TIMESTAMP };
                *count += 1;
                is_changed = true;
            }
        }
        is_changed
    }
}

impl Producer {
    /// Sends to `topic`; the brokers may take up to `timeout` to copy a batch, and a send in which something fails
    /// ends soon after that time.
    pub fn new(connections: Connections, topic: String, timeout: Duration) -> Self {
        let sequences = Sequences::new();
        Self { connections, topic, timeout, turn: 0, known: false, proven: false, sequences }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Sends the records, those of one key in order to one partition: the one Java's producer would take. Returns
    /// once all of them are acknowledged, and marks in `acknowledged`, by their places, those that are: after an error
    /// it need not be sent again what is marked.
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
        // Each round ends a batch, halves it, compresses it, changes a timestamp in it or gives it another id.
        while let Some(mut batch) = pending.pop_front() {
            if failure.is_some() && Instant::now() >= deadline {
                break;
            }
            // Nothing overtakes what failed before it in its partition.
            if failed.contains(&batch.partition) {
                continue;
            }
            match self.deliver(&mut batch, &sending.records, deadline) {
                Ok(Delivered::Acknowledged) => {
                    self.proven = true;
                    for at in &batch.records {
                        if let Some(mark) = acknowledged.get_mut(*at) {
                            *mark = true;
                        }
                    }
                }
                Ok(Delivered::TooLarge(code, size)) => {
                    self.rewrite(&mut batch);
                    let topic = &self.topic;
                    let smaller = smaller(batch).ok_or_else(|| ProducerError::RecordTooLarge {
                        topic: topic.clone(),
                        size,
                        code,
                    })?;
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
                    let (partition, places) = (batch.partition, &batch.records);
                    if let Some(written) = batch.written.filter(|written| written.in_doubt) {
                        // As they were given, so that they are known when they are given again.
                        let given = places.iter().filter_map(|at| records.get(*at));
                        self.sequences.keep(partition, given, written);
                    }
                    if error.is_fatal() {
                        return Err(error);
                    }
                    failed.insert(partition);
                    failure = Some(error);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// The batch is to be written in another way: numbers that may be in a log already are not used for that.
    fn rewrite(&mut self, batch: &mut Batch) {
        self.sequences.give_up(batch.partition);
        if batch.written.take().is_some_and(|written| written.in_doubt) {
            self.sequences.renew();
        }
    }

    /// What a broker's answer to a batch means.
    fn refused(&self, partition: i32, code: ErrorCode) -> ProducerError {
        let partition = Partition::new(self.topic.as_str(), partition);
        self.of_topic(ClusterError::of_partition(ApiKey::Produce, &partition, code))
    }

    /// Gets an id, if one is needed. Without one, whatever is told, records are written all the same.
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
                // A broker that has none left gets more from the controller.
                std::thread::sleep(ID_PAUSE);
            }
        }
        Ok(())
    }

    fn go_without(&mut self, why: &str) {
        self.sequences.go_without();
        (self.connections.reporter().info)(&format!(
            "records of topic '{}' are written without an idempotent producer's id, so one whose acknowledgement is \
             lost may be there twice: {why}",
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

    /// An error of the topic, by what it has accepted before.
    fn of_topic(&self, error: ClusterError) -> ProducerError {
        let is_right = error.code() == Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        if is_right && self.proven { ProducerError::Revoked(error) } else { error.into() }
    }

    fn partitions(&self) -> Result<u32, ProducerError> {
        let size = self.connections.cluster().sizes().get(self.topic.as_str()).copied().unwrap_or(0);
        match u32::try_from(size) {
            Ok(size @ 1..) => Ok(size),
            _ => Err(ProducerError::NoPartitions(self.topic.clone())),
        }
    }

    /// Shares the records out among the partitions, in batches; first those that were sent before.
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

    /// Brings one batch to the leader of its partition, wherever that is by now.
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
                // What has the same number and is older than the broker remembers is there too.
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
                // Before Kafka 2.8, a right of its own is needed.
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
        // What opening the connection takes is not taken from the answer's time: a slow login would leave none, each time.
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

impl Answer {
    /// Whether the broker says that it wrote nothing.
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

/// Errors of an id that is forgotten, taken over, or ahead of what the log has (KIP-360).
fn is_of_id(code: ErrorCode) -> bool {
    [
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::PRODUCER_FENCED,
    ]
    .contains(&code)
}

/// Errors that sending the same again won't mend.
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
        use crate::kafka::connection::{Connector, Settings};
        use std::sync::Arc;
        let connector = Connector::new(Settings::default()).unwrap();
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
