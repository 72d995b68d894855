//! Instances of ours that share a group.

use crate::kafka::{Shared, bodies, listened, matrix, newest, numbered, start};
use crate::support::eventually;
use crate::support::jvm::program;
use crate::support::program::Program;
use crate::support::receiver::{Receiver, Reply};
use sluicegate::kafka::protocol::ApiKey;
use sluicegate::kafka::sandbox::faults::Fault;
use sluicegate::kafka::sandbox::{Sandbox, SandboxSettings};
use std::process::Command;
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 6;

fn six(shared: &Shared, topic: &str) {
    shared.create(topic, PARTITIONS, &[]);
}

/// Produces the numbers from `first` on, a hundred into each partition.
fn write(shared: &Shared, topic: &str, first: usize) {
    for partition in 0..PARTITIONS as usize {
        let numbers = crate::support::broker::numbers(first + partition * 100, 100);
        shared.broker.produce(topic, &["-p", &partition.to_string()], numbers.as_bytes());
    }
}

/// How many partitions each member of a stable group has, sorted; empty while it is not stable.
fn shares(shared: &Shared, group: &str) -> Vec<usize> {
    let Ok((state, members)) = shared.admin(|admin| admin.group(group)) else { return Vec::new() };
    let mut shares: Vec<usize> = members.iter().map(|member| member.partitions.len()).collect();
    shares.sort();
    if state == "Stable" { shares } else { Vec::new() }
}

#[test]
fn two_instances_share_and_one_takes_over_from_the_other() {
    for (shared, assignor) in matrix().zip(["range", "roundrobin", "cooperative-sticky"]) {
        let topic = format!("pair-{assignor}");
        six(shared, &topic);
        write(shared, &topic, 0);
        let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(1), 204));
        let more = ["--assignor", assignor, "--session-timeout", "3s", "--batch-size", "20"];
        let one = start(&shared.address(), &topic, &receiver, &more);
        eventually("it has all", || shares(shared, &topic) == [6]);
        let other = start(&shared.address(), &topic, &receiver, &more);
        eventually("they share", || shares(shared, &topic) == [3, 3]);
        write(shared, &topic, 600);
        eventually("some", || receiver.begun() > 700);
        one.kill();
        eventually("the other has all", || shares(shared, &topic) == [6]);
        write(shared, &topic, 1_200);
        let all = numbered(0..1_800);
        eventually("all", || receiver.accepted().len() == all.len());
        eventually("all committed", || shared.committed(&topic) == 1_800);
        other.signal("TERM");
        other.wait().expect(0);
        let mut delivered = bodies(&receiver);
        let twice = delivered.len() - all.len();
        delivered.dedup();
        assert_eq!(delivered, all);
        println!("FAULT {} {assignor}: a member killed, lost 0, duplicates {twice}", shared.version);
        assert!(twice <= 20 * 6, "{twice} duplicates, more than the uncommitted batches");
    }
}

#[test]
fn an_instance_that_leaves_hands_over_without_a_duplicate() {
    for shared in matrix() {
        six(shared, "handover");
        let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(1), 204));
        let more = ["--session-timeout", "30s"];
        let one = start(&shared.address(), "handover", &receiver, &more);
        let other = start(&shared.address(), "handover", &receiver, &more);
        eventually("they share", || shares(shared, "handover") == [3, 3]);
        write(shared, "handover", 0);
        eventually("some", || receiver.begun() > 50);
        one.signal("TERM");
        one.wait().expect(0);
        // Long before its session would have ended.
        eventually("the other has all", || shares(shared, "handover") == [6]);
        write(shared, "handover", 600);
        eventually("all", || receiver.accepted().len() == 1_200);
        other.signal("TERM");
        other.wait().expect(0);
        assert_eq!(bodies(&receiver), numbered(0..1_200), "{}", shared.version);
    }
}

/// A session that a busy machine keeps up, though not for long.
const SESSION: Duration = Duration::from_secs(4);

