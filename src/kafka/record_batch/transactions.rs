//! Which batches are delivered under `read_committed`.
//!
//! A fetch answer names the aborted transactions that reach into it: a producer and where its transaction begins. From
//! there on that producer's batches are aborted, until its abort marker ends the transaction (KIP-98).

use super::error::BatchError;
use super::{Batch, Control};
use std::collections::HashSet;

/// An aborted transaction, as a fetch answer names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Aborted {
    /// Where it begins.
    pub first_offset: i64,
    /// Whose it is.
    pub producer_id: i64,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Its records are delivered.
    Deliver,
    /// Its records belong to an aborted transaction: they never were.
    Aborted,
    /// It holds no records but a marker.
    Control,
}

/// Judges the batches of one partition's part of one fetch answer, in their order.
#[derive(Clone, Debug)]
pub struct Transactions {
    /// Those that don't reach to where we are, the first one last.
    ahead: Vec<Aborted>,
    /// The producers within an aborted transaction.
    aborting: HashSet<i64>,
}

impl Transactions {
    /// For an answer that names these transactions. None at all is what an answer under `read_uncommitted` brings:
    /// then everything is delivered.
    pub fn new(aborted: impl IntoIterator<Item = Aborted>) -> Self {
        let mut ahead: Vec<_> = aborted.into_iter().collect();
        ahead.sort_unstable_by(|a, b| b.cmp(a));
        Self { ahead, aborting: HashSet::new() }
    }

    /// Judges the next batch. Fails where a marker can't be read.
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
