//! Answers of real servers that are not quite what RFC 9112 asks for: the status counts, and where the end of the
//! answer is in doubt the connection is closed.

use crate::webhook::peer::{Certificates, Peer, read_request, until_gone};
use crate::webhook::{client, client_with, post, relayed, request, soon, status};
use sluicegate::net::TlsSettings;
use sluicegate::relay::transport::{Answer, SendErrorKind};
use sluicegate::webhook::keep_alive::{ClientSettings, ConnectionChoice};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a body that doesn't come may cost, on a machine with other things to do.
const SOON: Duration = Duration::from_secs(10);

/// Answers each request with these bytes and leaves the connection open: the answers to three requests, and how many
/// connections they took.
fn three(bytes: &[u8]) -> ([Answer; 3], usize) {
    let peer = Peer::answering(bytes);
    let client = client(&peer.url());
    let begun = Instant::now();
    let answers =
        [(); 3].map(|()| relayed(&client).unwrap_or_else(|it| panic!("{it}: {}", bytes.escape_ascii())));
    assert!(begun.elapsed() < SOON, "{:?}: {}", begun.elapsed(), bytes.escape_ascii());
    (answers, peer.connections())
}

#[track_caller]
fn counts(bytes: &[u8], status: u16, excerpt: &str, connections: usize) {
    let (answers, made) = three(bytes);
    for answer in answers {
        assert_eq!((answer.status, &*answer.excerpt), (status, excerpt), "{}", bytes.escape_ascii());
    }
    assert_eq!(made, connections, "{}", bytes.escape_ascii());
}

#[test]
fn the_last_transfer_coding_frames_the_body() {
    for fields in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "transfer-encoding:gzip\r\nTRANSFER-ENCODING:\tchunked\r\n",
    ] {
        counts(format!("HTTP/1.1 200 X\r\n{fields}\r\n2\r\nok\r\n0\r\n\r\n").as_bytes(), 200, "ok", 1);
    }
    for fields in [
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: gzip, chunked\r\n",
    ] {
        counts(format!("HTTP/1.1 200 X\r\n{fields}\r\n2\r\nok\r\n0\r\n\r\n").as_bytes(), 200, "ok", 3);
    }
    counts(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked, gzip\r\n\r\nok", 200, "ok", 3);
}

#[test]
fn the_status_counts_despite_an_unreadable_header_line() {
    let many = "X: y\r\n".repeat(200);
    let long = format!("X: {}\r\n", "y".repeat(1 << 17));
    for line in [
        "PHP Warning:  Undefined array key \"id\" in /var/www/hook.php on line 12\r\n",
        "<br />\r\n<b>Warning</b>: x in <b>/a.php</b>\r\n",
        "Set-Cookie: a=\x01\x02\r\n",
        "Set-Cookie: a=\0\r\n",
        ": no name\r\n",
        "\tfolded onto nothing\r\n",
        &many,
        &long,
    ] {
        let head =
            |status| format!("HTTP/1.1 {status} X\r\nRetry-After: 7\r\nContent-Length: 2\r\n{line}\r\nok");
        let (answers, connections) = three(head(429).as_bytes());
        assert!(answers.iter().all(|it| (it.status, it.retry_after) == (429, Some(Duration::from_secs(7)))));
        assert_eq!(connections, 3);
        let (answers, connections) = three(head(200).as_bytes());
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(connections, 3, "its end may be elsewhere than it seems: {line:.40?}");
    }
}

