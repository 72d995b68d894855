//! Where records come from: the Kafka client that the flags ask for, out of those that were built in.

use super::Failure;
use super::options::{KafkaClient, Options};
#[cfg(feature = "kafka-crate")]
use crate::kafka::kafka_crate;
use crate::relay::source::Source;

/// The group that is used unless one is named.
const GROUP: &str = "sluicegate";

/// What people should be warned of, and how to open the source, once it is certain that the run begins.
pub(crate) struct Prepared {
    /// The group whose positions count.
    pub(crate) group: String,
    /// Sentences.
    pub(crate) warnings: Vec<String>,
    open: Box<dyn FnOnce() -> Result<Box<dyn Source>, Failure>>,
}

impl Prepared {
    /// Begins to read.
    pub(crate) fn open(self) -> Result<Box<dyn Source>, Failure> {
        (self.open)()
    }
}

/// Looks whether the flags make sense. Contacts nobody.
pub(crate) fn prepare(options: &Options) -> Result<Prepared, Failure> {
    match options.kafka.client {
        #[cfg(feature = "kafka")]
        KafkaClient::Native => {
            let native = native(options)?;
            let (group, warnings) = (native.config.group.clone(), native.warnings);
            let open = move || {
                let consumer =
                    crate::kafka::consumer::Consumer::open(native.config, native.connector, native.brokers);
                let failed = |error: crate::relay::source::SourceError| Failure::usage(error.to_string());
                consumer.map(|consumer| Box::new(consumer) as Box<dyn Source>).map_err(failed)
            };
            Ok(Prepared { group, warnings, open: Box::new(open) })
        }
        #[cfg(feature = "kafka-crate")]
        KafkaClient::KafkaCrate => {
            let config = of_crate(options)?;
            let group = config.group.clone();
            let open = move || Ok(Box::new(kafka_crate::KafkaCrate::open(config)) as Box<dyn Source>);
            Ok(Prepared { group, warnings: Vec::new(), open: Box::new(open) })
        }
        #[allow(unreachable_patterns, reason = "not with all clients built in")]
        _ => Err(Failure::usage("--kafka-client: this binary was built without it")),
    }
}

fn missing(flag: &str) -> Failure {
    Failure::usage(format!("{flag} is missing: see sluicegate run --help"))
}

/// What the `kafka` crate is to read, from the flags.
#[cfg(feature = "kafka-crate")]
pub(crate) fn of_crate(options: &Options) -> Result<kafka_crate::Config, Failure> {
    use crate::kafka::config::Start;
    if options.brokers.is_empty() {
        return Err(missing("--brokers HOST:PORT"));
    }
    if options.topics.is_empty() {
        return Err(missing("--topic NAME"));
    }
    let beyond = |what: &str| Err(Failure::usage(format!("{what} needs --kafka-client native")));
    if let Some(pattern) = options.topics.iter().find(|topic| topic.starts_with('^')) {
        return beyond(&format!("--topic '{pattern}', a pattern,"));
    }
    if matches!(options.start, Start::Timestamp(_)) {
        return beyond("--start with a time");
    }
    if options.kafka.config_file.is_some() {
        return beyond("--kafka-config");
    }
    Ok(kafka_crate::Config {
        brokers: options.brokers.clone(),
        topics: options.topics.clone(),
        group: options.group.clone().unwrap_or_else(|| GROUP.into()),
        partitions: options.partitions.clone(),
        start: options.start,
        until_end: options.until_end,
        buffer: options.buffer.0,
    })
}

/// What the native client is to read, and how it reaches the brokers.
#[cfg(feature = "kafka")]
pub(crate) struct Native {
    /// What to read.
    pub(crate) config: crate::kafka::config::Config,
    /// How to connect.
    pub(crate) connector: crate::kafka::connection::Connector,
    /// Where to begin to ask.
    pub(crate) brokers: Vec<crate::kafka::cluster::Address>,
    /// Sentences.
    pub(crate) warnings: Vec<String>,
}

/// How the native client reaches the brokers.
#[cfg(feature = "kafka")]
pub(crate) struct Reach {
    /// How to connect.
    pub(crate) connector: crate::kafka::connection::Connector,
    /// Where to begin to ask.
    pub(crate) brokers: Vec<crate::kafka::cluster::Address>,
    /// What else the file of `--kafka-config` says.
    pub(crate) properties: crate::kafka::properties::Properties,
}

/// How to reach the brokers, from the flags and from `--kafka-config`.
#[cfg(feature = "kafka")]
pub(crate) fn reach(options: &Options) -> Result<Reach, Failure> {
    use crate::kafka::cluster::Address;
    use crate::kafka::properties::Properties;
    let properties = match &options.kafka.config_file {
        None => Properties::default(),
        Some(path) => Properties::read(path)
            .map_err(|error| Failure::usage(format!("--kafka-config: {}: {error}", path.display())))?,
    };
    let brokers = if options.brokers.is_empty() { &properties.brokers } else { &options.brokers };
    if brokers.is_empty() {
        return Err(missing("--brokers HOST:PORT (or bootstrap.servers in --kafka-config)"));
    }
    let address = |text: &String| {
        Address::parse(text)
            .ok_or_else(|| Failure::usage(format!("'{text}' is not HOST:PORT, such as localhost:9092")))
    };
    let brokers = brokers.iter().map(address).collect::<Result<_, _>>()?;
    Ok(Reach { connector: connector(&properties)?, brokers, properties })
}

