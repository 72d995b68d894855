//! The log is for people and never in the way: whatever happens to stderr, records are delivered and committed, and
//! signals and the end come as always.

use crate::delivery::{all_of, arguments, committed, shared};
use crate::support::binary::{self, Running};
use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// More than a pipe holds, in lines of `-vv`.
const RECORDS: usize = 2_000;
/// What a pipe holds on Linux.
const PIPE_BYTES: usize = 64 << 10;

/// A process whose stderr is a pipe that is read only when asked to; killed when dropped.
struct Unread(Child);

impl Unread {
    fn spawn(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn terminate(&self) -> Instant {
        let kill = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        assert!(kill.unwrap().success());
        Instant::now()
    }

    /// Its exit code.
    fn ended(&mut self) -> Option<i32> {
        eventually("its end", || self.0.try_wait().unwrap().is_some());
        self.0.wait().unwrap().code()
    }

    /// All that it wrote and writes.
    fn read(&mut self) -> String {
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_stderr_that_nobody_reads_holds_nothing_up() {
    let Some(broker) = shared() else { return };
    let (address, receiver) = (broker.address(), Receiver::accepting());
    for format in ["text", "json"] {
        let topic = format!("unread-{format}");
        broker.produce_numbers(&topic, 0, RECORDS);
        let url = receiver.url();
        let mut command = Command::new(binary::path());
        command.args(arguments(&address, &topic, &url, &["-vv", "--log-format", format]));
        let mut unread = Unread::spawn(command);
        eventually("all commits", || committed(broker, &topic) == RECORDS as i64);
        let signalled = unread.terminate();
        assert_eq!(unread.ended(), Some(0));
        assert!(signalled.elapsed() < Duration::from_secs(10), "{:?}", signalled.elapsed());
        let said = unread.read();
        assert!(said.len() + 4_096 > PIPE_BYTES, "it was not full: {}", said.len());
    }
    all_of(&receiver, RECORDS);
}

#[test]
fn a_stderr_that_takes_nothing_holds_nothing_up() {
    let Some(broker) = shared() else { return };
    for (name, redirection) in [("full", "2>/dev/full"), ("closed", "2>&-"), ("gone", "2> >(exec true)")] {
        for format in ["text", "json"] {
            let topic = format!("stderr-{name}-{format}");
            broker.produce_numbers(&topic, 0, 50);
            let receiver = Receiver::accepting();
            let (address, url) = (broker.address(), receiver.url());
            let mut command = Command::new("bash");
            command.args(["-c", &format!(r#"exec "$@" {redirection}"#), "unlogged", &binary::path()]);
            command.args(arguments(&address, &topic, &url, &["-vv", "--log-format", format]));
            let running = Running::spawn(command);
            eventually("all commits", || committed(broker, &topic) == 50);
            running.signal("TERM");
            running.wait_for(Duration::from_secs(10)).expect(0);
            all_of(&receiver, 50);
        }
    }
}

#[test]
fn a_failed_run_ends_although_nobody_reads_why() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("unread-end", 0, RECORDS);
    let receiver = Receiver::start(|it| Reply::Status(if it.text() == "1500" { 422 } else { 204 }));
    let (address, url) = (broker.address(), receiver.url());
    let mut command = Command::new(binary::path());
    command.args(arguments(&address, "unread-end", &url, &["-vv", "--order", "partition"]));
    let mut unread = Unread::spawn(command);
    assert_eq!(unread.ended(), Some(3));
    assert_eq!(committed(broker, "unread-end"), 1_500);
}

#[test]
fn a_reader_that_comes_late_learns_how_many_lines_are_missing() {
    let Some(broker) = shared() else { return };
    // A record makes four lines; the queue and the pipe hold fewer.
    const MANY: usize = 6_000;
    broker.produce_numbers("late", 0, MANY);
    let receiver = Receiver::accepting();
    let (address, url) = (broker.address(), receiver.url());
    let mut command = Command::new(binary::path());
    command.args(arguments(&address, "late", &url, &["-vv", "--log-format", "json"]));
    let mut unread = Unread::spawn(command);
    eventually("all commits", || committed(broker, "late") == MANY as i64);
    unread.terminate();
    let said = unread.read();
    assert_eq!(unread.ended(), Some(0));
    assert!(said.contains("log lines dropped here: "), "{} lines", said.lines().count());
    assert!(said.contains("ended: delivered 6000"), "details have crowded it out");
    said.lines().for_each(|line| json(line));
}

/// Panics unless a line is an object of our log.
#[track_caller]
fn json(line: &str) {
    let message = line.split_once(r#","message":"#).and_then(|(_, rest)| rest.strip_suffix('}'));
    let message = message.and_then(sluicegate::text::json::string);
    assert!(line.starts_with(r#"{"time_ms":"#) && message.is_some(), "not JSON: {line}");
}

#[test]
fn every_line_of_a_json_log_is_json_to_the_very_last() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("json-end", 0, 10);
    // What receivers say ends up in messages.
    let odd = "\"quoted\" \\ \u{1}\u{1b}[31m\u{2028} é\r\n\u{fffd}";
    let receiver = Receiver::start(move |it| match it.text() {
        "7" => Reply::With(422, vec![], odd.into()),
        _ => Reply::Status(204),
    });
    let more = ["--until-end", "-vv", "--log-format", "json"];
    let ended = crate::delivery::run(broker, "json-end", &receiver.url(), &more).expect(3);
    ended.stderr.lines().for_each(|line| json(line));
    let place = r#""topic":"json-end","partition":0,"offset":"#;
    for fields in [
        format!(r#""level":"info","event":"first_delivered",{place}"#),
        format!(r#""level":"debug","event":"attempt",{place}7,"attempt":1,"status":422,"cause":"\"quoted\""#),
        format!(r#""level":"warn","event":"rejected",{place}7,"status":422,"attempt":1,"cause":"\"quoted\""#),
        r#""event":"ended","delivered":"#.to_owned(),
    ] {
        assert!(ended.stderr.contains(&fields), "{fields}:\n{}", ended.stderr);
    }
    assert!(
        ended
            .stderr
            .lines()
            .any(|line| line.contains(r#""event":"attempt""#) && line.contains(r#","duration_ms":"#))
    );
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.contains(r#""level":"error""#) && last.contains("--dead-letter"), "{last}");
}
