//! What limits the pace, counted where it matters: at the receiver.
//!
//! For figures of `--max-concurrency auto`, with an optimised binary:
//! `SLUICEGATE_PACE=10 SLUICEGATE_BIN=target/release/sluicegate cargo test --all-features --test delivery auto --
//! --nocapture`.

use crate::delivery::faults::Scratch;
use crate::delivery::{all_of, committed, duplicates, run, shared, start};
use crate::support::receiver::{Handled, Receiver, Reply, Request};
use crate::support::{binary, eventually};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// The most requests that began within any such time.
fn most_within(span: Duration, handled: &[Handled]) -> usize {
    let mut begun: Vec<Instant> = handled.iter().map(|it| it.request.began).collect();
    begun.sort_unstable();
    let within = |(at, from): (usize, &Instant)| begun[at..].partition_point(|it| *it < *from + span);
    begun.iter().enumerate().map(within).max().unwrap_or(0)
}

fn fails_at_first(request: &Request) -> Reply {
    Reply::Status(if request.earlier == 0 && request.number.is_multiple_of(10) { 500 } else { 204 })
}

#[test]
fn no_second_has_more_attempts_than_the_rate_retries_included() {
    let Some(broker) = shared() else { return };
    for window in ["batch", "sliding"] {
        let topic = format!("rate-{window}");
        broker.produce_numbers(&topic, 0, 550);
        let receiver = Receiver::start(fails_at_first);
        let more = ["--until-end", "--max-rate", "200/s", "--max-concurrency", "16", "--window", window];
        let more = [&more[..], &["--backoff", "5ms..50ms"]].concat();
        run(broker, &topic, &receiver.url(), &more).expect(0);
        assert_eq!(duplicates(&all_of(&receiver, 550)), 0);
        let handled = receiver.handled();
        let took = handled.iter().map(|it| it.request.began).max().unwrap()
            - handled.iter().map(|it| it.request.began).min().unwrap();
        let (most, mean) = (most_within(SECOND, &handled), handled.len() as f64 / took.as_secs_f64());
        println!(
            "RATE {window}: {} attempts at {mean:.0}/s, at most {most} in a second of 200",
            handled.len()
        );
        assert!(handled.len() > 590, "there were retries");
        // The burst, and what a busy machine holds up and lets go at once.
        assert!(most <= 200 + 20 + 10, "{most} in a second");
        assert!(mean <= 200.0 + 20.0 && mean > 140.0, "{mean} a second");
    }
}

#[test]
fn the_retry_budget_holds_while_half_of_the_answers_are_failures() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("budget", 0, 2_000);
    let receiver = Receiver::start(|it| Reply::Status(if it.number % 2 == 0 { 500 } else { 204 }));
    let pace =
        ["--max-rate", "250/s", "--window", "sliding", "--window-size", "2000", "--backoff", "1ms..5ms"];
    let budget = [&pace[..], &["--retry-budget", "20%"]].concat();
    let running = start(broker, "budget", &receiver.url(), &budget);
    eventually("a thousand attempts", || receiver.begun() > 1_000);
    running.signal("TERM");
    running.wait().expect(0);
    let attempts = receiver.begun();
    let retries = receiver.handled().iter().filter(|it| it.request.earlier > 0).count();
    println!("RETRY BUDGET 20%: {retries} of {attempts} attempts were retries");
    // Beside its share there is one retry a second over ten seconds.
    assert!(retries <= attempts / 5 + 10, "{retries} of {attempts}");
    assert!(retries >= attempts / 10, "{retries} of {attempts}: it kept back more than it had to");
    run(broker, "budget", &receiver.url(), &["--until-end", "--backoff", "1ms..5ms"]).expect(0);
    assert_eq!(duplicates(&all_of(&receiver, 2_000)), 0);
}

