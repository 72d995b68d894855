//! Writes dead letters to a topic, each as its record with [headers](crate::relay::dead_letter::headers) that name its
//! origin and the reason.
//!
//! Invariant: [`put`](DeadLetters::put) returns only once all in-sync replicas have every letter. Temporary obstacles
//! (no such topic yet, no leader, too few replicas) are retriable errors, and nothing is lost meanwhile.

use super::cluster::{Cluster, ClusterError, Connections, Subject, Target};
use super::config::{Explain, plainly};
use super::producer::{Producer, ProducerError};
use super::protocol::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponseTopic};
use super::protocol::{ApiKey, ErrorCode};
use super::record_batch::NewRecord;
use crate::record::{Header, Offset, Partition};
use crate::relay::dead_letter::headers::with_headers;
use crate::relay::dead_letter::{DeadLetter, DeadLetterError, DeadLetters};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The time limit of a request: short, since revocations wait for dead letters.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The brokers' time limit for replication: shorter, so that their response comes within the request's.
pub(crate) const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(4);

/// The bit of `topic_authorized_operations` for WRITE (KIP-430).
const MAY_WRITE: i32 = 1 << 4;
/// `topic_authorized_operations` of a broker that does not report them.
const UNKNOWN_OPERATIONS: i32 = i32::MIN;

/// Checks a dead-letter topic by its metadata, without writing. Returns warnings.
///
/// # Errors
/// Why it can't be written to at present, or why no broker could be asked.
pub fn look(cluster: Arc<Cluster>, topic: &str) -> Result<Vec<String>, ProducerError> {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(topic), ..Default::default() }]),
        allow_auto_topic_creation: false,
        include_cluster_authorized_operations: false,
        include_topic_authorized_operations: true,
    };
    Connections::new(cluster, REQUEST_TIMEOUT).call(Target::Any, &request, |answer| {
        match answer.topics.first() {
            Some(found) => judge(found),
            None => {
                let subject = Subject::Topic(topic.into());
                Err(ClusterError::Incomplete { api: ApiKey::Metadata, subject }.into())
            }
        }
    })?
}

fn judge(found: &MetadataResponseTopic<'_>) -> Result<Vec<String>, ProducerError> {
    let topic = found.name.unwrap_or_default();
    let operations = found.topic_authorized_operations;
    match found.error_code {
        ErrorCode::NONE => {}
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            return Err(ProducerError::TopicMissing(topic.to_owned()));
        }
        code => return Err(ClusterError::of_topic(ApiKey::Metadata, topic, code).into()),
    }
    if operations != UNKNOWN_OPERATIONS && operations & MAY_WRITE == 0 {
        return Err(ProducerError::NotWritable(topic.to_owned()));
    }
    if found.is_internal {
        return Err(ProducerError::Internal(topic.to_owned()));
    }
    let count = |is_so: fn(&[i32], &[i32], i32) -> bool| {
        let partitions = found.partitions.iter();
        partitions.filter(|it| is_so(&it.replica_nodes, &it.isr_nodes, it.leader_id)).count()
    };
    let all = found.partitions.len();
    let mut warnings = Vec::new();
    match count(|_, _, leader| leader < 0) {
        0 => {}
        n => warnings.push(format!("{n} of {all} partitions have no leader: their letters wait for one")),
    }
    match count(|replicas, in_sync, _| in_sync.len() < replicas.len()) {
        0 => {}
        n => warnings.push(format!(
            "{n} of {all} partitions have replicas that are not in sync: letters wait where min.insync.replicas asks \
             for more"
        )),
    }
    Ok(warnings)
}

/// A dead-letter topic.
#[derive(Debug)]
pub struct DeadLetterTopic {
    producer: Producer,
    /// Letters of a partly failed put that are in the topic already, so that they are not sent twice.
    kept: HashSet<Identity>,
    explain: Explain,
}

impl DeadLetterTopic {
    /// The dead-letter topic `topic` of this cluster. Contacts nobody yet.
    pub fn new(cluster: Arc<Cluster>, topic: String) -> Self {
        let producer =
            Producer::new(Connections::new(cluster, REQUEST_TIMEOUT), topic, ACKNOWLEDGEMENT_TIMEOUT);
        Self { producer, kept: HashSet::new(), explain: plainly }
    }

    /// Sets how errors are put into words.
    pub fn explained_by(self, explain: Explain) -> Self {
        Self { explain, ..self }
    }

