//! Signatures that prove who sent a request: [Standard Webhooks] 1.0.0.
//!
//! Signed is `{id}.{timestamp}.{body}`, by each secret in turn: HMAC-SHA256 (`v1,`) with a `whsec_` secret, which
//! both sides know, or Ed25519 (`v1a,`) with a `whsk_` key, whose public half is enough to verify.
//!
//! Invariant: a secret is never in an error, a warning or `Debug`.
//!
//! [Standard Webhooks]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

use crate::files::{self, Contents, FileError, Reporter, Watched};
use crate::text::base64;
use keys::Key;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The largest file of secrets that is read, in bytes.
const LARGEST_FILE: u64 = 64 << 10;
/// Secrets, at most, so that the header is not too long for servers.
const MOST_SECRETS: usize = 8;
/// Standard Webhooks wants a symmetric secret to have 24 to 64 bytes.
const PROPER_LENGTH: std::ops::RangeInclusive<usize> = 24..=64;

/// What is wrong with a secret. It never shows the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretFault {
    /// `v1,whsec_…`: pasted with what belongs to a signature.
    Pasted,
    /// Neither `whsec_` nor `whsk_`.
    Prefix,
    /// `whpk_`: the half that the receiver needs.
    Public,
    /// Not standard base64 with padding.
    Base64,
    /// Nothing behind the prefix.
    Empty,
    /// An Ed25519 key of neither 32 nor 64 bytes, or one whose public half belongs to another.
    Ed25519,
}

impl fmt::Display for SecretFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pasted => "the secret begins with 'v1,' or 'v1a,', as signatures do: leave that out",
            Self::Prefix => "a secret begins with whsec_ (HMAC-SHA256) or whsk_ (Ed25519)",
            Self::Public => "whpk_ is the public key, for the receiver: the whsk_ key is needed here",
            Self::Base64 => "what follows the secret's prefix is not base64 with its padding (=)",
            Self::Empty => "the secret is empty: make one with 'openssl rand -base64 32' behind whsec_",
            Self::Ed25519 => "a whsk_ key is a seed of 32 bytes, or seed and matching public key, 64 bytes",
        })
    }
}

/// Why there is no signing.
#[derive(Debug)]
pub enum SigningError {
    /// The file can't be read.
    File(FileError),
    /// The file holds no secret.
    NoSecret(PathBuf),
    /// More secrets than a header should carry signatures.
    TooMany,
    /// A line of the file, counted from 1, is no secret.
    Secret(PathBuf, usize, SecretFault),
    /// The feature `signing` was not built in.
    NotBuilt,
}

impl fmt::Display for SigningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::NoSecret(path) => {
                write!(f, "{} holds no secret: write one a line, such as whsec_…", path.display())
            }
            Self::TooMany => write!(f, "at most {MOST_SECRETS} secrets can sign: take away old ones"),
            Self::Secret(path, line, fault) => write!(f, "{}, line {line}: {fault}", path.display()),
            Self::NotBuilt => {
                f.write_str("signing needs the feature 'signing', which this binary was built without")
            }
        }
    }
}

impl std::error::Error for SigningError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FileError> for SigningError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// Signs requests with each of its secrets; the first is the current one. Files of secrets are read again when they
/// change, and what is signed from then on is signed with the new ones.
pub struct Signer {
    secrets: Watched<Secrets>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.secrets.fmt(f)
    }
}

impl Signer {
    /// Reads files of secrets, one a line, the current one first; empty lines and those that begin with `#` don't
    /// count. Beside the signer come warnings for people.
    pub fn open(paths: &[PathBuf]) -> Result<(Self, Vec<String>), SigningError> {
        Self::open_telling(paths, Reporter::SILENT)
    }

    /// The same, with a reporter of changes to the files.
    pub fn open_telling(paths: &[PathBuf], reporter: Reporter) -> Result<(Self, Vec<String>), SigningError> {
        let now = Instant::now();
        let files: Vec<(PathBuf, u64)> = paths.iter().map(|path| (path.clone(), LARGEST_FILE)).collect();
        let paths = paths.to_vec();
        let opened = AtomicBool::new(false);
        let make = move |contents: &Contents| {
            let secrets = Secrets::read(&paths, contents)?;
            if opened.swap(true, Ordering::Relaxed) {
                secrets.warnings.iter().for_each(|warning| (reporter.warn)(warning));
            }
            Ok(secrets)
        };
        let secrets =
            Watched::open::<SigningError>("the file of signing secrets", &files, make, reporter, now)?;
        let warnings = secrets.get(now).warnings.clone();
        Ok((Self { secrets }, warnings))
    }

    /// Appends the value of `webhook-signature`: a signature for each secret, separated by exactly one space. Where
    /// there are several the current one comes first and last, since some receivers read only one of the ends.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8], line: &mut String) {
        self.secrets.get(Instant::now()).sign(id, timestamp, body, line);
    }
}

