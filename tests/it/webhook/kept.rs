//! Which connections are kept, for how long, and what a kept one that has been closed means.

use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply};
use crate::webhook::peer::{Peer, read_request, until_gone};
use crate::webhook::{client, client_with, post, request, soon, status};
use sluicegate::relay::transport::SendErrorKind;
use sluicegate::webhook::keep_alive::{ClientSettings, ConnectionAges, ConnectionChoice, Resolver};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const NO_CONTENT: &[u8] = b"HTTP/1.1 204 X\r\n\r\n";

#[test]
fn a_late_break_of_a_kept_connection_is_a_failure() {
    // It takes the second request and works on it before it goes: it may have done what was asked for.
    let peer = Peer::start(|_, mut stream| {
        let _ = read_request(&mut stream);
        let _ = stream.write_all(NO_CONTENT);
        let _ = read_request(&mut stream);
        std::thread::sleep(Duration::from_millis(700)); // longer than any round trip that is believed
    });
    let client = client(&peer.url());
    assert_eq!(status(&client), 204);
    let error = post(&client).unwrap_err();
    assert_eq!((error.kind, peer.connections()), (SendErrorKind::Broken, 1), "{error}");
}

#[test]
fn a_new_connection_is_never_stale() {
    let peer = Peer::start(|_, mut stream| drop(read_request(&mut stream)));
    for over in [ConnectionChoice::AnyConnection, ConnectionChoice::NewConnection] {
        let error = client(&peer.url()).exchange(&request(b"{}"), over, soon()).unwrap_err();
        assert_eq!(error.kind, SendErrorKind::Broken, "{error}");
    }
}

#[test]
fn a_new_connection_is_made_where_one_is_asked_for() {
    let receiver = Receiver::accepting();
    let client = client(&receiver.url());
    for _ in 0..3 {
        assert_eq!(
            client.exchange(&request(b"{}"), ConnectionChoice::NewConnection, soon()).unwrap().status,
            204
        );
    }
    assert_eq!(receiver.connections(), 3);
    assert_eq!(status(&client), 204);
    assert_eq!(receiver.connections(), 3, "they are kept all the same");
}

#[test]
fn requests_that_cross_the_close_of_an_idle_connection_are_each_sent_once() {
    // Closes each connection after one answer, at a moment that the client may or may not see before its next.
    let received = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&received);
    let peer = Peer::start(move |_, mut stream| {
        if read_request(&mut stream).is_some() {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(NO_CONTENT);
        }
    });
    let client = client(&peer.url());
    let mut answered = 0;
    for _ in 0..100 {
        match post(&client) {
            Ok(_) => answered += 1,
            // The latter where this machine has too much to do to notice it in time.
            Err(error) => {
                assert!(matches!(error.kind, SendErrorKind::Stale | SendErrorKind::Broken), "{error}")
            }
        }
    }
    assert_eq!(received.load(Ordering::SeqCst), answered);
}

#[test]
fn a_backend_in_trouble_is_left_with_the_next_connection() {
    // The kept connection leads to a backend that turned sick; any other works.
    for trouble in [503, 500, 502, 429, 408, 401, 403, 404, 405, 301] {
        let answer = format!("HTTP/1.1 {trouble} X\r\nContent-Length: 0\r\n\r\n");
        let peer = Peer::start(move |number, mut stream| {
            let mut requests = 0;
            while read_request(&mut stream).is_some() {
                requests += 1;
                let sick = number == 0 && requests > 1;
                let _ = stream.write_all(if sick { answer.as_bytes() } else { NO_CONTENT });
            }
        });
        let client = client(&peer.url());
        let statuses: Vec<u16> = (0..4).map(|_| status(&client)).collect();
        assert_eq!(statuses, [204, trouble, 204, 204]);
        assert_eq!(peer.connections(), 2);
    }
}

#[test]
fn kept_connections_give_way_once_a_new_one_fares_better() {
    // All kept connections lead to a backend that turned sick; each new one works.
    let sick = Arc::new(AtomicUsize::new(0));
    let (broken, gate) = (Arc::clone(&sick), Arc::new(std::sync::Barrier::new(4)));
    let peer = Peer::start(move |number, mut stream| {
        let mut requests = 0;
        while read_request(&mut stream).is_some() {
            requests += 1;
            if number < 4 && requests == 1 {
                // Four at once, so that there are four connections.
                gate.wait();
            }
            let fails = number < 4 && broken.load(Ordering::SeqCst) > 0;
            let _ = stream.write_all(if fails { b"HTTP/1.1 503 X\r\n\r\n" } else { NO_CONTENT });
        }
    });
    let client = client(&peer.url());
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| status(&client)))));
    assert_eq!((status(&client), peer.connections()), (204, 4));
    sick.store(1, Ordering::SeqCst);
    assert_eq!(status(&client), 503);
    assert_eq!(
        client.exchange(&request(b"{}"), ConnectionChoice::NewConnection, soon()).unwrap().status,
        204
    );
    assert_eq!([(); 8].map(|()| status(&client)), [204; 8]);
    assert_eq!(peer.connections(), 5, "the new one is kept");
}

