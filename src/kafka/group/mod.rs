//! Membership in a consumer group: who gets which partition, for how long, and what becomes of it meanwhile.
//!
//! | room | what it is |
//! |---|---|
//! | `subscription` | what members want and get, as the leader sees it |
//! | [assignor], `sticky` | how a leader splits the partitions |
//! | [exchange] | what a member and the coordinator say to each other |
//! | [error] | what the coordinator's error codes mean |
//! | [membership] | the state machine that holds it together |

pub mod assignor;
pub mod error;
pub mod exchange;
pub mod membership;
mod sticky;
mod subscription;
