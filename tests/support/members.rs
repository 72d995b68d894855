//! Members of a consumer group of three kinds, and the story of who owned which partition when.

use super::binary;
use super::counter::Received;
use super::jvm::program;
use super::program::{Line, Program};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

/// How far the clocks of two pipes may be apart: a line takes its time to be read on a busy machine.
pub const TOLERANCE: Duration = Duration::from_millis(250);

/// Whose client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ours,
    Java,
    Kcat,
}

/// Where and as what members join.
#[derive(Clone, Debug)]
pub struct Membership<'a> {
    pub brokers: &'a str,
    pub group: &'a str,
    pub topic: &'a str,
    pub assignor: &'a str,
}

/// A span in which a member had a partition.
#[derive(Clone, Debug)]
pub struct Owned {
    pub member: usize,
    /// `topic-0`.
    pub partition: String,
    pub from: Instant,
    pub until: Option<Instant>,
}

/// A member and what it said of its partitions and records.
#[derive(Debug)]
pub struct Member {
    pub number: usize,
    pub kind: Kind,
    pub owned: Vec<Owned>,
    /// Numbers of records that it was handed, with partition and time; ours tell the receiver instead.
    pub used: Vec<(u64, String, Instant)>,
    /// What it said that was neither.
    pub said: Vec<String>,
    /// All lines, for whoever looks for a fault.
    pub heard: Vec<Line>,
    program: Program,
    ended: bool,
}

impl Member {
    /// Starts one; `url` is where ours send to.
    pub fn start(kind: Kind, number: usize, to: &Membership<'_>, url: &str, more: &[&str]) -> Self {
        let client = format!("member-{number}");
        let program = match kind {
            Kind::Ours => {
                let mut command = Command::new(binary::path());
                command.args(["run", "--brokers", to.brokers, "--topic", to.topic, "--group", to.group]);
                command.args(["--assignor", to.assignor, "--url", url]).args(more);
                Program::start_with_stderr(command)
            }
            Kind::Java => {
                let mut java = program("Member");
                java.args([to.brokers, to.group, to.topic, to.assignor, "-", &client]);
                Program::start(java)
            }
            Kind::Kcat => {
                let mut kcat = Command::new("kcat");
                kcat.args(["-G", to.group, "-b", to.brokers, "-u", "-f", "record %t-%p %o %s\\n"]);
                for setting in [
                    format!("partition.assignment.strategy={}", to.assignor),
                    format!("client.id={client}"),
                    "auto.offset.reset=earliest".into(),
                    "session.timeout.ms=6000".into(),
                    "heartbeat.interval.ms=500".into(),
                    // It would commit what it has taken but not printed when it is asked to end.
                    "enable.auto.offset.store=false".into(),
                ] {
                    kcat.args(["-X", &setting]);
                }
                kcat.arg(to.topic);
                Program::start_with_stderr(kcat)
            }
        };
        let (owned, used, said, heard) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { number, kind, owned, used, said, heard, program, ended: false }
    }

    /// Reads what it has said since.
    pub fn listen(&mut self) {
        for line in self.program.said().collect::<Vec<_>>() {
            self.hear(line.at, &line.text);
        }
    }

    fn hear(&mut self, at: Instant, line: &str) {
        if self.kind == Kind::Ours {
            self.heard.push(Line { at, text: line.to_owned() });
        }
        let story = match self.kind {
            Kind::Ours => ours(line),
            Kind::Java => java(line),
            Kind::Kcat => kcat(line),
        };
        match story {
            Some(Story::Got(partitions)) => {
                for partition in partitions {
                    self.end(&partition, at);
                    let member = self.number;
                    self.owned.push(Owned { member, partition, from: at, until: None });
                }
            }
            Some(Story::Gone(partitions)) => partitions.iter().for_each(|name| self.end(name, at)),
            Some(Story::Ended) => self.end_all(at),
            Some(Story::Used(number, partition)) => self.used.push((number, partition, at)),
            None => self.said.push(line.to_owned()),
        }
    }

    fn end(&mut self, partition: &str, at: Instant) {
        let open = self.owned.iter_mut().filter(|own| own.partition == partition && own.until.is_none());
        open.for_each(|own| own.until = Some(at));
    }

    fn end_all(&mut self, at: Instant) {
        self.owned.iter_mut().filter(|own| own.until.is_none()).for_each(|own| own.until = Some(at));
    }

