//! A real Kafka broker: one KRaft node on loopback, its files below `target/`. `tests/run` fetches the jars.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The last version that speaks version 0 of the APIs.
pub const OLD: &str = "3.9.2";
/// A version that no longer does.
pub const NEW: &str = "4.3.1";
/// How many partitions a topic gets that is made by producing to it.
pub const PARTITIONS: i32 = 4;
const START_TIMEOUT: Duration = Duration::from_secs(90);
const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

/// A broker; it is gone when this is dropped, or when the test process ends in any way.
pub struct Broker {
    folder: PathBuf,
    jars: PathBuf,
    port: u16,
    child: Option<Child>,
}

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Broker {
    /// Formats and starts a broker. `None` where its jars are not there, which under `CI` is a failure.
    pub fn start(version: &str) -> Option<Self> {
        let mut broker = Self::stopped(version)?;
        broker.boot();
        Some(broker)
    }

    /// A formatted broker that does not run yet.
    pub fn stopped(version: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        let jars = target.join("kafka").join(version);
        if !jars.join(".complete").exists() {
            assert!(std::env::var_os("CI").is_none(), "no Kafka {version} in {jars:?}: run ./tests/run");
            eprintln!("SKIPPED: no Kafka {version} below target/: run ./tests/run");
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let folder = target.join("broker").join(format!("{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let broker = Self { folder, jars, port: free_port(), child: None };
        broker.format();
        Some(broker)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn java(&self) -> Command {
        let mut java = Command::new("java");
        java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp"]);
        java.arg(format!("{}/*", self.jars.display()));
        java
    }

    fn format(&self) {
        let controller = free_port();
        let (port, folder) = (self.port, self.folder.display());
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={folder}/logs\nnum.partitions={PARTITIONS}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=5\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=true\n"
        );
        let file = self.folder.join("server.properties");
        std::fs::write(&file, properties).unwrap();
        let formatted = self
            .java()
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
    }

    /// Starts it, on the same port and with the same logs each time.
    pub fn boot(&mut self) {
        // The shell kills the broker once its own input closes, which happens however this process ends.
        let log = std::fs::File::create(self.folder.join("broker.log")).unwrap();
        let java = self.java();
        let words: Vec<_> = std::iter::once(java.get_program()).chain(java.get_args()).collect();
        let child = Command::new("sh")
            .args([
                "-c",
                r#""$@" </dev/null & broker=$!; read -r _; kill -9 $broker 2>/dev/null; wait $broker"#,
                "broker",
            ])
            .args(words)
            .arg("kafka.Kafka")
            .arg(self.folder.join("server.properties"))
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                Instant::now() < deadline,
                "the broker did not start: see broker.log in {:?}",
                self.folder
            );
            std::thread::sleep(Duration::from_millis(50)); // between two looks
        }
    }

    /// Kills it, as a power cut would; what it acknowledged to one replica may need a moment to come back.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }

    /// Produces what `kcat` reads from `input`, with these further arguments.
    pub fn produce(&self, topic: &str, arguments: &[&str], input: &[u8]) {
        let mut kcat = Command::new("kcat")
            .args(["-P", "-b", &self.address(), "-t", topic, "-X", "message.max.bytes=2000000"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        kcat.stdin.take().unwrap().write_all(input).unwrap();
        let output = kcat.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Produces the numbers from `first` on, one a record, into partition 0.
    pub fn produce_numbers(&self, topic: &str, first: usize, count: usize) {
        self.produce(topic, &["-p", "0"], numbers(first, count).as_bytes());
    }

    /// Produces the numbers from 0 on, a share of them into each partition.
    pub fn produce_spread(&self, topic: &str, count: usize) {
        let share = count / PARTITIONS as usize;
        for partition in 0..PARTITIONS as usize {
            let input = numbers(partition * share, share);
            self.produce(topic, &["-p", &partition.to_string()], input.as_bytes());
        }
    }
}

/// Numbers, one a line.
pub fn numbers(first: usize, count: usize) -> String {
    (first..first + count).map(|n| format!("{n}\n")).collect()
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
