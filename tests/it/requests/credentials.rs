//! Credentials over real HTTP: renewed while the run goes on, and once after a 401.

use crate::requests::{Scratch, record, sender};
use crate::support::binary;
use crate::support::receiver::{Receiver, Reply};
use sluicegate::files::Reporter;
use sluicegate::relay::transport::{Attempt, SendErrorKind, Transport};
use sluicegate::webhook::authorization::Authorization;
use sluicegate::webhook::destination::Destination;
use sluicegate::webhook::keep_alive::{ClientSettings, KeepAlive};
use sluicegate::webhook::minreq::Minreq;
use sluicegate::webhook::oauth::{ClientCredentials, OAuthSettings, TOKEN_TIMEOUT, TokenFetcher};
use sluicegate::webhook::request::{RequestSettings, Requests};
use sluicegate::webhook::secret_file::{Scheme, SecretFile};
use sluicegate::webhook::sender::TokenClient;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Gives tokens `t1`, `t2`, ... that last for an hour.
fn token_server() -> Receiver {
    let given = AtomicUsize::new(0);
    Receiver::start(move |request| {
        assert_eq!(request.text(), "grant_type=client_credentials&scope=events");
        assert_eq!(request.header("authorization"), Some("Basic bWU6Y2xpZW50LXNlY3JldA=="));
        let number = given.fetch_add(1, Ordering::SeqCst) + 1;
        let body =
            format!("{{\"access_token\":\"t{number}\",\"token_type\":\"Bearer\",\"expires_in\":3600}}");
        Reply::With(200, vec![], body)
    })
}

fn oauth(name: &str, server: &Receiver, minreq: bool) -> RequestSettings {
    let file = Scratch::new(
        name,
        &format!(
            "token-url = http://{}/token\nclient-id = me\nclient-secret = client-secret\nscope = events\n",
            server.address
        ),
    );
    let settings = OAuthSettings::open(&file.0).unwrap();
    let endpoint: Destination = settings.endpoint.clone();
    let fetcher: Box<dyn TokenFetcher> = match minreq {
        true => {
            let requests = Requests::new(&endpoint, RequestSettings::default()).unwrap();
            Box::new(Minreq::new(endpoint, requests, TOKEN_TIMEOUT))
        }
        false => {
            let client = KeepAlive::new(endpoint, ClientSettings::default()).unwrap();
            Box::new(TokenClient::new(client, ""))
        }
    };
    let client = ClientCredentials::new(settings, fetcher, Reporter::SILENT);
    RequestSettings {
        authorization: Some(Authorization::OAuth2(Box::new(client))),
        ..RequestSettings::default()
    }
}

#[test]
fn a_token_is_fetched_once_and_again_after_a_401() {
    for minreq in [false, true] {
        let server = token_server();
        let revoked = Arc::new(AtomicBool::new(false));
        let receiver = {
            let revoked = Arc::clone(&revoked);
            Receiver::start(move |request| match request.header("authorization") {
                Some("Bearer t1") if !revoked.load(Ordering::SeqCst) => Reply::Status(204),
                Some("Bearer t2") => Reply::Status(204),
                _ => Reply::Status(401),
            })
        };
        let name = if minreq { "oauth-minreq" } else { "oauth-kept" };
        let sender = sender(&receiver, "/hook", oauth(name, &server, minreq));
        let record = record(None, Some(b"x"), &[]);
        let send = || sender.send(&record, Attempt::FIRST).map(|answer| answer.status);
        assert_eq!((send(), send()), (Ok(204), Ok(204)));
        assert_eq!(server.begun(), 1);
        revoked.store(true, Ordering::SeqCst);
        assert_eq!(send(), Ok(204));
        assert_eq!((server.begun(), receiver.begun()), (2, 4));
    }
}

#[test]
fn a_destination_that_wants_no_token_of_ours_gets_two_and_not_more() {
    let (server, receiver) = (token_server(), Receiver::start(|_| Reply::Status(401)));
    let sender = sender(&receiver, "/hook", oauth("oauth-refused", &server, false));
    for requests in [2, 3, 4] {
        assert_eq!(
            sender.send(&record(None, None, &[]), Attempt::FIRST).map(|answer| answer.status),
            Ok(401)
        );
        assert_eq!(receiver.begun(), requests);
    }
    assert_eq!(server.begun(), 2);
}

#[test]
fn no_token_speaks_of_the_destination_and_sends_nothing() {
    let server = Receiver::start(|_| Reply::With(401, vec![], "{\"error\":\"invalid_client\"}".into()));
    let receiver = Receiver::accepting();
    let sender = sender(&receiver, "/hook", oauth("oauth-none", &server, false));
    let error = sender.send(&record(None, None, &[]), Attempt::FIRST).unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Connect);
    let text = format!("no access token from http://{}: it answered 401 (invalid_client)", server.address);
    assert!(error.text.contains(&text), "{error}");
    assert!(!error.text.contains("client-secret"), "{error}");
    assert_eq!(receiver.begun(), 0);
}

