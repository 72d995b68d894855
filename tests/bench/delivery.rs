//! What the binary costs: 1 KB records, 16 at once, against a receiver that answers at once and one that takes up
//! to 5 ms; and what each option costs beside that. A test run sends few records, to see that it works; for figures:
//! `tests/bench/run delivery`.

use crate::measured::Measured;
use crate::support::binary;
use crate::support::broker::{Broker, OLD};
use crate::support::receiver::{Receiver, Reply};
use std::process::Command;
use std::time::Duration;

const RECORD: usize = 1_000;
const KEYS: usize = 1_000;
/// Each against a receiver that answers at once.
const OPTIONS: [&[&str]; 9] = [
    &["--window", "sliding"],
    &["--order", "key"],
    &["--order", "key", "--window", "sliding"],
    &["--max-rate", "1000000/s"],
    &["--retry-budget", "20%"],
    &["--signing-secret-file", "SECRET"],
    &["--format", "json"],
    &["--format", "cloudevents"],
    &["--header", "X-Key: {key}"],
];

#[test]
fn requests_a_second_and_what_they_cost() {
    let figures = std::env::var("SLUICEGATE_BENCH").ok();
    let count: usize = figures.as_ref().map_or(2_000, |count| count.parse().unwrap());
    let Some(broker) = Broker::start(OLD) else { return };
    let value = "x".repeat(RECORD);
    let lines: String = (0..count).map(|n| format!("key-{}|{value}\n", n % KEYS)).collect();
    broker.produce("bench", &["-p", "0", "-K", "|"], lines.as_bytes());
    let secret = std::env::temp_dir().join(format!("sluicegate-bench-{}", std::process::id()));
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    println!("| run | records | req/s | CPU s per 100,000 | peak memory |\n|---|---|---|---|---|");
    let at_once = |_: usize| Duration::ZERO;
    measure(&broker, count, "answers at once", &[], at_once);
    measure(&broker, count, "takes 0 to 5 ms", &[], |n| Duration::from_micros(n as u64 * 7_919 % 5_000));
    // A test run tries some of them, a bench all.
    let chosen = if figures.is_some() { OPTIONS.len() } else { 2 };
    for options in &OPTIONS[..chosen] {
        let secret = secret.to_str().unwrap();
        let options: Vec<&str> = options.iter().map(|o| if *o == "SECRET" { secret } else { *o }).collect();
        let name = options.join(" ").replace(secret, "FILE");
        measure(&broker, count, &name, &options, at_once);
    }
    std::fs::remove_file(&secret).unwrap();
}

fn measure(broker: &Broker, count: usize, name: &str, options: &[&str], delay: fn(usize) -> Duration) {
    let receiver = Receiver::start(move |request| match delay(request.number) {
        Duration::ZERO => Reply::Status(204),
        delay => Reply::After(delay, 204),
    });
    let (address, url) = (broker.address(), receiver.url());
    let group: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let mut command = Command::new(binary::path());
    command.args(["run", "--brokers", &address, "--topic", "bench", "--group", &group, "--url", &url]);
    command.args(["--max-concurrency", "16", "--until-end", "--partitions", "0", "-q"]).args(options);
    let run = Measured::run(command);
    assert_eq!(receiver.begun(), count);
    assert!(receiver.most_in_flight() <= 16);
    let rate = count as f64 / run.took.as_secs_f64();
    let per_100k = run.cpu.as_secs_f64() * 100_000.0 / count as f64;
    println!("| `{name}` | {count} | {rate:.0} | {per_100k:.1} | {:.1} MB |", run.peak_mb);
}
