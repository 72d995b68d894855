//! What the flags set, typed and with the defaults that `--help` shows.

use super::values::Bytes;
use crate::kafka::config::Start;
#[cfg(feature = "kafka")]
use crate::kafka::{config::Reset, group::assignor::Assignor};
use crate::relay::dead_letter::filter::DeadLetterFilter;
use crate::relay::settings::{Order, RelaySettings};
use crate::webhook::request::{DEFAULT_MAX_KEY_HEADER, HeaderField};
use crate::webhook::secret_file::Scheme;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Where rejected records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeadLetter {
    /// Into a file.
    File(PathBuf),
    /// Into a topic.
    Topic(String),
    /// Nowhere, by explicit wish.
    Drop,
}

/// What of a record is the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FormatName {
    /// Its value.
    #[default]
    Raw,
    /// A CloudEvent.
    CloudEvents,
    /// The whole record as JSON.
    Json,
}

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    /// A file with a token or `USER:PASSWORD`.
    File(Scheme, PathBuf),
    /// A file that says how to get a token.
    OAuth2(PathBuf),
}

/// The type of an event that was none, without `--ce-type`.
pub(crate) const DEFAULT_CE_TYPE: &str = "kafka.record";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Who sends requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpClient {
    /// Over connections that are kept.
    KeepAlive,
    /// Over one connection each.
    Minreq,
}

impl HttpClient {
    /// Whether this binary has it.
    pub(crate) fn is_built(self) -> bool {
        match self {
            Self::KeepAlive => cfg!(feature = "keep-alive"),
            Self::Minreq => cfg!(feature = "minreq"),
        }
    }
}

/// Who reads Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KafkaClient {
    /// The client of our own.
    Native,
    /// The `kafka` crate.
    KafkaCrate,
}

impl KafkaClient {
    /// Whether this binary has it.
    pub(crate) fn is_built(self) -> bool {
        match self {
            Self::Native => cfg!(feature = "kafka"),
            Self::KafkaCrate => cfg!(feature = "kafka-crate"),
        }
    }
}

impl Default for KafkaClient {
    fn default() -> Self {
        if Self::Native.is_built() { Self::Native } else { Self::KafkaCrate }
    }
}

/// How Kafka is read. What a flag leaves open may stand in the file of `--kafka-config`.
#[derive(Clone, Debug, Default)]
pub(crate) struct KafkaOptions {
    /// `--kafka-client`
    pub(crate) client: KafkaClient,
    /// `--kafka-config`
    pub(crate) config_file: Option<PathBuf>,
    /// `--offset-reset`
    #[cfg(feature = "kafka")]
    pub(crate) reset: Option<Reset>,
    /// `--assignor`
    #[cfg(feature = "kafka")]
    pub(crate) assignors: Vec<Assignor>,
    /// `--instance-id`
    #[cfg(feature = "kafka")]
    pub(crate) instance_id: Option<String>,
    /// `--session-timeout`
    #[cfg(feature = "kafka")]
    pub(crate) session_timeout: Option<Duration>,
    /// `--rebalance-timeout`
    #[cfg(feature = "kafka")]
    pub(crate) rebalance_timeout: Option<Duration>,
    /// `--max-batch-bytes`
    #[cfg(feature = "kafka")]
    pub(crate) max_batch_bytes: Option<Bytes>,
    /// `--rack`
    #[cfg(feature = "kafka")]
    pub(crate) rack: Option<String>,
    /// `--group-max-concurrency`
    pub(crate) group_max_concurrency: Option<std::num::NonZeroU32>,
}

/// Whom to trust, and who we are: files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// `--ca`
    pub(crate) ca: Option<PathBuf>,
    /// `--client-cert`
    pub(crate) client_cert: Option<PathBuf>,
    /// `--client-key`
    pub(crate) client_key: Option<PathBuf>,
}

/// Text that may hold a secret: not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Concealed(String);

