//! What one schedule draws of the group and the brokers: how late they are, what gets lost, and what becomes of topics and leaders
//! until the world is calm.

use crate::dice::Dice;
use crate::plan::{Act, Plan, Profile, size};
use crate::receiver::Reply;
use sluicegate::kafka::group::assignor::Assignor;
use sluicegate::relay::settings::Order;
use std::num::NonZeroU32;
use std::time::Duration;

/// How our process is a member of its group.
#[derive(Clone, Debug)]
pub struct Membership {
    pub is_static: bool,
    pub assignor: Assignor,
    pub session: Duration,
    /// Milliseconds for which an empty group waits for more members.
    pub initial_delay: u64,
    /// Before Kafka 2.7 a heartbeat is refused while members wait for what they are given.
    pub beats_while_completing: bool,
}

impl Membership {
    pub fn draw(dice: &mut Dice) -> Self {
        let cooperative = Assignor::CooperativeSticky;
        Self {
            is_static: dice.chance(20),
            assignor: dice.one(&[cooperative, cooperative, Assignor::Range, Assignor::RoundRobin]),
            session: Duration::from_secs(dice.one(&[6, 10])),
            initial_delay: dice.one(&[0, 0, 3_000]),
            beats_while_completing: dice.chance(70),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Brokers {
    pub topics: usize,
    /// Brokers know ids of topics.
    pub has_ids: bool,
    /// Positions are committed and asked for by the topic's id, not by its name.
    pub by_id: bool,
    /// Other members write notes beside their positions, as this program does.
    pub others_write_notes: bool,
    /// The time that a request or an answer takes, in milliseconds.
    pub latency: (usize, usize),
    /// Percent of requests that get lost, or their answers.
    pub lost: usize,
    /// After this a request has failed.
    pub timeout: Duration,
    /// Bytes that are fetched ahead.
    pub buffer: usize,
    pub metadata_age: Duration,
    /// Percent of positions that the coordinator does not give.
    pub offsets_fail: usize,
    /// Percent of positions that the coordinator does not take, while it takes others.
    pub commits_refused: usize,
}

impl Brokers {
    pub fn draw(dice: &mut Dice, profile: Profile) -> Self {
        let is_chaos = profile == Profile::Chaos;
        let is_measured = matches!(profile, Profile::Poison | Profile::Fair);
        let has_ids = !is_chaos || dice.chance(75);
        Self {
            topics: dice.between(1, 2),
            has_ids,
            by_id: has_ids && dice.chance(40),
            others_write_notes: dice.chance(70),
            latency: dice.one(&[(1, 2), (1, 10), (5, 20)]),
            lost: if is_chaos { dice.one(&[0, 0, 2, 10]) } else { 0 },
            timeout: Duration::from_millis(dice.one(&[1_000, 5_000])),
            // Where it is told how soon others flow, no batch waits for room.
            buffer: if is_measured { 1 << 20 } else { dice.one(&[1, 3_000, 1 << 20]) },
            metadata_age: Duration::from_secs(dice.one(&[2, 30])),
            offsets_fail: if is_chaos { dice.one(&[0, 0, 20]) } else { 0 },
            commits_refused: if is_chaos { dice.one(&[0, 0, 0, 20]) } else { 0 },
        }
    }
}

impl Plan {
    /// Other members come, go and die; the coordinator moves, or our connection to it brings nothing.
    pub fn trouble_group(&mut self, dice: &mut Dice) {
        for _ in 0..dice.below(6) {
            let (at, slot) = (self.when(dice), dice.between(1, 2));
            let act = match dice.below(8) {
                0..=3 => Act::Joins(slot),
                4 => Act::Dies(slot),
                5 => Act::Parts(slot),
                6 => Act::MoveCoordinator(dice.below(2_000) as u64),
                _ => Act::CutOff(dice.millis(100, 15_000)),
            };
            self.acts.push((at, act));
        }
        // All is left to us in the end.
        let calm = self.calm_at + Duration::from_millis(1);
        self.acts.extend([(calm, Act::Parts(1)), (calm, Act::Parts(2))]);
    }

    /// Nothing is written any more once the world is calm and a run may come to its end.
    fn before_calm(&self, at: Duration) -> Duration {
        at.min(self.calm_at - Duration::from_millis(1))
    }

    /// After some elections the cluster is restored from a backup, while records are read or nobody is there.
    fn restored(&mut self, dice: &mut Dice) {
        let partition = dice.below(self.partitions);
        let at = self.calm_at.mul_f64(0.5) + self.when(dice).mul_f64(0.5);
        for _ in 0..dice.between(1, 3) {
            let before = at.saturating_sub(dice.millis(200, 1_500));
            self.acts.push((before, Act::Elect { partition, is_unclean: false }));
            self.append(before + dice.millis(0, 100), partition, dice.one(&[1, 5, 20]));
        }
        if dice.chance(60) {
            self.acts.push((at, Act::Kill));
        }
        let after = self.before_calm(at + dice.millis(0, 20));
        self.acts.push((after, Act::Restore(partition)));
    }

    /// What becomes of topics, leaders and logs.
    pub fn trouble_brokers(&mut self, dice: &mut Dice) {
        let loses_end = dice.chance(35);
        if loses_end {
            // While nobody reads, a log loses its end: what is done beyond the position may be of it.
            let partition = dice.below(self.partitions);
            let at = self.calm_at.mul_f64(0.5) + self.when(dice).mul_f64(0.5);
            self.append(at.saturating_sub(dice.millis(300, 1_000)), partition, dice.one(&[10, 20]));
            self.acts.push((at, Act::Kill));
            if dice.chance(60) {
                // Some of them hold the position back.
                self.poison = Some((Reply::Status(500, None), 200));
                (self.settings.max_attempts, self.settings.max_age) = (NonZeroU32::new(6), None);
                self.settings.batch_bytes = size(1 << 20);
                (self.settings.order, self.settings.window_size) = (Order::None, size(50));
                self.settings.batch_size = size(10);
            }
            let after = at + dice.millis(0, 20);
            self.acts.push((after, Act::Elect { partition, is_unclean: true }));
            self.append(self.before_calm(after + dice.millis(0, 200)), partition, dice.one(&[1, 5, 20]));
        }
        // What was cut off under epochs that come again, nobody can tell from what is there.
        let restores = !loses_end && dice.chance(40);
        if restores && dice.chance(50) {
            self.restored(dice);
        }
        for _ in 0..if dice.chance(60) { dice.below(8) } else { 0 } {
            let (at, partition) = (self.before_calm(self.when(dice)), dice.below(self.partitions));
            let act = match dice.below(10) {
                0..=1 => Act::Elect { partition, is_unclean: false },
                2..=3 => Act::Elect { partition, is_unclean: !restores },
                4 => {
                    let later = at + dice.millis(0, 3_000);
                    let is_unclean = !restores && dice.chance(50);
                    self.acts.push((later.min(self.calm_at), Act::Elect { partition, is_unclean }));
                    Act::Leaderless(partition)
                }
                5 => Act::Retention(partition),
                6 if restores => Act::Restore(partition),
                // A static leader that comes back does not see what has changed: nor does Java's.
                7 if !self.group.is_static => Act::Grow(partition),
                8 if self.brokers.has_ids => {
                    // A position without a note says nothing of the log that it is of.
                    self.brokers.others_write_notes = true;
                    Act::Recreate(partition)
                }
                _ => Act::Hang { broker: dice.below(3), time: dice.millis(100, 8_000) },
            };
            self.acts.push((at, act));
            if dice.chance(50) {
                // Records come soon after it.
                let records = dice.one(&[1, 5, 20]);
                self.append(self.before_calm(at + dice.millis(0, 1_000)), partition, records);
            }
        }
    }
}
