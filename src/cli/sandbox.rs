//! `sandbox`: a small Kafka broker in memory, for people who want to try things with nothing to install.

use super::options::Options;
use super::{Exit, Failure, print};
use crate::kafka::sandbox::{MOST_PARTITIONS, Report, Sandbox, SandboxSettings};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The topic that the instructions name where none is given.
const EXAMPLE: &str = "orders";

/// Serves until a signal comes.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let defaults = SandboxSettings::default();
    let partitions = match options.partitions.as_deref() {
        None => defaults.partitions,
        Some([n]) if (1..=MOST_PARTITIONS).contains(n) => *n,
        Some(_) => {
            let text =
                format!("--partitions: of the sandbox it is how many a topic gets, 1 to {MOST_PARTITIONS}");
            return Err(Failure::usage(text));
        }
    };
    let failed = |text: String| Failure { exit: Exit::Failed, text };
    // Before anything is said: whoever reads that it listens may send a signal at once.
    let mut signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| failed(format!("signals can't be watched: {error}")))?;
    let report = Report::new(|line| print(&format!("{line}\n")));
    let listen = options.listen.unwrap_or_else(|| ([127, 0, 0, 1], 9092).into());
    let settings = SandboxSettings { listen, partitions, report, ..defaults };
    let sandbox = Sandbox::start(settings).map_err(|error| {
        failed(format!("the sandbox can't listen on {listen}: {error}. Choose another address with --listen"))
    })?;
    for topic in &options.topics {
        sandbox
            .create(topic, partitions)
            .map_err(|error| Failure::usage(format!("--topic {topic}: {error}")))?;
    }
    print(&greeting(&sandbox, options));
    signals.forever().next();
    Ok(())
}

fn greeting(sandbox: &Sandbox, options: &Options) -> String {
    let address = sandbox.address();
    let topic = options.topics.first().map_or(EXAMPLE, String::as_str);
    let warning = match address.ip().is_loopback() {
        true => "",
        false => {
            "WARNING: it has no security, and whoever reaches this address may read and write: listen on 127.0.0.1 \
             unless you mean that.\n"
        }
    };
    format!(
        "A Kafka broker in memory listens on {address}; all it holds is gone when it ends (Ctrl-C).\n{warning}\n\
         Write some events:     echo '{{\"order\":1}}' | kcat -b {address} -P -t {topic}\n\
         Read them:             kcat -b {address} -C -t {topic} -e\n\
         Send them to a hook:   sluicegate run --brokers {address} --topic {topic} --url http://localhost:8080/hook\n"
    )
}
