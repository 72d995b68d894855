//! The bytes of Kafka's requests and responses: a codec over borrowed slices. Knows neither sockets nor time.
//!
//! Each message is [described](describe) once, one file an API: its fields with the versions they exist in. Both
//! directions follow from that: a client encodes requests and decodes responses, a broker (the sandbox) does the
//! reverse. Fields carry the names of Kafka's own schemas (`common/message/*.json` in the `kafka-clients` jar);
//! `tests/protocol` holds each version of each message against those.
//!
//! [`ApiKey::versions`] are those that are described. A later version is a line for each of its new fields, and its
//! number in that table.
//!
//! **Hostile bytes.** No value is copied and the only thing allocated is the elements of an array, whose count
//! is first held against the bytes that are left and against [`MOST_ELEMENTS`]. An array takes at most
//! [`LARGEST_GROWTH`] times its bytes.
//!
//! | room | what it is |
//! |---|---|
//! | [describe], `format` | how a message is described, and what follows from that |
//! | `reader`, `writer`, `primitives` | the types of fields |
//! | `api_key`, `error_code` | numbers with names |
//! | `header` | what surrounds each message |
//! | [api_versions], [sasl_handshake], [sasl_authenticate] | the start of a connection |
//! | [metadata], [find_coordinator] | who is asked |
//! | [fetch], [list_offsets], [offset_for_leader_epoch] | records and offsets |
//! | [produce], [init_producer_id] | writing |
//! | [join_group], [sync_group], [heartbeat], [leave_group] | membership |
//! | [offset_commit], [offset_fetch] | positions |
//! | [describe_groups], [list_groups], [describe_configs] | inspection |
//! | [create_topics], [delete_topics], [create_partitions] | administration |
//!
//! ```
//! use sluicegate::kafka::protocol::heartbeat::{HeartbeatRequest, HeartbeatResponse};
//! use sluicegate::kafka::protocol::{ApiKey, ErrorCode, Reader, frame, response_body};
//!
//! let (group_id, member_id) = ("g", "m-1");
//! let request = HeartbeatRequest { group_id, generation_id: 3, member_id, group_instance_id: None };
//! let mut out = Vec::new();
//! let version = 4;
//! frame(&request, version, 7, "sluicegate", &mut out)?;
//!
//! let answer = [0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 27, 0]; // without its length prefix
//! let mut reader = Reader::new(&answer);
//! assert_eq!(response_body(&mut reader, ApiKey::Heartbeat, version)?, 7);
//! let response: HeartbeatResponse = reader.whole()?;
//! assert_eq!(response.error_code, ErrorCode::REBALANCE_IN_PROGRESS);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod api_versions;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe;
pub mod describe_configs;
pub mod describe_groups;
pub mod fetch;
pub mod find_coordinator;
mod format;
pub mod heartbeat;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod metadata;
pub mod offset_commit;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sasl_authenticate;
pub mod sasl_handshake;
pub mod sync_group;

mod api_key;
mod error_code;
mod header;
mod primitives;
mod reader;
mod writer;

pub use api_key::ApiKey;
pub use error_code::ErrorCode;
pub use format::Format;
pub use header::{
    LARGEST_FRAME, RequestHeader, frame, frame_length, frame_response, request_body, response_body,
};
pub use primitives::{Hidden, Uuid};
pub use reader::{Decode, DecodeError, LARGEST_GROWTH, MOST_ELEMENTS, Problem, Reader};
pub use writer::{Encode, EncodeError, Writer};

/// The newest version of an API for these topics: `by_name` is the last one that names topics by their names.
fn newest_with_ids(api: ApiKey, by_name: i16, mut ids: impl Iterator<Item = Uuid>) -> i16 {
    if ids.all(|id| id != Uuid::ZERO) { api.newest() } else { by_name }
}

/// A request that a client may send.
pub trait Request: Encode + Sized {
    /// The API it belongs to.
    const API: ApiKey;
    /// What the broker answers.
    type Response<'r>: Decode<'r>;

    /// The newest version that can carry this very request: from some version on topics are named by their ids alone,
    /// which not every broker tells.
    fn newest(&self) -> i16 {
        Self::API.newest()
    }

    /// The same request with its fields where this version has them, if some of them have moved. Callers fill in
    /// the fields of the former versions.
    fn reshaped(&self, _version: i16) -> Option<Self> {
        None
    }

    /// Moves what newer versions have elsewhere to where callers look for it.
    fn restore(_response: &mut Self::Response<'_>, _version: i16) {}
}
