//! A binary for another processor, at work: `SLUICEGATE_BIN` names it, or a script that runs it under an emulator.
//! Brokers and receivers are this host's, so both sides of every exchange come from different processors.
//!
//! `tests/cross/run` builds such binaries and runs this crate for each.

#[path = "../support/mod.rs"]
mod support;
mod terminator;

use sluicegate::kafka::sandbox::{Sandbox, SandboxSettings};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use support::binary::{self, Running};
use support::broker::numbers;
use support::certificates::Authority;
use support::eventually;
use support::folder::Folder;
use support::output::fed;
use support::receiver::{Receiver, Reply};
use terminator::{Terminator, VERSIONS, http, kafka};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const EACH: usize = 200;
const PARTITIONS: i32 = 4;

fn sandbox(topics: &[&str]) -> Sandbox {
    let sandbox = Sandbox::start(SandboxSettings::default()).unwrap();
    topics.iter().for_each(|topic| sandbox.create(topic, PARTITIONS).unwrap());
    sandbox
}

/// Writes lines to a topic by a client that is not ours.
fn kcat(sandbox: &Sandbox, topic: &str, codec: &str, lines: &str) {
    let mut kcat = Command::new("kcat");
    kcat.args(["-q", "-b", &sandbox.address().to_string(), "-P", "-t", topic, "-z", codec]);
    assert!(fed(&mut kcat, lines.as_bytes()).status.success());
}

fn accepted_once(receiver: &Receiver, count: usize) {
    let accepted = receiver.accepted();
    assert_eq!(accepted.len(), count);
    assert!(accepted.values().all(|times| *times == 1), "{accepted:?}");
}

#[test]
fn the_demo_runs_to_its_end() {
    binary::run(&["demo", "--events", "100"]).expect(0);
}

#[test]
fn a_webhook_is_spoken_to_over_either_version_of_tls() {
    let authority = Authority::new();
    let certificate = authority.issue("webhook", "IP:127.0.0.1");
    let (ca, folder) = (authority.pem(), Folder::new("webhook"));
    for (round, version) in VERSIONS.into_iter().enumerate() {
        // A file that was sent is not sent again.
        let lines = folder.write(&format!("lines-{round}"), &numbers(0, 20));
        let receiver = Receiver::accepting();
        let secure = Terminator::start(0, version, &certificate, http, receiver.address).unwrap();
        let url = format!("https://{}/hook", secure.address);
        binary::run(&["send", &lines, "--url", &url, "--ca", ca.to_str().unwrap()]).expect(0);
        accepted_once(&receiver, 20);
    }
}

/// A sandbox on one address of loopback with TLS before it on another, at the port that it advertises.
fn secured(
    version: &'static rustls::SupportedProtocolVersion,
    authority: &Authority,
) -> (Sandbox, Terminator) {
    let certificate = authority.issue("broker", "IP:127.0.0.1");
    let behind = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0));
    for _ in 0..10 {
        let sandbox =
            Sandbox::start(SandboxSettings { listen: behind, ..SandboxSettings::default() }).unwrap();
        let port = sandbox.address().port();
        // The port can be taken on the other address.
        if let Ok(before) = Terminator::start(port, version, &certificate, kafka, sandbox.address()) {
            return (sandbox, before);
        }
    }
    panic!("no port is free on both addresses");
}

#[test]
fn a_broker_is_read_over_either_version_of_tls() {
    let authority = Authority::new();
    let properties = format!(
        "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={}\n",
        authority.pem().display()
    );
    let folder = Folder::new("broker");
    let config = folder.write("client.properties", &properties);
    for version in VERSIONS {
        let (sandbox, before) = secured(version, &authority);
        kcat(&sandbox, "orders", "lz4", &numbers(0, EACH));
        let (receiver, broker) = (Receiver::accepting(), before.address.to_string());
        let to = ["--topic", "orders", "--url", &receiver.url(), "--until-end"];
        binary::run(&[&["run", "--brokers", &broker, "--kafka-config", &config], &to[..]].concat()).expect(0);
        accepted_once(&receiver, EACH);
        assert!(before.connections() > 0);
    }
}

#[test]
fn two_members_share_a_topic_of_every_codec_and_commit_it() {
    let (sandbox, receiver) = (sandbox(&["orders"]), Receiver::accepting());
    let address = sandbox.address().to_string();
    let arguments =
        ["run", "--brokers", &address, "--topic", "orders", "--url", &receiver.url(), "--group", "cross"];
    let members: [Running; 2] = std::array::from_fn(|_| binary::start(&arguments));
    eventually("a group of two", || {
        sandbox.group("cross").is_some_and(|group| group.state == "Stable" && group.members.len() == 2)
    });
    for (round, codec) in CODECS.into_iter().enumerate() {
        kcat(&sandbox, "orders", codec, &numbers(round * EACH, EACH));
    }
    let all = CODECS.len() * EACH;
    eventually("every record is committed", || {
        sandbox.committed("cross").values().sum::<i64>() == all as i64
    });
    accepted_once(&receiver, all);
    for member in members {
        member.signal("TERM");
        member.wait().expect(0);
    }
}

#[test]
fn dead_letters_are_kept_in_a_file_and_in_a_topic_and_replayed_from_both() {
    let sandbox = sandbox(&["orders", "dead"]);
    let address = sandbox.address().to_string();
    kcat(&sandbox, "orders", "zstd", &numbers(0, EACH));
    let folder = Folder::new("dead");
    let file = folder.write("dead.jsonl", "");
    for (group, place) in [("file", &*file), ("topic", "topic:dead")] {
        let receiver =
            Receiver::start(|request| Reply::Status(if request.text().ends_with('7') { 422 } else { 204 }));
        let from = ["run", "--brokers", &address, "--topic", "orders", "--group", group, "--until-end"];
        let to = ["--url", &receiver.url(), "--dead-letter", place];
        binary::run(&[&from[..], &to].concat()).expect(0);
        accepted_once(&receiver, EACH / 10 * 9);
        let mended = Receiver::accepting();
        let brokers: &[&str] = if place == file { &[] } else { &["--brokers", &address] };
        binary::run(&[&["replay", place, "--url", &mended.url()], brokers].concat()).expect(0);
        accepted_once(&mended, EACH / 10);
    }
}
