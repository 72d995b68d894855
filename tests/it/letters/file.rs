//! Dead letters in a file, and the way back.

use crate::letters::{Folder, letter, may_repeat, write};
use crate::support::binary;
use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply, Request};
use sluicegate::relay::dead_letter::{DeadLetter, line};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

fn letters(count: i64) -> Vec<DeadLetter> {
    (0..count).map(|number| letter(number, if number % 2 == 0 { 422 } else { 413 }, number as u64)).collect()
}

fn replay(file: &str, url: &str, more: &[&str]) -> binary::Ended {
    binary::run(&[&["replay", file, "--url", url], more].concat())
}

/// How often each body was accepted, as numbers.
fn accepted(receiver: &Receiver) -> BTreeMap<i64, usize> {
    let number = |body: Vec<u8>| std::str::from_utf8(&body).unwrap().parse().unwrap();
    receiver.accepted().into_iter().map(|(body, times)| (number(body), times)).collect()
}

#[test]
fn what_was_refused_is_sent_again_with_the_same_id_and_once() {
    let folder = Folder::new("once");
    let file = folder.file("dead.jsonl");
    write(&file, &letters(10));
    let receiver = Receiver::accepting();
    replay(&file, &receiver.url(), &["--forward-header", "trace"]).expect(0).saying("delivered 10");
    let ids: Vec<String> = receiver.handled().iter().map(|it| it.request.id().to_owned()).collect();
    assert!((0..10).all(|n| ids.contains(&format!("orders-0-{n}-{}", 1_700_000_000_000_i64 + n))), "{ids:?}");
    let first: Request = receiver.handled()[0].request.clone();
    assert_eq!((first.header("kafka-topic"), first.header("trace")), (Some("orders"), Some("on")));
    assert!(first.headers.iter().all(|(name, _)| !name.starts_with("sluicegate-error")));
    // Once is enough: what comes later is what the next time is for.
    write(&file, &[letter(77, 422, 0)]);
    replay(&file, &receiver.url(), &[]).expect(0).saying("resuming at line 11").saying("delivered 1 ");
    assert_eq!(accepted(&receiver).into_iter().filter(|(_, times)| *times == 1).count(), 11);
}

#[test]
fn a_dry_run_shows_what_would_be_sent_and_sends_nothing() {
    let folder = Folder::new("dry");
    let file = folder.file("dead.jsonl");
    write(&file, &letters(10));
    let receiver = Receiver::accepting();
    let only = ["--only", "status=422", "--since", "1970-01-01T00:00:04Z"];
    let shown = replay(&file, &receiver.url(), &[&["--dry-run"], &only[..]].concat()).expect(0).stdout;
    assert!(shown.contains("would send orders-0-4-1700000000004: "), "{shown}");
    let end = format!("3 would be sent to http://{}, 7 are left out\n", receiver.address);
    assert!(shown.ends_with(&end), "{shown}");
    assert_eq!((receiver.begun(), folder.0.join("dead.jsonl.replayed").exists()), (0, false));
    replay(&file, &receiver.url(), &only).expect(0).saying("delivered 3 ").saying("filtered 7");
    assert_eq!(accepted(&receiver).into_keys().collect::<Vec<_>>(), [4, 6, 8]);
    let rest = replay(&file, &receiver.url(), &[&["--dry-run"], &only[..]].concat()).expect(0).stdout;
    assert!(rest.starts_with("0 would be sent"), "{rest}");
    // What one selection left out is there for another.
    let other = ["--only", "reason~reason 3", "--only", "topic=orders"];
    replay(&file, &receiver.url(), &other)
        .expect(0)
        .saying("another command or selection")
        .saying("delivered 1 ");
    assert_eq!(accepted(&receiver).into_keys().collect::<Vec<_>>(), [3, 4, 6, 8]);
}

