//! TLS before a server that has none: one version of it, so that whoever gets through has spoken that version.

use crate::support::certificates::Certificate;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Reads one request or one answer.
type Framing = fn(&mut dyn Read) -> Option<Vec<u8>>;

/// Passes each request on, and each answer back, until dropped.
pub struct Terminator {
    pub address: SocketAddr,
    handshakes: Arc<AtomicUsize>,
    closing: Arc<AtomicBool>,
}

impl Terminator {
    pub fn start(
        port: u16,
        version: &'static SupportedProtocolVersion,
        certificate: &Certificate,
        framing: Framing,
        upstream: SocketAddr,
    ) -> io::Result<Self> {
        let chain = vec![CertificateDer::from_pem_file(&certificate.certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&certificate.key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let address = listener.local_addr()?;
        let (handshakes, closing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let terminator = Self { address, handshakes: Arc::clone(&handshakes), closing: Arc::clone(&closing) };
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if closing.load(Ordering::SeqCst) {
                    return;
                }
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                let handshakes = Arc::clone(&handshakes);
                std::thread::spawn(move || {
                    pass(StreamOwned::new(session, client), framing, upstream, &handshakes)
                });
            }
        });
        Ok(terminator)
    }

    /// Connections on which a request came through.
    pub fn connections(&self) -> usize {
        self.handshakes.load(Ordering::SeqCst)
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn pass(
    client: StreamOwned<ServerConnection, TcpStream>,
    framing: Framing,
    upstream: SocketAddr,
    handshakes: &AtomicUsize,
) -> Option<()> {
    let mut client = BufReader::new(client);
    let mut server = BufReader::new(TcpStream::connect(upstream).ok()?);
    let mut is_first = true;
    loop {
        let request = framing(&mut client)?;
        if std::mem::take(&mut is_first) {
            handshakes.fetch_add(1, Ordering::SeqCst);
        }
        server.get_mut().write_all(&request).ok()?;
        let answer = framing(&mut server)?;
        client.get_mut().write_all(&answer).ok()?;
        client.get_mut().flush().ok()?;
    }
}

/// A request or an answer of HTTP whose body has a length, or none.
pub fn http(from: &mut dyn Read) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let mut byte = [0];
    while !message.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte).ok()?;
        message.push(byte[0]);
    }
    let head = String::from_utf8(message.clone()).ok()?.to_ascii_lowercase();
    let length = head.split("\r\ncontent-length:").nth(1).and_then(|rest| rest.lines().next());
    let length: usize = length.map_or(Some(0), |length| length.trim().parse().ok())?;
    let head_ends = message.len();
    message.resize(head_ends + length, 0);
    from.read_exact(&mut message[head_ends..]).ok()?;
    Some(message)
}

/// A request or an answer of Kafka. A broker at 127.0.0.2 is said to be at 127.0.0.1, where the TLS is.
pub fn kafka(from: &mut dyn Read) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).ok()?;
    let length = usize::try_from(i32::from_be_bytes(frame[..4].try_into().ok()?)).ok()?;
    frame.resize(4 + length, 0);
    from.read_exact(&mut frame[4..]).ok()?;
    while let Some(at) = frame.windows(9).position(|host| host == b"127.0.0.2") {
        frame[at + 8] = b'1';
    }
    Some(frame)
}
