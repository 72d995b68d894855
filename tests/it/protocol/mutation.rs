//! Broken bytes: whatever comes, the codec ends with a value or with an error.
//!
//! That it makes no room beyond what the bytes account for follows from how [`Reader`] reads arrays, and is tested
//! there; it is the one place in the codec that allocates. A mutated count is among the mutations here,
//! so an array as large as such a count says would show as this test's end.
//!
//! [`Reader`]: sluicegate::kafka::protocol::Reader

use super::round_trip::all;
use crate::support::dice::Dice;
use sluicegate::kafka::group::consumer_protocol::{
    decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};

/// How many frames are broken; a variable of this name asks for another number.
const MUTATIONS: (&str, u64) = ("SLUICEGATE_MUTATIONS", 200_000);
/// The longest a frame grows by being broken.
const LONGEST: usize = 4096;
/// What is put in the place of lengths and counts.
const EXTREMES: [i32; 11] =
    [-1, -2, i32::MIN, i32::MAX, 0, 1, 1_000_000, 0x0001_0000, 0x7fff, -32_768, 0xff_ff_ff_0f_u32 as i32];

/// Breaks a frame in one way; `other` is a frame to take a piece of.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    match dice.below(7) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, dice.next() as u8),
        2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << dice.below(8)),
        3 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = dice.next() as u8),
        4 => {
            let extreme = dice.one(&EXTREMES).to_be_bytes();
            let piece = if dice.below(2) == 0 { &extreme[..] } else { &extreme[2..] };
            bytes.iter_mut().skip(at).zip(piece).for_each(|(byte, new)| *byte = *new);
        }
        5 => {
            let end = at + dice.below(bytes.len() - at + 1);
            bytes.drain(at..end);
        }
        _ => {
            let from = dice.below(other.len() + 1);
            let piece = &other[from..from + dice.below(other.len() - from + 1)];
            bytes.splice(at..at, piece.iter().copied());
        }
    }
    bytes.truncate(LONGEST);
}

/// How often a frame was broken and still read as one.
fn run(count: u64, seeds: &[Vec<u8>], dice: &mut Dice, rewrite: impl Fn(&[u8]) -> Option<Vec<u8>>) -> u64 {
    let mut still_read = 0;
    for _ in 0..count {
        let mut bytes = dice.one(seeds);
        for _ in 0..=dice.below(4) {
            let other = dice.one(seeds);
            mutate(&mut bytes, &other, dice);
        }
        if let Some(written) = rewrite(&bytes) {
            still_read += 1;
            assert_eq!(rewrite(&written).as_ref(), Some(&written), "{bytes:?}");
        }
    }
    still_read
}

#[test]
fn no_broken_frame_makes_the_codec_panic() {
    let asked = std::env::var(MUTATIONS.0).map(|count| count.parse().unwrap()).unwrap_or(MUTATIONS.1);
    let mut dice = Dice::seeded(20_261_124);
    let (mut broken, mut still_read) = (0, 0);
    let seeds: Vec<_> = all().filter(|(.., bodies)| bodies.iter().any(|body| !body.is_empty())).collect();
    let each = asked.div_ceil(seeds.len() as u64);
    for (message, format, bodies) in &seeds {
        still_read += run(each, bodies, &mut dice, |bytes| message.rewrite(bytes, *format).ok());
        broken += each;
    }
    println!("{broken} broken frames: {still_read} were still messages, the others errors");
    // Else they were broken so badly that nothing behind their first bytes was ever reached, or not at all.
    assert!((broken / 20..broken / 2).contains(&still_read), "{still_read} of {broken}");
}

#[test]
fn no_broken_subscription_or_assignment_makes_it_panic() {
    let subscription = [
        &[0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 1, b'b', 0, 0, 0, 1, 7, 0, 0, 0, 1, 0, 1, b'a'][..],
        &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 1, b'r'],
    ]
    .concat();
    let assignment =
        vec![0, 1, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255];
    let (seeds, mut dice) = ([subscription, assignment], Dice::seeded(1));
    let rewrite = |bytes: &[u8]| Some(encode_subscription(&decode_subscription(bytes).ok()?).unwrap());
    assert!(run(20_000, &seeds, &mut dice, rewrite) > 1000);
    let rewrite = |bytes: &[u8]| Some(encode_assignment(&decode_assignment(bytes).ok()?).unwrap());
    assert!(run(20_000, &seeds, &mut dice, rewrite) > 1000);
}
