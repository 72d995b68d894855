//! Who is asked, over how many connections, and by when.

use crate::connection::double::{self, Double, Mood};
use crate::support::broker::{Broker, NEW};
use crate::support::proxy::{Proxy, Way};
use sluicegate::kafka::cluster::{Address, Cluster, ClusterError, Connections, Target};
use sluicegate::kafka::connection::{Connector, ConnectorSettings};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(8);

fn links_with(settings: ConnectorSettings, bootstrap: &[SocketAddr]) -> Connections {
    let address = |address: &SocketAddr| Address { host: address.ip().to_string(), port: address.port() };
    let cluster = Cluster::new(Connector::new(settings).unwrap(), bootstrap.iter().map(address).collect());
    Connections::new(Arc::new(cluster), TIME)
}

fn connections(bootstrap: &[SocketAddr]) -> Connections {
    links_with(ConnectorSettings::default(), bootstrap)
}

fn addresses(doubles: &[Double]) -> Vec<SocketAddr> {
    doubles.iter().map(Double::address).collect()
}

fn came(doubles: &[Double]) -> Vec<usize> {
    doubles.iter().map(Double::came).collect()
}

/// An address on which nobody listens.
fn deserted() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn asking_another_broker_each_time_takes_one_connection_to_each() {
    let doubles = double::cluster(3);
    let mut connections = connections(&addresses(&doubles)[..1]);
    for _ in 0..30 {
        connections.refresh(Some(&["missing"])).unwrap();
        connections.ask_another();
    }
    assert_eq!((came(&doubles), connections.kept()), (vec![1; 3], 3));
    let asked: Vec<usize> = doubles.iter().map(Double::asked).collect();
    assert!(asked.iter().all(|asked| (9..=11).contains(asked)), "in turn: {asked:?}");
}

#[test]
fn any_broker_and_that_broker_share_a_connection() {
    let doubles = double::cluster(2);
    let mut connections = connections(&addresses(&doubles));
    connections.refresh(None).unwrap();
    for id in [1, 2] {
        connections.open(Target::Broker(id)).unwrap();
    }
    for _ in 0..4 {
        connections.refresh(None).unwrap();
        assert!(matches!(connections.coordinator("group"), Ok(1)));
        connections.ask_another();
    }
    assert_eq!(came(&doubles), [1, 1]);
}

#[test]
fn without_a_reason_the_same_broker_is_asked_again() {
    let doubles = double::cluster(3);
    let mut connections = connections(&addresses(&doubles)[..1]);
    for _ in 0..10 {
        connections.refresh(None).unwrap();
    }
    assert!(connections.kept() <= 2 && came(&doubles).iter().sum::<usize>() <= 2, "{:?}", came(&doubles));
}

#[test]
fn a_real_broker_that_is_also_the_one_named_at_the_start_gets_one_connection() {
    let Some(broker) = Broker::start(NEW) else { return };
    let mut connections = connections(&[broker.address().parse().unwrap()]);
    for _ in 0..10 {
        let failed = connections.refresh(Some(&["missing"])).unwrap();
        assert_eq!(failed.len(), 1, "{failed:?}");
        connections.ask_another();
    }
    crate::support::eventually("the group has a coordinator", || connections.coordinator("group").is_ok());
    assert_eq!(connections.kept(), 1);
}

#[test]
fn a_real_broker_is_reached_past_those_that_swallow_everything() {
    let Some(broker) = Broker::start(NEW) else { return };
    let holes: Vec<Proxy> = (0..2).map(|_| Proxy::start(0, broker.address().parse().unwrap())).collect();
    holes.iter().for_each(|hole| hole.turn(Way::Hole));
    let named = [holes[0].address(), holes[1].address(), broker.address().parse().unwrap()];
    let begun = Instant::now();
    let mut connections = connections(&named);
    connections.refresh(None).unwrap();
    assert!(begun.elapsed() < TIME * 4 / 5, "{:?}", begun.elapsed());
    let begun = Instant::now();
    connections.refresh(None).unwrap();
    assert!(begun.elapsed() < TIME / 8, "by its own address from then on: {:?}", begun.elapsed());
}

