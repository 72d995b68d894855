//! Membership in a consumer group, as a state machine: it takes responses, inputs and the time, and returns the next
//! request and events about the partitions. It never sleeps, reads no clock and knows no sockets; a thin thread drives
//! it:
//!
//! ```text
//! loop {
//!     while let Some(event) = membership.next_event() { … tell the consumer … }
//!     match membership.poll(Instant::now()) {
//!         Step::Ask(ask) => … send it; its answer goes into membership.answered(ask.id, answer, now) …
//!         Step::AskInParallel(ask) => … the same on a second connection …
//!         Step::Wait(until) => … wait for a response, an input of the consumer, or until then …
//!         Step::Over => break,
//!     }
//!     … renew or end the lease as membership.lease_until() says …
//! }
//! ```
//!
//! A member holds a partition from [`Event::Assigned`] until it has released it after [`Event::Revoked`], or until
//! [`Event::Lost`]. Eager members give up all partitions before they rejoin. Cooperative members keep them, claim them
//! in the join, learn which are taken away, give up those alone, and rejoin once more (KIP-429).
//!
//! # Limits of static membership
//!
//! A static member that returns to a stable group takes its old place without a rebalance (KIP-345). So changes during
//! its absence go unnoticed until the next rebalance: other topics in its subscription and, if it is the leader, new
//! partitions. Java's members behave alike. Changes after its return are noticed.
//!
//! With a cooperative assignor one more thing would go unnoticed: the member may have been about to give up partitions
//! when it went away, and their next owner would wait for a join that nobody sends. So a cooperative static member
//! rejoins once after its return, which costs a rebalance that stops no member and moves no other partition.
//!
//! | room | what it is |
//! |---|---|
//! | `settings` | [`MembershipSettings`] |
//! | `answers` | responses and errors |
//! | `holdings`, `leader` | the held partitions; the duties of the leader |
//! | `lease` | until when partitions are held without hearing from the coordinator; suspended machines |
//! | `parallel` | heartbeats during a rebalance |

mod answers;
mod holdings;
mod leader;
mod lease;
mod parallel;
mod settings;

pub use holdings::Epoch;
pub use leader::{Attach, opaque};
use lease::LeaseBasis;
pub use settings::MembershipSettings;

use super::assignor::{Assignment, Assignor, Subscriber, Subscription, TopicSizes};
use super::error::GroupError;
use super::exchange::{Ask, Request, RequestId, Stamp};
use crate::notice::{Notice, Severity};
use crate::record::Partition;
use crate::timing::backoff::Backoff;
use crate::timing::jitter::Jitter;
use holdings::Holdings;
use leader::Role;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much longer than the coordinator itself the member waits for a join or a sync.
pub(crate) const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// Partitions that are not released this long before the end of a rebalance are lost, so that the join arrives in time.
/// A quarter of the rebalance timeout, if that is shorter.
pub(crate) const JOIN_MARGIN: Duration = Duration::from_secs(5);
/// How long LeaveGroup is retried: less than closing waits for it.
pub(crate) const LEAVE_PATIENCE: Duration = Duration::from_millis(2_500);
/// The least rebalance timeout that the coordinator is told: the default of Java's members (`max.poll.interval.ms`). It
/// waits for the longest of its members' timeouts, but not for members whose sessions have ended.
pub const COORDINATOR_PATIENCE: Duration = Duration::from_secs(300);
/// The least pause after a failure.
const RETRY_FLOOR: Duration = Duration::from_millis(50);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// The longest time between two steps.
const IDLE: Duration = Duration::from_secs(60);

/// What the driver has to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this request, and pass its outcome to [`Membership::answered`]. A request replaces an unanswered earlier
    /// one.
    Ask(Ask),
    /// Send this heartbeat over another connection to the same coordinator, while the other request waits. It is
    /// obsolete once the other is answered or replaced.
    AskInParallel(Ask),
    /// Wait until then, or for a response or an input.
    Wait(Instant),
    /// The membership has ended.
    Over,
}

/// An event for the consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A rebalance is complete, even if no partition was added.
    Assigned {
        /// The new partitions, in addition to those that were kept.
        added: Vec<Partition>,
        /// The leader's bytes for this member.
        user_data: Vec<u8>,
    },
    /// These partitions have to be given up: finish what is in flight, commit it, then call [`Membership::released`].
    Revoked(Vec<Partition>),
    /// Another member may have these partitions already: nothing of them may be sent or committed any more.
    Lost(Vec<Partition>),
    /// As the leader, this member needs the partition counts of these topics, through [`Membership::sizes`].
    NeedSizes(BTreeSet<Arc<str>>),
    /// A message for people.
    Notice(Notice),
    /// The membership has ended with this error.
    Fatal(GroupError),
}

