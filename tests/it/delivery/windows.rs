//! Both windows in all three orders, under faults of the receiver, SIGTERM and kill -9: what is lost, sent again or
//! overtaken.

use crate::delivery::faults::Scratch;
use crate::delivery::{all_of, committed, duplicates, run, shared, start};
use crate::support::broker::Broker;
use crate::support::dice::Dice;
use crate::support::eventually;
use crate::support::output::consumed;
use crate::support::receiver::{Handled, Receiver, Reply, Request};
use sluicegate::relay::{COMMIT_INTERVAL, TICK};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KILLS: usize = 10;
/// How many records are in a batch; of so many in both windows the first takes its time.
const BATCH: usize = 500;
/// An answer is committed no later than this: the interval, the tick that notices that it is over, and what the
/// commit itself takes on a busy machine.
const COMMITTED_WITHIN: Duration =
    COMMIT_INTERVAL.saturating_add(TICK).saturating_add(Duration::from_millis(450));

/// What ten kills came to.
struct Killed {
    /// Accepted more than once.
    duplicates: usize,
    /// In flight at a kill, or answered too shortly before it to be committed for sure.
    exposed: usize,
    /// Accepted until a kill and not yet behind the watermark, if the first record of all hangs.
    beyond: usize,
}

fn number(request: &Request) -> usize {
    request.text().parse().unwrap()
}

/// Kills a run with these arguments again and again, and lets the last one come to its end. 500 a second are sent,
/// one of 500 takes its time; `hangs`: the very first gets no answer until the kills are over.
fn kill_again_and_again(topic: &str, more: &[&str], hangs: bool) -> Option<Killed> {
    let broker = shared()?;
    let count = 8_500;
    broker.produce_numbers(topic, 0, count);
    let hanging = Arc::new(AtomicBool::new(hangs));
    let hangs = Arc::clone(&hanging);
    let receiver = Receiver::start(move |request| match number(request) {
        0 if hangs.load(Ordering::SeqCst) => Reply::Silence,
        n if n % BATCH == 0 => Reply::After(Duration::from_millis(400), 204),
        _ => Reply::After(Duration::from_millis(2), 204),
    });
    let pace = ["--instance-id", "the-only-one", "--max-rate", "500/s", "--max-concurrency", "8"];
    let more = [&pace[..], more].concat();
    let mut dice = Dice::new(topic);
    let (mut kills, mut beyond) = (Vec::new(), 0);
    for _ in 0..KILLS {
        let running = start(broker, topic, &receiver.url(), &more);
        let goal = receiver.begun() + 400 + dice.below(400);
        eventually("some more requests", || receiver.begun() >= goal);
        running.kill();
        kills.push(Instant::now());
        beyond += receiver.accepted().len();
    }
    hanging.store(false, Ordering::SeqCst);
    let fast = [&more[..2], &more[4..], &["--until-end"]].concat();
    run(broker, topic, &receiver.url(), &fast).expect(0);
    assert_eq!(committed(broker, topic), count as i64);
    let handled = receiver.handled();
    let exposed = |at: &Instant| {
        let since = *at - COMMITTED_WITHIN;
        handled.iter().filter(|it| it.accepted && it.request.began <= *at && it.ended >= since).count()
    };
    let exposed = kills.iter().map(exposed).sum();
    Some(Killed { duplicates: duplicates(&all_of(&receiver, count)), exposed, beyond })
}

#[test]
fn kill_9_with_a_sliding_window_costs_what_was_under_way_and_not_the_window() {
    let more = ["--window", "sliding", "--window-size", "20000"];
    let Some(killed) = kill_again_and_again("killed-sliding", &more, true) else { return };
    let Killed { duplicates, exposed, beyond } = killed;
    println!(
        "FAULT kill -9, sliding, the first record hangs: {KILLS} runs, lost 0, duplicates {duplicates} of at most \
         {exposed} (in flight, or answered since the last commit), {beyond} done ahead of the watermark"
    );
    assert!(duplicates <= exposed, "{duplicates} duplicates, more than the {exposed} that were under way");
    assert!(exposed * 2 < beyond, "{exposed} of {beyond} prove nothing");
}

#[test]
fn kill_9_with_batches_costs_what_was_under_way() {
    let batch = BATCH.to_string();
    let Some(killed) = kill_again_and_again("killed-batch", &["--batch-size", &batch], false) else { return };
    let Killed { duplicates, exposed, .. } = killed;
    println!(
        "FAULT kill -9, batch: {KILLS} runs, lost 0, duplicates {duplicates} of at most {exposed} (in flight, or \
         answered since the last commit)"
    );
    assert!(duplicates <= exposed, "{duplicates} duplicates, more than the {exposed} that were under way");
}

const COUNT: usize = 600;

fn is_refused(n: usize) -> bool {
    n % 40 == 7
}

