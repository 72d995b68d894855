//! Dead letters: where a delivery puts them, and where they are read from again.

use super::options::{DeadLetter, Options};
#[cfg(feature = "kafka")]
use super::source;
use super::{Exit, Failure};
use crate::relay::dead_letter::file::DeadLetterFile;
use crate::relay::dead_letter::headers::{is_topic, to_record};
use crate::relay::dead_letter::replayed::{Replayed, Resume, open_letters};
use crate::relay::dead_letter::{DeadLetters, Drop, line};
use crate::relay::lines::{KeepPlace, Line, LineFormat, LineSource, Place};
use crate::relay::record::{Offset, Partition, Record};
use crate::relay::source::{CommitError, Polled, Source, Want};
use std::ffi::{OsStr, OsString};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a reader waits for records before it asks again.
const POLL_WAIT: Duration = Duration::from_millis(200);
/// How much a reader takes at once.
const AT_ONCE: Want = Want { records: 500, bytes: 8 << 20 };

/// Where refused records go, from the flags. Contacts nobody.
pub(super) fn keeper(options: &Options) -> Result<Box<dyn DeadLetters>, Failure> {
    let file_only = options.dead_letter_max_size.is_some();
    match &options.dead_letter {
        Some(DeadLetter::File(path)) => {
            refuse_loop(path, options.operand.as_deref())?;
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

/// Letters that come from a file may not go to its end.
fn refuse_loop(path: &Path, read: Option<&OsStr>) -> Result<(), Failure> {
    let there = |path: &Path| path.canonicalize().ok();
    match read.map(Path::new).and_then(there) {
        Some(read) if there(path) == Some(read.clone()) => Err(Failure::usage(format!(
            "--dead-letter: {} is the file that is read: what is refused again would be sent for ever",
            read.display()
        ))),
        _ => Ok(()),
    }
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
    Ok(Box::new(DeadLetterTopic::new(Arc::new(cluster), topic.to_owned())))
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

/// The lines of a file of letters, and where progress is kept, if anywhere.
struct LetterLines {
    replayed: Option<Replayed>,
}

impl LineFormat for LetterLines {
    fn record(&mut self, line: &Line, partition: &Partition) -> Result<Record, String> {
        let letter = line::parse(&line.bytes).map_err(|error| error.to_string())?;
        Ok(to_record(&letter, partition.clone(), Offset(line.place.line)))
    }

    fn keeper(&mut self) -> Option<Box<dyn KeepPlace>> {
        keep_places(self.replayed.take())
    }

    fn takes_unfinished(&self) -> bool {
        false
    }
}

/// Keeps places beside the file.
struct PlacesBeside(Replayed);

impl KeepPlace for PlacesBeside {
    fn keep(&mut self, place: Place, metadata: &str) -> Result<(), CommitError> {
        let kept = self.0.keep(place, metadata);
        kept.map_err(|error| {
            let path = self.0.path().display();
            CommitError::Retriable(format!("progress can't be saved in {path}: {error}"))
        })
    }
}

/// What keeps places, if they are kept.
pub(super) fn keep_places(replayed: Option<Replayed>) -> Option<Box<dyn KeepPlace>> {
    Some(Box::new(PlacesBeside(replayed?)))
}

/// The letters of a file from where `resume` says on, with places kept in `replayed`.
pub(super) fn file_source(
    path: &Path,
    replayed: Option<Replayed>,
    resume: Resume,
) -> Result<Box<dyn Source>, Failure> {
    let unreadable = |error| unreadable(path, &error);
    let (mut file, length) = open_letters(path).map_err(unreadable)?;
    file.seek(SeekFrom::Start(resume.place.byte)).map_err(unreadable)?;
    // What is appended meanwhile is for the next time; half a line tells of itself.
    let end = file.metadata().map_err(unreadable)?.len().max(length);
    let rest = file.take(end.saturating_sub(resume.place.byte));
    let name = path.display().to_string();
    let topic = path.file_name().map_or_else(|| name.clone(), |name| name.to_string_lossy().into_owned());
    let start = (resume.place, resume.metadata);
    let source = LineSource::open(&name, &topic, Box::new(rest), start, LetterLines { replayed });
    Ok(Box::new(source.map_err(unreadable)?))
}

/// A file that was named can't be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let path = path.display();
    Failure::usage(match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            format!("{path} is being sent by another process: how far it came is kept beside the file")
        }
        _ => format!("{path} can't be read: {error}"),
    })
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
    let config = Config { share: Share::Fixed(None), ..config };
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
