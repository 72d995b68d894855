//! Brokers, coordinators and dead letters that hang or go away: the run hears partitions and signals all the same, goes
//! on afterwards, and says what it could not commit.

use crate::delivery::faults::Scratch;
use crate::delivery::{duplicates, shared, version};
use crate::support::binary::{self, Running};
use crate::support::broker::{Broker, numbers};
use crate::support::counter::Counter;
use crate::support::eventually;
use crate::support::members::{Kind, Member, Membership};
use crate::support::proxy::{Proxy, Way};
use crate::support::receiver::{Receiver, Reply};
use sluicegate::kafka::protocol::{ApiKey, ErrorCode};
use sluicegate::kafka::record_batch::NewRecord;
use sluicegate::kafka::sandbox::faults::Fault;
use sluicegate::kafka::sandbox::{Sandbox, SandboxSettings};
use std::time::{Duration, Instant};

/// `--timeout` of these runs.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A run ends this long after the first signal, whatever others do.
const EXIT_BOUND: Duration = TIMEOUT.saturating_add(Duration::from_secs(10));
/// A request that was under way at a signal has begun at the receiver by then.
const ARRIVED: Duration = Duration::from_millis(300);

/// A sandbox with so many numbers in the only partition of `t`.
fn sandbox(count: usize) -> Sandbox {
    let sandbox = Sandbox::start(SandboxSettings { partitions: 1, ..SandboxSettings::default() }).unwrap();
    sandbox.create("dead", 1).unwrap();
    produce(&sandbox, 0, count);
    sandbox
}

fn produce(sandbox: &Sandbox, first: usize, count: usize) {
    let values = numbers(first, count);
    let values: Vec<&str> = values.lines().collect();
    for values in values.chunks(100) {
        let records: Vec<NewRecord<'_>> = values
            .iter()
            .map(|value| NewRecord { timestamp: -1, key: None, value: Some(value.as_bytes()), headers: &[] })
            .collect();
        sandbox.produce("t", 0, &records).unwrap();
    }
}

fn start(brokers: &str, url: &str, more: &[&str]) -> Running {
    start_as("g", brokers, url, more)
}

fn start_as(group: &str, brokers: &str, url: &str, more: &[&str]) -> Running {
    let run = ["run", "--brokers", brokers, "--topic", "t", "--group", group, "--url", url];
    binary::start(&[&run[..], &["--timeout", "2s", "--backoff", "5ms..50ms"], more].concat())
}

/// Requests that began after `at`, with the time that those under way may take.
fn begun_after(receiver: &Receiver, at: Instant) -> usize {
    receiver.handled().iter().filter(|it| it.request.began > at + ARRIVED).count()
}

const WINDOWS: [&[&str]; 2] = [&["--window", "batch", "--batch-size", "50"], &["--window", "sliding"]];

// ---- dead letters and lost partitions ---------------------------------------------------------------------------

/// Record 5 is refused.
fn refusing() -> Receiver {
    Receiver::start(|it| Reply::Status(if it.text() == "5" { 400 } else { 204 }))
}

/// How the dead-letter topic is unavailable: it says so, or it says nothing.
const UNAVAILABLE: [Fault; 2] = [Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS), Fault::NoAnswer];

/// A run whose dead letters can't be kept, and whose partition was lost meanwhile and came back.
fn lost_with_a_letter(fault: Fault, more: &[&str]) -> (Sandbox, Receiver, Running) {
    let sandbox = sandbox(100);
    let receiver = refusing();
    sandbox.faults().inject(ApiKey::Produce, fault, usize::MAX);
    let address = sandbox.address().to_string();
    let more = [more, &["--dead-letter", "topic:dead"]].concat();
    let mut run = start(&address, &receiver.url(), &more);
    eventually("all but the refused record, once", || receiver.accepted().len() == 99);
    if fault != Fault::NoAnswer {
        eventually("a word of the dead letters", || run.said().contains("dead letters can't be kept"));
    }
    sandbox.faults().expel("g");
    eventually("a lost partition", || run.said().contains("lost ["));
    eventually("the partition again, or the end", || {
        run.said().matches("assigned ").count() > 1 || run.has_ended()
    });
    (sandbox, receiver, run)
}

