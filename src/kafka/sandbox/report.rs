//! What the sandbox reports when it closes a connection: which client it was, and why. Pure.

use crate::kafka::protocol::ApiKey;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The largest request in bytes; a larger one closes the connection.
pub const LARGEST_REQUEST: usize = 16 << 20;
/// The longest part of a client's name that is reported, in characters.
const LONGEST_NAME: usize = 100;

/// Receives the sandbox's log lines. The default discards them.
#[derive(Clone)]
pub struct Report(Arc<dyn Fn(&str) + Send + Sync>);

impl Report {
    /// Calls `line` with each line, without line break, from any thread.
    pub fn new(line: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(line))
    }

    pub(super) fn say(&self, line: &str) {
        (self.0)(line);
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Report")
    }
}

/// The client of a connection, as far as it has identified itself.
#[derive(Clone, Debug)]
pub(super) struct Client {
    address: SocketAddr,
    id: Option<String>,
    /// Software name and version, from its ApiVersions request (KIP-511).
    software: Option<String>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, id: None, software: None }
    }

    pub(super) fn has_id(&mut self, id: Option<&str>) {
        self.id = id.map(shortened);
    }

    pub(super) fn has_software(&mut self, name: &str, version: &str) {
        self.software = Some(format!("{} {}", shortened(name), shortened(version)));
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "client {id:?}")?,
            None => f.write_str("a client")?,
        }
        if let Some(software) = &self.software {
            write!(f, " ({})", software.escape_debug())?;
        }
        write!(f, " at {}", self.address)
    }
}

fn shortened(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

/// Why a connection is closed without an answer.
#[derive(Debug)]
pub(super) enum Closing {
    /// An API, or a version of it, that isn't supported.
    Unspoken { api_key: i16, version: i16, spoken: Option<(i16, i16)> },
    /// Any other reason.
    Because(String),
}

impl Closing {
    /// The length prefix is impossible for a request.
    pub(super) fn of_length(prefix: [u8; 4]) -> Self {
        let text = match prefix {
            // The first bytes of a TLS handshake.
            [22, 3, ..] => "it speaks TLS, which the sandbox doesn't: let it use PLAINTEXT".into(),
            [b'A'..=b'Z', b'A'..=b'Z', b'A'..=b'Z', _] => "it speaks HTTP, and this is Kafka".into(),
            _ => format!(
                "its request claims {} bytes, of which at most {LARGEST_REQUEST} are taken",
                i32::from_be_bytes(prefix)
            ),
        };
        Self::Because(text)
    }
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Because(text) => f.write_str(text),
            Self::Unspoken { api_key, version, spoken } => {
                match name(*api_key) {
                    Some(name) => write!(f, "it asked for {name} ({api_key}) version {version}")?,
                    None => write!(f, "it asked for the API {api_key}, version {version}")?,
                }
                match (spoken, ApiKey::from_i16(*api_key)) {
                    (Some((lowest, highest)), _) => {
                        write!(f, ", of which versions {lowest} to {highest} are spoken")
                    }
                    (None, Some(ApiKey::SaslHandshake | ApiKey::SaslAuthenticate)) => {
                        f.write_str(", and the sandbox knows no users: let it use PLAINTEXT")
                    }
                    (None, _) => f.write_str(", which the sandbox doesn't have"),
                }
            }
        }
    }
}

/// The name of an API key.
fn name(number: i16) -> Option<&'static str> {
    let other = || OTHERS.iter().find(|(other, _)| *other == number).map(|(_, name)| *name);
    ApiKey::from_i16(number).map(ApiKey::name).or_else(other)
}

/// APIs that clients may request but the codec doesn't describe.
const OTHERS: [(i16, &str); 47] = [
    (21, "DeleteRecords"),
    (24, "AddPartitionsToTxn"),
    (25, "AddOffsetsToTxn"),
    (26, "EndTxn"),
    (28, "TxnOffsetCommit"),
    (29, "DescribeAcls"),
    (30, "CreateAcls"),
    (31, "DeleteAcls"),
    (33, "AlterConfigs"),
    (34, "AlterReplicaLogDirs"),
    (35, "DescribeLogDirs"),
    (38, "CreateDelegationToken"),
    (39, "RenewDelegationToken"),
    (40, "ExpireDelegationToken"),
    (41, "DescribeDelegationToken"),
    (42, "DeleteGroups"),
    (43, "ElectLeaders"),
    (44, "IncrementalAlterConfigs"),
    (45, "AlterPartitionReassignments"),
    (46, "ListPartitionReassignments"),
    (47, "OffsetDelete"),
    (48, "DescribeClientQuotas"),
    (49, "AlterClientQuotas"),
    (50, "DescribeUserScramCredentials"),
    (51, "AlterUserScramCredentials"),
    (55, "DescribeQuorum"),
    (57, "UpdateFeatures"),
    (60, "DescribeCluster"),
    (61, "DescribeProducers"),
    (64, "UnregisterBroker"),
    (65, "DescribeTransactions"),
    (66, "ListTransactions"),
    (68, "ConsumerGroupHeartbeat"),
    (69, "ConsumerGroupDescribe"),
    (71, "GetTelemetrySubscriptions"),
    (72, "PushTelemetry"),
    (74, "ListConfigResources"),
    (75, "DescribeTopicPartitions"),
    (76, "ShareGroupHeartbeat"),
    (77, "ShareGroupDescribe"),
    (78, "ShareFetch"),
    (79, "ShareAcknowledge"),
    (88, "StreamsGroupHeartbeat"),
    (89, "StreamsGroupDescribe"),
    (90, "DescribeShareGroupOffsets"),
    (91, "AlterShareGroupOffsets"),
    (92, "DeleteShareGroupOffsets"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_asked_for_what() {
        let mut client = Client::new("127.0.0.1:4000".parse().unwrap());
        assert_eq!(client.to_string(), "a client at 127.0.0.1:4000");
        client.has_id(Some("my\napp"));
        client.has_software("librdkafka", "2.0.2");
        assert_eq!(client.to_string(), r#"client "my\napp" (librdkafka 2.0.2) at 127.0.0.1:4000"#);
        let unspoken = |api_key, spoken| Closing::Unspoken { api_key, version: 3, spoken }.to_string();
        assert_eq!(
            unspoken(1, Some((4, 18))),
            "it asked for Fetch (1) version 3, of which versions 4 to 18 are spoken"
        );
        assert_eq!(
            unspoken(30, None),
            "it asked for CreateAcls (30) version 3, which the sandbox doesn't have"
        );
        assert_eq!(
            unspoken(999, None),
            "it asked for the API 999, version 3, which the sandbox doesn't have"
        );
        assert!(unspoken(17, None).ends_with("the sandbox knows no users: let it use PLAINTEXT"));
    }

    #[test]
    fn a_length_that_is_another_protocols_is_recognized() {
        assert!(Closing::of_length([22, 3, 1, 0]).to_string().starts_with("it speaks TLS"));
        assert!(Closing::of_length(*b"POST").to_string().starts_with("it speaks HTTP"));
        assert_eq!(
            Closing::of_length([0x7f, 0, 0, 0]).to_string(),
            "its request claims 2130706432 bytes, of which at most 16777216 are taken"
        );
    }
}
