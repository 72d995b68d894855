//! Files that were renamed because they were full: sent and shown with the one that is written, each letter once.

use crate::letters::{Folder, letter, may_repeat, write};
use crate::support::binary;
use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply};
use sluicegate::relay::dead_letter::file::DeadLetterFile;
use sluicegate::relay::dead_letter::{DeadLetters, line};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Puts these numbers into the file, which is renamed first.
fn rotate(file: &str, numbers: std::ops::Range<i64>) {
    let letters: Vec<_> = numbers.map(|number| letter(number, 422, 0)).collect();
    DeadLetterFile::open(file).unwrap().with_max_size(1).put(&letters).unwrap();
}

fn put(file: &str, numbers: std::ops::Range<i64>) {
    write(file, &numbers.map(|number| letter(number, 422, 0)).collect::<Vec<_>>());
}

fn replay(file: &str, url: &str, more: &[&str]) -> binary::Ended {
    binary::run(&[&["replay", file, "--url", url], more].concat())
}

fn number(body: &[u8]) -> i64 {
    std::str::from_utf8(body).unwrap().parse().unwrap()
}

/// How often each number was accepted.
fn accepted(receiver: &Receiver) -> BTreeMap<i64, usize> {
    receiver.accepted().into_iter().map(|(body, times)| (number(&body), times)).collect()
}

fn once(numbers: std::ops::Range<i64>) -> BTreeMap<i64, usize> {
    numbers.map(|number| (number, 1)).collect()
}

/// The numbers that `tail` shows.
fn shown(file: &str) -> Vec<i64> {
    let json = binary::run(&["tail", file, "--json"]).expect(0).stdout;
    json.lines().map(|text| line::parse(text.as_bytes()).unwrap().record.offset().0).collect()
}

#[test]
fn a_rotation_after_a_replay_makes_nothing_skipped_and_nothing_sent_twice() {
    let folder = Folder::new("rotated");
    let (file, first) = (folder.file("dead.jsonl"), folder.file("dead.jsonl.1"));
    let receiver = Receiver::accepting();
    let url = receiver.url();
    put(&file, 0..5);
    replay(&file, &url, &[]).expect(0).saying("delivered 5 ");
    put(&file, 5..9);
    rotate(&file, 9..17);
    assert_eq!((shown(&first), shown(&file)), ((0..9).collect(), (0..17).collect()));
    let dry = replay(&file, &url, &["--dry-run", "--order", "partition"]).expect(0).stdout;
    assert!(dry.contains("12 would be sent to"), "{dry}");
    replay(&first, &url, &[]).expect(0).saying("resuming at line 6 of").saying("delivered 4 ");
    assert_eq!(accepted(&receiver), once(0..9));
    replay(&file, &url, &[]).expect(0).saying("delivered 8 ");
    assert_eq!(accepted(&receiver), once(0..17));
    rotate(&file, 17..20);
    for (file, expected) in [(&file, 3), (&file, 0), (&first, 0), (&folder.file("dead.jsonl.2"), 0)] {
        replay(file, &url, &[]).expect(0).saying(&format!("delivered {expected} "));
    }
    assert_eq!(accepted(&receiver), once(0..20));
}

#[test]
fn a_rotation_while_a_replay_runs_changes_nothing() {
    const COUNT: i64 = 300;
    let folder = Folder::new("rotated-meanwhile");
    let file = folder.file("dead.jsonl");
    put(&file, 0..100);
    rotate(&file, 100..COUNT);
    let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(2), 204));
    let url = receiver.url();
    let arguments = ["replay", &file, "--url", &url, "--batch-size", "10"];
    let running = binary::start(&arguments);
    eventually("some of the first file", || receiver.begun() >= 30);
    rotate(&file, COUNT..COUNT + 5);
    eventually("some of the second file", || receiver.begun() >= 150);
    rotate(&file, COUNT + 5..COUNT + 9);
    running.wait().expect(0).saying(&format!("delivered {COUNT} "));
    assert_eq!(accepted(&receiver), once(0..COUNT), "what came later is for the next time");
    binary::run(&arguments).expect(0).saying("delivered 9 ");
    assert_eq!(accepted(&receiver), once(0..COUNT + 9));
}

