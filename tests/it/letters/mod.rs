//! Rejected events: where they go, and how they come back. The binary between files, a real broker and a receiver.

mod command_line;
mod damage;
mod file;
mod places;
mod power_cut;
mod rotation;
mod topic;
mod topic_once;
mod topic_refusals;

use crate::support::folder::Folder;
use crate::support::receiver::Receiver;
use sluicegate::record::{Header, Offset, Partition, Record};
use sluicegate::relay::dead_letter::file::DeadLetterFile;
use sluicegate::relay::dead_letter::{DeadLetter, DeadLetters, Rejection};
use sluicegate::text::time::time;
use std::path::Path;
use std::time::{Duration, Instant};

/// A letter from `orders-0` with its number as value, refused with this status at that many seconds.
fn letter(number: i64, status: u16, seconds: u64) -> DeadLetter {
    let value = number.to_string();
    let header = Header { name: b"trace", value: Some(b"on") };
    DeadLetter {
        record: Record::with_headers(
            Partition::new("orders", 0),
            Offset(number),
            1_700_000_000_000 + number,
            Some(b"k"),
            Some(value.as_bytes()),
            &[header],
        ),
        rejection: Rejection {
            status: Some(status),
            reason: format!("reason {number}"),
            attempts: 1,
            first_attempt: time(0),
            last_attempt: time(seconds * 1_000),
        },
    }
}

fn write(path: impl AsRef<Path>, letters: &[DeadLetter]) {
    DeadLetterFile::open(path.as_ref()).unwrap().put(letters).unwrap();
}

/// How often commits are made, and how long one may take on a busy machine: what was answered within this time before
/// a kill may be sent again.
const COMMIT_LAG: Duration = Duration::from_millis(500);

/// How many records may be sent again after a kill at this time: those in flight, and those answered shortly before.
fn may_repeat(receiver: &Receiver, killed: Instant, in_flight: usize) -> usize {
    let handled = receiver.handled();
    let recent = handled.iter().filter(|it| it.ended <= killed && it.ended + COMMIT_LAG >= killed);
    recent.count() + in_flight
}
