//! The bytes of Kafka's requests and responses: a codec over borrowed slices. Knows neither sockets nor time.
//!
//! Written by hand, one file an API, both directions: a client encodes requests and decodes responses, a broker
//! (the sandbox) does the reverse. Fields carry the names of Kafka's own schemas
//! (`common/message/*.json` in the `kafka-clients` jar); `tests/protocol` holds each of them against those.
//!
//! One version of each API is spoken ([`ApiKey::version`]), the newest that Kafka 2.4 and 4.x share without
//! flexible encodings (KIP-482). A later version is a further file beside the one of today.
//!
//! **Hostile bytes.** No value is copied and the only thing allocated is the elements of an array, whose count
//! is first held against the bytes that are left and against [`MOST_ELEMENTS`]: see [`Reader::array`]. An array
//! takes at most [`LARGEST_GROWTH`] times its bytes.
//!
//! | file | what is in it |
//! |---|---|
//! | [Reader], [Writer] | the primitive types |
//! | [ApiKey], [ErrorCode] | numbers with names |
//! | [RequestHeader], [ResponseHeader], [frame] | what surrounds each message |
//! | [consumer_protocol] | what consumers tell each other through `JoinGroup` and `SyncGroup` |
//! | all others | one API each |
//!
//! ```
//! use sluicegate::kafka::protocol::heartbeat::{HeartbeatRequest, HeartbeatResponse};
//! use sluicegate::kafka::protocol::{Decode, ErrorCode, Reader, ResponseHeader, frame};
//!
//! let request =
//!     HeartbeatRequest { group_id: "g", generation_id: 3, member_id: "m-1", group_instance_id: None };
//! let mut out = Vec::new();
//! frame(&request, 7, "sluicegate", &mut out)?;
//!
//! let answer = [0, 0, 0, 7, 0, 0, 0, 0, 0, 27]; // without its length prefix
//! let mut reader = Reader::new(&answer);
//! assert_eq!(ResponseHeader::decode(&mut reader)?.correlation_id, 7);
//! let response: HeartbeatResponse = reader.whole()?;
//! assert_eq!(response.error_code, ErrorCode::REBALANCE_IN_PROGRESS);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod api_versions;
pub mod consumer_protocol;
pub mod describe_groups;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
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
mod reader;
mod writer;

pub use api_key::ApiKey;
pub use error_code::ErrorCode;
pub use header::{
    LARGEST_FRAME, RequestHeader, ResponseHeader, frame, frame_length, frame_response, request_body,
};
pub use reader::{Decode, DecodeError, LARGEST_GROWTH, MOST_ELEMENTS, Problem, Reader};
pub use writer::{Encode, EncodeError, Writer};

/// A request that a client may send.
pub trait Request: Encode {
    /// The API it belongs to; it is encoded in that API's [version](ApiKey::version).
    const API: ApiKey;
    /// What the broker answers.
    type Response<'r>: Decode<'r>;
}
