//! Topics that change under a run: partitions added, topics made anew, patterns that match more.

use crate::kafka::{bodies, matrix, newest, numbered, start};
use crate::support::eventually;
use crate::support::jvm::target;
use crate::support::receiver::Receiver;
use std::sync::OnceLock;

/// A file by which changes are noticed quickly.
pub fn watchful() -> [&'static str; 2] {
    static FILE: OnceLock<String> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let file = target().join("watchful.properties");
        std::fs::write(&file, "metadata.max.age.ms=500\n").unwrap();
        file.to_str().unwrap().to_owned()
    });
    ["--kafka-config", file]
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    for shared in matrix() {
        shared.create("growing", 1, &[]);
        shared.broker.produce_numbers("growing", 0, 10);
        let receiver = Receiver::accepting();
        let running = start(&shared.address(), "growing", &receiver, &watchful());
        eventually("the first", || receiver.begun() == 10);
        shared.admin(|admin| admin.grow("growing", 3));
        shared.broker.produce("growing", &["-p", "2"], b"10\n11\n12\n");
        shared.broker.produce("growing", &["-p", "1"], b"13\n");
        eventually("the new partitions", || receiver.begun() == 14);
        running.signal("TERM");
        running.wait().expect(0);
        assert_eq!(bodies(&receiver), numbered(0..14), "{}", shared.version);
    }
}

#[test]
fn a_topic_that_is_deleted_and_made_anew_is_delivered_anew() {
    for shared in matrix() {
        shared.create("anew", 1, &[]);
        shared.broker.produce_numbers("anew", 0, 20);
        let receiver = Receiver::accepting();
        let running = start(&shared.address(), "anew", &receiver, &watchful());
        eventually("the first life", || receiver.begun() == 20);
        eventually("its commit", || shared.committed("anew") == 20);
        shared.admin(|admin| admin.delete("anew"));
        // Until the old one is gone for good its name can't be taken.
        eventually("the second life", || shared.admin(|admin| admin.ask("create anew 1 1")).is_ok());
        shared.broker.produce_numbers("anew", 100, 10);
        let second = numbered(100..110);
        eventually("all of it", || second.iter().all(|body| bodies(&receiver).contains(body)));
        running.signal("TERM");
        running.wait().expect(0);
        assert_eq!(receiver.accepted().len(), 30, "{}", shared.version);
    }
}

#[test]
fn a_pattern_takes_what_matches_and_what_comes_to_match() {
    for shared in matrix() {
        for topic in ["orders-eu", "orders-us", "reorders-eu"] {
            shared.create(topic, 1, &[]);
        }
        shared.broker.produce_numbers("orders-eu", 0, 5);
        shared.broker.produce_numbers("orders-us", 5, 5);
        shared.broker.produce_numbers("reorders-eu", 900, 5);
        let receiver = Receiver::accepting();
        let more = [&watchful()[..], &["--group", "patterns"]].concat();
        let (address, url) = (shared.address(), receiver.url());
        let run = ["run", "--brokers", &address, "--topic", "^orders-.*", "--url", &url];
        let running = crate::kafka::binary::start(&[&run[..], &more].concat());
        eventually("what matches", || receiver.begun() == 10);
        shared.create("orders-asia", 2, &[]);
        shared.broker.produce("orders-asia", &["-p", "0"], b"10\n11\n");
        shared.broker.produce("orders-asia", &["-p", "1"], b"12\n");
        eventually("what comes to match", || receiver.begun() == 13);
        running.signal("TERM");
        running.wait().expect(0);
        assert_eq!(bodies(&receiver), numbered(0..13), "{}", shared.version);
    }
}

#[test]
fn two_topics_are_read_at_once() {
    let Some(shared) = newest() else { return };
    for (topic, first) in [("left", 0), ("right", 500)] {
        shared.create(topic, 3, &[]);
        for partition in 0..3 {
            let numbers = crate::support::broker::numbers(first + partition * 100, 100);
            shared.broker.produce(topic, &["-p", &partition.to_string()], numbers.as_bytes());
        }
    }
    let receiver = Receiver::accepting();
    let (address, url) = (shared.address(), receiver.url());
    let run = ["run", "--brokers", &address, "--topic", "left,right", "--url", &url, "--group", "both"];
    crate::kafka::binary::run(&[&run[..], &["--until-end"]].concat()).expect(0);
    let expected: Vec<String> = [numbered(0..300), numbered(500..800)].concat();
    let mut expected = expected;
    expected.sort();
    assert_eq!(bodies(&receiver), expected);
    assert_eq!(shared.committed("both"), 600);
}
