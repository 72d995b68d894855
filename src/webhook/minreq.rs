//! `minreq` as HTTP client: a connection a request, the smallest build.
//!
//! Limitations:
//! - Its timeouts are whole seconds, so a timeout is rounded up, and it has no timeout of its own for connecting.
//! - It runs each request up to the answer's headers in a thread of its own, so that a slow name server is
//!   bounded too: a request in flight holds two threads, and the worker's is only waiting.
//! - It trusts the roots of Mozilla that were built in, not the system's, and takes no CA of your own.
//! - It sends one header of a name: of a forwarded header that a record repeats, the last.
//! - An answer that is cut off within its headers looks to it like a complete one.
//! - A body that never ends costs the whole timeout; the status counts then.
//!
//! Version 2.14 and not 3.0, since 3.0 does https by a C library (aws-lc); 2.14 does it with rustls and ring.

use super::answer::{self, BODY_LIMIT, HEAD_LIMIT};
use super::destination::Destination;
use super::oauth::TokenFetcher;
use super::request::{Requests, WireRequest};
use crate::record::Record;
use crate::relay::transport::{Answer, Attempt, SendError, SendErrorKind, Target, Transport};
use std::io::{ErrorKind, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

/// Interim answers (1xx) before the final one, at most.
const INTERIM_LIMIT: usize = 100;
/// What minreq makes of an answer without a status line.
const NO_STATUS_LINE: &str = "Server did not provide a status line";

/// Sends by `minreq`.
#[derive(Debug)]
pub struct Minreq {
    destination: Destination,
    requests: Requests,
    timeout: Duration,
}

impl Minreq {
    /// Sends to `destination`; a request takes at most `timeout`, rounded up to whole seconds.
    pub fn new(destination: Destination, requests: Requests, timeout: Duration) -> Self {
        Self { destination, requests, timeout }
    }

    /// What makes the requests.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Connects and, for https, verifies the certificate, by asking for the options of the address; no event is
    /// sent. An answer of any kind means that TLS works.
    pub(crate) fn probe(&self, timeout: Duration) -> Result<String, String> {
        let reached = reach(&self.destination, timeout)?;
        if !self.destination.is_https() {
            return Ok(reached);
        }
        let request = ::minreq::options(self.destination.url())
            .with_timeout(self.seconds().max(1))
            .with_follow_redirects(false)
            .with_max_headers_size(HEAD_LIMIT)
            .with_max_status_line_length(HEAD_LIMIT);
        match catch_unwind(AssertUnwindSafe(|| request.send_lazy())) {
            Ok(Ok(_)) => Ok(format!("{reached}, and the certificate verifies")),
            Ok(Err(error)) => Err(self.failed(&error).text),
            Err(_) => Err("the HTTP client panicked on the answer".into()),
        }
    }

    fn seconds(&self) -> u64 {
        self.timeout.as_secs() + u64::from(self.timeout.subsec_nanos() > 0)
    }

    /// Sends, and lets `keep` take what is wanted of the answer: status, `Retry-After` and body.
    fn post<T>(
        &self,
        wire: &WireRequest<'_>,
        keep: impl Fn(u16, Option<&[u8]>, &[u8]) -> T,
    ) -> Result<T, SendError> {
        // minreq's own count of header bytes can underflow on a hostile answer, which the overflow checks of our
        // profiles turn into a panic; it must not end the run.
        catch_unwind(AssertUnwindSafe(|| self.exchange(wire, keep)))
            .unwrap_or_else(|_| Err(broken("the HTTP client panicked on the answer".into())))
    }

    fn exchange<T>(
        &self,
        wire: &WireRequest<'_>,
        keep: impl Fn(u16, Option<&[u8]>, &[u8]) -> T,
    ) -> Result<T, SendError> {
        let url = format!("{}{}", self.destination.origin(), wire.target);
        let mut request = ::minreq::post(url)
            .with_timeout(self.seconds().max(1))
            .with_follow_redirects(false)
            .with_max_headers_size(HEAD_LIMIT)
            .with_max_status_line_length(HEAD_LIMIT)
            // Without it a receiver that answers without a length would keep the connection, and us, waiting.
            .with_header("Connection", "close");
        for (name, value) in wire.headers.iter() {
            request = request.with_header(name, value);
        }
        let request = request.with_body(&*wire.body);
        let mut response = request.send_lazy().map_err(|error| self.failed(&error))?;
        if response.reason_phrase == NO_STATUS_LINE {
            return Err(broken("the destination answered something that is not HTTP".into()));
        }
        let mut read = Vec::new();
        // The head is complete, so its status counts, whatever becomes of the body.
        let _ = Read::take(&mut response, BODY_LIMIT as u64).read_to_end(&mut read);
        match u16::try_from(response.status_code) {
            // minreq takes an interim answer for the final one, which then stands where the body would be.
            Ok(100..=199) => after_interim(&read, keep),
            Ok(status @ 200..=599) => {
                let retry_after = response.headers.get("retry-after").map(String::as_bytes);
                Ok(keep(status, retry_after, &read))
            }
            _ => Err(broken(format!("the destination answered with status {}", response.status_code))),
        }
    }

    fn failed(&self, error: &::minreq::Error) -> SendError {
        use ::minreq::Error as E;
        match error {
            E::IoError(error) => self.broke(error),
            E::AddressNotFound => self.unconnected("its name has no address"),
            E::HttpsFeatureNotEnabled => self.unconnected("https is not built in"),
            E::HeadersOverflow | E::StatusLineOverflow => {
                broken(format!("the answer's headers are longer than {HEAD_LIMIT} bytes"))
            }
            other => broken(format!("the answer could not be read: {other}")),
        }
    }

    fn unconnected(&self, why: &str) -> SendError {
        SendError {
            kind: SendErrorKind::Connect,
            text: format!("no connection to {}: {why}", self.destination),
        }
    }

    /// minreq does not say at which stage an I/O error came up, but the error itself does: these come from
    /// looking up the name, from connecting, or from TLS, and nothing was sent then.
    fn broke(&self, error: &std::io::Error) -> SendError {
        let text = error.to_string();
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => SendError {
                kind: SendErrorKind::Timeout,
                text: format!("no answer from {} within {} s", self.destination, self.seconds()),
            },
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
            | ErrorKind::InvalidData => self.unconnected(&text),
            _ if text.contains("failed to lookup address") => self.unconnected(&text),
            _ => broken(format!("the connection to {} broke: {text}", self.destination)),
        }
    }
}