#[test]
fn a_partition_that_is_lost_while_its_letter_waits_is_gone_on_with() {
    for (fault, window) in UNAVAILABLE.into_iter().flat_map(|fault| WINDOWS.map(|window| (fault, window))) {
        let (sandbox, receiver, run) = lost_with_a_letter(fault, window);
        produce(&sandbox, 100, 100);
        eventually("the records that came later", || receiver.accepted().len() == 199);
        sandbox.faults().clear();
        eventually("the commit of all", || sandbox.committed("g").values().sum::<i64>() == 200);
        run.signal("TERM");
        run.wait_for(EXIT_BOUND).expect(0);
        let (_, letters) = sandbox.range("dead", 0).unwrap();
        println!("STALL {fault:?} {}: {letters} letters", window[1]);
        assert!(letters >= 1);
    }
}

#[test]
fn a_run_until_the_end_ends_though_a_partition_was_lost_while_its_letter_waited() {
    for (fault, window) in UNAVAILABLE.into_iter().flat_map(|fault| WINDOWS.map(|window| (fault, window))) {
        let more = [window, &["--until-end"]].concat();
        let (sandbox, _receiver, run) = lost_with_a_letter(fault, &more);
        sandbox.faults().clear();
        let ended = run.wait().expect(0);
        let committed = sandbox.committed("g").values().sum::<i64>();
        println!("STALL until the end, {fault:?} {}: committed {committed}", window[1]);
        assert_eq!(committed, 100, "{}", ended.stderr);
    }
}

// ---- partitions that go during the interval between batches -----------------------------------------------------

#[test]
fn a_member_in_its_batch_interval_hears_at_once_that_another_joins() {
    let Some(broker) = shared() else { return };
    broker.admin().create("interval", 4, 1, &[]);
    broker.produce_spread("interval", 800);
    let counter = Counter::start(|_| 204);
    let (address, assignor) = (broker.address(), "cooperative-sticky");
    let to = Membership { brokers: &address, group: "interval", topic: "interval", assignor };
    let resting = ["--batch-size", "100", "--batch-interval", "30s", "-v"];
    let mut one = Member::start(Kind::Ours, 0, &to, &counter.url(0), &resting);
    eventually("the interval", || {
        one.listen();
        one.said.iter().any(|line| line.contains("Waiting for batch interval"))
    });
    let before = counter.received().len();
    assert_eq!(before, 100);
    let joined = Instant::now();
    let mut other = Member::start(Kind::Ours, 1, &to, &counter.url(1), &[]);
    eventually("two partitions of the newcomer", || {
        other.listen();
        other.owned.iter().filter(|own| own.until.is_none()).count() == 2
    });
    let took = joined.elapsed();
    eventually("all records of these", || {
        counter.received().iter().filter(|it| it.sender == 1).count() >= 300
    });
    one.leave();
    println!("STALL interval: the newcomer had its partitions after {took:.1?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    // With the first gone, the rest comes to the other.
    eventually("all records", || counter.received().len() >= 800);
    other.leave();
    let mut sent: Vec<u64> = counter.received().iter().map(|it| it.number).collect();
    sent.sort_unstable();
    assert_eq!(sent, (0..800).collect::<Vec<u64>>());
}

// ---- brokers that are away --------------------------------------------------------------------------------------

#[test]
fn a_signal_ends_a_run_whose_brokers_are_gone_longer_than_its_session() {
    for window in WINDOWS {
        let sandbox = sandbox(500);
        let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(50), 204));
        let address = sandbox.address().to_string();
        let more = [window, &["--max-concurrency", "1", "--session-timeout", "2s"]].concat();
        let run = start(&address, &receiver.url(), &more);
        eventually("some requests", || receiver.begun() > 10);
        drop(sandbox);
        eventually("the end of the session", || {
            let handled = receiver.handled();
            handled.last().is_some_and(|last| last.ended.elapsed() > Duration::from_secs(1))
        });
        assert!(receiver.begun() < 100, "{} requests without a session", receiver.begun());
        run.signal("TERM");
        let signalled = Instant::now();
        let ended = run.wait_for(EXIT_BOUND);
        let (took, code) = (signalled.elapsed(), ended.code());
        println!("STALL session over, {}: ended {took:.1?} after TERM with {code:?}", window[1]);
        assert_eq!(begun_after(&receiver, signalled), 0);
        assert_eq!(duplicates(&receiver.accepted()), 0);
    }
}

