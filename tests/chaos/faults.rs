//! What goes wrong, and how each of it ends. At most one thing is wrong with the brokers at a time, so that two of
//! three stay (but in an unclean election, which takes two); members, topics and partitions come and go meanwhile.

use crate::side::{self, Place};
use crate::{BROKERS, Chaos, GROUP, MOST_MEMBERS, PARTITIONS, SESSION, TOPIC};
use std::time::{Duration, Instant};

/// An action that a schedule is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    KillBroker,
    HangBroker,
    ElectUncleanly,
    MoveLeader,
    KillMember,
    DrainMember,
    FreezeMember,
    Join,
    MakeAnew,
    AddPartition,
}

/// What comes first, in any order: each once. Those whose effects take longest to show begin.
pub const ONCE: [&[Card]; 2] = [
    &[Card::AddPartition, Card::MakeAnew],
    &[
        Card::KillBroker,
        Card::HangBroker,
        Card::ElectUncleanly,
        Card::MoveLeader,
        Card::KillMember,
        Card::DrainMember,
        Card::FreezeMember,
    ],
];
/// What is drawn from after that, with how often each is likely.
pub const DECK: [(Card, usize); 10] = [
    (Card::KillBroker, 3),
    (Card::HangBroker, 3),
    (Card::ElectUncleanly, 2),
    (Card::MoveLeader, 2),
    (Card::KillMember, 2),
    (Card::DrainMember, 1),
    (Card::FreezeMember, 1),
    (Card::Join, 4),
    (Card::MakeAnew, 4),
    (Card::AddPartition, 1),
];

/// How often each was done.
#[derive(Debug, Default)]
pub struct Done {
    pub brokers_killed: usize,
    pub brokers_hung: usize,
    pub unclean_elections: usize,
    pub leaders_moved: usize,
    pub members_killed: usize,
    pub members_drained: usize,
    pub members_frozen: usize,
    pub topics_made_anew: usize,
    pub partitions_added: usize,
}

/// What is wrong with the brokers.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// Killed until then.
    Down { node: usize, until: Instant },
    /// Stopped until then.
    Hung { node: usize, until: Instant },
    /// A follower is stopped so that its leader goes on alone; given up at a time.
    Parting { leader: usize, follower: usize, partition: u32, until: Instant },
    /// The leader alone has the newest records, until it is killed.
    Parted { leader: usize, follower: usize, partition: u32, until: Instant },
    /// The leader is dead and the follower, without the newest records, is to lead; given up at a time.
    Electing { leader: usize, follower: usize, partition: u32, until: Instant },
    /// All run again, and copy what they missed.
    Mending,
}

/// How long a follower may take to be found missing, or to be elected.
const ELECTION_PATIENCE: Duration = Duration::from_secs(40);
/// How long a leader writes alone.
const ALONE: Duration = Duration::from_millis(1_500);
/// How many partitions the topic that grows may get.
const MOST_PARTITIONS: u32 = 12;
/// The time between two looks at the cluster's partitions.
const LOOK: Duration = Duration::from_millis(400);
/// A member that names its topics ends if one of them is missing when it starts.
const STARTED: Duration = Duration::from_secs(6);

