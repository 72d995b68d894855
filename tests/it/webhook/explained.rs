//! What people read when a certificate can't be used: what it is that is not as it should be, and the way out.

use crate::support::certificates::{Authority, Certificate, Server};
use crate::webhook::{client_with, post, soon};
use sluicegate::net::TlsSettings;
use sluicegate::relay::transport::SendErrorKind;
use sluicegate::webhook::keep_alive::ClientSettings;
use std::path::PathBuf;

/// What is said of a server with this certificate, where this CA is trusted.
fn said(certificate: &Certificate, ca: PathBuf) -> String {
    let server = Server::start(certificate);
    let tls = TlsSettings { ca: Some(ca.into()), ..TlsSettings::default() };
    let settings = ClientSettings { tls, ..ClientSettings::default() };
    let client = client_with(&format!("https://localhost:{}/", server.port), settings);
    match client.probe(soon()) {
        Ok(way) => way,
        Err(error) => {
            assert_eq!(error.kind, SendErrorKind::Connect, "{error}");
            // No object identifier and no certificate is dumped.
            assert!(!error.text.contains('[') && !error.text.contains("Context"), "{error}");
            error.text
        }
    }
}

#[track_caller]
fn says(certificate: &Certificate, ca: PathBuf, what: &[&str]) {
    let said = said(certificate, ca);
    for what in what {
        assert!(said.contains(what), "{what}: {said}");
    }
}

const HERE: &str = "DNS:localhost,IP:127.0.0.1";

#[test]
fn a_self_signed_certificate_of_a_ca_is_no_servers() {
    let authority = Authority::new();
    let (ca, server) = (
        authority.self_signed("ca-true", "P-256", true, HERE),
        authority.self_signed("ca-false", "P-256", false, HERE),
    );
    says(&ca, ca.certificate.clone(), &["is that of a CA (CA:TRUE)", "basicConstraints=critical,CA:FALSE"]);
    // Which is the way out that it names.
    says(&server, server.certificate.clone(), &["the certificate verifies"]);
}

#[test]
fn kinds_of_keys_and_signatures_that_are_not_spoken_have_names() {
    let authority = Authority::new();
    let p521 = authority.self_signed("p521", "P-521", false, HERE);
    says(&p521, p521.certificate.clone(), &["refused the handshake", "ECDSA on P-256 or P-384"]);
    for (name, curve, digest, what) in [
        ("sha512", "P-256", "sha512", "is signed with ECDSA with SHA-512"),
        (
            "p521-ca",
            "P-521",
            "sha256",
            "is signed with ECDSA with SHA-256 by a key of the kind ECDSA on P-521",
        ),
        ("k1-ca", "secp256k1", "sha256", "by a key of the kind ECDSA on secp256k1"),
    ] {
        let (ca, certificate) = authority.issue_elliptic(name, HERE, curve, digest);
        says(&certificate, ca, &[what, "that is not supported here", "ECDSA keys on P-256 and P-384"]);
    }
    let (ca, fine) = authority.issue_elliptic("fine", HERE, "P-384", "sha384");
    says(&fine, ca, &["the certificate verifies"]);
}

#[test]
fn a_certificate_of_version_1_is_told() {
    let authority = Authority::new();
    let certificate = authority.issue_version_1("version-1");
    says(&certificate, authority.pem(), &["X.509 version 1", "subjectAltName"]);
}

#[test]
fn times_are_told_beside_what_the_clock_says() {
    let authority = Authority::new();
    let expired = authority.issue_expired("expired", HERE);
    let what = ["has expired", "it is valid until 2020-01-02T00:00:00Z, and this host's clock says 20"];
    says(&expired, authority.pem(), &what);
    let early = authority.issue_early("early", HERE);
    let what = ["is not valid yet", "it is valid from 2098-01-01T00:00:00Z, and this host's clock says 20"];
    says(&early, authority.pem(), &what);
}

#[test]
fn names_and_issuers_are_told() {
    let authority = Authority::new();
    let other = authority.issue("other", "DNS:a.example,DNS:*.b.example,IP:10.0.0.1");
    let what = ["another name than localhost: it is for a.example, *.b.example, 10.0.0.1", "issued anew"];
    says(&other, authority.pem(), &what);
    let nameless = authority.issue("nameless", "email:a@b.example");
    says(&nameless, authority.pem(), &["another name than localhost"]);
    let foreign = Authority::new();
    says(&other, foreign.pem(), &["signed by none of the CAs that are trusted here", "name the CA file"]);
}

#[test]
fn nothing_is_sent_to_whom_cannot_be_trusted() {
    let authority = Authority::new();
    let certificate = authority.self_signed("ca-true", "P-256", true, HERE);
    let server = Server::start(&certificate);
    let tls = TlsSettings { ca: Some(certificate.certificate.clone().into()), ..TlsSettings::default() };
    let settings = ClientSettings { tls, ..ClientSettings::default() };
    let error = post(&client_with(&format!("https://localhost:{}/", server.port), settings)).unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Connect);
}
