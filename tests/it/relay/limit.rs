//! What `--max-concurrency auto` finds out about destinations of different kinds, in simulated time: a table of the
//! limit that it came to, of the throughput beside that of the best fixed limit, and of the latencies.

use crate::relay::double::{partition, status};
use sluicegate::record::{Offset, Position, Record};
use sluicegate::relay::adaptive_limit::{AdaptiveLimit, ConcurrencyBounds};
use sluicegate::relay::dispatcher::{Dispatcher, Next, Ticket};
use sluicegate::relay::settings::{Intake, RelaySettings};
use sluicegate::relay::transport::Target;
use sluicegate::timing::backoff::Backoff;
use sluicegate::timing::jitter::Jitter;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant, SystemTime};

const MOST: usize = 64;
/// What is seen before is not counted: it is the way there.
const WARM_UP: f64 = 0.25;

/// A destination with so many workers and a queue before them.
#[derive(Clone, Copy)]
struct Server {
    workers: usize,
    /// The median time of a request, in seconds.
    service: f64,
    /// The time on the way, there and back.
    network: f64,
    /// How much times differ, log-normally.
    jitter: f64,
    /// It turns away what finds so many there.
    most: usize,
}

const SERVER: Server = Server { workers: 1_000, service: 0.05, network: 0.0, jitter: 0.0, most: usize::MAX };

/// Repeatable chance.
struct Chance(Jitter);

impl Chance {
    /// Above 0 and at most 1.
    fn even(&mut self) -> f64 {
        const STEPS: Duration = Duration::from_micros(1 << 40);
        (self.0.up_to(STEPS).as_micros() as f64 + 1.0) / (STEPS.as_micros() as f64 + 1.0)
    }

