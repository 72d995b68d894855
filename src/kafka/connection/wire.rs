//! Sends requests and receives responses, matched by correlation id. Knows nothing about authentication.

use super::ConnectionError;
use super::inbox::{FrameError, Inbox};
use crate::kafka::protocol::{ApiKey, DecodeError, Reader, Request, frame, response_body};
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

/// A response whose body is still to be decoded. The wire is usable again once it is accepted.
struct Unread<'a> {
    broker: &'a str,
    api: ApiKey,
    next_answer: &'a mut i32,
    unusable: &'a mut bool,
}

impl Unread<'_> {
    fn accepted(self) {
        *self.next_answer = self.next_answer.wrapping_add(1);
        *self.unusable = false;
    }

    fn refused(&self, reason: DecodeError) -> ConnectionError {
        ConnectionError::Decode { broker: self.broker.to_owned(), api: self.api, reason }
    }
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
        frame(request, version, self.next_request, &self.client_id, &mut self.outbox)
            .map_err(|reason| ConnectionError::Encode { api: R::API, reason })?;
        self.write_outbox(deadline)?;
        let correlation_id = self.next_request;
        self.next_request = correlation_id.wrapping_add(1);
        Ok(Ticket { correlation_id, version })
    }

    /// Waits for the response to a request.
    pub(super) fn receive<R: Request>(
        &mut self,
        ticket: Ticket,
        deadline: Instant,
    ) -> Result<R::Response<'_>, ConnectionError> {
        let (reader, unread) = self.body(&ticket, R::API, deadline)?;
        let mut response = reader.whole().map_err(|reason| unread.refused(reason))?;
        R::restore(&mut response, ticket.version);
        unread.accepted();
        Ok(response)
    }

    // What is not generic stays in functions of its own, since each request has a copy of those that are.

    fn write_outbox(&mut self, deadline: Instant) -> Result<(), ConnectionError> {
        self.unusable = true; // until all of it is written
        self.stream.set_deadline(deadline);
        let written = self.stream.write_all(&self.outbox).and_then(|()| self.stream.flush());
        written.map_err(|reason| self.broken(reason))?;
        self.outbox.shrink_to(KEPT);
        self.unusable = false;
        Ok(())
    }

    /// Waits for a response, and reads its header.
    fn body(
        &mut self,
        ticket: &Ticket,
        api: ApiKey,
        deadline: Instant,
    ) -> Result<(Reader<'_>, Unread<'_>), ConnectionError> {
        self.must_be_usable()?;
        let Self { broker, stream, inbox, next_answer, unusable, .. } = self;
        *unusable = true; // until all of it is read
        let expected = *next_answer;
        let out_of_order = |got| ConnectionError::Order { broker: broker.clone(), expected, got };
        if ticket.correlation_id != expected {
            return Err(out_of_order(ticket.correlation_id));
        }
        stream.set_deadline(deadline);
        let frame = inbox.frame(stream, self.largest_frame).map_err(|error| match error {
            FrameError::Io(reason) => NetError::of_io(broker, reason).into(),
            FrameError::Length(reason) => ConnectionError::Frame { broker: broker.clone(), reason },
        })?;
        let mut reader = Reader::new(frame);
        let unread = Unread { broker, api, next_answer, unusable };
        let got = response_body(&mut reader, api, ticket.version).map_err(|reason| unread.refused(reason))?;
        if got != expected {
            return Err(out_of_order(got));
        }
        Ok((reader, unread))
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
