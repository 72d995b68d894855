//! What may be committed, and how things stand: questions to the window that change nothing but what counts as
//! committed.

use super::{Halt, Track, Window};
use crate::relay::event::Totals;
use crate::relay::record::{Checkpoint, Offset, Partition, Position};
use std::time::Instant;

impl Window {
    /// Positions that are ahead of what was committed, or have more done beyond them.
    pub fn to_commit(&self) -> Vec<Checkpoint> {
        let checkpoint = |(partition, track): (&Partition, &Track)| {
            let (next, metadata) = track.progress.to_commit()?;
            Some(Checkpoint {
                position: Position { partition: partition.clone(), next },
                metadata,
                assignment: track.assignment,
            })
        };
        let mut checkpoints: Vec<Checkpoint> = self.tracks.iter().filter_map(checkpoint).collect();
        checkpoints.sort_by(|a, b| a.position.cmp(&b.position));
        checkpoints
    }

    /// These positions are committed.
    pub fn committed(&mut self, checkpoints: &[Checkpoint]) {
        for Checkpoint { position, metadata, .. } in checkpoints {
            if let Some(track) = self.tracks.get_mut(&position.partition) {
                track.progress.committed(position.next, metadata);
            }
        }
    }

    /// How far each assigned partition is done.
    pub fn watermarks(&self) -> impl Iterator<Item = (&Partition, Offset)> {
        self.tracks.iter().map(|(partition, track)| (partition, track.progress.watermark()))
    }

    /// Why nothing more is sent, if something ended the run.
    pub fn halted(&self) -> Option<&Halt> {
        self.halt.as_ref()
    }

    /// Nothing is in flight, and nothing will be until more is admitted.
    pub fn is_quiet(&self) -> bool {
        self.is_finished() && self.in_flight == 0 && self.condemned.is_empty()
    }

    /// Nothing more will be sent until more is admitted.
    pub fn is_finished(&self) -> bool {
        self.draining || self.halt.is_some() || (self.closed && self.slots.is_empty())
    }

    /// Whether any refused record wants a place.
    pub fn has_condemned(&self) -> bool {
        !self.condemned.is_empty()
    }

    /// Requests on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many requests may be on their way at once.
    pub fn limit(&self) -> usize {
        let most = self.settings.max_concurrency.get();
        self.limit.as_ref().map_or(most, |limit| limit.current().min(most))
    }

    /// Records under way: admitted and not done.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no record is under way.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The bytes of the records under way.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records that wait for their next attempt.
    pub fn retrying(&self) -> usize {
        self.queue.waiting()
    }

    /// Whether any record waits for nothing but a worker and the destination.
    pub fn has_ready(&self) -> bool {
        self.queue.first().is_some()
    }

    /// When the next record that waits for its time may go.
    pub fn next_due(&self) -> Option<Instant> {
        self.queue.next_due()
    }

    /// When the oldest record under way was admitted.
    pub fn oldest(&self) -> Option<Instant> {
        self.slots.iter().min_by_key(|(sequence, _)| **sequence).map(|(_, slot)| slot.admitted)
    }

    /// Whether all sending is paused.
    pub fn is_paused(&self) -> bool {
        self.gate.is_closed()
    }

    /// Since when attempts fail with no acceptance between.
    pub fn failing_since(&self) -> Option<Instant> {
        self.failing_since
    }

    /// What was done since the start; how long it took is not the window's to say.
    pub fn totals(&self) -> Totals {
        self.totals.clone()
    }
}
