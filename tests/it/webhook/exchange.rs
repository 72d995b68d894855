//! Requests and answers over kept connections: when one is used again, when not, and what is sent twice.

use crate::support::LONG;
use crate::support::receiver::{Receiver, Reply};
use crate::webhook::peer::{Peer, read_request};
use crate::webhook::{client, client_with, post, relayed, request, soon, status};
use sluicegate::relay::transport::SendErrorKind;
use sluicegate::webhook::keep_alive::{ClientSettings, ConnectionAges, ConnectionChoice};
use sluicegate::webhook::request::{Headers, WireRequest};
use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const NO_CONTENT: &[u8] = b"HTTP/1.1 204 X\r\n\r\n";

#[test]
fn many_requests_go_over_one_connection() {
    let receiver = Receiver::accepting();
    let client = client(&receiver.url());
    for _ in 0..100 {
        assert_eq!(status(&client), 204);
    }
    assert_eq!((receiver.connections(), receiver.begun()), (1, 100));
}

#[test]
fn there_are_never_more_connections_than_requests_at_once() {
    let receiver = Receiver::accepting();
    let client = client(&receiver.url());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..100).for_each(|_| assert_eq!(status(&client), 204)));
        }
    });
    assert!(receiver.connections() <= 8, "{}", receiver.connections());
    assert_eq!(receiver.begun(), 800);
}

#[test]
fn a_receiver_that_closes_after_each_answer_gets_a_connection_each() {
    let receiver = Receiver::closing(|_| Reply::Status(204));
    let client = client(&receiver.url());
    for _ in 0..5 {
        assert_eq!(status(&client), 204);
    }
    assert_eq!((receiver.connections(), receiver.begun()), (5, 5));
}

#[test]
fn the_request_is_what_was_asked_for_and_nothing_else() {
    let (sent, came) = mpsc::channel();
    let peer = Peer::start(move |_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            sent.send(request).unwrap();
            let _ = stream.write_all(NO_CONTENT);
        }
    });
    let client = client(&peer.url());
    let mut headers = Headers::default();
    headers.add("X-Key", "value");
    let wire = WireRequest { target: "/a?b=c".into(), headers, body: b"\r\nbody\r\n"[..].into() };
    for _ in 0..2 {
        client.exchange(&wire, ConnectionChoice::AnyConnection, soon()).unwrap();
        let host = peer.address;
        let expected = format!(
            "POST /a?b=c HTTP/1.1\r\nHost: {host}\r\nX-Key: value\r\nContent-Length: 8\r\n\r\n\r\nbody\r\n"
        );
        assert_eq!(came.recv_timeout(LONG).unwrap(), expected);
    }
    let bad = WireRequest { target: "/a b".into(), headers: Headers::default(), body: b""[..].into() };
    assert!(
        client
            .exchange(&bad, ConnectionChoice::AnyConnection, soon())
            .unwrap_err()
            .text
            .contains("nothing was sent")
    );
}

#[test]
fn a_large_body_arrives_whole() {
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let receiver = Receiver::accepting();
    let client = client(&receiver.url());
    for _ in 0..2 {
        assert_eq!(
            client.exchange(&request(&body), ConnectionChoice::AnyConnection, soon()).unwrap().status,
            204
        );
    }
    assert!(receiver.handled().iter().all(|handled| handled.request.body == body));
    assert_eq!(receiver.connections(), 1);
}

#[test]
fn a_connection_that_was_closed_while_idle_is_replaced_at_once() {
    let peer = Peer::start(|_, mut stream| {
        let _ = read_request(&mut stream);
        let _ = stream.write_all(NO_CONTENT);
    });
    let client = client(&peer.url());
    for _ in 0..20 {
        assert_eq!(status(&client), 204);
    }
    assert_eq!(peer.connections(), 20);
}

#[test]
fn a_connection_that_closes_as_it_is_used_again_is_stale_and_sends_once() {
    for reset in [false, true] {
        let stale = (0..5).any(|_| {
            let requests = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&requests);
            let peer = Peer::start(move |number, mut stream| {
                let _ = read_request(&mut stream);
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(NO_CONTENT);
                if number > 0 {
                    return;
                }
                // The first connection takes a second request, or a part of it, and goes without a word.
                if reset {
                    let _ = std::io::Read::read_exact(&mut stream, &mut [0; 8]);
                } else {
                    let _ = read_request(&mut stream);
                }
                counted.fetch_add(1, Ordering::SeqCst);
            });
            let client = client(&peer.url());
            assert_eq!(post(&client).unwrap().status, 204);
            let error = post(&client).unwrap_err();
            assert_eq!(peer.connections(), 1, "nothing is sent twice behind the caller's back");
            assert_eq!(post(&client).unwrap().status, 204);
            assert_eq!((peer.connections(), requests.load(Ordering::SeqCst)), (2, 3));
            error.kind == SendErrorKind::Stale
        });
        assert!(stale, "reset: {reset}");
    }
}

