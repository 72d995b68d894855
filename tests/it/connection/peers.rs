//! Peers that misbehave, or just go: each ends in an error that says what happened, in time, and in nothing worse.

use crate::connection::{ask, connector, soon, visit};
use crate::support::LONG;
use sluicegate::kafka::connection::{Connection, ConnectionError, Connector, ConnectorSettings};
use sluicegate::kafka::protocol::api_versions::{
    ApiVersionsRequest, ApiVersionsResponse, ApiVersionsResponseKey,
};
use sluicegate::kafka::protocol::{ApiKey, Encode, ErrorCode, Hidden, frame_response};
use sluicegate::kafka::security::{Protocol, Sasl, Secret, Security};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(150);

/// A peer that does what a test says with the one connection it takes, and then waits until we have gone.
fn peer(act: impl FnOnce(&mut TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        act(&mut socket);
        let _ = std::io::copy(&mut socket, &mut std::io::sink());
    });
    port
}

/// Reads one request; its number.
fn request(socket: &mut TcpStream) -> i32 {
    let mut length = [0; 4];
    socket.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut frame).unwrap();
    i32::from_be_bytes(frame[4..8].try_into().unwrap())
}

/// The versions of each API.
type Ranges<'a> = &'a dyn Fn(ApiKey) -> (i16, i16);

fn speaking(versions: impl Fn(ApiKey) -> (i16, i16)) -> ApiVersionsResponse<'static> {
    let key = |api: ApiKey| {
        let (min_version, max_version) = versions(api);
        ApiVersionsResponseKey { api_key: api.number(), min_version, max_version }
    };
    let api_keys = ApiKey::ALL.iter().copied().map(key).collect();
    ApiVersionsResponse { api_keys, ..ApiVersionsResponse::default() }
}

fn versions() -> ApiVersionsResponse<'static> {
    speaking(|api| (0, api.newest()))
}

/// Answers the first question of a connection as a broker does.
fn greet(socket: &mut TcpStream) {
    let number = request(socket);
    answer(socket, number);
}

fn answer(socket: &mut TcpStream, number: i32) {
    say(socket, &versions(), ApiKey::ApiVersions, ApiKey::ApiVersions.newest(), number);
}

fn say(socket: &mut TcpStream, response: &impl Encode, api: ApiKey, version: i16, number: i32) {
    let mut out = Vec::new();
    frame_response(response, api, version, number, &mut out).unwrap();
    socket.write_all(&out).unwrap();
}

/// A connection to a peer that greets us and then does this.
fn met(act: impl FnOnce(&mut TcpStream) + Send + 'static) -> Connection {
    let port = peer(|socket| {
        greet(socket);
        act(socket);
    });
    let mut connection = connector(Security::default()).open("127.0.0.1", port, soon()).unwrap();
    assert!(!connection.has_gone());
    connection
}

fn call(connection: &mut Connection, deadline: Instant) -> Result<(), ConnectionError> {
    connection.call(&ApiVersionsRequest::default(), deadline).map(drop)
}

/// The error of a call, after which nothing works any more.
fn failed(connection: &mut Connection) -> ConnectionError {
    let error = call(connection, soon()).unwrap_err();
    let again = call(connection, soon()).unwrap_err();
    assert!(matches!(again, ConnectionError::Unusable { .. }), "{again}");
    assert!(connection.has_gone());
    assert!(!error.is_fatal(), "{error}");
    error
}

#[test]
fn a_frame_cut_short_ends_the_connection() {
    for cut in 0..6 {
        let mut connection = met(move |socket| {
            request(socket);
            socket.write_all(&[0, 0, 0, 20, 0, 0, 0][..cut]).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
        });
        let error = failed(&mut connection).to_string();
        assert!(error.contains("closed by the other side"), "{error}");
    }
}

#[test]
fn an_answer_to_something_else_ends_the_connection() {
    let mut connection = met(|socket| {
        let number = request(socket);
        answer(socket, number);
        let number = request(socket);
        answer(socket, number + 1);
    });
    call(&mut connection, soon()).unwrap();
    let error = failed(&mut connection).to_string();
    assert!(error.ends_with("answered request 3 where the answer to request 2 was due"), "{error}");
}