impl Chaos<'_> {
    /// Whether a fault goes on; that brokers copy what they missed is none.
    pub fn is_disturbed(&self) -> bool {
        let mending = matches!(self.trouble, None | Some(Trouble::Mending));
        !mending || self.frozen.is_some() || self.missing.is_some()
    }

    /// Does what a card says; `false` if that can't be done now.
    pub fn play(&mut self, card: Card, now: Instant) -> bool {
        let there = self.there();
        let brokers_are_well = self.trouble.is_none() && self.missing.is_none();
        let is_hung = !matches!(self.trouble, None | Some(Trouble::Down { .. }));
        match card {
            Card::KillBroker if brokers_are_well => self.kill_broker(now),
            Card::HangBroker if brokers_are_well => self.hang_broker(now),
            Card::ElectUncleanly if brokers_are_well && self.part(now) => {}
            Card::MoveLeader if brokers_are_well => self.move_leader(),
            Card::KillMember if there.len() > 1 => {
                let member = self.dice.one(&there);
                self.tell(format!("kill member {member}"));
                self.members[member].kill();
                self.done.members_killed += 1;
            }
            Card::DrainMember if there.len() > 1 => {
                let member = self.dice.one(&there);
                self.tell(format!("drain member {member}"));
                self.members[member].leave();
                self.done.members_drained += 1;
            }
            Card::FreezeMember if self.frozen.is_none() && there.len() > 1 => {
                let member = self.dice.one(&there);
                self.tell(format!("freeze member {member}"));
                self.members[member].freeze();
                self.frozen = Some((member, now + SESSION + Duration::from_secs(4)));
                self.done.members_frozen += 1;
            }
            Card::Join if there.len() < MOST_MEMBERS && self.missing.is_none() => self.join(),
            Card::Join => return there.len() >= MOST_MEMBERS,
            Card::MakeAnew if !is_hung && self.missing.is_none() && self.named + STARTED < now => {
                self.delete(now);
            }
            Card::AddPartition if !is_hung => self.add_partition(),
            _ => return false,
        }
        self.progress.disturbed(Instant::now());
        true
    }

    fn kill_broker(&mut self, now: Instant) {
        let node = 1 + self.dice.below(BROKERS);
        let down = Duration::from_millis(500 + self.dice.below(4_000) as u64);
        self.tell(format!("kill broker {node}"));
        self.cluster.kill(node);
        self.trouble = Some(Trouble::Down { node, until: now + down });
        self.done.brokers_killed += 1;
    }

    /// Hangs the group's coordinator, or any broker: each leads some partitions.
    fn hang_broker(&mut self, now: Instant) {
        let coordinator = (self.dice.below(2) == 0).then(|| self.admin.coordinator(GROUP).ok()).flatten();
        let node = coordinator.unwrap_or_else(|| 1 + self.dice.below(BROKERS));
        let longest = if self.is_short { 6_000 } else { 17_000 };
        let time = Duration::from_millis(3_000 + self.dice.below(longest) as u64);
        let who = if coordinator.is_some() { "coordinator" } else { "broker" };
        self.tell(format!("hang {who} {node} for {time:?}"));
        self.cluster.signal(node, "STOP");
        self.trouble = Some(Trouble::Hung { node, until: now + time });
        self.done.brokers_hung += 1;
    }

    fn move_leader(&mut self) {
        let (partition, node) = (self.dice.below(PARTITIONS as usize), 1 + self.dice.below(BROKERS));
        self.tell(format!("move the leader of {TOPIC}-{partition} to {node}"));
        let moved = self.admin.lead(TOPIC, partition as u32, node);
        self.done.leaders_moved += usize::from(moved.is_ok());
    }

    /// Begins an unclean election.
    fn part(&mut self, now: Instant) -> bool {
        let name = self.cut.name;
        let partition = self.dice.below(self.cut.partitions as usize) as u32;
        let Some(place) = self.place(name, partition) else { return false };
        let Some(follower) = place.replicas.iter().find(|node| **node != place.leader) else { return false };
        let (Ok(leader), Ok(follower)) = (usize::try_from(place.leader), usize::try_from(*follower)) else {
            return false;
        };
        self.tell(format!("{name}-{partition}: leader {leader} alone, follower {follower} hangs"));
        self.cluster.signal(follower, "STOP");
        let until = now + ELECTION_PATIENCE;
        self.trouble = Some(Trouble::Parting { leader, follower, partition, until });
        true
    }

    fn delete(&mut self, now: Instant) {
        let flushed = self.trouble.is_none() && self.dice.below(2) == 0;
        self.tell(format!("delete {} of life {}, flushed: {flushed}", self.anew.name, self.anew.life));
        if flushed {
            self.writer.flush(&self.anew);
        }
        self.writer.give_up(&self.anew);
        self.anew.there = false;
        let command = format!("delete {}", self.anew.name);
        self.insist(&command, "UnknownTopicOrPartition");
        let gap = Duration::from_millis([0, 300, 1_000, 3_000][self.dice.below(4)]);
        self.missing = Some(now + gap);
        self.progress.forget(self.anew.index);
    }

    fn create_anew(&mut self) {
        let partitions = 1 + self.dice.below(4) as u32;
        let Self { anew, .. } = self;
        let command =
            format!("create {} {partitions} {} {}", anew.name, anew.replicas, anew.config.join(" "));
        self.insist(&command, "TopicExists");
        self.anew.begin(partitions);
        self.missing = None;
        self.tell(format!(
            "created {} with {partitions} partitions: life {}",
            self.anew.name, self.anew.life
        ));
        self.done.topics_made_anew += 1;
    }

    fn add_partition(&mut self) {
        let partitions = self.grown.partitions + 1;
        if partitions > MOST_PARTITIONS {
            return;
        }
        let command = format!("grow {} {partitions}", self.grown.name);
        self.insist(&command, "already has");
        self.tell(format!("{} has {partitions} partitions", self.grown.name));
        self.grown.partitions = partitions;
        self.done.partitions_added += 1;
    }

    /// Says a command until it is done, or was done already.
    fn insist(&mut self, command: &str, already: &str) {
        let deadline = Instant::now() + crate::PATIENCE;
        while let Err(error) = self.admin.ask(command) {
            if error.contains(already) {
                return;
            }
            self.tell(format!("{command}: {error}"));
            assert!(Instant::now() < deadline, "{command}: {error}");
            std::thread::sleep(Duration::from_millis(200)); // between two tries
        }
    }

    /// A partition as brokers that run know it.
    fn place(&self, topic: &str, partition: u32) -> Option<Place> {
        let places = side::layout(&self.cluster, &self.answering());
        places.into_iter().find(|place| place.topic == topic && place.partition == partition)
    }

    /// The brokers that answer.
    fn answering(&self) -> Vec<usize> {
        let away = match self.trouble {
            Some(Trouble::Down { node, .. } | Trouble::Hung { node, .. }) => Some(node),
            Some(Trouble::Parting { follower, .. } | Trouble::Parted { follower, .. }) => Some(follower),
            Some(Trouble::Electing { leader, .. }) => Some(leader),
            Some(Trouble::Mending) | None => None,
        };
        (1..=BROKERS).filter(|node| Some(*node) != away).collect()
    }

    /// Ends what has lasted for long enough.
    pub fn recover(&mut self, now: Instant) {
        if let Some((member, until)) = self.frozen
            && until <= now
        {
            self.tell(format!("member {member} goes on"));
            self.members[member].signal("CONT");
            self.frozen = None;
        }
        if self.missing.is_some_and(|until| until <= now) {
            self.create_anew();
        }
        if let Some(trouble) = self.trouble.clone() {
            self.trouble = self.mend(trouble, now);
        }
    }

    /// What becomes of a trouble.
    fn mend(&mut self, trouble: Trouble, now: Instant) -> Option<Trouble> {
        match trouble {
            Trouble::Down { node, until } if until <= now => {
                self.tell(format!("start broker {node}"));
                self.cluster.boot(node);
                Some(Trouble::Mending)
            }
            Trouble::Hung { node, until } if until <= now => {
                self.tell(format!("broker {node} goes on"));
                self.cluster.signal(node, "CONT");
                Some(Trouble::Mending)
            }
            Trouble::Parted { leader, follower, partition, until } if until <= now => {
                self.tell(format!("kill leader {leader}, follower {follower} goes on"));
                self.cluster.kill(leader);
                self.cluster.signal(follower, "CONT");
                Some(Trouble::Electing { leader, follower, partition, until: now + ELECTION_PATIENCE })
            }
            Trouble::Parting { .. } | Trouble::Electing { .. } | Trouble::Mending
                if self.is_time_to_look(now) =>
            {
                self.look(trouble, now)
            }
            other => Some(other),
        }
    }

    fn is_time_to_look(&mut self, now: Instant) -> bool {
        let is_time = self.looked + LOOK <= now;
        if is_time {
            self.looked = now;
        }
        is_time
    }

    /// What becomes of a trouble that the brokers have to be asked about.
    fn look(&mut self, trouble: Trouble, now: Instant) -> Option<Trouble> {
        let name = self.cut.name;
        match trouble {
            Trouble::Parting { leader, follower, partition, until } => {
                let alone = self.place(name, partition).is_some_and(|place| place.in_sync == [leader as i32]);
                if alone {
                    Some(Trouble::Parted { leader, follower, partition, until: now + ALONE })
                } else if until <= now {
                    self.tell("no parting".into());
                    self.cluster.signal(follower, "CONT");
                    Some(Trouble::Mending)
                } else {
                    Some(trouble)
                }
            }
            Trouble::Electing { leader, follower, partition, until } => {
                let elected =
                    self.place(name, partition).is_some_and(|place| place.leader == follower as i32);
                if !elected && now < until {
                    return Some(trouble);
                }
                self.tell(format!("{name}-{partition}: follower {follower} elected: {elected}"));
                self.done.unclean_elections += usize::from(elected);
                self.drop_cut_off();
                let down = Duration::from_millis(500 + self.dice.below(3_000) as u64);
                Some(Trouble::Down { node: leader, until: now + down })
            }
            other => {
                if (1..=BROKERS).all(|node| self.is_well_at(node)) {
                    self.tell("all in sync".into());
                    self.drop_cut_off();
                    return None;
                }
                Some(other)
            }
        }
    }

    /// Whether a broker answers, and knows of no partition without a leader or with a replica that is out of sync. Each
    /// is asked: until a dead one's session ends, the others believe that all is well.
    fn is_well_at(&self, node: usize) -> bool {
        let places = side::layout(&self.cluster, &[node]);
        let is_well = |place: &Place| place.leader > 0 && place.in_sync.len() == place.replicas.len();
        let mut names = [TOPIC, self.cut.name, self.grown.name].into_iter();
        names.all(|name| places.iter().any(|place| place.topic == name)) && places.iter().all(is_well)
    }

    /// What an election cut off can't be asked for: only what is in the log can.
    pub fn drop_cut_off(&mut self) {
        let log = side::log_of(&self.brokers(), self.cut.name);
        let kept: std::collections::HashSet<u64> = log.iter().map(|record| record.0).collect();
        for partition in 0..self.cut.partitions {
            self.progress.retain((self.cut.index, partition), |number| kept.contains(&number));
        }
    }
}
