//! Signatures as [Standard Webhooks] has them, verified with the secrets that they were made with.
//!
//! The request is signed again and the signatures are compared, which serves both kinds of secrets: HMAC is symmetric,
//! and Ed25519 signs the same bytes alike each time (RFC 8032).
//!
//! [Standard Webhooks]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

use super::http::Head;
use crate::webhook::signature::{Signer, SigningError};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// How far a timestamp may be from now, in seconds: what the libraries of Standard Webhooks allow.
const TOLERANCE: u64 = 300;
/// The most signatures of a request that are looked at.
const MOST_SIGNATURES: usize = 32;

/// Verifies signatures with each secret of a file.
pub(crate) struct Verifier(Signer);

impl Verifier {
    /// Reads a file in the form of `--signing-secret-file`. Returns warnings for people as well.
    ///
    /// # Errors
    /// The file can't be read, or holds something else.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<String>), SigningError> {
        let (signer, warnings) = Signer::open(&[path.to_owned()])?;
        Ok((Self(signer), warnings))
    }

    /// Whether one of the request's signatures is by one of the secrets, over this very id, time and body.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) fn verify(&self, head: &Head, body: &[u8]) -> Result<(), &'static str> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.verify_at(now, head, body)
    }

    fn verify_at(&self, now: u64, head: &Head, body: &[u8]) -> Result<(), &'static str> {
        let given = head.signature.as_deref().ok_or("it is not signed: webhook-signature is missing")?;
        let id = head.id.as_deref().ok_or("webhook-id is missing")?;
        let timestamp = head.timestamp.as_deref().ok_or("webhook-timestamp is missing")?;
        let timestamp: u64 = timestamp.parse().map_err(|_| "webhook-timestamp is not a number of seconds")?;
        if timestamp.abs_diff(now) > TOLERANCE {
            return Err("webhook-timestamp is more than 5 minutes from now");
        }
        let mut expected = String::new();
        self.0.sign(id, timestamp, body, &mut expected);
        let matches = given
            .split(' ')
            .take(MOST_SIGNATURES)
            .any(|given| expected.split(' ').any(|expected| is_equal(given, expected)));
        if matches { Ok(()) } else { Err("no signature matches the secret") }
    }
}

/// Takes the same time wherever two texts of the same length differ.
fn is_equal(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |odd, (a, b)| odd | (a ^ b)) == 0
}

#[cfg(all(test, feature = "signing"))]
mod tests {
    use super::*;

    /// Vectors of Standard Webhooks; the tests of `webhook::signature` have them all.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const TIME: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn head() -> Head {
        Head {
            id: Some("msg_p5jXN8AQM9LWM0D4loKWxJek".into()),
            timestamp: Some(TIME.to_string()),
            signature: Some(format!("v1,AAAA {SIGNATURE}")),
            ..Head::default()
        }
    }

    #[test]
    fn a_signature_counts_for_its_id_its_time_and_its_body_alone() {
        let path = std::env::temp_dir().join(format!("sluicegate-verify-{}", std::process::id()));
        std::fs::write(&path, SECRET).unwrap();
        let (verifier, warnings) = Verifier::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(warnings.is_empty());
        assert_eq!(verifier.verify_at(TIME + TOLERANCE, &head(), BODY), Ok(()));
        let wrong = |head: &Head, body: &[u8], now, why: &str| {
            let error = verifier.verify_at(now, head, body).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        wrong(&head(), b"{}", TIME, "no signature matches");
        wrong(&Head { id: Some("other".into()), ..head() }, BODY, TIME, "no signature matches");
        wrong(&Head { signature: Some("v1,".into()), ..head() }, BODY, TIME, "no signature matches");
        wrong(&Head { signature: None, ..head() }, BODY, TIME, "not signed");
        wrong(&Head { id: None, ..head() }, BODY, TIME, "webhook-id is missing");
        wrong(&Head { timestamp: Some("soon".into()), ..head() }, BODY, TIME, "not a number");
        wrong(&head(), BODY, TIME + TOLERANCE + 1, "5 minutes");
        wrong(&head(), BODY, TIME - TOLERANCE - 1, "5 minutes");
    }
}
