//! Where dead letters may go: files that others have, moved, linked or filled, and what `check` says of them.

use crate::letters::{Folder, letter, write};
use crate::support::binary::{self, Running};
use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply};
use sluicegate::relay::dead_letter::file::DeadLetterFile;
use sluicegate::relay::dead_letter::{DeadLetterError, DeadLetters, line};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

fn offsets(path: impl AsRef<Path>) -> Vec<i64> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|text| line::parse(text.as_bytes()).unwrap().record.offset().0).collect()
}

/// Sends a line that is refused.
fn rejected(dead: &str, url: &str) -> binary::Ended {
    let mut command = Command::new("bash");
    command.args(["-c", r#"echo bad | exec "$@""#, "sender", &binary::path()]);
    command.args(["send", "-", "--url", url, "--dead-letter", dead]);
    Running::spawn(command).wait()
}

fn refusing() -> Receiver {
    Receiver::start(|_| Reply::Status(422))
}

#[test]
fn what_is_not_a_file_of_our_own_is_refused_at_start() {
    let (folder, receiver) = (Folder::new("strange"), refusing());
    let victim = folder.file("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, folder.file("link")).unwrap();
    fs::write(folder.file("log"), "{\"level\":\"info\"}\n").unwrap();
    let made = Command::new("mkfifo").arg(folder.file("fifo")).stdin(Stdio::null()).status().unwrap();
    assert!(made.success());
    for (dead, why) in [
        (folder.file("link"), "it is a symbolic link"),
        (folder.file("log"), "it begins with something else than a dead letter"),
        (folder.file("fifo"), "it is no regular file"),
        ("/dev/null".into(), "it is no regular file"),
        (folder.file("."), "it is a folder"),
        (folder.file("no/dead.jsonl"), "its folder does not exist"),
    ] {
        rejected(&dead, &receiver.url()).expect(2).saying(why).saying(&dead);
    }
    assert_eq!((receiver.begun(), fs::read(&victim).unwrap()), (0, b"precious".to_vec()));
}

#[test]
fn files_are_readable_by_their_owner_alone_and_links_are_not_written_through() {
    let (folder, receiver) = (Folder::new("private"), Receiver::accepting());
    let (file, victim) = (folder.file("dead.jsonl"), folder.file("victim"));
    fs::write(&victim, "precious").unwrap();
    rejected(&file, &refusing().url()).expect(0);
    let replay = || binary::run(&["replay", &file, "--url", &receiver.url()]);
    symlink(&victim, folder.file("dead.jsonl.replayed")).unwrap();
    replay().expect(2).saying("dead.jsonl.replayed: it is a symbolic link");
    fs::remove_file(folder.file("dead.jsonl.replayed")).unwrap();
    symlink(&victim, folder.file("dead.jsonl.replayed.new")).unwrap();
    replay().expect(0);
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    for name in ["dead.jsonl", "dead.jsonl.replayed"] {
        assert_eq!(fs::symlink_metadata(folder.file(name)).unwrap().mode(), 0o100_600, "{name}");
    }
    fs::write(folder.file("dead.jsonl.replayed"), "precious").unwrap();
    replay().expect(2).saying("move it away");
}

#[test]
fn a_name_with_a_line_break_forges_no_line_of_a_log() {
    let (folder, receiver) = (Folder::new("break"), refusing());
    let dead = folder.file("dead\n2026-01-01 forged\u{1b}[2J.jsonl");
    rejected(&dead, &receiver.url()).expect(0);
    let url = receiver.url();
    let shown = binary::run(&["replay", &dead, "--url", &url]).expect(3);
    assert!(!shown.stderr.lines().any(|line| line.starts_with("2026-01-01 forged")), "{}", shown.stderr);
    let accepting = Receiver::accepting();
    for _ in 0..2 {
        let ended = binary::run(&["replay", &dead, "--url", &accepting.url()]).expect(0);
        assert!(
            !ended.stderr.contains("forged\u{1b}") && ended.stderr.contains("dead\\n2026"),
            "{}",
            ended.stderr
        );
    }
    fs::write(&dead, "notes").unwrap();
    let ended = rejected(&dead, &receiver.url()).expect(2);
    assert!(!ended.stderr.contains("forged\u{1b}"), "{}", ended.stderr);
}

#[test]
fn two_processes_do_not_share_a_file() {
    let (folder, receiver) = (Folder::new("shared"), refusing());
    let file = folder.file("dead.jsonl");
    let mut first = DeadLetterFile::open(&file).unwrap().with_max_size(1);
    (0..3).for_each(|number| {
        first.put(&[letter(number, 422, 0)]).unwrap();
        rejected(&file, &receiver.url()).expect(2).saying("in use by another process");
    });
    drop(first);
    rejected(&file, &receiver.url()).expect(0);
    let rotated = [1, 2].map(|n| offsets(folder.file(&format!("dead.jsonl.{n}"))));
    assert_eq!((rotated, offsets(&file)), ([vec![0], vec![1]], vec![2, 1]));
}

#[test]
fn what_logrotate_does_meanwhile_costs_no_letter() {
    let folder = Folder::new("logrotate");
    let file = folder.file("dead.jsonl");
    let mut dead = DeadLetterFile::open(&file).unwrap();
    let mut put = |number| dead.put(&[letter(number, 422, 0)]).unwrap();
    put(0);
    // copytruncate
    fs::copy(&file, folder.file("copy")).unwrap();
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(0).unwrap();
    put(1);
    // create
    fs::rename(&file, folder.file("renamed")).unwrap();
    fs::write(&file, "").unwrap();
    put(2);
    // nocreate
    fs::rename(&file, folder.file("moved")).unwrap();
    put(3);
    // Half a line that somebody else leaves is cut off, and a sound one stays.
    let other = format!("{}{{\"topic\":\"or", fs::read_to_string(folder.file("moved")).unwrap());
    let mut append = fs::OpenOptions::new().append(true).open(&file).unwrap();
    std::io::Write::write_all(&mut append, other.as_bytes()).unwrap();
    put(4);
    for (name, expected) in [("copy", vec![0]), ("renamed", vec![1]), ("moved", vec![2])] {
        assert_eq!(offsets(folder.file(name)), expected, "{name}");
    }
    assert_eq!(offsets(&file), [3, 2, 4]);
}

/// A file system with so little room, if this user may mount one; gone at its end.
struct Tiny(Folder);

impl Tiny {
    fn mount(name: &str) -> Option<Self> {
        let tiny = Self(Folder::new(name));
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tiny"])
            .arg(&tiny.0.0)
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(tiny)
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.0).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_full_disk_holds_letters_back_and_tears_none() {
    let Some(tiny) = Tiny::mount("full") else { return };
    let (file, filler) = (tiny.0.file("dead.jsonl"), tiny.0.file("filler"));
    let mut dead = DeadLetterFile::open(&file).unwrap();
    let mut kept = Vec::new();
    for number in 0.. {
        match dead.put(&[letter(number, 422, 0)]) {
            Ok(()) => kept.push(number),
            Err(DeadLetterError::Retriable(text)) => {
                assert!(text.contains("make room"), "{text}");
                break;
            }
            Err(error) => panic!("{error}"),
        }
        if number == 10 {
            fs::write(&filler, [b'x'; 40 << 10]).unwrap();
        }
    }
    assert!(kept.len() > 10);
    assert_eq!(offsets(&file), kept, "not even half a line is left of the one that failed");
    // A run says so, and goes on by itself once there is room.
    let (folder, receiver) = (Folder::new("full-log"), refusing());
    let log = folder.file("log");
    let script = format!(r#"echo bad | "$@" 2>'{log}'"#);
    let mut command = Command::new("bash");
    command.args(["-c", &script, "sender", &binary::path(), "send", "-", "--url", &receiver.url()]);
    command.args(["--dead-letter", &tiny.0.file("other.jsonl")]);
    let running = Running::spawn(command);
    let said = || fs::read_to_string(&log).unwrap_or_default();
    eventually("the warning", || said().contains("dead letters can't be kept"));
    assert!(said().contains("No space left on device") && said().contains("make room"), "{}", said());
    fs::remove_file(&filler).unwrap();
    running.wait().expect(0);
    assert_eq!(offsets(tiny.0.file("other.jsonl")), [1]);
    let number = kept.len() as i64;
    dead.put(&[letter(number, 422, 0)]).unwrap();
    kept.push(number);
    assert_eq!(offsets(&file), kept);
}

#[test]
fn what_is_put_is_shown_without_what_a_terminal_would_act_on() {
    let folder = Folder::new("terminal");
    let file = folder.file("dead.jsonl");
    let mut odd = letter(1, 422, 0);
    odd.rejection.reason = "\u{1b}]0;owned\u{7} \u{202e}txt\u{200b}\u{9b}31m\u{e0041}".into();
    write(&file, &[odd.clone()]);
    let harmful = |text: &str| {
        text.chars().any(|c| c != '\n' && (c.is_control() || "\u{202e}\u{200b}\u{e0041}".contains(c)))
    };
    for more in [&[][..], &["--json"]] {
        let shown = binary::run(&[&["tail", &file], more].concat()).expect(0).stdout;
        assert!(!harmful(&shown) && shown.contains("owned"), "{shown:?}");
        if more == ["--json"] {
            let read = line::parse(shown.trim_end().as_bytes()).unwrap();
            assert_eq!(read.rejection.reason, odd.rejection.reason);
        }
    }
}
