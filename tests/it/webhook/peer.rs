//! The other side of a connection, doing whatever a script says: for what no receiver in its right mind does.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::certificates::{Authority, Certificate};

/// An authority, and what it issued to a server on loopback and to a client.
pub struct Certificates {
    pub authority: Authority,
    pub server: Certificate,
    pub client: Certificate,
}

impl Certificates {
    pub fn new() -> Self {
        let authority = Authority::new();
        let server = authority.issue("server", "DNS:localhost,IP:127.0.0.1");
        let client = authority.issue("client", "DNS:client");
        Self { authority, server, client }
    }
}

/// Listens on loopback until dropped; each connection is a thread of its own.
pub struct Peer {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    closing: Arc<AtomicBool>,
}

impl Peer {
    /// `script` gets the number of the connection, from 0, and the connection.
    pub fn start(script: impl Fn(usize, &TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, closing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let peer = Self { address, connections: Arc::clone(&connections), closing: Arc::clone(&closing) };
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if closing.load(Ordering::SeqCst) {
                    return;
                }
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                std::thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    script(number, &stream);
                });
            }
        });
        peer
    }

    /// Answers each request of each connection with these bytes.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |_, mut stream| {
            while read_request(&mut stream).is_some() {
                let _ = stream.write_all(&bytes);
            }
        })
    }

    /// The same over TLS; `script` gets each connection after its handshake.
    pub fn tls(
        certificates: &Certificates,
        wants_client: bool,
        script: impl Fn(usize, &mut Tls<'_>) + Send + Sync + 'static,
    ) -> Self {
        let config = server(certificates, wants_client);
        Self::start(move |number, stream| {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            script(number, &mut rustls::StreamOwned::new(session, stream));
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn https(&self) -> String {
        format!("https://localhost:{}/hook", self.address.port())
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// A connection with TLS.
pub type Tls<'s> = rustls::StreamOwned<rustls::ServerConnection, &'s TcpStream>;

fn server(certificates: &Certificates, wants_client: bool) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let chain: Vec<_> = CertificateDer::pem_file_iter(&certificates.server.certificate)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(&certificates.server.key).unwrap();
    let builder = if wants_client {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificates.authority.pem()).unwrap()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

/// Reads one request: its head, and its body behind the empty line. `None` at the end of the connection.
pub fn read_request(stream: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.extend_from_slice(&byte);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8_lossy(&body))
}

/// Passes on what comes until the other side has gone.
pub fn until_gone(mut stream: &TcpStream) {
    let _ = stream.set_read_timeout(None);
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// What a proxy does once the connection is open.
pub fn splice(one: &TcpStream, other: &TcpStream) {
    let pass = |mut from: &TcpStream, mut to: &TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| pass(one, other));
        pass(other, one);
    });
}
