//! Where a run begins, and what it does where its position no longer exists.

use crate::kafka::{Shared, arguments, binary, bodies, deliver, listened, matrix, newest, numbered, start};
use crate::support::eventually;
use crate::support::receiver::Receiver;
use std::time::Duration;

/// A topic of one partition with the numbers from 0 to 29, each of another second.
fn thirty(shared: &Shared, topic: &str) {
    shared.create(topic, 1, &[]);
    let lines: String =
        (0..30).map(|n| format!("0\t{}\t\\N\t{n}\n", 1_600_000_000_000_u64 + n * 1_000)).collect();
    shared.records(topic, "none", &lines);
}

#[test]
fn a_new_group_begins_where_it_is_told_to() {
    for shared in matrix() {
        thirty(shared, "starts");
        for (start, expected) in [
            ("earliest", 0..30),
            ("latest", 30..30),
            ("2020-09-13T12:26:50Z", 10..30),
            ("2035-01-01T00:00:00Z", 30..30),
        ] {
            let group = format!("starts-{}", start.replace(':', "-"));
            let receiver = Receiver::accepting();
            let (address, url) = (shared.address(), receiver.url());
            let run = ["run", "--brokers", &address, "--topic", "starts", "--url", &url, "--group", &group];
            binary::run(&[&run[..], &["--until-end", "--start", start]].concat()).expect(0);
            assert_eq!(bodies(&receiver), numbered(expected), "{} {start}", shared.version);
        }
    }
}

#[test]
fn latest_means_what_comes_from_now_on() {
    for shared in matrix() {
        thirty(shared, "latest");
        let receiver = Receiver::accepting();
        let running = listened(&shared.address(), "latest", &receiver, &["--start", "latest"]);
        while !running
            .line_within(Duration::from_secs(30))
            .expect("a log")
            .text
            .contains("] assigned latest-0@30")
        {}
        shared.broker.produce_numbers("latest", 30, 10);
        eventually("the new ones", || receiver.begun() == 10);
        assert_eq!(bodies(&receiver), numbered(30..40));
    }
}

#[test]
fn a_committed_position_goes_before_the_start() {
    let Some(shared) = newest() else { return };
    thirty(shared, "committed");
    shared.admin(|admin| admin.commit("committed", "committed", 0, 25));
    let receiver = Receiver::accepting();
    deliver(&shared.address(), "committed", &receiver, &["--start", "latest"]);
    assert_eq!(bodies(&receiver), numbered(25..30));
}

#[test]
fn a_position_beyond_the_log_follows_the_policy_and_is_told() {
    for shared in matrix() {
        for (policy, expected) in [("earliest", 0..30), ("latest", 30..30)] {
            let topic = format!("beyond-{policy}");
            thirty(shared, &topic);
            shared.admin(|admin| admin.commit(&topic, &topic, 0, 1_000));
            let receiver = Receiver::accepting();
            let ended = deliver(&shared.address(), &topic, &receiver, &["--offset-reset", policy]);
            ended.saying("1000").saying(&format!("{topic}-0")).saying("30");
            assert_eq!(bodies(&receiver), numbered(expected), "{} {policy}", shared.version);
        }
    }
}

#[test]
fn a_gap_that_was_deleted_before_it_was_read_is_told() {
    for shared in matrix() {
        thirty(shared, "gap");
        shared.admin(|admin| {
            admin.commit("gap", "gap", 0, 5);
            admin.cut("gap", 0, 12);
        });
        let receiver = Receiver::accepting();
        deliver(&shared.address(), "gap", &receiver, &[]).saying("gap-0").saying("5").saying("12");
        assert_eq!(bodies(&receiver), numbered(12..30), "{}", shared.version);
    }
}

#[test]
fn a_position_at_the_start_of_a_cut_log_is_inside_of_it() {
    for shared in matrix() {
        thirty(shared, "edge");
        shared.admin(|admin| {
            admin.commit("edge", "edge", 0, 12);
            admin.cut("edge", 0, 12);
        });
        let receiver = Receiver::accepting();
        let ended = deliver(&shared.address(), "edge", &receiver, &["--offset-reset", "fail"]);
        assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
        assert_eq!(bodies(&receiver), numbered(12..30));
    }
}

#[test]
fn where_a_gap_must_not_be_the_run_ends() {
    for shared in matrix() {
        thirty(shared, "strict");
        shared.admin(|admin| {
            admin.commit("strict", "strict", 0, 5);
            admin.cut("strict", 0, 12);
        });
        let receiver = Receiver::accepting();
        let url = receiver.url();
        let address = shared.address();
        let ended =
            binary::run(&arguments(&address, "strict", &url, &["--until-end", "--offset-reset", "fail"]));
        ended.expect(1).saying("strict-0").saying("--offset-reset");
        assert_eq!(receiver.begun(), 0, "{}", shared.version);
        assert_eq!(shared.committed("strict"), 5);
    }
}

#[test]
fn a_gap_that_appears_while_running_is_told() {
    let Some(shared) = newest() else { return };
    shared.create("moving", 1, &[]);
    shared.broker.produce_numbers("moving", 0, 1_000);
    let slow = Receiver::start(|_| crate::support::receiver::Reply::After(Duration::from_millis(2), 204));
    let more = ["--batch-size", "10", "--buffer", "64KiB"];
    let running = start(&shared.address(), "moving", &slow, &more);
    eventually("some", || slow.begun() > 20);
    shared.admin(|admin| admin.cut("moving", 0, 1_000));
    shared.broker.produce_numbers("moving", 1_000, 100);
    eventually("the rest", || bodies(&slow).iter().any(|body| body == "1099"));
    running.signal("TERM");
    running.wait().expect(0);
    let bodies = bodies(&slow);
    assert!(numbered(1_000..1_100).iter().all(|body| bodies.contains(body)));
}
