//! A Java admin client that stays: topics, leaders, groups and offsets at a line's cost.

use super::eventually;
use super::jvm::program;
use super::program::Program;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The admin client.
#[derive(Debug)]
pub struct Admin(RefCell<Program>);

/// A member of a group as its coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub client: String,
    pub instance: Option<String>,
    /// `topic-0`, sorted.
    pub partitions: Vec<String>,
}

impl Admin {
    /// Connects to these brokers.
    pub fn start(brokers: &str) -> Self {
        let mut java = program("Admin");
        java.arg(brokers);
        let program = Program::start(java);
        program.expect("ready");
        Self(RefCell::new(program))
    }

    /// Says a command; the answer, or what went wrong.
    pub fn ask(&self, command: &str) -> Result<String, String> {
        let mut program = self.0.borrow_mut();
        program.say(command);
        let answer = program.line_within(super::LONG).expect("the admin client answers").text;
        match answer.split_once(' ') {
            Some(("ok", rest)) => Ok(rest.trim().to_owned()),
            _ => Err(answer),
        }
    }

    #[track_caller]
    fn told(&self, command: &str) -> String {
        self.ask(command).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Creates a topic, with `key=value` settings.
    #[track_caller]
    pub fn create(&self, topic: &str, partitions: u32, replication: u32, config: &[&str]) {
        self.told(&format!("create {topic} {partitions} {replication} {}", config.join(" ")));
    }

    /// Deletes a topic and waits until it is gone.
    #[track_caller]
    pub fn delete(&self, topic: &str) {
        self.told(&format!("delete {topic}"));
    }

    /// Raises the number of partitions.
    #[track_caller]
    pub fn grow(&self, topic: &str, partitions: u32) {
        self.told(&format!("grow {topic} {partitions}"));
    }

    /// Deletes the records before an offset.
    #[track_caller]
    pub fn cut(&self, topic: &str, partition: u32, offset: i64) {
        self.told(&format!("cut {topic} {partition} {offset}"));
    }

    /// Changes a topic's setting.
    #[track_caller]
    pub fn set(&self, topic: &str, setting: &str) {
        self.told(&format!("set {topic} {setting}"));
    }

    /// The leader of each partition; -1 for none.
    #[track_caller]
    pub fn leaders(&self, topic: &str) -> BTreeMap<u32, i32> {
        pairs(&self.told(&format!("leaders {topic}")))
    }

    /// How many replicas of each partition are in sync.
    #[track_caller]
    pub fn in_sync(&self, topic: &str) -> BTreeMap<u32, u32> {
        pairs(&self.told(&format!("in-sync {topic}")))
    }

    /// Makes `node` the leader of a partition, if it can be.
    pub fn lead(&self, topic: &str, partition: u32, node: usize) -> Result<String, String> {
        self.ask(&format!("lead {topic} {partition} {node}"))
    }

    /// The brokers that are there.
    #[track_caller]
    pub fn nodes(&self) -> Vec<usize> {
        self.told("nodes").split_whitespace().map(|node| node.parse().unwrap()).collect()
    }

    /// Which broker coordinates a group.
    pub fn coordinator(&self, group: &str) -> Result<usize, String> {
        self.ask(&format!("coordinator {group}")).map(|node| node.parse().unwrap())
    }

    /// A group's state and members.
    pub fn group(&self, group: &str) -> Result<(String, Vec<Member>), String> {
        let text = self.ask(&format!("group {group}"))?;
        let mut words = text.split(' ');
        let state = words.next().unwrap_or_default().to_owned();
        let member = |word: &str| {
            let mut parts = word.split('|').map(str::to_owned);
            let mut part = || parts.next().unwrap_or_default();
            let (id, client, instance) = (part(), part(), part());
            let partitions = part().split(',').filter(|name| !name.is_empty()).map(Into::into).collect();
            Member { id, client, instance: Some(instance).filter(|id| !id.is_empty()), partitions }
        };
        Ok((state, words.filter(|word| !word.is_empty()).map(member).collect()))
    }

    /// What a group has committed, by `topic-0`.
    #[track_caller]
    pub fn committed(&self, group: &str) -> BTreeMap<String, i64> {
        pairs(&self.told(&format!("committed {group}")))
    }

    /// Commits a position for a group without members.
    #[track_caller]
    pub fn commit(&self, group: &str, topic: &str, partition: u32, offset: i64) {
        eventually("the commit", || {
            self.ask(&format!("commit {group} {topic} {partition} {offset}")).is_ok()
        });
    }

    /// Where the partitions begin.
    #[track_caller]
    pub fn starts(&self, topic: &str) -> BTreeMap<u32, i64> {
        pairs(&self.told(&format!("starts {topic}")))
    }

    /// Where the partitions end.
    #[track_caller]
    pub fn ends(&self, topic: &str) -> BTreeMap<u32, i64> {
        pairs(&self.told(&format!("ends {topic}")))
    }
}

fn pairs<K: Ord + std::str::FromStr, V: std::str::FromStr>(text: &str) -> BTreeMap<K, V> {
    let pair = |word: &str| {
        let (key, value) = word.split_once('=')?;
        Some((key.parse().ok()?, value.parse().ok()?))
    };
    text.split_whitespace().map(|word| pair(word).unwrap_or_else(|| panic!("{word} in {text}"))).collect()
}