#[test]
fn a_length_beyond_the_limit_ends_the_connection() {
    for prefix in [*b"HTTP", [0xff; 4], [0x80, 0, 0, 0]] {
        let mut connection = met(move |socket| {
            request(socket);
            socket.write_all(&prefix).unwrap();
        });
        let error = failed(&mut connection).to_string();
        assert!(error.contains("sent no frame of Kafka's") && error.contains("check the port"), "{error}");
    }
}

#[test]
fn an_unreadable_answer_ends_the_connection() {
    let mut connection = met(|socket| {
        let number = request(socket);
        let body = [&[0, 0, 0, 10][..], &number.to_be_bytes(), &[0, 0, 0x7f, 0xff, 0xff, 0xff]].concat();
        socket.write_all(&body).unwrap();
    });
    let error = failed(&mut connection).to_string();
    assert!(error.contains("sent an unreadable ApiVersions answer: `api_keys` at byte 7 claims"), "{error}");
}

#[test]
fn silence_costs_no_more_than_the_deadline() {
    let mut connection = met(|socket| {
        request(socket);
    });
    let begun = Instant::now();
    let error = call(&mut connection, begun + SHORT).unwrap_err();
    assert!(error.is_timeout() && !error.is_fatal(), "{error}");
    assert!(begun.elapsed() >= SHORT && begun.elapsed() < Duration::from_secs(10));
    assert!(connection.has_gone(), "the answer may still come, and would be taken for another's");
}

#[test]
fn a_dripping_answer_does_not_prolong_the_wait() {
    let mut connection = met(|socket| {
        request(socket);
        let mut bytes = [7, 0, 0, 0].into_iter().chain(std::iter::repeat(0));
        while socket.write_all(&[bytes.next().unwrap()]).is_ok() {}
    });
    let error = call(&mut connection, Instant::now() + SHORT).unwrap_err();
    assert!(error.is_timeout(), "{error}");
}

#[test]
fn a_peer_that_never_greets_is_given_up() {
    let port = peer(|_| {});
    let settings = ConnectorSettings { request_timeout: SHORT, ..ConnectorSettings::default() };
    let error = Connector::new(settings).unwrap().open("127.0.0.1", port, soon()).unwrap_err();
    assert!(error.is_timeout(), "{error}");
}

