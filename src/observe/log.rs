//! Control of the log by the command line: its form, its verbosity, and flushing.

use super::backlog::Line;
use super::fields::Fields;
use super::sink::{LONGEST_FLUSH, SINK, is_writer};
use log::{Level, LevelFilter};

/// Begins to log to stderr, as text or as JSON lines, panics included. Until `set_verbosity` only `say` writes lines.
pub fn start(json: bool) {
    SINK.set_json(json);
    super::panics::log_panics();
    // It fails only if a logger is there already, which then does the work.
    let _ = log::set_logger(&SINK);
}

/// Chooses between JSON lines and text.
pub(crate) fn set_json(json: bool) {
    SINK.set_json(json);
}

/// How much is logged: 0 for what a person should see, 1 for each attempt as well, 2 for everything; below for less.
pub(crate) fn set_verbosity(verbosity: i8) {
    log::set_max_level(match verbosity {
        ..=-2 => LevelFilter::Error,
        -1 => LevelFilter::Warn,
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        2.. => LevelFilter::Trace,
    });
}

/// Tells something whatever the verbosity, and even if the log has no room for it: the reason why a command ends. As
/// text it is `sluicegate: …`.
pub(crate) fn say(level: Level, text: &str) {
    SINK.push(Line { plain: true, ..Line::new(level, text.to_owned()) }, false);
}

/// Logs a warning.
pub(crate) fn warning(text: &str) {
    tell(Level::Warn, || (Fields::of("warning"), text.to_owned()));
}

/// Whether lines of this level are logged.
pub(super) fn is_told(level: Level) -> bool {
    level <= log::max_level() && !is_writer()
}

/// Logs a line with fields, if lines of this level are logged.
pub(super) fn tell(level: Level, line: impl FnOnce() -> (Fields, String)) {
    if is_told(level) {
        let (fields, text) = line();
        SINK.push(Line { fields: Some(fields), ..Line::new(level, text) }, true);
    }
}

/// Waits until everything logged is written, at most `LONGEST_FLUSH`.
pub fn flush() {
    SINK.flush(LONGEST_FLUSH);
}
