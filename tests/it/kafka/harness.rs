//! The harness itself: what the other tests take for granted.

use crate::kafka::matrix;
use crate::support::admin::Admin;
use crate::support::broker::Broker;
use crate::support::counter::Received;
use crate::support::eventually;
use crate::support::jvm::program;
use crate::support::members::{
    Kind, Member, Membership, Owned, owned_twice, sent_by_strangers, used_numbers,
};
use crate::support::program::Program;
use std::time::{Duration, Instant};

#[test]
fn brokers_of_each_version_serve() {
    for shared in matrix() {
        let (broker, version) = (&shared.broker, shared.version);
        let admin = broker.admin();
        admin.create("orders", 2, 1, &["message.timestamp.type=LogAppendTime"]);
        broker.produce_numbers("orders", 0, 10);
        assert_eq!(admin.ends("orders")[&0], 10, "{version}");
        admin.grow("orders", 3);
        admin.cut("orders", 0, 4);
        eventually("the cut", || admin.starts("orders")[&0] == 4);
        admin.commit("billing", "orders", 0, 7);
        assert_eq!(admin.committed("billing")["orders-0"], 7);
        transactions(broker, &admin);
        member(broker, &admin);
        admin.delete("orders");
    }
}

fn transactions(broker: &Broker, admin: &Admin) {
    admin.create("tx", 2, 1, &[]);
    let mut java = program("Transactions");
    java.args([&broker.address(), "tx", "2", "8", "lz4"]);
    let lines = Program::start(java).close();
    assert_eq!(lines.last().unwrap().text, "done");
    assert!(lines.iter().any(|line| line.text == "kept 1:a0-1-2"), "{lines:?}");
}

fn member(broker: &Broker, admin: &Admin) {
    let mut java = program("Member");
    java.args([&broker.address(), "shipping", "orders", "cooperative-sticky", "-", "java-1"]);
    let mut member = Program::start(java);
    assert_eq!(member.expect("assigned"), "orders-0 orders-1 orders-2");
    assert_eq!(member.expect("record"), "orders-0 4 4");
    let (state, members) = admin.group("shipping").unwrap();
    assert_eq!((state.as_str(), members.len(), members[0].client.as_str()), ("Stable", 1, "java-1"));
    member.say("leave");
    member.expect("left");
}

/// A member that had partition 0 from and until these seconds.
fn owner(number: usize, from: u64, until: u64, begun: Instant) -> Member {
    let to = Membership { brokers: "127.0.0.1:1", group: "g", topic: "t", assignor: "range" };
    let mut member = Member::start(Kind::Kcat, number, &to, "", &[]);
    let at = |second| begun + Duration::from_secs(second);
    let partition = "t-0".to_owned();
    member.owned.push(Owned { member: number, partition, from: at(from), until: Some(at(until)) });
    member
}

#[test]
fn a_partition_with_two_owners_or_a_stranger_is_noticed() {
    let begun = Instant::now();
    let [a, b, c] = [owner(0, 0, 10, begun), owner(1, 10, 20, begun), owner(2, 15, 30, begun)];
    let members = [a, b, c];
    assert!(owned_twice(&members[..2]).is_empty());
    assert_eq!(owned_twice(&members).len(), 1);
    let sent = |second| {
        let began = begun + Duration::from_secs(second);
        Received { sender: 0, partition: 0, offset: 7, number: 7, began, ended: began, accepted: true }
    };
    assert!(sent_by_strangers(&members, "t", &[sent(5)]).is_empty());
    assert_eq!(sent_by_strangers(&members, "t", &[sent(12)]).len(), 1);
    assert_eq!(used_numbers(&members, &[sent(5), sent(12)]).1, 1);
}
