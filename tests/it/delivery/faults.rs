//! Receivers that refuse, stall, cut, flood and lie; and dead letters with and without room.

use crate::delivery::{all_of, arguments, committed, duplicates, run, shared, start};
use crate::support::binary::Running;
use crate::support::folder::Folder;
use crate::support::receiver::{Receiver, Reply, Request};
use crate::support::{binary, eventually};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// Short waits, so that a test does not take as long as an outage.
const QUICK: [&str; 5] = ["--until-end", "--backoff", "5ms..50ms", "--timeout", "1s"];

/// Delivers ten records to a receiver that misbehaves on each record's first attempt, and says how long it took.
fn recovers(topic: &str, fault: Reply) -> Duration {
    let Some(broker) = shared() else { return Duration::ZERO };
    broker.produce_numbers(topic, 0, 10);
    let misbehave =
        move |request: &Request| if request.earlier == 0 { fault.clone() } else { Reply::Status(204) };
    let receiver = Receiver::start(misbehave);
    let began = Instant::now();
    run(broker, topic, &receiver.url(), &QUICK).expect(0);
    let took = began.elapsed();
    let twice = duplicates(&all_of(&receiver, 10));
    println!("FAULT {topic}: 1 run, lost 0, duplicates {twice}");
    assert_eq!(committed(broker, topic), 10);
    took
}

#[test]
fn failures_that_pass_are_ridden_out() {
    for status in [500, 503, 429, 408, 502, 301, 302, 401, 403, 404, 405, 407] {
        recovers(&format!("status-{status}"), Reply::Status(status));
    }
}

