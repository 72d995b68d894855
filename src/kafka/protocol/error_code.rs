//! Kafka's error codes: their names and meanings, and whether Kafka's own client retries them.

use std::fmt;

/// An error code of a response; 0 means no error.
///
/// ```
/// use sluicegate::kafka::protocol::ErrorCode;
///
/// assert_eq!(
///     ErrorCode::NOT_LEADER_OR_FOLLOWER.to_string(),
///     "NOT_LEADER_OR_FOLLOWER (6): this broker no longer leads the partition",
/// );
/// assert_eq!(ErrorCode(12345).to_string(), "error 12345: unknown to this client");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(pub i16);

/// A known error code.
struct Known {
    code: ErrorCode,
    name: &'static str,
    retriable: bool,
    meaning: &'static str,
}

/// Each code once: number, name, whether it is a `RetriableException` in Kafka's own client, and the meaning.
macro_rules! codes {
    ($($number:literal $name:ident $retriable:ident $meaning:literal,)*) => {
        impl ErrorCode {
            $(#[doc = concat!("Code ", $number, ": ", $meaning, ".")]
            pub const $name: Self = Self($number);)*
        }

        /// In ascending order.
        const KNOWN: &[Known] = &[
            $(Known {
                code: ErrorCode::$name,
                name: stringify!($name),
                retriable: codes!(@ $retriable),
                meaning: $meaning,
            },)*
        ];
    };
    (@ retriable) => { true };
    (@ lasting) => { false };
}

codes! {
    -1 UNKNOWN_SERVER_ERROR lasting "the broker failed in a way it has no name for; its log says more",
    0 NONE lasting "no error",
    1 OFFSET_OUT_OF_RANGE lasting "the partition has no such offset: it was deleted, or isn't written yet",
    2 CORRUPT_MESSAGE retriable "a record's checksum or size is wrong",
    3 UNKNOWN_TOPIC_OR_PARTITION retriable "this broker doesn't know the topic or the partition",
    4 INVALID_FETCH_SIZE lasting "the fetch asks for an impossible size",
    5 LEADER_NOT_AVAILABLE retriable "the partition has no leader at the moment",
    6 NOT_LEADER_OR_FOLLOWER retriable "this broker no longer leads the partition",
    7 REQUEST_TIMED_OUT retriable "the brokers didn't finish in the time they were given",
    8 BROKER_NOT_AVAILABLE lasting "the broker isn't there",
    9 REPLICA_NOT_AVAILABLE retriable "the replica isn't there at the moment",
    10 MESSAGE_TOO_LARGE lasting "a batch is larger than the topic's max.message.bytes",
    11 STALE_CONTROLLER_EPOCH lasting "the controller has moved",
    12 OFFSET_METADATA_TOO_LARGE lasting "the commit's metadata is longer than the broker allows",
    13 NETWORK_EXCEPTION retriable "the connection was lost before an answer came",
    14 COORDINATOR_LOAD_IN_PROGRESS retriable "the group's coordinator is still loading the group",
    15 COORDINATOR_NOT_AVAILABLE retriable "the group has no coordinator at the moment",
    16 NOT_COORDINATOR retriable "this broker no longer coordinates the group",
    17 INVALID_TOPIC_EXCEPTION lasting "no topic can have that name",
    18 RECORD_LIST_TOO_LARGE lasting "a batch is larger than the topic's segments",
    19 NOT_ENOUGH_REPLICAS retriable "fewer replicas are in sync than the topic demands; nothing was written",
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND retriable
        "fewer replicas are in sync than the topic demands; it was written, but not to all",
    21 INVALID_REQUIRED_ACKS lasting "no such number of acknowledgements can be asked for",
    22 ILLEGAL_GENERATION lasting "the group has moved on to another generation",
    23 INCONSISTENT_GROUP_PROTOCOL lasting
        "the group's other members share no assignor with this one: let all of them use the same",
    24 INVALID_GROUP_ID lasting "no group can have that name",
    25 UNKNOWN_MEMBER_ID lasting "the coordinator knows no such member: its session ended",
    26 INVALID_SESSION_TIMEOUT lasting
        "the session timeout is outside of the broker's group.min. and group.max.session.timeout.ms",
    27 REBALANCE_IN_PROGRESS lasting "the group is sharing its partitions out anew",
    28 INVALID_COMMIT_OFFSET_SIZE lasting "the commit is too large to be kept",
    29 TOPIC_AUTHORIZATION_FAILED lasting "this user may not use the topic: grant it in the topic's ACLs",
    30 GROUP_AUTHORIZATION_FAILED lasting "this user may not use the group: grant it in the group's ACLs",
    31 CLUSTER_AUTHORIZATION_FAILED lasting "this user may not do this to the cluster: grant it in its ACLs",
    32 INVALID_TIMESTAMP lasting "a record's timestamp is further off than the topic allows",
    33 UNSUPPORTED_SASL_MECHANISM lasting "the broker doesn't have that SASL mechanism enabled",
    34 ILLEGAL_SASL_STATE lasting
        "the request doesn't belong here: perhaps this listener has no SASL, or wants it first",
    35 UNSUPPORTED_VERSION lasting "the broker doesn't speak that version of the API",
    36 TOPIC_ALREADY_EXISTS lasting "there is such a topic already",
    37 INVALID_PARTITIONS lasting "a topic can't have that number of partitions",
    38 INVALID_REPLICATION_FACTOR lasting "there aren't so many brokers to replicate to",
    39 INVALID_REPLICA_ASSIGNMENT lasting "the partitions can't be assigned to brokers like that",
    40 INVALID_CONFIG lasting "there is no such setting, or it can't have that value",
    41 NOT_CONTROLLER retriable "this broker is not the controller",
    42 INVALID_REQUEST lasting "the broker finds no sense in the request; its log says more",
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT lasting "the topic is in a record format that doesn't know of this",
    44 POLICY_VIOLATION lasting "a policy of the broker forbids it",
    45 OUT_OF_ORDER_SEQUENCE_NUMBER lasting "records of this producer are missing before these",
    46 DUPLICATE_SEQUENCE_NUMBER lasting "the partition has these records already",
    47 INVALID_PRODUCER_EPOCH lasting "another producer took over under the same id",
    48 INVALID_TXN_STATE lasting "the transaction isn't in a state for this",
    49 INVALID_PRODUCER_ID_MAPPING lasting "the producer's id belongs to another transactional id",
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED lasting "this user may not use the transactional id",
    54 SECURITY_DISABLED lasting "the broker has no authorizer",
    56 KAFKA_STORAGE_ERROR retriable "the broker can't read or write its disk",
    58 SASL_AUTHENTICATION_FAILED lasting "the broker doesn't accept these credentials",
    59 UNKNOWN_PRODUCER_ID lasting "the broker has forgotten this producer",
    60 REASSIGNMENT_IN_PROGRESS lasting "the partition is being moved",
    66 DELEGATION_TOKEN_EXPIRED lasting "the delegation token has expired",
    69 GROUP_ID_NOT_FOUND lasting "there is no such group",
    70 FETCH_SESSION_ID_NOT_FOUND retriable "the broker has forgotten the fetch session",
    71 INVALID_FETCH_SESSION_EPOCH retriable "the fetch session is in another state",
    72 LISTENER_NOT_FOUND retriable "the partition's leader has no listener of this name",
    74 FENCED_LEADER_EPOCH retriable "the partition has a newer leader than this client knows",
    75 UNKNOWN_LEADER_EPOCH retriable "this broker doesn't know yet of the partition's newest leader",
    76 UNSUPPORTED_COMPRESSION_TYPE lasting "that version of the API can't carry the topic's compression",
    77 STALE_BROKER_EPOCH lasting "the broker was started anew",
    78 OFFSET_NOT_AVAILABLE retriable "the partition's new leader isn't sure yet how far its log goes",
    79 MEMBER_ID_REQUIRED lasting "join again with the member id that came with this",
    80 PREFERRED_LEADER_NOT_AVAILABLE retriable "the partition's preferred leader isn't there",
    81 GROUP_MAX_SIZE_REACHED lasting "the group has as many members as the broker's group.max.size allows",
    82 FENCED_INSTANCE_ID lasting
        "another member took over under the same instance id: give each instance an id of its own",
    87 INVALID_RECORD lasting "the broker doesn't accept a record (a compacted topic wants keys)",
    88 UNSTABLE_OFFSET_COMMIT retriable "a transaction that commits offsets is still open",
    89 THROTTLING_QUOTA_EXCEEDED retriable "the client's quota is used up",
    90 PRODUCER_FENCED lasting "another producer took over under the same transactional id",
    100 UNKNOWN_TOPIC_ID retriable "this broker doesn't know the topic's id",
    103 INCONSISTENT_TOPIC_ID retriable "the topic was deleted and made anew",
    106 FETCH_SESSION_TOPIC_ID_ERROR retriable "the fetch session mixes topic names and ids",
    109 OFFSET_MOVED_TO_TIERED_STORAGE lasting "the offset is in tiered storage only",
    110 FENCED_MEMBER_EPOCH lasting "the coordinator has fenced this member",
    111 UNRELEASED_INSTANCE_ID lasting "another member still uses the instance id",
    113 STALE_MEMBER_EPOCH lasting "the group speaks the new protocol (KIP-848) and has moved on",
    129 REBOOTSTRAP_REQUIRED lasting "the cluster wants this client to start again from its bootstrap list",
}

