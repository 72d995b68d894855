//! Which log a position belongs to: topics that are deleted and made anew while records are under way, logs that were
//! written anew below what is done, and where partitions begin that nobody has committed.

use crate::kafka::truncation::{elect, part_them, produce, two_in_sync};
use crate::kafka::{Shared, bodies, deliver, matrix, newest, numbered, start};
use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Deletes a topic and makes it anew, once its name is free.
fn make_anew(shared: &Shared, topic: &str) {
    shared.admin(|admin| admin.delete(topic));
    let create = format!("create {topic} 1 1");
    eventually("the second life", || shared.admin(|admin| admin.ask(&create)).is_ok());
}

fn all_of(receiver: &Receiver, numbers: std::ops::Range<usize>) -> bool {
    let there = bodies(receiver);
    numbered(numbers).iter().all(|body| there.binary_search(body).is_ok())
}

#[test]
fn a_topic_made_anew_while_the_destination_is_down_is_sent_from_its_beginning() {
    for shared in matrix() {
        let topic = "anew-paused";
        shared.create(topic, 1, &[]);
        shared.broker.produce_numbers(topic, 0, 1_500);
        let is_up = Arc::new(AtomicBool::new(false));
        let up = Arc::clone(&is_up);
        let receiver =
            Receiver::start(move |_| Reply::Status(if up.load(Ordering::SeqCst) { 204 } else { 503 }));
        let running = start(&shared.address(), topic, &receiver, &["--order", "none"]);
        eventually("the pause", || running.said().contains("pausing all sending"));
        make_anew(shared, topic);
        // More than the old topic had, so that the old position lies within the new log.
        shared.broker.produce_numbers(topic, 10_000, 3_000);
        is_up.store(true, Ordering::SeqCst);
        eventually("all of the new topic", || all_of(&receiver, 10_000..13_000));
        eventually("its commit", || shared.committed(topic) == 3_000);
        running.signal("TERM");
        running.wait().expect(0).saying("deleted and created anew");
    }
}

#[test]
fn what_was_in_flight_of_a_deleted_topic_is_not_committed_into_the_new_one() {
    for shared in matrix() {
        for (count, is_killed) in [(10, false), (1_000, true)] {
            let topic = format!("anew-{count}-{is_killed}");
            shared.create(&topic, 1, &[]);
            shared.broker.produce_numbers(&topic, 0, 500);
            let slow = Receiver::start(|request| {
                let number: usize = request.text().parse().unwrap_or(0);
                // The last eight of the first life take long enough for the second to begin.
                let time = if (480..488).contains(&number) { 3_000 } else { 1 };
                Reply::After(Duration::from_millis(time), 204)
            });
            let running = start(&shared.address(), &topic, &slow, &["--window", "sliding"]);
            eventually("those in flight", || slow.begun() >= 488);
            make_anew(shared, &topic);
            shared.broker.produce_numbers(&topic, 10_000, count);
            if is_killed {
                eventually("the commit after them", || slow.accepted().len() >= 500);
                running.kill();
                let receiver = Receiver::accepting();
                let second = start(&shared.address(), &topic, &receiver, &[]);
                let all = || {
                    let mut there = [bodies(&slow), bodies(&receiver)].concat();
                    there.sort();
                    numbered(10_000..10_000 + count).iter().all(|body| there.binary_search(body).is_ok())
                };
                eventually("all of the new topic", all);
                second.signal("TERM");
                second.wait().expect(0);
                continue;
            }
            eventually("all of the new topic", || all_of(&slow, 10_000..10_000 + count));
            eventually("its commit", || shared.committed(&topic) == count as i64);
            running.signal("TERM");
            running.wait().expect(0).saying("deleted and created anew");
        }
    }
}

