//! What holds for every assignment, whatever the members want and whatever they say they hold.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use sluicegate::kafka::group::assignor::{Assignor, Subscriber, Subscription, TopicSizes};
use sluicegate::record::Partition;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

fn topic(number: usize) -> Arc<str> {
    Arc::from(format!("t{number}"))
}

fn member(id: usize, topics: BTreeSet<usize>) -> Subscriber {
    Subscriber {
        member_id: format!("m{id:02}"),
        instance_id: None,
        subscription: Subscription {
            topics: topics.into_iter().map(topic).collect(),
            generation: Some(1),
            ..Subscription::default()
        },
    }
}

prop_compose! {
    fn any_sizes()(sizes in vec(0..9i32, 1..5)) -> TopicSizes {
        sizes.into_iter().enumerate().map(|(i, size)| (topic(i), size)).collect()
    }
}

/// Members that want any topics, one that doesn't exist among them.
fn any_members() -> impl Strategy<Value = Vec<Subscriber>> {
    vec(btree_set(0..6usize, 0..5), 1..8)
        .prop_map(|wishes| wishes.into_iter().enumerate().map(|(i, topics)| member(i, topics)).collect())
}

/// Members that say anything of what they hold: partitions of others, of topics they don't want, or that don't
/// exist, of any generation.
fn any_claims() -> impl Strategy<Value = Vec<Subscriber>> {
    let claims = vec((vec((0..6usize, -1..10i32), 0..12), proptest::option::of(-1..4i32)), 8);
    (any_members(), claims).prop_map(|(mut members, claims)| {
        for (member, (owned, generation)) in members.iter_mut().zip(claims) {
            member.subscription.owned = owned.into_iter().map(|(t, n)| Partition::new(topic(t), n)).collect();
            member.subscription.generation = generation;
        }
        members
    })
}

fn all_of(sizes: &TopicSizes, members: &[Subscriber]) -> BTreeSet<Partition> {
    sizes
        .iter()
        .filter(|(topic, _)| members.iter().any(|m| m.subscription.topics.contains(*topic)))
        .flat_map(|(topic, size)| (0..*size).map(move |n| Partition::new(Arc::clone(topic), n)))
        .collect()
}

/// Nobody gets what it doesn't want, nothing is given twice; gives back what was given.
fn given(members: &[Subscriber], lists: &[Vec<Partition>]) -> BTreeSet<Partition> {
    assert_eq!(members.len(), lists.len());
    let mut given = BTreeSet::new();
    for (member, list) in members.iter().zip(lists) {
        for partition in list {
            assert!(member.subscription.topics.contains(partition.topic()), "{partition} is not wanted");
            assert!(given.insert(partition.clone()), "{partition} is given twice");
        }
    }
    given
}

/// The cooperative rounds until nothing is withheld any more: each time everybody takes what it was given.
fn settle(sizes: &TopicSizes, members: &mut [Subscriber]) -> Vec<Vec<Partition>> {
    for round in 0..4 {
        let lists = Assignor::CooperativeSticky.assign(sizes, members);
        let whole = given(members, &lists) == all_of(sizes, members);
        for (member, list) in members.iter_mut().zip(&lists) {
            member.subscription.owned = list.clone();
            member.subscription.generation = Some(round + 10);
        }
        if whole {
            return lists;
        }
    }
    panic!("the group does not settle");
}

fn moved(before: &[Subscriber], after: &[Vec<Partition>]) -> usize {
    let kept: usize = before
        .iter()
        .zip(after)
        .map(|(m, l)| m.subscription.owned.iter().filter(|p| l.contains(p)).count())
        .sum();
    before.iter().map(|m| m.subscription.owned.len()).sum::<usize>() - kept
}

