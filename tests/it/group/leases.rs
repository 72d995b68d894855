//! What prolongs the lease, what ends it, and what a member does then.

use super::answers::{SECOND, Talk, p};
use sluicegate::kafka::group::assignor::{Assignment, Assignor};
use sluicegate::kafka::group::error::GroupError;
use sluicegate::kafka::group::exchange::{Answer, Joined, Request};
use sluicegate::kafka::group::membership::{Event, MembershipSettings, Step};

/// The lease counts from the asking; once it is over everything is lost, and the member joins again.
#[test]
fn a_member_that_is_not_heard_loses_everything_within_the_session_timeout() {
    let mut talk = Talk::settled(Assignor::CooperativeSticky, None, &[p(0)]);
    let ask = talk.ask();
    let (asked, session) = (talk.now, MembershipSettings::default().session_timeout);
    talk.now += 2 * SECOND;
    talk.answer(&ask, Answer::Done);
    assert_eq!(talk.member.lease_until(), Some(asked + session));
    while talk.now < asked + session {
        assert_eq!(talk.events(), []);
        match talk.member.poll(talk.now) {
            Step::Ask(ask) | Step::AskInParallel(ask) => {
                talk.answer(&ask, Answer::Failed("broken pipe".into()));
            }
            Step::Wait(until) => talk.now = until,
            Step::Over => panic!(),
        }
    }
    let _ = talk.member.poll(talk.now);
    assert_eq!(talk.events(), [Event::Lost(vec![p(0)])]);
    let (_, member_id, subscription) = talk.asks_to_join();
    assert_eq!((member_id.as_str(), subscription.owned), ("m", vec![]));
}

/// The coordinator answers a join in a generation that is complete already without beginning the session anew.
#[test]
fn a_join_that_brings_no_new_generation_prolongs_nothing() {
    for generation in [1, 2] {
        let mut talk = Talk::settled(Assignor::CooperativeSticky, None, &[p(0)]);
        let lease = talk.member.lease_until();
        let ask = talk.ask();
        talk.now += 2 * SECOND;
        talk.answer(
            &ask,
            Answer::Refused { error: GroupError::RebalanceInProgress, member_id: String::new() },
        );
        let (ask, _, _) = talk.asks_to_join();
        let (protocol, leader, member_id) = ("cooperative-sticky".into(), "other".into(), "m".into());
        let joined = Joined { generation, protocol, leader, member_id, members: vec![] };
        let beaten = talk.member.lease_until();
        assert!(beaten > lease, "the heartbeat was heard");
        talk.now += 2 * SECOND;
        talk.member.coordinator_lost("gone", talk.now);
        let asked_first = ask.deadline - MembershipSettings::default().rebalance_timeout - 5 * SECOND;
        let (ask, _, _) = talk.asks_to_join();
        talk.answer(&ask, Answer::Joined(joined));
        let begun_anew = asked_first + MembershipSettings::default().session_timeout;
        assert_eq!(talk.member.lease_until(), if generation == 1 { beaten } else { Some(begun_anew) });
    }
}

/// The next answer shows whether the machine was suspended or its clock set.
#[test]
fn a_member_that_seems_to_have_slept_sends_nothing_until_it_is_heard_again() {
    for (error, kept) in [(None, true), (Some(GroupError::UnknownMemberId), false)] {
        let mut talk = Talk::settled(Assignor::CooperativeSticky, None, &[p(0)]);
        let beat = talk.ask();
        let asked = talk.now;
        talk.member.slept(600 * SECOND, talk.now);
        assert_eq!((talk.events(), talk.member.lease_until()), (vec![], None));
        // What was asked before the sleep proves nothing.
        talk.answer(&beat, Answer::Done);
        assert_eq!((talk.events(), talk.member.lease_until()), (vec![], None));
        assert!(talk.member.may_commit(&p(0)));
        let ask = talk.ask();
        assert_eq!(ask.request, Request::FindCoordinator);
        talk.answer(&ask, Answer::Coordinator);
        let ask = talk.ask();
        assert!(matches!(ask.request, Request::Sync { .. }));
        assert_eq!(talk.now, asked, "it lost time");
        let refused = |error| Answer::Refused { error, member_id: String::new() };
        let synced = Answer::Synced(Assignment { partitions: vec![p(0)], user_data: vec![] });
        talk.answer(&ask, error.map_or(synced, refused));
        let lease = kept.then(|| talk.now + MembershipSettings::default().session_timeout);
        assert_eq!(talk.member.lease_until(), lease);
        let kept_all = Event::Assigned { added: vec![], user_data: vec![] };
        assert_eq!(talk.events(), [if kept { kept_all } else { Event::Lost(vec![p(0)]) }]);
    }
}

