//! Clients of others: kcat (librdkafka) and the console tools of Java.

use crate::support::broker::{NEW, numbers};
use crate::support::jvm::Jars;
use crate::support::output::fed;
use sluicegate::kafka::sandbox::{Sandbox, SandboxSettings};
use std::collections::BTreeSet;
use std::process::Command;

/// The last version of Kafka's tools that still speaks to brokers of ten years ago.
const OLD: &str = "3.9.2";

/// Runs a program to its end; gives what it said.
fn said(mut command: Command, input: &[u8]) -> String {
    let output = fed(&mut command, input);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn kcat(sandbox: &Sandbox, arguments: &[&str], input: &[u8]) -> String {
    let mut kcat = Command::new("kcat");
    kcat.args(["-q", "-b", &sandbox.address().to_string()]).args(arguments);
    said(kcat, input)
}

fn lines(text: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = text.lines().collect();
    let set: BTreeSet<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    assert_eq!(set.len(), lines.len(), "twice: {text}");
    set
}

#[test]
fn kcat_writes_and_reads_with_each_codec() {
    let sandbox = Sandbox::start(SandboxSettings::default()).unwrap();
    let mut all = BTreeSet::new();
    for (round, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let written = numbers(round * 1_000, 1_000);
        all.extend(lines(&written));
        kcat(&sandbox, &["-P", "-t", "orders", "-z", codec], written.as_bytes());
    }
    assert_eq!(lines(&kcat(&sandbox, &["-C", "-t", "orders", "-e"], b"")), all);
    let from = kcat(&sandbox, &["-C", "-t", "orders", "-o", "s@0", "-e"], b"");
    assert_eq!(lines(&from), all, "from a time on");
    let ends: i64 = (0..4).map(|partition| sandbox.range("orders", partition).unwrap().1).sum();
    assert_eq!(ends, 5_000);
}

#[test]
fn an_idempotent_kcat_writes_each_record_once() {
    let sandbox = Sandbox::start(SandboxSettings::default()).unwrap();
    let written = numbers(0, 1_000);
    let idempotent = ["-P", "-t", "once", "-X", "enable.idempotence=true", "-p", "1"];
    kcat(&sandbox, &idempotent, written.as_bytes());
    assert_eq!(sandbox.range("once", 1), Some((0, 1_000)));
    let read = kcat(&sandbox, &["-C", "-t", "once", "-e", "-f", "%k%s\\n"], b"");
    assert_eq!(lines(&read), lines(&written));
}

#[test]
fn kcat_reads_in_a_group_and_goes_on_where_it_was() {
    let sandbox = Sandbox::start(SandboxSettings::default()).unwrap();
    let group = ["-G", "billing", "-X", "auto.offset.reset=earliest", "-e", "orders"];
    for round in 0..2 {
        let written = numbers(round * 100, 100);
        kcat(&sandbox, &["-P", "-t", "orders"], written.as_bytes());
        assert_eq!(lines(&kcat(&sandbox, &group, b"")), lines(&written));
        let committed: i64 = sandbox.committed("billing").values().sum();
        assert_eq!(committed, 100 * (round as i64 + 1));
        assert_eq!(sandbox.group("billing").unwrap().members, Vec::<String>::new(), "it has left");
    }
}

#[test]
fn javas_console_tools_write_and_read() {
    let tools = [(OLD, "kafka.tools.ConsoleProducer"), (NEW, "org.apache.kafka.tools.ConsoleProducer")];
    for (version, producer) in tools {
        let Some(jars) = Jars::of(version) else { return };
        let sandbox = Sandbox::start(SandboxSettings::default()).unwrap();
        let address = sandbox.address().to_string();
        let to = ["--bootstrap-server", &address, "--topic", "orders"];
        let mut write = jars.server("-Xmx256m", producer);
        write.args(to);
        let written = numbers(0, 100);
        said(write, written.as_bytes());
        let mut read = jars.server("-Xmx256m", "org.apache.kafka.tools.consumer.ConsoleConsumer");
        read.args(to).args(["--group", "java", "--from-beginning", "--max-messages", "100"]);
        read.args(["--timeout-ms", "60000"]);
        assert_eq!(lines(&said(read, b"")), lines(&written), "{version}");
        let committed: i64 = sandbox.committed("java").values().sum();
        assert_eq!(committed, 100, "{version}");
        let group = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
        let described = jars.tool(group, &["--bootstrap-server", &address, "--describe", "--group", "java"]);
        let described = String::from_utf8_lossy(&described.stdout).into_owned();
        let ours = described.lines().filter(|line| line.contains(" orders "));
        let lag = ours.map(|line| line.split_whitespace().nth(5).unwrap()).collect::<Vec<_>>();
        assert_eq!(lag, ["0"; 4], "{version}: {described}");
    }
}
