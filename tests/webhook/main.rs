//! The client that keeps connections, against receivers, proxies and whatever else may be at the other end.

#[path = "../support/mod.rs"]
mod support;

mod exchange;
mod hostile;
mod mutations;
mod peer;
mod reach;
mod secure;

use sluicegate::relay::transport::{Answer, SendError};
use sluicegate::webhook::destination::Destination;
use sluicegate::webhook::keep_alive::{ClientSettings, KeepAlive};
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
    client.exchange(&request(b"{}"), soon())
}

#[track_caller]
fn status(client: &KeepAlive) -> u16 {
    post(client).unwrap().status
}
