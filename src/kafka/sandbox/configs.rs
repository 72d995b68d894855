//! Configs of topics and brokers, by Kafka's names. Topic configs are stored and described but have no effect: records
//! are only deleted for lack of space. Pure.

use super::SandboxSettings;
use super::group::{LARGEST_METADATA, MOST_MEMBERS, SESSION_TIMEOUTS};
use super::log::LARGEST_BATCH;
use std::collections::BTreeMap;

/// Config value types, by Kafka's numbers (KIP-569).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean = 1,
    Text = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// Config sources, by Kafka's numbers (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Topic = 1,
    Broker = 4,
    Default = 5,
}

/// A config with its current value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) kind: Kind,
    pub(super) origin: Origin,
}

/// Topic configs with Kafka's defaults; `None` stands for a value that depends on the sandbox's settings.
const OF_TOPICS: [(&str, Kind, Option<&str>); 25] = [
    ("cleanup.policy", Kind::List, Some("delete")),
    ("compression.type", Kind::Text, Some("producer")),
    ("delete.retention.ms", Kind::Long, Some("86400000")),
    ("file.delete.delay.ms", Kind::Long, Some("60000")),
    ("flush.messages", Kind::Long, Some("9223372036854775807")),
    ("flush.ms", Kind::Long, Some("9223372036854775807")),
    ("index.interval.bytes", Kind::Int, Some("4096")),
    ("max.compaction.lag.ms", Kind::Long, Some("9223372036854775807")),
    ("max.message.bytes", Kind::Int, None),
    ("message.downconversion.enable", Kind::Boolean, Some("false")),
    ("message.timestamp.after.max.ms", Kind::Long, Some("9223372036854775807")),
    ("message.timestamp.before.max.ms", Kind::Long, Some("9223372036854775807")),
    ("message.timestamp.difference.max.ms", Kind::Long, Some("9223372036854775807")),
    ("message.timestamp.type", Kind::Text, Some("CreateTime")),
    ("min.cleanable.dirty.ratio", Kind::Double, Some("0.5")),
    ("min.compaction.lag.ms", Kind::Long, Some("0")),
    ("min.insync.replicas", Kind::Int, Some("1")),
    ("preallocate", Kind::Boolean, Some("false")),
    ("retention.bytes", Kind::Long, None),
    ("retention.ms", Kind::Long, Some("-1")),
    ("segment.bytes", Kind::Int, Some("1073741824")),
    ("segment.index.bytes", Kind::Int, Some("10485760")),
    ("segment.jitter.ms", Kind::Long, Some("0")),
    ("segment.ms", Kind::Long, Some("604800000")),
    ("unclean.leader.election.enable", Kind::Boolean, Some("false")),
];

/// All configs of a topic, given those that were set explicitly.
pub(super) fn of_topic(settings: &SandboxSettings, chosen: &BTreeMap<String, String>) -> Vec<Setting> {
    let own = |name: &str| match name {
        "max.message.bytes" => LARGEST_BATCH.to_string(),
        _ => settings.partition_bytes.to_string(),
    };
    let setting = |(name, kind, default): (&'static str, Kind, Option<&str>)| match chosen.get(name) {
        Some(value) => Setting { name, value: value.clone(), kind, origin: Origin::Topic },
        None => {
            let value = default.map_or_else(|| own(name), str::to_owned);
            Setting { name, value, kind, origin: Origin::Default }
        }
    };
    OF_TOPICS.into_iter().map(setting).collect()
}

/// Validates a topic config; the error says what is wrong.
pub(super) fn check(name: &str, value: &str) -> Result<(), String> {
    let known = OF_TOPICS.iter().find(|(known, ..)| *known == name);
    let (_, kind, _) = known.ok_or_else(|| format!("Unknown topic config name: {name}"))?;
    let fits = match kind {
        Kind::Boolean => matches!(value, "true" | "false"),
        Kind::Int => value.parse::<i32>().is_ok(),
        Kind::Long => value.parse::<i64>().is_ok(),
        Kind::Double => value.parse::<f64>().is_ok(),
        Kind::Text | Kind::List => !value.is_empty(),
    };
    match fits {
        true => Ok(()),
        false => Err(format!("Invalid value {value} for configuration {name}")),
    }
}

/// The configs of a node.
pub(super) fn of_broker(settings: &SandboxSettings, node: i32) -> Vec<Setting> {
    let (shortest, longest) = SESSION_TIMEOUTS;
    let all = [
        ("auto.create.topics.enable", Kind::Boolean, settings.make_topics.to_string()),
        ("default.replication.factor", Kind::Int, "1".into()),
        ("group.max.session.timeout.ms", Kind::Int, longest.as_millis().to_string()),
        ("group.max.size", Kind::Int, MOST_MEMBERS.to_string()),
        ("group.min.session.timeout.ms", Kind::Int, shortest.as_millis().to_string()),
        ("log.retention.bytes", Kind::Long, settings.partition_bytes.to_string()),
        ("log.retention.ms", Kind::Long, "-1".into()),
        ("message.max.bytes", Kind::Int, LARGEST_BATCH.to_string()),
        ("node.id", Kind::Int, node.to_string()),
        ("num.partitions", Kind::Int, settings.partitions.to_string()),
        ("offset.metadata.max.bytes", Kind::Int, LARGEST_METADATA.to_string()),
    ];
    let setting = |(name, kind, value)| Setting { name, value, kind, origin: Origin::Broker };
    all.into_iter().map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_chosen_stands_in_the_place_of_the_default() {
        let chosen = BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
        let all = of_topic(&SandboxSettings::default(), &chosen);
        let one = |name: &str| all.iter().find(|setting| setting.name == name).unwrap();
        assert_eq!((one("retention.ms").value.as_str(), one("retention.ms").origin), ("5", Origin::Topic));
        assert_eq!(one("retention.bytes").value, super::super::PARTITION_BYTES.to_string());
        assert_eq!(one("max.message.bytes").origin, Origin::Default);
        assert!(all.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn what_no_topic_can_be_set_to_is_told() {
        assert_eq!(check("cleanup.policy", "compact"), Ok(()));
        assert_eq!(check("retention.ms", "-1"), Ok(()));
        for (name, value) in [
            ("retention", "1"),
            ("retention.ms", "long"),
            ("preallocate", "1"),
            ("segment.bytes", "9999999999"),
        ] {
            assert!(check(name, value).unwrap_err().contains(name));
        }
    }
}
