//! Receivers that mean no good: nothing hangs beyond the deadline, panics or grows, and the client goes on.

use crate::support::output::output;
use crate::webhook::peer::{Peer, read_request, until_gone};
use crate::webhook::{client, request, status};
use sluicegate::relay::transport::{Answer, SendError, SendErrorKind};
use sluicegate::webhook::keep_alive::ConnectionChoice;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_millis(400);
/// What a loaded machine may add to a deadline.
const GRACE: Duration = Duration::from_secs(5);
/// What the client, the peers and the other tests of this process may take together.
const MOST_KIB: u64 = 256 << 10;

/// Sends to a peer that plays `script` on its first connection after it read the request, and then behaves: what
/// came of the first request, in time, and that the second is answered.
fn against(script: impl Fn(&TcpStream) + Send + Sync + 'static) -> Result<Answer, SendError> {
    let peer = Peer::start(move |number, mut stream| {
        while read_request(&mut stream).is_some() {
            if number == 0 {
                return script(stream);
            }
            let _ = stream.write_all(b"HTTP/1.1 204 X\r\n\r\n");
        }
    });
    let client = client(&peer.url());
    let begun = Instant::now();
    let result = client.exchange(&request(b"{}"), ConnectionChoice::AnyConnection, begun + TIMEOUT);
    assert!(begun.elapsed() < TIMEOUT + GRACE, "{:?}: {result:?}", begun.elapsed());
    assert_eq!(status(&client), 204);
    if std::env::var_os(ALONE).is_some() {
        assert!(peak() < MOST_KIB, "{} KiB", peak());
    }
    result
}

/// Set in a process that runs nothing but these tests, so that its memory tells of them.
const ALONE: &str = "SLUICEGATE_HOSTILE_ALONE";

#[test]
fn no_hostile_answer_costs_much_memory() {
    if std::env::var_os(ALONE).is_some() {
        return;
    }
    let tests = std::env::current_exe().unwrap();
    let alone = output(std::process::Command::new(tests).arg("webhook::hostile::").env(ALONE, "1"));
    assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stdout));
    assert!(String::from_utf8_lossy(&alone.stdout).contains("no_hostile_answer_costs_much_memory ... ok"));
}

/// The most memory ever resident, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

fn says(bytes: &'static [u8]) -> Result<Answer, SendError> {
    against(move |mut stream| {
        let _ = stream.write_all(bytes);
    })
}

/// Writes until the other side has enough.
fn endlessly(mut stream: &TcpStream, begin: &[u8], again: &[u8], pause: Duration) {
    let mut sent = stream.write_all(begin);
    while sent.is_ok() {
        std::thread::sleep(pause); // dripping is the point
        sent = stream.write_all(again);
    }
}

#[track_caller]
fn timed_out(result: Result<Answer, SendError>) {
    assert_eq!(result.as_ref().unwrap_err().kind, SendErrorKind::Timeout, "{result:?}");
}

#[track_caller]
fn broken(result: Result<Answer, SendError>, text: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Broken, "{error}");
    assert!(error.text.contains(text), "{error}");
}

#[test]
fn silence_ends_by_the_deadline() {
    timed_out(against(until_gone));
}

