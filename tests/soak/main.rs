//! A soak: two instances deliver a topic through everything that goes wrong in months, while their memory, threads
//! and sockets are watched.
//!
//! A test run takes some seconds; `tests/soak/run [RECORDS]` is the long form.

#[path = "../support/mod.rs"]
mod support;

mod samples;
mod sink;

use samples::Sample;
use sink::{Bits, KEYS, Sink, is_refused};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::broker::{Broker, NEW};
use support::jvm::target;
use support::output::ended;
use support::{binary, eventually};

const TOPIC: &str = "soak";
const NAMES: [&str; 2] = ["stays", "killed"];
const STAYS: usize = 0;
const KILLED: usize = 1;
const CONCURRENCY: u64 = 16;
/// Threads beside those that send: the loop, log, signals, metadata, one fetcher, commits, dead letters, membership,
/// its requests, its heartbeats beside a join that waits, and the one that closes idle connections.
const BESIDE: u64 = 11;
/// How long a killed instance is away.
const AWAY: Duration = Duration::from_secs(2);
/// How long nothing may happen before that is a failure.
const STALLED: Duration = Duration::from_secs(120);
/// How many records are written at a time.
const CHUNK: usize = 100_000;

/// How much of what.
#[derive(Clone, Copy, Debug)]
struct Plan {
    records: usize,
    /// Of each instance.
    rate: &'static str,
    /// Of the instance that is killed: as a static member it takes its place again at once, else its partitions go
    /// to the other one after the session timeout.
    membership: &'static [&'static str],
    storm: Duration,
    storm_every: Duration,
    /// The broker is restarted and an instance killed so often, one half-way between two of the other.
    outage_every: Duration,
}

impl Plan {
    fn of_the_environment() -> Self {
        let secs = Duration::from_secs;
        match std::env::var("SLUICEGATE_SOAK") {
            Ok(records) => Self {
                records: records.parse().unwrap(),
                rate: "2000/s",
                membership: &[],
                storm: secs(2),
                storm_every: secs(60),
                outage_every: secs(120),
            },
            Err(_) => Self {
                records: 15_000,
                rate: "750/s",
                membership: &["--instance-id", "killed"],
                storm: secs(1),
                storm_every: secs(5),
                outage_every: secs(8),
            },
        }
    }

    fn is_long(&self) -> bool {
        self.records >= 500_000
    }
}

/// What was done, and when.
#[derive(Debug, Default)]
struct Done {
    storms: usize,
    restarts: usize,
    kills: usize,
    marks: Vec<(f64, &'static str)>,
}

/// When each thing is done next.
#[derive(Debug)]
struct Due {
    storm: Instant,
    restart: Instant,
    kill: Instant,
}

struct Soak {
    plan: Plan,
    folder: PathBuf,
    broker: Broker,
    sink: Arc<Sink>,
    url: String,
    instances: [Option<Child>; 2],
    pids: Arc<[AtomicU32; 2]>,
    began: Instant,
    done: Done,
    due: Due,
    /// When the killed one comes back.
    back_at: Option<Instant>,
}

impl Soak {
    fn letters(&self, instance: usize) -> PathBuf {
        self.folder.join(format!("dead-letters-{}.jsonl", NAMES[instance]))
    }

