//! A broker on loopback of a few lines, which does what a test says and counts who comes: for what a real one can't be
//! made to do.

use sluicegate::kafka::protocol::api_versions::{ApiVersionsResponse, ApiVersionsResponseKey};
use sluicegate::kafka::protocol::find_coordinator::{
    FindCoordinatorResponse, FindCoordinatorResponseCoordinator,
};
use sluicegate::kafka::protocol::metadata::{MetadataResponse, MetadataResponseBroker};
use sluicegate::kafka::protocol::sasl_authenticate::SaslAuthenticateResponse;
use sluicegate::kafka::protocol::sasl_handshake::SaslHandshakeResponse;
use sluicegate::kafka::protocol::{ApiKey, Encode, ErrorCode, frame_response};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What becomes of those who come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    /// They are answered.
    Answers,
    /// They are accepted, and that is all.
    Hangs,
    /// They are accepted and sent away.
    Closes,
    /// They are greeted, and then never answered.
    Greets,
    /// Their credentials are refused.
    Refuses,
}

#[derive(Default)]
struct Shared {
    mood: AtomicU8,
    came: AtomicUsize,
    logins: AtomicUsize,
    asked: AtomicUsize,
    /// The brokers that it names, by their numbers.
    brokers: Mutex<Vec<(i32, SocketAddr)>>,
}

/// The broker. Its thread ends with the test process.
#[derive(Clone)]
pub struct Double {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Double {
    pub fn start(mood: Mood) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), mood)
    }

    pub fn at(address: SocketAddr, mood: Mood) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let shared = Arc::new(Shared { mood: AtomicU8::new(mood as u8), ..Shared::default() });
        let double = Self { address: listener.local_addr().unwrap(), shared };
        let shared = Arc::clone(&double.shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                shared.came.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || serve(socket, &shared));
            }
        });
        double
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn turns(&self, mood: Mood) {
        self.shared.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// Names these brokers from now on.
    pub fn names(&self, brokers: &[(i32, SocketAddr)]) {
        *self.shared.brokers.lock().unwrap() = brokers.to_vec();
    }

    /// How many connections there were.
    pub fn came(&self) -> usize {
        self.shared.came.load(Ordering::SeqCst)
    }

    /// How many logins were tried.
    pub fn logins(&self) -> usize {
        self.shared.logins.load(Ordering::SeqCst)
    }

    /// How many questions about the cluster were asked, answered or not.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

/// A cluster of so many that name one another, numbered from 1.
pub fn cluster(count: usize) -> Vec<Double> {
    let doubles: Vec<Double> = (0..count).map(|_| Double::start(Mood::Answers)).collect();
    let brokers: Vec<(i32, SocketAddr)> = (1..).zip(doubles.iter().map(Double::address)).collect();
    doubles.iter().for_each(|double| double.names(&brokers));
    doubles
}

fn serve(mut socket: TcpStream, shared: &Shared) {
    let mood = || shared.mood.load(Ordering::SeqCst);
    let is = |one: Mood| mood() == one as u8;
    if is(Mood::Closes) {
        return;
    }
    while let Some((api, version, number)) = request(&mut socket) {
        if is(Mood::Closes) {
            return;
        }
        let is_greeting = api == ApiKey::ApiVersions;
        if matches!(api, ApiKey::Metadata | ApiKey::FindCoordinator) {
            shared.asked.fetch_add(1, Ordering::SeqCst);
        }
        if is(Mood::Hangs) || (is(Mood::Greets) && !is_greeting) {
            let _ = std::io::copy(&mut socket, &mut std::io::sink());
            return;
        }
        if !answer(&mut socket, api, version, number, is(Mood::Refuses), shared) {
            return;
        }
    }
}

fn answer(
    socket: &mut TcpStream,
    api: ApiKey,
    version: i16,
    number: i32,
    refuses: bool,
    shared: &Shared,
) -> bool {
    let brokers = shared.brokers.lock().unwrap().clone();
    let hosts: Vec<String> = brokers.iter().map(|(_, address)| address.ip().to_string()).collect();
    let mut out = Vec::new();
    let mut say = |response: &dyn Fn(&mut Vec<u8>)| response(&mut out);
    fn framed(response: &impl Encode, api: ApiKey, version: i16, number: i32, out: &mut Vec<u8>) {
        frame_response(response, api, version, number, out).unwrap();
    }
    match api {
        ApiKey::ApiVersions => {
            let key = |api: &ApiKey| ApiVersionsResponseKey {
                api_key: api.number(),
                min_version: 0,
                max_version: api.newest(),
            };
            let api_keys = ApiKey::ALL.iter().map(key).collect();
            let response = ApiVersionsResponse { api_keys, ..ApiVersionsResponse::default() };
            say(&|out| framed(&response, api, version, number, out));
        }
        ApiKey::Metadata => {
            let broker = |((node_id, address), host): (&(i32, SocketAddr), _)| MetadataResponseBroker {
                node_id: *node_id,
                host,
                port: i32::from(address.port()),
                rack: None,
            };
            let named = brokers.iter().zip(hosts.iter().map(String::as_str)).map(broker).collect();
            let response = MetadataResponse { brokers: named, ..MetadataResponse::default() };
            say(&|out| framed(&response, api, version, number, out));
        }
        ApiKey::FindCoordinator => {
            let (node_id, address) = brokers[0];
            let coordinator = FindCoordinatorResponseCoordinator {
                key: "group",
                node_id,
                host: &hosts[0],
                port: i32::from(address.port()),
                ..FindCoordinatorResponseCoordinator::default()
            };
            let response = FindCoordinatorResponse {
                coordinators: vec![coordinator],
                ..FindCoordinatorResponse::default()
            };
            say(&|out| framed(&response, api, version, number, out));
        }
        ApiKey::SaslHandshake => {
            let response = SaslHandshakeResponse { mechanisms: vec!["PLAIN"], ..Default::default() };
            say(&|out| framed(&response, api, version, number, out));
        }
        ApiKey::SaslAuthenticate => {
            shared.logins.fetch_add(1, Ordering::SeqCst);
            let error_code = if refuses { ErrorCode::SASL_AUTHENTICATION_FAILED } else { ErrorCode::NONE };
            let response = SaslAuthenticateResponse { error_code, error_message: None, ..Default::default() };
            say(&|out| framed(&response, api, version, number, out));
        }
        other => panic!("the double knows no {other}"),
    }
    let closes = refuses && api == ApiKey::SaslAuthenticate;
    socket.write_all(&out).is_ok() && !closes
}

/// The API, the version and the number of the next request.
fn request(socket: &mut TcpStream) -> Option<(ApiKey, i16, i32)> {
    let mut length = [0; 4];
    socket.read_exact(&mut length).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut frame).ok()?;
    let short = |at: usize| i16::from_be_bytes(frame[at..at + 2].try_into().unwrap());
    let api = ApiKey::from_i16(short(0)).unwrap();
    Some((api, short(2), i32::from_be_bytes(frame[4..8].try_into().unwrap())))
}
