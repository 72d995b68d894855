//! Records to a topic, acknowledged by all replicas in sync (`acks=all`).
//!
//! Synchronous and without state of its own beyond connections: [`Producer::send`] returns once every record is
//! acknowledged. It is not idempotent (KIP-98): after an error, what was acknowledged before may be there twice when
//! it is sent again, and nothing is missing.
//!
//! A topic that refuses a record's timestamp (`message.timestamp.before.max.ms` and `after.max.ms`) gets the record
//! with the present time, and if it refuses that too (one of the clocks is wrong), with none.

use super::cluster::{ClusterError, Links, Target, of_code};
use super::protocol::ErrorCode;
use super::protocol::produce::{ProduceRequest, ProduceRequestPartition, ProduceRequestTopic};
use super::record_batch::{BatchWriter, Compression, NewRecord, ProducerState};
use crate::relay::dead_letter::shown::excerpt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A batch is closed before it is larger than this; one record may exceed it alone. Brokers take 1 MiB unless told
/// otherwise.
pub const BATCH_BYTES: usize = 512 << 10;
/// Leaders are looked up again so often for one batch while one send lasts.
const LEADER_ATTEMPTS: u32 = 3;
/// What a record weighs in a batch beside its parts: at most so many bytes for its lengths, and for those of a header.
const RECORD_OVERHEAD: usize = 40;
/// All replicas in sync.
const ACKS_ALL: i16 = -1;
/// How much of a broker's own words is repeated.
const MESSAGE_CHARS: usize = 300;
/// A record without a timestamp; no topic refuses one.
const NO_TIMESTAMP: i64 = -1;
/// A record gets other timestamps at most so often: the present time, then none.
const MOST_TIMESTAMPS: u8 = 2;
/// The seed of Kafka's murmur2.
const MURMUR_SEED: u32 = 0x9747_b28c;

/// Sends records to one topic.
#[derive(Debug)]
pub struct Producer {
    links: Links,
    topic: String,
    timeout: Duration,
    /// Where the next record without a key goes.
    turn: u32,
    /// Brokers that know this topic were asked for it.
    known: bool,
    /// Records were acknowledged before: a right that is missing now may come back.
    proven: bool,
}

/// A batch for one partition, and which of the records to send are in it.
struct Batch {
    partition: i32,
    records: Vec<usize>,
    compression: Compression,
}

