//! How many records a second come out of a topic into a sink that only counts: ours, librdkafka's batch consumer,
//! kcat and franz-go, on the same broker and the same bytes. Rounds are interleaved, and ratios are taken within
//! a round, since a machine is not the same from minute to minute.

use crate::measured::{Measured, built, example, median};
use crate::support::admin::Admin;
use crate::support::broker::{Broker, NEW};
use crate::support::jvm::program;
use crate::support::program::Program;
use std::process::Command;

const PARTITIONS: usize = 4;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Who consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Ours,
    Librdkafka,
    Kcat,
    Franz,
}

impl Client {
    /// `None` where what it takes is not installed.
    fn command(self, brokers: &str, topic: &str, count: usize) -> Option<Command> {
        let mut command = match self {
            Self::Ours => Command::new(example("consume")),
            Self::Librdkafka => Command::new(built("librdkafka")?),
            Self::Franz => Command::new(built("franz")?),
            Self::Kcat => {
                let mut kcat = Command::new("kcat");
                kcat.args(["-C", "-e", "-q", "-b", brokers, "-t", topic, "-o", "beginning", "-f", ""]);
                return Some(kcat);
            }
        };
        command.args([brokers, topic, &PARTITIONS.to_string(), &count.to_string()]);
        Some(command)
    }
}

/// What the rounds of one client came to.
#[derive(Clone, Debug)]
struct Rounds {
    client: Client,
    runs: Vec<Measured>,
}

impl Rounds {
    fn cpu(&self) -> f64 {
        median(self.runs.iter().map(|run| run.cpu.as_secs_f64()))
    }

    fn line(&self, count: usize, ours: &Self) -> String {
        let rate = median(self.runs.iter().map(|run| count as f64 / run.took.as_secs_f64()));
        let ratio = median(
            self.runs
                .iter()
                .zip(&ours.runs)
                .map(|(run, ours)| run.cpu.as_secs_f64() / ours.cpu.as_secs_f64()),
        );
        let first =
            median(self.runs.iter().filter_map(|run| run.when("first")).map(|at| at.as_secs_f64() * 1e3));
        let peak = median(self.runs.iter().map(|run| run.peak_mb));
        let per_cpu = count as f64 / self.cpu();
        let first = if first.is_nan() { "-".into() } else { format!("{first:.0} ms") };
        let name = format!("{:?}", self.client).to_lowercase();
        format!("{name} | {rate:.0} | {:.2} | {per_cpu:.0} | {ratio:.2} | {peak:.1} MB | {first}", self.cpu())
    }
}

fn compare(broker: &Broker, admin: &Admin, codecs: &[&str], count: usize, size: usize, rounds: usize) {
    for &codec in codecs {
        let topic = format!("bench-{size}-{codec}");
        let address = broker.address();
        // The records of `Fill` are years old.
        admin.create(&topic, PARTITIONS as u32, 1, &["retention.ms=-1"]);
        let mut fill = program("Fill");
        let (partitions, count_text) = (PARTITIONS.to_string(), count.to_string());
        fill.args([&address, &topic, &partitions, &count_text, &size.to_string(), codec]);
        assert_eq!(Program::start(fill).close().last().unwrap().text, "done");
        let clients = [Client::Ours, Client::Librdkafka, Client::Kcat, Client::Franz];
        let mut measured: Vec<Rounds> = Vec::new();
        for round in 0..rounds {
            for client in clients {
                let Some(command) = client.command(&address, &topic, count) else { continue };
                let run = Measured::run(command).expect("it ends in time");
                let bytes = run.lines.iter().find_map(|(_, line)| line.strip_prefix("bytes "));
                assert!(
                    bytes.is_none_or(|bytes| bytes == (count * size).to_string()),
                    "{client:?}: {bytes:?}"
                );
                match measured.iter_mut().find(|rounds| rounds.client == client) {
                    Some(rounds) => rounds.runs.push(run),
                    None if round == 0 => measured.push(Rounds { client, runs: vec![run] }),
                    None => {}
                }
            }
        }
        let ours = measured[0].clone();
        for rounds in &measured {
            println!("| {count} x {size} B | {codec} | {} |", rounds.line(count, &ours));
        }
    }
}

#[test]
fn records_a_second_into_a_sink_that_counts() {
    let wanted = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let (count, rounds) =
        (wanted("SLUICEGATE_CONSUME").unwrap_or(2_000), wanted("SLUICEGATE_ROUNDS").unwrap_or(1));
    let Some(broker) = Broker::start(NEW) else { return };
    println!(
        "| records | codec | client | records/s | CPU s | records per CPU s | CPU against ours | peak memory | \
         first record |\n|---|---|---|---|---|---|---|---|---|"
    );
    let (admin, codecs) = (broker.admin(), if rounds > 1 { &CODECS[..] } else { &CODECS[2..4] });
    compare(&broker, &admin, codecs, count, 100, rounds);
    compare(&broker, &admin, codecs, count / 5, 1_000, rounds);
}
