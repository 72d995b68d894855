//! A token or password in a file, which is read again when it changes.
//!
//! Invariant: no secret is in an error, a warning or `Debug`, and no lock is held while the file is read.

use super::headers::is_value;
use crate::files::{self, Contents, FileError, Reporter, Watched};
use crate::text::base64;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The largest file with a token or settings that is read, in bytes.
pub const LARGEST_FILE: u64 = 64 << 10;

/// Why there are no credentials. It never shows what the file holds.
#[derive(Debug)]
pub enum AuthorizationError {
    /// The file can't be read.
    File(FileError),
    /// There is nothing in the file.
    Empty(PathBuf),
    /// The file holds something else; with what is expected.
    Form(PathBuf, &'static str),
    /// The file is well formed, but its settings can't be used.
    Settings(PathBuf, String),
}

impl fmt::Display for AuthorizationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Empty(path) => write!(f, "{} is empty", path.display()),
            Self::Form(path, wanted) => write!(f, "{}: {wanted}", path.display()),
            Self::Settings(path, sentence) => write!(f, "{}: {sentence}", path.display()),
        }
    }
}

impl std::error::Error for AuthorizationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FileError> for AuthorizationError {
    fn from(error: FileError) -> Self {
        Self::File(error)
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

/// Credentials in a file, which is read again when it changes.
#[derive(Debug)]
pub struct SecretFile(Watched<Arc<str>>);

impl SecretFile {
    /// Reads the file for the first time. Later, a file that can't be used causes a warning and keeps the previous
    /// credentials.
    pub fn open(
        path: &Path,
        scheme: Scheme,
        reporter: Reporter,
        now: Instant,
    ) -> Result<Self, AuthorizationError> {
        let name = format!("the file of credentials {}", path.display());
        let owned = path.to_owned();
        let make = move |contents: &Contents| scheme.value(&owned, contents.of(&owned)).map(Arc::<str>::from);
        Watched::open(name, &[(path.into(), LARGEST_FILE)], make, reporter, now).map(Self)
    }

    /// What stands in `Authorization`.
    pub(crate) fn value(&self, now: Instant) -> Arc<str> {
        Arc::clone(&self.0.get(now))
    }

    /// Reads the file at once. Returns whether it holds anything but `used`.
    pub(crate) fn renew(&self, used: &str, now: Instant) -> bool {
        **self.0.renew(now) != *used
    }
}

/// The text of a file, without line breaks at its end.
pub(super) fn text<'b>(path: &Path, bytes: &'b [u8]) -> Result<&'b str, AuthorizationError> {
    match files::text(path, bytes)?.trim_end_matches(['\r', '\n']) {
        "" => Err(AuthorizationError::Empty(path.into())),
        text => Ok(text),
    }
}

impl Scheme {
    fn value(self, path: &Path, bytes: &[u8]) -> Result<String, AuthorizationError> {
        let text = text(path, bytes)?;
        let wrong = |wanted| Err(AuthorizationError::Form(path.into(), wanted));
        match self {
            // Editors and templates leave white space after a token.
            Self::Bearer => match text.trim() {
                token if is_token68(token) => Ok(format!("Bearer {token}")),
                _ => wrong("a token is one word in one line, of visible ASCII characters"),
            },
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
            SecretFile::open(&self.0, scheme, Reporter::SILENT, now)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn holds_what_the_file_holds_without_what_editors_add() {
        let now = Instant::now();
        let scratch = Scratch::new("holds", "");
        for text in ["abc.def\r\n", "\u{feff}abc.def", "abc.def \n\n", "abc.def"] {
            scratch.write(text);
            let file = scratch.open(Scheme::Bearer, now).unwrap();
            assert_eq!(&*file.value(now), "Bearer abc.def");
            assert!(!format!("{file:?}").contains("abc"));
        }
        for text in ["user:pass word\n", "\u{feff}user:pass word\r\n\r\n"] {
            scratch.write(text);
            let file = scratch.open(Scheme::Basic, now).unwrap();
            assert_eq!(&*file.value(now), "Basic dXNlcjpwYXNzIHdvcmQ=");
        }
    }

    #[test]
    fn after_a_401_the_file_is_read_at_once() {
        let now = Instant::now();
        let scratch = Scratch::new("renew", "one");
        let file = scratch.open(Scheme::Bearer, now).unwrap();
        assert!(!file.renew("Bearer one", now));
        scratch.write("two");
        assert!(file.renew("Bearer one", now));
        assert_eq!(&*file.value(now), "Bearer two");
    }

    #[test]
    fn says_at_the_start_what_is_wrong_and_shows_no_secret() {
        let now = Instant::now();
        let scratch = Scratch::new("wrong", "");
        for (text, scheme) in [
            ("", Scheme::Bearer),
            ("\n", Scheme::Basic),
            (" \n", Scheme::Bearer),
            ("secret token", Scheme::Bearer),
            ("secret\r\nX: y", Scheme::Bearer),
            ("secret", Scheme::Basic),
            ("secret:\0", Scheme::Basic),
        ] {
            scratch.write(text);
            let error = scratch.open(scheme, now).unwrap_err().to_string();
            assert!(error.contains("sluicegate-authorization-wrong") && !error.contains("secret"), "{error}");
        }
        let nowhere = SecretFile::open("/nowhere/token".as_ref(), Scheme::Bearer, Reporter::SILENT, now);
        let error = nowhere.unwrap_err().to_string();
        assert!(error.contains("/nowhere/token"), "{error}");
    }
}
