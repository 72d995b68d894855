//! Random schedules of joins, silent members and leaves: no request waits forever, generations only grow, and only
//! the leader of a generation assigns.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A client's next request.
#[derive(Clone, Debug)]
enum Act {
    Join { client: usize, is_static: bool, comes_back: bool },
    Sync { client: usize },
    Beat { client: usize },
    Leave { client: usize },
    Forget { client: usize },
    Wait { ms: u64 },
    Rebalance,
    Fence,
    Expel,
    Move,
}

fn act() -> impl Strategy<Value = Act> {
    let client = 0..4usize;
    prop_oneof![
        6 => (client.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(client, is_static, comes_back)| Act::Join { client, is_static, comes_back }),
        6 => client.clone().prop_map(|client| Act::Sync { client }),
        3 => client.clone().prop_map(|client| Act::Beat { client }),
        1 => client.clone().prop_map(|client| Act::Leave { client }),
        1 => client.prop_map(|client| Act::Forget { client }),
        3 => (1..2_000u64).prop_map(|ms| Act::Wait { ms }),
        1 => Just(Act::Rebalance),
        1 => Just(Act::Fence),
        1 => Just(Act::Expel),
        1 => Just(Act::Move),
    ]
}

#[derive(Clone, Default)]
struct Client {
    id: String,
    generation: i32,
    leads: bool,
    waits: Option<Token>,
}

struct World {
    group: Group,
    clients: Vec<Client>,
    now: Instant,
    serial: Token,
    /// Pending requests with their clients.
    waiting: BTreeMap<Token, usize>,
}

impl World {
    fn token(&mut self, client: usize) -> Token {
        self.serial += 1;
        self.waiting.insert(self.serial, client);
        self.clients[client].waits = Some(self.serial);
        self.serial
    }

    fn join(&mut self, client: usize, is_static: bool, comes_back: bool) {
        let token = self.token(client);
        let profile = Profile {
            instance: is_static.then(|| format!("static-{client}")),
            client_id: String::new(),
            client_host: String::new(),
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), vec![client as u8])],
            session: Duration::from_secs(3),
            rebalance: Duration::from_secs(5),
        };
        let id = self.clients[client].id.clone();
        let newcomer = Newcomer { id: format!("fresh-{token}"), comes_back };
        self.group.join(token, &id, newcomer, profile, self.now);
    }

    fn sync(&mut self, client: usize) {
        let token = self.token(client);
        let Client { id, generation, leads, .. } = self.clients[client].clone();
        let members: Vec<String> = self.group.members.keys().cloned().collect();
        let given = [generation as u8];
        let assignments: Vec<(&str, &[u8])> =
            members.iter().filter(|_| leads).map(|id| (id.as_str(), &given[..])).collect();
        let stamp = Stamp { generation, member_id: &id, instance: None };
        self.group.sync(token, &stamp, &assignments, self.now);
    }

    fn hear(&mut self) {
        for (token, client) in self.waiting.clone() {
            let Some(reply) = self.group.take_reply(token) else { continue };
            self.waiting.remove(&token);
            let client = &mut self.clients[client];
            if client.waits != Some(token) {
                continue;
            }
            client.waits = None;
            match reply {
                Reply::Joined(joined) => {
                    client.leads = joined.leader == joined.member_id;
                    (client.id, client.generation) = (joined.member_id, joined.generation);
                    assert_eq!(joined.members.is_empty(), !client.leads);
                }
                Reply::Synced(assignment) => {
                    assert!(assignment.is_empty() || assignment == [client.generation as u8]);
                }
                Reply::Refused(ErrorCode::MEMBER_ID_REQUIRED, id) => client.id = id,
                Reply::Refused(ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID, _) => {
                    *client = Client::default();
                }
                Reply::Refused(..) => {}
            }
        }
    }

    fn play(&mut self, act: &Act) {
        match *act {
            Act::Join { client, .. } | Act::Sync { client } if self.clients[client].waits.is_some() => {}
            Act::Join { client, is_static, comes_back } => self.join(client, is_static, comes_back),
            Act::Sync { client } => self.sync(client),
            Act::Beat { client } => {
                let Client { id, generation, .. } = &self.clients[client];
                self.group
                    .heartbeat(&Stamp { generation: *generation, member_id: id, instance: None }, self.now);
            }
            Act::Leave { client } => {
                let id = self.clients[client].id.clone();
                self.group.leave(&id, None, self.now);
            }
            Act::Forget { client } => self.clients[client] = Client::default(),
            Act::Wait { ms } => self.now += Duration::from_millis(ms),
            Act::Rebalance => self.group.prepare(self.now),
            Act::Fence => self.group.fence(self.now),
            Act::Expel => self.group.expel(self.now),
            Act::Move => self.group.move_away(self.now),
        }
        self.group.tick(self.now);
        self.hear();
    }

    fn check(&self, before: i32) {
        let Group { phase, generation, members, leader, .. } = &self.group;
        assert!(*generation >= before);
        assert!(members.is_empty() || leader.as_ref().is_some_and(|id| members.contains_key(id)));
        assert_eq!(*phase == Phase::Empty, members.is_empty() && *phase != Phase::PreparingRebalance);
        // Every pending request has a timer that ends it.
        assert!(self.waiting.is_empty() || self.group.next_timer().is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn nobody_waits_for_ever(acts in prop::collection::vec(act(), 1..60)) {
        let clients = vec![Client::default(); 4];
        let group = Group::new();
        let mut world = World { group, clients, now: Instant::now(), serial: 0, waiting: BTreeMap::new() };
        for act in &acts {
            let before = world.group.generation;
            world.play(act);
            world.check(before);
        }
        // Everybody falls silent: timers alone must complete every request and empty the group.
        for _ in 0..100 {
            let Some(timer) = world.group.next_timer() else { break };
            world.now = world.now.max(timer);
            world.group.tick(world.now);
            world.hear();
        }
        prop_assert_eq!(world.waiting.len(), 0);
        prop_assert!(world.group.members.is_empty());
        prop_assert_eq!(world.group.phase, Phase::Empty);
    }
}
