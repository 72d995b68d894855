//! Where the demo's events come from: a Kafka in this process, with a producer that writes them and a consumer in
//! a group that reads them, over TCP; or memory, where that isn't built in.

#[cfg(feature = "sandbox")]
use super::failed;
use crate::cli::Failure;
use crate::relay::source::Source;

/// The topic.
const TOPIC: &str = "demo";

/// Events on their way; dropped, the consumer leaves its group before the broker goes.
pub(super) struct Events {
    source: Box<dyn Source>,
    #[cfg(feature = "sandbox")]
    _sandbox: crate::kafka::sandbox::Sandbox,
}

impl Events {
    /// What reads them.
    pub(super) fn source(&mut self) -> &mut dyn Source {
        self.source.as_mut()
    }
}

#[cfg(not(feature = "sandbox"))]
pub(super) fn open(values: impl Iterator<Item = Vec<u8>>) -> Result<Events, Failure> {
    Ok(Events { source: Box::new(crate::relay::memory_source::MemorySource::new(TOPIC, values)) })
}

#[cfg(feature = "sandbox")]
pub(super) fn open(values: impl Iterator<Item = Vec<u8>>) -> Result<Events, Failure> {
    use crate::kafka::cluster::{Address, Cluster, Connections};
    use crate::kafka::config::{Config, Share};
    use crate::kafka::connection::{Connector, ConnectorSettings};
    use crate::kafka::group::membership;
    use crate::kafka::producer::Producer;
    use crate::kafka::record_batch::NewRecord;
    use crate::kafka::sandbox::{Sandbox, SandboxSettings};
    use crate::kafka::source::KafkaSource;
    use std::sync::Arc;

    let sandbox = Sandbox::start(SandboxSettings::default()).map_err(|error| failed("broker", &error))?;
    // One partition: the events come in the order in which they are counted.
    sandbox.create(TOPIC, 1).map_err(|error| failed("topic", &error))?;
    let connector =
        Connector::new(ConnectorSettings::default()).map_err(|error| failed("connections", &error))?;
    let listens = sandbox.address();
    let brokers = vec![Address { host: listens.ip().to_string(), port: listens.port() }];

    let config = Config::default();
    let cluster = Arc::new(Cluster::new(connector.clone(), brokers.clone()));
    let connections = Connections::new(cluster, config.request_timeout);
    let mut producer = Producer::new(connections, TOPIC.into(), config.request_timeout);
    let values: Vec<Vec<u8>> = values.collect();
    let record = |value| NewRecord { timestamp: now(), key: None, value: Some(value), headers: &[] };
    let records: Vec<NewRecord<'_>> = values.iter().map(|value| record(value)).collect();
    producer.send(&records, &mut vec![false; records.len()]).map_err(|error| failed("producer", &error))?;

    let config = Config {
        topics: vec![TOPIC.into()],
        share: Share::Group(membership::MembershipSettings::default()),
        until_end: true,
        ..config
    };
    let source =
        KafkaSource::open(config, None, connector, brokers).map_err(|error| failed("consumer", &error))?;
    Ok(Events { source: Box::new(source), _sandbox: sandbox })
}

/// Milliseconds since 1970.
#[cfg(feature = "sandbox")]
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(-1)
}
