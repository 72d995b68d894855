//! The group layer: who gets which partition, and whether a member ever acts on a partition that another has.
mod answers;
mod assignors;
mod checks;
mod leases;
mod network;
mod schedules;
mod slow;
mod world;
