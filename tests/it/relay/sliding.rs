//! The sliding window in the whole loop, with real threads.

use crate::relay::double::{Commits, FnTransport, Letters, ListSource, Told, partition, status};
use sluicegate::record::{Offset, Partition, Position, Record};
use sluicegate::relay::Relay;
use sluicegate::relay::adaptive_limit::ConcurrencyBounds;
use sluicegate::relay::dispatcher::{Dispatcher, Next};
use sluicegate::relay::event::Totals;
use sluicegate::relay::settings::{Intake, OnRejection, Order, RelaySettings};
use sluicegate::relay::source::{Commit, PollLimit, Polled, Source, SourceError};
use sluicegate::relay::stop::Stop;
use sluicegate::relay::transport::{Target, Transport};
use sluicegate::timing::backoff::Backoff;
use sluicegate::timing::jitter::Jitter;
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

fn settings(concurrency: usize, window: usize) -> RelaySettings {
    RelaySettings {
        max_concurrency: NonZeroUsize::new(concurrency).unwrap(),
        intake: Intake::Sliding,
        window_size: NonZeroUsize::new(window).unwrap(),
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(5)).unwrap(),
        on_rejection: OnRejection::DeadLetter,
        ..RelaySettings::default()
    }
}

fn run(
    settings: RelaySettings,
    source: &mut dyn Source,
    transport: &dyn Transport,
    told: &Told,
) -> (Totals, Letters) {
    let letters = Letters::default();
    let stop = Stop::new();
    let relay = Relay {
        settings,
        source,
        transport,
        dead_letters: Box::new(letters.clone()),
        observer: told,
        stop: &stop,
    };
    (relay.run().unwrap(), letters)
}

/// Something that a slow request waits for.
#[derive(Default)]
struct Latch(Mutex<bool>, Condvar);

impl Latch {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let _open = self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap();
    }
}

#[test]
fn delivers_everything_once_with_no_more_threads_than_permits() {
    for order in [Order::None, Order::Key, Order::Partition] {
        let threads = Mutex::new(HashSet::new());
        let transport = FnTransport::new(|record: &Record, _| {
            threads.lock().unwrap().insert(std::thread::current().id());
            status(if record.offset().0 % 100 == 7 { 422 } else { 200 })
        });
        let mut source = ListSource::of(5_000);
        let told = Told::default();
        let (totals, letters) =
            run(RelaySettings { order, ..settings(4, 100) }, &mut source, &transport, &told);
        assert_eq!((totals.delivered, totals.dead_lettered, totals.attempts), (4_950, 50, 5_000));
        assert_eq!(letters.kept().len(), 50);
        assert_eq!(source.committed.of(0), Some(5_000));
        let mut sent = transport.sent();
        if order == Order::None {
            sent.sort_unstable();
        }
        assert_eq!(sent, (0..5_000).collect::<Vec<_>>());
        assert!(threads.into_inner().unwrap().len() <= 4);
        assert_eq!(told.count("BatchJoined"), 0);
    }
}

#[test]
fn workers_come_and_go_with_the_limit_that_is_found() {
    for intake in [Intake::Sliding, Intake::Batch] {
        let bounds = ConcurrencyBounds::new(NonZeroUsize::MIN, NonZeroUsize::new(8).unwrap());
        let settings = RelaySettings { auto_concurrency: bounds, intake, ..settings(8, 100) };
        let transport = FnTransport::new(|record: &Record, attempt| {
            // Turned away now and then, which cuts the limit.
            status(if record.offset().0 % 300 == 299 && attempt == 1 { 429 } else { 200 })
        });
        let mut source = ListSource::of(3_000);
        let (totals, _) = run(settings, &mut source, &transport, &Told::default());
        assert_eq!(totals.delivered, 3_000);
        assert!(transport.most.into_inner() <= 8);
        assert_eq!(source.committed.of(0), Some(3_000));
    }
}

#[test]
fn a_slow_record_holds_back_no_more_than_what_lies_beyond_the_window() {
    let latch = Latch::default();
    let transport = FnTransport::new(|record: &Record, _| {
        match record.offset().0 {
            0 => latch.wait(),
            // The last that fits: a request that takes for ever would be waited for by a batch.
            70 => latch.open(),
            _ => {}
        }
        status(200)
    });
    let mut source = ListSource::of(300);
    run(settings(2, 80), &mut source, &transport, &Told::default());
    assert_eq!(source.committed.of(0), Some(300));
    let sent = transport.sent();
    let until_open = sent.iter().position(|offset| *offset == 70).unwrap();
    assert!(sent[..until_open].iter().all(|offset| *offset < 80), "the window was left: {sent:?}");
}

