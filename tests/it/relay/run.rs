//! The whole loop, with real threads.

use crate::relay::double::{FnTransport, Letters, ListSource, Told, partition, status};
use sluicegate::notice::{Notice, Severity};
use sluicegate::record::Record;
use sluicegate::relay::dead_letter::DeadLetterError;
use sluicegate::relay::event::Totals;
use sluicegate::relay::group_limit::GroupPermits;
use sluicegate::relay::rejection_limit::{RejectionBound, RejectionLimit};
use sluicegate::relay::settings::{OnRejection, Order, RelaySettings};
use sluicegate::relay::source::{Commit, PollLimit, Polled, Source, SourceError};
use sluicegate::relay::stop::Stop;
use sluicegate::relay::transport::{Answer, SendError, Transport};
use sluicegate::relay::{Relay, RunError};
use sluicegate::timing::backoff::Backoff;
use sluicegate::timing::lease::Lease;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

fn settings(concurrency: usize, batch: usize) -> RelaySettings {
    RelaySettings {
        max_concurrency: NonZeroUsize::new(concurrency).unwrap(),
        batch_size: NonZeroUsize::new(batch).unwrap(),
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(5)).unwrap(),
        ..RelaySettings::default()
    }
}

/// The parts of a run that a test looks at afterwards.
struct Scene {
    settings: RelaySettings,
    source: ListSource,
    letters: Letters,
    told: Told,
    stop: Stop,
}

impl Scene {
    fn new(settings: RelaySettings, source: ListSource) -> Self {
        Self { settings, source, letters: Letters::default(), told: Told::default(), stop: Stop::new() }
    }

    fn run(&mut self, transport: &dyn Transport) -> Result<Totals, RunError> {
        Relay {
            settings: self.settings.clone(),
            source: &mut self.source,
            transport,
            dead_letters: Box::new(self.letters.clone()),
            observer: &self.told,
            stop: &self.stop,
        }
        .run()
    }

    fn committed(&self) -> Option<i64> {
        self.source.committed.of(0)
    }
}

#[test]
fn delivers_everything_once_and_never_more_than_n_at_once() {
    let mut scene = Scene::new(settings(4, 50), ListSource::of(1_000));
    let transport = FnTransport::new(|_, _| status(200));
    let totals = scene.run(&transport).unwrap();
    let mut sent = transport.sent();
    sent.sort_unstable();
    assert_eq!(sent, (0..1_000).collect::<Vec<_>>());
    assert!(transport.most.into_inner() <= 4);
    assert_eq!((totals.delivered, totals.attempts), (1_000, 1_000));
    assert_eq!(scene.committed(), Some(1_000));
    assert_eq!(scene.told.count("BatchJoined"), 20);
    assert!(scene.source.closed);
}

#[test]
fn all_n_are_used_at_once() {
    // Each request waits until three are there: with fewer workers this would never end.
    let barrier = Barrier::new(3);
    let mut scene = Scene::new(settings(3, 3), ListSource::of(9));
    scene
        .run(&FnTransport::new(|_, _| {
            barrier.wait();
            status(200)
        }))
        .unwrap();
    assert_eq!(scene.committed(), Some(9));
}

#[test]
fn rests_between_batches_and_not_after_the_last() {
    let interval = Duration::from_secs(1);
    let ends = Mutex::new(Vec::new());
    let mut scene =
        Scene::new(RelaySettings { batch_interval: interval, ..settings(2, 2) }, ListSource::of(6));
    scene
        .run(&FnTransport::new(|_, _| {
            ends.lock().unwrap().push(Instant::now());
            status(200)
        }))
        .unwrap();
    let over = Instant::now();
    let ends = ends.into_inner().unwrap();
    for pair in ends.chunks(2).collect::<Vec<_>>().windows(2) {
        assert!(pair[1][0] - pair[0][1] >= interval);
    }
    assert_eq!(scene.told.count("BatchInterval"), 2);
    assert!(over - ends[5] < interval, "waited after the last batch");
}

