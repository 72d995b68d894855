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
        doc: "Kafka client",
        more: "native is sluicegate's own; kafka-crate serves brokers up to 3.9 and has to be built in.",
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
        doc: "Read Kafka settings from a client.properties file",
        more: "bootstrap.servers, security.protocol, ssl.*, sasl.* and group settings. Flags take \
               precedence.",
        basic: true,
        set: |o, v| {
            if v.is_empty() {
                return Err("the file name is missing".into());
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
        doc: "Where to continue when the offset is no longer in the log",
        more: "A warning reports the gap.",
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
        doc: "How the group assigns its partitions",
        more: "range, roundrobin or cooperative-sticky, in order of preference.",
        set: |o, v| {
            let named = |name: &str| {
                let known = || Assignor::ALL.map(Assignor::name).join(", ");
                Assignor::from_name(name.trim()).ok_or_else(|| format!("'{name}' is not one of {}", known()))
            };
            v.split(',').map(named).collect::<Result<_, _>>().map(|list| o.kafka.assignors = list)
        },
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "instance-id",
        value: Some("NAME"),
        doc: "Static membership: keep the partitions across a restart",
        more: "Each instance needs a name of its own.",
        set: |o, v| text(v).map(|name| o.kafka.instance_id = Some(name)),
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "session-timeout",
        value: Some("DUR"),
        default: "45s",
        doc: "How long an instance may go without a heartbeat",
        more: "After that its partitions move to other instances, and it stops sending.",
        set: |o, v| values::positive_duration(v).map(|d| o.kafka.session_timeout = Some(d)),
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "rebalance-timeout",
        value: Some("DUR"),
        default: "60s",
        doc: "How long a rebalance waits for requests in flight",
        more: "It has to be longer than --timeout.",
        set: |o, v| values::positive_duration(v).map(|d| o.kafka.rebalance_timeout = Some(d)),
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "max-batch-bytes",
        value: Some("BYTES"),
        default: "128MiB",
        doc: "Largest size that a record batch may unpack to",
        more: "A larger batch stops its partition; nothing is skipped.",
        set: |o, v| values::bytes(v).map(|bytes| o.kafka.max_batch_bytes = Some(bytes)),
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "rack",
        value: Some("NAME"),
        doc: "Rack of this instance: fetch from replicas in it, if there are any",
        set: |o, v| text(v).map(|name| o.kafka.rack = Some(name)),
        ..SOURCE
    },
    #[cfg(feature = "kafka")]
    Flag {
        long: "group-max-concurrency",
        value: Some("N"),
        group: Group::Pace,
        commands: super::RUN,
        doc: "At most N requests in flight in the whole group",
        more: "Give the same N to each instance.",
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
