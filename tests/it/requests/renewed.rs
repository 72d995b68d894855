//! Files of secrets that others renew while the run goes on.

use crate::requests::reference::CURRENT;
use crate::requests::{Scratch, record, sender, sha256};
use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply, Request};
use sluicegate::files::Reporter;
use sluicegate::relay::transport::{Attempt, Transport};
use sluicegate::webhook::authorization::Authorization;
use sluicegate::webhook::destination::Destination;
use sluicegate::webhook::keep_alive::{ClientSettings, KeepAlive};
use sluicegate::webhook::oauth::{ClientCredentials, TokenFetcher};
use sluicegate::webhook::request::RequestSettings;
use sluicegate::webhook::secret_file::{Scheme, SecretFile};
use sluicegate::webhook::sender::{Sender, TokenClient};
use sluicegate::webhook::signature::Signer;
use std::sync::Mutex;
use std::time::Instant;

const NEXT: &str = "whsec_bmV4dCBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcw==";

fn sends(sender: &Sender) -> u16 {
    sender.send(&record(None, Some(b"x"), &[]), Attempt::FIRST).unwrap().status
}

fn last(receiver: &Receiver) -> Request {
    receiver.handled().pop().unwrap().request
}

fn is_signed_with(secret: &str, request: &Request) -> bool {
    let signed = format!("{}.{}.x", request.id(), request.header("webhook-timestamp").unwrap());
    request.header("webhook-signature") == Some(&*sha256::standard_webhook(secret, signed.as_bytes()))
}

#[test]
fn requests_are_signed_with_the_secret_that_took_the_place_of_another() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let warn = |text: &str| TOLD.lock().unwrap().push(text.to_owned());
    let file = Scratch::new("renewed-secret", CURRENT);
    let reporter = Reporter { warn, ..Reporter::SILENT };
    let (signer, _) = Signer::open_telling(std::slice::from_ref(&file.0), reporter).unwrap();
    let receiver = Receiver::accepting();
    let sender =
        sender(&receiver, "/", RequestSettings { signer: Some(signer), ..RequestSettings::default() });
    assert_eq!(sends(&sender), 204);
    assert!(is_signed_with(CURRENT, &last(&receiver)));
    file.write("whsec_half=");
    eventually("a warning of the secret that can't be used", || {
        assert!(sends(&sender) == 204 && is_signed_with(CURRENT, &last(&receiver)));
        !TOLD.lock().unwrap().is_empty()
    });
    assert!(!TOLD.lock().unwrap()[0].contains("half="));
    // In one step, as whoever does it well does it.
    let next = Scratch::new("renewed-next", NEXT);
    std::fs::rename(&next.0, &file.0).unwrap();
    eventually("a signature with the new secret", || {
        assert_eq!(sends(&sender), 204);
        is_signed_with(NEXT, &last(&receiver))
    });
    assert_eq!(TOLD.lock().unwrap().len(), 1);
}

#[test]
fn credentials_in_a_file_change_without_a_401() {
    for (scheme, one, two, header) in
        [(Scheme::Bearer, "one", "two", "Bearer two"), (Scheme::Basic, "me:one", "me:two", "Basic bWU6dHdv")]
    {
        let file = Scratch::new("renewed-credentials", one);
        let secret = SecretFile::open(&file.0, scheme, Reporter::SILENT, Instant::now()).unwrap();
        let receiver = Receiver::accepting();
        let settings = RequestSettings {
            authorization: Some(Authorization::File(secret)),
            ..RequestSettings::default()
        };
        let sender = sender(&receiver, "/", settings);
        assert_eq!(sends(&sender), 204);
        file.write(two);
        eventually("the new credentials", || {
            assert_eq!(sends(&sender), 204);
            last(&receiver).header("authorization") == Some(header)
        });
    }
}

#[test]
fn a_token_is_asked_for_with_the_clients_new_secret_and_where_the_file_says_now() {
    let give = |token: &'static str| {
        move |request: &Request| {
            assert!(request.text().contains("client_secret=new") || token == "old");
            let body = format!("{{\"access_token\":\"{token}\",\"expires_in\":3600}}");
            Reply::With(200, vec![], body)
        }
    };
    let (old, new) = (Receiver::start(give("old")), Receiver::start(give("new")));
    let text = |server: &Receiver, secret: &str| {
        format!(
            "token-url = http://{}/token\nclient-id = me\nclient-secret = {secret}\nclient-auth = post\n",
            server.address
        )
    };
    let file = Scratch::new("renewed-client", &text(&old, "old"));
    let connect = |settings: &sluicegate::webhook::oauth::OAuthSettings| {
        let endpoint: Destination = settings.endpoint.clone();
        let client =
            KeepAlive::new(endpoint, ClientSettings::default()).map_err(|error| error.to_string())?;
        Ok(Box::new(TokenClient::new(client, "")) as Box<dyn TokenFetcher>)
    };
    let client =
        ClientCredentials::open(&file.0, Box::new(connect), Reporter::SILENT, Instant::now()).unwrap();
    let receiver = Receiver::start(|request| match request.header("authorization") {
        Some("Bearer new") => Reply::Status(204),
        _ => Reply::Status(401),
    });
    let authorization = Some(Authorization::OAuth2(Box::new(client)));
    let sender = sender(&receiver, "/", RequestSettings { authorization, ..RequestSettings::default() });
    assert_eq!(sends(&sender), 401);
    file.write(&text(&new, "new"));
    eventually("a token for the new secret", || sends(&sender) == 204);
    assert_eq!((old.begun(), new.begun()), (2, 1));
}
