//! Kills, signals and brokers that come and go: nothing may be lost.

use crate::delivery::version;
use crate::delivery::{all_of, arguments, committed, duplicates, run, shared, start};
use crate::support::broker::{Broker, NEW};
use crate::support::receiver::{Receiver, Reply};
use crate::support::{binary, eventually};
use sluicegate::kafka::cluster::Address;
use sluicegate::kafka::connection::{Connector, ConnectorSettings};
use sluicegate::timing::jitter::Jitter;
use std::time::Duration;

const COUNT: usize = 6_000;
const BATCH: usize = 100;

/// Waits until some more requests have come, how many is drawn; or until all have, which a slow machine may bring
/// about before the signal that was to come between.
fn some_more(receiver: &Receiver, jitter: &mut Jitter) {
    let goal = receiver.begun() + 20 + (jitter.up_to(Duration::from_micros(180)).as_micros() as usize);
    eventually("some more requests", || receiver.begun() >= goal.min(COUNT));
}

fn slow_receiver() -> Receiver {
    Receiver::start(|_| Reply::After(Duration::from_millis(1), 204))
}

/// A killed member of a group is missed for the session timeout; a static one takes its place again at once.
fn static_member() -> &'static [&'static str] {
    if version() == NEW { &["--instance-id", "the-only-one"] } else { &[] }
}

#[test]
fn kill_9_at_ten_random_points_loses_nothing() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("killed", 0, COUNT);
    let receiver = slow_receiver();
    let mut jitter = Jitter::new();
    let batch = BATCH.to_string();
    let more = [static_member(), &["--batch-size", &batch, "--until-end"]].concat();
    let kills = 10;
    for _ in 0..kills {
        let running = start(broker, "killed", &receiver.url(), &more);
        some_more(&receiver, &mut jitter);
        running.kill();
    }
    run(broker, "killed", &receiver.url(), &more).expect(0);
    let twice = duplicates(&all_of(&receiver, COUNT));
    println!("FAULT kill -9: {kills} runs, lost 0, duplicates {twice}");
    assert!(twice <= kills * BATCH, "{twice} duplicates, more than the uncommitted batches");
    assert_eq!(committed(broker, "killed"), COUNT as i64);
}

#[test]
fn sigterm_at_random_points_loses_nothing_and_sends_nothing_twice() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("drained", 0, COUNT);
    let receiver = slow_receiver();
    let mut jitter = Jitter::new();
    let runs = 10;
    for n in 0..runs {
        let running = start(broker, "drained", &receiver.url(), &[]);
        some_more(&receiver, &mut jitter);
        running.signal(if n % 2 == 0 { "TERM" } else { "INT" });
        running.wait().expect(0).saying("ended: delivered");
    }
    run(broker, "drained", &receiver.url(), &["--until-end"]).expect(0);
    let twice = duplicates(&all_of(&receiver, COUNT));
    println!("FAULT SIGTERM/SIGINT: {runs} runs, lost 0, duplicates {twice}");
    assert_eq!(twice, 0);
}

#[test]
fn a_second_signal_ends_at_once_with_nothing_more_committed() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("impatient", 0, 10);
    let receiver = Receiver::start(|_| Reply::After(Duration::from_secs(5), 204));
    let running = start(broker, "impatient", &receiver.url(), &[]);
    eventually("a request in flight", || receiver.begun() > 0);
    running.signal("TERM");
    running.signal("INT");
    // The two may be taken for one when they come together: a third is no harm.
    let mut running = running;
    eventually("the end", || {
        let ended = running.has_ended();
        if !ended {
            running.signal("TERM");
        }
        ended
    });
    running.wait_for(Duration::from_secs(2)).expect(1);
    assert_eq!(committed(broker, "impatient"), 0);
}

#[test]
fn a_broker_that_stops_and_comes_back_costs_nothing() {
    let Some(mut broker) = Broker::start(version()) else { return };
    broker.produce_numbers("restarts", 0, COUNT);
    let receiver = slow_receiver();
    let (address, url) = (broker.address(), receiver.url());
    let running = binary::start(&arguments(&address, "restarts", &url, &["--batch-size", "50"]));
    eventually("some requests", || receiver.begun() > 100);
    broker.kill();
    broker.boot();
    broker.produce_numbers("restarts", COUNT, COUNT);
    eventually("all requests", || receiver.begun() >= 2 * COUNT);
    eventually("the last commit", || committed(&broker, "restarts") == 2 * COUNT as i64);
    running.signal("TERM");
    running.wait().expect(0);
    let twice = duplicates(&all_of(&receiver, 2 * COUNT));
    println!("FAULT broker killed and restarted: 1 run, lost 0, duplicates {twice}");
}

