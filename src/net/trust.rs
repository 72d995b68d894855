//! Settings of TLS: trusted CAs and the client certificate. Available also without the feature `tls`.

use crate::files::Reporter;
use std::fmt;
use std::path::PathBuf;

/// Certificates or a key in PEM (RFC 7468). Never shown, since it may be a key.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// In a file, at most 1 MiB.
    File(PathBuf),
    /// The text itself.
    Text(String),
}

/// Settings of a TLS client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The CA certificates to trust; they replace the system's.
    pub ca: Option<Pem>,
    /// Our own certificate, followed by those that lead to the CA.
    pub client_cert: Option<Pem>,
    /// Its key, unencrypted (PKCS #8, PKCS #1 or SEC 1); may be the same file as the certificate.
    pub client_key: Option<Pem>,
    /// Logs changes of the files.
    pub reporter: Reporter,
}

impl From<PathBuf> for Pem {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Text(_) => f.write_str("the settings"),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
