//! What the binary costs: 1 KB records, 16 at once, against a receiver that answers at once and one that takes up
//! to 5 ms. A test run sends few records, to see that it works; for figures:
//! `cargo build --release && SLUICEGATE_BIN=target/release/sluicegate SLUICEGATE_BENCH=100000 cargo test --release --test bench -- --nocapture`

#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};
use support::binary;
use support::broker::{Broker, OLD};
use support::receiver::{Receiver, Reply};

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
    let began = Instant::now();
    let mut running = binary::start(&[
        "run",
        "--brokers",
        &address,
        "--topic",
        "bench",
        "--group",
        &group,
        "--url",
        &url,
        "--max-concurrency",
        "16",
        "--until-end",
        "--partitions",
        "0",
        "-q",
    ]);
    let (mut cpu, mut peak) = (0.0, 0);
    while !running.has_ended() {
        if let Some((now, memory)) = cost(running.pid()) {
            (cpu, peak) = (now, memory);
        }
        std::thread::sleep(Duration::from_millis(5)); // between two looks
    }
    let took = began.elapsed();
    running.wait().expect(0);
    assert_eq!(receiver.begun(), count);
    assert!(receiver.most_in_flight() <= 16);
    let rate = count as f64 / took.as_secs_f64();
    let per_100k = cpu * 100_000.0 / count as f64;
    println!("| {name} | {count} | {rate:.0} | {per_100k:.1} | {:.1} MB |", peak as f64 / 1024.0);
}

/// CPU seconds so far, and the most memory ever resident in KiB.
fn cost(pid: u32) -> Option<(f64, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = stat.rsplit_once(") ")?.1.split(' ').skip(11).take(2);
    let ticks: f64 = ticks.map(|ticks| ticks.parse().unwrap_or(0.0)).sum();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some((ticks / 100.0, peak.trim().trim_end_matches(" kB").trim().parse().ok()?))
}
