//! What each answer and each error makes a member do, one at a time.

use proptest::prelude::*;
use sluicegate::kafka::group::assignor::{Assignment, Assignor, Subscriber, Subscription, TopicSizes};
use sluicegate::kafka::group::error::GroupError;
use sluicegate::kafka::group::exchange::{Answer, Ask, Joined, Request};
use sluicegate::kafka::group::membership::{CommitFate, Event, Membership, MembershipSettings, Step, opaque};
use sluicegate::record::Partition;
use sluicegate::timing::jitter::Jitter;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const SECOND: Duration = Duration::from_secs(1);

/// A member whose coordinator is this test.
pub struct Talk {
    pub member: Membership,
    pub now: Instant,
}

pub fn p(number: i32) -> Partition {
    Partition::new("t", number)
}

impl Talk {
    pub fn new(assignor: Assignor, instance_id: Option<&str>) -> Self {
        let now = Instant::now();
        let instance_id = instance_id.map(str::to_owned);
        let settings =
            MembershipSettings { assignors: vec![assignor], instance_id, ..MembershipSettings::default() };
        settings.check().unwrap();
        let member = Membership::new(settings, [Arc::from("t")].into(), Jitter::seeded(1), now);
        Self { member, now }
    }

    /// One that was given these partitions in generation 1.
    pub fn settled(assignor: Assignor, instance_id: Option<&str>, partitions: &[Partition]) -> Self {
        let mut talk = Self::new(assignor, instance_id);
        talk.join(1, partitions);
        assert_eq!(talk.events(), [Event::Assigned { added: partitions.into(), user_data: vec![] }]);
        talk
    }

    /// The next request, as soon as it comes.
    pub fn ask(&mut self) -> Ask {
        for _ in 0..100 {
            match self.member.poll(self.now) {
                Step::Ask(ask) | Step::AskInParallel(ask) => return ask,
                Step::Wait(until) => self.now = until,
                Step::Over => panic!("it is over"),
            }
        }
        panic!("asks nothing");
    }

    pub fn answer(&mut self, ask: &Ask, answer: Answer) {
        self.member.answered(ask.id, answer, self.now);
    }

    pub fn refuse(&mut self, error: GroupError) {
        let ask = self.ask();
        self.answer(&ask, Answer::Refused { error, member_id: String::new() });
    }

    /// Answers the search for the coordinator, if there is one, and gives back the join.
    pub fn asks_to_join(&mut self) -> (Ask, String, Subscription) {
        let mut ask = self.ask();
        if ask.request == Request::FindCoordinator {
            self.answer(&ask, Answer::Coordinator);
            ask = self.ask();
        }
        let Request::Join { member_id, protocols, .. } = ask.request.clone() else { panic!("{ask:?}") };
        (ask, member_id, protocols[0].1.clone())
    }

    fn asks_to_join_again(&mut self) -> (Ask, String, Subscription) {
        self.member.coordinator_lost("again", self.now);
        self.asks_to_join()
    }

    fn join(&mut self, generation: i32, partitions: &[Partition]) {
        let (ask, _, _) = self.asks_to_join();
        let protocol = match &ask.request {
            Request::Join { protocols, .. } => protocols[0].0.name().to_owned(),
            _ => unreachable!(),
        };
        let (leader, member_id) = ("other".into(), "m".into());
        self.answer(
            &ask,
            Answer::Joined(Joined { generation, protocol, leader, member_id, members: vec![] }),
        );
        let ask = self.ask();
        assert!(matches!(&ask.request, Request::Sync { stamp, .. } if stamp.generation == generation));
        self.answer(&ask, Answer::Synced(Assignment { partitions: partitions.into(), user_data: vec![] }));
    }

    pub fn events(&mut self) -> Vec<Event> {
        let events = std::iter::from_fn(|| self.member.next_event());
        events.filter(|event| !matches!(event, Event::Notice(_))).collect()
    }
}

#[test]
fn a_new_member_joins_again_with_the_id_it_is_given() {
    let mut talk = Talk::new(Assignor::Range, None);
    let (ask, member_id, _) = talk.asks_to_join();
    assert_eq!(member_id, "");
    let error = GroupError::MemberIdRequired;
    talk.answer(&ask, Answer::Refused { error, member_id: "m-1".into() });
    let (ask, member_id, _) = talk.asks_to_join();
    assert_eq!(member_id, "m-1");
    assert_eq!(ask.deadline - talk.now, MembershipSettings::default().rebalance_timeout + 5 * SECOND);
}