impl Transport for Minreq {
    fn send(&self, record: &Record, _attempt: Attempt) -> Result<Answer, SendError> {
        // Its timeouts are whole seconds: what is left of one can't be told to it.
        self.requests.send(record, self.timeout, |request, _| {
            self.post(request, |status, retry_after, body| {
                answer::answer(&request.target, status, retry_after, body, SystemTime::now())
            })
        })
    }

    fn target(&self, record: &Record) -> Target {
        self.requests.target(record)
    }
}

fn reach(destination: &Destination, timeout: Duration) -> Result<String, String> {
    let (host, port) = (destination.host(), destination.port());
    let addresses: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("the name {host} does not resolve ({error}): check the URL"))?
        .collect();
    let mut failure = format!("the name {host} has no address: check the URL");
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(_) => return Ok(format!("resolves and connects ({address})")),
            Err(error) => {
                failure = format!("{address} can't be reached ({error}): check the URL, and whether it is up")
            }
        }
    }
    Err(failure)
}

impl TokenFetcher for Minreq {
    fn fetch(&self, request: &WireRequest<'_>, _: Instant) -> Result<(u16, Vec<u8>), SendError> {
        self.post(request, |status, _, body| (status, body.to_vec()))
    }
}

fn broken(text: String) -> SendError {
    SendError { kind: SendErrorKind::Broken, text: answer::printable(&text) }
}

/// Reads the final answer out of what followed an interim one.
fn after_interim<T>(mut rest: &[u8], keep: impl Fn(u16, Option<&[u8]>, &[u8]) -> T) -> Result<T, SendError> {
    for _ in 0..INTERIM_LIMIT {
        let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") else { break };
        let (head, body) = (&rest[..end], &rest[end + 4..]);
        let Some(status) = status(head) else { break };
        if status >= 200 {
            return Ok(keep(status, field(head, b"retry-after"), body));
        }
        rest = body;
    }
    Err(broken("no final answer came after an interim one (1xx)".into()))
}

