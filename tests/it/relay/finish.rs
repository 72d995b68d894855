//! The last commit and the last moments of a run; on the pure loop, in virtual time.

use crate::relay::double::partition;
use sluicegate::record::{Offset, Position};
use sluicegate::relay::TICK;
use sluicegate::relay::control::{Control, FINISH_TIMEOUT, Step};
use sluicegate::relay::settings::RelaySettings;
use sluicegate::relay::source::CommitError;
use sluicegate::timing::jitter::Jitter;
use std::time::{Duration, Instant};

/// Long enough for the backoff of commits to reach its longest.
const OUTAGE: Duration = Duration::from_secs(120);

/// A run with something to commit, whose commits fail. Commits succeed again this long after the stop signal: gives
/// why the run ended otherwise, how long after the signal, and how often it tried.
fn stopped_in_an_outage(over_after: Duration) -> (Option<String>, Duration, usize) {
    stopped_while_commits_fail(&CommitError::Retriable("the brokers are away".into()), over_after)
}

/// The same with commits that fail in this way.
fn stopped_while_commits_fail(
    error: &CommitError,
    over_after: Duration,
) -> (Option<String>, Duration, usize) {
    let start = Instant::now();
    let mut control = Control::new(RelaySettings::default(), Jitter::seeded(3), start);
    let position = |next| Position { partition: partition(0), next: Offset(next) };
    control.assigned(&[position(7).into()], start);
    control.passed(&[position(9)], start);
    let (mut now, stop, mut attempts) = (start, start + OUTAGE, 0);
    loop {
        match control.step(now, now >= stop) {
            Step::Commit(checkpoints) => {
                attempts += usize::from(now >= stop);
                let outcome = match now >= stop + over_after {
                    true => Ok(()),
                    false => Err(error.clone()),
                };
                assert_eq!(control.commit_done(checkpoints, &outcome, now), []);
            }
            Step::Poll { want, wait } => {
                control.polled_nothing(want, now);
                now += wait.min(TICK);
            }
            Step::Throttle(partitions) => control.throttled(partitions, true),
            Step::Report(_) => {}
            Step::Wait(until) => now = until.max(now + Duration::from_millis(1)),
            Step::End => {
                return (control.take_failure().map(|it| it.to_string()), now - stop, attempts);
            }
            step => panic!("{step:?}"),
        }
    }
}

#[test]
fn a_stop_during_an_outage_tries_the_last_commit_often_and_ends_in_time() {
    let (failure, took, attempts) = stopped_in_an_outage(FINISH_TIMEOUT * 2);
    assert!(failure.as_ref().is_some_and(|it| it.contains("the brokers are away")), "{failure:?}");
    assert!(took >= FINISH_TIMEOUT && took <= FINISH_TIMEOUT + TICK, "{took:?}");
    assert!((10..100).contains(&attempts), "{attempts}");
}

#[test]
fn brokers_that_come_back_just_after_a_stop_still_get_the_last_commit() {
    for over_after in (0..=3_500).step_by(100).map(Duration::from_millis) {
        let (failure, took, _) = stopped_in_an_outage(over_after);
        assert_eq!(failure, None, "{over_after:?}");
        assert!(took <= over_after + Duration::from_millis(400), "{took:?} where {over_after:?} would do");
    }
}

/// What a source says whose coordinator takes the positions of other partitions only.
fn refused_by_itself() -> CommitError {
    CommitError::Partial { partitions: vec![partition(0)], cause: "the disk of the broker is full".into() }
}

#[test]
fn a_position_that_is_refused_by_itself_until_the_end_is_named_with_the_cause() {
    let (failure, took, attempts) = stopped_while_commits_fail(&refused_by_itself(), FINISH_TIMEOUT * 2);
    let failure = failure.unwrap_or_default();
    assert!(
        failure.contains("the disk of the broker is full") && !failure.contains("no answer"),
        "{failure}"
    );
    assert!(took >= FINISH_TIMEOUT && took <= FINISH_TIMEOUT + TICK, "{took:?}");
    assert!((10..100).contains(&attempts), "{attempts}");
}

#[test]
fn a_position_that_is_refused_by_itself_is_still_committed_before_a_run_ends() {
    for over_after in (0..=3_500).step_by(100).map(Duration::from_millis) {
        let (failure, took, _) = stopped_while_commits_fail(&refused_by_itself(), over_after);
        assert_eq!(failure, None, "{over_after:?}");
        assert!(took <= over_after + Duration::from_millis(400), "{took:?} where {over_after:?} would do");
    }
}

/// As in [`stopped_in_an_outage`], but each commit has the next of these outcomes at once, and then nobody answers any
/// more: gives why the run ended, and how long after the signal.
fn stopped_with_a_commit_that_hangs(outcomes: Vec<Result<(), CommitError>>) -> (Option<String>, Duration) {
    let (mut outcomes, mut next) = (outcomes.into_iter(), 9);
    let stop = Instant::now();
    let mut control = Control::new(RelaySettings::default(), Jitter::seeded(3), stop);
    let position = |next| Position { partition: partition(0), next: Offset(next) };
    control.assigned(&[position(7).into()], stop);
    control.passed(&[position(next)], stop);
    let mut now = stop;
    loop {
        match control.step(now, true) {
            Step::Poll { want, wait } => {
                control.polled_nothing(want, now);
                now += wait.min(TICK);
            }
            Step::Throttle(partitions) => control.throttled(partitions, true),
            Step::Wait(until) => now = until.max(now + Duration::from_millis(1)),
            Step::Commit(checkpoints) => {
                if let Some(outcome) = outcomes.next() {
                    control.commit_done(checkpoints, &outcome, now);
                    // More is done in the meantime.
                    next += 1;
                    control.passed(&[position(next)], now);
                }
            }
            Step::End => return (control.take_failure().map(|it| it.to_string()), now - stop),
            _ => {}
        }
    }
}

#[test]
fn invariant_11_a_run_ends_within_ten_seconds_of_a_stop_even_if_no_commit_is_ever_answered() {
    assert!(stopped_with_a_commit_that_hangs(Vec::new()).1 < Duration::from_secs(10));
}

#[test]
fn the_cause_of_a_commit_that_failed_before_one_that_went_well_is_not_named() {
    let away = || Err(CommitError::Retriable("the brokers are away".into()));
    let (failure, _) = stopped_with_a_commit_that_hangs(vec![away()]);
    assert!(failure.as_ref().is_some_and(|it| it.contains("the brokers are away")), "{failure:?}");
    let (failure, _) = stopped_with_a_commit_that_hangs(vec![away(), Ok(())]);
    assert!(failure.as_ref().is_some_and(|it| it.contains("no answer came in time")), "{failure:?}");
}