#[test]
fn a_token_that_was_exchanged_in_its_file_is_taken_after_the_401() {
    let receiver = Receiver::start(|request| match request.header("authorization") {
        Some("Bearer new") => Reply::Status(204),
        _ => Reply::Status(401),
    });
    let file = Scratch::new("exchanged", "old");
    let secret = SecretFile::open(&file.0, Scheme::Bearer, Reporter::SILENT, Instant::now()).unwrap();
    let settings =
        RequestSettings { authorization: Some(Authorization::File(secret)), ..RequestSettings::default() };
    let sender = sender(&receiver, "/hook", settings);
    let send = || sender.send(&record(None, None, &[]), Attempt::FIRST).map(|answer| answer.status);
    assert_eq!((send(), receiver.begun()), (Ok(401), 1));
    file.write("new");
    assert_eq!((send(), receiver.begun()), (Ok(204), 3));
}

#[test]
fn a_second_try_is_signed_anew_under_the_same_id() {
    let (server, receiver) = (token_server(), Receiver::start(|_| Reply::Status(401)));
    let settings = RequestSettings {
        signer: Some(crate::requests::signer("anew", &[crate::requests::reference::CURRENT])),
        ..oauth("oauth-anew", &server, false)
    };
    let sender = sender(&receiver, "/hook", settings);
    sender.send(&record(None, Some(b"x"), &[]), Attempt::FIRST).unwrap();
    let requests: Vec<_> = receiver.handled().into_iter().map(|handled| handled.request).collect();
    assert_eq!(requests[0].id(), requests[1].id());
    for request in requests {
        let signed = format!("{}.{}.x", request.id(), request.header("webhook-timestamp").unwrap());
        let expected =
            crate::requests::sha256::standard_webhook(crate::requests::reference::CURRENT, signed.as_bytes());
        assert_eq!(request.header("webhook-signature"), Some(&*expected));
    }
}

#[test]
fn the_time_for_a_request_begins_once_there_is_a_token() {
    let (given, taken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let server = {
        let given = Arc::clone(&given);
        Receiver::start(move |_| {
            std::thread::sleep(Duration::from_millis(1_800)); // a slow token endpoint is the point
            given.store(seconds(), Ordering::SeqCst);
            Reply::With(200, vec![], r#"{"access_token":"t","expires_in":3600}"#.into())
        })
    };
    let receiver = {
        let taken = Arc::clone(&taken);
        Receiver::start(move |request| {
            taken.store(request.header("webhook-timestamp").unwrap().parse().unwrap(), Ordering::SeqCst);
            Reply::After(Duration::from_millis(400), 204)
        })
    };
    let url = format!("http://{}/", receiver.address);
    let text = format!("token-url = http://{}/\nclient-id = me\nclient-secret = s", server.address);
    let (file, lines) = (Scratch::new("slow-token", &text), Scratch::new("slow-token-lines", "one\ntwo\n"));
    let auth = format!("oauth2:{}", file.path());
    let more = ["--auth", &auth, "--timeout", "2s", "--max-attempts", "1", "--url", &url];
    let ended = binary::run(&[&["send", lines.path()], &more[..]].concat()).expect(0);
    let _ = std::fs::remove_file(format!("{}.replayed", lines.path()));
    assert_eq!((server.begun(), receiver.begun()), (1, 2), "{}", ended.stderr);
    // Signed and stamped when it was sent, not when the attempt began.
    assert!(taken.load(Ordering::SeqCst) >= given.load(Ordering::SeqCst));
}

fn seconds() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

#[test]
fn a_token_endpoint_that_hangs_costs_its_own_time_and_no_record() {
    let (server, receiver) = (Receiver::start(|_| Reply::Silence), Receiver::accepting());
    let sender = sender(&receiver, "/hook", oauth("oauth-hangs", &server, false));
    let begun = Instant::now();
    let error = sender.send(&record(None, None, &[]), Attempt::FIRST).unwrap_err();
    assert!(begun.elapsed() >= TOKEN_TIMEOUT && begun.elapsed() < TOKEN_TIMEOUT * 3, "{:?}", begun.elapsed());
    assert_eq!((error.kind, receiver.begun()), (SendErrorKind::Connect, 0), "{error}");
    assert!(error.text.starts_with("no access token from http://"), "{error}");
}

#[test]
fn a_401_that_came_late_leaves_the_renewal_to_the_next_attempt() {
    let (server, receiver) = (
        token_server(),
        Receiver::start(|request| match request.header("authorization") {
            Some("Bearer t1") => Reply::After(Duration::from_millis(2_100), 401),
            _ => Reply::Status(204),
        }),
    );
    let requests =
        Requests::new(&Destination::parse(&receiver.url()).unwrap(), oauth("oauth-late", &server, false));
    let client =
        KeepAlive::new(Destination::parse(&receiver.url()).unwrap(), ClientSettings::default()).unwrap();
    let sender = sluicegate::webhook::sender::Sender::new(client, requests.unwrap(), Duration::from_secs(4));
    let send = || sender.send(&record(None, None, &[]), Attempt::FIRST).map(|answer| answer.status);
    assert_eq!((send(), receiver.begun()), (Ok(401), 1));
    assert_eq!((send(), receiver.begun()), (Ok(204), 2));
}
