//! The destination: what it answers to whom and when.

use crate::dice::Dice;
use sluicegate::relay::transport::{Answer, SendError, SendErrorKind};
use std::time::Duration;

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Status(u16, Option<Duration>),
    /// No connection.
    Connect,
    /// No answer in time; whether it was accepted all the same.
    Timeout(bool),
    /// The connection breaks; whether it was accepted all the same.
    Broken(bool),
    /// A kept connection was closed.
    Stale,
}

impl Reply {
    pub fn is_accepted(self) -> bool {
        matches!(self, Self::Status(200..=299, _) | Self::Timeout(true) | Self::Broken(true))
    }

    pub fn outcome(self) -> Result<Answer, SendError> {
        let kind = match self {
            Self::Status(status, retry_after) => {
                return Ok(Answer { status, retry_after, excerpt: String::new() });
            }
            Self::Connect => SendErrorKind::Connect,
            Self::Timeout(_) => SendErrorKind::Timeout,
            Self::Broken(_) => SendErrorKind::Broken,
            Self::Stale => SendErrorKind::Stale,
        };
        Err(SendError { kind, text: format!("{kind:?}") })
    }
}

/// Something that is wrong with the destination.
#[derive(Clone, Debug)]
pub enum Kind {
    Random { percent: usize, reply: Reply },
    Overloaded { above: usize, status: u16 },
    Bucket { rate: f64, burst: f64, retry_after: Option<Duration> },
    Down { period: Duration, down: Duration, reply: Reply },
    Slow { millis: usize },
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub from: Duration,
    /// `None`: for ever.
    pub until: Option<Duration>,
    /// Of one target alone.
    pub target: Option<u64>,
    /// Of the records of one partition alone.
    pub partition: Option<usize>,
}

#[derive(Clone, Debug)]
struct Tokens {
    left: f64,
    at: Duration,
}

/// A request as it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub target: u64,
    pub partition: usize,
    pub poison: Option<Reply>,
    pub new_connection: bool,
}

#[derive(Debug)]
pub struct Receiver {
    faults: Vec<Fault>,
    tokens: Vec<Tokens>,
    latency: (usize, usize),
    timeout: Duration,
    /// Requests that are with it.
    pub inside: usize,
}

impl Receiver {
    pub fn new(faults: Vec<Fault>, latency: (usize, usize), timeout: Duration) -> Self {
        let tokens = faults.iter().map(|_| Tokens { left: 1.0, at: Duration::ZERO }).collect();
        Self { faults, tokens, latency, timeout, inside: 0 }
    }

    /// A request arrives: what it is answered, and after what time.
    pub fn arrives(&mut self, arrival: &Arrival, now: Duration, dice: &mut Dice) -> (Reply, Duration) {
        let mut latency = dice.millis(self.latency.0, self.latency.1);
        let mut reply = None;
        for (fault, tokens) in self.faults.iter().zip(&mut self.tokens) {
            let concerns = fault.target.is_none_or(|target| target == arrival.target)
                && fault.partition.is_none_or(|partition| partition == arrival.partition);
            if reply.is_some()
                || !concerns
                || now < fault.from
                || fault.until.is_some_and(|until| now >= until)
            {
                continue;
            }
            match fault.kind {
                Kind::Random { reply: Reply::Stale, .. } if arrival.new_connection => {}
                Kind::Random { percent, reply: drawn } => reply = dice.chance(percent).then_some(drawn),
                Kind::Overloaded { above, status } => {
                    reply = (self.inside > above).then_some(Reply::Status(status, None));
                }
                Kind::Bucket { rate, burst, retry_after } => {
                    let earned = (now - tokens.at).as_secs_f64() * rate;
                    (tokens.left, tokens.at) = ((tokens.left + earned).min(burst), now);
                    if tokens.left >= 1.0 {
                        tokens.left -= 1.0;
                    } else {
                        reply = Some(Reply::Status(429, retry_after));
                    }
                }
                Kind::Down { period, down, reply: drawn } => {
                    let phase = now.as_micros() % period.as_micros();
                    // Up first.
                    let is_down = phase >= (period - down).as_micros();
                    reply = is_down.then_some(drawn);
                }
                Kind::Slow { millis } => latency += dice.millis(0, millis),
            }
        }
        self.inside += 1;
        let reply = match (reply, arrival.poison) {
            (Some(reply), Some(poison)) if reply.is_accepted() => poison,
            (reply, poison) => reply.or(poison).unwrap_or(Reply::Status(200, None)),
        };
        match reply {
            Reply::Timeout(_) => (reply, self.timeout),
            _ if latency >= self.timeout => (Reply::Timeout(reply.is_accepted()), self.timeout),
            Reply::Connect | Reply::Stale => (reply, latency / 4),
            _ => (reply, latency),
        }
    }

    pub fn leaves(&mut self) {
        self.inside -= 1;
    }
}
