//! `check`: looks without touching. Joins nothing, commits nothing, and sends no event but the one of `--send-test`.

use super::client::Client;
use super::options::{KafkaClient, Options};
use super::requests::requests;
use super::run::transport;
use super::{Exit, Failure, letters, print, source};
use crate::observe::advice;
use crate::record::{Offset, Partition, Record};
use crate::relay::dead_letter::headers::millis;
use crate::relay::transport::{Answer, Attempt, Transport};
use crate::relay::verdict::{Policy, Verdict};
use std::time::SystemTime;

/// The topic that a test event says it is from.
const TEST_TOPIC: &str = "sluicegate-check";
/// Its body.
const TEST_BODY: &[u8] = br#"{"sluicegate":"check"}"#;

/// Prints a line for each thing looked at, `ok` or what to do.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    // Flags that make no sense are told before anything is contacted.
    let prepared = source::prepare(options)?;
    let (destination, client, warnings) = transport(options)?;
    let mut report = Report { wrong: 0 };
    prepared.warnings.iter().chain(&warnings).for_each(|warning| print(&format!("warn   {warning}\n")));
    match options.kafka.client {
        #[cfg(feature = "kafka")]
        KafkaClient::Native => look(&mut report, options)?,
        #[cfg(feature = "kafka-crate")]
        KafkaClient::KafkaCrate => look_with_crate(&mut report, options)?,
        #[allow(unreachable_patterns, reason = "not with all clients built in")]
        _ => {}
    }
    if options.auth.is_some() {
        let outcome = requests(&destination, options)?.0.authorized();
        report.tell("credentials", outcome.map(|()| "are there".into()).map_err(|error| error.text));
    }
    let reached = client.probe(options).map(|way| match options.send_test {
        true => way,
        false => {
            format!("{way}; nothing was sent, so what it answers is not known: --send-test sends an event")
        }
    });
    let is_reached = reached.is_ok();
    report.tell(&format!("webhook {destination}"), reached);
    if options.send_test && is_reached {
        report.tell("test event", send_test(&client, &options.settings.policy));
    }
    if options.dead_letter.is_some() {
        let found = letters::check(options);
        let found = found.inspect(|warnings| warnings.iter().for_each(|it| print(&format!("warn   {it}\n"))));
        report.tell("dead letters", found.map(|_| "can be kept".into()).map_err(|failure| failure.text));
    }
    match report.wrong {
        0 => Ok(()),
        n => Err(Failure { exit: Exit::Failed, text: format!("{n} of the checks went wrong: see above") }),
    }
}

/// Sends one event, and says what its answer means for a run. Its id begins with the topic's name.
fn send_test(client: &Client, policy: &Policy) -> Result<String, String> {
    let now = i64::try_from(millis(SystemTime::now())).unwrap_or(i64::MAX);
    let topic = Partition::new(TEST_TOPIC, 0);
    let record = Record::new(topic, Offset(0), now, None, Some(TEST_BODY));
    let outcome = client.send(&record, Attempt::FIRST);
    let answered = match &outcome {
        Ok(Answer { status, excerpt, .. }) if excerpt.is_empty() => format!("status {status}"),
        Ok(Answer { status, excerpt, .. }) => format!("status {status} ({excerpt})"),
        Err(error) => error.text.clone(),
    };
    match policy.judge(&outcome) {
        Verdict::Accepted => Ok(format!("{answered}: accepted")),
        Verdict::Retry { .. } => Err(format!("{answered}: a run would send such an event again and again")),
        Verdict::Pause { cause, .. } => match cause.fault() {
            Some(fault) => Err(format!("{answered}: a run would pause; {}", advice::setup(fault))),
            None => Err(format!("{answered}: a run would pause and try again")),
        },
        Verdict::Again => Err(format!("{answered}: a run would send it again at once")),
        Verdict::Rejected => Err(format!("{answered}: a run would take such an event for rejected")),
        Verdict::Stop => Err(format!("{answered}: a run would end")),
    }
}

/// What was found, a line each.
struct Report {
    wrong: usize,
}

