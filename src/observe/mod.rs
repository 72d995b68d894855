//! What the core tells, made into something a person can read. Observers decide nothing.
//!
//! | file | what is in it |
//! |---|---|
//! | [log] | events as lines, and what the command line says of the log |
//! | `backlog` | lines that wait |
//! | [sink] | the thread that writes them |
//! | `panics` | panics as lines |

mod backlog;
pub mod log;
mod panics;
pub mod sink;