#[test]
fn a_receiver_that_answers_nothing_is_given_up_in_time() {
    let took = recovers("silence", Reply::Silence);
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn a_receiver_that_drips_is_given_up_in_time() {
    let drip = Reply::Drip(b"HTTP/1.1 200 OK\r\nX: y\r\n", Duration::from_millis(300));
    let took = recovers("drip", drip);
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn a_receiver_that_sends_a_gibibyte_is_cut_short() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("flood", 0, 10);
    let receiver = Receiver::start(|_| Reply::Flood);
    let began = Instant::now();
    run(broker, "flood", &receiver.url(), &QUICK).expect(0);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(receiver.begun(), 10, "what was read is enough to know that it was accepted");
}

#[test]
fn a_head_that_is_cut_is_no_answer() {
    recovers("cut", Reply::Raw(b"HTTP/1.1 200 OK\r\nX: y\r\n".to_vec()));
}

#[test]
fn garbage_is_no_answer() {
    recovers("closed", Reply::Raw(Vec::new()));
    recovers("garbage", Reply::Raw(b"\x00\xff\x13\x37 what?\r\n\r\n".to_vec()));
    recovers("interim-only", Reply::Raw(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()));
}

#[test]
fn an_answer_counts_once_its_status_is_clear() {
    let Some(broker) = shared() else { return };
    for (topic, answer) in [
        ("short", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".to_vec()),
        ("warning", b"HTTP/1.1 200 OK\r\nPHP Warning:  x in /a.php\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("endless-header", [b"HTTP/1.1 200 OK\r\nX: ", &[b'y'; 1 << 20][..]].concat()),
        ("many-headers", [b"HTTP/1.1 200 OK\r\n", &b"A: b\r\n".repeat(50_000)[..]].concat()),
    ] {
        broker.produce_numbers(topic, 0, 10);
        let receiver = Receiver::start(move |_| Reply::Raw(answer.clone()));
        // Long enough for a busy machine to read a megabyte of it.
        let patient = ["--until-end", "--timeout", "20s"];
        run(broker, topic, &receiver.url(), &patient).expect(0);
        assert_eq!((receiver.begun(), committed(broker, topic)), (10, 10), "{topic}: each is sent once");
    }
}

#[test]
fn an_interim_answer_is_skipped() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("interim", 0, 10);
    let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    let receiver = Receiver::start(|_| Reply::Raw(answer.to_vec()));
    run(broker, "interim", &receiver.url(), &QUICK).expect(0);
    assert_eq!(receiver.begun(), 10);
}

/// Ten records, the first answer being 429 with this `Retry-After`: how long until the second request.
fn wait_after(
    topic: &str,
    retry_after: impl Fn() -> String + Send + Sync + 'static,
    more: &[&str],
) -> Option<Duration> {
    let broker = shared()?;
    broker.produce_numbers(topic, 0, 10);
    let receiver = Receiver::start(move |request| match request.number {
        0 => Reply::With(429, vec![format!("Retry-After: {}", retry_after())], "slow down".into()),
        _ => Reply::Status(204),
    });
    let more = [&QUICK[..], &["--max-concurrency", "1"], more].concat();
    run(broker, topic, &receiver.url(), &more).expect(0).saying("slow down");
    all_of(&receiver, 10);
    let handled = receiver.handled();
    Some(handled[1].request.began - handled[0].ended)
}

#[test]
fn retry_after_is_honoured_in_all_its_forms() {
    let second = Duration::from_secs(1);
    let wait = |topic: &str, form: &'static str, more: &[&str]| wait_after(topic, || form.to_owned(), more);
    let Some(waited) = wait("retry-seconds", "1", &[]) else { return };
    assert!(waited >= second);
    // Far longer than the backoff, which is what counts then.
    assert!(wait("retry-nonsense", "soon", &[]).unwrap() < 30 * second);
    assert!(wait("retry-year", "31536000", &["--max-retry-after", "1s"]).unwrap() >= second);
    for (topic, form) in [
        ("retry-imf", "%a, %d %b %Y %T GMT"),
        ("retry-850", "%A, %d-%b-%y %T GMT"),
        ("retry-asctime", "%a %b %e %T %Y"),
    ] {
        // A date has whole seconds: four from now is at least three, and finding it out takes some of it.
        let in_a_while = move || {
            let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 4;
            let arguments = ["-u", "-d", &format!("@{at}"), &format!("+{form}")];
            let date = Command::new("date").env("LC_ALL", "C").args(arguments).output().unwrap();
            String::from_utf8(date.stdout).unwrap().trim().to_owned()
        };
        assert!(wait_after(topic, in_a_while, &[]).unwrap() >= second, "{form}");
    }
}

#[test]
fn the_first_two_hundred_answers_of_503_lose_nothing() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("storm", 0, 300);
    let receiver = Receiver::start(|r| Reply::Status(if r.number < 200 { 503 } else { 204 }));
    run(broker, "storm", &receiver.url(), &["--until-end", "--backoff", "1ms..5ms"]).expect(0);
    assert_eq!(duplicates(&all_of(&receiver, 300)), 0);
    println!("FAULT 503 for the first 200: 1 run, lost 0, duplicates 0");
}

#[test]
fn a_receiver_that_is_absent_is_waited_for_with_one_probe_at_a_time() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("absent", 0, 100);
    let port = crate::support::broker::free_port();
    let url = format!("http://127.0.0.1:{port}/hook");
    let running = start(broker, "absent", &url, &["--until-end", "--backoff", "50ms..200ms"]);
    eventually("the pause", || running.said().contains("pausing all sending"));
    let receiver = Receiver::start_at(port, |_| Reply::Status(204));
    running.wait().expect(0).saying("pausing all sending").saying("no connection").saying("accepts again");
    assert_eq!(duplicates(&all_of(&receiver, 100)), 0);
    println!("FAULT receiver absent: 1 run, lost 0, duplicates 0");
}

