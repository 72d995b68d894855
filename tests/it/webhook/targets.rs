//! What the core knows of where a record goes.

use crate::webhook::client;
use sluicegate::record::{Offset, Partition, Record};
use sluicegate::relay::transport::{Target, Transport};
use sluicegate::webhook::destination::Destination;
use sluicegate::webhook::request::{RequestSettings, Requests};
use sluicegate::webhook::sender::Sender;
use std::time::Duration;

fn target(url: &str, key: &str, offset: i64) -> Target {
    let requests = Requests::new(&Destination::parse(url).unwrap(), RequestSettings::default()).unwrap();
    let sender = Sender::new(client(url), requests, Duration::from_secs(1));
    let record = Record::new(Partition::new("t", 0), Offset(offset), 0, Some(key.as_bytes()), Some(b"value"));
    sender.target(&record)
}

#[test]
fn an_address_without_placeholders_is_the_only_target() {
    for key in ["a", "b"] {
        assert_eq!(target("http://hook.example/a", key, 1), Target::ONLY);
    }
}

#[test]
fn records_of_one_target_share_it_and_others_do_not() {
    let url = "http://hook.example/hooks/{key}?t={topic}";
    assert_eq!(target(url, "a", 1), target(url, "a", 2), "of another client too, as of another run");
    let targets: std::collections::BTreeSet<Target> =
        (0..100).map(|key| target(url, &key.to_string(), 1)).collect();
    assert!(targets.len() == 100 && !targets.contains(&Target::ONLY));
}
