//! What the leader of a group does beside being a member: it splits the partitions, and watches for what would
//! split them otherwise.

use super::{Event, Membership, Phase};
use crate::kafka::group::assignor::{Assignment, Assignor, Subscriber, Subscription, TopicSizes};
use crate::record::Partition;
use crate::relay::notice::Severity;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Says what each member is sent along with its partitions: one piece for each of the members, in their order. A
/// missing piece is an empty one. What the members told the leader is in their subscriptions: see [`opaque`].
pub type Attach = Box<dyn FnMut(Assignor, &[Subscriber], &[Vec<Partition>]) -> Vec<Vec<u8>> + Send>;

/// The bytes in front of a cooperative member's own user data: its generation, where Java's members before
/// KIP-792 look for it. They read the first four bytes and no more.
const GENERATION_BYTES: usize = 4;

pub(super) fn with_generation(generation: i32, user_data: &[u8]) -> Vec<u8> {
    [&generation.to_be_bytes(), user_data].concat()
}

/// What a member of ours set as its [user data](Membership::set_user_data), as it stands in its subscription.
/// What another client's member put there comes out as it is or without its first bytes, so the form has to
/// tell its own from others'.
pub fn opaque(assignor: Assignor, subscription: &Subscription) -> &[u8] {
    let skipped = if assignor.is_cooperative() { GENERATION_BYTES } else { 0 };
    subscription.user_data.get(skipped..).unwrap_or_default()
}

/// Who watches the sizes of topics.
pub(super) enum Role {
    /// Somebody else.
    Follower,
    /// This member, for the whole group, against the sizes it assigned by.
    Leader(TopicSizes),
    /// Perhaps this member, for its own topics: a static member that came back isn't told that it still is the
    /// leader (KIP-814 mends that in later versions of the protocol). If it isn't, its joining again changes
    /// nothing.
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

    /// Remembers the first size it hears of as the one that counts, where nobody told it at the assignment.
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
    /// Begins to assign: now if the sizes of all the group's topics are known, else once they are.
    pub(super) fn lead(&mut self, assignor: Assignor, members: Vec<Subscriber>) {
        let topics = members.iter().flat_map(|member| &member.subscription.topics);
        let missing: BTreeSet<Arc<str>> =
            topics.filter(|topic| !self.sizes.contains_key(*topic)).cloned().collect();
        // The coordinator doesn't wait longer than the session timeout for the leader's word.
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

    /// Assigns by what is known. A topic of unknown size is left out until its size is known.
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