    fn send(&mut self, letters: &[&DeadLetter], acknowledged: &mut [bool]) -> Result<(), ProducerError> {
        let headers: Vec<OwnHeaders> = letters.iter().map(|letter| with_headers(letter, owned)).collect();
        let borrowed: Vec<Vec<Header<'_>>> = headers.iter().map(borrow).collect();
        let records: Vec<NewRecord<'_>> = letters
            .iter()
            .zip(&borrowed)
            .map(|(letter, headers)| NewRecord {
                timestamp: letter.record.timestamp(),
                key: letter.record.key(),
                value: letter.record.value(),
                headers,
            })
            .collect();
        self.producer.send(&records, acknowledged)
    }
}

type OwnHeaders = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn owned(headers: &[Header<'_>]) -> OwnHeaders {
    headers.iter().map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec))).collect()
}

fn borrow(headers: &OwnHeaders) -> Vec<Header<'_>> {
    headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect()
}

/// Identifies a letter, even if its topic was recreated: the record's partition, offset and timestamp, and the time of
/// its last attempt.
type Identity = (Partition, Offset, i64, SystemTime);

fn identity(letter: &DeadLetter) -> Identity {
    let DeadLetter { record, rejection } = letter;
    (record.partition().clone(), record.offset(), record.timestamp(), rejection.last_attempt)
}

impl DeadLetters for DeadLetterTopic {
    fn put(&mut self, letters: &[DeadLetter]) -> Result<(), DeadLetterError> {
        // Letters that are not put again were given up with their partition.
        let there: HashSet<Identity> =
            letters.iter().map(identity).filter(|letter| self.kept.contains(letter)).collect();
        self.kept = there;
        let left: Vec<&DeadLetter> =
            letters.iter().filter(|letter| !self.kept.contains(&identity(letter))).collect();
        let mut acknowledged = vec![false; left.len()];
        match self.send(&left, &mut acknowledged) {
            Ok(()) => {
                self.kept.clear();
                Ok(())
            }
            Err(error) => {
                let there = left.iter().zip(acknowledged).filter(|(_, acknowledged)| *acknowledged);
                self.kept.extend(there.map(|(letter, _)| identity(letter)));
                let topic = self.producer.topic();
                let text = format!("the dead-letter topic '{topic}': {}", (self.explain)(&error));
                Err(match error.is_fatal() {
                    false => DeadLetterError::Retriable(text),
                    true => DeadLetterError::Fatal(format!(
                        "{text}. Nothing past the refused record is committed"
                    )),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::protocol::metadata::MetadataResponsePartition;

    fn topic(partitions: &[(i32, usize)]) -> MetadataResponseTopic<'static> {
        let partition = |(number, (leader_id, in_sync)): (i32, &(i32, usize))| MetadataResponsePartition {
            error_code: ErrorCode::NONE,
            partition_index: number,
            leader_id: *leader_id,
            leader_epoch: 0,
            replica_nodes: vec![1, 2, 3],
            isr_nodes: vec![1, 2, 3][..*in_sync].to_vec(),
            offline_replicas: Vec::new(),
        };
        MetadataResponseTopic {
            error_code: ErrorCode::NONE,
            name: Some("dead"),
            partitions: (0..).zip(partitions).map(partition).collect(),
            ..MetadataResponseTopic::default()
        }
    }

    #[test]
    fn what_keeps_letters_out_of_a_topic_is_named() {
        let sound = topic(&[(1, 3), (2, 3)]);
        assert_eq!(judge(&sound).unwrap(), [""; 0]);
        let warnings = judge(&topic(&[(-1, 3), (1, 2)])).unwrap();
        assert!(warnings[0].contains("1 of 2 partitions have no leader"), "{warnings:?}");
        assert!(warnings[1].contains("1 of 2 partitions have replicas that are not in sync"), "{warnings:?}");
        let may =
            |operations| MetadataResponseTopic { topic_authorized_operations: operations, ..sound.clone() };
        assert_eq!(judge(&may(MAY_WRITE | 1 << 8)).unwrap(), [""; 0]);
        let failing = |error_code| MetadataResponseTopic { error_code, ..sound.clone() };
        for (found, is_fatal, why) in [
            (may(1 << 3 | 1 << 8), true, "may not write to topic 'dead'"),
            (failing(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), false, "'dead' does not exist"),
            (
                failing(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
                true,
                "topic 'dead': the broker answered TOPIC_AUTHORIZATION_FAILED",
            ),
            (failing(ErrorCode::LEADER_NOT_AVAILABLE), false, "LEADER_NOT_AVAILABLE"),
            (MetadataResponseTopic { is_internal: true, ..sound.clone() }, true, "Kafka's own"),
        ] {
            let error = judge(&found).unwrap_err();
            assert_eq!(error.is_fatal(), is_fatal, "{error}");
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
