//! README and manual are true: every command runs as printed and says what is printed under it, and every flag, file,
//! type and page that they name exists.

use crate::support::broker::{Broker, OLD, free_port};
use crate::support::output::output;
use crate::support::program::Program;
use crate::support::receiver::Receiver;
use crate::support::{binary, eventually};
use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The README, in words: longer, and nobody reads it.
const MOST_WORDS: usize = 1_200;
/// What people build and test with; `tests/run` and `tests/cross/run` do the same.
const RUN_ELSEWHERE: [&str; 5] =
    ["cargo build ", "cargo test ", "RUSTFLAGS=", "./tests/run", "./tests/cross/run"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README first, then the pages of the manual.
fn pages() -> Vec<(PathBuf, String)> {
    let manual = std::fs::read_dir(root().join("src/manual")).unwrap();
    let mut paths: Vec<PathBuf> = manual.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    paths.insert(0, root().join("README.md"));
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The text without its code blocks.
fn prose(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

/// What stands in backticks.
fn spans(page: &str) -> Vec<String> {
    prose(page).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

// ---- commands --------------------------------------------------------------------------------------------------

/// A code block: its language and its lines, those of commands joined where they go on.
fn blocks(section: &str) -> Vec<(String, Vec<String>)> {
    let fenced = section.split("```").skip(1).step_by(2);
    let block = |text: &str| {
        let (language, text) = text.split_once('\n').unwrap();
        let text = if language == "sh" { text.replace("\\\n", " ") } else { text.to_owned() };
        (language.to_owned(), text.lines().map(str::to_owned).collect())
    };
    fenced.map(block).collect()
}

fn is_run_elsewhere(command: &str) -> bool {
    RUN_ELSEWHERE.iter().any(|start| command.starts_with(start))
}

/// A line without what differs from run to run: numbers, and the address.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for c in line.replace("127.0.0.1:", "localhost:").chars() {
        match c {
            '0'..='9' | '.' if shape.ends_with('0') => {}
            '0'..='9' => shape.push('0'),
            c => shape.push(c),
        }
    }
    // A duration is measured in whatever unit suits it.
    shape.replace("0ms", "0s").replace("0µs", "0s")
}

/// Where the commands of a section run: between a real broker and a receiver that counts, unless the section brings its
/// own.
struct Place<'a> {
    folder: &'a Path,
    broker: String,
    url: String,
    /// What runs until the section ends, and which lines it should have printed by then.
    running: Vec<(Program, Vec<String>)>,
}

impl Place<'_> {
    fn here(&self, command: &str) -> String {
        command
            .replace("cargo run --release --", &binary::path())
            .replace("./target/release/sluicegate", &binary::path())
            .replace("localhost:9092", &self.broker)
            .replace("http://localhost:8080", &self.url)
    }

    /// Runs it to its end; gives what it printed.
    fn shell(&self, command: &str) -> String {
        let folder = if command.starts_with("cargo ") { root() } else { self.folder };
        let command = self.here(command);
        let output = output(Command::new("bash").args(["-ec", &command]).current_dir(folder));
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{command}:\n{text}");
        text
    }

    /// Starts what serves until it is stopped, at a free port; gives its address.
    fn serve(&mut self, command: &str) -> String {
        let address = format!("127.0.0.1:{}", free_port());
        let mut bash = Command::new("bash");
        bash.arg("-ec").arg(format!("exec {} --listen {address}", self.here(command)));
        let mut program = Program::start_with_stderr(bash);
        eventually(command, || {
            assert!(!program.has_ended(), "{command}: {:?}", program.said().collect::<Vec<_>>());
            TcpStream::connect(&address).is_ok()
        });
        self.running.push((program, Vec::new()));
        address
    }

    /// Runs a command as it has to be; gives what it printed, where it has come to its end.
    fn run(&mut self, command: &str) -> Option<String> {
        if command.contains("sluicegate sandbox") {
            self.broker = self.serve(command);
            return None;
        }
        if command.contains("sluicegate receive") {
            self.url = format!("http://{}", self.serve(command));
            return None;
        }
        if command.contains("sluicegate run ") && !command.contains("--until-end") {
            // This one runs until it is stopped.
            return Some(self.shell(&format!("timeout -s TERM 3 {command} || [ $? = 124 ]")));
        }
        Some(self.shell(command))
    }

    fn end(self) {
        for (program, expected) in self.running {
            let mut said: Vec<String> = Vec::new();
            for line in expected {
                eventually(&format!("the line {line:?}"), || {
                    said.extend(program.said().map(|line| line.text));
                    said.iter().any(|said| shape(said).contains(&shape(&line)))
                });
            }
        }
    }
}

