//! The flags of the sandbox.

use super::{BASE, Command, Flag, Group};

/// Their part of the table.
pub(super) const FLAGS: &[Flag] = &[Flag {
    long: "listen",
    value: Some("ADDRESS:PORT"),
    default: "127.0.0.1:9092",
    group: Group::Sandbox,
    commands: &[Command::Sandbox],
    doc: "where clients reach the sandbox; port 0 takes a free one",
    set: |o, v| {
        o.listen = v.parse().map_err(|_| format!("'{v}' is not an address such as 127.0.0.1:9092"))?;
        Ok(())
    },
    ..BASE
}];
