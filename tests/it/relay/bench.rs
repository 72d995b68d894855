//! What the dispatcher costs a record (admitted, handed out, answered, committed), and the loop with its threads. A test run does few records, to see
//! that it works; for figures: `SLUICEGATE_BENCH=1000000 cargo test --release --test relay bench -- --nocapture`

use crate::relay::double::{Letters, ListSource, partition, status};
use sluicegate::record::{Offset, Position, Record};
use sluicegate::relay::Relay;
use sluicegate::relay::dispatcher::{Dispatcher, Next, Ticket};
use sluicegate::relay::event::Unobserved;
use sluicegate::relay::settings::{Intake, Order, RelaySettings};
use sluicegate::relay::stop::Stop;
use sluicegate::relay::transport::{Answer, Attempt, SendError, Target, Transport};
use sluicegate::timing::jitter::Jitter;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant, SystemTime};

const PARTITIONS: i32 = 4;
const IN_FLIGHT: usize = 64;
const KEYS: i64 = 10_000;
/// At most so many records pass between two looks at what may be admitted and committed.
const LOOK_EVERY: usize = 500;

fn per_record(count: usize, settings: &RelaySettings) -> Duration {
    let mut dispatcher = Dispatcher::new(settings.clone(), Jitter::seeded(1));
    for number in 0..PARTITIONS {
        let position = Position { partition: partition(number), next: Offset(0) };
        dispatcher.assign(&position.into(), Instant::now());
    }
    let partitions: Vec<_> = (0..PARTITIONS).map(partition).collect();
    let value = [b'v'; 1_000];
    let mut records = (0..count as i64).map(|n| {
        let key = (n.wrapping_mul(2_654_435_761) % KEYS).to_be_bytes();
        let at = partitions[(n % i64::from(PARTITIONS)) as usize].clone();
        Record::new(at, Offset(n / i64::from(PARTITIONS)), 0, Some(&key), Some(&value))
    });
    let (mut flying, mut done, mut spent) = (VecDeque::<Ticket<()>>::new(), 0, Duration::ZERO);
    let (answer, now, wall) = (status(200), Instant::now(), SystemTime::UNIX_EPOCH);
    while done < count {
        let batch: Vec<Record> = records.by_ref().take(dispatcher.room().records).collect();
        let began = Instant::now();
        batch.into_iter().for_each(|record| dispatcher.admit(record, Target::ONLY, now));
        let goal = done + LOOK_EVERY.min(dispatcher.len());
        while done < goal {
            while flying.len() < IN_FLIGHT {
                let Next::Send(ticket) = dispatcher.next((), now, wall) else { break };
                flying.push_back(ticket);
            }
            let Some(ticket) = flying.pop_front() else { break };
            let _ = dispatcher.answered(ticket, &answer, flying.len() + 1, now, wall);
            done += 1;
        }
        let checkpoints = dispatcher.uncommitted();
        dispatcher.committed(&checkpoints, now);
        spent += began.elapsed();
    }
    assert!(dispatcher.is_empty() && done == count);
    spent / count as u32
}

#[test]
fn what_the_dispatcher_costs_a_record() {
    let count: usize = std::env::var("SLUICEGATE_BENCH").map_or(10_000, |count| count.parse().unwrap());
    println!("| window | order | records | per record |\n|---|---|---|---|");
    for intake in [Intake::Batch, Intake::Sliding] {
        for order in [Order::None, Order::Partition, Order::Key] {
            let batch_size = NonZeroUsize::new(1_000).unwrap();
            let settings = RelaySettings { intake, order, batch_size, ..RelaySettings::default() };
            println!("| {intake:?} | {order:?} | {count} | {:?} |", per_record(count, &settings));
        }
    }
}

/// Accepts at once.
struct Accepts;

impl Transport for Accepts {
    fn send(&self, _record: &Record, _attempt: Attempt) -> Result<Answer, SendError> {
        status(200)
    }
}

#[test]
fn what_the_loop_costs_a_record() {
    let count: usize = std::env::var("SLUICEGATE_BENCH").map_or(10_000, |count| count.parse().unwrap());
    println!("| window | workers | records | per record |\n|---|---|---|---|");
    for (intake, workers) in
        [(Intake::Batch, 16), (Intake::Sliding, 1), (Intake::Sliding, 16), (Intake::Sliding, 64)]
    {
        let max_concurrency = NonZeroUsize::new(workers).unwrap();
        let mut source = ListSource::of(count as i64);
        let relay = Relay {
            settings: RelaySettings { intake, max_concurrency, ..RelaySettings::default() },
            source: &mut source,
            transport: &Accepts,
            dead_letters: Box::new(Letters::default()),
            observer: &Unobserved,
            stop: &Stop::new(),
        };
        let totals = relay.run().unwrap();
        assert_eq!(totals.delivered, count as u64);
        println!("| {intake:?} | {workers} | {count} | {:?} |", totals.elapsed / count as u32);
    }
}
