//! `replay`: dead letters through the gate again, each as the record it was, with the same id.

use super::letters::{self, LettersIn, unkept, unreadable};
use super::options::Options;
use super::run::{Gate, transport};
use super::{Failure, print, source, tail};
use crate::record::Partition;
use crate::relay::dead_letter::file_source::ReadOptions;
use crate::relay::dead_letter::headers::restore;
use crate::relay::dead_letter::replay::ReplaySource;
use crate::relay::dead_letter::replay_progress::{ReplayProgress, path_beside};
use crate::relay::dead_letter::rotation::{base, rotated};
use crate::relay::line_source::deferred_error::DeferredError;
use crate::relay::partition_progress::{Admitted, PartitionProgress};
use crate::relay::settings::Order;
use crate::relay::source::{Assigned, Polled, Source};
use crate::text::terminal;
use crate::webhook::request::webhook_id;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

/// Sends the letters that are wanted and were not sent before, until the end of what is there now.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut options = options.clone();
    options.settings.filter.want_dead_letters(options.letters.clone());
    match LettersIn::parse(options.operand.as_ref())? {
        LettersIn::File(path) if options.dry_run => {
            let kept = path_beside(&base(&path));
            let looked = ReplayProgress::look(&kept, &options.letters.to_string());
            let (entries, notice) = looked.map_err(|error| unkept(&kept, &error))?;
            notice.iter().for_each(|notice| tail::warn(notice));
            show(letters::file_source(&path, &entries, None, reading(&options))?, &options)
        }
        LettersIn::File(path) => file(&path, &options),
        LettersIn::Topic(topic) => {
            let options = letters::reading(&options, &topic, group(&topic, &options));
            if options.dry_run { show(letters::look_into(&options)?, &options) } else { send(&options) }
        }
    }
}

fn file(path: &Path, options: &Options) -> Result<(), Failure> {
    // Nothing is made beside a file that is not there.
    std::fs::metadata(path).map(drop).or_else(|error| match rotated(path) {
        Ok(some) if !some.is_empty() => Ok(()),
        _ => Err(unreadable(path, &error)),
    })?;
    let gate = Gate::open(options, Vec::new())?;
    let kept = path_beside(&base(path));
    let opened = ReplayProgress::open(kept.clone(), options.letters.to_string());
    let (replayed, notice) = opened.map_err(|error| unkept(&kept, &error))?;
    gate.announce(&terminal::path(path), "each as the record it was");
    tell(notice);
    let entries = replayed.entries().clone();
    let source = letters::file_source(path, &entries, Some(replayed), reading(options))?;
    gate.deliver_again(&mut DeferredError::new(ReplaySource::new(source, &options.letters)))
}

fn reading(options: &Options) -> ReadOptions {
    ReadOptions {
        skips_strangers: !options.letters.is_all(),
        one_by_one: options.settings.order == Order::Partition,
    }
}

/// Says what was found of an earlier run.
pub(super) fn tell(notice: Option<String>) {
    if let Some(notice) = notice {
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
    gate.deliver_again(&mut DeferredError::new(ReplaySource::new(prepared.open()?, &options.letters)))
}

/// `--dry-run`
fn show(source: Box<dyn Source>, options: &Options) -> Result<(), Failure> {
    // Flags that make no sense are told as if it were done.
    let (destination, ..) = transport(options)?;
    let filter = &options.settings.filter;
    let mut source = ReplaySource::new(source, &options.letters);
    let mut progress: HashMap<Partition, PartitionProgress> = HashMap::new();
    let (mut wanted, mut left_out) = (0_u64, 0_u64);
    letters::each(&mut source, |polled| {
        match polled {
            Polled::Assigned(assigned) => {
                progress.extend(assigned.into_iter().map(|Assigned { checkpoint, .. }| {
                    let place = checkpoint.position;
                    (place.partition, PartitionProgress::new(place.next, &checkpoint.metadata))
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
