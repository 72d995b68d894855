//! Who is blamed when records are turned away, the record or the destination; on the pure dispatcher, in virtual time.

use crate::relay::double::partition;
use sluicegate::record::{Offset, Position, Record};
use sluicegate::relay::dispatcher::{Dispatcher, Next, Ticket};
use sluicegate::relay::event::Change;
use sluicegate::relay::settings::{Intake, OnRejection, RelaySettings};
use sluicegate::relay::transport::{Answer, SendError, SendErrorKind, Target};
use sluicegate::timing::backoff::Backoff;
use sluicegate::timing::jitter::Jitter;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant, SystemTime};

const LATENCY: Duration = Duration::from_millis(5);
const POISON: i64 = 1;

type Outcome = Result<Answer, SendError>;

fn status(status: u16) -> Outcome {
    Ok(Answer { status, ..Answer::default() })
}

fn settings(concurrency: usize) -> RelaySettings {
    RelaySettings {
        max_concurrency: NonZeroUsize::new(concurrency).unwrap(),
        intake: Intake::Sliding,
        max_attempts: NonZeroU32::new(3),
        on_rejection: OnRejection::DeadLetter,
        backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(60)).unwrap(),
        ..RelaySettings::default()
    }
}

/// What came of a run.
#[derive(Debug, Default)]
struct Run {
    delivered: usize,
    sent: usize,
    turned_away: usize,
    /// Offset and attempts of each dead letter.
    letters: Vec<(i64, u32)>,
    suspects: Vec<i64>,
    took: Duration,
}

/// Sends `records` records to a receiver that is asked when a request arrives, until all are done or `most` is over.
fn run(
    settings: RelaySettings,
    records: i64,
    most: Duration,
    target: impl Fn(i64) -> Target,
    receiver: impl FnMut(i64, Duration) -> Outcome,
) -> Run {
    run_with_stalls(settings, records, most, target, || Duration::ZERO, receiver)
}

