//! `receive` as people use it: from another process, with `send`.

use crate::support::binary;
use crate::support::folder::Folder;
use crate::support::program::Program;
use std::path::Path;
use std::process::Command;

fn receive(more: &[&str]) -> (Program, String) {
    let mut command = Command::new(binary::path());
    command.args(["receive", "--listen", "127.0.0.1:0"]).args(more);
    let program = Program::start(command);
    let url = program.expect("listening on ");
    (program, url)
}

/// Ends it, and returns its lines and, by name, what it counted.
fn end(program: Program) -> (Vec<String>, impl Fn(&str) -> usize) {
    assert!(Command::new("kill").args(["-TERM", &program.pid().to_string()]).status().unwrap().success());
    let mut lines: Vec<String> = program.close().into_iter().map(|line| line.text).collect();
    let totals = lines.pop().expect("totals");
    let count = move |name: &str| {
        let after = totals.split_once(&format!("{name} ")).unwrap_or_else(|| panic!("{name}: {totals}")).1;
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    (lines, count)
}

/// Sends the lines of a file; again, if it was sent before.
fn send(file: &str, url: &str, more: &[&str]) -> binary::Ended {
    for entry in std::fs::read_dir(Path::new(file).parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap() != file && path.to_str().unwrap().starts_with(file) {
            std::fs::remove_file(path).unwrap();
        }
    }
    binary::run(&[&["send", file, "--url", url], more].concat())
}

#[test]
fn each_event_is_a_line_and_a_second_delivery_a_duplicate() {
    let folder = Folder::new("plain");
    let file = folder.write("orders", "{\"n\":0}\n\u{1b}[2J\n{\"n\":2}\n");
    let (program, url) = receive(&[]);
    send(&file, &url, &["--max-concurrency", "1"]).expect(0);
    send(&file, &url, &["--max-concurrency", "1"]).expect(0);
    let (lines, count) = end(program);
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert!(
        lines[0].contains(" 204 POST /hook orders-0-1-") && lines[0].ends_with(r#""{\"n\":0}" (7 bytes)"#),
        "{lines:?}"
    );
    assert!(lines[1].contains(r#""\u{1b}[2J" (4 bytes)"#), "{lines:?}");
    assert!(lines[3..].iter().all(|line| line.ends_with(", duplicate")), "{lines:?}");
    assert_eq!((count("accepted"), count("duplicates"), count("at most")), (6, 3, 1));
}

#[test]
fn more_than_the_capacity_is_turned_away_and_comes_again() {
    let folder = Folder::new("capacity");
    let file = folder.write("orders", &"x\n".repeat(8));
    let (program, url) = receive(&["--capacity", "1", "--delay", "50ms"]);
    send(&file, &url, &["--max-concurrency", "4", "--backoff", "10ms..50ms"]).expect(0);
    let (lines, count) = end(program);
    assert!(lines.iter().any(|line| line.contains(" 429 ") && line.ends_with("--capacity")), "{lines:?}");
    assert!(count("over capacity") >= 1 && count("at most") > 1);
    assert_eq!((count("accepted"), count("duplicates")), (8, 0));
}

#[test]
fn statuses_come_in_turn() {
    let folder = Folder::new("status");
    let file = folder.write("orders", "a\nb\n");
    let (program, url) = receive(&["--status", "500,202"]);
    send(&file, &url, &["--backoff", "10ms..50ms"]).expect(0);
    let (_, count) = end(program);
    assert_eq!((count("accepted"), count("answered otherwise")), (2, 2));
}

#[test]
#[cfg(feature = "signing")]
fn signatures_are_verified() {
    let folder = Folder::new("signed");
    let shared = folder.write("shared", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    let private = folder.write("private", "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=\n");
    let file = folder.write("orders", "a\nb\n");
    for secret in [&shared, &private] {
        let (program, url) = receive(&["--verify", secret]);
        send(&file, &url, &["--signing-secret-file", secret]).expect(0);
        let (lines, count) = end(program);
        assert!(lines.iter().all(|line| line.ends_with(", signature valid")), "{lines:?}");
        assert_eq!((count("accepted"), count("signature not valid")), (2, 0));
    }
    let (program, url) = receive(&["--verify", &shared]);
    let patience = ["--patience", "300ms", "--backoff", "10ms..50ms"];
    send(&file, &url, &[&["--signing-secret-file", &*private], &patience[..]].concat()).expect(3);
    send(&file, &url, &patience).expect(3);
    let (lines, count) = end(program);
    for reason in ["no signature matches the secret", "it is not signed"] {
        assert!(lines.iter().any(|line| line.contains(" 401 ") && line.contains(reason)), "{lines:?}");
    }
    assert!(count("signature not valid") >= 2);
    assert_eq!(count("accepted"), 0);
}

#[test]
fn what_it_cannot_do_is_told() {
    let refused = |more: &[&str], text: &str| {
        binary::run(&[&["receive"], more].concat()).expect(2).saying(text);
    };
    refused(&["--status", "99"], "'99' is not a status from 200 to 599");
    refused(&["--capacity", "0"], "--capacity: it can't be 0");
    refused(&["--listen", "here"], "'here' is not an address");
    refused(&["--verify", "/no/such/file"], "--verify: can't read /no/such/file");
    refused(&["--url", "http://h/"], "--url is not a flag of receive");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    binary::run(&["receive", "--listen", &address]).expect(1).saying("Choose another address with --listen");
}

#[test]
fn the_first_minutes_tell_what_happens() {
    let folder = Folder::new("minutes");
    let file = folder.write("orders", "a\nb\n");
    let (program, url) = receive(&[]);
    let version = env!("CARGO_PKG_VERSION");
    send(&file, &url, &["--max-concurrency", "3", "-v"])
        .expect(0)
        .saying(&format!("sluicegate {version}: lines of {file} to http://127.0.0.1:"))
        .saying("batches of up to 500 records, at most 3 requests in flight; the first rejected record ends the run")
        .saying("the first event is delivered: topic orders partition 0 offset ")
        .saying("topic orders partition 0 offset 2: attempt 1, after ")
        .saying(": status 204");
    let quiet = send(&file, &url, &["--dead-letter", "drop", "--window", "sliding"]).expect(0);
    let quiet = quiet.saying("a sliding window of 1000 records").saying("rejected records are dropped");
    assert!(!quiet.stderr.contains("attempt 1, after"), "{}", quiet.stderr);
    let _ = end(program);
}

#[test]
fn a_flag_that_can_have_no_effect_is_told() {
    let folder = Folder::new("effect");
    let file = folder.write("orders", "a\n");
    let (program, url) = receive(&[]);
    send(&file, &url, &["--forward-header", "trace"]).expect(0).saying("--forward-header forwards nothing");
    let _ = end(program);
}
