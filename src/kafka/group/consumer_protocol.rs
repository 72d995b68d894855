//! Subscriptions and assignments: the bytes within `JoinGroup` and `SyncGroup`, which the coordinator does not read.
//!
//! They come from any client, so decoding is as lenient as Kafka's own client: of a later version the known fields are
//! read and the rest is ignored, and missing fields at the end count as absent (old Sarama members claim version 1
//! without its fields).
//!
//! Unlike the codec of requests, this one copies: the types of the [assignors](super::assignor) own their data.

use super::subscription::{Assignment, Subscription};
use crate::kafka::protocol::describe::describe;
use crate::kafka::protocol::{DecodeError, EncodeError, Problem, Reader, Writer};
use crate::record::Partition;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The version of [encoded assignments](encode_assignment); all versions have the same fields.
const ASSIGNMENT_VERSION: i16 = 1;
/// The generation of a subscription without one.
const NO_GENERATION: i32 = -1;

describe! {
    /// Partitions of one topic.
    struct TopicPartitions<'a> {
        topic: &'a str => 0..; "Its name."
        partitions: Vec<i32> => 0..; "Their numbers."
    }
}

fn by_topic(partitions: &[Partition]) -> Vec<TopicPartitions<'_>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic()).or_default().push(partition.number());
    }
    topics.into_iter().map(|(topic, partitions)| TopicPartitions { topic, partitions }).collect()
}

fn flat(topics: &[TopicPartitions<'_>]) -> Vec<Partition> {
    let mut partitions = Vec::with_capacity(topics.iter().map(|topic| topic.partitions.len()).sum());
    for TopicPartitions { topic, partitions: numbers } in topics {
        let topic: Arc<str> = Arc::from(*topic);
        partitions.extend(numbers.iter().map(|number| Partition::new(Arc::clone(&topic), *number)));
    }
    partitions
}

fn version(reader: &mut Reader<'_>) -> Result<i16, DecodeError> {
    match reader.read::<i16>("version")? {
        version @ 0.. => Ok(version),
        version => Err(reader.error("version", Problem::Version(version))),
    }
}

fn user_data(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    Ok(reader.read::<Option<&[u8]>>("user_data")?.unwrap_or_default().to_vec())
}

/// Encodes empty bytes as null, as Kafka's own client does.
fn user_data_or_null(user_data: &[u8]) -> Option<&[u8]> {
    Some(user_data).filter(|bytes| !bytes.is_empty())
}

/// Encodes a subscription, in the lowest version that has its fields, but at least 1.
pub fn encode_subscription(subscription: &Subscription) -> Result<Vec<u8>, EncodeError> {
    let Subscription { topics, owned, generation, rack, user_data } = subscription;
    let version: i16 = match (generation, rack) {
        (_, Some(_)) => 3,
        (Some(_), None) => 2,
        (None, None) => 1,
    };
    let topics: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.write("version", &version);
    writer.write("topics", &topics);
    writer.write("user_data", &user_data_or_null(user_data));
    writer.write("owned_partitions", &by_topic(owned));
    if version >= 2 {
        writer.write("generation_id", &generation.unwrap_or(NO_GENERATION));
    }
    if version >= 3 {
        writer.write("rack_id", &rack.as_deref());
    }
    writer.finish().map(|()| out)
}

/// Decodes a subscription of any version.
pub fn decode_subscription(bytes: &[u8]) -> Result<Subscription, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = version(&mut reader)?;
    let topics = reader.read::<Vec<&str>>("topics")?;
    let mut subscription = Subscription {
        topics: topics.into_iter().map(Arc::from).collect(),
        user_data: user_data(&mut reader)?,
        ..Subscription::default()
    };
    let goes_on = |reader: &Reader<'_>, since: i16| version >= since && !reader.remaining().is_empty();
    if goes_on(&reader, 1) {
        subscription.owned = flat(&reader.read::<Vec<_>>("owned_partitions")?);
    }
    if goes_on(&reader, 2) {
        subscription.generation = Some(reader.read("generation_id")?).filter(|g| *g != NO_GENERATION);
    }
    if goes_on(&reader, 3) {
        subscription.rack = reader.read::<Option<&str>>("rack_id")?.map(str::to_owned);
    }
    Ok(subscription)
}

