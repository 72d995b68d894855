//! Which APIs are spoken, and in which version.

use std::fmt;

/// An API of Kafka's that this client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum ApiKey {
    /// Append records to partitions.
    Produce = 0,
    /// Read records of partitions.
    Fetch = 1,
    /// Which offset belongs to a time, or is the first or the next.
    ListOffsets = 2,
    /// The brokers, the topics, who leads which partition.
    Metadata = 3,
    /// Keep how far a group has come.
    OffsetCommit = 8,
    /// How far a group had come.
    OffsetFetch = 9,
    /// Which broker looks after a group.
    FindCoordinator = 10,
    /// Become a member of a group, or stay one through a rebalance.
    JoinGroup = 11,
    /// Say that a member lives.
    Heartbeat = 12,
    /// Leave a group.
    LeaveGroup = 13,
    /// Hand out the leader's assignment.
    SyncGroup = 14,
    /// Who is in a group.
    DescribeGroups = 15,
    /// Agree on a way to authenticate.
    SaslHandshake = 17,
    /// Which APIs a broker speaks, in which versions.
    ApiVersions = 18,
    /// Give a producer a number of its own.
    InitProducerId = 22,
    /// Where the records of a leader's reign end.
    OffsetForLeaderEpoch = 23,
    /// One step of authentication.
    SaslAuthenticate = 36,
}

impl ApiKey {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Produce,
        Self::Fetch,
        Self::ListOffsets,
        Self::Metadata,
        Self::OffsetCommit,
        Self::OffsetFetch,
        Self::FindCoordinator,
        Self::JoinGroup,
        Self::Heartbeat,
        Self::LeaveGroup,
        Self::SyncGroup,
        Self::DescribeGroups,
        Self::SaslHandshake,
        Self::ApiVersions,
        Self::InitProducerId,
        Self::OffsetForLeaderEpoch,
        Self::SaslAuthenticate,
    ];

    /// The API of that number, if it is one of these.
    pub fn from_i16(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.number() == number)
    }

    /// Its number on the wire.
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// The one version that is spoken. Each is served by Kafka 2.4 and by 4.x, and comes before its API's first
    /// flexible one (KIP-482).
    pub const fn version(self) -> i16 {
        match self {
            Self::Produce => 8,
            Self::Fetch => 11,
            Self::ListOffsets => 4,
            Self::Metadata => 8,
            Self::OffsetCommit => 7,
            Self::OffsetFetch => 5,
            Self::FindCoordinator => 2,
            Self::JoinGroup => 5,
            Self::Heartbeat => 3,
            Self::LeaveGroup => 3,
            Self::SyncGroup => 3,
            Self::DescribeGroups => 4,
            Self::SaslHandshake => 1,
            Self::ApiVersions => 2,
            Self::InitProducerId => 1,
            Self::OffsetForLeaderEpoch => 3,
            Self::SaslAuthenticate => 1,
        }
    }

    /// Its name in Kafka's documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Produce => "Produce",
            Self::Fetch => "Fetch",
            Self::ListOffsets => "ListOffsets",
            Self::Metadata => "Metadata",
            Self::OffsetCommit => "OffsetCommit",
            Self::OffsetFetch => "OffsetFetch",
            Self::FindCoordinator => "FindCoordinator",
            Self::JoinGroup => "JoinGroup",
            Self::Heartbeat => "Heartbeat",
            Self::LeaveGroup => "LeaveGroup",
            Self::SyncGroup => "SyncGroup",
            Self::DescribeGroups => "DescribeGroups",
            Self::SaslHandshake => "SaslHandshake",
            Self::ApiVersions => "ApiVersions",
            Self::InitProducerId => "InitProducerId",
            Self::OffsetForLeaderEpoch => "OffsetForLeaderEpoch",
            Self::SaslAuthenticate => "SaslAuthenticate",
        }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_number_and_no_other_is() {
        for number in i16::MIN..=i16::MAX {
            if let Some(api) = ApiKey::from_i16(number) {
                assert_eq!(api.number(), number);
                assert_eq!(format!("{api:?}"), api.to_string());
            }
        }
        assert!(ApiKey::ALL.iter().all(|api| ApiKey::from_i16(api.number()) == Some(*api)));
    }
}
