//! Files of dead letters that a power cut, a full disk or somebody's editor left odd lines in: those are skipped and
//! told, and everything else is sent once.

use crate::letters::{Folder, letter, write};
use crate::support::binary::{self, Running};
use crate::support::receiver::Receiver;
use sluicegate::relay::dead_letter::line;
use std::io::{Seek, SeekFrom, Write};
use std::process::Command;

/// The line of a letter, with its line break.
fn text(number: i64) -> String {
    let mut text = String::new();
    line::write(&mut text, &letter(number, 422, 0));
    text
}

fn replay(file: &str, url: &str, more: &[&str]) -> binary::Ended {
    binary::run(&[&["replay", file, "--url", url], more].concat())
}

fn accepted(receiver: &Receiver) -> Vec<i64> {
    let number = |body: &Vec<u8>| std::str::from_utf8(body).unwrap().parse().unwrap();
    let accepted = receiver.accepted();
    assert!(accepted.values().all(|times| *times == 1), "{accepted:?}");
    let mut numbers: Vec<i64> = accepted.keys().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn torn_and_zeroed_lines_anywhere_are_skipped_and_told_once() {
    let folder = Folder::new("torn");
    let file = folder.file("dead.jsonl");
    let half = &text(100)[..60];
    let bytes = [
        text(0).as_bytes(),
        half.as_bytes(),
        b"\n",
        text(1).as_bytes(),
        // Half a line to which the next was appended: that one is whole.
        half.as_bytes(),
        text(2).as_bytes(),
        &[0; 5_000],
        text(3).as_bytes(),
        &[0; 70],
        b"\n",
        b"\x1b[2J\xff not ours\n",
        // A page of a line is lost.
        half.as_bytes(),
        &[0; 100],
        &text(100).as_bytes()[80..],
        text(4).as_bytes(),
        half.as_bytes(),
        b"\n",
    ]
    .concat();
    std::fs::write(&file, bytes).unwrap();
    let shown = binary::run(&["tail", &file, "--json"]).expect(0);
    assert_eq!(shown.stdout, (0..5).map(text).collect::<String>());
    let receiver = Receiver::accepting();
    let ended = replay(&file, &receiver.url(), &[]).expect(0).saying("delivered 5 ");
    assert_eq!(accepted(&receiver), [0, 1, 2, 3, 4]);
    for said in [&shown.stderr, &ended.stderr] {
        for told in [
            format!("line 2 of {file} is no dead letter and is skipped (60 bytes, \"{{\\\"topic\\\""),
            format!("line 4 of {file} begins with damage, which is skipped (60 bytes, "),
            format!("line 5 of {file} begins with damage, which is skipped (5000 bytes, 5000 of them NUL)"),
            format!("line 6 of {file} is no dead letter and is skipped (70 bytes, 70 of them NUL)"),
            format!(
                "line 7 of {file} is no dead letter and is skipped (14 bytes, \"\\u{{1b}}[2J\\xff not ours\")"
            ),
            format!("line 8 of {file} is no dead letter and is skipped ("),
            format!("line 10 of {file} is no dead letter and is skipped ("),
        ] {
            assert_eq!(said.matches(&told).count(), 1, "{told}\n{said}");
        }
    }
    // What was skipped at the end is behind the position too.
    write(&file, &[letter(5, 422, 0)]);
    let again =
        replay(&file, &receiver.url(), &[]).expect(0).saying("resuming at line 11").saying("delivered 1 ");
    assert!(!again.stderr.contains("is skipped"), "{}", again.stderr);
    assert_eq!(accepted(&receiver), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_file_of_damage_alone_is_passed_over() {
    let folder = Folder::new("nothing-sound");
    let file = folder.file("dead.jsonl");
    std::fs::write(&file, "\0\0\0\n\0\n").unwrap();
    let receiver = Receiver::accepting();
    replay(&file, &receiver.url(), &[]).expect(0).saying("line 2 of");
    replay(&file, &receiver.url(), &[]).expect(0).saying("resuming at line 3");
}

#[test]
fn no_line_however_long_takes_more_memory_than_a_letter() {
    let folder = Folder::new("zeros");
    let file = folder.file("dead.jsonl");
    let mut made = std::fs::File::create(&file).unwrap();
    made.write_all(text(0).as_bytes()).unwrap();
    // A hole: what a power cut leaves of a file whose length was written before its contents.
    made.seek(SeekFrom::Current(160 << 20)).unwrap();
    made.write_all(format!("\n{}", text(1)).as_bytes()).unwrap();
    // A long line that is no letter is not kept either once it is known to be damaged.
    for _ in 0..160 {
        made.write_all(&[&[b'x'; 1 << 20][..], b"\0"].concat()).unwrap();
    }
    made.write_all(format!("\n{}", text(2)).as_bytes()).unwrap();
    drop(made);
    let limited = |arguments: &[&str]| {
        let mut command = Command::new("bash");
        command.args(["-c", r#"ulimit -v 120000; exec "$@""#, "limited", &binary::path()]).args(arguments);
        Running::spawn(command).wait().expect(0)
    };
    let receiver = Receiver::accepting();
    limited(&["replay", &file, "--url", &receiver.url()])
        .saying("167772160 of them NUL")
        .saying("delivered 3 ");
    assert_eq!(accepted(&receiver), [0, 1, 2]);
}

#[test]
fn a_line_that_somebody_edited_ends_a_replay_unless_some_are_chosen_and_never_tail() {
    let folder = Folder::new("edited");
    let file = folder.file("dead.jsonl");
    std::fs::write(&file, text(0) + &text(1).replace("\"offset\":1,", "") + &text(2)).unwrap();
    let receiver = Receiver::accepting();
    replay(&file, &receiver.url(), &[]).expect(1).saying("line 2 of").saying("'offset' is missing");
    assert_eq!(binary::run(&["tail", &file]).expect(0).saying("line 2 of").stdout.lines().count(), 2);
    assert_eq!(accepted(&receiver), [0]);
    let some = ["--only", "topic=orders"];
    replay(&file, &receiver.url(), &some).expect(0).saying("line 2 of").saying("delivered 2 ");
}
