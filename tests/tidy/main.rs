//! The rules of the house that a compiler doesn't keep: which room knows which, what may be depended on, and how
//! things are named.

mod maps;
mod modules;
mod packages;

use std::path::{Path, PathBuf};

/// Rooms of the crate, and which others each may name.
const MAY_KNOW: [(&str, &[&str]); 11] = [
    ("record", &[]),
    ("notice", &[]),
    ("timing", &[]),
    ("relay", &["record", "notice", "timing", "text"]),
    ("text", &[]),
    ("files", &[]),
    ("net", &["text", "files"]),
    // The relay in its adapters alone: see `modules.rs`.
    ("kafka", &["record", "notice", "timing", "relay", "net", "text", "files"]),
    ("webhook", &["record", "relay", "net", "text", "files"]),
    ("observe", &["record", "notice", "relay", "text"]),
    ("cli", &["record", "notice", "timing", "relay", "kafka", "webhook", "observe", "net", "text", "files"]),
];
const BANNED_NAMES: [&str; 5] = ["Manager", "Helper", "Util", "Handler", "common"];
/// Names that meant several things or had to be guessed; the glossary has those that took their places.
const RETIRED_NAMES: [&str; 18] = [
    "Condemned",
    "Fate",
    "Floor",
    "Fortune",
    "Gate",
    "Halt",
    "Hush",
    "Keeper",
    "Links",
    "Nag",
    "Quota",
    "Quotient",
    "Shift",
    "Tale",
    "hub",
    "lend",
    "nag",
    "sentry",
];
/// Rooms that know no command line, so that their texts name none of its flags.
const WITHOUT_FLAGS: [&str; 7] =
    ["src/relay", "src/timing", "src/text", "src/webhook", "src/net", "src/files", "src/kafka"];
const LONGEST_FILE: usize = 600;
const LONGEST_FUNCTION: usize = 70;
/// An `expect` proves in so many characters why it can't fail.
const SHORTEST_PROOF: usize = 10;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder with their text, tests within them cut off where asked.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The files of a room: of its folder, or the one file that it is.
fn room_sources(room: &str) -> Vec<(PathBuf, String)> {
    let folder = format!("src/{room}");
    let file = format!("{folder}.rs");
    let mut found = if root().join(&folder).is_dir() { sources(&folder) } else { Vec::new() };
    found.extend(std::fs::read_to_string(root().join(&file)).map(|text| (file.into(), text)));
    assert!(!found.is_empty(), "there is no room {room}");
    found
}

/// The code of a file without its unit tests and comments.
fn code(text: &str) -> String {
    let product = text.split("#[cfg(test)]\nmod ").next().unwrap().split("#[cfg(all(test").next().unwrap();
    product
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn arrows_point_inwards() {
    for (room, known) in MAY_KNOW {
        for (path, text) in room_sources(room) {
            let code = code(&text);
            for (other, _) in MAY_KNOW.iter().filter(|(other, _)| *other != room && !known.contains(other)) {
                assert!(!code.contains(&format!("crate::{other}")), "{path:?} knows {other}");
            }
            if ["record", "notice", "timing", "relay", "text"].contains(&room) {
                let foreign = code.lines().find(|line| {
                    let line = line.trim_start();
                    line.starts_with("use ")
                        && !["use super", "use crate::", "use std", "use loom"].iter().any(|own| line.starts_with(own))
                        // The children of a module, by its own name.
                        && line.contains("::")
                        && !text.contains(&format!("mod {};", line[4..].split("::").next().unwrap()))
                });
                assert_eq!(foreign, None, "{path:?} needs more than std");
            }
        }
    }
}

#[test]
fn nothing_panics_without_a_proof() {
    for (path, text) in sources("src") {
        let code = code(&text);
        assert!(!code.contains(".unwrap()"), "{path:?} unwraps");
        for wrong in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore"] {
            assert!(!code.contains(wrong), "{path:?} has {wrong}");
        }
        for after in code.split(".expect(").skip(1) {
            let proof = after.trim_start().strip_prefix('"').and_then(|proof| proof.split('"').next());
            assert!(
                proof.is_some_and(|proof| proof.len() >= SHORTEST_PROOF),
                "{path:?} expects without a proof"
            );
        }
    }
}

#[test]
fn names_say_what_things_are() {
    for (path, text) in sources("src") {
        let code = code(&text);
        let names = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        for name in names {
            let banned = BANNED_NAMES
                .iter()
                .find(|banned| name == **banned || name.ends_with(**banned) && name != "uncommon");
            assert_eq!(banned, None, "{path:?}: {name}");
        }
    }
}

#[test]
fn retired_names_stay_away() {
    for folder in ["src", "tests"] {
        for (path, text) in sources(folder).into_iter().filter(|(path, _)| !path.starts_with("tests/tidy")) {
            let code = without_strings(&code(&text));
            let mut names = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            let retired = names.find(|name| RETIRED_NAMES.contains(name));
            assert_eq!(retired, None, "{path:?}");
        }
    }
}

/// The code without what stands between quotes on a line.
fn without_strings(code: &str) -> String {
    let outside = |line: &str| line.split('"').step_by(2).collect::<Vec<_>>().join("\"");
    code.lines().map(|line| outside(line) + "\n").collect()
}

#[test]
fn the_core_and_the_clients_name_no_flag() {
    for room in WITHOUT_FLAGS {
        for (path, text) in sources(room) {
            for line in code(&text).lines() {
                let strings = line.split('"').skip(1).step_by(2);
                let named = strings.flat_map(|text| text.split_whitespace()).find(|word| {
                    word.strip_prefix("--")
                        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
                });
                assert_eq!(named, None, "{path:?}: {line}");
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_is_one_room() {
    for folder in ["src", "tests"] {
        for (path, text) in sources(folder) {
            assert!(text.starts_with("//! "), "{path:?} does not begin by saying what it is");
            let lines = text.lines().count();
            assert!(lines <= LONGEST_FILE, "{path:?} has {lines} lines");
        }
    }
}

#[test]
fn functions_fit_on_a_screen() {
    for (path, text) in sources("src") {
        let mut begun: Option<(usize, usize, &str)> = None;
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let heads = ["fn ", "pub fn ", "pub(super) fn ", "pub(crate) fn ", "const fn ", "pub const fn "];
            if heads.iter().any(|head| line.trim_start().starts_with(head)) {
                begun = Some((number, indent, line.trim()));
            } else if let Some((start, at, name)) = begun
                && indent == at
                && line.trim() == "}"
            {
                assert!(number - start <= LONGEST_FUNCTION, "{path:?}: {name} has {} lines", number - start);
                begun = None;
            }
        }
    }
}

#[test]
fn tests_wait_for_what_they_need_and_not_for_time() {
    for (path, text) in sources("tests").into_iter().filter(|(path, _)| !path.starts_with("tests/tidy")) {
        for line in text.lines().filter(|line| line.contains("sleep(")) {
            assert!(
                line.contains("// "),
                "{path:?}: a sleep says in a comment why it is none to wait by: {line}"
            );
        }
    }
}
