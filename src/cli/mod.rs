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
//! | `letters` | dead letters: where they go, where they are read from |
//! | [run], [check], [demo], [replay], [tail], [send], `sandbox` | the commands |

pub mod check;
pub mod client;
pub mod config;
pub mod demo;
mod demo_receiver;
mod demo_source;
pub mod flags;
pub mod help;
mod letters;
pub mod options;
mod picture;
pub mod replay;
mod requests;
pub mod run;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod send;
mod source;
pub mod tail;
pub mod values;

use config::Invocation;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// What the process says when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or drained after a signal.
    Done = 0,
    /// Failed while running.
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
    let done = match config::read(arguments, &environment) {
        Ok(Invocation::Help(command)) => {
            print(&help::text(command));
            Ok(())
        }
        Ok(Invocation::Version) => {
            print(concat!("sluicegate ", env!("CARGO_PKG_VERSION"), "\n"));
            Ok(())
        }
        Ok(Invocation::Command(command, options)) => command.run(&options),
        Err(failure) => Err(failure),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(Failure { exit, text }) => {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(std::io::stderr(), "sluicegate: {text}");
            exit
        }
    }
}

/// Prints to stdout; a reader that has gone (`| head`) is no fault of ours.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
