//! The commands, a file each. None knows another, and none knows the flags: each is handed its [plan](super::plan).
//!
//! | room | what it does |
//! |---|---|
//! | `run`, `send`, `replay` | deliver: from Kafka, from lines, from dead letters |
//! | `check` | looks without touching |
//! | `tail` | shows dead letters |
//! | `receive` | is a webhook |
//! | `sandbox` | is a Kafka broker |
//! | `demo` | shows the idea |
//! | `letters` | how dead letters are read and shown |

pub(super) mod check;
pub(super) mod demo;
mod letters;
pub(super) mod receive;
pub(super) mod replay;
pub(super) mod run;
#[cfg(feature = "sandbox")]
pub(super) mod sandbox;
pub(super) mod send;
pub(super) mod tail;
