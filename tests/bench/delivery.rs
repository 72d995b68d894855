//! Requests a second and CPU time from Kafka to a receiver: ours with either window and from a file, two peers that do no
//! more than read and post, and the raw blaster, which has no Kafka and makes two system calls a request. Rounds are
//! interleaved, each with a raw run, and ratios are taken within a round, since a machine is not the same from minute to
//! minute. A test run sends few records, to see that it works; for figures: `tests/bench/run delivery`.

use crate::measured::{LIMIT, Measured, built, example, in_its_own_session, median, noise, shown};
use crate::plot::{Bar, plot};
use crate::support::binary;
use crate::support::broker::{Broker, NEW};
use crate::support::certificates::{Authority, Certificate};
use crate::support::jvm::{program, target};
use crate::support::program::Program;
use sluicegate::relay::dead_letter::replay_progress::path_beside;
use std::path::{Path, PathBuf};
use std::process::Command;

const PARTITIONS: usize = 4;
const RECORD: usize = 1_000;
/// `--batch-size`, as it is by default.
const BATCH: usize = 500;
/// A machine of which more than this percentage is busy before a round is not quiet.
const QUIET: u64 = 10;

/// A receiver, how many requests it gets at once, and of how many records.
struct Scenario {
    name: &'static str,
    /// Its answers take between these times, in microseconds.
    delay: (u64, u64),
    permits: usize,
    /// This part of the records is enough.
    part: usize,
    is_tls: bool,
}

impl Scenario {
    /// The topic with its part of the records, which all of them read to the end.
    fn topic(&self) -> String {
        format!("delivery-{}", self.part)
    }
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "at once, 16 permits", delay: (0, 0), permits: 16, part: 1, is_tls: false },
    Scenario { name: "0-5 ms, 16 permits", delay: (0, 5_000), permits: 16, part: 5, is_tls: false },
    Scenario { name: "50 ms, 64 permits", delay: (50_000, 50_000), permits: 64, part: 20, is_tls: false },
    Scenario { name: "at once, 16 permits, HTTPS", delay: (0, 0), permits: 16, part: 2, is_tls: true },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Raw,
    Sliding,
    Batch,
    File,
    Librdkafka,
    Franz,
}

const SENDERS: [Sender; 6] =
    [Sender::Raw, Sender::Sliding, Sender::Batch, Sender::File, Sender::Librdkafka, Sender::Franz];

impl Sender {
    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw, no Kafka",
            Self::Sliding => "run --window sliding",
            Self::Batch => "run --window batch",
            Self::File => "send FILE",
            Self::Librdkafka => "librdkafka, sockets in C",
            Self::Franz => "franz-go, net/http",
        }
    }

    /// `None` where it is not built, or does not do this.
    fn command(self, setup: &Setup, scenario: &Scenario, port: &str, round: usize) -> Option<Command> {
        let count = (setup.count / scenario.part).to_string();
        let permits = scenario.permits.to_string();
        let ca = setup.authority.pem();
        let brokers = setup.broker.address();
        let peer = |name| {
            let mut peer = Command::new(built(name).filter(|_| !scenario.is_tls)?);
            peer.args([&brokers, &scenario.topic(), &PARTITIONS.to_string(), &count, port, &permits]);
            Some(peer)
        };
        let mut command = Command::new(binary::path());
        match self {
            Self::Raw => {
                let mut raw = Command::new(&setup.loopback);
                raw.args(["blast", port, &permits, &count, &RECORD.to_string()]);
                if scenario.is_tls {
                    raw.arg(ca);
                }
                return Some(raw);
            }
            Self::Librdkafka => return peer("librdkafka_http"),
            Self::Franz => return peer("franz"),
            Self::Sliding | Self::Batch => {
                let window = if self == Self::Sliding { "sliding" } else { "batch" };
                let group = format!("{window}-{}-{round}", scenario.name.replace([' ', ','], "-"));
                command.args(["run", "--brokers", &brokers, "--topic", &scenario.topic(), "--group", &group]);
                command.args(["--partitions", "0,1,2,3", "--until-end", "--window", window]);
            }
            Self::File => {
                let file = setup.lines.join(&count);
                // A file that was sent is not sent again.
                let _ = std::fs::remove_file(path_beside(&file));
                command.arg("send").arg(file);
            }
        }
        let scheme = if scenario.is_tls { "https" } else { "http" };
        command.args([
            "--url",
            &format!("{scheme}://127.0.0.1:{port}/hook"),
            "--max-concurrency",
            &permits,
            "-q",
        ]);
        if scenario.is_tls {
            command.arg("--ca").arg(ca);
        }
        Some(command)
    }
}

