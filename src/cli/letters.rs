//! Dead letters: where a delivery puts them, and where they are read from again.

use super::options::{DeadLetter, Options};
#[cfg(feature = "kafka")]
use super::source;
use super::{Exit, Failure};
use crate::relay::dead_letter::file::{self, DeadLetterFile};
use crate::relay::dead_letter::file_source::{DeadLetterFiles, ReadOptions};
use crate::relay::dead_letter::headers::is_topic;
use crate::relay::dead_letter::replay_progress::{ReplayEntries, ReplayProgress};
use crate::relay::dead_letter::rotation::base;
use crate::relay::dead_letter::{DeadLetters, Drop};
use crate::relay::source::{PollLimit, Polled, Source};
use crate::text::terminal;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a reader waits for records before it asks again.
const POLL_WAIT: Duration = Duration::from_millis(200);
/// How much a reader takes at once.
const AT_ONCE: PollLimit = PollLimit { records: 500, bytes: 8 << 20 };

/// Looks whether refused records could be kept where the flags say, without keeping any. Gives what a person should
/// know.
///
/// # Errors
/// What makes it impossible.
pub(super) fn check(options: &Options) -> Result<Vec<String>, Failure> {
    match &options.dead_letter {
        Some(DeadLetter::File(path)) => look_at_file(path, options).map_err(Failure::usage),
        Some(DeadLetter::Topic(topic)) => {
            topic_keeper(topic, options)?;
            look_at_topic(topic, options)
        }
        None | Some(DeadLetter::Drop) => Ok(Vec::new()),
    }
}

fn look_at_file(path: &Path, options: &Options) -> Result<Vec<String>, String> {
    let warnings = file::probe(path, options.dead_letter_max_size.is_some());
    let warnings = warnings.map_err(|error| format!("--dead-letter: {error}"))?;
    let about = |text: String| format!("the dead-letter file {} {text}", terminal::path(path));
    Ok(warnings.into_iter().map(about).collect())
}

/// Where refused records go, from the flags, and what people should be warned of. Contacts nobody.
pub(super) fn keeper(options: &Options) -> Result<(Box<dyn DeadLetters>, Vec<String>), Failure> {
    let mut warnings = Vec::new();
    if let Some(DeadLetter::File(path)) = &options.dead_letter {
        refuse_loop(path, options.operand.as_deref())?;
        // Before it is ours, lest it be found in use.
        warnings = look_at_file(path, options).unwrap_or_else(|error| vec![error]);
    }
    Ok((open(options)?, warnings))
}

fn open(options: &Options) -> Result<Box<dyn DeadLetters>, Failure> {
    let file_only = options.dead_letter_max_size.is_some();
    match &options.dead_letter {
        Some(DeadLetter::File(path)) => {
            let file = DeadLetterFile::open(path)
                .map_err(|error| Failure::usage(format!("--dead-letter: {error}")))?;
            let most = options.dead_letter_max_size.map_or(usize::MAX, |size| size.0);
            Ok(Box::new(file.with_max_size(u64::try_from(most).unwrap_or(u64::MAX))))
        }
        _ if file_only => Err(Failure::usage("--dead-letter-max-size is for --dead-letter FILE")),
        Some(DeadLetter::Topic(topic)) => topic_keeper(topic, options),
        // Without dead letters the core stops at a refused record and never puts one.
        None | Some(DeadLetter::Drop) => Ok(Box::new(Drop)),
    }
}

/// Letters that come from a file, or from its rotated ones, may not go to its end.
fn refuse_loop(path: &Path, read: Option<&OsStr>) -> Result<(), Failure> {
    let Some(read) = read.map(Path::new) else { return Ok(()) };
    let there = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (path, read) = (there(path), there(read));
    if path == read || base(&path) == read {
        return Err(Failure::usage(format!(
            "--dead-letter: {} is the file that is read: what is refused again would be sent for ever",
            terminal::path(&path)
        )));
    }
    Ok(())
}

/// Begins to look at a topic of dead letters, and logs what would keep letters out of it. Holds nobody up: letters may
/// never come, and what is wrong may be mended before they do.
pub(super) fn look_ahead(options: &Options) {
    let Some(DeadLetter::Topic(topic)) = options.dead_letter.clone() else { return };
    let options = options.clone();
    // A thread that can't be started looks at nothing: the first letter will tell.
    let _ = std::thread::Builder::new().name("dead letters".into()).spawn(move || {
        match look_at_topic(&topic, &options) {
            Ok(warnings) => {
                warnings.iter().for_each(|warning| ::log::warn!(target: "sluicegate", "{warning}"));
            }
            Err(Failure { text, .. }) => {
                ::log::warn!(target: "sluicegate", "{text}. Until then, refused records wait and hold commits back");
            }
        }
    });
}

#[cfg(feature = "kafka")]
fn look_at_topic(topic: &str, options: &Options) -> Result<Vec<String>, Failure> {
    use crate::kafka::cluster::Cluster;
    use crate::kafka::dead_letters::look;
    let source::Reach { connector, brokers, .. } = source::reach(options)?;
    let about = |text: String| format!("the dead-letter topic '{topic}': {text}");
    let looked = look(std::sync::Arc::new(Cluster::new(connector, brokers)), topic);
    match looked {
        Ok(warnings) => Ok(warnings.into_iter().map(about).collect()),
        Err(error) => Err(Failure { exit: Exit::Failed, text: about(super::advice::sentence(&error)) }),
    }
}

