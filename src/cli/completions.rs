//! Completion scripts for shells, made from the tables of commands and of flags.

use super::command::{COMMANDS, Command, Operand};
use super::flags::{FLAGS, Flag};
use super::help::flags_of;
use std::fmt::Write;

/// The shells there are scripts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "bash" => Some(Self::Bash),
            "zsh" => Some(Self::Zsh),
            "fish" => Some(Self::Fish),
            _ => None,
        }
    }

    pub(super) fn script(self) -> String {
        match self {
            Self::Bash => bash(),
            Self::Zsh => zsh(),
            Self::Fish => fish(),
        }
    }
}

/// What may be written for a placeholder such as `FILE|topic:NAME|drop`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Values {
    /// Any file.
    files: bool,
    /// Words to choose from.
    words: Vec<&'static str>,
}

impl Values {
    /// Placeholders are in upper case, and what is meant literally is in lower case.
    fn of(placeholder: &'static str) -> Self {
        let is_literal = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        };
        let mut values = Self::default();
        for part in placeholder.split('|') {
            // Of `auto[:MIN..MAX]` the part that is always there, of `topic:NAME` the part before the name.
            let literal = part.split('[').next().unwrap_or(part);
            let kind = part.strip_suffix("NAME").unwrap_or_default();
            if part == "FILE" {
                values.files = true;
            } else if is_literal(literal) {
                values.words.push(literal);
            } else if kind.strip_suffix(':').is_some_and(is_literal) {
                values.words.push(kind);
            }
        }
        values
    }

    fn of_operand(command: Command) -> Self {
        match command.about().operand {
            Operand::None => Self::default(),
            Operand::Optional(_) => {
                Self { files: false, words: COMMANDS.iter().map(|about| about.name).collect() }
            }
            Operand::Required(placeholder) => Self::of(placeholder),
        }
    }
}

/// `-v` and `--verbose`
fn names(flag: &Flag) -> Vec<String> {
    flag.short.map(|short| format!("-{short}")).into_iter().chain([format!("--{}", flag.long)]).collect()
}

/// What surrounds the generated parts of the script for bash. A flag and its value with = between them come as three
/// words.
const BASH: &str = r#"# Completions of sluicegate for bash: source <(sluicegate completions bash)
_sluicegate() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= flags= word
  COMPREPLY=()
  [[ $cur == = ]] && cur=
  [[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD-2]}
  case $prev in
!VALUES!  esac
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in !COMMANDS!) command=$word; break ;; esac
  done
  case $command in
!FLAGS!    *) COMPREPLY=($(compgen -W '!WORDS! -h --help -V --version' -- "$cur")); return ;;
  esac
  COMPREPLY=($(compgen -W "$flags" -- "$cur"))
}
complete -F _sluicegate sluicegate
"#;

fn bash() -> String {
    let reply = |values: &Values| {
        let files = if values.files { "-f " } else { "" };
        format!("COMPREPLY=($(compgen {files}-W '{}' -- \"$cur\"))", values.words.join(" "))
    };
    let (mut by_flag, mut by_command) = (String::new(), String::new());
    for flag in FLAGS {
        if let Some(placeholder) = flag.value {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(
                by_flag,
                "    {}) {}; return ;;",
                names(flag).join("|"),
                reply(&Values::of(placeholder))
            );
        }
    }
    for about in COMMANDS {
        let flags: Vec<String> = flags_of(about.command).flat_map(names).collect();
        let operand = reply(&Values::of_operand(about.command));
        let _ = writeln!(by_command, "    {}) flags='-h --help {}'", about.name, flags.join(" "));
        let _ = writeln!(by_command, "      [[ $cur == -* ]] || {{ {operand}; return; }} ;;");
    }
    let commands: Vec<&str> = COMMANDS.iter().map(|about| about.name).collect();
    BASH.replace("!VALUES!", &by_flag)
        .replace("!FLAGS!", &by_command)
        .replace("!COMMANDS!", &commands.join("|"))
        .replace("!WORDS!", &commands.join(" "))
}

