//! The way to the destination: names and their addresses, proxies, unix sockets, and where it must not lead.

use crate::support::receiver::{Receiver, Reply};
use crate::webhook::{client, client_with, post, request, soon, status};
use sluicegate::relay::transport::SendErrorKind;
use sluicegate::webhook::destination::Destination;
use sluicegate::webhook::keep_alive::proxy::Proxy;
use sluicegate::webhook::keep_alive::{
    ClientError, ClientSettings, ConnectionAges, ConnectionChoice, KeepAlive, Resolver,
};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// An address on which nobody listens.
fn deserted() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Every name is at these addresses.
fn always(addresses: Vec<SocketAddr>) -> Resolver {
    Arc::new(move |_, _| Ok(addresses.clone()))
}

#[test]
fn every_address_of_a_name_is_tried() {
    let receiver = Receiver::accepting();
    let resolver = always(vec![deserted(), deserted(), receiver.address]);
    let client =
        client_with("http://hook.example/", ClientSettings { resolver, ..ClientSettings::default() });
    assert_eq!(status(&client), 204);
    assert_eq!(receiver.handled()[0].request.header("host"), Some("hook.example"));
}

/// An address that says neither yes nor no, since its queue of connections is full; as long as the sockets live.
fn hole() -> (SocketAddr, Vec<socket2::Socket>) {
    let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let listener = socket();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = vec![listener];
    loop {
        let next = socket();
        let full = next.connect_timeout(&address, Duration::from_millis(50)).is_err();
        queued.push(next);
        assert!(queued.len() < 16, "the queue has no end");
        if full {
            return (address.as_socket().unwrap(), queued);
        }
    }
}

#[test]
fn a_dead_first_address_costs_one_head_start_and_then_nothing() {
    let receiver = Receiver::accepting();
    let (dead, _queued) = hole();
    let resolver = always([vec![dead; 7], vec![receiver.address]].concat());
    let client =
        client_with("http://hook.example/", ClientSettings { resolver, ..ClientSettings::default() });
    let connect = || {
        let begun = Instant::now();
        assert_eq!(
            client.exchange(&request(b"{}"), ConnectionChoice::NewConnection, soon()).unwrap().status,
            204
        );
        begun.elapsed()
    };
    let first = connect();
    // In turn, each with its share of the connect timeout, they would take 4.3 s.
    assert!(first < Duration::from_secs(2), "{first:?}");
    let next = (0..3).map(|_| connect()).min().unwrap();
    assert!(next < Duration::from_millis(250), "the address that answered is tried first: {next:?}");
}

#[test]
fn a_name_that_stops_resolving_is_told_and_then_an_error() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let receiver = Receiver::accepting();
    let (address, turn) = (receiver.address, AtomicUsize::new(0));
    let resolver: Resolver = Arc::new(move |host, _| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => Ok(vec![address]),
        _ => Err(format!("{host} has no address")),
    });
    let stale_age = Duration::from_millis(600);
    let settings = ClientSettings {
        resolver,
        address_age: Duration::ZERO,
        stale_age,
        warn: |line| TOLD.lock().unwrap().push(line.to_owned()),
        ..ClientSettings::default()
    };
    let (client, begun) = (client_with("http://hook.example/", settings), Instant::now());
    let mut answered = 0;
    let error = loop {
        match client.exchange(&request(b"{}"), ConnectionChoice::NewConnection, soon()) {
            Ok(_) => answered += 1,
            Err(error) => break error,
        }
    };
    assert!(answered > 0 && begun.elapsed() >= stale_age);
    assert_eq!(error.kind, SendErrorKind::Connect);
    assert!(error.text.contains("hook.example has no address"), "{error}");
    assert_eq!(TOLD.lock().unwrap().len(), 1, "once, and not for each connection");
}

#[test]
fn nobody_there_is_told_with_each_address() {
    let (one, other) = (deserted(), deserted());
    let resolver = always(vec![one, other]);
    let client =
        client_with("http://hook.example/?secret", ClientSettings { resolver, ..ClientSettings::default() });
    let error = post(&client).unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Connect);
    for part in ["no connection to http://hook.example:", &one.to_string(), &other.to_string()] {
        assert!(error.text.contains(part) && !error.text.contains("secret"), "{error}");
    }
}

#[test]
fn a_name_that_leads_elsewhere_by_now_is_followed() {
    let receivers = [Receiver::accepting(), Receiver::accepting()];
    let now = Arc::new(AtomicUsize::new(0));
    let (at, addresses) = (Arc::clone(&now), receivers.each_ref().map(|receiver| receiver.address));
    let resolver: Resolver = Arc::new(move |_, _| Ok(vec![addresses[at.load(Ordering::SeqCst)]]));
    let moved = |address_age, life| {
        now.store(0, Ordering::SeqCst);
        let before = receivers[1].begun();
        let ages = ConnectionAges { idle: Duration::MAX, life };
        let settings = ClientSettings {
            resolver: Arc::clone(&resolver),
            ages,
            address_age,
            ..ClientSettings::default()
        };
        let client = client_with("http://hook.example/", settings);
        assert_eq!(status(&client), 204);
        now.store(1, Ordering::SeqCst);
        assert_eq!(status(&client), 204);
        receivers[1].begun() > before
    };
    assert!(moved(Duration::ZERO, Duration::ZERO));
    assert!(!moved(Duration::MAX, Duration::ZERO), "addresses that are young enough count");
    assert!(!moved(Duration::ZERO, Duration::MAX), "a connection that is young enough is kept");
}

