//! Who is blamed for an answer: a record that is turned away while others are accepted ends in the dead letters and
//! stops nobody, and a destination in trouble costs no record an attempt.

use crate::delivery::faults::Scratch;
use crate::delivery::{all_of, duplicates, shared};
use crate::support::binary::{self, Ended, Running};
use crate::support::broker::{Broker, free_port};
use crate::support::bucket::Bucket;
use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply, Request};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

const QUICK: [&str; 2] = ["--backoff", "5ms..50ms"];
/// What a busy machine may add to any time.
const SLACK: Duration = Duration::from_secs(3);
/// A time that is too long is measured so often before it counts: a machine is busy for a while, a fault is always there.
const MEASUREMENTS: usize = 3;
const COUNT: usize = 300;

/// Sends these lines to their end.
fn send(lines: &str, url: &str, more: &[&str]) -> Ended {
    let mut command = Command::new("bash");
    command.args(["-c", r#"exec "$@" <<< "$LINES""#, "send", &binary::path(), "send", "-", "--url", url]);
    command.args(more).env("LINES", lines);
    Running::spawn(command).wait()
}

/// A number behind `"name":` in a line of JSON.
fn field(line: &str, name: &str) -> u64 {
    let rest = line.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name} in {line}")).1;
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

#[test]
fn one_line_that_is_always_turned_away_ends_in_the_dead_letters() {
    line_becomes_a_letter(&[403, 502, 404, 401, 405, 301]);
}

#[test]
fn one_line_that_always_meets_a_limit_ends_in_the_dead_letters() {
    line_becomes_a_letter(&[429]);
}

fn line_becomes_a_letter(statuses: &[u16]) {
    for status in statuses.iter().copied() {
        let receiver =
            Receiver::start(
                move |it| {
                    if it.text() == "two" { Reply::Status(status) } else { Reply::Status(204) }
                },
            );
        let letters = Scratch::new(&format!("blame-send-{status}.jsonl"));
        let more = ["--max-concurrency", "1", "--max-attempts", "3", "--dead-letter", letters.path()];
        let began = Instant::now();
        let ended = send("one\ntwo\nthree\nfour", &receiver.url(), &[&more[..], &QUICK].concat()).expect(0);
        let accepted = receiver.accepted();
        let others = ["one", "three", "four"].map(|line| accepted.get(line.as_bytes()).copied());
        assert_eq!(others, [Some(1); 3], "{status}: {}", ended.stderr);
        let lines = letters.lines();
        let [letter] = &lines[..] else { panic!("{status}: {lines:?}\n{}", ended.stderr) };
        assert!(letter.contains(r#""value":"two""#), "{letter}");
        let (attempts, sent) = (field(letter, "attempts"), receiver.begun() - 3);
        println!(
            "BLAME send {status}: {attempts} attempts in the letter, sent {sent} times, {:.1?}",
            began.elapsed()
        );
        assert_eq!((attempts, field(letter, "status")), (sent as u64, u64::from(status)));
        assert!((3..=12).contains(&attempts), "{status}: {attempts} attempts");
        let named = format!("offset {} was answered status {status}", field(letter, "offset"));
        ended.saying(&named);
    }
}

/// A run over the shared topic of [`COUNT`] numbers, in a group of its own.
fn start(group: &str, url: &str, more: &[&str]) -> Option<Running> {
    static PRODUCED: OnceLock<()> = OnceLock::new();
    let broker = shared()?;
    PRODUCED.get_or_init(|| broker.produce_numbers("blame", 0, COUNT));
    let address = broker.address();
    let arguments = ["run", "--brokers", &address, "--topic", "blame", "--group", group, "--url", url];
    Some(binary::start(&[&arguments[..], &QUICK, more].concat()))
}

/// A receiver at which record 7 is always answered `status`.
fn biased(status: u16) -> Receiver {
    Receiver::start(move |it| match it.text() {
        "7" => Reply::After(Duration::from_millis(3), status),
        _ => Reply::After(Duration::from_millis(3), 204),
    })
}

/// From the first request to the last answer to another record than 7.
fn took(receiver: &Receiver) -> Duration {
    let handled = receiver.handled();
    let first = handled.iter().map(|it| it.request.began).min().unwrap();
    handled.iter().filter(|it| it.accepted).map(|it| it.ended).max().unwrap() - first
}

const WINDOWS: [&[&str]; 2] =
    [&["--window", "batch", "--batch-size", "100"], &["--window", "sliding", "--window-size", "100"]];

#[test]
fn one_record_that_is_always_turned_away_slows_no_other() {
    others_go_on(&[403, 502, 404, 503]);
}

#[test]
fn one_record_that_always_meets_a_limit_slows_no_other() {
    others_go_on(&[429]);
}

fn others_go_on(statuses: &[u16]) {
    for (window, status) in WINDOWS.into_iter().flat_map(|w| statuses.iter().map(move |status| (w, *status)))
    {
        for measurement in 1..=MEASUREMENTS {
            let group = format!("blame-{}-{status}-{measurement}", window[1]);
            let Some((slow, normal)) = beside(&group, window, status) else { return };
            println!("BLAME run {} {status}: others {slow:.1?}, control {normal:.1?}", window[1]);
            if slow < normal * 3 + SLACK {
                break;
            }
            assert!(measurement < MEASUREMENTS, "{} {status}: {slow:?} and {normal:?}", window[1]);
        }
    }
}

/// How long all others take beside one record that is always answered `status`, and without it.
fn beside(group: &str, window: &[&str], status: u16) -> Option<(Duration, Duration)> {
    let control = biased(204);
    let run = start(&format!("{group}-control"), &control.url(), &[window, &["--until-end"]].concat())?;
    run.wait().expect(0);
    let receiver = biased(status);
    let letters = Scratch::new(&format!("{group}-blame-run.jsonl"));
    let more = ["--until-end", "--max-attempts", "3", "--dead-letter", letters.path()];
    let ended = start(group, &receiver.url(), &[window, &more].concat())?.wait().expect(0);
    let lines = letters.lines();
    assert_eq!(lines.len(), 1, "{status}: {}", ended.stderr);
    assert_eq!((field(&lines[0], "offset"), receiver.accepted().len()), (7, COUNT - 1));
    assert_eq!(duplicates(&receiver.accepted()), 0);
    ended.saying("partition 0 offset 7 was answered");
    Some((took(&receiver), took(&control)))
}

/// How often a line of the log names the record.
fn lines_about(said: &str, offset: usize) -> Vec<&str> {
    let name = format!("offset {offset}");
    let is_named = |line: &&str| {
        line.match_indices(&name)
            .any(|(at, _)| !line[at + name.len()..].starts_with(|c: char| c.is_ascii_digit()))
    };
    said.lines().filter(is_named).collect()
}

#[test]
fn a_record_that_is_turned_away_again_and_again_is_told_once_in_a_while() {
    for (status, window) in [403, 404, 429, 503].into_iter().flat_map(|s| WINDOWS.map(|window| (s, window))) {
        let receiver = biased(status);
        let group = format!("blame-log-{}-{status}", window[1]);
        let Some(run) = start(&group, &receiver.url(), &window[..2]) else { return };
        let began = Instant::now();
        let again = || receiver.begun() - receiver.accepted().len();
        eventually("all others, and the one again and again", || {
            receiver.accepted().len() == COUNT - 1 && again() > 60
        });
        let (said, again, lasted) = (run.said(), again(), began.elapsed());
        run.signal("TERM");
        run.wait();
        let lines = lines_about(&said, 7);
        println!("LOG {} {status}: {} lines about {again} attempts in {lasted:.1?}", window[1], lines.len());
        // The pause, that it is the record, and both again each half a minute.
        // Any record may meet a rate limit once: it pauses twice.
        let most = 3 + usize::from(status == 429) + 2 * (lasted.as_secs() as usize / 30);
        assert!((1..=most).contains(&lines.len()), "{status}: {lines:#?}");
    }
}

#[test]
fn a_pause_that_lasts_is_told_once_in_a_while() {
    for status in [503, 401] {
        let receiver = Receiver::start(move |_| Reply::Status(status));
        let Some(run) = start(&format!("blame-down-{status}"), &receiver.url(), &[]) else { return };
        eventually("many probes", || receiver.begun() > 60);
        let said = run.said();
        run.signal("TERM");
        run.wait();
        let pauses = said.lines().filter(|line| line.contains("paus")).count();
        println!("LOG all {status}: {pauses} lines about {} probes", receiver.begun());
        assert!((1..=3).contains(&pauses), "{said}");
    }
}

// ---- the destination's own trouble costs nothing ----------------------------------------------------------------

const MANY: [&str; 2] = ["--max-concurrency", "16"];

/// Runs all records against this receiver with three attempts each: none may end as a letter.
fn costs_nothing(name: &str, receiver: impl Fn() -> Receiver, more: &[&str]) {
    for window in WINDOWS {
        let receiver = receiver();
        let group = format!("innocent-{name}-{}", window[1]);
        let letters = Scratch::new(&format!("{group}.jsonl"));
        let all = ["--until-end", "--max-attempts", "3", "--dead-letter", letters.path()];
        let all = [&all[..], window, more].concat();
        let Some(run) = start(&group, &receiver.url(), &all) else { return };
        let ended = run.wait().expect(0);
        let lines = letters.lines();
        println!(
            "INNOCENT {name} {}: {} requests for {COUNT} records, letters {}",
            window[1],
            receiver.begun(),
            lines.len()
        );
        assert!(lines.is_empty(), "{name} {}: {lines:#?}\n{}", window[1], ended.stderr);
        all_of(&receiver, COUNT);
    }
}

/// 204 for so many at once, else `status`.
fn overloaded(most: usize, status: u16) -> Receiver {
    let present = AtomicUsize::new(0);
    Receiver::start(move |_| {
        let others = present.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(4)); // the work
        present.fetch_sub(1, Ordering::SeqCst);
        Reply::Status(if others >= most { status } else { 204 })
    })
}

#[test]
fn an_overloaded_destination_costs_no_record_an_attempt() {
    for status in [503, 429, 502] {
        costs_nothing(&format!("overload-{status}"), || overloaded(3, status), &MANY);
    }
    costs_nothing("overload-auto", || overloaded(3, 503), &["--max-concurrency", "auto"]);
    costs_nothing("overload-one", || overloaded(1, 503), &MANY);
}

#[test]
fn a_destination_that_limits_the_rate_costs_no_record_an_attempt() {
    let after = Some(Duration::from_secs(1));
    for (name, per_second, burst, after) in
        [("rate", 100.0, 1.0, None), ("rate-burst", 100.0, 40.0, None), ("rate-after", 100.0, 40.0, after)]
    {
        let limited = || {
            let bucket = Bucket::new(per_second, burst, after);
            Receiver::start(move |_| bucket.answer())
        };
        costs_nothing(name, limited, &MANY);
    }
}

/// Answers `status` for some of the time, as this says of the time since the first request.
fn at_times(status: u16, is_down: fn(Duration) -> bool) -> Receiver {
    let began = Mutex::new(None);
    Receiver::start(move |_: &Request| {
        let began = *began.lock().unwrap().get_or_insert_with(Instant::now);
        Reply::After(Duration::from_millis(3), if is_down(began.elapsed()) { status } else { 204 })
    })
}

#[test]
fn a_destination_that_is_down_for_a_while_costs_no_record_an_attempt() {
    for status in [503, 502, 404, 401, 301] {
        let down = |since: Duration| (20..1_200).contains(&since.as_millis());
        costs_nothing(&format!("down-{status}"), || at_times(status, down), &MANY);
    }
}

#[test]
fn a_destination_that_flaps_costs_no_record_an_attempt() {
    // Not 429: a rate is what is looked for then, and there is none.
    for status in [503, 404, 401] {
        let flaps = |since: Duration| since.as_millis() % 200 >= 100;
        let few = ["--max-concurrency", "2"];
        costs_nothing(&format!("flaps-{status}"), || at_times(status, flaps), &few);
    }
}

#[test]
fn a_destination_that_flaps_as_fast_as_it_is_tried_costs_no_record_an_attempt() {
    for status in [503, 404] {
        let flaps = |since: Duration| since.as_millis() % 100 >= 50;
        costs_nothing(&format!("flutters-{status}"), || at_times(status, flaps), &MANY);
    }
}

#[test]
fn a_destination_that_is_gone_for_a_while_costs_no_record_an_attempt() {
    for window in WINDOWS {
        let port = free_port();
        let first = Receiver::start_at(port, |_| Reply::After(Duration::from_millis(5), 204));
        let group = format!("innocent-gone-{}", window[1]);
        let letters = Scratch::new(&format!("{group}.jsonl"));
        let more = ["--until-end", "--max-attempts", "3", "--dead-letter", letters.path()];
        let Some(run) = start(&group, &first.url(), &[&more[..], window].concat()) else { return };
        eventually("some requests", || first.begun() > 50);
        let accepted = {
            let accepted = first.accepted();
            drop(first);
            accepted
        };
        eventually("the pause", || run.said().contains("pausing all sending"));
        std::thread::sleep(Duration::from_secs(1)); // the outage
        let second = Receiver::start_at(port, |_| Reply::Status(204));
        let ended = run.wait().expect(0);
        let lines = letters.lines();
        assert!(lines.is_empty(), "{}: {lines:#?}\n{}", window[1], ended.stderr);
        assert!(second.accepted().len() + accepted.len() + 8 >= COUNT, "{}", ended.stderr);
    }
}

// ---- one destination, many targets ------------------------------------------------------------------------------

const OF_EACH: usize = 100;

/// Three keys in turn, one path each; `b` answers this.
fn three_tenants(group: &str, b: Reply, more: &[&str]) -> Option<(Running, Receiver)> {
    static PRODUCED: OnceLock<()> = OnceLock::new();
    let broker = shared()?;
    PRODUCED.get_or_init(|| {
        let records: String = (0..3 * OF_EACH).map(|n| format!("{}|{n}\n", ["a", "b", "c"][n % 3])).collect();
        broker.produce("tenants", &["-K", "|", "-p", "0"], records.as_bytes());
    });
    let receiver = Receiver::start(move |it| match it.line.contains("/hooks/b ") {
        true => b.clone(),
        false => Reply::After(Duration::from_millis(3), 204),
    });
    let (address, url) = (broker.address(), format!("http://{}/hooks/{{key}}", receiver.address));
    let arguments = ["run", "--brokers", &address, "--topic", "tenants", "--group", group, "--url", &url];
    Some((binary::start(&[&arguments[..], &QUICK, more].concat()), receiver))
}

/// How long all records of `a` and `c` took.
fn neighbours_take(group: &str, b: Reply, more: &[&str]) -> Option<Duration> {
    let (run, receiver) = three_tenants(group, b, more)?;
    let of_neighbours =
        || receiver.handled().iter().filter(|it| it.accepted && !it.request.line.contains("/b ")).count();
    eventually("all of a and c", || of_neighbours() == 2 * OF_EACH);
    let handled = receiver.handled();
    let first = handled.iter().map(|it| it.request.began).min().unwrap();
    let neighbours = handled.iter().filter(|it| it.accepted && !it.request.line.contains("/b "));
    let took = neighbours.map(|it| it.ended).max().unwrap() - first;
    run.signal("TERM");
    run.wait().expect(0);
    Some(took)
}

#[test]
fn one_tenants_trouble_stops_no_other_tenant() {
    neighbours_go_on(&[
        ("404", Reply::Status(404)),
        ("401", Reply::Status(401)),
        ("500", Reply::Status(500)),
    ]);
}

#[test]
fn one_tenants_limit_stops_no_other_tenant() {
    neighbours_go_on(&[("429", Reply::Status(429))]);
}

#[test]
fn one_tenants_wish_for_time_stops_no_other_tenant() {
    let later = Reply::With(503, vec!["Retry-After: 3600".into()], String::new());
    neighbours_go_on(&[("503-3600", later)]);
}

fn neighbours_go_on(replies: &[(&str, Reply)]) {
    for (window, (name, reply)) in
        ["batch", "sliding"].into_iter().flat_map(|w| replies.iter().map(move |r| (w, r)))
    {
        let more = ["--window", window];
        for measurement in 1..=MEASUREMENTS {
            let group = format!("tenants-{window}-{name}-{measurement}");
            let control = neighbours_take(&format!("{group}-control"), Reply::Status(204), &more);
            let Some(normal) = control else { return };
            let took = neighbours_take(&group, reply.clone(), &more).unwrap();
            println!("TENANTS {window} {name}: {took:.1?}, control {normal:.1?}");
            if took < normal * 3 + SLACK {
                break;
            }
            assert!(measurement < MEASUREMENTS, "{window} {name}: {took:?} and {normal:?}");
        }
    }
}

#[test]
fn a_slow_tenant_pauses_nobody() {
    let slow = Reply::After(Duration::from_millis(200), 204);
    let Some((run, receiver)) = three_tenants("tenants-slow", slow, &["--until-end"]) else { return };
    run.wait().expect(0).saying("pauses 0");
    assert_eq!(duplicates(&all_of(&receiver, 3 * OF_EACH)), 0);
}

// ---- connections and rates --------------------------------------------------------------------------------------

/// Whether it counts as turned bad: all connections that were there at request number `at`, and none that come later.
fn turns_bad(at: usize) -> impl Fn(&Request) -> bool {
    let there = Mutex::new((0, None));
    move |it| {
        let (most, bad) = &mut *there.lock().unwrap();
        *most = it.connection.max(*most);
        if it.number == at {
            *bad = Some(*most);
        }
        bad.is_some_and(|bad| it.connection <= bad)
    }
}

#[test]
fn connections_that_lead_to_a_sick_backend_are_not_kept() {
    for window in WINDOWS {
        let is_bad = turns_bad(120);
        let receiver = Receiver::start(move |it| Reply::Status(if is_bad(it) { 503 } else { 204 }));
        let group = format!("backend-{}", window[1]);
        let more = [window, &["--max-concurrency", "4", "--until-end", "--patience", "20s"]].concat();
        let Some(run) = start(&group, &receiver.url(), &more) else { return };
        run.wait().expect(0);
        assert_eq!(duplicates(&all_of(&receiver, COUNT)), 0);
    }
}

const LIMIT: f64 = 20.0;
const MEASURED: Duration = Duration::from_secs(30);
const STEADY: Duration = Duration::from_secs(20);

#[test]
fn a_limited_rate_is_met_without_tuning() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("limited", 0, 1_000);
    for measurement in 1..=MEASUREMENTS {
        let outside = limits_missed(broker, measurement);
        if outside.is_empty() {
            break;
        }
        assert!(measurement < MEASUREMENTS, "{outside:?}");
    }
}

/// Those that were turned away too often or too slow.
fn limits_missed(broker: &Broker, measurement: usize) -> Vec<(&'static str, f64, f64)> {
    let after = Some(Duration::from_secs(1));
    let variants: [(&str, Option<Duration>, &[&str]); 5] = [
        ("64", None, &["--max-concurrency", "64"]),
        ("64-sliding", None, &["--max-concurrency", "64", "--window", "sliding"]),
        ("auto", None, &["--max-concurrency", "auto"]),
        ("budget", None, &["--max-concurrency", "64", "--retry-budget", "20%"]),
        ("after", after, &["--max-concurrency", "64"]),
    ];
    let measured: Vec<(&str, f64, f64)> = std::thread::scope(|scope| {
        let measure = |(name, after, more): (&'static str, Option<Duration>, &'static [&'static str])| {
            move || {
                let bucket = Bucket::new(LIMIT, 1.0, after);
                let receiver = Receiver::start(move |_| bucket.answer());
                let (address, group, url) =
                    (broker.address(), format!("limited-{name}-{measurement}"), receiver.url());
                let run =
                    ["run", "--brokers", &address, "--topic", "limited", "--group", &group, "--url", &url];
                let run = binary::start(&[&run[..], more].concat());
                eventually("the first request", || receiver.begun() > 0);
                let began = Instant::now();
                std::thread::sleep(MEASURED); // what is measured is time
                let ended = Instant::now();
                run.signal("TERM");
                run.wait().expect(0);
                let handled = receiver.handled();
                let within =
                    |from: Instant| handled.iter().filter(move |it| it.ended >= from && it.ended <= ended);
                let away = within(began).filter(|it| !it.accepted).count();
                let share = away as f64 / within(began).count() as f64;
                let steady = within(ended - STEADY).filter(|it| it.accepted).count();
                (name, share, steady as f64 / STEADY.as_secs_f64())
            }
        };
        let threads: Vec<_> = variants.into_iter().map(|variant| scope.spawn(measure(variant))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (name, away, rate) in &measured {
        println!(
            "LIMIT 20/s {name}: {:.0} % turned away in 30 s, {rate:.1}/s in the last 20 s",
            away * 100.0
        );
    }
    // A bucket of one token has nothing to spare for a machine that has other things to do.
    let is_outside = |(_, away, rate): &(&str, f64, f64)| *away >= 0.2 || *rate <= 0.6 * LIMIT;
    measured.into_iter().filter(is_outside).collect()
}
