//! `--patience`: what it covers, what it doesn't, and how long the last commit is tried.

use crate::delivery::committed;
use crate::delivery::faults::Scratch;
use crate::delivery::{shared, start, version};
use crate::support::binary;
use crate::support::broker::{Broker, free_port};
use crate::support::eventually;
use crate::support::proxy::{Proxy, Way};
use crate::support::receiver::{Receiver, Reply};
use sluicegate::kafka::record_batch::NewRecord;
use sluicegate::kafka::sandbox::{Sandbox, SandboxSettings};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(3);
/// How much later than that a run may end on a busy machine.
const SLACK: Duration = Duration::from_secs(7);

#[test]
fn an_idle_run_needs_no_patience() {
    let Some(broker) = shared() else { return };
    for window in ["batch", "sliding"] {
        let topic = format!("idle-{window}");
        broker.produce_numbers(&topic, 0, 1);
        // It fails once, and is refused then.
        let receiver = Receiver::start(|it| Reply::Status(if it.earlier == 0 { 500 } else { 422 }));
        let letters = Scratch::new(&format!("{topic}.jsonl"));
        let more = ["--patience", "1s", "--dead-letter", letters.path(), "--window", window];
        let mut run =
            start(broker, &topic, &receiver.url(), &[&more[..], &["--backoff", "5ms..9ms"]].concat());
        eventually("the letter", || letters.lines().len() == 1);
        std::thread::sleep(Duration::from_secs(3)); // nothing happens for longer than its patience
        assert!(!run.has_ended(), "{}", run.said());
        run.signal("TERM");
        run.wait().expect(0);
        assert_eq!(committed(broker, &topic), 1);
    }
}

#[test]
fn a_quiet_time_before_a_failure_counts_for_nothing() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("quiet", 0, 1);
    let receiver = Receiver::start(|it| match (it.text(), it.earlier) {
        ("0", 0) | ("1", 0 | 1) => Reply::Status(503),
        _ => Reply::Status(204),
    });
    let more = ["--patience", "2s", "--backoff", "5ms..50ms"];
    let mut run = start(broker, "quiet", &receiver.url(), &more);
    eventually("the first", || receiver.accepted().len() == 1);
    std::thread::sleep(Duration::from_secs(3)); // nothing happens for longer than its patience
    broker.produce_numbers("quiet", 1, 1);
    eventually("the second", || receiver.accepted().len() == 2 || run.has_ended());
    assert!(!run.has_ended(), "{}", run.said());
    run.signal("TERM");
    run.wait().expect(0);
}

#[test]
fn brokers_that_were_never_reached_end_a_patient_run_with_the_cause() {
    for more in [&["--until-end"][..], &[], &["--until-end", "--window", "sliding"]] {
        let address = format!("127.0.0.1:{}", free_port());
        let began = Instant::now();
        let run =
            ["run", "--brokers", &address, "--topic", "t", "--group", "g", "--url", "http://127.0.0.1:9/"];
        let ended = binary::run(&[&run[..], &["--patience", "3s"], more].concat());
        let took = began.elapsed();
        println!("PATIENCE never reached, {more:?}: {:?} after {took:.1?}", ended.code());
        ended.expect(3).saying("out of reach for 3s").saying("--patience").saying(&address);
        assert!(took >= PATIENCE && took < PATIENCE + SLACK, "{took:?}");
    }
}

