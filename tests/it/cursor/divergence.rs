//! What a cursor makes of the ends of leader epochs: the cases of the table in `kafka::consumer::cursor::divergence`,
//! in its order.

use super::RULES;
use sluicegate::kafka::config::{Reset, Start};
use sluicegate::kafka::consumer::cursor::{
    Bounds, Cursor, EPOCHS_LAG, EpochEnd, Output, Phase, PositionChange, Question, Rules, Serials, Trouble,
};
use sluicegate::kafka::protocol::{ErrorCode, Uuid};
use std::time::{Duration, Instant};

const TOPIC: Uuid = Uuid([1; 16]);
/// Records of three epochs, read and committed up to [`POSITION`].
const READ: [(i64, i32); 3] = [(0, 1), (10, 3), (20, 7)];
const POSITION: i64 = 25;

struct Scene {
    cursor: Cursor,
    serials: Serials,
    rules: Rules,
    now: Instant,
}

impl Scene {
    /// A cursor that reads, has read records of these epochs from these offsets on, and hears of a leader.
    fn read(read: &[(i64, i32)], topic: Uuid, leader_epoch: i32) -> Self {
        let (cursor, serials) = (Cursor::new(&mut Serials::default()), Serials::default());
        let mut scene = Self { cursor, serials, rules: RULES, now: Instant::now() };
        let (cursor, serials, now) = (&mut scene.cursor, &mut scene.serials, scene.now);
        cursor.metadata_was(topic, Some((1, 100)), now, serials);
        cursor.committed_was(cursor.ask(), Err(Start::Earliest), "", serials);
        scene.bounds(0, POSITION);
        let cursor = &mut scene.cursor;
        cursor.committed_to(0);
        read.iter().for_each(|(from, epoch)| cursor.fetched(from + 1, Some((*from, *epoch))));
        cursor.fetched(POSITION, None);
        cursor.handed_to(POSITION);
        cursor.committed_to(POSITION);
        cursor.metadata_was(topic, Some((2, leader_epoch)), scene.now, &mut scene.serials);
        scene
    }

    /// The leader's epoch is lower than that of the last record, and it knows nothing of that.
    fn doubtful(topic: Uuid, leader_epoch: i32) -> Self {
        let mut scene = Self::read(&READ, topic, leader_epoch);
        let mut outputs = Vec::new();
        while scene.asked() == Some(7) {
            outputs.extend(scene.answer(EpochEnd::Unknown));
            scene.now += Duration::from_millis(500);
        }
        assert_eq!(outputs, []);
        scene
    }

    /// It keeps epochs: it knows its own.
    fn restored(leader_epoch: i32) -> Self {
        let mut scene = Self::doubtful(TOPIC, leader_epoch);
        assert_eq!(scene.asked(), Some(leader_epoch));
        assert_eq!(scene.answer(EpochEnd::At { epoch: leader_epoch, end: 40 }), []);
        scene
    }

    fn asked(&self) -> Option<i32> {
        match self.cursor.question(self.now + Duration::from_secs(2))?.0 {
            Question::EpochEnd(epoch) => Some(epoch),
            _ => None,
        }
    }

    fn answer(&mut self, answer: EpochEnd) -> Vec<Output> {
        self.cursor.epoch_end_was(self.cursor.ask(), answer, &self.rules, self.now, &mut self.serials)
    }

    fn bounds(&mut self, first: i64, end: i64) -> Vec<Output> {
        let bounds = Bounds { first, end, at: None };
        self.cursor.bounds_were(self.cursor.ask(), bounds, &self.rules, self.now, &mut self.serials)
    }

    /// It goes on where it was, with what was fetched.
    #[track_caller]
    fn reads_on(&self) {
        assert_eq!((self.cursor.phase(), self.cursor.next()), (&Phase::Reading, POSITION));
    }

