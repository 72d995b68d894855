//! A model of Kafka's classic group coordinator: the states, the timers and the answers of `GroupCoordinator`, in
//! virtual milliseconds, with what it stores and what it forgets when it moves to another broker.

use sluicegate::kafka::group::assignor::{Assignment, Assignor, Subscriber, Subscription};
use sluicegate::kafka::group::error::GroupError;
use sluicegate::kafka::group::exchange::{Answer, Joined, Stamp};
use sluicegate::record::Partition;
use std::collections::{BTreeMap, BTreeSet};

/// Names a request whose answer is sent later. Nobody waits for the answer to [`NOBODY`].
pub type Token = u64;
pub const NOBODY: Token = 0;
/// After so long the coordinator stops waiting with a member's first join (`NewMemberJoinTimeoutMs`).
const NEW_MEMBER_JOIN: u64 = 300_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

pub type Protocols = Vec<(Assignor, Subscription)>;

#[derive(Clone)]
struct Member {
    instance: Option<String>,
    protocols: Protocols,
    session: u64,
    rebalance: u64,
    expires: u64,
    joins: Option<Token>,
    syncs: Option<Token>,
    is_new: bool,
    assignment: Assignment,
}

#[derive(Clone)]
struct Group {
    state: State,
    generation: i32,
    protocol: Option<Assignor>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    instances: BTreeMap<String, String>,
}

/// What a join brings.
pub struct JoinRequest {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub session: u64,
    pub rebalance: u64,
    pub protocols: Protocols,
}

pub struct Coordinator {
    group: Group,
    /// What another broker would read.
    stored: Group,
    pending: BTreeMap<String, u64>,
    rebalance_until: Option<u64>,
    /// A rebalance of a group that was empty waits for this time, so that more members come along.
    delayed: bool,
    sync_until: Option<u64>,
    unsynced: BTreeSet<String>,
    loading_until: u64,
    ids: u64,
    initial_delay: u64,
    /// Before Kafka 2.7 a heartbeat of a member that has joined and not been given anything yet is refused.
    pub beats_while_completing: bool,
    pub replies: Vec<(Token, Answer)>,
}

fn refused(error: GroupError) -> Answer {
    Answer::Refused { error, member_id: String::new() }
}

/// What a leader gives a member.
pub fn given(partitions: Vec<Partition>) -> Assignment {
    Assignment { partitions, user_data: Vec::new() }
}

impl Coordinator {
    pub fn new(initial_delay: u64) -> Self {
        let group = Group {
            state: State::Empty,
            generation: 0,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
        };
        Self {
            stored: group.clone(),
            group,
            pending: BTreeMap::new(),
            rebalance_until: None,
            delayed: false,
            sync_until: None,
            unsynced: BTreeSet::new(),
            loading_until: 0,
            ids: 0,
            initial_delay,
            beats_while_completing: true,
            replies: Vec::new(),
        }
    }

    pub fn state(&self) -> State {
        self.group.state
    }

    pub fn generation(&self) -> i32 {
        self.group.generation
    }

    /// The members as a leader would see them.
    pub fn members(&self) -> Vec<Subscriber> {
        self.subscribers()
    }

    fn reply(&mut self, token: Option<Token>, answer: Answer) {
        if let Some(token) = token {
            self.replies.push((token, answer));
        }
    }

    /// Another broker takes over with what was stored; it reads for `load` ms.
    pub fn move_away(&mut self, now: u64, load: u64) {
        for member in std::mem::take(&mut self.group.members).into_values() {
            self.reply(member.joins, refused(GroupError::NotCoordinator));
            self.reply(member.syncs, refused(GroupError::NotCoordinator));
        }
        self.group = self.stored.clone();
        self.pending.clear();
        self.rebalance_until = None;
        self.sync_until = None;
        self.unsynced.clear();
        self.loading_until = now + load;
        for member in self.group.members.values_mut() {
            member.expires = self.loading_until + member.session;
            (member.joins, member.syncs, member.is_new) = (None, None, false);
        }
        self.group.state = if self.group.members.is_empty() { State::Empty } else { State::Stable };
    }

    /// Who is who, or the error.
    fn validate(&self, stamp: &Stamp) -> Result<(), GroupError> {
        if let Some(instance) = &stamp.instance_id {
            match self.group.instances.get(instance) {
                Some(current) if *current != stamp.member_id => return Err(GroupError::FencedInstanceId),
                None => return Err(GroupError::UnknownMemberId),
                _ => {}
            }
        }
        if !self.group.members.contains_key(&stamp.member_id) {
            return Err(GroupError::UnknownMemberId);
        }
        if stamp.generation != self.group.generation {
            return Err(GroupError::IllegalGeneration);
        }
        Ok(())
    }

