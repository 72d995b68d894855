//! Membership in a consumer group, as a state machine: it takes answers, wishes and the time, and says what to
//! ask next and what becomes of the partitions. It never sleeps, never reads a clock, knows no sockets; a thin
//! thread drives it:
//!
//! ```text
//! loop {
//!     while let Some(event) = membership.next_event() { … tell the consumer … }
//!     match membership.poll(Instant::now()) {
//!         Step::Ask(ask) => … send it; its answer goes into membership.answered(ask.id, answer, now) …
//!         Step::AskInParallel(ask) => … the same on a second connection …
//!         Step::Wait(until) => … wait for an answer, a word of the consumer, or until then …
//!         Step::Over => break,
//!     }
//!     … renew or end the lease as membership.lease_until() says …
//! }
//! ```
//!
//! A member holds a partition from [`Event::Assigned`] until it has released it after [`Event::Revoked`], or
//! until [`Event::Lost`]. Eager members give up everything before they join again. Cooperative members keep what
//! they have, say so, learn what is taken away, give up that alone, and join once more (KIP-429).
//!
//! # What the lease claims
//!
//! The lease ends before the coordinator could have given a partition to anybody else, whatever got lost on the
//! way. The coordinator drops a member (1) once it has heard nothing for the session timeout, and (2) once a
//! rebalance has waited for it for the rebalance timeout. So the lease ends at the earlier of
//!
//! 1. the last *asking* that is known to have been heard, plus the session timeout, and
//! 2. the last asking to which the answer showed the group at rest, plus the rebalance timeout that the coordinator
//!    was told: a rebalance that nobody has told us of yet began after that.
//!
//! While a join is outstanding nothing is known of its arrival, so it prolongs nothing; heartbeats beside it prolong
//! the session alone. Once its answer brings a new generation, the session began anew after the asking, and the
//! partitions that were claimed in it are safe in that generation. What outlives the lease is lost at once, in
//! whatever state.
//!
//! A heartbeat that was asked after the lease prolongs nothing: a coordinator that still reads the group's state
//! answers it without looking. An assignment that came too late, or a sleep ([`Membership::slept`]), is cleared up by
//! a sync.
//!
//! So a rebalance may take as long as the coordinator was told to wait without anything being lost. That is longer
//! than this member takes for itself ([`COORDINATOR_PATIENCE`]), since other members take their own time.
//!
//! All this takes a request to be heard before its connection is closed, or never. So a connection is to be
//! reset when it is given up (see [`Request::FindCoordinator`]): a join that arrives after a later one would
//! speak for us of partitions we held long ago.
//!
//! # What static membership leaves open
//!
//! A static member that comes back to a group at rest takes its old place without a rebalance (KIP-345). So what
//! changed while it was away goes unnoticed until the next rebalance: other topics in its own subscription, and,
//! if it leads, new partitions. Java's members behave alike. What changes after its return it notices.
//!
//! Under a cooperative assignor more would go unnoticed: that it was about to give partitions up when it went
//! away. The next owner waits for a join that nobody sends any more. So a cooperative static member joins once
//! more when it is back, which costs a rebalance that stops nobody and moves nothing else.

mod answers;
mod holdings;
mod leader;
mod parallel;
mod settings;
mod suspend;

pub use holdings::Epoch;
pub use leader::{Attach, opaque};
pub use settings::Settings;

use super::assignor::{Assignment, Assignor, Subscriber, Subscription, TopicSizes};
use super::error::GroupError;
use super::exchange::{Ask, Request, RequestId, Stamp};
use crate::record::Partition;
use crate::relay::backoff::Backoff;
use crate::relay::jitter::Jitter;
use crate::relay::notice::{Notice, Severity};
use holdings::Holdings;
use leader::Role;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much longer than the coordinator's own waiting a join or a sync is waited for.
pub const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// So long before the end of a rebalance, at most, partitions that aren't released are lost, so that the join
/// still arrives in time. A quarter of the rebalance timeout where that is less.
pub const JOIN_MARGIN: Duration = Duration::from_secs(5);
/// How long a member that has released everything tries to tell that it leaves: within what closing waits for it.
pub const LEAVE_PATIENCE: Duration = Duration::from_millis(2_500);
/// How long the coordinator is told to wait for this member in a rebalance, at least: as long as Java's members take
/// by default (`max.poll.interval.ms`). It waits as long as any member says; a member that isn't heard within its
/// session timeout is not waited for.
pub const COORDINATOR_PATIENCE: Duration = Duration::from_secs(300);
/// The least wait after a failure.
const RETRY_FLOOR: Duration = Duration::from_millis(50);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// So often an idle member looks around, though nothing asks for it.
const IDLE: Duration = Duration::from_secs(60);

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this, and give its answer back by [`Membership::answered`]. There is never more than one at a time;
    /// one that comes while another is unanswered replaces it.
    Ask(Ask),
    /// The same, on another connection to the same coordinator: a heartbeat while the other request waits. Never
    /// more than one at a time either; it is over once the other is answered or replaced.
    AskInParallel(Ask),
    /// Nothing, until then or until something else happens.
    Wait(Instant),
    /// The membership has ended.
    Over,
}