    /// Nothing but the bounds of the log can tell whether its position is in it.
    #[track_caller]
    fn asks_for_bounds_and_reads_on(&mut self) {
        assert_eq!(self.cursor.phase(), &Phase::Outside);
        assert_eq!(self.bounds(0, 40), []);
        self.reads_on();
    }

    /// It goes back to this offset.
    #[track_caller]
    fn goes_back(&mut self, outputs: &[Output], at: i64) {
        let change = PositionChange::Truncated { position: POSITION, at };
        assert_eq!(outputs, [Output::Moved(change, at)]);
        assert_eq!(self.bounds(0, 40), []);
        assert_eq!(self.cursor.next(), at);
    }
}

#[test]
fn a_broker_that_can_not_be_asked_is_believed() {
    let mut scene = Scene::read(&READ, TOPIC, 101);
    assert_eq!(scene.answer(EpochEnd::Unchecked), []);
    scene.reads_on();
}

#[test]
fn records_without_epochs_need_no_check() {
    Scene::read(&[(0, -1), (10, -1)], TOPIC, 101).reads_on();
    Scene::read(&[(0, -1), (10, -1)], TOPIC, 2).reads_on();
}

#[test]
fn an_epoch_that_reaches_the_position_is_fine() {
    for end in [POSITION, 40] {
        let mut scene = Scene::read(&READ, TOPIC, 101);
        assert_eq!(scene.asked(), Some(7));
        assert_eq!(scene.answer(EpochEnd::At { epoch: 7, end }), []);
        scene.reads_on();
    }
}

#[test]
fn an_epoch_that_retention_removed_is_no_divergence() {
    // The leader answers with the epoch in question and the start of the first one it keeps.
    let mut scene = Scene::read(&READ, TOPIC, 101);
    assert_eq!(scene.answer(EpochEnd::At { epoch: 7, end: 60 }), []);
    scene.reads_on();
    scene.cursor.out_of_range(scene.cursor.ask(), scene.now, &mut scene.serials);
    assert_eq!(scene.answer(EpochEnd::At { epoch: 7, end: 60 }), []);
    let out = scene.bounds(60, 80);
    let is_told = |output: &Output| matches!(output, Output::Moved(PositionChange::Deleted { .. }, 60));
    assert!(out.iter().any(is_told), "{out:?}");
}

#[test]
fn a_log_that_ends_earlier_is_followed_there() {
    let mut scene = Scene::read(&READ, TOPIC, 101);
    let out = scene.answer(EpochEnd::At { epoch: 7, end: 22 });
    scene.goes_back(&out, 22);
    let mut scene = Scene::read(&READ, TOPIC, 101);
    let out = scene.answer(EpochEnd::At { epoch: 3, end: 15 });
    scene.goes_back(&out, 15);
}

#[test]
fn an_epoch_that_the_leader_may_have_forgotten_is_no_divergence() {
    for leader_epoch in [7, 101] {
        let mut scene = Scene::read(&READ, TOPIC, leader_epoch);
        assert_eq!(scene.answer(EpochEnd::Unknown), []);
        scene.asks_for_bounds_and_reads_on();
    }
}

#[test]
fn without_epochs_in_the_metadata_nothing_diverges() {
    for topic in [TOPIC, Uuid::ZERO] {
        let mut scene = Scene::read(&READ, topic, -1);
        assert_eq!(scene.answer(EpochEnd::Unknown), []);
        scene.asks_for_bounds_and_reads_on();
    }
}

#[test]
fn a_deposed_leader_is_given_time() {
    let mut scene = Scene::read(&READ, TOPIC, 5);
    let began = scene.now;
    while scene.now < began + EPOCHS_LAG {
        if scene.cursor.question(scene.now).is_some() {
            assert_eq!((scene.answer(EpochEnd::Unknown), scene.asked()), (vec![], Some(7)));
        }
        scene.now += Duration::from_millis(10);
    }
    let trouble = scene.cursor.trouble().map(|ongoing| ongoing.trouble.clone());
    assert_eq!(trouble, Some(Trouble::Refused(ErrorCode::UNKNOWN_LEADER_EPOCH)));
    // Then the brokers name the leader that came after it, which knows the epoch.
    scene.cursor.metadata_was(TOPIC, Some((1, 8)), scene.now, &mut scene.serials);
    scene.now += Duration::from_secs(2);
    assert_eq!(scene.answer(EpochEnd::At { epoch: 7, end: 30 }), []);
    scene.reads_on();
    assert!(scene.cursor.trouble().is_none());
}

