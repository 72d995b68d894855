//! What a person meets: commands, flags, help, exit codes. The only room that knows all others.
//!
//! | room | what is in it |
//! |---|---|
//! | [flags] | the one table of flags; parsing, help and environment variables fall out of it |
//! | [options] | what the flags set, typed |
//! | [values] | durations, sizes and the like, read from text |
//! | [config] | the three places a flag may come from, and which one counts |
//! | [help] | `--help` |
//! | [client] | the HTTP client that the flags ask for |
//! | `advice` | what to do about errors of the Kafka client |
//! | `letters` | dead letters: where they go, where they are read from |
//! | `signals`, `open_files` | what the system asks of a process, and allows it |
//! | `receiver` | a webhook to try things on, for `demo` and `receive` |
//! | [run], [check], [demo], [receive], [replay], [tail], [send], `sandbox` | the commands |

#[cfg(feature = "kafka")]
pub mod advice;
pub mod check;
pub mod client;
pub mod config;
pub mod demo;
mod demo_source;
pub mod flags;
pub mod help;
mod letters;
mod open_files;
pub mod options;
mod picture;
pub mod receive;
mod receiver;
pub mod replay;
mod requests;
pub mod run;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod send;
mod signals;
mod source;
pub mod tail;
pub mod values;

use crate::observe::log;
use config::Invocation;
use options::LogFormat;
use std::ffi::OsString;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// What the process says when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or drained after a signal.
    Done = 0,
    /// Failed while running; a panic, a fault of our own, ends so as well.
    Failed = 1,
    /// Bad flags or configuration; nothing was contacted.
    Usage = 2,
    /// Stopped by the destination: a refused record, 410, or the end of patience.
    Stopped = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended, in a sentence, and the code to end with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What, where, and what to do.
    pub text: String,
}

impl Failure {
    /// Bad flags or configuration.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, text: text.into() }
    }
}

/// Runs the command that these arguments ask for.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let environment = |name: &str| std::env::var_os(name);
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    log::start(config::wants_json(&arguments, &environment));
    let exit = ended(|| obey(arguments, &environment));
    log::flush();
    exit
}

/// Runs a command, and tells why it failed.
fn ended(command: impl FnOnce() -> Result<(), Failure>) -> Exit {
    match catch_unwind(AssertUnwindSafe(command)) {
        Ok(Ok(())) => Exit::Done,
        Ok(Err(Failure { exit, text })) => {
            log::say(::log::Level::Error, &text);
            exit
        }
        // The log's hook has told it.
        Err(_) => Exit::Failed,
    }
}

fn obey(arguments: Vec<OsString>, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<(), Failure> {
    match config::read(arguments, environment)? {
        Invocation::Help(command) => print(&help::text(command)),
        Invocation::Version => print(concat!("sluicegate ", env!("CARGO_PKG_VERSION"), "\n")),
        Invocation::Command(command, options) => {
            log::set_json(options.log_format == LogFormat::Json);
            command.run(&options)?;
        }
    }
    Ok(())
}

/// Prints to stdout; a reader that has gone (`| head`) is no fault of ours.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_has_an_exit_code_of_ours() {
        assert_eq!(ended(|| Ok(())), Exit::Done);
        assert_eq!(ended(|| Err(Failure::usage("a test's last words"))), Exit::Usage);
        assert_eq!(ended(|| panic!("a test's panic")), Exit::Failed);
    }
}
