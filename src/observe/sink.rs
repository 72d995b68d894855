//! The only way to stderr: a bounded queue of lines, and one thread that formats and writes them.
//!
//! Whatever happens to stderr (closed, a full disk, a pipe that nobody reads), only that thread waits for it. Lines
//! that find the queue full are dropped and counted.

use super::backlog::{Backlog, Line};
use crate::text::time::millis;
use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;
use std::borrow::Cow;
use std::cell::Cell;
use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// What our lines are filed under.
const TARGET: &str = "sluicegate";
/// How long the end of the process waits for lines to be written.
pub(super) const LONGEST_FLUSH: Duration = Duration::from_secs(1);
/// Time between two attempts to start the thread.
const RETRY_THREAD: Duration = Duration::from_secs(1);
/// Time between two attempts to write to a stderr that is non-blocking and full.
const RETRY_WRITE: Duration = Duration::from_millis(10);
/// A text line says how old it is from this age on, because `simple_logger` stamps lines when they are written.
const LATE: Duration = Duration::from_secs(1);

thread_local! {
    static IS_WRITER: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is the thread that writes the log: what it logs itself can't be written.
pub(super) fn is_writer() -> bool {
    IS_WRITER.get()
}

/// The queue and its thread.
pub(super) struct Sink {
    json: AtomicBool,
    state: Mutex<State>,
    /// A line was queued, or one was written.
    changed: Condvar,
}

struct State {
    backlog: Backlog,
    writing: bool,
    thread: Thread,
}

enum Thread {
    None,
    Failed(Instant),
    Running,
}

impl Sink {
    pub(super) const fn new() -> Self {
        let state = State { backlog: Backlog::new(), writing: false, thread: Thread::None };
        Self { json: AtomicBool::new(false), state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Chooses between JSON lines and text.
    pub(super) fn set_json(&self, json: bool) {
        self.json.store(json, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a line; a line that may not be dropped is queued even if there is no room.
    pub(super) fn push(&'static self, line: Line, may_drop: bool) {
        let mut state = self.lock();
        state.backlog.push(line, may_drop);
        let start = match state.thread {
            Thread::None => true,
            Thread::Failed(at) => at.elapsed() >= RETRY_THREAD,
            Thread::Running => false,
        };
        if start {
            // Nobody else starts one meanwhile.
            state.thread = Thread::Running;
        }
        drop(state);
        self.changed.notify_all();
        if start {
            self.start();
        }
    }

    fn start(&'static self) {
        let thread = std::thread::Builder::new().name("log".into());
        if thread.spawn(|| self.serve()).is_err() {
            self.lock().thread = Thread::Failed(Instant::now());
        }
    }

    fn serve(&self) -> ! {
        IS_WRITER.set(true);
        loop {
            let mut state = self.lock();
            let line = loop {
                if let Some(line) = state.backlog.take() {
                    break line;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.writing = true;
            drop(state);
            self.write(&line);
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits until everything queued is written, at most `time`.
    pub(super) fn flush(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let mut state = self.lock();
        state.backlog.tell_dropped();
        let end = state.backlog.taken() + state.backlog.len() as u64;
        while state.backlog.taken() < end || state.writing {
            if !matches!(state.thread, Thread::Running) {
                drop(state);
                return self.write_here();
            }
            self.changed.notify_all();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Without a thread, at the end, the lines are written by the caller: nobody waits for it any more, and that no
    /// thread can be started is among what has to be told.
    fn write_here(&self) {
        let was = IS_WRITER.replace(true);
        loop {
            let line = self.lock().backlog.take();
            let Some(line) = line else { break };
            self.write(&line);
        }
        IS_WRITER.set(was);
    }

    fn write(&self, line: &Line) {
        if self.json.load(Ordering::Relaxed) {
            write(json(line).as_bytes());
        } else if line.plain {
            write(format!("sluicegate: {}\n", printable(&line.text)).as_bytes());
        } else {
            text(line);
        }
    }
}

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) && !is_writer() {
            SINK.push(Line::new(record.level(), record.args().to_string()), true);
        }
    }

    fn flush(&self) {
        Self::flush(self, LONGEST_FLUSH);
    }
}

/// The sink of this process.
pub(super) static SINK: Sink = Sink::new();

/// A line for people. `simple_logger` panics where stderr can't be written; a line that nobody can read ends nothing.
/// (A part of a line may be lost where another process has made stderr non-blocking and its reader is slow.)
fn text(line: &Line) {
    let logger = SimpleLogger::new().with_level(LevelFilter::Trace).with_utc_timestamps();
    let age = line.at.elapsed().unwrap_or_default();
    let late = if age < LATE { String::new() } else { format!(" ({age:.1?} ago)") };
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let args = format_args!("{}{late}", printable(&line.text));
        logger.log(&Record::builder().level(line.level).target(TARGET).args(args).build());
    }));
}

/// A message in one line that can't hurt a terminal: receivers, brokers and the names of files have a say in it.
fn printable(text: &str) -> Cow<'_, str> {
    let is_odd = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(is_odd) {
        return Cow::Borrowed(text);
    }
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        match is_odd(c) {
            true => printable.extend(c.escape_default()),
            false => printable.push(c),
        }
    }
    Cow::Owned(printable)
}

/// One JSON object: the time of the event in milliseconds since 1970, level, fields if there are any, message.
fn json(line: &Line) -> String {
    let time = millis(line.at);
    let message = crate::text::json::escape(&line.text);
    let level = match line.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let mut json = format!("{{\"time_ms\":{time},\"level\":\"{level}\"");
    line.fields.iter().for_each(|fields| fields.write_json(&mut json));
    json.push_str(&format!(",\"message\":\"{message}\"}}\n"));
    json
}

/// Writes all of it, or gives up where stderr can't be written. A stderr that another process made non-blocking is
/// waited for.
fn write(mut bytes: &[u8]) {
    let mut stderr = std::io::stderr().lock();
    while !bytes.is_empty() {
        match stderr.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY_WRITE),
            Err(_) => return,
        }
    }
}

impl Line {
    /// A line of now.
    pub(super) fn new(level: Level, text: String) -> Self {
        Self { at: SystemTime::now(), level, text, fields: None, plain: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_text_line_is_one_line_that_cannot_hurt_a_terminal() {
        assert_eq!(printable("é \n\u{1b}[31m\u{202e}\\"), "é \\n\\u{1b}[31m\\u{202e}\\");
        assert!(matches!(printable("plain – text"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_json_line_is_one_line_whatever_the_message() {
        let message = "a \"quote\"\n\\ \u{1}\u{85}\u{2028} é";
        let line = json(&Line { at: UNIX_EPOCH, ..Line::new(Level::Warn, message.into()) });
        let start = "{\"time_ms\":0,\"level\":\"warn\",\"message\":";
        let rest = line.strip_prefix(start).and_then(|rest| rest.strip_suffix("}\n")).unwrap();
        assert_eq!(rest.lines().count(), 1);
        assert_eq!(crate::text::json::string(rest).as_deref(), Some(message));
    }
}