#[test]
fn an_eager_member_gives_up_everything_before_it_joins_again() {
    for assignor in [Assignor::Range, Assignor::RoundRobin] {
        let mut talk = Talk::settled(assignor, None, &[p(0), p(1)]);
        talk.refuse(GroupError::RebalanceInProgress);
        assert_eq!(talk.events(), [Event::Revoked(vec![p(0), p(1)])]);
        // It still lives while it finishes, and may commit what it finishes.
        assert!(matches!(talk.ask().request, Request::Heartbeat { .. }));
        assert!(talk.member.may_commit(&p(0)));
        talk.member.coordinator_lost("gone", talk.now);
        talk.member.released(&[p(0)], talk.now);
        assert!(!talk.member.may_commit(&p(0)) && talk.member.may_commit(&p(1)));
        talk.member.released(&[p(1)], talk.now);
        let (_, member_id, subscription) = talk.asks_to_join();
        assert_eq!((member_id.as_str(), subscription.owned), ("m", vec![]));
    }
}

#[test]
fn a_cooperative_member_keeps_what_it_has_and_gives_up_what_is_taken_away() {
    let mut talk = Talk::settled(Assignor::CooperativeSticky, None, &[p(0), p(1)]);
    let epoch = talk.member.epoch(&p(0));
    talk.refuse(GroupError::RebalanceInProgress);
    assert_eq!(talk.events(), []);
    let (_, _, subscription) = talk.asks_to_join();
    assert_eq!((subscription.generation, &*subscription.owned), (Some(1), &[p(0), p(1)][..]));
    assert_eq!(subscription.user_data, [0, 0, 0, 1]);
    // The connection breaks, and the same is said again.
    talk.member.coordinator_lost("gone", talk.now);
    talk.join(2, &[p(0), p(7)]);
    let assigned = Event::Assigned { added: vec![p(7)], user_data: vec![] };
    assert_eq!(talk.events(), [Event::Revoked(vec![p(1)]), assigned]);
    assert_eq!(talk.member.epoch(&p(0)), epoch);
    assert!(talk.member.epoch(&p(7)) > epoch);
    assert_eq!(talk.member.stamp().unwrap().generation, 2);
    talk.member.released(&[p(1)], talk.now);
    let (_, _, subscription) = talk.asks_to_join();
    assert_eq!((subscription.generation, &*subscription.owned), (Some(2), &[p(0), p(7)][..]));
}

#[test]
fn a_fenced_generation_loses_everything_and_keeps_the_id() {
    for assignor in Assignor::ALL {
        for (error, id) in [(GroupError::IllegalGeneration, "m"), (GroupError::UnknownMemberId, "")] {
            let mut talk = Talk::settled(assignor, None, &[p(0)]);
            talk.refuse(error);
            assert_eq!(talk.events(), [Event::Lost(vec![p(0)])]);
            assert!(!talk.member.may_commit(&p(0)));
            assert_eq!((talk.member.stamp(), talk.member.lease_until()), (None, None));
            let (_, member_id, subscription) = talk.asks_to_join();
            assert_eq!((member_id.as_str(), subscription.owned), (id, vec![]));
        }
    }
}

#[test]
fn a_commit_tells_as_well_as_a_heartbeat() {
    for (error, fate) in [
        (GroupError::IllegalGeneration, CommitFate::Fenced),
        (GroupError::UnknownMemberId, CommitFate::Fenced),
        (GroupError::RebalanceInProgress, CommitFate::Retry),
        (GroupError::CoordinatorNotAvailable, CommitFate::Retry),
        (GroupError::FencedInstanceId, CommitFate::Over),
    ] {
        let mut talk = Talk::settled(Assignor::Range, None, &[p(0)]);
        let stamp = talk.member.stamp().unwrap();
        assert_eq!(talk.member.commit_refused(&stamp, error, talk.now), fate);
        assert_eq!(talk.member.may_commit(&p(0)), fate == CommitFate::Retry);
    }
}

