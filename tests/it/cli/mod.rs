//! The command line: what it says to bad input, and with which exit code. Nothing is contacted here.

mod help;
mod last_words;
mod receive;

use crate::support::binary;
use crate::support::output::output;

const GOOD: [&str; 7] = ["run", "--brokers", "127.0.0.1:1", "--topic", "t", "--url", "http://127.0.0.1:1/"];

/// Runs with good arguments and these, and expects exit code 2 and a message with all of `texts`.
#[track_caller]
fn refused(more: &[&str], texts: &[&str]) {
    let ended = binary::run(&[&GOOD[..], more].concat()).expect(2);
    assert!(ended.stderr.starts_with("sluicegate: "), "{}", ended.stderr);
    assert_eq!(ended.stderr.trim_end().lines().count(), 1, "one sentence: {}", ended.stderr);
    for text in texts {
        assert!(ended.stderr.contains(text), "expected {text:?} in: {}", ended.stderr);
    }
}

#[test]
fn an_unknown_flag_suggests_the_nearest() {
    refused(&["--max-concurency", "3"], &["--max-concurency", "did you mean --max-concurrency?"]);
    refused(&["--frobnicate"], &["unknown flag --frobnicate", "--help"]);
    refused(&["-z"], &["unknown flag -z"]);
}

#[test]
fn an_unknown_command_suggests_the_nearest() {
    binary::run(&["rum"]).expect(2).saying("did you mean run?");
    binary::run(&["run", "now"]).expect(2).saying("unexpected argument 'now'");
    binary::run(&["replay"])
        .expect(2)
        .saying("replay requires FILE|topic:NAME: sluicegate replay FILE|topic:NAME");
    binary::run(&["send", "-", "-"]).expect(2).saying("unexpected argument '-'");
    binary::run(&["tail", "topic:a/b"]).expect(2).saying("no topic can be called 'a/b'");
    binary::run(&["tail", "/no/such/file"]).expect(2).saying("/no/such/file can't be read");
    binary::run(&["tail", "f", "--only", "code=1"])
        .expect(2)
        .saying("--only: 'code=1' is none of status=422");
    binary::run(&["tail", "f", "--url", "http://h/"]).expect(2).saying("--url is not a flag of tail");
}

#[test]
fn bad_values_name_the_flag_and_the_cure() {
    refused(&["--batch-size"], &["--batch-size requires a value"]);
    refused(&["--max-concurrency", "0"], &["--max-concurrency", "take at least 1"]);
    refused(&["--max-concurrency", "many"], &["'many' is not a whole number"]);
    refused(&["--timeout", "10"], &["--timeout", "'10' is not a duration", "10s"]);
    refused(&["--timeout", "0s"], &["--timeout", "can't be 0"]);
    refused(&["--backoff", "1s"], &["--backoff", "MIN..MAX"]);
    refused(&["--backoff", "5s..1s"], &["--backoff", "MIN has to be"]);
    refused(&["--buffer", "8Mi"], &["--buffer", "8MiB"]);
    refused(&["--order", "any"], &["--order", "none, key, partition"]);
    refused(&["--start", "now"], &["--start", "earliest, latest"]);
    refused(&["--on-status", "4x=retry"], &["--on-status", "not a status"]);
    refused(&["--on-status", "409=again"], &["--on-status", "accept, retry, pause, refuse or stop"]);
    refused(&["--partitions", "a"], &["--partitions", "not a partition number"]);
    refused(&["--dead-letter", "topic:a b"], &["--dead-letter", "no topic can be called 'a b'"]);
    refused(&["--dead-letter", "topic:t"], &["--dead-letter", "'t' is one of those that are read"]);
    refused(&["--dead-letter-max-size", "1MiB"], &["--dead-letter-max-size requires --dead-letter FILE"]);
    refused(&["--dead-letter", "/no/such/folder/f"], &["--dead-letter", "folder does not exist"]);
    refused(&["--batch-size", "1", "--batch-size", "2"], &["--batch-size is given more than once"]);
    refused(&["--forward-header", "*"], &["--forward-header", "pattern"]);
    refused(&["--filter", "header:ce-*=x"], &["--filter", "matches no header"]);
    refused(&["--events", "3"], &["--events is not a flag of run"]);
}

#[test]
fn a_way_to_the_webhook_that_cannot_be_is_told() {
    refused(&["--https-only"], &["--https-only", "https://"]);
    refused(&["--deny-private"], &["--deny-private:", "http://127.0.0.1:1 is not on the Internet"]);
    refused(&["--connect-timeout", "0s"], &["--connect-timeout", "can't be 0"]);
    refused(&["--ca", ""], &["--ca", "the file name is missing"]);
    refused(&["--http-client", "curl"], &["--http-client", "keep-alive, minreq"]);
    let ended = binary::run(&[&GOOD[..], &["--proxy", "socks5://user:secret@h"]].concat()).expect(2);
    assert!(
        ended.stderr.contains("http://HOST:PORT") && !ended.stderr.contains("secret"),
        "{}",
        ended.stderr
    );
    let open = ["--deny-private", "--proxy", "http://proxy.example:3128", "--url", "http://hook.example/"];
    binary::run(&[&GOOD[..5], &open].concat()).expect(2).saying("can't be denied behind a proxy");
    let secure = ["--url", "https://hook.example/"];
    for (more, text) in [
        (["--ca", "/no/such.pem"], "/no/such.pem"),
        (["--client-cert", "/no/cert.pem"], "has no key"),
        (["--client-key", "/no/key.pem"], "has no certificate"),
    ] {
        binary::run(&[&GOOD[..5], &secure, &more].concat()).expect(2).saying(text);
    }
    if cfg!(feature = "minreq") {
        for more in [&["--deny-private"][..], &["--proxy", "h:1"], &["--ca", "f"]] {
            let more = [&["--http-client", "minreq"], more].concat();
            refused(&more, &[more[2], "requires --http-client keep-alive"]);
        }
    }
}

