//! The duties of a group's leader: it assigns the partitions, and watches for changes of the partition counts.

use super::{Event, Membership, Phase};
use crate::kafka::group::assignor::{Assignment, Assignor, Subscriber, Subscription, TopicSizes};
use crate::notice::Severity;
use crate::record::Partition;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Provides the user data of each member's assignment, in the order of the members. A missing one is empty. The
/// members' own user data is in their subscriptions: see [`opaque`].
pub type Attach = Box<dyn FnMut(Assignor, &[Subscriber], &[Vec<Partition>]) -> Vec<Vec<u8>> + Send>;

/// The length of the generation in front of a cooperative member's own user data, where Java's members before KIP-792
/// look for it. They read no more than these bytes.
const GENERATION_BYTES: usize = 4;

pub(super) fn with_generation(generation: i32, user_data: &[u8]) -> Vec<u8> {
    [&generation.to_be_bytes(), user_data].concat()
}

/// The [user data](Membership::set_user_data) in the subscription of a member of this client. That of another client's
/// member is returned too, perhaps without its first bytes, so the format has to be recognisable.
pub fn opaque(assignor: Assignor, subscription: &Subscription) -> &[u8] {
    let skipped = if assignor.is_cooperative() { GENERATION_BYTES } else { 0 };
    subscription.user_data.get(skipped..).unwrap_or_default()
}

/// Which partition counts this member watches.
pub(super) enum Role {
    /// None: another member is the leader.
    Follower,
    /// Those of the group's topics, compared with the counts it assigned with.
    Leader(TopicSizes),
    /// Those of its own topics, since it may be the leader: a static member that returns is not told whether it still
    /// is (KIP-814 changes that in later versions). If it is not, its rejoin changes nothing.
    PerhapsLeader(TopicSizes),
}

impl Role {
    pub(super) fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        let seen = match self {
            Self::Follower => None,
            Self::Leader(seen) | Self::PerhapsLeader(seen) => Some(seen),
        };
        seen.into_iter().flat_map(TopicSizes::keys)
    }

    /// Takes the first known counts as those of the assignment, where the assignment itself is not known.
    pub(super) fn learn(&mut self, topics: &BTreeSet<Arc<str>>, sizes: &TopicSizes) {
        if let Self::PerhapsLeader(seen) = self {
            for (topic, size) in sizes.iter().filter(|(topic, _)| topics.contains(*topic)) {
                seen.entry(Arc::clone(topic)).or_insert(*size);
            }
        }
    }

    pub(super) fn is_outdated_by(&self, sizes: &TopicSizes) -> bool {
        let differs =
            |seen: &TopicSizes| seen.iter().any(|(topic, size)| sizes.get(topic).is_some_and(|s| s != size));
        match self {
            Self::Follower => false,
            Self::Leader(seen) | Self::PerhapsLeader(seen) => differs(seen),
        }
    }
}

impl Membership {
    /// Assigns, at once or when the partition counts of all the group's topics are known.
    pub(super) fn lead(&mut self, assignor: Assignor, members: Vec<Subscriber>) {
        let topics = members.iter().flat_map(|member| &member.subscription.topics);
        let missing: BTreeSet<Arc<str>> =
            topics.filter(|topic| !self.sizes.contains_key(*topic)).cloned().collect();
        // The coordinator waits for the leader's sync for the session timeout.
        let until = self.now + self.settings.session_timeout / 2;
        self.phase = Phase::Assigning { assignor, members, until };
        if missing.is_empty() {
            self.assign();
        } else {
            self.events.push_back(Event::NeedSizes(missing));
        }
    }

    pub(super) fn assign_if_known(&mut self) {
        if let Phase::Assigning { members, .. } = &self.phase
            && members.iter().flat_map(|m| &m.subscription.topics).all(|t| self.sizes.contains_key(t))
        {
            self.assign();
        }
    }

    /// Assigns with the known partition counts. Topics without one are left out until it is known.
    pub(super) fn assign(&mut self) {
        let Phase::Assigning { assignor, members, .. } = &self.phase else { return };
        let topics: BTreeSet<&Arc<str>> = members.iter().flat_map(|m| &m.subscription.topics).collect();
        let size = |topic: &Arc<str>| self.sizes.get(topic).copied().unwrap_or(0);
        let sizes: TopicSizes = topics.iter().map(|topic| (Arc::clone(topic), size(topic))).collect();
        let unknown: Vec<&str> =
            topics.iter().filter(|t| !self.sizes.contains_key(**t)).map(|t| &***t).collect();
        let notice = (!unknown.is_empty()).then(|| {
            format!(
                "The sizes of the topics {} are not known: as the leader of group {} this member assigns their \
                 partitions to nobody for now.",
                unknown.join(", "),
                self.settings.group
            )
        });
        let lists = assignor.assign(&sizes, members);
        let attached = self.attach.as_mut().map(|attach| attach(*assignor, members, &lists));
        let mut attached = attached.unwrap_or_default().into_iter();
        let assignments = members.iter().zip(lists).map(|(member, partitions)| {
            let user_data = attached.next().unwrap_or_default();
            (member.member_id.clone(), Assignment { partitions, user_data })
        });
        self.phase = Phase::Syncing { assignments: assignments.collect() };
        self.role = Role::Leader(sizes);
        if let Some(text) = notice {
            self.notice(Severity::Warning, text);
        }
    }
}
