//! The inputs and outputs of a cursor.

use crate::kafka::config::{Reset, Start};
use crate::kafka::consumer::note::Note;
use crate::kafka::protocol::ErrorCode;
use std::fmt;
use std::time::Instant;

/// Generates unique numbers.
#[derive(Debug, Default)]
pub struct Serials(u64);

impl Serials {
    /// The next number; never 0.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// The settings that a cursor obeys.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What to do if the position is outside the log.
    pub reset: Reset,
    /// The partition ends at the end of the log as of the start.
    pub until_end: bool,
    /// Whether positions are committed.
    pub commits: bool,
}

/// The phase of a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for the group's committed position.
    Unresolved,
    /// Waits for the bounds of the log, to choose a position.
    Placing(Beginning),
    /// Waits for the end of a leader epoch, to check that the log has not been truncated (KIP-320).
    Checking,
    /// Waits for the bounds of the log, because the position seems to be outside.
    Outside,
    /// Waits for the bounds of the log, to move by the reset policy: the log is another one from an unknown offset on.
    Diverged,
    /// Fetches records.
    Reading,
    /// Revoked: its records may finish, then it is removed.
    Revoked,
    /// Stopped until somebody fixes its trouble and restarts.
    Stopped,
}

/// Where a partition begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Without a committed position.
    First(Start),
    /// At a committed position.
    At(i64),
    /// At offset 0 of a recreated topic. The former topic was read up to this position.
    NewTopic(i64),
}

/// The committed position of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The committed offset.
    pub next: i64,
    /// The leader epoch of the record before it; -1 if it is not known.
    pub epoch: i32,
    /// Its metadata, if that is a [`Note`].
    pub note: Option<Note>,
}

/// A request that a cursor needs answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// The committed position, from the coordinator.
    Committed,
    /// The bounds of the log, from the leader.
    Bounds {
        /// Whether the end is the high watermark instead of the last stable offset.
        uncommitted: bool,
        /// A time in milliseconds since 1970, whose first offset is wanted too.
        at: Option<i64>,
    },
    /// The end of this leader epoch, from the leader.
    EpochEnd(i32),
}

/// The bounds of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The log start offset.
    pub first: i64,
    /// The offset after the last record.
    pub end: i64,
    /// The first offset at or after the time in question; `None` if all records are older.
    pub at: Option<i64>,
}

/// The end of a leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochEnd {
    /// The largest epoch up to the one in question.
    At {
        /// The epoch.
        epoch: i32,
        /// The offset after its last record.
        end: i64,
    },
    /// Undefined: all epochs that the leader knows are earlier, or it knows none.
    Unknown,
    /// The broker lacks OffsetForLeaderEpoch. The check is skipped then, as in Java's client.
    Unchecked,
}

/// Why a request about a partition failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The broker can't be reached or did not answer. The sender of the request reports it.
    Connection,
    /// The partition has no leader.
    Leaderless,
    /// The broker answered with an error code.
    Refused(ErrorCode),
    /// A batch is corrupt; how, in a sentence.
    Corrupt(String),
    /// A batch is larger than allowed; how large, in a sentence.
    TooLarge(String),
}

impl Trouble {
    /// Whether it is of the same kind, whatever the details.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Corrupt(_), Self::Corrupt(_)) | (Self::TooLarge(_), Self::TooLarge(_)) => true,
            _ => self == other,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("its broker can't be reached"),
            Self::Leaderless => {
                f.write_str("it has no leader, or its topic is gone: check the brokers that hold it")
            }
            Self::Refused(code) => write!(f, "the broker answered {code}"),
            Self::Corrupt(text) | Self::TooLarge(text) => f.write_str(text),
        }
    }
}

/// A trouble that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OngoingTrouble {
    /// The last failure.
    pub trouble: Trouble,
    /// The first failure since the last success.
    pub since: Instant,
    /// The first of the consecutive failures of this kind.
    pub same_since: Instant,
    /// The number of consecutive failures of this kind.
    pub times: u32,
    /// Whether it was reported.
    pub told: bool,
}

/// Why a position is elsewhere than after the last record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PositionChange {
    /// Records were deleted before they were read.
    Deleted {
        /// The old position.
        position: i64,
        /// The bounds of the log.
        bounds: Bounds,
    },
    /// The position is after the end of the log.
    BeyondEnd {
        /// The old position.
        position: i64,
        /// The bounds of the log.
        bounds: Bounds,
    },
    /// The log was truncated below the position, and perhaps rewritten from there.
    Truncated {
        /// The old position.
        position: i64,
        /// The offset where both logs part.
        at: i64,
    },
    /// The log is another one than the one that was read, from an unknown offset on: its leader epochs went backwards.
    Diverged {
        /// The old position.
        position: i64,
        /// The bounds of the log.
        bounds: Bounds,
    },
    /// The topic was deleted and created again.
    TopicRecreated {
        /// The position in the former topic.
        position: i64,
    },
    /// The log was truncated among the records that are done beyond the position.
    ProgressDropped {
        /// The position, which stays.
        position: i64,
        /// The offset after the last record that was done.
        reach: i64,
    },
    /// The position was copied from another cluster or moved by a tool: its note names another position or cluster.
    Copied {
        /// The position, which stays.
        position: i64,
    },
    /// No position is committed.
    First {
        /// The position where it begins.
        next: i64,
        /// The bounds of the log.
        bounds: Bounds,
    },
}

/// An output of a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The partition begins, or begins again, at this position. Batches fetched before are dropped.
    Begins {
        /// The first offset.
        next: i64,
        /// The core's text from the commit's metadata.
        text: String,
        /// The position is not committed yet.
        uncommitted: bool,
    },
    /// The position has changed; the new one.
    Moved(PositionChange, i64),
    /// The position would change, but [`Reset::Fail`] forbids it: the consumer fails.
    ResetForbidden(PositionChange),
    /// The partition is not read any further.
    Stopped(Trouble),
    /// It is read again, after a trouble that was reported.
    Recovered,
}

/// Identifies a request, so that its response counts only if the cursor has not changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The cursor's [ticket](super::Cursor) at the time of the request.
    pub ticket: u64,
    /// The cursor's position at the time of the request: the fetch offset.
    pub next: i64,
}
