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