impl From<&str> for Concealed {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::ops::Deref for Concealed {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Concealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Everything the flags can say.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// `--brokers`
    pub(crate) brokers: Vec<String>,
    /// `--topic`
    pub(crate) topics: Vec<String>,
    /// `--url`; parsed where it is used, so that it is kept in one piece until then.
    pub(crate) url: Option<Concealed>,
    /// How Kafka is read.
    pub(crate) kafka: KafkaOptions,
    /// `--group`
    pub(crate) group: Option<String>,
    /// `--start`
    pub(crate) start: Start,
    /// `--until-end`
    pub(crate) until_end: bool,
    /// `--partitions`
    pub(crate) partitions: Option<Vec<i32>>,
    /// `--buffer`
    pub(crate) buffer: Bytes,
    /// Settings of the core; the fields below that belong to it are copied into it at the end.
    pub(crate) settings: RelaySettings,
    /// `--send-test`
    pub(crate) send_test: bool,
    /// `--max-concurrency`; the demo has defaults of its own.
    pub(crate) max_concurrency: Option<NonZeroUsize>,
    /// `--batch-interval`; likewise.
    pub(crate) batch_interval: Option<Duration>,
    /// `--window-size`
    pub(crate) window_size: Option<NonZeroUsize>,
    /// `--timeout`
    pub(crate) timeout: Duration,
    /// `--connect-timeout`
    pub(crate) connect_timeout: Duration,
    /// `--ca`, `--client-cert`, `--client-key`
    pub(crate) tls: TlsFiles,
    /// `--https-only`
    pub(crate) https_only: bool,
    /// `--deny-private`
    pub(crate) deny_private: bool,
    /// `--proxy`; parsed where it is used.
    pub(crate) proxy: Option<Concealed>,
    /// `--http-client`
    pub(crate) http_client: HttpClient,
    /// `--header`
    pub(crate) headers: Vec<HeaderField>,
    /// `--forward-header`
    pub(crate) forward_headers: Vec<String>,
    /// `--no-kafka-headers`
    pub(crate) no_kafka_headers: bool,
    /// `--max-key-header`
    pub(crate) max_key_header: Bytes,
    /// `--content-type`
    pub(crate) content_type: Option<String>,
    /// `--format`
    pub(crate) format: FormatName,
    /// `--ce-source`
    pub(crate) ce_source: Option<String>,
    /// `--ce-type`
    pub(crate) ce_type: Option<String>,
    /// `--auth`
    pub(crate) auth: Option<Auth>,
    /// `--signing-secret-file`
    pub(crate) signing_secret_files: Vec<PathBuf>,
    /// `--dead-letter`
    pub(crate) dead_letter: Option<DeadLetter>,
    /// `--dead-letter-max-size`
    pub(crate) dead_letter_max_size: Option<Bytes>,
    /// What stands behind the command: a file, `-` or `topic:NAME`.
    pub(crate) operand: Option<OsString>,
    /// `--only`, `--since`
    pub(crate) letters: DeadLetterFilter,
    /// `--dry-run`
    pub(crate) dry_run: bool,
    /// `--json`
    pub(crate) json: bool,
    /// `--follow`
    pub(crate) follow: bool,
    /// `--key-separator`
    pub(crate) key_separator: Option<String>,
    /// `--log-format`
    pub(crate) log_format: LogFormat,
    /// `-v` minus `-q`
    pub(crate) verbosity: i8,
    /// `--events`
    pub(crate) events: Option<NonZeroUsize>,
    /// `--delay`; each command that takes it has a default of its own.
    pub(crate) delay: Option<Duration>,
    /// `--listen`; likewise.
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// `--svg`
    pub(crate) svg: Option<PathBuf>,
    /// `--capacity`
    pub(crate) capacity: Option<NonZeroUsize>,
    /// `--status`; never empty.
    pub(crate) statuses: Vec<u16>,
    /// `--verify`
    pub(crate) verify: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            topics: Vec::new(),
            url: None,
            group: None,
            kafka: KafkaOptions::default(),
            start: Start::Earliest,
            until_end: false,
            partitions: None,
            buffer: Bytes(2 << 20),
            settings: RelaySettings { order: Order::None, ..RelaySettings::default() },
            send_test: false,
            max_concurrency: None,
            batch_interval: None,
            window_size: None,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            tls: TlsFiles::default(),
            https_only: false,
            deny_private: false,
            proxy: None,
            http_client: match HttpClient::KeepAlive.is_built() {
                true => HttpClient::KeepAlive,
                false => HttpClient::Minreq,
            },
            headers: Vec::new(),
            forward_headers: Vec::new(),
            no_kafka_headers: false,
            max_key_header: Bytes(DEFAULT_MAX_KEY_HEADER),
            content_type: None,
            format: FormatName::Raw,
            ce_source: None,
            ce_type: None,
            auth: None,
            signing_secret_files: Vec::new(),
            dead_letter: None,
            dead_letter_max_size: None,
            operand: None,
            letters: DeadLetterFilter::default(),
            dry_run: false,
            json: false,
            follow: false,
            key_separator: None,
            log_format: LogFormat::Text,
            verbosity: 0,
            events: None,
            delay: None,
            listen: None,
            svg: None,
            capacity: None,
            statuses: vec![204],
            verify: None,
        }
    }
}
