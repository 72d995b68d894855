//! Whom we trust, and who trusts us: TLS against a real broker.

use crate::secured::{Secured, secured, trusting};
use crate::support::certificates::Authority;
use crate::{connector, soon, visit};
use sluicegate::kafka::connection::ConnectionError;
use sluicegate::kafka::security::{Protocol, Security};
use sluicegate::net::{Kind, NetError, Pem, TlsClient, TlsSettings};

fn trusted(secured: &Secured) -> Security {
    trusting(&secured.authority.pem(), Protocol::Ssl)
}

/// The error at a listener, which has to be fatal and of TLS.
fn refused(secured: &Secured, security: Security, listener: &str) -> String {
    let error = visit(&connector(security), "localhost", secured.broker.port(listener)).unwrap_err();
    assert!(error.is_fatal(), "{error}");
    assert!(matches!(&error, ConnectionError::Net(error) if error.kind() == Kind::Tls), "{error}");
    error.to_string()
}

#[test]
fn speaks_to_a_broker_whose_ca_it_was_given() {
    let Some(secured) = secured() else { return };
    let connector = connector(trusted(&secured));
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(visit(&connector, host, secured.broker.port("TRUSTED")).unwrap(), 1);
    }
}

#[test]
fn refuses_a_certificate_of_a_foreign_ca() {
    let Some(secured) = secured() else { return };
    let foreign = Authority::new();
    for security in
        [trusting(&foreign.pem(), Protocol::Ssl), Security { protocol: Protocol::Ssl, ..Security::default() }]
    {
        let error = refused(&secured, security, "TRUSTED");
        assert!(
            error.starts_with("no TLS with localhost (127.0.0.1:") && error.contains("name the CA file"),
            "{error}"
        );
    }
}

#[test]
fn refuses_an_expired_certificate() {
    let Some(secured) = secured() else { return };
    let error = refused(&secured, trusted(&secured), "EXPIRED");
    assert!(error.contains("its certificate has expired"), "{error}");
}

#[test]
fn refuses_a_certificate_for_another_name() {
    let Some(secured) = secured() else { return };
    let error = refused(&secured, trusted(&secured), "MISNAMED");
    assert!(
        error.contains("another.example") && error.contains("its certificate is for another name"),
        "{error}"
    );
}

#[test]
fn shows_its_own_certificate_where_the_broker_wants_one() {
    let Some(secured) = secured() else { return };
    let mut security = trusted(&secured);
    let error = refused(&secured, security.clone(), "MUTUAL");
    assert!(error.contains("give a client certificate"), "{error}");
    let foreign = Authority::new().issue("client", "DNS:client");
    // The authority is gone by now, and so are its files.
    security.tls.client_cert = Some(Pem::File(foreign.all.clone()));
    security.tls.client_key = Some(Pem::File(foreign.all));
    let error = TlsClient::new(&security.tls).unwrap_err().to_string();
    assert!(error.starts_with("can't read ") && error.contains("client.all.pem"), "{error}");

    let authority = Authority::new();
    let foreign = authority.issue("client", "DNS:client");
    security.tls.client_cert = Some(Pem::File(foreign.all.clone()));
    security.tls.client_key = Some(Pem::File(foreign.all));
    let error = refused(&secured, security.clone(), "MUTUAL");
    assert!(error.contains("give a client certificate that it trusts"), "{error}");

    security.tls.client_cert = Some(Pem::File(secured.client.certificate.clone()));
    security.tls.client_key = Some(Pem::File(secured.client.key.clone()));
    assert_eq!(visit(&connector(security), "localhost", secured.broker.port("MUTUAL")).unwrap(), 1);
}

#[test]
fn names_the_setting_when_the_listener_is_of_another_kind() {
    let Some(secured) = secured() else { return };
    let plain = connector(Security::default());
    let error = visit(&plain, "localhost", secured.broker.port("TRUSTED")).unwrap_err();
    assert!(error.to_string().contains("like a Kafka listener for security.protocol=PLAINTEXT"), "{error}");
    let error = visit(&plain, "localhost", secured.broker.port("SASL")).unwrap_err();
    assert!(error.to_string().contains("like a Kafka listener for security.protocol=PLAINTEXT"), "{error}");
    let error =
        connector(trusted(&secured)).open("localhost", secured.broker.port("SASL"), soon()).unwrap_err();
    assert!(error.to_string().contains("check that this port speaks TLS"), "{error}");
    assert!(!error.is_fatal(), "a broker that just stops looks the same");
}

#[test]
fn says_what_is_wrong_with_certificates_and_keys() {
    let authority = Authority::new();
    let good = authority.issue("good", "DNS:good");
    let other = authority.issue("other", "DNS:other");
    let encrypted = Pem::Text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".into(),
    );
    let (cert, key) = (Pem::File(good.certificate.clone()), Pem::File(good.key.clone()));
    let settings = |ca: Option<&Pem>, client_cert: Option<&Pem>, client_key: Option<&Pem>| TlsSettings {
        ca: ca.cloned(),
        client_cert: client_cert.cloned(),
        client_key: client_key.cloned(),
    };
    for (settings, expected) in [
        (settings(Some(&key), None, None), "holds no certificate"),
        (settings(Some(&Pem::Text("nothing".into())), None, None), "the settings holds no certificate"),
        (settings(None, Some(&cert), None), "has no key"),
        (settings(None, None, Some(&key)), "has no certificate"),
        (settings(None, Some(&cert), Some(&cert)), "holds no private key"),
        (settings(None, Some(&cert), Some(&Pem::File(other.key))), "can't be used with the key"),
        (settings(None, Some(&cert), Some(&encrypted)), "is encrypted: decrypt it"),
        (settings(Some(&Pem::File("/dev/zero".into())), None, None), "is larger than"),
    ] {
        let error = TlsClient::new(&settings).unwrap_err();
        assert!(matches!(error, NetError::Settings { .. }) && error.is_fatal());
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}