#[test]
fn a_member_that_takes_its_time_to_join_costs_the_others_nothing() {
    for shared in matrix() {
        let topic = "leisure";
        six(shared, topic);
        write(shared, topic, 0);
        let receiver = Receiver::accepting();
        let more = ["--assignor", "cooperative-sticky", "--session-timeout", "4s"];
        let mut one = listened(&shared.address(), topic, &receiver, &more);
        eventually("it has all", || shares(shared, topic) == [6]);
        eventually("all", || receiver.begun() == 600);
        // A broker that has just started looks for its coordinators.
        one.said().for_each(drop);
        let mut java = program("Member");
        java.args([&shared.address(), topic, topic, "cooperative-sticky", "-", "java"]);
        let mut java = Program::start(java);
        eventually("they share", || shares(shared, topic) == [3, 3]);
        java.say("rest");
        let other = start(&shared.address(), topic, &receiver, &more);
        let rebalances = || shared.admin(|admin| admin.group(topic)).unwrap().0 == "PreparingRebalance";
        eventually("a rebalance waits for it", rebalances);
        let begun = Instant::now();
        eventually("two sessions are over", || begun.elapsed() > 2 * SESSION);
        let before = receiver.begun();
        write(shared, topic, 600);
        eventually("what it keeps goes on", || receiver.begun() >= before + 300);
        assert!(rebalances(), "{}: the rebalance is over too early to show anything", shared.version);
        java.say("work");
        eventually("all share", || shares(shared, topic) == [2, 2, 2]);
        let said: Vec<String> = one.said().map(|line| line.text).collect();
        let loses = |line: &&String| line.contains("lost [") || line.contains("did not answer");
        assert_eq!(said.iter().find(loses), None, "{}", shared.version);
        java.say("leave");
        java.close();
        other.signal("TERM");
        other.wait().expect(0);
        one.kill();
    }
}

/// Members whose partitions the broker assigns (KIP-848) can't be sent along what they may use of the limit.
#[test]
fn a_limit_for_the_group_ends_the_run_where_the_broker_assigns() {
    let Some(shared) = newest() else { return };
    six(shared, "assigned");
    let address = shared.address();
    let java = |topic: &str| {
        let mut java = program("Member");
        java.args([address.as_str(), topic, topic, "consumer", "-", "java"]);
        Program::start(java)
    };
    let receiver = Receiver::accepting();
    let more = ["--session-timeout", "6s", "--timeout", "1s"];
    let limited = [&more[..], &["--group-max-concurrency", "4"]].concat();
    let mut first = java("assigned");
    eventually("it has all", || shares(shared, "assigned") == [6]);
    let ended = start(&shared.address(), "assigned", &receiver, &limited).wait().expect(1);
    ended.saying("group.protocol=consumer").saying("--group-max-concurrency");
    // Without a limit they share.
    let ours = start(&shared.address(), "assigned", &receiver, &more);
    eventually("they share", || shares(shared, "assigned") == [3, 3]);
    first.say("leave");
    first.close();
    ours.signal("TERM");
    ours.wait().expect(0);
    // Where ours were first, the broker turns the newcomer away, and they go on.
    six(shared, "splitting");
    let ours = start(&shared.address(), "splitting", &receiver, &limited);
    eventually("it has all", || shares(shared, "splitting") == [6]);
    let refused = java("splitting");
    eventually("it is told", || {
        refused.said().any(|line| line.text.contains("Cannot upgrade classic group"))
    });
    write(shared, "splitting", 0);
    eventually("all", || receiver.begun() == 600);
    ours.signal("TERM");
    ours.wait().expect(0);
}

/// A coordinator that can be made silent.
fn sandbox(topic: &str) -> Sandbox {
    let sandbox = Sandbox::start(SandboxSettings::default()).unwrap();
    sandbox.create(topic, PARTITIONS as i32).unwrap();
    sandbox
}