/// What becomes of the partitions, and what else the consumer has to know; in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A rebalance is complete. It comes after each, also where nothing was added.
    Assigned {
        /// What is ours from now on, beside what was kept.
        added: Vec<Partition>,
        /// What the leader sent along.
        user_data: Vec<u8>,
    },
    /// To be given up: finish what is in flight, commit it, then [`Membership::released`].
    Revoked(Vec<Partition>),
    /// Somebody else's already, perhaps: nothing of them may be sent or committed any more.
    Lost(Vec<Partition>),
    /// This member is to assign, and lacks the sizes of these topics: to [`Membership::sizes`] with them.
    NeedSizes(BTreeSet<Arc<str>>),
    /// Something a person should know.
    Notice(Notice),
    /// The membership has ended with this error.
    Fatal(GroupError),
}

/// What to do with a commit that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFate {
    /// Commit again later, with the stamp of then, what is held then.
    Retry,
    /// The partitions are lost; an [`Event::Lost`] says so too.
    Fenced,
    /// The membership has ended.
    Over,
}

/// Where a member stands.
enum Phase {
    /// It is to join, or has asked to.
    Joining,
    /// It has joined as the leader, and waits for sizes of topics until the time given.
    Assigning {
        assignor: Assignor,
        members: Vec<Subscriber>,
        until: Instant,
    },
    /// It is to ask for its assignment, or has asked.
    Syncing {
        assignments: Vec<(String, Assignment)>,
    },
    /// It has an assignment.
    Stable,
    /// It has an assignment, and waits since the time given for the release of what it gives up; then it joins.
    GivingUp {
        since: Instant,
    },
    /// It gives everything up until the time given, and then leaves. A member still beats meanwhile.
    Leaving {
        until: Instant,
        is_member: bool,
    },
    /// It tells the coordinator so, until the time given.
    Parting {
        until: Instant,
    },
    Over,
}

/// A request under way.
struct Outstanding {
    id: RequestId,
    request: Request,
    asked: Instant,
    deadline: Instant,
}

/// What is known of the coordinator's patience: see the module.
#[derive(Clone, Copy)]
struct LeaseBasis {
    /// When the last request was asked that is known to have begun the session anew.
    heard: Instant,
    /// When the last request was asked whose answer showed the group at rest.
    at_rest: Instant,
}

/// One membership, from the first join to the leaving.
pub struct Membership {
    settings: Settings,
    topics: BTreeSet<Arc<str>>,
    user_data: Vec<u8>,
    attach: Option<Attach>,
    sizes: TopicSizes,

    phase: Phase,
    coordinator_known: bool,
    outstanding: Option<Outstanding>,
    /// A heartbeat beside it.
    parallel: Option<Outstanding>,
    requests: u64,
    /// Nothing is asked before, after a failure.
    not_before: Instant,
    failures: u32,
    backoff: Backoff,
    jitter: Jitter,
    next_beat: Instant,

    member_id: String,
    /// A sync was answered under this id, so that another coordinator knows it too.
    id_is_stored: bool,
    /// A cooperative static member took its old place, and hasn't joined again since: see the module.
    came_back: bool,
    /// The coordinator was looked for again since the last join was answered.
    moved: bool,
    generation: Option<i32>,
    /// The generation in which what is held was given or confirmed.
    synced: Option<i32>,
    lease_basis: Option<LeaseBasis>,
    /// That leaving failed was told.
    leave_failed: bool,
    /// The lease may be over without a sign of it; until then that is to be cleared up.
    doubted_until: Option<Instant>,
    /// When the first join was asked of those that led to no answer yet.
    joining_since: Option<Instant>,
    joined_topics: BTreeSet<Arc<str>>,
    /// Somebody has news for the leader, which it learns by a join alone.
    has_news: bool,
    /// What the last join said was held: the leader withholds of it what it means for others, even if it was lost
    /// in the meantime.
    claimed: BTreeSet<Partition>,
    role: Role,
    /// The coordinator assigns by itself (KIP-848): no member leads.
    assigned_by_coordinator: bool,
    holdings: Holdings,
    epoch: u64,