#[test]
fn drips_of_every_part_end_by_the_deadline() {
    let head = b"HTTP/1.1 200 X\r\n";
    let drip = |begin: &'static [u8], again: &'static [u8]| {
        against(move |stream| endlessly(stream, begin, again, Duration::from_millis(20)))
    };
    for (begin, again, text) in [
        (&b""[..], &b"\r\n"[..], "no answer from"),
        (b"HTTP/1.1 200 ", b"x", "it begins with 'HTTP/1.1 200'"),
        (head, b"A: b\r\n", "it answered 200, but"),
        (b"HTTP/1.1 100 X\r\n\r\n", b"HTTP/1.1 100 X\r\n\r\n", ""),
    ] {
        let result = drip(begin, again);
        assert!(result.as_ref().is_err_and(|error| error.text.contains(text)), "{result:?}");
        timed_out(result);
    }
    // The head is complete: the status counts.
    for (begin, again) in [
        (&b"HTTP/1.1 200 X\r\nContent-Length: 60000\r\n\r\n"[..], &b"x"[..]),
        (b"HTTP/1.1 200 X\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"T: u\r\n"),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"e"),
    ] {
        assert_eq!(drip(begin, again).unwrap().status, 200);
    }
}

#[test]
fn floods_of_headers_are_bounded() {
    let flood = |begin: &'static [u8], again: &'static [u8]| {
        against(move |stream| endlessly(stream, begin, &again.repeat(1_000), Duration::ZERO))
    };
    assert_eq!(flood(b"HTTP/1.1 200 X\r\n", b"A: b\r\n").unwrap().status, 200);
    assert_eq!(flood(b"HTTP/1.1 200 X\r\nA: ", b"bbbb").unwrap().status, 200);
    assert_eq!(flood(b"HTTP/1.1 200 X\r\nA: b\r\n", b" folded\r\n").unwrap().status, 200);
    broken(flood(b"HTTP/1.1 103 X\r\nA: ", b"bbbb"), "longer than");
    broken(flood(b"", b"HTTP/1.1 103 X\r\nA: b\r\n\r\n"), "longer than");
    broken(flood(b"", b"garbage"), "not HTTP/1.1: it begins with 'garbagegarbage");
    broken(flood(b"", b"\r\n"), "longer than");
}

#[test]
fn floods_of_content_are_left_on_the_wire_and_the_answer_counts() {
    for begin in [
        &b"HTTP/1.1 202 X\r\nContent-Length: 1073741824\r\n\r\n"[..],
        b"HTTP/1.1 202 X\r\n\r\n",
        b"HTTP/1.1 202 X\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\n",
    ] {
        let result = against(move |stream| endlessly(stream, begin, &[b'x'; 1 << 16], Duration::ZERO));
        assert_eq!(result.unwrap().status, 202);
    }
    let chunks = b"HTTP/1.1 202 X\r\nTransfer-Encoding: chunked\r\n\r\n";
    let result =
        against(move |stream| endlessly(stream, chunks, &b"1\r\nx\r\n".repeat(1_000), Duration::ZERO));
    assert_eq!(result.unwrap().status, 202);
}

#[test]
fn a_length_that_lies_costs_the_connection_and_the_status_counts() {
    let said = |bytes| says(bytes).map(|answer| (answer.status, answer.excerpt)).unwrap();
    let short = b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nonly this";
    assert_eq!(said(short), (200, "only this".into()));
    assert_eq!(says(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok and more").unwrap().excerpt, "ok");
    let two = b"HTTP/1.1 422 X\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nno!";
    assert_eq!(said(two), (422, "no!".into()));
    let beyond = b"HTTP/1.1 200 X\r\nContent-Length: 18446744073709551616\r\n\r\nok!";
    assert_eq!(said(beyond), (200, "ok!".into()));
}

#[test]
fn nonsense_is_no_answer() {
    broken(says(b""), "without an answer");
    broken(says(b"\x00\xff\x13\x37\r\n\r\n"), "not HTTP");
    broken(says(b"SSH-2.0-OpenSSH\r\n"), "it begins with 'SSH-2.0-OpenSSH'");
    broken(says(b"220 mail.example ESMTP\r\n"), "it begins with '220'");
    broken(says(b"HTTP/2 200\r\n\r\n"), "it begins with 'HTTP/2 200'");
    broken(says(b"\x15\x03\x01\0\x02\x02\x16"), "https://");
    broken(says(b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\n\r\n"), "101");
    broken(says(b"HTTP/1.1 999 X\r\n\r\n"), "999");
    broken(says(b"HTTP/1.1 100 X\r\n\r\n"), "in the middle");
    broken(says(b"HTTP/1.1 200 X\r\nA: b\r\n"), "it answered 200, but the connection was closed");
}

#[test]
fn a_half_closed_connection_is_one_that_ended() {
    let result = against(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 X\r\n");
        let _ = stream.shutdown(Shutdown::Write);
        until_gone(stream);
    });
    broken(result, "in the middle");
    let result = against(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 204 X\r\n\r\n");
        let _ = stream.shutdown(Shutdown::Write);
        until_gone(stream);
    });
    assert_eq!(result.unwrap().status, 204);
}

#[test]
fn a_reset_is_a_broken_connection() {
    let peer = Peer::start(|number, mut stream| {
        if number == 0 {
            // What was not read makes the end a reset.
            let _ = std::io::Read::read(&mut stream, &mut [0; 4]);
            return;
        }
        let _ = read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 204 X\r\n\r\n");
    });
    let client = client(&peer.url());
    let deadline = Instant::now() + GRACE;
    broken(client.exchange(&request(b"{}"), ConnectionChoice::AnyConnection, deadline), "");
    assert_eq!(
        client.exchange(&request(b"{}"), ConnectionChoice::AnyConnection, deadline).unwrap().status,
        204
    );
}

#[test]
fn a_receiver_that_reads_nothing_ends_by_the_deadline() {
    let body = vec![b'x'; 64 << 20];
    let peer = Peer::start(|_, stream| {
        let _ = stream.peek(&mut [0]);
        std::thread::sleep(TIMEOUT + GRACE); // reading nothing is the point
    });
    let begun = Instant::now();
    timed_out(client(&peer.url()).exchange(
        &request(&body),
        ConnectionChoice::AnyConnection,
        begun + TIMEOUT,
    ));
    assert!(begun.elapsed() < TIMEOUT + GRACE);
}

#[test]
fn an_answer_that_comes_before_the_request_was_read_counts() {
    let body = vec![b'x'; 64 << 20];
    for closes in [false, true] {
        let peer = Peer::start(move |_, mut stream| {
            let _ = std::io::Read::read(&mut stream, &mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nlong");
            if closes {
                let _ = stream.shutdown(Shutdown::Write);
            }
            std::thread::sleep(GRACE); // reading no more is the point
        });
        let client = client(&peer.url());
        let answer = client
            .exchange(&request(&body), ConnectionChoice::AnyConnection, Instant::now() + GRACE)
            .unwrap();
        assert_eq!((answer.status, answer.excerpt.as_str()), (413, "long"));
        assert_eq!(
            client
                .exchange(&request(b""), ConnectionChoice::AnyConnection, Instant::now() + GRACE)
                .unwrap()
                .status,
            413
        );
        assert_eq!(peer.connections(), 2, "nothing more goes over a connection with half a request on it");
    }
}