/// Each costs what an answer may take within a session, not what any request may.
#[test]
fn a_heartbeat_and_a_search_that_get_lost_cost_no_partition() {
    let sandbox = sandbox("silent");
    let receiver = Receiver::accepting();
    let session = Duration::from_secs(6);
    let mut one = listened(&sandbox.address().to_string(), "silent", &receiver, &["--session-timeout", "6s"]);
    eventually("it has all", || one.said().any(|line| line.text.contains("] assigned")));
    let faults = sandbox.faults();
    faults.inject(ApiKey::Heartbeat, Fault::NoAnswer, 1);
    faults.inject(ApiKey::FindCoordinator, Fault::NoAnswer, 1);
    eventually("both are lost", || {
        faults.left(ApiKey::Heartbeat) == 0 && faults.left(ApiKey::FindCoordinator) == 0
    });
    let begun = Instant::now();
    eventually("a session is over", || begun.elapsed() > session);
    let said: Vec<String> = one.said().map(|line| line.text).collect();
    assert!(said.iter().any(|line| line.contains("did not answer")), "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("lost [")), "{said:#?}");
    one.kill();
}

#[test]
fn a_leave_that_nobody_answers_is_told() {
    let sandbox = sandbox("left");
    let receiver = Receiver::accepting();
    let mut one = listened(&sandbox.address().to_string(), "left", &receiver, &[]);
    eventually("it has all", || one.said().any(|line| line.text.contains("] assigned")));
    sandbox.faults().inject(ApiKey::LeaveGroup, Fault::NoAnswer, 10);
    let begun = Instant::now();
    let kill = Command::new("kill").args(["-TERM", &one.pid().to_string()]).status().unwrap();
    assert!(kill.success());
    eventually("it ends", || one.has_ended());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let said: Vec<String> = one.said().map(|line| line.text).collect();
    let told = said.iter().filter(|line| line.contains("may not know that this member leaves")).count();
    assert_eq!(told, 1, "{said:#?}");
}

#[test]
fn a_static_member_that_restarts_costs_no_rebalance() {
    for shared in matrix() {
        six(shared, "static");
        let receiver = Receiver::accepting();
        let more = |instance| ["--session-timeout", "30s", "--instance-id", instance];
        let one = start(&shared.address(), "static", &receiver, &more("one"));
        eventually("it has all", || shares(shared, "static") == [6]);
        let mut other = listened(&shared.address(), "static", &receiver, &more("two"));
        eventually("they share", || shares(shared, "static") == [3, 3]);
        let members = || shared.admin(|admin| admin.group("static")).unwrap().1;
        let of = |instance: &str| {
            members().into_iter().find(|member| member.instance.as_deref() == Some(instance)).unwrap()
        };
        let (before, kept) = (of("one"), of("two"));
        eventually("it knows", || other.said().any(|line| line.text.contains("] assigned")));
        one.signal("TERM");
        one.wait().expect(0);
        let again = start(&shared.address(), "static", &receiver, &more("one"));
        eventually("it is back", || of("one").id != before.id && shares(shared, "static") == [3, 3]);
        assert_eq!(of("one").partitions, before.partitions, "{}", shared.version);
        assert_eq!(of("two"), kept);
        write(shared, "static", 0);
        eventually("all", || receiver.begun() == 600);
        assert_eq!(bodies(&receiver), numbered(0..600));
        let said: Vec<String> = other.said().map(|line| line.text).collect();
        let moved = said.iter().any(|line| line.contains("giving up") || line.contains("] assigned"));
        assert!(!moved, "{}: the other was rebalanced: {said:#?}", shared.version);
        again.signal("TERM");
        again.wait().expect(0);
        other.kill();
    }
}

#[test]
fn two_with_the_same_instance_id_are_told() {
    let Some(shared) = newest() else { return };
    six(shared, "fenced");
    let receiver = Receiver::accepting();
    let more = ["--session-timeout", "6s", "--instance-id", "the-one"];
    let first = start(&shared.address(), "fenced", &receiver, &more);
    eventually("it has all", || shares(shared, "fenced") == [6]);
    let second = start(&shared.address(), "fenced", &receiver, &more);
    first.wait().expect(1).saying("instance id the-one");
    write(shared, "fenced", 0);
    eventually("all", || receiver.begun() == 600);
    second.signal("TERM");
    second.wait().expect(0);
    assert_eq!(bodies(&receiver), numbered(0..600));
}

#[test]
fn partitions_by_hand_need_no_group() {
    for shared in matrix() {
        six(shared, "by-hand");
        write(shared, "by-hand", 0);
        let receiver = Receiver::accepting();
        crate::kafka::deliver(&shared.address(), "by-hand", &receiver, &["--partitions", "1,4"]);
        assert_eq!(bodies(&receiver), {
            let mut expected = [numbered(100..200), numbered(400..500)].concat();
            expected.sort();
            expected
        });
        assert_eq!(shared.committed("by-hand"), 200, "{}", shared.version);
    }
}
