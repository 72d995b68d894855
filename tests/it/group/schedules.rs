//! Thousands of random schedules of members, deaths, losses, delays and moves.

use super::world::{Plan, SESSION, World, topic};
use proptest::prelude::*;
use sluicegate::kafka::group::assignor::Assignor;

const SLOTS: usize = 5;
/// Long enough for all to settle. A coordinator remembers by its id who has not synced, and looks once the rebalance
/// timeout is over, 300 s: a static member that got another id meanwhile costs one more rebalance then.
const QUIET: u64 = 560_000;
/// More joins of one member within that time are no settling.
const JOINS_TO_SETTLE: usize = 40;

#[derive(Clone, Copy, Debug)]
enum Act {
    Pass(u64),
    Start(usize),
    Kill(usize),
    Leave(usize),
    Move(u64),
    Cut(usize, u64),
    Pause(usize, u64),
    Lose(usize, u8, u8),
    Delay(usize, u64),
    ReleaseSlowly(usize, Option<u64>),
    Grow(usize),
    Subscribe(usize, usize),
    Ghost(bool, bool),
    Commit(usize, usize),
    Dawdle(u64, u64),
    EndDawdling,
    Suspend(usize, u64),
    SetClock(usize, u64),
}

fn act() -> impl Strategy<Value = Act> {
    let slot = || 0..SLOTS;
    prop_oneof![
        12 => (1..2_000_u64).prop_map(Act::Pass),
        4 => (2_000..20_000_u64).prop_map(Act::Pass),
        1 => (20_000..90_000_u64).prop_map(Act::Pass),
        5 => slot().prop_map(Act::Start),
        2 => slot().prop_map(Act::Kill),
        2 => slot().prop_map(Act::Leave),
        1 => (0..3_000_u64).prop_map(Act::Move),
        2 => (slot(), 100..25_000_u64).prop_map(|(slot, ms)| Act::Cut(slot, ms)),
        2 => (slot(), 100..25_000_u64).prop_map(|(slot, ms)| Act::Pause(slot, ms)),
        3 => (slot(), 0..3_u8, 0..3_u8).prop_map(|(slot, requests, answers)| Act::Lose(slot, requests, answers)),
        2 => (slot(), 0..6_000_u64).prop_map(|(slot, ms)| Act::Delay(slot, ms)),
        2 => (slot(), prop::option::of(0..30_000_u64)).prop_map(|(slot, ms)| Act::ReleaseSlowly(slot, ms)),
        1 => (0..2_usize).prop_map(Act::Grow),
        1 => (slot(), 0..3_usize).prop_map(|(slot, topics)| Act::Subscribe(slot, topics)),
        1 => any::<(bool, bool)>().prop_map(|(claims, joins)| Act::Ghost(claims, joins)),
        1 => (0..120_000_u64, 0..40_000_u64).prop_map(|(joins, syncs)| Act::Dawdle(joins, syncs)),
        1 => Just(Act::EndDawdling),
        2 => (slot(), 100..25_000_u64).prop_map(|(slot, ms)| Act::Suspend(slot, ms)),
        1 => (slot(), 50..100_000_u64).prop_map(|(slot, ms)| Act::SetClock(slot, ms)),
        8 => (slot(), 0..8_usize).prop_map(|(slot, which)| Act::Commit(slot, which)),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let assignors = prop_oneof![
        2 => Just(vec![Assignor::Range]),
        1 => Just(vec![Assignor::RoundRobin]),
        1 => Just(vec![Assignor::RoundRobin, Assignor::Range]),
        4 => Just(vec![Assignor::CooperativeSticky]),
    ];
    let statics = prop_oneof![
        2 => Just(vec![false; SLOTS]),
        1 => Just(vec![true; SLOTS]),
        2 => prop::collection::vec(any::<bool>(), SLOTS),
    ];
    let rebalance = prop::sample::select(vec![6_000, 15_000, 30_000]);
    let delay = prop::sample::select(vec![0, 3_000]);
    (assignors, statics, rebalance, delay, prop::collection::vec(1..5_i32, 2), any::<u64>()).prop_map(
        |(assignors, statics, rebalance, initial_delay, sizes, seed)| Plan {
            assignors,
            rebalance,
            initial_delay,
            statics,
            sizes,
            seed,
        },
    )
}

fn perform(world: &mut World, act: Act, has_statics: bool) {
    match act {
        Act::Pass(ms) => world.pass(ms),
        Act::Start(slot) => world.start(slot),
        Act::Kill(slot) => world.kill(slot),
        Act::Leave(slot) => world.leave(slot),
        Act::Move(load) => world.move_coordinator(load),
        Act::Cut(slot, ms) => world.cut(slot, ms),
        Act::Pause(slot, ms) => world.pause(slot, ms),
        Act::Lose(slot, requests, answers) => world.lose(slot, requests, answers),
        Act::Delay(slot, ms) => world.delay(slot, ms),
        Act::ReleaseSlowly(slot, ms) => world.release_slowly(slot, ms),
        // A static leader that is away doesn't see what changes meanwhile, and nobody tells it: so it is with
        // Java's too, up to version 9 of the join and beyond.
        Act::Grow(_) | Act::Subscribe(..) if has_statics => {}
        Act::Grow(number) => world.grow(number),
        Act::Subscribe(slot, topics) => {
            let topics = match topics {
                0 => [topic(0)].into(),
                1 => [topic(1)].into(),
                _ => [topic(0), topic(1)].into(),
            };
            world.subscribe(slot, topics);
        }
        Act::Ghost(claims, joins) => world.ghost(claims, joins),
        Act::Commit(slot, which) => world.commit(slot, which),
        Act::Dawdle(joins_after, syncs_after) => world.dawdle(joins_after, syncs_after),
        Act::EndDawdling => world.end_dawdling(),
        Act::Suspend(slot, ms) => world.suspend(slot, ms),
        Act::SetClock(slot, ms) => {
            if world.places[slot].paused_until <= world.now {
                world.wake_up(slot, ms);
            }
        }
    }
}

fn run(plan: &Plan, acts: &[Act]) -> World {
    let has_statics = plan.statics.contains(&true);
    let mut world = World::new(plan.clone());
    for act in acts {
        perform(&mut world, *act, has_statics);
    }
    world.heal();
    world.joins.fill(0);
    world.pass(QUIET);
    world.assert_settled();
    assert!(
        world.joins.iter().all(|joins| *joins <= JOINS_TO_SETTLE),
        "joins without end: {:?}",
        world.joins
    );
    world.joins.fill(0);
    let lost = world.lost;
    world.pass(5 * SESSION);
    world.assert_settled();
    assert!(world.joins.iter().all(|joins| *joins == 0), "a settled group rebalances: {:?}", world.joins);
    assert_eq!(world.lost, lost, "a settled group loses partitions");
    if world.topics.iter().all(|topics| topics.len() == world.topics[0].len()) && world.topics[0].len() == 2 {
        let loads = world.loads();
        if plan.assignors[0].is_cooperative() {
            let (most, least) = (loads.iter().max(), loads.iter().min());
            assert!(most.unwrap_or(&0) - least.unwrap_or(&0) <= 1, "uneven: {loads:?}");
        } else if !has_statics && !loads.is_empty() {
            assert_eq!(world.shared(), world.fair());
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_acts_on_what_another_has_and_everything_is_owned_in_the_end(
        plan in plan(),
        acts in prop::collection::vec(act(), 1..90),
    ) {
        run(&plan, &acts);
    }
}

/// A world of members that all want both topics.
fn world(assignor: Assignor, statics: bool, sizes: [i32; 2]) -> World {
    World::new(Plan {
        assignors: vec![assignor],
        rebalance: 6_000,
        initial_delay: 0,
        statics: vec![statics; SLOTS],
        sizes: sizes.into(),
        seed: 7,
    })
}

/// The join takes longer than the lease allows, since no heartbeat comes through: what was claimed in it is lost, and still the leader withholds it.
#[test]
fn what_was_claimed_in_a_join_and_lost_meanwhile_goes_to_its_next_owner() {
    let mut world = world(Assignor::CooperativeSticky, false, [1, 1]);
    world.start(1);
    world.pass(2_000);
    world.ghost(false, false);
    world.start(0);
    world.pass(4_000);
    world.lose(1, 30, 0);
    for _ in 0..2 {
        world.ghost(false, false);
        world.pass(8_000);
    }
    world.lose(1, 0, 0);
    world.pass(QUIET);
    assert!(world.lost > 0);
    world.assert_settled();
    assert_eq!(world.loads(), [1, 1]);
}

#[test]
fn a_static_member_is_back_in_its_place() {
    for assignor in Assignor::ALL {
        let mut world = world(assignor, true, [3, 4]);
        (0..3).for_each(|slot| world.start(slot));
        world.pass(QUIET);
        let (before, generation) = (world.shared(), world.coordinator.generation());
        for slot in 0..3 {
            world.leave(slot);
            world.pass(2_000);
            world.start(slot);
            world.pass(6_000);
        }
        world.assert_settled();
        assert_eq!(world.shared(), before);
        // A cooperative one joins once more, since the one before may have been about to give something up.
        let rebalances = if assignor.is_cooperative() { 3 } else { 0 };
        assert_eq!(world.coordinator.generation() - generation, rebalances);
    }
}

/// It is not told that it leads: it watches its topics all the same.
#[test]
fn a_static_leader_that_came_back_notices_new_partitions() {
    for assignor in Assignor::ALL {
        let mut world = world(assignor, true, [3, 4]);
        world.start(0);
        world.pass(20_000);
        world.kill(0);
        world.pass(1_000);
        world.start(0);
        world.pass(20_000);
        assert_eq!(world.loads(), [7]);
        world.grow(1);
        world.pass(20_000);
        assert_eq!(world.loads(), [8]);
    }
}

/// A member that lives and takes its time: its rebalance waits far longer than a session lasts.
#[test]
fn nothing_is_lost_while_another_member_takes_its_time_to_join_or_to_assign() {
    for (joins_after, syncs_after) in [(120_000, 0), (0, 12_000), (60_000, 12_000)] {
        let mut world = world(Assignor::CooperativeSticky, false, [3, 4]);
        world.start(0);
        world.start(1);
        world.pass(30_000);
        world.dawdle(joins_after, syncs_after);
        world.pass(2 * QUIET);
        // It has its part by now, and the next rebalance waits for it.
        world.start(2);
        let before = world.coordinator.generation();
        let rebalanced = (0..400).find(|_| {
            world.pass(1_000);
            world.coordinator.generation() > before
        });
        assert!(rebalanced.is_some_and(|seconds| seconds * 1_000 >= joins_after), "{rebalanced:?}");
        world.pass(QUIET);
        assert_eq!(world.lost, 0, "{joins_after} {syncs_after}");
        assert!(!world.slow.as_ref().unwrap().held.is_empty(), "it takes no part");
        assert_eq!(
            world.shared().iter().map(Vec::len).sum::<usize>() + world.slow.as_ref().unwrap().held.len(),
            7
        );
    }
}

/// An eager member holds nothing meanwhile, and is in its place as soon as the others are.
#[test]
fn an_eager_member_waits_for_one_that_takes_its_time() {
    let mut world = world(Assignor::Range, false, [3, 4]);
    world.start(0);
    world.dawdle(120_000, 0);
    world.pass(20_000);
    let generation = world.coordinator.generation();
    world.start(1);
    world.pass(130_000);
    assert_eq!(world.coordinator.generation(), generation + 1);
    let shared = world.shared().iter().map(Vec::len).sum::<usize>();
    assert_eq!(shared + world.slow.as_ref().unwrap().held.len(), 7);
    assert_eq!(world.lost, 0);
}

/// Others have its partitions when it wakes up; where only a clock was set, nothing happens.
#[test]
fn a_member_that_slept_sends_nothing_of_what_others_have() {
    let mut world = world(Assignor::CooperativeSticky, false, [3, 4]);
    (0..2).for_each(|slot| world.start(slot));
    world.pass(30_000);
    let generation = world.coordinator.generation();
    world.wake_up(0, 3_600_000);
    assert_eq!(world.process(0).unwrap().machine.lease_until(), None);
    world.pass(1_000);
    assert_eq!((world.lost, world.coordinator.generation()), (0, generation));
    world.assert_settled();
    world.suspend(0, 60_000);
    // That nobody sends what another has is checked all the time.
    world.pass(QUIET);
    world.assert_settled();
    assert_eq!((world.lost, world.loads().iter().sum::<usize>()), (1, 7));
}

/// The sync of its former id is missed when the rebalance timeout is over.
#[test]
fn a_static_member_whose_join_was_answered_in_vain_settles() {
    let plan = Plan {
        assignors: vec![Assignor::Range],
        rebalance: 6_000,
        initial_delay: 0,
        statics: vec![true; SLOTS],
        sizes: vec![1, 1],
        seed: 196_959_607_462_645_082,
    };
    let acts = [
        Act::Pass(3),
        Act::Start(0),
        Act::Pass(1),
        Act::Pass(1_170),
        Act::Pass(1_387),
        Act::Move(218),
        Act::Start(4),
        Act::Pass(235),
        Act::Lose(4, 0, 1),
        Act::Pass(10_953),
    ];
    run(&plan, &acts);
}
