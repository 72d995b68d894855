//! The end of a run: the table, and what it has to say.

use crate::faults::Done;
use crate::ledger::{self, Ledger};
use crate::side::{self, Side};
use crate::support::counter::Received;
use crate::support::members::owned_twice;
use crate::{CONCURRENCY, Chaos, PARTITIONS, TOPIC, order};
use std::collections::{BTreeSet, HashSet};

/// As the producer has it.
const KEYS_A_PARTITION: u64 = 8;

impl Chaos<'_> {
    /// Records of a topic's log that were not delivered.
    fn undelivered(&self, side: &Side, received: &[Received]) -> (usize, Vec<(u64, u32, i64)>) {
        let log = side::log_of(&self.brokers(), side.name);
        let accepted = received.iter().filter(|record| record.accepted);
        let accepted: HashSet<(u64, u32, i64)> =
            accepted.map(|record| (record.number, record.partition, record.offset)).collect();
        let missing = log.iter().filter(|record| !accepted.contains(record)).copied().collect();
        (log.len(), missing)
    }

    /// Acknowledged records of a topic's present life that its log doesn't have.
    fn cut_off(&self, side: &Side) -> usize {
        let log = side::log_of(&self.brokers(), side.name);
        let numbers: BTreeSet<u64> = log.iter().map(|record| record.0).collect();
        let acked = self.writer.acked.keys().filter(|number| side::topic_of(**number) == side.index);
        acked.filter(|number| side::life_of(**number) == side.life && !numbers.contains(*number)).count()
    }

    /// How many records of former lives were acknowledged, and how many of them delivered.
    fn former(&self, received: &[Received]) -> (usize, usize) {
        let is_former = |number: &u64| {
            side::topic_of(*number) == self.anew.index && side::life_of(*number) < self.anew.life
        };
        let acked: HashSet<u64> = self.writer.acked.keys().copied().filter(is_former).collect();
        let accepted = received.iter().filter(|record| record.accepted && acked.contains(&record.number));
        let delivered: HashSet<u64> = accepted.map(|record| record.number).collect();
        (acked.len(), delivered.len())
    }

    /// Prints the table and fails unless it is as it should be.
    pub fn judge(&self, sent: u64) {
        let all = self.counter.received().clone();
        let (main, beside): (Vec<Received>, Vec<Received>) =
            all.iter().partition(|record| side::topic_of(record.number) == 0);
        let lost = ledger::lost(&self.producer.acked, &main);
        let lanes = u64::from(PARTITIONS) * KEYS_A_PARTITION;
        let ledger = Ledger::of(&self.members, TOPIC, &main, |record| match order() {
            "key" => (record.number % lanes, (record.number / lanes) as i64),
            _ => (record.partition.into(), record.offset),
        });
        let twice = owned_twice(&self.members);
        let sides = [&self.grown, &self.anew, &self.cut];
        let logs = sides.map(|side| self.undelivered(side, &beside));
        let cut_off = sides.map(|side| self.cut_off(side));
        let (former, former_delivered) = self.former(&beside);
        self.print_done();
        println!(
            "| members in all | {} |\n| records acknowledged | {} of {sent} |\n| lost | {} |\n| duplicates | {} |\n\
             | takeovers of a partition | {} |\n| breaks of order but at a takeover | {} |\n\
             | requests for a partition at the same time | {} |\n| sent while another member had it | {} |\n\
             | owned twice | {} |",
            self.members.len(),
            self.producer.acked.len(),
            lost.len(),
            ledger.duplicates,
            ledger.takeovers,
            ledger.breaks.len(),
            ledger.overlaps.len(),
            ledger.strangers.len(),
            twice.len(),
        );
        for (side, (count, missing)) in sides.iter().zip(&logs) {
            println!("| lost of {} | {} of {count} |", side.name, missing.len());
        }
        println!("| cut off by elections | {} |", cut_off[2]);
        println!("| delivered of former lives | {former_delivered} of {former} |");
        if let Some((record, after)) = ledger::latest_again(&all) {
            let topic = self.name(side::topic_of(record.number));
            let place = format!("{topic}-{}@{}", record.partition, record.offset);
            println!("| longest until a record was sent again | {:.1} s, {place} |", after.as_secs_f64());
        }
        let stall = &self.progress.longest;
        println!(
            "| longest stall once all was well | {:.1} s, {}-{} |\n| load average | {} |",
            stall.lasted.as_secs_f64(),
            self.name(stall.lane.0),
            stall.lane.1,
            std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim()
        );
        for (side, (_, missing)) in sides.iter().zip(&logs) {
            assert!(missing.is_empty(), "lost of {}: {:?}", side.name, &missing[..missing.len().min(20)]);
        }
        assert_eq!(cut_off[..2], [0, 0], "acknowledged records are not in their log");
        assert!(lost.is_empty(), "lost {:?}", &lost[..lost.len().min(20)]);
        assert_eq!(self.producer.acked.len() as u64, sent);
        assert!(ledger.breaks.is_empty(), "{:#?}", ledger.breaks);
        assert!(ledger.overlaps.is_empty(), "{:#?}", ledger.overlaps);
        assert!(twice.is_empty(), "{twice:#?}");
        // What was on its way when its sender was stopped arrives late: nobody can call it back.
        let late = self.done.members_frozen * CONCURRENCY;
        assert!(ledger.strangers.len() <= late, "{:#?}", ledger.strangers);
        assert!(self.done.unclean_elections > 0, "no unclean election came about");
        assert!(
            self.done.topics_made_anew > 0 && self.done.partitions_added > 0 && self.done.brokers_hung > 0
        );
    }

    fn print_done(&self) {
        let Done { brokers_killed, brokers_hung, unclean_elections, leaders_moved, .. } = self.done;
        let Done { members_killed, members_drained, members_frozen, .. } = self.done;
        let Done { topics_made_anew, partitions_added, .. } = self.done;
        println!(
            "\n| chaos | |\n|---|---|\n| seconds | {} |\n| brokers killed and restarted | {brokers_killed} |\n\
             | brokers hung | {brokers_hung} |\n| unclean elections | {unclean_elections} |\n| leaders moved \
             | {leaders_moved} |\n| topics made anew | {topics_made_anew} |\n| partitions added \
             | {partitions_added} |\n| members killed | {members_killed} |\n| members drained | {members_drained} |\n\
             | members frozen past their session | {members_frozen} |",
            self.begun.elapsed().as_secs(),
        );
    }
}
