//! Which acknowledged records wait to be delivered, and for how long a partition with such records made no progress
//! although nothing was wrong.

use crate::side;
use crate::support::counter::Received;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

/// A topic's index and a partition of it.
pub type Lane = (u64, u32);

/// The longest time that a partition made no progress.
#[derive(Clone, Debug, Default)]
pub struct Stall {
    pub lasted: Duration,
    pub lane: Lane,
    /// The oldest record that waited.
    pub number: u64,
    /// Until when, as far as is known.
    pub until: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    numbers: BTreeSet<u64>,
    /// When one of them was accepted last, or the first came.
    moved: Instant,
}

/// Takes in what is acknowledged and what is accepted.
#[derive(Debug)]
pub struct Progress {
    lanes: HashMap<Lane, Waiting>,
    accepted: HashSet<u64>,
    heard: usize,
    /// When the last fault ended.
    well_since: Instant,
    pub longest: Stall,
}

impl Progress {
    pub fn new(now: Instant) -> Self {
        Self {
            lanes: HashMap::new(),
            accepted: HashSet::new(),
            heard: 0,
            well_since: now,
            longest: Stall::default(),
        }
    }

    /// A record was acknowledged.
    pub fn acked(&mut self, number: u64, partition: u32, now: Instant) {
        if self.accepted.contains(&number) {
            return;
        }
        let lane = self.lanes.entry((side::topic_of(number), partition));
        let lane = lane.or_insert_with(|| Waiting { numbers: BTreeSet::new(), moved: now });
        if lane.numbers.is_empty() {
            lane.moved = now;
        }
        lane.numbers.insert(number);
    }

    /// All that was received so far.
    pub fn received(&mut self, received: &[Received]) {
        for record in received[self.heard..].iter().filter(|record| record.accepted) {
            self.accepted.insert(record.number);
            if let Some(lane) = self.lanes.get_mut(&(side::topic_of(record.number), record.partition))
                && lane.numbers.remove(&record.number)
            {
                lane.moved = record.ended;
            }
        }
        self.heard = received.len();
    }

    /// A fault goes on, or has just ended.
    pub fn disturbed(&mut self, now: Instant) {
        self.well_since = now;
    }

    /// What waits of a topic can no longer be asked for.
    pub fn forget(&mut self, topic: u64) {
        self.lanes.retain(|lane, _| lane.0 != topic);
    }

    /// Only those of a partition's records that `keep` names can be asked for.
    pub fn retain(&mut self, lane: Lane, keep: impl Fn(u64) -> bool) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.numbers.retain(|number| keep(*number));
        }
    }

    /// The partition that has waited for longest since the last fault.
    pub fn stalled(&mut self, now: Instant) -> Stall {
        let waiting = self.lanes.iter().filter_map(|(lane, waiting)| {
            let number = *waiting.numbers.first()?;
            let since = waiting.moved.max(self.well_since);
            let lasted = now.saturating_duration_since(since);
            Some(Stall { lasted, lane: *lane, number, until: Some(now) })
        });
        let stall = waiting.max_by_key(|stall| stall.lasted).unwrap_or_default();
        if stall.lasted > self.longest.lasted {
            self.longest = stall.clone();
        }
        stall
    }

    /// The records that wait now.
    pub fn waiting(&self) -> impl Iterator<Item = u64> {
        self.lanes.values().flat_map(|lane| lane.numbers.iter().copied())
    }
}

#[test]
fn a_partition_stalls_though_another_moves_and_a_fault_starts_the_clock_again() {
    let begun = Instant::now();
    let at = |second| begun + Duration::from_secs(second);
    let mut progress = Progress::new(begun);
    progress.acked(0, 0, at(1));
    progress.acked(1, 1, at(1));
    let accepted = Received {
        sender: 0,
        partition: 1,
        offset: 0,
        number: 1,
        began: at(8),
        ended: at(8),
        accepted: true,
    };
    progress.received(&[accepted, Received { accepted: false, number: 0, partition: 0, ..accepted }]);
    progress.acked(3, 1, at(9));
    let stall = progress.stalled(at(10));
    assert_eq!((stall.lasted, stall.lane, stall.number), (Duration::from_secs(9), (0, 0), 0));
    progress.disturbed(at(12));
    assert_eq!(progress.stalled(at(13)).lasted, Duration::from_secs(1));
    assert_eq!(progress.longest.lasted, Duration::from_secs(9));
    progress.retain((0, 0), |_| false);
    assert_eq!(progress.stalled(at(20)).lane, (0, 1));
    progress.forget(0);
    assert_eq!(progress.stalled(at(20)).lasted, Duration::ZERO);
}