#[test]
fn a_refused_record_without_dead_letters_stops_the_run_with_nothing_committed_past_it() {
    let mut scene =
        Scene::new(RelaySettings { order: Order::Partition, ..settings(4, 50) }, ListSource::of(100));
    let transport =
        FnTransport::new(|record: &Record, _| status(if record.offset().0 == 37 { 422 } else { 200 }));
    let error = scene.run(&transport).unwrap_err();
    assert!(matches!(&error, RunError::Rejected(letter) if letter.rejection.status == Some(422)));
    let text = error.to_string();
    assert!(text.contains("topic t partition 0 offset 37") && text.contains("422"), "{text}");
    assert_eq!(scene.committed(), Some(37));
}

#[test]
fn a_refused_record_counts_as_done_once_the_dead_letters_have_it() {
    let mut scene = Scene::new(
        RelaySettings { on_rejection: OnRejection::DeadLetter, ..settings(4, 50) },
        ListSource::of(1_000),
    );
    scene.letters.fail(DeadLetterError::Retriable("later".into()));
    let transport =
        FnTransport::new(|record: &Record, _| status(if record.offset().0 % 100 == 7 { 400 } else { 200 }));
    let totals = scene.run(&transport).unwrap();
    assert_eq!((totals.delivered, totals.dead_lettered), (990, 10));
    let mut kept: Vec<i64> = scene.letters.kept().iter().map(|letter| letter.record.offset().0).collect();
    kept.sort_unstable();
    assert_eq!(kept, (0..10).map(|n| n * 100 + 7).collect::<Vec<_>>());
    assert_eq!(scene.committed(), Some(1_000));
    assert_eq!(scene.told.count("DeadLettersUnavailable"), 1);
}

#[test]
fn one_refused_record_too_many_ends_the_run_and_is_not_settled() {
    for (on_rejection, kept) in [(OnRejection::DeadLetter, 3), (OnRejection::Drop, 0)] {
        let max_rejected =
            Some(RejectionLimit { most: RejectionBound::Count(3), span: Duration::from_secs(3_600) });
        let settings =
            RelaySettings { on_rejection, max_rejected, order: Order::Partition, ..settings(4, 50) };
        let mut scene = Scene::new(settings, ListSource::of(100));
        let transport = FnTransport::new(|record: &Record, _| {
            status(if record.offset().0 % 10 == 7 { 422 } else { 200 })
        });
        let error = scene.run(&transport).unwrap_err();
        assert!(matches!(&error, RunError::TooManyRejected(..)));
        let text = error.to_string();
        assert!(
            text.contains("(3 in 3600s)") && text.contains("topic t partition 0 offset 37 with status 422"),
            "{text}"
        );
        assert_eq!((scene.letters.kept().len(), scene.committed()), (kept, Some(37)));
    }
}

#[test]
fn dead_letters_that_cannot_be_written_end_the_run_and_lose_nothing() {
    let mut scene = Scene::new(
        RelaySettings { on_rejection: OnRejection::DeadLetter, ..settings(1, 50) },
        ListSource::of(100),
    );
    scene.letters.fail(DeadLetterError::Fatal("disk full".into()));
    let transport =
        FnTransport::new(|record: &Record, _| status(if record.offset().0 == 20 { 400 } else { 200 }));
    assert!(matches!(scene.run(&transport), Err(RunError::DeadLetters(_))));
    assert_eq!(scene.committed(), Some(20));
}

#[test]
fn retries_until_accepted_and_each_attempt_is_counted() {
    let mut scene = Scene::new(settings(4, 10), ListSource::of(20));
    let transport = FnTransport::new(|_, attempt| status(if attempt < 3 { 500 } else { 200 }));
    let totals = scene.run(&transport).unwrap();
    assert_eq!((totals.delivered, totals.attempts), (20, 60));
    assert_eq!(scene.committed(), Some(20));
}

#[test]
fn used_up_attempts_refuse_a_record_but_a_pause_uses_none_up() {
    let max_attempts = NonZeroU32::new(3);
    let mut scene = Scene::new(
        RelaySettings { max_attempts, on_rejection: OnRejection::DeadLetter, ..settings(1, 10) },
        ListSource::of(2),
    );
    let transport = FnTransport::new(|record: &Record, attempt| {
        status(if record.offset().0 == 0 && attempt <= 20 {
            503
        } else if record.offset().0 == 1 {
            500
        } else {
            200
        })
    });
    let totals = scene.run(&transport).unwrap();
    assert_eq!((totals.delivered, totals.dead_lettered), (1, 1));
    assert_eq!(scene.letters.kept()[0].rejection.attempts, 3);
}

