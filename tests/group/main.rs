//! The group layer: who gets which partition, and whether a member ever acts on a partition that another has.
#![cfg(feature = "kafka")]

mod answers;
mod assignors;
mod checks;
mod coordinator;
mod leases;
mod network;
mod schedules;
mod slow;
mod world;
