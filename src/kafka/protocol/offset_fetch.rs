//! `OffsetFetch`: the committed positions of a group.

use super::describe::{describe, request};
use super::{ErrorCode, Uuid, newest_with_ids};

describe! {
    /// Asks the group's coordinator.
    pub struct OffsetFetchRequest<'a> {
        group_id: &'a str => 0..=7; "The group's name."
        topics: Option<Vec<OffsetFetchRequestTopic<'a>>> = Some(Vec::new()) => 0..=7, null 2..=7;
            "The topics; `None` for all of which there are commits."
        groups: Vec<OffsetFetchRequestGroup<'a>> => 8..; "The groups."
        require_stable: bool => 7..;
            "Whether an offset that an open transaction may change is an error that can be retried."
    }

    /// The groups.
    pub struct OffsetFetchRequestGroup<'a> {
        group_id: &'a str => 8..; "The group ID."
        member_id: Option<&'a str> => 9.., ignorable; "The member id."
        member_epoch: i32 = -1 => 9.., ignorable;
            "The member epoch if using the new consumer protocol (KIP-848)."
        topics: Option<Vec<OffsetFetchRequestTopic<'a>>> = Some(Vec::new()) => 8..;
            "The topics; `None` for all of which there are commits."
    }

    /// Partitions of one topic.
    pub struct OffsetFetchRequestTopic<'a> {
        name: &'a str => 0..=9, ignorable; "The topic's name."
        topic_id: Uuid => 10.., ignorable; "The topic's id."
        partition_indexes: Vec<i32> => 0..; "The partitions' numbers."
    }

    /// The positions.
    pub struct OffsetFetchResponse<'a> {
        throttle_time_ms: i32 => 3.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        topics: Vec<OffsetFetchResponseTopic<'a>> => 0..=7; "The topics."
        error_code: ErrorCode => 2..=7, ignorable; "What was wrong with the whole request."
        groups: Vec<OffsetFetchResponseGroup<'a>> => 8..; "The responses per group id."
    }

    /// The responses per group id.
    pub struct OffsetFetchResponseGroup<'a> {
        group_id: &'a str => 8..; "The group ID."
        topics: Vec<OffsetFetchResponseTopic<'a>> => 8..; "The responses per topic."
        error_code: ErrorCode => 8..; "The group-level error code, or 0 if there was no error."
    }

    /// Partitions of one topic.
    pub struct OffsetFetchResponseTopic<'a> {
        name: &'a str => 0..=9, ignorable; "The topic's name."
        topic_id: Uuid => 10.., ignorable; "The topic's id."
        partitions: Vec<OffsetFetchResponsePartition<'a>> => 0..; "The partitions."
    }

    /// A position.
    pub struct OffsetFetchResponsePartition<'a> {
        partition_index: i32 => 0..; "The partition's number."
        committed_offset: i64 => 0..; "The offset of the next record to handle; -1 if none was committed."
        committed_leader_epoch: i32 = -1 => 5.., ignorable;
            "The epoch of the leader that wrote the last one handled; -1 if that isn't known."
        metadata: Option<&'a str> = Some("") => 0..; "Words that were kept with it."
        error_code: ErrorCode => 0..; "Why there is no answer."
    }
}

request!(OffsetFetchRequest<'_>, OffsetFetch, 'r OffsetFetchResponse<'r> {
    fn newest(&self) -> i16 {
        let of_groups = self.groups.iter().filter_map(|group| group.topics.as_ref());
        let topics = self.topics.iter().chain(of_groups).flatten();
        newest_with_ids(Self::API, 9, topics.map(|topic| topic.topic_id))
    }

    // From version 8 on one request asks for several groups.
    fn reshaped(&self, version: i16) -> Option<Self> {
        let alone = version >= 8 && self.groups.is_empty();
        alone.then(|| Self {
            groups: vec![OffsetFetchRequestGroup {
                group_id: self.group_id,
                topics: self.topics.clone(),
                ..OffsetFetchRequestGroup::default()
            }],
            require_stable: self.require_stable,
            ..Self::default()
        })
    }

    fn restore(response: &mut OffsetFetchResponse<'_>, version: i16) {
        if version >= 8 {
            // A response without the group is an error: it does not mean that nothing is committed.
            let unknown = ErrorCode::UNKNOWN_SERVER_ERROR;
            let group = response.groups.pop().map(|group| (group.topics, group.error_code));
            (response.topics, response.error_code) = group.unwrap_or((Vec::new(), unknown));
        }
    }
});
