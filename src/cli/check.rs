//! `check`: looks without touching. Sends no event, joins nothing, commits nothing.

use super::options::Options;
use super::run::{kafka_config, transport};
use super::{Exit, Failure, print};
use crate::kafka::kafka_crate::probe;

/// Prints a line for each thing looked at, `ok` or what to do.
pub fn run(options: &Options) -> Result<(), Failure> {
    let config = kafka_config(options)?;
    let (destination, client, warnings) = transport(options)?;
    let mut wrong = 0;
    let mut tell = |what: &str, outcome: Result<String, String>| match outcome {
        Ok(text) => print(&format!("ok     {what}: {text}\n")),
        Err(text) => {
            wrong += 1;
            print(&format!("WRONG  {what}: {text}\n"));
        }
    };
    let mut reachable = false;
    for broker in &config.brokers {
        let outcome = probe::broker(broker);
        reachable |= outcome.is_ok();
        tell(
            &format!("broker {broker}"),
            outcome.map(|()| "answers, and speaks what the kafka crate speaks".into()),
        );
    }
    if reachable {
        match probe::partitions(&config) {
            Ok(partitions) => {
                for state in partitions {
                    let what = format!("topic {} partition {}", state.topic, state.number);
                    tell(&what, Ok(describe(&state, &config.group)));
                }
            }
            Err(text) => tell("topics", Err(text)),
        }
    }
    warnings.iter().for_each(|warning| print(&format!("warn   {warning}\n")));
    tell(&format!("webhook {destination}"), client.probe(options));
    match wrong {
        0 => Ok(()),
        n => Err(Failure { exit: Exit::Failed, text: format!("{n} of the checks went wrong: see above") }),
    }
}

fn describe(state: &probe::PartitionState, group: &str) -> String {
    let log = format!("holds offsets {} to {}", state.first, state.end);
    match state.committed {
        None => format!("{log}; group {group} has committed nothing"),
        Some(at) if at < state.first => {
            format!("{log}; group {group} is at {at}, which is no longer there: it would go on at --start")
        }
        Some(at) => format!("{log}; group {group} is at {at}, lag {}", state.end.saturating_sub(at)),
    }
}
