//! Where the members of a group send the records: whether all to the same destination, and who came too late.
//!
//! Two runs with different webhooks in one group split the records of a topic between them, which hardly anybody wants.
//! So each member tells the leader a digest of its destination, and whether it has been *admitted*: it has taken up an
//! assignment before. The leader tells each member how its destination compares with those of the others.
//!
//! A **latecomer** is a member that is not admitted yet and sends elsewhere than all admitted ones; if none is admitted,
//! elsewhere than the leader. A latecomer may refuse to go on; others never do. So
//!
//! - a delivery that is running is not ended by a newcomer, even if the newcomer becomes the leader: it is admitted;
//! - somebody always goes on: any admitted member, or else the leader, which sends where it sends itself;
//! - admitted members that disagree (they named the group, or met after one of them was cut off) are told, and go on.
//!
//! Members without a digest, those of other clients and of older versions, count for nothing and are told nothing; as
//! leaders they compare nothing. A static member that returns takes up its former assignment without a rebalance
//! (KIP-345), so that a changed destination is noticed with the next one.

use std::collections::BTreeSet;

/// Tells destinations apart without revealing them.
pub(crate) type Digest = [u8; 8];

/// What a member says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    /// Of its destination.
    pub(crate) digest: Digest,
    /// It has taken up an assignment before.
    pub(crate) is_admitted: bool,
}

/// How a member's destination compares with those of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// All send to the same one.
    Same,
    /// Others send elsewhere.
    Mixed,
    /// Others send elsewhere, and they came first.
    Latecomer,
}

/// The comparison for each member, in their order; `None` for those that say nothing about themselves. `leader` is the
/// digest of the leader, which is one of the members.
pub(crate) fn compare(leader: Digest, members: &[Option<Sender>]) -> Vec<Option<Comparison>> {
    let senders = || members.iter().flatten();
    let is_mixed = senders().any(|sender| sender.digest != leader);
    let mut first: BTreeSet<Digest> =
        senders().filter(|sender| sender.is_admitted).map(|sender| sender.digest).collect();
    if first.is_empty() {
        first.insert(leader);
    }
    let of = |sender: &Sender| match is_mixed {
        false => Comparison::Same,
        true if sender.is_admitted || first.contains(&sender.digest) => Comparison::Mixed,
        true => Comparison::Latecomer,
    };
    members.iter().map(|member| member.as_ref().map(of)).collect()
}

#[cfg(test)]
mod tests {
    use super::Comparison::{Latecomer, Mixed, Same};
    use super::*;
    use proptest::prelude::*;

    fn member(digest: u8, is_admitted: bool) -> Option<Sender> {
        Some(Sender { digest: [digest; 8], is_admitted })
    }

    #[test]
    fn who_sends_to_the_same_destination_hears_nothing_else() {
        let members = [member(1, true), None, member(1, false)];
        assert_eq!(compare([1; 8], &members), [Some(Same), None, Some(Same)]);
    }

    #[test]
    fn a_newcomer_that_sends_elsewhere_is_late_even_as_the_leader() {
        let members = [member(1, true), member(2, false), None, member(1, false)];
        for leader in [[1; 8], [2; 8]] {
            assert_eq!(compare(leader, &members), [Some(Mixed), Some(Latecomer), None, Some(Mixed)]);
        }
    }

    #[test]
    fn among_newcomers_the_destination_of_the_leader_counts() {
        let members = [member(1, false), member(2, false), member(3, false)];
        assert_eq!(compare([2; 8], &members), [Some(Latecomer), Some(Mixed), Some(Latecomer)]);
    }

    #[test]
    fn admitted_members_that_disagree_go_on_and_so_does_who_joins_either() {
        let members = [member(1, true), member(2, true), member(2, false), member(3, false)];
        assert_eq!(compare([1; 8], &members), [Some(Mixed), Some(Mixed), Some(Mixed), Some(Latecomer)]);
    }

    proptest! {
        #[test]
        fn never_are_all_of_them_late_nor_any_that_was_admitted(
            members in prop::collection::vec(prop::option::of((0..3_u8, any::<bool>())), 0..6),
            leader in (0..3_u8, any::<bool>()),
        ) {
            let members = members.into_iter().chain([Some(leader)]);
            let members: Vec<_> = members.map(|one| one.and_then(|(digest, first)| member(digest, first))).collect();
            let told = compare([leader.0; 8], &members);
            prop_assert!(told.iter().flatten().any(|told| *told != Latecomer));
            for (member, told) in members.iter().zip(told) {
                prop_assert_eq!(member.is_some(), told.is_some());
                prop_assert!(told != Some(Latecomer) || member.is_some_and(|member| !member.is_admitted));
            }
        }
    }
}
