//! Whom we trust, and who trusts us: TLS against a real broker.

use crate::connection::secured::{Secured, secured, trusting};
use crate::connection::{connector, soon, visit};
use crate::support::binary;
use crate::support::certificates::{Authority, Server};
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
fn names_what_it_does_not_support_of_a_brokers_certificate() {
    let authority = Authority::new();
    let here = "DNS:localhost,IP:127.0.0.1";
    let p521 = authority.self_signed("p521", "P-521", false, here);
    let (sha512_ca, sha512) = authority.issue_elliptic("sha512", here, "P-256", "sha512");
    let version_1 = authority.issue_version_1("version-1");
    for (certificate, ca, what) in [
        (&p521, &p521.certificate, "is supported here (RSA, ECDSA on P-256 or P-384, Ed25519)"),
        (&sha512, &sha512_ca, "is signed with ECDSA with SHA-512): that is not supported here"),
        (&version_1, &authority.pem(), "is of X.509 version 1 or 2, and version 3 is needed"),
    ] {
        let server = Server::start(certificate);
        let error =
            connector(trusting(ca, Protocol::Ssl)).open("localhost", server.port, soon()).unwrap_err();
        assert!(error.is_fatal(), "{error}");
        assert!(error.to_string().contains(what) && !error.to_string().contains('['), "{error}");
        // And a run says so, and ends.
        let properties = format!("security.protocol=SSL\nssl.ca.location={}\n", ca.display());
        let file = certificate.all.with_extension("properties");
        std::fs::write(&file, properties).unwrap();
        let brokers = format!("localhost:{}", server.port);
        let run =
            ["run", "--brokers", &brokers, "--topic", "t", "--url", "http://127.0.0.1:1/", "--kafka-config"];
        binary::run(&[&run[..], &[file.to_str().unwrap()]].concat()).expect(1).saying(what);
    }
}

#[test]
fn a_client_certificate_that_was_renewed_is_shown_to_the_next_broker() {
    let Some(secured) = secured() else { return };
    let authority = Authority::new();
    let foreign = authority.issue("client", "DNS:client");
    let mut security = trusted(&secured);
    security.tls.client_cert = Some(Pem::File(foreign.certificate.clone()));
    security.tls.client_key = Some(Pem::File(foreign.key.clone()));
    let connector = connector(security);
    let port = secured.broker.port("MUTUAL");
    visit(&connector, "localhost", port).unwrap_err();
    std::fs::copy(&secured.client.certificate, &foreign.certificate).unwrap();
    std::fs::copy(&secured.client.key, &foreign.key).unwrap();
    crate::support::eventually("the renewed certificate", || visit(&connector, "localhost", port).is_ok());
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
    let folder = good.certificate.parent().unwrap().to_owned();
    let written = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.join(name), bytes).unwrap();
        Pem::File(folder.join(name))
    };
    let whole = std::fs::read(&good.certificate).unwrap();
    let cut = written("cut.pem", &whole[..whole.len() / 2]);
    let wide: Vec<u8> = whole.iter().flat_map(|byte| [*byte, 0]).collect();
    let wide = written("wide.pem", &[b"\xff\xfe", &wide[..]].concat());
    let p521 = Pem::File(authority.self_signed("p521", "P-521", false, "DNS:good").all);
    let encrypted = Pem::Text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".into(),
    );
    let (cert, key) = (Pem::File(good.certificate.clone()), Pem::File(good.key.clone()));
    let settings = |ca: Option<&Pem>, client_cert: Option<&Pem>, client_key: Option<&Pem>| TlsSettings {
        ca: ca.cloned(),
        client_cert: client_cert.cloned(),
        client_key: client_key.cloned(),
        ..TlsSettings::default()
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
        (settings(Some(&Pem::File(folder.clone())), None, None), "it is a directory"),
        (settings(Some(&cut), None, None), "a line -----END is missing, as in a file that is cut off"),
        (settings(Some(&wide), None, None), "is in UTF-16"),
        (settings(Some(&written("empty.pem", b"")), None, None), "holds no certificate"),
        (settings(None, Some(&p521), Some(&p521)), "the key is of a kind that is not supported here"),
    ] {
        let error = TlsClient::new(&settings).unwrap_err();
        assert!(matches!(error, NetError::Settings { .. }) && error.is_fatal());
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
    // What editors and other systems make of a text changes nothing.
    let lines = String::from_utf8(whole).unwrap().replace('\n', "\r\n");
    for bytes in [lines.as_bytes(), format!("\u{feff}{lines}").as_bytes(), lines.trim().as_bytes()] {
        TlsClient::new(&settings(Some(&written("edited.pem", bytes)), None, None)).unwrap();
    }
}
