//! Errors of rustls and its verifier as a cause and advice, with the names and times that matter. Object identifiers
//! are shown by name, never as bytes.

use crate::text::time::rfc3339;
use rustls::{AlertDescription as Alert, CertificateError, Error, InconsistentKeys};
use std::fmt::Write as _;
use std::io;

/// The supported keys and signatures.
pub(super) const SUPPORTED: &str = "supported are RSA keys of 2048 to 8192 bits, ECDSA keys on P-256 and P-384, and \
                                    Ed25519, with SHA-256 or SHA-384 (RSA: SHA-512 too)";
/// The same in a few words.
pub(super) const SUPPORTED_KEYS: &str = "RSA, ECDSA on P-256 or P-384, Ed25519";
/// Names of a certificate shown, at most.
const MOST_NAMES: usize = 8;
/// The longest name shown, in characters.
const LONGEST_NAME: usize = 100;

/// A failure in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Explanation {
    /// What happened.
    pub(crate) cause: String,
    /// What to do about it.
    pub(crate) advice: String,
}

impl Explanation {
    fn new(cause: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { cause: cause.into(), advice: advice.into() }
    }
}

/// The error of rustls in one of a stream; `None` if it is another's.
pub(super) fn session_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

/// An error of a handshake or of a session.
pub(super) fn explain(error: &Error) -> Explanation {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(Alert::HandshakeFailure) => Explanation::new(
            "it refused the handshake",
            // TLS 1.2 servers, and Java's, say it to a client without a certificate as well.
            format!(
                "give a client certificate, if it wants one; if not, look whether its own key is of a kind that is \
                 supported here ({SUPPORTED_KEYS}) and whether it speaks TLS 1.2 or 1.3"
            ),
        ),
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::AccessDenied
            | Alert::DecryptError,
        ) => Explanation::new(
            error.to_string(),
            "it did not accept our certificate, or wants one: give a client certificate that it trusts",
        ),
        Error::AlertReceived(Alert::ProtocolVersion) | Error::PeerIncompatible(_) => Explanation::new(
            error.to_string(),
            "it needs a version or cipher that is not spoken here: TLS 1.2 and 1.3 are",
        ),
        Error::InvalidMessage(_) => {
            Explanation::new("what it sent is not TLS", "it does not speak TLS on this port")
        }
        _ => Explanation::new(error.to_string(), "the session can't be trusted"),
    }
}

fn certificate(error: &CertificateError) -> Explanation {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => Explanation::new(
            "its certificate was signed by none of the CAs that are trusted here",
            "name the CA file that its certificate was signed with; where that is done, the server has to send its \
             intermediate certificates too",
        ),
        E::Expired => of_time("has expired", None),
        E::ExpiredContext { time, not_after } => {
            of_time("has expired", Some(("until", not_after.as_secs(), time.as_secs())))
        }
        E::NotValidYet => of_time("is not valid yet", None),
        E::NotValidYetContext { time, not_before } => {
            of_time("is not valid yet", Some(("from", not_before.as_secs(), time.as_secs())))
        }
        E::NotValidForName => Explanation::new("its certificate is for another name", OTHER_NAME),
        E::NotValidForNameContext { expected, presented } => names(&expected.to_str(), presented),
        E::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => Explanation::new(
            format!(
                "its certificate, or that of a CA behind it, is signed with {}",
                algorithm(signature_algorithm_id)
            ),
            format!("that is not supported here, so have it issued with another: {SUPPORTED}"),
        ),
        E::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id,
            public_key_algorithm_id,
        } => Explanation::new(
            format!(
                "its certificate, or that of a CA behind it, is signed with {} by a key of the kind {}",
                algorithm(signature_algorithm_id),
                algorithm(public_key_algorithm_id)
            ),
            format!("that is not supported here, so have it issued with another: {SUPPORTED}"),
        ),
        E::BadSignature => Explanation::new(
            "a signature among its certificates can't be verified",
            format!(
                "look whether the CA file is of an earlier CA with the same name, or a CA's key of a kind that is not \
                 supported here: {SUPPORTED}"
            ),
        ),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => Explanation::new(
            "its certificate is not one for servers (its extended key usage names others)",
            "have it issued with extendedKeyUsage=serverAuth",
        ),
        E::Revoked => Explanation::new("its certificate was revoked", "have another one issued"),
        E::BadEncoding => Explanation::new("its certificate can't be read", "have it issued anew"),
        other => {
            // `Other(OtherError(CaUsedAsEndEntity))`: the verifier's own name stands innermost.
            let shown = other.to_string();
            let mut words = shown.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
            by_name(words.next_back().unwrap_or("unknown"))
        }
    }
}

