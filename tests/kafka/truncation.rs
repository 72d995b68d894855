//! A log that was cut short and written on by another leader: its new records must not pass for the old ones.

use crate::support::broker::NEW;
use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::receiver::Receiver;
use crate::{bodies, deliver, numbered};
use std::process::{Command, Stdio};

/// Produces the numbers to partition 0, acknowledged by its leader alone.
pub fn produce(brokers: &str, topic: &str, numbers: std::ops::Range<usize>) {
    let mut kcat = Command::new("kcat")
        .args(["-P", "-b", brokers, "-t", topic, "-p", "0", "-X", "acks=1"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines: String = numbers.map(|number| format!("{number}\n")).collect();
    std::io::Write::write_all(&mut kcat.stdin.take().unwrap(), lines.as_bytes()).unwrap();
    assert!(kcat.wait().unwrap().success());
}

#[test]
fn records_of_a_new_leader_are_delivered_though_its_log_was_shorter() {
    let Some(mut cluster) = Cluster::start(NEW, 3) else { return };
    let (brokers, admin, topic) = (cluster.addresses(), cluster.admin(), "cut-short");
    admin.create(topic, 1, 2, &["min.insync.replicas=1", "unclean.leader.election.enable=true"]);
    produce(&brokers, topic, 0..10);
    let leader = usize::try_from(admin.leaders(topic)[&0]).unwrap();
    let follower = (1..=3).find(|node| *node != leader && admin.lead(topic, 0, *node).is_ok()).unwrap();
    admin.lead(topic, 0, leader).unwrap();
    eventually("the first leader", || admin.leaders(topic)[&0] == leader as i32);
    eventually("both in sync", || admin.in_sync(topic)[&0] == 2);
    cluster.kill(follower);
    eventually("the follower is gone", || admin.in_sync(topic)[&0] == 1);
    produce(&brokers, topic, 10..30);
    let receiver = Receiver::accepting();
    deliver(&brokers, topic, &receiver, &[]);
    assert_eq!(bodies(&receiver), numbered(0..30));
    // Who has the last twenty dies, and who has them not takes over and is written to.
    cluster.kill(leader);
    cluster.boot(follower);
    eventually("an unclean leader", || admin.leaders(topic)[&0] == follower as i32);
    produce(&brokers, topic, 100..140);
    let second = Receiver::accepting();
    let ended = deliver(&brokers, topic, &second, &[]);
    let delivered = bodies(&second);
    let missing: Vec<String> =
        numbered(100..140).into_iter().filter(|body| !delivered.contains(body)).collect();
    assert!(missing.is_empty(), "skipped {missing:?}\n{}", ended.stderr);
    ended.saying("cut-short-0").saying("WARN");
}
