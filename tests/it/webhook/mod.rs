//! The client that keeps connections, against receivers, proxies and whatever else may be at the other end.

mod exchange;
mod explained;
mod hostile;
mod kept;
mod mutations;
mod odd;
mod peer;
mod reach;
mod renewed;
mod secure;
mod targets;

use sluicegate::relay::transport::{Answer, SendError, SendErrorKind};
use sluicegate::webhook::destination::Destination;
use sluicegate::webhook::keep_alive::{ClientSettings, ConnectionChoice, KeepAlive};
use sluicegate::webhook::request::{Headers, WireRequest};
use std::time::{Duration, Instant};

fn client(url: &str) -> KeepAlive {
    client_with(url, ClientSettings::default())
}

fn client_with(url: &str, settings: ClientSettings) -> KeepAlive {
    KeepAlive::new(Destination::parse(url).unwrap(), settings).unwrap()
}

fn request(body: &[u8]) -> WireRequest<'_> {
    WireRequest { target: "/hook".into(), headers: Headers::default(), body: body.into() }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn post(client: &KeepAlive) -> Result<Answer, SendError> {
    client.exchange(&request(b"{}"), ConnectionChoice::AnyConnection, soon())
}

/// As the relay sends: what met a closed connection goes once more, over a new one. Where this machine has too much
/// to do, the close is noticed too late to be told from a failure.
fn relayed(client: &KeepAlive) -> Result<Answer, SendError> {
    match post(client) {
        Err(error) if matches!(error.kind, SendErrorKind::Stale | SendErrorKind::Broken) => {
            client.exchange(&request(b"{}"), ConnectionChoice::NewConnection, soon())
        }
        result => result,
    }
}

#[track_caller]
fn status(client: &KeepAlive) -> u16 {
    relayed(client).unwrap().status
}