#[test]
fn a_topic_made_anew_while_nothing_runs_is_sent_from_its_beginning() {
    for shared in matrix() {
        let topic = "anew-between";
        shared.create(topic, 1, &[]);
        shared.broker.produce_numbers(topic, 0, 50);
        deliver(&shared.address(), topic, &Receiver::accepting(), &[]);
        // The broker forgets the group's position with the topic; who restores it by name means the old one.
        make_anew(shared, topic);
        shared.broker.produce_numbers(topic, 100, 80);
        let receiver = Receiver::accepting();
        deliver(&shared.address(), topic, &receiver, &[]);
        assert_eq!(bodies(&receiver), numbered(100..180), "{}", shared.version);
    }
}

#[test]
fn what_is_done_beyond_the_position_is_not_believed_of_a_log_that_was_written_anew() {
    let Some((mut cluster, admin, topic)) = two_in_sync("noted") else { return };
    let brokers = cluster.addresses();
    produce(&brokers, topic, 0..12);
    let (leader, follower) = part_them(&mut cluster, &admin, topic);
    produce(&brokers, topic, 12..30);
    // Record 10 is never answered, and all others are done.
    let stuck = Receiver::start(|request| match request.text() {
        "10" => Reply::Silence,
        _ => Reply::Status(204),
    });
    let running = start(&brokers, topic, &stuck, &["--window", "sliding", "--timeout", "60s"]);
    eventually("all but one", || stuck.accepted().len() == 29);
    let noted = || {
        admin.ask(&format!("committed {topic}")).is_ok() && admin.committed(topic).values().sum::<i64>() == 10
    };
    eventually("the position before it", noted);
    running.kill();
    elect(&mut cluster, &admin, topic, (leader, follower));
    produce(&brokers, topic, 100..130);
    let receiver = Receiver::accepting();
    let ended = deliver(&brokers, topic, &receiver, &[]);
    let delivered = bodies(&receiver);
    let missing: Vec<String> =
        numbered(100..130).into_iter().filter(|body| !delivered.contains(body)).collect();
    assert!(missing.is_empty(), "skipped {missing:?}\n{}", ended.stderr);
    assert!(delivered.contains(&"10".to_owned()), "{delivered:?}");
}

#[test]
fn latest_is_for_a_first_start_alone() {
    let Some(shared) = newest() else { return };
    // An instance that looks for changes rarely, as it does by default.
    let (topic, latest) = ("late", ["--start", "latest"]);
    shared.create(topic, 1, &[]);
    shared.broker.produce_numbers(topic, 0, 5);
    let receiver = Receiver::accepting();
    let url = receiver.url();
    let address = shared.address();
    let run = ["run", "--brokers", &address, "--topic", "^late.*", "--group", topic, "--url", &url];
    let quick = [&latest[..], &crate::kafka::topics::watchful()].concat();
    let running = crate::kafka::binary::start(&[&run[..], &quick].concat());
    eventually("its first position", || shared.committed(topic) == 5);
    assert!(running.said().contains("5 before them that are not read"), "{}", running.said());
    // A partition that is added, and a topic that comes to match, are written to before anybody has seen them.
    shared.admin(|admin| admin.grow(topic, 2));
    shared.broker.produce(topic, &["-p", "1"], b"10\n11\n");
    shared.create("late-too", 1, &[]);
    shared.broker.produce_numbers("late-too", 12, 3);
    eventually("what came before it was seen", || all_of(&receiver, 10..15));
    running.signal("TERM");
    running.wait().expect(0);
    // And what is written while nobody runs is there at the next start, though it says latest again.
    shared.admin(|admin| admin.grow(topic, 3));
    shared.broker.produce(topic, &["-p", "2"], b"15\n16\n");
    let running = crate::kafka::binary::start(&[&run[..], &quick].concat());
    eventually("the partition that was added meanwhile", || all_of(&receiver, 15..17));
    running.signal("TERM");
    running.wait().expect(0);
    assert_eq!(bodies(&receiver), numbered(10..17));
}
