//! Transactions: what was aborted is never sent, and what is open is waited for.

use crate::kafka::{Shared, bodies, deliver, matrix, start};
use crate::support::eventually;
use crate::support::jvm::program;
use crate::support::program::Program;
use crate::support::receiver::Receiver;

/// What the transactional producers did: the values that count and those that don't.
fn write(shared: &Shared, topic: &str, codec: &str) -> (Vec<String>, Vec<String>) {
    shared.create(topic, 2, &[]);
    let mut java = program("Transactions");
    java.args([&shared.address(), topic, "2", "8", codec]);
    let lines = Program::start(java).close();
    assert_eq!(lines.last().unwrap().text, "done");
    let of = |word: &str| {
        let mut values: Vec<String> =
            lines.iter().filter_map(|line| Some(line.text.strip_prefix(word)?.to_owned())).collect();
        values.sort();
        values
    };
    (of("kept "), of("void "))
}

#[test]
fn aborted_records_are_never_sent() {
    for shared in matrix() {
        for codec in shared.codecs() {
            let topic = format!("transactions-{codec}");
            let (kept, void) = write(shared, &topic, codec);
            assert!(void.len() > 100 && kept.len() > 100);
            let receiver = Receiver::accepting();
            deliver(&shared.address(), &topic, &receiver, &[]);
            assert_eq!(bodies(&receiver), kept, "{} {codec}", shared.version);
            // The log ends in a marker, which is done too.
            let receiver = Receiver::accepting();
            deliver(&shared.address(), &topic, &receiver, &[]);
            assert_eq!(receiver.begun(), 0);
        }
    }
}

#[test]
fn aborted_records_are_skipped_also_from_the_middle_of_a_transaction() {
    for shared in matrix() {
        let (kept, _) = write(shared, "middle", "none");
        // A new group begins at each offset: within transactions, at markers, between them.
        let begin = |offset: i64| {
            let group = format!("middle-{offset}");
            shared.admin(|admin| {
                let end = admin.ends("middle")[&1];
                admin.commit(&group, "middle", 0, offset);
                admin.commit(&group, "middle", 1, end);
            });
            let receiver = Receiver::accepting();
            let (address, url) = (shared.address(), receiver.url());
            let run = ["run", "--brokers", &address, "--topic", "middle", "--url", &url, "--group", &group];
            crate::kafka::binary::run(&[&run[..], &["--until-end"]].concat()).expect(0);
            bodies(&receiver)
        };
        for offset in [1, 2, 5, 8, 11, 13, 17, 23, 29, 31] {
            let delivered = begin(offset);
            assert!(!delivered.is_empty());
            for body in delivered {
                assert!(kept.contains(&body), "{}: {body} was aborted ({offset})", shared.version);
            }
        }
    }
}

#[test]
fn what_lies_behind_an_open_transaction_waits_for_its_end() {
    for shared in matrix() {
        for word in ["commit", "abort"] {
            let topic = format!("open-{word}");
            shared.create(&topic, 1, &[]);
            let mut java = program("Transactions");
            java.args([&shared.address(), &topic, "1", "1", "none", "open"]);
            let mut producer = Program::start(java);
            producer.expect("opened");
            let receiver = Receiver::accepting();
            let running = start(&shared.address(), &topic, &receiver, &[]);
            // Five times three records of the first round, all of them committed or plain.
            eventually("what lies before it", || receiver.begun() >= 15);
            let behind = |text: &str| text.contains("open-") || text.contains("behind-");
            assert!(bodies(&receiver).iter().all(|body| !behind(body)), "{:?}", bodies(&receiver));
            producer.say(word);
            producer.expect("ended");
            eventually("what lies behind it", || {
                bodies(&receiver).iter().any(|body| body.ends_with("behind-2-2"))
            });
            running.signal("TERM");
            running.wait().expect(0);
            let open = bodies(&receiver).iter().filter(|body| body.contains("open-")).count();
            assert_eq!(open, if word == "commit" { 3 } else { 0 }, "{} {word}", shared.version);
        }
    }
}
