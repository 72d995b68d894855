//! What a command does, resolved once from what the flags say. Files of settings and secrets are read here, each once;
//! nothing is contacted, and nothing is written.

use super::client::Client;
use super::command::Command;
use super::completions::Shell;
use super::config;
use super::dead_letters::DeadLetterPlan;
use super::delivery::DeliveryPlan;
use super::options::Options;
use super::receiver::Verifier;
use super::requests::requests;
use super::source::{Brokers, SourcePlan};
use super::{Failure, receiver};
use crate::relay::dead_letter::filter::DeadLetterFilter;
use crate::relay::dead_letter::headers::is_topic;
use crate::webhook::destination::Destination;
use crate::webhook::template::check_authority;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Where `receive` listens unless told otherwise: the address that the examples send to.
const RECEIVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// How long the demo's receiver takes for a request.
const DEMO_DELAY: Duration = Duration::from_millis(20);
/// The longest that the demo's receiver may take for a request.
const LONGEST_DEMO_DELAY: Duration = Duration::from_secs(1);

/// A command with everything it needs.
pub(super) enum Plan {
    Run(Box<RunPlan>),
    Send(Box<SendPlan>),
    Check(Box<CheckPlan>),
    Replay(Box<ReplayPlan>),
    Tail(Box<TailPlan>),
    Receive(Box<ReceivePlan>),
    Demo(DemoPlan),
    #[cfg(feature = "sandbox")]
    Sandbox(SandboxPlan),
    Help(Option<Command>),
    Version,
    Completions(Shell),
    Man,
}

pub(super) struct RunPlan {
    pub(super) source: SourcePlan,
    pub(super) topics: Vec<String>,
    pub(super) delivery: DeliveryPlan,
}

pub(super) struct SendPlan {
    pub(super) input: Input,
    pub(super) key_separator: Option<String>,
    pub(super) delivery: DeliveryPlan,
}

/// Where the lines of `send` come from.
pub(super) enum Input {
    Stdin,
    File(PathBuf),
}

pub(super) struct CheckPlan {
    pub(super) source: SourcePlan,
    /// As they were named.
    #[cfg(feature = "kafka")]
    pub(super) brokers: Vec<String>,
    #[cfg(feature = "kafka")]
    pub(super) partitions: Option<Vec<i32>>,
    /// Credentials are fetched or read for each request.
    pub(super) has_credentials: bool,
    pub(super) send_test: bool,
    /// How long the webhook may take to be reached.
    pub(super) timeout: Duration,
    /// What makes them impossible is one of the things to report.
    pub(super) dead_letters: Result<DeadLetterPlan, Failure>,
    pub(super) webhook: DeliveryPlan,
}

pub(super) struct ReplayPlan {
    pub(super) from: LettersFrom,
    pub(super) selection: DeadLetterFilter,
    pub(super) dry_run: bool,
    pub(super) delivery: DeliveryPlan,
}

pub(super) struct TailPlan {
    pub(super) from: LettersFrom,
    pub(super) selection: DeadLetterFilter,
    pub(super) json: bool,
}

/// Where dead letters are read from.
pub(super) enum LettersFrom {
    /// A file of lines, and its rotated ones.
    File(PathBuf),
    Topic(LetterTopic),
}

pub(super) struct LetterTopic {
    pub(super) name: String,
    pub(super) source: SourcePlan,
}

pub(super) struct ReceivePlan {
    pub(super) listen: SocketAddr,
    pub(super) capacity: usize,
    pub(super) delay: Duration,
    pub(super) statuses: Vec<u16>,
    pub(super) verifier: Option<Verifier>,
    /// Sentences.
    pub(super) warnings: Vec<String>,
}

/// What is left open has a default of its own in each scene.
pub(super) struct DemoPlan {
    pub(super) events: Option<NonZeroUsize>,
    pub(super) max_concurrency: Option<NonZeroUsize>,
    pub(super) batch_interval: Option<Duration>,
    pub(super) delay: Duration,
    pub(super) svg: Option<PathBuf>,
}

#[cfg(feature = "sandbox")]
pub(super) struct SandboxPlan {
    pub(super) listen: SocketAddr,
    /// Of a new topic.
    pub(super) partitions: i32,
    pub(super) topics: Vec<String>,
}

