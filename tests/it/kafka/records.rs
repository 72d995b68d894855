//! What a record is made of, in every codec.

use crate::kafka::{CODECS, bodies, by_place, deliver, matrix, numbered};
use crate::support::broker::numbers;
use crate::support::receiver::Receiver;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn every_codec_of_java_and_librdkafka_arrives() {
    for shared in matrix() {
        for codec in CODECS {
            let topic = format!("codec-{codec}");
            shared.create(&topic, 2, &[]);
            // Java writes snappy in blocks with a header of its own, librdkafka writes it bare.
            let line = |n| format!("0\t-\tkey\t{n}\n{}", if n % 100 == 99 { "flush\n" } else { "" });
            shared.records(&topic, codec, &(0..300).map(line).collect::<String>());
            for first in [300, 400, 500] {
                let input = numbers(first, 100);
                shared.broker.produce(&topic, &["-p", "1", "-z", codec], input.as_bytes());
            }
            let receiver = Receiver::accepting();
            deliver(&shared.address(), &topic, &receiver, &[]);
            assert_eq!(bodies(&receiver), numbered(0..600), "{} {codec}", shared.version);
            assert_eq!(shared.committed(&topic), 600);
        }
    }
}

#[test]
fn codecs_may_change_from_batch_to_batch() {
    for shared in matrix() {
        shared.create("codecs", 1, &[]);
        for round in 0..20 {
            let codec = CODECS[round * 3 % 5];
            shared.broker.produce("codecs", &["-p", "0", "-z", codec], numbers(round * 50, 50).as_bytes());
        }
        let receiver = Receiver::accepting();
        deliver(&shared.address(), "codecs", &receiver, &[]);
        assert_eq!(bodies(&receiver), numbered(0..1_000), "{}", shared.version);
    }
}

#[test]
fn a_record_of_nearly_a_megabyte_arrives_in_every_codec() {
    for shared in matrix() {
        shared.create("large", 1, &["max.message.bytes=1100000"]);
        let value = "0123456789abcdef".repeat(60 << 10);
        for codec in CODECS {
            shared.records("large", codec, &format!("0\t-\t\\N\t{value}"));
        }
        let receiver = Receiver::accepting();
        deliver(&shared.address(), "large", &receiver, &["--buffer", "1MiB"]);
        let bodies = bodies(&receiver);
        assert_eq!(bodies.len(), CODECS.len(), "{}", shared.version);
        assert!(bodies.iter().all(|body| *body == value), "{}", shared.version);
    }
}

#[test]
fn headers_come_in_order_with_repeated_keys_and_without_null_values() {
    for shared in matrix() {
        shared.create("headers", 1, &[]);
        for codec in CODECS {
            let lines = "0\t-\tk\tv\tx-trace=1\tx-other=z\tx-trace\tx-trace=2\tX-Trace=ü\tx-trace=1\n";
            shared.records("headers", codec, lines);
        }
        let receiver = Receiver::accepting();
        deliver(&shared.address(), "headers", &receiver, &["--forward-header", "x-trace"]);
        let requests = by_place(&receiver);
        assert_eq!(requests.len(), CODECS.len());
        for request in requests.values() {
            let traces = request.headers.iter().filter(|(name, _)| name == "x-trace");
            let traces: Vec<&str> = traces.map(|(_, value)| value.as_str()).collect();
            assert_eq!(traces, ["1", "2", "ü", "1"], "{}", shared.version);
            assert_eq!(request.header("x-other"), None);
        }
    }
}

#[test]
fn a_key_or_a_value_may_be_absent_or_empty() {
    for shared in matrix() {
        shared.create("absent", 1, &[]);
        let lines = "0\t-\t\\N\tno key\n0\t-\tno value\t\\N\n0\t-\t\\N\t\\N\n0\t-\t\t\n";
        shared.records("absent", "lz4", lines);
        let receiver = Receiver::accepting();
        deliver(&shared.address(), "absent", &receiver, &[]);
        let requests = by_place(&receiver);
        let seen = |offset| {
            let request = &requests[&(0, offset)];
            (request.header("kafka-key"), request.header("kafka-tombstone"), request.text())
        };
        assert_eq!(seen(0), (None, None, "no key"));
        assert_eq!(seen(1), (Some("no%20value"), Some("true"), ""));
        assert_eq!(seen(2), (None, Some("true"), ""));
        assert_eq!(seen(3), (Some(""), None, ""));
    }
}

#[test]
fn both_kinds_of_timestamp_are_told() {
    for shared in matrix() {
        for codec in ["none", "gzip"] {
            let (made, appended) = (format!("made-{codec}"), format!("appended-{codec}"));
            shared.create(&made, 1, &["message.timestamp.type=CreateTime"]);
            shared.create(&appended, 1, &["message.timestamp.type=LogAppendTime"]);
            let lines = "0\t1600000000123\t\\N\ta\n0\t1600000000001\t\\N\tb\n0\t1700000000000\t\\N\tc\n";
            let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            shared.records(&made, codec, lines);
            shared.records(&appended, codec, lines);
            let times = |topic: &str| {
                let receiver = Receiver::accepting();
                deliver(&shared.address(), topic, &receiver, &[]);
                let requests = by_place(&receiver);
                let time = |request: &crate::kafka::Request| {
                    request.header("kafka-timestamp").unwrap().parse().unwrap()
                };
                requests.values().map(time).collect::<Vec<u128>>()
            };
            assert_eq!(times(&made), [1_600_000_000_123, 1_600_000_000_001, 1_700_000_000_000]);
            let appended = times(&appended);
            assert!(appended.iter().all(|at| *at >= before && *at == appended[0]), "{appended:?}");
        }
    }
}