#[test]
fn a_body_that_never_ends_costs_a_moment_and_the_status_counts() {
    for (status, body) in [
        (200, "\r\nno length and no close, like Python's http.server"),
        (422, "\r\nno"),
        (200, "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
        (200, "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"),
        (200, "Content-Length: 100\r\n\r\nfewer"),
        (200, "Content-Length: 100\r\n\r\n"),
    ] {
        let bytes = format!("HTTP/1.1 {status} X\r\n{body}");
        let (answers, connections) = three(bytes.as_bytes());
        assert!(answers.iter().all(|answer| answer.status == status), "{body:?}");
        assert_eq!(connections, 3, "{body:?}");
    }
}

#[test]
fn a_body_that_drips_is_bounded_too() {
    let peer = Peer::start(|_, mut stream| {
        let _ = read_request(&mut stream);
        let mut sent = stream.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 60000\r\n\r\n");
        while sent.is_ok() {
            std::thread::sleep(Duration::from_millis(20)); // dripping is the point
            sent = stream.write_all(b"x");
        }
    });
    let begun = Instant::now();
    assert_eq!(post(&client(&peer.url())).unwrap().status, 200);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn who_needs_the_whole_body_waits_for_it() {
    let peer = Peer::start(|_, mut stream| {
        let _ = read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\nto");
        std::thread::sleep(Duration::from_millis(600)); // longer than a body of no interest is waited for
        let _ = stream.write_all(b"me");
        until_gone(stream);
    });
    let answer = client(&peer.url()).call(&request(b"x"), ConnectionChoice::AnyConnection, soon()).unwrap();
    assert_eq!((&answer.body[..], answer.cut), (&b"tome"[..], false));
}

/// Reads a part of a request, sends these bytes and closes: the unread rest turns the close into a reset.
fn resets(mut stream: &TcpStream, bytes: &[u8]) {
    let _ = stream.read(&mut [0; 16]);
    let _ = stream.write_all(bytes);
}

#[test]
fn a_head_that_came_whole_before_a_reset_counts() {
    for (size, bytes, status) in [
        (133_000, &b"HTTP/1.1 431 Too Large\r\nConnection: close\r\n\r\n"[..], 431),
        (133_000, b"HTTP/1.1 431 Too Large\r\nContent-Length: 100\r\n\r\npart", 431),
        (16 << 20, b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nlong", 413),
        (16 << 20, b"HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
    ] {
        let peer = Peer::start(move |_, stream| resets(stream, bytes));
        let body = vec![b'x'; size];
        let answer = client(&peer.url()).exchange(&request(&body), ConnectionChoice::AnyConnection, soon());
        assert_eq!(answer.unwrap().status, status);
    }
    let peer = Peer::start(|_, stream| resets(stream, b"HTTP/1.1 413 Too Large\r\nContent-"));
    let error = client(&peer.url())
        .exchange(&request(&[b'x'; 1 << 20]), ConnectionChoice::AnyConnection, soon())
        .unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Broken);
    assert!(error.text.starts_with("it answered 413, but "), "{error}");
}

/// Leaves the sender of a large body stuck again and again, with an interim answer each time, and then reads it all.
fn reads_slowly(stream: &mut (impl Read + Write)) -> usize {
    let (mut read, mut buffer) = (0, vec![0; 256 << 10]);
    for round in 0.. {
        if round < 3 {
            std::thread::sleep(Duration::from_millis(600)); // a slow receiver is the point: the sender gets stuck
            let _ = stream.write_all(INTERIM).and_then(|()| stream.flush());
        }
        match stream.read(&mut buffer) {
            Ok(came @ 1..) if read + came < LARGE => read += came,
            came => return read + came.unwrap_or(0),
        }
    }
    read
}

const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
const LARGE: usize = 8 << 20;

#[test]
fn interim_answers_do_not_stop_a_large_body() {
    let whole = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&whole);
    let peer = Peer::start(move |_, mut stream| {
        told.store(reads_slowly(&mut stream) >= LARGE, Ordering::SeqCst);
        let _ = stream.write_all(b"HTTP/1.1 204 X\r\n\r\n");
        until_gone(stream);
    });
    let body = vec![b'x'; LARGE];
    let answer =
        client(&peer.url()).exchange(&request(&body), ConnectionChoice::AnyConnection, soon()).unwrap();
    assert!(answer.status == 204 && whole.load(Ordering::SeqCst));
}

#[test]
fn interim_answers_do_not_stop_a_large_body_over_tls() {
    let certificates = Certificates::new();
    let peer = Peer::tls(&certificates, false, move |_, tls| {
        let _ = reads_slowly(tls);
        let _ = tls.write_all(b"HTTP/1.1 204 X\r\n\r\n");
        let _ = tls.flush();
        let _ = tls.read(&mut [0]);
    });
    let tls = TlsSettings { ca: Some(certificates.authority.pem().into()), ..TlsSettings::default() };
    let client = client_with(&peer.https(), ClientSettings { tls, ..ClientSettings::default() });
    let body = vec![b'x'; LARGE];
    assert_eq!(
        client.exchange(&request(&body), ConnectionChoice::AnyConnection, soon()).unwrap().status,
        204
    );
}

#[test]
fn a_final_answer_stops_a_large_body_over_tls() {
    let certificates = Certificates::new();
    let peer = Peer::tls(&certificates, false, move |_, tls| {
        let _ = tls.read(&mut [0; 1024]);
        let _ = tls.write_all(b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 413 X\r\nContent-Length: 4\r\n\r\nlong");
        let _ = tls.flush();
        std::thread::sleep(SOON); // reading no more is the point
    });
    let tls = TlsSettings { ca: Some(certificates.authority.pem().into()), ..TlsSettings::default() };
    let client = client_with(&peer.https(), ClientSettings { tls, ..ClientSettings::default() });
    let (body, begun) = (vec![b'x'; 64 << 20], Instant::now());
    let answer = client.exchange(&request(&body), ConnectionChoice::AnyConnection, soon()).unwrap();
    assert_eq!((answer.status, &*answer.excerpt), (413, "long"));
    assert!(begun.elapsed() < SOON);
}

#[test]
fn odd_but_clear_answers_keep_the_connection() {
    let extension = format!("2;{}\r\nok\r\n0\r\nTrailer: x\r\n\r\n", "e=f;".repeat(4_000));
    for (bytes, status, excerpt, connections) in [
        (&b"HTTP/1.1 204\r\n\r\n"[..], 204, "", 1),
        (b"HTTP/1.1 204 \r\n\r\n", 204, "", 1),
        (b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok", 200, "ok", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nok", 200, "ok", 1),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length:\r\n 2\r\n\r\nok", 200, "ok", 1),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, "ok", 1),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", 3),
        (b"\r\n\r\nHTTP/1.1 204 X\r\n\r\n", 204, "", 1),
        (b"HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\nok", 204, "", 3),
        (b"HTTP/1.1 205 X\r\nContent-Length: 0\r\n\r\n", 205, "", 1),
        (b"HTTP/1.1 400 X\r\nContent-Length: 2\r\n\r\nno", 400, "no", 1),
    ] {
        counts(bytes, status, excerpt, connections);
    }
    let chunked = format!("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n{extension}");
    counts(chunked.as_bytes(), 200, "ok", 1);
}

#[test]
fn what_follows_an_answer_without_content_is_never_the_next_answer() {
    // The body of a 204 comes late, in the place of the next answer.
    let peer = Peer::start(|_, mut stream| {
        let _ = read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 204 X\r\nContent-Length: 29\r\n\r\n");
        let _ = read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 410 smuggled answer\r\n\r\n");
    });
    let client = client(&peer.url());
    assert_eq!((status(&client), status(&client)), (204, 204));
    assert_eq!(peer.connections(), 2);
}

#[test]
fn hidden_characters_and_the_path_stay_out_of_texts() {
    let peer =
        Peer::answering("HTTP/1.1 400 X\r\nContent-Length: 17\r\n\r\na\u{202e}b\u{200b}c\u{1b}[31m\u{feff}d");
    let answer = post(&client(&peer.url())).unwrap();
    assert!(answer.excerpt.starts_with("abc") && answer.excerpt.is_ascii(), "{:?}", answer.excerpt);
    // An echo: the request comes back.
    let peer = Peer::start(|_, mut stream| {
        let request = read_request(&mut stream).unwrap();
        let _ = stream.write_all(request.as_bytes());
    });
    let error = post(&client(&peer.url())).unwrap_err();
    assert_eq!(error.text, "the destination answered something that is not HTTP/1.1: it begins with 'POST'");
}