#[test]
fn a_leader_that_keeps_no_epochs_is_not_asked_further() {
    for topic in [TOPIC, Uuid::ZERO] {
        for own in [EpochEnd::Unknown, EpochEnd::At { epoch: 0, end: 40 }] {
            let mut scene = Scene::doubtful(topic, 5);
            assert_eq!(scene.asked(), Some(5));
            assert_eq!(scene.answer(own), []);
            scene.asks_for_bounds_and_reads_on();
        }
    }
}

#[test]
fn without_topic_ids_an_unknown_epoch_is_another_topic() {
    let mut scene = Scene::doubtful(Uuid::ZERO, 5);
    assert_eq!(scene.answer(EpochEnd::At { epoch: 5, end: 40 }), []);
    let out = scene.bounds(0, 40);
    let change = PositionChange::TopicRecreated { position: POSITION };
    assert_eq!(out.first(), Some(&Output::Moved(change, 0)));
}

#[test]
fn a_restored_log_is_read_from_where_an_earlier_epoch_ended() {
    let mut scene = Scene::restored(5);
    assert_eq!(scene.asked(), Some(3));
    let out = scene.answer(EpochEnd::At { epoch: 3, end: 20 });
    scene.goes_back(&out, 20);
    // The next check finds it at one with its leader.
    assert_eq!(scene.asked(), Some(3));
    let out = scene.answer(EpochEnd::At { epoch: 3, end: 20 });
    assert_eq!(out, [Output::Begins { next: 20, text: String::new(), uncommitted: true }]);
}

#[test]
fn an_epoch_that_was_given_twice_proves_nothing() {
    // The leader's own still goes on.
    let scene = Scene::restored(3);
    assert_eq!(scene.asked(), Some(1));
    // Whether it ended earlier or later than in our log: what was written under it may be other records.
    for end in [15, 22] {
        let mut scene = Scene::restored(5);
        assert_eq!((scene.answer(EpochEnd::At { epoch: 3, end }), scene.asked()), (vec![], Some(1)));
        let out = scene.answer(EpochEnd::At { epoch: 1, end: 10 });
        scene.goes_back(&out, 10);
    }
}

#[test]
fn an_unknown_divergence_obeys_the_reset_policy() {
    let bounds = Bounds { first: 4, end: 40, at: None };
    let change = PositionChange::Diverged { position: POSITION, bounds };
    for (reset, next) in [(Reset::Earliest, 4), (Reset::Latest, 40)] {
        let mut scene = Scene::restored(5);
        scene.rules.reset = reset;
        let assignment = scene.cursor.assignment();
        assert_eq!(scene.answer(EpochEnd::At { epoch: 1, end: 12 }), []);
        assert_eq!(scene.answer(EpochEnd::At { epoch: 1, end: 12 }), []);
        assert_eq!(scene.cursor.phase(), &Phase::Diverged);
        let begins = Output::Begins { next, text: String::new(), uncommitted: true };
        assert_eq!(scene.bounds(4, 40), [Output::Moved(change.clone(), next), begins]);
        assert_ne!(scene.cursor.assignment(), assignment, "what was fetched is still delivered");
        assert_eq!(scene.cursor.epoch_before(next), -1);
    }
    let mut scene = Scene::restored(0);
    scene.rules.reset = Reset::Fail;
    assert_eq!(scene.bounds(4, 40), [Output::ResetForbidden(change)]);
}
