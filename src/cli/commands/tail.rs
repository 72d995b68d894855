//! `tail`: dead letters for people, one a line; or for programs, as they would stand in a file.

use super::letters::{each, file_source, line, warn};
use crate::cli::Failure;
use crate::cli::plan::{LettersFrom, TailPlan};
use crate::relay::dead_letter::file_source::ReadOptions;
use crate::relay::dead_letter::headers::restore;
use crate::relay::dead_letter::replay_progress::ReplayEntries;
use crate::relay::dead_letter::{DeadLetter, line as json_line};
use crate::relay::source::Polled;
use crate::text::terminal;
use std::io::{self, Write};
use std::ops::ControlFlow;

/// Shows the letters that are wanted.
pub(crate) fn run(plan: TailPlan) -> Result<(), Failure> {
    let TailPlan { from, selection, json } = plan;
    let mut source = match from {
        LettersFrom::File(path) => {
            let reading = ReadOptions { skips_strangers: true, one_by_one: false };
            file_source(&path, &ReplayEntries::default(), None, reading)?
        }
        LettersFrom::Topic(topic) => topic.source.look_into()?,
    };
    let mut written = Ok(());
    each(source.as_mut(), |polled| {
        match polled {
            Polled::Notice(notice) => warn(&notice.text),
            Polled::Records(records) => {
                for record in &records {
                    match restore(record) {
                        Ok(letter) if selection.wants(&letter) => {
                            written = write(&letter, json);
                            if written.is_err() {
                                return ControlFlow::Break(());
                            }
                        }
                        Ok(_) => {}
                        Err(error) => {
                            warn(&format!("{} offset {}: {error}", record.partition(), record.offset()));
                        }
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    match written {
        // A reader that has gone (`| head`) is no fault of ours.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("standard output can't be written: {error}")))
        }
        _ => Ok(()),
    }
}

fn write(letter: &DeadLetter, json: bool) -> io::Result<()> {
    let mut text = String::new();
    if json {
        json_line::write(&mut text, letter);
        // The same values, and nothing that a terminal would act on.
        text = terminal::json(&text);
    } else {
        text = line(letter);
        text.push('\n');
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
