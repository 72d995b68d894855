//! The one table of commands. Help, man page and completions are made from it and from the table of [flags](super::flags).

/// What sluicegate can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Run,
    Send,
    Check,
    Replay,
    Tail,
    Receive,
    Demo,
    #[cfg(feature = "sandbox")]
    Sandbox,
    Help,
    Version,
    Completions,
    Man,
}

/// What stands behind the name of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    None,
    Optional(&'static str),
    Required(&'static str),
}

/// A row of the table.
pub(crate) struct About {
    pub(crate) command: Command,
    pub(crate) name: &'static str,
    pub(crate) operand: Operand,
    /// The flags that a run without any configuration needs.
    pub(crate) needs: &'static str,
    /// A line for lists of commands.
    pub(crate) summary: &'static str,
    /// Sentences for `--help` and the man page.
    pub(crate) more: &'static str,
    /// What each example does, and the command line.
    pub(crate) examples: &'static [(&'static str, &'static str)],
}

const DELIVERY: &str = "--brokers HOST:PORT --topic NAME --url URL";

/// All commands, in the order of `--help`.
pub(crate) const COMMANDS: &[About] = &[
    About {
        command: Command::Run,
        name: "run",
        operand: Operand::None,
        needs: DELIVERY,
        summary: "deliver the events of a topic to a webhook",
        more: "Runs until it is stopped. An offset is committed once every record before it has been accepted (2xx) or \
               is in the dead letters, so nothing is lost when the process is killed; after a crash some events arrive \
               twice, with the same webhook-id. SIGTERM, SIGINT or SIGHUP finishes what is in flight, commits and exits \
               0; a second SIGTERM or SIGINT ends at once.",
        examples: &[
            (
                "Deliver a topic, and keep rejected events",
                "sluicegate run --brokers localhost:9092 --topic orders --url http://localhost:8080/hook --dead-letter \
                 rejected.jsonl",
            ),
            (
                "Deliver what is there now, at most 4 requests at a time, in order for each key",
                "sluicegate run --brokers localhost:9092 --topic orders --url http://localhost:8080/hook --order key \
                 --max-concurrency 4 --until-end",
            ),
        ],
    },
    About {
        command: Command::Send,
        name: "send",
        operand: Operand::Required("FILE|-"),
        needs: "--url URL",
        summary: "deliver the lines of a file or of standard input; no Kafka needed",
        more: "Each line is an event. Progress in a file is saved beside it, and a second run continues there; progress in \
               standard input is not saved.",
        examples: &[
            ("Deliver a file", "sluicegate send events.jsonl --url http://localhost:8080/hook"),
            (
                "Deliver one event",
                "echo '{\"order\":1}' | sluicegate send - --url http://localhost:8080/hook",
            ),
        ],
    },
    About {
        command: Command::Check,
        name: "check",
        operand: Operand::None,
        needs: DELIVERY,
        summary: "reach brokers and webhook with the flags of run, and report what a run would meet",
        more: "Joins no group, commits nothing, and sends no event unless --send-test asks for one. Exits with 1 if \
               something is wrong.",
        examples: &[
            (
                "Check everything that a run needs",
                "sluicegate check --brokers localhost:9092 --topic orders --url http://localhost:8080/hook",
            ),
            (
                "Send a test event as well",
                "sluicegate check --brokers localhost:9092 --topic orders --url http://localhost:8080/hook --send-test",
            ),
        ],
    },
    About {
        command: Command::Replay,
        name: "replay",
        operand: Operand::Required("FILE|topic:NAME"),
        needs: "--url URL",
        summary: "send dead letters again, from a file or a topic, with the same ids",
        more: "Each dead letter is sent as the record it was. Progress is saved, beside the file or as the offsets of a \
               consumer group, so that a second run sends only what is new.",
        examples: &[
            (
                "Send everything that was rejected",
                "sluicegate replay rejected.jsonl --url http://localhost:8080/hook",
            ),
            (
                "Show which of the events that were answered 422 would be sent",
                "sluicegate replay rejected.jsonl --only status=422 --dry-run --url http://localhost:8080/hook",
            ),
        ],
    },
    About {
        command: Command::Tail,
        name: "tail",
        operand: Operand::Required("FILE|topic:NAME"),
        needs: "",
        summary: "print dead letters, one a line",
        more: "Prints when each record was rejected, where it is from, the status, the reason, key and value.",
        examples: &[
            ("Print the dead letters of a file", "sluicegate tail rejected.jsonl"),
            (
                "Follow a topic of dead letters",
                "sluicegate tail topic:rejected --brokers localhost:9092 --follow",
            ),
        ],
    },
    About {
        command: Command::Receive,
        name: "receive",
        operand: Operand::None,
        needs: "",
        summary: "be a webhook to try things on: print events, count duplicates, verify signatures",
        more: "Prints a line for each request: time, status, method, path, webhook-id and the beginning of the body. Ctrl-C \
               prints totals: accepted events, duplicates (by webhook-id, among the last 1,000,000), requests that were \
               turned away, and the most in flight. It is made for trials, not for production.",
        examples: &[
            ("Receive on http://127.0.0.1:8080", "sluicegate receive"),
            (
                "Be slow and small, and fail every other request",
                "sluicegate receive --delay 100ms --capacity 4 --status 503,204",
            ),
        ],
    },
    About {
        command: Command::Demo,
        name: "demo",
        operand: Operand::None,
        needs: "",
        summary: "watch the idea at work on this machine; nothing to install",
        more: "Delivers ten events two at a time, then 400 events to a receiver that can take 16 at once: first all at \
               once, then through the limit.",
        examples: &[
            ("Watch it", "sluicegate demo"),
            ("With a slower receiver", "sluicegate demo --delay 100ms"),
        ],
    },
    #[cfg(feature = "sandbox")]
    About {
        command: Command::Sandbox,
        name: "sandbox",
        operand: Operand::None,
        needs: "",
        summary: "be a small Kafka broker to try things on, in memory",
        more: "kcat, Java's tools and the usual client libraries create topics in it, write to it and read from it. It has \
               no security, and everything in it is gone when it ends.",
        examples: &[
            ("Serve a topic on 127.0.0.1:9092", "sluicegate sandbox --topic orders"),
            (
                "Serve a topic of three partitions on a free port",
                "sluicegate sandbox --topic orders --partitions 3 --listen 127.0.0.1:0",
            ),
        ],
    },
    About {
        command: Command::Help,
        name: "help",
        operand: Operand::Optional("COMMAND"),
        needs: "",
        summary: "show everything about sluicegate, or about one command",
        more: "The same as --help.",
        examples: &[("Everything about run", "sluicegate help run")],
    },
    About {
        command: Command::Version,
        name: "version",
        operand: Operand::None,
        needs: "",
        summary: "print the version",
        more: "The same as --version.",
        examples: &[("Print the version", "sluicegate version")],
    },
    About {
        command: Command::Completions,
        name: "completions",
        operand: Operand::Required("bash|zsh|fish"),
        needs: "",
        summary: "print a completion script for a shell",
        more: "",
        examples: &[
            ("bash", "source <(sluicegate completions bash)"),
            ("zsh, in a folder of $fpath", "sluicegate completions zsh > ~/.zfunc/_sluicegate"),
            ("fish", "sluicegate completions fish > ~/.config/fish/completions/sluicegate.fish"),
        ],
    },
    About {
        command: Command::Man,
        name: "man",
        operand: Operand::None,
        needs: "",
        summary: "print the man page (roff)",
        more: "",
        examples: &[("Read it", "sluicegate man | man -l -")],
    },
];

impl Command {
    /// The command of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        COMMANDS.iter().find(|about| about.name == name).map(|about| about.command)
    }

    /// Its row of the table.
    pub(crate) fn about(self) -> &'static About {
        let found = COMMANDS.iter().find(|about| about.command == self);
        found.expect("each command has a row: a test looks for each of them")
    }

    pub(crate) fn name(self) -> &'static str {
        self.about().name
    }

    /// Whether it ends by itself once everything that is there is delivered.
    pub(crate) fn comes_to_an_end(self) -> bool {
        matches!(self, Self::Replay | Self::Send)
    }
}

impl Operand {
    /// As it stands in a usage line.
    pub(crate) fn usage(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Optional(name) => format!(" [{name}]"),
            Self::Required(name) => format!(" {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Command::{Check, Completions, Demo, Help, Man, Receive, Replay, Run, Send, Tail, Version};

    #[test]
    fn every_command_has_one_row_and_examples_of_its_own() {
        for command in [Run, Send, Check, Replay, Tail, Receive, Demo, Help, Version, Completions, Man] {
            assert_eq!(COMMANDS.iter().filter(|about| about.command == command).count(), 1);
            assert_eq!(Command::named(command.name()), Some(command));
        }
        for about in COMMANDS {
            let of_it = |(_, line): &(&str, &str)| line.contains(&format!("sluicegate {}", about.name));
            assert!(!about.examples.is_empty() && about.examples.iter().all(of_it), "{}", about.name);
        }
    }
}
