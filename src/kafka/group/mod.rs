//! Membership in a consumer group, without I/O.
//!
//! | room | what it is |
//! |---|---|
//! | `subscription` | subscriptions and assignments |
//! | [assignor], `sticky` | how a leader assigns the partitions |
//! | [consumer_protocol] | their encoding, which the coordinator does not read |
//! | [exchange] | the requests to the coordinator and its responses |
//! | [error] | the coordinator's error codes |
//! | [membership] | the state machine of a member |
//! | [user_data] | what members of this client tell each other |
//! | [limit_shares] | how a limit is split among the members |
//! | [destinations] | whether all members send to the same destination |

pub mod assignor;
pub mod consumer_protocol;
pub mod destinations;
pub mod error;
pub mod exchange;
pub mod limit_shares;
pub mod membership;
mod sticky;
mod subscription;
pub mod user_data;