/// What to do after a refused commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFate {
    /// Commit again later, with the stamp of that time, for the partitions held at that time.
    Retry,
    /// The partitions are lost, as an [`Event::Lost`] says too.
    Fenced,
    /// The membership has ended.
    Over,
}

/// The phase of a member.
enum Phase {
    /// A join is due or in flight.
    Joining,
    /// Joined as the leader; waits for partition counts until `until`.
    Assigning {
        assignor: Assignor,
        members: Vec<Subscriber>,
        until: Instant,
    },
    /// A sync is due or in flight.
    Syncing {
        assignments: Vec<(String, Assignment)>,
    },
    /// Has an assignment.
    Stable,
    /// Waits for the release of revoked partitions since `since`; then it rejoins.
    GivingUp {
        since: Instant,
    },
    /// Releases everything by `until`, then leaves. A member still sends heartbeats meanwhile.
    Leaving {
        until: Instant,
        is_member: bool,
    },
    /// Tries to send LeaveGroup until `until`.
    Parting {
        until: Instant,
    },
    Over,
}

/// A request in flight.
struct Outstanding {
    id: RequestId,
    request: Request,
    asked: Instant,
    deadline: Instant,
}

/// A membership, from the first join to LeaveGroup.
pub struct Membership {
    settings: MembershipSettings,
    topics: BTreeSet<Arc<str>>,
    user_data: Vec<u8>,
    attach: Option<Attach>,
    sizes: TopicSizes,

    phase: Phase,
    coordinator_known: bool,
    outstanding: Option<Outstanding>,
    /// A heartbeat in parallel to `outstanding`.
    parallel: Option<Outstanding>,
    requests: u64,
    /// The earliest time of the next request, after a failure.
    not_before: Instant,
    failures: u32,
    backoff: Backoff,
    jitter: Jitter,
    next_beat: Instant,

    member_id: String,
    /// A sync with this member id succeeded, so that a new coordinator knows it too.
    id_is_stored: bool,
    /// A cooperative static member took its old place and has not rejoined since: see the module.
    came_back: bool,
    /// The coordinator was looked up again since the last response to a join.
    moved: bool,
    generation: Option<i32>,
    /// The generation of the last assignment.
    synced: Option<i32>,
    lease_basis: Option<LeaseBasis>,
    /// The notice that LeaveGroup failed was given.
    leave_failed: bool,
    /// The lease may have ended unnoticed; a sync has to confirm it by then.
    doubted_until: Option<Instant>,
    /// When the first of the unanswered joins was sent.
    joining_since: Option<Instant>,
    joined_topics: BTreeSet<Arc<str>>,
    /// The user data has changed, which the leader learns only from a join.
    has_news: bool,
    /// The partitions claimed in the last join. The leader withholds them from other members, even if they were lost
    /// meanwhile.
    claimed: BTreeSet<Partition>,
    role: Role,
    /// The coordinator assigns (KIP-848): there is no leader.
    assigned_by_coordinator: bool,
    holdings: Holdings,
    epoch: u64,

    events: VecDeque<Event>,
    now: Instant,
}

