//! The codec held against Kafka's own schemas, in each version that is spoken: the names of the fields, their order,
//! types, defaults and tags, which of them may be null and which may be left out.

use super::messages::{MESSAGES, Message};
use super::schema::{self, Schema, Schemas, draw};
use crate::support::broker::{NEW, VERSIONS};
use crate::support::dice::Dice;
use crate::support::jvm::Jars;
use sluicegate::kafka::group::assignor::{Assignment, Subscription};
use sluicegate::kafka::group::consumer_protocol::{encode_assignment, encode_subscription};
use sluicegate::kafka::protocol::{ErrorCode, Format};
use sluicegate::record::Partition;

/// So many values are drawn of each version of each message.
const VALUES: usize = 50;

/// What `Debug` shows without the names of the structs, which are our own.
fn bare(shown: &str) -> String {
    let (mut kept, mut in_string, mut escaped) = (String::new(), false, false);
    for c in shown.chars() {
        if !in_string && c == '{' {
            let before = kept.strip_suffix(' ').unwrap_or(&kept);
            let nameless = before.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').len();
            if nameless < before.len() {
                kept.truncate(nameless);
            }
        }
        in_string ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        kept.push(c);
    }
    kept
}

#[test]
fn every_version_is_encoded_as_kafkas_schemas_say() {
    for kafka in VERSIONS {
        let Some(schemas) = Schemas::of(kafka) else { return };
        for message in MESSAGES {
            let ours = message.api.versions();
            let schema = schemas.message(message.name, &ours);
            assert_eq!(schema.api_key, message.api.number().to_string());
            for format in message.formats() {
                let name = format!("{} {} of {kafka}", message.name, format.version);
                if !schema.versions.contains(&format.version) {
                    assert_ne!(kafka, NEW, "{name}");
                    continue;
                }
                assert_eq!(schema.flexible.contains(&format.version), format.flexible, "{name}");
                compare(message, &schema, format, kafka == NEW, &name);
            }
        }
    }
}

fn compare(message: &Message, schema: &Schema, format: Format, with_names: bool, name: &str) {
    let mut dice = Dice::seeded(20_261_127);
    let mut smallest = usize::MAX;
    for _ in 0..VALUES {
        let drawn = draw(&schema.fields, format, &mut dice);
        let shown = (message.show)(&drawn.bytes, format)
            .unwrap_or_else(|error| panic!("{name}: {error}: {}", drawn.shown));
        if with_names {
            // Earlier releases don't know all of the fields, and have other names for some.
            assert_eq!(bare(&shown), drawn.shown, "{name}");
        }
        assert_eq!(message.rewrite(&drawn.bytes, format).unwrap(), drawn.bytes, "{name}: {shown}");
        smallest = smallest.min(drawn.bytes.len());
    }
    assert!((message.smallest)(format) <= smallest, "{name}");
}

#[test]
fn what_a_version_lacks_is_left_out_only_where_kafka_does() {
    let Some(schemas) = Schemas::of(NEW) else { return };
    let mut refused = 0;
    for message in MESSAGES {
        let schema = schemas.message(message.name, &message.api.versions());
        let mut dice = Dice::seeded(1);
        for (from, to) in message.formats().flat_map(|from| message.formats().map(move |to| (from, to))) {
            for _ in 0..VALUES / 10 {
                let drawn = draw(&schema.fields, from, &mut dice);
                let converted = (message.convert)(&drawn.bytes, from, to).unwrap();
                let name = format!("{} {} as {}: {}", message.name, from.version, to.version, drawn.shown);
                assert_eq!(converted.is_err(), drawn.lost.contains(&to.version), "{name}: {converted:?}");
                refused += usize::from(converted.is_err());
            }
        }
    }
    assert!(refused > 100);
}

#[test]
fn subscriptions_and_assignments_are_what_kafkas_schemas_have_them_be() {
    let Some(schemas) = Schemas::of(NEW) else { return };
    let shown = |name: &str, bytes: &[u8]| {
        let (version, mut rest) = bytes.split_first_chunk().unwrap();
        let version = i16::from_be_bytes(*version);
        let schema = schemas.message(&format!("ConsumerProtocol{name}"), &(version..=version));
        let shown = schema::read(&schema.fields, &mut rest);
        assert!(rest.is_empty());
        shown
    };
    let partitions = vec![Partition::new("t", 0), Partition::new("t", 2), Partition::new("u", 1)];
    let listed = "[{ topic: \"t\", partitions: [0, 2] }, { topic: \"u\", partitions: [1] }]";
    let mut subscription = Subscription {
        topics: ["t".into(), "u".into()].into(),
        owned: partitions.clone(),
        ..Subscription::default()
    };
    let mut said =
        format!("{{ topics: [\"t\", \"u\"], user_data: None, owned_partitions: {listed}, generation_id: 5, ");
    said += "rack_id: Some(\"r\") }";
    let first = said.replace(", generation_id: 5, rack_id: Some(\"r\")", "");
    assert_eq!(shown("Subscription", &encode_subscription(&subscription).unwrap()), first);
    subscription.generation = Some(5);
    subscription.rack = Some("r".into());
    assert_eq!(shown("Subscription", &encode_subscription(&subscription).unwrap()), said);
    let assignment = Assignment { partitions, user_data: vec![1] };
    let said = format!("{{ assigned_partitions: {listed}, user_data: Some([1]) }}");
    assert_eq!(shown("Assignment", &encode_assignment(&assignment).unwrap()), said);
}

#[test]
fn errors_have_the_numbers_and_names_that_kafka_gives_them() {
    let Some(jars) = Jars::of(NEW) else { return };
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/protocol/Errors.java");
    let output = jars.tool(program, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut known = 0;
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let [number, name, retriable] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let code = ErrorCode(number.parse().unwrap());
        if let Some(ours) = code.name() {
            assert_eq!((ours, code.is_retriable().to_string().as_str()), (name, retriable), "{number}");
            known += 1;
        }
    }
    let ours = (i16::MIN..=i16::MAX).filter(|number| ErrorCode(*number).name().is_some()).count();
    assert_eq!(known, ours);
}
