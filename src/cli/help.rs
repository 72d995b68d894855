//! `-h` and `--help`, made from the tables of commands and of flags.

use super::command::{About, COMMANDS, Command};
use super::flags::{FLAGS, Flag, Group};
use std::fmt::Write;

/// How wide a line may be.
const WIDTH: usize = 100;
/// Where the text about a flag begins in `-h`.
const COLUMN: usize = 34;
/// A command with no more flags than this shows all of them in `-h`.
const FEW: usize = 12;

/// The product in a sentence.
pub(super) const SENTENCE: &str =
    "sends the events of a Kafka topic to a webhook, no faster than the webhook can take";

/// What every flag has in common, and the exit codes.
pub(super) const COMMON: [&str; 3] = [
    "Each flag can also be set in the environment (--max-concurrency as SLUICEGATE_MAX_CONCURRENCY) or in a file \
     (--config FILE, with a line max-concurrency = 8). For a repeatable flag, a variable holds one value per line.",
    "Durations: 50ms, 10s, 5m, 1h, 7d. Sizes: 512KiB, 8MiB or a number of bytes.",
    "Exit codes: 0: done, or stopped by a signal with everything committed; 1: failed, or ended by a second signal; 2: \
     wrong flags or configuration, nothing was contacted; 3: ended by the webhook: 410 Gone, \
     --patience, --max-refused, or a rejected record without --dead-letter.",
];

/// `-h`: what most people need, a line each.
pub(super) fn short(command: Option<Command>) -> String {
    let mut out = String::new();
    heading(&mut out, command);
    if command.is_none() {
        for about in COMMANDS {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(out, "  {:<13}{}", about.name, about.summary);
        }
    }
    let shown = command.unwrap_or(Command::Run);
    let all = flags_of(shown).count();
    match command {
        None => out.push_str("\nThe flags of run that people use most:\n"),
        Some(_) if all > FEW => out.push_str("\nThe flags that people use most:\n"),
        Some(_) if all > 0 => out.push_str("\nFlags:\n"),
        Some(_) => {}
    }
    flags_of(shown).filter(|flag| flag.basic || all <= FEW).for_each(|flag| line(&mut out, flag));
    examples(&mut out, shown.about(), 2);
    let more = match command {
        None => "sluicegate --help, or sluicegate COMMAND --help".to_owned(),
        Some(command) => format!("sluicegate {} --help", command.name()),
    };
    let _ = writeln!(out, "\nEverything: {more}");
    out
}

/// `--help`: everything about one command, or about all.
pub(super) fn long(command: Option<Command>) -> String {
    let mut out = String::new();
    heading(&mut out, command);
    match command.map(Command::about) {
        None => COMMANDS.iter().for_each(|about| {
            let _ = writeln!(out, "  {}", usage(about));
            wrap(&mut out, 6, &description(about));
        }),
        Some(about) => {
            if !about.more.is_empty() {
                out.push('\n');
                wrap(&mut out, 0, about.more);
            }
            examples(&mut out, about, usize::MAX);
        }
    }
    for (heading, flags) in groups(command) {
        let _ = writeln!(out, "\n{heading}:");
        for flag in flags {
            let _ = writeln!(out, "  {}", head(flag));
            wrap(&mut out, 6, &sentences(flag, command.is_none()));
        }
    }
    for text in COMMON {
        out.push('\n');
        wrap(&mut out, 0, text);
    }
    out
}

/// The groups with the flags that a command takes, or with all; groups without any are left out.
pub(super) fn groups(command: Option<Command>) -> impl Iterator<Item = (&'static str, Vec<&'static Flag>)> {
    let is_shown = move |flag: &&Flag| command.is_none_or(|command| flag.commands.contains(&command));
    let of_group = move |group| FLAGS.iter().filter(move |flag| flag.group == group).filter(is_shown);
    let all = Group::ALL.iter().map(move |(group, heading)| (*heading, of_group(*group).collect::<Vec<_>>()));
    all.filter(|(_, flags)| !flags.is_empty())
}

/// The flags that a command takes, in the order of their groups.
pub(super) fn flags_of(command: Command) -> impl Iterator<Item = &'static Flag> {
    groups(Some(command)).flat_map(|(_, flags)| flags)
}

/// Everything about a command in sentences.
pub(super) fn description(about: &About) -> String {
    let text = format!("{}. {}", capitalised(about.summary), about.more);
    text.trim_end().to_owned()
}

/// A command line with everything that has to be on it.
pub(super) fn usage(about: &About) -> String {
    let needs = if about.needs.is_empty() { String::new() } else { format!(" {}", about.needs) };
    let flags = if flags_of(about.command).next().is_some() { " [FLAGS]" } else { "" };
    format!("sluicegate {}{}{needs}{flags}", about.name, about.operand.usage())
}