/// What all runs have in common.
struct Setup {
    broker: Broker,
    authority: Authority,
    certificate: Certificate,
    count: usize,
    /// The blaster and the receiver.
    loopback: PathBuf,
    /// A folder with the records of each scenario as lines.
    lines: PathBuf,
}

/// One run, as the receiver and the system saw it.
struct Run {
    per_second: f64,
    /// CPU time per 100,000 requests, in seconds.
    cpu: f64,
    peak_mb: f64,
}

/// Starts a receiver and runs the sender against it; `None`: it is not there, or did not end in time.
fn run(sender: Sender, setup: &Setup, scenario: &Scenario, round: usize) -> Option<(Run, String)> {
    let mut receive = Command::new(&setup.loopback);
    receive.args(["receive", &scenario.delay.0.to_string(), &scenario.delay.1.to_string()]);
    if scenario.is_tls {
        receive.args([&setup.certificate.certificate, &setup.certificate.key]);
    }
    let receiver = Program::start(in_its_own_session(&receive));
    let port = receiver.expect("");
    let command = sender.command(setup, scenario, &port, round)?;
    let line = shown(&command);
    let measured = Measured::run(command);
    let seen = receiver.close().last().unwrap().text.clone();
    let Some(measured) = measured else {
        println!("{}: {} did not end within {LIMIT:?}", scenario.name, sender.name());
        return None;
    };
    let seen: Vec<usize> = seen.split(' ').map(|number| number.parse().unwrap()).collect();
    let [requests, micros, most] = seen[..] else { panic!("three numbers: {seen:?}") };
    // A peer may have a few more in flight when it is done.
    assert!(requests >= setup.count / scenario.part, "{}: {requests} requests", sender.name());
    assert!(most <= scenario.permits, "{}: {most} at once", sender.name());
    let run = Run {
        per_second: requests as f64 * 1e6 / micros as f64,
        cpu: measured.cpu.as_secs_f64() * 1e5 / requests as f64,
        peak_mb: measured.peak_mb,
    };
    Some((run, line))
}

/// What part of the raw rate is left where each batch waits for its last answer: the same delays, dealt out to the
/// permits batch by batch.
fn batch_bound(scenario: &Scenario, count: usize) -> f64 {
    let (min, max) = scenario.delay;
    let delays: Vec<u64> = (0..count as u64).map(|n| min + n * 7_919 % (max - min + 1)).collect();
    let all_at_once = time_for(&delays, scenario.permits);
    let batch_by_batch: u64 = delays.chunks(BATCH).map(|batch| time_for(batch, scenario.permits)).sum();
    if batch_by_batch == 0 { 1.0 } else { all_at_once as f64 / batch_by_batch as f64 }
}

fn time_for(delays: &[u64], permits: usize) -> u64 {
    let mut free_at = vec![0; permits];
    for delay in delays {
        *free_at.iter_mut().min().unwrap() += delay;
    }
    free_at.into_iter().max().unwrap()
}

/// The median, with the lowest and the highest.
fn spread(values: &[f64], digits: usize) -> String {
    let (low, high) = (values.iter().copied().reduce(f64::min), values.iter().copied().reduce(f64::max));
    let (low, high) = (low.unwrap_or(f64::NAN), high.unwrap_or(f64::NAN));
    format!("{:.digits$} ({low:.digits$}-{high:.digits$})", median(values.iter().copied()))
}