    fn restart_session(&mut self, member_id: &str, now: u64) {
        if let Some(member) = self.group.members.get_mut(member_id) {
            member.expires = now + member.session;
        }
    }

    pub fn heartbeat(&mut self, stamp: &Stamp, now: u64) -> Answer {
        if now < self.loading_until {
            return Answer::Done;
        }
        if let Err(error) = self.validate(stamp) {
            return refused(error);
        }
        match self.group.state {
            State::Empty => refused(GroupError::UnknownMemberId),
            State::CompletingRebalance if !self.beats_while_completing => {
                refused(GroupError::RebalanceInProgress)
            }
            State::PreparingRebalance => {
                self.restart_session(&stamp.member_id, now);
                refused(GroupError::RebalanceInProgress)
            }
            State::Stable | State::CompletingRebalance => {
                self.restart_session(&stamp.member_id, now);
                Answer::Done
            }
        }
    }

    pub fn commit(&mut self, stamp: &Stamp, now: u64) -> Result<(), GroupError> {
        if now < self.loading_until {
            return Err(GroupError::CoordinatorLoadInProgress);
        }
        self.validate(stamp)?;
        match self.group.state {
            State::Stable | State::PreparingRebalance => {
                self.restart_session(&stamp.member_id, now);
                Ok(())
            }
            _ => Err(GroupError::RebalanceInProgress),
        }
    }

    pub fn leave(&mut self, member_id: &str, now: u64) -> Answer {
        if now < self.loading_until {
            return refused(GroupError::CoordinatorLoadInProgress);
        }
        if self.pending.remove(member_id).is_some() {
            self.try_complete(now);
            return Answer::Done;
        }
        if !self.group.members.contains_key(member_id) {
            return refused(GroupError::UnknownMemberId);
        }
        self.remove(member_id, now);
        Answer::Done
    }

    pub fn join(&mut self, token: Token, request: JoinRequest, now: u64) {
        if now < self.loading_until {
            return self.reply(Some(token), refused(GroupError::CoordinatorLoadInProgress));
        }
        let JoinRequest { member_id, instance_id, .. } = &request;
        if member_id.is_empty() {
            self.ids += 1;
            let fresh = format!("{}-{:04}", instance_id.as_deref().unwrap_or("member"), self.ids);
            match instance_id.as_ref().map(|instance| self.group.instances.get(instance).cloned()) {
                Some(Some(old)) => self.replace(token, &old, &fresh, request, now),
                Some(None) => self.add(token, fresh, request, now),
                None => {
                    self.pending.insert(fresh.clone(), now + request.session);
                    let error = GroupError::MemberIdRequired;
                    self.reply(Some(token), Answer::Refused { error, member_id: fresh });
                }
            }
        } else if self.pending.remove(member_id).is_some() {
            self.add(token, member_id.clone(), request, now);
        } else {
            let (member_id, instance_id) = (member_id.clone(), instance_id.clone());
            let stamp = Stamp { generation: self.group.generation, member_id, instance_id };
            match self.validate(&stamp) {
                Err(error) => self.reply(Some(token), refused(error)),
                Ok(()) => self.join_again(token, request, now),
            }
        }
        self.try_complete(now);
    }

    fn join_again(&mut self, token: Token, request: JoinRequest, now: u64) {
        let id = request.member_id;
        let same = self.group.members[&id].protocols == request.protocols;
        let leads = self.group.leader.as_ref() == Some(&id);
        match self.group.state {
            State::Empty => return self.reply(Some(token), refused(GroupError::UnknownMemberId)),
            State::CompletingRebalance if same => {
                let answer = self.joined(&id, leads);
                return self.reply(Some(token), answer);
            }
            State::Stable if same && !leads => {
                let answer = self.joined(&id, false);
                return self.reply(Some(token), answer);
            }
            _ => {}
        }
        self.update(&id, request.protocols, token);
        self.prepare(now);
    }

    fn update(&mut self, id: &str, protocols: Protocols, token: Token) {
        let member = self.group.members.get_mut(id).unwrap();
        member.protocols = protocols;
        // The former request goes unanswered: its connection is gone.
        member.joins = Some(token);
    }

    fn joined(&self, id: &str, with_members: bool) -> Answer {
        Answer::Joined(Joined {
            generation: self.group.generation,
            protocol: self.group.protocol.map_or("", Assignor::name).into(),
            leader: self.group.leader.clone().unwrap_or_default(),
            member_id: id.into(),
            members: if with_members { self.subscribers() } else { Vec::new() },
        })
    }

