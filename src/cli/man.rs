//! The man page, in roff, made from the tables of commands and of flags.

use super::command::COMMANDS;
use super::help::{COMMON, SENTENCE, description, groups, head, sentences, usage};
use std::fmt::Write;

/// The page.
pub(super) fn page() -> String {
    let mut out = format!(
        ".TH SLUICEGATE 1 \"\" \"sluicegate {}\" \"User Commands\"\n.nh\n.ad l\n.SH NAME\nsluicegate \\- {}\n\
         .SH SYNOPSIS\n.B sluicegate\n.I COMMAND\n.RI [ FLAGS ]\n.SH COMMANDS\n",
        env!("CARGO_PKG_VERSION"),
        text(SENTENCE)
    );
    for about in COMMANDS {
        // Writing to a String cannot fail, here and below.
        let _ = write!(out, ".SS {}\n{}\n", quoted(&usage(about)), text(&description(about)));
        for (what, line) in about.examples {
            let _ = write!(out, ".PP\n{}:\n.PP\n.RS 4\n.nf\n{}\n.fi\n.RE\n", text(what), text(line));
        }
    }
    out.push_str(".SH FLAGS\nThe commands that take a flag stand at its end.\n");
    for (heading, flags) in groups(None) {
        let _ = writeln!(out, ".SS {}", quoted(heading));
        for flag in flags {
            let _ = write!(out, ".TP\n\\fB{}\\fR\n{}\n", text(&head(flag)), text(&sentences(flag, true)));
        }
    }
    out.push_str(".SH NOTES\n");
    for note in COMMON {
        let _ = write!(out, ".PP\n{}\n", text(note));
    }
    out
}

/// Text in which roff finds neither a macro nor an escape.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '.' if out.is_empty() => out.push_str("\\&."),
            '…' => out.push_str("..."),
            c if c.is_ascii() => out.push(c),
            c => _ = write!(out, "\\[u{:04X}]", u32::from(c)),
        }
    }
    out
}

/// One argument of a macro.
fn quoted(argument: &str) -> String {
    format!("\"{}\"", text(argument).replace('"', "\\(dq"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::FLAGS;

    #[test]
    fn every_flag_and_every_command_is_on_the_page() {
        let page = page();
        for flag in FLAGS {
            assert!(page.contains(&format!(".TP\n\\fB{}\\fR\n", text(&head(flag)))), "--{}", flag.long);
        }
        for about in COMMANDS {
            assert!(page.contains(&format!(".SS {}", quoted(&usage(about)))), "{}", about.name);
        }
        assert!(page.is_ascii());
    }

    #[test]
    fn nothing_is_taken_for_roff() {
        assert_eq!(text(".x 'a' \\n -é…"), "\\&.x \\(aqa\\(aq \\en \\-\\[u00E9]...");
    }
}
