//! The one table of flags. Parsing, help, the man page, completions, environment variables and the keys of a config
//! file are made from it; nothing about a flag stands anywhere else.
//!
//! | room | flags of |
//! |---|---|
//! | `kafka` | the native Kafka client |
//! | `client` | the HTTP client |
//! | `request` | requests: body, headers, credentials, signatures |
//! | `pace` | the limits |
//! | `letters` | rejected records |
//! | `local` | demo, sandbox and receiver |

mod client;
mod kafka;
mod letters;
mod local;
mod pace;
mod request;

use super::command::Command;
use super::options::{LogFormat, Options};
use super::values;
use crate::kafka::config::Start;
use crate::timing::backoff::Backoff;
use std::num::NonZeroU32;

/// Where a flag stands in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// What is read.
    From,
    /// What is sent.
    To,
    /// How fast.
    Pace,
    /// What failures lead to.
    Failures,
    /// Rejected records, and how they are sent again.
    Letters,
    /// What plays on this machine: demo, sandbox, receiver.
    Local,
    /// The rest.
    General,
}

impl Group {
    /// All of them, in order, with their headings.
    pub(crate) const ALL: &'static [(Self, &'static str)] = &[
        (Self::From, "From Kafka"),
        (Self::To, "To the webhook"),
        (Self::Pace, "Limits"),
        (Self::Failures, "Failures"),
        (Self::Letters, "Rejected events"),
        (Self::Local, "On this machine"),
        (Self::General, "General"),
    ];
}

/// A flag.
#[derive(Clone, Copy)]
pub(crate) struct Flag {
    /// Its long name, without dashes; its environment variable and config key follow from it.
    pub(crate) long: &'static str,
    /// Its short name.
    pub(crate) short: Option<char>,
    /// The placeholder of its value; `None` for a switch.
    pub(crate) value: Option<&'static str>,
    /// The default as `--help` shows it; empty: none.
    pub(crate) default: &'static str,
    /// Whether it may be given more than once.
    pub(crate) repeats: bool,
    /// Where it stands in `--help`.
    pub(crate) group: Group,
    /// Which commands take it.
    pub(crate) commands: &'static [Command],
    /// Whether it is among the few that `-h` shows.
    pub(crate) basic: bool,
    /// What it does, in a line.
    pub(crate) doc: &'static str,
    /// What else there is to know, in sentences for `--help` and the man page.
    pub(crate) more: &'static str,
    /// Parses its value and stores it. Errors are sentences without secrets.
    pub(crate) set: fn(&mut Options, &str) -> Result<(), String>,
}

impl Flag {
    /// `SLUICEGATE_MAX_CONCURRENCY`.
    pub(crate) fn variable(&self) -> String {
        format!("SLUICEGATE_{}", self.long.to_ascii_uppercase().replace('-', "_"))
    }
}

use Command::{Check, Demo, Receive, Replay, Run, Send, Tail};

const RUN: &[Command] = &[Run];
/// Who reads the topics of `--topic`.
const KAFKA: &[Command] = &[Run, Check];
/// Who reads topics in a group.
const IN_GROUP: &[Command] = &[Run, Check, Replay];
/// Who may have to reach brokers.
const BROKERS: &[Command] = &[Run, Check, Replay, Tail, Send];
/// Who reaches the webhook.
const WEBHOOK: &[Command] = &[Run, Check, Replay, Send];
/// Who delivers.
const DELIVERING: &[Command] = &[Run, Replay, Send];
const DELIVERING_DEMO: &[Command] = &[Run, Demo, Replay, Send];
const ALL: &[Command] = &[
    Run,
    Demo,
    Check,
    #[cfg(feature = "sandbox")]
    Command::Sandbox,
    Replay,
    Tail,
    Send,
    Receive,
];
/// Who takes topics and their partitions.
const TOPICS: &[Command] = &[
    Run,
    Check,
    #[cfg(feature = "sandbox")]
    Command::Sandbox,
];

