//! Programs that are run to their end, for what they say. One that never ends is killed and fails the test, so that the
//! others can still report.

use super::LONG;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// kcat sometimes reads a topic for ever although told to end with it; another try reads it whole.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const READ_TRIES: usize = 3;

/// What it says without any input.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    fed(command, b"")
}

/// What it says to this input; less than all of it may be read.
#[track_caller]
pub fn fed(command: &mut Command, input: &[u8]) -> Output {
    let output = within(command, input, LONG);
    output.unwrap_or_else(|| panic!("did not end within {LONG:?}: {command:?}"))
}

/// All that kcat reads with these arguments, to the end of the topic.
#[track_caller]
pub fn consumed(brokers: &str, topic: &str, arguments: &[&str]) -> String {
    let mut kcat = Command::new("kcat");
    kcat.args(["-C", "-e", "-q", "-b", brokers, "-t", topic, "-o", "beginning"]).args(arguments);
    let mut tries = std::iter::repeat_with(|| within(&mut kcat, b"", READ_TIMEOUT)).take(READ_TRIES);
    let output = tries.find_map(|output| output).expect("kcat reads to the end");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// How it ended, waited for no longer than this. Killed and `None` where it runs on.
pub fn ended(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + time;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(Duration::from_millis(2)); // between two looks
    }
}

fn within(command: &mut Command, input: &[u8], time: Duration) -> Option<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    thread::spawn(move || stdin.write_all(&input));
    let stdout = read(child.stdout.take().unwrap());
    let stderr = read(child.stderr.take().unwrap());
    let status = ended(&mut child, time)?;
    // Whoever else holds the pipe, as a child of its own would, may hold it for longer.
    Some(Output { status, stdout: stdout.recv_timeout(time).ok()?, stderr: stderr.recv_timeout(time).ok()? })
}

fn read(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (tell, all) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        tell.send(bytes)
    });
    all
}