impl Plan {
    /// # Errors
    /// Flags that make no sense together, or files that can't be read.
    pub(super) fn new(command: Command, options: &Options) -> Result<Self, Failure> {
        let operand = || options.operand.as_ref().map(|operand| operand.to_string_lossy());
        Ok(match command {
            Command::Run => Self::Run(Box::new(run(options)?)),
            Command::Send => Self::Send(Box::new(send(options)?)),
            Command::Check => Self::Check(Box::new(check(options)?)),
            Command::Replay => Self::Replay(Box::new(replay(options)?)),
            Command::Tail => Self::Tail(Box::new(tail(options)?)),
            Command::Receive => Self::Receive(Box::new(receive(options)?)),
            Command::Demo => Self::Demo(demo(options)?),
            #[cfg(feature = "sandbox")]
            Command::Sandbox => Self::Sandbox(sandbox(options)?),
            Command::Help => Self::Help(operand().map(|name| config::command_of(&name)).transpose()?),
            Command::Version => Self::Version,
            Command::Completions => {
                let shell = operand().as_deref().and_then(Shell::named);
                let unknown = || Failure::usage("completions exist for bash, zsh and fish");
                Self::Completions(shell.ok_or_else(unknown)?)
            }
            Command::Man => Self::Man,
        })
    }
}

fn run(options: &Options) -> Result<RunPlan, Failure> {
    let brokers = Brokers::new(options);
    let mut source = SourcePlan::new(options, &brokers)?;
    let delivery = delivery(options, &options.topics, &brokers)?;
    source.send_to(&delivery.destination, options);
    Ok(RunPlan { source, topics: options.topics.clone(), delivery })
}

fn send(options: &Options) -> Result<SendPlan, Failure> {
    let input = match &options.operand {
        Some(operand) if operand != "-" => Input::File(operand.into()),
        _ => Input::Stdin,
    };
    let mut delivery = delivery(options, &options.topics, &Brokers::new(options))?;
    if !options.forward_headers.is_empty() {
        delivery.warnings.push("--forward-header forwards nothing: lines have no headers".into());
    }
    Ok(SendPlan { input, key_separator: options.key_separator.clone(), delivery })
}

fn check(options: &Options) -> Result<CheckPlan, Failure> {
    let brokers = Brokers::new(options);
    Ok(CheckPlan {
        source: SourcePlan::new(options, &brokers)?,
        #[cfg(feature = "kafka")]
        brokers: options.brokers.clone(),
        #[cfg(feature = "kafka")]
        partitions: options.partitions.clone(),
        has_credentials: options.auth.is_some(),
        send_test: options.send_test,
        timeout: options.timeout,
        webhook: webhook(options)?,
        dead_letters: DeadLetterPlan::new(options, &options.topics, &brokers),
    })
}

fn replay(options: &Options) -> Result<ReplayPlan, Failure> {
    let brokers = Brokers::new(options);
    // A group for each selection: what one left out is still there for another.
    let group = |topic: &str| match options.letters.to_string() {
        all if all.is_empty() => format!("sluicegate-replay-{topic}"),
        some => format!("sluicegate-replay-{topic}-{some}"),
    };
    let mut from = letters_from(options, &brokers, group)?;
    let topics = match &from {
        LettersFrom::File(_) => &options.topics[..],
        LettersFrom::Topic(topic) => std::slice::from_ref(&topic.name),
    };
    let mut delivery = delivery(options, topics, &brokers)?;
    delivery.settings.filter.want_dead_letters(options.letters.clone());
    if let LettersFrom::Topic(topic) = &mut from {
        topic.source.send_to(&delivery.destination, options);
    }
    Ok(ReplayPlan { from, selection: options.letters.clone(), dry_run: options.dry_run, delivery })
}

fn tail(options: &Options) -> Result<TailPlan, Failure> {
    let options = Options { until_end: !options.follow, ..options.clone() };
    // Nothing is ever committed under this name, so that it begins with the oldest letter.
    let group = |topic: &str| format!("sluicegate-tail-{topic}");
    let from = letters_from(&options, &Brokers::new(&options), group)?;
    if options.follow && matches!(from, LettersFrom::File(_)) {
        return Err(Failure::usage("--follow is for topics; for a file there is tail -F FILE"));
    }
    Ok(TailPlan { from, selection: options.letters, json: options.json })
}

/// Where letters are read from; a topic as this group, unless another one is given.
fn letters_from(
    options: &Options,
    brokers: &Brokers<'_>,
    group: impl Fn(&str) -> String,
) -> Result<LettersFrom, Failure> {
    let operand = options.operand.as_ref();
    let operand = operand.ok_or_else(|| Failure::usage("FILE or topic:NAME is missing"))?;
    match operand.to_str().and_then(|text| text.strip_prefix("topic:")) {
        Some(topic) if is_topic(topic) => {
            let reading = Options {
                topics: vec![topic.to_owned()],
                group: Some(options.group.clone().unwrap_or_else(|| group(topic))),
                ..options.clone()
            };
            let source = SourcePlan::new(&reading, brokers)?;
            Ok(LettersFrom::Topic(LetterTopic { name: topic.to_owned(), source }))
        }
        Some(topic) => Err(Failure::usage(format!("no topic can be called '{topic}'"))),
        None => Ok(LettersFrom::File(operand.into())),
    }
}

