//! As much of HTTP/1.1 as a receiver of webhooks needs: a head, a body of known length, an answer.

use super::LARGEST_BODY;
use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;

/// The largest head, in bytes: room for every header that sluicegate may send.
pub(super) const LARGEST_HEAD: usize = 64 << 10;
/// The most lines of a head.
const MOST_LINES: usize = 200;

/// Why a request can't be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The client has gone, or took too long. Nobody waits for an answer.
    Closed,
    Malformed,
    NotPost,
    NoLength,
    HeadTooLarge,
    BodyTooLarge,
    /// The bodies of other requests take all the memory there is for them.
    Busy,
}

impl Fault {
    /// Status and reason. Never called for [`Self::Closed`].
    pub(super) fn answer(self) -> (u16, &'static str) {
        match self {
            Self::Closed | Self::Malformed => (400, "this is not an HTTP/1.1 request"),
            Self::NotPost => (405, "events are sent with POST"),
            Self::NoLength => (411, "a Content-Length is required: chunked bodies are not read"),
            Self::HeadTooLarge => (431, "the request line and headers are larger than 64 KiB"),
            Self::BodyTooLarge => (413, "the body is larger than 16 MiB"),
            Self::Busy => (503, "too many bytes of other requests are being verified"),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// The head of a request, as far as it matters here.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) path: String,
    /// The length of the body, in bytes; at most [`LARGEST_BODY`].
    pub(super) length: usize,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    /// `webhook-id`
    pub(super) id: Option<String>,
    /// `webhook-timestamp`
    pub(super) timestamp: Option<String>,
    /// `webhook-signature`
    pub(super) signature: Option<String>,
}

pub(super) fn read_head(reader: &mut impl BufRead) -> Result<Head, Fault> {
    let mut limited = reader.take(LARGEST_HEAD as u64);
    let mut line = next_line(&mut limited, Fault::Closed)?;
    let mut words = line.split(' ');
    let mut head = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(path), Some(version @ ("HTTP/1.1" | "HTTP/1.0")), None) => Head {
            method: method.to_owned(),
            path: path.to_owned(),
            keep_alive: version == "HTTP/1.1",
            ..Head::default()
        },
        _ => return Err(Fault::Malformed),
    };
    let (mut length, mut chunked) = (None, false);
    for _ in 0..MOST_LINES {
        line = next_line(&mut limited, Fault::Malformed)?;
        if line.is_empty() {
            return match (head.method.as_str(), length) {
                ("POST", _) if chunked => Err(Fault::NoLength),
                ("POST", Some(length)) if length > LARGEST_BODY => Err(Fault::BodyTooLarge),
                ("POST", length) => Ok(Head { length: length.unwrap_or(0), ..head }),
                _ => Err(Fault::NotPost),
            };
        }
        let (name, value) = line.split_once(':').ok_or(Fault::Malformed)?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let new = value.parse().map_err(|_| Fault::Malformed)?;
                if length.replace(new).is_some_and(|old| old != new) {
                    return Err(Fault::Malformed);
                }
            }
            "transfer-encoding" => chunked = true,
            "connection" if value.eq_ignore_ascii_case("close") => head.keep_alive = false,
            "expect" => head.expects_continue = value.eq_ignore_ascii_case("100-continue"),
            "webhook-id" => head.id = Some(value.to_owned()),
            "webhook-timestamp" => head.timestamp = Some(value.to_owned()),
            "webhook-signature" => head.signature = Some(value.to_owned()),
            _ => {}
        }
    }
    Err(Fault::HeadTooLarge)
}

/// A line without its end. `at_end`: what an end before its first byte means.
fn next_line(reader: &mut io::Take<&mut impl BufRead>, at_end: Fault) -> Result<String, Fault> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    match line.last() {
        _ if reader.limit() == 0 => Err(Fault::HeadTooLarge),
        None => Err(at_end),
        Some(b'\n') => Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
        Some(_) => Err(Fault::Malformed),
    }
}

/// Reads all of a body, and keeps the beginning of it.
pub(super) fn read_body(reader: &mut impl Read, length: usize, kept: usize) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    reader.take(kept as u64).read_to_end(&mut body)?;
    let rest = (length - kept.min(length)) as u64;
    let skipped = io::copy(&mut reader.take(rest), &mut io::sink())?;
    if body.len() < kept || skipped < rest { Err(Fault::Closed) } else { Ok(body) }
}

/// Answers with a reason as text, if there is one.
pub(super) fn answer(mut stream: &TcpStream, status: u16, reason: &str, keep_alive: bool) -> io::Result<()> {
    let mut answer = format!("HTTP/1.1 {status} {}\r\n", phrase(status));
    if !keep_alive {
        answer.push_str("Connection: close\r\n");
    }
    if status == 405 {
        answer.push_str("Allow: POST\r\n");
    }
    match (status, reason) {
        (204 | 304, _) => answer.push_str("\r\n"),
        (_, "") => answer.push_str("Content-Length: 0\r\n\r\n"),
        _ => {
            let length = reason.len() + 1;
            answer
                .push_str(&format!("Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{reason}\n"));
        }
    }
    stream.write_all(answer.as_bytes())
}

/// The usual words for a status; they mean nothing (RFC 9112 §4), so rare ones go without.
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), start in prop::bool::ANY) {
            let request = if start { [b"POST / HTTP/1.1\r\n", &bytes[..]].concat() } else { bytes };
            let mut reader = &request[..];
            if let Ok(head) = read_head(&mut reader) {
                let _ = read_body(&mut reader, head.length, head.length.min(10));
            }
        }
    }
}
