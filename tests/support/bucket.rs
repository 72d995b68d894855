//! A token bucket, as destinations keep one for each of their callers.

use super::receiver::Reply;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The bucket.
#[derive(Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    retry_after: Option<Duration>,
    level: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// Full, and filled again at this rate up to `burst`. Whoever finds it empty is told to come back after
    /// `retry_after`, in whole seconds, if that is given.
    pub fn new(per_second: f64, burst: f64, retry_after: Option<Duration>) -> Self {
        Self { per_second, burst, retry_after, level: Mutex::new((burst, Instant::now())) }
    }

    /// 204 for a token, or 429.
    pub fn answer(&self) -> Reply {
        let mut level = self.level.lock().unwrap();
        let now = Instant::now();
        let (tokens, since) = *level;
        let tokens = (tokens + (now - since).as_secs_f64() * self.per_second).min(self.burst);
        *level = (if tokens < 1.0 { tokens } else { tokens - 1.0 }, now);
        match (tokens < 1.0, self.retry_after) {
            (false, _) => Reply::Status(204),
            (true, None) => Reply::Status(429),
            (true, Some(after)) => {
                Reply::With(429, vec![format!("Retry-After: {}", after.as_secs())], String::new())
            }
        }
    }
}