    fn subscribers(&self) -> Vec<Subscriber> {
        let said = |member: &Member| {
            let chosen = member.protocols.iter().find(|(a, _)| Some(*a) == self.group.protocol);
            chosen.map(|(_, subscription)| subscription.clone()).unwrap_or_default()
        };
        let of = |(id, member): (&String, &Member)| Subscriber {
            member_id: id.clone(),
            instance_id: member.instance.clone(),
            subscription: said(member),
        };
        self.group.members.iter().map(of).collect()
    }

    fn add(&mut self, token: Token, id: String, request: JoinRequest, now: u64) {
        let member = Member {
            instance: request.instance_id.clone(),
            protocols: request.protocols,
            session: request.session,
            rebalance: request.rebalance,
            expires: now + NEW_MEMBER_JOIN,
            joins: Some(token),
            syncs: None,
            is_new: true,
            assignment: Assignment::default(),
        };
        if let Some(instance) = request.instance_id {
            self.group.instances.insert(instance, id.clone());
        }
        self.group.leader.get_or_insert(id.clone());
        self.group.members.insert(id, member);
        self.prepare(now);
    }

    /// A static member is back without the id it had.
    fn replace(&mut self, token: Token, old: &str, fresh: &str, request: JoinRequest, now: u64) {
        let leader_as_told = self.group.leader.clone();
        let mut member = self.group.members.remove(old).unwrap();
        self.reply(member.joins.take(), refused(GroupError::FencedInstanceId));
        self.reply(member.syncs.take(), refused(GroupError::FencedInstanceId));
        member.protocols = request.protocols;
        member.joins = Some(token);
        member.expires = now + member.session;
        if self.group.leader.as_deref() == Some(old) {
            self.group.leader = Some(fresh.into());
        }
        self.group.instances.insert(request.instance_id.unwrap(), fresh.into());
        self.group.members.insert(fresh.into(), member);
        match self.group.state {
            State::Stable => {
                // Told the old leader's id, it takes itself for none; the group stays as it is.
                let mut answer = self.joined(fresh, false);
                if let Answer::Joined(joined) = &mut answer {
                    joined.leader = leader_as_told.unwrap_or_default();
                }
                self.group.members.get_mut(fresh).unwrap().joins = None;
                self.stored = self.group.clone();
                self.reply(Some(token), answer);
            }
            State::CompletingRebalance => self.prepare(now),
            _ => {}
        }
    }

    fn prepare(&mut self, now: u64) {
        if self.group.state == State::PreparingRebalance {
            return;
        }
        let mut waiting = Vec::new();
        for member in self.group.members.values_mut() {
            if let Some(token) = member.syncs.take() {
                member.expires = now + member.session;
                waiting.push(token);
            }
        }
        for token in waiting {
            self.reply(Some(token), refused(GroupError::RebalanceInProgress));
        }
        self.sync_until = None;
        self.unsynced.clear();
        self.delayed = self.group.state == State::Empty && self.initial_delay > 0;
        self.group.state = State::PreparingRebalance;
        let patience = self.group.members.values().map(|m| m.rebalance).max().unwrap_or(0);
        self.rebalance_until = Some(now + if self.delayed { self.initial_delay } else { patience });
        self.try_complete(now);
    }

    fn try_complete(&mut self, now: u64) {
        let all_joined = self.pending.is_empty() && self.group.members.values().all(|m| m.joins.is_some());
        if self.group.state == State::PreparingRebalance && all_joined && !self.delayed {
            self.complete(now);
        }
    }

    fn complete(&mut self, now: u64) {
        self.delayed = false;
        self.group.members.retain(|_, member| member.joins.is_some() || member.instance.is_some());
        let has_joined = |id: &String| self.group.members.get(id).is_some_and(|m| m.joins.is_some());
        if !self.group.members.is_empty() && !self.group.leader.as_ref().is_some_and(has_joined) {
            let next = self.group.members.keys().find(|id| has_joined(id)).cloned();
            if next.is_none() {
                let patience = self.group.members.values().map(|m| m.rebalance).max().unwrap_or(0);
                self.rebalance_until = Some(now + patience);
                return;
            }
            self.group.leader = next;
        }
        self.rebalance_until = None;
        self.group.generation += 1;
        if self.group.members.is_empty() {
            self.group.state = State::Empty;
            (self.group.leader, self.group.protocol) = (None, None);
            self.stored = self.group.clone();
            return;
        }
        self.group.state = State::CompletingRebalance;
        self.group.protocol = self.elect_protocol();
        self.sync_until = Some(now + self.group.members.values().map(|m| m.rebalance).max().unwrap_or(0));
        for id in self.group.members.keys().cloned().collect::<Vec<_>>() {
            let answer = self.joined(&id, self.group.leader.as_ref() == Some(&id));
            let member = self.group.members.get_mut(&id).unwrap();
            member.is_new = false;
            member.expires = now + member.session;
            let token = member.joins.take();
            self.unsynced.insert(id);
            self.reply(token, answer);
        }
    }

