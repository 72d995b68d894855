//! A cluster that loses brokers, a group that loses members, leaders that move, and a producer that never stops:
//! every acknowledged record is delivered, in order within its partition but where another member takes over.
//!
//! A test run lasts a minute; `tests/chaos/run MINUTES` is the long form.

#[path = "../support/mod.rs"]
mod support;

mod ledger;

use ledger::Ledger;
use std::time::{Duration, Instant};
use support::admin::Admin;
use support::broker::NEW;
use support::cluster::Cluster;
use support::counter::Counter;
use support::dice::Dice;
use support::members::{Kind, Member, Membership, owned_twice};
use support::numbered::Numbered;

const TOPIC: &str = "chaos";
const PARTITIONS: u32 = 12;
const RATE: u32 = 300;
const BROKERS: usize = 3;
const MOST_MEMBERS: usize = 4;
const CONCURRENCY: usize = 8;
const SESSION: Duration = Duration::from_secs(6);
/// How long everything may take to be delivered once all is well again.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often each thing was done.
#[derive(Debug, Default)]
struct Done {
    brokers_killed: usize,
    members_killed: usize,
    members_drained: usize,
    members_frozen: usize,
    leaders_moved: usize,
}

/// As the producer has it.
const KEYS_A_PARTITION: u64 = 8;

struct Chaos<'a> {
    cluster: Cluster,
    admin: Admin,
    to: Membership<'a>,
    counter: Counter,
    producer: Numbered,
    members: Vec<Member>,
    dice: Dice,
    done: Done,
    /// A broker that is down, and until when.
    down: Option<(usize, Instant)>,
    /// A member that is stopped, and until when.
    frozen: Option<(usize, Instant)>,
}

impl Chaos<'_> {
    fn join(&mut self) {
        let number = self.members.len();
        let (session, concurrency) = (format!("{}s", SESSION.as_secs()), CONCURRENCY.to_string());
        let more = [
            "--session-timeout",
            &session,
            "--order",
            &order(),
            "--window",
            "sliding",
            "--backoff",
            "5ms..500ms",
            "--max-concurrency",
            &concurrency,
        ];
        self.members.push(Member::start(Kind::Ours, number, &self.to, &self.counter.url(number), &more));
    }

    /// The members that take part.
    fn there(&self) -> Vec<usize> {
        let frozen = self.frozen.map(|(member, _)| member);
        (0..self.members.len()).filter(|at| self.members[*at].is_there() && frozen != Some(*at)).collect()
    }

    fn listen(&mut self) {
        self.producer.listen();
        for member in &mut self.members {
            member.listen();
            assert!(!member.has_ended(), "member {} ended: {:#?}", member.number, last(&member.said, 20));
        }
    }

    /// Brings back what was down for long enough.
    fn recover(&mut self, now: Instant) {
        if let Some((node, until)) = self.down
            && until <= now
        {
            if !self.cluster.runs(node) {
                self.cluster.boot(node);
            }
            let in_sync = self.admin.ask(&format!("in-sync {TOPIC}"));
            if in_sync.is_ok_and(|text| text.split(' ').all(|pair| pair.ends_with("=3"))) {
                self.down = None;
            }
        }
        if let Some((member, until)) = self.frozen
            && until <= now
        {
            self.members[member].signal("CONT");
            self.frozen = None;
        }
    }

    fn act(&mut self, now: Instant) {
        let there = self.there();
        if there.len() < 2 {
            return self.join();
        }
        let member = self.dice.one(&there);
        match self.dice.below(10) {
            0..3 if self.down.is_none() => {
                let node = 1 + self.dice.below(BROKERS);
                self.cluster.kill(node);
                let down = Duration::from_millis(500 + self.dice.below(4_000) as u64);
                self.down = Some((node, now + down));
                self.done.brokers_killed += 1;
            }
            3..5 => {
                self.members[member].kill();
                self.done.members_killed += 1;
            }
            5 => {
                self.members[member].leave();
                self.done.members_drained += 1;
            }
            6 if self.frozen.is_none() && there.len() > 2 => {
                self.members[member].freeze();
                self.frozen = Some((member, now + SESSION + Duration::from_secs(4)));
                self.done.members_frozen += 1;
            }
            7 if self.down.is_none() => {
                let (partition, node) = (self.dice.below(PARTITIONS as usize), 1 + self.dice.below(BROKERS));
                let moved = self.admin.lead(TOPIC, partition as u32, node);
                self.done.leaders_moved += usize::from(moved.is_ok());
            }
            _ if there.len() < MOST_MEMBERS => self.join(),
            _ => {}
        }
    }

    fn rage(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut next = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            self.listen();
            let now = Instant::now();
            self.recover(now);
            if now >= next {
                self.act(now);
                next = Instant::now() + Duration::from_millis(500 + self.dice.below(3_000) as u64);
            }
            std::thread::sleep(Duration::from_millis(20)); // between two looks
        }
    }

    /// Mends all, stops the producer, and waits for the rest; how many were sent.
    fn settle(&mut self) -> u64 {
        let far = Instant::now() + PATIENCE;
        let deadline = far;
        while self.down.is_some() || self.frozen.is_some() {
            self.recover(far);
            self.listen();
            assert!(Instant::now() < deadline, "the cluster never came back");
            std::thread::sleep(Duration::from_millis(20)); // between two looks
        }
        if self.there().is_empty() {
            self.join();
        }
        let sent = self.producer.stop();
        let deadline = Instant::now() + PATIENCE;
        while !self.lost().is_empty() && Instant::now() < deadline {
            self.listen();
            std::thread::sleep(Duration::from_millis(100)); // between two looks
        }
        sent
    }

    /// Acknowledged records that were not accepted.
    fn lost(&self) -> Vec<u64> {
        ledger::lost(&self.producer.acked, &self.counter.received())
    }
}

