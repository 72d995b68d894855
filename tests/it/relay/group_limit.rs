//! One limit over a group, under random schedules of joins, leaves, kills, cut-offs, delays and rebalances that are
//! interrupted: what all members together have in flight never exceeds it, and in the end it is all handed out.

use proptest::prelude::*;
use sluicegate::kafka::group::limit_shares::{GroupShare, MemberClaim, decode, encode, split, targets};
use sluicegate::relay::group_limit::GroupPermits;
use sluicegate::relay::semaphore::{Permit, Semaphore};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A new process.
    Start,
    /// The nth member ends in good order: what is in flight first.
    Leave(usize),
    /// The nth member's process is killed; the coordinator hears of it at some later eviction.
    Kill(usize),
    /// The nth member hears nothing any more; its lease ends before the coordinator gives it up.
    CutOff(usize),
    /// The coordinator gives up those that were killed or cut off.
    Evict,
    /// The nth member sends something, if it may.
    Send(usize),
    /// The nth member gets an answer.
    Answer(usize),
    /// The nth member joins, if a rebalance is on; the last one to do so makes the leader split.
    Join(usize),
    /// The nth member gets its assignment.
    Sync(usize),
    /// The nth member gets an error instead, and has to join again.
    Fail(usize),
    /// The nth member joins again when it has let go of something.
    LetGo(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0..6_usize;
    prop_oneof![
        2 => Just(Step::Start),
        1 => member.clone().prop_map(Step::Leave),
        1 => member.clone().prop_map(Step::Kill),
        1 => member.clone().prop_map(Step::CutOff),
        2 => Just(Step::Evict),
        20 => member.clone().prop_map(Step::Send),
        10 => member.clone().prop_map(Step::Answer),
        15 => member.clone().prop_map(Step::Join),
        10 => member.clone().prop_map(Step::Sync),
        1 => member.clone().prop_map(Step::Fail),
        3 => member.prop_map(Step::LetGo),
    ]
}

/// A process, and what it knows.
struct Process {
    share: GroupPermits,
    in_flight: u32,
    permits: Vec<Permit<'static>>,
    /// What it claimed when it joined last.
    claimed: u32,
    /// Has joined the rebalance that is on.
    joined: bool,
    /// Its assignment is on the way.
    assignment: Option<Vec<u8>>,
    alive: bool,
    cut_off: bool,
    /// Keeps its partitions while a rebalance is on (cooperative), or gives all up before it joins (eager).
    cooperative: bool,
    leaving: bool,
    /// Has partitions, of which it may send.
    holds: bool,
}

struct Group {
    limit: u32,
    partitions: usize,
    members: BTreeMap<u32, Process>,
    next_id: u32,
    /// A rebalance is on, and not everybody has joined.
    joining: bool,
    cooperative: bool,
}

