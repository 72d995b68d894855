//! The simulator: the relay's decisions, the cursors of its partitions and its membership in one thread on virtual
//! time, driven by a seed, against a model of the brokers, of the group's coordinator and of the destination in which
//! everything goes wrong. The invariants are checked at each step, and progress after the faults stop.
//!
//! A failed schedule is printed with its seed: `SLUICEGATE_SIM_SEED=N cargo test --test sim` replays it exactly.
//! `SLUICEGATE_SIM_SECONDS=N` goes on for so long, and `SLUICEGATE_SIM_FROM=N` begins at another seed.
//! `tests/sim/run HOURS` does that with fresh seeds.

#[allow(dead_code, reason = "the model of the group asks for more")]
#[path = "../support/coordinator.rs"]
mod coordinator;
#[path = "../support/dice.rs"]
mod dice;
#[path = "../support/leader_epochs.rs"]
mod leader_epochs;

mod acts;
mod brokers;
mod cluster;
mod commits;
mod consumer;
mod group;
mod known;
mod log;
mod machine;
mod network;
mod plan;
mod process;
mod receiver;
mod threads;
mod trace;
mod truth;
mod workers;
mod world;

use machine::Sim;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use world::Tally;

/// Without a word from outside: this many schedules, or as many as fit into the time.
const SCHEDULES: u64 = 1_000;
const SECONDS: u64 = 60;
/// Lines of the trace that are shown.
const SHOWN: usize = 80;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs one schedule; gives what it did, or why it failed.
fn schedule(seed: u64, is_traced: bool) -> Result<Tally, String> {
    trace::begin(is_traced);
    let run = catch_unwind(AssertUnwindSafe(|| {
        let mut sim = Sim::new(seed);
        sim.run();
        sim.leave();
        sim.tally
    }));
    run.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
    })
}

/// Runs one schedule once more, and tells what happened in it.
fn tell(seed: u64, why: &str) -> String {
    let again = schedule(seed, true).err();
    let (lines, _) = trace::end();
    let from = if number("SLUICEGATE_SIM_SEED").is_some() { 0 } else { lines.len().saturating_sub(SHOWN) };
    let lines = lines[from..].join("\n");
    let again = match again {
        Some(again) if again == why => String::new(),
        again => format!("\nnot the same when replayed: {again:?}"),
    };
    format!("{lines}\n\n{why}{again}\n\nSLUICEGATE_SIM_SEED={seed} cargo test --test sim")
}

#[test]
fn random_schedules_keep_the_invariants_and_make_progress() {
    // What panics is told once, with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(seed) = number("SLUICEGATE_SIM_SEED") {
        let result = schedule(seed, false);
        println!("{}", tell(seed, result.as_ref().err().map_or("it passes", String::as_str)));
        assert!(result.is_ok(), "seed {seed} fails");
        return;
    }
    let from = number("SLUICEGATE_SIM_FROM").unwrap_or(1);
    let seconds = number("SLUICEGATE_SIM_SECONDS");
    let most = if seconds.is_some() { u64::MAX - from } else { SCHEDULES };
    let (start, end) = (Instant::now(), Duration::from_secs(seconds.unwrap_or(SECONDS)));
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let (mut all, mut schedules) = (Tally::default(), 0_u64);
        while start.elapsed() < end && failed.load(Ordering::Relaxed) == 0 {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed - from >= most {
                break;
            }
            match schedule(seed, false) {
                Ok(tally) => all += tally,
                Err(why) => {
                    // The first is enough, unless somebody counts them.
                    if number("SLUICEGATE_SIM_ALL").is_some() {
                        println!("seed {seed}: {}", why.chars().take(300).collect::<String>());
                    } else if failed.fetch_add(1, Ordering::Relaxed) == 0 {
                        println!("{}", tell(seed, &why));
                    }
                }
            }
            schedules += 1;
        }
        (all, schedules)
    };
    let (all, schedules) = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let done = handles.into_iter().map(|handle| handle.join().expect("workers catch panics"));
        done.fold((Tally::default(), 0), |(mut all, count), (tally, more)| {
            all += tally;
            (all, count + more)
        })
    });
    let took = start.elapsed().as_secs_f64();
    println!("{schedules} schedules in {took:.1} s ({:.0} a second): {all:?}", schedules as f64 / took);
    assert_eq!(failed.load(Ordering::Relaxed), 0, "a schedule failed: see above");
    let relay = [all.sent, all.refused, all.stops, all.kills];
    let logs = [all.deleted, all.cut, all.anew, all.dropped, all.diverged];
    let is_enough = schedules < SCHEDULES || relay.into_iter().chain(logs).all(|count| count > 0);
    assert!(is_enough, "what never happens proves nothing");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 1..=30 {
        let digests = [(); 2].map(|()| {
            let _ = schedule(seed, true);
            trace::end().1
        });
        assert_eq!(digests[0], digests[1], "seed {seed}");
    }
}
