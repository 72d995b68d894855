//! `check`: looks without touching. Joins nothing, commits nothing, and sends no event but the one of `--send-test`.

use crate::cli::client::Client;
use crate::cli::dead_letters::DeadLetterPlan;
use crate::cli::plan::CheckPlan;
#[cfg(feature = "kafka")]
use crate::cli::source::Native;
use crate::cli::source::SourcePlan;
use crate::cli::{Failure, print};
use crate::observe::advice;
use crate::record::{Offset, Partition, Record};
use crate::relay::transport::{Attempt, Transport, cause};
use crate::relay::verdict::{Policy, Verdict};
use crate::text::time::timestamp;
use std::time::SystemTime;

/// The topic that a test event says it is from.
const TEST_TOPIC: &str = "sluicegate-check";
/// Its body.
const TEST_BODY: &[u8] = br#"{"sluicegate":"check"}"#;

/// Prints a line for each thing looked at, `ok` or what to do.
pub(crate) fn run(plan: CheckPlan) -> Result<(), Failure> {
    let CheckPlan { source, has_credentials, send_test: sends, timeout, dead_letters, webhook, .. } = plan;
    let mut report = Report { wrong: 0 };
    source.warnings().iter().chain(&webhook.warnings).for_each(|warning| warn(warning));
    match source {
        #[cfg(feature = "kafka")]
        SourcePlan::Native(native) => {
            look(&mut report, *native, &plan.brokers.join(","), plan.partitions.as_deref());
        }
        #[cfg(feature = "kafka-crate")]
        SourcePlan::KafkaCrate(config) => look_with_crate(&mut report, &config),
    }
    let client = &webhook.client;
    if has_credentials {
        let outcome = client.authorized();
        report.tell("credentials", outcome.map(|()| "are available".into()).map_err(|error| error.text));
    }
    let reached = client.probe(timeout).map(|way| match sends {
        true => way,
        false => format!("{way}; nothing was sent, so its answer is unknown: --send-test sends an event"),
    });
    let is_reached = reached.is_ok();
    report.tell(&format!("webhook {}", webhook.destination), reached);
    if sends && is_reached {
        report.tell("test event", send_test(client, &webhook.settings.policy));
    }
    if !matches!(dead_letters, Ok(DeadLetterPlan::Stop)) {
        let found = dead_letters.and_then(|plan| plan.check());
        let found = found.inspect(|warnings| warnings.iter().for_each(|it| warn(it)));
        report.tell("dead letters", found.map(|_| "can be kept".into()).map_err(|failure| failure.text));
    }
    match report.wrong {
        0 => Ok(()),
        1 => Err(Failure::failed("one check failed: see above")),
        n => Err(Failure::failed(format!("{n} checks failed: see above"))),
    }
}

fn warn(text: &str) {
    print(&format!("warn   {text}\n"));
}

/// Sends one event, and says what its answer means for a run. Its id begins with the topic's name.
fn send_test(client: &Client, policy: &Policy) -> Result<String, String> {
    let now = timestamp(SystemTime::now());
    let topic = Partition::new(TEST_TOPIC, 0);
    let record = Record::new(topic, Offset(0), now, None, Some(TEST_BODY));
    let outcome = client.send(&record, Attempt::FIRST);
    let answered = cause(&outcome);
    match policy.judge(&outcome) {
        Verdict::Accepted => Ok(format!("{answered}: accepted")),
        Verdict::Retry { .. } => Err(format!("{answered}: a run would retry such an event again and again")),
        Verdict::Pause { cause, .. } => match cause.fault() {
            Some(fault) => Err(format!("{answered}: a run would pause; {}", advice::setup(fault))),
            None => Err(format!("{answered}: a run would pause and try again")),
        },
        Verdict::Again => Err(format!("{answered}: a run would send it again at once")),
        Verdict::Rejected => Err(format!("{answered}: such an event would be rejected")),
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
fn look(report: &mut Report, native: Native, named: &str, partitions: Option<&[i32]>) {
    use crate::cli::advice::sentence;
    use crate::kafka::consumer::topics::Topics;
    use crate::kafka::probe::{FoundTopics, Probe};
    let Native { config, reach, .. } = native;
    let topics = match Topics::parse(&config.topics) {
        Ok(topics) => topics,
        Err(error) => return report.tell("topics", Err(format!("--topic: {error}"))),
    };
    let mut probe = Probe::new(reach.connector, reach.brokers, config.request_timeout);
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
        Err(error) => return report.tell(&format!("brokers {named}"), Err(sentence(&error))),
    };
    for (address, word) in probe.brokers() {
        report.tell(&format!("broker {address}"), word.map_err(|error| sentence(&error)));
    }
    match probe.partitions(&config.group, &found, partitions) {
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
            report.tell(&what, Ok("unknown: this broker doesn't describe groups".into()));
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
}

#[cfg(feature = "kafka-crate")]
fn look_with_crate(report: &mut Report, config: &crate::kafka::kafka_crate::Config) {
    use crate::kafka::kafka_crate::probe;
    let mut reachable = false;
    for broker in &config.brokers {
        let outcome = probe::broker(broker);
        reachable |= outcome.is_ok();
        let word = outcome.map(|()| "answers, and speaks what the kafka crate speaks".into());
        report.tell(&format!("broker {broker}"), word);
    }
    if !reachable {
        return;
    }
    match probe::partitions(config) {
        Ok(partitions) => {
            for state in partitions {
                let what = format!("topic {} partition {}", state.topic, state.number);
                report.tell(&what, Ok(describe((state.first, state.end), state.committed, &config.group)));
            }
        }
        Err(text) => report.tell("topics", Err(text)),
    }
}

fn describe((first, end): (i64, i64), committed: Option<i64>, group: &str) -> String {
    let log = format!("holds offsets {first} to {end}");
    match committed {
        None => format!("{log}; group {group} has committed nothing"),
        Some(at) if at < first => {
            format!("{log}; group {group} is at {at}, which is no longer in the log: see --offset-reset")
        }
        Some(at) => format!("{log}; group {group} is at {at}, lag {}", end.saturating_sub(at)),
    }
}
