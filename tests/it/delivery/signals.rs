//! Real signals, sent to the binary while it delivers, and before.

use crate::delivery::{arguments, committed, shared, start};
use crate::support::binary::{self, Running};
use crate::support::receiver::{Receiver, Reply};
use crate::support::{LONG, eventually};
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

/// Records that are in flight together.
const AT_ONCE: usize = 8;

/// What accepts each request after this time.
fn slow(time: Duration) -> Receiver {
    Receiver::start(move |_| Reply::After(time, 204))
}

/// Records in flight to a receiver that takes its time; `wrapper` goes before the binary's own arguments.
fn in_flight(topic: &str, receiver: &Receiver, wrapper: &[&str]) -> Option<Running> {
    let broker = shared()?;
    broker.produce_numbers(topic, 0, 100);
    let (address, url, path) = (broker.address(), receiver.url(), binary::path());
    let mut words = [wrapper, &[path.as_str()]].concat();
    // The first batch may hold fewer records than may be in flight at once.
    words.extend(arguments(&address, topic, &url, &["--window", "sliding"]));
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    let running = Running::spawn(command);
    eventually("requests in flight", || receiver.begun() == AT_ONCE);
    Some(running)
}

/// Everything that was in flight was accepted, once, and is committed, and nothing else was sent.
#[track_caller]
fn drained(topic: &str, receiver: &Receiver) {
    assert_eq!((receiver.begun(), receiver.accepted().len()), (AT_ONCE, AT_ONCE));
    assert_eq!(committed(shared().unwrap(), topic), AT_ONCE as i64);
}

#[test]
fn a_signal_that_comes_twice_at_once_drains() {
    let receiver = slow(Duration::from_millis(1_500));
    let Some(running) = in_flight("signal-twice", &receiver, &[]) else { return };
    running.signal("TERM");
    running.signal("INT");
    running.signal("TERM");
    running.wait().expect(0).saying("finishing what is in flight");
    drained("signal-twice", &receiver);
}

#[test]
fn timeout_drains_although_it_signals_process_and_group() {
    let receiver = slow(Duration::from_millis(1_500));
    let Some(running) = in_flight("signal-timeout", &receiver, &["timeout", "60"]) else { return };
    // What it is told it passes on, to its child and then to its group.
    running.signal("TERM");
    running.wait().expect(0).saying("finishing what is in flight");
    drained("signal-timeout", &receiver);
}

#[test]
fn a_second_signal_later_ends_at_once() {
    let receiver = Receiver::start(|_| Reply::Silence);
    let Some(running) = in_flight("signal-later", &receiver, &[]) else { return };
    running.signal("TERM");
    std::thread::sleep(Duration::from_millis(1_200)); // a person who waited for a second
    running.signal("TERM");
    running.wait_for(Duration::from_secs(5)).expect(1).saying("a second signal: ending at once");
    assert_eq!(committed(shared().unwrap(), "signal-later"), 0);
}

#[test]
fn a_closed_terminal_drains_and_a_later_signal_does_not_cut_that_short() {
    let receiver = slow(Duration::from_millis(2_500));
    let Some(running) = in_flight("signal-hup", &receiver, &[]) else { return };
    running.signal("HUP");
    std::thread::sleep(Duration::from_millis(1_200)); // a supervisor that notices later
    running.signal("TERM");
    running.wait().expect(0).saying("finishing what is in flight");
    drained("signal-hup", &receiver);
}

#[test]
fn nohup_goes_on_when_the_terminal_is_closed() {
    let receiver = slow(Duration::from_millis(300));
    let ignoring = ["bash", "-c", r#"trap '' HUP; exec "$0" "$@""#];
    let Some(running) = in_flight("signal-nohup", &receiver, &ignoring) else { return };
    running.signal("HUP");
    eventually("all records", || receiver.accepted().len() == 100);
    running.signal("TERM");
    running.wait().expect(0);
    assert_eq!(committed(shared().unwrap(), "signal-nohup"), 100);
}

/// A broker that takes connections and says nothing: the client is in its very first request.
#[test]
fn a_signal_during_the_first_connection_ends_the_run() {
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = broker.local_addr().unwrap().to_string();
    for name in ["TERM", hang_up()] {
        let running = binary::start(&arguments(&address, "t", "http://127.0.0.1:1/", &[]));
        let _connection = broker.accept().unwrap();
        running.signal(name);
        let signalled = Instant::now();
        running.wait_for(Duration::from_secs(20)).expect(0);
        println!("SIGNAL {name} during the first connection: ended after {:.1?}", signalled.elapsed());
    }
}

#[test]
fn a_signal_before_any_broker_is_reached_ends_the_run() {
    let port = crate::support::broker::free_port();
    let address = format!("127.0.0.1:{port}");
    let receiver = Receiver::accepting();
    let running = binary::start(&arguments(&address, "t", &receiver.url(), &["-v"]));
    // Signals are watched once it has taken its handlers; until then they end it, as they do any process.
    eventually("handlers", || watches(running.pid(), 15));
    running.signal("INT");
    running.wait_for(Duration::from_secs(20)).expect(0);
}

/// SIGHUP; where these tests were started with it ignored (by `nohup`, say), so that the binary leaves it alone,
/// SIGTERM.
fn hang_up() -> &'static str {
    let ignored = signals_of(std::process::id(), "SigIgn:") & 1 == 1;
    if ignored { "TERM" } else { "HUP" }
}

/// Whether a process has a handler for a signal.
fn watches(pid: u32, signal: u32) -> bool {
    signals_of(pid, "SigCgt:") >> (signal - 1) & 1 == 1
}

/// The mask of signals that stands in a line of a process's status.
fn signals_of(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|text| text.strip_prefix(line)).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).unwrap_or(0)
}

#[test]
fn signals_of_all_kinds_at_once_drain() {
    let receiver = slow(Duration::from_millis(1_500));
    let Some(running) = in_flight("signal-kinds", &receiver, &[]) else { return };
    let kill = format!("for s in HUP INT TERM HUP TERM INT; do kill -$s {}; done", running.pid());
    assert!(Command::new("bash").args(["-c", &kill]).status().unwrap().success());
    running.wait_for(LONG).expect(0);
    drained("signal-kinds", &receiver);
}

#[test]
fn a_run_that_has_nothing_to_do_ends_soon() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("signal-idle", 0, 1);
    let receiver = Receiver::accepting();
    let running = start(broker, "signal-idle", &receiver.url(), &[]);
    eventually("the only record", || receiver.accepted().len() == 1);
    running.signal(hang_up());
    running.wait_for(Duration::from_secs(10)).expect(0);
}