#[test]
fn every_command_runs_as_printed() {
    let Some(broker) = Broker::start(OLD) else { return };
    broker.produce_numbers("orders", 0, 100);
    // The first group of a cluster waits until there are coordinators.
    broker.admin().commit("first", "orders", 0, 0);
    let receiver = Receiver::accepting();
    let folder = std::env::temp_dir().join(format!("sluicegate-readme-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (mut ran, mut compared) = (0, 0);
    for (page, text) in pages() {
        for section in text.split("\n## ") {
            let url = receiver.url().trim_end_matches("/hook").to_owned();
            let mut place = Place { folder: &folder, broker: broker.address(), url, running: Vec::new() };
            let mut printed = None;
            for (language, lines) in blocks(section) {
                match (language.as_str(), &printed) {
                    ("sh", _) => {
                        for command in lines.iter().filter(|command| !is_run_elsewhere(command)) {
                            printed = place.run(command);
                            ran += 1;
                        }
                    }
                    // What the last command printed, then what those print that still run.
                    ("text", Some(output)) => {
                        for line in &lines {
                            assert!(
                                output.lines().any(|printed| shape(printed).contains(&shape(line))),
                                "{page:?}: {line:?} in\n{output}"
                            );
                            compared += 1;
                        }
                        printed = None;
                    }
                    ("text", None) if !place.running.is_empty() => {
                        compared += lines.len();
                        place.running.last_mut().unwrap().1.extend(lines);
                    }
                    _ => {}
                }
            }
            place.end();
        }
        if page.ends_with("README.md") {
            assert_eq!(receiver.accepted().len(), 100, "run delivers what is there");
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(ran >= 15 && compared >= 5, "{ran} commands, {compared} lines");
}

#[test]
fn the_commands_that_build_are_those_that_are_tested() {
    let script = std::fs::read_to_string(root().join("tests/run")).unwrap();
    let mut built = BTreeSet::new();
    for (_, text) in pages() {
        let commands = blocks(&text).into_iter().filter(|(language, _)| language == "sh");
        built.extend(commands.flat_map(|(_, lines)| lines).filter(|line| line.contains("cargo build")));
    }
    assert_eq!(built.len(), 3, "{built:?}");
    for part in ["--no-default-features --features cli,minreq,kafka-crate", "target-feature=+crt-static"] {
        assert!(script.contains(part) && built.iter().any(|command| command.contains(part)), "{part}");
    }
}

// ---- names -----------------------------------------------------------------------------------------------------

#[test]
fn every_flag_that_is_named_exists() {
    let help = binary::run(&["--help"]).expect(0).stdout;
    let mut known: BTreeSet<&str> = help.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).collect();
    known.insert("--help");
    let mut unknown = BTreeSet::new();
    for (page, text) in pages() {
        for span in spans(&text).iter().filter(|span| !span.starts_with("cargo ")) {
            let words = span.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
            let flags = words.filter(|word| word.starts_with("--") && word.len() > 2);
            let missing = flags.filter(|flag| !known.contains(flag));
            unknown.extend(missing.map(|flag| format!("{flag} in {}", page.display())));
        }
    }
    assert_eq!(unknown, BTreeSet::new());
}

#[test]
fn every_flag_is_named_on_some_page() {
    let help = binary::run(&["--help"]).expect(0).stdout;
    let heads = help.lines().filter_map(|line| line.strip_prefix("  ").filter(|head| head.starts_with('-')));
    let flags: BTreeSet<&str> =
        heads.flat_map(str::split_whitespace).filter(|word| word.starts_with("--")).collect();
    assert!(flags.len() >= 70, "{flags:?}");
    let named: BTreeSet<String> = pages()
        .iter()
        .flat_map(|(_, text)| text.split(|c: char| !(c.is_ascii_lowercase() || c == '-')))
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = flags.into_iter().filter(|flag| !named.contains(*flag)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The pages, and what cargo doc shows before them.
fn pages_and_fronts() -> Vec<(PathBuf, String)> {
    let fronts = ["src/lib.rs", "src/manual/mod.rs"].map(|path| root().join(path));
    let fronts = fronts.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()));
    pages().into_iter().chain(fronts).collect()
}

/// The files below these folders, and beside them.
fn tree() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    let entries = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.extend(entries(root()).filter(|path| path.is_file()));
    while let Some(folder) = folders.pop() {
        let (inner, found): (Vec<_>, Vec<_>) = entries(&folder).partition(|path| path.is_dir());
        folders.extend(inner);
        files.extend(found);
    }
    files
}

/// What a page says of `src/…` and `tests/…`, in code blocks too.
fn paths(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c)));
    let words = words.map(|word| word.trim_start_matches("./").trim_end_matches(['.', '/', '-']));
    words.filter(|word| word.starts_with("src/") || word.starts_with("tests/")).collect()
}

