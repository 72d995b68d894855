//! One socket to one broker: settings, TLS and SASL against a real broker, and peers that misbehave.

mod addresses;
mod credentials;
mod double;
mod peers;
mod properties;
mod reconnect;
mod refusals;
mod secured;
mod trust;

use sluicegate::kafka::connection::{Connection, ConnectionError, Connector, ConnectorSettings};
use sluicegate::kafka::protocol::metadata::MetadataRequest;
use sluicegate::kafka::security::Security;
use std::time::{Duration, Instant};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A connector with these security settings.
fn connector(security: Security) -> Connector {
    Connector::new(ConnectorSettings { security, ..ConnectorSettings::default() })
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Something that only those are answered who were let in: how many brokers there are.
fn ask(connection: &mut Connection, deadline: Instant) -> Result<usize, ConnectionError> {
    let request = MetadataRequest {
        topics: Some(Vec::new()),
        allow_auto_topic_creation: false,
        include_cluster_authorized_operations: false,
        include_topic_authorized_operations: false,
    };
    connection.call(&request, deadline).map(|response| response.brokers.len())
}

/// Opens a connection and asks once.
fn visit(connector: &Connector, host: &str, port: u16) -> Result<usize, ConnectionError> {
    ask(&mut connector.open(host, port, soon())?, soon())
}
