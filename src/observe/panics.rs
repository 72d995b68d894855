//! Panics as lines of the log. Their message may quote data: a string that was sliced wrongly stands in backticks.

use super::backlog::Line;
use super::sink::{SINK, is_writer};
use log::Level;
use std::panic::PanicHookInfo;
use std::time::Duration;

/// How long a panic waits until it is written: the process may be about to abort.
const FLUSH: Duration = Duration::from_millis(100);
/// The most characters of its message.
const MESSAGE_CHARS: usize = 200;

/// Logs each panic of this process in one line.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        // `simple_logger` panics where stderr can't be written: nobody would see it.
        if is_writer() {
            return;
        }
        let line = Line { plain: true, ..Line::new(Level::Error, sentence(panic)) };
        SINK.push(line, false);
        SINK.flush(FLUSH);
    }));
}

fn sentence(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let place = panic.location().map_or_else(|| "?".into(), ToString::to_string);
    let payload = panic.payload();
    let message = payload.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
    format!(
        "a fault of sluicegate's own: thread '{}' panicked at {place}: {}",
        thread.name().unwrap_or("?"),
        plain(message)
    )
}

/// The message without what it quotes.
fn plain(message: &str) -> String {
    let plain = message.split('`').next().unwrap_or_default();
    plain.lines().next().unwrap_or_default().chars().take(MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_panic_quotes_no_data() {
        let sliced = std::panic::catch_unwind(|| {
            let text = std::hint::black_box("é-secret");
            text[..1].len()
        });
        let message = sliced.unwrap_err();
        let message = message.downcast_ref::<String>().unwrap();
        assert!(message.contains("secret"), "the test proves nothing: {message}");
        assert!(!plain(message).contains("secret"), "{}", plain(message));
        assert_eq!(
            plain("index out of bounds: the len is 1 but the index is 2\nmore"),
            "index out of bounds: the len is 1 but the index is 2"
        );
    }
}