#[test]
fn every_path_and_file_that_is_named_exists() {
    let tree = tree();
    let names: BTreeSet<&str> = tree.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    let (mut missing, mut found) = (Vec::new(), 0);
    for (page, text) in pages_and_fronts() {
        found += paths(&text).len();
        let wrong = paths(&text).into_iter().filter(|path| !root().join(path).exists());
        missing.extend(wrong.map(|path| format!("{path} in {}", page.display())));
        let is_file = |name: &String| {
            let ends = [".rs", ".md", ".sh", ".svg", ".toml"];
            !name.contains(['/', ' ']) && ends.iter().any(|end| name.ends_with(end))
        };
        let wrong = spans(&text).into_iter().filter(is_file).filter(|name| !names.contains(name.as_str()));
        missing.extend(wrong.map(|name| format!("{name} in {}", page.display())));
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(found >= 50, "{found} paths");
}

/// Whether it is a name in the code: `Policy::judge`, `NEEDED`, `by_default`.
fn is_identifier(span: &str) -> bool {
    // Forbidden, so it is on a page and not in the code.
    span != "unsafe" && span.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

#[test]
fn every_identifier_on_the_pages_about_the_code_is_in_the_code() {
    let mut code = BTreeSet::new();
    let is_code = |path: &&PathBuf| {
        path.starts_with(root().join("src")) && path.extension().is_some_and(|extension| extension == "rs")
    };
    for path in tree().iter().filter(is_code) {
        let text = std::fs::read_to_string(path).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        code.extend(words.map(str::to_owned));
    }
    let mut found = 0;
    for name in ["architecture.md", "contributing.md", "library.md"] {
        let text = std::fs::read_to_string(root().join("src/manual").join(name)).unwrap();
        for span in spans(&text).iter().filter(|span| is_identifier(span)) {
            let missing = span.split("::").find(|word| !code.contains(*word));
            assert_eq!(missing, None, "{name}: `{span}`");
            found += 1;
        }
    }
    assert!(found >= 50, "{found} identifiers");
}

#[test]
fn every_link_leads_to_a_file() {
    for (page, text) in pages() {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let defined =
            text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ")).map(|it| it.1);
        for target in targets.chain(defined).filter(|target| !target.starts_with("https://")) {
            assert!(page.parent().unwrap().join(target).exists(), "{page:?}: {target} leads nowhere");
        }
    }
}

#[test]
fn the_manual_has_each_page_once() {
    let map = std::fs::read_to_string(root().join("src/manual/mod.rs")).unwrap();
    for (page, _) in pages().into_iter().skip(1) {
        let name = page.file_stem().unwrap().to_str().unwrap();
        for place in [format!("]({name}) |"), format!("    {name}: \"{name}.md\",\n")] {
            assert_eq!(map.matches(&place).count(), 1, "{place:?}");
        }
    }
}

// ---- the README ------------------------------------------------------------------------------------------------

#[test]
fn the_readme_is_short_and_compares_with_sources() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let words = readme.split_whitespace().count();
    assert!(words <= MOST_WORDS, "{words} words");
    let comparison = readme.split("\n## Comparison").nth(1).unwrap().split("\n## ").next().unwrap();
    assert!(readme.contains("\n./tests/run\n"), "the README names the one command that runs every test");
    let rows: Vec<&str> = comparison.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert_eq!(rows.len(), 12);
    for row in rows {
        assert!(row.contains("](https://"), "without a source: {row}");
    }
}
