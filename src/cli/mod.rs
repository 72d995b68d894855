//! What a person meets: commands, flags, help, exit codes. The only room that knows all others.
//!
//! | room | what is in it |
//! |---|---|
//! | `flags` | the one table of flags; parsing, help and environment variables fall out of it |
//! | `options` | what the flags set, typed |
//! | `values` | durations, sizes and the like, read from text |
//! | `config` | the three places a flag may come from, and which one counts |
//! | `command` | the one table of commands |
//! | `help`, `man`, `completions` | what is made from the two tables for people and their shells |
//! | `client` | the HTTP client that the flags ask for |
//! | `advice` | what to do about errors of the Kafka client |
//! | `letters` | dead letters: where they go, where they are read from |
//! | `signals`, `open_files` | what the system asks of a process, and allows it |
//! | `picture`, `svg` | the result of the demo, for a terminal and as a file |
//! | `receiver` | a webhook to try things on, for `demo` and `receive` |
//! | `run`, `check`, `demo`, `receive`, `replay`, `tail`, `send`, `sandbox` | the commands |

#[cfg(feature = "kafka")]
pub mod advice;
mod check;
mod client;
mod command;
mod completions;
mod config;
mod demo;
mod demo_source;
mod flags;
mod help;
mod letters;
mod man;
mod open_files;
mod options;
mod picture;
mod receive;
mod receiver;
mod replay;
mod requests;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;
mod send;
mod signals;
mod source;
mod svg;
mod tail;
mod values;

use crate::observe::log;
use command::Command;
use completions::Shell;
use config::Invocation;
use options::{LogFormat, Options};
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

/// Runs a command, and tells why it failed.
fn ended(command: impl FnOnce() -> Result<Exit, Failure>) -> Exit {
    match catch_unwind(AssertUnwindSafe(command)) {
        Ok(Ok(exit)) => exit,
        Ok(Err(Failure { exit, text })) => {
            log::say(::log::Level::Error, &text);
            exit
        }
        // The log's hook has told it.
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
            run_command(command, &options)?;
        }
    }
    Ok(Exit::Done)
}

fn run_command(command: Command, options: &Options) -> Result<(), Failure> {
    let operand = options.operand.as_ref().map(|operand| operand.to_string_lossy());
    match command {
        Command::Run => run::run(options)?,
        Command::Send => send::run(options)?,
        Command::Check => check::run(options)?,
        Command::Replay => replay::run(options)?,
        Command::Tail => tail::run(options)?,
        Command::Receive => receive::run(options)?,
        Command::Demo => demo::run(options)?,
        #[cfg(feature = "sandbox")]
        Command::Sandbox => sandbox::run(options)?,
        Command::Help => print(&help::long(operand.map(|name| config::command_of(&name)).transpose()?)),
        Command::Version => print(VERSION),
        Command::Completions => {
            let shell = operand.as_deref().and_then(Shell::named);
            let shell = shell.ok_or_else(|| Failure::usage("completions exist for bash, zsh and fish"))?;
            print(&shell.script());
        }
        Command::Man => print(&man::page()),
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