/// What a run says that could not commit.
const UNCOMMITTED: &str = "could not be committed and will be sent again: t-0@";

#[test]
fn a_signal_ends_a_run_whose_coordinator_takes_and_never_answers() {
    for window in WINDOWS {
        let sandbox = sandbox(5_000);
        let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(20), 204));
        let address = sandbox.address().to_string();
        let run = start(&address, &receiver.url(), window);
        eventually("a commit", || sandbox.committed("g").values().sum::<i64>() > 0);
        for api in [ApiKey::OffsetCommit, ApiKey::Heartbeat, ApiKey::LeaveGroup, ApiKey::FindCoordinator] {
            sandbox.faults().inject(api, Fault::NoAnswer, usize::MAX);
        }
        let at = receiver.begun();
        eventually("more requests", || receiver.begun() > at + 100);
        ends_in_time(window[1], run, &receiver);
    }
}

#[test]
fn a_signal_ends_a_run_whose_brokers_are_a_black_hole() {
    let proxy_port = crate::support::broker::free_port();
    let advertised = format!("PLAINTEXT://127.0.0.1:{proxy_port}");
    let Some(broker) = Broker::with(version(), &[("advertised.listeners", &advertised)]) else { return };
    let proxy = Proxy::start(proxy_port, broker.address().parse().unwrap());
    for window in WINDOWS {
        proxy.turn(Way::Open);
        broker.produce("t", &["-p", "0"], numbers(0, 3_000).as_bytes());
        let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(20), 204));
        let group = format!("hole-{}", window[1]);
        let address = proxy.address().to_string();
        let run = start_as(&group, &address, &receiver.url(), window);
        eventually("some requests", || receiver.begun() > 100);
        proxy.turn(Way::Hole);
        let at = receiver.begun();
        eventually("more requests", || receiver.begun() > at + 100);
        ends_in_time(window[1], run, &receiver);
    }
}

/// It ends within the bound after a signal, sends nothing new, and says what is not committed.
fn ends_in_time(name: &str, run: Running, receiver: &Receiver) {
    run.signal("TERM");
    let signalled = Instant::now();
    let ended = run.wait_for(EXIT_BOUND);
    let (took, late) = (signalled.elapsed(), begun_after(receiver, signalled));
    println!("STALL {name}: ended {took:.1?} after TERM with {:?}, {late} requests after it", ended.code());
    assert_eq!(late, 0, "{}", ended.stderr);
    ended.expect(1).saying(UNCOMMITTED);
}

// ---- threads that can't be started ------------------------------------------------------------------------------

#[test]
fn with_fewer_threads_than_wanted_it_goes_on() {
    if !is_root() {
        println!("skipped: it takes another user, which only root can become");
        return;
    }
    let sandbox = sandbox(500);
    let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(5), 204));
    let copy = Scratch::new("limited-sluicegate");
    std::fs::copy(binary::path(), copy.path()).unwrap();
    let (address, url) = (sandbox.address().to_string(), receiver.url());
    // A user of whom there is no other process.
    let user = (60_000 + std::process::id() % 5_000).to_string();
    for (threads, code) in [("16", 0), ("12", 0)] {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "bash", "-c"]);
        command.args([r#"ulimit -u "$0" && exec "$@""#, threads, copy.path(), "run", "--brokers", &address]);
        command.args(["--topic", "t", "--group", threads, "--url", &url, "--max-concurrency", "64"]);
        command.args(["--until-end"]);
        let before = receiver.begun();
        let ended = Running::spawn(command).wait();
        let ended = ended.expect(code).saying("threads can be started");
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        assert_eq!(receiver.begun() - before, 500);
        let committed = sandbox.committed(threads);
        assert_eq!(committed.values().sum::<i64>(), 500);
    }
}

fn is_root() -> bool {
    let id = std::process::Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}