impl Report {
    fn tell(&mut self, what: &str, outcome: Result<String, String>) {
        match outcome {
            Ok(text) => print(&format!("ok     {what}: {text}\n")),
            Err(text) => {
                self.wrong += 1;
                print(&format!("WRONG  {what}: {text}\n"));
            }
        }
    }
}

#[cfg(feature = "kafka")]
fn look(report: &mut Report, options: &Options) -> Result<(), Failure> {
    use super::advice::sentence;
    use crate::kafka::consumer::topics::Topics;
    use crate::kafka::probe::{FoundTopics, Probe};
    let source::Native { config, connector, brokers, .. } = source::native(options)?;
    let topics =
        Topics::parse(&config.topics).map_err(|error| Failure::usage(format!("--topic: {error}")))?;
    let named = options.brokers.join(",");
    let mut probe = Probe::new(connector, brokers, config.request_timeout);
    let found = match probe.topics(&topics) {
        Ok(FoundTopics { found, missing }) => {
            for topic in missing {
                report.tell(
                    &format!("topic {topic}"),
                    Err(format!("'{topic}' does not exist: check --topic, or create it")),
                );
            }
            found
        }
        Err(error) => {
            report.tell(&format!("brokers {named}"), Err(sentence(&error)));
            return Ok(());
        }
    };
    for (address, word) in probe.brokers() {
        report.tell(&format!("broker {address}"), word.map_err(|error| sentence(&error)));
    }
    match probe.partitions(&config.group, &found, options.partitions.as_deref()) {
        Ok(partitions) => {
            for state in partitions {
                let (partition, log) = (state.partition, (state.first, state.end));
                let what = format!("topic {} partition {}", partition.topic(), partition.number());
                report.tell(&what, Ok(describe(log, state.committed, &config.group)));
            }
        }
        Err(error) => report.tell("topics", Err(sentence(&error))),
    }
    match probe.group(&config.group) {
        Ok(None) => {
            let what = format!("group {}", config.group);
            report.tell(&what, Ok("can't be looked at: this broker doesn't describe groups".into()));
        }
        Ok(Some(group)) => {
            let what = format!("group {}", config.group);
            report.tell(&what, Ok(format!("is {}, with {} members", group.state, group.members.len())));
            for member in group.members {
                let partitions: Vec<String> = member.partitions.iter().map(ToString::to_string).collect();
                let name = member.instance_id.unwrap_or(member.member_id);
                report.tell(
                    &format!("member {name}"),
                    Ok(format!("{} has {}", member.client, partitions.join(", "))),
                );
            }
        }
        Err(error) => report.tell(&format!("group {}", config.group), Err(sentence(&error))),
    }
    Ok(())
}

#[cfg(feature = "kafka-crate")]
fn look_with_crate(report: &mut Report, options: &Options) -> Result<(), Failure> {
    use crate::kafka::kafka_crate::probe;
    let config = source::of_crate(options)?;
    let mut reachable = false;
    for broker in &config.brokers {
        let outcome = probe::broker(broker);
        reachable |= outcome.is_ok();
        let word = outcome.map(|()| "answers, and speaks what the kafka crate speaks".into());
        report.tell(&format!("broker {broker}"), word);
    }
    if !reachable {
        return Ok(());
    }
    match probe::partitions(&config) {
        Ok(partitions) => {
            for state in partitions {
                let what = format!("topic {} partition {}", state.topic, state.number);
                report.tell(&what, Ok(describe((state.first, state.end), state.committed, &config.group)));
            }
        }
        Err(text) => report.tell("topics", Err(text)),
    }
    Ok(())
}

fn describe((first, end): (i64, i64), committed: Option<i64>, group: &str) -> String {
    let log = format!("holds offsets {first} to {end}");
    match committed {
        None => format!("{log}; group {group} has committed nothing"),
        Some(at) if at < first => {
            format!("{log}; group {group} is at {at}, which is no longer there: see --offset-reset")
        }
        Some(at) => format!("{log}; group {group} is at {at}, lag {}", end.saturating_sub(at)),
    }
}
