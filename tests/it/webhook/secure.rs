//! https: whom the client trusts, who it is, and how it gets there through a proxy.

use crate::support::LONG;
use crate::support::receiver::Receiver;
use crate::webhook::peer::{Certificates, Peer, Tls, read_request, splice, until_gone};
use crate::webhook::{client_with, post, soon, status};
use sluicegate::net::TlsSettings;
use sluicegate::relay::transport::SendErrorKind;
use sluicegate::webhook::destination::Destination;
use sluicegate::webhook::keep_alive::proxy::Proxy;
use sluicegate::webhook::keep_alive::{ClientSettings, ConnectionChoice, KeepAlive, Resolver};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};

fn trusting(certificates: &Certificates) -> ClientSettings {
    let tls = TlsSettings { ca: Some(certificates.authority.pem().into()), ..TlsSettings::default() };
    ClientSettings { tls, https_only: true, ..ClientSettings::default() }
}

fn accept(_: usize, tls: &mut Tls<'_>) {
    while read_request(tls).is_some() {
        let _ = tls.write_all(b"HTTP/1.1 204 X\r\n\r\n");
    }
}

#[test]
fn many_requests_go_over_one_session() {
    let certificates = Certificates::new();
    let peer = Peer::tls(&certificates, false, accept);
    let client = client_with(&peer.https(), trusting(&certificates));
    assert!(client.probe(soon()).unwrap().ends_with("and the certificate verifies"));
    for _ in 0..20 {
        assert_eq!(status(&client), 204);
    }
    assert_eq!(peer.connections(), 2, "one for the probe");
}

#[test]
fn a_large_body_goes_through_tls() {
    let certificates = Certificates::new();
    let (told, tell) = mpsc::channel();
    let peer = Peer::tls(&certificates, false, move |_, tls| {
        while let Some(request) = read_request(tls) {
            told.send(request.len()).unwrap();
            let _ = tls.write_all(b"HTTP/1.1 204 X\r\n\r\n");
        }
    });
    let client = client_with(&peer.https(), trusting(&certificates));
    let body = vec![b'x'; 3_000_000];
    for _ in 0..2 {
        client.exchange(&crate::webhook::request(&body), ConnectionChoice::AnyConnection, soon()).unwrap();
        assert!(tell.recv_timeout(LONG).unwrap() > body.len());
    }
    assert_eq!(peer.connections(), 1);
}

#[test]
fn a_session_that_ended_while_idle_is_replaced_at_once() {
    let certificates = Certificates::new();
    for notifies in [false, true] {
        let peer = Peer::tls(&certificates, false, move |_, tls| {
            let _ = read_request(tls);
            let _ = tls.write_all(b"HTTP/1.1 204 X\r\n\r\n");
            if notifies {
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        });
        let client = client_with(&peer.https(), trusting(&certificates));
        for _ in 0..5 {
            assert_eq!(status(&client), 204);
        }
        assert_eq!(peer.connections(), 5);
    }
}

#[test]
fn who_cannot_prove_its_name_gets_nothing() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let (told, tell) = mpsc::channel::<String>();
    let peer = Peer::tls(&theirs, false, move |_, tls| {
        if let Some(request) = read_request(tls) {
            let _ = told.send(request);
        }
    });
    for settings in [trusting(&ours), ClientSettings::default()] {
        let error = post(&client_with(&peer.https(), settings)).unwrap_err();
        assert_eq!(error.kind, SendErrorKind::Connect, "{error}");
        assert!(
            error.text.contains("no connection to https://localhost") && error.text.contains("certificate")
        );
    }
    // The right CA, and another name.
    let address = peer.address;
    let resolver: Resolver = Arc::new(move |_, _| Ok(vec![address]));
    let settings = ClientSettings { resolver, ..trusting(&theirs) };
    let error = post(&client_with("https://hook.example/", settings)).unwrap_err();
    assert!(error.kind == SendErrorKind::Connect && error.text.contains("another name"), "{error}");
    // One that speaks no TLS at all.
    let plain = Receiver::accepting();
    let url = format!("https://localhost:{}/", plain.address.port());
    let error = post(&client_with(&url, trusting(&ours))).unwrap_err();
    assert_eq!((error.kind, plain.begun()), (SendErrorKind::Connect, 0), "{error}");
    assert!(tell.try_recv().is_err(), "nothing was sent to any of them");
}

