//! What each option costs: 1 KB records, 16 at once, against a receiver that answers at once. A test run sends few
//! records, to see that it works; for figures: `tests/bench/run options`.

use crate::measured::Measured;
use crate::support::binary;
use crate::support::broker::{Broker, OLD};
use crate::support::receiver::Receiver;
use std::process::Command;

const RECORD: usize = 1_000;
const KEYS: usize = 1_000;
const OPTIONS: [&[&str]; 10] = [
    &[],
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
fn what_each_option_costs() {
    let figures = std::env::var("SLUICEGATE_BENCH").ok();
    let count: usize = figures.as_ref().map_or(2_000, |count| count.parse().unwrap());
    let Some(broker) = Broker::start(OLD) else { return };
    let value = "x".repeat(RECORD);
    let lines: String = (0..count).map(|n| format!("key-{}|{value}\n", n % KEYS)).collect();
    broker.produce("bench", &["-p", "0", "-K", "|"], lines.as_bytes());
    let secret = std::env::temp_dir().join(format!("sluicegate-bench-{}", std::process::id()));
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    println!("| run | records | req/s | CPU s per 100,000 | peak memory |\n|---|---|---|---|---|");
    // A test run tries some of them, a bench all.
    let chosen = if figures.is_some() { OPTIONS.len() } else { 3 };
    for options in &OPTIONS[..chosen] {
        let secret = secret.to_str().unwrap();
        let options: Vec<&str> = options.iter().map(|o| if *o == "SECRET" { secret } else { *o }).collect();
        let name = options.join(" ").replace(secret, "FILE");
        measure(&broker, count, &name, &options);
    }
    std::fs::remove_file(&secret).unwrap();
}

fn measure(broker: &Broker, count: usize, name: &str, options: &[&str]) {
    let receiver = Receiver::accepting();
    let (address, url) = (broker.address(), receiver.url());
    let group: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let group = format!("options-{group}");
    let mut command = Command::new(binary::path());
    command.args(["run", "--brokers", &address, "--topic", "bench", "--group", &group, "--url", &url]);
    command.args(["--max-concurrency", "16", "--until-end", "--partitions", "0", "-q"]).args(options);
    let run = Measured::run(command).expect("it ends in time");
    assert_eq!(receiver.begun(), count);
    assert!(receiver.most_in_flight() <= 16);
    let rate = count as f64 / run.took.as_secs_f64();
    let per_100k = run.cpu.as_secs_f64() * 100_000.0 / count as f64;
    println!("| `{name}` | {count} | {rate:.0} | {per_100k:.1} | {:.1} MB |", run.peak_mb);
}