#[test]
fn a_broker_that_never_answers_costs_its_share_of_the_time() {
    for mood in [Mood::Hangs, Mood::Greets] {
        let doubles = double::cluster(3);
        let mut connections = connections(&addresses(&doubles));
        // The first is known to be there, and its connection is kept.
        connections.refresh(None).unwrap();
        for _ in 0..3 {
            let _ = connections.refresh(None);
            connections.ask_another();
        }
        doubles.iter().for_each(|double| double.turns(mood));
        doubles[2].turns(Mood::Answers);
        let begun = Instant::now();
        connections.refresh(None).unwrap_or_else(|error| panic!("{mood:?}: {error}"));
        assert!(begun.elapsed() < TIME * 4 / 5, "{mood:?}: {:?}", begun.elapsed());
        let begun = Instant::now();
        connections.refresh(None).unwrap();
        assert!(begun.elapsed() < TIME / 8, "who has answered is asked again: {:?}", begun.elapsed());
    }
}

#[test]
fn a_deadline_holds_for_all_that_a_request_needs() {
    for mood in [Mood::Hangs, Mood::Greets] {
        let doubles = double::cluster(3);
        let mut connections = connections(&addresses(&doubles));
        connections.refresh(None).unwrap();
        doubles.iter().for_each(|double| double.turns(mood));
        let time = Duration::from_millis(600);
        let by_deadline = |what: &str, act: &mut dyn FnMut(Instant) -> Result<(), ClusterError>| {
            let begun = Instant::now();
            let error = act(begun + time).unwrap_err();
            assert!(!error.is_fatal(), "{what}: {error}");
            let took = begun.elapsed();
            assert!(took < time * 2, "{what}, {mood:?}: {took:?}");
        };
        by_deadline("metadata", &mut |at| connections.refresh_until(None, at).map(drop));
        by_deadline("the coordinator", &mut |at| connections.coordinator_until("group", at).map(drop));
        let mut known = None;
        by_deadline("a coordinator that is not known", &mut |at| {
            connections.coordinator_unless_until(&mut known, "group", at).map(drop)
        });
        let question = sluicegate::kafka::protocol::metadata::MetadataRequest::default();
        by_deadline("a broker", &mut |at| connections.call_until(Target::Broker(2), &question, at, |_| ()));
        if mood == Mood::Hangs {
            by_deadline("a connection", &mut |at| connections.open_until(Target::Broker(3), at).map(drop));
        }
    }
}

#[test]
fn where_no_known_broker_can_be_reached_those_named_at_the_start_are_asked() {
    let (old, new) = (double::cluster(3), double::cluster(2));
    // The name that was given leads to the new cluster by now.
    let entry = Double::start(Mood::Answers);
    entry.names(&(1..).zip(addresses(&old)).collect::<Vec<_>>());
    let mut connections = connections(&[entry.address()]);
    connections.refresh(None).unwrap();
    connections.refresh(None).unwrap();
    assert_eq!(entry.came(), 1);
    entry.names(&(1..).zip(addresses(&new)).collect::<Vec<_>>());
    old.iter().for_each(|double| double.turns(Mood::Closes));
    let begun = Instant::now();
    crate::support::eventually("the new cluster is found", || {
        let _ = connections.refresh(None);
        connections.cluster().brokers().len() == 2
    });
    assert!(begun.elapsed() < TIME * 2, "{:?}", begun.elapsed());
    connections.refresh(None).unwrap();
    assert_eq!(came(&new).iter().sum::<usize>(), 1, "from then on the brokers themselves are asked");
}

