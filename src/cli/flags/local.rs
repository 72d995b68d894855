//! The flags of the receiver, and those that it shares with `sandbox` and `demo`.

use super::{BASE, Command, Flag, Group};
use crate::cli::values;

/// Their part of the table.
pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "listen",
        value: Some("ADDRESS:PORT"),
        default: if cfg!(feature = "sandbox") {
            "sandbox: 127.0.0.1:9092, receive: 127.0.0.1:8080"
        } else {
            "receive: 127.0.0.1:8080"
        },
        group: Group::Local,
        commands: &[
            #[cfg(feature = "sandbox")]
            Command::Sandbox,
            Command::Receive,
        ],
        doc: "address to listen on; port 0 picks a free one",
        set: |o, v| {
            let listen = v.parse().map_err(|_| format!("'{v}' is not an address such as 127.0.0.1:8080"))?;
            o.listen = Some(listen);
            Ok(())
        },
        ..BASE
    },
    Flag {
        long: "delay",
        value: Some("DUR"),
        default: "demo: 20ms, receive: 0ms",
        group: Group::Local,
        commands: &[Command::Demo, Command::Receive],
        doc: "how long the receiver takes for each request",
        set: |o, v| values::duration(v).map(|delay| o.delay = Some(delay)),
        ..BASE
    },
    Flag {
        long: "capacity",
        value: Some("N"),
        group: Group::Local,
        commands: &[Command::Receive],
        doc: "answer 429 to requests beyond N in flight",
        set: |o, v| values::count(v).map(|n| o.capacity = Some(n)),
        ..BASE
    },
    Flag {
        long: "status",
        value: Some("CODE,…"),
        default: "204",
        group: Group::Local,
        commands: &[Command::Receive],
        doc: "status to answer with",
        set: |o, v| values::statuses(v).map(|statuses| o.statuses = statuses),
        ..BASE
    },
    Flag {
        long: "verify",
        value: Some("FILE"),
        group: Group::Local,
        commands: &[Command::Receive],
        doc: "verify signatures (Standard Webhooks) with the secrets in this file",
        set: |o, v| super::file(v).map(|path| o.verify = Some(path)),
        ..BASE
    },
];
