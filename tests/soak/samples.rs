//! Memory, threads and sockets of processes, second by second: as CSV, as a table of slices, as a plot.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// How many slices the time is cut into.
pub const SLICES: usize = 10;

/// What a process had at a time.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Seconds since the start.
    pub at: f64,
    /// Which of the instances.
    pub instance: usize,
    pub rss_kb: u64,
    pub threads: u64,
    pub sockets: u64,
    /// All open files, sockets included.
    pub files: u64,
}

impl Sample {
    /// `None` once the process has ended.
    pub fn take(at: f64, instance: usize, pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let (mut files, mut sockets) = (0, 0);
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
            files += 1;
            let target = fs::read_link(entry.path());
            sockets += u64::from(target.is_ok_and(|to| to.to_string_lossy().starts_with("socket:")));
        }
        let (rss_kb, threads) = (field("VmRSS:")?, field("Threads:")?);
        Some(Self { at, instance, rss_kb, threads, sockets, files })
    }
}

/// Min, median and max.
fn spread(mut values: Vec<u64>) -> Option<(u64, u64, u64)> {
    values.sort_unstable();
    Some((*values.first()?, values[values.len() / 2], *values.last()?))
}

/// The samples of an instance within a slice of the time.
fn slice(samples: &[Sample], instance: usize, number: usize) -> impl Iterator<Item = &Sample> {
    let all = samples.last().map_or(0.0, |last| last.at) + 0.001;
    let of = move |it: &Sample| (it.at / all * SLICES as f64) as usize;
    samples.iter().filter(move |it| it.instance == instance && of(it) == number)
}

/// The median of the memory in a slice, in KiB.
pub fn memory(samples: &[Sample], instance: usize, number: usize) -> Option<u64> {
    spread(slice(samples, instance, number).map(|it| it.rss_kb).collect()).map(|(_, median, _)| median)
}

/// A table with a line for each slice.
pub fn table(samples: &[Sample], names: &[&str]) -> String {
    let mut table =
        String::from("| from second | instance | memory min, median, max in MB | threads | sockets |\n");
    table.push_str("|---|---|---|---|---|\n");
    for number in 0..SLICES {
        for (instance, name) in names.iter().enumerate() {
            let of = |what: fn(&Sample) -> u64| spread(slice(samples, instance, number).map(what).collect());
            let (Some(rss), Some(threads), Some(sockets)) =
                (of(|it| it.rss_kb), of(|it| it.threads), of(|it| it.sockets))
            else {
                continue;
            };
            let mb = |kb: u64| kb as f64 / 1024.0;
            let from = slice(samples, instance, number).next().map_or(0.0, |it| it.at);
            let (least, median, most) = (mb(rss.0), mb(rss.1), mb(rss.2));
            let _ = writeln!(
                table,
                "| {from:.0} | {name} | {least:.1}, {median:.1}, {most:.1} | {} to {} | {} to {} |",
                threads.0, threads.2, sockets.0, sockets.2
            );
        }
    }
    table
}

/// Writes all there is into a folder: `samples.csv` and `memory.svg`, with these moments marked.
pub fn write(folder: &Path, samples: &[Sample], names: &[&str], marks: &[(f64, &str)]) {
    let mut csv = String::from("second,instance,rss_kb,threads,sockets,files\n");
    for Sample { at, instance, rss_kb, threads, sockets, files } in samples {
        let name = names[*instance];
        let _ = writeln!(csv, "{at:.1},{name},{rss_kb},{threads},{sockets},{files}");
    }
    fs::write(folder.join("samples.csv"), csv).unwrap();
    fs::write(folder.join("memory.svg"), plot(samples, names, marks)).unwrap();
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 300.0;
const COLOURS: [&str; 2] = ["#0a6", "#c50"];

fn plot(samples: &[Sample], names: &[&str], marks: &[(f64, &str)]) -> String {
    let end = samples.last().map_or(1.0, |last| last.at);
    let top = samples.iter().map(|it| it.rss_kb).max().unwrap_or(1) as f64 / 1024.0 * 1.1;
    let x = |at: f64| 50.0 + at / end * WIDTH;
    let y = |mb: f64| 20.0 + HEIGHT - mb / top * HEIGHT;
    let (width, height) = (WIDTH + 70.0, HEIGHT + 60.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"11\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (at, what) in marks {
        let (x, foot) = (x(*at), HEIGHT + 20.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} 20V{foot}\" stroke=\"#ccc\"/><text x=\"{x:.1}\" y=\"{:.1}\" fill=\"#888\">{what}</text>",
            foot + 14.0
        );
    }
    for part in 0..=4 {
        let mb = top * f64::from(part) / 4.0;
        let _ = writeln!(svg, "<text x=\"4\" y=\"{:.1}\">{mb:.1} MB</text>", y(mb));
    }
    for (instance, name) in names.iter().enumerate() {
        let colour = COLOURS[instance % COLOURS.len()];
        let mut before = f64::MIN;
        let path: String = samples
            .iter()
            .filter(|it| it.instance == instance)
            .map(|it| {
                // A gap is where the process was not there.
                let pen = if it.at - before > 2.5 { 'M' } else { 'L' };
                before = it.at;
                format!("{pen}{:.1} {:.1}", x(it.at), y(it.rss_kb as f64 / 1024.0))
            })
            .collect();
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             fill=\"{colour}\">{name}</text>",
            60.0 + 90.0 * instance as f64,
            HEIGHT + 52.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}
