//! The client's side of SCRAM (RFC 5802, RFC 7677) in Kafka (KIP-84), as a state machine.
//!
//! The password never leaves this host, and the broker's signature is verified, so a broker that does not know the
//! password is recognised. Names and passwords are sent as UTF-8 without SASLprep (RFC 4013), which Kafka's brokers
//! don't apply either; for ASCII it changes nothing.

use crate::kafka::security::Secret;
use crate::text::base64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use pbkdf2::pbkdf2_hmac_array;
use sha2::{Digest as _, Sha256, Sha512};

/// With fewer iterations an eavesdropper could guess the password too easily (RFC 7677 §4).
const FEWEST_ITERATIONS: u32 = 4096;
/// More iterations would let a broker keep this host busy. Kafka's own limit is 16384.
const MOST_ITERATIONS: u32 = 1_000_000;
/// The size of the client's part of the nonce, in bytes.
const NONCE: usize = 24;
/// The GS2 header of a client without channel binding, in front of the first message.
const NO_BINDING: &str = "n,,";
/// The same in base64, for the final message.
const NO_BINDING_BASE64: &str = "biws";

/// A hash function with the algorithms based on it.
#[derive(Clone, Copy)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => sha256_hmac(key, data).finalize().into_bytes().to_vec(),
            Self::Sha512 => sha512_hmac(key, data).finalize().into_bytes().to_vec(),
        }
    }

    /// Whether `hmac` belongs to the data, in constant time.
    fn verify(self, key: &[u8], data: &[u8], hmac: &[u8]) -> bool {
        match self {
            Self::Sha256 => sha256_hmac(key, data).verify_slice(hmac).is_ok(),
            Self::Sha512 => sha512_hmac(key, data).verify_slice(hmac).is_ok(),
        }
    }

    fn pbkdf2(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        match self {
            Self::Sha256 => pbkdf2_hmac_array::<Sha256, 32>(password, salt, iterations).to_vec(),
            Self::Sha512 => pbkdf2_hmac_array::<Sha512, 64>(password, salt, iterations).to_vec(),
        }
    }
}

fn sha256_hmac(key: &[u8], data: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length").chain_update(data)
}

fn sha512_hmac(key: &[u8], data: &[u8]) -> Hmac<Sha512> {
    Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of any length").chain_update(data)
}

/// An exchange. Errors are sentences without secrets.
pub(super) struct Scram {
    hash: Hash,
    password: Secret,
    nonce: String,
    /// The first message without its header; the proof covers it.
    first: String,
    /// After the proof: the key and the text that the broker's signature has to match.
    expected: Option<(Vec<u8>, String)>,
}

impl Scram {
    pub(super) fn new(hash: Hash, username: &str, password: &Secret) -> Result<Self, &'static str> {
        let mut random = [0; NONCE];
        getrandom::getrandom(&mut random).map_err(|_| "this host gives no random numbers")?;
        Ok(Self::with_nonce(hash, username, password, base64::encode(&random)))
    }

    fn with_nonce(hash: Hash, username: &str, password: &Secret, nonce: String) -> Self {
        // Escapes the two characters that would end the name (RFC 5802 §5.1).
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={username},r={nonce}");
        Self { hash, password: password.clone(), nonce, first, expected: None }
    }

    /// The first message.
    pub(super) fn first(&self) -> String {
        format!("{NO_BINDING}{}", self.first)
    }

    /// The answer to the broker's message; `None` once the broker's signature is verified and the exchange is complete.
    pub(super) fn next(&mut self, message: &[u8]) -> Result<Option<String>, &'static str> {
        let message = std::str::from_utf8(message).map_err(|_| "the broker's message is not UTF-8")?;
        match self.expected.take() {
            None => self.prove(message).map(Some),
            Some((key, signed)) => verify(self.hash, message, &key, &signed).map(|()| None),
        }
    }

    fn prove(&mut self, challenge: &str) -> Result<String, &'static str> {
        let malformed = "the broker's challenge is malformed";
        let mut fields = challenge.split(',');
        let mut field =
            |name: &str| fields.next().and_then(|field| field.strip_prefix(name)).ok_or(malformed);
        let (nonce, salt, iterations) = (field("r=")?, field("s=")?, field("i=")?);
        // The broker's nonce has to extend ours.
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err("the broker's challenge does not go with this exchange");
        }
        let salt = base64::decode(salt).filter(|salt| !salt.is_empty()).ok_or(malformed)?;
        let iterations: u32 = iterations.parse().map_err(|_| malformed)?;
        if iterations < FEWEST_ITERATIONS {
            return Err(
                "the broker asks for fewer than 4096 iterations, which would put the password at risk",
            );
        }
        if iterations > MOST_ITERATIONS {
            return Err("the broker asks for more than 1000000 iterations");
        }

        let final_without_proof = format!("c={NO_BINDING_BASE64},r={nonce}");
        let signed = format!("{},{challenge},{final_without_proof}", self.first);
        let hash = self.hash;
        let salted = hash.pbkdf2(self.password.reveal().as_bytes(), &salt, iterations);
        let client_key = hash.hmac(&salted, b"Client Key");
        let stored_key = hash.digest(&client_key);
        let signature = hash.hmac(&stored_key, signed.as_bytes());
        let proof: Vec<u8> =
            client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        self.expected = Some((hash.hmac(&salted, b"Server Key"), signed));
        Ok(format!("{final_without_proof},p={}", base64::encode(&proof)))
    }
}

