//! A broker that refuses a client after this client was let in: retried with a backoff, and told; before, it is final.

use crate::connection::credentials::{TokenFile, token, with};
use crate::connection::double::{self, Double, Mood};
use crate::connection::secured::{secured, trusting};
use crate::connection::{soon, visit};
use crate::support::eventually;
use sluicegate::files::Reporter;
use sluicegate::kafka::cluster::{Address, Cluster, Connections, Target};
use sluicegate::kafka::connection::{ConnectionError, Connector, ConnectorSettings};
use sluicegate::kafka::security::{Protocol, Sasl, Secret, Security};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What people were told in this process.
static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn telling(security: Security) -> Connector {
    let reporter = Reporter { warn: |text| TOLD.lock().unwrap().push(text.to_owned()), info: |_| () };
    Connector::new(ConnectorSettings { security, reporter, ..ConnectorSettings::default() }).unwrap()
}

fn with_password() -> Security {
    let sasl = Some(Sasl::Plain { username: "alice".into(), password: Secret::new("alice-secret") });
    Security { protocol: Protocol::SaslPlaintext, sasl, ..Security::default() }
}

fn told_of(broker: &str) -> Vec<String> {
    TOLD.lock().unwrap().iter().filter(|text| text.contains(broker)).cloned().collect()
}

fn cluster(connector: &Connector, address: SocketAddr) -> Arc<Cluster> {
    let address = Address { host: address.ip().to_string(), port: address.port() };
    Arc::new(Cluster::new(connector.clone(), vec![address]))
}

#[test]
fn a_login_that_a_real_broker_refuses_after_it_accepted_one_is_tried_again() {
    let Some(secured) = secured() else { return };
    let port = secured.broker.port("SASL");
    let file = TokenFile::new("refusals", &token(3600));
    let connector = with(file.sasl());
    assert_eq!(visit(&connector, "localhost", port).unwrap(), 1);
    std::fs::write(&file.0, token(-3600)).unwrap();
    let error = visit(&connector, "localhost", port).unwrap_err();
    assert!(!error.is_fatal() && matches!(error, ConnectionError::Refused { refusals: 1, .. }), "{error}");
    let text = error.to_string();
    for part in [
        "no authentication with localhost",
        "SASL_AUTHENTICATION_FAILED (58): the broker doesn't accept these credentials",
        "let this client in before",
        "Amazon MSK",
    ] {
        assert_eq!(text.matches(part).count(), 1, "{part}: {text}");
    }
    let error = visit(&connector, "localhost", port).unwrap_err();
    assert!(matches!(error, ConnectionError::Paused { .. }), "{error}");
    std::fs::write(&file.0, token(3600)).unwrap();
    eventually("it is let in again", || visit(&connector, "localhost", port).is_ok());
    // Another client has not been let in yet.
    std::fs::write(&file.0, token(-3600)).unwrap();
    assert!(visit(&with(file.sasl()), "localhost", port).unwrap_err().is_fatal());
}

#[test]
fn a_certificate_that_is_wrong_after_a_right_one_is_tried_again() {
    let Some(secured) = secured() else { return };
    let security = || trusting(&secured.authority.pem(), Protocol::Ssl);
    let connector = crate::connection::connector(security());
    let misnamed = secured.broker.port("MISNAMED");
    assert!(visit(&connector, "localhost", misnamed).unwrap_err().is_fatal());
    assert_eq!(visit(&connector, "localhost", secured.broker.port("TRUSTED")).unwrap(), 1);
    let error = visit(&connector, "localhost", misnamed).unwrap_err();
    assert!(!error.is_fatal() && matches!(error, ConnectionError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("another.example"), "{error}");
}

#[test]
fn a_broker_that_refuses_is_left_alone_for_a_while_and_told_once() {
    let double = Double::start(Mood::Answers);
    let connector = telling(with_password());
    connector.open("127.0.0.1", double.port(), soon()).unwrap();
    double.turns(Mood::Refuses);
    let begun = Instant::now();
    let mut refused = 0;
    while refused < 4 {
        match connector.open("127.0.0.1", double.port(), soon()).unwrap_err() {
            ConnectionError::Refused { .. } => refused += 1,
            ConnectionError::Paused { .. } => std::thread::yield_now(),
            other => panic!("{other}"),
        }
    }
    assert_eq!((double.came(), double.logins()), (5, 5), "nobody comes meanwhile");
    // Half of the pauses at the least: 500 ms, 1 s, 2 s.
    assert!(begun.elapsed() >= Duration::from_millis(1750), "{:?}", begun.elapsed());
    let told = told_of(&double.address().to_string());
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("SASL_AUTHENTICATION_FAILED (58)"), "{told:?}");
    double.turns(Mood::Answers);
    eventually("it is let in again", || connector.open("127.0.0.1", double.port(), soon()).is_ok());
}

