//! `receive`: a webhook to try things on. Prints a line for each request, and totals at the end.

use crate::cli::plan::ReceivePlan;
use crate::cli::receiver::{Answered, Behaviour, MOST_CONNECTIONS, Receiver, Tally};
use crate::cli::{Exit, Failure, open_files, print};
use crate::observe::log;
use crate::text::terminal::excerpt;
use crate::text::time::rfc3339;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Characters of a body that are shown.
const BODY_CHARS: usize = 80;
/// Characters of an id or a path that are shown.
const NAME_CHARS: usize = 200;

/// Receives until a signal comes.
pub(crate) fn run(plan: ReceivePlan) -> Result<(), Failure> {
    let ReceivePlan { listen, capacity, delay, statuses, verifier, warnings } = plan;
    let failed = |text: String| Failure { exit: Exit::Failed, text };
    // Before the first output: whoever reads it may send a signal at once.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| failed(format!("can't watch for signals: {error}")))?;
    warnings.iter().for_each(|warning| log::say(::log::Level::Warn, warning));
    open_files::raise_for(MOST_CONNECTIONS);
    let tell = |answered: &Answered<'_>| print(&line(SystemTime::now(), answered));
    let behaviour = Behaviour { capacity, delay, statuses, verifier, tell, ..Behaviour::default() };
    let receiver = Receiver::start(listen, behaviour).map_err(|error| {
        failed(format!("receive can't listen on {listen}: {error}. Choose another address with --listen"))
    })?;
    print(&format!("listening on {}\n", receiver.url()));
    if !receiver.address().ip().is_loopback() {
        let text = "anyone who reaches this address can send to it: listen on 127.0.0.1 unless you mean that";
        log::say(::log::Level::Warn, text);
    }
    signals.forever().next();
    print(&totals(&receiver.tally()));
    Ok(())
}

/// Time, status, method, path, id and the beginning of the body; then remarks. Control characters are escaped.
fn line(now: SystemTime, answered: &Answered<'_>) -> String {
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let now = i64::try_from(now).ok().and_then(rfc3339).unwrap_or_else(|| "?".into());
    let shown = |text: &str| excerpt(text.as_bytes(), NAME_CHARS);
    let (method, path) = (shown(answered.method), shown(answered.path));
    let id = answered.id.map_or("-".into(), shown);
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

fn totals(tally: &Tally) -> String {
    let Tally { accepted, duplicates, turned_away, unverified, refused, unreadable, most, .. } = tally;
    format!(
        "accepted {accepted}, duplicates {duplicates}, over capacity {turned_away}, signature not valid {unverified}, \
         answered otherwise {refused}, unreadable {unreadable}; at most {most} in flight\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
