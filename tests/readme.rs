//! Every command of the README runs as printed: against a real broker and a real receiver where it needs them.

#[path = "support/mod.rs"]
mod support;

use std::process::Command;
use support::broker::{Broker, OLD};
use support::receiver::Receiver;

/// The commands of the README, continued lines joined.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let joined: Vec<String> = blocks.map(|block| block.replace("\\\n", " ")).collect();
    joined.iter().flat_map(|block| block.lines()).map(str::to_owned).collect()
}

/// Runs a command of the README with the binary under test in the place of the one that it builds.
fn shell(command: &str, broker: &Broker, receiver: &Receiver, folder: &std::path::Path) -> String {
    let command = command
        .replace("cargo run --release --", &support::binary::path())
        .replace("./target/release/sluicegate", &support::binary::path())
        .replace("localhost:9092", &broker.address())
        .replace("http://localhost:8080/hook", &receiver.url());
    let output = Command::new("bash").args(["-ec", &command]).current_dir(folder).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command}:\n{text}");
    text
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
    let mut ran = 0;
    for command in commands() {
        // What builds is run by tests/run, which is one of the commands itself.
        if command.contains("cargo build") || command == "./tests/run" {
            continue;
        }
        if command.starts_with("cargo tree") {
            let tree = shell(&command, &broker, &receiver, env!("CARGO_MANIFEST_DIR").as_ref());
            assert_eq!(tree.trim().lines().count(), 1, "{tree}");
        } else if command.contains("sluicegate run ") && !command.contains("--until-end") {
            // This one runs until it is stopped.
            let ended =
                shell(&format!("timeout -s TERM 3 {command} || [ $? = 124 ]"), &broker, &receiver, &folder);
            assert!(ended.contains("ended: delivered 100"), "{ended}");
            assert_eq!(receiver.accepted().len(), 100);
        } else {
            shell(&command, &broker, &receiver, &folder);
        }
        ran += 1;
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(ran, 9, "a command was added or taken away: is it run?");
}

#[test]
fn the_commands_that_build_are_those_that_are_tested() {
    let script = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run")).unwrap();
    let built = commands().into_iter().filter(|command| command.contains("cargo build")).count();
    assert_eq!(built, 3);
    for part in ["--no-default-features --features cli,minreq,kafka-crate", "target-feature=+crt-static"] {
        assert!(script.contains(part), "{part}");
    }
}