/// Some fail at first, each in its own way; some are refused for good.
fn fault(request: &Request) -> Reply {
    match (number(request), request.earlier) {
        (n, _) if is_refused(n) => Reply::Status(422),
        (n, 0) if n % 200 == 11 => Reply::Silence,
        (n, 0) if n % 97 == 5 => Reply::Status(429),
        (n, 0) if n % 50 == 2 => Reply::Status(503),
        (n, 0) if n % 25 == 1 => Reply::Status(500),
        _ => Reply::After(Duration::from_millis(2), 204),
    }
}

/// Requests that began before the predecessor of their record, in the same key or partition, was done.
fn order_breaks(handled: &[Handled], lane: fn(&Request) -> String) -> usize {
    let offset = |request: &Request| request.header("kafka-offset").unwrap().parse::<i64>().unwrap();
    let mut done: HashMap<String, BTreeMap<i64, Option<Instant>>> = HashMap::new();
    for it in handled {
        let known = done.entry(lane(&it.request)).or_default().entry(offset(&it.request)).or_default();
        let is_done = it.accepted || is_refused(number(&it.request));
        *known = known.or(is_done.then_some(it.ended));
    }
    let overtakes = |it: &&Handled| {
        let before = done[&lane(&it.request)].range(..offset(&it.request)).next_back();
        before.is_some_and(|(_, done)| done.is_none_or(|done| done > it.request.began))
    };
    handled.iter().filter(overtakes).count()
}

/// Where a record stands in line, for each order but `none`.
fn lane(order: &str) -> Option<fn(&Request) -> String> {
    let partition = |request: &Request| request.header("kafka-partition").unwrap().to_owned();
    let key = |request: &Request| request.header("kafka-key").unwrap().to_owned();
    match order {
        "key" => Some(key),
        "partition" => Some(partition),
        _ => None,
    }
}

/// Where refused records go.
#[derive(Clone, Copy, Debug)]
enum Letters {
    File,
    Topic,
}

fn faults_cost_nothing(window: &str, order: &str, letters: Letters) {
    let Some(broker) = shared() else { return };
    let topic = format!("faults-{window}-{order}-{letters:?}").to_lowercase();
    let records: String = (0..COUNT).map(|n| format!("key-{}|{n}\n", n % 30)).collect();
    broker.produce(&topic, &["-K", "|"], records.as_bytes());
    let receiver = Receiver::start(fault);
    let (file, dead) = (Scratch::new(&format!("{topic}.jsonl")), format!("{topic}-dead"));
    let to = match letters {
        Letters::File => file.path().to_owned(),
        Letters::Topic => {
            // It has to be there, whoever makes it.
            broker.produce(&dead, &["-p", "0"], b"0\n");
            format!("topic:{dead}")
        }
    };
    let more = ["--window", window, "--order", order, "--dead-letter", &to, "--timeout", "1s"];
    let more = [&more[..], &["--backoff", "5ms..50ms", "--batch-size", "50"]].concat();
    let running = start(broker, &topic, &receiver.url(), &more);
    eventually("half of the requests", || receiver.begun() > COUNT / 2);
    running.signal("TERM");
    running.wait().expect(0).saying("ended: delivered");
    run(broker, &topic, &receiver.url(), &[&more[..], &["--until-end"]].concat()).expect(0);
    assert_eq!(committed(broker, &topic), COUNT as i64);
    let accepted = receiver.accepted();
    let mut refused: Vec<usize> = match letters {
        Letters::File => file.lines().iter().map(|line| value(line)).collect(),
        Letters::Topic => values(broker, &dead).split_off(1),
    };
    refused.sort_unstable();
    let (due, lost): (Vec<usize>, Vec<usize>) = (
        (0..COUNT).filter(|n| is_refused(*n)).collect(),
        (0..COUNT).filter(|n| !is_refused(*n) && !accepted.contains_key(n.to_string().as_bytes())).collect(),
    );
    let again = duplicates(&accepted) + refused.len().saturating_sub(due.len());
    let kind = format!("{letters:?}").to_lowercase();
    let breaks = lane(order).map_or(0, |lane| order_breaks(&receiver.handled(), lane));
    println!(
        "FAULT {window}, order {order}, dead letters to a {kind}, 500, 503, 429, 422, timeouts and SIGTERM: 2 runs, \
         lost {}, duplicates {again}, order breaks {breaks}",
        lost.len()
    );
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(refused, due);
    assert_eq!((again, breaks), (0, 0));
}

/// The number that a dead letter is about.
fn value(line: &str) -> usize {
    let rest = line.split_once(r#""value":""#).unwrap().1;
    rest.split('"').next().unwrap().parse().unwrap()
}

/// The numbers in a topic, sorted.
fn values(broker: &Broker, topic: &str) -> Vec<usize> {
    let text = consumed(&broker.address(), topic, &["-f", "%s\\n"]);
    let mut values: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    values.sort_unstable();
    values
}

fn in_any_order(window: &str) {
    for order in ["none", "key", "partition"] {
        [Letters::File, Letters::Topic].into_iter().for_each(|to| faults_cost_nothing(window, order, to));
    }
}

#[test]
fn faults_in_batches_cost_nothing_in_any_order() {
    in_any_order("batch");
}

#[test]
fn faults_in_a_sliding_window_cost_nothing_in_any_order() {
    in_any_order("sliding");
}