/// The secrets that the files hold.
#[derive(Default)]
struct Secrets {
    keys: Vec<Key>,
    /// Warnings about them.
    warnings: Vec<String>,
}

impl Secrets {
    fn read(paths: &[PathBuf], contents: &Contents) -> Result<Self, SigningError> {
        let mut secrets = Self::default();
        for path in paths {
            secrets.add(path, files::text(path, contents.of(path))?)?;
        }
        Ok(secrets)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), SigningError> {
        let before = self.keys.len();
        for (number, line) in text.lines().enumerate() {
            let secret = line.trim();
            if secret.is_empty() || secret.starts_with('#') {
                continue;
            }
            if self.keys.len() >= MOST_SECRETS {
                return Err(SigningError::TooMany);
            }
            let failed = |fault| SigningError::Secret(path.to_owned(), number + 1, fault);
            let decoded = decode(secret).map_err(failed)?;
            if let Decoded::Shared(bytes) = &decoded
                && !PROPER_LENGTH.contains(&bytes.len())
            {
                self.warnings.push(format!(
                    "{}, line {}: the secret has {} bytes; Standard Webhooks wants 24 to 64",
                    path.display(),
                    number + 1,
                    bytes.len()
                ));
            }
            let key = if cfg!(feature = "signing") { Key::new(&decoded) } else { None };
            match key {
                Some(key) => self.keys.push(key),
                None if cfg!(feature = "signing") => return Err(failed(SecretFault::Ed25519)),
                None => return Err(SigningError::NotBuilt),
            }
        }
        if self.keys.len() == before {
            return Err(SigningError::NoSecret(path.to_owned()));
        }
        Ok(())
    }

    fn sign(&self, id: &str, timestamp: u64, body: &[u8], line: &mut String) {
        let head = format!("{id}.{timestamp}.");
        let start = line.len();
        for key in &self.keys {
            if line.len() > start {
                line.push(' ');
            }
            let (version, signature) = key.sign(head.as_bytes(), body);
            line.push_str(version);
            line.push_str(&signature);
        }
        if self.keys.len() > 1 {
            let current =
                line.get(start..).and_then(|all| all.split(' ').next()).unwrap_or_default().to_owned();
            line.push(' ');
            line.push_str(&current);
        }
    }
}

/// A secret's bytes, by what they are for.
enum Decoded {
    /// Known to both sides.
    Shared(Vec<u8>),
    /// The private half.
    Private(Vec<u8>),
}

fn decode(secret: &str) -> Result<Decoded, SecretFault> {
    let bytes = |text: &str| match base64::decode(text) {
        Some(bytes) if bytes.is_empty() => Err(SecretFault::Empty),
        Some(bytes) => Ok(bytes),
        None => Err(SecretFault::Base64),
    };
    if secret.starts_with("v1,") || secret.starts_with("v1a,") {
        Err(SecretFault::Pasted)
    } else if secret.starts_with("whpk_") {
        Err(SecretFault::Public)
    } else if let Some(text) = secret.strip_prefix("whsec_") {
        bytes(text).map(Decoded::Shared)
    } else if let Some(text) = secret.strip_prefix("whsk_") {
        bytes(text).map(Decoded::Private)
    } else {
        Err(SecretFault::Prefix)
    }
}

#[cfg(feature = "signing")]
mod keys {
    //! The signing itself, by ring.

    use super::{Decoded, base64};
    use ring::hmac;
    use ring::signature::Ed25519KeyPair;

    /// A secret that is ready to sign.
    pub(super) enum Key {
        Shared(hmac::Key),
        Private(Box<Ed25519KeyPair>),
    }

    impl Key {
        /// `None` for what is no Ed25519 key: neither a seed of 32 bytes nor seed and public key.
        pub(super) fn new(secret: &Decoded) -> Option<Self> {
            match secret {
                Decoded::Shared(bytes) => Some(Self::Shared(hmac::Key::new(hmac::HMAC_SHA256, bytes))),
                Decoded::Private(bytes) => {
                    let pair = match bytes.split_at_checked(32)? {
                        (seed, []) => Ed25519KeyPair::from_seed_unchecked(seed),
                        (seed, public) => Ed25519KeyPair::from_seed_and_public_key(seed, public),
                    };
                    pair.ok().map(Box::new).map(Self::Private)
                }
            }
        }

        /// The version's prefix, and the signature in base64.
        pub(super) fn sign(&self, head: &[u8], body: &[u8]) -> (&'static str, String) {
            match self {
                Self::Shared(key) => {
                    let mut signing = hmac::Context::with_key(key);
                    signing.update(head);
                    signing.update(body);
                    ("v1,", base64::encode(signing.sign().as_ref()))
                }
                Self::Private(pair) => {
                    // Ed25519 reads its message twice, so it has to be in one piece.
                    ("v1a,", base64::encode(pair.sign(&[head, body].concat()).as_ref()))
                }
            }
        }
    }
}