/// The native client's settings, from the flags and from `--kafka-config`. A flag goes before the file.
#[cfg(feature = "kafka")]
pub(crate) fn native(options: &Options) -> Result<Native, Failure> {
    use crate::kafka::config::{Config, Share};
    let Reach { connector, brokers, properties } = reach(options)?;
    if options.topics.is_empty() {
        return Err(missing("--topic NAME"));
    }
    let group = options.group.clone().or(properties.group.clone()).unwrap_or_else(|| GROUP.into());
    let defaults = Config::default();
    let config = Config {
        topics: options.topics.clone(),
        share: match &options.partitions {
            Some(partitions) => Share::Fixed(Some(partitions.clone())),
            None => Share::Group(membership(options, &properties, &group)?),
        },
        group,
        start: options.start,
        reset: options.kafka.reset.or(properties.reset).unwrap_or_default(),
        until_end: options.until_end,
        buffer: options.buffer.0,
        largest_batch: options.kafka.max_batch_bytes.map_or(defaults.largest_batch, |bytes| bytes.0),
        commits: true,
        rack: options.kafka.rack.clone().or(properties.client_rack.clone()).unwrap_or_default(),
        request_timeout: properties.request_timeout.unwrap_or(defaults.request_timeout),
        metadata_max_age: properties.metadata_max_age.unwrap_or(defaults.metadata_max_age),
        group_limit: group_limit(options)?,
        explain: super::advice::sentence,
    };
    crate::kafka::consumer::topics::Topics::parse(&config.topics)
        .map_err(|error| Failure::usage(format!("--topic: {error}")))?;
    Ok(Native { config, connector, brokers, warnings: properties.warnings })
}

/// `--group-max-concurrency`, which only a group can keep, and only while its members are sure to be heard of.
#[cfg(feature = "kafka")]
fn group_limit(options: &Options) -> Result<Option<crate::kafka::config::GroupLimit>, Failure> {
    let Some(most) = options.kafka.group_max_concurrency else { return Ok(None) };
    if options.partitions.is_some() {
        return Err(Failure::usage("--group-max-concurrency needs the group that --partitions does without"));
    }
    let session = options
        .kafka
        .session_timeout
        .unwrap_or(crate::kafka::group::membership::Settings::default().session_timeout);
    if options.timeout.saturating_mul(2) > session {
        return Err(Failure::usage(
            "with --group-max-concurrency a request may take at most half of the session: lower --timeout, or raise \
             --session-timeout",
        ));
    }
    Ok(Some(crate::kafka::config::GroupLimit { most, longest: options.timeout }))
}

#[cfg(feature = "kafka")]
fn membership(
    options: &Options,
    properties: &crate::kafka::properties::Properties,
    group: &str,
) -> Result<crate::kafka::group::membership::Settings, Failure> {
    use crate::kafka::group::membership::Settings;
    let defaults = Settings::default();
    let flags = &options.kafka;
    let session_timeout =
        flags.session_timeout.or(properties.session_timeout).unwrap_or(defaults.session_timeout);
    let interval =
        properties.heartbeat_interval.unwrap_or(defaults.heartbeat_interval.min(session_timeout / 3));
    let settings = Settings {
        group: group.to_owned(),
        instance_id: flags.instance_id.clone().or(properties.instance_id.clone()),
        assignors: [&flags.assignors, &properties.assignors, &defaults.assignors]
            .into_iter()
            .find(|list| !list.is_empty())
            .cloned()
            .unwrap_or_default(),
        session_timeout,
        rebalance_timeout: flags
            .rebalance_timeout
            .or(properties.rebalance_timeout)
            .unwrap_or(defaults.rebalance_timeout),
        heartbeat_interval: interval,
        request_timeout: properties.request_timeout.unwrap_or(defaults.request_timeout),
        rack: flags.rack.clone().or(properties.client_rack.clone()),
    };
    settings.check().map_err(Failure::usage)?;
    Ok(settings)
}

#[cfg(feature = "kafka")]
fn connector(
    properties: &crate::kafka::properties::Properties,
) -> Result<crate::kafka::connection::Connector, Failure> {
    use crate::kafka::connection::{Connector, Settings};
    use std::sync::{Mutex, PoisonError};
    let defaults = Settings::default();
    let mut security = properties.security.clone();
    security.tls.reporter = super::requests::REPORTER;
    let settings = Settings {
        security,
        client_id: properties.client_id.clone().unwrap_or(defaults.client_id),
        max_idle: properties.max_idle.unwrap_or(defaults.max_idle),
        connect_timeout: properties.connect_timeout.unwrap_or(defaults.connect_timeout),
        request_timeout: properties.request_timeout.unwrap_or(defaults.request_timeout),
        reporter: super::requests::REPORTER,
        ..Settings::default()
    };
    let connector =
        Connector::new(settings).map_err(|error| Failure::usage(format!("--kafka-config: {error}")))?;
    // Everything in the process that connects is one client to the brokers. Dead letters are thus put by a client that
    // brokers have let in before, and a refused login is retried there too.
    static CLIENT: Mutex<Option<Connector>> = Mutex::new(None);
    let mut client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
    let same = client.take().filter(|client| client.settings() == connector.settings());
    Ok(client.insert(same.unwrap_or(connector)).clone())
}

#[cfg(all(test, feature = "kafka"))]
mod tests {
    use super::*;
    use crate::kafka::properties::Properties;

    #[test]
    fn all_that_connects_in_the_same_way_is_one_client() {
        let named = |name: &str| {
            let properties = Properties { client_id: Some(name.into()), ..Properties::default() };
            connector(&properties).map_err(|failure| failure.text).unwrap()
        };
        assert!(named("a") == named("a"));
        assert!(named("a") != named("b"));
    }
}
