//! Records that the filter leaves out: never sent, yet done and counted.

use crate::relay::double::{FnTransport, Letters, ListSource, Told, partition, status};
use sluicegate::record::{Offset, Record};
use sluicegate::relay::Relay;
use sluicegate::relay::settings::{Intake, RelaySettings};
use sluicegate::relay::stop::Stop;

/// Delivers `values`, tombstones left out; what was sent, how many were filtered, and what is committed.
fn deliver(intake: Intake, values: &[Option<&[u8]>]) -> (Vec<i64>, u64, Option<i64>) {
    let mut settings = RelaySettings { intake, ..RelaySettings::default() };
    settings.filter.skip_tombstones(true);
    let mut source = ListSource::of(0);
    let record = |(offset, value): (i64, &Option<&[u8]>)| {
        Record::new(partition(0), Offset(offset), 0, Some(b"k"), *value)
    };
    source.records = (0..).zip(values).map(record).collect();
    let transport = FnTransport::new(|_, _| status(200));
    let relay = Relay {
        settings,
        source: &mut source,
        transport: &transport,
        dead_letters: Box::new(Letters::default()),
        observer: &Told::default(),
        stop: &Stop::new(),
    };
    let totals = relay.run().unwrap();
    assert_eq!(totals.delivered + totals.filtered, values.len() as u64);
    let mut sent = transport.sent();
    sent.sort_unstable();
    (sent, totals.filtered, source.committed.of(0))
}

#[test]
fn what_is_filtered_is_not_sent_and_is_committed() {
    for intake in [Intake::Batch, Intake::Sliding] {
        let v = Some(&b"v"[..]);
        assert_eq!(deliver(intake, &[v, None, v, None, None]), (vec![0, 2], 3, Some(5)), "{intake:?}");
        assert_eq!(deliver(intake, &[None; 3_000]), (vec![], 3_000, Some(3_000)), "{intake:?}");
    }
}
