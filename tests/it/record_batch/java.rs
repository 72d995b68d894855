//! Java reads what is written here: Kafka's own `DumpLogSegments`, given a segment of our batches.

use crate::record_batch::Owned;
use crate::support::output::output;
use sluicegate::kafka::record_batch::{BatchWriter, Compression, Control, ProducerState, place};
use std::path::Path;
use std::process::Command;

/// A segment with a batch in each compression and a marker at its end, and the values in it.
fn written() -> (Vec<u8>, Vec<String>) {
    let (mut segment, mut values, mut base) = (Vec::new(), Vec::new(), 0);
    let state = |base_sequence| ProducerState { id: 7, epoch: 1, base_sequence };
    for compression in Compression::ALL {
        let mut writer = BatchWriter::new(compression).producer(state(base as i32)).transactional();
        for i in 0..200 {
            let value = format!("{compression} {i} {}", "and again ".repeat(i));
            let mut record = Owned::value(0, 1_700_000_000_000 + i as i64, value.as_bytes());
            record.key = (i % 3 > 0).then(|| b"key".to_vec());
            record.headers = vec![(b"a".to_vec(), Some(b"1".to_vec())), (b"a".to_vec(), None)];
            record.push_to(&mut writer);
            values.push(value);
        }
        let mut batch = writer.finish().unwrap();
        place(&mut batch, base, 3);
        base += 200;
        segment.extend(batch);
    }
    let mut marker = BatchWriter::marker(Control::Commit, state(-1), 1_700_000_000_000);
    place(&mut marker, base, 3);
    segment.extend(marker);
    (segment, values)
}

#[test]
fn java_reads_every_compression() {
    let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kafka/4.3.1");
    if !jars.join(".complete").exists() {
        assert!(std::env::var_os("CI").is_none(), "no Kafka in {jars:?}: run ./tests/run");
        eprintln!("SKIPPED: no Kafka below target/: run ./tests/run");
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("segments-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("00000000000000000000.log");
    let (segment, values) = written();
    std::fs::write(&file, segment).unwrap();
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-cp", &format!("{}/*", jars.display())]);
    java.args(["org.apache.kafka.tools.DumpLogSegments", "--deep-iteration", "--print-data-log", "--files"]);
    let output = output(java.arg(&file));
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let batches: Vec<_> = said.lines().filter(|line| line.starts_with("baseOffset")).collect();
    assert_eq!(batches.len(), Compression::ALL.len() + 1, "{said}");
    for (batch, compression) in batches.iter().zip(Compression::ALL) {
        for part in [
            "count: 200 ",
            "isvalid: true",
            "producerId: 7 producerEpoch: 1 ",
            "partitionLeaderEpoch: 3 ",
            &format!("compresscodec: {compression} "),
        ] {
            assert!(batch.contains(part), "{part} is not in {batch}");
        }
    }
    assert!(said.contains("endTxnMarker: COMMIT"), "{said}");
    let payloads: Vec<_> = said.lines().filter_map(|line| line.split_once(" payload: ")).collect();
    assert_eq!(payloads.iter().map(|(_, value)| *value).collect::<Vec<_>>(), values);
    for (i, (head, _)) in payloads.iter().enumerate() {
        assert!(head.contains(&format!("offset: {i} ")) && head.contains("headerKeys: [a,a]"), "{head}");
    }
}
