//! `receive`: a webhook to try things on. Prints a line for each request, and totals at the end.

use crate::cli::plan::ReceivePlan;
use crate::cli::receiver::{Answered, Behaviour, Counts, MOST_CONNECTIONS, Receiver};
use crate::cli::signals::watch_for;
use crate::cli::{Failure, open_files, print};
use crate::observe::log;
use crate::text::terminal::excerpt;
use crate::text::time::shown;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fmt::Write as _;
use std::time::SystemTime;

/// Characters of a body that are shown.
const BODY_CHARS: usize = 80;
/// Characters of an id or a path that are shown.
const NAME_CHARS: usize = 200;

/// Receives until a signal comes.
pub(crate) fn run(plan: ReceivePlan) -> Result<(), Failure> {
    let ReceivePlan { listen, capacity, delay, statuses, verifier, warnings } = plan;
    // Before the first output: whoever reads it may send a signal at once.
    let mut signals = watch_for(&[SIGTERM, SIGINT, SIGHUP])?;
    warnings.iter().for_each(|warning| log::say(::log::Level::Warn, warning));
    open_files::raise_for(MOST_CONNECTIONS);
    let tell = |answered: &Answered<'_>| print(&line(SystemTime::now(), answered));
    let behaviour = Behaviour { capacity, delay, statuses, verifier, tell, ..Behaviour::default() };
    let receiver = Receiver::start(listen, behaviour).map_err(|error| {
        let text = format!("receive can't listen on {listen}: {error}. Choose another address with --listen");
        Failure::failed(text)
    })?;
    print(&format!("listening on {}\n", receiver.url()));
    if !receiver.address().ip().is_loopback() {
        let text = "anyone who reaches this address can send to it: listen on 127.0.0.1 unless you mean that";
        log::say(::log::Level::Warn, text);
    }
    signals.forever().next();
    print(&totals(&receiver.counts()));
    Ok(())
}

/// Time, status, method, path, id and the beginning of the body; then remarks. Control characters are escaped.
fn line(now: SystemTime, answered: &Answered<'_>) -> String {
    let now = shown(now);
    let name = |text: &str| excerpt(text.as_bytes(), NAME_CHARS);
    let (method, path) = (name(answered.method), name(answered.path));
    let id = answered.id.map_or("-".into(), name);
    let body = excerpt(answered.body, BODY_CHARS);
    let (status, length) = (answered.status, answered.length);
    let mut line = format!("{now} {status} {method} {path} {id} \"{body}\" ({length} bytes)");
    if answered.verified {
        line.push_str(", signature valid");
    }
    if answered.duplicate {
        line.push_str(", duplicate");
    }
    if !answered.reason.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(line, ": {}", answered.reason);
    }
    line.push('\n');
    line
}

fn totals(counts: &Counts) -> String {
    let Counts { accepted, duplicates, turned_away, unverified, refused, unreadable, most, .. } = counts;
    format!(
        "accepted {accepted}, duplicates {duplicates}, over capacity {turned_away}, signature not valid {unverified}, \
         answered otherwise {refused}, unreadable {unreadable}; at most {most} in flight\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn an_event_is_one_line_that_cannot_hurt_a_terminal() {
        let answered = Answered {
            status: 204,
            method: "POST",
            path: "/hook\u{1b}[2J",
            id: Some("a\u{202e}b"),
            body: b"{\"a\":\x1b[31m\n\xff",
            length: 4_096,
            duplicate: true,
            verified: true,
            reason: "",
        };
        assert_eq!(
            line(UNIX_EPOCH, &answered),
            "1970-01-01T00:00:00.000Z 204 POST /hook\\u{1b}[2J a\\u{202e}b \"{\\\"a\\\":\\u{1b}[31m\\n\\xff\" (4096 bytes), \
             signature valid, duplicate\n"
        );
    }
}
