//! The sandbox: what it is to clients of others, and what ours makes of it when it misbehaves.

mod admin;
mod answers;
mod changes;
mod closings;
mod command;
mod destinations;
mod reader;
mod sharing;
mod strangers;
mod topics;
mod trouble;
mod trust;
mod versions;
mod wire;
