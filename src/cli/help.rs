//! `--help`: short, grouped, with defaults, made from the table of flags.

use super::flags::{Command, FLAGS, Flag, Group};
use std::fmt::Write;

/// How wide a line may be.
const WIDTH: usize = 100;
/// Where the text about a flag begins.
const COLUMN: usize = 32;

/// The help on one command, or on all with the flags of `run`.
pub fn text(command: Option<Command>) -> String {
    let mut out = String::new();
    let shown = command.unwrap_or(Command::Run);
    match command {
        None => overview(&mut out),
        Some(command) => {
            let usage = match command {
                Command::Run => "run --brokers HOST:PORT,… --topic NAME --url URL [options]".into(),
                other => match other.operand() {
                    Some(operand) => format!("{} {operand} [options]", other.name()),
                    None => format!("{} [options]", other.name()),
                },
            };
            let what = Command::ALL.iter().find(|(c, ..)| *c == command).map_or("", |(.., what)| what);
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(out, "sluicegate {}: {what}\n\nusage: sluicegate {usage}", command.name());
        }
    }
    for (group, heading) in Group::ALL {
        let flags: Vec<&Flag> =
            FLAGS.iter().filter(|f| f.group == *group && f.commands.contains(&shown)).collect();
        if flags.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n{heading}:");
        flags.into_iter().for_each(|flag| describe(&mut out, flag));
    }
    let _ = writeln!(
        out,
        "\nEach flag can also stand in the environment (--max-concurrency as SLUICEGATE_MAX_CONCURRENCY) or in a\n\
         file (--config FILE, a line max-concurrency = 8). Durations: 50ms, 10s, 5m, 1h. Sizes: 512KiB, 8MiB.\n\
         Exit codes: 0 done, or drained after SIGTERM, SIGINT or SIGHUP; 1 failed while running, or ended by a second\n\
         signal or a fault of its own (a panic); 2 bad flags or config; 3 stopped by the destination: a refused\n\
         record, 410, or the end of --patience."
    );
    out
}

fn overview(out: &mut String) {
    out.push_str(
        "sluicegate: sends the events of a Kafka topic to a webhook, no faster than the webhook can take\n\n\
         usage: sluicegate COMMAND [options]\n\nCommands:\n",
    );
    for (_, name, what) in Command::ALL {
        let _ = writeln!(out, "  {name:<9}{what}");
    }
    let _ = writeln!(out, "\nsluicegate COMMAND --help shows a command's options. Those of run:");
}

fn describe(out: &mut String, flag: &Flag) {
    let short = flag.short.map_or("    ".into(), |short| format!("-{short}, "));
    let value = flag.value.map_or(String::new(), |value| format!(" {value}"));
    let mut head = format!("  {short}--{}{value}", flag.long);
    if head.chars().count() + 2 > COLUMN {
        let _ = writeln!(out, "{head}");
        head.clear();
    }
    let mut about = flag.doc.to_owned();
    if !flag.default.is_empty() {
        let _ = write!(about, " [{}]", flag.default);
    }
    if flag.repeats && flag.value.is_some() {
        about.push_str(" (repeatable)");
    }
    let mut line = format!("{head:<COLUMN$}");
    for word in about.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{}", line.trim_end());
            line = " ".repeat(COLUMN);
        }
        line.push_str(word);
        line.push(' ');
    }
    let _ = writeln!(out, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_in_the_help_of_its_commands_with_its_default() {
        for &(command, ..) in Command::ALL {
            let help = text(Some(command));
            let plain: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
            for flag in FLAGS {
                let name = format!("--{}", flag.long);
                let described = |line: &str| {
                    let head = line.get(..COLUMN).unwrap_or(line);
                    head.starts_with("  ") && head.split_whitespace().take(2).any(|word| word == name)
                };
                let there = help.lines().any(described);
                assert_eq!(there, flag.commands.contains(&command), "--{} of {}", flag.long, command.name());
                assert!(!there || flag.default.is_empty() || plain.contains(&format!("[{}]", flag.default)));
            }
        }
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        for command in Command::ALL.iter().map(|(command, ..)| Some(*command)).chain([None]) {
            for line in text(command).lines() {
                assert!(line.chars().count() <= 110, "{line}");
            }
        }
    }
}
