//! One limit for all instances of a group: five processes come, leave and are killed while one receiver counts.

use crate::delivery::{all_of, duplicates, run, shared, start};
use crate::support::binary::Running;
use crate::support::dice::Dice;
use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply};
use std::time::{Duration, Instant};

const LIMIT: &str = "6";
const MOST: usize = 6;
const MEMBERS: usize = 5;
const PARTITIONS: u32 = 12;
const COUNT: usize = 6_000;
const TOPIC: &str = "shares";
/// A killed member is missed for its session; a request may take half of that.
const MORE: [&str; 8] = [
    "--group-max-concurrency",
    LIMIT,
    "--session-timeout",
    "4s",
    "--timeout",
    "2s",
    "--max-concurrency",
    LIMIT,
];
/// How long members come and go.
const RAGE: Duration = Duration::from_secs(12);

#[test]
fn one_limit_holds_over_five_processes_that_come_and_go() {
    let Some(broker) = shared() else { return };
    broker.admin().create(TOPIC, PARTITIONS, 1, &[]);
    let records: String = (0..COUNT).map(|n| format!("{n}|{n}\n")).collect();
    broker.produce(TOPIC, &["-K", "|"], records.as_bytes());
    let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(20), 204));
    let join = || start(broker, TOPIC, &receiver.url(), &[&MORE[..], &["--window", "sliding"]].concat());
    let mut dice = Dice::new(TOPIC);
    let mut members: Vec<Running> = (0..MEMBERS).map(|_| join()).collect();
    let (mut joined, mut killed, mut left) = (MEMBERS, 0, 0);
    eventually("the first requests", || receiver.begun() > 50);
    let end = Instant::now() + RAGE;
    while Instant::now() < end && receiver.begun() < COUNT {
        match dice.below(3) {
            0 if members.len() > 1 => {
                members.swap_remove(dice.below(members.len())).kill();
                killed += 1;
            }
            1 if members.len() > 1 => {
                let leaving = members.swap_remove(dice.below(members.len()));
                leaving.signal("TERM");
                leaving.wait().expect(0);
                left += 1;
            }
            _ if members.len() < MEMBERS => {
                members.push(join());
                joined += 1;
            }
            _ => {}
        }
        let next = Instant::now() + Duration::from_millis(200 + dice.below(1_500) as u64);
        while Instant::now() < next {
            members.iter_mut().for_each(|member| assert!(!member.has_ended()));
            std::thread::sleep(Duration::from_millis(20)); // between two looks
        }
    }
    let raged = receiver.begun();
    members.iter().for_each(|member| member.signal("TERM"));
    members.into_iter().for_each(|member| drop(member.wait().expect(0)));
    run(broker, TOPIC, &receiver.url(), &[&MORE[..], &["--until-end"]].concat()).expect(0);
    let (most, twice) = (receiver.most_in_flight(), duplicates(&all_of(&receiver, COUNT)));
    println!(
        "SHARES --group-max-concurrency {LIMIT}: {joined} joined, {left} left, {killed} killed, {raged} requests \
         meanwhile, at most {most} in flight, lost 0, duplicates {twice}"
    );
    assert!(most <= MOST, "{most} in flight, more than {MOST}");
    assert!(most == MOST, "{most} in flight: the limit was never used up");
}
