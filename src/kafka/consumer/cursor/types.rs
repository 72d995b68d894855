//! What is said to a cursor and by it.

use crate::kafka::config::{Reset, Start};
use crate::kafka::consumer::note::Note;
use crate::kafka::protocol::ErrorCode;
use std::fmt;
use std::time::Instant;

/// Hands out numbers, each once.
#[derive(Debug, Default)]
pub struct Serials(u64);

impl Serials {
    /// The next one; never 0.
    pub fn draw(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// The operator's rules.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What to do where the position is outside of the log.
    pub reset: Reset,
    /// The partition comes to an end behind what is there at the start.
    pub until_end: bool,
    /// Positions are committed.
    pub commits: bool,
}

/// What a cursor waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Where the group left off.
    Unresolved,
    /// Where its log begins and ends, so that it can begin there.
    Placing(Beginning),
    /// Whether the log still is the one that was read, as far as it was read (KIP-320).
    Checking,
    /// Where its log begins and ends: its position lies outside, as far as is known.
    Outside,
    /// Nothing: it is fetched from.
    Reading,
    /// Its records to finish, then it goes.
    Revoked,
    /// A person.
    Stopped,
}

/// Where a partition is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Where nobody has committed anything.
    First(Start),
    /// At a position.
    At(i64),
    /// With the first record: another topic of that name was read before, up to this position.
    NewTopic(i64),
}

/// What the group has committed for a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The first offset that is not done.
    pub next: i64,
    /// The leader epoch of the last record that is done; -1 where it isn't known.
    pub epoch: i32,
    /// What stands beside it, if it is a note of ours.
    pub note: Option<Note>,
}

/// What a cursor wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Where the group left off: asks its coordinator.
    Committed,
    /// Where the log begins and ends, with which record `at` (milliseconds since 1970) begins, if it is given; asks the
    /// leader.
    Bounds {
        /// The end behind all records, or only behind those whose transactions are decided.
        uncommitted: bool,
        /// A time.
        at: Option<i64>,
    },
    /// Where the log of this leader epoch ends: asks the leader.
    EpochEnd(i32),
}

/// Where a log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset there is.
    pub first: i64,
    /// Behind the last.
    pub end: i64,
    /// With which record the time begins that was asked for; `None` where no record is as late.
    pub at: Option<i64>,
}

/// Where the log of a leader epoch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochEnd {
    /// The newest epoch up to the one asked for, and where its log ends.
    At {
        /// The epoch.
        epoch: i32,
        /// Behind its last record.
        end: i64,
    },
    /// The leader knows neither this epoch nor one before it.
    Unknown,
    /// The broker can't be asked: it has no such API. The check is left out then, as Java's client does.
    Unchecked,
}

/// Why nothing came of a question or a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The broker can't be reached or did not answer; whoever asked tells of it.
    Connection,
    /// The partition has no leader.
    Leaderless,
    /// The broker answered with an error.
    Refused(ErrorCode),
    /// The bytes are not what was written.
    Corrupt(String),
    /// A batch is larger than is allowed.
    TooLarge(String),
}

impl Trouble {
    /// Whether it is of the same kind.
    pub fn is_like(&self, other: &Self) -> bool {
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

/// Trouble, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OngoingTrouble {
    /// What it is by now.
    pub trouble: Trouble,
    /// The first failure with no success since.
    pub since: Instant,
    /// The first failure of this kind with no other since.
    pub same_since: Instant,
    /// How many of this kind there were since.
    pub times: u32,
    /// Whether it was told.
    pub told: bool,
}

/// Why a position is, or begins, elsewhere than where the last record was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PositionChange {
    /// Offsets were deleted before they were read.
    Deleted {
        /// The position.
        position: i64,
        /// What the log holds.
        bounds: Bounds,
    },
    /// The position is behind the end of the log.
    BeyondEnd {
        /// The position.
        position: i64,
        /// What the log holds.
        bounds: Bounds,
    },
    /// The log was cut off below the position, and perhaps written anew from there.
    Truncated {
        /// The position.
        position: i64,
        /// Where it was cut.
        at: i64,
    },
    /// Another topic has the name now.
    TopicRecreated {
        /// Where the former one was read up to.
        position: i64,
    },
    /// The log was cut off among the records that are done beyond the position.
    ProgressDropped {
        /// The position.
        position: i64,
        /// Up to where records were done.
        reach: i64,
    },
    /// The position came from another cluster, or was moved by hand, with a note that was not written for it.
    Copied {
        /// The position.
        position: i64,
    },
    /// Nothing is committed: how many records lie before where it begins, and how many behind it.
    First {
        /// Where it begins.
        next: i64,
        /// What the log holds.
        bounds: Bounds,
    },
}

/// What others have to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The partition begins, or begins anew, at this position: what was fetched before is dropped.
    Begins {
        /// The first offset that is wanted.
        next: i64,
        /// What the core had committed beside it.
        text: String,
        /// Nobody has committed this position.
        uncommitted: bool,
    },
    /// A position is elsewhere than where the last record was read; where it goes on.
    Moved(PositionChange, i64),
    /// The same, where the rules don't allow it: the run ends.
    ResetForbidden(PositionChange),
    /// The partition is read no further, and nothing of it is skipped.
    Stopped(Trouble),
    /// It is read again, after a trouble that was told.
    Recovered,
}

/// A question or a fetch, as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Counts for as long as nothing has changed.
    pub ticket: u64,
    /// From where.
    pub next: i64,
}