#[test]
fn those_named_at_the_start_get_their_turn_however_little_time_a_call_has() {
    let (old, entry) = (double::cluster(6), Double::start(Mood::Answers));
    entry.names(&(1..).zip(addresses(&old)).collect::<Vec<_>>());
    let mut connections = connections(&[entry.address()]);
    connections.refresh(None).unwrap();
    old.iter().for_each(|double| double.turns(Mood::Hangs));
    let calls = (1..=old.len()).find(|_| {
        let deadline = Instant::now() + Duration::from_millis(300);
        connections.refresh_until(None, deadline).is_ok()
    });
    assert_eq!(calls, Some(2), "the first call had no time for them");
}

#[test]
fn a_known_broker_that_answers_is_found_however_little_time_a_call_has() {
    let doubles = double::cluster(6);
    let mut connections = connections(&addresses(&doubles)[..1]);
    connections.refresh(None).unwrap();
    doubles.iter().for_each(|double| double.turns(Mood::Hangs));
    doubles[4].turns(Mood::Answers);
    let found = (0..3 * doubles.len()).any(|_| {
        let deadline = Instant::now() + Duration::from_millis(200);
        connections.refresh_until(None, deadline).is_ok()
    });
    assert!(found);
}

#[test]
fn one_named_at_the_start_is_asked_while_those_it_names_are_out_of_reach() {
    let entry = Double::start(Mood::Answers);
    entry.names(&[(1, deserted()), (2, deserted())]);
    let mut connections = connections(&[entry.address()]);
    for _ in 0..5 {
        connections.refresh(None).unwrap();
    }
    assert_eq!((entry.came(), entry.asked()), (1, 5));
    let error = connections.open(Target::Broker(2)).map(drop).unwrap_err();
    assert!(error.to_string().contains("broker 2 says that it is at 127.0.0.1:"), "{error}");
    assert!(matches!(error, ClusterError::Unreachable { broker: 2, .. }), "{error}");
}

#[test]
fn a_connection_that_is_idle_for_too_long_is_closed_whoever_is_asked() {
    let doubles = double::cluster(2);
    let max_idle = Duration::from_secs(1);
    let mut connections =
        links_with(ConnectorSettings { max_idle, ..ConnectorSettings::default() }, &addresses(&doubles)[..1]);
    connections.refresh(None).unwrap();
    for id in [1, 2] {
        connections.open(Target::Broker(id)).unwrap();
    }
    assert_eq!(connections.kept(), 2);
    std::thread::sleep(2 * max_idle); // the time itself is what is tested
    connections.open(Target::Broker(2)).unwrap();
    assert_eq!((connections.kept(), came(&doubles)), (1, vec![1, 2]));
}

#[test]
fn a_broker_that_moves_is_followed() {
    let doubles = double::cluster(3);
    let all = addresses(&doubles);
    let mut connections = connections(&all[..1]);
    connections.refresh(None).unwrap();
    connections.open(Target::Broker(2)).unwrap();
    let before = doubles[2].came();
    doubles.iter().for_each(|double| double.names(&[(1, all[0]), (2, all[2])]));
    connections.refresh(None).unwrap();
    let connection = connections.open(Target::Broker(2)).unwrap();
    assert_eq!(connection.broker(), all[2].to_string());
    assert_eq!(doubles[2].came(), before + 1);
}

#[test]
fn at_first_each_address_that_was_named_is_tried() {
    let doubles = double::cluster(1);
    let hangs = Double::start(Mood::Hangs);
    let named = [deserted(), hangs.address(), deserted(), doubles[0].address()];
    let begun = Instant::now();
    connections(&named).refresh(None).unwrap();
    assert!(begun.elapsed() < TIME * 2 / 3, "{:?}", begun.elapsed());
    let error = connections(&named[..2]).refresh(None).unwrap_err().to_string();
    for address in &named[..2] {
        assert!(error.contains(&address.to_string()), "{error}");
    }
}
