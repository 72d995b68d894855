//! Bearer tokens, read for each authentication from a file or from the output of a command.
//!
//! The command writes to a socket pair, whose reads have a deadline, so a hanging command blocks no thread. It is
//! killed then.

use crate::kafka::security::{Secret, TokenSource};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The maximum size of a token in bytes. Brokers close the connection above 512 KiB.
const LARGEST_TOKEN: usize = 64 * 1024;
/// The time limit of the command, within the connection's deadline.
const LONGEST_COMMAND: Duration = Duration::from_secs(10);
/// The time between two checks whether the command has ended.
const LOOK: Duration = Duration::from_millis(2);

/// Reads the token. Errors are sentences that name the file or the command, but none of their content.
pub(super) fn read(source: &TokenSource, deadline: Instant) -> Result<Secret, String> {
    let (name, bytes) = match source {
        TokenSource::File(path) => {
            let name = format!("the token file {}", path.display());
            let bytes = file(path).map_err(|error| format!("{name} can't be read: {error}"))?;
            (name, bytes)
        }
        TokenSource::Command(words) => {
            let name = format!("the token command {}", words.first().map(String::as_str).unwrap_or_default());
            let deadline = deadline.min(Instant::now() + LONGEST_COMMAND);
            let bytes = output(words, deadline).map_err(|error| format!("{name} {error}"))?;
            (name, bytes)
        }
    };
    if bytes.len() > LARGEST_TOKEN {
        return Err(format!("{name} gives more than {LARGEST_TOKEN} bytes, which is no token"));
    }
    let text = String::from_utf8(bytes).unwrap_or_default();
    let token = text.trim();
    // A token is one word (RFC 6750 §2.1); anything else could inject fields into the message.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{name} gives no token: it has to be one word of ASCII"));
    }
    Ok(Secret::new(token))
}

fn file(path: &Path) -> io::Result<Vec<u8>> {
    crate::files::read(path, LARGEST_TOKEN as u64)
}

/// Reads to the end, or one byte beyond the maximum size.
fn limited(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LARGEST_TOKEN as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A running command, which is killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn output(words: &[String], deadline: Instant) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("can't be run: {error}");
    let (program, arguments) = words.split_first().ok_or("has no words")?;
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut running = Running(
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?,
    );
    let mut source = crate::net::Stream::local(ours);
    source.set_deadline(deadline);
    let too_long = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => "did not end in time".to_owned(),
        _ => failed(error),
    };
    let bytes = limited(&mut source).map_err(too_long)?;
    loop {
        match running.0.try_wait().map_err(failed)? {
            Some(status) if status.success() => return Ok(bytes),
            Some(status) => return Err(format!("failed ({status}): run it yourself to see why")),
            // A command with endless output is not waited for.
            None if bytes.len() > LARGEST_TOKEN => return Ok(bytes),
            None if Instant::now() >= deadline => return Err("did not end in time".into()),
            None => std::thread::sleep(LOOK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn command(words: &[&str]) -> Result<Secret, String> {
        read(&TokenSource::Command(words.iter().map(|word| word.to_string()).collect()), soon())
    }

    #[test]
    fn a_command_prints_the_token() {
        assert_eq!(command(&["echo", "abc.def"]).unwrap().reveal(), "abc.def");
        assert_eq!(
            command(&["printf", "  %s\n\n", "abc$(def)"]).unwrap().reveal(),
            "abc$(def)",
            "there is no shell"
        );
    }

    #[test]
    fn says_what_is_wrong_with_a_command() {
        for (words, expected) in [
            (&["no-such-program-here"][..], "the token command no-such-program-here can't be run: "),
            (&["sh", "-c", "echo secret; exit 3"], "the token command sh failed (exit status: 3)"),
            (&["true"], "gives no token"),
            (&["echo", "two words"], "gives no token"),
            (&["printf", "a\\001b"], "gives no token"),
            (&["yes"], "gives more than 65536 bytes"),
        ] {
            let error = command(words).unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret"), "{words:?}: {error}");
        }
    }

    #[test]
    fn a_command_that_hangs_costs_no_more_than_the_deadline() {
        for words in [["sleep", "600"], ["sh", "-c"]] {
            let mut words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
            if words.len() == 2 && words[0] == "sh" {
                // It closes its output and goes on.
                words.push("exec >&-; exec sleep 600".into());
            }
            let deadline = Instant::now() + Duration::from_millis(100);
            let error = read(&TokenSource::Command(words), deadline).unwrap_err();
            assert!(error.ends_with("did not end in time"), "{error}");
        }
    }

    #[test]
    fn a_file_is_read_anew_each_time() {
        let path = std::env::temp_dir().join(format!("sluicegate-token-{}", std::process::id()));
        let source = TokenSource::File(path.clone());
        assert!(read(&source, soon()).unwrap_err().starts_with("the token file /"));
        for token in ["one", "two"] {
            std::fs::write(&path, format!("{token}\n")).unwrap();
            assert_eq!(read(&source, soon()).unwrap().reveal(), token);
        }
        std::fs::remove_file(path).unwrap();
    }
}
