//! Sends requests and receives responses, matched by correlation id. Knows nothing about authentication.

use super::ConnectionError;
use super::inbox::{FrameError, Inbox};
use crate::kafka::protocol::{Reader, Request, frame, response_body};
use crate::net::{NetError, Stream};
use std::io::{self, Write};
use std::time::Instant;

/// The request buffer is shrunk to this size after each request, in bytes.
const KEPT: usize = 256 * 1024;

/// A request in flight. Its response comes after those of all earlier ones.
#[derive(Debug)]
#[must_use = "its response has to be received before that of any later request"]
pub struct Ticket {
    correlation_id: i32,
    version: i16,
}

/// A stream of frames. It can't be used after an error, since the frame boundaries may be lost.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) broker: String,
    client_id: String,
    stream: Stream,
    inbox: Inbox,
    outbox: Vec<u8>,
    largest_frame: usize,
    /// The correlation ids of the next response and the next request; those between are in flight.
    next_answer: i32,
    next_request: i32,
    unusable: bool,
}

impl Wire {
    pub(super) fn new(broker: String, client_id: String, stream: Stream, largest_frame: usize) -> Self {
        Self {
            broker,
            client_id,
            stream,
            inbox: Inbox::default(),
            outbox: Vec::new(),
            largest_frame,
            next_answer: 0,
            next_request: 0,
            unusable: false,
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether responses are due.
    pub(super) fn awaits_answers(&self) -> bool {
        self.next_answer != self.next_request
    }

    /// Whether it has failed or was closed, as far as is known without waiting. Always `false` while a response is due.
    pub(super) fn has_gone(&mut self) -> bool {
        self.unusable || !self.awaits_answers() && (!self.inbox.is_empty() || self.stream.has_gone())
    }

    /// Writes a request in this version.
    pub(super) fn send<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        deadline: Instant,
    ) -> Result<Ticket, ConnectionError> {
        self.must_be_usable()?;
        self.outbox.clear();
        let correlation_id = self.next_request;
        frame(request, version, correlation_id, &self.client_id, &mut self.outbox)
            .map_err(|reason| ConnectionError::Encode { api: R::API, reason })?;
        self.unusable = true; // until all of it is written
        self.stream.set_deadline(deadline);
        let written = self.stream.write_all(&self.outbox).and_then(|()| self.stream.flush());
        written.map_err(|reason| self.broken(reason))?;
        self.outbox.shrink_to(KEPT);
        self.next_request = correlation_id.wrapping_add(1);
        self.unusable = false;
        Ok(Ticket { correlation_id, version })
    }

    /// Waits for the response to a request.
    pub(super) fn receive<R: Request>(
        &mut self,
        ticket: Ticket,
        deadline: Instant,
    ) -> Result<R::Response<'_>, ConnectionError> {
        self.must_be_usable()?;
        self.unusable = true; // until all of it is read
        let (broker, expected) = (&self.broker, self.next_answer);
        let out_of_order = |got| ConnectionError::Order { broker: broker.clone(), expected, got };
        if ticket.correlation_id != expected {
            return Err(out_of_order(ticket.correlation_id));
        }
        self.stream.set_deadline(deadline);
        let frame = self.inbox.frame(&mut self.stream, self.largest_frame).map_err(|error| match error {
            FrameError::Io(reason) => NetError::of_io(broker, reason).into(),
            FrameError::Length(reason) => ConnectionError::Frame { broker: broker.clone(), reason },
        })?;
        let unreadable = |reason| ConnectionError::Decode { broker: broker.clone(), api: R::API, reason };
        let mut reader = Reader::new(frame);
        let got = response_body(&mut reader, R::API, ticket.version).map_err(unreadable)?;
        if got != expected {
            return Err(out_of_order(got));
        }
        let mut response = reader.whole().map_err(unreadable)?;
        R::restore(&mut response, ticket.version);
        self.next_answer = expected.wrapping_add(1);
        self.unusable = false;
        Ok(response)
    }

    /// Sends a request and waits for its response.
    pub(super) fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        deadline: Instant,
    ) -> Result<R::Response<'_>, ConnectionError> {
        let ticket = self.send(request, version, deadline)?;
        self.receive::<R>(ticket, deadline)
    }

    fn must_be_usable(&self) -> Result<(), ConnectionError> {
        if self.unusable { Err(ConnectionError::Unusable { broker: self.broker.clone() }) } else { Ok(()) }
    }

    fn broken(&self, reason: io::Error) -> ConnectionError {
        NetError::of_io(&self.broker, reason).into()
    }
}
