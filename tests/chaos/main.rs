//! A cluster that loses brokers, a group that loses members, leaders that move or hang, topics that grow, are deleted
//! and made anew, or lose their newest records, and producers that never stop: every acknowledged record that is
//! still in its topic is delivered, in order within its partition but where another member takes over; and once a
//! fault has ended, no partition with records to deliver makes no progress for long.
//!
//! A test run lasts a minute; `tests/chaos/run MINUTES` is the long form.

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod ledger;
mod progress;
mod side;
mod verdict;

use faults::{Card, DECK, Done, ONCE, Trouble};
use progress::Progress;
use side::{Side, Writer};
use std::time::{Duration, Instant};
use support::admin::Admin;
use support::broker::NEW;
use support::cluster::Cluster;
use support::counter::Counter;
use support::dice::Dice;
use support::members::{Kind, Member, Membership};
use support::numbered::Numbered;

const TOPIC: &str = "chaos";
const GROUP: &str = "chaos";
const PARTITIONS: u32 = 12;
const RATE: u32 = 300;
const BROKERS: usize = 3;
const MOST_MEMBERS: usize = 4;
const CONCURRENCY: usize = 8;
const SESSION: Duration = Duration::from_secs(6);
/// How long everything may take to be delivered once all is well again.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long a partition may make no progress once all is well again.
const LONGEST_STALL: Duration = Duration::from_secs(60);
/// How long the test is at the least that `cargo test` runs.
const SHORT: u64 = 30;
/// After at least so many actions, and at most twice as many, everything has to be delivered before the next.
const BURST: usize = 6;
/// A busy machine makes brokers late; one that is late is no longer in sync.
const SLOW: [(&str, &str); 4] = [
    ("auto.create.topics.enable", "false"),
    ("broker.session.timeout.ms", "5000"),
    ("controller.quorum.fetch.timeout.ms", "3000"),
    ("replica.lag.time.max.ms", "4000"),
];

struct Chaos<'a> {
    cluster: Cluster,
    admin: Admin,
    to: Membership<'a>,
    counter: Counter,
    producer: Numbered,
    writer: Writer,
    /// Gets more partitions.
    grown: Side,
    /// Is deleted and made anew.
    anew: Side,
    /// Loses records in unclean elections.
    cut: Side,
    members: Vec<Member>,
    /// When the last of those joined that name their topics.
    named: Instant,
    dice: Dice,
    done: Done,
    trouble: Option<Trouble>,
    /// A member that is stopped, and until when.
    frozen: Option<(usize, Instant)>,
    /// A topic is deleted, until when.
    missing: Option<Instant>,
    /// When the brokers were asked last.
    looked: Instant,
    progress: Progress,
    is_short: bool,
    begun: Instant,
    /// What was done, and when.
    report: Vec<String>,
}