#[test]
fn whoever_asks_a_cluster_is_not_stopped_by_a_refusal_after_the_first_success() {
    let doubles = double::cluster(2);
    let connector = telling(with_password());
    let cluster = cluster(&connector, doubles[0].address());
    let connections = || Connections::new(Arc::clone(&cluster), Duration::from_secs(10));
    connections().refresh(None).unwrap();
    doubles.iter().for_each(|double| double.turns(Mood::Refuses));
    // Each thread has connections of its own.
    let logins = || doubles.iter().map(Double::logins).sum::<usize>();
    let before = logins();
    let error = connections().open(Target::Any).map(drop).unwrap_err();
    assert!(!error.is_fatal(), "{error}");
    assert_eq!(logins(), before + 1, "one broker's no is enough for one call");
    for target in [Target::Any, Target::Broker(1), Target::Broker(2)] {
        for _ in 0..2 {
            let error = connections().open(target).map(drop).unwrap_err();
            assert!(!error.is_fatal(), "{target:?}: {error}");
        }
    }
    assert!(doubles.iter().all(|double| double.logins() <= 3), "those that refuse are left alone");
    doubles.iter().for_each(|double| double.turns(Mood::Answers));
    for target in [Target::Any, Target::Broker(1), Target::Broker(2)] {
        eventually("it is let in again", || connections().open(target).is_ok());
    }
}

#[test]
fn a_login_refused_at_first_is_final() {
    let doubles = double::cluster(2);
    doubles.iter().for_each(|double| double.turns(Mood::Refuses));
    let connector = telling(with_password());
    let named = |double: &Double| Address { host: "127.0.0.1".into(), port: double.port() };
    let cluster = Cluster::new(connector, doubles.iter().map(named).collect());
    let mut connections = Connections::new(Arc::new(cluster), Duration::from_secs(10));
    let error = connections.refresh(None).unwrap_err();
    assert!(error.is_fatal(), "{error}");
    let logins: usize = doubles.iter().map(Double::logins).sum();
    assert_eq!(logins, 1, "a wrong password counts once");
    assert_eq!(told_of(&doubles[0].address().to_string()), [""; 0], "whoever asked has the error");
}

#[test]
fn a_session_that_is_not_renewed_ends_its_connection_and_nothing_else() {
    let Some(secured) = secured() else { return };
    let file = TokenFile::new("renewal", &token(3600));
    let connector = with(file.sasl());
    let mut connection = connector.open("localhost", secured.broker.port("BRIEF"), soon()).unwrap();
    std::fs::write(&file.0, token(-3600)).unwrap();
    let deadline = Instant::now() + crate::support::LONG;
    let error = loop {
        assert!(Instant::now() < deadline, "the session never ends");
        if let Err(error) = crate::connection::ask(&mut connection, soon()) {
            break error;
        }
        std::thread::sleep(Duration::from_millis(20)); // between two looks
    };
    assert!(!error.is_fatal() && matches!(error, ConnectionError::Refused { .. }), "{error}");
}
