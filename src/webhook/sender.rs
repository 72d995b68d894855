//! Records on their way: what makes requests of them, joined with the client that sends requests.

use super::keep_alive::KeepAlive;
use super::request::Requests;
use crate::relay::record::Record;
use crate::relay::transport::{Answer, SendError, Transport};
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
    fn send(&self, record: &Record, attempt: u32) -> Result<Answer, SendError> {
        let now = Instant::now();
        // A year, the longest setting, is within what a clock can hold.
        let deadline = now.checked_add(self.timeout).unwrap_or(now);
        self.requests.send(record, attempt, |request| self.client.exchange(request, deadline))
    }
}
