//! A process, and what it cost; and whether anything else ran meanwhile.

use crate::support::jvm::target;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a run may take, whoever is measured.
pub const LIMIT: Duration = Duration::from_secs(180);

/// What a run of a process came to.
#[derive(Clone, Debug)]
pub struct Measured {
    pub took: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// The most memory ever resident.
    pub peak_mb: f64,
    /// What it printed, and when after its start.
    pub lines: Vec<(Duration, String)>,
}

impl Measured {
    /// Runs it to its end, which has to be a good one; `None`: it did not end within [`LIMIT`] and was killed.
    #[track_caller]
    pub fn run(command: Command) -> Option<Self> {
        let mut command = in_its_own_session(&command);
        let began = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.map(|line| (began.elapsed(), line)).collect::<Vec<_>>()
        });
        let mut peak = 0;
        // A process that has ended but was not waited for still tells its time, though not its memory.
        while !ended(child.id()) {
            peak = memory(child.id()).unwrap_or(peak);
            if began.elapsed() > LIMIT {
                child.kill().unwrap();
                child.wait().unwrap();
                return None;
            }
            std::thread::sleep(Duration::from_millis(2)); // between two looks
        }
        let took = began.elapsed();
        let cpu = cpu(child.id()).unwrap_or_default();
        let status = child.wait().unwrap();
        let lines = reader.join().unwrap();
        assert!(status.success(), "{command:?}: {status} {lines:?}");
        Some(Self { took, cpu, peak_mb: peak as f64 / 1024.0, lines })
    }

    /// When it printed this.
    pub fn when(&self, text: &str) -> Option<Duration> {
        self.lines.iter().find(|(_, line)| line == text).map(|(at, _)| *at)
    }
}

/// The same command, as a service would run: Linux shares processors out between sessions, so that programs started in
/// one session hardly preempt each other, and seem quicker than they are.
pub fn in_its_own_session(command: &Command) -> Command {
    let mut setsid = Command::new("setsid");
    setsid.arg(command.get_program()).args(command.get_args());
    // What is set for this test is none of its settings.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SLUICEGATE_")) {
        setsid.env_remove(name);
    }
    setsid
}

/// What it is started with, for people; paths without their folders.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| word.to_string_lossy().rsplit('/').next().unwrap_or_default().to_owned());
    words.collect::<Vec<_>>().join(" ")
}

/// One of our examples, built with the tests' own profile if cargo has not done so.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.args(["build", "-q", "--all-features", "--example", name]);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().unwrap().success());
    profile.join("examples").join(name)
}

/// One of the others, which `tests/bench/run` builds.
pub fn built(name: &str) -> Option<PathBuf> {
    Some(target().join("bench").join(name)).filter(|path| path.exists())
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What else keeps the processors busy, in percent of all of them, and what the host takes away; looked at for a
/// moment.
pub fn noise() -> (u64, u64) {
    let before = ticks();
    std::thread::sleep(Duration::from_millis(300)); // what is looked at
    let spent: Vec<u64> = ticks().iter().zip(&before).map(|(after, before)| after - before).collect();
    let all = spent.iter().sum::<u64>().max(1);
    let idle = spent.get(3).unwrap_or(&0) + spent.get(4).unwrap_or(&0);
    ((all - idle) * 100 / all, spent.get(7).unwrap_or(&0) * 100 / all)
}

/// user, nice, system, idle, iowait, irq, softirq, steal
fn ticks() -> Vec<u64> {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    line.split_whitespace().skip(1).take(8).map(|ticks| ticks.parse().unwrap_or(0)).collect()
}

fn stat(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.to_owned())
}

fn ended(pid: u32) -> bool {
    stat(pid).is_none_or(|stat| stat.starts_with('Z'))
}

fn cpu(pid: u32) -> Option<Duration> {
    let ticks = stat(pid)?.split(' ').skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0)).sum::<u64>();
    Some(Duration::from_millis(ticks * 10))
}

/// In KiB.
fn memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().trim_end_matches(" kB").trim().parse().ok()
}