#[test]
fn a_short_sleep_takes_its_time_off_the_lease_and_a_silent_coordinator_ends_it() {
    let mut talk = Talk::settled(Assignor::CooperativeSticky, None, &[p(0)]);
    let lease = talk.member.lease_until().unwrap();
    talk.member.slept(20 * SECOND, talk.now);
    assert_eq!(talk.member.lease_until(), Some(lease - 20 * SECOND));
    talk.member.slept(600 * SECOND, talk.now);
    let begun = talk.now;
    let lost = (0..1_000).find_map(|_| {
        let now = talk.now;
        match talk.member.poll(talk.now) {
            Step::Ask(ask) | Step::AskInParallel(ask) => {
                talk.answer(&ask, Answer::Failed("nobody there".into()))
            }
            Step::Wait(until) => talk.now = until,
            Step::Over => panic!("it is over"),
        }
        (talk.events() == [Event::Lost(vec![p(0)])]).then_some(now)
    });
    assert_eq!(lost, Some(begun + MembershipSettings::default().session_timeout));
}

/// Other members may have had the partitions since.
#[test]
fn an_assignment_that_comes_after_its_lease_is_asked_for_once_more() {
    let mut talk = Talk::new(Assignor::CooperativeSticky, None);
    let (ask, _, _) = talk.asks_to_join();
    let (protocol, leader, member_id) = ("cooperative-sticky".into(), "other".into(), "m".into());
    talk.answer(&ask, Answer::Joined(Joined { generation: 1, protocol, leader, member_id, members: vec![] }));
    let ask = talk.ask();
    talk.now += MembershipSettings::default().session_timeout + SECOND;
    talk.answer(&ask, Answer::Synced(Assignment { partitions: vec![p(0)], user_data: vec![] }));
    assert_eq!(talk.events(), []);
    assert!(!talk.member.may_commit(&p(0)) && !talk.member.is_settled());
    let ask = talk.ask();
    assert!(matches!(ask.request, Request::Sync { .. }));
    talk.answer(&ask, Answer::Synced(Assignment { partitions: vec![p(0)], user_data: vec![] }));
    assert_eq!(talk.events(), [Event::Assigned { added: vec![p(0)], user_data: vec![] }]);
}

/// A coordinator that still reads the group's state answers a heartbeat without looking.
#[test]
fn a_heartbeat_asked_after_the_lease_prolongs_nothing() {
    let mut talk = Talk::settled(Assignor::CooperativeSticky, None, &[]);
    let lease = talk.member.lease_until().unwrap();
    while talk.now < lease {
        match talk.member.poll(talk.now) {
            Step::Ask(ask) | Step::AskInParallel(ask) => {
                talk.answer(&ask, Answer::Failed("broken pipe".into()))
            }
            Step::Wait(until) => talk.now = until,
            Step::Over => panic!("it is over"),
        }
    }
    loop {
        let ask = talk.ask();
        let finds = ask.request == Request::FindCoordinator;
        talk.answer(&ask, if finds { Answer::Coordinator } else { Answer::Done });
        if !finds {
            break;
        }
    }
    assert_eq!(talk.member.lease_until(), Some(lease));
}
