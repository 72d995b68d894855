//! A consumer group from its coordinator's side: members, generations, rebalances, committed offsets. Pure: takes
//! `now` and never waits; a delayed response is collected by its [`Token`] once it is ready.
//!
//! The classic protocol (KIP-62, KIP-345, KIP-394): a member that joins or leaves starts a rebalance, which ends when
//! all members have rejoined or the longest rebalance timeout has passed. The first member, the leader, computes the
//! assignment. A member that sends nothing for its session timeout is removed.
//!
//! | room | what is in it |
//! |---|---|
//! | `schedules` | its test by random schedules |

use crate::kafka::protocol::ErrorCode;
use crate::record::Partition;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Identifies a request whose response is delayed.
pub(super) type Token = u64;

/// The most members of a group (`group.max.size`).
pub const MOST_MEMBERS: usize = 1_000;
/// The most bytes of metadata with a committed offset (`offset.metadata.max.bytes`).
pub const LARGEST_METADATA: usize = 4_096;
/// The accepted session timeouts (`group.min.session.timeout.ms`, `group.max.session.timeout.ms`). The minimum is lower
/// than a broker's, to keep tests short.
pub const SESSION_TIMEOUTS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1_800));
/// The longest rebalance timeout, whatever a member asks for.
pub const LONGEST_REBALANCE: Duration = Duration::from_secs(1_800);

/// The group's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has no members.
    Empty,
    /// Waiting for members to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// All members have their assignment.
    Stable,
}

impl Phase {
    /// The state's name in Kafka.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// The member and generation that a request carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'a> {
    pub(super) generation: i32,
    pub(super) member_id: &'a str,
    pub(super) instance: Option<&'a str>,
}

/// What a member sends with a join.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub(super) instance: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) protocol_type: String,
    /// Assignors with subscriptions, in order of preference.
    pub(super) protocols: Vec<(String, Vec<u8>)>,
    pub(super) session: Duration,
    pub(super) rebalance: Duration,
}

/// The id for a member that joins without one.
#[derive(Clone, Debug)]
pub(super) struct Newcomer {
    pub(super) id: String,
    /// Whether it has to rejoin with that id first (KIP-394), which newer clients do.
    pub(super) comes_back: bool,
}

/// A member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) profile: Profile,
    pub(super) assignment: Vec<u8>,
    expires: Instant,
    joins: Option<Token>,
    syncs: Option<Token>,
}

/// The response to a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) generation: i32,
    pub(super) protocol: String,
    pub(super) leader: String,
    pub(super) member_id: String,
    /// For the leader: id, instance id and subscription of each member.
    pub(super) members: Vec<(String, Option<String>, Vec<u8>)>,
}

/// The response to a join or a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Joined(Joined),
    Synced(Vec<u8>),
    /// With the member id to rejoin with, if any.
    Refused(ErrorCode, String),
}

/// A committed offset.
#[derive(Clone, Debug)]
pub(super) struct Committed {
    pub(super) next: i64,
    pub(super) epoch: i32,
    pub(super) metadata: Option<String>,
}

/// A group with its members and offsets.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) phase: Phase,
    pub(super) generation: i32,
    pub(super) protocol: String,
    pub(super) members: BTreeMap<String, Member>,
    pub(super) committed: BTreeMap<Partition, Committed>,
    leader: Option<String>,
    /// Member ids of static members, by instance id.
    instances: BTreeMap<String, String>,
    /// Member ids given out but not yet used (KIP-394).
    pending: BTreeMap<String, Instant>,
    rebalance_until: Option<Instant>,
    sync_until: Option<Instant>,
    replies: BTreeMap<Token, Reply>,
}