#[test]
fn brokers_that_go_end_a_patient_run_with_the_cause() {
    for window in ["batch", "sliding"] {
        let sandbox =
            Sandbox::start(SandboxSettings { partitions: 1, ..SandboxSettings::default() }).unwrap();
        let record = NewRecord { timestamp: -1, key: None, value: Some(b"1"), headers: &[] };
        sandbox.produce("t", 0, &[record]).unwrap();
        let hangs = Arc::new(AtomicBool::new(true));
        let receiver = {
            let hangs = Arc::clone(&hangs);
            Receiver::start(move |_| {
                eventually("the brokers are gone", || !hangs.load(Ordering::SeqCst));
                Reply::Status(204)
            })
        };
        let (address, url) = (sandbox.address().to_string(), receiver.url());
        let run = ["run", "--brokers", &address, "--topic", "t", "--group", "g", "--url", &url];
        let more = ["--until-end", "--patience", "3s", "--window", window];
        let run = binary::start(&[&run[..], &more].concat());
        eventually("the request", || receiver.begun() == 1);
        drop(sandbox);
        let gone = Instant::now();
        hangs.store(false, Ordering::SeqCst);
        let ended = run.wait();
        let took = gone.elapsed();
        println!("PATIENCE gone, {window}: {:?} after {took:.1?}", ended.code());
        assert!(took < PATIENCE + SLACK, "{took:?}");
        assert!(matches!(ended.code(), Some(1 | 3)), "{}", ended.stderr);
        ended.saying("t-0@1");
    }
}

#[test]
fn the_last_commit_follows_an_outage() {
    let port = free_port();
    let advertised = format!("PLAINTEXT://127.0.0.1:{port}");
    let Some(broker) = Broker::with(version(), &[("advertised.listeners", &advertised)]) else { return };
    let proxy = Proxy::start(port, broker.address().parse().unwrap());
    for (way, window) in [(Way::Cut, "batch"), (Way::Cut, "sliding"), (Way::Hole, "batch")] {
        let topic = format!("outage-{way:?}-{window}");
        broker.produce_numbers(&topic, 0, 50);
        let goes_on = Arc::new(AtomicBool::new(false));
        let receiver = {
            let goes_on = Arc::clone(&goes_on);
            Receiver::start(move |it| {
                if it.text() == "49" {
                    eventually("the outage", || goes_on.load(Ordering::SeqCst));
                }
                Reply::Status(204)
            })
        };
        let more = ["--until-end", "--window", window];
        let mut run = start(&broker, &topic, &receiver.url(), &more);
        eventually("all requests", || receiver.begun() == 50);
        proxy.turn(way);
        goes_on.store(true, Ordering::SeqCst);
        eventually("all answers", || receiver.accepted().len() == 50);
        std::thread::sleep(Duration::from_secs(12)); // the outage
        assert!(!run.has_ended(), "{}", run.said());
        proxy.turn(Way::Open);
        let back = Instant::now();
        let ended = run.wait();
        println!(
            "PATIENCE last commit, {way:?} {window}: {:?} {:.1?} after the outage",
            ended.code(),
            back.elapsed()
        );
        ended.expect(0);
        assert_eq!(committed(&broker, &topic), 50);
    }
}

#[test]
fn the_last_commit_is_given_up_when_patience_ends() {
    let port = free_port();
    let advertised = format!("PLAINTEXT://127.0.0.1:{port}");
    let Some(broker) = Broker::with(version(), &[("advertised.listeners", &advertised)]) else { return };
    let proxy = Proxy::start(port, broker.address().parse().unwrap());
    broker.produce_numbers("given-up", 0, 50);
    let goes_on = Arc::new(AtomicBool::new(false));
    let receiver = {
        let goes_on = Arc::clone(&goes_on);
        Receiver::start(move |it| {
            if it.text() == "49" {
                eventually("the outage", || goes_on.load(Ordering::SeqCst));
            }
            Reply::Status(204)
        })
    };
    let more = ["--until-end", "--patience", "3s"];
    let run = start(&broker, "given-up", &receiver.url(), &more);
    eventually("all requests", || receiver.begun() == 50);
    proxy.turn(Way::Cut);
    goes_on.store(true, Ordering::SeqCst);
    let gone = Instant::now();
    let ended = run.wait();
    let took = gone.elapsed();
    println!("PATIENCE given up: {:?} after {took:.1?}", ended.code());
    assert!(took < PATIENCE + SLACK, "{took:?}");
    assert_ne!(ended.code(), Some(0));
    ended.saying("given-up-0@50");
}