    events: VecDeque<Event>,
    now: Instant,
}

impl Membership {
    /// A member-to-be that wants `topics`. The settings are [checked](Settings::check) by the caller.
    pub fn new(settings: Settings, topics: BTreeSet<Arc<str>>, jitter: Jitter, now: Instant) -> Self {
        Self {
            settings,
            topics,
            user_data: Vec::new(),
            attach: None,
            sizes: TopicSizes::new(),
            phase: Phase::Joining,
            coordinator_known: false,
            outstanding: None,
            parallel: None,
            requests: 0,
            not_before: now,
            failures: 0,
            backoff: Backoff::new(RETRY_MIN, RETRY_MAX).unwrap_or_default(),
            jitter,
            next_beat: now,
            member_id: String::new(),
            id_is_stored: false,
            came_back: false,
            moved: false,
            generation: None,
            synced: None,
            lease_basis: None,
            leave_failed: false,
            doubted_until: None,
            joining_since: None,
            joined_topics: BTreeSet::new(),
            has_news: false,
            claimed: BTreeSet::new(),
            role: Role::Follower,
            assigned_by_coordinator: false,
            holdings: Holdings::default(),
            epoch: 0,
            events: VecDeque::new(),
            now,
        }
    }

    /// Lets `attach` say, whenever this member leads, what each member is sent along with its partitions.
    pub fn attach(&mut self, attach: Attach) {
        self.attach = Some(attach);
    }

    /// What this member tells the leader from its next join on, in a form of the caller's.
    pub fn set_user_data(&mut self, user_data: Vec<u8>) {
        self.user_data = user_data;
    }

    /// Joins again as soon as nothing else is under way, so that the leader hears of the new
    /// [user data](Self::set_user_data).
    pub fn join_again(&mut self) {
        self.has_news = true;
    }

    /// Wants these topics from now on: a pattern has new matches, or lost some. Joins again if they differ.
    pub fn subscribe(&mut self, topics: BTreeSet<Arc<str>>) {
        self.topics = topics;
    }

    /// The topics whose sizes this member has to know: its own, and everybody's while it leads.
    pub fn interest(&self) -> BTreeSet<Arc<str>> {
        let joined = match &self.phase {
            Phase::Assigning { members, .. } => members.as_slice(),
            _ => &[],
        };
        let of_others = joined.iter().flat_map(|member| &member.subscription.topics);
        self.role.topics().chain(of_others).chain(&self.topics).cloned().collect()
    }

    /// How many partitions these topics have, 0 for one that doesn't exist. To be told of what is of
    /// [interest](Self::interest) at the start and whenever metadata was fetched. What isn't named stays as it
    /// was known. A leader joins again, and so makes everybody join, where it differs from what it assigned by.
    pub fn sizes(&mut self, sizes: TopicSizes, now: Instant) {
        self.step_to(now);
        self.role.learn(&self.topics, &sizes);
        self.sizes.extend(sizes);
        self.assign_if_known();
    }

    /// All that was under way of these revoked partitions is done and committed, or given up. It speaks of what
    /// was revoked last: a release of what was lost in the meantime is not to be passed on.
    pub fn released(&mut self, partitions: &[Partition], now: Instant) {
        self.step_to(now);
        self.holdings.release(partitions);
        self.go_on_when_released();
    }

    /// Gives everything up and leaves. A static member only stops: the coordinator keeps its place for a restart
    /// within the session timeout.
    pub fn leave(&mut self, now: Instant) {
        self.step_to(now);
        if matches!(self.phase, Phase::Leaving { .. } | Phase::Parting { .. } | Phase::Over) {
            return;
        }
        let is_member = matches!(self.phase, Phase::Stable | Phase::GivingUp { .. });
        if !is_member {
            // A join is not waited for: the connection on which it waits goes with it.
            self.abandon();
        }
        self.phase = Phase::Leaving { until: self.now + self.settings.rebalance_timeout, is_member };
        self.give_up_all_but(&BTreeSet::new());
        self.go_on_when_released();
    }