#[test]
fn the_client_proves_who_it_is() {
    let certificates = Certificates::new();
    let peer = Peer::tls(&certificates, true, accept);
    let error = post(&client_with(&peer.https(), trusting(&certificates))).unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Connect, "{error}");
    assert!(error.text.contains("client certificate"), "{error}");
    let tls = TlsSettings {
        client_cert: Some(certificates.client.certificate.clone().into()),
        client_key: Some(certificates.client.key.clone().into()),
        ..trusting(&certificates).tls
    };
    let client = client_with(&peer.https(), ClientSettings { tls, ..trusting(&certificates) });
    assert_eq!((status(&client), status(&client)), (204, 204));
}

#[test]
fn settings_that_cannot_work_are_told_before_anybody_is_contacted() {
    let refused = |url: &str, settings: ClientSettings| {
        KeepAlive::new(Destination::parse(url).unwrap(), settings).unwrap_err().to_string()
    };
    let https_only = ClientSettings { https_only: true, ..ClientSettings::default() };
    assert!(refused("http://hook.example/", https_only).contains("only https is allowed"));
    let tls =
        TlsSettings { ca: Some(std::path::PathBuf::from("/no/such.pem").into()), ..TlsSettings::default() };
    let error = refused("https://hook.example/", ClientSettings { tls, ..ClientSettings::default() });
    assert!(error.contains("/no/such.pem"), "{error}");
}

/// A proxy that knows one host, and tells what it was asked for.
fn proxy(to: SocketAddr, answer: &'static [u8]) -> (Peer, mpsc::Receiver<String>) {
    let (told, tell) = mpsc::channel();
    let peer = Peer::start(move |_, mut stream| {
        let Some(head) = read_request(&mut stream) else { return };
        told.send(head).unwrap();
        let _ = stream.write_all(answer);
        if answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"\r\n\r\n") {
            splice(stream, &TcpStream::connect(to).unwrap());
        } else {
            until_gone(stream);
        }
    });
    (peer, tell)
}

fn through(proxy: &Peer, settings: ClientSettings) -> ClientSettings {
    let proxy = Proxy::parse(&format!("http://user:secret@{}", proxy.address)).unwrap();
    ClientSettings { proxy: Some(proxy), ..settings }
}

#[test]
fn a_proxy_opens_the_way_and_sees_nothing_of_the_request() {
    let certificates = Certificates::new();
    let peer = Peer::tls(&certificates, false, accept);
    // The length would be one of a body, which an accepted CONNECT has not.
    let (proxy, asked) = proxy(peer.address, b"HTTP/1.1 200 Established\r\nContent-Length: 9\r\n\r\n");
    let client = client_with("https://localhost/hook", through(&proxy, trusting(&certificates)));
    for _ in 0..3 {
        assert_eq!(status(&client), 204);
    }
    let expected = "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\
                    Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n";
    assert_eq!(asked.recv_timeout(LONG).unwrap(), expected);
    assert_eq!((proxy.connections(), peer.connections()), (1, 1));
}

#[test]
fn a_proxy_that_opens_nothing_is_told() {
    let certificates = Certificates::new();
    for (answer, text) in [
        (&b"HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n"[..], "wants other credentials (407)"),
        (b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", "answered 503"),
        (b"HTTP/1.1 200 X\r\n\r\nmore", "said more"),
        (b"no HTTP\r\n\r\n", "not HTTP"),
    ] {
        let (proxy, _asked) = proxy(([127, 0, 0, 1], 1).into(), answer);
        let client = client_with("https://localhost/hook", through(&proxy, trusting(&certificates)));
        let error = post(&client).unwrap_err();
        assert_eq!(error.kind, SendErrorKind::Connect, "{error}");
        assert!(error.text.contains(text) && !error.text.contains("secret"), "{error}");
    }
}

#[test]
fn an_address_that_speaks_no_tls_is_passed_over_for_the_next() {
    let certificates = Certificates::new();
    let closing = Peer::start(|_, _| ());
    let peer = Peer::tls(&certificates, false, accept);
    let addresses = vec![closing.address, peer.address];
    let resolver: Resolver = Arc::new(move |_, _| Ok(addresses.clone()));
    let client = client_with("https://localhost/", ClientSettings { resolver, ..trusting(&certificates) });
    for _ in 0..3 {
        assert_eq!(
            client
                .exchange(&crate::webhook::request(b"x"), ConnectionChoice::NewConnection, soon())
                .unwrap()
                .status,
            204
        );
    }
    assert_eq!((closing.connections(), peer.connections()), (1, 3), "it is tried last from then on");
    // Where all fail, the first says why.
    let others = vec![closing.address, Peer::start(|_, _| ()).address];
    let resolver: Resolver = Arc::new(move |_, _| Ok(others.clone()));
    let client = client_with("https://localhost/", ClientSettings { resolver, ..trusting(&certificates) });
    let error = post(&client).unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Connect);
    assert!(error.text.contains("TLS") && error.text.contains(&closing.address.to_string()), "{error}");
}
