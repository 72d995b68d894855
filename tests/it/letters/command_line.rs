//! `send`: lines through the gate, without Kafka.

use crate::letters::{Folder, may_repeat};
use crate::support::binary;
use crate::support::eventually;
use crate::support::output::fed;
use crate::support::receiver::{Receiver, Reply};
use std::process::Command;
use std::time::{Duration, Instant};

fn from_stdin(input: &[u8], arguments: &[&str]) -> (Option<i32>, String) {
    let output = fed(Command::new(binary::path()).args(arguments), input);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn lines_of_standard_input_are_delivered() {
    let receiver = Receiver::accepting();
    let url = format!("{}?key={{key}}", receiver.url());
    let (code, said) =
        from_stdin(b"a\tone\n\nb c\ttwo\xff\nlast", &["send", "-", "--url", &url, "--key-separator", "tab"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("delivered 4 ") && said.contains("progress is not saved"), "{said}");
    let accepted = receiver.accepted();
    assert!([&b"one"[..], b"", b"two\xff", b"last"].iter().all(|body| accepted[*body] == 1), "{accepted:?}");
    let requests: Vec<_> = receiver.handled().into_iter().map(|handled| handled.request).collect();
    let of = |body: &[u8]| requests.iter().find(|request| request.body == body).unwrap();
    assert!(of(b"two\xff").line.contains("key=b%20c"), "{}", of(b"two\xff").line);
    assert_eq!(of(b"last").header("kafka-offset"), Some("4"));
    assert!(of(b"one").id().starts_with("stdin-0-1-"), "{}", of(b"one").id());
    assert_ne!(of(b"one").id(), "stdin-0-1-0", "another input has other ids");
}

#[test]
fn no_input_is_nothing_to_do_and_a_refused_line_stops_it() {
    let receiver = Receiver::start(|request| match request.text() {
        "bad" => Reply::Status(400),
        _ => Reply::Status(204),
    });
    let url = receiver.url();
    assert_eq!(from_stdin(b"", &["send", "-", "--url", &url]).0, Some(0));
    assert_eq!(from_stdin(b"good\nbad\n", &["send", "-", "--url", &url]).0, Some(3));
    let folder = Folder::new("stdin");
    let dead = folder.file("dead.jsonl");
    let (code, said) = from_stdin(b"good\nbad\n", &["send", "-", "--url", &url, "--dead-letter", &dead]);
    assert_eq!(code, Some(0), "{said}");
    let shown = binary::run(&["tail", &dead]).expect(0).stdout;
    assert!(shown.contains(" stdin-0@2 400 ") && shown.contains("value \"bad\""), "{shown}");
}

#[test]
fn a_file_is_gone_on_with_after_a_kill_and_keeps_its_ids() {
    const COUNT: usize = 1_000;
    let folder = Folder::new("send");
    let file = folder.file("events.log");
    std::fs::write(&file, crate::support::broker::numbers(0, COUNT)).unwrap();
    let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(1), 204));
    let url = receiver.url();
    let arguments = ["send", &file, "--url", &url, "--batch-size", "20"];
    let running = binary::start(&arguments);
    let progress = || std::fs::metadata(folder.file("events.log.replayed")).is_ok_and(|it| it.len() > 0);
    eventually("some requests", || receiver.begun() >= 200 && progress());
    running.kill();
    let may = may_repeat(&receiver, Instant::now(), 8);
    binary::run(&arguments).expect(0).saying("resuming at line");
    let accepted = receiver.accepted();
    assert_eq!(accepted.len(), COUNT);
    assert!(accepted.values().map(|times| times - 1).sum::<usize>() <= may);
    let handled = receiver.handled();
    let ids: std::collections::HashSet<&str> = handled.iter().map(|handled| handled.request.id()).collect();
    assert_eq!(ids.len(), COUNT);
}

#[test]
fn a_last_line_without_a_line_break_is_sent_once() {
    let folder = Folder::new("send-unfinished");
    let file = folder.file("events.log");
    let receiver = Receiver::accepting();
    let url = receiver.url();
    let send = |text: &str| {
        std::fs::write(&file, text).unwrap();
        binary::run(&["send", &file, "--url", &url]).expect(0)
    };
    send("one\ntwo").saying("delivered 2 ");
    send("one\ntwo").saying("delivered 0 ");
    send("one\ntwo\nthree\n").saying("delivered 1 ");
    send("one\ntwo\nthree\n\nfo").saying("delivered 2 ");
    send("one\ntwo\nthree\n\nfour\n").saying("line 5 was continued").saying("delivered 1 ");
    let accepted = receiver.accepted();
    assert!(
        ["one", "two", "three", "", "fo", "ur"].iter().all(|text| accepted[text.as_bytes()] == 1),
        "{accepted:?}"
    );
}