/// Which order is kept: by partition, or what `SLUICEGATE_CHAOS_ORDER` says.
fn order() -> String {
    std::env::var("SLUICEGATE_CHAOS_ORDER").unwrap_or_else(|_| "partition".into())
}

fn last(said: &[String], count: usize) -> &[String] {
    &said[said.len().saturating_sub(count)..]
}

#[test]
fn every_acknowledged_record_is_delivered_whatever_fails() {
    let seconds: u64 = std::env::var("SLUICEGATE_CHAOS").map_or(45, |seconds| seconds.parse().unwrap());
    let Some(cluster) = Cluster::start(NEW, BROKERS) else { return };
    let (brokers, admin) = (cluster.addresses(), cluster.admin());
    admin.create(TOPIC, PARTITIONS, BROKERS as u32, &["min.insync.replicas=2"]);
    let producer = Numbered::start(&brokers, TOPIC, PARTITIONS, RATE);
    let to = Membership { brokers: &brokers, group: TOPIC, topic: TOPIC, assignor: "cooperative-sticky" };
    // Some answers fail, so that there is something to overtake.
    let counter = Counter::start(|number| if number % 97 == 96 { 500 } else { 204 });
    let (dice, members, done) = (Dice::new("chaos"), Vec::new(), Done::default());
    let mut chaos =
        Chaos { cluster, admin, to, counter, producer, members, dice, done, down: None, frozen: None };
    chaos.join();
    chaos.join();
    chaos.rage(Duration::from_secs(seconds));
    let sent = chaos.settle();
    let lost = chaos.lost();
    for member in chaos.members.iter_mut().filter(|member| member.is_there()) {
        member.leave();
    }
    let received = chaos.counter.received().clone();
    let lanes = u64::from(PARTITIONS) * KEYS_A_PARTITION;
    let ledger = Ledger::of(&chaos.members, TOPIC, &received, |record| match order().as_str() {
        "key" => (record.number % lanes, (record.number / lanes) as i64),
        _ => (record.partition.into(), record.offset),
    });
    let twice = owned_twice(&chaos.members);
    let Done { brokers_killed, members_killed, members_drained, members_frozen, leaders_moved } = chaos.done;
    println!(
        "\n| chaos | |\n|---|---|\n| seconds | {seconds} |\n| brokers killed and restarted | {brokers_killed} |\n\
         | members killed | {members_killed} |\n| members drained | {members_drained} |\n| members frozen past \
         their session | {members_frozen} |\n| leaders moved | {leaders_moved} |\n| members in all | {} |\n\
         | records acknowledged | {} of {sent} |\n| lost | {} |\n| duplicates | {} |\n| takeovers of a partition \
         | {} |\n| breaks of order but at a takeover | {} |\n| requests for a partition at the same time | {} |\n\
         | sent while another member had it | {} |\n| owned twice | {} |",
        chaos.members.len(),
        chaos.producer.acked.len(),
        lost.len(),
        ledger.duplicates,
        ledger.takeovers,
        ledger.breaks.len(),
        ledger.overlaps.len(),
        ledger.strangers.len(),
        twice.len(),
    );
    assert!(lost.is_empty(), "lost {:?}", &lost[..lost.len().min(20)]);
    assert_eq!(chaos.producer.acked.len() as u64, sent);
    assert!(ledger.breaks.is_empty(), "{:#?}", ledger.breaks);
    assert!(ledger.overlaps.is_empty(), "{:#?}", ledger.overlaps);
    assert!(twice.is_empty(), "{twice:#?}");
    // What was on its way when its sender was stopped arrives late: nobody can call it back.
    let late = members_frozen * CONCURRENCY;
    assert!(ledger.strangers.len() <= late, "{:#?}", ledger.strangers);
}