#[test]
fn a_request_that_was_answered_in_part_is_not_sent_again() {
    let peer = Peer::start(|_, mut stream| {
        let _ = read_request(&mut stream);
        let _ = stream.write_all(NO_CONTENT);
        let _ = read_request(&mut stream);
        let _ = stream.write_all(b"H");
    });
    let client = client(&peer.url());
    assert_eq!(status(&client), 204);
    let error = post(&client).unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Broken, "{error}");
    assert!(error.text.contains("in the middle"), "{error}");
    assert_eq!(peer.connections(), 1);
}

#[test]
fn a_new_connection_that_closes_without_an_answer_is_no_stale_one() {
    let peer = Peer::start(|_, mut stream| drop(read_request(&mut stream)));
    let error = post(&client(&peer.url())).unwrap_err();
    assert_eq!((error.kind, peer.connections()), (SendErrorKind::Broken, 1), "{error}");
}

#[test]
fn what_came_behind_an_answer_ends_the_connection() {
    let peer = Peer::answering(&b"HTTP/1.1 204 X\r\n\r\nHTTP/1.1 500 smuggled\r\n\r\n"[..]);
    let client = client(&peer.url());
    for _ in 0..3 {
        assert_eq!(status(&client), 204);
    }
    assert_eq!(peer.connections(), 3);
}

#[test]
fn an_answer_that_nobody_asked_for_is_never_taken_for_one() {
    // The second answer comes once the first was read, while the connection is idle.
    let (asked, ask) = mpsc::channel::<()>();
    let ask = std::sync::Mutex::new(ask);
    let (told, tell) = mpsc::channel();
    let peer = Peer::start(move |number, mut stream| {
        let _ = read_request(&mut stream);
        let _ = stream.write_all(NO_CONTENT);
        if number == 0 {
            ask.lock().unwrap().recv().unwrap();
            let _ = stream.write_all(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.shutdown(Shutdown::Write);
            // Once the client can't but see it.
            told.send(()).unwrap();
        }
        crate::webhook::peer::until_gone(stream);
    });
    let client = client(&peer.url());
    assert_eq!(status(&client), 204);
    asked.send(()).unwrap();
    tell.recv_timeout(LONG).unwrap();
    assert_eq!(status(&client), 204);
    assert_eq!(peer.connections(), 2);
}

#[test]
fn each_kind_of_body_ends_the_right_way() {
    for (bytes, connections, excerpt) in [
        (&b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok"[..], 1, "ok"),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n", 1, "ok"),
        (b"HTTP/1.0 200 X\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 1, "ok"),
        (b"HTTP/1.0 200 X\r\nContent-Length: 2\r\n\r\nok", 3, "ok"),
        (b"HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 3, "ok"),
        // It speaks of the destination.
        (b"HTTP/1.1 304 X\r\nContent-Length: 2\r\n\r\n", 3, ""),
        (b"HTTP/1.1 103 X\r\nA: b\r\n\r\nHTTP/1.1 100 X\r\n\r\nHTTP/1.1 204 X\r\n\r\n", 1, ""),
    ] {
        let peer = Peer::answering(bytes);
        let client = client(&peer.url());
        for _ in 0..3 {
            assert_eq!(relayed(&client).unwrap().excerpt, excerpt, "{}", bytes.escape_ascii());
        }
        assert_eq!(peer.connections(), connections, "{}", bytes.escape_ascii());
    }
    let peer = Peer::start(|_, mut stream| {
        let _ = read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 X\r\n\r\nuntil the end");
    });
    let client = client(&peer.url());
    assert_eq!(post(&client).unwrap().excerpt, "until the end");
    assert_eq!(post(&client).unwrap().excerpt, "until the end");
}

#[test]
fn an_old_connection_is_not_used_again() {
    for ages in [
        ConnectionAges { idle: Duration::ZERO, life: Duration::MAX },
        ConnectionAges { idle: Duration::MAX, life: Duration::ZERO },
    ] {
        let receiver = Receiver::accepting();
        let client = client_with(&receiver.url(), ClientSettings { ages, ..ClientSettings::default() });
        assert_eq!((status(&client), status(&client)), (204, 204));
        assert_eq!(receiver.connections(), 2);
    }
}

#[test]
fn a_caller_may_have_the_whole_answer() {
    let receiver = Receiver::start(|_| Reply::With(200, vec!["X-A: b".into()], r#"{"token":"x"}"#.into()));
    let answer = client(&receiver.url())
        .call(&request(b"grant_type=x"), ConnectionChoice::AnyConnection, soon())
        .unwrap();
    assert_eq!((answer.status, answer.cut, &answer.body[..]), (200, false, &br#"{"token":"x"}"#[..]));
    assert!(answer.headers.contains(&("X-A".into(), b"b".to_vec())));
}

#[test]
fn retry_after_is_taken_from_the_answer() {
    let receiver = Receiver::start(|_| Reply::With(429, vec!["Retry-After: 7".into()], "slow\ndown".into()));
    let answer = post(&client(&receiver.url())).unwrap();
    assert_eq!((answer.status, answer.retry_after), (429, Some(Duration::from_secs(7))));
    assert_eq!(answer.excerpt, "slow down");
}
