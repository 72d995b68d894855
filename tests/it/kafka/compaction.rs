//! Compacted topics: offsets have holes, within batches and between them.

use crate::kafka::{Shared, by_place, deliver, matrix};
use crate::support::eventually;
use crate::support::output::consumed;
use crate::support::receiver::Receiver;
use std::collections::BTreeMap;

/// What kcat reads of partition 0: value by offset.
fn read(shared: &Shared, topic: &str) -> BTreeMap<i64, String> {
    let text = consumed(&shared.address(), topic, &["-p", "0", "-f", "%o %s\n"]);
    let pair = |line: &str| line.split_once(' ').map(|(at, value)| (at.parse().unwrap(), value.to_owned()));
    text.lines().filter_map(pair).collect()
}

#[test]
fn holes_are_passed_over_in_every_codec() {
    for shared in matrix() {
        for codec in shared.codecs() {
            let topic = format!("compacted-{codec}");
            let config = [
                "cleanup.policy=compact",
                "min.cleanable.dirty.ratio=0.01",
                "segment.ms=100",
                "segment.bytes=1048576",
                "delete.retention.ms=100",
            ];
            shared.create(&topic, 1, &config);
            // Seven keys, three of which end as tombstones that go as well: whole batches become empty.
            let produce = |input: &str| {
                shared.broker.produce(&topic, &["-p", "0", "-z", codec, "-K", "|", "-Z"], input.as_bytes());
            };
            for batch in 0..6 {
                produce(&(0..50).map(|n| format!("key-{}|{batch}-{n}\n", n % 7)).collect::<String>());
            }
            produce("key-1|\nkey-2|\nkey-6|\n");
            // The cleaner leaves the newest segment alone, which a record opens.
            eventually("holes", || {
                produce("last|last\nother|other\n");
                read(shared, &topic).len() < 150
            });
            // It may still be at work: what was there before and after must have been delivered.
            let before = read(shared, &topic);
            let receiver = Receiver::accepting();
            deliver(&shared.address(), &topic, &receiver, &[]);
            let after = read(shared, &topic);
            let delivered = by_place(&receiver);
            let name = format!("{} {codec}", shared.version);
            for (offset, value) in before.iter().filter(|(offset, _)| after.contains_key(offset)) {
                let request = delivered.get(&(0, *offset)).unwrap_or_else(|| panic!("{name}: {offset} lost"));
                assert_eq!(request.text(), value, "{name}");
            }
            assert!(delivered.keys().all(|(_, offset)| before.contains_key(offset)), "{name}");
            let end = shared.admin(|admin| admin.ends(&topic))[&0];
            assert_eq!(shared.committed(&topic), end, "{name}: the end lies behind a hole");
            // What was committed is where the next run begins.
            let receiver = Receiver::accepting();
            deliver(&shared.address(), &topic, &receiver, &[]);
            assert_eq!(receiver.begun(), 0, "{name}");
        }
    }
}