#[test]
fn letters_that_are_put_while_they_are_replayed_are_each_sent_once() {
    const COUNT: i64 = 600;
    let folder = Folder::new("rotated-race");
    let file = folder.file("dead.jsonl");
    put(&file, 0..1);
    let receiver = Receiver::accepting();
    let url = receiver.url();
    let writer = {
        let file = file.clone();
        std::thread::spawn(move || {
            let mut dead = DeadLetterFile::open(&file).unwrap().with_max_size(700);
            (1..COUNT).for_each(|number| dead.put(&[letter(number, 422, 0)]).unwrap());
        })
    };
    while !writer.is_finished() {
        replay(&file, &url, &[]).expect(0);
    }
    writer.join().unwrap();
    replay(&file, &url, &[]).expect(0);
    assert_eq!(accepted(&receiver), once(0..COUNT));
}

#[test]
fn kills_and_rotations_in_turn_lose_nothing() {
    const IN_FLIGHT: usize = 8;
    let folder = Folder::new("rotated-killed");
    let file = folder.file("dead.jsonl");
    put(&file, 0..100);
    let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(1), 204));
    let url = receiver.url();
    let arguments = ["replay", &file, "--url", &url, "--batch-size", "10"];
    let (kills, mut may) = (4, 0);
    for kill in 1..=kills {
        let running = binary::start(&arguments);
        eventually("some requests", || receiver.begun() >= 60 * kill);
        let killed;
        if kill % 2 == 0 {
            rotate(&file, 100 * kill as i64..100 * (kill as i64 + 1));
            running.kill();
            killed = Instant::now();
        } else {
            running.kill();
            killed = Instant::now();
            rotate(&file, 100 * kill as i64..100 * (kill as i64 + 1));
        }
        may += may_repeat(&receiver, killed, IN_FLIGHT);
    }
    binary::run(&arguments).expect(0);
    let accepted = accepted(&receiver);
    assert_eq!(accepted.len(), 100 * (kills + 1), "nothing is lost");
    let twice: usize = accepted.values().map(|times| times - 1).sum();
    println!("FAULT replay killed and files rotated: {kills} kills, lost 0, duplicates {twice}");
    assert!(twice <= may, "{twice} duplicates, {may} at most");
    binary::run(&arguments).expect(0).saying("delivered 0 ");
}

#[test]
fn a_record_of_progress_is_never_applied_to_another_file() {
    let folder = Folder::new("rotated-by-others");
    let file = folder.file("dead.jsonl");
    put(&file, 0..6);
    let receiver = Receiver::accepting();
    replay(&file, &receiver.url(), &[]).expect(0);
    // As a power cut between two renames would leave it, or whoever moves files about.
    std::fs::remove_file(&file).unwrap();
    put(&file, 10..30);
    replay(&file, &receiver.url(), &[]).expect(0).saying("is about another file").saying("delivered 20 ");
    // Logrotate gives the newest the lowest number.
    for (from, to) in [(".1", ".2"), ("", ".1")] {
        let _ = std::fs::rename(format!("{file}{from}"), format!("{file}{to}"));
    }
    put(&file, 30..33);
    replay(&file, &receiver.url(), &[]).expect(0).saying("delivered 3 ");
    let accepted = accepted(&receiver);
    assert_eq!((accepted.len(), accepted.values().max()), (29, Some(&1)));
}

#[test]
fn what_is_not_ours_beside_the_file_is_skipped_and_told() {
    let folder = Folder::new("rotated-foreign");
    let file = folder.file("dead.jsonl");
    put(&file, 0..2);
    rotate(&file, 2..4);
    rotate(&file, 4..6);
    let victim = folder.file("victim");
    std::fs::rename(folder.file("dead.jsonl.2"), &victim).unwrap();
    std::os::unix::fs::symlink(&victim, folder.file("dead.jsonl.2")).unwrap();
    std::fs::write(folder.file("dead.jsonl.7"), "notes of somebody else\n").unwrap();
    std::fs::create_dir(folder.file("dead.jsonl.9")).unwrap();
    for name in ["dead.jsonl.07", "dead.jsonl.bak", "dead.jsonl.-1"] {
        std::fs::write(folder.file(name), "no letters, and not asked for").unwrap();
    }
    let receiver = Receiver::accepting();
    let ended = replay(&file, &receiver.url(), &[]).expect(0);
    let ended =
        ended.saying("dead.jsonl.2 is skipped: it is a symbolic link").saying("dead.jsonl.9 is skipped");
    ended.saying("dead.jsonl.7 is skipped: it is no file of dead letters").saying("delivered 4 ");
    assert_eq!(accepted(&receiver).into_keys().collect::<Vec<_>>(), [0, 1, 4, 5]);
    // The next one is numbered behind all of them.
    rotate(&file, 6..7);
    assert!(Path::new(&folder.file("dead.jsonl.10")).exists());
    for (name, why) in [("dead.jsonl.7", "no file of dead letters"), ("dead.jsonl.9", "is a folder")] {
        replay(&folder.file(name), &receiver.url(), &[]).expect(2).saying(why);
        binary::run(&["tail", &folder.file(name)]).expect(2).saying(why);
    }
}