/// What surrounds the generated parts of the script for zsh. It is sourced, or stands in a folder of `$fpath`.
const ZSH: &str = r#"#compdef sluicegate
# Completions of sluicegate for zsh: put this into a folder of $fpath, as _sluicegate.
_sluicegate() {
  local -a commands
  commands=(
!COMMANDS!  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
!FLAGS!  esac
}
if [[ $funcstack[1] == _sluicegate ]]; then _sluicegate "$@"; else compdef _sluicegate sluicegate; fi
"#;

fn zsh() -> String {
    let action = |values: &Values| {
        let words = values.words.join(" ").replace(':', r"\:");
        match (words.is_empty(), values.files) {
            (true, false) => " ".to_owned(),
            (true, true) => "_files".to_owned(),
            (false, false) => format!("({words})"),
            (false, true) => format!(r#"_alternative "words:word:({words})" "files:file:_files""#),
        }
    };
    let (mut commands, mut by_command) = (String::new(), String::new());
    for about in COMMANDS {
        let _ = writeln!(commands, "    '{}:{}'", about.name, zsh_text(about.summary));
        let _ =
            write!(by_command, "    {})\n      _arguments -s '(-)'{{-h,--help}}'[Show help]'", about.name);
        for flag in flags_of(about.command) {
            let value = flag.value.map_or(String::new(), |placeholder| {
                format!(":{}:{}", zsh_text(placeholder), action(&Values::of(placeholder)))
            });
            let repeats = if flag.repeats { "*" } else { "" };
            for name in names(flag) {
                let _ = write!(by_command, " \\\n        '{repeats}{name}[{}]{value}'", zsh_text(flag.doc));
            }
        }
        if let Operand::Optional(name) | Operand::Required(name) = about.operand {
            let values = Values::of_operand(about.command);
            let _ = write!(by_command, " \\\n        '1:{}:{}'", zsh_text(name), action(&values));
        }
        by_command.push_str("\n      ;;\n");
    }
    ZSH.replace("!COMMANDS!", &commands).replace("!FLAGS!", &by_command)
}

/// Text within single quotes, and within the brackets and between the colons of `_arguments`.
fn zsh_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '[' | ']' | ':' | '\\' => out.extend(['\\', c]),
            '\'' => out.push_str(r"'\''"),
            _ => out.push(c),
        }
    }
    out
}

fn fish() -> String {
    let quoted = |text: &str| text.replace('\\', r"\\").replace('\'', r"\'");
    let of_commands =
        |names: &str| format!("complete -c sluicegate -n '__fish_seen_subcommand_from {names}'");
    let choices = |values: &Values| match (values.words.is_empty(), values.files) {
        (true, false) => " -x".to_owned(),
        (true, true) => " -r -F".to_owned(),
        (false, false) => format!(" -x -a '{}'", values.words.join(" ")),
        (false, true) => format!(" -r -F -a '{}'", values.words.join(" ")),
    };
    let mut out = "# Completions of sluicegate for fish.\ncomplete -c sluicegate -f\n\
                   complete -c sluicegate -s h -l help -d 'Show help'\n"
        .to_owned();
    for about in COMMANDS {
        let _ = writeln!(
            out,
            "complete -c sluicegate -n __fish_use_subcommand -a {} -d '{}'",
            about.name,
            quoted(about.summary)
        );
        let values = Values::of_operand(about.command);
        if values != Values::default() {
            let files = if values.files { " -F" } else { "" };
            let _ = writeln!(out, "{}{files} -a '{}'", of_commands(about.name), values.words.join(" "));
        }
    }
    for flag in FLAGS {
        let names: Vec<&str> = flag.commands.iter().map(|command| command.name()).collect();
        let short = flag.short.map_or(String::new(), |short| format!(" -s {short}"));
        let value = flag.value.map_or(String::new(), |placeholder| choices(&Values::of(placeholder)));
        let _ = writeln!(
            out,
            "{}{short} -l {}{value} -d '{}'",
            of_commands(&names.join(" ")),
            flag.long,
            quoted(flag.doc)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_is_meant_literally() {
        for (placeholder, files, words) in [
            ("FILE|topic:NAME|drop", true, &["topic:", "drop"][..]),
            ("none|key|partition", false, &["none", "key", "partition"]),
            ("N|auto[:MIN..MAX]", false, &["auto"]),
            ("http://HOST:PORT|none", false, &["none"]),
            ("earliest|latest|TIME", false, &["earliest", "latest"]),
            ("FILE|-", true, &[]),
            ("DUR", false, &[]),
        ] {
            assert_eq!(Values::of(placeholder), Values { files, words: words.to_vec() }, "{placeholder}");
        }
    }

    /// The lines that begin with this, up to one that ends with `;;`.
    fn case<'a>(script: &'a str, start: &str) -> &'a str {
        let at = script.find(start).unwrap_or_else(|| panic!("no {start:?}:\n{script}"));
        script[at..].split(";;").next().unwrap()
    }

    #[test]
    fn every_flag_is_in_every_script_with_its_commands() {
        let (bash, zsh, fish) = (bash(), zsh(), fish());
        for about in COMMANDS {
            let of_bash = case(&bash, &format!("\n    {}) flags=", about.name));
            let of_zsh = case(&zsh, &format!("\n    {})\n", about.name));
            for flag in FLAGS {
                let takes = flag.commands.contains(&about.command);
                let name = format!("--{}", flag.long);
                assert_eq!(of_bash.split([' ', '\'']).any(|word| word == name), takes, "{name}");
                assert_eq!(of_zsh.contains(&format!("{name}[")), takes, "{name}");
                let line = fish.lines().find(|line| line.contains(&format!(" -l {} ", flag.long))).unwrap();
                let commands = line.split('\'').nth(1).unwrap();
                assert_eq!(commands.split(' ').any(|word| word == about.name), takes, "{name}");
            }
        }
    }
}
