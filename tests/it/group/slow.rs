//! A member of another kind that takes its time: it lives and beats, but joins a rebalance late, and assigns late
//! where it leads. Like Java's, whose heartbeats go on while its application doesn't poll.

use super::world::{HEARTBEAT, SESSION, World};
use crate::support::coordinator::{JoinRequest, Token};
use sluicegate::kafka::group::assignor::{Assignor, Subscription};
use sluicegate::kafka::group::error::GroupError;
use sluicegate::kafka::group::exchange::{Answer, Joined, Stamp};
use sluicegate::record::Partition;
use std::collections::BTreeSet;

/// What it tells the coordinator, as Java's does by default.
const REBALANCE: u64 = 300_000;

/// What it is about to do, or waits for.
enum Doing {
    JoinAt(u64),
    Joining(Token),
    SyncAt(u64, Joined),
    Syncing(Token),
    Beating,
}

pub struct Slow {
    doing: Doing,
    joins_after: u64,
    syncs_after: u64,
    member_id: String,
    generation: i32,
    next_beat: u64,
    /// When it was heard last; a join and a sync that wait are heard all the time.
    heard: u64,
    pub held: BTreeSet<Partition>,
}

impl Slow {
    pub fn next(&self) -> u64 {
        let due = match &self.doing {
            Doing::JoinAt(at) | Doing::SyncAt(at, _) => (*at).min(self.next_beat),
            _ => self.next_beat,
        };
        if self.held.is_empty() || self.waits() { due } else { due.min(self.heard + SESSION) }
    }

    fn waits(&self) -> bool {
        matches!(self.doing, Doing::Joining(_) | Doing::Syncing(_))
    }

    fn stamp(&self) -> Stamp {
        Stamp { generation: self.generation, member_id: self.member_id.clone(), instance_id: None }
    }
}

impl World {
    /// It comes, or if it is there already, it becomes faster or slower.
    pub fn dawdle(&mut self, joins_after: u64, syncs_after: u64) {
        let fresh = || Slow {
            doing: Doing::JoinAt(0),
            joins_after,
            syncs_after,
            member_id: String::new(),
            generation: -1,
            next_beat: 0,
            heard: 0,
            held: BTreeSet::new(),
        };
        let slow = self.slow.get_or_insert_with(fresh);
        (slow.joins_after, slow.syncs_after) = (joins_after, syncs_after);
    }

    pub fn end_dawdling(&mut self) {
        if let Some(slow) = self.slow.take() {
            self.coordinator.leave(&slow.member_id, self.now);
            self.deliver_replies();
        }
    }

    /// Lets it do what is due.
    pub fn drive_slow(&mut self) {
        let Some(mut slow) = self.slow.take() else { return };
        if slow.next_beat <= self.now {
            slow.next_beat = self.now + HEARTBEAT;
            if slow.generation >= 0 {
                let answer = self.coordinator.heartbeat(&slow.stamp(), self.now);
                self.slow_beat(&mut slow, &answer);
            }
        }
        if slow.waits() {
            slow.heard = self.now;
        } else if slow.heard + SESSION <= self.now {
            slow.held.clear();
        }
        match slow.doing {
            Doing::JoinAt(at) if at <= self.now => self.slow_joins(&mut slow),
            Doing::SyncAt(at, ref joined) if at <= self.now => {
                let joined = joined.clone();
                self.slow_syncs(&mut slow, &joined);
            }
            _ => {}
        }
        self.slow = Some(slow);
        self.deliver_replies();
    }

    fn slow_beat(&mut self, slow: &mut Slow, answer: &Answer) {
        let Answer::Refused { error, .. } = answer else {
            slow.heard = self.now;
            return;
        };
        match error {
            GroupError::RebalanceInProgress if !matches!(slow.doing, Doing::SyncAt(..)) => {
                slow.heard = self.now
            }
            _ => {}
        }
        match error {
            GroupError::RebalanceInProgress if matches!(slow.doing, Doing::Beating) => {
                slow.doing = Doing::JoinAt(self.now + slow.joins_after);
            }
            GroupError::UnknownMemberId => {
                slow.member_id.clear();
                self.slow_fell(slow);
            }
            GroupError::IllegalGeneration if !slow.waits() => {
                self.slow_fell(slow);
            }
            _ => {}
        }
    }

    fn slow_fell(&mut self, slow: &mut Slow) {
        slow.generation = -1;
        slow.held.clear();
        slow.doing = Doing::JoinAt(self.now + 100);
    }

    fn slow_joins(&mut self, slow: &mut Slow) {
        let assignor = self.plan.assignors[0];
        if !assignor.is_cooperative() {
            slow.held.clear();
        }
        let mut subscription =
            Subscription { topics: self.sizes.keys().cloned().collect(), ..Default::default() };
        if assignor.is_cooperative() {
            subscription.generation = Some(slow.generation);
            subscription.owned = slow.held.iter().cloned().collect();
        }
        self.tokens += 1;
        slow.doing = Doing::Joining(self.tokens);
        let request = JoinRequest {
            member_id: slow.member_id.clone(),
            instance_id: None,
            session: SESSION,
            rebalance: REBALANCE,
            protocols: self.plan.assignors.iter().map(|a| (*a, subscription.clone())).collect(),
        };
        self.coordinator.join(self.tokens, request, self.now);
    }

    fn slow_syncs(&mut self, slow: &mut Slow, joined: &Joined) {
        let mut assignments = Vec::new();
        if joined.leader == joined.member_id {
            let assignor = Assignor::from_name(&joined.protocol).unwrap();
            let lists = assignor.assign(&self.sizes, &joined.members);
            let assignment = |partitions| crate::support::coordinator::given(partitions);
            let ids = joined.members.iter().map(|member| member.member_id.clone());
            assignments = ids.zip(lists.into_iter().map(assignment)).collect();
        }
        self.tokens += 1;
        slow.doing = Doing::Syncing(self.tokens);
        self.coordinator.sync(self.tokens, &slow.stamp(), &assignments, self.now);
    }

    /// Whether an answer was for it.
    pub fn slow_hears(&mut self, token: Token, answer: &Answer) -> bool {
        let Some(mut slow) = self.slow.take() else { return false };
        let mine = matches!(slow.doing, Doing::Joining(mine) | Doing::Syncing(mine) if mine == token);
        if mine {
            slow.heard = self.now;
        }
        match answer {
            _ if !mine => {}
            Answer::Joined(joined) => {
                slow.member_id.clone_from(&joined.member_id);
                slow.generation = joined.generation;
                slow.doing = Doing::SyncAt(self.now + slow.syncs_after, joined.clone());
            }
            Answer::Synced(assignment) => {
                let given: BTreeSet<Partition> = assignment.partitions.iter().cloned().collect();
                let gives_up = slow.held.iter().any(|partition| !given.contains(partition));
                slow.doing = if gives_up { Doing::JoinAt(self.now) } else { Doing::Beating };
                for partition in &given {
                    self.givings.insert(partition.clone(), (usize::MAX, 0));
                }
                slow.held = given;
            }
            Answer::Refused { error: GroupError::MemberIdRequired, member_id } => {
                slow.member_id.clone_from(member_id);
                slow.doing = Doing::JoinAt(self.now);
            }
            Answer::Refused { error: GroupError::UnknownMemberId, .. } => {
                slow.member_id.clear();
                self.slow_fell(&mut slow);
            }
            _ => slow.doing = Doing::JoinAt(self.now + 100),
        }
        self.slow = Some(slow);
        mine
    }
}
