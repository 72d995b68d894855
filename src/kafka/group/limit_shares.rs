//! One limit for all members of a consumer group, such as one of concurrent requests to another system: how much of it
//! each may use, and when. To the group it is a number; what it counts is up to the program that uses the client.
//!
//! The leader of the group splits the limit with each assignment. It holds also while shares move between members:
//!
//! - **A member claims what it may still be using** when it joins: the larger of its share and of what it has in
//!   use ([`GroupShare::claim`]). The claim travels as user data of its subscription.
//! - **The leader grants only what nobody claims** ([`split`]). A member with too much gets its smaller share at once;
//!   one with too little gets what is free now, and the rest once others have released it.
//! - **A member that has released some rejoins** ([`GroupShare::has_let_go`]): its smaller claim confirms that to the
//!   leader. A grant travels as user data of an assignment.
//!
//! So the claims of all members never exceed the limit, whichever of them have the last assignment. One assumption lies
//! outside of this file: what a member that is cut off from the group was using has ended by the time the coordinator
//! removes it, so its [lease](crate::timing::lease::Lease) must end earlier than its session by the time that one use
//! may take.

/// What this member may use of the limit, and what it uses: the program's own count. Called by the member's thread.
pub trait GroupShare: Send + Sync {
    /// Sets what the leader grants. What is in use beyond it ends before anything new begins.
    fn grant(&self, granted: u32);

    /// What is granted and what is in use, read at the same time.
    fn granted_and_used(&self) -> (u32, u32);

    /// What no other member may use: the larger of the grant and of what is in use. While all partitions are revoked,
    /// what is in use alone.
    fn claim(&self, has_partitions: bool) -> u32 {
        let (granted, used) = self.granted_and_used();
        if has_partitions { granted.max(used) } else { used }
    }

    /// Whether it claims less now than when it joined: others may be waiting for that.
    fn has_let_go(&self, claimed: u32) -> bool {
        self.claim(true) < claimed
    }
}

/// A member as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberClaim<'a> {
    /// Its id, which breaks ties.
    pub id: &'a str,
    /// Its [claim](GroupShare::claim); 0 if it sent none.
    pub claim: u32,
    /// How many partitions it is assigned.
    pub partitions: usize,
}