#[test]
fn a_gone_destination_ends_the_run() {
    let mut scene = Scene::new(settings(2, 10), ListSource::of(10));
    let error = scene.run(&FnTransport::new(|_, _| status(410))).unwrap_err();
    assert!(matches!(error, RunError::Gone(_)));
    assert_eq!(scene.committed(), None);
}

#[test]
fn patience_ends_a_run_that_nothing_accepts() {
    let mut scene = Scene::new(
        RelaySettings { patience: Some(Duration::from_millis(120)), ..settings(2, 10) },
        ListSource::of(10),
    );
    let error = scene.run(&FnTransport::new(|_, _| status(503))).unwrap_err();
    assert!(matches!(error, RunError::OutOfPatience(..)));
    assert_eq!(scene.committed(), None);
}

#[test]
fn a_stop_finishes_what_is_in_flight_and_commits_it() {
    let mut scene =
        Scene::new(RelaySettings { order: Order::Partition, ..settings(2, 50) }, ListSource::of(100));
    let stop = scene.stop.clone();
    let transport = FnTransport::new(|record: &Record, _| {
        if record.offset().0 == 10 {
            stop.request();
            // What is in flight when the stop is noticed is still finished.
            std::thread::sleep(Duration::from_millis(150)); // a slow receiver
        }
        status(200)
    });
    scene.run(&transport).unwrap();
    assert_eq!(scene.committed(), Some(11));
    assert_eq!(transport.sent().len(), 11);
}

#[test]
fn a_panicking_worker_ends_the_run_and_its_record_is_not_committed() {
    let mut scene =
        Scene::new(RelaySettings { order: Order::Partition, ..settings(2, 50) }, ListSource::of(100));
    let transport = FnTransport::new(|record: &Record, _| {
        assert!(record.offset().0 != 10, "on purpose");
        status(200)
    });
    let error = scene.run(&transport).unwrap_err();
    assert!(matches!(&error, RunError::Worker(text) if text.contains("on purpose")), "{error}");
    assert_eq!(scene.committed(), Some(10));
}

#[test]
fn a_loop_that_panics_does_not_leave_workers_sending_for_ever() {
    struct Panics;
    impl sluicegate::relay::event::Observer for Panics {
        fn on(&self, event: &sluicegate::relay::event::Event<'_>) {
            assert!(!matches!(event, sluicegate::relay::event::Event::Snapshot(_)), "on purpose");
        }
    }
    let run = std::panic::catch_unwind(|| {
        Relay {
            settings: settings(2, 10),
            source: &mut ListSource::of(10),
            transport: &FnTransport::new(|_, _| status(500)),
            dead_letters: Box::new(Letters::default()),
            observer: &Panics,
            stop: &Stop::new(),
        }
        .run()
    });
    assert!(run.is_err(), "it ended, and told by a panic");
}

#[test]
fn a_commit_that_fails_is_tried_again() {
    let mut scene = Scene::new(settings(2, 10), ListSource::of(10));
    scene.source.committed.fail(3);
    scene.run(&FnTransport::new(|_, _| status(200))).unwrap();
    assert_eq!(scene.committed(), Some(10));
    assert_eq!(scene.told.count("CommitFailed"), 2, "the first and the second; then ever fewer are told");
}

#[test]
fn a_revoked_partition_is_released_once_what_was_in_flight_is_committed() {
    let mut source = ListSource::of(4);
    source.polls.push_back(Polled::Records(source.records.drain(..2).collect()));
    source.polls.push_back(Polled::Nothing);
    source.polls.push_back(Polled::Revoked(vec![partition(0)]));
    let mut scene = Scene::new(settings(1, 10), source);
    let revoked = AtomicU32::new(0);
    let transport = FnTransport::new(|_, _| {
        // Longer than a tick: the revocation comes while this is in flight.
        std::thread::sleep(Duration::from_millis(150)); // a slow receiver
        revoked.fetch_add(1, Ordering::SeqCst);
        status(200)
    });
    scene.run(&transport).unwrap();
    assert_eq!(transport.sent(), [0], "the second record was not in flight, so it is left to the next owner");
    assert_eq!(scene.committed(), Some(1));
    assert_eq!(scene.source.released, [partition(0)]);
}