    fn elect_protocol(&self) -> Option<Assignor> {
        let mut members = self.group.members.values();
        let first: Vec<Assignor> = members.next()?.protocols.iter().map(|(a, _)| *a).collect();
        let mut common = first
            .into_iter()
            .filter(|a| self.group.members.values().all(|m| m.protocols.iter().any(|p| p.0 == *a)));
        common.next()
    }

    pub fn sync(&mut self, token: Token, stamp: &Stamp, assignments: &[(String, Assignment)], now: u64) {
        if now < self.loading_until {
            return self.reply(Some(token), refused(GroupError::RebalanceInProgress));
        }
        if let Err(error) = self.validate(stamp) {
            return self.reply(Some(token), refused(error));
        }
        let id = &stamp.member_id;
        match self.group.state {
            State::Empty => self.reply(Some(token), refused(GroupError::UnknownMemberId)),
            State::PreparingRebalance => self.reply(Some(token), refused(GroupError::RebalanceInProgress)),
            State::Stable => {
                self.unsynced.remove(id);
                self.restart_session(id, now);
                let assignment = self.group.members[id].assignment.clone();
                self.reply(Some(token), Answer::Synced(assignment));
            }
            State::CompletingRebalance => {
                self.unsynced.remove(id);
                self.group.members.get_mut(id).unwrap().syncs = Some(token);
                if self.group.leader.as_ref() == Some(id) {
                    self.settle(assignments, now);
                }
            }
        }
        if self.unsynced.is_empty() {
            self.sync_until = None;
        }
    }

    fn settle(&mut self, assignments: &[(String, Assignment)], now: u64) {
        self.group.state = State::Stable;
        let mut replies = Vec::new();
        for (id, member) in &mut self.group.members {
            let given = assignments.iter().find(|(to, _)| to == id);
            member.assignment = given.map(|(_, assignment)| assignment.clone()).unwrap_or_default();
            if let Some(token) = member.syncs.take() {
                member.expires = now + member.session;
                replies.push((token, Answer::Synced(member.assignment.clone())));
            }
        }
        self.stored = self.group.clone();
        self.replies.extend(replies);
    }

    fn remove(&mut self, id: &str, now: u64) {
        let Some(member) = self.group.members.remove(id) else { return };
        self.reply(member.joins, refused(GroupError::UnknownMemberId));
        self.reply(member.syncs, refused(GroupError::UnknownMemberId));
        if let Some(instance) = &member.instance {
            self.group.instances.remove(instance);
        }
        self.unsynced.remove(id);
        if self.group.leader.as_deref() == Some(id) {
            self.group.leader = self.group.members.keys().next().cloned();
        }
        match self.group.state {
            State::Stable | State::CompletingRebalance => self.prepare(now),
            State::PreparingRebalance => self.try_complete(now),
            State::Empty => {}
        }
    }

    /// When a timer runs out.
    pub fn next_timer(&self) -> Option<u64> {
        let sessions = self.group.members.values().filter(|m| Self::is_watched(m)).map(|m| m.expires);
        let pending = self.pending.values().copied();
        let next = sessions.chain(pending).chain(self.rebalance_until).chain(self.sync_until).min();
        next.map(|time| time.max(self.loading_until))
    }

    fn is_watched(member: &Member) -> bool {
        (member.joins.is_none() && member.syncs.is_none()) || member.is_new
    }

    /// Lets the timers run out that are due.
    pub fn tick(&mut self, now: u64) {
        if now < self.loading_until {
            return;
        }
        self.pending.retain(|_, expires| *expires > now);
        self.try_complete(now);
        let expired = |(_, m): &(&String, &Member)| Self::is_watched(m) && m.expires <= now;
        let expired: Vec<String> =
            self.group.members.iter().filter(expired).map(|(id, _)| id.clone()).collect();
        for id in expired {
            self.remove(&id, now);
        }
        if self.rebalance_until.is_some_and(|until| until <= now) {
            self.complete(now);
        }
        if self.sync_until.is_some_and(|until| until <= now) {
            for id in std::mem::take(&mut self.unsynced) {
                if let Some(member) = self.group.members.remove(&id)
                    && let Some(instance) = member.instance
                {
                    self.group.instances.remove(&instance);
                }
                if self.group.leader.as_ref() == Some(&id) {
                    self.group.leader = self.group.members.keys().next().cloned();
                }
            }
            self.prepare(now);
        }
    }
}
