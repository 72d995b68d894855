//! `--auth`: what stands in `Authorization`, and how it is renewed while the run goes on.
//!
//! A token or password lies in a file that others may rewrite ([`SecretFile`]), or is fetched from an authorization
//! server ([`ClientCredentials`]). Either way a destination that answers 401 gets one more try with what there is
//! then, in the same attempt.
//!
//! Invariant: no secret is in an error, a warning or `Debug`, and no lock is held while a file is read.

use super::oauth::ClientCredentials;
use super::request::header::is_value;
use crate::relay::base64;
use crate::relay::transport::SendError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How often a file is looked at, at most.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The largest file with a token or settings that is read, in bytes.
pub const LARGEST_FILE: u64 = 64 << 10;

/// Tells a person of something that goes on while requests are sent.
pub type Warn = fn(&str);

/// Why there are no credentials. It never shows what the file holds.
#[derive(Debug)]
pub enum AuthorizationError {
    /// The file can't be read.
    Unreadable(PathBuf, std::io::Error),
    /// The file is larger than [`LARGEST_FILE`].
    TooLarge(PathBuf),
    /// There is nothing in the file.
    Empty(PathBuf),
    /// The file holds something else; what is wanted.
    Form(PathBuf, &'static str),
}

impl fmt::Display for AuthorizationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "{} can't be read: {error}", path.display()),
            Self::TooLarge(path) => {
                write!(f, "{} is larger than 64 KiB: is it the right file?", path.display())
            }
            Self::Empty(path) => write!(f, "{} is empty", path.display()),
            Self::Form(path, wanted) => write!(f, "{}: {wanted}", path.display()),
        }
    }
}

impl std::error::Error for AuthorizationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(_, error) => Some(error),
            _ => None,
        }
    }
}

/// Where credentials come from.
#[derive(Debug)]
pub enum Authorization {
    /// A file.
    File(SecretFile),
    /// An authorization server.
    OAuth2(Box<ClientCredentials>),
}

impl Authorization {
    /// The value of `Authorization` for a request.
    ///
    /// # Errors
    /// No token could be fetched and none is left: nothing can be sent, so this speaks of the destination.
    pub fn value(&self) -> Result<Arc<str>, SendError> {
        match self {
            Self::File(file) => Ok(file.value(Instant::now())),
            Self::OAuth2(client) => client.value(),
        }
    }

    /// The destination answered 401 to this value: whether there is, or can be, another one.
    pub fn renew(&self, used: &str) -> bool {
        match self {
            Self::File(file) => file.renew(used),
            Self::OAuth2(client) => client.renew(used, Instant::now()),
        }
    }
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A token (RFC 6750).
    Bearer,
    /// `USER:PASSWORD` (RFC 7617).
    Basic,
}

/// Credentials in a file, which is read again when its time of change or its size are others.
pub struct SecretFile {
    path: PathBuf,
    scheme: Scheme,
    warn: Warn,
    kept: Mutex<Kept>,
}

struct Kept {
    value: Arc<str>,
    stamp: Option<Stamp>,
    /// When the file is to be looked at again.
    due: Instant,
    /// It was unusable when last looked at, and that was told.
    broken: bool,
}

/// By what a change is noticed.
type Stamp = (SystemTime, u64);

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretFile({}, {:?})", self.path.display(), self.scheme)
    }
}

