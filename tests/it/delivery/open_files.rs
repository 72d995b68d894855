//! Few open files: connections to the webhook leave those of Kafka alone.

use crate::delivery::{all_of, arguments, committed, duplicates, shared};
use crate::support::binary::{self, Running};
use crate::support::receiver::{Receiver, Reply};
use std::process::Command;
use std::time::Duration;

const RECORDS: usize = 500;

/// Delivers with 64 requests at once under this `ulimit`.
fn under(topic: &str, limit: &str) -> Option<(binary::Ended, Receiver)> {
    let broker = shared()?;
    broker.produce_numbers(topic, 0, RECORDS);
    let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(20), 204));
    let (address, url) = (broker.address(), receiver.url());
    let mut command = Command::new("bash");
    command.args(["-c", &format!(r#"ulimit {limit}; exec "$@""#), "limited", &binary::path()]);
    command.args(arguments(&address, topic, &url, &["--until-end", "--max-concurrency", "64"]));
    let ended = Running::spawn(command).wait().expect(0);
    assert_eq!(duplicates(&all_of(&receiver, RECORDS)), 0);
    assert_eq!(committed(broker, topic), RECORDS as i64);
    Some((ended, receiver))
}

#[test]
fn a_hard_limit_lowers_what_is_sent_at_once() {
    let Some((ended, receiver)) = under("files-hard", "-n 80") else { return };
    let ended = ended.saying("--max-concurrency 64 is lowered to 16: the limit of open files is 80");
    assert_eq!(receiver.most_in_flight(), 16);
    assert!(!ended.stderr.contains("no connection"), "{}", ended.stderr);
    let Some((ended, receiver)) = under("files-harder", "-n 64") else { return };
    ended.saying("--max-concurrency 64 is lowered to 1: the limit of open files is 64");
    assert_eq!(receiver.most_in_flight(), 1);
}

#[test]
fn a_soft_limit_is_raised() {
    let Some((ended, receiver)) = under("files-soft", "-Sn 64") else { return };
    assert!(!ended.stderr.contains("is lowered"), "{}", ended.stderr);
    assert_eq!(receiver.most_in_flight(), 64);
}