/// With until or from when it is valid, and the time here; in seconds since 1970.
fn of_time(what: &str, times: Option<(&str, u64, u64)>) -> Explanation {
    let mut cause = format!("its certificate {what}, or that of a CA behind it");
    if let Some((bound, limit, now)) = times {
        let (limit, now) = (shown(limit), shown(now));
        // Writing to a String cannot fail.
        let _ = write!(cause, ": it is valid {bound} {limit}, and this host's clock says {now}");
    }
    Explanation::new(cause, "have it renewed, or set this host's clock right if it is wrong")
}

const OTHER_NAME: &str = "use the name that it is for, or have it issued anew";

/// What the verifier has no error of rustls's for; its own type can't be named without depending on it.
fn by_name(name: &str) -> Explanation {
    match name {
        "CaUsedAsEndEntity" => Explanation::new(
            "its certificate is that of a CA (CA:TRUE), which can't stand for a server",
            "give the server a certificate of its own: one that this CA signs, or a self-signed one with CA:FALSE (openssl \
             req -x509 -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:NAME), which may be named \
             as CA file itself",
        ),
        "EndEntityUsedAsCa" => Explanation::new(
            "its certificate was signed by one that is not a CA's (CA:FALSE)",
            "have it signed by a CA",
        ),
        "UnsupportedCertVersion" => Explanation::new(
            "its certificate, or that of a CA behind it, is of X.509 version 1 or 2, and version 3 is needed",
            "have it issued with its names as subjectAltName, which makes it version 3",
        ),
        "UnsupportedCriticalExtension" => Explanation::new(
            "its certificate has a critical extension that is not known here",
            "have it issued without that extension",
        ),
        "PathLenConstraintViolated" | "NameConstraintViolation" => Explanation::new(
            "a CA behind its certificate was not allowed to sign it (path length or name constraints)",
            "have it signed by another CA",
        ),
        other => Explanation::new(
            format!("its certificate can't be used ({other})"),
            "have it issued anew, with its names as subjectAltName",
        ),
    }
}

/// The names that the certificate is for come as `DnsName("a.example")` or `IpAddress(127.0.0.1)`.
fn names(expected: &str, presented: &[String]) -> Explanation {
    if presented.is_empty() {
        return Explanation::new(
            format!(
                "its certificate is for another name than {expected}: it names no host in its subjectAltName"
            ),
            "have it issued with subjectAltName; the CN of its subject alone does not count",
        );
    }
    let bare = |name: &String| -> String {
        let inside = name.split_once('(').map_or(name.as_str(), |(_, inside)| inside.trim_end_matches(')'));
        let plain = inside.trim_matches('"').chars().filter(|c| !c.is_control());
        plain.take(LONGEST_NAME).collect()
    };
    let mut list = presented.iter().take(MOST_NAMES).map(bare).collect::<Vec<_>>().join(", ");
    if presented.len() > MOST_NAMES {
        // Writing to a String cannot fail.
        let _ = write!(list, " and {} more", presented.len() - MOST_NAMES);
    }
    Explanation::new(
        format!("its certificate is for another name than {expected}: it is for {list}"),
        OTHER_NAME,
    )
}

/// Why a client's certificate and key can't be used, given with their files' names around it.
pub(super) fn own_certificate(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the key belongs to another certificate, so name the two that belong together".into()
        }
        // What it says of a key that none of its kinds takes.
        Error::General(_) => format!("the key is of a kind that is not supported here; {SUPPORTED}"),
        Error::InvalidCertificate(error) => {
            certificate(error).cause.replace("its certificate", "the certificate")
        }
        other => other.to_string(),
    }
}

fn shown(seconds: u64) -> String {
    let milliseconds = i64::try_from(seconds.saturating_mul(1_000)).ok();
    let text = milliseconds.and_then(rfc3339);
    text.map_or_else(|| format!("{seconds} s after 1970"), |text| text.replace(".000Z", "Z"))
}

