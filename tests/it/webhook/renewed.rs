//! Certificates, keys and CAs that others renew while the client is in use, and who gets to see them.

use crate::support::binary;
use crate::support::certificates::Authority;
use crate::support::eventually;
use crate::support::folder::Folder;
use crate::webhook::peer::{Certificates, Peer, Tls, read_request};
use crate::webhook::{client_with, post, soon, status};
use sluicegate::files::Reporter;
use sluicegate::net::TlsSettings;
use sluicegate::webhook::keep_alive::ClientSettings;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Writes a copy of a file into a folder.
fn copy(folder: &Folder, name: &str, from: &Path) -> PathBuf {
    std::fs::copy(from, folder.0.join(name)).unwrap();
    folder.0.join(name)
}

fn accept(_: usize, tls: &mut Tls<'_>) {
    while read_request(tls).is_some() {
        let _ = tls.write_all(b"HTTP/1.1 204 X\r\n\r\n");
    }
}

#[test]
fn a_renewed_client_certificate_counts_for_new_connections() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let warn = |text: &str| TOLD.lock().unwrap().push(text.to_owned());
    let (certificates, folder) = (Certificates::new(), Folder::new("renewed"));
    let other = Authority::new();
    let foreign = other.issue("client", "DNS:client");
    let peer = Peer::tls(&certificates, true, accept);
    let tls = TlsSettings {
        ca: Some(certificates.authority.pem().into()),
        client_cert: Some(copy(&folder, "cert.pem", &foreign.certificate).into()),
        client_key: Some(copy(&folder, "key.pem", &foreign.key).into()),
        reporter: Reporter { warn, ..Reporter::SILENT },
    };
    let client = client_with(&peer.https(), ClientSettings { tls, ..ClientSettings::default() });
    let error = post(&client).unwrap_err();
    assert!(error.text.contains("give a client certificate that it trusts"), "{error}");
    copy(&folder, "cert.pem", &certificates.client.certificate);
    copy(&folder, "key.pem", &certificates.client.key);
    eventually("the renewed certificate is shown", || post(&client).is_ok_and(|answer| answer.status == 204));
    let connections = peer.connections();
    // Half a file, for longer than anybody writes at one.
    let text = std::fs::read_to_string(&certificates.client.certificate).unwrap();
    folder.write("cert.pem", &text[..text.len() / 2]);
    eventually("a warning of half a certificate", || {
        client.probe(soon()).expect("the last good certificate is shown");
        !TOLD.lock().unwrap().is_empty()
    });
    assert_eq!(status(&client), 204);
    assert!(peer.connections() > connections, "the kept connection stays beside those of the probes");
    let told = TOLD.lock().unwrap();
    assert!(told.len() == 1 && told[0].contains("cert.pem") && told[0].contains("cut off"), "{told:?}");
}

#[test]
fn a_renewed_ca_counts_for_new_connections() {
    let (certificates, folder, foreign) = (Certificates::new(), Folder::new("renewed"), Authority::new());
    let peer = Peer::tls(&certificates, false, accept);
    let ca = copy(&folder, "ca.pem", &foreign.pem());
    let tls = TlsSettings { ca: Some(ca.into()), ..TlsSettings::default() };
    let client = client_with(&peer.https(), ClientSettings { tls, ..ClientSettings::default() });
    assert!(post(&client).unwrap_err().text.contains("signed by none of the CAs"));
    copy(&folder, "ca.pem", &certificates.authority.pem());
    eventually("the renewed CA is trusted", || post(&client).is_ok());
    copy(&folder, "ca.pem", &foreign.pem());
    eventually("the removed CA is trusted no more", || client.probe(soon()).is_err());
    assert_eq!(status(&client), 204, "a connection that is there stays");
}

/// What `check` says of a token endpoint with TLS.
fn checked(peer: &Peer, folder: &Folder, lines: &str, more: &[&str]) -> String {
    let text = format!("token-url = {}\nclient-id = me\nclient-secret = s\n{lines}", peer.https());
    let auth = format!("oauth2:{}", folder.write("oauth", &text));
    let usual =
        ["check", "--brokers", "127.0.0.1:1", "--topic", "t", "--url", "http://127.0.0.1:1/", "--auth"];
    binary::run(&[&usual[..], &[&auth], more].concat()).expect(1).stdout
}

fn give_token(_: usize, tls: &mut Tls<'_>) {
    let _ = read_request(tls);
    let body = r#"{"access_token":"t"}"#;
    let _ = write!(tls, "HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}

#[test]
fn the_token_endpoint_sees_no_certificate_of_the_webhooks() {
    let (certificates, folder) = (Certificates::new(), Folder::new("renewed"));
    let ca = certificates.authority.pem().display().to_string();
    let client = &certificates.client;
    let (cert, key) = (client.certificate.display().to_string(), client.key.display().to_string());
    let webhooks = ["--ca", &ca, "--client-cert", &cert, "--client-key", &key];
    let open = Peer::tls(&certificates, false, give_token);
    let said = checked(&open, &folder, "", &webhooks);
    assert!(
        said.contains("WRONG  credentials: no access token from https://localhost")
            && said.contains("--ca and --client-cert are for the webhook alone")
            && said.contains("token-ca = FILE"),
        "{said}"
    );
    let trusting = format!("token-ca = {ca}\n");
    let said = checked(&open, &folder, &trusting, &[]);
    assert!(said.contains("ok     credentials: are available"), "{said}");
    let strict = Peer::tls(&certificates, true, give_token);
    let said = checked(&strict, &folder, &trusting, &webhooks);
    assert!(
        said.contains("client certificate") && said.contains("--client-cert is for the webhook alone"),
        "{said}"
    );
    let own = format!("{trusting}token-client-cert = {cert}\ntoken-client-key = {key}\n");
    let said = checked(&strict, &folder, &own, &[]);
    assert!(said.contains("ok     credentials: are available"), "{said}");
}
