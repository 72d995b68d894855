//! What happens around the relay at the times that the plan says.

use crate::cluster::BROKERS;
use crate::machine::{Event, Sim};
use crate::plan::Act;
use crate::trace::trace;
use sluicegate::timing::lease::Lease;
use std::time::Duration;

impl Sim {
    pub fn act(&mut self, at: usize) {
        let act = self.plan.acts[at].1.clone();
        if !matches!(act, Act::Append { .. }) {
            trace!(self.now, "{act:?}");
        }
        let (now, time) = (self.instant(), self.now);
        match act {
            Act::Append { partition, records } => self.append(partition, records),
            Act::Joins(slot) => self.joins(slot),
            Act::Dies(slot) => self.dies(slot),
            Act::Parts(slot) => self.parts(slot),
            Act::MoveCoordinator(load) => self.move_coordinator(load),
            Act::CutOff(time) => self.group.cut_until = (self.now + time).min(self.plan.calm_at),
            Act::Elect { partition, is_unclean } => {
                self.cluster.elect(partition, is_unclean, time, &mut self.dice);
            }
            Act::Leaderless(partition) => self.cluster.leaderless(partition, time),
            Act::Retention(partition) => self.cluster.retention(partition, time, &mut self.dice),
            Act::Restore(partition) => {
                let lost = self.cluster.restore(partition, time, &mut self.dice) as usize;
                if lost > 0 && self.dice.chance(80) {
                    // Mostly it has grown past what was lost before anybody looks.
                    let records = lost + self.dice.between(0, 10);
                    self.append(partition, records);
                }
            }
            Act::Recreate(topic) => self.recreate(topic),
            Act::Grow(topic) => {
                let partition = self.cluster.grow(topic, time, &mut self.dice);
                let records = self.dice.between(1, 5);
                self.append(partition, records);
            }
            Act::Hang { broker, time } => {
                let until = (self.now + time).min(self.plan.calm_at);
                self.cluster.hangs[broker] = self.cluster.hangs[broker].max(until);
            }
            Act::Stop => {
                if let Some(process) = &mut self.process {
                    process.stop_at.get_or_insert(self.now);
                    self.tally.stops += 1;
                }
            }
            Act::Kill => self.kill(),
            Act::Grant(granted) => {
                self.granted = granted;
                self.permits_changed();
            }
            Act::Outage(begins) => {
                let until = if begins { self.plan.calm_at } else { self.now };
                self.cluster.hangs = [until; BROKERS as usize];
            }
            Act::Lease(true) => self.lease.renew(now + Duration::from_secs(1_000_000)),
            Act::Lease(false) => {
                self.lease = Lease::expired(self.base);
            }
            Act::WallJumps => self.wall_back = Duration::from_secs(3_600),
        }
        self.logs_changed();
        self.consumer_looks();
        self.source_has_something();
    }

    /// The topic is there again, and some of its partitions have no leader yet.
    fn recreate(&mut self, topic: usize) {
        for partition in self.cluster.recreate(topic, self.now, &mut self.dice) {
            if self.dice.chance(50) && self.now < self.plan.calm_at {
                self.cluster.leaderless(partition, self.now);
                let at = (self.now + self.dice.millis(100, 3_000)).min(self.plan.calm_at);
                self.plan.acts.push((at, Act::Elect { partition, is_unclean: false }));
                self.push(at, Event::Act(self.plan.acts.len() - 1));
            }
        }
    }

    /// Nothing is left of the process's consumer.
    pub fn leave(&mut self) {
        let consumer = std::mem::take(&mut self.consumer);
        consumer.shifts.iter().for_each(|shift| self.tally.count(shift));
    }
}
