//! A name with several addresses: each gets its turn for the whole greeting, not for TCP alone.

use crate::connection::double::{Double, Mood};
use crate::connection::secured::{secured, trusting};
use crate::connection::{ask, connector, soon};
use sluicegate::kafka::connection::{ConnectionError, Connector};
use sluicegate::kafka::security::{Protocol, Sasl, Secret, Security};
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

fn plaintext() -> Connector {
    connector(Security::default())
}

fn with_password() -> Connector {
    let sasl = Some(Sasl::Plain { username: "alice".into(), password: Secret::new("alice-secret") });
    connector(Security { protocol: Protocol::SaslPlaintext, sasl, ..Security::default() })
}

/// An address on which nobody listens.
fn deserted() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn an_address_that_accepts_and_closes_costs_only_its_turn() {
    let (closes, answers) = (Double::start(Mood::Closes), Double::start(Mood::Answers));
    let begun = Instant::now();
    let addresses = [closes.address(), answers.address()];
    let mut connection = plaintext().open_at("broker.example", 9092, &addresses, soon()).unwrap();
    assert_eq!(ask(&mut connection, soon()).unwrap(), 0);
    assert_eq!((closes.came(), answers.came()), (1, 1));
    assert!(begun.elapsed() < Duration::from_secs(5), "nothing was waited for: {:?}", begun.elapsed());
}

#[test]
fn an_address_that_hangs_costs_its_share_of_the_time() {
    let (hangs, answers) = (Double::start(Mood::Hangs), Double::start(Mood::Answers));
    let (begun, time) = (Instant::now(), Duration::from_secs(4));
    let addresses = [hangs.address(), hangs.address(), answers.address()];
    plaintext().open_at("broker.example", 9092, &addresses, begun + time).unwrap();
    let took = begun.elapsed();
    assert!(took >= time / 4 && took < time * 3 / 4, "{took:?}");
}

#[test]
fn an_address_whose_certificate_is_for_another_name_costs_only_its_turn() {
    let Some(secured) = secured() else { return };
    let address = |listener| SocketAddr::from(([127, 0, 0, 1], secured.broker.port(listener)));
    let connector = connector(trusting(&secured.authority.pem(), Protocol::Ssl));
    for wrong in ["MISNAMED", "EXPIRED", "SASL"] {
        let addresses = [address(wrong), address("TRUSTED")];
        let opened = connector.open_at("localhost", 9092, &addresses, soon());
        let mut connection = opened.unwrap_or_else(|error| panic!("{wrong}: {error}"));
        assert_eq!(ask(&mut connection, soon()).unwrap(), 1, "{wrong}");
    }
}

#[test]
fn an_address_that_answers_is_found_however_little_time_an_attempt_has() {
    let hangs = [Double::start(Mood::Hangs), Double::start(Mood::Hangs)];
    let answers = Double::start(Mood::Answers);
    let addresses = [hangs[0].address(), hangs[1].address(), answers.address()];
    let connector = plaintext();
    let found = (1..=3).find(|_| {
        let deadline = Instant::now() + Duration::from_millis(200);
        connector.open_at("broker.example", 9092, &addresses, deadline).is_ok()
    });
    assert_eq!(found, Some(3), "each attempt begins where the last one ended");
}

#[test]
fn each_address_is_named_with_what_it_said() {
    let (closes, hangs, nobody) = (Double::start(Mood::Closes), Double::start(Mood::Hangs), deserted());
    let addresses = [closes.address(), hangs.address(), nobody];
    let deadline = Instant::now() + Duration::from_secs(4);
    let error = plaintext().open_at("broker.example", 9092, &addresses, deadline).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("no address of broker.example:9092 leads to a connection: "), "{text}");
    for said in [
        format!("{}: broker.example:9092 does not answer like a Kafka listener", closes.address()),
        format!("{}: broker.example:9092 did not answer in time", hangs.address()),
        format!("({nobody}: refused)"),
    ] {
        assert!(text.contains(&said), "{text}");
    }
    assert!(!error.is_fatal() && !error.is_timeout());
    assert!(error.source().is_some());
}

#[test]
fn one_address_says_what_it_says_and_no_more() {
    let closes = Double::start(Mood::Closes);
    let error = plaintext().open_at("broker.example", 9092, &[closes.address()], soon()).unwrap_err();
    assert!(matches!(error, ConnectionError::Greeting { .. }), "{error}");
}

#[test]
fn a_refused_login_is_not_tried_at_the_next_address() {
    let (refuses, other) = (Double::start(Mood::Refuses), Double::start(Mood::Answers));
    let addresses = [refuses.address(), other.address()];
    let error = with_password().open_at("broker.example", 9092, &addresses, soon()).unwrap_err();
    assert!(error.is_fatal() && matches!(error, ConnectionError::Authentication { .. }), "{error}");
    assert_eq!((refuses.logins(), other.came()), (1, 0), "a wrong password counts once");
}

#[test]
fn the_address_that_refused_a_login_is_tried_last_at_the_next_attempt() {
    let (first, other) = (Double::start(Mood::Answers), Double::start(Mood::Answers));
    let addresses = [first.address(), other.address()];
    let connector = with_password();
    connector.open_at("broker.example", 9092, &addresses, soon()).unwrap();
    first.turns(Mood::Refuses);
    let error = connector.open_at("broker.example", 9092, &addresses, soon()).unwrap_err();
    assert!(!error.is_fatal(), "{error}");
    assert_eq!((first.logins(), other.logins()), (2, 0));
    crate::support::eventually("the other address is tried", || {
        connector.open_at("broker.example", 9092, &addresses, soon()).is_ok()
    });
    assert_eq!((first.logins(), other.logins()), (2, 1));
}
