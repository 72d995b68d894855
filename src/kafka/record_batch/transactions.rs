//! Which batches are delivered under `read_committed`.
//!
//! A fetch response lists the aborted transactions that overlap with it, by producer and first offset. From there on,
//! that producer's batches are aborted until its abort marker (KIP-98).

use super::error::BatchError;
use super::{Batch, Control};
use std::collections::HashSet;

/// An aborted transaction of a fetch response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Aborted {
    /// Its first offset.
    pub first_offset: i64,
    /// The id of its producer.
    pub producer_id: i64,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Its records are delivered.
    Deliver,
    /// Its records belong to an aborted transaction and are skipped.
    Aborted,
    /// It is a control batch without records.
    Control,
}

/// Decides which batches of a partition in a fetch response are delivered. Takes them in order.
#[derive(Clone, Debug)]
pub struct Transactions {
    /// The transactions that begin later, in descending order.
    ahead: Vec<Aborted>,
    /// The producers within an aborted transaction.
    aborting: HashSet<i64>,
}

impl Transactions {
    /// For a response with these aborted transactions. Without any, as under `read_uncommitted`, everything is
    /// delivered.
    pub fn new(aborted: impl IntoIterator<Item = Aborted>) -> Self {
        let mut ahead: Vec<_> = aborted.into_iter().collect();
        ahead.sort_unstable_by(|a, b| b.cmp(a));
        Self { ahead, aborting: HashSet::new() }
    }

    /// Judges the next batch.
    ///
    /// # Errors
    /// A marker that can't be read.
    pub fn judge(&mut self, batch: &Batch<'_>) -> Result<Judgement, BatchError> {
        if !batch.is_control() && !batch.is_transactional() {
            return Ok(Judgement::Deliver);
        }
        Ok(self.decide(batch.last_offset(), batch.producer_id(), batch.is_control(), batch.control()?))
    }

    fn decide(
        &mut self,
        last_offset: i64,
        producer_id: i64,
        is_control: bool,
        marker: Option<Control>,
    ) -> Judgement {
        while let Some(aborted) = self.ahead.pop_if(|aborted| aborted.first_offset <= last_offset) {
            self.aborting.insert(aborted.producer_id);
        }
        if is_control {
            if marker == Some(Control::Abort) {
                self.aborting.remove(&producer_id);
            }
            return Judgement::Control;
        }
        match self.aborting.contains(&producer_id) {
            true => Judgement::Aborted,
            false => Judgement::Deliver,
        }
    }
}
