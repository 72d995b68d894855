//! What the core tells, made into something a person can read. Observers decide nothing.
//!
//! | room | what is in it |
//! |---|---|
//! | `advice` | what to do about it, with the flags that do it |
//! | [log] | control by the command line: form, verbosity, flushing |
//! | `observer` | events as lines |
//! | `attempts` | attempts as lines |
//! | `fields` | what lines tell programs |
//! | `limit` | how many lines of a kind there may be |
//! | `backlog` | lines that wait |
//! | `sink` | the thread that writes them |
//! | `panics` | panics as lines |

pub mod advice;
mod attempts;
mod backlog;
mod fields;
mod limit;
pub mod log;
mod observer;
mod panics;
mod sink;

pub(crate) use attempts::LoggedAttempts;
pub(crate) use observer::LogObserver;
