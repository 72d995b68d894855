//! A log that was cut short and written on by another leader, or restored from a backup: its new records must not pass
//! for the old ones.

use crate::kafka::{bodies, deliver, numbered, start};
use crate::support::admin::Admin;
use crate::support::broker::{Broker, NEW};
use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::jvm::target;
use crate::support::output::fed;
use crate::support::receiver::Receiver;
use std::path::Path;
use std::process::Command;

/// Produces the numbers to partition 0, acknowledged by all that are in sync: who leads next has them, unless it was
/// out of sync.
pub fn produce(brokers: &str, topic: &str, numbers: std::ops::Range<usize>) {
    let mut kcat = Command::new("kcat");
    kcat.args(["-P", "-b", brokers, "-t", topic, "-p", "0", "-X", "acks=all"]);
    let lines: String = numbers.map(|number| format!("{number}\n")).collect();
    assert!(fed(&mut kcat, lines.as_bytes()).status.success());
}

/// A cluster with a topic of one partition on two nodes, either of which may lead it.
pub fn two_in_sync(topic: &'static str) -> Option<(Cluster, Admin, &'static str)> {
    let cluster = Cluster::start(NEW, 3)?;
    let admin = cluster.admin();
    admin.create(topic, 1, 2, &["min.insync.replicas=1", "unclean.leader.election.enable=true"]);
    Some((cluster, admin, topic))
}

/// From here on the follower knows of nothing that is written; who leads, and who follows.
pub fn part_them(cluster: &mut Cluster, admin: &Admin, topic: &str) -> (usize, usize) {
    let leader = usize::try_from(admin.leaders(topic)[&0]).unwrap();
    let follower = (1..=3).find(|node| *node != leader && admin.lead(topic, 0, *node).is_ok()).unwrap();
    admin.lead(topic, 0, leader).unwrap();
    eventually("the first leader", || admin.leaders(topic)[&0] == leader as i32);
    eventually("both in sync", || admin.in_sync(topic)[&0] == 2);
    cluster.kill(follower);
    eventually("the follower is gone", || admin.in_sync(topic)[&0] == 1);
    (leader, follower)
}

/// The leader dies, and the one that knows less takes over.
pub fn elect(cluster: &mut Cluster, admin: &Admin, topic: &str, (leader, follower): (usize, usize)) {
    cluster.kill(leader);
    cluster.boot(follower);
    eventually("an unclean leader", || admin.leaders(topic)[&0] == follower as i32);
}

#[test]
fn records_of_a_new_leader_are_delivered_though_its_log_was_shorter() {
    let Some((mut cluster, admin, topic)) = two_in_sync("cut-short") else { return };
    let brokers = cluster.addresses();
    produce(&brokers, topic, 0..10);
    let (leader, follower) = part_them(&mut cluster, &admin, topic);
    produce(&brokers, topic, 10..30);
    let receiver = Receiver::accepting();
    deliver(&brokers, topic, &receiver, &[]);
    assert_eq!(bodies(&receiver), numbered(0..30));
    // Who has the last twenty dies, and who has them not takes over and is written to.
    elect(&mut cluster, &admin, topic, (leader, follower));
    produce(&brokers, topic, 100..140);
    let second = Receiver::accepting();
    let ended = deliver(&brokers, topic, &second, &[]);
    let delivered = bodies(&second);
    let missing: Vec<String> =
        numbered(100..140).into_iter().filter(|body| !delivered.contains(body)).collect();
    assert!(missing.is_empty(), "skipped {missing:?}\n{}", ended.stderr);
    ended.saying("cut-short-0").saying("WARN");
}

#[test]
fn a_position_beyond_a_shorter_log_goes_back_to_where_the_logs_part() {
    let Some((mut cluster, admin, topic)) = two_in_sync("cut-shorter") else { return };
    let brokers = cluster.addresses();
    produce(&brokers, topic, 0..10);
    let (leader, follower) = part_them(&mut cluster, &admin, topic);
    produce(&brokers, topic, 10..30);
    deliver(&brokers, topic, &Receiver::accepting(), &[]);
    elect(&mut cluster, &admin, topic, (leader, follower));
    produce(&brokers, topic, 100..102);
    // Whatever is said of positions outside of a log: where it was cut is known.
    let receiver = Receiver::accepting();
    let ended = deliver(&brokers, topic, &receiver, &["--offset-reset", "latest"]);
    assert_eq!(bodies(&receiver), numbered(100..102), "{}", ended.stderr);
    ended.saying("cut off at offset 10");
}

/// Makes `to` a copy of a folder.
fn copy(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn the_records_of_a_restored_log_are_delivered_though_it_has_grown_past_the_position() {
    let folder = target().join("broker").join(format!("restored-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (logs, backup) = (folder.join("logs"), folder.join("backup"));
    let Some(mut broker) = Broker::with(NEW, &[("log.dirs", logs.to_str().unwrap())]) else { return };
    let (admin, address) = (broker.admin(), broker.address());
    let topics = ["restored", "restored-late"];
    let produce_to_both = |broker: &Broker, first, count| {
        topics.iter().for_each(|topic| broker.produce_numbers(topic, first, count));
    };
    topics.iter().for_each(|topic| admin.create(topic, 1, 1, &[]));
    produce_to_both(&broker, 0, 10);
    let (early, late) = (Receiver::accepting(), Receiver::accepting());
    let first = start(&address, topics[0], &early, &["--partitions", "0"]);
    eventually("what is in the backup", || bodies(&early) == numbered(0..10));
    broker.kill();
    copy(&logs, &backup);
    // Each start of the broker begins a leader epoch.
    broker.boot();
    produce_to_both(&broker, 10, 5);
    eventually("the records of the second epoch", || bodies(&early) == numbered(0..15));
    broker.kill();
    broker.boot();
    // It knows nothing of the epochs before the last one.
    let second = start(&address, topics[1], &late, &["--partitions", "0", "--start", "latest"]);
    eventually("its position", || admin.committed(topics[1]).values().sum::<i64>() == 15);
    produce_to_both(&broker, 15, 15);
    eventually("the records of the third epoch", || bodies(&early) == numbered(0..30));
    eventually("those of the other topic", || bodies(&late) == numbered(15..30));
    broker.kill();
    copy(&backup, &logs);
    broker.boot();
    produce_to_both(&broker, 100, 30);
    let all = |parts: &[std::ops::Range<usize>]| {
        let mut all: Vec<String> = parts.iter().flat_map(|part| numbered(part.clone())).collect();
        all.sort();
        all
    };
    eventually("what came after the backup", || bodies(&early) == all(&[0..30, 100..130]));
    eventually("all of a log that can't be compared", || bodies(&late) == all(&[15..30, 0..10, 100..130]));
    first.signal("TERM");
    first.wait().expect(0).saying("restored-0 was cut off at offset 10");
    second.signal("TERM");
    second.wait().expect(0).saying("leader epochs went backwards").saying("Going on at 0 (--offset-reset)");
    drop(broker);
    std::fs::remove_dir_all(&folder).unwrap();
}
