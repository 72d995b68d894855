//! Counts the records of a topic by our client: BROKERS TOPIC PARTITIONS COUNT.

use sluicegate::kafka::cluster::Address;
use sluicegate::kafka::config::{Config, Share};
use sluicegate::kafka::connection::{Connector, ConnectorSettings};
use sluicegate::kafka::consumer::{Consumer, ConsumerEvent, MaxPoll};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(10);
/// What a batch of the relay may hold.
const MOST: MaxPoll = MaxPoll { records: 500, bytes: 8 << 20 };

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, brokers, topic, partitions, count] = &arguments[..] else { panic!("four words are needed") };
    let partitions = partitions.parse().expect("a number of partitions");
    let count: usize = count.parse().expect("a number of records");
    let config = Config {
        topics: vec![topic.clone()],
        share: Share::Fixed(Some((0..partitions).collect())),
        commits: false,
        ..Config::default()
    };
    let brokers = vec![Address::parse(brokers).expect("HOST:PORT")];
    let mut consumer = Consumer::open(
        config,
        None,
        Connector::new(ConnectorSettings::default()).expect("plain text needs no files"),
        brokers,
    )
    .expect("the topic's name is good");
    let (mut got, mut bytes) = (0, 0);
    while got < count {
        match consumer.poll(MOST, WAIT).expect("nothing fails on loopback") {
            Some(ConsumerEvent::Records(records)) => {
                if got == 0 {
                    println!("first");
                }
                got += records.len();
                bytes += records.iter().map(|record| record.value().unwrap_or_default().len()).sum::<usize>();
            }
            None => panic!("{got} of {count} came"),
            _ => {}
        }
    }
    println!("bytes {bytes}\nlast");
}