#[test]
fn https_is_spoken_only_to_who_can_prove_its_name() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("https", 0, 10);
    let more = [&QUICK[..], &["--patience", "500ms"]].concat();
    let plain = Receiver::accepting();
    let url = plain.url().replace("http:", "https:");
    run(broker, "https", &url, &more).expect(3).saying("pausing all sending");
    assert_eq!(plain.begun(), 0, "nothing of an event is sent without TLS");

    let (key, certificate) = (Scratch::new("key.pem"), Scratch::new("certificate.pem"));
    let port = crate::support::broker::free_port();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"])
        .args(["-keyout", key.path(), "-out", certificate.path()])
        .output()
        .unwrap();
    assert!(made.status.success());
    let mut server = Command::new("openssl");
    server.args(["s_server", "-quiet", "-accept", &port.to_string(), "-key", key.path()]);
    server.args(["-cert", certificate.path()]);
    let _server = Running::spawn(server);
    eventually("the TLS server", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let url = format!("https://localhost:{port}/hook");
    let ended = run(broker, "https", &url, &more).expect(3);
    ended.saying("no connection to https://localhost").saying("certificate");
    assert_eq!(committed(broker, "https"), 0);
}

#[test]
fn a_log_that_cannot_be_written_costs_no_delivery() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("unlogged", 0, 50);
    let receiver = Receiver::accepting();
    let (address, url) = (broker.address(), receiver.url());
    let mut command = Command::new("bash");
    command.args(["-c", r#"exec "$@" 2>/dev/full"#, "unlogged", &binary::path()]);
    command.args(arguments(&address, "unlogged", &url, &QUICK));
    Running::spawn(command).wait().expect(0);
    all_of(&receiver, 50);
    assert_eq!(committed(broker, "unlogged"), 50);
}

#[test]
fn a_destination_that_is_gone_ends_the_run() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("gone", 0, 10);
    let receiver = Receiver::start(|_| Reply::Status(410));
    run(broker, "gone", &receiver.url(), &QUICK).expect(3).saying("with status 410");
    assert_eq!(committed(broker, "gone"), 0);
}

#[test]
fn patience_comes_to_an_end() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("patience", 0, 10);
    let receiver = Receiver::start(|_| Reply::Status(503));
    let more = [&QUICK[..], &["--patience", "300ms"]].concat();
    run(broker, "patience", &receiver.url(), &more).expect(3).saying("--patience");
    assert_eq!(committed(broker, "patience"), 0);
}

/// Everything is accepted but one poison record.
fn with_poison() -> Receiver {
    Receiver::start(|request| match request.text() {
        "417" => Reply::With(400, vec![], "bad\nevent \"417\"".into()),
        _ => Reply::Status(204),
    })
}

#[test]
fn a_poison_record_without_dead_letters_stops_the_run_right_there() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("poison", 0, 1_000);
    let receiver = with_poison();
    let ended = run(broker, "poison", &receiver.url(), &["--until-end", "--batch-size", "100"]).expect(3);
    ended
        .saying("topic poison partition 0 offset 417 with status 400 (bad event \"417\")")
        .saying("--dead-letter");
    let at = committed(broker, "poison");
    assert!((400..=417).contains(&at), "committed to {at}");
}

/// A file in a folder of its own, gone at the end with whatever was laid beside it.
pub struct Scratch {
    path: String,
    _folder: Folder,
}

impl Scratch {
    pub fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        Self { path: folder.file(name), _folder: folder }
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(&self.path).unwrap_or_default().lines().map(Into::into).collect()
    }
}

