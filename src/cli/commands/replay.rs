//! `replay`: dead letters to the webhook again, each as the record it was, with the same id.

use super::letters::{each, file_source, line, warn};
use crate::cli::plan::{LettersFrom, ReplayPlan};
use crate::cli::{Failure, print};
use crate::observe::log::warning;
use crate::record::Partition;
use crate::relay::dead_letter::file_source::ReadOptions;
use crate::relay::dead_letter::filter::DeadLetterFilter;
use crate::relay::dead_letter::headers::restore;
use crate::relay::dead_letter::replay::ReplaySource;
use crate::relay::dead_letter::replay_progress::{ReplayProgress, path_beside};
use crate::relay::dead_letter::rotation::{base, rotated};
use crate::relay::filter::Filter;
use crate::relay::line_source::deferred_error::DeferredError;
use crate::relay::partition_progress::{Admitted, PartitionProgress};
use crate::relay::settings::Order;
use crate::relay::source::{Assigned, Polled, Source};
use crate::text::terminal;
use crate::webhook::destination::Destination;
use crate::webhook::request::webhook_id;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

/// Sends the selected letters that were not sent before, up to the current end.
pub(crate) fn run(plan: ReplayPlan) -> Result<(), Failure> {
    let ReplayPlan { from, selection, dry_run, delivery } = plan;
    let reading = ReadOptions {
        skips_strangers: !selection.is_all(),
        one_by_one: delivery.settings.order == Order::Partition,
    };
    if dry_run {
        let source = match from {
            LettersFrom::File(path) => look_at_file(&path, &selection, reading)?,
            LettersFrom::Topic(topic) => topic.source.look_into()?,
        };
        return show(source, &selection, &delivery.settings.filter, &delivery.destination);
    }
    match from {
        LettersFrom::File(path) => {
            check_there(&path)?;
            let delivery = delivery.open(&[])?;
            let kept = path_beside(&base(&path));
            let opened = ReplayProgress::open(kept.clone(), selection.to_string());
            let (replayed, notice) = opened.map_err(|error| Failure::unkept(&kept, &error))?;
            delivery.announce(&format!("dead letters of {}", terminal::path(&path)));
            notice.iter().for_each(|notice| warning(notice));
            let entries = replayed.entries().clone();
            let source = file_source(&path, &entries, Some(replayed), reading)?;
            delivery.deliver_again(&mut DeferredError::new(ReplaySource::new(source, &selection)))
        }
        LettersFrom::Topic(topic) => {
            let delivery = delivery.open(topic.source.warnings())?;
            let group = topic.source.group();
            delivery.announce(&format!("dead letters of topic {} as group {group}", topic.name));
            delivery
                .deliver_again(&mut DeferredError::new(ReplaySource::new(topic.source.open()?, &selection)))
        }
    }
}

/// Nothing is made beside a file that is not there.
fn check_there(path: &Path) -> Result<(), Failure> {
    std::fs::metadata(path).map(drop).or_else(|error| match rotated(path) {
        Ok(some) if !some.is_empty() => Ok(()),
        _ => Err(Failure::unreadable(path, &error)),
    })
}

fn look_at_file(
    path: &Path,
    selection: &DeadLetterFilter,
    reading: ReadOptions,
) -> Result<Box<dyn Source>, Failure> {
    let kept = path_beside(&base(path));
    let looked = ReplayProgress::look(&kept, &selection.to_string());
    let (entries, notice) = looked.map_err(|error| Failure::unkept(&kept, &error))?;
    notice.iter().for_each(|notice| warn(notice));
    file_source(path, &entries, None, reading)
}

/// `--dry-run`
fn show(
    source: Box<dyn Source>,
    selection: &DeadLetterFilter,
    filter: &Filter,
    destination: &Destination,
) -> Result<(), Failure> {
    let mut source = ReplaySource::new(source, selection);
    let mut progress: HashMap<Partition, PartitionProgress> = HashMap::new();
    let (mut wanted, mut left_out) = (0_u64, 0_u64);
    each(&mut source, |polled| {
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
                            print(&format!("would send {id}: {}\n", line(&letter)));
                        }
                        _ if admitted == Admitted::Open => left_out += 1,
                        _ => {}
                    }
                }
            }
            Polled::Notice(notice) => warn(&notice.text),
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    print(&format!("{wanted} would be sent to {destination}, {left_out} are left out\n"));
    Ok(())
}
