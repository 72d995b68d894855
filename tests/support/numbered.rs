//! A Java producer of numbered records that goes on through failures, and what was acknowledged to it.

use super::jvm::program;
use super::program::Program;
use std::collections::BTreeMap;

/// The producer.
#[derive(Debug)]
pub struct Numbered {
    program: Program,
    /// Partition and offset by number.
    pub acked: BTreeMap<u64, (u32, i64)>,
    /// Number and partition of what was acknowledged since somebody took this.
    pub fresh: Vec<(u64, u32)>,
}

impl Numbered {
    /// Starts to write so many records a second, and waits for the first to be acknowledged.
    pub fn start(brokers: &str, topic: &str, partitions: u32, rate: u32) -> Self {
        let mut java = program("Producer");
        java.args([brokers, topic, &partitions.to_string(), &rate.to_string()]);
        let program = Program::start(java);
        let first = program.expect("acked");
        let mut numbered = Self { program, acked: BTreeMap::new(), fresh: Vec::new() };
        numbered.hear(&format!("acked {first}"));
        numbered
    }

    /// Reads what was acknowledged since.
    pub fn listen(&mut self) {
        for line in self.program.said().collect::<Vec<_>>() {
            self.hear(&line.text);
        }
    }

    /// Stops it and waits until all it sent is acknowledged; how many it sent.
    pub fn stop(&mut self) -> u64 {
        self.program.say("stop");
        loop {
            let line = self.program.line_within(super::LONG).expect("the producer ends").text;
            if let Some(sent) = line.strip_prefix("done ") {
                return sent.parse().unwrap();
            }
            self.hear(&line);
        }
    }

    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("acked"), "{line}");
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let (partition, offset, number) = (number() as u32, number() as i64, number());
        self.acked.insert(number, (partition, offset));
        self.fresh.push((number, partition));
    }
}