#[test]
fn a_backend_that_does_not_answer_is_left_with_the_next_connection() {
    let peer = Peer::start(|number, mut stream| {
        let mut requests = 0;
        while read_request(&mut stream).is_some() {
            requests += 1;
            if number > 0 || requests < 2 {
                let _ = stream.write_all(NO_CONTENT);
            }
        }
    });
    let client = client(&peer.url());
    assert_eq!(status(&client), 204);
    let deadline = Instant::now() + Duration::from_millis(100);
    let error = client.exchange(&request(b"{}"), ConnectionChoice::AnyConnection, deadline).unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Timeout);
    assert_eq!(status(&client), 204);
}

#[test]
fn answers_about_the_record_keep_the_connection() {
    let receiver = Receiver::start(|request| Reply::Status([400, 409, 413, 415, 422][request.number % 5]));
    let client = client(&receiver.url());
    for _ in 0..10 {
        assert!(status(&client) >= 400);
    }
    assert_eq!(receiver.connections(), 1);
}

#[test]
fn another_address_of_the_name_follows_one_in_trouble() {
    let sick = Receiver::start(|_| Reply::Status(503));
    let well = Receiver::accepting();
    let addresses = vec![sick.address, well.address];
    let resolver: Resolver = Arc::new(move |_, _| Ok(addresses.clone()));
    let client =
        client_with("http://hook.example/", ClientSettings { resolver, ..ClientSettings::default() });
    let statuses: Vec<u16> = (0..4).map(|_| status(&client)).collect();
    assert_eq!(statuses, [503, 204, 204, 204]);
}

/// Connections whose other side has closed them.
fn counting_ends(keeps: &'static str) -> (Peer, Arc<AtomicUsize>) {
    let ends = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ends);
    let peer = Peer::start(move |_, mut stream| {
        while read_request(&mut stream).is_some() {
            let _ = stream.write_all(format!("HTTP/1.1 204 X\r\n{keeps}\r\n").as_bytes());
        }
        counted.fetch_add(1, Ordering::SeqCst);
    });
    (peer, ends)
}

#[test]
fn idle_connections_are_closed_without_traffic() {
    let (peer, ends) = counting_ends("");
    let ages = ConnectionAges { idle: Duration::from_millis(150), life: Duration::MAX };
    let client = client_with(&peer.url(), ClientSettings { ages, ..ClientSettings::default() });
    for round in 1..=2 {
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| status(&client)))));
        eventually("all are closed", || ends.load(Ordering::SeqCst) == peer.connections());
        assert!(peer.connections() >= round, "a second round needs new ones");
    }
    let ages = ConnectionAges { idle: Duration::MAX, life: Duration::from_millis(150) };
    let (peer, ends) = counting_ends("");
    let client = client_with(&peer.url(), ClientSettings { ages, ..ClientSettings::default() });
    assert_eq!(status(&client), 204);
    eventually("it is closed at the end of its life", || ends.load(Ordering::SeqCst) == 1);
}

#[test]
fn idle_connections_end_with_their_client() {
    let (peer, ends) = counting_ends("");
    let client = client(&peer.url());
    assert_eq!(status(&client), 204);
    drop(client);
    eventually("it is closed", || ends.load(Ordering::SeqCst) == 1);
}

#[test]
fn a_connection_is_not_kept_for_longer_than_the_server_says() {
    let (peer, ends) = counting_ends("Keep-Alive: timeout=2, max=100\r\n");
    let client = client(&peer.url());
    assert_eq!((status(&client), status(&client)), (204, 204));
    assert_eq!(peer.connections(), 1);
    eventually("we close first", || ends.load(Ordering::SeqCst) == 1);
    let (peer, _ends) = counting_ends("Keep-Alive: timeout=0\r\n");
    let client = self::client(&peer.url());
    assert_eq!((status(&client), status(&client)), (204, 204));
    assert_eq!(peer.connections(), 2);
}

#[test]
fn a_half_closed_connection_is_not_used_again() {
    let peer = Peer::start(|_, mut stream| {
        let _ = read_request(&mut stream);
        let _ = stream.write_all(NO_CONTENT);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        until_gone(stream);
    });
    let client = client(&peer.url());
    for _ in 0..5 {
        assert_eq!(status(&client), 204);
    }
    assert_eq!(peer.connections(), 5);
}

#[test]
fn a_token_is_asked_for_again_over_a_new_connection_where_the_kept_one_was_closed() {
    use sluicegate::webhook::oauth::TokenFetcher;
    use sluicegate::webhook::sender::TokenClient;
    let peer = Peer::start(|_, mut stream| {
        let _ = read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}");
        // A part of the next request, and no answer.
        let _ = stream.read(&mut [0; 8]);
    });
    let tokens = TokenClient::new(client(&peer.url()), "");
    // A fetch right after one that succeeded meets the closed connection.
    let succeeded = [(); 10]
        .map(|()| tokens.fetch(&request(b"x"), std::time::Instant::now() + Duration::from_secs(20)).is_ok());
    assert!(succeeded.windows(2).any(|two| two == [true, true]), "{succeeded:?}");
    assert!(peer.connections() <= succeeded.len(), "one connection for each token");
}