impl Membership {
    /// A member that will join and subscribe to `topics`. The caller has [checked](MembershipSettings::check) the
    /// settings.
    pub fn new(
        settings: MembershipSettings,
        topics: BTreeSet<Arc<str>>,
        jitter: Jitter,
        now: Instant,
    ) -> Self {
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

    /// Has `attach` provide the user data of each assignment whenever this member is the leader.
    pub fn attach(&mut self, attach: Attach) {
        self.attach = Some(attach);
    }

    /// Sets the bytes for the leader from the next join on, in the caller's format.
    pub fn set_user_data(&mut self, user_data: Vec<u8>) {
        self.user_data = user_data;
    }

    /// Rejoins as soon as the group is stable, so that the leader learns the new [user data](Self::set_user_data).
    pub(crate) fn join_again(&mut self) {
        self.has_news = true;
    }

    /// Changes the subscription, for example when a pattern has new matches. Rejoins if it differs.
    pub fn subscribe(&mut self, topics: BTreeSet<Arc<str>>) {
        self.topics = topics;
    }

    /// The topics whose partition counts this member needs: its own, and those of all members while it is the leader.
    pub fn interest(&self) -> BTreeSet<Arc<str>> {
        let joined = match &self.phase {
            Phase::Assigning { members, .. } => members.as_slice(),
            _ => &[],
        };
        let of_others = joined.iter().flat_map(|member| &member.subscription.topics);
        self.role.topics().chain(of_others).chain(&self.topics).cloned().collect()
    }

    /// Learns partition counts; 0 for a topic that does not exist. To be called for the topics of
    /// [interest](Self::interest) at the start and after each refresh of the metadata. Other topics keep their counts.
    /// If a count differs from the one it assigned with, a leader rejoins, which starts a rebalance.
    pub fn sizes(&mut self, sizes: TopicSizes, now: Instant) {
        self.step_to(now);
        self.role.learn(&self.topics, &sizes);
        self.sizes.extend(sizes);
        self.assign_if_known();
    }

    /// Everything in flight of these revoked partitions is done and committed, or given up. Don't call it for
    /// partitions that were lost since their revocation.
    pub fn released(&mut self, partitions: &[Partition], now: Instant) {
        self.step_to(now);
        self.holdings.release(partitions);
        self.go_on_when_released();
    }

    /// Gives up all partitions and leaves. A static member does not send LeaveGroup: the coordinator keeps its place
    /// for a restart within the session timeout.
    pub fn leave(&mut self, now: Instant) {
        self.step_to(now);
        if matches!(self.phase, Phase::Leaving { .. } | Phase::Parting { .. } | Phase::Over) {
            return;
        }
        let is_member = matches!(self.phase, Phase::Stable | Phase::GivingUp { .. });
        if !is_member {
            // A join in flight is not waited for: its connection is reset.
            self.abandon();
        }
        self.phase = Phase::Leaving { until: self.now + self.settings.rebalance_timeout, is_member };
        self.give_up_all_but(&BTreeSet::new());
        self.go_on_when_released();
    }

    /// What to do at `now`. The passing of time may also cause [events](Self::next_event).
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

    /// The next event, in order.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The identity that a commit carries now; `None` while not a member.
    pub fn stamp(&self) -> Option<Stamp> {
        let generation = self.generation?;
        let (member_id, instance_id) = (self.member_id.clone(), self.settings.instance_id.clone());
        Some(Stamp { generation, member_id, instance_id })
    }

    /// Whether positions of this partition may be committed, with the present [stamp](Self::stamp). True while it is
    /// held, which includes revoked partitions until their release, and those kept through a rebalance.
    pub fn may_commit(&self, partition: &Partition) -> bool {
        self.holdings.epoch(partition).is_some()
    }

    /// The epoch of a held partition's assignment. Results from before a loss have another epoch than the partition has
    /// now, and must not be committed.
    pub fn epoch(&self, partition: &Partition) -> Option<Epoch> {
        self.holdings.epoch(partition)
    }

    /// The held partitions, including those that are being given up.
    pub fn held(&self) -> impl Iterator<Item = &Partition> {
        self.holdings.all()
    }

    /// Whether the coordinator assigns the partitions, because other members have joined with `group.protocol=consumer`
    /// (KIP-848). Then there is no leader and no user data.
    pub(crate) fn is_assigned_by_coordinator(&self) -> bool {
        self.assigned_by_coordinator
    }

    /// Whether the member has an assignment and no rebalance is due.
    pub fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Stable) && !self.wants_to_rejoin()
    }

    /// Advances to `now`: handles all deadlines that have passed.
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

    /// The next deadline.
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

    /// The deadline for the release of revoked partitions.
    fn release_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::GivingUp { since } => {
                let patience = self.settings.rebalance_timeout;
                let margin = JOIN_MARGIN.min(patience / 4);
                let basis = self.lease_basis.as_ref();
                // A rebalance may have begun right after the group was last seen stable.
                let in_time = basis.map_or(since, |basis| basis.at_rest + (patience - margin));
                Some(in_time.min(since + patience))
            }
            Phase::Leaving { until, .. } => Some(until),
            _ => None,
        }
    }

    /// The next request, and when it is due.
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

    /// The subscription for an assignor. Equal inputs give equal bytes, since the coordinator rebalances when they
    /// differ.
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

    /// Rejoins: a cooperative member at once, an eager one after giving up all partitions.
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

    /// Abandons the requests in flight and their connection.
    fn abandon(&mut self) {
        (self.outstanding, self.parallel) = (None, None);
        self.coordinator_known = false;
    }

    fn notice(&mut self, severity: Severity, text: String) {
        self.events.push_back(Event::Notice(Notice { severity, text }));
    }
}
