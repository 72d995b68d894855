//! What trouble does to a cursor, on a clock of the test's own.

use sluicegate::kafka::config::{Reset, Start};
use sluicegate::kafka::consumer::cursor::{
    Bounds, CORRUPT_ATTEMPTS, Committed, Cursor, EpochEnd, Output, Phase, Question, Rules, Serials, Trouble,
};
use sluicegate::kafka::protocol::{ErrorCode, Uuid};
use std::time::{Duration, Instant};

const RULES: Rules = Rules { reset: Reset::Earliest, until_end: false, commits: true };

/// A cursor that reads from 0 on.
fn reading(now: Instant, serials: &mut Serials) -> Cursor {
    let mut cursor = Cursor::new(serials);
    cursor.metadata_was(Uuid([1; 16]), Some((1, 0)), now, serials);
    cursor.committed_was(cursor.ask(), Err(Start::Earliest), "", serials);
    cursor.bounds_were(cursor.ask(), Bounds { first: 0, end: 9, at: None }, &RULES, now, serials);
    cursor.committed_to(0);
    assert!(cursor.wants_records(now));
    cursor
}

/// What comes of this trouble for so long, tried as often as the cursor wants to.
fn suffers(trouble: &Trouble, time: Duration) -> (Cursor, Vec<Output>, u32) {
    let (began, mut serials) = (Instant::now(), Serials::default());
    let mut cursor = reading(began, &mut serials);
    let (mut out, mut tries) = (Vec::new(), 0);
    let mut now = began;
    while now < began + time {
        if cursor.wants_records(now) {
            out.extend(cursor.failed(cursor.ask(), trouble.clone(), now, &mut serials));
            tries += 1;
        }
        now += Duration::from_millis(10);
    }
    (cursor, out, tries)
}

#[test]
fn what_kafka_calls_retriable_is_tried_for_ever_but_not_all_the_time() {
    for code in
        [ErrorCode::KAFKA_STORAGE_ERROR, ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::UNKNOWN_TOPIC_ID]
    {
        let (cursor, out, tries) = suffers(&Trouble::Refused(code), Duration::from_secs(600));
        assert_eq!((cursor.phase(), out.len()), (&Phase::Reading, 0), "{code}");
        assert!((200..400).contains(&tries), "{code}: {tries}");
    }
}

