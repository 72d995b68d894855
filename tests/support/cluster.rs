//! A cluster of real brokers that may lose one: three replicas of everything, two of them in sync at the least.

use super::admin::Admin;
use super::broker::{
    Properties, format, free_port, kraft, listens, new_folder, serve, single, write_properties,
};
use super::eventually;
use super::jvm::{Jars, Leashed};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// What makes a cluster notice quickly that a node is gone, and spread its leaders again once it is back.
const HASTE: [(&str, &str); 14] = [
    ("default.replication.factor", "3"),
    ("min.insync.replicas", "2"),
    ("offsets.topic.replication.factor", "3"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "2"),
    ("replica.lag.time.max.ms", "2000"),
    ("replica.fetch.backoff.ms", "200"),
    ("broker.heartbeat.interval.ms", "500"),
    ("broker.session.timeout.ms", "3000"),
    ("controller.quorum.election.timeout.ms", "800"),
    ("controller.quorum.fetch.timeout.ms", "1500"),
    ("leader.imbalance.check.interval.seconds", "5"),
    ("leader.imbalance.per.broker.percentage", "0"),
    ("num.recovery.threads.per.data.dir", "1"),
];

/// Some brokers, named 1 and up.
#[derive(Debug)]
pub struct Cluster {
    jars: Jars,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    folder: PathBuf,
    address: SocketAddr,
    server: Option<Leashed>,
}

impl Cluster {
    /// Formats and starts so many brokers; `None` where the jars are not there, which under `CI` is a failure.
    pub fn start(version: &str, count: usize) -> Option<Self> {
        Self::with(version, count, &[])
    }

    /// Starts so many brokers with these further properties.
    pub fn with(version: &str, count: usize, more: &[(&str, &str)]) -> Option<Self> {
        let jars = Jars::of(version)?;
        let controllers: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let node = |number: usize| {
            let (folder, port) = (new_folder(), free_port());
            let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
            let mut properties: Properties = single(port, address.ip(), &folder);
            let all = HASTE.iter().chain(more);
            properties.extend(all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            kraft(&mut properties, number, &controllers);
            format(&jars, &write_properties(&folder, &properties), &[]);
            Node { folder, address, server: None }
        };
        let nodes = (1..=count).map(node).collect();
        let mut cluster = Self { jars, nodes };
        (1..=count).for_each(|node| cluster.boot(node));
        cluster.wait();
        Some(cluster)
    }

    /// The addresses of all brokers.
    pub fn addresses(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(|node| node.address.to_string()).collect();
        addresses.join(",")
    }

    /// A broker's address.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node - 1].address
    }

    /// An admin client for it.
    pub fn admin(&self) -> Admin {
        Admin::start(&self.addresses())
    }

    /// Kills a broker, as a power cut would.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node - 1].server = None;
    }

    /// Starts a broker again.
    pub fn boot(&mut self, node: usize) {
        let node = &mut self.nodes[node - 1];
        node.server = Some(serve(&self.jars, &node.folder));
    }

    /// Sends a broker that runs a signal: `STOP` hangs it, `CONT` lets it go on.
    pub fn signal(&mut self, node: usize, name: &str) {
        self.nodes[node - 1].server.as_mut().unwrap().signal(name);
    }

    /// Whether a broker was started and not killed since.
    pub fn runs(&self, node: usize) -> bool {
        self.nodes[node - 1].server.is_some()
    }

    /// Waits until all brokers that run serve.
    pub fn wait(&self) {
        let running = self.nodes.iter().filter(|node| node.server.is_some());
        running.clone().for_each(|node| listens(node.address, &node.folder));
        let (admin, count) = (self.admin(), running.count());
        eventually("the brokers know each other", || admin.nodes().len() == count);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.server = None;
            let _ = std::fs::remove_dir_all(&node.folder);
        }
    }
}
