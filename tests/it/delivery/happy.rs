//! When nothing fails.

use crate::delivery::{all_of, committed, duplicates, run, shared, start};
use crate::support::receiver::{Receiver, Reply};
use crate::support::{LONG, binary, eventually};
use std::time::{Duration, Instant};

#[test]
fn two_at_once_and_a_breath_between_batches() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("rhythm", 0, 20);
    let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(10), 204));
    let rhythm = ["--max-concurrency", "2", "--batch-size", "2", "--batch-interval", "50ms", "--until-end"];
    run(broker, "rhythm", &receiver.url(), &rhythm).expect(0);
    assert_eq!(receiver.most_in_flight(), 2);
    let handled = receiver.handled();
    assert_eq!(handled.len(), 20);
    for (pair, next) in handled.chunks(2).zip(handled.chunks(2).skip(1)) {
        let end = pair.iter().map(|one| one.ended).max().unwrap();
        let start = next.iter().map(|one| one.request.began).min().unwrap();
        assert!(start - end >= Duration::from_millis(50), "only {:?} between two pairs", start - end);
    }
}

#[test]
fn every_record_of_four_partitions_arrives_exactly_once() {
    let Some(broker) = shared() else { return };
    const COUNT: usize = 20_000;
    let topic = format!("twenty-thousand-{}", std::process::id());
    broker.produce_spread(&topic, COUNT);
    let receiver = Receiver::accepting();
    run(broker, &topic, &receiver.url(), &["--until-end", "--max-concurrency", "16"]).expect(0);
    assert_eq!(duplicates(&all_of(&receiver, COUNT)), 0);
    assert!(receiver.most_in_flight() <= 16);
    assert_eq!(committed(broker, &topic), COUNT as i64);
    assert!(crate::delivery::states(broker, &topic).iter().all(|state| state.committed == Some(state.end)));
}

#[test]
fn codecs_may_change_from_batch_to_batch() {
    let Some(broker) = shared() else { return };
    // Each uncompressed batch before a compressed one is what the crate swallows in one fetch.
    for round in 0..10 {
        let codec = ["none", "gzip", "none", "snappy"][round % 4];
        let numbers = crate::support::broker::numbers(round * 100, 100);
        broker.produce("codecs", &["-p", "0", "-z", codec], numbers.as_bytes());
    }
    let receiver = Receiver::accepting();
    run(broker, "codecs", &receiver.url(), &["--until-end"]).expect(0);
    assert_eq!(duplicates(&all_of(&receiver, 1_000)), 0);
}

#[test]
fn any_key_and_value_arrives_byte_for_byte() {
    let Some(broker) = shared() else { return };
    broker.produce("values", &["-p", "0", "-K", "|"], b"key %|with key\n|without\n");
    broker.produce("values", &["-p", "0", "-D", "\u{1e}"], b"\x00\xff\r\n\xfe binary");
    broker.produce("values", &["-p", "0", "-D", "\u{1e}"], &vec![b'x'; 900 << 10]);
    broker.produce("values", &["-p", "0", "-K", "|", "-Z"], b"empty|\n");
    let receiver = Receiver::accepting();
    run(broker, "values", &receiver.url(), &["--until-end", "--order", "partition"]).expect(0);
    let requests: Vec<_> = receiver.handled().into_iter().map(|handled| handled.request).collect();
    assert_eq!(requests.len(), 5);
    assert_eq!((requests[0].text(), requests[0].header("kafka-key")), ("with key", Some("key%20%25")));
    // kcat's word for a line without a key is an empty one; the kafka crate can't tell it from none.
    assert_eq!((requests[1].text(), requests[1].header("kafka-key").unwrap_or_default()), ("without", ""));
    assert_eq!(requests[2].body, b"\x00\xff\r\n\xfe binary");
    assert_eq!(requests[3].body.len(), 900 << 10);
    assert_eq!((requests[4].body.len(), requests[4].header("kafka-key")), (0, Some("empty")));
    assert_eq!(requests[0].line, "POST /hook HTTP/1.1");
    let timestamp = requests[4].header("kafka-timestamp").unwrap_or("0");
    assert_eq!(requests[4].id(), format!("values-0-4-{timestamp}"));
    // "with key" is no JSON.
    assert_eq!(requests[0].header("content-type"), Some("application/octet-stream"));
}

#[test]
fn the_operators_headers_and_credentials_are_sent() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("headers", 0, 1);
    let receiver = Receiver::accepting();
    let url = receiver.url().replace("http://", "http://user:pass@");
    let more = ["--until-end", "--header", "X-Key: a b", "--content-type", "text/plain"];
    let ended = run(broker, "headers", &url, &more).expect(0);
    assert!(!ended.stderr.contains("pass"), "{}", ended.stderr);
    let request = &receiver.handled()[0].request;
    assert_eq!(request.header("x-key"), Some("a b"));
    assert_eq!(request.header("content-type"), Some("text/plain"));
    assert_eq!(request.header("authorization"), Some("Basic dXNlcjpwYXNz"));
}