#[test]
fn what_lasts_stops_the_partition() {
    let lasting = Trouble::Refused(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
    assert_eq!(suffers(&lasting, Duration::from_secs(55)).1, []);
    assert_eq!(suffers(&lasting, Duration::from_secs(65)).1, [Output::Stopped(lasting)]);
    let corrupt = Trouble::Corrupt("it is".into());
    let (cursor, out, tries) = suffers(&corrupt, Duration::from_secs(65));
    assert_eq!((out, tries), (vec![Output::Stopped(corrupt)], CORRUPT_ATTEMPTS));
    assert!(cursor.is_unreadable());
    let large = Trouble::TooLarge("it is".into());
    assert_eq!(suffers(&large, Duration::from_secs(65)).2, 1);
}

#[test]
fn a_right_that_is_missing_is_asked_for_rarely_and_for_ever() {
    let forbidden = Trouble::Refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    let (cursor, out, tries) = suffers(&forbidden, Duration::from_secs(600));
    assert!(out.is_empty() && cursor.is_unreadable() && (100..130).contains(&tries), "{tries}");
}

#[test]
fn a_trouble_that_is_over_leaves_nothing_behind() {
    let (now, mut serials) = (Instant::now(), Serials::default());
    let mut cursor = reading(now, &mut serials);
    cursor.failed(cursor.ask(), Trouble::Connection, now, &mut serials);
    assert!(!cursor.wants_records(now));
    cursor.trouble_told();
    assert_eq!(cursor.fetch_succeeded(Some(12)), [Output::Recovered]);
    assert!(cursor.wants_records(now) && cursor.trouble().is_none());
    assert_eq!(cursor.log_end(), Some(12));
}

#[test]
fn a_position_that_is_committed_again_keeps_its_epoch() {
    let (now, mut serials) = (Instant::now(), Serials::default());
    let mut cursor = Cursor::new(&mut serials);
    cursor.metadata_was(Uuid([1; 16]), Some((1, 7)), now, &mut serials);
    let committed = Committed { next: 5, epoch: 3, note: None };
    cursor.committed_was(cursor.ask(), Ok(committed), "", &mut serials);
    cursor.bounds_were(cursor.ask(), Bounds { first: 0, end: 9, at: None }, &RULES, now, &mut serials);
    assert_eq!(cursor.question(now).map(|(question, _)| question), Some(Question::EpochEnd(3)));
    cursor.epoch_end_was(cursor.ask(), EpochEnd::At { epoch: 3, end: 8 }, &RULES, now, &mut serials);
    assert_eq!((cursor.next(), cursor.epoch_before(5)), (5, 3));
}

#[test]
fn a_late_answer_counts_for_nothing() {
    let (now, mut serials) = (Instant::now(), Serials::default());
    let mut cursor = reading(now, &mut serials);
    cursor.fetched(4, Some((0, 0)));
    let asked = cursor.ask();
    cursor.metadata_was(Uuid([1; 16]), Some((2, 1)), now, &mut serials);
    assert_eq!(cursor.phase(), &Phase::Checking);
    assert!(!cursor.is_current(asked));
    assert_eq!(cursor.failed(asked, Trouble::TooLarge(String::new()), now, &mut serials), []);
    let question = cursor.ask();
    let fine = EpochEnd::At { epoch: 0, end: 4 };
    assert_eq!(cursor.epoch_end_was(question, fine, &RULES, now, &mut serials), []);
    assert_eq!((cursor.phase(), cursor.next()), (&Phase::Reading, 4));
    assert_eq!(
        cursor.epoch_end_was(question, EpochEnd::At { epoch: 0, end: 1 }, &RULES, now, &mut serials),
        []
    );
    assert_eq!(cursor.phase(), &Phase::Reading);
}

#[test]
fn an_election_behind_a_moment_without_a_leader_is_one() {
    let (now, mut serials) = (Instant::now(), Serials::default());
    let mut cursor = reading(now, &mut serials);
    cursor.fetched(9, Some((0, 0)));
    cursor.metadata_was(Uuid([1; 16]), None, now, &mut serials);
    cursor.metadata_was(Uuid([1; 16]), Some((2, 1)), now, &mut serials);
    assert_eq!(cursor.phase(), &Phase::Checking);
    // What that leader answers counts no more once there is another.
    let asked = cursor.ask();
    cursor.metadata_was(Uuid([1; 16]), Some((3, 2)), now, &mut serials);
    cursor.epoch_end_was(asked, EpochEnd::At { epoch: 0, end: 9 }, &RULES, now, &mut serials);
    assert_eq!(cursor.phase(), &Phase::Checking);
}

#[test]
fn what_was_written_behind_the_end_is_not_passed() {
    let (now, mut serials) = (Instant::now(), Serials::default());
    let rules = Rules { until_end: true, ..RULES };
    let mut cursor = Cursor::new(&mut serials);
    cursor.metadata_was(Uuid([1; 16]), Some((1, 0)), now, &mut serials);
    cursor.committed_was(cursor.ask(), Err(Start::Earliest), "", &mut serials);
    cursor.bounds_were(cursor.ask(), Bounds { first: 0, end: 9, at: None }, &rules, now, &mut serials);
    cursor.fetched(20, Some((0, 0)));
    cursor.handed_to(8);
    assert!(cursor.has_ended());
    assert_eq!((cursor.skipped(), cursor.skipped()), (Some(9), None));
}

#[test]
fn an_outage_and_then_one_error_stop_nothing() {
    let (began, mut serials) = (Instant::now(), Serials::default());
    let mut cursor = reading(began, &mut serials);
    let later = began + Duration::from_secs(100);
    for now in [began, began, began, began, later] {
        assert_eq!(cursor.failed(cursor.ask(), Trouble::Connection, now, &mut serials), []);
    }
    for trouble in [Trouble::Refused(ErrorCode::UNKNOWN_SERVER_ERROR), Trouble::Corrupt("it is".into())] {
        assert_eq!(cursor.failed(cursor.ask(), trouble, later, &mut serials), []);
    }
    assert_eq!(cursor.phase(), &Phase::Reading);
}

#[test]
fn a_topic_made_anew_begins_at_0_whatever_a_leader_that_lags_says_of_the_former_one() {
    let (now, mut serials) = (Instant::now(), Serials::default());
    let mut cursor = reading(now, &mut serials);
    cursor.fetched(9, Some((0, 0)));
    cursor.metadata_was(Uuid([2; 16]), Some((1, 0)), now, &mut serials);
    let of_the_former = Bounds { first: 5, end: 9, at: None };
    let out = cursor.bounds_were(cursor.ask(), of_the_former, &RULES, now, &mut serials);
    assert!(out.contains(&Output::Begins { next: 0, text: String::new(), uncommitted: true }), "{out:?}");
}

#[test]
fn nobody_knows_whether_a_partition_that_is_held_may_be_read() {
    let (now, mut serials) = (Instant::now(), Serials::default());
    let mut cursor = reading(now, &mut serials);
    let forbidden = Trouble::Refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    cursor.failed(cursor.ask(), forbidden, now, &mut serials);
    assert!(cursor.is_unreadable());
    cursor.throttle(true);
    assert!(!cursor.is_unreadable());
}

#[test]
fn a_replica_that_fails_is_left_alone_for_a_while() {
    let (now, mut serials) = (Instant::now(), Serials::default());
    let mut cursor = reading(now, &mut serials);
    cursor.prefer_replica(2, now + Duration::from_secs(300));
    assert_eq!((cursor.broker(now), cursor.avoids_replicas(now)), (Some(2), false));
    cursor.failed(cursor.ask(), Trouble::Connection, now, &mut serials);
    assert_eq!((cursor.broker(now), cursor.avoids_replicas(now)), (Some(1), true));
    assert!(!cursor.avoids_replicas(now + Duration::from_secs(60)));
}

#[test]
fn a_broker_that_refuses_an_offset_which_it_says_is_there_is_asked_ever_less_often_and_told_of() {
    let (began, mut serials) = (Instant::now(), Serials::default());
    let mut cursor = reading(began, &mut serials);
    let (mut now, mut refused) = (began, 0);
    while now < began + Duration::from_secs(60) {
        if cursor.wants_records(now) {
            cursor.out_of_range(cursor.ask(), now, &mut serials);
            refused += 1;
        } else if cursor.question(now).is_some() {
            let bounds = Bounds { first: 0, end: 9, at: None };
            assert_eq!(cursor.bounds_were(cursor.ask(), bounds, &RULES, now, &mut serials), []);
        }
        now += Duration::from_millis(10);
    }
    assert!((10..60).contains(&refused), "{refused}");
    assert_eq!(cursor.trouble().map(|ongoing| ongoing.since), Some(began));
    assert_eq!(cursor.fetch_succeeded(None), [], "nobody was told yet");
    assert!(cursor.trouble().is_none());
}
