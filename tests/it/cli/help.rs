//! Help, man page and completions, as shells and readers take them.

use crate::support::binary;
use crate::support::output::fed;
use std::process::{Command, Stdio};

#[test]
fn help_and_version_go_to_stdout() {
    let out = |arguments: &[&str]| {
        let ended = binary::run(arguments).expect(0);
        assert!(ended.stderr.is_empty(), "{}", ended.stderr);
        ended.stdout
    };
    assert!(out(&["--help"]).contains("--max-concurrency N|auto[:MIN..MAX]"));
    assert!(out(&["run", "--help"]).contains("[default: 8]"));
    assert!(out(&["demo", "-h"]).contains("--delay"));
    assert!(out(&["-h"]).lines().count() < out(&["--help"]).lines().count() / 3);
    assert_eq!(out(&["help", "run"]), out(&["run", "--help"]));
    assert_eq!(out(&["help"]), out(&["--help"]));
    let version = concat!("sluicegate ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((out(&["--version"]), out(&["version"])), (version.into(), version.into()));
}

#[test]
fn without_a_command_the_short_help_goes_to_stderr() {
    let ended = binary::run(&[]).expect(2);
    assert!(ended.stdout.is_empty());
    assert_eq!(ended.stderr, binary::run(&["-h"]).expect(0).stdout);
    binary::run(&["--topic", "t"]).expect(2).saying("no command given");
    binary::run(&["help", "rum"]).expect(2).saying("unknown command 'rum': did you mean run?");
    binary::run(&["completions", "tcsh"]).expect(2).saying("completions exist for bash, zsh and fish");
}

/// Runs a program with this input; `None` where it is not installed.
fn piped(program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new(program);
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    let output = fed(command.args(arguments), input.as_bytes());
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program}: {text}");
    Some(text)
}

#[test]
fn shells_take_the_completions() {
    for (shell, arguments) in [("bash", &["-n"][..]), ("zsh", &["-n"]), ("fish", &["--no-execute"])] {
        let script = binary::run(&["completions", shell]).expect(0).stdout;
        if let Some(said) = piped(shell, arguments, &script) {
            assert!(said.is_empty(), "{shell}: {said}");
        }
    }
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let script = binary::run(&["completions", "bash"]).expect(0).stdout;
    for (line, words) in [
        ("sluicegate re", "replay receive"),
        ("sluicegate run --order ", "none key partition"),
        ("sluicegate run --order p", "partition"),
        ("sluicegate run --order = k", "key"),
        ("sluicegate replay --dry", "--dry-run"),
        ("sluicegate run --dry", ""),
        ("sluicegate tail topi", "topic:"),
        ("sluicegate completions ", "bash zsh fish"),
        ("sluicegate run --brokers ", ""),
    ] {
        let ask = format!(
            "{script}\nread -ra COMP_WORDS <<<'{line}'\n[[ '{line}' == *' ' ]] && COMP_WORDS+=('')\n\
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\ncd /; _sluicegate\necho \"${{COMPREPLY[*]}}\"\n"
        );
        let Some(said) = piped("bash", &[], &ask) else { return };
        assert_eq!(said.trim_end(), words, "{line}");
    }
}

#[test]
fn the_man_page_renders_without_a_complaint() {
    let page = binary::run(&["man"]).expect(0).stdout;
    if let Some(shown) = piped("groff", &["-man", "-Tutf8", "-ww", "-P-cbou"], &page) {
        assert!(!shown.contains("<standard input>"), "{shown}");
        assert!(
            shown.contains("--max-concurrency") && shown.contains("SLUICEGATE_MAX_CONCURRENCY"),
            "{shown}"
        );
    }
    if let Some(said) = piped("mandoc", &["-Tlint", "-Werror"], &page) {
        assert!(!said.contains("ERROR"), "{said}");
    }
}

#[test]
fn the_demo_draws_its_result() {
    let path = std::env::temp_dir().join(format!("sluicegate-demo-{}.svg", std::process::id()));
    let file = path.to_str().unwrap();
    let ended = binary::run(&["demo", "--events", "40", "--delay", "5ms", "--svg", file]).expect(0);
    assert!(ended.stdout.contains(&format!("The picture is in {file}.")), "{}", ended.stdout);
    let svg = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    binary::run(&["demo", "--events", "2", "--svg", "/no/such/folder/f.svg"]).expect(2).saying("--svg: ");
}
