//! The last line that a process writes: its form, and that it is written at all.

use crate::support::binary::{self, Running};
use std::process::Command;

/// Panics unless all that was said on stderr is one JSON line, which says this.
#[track_caller]
fn one_json_line(stderr: &str, text: &str) {
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let message = stderr.split_once(r#","level":"error","message":"#);
    let message = message.and_then(|(_, rest)| rest.trim_end().strip_suffix('}'));
    let message = message.and_then(sluicegate::text::json::string).unwrap_or_else(|| panic!("{stderr}"));
    assert!(message.contains(text), "{stderr}");
}

#[test]
fn errors_in_flags_have_the_form_of_the_log() {
    let run = ["run", "--brokers", "127.0.0.1:1", "--topic", "t", "--url", "http://127.0.0.1:1/"];
    for (more, text) in [
        (&["--log-format", "json", "--brokes", "x"][..], "did you mean --brokers?"),
        (&["--brokes", "x", "--log-format=json"], "did you mean --brokers?"),
        (&["--log-format", "json", "--batch-size", "\"\\\n"], "is not a whole number"),
        (&["--log-format", "json", "--dead-letter", "/no/such/folder/f"], "folder does not exist"),
    ] {
        one_json_line(&binary::run(&[&run[..], more].concat()).expect(2).stderr, text);
    }
    let mut command = Command::new(binary::path());
    command.arg("run").env("SLUICEGATE_LOG_FORMAT", "json");
    one_json_line(&Running::spawn(command).wait().expect(2).stderr, "is missing");
}

/// The end of a process that is this test's own: what it logs is looked at by [`a_panic_is_one_line_of_the_log`].
#[test]
fn panics_when_asked_to() {
    let Ok(form) = std::env::var("SLUICEGATE_TEST_PANIC") else { return };
    sluicegate::observe::log::start(form == "json");
    let thread = std::thread::Builder::new().name("the worker".into());
    let panicked = thread.spawn(|| panic!("a \"fault\"\nwith `secret` data")).unwrap().join();
    assert!(panicked.is_err());
    sluicegate::observe::log::flush();
    std::process::exit(0);
}

#[test]
fn a_panic_is_one_line_of_the_log() {
    for form in ["json", "text"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "cli::last_words::panics_when_asked_to", "--nocapture"]);
        command.env("SLUICEGATE_TEST_PANIC", form);
        let ended = Running::spawn(command).wait().expect(0);
        let text = "thread 'the worker' panicked at tests/it/cli/last_words.rs";
        match form {
            "json" => one_json_line(&ended.stderr, text),
            _ => assert!(
                ended.stderr.starts_with("sluicegate: a fault of sluicegate's own: "),
                "{}",
                ended.stderr
            ),
        }
        assert!(ended.stderr.contains(text) && !ended.stderr.contains("secret"), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1);
    }
}

/// Only root can become a user with few threads.
#[test]
fn last_words_are_written_although_no_thread_can_be_started() {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        return;
    }
    // The folder of the binary may not be open to others.
    let copy = std::env::temp_dir().join(format!("sluicegate-threadless-{}", std::process::id()));
    std::fs::copy(binary::path(), &copy).unwrap();
    let script = r#"ulimit -u 1; exec "$@""#;
    let run = |more: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=54321",
            "--regid=54321",
            "--clear-groups",
            "bash",
            "-c",
            script,
            "threadless",
        ]);
        command.arg(&copy).args(["run", "--brokers", "127.0.0.1:1", "--topic", "t"]).args(more);
        Running::spawn(command).wait()
    };
    run(&[]).expect(2).saying("sluicegate: --url URL is missing");
    let ended = run(&["--url", "http://127.0.0.1:1/", "--log-format", "json"]).expect(1);
    std::fs::remove_file(&copy).unwrap();
    one_json_line(&ended.stderr, "no thread can be started");
}
