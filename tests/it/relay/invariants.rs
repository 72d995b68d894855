//! The numbered invariants that the core keeps, each broken on purpose as far as a test can.

use crate::relay::double::{FnTransport, Letters, ListSource, Told, partition, status};
use sluicegate::record::{Offset, Position, Record};
use sluicegate::relay::Relay;
use sluicegate::relay::dead_letter::DeadLetterError;
use sluicegate::relay::dispatcher::{Dispatcher, Next};
use sluicegate::relay::event::{Event, Observer};
use sluicegate::relay::settings::{Intake, OnRejection, Order, RelaySettings};
use sluicegate::relay::stop::Stop;
use sluicegate::relay::transport::{Target, Transport};
use sluicegate::timing::jitter::Jitter;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

fn settings(concurrency: usize) -> RelaySettings {
    RelaySettings { max_concurrency: NonZeroUsize::new(concurrency).unwrap(), ..RelaySettings::default() }
}

/// Runs over the records of a source; gives the position that was committed.
fn committed(
    settings: RelaySettings,
    mut source: ListSource,
    transport: &dyn Transport,
    letters: Letters,
    observer: &dyn Observer,
) -> Option<i64> {
    let dead_letters = Box::new(letters);
    let stop = &Stop::new();
    // How it ends is another test's concern.
    let _ = Relay { settings, source: &mut source, transport, dead_letters, observer, stop }.run();
    source.committed.of(0)
}

#[test]
fn invariant_1_never_more_requests_in_flight_or_sending_threads_than_max_concurrency() {
    let threads = Mutex::new(BTreeSet::new());
    let transport = FnTransport::new(|_, _| {
        threads.lock().unwrap().insert(std::thread::current().name().map(str::to_owned));
        status(200)
    });
    let settings = RelaySettings { intake: Intake::Sliding, ..settings(4) };
    let all = committed(settings, ListSource::of(2_000), &transport, Letters::default(), &Told::default());
    assert_eq!(all, Some(2_000));
    assert!(transport.most.into_inner() <= 4 && threads.into_inner().unwrap().len() <= 4);
}

#[test]
fn invariant_2_nothing_is_committed_past_a_record_that_is_neither_accepted_nor_kept() {
    let reject_37 =
        || FnTransport::new(|record: &Record, _| status(if record.offset().0 == 37 { 422 } else { 200 }));
    let stops =
        committed(settings(8), ListSource::of(100), &reject_37(), Letters::default(), &Told::default());
    assert_eq!(stops, Some(37), "no place for rejected records");
    let letters = Letters::default();
    letters.fail(DeadLetterError::Fatal("disk full".into()));
    let dead_letter = RelaySettings { on_rejection: OnRejection::DeadLetter, ..settings(8) };
    let full = committed(dead_letter.clone(), ListSource::of(100), &reject_37(), letters, &Told::default());
    assert_eq!(full, Some(37), "the place for them is full");
    let letters = Letters::default();
    let kept = committed(dead_letter, ListSource::of(100), &reject_37(), letters.clone(), &Told::default());
    assert_eq!((kept, letters.kept().len()), (Some(100), 1));
}

#[test]
fn invariant_3_with_order_a_record_is_sent_only_after_its_predecessor_is_done() {
    let next = AtomicI64::new(0);
    let transport = FnTransport::new(|record: &Record, attempt| {
        assert_eq!(record.offset().0, next.load(Ordering::SeqCst), "its predecessor is not done");
        if record.offset().0 % 7 == 3 && attempt == 1 {
            return status(500);
        }
        next.fetch_add(1, Ordering::SeqCst);
        status(200)
    });
    let settings = RelaySettings { order: Order::Partition, ..settings(8) };
    let all = committed(settings, ListSource::of(60), &transport, Letters::default(), &Told::default());
    assert_eq!(all, Some(60));
}

/// Passes on that a record was delivered.
struct Deliveries(SyncSender<i64>);

impl Observer for Deliveries {
    fn on(&self, event: &Event<'_>) {
        if let Event::Delivered { record, .. } = event {
            self.0.send(record.offset().0).unwrap();
        }
    }
}

#[test]
fn invariant_5_no_lock_is_held_while_a_record_is_sent() {
    let (deliveries, delivered) = sync_channel(10);
    let delivered: Mutex<Receiver<i64>> = Mutex::new(delivered);
    // The first request ends only once the second was taken, sent, answered and reported: under a lock it never would.
    let transport = FnTransport::new(|record: &Record, _| {
        if record.offset().0 == 0 {
            let other = delivered.lock().unwrap().recv_timeout(Duration::from_secs(30));
            assert_eq!(other, Ok(1));
        }
        status(200)
    });
    let all =
        committed(settings(2), ListSource::of(2), &transport, Letters::default(), &Deliveries(deliveries));
    assert_eq!(all, Some(2));
}

#[test]
fn invariant_5_a_panic_loses_no_record() {
    let transport = FnTransport::new(|record: &Record, _| {
        assert!(record.offset().0 != 10, "on purpose");
        status(200)
    });
    let settings = RelaySettings { order: Order::Partition, ..settings(4) };
    let before = committed(settings, ListSource::of(100), &transport, Letters::default(), &Told::default());
    assert_eq!(before, Some(10));
}

/// Takes all that may go now.
fn taken(dispatcher: &mut Dispatcher) -> Vec<(i32, i64)> {
    let mut taken = Vec::new();
    while let Next::Send(ticket) = dispatcher.next((), Instant::now(), SystemTime::UNIX_EPOCH) {
        taken.push((ticket.record().partition().number(), ticket.record().offset().0));
    }
    taken
}

/// A dispatcher with three records of each of two partitions.
fn two_partitions() -> Dispatcher {
    let now = Instant::now();
    let mut dispatcher = Dispatcher::new(
        RelaySettings { intake: Intake::Sliding, ..RelaySettings::default() },
        Jitter::seeded(1),
    );
    for number in [0, 1] {
        dispatcher.assign(&Position { partition: partition(number), next: Offset(0) }.into(), now);
        for offset in 0..3 {
            let record = Record::new(partition(number), Offset(offset), 0, None, Some(b"v"));
            dispatcher.admit(record, Target::ONLY, now);
        }
    }
    dispatcher
}

#[test]
fn invariant_6_nothing_new_of_a_revoked_or_lost_partition_is_sent() {
    let others = vec![(1, 0), (1, 1), (1, 2)];
    let mut dispatcher = two_partitions();
    dispatcher.revoke(&partition(0));
    assert_eq!(taken(&mut dispatcher), others);
    let mut dispatcher = two_partitions();
    dispatcher.lose(&partition(0));
    assert_eq!(taken(&mut dispatcher), others);
}

#[test]
fn invariant_6_nothing_new_is_sent_after_a_stop() {
    let mut dispatcher = two_partitions();
    dispatcher.drain();
    assert_eq!(taken(&mut dispatcher), vec![]);
}
