//! Whom we trust and who we are, for TLS: rustls with ring.
//!
//! The server's certificate is always verified, and so is that it is for the name we asked for; no setting turns
//! either off.

use super::{NetError, Pem, TlsSettings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

/// The largest PEM file that is read, in bytes.
const LARGEST_PEM: u64 = 1 << 20;

/// What all connections of a client have in common: trusted roots, own certificate, sessions to resume.
#[derive(Clone)]
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// Reads the files. Fails with [`NetError::Settings`], a sentence that names the file.
    pub fn new(settings: &TlsSettings) -> Result<Self, NetError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(format!("TLS can't be set up: {error}")))?
            .with_root_certificates(roots(settings.ca.as_ref())?);
        let config = match (&settings.client_cert, &settings.client_key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                builder.with_client_auth_cert(chain, private_key(key)?).map_err(|error| {
                    wrong(format!("the certificate in {cert} can't be used with the key in {key}: {error}"))
                })?
            }
            (Some(cert), None) => {
                return Err(wrong(format!("the certificate in {cert} has no key: give its key too")));
            }
            (None, Some(key)) => {
                return Err(wrong(format!("the key in {key} has no certificate: give it too")));
            }
        };
        Ok(Self(Arc::new(config)))
    }

    /// The state of a new connection to a host.
    pub(super) fn session(&self, server_name: &str) -> Result<ClientConnection, NetError> {
        let bare =
            server_name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(server_name);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| wrong(format!("{server_name} is no name that a certificate could be for")))?;
        ClientConnection::new(Arc::clone(&self.0), name)
            .map_err(|error| handshake_error(server_name, other(error)))
    }
}

fn wrong(sentence: String) -> NetError {
    NetError::Settings { sentence }
}

fn other(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn roots(ca: Option<&Pem>) -> Result<RootCertStore, NetError> {
    let mut store = RootCertStore::empty();
    if let Some(ca) = ca {
        for certificate in certificates(ca)? {
            store
                .add(certificate)
                .map_err(|error| wrong(format!("a certificate in {ca} is no CA's: {error}")))?;
        }
        return Ok(store);
    }
    let found = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let reason = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(wrong(format!(
            "this system has no CA certificates{reason}: install its package ca-certificates or name a CA file"
        )));
    }
    Ok(store)
}

impl Pem {
    fn read(&self) -> Result<Vec<u8>, NetError> {
        match self {
            Self::Text(text) => Ok(text.as_bytes().to_vec()),
            Self::File(path) => {
                let failed = |error: io::Error| wrong(format!("can't read {self}: {error}"));
                let file = std::fs::File::open(path).map_err(failed)?;
                let mut bytes = Vec::new();
                file.take(LARGEST_PEM + 1).read_to_end(&mut bytes).map_err(failed)?;
                if bytes.len() as u64 > LARGEST_PEM {
                    return Err(wrong(format!(
                        "{self} is larger than {LARGEST_PEM} bytes: is it a PEM file?"
                    )));
                }
                Ok(bytes)
            }
        }
    }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let bytes = pem.read()?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| wrong(format!("{pem} is no readable PEM: {error}")))?;
    if found.is_empty() {
        return Err(wrong(format!(
            "{pem} holds no certificate: it needs a line -----BEGIN CERTIFICATE-----"
        )));
    }
    Ok(found)
}

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, NetError> {
    let bytes = pem.read()?;
    let encrypted = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|mark| bytes.windows(mark.len()).any(|window| window == mark.as_bytes())) {
        return Err(wrong(format!(
            "the key in {pem} is encrypted: decrypt it (openssl pkey -in KEY -out PLAIN) and keep that file private"
        )));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        wrong(format!("{pem} holds no private key in PEM (PKCS #8, PKCS #1 or SEC 1): {error}"))
    })
}

/// What came of a handshake. A server that speaks no TLS closes or answers with what is no TLS record.
pub(super) fn handshake_error(host: &str, reason: io::Error) -> NetError {
    let ended = matches!(
        reason.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    );
    if ended && advice(&reason).is_none() {
        let advice = "it ended the handshake: check that this port speaks TLS and with which certificates";
        return NetError::Tls { host: host.to_owned(), reason, advice };
    }
    NetError::of_io(host, reason)
}

/// What to do about an error of rustls; `None` if it is another's.
pub(super) fn advice(error: &io::Error) -> Option<&'static str> {
    use rustls::{AlertDescription as Alert, Error};
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer => "name the CA file that its certificate was signed with",
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired: it needs a new one, or this host's clock is wrong"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet, or this host's clock is wrong"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name: use the name that it is for, or have it issued anew"
            }
            _ => "its certificate can't be used",
        },
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::AccessDenied
            // What TLS 1.2 servers, and Java's, say to a client without one.
            | Alert::HandshakeFailure,
        ) => "it did not accept our certificate, or wants one: give a client certificate that it trusts",
        Error::AlertReceived(Alert::ProtocolVersion) | Error::PeerIncompatible(_) => {
            "it needs a version or cipher that is not spoken here: TLS 1.2 and 1.3 are"
        }
        Error::InvalidMessage(_) => "it does not speak TLS on this port",
        _ => "the session can't be trusted",
    })
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsClient")
    }
}
