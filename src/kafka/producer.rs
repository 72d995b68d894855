//! Records to a topic, acknowledged by all replicas in sync (`acks=all`).
//!
//! Synchronous and without state of its own beyond connections: [`Producer::send`] returns once every record is
//! acknowledged. It is not idempotent (KIP-98): after an error, what was acknowledged before may be there twice when
//! it is sent again, and nothing is missing.

use super::cluster::{ClusterError, Links, Target, of_code};
use super::protocol::ErrorCode;
use super::protocol::produce::{ProduceRequest, ProduceRequestPartition, ProduceRequestTopic};
use super::record_batch::{BatchWriter, Compression, NewRecord, ProducerState};
use std::collections::BTreeMap;
use std::time::Duration;

/// A batch is closed at so many bytes; one record may exceed it alone. Brokers take 1 MiB unless told otherwise.
pub const BATCH_BYTES: usize = 512 << 10;
/// Leaders are looked up again so often while one send lasts.
const LEADER_ATTEMPTS: u32 = 3;
/// All replicas in sync.
const ACKS_ALL: i16 = -1;
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
}

impl Producer {
    /// Sends to `topic`; the brokers may take up to `timeout` to copy a batch.
    pub fn new(links: Links, topic: String, timeout: Duration) -> Self {
        Self { links, topic, timeout, turn: 0, known: false }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Sends the records, those of one key in order to one partition: the one Java's producer would take. Returns
    /// once all of them are acknowledged.
    ///
    /// # Errors
    /// [`ClusterError::Retriable`] where it may work later, also when only some are acknowledged;
    /// [`ClusterError::Fatal`] where it never will: no right to write, a record larger than the topic takes.
    pub fn send(&mut self, records: &[NewRecord<'_>]) -> Result<(), ClusterError> {
        if !self.known {
            self.look_up()?;
        }
        let partitions = self.partitions()?;
        let mut shares: BTreeMap<u32, Vec<&NewRecord<'_>>> = BTreeMap::new();
        for record in records {
            let partition = match record.key {
                Some(key) => (murmur2(key) & 0x7fff_ffff) % partitions,
                None => {
                    self.turn = self.turn.wrapping_add(1);
                    self.turn % partitions
                }
            };
            shares.entry(partition).or_default().push(record);
        }
        for (partition, share) in shares {
            for batch in batches(&share)? {
                self.deliver(i32::try_from(partition).unwrap_or(i32::MAX), &batch)?;
            }
        }
        Ok(())
    }

    fn look_up(&mut self) -> Result<(), ClusterError> {
        let topic = self.topic.clone();
        if let Some((_, code)) = self.links.refresh(Some(&[&topic]))?.into_iter().next() {
            return Err(match code {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => ClusterError::Retriable(format!(
                    "the topic '{topic}' does not exist: create it (nothing is created by itself)"
                )),
                code => of_code(code, &format!("looking up topic '{topic}'")),
            });
        }
        self.known = true;
        Ok(())
    }

    fn partitions(&self) -> Result<u32, ClusterError> {
        let size = self.links.cluster().sizes().get(self.topic.as_str()).copied().unwrap_or(0);
        match u32::try_from(size) {
            Ok(size @ 1..) => Ok(size),
            _ => Err(ClusterError::Retriable(format!("the topic '{}' has no partitions", self.topic))),
        }
    }

    /// Brings one batch to the leader of its partition, wherever that is by now.
    fn deliver(&mut self, partition: i32, batch: &[u8]) -> Result<(), ClusterError> {
        let mut last = None;
        for _ in 0..LEADER_ATTEMPTS {
            let code = match self.attempt(partition, batch) {
                Ok(ErrorCode::NONE) => return Ok(()),
                Ok(code) => {
                    of_code(code, &format!("writing to topic '{}' partition {partition}", self.topic))
                }
                Err(error) => error,
            };
            let ClusterError::Retriable(_) = code else { return Err(code) };
            last = Some(code);
            self.known = false;
            self.look_up()?;
        }
        Err(last.unwrap_or_else(|| ClusterError::Retriable("no attempt was made".into())))
    }

    fn attempt(&mut self, partition: i32, batch: &[u8]) -> Result<ErrorCode, ClusterError> {
        let Some((leader, _)) = self.links.cluster().leader(&self.topic, partition) else {
            return Ok(ErrorCode::LEADER_NOT_AVAILABLE);
        };
        let data = ProduceRequestPartition { index: partition, records: Some(batch) };
        let topic = self.topic.clone();
        let request = ProduceRequest {
            transactional_id: None,
            acks: ACKS_ALL,
            timeout_ms: i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX),
            topic_data: vec![ProduceRequestTopic { name: &topic, partition_data: vec![data] }],
        };
        self.links.call(Target::Broker(leader), &request, |answer| {
            let written = answer.responses.iter().flat_map(|topic| &topic.partition_responses).next();
            match written {
                Some(written) if is_lasting(written.error_code) => Err(ClusterError::Fatal(format!(
                    "topic '{topic}' partition {partition} does not take the record: {}{}",
                    written.error_code,
                    written.error_message.map(|text| format!(" ({text})")).unwrap_or_default()
                ))),
                Some(written) => Ok(written.error_code),
                None => Ok(ErrorCode::UNKNOWN_SERVER_ERROR),
            }
        })?
    }
}

/// Errors that sending the same again won't mend.
fn is_lasting(code: ErrorCode) -> bool {
    [
        ErrorCode::MESSAGE_TOO_LARGE,
        ErrorCode::RECORD_LIST_TOO_LARGE,
        ErrorCode::INVALID_RECORD,
        ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
        ErrorCode::POLICY_VIOLATION,
    ]
    .contains(&code)
}

fn batches(records: &[&NewRecord<'_>]) -> Result<Vec<Vec<u8>>, ClusterError> {
    let begin = || BatchWriter::new(Compression::None).producer(ProducerState::NONE);
    let unwritable =
        |error: std::io::Error| ClusterError::Fatal(format!("a batch can't be written: {error}"));
    let mut finished = Vec::new();
    let mut writer = begin();
    for record in records {
        writer.push(record);
        if writer.plain_len() >= BATCH_BYTES {
            finished.push(writer.finish().map_err(unwritable)?);
            writer = begin();
        }
    }
    if writer.count() > 0 {
        finished.push(writer.finish().map_err(unwritable)?);
    }
    Ok(finished)
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
        let value = vec![b'x'; BATCH_BYTES / 2];
        let record = NewRecord { timestamp: 0, key: None, value: Some(&value), headers: &[] };
        assert_eq!(batches(&[&record; 5]).unwrap().len(), 3);
        assert!(batches(&[]).unwrap().is_empty());
    }
}
