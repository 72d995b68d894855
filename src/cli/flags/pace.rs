//! The flags of the pace: how much at once, how often, in what order.

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
        doc: "never more requests at once (demo: 2, then 16); auto finds out how many do good, from 1..64 or as given",
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
        doc: "at most N records in a batch; the next begins once each is done or waits for its retry",
        set: |o, v| values::count(v).map(|n| o.settings.batch_size = n),
        ..PACE
    },
    Flag {
        long: "window",
        value: Some("batch|sliding"),
        default: "batch",
        doc: "when records are taken in: a batch at a time, or as soon as there is room, so that a slow request \
              holds back no other",
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
        doc: "how many records a partition may be ahead of its oldest unfinished one",
        set: |o, v| values::count(v).map(|n| o.window_size = Some(n)),
        ..PACE
    },
    Flag {
        long: "batch-interval",
        value: Some("DUR"),
        default: "0ms",
        commands: DELIVERING_DEMO,
        doc: "the pause between two batches (demo: 50ms)",
        set: |o, v| values::duration(v).map(|d| o.batch_interval = Some(d)),
        ..PACE
    },
    Flag {
        long: "order",
        value: Some("none|key|partition"),
        default: "none",
        doc: "send a record only after its predecessor of the same key or partition is done",
        set: |o, v| {
            let orders = [("none", Order::None), ("key", Order::Key), ("partition", Order::Partition)];
            choose(v, &orders).map(|order| o.settings.order = order)
        },
        ..PACE
    },
    Flag {
        long: "max-rate",
        value: Some("N/s"),
        doc: "never more attempts than this, retries included: 100/s, 600/m or 1000/h; at once at most what comes in \
              100ms",
        set: |o, v| values::rate(v).map(|rate| o.settings.max_rate = Some(rate)),
        ..PACE
    },
    Flag {
        long: "retry-budget",
        value: Some("PERCENT"),
        doc: "at most this share of attempts over 10s may be retries, such as 20%; one a second is always free",
        set: |o, v| values::percent(v).map(|share| o.settings.retry_budget = Some(share)),
        ..PACE
    },
];
