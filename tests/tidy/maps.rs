//! The table at the head of each room: every module of the room stands in it, and nothing else.

use crate::root;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of src with the file whose head describes them.
fn rooms() -> Vec<(PathBuf, PathBuf)> {
    let (mut rooms, mut open) = (Vec::new(), vec![root().join("src")]);
    while let Some(folder) = open.pop() {
        let heads = ["mod.rs", "lib.rs"].map(|name| folder.join(name));
        let head =
            heads.into_iter().find(|head| head.exists()).unwrap_or_else(|| folder.with_extension("rs"));
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        open.extend(entries.filter(|path| path.is_dir()));
        rooms.push((folder, head));
    }
    rooms
}

/// The modules in a folder by name.
fn modules(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_module = |path: &PathBuf| path.is_dir() || path.extension().is_some_and(|end| end == "rs");
    let name = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    entries
        .filter(is_module)
        .map(name)
        .filter(|name| !["mod", "lib", "main"].contains(&name.as_str()))
        .collect()
}

/// The names in the first column of the tables in a file's head.
fn named(head: &str) -> BTreeSet<String> {
    let rows = head.lines().filter_map(|line| line.strip_prefix("//! |"));
    let cells = rows.filter_map(|row| row.split('|').next()).filter(|cell| !cell.contains("---"));
    let names = cells.flat_map(|cell| cell.split(',')).map(|name| name.trim().trim_matches(['`', '[', ']']));
    let is_name = |name: &&str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    names.filter(is_name).filter(|name| *name != "room").map(str::to_owned).collect()
}

#[test]
fn each_module_stands_in_the_map_of_its_room_and_no_other() {
    let mut wrong = Vec::new();
    for (folder, head) in rooms() {
        let text = fs::read_to_string(&head).unwrap_or_else(|error| panic!("{}: {error}", head.display()));
        let (there, named) = (modules(&folder), named(&text));
        let head = head.strip_prefix(root()).unwrap().display().to_string();
        wrong.extend(there.difference(&named).map(|name| format!("{head} has no row for {name}")));
        wrong.extend(named.difference(&there).map(|name| format!("{head} names {name}, which is not there")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
