//! What the receiver saw, held against what was acknowledged and who owned what.

use crate::support::counter::Received;
use crate::support::members::{Member, sent_by_strangers};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

/// The findings.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Records accepted again.
    pub duplicates: usize,
    /// How often a member got a partition.
    pub takeovers: usize,
    /// Places where a member went back or skipped within a partition that it had all the time.
    pub breaks: Vec<String>,
    /// Requests that a member began for a partition before its last one had ended.
    pub overlaps: Vec<String>,
    /// Requests for a partition that another member had.
    pub strangers: Vec<String>,
}

impl Ledger {
    /// Reads the findings off; `received` is in the order of the answers. `lane` says whose order a record is in, and
    /// at which place.
    pub fn of(
        members: &[Member],
        topic: &str,
        received: &[Received],
        lane: impl Fn(&Received) -> (u64, i64),
    ) -> Self {
        let mut ledger = Self {
            takeovers: members.iter().map(|member| member.owned.len()).sum(),
            strangers: sent_by_strangers(members, topic, received),
            ..Self::default()
        };
        let mut accepted = HashSet::new();
        for record in received.iter().filter(|record| record.accepted) {
            ledger.duplicates += usize::from(!accepted.insert((record.partition, record.offset)));
        }
        let mut before: HashMap<(usize, u64), &Received> = HashMap::new();
        for record in received {
            let Some(last) = before.insert((record.sender, lane(record).0), record) else { continue };
            let partition = format!("{topic}-{}", record.partition);
            let place =
                || format!("{partition}: {} after {} by {}", record.offset, last.offset, record.sender);
            if record.began < last.ended {
                ledger.overlaps.push(place());
            }
            let (place_now, place_before) = (lane(record).1, lane(last).1);
            let expected = place_now == place_before + i64::from(last.accepted);
            let owner = members.iter().find(|member| member.number == record.sender);
            let got_again = owner.is_some_and(|member| {
                let spans = member.owned.iter().filter(|own| own.partition == partition);
                spans.into_iter().any(|own| {
                    own.from > last.began && own.from <= record.began + crate::support::members::TOLERANCE
                })
            });
            if !expected && !got_again {
                ledger.breaks.push(place());
            }
        }
        ledger
    }
}

/// Acknowledged records that were not accepted.
pub fn lost(acked: &BTreeMap<u64, (u32, i64)>, received: &[Received]) -> Vec<u64> {
    let accepted = received.iter().filter(|record| record.accepted);
    let accepted: HashSet<(u64, u32)> = accepted.map(|record| (record.number, record.partition)).collect();
    let lost = acked.iter().filter(|(number, (partition, _))| !accepted.contains(&(**number, *partition)));
    lost.map(|(number, _)| *number).collect()
}

/// The record that was accepted again the longest after it had been accepted first, and how long that was: it tells
/// whether more was sent again than what was not committed yet.
pub fn latest_again(received: &[Received]) -> Option<(Received, Duration)> {
    let mut first: HashMap<(u64, u32, i64), Instant> = HashMap::new();
    let accepted = received.iter().filter(|record| record.accepted);
    let again = accepted.map(|record| {
        let first = *first.entry((record.number, record.partition, record.offset)).or_insert(record.ended);
        (*record, record.ended - first)
    });
    again.max_by_key(|(_, after)| *after).filter(|(_, after)| !after.is_zero())
}
