//! `sluicegate sandbox`, as people run it.

use crate::support::broker::numbers;
use crate::support::output::fed;
use crate::support::receiver::Receiver;
use crate::support::{binary, program::Program};
use std::io::Write;
use std::process::Command;

#[test]
fn the_sandbox_serves_until_a_signal_and_run_delivers_from_it() {
    let mut command = Command::new(binary::path());
    command.args(["sandbox", "--listen", "127.0.0.1:0", "--partitions", "3", "--topic", "orders"]);
    let sandbox = Program::start(command);
    let said = sandbox.expect("A Kafka broker in memory listens on ");
    let address = said.split(';').next().unwrap();
    let mut kcat = Command::new("kcat");
    kcat.args(["-q", "-b", address, "-P", "-t", "orders"]);
    assert!(fed(&mut kcat, numbers(0, 100).as_bytes()).status.success());
    let receiver = Receiver::accepting();
    let url = receiver.url();
    binary::run(&["run", "--brokers", address, "--topic", "orders", "--url", &url, "--until-end"]).expect(0);
    assert_eq!(receiver.accepted().len(), 100);
    let ended = binary::run(&["check", "--brokers", address, "--topic", "orders", "--url", &url]).expect(0);
    assert_eq!(ended.stdout.matches("ok     topic orders partition").count(), 3, "{}", ended.stdout);
    // What it doesn't speak is told.
    let mut stranger = std::net::TcpStream::connect(address).unwrap();
    stranger.write_all(&[0, 0, 0, 12, 0, 30, 0, 1, 0, 0, 0, 7, 0, 2, b'm', b'e']).unwrap();
    let told = sandbox.expect("closed the connection of client \"me\" at ");
    assert!(told.contains("CreateAcls (30) version 1"), "{told}");
    // A second one can't listen there.
    binary::run(&["sandbox", "--listen", address]).expect(1).saying("Choose another address with --listen");
    let kill = Command::new("kill").args(["-TERM", &sandbox.pid().to_string()]).status();
    assert!(kill.unwrap().success());
    sandbox.close();
}

#[test]
fn what_the_sandbox_cannot_be_is_told() {
    binary::run(&["sandbox", "--listen", "nowhere"]).expect(2).saying("not an address such as");
    binary::run(&["sandbox", "--partitions", "1,2"]).expect(2).saying("number of partitions");
    binary::run(&["sandbox", "--listen", "127.0.0.1:0", "--topic", "no spaces"])
        .expect(2)
        .saying("INVALID_TOPIC");
    binary::run(&["run", "--listen", "127.0.0.1:0"]).expect(2).saying("is not a flag of run");
}