/// Two partitions of which one can be held.
struct Two {
    assigned: bool,
    next: [i64; 2],
    held: Vec<Partition>,
    committed: Commits,
}

const EACH: i64 = 1_000;

impl Source for Two {
    fn poll(&mut self, want: PollLimit, wait: Duration) -> Result<Polled, SourceError> {
        if !std::mem::replace(&mut self.assigned, true) {
            let position = |number| Position { partition: partition(number), next: Offset(0) }.into();
            return Ok(Polled::Assigned(vec![position(0), position(1)]));
        }
        let open = |number: usize| {
            !self.held.contains(&partition(number as i32)) && self.next[number] < EACH && want.records > 0
        };
        let Some(number) = [0, 1].into_iter().find(|number| open(*number)) else {
            let over = self.next == [EACH; 2] && want.records > 0;
            if !over {
                std::thread::sleep(wait.min(Duration::from_millis(1))); // nothing comes for so long
            }
            return Ok(if over { Polled::End } else { Polled::Nothing });
        };
        let first = self.next[number];
        let end = EACH.min(first + want.records as i64);
        self.next[number] = end;
        let record = |offset| Record::new(partition(number as i32), Offset(offset), 0, None, Some(b"v"));
        Ok(Polled::Records((first..end).map(record).collect()))
    }

    fn committer(&mut self) -> Box<dyn Commit> {
        Box::new(self.committed.clone())
    }

    fn hold(&mut self, partitions: &[Partition]) -> bool {
        self.held = partitions.to_vec();
        true
    }
}

#[test]
fn a_partition_that_is_done_before_its_throttle_takes_effect_is_read_on() {
    let (now, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
    let mut dispatcher = Dispatcher::new(settings(2, 50), Jitter::seeded(1));
    dispatcher.assign(&Position { partition: partition(0), next: Offset(0) }.into(), now);
    for offset in 0..50 {
        let record = Record::new(partition(0), Offset(offset), 0, None, Some(b"v"));
        dispatcher.admit(record, Target::ONLY, now);
    }
    let full = dispatcher.full();
    assert_eq!(full, [partition(0)]);
    // Workers go on while the source is told.
    while let Next::Send(ticket) = dispatcher.next((), now, wall) {
        let _ = dispatcher.answered(ticket, &status(200), 1, now, wall);
    }
    dispatcher.throttle(&full);
    assert!(dispatcher.is_empty() && dispatcher.wants_more(), "nothing else would ever tell of the room");
    assert_eq!(dispatcher.full(), []);
}

#[test]
fn a_partition_that_is_full_holds_back_no_other() {
    let latch = Latch::default();
    let transport = FnTransport::new(|record: &Record, _| {
        match (record.partition().number(), record.offset().0) {
            (0, 0) => latch.wait(),
            (1, 999) => latch.open(),
            _ => {}
        }
        status(200)
    });
    let mut source = Two { assigned: false, next: [0; 2], held: Vec::new(), committed: Commits::default() };
    run(settings(2, 50), &mut source, &transport, &Told::default());
    assert_eq!([0, 1].map(|number| source.committed.of(number)), [Some(EACH); 2]);
}

#[test]
fn idle_workers_sleep_and_wake_when_something_comes() {
    struct Trickle(i64);
    impl Source for Trickle {
        fn poll(&mut self, want: PollLimit, _wait: Duration) -> Result<Polled, SourceError> {
            if want.records == 0 {
                return Ok(Polled::Nothing);
            }
            self.0 += 1;
            Ok(match self.0 {
                0 => Polled::Assigned(vec![Position { partition: partition(0), next: Offset(0) }.into()]),
                101 => Polled::End,
                n => {
                    std::thread::sleep(Duration::from_millis(1)); // the pace of the topic
                    Polled::Records(vec![Record::new(partition(0), Offset(n - 1), 0, None, None)])
                }
            })
        }
        fn committer(&mut self) -> Box<dyn Commit> {
            Box::new(Commits::default())
        }
    }
    let told = Told::default();
    let (totals, _) = run(settings(32, 100), &mut Trickle(-1), &FnTransport::new(|_, _| status(200)), &told);
    assert_eq!(totals.delivered, 100);
}