#[test]
fn a_commit_of_a_former_generation_says_nothing_of_the_present_one() {
    let mut talk = Talk::settled(Assignor::CooperativeSticky, None, &[p(0)]);
    let former = talk.member.stamp().unwrap();
    talk.refuse(GroupError::RebalanceInProgress);
    let _ = talk.asks_to_join();
    // The group has gone on, and the answer that says so is under way.
    assert_eq!(
        talk.member.commit_refused(&former, GroupError::IllegalGeneration, talk.now),
        CommitFate::Retry
    );
    talk.member.coordinator_lost("gone", talk.now);
    talk.join(2, &[p(0)]);
    assert_eq!(
        talk.member.commit_refused(&former, GroupError::IllegalGeneration, talk.now),
        CommitFate::Retry
    );
    assert_eq!(talk.events(), [Event::Assigned { added: vec![], user_data: vec![] }]);
}

#[test]
fn a_fatal_error_ends_the_membership() {
    for error in [
        GroupError::FencedInstanceId,
        GroupError::GroupMaxSizeReached,
        GroupError::InconsistentGroupProtocol,
        GroupError::InvalidSessionTimeout,
        GroupError::InvalidGroupId,
        GroupError::GroupAuthorizationFailed,
        GroupError::UnsupportedVersion,
    ] {
        let mut talk = Talk::new(Assignor::Range, Some("i"));
        let (ask, _, _) = talk.asks_to_join();
        talk.answer(&ask, Answer::Refused { error, member_id: String::new() });
        let events = talk.events();
        assert!(
            matches!(&events[..], [Event::Fatal(told)] if *told == error && error.is_fatal()),
            "{events:?}"
        );
        assert_eq!(talk.member.poll(talk.now), Step::Over);
    }
}

#[test]
fn the_coordinator_is_looked_for_again_and_a_loading_one_is_waited_for() {
    let mut talk = Talk::settled(Assignor::Range, None, &[p(0)]);
    for error in [GroupError::NotCoordinator, GroupError::CoordinatorNotAvailable] {
        talk.refuse(error);
        let before = talk.now;
        let ask = talk.ask();
        assert_eq!(ask.request, Request::FindCoordinator);
        assert!(talk.now > before, "no wait after a failure");
        talk.answer(&ask, Answer::Coordinator);
        assert!(matches!(talk.ask().request, Request::Heartbeat { .. }));
        talk.member.coordinator_lost("next", talk.now);
        let ask = talk.ask();
        talk.answer(&ask, Answer::Coordinator);
    }
    talk.refuse(GroupError::CoordinatorLoadInProgress);
    assert!(matches!(talk.ask().request, Request::Heartbeat { .. }));
    assert_eq!(talk.events(), []);
}

/// The new coordinator never heard of the id that the old one gave.
#[test]
fn a_static_member_whose_new_id_was_lost_with_the_coordinator_takes_its_place_again() {
    for (moved, ends) in [(true, false), (false, true)] {
        let mut talk = Talk::new(Assignor::Range, Some("i"));
        let (ask, _, _) = talk.asks_to_join();
        let (protocol, leader, member_id) = ("range".into(), "other".into(), "i-2".into());
        let joined = Joined { generation: 1, protocol, leader, member_id, members: vec![] };
        talk.answer(&ask, Answer::Joined(joined));
        if moved {
            talk.refuse(GroupError::NotCoordinator);
            let ask = talk.ask();
            talk.answer(&ask, Answer::Coordinator);
        }
        talk.refuse(GroupError::FencedInstanceId);
        assert_eq!(matches!(&talk.events()[..], [Event::Fatal(_)]), ends);
        if !ends {
            assert_eq!(talk.asks_to_join().1, "");
            // Only once: now it is another process that has the name.
            let (ask, _, _) = talk.asks_to_join_again();
            talk.answer(
                &ask,
                Answer::Refused { error: GroupError::FencedInstanceId, member_id: String::new() },
            );
            assert!(matches!(&talk.events()[..], [Event::Fatal(_)]));
        }
    }
}

#[test]
fn what_is_not_released_in_time_is_lost_before_the_rebalance_ends() {
    let mut talk = Talk::settled(Assignor::Range, None, &[p(0), p(1)]);
    let begun = talk.now;
    talk.refuse(GroupError::RebalanceInProgress);
    talk.member.released(&[p(1)], talk.now);
    assert_eq!(talk.events(), [Event::Revoked(vec![p(0), p(1)])]);
    loop {
        match talk.member.poll(talk.now) {
            Step::Ask(ask) if matches!(ask.request, Request::Join { .. }) => break,
            Step::Ask(ask) | Step::AskInParallel(ask) => {
                let error = GroupError::RebalanceInProgress;
                talk.answer(&ask, Answer::Refused { error, member_id: String::new() });
            }
            Step::Wait(until) => talk.now = until,
            Step::Over => panic!(),
        }
    }
    assert_eq!(talk.events(), [Event::Lost(vec![p(0)])]);
    assert_eq!(talk.now - begun, MembershipSettings::default().rebalance_timeout - 5 * SECOND);
}

