//! The source of records: the Kafka client that the flags choose, if it was built in.

use super::Failure;
use super::options::{KafkaClient, Options};
#[cfg(feature = "kafka")]
use super::reporter::REPORTER;
#[cfg(feature = "kafka-crate")]
use crate::kafka::kafka_crate;
use crate::relay::source::Source;
use crate::webhook::destination::Destination;
#[cfg(feature = "kafka")]
use std::cell::OnceCell;

/// The group that is used unless one is named.
const GROUP: &str = "sluicegate";

/// What is read and how, before anybody is contacted.
pub(super) enum SourcePlan {
    #[cfg(feature = "kafka")]
    Native(Box<Native>),
    #[cfg(feature = "kafka-crate")]
    KafkaCrate(kafka_crate::Config),
}

impl SourcePlan {
    /// What the flags ask for. Contacts nobody.
    pub(super) fn new(options: &Options, brokers: &Brokers<'_>) -> Result<Self, Failure> {
        let _ = brokers;
        match options.kafka.client {
            #[cfg(feature = "kafka")]
            KafkaClient::Native => native(options, brokers.reach()?).map(Box::new).map(Self::Native),
            #[cfg(feature = "kafka-crate")]
            KafkaClient::KafkaCrate => of_crate(options).map(Self::KafkaCrate),
            #[allow(unreachable_patterns, reason = "not with all clients built in")]
            _ => Err(Failure::usage("--kafka-client: this binary was built without it")),
        }
    }

    /// The group whose positions count.
    pub(super) fn group(&self) -> &str {
        match self {
            #[cfg(feature = "kafka")]
            Self::Native(native) => &native.config.group,
            #[cfg(feature = "kafka-crate")]
            Self::KafkaCrate(config) => &config.group,
        }
    }

    /// What people should know, in sentences.
    pub(super) fn warnings(&self) -> &[String] {
        match self {
            #[cfg(feature = "kafka")]
            Self::Native(native) => &native.reach.properties.warnings,
            #[cfg(feature = "kafka-crate")]
            Self::KafkaCrate(_) => &[],
        }
    }

    /// Has the members of the group compare their destinations. In a group that neither a flag nor the file names, all
    /// have to send to the same one: nobody means to share that group with another webhook.
    pub(super) fn send_to(&mut self, destination: &Destination, options: &Options) {
        match self {
            #[cfg(feature = "kafka")]
            Self::Native(native) => {
                let Native { config, reach, .. } = &mut **native;
                let is_named =
                    options.group.is_some() || reach.properties.group.as_ref() == Some(&config.group);
                config.destination = Some(crate::kafka::config::MemberDestination {
                    digest: digest(&config.group, destination),
                    must_be_shared: !is_named,
                });
            }
            #[cfg(feature = "kafka-crate")]
            Self::KafkaCrate(_) => {
                let _ = (destination, options);
            }
        }
    }

    /// Begins to read.
    pub(super) fn open(self) -> Result<Box<dyn Source>, Failure> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Native(native) => native.open().map_err(|error| Failure::usage(error.to_string())),
            #[cfg(feature = "kafka-crate")]
            Self::KafkaCrate(config) => Ok(Box::new(kafka_crate::KafkaCrate::open(config))),
        }
    }

    /// The records of all partitions, from where the group has come to; nothing is committed and no group is joined.
    pub(super) fn look_into(self) -> Result<Box<dyn Source>, Failure> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Native(native) => {
                use crate::kafka::config::{Config, Share};
                let Native { config, reach, .. } = *native;
                let config = Config { share: Share::Fixed(None), commits: false, ..config };
                let native = Native { config, group_limit: None, reach };
                native.open().map_err(|error| Failure::failed(error.to_string()))
            }
            #[cfg(feature = "kafka-crate")]
            Self::KafkaCrate(_) => Err(Failure::usage("topic:NAME requires --kafka-client native")),
        }
    }
}

fn missing(flag: &str) -> Failure {
    Failure::usage(format!("{flag} is missing: see sluicegate run --help"))
}

/// The way to the brokers, read from the flags and `--kafka-config` when it is first asked for, and only then.
pub(super) struct Brokers<'a> {
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "the kafka crate has no other settings"))]
    options: &'a Options,
    #[cfg(feature = "kafka")]
    reach: OnceCell<Reach>,
}

