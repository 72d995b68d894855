//! The transport over kept connections: makes requests of records and sends them.

use super::keep_alive::{ConnectionChoice, KeepAlive};
use super::oauth::TokenFetcher;
use super::request::{Requests, WireRequest};
use crate::net::NO_TLS;
use crate::record::Record;
use crate::relay::transport::{Answer, Attempt, SendError, SendErrorKind, Target, Transport};
use std::time::{Duration, Instant};

/// Sends records over kept connections.
#[derive(Debug)]
pub struct Sender {
    client: KeepAlive,
    requests: Requests,
    timeout: Duration,
}

impl Sender {
    /// A request takes at most `timeout`, connecting included, but not fetching credentials.
    pub fn new(client: KeepAlive, requests: Requests, timeout: Duration) -> Self {
        Self { client, requests, timeout }
    }

    /// What makes the requests.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The client.
    pub(crate) fn client(&self) -> &KeepAlive {
        &self.client
    }
}

impl Transport for Sender {
    fn send(&self, record: &Record, attempt: Attempt) -> Result<Answer, SendError> {
        let over = if attempt.new_connection {
            ConnectionChoice::NewConnection
        } else {
            ConnectionChoice::AnyConnection
        };
        self.requests.send(record, self.timeout, |request, time| {
            let now = Instant::now();
            // A year, the longest setting, is within what a clock can hold.
            self.client.exchange(request, over, now.checked_add(time).unwrap_or(now))
        })
    }

    fn target(&self, record: &Record) -> Target {
        self.requests.target(record)
    }
}

/// Fetches tokens over a kept connection.
#[derive(Debug)]
pub struct TokenClient {
    client: KeepAlive,
    advice: &'static str,
}

impl TokenClient {
    /// `advice` is appended to errors of TLS with the endpoint.
    pub fn new(client: KeepAlive, advice: &'static str) -> Self {
        Self { client, advice }
    }
}

impl TokenFetcher for TokenClient {
    fn fetch(&self, request: &WireRequest<'_>, deadline: Instant) -> Result<(u16, Vec<u8>), SendError> {
        let call = |over| self.client.call(request, over, deadline);
        // The relay does not retry this: a stale connection is replaced here, once.
        let answer = match call(ConnectionChoice::AnyConnection) {
            Err(error) if error.kind == SendErrorKind::Stale => call(ConnectionChoice::NewConnection),
            result => result,
        };
        match answer {
            Ok(answer) => Ok((answer.status, answer.body)),
            Err(SendError { kind, text }) if text.contains(NO_TLS) && !self.advice.is_empty() => {
                Err(SendError { kind, text: format!("{text}. {}", self.advice) })
            }
            Err(error) => Err(error),
        }
    }
}
