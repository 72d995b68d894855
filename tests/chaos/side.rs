//! Topics beside the main one: one that grows, one that is deleted and made anew, one that loses records in unclean
//! elections. A record's number says which topic and which life of it it was written to.

use crate::support::cluster::Cluster;
use crate::support::jvm::program;
use crate::support::output::{consumed, output};
use crate::support::program::Program;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

/// Numbers of one topic lie this far from those of the next; the main topic's begin at 0.
const TOPIC_STEP: u64 = 1_000_000_000_000;
/// Numbers of one life of a topic lie this far from those of the next.
const LIFE_STEP: u64 = 100_000_000;
/// Records a second, each of these topics.
const RATE: f64 = 40.0;
/// At most so many records are written between two looks.
const MOST_AT_ONCE: u64 = 200;

/// The index of the topic that a record was written to.
pub fn topic_of(number: u64) -> u64 {
    number / TOPIC_STEP
}

/// The life of its topic that a record was written to.
pub fn life_of(number: u64) -> u64 {
    number % TOPIC_STEP / LIFE_STEP
}

/// A topic and what was written to it.
#[derive(Debug)]
pub struct Side {
    pub name: &'static str,
    pub index: u64,
    pub partitions: u32,
    pub replicas: u32,
    pub config: &'static [&'static str],
    pub life: u64,
    /// Whether it exists.
    pub there: bool,
    written: u64,
    since: Instant,
}

impl Side {
    pub fn new(
        index: u64,
        name: &'static str,
        partitions: u32,
        replicas: u32,
        config: &'static [&'static str],
    ) -> Self {
        let since = Instant::now();
        Self { name, index, partitions, replicas, config, life: 0, there: false, written: 0, since }
    }

    /// It exists from now on; what is written goes into its next life.
    pub fn begin(&mut self, partitions: u32) {
        (self.there, self.partitions, self.written, self.since) = (true, partitions, 0, Instant::now());
        self.life += 1;
    }

    /// Its producer's name.
    fn producer(&self) -> String {
        format!("{}/{}", self.name, self.life)
    }
}

/// The producer of all of them.
#[derive(Debug)]
pub struct Writer {
    program: Program,
    /// Partition and offset of each number that was acknowledged.
    pub acked: BTreeMap<u64, (u32, i64)>,
    /// The numbers of those since somebody took this.
    pub fresh: Vec<(u64, u32)>,
    is_stopped: bool,
}

impl Writer {
    pub fn start(brokers: &str) -> Self {
        let mut java = program("Writer");
        java.arg(brokers);
        let program = Program::start(java);
        program.expect("ready");
        Self { program, acked: BTreeMap::new(), fresh: Vec::new(), is_stopped: false }
    }

    /// Writes what is due.
    pub fn write(&mut self, side: &mut Side, now: Instant) {
        let due = ((now - side.since).as_secs_f64() * RATE) as u64;
        if self.is_stopped || !side.there || due <= side.written {
            return;
        }
        for _ in 0..(due - side.written).min(MOST_AT_ONCE) {
            let number = side.index * TOPIC_STEP + side.life * LIFE_STEP + side.written;
            let partition = side.written % u64::from(side.partitions);
            let (producer, topic) = (side.producer(), side.name);
            self.program.say(&format!("write {producer} {topic} {partition} {number}"));
            side.written += 1;
        }
    }

    pub fn listen(&mut self) {
        while let Some(line) = self.program.line_within(Duration::ZERO) {
            self.hear(&line.text);
        }
    }

    /// Waits until all of this life is acknowledged.
    pub fn flush(&mut self, side: &Side) {
        self.program.say(&format!("flush {}", side.producer()));
        self.until(&format!("flushed {}", side.producer()));
    }

    /// Gives up what is not acknowledged of this life.
    pub fn give_up(&mut self, side: &Side) {
        self.program.say(&format!("drop {}", side.producer()));
        self.until(&format!("dropped {}", side.producer()));
    }

    /// Writes no more, and waits until everything is acknowledged.
    pub fn stop(&mut self) {
        self.is_stopped = true;
        self.program.say("stop");
        self.until("done");
    }

    fn until(&mut self, answer: &str) {
        loop {
            let line = self.program.line_within(crate::support::LONG).expect("the writer answers").text;
            if line == answer {
                return;
            }
            self.hear(&line);
        }
    }

    fn hear(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("acked ") else { return };
        let words: Vec<&str> = rest.split(' ').collect();
        let (partition, offset, number) =
            (words[1].parse().unwrap(), words[2].parse().unwrap(), words[3].parse().unwrap());
        self.acked.insert(number, (partition, offset));
        self.fresh.push((number, partition));
    }
}

/// The records of a topic as its log has them: number, partition, offset.
pub fn log_of(brokers: &str, topic: &str) -> BTreeSet<(u64, u32, i64)> {
    let text = consumed(brokers, topic, &["-f", "%s %p %o\\n"]);
    let records = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    text.lines().filter_map(records).collect()
}

/// A partition as a broker knows it.
#[derive(Clone, Debug)]
pub struct Place {
    pub topic: String,
    pub partition: u32,
    pub leader: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

/// All partitions of all topics, as one of these brokers knows them; none if none answers in time.
pub fn layout(cluster: &Cluster, nodes: &[usize]) -> Vec<Place> {
    let brokers: Vec<String> = nodes.iter().map(|node| cluster.address(*node).to_string()).collect();
    let kcat = output(Command::new("kcat").args(["-L", "-m", "3", "-b", &brokers.join(",")]));
    let (mut places, mut topic) = (Vec::new(), String::new());
    for line in String::from_utf8_lossy(&kcat.stdout).lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("topic \"") {
            topic = rest.split('"').next().unwrap_or_default().to_owned();
        } else if let Some(rest) = line.strip_prefix("partition ") {
            places.extend(place(&topic, rest));
        }
    }
    places
}

/// `0, leader 1, replicas: 1,2,3, isrs: 1,2,3`, and perhaps an error.
fn place(topic: &str, rest: &str) -> Option<Place> {
    let (head, lists) = rest.split_once(", replicas: ")?;
    let (partition, leader) = head.split_once(", leader ")?;
    let (replicas, in_sync) = lists.split_once(", isrs: ")?;
    let nodes = |list: &str| list.split(',').map_while(|node| node.trim().parse().ok()).collect();
    Some(Place {
        topic: topic.to_owned(),
        partition: partition.parse().ok()?,
        leader: leader.parse().ok()?,
        replicas: nodes(replicas),
        in_sync: nodes(in_sync),
    })
}
