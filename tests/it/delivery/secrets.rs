//! Path and query of the webhook's URL are often the secret: nothing that the binary prints or keeps holds them.

use crate::delivery::faults::Scratch;
use crate::delivery::{committed, shared};
use crate::support::binary;
use crate::support::receiver::{Receiver, Reply, Request};
use std::process::Command;

const PATH: &str = "/services/T0ZZZZZZZ/B0QQQQQQQ/SECRETTOKEN?key=SECRETVALUE&n=SECRETNUMBER";
/// Parts of it.
const SECRETS: [&str; 5] = ["T0ZZZZZZZ", "B0QQQQQQQ", "SECRETTOKEN", "SECRETVALUE", "SECRETNUMBER"];

/// Runs the binary with a URL of this origin, and looks at all it says.
#[track_caller]
fn conceals(origin: &str, arguments: &[&str]) -> binary::Ended {
    let url = format!("{origin}{PATH}");
    let ended = binary::run(&[arguments, &["--url", &url]].concat());
    let said = format!("{}{}", ended.stdout, ended.stderr);
    for secret in SECRETS {
        assert!(!said.contains(secret), "{arguments:?} tells {secret}:\n{said}");
    }
    ended
}

fn origin(receiver: &Receiver) -> String {
    format!("http://user:SECRETTOKEN@{}", receiver.address)
}

/// As servers do who mean well.
fn repeats_the_path(request: &Request, status: u16) -> Reply {
    let target = request.line.split(' ').nth(1).unwrap();
    assert_eq!(target, PATH);
    Reply::With(status, vec![], format!("Cannot POST {target}"))
}

#[test]
fn nothing_tells_the_path_of_the_webhook() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("concealed", 0, 3);
    let address = broker.address();
    let letters = Scratch::new("concealed.jsonl");
    let kafka = ["--brokers", &address, "--topic", "concealed", "--group", "concealed"];
    let run =
        [&["run"], &kafka[..], &["--until-end", "-vv", "--patience", "300ms", "--backoff", "5ms..20ms"]]
            .concat();
    // No connection, no TLS, no such address, no answer, a failure of the server, a rejected record.
    let nowhere = format!("http://127.0.0.1:{}", crate::support::broker::free_port());
    conceals(&nowhere, &run).expect(3).saying("no connection to http://127.0.0.1:");
    let silent = Receiver::start(|_| Reply::Silence);
    conceals(&origin(&silent), &[&run[..], &["--timeout", "100ms"]].concat())
        .expect(3)
        .saying("no answer from http://127");
    conceals(&origin(&silent).replace("http:", "https:"), &[&run[..], &["--timeout", "100ms"]].concat())
        .expect(3);
    conceals("https://127.0.0.1:1", &run).expect(3);
    for status in [404, 500, 503] {
        let receiver = Receiver::start(move |request| repeats_the_path(request, status));
        conceals(&origin(&receiver), &run).expect(3).saying("Cannot POST …");
    }
    assert_eq!(committed(broker, "concealed"), 0);
    let receiver = Receiver::start(|request| repeats_the_path(request, 422));
    conceals(&origin(&receiver), &[&run[..], &["--dead-letter", letters.path()]].concat()).expect(0);
    let kept = letters.lines().join("\n");
    assert!(kept.contains("Cannot POST …") && SECRETS.iter().all(|secret| !kept.contains(secret)), "{kept}");
    // Dead letters again, and lines without Kafka.
    let again = ["replay", letters.path(), "--dry-run"];
    conceals(&origin(&receiver), &again).expect(0).expect(0);
    conceals(&origin(&receiver), &["replay", letters.path(), "-vv"]).expect(3).saying("Cannot POST …");
    conceals(&origin(&receiver), &["send", letters.path(), "-vv"]).expect(3);
}

#[test]
fn check_tells_no_path_and_says_what_it_did_not_try() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("checked", 0, 3);
    let address = broker.address();
    let check = ["check", "--brokers", &address, "--topic", "checked"];
    let receiver = Receiver::start(|request| repeats_the_path(request, 404));
    let ended = conceals(&origin(&receiver), &check).expect(0);
    assert!(
        ended.stdout.contains("nothing was sent") && ended.stdout.contains("--send-test"),
        "{}",
        ended.stdout
    );
    assert_eq!(receiver.begun(), 0);
    let tested = [&check[..], &["--send-test"]].concat();
    let ended = conceals(&origin(&receiver), &tested).expect(1);
    assert!(ended.stdout.contains("WRONG  test event: status 404 (Cannot POST …)"), "{}", ended.stdout);
    conceals(&format!("https://{}", receiver.address), &tested).expect(1);
    conceals("http://127.0.0.1:1", &tested).expect(1);
    conceals("http://127.0.0.1:0", &tested).expect(2);
    conceals("http://127.0.0.1:1", &[&tested[..], &["--deny-private"]].concat()).expect(2);
    conceals("http://exa mple", &tested).expect(2);
    conceals("unix:/no/such/socket:", &tested).expect(1);
}

#[test]
fn check_sends_one_marked_event_when_asked_to() {
    let Some(broker) = shared() else { return };
    broker.produce_numbers("check-sends", 0, 3);
    let address = broker.address();
    let check = |url: &str, more: &[&str]| {
        let test = ["check", "--brokers", &address, "--topic", "check-sends", "--send-test", "--url", url];
        binary::run(&[&test[..], more].concat())
    };
    let accepting = Receiver::accepting();
    let ended = check(&accepting.url(), &[]).expect(0);
    assert!(ended.stdout.contains("ok     test event: status 204: accepted"), "{}", ended.stdout);
    let handled = accepting.handled();
    assert_eq!(handled.len(), 1);
    assert!(handled[0].request.id().starts_with("sluicegate-check-"), "{}", handled[0].request.id());
    assert_eq!(handled[0].request.text(), r#"{"sluicegate":"check"}"#);
    for (status, meaning) in [
        (404, "a run would pause; nothing is at this address"),
        (503, "a run would pause and try again"),
        (500, "again and again"),
        (422, "rejected"),
        (410, "a run would end"),
    ] {
        let receiver = Receiver::start(move |_| Reply::Status(status));
        let ended = check(&receiver.url(), &[]).expect(1);
        let line = format!("WRONG  test event: status {status}: ");
        assert!(ended.stdout.contains(&line) && ended.stdout.contains(meaning), "{}", ended.stdout);
        assert_eq!(receiver.begun(), 1);
    }
    let receiver = Receiver::start(|_| Reply::Status(409));
    check(&receiver.url(), &["--on-status", "409=accept"]).expect(0);
}

#[test]
fn clear_text_credentials_in_the_url_are_warned_of() {
    let said = |url: &str| {
        let mut command = Command::new("bash");
        let script = r#"printf 'x\n' | exec "$0" send - --timeout 100ms --patience 100ms --url "$1""#;
        command.args(["-c", script, &binary::path(), url]);
        binary::Running::spawn(command).wait().stderr
    };
    assert!(said("http://us:pw@192.0.2.1/").contains("credentials go to http://192.0.2.1 without TLS"));
    for url in ["http://us:pw@127.0.0.1:1/", "https://us:pw@192.0.2.1/", "http://192.0.2.1/"] {
        assert!(!said(url).contains("without TLS"), "{url}");
    }
}