/// Encodes an assignment.
pub fn encode_assignment(assignment: &Assignment) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.write("version", &ASSIGNMENT_VERSION);
    writer.write("assigned_partitions", &by_topic(&assignment.partitions));
    writer.write("user_data", &user_data_or_null(&assignment.user_data));
    writer.finish().map(|()| out)
}

/// Decodes an assignment of any version. No bytes are an empty assignment, which the coordinator sends to a member that
/// the leader left out.
pub fn decode_assignment(bytes: &[u8]) -> Result<Assignment, DecodeError> {
    if bytes.is_empty() {
        return Ok(Assignment::default());
    }
    let mut reader = Reader::new(bytes);
    version(&mut reader)?;
    let mut partitions = flat(&reader.read::<Vec<_>>("assigned_partitions")?);
    partitions.sort();
    partitions.dedup();
    Ok(Assignment { partitions, user_data: user_data(&mut reader)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn partitions() -> impl Strategy<Value = Vec<Partition>> {
        let partition = ("[a-c]{0,2}", 0..9).prop_map(|(topic, number)| Partition::new(topic, number));
        prop::collection::btree_set(partition, 0..9).prop_map(|set| set.into_iter().collect())
    }

    fn subscriptions() -> impl Strategy<Value = Subscription> {
        let topics = prop::collection::btree_set("[a-c]{0,2}".prop_map(Arc::from), 0..4);
        let rack = prop::option::of("[a-z]{0,4}");
        let user_data = prop::collection::vec(any::<u8>(), 0..5);
        (topics, partitions(), prop::option::of(0..i32::MAX), rack, user_data).prop_map(
            |(topics, owned, generation, rack, user_data)| Subscription {
                topics,
                owned,
                generation,
                rack,
                user_data,
            },
        )
    }

    proptest! {
        #[test]
        fn a_subscription_is_read_as_it_was_written(subscription in subscriptions()) {
            let bytes = encode_subscription(&subscription).unwrap();
            prop_assert_eq!(decode_subscription(&bytes), Ok(subscription));
        }

        #[test]
        fn an_assignment_is_read_as_it_was_written(
            partitions in partitions(),
            user_data in prop::collection::vec(any::<u8>(), 0..5),
        ) {
            let assignment = Assignment { partitions, user_data };
            let bytes = encode_assignment(&assignment).unwrap();
            prop_assert_eq!(decode_assignment(&bytes), Ok(assignment));
        }

        #[test]
        fn a_newer_version_is_read_as_far_as_it_is_known(subscription in subscriptions(), version in 3_i16..) {
            let subscription = Subscription { rack: Some("r".into()), ..subscription };
            let mut bytes = encode_subscription(&subscription).unwrap();
            bytes[..2].copy_from_slice(&version.to_be_bytes());
            bytes.extend([1, 2, 3]);
            prop_assert_eq!(decode_subscription(&bytes), Ok(subscription));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..64)) {
            let _ = (decode_subscription(&bytes), decode_assignment(&bytes));
        }
    }

    #[test]
    fn a_member_that_ends_before_its_versions_fields_has_none_of_them() {
        let bytes = [0, 1, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];
        let subscription = decode_subscription(&bytes).unwrap();
        assert_eq!(subscription.topics.iter().map(|t| &**t).collect::<Vec<_>>(), ["t"]);
        assert_eq!((subscription.owned.len(), subscription.generation), (0, None));
        for length in 0..bytes.len() {
            assert!(decode_subscription(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn the_version_is_the_lowest_that_says_it_all() {
        let mut subscription = Subscription::default();
        let version = |s: &Subscription| encode_subscription(s).unwrap()[1];
        assert_eq!(version(&subscription), 1);
        subscription.generation = Some(4);
        assert_eq!(version(&subscription), 2);
        subscription.rack = Some("r".into());
        assert_eq!(version(&subscription), 3);
    }

    #[test]
    fn no_bytes_are_an_assignment_of_nothing_and_a_negative_version_is_an_error() {
        assert_eq!(decode_assignment(&[]), Ok(Assignment::default()));
        assert_eq!(decode_assignment(&[0xff, 0xff]).unwrap_err().problem, Problem::Version(-1));
    }
}