impl Chaos<'_> {
    fn join(&mut self) {
        let number = self.members.len();
        let window = ["batch", "sliding"][number % 2];
        let subscribed = self.dice.below(2) == 0;
        let (session, concurrency) = (format!("{}s", SESSION.as_secs()), CONCURRENCY.to_string());
        let mut more = vec!["--session-timeout", &session, "--order", order(), "--window", window];
        more.extend(["--backoff", "5ms..500ms", "--max-concurrency", &concurrency]);
        let mut to = self.to.clone();
        if subscribed {
            to.topic = "^chaos.*";
        } else {
            [&self.grown, &self.anew, &self.cut].iter().for_each(|side| more.extend(["--topic", side.name]));
        }
        let how = if subscribed { "by pattern" } else { "by names" };
        let member = Member::start(Kind::Ours, number, &to, &self.counter.url(number), &more);
        self.members.push(member);
        if !subscribed {
            self.named = Instant::now();
        }
        self.tell(format!("member {number} joins: {window}, {how}"));
    }

    fn brokers(&self) -> String {
        self.cluster.addresses()
    }

    /// Notes what is done.
    fn tell(&mut self, what: String) {
        let line = format!("{:7.2} {what}", self.begun.elapsed().as_secs_f64());
        self.report.push(line);
    }

    /// The members that take part.
    fn there(&self) -> Vec<usize> {
        let frozen = self.frozen.map(|(member, _)| member);
        (0..self.members.len()).filter(|at| self.members[*at].is_there() && frozen != Some(*at)).collect()
    }

    /// Takes in what happened, writes what is due, and sees that no partition stalls.
    fn listen(&mut self) {
        self.producer.listen();
        self.writer.listen();
        for member in &mut self.members {
            member.listen();
            assert!(!member.has_ended(), "member {} ended: {:#?}", member.number, last(&member.said, 20));
        }
        let now = Instant::now();
        for side in [&mut self.grown, &mut self.anew, &mut self.cut] {
            self.writer.write(side, now);
        }
        let fresh = std::mem::take(&mut self.producer.fresh).into_iter();
        for (number, partition) in fresh.chain(std::mem::take(&mut self.writer.fresh)) {
            if self.can_be_asked_for(number) {
                self.progress.acked(number, partition, now);
            }
        }
        self.progress.received(&self.counter.received());
        if self.is_disturbed() {
            self.progress.disturbed(now);
        }
        let stall = self.progress.stalled(now);
        if stall.lasted > LONGEST_STALL {
            self.check_stall(&stall);
        }
    }

    /// Whether a record is not of a former life of its topic.
    fn can_be_asked_for(&self, number: u64) -> bool {
        side::topic_of(number) != self.anew.index
            || (self.anew.there && side::life_of(number) == self.anew.life)
    }

    /// A partition makes no progress: fails, unless its records were cut off.
    fn check_stall(&mut self, stall: &progress::Stall) {
        self.drop_cut_off();
        let again = self.progress.stalled(Instant::now());
        assert!(
            again.lasted <= LONGEST_STALL,
            "{}-{} has made no progress for {:?} though all is well; record {} waits",
            self.name(stall.lane.0),
            stall.lane.1,
            stall.lasted,
            stall.number
        );
    }

    /// A topic's name.
    fn name(&self, index: u64) -> &'static str {
        let sides = [&self.grown, &self.anew, &self.cut];
        sides.iter().find(|side| side.index == index).map_or(TOPIC, |side| side.name)
    }

    /// A shuffled hand of these cards.
    fn shuffle(&mut self, mut cards: Vec<Card>) -> Vec<Card> {
        for at in (1..cards.len()).rev() {
            cards.swap(at, self.dice.below(at + 1));
        }
        cards
    }

    /// Plays each card once, and then whichever can be played until the time is over; in a long run, everything has
    /// to be delivered now and then.
    fn rage(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut once: Vec<Card> = ONCE.iter().flat_map(|cards| self.shuffle(cards.to_vec())).collect();
        let mut left = BURST + self.dice.below(BURST);
        let mut next = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end || !once.is_empty() {
            self.step();
            let now = Instant::now();
            if now < next {
                continue;
            }
            if self.there().len() < 2 && self.missing.is_none() {
                self.join();
            } else if !once.is_empty() {
                if let Some(at) = (0..once.len()).find(|at| self.play(once[*at], now)) {
                    once.remove(at);
                    left -= 1;
                }
            } else {
                let all = DECK.iter().flat_map(|(card, count)| std::iter::repeat_n(*card, *count)).collect();
                let played = self.shuffle(all).into_iter().any(|card| self.play(card, now));
                left -= usize::from(played);
            }
            if left == 0 && !self.is_short {
                self.calm();
            }
            if left == 0 {
                left = BURST + self.dice.below(BURST);
            }
            let pause =
                if self.is_short { 300 + self.dice.below(1_200) } else { 500 + self.dice.below(3_000) };
            next = Instant::now() + Duration::from_millis(pause as u64);
        }
    }

    fn step(&mut self) {
        self.listen();
        self.recover(Instant::now());
        std::thread::sleep(Duration::from_millis(20)); // between two looks
    }

    /// Ends all faults, and waits until all that was acknowledged by then is delivered.
    fn calm(&mut self) {
        self.tell("calm".into());
        let deadline = Instant::now() + PATIENCE;
        while self.is_disturbed() || self.trouble.is_some() {
            assert!(Instant::now() < deadline, "the cluster never came back: {:?}", self.trouble);
            self.step();
        }
        if self.there().is_empty() {
            self.join();
        }
        self.listen();
        let mut waiting: Vec<u64> = self.progress.waiting().collect();
        self.tell(format!("{} records wait", waiting.len()));
        let deadline = Instant::now() + PATIENCE;
        while !waiting.is_empty() {
            assert!(
                Instant::now() < deadline,
                "{} records are not delivered: {:?}",
                waiting.len(),
                waiting.first()
            );
            self.step();
            let still: std::collections::HashSet<u64> = self.progress.waiting().collect();
            waiting.retain(|number| still.contains(number));
        }
        self.tell("all delivered".into());
    }

    /// Ends all faults, stops the producers, and waits for the rest; how many the main one sent.
    fn settle(&mut self) -> u64 {
        self.calm();
        let sent = self.producer.stop();
        self.writer.stop();
        self.calm();
        sent
    }

    /// Writes what was done and what members said below `target/chaos`.
    fn keep(&self) {
        let folder = support::jvm::target().join("chaos").join(std::process::id().to_string());
        let _ = std::fs::create_dir_all(&folder);
        let _ = std::fs::write(folder.join("report"), self.report.join("\n"));
        for member in &self.members {
            let line = |line: &support::program::Line| {
                format!("{:7.2} {}\n", (line.at - self.begun).as_secs_f64(), line.text)
            };
            let lines: String = member.heard.iter().map(line).collect();
            let _ = std::fs::write(folder.join(format!("member-{}", member.number)), lines);
        }
        eprintln!("what was done and said is in {}", folder.display());
    }
}

