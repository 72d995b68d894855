//! A real Kafka broker: one node on loopback, its files below `target/`. `tests/run` fetches the jars.

use super::admin::Admin;
use super::jvm::{Jars, Leashed, target};
use super::output::fed;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The oldest version in the matrix: it keeps its metadata in ZooKeeper.
pub const OLDEST: &str = "2.8.2";
/// The last version that speaks version 0 of the APIs.
pub const OLD: &str = "3.9.2";
/// A version that no longer does.
pub const NEW: &str = "4.3.1";
/// What the native client is tested against.
pub const VERSIONS: [&str; 3] = [OLDEST, OLD, NEW];
/// How many partitions a topic gets that is made by producing to it.
pub const PARTITIONS: i32 = 4;
/// A JVM that shares its processors with others starts late: measured were 85 s with a twelfth of two of them.
const START_TIMEOUT: Duration = Duration::from_secs(300);
const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
const HEAP: &str = "-Xmx512m";

/// Settings of a broker by their names in `server.properties`.
pub type Properties = BTreeMap<String, String>;

/// A broker; it is gone when this is dropped, or when the test process ends in any way.
#[derive(Debug)]
pub struct Broker {
    folder: PathBuf,
    jars: Jars,
    host: IpAddr,
    port: u16,
    /// ZooKeeper's port, for versions that need it.
    zookeeper_port: Option<u16>,
    properties: Properties,
    /// The ports of its further listeners.
    listeners: BTreeMap<String, u16>,
    zookeeper: Option<Leashed>,
    server: Option<Leashed>,
}

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A new folder below `target/` for a broker's files.
pub(super) fn new_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::SeqCst);
    let folder = target().join("broker").join(format!("{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

impl Broker {
    /// Formats and starts a broker. `None` where its jars are not there, which under `CI` is a failure.
    pub fn start(version: &str) -> Option<Self> {
        Self::with(version, &[])
    }

    /// Starts a broker with these further properties.
    pub fn with(version: &str, more: &[(&str, &str)]) -> Option<Self> {
        let mut broker = Self::at(Ipv4Addr::LOCALHOST.into(), version, more)?;
        broker.boot();
        Some(broker)
    }

    /// A formatted broker that does not run yet.
    pub fn stopped(version: &str) -> Option<Self> {
        Self::at(Ipv4Addr::LOCALHOST.into(), version, &[])
    }

    /// A formatted broker at this address of ours that does not run yet, with these further properties.
    pub fn at(host: IpAddr, version: &str, more: &[(&str, &str)]) -> Option<Self> {
        Self::formatted(host, version, &[], more, &[])
    }

    /// Starts a broker with further listeners, a name and a security protocol each, with further properties, and
    /// with SCRAM users as `MECHANISM=[name=...,password=...]`.
    pub fn secured(
        version: &str,
        listeners: &[(&str, &str)],
        more: &[(&str, &str)],
        users: &[&str],
    ) -> Option<Self> {
        let users: Vec<&str> = users.iter().flat_map(|user| ["--add-scram", *user]).collect();
        let mut broker = Self::formatted(Ipv4Addr::LOCALHOST.into(), version, listeners, more, &users)?;
        broker.boot();
        Some(broker)
    }

    fn formatted(
        host: IpAddr,
        version: &str,
        listeners: &[(&str, &str)],
        more: &[(&str, &str)],
        arguments: &[&str],
    ) -> Option<Self> {
        let jars = Jars::of(version)?;
        let (folder, port) = (new_folder(), free_port());
        let mut properties = single(port, host, &folder);
        let zookeeper_port = (version == OLDEST).then(free_port);
        match zookeeper_port {
            Some(zookeeper) => {
                properties.insert("broker.id".into(), "1".into());
                properties.insert("zookeeper.connect".into(), format!("127.0.0.1:{zookeeper}"));
                properties.insert("zookeeper.session.timeout.ms".into(), "6000".into());
            }
            None => kraft(&mut properties, 1, &[free_port()]),
        }
        let listeners = listen(&mut properties, host, listeners);
        properties.extend(more.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        let (zookeeper, server) = (None, None);
        let broker =
            Self { folder, jars, host, port, zookeeper_port, properties, listeners, zookeeper, server };
        broker.format(arguments);
        Some(broker)
    }

    pub fn address(&self) -> String {
        SocketAddr::new(self.host, self.port).to_string()
    }

    /// The port of a further listener.
    pub fn port(&self, listener: &str) -> u16 {
        self.listeners[listener]
    }

    /// An admin client for it.
    pub fn admin(&self) -> Admin {
        Admin::start(&self.address())
    }

    /// Writes its properties and, where it has no ZooKeeper, formats its log folder.
    fn format(&self, arguments: &[&str]) {
        let file = write_properties(&self.folder, &self.properties);
        if self.zookeeper_port.is_none() {
            format(&self.jars, &file, arguments);
        }
    }

    /// Starts it, on the same port and with the same logs each time.
    pub fn boot(&mut self) {
        if let (Some(port), None) = (self.zookeeper_port, &self.zookeeper) {
            let mut zookeeper =
                self.jars.server("-Xmx256m", "org.apache.zookeeper.server.ZooKeeperServerMain");
            zookeeper.arg(port.to_string()).arg(self.folder.join("zookeeper"));
            self.zookeeper = Some(Leashed::start(&zookeeper, &self.folder.join("zookeeper.log")));
            listens(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), &self.folder);
        } else if let Some(port) = self.zookeeper_port {
            // ZooKeeper takes a broker that was killed for alive until its session ends, and keeps its places taken.
            for place in ["/brokers/ids/1", "/controller"] {
                let zookeeper = format!("127.0.0.1:{port}");
                let delete = ["-server", &zookeeper, "delete", place];
                self.jars.tool("org.apache.zookeeper.ZooKeeperMain", &delete);
            }
        }
        self.server = Some(serve(&self.jars, &self.folder));
        // Under load one listener may open long after another.
        for port in std::iter::once(self.port).chain(self.listeners.values().copied()) {
            listens(SocketAddr::new(self.host, port), &self.folder);
        }
    }

    /// Changes a property, for when it is started again.
    pub fn set(&mut self, name: &str, value: &str) {
        self.properties.insert(name.into(), value.into());
        write_properties(&self.folder, &self.properties);
    }

    /// Kills it, as a power cut would; what it acknowledged to one replica may need a moment to come back.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Produces what `kcat` reads from `input`, with these further arguments.
    pub fn produce(&self, topic: &str, arguments: &[&str], input: &[u8]) {
        let mut kcat = Command::new("kcat");
        kcat.args(["-P", "-b", &self.address(), "-t", topic, "-X", "message.max.bytes=2000000"]);
        let output = fed(kcat.args(arguments), input);
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

/// A broker's properties, but for how it finds its controller.
pub(super) fn single(port: u16, host: IpAddr, folder: &Path) -> Properties {
    let properties = [
        ("listeners", format!("PLAINTEXT://{}", SocketAddr::new(host, port))),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".into()),
        ("log.dirs", format!("{}/logs", folder.display())),
        ("num.partitions", PARTITIONS.to_string()),
        ("offsets.topic.replication.factor", "1".into()),
        ("offsets.topic.num.partitions", "5".into()),
        ("transaction.state.log.replication.factor", "1".into()),
        ("transaction.state.log.min.isr", "1".into()),
        ("transaction.state.log.num.partitions", "5".into()),
        ("group.initial.rebalance.delay.ms", "0".into()),
        ("group.min.session.timeout.ms", "1000".into()),
        ("auto.create.topics.enable", "true".into()),
    ];
    properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Makes it one of the nodes that are broker and controller at once; the controllers' ports name all of them.
pub(super) fn kraft(properties: &mut Properties, node: usize, controllers: &[u16]) {
    let voters: Vec<String> =
        controllers.iter().enumerate().map(|(at, port)| format!("{}@127.0.0.1:{port}", at + 1)).collect();
    let listeners = &properties["listeners"];
    let listeners = format!("{listeners},CONTROLLER://127.0.0.1:{}", controllers[node - 1]);
    properties.extend([
        ("listeners".to_owned(), listeners),
        ("process.roles".to_owned(), "broker,controller".to_owned()),
        ("node.id".to_owned(), node.to_string()),
        ("controller.quorum.voters".to_owned(), voters.join(",")),
        ("controller.listener.names".to_owned(), "CONTROLLER".to_owned()),
    ]);
}

/// Adds listeners, each on a port of its own.
fn listen(properties: &mut Properties, host: IpAddr, more: &[(&str, &str)]) -> BTreeMap<String, u16> {
    let mut ports = BTreeMap::new();
    for (name, protocol) in more {
        let port = free_port();
        let mut append = |key: &str, value: String| {
            properties.entry(key.to_owned()).and_modify(|all| *all = format!("{all},{value}"));
        };
        append("listeners", format!("{name}://{}", SocketAddr::new(host, port)));
        append("listener.security.protocol.map", format!("{name}:{protocol}"));
        ports.insert((*name).to_owned(), port);
    }
    ports
}

pub(super) fn write_properties(folder: &Path, properties: &Properties) -> PathBuf {
    let lines: String = properties.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    let file = folder.join("server.properties");
    fs::write(&file, lines).unwrap();
    file
}

pub(super) fn format(jars: &Jars, properties: &Path, arguments: &[&str]) {
    let file = properties.to_str().unwrap();
    let arguments = [&["format", "-t", CLUSTER_ID, "-c", file], arguments].concat();
    let formatted = jars.tool("kafka.tools.StorageTool", &arguments);
    assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
}

pub(super) fn serve(jars: &Jars, folder: &Path) -> Leashed {
    let mut java = jars.server(HEAP, "kafka.Kafka");
    java.arg(folder.join("server.properties"));
    Leashed::start(&java, &folder.join("broker.log"))
}

pub(super) fn listens(address: SocketAddr, folder: &Path) {
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "the broker did not start: see broker.log in {folder:?}");
        std::thread::sleep(Duration::from_millis(50)); // between two looks
    }
}

/// Numbers, one a line.
pub fn numbers(first: usize, count: usize) -> String {
    (first..first + count).map(|n| format!("{n}\n")).collect()
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        self.zookeeper = None;
        let _ = fs::remove_dir_all(&self.folder);
    }
}
