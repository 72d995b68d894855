//! The binary under test, as a process.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::LONG;
use super::output::ended;

/// The binary's path: the one cargo built, or the one that `SLUICEGATE_BIN` names.
pub fn path() -> String {
    std::env::var("SLUICEGATE_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_sluicegate").into())
}

/// A running sluicegate, killed when dropped.
pub struct Running {
    child: Child,
    stderr: mpsc::Receiver<String>,
    stdout: mpsc::Receiver<String>,
    said: Arc<Mutex<Vec<u8>>>,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stderr: String,
    pub stdout: String,
}

impl Ended {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Panics with all it said unless it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{}{}", self.stdout, self.stderr);
        self
    }

    /// Panics unless stderr says this.
    #[track_caller]
    pub fn saying(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "expected {text:?} in:\n{}", self.stderr);
        self
    }
}

impl Running {
    pub fn spawn(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::default();
        let stderr = reader(child.stderr.take().unwrap(), Arc::clone(&said));
        let stdout = reader(child.stdout.take().unwrap(), Arc::default());
        Self { child, stderr, stdout, said }
    }

    /// What it has said on stderr so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.wait()
    }

    pub fn wait(self) -> Ended {
        self.wait_for(LONG)
    }

    pub fn wait_for(mut self, time: Duration) -> Ended {
        let Some(status) = ended(&mut self.child, time) else {
            let stderr = self.stderr.recv_timeout(LONG).unwrap_or_default();
            panic!("did not end within {time:?}:\n{stderr}");
        };
        let text = |from: &mpsc::Receiver<String>| from.recv_timeout(LONG).unwrap_or_default();
        Ended { status, stderr: text(&self.stderr), stdout: text(&self.stdout) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, and shows meanwhile what has come.
fn reader(mut from: impl Read + Send + 'static, so_far: Arc<Mutex<Vec<u8>>>) -> mpsc::Receiver<String> {
    let (text, read) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4 << 10];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            so_far.lock().unwrap().extend_from_slice(&bytes[..read]);
        }
        let _ = text.send(String::from_utf8_lossy(&so_far.lock().unwrap()).into_owned());
    });
    read
}

/// Runs it with these arguments to its end.
pub fn run(arguments: &[&str]) -> Ended {
    start(arguments).wait()
}

/// Starts it with these arguments.
pub fn start(arguments: &[&str]) -> Running {
    let mut command = Command::new(path());
    command.args(arguments);
    Running::spawn(command)
}