impl Drop for Chaos<'_> {
    /// Of a run that failed, what was done and what members said is kept.
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("SLUICEGATE_CHAOS_KEEP").is_some() {
            self.keep();
        }
    }
}

/// Which order is kept: by partition, or what `SLUICEGATE_CHAOS_ORDER` says.
fn order() -> &'static str {
    match std::env::var("SLUICEGATE_CHAOS_ORDER").as_deref() {
        Ok("key") => "key",
        _ => "partition",
    }
}

fn last(said: &[String], count: usize) -> &[String] {
    &said[said.len().saturating_sub(count)..]
}

#[test]
fn every_acknowledged_record_is_delivered_whatever_fails() {
    let seconds = std::env::var("SLUICEGATE_CHAOS").ok().map(|seconds| seconds.parse().unwrap());
    let Some(cluster) = Cluster::with(NEW, BROKERS, &SLOW) else { return };
    let (brokers, admin) = (cluster.addresses(), cluster.admin());
    admin.create(TOPIC, PARTITIONS, BROKERS as u32, &["min.insync.replicas=2"]);
    let safe: &[&str] = &["min.insync.replicas=2"];
    let risky: &[&str] = &["min.insync.replicas=1", "unclean.leader.election.enable=true"];
    let mut grown = Side::new(1, "chaos-grown", 1, 3, safe);
    let mut anew = Side::new(2, "chaos-anew", 3, 3, safe);
    let mut cut = Side::new(3, "chaos-cut", 3, 2, risky);
    for side in [&mut grown, &mut anew, &mut cut] {
        admin.create(side.name, side.partitions, side.replicas, side.config);
        side.begin(side.partitions);
    }
    let producer = Numbered::start(&brokers, TOPIC, PARTITIONS, RATE);
    let writer = Writer::start(&brokers);
    let to = Membership { brokers: &brokers, group: GROUP, topic: TOPIC, assignor: "cooperative-sticky" };
    // Some answers fail, so that there is something to overtake.
    let counter = Counter::start(|number| if number % 97 == 96 { 500 } else { 204 });
    let (dice, members, done, begun) = (Dice::new("chaos"), Vec::new(), Done::default(), Instant::now());
    let mut chaos = Chaos {
        cluster,
        admin,
        to,
        counter,
        producer,
        writer,
        grown,
        anew,
        cut,
        members,
        named: begun,
        dice,
        done,
        trouble: None,
        frozen: None,
        missing: None,
        looked: begun,
        progress: Progress::new(begun),
        is_short: seconds.is_none(),
        begun,
        report: Vec::new(),
    };
    chaos.join();
    chaos.join();
    chaos.rage(Duration::from_secs(seconds.unwrap_or(SHORT)));
    let sent = chaos.settle();
    for member in chaos.members.iter_mut().filter(|member| member.is_there()) {
        member.leave();
    }
    chaos.judge(sent);
}