#[cfg(not(feature = "signing"))]
mod keys {
    //! No signing in this build: there are no keys.

    use super::Decoded;

    pub(super) enum Key {}

    impl Key {
        pub(super) fn new(secret: &Decoded) -> Option<Self> {
            let (Decoded::Shared(_bytes) | Decoded::Private(_bytes)) = secret;
            None
        }

        pub(super) fn sign(&self, _head: &[u8], _body: &[u8]) -> (&'static str, String) {
            match *self {}
        }
    }
}

#[cfg(all(test, feature = "signing"))]
mod tests {
    use super::*;

    const A: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const B: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const A_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const A_TIME: u64 = 1_614_265_330;
    const A_BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn secrets(text: &str) -> Result<Secrets, SigningError> {
        let mut secrets = Secrets::default();
        secrets.add(Path::new("f"), text).map(|()| secrets)
    }

    fn sign(secrets: &str, id: &str, time: u64, body: &[u8]) -> String {
        let mut line = String::new();
        self::secrets(secrets).unwrap().sign(id, time, body, &mut line);
        line
    }

    #[test]
    fn the_vectors_of_standard_webhooks() {
        let b_body = br#"{"email":"test@example.com","username":"test_user"}"#;
        for (secret, id, time, body, signature) in [
            (A, A_ID, A_TIME, A_BODY, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            (
                B,
                "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
                1_649_367_553,
                b_body,
                "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
            ),
            (A, A_ID, A_TIME, b"", "v1,v48jdbgvh29KJz2Qc+ghw8G6vG3nAKnujWBg8oM/62A="),
            (A, A_ID, A_TIME, b"\x00\xff\x2e", "v1,cNicoyQ4HL5lkPHKU08gUjta29RlXYNCdKWw3NTlYF8="),
            (B, A_ID, A_TIME, A_BODY, "v1,78nXHjpFP0tVJQW5D0SBwmVyyW87BV/rL6MgfM/Bw44="),
        ] {
            assert_eq!(sign(secret, id, time, body), signature);
        }
    }

    /// The key pair is the one of the specification; its public half is
    /// `whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=`.
    #[test]
    fn the_asymmetric_key_of_standard_webhooks() {
        let secret =
            "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
        let signature = sign(secret, A_ID, A_TIME, A_BODY);
        assert_eq!(
            signature,
            "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
        );
        let seed = base64::encode(&base64::decode(secret.strip_prefix("whsk_").unwrap()).unwrap()[..32]);
        assert_eq!(sign(&format!("whsk_{seed}"), A_ID, A_TIME, A_BODY), signature);
    }

    #[test]
    fn with_two_secrets_the_current_signature_comes_first_and_last() {
        let (of_a, of_b) = (sign(A, A_ID, A_TIME, A_BODY), sign(B, A_ID, A_TIME, A_BODY));
        let both = sign(&format!("# current\n{A}\n\n{B}\r\n"), A_ID, A_TIME, A_BODY);
        assert_eq!(both, format!("{of_a} {of_b} {of_a}"));
    }

    #[test]
    fn a_bad_secret_is_refused_without_being_shown() {
        let half = "whsk_".to_owned() + &base64::encode(&[7; 64]);
        for (text, fault) in [
            ("v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SecretFault::Pasted),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SecretFault::Prefix),
            ("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", SecretFault::Public),
            ("whsec_MfKQ9r8", SecretFault::Base64),
            ("whsec_", SecretFault::Empty),
            ("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SecretFault::Ed25519),
            (&*half, SecretFault::Ed25519),
        ] {
            let error = secrets(&format!("\n{text}")).err().unwrap();
            assert!(matches!(error, SigningError::Secret(_, 2, f) if f == fault), "{text}: {error}");
            assert!(!error.to_string().contains("MfKQ9r8"), "{error}");
        }
        assert!(matches!(secrets("\n# none\n"), Err(SigningError::NoSecret(_))));
        assert!(matches!(secrets(&format!("{A}\n").repeat(9)), Err(SigningError::TooMany)));
    }

    #[test]
    fn a_short_secret_is_warned_of_and_used() {
        let Secrets { warnings, .. } = secrets("whsec_c2hvcnQ=").unwrap();
        assert!(warnings[0].contains("5 bytes") && !warnings[0].contains("c2hvcnQ"), "{warnings:?}");
        assert!(secrets(A).unwrap().warnings.is_empty());
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Signer::open(&["/nowhere/secret".into()]).unwrap_err();
        assert!(error.to_string().contains("/nowhere/secret"), "{error}");
    }
}