#[test]
fn a_peer_that_is_no_broker_is_told_by_its_answer() {
    let port = peer(|socket| {
        request(socket);
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let error = visit(&connector(Security::default()), "127.0.0.1", port).unwrap_err().to_string();
    let expected = format!(
        "127.0.0.1:{port} does not answer like a Kafka listener for security.protocol=PLAINTEXT, so check"
    );
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn a_broker_that_lacks_what_is_needed_is_named_with_all_of_it() {
    let newest = ApiKey::ApiVersions.newest();
    let fitting = |api: ApiKey| (0, api.newest());
    let too_new = move |api: ApiKey| if api == ApiKey::Metadata { (99, 100) } else { fitting(api) };
    let too_old = move |api: ApiKey| match api {
        ApiKey::Metadata | ApiKey::Fetch => (0, 3),
        api => fitting(api),
    };
    let cases: [(Ranges<'_>, &str); 2] = [
        (&too_new, "does not speak Metadata 4 to 13 (it has 99 to 100): use a later sluicegate"),
        (
            &too_old,
            "does not speak Metadata 4 to 13 (it has 0 to 3), Fetch 4 to 18 (it has 0 to 3): use Kafka 2.4 or \
             later, or what is compatible with it",
        ),
    ];
    for (versions, expected) in cases {
        let spoken = speaking(versions);
        let port = peer(move |socket| {
            let number = request(socket);
            say(socket, &spoken, ApiKey::ApiVersions, newest, number);
            let number = request(socket);
            answer(socket, number);
        });
        let mut connection = connector(Security::default()).open("127.0.0.1", port, soon()).unwrap();
        let error = ask(&mut connection, soon()).unwrap_err();
        assert!(error.is_fatal() && error.to_string().ends_with(expected), "{error}");
        call(&mut connection, soon()).expect("nothing was sent, so what is spoken goes on");
    }
}

#[test]
fn a_broker_that_refuses_the_newest_question_is_asked_in_a_version_that_it_knows() {
    let refusal = |ranges: &[(i16, i16)]| ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: ranges
            .iter()
            .map(|(min_version, max_version)| ApiVersionsResponseKey {
                api_key: ApiKey::ApiVersions.number(),
                min_version: *min_version,
                max_version: *max_version,
            })
            .collect(),
        ..ApiVersionsResponse::default()
    };
    // Before Kafka 2.4 a broker doesn't say what it knows, which is version 0 at least.
    for (ranges, version) in [(&[(0, 1)][..], 1), (&[(0, 2)], 2), (&[], 0)] {
        let refusal = refusal(ranges);
        let port = peer(move |socket| {
            let number = request(socket);
            say(socket, &refusal, ApiKey::ApiVersions, 0, number);
            let number = request(socket);
            say(socket, &versions(), ApiKey::ApiVersions, version, number);
        });
        let connection = connector(Security::default()).open("127.0.0.1", port, soon()).unwrap();
        assert_eq!(connection.versions().negotiated(ApiKey::Metadata), Some(13));
    }
    let refusal = refusal(&[(7, 9)]);
    let port = peer(move |socket| {
        let number = request(socket);
        say(socket, &refusal, ApiKey::ApiVersions, 0, number);
    });
    let error = connector(Security::default()).open("127.0.0.1", port, soon()).unwrap_err();
    assert!(error.is_fatal(), "{error}");
    assert!(
        error.to_string().contains("does not speak ApiVersions 0 to 4 (it has 7 to 9): use a later"),
        "{error}"
    );
}

#[test]
fn requests_under_way_are_answered_in_their_order() {
    let mut connection = met(|socket| {
        let numbers: Vec<i32> = (0..3).map(|_| request(socket)).collect();
        numbers.into_iter().for_each(|number| answer(socket, number));
        let number = request(socket);
        answer(socket, number);
        for _ in 0..2 {
            request(socket);
        }
    });
    let mut send = || connection.send(&ApiVersionsRequest::default(), soon()).unwrap();
    let tickets = [send(), send(), send()];
    for ticket in tickets {
        connection.receive::<ApiVersionsRequest>(ticket, soon()).unwrap();
    }
    call(&mut connection, soon()).unwrap();
    let _forgotten = connection.send(&ApiVersionsRequest::default(), soon()).unwrap();
    let error = call(&mut connection, soon()).unwrap_err();
    assert!(matches!(error, ConnectionError::Order { .. }), "{error}");
}

#[test]
fn an_idle_connection_that_its_broker_closed_is_noticed() {
    let (close, closes) = std::sync::mpsc::channel();
    let mut connection = met(move |socket| {
        closes.recv_timeout(LONG).unwrap();
        socket.shutdown(Shutdown::Both).unwrap();
    });
    let before = connection.last_used();
    close.send(()).unwrap();
    crate::support::eventually("the connection has gone", || connection.has_gone());
    assert_eq!(connection.last_used(), before);
}

#[test]
fn another_thread_ends_a_wait() {
    let mut connection = met(|socket| {
        request(socket);
    });
    let canceller = connection.canceller();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| call(&mut connection, soon()));
        canceller.cancel();
        assert!(!waits.join().unwrap().unwrap_err().is_timeout());
    });
}

#[test]
fn an_impostor_that_takes_any_password_is_found_out() {
    use sluicegate::kafka::protocol::sasl_authenticate::SaslAuthenticateResponse;
    use sluicegate::kafka::protocol::sasl_handshake::SaslHandshakeResponse;
    let port = peer(|socket| {
        greet(socket);
        let number = request(socket);
        say(socket, &SaslHandshakeResponse::default(), ApiKey::SaslHandshake, 1, number);
        let number = request(socket);
        let accepted =
            SaslAuthenticateResponse { auth_bytes: Hidden(b"v=AAAA"), ..SaslAuthenticateResponse::default() };
        say(socket, &accepted, ApiKey::SaslAuthenticate, 2, number);
    });
    let sasl = Some(Sasl::ScramSha256 { username: "alice".into(), password: Secret::new("alice-secret") });
    let security = Security { protocol: Protocol::SaslPlaintext, sasl, ..Security::default() };
    let error = connector(security).open("127.0.0.1", port, soon()).unwrap_err();
    assert!(error.is_fatal() && error.to_string().contains("the broker's challenge is malformed"), "{error}");
}
