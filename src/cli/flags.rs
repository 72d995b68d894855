//! The one table of flags. Parsing, `--help`, environment variables and the keys of a config file fall out of
//! it; nothing about a flag stands anywhere else.

mod client;
mod kafka;
mod letters;
mod local;
mod pace;
mod request;

use super::options::{LogFormat, Options};
use super::values;
use super::{Failure, check, demo, receive, replay, run, send, tail};
use crate::kafka::config::Start;
use crate::relay::backoff::Backoff;
use std::num::NonZeroU32;

/// What sluicegate can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Deliver.
    Run,
    /// Show the idea on this machine.
    Demo,
    /// Look without touching.
    Check,
    /// Be a Kafka to try things on.
    #[cfg(feature = "sandbox")]
    Sandbox,
    /// Send dead letters again.
    Replay,
    /// Show dead letters.
    Tail,
    /// Deliver lines.
    Send,
    /// Be a webhook to try things on.
    Receive,
}

impl Command {
    /// All of them, as `--help` lists them.
    pub const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Run, "run", "deliver the events of a topic to a webhook"),
        (Self::Demo, "demo", "watch the idea at work on this machine; nothing to install"),
        (
            Self::Check,
            "check",
            "reach brokers and webhook, and say what would happen; sends nothing unless asked to",
        ),
        #[cfg(feature = "sandbox")]
        (Self::Sandbox, "sandbox", "be a small Kafka broker to try things on, in memory"),
        (Self::Replay, "replay", "send dead letters again, from a file or a topic, with the same ids"),
        (Self::Tail, "tail", "show dead letters, one a line"),
        (Self::Send, "send", "deliver the lines of a file or of standard input; no Kafka needed"),
        (
            Self::Receive,
            "receive",
            "be a webhook to try things on: print each event, count duplicates, verify signatures",
        ),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// What stands behind its name; none: nothing does.
    pub fn operand(self) -> Option<&'static str> {
        match self {
            Self::Replay | Self::Tail => Some("FILE|topic:NAME"),
            Self::Send => Some("FILE|-"),
            _ => None,
        }
    }

    /// Whether something stands behind its name.
    pub fn takes_operand(self) -> bool {
        self.operand().is_some()
    }

    /// Whether it ends by itself once all that is there is delivered.
    pub fn comes_to_an_end(self) -> bool {
        matches!(self, Self::Replay | Self::Send)
    }

    /// Does it.
    pub fn run(self, options: &Options) -> Result<(), Failure> {
        match self {
            Self::Run => run::run(options),
            Self::Demo => demo::run(options),
            Self::Check => check::run(options),
            #[cfg(feature = "sandbox")]
            Self::Sandbox => super::sandbox::run(options),
            Self::Replay => replay::run(options),
            Self::Tail => tail::run(options),
            Self::Send => send::run(options),
            Self::Receive => receive::run(options),
        }
    }
}

/// Where a flag stands in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// What is read.
    From,
    /// What is sent.
    To,
    /// How fast.
    Pace,
    /// What failures lead to.
    Failures,
    /// Refused records, and how they come back.
    Letters,
    /// What plays on this machine: demo, sandbox, receiver.
    Local,
    /// The rest.
    General,
}

impl Group {
    /// All of them, in order, with their headings.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::From, "From Kafka"),
        (Self::To, "To the webhook"),
        (Self::Pace, "How much at once"),
        (Self::Failures, "When it fails"),
        (Self::Letters, "Refused events"),
        (Self::Local, "On this machine"),
        (Self::General, "General"),
    ];
}

/// A flag.
#[derive(Clone, Copy)]
pub struct Flag {
    /// Its long name, without dashes; its environment variable and config key follow from it.
    pub long: &'static str,
    /// Its short name.
    pub short: Option<char>,
    /// What its value is called in `--help`; none: it takes no value.
    pub value: Option<&'static str>,
    /// The default as `--help` shows it; empty: none.
    pub default: &'static str,
    /// Whether it may be given more than once.
    pub repeats: bool,
    /// Where it stands in `--help`.
    pub group: Group,
    /// Which commands take it.
    pub commands: &'static [Command],
    /// What it does, in a line.
    pub doc: &'static str,
    /// Takes its value; an error is what is wrong with it, in words that hold no secret.
    pub set: fn(&mut Options, &str) -> Result<(), String>,
}