/// The name of an AlgorithmIdentifier (RFC 5280 §4.1.1.2), given without its outer SEQUENCE: an algorithm, and for
/// elliptic curves the curve behind it.
fn algorithm(der: &[u8]) -> String {
    let (first, rest) = object_identifier(der);
    let name = |id: &str| NAMES.iter().find(|(known, _)| *known == id).map(|(_, name)| (*name).to_owned());
    let Some(first) = first else { return "an algorithm that can't be read".into() };
    if first == EC_PUBLIC_KEY
        && let (Some(curve), _) = object_identifier(rest)
    {
        return name(&curve).unwrap_or_else(|| format!("ECDSA on the curve {curve}"));
    }
    name(&first).unwrap_or_else(|| format!("the algorithm {first}"))
}

const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const NAMES: [(&str, &str); 23] = [
    ("1.2.840.10045.2.1", "ECDSA"),
    ("1.2.840.10045.3.1.7", "ECDSA on P-256"),
    ("1.3.132.0.34", "ECDSA on P-384"),
    ("1.3.132.0.35", "ECDSA on P-521"),
    ("1.3.132.0.33", "ECDSA on P-224"),
    ("1.3.132.0.10", "ECDSA on secp256k1"),
    ("1.3.36.3.3.2.8.1.1.7", "ECDSA on brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "ECDSA on brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "ECDSA on brainpoolP512r1"),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
    ("1.2.840.10045.4.3.1", "ECDSA with SHA-224"),
    ("1.2.840.10045.4.3.2", "ECDSA with SHA-256"),
    ("1.2.840.10045.4.3.3", "ECDSA with SHA-384"),
    ("1.2.840.10045.4.3.4", "ECDSA with SHA-512"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.113549.1.1.4", "RSA with MD5"),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.840.113549.1.1.11", "RSA with SHA-256"),
    ("1.2.840.113549.1.1.14", "RSA with SHA-224"),
    ("1.2.840.10040.4.3", "DSA with SHA-1"),
];

/// Reads an OBJECT IDENTIFIER (X.690 §8.19) in dotted form, and gives what is behind it.
fn object_identifier(der: &[u8]) -> (Option<String>, &[u8]) {
    const TAG: u8 = 6;
    const MORE: u8 = 0x80;
    let [TAG, length, rest @ ..] = der else { return (None, &[]) };
    let Some((content, rest)) = rest.split_at_checked(usize::from(*length)).filter(|_| *length < MORE) else {
        return (None, &[]);
    };
    let (mut arcs, mut arc) = (Vec::new(), 0u64);
    for byte in content {
        arc = (arc & (u64::MAX >> 7)) << 7 | u64::from(byte & !MORE);
        if byte & MORE == 0 {
            arcs.push(std::mem::take(&mut arc));
        }
    }
    let Some((first, others)) = arcs.split_first() else { return (None, rest) };
    let top = (first / 40).min(2);
    let mut text = format!("{top}.{}", first - top * 40);
    for arc in others {
        // Writing to a String cannot fail.
        let _ = write!(text, ".{arc}");
    }
    (Some(text), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_have_names_and_never_bytes() {
        for (der, name) in [
            (&b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04"[..], "ECDSA with SHA-512"),
            (b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23", "ECDSA on P-521"),
            (b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x03\x2b\x81\x04", "ECDSA on the curve 1.3.132"),
            (b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", "ECDSA"),
            (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00", "RSA with SHA-1"),
            (b"\x06\x03\x2b\x65\x71", "Ed448"),
            (b"\x06\x02\x88\x37", "the algorithm 2.999"),
            (b"\x06\x09\x2a", "an algorithm that can't be read"),
            (b"", "an algorithm that can't be read"),
        ] {
            assert_eq!(algorithm(der), name);
        }
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let many: Vec<String> = (0..100).map(|number| format!("DnsName(\"h{number}.example\")")).collect();
        let Explanation { cause, .. } = names("other.example", &many);
        assert!(
            cause.ends_with(
                "it is for h0.example, h1.example, h2.example, h3.example, h4.example, h5.example, \
                                 h6.example, h7.example and 92 more"
            ),
            "{cause}"
        );
        assert!(names("h", &["IpAddress(127.0.0.1)".into()]).cause.ends_with("it is for 127.0.0.1"));
        assert!(names("h", &[]).cause.contains("names no host"));
    }

    #[test]
    fn what_has_no_words_of_its_own_is_still_a_sentence() {
        assert_eq!(
            by_name("InvalidSerialNumber").cause,
            "its certificate can't be used (InvalidSerialNumber)"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(der in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            algorithm(&der);
        }
    }
}
