//! Groups that our instances share with Java's consumer and with kcat: partitions are split, none is owned twice
//! at a time, and none is left alone. A test run has few joins and leaves; for many: `SLUICEGATE_MIXED=50`.

use crate::support::LONG;
use crate::support::admin::Admin;
use crate::support::broker::{Broker, NEW};
use crate::support::counter::Counter;
use crate::support::dice::Dice;
use crate::support::members::{Kind, Member, Membership, owned_twice, sent_by_strangers, used_numbers};
use crate::support::numbered::Numbered;
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 12;
const MOST_MEMBERS: usize = 5;
const RATE: u32 = 200;
const GROUP: &str = "mixed";
const TOPIC: &str = "shared";

struct Game<'a> {
    to: Membership<'a>,
    admin: Admin,
    counter: Counter,
    producer: Numbered,
    members: Vec<Member>,
    dice: Dice,
    began: Instant,
}

impl Game<'_> {
    fn join(&mut self, kind: Kind) {
        let number = self.members.len();
        let more = ["--session-timeout", "6s", "--max-concurrency", "4"];
        self.members.push(Member::start(kind, number, &self.to, &self.counter.url(number), &more));
    }

    fn there(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|at| self.members[*at].is_there()).collect()
    }

    fn step(&mut self) -> String {
        let there = self.there();
        let joins = there.len() < 2 || there.len() < MOST_MEMBERS && self.dice.below(2) == 0;
        if joins {
            let kind = self.dice.one(&[Kind::Ours, Kind::Java, Kind::Kcat]);
            self.join(kind);
            return format!("{kind:?} joins");
        }
        let at = self.dice.one(&there);
        let member = &mut self.members[at];
        if self.dice.below(3) == 0 {
            member.kill();
            format!("{:?} {at} is killed", member.kind)
        } else {
            member.leave();
            format!("{:?} {at} leaves", member.kind)
        }
    }

    fn listen(&mut self) {
        self.producer.listen();
        for member in &mut self.members {
            member.listen();
            assert!(!member.has_ended(), "member {} ended: {:?}", member.number, member.said);
        }
    }

    /// Waits until the members that are there have all partitions, each one some, and get records of each.
    fn settle(&mut self, after: &str) {
        let expected = self.there();
        let deadline = Instant::now() + LONG;
        let mut last = String::new();
        loop {
            self.listen();
            if let Ok((state, members)) = self.admin.group(GROUP) {
                let mut all: Vec<&String> = members.iter().flat_map(|member| &member.partitions).collect();
                let each = members.iter().all(|member| !member.partitions.is_empty());
                last = format!("{state} {members:?}");
                let count = all.len();
                all.sort();
                all.dedup();
                assert!(state != "Stable" || all.len() == count, "assigned twice: {last}");
                if state == "Stable"
                    && members.len() == expected.len()
                    && each
                    && count == PARTITIONS as usize
                {
                    break;
                }
            }
            self.ended_in_vain(deadline, after, &last);
        }
        // Each partition goes on: a record that was written from now on is used.
        let newest = self.producer.acked.keys().next_back().copied().unwrap_or_default();
        let fresh: Vec<u64> = (1..=u64::from(PARTITIONS)).map(|n| newest + n).collect();
        loop {
            self.listen();
            let (used, _) = used_numbers(&self.members, &self.counter.received());
            if fresh.iter().all(|number| used.contains(number)) {
                return;
            }
            self.ended_in_vain(deadline, after, "a partition is left alone");
        }
    }

    fn ended_in_vain(&self, deadline: Instant, after: &str, last: &str) {
        if Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50)); // between two looks
            return;
        }
        for member in &self.members {
            println!("member {} {:?} {:?}", member.number, member.kind, member.said);
        }
        panic!("after {after}, never settled: {last}");
    }
}

