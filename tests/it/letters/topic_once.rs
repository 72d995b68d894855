//! A lost acknowledgement leaves no letter in the topic twice: a real broker behind a proxy that swallows answers.

use crate::letters::letter;
use crate::letters::topic::cluster;
use crate::support::admin::Admin;
use crate::support::broker::{Broker, NEW, OLDEST, free_port};
use sluicegate::files::Reporter;
use sluicegate::kafka::cluster::{Address, Cluster};
use sluicegate::kafka::connection::{Connector, ConnectorSettings};
use sluicegate::kafka::dead_letters::DeadLetterTopic;
use sluicegate::kafka::protocol::{ApiKey, ErrorCode};
use sluicegate::kafka::sandbox::faults::Fault;
use sluicegate::kafka::sandbox::{Sandbox, SandboxSettings};
use sluicegate::relay::dead_letter::{DeadLetter, DeadLetterError, DeadLetters};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// More answers than are waited for in one put.
const MANY: usize = 20;

/// Passes requests and answers on, one at a time, but for some answers to Produce: in place of those, the connection
/// is closed.
struct Swallower {
    left: Arc<AtomicUsize>,
}

impl Swallower {
    fn start(port: u16, upstream: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let left = Arc::new(AtomicUsize::new(0));
        let swallower = Self { left: Arc::clone(&left) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, left) = (upstream.clone(), Arc::clone(&left));
                std::thread::spawn(move || pass(client, &upstream, &left));
            }
        });
        swallower
    }

    /// Swallows so many answers from now on.
    fn swallow(&self, answers: usize) {
        self.left.store(answers, Ordering::SeqCst);
    }

    fn swallowed(&self, of: usize) -> usize {
        of - self.left.load(Ordering::SeqCst)
    }
}

fn pass(mut client: TcpStream, upstream: &str, left: &AtomicUsize) -> Option<()> {
    let mut server = TcpStream::connect(upstream).ok()?;
    loop {
        let request = frame(&mut client)?;
        server.write_all(&request).ok()?;
        let answer = frame(&mut server)?;
        let is_produce = request[4..6] == ApiKey::Produce.number().to_be_bytes();
        let one_less = |left: usize| left.checked_sub(1);
        if is_produce && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return None;
        }
        client.write_all(&answer).ok()?;
    }
}

/// A frame with its length.
fn frame(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    socket.read_exact(&mut frame).ok()?;
    let length = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
    frame.resize(4 + length, 0);
    socket.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

/// A broker whose clients come through a proxy.
fn behind_a_proxy(version: &str) -> Option<(Broker, Swallower, Admin)> {
    let port = free_port();
    let advertised = format!("PLAINTEXT://127.0.0.1:{port}");
    let broker = Broker::with(version, &[("advertised.listeners", &advertised)])?;
    let swallower = Swallower::start(port, broker.address());
    let admin = broker.admin();
    Some((broker, swallower, admin))
}

fn letters(numbers: std::ops::Range<i64>) -> Vec<DeadLetter> {
    numbers.map(|number| letter(number, 422, 0)).collect()
}

#[test]
fn a_lost_acknowledgement_leaves_no_letter_twice() {
    for version in [OLDEST, NEW] {
        let Some((broker, swallower, admin)) = behind_a_proxy(version) else { return };
        admin.create("once", 1, 1, &[]);
        let mut topic = DeadLetterTopic::new(cluster(&broker.address()), "once".into());
        topic.put(&letters(0..3)).unwrap();
        // It is sent again within the same put.
        swallower.swallow(1);
        topic.put(&letters(3..5)).unwrap();
        assert_eq!((swallower.swallowed(1), admin.ends("once")[&0]), (1, 5), "{version}");
        // No answer comes while it is tried, and others have joined it when it is put again.
        swallower.swallow(MANY);
        let error = topic.put(&letters(5..8)).unwrap_err();
        assert!(matches!(error, DeadLetterError::Retriable(_)), "{error}");
        assert!(swallower.swallowed(MANY) > 1);
        swallower.swallow(0);
        topic.put(&letters(5..10)).unwrap();
        assert_eq!(admin.ends("once")[&0], 10, "{version}");
        topic.put(&letters(10..11)).unwrap();
        assert_eq!(admin.ends("once")[&0], 11, "{version}");
    }
}

#[test]
fn letters_of_which_some_are_given_up_lose_none_of_the_others() {
    let Some((broker, swallower, admin)) = behind_a_proxy(NEW) else { return };
    admin.create("given-up", 1, 1, &[]);
    let mut topic = DeadLetterTopic::new(cluster(&broker.address()), "given-up".into());
    topic.put(&letters(0..2)).unwrap();
    swallower.swallow(MANY);
    topic.put(&letters(2..6)).unwrap_err();
    swallower.swallow(0);
    // The batch that may be there can't be sent again as it was; what is wanted of it is there at least once.
    topic.put(&letters(2..4)).unwrap();
    assert_eq!(admin.ends("given-up")[&0], 8);
    topic.put(&letters(6..8)).unwrap();
    assert_eq!(admin.ends("given-up")[&0], 10);
}

#[test]
fn a_topic_made_anew_while_a_batch_is_in_doubt_gets_it() {
    let Some((broker, swallower, admin)) = behind_a_proxy(NEW) else { return };
    admin.create("anew", 2, 1, &[]);
    let mut topic = DeadLetterTopic::new(cluster(&broker.address()), "anew".into());
    topic.put(&letters(0..4)).unwrap();
    swallower.swallow(MANY);
    topic.put(&letters(4..6)).unwrap_err();
    swallower.swallow(0);
    admin.delete("anew");
    crate::support::eventually("it is made anew", || admin.ask("create anew 1 1 ").is_ok());
    crate::support::eventually("the letters are put", || topic.put(&letters(4..6)).is_ok());
    assert_eq!(admin.ends("anew"), BTreeMap::from([(0, 2)]));
    topic.put(&letters(6..7)).unwrap();
    assert_eq!(admin.ends("anew"), BTreeMap::from([(0, 3)]));
}

#[test]
fn where_brokers_have_no_ids_to_give_letters_are_put_without_and_it_is_told_once() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let apis = ApiKey::ALL.iter().copied().filter(|api| *api != ApiKey::InitProducerId);
    let versions = apis.map(|api| (api, 0..=api.newest())).collect();
    let sandbox =
        Sandbox::start(SandboxSettings { versions: Some(versions), ..SandboxSettings::default() }).unwrap();
    sandbox.create("dead", 1).unwrap();
    let reporter = Reporter { warn: |_| (), info: |text| TOLD.lock().unwrap().push(text.to_owned()) };
    let connector = Connector::new(ConnectorSettings { reporter, ..ConnectorSettings::default() }).unwrap();
    let address = Address { host: "127.0.0.1".into(), port: sandbox.address().port() };
    let mut topic = DeadLetterTopic::new(Arc::new(Cluster::new(connector, vec![address])), "dead".into());
    for number in 0..3 {
        topic.put(&letters(number..number + 1)).unwrap();
    }
    assert_eq!(sandbox.range("dead", 0), Some((0, 3)));
    let told = TOLD.lock().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("the brokers do not offer InitProducerId"), "{told:?}");
}