#[test]
fn a_lost_partition_is_not_committed() {
    let mut source = ListSource::of(2);
    source.polls.push_back(Polled::Records(source.records.drain(..).collect()));
    source.polls.push_back(Polled::Nothing);
    source.polls.push_back(Polled::Lost(vec![partition(0)]));
    let mut scene = Scene::new(settings(1, 10), source);
    let transport = FnTransport::new(|_, _| {
        std::thread::sleep(Duration::from_millis(150)); // a slow receiver
        status(200)
    });
    scene.run(&transport).unwrap();
    assert_eq!(transport.sent(), [0]);
    assert_eq!(scene.committed(), None);
}

#[test]
fn nothing_is_sent_without_a_lease() {
    struct Leased(ListSource, Lease);
    impl sluicegate::relay::source::Source for Leased {
        fn poll(
            &mut self,
            want: sluicegate::relay::source::PollLimit,
            wait: Duration,
        ) -> Result<Polled, sluicegate::relay::source::SourceError> {
            self.0.poll(want, wait)
        }
        fn committer(&mut self) -> Box<dyn Commit> {
            self.0.committer()
        }
        fn lease(&self) -> Lease {
            self.1.clone()
        }
    }
    let lease = Lease::expired(Instant::now());
    let mut source = Leased(ListSource::of(5), lease.clone());
    let notice = Notice { severity: Severity::Info, text: "hello".into() };
    source.0.polls.push_back(Polled::Notice(notice));
    let renewed_at = Mutex::new(None);
    let first_sent = Mutex::new(None);
    let transport = FnTransport::new(|_, _| {
        first_sent.lock().unwrap().get_or_insert(Instant::now());
        status(200)
    });
    let told = Told::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200)); // the coordinator takes its time
            *renewed_at.lock().unwrap() = Some(Instant::now());
            lease.renew(Instant::now() + Duration::from_secs(60));
        });
        Relay {
            settings: settings(2, 10),
            source: &mut source,
            transport: &transport,
            dead_letters: Box::new(Letters::default()),
            observer: &told,
            stop: &Stop::new(),
        }
        .run()
        .unwrap();
    });
    assert!(first_sent.into_inner().unwrap() >= renewed_at.into_inner().unwrap());
    assert_eq!(source.0.committed.of(0), Some(5));
    assert_eq!(told.count("Notice"), 1);
}

#[test]
fn no_more_go_at_once_than_the_group_grants() {
    struct Shared(ListSource, GroupPermits);
    impl Source for Shared {
        fn poll(&mut self, want: PollLimit, wait: Duration) -> Result<Polled, SourceError> {
            let polled = self.0.poll(want, wait);
            // A share comes with the partitions, and may grow later.
            self.1.grant(if self.0.records.len() > 50 { 1 } else { 3 });
            polled
        }
        fn committer(&mut self) -> Box<dyn Commit> {
            self.0.committer()
        }
        fn share(&self) -> GroupPermits {
            self.1.clone()
        }
    }
    let share = GroupPermits::none();
    let mut source = Shared(ListSource::of(100), share.clone());
    let transport = FnTransport::new(|_, _| {
        assert!(share.granted_and_used().1 <= 3);
        status(200)
    });
    Relay {
        settings: settings(8, 25),
        source: &mut source,
        transport: &transport,
        dead_letters: Box::new(Letters::default()),
        observer: &Told::default(),
        stop: &Stop::new(),
    }
    .run()
    .unwrap();
    assert_eq!(source.0.committed.of(0), Some(100));
    assert!(transport.most.into_inner() <= 3);
    assert_eq!(share.granted_and_used().1, 0, "all of it was given back");
}

#[test]
fn a_record_that_is_retried_holds_no_batch_back() {
    let mut scene = Scene::new(settings(2, 10), ListSource::of(30));
    let others = AtomicU32::new(0);
    let transport = FnTransport::new(|record: &Record, _| -> Result<Answer, SendError> {
        if record.offset().0 != 3 {
            others.fetch_add(1, Ordering::SeqCst);
            return status(200);
        }
        status(if others.load(Ordering::SeqCst) < 29 { 500 } else { 200 })
    });
    scene.run(&transport).unwrap();
    assert_eq!(transport.sent().last(), Some(&3), "all others went before it was accepted");
    assert!(scene.told.count("BatchJoined") >= 3);
    assert_eq!(scene.committed(), Some(30));
}
