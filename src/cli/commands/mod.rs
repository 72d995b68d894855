//! The commands, a file each. None knows another, and none knows the flags: each is handed its [plan](super::plan).

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