#[test]
fn a_resolver_that_hangs_costs_the_connect_timeout() {
    let (_release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let resolver: Resolver = Arc::new(move |_, _| {
        let _ = held.lock().unwrap().recv();
        Err("late".into())
    });
    let connect_timeout = Duration::from_millis(50);
    let settings = ClientSettings { resolver, connect_timeout, ..ClientSettings::default() };
    let begun = Instant::now();
    let error = post(&client_with("http://hook.example/", settings)).unwrap_err();
    assert!(error.kind == SendErrorKind::Connect && begun.elapsed() < Duration::from_secs(10), "{error}");
    assert!(error.text.contains("hook.example was not resolved in time"), "{error}");
}

fn denying() -> ClientSettings {
    ClientSettings { deny_private: true, ..ClientSettings::default() }
}

fn refused(url: &str, settings: ClientSettings) -> String {
    let refused = KeepAlive::new(Destination::parse(url).unwrap(), settings);
    refused.unwrap_err().to_string()
}

#[test]
fn deny_private_refuses_an_address_at_once() {
    for url in ["http://127.0.0.1/", "http://[::1]:8080/", "http://169.254.169.254/latest", "unix:/run/hook"]
    {
        assert!(refused(url, denying()).contains("not on the Internet"), "{url}");
    }
    let proxy = Some(Proxy::parse("http://proxy.example:3128").unwrap());
    let settings = ClientSettings { proxy, ..denying() };
    let error = KeepAlive::new(Destination::parse("http://hook.example/").unwrap(), settings).unwrap_err();
    assert!(matches!(error, ClientError::PrivateBehindProxy));
}

#[test]
fn deny_private_refuses_a_name_that_leads_to_this_host() {
    let receiver = Receiver::accepting();
    let url = format!("http://localhost:{}/", receiver.address.port());
    let error = post(&client_with(&url, denying())).unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Connect);
    assert!(error.text.contains("localhost is at "), "{error}");
    // Forms of an address that the system's resolver takes for it.
    for host in ["127.1", "2130706433", "0x7f000001", "0"] {
        let url = format!("http://{host}:{}/", receiver.address.port());
        let error = post(&client_with(&url, denying())).unwrap_err();
        assert_eq!(error.kind, SendErrorKind::Connect, "{error}");
    }
    let mapped = SocketAddr::new("::ffff:127.0.0.1".parse().unwrap(), receiver.address.port());
    let resolver = always(vec![receiver.address, mapped]);
    assert!(post(&client_with("http://hook.example/", ClientSettings { resolver, ..denying() })).is_err());
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn a_unix_socket_is_a_destination() {
    let path = std::env::temp_dir().join(format!("sluicegate-hook-{}.sock", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let heads: Vec<String> = (0..3)
            .map(|_| {
                let head = crate::webhook::peer::read_request(&mut stream).unwrap();
                std::io::Write::write_all(&mut stream, b"HTTP/1.1 204 X\r\n\r\n").unwrap();
                head
            })
            .collect();
        heads
    });
    let client = client(&format!("unix:{}:/hook?a=b", path.display()));
    assert_eq!(client.destination().target(), "/hook?a=b");
    for _ in 0..3 {
        assert_eq!(status(&client), 204);
    }
    let heads = server.join().unwrap();
    assert!(
        heads.iter().all(|head| head.starts_with("POST /hook HTTP/1.1\r\nHost: localhost\r\n")),
        "{heads:?}"
    );
    std::fs::remove_file(&path).unwrap();
    let error = post(&client).unwrap_err();
    assert!(error.kind == SendErrorKind::Connect && error.text.contains("the socket"), "{error}");
}

#[test]
fn a_proxy_is_asked_for_the_whole_url() {
    let receiver = Receiver::start(|_| Reply::Status(204));
    let proxy = Proxy::parse(&format!("http://user:secret@{}", receiver.address)).unwrap();
    let settings = ClientSettings { proxy: Some(proxy), ..ClientSettings::default() };
    // A name that nobody here can look up: the proxy does.
    let client = client_with("http://hook.invalid:8080/", settings);
    assert_eq!((status(&client), status(&client)), (204, 204));
    assert_eq!(receiver.connections(), 1);
    let request = &receiver.handled()[0].request;
    assert_eq!(request.line, "POST http://hook.invalid:8080/hook HTTP/1.1");
    assert_eq!(request.header("host"), Some("hook.invalid:8080"));
    assert_eq!(request.header("proxy-authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
    assert!(!format!("{client:?}").contains("secret"));
}

#[test]
fn probing_sends_nothing() {
    let receiver = Receiver::accepting();
    let client = client(&receiver.url());
    let told = client.probe(soon()).unwrap();
    assert_eq!(told, format!("resolves and connects ({})", receiver.address));
    assert!(self::client(&format!("http://{}/", deserted())).probe(soon()).is_err());
    assert_eq!(status(&client), 204);
    assert_eq!(receiver.begun(), 1);
}