/// The status of `HTTP/1.1 200 OK` (RFC 9112 §4).
fn status(head: &[u8]) -> Option<u16> {
    let code = head.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(code).ok()?.parse().ok().filter(|status| (100..=599).contains(status))
}

fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|b| *b == b'\n').skip(1).find_map(|line| {
        let at = line.iter().position(|b| *b == b':')?;
        line[..at].eq_ignore_ascii_case(name).then(|| line[at + 1..].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::super::request::RequestSettings;
    use super::*;

    fn kept(status: u16, retry_after: Option<&[u8]>, body: &[u8]) -> Answer {
        answer::answer("/", status, retry_after, body, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn the_final_answer_is_found_behind_interim_ones() {
        let rest =
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 429 Slow\r\nRetry-After: 7\r\n\r\nbusy";
        let answer = after_interim(rest, kept).unwrap();
        assert_eq!((answer.status, answer.retry_after), (429, Some(Duration::from_secs(7))));
        assert_eq!(answer.excerpt, "busy");
    }

    #[test]
    fn an_interim_answer_alone_is_none() {
        for rest in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"garbage\r\n\r\n", b"HTTP/1.1 99 X\r\n\r\n"] {
            assert!(after_interim(rest, kept).is_err());
        }
        let many = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(INTERIM_LIMIT + 1);
        assert!(after_interim(&many, kept).is_err());
    }

    #[test]
    fn a_timeout_is_rounded_up_to_seconds() {
        let minreq = |ms| {
            let destination = Destination::parse("http://h/").unwrap();
            let requests = Requests::new(&destination, RequestSettings::default()).unwrap();
            Minreq::new(destination, requests, Duration::from_millis(ms)).seconds()
        };
        assert_eq!((minreq(1), minreq(1_000), minreq(1_001)), (1, 1, 2));
    }

    /// What becomes of a request that is answered with these bytes.
    fn status_of(answer: &[u8]) -> Result<u16, SendError> {
        use std::io::Write as _;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = answer.to_vec();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\nbody") {
                let mut some = [0; 64];
                let came = stream.read(&mut some).unwrap();
                request.extend_from_slice(&some[..came]);
            }
            stream.write_all(&answer).unwrap();
        });
        let destination = Destination::parse(&format!("http://{address}/")).unwrap();
        let requests = Requests::new(&destination, RequestSettings::default()).unwrap();
        let minreq = Minreq::new(destination, requests, Duration::from_secs(20));
        let headers = super::super::request::Headers::default();
        let wire = WireRequest { target: "/".into(), headers, body: b"body"[..].into() };
        let fetched = minreq.fetch(&wire, Instant::now() + Duration::from_secs(20));
        server.join().unwrap();
        fetched.map(|(status, _)| status)
    }

    #[test]
    fn the_status_counts_whatever_becomes_of_the_body() {
        for answer in [
            "HTTP/1.1 202 X\r\nContent-Length: 100\r\n\r\nfewer",
            "HTTP/1.1 202 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok",
            "HTTP/1.1 202 X\r\n\r\nfewer",
        ] {
            assert_eq!(status_of(answer.as_bytes()), Ok(202), "{answer:?}");
        }
    }

    /// A header that just fits, ended by a line feed alone, is counted as one byte more than there may be. Without
    /// overflow checks in minreq its headers would have no limit from there on.
    #[test]
    fn a_head_that_minreq_counts_below_zero_is_no_answer() {
        let head = |length| [b"HTTP/1.1 202 X\nX: ", &b"y".repeat(length)[..], b"\n\n"].concat();
        assert_eq!(status_of(&head(HEAD_LIMIT - 6)), Ok(202));
        let error = status_of(&head(HEAD_LIMIT - 4)).unwrap_err();
        assert!(error.text.contains("panic"), "{error:?}");
    }
}