#[test]
fn a_dynamic_member_says_that_it_leaves_and_a_static_one_does_not() {
    let mut talk = Talk::settled(Assignor::Range, None, &[p(0)]);
    talk.member.leave(talk.now);
    assert_eq!(talk.events(), [Event::Revoked(vec![p(0)])]);
    assert!(matches!(talk.ask().request, Request::Heartbeat { .. }), "lives until all is released");
    talk.member.coordinator_lost("moved", talk.now);
    talk.member.released(&[p(0)], talk.now);
    let ask = talk.ask();
    talk.answer(&ask, Answer::Coordinator);
    let ask = talk.ask();
    assert_eq!(ask.request, Request::Leave { member_id: "m".into() });
    talk.answer(&ask, Answer::Done);
    assert_eq!(talk.member.poll(talk.now), Step::Over);

    let mut talk = Talk::settled(Assignor::Range, Some("i"), &[p(0)]);
    talk.member.leave(talk.now);
    talk.member.released(&[p(0)], talk.now);
    assert_eq!(talk.member.poll(talk.now), Step::Over);
}

#[test]
fn leaving_that_fails_is_told_once() {
    let failures = [
        Answer::Failed("broken pipe".into()),
        Answer::Refused { error: GroupError::NotCoordinator, member_id: String::new() },
        Answer::Refused { error: GroupError::GroupAuthorizationFailed, member_id: String::new() },
    ];
    for failure in failures {
        let mut talk = Talk::settled(Assignor::Range, None, &[p(0)]);
        let begun = talk.now;
        talk.member.leave(talk.now);
        talk.member.released(&[p(0)], talk.now);
        let mut told = 0;
        loop {
            match talk.member.poll(talk.now) {
                Step::Ask(ask) | Step::AskInParallel(ask) => talk.answer(&ask, failure.clone()),
                Step::Wait(until) => talk.now = until,
                Step::Over => break,
            }
            while let Some(event) = talk.member.next_event() {
                told += usize::from(matches!(event, Event::Notice(_)));
            }
        }
        told += std::iter::from_fn(|| talk.member.next_event()).count();
        assert_eq!(told, 1, "{failure:?}");
        assert!(talk.now - begun <= 3 * SECOND, "longer than closing waits");
    }
}

#[test]
fn leaving_does_not_wait_for_a_join() {
    let mut talk = Talk::settled(Assignor::CooperativeSticky, None, &[p(0)]);
    talk.refuse(GroupError::RebalanceInProgress);
    let (join, _, _) = talk.asks_to_join();
    let begun = talk.now;
    talk.member.leave(talk.now);
    talk.member.released(&[p(0)], talk.now);
    let ask = talk.ask();
    assert_eq!(ask.request, Request::FindCoordinator);
    talk.answer(&join, Answer::Failed("too late".into()));
    talk.answer(&ask, Answer::Failed("nobody there".into()));
    while talk.member.poll(talk.now) != Step::Over {
        match talk.member.poll(talk.now) {
            Step::Ask(ask) | Step::AskInParallel(ask) => {
                talk.answer(&ask, Answer::Failed("nobody there".into()));
            }
            Step::Wait(until) => talk.now = until,
            Step::Over => {}
        }
        assert!(talk.now - begun <= 6 * SECOND);
    }
}

#[test]
fn the_leader_sends_along_what_it_is_told_to_from_what_the_members_said() {
    for assignor in [Assignor::RoundRobin, Assignor::CooperativeSticky] {
        let mut talk = Talk::new(assignor, None);
        talk.member.set_user_data(b"two".to_vec());
        talk.member.attach(Box::new(|assignor, members, lists| {
            let said = members.iter().map(|member| opaque(assignor, &member.subscription));
            said.zip(lists).map(|(said, list)| [said, &[list.len() as u8]].concat()).collect()
        }));
        let (ask, _, subscription) = talk.asks_to_join();
        let of = |id: &str| Subscriber {
            member_id: id.into(),
            instance_id: None,
            subscription: subscription.clone(),
        };
        let (protocol, members) = (assignor.name().into(), vec![of("m"), of("n")]);
        let joined = Joined { generation: 1, protocol, leader: "m".into(), member_id: "m".into(), members };
        talk.answer(&ask, Answer::Joined(joined));
        assert_eq!(talk.events(), [Event::NeedSizes([Arc::from("t")].into())]);
        talk.member.sizes(TopicSizes::from([(Arc::from("t"), 3)]), talk.now);
        let Request::Sync { assignments, .. } = talk.ask().request else { panic!() };
        let sent: Vec<_> = assignments.iter().map(|(id, a)| (id.as_str(), &*a.user_data)).collect();
        assert_eq!(sent, [("m", &b"two\x02"[..]), ("n", &b"two\x01"[..])]);
    }
}

