//! The settings of requests.

use super::header_field::HeaderField;
use crate::files::Reporter;
use crate::webhook::authorization::Authorization;
use crate::webhook::cloud_event::CloudEvents;
use crate::webhook::signature::Signer;
use crate::webhook::template::TemplateError;
use std::fmt;

/// The longest `kafka-key` by default, in bytes as it is sent. Servers take lines of 8 KB, and 16 KB in all, or more.
pub const DEFAULT_MAX_KEY_HEADER: usize = 4 << 10;

/// What becomes the body of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The value, byte for byte.
    #[default]
    Raw,
    /// The value, with the attributes of a CloudEvent as headers.
    CloudEvents(CloudEvents),
    /// The whole record as a JSON object.
    Json,
}

/// The settings of requests.
#[derive(Debug)]
pub struct RequestSettings {
    /// What becomes the body.
    pub format: Format,
    /// The content type of records without one of their own; `None`: by [looking at the value](super::content_type).
    pub content_type: Option<String>,
    /// Headers of every request.
    pub headers: Vec<HeaderField>,
    /// Headers that a record's own are forwarded from: names in lower case, from
    /// [`forwardable`](super::forwardable).
    pub forward: Vec<String>,
    /// Signs each request; `None`: unsigned.
    pub signer: Option<Signer>,
    /// Where `Authorization` comes from; `None`: not set.
    pub authorization: Option<Authorization>,
    /// Whether topic, partition, offset, timestamp and key go along as `kafka-` headers.
    pub kafka_headers: bool,
    /// The longest `kafka-key`, in bytes as it would be sent; a longer key is left out.
    pub max_key_header: usize,
    /// Logs records that can't be sent quite as configured.
    pub reporter: Reporter,
}

impl Default for RequestSettings {
    fn default() -> Self {
        Self {
            format: Format::Raw,
            content_type: None,
            headers: Vec::new(),
            forward: Vec::new(),
            signer: None,
            authorization: None,
            kafka_headers: true,
            max_key_header: DEFAULT_MAX_KEY_HEADER,
            reporter: Reporter::SILENT,
        }
    }
}

/// Why the settings can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestSettingsError {
    /// A placeholder in the URL's path or query.
    Url(TemplateError),
    /// A placeholder in a header, by its name.
    Header(String, TemplateError),
    /// A header with the name of a CloudEvent's attribute.
    Attribute(String),
    /// Credentials in more than one place.
    TwoCredentials,
}

impl fmt::Display for RequestSettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => write!(f, "the URL: {error}"),
            Self::Header(name, error) => write!(f, "header {name}: {error}"),
            Self::Attribute(name) => {
                write!(f, "header {name}: the ce- headers of a CloudEvent are its own attributes")
            }
            Self::TwoCredentials => f.write_str(
                "credentials come from one place: a file or token endpoint, a user name in the URL, or a header Authorization",
            ),
        }
    }
}

impl std::error::Error for RequestSettingsError {}