/// Everything about a flag in sentences.
pub(super) fn sentences(flag: &Flag, with_commands: bool) -> String {
    let mut text = format!("{}.", flag.doc);
    if !flag.more.is_empty() {
        let _ = write!(text, " {}", flag.more);
    }
    if flag.repeats && flag.value.is_some() {
        text.push_str(" May be repeated.");
    }
    if !flag.default.is_empty() {
        let _ = write!(text, " [default: {}]", flag.default);
    }
    if with_commands {
        let names: Vec<&str> = flag.commands.iter().map(|command| command.name()).collect();
        let _ = write!(text, " [{}]", names.join(", "));
    }
    text
}

/// `-v, --verbose`, `--order none|key|partition`
pub(super) fn head(flag: &Flag) -> String {
    let short = flag.short.map_or(String::new(), |short| format!("-{short}, "));
    let value = flag.value.map_or(String::new(), |value| format!(" {value}"));
    format!("{short}--{}{value}", flag.long)
}

/// The first letter in upper case.
fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

fn heading(out: &mut String, command: Option<Command>) {
    let _ = match command.map(Command::about) {
        None => writeln!(out, "sluicegate {SENTENCE}\n\nUsage: sluicegate COMMAND [FLAGS]\n\nCommands:"),
        Some(about) => writeln!(out, "{}\n\nUsage: {}", capitalised(about.summary), usage(about)),
    };
}

fn line(out: &mut String, flag: &Flag) {
    let indent = if flag.short.is_some() { "  " } else { "      " };
    let mut head = format!("{indent}{}", head(flag));
    if head.chars().count() + 2 > COLUMN {
        let _ = writeln!(out, "{head}");
        head.clear();
    }
    let _ = writeln!(out, "{head:<COLUMN$}{}", flag.doc);
}

fn examples(out: &mut String, about: &About, most: usize) {
    out.push_str("\nExamples:\n");
    for (what, command_line) in about.examples.iter().take(most) {
        let _ = writeln!(out, "  # {what}");
        let mut indent = "  ";
        let mut rest = *command_line;
        // Too long for a line: continued before a flag.
        while let Some(head) = rest.get(..WIDTH - 6)
            && let Some((head, tail)) = head.rfind(" --").map(|at| rest.split_at(at))
        {
            let _ = writeln!(out, "{indent}{head} \\");
            (indent, rest) = ("      ", tail.trim_start());
        }
        let _ = writeln!(out, "{indent}{rest}");
    }
}

/// Text in lines of at most [`WIDTH`], from this column on.
fn wrap(out: &mut String, column: usize, text: &str) {
    let mut line = " ".repeat(column);
    for word in text.split(' ') {
        if line.chars().count() > column {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                let _ = writeln!(out, "{line}");
                line = " ".repeat(column);
            } else {
                line.push(' ');
            }
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describes(help: &str, flag: &Flag) -> bool {
        let head = head(flag);
        help.lines().any(|line| {
            let rest = line.starts_with("  ").then(|| line.trim_start().strip_prefix(&head)).flatten();
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("  "))
        })
    }

    fn plain(text: &str) -> String {
        text.replace(" \\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_flag_is_in_the_help_of_its_commands_with_its_default() {
        for about in COMMANDS {
            let help = long(Some(about.command));
            for flag in FLAGS {
                let there = describes(&help, flag);
                assert_eq!(
                    there,
                    flag.commands.contains(&about.command),
                    "--{} of {}",
                    flag.long,
                    about.name
                );
                assert!(!there || plain(&help).contains(&plain(&sentences(flag, false))), "--{}", flag.long);
            }
            assert!(about.examples.iter().all(|(_, line)| plain(&help).contains(&plain(line))), "{help}");
        }
        assert!(FLAGS.iter().all(|flag| describes(&long(None), flag)));
    }

    #[test]
    fn the_short_help_has_a_dozen_flags_and_two_examples() {
        for about in COMMANDS {
            let help = short(Some(about.command));
            let shown = FLAGS.iter().filter(|flag| describes(&help, flag)).count();
            let all = flags_of(about.command).count();
            let is_short = if all <= FEW { shown == all } else { (6..=16).contains(&shown) };
            assert!(is_short, "{}: {shown} of {all}\n{help}", about.name);
            assert_eq!(help.matches("  # ").count(), about.examples.len().min(2));
        }
        assert!(short(None).lines().count() <= 50, "{}", short(None));
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        for command in COMMANDS.iter().map(|about| Some(about.command)).chain([None]) {
            for line in [long(command), short(command)].concat().lines() {
                assert!(line.chars().count() <= WIDTH + COLUMN / 4, "{line}");
            }
        }
    }
}
