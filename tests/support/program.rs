//! A program that is talked to in lines: Java clients and kcat.

use super::LONG;
use super::output::ended;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

/// A line and when it came.
#[derive(Clone, Debug)]
pub struct Line {
    pub at: Instant,
    pub text: String,
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Line>,
}

impl Program {
    /// Starts it; its output is read line by line.
    pub fn start(command: Command) -> Self {
        Self::spawn(command, false)
    }

    /// Starts it; what it says on stderr counts as well.
    pub fn start_with_stderr(command: Command) -> Self {
        Self::spawn(command, true)
    }

    fn spawn(mut command: Command, with_stderr: bool) -> Self {
        let stderr = if with_stderr { Stdio::piped() } else { Stdio::null() };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let (send, lines) = mpsc::channel();
        if let Some(stderr) = child.stderr.take() {
            read(stderr, send.clone());
        }
        read(child.stdout.take().unwrap(), send);
        Self { stdin: child.stdin.take(), child, lines }
    }

    /// Writes a line to it; that it has gone shows in what it no longer says.
    pub fn say(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
        }
    }

    /// The next line within this time; `None`: nothing, or it has ended.
    pub fn line_within(&self, time: Duration) -> Option<Line> {
        self.lines.recv_timeout(time).ok()
    }

    /// What it has said since the last look.
    pub fn said(&self) -> impl Iterator<Item = Line> {
        self.lines.try_iter()
    }

    /// Waits for a line that begins with this, and returns the rest of it. An `error` line fails the test.
    #[track_caller]
    pub fn expect(&self, start: &str) -> String {
        let deadline = Instant::now() + LONG;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { panic!("never said {start:?}") };
            assert!(!line.text.starts_with("error "), "{}", line.text);
            if let Some(rest) = line.text.strip_prefix(start) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Ends what it says with the end of its input, and waits for it to go.
    #[track_caller]
    pub fn close(mut self) -> Vec<Line> {
        drop(self.stdin.take());
        let (mut lines, deadline) = (Vec::new(), Instant::now() + LONG);
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => lines.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("did not end with its input: {lines:?}"),
            }
        }
        let status = ended(&mut self.child, LONG);
        assert!(status.is_some_and(|status| status.success()), "{status:?}: {lines:?}");
        lines
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A shell that holds a leash ends with its input; whatever else it is is killed.
        drop(self.stdin.take());
        if std::iter::repeat_with(|| self.child.try_wait().unwrap()).take(100).all(|ended| {
            std::thread::sleep(Duration::from_millis(1)); // between two looks
            ended.is_none()
        }) {
            self.kill();
        }
    }
}

fn read(from: impl Read + Send + 'static, to: Sender<Line>) {
    std::thread::spawn(move || {
        for text in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(Line { at: Instant::now(), text }).is_err() {
                return;
            }
        }
    });
}