#[test]
fn what_is_refused_again_goes_to_other_dead_letters_under_its_origin() {
    let folder = Folder::new("again");
    let (file, again) = (folder.file("dead.jsonl"), folder.file("again.jsonl"));
    write(&file, &letters(4));
    let receiver = Receiver::start(|request| {
        let reason = vec![];
        if request.text() == "2" { Reply::With(400, reason, "still not".into()) } else { Reply::Status(204) }
    });
    replay(&file, &receiver.url(), &["--dead-letter", &file]).expect(2).saying("is the file that is read");
    let stopped = replay(&file, &receiver.url(), &["--order", "key"]).expect(3);
    stopped.saying("400");
    replay(&file, &receiver.url(), &["--dead-letter", &again]).expect(0);
    let text = std::fs::read_to_string(&again).unwrap();
    let DeadLetter { record, rejection } = line::parse(text.trim_end().as_bytes()).unwrap();
    assert_eq!((record.partition().topic(), record.offset().0), ("orders", 2));
    assert_eq!((rejection.status, rejection.reason.contains("still not")), (Some(400), true));
    assert_eq!(record.headers().len(), 1);
    assert_eq!(accepted(&receiver).into_keys().collect::<Vec<_>>(), [0, 1, 3]);
}

#[test]
fn kill_9_in_the_middle_loses_nothing_and_repeats_little() {
    const COUNT: i64 = 1_500;
    const BATCH: usize = 50;
    const IN_FLIGHT: usize = 8;
    for window in ["batch", "sliding"] {
        let folder = Folder::new(&format!("killed-{window}"));
        let file = folder.file("dead.jsonl");
        write(&file, &letters(COUNT));
        let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(1), 204));
        let batch = BATCH.to_string();
        let url = receiver.url();
        let size = if window == "batch" { "--batch-size" } else { "--window-size" };
        let arguments = ["replay", &file, "--url", &url, "--window", window, size, &batch];
        let (kills, mut may) = (5, 0);
        for kill in 1..=kills {
            let running = binary::start(&arguments);
            eventually("some requests", || receiver.begun() >= 200 * kill);
            running.kill();
            may += may_repeat(&receiver, Instant::now(), IN_FLIGHT);
        }
        binary::run(&arguments).expect(0);
        let accepted = accepted(&receiver);
        assert_eq!(accepted.len(), COUNT as usize, "nothing is lost");
        let twice: usize = accepted.values().map(|times| times - 1).sum();
        println!("FAULT replay killed, {window}: {kills} kills, lost 0, duplicates {twice}");
        assert!(twice <= may, "{twice} duplicates, {may} at most");
    }
}

#[test]
fn a_line_that_is_no_letter_ends_the_run_behind_those_before_it() {
    let folder = Folder::new("broken");
    let file = folder.file("dead.jsonl");
    write(&file, &letters(3));
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str("{\"topic\":\"t\"}\n");
    std::fs::write(&file, text).unwrap();
    let receiver = Receiver::accepting();
    replay(&file, &receiver.url(), &[]).expect(1).saying("line 4 of").saying("'partition' is missing");
    assert_eq!(receiver.begun(), 3);
    replay(&file, &receiver.url(), &[]).expect(1).saying("resuming at line 4");
    assert_eq!(receiver.begun(), 3);
}

#[test]
fn half_a_line_at_the_end_is_left_out_and_told() {
    let folder = Folder::new("half");
    let file = folder.file("dead.jsonl");
    write(&file, &letters(3));
    let text = std::fs::read(&file).unwrap();
    std::fs::write(&file, &text[..text.len() - 5]).unwrap();
    let receiver = Receiver::accepting();
    replay(&file, &receiver.url(), &[]).expect(0).saying("line 3 of").saying("has no line break");
    assert_eq!(receiver.begun(), 2);
}

#[test]
fn tail_shows_a_letter_a_line() {
    let folder = Folder::new("tail");
    let file = folder.file("dead.jsonl");
    write(&file, &letters(4));
    let shown = binary::run(&["tail", &file, "--only", "status=413"]).expect(0).stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 2);
    let expected = "orders-0@1 413 \"reason 1\" key \"k\" value \"1\" (1 bytes)";
    assert!(lines[0].starts_with("1970-01-01T00:00:01") && lines[0].ends_with(expected), "{shown}");
    let json = binary::run(&["tail", &file, "--json"]).expect(0).stdout;
    assert_eq!(json, std::fs::read_to_string(&file).unwrap(), "as it stands in the file");
}