#[test]
fn a_file_that_is_removed_meanwhile_is_told() {
    let folder = Folder::new("rotated-removed");
    let file = folder.file("dead.jsonl");
    put(&file, 0..30);
    rotate(&file, 30..60);
    let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(20), 204));
    let running = binary::start(&["replay", &file, "--url", &receiver.url(), "--order", "partition"]);
    eventually("some of the first file", || receiver.begun() >= 2);
    std::fs::remove_file(&file).unwrap();
    running
        .wait()
        .expect(0)
        .saying("dead.jsonl can't be read and is skipped: it was removed")
        .saying("delivered 30 ");
}

#[test]
fn a_file_with_two_names_is_sent_once() {
    let folder = Folder::new("rotated-twice");
    let file = folder.file("dead.jsonl");
    put(&file, 0..4);
    std::fs::hard_link(&file, folder.file("dead.jsonl.1")).unwrap();
    let receiver = Receiver::accepting();
    replay(&file, &receiver.url(), &[]).expect(0).saying("delivered 4 ");
    assert_eq!(accepted(&receiver), once(0..4));
}

#[test]
fn a_file_that_is_emptied_meanwhile_is_forgotten() {
    let folder = Folder::new("rotated-emptied");
    let file = folder.file("dead.jsonl");
    put(&file, 0..100);
    let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(5), 204));
    let url = receiver.url();
    let running = binary::start(&["replay", &file, "--url", &url, "--batch-size", "10"]);
    eventually("some requests", || receiver.begun() >= 30);
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(0).unwrap();
    put(&file, 100..103);
    running.wait().expect(0);
    replay(&file, &url, &[]).expect(0).saying("delivered 3 ");
    let accepted = accepted(&receiver);
    assert!((100..103).all(|number| accepted[&number] == 1), "{accepted:?}");
}

#[test]
fn refused_letters_go_to_no_file_that_is_read() {
    let folder = Folder::new("rotated-loop");
    let file = folder.file("dead.jsonl");
    put(&file, 0..2);
    rotate(&file, 2..4);
    let receiver = Receiver::start(|_| Reply::Status(422));
    for dead in ["dead.jsonl", "dead.jsonl.1", "dead.jsonl.2"] {
        let dead = folder.file(dead);
        replay(&file, &receiver.url(), &["--dead-letter", &dead])
            .expect(2)
            .saying("is the file that is read");
    }
    let first = folder.file("dead.jsonl.1");
    replay(&first, &receiver.url(), &["--dead-letter", &file]).expect(0).saying("dead letters 2");
    let shown = shown(&file);
    let (before, again) = shown.split_at(4);
    assert_eq!(before, [0, 1, 2, 3]);
    // Both were on their way at once.
    let mut again = again.to_vec();
    again.sort_unstable();
    assert_eq!(again, [0, 1]);
}

#[test]
fn the_order_of_one_partition_holds_from_file_to_file() {
    let folder = Folder::new("rotated-order");
    let file = folder.file("dead.jsonl");
    put(&file, 0..3);
    (1..4).for_each(|n| rotate(&file, 3 * n..3 * (n + 1)));
    for order in ["partition", "key"] {
        // The last letter of each file fails at first.
        let receiver = Receiver::start(|request| {
            Reply::Status(if number(&request.body) % 3 == 2 && request.earlier < 2 { 500 } else { 204 })
        });
        let _ = std::fs::remove_file(folder.file("dead.jsonl.replayed"));
        replay(&file, &receiver.url(), &["--order", order, "--backoff", "20ms..40ms"]).expect(0);
        let handled = receiver.handled();
        let numbers = handled.iter().filter(|it| it.accepted).map(|it| number(&it.request.body));
        assert_eq!(numbers.collect::<Vec<_>>(), (0..12).collect::<Vec<_>>(), "{order}");
    }
}