#[test]
fn a_broker_that_is_not_there_yet_is_waited_for() {
    let Some(mut broker) = Broker::stopped(version()) else { return };
    let receiver = Receiver::accepting();
    let (address, url) = (broker.address(), receiver.url());
    let topic = "late";
    let running = binary::start(&arguments(&address, topic, &url, &[]));
    // The topic comes with the broker: without it the run would end.
    broker.boot();
    let ended_or_delivered = {
        let mut running = running;
        broker.produce_numbers(topic, 0, 10);
        eventually("the records", || receiver.begun() == 10 || running.has_ended());
        running
    };
    if receiver.begun() == 10 {
        ended_or_delivered.signal("TERM");
        ended_or_delivered.wait().expect(0).saying("can't be reached");
    } else {
        // It was faster than the producer and found no topic: said so, and the next run delivers.
        ended_or_delivered.wait().expect(1).saying("can't be reached").saying("does not exist");
        run(&broker, topic, &url, &["--until-end"]).expect(0);
    }
    all_of(&receiver, 10);
}

#[test]
fn a_broker_that_is_too_new_is_told_at_start() {
    let Some(broker) = Broker::start(NEW) else { return };
    let receiver = Receiver::accepting();
    let ended = run(&broker, "any", &receiver.url(), &["--kafka-client", "kafka-crate"]).expect(1);
    ended.saying("too new for the kafka crate").saying("Kafka 4.0 dropped");
}

#[test]
fn a_port_that_speaks_something_else_is_told_at_start() {
    let http = Receiver::start(|_| Reply::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    let impostor = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = impostor.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in impostor.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let url = http.url();
    let words =
        if version() == NEW { "does not answer like a Kafka listener" } else { "does not speak Kafka" };
    binary::run(&arguments(&address, "any", &url, &[])).expect(1).saying(words);
}

#[test]
fn an_unknown_topic_or_partition_is_told_at_start() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("known", 0, 1);
    let receiver = Receiver::accepting();
    run(broker, "unknown", &receiver.url(), &[])
        .expect(1)
        .saying("'unknown' does not exist")
        .saying("or create it");
    let ended = run(broker, "known", &receiver.url(), &["--partitions", "9"]);
    ended.expect(1).saying("has no partition 9");
}

/// Commits a position for the group that is named like the topic.
fn commit_by_hand(broker: &Broker, topic: &str, next: i64) {
    use sluicegate::kafka::config::{Config, Share};
    use sluicegate::kafka::consumer::{Consumer, ConsumerEvent, MaxPoll};
    use sluicegate::record::{Checkpoint, Offset};
    let config = Config {
        topics: vec![topic.into()],
        group: topic.into(),
        share: Share::Fixed(None),
        ..Config::default()
    };
    let connector = Connector::new(ConnectorSettings::default()).unwrap();
    let mut consumer =
        Consumer::open(config, None, connector, vec![Address::parse(&broker.address()).unwrap()]).unwrap();
    let mut checkpoint: Option<Checkpoint> = None;
    eventually("a partition", || {
        if let Ok(Some(ConsumerEvent::Assigned(assigned))) =
            consumer.poll(MaxPoll { records: 0, bytes: 0 }, Duration::ZERO)
        {
            checkpoint = assigned.into_iter().map(|one| one.checkpoint).next();
        }
        checkpoint.is_some()
    });
    let mut checkpoint = checkpoint.expect("it was waited for");
    checkpoint.position.next = Offset(next);
    let mut committer = consumer.committer();
    eventually("the commit", || committer.commit(&[checkpoint.clone()]).is_ok());
}

#[test]
fn a_position_outside_of_the_log_is_told_and_what_is_there_is_delivered() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("outside", 0, 30);
    commit_by_hand(broker, "outside", 1_000);
    let receiver = Receiver::accepting();
    let running = start(broker, "outside", &receiver.url(), &[]);
    eventually("all records", || receiver.begun() == 30);
    running.signal("TERM");
    running
        .wait()
        .expect(0)
        .saying("the position 1000 of outside-0 is outside of its log, which holds 0 to 30");
    assert_eq!(duplicates(&all_of(&receiver, 30)), 0);
    assert_eq!(committed(broker, "outside"), 30);
}

#[test]
fn a_position_at_the_start_of_the_log_is_inside_of_it() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("beginning", 0, 30);
    commit_by_hand(broker, "beginning", 0);
    let receiver = Receiver::accepting();
    let ended = run(broker, "beginning", &receiver.url(), &["--until-end"]).expect(0);
    assert!(!ended.stderr.contains("outside of its log"), "{}", ended.stderr);
    all_of(&receiver, 30);
}
