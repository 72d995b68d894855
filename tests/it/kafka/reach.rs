//! Addresses: dead ones, unreachable ones, IPv6; and what `check` says of a cluster.

use crate::kafka::{arguments, binary, bodies, deliver, listened, matrix, newest, numbered, start};
use crate::support::broker::{Broker, NEW, OLDEST, free_port};
use crate::support::program::Line;
use crate::support::receiver::Receiver;
use crate::support::{LONG, eventually};
use std::net::Ipv6Addr;

#[test]
fn dead_entries_of_the_bootstrap_list_are_passed_over() {
    for shared in matrix() {
        shared.create("bootstrap", 1, &[]);
        shared.broker.produce_numbers("bootstrap", 0, 10);
        let receiver = Receiver::accepting();
        let brokers = format!("127.0.0.1:{},no-such-host.invalid:9092,{}", free_port(), shared.address());
        deliver(&brokers, "bootstrap", &receiver, &[]);
        assert_eq!(bodies(&receiver), numbered(0..10));
    }
}

#[test]
fn a_broker_that_advertises_what_cant_be_reached_is_named() {
    let Some(mut broker) = Broker::start(NEW) else { return };
    broker.produce_numbers("any", 0, 1);
    broker.kill();
    let address = format!("127.0.0.1:{}", free_port());
    broker.set("advertised.listeners", &format!("PLAINTEXT://{address}"));
    broker.boot();
    let receiver = Receiver::accepting();
    let brokers = broker.address();
    let check = ["check", "--brokers", &brokers, "--topic", "any", "--url", &receiver.url()];
    let ended = binary::run(&check).expect(1);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains(&address) && said.contains("advertise"), "{said}");
    let running = listened(&brokers, "any", &receiver, &[]);
    let tells = |line: Line| line.text.contains(&address) && line.text.contains("advertise");
    while !tells(running.line_within(LONG).expect("it is told")) {}
}

#[test]
fn ipv6_is_an_address_like_any_other() {
    let Some(mut broker) = Broker::at(Ipv6Addr::LOCALHOST.into(), NEW, &[]) else { return };
    broker.boot();
    broker.produce_numbers("six", 0, 10);
    let receiver = Receiver::accepting();
    assert!(broker.address().starts_with("[::1]:"));
    deliver(&broker.address(), "six", &receiver, &[]);
    assert_eq!(bodies(&receiver), numbered(0..10));
}

#[test]
fn a_broker_that_restarts_is_found_again() {
    for version in [OLDEST, NEW] {
        let Some(mut broker) = Broker::start(version) else { return };
        broker.produce_numbers("restarts", 0, 500);
        let receiver = Receiver::accepting();
        let running = start(&broker.address(), "restarts", &receiver, &[]);
        eventually("some", || receiver.begun() > 100);
        broker.kill();
        broker.boot();
        let admin = broker.admin();
        eventually("it leads again", || {
            admin.ask("leaders restarts").is_ok_and(|leaders| !leaders.contains("=-1"))
        });
        broker.produce_numbers("restarts", 500, 500);
        eventually("all", || receiver.accepted().len() == 1_000);
        running.signal("TERM");
        running.wait().expect(0);
    }
}

#[test]
fn check_shows_brokers_partitions_and_members_and_touches_nothing() {
    for shared in matrix() {
        shared.create("checked", 2, &[]);
        shared.broker.produce_numbers("checked", 0, 7);
        let receiver = Receiver::accepting();
        let (address, url) = (shared.address(), receiver.url());
        let check =
            ["check", "--brokers", &address, "--topic", "checked", "--group", "checked", "--url", &url];
        let ended = binary::run(&check).expect(0);
        for text in [address.as_str(), "checked", "0 to 7"] {
            assert!(ended.stdout.contains(text), "{}: {text:?} in:\n{}", shared.version, ended.stdout);
        }
        assert_eq!(receiver.begun(), 0);
        let group = shared.admin(|admin| admin.group("checked"));
        assert!(!group.is_ok_and(|(_, members)| !members.is_empty()));
        let running = start(&address, "checked", &receiver, &[]);
        eventually("all", || shared.committed("checked") == 7);
        let ended = binary::run(&check).expect(0);
        assert!(ended.stdout.contains("member"), "{}", ended.stdout);
        let members = shared.admin(|admin| admin.group("checked")).unwrap().1;
        assert_eq!(members.len(), 1, "{}: check has joined", shared.version);
        running.signal("TERM");
        running.wait().expect(0);
    }
}

#[test]
fn a_topic_or_partition_that_is_not_there_is_told() {
    let Some(shared) = newest() else { return };
    let Some(broker) = Broker::with(NEW, &[("auto.create.topics.enable", "false")]) else { return };
    let receiver = Receiver::accepting();
    let (address, url) = (broker.address(), receiver.url());
    binary::run(&arguments(&address, "nowhere", &url, &[])).expect(1).saying("nowhere").saying("--topic");
    shared.create("somewhere", 2, &[]);
    let address = shared.address();
    let ended = binary::run(&arguments(&address, "somewhere", &url, &["--partitions", "9"]));
    ended.expect(1).saying("9");
}