impl<'a> Brokers<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        Self {
            options,
            #[cfg(feature = "kafka")]
            reach: OnceCell::new(),
        }
    }

    #[cfg(feature = "kafka")]
    pub(super) fn reach(&self) -> Result<&Reach, Failure> {
        if let Some(reach) = self.reach.get() {
            return Ok(reach);
        }
        let read = Reach::read(self.options)?;
        Ok(self.reach.get_or_init(|| read))
    }
}

/// What the `kafka` crate is to read, from the flags.
#[cfg(feature = "kafka-crate")]
fn of_crate(options: &Options) -> Result<kafka_crate::Config, Failure> {
    use crate::kafka::config::Start;
    if options.brokers.is_empty() {
        return Err(missing("--brokers HOST:PORT"));
    }
    if options.topics.is_empty() {
        return Err(missing("--topic NAME"));
    }
    let beyond = |what: &str| Err(Failure::usage(format!("{what} requires --kafka-client native")));
    if let Some(pattern) = options.topics.iter().find(|topic| topic.starts_with('^')) {
        return beyond(&format!("--topic '{pattern}', a pattern,"));
    }
    if matches!(options.start, Start::Timestamp(_)) {
        return beyond("--start with a time");
    }
    if options.kafka.config_file.is_some() {
        return beyond("--kafka-config");
    }
    if !options.forward_headers.is_empty() {
        return beyond("--forward-header");
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
pub(super) struct Native {
    pub(super) config: crate::kafka::config::Config,
    group_limit: Option<crate::kafka::config::GroupLimit>,
    pub(super) reach: Reach,
}

#[cfg(feature = "kafka")]
impl Native {
    fn open(self) -> Result<Box<dyn Source>, crate::relay::source::SourceError> {
        let Self { config, group_limit, reach } = self;
        let Reach { connector, brokers, .. } = reach;
        Ok(Box::new(crate::kafka::source::KafkaSource::open(config, group_limit, connector, brokers)?))
    }
}

/// How the native client reaches the brokers. Everything in the process that connects shares the connector, and is one
/// client to the brokers: dead letters are put by a client that brokers have let in before, and a rejected login is
/// retried there too.
#[cfg(feature = "kafka")]
#[derive(Clone)]
pub(super) struct Reach {
    pub(super) connector: crate::kafka::connection::Connector,
    /// Where to begin to ask.
    pub(super) brokers: Vec<crate::kafka::cluster::Address>,
    /// What else the file of `--kafka-config` says.
    properties: crate::kafka::properties::Properties,
}

#[cfg(feature = "kafka")]
impl Reach {
    fn read(options: &Options) -> Result<Self, Failure> {
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
        Ok(Self { connector: connector(&properties)?, brokers, properties })
    }
}

/// The native client's settings, from the flags and from `--kafka-config`. A flag takes precedence over the file.
#[cfg(feature = "kafka")]
fn native(options: &Options, reach: &Reach) -> Result<Native, Failure> {
    use crate::kafka::config::{Config, Share};
    let properties = &reach.properties;
    if options.topics.is_empty() {
        return Err(missing("--topic NAME"));
    }
    let group = options.group.clone().or(properties.group.clone()).unwrap_or_else(|| GROUP.into());
    let defaults = Config::default();
    let config = Config {
        topics: options.topics.clone(),
        share: match &options.partitions {
            Some(partitions) => Share::Fixed(Some(partitions.clone())),
            None => Share::Group(membership(options, properties, &group)?),
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
        destination: None,
        explain: super::advice::sentence,
    };
    crate::kafka::consumer::topics::Topics::parse(&config.topics)
        .map_err(|error| Failure::usage(format!("--topic: {error}")))?;
    Ok(Native { config, group_limit: group_limit(options)?, reach: reach.clone() })
}

/// `--group-max-concurrency`, which only a group can keep, and only while its members are sure to be heard of.
#[cfg(feature = "kafka")]
fn group_limit(options: &Options) -> Result<Option<crate::kafka::config::GroupLimit>, Failure> {
    let Some(most) = options.kafka.group_max_concurrency else { return Ok(None) };
    if options.partitions.is_some() {
        return Err(Failure::usage(
            "--group-max-concurrency requires a group, and --partitions joins none: leave one of them out",
        ));
    }
    let session = options
        .kafka
        .session_timeout
        .unwrap_or(crate::kafka::group::membership::MembershipSettings::default().session_timeout);
    if options.timeout.saturating_mul(2) > session {
        return Err(Failure::usage(
            "--group-max-concurrency requires that --timeout is at most half of --session-timeout: lower the one, or raise \
             the other",
        ));
    }
    Ok(Some(crate::kafka::config::GroupLimit { most, longest: options.timeout }))
}

/// What the members of a group compare: 64 bits of SHA-256 over the group's name, scheme, host, port and path. Query and
/// credentials are left out, since they may be replaced while the destination stays the same.
///
/// For many webhooks the path is the secret, and brokers show the digest to whoever may describe the group. It doesn't
/// give such a path away: a secret of 128 random bits can't be found by trial, and 64 bits would not tell which of the
/// countless paths with this digest it is. They do confirm a guess of an address that can be guessed. The group's name
/// keeps tables made for one group useless for another, and one webhook from being recognised in several groups.
#[cfg(feature = "kafka")]
fn digest(group: &str, destination: &Destination) -> [u8; 8] {
    use sha2::{Digest as _, Sha256};
    let (origin, target) = (destination.origin().to_ascii_lowercase(), destination.target());
    let path = target.split('?').next().unwrap_or_default();
    let socket = destination.socket().map(|socket| socket.to_string_lossy()).unwrap_or_default();
    let mut hash = Sha256::new();
    for part in ["sluicegate destination 1", group, &origin, &socket, path] {
        // The lengths keep what belongs to one part from being taken for the next.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().first_chunk().copied().unwrap_or_default()
}

#[cfg(feature = "kafka")]
fn membership(
    options: &Options,
    properties: &crate::kafka::properties::Properties,
    group: &str,
) -> Result<crate::kafka::group::membership::MembershipSettings, Failure> {
    use crate::kafka::group::membership::MembershipSettings;
    let defaults = MembershipSettings::default();
    let flags = &options.kafka;
    let session_timeout =
        flags.session_timeout.or(properties.session_timeout).unwrap_or(defaults.session_timeout);
    let interval =
        properties.heartbeat_interval.unwrap_or(defaults.heartbeat_interval.min(session_timeout / 3));
    let settings = MembershipSettings {
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
    use crate::kafka::connection::{Connector, ConnectorSettings};
    let defaults = ConnectorSettings::default();
    let mut security = properties.security.clone();
    security.tls.reporter = REPORTER;
    let settings = ConnectorSettings {
        security,
        client_id: properties.client_id.clone().unwrap_or(defaults.client_id),
        max_idle: properties.max_idle.unwrap_or(defaults.max_idle),
        connect_timeout: properties.connect_timeout.unwrap_or(defaults.connect_timeout),
        request_timeout: properties.request_timeout.unwrap_or(defaults.request_timeout),
        reporter: REPORTER,
        ..ConnectorSettings::default()
    };
    Connector::new(settings).map_err(|error| Failure::usage(format!("--kafka-config: {error}")))
}

#[cfg(all(test, feature = "kafka", feature = "tls"))]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_destinations_apart_and_nothing_else() {
        let of = |group, url| digest(group, &Destination::parse(url).unwrap());
        let hook = of("g", "https://example.com/hook/abc");
        for same in [
            "https://example.com:443/hook/abc",
            "HTTPS://EXAMPLE.com/hook/abc",
            "https://user:password@example.com/hook/abc?token=1#part",
        ] {
            assert_eq!(of("g", same), hook, "{same}");
        }
        for other in [
            "http://example.com/hook/abc",
            "https://example.org/hook/abc",
            "https://example.com:8443/hook/abc",
            "https://example.com/hook/ABC",
            "https://example.com/hook/{{topic}}",
            "unix:/run/hook.sock:/hook/abc",
        ] {
            assert_ne!(of("g", other), hook, "{other}");
        }
        assert_ne!(of("h", "https://example.com/hook/abc"), hook);
        assert_ne!(of("g", "unix:/run/a.sock:/hook"), of("g", "unix:/run/b.sock:/hook"));
    }
}