/// A flag with a value, given once, for all that deliver; others change what differs.
const BASE: Flag = Flag {
    long: "",
    short: None,
    value: None,
    default: "",
    repeats: false,
    group: Group::General,
    commands: DELIVERING,
    basic: false,
    doc: "",
    more: "",
    set: |_, _| Ok(()),
};

/// The table, in parts.
const PARTS: &[&[Flag]] =
    &[MAIN, kafka::FLAGS, pace::FLAGS, client::FLAGS, request::FLAGS, letters::FLAGS, local::FLAGS];

/// The table.
pub(crate) const FLAGS: &[Flag] = &joined::<{ count(PARTS) }>(PARTS);

const fn count(parts: &[&[Flag]]) -> usize {
    let (mut count, mut part) = (0, 0);
    while part < parts.len() {
        count += parts[part].len();
        part += 1;
    }
    count
}

const fn joined<const N: usize>(parts: &[&[Flag]]) -> [Flag; N] {
    let mut all = [BASE; N];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let mut flag = 0;
        while flag < parts[part].len() {
            all[at] = parts[part][flag];
            at += 1;
            flag += 1;
        }
        part += 1;
    }
    all
}

const MAIN: &[Flag] = &[
    Flag {
        long: "brokers",
        value: Some("HOST:PORT,…"),
        group: Group::From,
        commands: BROKERS,
        repeats: true,
        doc: "Brokers to start from",
        more: "The rest of the cluster is found through them. The port is 9092 unless given.",
        basic: true,
        set: |o, v| values::brokers(v).map(|brokers| o.brokers.extend(brokers)),
        ..BASE
    },
    Flag {
        long: "topic",
        value: Some("NAME,…"),
        group: Group::From,
        commands: TOPICS,
        repeats: true,
        doc: "Topics to deliver",
        more: "A name that begins with ^ is a regular expression (native client only).",
        basic: true,
        set: |o, v| {
            let name = |name: &str| match name.trim() {
                "" => Err("the topic name is missing".to_owned()),
                name => Ok(name.to_owned()),
            };
            v.split(',').map(name).collect::<Result<Vec<_>, _>>().map(|names| o.topics.extend(names))
        },
        ..BASE
    },
    Flag {
        long: "group",
        value: Some("NAME"),
        default: "sluicegate",
        group: Group::From,
        commands: IN_GROUP,
        doc: "Consumer group",
        more: "Instances with the same group share the partitions and the committed offsets; deliveries \
               to different webhooks need different groups. replay uses a group of its own for each topic \
               and selection unless one is given.",
        basic: true,
        set: |o, v| {
            if v.is_empty() {
                return Err("it can't be empty".into());
            }
            o.group = Some(v.into());
            Ok(())
        },
        ..BASE
    },
    Flag {
        long: "partitions",
        value: Some("0,1,…"),
        group: Group::From,
        commands: TOPICS,
        doc: "Read only these partitions, without joining the group",
        more: "Use it to assign partitions yourself. For sandbox: the number of partitions of a new topic.",
        set: |o, v| values::partitions(v).map(|partitions| o.partitions = Some(partitions)),
        ..BASE
    },
    Flag {
        long: "start",
        value: Some("earliest|latest|TIME"),
        default: "earliest",
        group: Group::From,
        commands: KAFKA,
        doc: "Where to start in a topic of which the group has committed nothing",
        more: "A TIME is written as 2026-11-24 or 2026-11-24T08:00:00Z. Partitions that are added later are read from \
               their beginning.",
        set: |o, v| {
            o.start = match values::timestamp(v) {
                Some(ms) => Start::Timestamp(ms),
                None => choose(v, &[("earliest", Start::Earliest), ("latest", Start::Latest)])?,
            };
            Ok(())
        },
        ..BASE
    },
    Flag {
        long: "until-end",
        group: Group::From,
        commands: RUN,
        doc: "Deliver what is in the topics now, commit, and exit 0",
        more: "--patience is then 5m unless given.",
        basic: true,
        set: |o, v| switch(v).map(|on| o.until_end = on),
        ..BASE
    },
    Flag {
        long: "buffer",
        value: Some("SIZE"),
        default: "2MiB, or 4KiB per request in flight if that is more, up to 64MiB",
        group: Group::From,
        doc: "Memory for records that are fetched ahead",
        set: |o, v| values::bytes(v).map(|bytes| o.buffer = bytes),
        ..BASE
    },
    Flag {
        long: "url",
        value: Some("URL"),
        group: Group::To,
        commands: WEBHOOK,
        doc: "Where to POST each event",
        more: "https://…, http://… or unix:/SOCKET:/PATH. A user name and password in the URL become \
               Basic authentication. Path and query may hold {topic}, {partition}, {key} and \
               {header:NAME}.",
        basic: true,
        set: |o, v| {
            o.url = Some(v.into());
            Ok(())
        },
        ..BASE
    },
    Flag {
        long: "timeout",
        value: Some("DUR"),
        default: "10s",
        group: Group::To,
        commands: WEBHOOK,
        doc: "How long a request may take, connecting included",
        more: "minreq rounds up to whole seconds.",
        set: |o, v| values::positive_duration(v).map(|d| o.timeout = d),
        ..BASE
    },
    Flag {
        long: "on-status",
        value: Some("CODE=VERDICT"),
        group: Group::Failures,
        commands: WEBHOOK,
        repeats: true,
        doc: "What a status means",
        more: "CODE is a status or a class such as 4xx; VERDICT is accept, retry, pause, refuse or stop. \
               Examples: 409=retry, 4xx=refuse, 404=pause.",
        set: |o, v| {
            let rule = v.parse().map_err(|error| format!("{error}"))?;
            o.settings.policy = std::mem::take(&mut o.settings.policy).with(rule);
            Ok(())
        },
        ..BASE
    },
    Flag {
        long: "max-refused",
        value: Some("N/TIME"),
        group: Group::Failures,
        doc: "End the run (exit 3) when more records than this are rejected",
        more: "100/1h, or a percentage such as 5%/1h.",
        set: |o, v| values::threshold(v).map(|most| o.settings.max_rejected = Some(most)),
        ..BASE
    },
    Flag {
        long: "max-attempts",
        value: Some("N"),
        default: "0: no limit",
        group: Group::Failures,
        doc: "Reject a record after N failed attempts",
        basic: true,
        set: |o, v| {
            let n: u32 = v.parse().map_err(|_| format!("'{v}' is not a whole number"))?;
            o.settings.max_attempts = NonZeroU32::new(n);
            Ok(())
        },
        ..BASE
    },
    Flag {
        long: "max-age",
        value: Some("DUR"),
        group: Group::Failures,
        doc: "Reject a record that still fails this long after its first attempt",
        set: |o, v| values::positive_duration(v).map(|d| o.settings.max_age = Some(d)),
        ..BASE
    },
    Flag {
        long: "backoff",
        value: Some("MIN..MAX"),
        default: "200ms..60s",
        group: Group::Failures,
        doc: "Time between two attempts of a record",
        more: "Starts at MIN and doubles up to MAX, with full jitter.",
        set: |o, v| {
            let (min, max) = values::range(v)?;
            o.settings.backoff = Backoff::new(min, max).ok_or("MIN has to be above 0 and not above MAX")?;
            Ok(())
        },
        ..BASE
    },
    Flag {
        long: "pause-after",
        value: Some("N"),
        default: "10",
        group: Group::Failures,
        doc: "Pause after this many consecutive failures",
        set: |o, v| {
            let n = values::count(v)?;
            o.settings.pause_after = NonZeroU32::try_from(n).map_err(|_| format!("'{v}' is too large"))?;
            Ok(())
        },
        ..BASE
    },
    Flag {
        long: "max-retry-after",
        value: Some("DUR"),
        default: "10m",
        group: Group::Failures,
        doc: "Longest Retry-After that is honoured",
        set: |o, v| values::duration(v).map(|d| o.settings.max_retry_after = d),
        ..BASE
    },
    Flag {
        long: "patience",
        value: Some("DUR"),
        group: Group::Failures,
        doc: "End the run (exit 3) when nothing was accepted for this long",
        set: |o, v| values::positive_duration(v).map(|d| o.settings.patience = Some(d)),
        ..BASE
    },
    Flag {
        long: "config",
        value: Some("FILE"),
        commands: ALL,
        doc: "Read flags from a file of 'name = value' lines",
        more: "The command line takes precedence over the environment, and the environment over the file.",
        ..BASE
    },
    Flag {
        long: "log-format",
        value: Some("text|json"),
        default: "text",
        doc: "Format of log lines",
        more: "json writes one object a line, with the fields event, topic, partition, offset, status, \
               attempt, duration_ms and cause where they apply.",
        set: |o, v| {
            choose(v, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
                .map(|format| o.log_format = format)
        },
        ..BASE
    },
    Flag {
        long: "verbose",
        short: Some('v'),
        repeats: true,
        doc: "Log each attempt",
        more: "Twice: the workers as well.",
        basic: true,
        set: |o, v| switch(v).map(|on| o.verbosity = o.verbosity.saturating_add(i8::from(on))),
        ..BASE
    },
    Flag {
        long: "quiet",
        short: Some('q'),
        repeats: true,
        doc: "Log warnings and errors only",
        more: "Twice: errors only.",
        set: |o, v| switch(v).map(|on| o.verbosity = o.verbosity.saturating_sub(i8::from(on))),
        ..BASE
    },
];

/// The flag of this long name.
pub(crate) fn long(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.long == name)
}

