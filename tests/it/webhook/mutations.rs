//! The reading of answers over 100,000 mutated streams of bytes: the same answer however they are split, never a
//! panic, never more than the bounds.

use crate::support::dice::Dice;
use sluicegate::webhook::answer::{BODY_LIMIT, HEAD_LIMIT};
use sluicegate::webhook::keep_alive::response_reader::{Malformed, ResponseReader};

const ROUNDS: usize = 100_000;
const SEED: u64 = 0x5EED_0F5E_ED00_0001;

const ANSWERS: [&[u8]; 12] = [
    b"HTTP/1.1 200 OK\r\nPHP Warning:  x\r\nA: \x01\r\n y\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
    b"\r\n\r\nHTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding:\r\n chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nRetry-After: 3\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nT: u\r\n\r\n",
    b"HTTP/1.0 503 X\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nLink: x\r\n\r\nHTTP/1.1 201 Y\r\nContent-Length: 2, 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\nContent-Length: 1\nX: a\n b\n\nx",
    b"HTTP/1.1 304 X\r\nContent-Length: 10\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1073741824\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 500 X\r\n\r\n",
];
const PIECES: [&[u8]; 14] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b":",
    b" ",
    b"\0",
    b"\xff",
    b"0\r\n\r\n",
    b"ffffffffffffffff",
    b"-1",
    b"Content-Length: 7\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.1 ",
];

fn mutated(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = dice.one(&ANSWERS).to_vec();
    for _ in 0..dice.below(5) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(5) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = dice.next() as u8,
            2 => drop(bytes.splice(at..at, dice.one(&PIECES).iter().copied())),
            3 => drop(bytes.drain(at..(at + dice.below(8)).min(bytes.len()))),
            4 => bytes.extend_from_slice(dice.one(&ANSWERS)),
            _ => {}
        }
    }
    bytes
}

/// All there is to know about an answer, and how many bytes it took.
type Outcome = Result<(u16, Option<Vec<u8>>, Vec<u8>, bool, bool, Vec<(String, Vec<u8>)>, usize), Malformed>;

/// Reads it in pieces of these lengths; the connection closes at the end.
fn outcome(reading: &mut ResponseReader, bytes: &[u8], mut length: impl FnMut() -> usize) -> Outcome {
    reading.clear();
    let mut at = 0;
    let mut complete = false;
    while !complete && at < bytes.len() {
        let piece = &bytes[at..(at + length().max(1)).min(bytes.len())];
        let counts = reading.has_head();
        let taken = reading.take(piece);
        assert!(!counts || taken.is_ok(), "once the head is complete, the status counts");
        match taken? {
            Some(taken) => {
                assert!(taken <= piece.len());
                at += taken;
                complete = true;
            }
            None => at += piece.len(),
        }
    }
    if !complete {
        reading.end()?;
    }
    assert!(reading.body().len() <= BODY_LIMIT && (200..600).contains(&reading.status()));
    let retry_after = reading.retry_after().map(<[u8]>::to_vec);
    let (body, cut, reusable) = (reading.body().to_vec(), reading.is_cut(), reading.is_reusable());
    Ok((reading.status(), retry_after, body, cut, reusable, reading.headers(), at))
}

#[test]
fn an_answer_is_the_same_however_it_is_split() {
    let mut dice = Dice::seeded(SEED);
    let (mut whole, mut split) = (ResponseReader::default(), ResponseReader::default());
    let (mut answers, mut reusable) = (0, 0);
    for round in 0..ROUNDS {
        let bytes = mutated(&mut dice);
        let expected = outcome(&mut whole, &bytes, || usize::MAX / 2);
        let longest = 1 + dice.below(20);
        let got = outcome(&mut split, &bytes, || 1 + dice.below(longest));
        assert_eq!(got, expected, "round {round}: {}", bytes.escape_ascii());
        answers += usize::from(expected.is_ok());
        reusable += usize::from(expected.is_ok_and(|it| it.4));
    }
    println!("{ROUNDS} streams: {answers} answers, {reusable} of them to their exact end");
    assert!(
        (ROUNDS / 10..ROUNDS * 9 / 10).contains(&answers) && reusable > ROUNDS / 10,
        "the mutations are tame"
    );
}

#[test]
fn an_answer_beyond_the_bounds_is_the_same_however_it_is_split() {
    let mut dice = Dice::seeded(SEED);
    let (mut whole, mut split) = (ResponseReader::default(), ResponseReader::default());
    for (status, fill) in [(200, "A: b\r\n"), (200, "b"), (103, "A: b\r\n"), (503, "x\n"), (200, " \n")] {
        for more in 0..8 {
            let fill = fill.repeat(HEAD_LIMIT / fill.len() - 4 + more);
            let bytes = format!("HTTP/1.1 {status} X\r\nA: {fill}\r\nRetry-After: 7\r\n\r\nrest");
            let expected = outcome(&mut whole, bytes.as_bytes(), || usize::MAX / 2);
            for _ in 0..20 {
                let got = outcome(&mut split, bytes.as_bytes(), || dice.below(9_000));
                assert_eq!(got, expected, "{status} {more}");
            }
        }
    }
    for head in ["Content-Length: 65536", "Content-Length: 65537", "A: b", "Transfer-Encoding: chunked"] {
        for more in 0..3 {
            let data = vec![b'x'; BODY_LIMIT + more - 1];
            let body = match head.starts_with('T') {
                true => [format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n0\r\n\r\n"].concat(),
                false => data,
            };
            let bytes = [format!("HTTP/1.1 200 X\r\n{head}\r\n\r\n").as_bytes(), &body].concat();
            let expected = outcome(&mut whole, &bytes, || usize::MAX / 2);
            for _ in 0..20 {
                assert_eq!(outcome(&mut split, &bytes, || dice.below(9_000)), expected, "{head} {more}");
            }
        }
    }
}
