//! What happens around the relay at the times that the plan says, and what follows from it in the group.

use crate::cluster::Owner;
use crate::machine::{Event, Sim};
use crate::plan::Act;
use crate::trace::trace;
use sluicegate::relay::lease::Lease;
use std::time::Duration;

impl Sim {
    pub fn act(&mut self, at: usize) {
        let act = self.plan.acts[at].1.clone();
        if !matches!(act, Act::Append { .. }) {
            trace!(self.now, "{act:?}");
        }
        let now = self.instant();
        match act {
            Act::Append { partition, records } => self.append(partition, records),
            Act::Revoke(partition) => {
                let until = self.now + Duration::from_millis(self.plan.release_millis as u64);
                if self.cluster.revoke(partition, until, self.now) {
                    let assignment = self.cluster.parts[partition].assignment;
                    self.push(until, Event::RevocationEnds(partition, assignment));
                }
            }
            Act::Lose(partition) => {
                if self.cluster.lose(partition, self.now) {
                    self.leaves_us(partition);
                }
            }
            Act::Recreate(partition) => {
                self.cluster.recreate(partition, self.now);
                self.leaves_us(partition);
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
            Act::Outage(begins) => self.cluster.outage_since = begins.then_some(now),
            Act::Lease(true) => self.cluster.lease.renew(now + Duration::from_secs(1_000_000)),
            Act::Lease(false) => {
                self.cluster.lease = Lease::expired(self.base);
            }
            Act::WallJumps => self.wall_back = Duration::from_secs(3_600),
        }
        self.source_has_something();
    }

    /// Another member has it, and hands it back one day.
    pub fn leaves_us(&mut self, partition: usize) {
        if self.dice.chance(60) && self.cluster.parts[partition].owner == Owner::Other {
            self.cluster.other_works(partition, self.now, &mut self.dice);
        }
        let at =
            self.now + self.dice.one(&[Duration::ZERO, Duration::from_millis(300), Duration::from_secs(5)]);
        self.push(at, Event::GiveBack(partition));
    }

    pub fn give_back(&mut self, partition: usize) {
        if self.process.is_some() && self.cluster.parts[partition].owner == Owner::Other {
            self.cluster.assign(&[partition], self.now);
            self.source_has_something();
        }
    }

    pub fn revocation_ends(&mut self, partition: usize, assignment: u64) {
        let part = &self.cluster.parts[partition];
        if part.assignment == assignment && matches!(part.owner, Owner::Revoking(_)) {
            self.cluster.lose(partition, self.now);
            self.leaves_us(partition);
            self.source_has_something();
        }
    }
}
