//! Records on their way: what makes requests of them, joined with the client that sends requests.

use super::keep_alive::KeepAlive;
use super::oauth::TokenFetcher;
use super::request::{Requests, WireRequest};
use crate::relay::record::Record;
use crate::relay::transport::{Answer, Attempt, SendError, Transport};
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
    fn send(&self, record: &Record, _attempt: Attempt) -> Result<Answer, SendError> {
        let now = Instant::now();
        // A year, the longest setting, is within what a clock can hold.
        let deadline = now.checked_add(self.timeout).unwrap_or(now);
        self.requests.send(record, |request| self.client.exchange(request, deadline))
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
        self.client.call(request, deadline).map(|answer| (answer.status, answer.body))
    }
}