/// The flag of this short name.
pub(crate) fn short(name: char) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.short == Some(name))
}

fn choose<T: Copy>(value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice);
    found.ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        format!("'{value}' is not one of {}", names.join(", "))
    })
}

/// The name of a file.
fn file(path: &str) -> Result<std::path::PathBuf, String> {
    if path.is_empty() { Err("the file name is missing".into()) } else { Ok(path.into()) }
}

fn switch(value: &str) -> Result<bool, String> {
    choose(value, &[("true", true), ("false", false)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_that_is_shown_is_the_one_that_counts() {
        for flag in FLAGS.iter().filter(|flag| flag.value.is_some() && !flag.default.is_empty()) {
            // What is shown with a remark is not a value.
            if flag.default.contains([',', ':']) {
                continue;
            }
            let mut options = Options::default();
            (flag.set)(&mut options, flag.default).unwrap_or_else(|error| panic!("--{}: {error}", flag.long));
            // These are left open: the demo has its own, a size says that a window is wanted, and what concerns Kafka
            // may come from a file.
            let untouched = Options {
                max_concurrency: options.max_concurrency,
                batch_interval: options.batch_interval,
                window_size: options.window_size,
                group: options.group.clone(),
                ce_type: options.ce_type.clone(),
                kafka: options.kafka.clone(),
                ..Options::default()
            };
            assert_eq!(format!("{options:?}"), format!("{untouched:?}"), "--{}", flag.long);
        }
        let options = Options::default();
        assert_eq!(options.settings.max_concurrency.get(), 8);
        assert_eq!(options.settings.batch_interval, std::time::Duration::ZERO);
    }

    #[test]
    fn names_are_there_once() {
        for flag in FLAGS {
            assert_eq!(FLAGS.iter().filter(|other| other.long == flag.long).count(), 1, "{}", flag.long);
            assert!(!flag.doc.is_empty() && !flag.doc.ends_with('.'), "{}", flag.long);
            assert!(flag.doc.chars().count() <= 70, "too long for a line: --{}", flag.long);
            assert!(flag.more.is_empty() || flag.more.ends_with('.'), "no sentences: --{}", flag.long);
        }
    }
}
