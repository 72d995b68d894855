//! A value made from files, and made again when they change: certificates, keys, secrets.
//!
//! Getting the value checks the files, at most once every [`CHECK_INTERVAL`]; there is no thread. Contents
//! are compared, not times, so that any way to replace a file is noticed: written in place, renamed over, or a link
//! pointed elsewhere, as Kubernetes does with secrets.
//!
//! - A file that was modified just now may be half written: its new content counts once it is older than
//!   [`SETTLE_TIME`] or the same on two looks.
//! - Several files (a certificate and its key) are read and used together, so a pair that does not match is not used.
//! - New content that can't be used leaves the last good value; a warning says so once per change, and again ever
//!   more rarely.
//!
//! Invariant: no lock is held while a file is read or a value is made.

use super::read::{FileError, read_named, read_regular};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How often files are looked at, at most.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A file that was modified within this may still be written to.
pub const SETTLE_TIME: Duration = Duration::from_secs(1);
/// The first reminder of content that can't be used comes after this.
const FIRST_REMINDER: Duration = Duration::from_secs(60);
/// Each further reminder comes after this many times the last wait,
const REMINDER_FACTOR: u32 = 4;
/// and at the latest after this.
const LONGEST_REMINDER: Duration = Duration::from_secs(6 * 3_600);

/// Logs what happens to the files during a run.
#[derive(Clone, Copy)]
pub struct Reporter {
    /// Something needs a person.
    pub warn: fn(&str),
    /// Something is worth a line.
    pub info: fn(&str),
}

impl Reporter {
    /// Tells nobody.
    pub const SILENT: Self = Self { warn: |_| (), info: |_| () };
}

