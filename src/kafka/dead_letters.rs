//! Dead letters in a topic, each as its record with [headers](crate::relay::dead_letter::headers) that say where it is
//! from and why.
//!
//! Invariant: [`put`](DeadLetters::put) returns only once all replicas in sync have every letter. What keeps it from
//! that for now (no such topic yet, no leader, too few replicas) is told as retriable, and nothing is lost meanwhile.

use super::cluster::{Cluster, ClusterError, Links};
use super::producer::Producer;
use super::record_batch::NewRecord;
use crate::relay::dead_letter::headers::with_headers;
use crate::relay::dead_letter::{DeadLetterError, DeadLetters, Letter};
use crate::relay::record::{Header, Offset, Partition};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a request may take: whoever puts letters also looks after signals and revocations.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long brokers may take to copy letters: less, so that their own word comes in time.
pub const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(4);

/// A topic of dead letters.
#[derive(Debug)]
pub struct DeadLetterTopic {
    producer: Producer,
    /// Letters that are in the topic already, of a put that failed for others: they are not sent twice. Never more
    /// than were put at once.
    kept: HashSet<(Partition, Offset)>,
}

impl DeadLetterTopic {
    /// Puts letters into `topic` of this cluster. Contacts nobody yet.
    pub fn new(cluster: Arc<Cluster>, topic: String) -> Self {
        let links = Links::new(cluster, REQUEST_TIMEOUT);
        Self { producer: Producer::new(links, topic, ACKNOWLEDGEMENT_TIMEOUT), kept: HashSet::new() }
    }

    fn send(&mut self, letters: &[&Letter], acknowledged: &mut [bool]) -> Result<(), ClusterError> {
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

fn identity(letter: &Letter) -> (Partition, Offset) {
    (letter.record.partition().clone(), letter.record.offset())
}

impl DeadLetters for DeadLetterTopic {
    fn put(&mut self, letters: &[Letter]) -> Result<(), DeadLetterError> {
        let left: Vec<&Letter> =
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
                Err(match error {
                    ClusterError::Retriable(text) => {
                        DeadLetterError::Retriable(format!("the dead-letter topic '{topic}': {text}"))
                    }
                    ClusterError::Fatal(text) => DeadLetterError::Fatal(format!(
                        "the dead-letter topic '{topic}': {text}. Nothing past the refused record is committed"
                    )),
                })
            }
        }
    }
}