fn play(assignor: &str) {
    let Some(broker) = Broker::start(NEW) else { return };
    let brokers = broker.address();
    let admin = broker.admin();
    admin.create(TOPIC, PARTITIONS, 1, &[]);
    let to = Membership { brokers: &brokers, group: GROUP, topic: TOPIC, assignor };
    let producer = Numbered::start(&brokers, TOPIC, PARTITIONS, RATE);
    let (counter, dice) = (Counter::start(|_| 204), Dice::new(assignor));
    let began = Instant::now();
    let mut game = Game { to, admin, counter, producer, members: Vec::new(), dice, began };
    for kind in [Kind::Ours, Kind::Java, Kind::Kcat] {
        game.join(kind);
        game.settle(&format!("{kind:?} joins"));
    }
    let steps: usize = std::env::var("SLUICEGATE_MIXED").map_or(4, |steps| steps.parse().unwrap());
    for _ in 0..steps {
        let what = game.step();
        game.settle(&what);
    }
    let began = game.began;
    let sent = game.producer.stop();
    let lost = lost_in_the_end(&mut game);
    let members = game.members.len();
    game.members.iter_mut().filter(|member| member.is_there()).for_each(Member::leave);
    let received = game.counter.received().clone();
    let (_, again) = used_numbers(&game.members, &received);
    let (twice, strange) = (owned_twice(&game.members), sent_by_strangers(&game.members, TOPIC, &received));
    println!(
        "MIXED {assignor}: {} joins and leaves, {members} members, {sent} records; owned twice {}, sent by \
         strangers {}, left alone 0, lost {}, duplicates {again}",
        steps + 3,
        twice.len(),
        strange.len(),
        lost.len()
    );
    assert!(twice.is_empty(), "{twice:#?}");
    assert!(strange.is_empty(), "{strange:#?}");
    let stories: Vec<String> = lost.iter().map(|number| story(&game, *number, began)).collect();
    assert!(lost.is_empty(), "{}", stories.join("\n"));
}

/// What is known of a record that nobody got: its place, who had its partition, and who got its neighbours.
fn story(game: &Game<'_>, number: u64, began: Instant) -> String {
    let since = |at: Instant| at.saturating_duration_since(began).as_secs_f32();
    let (partition, offset) = game.producer.acked[&number];
    let partition = format!("{TOPIC}-{partition}");
    let mut story = format!("{number} at {partition}@{offset}");
    let owned = game.members.iter().flat_map(|member| member.owned.iter().map(move |own| (member, own)));
    for (member, own) in owned.filter(|(_, own)| own.partition == partition) {
        let until = own.until.map(since);
        story +=
            &format!("\n  {:?} {} had it from {} to {until:?}", member.kind, member.number, since(own.from));
    }
    for neighbour in [number.wrapping_sub(PARTITIONS.into()), number + u64::from(PARTITIONS)] {
        for member in &game.members {
            let used = member.used.iter().filter(|(used, ..)| *used == neighbour);
            used.for_each(|(_, _, at)| {
                story += &format!("\n  {neighbour}: {:?} {} at {}", member.kind, member.number, since(*at));
            });
        }
        let received = game.counter.received();
        for record in received.iter().filter(|record| record.number == neighbour) {
            story += &format!("\n  {neighbour}: Ours {} at {}", record.sender, since(record.began));
        }
    }
    story
}

/// The acknowledged records that nobody gets, given time.
fn lost_in_the_end(game: &mut Game<'_>) -> Vec<u64> {
    let deadline = Instant::now() + LONG;
    loop {
        game.listen();
        let (used, _) = used_numbers(&game.members, &game.counter.received());
        let lost: Vec<u64> = game.producer.acked.keys().filter(|n| !used.contains(n)).copied().collect();
        if lost.is_empty() || Instant::now() > deadline {
            return lost;
        }
        std::thread::sleep(Duration::from_millis(50)); // between two looks
    }
}

#[test]
fn range_is_shared_with_java_and_kcat() {
    play("range");
}

#[test]
fn roundrobin_is_shared_with_java_and_kcat() {
    play("roundrobin");
}

#[test]
fn cooperative_sticky_is_shared_with_java_and_kcat() {
    play("cooperative-sticky");
}
