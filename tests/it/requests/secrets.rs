//! The binary and its secrets: they are in files, and nowhere else.

use crate::requests::Scratch;
use crate::support::binary;
use crate::support::receiver::{Receiver, Reply};

const USUAL: [&str; 7] =
    ["run", "--brokers", "127.0.0.1:1", "--topic", "t", "--url", "http://127.0.0.1:1/hook"];

fn refused(more: &[&str]) -> String {
    let ended = binary::run(&[&USUAL[..], more].concat()).expect(2);
    format!("{}{}", ended.stdout, ended.stderr)
}

#[test]
fn what_is_wrong_is_said_without_the_secret_and_before_anything_is_contacted() {
    let (empty, pasted) = (Scratch::new("empty", "\n"), Scratch::new("pasted", "v1,whsec_c2VjcmV0"));
    let (two, oauth) = (Scratch::new("two", "top secret"), Scratch::new("oauth", "client-secret = secret"));
    for (kind, file, what) in [
        ("--signing-secret-file", empty.path().to_owned(), "holds no secret"),
        ("--signing-secret-file", pasted.path().to_owned(), "line 1: the secret begins with 'v1,'"),
        ("--signing-secret-file", "/nowhere".into(), "can't read /nowhere"),
        ("--auth", format!("bearer-file:{}", two.path()), "one word"),
        ("--auth", format!("basic-file:{}", two.path()), "USER:PASSWORD"),
        ("--auth", format!("bearer-file:{}", empty.path()), "is empty"),
        ("--auth", format!("oauth2:{}", oauth.path()), "token-url"),
        ("--auth", "bearer:secret".into(), "stays in the file"),
    ] {
        let said = refused(&[kind, &file]);
        assert!(said.contains(what) && said.contains(kind), "{said}");
        assert!(!said.contains("c2VjcmV0") && !said.contains("top secret"), "{said}");
        assert!(!said.contains("= secret") && !said.contains("r:secret"), "{said}");
    }
}

#[test]
fn check_tries_whether_a_token_can_be_had() {
    for (status, body, what) in [
        (200, r#"{"access_token":"abc"}"#, "ok     credentials: are available"),
        (401, r#"{"error":"invalid_client"}"#, ": it answered 401 (invalid_client)"),
    ] {
        let server = Receiver::start(move |_| Reply::With(status, vec![], body.into()));
        let text = format!(
            "token-url = http://{}/token\nclient-id = me\nclient-secret = client-secret",
            server.address
        );
        let file = Scratch::new("check", &text);
        let auth = format!("oauth2:{}", file.path());
        let ended = binary::run(&[&["check"], &USUAL[1..], &["--auth", &auth]].concat()).expect(1);
        assert!(ended.stdout.contains(what) && !ended.stdout.contains("client-secret"), "{}", ended.stdout);
        assert_eq!(server.begun(), 1);
    }
}

#[test]
fn settings_that_exclude_each_other_are_refused() {
    let token = Scratch::new("token", "abc");
    let auth = format!("bearer-file:{}", token.path());
    for (more, what) in [
        (&["--auth", &auth, "--header", "Authorization: x"][..], "credentials come from one place"),
        (&["--format", "cloudevents", "--header", "ce-id: x"], "the event's own"),
        (&["--ce-type", "x"], "requires --format cloudevents"),
        (&["--header", "X: {topics}"], "a placeholder is"),
        (&["--header", "Content-Type: x"], "--content-type"),
        (&["--filter", "kind=a"], "header:NAME=VALUE"),
    ] {
        let said = refused(more);
        assert!(said.contains(what), "{said}");
    }
    for (url, what) in
        [("http://{key}/hook", "never in scheme, host"), ("http://h/{keys}", "a placeholder is")]
    {
        let arguments = [&USUAL[..6], &[url]].concat();
        let ended = binary::run(&arguments).expect(2);
        assert!(ended.stderr.contains(what), "{}", ended.stderr);
    }
}

#[test]
fn the_token_endpoint_has_a_proxy_of_its_own() {
    let proxy = Receiver::start(|_| Reply::With(200, vec![], r#"{"access_token":"abc"}"#.into()));
    let server = Receiver::start(|_| Reply::With(200, vec![], r#"{"access_token":"abc"}"#.into()));
    let own = format!("http://{}", proxy.address);
    for (url, line, webhooks_proxy, asked) in [
        ("http://idp.example/token".to_owned(), format!("token-proxy = {own}\n"), "none", &proxy),
        (format!("http://{}/token", server.address), String::new(), &*own, &server),
    ] {
        let text = format!("token-url = {url}\nclient-id = me\nclient-secret = s\n{line}");
        let file = Scratch::new("token-proxy", &text);
        let auth = format!("oauth2:{}", file.path());
        let more = ["--auth", &auth, "--proxy", webhooks_proxy];
        let ended = binary::run(&[&["check"], &USUAL[1..], &more].concat()).expect(1);
        assert!(ended.stdout.contains("ok     credentials"), "{}", ended.stdout);
        assert_eq!(asked.begun(), 1);
    }
    assert_eq!(
        (proxy.handled()[0].request.line.as_str(), proxy.begun()),
        ("POST http://idp.example/token HTTP/1.1", 1)
    );
    let file = Scratch::new(
        "token-proxy",
        "token-url = http://h/\nclient-id = i\nclient-secret = s\ntoken-proxy = x://y",
    );
    let said = refused(&["--auth", &format!("oauth2:{}", file.path())]);
    assert!(said.contains("token-proxy: a proxy is reached by http://HOST:PORT"), "{said}");
}
