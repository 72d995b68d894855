//! The end of a run: the table, and what has to hold.

use crate::Chaos;
use crate::faults::Done;
use crate::ledger::{self, Ledger};
use crate::side::{self, Side};
use crate::support::counter::Received;
use crate::support::members::owned_twice;
use crate::{CONCURRENCY, PARTITIONS, TOPIC, order};
use std::collections::HashSet;
use std::time::Duration;

/// As the producer has it.
const KEYS_A_PARTITION: u64 = 8;

/// A record: number, partition, offset.
type Record = (u64, u32, i64);

/// What became of the records of a topic beside the main one.
struct OfSide {
    name: &'static str,
    /// How many its log has in the end.
    count: usize,
    /// Those of its log that were not delivered.
    lost: Vec<Record>,
    /// How many were acknowledged in its present life that its log doesn't have.
    cut_off: usize,
    /// An election may cut records off.
    may_be_cut: bool,
}

/// What a run has shown.
struct Verdict {
    /// Of the main topic.
    ledger: Ledger,
    lost: Vec<u64>,
    twice: Vec<String>,
    sides: Vec<OfSide>,
    /// Records of former lives that were acknowledged, and how many of those were delivered: a topic that is deleted
    /// takes the others with it.
    former: (usize, usize),
    /// Where the record was that was sent again the longest after it was accepted, and how long that was.
    again: Option<(String, Duration)>,
}

impl Chaos<'_> {
    /// Prints the table and fails unless all is as it has to be.
    pub fn judge(&self, sent: u64) {
        let verdict = self.verdict();
        self.print_done();
        self.print(&verdict, sent);
        self.check(&verdict, sent);
    }

    fn verdict(&self) -> Verdict {
        let all = self.counter.received().clone();
        let (main, beside): (Vec<Received>, Vec<Received>) =
            all.iter().partition(|record| side::topic_of(record.number) == 0);
        let lanes = u64::from(PARTITIONS) * KEYS_A_PARTITION;
        let lane = |record: &Received| match order() {
            "key" => (record.number % lanes, (record.number / lanes) as i64),
            _ => (record.partition.into(), record.offset),
        };
        let again = ledger::latest_again(&all).map(|(record, after)| {
            let topic = self.name(side::topic_of(record.number));
            (format!("{topic}-{}@{}", record.partition, record.offset), after)
        });
        Verdict {
            ledger: Ledger::of(&self.members, TOPIC, &main, lane),
            lost: ledger::lost(&self.producer.acked, &main),
            twice: owned_twice(&self.members),
            sides: [&self.grown, &self.anew, &self.cut].map(|side| self.of_side(side, &beside)).into(),
            former: self.former(&beside),
            again,
        }
    }

    fn of_side(&self, side: &Side, received: &[Received]) -> OfSide {
        let log = side::log_of(&self.brokers(), side.name);
        let accepted = received.iter().filter(|record| record.accepted);
        let accepted: HashSet<Record> =
            accepted.map(|record| (record.number, record.partition, record.offset)).collect();
        let kept: HashSet<u64> = log.iter().map(|record| record.0).collect();
        let is_present =
            |number: u64| side::topic_of(number) == side.index && side::life_of(number) == side.life;
        let acked = self.writer.acked.keys().filter(|number| is_present(**number));
        OfSide {
            name: side.name,
            count: log.len(),
            lost: log.iter().filter(|record| !accepted.contains(record)).copied().collect(),
            cut_off: acked.filter(|number| !kept.contains(number)).count(),
            may_be_cut: side.index == self.cut.index,
        }
    }

    fn former(&self, received: &[Received]) -> (usize, usize) {
        let is_former = |number: &u64| {
            side::topic_of(*number) == self.anew.index && side::life_of(*number) < self.anew.life
        };
        let acked: HashSet<u64> = self.writer.acked.keys().copied().filter(is_former).collect();
        let accepted = received.iter().filter(|record| record.accepted && acked.contains(&record.number));
        let delivered: HashSet<u64> = accepted.map(|record| record.number).collect();
        (acked.len(), delivered.len())
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

    fn print(&self, verdict: &Verdict, sent: u64) {
        let Verdict { ledger, lost, twice, sides, former, again } = verdict;
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
        for side in sides {
            println!("| lost of {} | {} of {} |", side.name, side.lost.len(), side.count);
        }
        println!("| cut off by elections | {} |", sides.iter().map(|side| side.cut_off).sum::<usize>());
        println!("| delivered of former lives | {} of {} |", former.1, former.0);
        if let Some((place, after)) = again {
            println!("| longest until a record was sent again | {:.1} s, {place} |", after.as_secs_f64());
        }
        let (stall, load) = (&self.progress.longest, std::fs::read_to_string("/proc/loadavg"));
        let (topic, partition) = (self.name(stall.lane.0), stall.lane.1);
        let until = stall.until.map_or(0, |until| (until - self.begun).as_secs());
        let lasted = stall.lasted.as_secs_f64();
        println!(
            "| longest stall after a fault | {lasted:.1} s, {topic}-{partition}, until second {until} |"
        );
        println!("| load average | {} |", load.unwrap_or_default().trim());
    }

    fn check(&self, verdict: &Verdict, sent: u64) {
        let Verdict { ledger, lost, twice, sides, .. } = verdict;
        for side in sides {
            assert!(
                side.lost.is_empty(),
                "lost of {}: {:?}",
                side.name,
                &side.lost[..side.lost.len().min(20)]
            );
            assert!(side.may_be_cut || side.cut_off == 0, "{} are not in {}", side.cut_off, side.name);
        }
        assert!(lost.is_empty(), "lost {:?}", &lost[..lost.len().min(20)]);
        assert_eq!(self.producer.acked.len() as u64, sent);
        assert!(ledger.breaks.is_empty(), "{:#?}", ledger.breaks);
        assert!(ledger.overlaps.is_empty(), "{:#?}", ledger.overlaps);
        assert!(twice.is_empty(), "{twice:#?}");
        // What was on its way when its sender was stopped arrives late: nobody can call it back.
        let late = self.done.members_frozen * CONCURRENCY;
        assert!(ledger.strangers.len() <= late, "{:#?}", ledger.strangers);
        let Done { brokers_hung, unclean_elections, topics_made_anew, partitions_added, .. } = self.done;
        let each = [brokers_hung, unclean_elections, topics_made_anew, partitions_added];
        assert!(!each.contains(&0), "a kind of fault did not come about: {:?}", self.done);
    }
}
