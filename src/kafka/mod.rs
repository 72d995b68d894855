//! Kafka clients.
//!
//! The native client, bottom up; each layer knows only those above it in this table. It is usable on its own: only
//! [source] and [dead_letters], and the other client, know the relay.
//!
//! | room | what it is |
//! |---|---|
//! | [protocol] | the encoding of requests and responses |
//! | [record_batch] | the encoding of records: checksums, compression |
//! | [config], [security], [properties] | settings |
//! | [connection] | a connection to one broker |
//! | [cluster] | brokers, leaders, coordinators |
//! | [group] | membership in a consumer group, a state machine |
//! | [consumer] | fetches records ahead of delivery, and commits positions |
//! | [producer] | writes records to a topic |
//! | [source] | the consumer as the relay's source |
//! | [dead_letters] | a topic as the place of the relay's dead letters |
//! | [probe] | inspects a cluster |
//! | [sandbox] | a broker for tests and first steps |
//! | `kafka_crate` | another client, for brokers up to 3.9: a source of the relay too |
//!
//! Each of cluster, consumer and producer has one error type, which keeps its cause and says whether a retry may help.
//! Errors state facts; advice is up to the program that uses the client ([`Explain`](config::Explain)).
//!
//! Reading a topic to its end and committing what was read, against a broker in this process (feature `sandbox`):
//!
#![cfg_attr(feature = "sandbox", doc = "```")]
#![cfg_attr(not(feature = "sandbox"), doc = "```ignore")]
//! use sluicegate::kafka::cluster::Address;
//! use sluicegate::kafka::config::{Config, Share};
//! use sluicegate::kafka::connection::{Connector, ConnectorSettings};
//! use sluicegate::kafka::consumer::{Consumer, ConsumerEvent, MaxPoll};
//! use sluicegate::kafka::record_batch::NewRecord;
//! use sluicegate::kafka::sandbox::{Sandbox, SandboxSettings};
//! use sluicegate::record::Partition;
//! use std::time::Duration;
//!
//! let sandbox = Sandbox::start(SandboxSettings::default())?;
//! sandbox.create("orders", 1)?;
//! for value in ["one", "two", "three"] {
//!     let record = NewRecord { timestamp: -1, key: None, value: Some(value.as_bytes()), headers: &[] };
//!     sandbox.produce("orders", 0, &[record])?;
//! }
//!
//! let config = Config {
//!     topics: vec!["orders".into()],
//!     group: "readers".into(),
//!     share: Share::Fixed(None), // all partitions, without joining the group
//!     until_end: true,
//!     ..Config::default()
//! };
//! let brokers = vec![Address::parse(&sandbox.address().to_string()).ok_or("HOST:PORT")?];
//! let mut consumer = Consumer::open(config, None, Connector::new(ConnectorSettings::default())?, brokers)?;
//! let mut committer = consumer.committer();
//! let most = MaxPoll { records: 100, bytes: 1 << 20 };
//! let (mut values, mut checkpoints) = (Vec::new(), Vec::new());
//! loop {
//!     match consumer.poll(most, Duration::from_millis(50))? {
//!         // Where the group starts. Committed first, so that it starts there again after a crash.
//!         Some(ConsumerEvent::Assigned(assigned)) => {
//!             checkpoints = assigned.into_iter().map(|one| one.checkpoint).collect();
//!             committer.commit(&checkpoints)?;
//!         }
//!         Some(ConsumerEvent::Records(records)) => {
//!             for record in &records {
//!                 values.push(String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned());
//!                 for checkpoint in &mut checkpoints {
//!                     if checkpoint.position.partition == *record.partition() {
//!                         checkpoint.position.next = record.offset().next();
//!                         checkpoint.reach = checkpoint.position.next;
//!                     }
//!                 }
//!             }
//!             committer.commit(&checkpoints)?;
//!         }
//!         Some(ConsumerEvent::End) => break,
//!         _ => {}
//!     }
//! }
//! consumer.close();
//! assert_eq!(values, ["one", "two", "three"]);
//! assert_eq!(sandbox.committed("readers").get(&Partition::new("orders", 0)), Some(&3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "kafka")]
pub mod cluster;
#[cfg(any(feature = "kafka", feature = "kafka-crate"))]
pub mod config;
#[cfg(feature = "kafka")]
pub mod connection;
#[cfg(feature = "kafka")]
pub mod consumer;
#[cfg(feature = "kafka")]
pub mod dead_letters;
#[cfg(feature = "kafka")]
pub mod group;
#[cfg(feature = "kafka-crate")]
pub mod kafka_crate;
#[cfg(feature = "kafka")]
pub mod probe;
#[cfg(feature = "kafka")]
pub mod producer;
#[cfg(feature = "kafka")]
pub mod properties;
#[cfg(feature = "kafka")]
pub mod protocol;
#[cfg(feature = "kafka")]
pub mod record_batch;
#[cfg(feature = "sandbox")]
pub mod sandbox;
#[cfg(feature = "kafka")]
pub mod security;
#[cfg(feature = "kafka")]
pub mod source;
