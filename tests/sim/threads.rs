//! What the simulator found in the shell around the decisions, with real threads: the loop goes on hearing while it
//! joins its workers.

use sluicegate::record::{Checkpoint, Offset, Partition, Position, Record};
use sluicegate::relay::dead_letter::Drop;
use sluicegate::relay::event::Unobserved;
use sluicegate::relay::group_limit::GroupPermits;
use sluicegate::relay::settings::{Order, RelaySettings};
use sluicegate::relay::source::{Commit, CommitError, PollLimit, Polled, Source, SourceError};
use sluicegate::relay::stop::Stop;
use sluicegate::relay::transport::{Answer, Attempt, SendError, Transport};
use sluicegate::relay::{Relay, RunError};
use sluicegate::timing::lease::Lease;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A loop that does not hear for this long is deaf: it is to look every 50 ms.
const DEAF: Duration = Duration::from_secs(2);
const RECORDS: i64 = 2;

fn partition() -> Partition {
    Partition::new("t", 0)
}

/// What happens when the last record is being sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The group grants no permits any more.
    NoPermits,
    /// The lease ends, and the partition is lost.
    NoLease,
}

struct World {
    then: Then,
    share: GroupPermits,
    lease: Lease,
    stop: Stop,
    /// The last record is with the destination.
    is_last: AtomicBool,
    /// When the batch had nothing left to do, and how long it took until the next one was asked for.
    over: Mutex<Option<Instant>>,
    silence: Mutex<Duration>,
}

struct Topic<'a> {
    world: &'a World,
    news: Vec<Polled>,
    records: Vec<Record>,
}

struct NoCommits;

impl Commit for NoCommits {
    fn commit(&mut self, _checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
        Ok(())
    }
}

impl Source for Topic<'_> {
    fn poll(&mut self, want: PollLimit, _wait: Duration) -> Result<Polled, SourceError> {
        let over = *self.world.over.lock().unwrap();
        // While a batch is under way no records are wanted.
        if let Some(over) = over.filter(|_| want.records > 0) {
            *self.world.silence.lock().unwrap() = over.elapsed();
            self.world.stop.request();
        }
        if let Some(news) = self.news.pop() {
            return Ok(news);
        }
        if self.world.then == Then::NoLease && self.world.is_last.swap(false, Ordering::SeqCst) {
            *self.world.over.lock().unwrap() = Some(Instant::now());
            return Ok(Polled::Lost(vec![partition()]));
        }
        let wanted = want.records > 0 && !self.records.is_empty();
        Ok(if wanted { Polled::Records(std::mem::take(&mut self.records)) } else { Polled::Nothing })
    }

    fn committer(&mut self) -> Box<dyn Commit> {
        Box::new(NoCommits)
    }

    fn share(&self) -> GroupPermits {
        self.world.share.clone()
    }

    fn lease(&self) -> Lease {
        self.world.lease.clone()
    }
}

impl Transport for World {
    fn send(&self, record: &Record, _attempt: Attempt) -> Result<Answer, SendError> {
        let last = match self.then {
            Then::NoPermits => RECORDS - 1,
            // The next one stays behind, and goes with its partition.
            Then::NoLease => 0,
        };
        if record.offset().0 == last {
            match self.then {
                Then::NoPermits => {
                    self.share.grant(0);
                    *self.over.lock().unwrap() = Some(Instant::now());
                }
                Then::NoLease => {
                    self.lease.end();
                    self.is_last.store(true, Ordering::SeqCst);
                }
            }
        }
        Ok(Answer { status: 200, ..Answer::default() })
    }
}

/// How long the loop was deaf after the last answer.
fn silence(then: Then) -> Duration {
    let size = |n| NonZeroUsize::new(n).unwrap();
    let world = World {
        then,
        share: GroupPermits::unlimited(),
        lease: Lease::expired(Instant::now()),
        stop: Stop::new(),
        is_last: AtomicBool::new(false),
        over: Mutex::new(None),
        silence: Mutex::new(Duration::MAX),
    };
    world.lease.renew(Instant::now() + Duration::from_secs(3_600));
    let record = |offset| Record::new(partition(), Offset(offset), 0, None, Some(b"v"));
    let assigned = Position { partition: partition(), next: Offset(0) }.into();
    let mut source = Topic {
        world: &world,
        news: vec![Polled::Assigned(vec![assigned])],
        records: (0..RECORDS).map(record).collect(),
    };
    let settings = RelaySettings {
        max_concurrency: size(2),
        batch_size: size(RECORDS as usize),
        order: Order::Partition,
        ..RelaySettings::default()
    };
    let ended: Result<_, RunError> = std::thread::scope(|scope| {
        // Nobody else would end a run that hears nothing.
        scope.spawn(|| {
            world.stop.wait(DEAF * 4);
            world.stop.request();
        });
        let relay = Relay {
            settings,
            source: &mut source,
            transport: &world,
            dead_letters: Box::new(Drop),
            observer: &Unobserved,
            stop: &world.stop,
        };
        relay.run()
    });
    ended.unwrap();
    world.silence.into_inner().unwrap()
}

#[test]
fn a_batch_is_joined_at_once_when_the_group_grants_no_permits() {
    let silence = silence(Then::NoPermits);
    assert!(silence < DEAF, "{silence:?}");
}

#[test]
fn a_batch_is_joined_at_once_when_its_partition_is_lost_with_the_lease() {
    let silence = silence(Then::NoLease);
    assert!(silence < DEAF, "{silence:?}");
}