/// Where events are sent and how, while these topics are read.
fn delivery(options: &Options, topics: &[String], brokers: &Brokers<'_>) -> Result<DeliveryPlan, Failure> {
    let webhook = webhook(options)?;
    Ok(DeliveryPlan { dead_letters: DeadLetterPlan::new(options, topics, brokers)?, ..webhook })
}

/// A delivery without dead letters.
fn webhook(options: &Options) -> Result<DeliveryPlan, Failure> {
    let Some(url) = &options.url else {
        return Err(Failure::usage("--url URL is missing: see sluicegate run --help"));
    };
    check_authority(url).map_err(|error| Failure::usage(format!("--url: {error}")))?;
    let destination = Destination::parse(url).map_err(|error| Failure::usage(format!("--url: {error}")))?;
    let (requests, warnings) = requests(&destination, options)?;
    Ok(DeliveryPlan {
        settings: options.settings.clone(),
        client: Client::open(destination.clone(), requests, options)?,
        destination,
        dead_letters: DeadLetterPlan::Stop,
        group_limit: options.kafka.group_max_concurrency.map(std::num::NonZeroU32::get),
        buffer: options.buffer.0,
        verbosity: options.verbosity,
        warnings,
    })
}

fn receive(options: &Options) -> Result<ReceivePlan, Failure> {
    let opened = options.verify.as_deref().map(Verifier::open).transpose();
    let opened = opened.map_err(|error| Failure::usage(format!("--verify: {error}")))?;
    let (verifier, warnings) =
        opened.map_or((None, Vec::new()), |(verifier, warnings)| (Some(verifier), warnings));
    Ok(ReceivePlan {
        listen: options.listen.unwrap_or(RECEIVER),
        capacity: options.capacity.map_or(receiver::MOST_CONNECTIONS, NonZeroUsize::get),
        delay: options.delay.unwrap_or_default(),
        statuses: options.statuses.clone(),
        verifier,
        warnings,
    })
}

fn demo(options: &Options) -> Result<DemoPlan, Failure> {
    let delay = options.delay.unwrap_or(DEMO_DELAY);
    if delay > LONGEST_DEMO_DELAY {
        return Err(Failure::usage("--delay: the demo's receiver takes at most 1s"));
    }
    Ok(DemoPlan {
        events: options.events,
        max_concurrency: options.max_concurrency,
        batch_interval: options.batch_interval,
        delay,
        svg: options.svg.clone(),
    })
}

#[cfg(feature = "sandbox")]
fn sandbox(options: &Options) -> Result<SandboxPlan, Failure> {
    use crate::kafka::sandbox::{MOST_PARTITIONS, SandboxSettings};
    let partitions = match options.partitions.as_deref() {
        None => SandboxSettings::default().partitions,
        Some([n]) if (1..=MOST_PARTITIONS).contains(n) => *n,
        Some(_) => {
            let text =
                format!("--partitions: for sandbox it is the number of partitions, 1 to {MOST_PARTITIONS}");
            return Err(Failure::usage(text));
        }
    };
    let listen = options.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 9092).into());
    Ok(SandboxPlan { listen, partitions, topics: options.topics.clone() })
}

#[cfg(all(test, feature = "kafka"))]
mod tests {
    use super::*;

    /// Whether all members of the group have to send to the same webhook.
    fn must_be_shared(command: Command, group: Option<&str>) -> bool {
        let options = Options {
            brokers: vec!["127.0.0.1:1".into()],
            topics: vec!["orders".into()],
            url: Some("http://127.0.0.1:1/hook".into()),
            operand: (command == Command::Replay).then(|| "topic:letters".into()),
            group: group.map(str::to_owned),
            ..Options::default()
        };
        let source = match Plan::new(command, &options).unwrap() {
            Plan::Run(plan) => plan.source,
            Plan::Replay(plan) => match plan.from {
                LettersFrom::Topic(topic) => topic.source,
                LettersFrom::File(_) => panic!(),
            },
            _ => panic!(),
        };
        match source {
            SourcePlan::Native(native) => native.config.destination.unwrap().must_be_shared,
            #[cfg(feature = "kafka-crate")]
            SourcePlan::KafkaCrate(_) => panic!(),
        }
    }

    #[test]
    fn groups_that_nobody_named_send_to_one_webhook() {
        for command in [Command::Run, Command::Replay] {
            assert!(must_be_shared(command, None));
            assert!(!must_be_shared(command, Some("sluicegate")));
        }
    }
}
