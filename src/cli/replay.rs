//! `replay`: dead letters through the gate again, each as the record it was, with the same id.

use super::letters::{self, LettersIn, unreadable};
use super::options::Options;
use super::run::{Gate, transport};
use super::{Failure, print, source, tail};
use crate::relay::dead_letter::headers::restore;
use crate::relay::dead_letter::replay::Letters;
use crate::relay::dead_letter::replayed::{Replayed, Resume};
use crate::relay::progress::{Admitted, Progress};
use crate::relay::record::Partition;
use crate::relay::source::{Assigned, Polled, Source};
use crate::webhook::request::webhook_id;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

/// Sends the letters that are wanted and were not sent before, until the end of what is there now.
pub fn run(options: &Options) -> Result<(), Failure> {
    let mut options = options.clone();
    options.settings.filter.want_letters(options.letters.clone());
    match LettersIn::parse(options.operand.as_ref())? {
        LettersIn::File(path) if options.dry_run => {
            let resume = Replayed::look(&path, &options.letters.to_string());
            let resume = resume.map_err(|error| unreadable(&path, &error))?;
            show(letters::file_source(&path, None, resume)?, &options)
        }
        LettersIn::File(path) => file(&path, &options),
        LettersIn::Topic(topic) => {
            let options = letters::reading(&options, &topic, group(&topic, &options));
            if options.dry_run { show(letters::look_into(&options)?, &options) } else { send(&options) }
        }
    }
}

fn file(path: &Path, options: &Options) -> Result<(), Failure> {
    let gate = Gate::open(options, Vec::new())?;
    let selection = options.letters.to_string();
    let (replayed, mut resume) = Replayed::open(path, selection).map_err(|error| unreadable(path, &error))?;
    gate.announce(&path.display().to_string(), "each as the record it was");
    tell(&mut resume);
    let source = letters::file_source(path, Some(replayed), resume)?;
    gate.deliver_again(&mut Letters::new(source, &options.letters))
}

/// Says where it goes on.
pub(super) fn tell(resume: &mut Resume) {
    if let Some(notice) = resume.notice.take() {
        ::log::warn!(target: "sluicegate", "{notice}");
    }
}

/// The group in which the progress of a topic is kept: one for each selection, so that what one left out is still
/// there for another.
fn group(topic: &str, options: &Options) -> String {
    match options.letters.to_string() {
        all if all.is_empty() => format!("sluicegate-replay-{topic}"),
        some => format!("sluicegate-replay-{topic}-{some}"),
    }
}

fn send(options: &Options) -> Result<(), Failure> {
    let prepared = source::prepare(options)?;
    let gate = Gate::open(options, prepared.warnings.clone())?;
    let how = format!("each as the record it was, as group {}", prepared.group);
    gate.announce(&format!("topic {}", options.topics.join(",")), &how);
    gate.deliver_again(&mut Letters::new(prepared.open()?, &options.letters))
}

/// `--dry-run`
fn show(source: Box<dyn Source>, options: &Options) -> Result<(), Failure> {
    // Flags that make no sense are told as if it were done.
    let (destination, ..) = transport(options)?;
    let filter = &options.settings.filter;
    let mut source = Letters::new(source, &options.letters);
    let mut progress: HashMap<Partition, Progress> = HashMap::new();
    let (mut wanted, mut left_out) = (0_u64, 0_u64);
    letters::each(&mut source, |polled| {
        match polled {
            Polled::Assigned(assigned) => {
                progress.extend(assigned.into_iter().map(|Assigned { checkpoint, .. }| {
                    let place = checkpoint.position;
                    (place.partition, Progress::new(place.next, &checkpoint.metadata))
                }))
            }
            Polled::Records(records) => {
                for record in &records {
                    let of_it = progress.get_mut(record.partition());
                    let admitted = of_it.map_or(Admitted::Open, |progress| {
                        let admitted = progress.admit(record.offset());
                        progress.done(record.offset());
                        admitted
                    });
                    match restore(record) {
                        Ok(letter) if admitted == Admitted::Open && filter.passes(record) => {
                            wanted += 1;
                            let id = webhook_id(&letter.record);
                            print(&format!("would send {id}: {}\n", tail::line(&letter)));
                        }
                        _ if admitted == Admitted::Open => left_out += 1,
                        _ => {}
                    }
                }
            }
            Polled::Notice(notice) => tail::warn(&notice.text),
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    print(&format!("{wanted} would be sent to {destination}, {left_out} are left out\n"));
    Ok(())
}
