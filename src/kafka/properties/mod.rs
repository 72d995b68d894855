//! The `client.properties` that people already have, read into our own settings.
//!
//! Java's names and librdkafka's are both understood. What would change a promise (offsets committed by the clock,
//! unchecked sums, uncommitted transactions, unverified host names) is refused with a sentence; what is not known
//! here is named in a warning; what only tells Java how to decode values means nothing here and passes silently.
//!
//! | room | what it is |
//! |---|---|
//! | `syntax` | the format of the file |
//! | `entries` | takes entries one by one |
//! | `secure`, `jaas` | TLS and SASL |

mod entries;
mod jaas;
mod secure;
mod syntax;

use super::config::Reset;
use super::group::assignor::Assignor;
use super::security::Security;
use crate::files::{self, LARGEST_FILE};
use entries::Entries;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Keys (or what they begin with) that tell other clients how to decode or watch; they change nothing here.
const MEANS_NOTHING: [&str; 14] = [
    "key.deserializer",
    "value.deserializer",
    "key.serializer",
    "value.serializer",
    "interceptor.classes",
    "max.poll.records",
    "allow.auto.create.topics",
    "exclude.internal.topics",
    "client.dns.lookup",
    "metric.reporters",
    "metrics.",
    "auto.include.jmx.reporter",
    "enable.metrics.push",
    "default.api.timeout.ms",
];

/// What a file of properties says. What it is silent about is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// `bootstrap.servers`, each as `HOST:PORT`.
    pub brokers: Vec<String>,
    /// `security.protocol`, `ssl.*` and `sasl.*`.
    pub security: Security,
    /// `group.id`.
    pub group: Option<String>,
    /// `group.instance.id`: static membership (KIP-345).
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: Option<String>,
    /// `client.rack`: fetch from the replica nearest to it (KIP-392).
    pub client_rack: Option<String>,
    /// `session.timeout.ms`.
    pub session_timeout: Option<Duration>,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval: Option<Duration>,
    /// `max.poll.interval.ms`: how long a member may take to give partitions up.
    pub rebalance_timeout: Option<Duration>,
    /// `request.timeout.ms`.
    pub request_timeout: Option<Duration>,
    /// `socket.connection.setup.timeout.ms`.
    pub connect_timeout: Option<Duration>,
    /// `connections.max.idle.ms`; zero where it is switched off by -1.
    pub max_idle: Option<Duration>,
    /// `metadata.max.age.ms`.
    pub metadata_max_age: Option<Duration>,
    /// `auto.offset.reset`.
    pub reset: Option<Reset>,
    /// `partition.assignment.strategy`, in its order of preference.
    pub assignors: Vec<Assignor>,
    /// What was left aside, a sentence each; none holds a value that might be a secret.
    pub warnings: Vec<String>,
}

