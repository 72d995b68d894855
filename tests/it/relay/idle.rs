//! Workers that have nothing to do: whatever changes for them wakes them at once.

use crate::relay::double::{FnTransport, Letters, Told, partition, status};
use sluicegate::record::{Offset, Partition, Position, Record};
use sluicegate::relay::Relay;
use sluicegate::relay::settings::{Intake, Order, RelaySettings};
use sluicegate::relay::source::{Commit, PollLimit, Polled, Source, SourceError};
use sluicegate::relay::stop::Stop;
use sluicegate::timing::backoff::Backoff;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// A wake-up takes no longer, even on a busy machine; workers by themselves look every 5 s.
const AT_ONCE: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(20);

/// A source that brings what a test sends it; records only where some are wanted.
struct Scripted(Receiver<Polled>, Option<Polled>, Sender<Partition>);

impl Source for Scripted {
    fn poll(&mut self, want: PollLimit, wait: Duration) -> Result<Polled, SourceError> {
        let next = self.1.take().map_or_else(|| self.0.recv_timeout(wait), Ok);
        match next {
            Ok(records @ Polled::Records(_)) if want.records == 0 => {
                self.1 = Some(records);
                Ok(Polled::Nothing)
            }
            Ok(polled) => Ok(polled),
            Err(RecvTimeoutError::Timeout) => Ok(Polled::Nothing),
            Err(RecvTimeoutError::Disconnected) if want.records == 0 => Ok(Polled::Nothing),
            Err(RecvTimeoutError::Disconnected) => Ok(Polled::End),
        }
    }

    fn committer(&mut self) -> Box<dyn Commit> {
        Box::new(crate::relay::double::Commits::default())
    }

    fn release(&mut self, partitions: &[Partition]) {
        partitions.iter().for_each(|partition| drop(self.2.send(partition.clone())));
    }
}

/// A door that requests wait at.
#[derive(Default)]
struct Door(Mutex<bool>, Condvar);

impl Door {
    fn pass(&self) {
        let open = self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap();
        drop(open);
    }

    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

fn assigned(number: i32) -> Polled {
    Polled::Assigned(vec![Position { partition: partition(number), next: Offset(0) }.into()])
}

fn records(number: i32, offsets: std::ops::Range<i64>) -> Polled {
    let record = |offset| Record::new(partition(number), Offset(offset), 0, Some(b"k"), Some(b"v"));
    Polled::Records(offsets.map(record).collect())
}

fn settings(intake: Intake, order: Order) -> RelaySettings {
    // What failed waits for longer than any of these tests.
    let backoff = Backoff::new(Duration::from_secs(3_600), Duration::from_secs(3_600)).unwrap();
    let max_concurrency = NonZeroUsize::new(4).unwrap();
    RelaySettings { intake, order, backoff, max_concurrency, ..RelaySettings::default() }
}

/// A run in a thread of its own, what it is told, what it sends, and what it releases.
fn while_running(
    settings: RelaySettings,
    door: &Door,
    answer: impl Fn(&Record) -> u16 + Sync,
    test: impl FnOnce(Sender<Polled>, &Receiver<(i32, i64)>, &Receiver<Partition>, &Stop),
) -> Duration {
    let (tell, told) = channel();
    let (sends, sent) = channel();
    let (releases, released) = channel();
    let (sends, stop) = (Mutex::new(sends), Stop::new());
    let transport = FnTransport::new(|record: &Record, _| {
        let _ = sends.lock().unwrap().send((record.partition().number(), record.offset().0));
        status(answer(record))
    });
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            let mut source = Scripted(told, None, releases);
            let relay = Relay {
                settings,
                source: &mut source,
                transport: &transport,
                dead_letters: Box::new(Letters::default()),
                observer: &Told::default(),
                stop: &stop,
            };
            relay.run().unwrap();
            Instant::now()
        });
        // A test that fails must not wait for a run that goes on.
        let guard = Guard(&stop, door);
        test(tell, &sent, &released, &stop);
        let tested = Instant::now();
        while !run.is_finished() && tested.elapsed() < LONG {
            std::thread::sleep(Duration::from_millis(5)); // between two looks
        }
        drop(guard);
        run.join().unwrap().saturating_duration_since(tested)
    })
}

/// Lets a run end.
struct Guard<'a>(&'a Stop, &'a Door);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.request();
        self.1.open();
    }
}

/// The next request, which has to come at once.
#[track_caller]
fn next(sent: &Receiver<(i32, i64)>) -> (i32, i64) {
    sent.recv_timeout(AT_ONCE).expect("a request at once")
}

