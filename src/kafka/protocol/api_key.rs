//! The APIs and versions that are supported here.

use super::format::Format;
use std::fmt;
use std::ops::RangeInclusive;

/// Each API once: its number, the supported versions, and the first flexible one (KIP-482).
macro_rules! apis {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $versions:expr, flexible $flexible:expr;)*) => {
        /// An API of Kafka's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $($(#[$doc])* $name = $number,)*
        }

        impl ApiKey {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The versions that are supported here, by the codec and by the sandbox.
            pub const fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(Self::$name => $versions,)*
                }
            }

            /// How a version is encoded.
            pub const fn format(self, version: i16) -> Format {
                let first: Option<i16> = match self {
                    $(Self::$name => $flexible,)*
                };
                let flexible = match first {
                    Some(first) => version >= first,
                    None => false,
                };
                Format { version, flexible }
            }

            /// Its name in Kafka's documentation.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

apis! {
    /// Append records to partitions.
    Produce = 0, 3..=13, flexible Some(9);
    /// Read records of partitions.
    Fetch = 1, 4..=18, flexible Some(12);
    /// The offsets of times, and the bounds of logs.
    ListOffsets = 2, 1..=11, flexible Some(6);
    /// The brokers, topics and leaders.
    Metadata = 3, 1..=13, flexible Some(9);
    /// Commit the positions of a group.
    OffsetCommit = 8, 2..=10, flexible Some(8);
    /// The committed positions of a group.
    OffsetFetch = 9, 1..=10, flexible Some(6);
    /// The coordinator of a group.
    FindCoordinator = 10, 0..=6, flexible Some(3);
    /// Join a group, or rejoin it in a rebalance.
    JoinGroup = 11, 0..=9, flexible Some(6);
    /// Keep a member's session alive.
    Heartbeat = 12, 0..=4, flexible Some(4);
    /// Leave a group.
    LeaveGroup = 13, 0..=5, flexible Some(4);
    /// Distribute the leader's assignment.
    SyncGroup = 14, 0..=5, flexible Some(4);
    /// The members of a group.
    DescribeGroups = 15, 0..=6, flexible Some(5);
    /// The groups that a broker coordinates.
    ListGroups = 16, 0..=5, flexible Some(3);
    /// Choose a SASL mechanism.
    SaslHandshake = 17, 0..=1, flexible None;
    /// The APIs and versions of a broker.
    ApiVersions = 18, 0..=4, flexible Some(3);
    /// Create topics.
    CreateTopics = 19, 2..=7, flexible Some(5);
    /// Delete topics.
    DeleteTopics = 20, 1..=6, flexible Some(4);
    /// Allocate a producer id.
    InitProducerId = 22, 0..=5, flexible Some(2);
    /// The end offsets of leader epochs.
    OffsetForLeaderEpoch = 23, 2..=4, flexible Some(4);
    /// The settings of topics and brokers.
    DescribeConfigs = 32, 1..=4, flexible Some(4);
    /// One step of authentication.
    SaslAuthenticate = 36, 0..=2, flexible Some(2);
    /// Add partitions to topics.
    CreatePartitions = 37, 0..=3, flexible Some(2);
}

impl ApiKey {
    /// The latest version that is supported here.
    pub const fn newest(self) -> i16 {
        *self.versions().end()
    }

    /// The API with this number; `None` if it is not supported here.
    pub fn from_i16(number: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|api| api.number() == number)
    }

    /// Its number in the protocol (`api_key`).
    pub const fn number(self) -> i16 {
        self as i16
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