    /// What to do at `now`. Time alone may also bring [events](Self::next_event).
    pub fn poll(&mut self, now: Instant) -> Step {
        self.step_to(now);
        if matches!(self.phase, Phase::Over) {
            return Step::Over;
        }
        let deadline = self.deadline();
        if let Some(outstanding) = &self.outstanding {
            return self.poll_parallel(outstanding.deadline, deadline);
        }
        let Some((request, due)) = self.due() else { return Step::Wait(deadline) };
        let due = due.max(self.not_before);
        if due > self.now {
            return Step::Wait(deadline.min(due));
        }
        Step::Ask(self.ask(request))
    }

    /// What has happened, one at a time, in order.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Until when what is held may be sent without further word from the coordinator; `None` for not at all.
    pub fn lease_until(&self) -> Option<Instant> {
        self.lease_end().filter(|_| self.doubted_until.is_none())
    }

    /// What a commit carries now; `None` without a membership.
    pub fn stamp(&self) -> Option<Stamp> {
        let generation = self.generation?;
        let (member_id, instance_id) = (self.member_id.clone(), self.settings.instance_id.clone());
        Some(Stamp { generation, member_id, instance_id })
    }

    /// Whether results of this partition may be committed, with the [stamp](Self::stamp) of now: it is held. That
    /// includes one that is to be given up and isn't released, and one that is kept through a rebalance.
    pub fn may_commit(&self, partition: &Partition) -> bool {
        self.holdings.epoch(partition).is_some()
    }

    /// Which giving a held partition is of. Results from before a loss have another epoch than what is held now,
    /// though the partition is the same, and must not be committed.
    pub fn epoch(&self, partition: &Partition) -> Option<Epoch> {
        self.holdings.epoch(partition)
    }

    /// What is held, those that are to be given up among it.
    pub fn held(&self) -> impl Iterator<Item = &Partition> {
        self.holdings.all()
    }

    /// Whether the coordinator itself split the partitions, since other members have joined by its own protocol
    /// (KIP-848): then no member leads, and nothing is sent along.
    pub fn is_assigned_by_coordinator(&self) -> bool {
        self.assigned_by_coordinator
    }

