//! What travels between the members, their consumers and the coordinator, and what gets lost of it.

use super::world::{NODES, Packet, Post, World};
use crate::support::coordinator::JoinRequest;
use sluicegate::kafka::group::error::GroupError;
use sluicegate::kafka::group::exchange::{Answer, Request, RequestId, Stamp};
use sluicegate::kafka::group::membership::{CommitFate, Event};
use sluicegate::record::Partition;
use std::time::Duration;

impl World {
    pub fn send(&mut self, slot: usize, id: RequestId, request: Request) {
        let delay = 1 + self.chance(60);
        let fresh = matches!(request, Request::FindCoordinator);
        self.conns += u64::from(fresh);
        let conns = self.conns;
        let place = &mut self.places[slot];
        let process = place.process.as_mut().unwrap();
        process.parallel = None;
        if fresh {
            process.conn = conns;
        } else {
            assert_eq!(process.outstanding, None, "a second request while one is under way: {request:?}");
        }
        if matches!(request, Request::Join { .. }) {
            self.joins[slot] += 1;
        }
        process.outstanding = Some(id);
        self.transmit(slot, delay, id, request);
    }

    /// On a connection of its own, so that it may overtake what waits.
    pub fn send_beside(&mut self, slot: usize, id: RequestId, request: Request) {
        assert!(matches!(request, Request::Heartbeat { .. }));
        let delay = 1 + self.chance(60);
        let process = self.places[slot].process.as_mut().unwrap();
        assert!(process.outstanding.is_some(), "parallel to nothing");
        process.parallel = Some(id);
        self.transmit(slot, delay, id, request);
    }

    fn transmit(&mut self, slot: usize, delay: u64, id: RequestId, request: Request) {
        let now = self.now;
        let place = &mut self.places[slot];
        let process = place.process.as_mut().unwrap();
        let conn = process.conn;
        let cut = place.cut_until > now;
        let lost = !cut && place.lost_requests > 0;
        place.lost_requests -= u8::from(lost);
        if cut || lost {
            // Half of the time the connection breaks, and else there is just silence.
            if self.chance(2) == 0 {
                let answer = Answer::Failed("broken pipe".into());
                self.post(slot, delay, Packet::Answer { conn, id, answer });
            }
            return;
        }
        self.post(slot, delay, Packet::Request { conn, id, request });
    }

    pub fn arrive(&mut self, post: Post) {
        let Post { slot, incarnation, packet, at } = post;
        let place = &self.places[slot];
        let lives = place.incarnation == incarnation && place.process.as_ref().is_some_and(|p| !p.over);
        let to_process = !matches!(packet, Packet::Request { .. } | Packet::Commit { .. });
        if to_process && (!lives || place.paused_until > self.now) {
            // It is read when the process goes on.
            if lives {
                self.posts.push(Post { at: place.paused_until.max(at + 1), slot, incarnation, packet });
            }
            return;
        }
        let now = self.clock(slot);
        match packet {
            Packet::Request { conn, id, request } => {
                let dead =
                    place.process.as_ref().is_none_or(|p| p.conn != conn) || place.incarnation != incarnation;
                // What a process wrote before it died may still arrive, unless a new one is there or, by its
                // name, might be.
                let ghostly = place.process.is_none() && !self.plan.statics[slot];
                if !dead || ghostly {
                    self.request(slot, incarnation, conn, id, request);
                }
            }
            Packet::Answer { conn, id, answer } => self.answer(slot, conn, id, answer),
            Packet::Commit { stamp, partition } => {
                let result = self.commit_arrives(slot, incarnation, &stamp, &partition);
                let after = self.chance(200);
                self.posts.push(Post {
                    at: self.now + after,
                    slot,
                    incarnation,
                    packet: Packet::Committed { stamp, result },
                });
            }
            Packet::Committed { stamp, result } => {
                let process = self.places[slot].process.as_mut().unwrap();
                process.commits -= 1;
                if let Err(error) = result {
                    let fate = process.machine.commit_refused(&stamp, error, now);
                    assert!(fate != CommitFate::Fenced || process.machine.held().next().is_none());
                }
                process.wake = self.now;
                self.hear(slot);
            }
            Packet::Release { partitions } => self.release(slot, incarnation, partitions),
            Packet::Sizes => {
                let sizes = self.sizes.clone();
                let process = self.places[slot].process.as_mut().unwrap();
                let wanted = process.machine.interest();
                process.machine.sizes(sizes.into_iter().filter(|(t, _)| wanted.contains(t)).collect(), now);
                process.wake = self.now;
                self.hear(slot);
            }
        }
    }