impl Properties {
    /// Reads a file of at most 1 MiB.
    pub fn read(path: &Path) -> Result<Self, PropertiesError> {
        let failed = |reason: String| PropertiesError { line: None, sentence: reason };
        let bytes =
            files::read(path, LARGEST_FILE).map_err(|error| failed(format!("can't be read: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|_| {
            failed("is not UTF-8: save it as UTF-8, or write such characters as \\uXXXX".into())
        })?;
        Self::parse(&text)
    }

    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, PropertiesError> {
        let mut entries = Entries::new(syntax::parse(text)?);
        keep_promises(&mut entries)?;
        let mut properties = Self {
            brokers: brokers(&mut entries)?,
            security: secure::security(&mut entries)?,
            group: entries.text(&["group.id"]),
            instance_id: entries.text(&["group.instance.id"]),
            client_id: entries.text(&["client.id"]),
            client_rack: entries.text(&["client.rack"]),
            session_timeout: entries.time(&["session.timeout.ms"])?,
            heartbeat_interval: entries.time(&["heartbeat.interval.ms"])?,
            rebalance_timeout: entries.time(&["max.poll.interval.ms"])?,
            request_timeout: entries.time(&["request.timeout.ms", "socket.timeout.ms"])?,
            connect_timeout: entries.time(&["socket.connection.setup.timeout.ms"])?,
            max_idle: entries.time_or_never(&["connections.max.idle.ms"])?,
            metadata_max_age: entries.time(&["metadata.max.age.ms", "topic.metadata.refresh.interval.ms"])?,
            reset: reset(&mut entries)?,
            assignors: assignors(&mut entries)?,
            warnings: Vec::new(),
        };
        properties.warnings = entries.warnings(&MEANS_NOTHING);
        Ok(properties)
    }
}

/// Refuses what would break a promise, however common it is in other people's files.
fn keep_promises(entries: &mut Entries) -> Result<(), PropertiesError> {
    let no_clock = "offsets are committed once their records are delivered, never by the clock: remove it, or set \
                    enable.auto.commit=false";
    let verified = "the certificate's name is always verified: remove it, and reach the brokers by the names in their \
                    certificates";
    for (key, kept, promise) in [
        ("enable.auto.commit", &["false"][..], no_clock),
        ("enable.auto.offset.store", &["false"], no_clock),
        ("check.crcs", &["true"], "the checksums of records are always checked: remove it"),
        (
            "isolation.level",
            &["read_committed"],
            "records of aborted transactions are never sent, since a webhook can't be taken back: remove it, or set \
             isolation.level=read_committed",
        ),
        ("ssl.endpoint.identification.algorithm", &["https"], verified),
        (
            "enable.ssl.certificate.verification",
            &["true"],
            "the certificate is always verified: remove it, and name the CA by ssl.truststore.location",
        ),
    ] {
        let Some(entry) = entries.take(&[key]) else { continue };
        if !kept.iter().any(|kept| entry.value.eq_ignore_ascii_case(kept)) {
            return Err(PropertiesError::at(
                entry.line,
                format!("{key}={} is refused: {promise}", entry.value),
            ));
        }
    }
    if let Some(entry) = entries.take(&["group.protocol"])
        && !entry.value.eq_ignore_ascii_case("classic")
    {
        entries
            .warn(format!("group.protocol={} is not spoken here: the classic protocol is used", entry.value));
    }
    Ok(())
}

fn brokers(entries: &mut Entries) -> Result<Vec<String>, PropertiesError> {
    let Some(entry) = entries.take(&["bootstrap.servers", "metadata.broker.list"]) else {
        return Ok(Vec::new());
    };
    let mut brokers = Vec::new();
    for part in entry.value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        // Both clients allow the listener's protocol before the address.
        let address = part.split_once("://").map_or(part, |(_, address)| address);
        let valid = address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        if !valid {
            let sentence = format!("{}: {part:?} is no HOST:PORT", entry.key);
            return Err(PropertiesError::at(entry.line, sentence));
        }
        brokers.push(address.to_owned());
    }
    Ok(brokers)
}

fn reset(entries: &mut Entries) -> Result<Option<Reset>, PropertiesError> {
    let Some(entry) = entries.take(&["auto.offset.reset"]) else { return Ok(None) };
    match entry.value.to_ascii_lowercase().as_str() {
        "earliest" | "smallest" | "beginning" => Ok(Some(Reset::Earliest)),
        "latest" | "largest" | "end" => Ok(Some(Reset::Latest)),
        "none" | "error" => Ok(Some(Reset::Fail)),
        _ => Err(PropertiesError::at(
            entry.line,
            format!("auto.offset.reset={} is not known: it is earliest, latest or none", entry.value),
        )),
    }
}

/// Java's class names and librdkafka's short ones. One that is not spoken here is left out as long as another is.
fn assignors(entries: &mut Entries) -> Result<Vec<Assignor>, PropertiesError> {
    let Some(entry) = entries.take(&["partition.assignment.strategy"]) else { return Ok(Vec::new()) };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for name in entry.value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let assignor = match name.rsplit('.').next().unwrap_or_default() {
            "RangeAssignor" => Some(Assignor::Range),
            "RoundRobinAssignor" => Some(Assignor::RoundRobin),
            "CooperativeStickyAssignor" => Some(Assignor::CooperativeSticky),
            short => Assignor::from_name(short),
        };
        match assignor {
            Some(assignor) if known.contains(&assignor) => {}
            Some(assignor) => known.push(assignor),
            None => unknown.push(name),
        }
    }
    if unknown.is_empty() {
        return Ok(known);
    }
    let sentence = format!(
        "partition.assignment.strategy: {} is not spoken here; range, roundrobin and cooperative-sticky are",
        unknown.join(", ")
    );
    if known.is_empty() {
        return Err(PropertiesError::at(entry.line, sentence));
    }
    entries.warn(sentence);
    Ok(known)
}

/// Why a file of properties can't be used. Its text is to follow the file's name; it holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertiesError {
    /// The line of the key, counted from 1; `None` where it is about the whole file.
    pub(crate) line: Option<usize>,
    /// What is wrong and what to do.
    pub(crate) sentence: String,
}

impl PropertiesError {
    fn at(line: usize, sentence: String) -> Self {
        Self { line: Some(line), sentence }
    }
}

impl fmt::Display for PropertiesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.sentence),
            None => f.write_str(&self.sentence),
        }
    }
}

impl std::error::Error for PropertiesError {}
