//! Positions that don't change are committed again, so that no broker forgets them; on the pure loop, in virtual time.

use crate::relay::double::partition;
use sluicegate::record::{Checkpoint, Offset, Position};
use sluicegate::relay::control::{Control, Step};
use sluicegate::relay::settings::RelaySettings;
use sluicegate::relay::source::{Assigned, CommitError};
use sluicegate::relay::{RENEW_AFTER, RENEW_ASSIGNED_AFTER};
use sluicegate::timing::jitter::Jitter;
use std::time::{Duration, Instant};

/// Longer than anything the loop waits for.
const MOMENT: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3_600);

struct Idle {
    control: Control,
    start: Instant,
}

impl Idle {
    /// These partitions are assigned at the start, each at offset 7.
    fn with(partitions: std::ops::Range<i32>) -> Self {
        let start = Instant::now();
        let control = Control::new(RelaySettings::default(), Jitter::seeded(1), start);
        let mut idle = Self { control, start };
        idle.assign(partitions, Duration::ZERO);
        idle
    }

    fn assign(&mut self, partitions: std::ops::Range<i32>, at: Duration) {
        let position = |number| Position { partition: partition(number), next: Offset(7) };
        let assigned: Vec<Assigned> = partitions.map(|number| position(number).into()).collect();
        self.control.assigned(&assigned, self.start + at);
    }

    /// What the loop commits at this time: before it polls or waits.
    fn commits(&mut self, at: Duration) -> Vec<Checkpoint> {
        loop {
            match self.control.step(self.start + at, false) {
                Step::Commit(checkpoints) => return checkpoints,
                Step::Release(partitions) => self.control.released(&partitions),
                Step::Report(_) => {}
                Step::Poll { .. } | Step::Throttle(_) | Step::Wait(_) => return Vec::new(),
                step => panic!("{step:?}"),
            }
        }
    }

    fn answer(&mut self, checkpoints: Vec<Checkpoint>, outcome: Result<(), CommitError>, at: Duration) {
        assert_eq!(self.control.commit_done(checkpoints, &outcome, self.start + at), []);
    }
}

fn numbers(checkpoints: &[Checkpoint]) -> Vec<i32> {
    assert!(checkpoints.iter().all(|it| it.position.next == Offset(7)));
    let mut numbers: Vec<i32> = checkpoints.iter().map(|it| it.position.partition.number()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn positions_that_stay_the_same_are_committed_again_daily_and_all_at_once() {
    let mut idle = Idle::with(0..3);
    assert_eq!(numbers(&idle.commits(RENEW_ASSIGNED_AFTER - MOMENT)), []);
    let mut last = RENEW_ASSIGNED_AFTER;
    let first = idle.commits(last);
    assert_eq!(numbers(&first), [0, 1, 2]);
    idle.answer(first, Ok(()), last);
    for _ in 0..3 {
        assert_eq!(numbers(&idle.commits(last + RENEW_AFTER - MOMENT)), []);
        last += RENEW_AFTER;
        let again = idle.commits(last);
        assert_eq!(numbers(&again), [0, 1, 2]);
        idle.answer(again, Ok(()), last);
    }
}

#[test]
fn a_renewal_that_fails_is_tried_again() {
    let mut idle = Idle::with(0..1);
    let first = idle.commits(HOUR);
    idle.answer(first, Err(CommitError::Retriable("away".into())), HOUR);
    assert_eq!(numbers(&idle.commits(HOUR)), [], "not at once");
    let again = idle.commits(HOUR + MOMENT);
    assert_eq!(numbers(&again), [0]);
    idle.answer(again, Ok(()), HOUR + MOMENT);
    assert_eq!(numbers(&idle.commits(HOUR + MOMENT * 2)), []);
}

#[test]
fn no_position_of_a_partition_that_is_not_ours_is_committed_again() {
    let mut idle = Idle::with(0..3);
    idle.control.lost_by(&[partition(0)], idle.start);
    idle.control.revoked(&[partition(1)], idle.start);
    let kept = idle.commits(RENEW_ASSIGNED_AFTER);
    assert_eq!(numbers(&kept), [2]);
    idle.answer(kept, Ok(()), RENEW_ASSIGNED_AFTER);
    // One that comes back is of an age that nobody knows.
    idle.assign(0..1, HOUR * 2);
    assert_eq!(numbers(&idle.commits(HOUR * 2)), []);
    assert_eq!(numbers(&idle.commits(HOUR * 3)), [0]);
}
