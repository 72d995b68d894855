//! Membership in a consumer group: who gets which partition, for how long, and what becomes of it meanwhile.
//!
//! | room | what it is |
//! |---|---|
//! | [assignor] | how a leader splits the partitions |

pub mod assignor;
mod sticky;