    /// An instance that logs to a file of its own.
    fn command(&self, instance: usize, more: &[&str]) -> Command {
        let log = self.folder.join(format!("{}.log", NAMES[instance]));
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(binary::path());
        command.args(["run", "--brokers", &self.broker.address(), "--topic", TOPIC, "--group", TOPIC]);
        command.args(["--url", &self.url, "--window", "sliding", "--order", "key"]);
        command.args(["--max-concurrency", &CONCURRENCY.to_string(), "--max-rate", self.plan.rate]);
        // Longer than a broker takes to come back: a member that hears nothing for so long gives up its partitions,
        // and all that it sent meanwhile was not committed.
        command.args(["--session-timeout", "20s", "--backoff", "20ms..2s", "--dead-letter"]);
        command.arg(self.letters(instance)).args(more);
        if instance == KILLED {
            command.args(self.plan.membership);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    fn start(&mut self, instance: usize) {
        let child = self.command(instance, &[]).spawn().unwrap();
        self.pids[instance].store(child.id(), Ordering::SeqCst);
        self.instances[instance] = Some(child);
    }

    fn kill(&mut self, instance: usize) {
        self.pids[instance].store(0, Ordering::SeqCst);
        if let Some(mut child) = self.instances[instance].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn mark(&mut self, what: &'static str) {
        self.done.marks.push((self.began.elapsed().as_secs_f64(), what));
    }

    fn done(&self) -> u64 {
        self.sink.done.load(Ordering::SeqCst)
    }

    fn act(&mut self) {
        let Plan { storm, storm_every, outage_every, .. } = self.plan;
        if self.due.storm <= Instant::now() {
            self.done.storms += 1;
            self.mark("429");
            self.sink.storm(storm);
            self.due.storm = Instant::now() + storm_every;
        }
        if self.due.restart <= Instant::now() {
            self.done.restarts += 1;
            self.mark("broker");
            self.broker.kill();
            self.broker.boot();
            self.due.restart = Instant::now() + outage_every;
            // However long that took: what was sent meanwhile is committed before the next blow.
            self.due.kill = Instant::now() + outage_every / 2;
        }
        if self.due.kill <= Instant::now() {
            self.done.kills += 1;
            self.mark("kill");
            self.kill(KILLED);
            self.back_at = Some(Instant::now() + AWAY);
            self.due.kill = Instant::now() + outage_every;
        }
        if self.back_at.take_if(|at| *at <= Instant::now()).is_some() {
            self.start(KILLED);
        }
    }

    /// Until every record was accepted or refused.
    fn rage(&mut self) {
        let (mut last, mut since) = (0, Instant::now());
        while last < self.plan.records as u64 {
            self.act();
            std::thread::sleep(Duration::from_millis(50)); // between two looks
            for (instance, name) in self.instances.iter_mut().zip(NAMES) {
                let ended = instance.as_mut().and_then(|child| child.try_wait().unwrap());
                assert_eq!(ended, None, "{name} ended: see its log in {:?}", self.folder);
            }
            if std::mem::replace(&mut last, self.done()) != last {
                since = Instant::now();
            }
            assert!(
                since.elapsed() < STALLED,
                "stalled at {last} of {}: {:?}",
                self.plan.records,
                self.folder
            );
        }
    }

    /// Lets both come to their end, and delivers what they may have left. A static member does not leave the group:
    /// it is the one that comes back.
    fn drain(&mut self) {
        for instance in [STAYS, KILLED] {
            self.pids[instance].store(0, Ordering::SeqCst);
            let Some(mut child) = self.instances[instance].take() else { continue };
            let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            assert!(kill.unwrap().success());
            eventually("the end", || child.try_wait().unwrap().is_some());
            assert!(child.wait().unwrap().success(), "{}: see its log", NAMES[instance]);
        }
        let mut last = self.command(KILLED, &["--until-end"]).spawn().unwrap();
        assert!(ended(&mut last, STALLED).is_some_and(|status| status.success()), "see its log");
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        self.kill(STAYS);
        self.kill(KILLED);
    }
}

/// Takes samples each second until `ended`.
fn watch(pids: Arc<[AtomicU32; 2]>, ended: Arc<AtomicBool>) -> JoinHandle<Vec<Sample>> {
    std::thread::spawn(move || {
        let (began, mut samples) = (Instant::now(), Vec::new());
        while !ended.load(Ordering::SeqCst) {
            let at = began.elapsed().as_secs_f64();
            for (instance, pid) in pids.iter().enumerate() {
                let pid = pid.load(Ordering::SeqCst);
                samples.extend((pid != 0).then(|| Sample::take(at, instance, pid)).flatten());
            }
            std::thread::sleep(Duration::from_secs(1)); // a sample a second
        }
        samples
    })
}

fn produce(broker: &Broker, count: usize) {
    for first in (0..count).step_by(CHUNK) {
        let numbers = first..count.min(first + CHUNK);
        let records: String = numbers.map(|n| format!("key-{}|{n}\n", n % KEYS)).collect();
        broker.produce(TOPIC, &["-K", "|"], records.as_bytes());
    }
}

/// The numbers in a file of dead letters, and how many there were.
fn read_letters(file: &Path, into: &Bits) -> usize {
    let Ok(file) = File::open(file) else { return 0 };
    let lines = BufReader::new(file).lines().map(Result::unwrap);
    let number = |line: String| -> usize {
        let rest = line.split_once(r#""value":""#).unwrap().1;
        rest.split('"').next().unwrap().parse().unwrap()
    };
    lines.fold(0, |count, line| {
        into.set(number(line));
        count + 1
    })
}

#[test]
fn nothing_is_lost_and_memory_stays_flat_whatever_goes_wrong() {
    let plan = Plan::of_the_environment();
    let Some(broker) = Broker::start(NEW) else { return };
    produce(&broker, plan.records);
    let folder = target().join("soak");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let (sink, address) = Sink::start(plan.records);
    let pids = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let ended = Arc::new(AtomicBool::new(false));
    let watching = watch(Arc::clone(&pids), Arc::clone(&ended));
    let (url, began) = (format!("http://{address}/hook"), Instant::now());
    let (instances, done) = ([None, None], Done::default());
    let (storm, outage) = (began + plan.storm_every / 2, began + plan.outage_every);
    let due = Due { storm, restart: began + plan.outage_every / 2, kill: outage };
    let mut soak = Soak { plan, folder, broker, sink, url, instances, pids, began, done, due, back_at: None };
    soak.start(STAYS);
    soak.start(KILLED);
    soak.rage();
    let took = began.elapsed();
    soak.drain();
    ended.store(true, Ordering::SeqCst);
    let samples = watching.join().unwrap();
    soak.sink.close(address);
    samples::write(&soak.folder, &samples, &NAMES, &soak.done.marks);
    report(&soak, &samples, took);
}

fn report(soak: &Soak, samples: &[Sample], took: Duration) {
    let (plan, sink, count) =
        (&soak.plan, &soak.sink, |of: &std::sync::atomic::AtomicU64| of.load(Ordering::SeqCst));
    let letters = Bits::new(plan.records);
    let lines: usize = [STAYS, KILLED].iter().map(|of| read_letters(&soak.letters(*of), &letters)).sum();
    let refused = (0..plan.records).filter(|n| is_refused(*n)).count();
    let arrived = |n: usize| if is_refused(n) { letters.has(n) } else { sink.accepted.has(n) };
    let lost: Vec<usize> = (0..plan.records).filter(|n| !arrived(*n)).collect();
    let breaks = count(&sink.breaks);
    let Done { storms, restarts, kills, .. } = soak.done;
    println!(
        "\n| soak | |\n|---|---|\n| records | {} with {KEYS} keys |\n| seconds | {:.0} |\n| records a second | {:.0} |\n\
         | requests | {} |\n| answered with 500 | {} |\n| answered with 429 | {} |\n| storms of 429 | {storms} |\n\
         | broker killed and restarted | {restarts} |\n| instance killed and started again | {kills} |\n\
         | connections to the receiver | {} |\n| lost | {} |\n| duplicates | {} |\n| dead letters | {lines} for {refused} \
         refused records |\n| breaks of the order by key | {breaks} |\n",
        plan.records,
        took.as_secs_f64(),
        plan.records as f64 / took.as_secs_f64(),
        count(&sink.requests),
        count(&sink.failed),
        count(&sink.turned_away),
        count(&sink.connections),
        lost.len(),
        count(&sink.duplicates),
    );
    println!("{}", samples::table(samples, &NAMES));
    assert!(lost.is_empty(), "lost {:?}", &lost[..lost.len().min(20)]);
    assert_eq!(breaks, 0);
    let stray = samples.iter().find(|it| it.threads.max(it.sockets) > CONCURRENCY + BESIDE);
    assert!(stray.is_none(), "{stray:?}");
    if plan.is_long() {
        let median = |slices: std::ops::Range<usize>| {
            let mut all: Vec<u64> = slices.filter_map(|n| samples::memory(samples, STAYS, n)).collect();
            all.sort_unstable();
            all[all.len() / 2]
        };
        let (early, late) = (median(1..4), median(7..10));
        assert!(late <= early + early / 10, "memory grew from {early} to {late} KiB");
    }
}