    /// Stops it, as a machine that is put to sleep would: what it had counts as free from now on, since nobody is
    /// told before it wakes up.
    pub fn freeze(&mut self) {
        self.listen();
        self.signal("STOP");
        self.end_all(Instant::now());
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([format!("-{name}"), self.program.pid().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Asks it to leave the group, and waits until it has.
    pub fn leave(&mut self) {
        match self.kind {
            Kind::Java => self.program.say("leave"),
            Kind::Ours | Kind::Kcat => self.signal("TERM"),
        }
        // Its pipes close when it ends.
        let deadline = Instant::now() + super::LONG;
        while let Some(line) = self.program.line_within(deadline.saturating_duration_since(Instant::now())) {
            self.hear(line.at, &line.text);
        }
        assert!(Instant::now() < deadline, "member {} does not leave: {:?}", self.number, self.said);
        self.gone();
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        self.program.kill();
        while let Some(line) = self.program.line_within(Duration::from_secs(1)) {
            self.hear(line.at, &line.text);
        }
        self.gone();
    }

    fn gone(&mut self) {
        self.end_all(Instant::now());
        self.ended = true;
    }

    /// Whether it was neither killed nor asked to leave.
    pub fn is_there(&self) -> bool {
        !self.ended
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !self.ended && self.program.has_ended()
    }
}

/// What a line tells.
enum Story {
    Got(Vec<String>),
    Gone(Vec<String>),
    Used(u64, String),
    Ended,
}

fn words(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn ours(line: &str) -> Option<Story> {
    let text = line.split_once("[sluicegate] ")?.1;
    let bare = |list: &str| words(list.trim_matches(['[', ']']));
    if let Some(list) = text.strip_prefix("assigned ") {
        let positions = bare(list).into_iter();
        return Some(Story::Got(positions.map(|at| at.split('@').next().unwrap().to_owned()).collect()));
    }
    if let Some(list) = text.strip_prefix("giving up [").or_else(|| text.strip_prefix("lost [")) {
        // What follows the list is for people.
        return Some(Story::Gone(bare(list.split(']').next().unwrap_or_default())));
    }
    text.starts_with("ended: ").then_some(Story::Ended)
}

fn java(line: &str) -> Option<Story> {
    let (event, rest) = line.split_once(' ').unwrap_or((line, ""));
    match event {
        "assigned" => Some(Story::Got(words(rest))),
        "revoked" | "lost" => Some(Story::Gone(words(rest))),
        "left" => Some(Story::Ended),
        "record" => used(rest),
        _ => None,
    }
}

fn used(rest: &str) -> Option<Story> {
    let mut parts = rest.split(' ');
    let (partition, _offset, number) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Story::Used(number.parse().ok()?, partition.to_owned()))
}

/// `% Group g rebalanced: incremental assignment of 2 partition(s) (memberid ...): t [0], t [1]`, or in short
/// `% Group g rebalanced (memberid ...): assigned: t [0], t [1]`.
fn kcat(line: &str) -> Option<Story> {
    if let Some(rest) = line.strip_prefix("record ") {
        return used(rest);
    }
    if !line.starts_with("% Group ") {
        return None;
    }
    let (head, list) = line.rsplit_once(": ")?;
    let name = |one: &str| Some(one.trim().strip_suffix(']')?.replacen(" [", "-", 1));
    let partitions: Vec<String> = list.split(',').filter_map(name).collect();
    if head.contains("assignment") || head.ends_with("assigned") {
        return Some(Story::Got(partitions));
    }
    (head.contains("revoke")).then_some(Story::Gone(partitions))
}

/// Pairs of members that had the same partition at the same time.
pub fn owned_twice(members: &[Member]) -> Vec<String> {
    let now = Instant::now();
    let mut spans: BTreeMap<&str, Vec<&Owned>> = BTreeMap::new();
    for own in members.iter().flat_map(|member| &member.owned) {
        spans.entry(&own.partition).or_default().push(own);
    }
    let mut twice = Vec::new();
    for (partition, mut spans) in spans {
        spans.sort_by_key(|own| own.from);
        for (at, one) in spans.iter().enumerate() {
            let end = one.until.unwrap_or(now);
            let later = spans[at + 1..].iter().filter(|other| other.member != one.member);
            for other in later.take_while(|other| other.from + TOLERANCE < end) {
                let by = end.min(other.until.unwrap_or(now)).saturating_duration_since(other.from);
                if by > TOLERANCE {
                    twice.push(format!("{partition}: member {} and {} for {by:?}", one.member, other.member));
                }
            }
        }
    }
    twice
}

/// Records that one of ours sent while another member had their partition.
pub fn sent_by_strangers(members: &[Member], topic: &str, received: &[Received]) -> Vec<String> {
    let mut strangers = Vec::new();
    for record in received {
        let partition = format!("{topic}-{}", record.partition);
        let other = members.iter().flat_map(|member| &member.owned).find(|own| {
            own.member != record.sender
                && own.partition == partition
                && own.from + TOLERANCE < record.began
                && own.until.is_none_or(|until| until > record.began + TOLERANCE)
        });
        if let Some(other) = other {
            strangers.push(format!(
                "{partition}@{} by member {} while {} had it",
                record.offset, record.sender, other.member
            ));
        }
    }
    strangers
}

/// The numbers of all records that were used, and how many of them again.
pub fn used_numbers(members: &[Member], received: &[Received]) -> (BTreeSet<u64>, usize) {
    let theirs = members.iter().flat_map(|member| member.used.iter().map(|(number, ..)| *number));
    let ours = received.iter().filter(|record| record.accepted).map(|record| record.number);
    let (mut numbers, mut again) = (BTreeSet::new(), 0);
    for number in theirs.chain(ours) {
        again += usize::from(!numbers.insert(number));
    }
    (numbers, again)
}