#[test]
fn a_partition_that_comes_is_sent_at_once_while_others_hang() {
    for intake in [Intake::Batch, Intake::Sliding] {
        let door = Door::default();
        let answer = |record: &Record| {
            if record.partition().number() == 0 {
                door.pass();
            }
            204
        };
        while_running(settings(intake, Order::Partition), &door, answer, |tell, sent, _, stop| {
            tell.send(assigned(0)).unwrap();
            tell.send(records(0, 0..3)).unwrap();
            // One hangs, two wait for it, and three workers have nothing to do.
            assert_eq!(sent.recv_timeout(LONG), Ok((0, 0)));
            tell.send(assigned(1)).unwrap();
            tell.send(records(1, 0..1)).unwrap();
            if intake == Intake::Sliding {
                assert_eq!(next(sent), (1, 0));
            }
            door.open();
            let mut rest: Vec<_> =
                (0..if intake == Intake::Sliding { 2 } else { 3 }).map(|_| next(sent)).collect();
            rest.sort_unstable();
            assert_eq!(rest[..2], [(0, 1), (0, 2)]);
            stop.request();
        });
    }
}

#[test]
fn a_partition_that_is_lost_and_comes_again_is_sent_at_once() {
    let door = Door::default();
    let hangs = Mutex::new(true);
    let answer = |_: &Record| {
        if std::mem::take(&mut *hangs.lock().unwrap()) {
            door.pass();
        }
        204
    };
    while_running(settings(Intake::Sliding, Order::None), &door, answer, |tell, sent, _, stop| {
        tell.send(assigned(0)).unwrap();
        tell.send(records(0, 0..2)).unwrap();
        // One hangs, and the other one is on its way as well before the partition is lost.
        let mut first = [(); 2].map(|()| sent.recv_timeout(LONG).unwrap());
        first.sort_unstable();
        assert_eq!(first, [(0, 0), (0, 1)]);
        tell.send(Polled::Lost(vec![partition(0)])).unwrap();
        tell.send(assigned(0)).unwrap();
        tell.send(records(0, 0..2)).unwrap();
        let mut again = [(); 2].map(|()| next(sent));
        again.sort_unstable();
        assert_eq!(again, [(0, 0), (0, 1)]);
        door.open();
        stop.request();
    });
}

#[test]
fn nothing_is_left_to_wait_for_once_the_partition_is_gone() {
    for (intake, revoked) in
        [Intake::Batch, Intake::Sliding].into_iter().flat_map(|i| [(i, false), (i, true)])
    {
        let ended = while_running(
            settings(intake, Order::None),
            &Door::default(),
            |_| 500,
            |tell, sent, released, _| {
                tell.send(assigned(0)).unwrap();
                tell.send(records(0, 0..3)).unwrap();
                let mut failed: Vec<_> = (0..3).map(|_| sent.recv_timeout(LONG).unwrap()).collect();
                failed.sort_unstable();
                assert_eq!(failed, [(0, 0), (0, 1), (0, 2)]);
                // An hour until the next attempt; the source has come to its end.
                let gone = vec![partition(0)];
                tell.send(if revoked { Polled::Revoked(gone) } else { Polled::Lost(gone) }).unwrap();
                if revoked {
                    assert_eq!(released.recv_timeout(AT_ONCE), Ok(partition(0)));
                }
                drop(tell);
            },
        );
        assert!(ended < AT_ONCE, "{intake:?}, revoked {revoked}: ended after {ended:?}");
    }
}

#[test]
fn a_pause_that_nobody_waits_for_keeps_nobody() {
    for intake in [Intake::Batch, Intake::Sliding] {
        let ended = while_running(
            settings(intake, Order::None),
            &Door::default(),
            |_| 503,
            |tell, sent, _, _| {
                tell.send(assigned(0)).unwrap();
                tell.send(records(0, 0..20)).unwrap();
                assert!(sent.recv_timeout(LONG).is_ok());
                tell.send(Polled::Lost(vec![partition(0)])).unwrap();
                drop(tell);
            },
        );
        assert!(ended < AT_ONCE, "{intake:?}: ended after {ended:?}");
    }
}

#[test]
fn a_stop_wakes_workers_that_have_nothing_to_do() {
    for (intake, code) in [Intake::Batch, Intake::Sliding].into_iter().flat_map(|i| [(i, 500), (i, 503)]) {
        let ended = while_running(
            settings(intake, Order::None),
            &Door::default(),
            |_| code,
            |tell, sent, _, stop| {
                tell.send(assigned(0)).unwrap();
                tell.send(records(0, 0..3)).unwrap();
                assert!(sent.recv_timeout(LONG).is_ok());
                stop.request();
                // The source has nothing to say any more, and has not come to its end.
                std::mem::forget(tell);
            },
        );
        assert!(ended < AT_ONCE, "{intake:?} {code}: ended after {ended:?}");
    }
}
