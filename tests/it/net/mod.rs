//! TLS as both clients use it, against a server that is rustls itself: what is not seen from inside of a protocol.

use crate::support::certificates::Authority;
use crate::support::eventually;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use sluicegate::net::{Kind, Pem, Stream, TlsClient, TlsSettings, connect, resolve};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(100);

type Session = StreamOwned<ServerConnection, TcpStream>;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Who signs, a client that trusts it, and a server's settings.
fn parties() -> (Authority, TlsClient, Arc<ServerConfig>) {
    let authority = Authority::new();
    let good = authority.issue("good", "DNS:localhost,IP:127.0.0.1,IP:::1");
    let chain = vec![CertificateDer::from_pem_file(&good.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&good.key).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let settings = TlsSettings { ca: Some(Pem::File(authority.pem())), ..TlsSettings::default() };
    let client = TlsClient::new(&settings).unwrap();
    (authority, client, Arc::new(server))
}

/// Takes one connection and does something with it.
fn serve<T: Send + 'static>(
    address: &str,
    config: &Arc<ServerConfig>,
    act: impl FnOnce(Session) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    let session = ServerConnection::new(Arc::clone(config)).unwrap();
    (address, std::thread::spawn(move || act(StreamOwned::new(session, listener.accept().unwrap().0))))
}

fn dial(client: &TlsClient, name: &str, address: SocketAddr) -> Stream {
    let socket = connect(name, &[address], soon()).unwrap();
    Stream::tls(socket, client, name, soon()).unwrap_or_else(|error| panic!("{error}"))
}

/// Sends back what comes, until the client has gone; how the handshake went.
fn echo(mut session: Session) -> Option<HandshakeKind> {
    let mut buffer = [0; 64];
    while let Ok(read @ 1..) = session.read(&mut buffer) {
        session.write_all(&buffer[..read]).unwrap();
        session.flush().unwrap();
    }
    session.conn.handshake_kind()
}

fn ping(stream: &mut Stream) {
    stream.write_all(b"ping").unwrap();
    stream.flush().unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

#[test]
fn a_second_connection_resumes_the_session_of_the_first() {
    let (_authority, client, config) = parties();
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (address, server) = serve("127.0.0.1:0", &config, echo);
        let mut stream = dial(&client, "localhost", address);
        ping(&mut stream);
        assert!(!stream.has_gone(), "tickets are nothing to worry about");
        ping(&mut stream);
        drop(stream);
        kinds.push(server.join().unwrap());
    }
    assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
}

#[test]
fn an_address_may_stand_in_the_certificate() {
    let (_authority, client, config) = parties();
    for (address, name) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::1]:0", "[::1]")] {
        let (address, server) = serve(address, &config, echo);
        assert_eq!(resolve(name, address.port()).unwrap(), [address]);
        ping(&mut dial(&client, name, address));
        server.join().unwrap();
    }
}

#[test]
fn a_session_that_the_server_ended_has_gone() {
    let (_authority, client, config) = parties();
    let orderly = |mut session: Session| {
        session.conn.complete_io(&mut session.sock).unwrap();
        session.conn.send_close_notify();
        session.flush().unwrap();
        session.sock
    };
    let (address, server) = serve("127.0.0.1:0", &config, orderly);
    let mut stream = dial(&client, "localhost", address);
    // The socket itself stays open: only the session says so.
    let _socket = server.join().unwrap();
    eventually("the session is over", || stream.has_gone());

    let hasty = |mut session: Session| drop(session.conn.complete_io(&mut session.sock));
    let (address, server) = serve("127.0.0.1:0", &config, hasty);
    let mut stream = dial(&client, "localhost", address);
    server.join().unwrap();
    eventually("the connection is over", || stream.has_gone());
}

#[test]
fn what_comes_unasked_ends_the_use_of_a_session() {
    let (_authority, client, config) = parties();
    let unasked = |mut session: Session| {
        session.write_all(b"HTTP/1.1 408 Request Timeout").unwrap();
        session.flush().unwrap();
        session
    };
    let (address, server) = serve("127.0.0.1:0", &config, unasked);
    let mut stream = dial(&client, "localhost", address);
    let _session = server.join().unwrap();
    eventually("it is noticed", || stream.has_gone());
}

#[test]
fn a_handshake_with_a_silent_peer_ends_by_the_deadline() {
    let (_authority, client, _) = parties();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let begun = Instant::now();
    let error = Stream::tls(socket, &client, "localhost", begun + SHORT).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(!error.is_fatal() && begun.elapsed() >= SHORT && begun.elapsed() < SHORT * 100);
}

#[test]
fn a_peer_that_speaks_no_tls_is_told_as_such() {
    let (_authority, client, _) = parties();
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.read_exact(&mut [0; 64]).unwrap();
            socket.write_all(answer).unwrap();
        });
        let socket = connect("localhost", &[address], soon()).unwrap();
        let error = Stream::tls(socket, &client, "localhost", soon()).unwrap_err();
        server.join().unwrap();
        assert_eq!(error.kind(), Kind::Tls, "{error}");
        assert!(error.to_string().contains("TLS"), "{error}");
    }
}

#[test]
fn reads_of_a_session_end_by_the_deadline_and_by_another_thread() {
    let (_authority, client, config) = parties();
    let (address, server) = serve("127.0.0.1:0", &config, echo);
    let mut stream = dial(&client, "localhost", address);
    ping(&mut stream);
    stream.set_deadline(Instant::now() + SHORT);
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    stream.set_deadline(soon());
    let canceller = stream.canceller();
    std::thread::scope(|scope| {
        let read = scope.spawn(move || stream.read(&mut [0]));
        canceller.cancel();
        // Cut off, the session has not ended as sessions do.
        assert_eq!(read.join().unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    });
    server.join().unwrap();
}