#[test]
fn one_refused_record_too_many_ends_the_run_and_is_not_committed_past() {
    let Some(broker) = shared() else { return };
    for window in ["batch", "sliding"] {
        let topic = format!("threshold-{window}");
        broker.produce_numbers(&topic, 0, 200);
        let refuses = |it: &Request| Reply::Status(if it.text().ends_with('3') { 422 } else { 204 });
        let receiver = Receiver::start(refuses);
        let letters = Scratch::new(&format!("{topic}.jsonl"));
        let more = ["--until-end", "--dead-letter", letters.path(), "--max-refused", "5/1h"];
        let more = [&more[..], &["--order", "partition", "--window", window]].concat();
        run(broker, &topic, &receiver.url(), &more).expect(3).saying("--max-refused").saying("offset 53");
        assert_eq!(committed(broker, &topic), 53, "up to the sixth, and not past it");
        let lines = letters.lines();
        let tells = |(n, line): (usize, &String)| line.contains(&format!(r#""offset":{},"#, n * 10 + 3));
        assert!(lines.len() == 5 && lines.iter().enumerate().all(tells), "{lines:#?}");
        // It is not forgotten by a restart: what was refused is asked for again.
        run(broker, &topic, &receiver.url(), &more).expect(3).saying("offset 103");
        assert_eq!(committed(broker, &topic), 103);
    }
}

/// A destination that works on so many requests at once, each taking [`Slots::TAKES`]; others wait in line, or are
/// turned away where there are more than `most`.
struct Slots {
    free: Mutex<usize>,
    freed: Condvar,
    present: Mutex<usize>,
    most: usize,
}

impl Slots {
    const COUNT: usize = 8;
    const TAKES: Duration = Duration::from_millis(10);

    fn new(most: usize) -> Self {
        let (free, present) = (Mutex::new(Self::COUNT), Mutex::new(0));
        Self { free, freed: Condvar::new(), present, most }
    }

    fn serve(&self) -> Reply {
        {
            let mut present = self.present.lock().unwrap();
            if *present >= self.most {
                return Reply::Status(429);
            }
            *present += 1;
        }
        let mut free = self.freed.wait_while(self.free.lock().unwrap(), |free| *free == 0).unwrap();
        *free -= 1;
        drop(free);
        std::thread::sleep(Self::TAKES); // the work
        *self.free.lock().unwrap() += 1;
        self.freed.notify_one();
        *self.present.lock().unwrap() -= 1;
        Reply::Status(204)
    }
}

/// What a limit came to.
struct Taken {
    accepted_a_second: f64,
    turned_away: usize,
    p95: Duration,
}

/// Sends for so long with this limit; the first third of the time does not count.
fn send_for(seconds: f64, limit: &str, most: usize) -> Option<Taken> {
    let broker = shared()?;
    let slots = Arc::new(Slots::new(most));
    let receiver = Receiver::start(move |_| slots.serve());
    let (address, url, group) = (broker.address(), receiver.url(), format!("slots-{most}-{limit}"));
    let source = ["run", "--brokers", &address, "--topic", "slots", "--group", &group, "--url", &url];
    let more = ["--window", "sliding", "--max-concurrency", limit, "--backoff", "20ms..1s"];
    let running = binary::start(&[&source[..], &more].concat());
    eventually("the first request", || receiver.begun() > 0);
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs_f64(seconds)); // what is measured is time
    let ended = Instant::now();
    running.signal("TERM");
    running.wait().expect(0);
    let from = begun + (ended - begun) / 3;
    let handled = receiver.handled();
    let within = || handled.iter().filter(|it| it.ended >= from && it.ended <= ended);
    let mut times: Vec<Duration> =
        within().filter(|it| it.accepted).map(|it| it.ended - it.request.began).collect();
    times.sort_unstable();
    let p95 = times.get(times.len() * 95 / 100).copied().unwrap_or_default();
    let accepted_a_second = times.len() as f64 / (ended - from).as_secs_f64();
    Some(Taken { accepted_a_second, turned_away: within().count() - times.len(), p95 })
}

#[test]
fn auto_finds_the_knee_of_a_real_receiver() {
    let long = std::env::var("SLUICEGATE_PACE").ok().map(|seconds| seconds.parse::<f64>().unwrap());
    let (seconds, limits): (f64, &[&str]) =
        long.map_or((2.0, &["4", "64", "auto"]), |long| (long, &["1", "4", "16", "64", "auto"]));
    let Some(broker) = shared() else { return };
    broker.produce_spread("slots", (1_200.0 * seconds) as usize / 4 * 4);
    println!("| receiver | limit | accepted a second | turned away | p95 |\n|---|---|---|---|---|",);
    for (most, name) in [(usize::MAX, "8 slots, a queue"), (16, "8 slots, 429 above 16")] {
        let mut taken = Vec::new();
        for limit in limits {
            let Some(one) = send_for(seconds, limit, most) else { return };
            let Taken { accepted_a_second, turned_away, p95 } = &one;
            println!("| {name} | {limit} | {accepted_a_second:.0} | {turned_away} | {p95:.1?} |");
            taken.push(one);
        }
        let best = taken.iter().map(|one| one.accepted_a_second).fold(0.0, f64::max);
        let [.., most_at_once, auto] = &taken[..] else { unreachable!() };
        assert!(auto.accepted_a_second > 0.5 * best, "{name}");
        if most == usize::MAX {
            assert!(auto.p95 < most_at_once.p95 / 2, "{name}: {:?} and {:?}", auto.p95, most_at_once.p95);
        }
    }
}
