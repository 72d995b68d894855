//! A process, and what it cost.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
    /// Runs it to its end, which has to be a good one.
    #[track_caller]
    pub fn run(mut command: Command) -> Self {
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
            std::thread::sleep(Duration::from_millis(2)); // between two looks
        }
        let took = began.elapsed();
        let cpu = cpu(child.id()).unwrap_or_default();
        let status = child.wait().unwrap();
        let lines = reader.join().unwrap();
        assert!(status.success(), "{command:?}: {status} {lines:?}");
        Self { took, cpu, peak_mb: peak as f64 / 1024.0, lines }
    }

    /// When it printed this.
    pub fn when(&self, text: &str) -> Option<Duration> {
        self.lines.iter().find(|(_, line)| line == text).map(|(at, _)| *at)
    }
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
