//! How far partitions run ahead, and what that takes: a stuck partition starves no other, records that a filter leaves
//! out hold no memory, and a small window costs little speed.

use crate::delivery::shared;
use crate::support::binary::{self, Running};
use crate::support::counter::Counter;
use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const PARTITIONS: usize = 8;
const OF_EACH: usize = 300;

/// Eight partitions of 300 records with 3 KB each; those of partition 0 are all of one key.
fn wide(topic: &str) -> Option<&'static crate::support::broker::Broker> {
    let broker = shared()?;
    broker.admin().create(topic, PARTITIONS as u32, 1, &[]);
    let filling = "x".repeat(3_000);
    for partition in 0..PARTITIONS {
        let key = |n: usize| if partition == 0 { 0 } else { partition * 1_000 + n % 20 };
        let records: String = (0..OF_EACH).map(|n| format!("{}|{filling}\n", key(n))).collect();
        broker.produce(topic, &["-K", "|", "-p", &partition.to_string()], records.as_bytes());
    }
    Some(broker)
}

#[test]
fn one_stuck_partition_starves_no_other() {
    let Some(broker) = wide("wide") else { return };
    for (order, status) in [("key", 500), ("partition", 500), ("key", 403)] {
        let receiver = Receiver::start(move |it| match it.header("kafka-partition") {
            Some("0") => Reply::Status(status),
            _ => Reply::Status(204),
        });
        let (address, group, url) = (broker.address(), format!("wide-{order}-{status}"), receiver.url());
        let run = ["run", "--brokers", &address, "--topic", "wide", "--group", &group, "--url", &url];
        let more = ["--window", "sliding", "--order", order, "--backoff", "5ms..50ms"];
        let run = binary::start(&[&run[..], &more].concat());
        let began = Instant::now();
        let accepted = || receiver.handled().iter().filter(|it| it.accepted).count();
        eventually(&format!("{group}: all other partitions"), || accepted() == (PARTITIONS - 1) * OF_EACH);
        println!("ROOM {order} {status}: the others took {:.1?}", began.elapsed());
        run.signal("TERM");
        run.wait().expect(0);
    }
}

/// The most memory a process has had, in KiB.
fn peak(run: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", run.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

#[test]
fn what_a_filter_leaves_out_holds_no_memory() {
    let Some(broker) = shared() else { return };
    broker.admin().create("sifted", 1, 1, &[]);
    let (count, passing) = (2_000, 2_000 / 50);
    let filling = "x".repeat(20_000);
    for (n, kind) in [(49, "no"), (1, "yes")].into_iter().cycle().take(2 * passing) {
        let records: String = (0..n).map(|_| format!("{filling}\n")).collect();
        broker.produce("sifted", &["-p", "0", "-H", &format!("kind={kind}")], records.as_bytes());
    }
    // None of those that pass is ever done with: all of them are under way at once.
    let receiver = Receiver::start(|_| Reply::Status(500));
    let (address, url) = (broker.address(), receiver.url());
    let run = ["run", "--brokers", &address, "--topic", "sifted", "--group", "sifted", "--url", &url];
    let more = ["--filter", "header:kind=yes", "--window", "sliding", "--window-size", "100000"];
    let more = [&more[..], &["--backoff", "5ms..50ms", "--pause-after", "1000000"]].concat();
    let run = binary::start(&[&run[..], &more].concat());
    eventually("all that pass", || {
        let handled = receiver.handled();
        handled.iter().map(|it| it.request.id()).collect::<BTreeSet<_>>().len() == passing
    });
    let peak = peak(&run);
    println!("ROOM filter: peak {peak} KiB for {passing} of {count} records of 20 KB");
    run.signal("TERM");
    run.wait().expect(0);
    // Those that pass are 800 KB, the topic 40 MB.
    assert!((1..32 << 10).contains(&peak), "{peak} KiB");
}

#[test]
fn a_window_of_a_hundred_is_nearly_as_fast_as_one_of_a_thousand() {
    let Some(broker) = shared() else { return };
    let count = 12_000;
    broker.produce_spread("windows", count);
    let run = |group: &str, size: &str| {
        let counter = Counter::start(|_| 204);
        let (address, url) = (broker.address(), counter.url(0));
        let run = ["run", "--brokers", &address, "--topic", "windows", "--group", group, "--url", &url];
        let more = ["--until-end", "--window", "sliding", "--window-size", size, "--max-concurrency", "16"];
        binary::start(&[&run[..], &more].concat()).wait().expect(0);
        let received = counter.received();
        assert_eq!(received.len(), count);
        received.last().unwrap().ended - received.first().unwrap().began
    };
    // What else the machine does meanwhile meets both alike.
    let (mut small, mut large) = (Duration::MAX, Duration::MAX);
    for n in 0..3 {
        large = large.min(run(&format!("windows-1000-{n}"), "1000"));
        small = small.min(run(&format!("windows-100-{n}"), "100"));
    }
    let ratio = small.as_secs_f64() / large.as_secs_f64();
    println!("ROOM window 100: {small:.2?}, window 1000: {large:.2?}, ratio {ratio:.2}");
    assert!(ratio < 1.8, "{small:?} and {large:?}");
}