#[test]
fn a_leader_makes_everybody_join_when_a_topic_grows() {
    let mut talk = Talk::new(Assignor::Range, None);
    let (ask, _, subscription) = talk.asks_to_join();
    let of_it = Subscriber { member_id: "m".into(), instance_id: None, subscription };
    talk.member.sizes(TopicSizes::from([(Arc::from("t"), 1)]), talk.now);
    talk.answer(
        &ask,
        Answer::Joined(Joined {
            generation: 1,
            protocol: "range".into(),
            leader: "m".into(),
            member_id: "m".into(),
            members: vec![of_it],
        }),
    );
    let ask = talk.ask();
    talk.answer(&ask, Answer::Synced(Assignment { partitions: vec![p(0)], user_data: vec![] }));
    talk.member.sizes(TopicSizes::from([(Arc::from("t"), 1)]), talk.now);
    assert!(talk.member.is_settled());
    talk.member.sizes(TopicSizes::from([(Arc::from("t"), 2)]), talk.now);
    let _ = talk.member.poll(talk.now);
    assert_eq!(talk.events()[1..], [Event::Revoked(vec![p(0)])]);
    talk.member.released(&[p(0)], talk.now);
    let _ = talk.asks_to_join();
}

#[test]
fn settings_that_contradict_themselves_are_refused_with_a_sentence() {
    let with = |change: fn(&mut MembershipSettings)| {
        let mut settings = MembershipSettings::default();
        change(&mut settings);
        settings.check()
    };
    assert_eq!(with(|_| {}), Ok(()));
    for wrong in [
        with(|s| s.assignors.clear()),
        with(|s| s.assignors.push(Assignor::Range)),
        with(|s| s.heartbeat_interval = s.session_timeout),
        with(|s| s.rebalance_timeout = Duration::ZERO),
    ] {
        assert!(wrong.unwrap_err().ends_with('.'));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any answer to any question, however senseless: it neither panics nor asks without end.
    #[test]
    fn no_answer_makes_it_spin_or_panic(
        cooperative in any::<bool>(),
        answers in prop::collection::vec((0..6_u8, -2..90_i16, 0..4_i32), 1..80),
    ) {
        let assignor = if cooperative { Assignor::CooperativeSticky } else { Assignor::RoundRobin };
        let mut talk = Talk::new(assignor, None);
        let begun = talk.now;
        let mut asked = 0;
        for (kind, code, number) in answers {
            let (Step::Ask(ask) | Step::AskInParallel(ask)) = talk.member.poll(talk.now) else {
                if let Step::Wait(until) = talk.member.poll(talk.now) {
                    talk.now = until;
                }
                continue;
            };
            asked += 1;
            let (protocol, member_id) = (assignor.name().to_owned(), format!("m{}", number % 2));
            let joined = Joined { generation: number, protocol, leader: "m0".into(), member_id, members: vec![] };
            let assignment = Assignment { partitions: vec![p(number), p(code.into())], user_data: vec![] };
            let answer = match (kind, GroupError::from_code(code)) {
                (0, _) => Answer::Coordinator,
                (1, _) => Answer::Joined(joined),
                (2, _) => Answer::Synced(assignment),
                (3, Some(error)) => Answer::Refused { error, member_id: format!("m{number}") },
                (4, _) => Answer::Failed("no".into()),
                _ => match ask.request {
                    Request::FindCoordinator => Answer::Coordinator,
                    Request::Join { .. } => Answer::Joined(joined),
                    Request::Sync { .. } => Answer::Synced(assignment),
                    _ => Answer::Done,
                },
            };
            talk.answer(&ask, answer);
            let _ = talk.events();
        }
        prop_assert!(asked <= 80 && talk.now >= begun);
    }
}