#[test]
fn a_bad_url_is_told_without_what_is_secret_in_it() {
    for (url, text) in [
        ("example.org/hook", "http:// or https://"),
        ("http:///hook", "no host"),
        ("http://secret:secret@/hook", "no host"),
        ("http://example.org:0/", "port"),
        ("http://exa mple.org/?token=secret", "percent-encode"),
    ] {
        let ended =
            binary::run(&["run", "--brokers", "b", "--topic", "t", "--url", url]).expect(2).saying(text);
        assert!(ended.stderr.contains("--url") && !ended.stderr.contains("secret"), "{}", ended.stderr);
    }
}

#[test]
fn what_is_missing_is_named() {
    binary::run(&["run"]).expect(2).saying("--brokers HOST:PORT").saying("is missing");
    binary::run(&["run", "--brokers", "b"]).expect(2).saying("--topic NAME is missing");
    binary::run(&["check", "--brokers", "b", "--topic", "t"]).expect(2).saying("--url URL is missing");
}

#[test]
fn a_bad_header_is_told_without_its_value() {
    for header in ["X-Key: secret\r\nX-Other: y", "X Key: secret", "Content-Length: secret"] {
        let ended = binary::run(&[&GOOD[..], &["--header", header]].concat()).expect(2).saying("--header");
        assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    }
}

#[test]
fn a_bad_config_file_is_told_with_its_line() {
    refused(&["--config", "/no/such/file"], &["/no/such/file", "can't be read"]);
    let path = std::env::temp_dir().join(format!("sluicegate-{}.conf", std::process::id()));
    std::fs::write(&path, "# ours\nbatch-sise = 3\n").unwrap();
    let file = path.to_str().unwrap();
    refused(&["--config", file], &[file, "line 2", "did you mean batch-size?"]);
    std::fs::write(&path, "order = sideways\nmax-concurrency = 0\n").unwrap();
    refused(&["--config", file, "--max-concurrency", "3"], &[file, "line 1", "order", "'sideways'"]);
    refused(&["--config", file, "--order", "none"], &[file, "line 2", "max-concurrency", "at least 1"]);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn settings_that_do_not_fit_together_are_warned_of() {
    let send = |more: &[&str]| {
        let mut command = std::process::Command::new(binary::path());
        command.args(["send", "-", "--url", "http://127.0.0.1:1/"]).args(more);
        command.env("SLUICEGATE_MAX_ATEMPTS", "3");
        binary::Running::spawn(command).wait().expect(0)
    };
    send(&["--max-concurrency", "4096", "--buffer", "1MiB"])
        .saying(
            "--buffer of 1048576 bytes may hold fewer records than --max-concurrency 4096 could send at once",
        )
        .saying("unknown variable SLUICEGATE_MAX_ATEMPTS: did you mean SLUICEGATE_MAX_ATTEMPTS?");
    let ended = send(&["--max-concurrency", "4096"]);
    assert!(!ended.stderr.contains("--buffer"), "{}", ended.stderr);
}

#[test]
fn a_config_file_without_an_end_is_told() {
    refused(&["--config", "/dev/zero"], &["/dev/zero", "larger than 1048576 bytes"]);
    refused(&["--kafka-config", "/dev/zero"], &["--kafka-config", "/dev/zero", "larger than 1048576 bytes"]);
    refused(&["--config", "/"], &["the config file /", "directory"]);
    let pipe = std::env::temp_dir().join(format!("sluicegate-cli-pipe-{}", std::process::id()));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let file = pipe.to_str().unwrap();
    for flag in ["--config", "--kafka-config"] {
        refused(&[flag, file], &[file, "it is a pipe or device that did not end within 5s"]);
    }
    std::fs::remove_file(&pipe).unwrap();
    // What a shell makes of <(…) is a pipe that ends.
    let script = r#"exec "$0" run --config <(echo batch-sise=3)"#;
    let shell = output(std::process::Command::new("bash").args(["-c", script, &binary::path()]));
    let said = String::from_utf8(shell.stderr).unwrap();
    assert!(said.contains("line 1: unknown flag 'batch-sise'"), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let path = binary::path();
    let letters = std::env::temp_dir().join(format!("sluicegate-cli-letters-{}", std::process::id()));
    let letter = concat!(
        r#"{"topic":"t","partition":0,"offset":1,"timestamp":2,"key":null,"key_encoding":"null","headers":[],"#,
        r#""value":"v","value_encoding":"text","status":422,"reason":"r","attempts":1,"#,
        r#""first_attempt_ms":1700000000000,"last_attempt_ms":1700000000000}"#,
        "\n"
    );
    std::fs::write(&letters, letter.repeat(10_000)).unwrap();
    let file = letters.to_str().unwrap();
    for arguments in [&["--help"][..], &["tail", file], &["demo", "--events", "10"]] {
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", r#"set -o pipefail; "$0" "$@" | head -c 1 >/dev/null"#, &path]).args(arguments);
        let ended = output(&mut shell);
        assert!(ended.status.success() && ended.stderr.is_empty(), "{arguments:?}: {ended:?}");
    }
    std::fs::remove_file(&letters).unwrap();
}
