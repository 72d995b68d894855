//! Whether a broker speaks what the crate speaks, asked by hand before the crate says a word.
//!
//! The question is ApiVersions, version 0 (KIP-35), which every Kafka from 0.10 on answers, in a frame of a few
//! bytes. The crate itself would run into an unexpected end of file on a broker that no longer knows version 0.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read; a real one has a few hundred bytes.
const ANSWER_LIMIT: usize = 64 << 10;
const CORRELATION: [u8; 4] = *b"slui";

/// The APIs the crate uses, by key, with the version it speaks.
const NEEDED: [(i16, i16, &str); 6] = [
    (1, 0, "Fetch"),
    (2, 0, "ListOffsets"),
    (3, 0, "Metadata"),
    (8, 1, "OffsetCommit"),
    (9, 1, "OffsetFetch"),
    (10, 0, "FindCoordinator"),
];

/// What the broker turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It speaks what the crate speaks.
    Fits,
    /// It can't be reached, for now: why.
    Unreachable(String),
    /// It can't serve the crate, ever: why.
    Unfit(String),
}

/// Asks the first of these brokers that answers.
pub(super) fn ask(brokers: &[String]) -> Verdict {
    let mut last = Verdict::Unreachable("no broker is named".into());
    for broker in brokers {
        match ask_one(broker) {
            Ok(answer) => return judge(broker, &answer),
            Err(verdict @ Verdict::Unfit(_)) => return verdict,
            Err(verdict) => last = verdict,
        }
    }
    last
}

fn ask_one(broker: &str) -> Result<Vec<u8>, Verdict> {
    let unreachable =
        |error: std::io::Error| Verdict::Unreachable(format!("{broker} can't be reached: {error}"));
    let addresses: Vec<_> = broker.to_socket_addrs().map_err(unreachable)?.collect();
    let mut connected = Err(Verdict::Unreachable(format!("{broker} has no address")));
    for address in &addresses {
        connected = TcpStream::connect_timeout(address, TIMEOUT).map_err(unreachable);
        if connected.is_ok() {
            break;
        }
    }
    let mut stream = connected?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(unreachable)?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(unreachable)?;
    // Length, API key 18, version 0, correlation id, client id of length 0.
    let request = [&[0, 0, 0, 10, 0, 18, 0, 0][..], &CORRELATION, &[0, 0]].concat();
    stream.write_all(&request).map_err(unreachable)?;
    read_frame(&mut stream, broker)
}

fn read_frame(stream: &mut TcpStream, broker: &str) -> Result<Vec<u8>, Verdict> {
    let unfit = |what: &str| {
        Verdict::Unfit(format!("{broker} does not speak Kafka: it {what}. Is this the right port?"))
    };
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(|error| {
        Verdict::Unreachable(format!(
            "{broker} gave no answer to a Kafka request ({error}): it may be starting, or want TLS"
        ))
    })?;
    if &length == b"HTTP" {
        return Err(unfit("answers in HTTP"));
    }
    let length = u32::from_be_bytes(length) as usize;
    if !(4..=ANSWER_LIMIT).contains(&length) {
        return Err(unfit("sends something else"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).map_err(|_| unfit("closed the connection within its answer"))?;
    if answer[..4] != CORRELATION {
        return Err(unfit("sends something else"));
    }
    Ok(answer)
}

/// Reads the answer: correlation id, error code, and for each API its key and range of versions.
fn judge(broker: &str, answer: &[u8]) -> Verdict {
    let number = |at: usize| answer.get(at..at + 2).map(|two| i16::from_be_bytes([two[0], two[1]]));
    let count = answer.get(6..10).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
    let (Some(0), Some(count)) = (number(4), count) else {
        return Verdict::Unfit(format!("{broker} refused to name its API versions"));
    };
    let range = |key: i16| {
        (0..count.min(ANSWER_LIMIT as u32) as usize).map(|n| 10 + n * 6).find_map(|at| {
            (number(at)? == key).then_some(())?;
            Some(number(at + 2)?..=number(at + 4)?)
        })
    };
    for (key, ours, name) in NEEDED {
        let theirs = range(key);
        if theirs.as_ref().is_none_or(|theirs| !theirs.contains(&ours)) {
            let theirs = theirs.map_or("not at all".into(), |r| format!("{} to {}", r.start(), r.end()));
            return Verdict::Unfit(format!(
                "the broker {broker} is too new for the kafka crate: it serves {name} in versions {theirs}, and the \
                 crate speaks version {ours}, which Kafka 4.0 dropped. Use a broker up to 3.9, or a build with the \
                 native client"
            ));
        }
    }
    Verdict::Fits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(apis: &[(i16, i16, i16)]) -> Vec<u8> {
        let mut bytes = CORRELATION.to_vec();
        bytes.extend([0, 0]);
        bytes.extend((apis.len() as u32).to_be_bytes());
        for (key, min, max) in apis {
            bytes.extend([key.to_be_bytes(), min.to_be_bytes(), max.to_be_bytes()].concat());
        }
        bytes
    }

    #[test]
    fn a_broker_without_version_0_is_named_with_the_api_and_its_range() {
        let old: Vec<_> = NEEDED.iter().map(|(key, ..)| (*key, 0, 9)).collect();
        assert_eq!(judge("b:1", &answer(&old)), Verdict::Fits);
        let new: Vec<_> = NEEDED.iter().map(|(key, ..)| (*key, if *key == 1 { 4 } else { 0 }, 18)).collect();
        let Verdict::Unfit(text) = judge("b:1", &answer(&new)) else { panic!("it fits") };
        assert!(text.contains("b:1") && text.contains("Fetch in versions 4 to 18"), "{text}");
    }

    #[test]
    fn a_cut_answer_never_panics() {
        let whole = answer(&NEEDED.map(|(key, ..)| (key, 0, 9)));
        for end in 0..whole.len() {
            assert!(matches!(judge("b:1", &whole[..end]), Verdict::Unfit(_)));
        }
    }
}
