//! Order by key: many keys at once, each in order; what a slow key costs.

use crate::relay::double::{partition, status};
use sluicegate::record::{HeaderRange, Offset, Position, Record};
use sluicegate::relay::dispatcher::{Dispatcher, Next};
use sluicegate::relay::settings::{Intake, Order, RelaySettings};
use sluicegate::relay::transport::Target;
use sluicegate::timing::jitter::Jitter;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

const PARTITIONS: i32 = 4;
const KEYS: i64 = 10_000;
const AT_ONCE: usize = 64;
const WALL: SystemTime = SystemTime::UNIX_EPOCH;

fn dispatcher(window_size: usize) -> Dispatcher {
    let window_size = NonZeroUsize::new(window_size).unwrap();
    let settings =
        RelaySettings { order: Order::Key, intake: Intake::Sliding, window_size, ..RelaySettings::default() };
    let mut dispatcher = Dispatcher::new(settings, Jitter::seeded(1));
    for number in 0..PARTITIONS {
        let position = Position { partition: partition(number), next: Offset(0) };
        dispatcher.assign(&position.into(), Instant::now());
    }
    dispatcher
}

/// The key of the nth record, and the partition that it is always in.
fn nth(n: i64) -> (i64, i32) {
    let key = n.wrapping_mul(2_654_435_761).rem_euclid(KEYS);
    (key, (key % i64::from(PARTITIONS)) as i32)
}

#[test]
fn ten_thousand_keys_go_64_at_once_and_a_retrying_one_holds_back_only_itself() {
    const RECORDS: i64 = 40_000;
    /// A key that fails at first.
    const BAD: i64 = 761;
    let (mut dispatcher, mut now) = (dispatcher(2_000), Instant::now());
    let (mut next, mut offsets) = (0, [0_i64; PARTITIONS as usize]);
    let mut flying = VecDeque::new();
    let (mut last, mut delivered, mut failures) = (HashMap::<i64, i64>::new(), 0, 0);
    let (mut handed_out, mut most) = (0, 0);
    while delivered < RECORDS {
        while dispatcher.wants_more() && next < RECORDS {
            for _ in 0..dispatcher.room().records.min((RECORDS - next) as usize) {
                let (key, number) = nth(next);
                let offset = &mut offsets[number as usize];
                let (key, value) = (key.to_be_bytes(), next.to_be_bytes());
                dispatcher.admit(
                    Record::new(partition(number), Offset(*offset), 0, Some(&key), Some(&value)),
                    Target::ONLY,
                    now,
                );
                (*offset, next) = (*offset + 1, next + 1);
            }
        }
        while flying.len() < AT_ONCE
            && let Next::Send(ticket) = dispatcher.next((), now, WALL)
        {
            flying.push_back(ticket);
            handed_out += 1;
            most = most.max(flying.len());
        }
        let Some(ticket) = flying.pop_front() else {
            now += Duration::from_secs(1);
            continue;
        };
        let key = i64::from_be_bytes(ticket.record().key().unwrap().try_into().unwrap());
        let number = i64::from_be_bytes(ticket.record().value().unwrap().try_into().unwrap());
        let fails = key == BAD && failures < 5;
        if fails {
            failures += 1;
        } else {
            delivered += 1;
            assert!(last.insert(key, number).is_none_or(|before| before < number), "key {key} out of order");
        }
        let _ = dispatcher.answered(ticket, &status(if fails { 500 } else { 200 }), 1, now, WALL);
    }
    assert_eq!((most, failures, handed_out), (AT_ONCE, 5, RECORDS + 5));
    assert!(dispatcher.is_empty() && dispatcher.bytes() == 0);
}

/// A fetched payload of which each record is a slice.
fn batch(number: i32, first: i64, hot: usize) -> (Vec<Record>, Weak<[u8]>) {
    const RECORDS: usize = 10;
    let payload: Arc<[u8]> = vec![b'x'; 50_000].into();
    let record = |n: usize| {
        let key = if n == hot { 0..1 } else { 0..n as u32 + 2 };
        let headers: Box<[HeaderRange]> = Box::new([]);
        let (at, offset) = (partition(number), Offset(first + n as i64));
        Record::from_shared(at, offset, 0, Arc::clone(&payload), Some(key), Some(0..5_000), headers).unwrap()
    };
    ((0..RECORDS).map(record).collect(), Arc::downgrade(&payload))
}

#[test]
fn a_slow_key_keeps_its_own_records_in_memory_and_not_all_that_was_fetched_with_them() {
    let (mut dispatcher, now) = (dispatcher(1_000), Instant::now());
    let mut payloads = Vec::new();
    for n in 0..50 {
        let (records, payload) = batch(0, n * 10, 3);
        payloads.push(payload);
        records.into_iter().for_each(|record| dispatcher.admit(record, Target::ONLY, now));
    }
    let mut slow = None;
    while let Next::Send(ticket) = dispatcher.next((), now, WALL) {
        if ticket.record().key().is_some_and(|key| key.len() == 1) {
            slow = Some(ticket);
        } else {
            let _ = dispatcher.answered(ticket, &status(200), 1, now, WALL);
        }
    }
    assert_eq!(dispatcher.len(), 50, "the slow key's own");
    let alive = || payloads.iter().filter(|payload| payload.strong_count() > 0).count();
    assert_eq!(alive(), 1, "that of the request in flight");
    let _ = dispatcher.answered(slow.unwrap(), &status(500), 1, now, WALL);
    assert_eq!(alive(), 0, "and none while it waits for its next attempt");
}