impl ErrorCode {
    /// Whether it means no error.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// `Ok` if it means no error.
    pub fn ok(self) -> Result<(), Self> {
        if self.is_none() { Ok(()) } else { Err(self) }
    }

    /// Whether Kafka's own client retries the request after it. What has to be done first, such as a refresh of the
    /// metadata or a lookup of the coordinator, depends on the request.
    pub fn is_retriable(self) -> bool {
        self.known().is_some_and(|known| known.retriable)
    }

    /// Kafka's name for it, if it is known here.
    pub fn name(self) -> Option<&'static str> {
        self.known().map(|known| known.name)
    }

    fn known(self) -> Option<&'static Known> {
        let place = KNOWN.binary_search_by_key(&self, |known| known.code).ok()?;
        KNOWN.get(place)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(Known { name, meaning, .. }) => write!(f, "{name} ({}): {meaning}", self.0),
            None => write!(f, "error {}: unknown to this client", self.0),
        }
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_so_that_each_code_is_found() {
        assert!(KNOWN.is_sorted_by(|a, b| a.code < b.code));
        assert!(KNOWN.iter().all(|known| known.code.name() == Some(known.name)));
    }

    #[test]
    fn what_may_be_tried_again_is_what_kafka_says() {
        assert!(ErrorCode::LEADER_NOT_AVAILABLE.is_retriable());
        assert!(!ErrorCode::REBALANCE_IN_PROGRESS.is_retriable());
        assert!(!ErrorCode(12345).is_retriable());
        assert_eq!(ErrorCode::NONE.ok(), Ok(()));
        assert_eq!(ErrorCode(1).ok(), Err(ErrorCode::OFFSET_OUT_OF_RANGE));
    }
}