    /// Whether the member has an assignment and nothing is about to change.
    pub fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Stable) && !self.wants_to_rejoin()
    }

    /// Lets time pass: what is overdue is given up.
    fn step_to(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if self.outstanding.as_ref().is_some_and(|outstanding| outstanding.deadline <= self.now) {
            self.overdue();
        }
        self.give_up_parallel();
        if self.has_outlived_lease() {
            self.outlive_lease();
        }
        match self.phase {
            Phase::Assigning { until, .. } if until <= self.now => self.assign(),
            Phase::Stable if self.wants_to_rejoin() => self.rejoin(),
            Phase::Parting { until } if until <= self.now => {
                self.leave_failed("no answer came in time");
                self.phase = Phase::Over;
            }
            _ => {}
        }
        if self.release_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.lose_unreleased();
            self.go_on_when_released();
        }
    }

    /// When something has to happen though nobody says a word.
    fn deadline(&self) -> Instant {
        let kept_until = self.doubted_until.or_else(|| self.lease_end());
        let lease = kept_until.filter(|_| !self.holdings.is_empty());
        let of_phase = match self.phase {
            Phase::Assigning { until, .. } | Phase::Parting { until } => Some(until),
            _ => self.release_deadline(),
        };
        let idle = self.now + IDLE;
        lease.into_iter().chain(of_phase).fold(idle, Instant::min)
    }

    /// Until when what is to be given up has to be released.
    fn release_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::GivingUp { since } => {
                let patience = self.settings.rebalance_timeout;
                let margin = JOIN_MARGIN.min(patience / 4);
                let basis = self.lease_basis.as_ref();
                // A rebalance that waits for us may have begun right after the group was last seen at rest.
                let in_time = basis.map_or(since, |basis| basis.at_rest + (patience - margin));
                Some(in_time.min(since + patience))
            }
            Phase::Leaving { until, .. } => Some(until),
            _ => None,
        }
    }

    /// What to ask next, and when.
    fn due(&self) -> Option<(Request, Instant)> {
        let heartbeat = || self.stamp().map(|stamp| (Request::Heartbeat { stamp }, self.next_beat));
        let wanted = match &self.phase {
            Phase::Joining => Some((self.join(), self.now)),
            Phase::Syncing { assignments } => {
                let assignments = assignments.clone();
                self.stamp().map(|stamp| (Request::Sync { stamp, assignments }, self.now))
            }
            Phase::Stable | Phase::GivingUp { .. } | Phase::Leaving { is_member: true, .. } => heartbeat(),
            Phase::Parting { .. } => Some((Request::Leave { member_id: self.member_id.clone() }, self.now)),
            Phase::Assigning { .. } | Phase::Leaving { is_member: false, .. } | Phase::Over => None,
        };
        wanted.map(
            |(request, due)| {
                if self.coordinator_known { (request, due) } else { (Request::FindCoordinator, self.now) }
            },
        )
    }

    fn ask(&mut self, request: Request) -> Ask {
        let settings = &self.settings;
        let prompt = settings.prompt();
        self.parallel = None;
        let patience = match &request {
            Request::FindCoordinator => {
                self.moved = true;
                prompt
            }
            Request::Join { .. } => {
                self.joining_since.get_or_insert(self.now);
                self.joined_topics = self.topics.clone();
                self.has_news = false;
                self.claimed = self.holdings.all().cloned().collect();
                self.next_beat = self.now + settings.heartbeat_interval;
                settings.rebalance_timeout + ANSWER_MARGIN
            }
            Request::Sync { .. } => {
                self.next_beat = self.now + settings.heartbeat_interval;
                settings.session_timeout + ANSWER_MARGIN
            }
            Request::Heartbeat { .. } => {
                self.next_beat = self.now + settings.heartbeat_interval;
                prompt
            }
            Request::Leave { .. } => prompt.min(LEAVE_PATIENCE),
        };
        self.requests += 1;
        let (id, asked, deadline) = (RequestId(self.requests), self.now, self.now + patience);
        self.outstanding = Some(Outstanding { id, request: request.clone(), asked, deadline });
        Ask { id, request, deadline }
    }

    fn join(&self) -> Request {
        Request::Join {
            member_id: self.member_id.clone(),
            instance_id: self.settings.instance_id.clone(),
            session_timeout: self.settings.session_timeout,
            rebalance_timeout: self.settings.coordinator_patience(),
            protocols: self.settings.assignors.iter().map(|a| (*a, self.subscription(*a))).collect(),
        }
    }

    /// What is said under an assignor. It changes only where something changed, since to the coordinator another
    /// wording is a reason to rebalance.
    fn subscription(&self, assignor: Assignor) -> Subscription {
        let mut subscription = Subscription {
            topics: self.topics.clone(),
            rack: self.settings.rack.clone(),
            user_data: self.user_data.clone(),
            ..Subscription::default()
        };
        if assignor.is_cooperative() {
            let generation = self.synced.filter(|_| !self.holdings.is_empty()).unwrap_or(-1);
            subscription.generation = Some(generation);
            subscription.owned = self.holdings.all().cloned().collect();
            subscription.user_data = leader::with_generation(generation, &self.user_data);
        }
        subscription
    }

    fn wants_to_rejoin(&self) -> bool {
        self.has_news || self.topics != self.joined_topics || self.role.is_outdated_by(&self.sizes)
    }

    /// Joins again: at once while keeping everything, or after giving up everything.
    fn rejoin(&mut self) {
        self.phase = Phase::GivingUp { since: self.now };
        if !self.settings.is_cooperative() {
            self.give_up_all_but(&BTreeSet::new());
        }
        self.go_on_when_released();
    }

    fn go_on_when_released(&mut self) {
        if self.holdings.is_giving_up() {
            return;
        }
        match self.phase {
            Phase::GivingUp { .. } => self.phase = Phase::Joining,
            Phase::Leaving { .. } => {
                let has_a_place = self.settings.instance_id.is_none() && !self.member_id.is_empty();
                self.phase = match has_a_place {
                    true => Phase::Parting { until: self.now + LEAVE_PATIENCE },
                    false => Phase::Over,
                }
            }
            _ => {}
        }
    }

    /// Gives up waiting for an answer, and the connection with it.
    fn abandon(&mut self) {
        (self.outstanding, self.parallel) = (None, None);
        self.coordinator_known = false;
    }

    fn notice(&mut self, severity: Severity, text: String) {
        self.events.push_back(Event::Notice(Notice { severity, text }));
    }
}