    fn log_normal(&mut self, sigma: f64) -> f64 {
        let (a, b) = (self.even(), self.even());
        (sigma * (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()).exp()
    }
}

struct Outcome {
    limit: usize,
    throughput: f64,
    p95: f64,
    turned_away: usize,
}

/// So many seconds of sending, as much as the limit lets; times in nanoseconds.
fn simulate(
    server: Server,
    mut limit: impl FnMut(Option<(u64, u64, usize, bool)>) -> usize,
    seconds: u64,
) -> Outcome {
    const PAUSE: u64 = 100_000_000;
    let nanos = |seconds: f64| (seconds * 1e9) as u64;
    let mut chance = Chance(Jitter::seeded(7));
    let mut workers: BinaryHeap<Reverse<u64>> = (0..server.workers).map(|_| Reverse(0)).collect();
    let mut flying: BinaryHeap<Reverse<(u64, u64, bool)>> = BinaryHeap::new();
    let (mut now, mut paused_until, mut inside, mut turned_away) = (0_u64, 0, 0, 0);
    let (mut took, end) = (Vec::new(), seconds * 1_000_000_000);
    let mut current = limit(None);
    while now < end {
        while flying.len() < current && now >= paused_until {
            let accepted = inside < server.most;
            let back = if accepted {
                inside += 1;
                let Reverse(free) = workers.pop().unwrap();
                let begins = free.max(now + nanos(server.network / 2.0));
                let ends = begins + nanos(server.service * chance.log_normal(server.jitter));
                workers.push(Reverse(ends));
                ends + nanos(server.network / 2.0)
            } else {
                now + 1_000_000
            };
            flying.push(Reverse((back, now, accepted)));
        }
        let Some(&Reverse((back, sent, accepted))) = flying.peek() else {
            now = paused_until;
            continue;
        };
        now = back;
        current = limit(Some((now, now - sent, flying.len(), accepted)));
        flying.pop();
        if accepted {
            inside -= 1;
            took.extend((now as f64 > end as f64 * WARM_UP).then_some(now - sent));
        } else {
            (turned_away, paused_until) = (turned_away + 1, now + PAUSE);
        }
    }
    took.sort_unstable();
    let counted = seconds as f64 * (1.0 - WARM_UP);
    let p95 = took[took.len() * 95 / 100] as f64 / 1e9;
    Outcome { limit: current, throughput: took.len() as f64 / counted, p95, turned_away }
}

fn auto(server: Server, seconds: u64) -> Outcome {
    let size = |n| NonZeroUsize::new(n).unwrap();
    let (start, mut controller) =
        (Instant::now(), AdaptiveLimit::new(ConcurrencyBounds::new(size(1), size(MOST)).unwrap()));
    let answered = |answer: Option<(u64, u64, usize, bool)>| {
        if let Some((now, took, in_flight, accepted)) = answer {
            let now = start + Duration::from_nanos(now);
            let sent = now - Duration::from_nanos(took);
            match accepted {
                true => controller.took(now, sent, in_flight),
                false => controller.turned_away(now, sent, in_flight),
            }
        }
        controller.current()
    };
    simulate(server, answered, seconds)
}

#[test]
fn auto_comes_close_to_the_best_fixed_limit_for_each_kind_of_destination() {
    let kinds = [
        ("constant 50 ms", SERVER, MOST),
        ("knee at 20", Server { workers: 20, ..SERVER }, 20),
        ("knee at 4", Server { workers: 4, ..SERVER }, 4),
        ("fast, knee at 8", Server { workers: 8, service: 0.01, jitter: 0.3, ..SERVER }, 8),
        ("queue of one, 45 ms away", Server { workers: 1, service: 0.005, network: 0.045, ..SERVER }, 10),
        ("429 above 20", Server { most: 20, jitter: 0.1, ..SERVER }, 20),
        ("429 above 5", Server { most: 5, jitter: 0.1, ..SERVER }, 5),
        ("jittery", Server { jitter: 0.6, ..SERVER }, MOST),
        ("very jittery", Server { jitter: 1.0, ..SERVER }, MOST),
        ("jittery, knee at 20", Server { workers: 20, jitter: 0.6, ..SERVER }, 20),
        ("slow, 5 s", Server { service: 5.0, jitter: 0.2, ..SERVER }, MOST),
    ];
    println!("| destination | best limit | auto | requests/s | of the best | p95 | its p95 | turned away |");
    println!("|---|---|---|---|---|---|---|---|");
    for (name, server, best) in kinds {
        // Some 20,000 to 80,000 requests, and several measurements of the best time.
        let seconds = if server.service > 1.0 { 2_000 } else { 100 };
        let (fixed, auto) = (simulate(server, |_| best, seconds), auto(server, seconds));
        let share = auto.throughput / fixed.throughput;
        println!(
            "| {name} | {best} | {} | {:.0} | {:.0} % | {:.0} ms | {:.0} ms | {} |",
            auto.limit,
            auto.throughput,
            share * 100.0,
            auto.p95 * 1e3,
            fixed.p95 * 1e3,
            auto.turned_away
        );
        assert!(share > 0.9, "{name}: {share}");
        assert!(auto.p95 < fixed.p95 * 2.5, "{name}: {} s", auto.p95);
        assert!(auto.limit >= best / 2 && auto.limit <= best * 2 + 4, "{name}: {}", auto.limit);
        assert!(auto.turned_away <= 60, "{name}: {}", auto.turned_away);
    }
}

#[test]
fn a_destination_that_becomes_slower_for_good_is_not_taken_for_a_queue() {
    let size = |n| NonZeroUsize::new(n).unwrap();
    let (start, mut limit) =
        (Instant::now(), AdaptiveLimit::new(ConcurrencyBounds::new(size(1), size(MOST)).unwrap()));
    let (mut now, mut lowest) = (start, usize::MAX);
    for n in 0..60_000_u64 {
        // Answers come evenly, each after as long as the destination takes now.
        let took = Duration::from_millis(if n < 20_000 { 50 } else { 200 });
        now += took / limit.current() as u32;
        limit.took(now, now - took, limit.current());
        if n > 20_000 {
            lowest = lowest.min(limit.current());
        }
    }
    assert!(lowest < MOST / 2, "it was careful at first: {lowest}");
    assert_eq!(limit.current(), MOST);
}

#[test]
fn lone_probes_say_nothing() {
    let size = |n| NonZeroUsize::new(n).unwrap();
    let (now, mut limit) =
        (Instant::now(), AdaptiveLimit::new(ConcurrencyBounds::new(size(8), size(8)).unwrap()));
    for _ in 0..1_000 {
        limit.turned_away(now, now - Duration::from_millis(1), 1);
    }
    assert_eq!(limit.current(), 8);
}

/// The whole window, with the gate that closes at each 429.
#[test]
fn with_the_gate_a_limit_of_the_destination_is_found_and_seldom_touched() {
    const SECONDS: u64 = 120;
    let size = |n| NonZeroUsize::new(n).unwrap();
    let settings = RelaySettings {
        max_concurrency: size(MOST),
        auto_concurrency: ConcurrencyBounds::new(size(1), size(MOST)),
        intake: Intake::Sliding,
        backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(60)).unwrap(),
        ..RelaySettings::default()
    };
    let mut dispatcher = Dispatcher::new(settings, Jitter::seeded(3));
    let (start, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
    dispatcher.assign(&Position { partition: partition(0), next: Offset(0) }.into(), start);
    let (mut now, mut offset, mut number) = (start, 0, 0_u64);
    let mut flying: Vec<(Instant, bool, Ticket<()>)> = Vec::new();
    while now < start + Duration::from_secs(SECONDS) {
        for _ in 0..if dispatcher.wants_more() { dispatcher.room().records } else { 0 } {
            dispatcher.admit(Record::new(partition(0), Offset(offset), 0, None, None), Target::ONLY, now);
            offset += 1;
        }
        let mut wake = None;
        while flying.len() < dispatcher.limit() {
            match dispatcher.next((), now, wall) {
                Next::Send(ticket) => {
                    number += 1;
                    let accepted = flying.iter().filter(|(_, accepted, _)| *accepted).count() < 20;
                    let millis = if accepted { 45 + number * 7 % 10 } else { 1 };
                    flying.push((now + Duration::from_millis(millis), accepted, ticket));
                }
                Next::Wait(until) => {
                    wake = until;
                    break;
                }
                Next::Finished => unreachable!("nothing ends it"),
            }
        }
        let first = (0..flying.len()).min_by_key(|n| flying[*n].0);
        match first.map(|n| flying[n].0).into_iter().chain(wake).min() {
            Some(next) => now = now.max(next),
            None => now += Duration::from_millis(1),
        }
        if let Some(n) = first.filter(|n| flying[*n].0 <= now) {
            let (_, accepted, ticket) = flying.swap_remove(n);
            let _ = dispatcher.answered(
                ticket,
                &status(if accepted { 200 } else { 429 }),
                flying.len() + 1,
                now,
                wall,
            );
        }
    }
    let totals = dispatcher.totals();
    let rate = totals.delivered / SECONDS;
    println!(
        "429 above 20, with the gate: {rate}/s of 400/s, {} pauses, limit {}",
        totals.pauses,
        dispatcher.limit()
    );
    assert!(rate > 370 && totals.pauses < 20, "{rate}/s, {} pauses", totals.pauses);
}
