//! What a person meets: commands, flags, help, exit codes. The only room that knows all others.
//!
//! | room | what is in it |
//! |---|---|
//! | `flags` | the one table of flags |
//! | `options` | what the flags set, typed |
//! | `values` | durations, sizes and the like, read from text |
//! | `config` | the three places a flag may come from, and which one counts |
//! | `command` | the one table of commands |
//! | `help`, `man`, `completions` | texts generated from the two tables |
//! | `plan` | what a command does, resolved once from the options |
//! | `client`, `requests`, `source`, `dead_letters` | the parts of a plan |
//! | `delivery` | a planned delivery, opened and run |
//! | `advice` | what to do about errors of the Kafka client |
//! | `reporter` | what goes on while requests are sent, as lines of the log |
//! | `commands` | the commands, a file each |
//! | `receiver` | a webhook to try things on, for `demo` and `receive` |
//! | `signals`, `open_files` | what the system asks of a process, and allows it |

#[cfg(feature = "kafka")]
pub mod advice;
mod client;
mod command;
mod commands;
mod completions;
mod config;
mod dead_letters;
mod delivery;
mod flags;
mod help;
mod man;
mod open_files;
mod options;
mod plan;
mod receiver;
mod reporter;
mod requests;
mod signals;
mod source;
mod values;

use crate::observe::log;
use crate::text::terminal;
use config::Invocation;
use options::LogFormat;
use plan::Plan;
use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
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
    /// Stopped by the destination: a rejected record, 410 Gone, or `--patience`.
    Stopped = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended, in a sentence, and the code to end with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What, where, and what to do.
    pub(crate) text: String,
}

impl Failure {
    /// Bad flags or configuration.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, text: text.into() }
    }

    /// What was begun could not be done.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, text: text.into() }
    }

    /// A file that was named can't be read.
    fn unreadable(path: &Path, error: &io::Error) -> Self {
        let path = terminal::path(path);
        Self::usage(match error.kind() {
            io::ErrorKind::WouldBlock => {
                format!("{path} is being sent by another process, which saves its progress beside the file")
            }
            io::ErrorKind::IsADirectory => format!("{path} is a folder: name a file"),
            _ => format!("{path} can't be read: {error}"),
        })
    }

    /// Progress in a file can't be saved beside it.
    fn unkept(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::unreadable(path, error),
            _ => Self::usage(format!("progress can't be saved in {}: {error}", terminal::path(path))),
        }
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

const VERSION: &str = concat!("sluicegate ", env!("CARGO_PKG_VERSION"), "\n");

/// Runs a command, and logs why it failed.
fn ended(command: impl FnOnce() -> Result<Exit, Failure>) -> Exit {
    match catch_unwind(AssertUnwindSafe(command)) {
        Ok(Ok(exit)) => exit,
        Ok(Err(Failure { exit, text })) => {
            log::say(::log::Level::Error, &text);
            exit
        }
        // The panic hook has logged it.
        Err(_) => Exit::Failed,
    }
}

fn obey(arguments: Vec<OsString>, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Exit, Failure> {
    match config::read(arguments, environment)? {
        Invocation::ShortHelp(command) => print(&help::short(command)),
        Invocation::Help(command) => print(&help::long(command)),
        Invocation::Nothing => {
            // A stderr that can't be written takes no help either.
            let _ = std::io::stderr().write_all(help::short(None).as_bytes());
            return Ok(Exit::Usage);
        }
        Invocation::Version => print(VERSION),
        Invocation::Command(command, options) => {
            log::set_json(options.log_format == LogFormat::Json);
            execute(Plan::new(command, &options)?)?;
        }
    }
    Ok(Exit::Done)
}

fn execute(plan: Plan) -> Result<(), Failure> {
    match plan {
        Plan::Run(plan) => commands::run::run(*plan)?,
        Plan::Send(plan) => commands::send::run(*plan)?,
        Plan::Check(plan) => commands::check::run(*plan)?,
        Plan::Replay(plan) => commands::replay::run(*plan)?,
        Plan::Tail(plan) => commands::tail::run(*plan)?,
        Plan::Receive(plan) => commands::receive::run(*plan)?,
        Plan::Demo(plan) => commands::demo::run(&plan)?,
        #[cfg(feature = "sandbox")]
        Plan::Sandbox(plan) => commands::sandbox::run(plan)?,
        Plan::Help(command) => print(&help::long(command)),
        Plan::Version => print(VERSION),
        Plan::Completions(shell) => print(&shell.script()),
        Plan::Man => print(&man::page()),
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
        assert_eq!(ended(|| Ok(Exit::Done)), Exit::Done);
        assert_eq!(ended(|| Err(Failure::usage("a test's last words"))), Exit::Usage);
        assert_eq!(ended(|| panic!("a test's panic")), Exit::Failed);
    }
}
