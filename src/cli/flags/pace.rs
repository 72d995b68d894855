//! The flags of the limits: how much at once, how often, in what order.

use super::{BASE, DELIVERING_DEMO, Flag, Group, choose};
use crate::cli::values;
use crate::relay::settings::{Intake, Order};

/// Where they stand.
const PACE: Flag = Flag { group: Group::Pace, ..BASE };

/// Their part of the table.
pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "max-concurrency",
        value: Some("N|auto[:MIN..MAX]"),
        default: "8",
        commands: DELIVERING_DEMO,
        doc: "At most N requests in flight",
        more: "auto adapts the number to the webhook, within 1..64 or MIN..MAX. demo: 2, then 16.",
        basic: true,
        set: |o, v| {
            o.settings.auto_concurrency = values::auto_bounds(v)?;
            let most =
                o.settings.auto_concurrency.map_or_else(|| values::count(v), |bounds| Ok(bounds.max()));
            most.map(|n| o.max_concurrency = Some(n))
        },
        ..PACE
    },
    Flag {
        long: "batch-size",
        value: Some("N"),
        default: "500",
        doc: "At most N records in a batch",
        more: "The next batch begins once each record is done or waits for its retry.",
        set: |o, v| values::count(v).map(|n| o.settings.batch_size = n),
        ..PACE
    },
    Flag {
        long: "window",
        value: Some("batch|sliding"),
        default: "batch",
        doc: "When to take in new records",
        more: "batch: once the previous batch is finished; sliding: as soon as there is room, so that a \
               slow request holds back no other.",
        set: |o, v| {
            choose(v, &[("batch", Intake::Batch), ("sliding", Intake::Sliding)])
                .map(|i| o.settings.intake = i)
        },
        ..PACE
    },
    Flag {
        long: "window-size",
        value: Some("N"),
        default: "1000",
        doc: "How far a partition may be ahead of its oldest unfinished record",
        more: "Counted in records, for both kinds of window.",
        set: |o, v| values::count(v).map(|n| o.window_size = Some(n)),
        ..PACE
    },
    Flag {
        long: "batch-interval",
        value: Some("DUR"),
        default: "0ms",
        commands: DELIVERING_DEMO,
        doc: "Pause between two batches",
        more: "demo: 50ms.",
        set: |o, v| values::duration(v).map(|d| o.batch_interval = Some(d)),
        ..PACE
    },
    Flag {
        long: "order",
        value: Some("none|key|partition"),
        default: "none",
        doc: "Send a record only after the one before it is done",
        more: "key: of the same key; partition: of the same partition.",
        basic: true,
        set: |o, v| {
            let orders = [("none", Order::None), ("key", Order::Key), ("partition", Order::Partition)];
            choose(v, &orders).map(|order| o.settings.order = order)
        },
        ..PACE
    },
    Flag {
        long: "max-rate",
        value: Some("N/s"),
        doc: "At most this many attempts, retries included",
        more: "100/s, 600/m or 1000/h. A burst is at most what 100ms allow.",
        basic: true,
        set: |o, v| values::rate(v).map(|rate| o.settings.max_rate = Some(rate)),
        ..PACE
    },
    Flag {
        long: "retry-budget",
        value: Some("PERCENT"),
        doc: "Largest percentage of attempts that may be retries",
        more: "Measured over 10s; one retry a second is always allowed.",
        set: |o, v| values::percent(v).map(|share| o.settings.retry_budget = Some(share)),
        ..PACE
    },
];