#[test]
fn a_producer_that_the_broker_has_forgotten_begins_anew() {
    for code in [ErrorCode::UNKNOWN_PRODUCER_ID, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER] {
        let sandbox = Sandbox::start(SandboxSettings::default()).unwrap();
        sandbox.create("dead", 1).unwrap();
        let mut topic = DeadLetterTopic::new(cluster(&sandbox.address().to_string()), "dead".into());
        topic.put(&letters(0..2)).unwrap();
        sandbox.faults().inject(ApiKey::Produce, Fault::Error(code), 1);
        topic.put(&letters(2..4)).unwrap();
        assert_eq!(sandbox.range("dead", 0), Some((0, 4)));
    }
}

/// Puts a letter while the sandbox answers so, and gives what was told.
fn told_with(
    api: ApiKey,
    code: ErrorCode,
    times: usize,
    told: &'static Mutex<Vec<String>>,
    info: fn(&str),
) -> usize {
    let sandbox = Sandbox::start(SandboxSettings::default()).unwrap();
    sandbox.create("dead", 1).unwrap();
    sandbox.faults().inject(api, Fault::Error(code), times);
    let reporter = Reporter { warn: |_| (), info };
    let connector = Connector::new(ConnectorSettings { reporter, ..ConnectorSettings::default() }).unwrap();
    let address = Address { host: "127.0.0.1".into(), port: sandbox.address().port() };
    let mut topic = DeadLetterTopic::new(Arc::new(Cluster::new(connector, vec![address])), "dead".into());
    topic.put(&letters(0..1)).unwrap_or_else(|error| panic!("{api} {code}: {error}"));
    topic.put(&letters(1..2)).unwrap_or_else(|error| panic!("{api} {code}: {error}"));
    assert_eq!(sandbox.range("dead", 0), Some((0, 2)), "{api} {code}");
    std::mem::take(&mut *told.lock().unwrap()).len()
}

#[test]
fn an_id_that_is_late_is_waited_for_and_one_that_never_comes_is_done_without() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let info: fn(&str) = |text| TOLD.lock().unwrap().push(text.to_owned());
    let loading = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
    let refused = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
    for (api, code, times, told) in [
        (ApiKey::InitProducerId, loading, 2, 0),
        (ApiKey::InitProducerId, loading, 1000, 1),
        (ApiKey::InitProducerId, refused, 1, 1),
        (ApiKey::Produce, refused, 1, 1),
    ] {
        assert_eq!(told_with(api, code, times, &TOLD, info), told, "{api} {code} {times}");
    }
}