impl Group {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Empty,
            generation: 0,
            protocol: String::new(),
            members: BTreeMap::new(),
            committed: BTreeMap::new(),
            leader: None,
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            rebalance_until: None,
            sync_until: None,
            replies: BTreeMap::new(),
        }
    }

    /// Takes the response for this token, if it is ready.
    pub(super) fn take_reply(&mut self, token: Token) -> Option<Reply> {
        self.replies.remove(&token)
    }

    fn reply(&mut self, token: Option<Token>, reply: Reply) {
        if let Some(token) = token {
            self.replies.insert(token, reply);
        }
    }

    fn refuse(&mut self, token: Option<Token>, code: ErrorCode) {
        self.reply(token, Reply::Refused(code, String::new()));
    }

    /// The protocol type: `consumer` once there is a member.
    pub(super) fn protocol_type(&self) -> &str {
        self.members.values().next().map_or("", |member| &member.profile.protocol_type)
    }

    fn validate(&self, stamp: &Stamp<'_>) -> Result<(), ErrorCode> {
        if let Some(instance) = stamp.instance {
            match self.instances.get(instance) {
                Some(id) if id != stamp.member_id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
            }
        }
        if !self.members.contains_key(stamp.member_id) {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if stamp.generation != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        Ok(())
    }

    fn restart_session(&mut self, member_id: &str, now: Instant) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.expires = now + member.profile.session;
        }
    }

    // ---- single requests -----------------------------------------------------------------------------------

    pub(super) fn heartbeat(&mut self, stamp: &Stamp<'_>, now: Instant) -> ErrorCode {
        if let Err(code) = self.validate(stamp) {
            return code;
        }
        self.restart_session(stamp.member_id, now);
        match self.phase {
            Phase::Stable => ErrorCode::NONE,
            _ => ErrorCode::REBALANCE_IN_PROGRESS,
        }
    }

    /// Checks whether this member may commit now. A negative generation means a client without membership, which may
    /// commit while the group is empty.
    pub(super) fn may_commit(&mut self, stamp: &Stamp<'_>, now: Instant) -> Result<(), ErrorCode> {
        if stamp.generation < 0 && stamp.member_id.is_empty() {
            return match self.phase {
                Phase::Empty => Ok(()),
                _ => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            };
        }
        self.validate(stamp)?;
        self.restart_session(stamp.member_id, now);
        match self.phase {
            Phase::Stable | Phase::PreparingRebalance => Ok(()),
            _ => Err(ErrorCode::REBALANCE_IN_PROGRESS),
        }
    }

    /// Removes a member, named by its id or, if static, by its instance id alone.
    pub(super) fn leave(&mut self, member_id: &str, instance: Option<&str>, now: Instant) -> ErrorCode {
        let id = match instance.map(|instance| self.instances.get(instance)) {
            None => member_id.to_owned(),
            Some(None) => return ErrorCode::UNKNOWN_MEMBER_ID,
            Some(Some(id)) if member_id.is_empty() || id == member_id => id.clone(),
            Some(Some(_)) => return ErrorCode::FENCED_INSTANCE_ID,
        };
        if self.pending.remove(&id).is_some() {
            self.complete_if_all_joined(now);
            return ErrorCode::NONE;
        }
        match self.remove(&id, now) {
            true => ErrorCode::NONE,
            false => ErrorCode::UNKNOWN_MEMBER_ID,
        }
    }

    // ---- joining -------------------------------------------------------------------------------------------

    /// A member joins or rejoins.
    pub(super) fn join(
        &mut self,
        token: Token,
        member_id: &str,
        newcomer: Newcomer,
        profile: Profile,
        now: Instant,
    ) {
        if let Err(code) = self.check(member_id, &profile) {
            return self.refuse(Some(token), code);
        }
        let known = profile.instance.as_ref().and_then(|instance| self.instances.get(instance).cloned());
        if member_id.is_empty() {
            let Newcomer { id, comes_back } = newcomer;
            match known {
                Some(old) => self.replace(token, &old, id, profile, now),
                None if profile.instance.is_none() && comes_back => {
                    self.pending.insert(id.clone(), now + profile.session);
                    self.reply(Some(token), Reply::Refused(ErrorCode::MEMBER_ID_REQUIRED, id));
                }
                None => self.add(token, id, profile, now),
            }
        } else if self.pending.remove(member_id).is_some() {
            self.add(token, member_id.to_owned(), profile, now);
        } else {
            let instance = profile.instance.clone();
            let stamp = Stamp { generation: self.generation, member_id, instance: instance.as_deref() };
            match self.validate(&stamp) {
                Err(code) => self.refuse(Some(token), code),
                Ok(()) => self.join_again(token, member_id, profile, now),
            }
        }
        self.complete_if_all_joined(now);
    }

    fn check(&self, member_id: &str, profile: &Profile) -> Result<(), ErrorCode> {
        let (shortest, longest) = SESSION_TIMEOUTS;
        if !(shortest..=longest).contains(&profile.session) {
            return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        let known = self.members.contains_key(member_id) || self.pending.contains_key(member_id);
        if !known && self.members.len().saturating_add(self.pending.len()) >= MOST_MEMBERS {
            return Err(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        let is_same = |id: &str, member: &Member| {
            id == member_id || profile.instance.is_some() && member.profile.instance == profile.instance
        };
        let others: Vec<&Member> = self
            .members
            .iter()
            .filter(|(id, member)| !is_same(id, member))
            .map(|(_, member)| member)
            .collect();
        let knows =
            |member: &&Member, name: &str| member.profile.protocols.iter().any(|(one, _)| one == name);
        let shared = |(name, _): &(String, _)| others.iter().all(|member| knows(member, name));
        let same_kind = others.iter().all(|member| member.profile.protocol_type == profile.protocol_type);
        match same_kind && profile.protocols.iter().any(shared) {
            true => Ok(()),
            false => Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        }
    }

    fn add(&mut self, token: Token, id: String, profile: Profile, now: Instant) {
        if let Some(instance) = &profile.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        let (expires, assignment) = (now + profile.session, Vec::new());
        self.members.insert(id, Member { profile, assignment, expires, joins: Some(token), syncs: None });
        self.prepare(now);
    }

    fn join_again(&mut self, token: Token, id: &str, mut profile: Profile, now: Instant) {
        let Some(member) = self.members.get_mut(id) else { return };
        let same = member.profile.protocols == profile.protocols;
        let leads = self.leader.as_deref() == Some(id);
        // A repeated join of the same generation gets the same response.
        let again = match self.phase {
            Phase::CompletingRebalance => same,
            Phase::Stable => same && !leads,
            _ => false,
        };
        // A member id stays bound to its instance id.
        profile.instance = member.profile.instance.take();
        member.profile = profile;
        if again {
            member.expires = now + member.profile.session;
            let joined = self.joined(id);
            return self.reply(Some(token), Reply::Joined(joined));
        }
        let former = member.joins.replace(token);
        self.refuse(former, ErrorCode::REBALANCE_IN_PROGRESS);
        self.prepare(now);
    }

    /// A static member restarted without its old member id: any process that still uses the old id is fenced.
    fn replace(&mut self, token: Token, old: &str, fresh: String, profile: Profile, now: Instant) {
        let Some(mut member) = self.members.remove(old) else { return };
        self.refuse(member.joins.take(), ErrorCode::FENCED_INSTANCE_ID);
        self.refuse(member.syncs.take(), ErrorCode::FENCED_INSTANCE_ID);
        let same = member.profile.protocols == profile.protocols;
        if let Some(instance) = &profile.instance {
            self.instances.insert(instance.clone(), fresh.clone());
        }
        member.expires = now + profile.session;
        member.profile = profile;
        let led = self.leader.as_deref() == Some(old);
        if led {
            self.leader = Some(fresh.clone());
        }
        let stays = self.phase == Phase::Stable && same;
        member.joins = (!stays).then_some(token);
        self.members.insert(fresh.clone(), member);
        if !stays {
            return self.prepare(now);
        }
        // No rebalance. The response names the old leader id, so that a returning leader doesn't assign again.
        let mut joined = self.joined(&fresh);
        if led {
            (joined.leader, joined.members) = (old.to_owned(), Vec::new());
        }
        self.reply(Some(token), Reply::Joined(joined));
    }

    fn joined(&self, id: &str) -> Joined {
        let leads = self.leader.as_deref() == Some(id);
        let said = |member: &Member| {
            let protocols = &member.profile.protocols;
            protocols.iter().find(|(name, _)| *name == self.protocol).map(|(_, said)| said.clone())
        };
        let of = |(id, member): (&String, &Member)| {
            (id.clone(), member.profile.instance.clone(), said(member).unwrap_or_default())
        };
        Joined {
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: id.to_owned(),
            members: if leads { self.members.iter().map(of).collect() } else { Vec::new() },
        }
    }

    // ---- rebalancing ---------------------------------------------------------------------------------------

    fn patience(&self) -> Duration {
        let asked = self.members.values().map(|member| member.profile.rebalance).max();
        asked.unwrap_or_default().min(LONGEST_REBALANCE)
    }

    /// Starts a rebalance.
    pub(super) fn prepare(&mut self, now: Instant) {
        if self.phase != Phase::PreparingRebalance {
            let waiting: Vec<_> = self.members.values_mut().map(|member| member.syncs.take()).collect();
            waiting.into_iter().for_each(|token| self.refuse(token, ErrorCode::REBALANCE_IN_PROGRESS));
            self.phase = Phase::PreparingRebalance;
            (self.rebalance_until, self.sync_until) = (Some(now + self.patience()), None);
        }
        self.complete_if_all_joined(now);
    }

    fn complete_if_all_joined(&mut self, now: Instant) {
        let all = self.pending.is_empty() && self.members.values().all(|member| member.joins.is_some());
        if self.phase == Phase::PreparingRebalance && all {
            self.complete(now);
        }
    }

    /// The join phase is over: all members have joined, or its time has passed.
    fn complete(&mut self, now: Instant) {
        self.members.retain(|_, member| member.joins.is_some() || member.profile.instance.is_some());
        let has_joined = |id: &String| self.members.get(id).is_some_and(|member| member.joins.is_some());
        if !self.members.is_empty() && !self.leader.as_ref().is_some_and(has_joined) {
            let Some(next) = self.members.keys().find(|id| has_joined(id)) else {
                // Only static members are left, none of which has rejoined: keep waiting.
                self.rebalance_until = Some(now + self.patience());
                return;
            };
            self.leader = Some(next.clone());
        }
        self.generation = self.generation.saturating_add(1);
        self.rebalance_until = None;
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            (self.leader, self.protocol, self.sync_until) = (None, String::new(), None);
            self.instances.clear();
            return;
        }
        self.phase = Phase::CompletingRebalance;
        self.protocol = self.elect_protocol();
        self.sync_until = Some(now + self.patience());
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let joined = self.joined(&id);
            self.restart_session(&id, now);
            let token = self.members.get_mut(&id).and_then(|member| member.joins.take());
            self.reply(token, Reply::Joined(joined));
        }
    }

    /// The leader's most preferred assignor that all members support.
    fn elect_protocol(&self) -> String {
        let knows = |member: &Member, name: &str| member.profile.protocols.iter().any(|(one, _)| one == name);
        let all_know = |name: &&String| self.members.values().all(|member| knows(member, name));
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        let names =
            leader.into_iter().flat_map(|leader| leader.profile.protocols.iter().map(|(name, _)| name));
        names.into_iter().find(all_know).cloned().unwrap_or_default()
    }

    /// A member syncs; the leader's sync carries all assignments.
    pub(super) fn sync(
        &mut self,
        token: Token,
        stamp: &Stamp<'_>,
        assignments: &[(&str, &[u8])],
        now: Instant,
    ) {
        if let Err(code) = self.validate(stamp) {
            return self.refuse(Some(token), code);
        }
        self.restart_session(stamp.member_id, now);
        let leads = self.leader.as_deref() == Some(stamp.member_id);
        let Some(member) = self.members.get_mut(stamp.member_id) else { return };
        match self.phase {
            Phase::Empty => self.refuse(Some(token), ErrorCode::UNKNOWN_MEMBER_ID),
            Phase::PreparingRebalance => self.refuse(Some(token), ErrorCode::REBALANCE_IN_PROGRESS),
            Phase::Stable => {
                let assignment = member.assignment.clone();
                self.reply(Some(token), Reply::Synced(assignment));
            }
            Phase::CompletingRebalance => {
                let former = member.syncs.replace(token);
                self.refuse(former, ErrorCode::REBALANCE_IN_PROGRESS);
                if leads {
                    self.settle(assignments, now);
                }
            }
        }
    }

    fn settle(&mut self, assignments: &[(&str, &[u8])], now: Instant) {
        self.phase = Phase::Stable;
        self.sync_until = None;
        let mut replies = Vec::new();
        for (id, member) in &mut self.members {
            let given = assignments.iter().find(|(to, _)| to == id);
            member.assignment = given.map(|(_, assignment)| assignment.to_vec()).unwrap_or_default();
            member.expires = now + member.profile.session;
            replies.push((member.syncs.take(), member.assignment.clone()));
        }
        replies.into_iter().for_each(|(token, assignment)| self.reply(token, Reply::Synced(assignment)));
    }

    /// Returns `false` if there is no such member.
    fn remove(&mut self, id: &str, now: Instant) -> bool {
        let Some(member) = self.members.remove(id) else { return false };
        self.refuse(member.joins, ErrorCode::UNKNOWN_MEMBER_ID);
        self.refuse(member.syncs, ErrorCode::UNKNOWN_MEMBER_ID);
        if let Some(instance) = &member.profile.instance {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.prepare(now);
        true
    }

    // ---- time ----------------------------------------------------------------------------------------------

    /// The earliest timer, if any.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let sessions =
            self.members.values().filter(|member| member.is_watched()).map(|member| member.expires);
        let pending = self.pending.values().copied();
        sessions.chain(pending).chain(self.rebalance_until).chain(self.sync_until).min()
    }

    /// Fires all due timers.
    pub(super) fn tick(&mut self, now: Instant) {
        self.pending.retain(|_, expires| *expires > now);
        let expired = |(_, member): &(&String, &Member)| member.is_watched() && member.expires <= now;
        let expired: Vec<String> = self.members.iter().filter(expired).map(|(id, _)| id.clone()).collect();
        for id in expired {
            self.remove(&id, now);
        }
        self.complete_if_all_joined(now);
        if self.rebalance_until.is_some_and(|until| until <= now) {
            self.complete(now);
        }
        if self.sync_until.is_some_and(|until| until <= now) {
            // The leader never sent an assignment: members that haven't synced are removed.
            let silent = |(_, member): &(&String, &Member)| member.syncs.is_none();
            let silent: BTreeSet<String> =
                self.members.iter().filter(silent).map(|(id, _)| id.clone()).collect();
            for id in silent {
                self.remove(&id, now);
            }
            self.prepare(now);
        }
    }

    // ---- what tests ask for --------------------------------------------------------------------------------

    /// The coordinator moved: waiting requests fail with NOT_COORDINATOR, and members rejoin elsewhere.
    pub(super) fn move_away(&mut self, now: Instant) {
        let waiting: Vec<_> =
            self.members.values_mut().flat_map(|member| [member.joins.take(), member.syncs.take()]).collect();
        waiting.into_iter().for_each(|token| self.refuse(token, ErrorCode::NOT_COORDINATOR));
        self.pending.clear();
        if !self.members.is_empty() {
            self.phase = Phase::Stable;
            self.prepare(now);
        }
    }

    /// Ends the generation: its members are refused until they rejoin.
    pub(super) fn fence(&mut self, now: Instant) {
        self.generation = self.generation.saturating_add(1);
        self.prepare(now);
    }

    /// Removes all members, as if their sessions had expired.
    pub(super) fn expel(&mut self, now: Instant) {
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.remove(&id, now);
        }
    }
}

impl Member {
    /// Whether the session timeout applies: a member with a waiting request is exempt.
    fn is_watched(&self) -> bool {
        self.joins.is_none() && self.syncs.is_none()
    }
}

#[cfg(test)]
mod schedules;
