//! The codec held against Kafka's own schemas, out of the jars of the brokers it must get along with.
//!
//! What the codec writes is read by the schema, and shown as `Debug` shows our structs: so the names of the
//! fields, their order, their types and which of them may be null are compared at once.

use super::jar::Jar;
use super::json::Json;
use super::samples::{MESSAGES, Message};
use super::support::broker::{NEW, VERSIONS};
use super::support::jvm::{Jars, target};
use sluicegate::kafka::group::assignor::{Assignment, Subscription};
use sluicegate::kafka::protocol::ErrorCode;
use sluicegate::kafka::protocol::consumer_protocol::{encode_assignment, encode_subscription};
use sluicegate::relay::record::Partition;
use std::ops::RangeInclusive;

/// Later releases renamed a field where it took on a second meaning.
const RENAMED: [(&str, &str); 1] = [("generation_id_or_member_epoch", "generation_id")];
/// No version at all.
const NONE: RangeInclusive<i16> = i16::MAX..=i16::MAX;
/// Never shown.
const SECRET: &str = "auth_bytes";

/// A field in one version of a message.
struct Field {
    name: String,
    kind: String,
    nullable: bool,
    fields: Vec<Field>,
}

/// `3+`, `2-7`, `4` or `none`.
fn versions(text: &str) -> RangeInclusive<i16> {
    let number = |text: &str| text.parse().unwrap();
    match text.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None if text == "none" || text.is_empty() => NONE,
        None => match text.strip_suffix('+') {
            Some(first) => number(first)..=i16::MAX,
            None => number(text)..=number(text),
        },
    }
}

/// `SessionTimeoutMs` as `session_timeout_ms`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    RENAMED.iter().find(|(theirs, _)| *theirs == snake).map_or(snake.clone(), |(_, ours)| (*ours).into())
}

fn fields(list: &[Json], version: i16) -> Vec<Field> {
    let there = list.iter().filter(|field| versions(field.text("versions")).contains(&version));
    there
        .map(|field| Field {
            name: snake(field.text("name")),
            kind: field.text("type").into(),
            nullable: versions(field.text("nullableVersions")).contains(&version),
            fields: fields(field.list("fields"), version),
        })
        .collect()
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    bytes.split_off(..count).expect("the schema wants more bytes")
}

fn number(bytes: &mut &[u8], size: usize) -> i64 {
    let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
    take(bytes, size).iter().fold(sign, |number, byte| number << 8 | i64::from(*byte))
}

/// The next value, as `Debug` shows it.
fn value(kind: &str, field: &Field, bytes: &mut &[u8]) -> String {
    match kind {
        "int8" => number(bytes, 1).to_string(),
        "int16" if field.name == "error_code" => format!("ErrorCode({})", number(bytes, 2)),
        "int16" => number(bytes, 2).to_string(),
        "int32" => number(bytes, 4).to_string(),
        "int64" => number(bytes, 8).to_string(),
        "bool" => (number(bytes, 1) != 0).to_string(),
        "string" | "bytes" | "records" => {
            let length = number(bytes, if kind == "string" { 2 } else { 4 });
            let Ok(length) = usize::try_from(length) else {
                assert!(field.nullable, "{}", field.name);
                return "None".into();
            };
            let content = take(bytes, length);
            let shown = match kind {
                "string" => format!("{:?}", std::str::from_utf8(content).unwrap()),
                _ if field.name == SECRET => format!("[{length} bytes]"),
                _ => format!("{content:?}"),
            };
            if field.nullable { format!("Some({shown})") } else { shown }
        }
        structure => match structure.strip_prefix("[]") {
            None => show(&field.fields, bytes),
            Some(element) => {
                let Ok(count) = usize::try_from(number(bytes, 4)) else {
                    assert!(field.nullable, "{}", field.name);
                    return "None".into();
                };
                let element_of =
                    Field { name: String::new(), nullable: false, kind: element.into(), fields: vec![] };
                let elements: Vec<_> = (0..count)
                    .map(|_| match element {
                        "string" | "int32" => value(element, &element_of, bytes),
                        _ => show(&field.fields, bytes),
                    })
                    .collect();
                let shown = format!("[{}]", elements.join(", "));
                if field.nullable { format!("Some({shown})") } else { shown }
            }
        },
    }
}

fn show(fields: &[Field], bytes: &mut &[u8]) -> String {
    let shown: Vec<_> =
        fields.iter().map(|field| format!("{}: {}", field.name, value(&field.kind, field, bytes))).collect();
    format!("{{ {} }}", shown.join(", "))
}

/// What `Debug` shows without the names of the structs, which are our own, and without those of the fields where
/// they aren't asked for.
fn bare(shown: &str, with_fields: bool) -> String {
    let (mut kept, mut in_string, mut escaped) = (String::new(), false, false);
    for c in shown.chars() {
        if !in_string && (c == '{' || c == ':' && !with_fields) {
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

fn schemas(version: &str) -> Option<Jar> {
    Jars::of(version)?;
    Some(Jar::open(&target().join(format!("kafka/{version}/kafka-clients-{version}.jar"))))
}

#[test]
fn every_field_is_where_kafkas_schemas_have_it() {
    for kafka in VERSIONS {
        let Some(jar) = schemas(kafka) else { return };
        for message in MESSAGES {
            let text = jar.text(&format!("common/message/{}.json", message.name)).unwrap();
            let (schema, version) = (Json::parse(&text), message.api.version());
            assert_eq!(schema.text("apiKey"), message.api.number().to_string());
            assert!(versions(schema.text("validVersions")).contains(&version), "{} of {kafka}", message.name);
            assert!(!versions(schema.text("flexibleVersions")).contains(&version), "{}", message.name);
            compare(message, kafka, &fields(schema.list("fields"), version));
        }
    }
}

fn compare(message: &Message, kafka: &str, fields: &[Field]) {
    let unsupported = ErrorCode::UNSUPPORTED_VERSION.0.to_be_bytes();
    for written in message.encodings(256) {
        if fields.is_empty() {
            assert!(written.is_empty(), "{}", message.name);
            continue;
        }
        if message.name == "ApiVersionsResponse" && written.starts_with(&unsupported) {
            continue; // in version 0
        }
        let mut bytes = &written[..];
        let theirs = show(fields, &mut bytes);
        assert!(bytes.is_empty(), "{} of {kafka} ends before {bytes:?}", message.name);
        let ours = (message.show)(&written).unwrap();
        // Names have changed since, but nothing else has.
        let with_fields = kafka == NEW;
        let (ours, theirs) = (bare(&ours, with_fields), bare(&theirs, with_fields));
        assert_eq!(ours, theirs, "{} of {kafka}", message.name);
    }
}

#[test]
fn subscriptions_and_assignments_are_what_kafkas_schemas_have_them_be() {
    let Some(jar) = schemas(NEW) else { return };
    let shown = |name: &str, bytes: &[u8]| {
        let text = jar.text(&format!("common/message/ConsumerProtocol{name}.json")).unwrap();
        let (version, mut rest) = bytes.split_first_chunk().unwrap();
        let fields = fields(Json::parse(&text).list("fields"), i16::from_be_bytes(*version));
        let shown = show(&fields, &mut rest);
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
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protocol/Errors.java");
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