impl Default for Reporter {
    fn default() -> Self {
        Self::SILENT
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// Settings that differ in nothing but whom they tell are the same settings.
impl PartialEq for Reporter {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Reporter {}

/// What the files hold, by their paths.
pub struct Contents(Vec<(PathBuf, Vec<u8>)>);

impl Contents {
    /// The content of a file; nothing if it is not one of those that are watched.
    pub fn of(&self, path: &Path) -> &[u8] {
        self.0.iter().find(|(known, _)| known == path).map_or(&[], |(_, bytes)| bytes)
    }

    fn fingerprint(&self) -> u64 {
        fingerprint(&self.0)
    }
}

fn fingerprint(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

type Make<T> = dyn Fn(&Contents) -> Result<T, String> + Send + Sync;

/// A value made of files.
pub struct Watched<T> {
    /// What it is, for people: `the credentials`.
    name: String,
    files: Vec<Watch>,
    make: Box<Make<T>>,
    reporter: Reporter,
    state: Mutex<State<T>>,
}

struct Watch {
    path: PathBuf,
    limit: u64,
}

struct State<T> {
    value: Arc<T>,
    /// Of the contents it was made of.
    used: u64,
    /// Of what was found at the last look, where that is something else.
    found: Option<u64>,
    /// When the files are to be looked at again.
    due: Instant,
    trouble: Option<Trouble>,
}

/// Content that can't be used.
struct Trouble {
    fingerprint: u64,
    text: String,
    /// When it is told next.
    due: Instant,
    wait: Duration,
}

/// What a look at the files found.
struct Found {
    fingerprint: u64,
    contents: Result<Contents, String>,
    /// Nobody is writing any more, as far as can be seen.
    settled: bool,
}

impl<T> Watched<T> {
    /// Reads the files for the first time, each up to its limit in bytes. A pipe among them is read this once.
    pub fn open<E: From<FileError> + fmt::Display>(
        name: impl Into<String>,
        files: &[(PathBuf, u64)],
        make: impl Fn(&Contents) -> Result<T, E> + Send + Sync + 'static,
        reporter: Reporter,
        now: Instant,
    ) -> Result<Self, E> {
        let mut contents = Vec::new();
        let mut regular = true;
        for (path, limit) in files {
            contents.push((path.clone(), read_named(path, *limit)?));
            regular &= path.is_file();
        }
        let contents = Contents(contents);
        let value = Arc::new(make(&contents)?);
        let watched = if regular { files } else { &[] };
        let files = watched.iter().map(|(path, limit)| Watch { path: path.clone(), limit: *limit }).collect();
        let (used, due) = (contents.fingerprint(), later(now, CHECK_INTERVAL));
        let state = Mutex::new(State { value, used, found: None, due, trouble: None });
        let make = Box::new(move |contents: &Contents| make(contents).map_err(|error| error.to_string()));
        Ok(Self { name: name.into(), files, make, reporter, state })
    }

    /// A value that no file changes.
    pub fn fixed(value: T) -> Self {
        let value = Arc::new(value);
        let state = State { value, used: 0, found: None, due: Instant::now(), trouble: None };
        let make = Box::new(|_: &Contents| Err("it is made of no file".to_owned()));
        let (name, reporter) = (String::new(), Reporter::SILENT);
        Self { name, files: Vec::new(), make, reporter, state: Mutex::new(state) }
    }

    /// The value as the files say; at most [`CHECK_INTERVAL`] and [`SETTLE_TIME`] late.
    pub fn get(&self, now: Instant) -> Arc<T> {
        let mut state = self.lock();
        if now < state.due || self.files.is_empty() {
            return Arc::clone(&state.value);
        }
        // The others go on with what there is while this thread looks.
        state.due = later(now, CHECK_INTERVAL);
        drop(state);
        self.look(now, false)
    }

    /// The value as the files say at this moment, for one who was told that the last one is not good any more.
    pub fn renew(&self, now: Instant) -> Arc<T> {
        self.look(now, true)
    }

    fn look(&self, now: Instant, at_once: bool) -> Arc<T> {
        if self.files.is_empty() {
            return Arc::clone(&self.lock().value);
        }
        let Found { fingerprint, contents, settled } = self.find();
        let mut state = self.lock();
        if state.used == fingerprint {
            (state.found, state.trouble) = (None, None);
            return Arc::clone(&state.value);
        }
        let seen_before = state.found.replace(fingerprint) == Some(fingerprint);
        if !(seen_before || settled || at_once) {
            return Arc::clone(&state.value);
        }
        if state.trouble.as_ref().is_some_and(|trouble| trouble.fingerprint == fingerprint) {
            return self.remind(state, now);
        }
        drop(state);
        match contents.and_then(|contents| (self.make)(&contents)) {
            Ok(value) => self.replace(value, fingerprint),
            Err(text) => self.keep(text, fingerprint, now),
        }
    }

    fn find(&self) -> Found {
        let mut contents = Vec::new();
        let mut settled = true;
        for Watch { path, limit } in &self.files {
            settled &= is_settled(path);
            match read_regular(path, *limit) {
                Ok(bytes) => contents.push((path.clone(), bytes)),
                Err(error) => {
                    // A file that is being replaced may be away for a moment.
                    let text = error.to_string();
                    return Found { fingerprint: fingerprint(&text), contents: Err(text), settled: false };
                }
            }
        }
        let contents = Contents(contents);
        Found { fingerprint: contents.fingerprint(), contents: Ok(contents), settled }
    }

    fn replace(&self, value: T, fingerprint: u64) -> Arc<T> {
        let value = Arc::new(value);
        let mut state = self.lock();
        let new = std::mem::replace(&mut state.used, fingerprint) != fingerprint;
        (state.found, state.trouble) = (None, None);
        state.value = Arc::clone(&value);
        drop(state);
        if new {
            (self.reporter.info)(&format!(
                "{} changed on disk: the new content is used from now on",
                self.name
            ));
        }
        value
    }

    fn keep(&self, text: String, fingerprint: u64, now: Instant) -> Arc<T> {
        let mut state = self.lock();
        let value = Arc::clone(&state.value);
        let told = state.trouble.as_ref().is_some_and(|trouble| trouble.fingerprint == fingerprint);
        let due = later(now, FIRST_REMINDER);
        let trouble = Trouble { fingerprint, text: text.clone(), due, wait: FIRST_REMINDER };
        state.trouble = Some(trouble);
        drop(state);
        if !told {
            self.warn(&text);
        }
        value
    }

    fn remind(&self, mut state: MutexGuard<'_, State<T>>, now: Instant) -> Arc<T> {
        let value = Arc::clone(&state.value);
        let Some(trouble) = state.trouble.as_mut().filter(|trouble| now >= trouble.due) else { return value };
        trouble.wait = trouble.wait.saturating_mul(REMINDER_FACTOR).min(LONGEST_REMINDER);
        trouble.due = later(now, trouble.wait);
        let text = trouble.text.clone();
        drop(state);
        self.warn(&text);
        value
    }

    fn warn(&self, text: &str) {
        (self.reporter.warn)(&format!(
            "{} changed on disk and can't be used: {text}. Until that is mended the previous content stays in use",
            self.name
        ));
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Each field is whole by itself: at worst a look is made once more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched({})", self.name)
    }
}

fn later(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now)
}

/// Whether a file's last modification is long enough ago. One from the future tells nothing: clocks differ.
fn is_settled(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    age.is_some_and(|age| age >= SETTLE_TIME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    /// A folder that is gone when the test is.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = format!("sluicegate-watched-{name}-{}", std::process::id());
            let folder = Self(std::env::temp_dir().join(folder));
            std::fs::create_dir_all(&folder.0).unwrap();
            folder
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            std::fs::write(self.0.join(name), text).unwrap();
            self.0.join(name)
        }

        /// Writes a file as if it had been there for an hour.
        fn write_old(&self, name: &str, text: &str) {
            let file = std::fs::File::options().write(true).open(self.write(name, text)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3_600)).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Joins the files' texts; one that holds `bad` can't be used.
    fn joined(paths: &[PathBuf], reporter: Reporter, now: Instant) -> Result<Watched<String>, FileError> {
        let files: Vec<(PathBuf, u64)> = paths.iter().map(|path| (path.clone(), 64)).collect();
        let paths = paths.to_vec();
        let make = move |contents: &Contents| {
            let texts: Vec<&str> =
                paths.iter().map(|path| std::str::from_utf8(contents.of(path)).unwrap()).collect();
            match texts.iter().any(|text| text.contains("bad")) {
                true => crate::files::text("f".as_ref(), b"\xff").map(str::to_owned),
                false => Ok(texts.concat()),
            }
        };
        Watched::open("the words", &files, make, reporter, now)
    }

    fn watched(paths: &[PathBuf], now: Instant) -> Watched<String> {
        joined(paths, Reporter::SILENT, now).unwrap()
    }

    #[test]
    fn is_read_again_once_it_changed_and_not_before_the_interval() {
        let (now, folder) = (Instant::now(), Folder::new("again"));
        let words = watched(&[folder.write("f", "one")], now);
        folder.write_old("f", "two");
        assert_eq!(*words.get(now), "one");
        assert_eq!(*words.get(now + CHECK_INTERVAL), "two");
    }

    #[test]
    fn a_file_that_is_being_written_counts_once_it_stays_the_same() {
        let (now, folder) = (Instant::now(), Folder::new("settles"));
        let words = watched(&[folder.write("f", "one")], now);
        for (look, (text, expected)) in
            [("t", "one"), ("tw", "one"), ("two", "one"), ("two", "two")].into_iter().enumerate()
        {
            folder.write("f", text);
            assert_eq!(*words.get(now + CHECK_INTERVAL * (look as u32 + 1)), expected);
        }
        folder.write("f", "three");
        assert_eq!(*words.renew(now), "three", "but at once where the last one is known to be of no use");
    }

    #[test]
    fn the_same_length_and_time_hide_no_change() {
        let (now, folder) = (Instant::now(), Folder::new("hidden"));
        folder.write_old("f", "one");
        let path = folder.0.join("f");
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let words = watched(&[path], now);
        let file = std::fs::File::options().write(true).open(folder.write("f", "two")).unwrap();
        file.set_modified(time).unwrap();
        assert_eq!(*words.get(now + CHECK_INTERVAL), "two");
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_followed() {
        let (now, folder) = (Instant::now(), Folder::new("link"));
        for (version, text) in [("..v1", "one"), ("..v2", "two")] {
            std::fs::create_dir(folder.0.join(version)).unwrap();
            folder.write_old(&format!("{version}/secret"), text);
        }
        // As the kubelet writes it: secret -> ..data/secret, ..data -> ..v1.
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.0.join(name)).unwrap();
        link("..v1", "..data");
        link("..data/secret", "secret");
        let words = watched(&[folder.0.join("secret")], now);
        link("..v2", "..data_tmp");
        std::fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
        std::fs::remove_dir_all(folder.0.join("..v1")).unwrap();
        assert_eq!(*words.get(now + CHECK_INTERVAL), "two");
    }

    #[test]
    fn several_files_change_together() {
        let (now, folder) = (Instant::now(), Folder::new("together"));
        let words = watched(&[folder.write("a", "a1 "), folder.write("b", "b1")], now);
        folder.write_old("a", "a2 ");
        folder.write_old("b", "bad");
        assert_eq!(*words.get(now + CHECK_INTERVAL), "a1 b1");
        folder.write_old("b", "b2");
        assert_eq!(*words.get(now + CHECK_INTERVAL * 2), "a2 b2");
    }

    /// Warnings arrive here. A test of its own, since a [Reporter] knows no test.
    #[test]
    fn what_can_not_be_used_leaves_what_was_before_and_is_told_ever_more_rarely() {
        static TOLD: AtomicU64 = AtomicU64::new(0);
        let warn = |text: &str| {
            assert!(text.contains("the words") && !text.contains("bad"), "{text}");
            TOLD.fetch_add(1, Ordering::SeqCst);
        };
        let reporter = Reporter { warn, ..Reporter::SILENT };
        let (mut now, folder) = (Instant::now(), Folder::new("keeps"));
        let path = folder.write("f", "one");
        let words = joined(std::slice::from_ref(&path), reporter, now).unwrap();
        let told = |now: Instant, expected: u64| {
            assert_eq!(*words.get(now), "one");
            assert_eq!(TOLD.load(Ordering::SeqCst), expected);
        };
        folder.write_old("f", "bad");
        for (after, expected) in [(1, 1), (1, 1), (30, 1), (31, 2), (60, 2), (240, 3)] {
            now += Duration::from_secs(after);
            told(now, expected);
        }
        folder.write_old("f", "bad too");
        told(now + CHECK_INTERVAL, 4);
        std::fs::remove_file(&path).unwrap();
        told(now + CHECK_INTERVAL * 2, 4);
        told(now + CHECK_INTERVAL * 3, 5);
        std::fs::create_dir(&path).unwrap();
        told(now + CHECK_INTERVAL * 4, 5);
        told(now + CHECK_INTERVAL * 5, 6);
        std::fs::remove_dir(&path).unwrap();
        folder.write_old("f", "two");
        assert_eq!(*words.get(now + CHECK_INTERVAL * 6), "two");
    }

    #[test]
    fn the_same_content_again_is_no_trouble() {
        let (now, folder) = (Instant::now(), Folder::new("same"));
        let panics = |_: &str| panic!("nothing changed");
        let words =
            joined(&[folder.write("f", "one")], Reporter { warn: panics, info: panics }, now).unwrap();
        folder.write("f", "two");
        assert_eq!(*words.get(now + CHECK_INTERVAL), "one");
        folder.write_old("f", "one");
        assert_eq!(*words.get(now + CHECK_INTERVAL * 2), "one");
    }

    #[test]
    fn one_thread_looks_while_the_others_go_on() {
        let (now, folder) = (Instant::now(), Folder::new("others"));
        let path = folder.write("f", "one");
        let (enter, entered) = mpsc::sync_channel(1);
        let (leave, left) = mpsc::sync_channel(1);
        let channels = Mutex::new((enter, left, true));
        let make = move |contents: &Contents| {
            let mut channels = channels.lock().unwrap();
            if !std::mem::take(&mut channels.2) {
                channels.0.send(()).unwrap();
                channels.1.recv().unwrap();
            }
            Ok::<_, FileError>(contents.of(&path).len())
        };
        let files = [(folder.0.join("f"), 64)];
        let slow = Watched::open("it", &files, make, Reporter::SILENT, now).unwrap();
        folder.write_old("f", "three");
        std::thread::scope(|scope| {
            let looks = scope.spawn(|| *slow.get(now + CHECK_INTERVAL));
            entered.recv().unwrap();
            assert_eq!(*slow.get(now + CHECK_INTERVAL), 3);
            leave.send(()).unwrap();
            assert_eq!(looks.join().unwrap(), 5);
        });
    }
}
