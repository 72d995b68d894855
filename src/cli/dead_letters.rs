//! Where a delivery puts rejected records: planned from the flags, looked at, and opened.

use super::Failure;
use super::options::{DeadLetter, Options};
use super::source::Brokers;
#[cfg(feature = "kafka")]
use super::source::Reach;
#[cfg(feature = "kafka")]
use crate::kafka::cluster::Cluster;
#[cfg(feature = "kafka")]
use crate::observe::log::warning;
use crate::relay::dead_letter::file::{self, DeadLetterFile};
use crate::relay::dead_letter::rotation::base;
use crate::relay::dead_letter::{DeadLetters, Drop};
use crate::text::terminal;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

/// What becomes of rejected records.
pub(super) enum DeadLetterPlan {
    /// The first one ends the run.
    Stop,
    Drop,
    File {
        path: PathBuf,
        /// In bytes.
        max_size: Option<usize>,
    },
    #[cfg(feature = "kafka")]
    Topic {
        name: String,
        reach: Box<Reach>,
    },
}

impl fmt::Display for DeadLetterPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop => f.write_str("the first rejected record ends the run, as there is no --dead-letter"),
            Self::Drop => f.write_str("rejected records are dropped"),
            Self::File { path, .. } => write!(f, "rejected records go to {}", terminal::path(path)),
            #[cfg(feature = "kafka")]
            Self::Topic { name, .. } => write!(f, "rejected records go to the topic {name}"),
        }
    }
}

impl DeadLetterPlan {
    /// What the flags ask for, while these topics are read. Contacts nobody and opens nothing.
    pub(super) fn new(options: &Options, topics: &[String], brokers: &Brokers<'_>) -> Result<Self, Failure> {
        let max_size = options.dead_letter_max_size.map(|size| size.0);
        let plan = match &options.dead_letter {
            Some(DeadLetter::File(path)) => {
                refuse_loop(path, options.operand.as_deref())?;
                return Ok(Self::File { path: path.clone(), max_size });
            }
            Some(DeadLetter::Topic(name)) => topic(name, topics, brokers)?,
            Some(DeadLetter::Drop) => Self::Drop,
            None => Self::Stop,
        };
        match max_size {
            None => Ok(plan),
            Some(_) => Err(Failure::usage("--dead-letter-max-size requires --dead-letter FILE")),
        }
    }

    /// Looks whether records could be kept, without keeping any. Gives what a person should know.
    ///
    /// # Errors
    /// What makes it impossible.
    pub(super) fn check(&self) -> Result<Vec<String>, Failure> {
        match self {
            Self::Stop | Self::Drop => Ok(Vec::new()),
            Self::File { path, max_size } => look_at_file(path, max_size.is_some()).map_err(Failure::usage),
            #[cfg(feature = "kafka")]
            Self::Topic { name, reach } => look_at_topic(name, reach),
        }
    }

    /// Where records go, and what people should be warned of. Contacts nobody.
    pub(super) fn open(&self) -> Result<(Box<dyn DeadLetters>, Vec<String>), Failure> {
        match self {
            // Without dead letters the core stops at a rejected record and never puts one.
            Self::Stop | Self::Drop => Ok((Box::new(Drop), Vec::new())),
            Self::File { path, max_size } => {
                // Before it is ours, lest it be found in use.
                let warnings = look_at_file(path, max_size.is_some()).unwrap_or_else(|error| vec![error]);
                let file = DeadLetterFile::open(path)
                    .map_err(|error| Failure::usage(format!("--dead-letter: {error}")))?;
                let most = u64::try_from(max_size.unwrap_or(usize::MAX)).unwrap_or(u64::MAX);
                Ok((Box::new(file.with_max_size(most)), warnings))
            }
            #[cfg(feature = "kafka")]
            Self::Topic { name, reach } => {
                use crate::kafka::dead_letters::DeadLetterTopic;
                let topic = DeadLetterTopic::new(cluster(reach), name.clone());
                Ok((Box::new(topic.explained_by(super::advice::sentence)), Vec::new()))
            }
        }
    }

    /// Begins to look at a topic of dead letters, and logs what would keep letters out of it. Holds nobody up: letters
    /// may never come, and a fault may be fixed before they do.
    pub(super) fn look_ahead(&self) {
        #[cfg(feature = "kafka")]
        if let Self::Topic { name, reach } = self {
            let (name, reach) = (name.clone(), reach.clone());
            // A thread that can't be started looks at nothing: the first letter will tell.
            let _ =
                std::thread::Builder::new().name("dead letters".into()).spawn(move || {
                    match look_at_topic(&name, &reach) {
                        Ok(warnings) => warnings.iter().for_each(|text| warning(text)),
                        Err(Failure { text, .. }) => {
                            warning(&format!(
                                "{text}. Until then, rejected records wait and hold commits back"
                            ));
                        }
                    }
                });
        }
    }
}

fn look_at_file(path: &Path, rotates: bool) -> Result<Vec<String>, String> {
    let warnings = file::probe(path, rotates).map_err(|error| format!("--dead-letter: {error}"))?;
    let about = |text: String| format!("the dead-letter file {} {text}", terminal::path(path));
    Ok(warnings.into_iter().map(about).collect())
}

/// Letters that come from a file, or from its rotated ones, may not go to its end.
fn refuse_loop(path: &Path, read: Option<&OsStr>) -> Result<(), Failure> {
    let Some(read) = read.map(Path::new) else { return Ok(()) };
    let there = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (path, read) = (there(path), there(read));
    if path == read || base(&path) == read {
        return Err(Failure::usage(format!(
            "--dead-letter: {} is the file that is read: what is rejected again would be sent for ever",
            terminal::path(&path)
        )));
    }
    Ok(())
}

#[cfg(feature = "kafka")]
fn topic(name: &str, topics: &[String], brokers: &Brokers<'_>) -> Result<DeadLetterPlan, Failure> {
    use crate::kafka::consumer::topics::Topics;
    use std::sync::Arc;
    let shared: Arc<str> = Arc::from(name);
    let read = Topics::parse(topics).map_err(|error| Failure::usage(format!("--topic: {error}")))?;
    if read.choose([&shared].into_iter()).contains(&shared) {
        return Err(Failure::usage(format!(
            "--dead-letter: the topic '{name}' is one of those that are read: what is rejected would be sent for ever"
        )));
    }
    Ok(DeadLetterPlan::Topic { name: name.to_owned(), reach: Box::new(brokers.reach()?.clone()) })
}

#[cfg(not(feature = "kafka"))]
fn topic(_name: &str, _topics: &[String], _brokers: &Brokers<'_>) -> Result<DeadLetterPlan, Failure> {
    Err(Failure::usage("--dead-letter: a topic requires the native client: build with --features kafka"))
}

#[cfg(feature = "kafka")]
fn cluster(reach: &Reach) -> std::sync::Arc<Cluster> {
    std::sync::Arc::new(Cluster::new(reach.connector.clone(), reach.brokers.clone()))
}

#[cfg(feature = "kafka")]
fn look_at_topic(name: &str, reach: &Reach) -> Result<Vec<String>, Failure> {
    let about = |text: String| format!("the dead-letter topic '{name}': {text}");
    match crate::kafka::dead_letters::look(cluster(reach), name) {
        Ok(warnings) => Ok(warnings.into_iter().map(about).collect()),
        Err(error) => Err(Failure::failed(about(super::advice::sentence(&error)))),
    }
}