impl Flag {
    /// `SLUICEGATE_MAX_CONCURRENCY`.
    pub fn variable(&self) -> String {
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
const DEMO: &[Command] = &[Demo];
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
    doc: "",
    set: |_, _| Ok(()),
};

/// The table, in parts.
const PARTS: &[&[Flag]] =
    &[MAIN, kafka::FLAGS, pace::FLAGS, client::FLAGS, request::FLAGS, letters::FLAGS, local::FLAGS];

/// The table.
pub const FLAGS: &[Flag] = &joined::<{ count(PARTS) }>(PARTS);

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
        doc: "some of the cluster's brokers; the others are found through them",
        set: |o, v| values::brokers(v).map(|brokers| o.brokers.extend(brokers)),
        ..BASE
    },
    Flag {
        long: "topic",
        value: Some("NAME,…"),
        group: Group::From,
        commands: TOPICS,
        repeats: true,
        doc: "the topic to deliver",
        set: |o, v| {
            let name = |name: &str| match name.trim() {
                "" => Err("the name of the topic is missing".to_owned()),
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
        doc: "the consumer group: instances with the same group share the partitions, and its committed positions \
              count; of replay it is \
              sluicegate-replay-NAME unless given",
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
        doc: "only these partitions of each topic, without joining the group: a split by hand (of the sandbox: how \
              many partitions a topic gets)",
        set: |o, v| values::partitions(v).map(|partitions| o.partitions = Some(partitions)),
        ..BASE
    },
    Flag {
        long: "start",
        value: Some("earliest|latest|TIME"),
        default: "earliest",
        group: Group::From,
        commands: KAFKA,
        doc: "where to begin in a partition without a committed position; a TIME such as 2026-11-24T08:00:00Z",
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
        doc: "deliver what is in the topics now, commit, and exit 0; --patience is then 5m unless given",
        set: |o, v| switch(v).map(|on| o.until_end = on),
        ..BASE
    },
    Flag {
        long: "buffer",
        value: Some("SIZE"),
        default: "2MiB, or 4KiB for each of --max-concurrency up to 64MiB",
        group: Group::From,
        doc: "how much is fetched ahead",
        set: |o, v| values::bytes(v).map(|bytes| o.buffer = bytes),
        ..BASE
    },
    Flag {
        long: "url",
        value: Some("URL"),
        group: Group::To,
        commands: WEBHOOK,
        doc: "where each event is POSTed: https://…, http://…, unix:/SOCKET:/HOOK; a user name and password in it \
              become Basic authentication; path and query may hold {topic}, {partition}, {key} and {header:NAME}",
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
        doc: "how long a request may take, connecting included (minreq: rounded up to whole seconds)",
        set: |o, v| values::positive_duration(v).map(|d| o.timeout = d),
        ..BASE
    },
    Flag {
        long: "on-status",
        value: Some("CODE=VERDICT"),
        group: Group::Failures,
        commands: WEBHOOK,
        repeats: true,
        doc: "what a status means: 409=retry, 4xx=refuse, 404=pause, 302=accept, 410=stop",
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
        doc: "end the run (exit 3) at one refused record more than this: 100/1h, or a share such as 5%/1h",
        set: |o, v| values::threshold(v).map(|most| o.settings.max_refused = Some(most)),
        ..BASE
    },
    Flag {
        long: "max-attempts",
        value: Some("N"),
        default: "0: no limit",
        group: Group::Failures,
        doc: "a record that failed so often is refused",
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
        doc: "a record that still fails so long after its first attempt is refused",
        set: |o, v| values::positive_duration(v).map(|d| o.settings.max_age = Some(d)),
        ..BASE
    },
    Flag {
        long: "backoff",
        value: Some("MIN..MAX"),
        default: "200ms..60s",
        group: Group::Failures,
        doc: "how long until another attempt: MIN, doubling up to MAX, with full jitter",
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
        doc: "so many failures in a row pause all sending",
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
        doc: "no Retry-After is honoured beyond this",
        set: |o, v| values::duration(v).map(|d| o.settings.max_retry_after = d),
        ..BASE
    },
    Flag {
        long: "patience",
        value: Some("DUR"),
        group: Group::Failures,
        doc: "end the run (exit 3) when nothing was accepted for so long",
        set: |o, v| values::positive_duration(v).map(|d| o.settings.patience = Some(d)),
        ..BASE
    },
    Flag {
        long: "events",
        value: Some("N"),
        default: "10, then 400",
        group: Group::Local,
        commands: DEMO,
        doc: "how many events there are",
        set: |o, v| {
            let n = values::count(v)?;
            if n.get() > demo::MOST_EVENTS {
                return Err(format!("the demo takes at most {} events", demo::MOST_EVENTS));
            }
            o.events = Some(n);
            Ok(())
        },
        ..BASE
    },
    Flag {
        long: "config",
        value: Some("FILE"),
        commands: ALL,
        doc: "read flags from a file of 'name = value' lines; flags go before the environment, and that before the file",
        ..BASE
    },
    Flag {
        long: "log-format",
        value: Some("text|json"),
        default: "text",
        doc: "how log lines look",
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
        doc: "tell the story of each worker; twice: all there is",
        set: |o, v| switch(v).map(|on| o.verbosity = o.verbosity.saturating_add(i8::from(on))),
        ..BASE
    },
    Flag {
        long: "quiet",
        short: Some('q'),
        repeats: true,
        doc: "tell only what is wrong",
        set: |o, v| switch(v).map(|on| o.verbosity = o.verbosity.saturating_sub(i8::from(on))),
        ..BASE
    },
];

/// The flag of this long name.
pub fn long(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.long == name)
}

/// The flag of this short name.
pub fn short(name: char) -> Option<&'static Flag> {
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
    if path.is_empty() { Err("the name of the file is missing".into()) } else { Ok(path.into()) }
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
        }
    }
}