/// The same on a machine that stalls for this long after each event.
fn run_with_stalls(
    settings: RelaySettings,
    records: i64,
    most: Duration,
    target: impl Fn(i64) -> Target,
    mut stall: impl FnMut() -> Duration,
    mut receiver: impl FnMut(i64, Duration) -> Outcome,
) -> Run {
    let concurrency = settings.max_concurrency.get();
    let (start, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
    let mut dispatcher = Dispatcher::new(settings, Jitter::seeded(7));
    dispatcher.assign(&Position { partition: partition(0), next: Offset(0) }.into(), start);
    let (mut now, mut next, mut run) = (start, 0, Run::default());
    let mut flying: Vec<(Instant, Ticket<()>, Outcome)> = Vec::new();
    while now < start + most && (next < records || !dispatcher.is_empty()) {
        while next < records && dispatcher.room().records > 0 {
            let key = next.to_be_bytes();
            let record = Record::new(partition(0), Offset(next), 0, Some(&key), Some(b"v"));
            dispatcher.admit(record, target(next), now);
            next += 1;
        }
        let mut wake = None;
        while flying.len() < concurrency {
            match dispatcher.next((), now, wall) {
                Next::Send(ticket) => {
                    let outcome = receiver(ticket.record().offset().0, now - start);
                    run.sent += 1;
                    run.turned_away += usize::from(!matches!(&outcome, Ok(answer) if answer.status == 200));
                    flying.push((now + LATENCY, ticket, outcome));
                }
                Next::Wait(until) => {
                    wake = until;
                    break;
                }
                Next::Finished => break,
            }
        }
        let first = (0..flying.len()).min_by_key(|n| flying[*n].0);
        let at = first.map(|n| flying[n].0).into_iter().chain(wake).min();
        now = at.unwrap_or(now + Duration::from_millis(10)).max(now) + stall();
        if let Some(n) = first.filter(|n| flying[*n].0 <= now) {
            let (_, ticket, outcome) = flying.swap_remove(n);
            let in_flight = flying.len() + 1;
            let _ = dispatcher.answered(ticket, &outcome, in_flight, now, wall);
        }
        let letters = dispatcher.take_dead_letters();
        run.letters.extend(letters.iter().map(|l| (l.letter.record.offset().0, l.letter.rejection.attempts)));
        dispatcher.kept(&letters);
        while let Some(change) = dispatcher.take_change() {
            if let Change::Suspected { offset, .. } = change {
                run.suspects.push(offset.0);
            }
        }
    }
    run.delivered = dispatcher.totals().delivered as usize;
    run.took = now - start;
    run
}

const MINUTE: Duration = Duration::from_secs(60);

fn only(_: i64) -> Target {
    Target::ONLY
}

#[test]
fn a_record_that_is_turned_away_while_others_are_accepted_ends_in_the_dead_letters() {
    for code in [401, 403, 404, 405, 301, 407, 429, 502, 503, 504] {
        let run = run(settings(1), 4, MINUTE, only, |n, _| status(if n == POISON { code } else { 200 }));
        assert_eq!(run.delivered, 3, "{code}: {run:?}");
        assert_eq!(run.letters.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [POISON], "{code}: {run:?}");
        assert_eq!(run.suspects, [POISON], "{code}");
        assert!(run.letters[0].1 <= if code == 429 { 5 } else { 4 }, "{code}: attempts {run:?}");
    }
}

#[test]
fn the_others_flow_on_while_one_record_is_turned_away() {
    const RECORDS: i64 = 20_000;
    let healthy = run(settings(8), RECORDS, 10 * MINUTE, only, |_, _| status(200));
    for code in [403, 404, 429, 503] {
        let poisoned =
            run(settings(8), RECORDS, 10 * MINUTE, only, |n, _| status(if n == POISON { code } else { 200 }));
        assert_eq!((poisoned.delivered, poisoned.letters.len()), (RECORDS as usize - 1, 1), "{code}");
        let slower = poisoned.took.as_secs_f64() / healthy.took.as_secs_f64();
        println!("one record is always answered {code}: {slower:.2} times the time");
        assert!(slower < 1.6, "{code}: {slower}");
    }
}

#[test]
fn a_long_wish_of_one_record_stops_nobody_else() {
    let retry_after = Some(Duration::from_secs(3_600));
    let run = run(settings(4), 500, 60 * MINUTE, only, |n, _| match n {
        POISON => Ok(Answer { status: 503, retry_after, excerpt: String::new() }),
        _ => status(200),
    });
    assert_eq!((run.delivered, run.letters.len()), (499, 1), "{run:?}");
}

#[test]
fn a_destination_that_turns_everybody_away_alike_costs_no_record_an_attempt() {
    type Kind = (&'static str, fn(Duration) -> bool, fn() -> Outcome);
    let no_connection = || Err(SendError { kind: SendErrorKind::Connect, text: "refused".into() });
    let kinds: [Kind; 4] = [
        ("away for 5 s a minute", |at| at.as_secs() % 60 < 5, no_connection),
        ("503 for 10 s a minute", |at| at.as_secs() % 60 < 10, || status(503)),
        ("401 for 10 s a minute", |at| at.as_secs() % 60 >= 50, || status(401)),
        ("502 every other second", |at| at.as_secs() % 2 == 1, || status(502)),
    ];
    for (name, is_down, answer) in kinds {
        for concurrency in [1, 16] {
            let run = run(settings(concurrency), 10_000, 60 * MINUTE, only, |_, at| {
                if is_down(at) { answer() } else { status(200) }
            });
            let outcome = (run.delivered, &run.letters[..]);
            assert_eq!(outcome, (10_000, &[][..]), "{name} with {concurrency}: {:?}", run.took);
        }
    }
}

/// Stalls of up to `longest` after one event of ten.
fn stalls(seed: u64, longest: Duration) -> impl FnMut() -> Duration {
    let mut jitter = Jitter::seeded(seed);
    move || match jitter.up_to(Duration::from_secs(10)) < Duration::from_secs(1) {
        true => jitter.up_to(longest),
        false => Duration::ZERO,
    }
}

#[test]
fn a_destination_that_flaps_costs_no_record_an_attempt_on_a_machine_that_stalls() {
    let quick = Backoff::new(Duration::from_millis(5), Duration::from_millis(50)).unwrap();
    let (mut refused, mut suspects) = (Vec::new(), 0);
    for seed in 0..100 {
        for code in [401, 404, 503] {
            for (concurrency, flap) in [(2, 100), (16, 50)] {
                let settings = RelaySettings { backoff: quick, ..settings(concurrency) };
                let stalls = stalls(seed, Duration::from_millis(200));
                let run = run_with_stalls(settings, 300, MINUTE, only, stalls, |_, at| {
                    status(if at.as_millis() / flap % 2 == 1 { code } else { 200 })
                });
                suspects += run.suspects.len();
                refused.extend(run.letters.iter().map(|letter| (seed, code, flap, *letter)));
                assert_eq!(run.delivered + run.letters.len(), 300, "{code}, seed {seed}: {run:?}");
            }
        }
    }
    assert!(suspects > 1_000, "what nobody is suspected of proves nothing");
    assert_eq!(refused, [], "with {suspects} suspects");
}

#[test]
fn a_record_that_is_always_turned_away_ends_also_on_a_machine_that_stalls() {
    for (seed, code) in (0..20).flat_map(|seed| [404, 429, 503].map(|code| (seed, code))) {
        let stalls = stalls(seed, Duration::from_millis(500));
        let run = run_with_stalls(settings(4), 2_000, 10 * MINUTE, only, stalls, |n, _| {
            status(if n == POISON { code } else { 200 })
        });
        assert_eq!((run.delivered, run.letters.len()), (1_999, 1), "{code}, seed {seed}: {run:?}");
    }
}

/// A token bucket.
fn bucket(rate: f64, burst: f64) -> impl FnMut(Duration) -> bool {
    let (mut tokens, mut last) = (burst, Duration::ZERO);
    move |at| {
        tokens = (tokens + (at - last).as_secs_f64() * rate).min(burst);
        last = at;
        let accepts = tokens >= 1.0;
        tokens -= f64::from(u8::from(accepts));
        accepts
    }
}

#[test]
fn a_rate_limit_is_met_seldom_used_well_and_costs_no_attempt() {
    for retry_after in [None, Some(Duration::from_secs(1))] {
        for (rate, burst, concurrency) in [(20.0, 1.0, 64), (20.0, 1.0, 1), (20.0, 20.0, 64), (1.0, 1.0, 64)]
        {
            let mut bucket = bucket(rate, burst);
            let time = 2 * MINUTE;
            let run = run(settings(concurrency), 100_000, time, only, |_, at| match bucket(at) {
                true => status(200),
                false => Ok(Answer { status: 429, retry_after, excerpt: String::new() }),
            });
            let used = run.delivered as f64 / time.as_secs_f64() / rate;
            // Those that go out together are turned away together, before anything is known.
            let away = run.turned_away.saturating_sub(concurrency) as f64 / run.sent as f64;
            println!(
                "{rate}/s, burst {burst}, {concurrency} at once, {retry_after:?}: used {used:.2}, away {away:.2}"
            );
            assert_eq!(run.letters, []);
            if rate <= 1.0 && retry_after.is_some() {
                // A wait as long as the time for one request leaves half of the time unused.
                continue;
            }
            // At a request a second, two minutes are little to find out more.
            let enough = if rate > 1.0 { 0.7 } else { 0.6 };
            assert!(used > enough && away < 0.2, "{run:?}");
        }
    }
}

#[test]
fn a_tenant_in_trouble_stops_no_other() {
    let tenant = |n: i64| Target(n.rem_euclid(3) as u64 + 1);
    for code in [404, 401, 429, 503] {
        let retry_after = (code == 503).then_some(Duration::from_secs(3_600));
        let run = run(settings(4), 900, MINUTE, tenant, |n, _| match tenant(n) {
            Target(2) => Ok(Answer { status: code, retry_after, excerpt: String::new() }),
            _ => status(200),
        });
        // The partition is one window ahead of the first record of the tenant that is down.
        assert_eq!(run.delivered, 600, "{code}: {run:?}");
    }
}
