//! The flags of `receive`, `sandbox` and `demo`.

use super::{BASE, Command, Flag, Group};
use crate::cli::values;

/// The most events of the demo: without a limit it takes a thread for each.
const MOST_EVENTS: usize = 1_000;

/// Their part of the table.
pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "events",
        value: Some("N"),
        default: "10, then 400",
        group: Group::Local,
        commands: &[Command::Demo],
        doc: "Number of events; at most 1000",
        set: |o, v| match values::count(v)? {
            n if n.get() <= MOST_EVENTS => {
                o.events = Some(n);
                Ok(())
            }
            _ => Err(format!("the demo takes at most {MOST_EVENTS} events")),
        },
        ..BASE
    },
    Flag {
        long: "svg",
        value: Some("FILE"),
        group: Group::Local,
        commands: &[Command::Demo],
        doc: "Write the result to this file as a picture (SVG)",
        set: |o, v| super::file(v).map(|path| o.svg = Some(path)),
        ..BASE
    },
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
        doc: "Address to listen on; port 0 picks a free one",
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
        doc: "How long the receiver takes for each request",
        more: "demo: at most 1s.",
        set: |o, v| values::duration(v).map(|delay| o.delay = Some(delay)),
        ..BASE
    },
    Flag {
        long: "capacity",
        value: Some("N"),
        group: Group::Local,
        commands: &[Command::Receive],
        doc: "Answer 429 to requests beyond N in flight",
        set: |o, v| values::count(v).map(|n| o.capacity = Some(n)),
        ..BASE
    },
    Flag {
        long: "status",
        value: Some("CODE,…"),
        default: "204",
        group: Group::Local,
        commands: &[Command::Receive],
        doc: "Status to answer with",
        more: "Several are used in turn: 503,204 fails every other request.",
        set: |o, v| values::statuses(v).map(|statuses| o.statuses = statuses),
        ..BASE
    },
    Flag {
        long: "verify",
        value: Some("FILE"),
        group: Group::Local,
        commands: &[Command::Receive],
        doc: "Verify signatures (Standard Webhooks) with the secrets in this file",
        more: "The file is written as for --signing-secret-file. Requests without a valid signature are \
               answered 401.",
        set: |o, v| super::file(v).map(|path| o.verify = Some(path)),
        ..BASE
    },
];