/// What became of a batch.
enum Delivered {
    Acknowledged,
    /// It is larger, at so many bytes, than the topic takes.
    TooLarge(ErrorCode, usize),
    /// The topic takes no timestamp as of these records; which they are is said by their place in the batch.
    OtherTimestamps(Vec<usize>),
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
    pub fn new(links: Links, topic: String, timeout: Duration) -> Self {
        Self { links, topic, timeout, turn: 0, known: false, proven: false }
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
    /// [`ClusterError::Retriable`] where it may work later, also when only some are acknowledged: other partitions
    /// are tried all the same. [`ClusterError::Fatal`] where it never will: no right to write (unless there was one
    /// before), a record larger than the topic takes or not allowed there.
    pub fn send(&mut self, records: &[NewRecord<'_>], acknowledged: &mut [bool]) -> Result<(), ClusterError> {
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
        // Each round ends a batch, halves it, compresses it, or changes a timestamp in it.
        while let Some(batch) = pending.pop_front() {
            if failure.is_some() && Instant::now() >= deadline {
                break;
            }
            // Nothing overtakes what failed before it in its partition.
            if failed.contains(&batch.partition) {
                continue;
            }
            match self.deliver(&batch, &sending.records, deadline) {
                Ok(Delivered::Acknowledged) => {
                    self.proven = true;
                    for at in &batch.records {
                        if let Some(mark) = acknowledged.get_mut(*at) {
                            *mark = true;
                        }
                    }
                }
                Ok(Delivered::TooLarge(code, size)) => {
                    let smaller = smaller(batch).ok_or_else(|| self.too_large(code, size))?;
                    smaller.into_iter().rev().for_each(|part| pending.push_front(part));
                }
                Ok(Delivered::OtherTimestamps(named)) => {
                    if !sending.change(&batch, &named) {
                        return Err(self.refused_timestamps(&batch));
                    }
                    pending.push_front(batch);
                }
                Err(error @ ClusterError::Fatal(_)) => return Err(error),
                Err(error) => {
                    failed.insert(batch.partition);
                    failure = Some(error);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn too_large(&self, code: ErrorCode, size: usize) -> ClusterError {
        let setting = match code {
            ErrorCode::RECORD_LIST_TOO_LARGE => "segment.bytes",
            _ => "max.message.bytes",
        };
        ClusterError::Fatal(format!(
            "a record takes {size} bytes, compressed and with what is noted in its headers, more than topic '{}' takes: \
             the broker answered {code}; raise the topic's {setting} above that",
            self.topic
        ))
    }

    fn refused_timestamps(&self, batch: &Batch) -> ClusterError {
        ClusterError::Fatal(format!(
            "topic '{}' partition {} takes no record, not even with the present time or none: the broker answered {}; \
             raise the topic's message.timestamp.before.max.ms and message.timestamp.after.max.ms",
            self.topic,
            batch.partition,
            ErrorCode::INVALID_TIMESTAMP
        ))
    }

    fn look_up(&mut self) -> Result<(), ClusterError> {
        let topic = self.topic.clone();
        if let Some((_, code)) = self.links.refresh(Some(&[&topic]))?.into_iter().next() {
            return Err(match code {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => ClusterError::Retriable(format!(
                    "the topic '{topic}' does not exist: create it (nothing is created by itself)"
                )),
                code => self.of_code(code, &format!("looking up topic '{topic}'")),
            });
        }
        self.known = true;
        Ok(())
    }

    fn of_code(&self, code: ErrorCode, what: &str) -> ClusterError {
        let topic = &self.topic;
        match code {
            ErrorCode::TOPIC_AUTHORIZATION_FAILED => {
                let text = format!(
                    "{what}: the broker answered {code}: allow this principal to describe topic '{topic}' and to write to it"
                );
                if self.proven { ClusterError::Retriable(text) } else { ClusterError::Fatal(text) }
            }
            ErrorCode::INVALID_TOPIC_EXCEPTION => {
                ClusterError::Fatal(format!("{what}: the broker answered {code}: choose another topic"))
            }
            code => of_code(code, what),
        }
    }

    fn partitions(&self) -> Result<u32, ClusterError> {
        let size = self.links.cluster().sizes().get(self.topic.as_str()).copied().unwrap_or(0);
        match u32::try_from(size) {
            Ok(size @ 1..) => Ok(size),
            _ => Err(ClusterError::Retriable(format!("the topic '{}' has no partitions", self.topic))),
        }
    }

    /// Shares the records out among the partitions, in batches.
    fn batches(&mut self, records: &[NewRecord<'_>]) -> Result<Vec<Batch>, ClusterError> {
        let partitions = self.partitions()?;
        let mut shares: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, record) in records.iter().enumerate() {
            let partition = match record.key {
                Some(key) => (murmur2(key) & 0x7fff_ffff) % partitions,
                None => {
                    self.turn = self.turn.wrapping_add(1);
                    self.turn % partitions
                }
            };
            shares.entry(partition).or_default().push(at);
        }
        let mut batches = Vec::new();
        for (partition, share) in shares {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            batches.extend(split(&share, records).into_iter().map(|records| Batch {
                partition,
                records,
                compression: Compression::None,
            }));
        }
        Ok(batches)
    }

    /// Brings one batch to the leader of its partition, wherever that is by now.
    fn deliver(
        &mut self,
        batch: &Batch,
        records: &[NewRecord<'_>],
        deadline: Instant,
    ) -> Result<Delivered, ClusterError> {
        let bytes = written(batch, records)?;
        let mut last = None;
        for _ in 0..LEADER_ATTEMPTS {
            let error = match self.attempt(batch.partition, &bytes) {
                Ok(Answer::OtherTimestamps(named)) => return Ok(Delivered::OtherTimestamps(named)),
                Ok(Answer::Code(ErrorCode::NONE)) => return Ok(Delivered::Acknowledged),
                Ok(Answer::Code(
                    code @ (ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE),
                )) => {
                    return Ok(Delivered::TooLarge(code, bytes.len()));
                }
                Ok(Answer::Code(code)) => {
                    let what = format!("writing to topic '{}' partition {}", self.topic, batch.partition);
                    self.of_code(code, &what)
                }
                Err(error) => error,
            };
            let ClusterError::Retriable(_) = error else { return Err(error) };
            last = Some(error);
            self.known = false;
            if Instant::now() >= deadline {
                break;
            }
            self.look_up()?;
        }
        Err(last.unwrap_or_else(|| ClusterError::Retriable("no attempt was made".into())))
    }

    fn attempt(&mut self, partition: i32, batch: &[u8]) -> Result<Answer, ClusterError> {
        let Some((leader, _)) = self.links.cluster().leader(&self.topic, partition) else {
            return Ok(Answer::Code(ErrorCode::LEADER_NOT_AVAILABLE));
        };
        let data = ProduceRequestPartition { index: partition, records: Some(batch) };
        let topic = self.topic.clone();
        let request = ProduceRequest {
            transactional_id: None,
            acks: ACKS_ALL,
            timeout_ms: i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX),
            topic_data: vec![ProduceRequestTopic {
                name: &topic,
                partition_data: vec![data],
                ..Default::default()
            }],
        };
        self.links.call(Target::Broker(leader), &request, |answer| {
            let written = answer.responses.iter().flat_map(|topic| &topic.partition_responses).next();
            match written {
                Some(written) if written.error_code == ErrorCode::INVALID_TIMESTAMP => {
                    let named = written.record_errors.iter();
                    let named = named.filter_map(|error| usize::try_from(error.batch_index).ok());
                    Ok(Answer::OtherTimestamps(named.collect()))
                }
                Some(written) if is_lasting(written.error_code) => {
                    let of_record = written.record_errors.iter().find_map(|it| it.batch_index_error_message);
                    Err(ClusterError::Fatal(format!(
                        "topic '{topic}' partition {partition} does not take the record: {}{}{}",
                        written.error_code,
                        of_record
                            .or(written.error_message)
                            .map(|text| format!(" ({})", excerpt(text.as_bytes(), MESSAGE_CHARS)))
                            .unwrap_or_default(),
                        advice(written.error_code)
                    )))
                }
                Some(written) => Ok(Answer::Code(written.error_code)),
                None => Ok(Answer::Code(ErrorCode::UNKNOWN_SERVER_ERROR)),
            }
        })?
    }
}

/// Errors that sending the same again won't mend.
fn is_lasting(code: ErrorCode) -> bool {
    [ErrorCode::INVALID_RECORD, ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT, ErrorCode::POLICY_VIOLATION]
        .contains(&code)
}

/// What to do about such an error.
fn advice(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::INVALID_RECORD => {
            ". A topic with cleanup.policy=compact takes no record without a key, and keeps the last one of each key \
             alone: give dead letters a topic with cleanup.policy=delete"
        }
        _ => "",
    }
}

/// The batch in smaller parts, if there is a way.
fn smaller(batch: Batch) -> Option<Vec<Batch>> {
    let Batch { partition, records, compression } = batch;
    match (records.len(), compression) {
        (..=1, Compression::None) => {
            // Where it came from it may have been compressed too.
            Some(vec![Batch { partition, records, compression: Compression::Gzip }])
        }
        (..=1, _) => None,
        (count, _) => {
            let (first, second) = records.split_at(count / 2);
            let part = |part: &[usize]| Batch { partition, records: part.to_vec(), compression };
            Some(vec![part(first), part(second)])
        }
    }
}

/// At most so many bytes a record takes of a batch.
fn weight(record: &NewRecord<'_>) -> usize {
    let part = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    let headers =
        record.headers.iter().map(|h| RECORD_OVERHEAD / 4 + h.name.len() + part(h.value)).sum::<usize>();
    RECORD_OVERHEAD + part(record.key) + part(record.value) + headers
}

/// Splits the records at these places so that each part fits into a batch, or is one record.
fn split(places: &[usize], records: &[NewRecord<'_>]) -> Vec<Vec<usize>> {
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for at in places {
        let weight = records.get(*at).map_or(0, weight);
        match parts.last_mut().filter(|_| weight <= room) {
            Some(part) => part.push(*at),
            None => {
                parts.push(vec![*at]);
                room = BATCH_BYTES;
            }
        }
        room = room.saturating_sub(weight);
    }
    parts
}

fn written(batch: &Batch, records: &[NewRecord<'_>]) -> Result<Vec<u8>, ClusterError> {
    let mut writer = BatchWriter::new(batch.compression).producer(ProducerState::NONE);
    batch.records.iter().filter_map(|at| records.get(*at)).for_each(|record| writer.push(record));
    writer.finish().map_err(|error| ClusterError::Fatal(format!("a batch can't be written: {error}")))
}

/// The hash by which Java's producer chooses a keyed record's partition (murmur2, 32 bits), so that the keys of a
/// dead letter's topic meet where those of its origin do.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Kafka takes the length as a 32-bit number, and a key is never longer.
    let mut hash = MURMUR_SEED ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in words.by_ref() {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    for (place, byte) in rest.iter().enumerate().rev() {
        hash ^= u32::from(*byte) << (8 * place);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_keys_as_java_does() {
        // Values of Kafka's own Utils.murmur2, as its unit test has them.
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn closes_a_batch_before_it_grows_too_large() {
        let record = |value| NewRecord { timestamp: 0, key: None, value: Some(value), headers: &[] };
        let (large, small) = (vec![b'x'; 2 * BATCH_BYTES], vec![b'x'; BATCH_BYTES / 3]);
        let records = [&small, &small, &large, &small, &small, &small, &small].map(|value| record(value));
        let places: Vec<usize> = (0..records.len()).collect();
        assert_eq!(split(&places, &records), [vec![0, 1], vec![2], vec![3, 4], vec![5, 6]]);
        for part in split(&places, &records).iter().filter(|part| part.len() > 1) {
            let batch = Batch { partition: 0, records: part.clone(), compression: Compression::None };
            assert!(written(&batch, &records).unwrap().len() <= BATCH_BYTES + 100);
        }
        assert!(split(&[], &records).is_empty());
    }
    #[test]
    fn timestamps_are_changed_where_they_are_refused_and_at_most_twice() {
        let records =
            [1, 2, 3].map(|timestamp| NewRecord { timestamp, key: None, value: None, headers: &[] });
        let mut sending = Sending::new(&records);
        let batch = Batch { partition: 0, records: vec![2, 0], compression: Compression::None };
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
        let links = Links::new(Arc::new(Cluster::new(connector, Vec::new())), Duration::ZERO);
        let mut producer = Producer::new(links, "dead".into(), Duration::ZERO);
        let error = |producer: &Producer| producer.of_code(ErrorCode::TOPIC_AUTHORIZATION_FAILED, "writing");
        assert!(matches!(error(&producer), ClusterError::Fatal(_)));
        producer.proven = true;
        assert!(matches!(error(&producer), ClusterError::Retriable(_)));
        assert!(error(&producer).to_string().contains("'dead' and to write to it"));
    }
}