    /// What is in flight of revoked partitions is done; what was committed of it is answered first.
    fn release(&mut self, slot: usize, incarnation: u64, partitions: Vec<(Partition, u64)>) {
        // What time alone has brought, and events from before a pause, are heard first.
        let now = self.clock(slot);
        self.places[slot].process.as_mut().unwrap().machine.released(&[], now);
        self.hear(slot);
        let process = self.places[slot].process.as_mut().unwrap();
        if process.commits > 0 {
            let packet = Packet::Release { partitions };
            return self.posts.push(Post { at: self.now + 10, slot, incarnation, packet });
        }
        let still =
            |(partition, mark): &(Partition, u64)| process.held.get(partition) == Some(&(*mark, true));
        let released: Vec<Partition> = partitions.into_iter().filter(still).map(|(p, _)| p).collect();
        for partition in &released {
            process.held.remove(partition);
        }
        process.machine.released(&released, now);
        process.wake = self.now;
        self.hear_released(slot, &released);
    }

    fn hear_released(&mut self, slot: usize, released: &[Partition]) {
        // Time may have run out at the same moment: then it was lost, and the release came too late.
        let process = self.places[slot].process.as_mut().unwrap();
        for partition in released {
            process.held.insert(partition.clone(), (0, true));
        }
        let mut seen = Vec::new();
        while let Some(event) = process.machine.next_event() {
            if let Event::Lost(partitions) = &event {
                seen.extend(partitions.clone());
                self.lost += 1;
            }
            assert!(matches!(event, Event::Lost(_) | Event::Notice(_)), "{event:?}");
        }
        process.held.retain(|partition, _| !seen.contains(partition) && !released.contains(partition));
        self.hear(slot);
    }

    fn request(&mut self, slot: usize, incarnation: u64, conn: u64, id: RequestId, request: Request) {
        self.tokens += 1;
        let token = self.tokens;
        self.waiting.insert(token, (slot, incarnation, conn, id));
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap();
        if matches!(request, Request::FindCoordinator) {
            // Some broker still has the old news.
            let stale = self.chance(9) == 0;
            if let Some(process) = &mut self.places[slot].process {
                process.node = if stale { (self.home + 1) % NODES } else { self.home };
            }
            self.coordinator.replies.push((token, Answer::Coordinator));
            return;
        }
        if self.places[slot].process.as_ref().is_some_and(|process| process.node != self.home) {
            let error = GroupError::NotCoordinator;
            self.coordinator.replies.push((token, Answer::Refused { error, member_id: String::new() }));
            return;
        }
        let now = self.now;
        match request {
            Request::Join { member_id, instance_id, session_timeout, rebalance_timeout, protocols } => {
                let (session, rebalance) = (ms(session_timeout), ms(rebalance_timeout));
                let request = JoinRequest { member_id, instance_id, session, rebalance, protocols };
                self.coordinator.join(token, request, now);
            }
            Request::Sync { stamp, assignments } => self.coordinator.sync(token, &stamp, &assignments, now),
            Request::Heartbeat { stamp } => {
                let answer = self.coordinator.heartbeat(&stamp, now);
                self.coordinator.replies.push((token, answer));
            }
            Request::Leave { member_id } => {
                let answer = self.coordinator.leave(&member_id, now);
                self.coordinator.replies.push((token, answer));
            }
            Request::FindCoordinator => {}
        }
    }

    pub fn deliver_replies(&mut self) {
        for (token, answer) in std::mem::take(&mut self.coordinator.replies) {
            if self.slow_hears(token, &answer) {
                continue;
            }
            let Some((slot, incarnation, conn, id)) = self.waiting.remove(&token) else { continue };
            let delay = 1 + self.chance(60) + self.chance(self.places[slot].lateness);
            self.posts.push(Post {
                at: self.now + delay,
                slot,
                incarnation,
                packet: Packet::Answer { conn, id, answer },
            });
        }
    }

    fn answer(&mut self, slot: usize, conn: u64, id: RequestId, answer: Answer) {
        let now = self.clock(slot);
        let local = matches!(answer, Answer::Failed(_));
        let place = &mut self.places[slot];
        let process = place.process.as_mut().unwrap();
        if process.conn != conn {
            return;
        }
        if !local && (place.cut_until > self.now || place.lost_answers > 0) {
            place.lost_answers -= u8::from(place.lost_answers > 0);
            if self.chance(2) == 0 {
                let answer = Answer::Failed("connection reset".into());
                self.post(slot, 1, Packet::Answer { conn, id, answer });
            }
            return;
        }
        process.outstanding = process.outstanding.filter(|outstanding| *outstanding != id);
        process.parallel = process.parallel.filter(|parallel| *parallel != id);
        process.machine.answered(id, answer, now);
        process.wake = self.now;
        self.hear(slot);
    }

    /// A commit reaches the coordinator: it must not take what belongs to another by now.
    fn commit_arrives(
        &mut self,
        slot: usize,
        incarnation: u64,
        stamp: &Stamp,
        partition: &Partition,
    ) -> Result<(), GroupError> {
        self.coordinator.commit(stamp, self.now)?;
        self.commits_accepted += 1;
        let owner = self.givings.get(partition);
        assert_eq!(
            owner,
            Some(&(slot, incarnation)),
            "{slot} committed {partition} of another at {}",
            self.now
        );
        Ok(())
    }
}
