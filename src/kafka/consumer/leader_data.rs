//! What this member sends along with assignments while it is the leader: parts of the group's limit, and how the
//! destinations of the members compare.

use crate::kafka::group::assignor::{Assignor, Subscriber};
use crate::kafka::group::destinations::{Digest, Sender, compare};
use crate::kafka::group::limit_shares::{MemberClaim, split};
use crate::kafka::group::membership::{Attach, opaque};
use crate::kafka::group::user_data::UserData;
use crate::record::Partition;

/// Writes the user data of all assignments. `limit` is the group's, `digest` that of this member's destination. `None`
/// if there is nothing to send along.
pub(super) fn attach(limit: Option<u32>, digest: Option<Digest>) -> Option<Attach> {
    if limit.is_none() && digest.is_none() {
        return None;
    }
    Some(Box::new(move |assignor: Assignor, members: &[Subscriber], lists: &[Vec<Partition>]| {
        let said = |member: &Subscriber| UserData::decode(opaque(assignor, &member.subscription));
        let said: Vec<UserData> = members.iter().map(said).collect();
        let mut told = vec![UserData::default(); members.len()];
        if let Some(limit) = limit {
            let grants = split(limit, &claims(members, lists, &said));
            told.iter_mut().zip(grants).for_each(|(told, grant)| told.share = Some(grant));
        }
        if let Some(digest) = digest {
            let senders: Vec<Option<Sender>> = said.iter().map(|said| said.sender).collect();
            let comparisons = compare(digest, &senders);
            told.iter_mut().zip(comparisons).for_each(|(told, comparison)| told.comparison = comparison);
        }
        told.iter().map(UserData::encode).collect()
    }))
}

fn claims<'a>(
    members: &'a [Subscriber],
    lists: &[Vec<Partition>],
    said: &[UserData],
) -> Vec<MemberClaim<'a>> {
    let claim = |((member, list), said): ((&'a Subscriber, &Vec<Partition>), &UserData)| MemberClaim {
        id: &member.member_id,
        claim: said.share.unwrap_or(0),
        partitions: list.len(),
    };
    members.iter().zip(lists).zip(said).map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::group::assignor::Subscription;
    use crate::kafka::group::destinations::Comparison;
    use crate::kafka::group::limit_shares;

    #[test]
    fn members_of_other_clients_and_of_older_versions_are_left_alone() {
        let sends = |digest, share| UserData {
            share,
            sender: Some(Sender { digest: [digest; 8], is_admitted: digest == 1 }),
            comparison: None,
        };
        let said = [
            sends(1, Some(2)).encode(),
            sends(2, None).encode(),
            limit_shares::encode(3),
            b"\0\0\0\x01\0\x01t".to_vec(),
            Vec::new(),
        ];
        for assignor in [Assignor::Range, Assignor::CooperativeSticky] {
            // The user data of cooperative members begins with the generation.
            let generation: &[u8] = if assignor.is_cooperative() { &[0, 0, 0, 9] } else { &[] };
            let member = |user_data: &Vec<u8>| Subscriber {
                member_id: "m".into(),
                subscription: Subscription {
                    user_data: [generation, user_data].concat(),
                    ..Subscription::default()
                },
                ..Subscriber::default()
            };
            let members: Vec<Subscriber> = said.iter().map(member).collect();
            let lists = vec![vec![Partition::new("t", 0)]; said.len()];
            let told = |limit, digest| {
                let bytes = attach(limit, digest).unwrap()(assignor, &members, &lists);
                bytes.iter().map(|bytes| UserData::decode(bytes)).collect::<Vec<_>>()
            };
            let both = told(Some(5), Some([1; 8]));
            assert_eq!(both.iter().map(|told| told.share).collect::<Vec<_>>(), [1, 0, 1, 0, 0].map(Some));
            let compared = [Some(Comparison::Mixed), Some(Comparison::Latecomer), None, None, None];
            assert_eq!(both.iter().map(|told| told.comparison).collect::<Vec<_>>(), compared);
            let limit_alone = told(Some(5), None);
            assert!(limit_alone.iter().all(|told| told.comparison.is_none() && told.share.is_some()));
            let alone = attach(None, Some([1; 8])).unwrap()(assignor, &members, &lists);
            assert!(alone[2..].iter().all(Vec::is_empty), "nothing for those that said nothing");
        }
        assert!(attach(None, None).is_none());
    }
}
