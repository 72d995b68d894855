//! TLS clients: trusted roots and client certificates, by rustls with ring.
//!
//! The server's certificate is always verified, and so is that it is for the name we asked for; no setting turns
//! either off.
//!
//! Files of certificates and keys are read again when they change. Connections made after that use the new ones, and
//! no session that was begun with the old ones is resumed; connections that are there stay as they are.

use super::error::{NetError, words};
use super::explain::{SUPPORTED_KEYS, own_certificate, session_error};
use super::trust::{Pem, TlsSettings};
use crate::files::{self, Contents, FileError, Watched};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// The largest PEM file that is read, in bytes.
const LARGEST_PEM: u64 = 1 << 20;

/// What all connections of a client have in common: trusted roots, own certificate, sessions to resume.
#[derive(Clone)]
pub struct TlsClient(Arc<Watched<Arc<ClientConfig>>>);

impl TlsClient {
    /// Reads the files. Fails with [`NetError::Settings`], a sentence that names the file.
    pub fn new(settings: &TlsSettings) -> Result<Self, NetError> {
        if let Some(error) = incomplete(settings) {
            return Err(error);
        }
        let mut files: Vec<(PathBuf, u64)> = Vec::new();
        for pem in [&settings.ca, &settings.client_cert, &settings.client_key].into_iter().flatten() {
            if let Pem::File(path) = pem
                && !files.iter().any(|(known, _)| known == path)
            {
                files.push((path.clone(), LARGEST_PEM));
            }
        }
        let names: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
        let name = format!("the certificates and keys for TLS ({})", names.join(", "));
        let owned = settings.clone();
        let make = move |contents: &Contents| config(&owned, contents).map(Arc::new);
        Watched::open(name, &files, make, settings.reporter, Instant::now()).map(Arc::new).map(Self)
    }

    /// The state of a new connection to a host.
    pub(super) fn session(&self, server_name: &str) -> Result<ClientConnection, NetError> {
        let bare =
            server_name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(server_name);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| wrong(format!("{server_name} is no name that a certificate could be for")))?;
        ClientConnection::new(Arc::clone(&self.0.get(Instant::now())), name)
            .map_err(|error| handshake_error(server_name, other(error)))
    }
}

fn config(settings: &TlsSettings, contents: &Contents) -> Result<ClientConfig, NetError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(format!("TLS can't be set up: {error}")))?
        .with_root_certificates(roots(settings.ca.as_ref(), contents)?);
    // `incomplete` has checked for one without the other.
    let Some((cert, key)) = settings.client_cert.as_ref().zip(settings.client_key.as_ref()) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(cert, contents)?;
    builder.with_client_auth_cert(chain, private_key(key, contents)?).map_err(|error| {
        let why = own_certificate(&error);
        wrong(format!("the certificate in {cert} can't be used with the key in {key}: {why}"))
    })
}

/// A certificate without a key, or a key without one.
fn incomplete(settings: &TlsSettings) -> Option<NetError> {
    match (&settings.client_cert, &settings.client_key) {
        (Some(cert), None) => Some(wrong(format!("the certificate in {cert} has no key: give its key too"))),
        (None, Some(key)) => Some(wrong(format!("the key in {key} has no certificate: give it too"))),
        _ => None,
    }
}

impl From<FileError> for NetError {
    fn from(error: FileError) -> Self {
        wrong(error.to_string())
    }
}

fn wrong(sentence: String) -> NetError {
    NetError::Settings { sentence }
}

fn other(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn roots(ca: Option<&Pem>, contents: &Contents) -> Result<RootCertStore, NetError> {
    let mut store = RootCertStore::empty();
    if let Some(ca) = ca {
        for certificate in certificates(ca, contents)? {
            store.add(certificate).map_err(|error| {
                let why = own_certificate(&error);
                wrong(format!("a certificate in {ca} can't be trusted as a CA's: {why}"))
            })?;
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
    /// Without a byte order mark, which would hide the first line from the parser.
    fn bytes<'b>(&'b self, contents: &'b Contents) -> Result<&'b [u8], NetError> {
        Ok(match self {
            Self::Text(text) => text.as_bytes(),
            Self::File(path) => {
                let bytes = contents.of(path);
                files::not_utf16(path, bytes)?;
                files::without_mark(bytes)
            }
        })
    }
}

fn certificates(pem: &Pem, contents: &Contents) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let bytes = pem.bytes(contents)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| wrong(format!("{pem} is no readable PEM: {}", pem_words(&error))))?;
    if found.is_empty() {
        return Err(wrong(format!(
            "{pem} holds no certificate: it needs a line -----BEGIN CERTIFICATE-----"
        )));
    }
    Ok(found)
}

fn private_key(pem: &Pem, contents: &Contents) -> Result<PrivateKeyDer<'static>, NetError> {
    let bytes = pem.bytes(contents)?;
    let encrypted = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|mark| bytes.windows(mark.len()).any(|window| window == mark.as_bytes())) {
        return Err(wrong(format!(
            "the key in {pem} is encrypted: decrypt it (openssl pkey -in KEY -out PLAIN) and keep that file private"
        )));
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| {
        let why = pem_words(&error);
        wrong(format!("{pem} holds no private key in PEM (PKCS #8, PKCS #1 or SEC 1): {why}"))
    })
}

/// What is wrong with PEM, without a byte of it.
fn pem_words(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a line -----END is missing, as in a file that is cut off",
        pem::Error::IllegalSectionStart { .. } => "a line -----BEGIN is not complete",
        pem::Error::Base64Decode(_) => "what is between BEGIN and END is not base64",
        pem::Error::NoItemsFound => "none is in it",
        _ => "it can't be read",
    }
}

/// What came of a handshake. A server that speaks no TLS closes or answers with what is no TLS record.
pub(super) fn handshake_error(host: &str, reason: io::Error) -> NetError {
    let ended = matches!(
        reason.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    );
    if ended && session_error(&reason).is_none() {
        let cause = words(&reason);
        let advice = format!(
            "it ended the handshake: check that this port speaks TLS, and with a key of a kind that is supported here \
             ({SUPPORTED_KEYS})"
        );
        return NetError::Tls { host: host.to_owned(), reason, cause, advice };
    }
    NetError::of_io(host, reason)
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsClient")
    }
}