#[test]
fn a_poison_record_goes_to_the_dead_letters_and_all_others_are_delivered() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("poison-kept", 0, 1_000);
    let receiver = with_poison();
    let letters = Scratch::new("kept.jsonl");
    let ended =
        run(broker, "poison-kept", &receiver.url(), &["--until-end", "--dead-letter", letters.path()]);
    ended.expect(0).saying("is in the dead letters");
    assert_eq!(receiver.accepted().len(), 999);
    assert_eq!(committed(broker, "poison-kept"), 1_000);
    let lines = letters.lines();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains(r#""offset":417"#) && lines[0].contains(r#""value":"417""#), "{}", lines[0]);
    assert!(lines[0].contains(r#""status":400,"reason":"bad event \"417\"","attempts":1"#), "{}", lines[0]);
}

#[test]
fn refused_records_are_dropped_only_by_name() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("poison-dropped", 0, 1_000);
    let receiver = with_poison();
    let ended = run(broker, "poison-dropped", &receiver.url(), &["--until-end", "--dead-letter", "drop"]);
    ended.expect(0).saying("offset 417 was dropped").saying("dropped 1");
    assert_eq!(committed(broker, "poison-dropped"), 1_000);
}

#[test]
fn dead_letters_without_room_stop_the_run_with_nothing_lost() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("full", 0, 200);
    let receiver = Receiver::start(|request| {
        Reply::Status(if request.text().parse::<usize>().is_ok_and(|n| n % 10 == 3) { 422 } else { 204 })
    });
    let letters = Scratch::new("full.jsonl");
    let more = ["--until-end", "--batch-size", "10", "--dead-letter", letters.path()];
    let (address, url) = (broker.address(), receiver.url());
    // A limit on the size of files stands in for a full disk: a write beyond it fails half-way.
    let mut command = Command::new("bash");
    command.args(["-c", r#"trap '' XFSZ; ulimit -f 1; exec "$@""#, "limited", &binary::path()]);
    command.args(arguments(&address, "full", &url, &more));
    Running::spawn(command).wait().expect(1).saying("can't be written").saying(letters.path());
    let lines = letters.lines();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.ends_with('}')), "{lines:?}");
    let at = usize::try_from(committed(broker, "full")).unwrap();
    assert!(at < 200 && lines.len() >= at / 10, "committed {at} with {} letters", lines.len());
    // With room again, all that was not committed comes again.
    run(broker, "full", &receiver.url(), &more).expect(0);
    assert_eq!(committed(broker, "full"), 200);
    let mut kept: Vec<usize> = letters.lines().iter().map(|line| offset(line)).collect();
    kept.sort_unstable();
    kept.dedup();
    assert_eq!(kept, (0..20).map(|n| n * 10 + 3).collect::<Vec<_>>());
    println!("FAULT dead letters full: 1 run, lost 0");
}

fn offset(line: &str) -> usize {
    let rest = line.split_once(r#""offset":"#).unwrap().1;
    rest.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn used_up_attempts_make_a_record_a_refused_one() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("stubborn", 0, 50);
    let receiver = Receiver::start(|request| Reply::Status(if request.text() == "7" { 500 } else { 204 }));
    let letters = Scratch::new("stubborn.jsonl");
    let more = [&QUICK[..], &["--max-attempts", "12", "--dead-letter", letters.path()]].concat();
    run(broker, "stubborn", &receiver.url(), &more).expect(0).saying("failed 10 times");
    assert_eq!(letters.lines().len(), 1);
    assert!(letters.lines()[0].contains(r#""attempts":12"#));
    assert_eq!(receiver.accepted().len(), 49);
}

#[test]
fn a_status_can_be_given_another_meaning() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("meaning", 0, 20);
    let receiver = Receiver::start(|request| match request.text() {
        "3" if request.earlier == 0 => Reply::Status(409),
        "5" => Reply::Status(302),
        _ => Reply::Status(204),
    });
    let more = [&QUICK[..], &["--on-status", "409=retry", "--on-status", "302=accept"]].concat();
    run(broker, "meaning", &receiver.url(), &more).expect(0);
    assert_eq!(committed(broker, "meaning"), 20);
    assert_eq!(receiver.begun(), 21);
}

#[test]
fn a_slow_receiver_is_never_given_more_than_n() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("slow", 0, 60);
    let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(100), 204));
    let running = start(broker, "slow", &receiver.url(), &["--until-end", "--max-concurrency", "5"]);
    eventually("all requests", || receiver.begun() == 60);
    running.wait().expect(0).saying("at most 5 at once");
    assert_eq!(receiver.most_in_flight(), 5);
}
