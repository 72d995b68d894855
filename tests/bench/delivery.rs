//! What the binary costs: 1 KB records, 16 at once, against a receiver that answers at once and one that takes up
//! to 5 ms. A test run sends few records, to see that it works; for figures:
//! `tests/bench/run delivery`.

use crate::measured::Measured;
use crate::support::binary;
use crate::support::broker::{Broker, OLD};
use crate::support::receiver::{Receiver, Reply};
use std::process::Command;
use std::time::Duration;

const RECORD: usize = 1_000;

#[test]
fn requests_a_second_and_what_they_cost() {
    let count: usize = std::env::var("SLUICEGATE_BENCH").map_or(2_000, |count| count.parse().unwrap());
    let Some(broker) = Broker::start(OLD) else { return };
    let line = format!("{}\n", "x".repeat(RECORD));
    broker.produce("bench", &["-p", "0"], line.repeat(count).as_bytes());
    println!("| receiver | records | req/s | CPU s per 100,000 | peak memory |\n|---|---|---|---|---|");
    measure(&broker, count, "answers at once", |_| Duration::ZERO);
    measure(&broker, count, "takes 0 to 5 ms", |n| Duration::from_micros(n as u64 * 7_919 % 5_000));
}

fn measure(broker: &Broker, count: usize, name: &str, delay: fn(usize) -> Duration) {
    let receiver = Receiver::start(move |request| match delay(request.number) {
        Duration::ZERO => Reply::Status(204),
        delay => Reply::After(delay, 204),
    });
    let (address, url) = (broker.address(), receiver.url());
    let group = name.replace(' ', "-");
    let mut command = Command::new(binary::path());
    command.args(["run", "--brokers", &address, "--topic", "bench", "--group", &group, "--url", &url]);
    command.args(["--max-concurrency", "16", "--until-end", "--partitions", "0", "-q"]);
    let run = Measured::run(command);
    assert_eq!(receiver.begun(), count);
    assert!(receiver.most_in_flight() <= 16);
    let rate = count as f64 / run.took.as_secs_f64();
    let per_100k = run.cpu.as_secs_f64() * 100_000.0 / count as f64;
    println!("| {name} | {count} | {rate:.0} | {per_100k:.1} | {:.1} MB |", run.peak_mb);
}
