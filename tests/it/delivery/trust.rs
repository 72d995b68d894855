//! The binary with requests that their receivers can trust, from a real broker.

use super::{committed, run, shared};
use crate::support::receiver::{Receiver, Reply, Request};
use sluicegate::webhook::signature::Signer;
use std::path::PathBuf;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("sluicegate-trust-{name}-{}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

fn is_genuine(signer: &Signer, request: &Request) -> bool {
    let Some(time) = request.header("webhook-timestamp").and_then(|time| time.parse().ok()) else {
        return false;
    };
    let mut expected = String::new();
    signer.sign(request.id(), time, &request.body, &mut expected);
    request.header("webhook-signature") == Some(&*expected)
}

#[test]
fn a_receiver_that_trusts_nobody_gets_every_record() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("trusted", 0, 50);
    let (secret, token) = (file("secret", SECRET), file("token", "top-secret-token\n"));
    let signer = Signer::open(std::slice::from_ref(&secret)).unwrap().0;
    let receiver = Receiver::start(move |request| {
        let genuine = is_genuine(&signer, request)
            && request.header("authorization") == Some("Bearer top-secret-token")
            && request.line.starts_with("POST /hooks/trusted/0?n= ");
        // Not what an impostor would get, 401, which is waited out.
        Reply::Status(if genuine { 204 } else { 418 })
    });
    let url = format!("http://{}/hooks/{{topic}}/{{partition}}?n={{header:none}}", receiver.address);
    let auth = format!("bearer-file:{}", token.display());
    let secret_path = secret.display().to_string();
    let more =
        ["--until-end", "-vv", "--format", "json", "--auth", &auth, "--signing-secret-file", &secret_path];
    let ended = run(broker, "trusted", &url, &more).expect(0);
    assert!(!ended.stderr.contains("top-secret-token") && !ended.stderr.contains("MfKQ"), "{}", ended.stderr);
    assert_eq!(receiver.accepted().len(), 50);
    assert_eq!(committed(broker, "trusted"), 50);
    for path in [secret, token] {
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn headers_of_records_choose_what_is_sent_and_how() {
    // The kafka crate brings no headers.
    if super::version() != super::NEW {
        return;
    }
    let Some(broker) = shared() else { return };
    let event = ["-H", "ce_id=7", "-H", "ce_source=/shop", "-H", "ce_specversion=1.0", "-H", "ce_type=order"];
    let blue = ["-H", "tenant=blue", "-H", "trace=a b"];
    broker.produce("chosen", &[&blue[..], &event].concat(), b"{\"n\":1}\n");
    broker.produce("chosen", &["-H", "tenant=red"], b"2\n3\n");
    broker.produce("chosen", &[&blue[..], &["-Z", "-K", ":"]].concat(), b"k:\n");
    broker.produce("chosen", &blue, b"5\n");
    let receiver = Receiver::accepting();
    let url = format!("http://{}/{{header:tenant}}", receiver.address);
    let more = [
        "--until-end",
        "--filter",
        "header:tenant=blue",
        "--filter",
        "header:tenant=green",
        "--skip-tombstones",
        "--format",
        "cloudevents",
        "--header",
        "X-Trace: <{header:trace}>",
        "--forward-header",
        "trace",
    ];
    run(broker, "chosen", &url, &more).expect(0).saying("filtered 3");
    assert_eq!(committed(broker, "chosen"), 5);
    let mut requests: Vec<Request> = receiver.handled().into_iter().map(|handled| handled.request).collect();
    requests.sort_by_key(|request| request.body.len());
    assert_eq!(requests.iter().map(Request::text).collect::<Vec<_>>(), ["5", "{\"n\":1}"]);
    for request in &requests {
        assert_eq!(request.line, "POST /blue HTTP/1.1");
        assert_eq!(request.header("x-trace"), Some("<a%20b>"));
        assert_eq!(request.header("trace"), Some("a b"));
    }
    assert_eq!(requests[0].header("ce-id"), Some(requests[0].id()));
    assert_eq!((requests[1].header("ce-id"), requests[1].header("ce-source")), (Some("7"), Some("/shop")));
}