impl Group {
    fn nth(&mut self, n: usize) -> Option<&mut Process> {
        let count = self.members.len();
        self.members.values_mut().nth(n.checked_rem(count)?)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Start if self.members.len() < 6 => {
                let process = Process {
                    share: GroupPermits::none(),
                    in_flight: 0,
                    claimed: 0,
                    joined: false,
                    assignment: None,
                    permits: Vec::new(),
                    alive: true,
                    cut_off: false,
                    cooperative: self.cooperative,
                    leaving: false,
                    holds: false,
                };
                self.members.insert(self.next_id, process);
                self.next_id += 1;
                self.rebalance();
            }
            Step::Start => {}
            Step::Leave(n) => {
                if let Some(process) = self.nth(n) {
                    process.leaving = true;
                }
            }
            Step::Kill(n) => {
                if let Some(process) = self.nth(n) {
                    (process.alive, process.in_flight) = (false, 0);
                }
            }
            Step::CutOff(n) => {
                if let Some(process) = self.nth(n) {
                    process.cut_off = true;
                }
            }
            Step::Evict => self.evict(),
            Step::Send(n) => self.send(n),
            Step::Answer(n) => {
                if let Some(process) = self.nth(n).filter(|process| process.in_flight > 0) {
                    process.in_flight -= 1;
                    process.permits.pop();
                }
            }
            Step::Join(n) => self.join(n),
            Step::Sync(n) => self.sync(n),
            Step::Fail(n) => {
                if self.nth(n).is_some_and(|process| process.assignment.take().is_some()) {
                    self.rebalance();
                }
            }
            Step::LetGo(n) => {
                let unmark_busy = self.nth(n).is_some_and(|p| p.hears() && p.share.has_let_go(p.claimed));
                if unmark_busy && !self.joining {
                    self.rebalance();
                }
            }
        }
        let in_flight: u32 = self.members.values().map(|process| process.in_flight).sum();
        assert!(in_flight <= self.limit, "{in_flight} at once, of {}", self.limit);
    }

    /// Everybody has to join again. Assignments that are on the way still arrive, before their receiver joins.
    fn rebalance(&mut self) {
        self.joining = true;
        self.members.values_mut().for_each(|process| process.joined = false);
    }

    fn evict(&mut self) {
        let before = self.members.len();
        self.members.retain(|_, process| {
            process.in_flight > 0 || process.alive && !process.cut_off && !process.leaving
        });
        if self.members.len() < before {
            self.rebalance();
        }
    }

    fn send(&mut self, n: usize) {
        let Some(process) = self.nth(n) else { return };
        if process.hears() && !process.leaving && process.holds {
            // The semaphore outlives the test: its permits have to be kept in the same struct.
            let semaphore: &'static Semaphore = Box::leak(Box::new(Arc::clone(process.share.semaphore())));
            if let Some(permit) = semaphore.try_acquire().unwrap() {
                process.permits.push(permit);
                process.in_flight += 1;
            }
        }
    }

    fn join(&mut self, n: usize) {
        if !self.joining {
            return;
        }
        let Some(process) = self.nth(n) else { return };
        // Answers come in order: an assignment that was asked for is waited for, and refused if it is outdated.
        let eager_and_busy = !process.cooperative && process.in_flight > 0;
        if !process.hears() || process.assignment.is_some() || process.leaving || eager_and_busy {
            return;
        }
        process.claimed = process.share.claim(process.cooperative);
        process.joined = true;
        // Who is eager gives up all it has before it joins, and has nothing until its assignment comes.
        process.holds &= process.cooperative;
        let present = self.members.values().filter(|process| process.hears() && !process.leaving);
        // Who is gone and not given up yet holds the rebalance up until it is.
        if present.clone().all(|process| process.joined) && present.count() == self.members.len() {
            self.joining = false;
            self.assign();
        }
    }

    fn assign(&mut self) {
        let ids: Vec<String> = self.members.keys().map(|id| format!("member-{id:03}")).collect();
        let count = ids.len();
        let member = |(at, (id, process)): (usize, (&'_ String, &Process))| {
            let claim = decode(&encode(process.claimed)).unwrap().0;
            let partitions = self.partitions / count + usize::from(at < self.partitions % count);
            (id.clone(), claim, partitions)
        };
        let known: Vec<_> = ids.iter().zip(self.members.values()).enumerate().map(member).collect();
        let known: Vec<MemberClaim<'_>> = known
            .iter()
            .map(|(id, claim, partitions)| MemberClaim { id, claim: *claim, partitions: *partitions })
            .collect();
        for (process, grant) in self.members.values_mut().zip(split(self.limit, &known)) {
            process.assignment = Some(encode(grant));
        }
    }

    fn sync(&mut self, n: usize) {
        if let Some(process) = self.nth(n).filter(|process| process.hears())
            && let Some(assignment) = process.assignment.take()
        {
            process.share.grant(decode(&assignment).unwrap().0);
            process.holds = true;
        }
    }

    /// Nothing more happens but that everybody does what it should: the limit is all handed out.
    fn settle(&mut self) {
        for _ in 0..8 {
            for n in 0..6 {
                let in_flight = self.nth(n).map_or(0, |process| process.in_flight);
                (0..in_flight).for_each(|_| self.step(Step::Answer(n)));
            }
            self.step(Step::Evict);
            for _ in 0..2 {
                (0..6).for_each(|n| self.step(Step::Sync(n)));
                (0..6).for_each(|n| self.step(Step::Join(n)));
            }
            (0..6).for_each(|n| self.step(Step::Sync(n)));
            (0..6).for_each(|n| self.step(Step::LetGo(n)));
        }
        let granted: u32 = self.members.values().map(|process| process.share.granted()).sum();
        let members = self.members.len();
        let ids: Vec<String> = (0..members).map(|n| n.to_string()).collect();
        let partitions = |at: usize| self.partitions / members + usize::from(at < self.partitions % members);
        let known: Vec<MemberClaim<'_>> = ids
            .iter()
            .enumerate()
            .map(|(at, id)| MemberClaim { id, claim: 0, partitions: partitions(at) })
            .collect();
        let all: u32 = targets(self.limit, &known).iter().sum();
        assert_eq!(granted, all, "of {} for {members} members", self.limit);
    }
}

impl Process {
    fn hears(&self) -> bool {
        self.alive && !self.cut_off
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_limit_of_the_group_holds_whatever_happens(
        limit in 1..20_u32,
        partitions in 1..9_usize,
        cooperative in any::<bool>(),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let members = BTreeMap::new();
        let mut group = Group { limit, partitions, members, next_id: 0, joining: false, cooperative };
        steps.into_iter().for_each(|step| group.step(step));
        group.settle();
    }
}