/// Whether some chain of moves would make the lists more even: what a sticky assignment must leave none of.
fn could_be_more_even(members: &[Subscriber], lists: &[Vec<Partition>]) -> bool {
    (0..members.len()).any(|rich| {
        let mut reached = BTreeSet::from([rich]);
        loop {
            let next = (0..members.len()).find(|to| {
                !reached.contains(to)
                    && reached.iter().any(|from| {
                        lists[*from].iter().any(|p| members[*to].subscription.topics.contains(p.topic()))
                    })
            });
            match next {
                Some(to) if lists[to].len() + 2 <= lists[rich].len() => return true,
                Some(to) => reached.insert(to),
                None => return false,
            };
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn each_wanted_partition_goes_to_exactly_one_who_wants_it(sizes in any_sizes(), members in any_members()) {
        for assignor in Assignor::ALL {
            let lists = assignor.assign(&sizes, &members);
            prop_assert_eq!(given(&members, &lists), all_of(&sizes, &members), "{}", assignor);
        }
    }

    #[test]
    fn the_order_of_the_members_does_not_matter(sizes in any_sizes(), members in any_claims(), turn in 0..8usize) {
        let mut turned = members.clone();
        turned.rotate_left(turn % members.len());
        for assignor in Assignor::ALL {
            let by_id = |members: &[Subscriber]| -> BTreeMap<String, Vec<Partition>> {
                let lists = assignor.assign(&sizes, members);
                members.iter().map(|m| m.member_id.clone()).zip(lists).collect()
            };
            prop_assert_eq!(by_id(&members), by_id(&turned), "{}", assignor);
        }
    }

    #[test]
    fn those_who_want_the_same_get_the_same_but_for_one(sizes in any_sizes(), count in 1..9usize) {
        let members: Vec<_> = (0..count).map(|i| member(i, (0..6).collect())).collect();
        for assignor in [Assignor::RoundRobin, Assignor::CooperativeSticky] {
            let loads: Vec<usize> = assignor.assign(&sizes, &members).iter().map(Vec::len).collect();
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{:?}", loads);
        }
    }

    #[test]
    fn sticky_is_as_even_as_the_wishes_allow(sizes in any_sizes(), mut members in any_claims()) {
        let lists = settle(&sizes, &mut members);
        prop_assert!(!could_be_more_even(&members, &lists), "{:?}", lists);
    }

    #[test]
    fn a_settled_group_stays_as_it_is(sizes in any_sizes(), mut members in any_claims()) {
        let lists = settle(&sizes, &mut members);
        prop_assert_eq!(Assignor::CooperativeSticky.assign(&sizes, &members), lists);
    }

    #[test]
    fn nothing_is_given_that_another_rightly_holds(sizes in any_sizes(), members in any_claims()) {
        let mut newest: HashMap<&Partition, (i32, BTreeSet<usize>)> = HashMap::new();
        for (place, member) in members.iter().enumerate() {
            let generation = member.subscription.generation.unwrap_or(-1);
            for partition in &member.subscription.owned {
                let entry = newest.entry(partition).or_insert((generation, BTreeSet::new()));
                if generation > entry.0 {
                    *entry = (generation, BTreeSet::new());
                }
                if generation == entry.0 {
                    entry.1.insert(place);
                }
            }
        }
        let lists = Assignor::CooperativeSticky.assign(&sizes, &members);
        given(&members, &lists);
        for (place, list) in lists.iter().enumerate() {
            for partition in list {
                let holders = newest.get(partition).map(|(_, holders)| holders.clone());
                prop_assert!(holders.is_none_or(|h| h == BTreeSet::from([place])), "{} is still held", partition);
            }
        }
    }

    #[test]
    fn a_newcomer_costs_no_more_moves_than_it_gets_partitions(sizes in any_sizes(), count in 1..7usize) {
        let mut members: Vec<_> = (0..count).map(|i| member(i, (0..6).collect())).collect();
        settle(&sizes, &mut members);
        members.push(member(count, (0..6).collect()));
        let before = members.clone();
        let lists = settle(&sizes, &mut members);
        prop_assert_eq!(moved(&before, &lists), lists[count].len());
    }

    #[test]
    fn a_leaver_costs_no_moves_among_those_who_stay(
        sizes in any_sizes(), count in 2..8usize, leaver in 0..8usize,
    ) {
        let mut members: Vec<_> = (0..count).map(|i| member(i, (0..6).collect())).collect();
        settle(&sizes, &mut members);
        members.remove(leaver % count);
        let lists = Assignor::CooperativeSticky.assign(&sizes, &members);
        prop_assert_eq!(moved(&members, &lists), 0);
        prop_assert_eq!(given(&members, &lists), all_of(&sizes, &members));
    }
}

/// How long large groups take; for `cargo test --release --test group large -- --ignored --nocapture`.
#[test]
#[ignore = "says how long it takes; only a release build tells anything"]
fn large_groups_are_assigned_quickly() {
    const MEMBERS: usize = 1_000;
    const PARTITIONS: usize = 10_000;
    for topics in [1, 10, 1_000] {
        let sizes: TopicSizes = (0..topics).map(|i| (topic(i), (PARTITIONS / topics) as i32)).collect();
        let group =
            || -> Vec<Subscriber> { (0..MEMBERS).map(|i| member(i, (0..topics).collect())).collect() };
        let settled = |members: &mut [Subscriber]| {
            let lists = Assignor::CooperativeSticky.assign(&sizes, members);
            for (member, list) in members.iter_mut().zip(lists) {
                member.subscription.owned = list;
            }
        };
        let fresh = group();
        let mut steady = group();
        settled(&mut steady);
        // One had everything, and all the others are new.
        let mut hoarded = group();
        hoarded[7].subscription.owned = all_of(&sizes, &hoarded).into_iter().collect();
        // Half of the members had everything.
        let mut doubled = group();
        settled(&mut doubled[..MEMBERS / 2]);
        // One can't be given anything, so that nobody is as poor.
        let mut left_out = group();
        left_out[3].subscription.topics = [topic(topics)].into();
        settled(&mut left_out);
        // No two topics have the same subscribers.
        let mut choosy = group();
        for (i, member) in choosy.iter_mut().enumerate() {
            member.subscription.topics.remove(&topic(i % topics));
        }
        let scenes = [
            ("fresh", fresh),
            ("steady", steady),
            ("hoarded", hoarded),
            ("doubled", doubled),
            ("left out", left_out),
            ("choosy", choosy),
        ];
        for (name, members) in scenes {
            for assignor in Assignor::ALL {
                let begun = std::time::Instant::now();
                let lists = assignor.assign(&sizes, &members);
                println!("{topics} topics, {name}, {assignor}: {:?}", begun.elapsed());
                assert_eq!(lists.len(), MEMBERS);
            }
        }
    }
}