/// Verifies the broker's signature.
fn verify(hash: Hash, message: &str, key: &[u8], signed: &str) -> Result<(), &'static str> {
    let field = message.split(',').next().unwrap_or_default();
    if field.starts_with("e=") {
        return Err("the broker did not accept the proof of the password");
    }
    let signature = field.strip_prefix("v=").and_then(base64::decode);
    let signature = signature.ok_or("the broker's last message is malformed")?;
    if hash.verify(key, signed.as_bytes(), &signature) {
        Ok(())
    } else {
        Err("the broker does not know the password itself: it may be an impostor")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The exchange of RFC 7677 §3.
    fn pencil() -> Scram {
        let password = Secret::new("pencil");
        Scram::with_nonce(Hash::Sha256, "user", &password, "rOprNGfwEbeRWgbNEkqO".into())
    }

    const CHALLENGE: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn speaks_the_exchange_of_rfc_7677() {
        let mut scram = pencil();
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(scram.next(CHALLENGE.as_bytes()).unwrap().unwrap(), expected);
        let last = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(scram.next(last), Ok(None));
    }

    #[test]
    fn an_impostor_is_found_out() {
        for (last, expected) in [
            ("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", "malformed"),
            ("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "impostor"),
            ("v=", "impostor"),
            ("", "malformed"),
            ("e=other-error", "did not accept"),
        ] {
            let mut scram = pencil();
            scram.next(CHALLENGE.as_bytes()).unwrap();
            let error = scram.next(last.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{last}: {error}");
        }
    }

    #[test]
    fn a_challenge_that_does_not_fit_is_refused() {
        let nonce = "rOprNGfwEbeRWgbNEkqO";
        for (challenge, expected) in [
            (format!("r={nonce},s=AAAA,i=4096"), "does not go with"),
            ("r=another,s=AAAA,i=4096".into(), "does not go with"),
            (format!("r={nonce}x,s=AAAA,i=4095"), "fewer than 4096"),
            (format!("r={nonce}x,s=AAAA,i=1000001"), "more than 1000000"),
            (format!("r={nonce}x,s=AAAA,i=99999999999"), "malformed"),
            (format!("r={nonce}x,s=,i=4096"), "malformed"),
            (format!("r={nonce}x,s=?,i=4096"), "malformed"),
            (format!("m=ext,r={nonce}x,s=AAAA,i=4096"), "malformed"),
            (String::new(), "malformed"),
        ] {
            let error = pencil().next(challenge.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{challenge}: {error}");
        }
    }

    #[test]
    fn a_name_may_hold_what_would_end_it() {
        let scram = Scram::with_nonce(Hash::Sha512, "a=b,c", &Secret::new("x"), "n".into());
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=n");
    }

    #[test]
    fn no_two_exchanges_have_the_same_nonce() {
        let nonce = || Scram::new(Hash::Sha256, "u", &Secret::new("p")).unwrap().nonce;
        assert_ne!(nonce(), nonce());
        assert_eq!(nonce().len(), 32);
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(first in ".{0,60}", challenge: Vec<u8>, last: Vec<u8>) {
            let mut scram = pencil();
            let _ = scram.next(first.as_bytes());
            let _ = scram.next(&challenge);
            let mut scram = pencil();
            scram.next(CHALLENGE.as_bytes()).unwrap();
            prop_assert!(scram.next(&last).is_err());
        }
    }
}
