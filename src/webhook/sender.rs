//! Records on their way: what makes requests of them, joined with the client that sends requests.

use super::keep_alive::{KeepAlive, Over};
use super::oauth::TokenFetcher;
use super::request::{Requests, WireRequest};
use crate::relay::record::Record;
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
    /// A request takes at most `timeout`, connecting included.
    pub fn new(client: KeepAlive, requests: Requests, timeout: Duration) -> Self {
        Self { client, requests, timeout }
    }

    /// The client alone.
    pub fn client(&self) -> &KeepAlive {
        &self.client
    }
}

impl Transport for Sender {
    fn send(&self, record: &Record, attempt: Attempt) -> Result<Answer, SendError> {
        let now = Instant::now();
        // A year, the longest setting, is within what a clock can hold.
        let deadline = now.checked_add(self.timeout).unwrap_or(now);
        let over = if attempt.new_connection { Over::NewConnection } else { Over::AnyConnection };
        self.requests.send(record, |request| self.client.exchange(request, over, deadline))
    }

    fn target(&self, record: &Record) -> Target {
        self.requests.target(record)
    }
}

/// Fetches tokens over a kept connection.
#[derive(Debug)]
pub struct TokenClient {
    client: KeepAlive,
    timeout: Duration,
}

impl TokenClient {
    /// An answer takes at most `timeout`, connecting included.
    pub fn new(client: KeepAlive, timeout: Duration) -> Self {
        Self { client, timeout }
    }
}

impl TokenFetcher for TokenClient {
    fn fetch(&self, request: &WireRequest<'_>) -> Result<(u16, Vec<u8>), SendError> {
        let now = Instant::now();
        let deadline = now.checked_add(self.timeout).unwrap_or(now);
        let call = |over| self.client.call(request, over, deadline);
        // No relay sends this again: what met a connection that had been closed goes once more, over a new one.
        let answer = match call(Over::AnyConnection) {
            Err(error) if error.kind == SendErrorKind::Stale => call(Over::NewConnection),
            result => result,
        };
        answer.map(|answer| (answer.status, answer.body))
    }
}
