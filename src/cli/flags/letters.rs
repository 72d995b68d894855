//! The flags for dead letters: where they go, which of them to replay, how to show them.

use super::{BASE, Command, Flag, Group, WEBHOOK, choose, switch};
use crate::cli::options::DeadLetter;
use crate::cli::values;
use crate::relay::dead_letter::headers::is_topic;
use crate::relay::settings::OnRejection;
use crate::text::time::time;

const REPLAY: &[Command] = &[Command::Replay];
const TAIL: &[Command] = &[Command::Tail];
const SEND: &[Command] = &[Command::Send];
const READING: &[Command] = &[Command::Replay, Command::Tail];

/// Their part of the table.
pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "dead-letter",
        value: Some("FILE|topic:NAME|drop"),
        group: Group::Letters,
        commands: WEBHOOK,
        doc: "Where rejected records go",
        more: "FILE holds JSON lines; topic:NAME is a topic of the same cluster; drop discards them. \
               Without this flag the first rejected record ends the run (exit 3).",
        basic: true,
        set: |o, v| {
            let (place, on_rejection) = match (v, v.strip_prefix("topic:")) {
                ("", _) => return Err("the file name is missing".into()),
                ("drop", _) => (DeadLetter::Drop, OnRejection::Drop),
                (_, Some(topic)) if is_topic(topic) => {
                    (DeadLetter::Topic(topic.into()), OnRejection::DeadLetter)
                }
                (_, Some(topic)) => return Err(format!("no topic can be called '{topic}'")),
                (path, None) => (DeadLetter::File(path.into()), OnRejection::DeadLetter),
            };
            o.dead_letter = Some(place);
            o.settings.on_rejection = on_rejection;
            Ok(())
        },
        ..BASE
    },
    Flag {
        long: "dead-letter-max-size",
        value: Some("SIZE"),
        default: "0: no limit",
        group: Group::Letters,
        commands: WEBHOOK,
        doc: "Rotate the dead-letter file at this size",
        more: "FILE becomes FILE.1, the next one FILE.2. None is deleted.",
        set: |o, v| {
            o.dead_letter_max_size = if v == "0" { None } else { Some(values::bytes(v)?) };
            Ok(())
        },
        ..BASE
    },
    Flag {
        long: "only",
        value: Some("CONDITION"),
        repeats: true,
        group: Group::Letters,
        commands: READING,
        doc: "Only dead letters that match",
        more: "status=422, status=none, reason~TEXT or topic=NAME. Same name: OR; different names: AND.",
        basic: true,
        set: |o, v| o.letters.only(v),
        ..BASE
    },
    Flag {
        long: "since",
        value: Some("TIME"),
        group: Group::Letters,
        commands: READING,
        doc: "Only records rejected at this time or later",
        more: "Such as 2026-11-24T08:00:00Z.",
        basic: true,
        set: |o, v| {
            let millis = values::timestamp(v).and_then(|millis| u64::try_from(millis).ok());
            let millis = millis.ok_or_else(|| format!("'{v}' is not a time such as 2026-11-24T08:00:00Z"))?;
            o.letters.since(time(millis));
            Ok(())
        },
        ..BASE
    },
    Flag {
        long: "dry-run",
        group: Group::Letters,
        commands: REPLAY,
        doc: "Show what would be sent, and send nothing",
        basic: true,
        set: |o, v| switch(v).map(|on| o.dry_run = on),
        ..BASE
    },
    Flag {
        long: "json",
        group: Group::Letters,
        commands: TAIL,
        doc: "Print each dead letter as a line of JSON, as in a file",
        set: |o, v| switch(v).map(|on| o.json = on),
        ..BASE
    },
    Flag {
        long: "follow",
        short: Some('f'),
        group: Group::Letters,
        commands: TAIL,
        doc: "Keep reading: print new dead letters as they come (topics only)",
        set: |o, v| switch(v).map(|on| o.follow = on),
        ..BASE
    },
    Flag {
        long: "key-separator",
        value: Some("TEXT"),
        group: Group::From,
        commands: SEND,
        doc: "Split each line into key and value at the first TEXT",
        more: "Write tab for a tab. A line without TEXT has no key.",
        basic: true,
        set: |o, v| {
            if v.is_empty() {
                return Err("it can't be empty".into());
            }
            o.key_separator = Some(choose(v, &[("tab", "\t")]).unwrap_or(v).to_owned());
            Ok(())
        },
        ..BASE
    },
];
