//! Java with the jars of one version of Kafka: servers and programs, which end when this process does.

use super::output::output;
use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// Whose client library our Java programs use; it speaks to brokers from 2.1 on.
const CLIENT: &str = super::broker::NEW;
/// Sends the command the signals that its input names, and ends it once our end of that input closes, which happens
/// however this process ends.
const LEASHED: &str = r#""$@" </dev/null & it=$!; while read -r signal; do kill -"$signal" $it; done; kill -9 $it 2>/dev/null; wait $it"#;

/// The jars of one version of Kafka below `target/`.
#[derive(Clone, Debug)]
pub struct Jars(PathBuf);

impl Jars {
    /// `None` where they are not there, which under `CI` is a failure.
    pub fn of(version: &str) -> Option<Self> {
        let jars = target().join("kafka").join(version);
        if jars.join(".complete").exists() {
            return Some(Self(jars));
        }
        assert!(std::env::var_os("CI").is_none(), "no Kafka {version} in {jars:?}: run ./tests/run");
        eprintln!("SKIPPED: no Kafka {version} below target/: run ./tests/run");
        None
    }

    /// Java with these jars and these further folders of classes.
    fn java(&self, heap: &str, classes: Option<&Path>) -> Command {
        let mut java = Command::new("java");
        java.args([heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
        // The libraries of the codecs are unpacked there, and stay if Java is killed.
        let temporary = target().join("java-tmp");
        fs::create_dir_all(&temporary).unwrap();
        java.arg(format!("-Djava.io.tmpdir={}", temporary.display())).arg("-cp");
        let classes = classes.map(|folder| format!("{}:", folder.display())).unwrap_or_default();
        java.arg(format!("{classes}{}/*", self.0.display()));
        java
    }

    /// A server's `main`.
    pub fn server(&self, heap: &str, class: &str) -> Command {
        let mut java = self.java(heap, None);
        java.args(["-Dzookeeper.admin.enableServer=false", class]);
        java
    }

    /// Runs one of Kafka's own tools to its end.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Output {
        output(self.java("-Xmx256m", None).arg(class).args(arguments))
    }
}

/// `tests/support/java/NAME.java`, ready to run.
pub fn program(name: &str) -> Command {
    let jars = Jars::of(CLIENT).expect("a broker runs, so the newest jars are there too");
    let mut java = jars.java("-Xmx256m", Some(compiled(&jars)));
    java.arg(name);
    java
}

/// Where the classes of our Java programs are: compiled once for all test processes, by whoever comes first.
fn compiled(jars: &Jars) -> &'static Path {
    static CLASSES: OnceLock<PathBuf> = OnceLock::new();
    CLASSES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/java");
        let mut sources: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        sources.sort();
        let mut hash = DefaultHasher::new();
        sources.iter().for_each(|source| fs::read(source).unwrap().hash(&mut hash));
        let classes = target().join(format!("java-{:016x}", hash.finish()));
        if !classes.exists() {
            let ours = target().join(format!("java-{}", std::process::id()));
            let jars = format!("{}/*", jars.0.display());
            let mut javac = Command::new("javac");
            let javac = output(javac.args(["-proc:none", "-cp", &jars, "-d"]).arg(&ours).args(&sources));
            assert!(javac.status.success(), "{}", String::from_utf8_lossy(&javac.stderr));
            if fs::rename(&ours, &classes).is_err() {
                // Somebody else was faster.
                fs::remove_dir_all(&ours).unwrap();
            }
        }
        classes
    })
}

/// Where all of this lies.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target")
}

/// A command on a leash: it is gone when this is dropped, or when the test process ends in any way.
#[derive(Debug)]
pub struct Leashed(Child);

/// The command, to be run by a shell that kills it once its own input closes.
pub fn on_a_leash(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", LEASHED, "leash"]);
    shell.args(std::iter::once(command.get_program()).chain(command.get_args()));
    for (name, value) in command.get_envs() {
        value.map(|value| shell.env(name, value));
    }
    shell.stdin(Stdio::piped());
    shell
}

impl Leashed {
    /// Starts it, what it says going to a file.
    pub fn start(command: &Command, log: &Path) -> Self {
        let log = File::create(log).unwrap();
        Self(on_a_leash(command).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&mut self, name: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{name}").unwrap();
    }
}

impl Drop for Leashed {
    /// Kills it, as a power cut would.
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