#[cfg(not(feature = "kafka"))]
fn look_at_topic(topic: &str, options: &Options) -> Result<Vec<String>, Failure> {
    topic_keeper(topic, options).map(|_| Vec::new())
}

#[cfg(feature = "kafka")]
fn topic_keeper(topic: &str, options: &Options) -> Result<Box<dyn DeadLetters>, Failure> {
    use crate::kafka::cluster::Cluster;
    use crate::kafka::consumer::topics::Topics;
    use crate::kafka::dead_letters::DeadLetterTopic;
    use std::sync::Arc;
    let name: Arc<str> = Arc::from(topic);
    let read = Topics::parse(&options.topics).map_err(|error| Failure::usage(format!("--topic: {error}")))?;
    if read.choose([&name].into_iter()).contains(&name) {
        return Err(Failure::usage(format!(
            "--dead-letter: the topic '{topic}' is one of those that are read: what is refused would be sent for ever"
        )));
    }
    let source::Reach { connector, brokers, .. } = source::reach(options)?;
    let cluster = Cluster::new(connector, brokers);
    let topic = DeadLetterTopic::new(Arc::new(cluster), topic.to_owned());
    Ok(Box::new(topic.explained_by(super::advice::sentence)))
}

#[cfg(not(feature = "kafka"))]
fn topic_keeper(_topic: &str, _options: &Options) -> Result<Box<dyn DeadLetters>, Failure> {
    Err(Failure::usage("--dead-letter: topics need the native client: build with --features kafka"))
}

/// Where letters are read from.
pub(super) enum LettersIn {
    /// A file of lines.
    File(PathBuf),
    /// A topic.
    Topic(String),
}

impl LettersIn {
    /// What stands behind the command.
    pub(super) fn parse(operand: Option<&OsString>) -> Result<Self, Failure> {
        let operand = operand.ok_or_else(|| Failure::usage("FILE or topic:NAME is missing"))?;
        match operand.to_str().and_then(|text| text.strip_prefix("topic:")) {
            Some(topic) if is_topic(topic) => Ok(Self::Topic(topic.to_owned())),
            Some(topic) => Err(Failure::usage(format!("no topic can be called '{topic}'"))),
            None => Ok(Self::File(operand.into())),
        }
    }
}

/// The letters of a file and its rotated ones, from where `entries` says on, with progress kept in `replayed`.
pub(super) fn file_source(
    path: &Path,
    entries: &ReplayEntries,
    replayed: Option<ReplayProgress>,
    reading: ReadOptions,
) -> Result<Box<dyn Source>, Failure> {
    let source = DeadLetterFiles::open(path, entries, replayed, reading);
    Ok(Box::new(source.map_err(|error| unreadable(path, &error))?))
}

/// A file that was named can't be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let path = terminal::path(path);
    Failure::usage(match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            format!("{path} is being sent by another process: how far it came is kept beside the file")
        }
        std::io::ErrorKind::IsADirectory => format!("{path} is a folder: name a file"),
        _ => format!("{path} can't be read: {error}"),
    })
}

/// How far the letters of a file were sent can't be kept beside it.
pub(super) fn unkept(path: &Path, error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::WouldBlock => unreadable(path, error),
        _ => {
            let path = terminal::path(path);
            Failure::usage(format!("how far it was sent can't be kept in {path}: {error}"))
        }
    }
}

/// The options with which a topic of letters is read, as this group.
pub(super) fn reading(options: &Options, topic: &str, group: String) -> Options {
    Options {
        topics: vec![topic.to_owned()],
        group: Some(options.group.clone().unwrap_or(group)),
        ..options.clone()
    }
}

/// The records of a topic of letters, of all its partitions, from where the group has come to; nothing is committed
/// and no group is joined.
#[cfg(feature = "kafka")]
pub(super) fn look_into(options: &Options) -> Result<Box<dyn Source>, Failure> {
    use crate::kafka::config::{Config, Share};
    use crate::kafka::consumer::Consumer;
    let source::Native { config, connector, brokers, .. } = source::native(options)?;
    let config = Config { share: Share::Fixed(None), commits: false, ..config };
    let consumer = Consumer::open(config, connector, brokers);
    let consumer = consumer.map_err(|error| Failure { exit: Exit::Failed, text: error.to_string() })?;
    Ok(Box::new(consumer))
}

/// Without the native client there are no topics of letters.
#[cfg(not(feature = "kafka"))]
pub(super) fn look_into(_options: &Options) -> Result<Box<dyn Source>, Failure> {
    Err(Failure::usage("topic:NAME needs the native client: build with --features kafka"))
}

/// Hands everything that a source brings to `take`, until its end or until `take` has enough.
pub(super) fn each(
    source: &mut dyn Source,
    mut take: impl FnMut(Polled) -> std::ops::ControlFlow<()>,
) -> Result<(), Failure> {
    loop {
        match source.poll(AT_ONCE, POLL_WAIT) {
            Ok(Polled::Nothing) => {}
            Ok(Polled::End) => break,
            Ok(polled) => {
                if take(polled).is_break() {
                    break;
                }
            }
            Err(error) => return Err(Failure { exit: Exit::Failed, text: error.to_string() }),
        }
    }
    source.close();
    Ok(())
}
