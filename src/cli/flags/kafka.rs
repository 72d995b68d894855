//! The flags of the native Kafka client: how brokers are reached and the group is shared.

#[cfg(feature = "kafka")]
use super::BROKERS;
use super::{BASE, Flag, Group, IN_GROUP, KAFKA, choose};
use crate::cli::options::KafkaClient;
#[cfg(feature = "kafka")]
use crate::cli::values;
#[cfg(feature = "kafka")]
use crate::kafka::config::Reset;
#[cfg(feature = "kafka")]
use crate::kafka::group::assignor::Assignor;

/// Where they stand, and who takes them.
const SOURCE: Flag = Flag { group: Group::From, commands: IN_GROUP, ..BASE };

/// Their part of the table.
pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "kafka-client",
        value: Some("native|kafka-crate"),
        default: if cfg!(feature = "kafka") { "native" } else { "kafka-crate" },
        commands: KAFKA,
        doc: "the client of our own, or the kafka crate, for brokers up to 3.9",
        set: |o, v| {
            let clients = [("native", KafkaClient::Native), ("kafka-crate", KafkaClient::KafkaCrate)];
            let client = choose(v, &clients)?;
            if !client.is_built() {
                let feature = if client == KafkaClient::Native { "kafka" } else { v };
                return Err(format!("this binary was built without it: build with --features {feature}"));
            }
            o.kafka.client = client;
            Ok(())
        },
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "kafka-config",
        value: Some("FILE"),
        commands: BROKERS,
        doc: "a client.properties with bootstrap.servers, security.protocol, ssl.*, sasl.* and group settings",
        set: |o, v| {
            if v.is_empty() {
                return Err("the name of the file is missing".into());
            }
            o.kafka.config_file = Some(v.into());
            Ok(())
        },
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "offset-reset",
        value: Some("earliest|latest|fail"),
        default: "earliest",
        doc: "where to go on when the position is no longer in the log; the gap is told either way",
        set: |o, v| {
            let resets = [("earliest", Reset::Earliest), ("latest", Reset::Latest), ("fail", Reset::Fail)];
            choose(v, &resets).map(|reset| o.kafka.reset = Some(reset))
        },
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "assignor",
        value: Some("NAME,…"),
        default: "cooperative-sticky",
        doc: "how the group splits its partitions: range, roundrobin or cooperative-sticky",
        set: |o, v| {
            let named = |name: &str| {
                let known = || Assignor::ALL.map(Assignor::name).join(", ");
                Assignor::from_name(name.trim()).ok_or_else(|| format!("'{name}' is none of {}", known()))
            };
            v.split(',').map(named).collect::<Result<_, _>>().map(|list| o.kafka.assignors = list)
        },
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "instance-id",
        value: Some("NAME"),
        doc: "a name of this instance's own: it keeps its partitions over a restart (static membership)",
        set: |o, v| text(v).map(|name| o.kafka.instance_id = Some(name)),
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "session-timeout",
        value: Some("DUR"),
        default: "45s",
        doc: "after so long without a heartbeat an instance's partitions go to others, and it stops sending",
        set: |o, v| values::positive_duration(v).map(|d| o.kafka.session_timeout = Some(d)),
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "rebalance-timeout",
        value: Some("DUR"),
        default: "60s",
        doc: "how long instances have to finish what is in flight before partitions move; more than --timeout",
        set: |o, v| values::positive_duration(v).map(|d| o.kafka.rebalance_timeout = Some(d)),
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "max-batch-bytes",
        value: Some("BYTES"),
        default: "128MiB",
        doc: "what a batch of records may unpack to; a larger one stops its partition, and nothing is skipped",
        set: |o, v| values::bytes(v).map(|bytes| o.kafka.max_batch_bytes = Some(bytes)),
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "rack",
        value: Some("NAME"),
        doc: "where this instance stands: records come from a replica there, if there is one",
        set: |o, v| text(v).map(|name| o.kafka.rack = Some(name)),
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "group-max-concurrency",
        value: Some("N"),
        group: Group::Pace,
        commands: super::RUN,
        doc: "never more requests at once over all instances of the group; give it to each of them",
        set: |o, v| {
            let n = values::count(v)?;
            let n = u32::try_from(n.get()).ok().and_then(std::num::NonZeroU32::new);
            o.kafka.group_max_concurrency = Some(n.ok_or("that is too many")?);
            Ok(())
        },
        ..SOURCE
    },
];

#[cfg(feature = "kafka")]
fn text(value: &str) -> Result<String, String> {
    if value.is_empty() { Err("it can't be empty".into()) } else { Ok(value.into()) }
}