#[test]
fn order_is_kept_where_it_is_asked_for() {
    let Some(broker) = shared() else { return };
    let records: String = (0..500).map(|n| format!("{}|{n}\n", n % 7)).collect();
    broker.produce("order", &["-p", "0", "-K", "|"], records.as_bytes());
    let receiver = Receiver::start(|request| {
        // Some fail at first, so that there is something to overtake.
        let fails = request.earlier == 0 && request.number % 5 == 0;
        Reply::Status(if fails { 500 } else { 204 })
    });
    run(broker, "order", &receiver.url(), &["--until-end", "--order", "key", "--backoff", "1ms..5ms"])
        .expect(0);
    let mut last = std::collections::HashMap::new();
    for handled in receiver.handled().into_iter().filter(|handled| handled.accepted) {
        let number: usize = handled.request.text().parse().unwrap();
        let key = handled.request.header("kafka-key").unwrap().to_owned();
        let before = last.insert(key, number);
        assert!(before.is_none_or(|before| before < number), "{number} came after {before:?}");
    }
    assert_eq!(duplicates(&all_of(&receiver, 500)), 0);
}

#[test]
fn partitions_can_be_split_by_hand() {
    let Some(broker) = shared() else { return };
    broker.produce_spread("split", 2_000);
    let receiver = Receiver::accepting();
    run(broker, "split", &receiver.url(), &["--until-end", "--partitions", "0,2"]).expect(0);
    let first = receiver.handled().len();
    assert!(first > 0 && first < 2_000);
    run(broker, "split", &receiver.url(), &["--until-end", "--partitions", "1,3"]).expect(0);
    assert_eq!(duplicates(&all_of(&receiver, 2_000)), 0);
}

#[test]
fn latest_begins_with_what_comes_from_now_on() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("latest", 0, 50);
    let receiver = Receiver::accepting();
    run(broker, "latest", &receiver.url(), &["--start", "latest", "--until-end"]).expect(0);
    assert_eq!(receiver.begun(), 0);
}

#[test]
fn idle_costs_next_to_nothing_and_a_record_goes_out_at_once() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("idle", 0, 1);
    let receiver = Receiver::accepting();
    let running = start(broker, "idle", &receiver.url(), &[]);
    eventually("the first record", || receiver.begun() == 1);
    // Below 1 % of a core in an optimised build; this one may be unoptimised.
    let most = if cfg!(debug_assertions) { 10 } else { 5 };
    // A machine is busy for a while, a fault is always there.
    for measurement in 1..=3 {
        let before = cpu_ticks(running.pid());
        std::thread::sleep(Duration::from_secs(5)); // what is measured is idleness
        let used = cpu_ticks(running.pid()) - before;
        let mut slowest = Duration::ZERO;
        for _ in 0..5 {
            // kcat itself takes a moment; what counts is the time since the broker had the record.
            let begun = receiver.begun();
            broker.produce_numbers("idle", begun, 1);
            let produced = Instant::now();
            eventually("the next record", || receiver.begun() > begun);
            slowest = slowest.max(produced.elapsed());
        }
        println!("idle: {used} of 500 ticks of CPU time, a record was on its way within {slowest:?}");
        if used <= most && slowest < Duration::from_millis(100) {
            break;
        }
        assert!(measurement < 3, "{used} ticks of 500, {slowest:?}");
    }
}

/// User and system time in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn check_says_how_things_stand_and_touches_nothing() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("checked", 0, 7);
    let receiver = Receiver::accepting();
    let address = broker.address();
    let url = receiver.url();
    let common = ["check", "--brokers", &address, "--topic", "checked", "--group", "checked"];
    let ended = binary::run(&[&common[..], &["--url", &url]].concat()).expect(0);
    assert!(ended.stdout.contains("topic checked partition 0: holds offsets 0 to 7"), "{}", ended.stdout);
    assert!(ended.stdout.contains("ok     webhook"), "{}", ended.stdout);
    assert_eq!(receiver.begun(), 0);
    assert!(crate::delivery::states(broker, "checked").iter().all(|state| state.committed.is_none()));
    let ended = binary::run(&[&common[..], &["--url", "http://127.0.0.1:1/"]].concat()).expect(1);
    assert!(ended.stdout.contains("WRONG  webhook"), "{}", ended.stdout);
    let ended = binary::run(&[&common[..], &["--topic", "nowhere", "--url", &url]].concat()).expect(1);
    assert!(ended.stdout.contains("'nowhere' does not exist"), "{}", ended.stdout);
}

#[test]
fn the_demo_ends_by_itself_and_shows_both_scenes() {
    let ended = binary::start(&["demo"]).wait_for(LONG).expect(0);
    for text in [
        "Worker 1: Waiting to acquire semaphore",
        "Worker 2: Semaphore acquired, running",
        "Worker 1: Semaphore released",
        "Waiting for batch interval...",
        "All workers have completed",
        "10 delivered, at most 2 in flight, 4 pauses",
        "through sluicegate, 16 at once",
    ] {
        assert!(ended.stdout.contains(text), "{text}:\n{}", ended.stdout);
    }
    assert!(!ended.stdout.contains('\x1b'), "no colour into a pipe");
    let delivered = ended.stdout.lines().find(|line| line.trim_start().starts_with("delivered ")).unwrap();
    assert!(delivered.ends_with(" 400"), "{delivered}");
    binary::run(&["demo", "--events", "6", "--max-concurrency", "3", "--delay", "1ms"]).expect(0);
}
