//! Several of our consumers share a group.

use crate::sandbox::reader::{GROUP, Reader, TOPIC, config, ends, group, sandbox, write};
use crate::support::eventually;
use sluicegate::kafka::config::Share;
use sluicegate::kafka::group::assignor::Assignor;
use sluicegate::kafka::group::membership;
use sluicegate::kafka::sandbox::Sandbox;
use sluicegate::record::Partition;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who owns what at the moment; a partition that two own is noticed.
#[derive(Default)]
struct Ledger(Mutex<BTreeMap<Partition, usize>>);

impl Ledger {
    fn update(&self, member: usize, owned: &BTreeSet<Partition>) {
        let mut owners = self.0.lock().unwrap();
        owners.retain(|partition, owner| *owner != member || owned.contains(partition));
        for partition in owned {
            let owner = *owners.entry(partition.clone()).or_insert(member);
            assert_eq!(owner, member, "{partition} has two owners");
        }
    }

    fn spread(&self) -> Vec<usize> {
        let owners = self.0.lock().unwrap();
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        owners.values().for_each(|owner| *counts.entry(*owner).or_default() += 1);
        counts.into_values().collect()
    }
}

fn member(sandbox: &Sandbox, assignor: Assignor) -> Reader {
    let settings = membership::MembershipSettings { assignors: vec![assignor], ..group() };
    Reader::open(sandbox, config(Share::Group(settings)))
}

/// Reads as a member until told to stop; what it was handed.
fn read(
    sandbox: &Sandbox,
    assignor: Assignor,
    number: usize,
    ledger: &Ledger,
    stop: &AtomicBool,
) -> BTreeMap<Partition, Vec<i64>> {
    let mut reader = member(sandbox, assignor);
    while !stop.load(Ordering::Relaxed) {
        // What is given up is off the ledger before it is released, what is got is on it when it is known.
        reader.step_with(|owned| ledger.update(number, owned)).unwrap();
    }
    ledger.update(number, &BTreeSet::new());
    drop(reader.consumer);
    reader.seen
}

fn shared_by(assignor: Assignor) {
    let sandbox = sandbox(2);
    let (ledger, stops) = (Ledger::default(), [const { AtomicBool::new(false) }; 3]);
    write(&sandbox, 5);
    let seen = std::thread::scope(|scope| {
        let start = |number: usize| {
            let (sandbox, ledger, stop) = (&sandbox, &ledger, &stops[number]);
            scope.spawn(move || read(sandbox, assignor, number, ledger, stop))
        };
        let all_read = || {
            let ends = ends(&sandbox);
            eventually("all is committed", || sandbox.committed(GROUP) == ends);
        };
        let first = start(0);
        all_read();
        assert_eq!(ledger.spread(), [4]);
        let second = start(1);
        eventually("a fair share", || ledger.spread() == [2, 2]);
        write(&sandbox, 20);
        let third = start(2);
        write(&sandbox, 20);
        all_read();
        eventually("three at it", || ledger.spread().len() == 3);
        stops[0].store(true, Ordering::Relaxed);
        write(&sandbox, 20);
        let first = first.join().unwrap();
        all_read();
        eventually("the rest share", || ledger.spread() == [2, 2]);
        stops[1].store(true, Ordering::Relaxed);
        stops[2].store(true, Ordering::Relaxed);
        [first, second.join().unwrap(), third.join().unwrap()]
    });
    for (partition, end) in ends(&sandbox) {
        let all: Vec<i64> = seen.iter().filter_map(|seen| seen.get(&partition)).flatten().copied().collect();
        let distinct: BTreeSet<i64> = all.iter().copied().collect();
        assert_eq!(
            (distinct.len() as i64, all.len() as i64),
            (end, end),
            "{assignor}: {partition} of {TOPIC}"
        );
    }
    assert_eq!(sandbox.group(GROUP).unwrap().state, "Empty", "all have left");
}

#[test]
fn members_share_by_range_and_hand_over_without_a_record_sent_twice() {
    shared_by(Assignor::Range);
}

#[test]
fn members_share_by_round_robin_and_hand_over_without_a_record_sent_twice() {
    shared_by(Assignor::RoundRobin);
}

#[test]
fn members_share_cooperatively_and_hand_over_without_a_record_sent_twice() {
    shared_by(Assignor::CooperativeSticky);
}

#[test]
fn a_member_that_is_expelled_shares_with_who_came_meanwhile() {
    let sandbox = sandbox(1);
    write(&sandbox, 5);
    let mut expelled = Reader::member(&sandbox);
    expelled.until_all("alone", &sandbox);
    sandbox.faults().expel(GROUP);
    let mut other = Reader::member(&sandbox);
    other.until("at least a part", |other| !other.owned.is_empty());
    write(&sandbox, 5);
    let total = |reader: &Reader| reader.seen.values().map(Vec::len).sum::<usize>();
    other.until("all of it", |other| {
        expelled.step().unwrap();
        total(other) + total(&expelled) >= 120 && sandbox.committed(GROUP) == ends(&sandbox)
    });
}