fn compare(setup: &Setup, scenario: &Scenario, rounds: usize) -> Vec<Bar> {
    let mut runs: Vec<Vec<Run>> = SENDERS.iter().map(|_| Vec::new()).collect();
    let (mut lines, mut disturbed) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (busy, stolen) = noise();
        if busy > QUIET || stolen > 1 {
            disturbed.push(format!("round {}: {busy} % busy, {stolen} % stolen", round + 1));
        }
        for (sender, runs) in SENDERS.iter().zip(&mut runs) {
            if let Some((run, line)) = run(*sender, setup, scenario, round) {
                if runs.is_empty() {
                    lines.push(line);
                }
                runs.push(run);
            }
        }
    }
    let bound = batch_bound(scenario, setup.count / scenario.part);
    let mut bars = Vec::new();
    for (sender, of_it) in SENDERS.iter().zip(&runs).filter(|(_, of_it)| !of_it.is_empty()) {
        let ratio =
            |of: fn(&Run) -> f64| median(of_it.iter().zip(&runs[0]).map(|(run, raw)| of(run) / of(raw)));
        let (rate, cpu) = (ratio(|run| run.per_second), ratio(|run| run.cpu));
        let column = |of: fn(&Run) -> f64| of_it.iter().map(of).collect::<Vec<_>>();
        let of_bound = match sender {
            Sender::Batch | Sender::File => format!("{:.2} of {bound:.3}", rate / bound),
            _ => "-".into(),
        };
        println!(
            "| {} | {} | {} | {rate:.2} | {of_bound} | {} | {cpu:.2} | {:.1} |",
            scenario.name,
            sender.name(),
            spread(&column(|run| run.per_second), 0),
            spread(&column(|run| run.cpu), 2),
            median(of_it.iter().map(|run| run.peak_mb)),
        );
        bars.push(Bar { group: scenario.name, name: sender.name(), rate, cpu });
    }
    println!();
    lines.iter().for_each(|line| println!("    {line}"));
    for line in &disturbed {
        println!("    The machine was not quiet before {line}");
    }
    println!();
    bars
}

fn write_lines(folder: &Path, counts: impl Iterator<Item = usize>) {
    std::fs::create_dir_all(folder).unwrap();
    for count in counts {
        let line = format!("{{\"text\":\"{}\"}}\n", "x".repeat(RECORD - 11));
        std::fs::write(folder.join(count.to_string()), line.repeat(count)).unwrap();
    }
}

#[test]
fn requests_a_second_and_what_they_cost() {
    let wanted = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let (count, rounds) =
        (wanted("SLUICEGATE_BENCH").unwrap_or(2_000), wanted("SLUICEGATE_ROUNDS").unwrap_or(1));
    let Some(broker) = Broker::start(NEW) else { return };
    for scenario in &SCENARIOS {
        let (topic, part) = (scenario.topic(), count / scenario.part);
        // The records of `Fill` are years old.
        broker.admin().create(&topic, PARTITIONS as u32, 1, &["retention.ms=-1"]);
        let mut fill = program("Fill");
        fill.args([broker.address(), topic, PARTITIONS.to_string(), part.to_string()]);
        fill.args([&RECORD.to_string(), "none"]);
        assert_eq!(Program::start(fill).close().last().unwrap().text, "done");
    }
    let lines = target().join("bench-lines");
    write_lines(&lines, SCENARIOS.iter().map(|scenario| count / scenario.part));
    let authority = Authority::new();
    let certificate = authority.issue("server", "DNS:localhost,IP:127.0.0.1");
    let setup = Setup { broker, authority, certificate, count, loopback: example("loopback"), lines };

    println!("Kafka {NEW}; {}", binary::run(&["--version"]).stdout.trim());
    for peer in ["librdkafka_http", "franz"].into_iter().filter_map(built) {
        println!("{}", String::from_utf8_lossy(&Command::new(peer).output().unwrap().stdout).trim());
    }
    println!(
        "{count} records of {RECORD} bytes at most, {rounds} interleaved rounds: median (lowest-highest). Each program \
         runs in a session of its own (setsid). Peers neither retry nor commit.\n\n\
         | receiver | sender | requests/s | of raw | of the bound of batches | CPU s per 100,000 | times raw | peak MB |\n\
         |---|---|---|---|---|---|---|---|"
    );
    let bars: Vec<Bar> = SCENARIOS.iter().flat_map(|scenario| compare(&setup, scenario, rounds)).collect();
    let file = target().join("bench/delivery.svg");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, plot("Requests a second and CPU time, as multiples of the raw blaster's", &bars))
        .unwrap();
    std::fs::remove_dir_all(&setup.lines).unwrap();
    println!("The plot: {}", file.display());
}