impl SecretFile {
    /// Reads the file for the first time. Later on, one that can't be used is warned of, and what it held before
    /// stays.
    pub fn open(path: &Path, scheme: Scheme, warn: Warn, now: Instant) -> Result<Self, AuthorizationError> {
        let stamp = stamp(path);
        let value = scheme.value(path)?.into();
        let kept = Kept { value, stamp, due: later(now), broken: false };
        Ok(Self { path: path.into(), scheme, warn, kept: Mutex::new(kept) })
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Each change is a single assignment: whole whatever a panicking holder did.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands in `Authorization`.
    pub fn value(&self, now: Instant) -> Arc<str> {
        let (value, seen) = {
            let mut kept = self.lock();
            if now < kept.due {
                return Arc::clone(&kept.value);
            }
            // The others go on with what there is while this thread looks.
            kept.due = later(now);
            (Arc::clone(&kept.value), kept.stamp)
        };
        let stamp = stamp(&self.path);
        if stamp.is_some() && stamp == seen {
            return value;
        }
        self.read(stamp)
    }

    /// Reads the file whether it seems changed or not; says if it holds something else than `used`.
    pub fn renew(&self, used: &str) -> bool {
        *self.read(stamp(&self.path)) != *used
    }

    fn read(&self, stamp: Option<Stamp>) -> Arc<str> {
        let read = self.scheme.value(&self.path);
        let mut kept = self.lock();
        let trouble = match read {
            Ok(value) => {
                if *kept.value != *value {
                    kept.value = value.into();
                }
                (kept.stamp, kept.broken) = (stamp, false);
                None
            }
            // Read again next time: half a file now may be a whole one then.
            Err(error) => (!std::mem::replace(&mut kept.broken, true)).then_some(error),
        };
        let value = Arc::clone(&kept.value);
        drop(kept);
        if let Some(error) = trouble {
            (self.warn)(&format!("credentials: {error}; going on with those of before"));
        }
        value
    }
}

fn later(now: Instant) -> Instant {
    now.checked_add(CHECK_INTERVAL).unwrap_or(now)
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The text of a file, without the line break at its end.
pub(super) fn read(path: &Path) -> Result<String, AuthorizationError> {
    let unreadable = |error| AuthorizationError::Unreadable(path.into(), error);
    if std::fs::metadata(path).map_err(unreadable)?.len() > LARGEST_FILE {
        return Err(AuthorizationError::TooLarge(path.into()));
    }
    let mut text = std::fs::read_to_string(path).map_err(unreadable)?;
    if text.ends_with('\n') {
        text.pop();
    }
    if text.ends_with('\r') {
        text.pop();
    }
    if text.is_empty() { Err(AuthorizationError::Empty(path.into())) } else { Ok(text) }
}

impl Scheme {
    fn value(self, path: &Path) -> Result<String, AuthorizationError> {
        let text = read(path)?;
        let wrong = |wanted| Err(AuthorizationError::Form(path.into(), wanted));
        match self {
            Self::Bearer if !is_token68(&text) => {
                wrong("a token is one word in one line, of visible ASCII characters")
            }
            Self::Bearer => Ok(format!("Bearer {text}")),
            Self::Basic if !text.contains(':') || !is_value(text.as_bytes()) => {
                wrong("credentials are written USER:PASSWORD, in one line")
            }
            Self::Basic => Ok(format!("Basic {}", base64::encode(text.as_bytes()))),
        }
    }
}

/// Whether it can follow `Bearer`. The grammar (RFC 6750 §2.1) is narrower, but tokens in use are not.
pub(super) fn is_token68(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A file that is gone when the test is.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, text: &str) -> Self {
            let name = format!("sluicegate-authorization-{name}-{}", std::process::id());
            let scratch = Self(std::env::temp_dir().join(name));
            scratch.write(text);
            scratch
        }

        fn write(&self, text: &str) {
            std::fs::write(&self.0, text).unwrap();
        }

        fn open(&self, scheme: Scheme, now: Instant) -> Result<SecretFile, AuthorizationError> {
            SecretFile::open(&self.0, scheme, |_| (), now)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn holds_what_the_file_holds_without_its_line_break() {
        let now = Instant::now();
        let scratch = Scratch::new("holds", "abc.def\r\n");
        let file = scratch.open(Scheme::Bearer, now).unwrap();
        assert_eq!(&*file.value(now), "Bearer abc.def");
        scratch.write("user:pass word\n");
        assert_eq!(&*scratch.open(Scheme::Basic, now).unwrap().value(now), "Basic dXNlcjpwYXNzIHdvcmQ=");
        assert!(!format!("{file:?}").contains("abc"));
    }

    #[test]
    fn is_read_again_once_it_changed_and_not_before_the_interval() {
        let now = Instant::now();
        let scratch = Scratch::new("again", "one");
        let file = scratch.open(Scheme::Bearer, now).unwrap();
        scratch.write("another");
        assert_eq!(&*file.value(now), "Bearer one");
        assert_eq!(&*file.value(now + CHECK_INTERVAL), "Bearer another");
    }

    #[test]
    fn what_can_not_be_used_leaves_what_was_before_and_is_told_once() {
        static TOLD: AtomicUsize = AtomicUsize::new(0);
        let warn: Warn = |text| {
            assert!(!text.contains("secret"), "{text}");
            TOLD.fetch_add(1, Ordering::SeqCst);
        };
        let mut now = Instant::now();
        let scratch = Scratch::new("keeps", "one");
        let file = SecretFile::open(&scratch.0, Scheme::Bearer, warn, now).unwrap();
        for text in ["", "two secret words", "\n"] {
            scratch.write(text);
            now += CHECK_INTERVAL;
            assert_eq!(&*file.value(now), "Bearer one");
        }
        std::fs::remove_file(&scratch.0).unwrap();
        now += CHECK_INTERVAL;
        assert_eq!(&*file.value(now), "Bearer one");
        assert_eq!(TOLD.load(Ordering::SeqCst), 1);
        scratch.write("two");
        now += CHECK_INTERVAL;
        assert_eq!(&*file.value(now), "Bearer two");
    }

    #[test]
    fn after_a_401_the_file_is_read_whatever_its_time() {
        let now = Instant::now();
        let scratch = Scratch::new("renew", "one");
        let file = scratch.open(Scheme::Bearer, now).unwrap();
        assert!(!file.renew("Bearer one"));
        scratch.write("two");
        assert!(file.renew("Bearer one"));
        assert_eq!(&*file.value(now), "Bearer two");
    }

    #[test]
    fn says_at_the_start_what_is_wrong_and_shows_no_secret() {
        let now = Instant::now();
        let scratch = Scratch::new("wrong", "");
        for (text, scheme) in [
            ("", Scheme::Bearer),
            ("\n", Scheme::Basic),
            ("secret token", Scheme::Bearer),
            ("secret\r\nX: y", Scheme::Bearer),
            ("secret", Scheme::Basic),
            ("secret:\0", Scheme::Basic),
        ] {
            scratch.write(text);
            let error = scratch.open(scheme, now).unwrap_err().to_string();
            assert!(error.contains("sluicegate-authorization-wrong") && !error.contains("secret"), "{error}");
        }
        let nowhere = SecretFile::open("/nowhere/token".as_ref(), Scheme::Bearer, |_| (), now).unwrap_err();
        assert!(nowhere.to_string().contains("/nowhere/token"), "{nowhere}");
    }
}