/// Splits `limit` among the members, in their order: who has partitions gets a share by their number, at least 1
/// as long as there is enough for all.
pub fn targets(limit: u32, members: &[MemberClaim<'_>]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..members.len()).filter(|at| members[*at].partitions > 0).collect();
    // Members with most partitions get the remainder, so that little moves.
    order.sort_by_key(|at| {
        (std::cmp::Reverse((members[*at].partitions, members[*at].claim)), members[*at].id)
    });
    let mut targets = vec![0; members.len()];
    let mut left = u64::from(limit);
    for at in &order {
        let one = u64::from(left > 0);
        targets[*at] = one;
        left -= one;
    }
    let all: u128 = order.iter().map(|at| members[*at].partitions as u128).sum();
    let spread = left;
    for at in &order {
        // A part of what is left, which is no more than the limit, which fits.
        let part = (u128::from(spread) * members[*at].partitions as u128 / all) as u64;
        targets[*at] += part;
        left -= part;
    }
    for at in order.iter().cycle().take(usize::try_from(left).unwrap_or(0)) {
        targets[*at] += 1;
    }
    targets.into_iter().map(|target| u32::try_from(target).unwrap_or(limit)).collect()
}

/// What each member is granted now, in their order: its target as far as nobody else claims it. Whatever of the
/// grants arrives, in whatever order, the larger of grant and claim never add up to more than `limit`, unless the
/// claims alone do (the limit was lowered): then nobody gets more than it has.
pub fn split(limit: u32, members: &[MemberClaim<'_>]) -> Vec<u32> {
    let targets = targets(limit, members);
    let claimed: u64 = members.iter().map(|member| u64::from(member.claim)).sum();
    let mut free = u64::from(limit).saturating_sub(claimed);
    let wants = |at: usize| targets[at].saturating_sub(members[at].claim);
    let mut grants: Vec<u32> = members.iter().zip(&targets).map(|(m, target)| m.claim.min(*target)).collect();
    let mut order: Vec<usize> = (0..members.len()).filter(|at| wants(*at) > 0).collect();
    order.sort_by_key(|at| members[*at].id);
    // Who has nothing gets one first, which is enough to begin.
    for at in order.iter().filter(|at| members[**at].claim == 0) {
        let one = free.min(1) as u32;
        grants[*at] += one;
        free -= u64::from(one);
    }
    // Then everybody the same part of what is free; who wants less than that leaves the rest to those after it.
    let missing = |grants: &[u32], at: usize| targets[at].saturating_sub(grants[at].max(members[at].claim));
    order.sort_by_key(|at| missing(&grants, *at));
    for (served, at) in order.iter().enumerate() {
        let part = free.div_ceil((order.len() - served) as u64).min(u64::from(missing(&grants, *at)));
        grants[*at] = grants[*at].saturating_add(u32::try_from(part).unwrap_or(u32::MAX));
        free -= part;
    }
    grants
}

/// What user data of this form begins with; another form would have another number.
const FORM: [u8; 3] = *b"sg\x01";

/// A claim or a grant as user data.
pub fn encode(share: u32) -> Vec<u8> {
    [&FORM[..], &share.to_be_bytes()].concat()
}

/// Reads what [`encode`] wrote, with the bytes that follow it; `None` for all else, such as what other programs put
/// there.
pub fn decode(user_data: &[u8]) -> Option<(u32, &[u8])> {
    let (share, rest) = user_data.strip_prefix(&FORM)?.split_first_chunk()?;
    Some((u32::from_be_bytes(*share), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(id: &str, claim: u32, partitions: usize) -> MemberClaim<'_> {
        MemberClaim { id, claim, partitions }
    }

    #[test]
    fn the_limit_is_split_by_partitions_and_everybody_who_has_any_gets_one() {
        let split = |limit, partitions: &[usize]| {
            let ids = ["a", "b", "c", "d"];
            let members: Vec<_> = ids.iter().zip(partitions).map(|(id, n)| member(id, 0, *n)).collect();
            targets(limit, &members)
        };
        assert_eq!(split(64, &[4, 4, 4, 4]), [16; 4]);
        assert_eq!(split(10, &[1, 1, 1, 0]), [4, 3, 3, 0]);
        assert_eq!(split(12, &[8, 1, 1]), [9, 2, 1]);
        assert_eq!(split(2, &[1, 1, 1]), [1, 1, 0]);
        assert_eq!(split(5, &[0, 0]), [0, 0]);
    }

    #[test]
    fn a_newcomer_gets_what_is_free_and_the_rest_once_others_have_let_go() {
        let first = split(8, &[member("a", 8, 2), member("b", 0, 2)]);
        assert_eq!(first, [4, 0]);
        let second = split(8, &[member("a", 4, 2), member("b", 0, 2)]);
        assert_eq!(second, [4, 4]);
    }

    #[test]
    fn who_left_leaves_its_share_to_the_others_at_once() {
        assert_eq!(split(9, &[member("a", 3, 1), member("b", 3, 1)]), [5, 4]);
    }

    #[test]
    fn what_is_in_use_is_claimed_as_long_as_it_is() {
        struct Uses(u32, u32);
        impl GroupShare for Uses {
            fn grant(&self, _granted: u32) {}
            fn granted_and_used(&self) -> (u32, u32) {
                (self.0, self.1)
            }
        }
        let claims = |granted, used| (Uses(granted, used).claim(true), Uses(granted, used).claim(false));
        assert_eq!([claims(2, 1), claims(1, 2), claims(1, 0)], [(2, 1), (2, 2), (1, 0)]);
        assert!(Uses(1, 1).has_let_go(2) && !Uses(1, 2).has_let_go(2));
    }

    #[test]
    fn foreign_user_data_says_nothing() {
        assert_eq!(decode(&encode(7)), Some((7, &[][..])));
        assert_eq!(decode(&[encode(7), vec![1, 2]].concat()), Some((7, &[1, 2][..])));
        for foreign in [&b""[..], b"sg", b"sg\x01", b"sg\x01\0\0\0", b"sg\x02\0\0\0\x07", b"\0\0\0\x05"] {
            assert_eq!(decode(foreign), None);
        }
    }

    proptest! {
        #[test]
        fn whatever_arrives_of_the_grants_the_limit_holds(
            limit in prop_oneof![0..40_u32, any::<u32>()],
            claims in prop::collection::vec((0..12_u32, 0..5_usize), 0..12),
        ) {
            let ids: Vec<String> = (0..claims.len()).map(|n| n.to_string()).collect();
            let members: Vec<_> = ids.iter().zip(&claims).map(|(id, (c, n))| member(id, *c, *n)).collect();
            let (grants, targets) = (split(limit, &members), targets(limit, &members));
            let sum = |shares: &[u32]| shares.iter().map(|share| u64::from(*share)).sum::<u64>();
            let worst: Vec<u32> = members.iter().zip(&grants).map(|(m, grant)| m.claim.max(*grant)).collect();
            let claimed = claims.iter().map(|(claim, _)| u64::from(*claim)).sum::<u64>();
            prop_assert!(sum(&worst) <= u64::from(limit).max(claimed));
            prop_assert!(grants.iter().zip(&targets).all(|(grant, target)| grant <= target));
            let anybody = claims.iter().any(|(_, partitions)| *partitions > 0);
            prop_assert_eq!(sum(&targets), if anybody { u64::from(limit) } else { 0 });
            // Once all have let go of what they have too much of, everybody gets its target.
            let settled: Vec<_> = members.iter().zip(&grants).map(|(m, g)| MemberClaim { claim: *g, ..*m }).collect();
            let enough = settled.iter().map(|m| u64::from(m.claim)).sum::<u64>() <= u64::from(limit);
            prop_assert!(!enough || split(limit, &settled).iter().zip(&self::targets(limit, &settled)).all(|(g, t)| g == t));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = decode(&bytes);
        }
    }
}
